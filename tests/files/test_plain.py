"""Plain numbers by ranges of entries: whole baskets and parts of large ones, as uproot reads them."""

import contextlib
import gc
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlasae.files import plain, trees
from atlasae.files.plain import Baskets, HeldLists, PlainBranch, Room, SharedEnds, read_numbers, whole_basket
from atlasae.files.sources import LocalSource
from atlasae.files.trees import open_source
from atlasae.graft.baskets import pack_basket
from atlasae.graft.forms import Form
from atlasae.graft.records import new_key

BASKETS = {"one": [1000], "large": [400, 10, 590], "small": [50] * 20}
GOLDEN = Path(__file__).parents[1] / "golden"  # of which leaves, shapes and users are by ROOT
REAL = [*sorted(GOLDEN.rglob("[!c]*.root")), *sorted(SHARED.glob("*.root"))]  # not circular.root, which is refused
COMPRESSIONS = {
    "none": None,
    "zlib": uproot.ZLIB(1),
    "lzma": uproot.LZMA(1),
    "zstd": uproot.ZSTD(1),
    "lz4": uproot.LZ4(1),
}
ZLIB = uproot.ZLIB(1)
LISTS = PlainBranch(*3 * [np.zeros(0)], stored=np.dtype(">f4"), read=np.dtype("f4"), head=0)


def write_baskets(path: Path, sizes: list[int], compression: Any = ZLIB) -> ak.Array:
    """A tree of lists x in baskets of these sizes, and their counter n; returns x."""
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, sum(sizes))
    lists = ak.unflatten(np.round(rng.normal(size=counts.sum()), 1).astype(np.float32), counts)
    ends = np.cumsum([0, *sizes])
    with uproot.recreate(path, compression=compression) as file:
        tree = file.mktree("t", {"x": "var * float32"}, counter_name=lambda name: "n")
        for start, stop in zip(ends, ends[1:], strict=False):
            tree.extend({"x": lists[start:stop]})
    return lists


@pytest.fixture
def large(monkeypatch) -> None:
    """All baskets are large, and have no room in memory."""
    monkeypatch.setattr(plain, "LARGE", 0)
    monkeypatch.setattr(plain, "_MOST_IN_MEMORY", 0)


@pytest.fixture(params=[False, True], ids=["whole", "in parts"])
def in_parts(request) -> bool:
    """Whether baskets are read in parts."""
    if request.param:
        request.getfixturevalue("large")
    return bool(request.param)


@pytest.fixture
def unpacked(monkeypatch) -> list[int]:
    """The entries of the baskets that have been unpacked."""
    found, whole, parts = list[int](), plain.whole_basket, Baskets._in_parts

    def wholly(record: bytes, entries: int, *more: Any) -> Any:
        found.append(entries)
        return whole(record, entries, *more)

    def partly(self: Baskets, source: Any, branch: Any, begin: int, facts: Any) -> Any:
        found.append(facts.entries)
        return parts(self, source, branch, begin, facts)

    monkeypatch.setattr(plain, "whole_basket", wholly)
    monkeypatch.setattr(Baskets, "_in_parts", partly)
    return found


@pytest.mark.parametrize("sizes", BASKETS.values(), ids=BASKETS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 120)), max_size=12))
def test_ranges_are_read_whatever_was_read_before(sizes, ranges, tmp_path, in_parts):
    lists = write_baskets(tmp_path / "in.root", sizes)
    with open_source(tmp_path / "in.root") as source:
        for start, length in ranges:
            stop = min(start + length, 1000)
            assert source.trees["t"].read(["x", "n"], start, stop)["x"].to_list() == lists[start:stop].to_list()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_parts_are_read_whatever_the_compression(compression, tmp_path, unpacked):
    lists = write_baskets(tmp_path / "in.root", [1000], compression)
    with open_source(tmp_path / "in.root") as source:
        tree = source.trees["t"]
        parts = [tree.read(["x", "n"], start, start + 100) for start in range(0, 1000, 100)]
    assert ak.concatenate([part["x"] for part in parts]).to_list() == lists.to_list()
    assert ak.concatenate([part["n"] for part in parts]).to_list() == ak.num(lists).to_list()
    assert unpacked == [1000, 1000]


