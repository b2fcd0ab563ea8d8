"""The report of an evaluation: its figures compared with numpy's, and odd files."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot
from conftest import jet_columns, make_counts, random_jets, read_tree, succeeded, write_layout, write_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.compression.plan import Options
from atlasae.errors import DamagedFileError, UserError
from atlasae.jets.collections import Collection
from atlasae.report import to_json
from atlasae.reports import classifier, evaluation
from atlasae.reports.comparison import JetPairs, Paired
from atlasae.reports.evaluation import Evaluation, EventRows, EventTally, evaluate_files, write_histograms
from atlasae.reports.histograms import AXES, ETA_BINS, PT_BINS

JETS = ("pt", "eta", "phi", "m")
NANO = ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass")
EIGHT = ("pt", "eta", "phi", "m", "E", "px", "py", "pz")
Report = dict[str, Any]


def report_of(original: Path, compressed: Path) -> Report:
    """The report after a round trip through JSON."""
    report = evaluate_files(original, compressed).report
    return json.loads(to_json(report))


def only(report: Report) -> Report:
    (found,) = report["collections"]
    return found


def nano(path: Path, jets: dict[str, np.ndarray], counts: Any) -> Path:
    """A NanoAOD-like file of jets given by their flat branches."""
    branches = {name: ak.unflatten(values, counts) for name, values in jets.items()}
    return write_tree(path, "Events", branches, dict.fromkeys(branches, "nJet"))


def gev(*rows: tuple[float, float, float, float]) -> dict[str, np.ndarray]:
    """The flat branches of a NanoAOD-like file, of jets in GeV."""
    values = np.array(rows, np.float32).reshape(-1, 4)
    return {name: values[:, i] for i, name in enumerate(NANO)}


def mev(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The jets of a NanoAOD-like file (n x 4, MeV), and how many there are in each event."""
    tree = read_tree(path, "Events")
    columns = [ak.to_numpy(ak.flatten(tree[name])).astype(float) for name in NANO]
    return np.stack(columns, axis=1) * [1000, 1, 1, 1000], ak.to_numpy(ak.num(tree["Jet_pt"]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `in.root` (some jets light), compressed, `small.root`, and decompressed, `back.root`."""
    folder = tmp_path_factory.mktemp("made")
    counts = make_counts(40)
    jets = jet_columns("nanoaod", int(counts.sum()))
    jets["Jet_mass"][::9] = 0.05
    nano(folder / "in.root", jets, counts)
    how = ("--precision", "1e-2", "--step-size", "500B", "--json")
    told = succeeded("compress", folder / "in.root", folder / "small.root", *how)
    (folder / "told.json").write_text(told.out)
    succeeded("decompress", folder / "small.root", folder / "back.root")
    return folder


@pytest.fixture(scope="module")
def report(made: Path) -> Report:
    return report_of(made / "in.root", made / "small.root")


@pytest.fixture(scope="module")
def numbers(made: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The jets before and after, as uproot reads them, and the jets of each event."""
    (before, counts), (after, _) = mev(made / "in.root"), mev(made / "back.root")
    return before, after, counts


# --- numbers beside numpy's


def by_numpy(before: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Residuals of jets, computed from four-vectors by numpy."""
    (pt, eta, phi, m), (pt2, eta2, phi2, m2) = before.T, after.T
    p, p2 = pt * np.cosh(eta), pt2 * np.cosh(eta2)
    return {
        "pt": (pt2 - pt) / pt,
        "eta": eta2 - eta,
        "phi": np.angle(np.exp(1j * (phi2 - phi))),
        "m": (m2 - m) / np.maximum(100, np.abs(m)),
        "E": np.sqrt((p2**2 + m2**2) / (p**2 + m**2)) - 1,
        "px": (pt2 * np.cos(phi2) - pt * np.cos(phi)) / pt,
        "py": (pt2 * np.sin(phi2) - pt * np.sin(phi)) / pt,
        "pz": (pt2 * np.sinh(eta2) - pt * np.sinh(eta)) / p,
    }


def agrees(found: Report, residual: np.ndarray) -> bool:
    """Whether the figures of a spread match these residuals; the half-width as far as so few determine it."""
    low, high = (
        [np.percentile(residual, 50 + half, method=m) for half in (-34.135, 34.135)] for m in ("lower", "higher")
    )
    assert found["jets"] == len(residual)
    assert found["mean"] == pytest.approx(residual.mean(), abs=1e-9)
    assert found["std"] == pytest.approx(residual.std(ddof=1), rel=1e-6)
    assert found["largest"] == pytest.approx(np.abs(residual).max(), rel=1e-9)
    assert 0.98 * (low[1] - high[0]) / 2 <= found["half_width_68"] <= 1.02 * (high[1] - low[0]) / 2
    return list(found["quantiles"].values()) == sorted(found["quantiles"].values())


@pytest.mark.parametrize("variable", EIGHT)
def test_residuals_are_those_of_numpy(variable, report, numbers):
    before, after, _ = numbers
    residual, found = by_numpy(before, after)[variable], only(report)["variables"][variable]
    assert agrees(found["all"], residual)
    assert 0 < found["all"]["largest"] < 0.03
    assert found["bound"] == (1e-2 if variable in JETS else None)
    for key, of, edges in (("in_pt", before[:, 0], PT_BINS), ("in_abs_eta", np.abs(before[:, 1]), ETA_BINS)):
        inside = [residual[(of >= low) & (of < high)] for low, high in zip(edges, edges[1:], strict=False)]
        filled = [part for part in inside if len(part)]
        assert [one["jets"] for one in found[key]] == [len(part) for part in filled]
        assert [one["mean"] for one in found[key]] == pytest.approx([part.mean() for part in filled], abs=1e-9)
    assert ("in_eta" in found) == (variable in ("pt", "eta", "phi", "m", "E"))


def test_residuals_are_said_to_be_what_they_are(report):
    said = {v: found["residual"] for v, found in only(report)["variables"].items()}
    assert said == dict.fromkeys(EIGHT, "relative") | {"eta": "difference", "phi": "difference"}


def test_correlations_are_those_of_numpy(report, numbers):
    rows = by_numpy(*numbers[:2])
    found = only(report)["correlation"]
    assert (found["variables"], found["rows"]) == (list(EIGHT), len(numbers[0]))
    assert np.array(found["matrix"]) == pytest.approx(np.corrcoef([rows[v] for v in EIGHT]), abs=1e-6)


def test_spectra_are_those_of_numpy(report, numbers):
    for i, variable in enumerate(JETS):
        found, edges = only(report)["spectra"][variable], AXES[variable].edges
        assert set(found["edges"]) <= set(edges)
        for side, jets in zip(("before", "after"), numbers, strict=False):
            assert found[side] == np.histogram(jets[:, i], found["edges"])[0].tolist()
        one, other = (np.digitize(jets[:, i], edges) for jets in numbers[:2])
        assert sum(found["moved"]) == 2 * int((one != other).sum())
        assert found["outside"] == 0 and sum(found["before"]) == len(numbers[0])


def test_heavy_and_light_jets_are_those_of_numpy(report, numbers):
    before, after, counts = numbers
    found, heavy = only(report), before[:, 3] > 500
    assert found["jets"] == counts.sum() == len(before)
    assert found["light_jets"] == (before[:, 3] < 100).sum() > 5
    assert agrees(found["mass_above_500_MeV"], after[heavy, 3] / before[heavy, 3] - 1)


def vectors(jets: np.ndarray) -> np.ndarray:
    pt, eta, phi, m = jets.T
    x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([np.sqrt(x**2 + y**2 + z**2 + m**2), x, y, z], axis=1)


def dijets(jets: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Masses of the two jets of largest pt, event by event."""
    found = []
    for event in np.split(jets, np.cumsum(counts)[:-1]):
        if len(event) > 1:
            e, x, y, z = vectors(event[np.argsort(-event[:, 0])[:2]]).sum(axis=0)
            found.append(math.sqrt(e**2 - x**2 - y**2 - z**2))
    return np.array(found)


def test_events_are_those_of_numpy(report, numbers):
    before, after, counts = numbers
    found = only(report)["events"]
    assert found["events"] == (counts > 0).sum()
    assert agrees(found["dijet_mass"]["all"], dijets(after, counts) / dijets(before, counts) - 1)
    sums = [
        np.array([event[:, 0].sum() for event in np.split(jets, np.cumsum(counts)[:-1]) if len(event)])
        for jets in (before, after)
    ]
    assert counts.max() == 4
    assert agrees(found["ht"]["all"], sums[1] / sums[0] - 1)
    spectrum = found["dijet_mass"]["spectrum"]
    assert spectrum["before"] == np.histogram(dijets(before, counts), spectrum["edges"])[0].tolist()
    assert spectrum["after"] == np.histogram(dijets(after, counts), spectrum["edges"])[0].tolist()


def test_two_samples_are_those_of_numpy(report, numbers):
    found = only(report)["two_sample"]
    assert found["jets"] == len(numbers[0]) and found["classifier"] is None  # of fewer than 100 jets
    assert list(found["kolmogorov_smirnov"]) == ["pt", "eta", "phi", "m", "E"]
    for i, variable in enumerate(JETS):
        one, other = numbers[0][:, i], numbers[1][:, i]
        every = np.concatenate([one, other])
        distance = max(abs((one <= x).mean() - (other <= x).mean()) for x in every)
        test = found["kolmogorov_smirnov"][variable]
        assert 0 <= distance - test["distance"] + 1e-12 <= test["resolution"] + 1e-12
        distance = test["distance"]
        root = math.sqrt(len(one) / 2)
        scaled, terms = (root + 0.12 + 0.11 / root) * distance, range(1, 40)
        expected = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in terms) if scaled > 0.2 else 1
        assert test["p_value"] == pytest.approx(expected)


def test_facts_are_those_of_the_files(report, made):
    found = only(report)
    with uproot.open(made / "in.root") as file:
        before = sum(file["Events"][name].compressed_bytes for name in NANO)
    told = json.loads((made / "told.json").read_text())  # printed by `compress`
    assert (report["format"], report["entries"], report["tree"]) == (1, 40, "Events")
    assert (report["original"], report["compressed"]) == ("in.root", "small.root")
    assert report["bytes"] == (made / "small.root").stat().st_size
    assert (found["name"], found["units"], found["exact_jets"]) == ("Jet", "GeV", told["exact_jets"])
    assert (found["bytes_per_jet"], report["model_sha256"]) == (told["bytes_per_jet"], told["model_sha256"])
    assert found["branches"] == dict(zip(JETS, NANO, strict=True))
    assert found["bytes_per_jet_before"] == pytest.approx(before / found["jets"])
    assert found["precision"] == dict.fromkeys(JETS, 1e-2)


def test_histograms_of_residuals_and_latents_hold_every_jet(report, numbers):
    found, n = only(report), len(numbers[0])
    assert found["residuals"]["names"] == ["pt", "eta", "phi", "m", "E"]
    assert found["latents"]["names"] == ["Jet_z0", "Jet_z1", "Jet_z2"] and len(found["latents"]["meaning"]) == 3
    for density in (found["residuals"], found["latents"]):
        assert [sum(c) + o for c, o in zip(density["counts"], density["outside"], strict=True)] == [n] * len(
            density["names"]
        )
        assert [(p["x"], p["y"]) for p in density["pairs"]] == [
            (i, j) for i in range(len(density["names"])) for j in range(i + 1, len(density["names"]))
        ]


# --- forms of what became of a file


def without_promise(report: Report) -> list[Report]:
    """The collections, without what only a compressed file knows, or what depends on its chunks."""
    own = ("exact_jets", "precision", "layout", "bytes_out", "bytes_per_jet", "latents", "residuals", "comb")
    kept = [{k: v for k, v in found.items() if k not in own} for found in report["collections"]]
    for found in kept:
        found["variables"] = {v: {k: x for k, x in of.items() if k != "bound"} for v, of in found["variables"].items()}
    return kept


def alike(one: Any, other: Any) -> bool:
    """Whether two reports are equal, but for the last digits."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-6, abs=1e-9)
    return one == other


def test_a_decompressed_file_gives_the_report_of_the_compressed_one(report, made, monkeypatch):
    monkeypatch.setattr(Options, "step_size", 300)
    plain = report_of(made / "in.root", made / "back.root")
    assert alike(without_promise(plain), without_promise(report))
    assert plain["compressed"] == "back.root" and "model_sha256" not in plain
    found = only(plain)
    assert (found["exact_jets"], found["precision"], found["latents"]) == (None, {}, None)
    assert {of["bound"] for of in found["variables"].values()} == {None}
    assert found["max_error"] == only(report)["max_error"]


def test_a_file_beside_itself_differs_in_nothing(made):
    found = only(report_of(made / "in.root", made / "in.root"))
    assert {of["all"]["largest"] for of in found["variables"].values()} == {0}
    assert np.array(found["correlation"]["matrix"]).tolist() == [[None] * 8] * 8
    assert found["events"]["reordered"] == {"events": 0, "jets": 0}
    tests = found["two_sample"]["kolmogorov_smirnov"].values()
    assert {(test["distance"], test["p_value"]) for test in tests} == {(0, 1)}


def frame(n: int = 40) -> pd.DataFrame:
    """Jets of ten events, in falling pt, in MeV."""
    table = pd.DataFrame({v: random_jets(n)[v].astype(np.float32) for v in JETS})
    table["event"] = np.arange(n) // 4 + 7
    return table.sort_values(["event", "pt"], ascending=[True, False], ignore_index=True)


@pytest.mark.parametrize("suffix", [".pkl", ".parquet"])
def test_a_table_gives_the_report_of_each_form_of_what_became_of_it(suffix, tmp_path):
    table, original, small = frame(), tmp_path / f"in{suffix}", tmp_path / "small.root"
    table.to_pickle(original) if suffix == ".pkl" else table.to_parquet(original)
    succeeded("compress", original, small)
    expected = report_of(original, small)
    before = table[list(JETS)].to_numpy(float)
    for end in (".root", ".pkl", ".parquet"):
        succeeded("decompress", small, tmp_path / f"back{end}")
        assert alike(without_promise(report_of(original, tmp_path / f"back{end}")), without_promise(expected))
    read = pd.read_parquet(tmp_path / "back.parquet")
    after = read[list(JETS)].to_numpy(float)
    for variable, residual in by_numpy(before, after).items():
        assert agrees(only(expected)["variables"][variable]["all"], residual)
    ratio = dijets(after, np.full(10, 4)) / dijets(before, np.full(10, 4)) - 1
    assert agrees(only(expected)["events"]["dijet_mass"]["all"], ratio)
    assert only(expected)["events"]["events"] == 10


def test_shuffled_rows_give_the_events_of_ordered_ones(tmp_path):
    table, found = frame(), []
    order = np.random.default_rng(3).permutation(len(table))
    for name, rows in (("ordered", table), ("shuffled", table.iloc[order])):
        rows.to_pickle(tmp_path / f"{name}.pkl")
        succeeded("compress", tmp_path / f"{name}.pkl", tmp_path / f"{name}.root", "--step-size", "200B")
        found.append(only(report_of(tmp_path / f"{name}.pkl", tmp_path / f"{name}.root"))["events"])
    assert found[0]["events"] == found[1]["events"] == 10
    # Half of two errors of pt, and of the mass also half of those of two differences of angles, of 2e-3 each.
    for measure, largest in (("dijet_mass", 3e-3), ("ht", 1e-3)):
        assert found[1][measure]["spectrum"]["before"] == found[0][measure]["spectrum"]["before"]
        assert found[1][measure]["all"]["jets"] == 10
        assert found[1][measure]["all"]["largest"] < largest


def flat(path: Path, table: pd.DataFrame) -> Path:
    return write_tree(path, "jets", {str(name): ak.Array(table[name].to_numpy()) for name in table})


@pytest.mark.parametrize("compressed", ["small.root", "back.root"])
def test_events_of_a_flat_tree_are_whole_however_it_is_cut(compressed, tmp_path, monkeypatch):
    table = frame()
    table["event"] = np.repeat([5, 3, 9, 4], [1, 30, 2, 7])  # the second is longer than a chunk
    flat(tmp_path / "in.root", table)
    succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", "--step-size", "200B")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root")
    monkeypatch.setattr(Options, "step_size", 200)
    found = only(report_of(tmp_path / "in.root", tmp_path / compressed))["events"]
    after = pd.DataFrame({v: read_tree(tmp_path / "back.root", "jets")[v].to_numpy() for v in JETS})
    masses = [dijets(t[list(JETS)].to_numpy(float), np.array([1, 30, 2, 7])) for t in (table, after)]
    assert (found["events"], len(masses[0])) == (4, 3)
    assert agrees(found["dijet_mass"]["all"], masses[1] / masses[0] - 1)
    assert found["ht"]["all"]["jets"] == 4


@pytest.mark.parametrize("suffix", [".root", ".pkl"])
def test_rows_without_a_number_are_no_events_unless_a_column_is_named(suffix, tmp_path):
    path, table = tmp_path / f"in{suffix}", frame().rename(columns={"event": "collision"})
    flat(path, table) if suffix == ".root" else table.to_pickle(path)
    found = only(report_of(path, path))
    assert found["events"] == {"events": 0}
    assert found["jets"] == 40
    told = only(evaluate_files(path, path, event_column="collision").report)["events"]
    assert (told["events"], told["told_by"]) == (10, "column 'collision'")
    with pytest.raises(UserError, match="has no column 'run' of numbers: there are pt, eta, phi, m, collision"):
        evaluate_files(path, path, event_column="run")


def test_events_in_lists_need_no_column(made):
    assert only(report_of(made / "in.root", made / "small.root"))["events"]["told_by"] == "entries of 'Events'"
    with pytest.raises(UserError, match="its jets in lists, an event an entry: leave out --event-column"):
        evaluate_files(made / "in.root", made / "small.root", event_column="event")


# --- events by hand

BRANCHES = {v: f"Jet_{v}" for v in JETS}
PAIRED = Paired(Collection("Jet", "Jet_", BRANCHES, dict.fromkeys(JETS, "<f8"), True, units="MeV"), 90, 30)
PI = math.pi


def pairs(before: list, after: list, counts: list[int] | None, **more: Any) -> JetPairs:
    jets = [np.array(rows, float).reshape(-1, 4) for rows in (before, after)]
    same = (jets[0].view(np.uint64) == jets[1].view(np.uint64)).all(axis=1)
    return JetPairs(*jets, same, None if counts is None else np.array(counts), more.get("numbers"), None)


def figures(*chunks: JetPairs, contiguous: bool = True) -> Report:
    evaluation = Evaluation(PAIRED, contiguous)
    for chunk in chunks:
        evaluation.add(chunk)
    return evaluation.figures()


BEFORE = [(50e3, 0, 0, 0), (50e3, 0, PI, 0), (40e3, 1, 1, 5), (30e3, 0, 0, 0), (40e3, 0, PI / 2, 0), (9e3, 0, 0, 0)]
AFTER = [(60e3, 0, 0, 0), (60e3, 0, PI, 0), (41e3, 1, 1, 5), (40e3, 0, 0, 0), (30e3, 0, PI / 2, 0), (9e3, 0, 0, 0)]
COUNTS = [2, 0, 1, 3]  # jets per event; the leading two of the last event swap


def test_dijets_by_hand():
    found = figures(pairs(BEFORE, AFTER, COUNTS))["events"]
    assert found["events"] == 3
    assert found["reordered"] == {"events": 1, "jets": 2}
    mass = found["dijet_mass"]
    statistics = ("quantiles", "errors", "half_width_68_error")
    assert {k: v for k, v in mass["all"].items() if k not in statistics} == pytest.approx(
        {
            "jets": 2,
            "mean": 0.1,  # 100 GeV to 120, sqrt(70^2 - 50^2) stays
            "std": math.sqrt(0.02),
            "half_width_68": 0.1,
            "half_width_95": 0.1,
            "largest": 0.2,
        },
        rel=0.02,
    )
    assert [(one["low"], one["high"], one["mean"]) for one in mass["in_value"]] == [
        (0, 50e3, pytest.approx(0, abs=1e-9)),
        (100e3, 150e3, pytest.approx(0.2)),
    ]
    assert sum(mass["spectrum"]["before"]) == sum(mass["spectrum"]["after"]) == 2
    assert sum(mass["spectrum"]["moved"]) == 2
    assert found["ht"]["all"]["jets"] == 3
    assert found["ht"]["all"]["mean"] == pytest.approx((0.2 + 1 / 40 + 0) / 3)


def test_dijets_that_are_back_to_back_are_counted_apart():
    before = [(70e3, 0, 0, 0), (70e3, 0, PI, 0), (70e3, 0, 0, 0), (70e3, 0, 1, 0), (50e3, 0, 0, 0), (50e3, 0, PI, 0)]
    after = [(77e3, 0, 0, 0), (77e3, 0, 1, 0), *before[2:4], (99e3, 0, 0, 0), (99e3, 0, PI, 0)]  # as they were before
    found = figures(pairs(before, after, [2, 2, 2]))["events"]["dijet_mass_back_to_back"]
    assert (found["jets"], found["mean"]) == (1, pytest.approx(1.1 * math.sqrt((1 - math.cos(1)) / 2) - 1))


def test_dijets_without_a_mass_have_no_residual():
    nothing = [(70e3, 0, 0, -70e3), (70e3, 0, PI, -70e3)]  # E is 0
    found = figures(pairs(nothing, nothing, [2]))["events"]
    assert found["dijet_mass"]["all"] == {"jets": 0, "not_finite": 1}
    assert found["dijet_mass_back_to_back"] == {"jets": 0, "not_finite": 1}


def test_an_event_loses_the_jets_that_have_no_coordinates():
    before = [(math.nan, 0, 0, 0), *BEFORE[:2], (0, 0, 0, 0), (math.inf, 1, 1, 1)]
    after = [(math.nan, 0, 0, 0), *AFTER[:2], (1, 0, 0, 0), (math.inf, 1, 1, 1)]
    found = figures(pairs(before, after, [4, 1]))
    assert found["not_compared"] == {"jets": 3, "changed": 1}
    assert found["jets"] == 5
    assert found["events"]["events"] == 1
    assert found["events"]["dijet_mass"]["all"]["mean"] == pytest.approx(0.2)
    assert found["variables"]["pt"]["all"]["jets"] == 2


def test_jets_that_became_no_numbers_are_counted():
    found = figures(pairs(BEFORE[:2], [BEFORE[0], (math.nan,) * 4], [2]))
    assert found["variables"]["px"]["all"] | {"quantiles": 0, "errors": 0} == {
        "jets": 1, "mean": 0, "std": 0, "half_width_68": 0, "half_width_68_error": 0, "half_width_95": 0, "largest": 0,
        "quantiles": 0, "errors": 0, "not_finite": 1,
    }  # fmt: skip
    assert found["correlation"]["rows"] == 1
    assert found["events"]["dijet_mass"]["all"] == {"jets": 0, "not_finite": 1}
    assert found["not_compared"] == {"jets": 0, "changed": 0}


@settings(max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.lists(st.integers(0, 99), max_size=4), st.booleans())
def test_rows_in_any_parts_are_the_same_events(counts, cuts, shuffled):
    n, counts = sum(counts), np.array(counts)
    rng = np.random.default_rng(n)
    before = np.stack([random_jets(n)[v] for v in JETS], axis=1)
    after = before * (1 + 0.1 * rng.normal(size=(n, 4)))
    expected = EventTally()
    expected.add(before, after, counts)
    numbers = np.repeat(rng.permutation(len(counts)), counts)
    order = rng.permutation(n) if shuffled else np.arange(n)
    tally = EventTally()
    rows = EventRows(tally, contiguous=not shuffled)
    for part in np.split(order, sorted(cut % (n + 1) for cut in cuts)):
        rows.add(before[part], after[part], numbers[part])
    rows.finish()
    assert tally.events == len(counts)
    assert (tally.reordered_events, tally.reordered_jets) == (expected.reordered_events, expected.reordered_jets)
    assert alike(tally.figures(), expected.figures())


def test_rows_of_an_event_wait_for_the_next_chunk():
    tally = EventTally()
    rows = EventRows(tally, contiguous=True)
    before, after = (np.array(jets, float) for jets in (BEFORE, AFTER))
    rows.add(before[:1], after[:1], np.array([7]))
    assert tally.events == 0
    rows.add(before[1:3], after[1:3], np.array([7, 8]))
    assert tally.events == 1
    rows.finish()
    rows.finish()
    assert tally.events == 2
    assert tally.mass_spread.figures()["mean"] == pytest.approx(0.2)


# --- odd jets, few jets, no jets

ODD = [(0, 0, 0, 1), (math.nan, 0, 0, 1), (math.inf, 0, 0, 1), (30, math.nan, 0, 1), (30, 0, 0, -math.inf)]


def test_jets_without_coordinates_are_counted_and_did_not_change(tmp_path):
    good = [(30 + i, 0.1 * i, 0.2 * i, 5) for i in range(10)]
    original, small = nano(tmp_path / "in.root", gev(*good, *ODD), [8, 7]), tmp_path / "small.root"
    succeeded("compress", original, small)
    succeeded("decompress", small, tmp_path / "back.root")
    for compressed in (small, tmp_path / "back.root"):
        found = only(report_of(original, compressed))
        assert (found["jets"], found["not_compared"]) == (15, {"jets": 5, "changed": 0})
        assert found["variables"]["pt"]["all"]["jets"] == 10
        assert found["two_sample"]["jets"] == 10


def test_jets_without_coordinates_that_changed_are_counted(tmp_path):
    original = nano(tmp_path / "in.root", gev((30, 0, 0, 5), *ODD), [6])
    changed = [(0, 0, 0, 2), *ODD[1:4], (30, 1, 0, -math.inf)]
    other = nano(tmp_path / "other.root", gev((31, 0, 0, 5), *changed), [6])
    assert only(report_of(original, other))["not_compared"] == {"jets": 5, "changed": 2}


@pytest.mark.parametrize("counts", [[], [0, 0, 0]])
def test_no_jets_have_a_report_of_nothing(counts, tmp_path):
    original = nano(tmp_path / "in.root", gev(), counts) if counts else write_layout(tmp_path / "in.root", "nanoaod", 0)
    succeeded("compress", original, tmp_path / "small.root")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root")
    for compressed in ("small.root", "back.root"):
        found = only(report_of(original, tmp_path / compressed))
        assert (found["jets"], found["residuals"], found["latents"], found["events"]) == (0, None, None, {"events": 0})
        assert {of["all"]["jets"] for of in found["variables"].values()} == {0}
        assert found["two_sample"] == {"jets": 0, "kolmogorov_smirnov": {}, "classifier": None}
        assert evaluate_files(original, tmp_path / compressed).histograms


def test_jets_that_all_have_no_coordinates_have_a_report(tmp_path):
    original = nano(tmp_path / "in.root", gev(*ODD), [2, 3])
    found = only(report_of(original, original))
    assert (found["jets"], found["not_compared"]) == (5, {"jets": 5, "changed": 0})
    assert found["events"] == {"events": 0} and found["correlation"]["rows"] == 0


def test_42_jets_have_a_report(tmp_path):
    original = nano(tmp_path / "in.root", jet_columns("nanoaod", 42), [2] * 21)
    succeeded("compress", original, tmp_path / "small.root")
    found = only(report_of(original, tmp_path / "small.root"))
    assert (found["jets"], found["events"]["events"], found["two_sample"]["classifier"]) == (42, 21, None)
    assert found["variables"]["m"]["all"]["largest"] <= 1e-3


@pytest.mark.usefixtures("quick_classifier")
def test_many_jets_are_given_to_a_network(tmp_path):
    original = nano(tmp_path / "in.root", jet_columns("nanoaod", 100), [100])
    found = only(report_of(original, original))["two_sample"]
    assert found["classifier"] == {"auc": pytest.approx(0.5), "error": pytest.approx(0, abs=1e-9), "jets": 40}


def test_a_network_gets_a_part_of_the_jets_and_ranks_get_all(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "MOST_SAMPLED", 300)
    given: list[int] = []
    monkeypatch.setattr(evaluation, "tell_apart", lambda before, after: given.append(len(before)))
    original = nano(tmp_path / "in.root", jet_columns("nanoaod", 500), [500])
    assert only(report_of(original, original))["two_sample"]["jets"] == 500
    assert given == [250]


def test_a_comb_is_seen_and_random_errors_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "COURSE", replace(classifier.COURSE, steps=100))  # enough to see the comb
    jets = jet_columns("nanoaod", 8_000)
    original = nano(tmp_path / "in.root", jets, [2000] * 4)
    random = np.random.default_rng(1).uniform(-1e-2, 1e-2, (4, 8_000))
    jets["Jet_pt"] *= 1 + random[0]
    jets["Jet_eta"] += random[1]
    smeared = only(report_of(original, nano(tmp_path / "smeared.root", jets, [2000] * 4)))
    change, test = smeared["comb"]["spectra"]["pt, 1 GeV"]["change"], smeared["two_sample"]
    assert abs(change["ratio"] - 1) < 4 * change["error"]
    assert test["classifier"]["auc"] - 0.5 < 4 * test["classifier"]["error"]
    grid = {name: np.exp(np.rint(np.log(values) / 0.02) * 0.02) for name, values in jets.items() if name == NANO[0]}
    combed = only(report_of(original, nano(tmp_path / "combed.root", jets | grid, [2000] * 4)))
    assert combed["comb"]["spectra"]["pt, 1 GeV"]["change"]["ratio"] > 5
    assert combed["two_sample"]["classifier"]["auc"] > 0.9
    assert combed["comb"]["distinct"]["after"]["pt"] < 400


# --- what is written


@pytest.fixture(scope="module")
def written(made: Path) -> Path:
    write_histograms(made / "histograms.root", evaluate_files(made / "in.root", made / "small.root").histograms)
    return made / "histograms.root"


def test_histograms_are_written_under_their_names(written, report, numbers):
    found = only(report)
    with uproot.open(written) as file:
        for variable in ("pt", "eta", "phi", "m", "E"):
            for side in ("before", "after"):
                counts, edges = file[f"Jet/{side}/{variable}"].to_numpy()
                assert counts.sum() == len(numbers[0])
                first = edges.tolist().index(pytest.approx(found["spectra"][variable]["edges"][0]))
                shown = found["spectra"][variable][side]
                assert counts[first : first + len(shown)].tolist() == shown
        for side in ("before", "after"):
            masses = found["events"]["dijet_mass"]["spectrum"]
            assert file[f"Jet/{side}/dijet_mass"].values().sum() == sum(masses[side])
        assert file["Jet/residual/pt_m"].values().astype(int).tolist() == found["residuals"]["pairs"][2]["counts"]
        assert file["Jet/latent/z0"].values().astype(int).tolist() == found["latents"]["counts"][0]
        assert {"Jet/after/ht", "Jet/residual/eta", "Jet/latent/z1_z2"} <= set(file.keys(cycle=False))


def test_a_report_is_plain_json_but_for_infinity(made):
    found = evaluate_files(made / "in.root", made / "in.root").report
    text = to_json(found)
    assert json.loads(text)["collections"][0]["correlation"]["matrix"][0][0] is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.dumps(found, allow_nan=False)  # so that the above means something


def test_a_damaged_file_has_no_report(made, tmp_path):
    content = bytearray((made / "small.root").read_bytes())
    with uproot.open(made / "small.root") as file:
        start, size = (int(file["Events"]["Jet_z1"].member(name)[0]) for name in ("fBasketSeek", "fBasketBytes"))
    content[start + (int.from_bytes(content[start + 14 : start + 16]) + size) // 2] ^= 16
    (tmp_path / "flipped.root").write_bytes(content)
    with pytest.raises(DamagedFileError, match="Jet_z1"):
        evaluate_files(made / "in.root", tmp_path / "flipped.root")


# --- bounds by resolution


def test_residuals_over_the_resolution_are_evaluated_and_drawn(made, sketched, tmp_path):
    small = tmp_path / "small.root"
    succeeded("compress", made / "in.root", small, "--precision", "pt=resolution/10,eta=resolution/20,phi=1e-2,m=1e-2")
    found = only(report_of(made / "in.root", small))
    assert found["resolutions"] == {"pt": "2.6:0.9:0.03", "eta": "0.8:0.11:0.007"}
    over = {v: figures["over_resolution"] for v, figures in found["variables"].items() if "over_resolution" in figures}
    assert set(over) == {"pt", "eta"} and found["variables"]["phi"]["bound"] == 1e-2
    (before, _), after = mev(made / "in.root"), decompressed(small, tmp_path)
    gev = before[:, 0] / 1000
    exact = (after[:, 1] - before[:, 1]) / np.sqrt((0.8 / gev) ** 2 + 0.11**2 / gev + 0.007**2)
    assert over["eta"]["all"]["largest"] == pytest.approx(np.abs(exact).max(), rel=1e-3)
    assert over["eta"]["all"]["std"] == pytest.approx(exact.std(ddof=1), rel=0.02)
    assert over["eta"]["widening"] == pytest.approx(np.sqrt(1 + (exact**2).mean()) - 1, rel=0.05)
    assert over["eta"]["widening_at_most"] == pytest.approx(0.00125, rel=1e-3)
    assert over["pt"]["bound"] == 0.1 and sum(over["pt"]["counts"]) == over["pt"]["all"]["jets"] == len(after)
    told = succeeded("evaluate", made / "in.root", small, "-o", tmp_path / "report.json").out
    assert "widens it by" in told and "0.125%" in told
    succeeded("plot", tmp_path / "report.json", "-o", tmp_path / "plots", "--only", "resolution")
    assert sorted(path.name for path in (tmp_path / "plots").glob("*.png")) == [
        "Jet_2_resolution_eta.png",
        "Jet_2_resolution_pt.png",
    ]


def decompressed(path: Path, folder: Path) -> np.ndarray:
    """The jets of a compressed file (n x 4, MeV)."""
    succeeded("decompress", path, folder / "again.root")
    return mev(folder / "again.root")[0]
