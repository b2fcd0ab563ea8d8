"""What ROOT stores besides values: found in a file made by ROOT, and reported by every command, and nothing more."""

import io
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import Result, run_main, succeeded

from atlasae.files.sources import kept_beside, lost_in

MADE_BY_ROOT = Path(__file__).parents[1] / "golden" / "beside.root"  # by make_beside.py
OF_TREES = {"Events": ["weight", "aliases", "index", "friends", "user info"], "tuple": ["class TNtuple"], "plain": []}
MINOR = [
    *(f"{what} of tree '{name}'" for name, found in OF_TREES.items() for what in found),
    *("fBits of 'average'", "fFunctions of 'graph'", "fHistogram of 'graph'"),
    *("empty folder 'empty'", "title of folder 'titled'", "cycle 1 of 'plain'"),
]
STOPS = ["branch 'lists' of tree 'nested'", "cycle 1 of 'changed'", "'fitted'", "'luminosity'"]


def written(thing: object) -> object:
    file = uproot.recreate(buffer := io.BytesIO())
    file["x"] = thing
    with uproot.open(io.BytesIO(buffer.getvalue())) as read:
        return read["x"]


def compressed(tmp_path: Path, *options: str) -> tuple[Path, Result]:
    small = tmp_path / "small.root"
    return small, run_main("compress", MADE_BY_ROOT, small, "--layout", "packed", "--rewrite", *options)


@pytest.mark.parametrize("name", OF_TREES)
def test_what_a_tree_has_beside_its_branches(name):
    with uproot.open(MADE_BY_ROOT) as file:
        assert kept_beside(file[name]) == OF_TREES[name]  # in `plain`, user info was asked for: an empty list


def test_bytes_behind_a_tree_that_make_no_sense_are_told():
    with uproot.open(MADE_BY_ROOT) as file:
        tree = file["plain"]
        tree.member("fLeaves").cursor.skip(10**6)
        assert kept_beside(tree) == ["what follows the aliases"]


@pytest.mark.parametrize(
    ("name", "lost"),
    {"average": ["fBits"], "graph": ["fFunctions", "fHistogram"], "twice": [], "titled/inside": []}.items(),
)
def test_what_an_object_loses_by_being_written(name, lost):
    with uproot.open(MADE_BY_ROOT) as file:
        found = file[name]
        assert sorted(lost_in(found, written(found))) == lost


def test_contents_and_other_classes_are_lost_too():
    with uproot.open(MADE_BY_ROOT) as file:
        assert lost_in(file["changed;1"], file["changed;2"])[-1] == "TArrayF"
        assert lost_in(file["changed"], file["graph"]) == ["class TH1F"]


def test_a_file_with_more_than_can_be_written_is_refused_and_names_it(tmp_path):
    small, result = compressed(tmp_path)
    assert result.failed(2, "4 things beside its jets", *STOPS, "TH1F with its TF1", "--drop-unwritable")
    assert not small.exists()


def test_every_command_tells_what_was_left_out(tmp_path):
    small, result = compressed(tmp_path, "--drop-unwritable", "--json")
    left_out = {thing["name"]: thing["minor"] for thing in result.report["left_out"]}
    assert left_out == dict.fromkeys(MINOR, True) | dict.fromkeys(STOPS, False)
    notes = " ".join(result.report["notes"])
    assert [name for name in left_out if name not in notes] == []
    for command in (["info", small], ["verify", small], ["verify", MADE_BY_ROOT, small]):
        page = succeeded(*command).out
        assert [name for name in left_out if name not in page] == []
        assert succeeded(*command, "--json").report["left_out"] == result.report["left_out"]


@pytest.mark.parametrize("asked", [("--drop", "w*", "--drop", "event"), ("--only-jets",)])
def test_every_command_tells_which_branches_were_dropped(asked, jets_file, tmp_path):
    small = tmp_path / "small.root"
    dropped = succeeded("compress", jets_file, small, *asked, "--json").report["dropped"]
    assert {"weight", "event"} <= set(dropped)
    (line,) = [x for x in succeeded("compress", jets_file, small, *asked, "--force").out.splitlines() if "dropped" in x]
    for command in (["info", small], ["verify", small], ["verify", jets_file, small]):
        assert line in map(str.strip, succeeded(*command).out.splitlines())
        assert succeeded(*command, "--json").report["dropped"] == dropped


def test_only_jets_need_nothing_else(tmp_path):
    small, result = compressed(tmp_path, "--only-jets", "--json")
    assert result.report["left_out"] == []
    succeeded("verify", MADE_BY_ROOT, small)


def test_notes_of_many_files_are_shown_with_their_names(tmp_path):
    for name in ("a.root", "b.root"):
        (tmp_path / name).write_bytes(MADE_BY_ROOT.read_bytes())
    files = [tmp_path / "a.root", tmp_path / "b.root"]
    out = succeeded(
        "compress", *files, "-o", tmp_path / "out", "--layout", "packed", "--rewrite", "--drop-unwritable"
    ).out
    assert "note: a.root, b.root: weight of tree 'Events', " in out
    assert "note: a.root, b.root: 'luminosity' is left out: uproot can't write this TParameter<double>" in out


def with_jets(path: Path, **things: object) -> Path:
    """A small file with jets, and things by name."""
    counts = np.full(20, 2)
    with uproot.recreate(path) as file:
        jets = {f"Jet_{v}": ak.unflatten(np.linspace(0.1, 3, 40, dtype=np.float32), counts) for v in ("eta", "phi")}
        jets |= {f"Jet_{v}": ak.unflatten(np.linspace(50, 90, 40, dtype=np.float32), counts) for v in ("pt", "mass")}
        types = {name: array.layout.form.type for name, array in jets.items()}
        file.mktree("Events", types, counter_name=lambda _: "nJet").extend(jets)
        for name, thing in things.items():
            file[name.replace("__", "/")] = thing
    return path


@pytest.mark.parametrize("name", ["atlasae", "atlasae__mine"])
def test_a_folder_or_object_of_the_name_of_ours_is_refused(name, tmp_path):
    path, small = with_jets(tmp_path / "in.root", **{name: "a text"}), tmp_path / "small.root"
    assert run_main("compress", path, small, "--layout", "packed").failed(2, "'atlasae' of its own", "in.root")
    succeeded("compress", path, small, "--layout", "packed", "--only-jets")
    succeeded("verify", path, small)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ([], "'{};1' is in one of the files only"),
        (["--rewrite"], "'{}' of the original is not in the compressed file"),
    ],
)
def test_what_no_run_recorded_is_a_difference(options, what, tmp_path):
    """A file compressed before its original got another object."""
    path, small = with_jets(tmp_path / "in.root", first="a text"), tmp_path / "small.root"
    succeeded("compress", path, small, "--layout", "packed", *options)
    with_jets(path, first="a text", second="another", empty__x="one more")
    result = run_main("verify", path, small)
    assert result.code == 1
    lines = {line.strip() for line in result.out.splitlines() if " is " in line and "errors" not in line}
    assert lines == {what.format(name) for name in ("second", "empty/x")}
