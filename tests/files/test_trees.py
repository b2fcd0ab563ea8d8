import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import (
    SHARED,
    TREES,
    VARIABLES,
    bits,
    bystanders,
    declared,
    is_counter,
    read_tree,
    write_layout,
    write_tree,
)  # fmt: skip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uproot.writing import _cascadentuple

from atlasae import xz
from atlasae.errors import AtlasaeError, DamagedFileError, MemoryShortError, UnreachableError, UserError
from atlasae.files import trees, writing
from atlasae.files.branches import Branch, Unwritable
from atlasae.files.damage import FACTS, damage
from atlasae.files.remote import Remote
from atlasae.files.trees import CopiedObject, Source, open_source
from atlasae.files.writing import BasketLZMA, Target, create, parse_compression

# conftest's bystanders: dtype, and whether an entry is a list.
TYPES = {
    "event": ("<u8", False),
    "number": ("<i8", False),
    "weight": ("<f4", False),
    "met": ("<f8", False),
    "passed": ("|b1", False),
    "flags": ("|u1", False),
    "short": ("<i2", False),
    "matrix": ("<f4 array", False),
    "name": ("string", False),
    "hit": ("<i2", True),
    "good": ("|b1", True),
    "Jet_nConstituents": ("|u1", True),
}
COUNTERS = {"nanoaod": "nJet", "cartesian": "NJet", "xaod": "njets", "energy": "njets"}
GOLDEN = Path(__file__).parents[1] / "golden" / "leaves"  # by ROOT (scripts/make_leaves.py)
NUMBERS = {"x": ak.Array(np.arange(5, dtype=np.float32))}


def raw_branches(path: Path, tree: str) -> dict[str, Any]:
    """The branches (or fields) of a tree in uproot; the file stays open while they are used."""
    found = uproot.open(path)[tree]
    return {name: found[name] for name in found.keys(recursive=False)}


def read_everything(path: Path) -> dict[str, dict[str, ak.Array]]:
    """All values that atlasae may read from a file."""
    values: dict[str, dict[str, ak.Array]] = {}
    with open_source(path) as source:
        for name, tree in source.trees.items():
            names = [branch.name for branch in tree.branches]
            values[name] = tree.read(names, 0, tree.entries)
            assert tree.bytes_per_entry(names) >= 0 and tree.compressed_bytes(names) >= 0
            assert isinstance(tree.title, str) and tree.compression and tree.unwritable is not None
        for name in source.objects:
            source.copy_object(name, Target(Nowhere()))
    return values


def write_ntuple(path: Path, branches: dict[str, ak.Array]) -> Path:
    """An RNTuple `T` of any arrays that uproot can write there: more than the types of TTrees."""
    with uproot.recreate(path) as file:
        file["T"] = branches
    return path


# --- what is there


def expected_branch(layout: str, name: str, counters: set[str]) -> Branch:
    counted = not layout.startswith("rntuple")
    if name in counters:
        return Branch(name, "<i4", jagged=False)
    if name in VARIABLES[layout].values():
        jagged = layout != "flat"
        return Branch(name, "<f4", jagged, COUNTERS.get(layout) if jagged else None)
    dtype, jagged = TYPES[name]
    counter = "nJet" if name == "Jet_nConstituents" else f"n{name}"
    return Branch(name, dtype, jagged, counter if jagged and counted else None)


def test_every_branch_is_told_with_dtype_and_counter_in_the_order_of_the_file(tmp_path, layout):
    path = write_layout(tmp_path / "x.root", layout)
    tree_name = TREES.get(layout, "Events")
    with uproot.open(path) as file:
        names = list(file[tree_name].keys(recursive=False))
        counters = {name for name in names if is_counter(file[tree_name], name)}
    with open_source(path) as source:
        assert (source.path, list(source.trees), source.objects) == (path, [tree_name], [])
        tree = source.trees[tree_name]
        assert tree.branches == [expected_branch(layout, name, counters) for name in names]
        assert set(TYPES) - {"Jet_nConstituents"} <= {branch.name for branch in tree.branches}
        assert (tree.name, tree.entries, tree.names, tree.unwritable) == (tree_name, 60, set(names), [])
        assert tree.is_rntuple == layout.startswith("rntuple")
        assert tree.title == ("" if tree.is_rntuple else "a title")


def test_any_run_of_events_is_read_as_uproot_reads_it(tmp_path, layout):
    path = write_layout(tmp_path / "x.root", layout)
    tree_name = TREES.get(layout, "Events")
    with open_source(path) as source, uproot.open(path) as file:
        tree, plain = source.trees[tree_name], file[tree_name].arrays()
        names = [branch.name for branch in tree.branches]
        assert sorted(names) == sorted(plain.fields)
        for start, stop in ((0, 60), (7, 23), (20, 40), (59, 60), (33, 33), (0, 0)):  # baskets end at 20, 40, 60
            read = tree.read(names, start, stop)
            assert list(read) == names
            assert [n for n in names if bits(read[n]) != bits(plain[n][start:stop])] == []


