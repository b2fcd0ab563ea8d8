"""Names with brackets and other signs, in every kind of branch: written and read again."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import bits, random_jets, refused, run_main, succeeded, write_tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlasae.compression.others import read_counted
from atlasae.errors import DamagedFileError, UserError
from atlasae.files import leaves, trees
from atlasae.files.trees import open_source
from atlasae.files.writing import create

BRACKETS = ["x[3]", "w[1]", "a[0].b", "vtx.pos[3]", "[", "]", "[]", "x[n]", "x[nx[3]]", "m[2][3]", "long[" * 80]
ODD = ["", "1st", "a/b", "a\\b", "a b", "a:b", "a;1", "a.b", "trail.", "é", "x/F", "nx", "\t", "l" * 300]
ENTRIES = 5
KINDS = {
    "number": ak.Array(np.arange(ENTRIES, dtype=np.float32)),
    "array": ak.Array(np.arange(ENTRIES * 3, dtype=np.int16).reshape(ENTRIES, 3)),
    "matrix": ak.Array(np.arange(ENTRIES * 6, dtype=np.float64).reshape(ENTRIES, 2, 3)),
    "list": ak.Array([[1, 2], [], [3], [4, 5, 6], [7]]),
    "text": ak.Array(["a", "bc", "", "def", "g"]),
}


def written(path: Path, branches: Mapping[str, ak.Array], counters: Mapping[str, str]) -> Path:
    with create(path) as target:
        writer = target.make_tree("T", branches, counters=counters)
        writer.extend(branches)
    return path


def read(path: Path) -> dict[str, ak.Array]:
    with open_source(path) as source:
        tree = source.trees["T"]
        names = [branch.name for branch in tree.branches if not branch.name.startswith("count")]
        return tree.read(names, 0, tree.entries)


def titles(path: Path) -> dict[str, str]:
    """The title of every branch's leaf, as stored in the file."""
    with uproot.open(path) as file:
        branches = file["T"].branches
        return {branch.name: branch.member("fLeaves")[0].member("fTitle") for branch in branches}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*BRACKETS, *ODD])
def test_a_branch_of_any_name_comes_back(tmp_path, name, kind):
    found = read(written(tmp_path / "x.root", {name: KINDS[kind]}, {name: "count[2]"}))
    assert {key: bits(array) for key, array in found.items()} == {name: bits(KINDS[kind])}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text("[]ab3/ ", max_size=5), unique=True, min_size=1, max_size=8), data=st.data())
def test_branches_of_any_names_come_back_together(tmp_path, names, data):
    branches = {name: KINDS[data.draw(st.sampled_from(sorted(KINDS)))] for name in names}
    counters = {name: f"count{'[' * number}" for number, name in enumerate(names)}
    found = read(written(tmp_path / "x.root", branches, counters))
    assert {key: bits(array) for key, array in found.items()} == {key: bits(array) for key, array in branches.items()}


def test_brackets_of_a_title_are_those_of_the_shape(tmp_path):
    branches = {"x[3]": KINDS["number"], "y[2]": KINDS["matrix"], "z[a]": KINDS["list"], "plain": KINDS["array"]}
    found = titles(written(tmp_path / "x.root", branches, {"z[a]": "nz[a]"}))
    expected = {"x[3]": "x_3_", "y[2]": "y_2_[2][3]", "z[a]": "z_a_[nz_a_]", "nz[a]": "nz_a_", "plain": "plain[3]"}
    assert found == expected


def test_a_tree_that_moved_while_it_grew_has_its_names(tmp_path):
    with create(tmp_path / "x.root") as target:
        writer = target.make_tree("T", {"x[3]": KINDS["array"]})
        for _ in range(25):  # beyond the ten baskets that uproot leaves room for
            writer.extend({"x[3]": KINDS["array"]})
    assert titles(tmp_path / "x.root") == {"x[3]": "x_3_[3]"}
    assert len(read(tmp_path / "x.root")["x[3]"]) == 25 * ENTRIES


