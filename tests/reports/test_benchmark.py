"""Bytes per jet against precision: what is measured, of which jets, and what is reported."""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pytest
from conftest import counted, make_counts, random_jets, read_tree, succeeded, write_layout, write_tree

from atlasae.codecs.model import default_model
from atlasae.errors import UserError
from atlasae.jets.variables import FourMomentum
from atlasae.reports import benchmark
from atlasae.reports.benchmark import FLOOR, OURS, PACKED, benchmark_file, compressed_bytes, fit_entropy, read_all_jets
from atlasae.training import train

BOUNDS = (1e-2, 1e-3, 1e-4)
NANOAOD = ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass")
PEERS = {
    *("as it is, ZSTD(5)", "as it is, LZMA(9)", "mantissas rounded, ZSTD(5)", "mantissas rounded, LZMA(9)"),
    *("grid in integers, ZSTD(5)", "grid in integers, LZMA(9)", "grid in three floats, LZMA(9)"),
    *("grid in three floats, our LZMA", "grid, pcodec, no events", "SZ3, no events"),
}


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Models that are hardly trained, at three precisions."""
    with pytest.MonkeyPatch.context() as patch:
        course = replace(train.SELF_RECIPE.course, steps=4, batch=64, validate_every=2)
        patch.setattr(train, "SELF_RECIPE", replace(train.SELF_RECIPE, course=course))
        patch.setattr(benchmark, "PRECISIONS", BOUNDS)
        yield


@pytest.fixture(scope="module")
def jets_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NanoAOD-like file of 250 events."""
    return write_layout(tmp_path_factory.mktemp("benchmark") / "jets.root", "nanoaod", 250)


@pytest.fixture(scope="module")
def report(jets_path: Path) -> dict[str, Any]:
    """The report of the benchmark on it."""
    return benchmark_file(jets_path)


def test_the_report_has_a_number_for_every_method_and_precision(report, jets_path):
    assert (report["input"], report["collection"]) == ("jets.root", "Jet")
    assert report["branches"] == dict(zip(("pt", "eta", "phi", "m"), NANOAOD, strict=True))
    assert report["jets"] == len(ak.flatten(read_tree(jets_path, "Events")["Jet_pt"]))
    assert (report["precisions"], report["missing"]) == (list(BOUNDS), [])
    assert set(report["curves"]) == {OURS, PACKED, *PEERS, FLOOR}
    assert next(iter(report["curves"])) == OURS
    assert [name for name, sizes in report["curves"].items() if len(sizes) != 3 or not all(s > 0 for s in sizes)] == []


def test_looser_precision_takes_fewer_bytes(report):
    for name in (OURS, FLOOR):
        assert report["curves"][name] == sorted(report["curves"][name]) and len(set(report["curves"][name])) == 3, name


def test_our_bytes_are_those_of_compress(report, jets_path, tmp_path):
    jets = {name: array for name, array in read_tree(jets_path, "Events").items() if name in NANOAOD}
    path = write_tree(tmp_path / "jets.root", "jets", jets, dict.fromkeys(jets, "njets"))
    command = ["compress", path, tmp_path / "small.root", "--precision", "1e-3", "--json"]
    assert succeeded(*command).report["bytes_per_jet"] == pytest.approx(report["curves"][OURS][1], rel=0.02)


def test_every_precision_is_told_while_it_is_measured(jets_path, monkeypatch):
    monkeypatch.setattr(benchmark, "compressed_bytes", lambda *arguments, **options: 1.0)
    monkeypatch.setattr(benchmark, "peers", lambda *arguments: {})
    seen: list[tuple[int, int]] = []
    report = benchmark_file(jets_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert set(report["curves"]) == {OURS, PACKED, FLOOR}


def test_a_precision_that_a_method_cannot_hold_is_null(jets_path, monkeypatch):
    monkeypatch.setattr(benchmark, "compressed_bytes", lambda *arguments, **options: 1.0)
    monkeypatch.setattr(benchmark, "peers", lambda sample, bound, folder: {"it": 2.0} if bound > 5e-4 else {})
    assert benchmark_file(jets_path)["curves"]["it"] == [2.0, 2.0, None]


@pytest.mark.parametrize("missing", [["pcodec"], ["pysz"], ["pcodec", "pysz"]])
def test_packages_that_are_missing_are_named(missing, jets_path, monkeypatch):
    monkeypatch.setattr(benchmark, "PRECISIONS", (1e-2,))
    monkeypatch.setattr(benchmark, "compressed_bytes", lambda *arguments, **options: 1.0)
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)  # importing it is an error now
    report = benchmark_file(jets_path)
    assert report["missing"] == missing
    lost = {{"pcodec": "grid, pcodec, no events", "pysz": "SZ3, no events"}[package] for package in missing}
    assert set(report["curves"]) == {OURS, PACKED, *PEERS, FLOOR} - lost


# --- which jets


@pytest.mark.parametrize("layout", ["energy", "cartesian", "rntuple_xaod", "flat"])
def test_jets_of_any_layout_are_measured(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "PRECISIONS", (1e-2,))
    report = benchmark_file(write_layout(tmp_path / "in.root", layout, 60))
    assert set(report["curves"]) == {OURS, PACKED, *PEERS, FLOOR}
    rounded, stored = (report["curves"][name][0] for name in ("mantissas rounded, LZMA(9)", "as it is, LZMA(9)"))
    assert 0 < report["curves"][FLOOR][0] < rounded < stored


