"""Files composed of the records of others."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlasae.graft import composing
from atlasae.graft.composing import Composer, Moves
from atlasae.graft.digests import BitMarks, Digests, Marks, objects_of
from atlasae.graft.records import Records
from atlasae.graft.trees import GraftedTree, put_in, take_out, trees_of

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = [GOLDEN / "leaves" / "leaves.root", GOLDEN / "beside.root"]


def opened(path: Path) -> tuple[Records, list[GraftedTree]]:
    content = path.read_bytes()
    records = Records(lambda start, stop: content[start:stop], len(content))
    return records, trees_of(records)


def composed(path: Path, target: Path) -> Path:
    records, trees = opened(path)
    with Composer(target, records) as composer:
        composer.copy_all(trees, lambda *_: None)
        composer.finish(trees)
    return target


def sums(path: Path) -> tuple[dict[str, list[tuple[str, int]]], dict[str, int]]:
    """The checksums of all branches and objects of a file."""
    records, trees = opened(path)
    digests = Digests(records, trees, {})
    return {tree.path: digests.found(tree.path) for tree in trees}, dict(objects_of(records, "atlasae"))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A file of uproot with folders, and a hole where an object was deleted."""
    with uproot.recreate(tmp_path / "made.root") as file:
        file["gone"] = np.histogram([1.0, 2.0])
        file["deep/er/histogram"] = np.histogram([1.0, 2.0])
        tree = file.mktree("deep/tree", {"x": np.dtype("f4"), "y": "var * float64"}, title="a tree")
        for _ in range(3):
            tree.extend({"x": np.arange(5, dtype="f4"), "y": ak.unflatten(np.arange(5.0), [2, 0, 3, 0, 0])})
        del file["gone"]
    return tmp_path / "made.root"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_root_is_composed_again(path, tmp_path):
    again = composed(path, tmp_path / "again.root")
    assert sums(again) == sums(path)
    assert composed(again, tmp_path / "twice.root").read_bytes() == again.read_bytes()


def test_a_file_of_uproot_is_composed_again(made, tmp_path):
    again = composed(made, tmp_path / "again.root")
    assert sums(again) == sums(made) and again.stat().st_size < made.stat().st_size
    with uproot.open(again) as file, uproot.open(made) as before:
        assert file.keys(cycle=False) == before.keys(cycle=False)
        assert file["deep/tree"].title == "a tree" and file["deep/tree"].num_entries == 15
        assert ak.array_equal(file["deep/tree"].arrays(), before["deep/tree"].arrays())
        assert file["deep/er/histogram"].to_numpy()[0].tolist() == before["deep/er/histogram"].to_numpy()[0].tolist()


def test_a_branch_that_was_taken_out_leaves_nothing(made, tmp_path):
    records, trees = opened(made)
    taken = take_out(trees[0], ["y"])
    with Composer(tmp_path / "less.root", records) as composer:
        composer.copy_all(trees, lambda *_: None)
        composer.finish(trees)
    with uproot.open(tmp_path / "less.root") as file:
        assert file["deep/tree"].keys() == ["x", "ny"]
        assert file["deep/tree"]["ny"].array().to_list() == [2, 0, 3, 0, 0] * 3
    assert (taken[0].above, taken[0].before) == ((), "")
    put_in(trees[0], taken[0].thing)
    assert trees[0].names == ["x", "ny", "y"]


def test_nothing_is_copied_where_records_overlap():
    with pytest.raises(ValueError, match="overlap"):
        Moves(np.array([[100, 50], [149, 20]]), 100)


@pytest.mark.parametrize("field", ["fBasketSeek", "fBasketBytes"])
def test_positions_that_lie_are_damage(field, made, tmp_path):
    records, trees = opened(made)
    _, branch = trees[0].named("x")
    flag, values = branch[field]
    branch[field] = flag, values + np.where(np.arange(len(values)) == 1, 7, 0)
    with pytest.raises(ValueError), Composer(tmp_path / "bad.root", records) as composer:
        composer.copy_all(trees, lambda *_: None)


def test_a_folder_in_itself_is_damage(made, tmp_path):
    records, _ = opened(made)
    inner = next(iter(records.root.folders.values()))
    content = bytearray(made.read_bytes())
    content[inner.at + inner.key.keylen + 26 : inner.at + inner.key.keylen + 30] = bytes(4)
    shutil.copy(made, tmp_path / "bad.root")
    assert sums(made)[1].keys() == {"deep/er/histogram;1"}
    (tmp_path / "bad.root").write_bytes(content)
    assert sums(tmp_path / "bad.root")[1] == {}  # its list of keys is gone


# --- marks


def test_marks_name_what_differs():
    found = [(f"b{number}", number << 60 | number) for number in range(12)]
    others = [("object", 3)]
    marks = Marks.of(found, others)
    assert marks.changed(list(reversed(found)), others) == []
    assert marks.changed([*found[:3], ("b3", 5), *found[4:]], others) == ["b3"]
    assert marks.changed(found, [("object", 4)]) == ["object"]
    assert marks.changed([*found[:3], ("b3", 5), ("b4", 700), *found[5:]], [("object", 4)]) == [
        *sorted(dict(found)),
        "object",
    ]
    assert len(marks.changed(found[1:], others)) == 11
    assert len(marks.changed(found, [])) == 12


def test_marks_of_many_branches_are_small():
    found = [(str(number), number * 0x9E3779B97F4A7C15 % 2**64) for number in range(1, 1501)]
    marks = Marks.of(found, [])
    assert len(marks.numbers) == 4 and max(marks.numbers) < 2**64
    for place in (0, 700, 1499):
        assert marks.changed([*found[:place], (found[place][0], 0), *found[place + 1 :]], []) == [found[place][0]]