def test_rows_are_numbers_or_arrays_of_them_with_and_without_awkward(tmp_path, layout):
    path = write_layout(tmp_path / "x.root", layout)
    with open_source(path) as source:
        tree = source.trees[TREES.get(layout, "Events")]
        for name, array in tree.read([branch.name for branch in tree.branches], 0, tree.entries).items():
            plain, found = ak.without_parameters(array), tree.rows(name)
            rows = found if plain.ndim == 1 else [row.tolist() for row in found]
            assert repr(rows) == repr(plain.to_list()), name  # of NaN, too


def test_a_tree_elsewhere_is_read_as_here_and_all_baskets_at_once(web, layout):
    path = write_layout(web.folder / "in.root", layout)
    with open_source(path) as here, open_source(Remote(web.url("in.root"))) as there:
        tree = here.trees[TREES.get(layout, "Events")]
        names = [branch.name for branch in tree.branches]
        assert there.trees[tree.name].branches == tree.branches
        for start, stop in ((0, 60), (0, 60), (7, 25), (20, 21)):
            asked = len(web.asked)
            found, expected = (source.trees[tree.name].read(names, start, stop) for source in (there, here))
            assert [bits(found[name]) for name in names] == [bits(expected[name]) for name in names]
            assert len(web.asked) - asked <= 2
    assert there.file.file.source.closed


@pytest.mark.parametrize("layout", ["nanoaod", "flat", "rntuple"], indirect=True)
def test_a_tree_without_entries_is_told_and_read_like_any_other(tmp_path, layout):
    paths = [write_layout(tmp_path / f"{entries}.root", layout, entries) for entries in (0, 60)]
    tree_name = TREES.get(layout, "Events")
    with open_source(paths[0]) as empty, open_source(paths[1]) as full:
        tree, like = empty.trees[tree_name], full.trees[tree_name]
        assert (tree.entries, tree.branches) == (0, like.branches)
        names = [branch.name for branch in tree.branches]
        read, same = tree.read(names, 0, 0), like.read(names, 0, 0)
        assert {n: str(a.type) for n, a in read.items()} == {n: str(a.type) for n, a in same.items()}
        assert tree.bytes_per_entry(names) >= 0


def test_fewer_entries_than_promised_are_damage(tmp_path):
    path = write_tree(tmp_path / "x.root", "T", NUMBERS)
    with open_source(path) as source, pytest.raises(DamagedFileError, match="branch 'x' of .* 5 of 6 entries"):
        source.trees["T"].read(["x"], 0, 6)


