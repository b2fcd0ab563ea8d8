"""Files compressed and decompressed: every jet is within its bounds, all else bit for bit."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import torch
import uproot
from conftest import (
    GEV,
    TREES,
    VARIABLES,
    Result,
    bits,
    bystanders,
    check_jets,
    check_restored,
    counted,
    declared,
    eight,
    jet_columns,
    jet_errors,
    make_counts,
    network_by_hand,
    nothing_left,
    random_jets,
    read_tree,
    run_main,
    same_jets,
    succeeded,
    write_layout,
    write_tree,
)
from helpers import counters_of, merge
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import atlasae
import atlasae.codecs.model
from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder
from atlasae.codecs.chain import jet_autoencoder
from atlasae.codecs.model import Model, default_model, domain_of
from atlasae.codecs.priors import Priors, default_priors
from atlasae.commands import cli
from atlasae.compression import compress, floats
from atlasae.compression.format import BRIEF, FORMAT, NEWEST, read_contents, write_contents
from atlasae.errors import ENDING, UserError
from atlasae.files.trees import open_source
from atlasae.files.writing import create
from atlasae.jets.coordinates import LEAST_MASS
from atlasae.training import loop, train

GOLDEN = Path(__file__).parents[1] / "golden"


def round_trip(path: Path, *options: object) -> Path:
    """Compress, verify and decompress a file, with outputs in the same folder; returns the last."""
    small, back = (path.with_name(f"{path.stem}.{step}.root") for step in ("small", "back"))
    succeeded("compress", path, small, *options)
    succeeded("verify", path, small)
    succeeded("decompress", small, back)
    return back


# --- every layout


@pytest.mark.parametrize("how", ["floats", "packed"])
def test_every_layout_comes_back(how, layout, made_of):
    folder = made_of(layout, "--layout", how)
    succeeded("verify", folder / "jets.root", folder / "small.root")
    check_restored(folder / "jets.root", folder / "back.root", TREES.get(layout, "Events"), layout)


@pytest.mark.parametrize("precision", [1e-2, 1e-4])
@pytest.mark.parametrize("how", ["floats", "packed"])
def test_every_precision_holds(how, precision, jets_file):
    back = round_trip(jets_file, "--precision", precision, "--layout", how)
    check_restored(jets_file, back, "Events", "nanoaod", precision)


@pytest.mark.parametrize("options", [("--no-context", "--only-jets"), ("--step-size", "2kB")])
def test_every_layout_comes_back_from_packed_bytes(options, layout, tmp_path):
    path = write_layout(tmp_path / "in.root", layout)
    back, tree = round_trip(path, "--layout", "packed", *options), TREES.get(layout, "Events")
    if "--only-jets" in options:
        before, after = read_tree(path, tree), read_tree(back, tree)
        assert list(after) == [name for name in before if name in VARIABLES[layout].values()]
        check_jets(before, after, layout)
    else:
        check_restored(path, back, tree, layout)


def test_packed_jets_are_one_branch_of_bytes_and_their_counter_stays(tmp_path, jets_file):
    succeeded("compress", jets_file, tmp_path / "small.root", "--layout", "packed", "--only-jets")
    found = read_tree(tmp_path / "small.root", "Events")
    assert set(found) == {"Jet_packed", "nJet"}
    assert ak.num(found["Jet_packed"])[0] > 0 and ak.sum(ak.num(found["Jet_packed"])[1:]) == 0
    assert found["nJet"].to_list() == ak.num(read_tree(jets_file, "Events")["Jet_pt"]).to_list()


@pytest.mark.parametrize("option", [("--model", "self"), ("--precision", "full")])
def test_what_packs_nothing_is_told(option, jets_file, tmp_path):
    with nothing_left(jets_file):
        result = run_main("compress", jets_file, tmp_path / "out.root", "--layout", "packed", *option)
        assert result.failed(2, "--layout packed", option[0])


@pytest.fixture
def own_tables(tmp_path):
    """Tables that are not packaged."""
    tables = {name: replace(prior, counts=(prior.counts + 1) // 2) for name, prior in default_priors().of.items()}
    path = tmp_path / "own.safetensors"
    path.write_bytes(Priors.from_tables(tables).content)
    return path


def test_tables_of_ones_own_travel_in_the_file(own_tables, jets_file, tmp_path):
    small = tmp_path / "small.root"
    report = succeeded("compress", jets_file, small, "--layout", "packed", "--model", own_tables, "--json").report
    assert report["model_sha256"] == hashlib.sha256(own_tables.read_bytes()).hexdigest()
    own_tables.unlink()
    succeeded("verify", jets_file, small)
    assert "in the file" in succeeded("info", small).out


def test_forged_tables_are_damage(own_tables, jets_file, tmp_path):
    small, forged = tmp_path / "small.root", tmp_path / "forged.root"
    succeeded("compress", jets_file, small, "--layout", "packed", "--model", own_tables, "--only-jets")
    odd = Priors.from_tables({"pt": default_priors().of["pt"]}).content
    for content in (b"", b"{}", odd, default_model().content):
        with open_source(small) as source, create(forged) as target:
            contents = read_contents(source)
            (run,) = contents.runs
            tree = source.trees[run.tree]
            events = tree.read(run.written, 0, tree.entries)
            target.make_tree(run.tree, events, counters=run.counters).extend(events)
            sha = hashlib.sha256(content).hexdigest()
            entries = [replace(entry, model_sha256=sha) for entry in run.collections]
            write_contents(target, replace(contents, runs=[replace(run, collections=entries)], models={sha: content}))
        assert run_main("verify", forged).failed(3, "Jet", "damaged")


def test_what_holds_no_tables_is_told(jets_file, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(default_model().content)
    with nothing_left(jets_file):
        for name, words in (("model.safetensors", "has no tables to pack by"), ("none.safetensors", "no tables")):
            options = ("--layout", "packed", "--model", tmp_path / name)
            assert run_main("compress", jets_file, tmp_path / "out.root", *options).failed(2, words, "--arch tables")


def test_context_is_of_the_packed_layout(jets_file, tmp_path):
    with nothing_left(jets_file):
        result = run_main("compress", jets_file, tmp_path / "out.root", "--no-context")
        assert result.failed(2, "--no-context", "add --layout packed")


def test_too_fine_a_grid_is_told(jets_file, tmp_path):
    with nothing_left(jets_file):
        options = ("--layout", "packed", "--precision", "1e-7")
        assert run_main("compress", jets_file, tmp_path / "out.root", *options).failed(2, "1e-05 or more")


@pytest.mark.parametrize("layout", ["flat", "cartesian", "rntuple_xaod"])
def test_jets_come_back_through_an_rntuple(layout, tmp_path):
    path = write_layout(tmp_path / "in.root", layout)
    check_restored(path, round_trip(path, "--format", "rntuple"), TREES.get(layout, "Events"), layout)
    with uproot.open(tmp_path / "in.small.root") as file:
        assert file.classname_of(TREES.get(layout, "Events")) == "ROOT::RNTuple"


@pytest.mark.parametrize("layout", ["nanoaod", "rntuple", "flat"])
@pytest.mark.parametrize("how", ["floats", "packed"])
def test_a_file_of_no_entries_comes_back(how, layout, tmp_path):
    path = write_layout(tmp_path / "in.root", layout, entries=0)
    check_restored(path, round_trip(path, "--layout", how), TREES.get(layout, "Events"), layout)


def test_entries_without_jets_come_back(tmp_path):
    jets = counted("nanoaod", np.zeros(50, int))
    path = write_tree(tmp_path / "in.root", "Events", bystanders(50) | jets, dict.fromkeys(jets, "nJet"))
    check_restored(path, round_trip(path), "Events", "nanoaod")


# --- the promise

SETS = [("pt", "eta", "phi", "m"), ("pt", "eta", "phi", "E"), ("px", "py", "pz", "E"), ("px", "py", "pz", "m")]
ODD = (
    0.0,
    -0.0,
    np.nan,
    np.inf,
    -np.inf,
    -1.0,
    1e-45,
    5e-324,
    1e38,
    1e300,
    10.0,
    -10.01,
    np.pi,
    -np.pi,
    3.2,
    0.09,
    -99,
)
MEV = {"MeV": 1.0, "GeV": 1000.0}


@dataclass
class Sample:
    """Jagged jets, their units, and the options with which they are compressed."""

    jets: dict[str, ak.Array]
    units: str
    precision: str
    step: str

    @property
    def bounds(self) -> dict[str, float]:
        """The promised bound of each variable."""
        if "=" in self.precision:
            return {v: float(bound) for v, bound in (part.split("=") for part in self.precision.split(","))}
        promised = ("pt", "eta", "phi", "m", *("E" for v in self.jets if v == "E"))
        return dict.fromkeys(promised, 1e-3 if self.precision == "full" else float(self.precision))


def usual_jets(n: int, seed: int) -> dict[str, np.ndarray]:
    """Jets in all variables: half of them typical, half with extreme pt, eta and m."""
    jets, rng = random_jets(n, seed), np.random.default_rng(seed)
    wild = rng.random(n) < 0.5
    jets["pt"][wild] = 10 ** rng.uniform(-3, 9, wild.sum())
    jets["eta"][wild] = rng.uniform(-10, 10, wild.sum())
    jets["m"][wild] = jets["pt"][wild] * rng.normal(0, 1, wild.sum()) * rng.choice([0, 1e-6, 1], wild.sum())
    px, py, pz = jets["pt"] * np.cos(jets["phi"]), jets["pt"] * np.sin(jets["phi"]), jets["pt"] * np.sinh(jets["eta"])
    energy = np.sqrt(np.maximum(px**2 + py**2 + pz**2 + jets["m"] * np.abs(jets["m"]), 0))
    return jets | {"px": px, "py": py, "pz": pz, "E": energy}


@st.composite
def samples(draw: st.DrawFn, variables: tuple[str, ...]) -> Sample:
    counts = np.array(draw(st.lists(st.integers(0, 12), max_size=6)), int)
    n, units = int(counts.sum()), draw(st.sampled_from(list(MEV)))
    usual = usual_jets(n, draw(st.integers(0, 2**32 - 1)))
    columns = []
    for v in variables:
        dtype = draw(st.sampled_from([np.float32, np.float64]))
        columns.append((usual[v] / (1 if v in ("eta", "phi") else MEV[units])).astype(dtype))
    cells = st.tuples(st.integers(0, max(n - 1, 0)), st.integers(0, 3))
    odd = st.sampled_from(ODD) | st.floats() | st.integers(0, 2**64 - 1)  # an integer: the bits of any float
    for (jet, variable), value in draw(st.dictionaries(cells, odd, max_size=20 if n else 0)).items():
        put(columns[variable], jet, value)
    jets = {v: ak.unflatten(column, counts) for v, column in zip(variables, columns, strict=True)}
    return Sample(jets, units, draw(precisions(variables[3])), draw(st.sampled_from(["100", "2kB", "20MB"])))


def put(column: np.ndarray, i: int, value: float) -> None:
    with np.errstate(all="ignore"):
        if isinstance(value, int):
            column.view(f"u{column.itemsize}")[i] = value % 2 ** (8 * column.itemsize)
        else:
            column[i] = value


def precisions(fourth: str) -> st.SearchStrategy[str]:
    bound = st.floats(-4, -1).map(lambda exponent: f"{10**exponent:.3g}")
    lists = [("pt", "eta", "phi", "m"), ("pt", "eta", "phi", "E"), ("pt", "eta", "phi", "m", "E")]
    named = st.sampled_from([names for names in lists if fourth in names])
    listed = named.flatmap(lambda names: st.tuples(*(bound.map(f"{name}={{}}".format) for name in names))).map(",".join)
    return bound | listed | st.just("full")


def must_be_exact(jets: dict[str, np.ndarray], stored: np.ndarray, with_mass: bool) -> np.ndarray:
    """Which jets are unphysical: NaN, inf, pt <= 0, |eta| > 10, |phi| > pi, m < -0.1 MeV if m is stored."""
    outside = (jets["pt"] <= 0) | (np.abs(jets["eta"]) > 10) | (np.abs(jets["phi"]) > np.pi)
    outside |= with_mass and jets["m"] < LEAST_MASS
    return ~np.isfinite(stored).all(axis=0) | outside


def derived_mass_errors(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> np.ndarray:
    """The error of m derived from E, if m > 0.001 E so that float64 is precise enough; 0 for other jets."""
    momenta = [jets["pt"] * np.cosh(jets["eta"]) for jets in (before, after)]
    m, decoded = (np.sqrt((j["E"] - p) * (j["E"] + p)) for j, p in zip((before, after), momenta, strict=True))
    return np.where(m > 1e-3 * before["E"], np.abs(decoded - m) / np.maximum(m, 100), 0)


def check_promise(sample: Sample, before: dict[str, ak.Array], after: dict[str, ak.Array]) -> None:
    """Check the error of every jet, computed here in float64, against its bound."""
    same, columns = same_jets(before, after), [ak.to_numpy(ak.flatten(array)) for array in before.values()]
    with np.errstate(all="ignore"):
        jets, decoded = (eight(four, MEV[sample.units]) for four in (before, after))
        found = jet_errors(before, after, MEV[sample.units])
        odd = must_be_exact(jets, np.array([column.astype(np.float64) for column in columns]), "m" in before)
        if "E" in before and all(column.dtype == np.float64 for column in columns):
            found["m"] = derived_mass_errors(jets, decoded)
    assert same[odd].all()
    for variable in sample.bounds.keys() & found.keys():
        assert (same | (found[variable] <= sample.bounds[variable] + 1e-9)).all(), variable


@pytest.mark.parametrize("variables", SETS, ids=" ".join)
@pytest.mark.parametrize("how", ["floats", "packed"])
def test_the_promise(how, variables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("promise")

    @settings(max_examples=5)  # one takes a second
    @given(samples(variables))
    def promise(sample: Sample) -> None:
        assume(how == "floats" or sample.precision != "full")
        before = {f"jet_{v}": array for v, array in sample.jets.items()}
        every = bystanders(len(before[f"jet_{variables[0]}"]))
        others = {name: every[name] for name in ("weight", "matrix", "name", "hit")}
        path = write_tree(folder / "in.root", "t", before | others, dict.fromkeys(before, "njet"))
        asked = {"units": sample.units, "precision": sample.precision, "step-size": sample.step, "layout": how}
        options = [text for name, value in asked.items() for text in (f"--{name}", value)]
        back = round_trip(path, *options, "--force")
        after = read_tree(back, "t")
        back.unlink()
        assert list(after) == [*before, *others]
        for name, array in others.items():
            assert bits(after[name]) == bits(array), name
        for name, array in before.items():
            assert bits(after[name])[:3] == bits(array)[:3]
        check_promise(sample, sample.jets, {v: after[f"jet_{v}"] for v in variables})

    promise()


# --- E beside m

FOUR = ("--jets", "Jet.{momentum.x,momentum.y,momentum.z,energy}")


def both(path: Path, told: float = 1.0, jets: int = 400) -> dict[str, np.ndarray]:
    """Write jets with m and E beside the momentum, of which a share has the E that m and p tell; returns them."""
    columns, rng = jet_columns("edm4hep", jets), np.random.default_rng(5)
    columns["Jet.energy"][rng.random(jets) > told] *= np.float32(1.02)
    columns["Jet.energy"][-4:-2] = np.nan, -1
    columns["Jet.mass"][-2:] = np.nan, -0.0
    columns["Jet.mass"][:5] *= np.float32(1e-6) * np.array([1, -1, -1, 0, -1], np.float32)
    p = np.sqrt(sum(columns[f"Jet.momentum.{axis}"][:5].astype(np.float64) ** 2 for axis in "xyz"))
    columns["Jet.energy"][:5] = p
    counts = np.full(jets // 4, 4)
    branches = {name: ak.unflatten(column, counts) for name, column in columns.items()}
    write_tree(path, "events", branches, dict.fromkeys(branches, "nJet"))
    return columns


def within(before: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Which jets came back bit for bit; all others are within 1e-3 in every variable, m and E as they are stored."""
    events = read_tree(path, "events")
    after = {name: ak.to_numpy(ak.flatten(events[name])) for name in before}
    same = np.all([after[name].view(np.uint32) == before[name].view(np.uint32) for name in before], axis=0)
    x, y = ({name: column.astype(np.float64) for name, column in jets.items()} for jets in (before, after))
    pt, ptb = (np.hypot(jets["Jet.momentum.x"], jets["Jet.momentum.y"]) for jets in (x, y))
    errors = {
        "pt": np.abs(ptb / pt - 1),
        "eta": np.abs(np.arcsinh(y["Jet.momentum.z"] / ptb) - np.arcsinh(x["Jet.momentum.z"] / pt)),
        "E": np.abs(y["Jet.energy"] / x["Jet.energy"] - 1),
        "m": np.abs(y["Jet.mass"] - x["Jet.mass"]) / np.maximum(np.abs(x["Jet.mass"]), 0.1),
    }
    for variable, error in errors.items():
        assert (same | (error <= 1e-3)).all(), variable
    return same


