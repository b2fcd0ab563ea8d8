"""Skims of compressed files: they are decoded with the codecs of the whole file, or refused."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import (
    LAYOUTS,
    TREES,
    bits,
    declared,
    nothing_left,
    read_tree,
    refused,
    run_main,
    succeeded,
    write_layout,
    write_tree,
)

import atlasae
from atlasae.errors import UserError


def skim(
    small: Path,
    keep: slice,
    names: Sequence[str] | None = None,
    to: str = "",
    spell: Callable[[str], str] = str,
    **more: ak.Array,
) -> Path:
    """A skim with some entries and branches of the tree, without the folder, as by ROOT's CopyTree and Snapshot."""
    path = small.with_name("skim.root")
    with uproot.open(small) as before, uproot.recreate(path) as after:
        tree = next(name for name in before.keys(cycle=False, recursive=False) if name != "atlasae")
        leaves = {branch.name: branch.member("fLeaves")[0].member("fLeafCount") for branch in before[tree].branches}
        counters = {spell(name): spell(leaf.member("fName")) for name, leaf in leaves.items() if leaf is not None}
        found = {
            spell(name): array[keep] for name, array in read_tree(small, tree).items() if names is None or name in names
        }
        types = {name: declared(array) for name, array in (found | more).items()}
        after.mktree(to or tree, types, counter_name=lambda name: counters.get(name, f"n{name}")).extend(found | more)
    return path


@pytest.fixture(scope="session")
def exact_once(made_of, tmp_path_factory) -> Path:
    """The folder of a file in which some jets are exact, `in.root`, and the same compressed, `small.root`."""
    branches = read_tree(made_of("nanoaod") / "jets.root", "Events")
    branches["Jet_pt"] = ak.where(branches["Jet_pt"] > 60, branches["Jet_pt"], np.float32(-7.5))
    folder = tmp_path_factory.mktemp("exact")
    path = folder / "in.root"
    with uproot.recreate(path) as file:
        types = {name: declared(array) for name, array in branches.items()}
        counters = {name: "nJet" for name in branches if name.startswith("Jet_")}
        file.mktree("Events", types, counter_name=lambda name: counters.get(name, f"n{name}")).extend(branches)
    report = succeeded("compress", path, folder / "small.root", "--json", "--step-size", "500B").report
    assert 0 < report["exact_jets"] < report["jets"]
    return folder


@pytest.fixture
def small(exact_once, tmp_path) -> Path:
    """A copy of the compressed file of `exact_once`, beside one of the file that it was made of."""
    for path in exact_once.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / "small.root"


@pytest.mark.parametrize(
    ("layout", "keep"),
    [
        *((layout, slice(1, None, 3)) for layout in LAYOUTS),
        *((layout, keep) for layout in ("flat", "nanoaod") for keep in (slice(0, 0), slice(0, None))),
    ],
)
def test_skims_of_every_layout_come_back(keep, layout, made_of, tmp_path):
    folder = made_of(layout, "--format", "ttree")
    small = Path(shutil.copy(folder / "small.root", tmp_path))
    part = skim(small, keep)
    with nothing_left(part):
        words = (
            "skim.root' looks like a skim of a compressed file: it has branch",
            "z0', but no 'atlasae/runs'",
            "--trust",
        )
        assert run_main("decompress", part, tmp_path / "back.root").failed(2, *words)
    said = succeeded("decompress", part, tmp_path / "back.root", "--trust", small).out
    assert "no checksum fits" in said and "did not come along" not in said
    tree = TREES.get(layout, "Events")
    whole, back = read_tree(folder / "back.root", tree), read_tree(tmp_path / "back.root", tree)
    assert list(back) == list(whole)
    for name, array in whole.items():
        assert bits(back[name]) == bits(array[keep])
    with atlasae.open(part, trust=small) as opened:
        assert {name: bits(opened[name].array()) for name in whole} == {name: bits(back[name]) for name in whole}


