import lzma
import struct

import awkward as ak
import cramjam
import lzma_words
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae import xz
from atlasae.files import writing
from atlasae.files.sources import unpack_blocks
from atlasae.native import library as native
from atlasae.native.library import library, lzma2_of_words, words_of_lzma2
from atlasae.xz import (
    OFFSETS,
    WORDS,
    compress_basket,
    compress_words,
    join_streams,
    store_basket,
    unpack_basket,
)

GENERATOR = np.random.default_rng(20261124)


def blocks_in(stream: bytes) -> int:
    """The number of blocks in the index of an xz stream."""
    index_size = (struct.unpack_from("<I", stream, len(stream) - 8)[0] + 1) * 4
    return stream[len(stream) - 12 - index_size + 1]


def basket(counts: np.ndarray, key: int = 70) -> bytes:
    """A jagged basket in ROOT's layout: values, then a count and as many entry offsets, which count from the key on."""
    latents = GENERATOR.uniform(1, 2, counts.sum()).astype(">f4").tobytes()
    offsets = key + 4 * np.concatenate([[0], np.cumsum(counts)])
    return latents + struct.pack(">I", len(offsets)) + offsets.astype(">i4").tobytes()


def words(*numbers: int) -> bytes:
    return np.array(numbers, dtype=">u4").tobytes()


def test_a_jagged_basket_becomes_two_blocks_of_one_stream():
    data = basket(GENERATOR.integers(0, 9, 3000))
    packed = compress_basket(data)
    assert lzma.decompress(packed) == data
    assert blocks_in(packed) == 2
    assert len(packed) < len(compress_words(data))  # what the second block is for


def test_a_flat_basket_is_one_block():
    data = GENERATOR.uniform(1, 2, 1000).astype(">f4").tobytes()
    packed = compress_basket(data)
    assert lzma.decompress(packed) == data
    assert blocks_in(packed) == 1
    assert packed == compress_words(data)


@pytest.mark.parametrize("counts", [[0], [1], [0, 0, 0], [0, 1, 0], [5] * 2])
def test_tiny_baskets_come_back(counts):
    data = basket(np.array(counts))
    assert lzma.decompress(compress_basket(data)) == data


def test_the_offsets_of_events_without_jets_are_one_block():
    packed = compress_basket(basket(np.zeros(500, int)))
    assert blocks_in(packed) == 1
    assert len(packed) < 100  # 500 equal offsets have no differences


def test_nothing_comes_back_as_nothing():
    assert lzma.decompress(compress_basket(b"")) == b""


@given(st.binary(max_size=200))
def test_any_bytes_come_back(data):
    assert lzma.decompress(compress_basket(data)) == data
    assert lzma.decompress(compress_words(data)) == data


@given(st.lists(st.integers(0, 12), max_size=40).map(lambda numbers: words(*numbers)), st.binary(max_size=3))
def test_wrong_guesses_are_harmless(data, tail):
    # Small numbers look like counts and offsets wherever one starts to read.
    assert lzma.decompress(compress_basket(data + tail)) == data + tail


@pytest.mark.parametrize(
    "data",
    [
        words(0x3F800000, 2, 70, 74),  # one value, one event
        words(3, 2, 70, 74),  # the value could be a count
        words(1, 1, 1),
        words(2, 8, 12),
        words(0, 0, 0),
        words(1, 70),  # no values, no events
        words(0xFFFFFFFF, 0xFFFFFFFF),
    ],
)
def test_ambiguous_baskets_come_back(data):
    assert lzma.decompress(compress_basket(data)) == data


@settings(max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=5), st.data())
def test_joined_streams_hold_what_each_held(parts, data):
    streams = [
        lzma.compress(
            part, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=data.draw(st.sampled_from([WORDS, OFFSETS]))
        )
        for part in parts
    ]  # fmt: skip
    joined = join_streams(streams)
    assert lzma.decompress(joined) == b"".join(parts)
    assert blocks_in(joined) == len(parts)


def test_more_than_one_byte_of_length_is_joined():
    parts = [b"a" * 10, bytes(1000), GENERATOR.bytes(300_000), b"b"]  # sizes in the index of 1, 2 and 3 bytes
    assert lzma.decompress(join_streams([compress_words(part) for part in parts])) == b"".join(parts)


def test_more_than_127_streams_are_joined():
    parts = [bytes([i]) * 3 for i in range(200)]  # the count takes two bytes
    assert lzma.decompress(join_streams([compress_words(part) for part in parts])) == b"".join(parts)