def test_a_large_basket_is_unpacked_once(tmp_path, in_parts, unpacked):
    lists = write_baskets(tmp_path / "in.root", [400, 600])
    with open_source(tmp_path / "in.root") as source:
        source.trees["t"].read(["x"], 0, 70)
        whole = source.trees["t"].read(["x"], 0, 400)["x"]
        parts = [source.trees["t"].read(["x"], start, start + 70)["x"] for start in range(0, 980, 70)]
    assert ak.concatenate(parts).to_list() == lists[:980].to_list()
    assert whole.to_list() == lists[:400].to_list()
    assert unpacked == [400, 600]


def test_a_part_of_a_large_basket_takes_room_for_itself_alone(tmp_path, in_parts):
    lists = write_baskets(tmp_path / "in.root", [1000])
    with open_source(tmp_path / "in.root") as source:
        part = source.trees["t"].read(["x"], 10, 20)["x"]
    values = part.layout.content.data
    assert part.to_list() == lists[10:20].to_list()
    assert values.nbytes > 0 and values.base.nbytes == values.nbytes


def test_small_baskets_are_forgotten_where_they_take_too_much_memory(tmp_path, monkeypatch):
    lists = write_baskets(tmp_path / "in.root", [1000])
    monkeypatch.setattr(plain, "_MOST_WHOLE", 10)
    with open_source(tmp_path / "in.root") as source:
        tree = source.trees["t"]
        for start in range(0, 900, 300):
            assert tree.read(["x", "n"], start, start + 300)["x"].to_list() == lists[start : start + 300].to_list()
            assert not len(tree._baskets)


@pytest.mark.usefixtures("large")
def test_of_large_baskets_the_last_of_each_branch_is_kept(tmp_path, monkeypatch, unpacked):
    lists = write_baskets(tmp_path / "in.root", [400, 600])
    monkeypatch.setattr(plain, "_MOST_IN_PARTS", 10)
    with open_source(tmp_path / "in.root") as source:
        tree = source.trees["t"]
        for start in (0, 100, 300, 500, 700, 800, 0):
            assert tree.read(["x", "n"], start, start + 100)["x"].to_list() == lists[start : start + 100].to_list()
        assert len(tree._baskets) == 2
    assert unpacked == [400, 400, 600, 600, 400, 400]


def test_several_threads_may_forget_baskets(monkeypatch):
    class Large(plain._Whole):
        @property
        def nbytes(self) -> int:
            known.pop(next(iter(known)), None)  # as other threads do meanwhile
            known[len(known)] = plain._Whole(np.zeros(1), np.zeros(1))
            return 100

    known: dict[Any, Any] = {name: Large(np.zeros(1), np.zeros(1)) for name in ("first", "second")}
    plain._forget(known, plain._Whole, 10, set())
    assert not {"first", "second"}.intersection(known)


def test_plain_numbers_are_what_uproot_reads(tmp_path, monkeypatch, in_parts):
    lists = write_baskets(tmp_path / "in.root", [30, 1, 50])
    with open_source(tmp_path / "in.root") as source:
        found = source.trees["t"].read(["x", "n"], 7, 60)
    monkeypatch.setattr(trees, "read_numbers", lambda *_: None)
    with open_source(tmp_path / "in.root") as source:
        expected = source.trees["t"].read(["x", "n"], 7, 60)
    assert found["x"].to_list() == lists[7:60].to_list() == expected["x"].to_list()
    assert [found[name].type for name in found] == [expected[name].type for name in expected]


@pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_root_wrote_is_read_as_uproot_reads_it(path, monkeypatch, in_parts):
    found, expected = plainly(path), monkeypatch.setattr(trees, "read_numbers", lambda *_: None) or plainly(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert str(found[name].type) == str(array.type) and ak.array_equal(found[name], array, equal_nan=True), name


def plainly(path: Path) -> dict[str, ak.Array]:
    """What is read of some entries of all branches of a file's TTrees with plain numbers or structures of them."""
    read = {}
    with open_source(path) as source:
        for tree in [tree for tree in source.trees.values() if not tree.is_rntuple]:
            start, stop = tree.entries // 3, min(tree.entries // 3 + 20, tree.entries)
            parts = {branch.name: tree._part(branch.name) for branch in [*tree.branches, *tree.members]}
            names = [name for name, part in parts.items() if tree._lying(part.branch if part else name, part)]
            read |= {f"{tree.name}/{name}": tree.read([name], start, stop)[name] for name in names}
    return read


# --- vectors, with heads of ten bytes in front of the numbers of each entry

COUNTS, MANY = np.array([2, 0, 3, 1], np.int64), 50


def vectors(kind: str, path: Path) -> tuple[PlainBranch, Any, Any]:
    """A branch of vectors of this type, in one basket that is all of a file, the numbers, and their counts."""
    counts = np.tile(COUNTS, MANY)
    values = (np.arange(counts.sum()) % 100).astype(kind)
    data, offsets = Form(np.dtype(kind).newbyteorder(">").str, True, vector=9).pack(values, counts)
    record, _ = pack_basket(data, offsets, len(counts), uproot.ZLIB(1), new_key(b"TBasket", b"x", b"t", 1, 0, 0, True))
    path.write_bytes(record)
    places = np.array([0, len(counts)]), np.array([0]), np.array([len(record)])
    return PlainBranch(*places, np.dtype(kind).newbyteorder(">"), np.dtype(kind), 10), values, counts


@pytest.mark.parametrize("kind", ["f4", "f8", "u1", "i2", "?"])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=st.lists(st.tuples(st.integers(0, 199), st.integers(1, 200)), min_size=1, max_size=5))
def test_numbers_of_vectors_are_behind_their_heads(kind, ranges, tmp_path, in_parts):
    branch, values, counts = vectors(kind, tmp_path / "x")
    known, ends = Baskets(Room()), np.append(0, np.cumsum(counts))
    with LocalSource(str(tmp_path / "x")) as source:
        for start, length in ranges:
            stop = min(start + length, len(counts))
            found = read_numbers(source, branch, start, stop, known, SharedEnds())
            assert found is not None and found[0].dtype == kind
            assert found[0].tolist() == values[ends[start] : ends[stop]].tolist()
            assert found[1].tolist() == (ends[start : stop + 1] - ends[start]).tolist()


@pytest.mark.parametrize("place", ["size", "offsets", "end"])
def test_baskets_that_contradict_themselves_are_left_to_uproot(place, tmp_path, in_parts):
    lists = write_baskets(tmp_path / "in.root", [200], None)
    with uproot.open(tmp_path / "in.root") as file:
        branch = file["t"]["x"]
        begin, size = int(branch.member("fBasketSeek")[0]), int(branch.member("fBasketBytes")[0])
        key = int(branch.basket(0).member("fKeylen"))
    data = bytearray((tmp_path / "in.root").read_bytes())
    at = {"size": begin + 3, "offsets": begin + size - 8, "end": begin + key - 5}[place]
    data[at : at + 1] = b"\x7f"
    (tmp_path / "bad").write_bytes(data)
    numbers = PlainBranch(np.array([0, 200]), np.array([begin]), np.array([size]), np.dtype(">f4"), np.dtype("f4"), 0)
    with LocalSource(str(tmp_path / "bad")) as source:
        assert read_numbers(source, numbers, 150, 200, Baskets(Room()), SharedEnds()) is None
    with LocalSource(str(tmp_path / "in.root")) as source:
        found = read_numbers(source, numbers, 150, 200, Baskets(Room()), SharedEnds())
    assert found is not None and found[0].tolist() == ak.flatten(lists[150:]).to_list()