def test_branches_that_snapshot_calls_otherwise_get_their_names_back(tmp_path):
    branches = read_tree(write_layout(tmp_path / "xaod.root", "xaod"), "CollectionTree")
    branches = {name.replace("weight", "event.weight"): array for name, array in branches.items()}
    counters = {name: "njets" for name in branches if name.startswith("AntiKt4")}
    path, small = write_tree(tmp_path / "in.root", "dots", branches, counters), tmp_path / "small.root"
    succeeded("compress", path, small)
    part = skim(small, slice(2, 30), spell=lambda name: name.replace(".", "_"))
    assert not any("." in name for name in read_tree(part, "dots"))
    said = succeeded("decompress", part, tmp_path / "back.root", "--trust", small).out
    assert "did not come along" not in said and "is of type" not in said
    succeeded("decompress", small, tmp_path / "whole.root")
    whole, back = (read_tree(tmp_path / name, "dots") for name in ("whole.root", "back.root"))
    assert list(back) == list(whole) and "event.weight" in back
    assert {name: bits(array) for name, array in back.items()} == {n: bits(a[2:30]) for n, a in whole.items()}


def test_jets_that_are_exact_are_so_in_a_skim(small, tmp_path):
    part = skim(small, slice(0, None, 2))
    succeeded("decompress", part, tmp_path / "back.root", "--trust", small)
    before, after = (read_tree(tmp_path / name, "Events")["Jet_pt"] for name in ("in.root", "back.root"))
    kept = ak.flatten(before[::2]) == -7.5
    assert ak.any(kept) and ak.all(ak.flatten(after)[kept] == -7.5)
    assert ak.all(abs(ak.flatten(after) / ak.flatten(before[::2]) - 1) < 1e-3)