def test_a_table_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "PRECISIONS", (1e-2,))
    jets = random_jets(60)
    pd.DataFrame({v: jets[v] for v in ("pt", "eta", "phi", "m")}).to_pickle(tmp_path / "in.pkl")
    report = benchmark_file(tmp_path / "in.pkl")
    assert (report["input"], report["jets"]) == ("in.pkl", 60) and set(report["curves"]) == {
        OURS,
        PACKED,
        *PEERS,
        FLOOR,
    }


def test_the_jets_that_are_named_are_measured(tmp_path):
    jets = {name.replace("Jet", stem): a for stem in "AB" for name, a in counted("nanoaod", make_counts(60)).items()}
    scaled = {name: array * 2 if name == "B_pt" else array for name, array in jets.items()}
    path = write_tree(tmp_path / "in.root", "Events", scaled, {name: f"n{name[0]}" for name in jets})
    one, other = (read_all_jets(path, [pattern], None) for pattern in ("A_", "B_"))
    assert (one.collection.name, other.collection.name) == ("A", "B")
    assert other.jets[:, 0] == pytest.approx(2 * one.jets[:, 0])
    assert read_all_jets(path, ["B"], "MeV").jets[:, 0] == pytest.approx(2e-3 * one.jets[:, 0])


def test_jets_without_coordinates_are_left_out(tmp_path):
    jets = counted("nanoaod", np.full(40, 2))
    pt = ak.to_numpy(ak.flatten(jets["Jet_pt"])).copy()
    pt[:4] = np.nan, -1, 0, np.inf
    jets["Jet_pt"] = ak.unflatten(pt, np.full(40, 2))
    sample = read_all_jets(write_tree(tmp_path / "in.root", "Events", jets, dict.fromkeys(jets, "nJet")), (), None)
    assert len(sample.jets) == 76 and sample.counts.tolist() == [0, 0] + [2] * 38
    assert sample.jets[:, 0] == pytest.approx(pt[4:] * 1000)


def file_of(path: Path, jets: int) -> Path:
    branches = counted("nanoaod", np.ones(jets, int))
    return write_tree(path, "Events", branches, dict.fromkeys(branches, "nJet"))


def test_too_few_jets_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "PRECISIONS", (1e-2,))
    with pytest.raises(UserError, match=r"in\.root' has 29 jets to measure: at least 30 are needed"):
        benchmark_file(file_of(tmp_path / "in.root", 29))
    assert set(benchmark_file(file_of(tmp_path / "in.root", 30))["curves"]) == {OURS, PACKED, *PEERS, FLOOR}


def test_no_jets_are_too_few(tmp_path):
    with pytest.raises(UserError, match="has 0 jets to measure"):
        benchmark_file(write_layout(tmp_path / "in.root", "nanoaod", 0))


@pytest.mark.parametrize("most", [40, 200])
def test_of_many_jets_the_first_are_measured(most, jets_path, monkeypatch):
    every = read_all_jets(jets_path, (), None)
    monkeypatch.setattr(benchmark, "ENOUGH_JETS", most)
    first = read_all_jets(jets_path, (), None)
    assert most * 0.7 < len(first.jets) < most * 1.3
    assert first.jets.tolist() == every.jets[: len(first.jets)].tolist()
    assert first.counts.tolist() == every.counts[: len(first.counts)].tolist()


def test_few_jets_among_many_events_are_all_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "ENOUGH_JETS", 100)
    counts = np.zeros(2000, int)
    counts[::40] = 1
    branches = counted("nanoaod", counts)
    path = write_tree(tmp_path / "in.root", "Events", branches, dict.fromkeys(branches, "nJet"))
    assert len(read_all_jets(path, (), None).jets) == 50


# --- ours and the floor


def test_the_model_is_the_one_that_was_named(by_hand, jets_path, tmp_path):
    sample = read_all_jets(jets_path, (), None)
    packaged, other = (compressed_bytes(sample, 1e-2, str(model), tmp_path) for model in ("default", by_hand))
    assert packaged != other
    assert other == compressed_bytes(sample, 1e-2, str(by_hand), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path != by_hand) == ["compressed.root", "sample.root"]


def test_the_floor_is_that_of_jets_it_was_not_fitted_to(monkeypatch):
    jets = np.stack([random_jets(100)[v] for v in ("pt", "eta", "phi", "m")], axis=1)
    taught: list[np.ndarray] = []

    def packaged(training: np.ndarray) -> Any:
        taught.append(training)
        return default_model()

    monkeypatch.setattr(benchmark, "learn_from", packaged)
    asked: list[int] = []
    bits = benchmark.bits_per_row
    monkeypatch.setattr(benchmark, "bits_per_row", lambda a, rows, step: asked.append(len(rows)) or bits(a, rows, step))
    entropy = fit_entropy(jets)
    assert (len(taught[0]), len({tuple(jet) for jet in taught[0]} & {tuple(jet) for jet in jets})) == (80, 80)
    # Half the step is a bit more of each of four variables.
    assert entropy(np.expm1(5e-4)) - entropy(np.expm1(1e-3)) == pytest.approx(4 / 8) and asked == [20, 20]


def test_a_peer_that_breaks_its_bound_ends_the_benchmark(jets_path, monkeypatch):
    monkeypatch.setattr(benchmark, "compressed_bytes", lambda *arguments, **options: 1.0)
    monkeypatch.setattr(FourMomentum, "from_coordinates", lambda self, coordinates: coordinates)
    with pytest.raises(ValueError, match="the grid does not hold"):
        benchmark_file(jets_path)


def test_nothing_is_left_of_a_benchmark(jets_path, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "PRECISIONS", (1e-2,))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # made at the first step of an optimizer
    before = [path.name for path in jets_path.parent.iterdir()]
    benchmark_file(jets_path)
    assert (
        list((tmp_path / "temporary").iterdir()) == [] and [path.name for path in jets_path.parent.iterdir()] == before
    )