def test_a_tree_without_entries_has_its_names(tmp_path):
    empty = {"x[3]": KINDS["number"][:0]}
    assert titles(written(tmp_path / "x.root", empty, {})) == {"x[3]": "x_3_"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x[3]", "x[n]"])
def test_what_uproot_wrote_is_read(tmp_path, name, kind):
    path = write_tree(tmp_path / "x.root", "T", {name: KINDS[kind]}, {name: "count[2]"})
    assert {key: bits(array) for key, array in read(path).items()} == {name: bits(KINDS[kind])}


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_jets_and_others_with_brackets_come_back(tmp_path, layout):
    jets = random_jets(ENTRIES)
    variables = ("pt", "eta", "phi", "m")
    branches = {f"jet[0]_{v}": ak.unflatten(jets[v].astype(np.float32), np.ones(ENTRIES, int)) for v in variables}
    others = {"w[3]": KINDS["number"], "vtx.pos[3]": KINDS["array"], "hits[2]": KINDS["list"]}
    path = write_tree(tmp_path / "in.root", "T", branches | others, dict.fromkeys(branches, "njet[0]"))
    succeeded("compress", path, tmp_path / "small.root", "--layout", layout, "--units", "MeV")
    succeeded("verify", path, tmp_path / "small.root")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root")
    found = read(tmp_path / "back.root")
    assert {name: bits(found[name]) for name in others} == {name: bits(array) for name, array in others.items()}
    for name, array in branches.items():
        np.testing.assert_allclose(ak.flatten(found[name]), ak.flatten(array), rtol=1e-3, atol=1e-3)


# --- counters, whose leaves may have the name of another branch


@pytest.fixture
def confusing(tmp_path, monkeypatch):
    """Jets counted by the branch `numb`, whose leaf is called `njet`, beside a branch `njet` of other values."""
    counts = np.arange(ENTRIES) % 3
    jets = random_jets(int(counts.sum()))
    branches = {f"jet_{v}": ak.unflatten(jets[v].astype(np.float32), counts) for v in ("pt", "eta", "phi", "m")}
    with monkeypatch.context() as patched:
        patched.setattr(leaves, "plain", lambda name: "njet" if name == "numb" else name)
        counters = dict.fromkeys(branches, "numb")
        path = written(tmp_path / "in.root", branches | {"njet": KINDS["number"]}, counters)
    named = path.read_bytes().replace(b"\4numb\4njet", b"\4njet\4njet")  # the leaf's name, not only its title
    path.write_bytes(named)
    return path


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_a_branch_that_is_called_as_the_leaf_of_a_counter_comes_back(confusing, layout):
    small, back = confusing.with_name("small.root"), confusing.with_name("back.root")
    assert titles(confusing)["numb"] == "njet" and titles(confusing)["jet_pt"] == "jet_pt[njet]"
    with uproot.open(confusing) as file:
        assert file["T"]["numb"].member("fLeaves")[0].member("fName") == "njet"
    succeeded("compress", confusing, small, "--layout", layout, "--units", "MeV")
    succeeded("verify", confusing, small)
    succeeded("decompress", small, back)
    found = read(back)
    assert bits(found["njet"]) == bits(KINDS["number"])
    assert found["numb"].to_list() == [0, 1, 2, 0, 1]


def test_a_counter_that_comes_back_otherwise_is_refused_unless_dropped(confusing, monkeypatch):
    """As in old files: the name of the leaf was taken for that of the branch."""
    small = confusing.with_name("small.root")
    leaf = lambda branch: str(branch.member("fLeaves")[0].member("fLeafCount").member("fName"))  # noqa: E731
    asked = ("compress", confusing, small, "--layout", "packed", "--units", "MeV", "--rewrite")
    with monkeypatch.context() as patched:
        patched.setattr(trees, "_counter", leaf)
        words = ("'njet' counts 'jet_pt' and has other values in entries 0 to 5", "--drop njet", "--only-jets")
        refused(2, words, *asked, out=small)
        refused(2, words, *asked, "--only-jets", out=small)
        succeeded(*asked, "--drop", "njet")
    assert "counter 'njet' differs in entries 0 to 5" in run_main("verify", confusing, small).out


def test_a_counter_is_compared_with_what_it_counts():
    class Events:
        def read(self, names: list[str], start: int, stop: int) -> dict[str, ak.Array]:
            return {name: {"n": KINDS["number"], "x": KINDS["list"], "y": KINDS["text"]}[name] for name in names}

    with pytest.raises(UserError, match="'n' counts 'x' and has other values in entries 0 to 5"):
        read_counted(Events(), ["y", "x"], {"x": "n"}, 0, ENTRIES)  # type: ignore[arg-type]
    assert list(read_counted(Events(), ["y", "x"], {}, 0, ENTRIES)) == ["y", "x"]  # type: ignore[arg-type]


def test_a_leaf_of_an_unknown_class_is_named_and_the_other_branches_are_read(tmp_path):
    path = tmp_path / "x.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": "f4", "n": "i8"}).extend({"x": np.ones(3, np.float32), "n": np.arange(3)})
    path.write_bytes(path.read_bytes().replace(b"TLeafF", b"ULeafF"))
    with open_source(path) as source:
        tree = source.trees["t"]
        assert [branch.name for branch in tree.branches] == ["n"]
        assert [branch.name for branch in tree.unwritable] == ["x"]
        assert tree.read(["n"], 0, 3)["n"].tolist() == [0, 1, 2]


def test_a_branch_whose_leaf_is_missing_is_damaged():
    branch = SimpleNamespace(name="x", member={"fLeaves": [None]}.__getitem__)  # as uproot reads a null pointer
    with pytest.raises(DamagedFileError, match="branch 'x' is damaged: one of its leaves is missing"):
        leaves.mend_leaves([branch])