UNWRITABLE = {
    "nested": (ak.Array([[[1.0, 2.0]], [[], [3.0]], []]), r"var \* var \* float64"),
    "rows": (ak.from_regular(ak.Array(np.ones((3, 1, 2), np.int32)), axis=1), r"var \* .* int32"),
    "texts": (ak.Array([["a"], [], ["b", "c"]]), r"var \* string"),
    "optional": (ak.Array([1.5, None, 3.5]), r"\?float64"),
    "half": (ak.Array(np.ones(3, np.float16)), "float16"),
    "halves": (ak.values_astype(ak.Array([[1], [], [2, 3]]), np.float16), r"var \* float16"),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_a_tree_can_not_hold_is_named_with_its_type(tmp_path, name, monkeypatch):
    # uproot reads float16 and does not write it yet: lend it the two words it needs
    monkeypatch.setitem(_cascadentuple._ak_primitive_to_typename_dict, "float16", "half")
    monkeypatch.setitem(_cascadentuple._ak_primitive_to_num_dict, "float16", 0x0B)
    array, kind = UNWRITABLE[name]
    path = write_ntuple(tmp_path / "x.root", {"a": ak.Array([1, 2, 3]), name: array, "z": ak.Array([4, 5, 6])})
    with open_source(path) as source:
        tree = source.trees["T"]
        assert tree.branches == [Branch(other, "<i8", jagged=False) for other in ("a", "z")]  # uproot sorts them
        (unwritable,) = tree.unwritable
        assert unwritable.name == name
        writes = "uproot writes" if name.startswith("hal") else "a TTree written by uproot holds"
        assert re.fullmatch(f"{writes} no {kind}", unwritable.why)
        assert (unwritable.branch is None) == name.startswith("hal")  # else another RNTuple holds it
        assert tree.read(["z"], 0, 3)["z"].tolist() == [4, 5, 6]


def test_branches_that_are_not_read_are_named_and_nothing_is_called_damaged():
    with open_source(GOLDEN / "leaves.root") as source:
        tree = source.trees["unequal"]
        assert tree.branches == [Branch("x", "<f4", jagged=False)]
        assert {unwritable.name: unwritable.why for unwritable in tree.unwritable} == {
            "more": "it has 200 entries, and its tree 100",
            "less": "it has 1 entry, and its tree 100",
            "away": "its values are in the file 'elsewhere.root'",
        }
        offsets = source.trees["offsets"]
        assert offsets.unwritable == [Unwritable("two", "uproot writes no branch of several leaves")]
        assert [branch.counter for branch in offsets.branches] == [None, "n", None]


def test_a_name_with_a_slash_is_no_folder():
    with open_source(GOLDEN / "leaves.root") as source:
        assert source.trees["a/b"].read(["x"], 0, 1)["x"].to_list() == [1]


def test_the_second_branch_of_a_name_is_no_branch(tmp_path):
    values = {"aaaa": np.arange(3, dtype=np.int32), "bbbb": np.ones(3), "c": np.zeros(3)}
    with uproot.recreate(tmp_path / "x.root", compression=None) as file:
        file.mktree("T", {name: array.dtype for name, array in values.items()}).extend(values)
    content = (tmp_path / "x.root").read_bytes()
    (tmp_path / "x.root").write_bytes(content.replace(b"bbbb", b"aaaa"))
    with open_source(tmp_path / "x.root") as source:
        tree = source.trees["T"]
        assert tree.branches == [Branch("aaaa", "<i4", jagged=False), Branch("c", "<f8", jagged=False)]
        assert tree.unwritable == [Unwritable("aaaa", "the second branch of this name")]
        assert tree.read(["aaaa"], 0, 3)["aaaa"].tolist() == [0, 1, 2]


def test_branches_of_objects_are_carried_but_for_bits_and_references():
    path = SHARED / "delphes.root"
    if not path.exists():
        pytest.skip("the shared files are not here")
    with open_source(path) as source:
        tree = source.trees["Delphes"]
        found = {branch.name: branch for branch in tree.branches}
        assert found["Jet.PT"] == Branch("Jet.PT", "<f4", jagged=True)  # what counts a TClonesArray is hidden
        why = {unwritable.name: unwritable.why for unwritable in tree.unwritable}
        assert "references" in why["Jet.fBits"]
        assert why["Jet.Tau[5]"] == "a TTree written by uproot holds no var * 5 * float32"
        assert re.fullmatch(r"a TTree written by uproot holds no var \* TRef.{,60}\.\.\.", why["Track.Particle"])
        assert set(found) | set(why) == tree.names


# --- what is written


def write_parts(path: Path, branches: dict[str, ak.Array], ends: list[int], **how: Any) -> Path:
    """Write a tree `T` with entries up to each of `ends` in turn."""
    rntuple = how.pop("rntuple", False)
    with create(path) as target:
        writer = target.make_ntuple("T", branches) if rntuple else target.make_tree("T", branches, **how)
        for start, stop in zip([0, *ends], ends, strict=False):
            writer.extend({name: array[start:stop] for name, array in branches.items()})
    return path


@pytest.mark.parametrize("rntuple", [False, True])
@pytest.mark.parametrize("ends", [[40], [0, 13, 13, 39, 40, 40], [0], []])
def test_what_is_written_is_read_back(tmp_path, rntuple, ends):
    branches = bystanders(40)
    branches["same"] = branches["hit"] * 2  # shares hit's counter
    counters = {"hit": "nhits", "same": "nhits"}
    path = write_parts(tmp_path / "x.root", branches, ends, title="mine", counters=counters, rntuple=rntuple)
    found = read_tree(path, "T")
    entries = ends[-1] if ends else 0
    assert list(found) == list(branches)
    assert [n for n, a in branches.items() if bits(found[n]) != bits(a[:entries])] == []
    with uproot.open(path) as file:
        assert isinstance(file["T"], uproot.TTree) != rntuple
        if rntuple:  # ROOT can't read an empty cluster
            assert all(cluster.num_entries for cluster in file["T"].cluster_summaries)
        else:
            assert file["T"].title == "mine"
            assert [b.name for b in file["T"].branches if is_counter(file["T"], b.name)] == ["nhits", "ngood"]
            assert file["T"]["nhits"].array().tolist() == ak.num(branches["hit"]).tolist()[:entries]


def test_a_tree_says_of_itself_what_it_was_declared_as(tmp_path, layout):
    path = write_layout(tmp_path / "x.root", layout)
    with open_source(path) as source:
        (tree,) = source.trees.values()
        counters = {branch.name: branch.counter for branch in tree.branches if branch.counter}
        carried = [branch for branch in tree.branches if branch.name not in counters.values()]
        events = tree.read([branch.name for branch in carried], 0, 60)
        write_parts(tmp_path / "y.root", events, [60], counters=counters, rntuple=tree.is_rntuple)
        with open_source(tmp_path / "y.root") as again:
            assert again.trees["T"].branches == tree.branches


def algorithm(branch: Any) -> bytes:
    """The first two bytes of a branch's first basket: its compression algorithm."""
    key = branch.basket_key(0)
    return Path(branch.file.file_path).read_bytes()[key.fSeekKey + key.fKeylen :][:2]


def random_words(n: int) -> np.ndarray:
    """Float32 in [1, 2) with 12 of their bits in use."""
    return 1 + np.random.default_rng(1).integers(0, 1 << 12, n).astype(np.float32) / (1 << 12)


def test_words_are_compressed_their_way_and_the_others_as_told(tmp_path):
    ones, words = np.ones(900, np.float32), random_words(900)
    branches = {
        name: ak.unflatten(values, np.full(300, 3)) for name, values in zip("abc", (words, ones, ones), strict=True)
    }
    counters = {"a": "nz", "b": "nz"}
    how = {"counters": counters, "words": ["a", "b", "nz"], "compression": uproot.LZ4(4)}
    path = write_parts(tmp_path / "x.root", branches, [300], **how)
    kinds = {name: algorithm(branch) for name, branch in raw_branches(path, "T").items()}
    # Where nearly all values are equal, ZSTD has the smaller headers; entry offsets are not.
    assert kinds == {"nz": b"ZS", "a": b"XZ", "b": b"XZ", "nc": b"L4", "c": b"L4"}
    assert [n for n, a in read_tree(path, "T").items() if bits(a) != bits(branches[n])] == []


@pytest.mark.parametrize(
    ("compression", "starts"), [(uproot.ZLIB(1), b"ZL"), (uproot.LZMA(1), b"XZ"), (BasketLZMA(9), b"ZS"), (None, b"ZS")]
)
def test_trees_without_words_are_compressed_as_told_or_with_zstd(tmp_path, compression, starts):
    array = ak.Array(np.zeros(2000, np.float32))
    path = write_parts(tmp_path / "x.root", {"x": array}, [2000], compression=compression)
    branch = raw_branches(path, "T")["x"]
    assert algorithm(branch) == starts
    assert bits(branch.array()) == bits(array)


# --- sizes


def test_compressed_bytes_of_a_tree_are_uproots_own(tmp_path):
    path = write_layout(tmp_path / "x.root", "nanoaod")
    own = {name: branch.compressed_bytes for name, branch in raw_branches(path, "Events").items()}
    with open_source(path) as source:
        tree = source.trees["Events"]
        assert {name: tree.compressed_bytes([name]) for name in tree.names} == own
        assert tree.compressed_bytes(list(own)) == sum(own.values())


def test_compressed_bytes_of_an_rntuple_are_those_of_its_pages(tmp_path):
    events = {
        "x": ak.Array(np.arange(1000, dtype=np.float32)),
        "v": ak.unflatten(np.arange(3000, dtype=np.int16), np.full(1000, 3)),
        "m": ak.Array(np.ones((1000, 4), np.float32)),
    }
    for compression in (None, uproot.ZSTD(5)):
        with uproot.recreate(tmp_path / "x.root", compression=compression) as file:
            ntuple = file.mkrntuple("T", {name: declared(array) for name, array in events.items()})
            for _ in range(2):  # two clusters
                ntuple.extend(events)
        with open_source(tmp_path / "x.root") as source:
            tree = source.trees["T"]
            sizes = {name: tree.compressed_bytes([name]) for name in events}
            assert tree.compressed_bytes([*events, "a counter it needs not"]) == sum(sizes.values())
        if compression is None:  # offsets of lists take eight bytes
            assert sizes == {"x": 8000, "v": 2 * (2 * 3000 + 8 * 1000), "m": 32000}
        assert all(size > 0 for size in sizes.values())
    assert sum(sizes.values()) < 20_000


def test_bytes_per_entry_are_those_of_the_branches_asked_for(tmp_path):
    numbers = {"f": np.ones(2000, np.float32), "d": np.ones(2000), "u": np.ones(2000, np.uint8)}
    with open_source(write_tree(tmp_path / "x.root", "T", {n: ak.Array(a) for n, a in numbers.items()})) as source:
        sizes = [source.trees["T"].bytes_per_entry([name]) for name in (*"fdu",)]
        assert sizes == pytest.approx([4, 8, 1], rel=0.15)  # baskets have keys
        assert source.trees["T"].bytes_per_entry([*"fdu"]) == pytest.approx(sum(sizes))
    with open_source(write_ntuple(tmp_path / "y.root", numbers)) as source:
        assert source.trees["T"].bytes_per_entry([*"fd"]) == 12


# --- other things in a file


def test_histograms_are_copied_from_any_folder(tmp_path):
    numbers = np.histogram([1.0, 2.0, 2.5, 9.0], bins=4)
    path = write_tree(tmp_path / "x.root", "T", NUMBERS, top=numbers, cuts__deep__hist=numbers)
    with open_source(path) as source, create(tmp_path / "y.root") as target:
        assert sorted(source.objects) == ["cuts/deep/hist", "top"]
        assert [type(source.copy_object(name, target)) for name in source.objects] == [CopiedObject, CopiedObject]
        target.write_object("note", "é\n")
    with uproot.open(tmp_path / "y.root") as file:
        assert str(file["note"]) == "é\n"
        for name in ("cuts/deep/hist", "top"):
            values, edges = file[name].to_numpy()
            assert (values.tolist(), edges.tolist()) == (numbers[0].tolist(), numbers[1].tolist())


@pytest.mark.parametrize("text", ["hello", "", "é" * 300], ids=["short", "empty", "long"])
def test_texts_are_copied_from_any_folder(tmp_path, text):
    path = write_tree(tmp_path / "x.root", "T", NUMBERS, top=text, cuts__deep__text=text)
    with open_source(path) as source, create(tmp_path / "y.root") as target:
        assert [type(source.copy_object(name, target)) for name in source.objects] == [CopiedObject, CopiedObject]
    with uproot.open(tmp_path / "y.root") as file:
        assert [str(file[name]) for name in ("cuts/deep/text", "top")] == [text, text]
        assert file.classname_of("top") == "TObjString"


def test_what_can_not_be_copied_is_told_and_nothing_else_is_lost(tmp_path):
    keys = {"odd": SimpleNamespace(get=object), "text": SimpleNamespace(get=lambda: "hello")}
    source = Source(tmp_path / "x.root", None, keys, kinds={"odd": "TThing", "text": "string"})
    with create(tmp_path / "y.root") as target:
        assert source.copy_object("odd", target) == "uproot can't write this TThing"
        found = source.copy_object("text", target)
        assert isinstance(found, CopiedObject) and found.lost == ["class string"]
    with uproot.open(tmp_path / "y.root") as file:
        assert file.keys() == ["text;1"]


def test_the_latest_cycle_of_a_tree_is_the_tree(tmp_path):
    with uproot.recreate(tmp_path / "x.root") as file:
        for n in (3, 5):
            file.mktree("sub/T", {"x": "float32"}).extend({"x": np.full(n, n, np.float32)})
            file["hist"] = np.histogram(range(n))
        file["N"] = {"y": np.arange(2)}
    with open_source(tmp_path / "x.root") as source:
        assert {name: tree.entries for name, tree in source.trees.items()} == {"sub/T": 5, "N": 2}
        assert source.trees["sub/T"].read(["x"], 0, 5)["x"].tolist() == [5] * 5
        assert source.objects == ["hist"]
        with create(tmp_path / "y.root") as target:
            assert isinstance(source.copy_object("hist", target), CopiedObject)
        assert sorted(source.older) == ["hist;1", "sub/T;1"]
    with uproot.open(tmp_path / "y.root") as file:
        assert file["hist"].values().sum() == 5


# --- what is no ROOT file, and what is a damaged one


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (Path.mkdir, "is a folder: name a file in it"),
        (Path.touch, "is not a ROOT file"),
        (lambda path: path.write_bytes(b"roo"), "is not a ROOT file"),
        (lambda path: path.write_bytes(b"PAR1 and more"), "is not a ROOT file: give a .root file, or a table"),
    ],
    ids=["missing", "folder", "empty", "short", "another kind"],
)
def test_what_is_no_root_file_is_the_users_to_mend(tmp_path, make, says):
    make(tmp_path / "x.root")
    with pytest.raises(UserError, match=says) as caught, open_source(tmp_path / "x.root"):
        raise AssertionError("opened")
    assert str(tmp_path / "x.root") in str(caught.value)


