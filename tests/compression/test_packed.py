"""Collections as one branch of bytes: jets are within bounds or exact, and invalid bytes are refused."""

import zlib

import awkward as ak
import numpy as np
import pytest
from conftest import random_jets
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.codecs.priors import default_priors
from atlasae.compression import packed
from atlasae.compression.collection import Compressor
from atlasae.compression.packed import (
    PackedLayout,
    chunk_key,
    coder_of,
    pack_chunk,
    packed_codec_of,
    start_packed,
    unpack_chunk,
)
from atlasae.compression.plan import Options
from atlasae.errors import UserError
from atlasae.jets.collections import Collection
from atlasae.jets.stored import storage_of

PT_M = ("pt", "eta", "phi", "m")
COUNTS = np.array([0, 3, 1, 0, 6, 2])


def collection(dtype: str = "<f4", jagged: bool = True) -> Collection:
    branches = {v: f"jet_{v}" for v in PT_M}
    return Collection("jet", "jet_", branches, dict.fromkeys(PT_M, dtype), jagged, units="MeV", packed=True)


def events(dtype: str = "<f4", odd: dict[tuple[str, int], float] | None = None) -> dict[str, ak.Array]:
    jets = {v: x.astype(dtype) for v, x in random_jets(int(COUNTS.sum())).items()}
    for (variable, i), value in (odd or {}).items():
        jets[variable][i] = value
    return {f"jet_{v}": ak.unflatten(jets[v], COUNTS) for v in PT_M}


def compressor(dtype: str = "<f4", precision: str = "1e-3", context: bool = True) -> Compressor[PackedLayout]:
    options = Options(precision, packed=True, context=context)
    return start_packed(collection(dtype), options, default_priors(), events(dtype))


def flat(found: dict[str, ak.Array]) -> dict[str, np.ndarray]:
    return {name: ak.to_numpy(ak.flatten(array)) for name, array in found.items()}


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("context", [True, False])
def test_jets_come_back_within_the_bounds_or_bit_for_bit(dtype, context):
    odd = {("pt", 0): np.nan, ("m", 4): -5.0, ("eta", 5): 10.5, ("phi", 6): 4.0, ("pt", 11): 0.0, ("m", 2): 3e37}
    before, one = events(dtype, odd), compressor(dtype, context=context)
    written = one.compress(before)
    assert list(written) == ["jet_packed"] and ak.num(written["jet_packed"])[1:].to_list() == [0] * 5
    after = one.layout.restore(written, COUNTS)
    exact = np.zeros(12, bool)
    exact[[i for _, i in odd]] = True
    assert (one.jets, one.exact_jets) == (12, 6) and max(one.max_error.values()) <= 1e-3
    for name, values in flat(before).items():
        found = flat(after)[name]
        assert found.dtype == values.dtype and ak.num(after[name]).to_list() == COUNTS.tolist()
        assert found[exact].tobytes() == values[exact].tobytes()
        scale = np.abs(values) if name in ("jet_pt", "jet_m") else 1.0
        assert (np.abs(found - values)[~exact] <= (1e-3 * scale * np.ones(12))[~exact]).all()


def test_events_without_jets_and_no_events_come_back():
    one, none = compressor(), {name: array[:0] for name, array in events().items()}
    assert len(one.layout.restore(one.compress(none), COUNTS[:0])["jet_pt"]) == 0
    empty = {name: array[:1] for name, array in events().items()}
    back = one.layout.restore(one.compress(empty), COUNTS[:1])
    assert back["jet_m"].to_list() == [[]]


@pytest.mark.parametrize("precision", ["full", "none", "1e-6", "pt=1e-3,eta=1e-3,phi=1e-7,m=1e-3"])
def test_what_packs_nothing_is_told(precision):
    with pytest.raises(UserError, match="--layout packed keeps a bound: give --precision a number of 1e-05 or more"):
        compressor(precision=precision)


def test_more_jets_than_are_read_back_are_not_packed(monkeypatch):
    monkeypatch.setattr(packed, "MOST_JETS", 11)
    with pytest.raises(UserError, match="12 jets in a chunk, 11 at most: give a smaller --step-size"):
        compressor().compress(events())


