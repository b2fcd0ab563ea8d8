"""Files of experiments, if present: everything is restored, in no more bytes than before."""

import runpy
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot
from conftest import SHARED, bits, jet_errors, read_tree, same_jets, succeeded

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")

EXAMPLES = Path(__file__).parents[1] / "scripts" / "examples"
FILES = sorted(path for path in SHARED.glob("*") if path.suffix in (".root", ".pkl"))
TRIGGER_JETS = SHARED / "atlas_trigger_jets_dev.pkl"
# uproot writes 1,500 branches in 15 s: once, in cms_nanoaod_wide, is enough. 972 of those of cms_nanoaod are flags of
# triggers.
MANY_BRANCHES = dict.fromkeys(("atlas_physlite", "cms_nanoaod_no_events", "cms_nanoaod_rntuple"), ("--only-jets",))
MANY_BRANCHES["cms_nanoaod"] = ("--drop", "HLT_*", "--drop", "L1_*")
MANY_BRANCHES["cms_nanoaod_wide"] = ()
BYTES_PER_JET = {"atlas_trigger_jets_dev": 6.0, "pythia_dijet": 6.1}
JETS_AN_ENTRY = {"cms_nanoaod": "4.70 jets of 'Jet'", "atlas_physlite": "8.81 jets of 'AnalysisJetsAuxDyn'"}
MEV = {"MeV": 1.0, "GeV": 1000.0}


def read(path: Path, tree: str, names: list[str]) -> dict[str, ak.Array]:
    """Branches (or columns) of these names, in the file's order."""
    if path.suffix == ".pkl":
        frame = pd.read_pickle(path)
        return {name: ak.Array(frame[name].to_numpy()) for name in frame if name in names}
    with uproot.open(path, array_cache=None, object_cache=None) as file:
        if not isinstance(file[tree], uproot.TTree):
            return {field.name: field.array() for field in file[tree].fields if field.name in names}
        branches: dict[str, Any] = {}
        for branch in file[tree].itervalues(recursive=True):
            if branch.name in names and not branch.branches:
                branches.setdefault(branch.name, branch)  # Delphes has two of some names: a TTree has the first
        return {name: array for name, branch in branches.items() if (array := readable(branch)) is not None}


def readable(branch: Any) -> ak.Array | None:
    """The values of a branch of numbers or texts, if uproot can read it."""
    try:
        plain = isinstance(branch.interpretation, uproot.AsDtype | uproot.AsJagged | uproot.AsStrings)
        array = branch.array() if plain else None
        return array if array is not None and not ak.fields(array) else None
    except Exception:  # whatever uproot raises
        return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_an_experiment_comes_back(path, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / f"back{path.suffix}"
    options = MANY_BRANCHES.get(path.stem, ()) if path.suffix == ".root" else ()
    if path.stem in MANY_BRANCHES:  # they take seconds to read, and `verify` reads them anyway
        options += ("--no-read-back",)
    report = succeeded("compress", path, small, "--drop-unwritable", *options, "--json").report
    succeeded("verify", path, small)
    succeeded("decompress", small, back)
    jets = [name for collection in report["collections"] for name in collection["branches"].values()]
    before, after = (read(file, report["tree"], jets + report["carried"]) for file in (path, back))
    assert list(after) == list(before)
    assert set(jets) <= set(after)
    assert [name for name in before if name not in jets and bits(after[name]) != bits(before[name])] == []
    for collection in report["collections"]:
        check_collection(collection, before, after)
    negative = sum(negative_masses(collection, before) for collection in report["collections"])
    assert report["exact_jets"] <= negative + 0.005 * report["jets"]
    if path.stem in BYTES_PER_JET:
        assert report["bytes_per_jet"] <= BYTES_PER_JET[path.stem]
    if path.suffix == ".pkl":
        pd.testing.assert_index_equal(pd.read_pickle(back).index, pd.read_pickle(path).index)


def negative_masses(collection: dict[str, Any], before: dict[str, ak.Array]) -> int:
    """The number of jets with stored masses below zero, which are restored bit for bit."""
    branches = collection["branches"]
    return int(ak.sum(before[branches["m"]] < 0, axis=None)) if "m" in branches else 0


def check_collection(collection: dict[str, Any], before: dict[str, ak.Array], after: dict[str, ak.Array]) -> None:
    """Check types, event boundaries, and the precision of every jet."""
    for name in collection["branches"].values():
        assert bits(after[name])[:3] == bits(before[name])[:3]
    four = [{v: arrays[name] for v, name in collection["branches"].items()} for arrays in (before, after)]
    with np.errstate(all="ignore"):
        found = jet_errors(*four, MEV[collection["units"]])
    same = same_jets(*four)
    assert len(same) == collection["jets"]
    assert [variable for variable, error in found.items() if not (same | (error <= 1e-3)).all()] == []


def test_full_precision_is_that_of_69_bits(tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.pkl"
    succeeded("compress", TRIGGER_JETS, small, "--precision", "full")
    succeeded("decompress", small, back)
    latents = {name: str(array.type) for name, array in read_tree(small, "jets").items() if "exact" not in name}
    assert latents == {
        "z0": "14004 * float32",
        "z1": "14004 * float32",
        "z2": "14004 * float32",
        "index": "14004 * int64",
    }
    variables = ["pt", "eta", "phi", "m"]
    found = jet_errors(read(TRIGGER_JETS, "", variables), read(back, "", variables), 1.0)
    assert max(error.max() for error in found.values()) <= 1e-3
    half_widths = {variable: np.quantile(error, 0.68) for variable, error in found.items()}
    allowed = {"pt": 1e-5, "eta": 2e-5, "phi": 2e-5, "m": 1e-5}
    assert {v: width for v, width in half_widths.items() if not width <= allowed[v]} == {}


@pytest.mark.parametrize("name", JETS_AN_ENTRY)
def test_examples_take_the_usual_jets_in_their_units(name, tmp_path, monkeypatch, capsys):
    succeeded("compress", SHARED / f"{name}.root", tmp_path / "small.root", "--only-jets", "--layout", "packed")
    monkeypatch.setattr(sys, "argv", ["example", str(tmp_path / "small.root")])
    for example in ("read_columns", "dijet_mass"):
        runpy.run_path(str(EXAMPLES / f"{example}.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert JETS_AN_ENTRY[name] in told and "[1e+04,   inf) 0 " in told


def test_objects_that_only_a_copy_keeps_and_no_form_fits_are_left_as_they_are(tmp_path):
    """Delphes has two branches called Particle; the second one's numbers can't be told apart from the first one's."""
    small = tmp_path / "small.root"
    how = ("--objects", "all", "--layout", "packed", "--json")
    report = succeeded("compress", SHARED / "delphes.root", small, *how).report
    assert [c["name"] for c in report["collections"]] == ["Particle", "Jet", "GenJet"]
    assert "left as they are, since they are stored in a way of their own: 'Particle/Particle'" in report["notes"]
    succeeded("verify", SHARED / "delphes.root", small)