@pytest.mark.parametrize("how", ["floats", "packed"])
def test_an_energy_beside_a_mass_costs_nothing(how, tmp_path):
    path = tmp_path / "in.root"
    before = both(path, told=0.98)
    report = succeeded("compress", path, tmp_path / "out.root", "--layout", how, "--json", "--verbose").report
    (collection,) = report["collections"]
    assert list(collection["branches"]) == ["px", "py", "pz", "m", "E"] and collection["max_error"].keys() >= {"m", "E"}
    succeeded("decompress", tmp_path / "out.root", tmp_path / "back.root", "--quiet")
    same = within(before, tmp_path / "back.root")
    assert 5 <= same.sum() == report["exact_jets"] < 20 and not same[:5].any()
    succeeded("verify", path, tmp_path / "out.root", "--quiet")
    opened = atlasae.open(tmp_path / "out.root")
    restored = read_tree(tmp_path / "back.root", "events")
    assert all(bits(opened[name].array()) == bits(restored[name]) for name in before)
    assert np.isfinite(ak.to_numpy(ak.flatten(opened.jets().mass))[5:300]).all()
    bare = succeeded("compress", path, tmp_path / "four.root", "--layout", how, "--json", "--drop", "Jet.mass", *FOUR)
    more = report["bytes_jets_out"] - bare.report["bytes_jets_out"]  # exact jets, and another branch of them
    assert more < 2 * report["jets"]