def test_a_table_where_a_root_file_is_needed_is_called_so(tmp_path):
    (tmp_path / "x.csv").write_text("pt,eta\n1,2\n")
    with pytest.raises(UserError, match="a table can't be taken here"), open_source(tmp_path / "x.csv"):
        raise AssertionError("opened")


SMALL = {
    "x": ak.Array(np.arange(6, dtype=np.float32)),
    "v": ak.Array([[1, 2], [], [3], [], [4, 5, 6], [7]]),
    "s": ak.Array(["a", "", "bc", "d" * 300, "e", "f"]),
}


@pytest.fixture(scope="module", params=["ttree", "rntuple"])
def small_file(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("small") / "x.root"
    if request.param == "rntuple":
        return write_ntuple(path, SMALL)
    return write_tree(path, "T", SMALL, d__text="hello")


def cut(path: Path, length: int) -> Path:
    (path.parent / "cut.root").write_bytes(path.read_bytes()[:length])
    return path.parent / "cut.root"


@pytest.mark.parametrize("keep", [4, 10, 100, 300, 1000, 0.5, 0.9, -100, -1])
def test_a_file_that_breaks_off_is_damaged(small_file, keep):
    size = small_file.stat().st_size
    length = int(size * keep) if isinstance(keep, float) else range(size)[keep]
    with pytest.raises(DamagedFileError, match="is damaged: ") as caught, open_source(cut(small_file, length)):
        raise AssertionError("opened")
    assert "cut.root" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_cut_at_its_end_tells_how_long_it_was(small_file):
    size = small_file.stat().st_size
    with pytest.raises(DamagedFileError, match=f"it ends after {size - 1} of {size} bytes; get it again"):
        read_everything(cut(small_file, size - 1))


def test_bytes_after_the_end_do_no_harm(small_file):
    longer = small_file.with_name("longer.root")
    longer.write_bytes(small_file.read_bytes() + b"and more")
    assert [n for n, a in read_everything(longer)["T"].items() if n in SMALL and bits(a) != bits(SMALL[n])] == []


@pytest.fixture(scope="module")
def live_places(small_file) -> list[int]:
    """Offsets of the bytes in use: most of a small TTree is space for more baskets."""
    content = small_file.read_bytes()
    return [i for i in range(len(content)) if any(content[max(0, i - 3) : i + 4])]


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A limit of one more gigabyte: a changed RNTuple may declare billions of numbers, which uproot allocates."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


class Nowhere(dict[str, Any]):
    """A dictionary in place of a file, which keeps what is written to it."""

    compression = None


def check_survives(path: Path) -> None:
    with contextlib.suppress(AtlasaeError):
        read_everything(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), flip=st.integers(1, 255))