def test_lists_without_offsets_are_left_to_uproot(tmp_path, in_parts):
    record, _ = pack_basket(bytes(400), None, 100, ZLIB, new_key(b"TBasket", b"x", b"t", 1, 0, 0, True))
    (tmp_path / "x").write_bytes(record)
    lists = PlainBranch(np.array([0, 100]), np.array([0]), np.array([len(record)]), LISTS.stored, LISTS.read, 0)
    room = Room()
    room.hold(lambda: iter([b"bytes of others" * 100]), 1500)
    with LocalSource(str(tmp_path / "x")) as source:
        assert read_numbers(source, lists, 10, 20, Baskets(room), SharedEnds()) is None
        assert read_numbers(source, replace(lists, head=None), 10, 20, Baskets(room), SharedEnds()) is not None


def test_differences_in_place_of_offsets_are_left_to_uproot(tmp_path, in_parts):
    """As ROOT stores them with kGenerateOffsetMap; here they could be offsets, but for the first."""
    lengths = np.append(0, 100 * np.arange(1, 50))
    record, _ = pack_basket(bytes(400 * 50), lengths, 50, None, new_key(b"TBasket", b"x", b"t", 1, 0, 0, True))
    key = len(record) - 400 * 50 - 4 * 52
    table = np.frombuffer(record, ">i4", 50, key + 400 * 50 + 4) - np.append(key, np.zeros(49, np.int64))
    (tmp_path / "x").write_bytes(record[: key + 20004] + table.astype(">i4").tobytes() + record[-4:])
    lists = PlainBranch(np.array([0, 50]), np.array([0]), np.array([len(record)]), LISTS.stored, LISTS.read, 0)
    with LocalSource(str(tmp_path / "x")) as source:
        assert read_numbers(source, lists, 10, 20, Baskets(Room()), SharedEnds()) is None


def test_branches_with_one_counter_share_the_ends_of_their_lists(monkeypatch):
    made = []
    monkeypatch.setattr(plain, "_ends", lambda *given, make=plain._ends: made.append(given) or make(*given))
    shared, offsets = SharedEnds(), np.array([0, 8, 8], np.int32)
    first = shared.of(offsets, 12, 4)
    assert shared.of(offsets.copy(), 12, 4) is first and first.tolist() == [0, 2, 2, 3]
    for others, end, width in ((offsets, 16, 4), (offsets, 12, 2), (np.array([0, 4, 8], np.int32), 12, 4)):
        assert shared.of(others, end, width).tolist() == [*others // width, end // width]
    assert len(made) == 4
    with pytest.raises(ValueError, match="do not follow"):
        shared.of(offsets, 4, 4)


@pytest.mark.parametrize("stored, read", [(">f4", "<f4"), (">f4", "<f8"), ("u1", "u1"), (">i8", "<i8")])
@pytest.mark.parametrize("size", [40, 4000])
def test_numbers_become_those_of_this_machine_whether_in_place_or_not(stored, read, size):
    data = np.arange(160, dtype=np.uint8) % 64
    for held in (data.copy(), data.tobytes()):
        values = np.frombuffer(held, stored, 40 // np.dtype(stored).itemsize)
        expected = values.astype(read)
        found = plain._native(values, np.dtype(read), size)
        assert found.dtype == read and found.tobytes() == expected.tobytes() and found.flags.writeable


@pytest.fixture
def basket(tmp_path) -> bytes:
    """A basket of 50 lists with its key."""
    write_baskets(tmp_path / "in.root", [50])
    with uproot.open(tmp_path / "in.root") as file:
        branch = file["t"]["x"]
        begin, size = int(branch.member("fBasketSeek")[0]), int(branch.member("fBasketBytes")[0])
    return (tmp_path / "in.root").read_bytes()[begin : begin + size]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), value=st.integers(0, 255))
