import lzma
import os
import re
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import awkward as ak
import cramjam
import numpy as np
import pytest
import uproot
from conftest import bits, write_tree

from atlasae.errors import AtlasaeError, UnreachableError
from atlasae.files.sources import (
    LocalSource,
    OwnSource,
    RemoteSource,
    first_bytes,
    guarded,
    own_classes,
    unpack_blocks,
    unpacked_in_turn,
)
from atlasae.files.trees import CopiedObject, open_source

GOLDEN = Path(__file__).parents[1] / "golden"

# --- what a file teaches uproot

BRANCHES = {"x": ak.Array(np.arange(6, dtype=np.float32)), "v": ak.Array([[1, 2], [], [3], [], [4, 5, 6], [7]])}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return write_tree(tmp_path_factory.mktemp("sound") / "x.root", "T", BRANCHES, h=np.histogram(np.arange(30.0)))


def told(path: Path) -> Any:
    """All values of a file, or the error in reading it."""
    try:
        with open_source(path) as source:
            tree = source.trees["T"]
            arrays = tree.read([branch.name for branch in tree.branches], 0, tree.entries)
            objects = [source.copy_object(name) for name in source.objects]
            return {name: bits(array) for name, array in arrays.items()}, tree.unwritable, objects
    except AtlasaeError as error:
        return re.sub("0x[0-9a-f]+", "", str(error))  # where in memory


def versions(content: bytes) -> list[int]:
    """Positions of the versions of the first classes in the record of a file's tree, each after a byte count."""
    positions = [i + 5 for i in range(len(content) - 6) if content[i : i + 2] == b"\x40\x00" and not content[i + 4]]
    return [position for position in positions if 0 < content[position] < 32][2:10]


def known() -> dict[str, Any]:
    """The classes that all files of the process share, with their versions."""
    return {name: dict(getattr(found, "known_versions", {})) for name, found in uproot.classes.items()}


def test_what_a_damaged_file_teaches_ends_with_it(sound):
    content, before, damaged = sound.read_bytes(), known(), sound.with_name("damaged.root")
    expected = told(sound)
    assert all(isinstance(found, CopiedObject) for found in expected[2])  # its histograms can be copied
    changes = [change for position in versions(content) for change in ((position, 1), (position - 5, 0x40))]
    first: dict[tuple[int, int], Any] = {}
    for order in (changes, changes[::-1]):
        for position, change in order:
            changed = bytearray(content)
            changed[position] ^= change
            damaged.write_bytes(changed)
            found = told(damaged)
            assert first.setdefault((position, change), found) == found  # independent of the files read before
        assert told(sound) == expected
    assert any("is damaged" in found for found in first.values() if isinstance(found, str))
    assert known() == before


def test_classes_of_one_file_are_not_those_of_another():
    one, other = own_classes(), own_classes()
    assert one.keys() == other.keys() <= uproot.classes.keys()  # which other tests have taught more
    assert {"TTree", "TH1F", "TList"} <= one.keys()
    one["TTree"].known_versions[99] = one["TTree"]
    assert 99 not in other["TTree"].known_versions and 99 not in uproot.classes["TTree"].known_versions
    assert other["TTree"].known_versions == uproot.classes["TTree"].known_versions
    assert other["TList"] is uproot.classes["TList"]  # which gets no new versions


def test_what_uproot_was_taught_before_is_not_ours(monkeypatch):
    taught = uproot._util.new_class("Model_TTree_v20", (uproot.model.VersionedModel,), {})
    monkeypatch.setitem(uproot.classes["TTree"].known_versions, 20, taught)
    monkeypatch.setitem(uproot.classes, "Taught", taught)
    assert 20 not in own_classes()["TTree"].known_versions and "Taught" not in own_classes()


# --- blocks that hold more than they say


def block(kind: bytes, content: bytes, says: int) -> bytes:
    return kind + len(content).to_bytes(3, "little") + says.to_bytes(3, "little") + content


BOMBS = {
    "CS": lambda size: block(b"CS\x08", bytes(cramjam.deflate.compress(bytes(size))), 1000),
    "ZLIB": lambda size: block(b"ZL\x08", zlib.compress(bytes(size)), 1000),
    "LZMA": lambda size: block(b"XZ\x00", bytes(cramjam.xz.compress(bytes(size), preset=0)), 1000),
    "ZSTD": lambda size: block(b"ZS\x01", bytes(cramjam.zstd.compress(bytes(size))), 1000),
}