@pytest.mark.usefixtures("little_memory")
def test_a_changed_byte_never_ends_in_a_traceback(small_file, live_places, data, flip):
    content = bytearray(small_file.read_bytes())
    content[data.draw(st.sampled_from(live_places))] ^= flip
    changed = small_file.with_name("changed.root")
    changed.write_bytes(content)
    check_survives(changed)


def with_setting(path: Path, setting: int) -> Path:
    """A file with the compression LZMA(9) and a branch with another."""
    with uproot.recreate(path, compression=uproot.LZMA(9)) as file:
        file.mktree("T", {"only": np.dtype("f4")}).extend({"only": NUMBERS["x"]})
    content = bytearray(path.read_bytes())
    position = content.index(b"only/F") + len("only/F") + 10  # behind the fill attributes
    content[position : position + 4] = setting.to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("setting", [2005, 110, -1])
def test_a_compression_setting_that_does_not_exist_never_ends_in_a_traceback(tmp_path, setting):
    path = with_setting(tmp_path / "x.root", setting)
    with uproot.open(path) as file:
        assert file["T"]["only"].member("fCompress") == setting
    check_survives(path)


@pytest.mark.parametrize(
    ("setting", "code"), [(0, 209), (-1, 209), (2005, 209), (110, 209), (100, 209), (1, 101), (9, 109), (404, 404)]
)
def test_branches_are_compressed_as_they_say_and_else_as_their_file(tmp_path, setting, code):
    """Settings below 100 are from old files, and mean ZLIB."""
    with open_source(with_setting(tmp_path / "x.root", setting)) as source:
        assert source.trees["T"].compression.code == code