def test_a_changed_basket_is_read_as_uproot_reads_it_or_refused(place, value, basket):
    record = bytearray(basket)
    record[place % len(record)] = value
    with contextlib.suppress(ValueError, struct.error):
        found = whole_basket(bytes(record), 50, LISTS, SharedEnds())
        assert len(found.ends) == 51 and found.ends[-1] == len(found.numbers) and (np.diff(found.ends) >= 0).all()


@pytest.mark.usefixtures("large")
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), value=st.integers(0, 255), start=st.integers(0, 40))
def test_parts_of_a_changed_basket_are_read_or_left_to_uproot(place, value, start, basket, tmp_path):
    record = bytearray(basket)
    record[place % len(record)] = value
    (tmp_path / "x").write_bytes(record)
    branch = PlainBranch(np.array([0, 50]), np.array([0]), np.array([len(record)]), LISTS.stored, LISTS.read, 0)
    with LocalSource(str(tmp_path / "x")) as source:
        if found := read_numbers(source, branch, start, start + 10, Baskets(Room()), SharedEnds()):
            values, ends = found
            assert len(ends) == 11 and ends[0] == 0 and ends[-1] == len(values) and (np.diff(ends) >= 0).all()


# --- room for large baskets


def halves(data: bytes) -> Iterator[bytes]:
    """Data in two parts."""
    yield data[: len(data) // 2]
    yield data[len(data) // 2 :]


@pytest.mark.parametrize("most", [0, 10, 1000])
def test_bytes_have_room_in_memory_or_in_a_file(most, monkeypatch):
    monkeypatch.setattr(plain, "_MOST_IN_MEMORY", most)
    room, texts = Room(), [bytes([letter]) * 7 for letter in b"abc"]
    found = [room.hold(lambda text=text: halves(text), 7) for text in texts]
    assert [read(0, 7) for read in found] == texts and found[1](2, 5) == b"bbb"
    assert (room._in_memory, room._end) == {0: (0, 21), 10: (7, 14), 1000: (21, 0)}[most]


def test_what_is_no_longer_used_makes_room(monkeypatch):
    monkeypatch.setattr(plain, "_MOST_IN_MEMORY", 5)
    room = Room()
    small, first, second = (room.hold(lambda n=n: halves(bytes(n)), n) for n in (5, 8, 20))
    del small, first
    gc.collect()
    assert room._in_memory == 0 and room._end == 28
    again = room.hold(lambda: halves(b"smaller"), 7)
    assert room._end == 28 and again(0, 7) == b"smaller" and second(0, 20) == bytes(20)


def test_where_the_disk_has_no_room_bytes_are_in_memory(monkeypatch):
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plain, "_MOST_IN_MEMORY", 0)
    monkeypatch.setattr(os, "pwrite", full)
    room = Room()
    assert room.hold(lambda: halves(b"some bytes"), 10)(5, 10) == b"bytes" and room._in_memory == 10
    assert room._free == [(10, 0)]


def test_the_file_has_no_name_and_is_closed_with_the_room(tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "_MOST_IN_MEMORY", 0)
    monkeypatch.setattr(plain.tempfile, "tempdir", str(tmp_path))
    room = Room()
    held = room.hold(lambda: halves(b"bytes"), 5)
    assert not list(tmp_path.iterdir()) and held(0, 5) == b"bytes"
    file = room._file
    del room, held
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(file)


def test_lists_are_held_only_if_they_follow_each_other(monkeypatch):
    monkeypatch.setattr(plain, "_MOST_IN_MEMORY", 0)
    numbers, ends = np.arange(5.0), np.array([0, 2, 2, 5])
    held = HeldLists(Room(), numbers, ends)
    assert [part.tolist() for part in held.take(1, 3)] == [[2, 3, 4], [0, 0, 3]]
    for wrong in ([1, 2, 2, 5], [0, 3, 2, 5], [0, 2, 2, 6]):
        with pytest.raises(ValueError, match="do not follow"):
            HeldLists(Room(), numbers, np.array(wrong))