def test_a_skim_may_have_fewer_branches_new_ones_and_another_name(small, tmp_path):
    jets = [name for name in read_tree(small, "Events") if name.startswith(("Jet_z", "Jet_exact"))]
    part = skim(small, slice(3), jets, to="Selected", weight=ak.Array([1.5, 2.5, 3.5]), hit=ak.Array([[1], [], [2, 3]]))
    report = succeeded("decompress", part, tmp_path / "back.root", "--trust", small, "--json").report
    back = read_tree(tmp_path / "back.root", "Selected")
    assert set(back) == {"Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "weight", "hit"}
    assert back["weight"].to_list() == [1.5, 2.5, 3.5] and back["hit"].to_list() == [[1], [], [2, 3]]
    assert report["entries"] == 3 and report["jets"] == ak.sum(ak.num(back["Jet_pt"]))
    assert report["notes"][1].startswith("did not come along: event, ")
    assert report["notes"][2] == "branch 'weight' is of type <f8 now, was <f4"


def test_a_skim_with_the_folder_tells_how_its_jets_were_coded(small, tmp_path):
    part = skim(small, slice(5))
    with uproot.update(part) as file:
        for name in ("atlasae/runs", "atlasae/chunks"):
            rows = read_tree(small, name)
            file.mktree(name, {column: declared(array) for column, array in rows.items()}).extend(rows)
    words = ("looks like a skim", "tree 'Events' has 5 of the 60 entries compressed", "--trust")
    for arguments in (("decompress", part, tmp_path / "back.root"), ("verify", part), ("info", part)):
        assert run_main(*arguments).failed(2, *words)
    succeeded("decompress", part, tmp_path / "back.root", "--trust", part)
    succeeded("decompress", small, tmp_path / "whole.root")
    whole, back = (read_tree(tmp_path / name, "Events") for name in ("whole.root", "back.root"))
    assert bits(back["Jet_mass"]) == bits(whole["Jet_mass"][:5])


@pytest.mark.parametrize("left_out", ["Jet_z1", "Jet_exact_index", "Jet_exact_m"])
def test_jets_without_all_that_stands_for_them_are_refused(left_out, small, tmp_path):
    names = set(read_tree(small, "Events")) - {left_out}
    part = skim(small, slice(5), sorted(names))
    result = run_main("decompress", part, tmp_path / "back.root", "--trust", small)
    assert result.failed(2, f"'Jet' can't be decoded without '{left_out}': skim with Jet_z0, Jet_z1, Jet_z2, Jet_exact")


def test_packed_jets_of_a_skim_are_refused_with_the_reason(jets_file, tmp_path):
    small = tmp_path / "small.root"
    succeeded("compress", jets_file, small, "--layout", "packed")
    part = skim(small, slice(5))
    for trust in ((), ("--trust", small)):
        with nothing_left(part):
            result = run_main("decompress", part, tmp_path / "back.root", *trust)
            assert result.failed(2, "packed jets of a chunk are all in its first entry", "--layout floats")
            assert trust or "'Jet_packed'" in result.err


def test_another_file_is_not_what_a_skim_was_made_of(small, tmp_path):
    part = skim(small, slice(None))
    other = write_layout(tmp_path / "other.root", "nanoaod", seed=7)
    flat = write_layout(tmp_path / "flat.root", "flat")
    for path, precision in ((other, "1e-3"), (tmp_path / "in.root", "1e-2"), (flat, "1e-3")):
        succeeded("compress", path, path.with_suffix(".small.root"), "--precision", precision)
    for trusted, says in (
        (tmp_path / "other.small.root", "jets looked up are not in the file to trust"),
        (tmp_path / "in.small.root", "jets looked up are not in the file to trust"),
        (tmp_path / "flat.small.root", "skim.root' is no skim of"),
        (other, "was not compressed by atlasae"),
        (tmp_path / "nowhere.root", "no such file"),
    ):
        with nothing_left(part):
            assert run_main("decompress", part, tmp_path / "back.root", "--trust", trusted).failed(2, says)


def test_a_skim_of_files_on_different_grids_is_refused(small, tmp_path):
    how = ("--rewrite", "--step-size", "2kB")
    succeeded("compress", tmp_path / "in.root", small, *how, "--force")
    part = skim(small, slice(5))
    succeeded("compress", tmp_path / "in.root", tmp_path / "second.root", *how, "--precision", "1e-2")
    with uproot.recreate(tmp_path / "merged.root") as file:
        for name in ("atlasae/runs", "atlasae/chunks", "Events"):
            rows = [read_tree(tmp_path / path, name) for path in ("small.root", "second.root")]
            joined = {column: ak.concatenate([row[column] for row in rows]) for column in rows[0]}
            file.mktree(name, {column: declared(array) for column, array in joined.items()}).extend(joined)
    result = run_main("decompress", part, tmp_path / "back.root", "--trust", tmp_path / "merged.root")
    assert result.failed(2, "merged from 2 runs, 'Jet' on 2 different grids", "skim each run's own file")


def test_trust_is_of_one_skim(small, tmp_path):
    result = run_main("decompress", small, "-o", tmp_path / "folder", "--trust", small)
    assert result.failed(2, "--trust is for one skim: give IN and OUT")
    with pytest.raises(UserError, match="looks like a skim"):
        atlasae.open(skim(small, slice(5)))


def test_padding_is_of_one_file_too(tmp_path):
    """Collections of padding alone have the same grid for any sentinel."""
    for i, number in enumerate((-999, 0)):
        columns = {f"jet1_{v}": ak.Array(np.full(300, number, np.float32)) for v in ("pt", "eta", "phi", "m")}
        path, small = write_tree(tmp_path / f"{i}.root", "Events", columns), tmp_path / f"{i}.small.root"
        succeeded("compress", path, small, "--units", "GeV", "--quiet")
    words, out = ("jets looked up are not in the file to trust",), tmp_path / "back.root"
    refused(2, words, "decompress", tmp_path / "0.small.root", out, "--trust", tmp_path / "1.small.root", out=out)