def test_branches_of_a_file_that_is_not_compressed_are_written_with_zstd(tmp_path):
    with uproot.recreate(tmp_path / "x.root", compression=None) as file:
        file.mktree("T", {"x": np.dtype("f4")}).extend(NUMBERS)
    with open_source(tmp_path / "x.root") as source:
        assert source.trees["T"].compression.code == uproot.ZSTD(5).code


def test_a_file_tells_how_its_branches_are_compressed(tmp_path):
    with create(tmp_path / "x.root", told=uproot.LZ4(4)) as target:
        target.make_tree("T", NUMBERS, compression=uproot.LZ4(4)).extend(NUMBERS)
    with open_source(tmp_path / "x.root") as source:
        assert source.trees["T"].compression.code == uproot.LZ4(4).code


@pytest.mark.parametrize("setting", [uproot.LZMA(9), uproot.ZLIB(1), uproot.LZ4(4)])
def test_an_rntuple_is_compressed_as_its_pages_say_and_else_as_its_file(tmp_path, setting):
    with create(tmp_path / "x.root", setting, told=uproot.ZLIB(9)) as target:
        target.make_ntuple("T", NUMBERS).extend(NUMBERS)
        target.make_ntuple("empty", NUMBERS)
    with open_source(tmp_path / "x.root") as source:
        assert source.trees["T"].compression.code == setting.code
        assert source.trees["empty"].compression.code == source.compression.code == uproot.ZLIB(9).code