def test_a_flipped_bit_is_noticed():
    packed = bytearray(compress_basket(basket(GENERATOR.integers(0, 9, 300))))
    packed[len(packed) // 2] ^= 1
    with pytest.raises(lzma.LZMAError):
        lzma.decompress(bytes(packed))


def events_of(counts: list[int]) -> ak.Array:
    return ak.unflatten(GENERATOR.uniform(1, 2, sum(counts)).astype(np.float32), counts)


JAGGED = {
    "many": GENERATOR.integers(0, 9, 2000).tolist(),
    "no jets at all": [0] * 300,
    "one jet": [1],
    "one event of many": [2000],
    "first and last events empty": [0, 3, 0, 0, 2, 0],
}


@pytest.mark.parametrize("counts", JAGGED.values(), ids=JAGGED)
def test_uproot_reads_jagged_branches(tmp_path, monkeypatch, counts):
    baskets = []
    monkeypatch.setattr(writing, "compress_basket", lambda data, *_: baskets.append(data) or compress_basket(data))
    array = events_of(counts)
    with writing.create(tmp_path / "x.root") as file:
        writer = file.make_tree("t", {"z": array}, words=["z", "nz"])
        writer.extend({"z": array})
        writer.extend({"z": array[::-1]})
    with uproot.open(tmp_path / "x.root") as file:
        assert ak.array_equal(file["t"]["z"].array(), ak.concatenate([array, array[::-1]]))
        assert file["t"]["nz"].array().tolist() == counts + counts[::-1]
    assert len(baskets) == 4
    if len(counts) == 2000:  # what uproot writes is what we take it for
        assert [blocks_in(compress_basket(data)) for data in baskets if len(data) > 4 * 2000] == [2, 2]


def test_words_that_were_compressed_beside_others_are_not_compressed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_MANY", 0)
    compressed, arrays = [], {name: events_of(JAGGED["many"]) for name in "xyz"}
    monkeypatch.setattr(writing, "compress_words", lambda data: compressed.append(data) or compress_words(data))
    with writing.create(tmp_path / "x.root") as file:
        file.make_tree("t", arrays, words=arrays).extend(arrays)
    with uproot.open(tmp_path / "x.root") as file:
        tree = file["t"]
        assert all(ak.array_equal(tree[name].array(), array) for name, array in arrays.items())
    values = [ak.to_numpy(ak.flatten(array)).astype(">f4").tobytes() for array in arrays.values()]
    assert sorted(compressed) == sorted(values)


@pytest.mark.parametrize("length", [1, 2, 5000])
def test_uproot_reads_flat_branches(tmp_path, length):
    values = GENERATOR.uniform(1, 2, length).astype(np.float32)
    with writing.create(tmp_path / "x.root") as file:
        writer = file.make_tree("t", {"z": ak.Array(values)}, words=["z"])
        writer.extend({"z": ak.Array(values)})
    with uproot.open(tmp_path / "x.root") as file:
        assert file["t"]["z"].array(library="np").tobytes() == values.tobytes()


def test_uproot_reads_a_tree_without_entries(tmp_path):
    with writing.create(tmp_path / "x.root") as file:
        file.make_tree("t", {"z": events_of([1]), "flat": ak.Array([1.0])}, words=["z", "nz", "flat"])
    with uproot.open(tmp_path / "x.root") as file:
        assert file["t"].num_entries == 0
        assert len(file["t"]["z"].array()) == 0


@pytest.mark.parametrize("size", [0, 1, 4, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("events", [0, 3])
def test_packed_bytes_are_stored_as_they_are(size, events):
    data = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8).tobytes()
    ends = np.array([70, *[70 + size] * events], ">u4")
    basket = data + (np.array([len(ends)], ">u4").tobytes() + ends.tobytes() if events else b"")
    stored = store_basket(basket)
    assert lzma.decompress(stored) == bytes(cramjam.xz.decompress(stored)) == basket
    assert data[:60_000] in stored and len(stored) < len(basket) + 130 + size // 10_000


compiled = pytest.mark.skipif(library() is None, reason="nothing is compiled")
LATENTS = st.lists(st.tuples(st.sampled_from([0x3F80, 0x3F81, 0xBF80, 0]), st.integers(0, 0xFFFF)), max_size=60)
PIECES = LATENTS.map(lambda pairs: words(*(high << 16 | low for high, low in pairs))) | st.binary(max_size=200)


@compiled
@settings(max_examples=60)
@given(PIECES, st.integers(1, 400))
def test_compiled_words_are_those_of_plain_python(data, times):
    for some in (data, data[:8] * times):
        packed = lzma2_of_words(np.frombuffer(some, np.uint8))
        assert packed == lzma_words.lzma2_of(some)
        assert lzma.decompress(packed, lzma.FORMAT_RAW, filters=WORDS) == some


@compiled
def test_words_of_several_chunks_are_those_of_plain_python():
    data = np.frombuffer(GENERATOR.exponential(0.1, 20_000).astype(">f4").tobytes(), np.uint8)
    packed = lzma2_of_words(data)
    assert packed == lzma_words.lzma2_of(data.tobytes())
    assert lzma.decompress(packed, lzma.FORMAT_RAW, filters=WORDS) == data.tobytes()


@compiled
def test_compiled_words_of_latents_are_as_small_as_those_of_liblzma():
    latents = (1 + GENERATOR.integers(0, 2**20, 50_000) / 2**20).astype(">f4").tobytes()
    ours = lzma2_of_words(np.frombuffer(latents, np.uint8))
    assert len(ours) < len(lzma.compress(latents, lzma.FORMAT_RAW, filters=WORDS))


@pytest.mark.parametrize(
    "data", [GENERATOR.uniform(1, 2, 9000).astype(">f4").tobytes(), words(*range(5000)), b"", b"a"]
)
def test_baskets_come_back_with_and_without_the_library(data, monkeypatch):
    monkeypatch.setattr(xz, "lzma2_of_words", lambda _: None)
    alone = compress_basket(data)
    monkeypatch.undo()
    assert lzma.decompress(alone) == lzma.decompress(compress_basket(data)) == data
    assert cramjam.xz.decompress(compress_basket(data)).read() == data


def test_runs_of_equal_words_are_left_to_liblzma():
    data = words(*[7] * 5000)
    assert len(compress_words(data)) == len(lzma.compress(data, check=lzma.CHECK_CRC32, filters=WORDS))


def unpacked(stream: bytes, size: int) -> bytes | None:
    """What `unpack_basket` makes of a stream, into a room of so many bytes; None where that is left to liblzma."""
    room = np.full(size, 0xAA, np.uint8)
    found = unpack_basket(stream, room)
    return None if found is None else room[:found].tobytes()


@compiled
@settings(max_examples=60)
@given(PIECES, st.integers(1, 400))
def test_words_are_read_back(data, times):
    for some in (data, data[:8] * times):
        packed = lzma2_of_words(np.frombuffer(some, np.uint8))
        room = np.empty(len(some), np.uint8)
        assert words_of_lzma2(np.frombuffer(packed + bytes(20), np.uint8), len(packed), room)
        assert room.tobytes() == some


@compiled
@pytest.mark.parametrize("counts", [GENERATOR.integers(0, 9, 30_000), np.full(30_000, 2), np.array([90_000])])
def test_baskets_are_unpacked_without_liblzma(counts):
    data = basket(counts)
    assert unpacked(compress_basket(data), len(data)) == data
    assert unpacked(compress_basket(data), len(data) + 5) == data
    assert unpacked(compress_basket(data), len(data) - 1) is None


SHORT = basket(np.array([2, 0, 1]))


@settings(max_examples=400)
@given(st.data())
def test_damaged_baskets_are_not_unpacked_to_other_bytes(data):
    latents = data.draw(LATENTS, "latents")
    plain = words(*(high << 16 | low for high, low in latents)) + SHORT
    stream = bytearray(compress_basket(plain))
    for _ in range(data.draw(st.integers(0, 3), "flips")):
        stream[data.draw(st.integers(0, len(stream) - 1), "place")] ^= data.draw(st.integers(1, 255), "flip")
    damaged = bytes(stream[: data.draw(st.integers(0, len(stream)) | st.just(len(stream)), "cut")])
    found = unpacked(damaged, len(plain) + 8)
    if found is not None:
        assert found == lzma.decompress(damaged)
    assert unpacked(bytes(damaged), len(plain)) == found


@compiled
@pytest.mark.parametrize("place", [20, 30, 300, -30, -40, -14, -9, -1])
def test_damage_anywhere_is_left_to_liblzma(place):
    data = basket(GENERATOR.integers(0, 9, 300))
    stream = bytearray(compress_basket(data))
    stream[place] ^= 4
    assert unpacked(bytes(stream), len(data)) is None
    with pytest.raises(lzma.LZMAError):
        lzma.decompress(bytes(stream))


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        lzma.compress(words(*range(500)), check=lzma.CHECK_CRC32, filters=WORDS),
        lzma.compress(words(*range(500))),
        store_basket(words(*range(500))),
        compress_basket(words(*[7] * 5000)),
        join_streams([compress_words(words(*GENERATOR.integers(0, 2**32, 9).tolist()))] * 30),
    ],
)
def test_other_streams_are_left_to_liblzma(stream):
    assert unpacked(stream, 20_000) is None


def test_without_the_library_liblzma_unpacks_all(monkeypatch):
    data = basket(GENERATOR.integers(0, 9, 300))
    stream = compress_basket(data)
    block = b"XZ\x01" + b"".join(len(x).to_bytes(3, "little") for x in (stream, data)) + stream
    monkeypatch.setattr(native, "library", lambda: None)
    assert unpacked(stream, len(data)) is None
    assert unpack_blocks(block, len(data)) == data