@pytest.mark.parametrize("how", ["floats", "packed"])
def test_an_energy_that_the_mass_does_not_tell_leaves_the_mass_as_it_is(how, tmp_path):
    before = both(tmp_path / "in.root", told=0.5)
    report = succeeded("compress", tmp_path / "in.root", tmp_path / "out.root", "--layout", how, "--json").report
    assert list(report["collections"][0]["branches"]) == ["px", "py", "pz", "E"]
    succeeded("decompress", tmp_path / "out.root", tmp_path / "back.root", "--quiet")
    after = ak.to_numpy(ak.flatten(read_tree(tmp_path / "back.root", "events")["Jet.mass"]))
    assert after.tobytes() == before["Jet.mass"].tobytes()


# --- chunks


def test_a_step_smaller_than_an_event_is_an_event(tmp_path):
    path = write_layout(tmp_path / "in.root", "nanoaod", entries=9)
    check_restored(path, round_trip(path, "--step-size", "1B"), "Events", "nanoaod")
    assert succeeded("info", tmp_path / "in.small.root", "--json").report["runs"][0]["chunks"] == 9


def test_jets_unlike_all_that_were_looked_at_are_within_the_promise(tmp_path):
    columns = jet_columns("flat", 30_000)
    narrow = {"pt": (5e4, 6e4), "eta": (-0.1, 0.1), "phi": (0, 0.1), "m": (6e3, 7e3)}
    rare = np.random.default_rng(3).random(30_000) < 0.01
    for name, ends in narrow.items():
        columns[name][~rare] = np.random.default_rng(4).uniform(*ends, int((~rare).sum()))
    rare[:1000] = False
    columns["pt"][rare] *= 50
    path = write_tree(tmp_path / "in.root", "jets", {name: ak.Array(values) for name, values in columns.items()})
    check_restored(path, round_trip(path, "--step-size", "40kB"), "jets", "flat")
    (collection,) = succeeded("info", tmp_path / "in.small.root", "--json").report["collections"]
    assert collection["exact_jets"] > 0


def test_an_event_of_a_million_jets_comes_back(tmp_path):
    path, small, back = (tmp_path / f"{name}.root" for name in ("in", "small", "back"))
    thousand = jet_columns("nanoaod", 1000)  # repeated, so that the test takes seconds
    jets = {name: ak.unflatten(np.tile(values, 1000), [2, 0, 999_998]) for name, values in thousand.items()}
    write_tree(path, "Events", jets, dict.fromkeys(jets, "nJet"))
    succeeded("compress", path, small, "--no-read-back")
    succeeded("decompress", small, back)
    check_restored(path, back, "Events", "nanoaod")


# --- everything else in the file


def test_every_collection_of_a_tree_is_compressed_in_its_own_precision_of_float(tmp_path):
    counts = make_counts(60), make_counts(60, seed=5), make_counts(60, seed=6)
    names = {"nanoaod": "nJet", "xaod": "nTruth", "energy": "njet"}
    jets = {layout: counted(layout, n) for layout, n in zip(names, counts, strict=True)}
    jets["xaod"] = {name: ak.values_astype(array, np.float64) for name, array in jets["xaod"].items()}
    branches = {name: array for collection in jets.values() for name, array in collection.items()}
    counters = {name: names[layout] for layout, collection in jets.items() for name in collection}
    path = write_tree(tmp_path / "in.root", "t", branches, counters)
    back = round_trip(path)
    report = succeeded("info", tmp_path / "in.small.root", "--json").report
    assert [c["jets"] for c in report["collections"]] == [int(n.sum()) for n in counts]
    before, after = read_tree(path, "t"), read_tree(back, "t")
    assert [str(array.type) for array in after.values()] == [str(array.type) for array in before.values()]
    for layout in names:
        stored = [{v: arrays[name] for v, name in VARIABLES[layout].items()} for arrays in (before, after)]
        found = jet_errors(*stored, 1000.0 if layout in GEV else 1.0)
        assert max(error.max() for error in found.values()) <= 1e-3