def test_the_codec_comes_back_from_what_it_says():
    one = compressor(context=False).layout.codec
    assert packed_codec_of(one.config(), default_priors()) == one


@pytest.mark.parametrize(
    "changed",
    [{"steps": [1e-3] * 3}, {"steps": ["1"] * 4}, {"steps": [0.0] * 4}, {"steps": [float("nan")] * 4}, {"context": 1},
     {"steps": None}, {"steps": [True] * 4}, {"steps": [1.1e-8, 1e-3, 1e-3, 1e-3]},
     {"shifted": [True] * 3}, {"shifted": [1] * 4}, {"shifted": None}],
)  # fmt: skip
def test_what_is_no_codec_is_refused(changed):
    with pytest.raises((ValueError, TypeError)):
        packed_codec_of(compressor().layout.codec.config() | changed, default_priors())


def packed_bytes() -> tuple[Compressor[PackedLayout], bytes, np.ndarray]:
    one = compressor()
    content = one.compress(events(odd={("pt", 0): np.nan, ("m", 7): -1.0}))["jet_packed"]
    return one, ak.to_numpy(content[0]).tobytes(), COUNTS


def forged(number: int, kept: bytes, words: bytes = b"", key: int = 5) -> bytes:
    return np.array([number, len(kept), key], "<u4").tobytes() + kept + words


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        forged(0, b"", b"abc"),
        forged(2, b"no zlib"),
        forged(2, zlib.compress(b"\0" * 39)),
        forged(2, zlib.compress(b"\0" * 40)),  # the same jet twice
        forged(1, zlib.compress(b"\xff" * 20)),  # an index beyond the last jet
        forged(2**31, zlib.compress(b"\0" * 10_000_000)),
        forged(0, b"", b"\1\0\0\0\0\0\0\0"),  # words never end in zero
    ],
    ids=range(10),
)
def test_other_bytes_are_refused(content):
    one = compressor()
    with pytest.raises((ValueError, zlib.error)):
        unpack_chunk(one.layout.codec, storage_of(one.collection), content, COUNTS)


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_changed_byte_is_some_jets_or_refused(position, change):
    one, content, counts = packed_bytes()
    spoiled = bytearray(content)
    spoiled[position % len(content)] ^= change
    try:
        columns = unpack_chunk(one.layout.codec, storage_of(one.collection), bytes(spoiled), counts)
    except (ValueError, zlib.error):
        return
    assert [len(column) for column in columns] == [12] * 4


def test_jets_alike_differ_when_decoded_unless_the_grid_is_not_shifted():
    alike = {
        name: ak.unflatten(np.full(12, value, "<f4"), COUNTS)
        for name, value in zip(events(), (5e4, 1, 2, 5e3), strict=True)
    }
    for dither in (True, False):
        options = Options(1e-3, packed=True, dither=dither)
        one = start_packed(collection(), options, default_priors(), events())
        assert one.layout.codec.lattice.shifted == (dither,) * 4
        found = flat(one.layout.restore(one.compress(alike), COUNTS))
        assert [len(np.unique(values)) for values in found.values()] == [12 if dither else 1] * 4


def test_chunks_have_keys_of_their_own():
    columns = [np.arange(12, dtype="<f4")] * 4
    assert 0 <= chunk_key(columns) == chunk_key([column.copy() for column in columns]) < 2**31
    assert chunk_key([column + 1 for column in columns]) != chunk_key(columns)


def test_packing_is_undone():
    one, cells = compressor(), np.stack([np.arange(12, dtype=np.int32) + 1000] * 4)
    cells[3] += 9000
    columns = [np.arange(12, dtype="<f4") + i for i in range(4)]
    exact = np.zeros(12, bool)
    exact[[3, 11]] = True
    found = unpack_chunk(
        one.layout.codec,
        storage_of(one.collection),
        pack_chunk(one.layout.codec, cells, exact, COUNTS, columns, key=7),
        COUNTS,
    )
    decoded = coder_of(one.layout.codec.lattice, 7, np.arange(12)).decode(cells.T)
    for column, expected, jets in zip(found, columns, decoded.T, strict=True):
        assert column[exact].tolist() == expected[exact].tolist()
        assert np.allclose(column[~exact], jets[~exact], rtol=1e-6)
