"""Other trees and objects: copied, restored and compared, with every kind of difference."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import bits, bystanders, declared, read_tree
from hypothesis import given
from hypothesis import strategies as st

import atlasae.files.trees
from atlasae.compression.format import Chunk, Contents, Copied, CopiedTree, Run
from atlasae.compression.others import compare_others, copy_back, copy_others, entry_ranges, moved
from atlasae.errors import DamagedFileError, UnreachableError, UserError
from atlasae.files import writing
from atlasae.files.checksums import checksum
from atlasae.files.events import ArrayEvents
from atlasae.files.trees import open_source
from atlasae.files.writing import create
from atlasae.report import LeftOut

STEP = 1_000_000
HISTOGRAM = np.histogram([1.0, 2.0, 2.5, 9.0], bins=4)
OBJECTS = {"top": HISTOGRAM, "folder__deep__note": "a note"}
Trees = dict[str, dict[str, ak.Array]]


def trees(seed: int = 9) -> Trees:
    """The tree of jets, and others: in a folder, without entries, and with two jagged branches of one counter."""
    counts = np.array([2, 0, 3])
    return {
        "Events": {"x": ak.Array(np.arange(5.0))},
        "folder/more": {name: bystanders(20, seed)[name] for name in ("weight", "met", "name", "hit")},
        "empty": {"a": ak.Array(np.zeros(0)), "b": ak.unflatten(np.zeros(0), np.zeros(0, int))},
        "counted": {"p_a": ak.unflatten(np.arange(5.0), counts), "p_b": ak.unflatten(np.arange(5), counts)},
    }


def write(path: Path, content: Trees, **objects: object) -> Path:
    with uproot.recreate(path) as file:
        for name, branches in content.items():
            types = {branch: declared(array) for branch, array in branches.items()}
            shared = {branch: f"n{branch[0]}" for branch in branches if branch.startswith("p_")}
            made = file.mktree(
                name, types, title=f"of {name}", counter_name=lambda b, shared=shared: shared.get(b, f"n{b}")
            )
            if len(next(iter(branches.values()))):
                made.extend(branches)
        for name, thing in objects.items():
            file[name.replace("__", "/")] = thing
    return path


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return write(tmp_path / "in.root", trees(), **OBJECTS)


def copied(path: Path, target: Path, step_size: int = STEP) -> tuple[Copied, list[LeftOut]]:
    with open_source(path) as source, create(target) as made:
        return copy_others(source, "Events", made, step_size, drop_unwritable=True)


def contents(*parts: Copied, left_out: Sequence[LeftOut] = ()) -> Contents:
    """Contents with one run per part, without jets."""
    runs = [
        Run(
            {}, "Events", "", 5, 1, [], [], [], [], {}, [], {}, copied=part, left_out=[*left_out]
        )  # empty: what describes jets
        for part in parts
    ]
    return Contents(runs, [])


def restored(path: Path, what: Contents, target: Path) -> Path:
    with open_source(path) as source, create(target) as made:
        copy_back(source, what, made, STEP)
    return target


def differences(path: Path, what: Contents) -> list[str]:
    with open_source(path) as source:
        return compare_others(source, what)


# --- round trip


@pytest.mark.parametrize("step_size", [STEP, 300])
def test_other_trees_and_objects_come_back(step_size, original, tmp_path):
    found, left_out = copied(original, tmp_path / "small.root", step_size)
    restored(tmp_path / "small.root", contents(found), tmp_path / "back.root")
    assert left_out == []
    for path in (tmp_path / "small.root", tmp_path / "back.root"):
        with uproot.open(path) as file:
            assert "Events" not in file
            assert [axis.tolist() for axis in file["top"].to_numpy()] == [axis.tolist() for axis in HISTOGRAM]
            assert file["folder/deep/note"] == "a note"
            assert {name: file[name].title for name in trees() if name != "Events"} == {
                name: f"of {name}" for name in trees() if name != "Events"
            }
            assert file["counted"].keys() == ["np", "p_a", "p_b"]  # one counter, as in the input
        for name, branches in trees().items():
            if name != "Events":
                back = read_tree(path, name)
                assert {n: bits(a) for n, a in back.items()} == {n: bits(a) for n, a in branches.items()}


def test_what_was_copied_is_recorded_chunk_by_chunk(original, tmp_path):
    found, _ = copied(original, tmp_path / "small.root", 300)
    assert sorted(found.objects) == ["folder/deep/note", "top"]
    by_name = {tree.name: tree.chunks for tree in found.trees}
    assert sorted(by_name) == ["counted", "empty", "folder/more"]
    more = trees()["folder/more"]
    assert len(by_name["folder/more"]) > 2 and {chunk.jets for chunk in by_name["folder/more"]} == {0}
    start = 0
    for chunk in by_name["folder/more"]:
        assert chunk.checksums == [checksum(array[start : start + chunk.entries]) for array in more.values()]
        start += chunk.entries
    assert start == 20
    assert [chunk.entries for chunk in by_name["empty"]] == [0]


def test_the_folder_of_a_compressed_file_is_not_copied(tmp_path):
    extra: Trees = {"atlasae/runs": {"x": ak.Array(np.arange(3.0))}}
    path = write(tmp_path / "in.root", trees() | extra, atlasae__about="of another file")
    found, _ = copied(path, tmp_path / "small.root")
    restored(path, contents(found), tmp_path / "back.root")
    for copy in ("small.root", "back.root"):
        with uproot.open(tmp_path / copy) as file:
            assert "atlasae" not in file and "top" not in file and "folder/more" in file


def test_what_can_not_be_copied_is_told_and_the_rest_is(tmp_path):
    nested = ak.Array([[[1, 2], []], [[3]]])
    numbers = ak.Array(np.arange(2))
    with uproot.recreate(tmp_path / "in.root") as file:
        file.mktree("Events", {"x": "f8"}).extend({"x": np.zeros(2)})
        for name, branches in {"other": {"a": numbers, "tracks": nested}, "hopeless": {"tracks": nested}}.items():
            types = {n: a.layout.form.type if n == "tracks" else declared(a) for n, a in branches.items()}
            file.mkrntuple(name, types).extend(branches)
    found, left_out = copied(tmp_path / "in.root", tmp_path / "small.root")
    told = ["branch 'tracks' of tree 'hopeless'", "branch 'tracks' of tree 'other'", "tree 'hopeless'"]
    assert sorted(thing.name for thing in left_out) == told
    assert list(read_tree(tmp_path / "small.root", "other")) == ["a"]
    restored(tmp_path / "small.root", contents(found), tmp_path / "back.root")
    assert bits(read_tree(tmp_path / "back.root", "other")["a"]) == bits(numbers)
    assert differences(tmp_path / "in.root", contents(found, left_out=left_out)) == []  # recorded as left out
    untold = differences(tmp_path / "in.root", contents(found))
    assert sorted(untold) == [f"{name} of the original is not in the compressed file" for name in told]


def test_an_object_that_can_not_be_copied_is_told(original, tmp_path, monkeypatch):
    monkeypatch.setattr(atlasae.files.trees, "_as_written", lambda thing: int("no number"))
    found, left_out = copied(original, tmp_path / "small.root")
    assert found.objects == []
    kinds = {"folder/deep/note": "TObjString", "top": "TH1D"}
    assert {thing.name: thing.why for thing in left_out} == {
        f"'{name}'": f"uproot can't write this {kind}" for name, kind in kinds.items()
    }


def test_what_can_not_be_written_ends_the_run_before_trees_are_copied(original, tmp_path, monkeypatch):
    monkeypatch.setattr(atlasae.files.trees, "_as_written", lambda thing: int("no number"))
    monkeypatch.setattr(writing.Target, "make_tree", None)
    words = r"'.*in.root' has 2 things beside its jets that can't be written: '.*; --drop-unwritable leaves them out"
    with open_source(original) as source, create(tmp_path / "x.root") as made, pytest.raises(UserError, match=words):
        copy_others(source, "Events", made, STEP)


def test_what_has_a_slash_in_its_name_fills_its_folder_and_becomes_one(tmp_path):
    path = write(tmp_path / "in.root", trees() | {"one/p_q": trees()["Events"]}, two__h_1=HISTOGRAM, three__h=HISTOGRAM)
    content = path.read_bytes()
    for name in (b"p_q", b"h_1"):
        content = content.replace(b"\3" + name, b"\3" + name.replace(b"_", b"/"))
    path.write_bytes(content)
    found, left_out = copied(path, tmp_path / "small.root")
    names = [*(tree.name for tree in found.trees), *found.objects]
    assert not left_out and {"folder/more", "one/p/q", "two/h/1", "three/h"} <= set(names)
    with open_source(path) as source, open_source(tmp_path / "small.root") as small:
        assert sorted(moved(source, ["Events", *names])) == [
            "'one/p/q' becomes folder 'one/p' with 'q'",
            "'two/h/1' becomes folder 'two/h' with '1'",
        ]
        assert not moved(small, ["Events", *names]) and "one/p" in small.folders
        assert not compare_others(source, contents(found))


def test_what_has_nothing_beside_a_slash_in_its_name_can_not_be_written(tmp_path):
    path = write(tmp_path / "in.root", trees() | {"p_q_": trees()["Events"]}, _h_1=HISTOGRAM, one__h__1=HISTOGRAM)
    content = path.read_bytes()
    for name, odd in ((b"p_q_", b"p/q/"), (b"_h_1", b"/h/1")):
        content = content.replace(b"\4" + name, b"\4" + odd)
    path.write_bytes(content)
    unwritable = (
        "2 things .*tree 'p/q/' .uproot writes no name with an empty part beside a slash.; '/h/1' .uproot writes no"
    )
    with (
        open_source(path) as source,
        create(tmp_path / "none.root") as made,
        pytest.raises(UserError, match=unwritable),
    ):
        copy_others(source, "Events", made, STEP)
    found, left_out = copied(path, tmp_path / "small.root")
    assert {thing.name for thing in left_out} == {"tree 'p/q/'", "'/h/1'"}
    assert found.objects == ["one/h/1"] and "p/q/" not in {tree.name for tree in found.trees}
    with open_source(path) as source:
        assert not compare_others(source, contents(found, left_out=left_out))


@pytest.mark.parametrize("error", [OSError("no space left"), MemoryError(), UnreachableError("no way")])
def test_a_disk_that_fails_is_no_object_to_leave_out(error, original, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(writing.Target, "write_object", fail)
    with pytest.raises(type(error)):
        copied(original, tmp_path / "small.root")


def test_what_later_hands_put_there_and_can_not_be_written_is_told(original, tmp_path):
    small = tmp_path / "small.root"
    found, _ = copied(original, small)
    with uproot.update(small) as file:
        file["top"] = np.histogram([5.0], bins=4)
        file.mkdir("nothing")
    with open_source(small) as source:
        left_out = copy_back(source, contents(replace(found, checksums={})), None, STEP)
    assert [thing.name for thing in left_out] == ["cycle 1 of 'top'", "empty folder 'nothing'"]


# --- objects added later, and damage


def test_what_a_later_hand_added_comes_along(original, tmp_path):
    small = tmp_path / "small.root"
    found, _ = copied(original, small)
    with uproot.update(small) as file:
        file.mktree("later", {"y": "i4"}).extend({"y": np.arange(4, dtype=np.int32)})
        file["histogram"] = HISTOGRAM
    back = restored(small, contents(found), tmp_path / "back.root")
    assert read_tree(back, "later")["y"].to_list() == [0, 1, 2, 3]
    with uproot.open(back) as file:
        assert "histogram" in file


def with_chunks(found: Copied, name: str, chunks: list[Chunk], dtypes: list[str] | None = None) -> Contents:
    others = [tree for tree in found.trees if tree.name != name]
    dtypes = dtypes or next(tree.dtypes for tree in found.trees if tree.name == name)
    return contents(Copied([*others, CopiedTree(name, chunks, dtypes)], found.objects))


def test_a_checksum_that_differs_is_damage(original, tmp_path):
    small = tmp_path / "small.root"
    found, _ = copied(original, small, 300)
    chunks = next(tree.chunks for tree in found.trees if tree.name == "folder/more")
    sums = list(chunks[1].checksums)
    sums[1] ^= 1
    stop = chunks[0].entries + chunks[1].entries
    what = with_chunks(found, "folder/more", [chunks[0], replace(chunks[1], checksums=sums), *chunks[2:]])
    words = rf"branch 'met' of tree 'folder/more' is damaged: .* entries {chunks[0].entries} to {stop}$"
    with pytest.raises(DamagedFileError, match=words):
        restored(small, what, tmp_path / "back.root")


def test_another_type_is_damage_and_a_difference(original, tmp_path):
    small = tmp_path / "small.root"
    found, _ = copied(original, small)
    tree = next(tree for tree in found.trees if tree.name == "folder/more")
    swapped = {"<f4": "<i4", "<i4": "<f4", "<f8": "<i8", "<i8": "<f8"}[tree.dtypes[1]]
    what = with_chunks(found, tree.name, tree.chunks, [tree.dtypes[0], swapped, *tree.dtypes[2:]])
    with pytest.raises(DamagedFileError, match=r"branch 'met' of tree 'folder/more' is damaged: .*type"):
        restored(small, what, tmp_path / "back.root")
    assert differences(original, what) == ["branch 'met' of tree 'folder/more' differs in entries 0 to 20"]


def test_a_file_that_recorded_no_types_is_read(original, tmp_path):
    small = tmp_path / "small.root"
    found, _ = copied(original, small)
    what = contents(Copied([replace(tree, dtypes=[]) for tree in found.trees], found.objects))
    restored(small, what, tmp_path / "back.root")
    assert differences(original, what) == []


@pytest.mark.parametrize("entries", [19, 21])
def test_another_number_of_entries_is_damage(entries, original, tmp_path):
    small = tmp_path / "small.root"
    found, _ = copied(original, small)
    (chunk,) = next(tree.chunks for tree in found.trees if tree.name == "folder/more")
    with pytest.raises(DamagedFileError, match=f"'folder/more' is damaged: 20 entries, {entries} were written"):
        restored(small, with_chunks(found, "folder/more", [replace(chunk, entries=entries)]), tmp_path / "back.root")


@pytest.mark.parametrize("fewer", [0, 1])
def test_another_number_of_branches_is_damage(fewer, original, tmp_path):
    small = tmp_path / "small.root"
    found, _ = copied(original, small)
    (chunk,) = next(tree.chunks for tree in found.trees if tree.name == "counted")
    what = with_chunks(found, "counted", [replace(chunk, checksums=chunk.checksums[:fewer])])
    with pytest.raises(DamagedFileError, match="of tree 'counted' is damaged"):
        restored(small, what, tmp_path / "back.root")


@pytest.mark.parametrize("lost", ["folder/more", "empty", "top"])
def test_what_was_copied_and_is_gone_is_damage(lost, original, tmp_path):
    found, _ = copied(original, tmp_path / "small.root")
    kept = {name: branches for name, branches in trees().items() if name != lost}
    objects = {name: thing for name, thing in OBJECTS.items() if name != lost}
    less = write(tmp_path / "less.root", kept, **objects)
    with pytest.raises(DamagedFileError, match=lost):
        restored(less, contents(found), tmp_path / "back.root")


def test_an_object_that_can_not_be_read_any_more_is_damage(original, tmp_path, monkeypatch):
    found, _ = copied(original, tmp_path / "small.root")
    monkeypatch.setattr(atlasae.files.trees.Source, "copy_object", lambda source, name, target=None: "it breaks off")
    with pytest.raises(DamagedFileError, match=r"'(top|folder/deep/note)' in '.*small.root' is damaged: it breaks off"):
        restored(tmp_path / "small.root", contents(found), tmp_path / "back.root")


# --- merged files


def test_the_parts_of_a_merged_file_follow_each_other(original, tmp_path):
    second = write(tmp_path / "second.root", trees(seed=4), top=HISTOGRAM)
    parts = [copied(path, path.with_suffix(".small.root"), 300)[0] for path in (original, second)]
    joined = {
        name: {branch: ak.concatenate([array, trees(seed=4)[name][branch]]) for branch, array in branches.items()}
        for name, branches in trees().items()
    }
    merged = write(tmp_path / "merged.root", joined, top=HISTOGRAM, folder__deep__note="a note")
    assert differences(merged, contents(*parts)) == []
    back = restored(merged, contents(*parts), tmp_path / "back.root")
    for branch, array in joined["folder/more"].items():
        assert bits(read_tree(back, "folder/more")[branch]) == bits(array)
    swapped = differences(merged, contents(*reversed(parts)))
    assert swapped and "'folder/more'" in swapped[0]


# --- comparison


def test_the_original_has_no_differences(original, tmp_path):
    found, _ = copied(original, tmp_path / "small.root", 300)
    assert differences(original, contents(found)) == []
    assert differences(original, contents(Copied())) == []  # as with --only-jets


def test_other_values_are_a_difference_where_they_are(original, tmp_path):
    found, _ = copied(original, tmp_path / "small.root")
    other = trees()
    name = ak.to_list(other["folder/more"]["name"])
    other["folder/more"] |= {"name": ak.Array([*name[:19], "another"]), "met": other["folder/more"]["met"] + 1}
    changed = write(tmp_path / "changed.root", other, **OBJECTS)
    assert differences(changed, contents(found)) == [
        f"branch '{branch}' of tree 'folder/more' differs in entries 0 to 20" for branch in ("met", "name")
    ]


def test_another_tree_is_a_difference(original, tmp_path):
    found, _ = copied(original, tmp_path / "small.root")
    fewer = trees()
    del fewer["counted"]
    fewer["folder/more"] = {branch: array[:19] for branch, array in fewer["folder/more"].items()}
    changed = write(tmp_path / "changed.root", fewer, **OBJECTS)
    assert sorted(differences(changed, contents(found))) == [
        "tree 'counted' with 3 entries is not in the original",
        "tree 'folder/more' with 20 entries is not in the original",
    ]


def test_another_number_of_branches_is_a_difference(original, tmp_path):
    found, _ = copied(original, tmp_path / "small.root")
    fewer = trees()
    fewer["counted"] = {"p_a": fewer["counted"]["p_a"]}
    assert differences(write(tmp_path / "changed.root", fewer, **OBJECTS), contents(found)) == [
        "branch 'p_b' of tree 'counted' differs in entries 0 to 3"
    ]


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ({"top": HISTOGRAM}, "'folder/deep/note' is not in the original"),
        (OBJECTS | {"folder__deep__note": "another"}, "'folder/deep/note' differs"),
        (OBJECTS | {"top": np.histogram([1.0, 2.0, 2.5, 8.9], bins=4)}, "'top' differs"),
    ],
)
def test_another_object_is_a_difference_and_damage(objects, says, original, tmp_path):
    found, _ = copied(original, tmp_path / "small.root")
    changed = write(tmp_path / "changed.root", trees(), **objects)
    assert differences(changed, contents(found)) == [says]
    with pytest.raises(DamagedFileError, match=f"{says.split()[0]} .*damaged|damaged: {says.split()[0]} was in it"):
        restored(changed, contents(found), tmp_path / "back.root")


def test_objects_that_may_have_been_added_up_are_not_compared(original, tmp_path):
    found, _ = copied(original, tmp_path / "small.root")
    merged = contents(found)
    merged.runs.append(replace(merged.runs[0], copied=replace(found, trees=[])))
    changed = write(tmp_path / "changed.root", trees(), **OBJECTS | {"top": np.histogram([1.0], bins=4)})
    restored(changed, merged, tmp_path / "back.root")
    assert differences(changed, merged) == []


def test_a_renamed_branch_and_a_title_that_changed_are_noticed(original, tmp_path):
    small = tmp_path / "small.root"
    found, _ = copied(original, small)
    renamed = trees()
    renamed["folder/more"] = {"mess" if b == "met" else b: array for b, array in renamed["folder/more"].items()}
    with pytest.raises(DamagedFileError, match="branch 'met' of tree 'folder/more'"):
        restored(write(tmp_path / "renamed.root", renamed, **OBJECTS), contents(found), tmp_path / "back.root")
    retitled = contents(Copied([replace(tree, title="as it was") for tree in found.trees], found.objects))
    with uproot.open(restored(small, retitled, tmp_path / "back.root")) as file:
        assert file["counted"].title == "as it was"


def test_what_is_intact_is_salvaged_and_the_rest_told(original, tmp_path):
    small, lost = tmp_path / "small.root", []
    found, _ = copied(original, small, 300)
    tree = next(tree for tree in found.trees if tree.name == "folder/more")
    first, second, *others = tree.chunks
    sums = [second.checksums[0] ^ 1, *second.checksums[1:]]
    what = with_chunks(found, tree.name, [first, replace(second, checksums=sums), *others], tree.dtypes)
    what.runs[0].copied.checksums.update(found.checksums | {"top": 1})
    with open_source(small) as source, create(tmp_path / "back.root") as target:
        copy_back(source, what, target, STEP, lost)
    start, stop = first.entries, first.entries + second.entries
    assert [re.sub("'[^']*root'", "FILE", problem) for problem in lost] == [
        f"branch 'weight' of tree 'folder/more' is damaged: checksum or type differs in entries {start} to {stop}",
        "'top' in FILE is damaged: its checksum differs",
    ]
    kept = read_tree(tmp_path / "back.root", "folder/more")
    for name, array in trees()["folder/more"].items():
        assert bits(kept[name]) == bits(ak.concatenate([array[:start], array[stop:]]))
    with uproot.open(tmp_path / "back.root") as file:
        assert "top" not in file and file["folder/deep/note"] == "a note"


# --- ranges


@given(st.integers(0, 50), st.integers(1, 1000))
def test_ranges_cover_every_entry_once(entries, step_size):
    events = ArrayEvents({"a": np.zeros(entries), "b": np.zeros(entries, np.float32), "c": np.zeros(entries)})
    found = list(entry_ranges(events, ["a", "b"], step_size))  # 12 bytes an entry
    assert [i for start, stop in found for i in range(start, stop)] == list(range(entries))
    assert found if entries else found == [(0, 0)]
    step = max(1, step_size // 12)
    assert all(stop - start == step for start, stop in found[:-1])
    assert 0 < found[-1][1] - found[-1][0] <= step or not entries