def test_other_trees_and_objects_are_carried(jets_file):
    others, histogram = bystanders(20, seed=9), np.histogram([1.0, 2.0, 2.5], bins=4)
    with uproot.update(jets_file) as file:
        tree = file.mktree("folder/other", {name: declared(array) for name, array in others.items()}, title="another")
        tree.extend(others)
        file["folder/deep/histogram"] = histogram
    back = round_trip(jets_file)
    for path in (back, jets_file.with_name("jets.small.root")):
        found = read_tree(path, "folder/other")
        assert {name: bits(array) for name, array in found.items()} == {n: bits(array) for n, array in others.items()}
        with uproot.open(path) as file:
            assert [axis.tolist() for axis in file["folder/deep/histogram"].to_numpy()] == [
                x.tolist() for x in histogram
            ]
            assert file["folder/other"].title == "another"
    check_restored(jets_file, back, "Events", "nanoaod")


def test_texts_are_carried(jets_file):
    with uproot.update(jets_file) as file:
        file["folder/note"] = "made for a test"
    with uproot.open(round_trip(jets_file)) as file:
        assert file["folder/note"] == "made for a test"


# --- interrupted runs


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit files to `size` bytes, like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_a_full_disk_leaves_nothing(command, share, jets_file, compressed, made_of, tmp_path):
    path = {"compress": jets_file, "decompress": compressed}[command]
    done = made_of("nanoaod") / {"compress": "small.root", "decompress": "back.root"}[command]
    out = tmp_path / "out.root"
    with nothing_left(out), largest_file(int(share * done.stat().st_size)):
        assert run_main(command, path, out).failed(2, f"can't write '{out}'", "File too large")


@pytest.mark.parametrize("suffix", [".pkl", ".parquet"])
def test_a_full_disk_leaves_no_table(suffix, table, tmp_path):
    succeeded("compress", table, tmp_path / "small.root")
    out = tmp_path / f"out{suffix}"
    with nothing_left(out), largest_file(1000):
        assert run_main("decompress", tmp_path / "small.root", out).failed(2, "File too large")


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_a_signal_leaves_nothing(command, number, jets_file, compressed, tmp_path, monkeypatch):
    killing = contextlib.nullcontext(lambda done, total: os.kill(os.getpid(), number))
    monkeypatch.setattr(cli, "progress", lambda what, quiet: killing)
    path = {"compress": jets_file, "decompress": compressed}[command]
    with nothing_left(tmp_path / "out.root"):
        assert run_main(command, path, tmp_path / "out.root").failed(130, "interrupted: no output was left")


def test_a_signal_while_a_class_is_made_is_an_interruption(jets_file, monkeypatch):
    class Signalling:
        def __set_name__(self, owner, name):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(cli, "progress", lambda what, quiet: type("Made", (), {"attribute": Signalling()}))
    assert run_main("compress", jets_file, jets_file.with_name("out.root")).failed(130, "interrupted: no output")