def unpacked(source: Any, data: bytes) -> Any:
    chunk = uproot.source.chunk.Chunk.wrap(source, data)
    return uproot.compression.decompress(chunk, uproot.source.cursor.Cursor(0), {}, len(data), 1000).raw_data


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_in_our_files_takes_no_memory(kind):
    bomb = BOMBS[kind](1 << 24)
    with guarded:
        tracemalloc.start()
        with pytest.raises(Exception, match=r"whole buffer|buffer|output"):
            unpacked(OwnSource(), bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


@pytest.mark.parametrize(("says", "cut"), [(999, 0), (1001, 0), (1000, 1), (1000, 40)])
def test_a_stream_that_is_cut_or_of_another_size_is_refused(says, cut):
    stream = lzma.compress(bytes(1000))
    assert bytes(unpack_blocks(block(b"XZ\x00", stream, 1000), 1000)) == bytes(1000)
    with pytest.raises(ValueError, match="buffer|bytes"):
        unpack_blocks(block(b"XZ\x00", stream[: len(stream) - cut], says), says)


def test_all_that_we_read_is_guarded():
    assert issubclass(LocalSource, OwnSource) and issubclass(RemoteSource, OwnSource)


def test_blocks_of_the_first_compression_are_joined_and_checked():
    old = block(b"CS\x08", bytes(cramjam.deflate.compress(bytes(500))), 500)
    with guarded:
        assert unpacked(OwnSource(), old * 2).tobytes() == bytes(1000)
        for wrong in (old, old * 3, old + b"ZL" + old[2:], old[:-1] + b"\0", old * 2 + b"C"):
            with pytest.raises(ValueError, match="block|buffer"):
                unpacked(OwnSource(), wrong)


def test_a_file_of_the_first_compression_is_read():
    with open_source(GOLDEN / "old.root") as source:
        tree = source.trees["events"]
        jets = tree.read(["nJet", "Jet_pt"], 0, tree.entries)
    assert jets["nJet"].tolist() == [1, 2, 3, 4] * 15 and ak.min(jets["Jet_pt"]) > 20


@pytest.mark.parametrize("kind", [kind for kind in BOMBS if kind != "CS"])
def test_blocks_of_other_files_are_unpacked_by_uproot(kind):
    with guarded, pytest.raises(ValueError, match="decompressed to 2000 bytes, but the block header expects 1000"):
        unpacked(uproot.source.chunk.Source(), BOMBS[kind](2000))
    with guarded:
        assert [len(unpacked(source, BOMBS[kind](1000))) for source in (OwnSource(), uproot.source.chunk.Source())]


def test_uproot_unpacks_as_ever_after_the_last_of_our_files(sound):
    theirs = uproot.compression.decompress
    with open_source(sound):
        with open_source(sound):
            assert uproot.compression.decompress.__wrapped__ is theirs
        assert uproot.compression.decompress is not theirs
    assert uproot.compression.decompress is theirs


def test_what_others_put_there_meanwhile_stays(sound, monkeypatch):
    monkeypatch.setattr(uproot.compression, "decompress", uproot.compression.decompress)  # as it was, at the end
    with open_source(sound):
        uproot.compression.decompress = print
    assert uproot.compression.decompress is print


# --- what is read from a disk


def test_a_disk_that_fails_is_no_damage(sound, monkeypatch):
    def failing(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    with open_source(sound) as source:
        monkeypatch.setattr(os, "pread", failing)
        with pytest.raises(UnreachableError, match=r"can't read '.*x.root': Input/output error"):
            source.trees["T"].read(["x"], 0, 6)


def test_bytes_are_read_that_are_there(tmp_path):
    (tmp_path / "x").write_bytes(b"0123456789")
    with LocalSource(str(tmp_path / "x")) as source:
        ranges = [(2, 4), (8, 2**62), (-5, 3), (20, 30)]
        assert [source._read(*one) for one in ranges] == [b"23", b"89", b"012", b""]
        assert source.num_bytes == 10 and not source.closed
    assert source.closed


def test_blocks_are_unpacked_one_after_the_other():
    data = [b"a" * 5000, b"b" * 70000]
    blocks = b"".join(bytes(uproot.compression.compress(part, uproot.LZMA(1))) for part in data)

    def read(start: int, stop: int) -> bytes:
        return blocks[start:stop]

    found = list(unpacked_in_turn(read, len(blocks), 75000))
    assert [bytes(part) for part in found] == data
    for length, size in ((len(blocks), 74999), (len(blocks), 75001), (len(blocks) - 1, 75000)):
        with pytest.raises(ValueError, match="do not hold"):
            list(unpacked_in_turn(read, length, size))


@pytest.mark.parametrize("kind", [uproot.LZMA, uproot.ZLIB, uproot.LZ4])
def test_the_first_bytes_of_blocks_need_no_others(kind):
    data = bytes(range(256)) * 100
    block = bytes(uproot.compression.compress(data, kind(1)))
    found = first_bytes(block, len(data), 1000)
    assert data.startswith(found) and len(found) == (1000 if kind is uproot.LZMA else len(data))
    assert first_bytes(block, len(data), len(data)) == data and first_bytes(data, len(data), 1000) == data


@pytest.mark.parametrize("place", [3, 6, 9, 30])
def test_first_bytes_of_damaged_blocks_are_refused(place):
    block = bytearray(uproot.compression.compress(bytes(range(256)) * 100, uproot.LZMA(1)))
    block[place] ^= 0x55
    with pytest.raises(ValueError):
        first_bytes(bytes(block), 25600, 20000)