def test_marks_of_format_3_name_what_differs():
    found = [(f"b{number}", number << 60 | number) for number in range(3)]
    marks = BitMarks([Marks.of(found).numbers[0], *(value for _, value in found)])
    assert marks.changed(list(reversed(found))) == []
    assert marks.changed([found[0], ("b1", 5), found[2]]) == ["b1"]
    assert len(marks.changed(found[1:])) == 2


def in_some_order(made: Path, order: Sequence[int]) -> tuple[list[tuple[str, int]], int]:
    """The checksums of branches whose baskets are seen in an order, and the number of baskets that are read again."""
    (records, trees), read = opened(made), list[int]()
    whole = records.read
    records.read = lambda start, stop: read.append(start) or whole(start, stop)
    digests = Digests(records, trees, {})
    for branch in trees[0].branches():
        places = list(zip(*(branch[f][1] for f in ("fBasketSeek", "fBasketBytes")), strict=True))
        for seek, size in (places[number] for number in order):
            digests.seen(int(seek), whole(int(seek), int(seek + size)))
    return digests.found("deep/tree"), len(read) // len(list(trees[0].branches()))


@given(order=st.permutations(range(3)).flatmap(lambda all: st.integers(0, 3).map(lambda seen: all[:seen])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_baskets_seen_in_any_order_are_read_at_their_turn(made, order):
    found, again = in_some_order(made, order)
    assert found == sums(made)[0]["deep/tree"]
    assert again == 3 - sum(set(order[:i]) >= set(range(place)) for i, place in enumerate(order))


def test_others_write_behind_what_is_being_copied(made, tmp_path):
    records, trees = opened(made)
    with Composer(tmp_path / "again.root", records) as composer:
        copy, end = composer.begin_copy(trees, lambda *_: None), composer.end
        assert composer.append(b"behind") == end
        copy()
        composer.finish(trees)
    assert sums(tmp_path / "again.root") == sums(made)
    assert (tmp_path / "again.root").read_bytes()[end : end + 6] == b"behind"


def test_copying_ends_where_the_file_is_given_up(made, tmp_path, monkeypatch):
    monkeypatch.setattr(composing, "_AT_ONCE", 1)  # byte that is read at once, that is, one record
    (records, trees), seen = opened(made), list[int]()
    with Composer(tmp_path / "again.root", records) as composer:
        copy = composer.begin_copy(trees, lambda at, _: seen.append(at) or composer.__exit__(None, None, None))
        copy()
    assert len(seen) == 1


@pytest.mark.parametrize("threads", ["1", "2"])
def test_an_error_beside_is_told_and_gives_the_file_up(threads, made, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", threads)
    records, trees = opened(made)
    with Composer(tmp_path / "again.root", records) as composer:
        beside = composer.copied_beside(composer.begin_copy(trees, lambda *_: None))
        with pytest.raises(ValueError, match="elsewhere"), beside:
            raise ValueError("elsewhere")
        assert composer._file.closed


@pytest.mark.parametrize("threads", ["1", "2"])
def test_an_error_in_copying_is_told_behind_what_is_done_beside(threads, made, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", threads)
    (records, trees), done = opened(made), list[str]()

    def seen(at: int, record: bytes) -> None:
        raise ValueError("no such record")

    with Composer(tmp_path / "again.root", records) as composer:
        beside = composer.copied_beside(composer.begin_copy(trees, seen))
        with pytest.raises(ValueError, match="no such record"), beside:
            done.append("beside")
    assert done == ["beside"]


def test_what_is_copied_or_appended_begins_to_be_flushed(made, tmp_path, monkeypatch):
    monkeypatch.setattr(composing, "_AT_ONCE", 1 << 10)  # bytes that are flushed at once
    flushed = list[tuple[int, int]]()
    monkeypatch.setattr(composing, "_begin_flush", lambda file, begin, end: flushed.append((begin, end)))
    (records, trees), begin = opened(made), opened(made)[0].head.begin
    with Composer(tmp_path / "again.root", records) as composer:
        composer.copy_all(trees, lambda *_: None)
        copied = composer.end
        for _ in range(5):
            composer.append(bytes(600))
        end = composer.end
        composer.finish(trees)
    assert {place for span in flushed for place in range(*span)} >= {*range(begin, copied), *range(copied, end - 600)}
    assert sums(tmp_path / "again.root") == sums(made)


def test_to_begin_to_flush_changes_nothing(tmp_path):
    with (tmp_path / "out.root").open("w+b") as file:
        file.write(bytes(range(256)) * 64)
        file.flush()
        composing._begin_flush(file.fileno(), 100, 9000)
        file.write(b"more")
    assert (tmp_path / "out.root").read_bytes() == bytes(range(256)) * 64 + b"more"


def test_what_can_not_be_flushed_early_is_left(tmp_path):
    reader, writer = os.pipe()
    composing._begin_flush(writer, 0, 10)
    os.close(reader)
    os.close(writer)


def test_ranges_have_their_own_checksums(made):
    records, trees = opened(made)
    digests = Digests(records, trees, {"deep/tree": [5, 7, 15]})
    first, second, third = (dict(digests.found("deep/tree", which)) for which in range(3))
    assert len({first["x"], second["x"], third["x"]}) == 3
    again = Digests(records, trees, {"deep/tree": [10, 15]})
    assert dict(again.found("deep/tree", 1)) == first  # its baskets hold the same five entries