def test_an_rntuple_that_is_not_compressed_is_written_with_zstd(tmp_path):
    with uproot.recreate(tmp_path / "x.root", compression=None) as file:
        file.mkrntuple("T", NUMBERS)
        file["T"].extend(NUMBERS)
    with open_source(tmp_path / "x.root") as source:
        assert source.trees["T"].compression.code == source.compression.code == uproot.ZSTD(5).code


def test_damage_names_what_is_damaged_on_one_short_line():
    with pytest.raises(DamagedFileError) as caught, damage("branch 'x'"):
        raise ValueError("first line\n  second line\n" + "very long " * 50)
    assert str(caught.value).startswith("branch 'x' is damaged: first line second line very long")
    assert len(str(caught.value)) < 200
    with pytest.raises(DamagedFileError, match="is damaged: ValueError$"), damage("x"):
        raise ValueError


BUGS = (TypeError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError, ZeroDivisionError, NameError)
OTHERS = (
    UserError("mine"),
    DamagedFileError("mine"),
    UnreachableError("away"),
    KeyboardInterrupt(),
    OSError(5, "broken"),
)


@pytest.mark.parametrize("error", [*OTHERS, *(bug("ours") for bug in BUGS)], ids=repr)
def test_damage_lets_through_what_is_none(error):
    with pytest.raises(type(error)) as caught, damage("x"):
        raise error
    assert caught.value is error


def test_damage_is_whatever_is_raised_where_bytes_are_interpreted():
    with pytest.raises(DamagedFileError, match="x is damaged: Compression level must be an integer"), damage("x"):
        uproot.ZLIB("none")  # a TypeError
    with pytest.raises(DamagedFileError, match="x is damaged: "), damage("x"):
        ak.unflatten(np.arange(3), ["a"])
    with pytest.raises(DamagedFileError, match="x is damaged: it ends"), damage("x"):
        raise OSError("it ends early")  # uproot's, without a number


def test_facts_of_another_shape_are_damage_where_they_are_taken_apart():
    facts: dict[str, float] = {}
    with pytest.raises(DamagedFileError, match="the codec is damaged: 'steps'"), damage("the codec", *FACTS):
        facts["steps"]
    with pytest.raises(AssertionError), damage("the codec", *FACTS):
        raise AssertionError


def too_much(length: int) -> MemoryError:
    """The error of numpy that can't allocate so many numbers."""
    error = MemoryError(f"Unable to allocate {length} numbers")
    error.shape = (length,)  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("error", [MemoryError(), too_much(2**40)], ids=repr)
def test_memory_that_is_not_there_is_no_damage(error):
    with pytest.raises(MemoryShortError, match="memory ran out for branch 'x'") as caught, damage("branch 'x'"):
        raise error
    assert str(error) in str(caught.value)


def test_a_length_that_no_machine_has_memory_for_is_damage():
    with pytest.raises(DamagedFileError, match="branch 'x' is damaged: Unable to allocate"), damage("branch 'x'"):
        np.empty(2**55, np.uint8)


@pytest.mark.parametrize("error", [MemoryError(), OSError(116, "Stale file handle"), TypeError("a bug")], ids=repr)
def test_nothing_is_left_out_for_what_it_is_not_to_blame(tmp_path, error, monkeypatch):
    def failing(*_: object) -> object:
        raise error

    with open_source(write_tree(tmp_path / "x.root", "T", SMALL, h=np.histogram(np.arange(3.0)))) as source:
        monkeypatch.setattr(trees, "_as_written", failing)
        with pytest.raises(type(error)):
            source.copy_object("h")
        monkeypatch.setattr(trees, "_describe", failing)
        with pytest.raises(type(error)):
            source.trees["T"].branches  # noqa: B018
    with open_source(write_ntuple(tmp_path / "n.root", SMALL)) as source:
        monkeypatch.setattr(trees, "leaves_of", failing)
        with pytest.raises(type(error)):
            source.trees["T"].branches  # noqa: B018


# --- --compression