def test_a_terminated_process_leaves_nothing(jets_file, tmp_path):
    code = (
        "import contextlib, os, signal, atlasae.commands.cli as cli;"
        "killing = contextlib.nullcontext(lambda done, total: os.kill(os.getpid(), signal.SIGTERM));"
        "cli.progress = lambda what, quiet: killing;"
        "cli.main()"
    )
    with nothing_left(jets_file):
        command = [sys.executable, "-c", code, "compress", jets_file, tmp_path / "out.root"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert Result(done.returncode, done.stdout, done.stderr).failed(130, "interrupted")


# --- models


@pytest.fixture(scope="session")
def model_content() -> bytes:
    """An untrained model."""
    torch.manual_seed(1)
    return Model.from_autoencoder(jet_autoencoder(), {}).content


@pytest.fixture
def model(model_content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(model_content)
    return path


@pytest.mark.parametrize("precision", ["1e-3", "full"])
def test_a_model_travels_in_the_file(precision, model, jets_file, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    succeeded("compress", jets_file, small, "--model", model, "--precision", precision)
    (run,) = succeeded("info", small, "--json").report["runs"]
    assert run["model_from"] == "in the file"
    model.unlink()
    succeeded("decompress", small, back)
    check_restored(jets_file, back, "Events", "nanoaod")


def test_the_packaged_model_does_not_travel(compressed):
    with uproot.open(compressed) as file:
        assert sorted(file["atlasae"].keys(cycle=False)) == ["about", "chunks", "runs"]
    (run,) = succeeded("info", compressed, "--json").report["runs"]
    assert run["model_from"] == "packaged with atlasae"


def test_a_model_that_is_nowhere_is_told(compressed, monkeypatch, tmp_path):
    monkeypatch.setattr(floats, "packaged_model", lambda sha256: None)
    with nothing_left(compressed):
        assert run_main("decompress", compressed, tmp_path / "out.root").failed(2, "upgrade atlasae")


# --- networks, whose errors have no bound of their own


def check_by_hand(before: dict[str, np.ndarray], after: dict[str, np.ndarray], bound: float) -> int:
    """Check jets decoded by `network_by_hand`: m is pt / 10, or the jet is exact; returns the number of exact jets."""
    far = np.abs(before["pt"] / 10 - before["m"]) > bound * np.maximum(before["m"], 100)
    clear = np.abs(np.abs(before["pt"] / 10 - before["m"]) - bound * before["m"]) > 1e-5 * before["m"]
    same = np.all([before[v] == after[v] for v in before], axis=0)
    assert (same == far)[clear].all()
    assert after["m"][~same] == pytest.approx(before["pt"][~same] / 10, rel=1e-5)
    for variable in ("pt", "eta", "phi"):
        assert after[variable] == pytest.approx(before[variable], rel=2e-6, abs=2e-6)
    return int(same.sum())


def as_table(path: Path) -> dict[str, np.ndarray]:
    """The jets of a NanoAOD-like file as flat arrays, in MeV."""
    branches = read_tree(path, "Events")
    return eight({v: branches[name] for v, name in VARIABLES["nanoaod"].items()}, 1000.0)


def test_jets_that_a_network_misses_are_kept_exactly(by_hand, jets_file, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = succeeded("compress", jets_file, small, "--model", by_hand, "--precision", "1e-1", "--json").report
    succeeded("verify", jets_file, small)
    by_hand.unlink()  # it is in the file
    succeeded("decompress", small, back)
    exact = check_by_hand(as_table(jets_file), as_table(back), 0.1)
    check_restored(jets_file, back, "Events", "nanoaod", 0.1)
    assert 20 < exact < report["jets"] - 5
    assert (report["exact_jets"], report["bits"]) == (exact, {"Jet": {}})
    assert any("kept exactly" in note for note in report["notes"])


def test_without_a_promise_errors_are_measured(by_hand, jets_file, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    result = succeeded("compress", jets_file, small, "--model", by_hand, "--precision", "none", "--json")
    report = json.loads(result.out, parse_constant=pytest.fail)
    succeeded("decompress", small, back)
    before = as_table(jets_file)
    assert check_by_hand(before, as_table(back), math.inf) == report["exact_jets"] == 0
    assert report["precision"] == {"Jet": dict.fromkeys(("pt", "eta", "phi", "m"))}
    worst = np.abs(before["pt"] / 10 - before["m"]) / before["m"]
    assert report["max_error"]["m"] == pytest.approx(worst.max(), rel=1e-4)
    assert report["max_error"]["pt"] < 1e-5
    verified = succeeded("verify", jets_file, small, "--json").report
    assert verified["max_error"]["Jet"] == pytest.approx(report["max_error"], rel=1e-4, abs=1e-9)
    assert verified["differences"] == []
    told = [line.split() for line in succeeded("info", small).out.splitlines()]
    assert ["Jet_mass", "none", f"{worst.max():.2g}"] in told
    told = [line.split() for line in succeeded("verify", jets_file, small).out.splitlines()]
    assert ["Jet", "m", "none", f"{worst.max():.2g}"] in told


def test_without_a_promise_what_is_no_jet_is_still_exact(by_hand, tmp_path):
    columns = jet_columns("flat", 100)
    columns["pt"][[0, 50, 99]] = [np.nan, -1, 0]
    columns["m"][7], columns["eta"][9] = np.inf, 11
    path = write_tree(tmp_path / "in.root", "jets", {name: ak.Array(values) for name, values in columns.items()})
    report = succeeded(
        "compress", path, tmp_path / "small.root", "--model", by_hand, "--precision", "none", "--json"
    ).report
    assert report["exact_jets"] == 5
    succeeded("verify", path, tmp_path / "small.root")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root")
    for name, array in read_tree(tmp_path / "back.root", "jets").items():
        odd = [0, 7, 9, 50, 99]
        assert ak.to_numpy(array)[odd].tobytes() == columns[name][odd].tobytes()


def test_the_packaged_model_always_promises(jets_file, tmp_path):
    with nothing_left(jets_file):
        command = ["compress", jets_file, tmp_path / "out.root", "--precision", "none"]
        assert run_main(*command).failed(2, "--precision none", "give a bound, or `full`")
        assert run_main(*command, "--model", "self").failed(2, "--precision none")


@pytest.fixture
def on_energies(tmp_path: Path) -> Path:
    """A network with random weights on (pt, eta, phi, E)."""
    torch.manual_seed(2)
    network = BottleneckAutoencoder(Bottleneck(hidden=(8,)))
    jets = random_jets(500)
    columns = np.column_stack([jets["pt"] / 1000, jets["eta"], jets["phi"], jets["E"] / 1000])
    network.normalise_by(torch.from_numpy(columns))
    (tmp_path / "on_energies.model").write_bytes(Model.from_autoencoder(network.double(), {}).content)
    return tmp_path / "on_energies.model"


@pytest.mark.parametrize(
    ("name", "layout", "precision"),
    [
        ("by_hand", "energy", "1e-1"),
        ("by_hand", "cartesian", "none"),
        ("on_energies", "flat", "1e-1"),
        ("on_energies", "nanoaod", "none"),
    ],
)
def test_a_network_takes_jets_of_another_layout(name, layout, precision, by_hand, on_energies, tmp_path):
    path, model = write_layout(tmp_path / "in.root", layout), {"by_hand": by_hand, "on_energies": on_energies}[name]
    tree, small = TREES.get(layout, "Events"), tmp_path / "small.root"
    report = succeeded("compress", path, small, "--model", model, "--precision", precision, "--json").report
    succeeded("verify", path, small)
    succeeded("decompress", small, tmp_path / "back.root")
    four = [{v: read_tree(p, tree)[b] for v, b in VARIABLES[layout].items()} for p in (path, tmp_path / "back.root")]
    found, same = jet_errors(*four, 1000.0 if layout in GEV else 1.0), same_jets(*four)
    assert same.sum() == report["exact_jets"] and (same.sum() > 0) == (precision != "none")
    for variable, error in found.items():
        assert report["max_error"][variable] == pytest.approx(error.max(), rel=1e-3, abs=1e-6)
        assert precision == "none" or error.max() <= 0.1


def test_runs_of_networks_and_of_grids_are_merged(by_hand, jets_file, tmp_path):
    other = write_layout(tmp_path / "other.root", "nanoaod", entries=40, seed=3)
    succeeded("compress", jets_file, tmp_path / "a.small.root", "--model", by_hand, "--precision", "none")
    succeeded("compress", other, tmp_path / "b.small.root")
    merge(tmp_path / "merged.root", tmp_path / "a.small.root", tmp_path / "b.small.root")
    succeeded("decompress", tmp_path / "merged.root", tmp_path / "back.root")
    slice_of(tmp_path / "back.root", tmp_path / "first.root", 0, 60)
    slice_of(tmp_path / "back.root", tmp_path / "second.root", 60, 100)
    check_by_hand(as_table(jets_file), as_table(tmp_path / "first.root"), math.inf)
    check_restored(other, tmp_path / "second.root", "Events", "nanoaod")
    told = [line.split() for line in succeeded("info", tmp_path / "merged.root").out.splitlines()]
    assert [cells[5] for cells in told[-2:]] == ["none", "0.001"]
    assert ["Jet_pt", "none"] in [cells[:2] for cells in told]


# --- the input's own model


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit models in 20 steps, and to 20 jets or more."""
    course = dataclasses.replace(train.SELF_RECIPE.course, steps=20, batch=64, validate_every=10)
    monkeypatch.setattr(train, "SELF_RECIPE", dataclasses.replace(train.SELF_RECIPE, course=course))
    monkeypatch.setattr(floats, "FEWEST_TO_FIT", 20)


def model_notes(result: Result) -> list[str]:
    return [note for note in result.report["notes"] if "model of their own" in note or "model of its own" in note]


def test_too_few_jets_get_no_model_of_their_own(jets_file, tmp_path):
    small = tmp_path / "small.root"
    result = succeeded("compress", jets_file, small, "--model", "self", "--json")
    jets = result.report["jets"]
    assert model_notes(result) == [f"{jets} jets are too few for a model of their own: the packaged one is used"]
    assert result.report["model_sha256"] == default_model().sha256
    succeeded("verify", jets_file, small)


def test_a_model_of_their_own_that_does_not_pay_is_left_out(quick, jets_file, tmp_path):
    small = tmp_path / "small.root"
    result = succeeded("compress", jets_file, small, "--model", "self", "--json")
    (note,) = model_notes(result)
    saved, size = map(float, re.findall(r"(-?[\d.]+) kB", note))
    assert saved < 3 and 40 < size < 50 and note.endswith("the packaged one is used")
    assert result.report["model_sha256"] == default_model().sha256
    with uproot.open(small) as file:
        assert "models" not in file["atlasae"]


def test_a_model_of_their_own_that_pays_is_in_the_file(quick, jets_file, tmp_path, monkeypatch):
    sizes = iter([10_000_000, 1_234_000])
    monkeypatch.setattr(floats, "sampled_bytes", lambda compressors, events: next(sizes))
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    result = succeeded("compress", jets_file, small, "--model", "self", "--json")
    (note,) = model_notes(result)
    assert note.startswith("a model of its own saves 8,766.0 kB and takes ") and note.endswith("it is in the file")
    models = read_tree(small, "atlasae/models")
    hashes = [bytes(row).hex() for row in models["sha256"].to_list()]
    assert hashes == [result.report["model_sha256"]] != [default_model().sha256]
    model = Model.from_bytes(ak.to_numpy(models["content"][0]).tobytes(), "of the input")
    assert model.facts["provenance"]["files"] == ["the input"]
    pt = as_table(jets_file)["pt"]
    assert model.facts["domain"]["pt"][2] == pytest.approx(np.median(pt), rel=0.1)
    (run,) = succeeded("info", small, "--json").report["runs"]
    assert run["model_from"] == "in the file"
    succeeded("verify", jets_file, small)
    succeeded("decompress", small, back)
    check_restored(jets_file, back, "Events", "nanoaod")


def test_what_a_model_of_their_own_saves_is_counted_over_the_whole_file(quick, jets_file, tmp_path, monkeypatch):
    # The first chunk of 1 kB has about 10 entries; the sample has more from later positions.
    sizes, seen = iter([2000, 1000]), []

    def sampled(compressors: object, events: dict[str, ak.Array]) -> int:
        seen.append(len(events["Jet_pt"]))
        return next(sizes)

    monkeypatch.setattr(floats, "sampled_bytes", sampled)
    monkeypatch.setattr(compress, "_PLACE_ENTRIES", 1)
    command = ["compress", jets_file, tmp_path / "small.root", "--model", "self", "--step-size", "1kB", "--json"]
    (note,) = model_notes(succeeded(*command))
    assert seen[0] == seen[1] < 40
    assert f"saves {60 / seen[0]:.1f} kB" in note


@pytest.mark.parametrize("entries", [0, 900, 1001, 1499, 3000, 6999, 100_000])
def test_no_entry_is_twice_in_the_sample(entries):
    read = list[range]()
    events = SimpleNamespace(
        entries=entries,
        bytes_per_entry=lambda names: 1.0,
        read=lambda names, begin, end: read.append(range(begin, end)) or {},
    )
    compress._sample(events, SimpleNamespace(collections=[], read=[]), 1000)
    seen = [entry for part in read for entry in part]
    assert len(seen) == len(set(seen)) == min(entries, 7000)
    assert all(read) or not entries


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_model_is_fitted_leaves_nothing(number, quick, jets_file, tmp_path, monkeypatch):
    def interrupted(*arguments: object) -> float:
        os.kill(os.getpid(), number)
        return 1.0

    monkeypatch.setattr(loop, "validation_loss", interrupted)
    with nothing_left(jets_file):
        result = run_main("compress", jets_file, tmp_path / "out.root", "--model", "self")
        assert result.failed(130, "interrupted: no output was left")


# --- jets unlike those of the model


@pytest.fixture
def of_such_jets(tmp_path: Path) -> Path:
    """`network_by_hand`, with the domain of jets like those of `jets_file`."""
    jets = random_jets(5000, seed=8)
    domain = domain_of(np.column_stack([jets[v] for v in ("pt", "eta", "phi", "m")]))
    (tmp_path / "mine.model").write_bytes(Model.from_autoencoder(network_by_hand(), {"domain": domain}).content)
    return tmp_path / "mine.model"


@pytest.mark.parametrize("options", [[], ["--units", "MeV"], ["--units", "GeV"]])
def test_jets_in_other_units_are_told_with_numbers(options, of_such_jets, jets_file, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = succeeded("compress", jets_file, small, "--model", of_such_jets, "--json", *options).report
    notes = [note for note in report["notes"] if "unlike those the model was trained on" in note]
    assert len(notes) == (options == ["--units", "MeV"])
    median = np.median(as_table(jets_file)["pt"])
    for note in notes:
        assert "'Jet'" in note and f"the median is {median / 1e6:.4g} GeV" in note and "right units?" in note
    succeeded("verify", jets_file, small)
    succeeded("decompress", small, back)
    assert as_table(back)["pt"] == pytest.approx(as_table(jets_file)["pt"], rel=1e-3)


# --- merged files


def test_merged_files_come_back(model, tmp_path):
    parts = [write_layout(tmp_path / f"{i}.root", "nanoaod", entries=40 + i, seed=i) for i in range(3)]
    asked = [("--precision", "1e-2"), ("--precision", "full", "--model", model), ("--step-size", "2kB")]
    for part, options in zip(parts, asked, strict=True):
        succeeded("compress", part, part.with_suffix(".small.root"), *options)
    model.unlink()
    merged, back = tmp_path / "merged.root", tmp_path / "back.root"
    merge(merged, *(part.with_suffix(".small.root") for part in parts))
    succeeded("decompress", merged, back)
    runs = succeeded("info", merged, "--json").report["runs"]
    assert [(run["source"], run["entries"]) for run in runs] == [("0.root", 40), ("1.root", 41), ("2.root", 42)]
    assert [run["collections"][0]["precision"]["pt"] for run in runs] == [1e-2, 1e-3, 1e-3]
    assert [run["model_from"] == "in the file" for run in runs] == [False, True, False]
    start = 0
    for part, precision, entries in zip(parts, (1e-2, 1e-3, 1e-3), (40, 41, 42), strict=True):
        slice_of(back, tmp_path / "slice.root", start, start + entries)
        check_restored(part, tmp_path / "slice.root", "Events", "nanoaod", precision)
        start += entries


def slice_of(path: Path, target: Path, start: int, stop: int) -> None:
    with uproot.open(path) as file:
        counters = counters_of(file["Events"])
    write_tree(
        target, "Events", {name: array[start:stop] for name, array in read_tree(path, "Events").items()}, counters
    )


@pytest.mark.parametrize("how", ["floats", "packed"])
def test_a_merged_file_is_verified_against_the_merged_originals(how, tmp_path):
    parts = [write_layout(tmp_path / f"{i}.root", "nanoaod", seed=i) for i in range(2)]
    for i, precision in enumerate(("1e-2", "1e-3")):
        with uproot.update(parts[i]) as file:
            file.mktree("other", {"x": np.dtype("i4")}).extend({"x": np.full(5 + i, i, np.int32)})
        options = ("--precision", precision, "--layout", how)
        succeeded("compress", parts[i], parts[i].with_suffix(".small.root"), *options)
    merge(tmp_path / "merged.root", *parts)
    merge(tmp_path / "merged.small.root", *(part.with_suffix(".small.root") for part in parts))
    succeeded("verify", tmp_path / "merged.root", tmp_path / "merged.small.root")
    succeeded("decompress", tmp_path / "merged.small.root", tmp_path / "back.root")
    assert read_tree(tmp_path / "back.root", "other")["x"].to_list() == [0] * 5 + [1] * 6


def test_merged_files_of_branches_in_another_order_come_back(jets_file, tmp_path):
    other = tmp_path / "other.root"
    branches = dict(reversed(read_tree(jets_file, "Events").items()))
    write_tree(other, "Events", branches, {name: "nJet" for name in branches if name.startswith("Jet_")})
    for path in (jets_file, other):
        succeeded("compress", path, path.with_suffix(".small.root"))
    merge(tmp_path / "merged.small.root", jets_file.with_suffix(".small.root"), other.with_suffix(".small.root"))
    merge(tmp_path / "merged.root", jets_file, other)
    succeeded("verify", tmp_path / "merged.root", tmp_path / "merged.small.root")
    succeeded("decompress", tmp_path / "merged.small.root", tmp_path / "back.root")
    check_restored(tmp_path / "merged.root", tmp_path / "back.root", "Events", "nanoaod")


@pytest.mark.parametrize("how", ["floats", "packed"])
def test_merged_files_of_other_types_are_refused_by_whatever_reads_them(how, tmp_path):
    jets = counted("nanoaod", make_counts(20))
    parts = {"single": jets, "double": {name: ak.values_astype(array, np.float64) for name, array in jets.items()}}
    for name, branches in parts.items():
        path = write_tree(tmp_path / f"{name}.root", "Events", branches, dict.fromkeys(branches, "nJet"))
        succeeded("compress", path, path.with_suffix(".small.root"), "--layout", how)
    original, merged, out = (tmp_path / name for name in ("double.root", "merged.root", "out"))
    merge(merged, *((tmp_path / name).with_suffix(".small.root") for name in parts))
    says = "'Jet_pt' is a list of <f4, pt of 'Jet', in 'single.root', a list of <f8, pt of 'Jet', in 'double.root'"
    for arguments in (
        ("decompress", merged, f"{out}.root"),
        ("verify", merged),
        ("verify", original, merged),
        ("info", merged),
        ("evaluate", original, merged),
        ("export", merged, "--cpp", "-o", f"{out}.h"),
    ):
        with nothing_left(merged):
            assert run_main(*arguments).failed(
                2, "merged.root' merges files that can't be one tree", says, "one by one"
            )
    with pytest.raises(UserError, match="can't be one tree"):
        atlasae.open(merged)


# --- tables


@pytest.fixture
def frame() -> pd.DataFrame:
    """A table with columns in an unusual order, a named index, and a NaN with a payload."""
    jets, rng = random_jets(300), np.random.default_rng(5)
    words = rng.integers(0, 2**32, 300, dtype=np.uint32)
    words[:2] = 0x7FC00123, 0x80000000
    columns = {
        "m": jets["m"],
        "event": np.arange(300) + 2**40,
        "pt": jets["pt"].astype(np.float32),
        "good": rng.random(300) > 0.5,
        "phi": jets["phi"],
        "eta": jets["eta"],
        "weight": words.view(np.float32),
        "level": rng.integers(-9, 9, 300).astype(np.int8),
    }
    return pd.DataFrame(columns, index=pd.Index(rng.permutation(1000)[:300], name="row"))


@pytest.fixture(params=[".pkl", ".parquet"])
def table(request: pytest.FixtureRequest, frame: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / f"table{request.param}"
    write: dict[str, Callable[[Path], None]] = {".pkl": frame.to_pickle, ".parquet": frame.to_parquet}
    write[request.param](path)
    return path


def read_frame(path: Path) -> pd.DataFrame:
    return {".pkl": pd.read_pickle, ".parquet": pd.read_parquet}[path.suffix](path)


@pytest.mark.parametrize("suffix", [".pkl", ".parquet"])
def test_a_table_comes_back_as_a_table(suffix, table, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / f"back{suffix}"
    succeeded("compress", table, small)
    succeeded("verify", table, small)
    succeeded("decompress", small, back)
    before, after = read_frame(table), read_frame(back)
    pd.testing.assert_index_equal(after.index, before.index)
    check_table({name: before[name].to_numpy() for name in before}, {name: after[name].to_numpy() for name in after})


@pytest.mark.parametrize("texts", ["object", "str", "string"])
def test_a_table_keeps_the_type_of_its_names(texts, frame, tmp_path):
    frame.columns = frame.columns.astype(texts)
    frame.to_pickle(tmp_path / "in.pkl")
    succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root", "--layout", "packed")
    succeeded("verify", tmp_path / "in.pkl", tmp_path / "small.root")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.pkl")
    assert pd.read_pickle(tmp_path / "back.pkl").columns.dtype == texts


def test_a_table_keeps_byte_order_labels_and_nulls(frame, tmp_path):
    odd = frame.assign(**{"5": 1.0}).rename(columns={"5": 5}).rename_axis(columns="variable")
    odd = odd.astype({"pt": ">f4", "m": ">f8", "event": ">i8"}).set_axis(pd.RangeIndex(300, 0, -1, name=3), axis=0)
    odd.to_pickle(tmp_path / "in.pkl")
    succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root")
    succeeded("verify", tmp_path / "in.pkl", tmp_path / "small.root")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.pkl")
    after = pd.read_pickle(tmp_path / "back.pkl")
    assert (list(after.columns), after.columns.name, after.index.name) == (list(odd.columns), "variable", 3)
    assert isinstance(after.index, pd.RangeIndex) and after.index.tolist() == odd.index.tolist()
    assert [after[name].dtype.str for name in odd] == [odd[name].dtype.str for name in odd]
    columns = [{name: f[name].to_numpy() for name in odd} for f in (odd, after)]
    check_table(*({name: a.astype(a.dtype.newbyteorder("=")) for name, a in found.items()} for found in columns))
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.parquet")  # parquet has only one byte order
    assert pd.read_parquet(tmp_path / "back.parquet")["event"].tolist() == odd["event"].tolist()
    native = odd.astype({"pt": "<f4"}).rename_axis(columns=None)
    native.to_pickle(tmp_path / "other.pkl")
    result = run_main("verify", tmp_path / "other.pkl", tmp_path / "small.root")
    assert result.code == 1 and "the table's heading is 'variable' here, None in the original" in result.out
    assert "the table's swapped is " in result.out
    only = ("--only-jets", "--force")
    succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root", *only)
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.pkl", "--force")
    assert pd.read_pickle(tmp_path / "back.pkl")["pt"].dtype.str == ">f4"


def test_what_a_table_loses_is_told(frame, tmp_path):
    frame.attrs["cut"] = ("pt", 20)  # a tuple is none in JSON
    frame.to_pickle(tmp_path / "in.pkl")
    report = succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root", "--json").report
    assert "attributes of the table are left out: 1 in its attrs" in report["notes"]


def test_a_table_comes_back_as_a_root_file(table, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    succeeded("compress", table, small)
    succeeded("decompress", small, back)
    before = read_frame(table)
    expected = {name: before[name].to_numpy() for name in before} | {"index": before.index.to_numpy()}
    check_table(expected, {name: ak.to_numpy(array) for name, array in read_tree(back, "jets").items()})


def check_table(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    """Check names, order, dtypes and jets, and the bits of other columns."""
    assert [(name, a.dtype) for name, a in after.items()] == [(name, a.dtype) for name, a in before.items()]
    jets = {"pt", "eta", "phi", "m"}
    for name in before.keys() - jets:
        assert bits(ak.Array(after[name])) == bits(ak.Array(before[name])), name
    four = [{v: ak.Array(columns[v]) for v in jets} for columns in (before, after)]
    assert max(error.max() for error in jet_errors(*four, 1.0).values()) <= 1e-3


def test_a_file_of_events_is_a_table_of_lists(jets_file, compressed, tmp_path):
    with nothing_left(compressed):
        message = "several jets an event, which .csv can't hold: write .root or .parquet"
        assert run_main("decompress", compressed, tmp_path / "out.csv").failed(2, message)
    before = read_tree(jets_file, "Events")
    succeeded("decompress", compressed, tmp_path / "out.pkl")
    assert list(map(len, pd.read_pickle(tmp_path / "out.pkl")["Jet_pt"])) == ak.num(before["Jet_pt"]).to_list()
    succeeded("decompress", compressed, tmp_path / "out.parquet")
    back = ak.from_parquet(tmp_path / "out.parquet")
    four = [{v: found[f"Jet_{name}"] for v, name in NANO.items()} for found in (before, back)]
    assert max(error.max() for error in jet_errors(*four, 1e3).values()) <= 1e-3


NANO = {"pt": "pt", "eta": "eta", "phi": "phi", "m": "mass"}


def write_hdf5(path: Path, frame: pd.DataFrame) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["jets"] = frame.to_records(index=False)


def read_hdf5(path: Path) -> pd.DataFrame:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path) as file:
        return pd.DataFrame(file["jets"][:])


def read_npz(path: Path) -> pd.DataFrame:
    return pd.DataFrame(dict(np.load(path)))


FORMATS: dict[str, tuple[Callable[..., None], Callable[[Path], pd.DataFrame]]] = {
    ".csv": (lambda path, frame: frame.to_csv(path, index=False), pd.read_csv),
    ".csv.gz": (lambda path, frame: frame.to_csv(path, index=False), pd.read_csv),
    ".h5": (write_hdf5, read_hdf5),
    ".npz": (lambda path, frame: np.savez(path, **frame), read_npz),
    ".pkl.xz": (lambda path, frame: frame.to_pickle(path), pd.read_pickle),
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_tables_of_every_format_come_back(suffix, frame, tmp_path):
    write, read = FORMATS[suffix]
    small, back = tmp_path / "small.root", tmp_path / f"back{suffix}"
    plain = frame.reset_index(drop=True).drop(columns="weight" if suffix.startswith(".csv") else [])  # NaN with bits
    write(tmp_path / f"in{suffix}", plain)
    words = ("--step-size", "5kB")
    succeeded("compress", tmp_path / f"in{suffix}", small, *words)
    succeeded("verify", tmp_path / f"in{suffix}", small)
    succeeded("decompress", small, back)
    before, after = read(tmp_path / f"in{suffix}"), read(back)
    check_table(*({name: found[name].to_numpy() for name in found} for found in (before, after)))


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_float16_comes_back_also_where_it_is_of_jets(layout, frame, tmp_path):
    made = frame.assign(half=frame["eta"].astype(np.float16), eta=frame["eta"].astype(np.float16))
    made.loc[made.index[:3], "eta"] = np.array([2e-5, -3e-7, 0], np.float16)  # numbers with fewer bits
    made.to_pickle(tmp_path / "in.pkl")
    report = succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root", "--layout", layout, "--json").report
    assert not any("float16" in note for note in report["notes"])
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.pkl")
    back = pd.read_pickle(tmp_path / "back.pkl")
    assert (back["half"].dtype, back["eta"].dtype) == (np.float16, np.float16)
    assert back["half"].tolist() == made["half"].tolist()
    assert np.abs(back["eta"].astype(float) - made["eta"].astype(float)).max() <= 1e-3


def test_momenta_of_float16_come_back_wider(tmp_path):
    rng = np.random.default_rng(1)
    pt, eta, phi = 20 + rng.exponential(30, 300), rng.normal(size=300), rng.uniform(-3, 3, 300)
    p = {"jet_px": pt * np.cos(phi), "jet_py": pt * np.sin(phi), "jet_pz": pt * np.sinh(eta)}
    made = p | {"jet_E": np.sqrt(sum(v**2 for v in p.values()) + 25)}
    pd.DataFrame({name: values.astype(np.float16) for name, values in made.items()}).to_pickle(tmp_path / "in.pkl")
    report = succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root", "--json").report
    assert any(note.startswith("float16 comes back as float32, not to round twice: jet_px") for note in report["notes"])
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.pkl")
    assert set(pd.read_pickle(tmp_path / "back.pkl").dtypes) == {np.dtype("f4")}


def test_a_small_table_takes_few_bytes_beside_its_jets(frame, tmp_path):
    frame[["pt", "eta", "phi", "m"]].reset_index(drop=True).to_pickle(tmp_path / "in.pkl")
    report = succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root", "--json").report
    assert report["bytes_file_out"] - report["bytes_jets_out"] < 10_000  # 45 kB as uproot writes it


# --- golden files of all formats


def test_every_format_has_its_golden_files():
    assert {path.name for path in GOLDEN.glob("format-*")} == {f"format-{i + 1}" for i in range(NEWEST)}


KINDS = ("default", "embedded", "mlp", "ntuple", "list", "packed")


def test_every_format_has_golden_files_of_every_kind():
    assert (GOLDEN / "format-6" / "list_packed.npz").exists()  # it is of these files alone
    assert all((GOLDEN / f"format-{i + 1}" / f"{kind}.npz").exists() for i in range(FORMAT) for kind in KINDS)


@pytest.mark.parametrize("name", sorted(f"{path.parent.name}/{path.stem}" for path in GOLDEN.glob("format-*/*.npz")))
def test_a_file_of_the_past_still_opens(name, tmp_path):
    succeeded("verify", GOLDEN / f"{name}.root")
    succeeded("decompress", GOLDEN / f"{name}.root", tmp_path / "back.root")
    found = read_tree(tmp_path / "back.root", "Events")
    with np.load(GOLDEN / f"{name}.npz") as expected:
        assert list(found) == expected["branches"].tolist()
        assert "text" not in found or found["text"].to_list() == expected["text"].tolist()
        for branch in found.keys() - {"text"}:
            exact = expected.get(f"{branch}.exact")
            check_recorded(found[branch], expected[f"{branch}.counts"], expected[branch], exact)


def test_parts_of_several_formats_are_refused(tmp_path):
    rows = dict[str, dict[str, ak.Array]]()
    for i in range(FORMAT):
        names = ("atlasae/runs", "atlasae/chunks", *["atlasae/models"] * (i + 1 < BRIEF), "Events")
        for name in names:
            found = read_tree(GOLDEN / f"format-{i + 1}" / "default.root", name)
            same = name in rows and [a.type.content for a in found.values()] == [
                a.type.content for a in rows[name].values()
            ]
            joined = {branch: ak.concatenate([rows[name][branch], found[branch]]) for branch in found} if same else {}
            rows[name] = joined or rows.get(name, found)  # as `hadd -fk`, which skips other types
    with create(tmp_path / "merged.root") as target:
        for name, columns in rows.items():
            target.make_tree(name, columns).extend(columns)
    result = run_main("decompress", tmp_path / "merged.root", tmp_path / "back.root")
    assert result.failed(3, "17 chunks for 1 run; where parts of several formats were merged, decompress each by")


def check_recorded(array: ak.Array, counts: np.ndarray, values: np.ndarray, exact: np.ndarray | None) -> None:
    """Check a branch against the recorded values: bit for bit, or up to the last bits for jets that are not exact."""
    flat = ak.to_numpy(ak.flatten(array, axis=None))
    assert flat.dtype == values.dtype
    assert counts.tolist() == (ak.num(array).to_list() if array.ndim > 1 else [1] * len(array))
    exact = np.ones(len(values), bool) if exact is None else exact
    assert flat[exact].tobytes() == values[exact].tobytes() != b""
    np.testing.assert_allclose(flat[~exact], values[~exact], rtol=1e-6, atol=1e-6)


# --- any list of variables


def test_the_model_of_a_list_is_no_model_of_jets(jets_file, tmp_path):
    path = GOLDEN / "format-1" / "list.root"
    with open_source(path) as source:
        (content,) = read_contents(source).models.values()
    (tmp_path / "list.model").write_bytes(content)
    with nothing_left(jets_file):
        result = run_main("compress", jets_file, tmp_path / "out.root", "--model", tmp_path / "list.model")
        assert result.failed(2, "list.model", "Jet_area", "jets need pt, eta, phi and m")


@pytest.mark.parametrize("outliers", [[1e30, -999.0], [-1e38] * 3, []])
def test_rows_far_from_all_others_are_exact_and_cost_the_others_nothing(outliers, quick_model, tmp_path):
    rng, n = np.random.default_rng(1), 3000
    columns = {"a": rng.normal(1, 0.2, n), "b": rng.exponential(30, n), "c": rng.integers(0, 9, n)}
    columns["a"][: len(outliers)] = outliers
    path = write_tree(tmp_path / "in.root", "T", {name: ak.Array(values) for name, values in columns.items()})
    (tmp_path / "list.toml").write_text(
        '[[variable]]\nbranch="a"\ncoordinate="linear"\nprecision=1e-3\n'
        '[[variable]]\nbranch="b"\ncoordinate="log"\nprecision=1e-3\n'
        '[[variable]]\nbranch="c"\ncoordinate="integer"\n'
    )
    small = tmp_path / "small.root"
    report = succeeded("compress", path, small, "--variables", tmp_path / "list.toml", "--json").report
    assert len(outliers) <= report["exact_jets"] <= len(outliers) + 15
    (collection,) = report["collections"]
    assert sum(collection["bits"].values()) < 40
    succeeded("verify", path, small)