@pytest.mark.parametrize(
    ("text", "algorithm", "level"),
    [
        ("zlib:1", uproot.ZLIB, 1),
        ("lzma:9", uproot.LZMA, 9),
        ("lz4:4", uproot.LZ4, 4),
        ("zstd:19", uproot.ZSTD, 19),
        ("zstd", uproot.ZSTD, 5),
        ("lzma:", uproot.LZMA, 5),
    ],
)
def test_compression_is_an_algorithm_and_a_level(text, algorithm, level):
    found = parse_compression(text)
    assert type(found) is algorithm and found.level == level


@pytest.mark.parametrize("text", ["", "gzip:5", "ZSTD:5", "zstd:x", "zstd:-1", "zstd:1.5", "zstd:5:5", "zlib:99", ":5"])
def test_what_is_no_compression_is_refused(text):
    with pytest.raises(UserError) as caught:
        parse_compression(text)
    assert f"--compression '{text}'" in str(caught.value)


# --- blocks that hold more than they say


@pytest.mark.parametrize("compression", [uproot.ZLIB(1), uproot.LZMA(1), uproot.ZSTD(1), uproot.LZ4(1)])
def test_a_block_that_unpacks_to_more_than_it_says_is_damage(compression, tmp_path):
    path = tmp_path / "x.root"
    with uproot.recreate(path, compression=compression) as file:
        tree = file.mktree("T", {"x": "u1"})
        tree.extend({"x": np.zeros(200_000, np.uint8)})
    with uproot.open(path) as file:
        seek = file["T"]["x"].member("fBasketSeek")[0]
    content = bytearray(path.read_bytes())
    header = content.index(compression._2byte, seek)
    assert int.from_bytes(content[header + 6 : header + 9], "little") == 200_000
    content[header + 6 : header + 9] = (100_000).to_bytes(3, "little")
    path.write_bytes(content)
    with open_source(path) as source, pytest.raises(DamagedFileError, match="branch 'x'"):
        source.trees["T"].read(["x"], 0, 200_000)


# --- words that are compressed before they are written


def words_of_baskets(path: Path) -> list[list[float]]:
    with uproot.open(path) as file:
        assert file["t"].keys() == ["nx", "x"]
        return list(file["t"]["x"].array().to_list())


@pytest.mark.parametrize("same", [True, False])
def test_words_that_are_compressed_already_are_written_if_they_are_those_of_the_events(same, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_MANY", 0)
    events = {"x": ak.unflatten(np.arange(600, dtype=np.float32), [1, 2, 3] * 100)}
    packed = writing.pack_words(["x", "none"], True, events if same else {"x": events["x"] + 1})
    with create(tmp_path / "x.root") as target:
        writer, again = target.make_tree("t", events, words=["nx", "x"]), list[bytes]()
        monkeypatch.setattr(writing, "compress_words", lambda data: again.append(data) or xz.compress_words(data))
        writer.expect_words(packed)
        writer.extend(events)
    assert list(packed) == ["x"] and len(again) == (1 if same else 2)  # the counter, and what was not expected
    assert words_of_baskets(tmp_path / "x.root") == events["x"].to_list()


def test_a_tree_is_read_when_it_is_asked_for(tmp_path):
    path = tmp_path / "two.root"
    with uproot.recreate(path, compression=None) as file:
        for name in ("one", "other"):
            file.mktree(name, {"x": "f8"}).extend({"x": np.arange(3.0)})
    with open_source(path) as source:
        assert list(source.trees) == ["one", "other"] and "one" in source.trees and len(source.trees) == 2
        assert source.trees["one"] is source.trees["one"]
        with uproot.open(path) as file:
            at = int(file.key("other").data_cursor.index)
    path.write_bytes(path.read_bytes()[: at + 4] + b"\xff\xff" + path.read_bytes()[at + 6 :])
    with open_source(path) as source:
        assert source.trees["one"].entries == 3
        with pytest.raises(DamagedFileError, match=r"two\.root' is damaged"):
            source.trees["other"]


def test_a_circular_tree_that_hides_entries_is_not_called_damaged():
    with open_source(GOLDEN.parent / "circular.root") as source:
        tree = source.trees["events"]
        assert tree.read(["Jet_pt"], 0, 6)["Jet_pt"].layout.length == 6
        with pytest.raises(AtlasaeError, match=r"'events' is circular .*: write it anew with ROOT") as error:
            tree.read(["Jet_pt"], 0, tree.entries)
    assert not isinstance(error.value, DamagedFileError)


def test_a_pipe_is_not_called_missing(tmp_path):
    os.mkfifo(tmp_path / "x.root")
    with pytest.raises(UserError, match="is a pipe or a device"), open_source(tmp_path / "x.root"):
        pass
