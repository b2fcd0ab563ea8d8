"""Fine spectra, counts and distinct values: what random errors make of them, and what a comb does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.jets.variables import JET
from atlasae.reports.fine import CombTally, Distinct, FineSpectrum, Threshold, largest_errors

BOUND = 1e-3
BOUNDS = dict.fromkeys(("pt", "eta", "phi", "m"), BOUND)


def falling(n: int, seed: int = 1) -> np.ndarray:
    """Jets (n x 4, MeV) whose pt falls as pt^-5 from 60 GeV."""
    random = np.random.default_rng(seed)
    pt = 60_000 * random.random(n) ** -0.25
    angles = random.uniform(-2, 2, n), random.uniform(-np.pi, np.pi, n)
    return np.stack([pt, *angles, pt * random.uniform(0.1, 0.2, n)], axis=1)


def smeared(jets: np.ndarray, bound: float = BOUND, seed: int = 2) -> np.ndarray:
    """Jets with random errors."""
    errors = np.random.default_rng(seed).uniform(-bound, bound, jets.shape)
    return jets + errors * np.stack([v.unit(x) for v, x in zip(JET.variables, jets.T, strict=True)], axis=1)


def combed(jets: np.ndarray, bound: float = BOUND) -> np.ndarray:
    """Jets whose coordinates are on one grid."""
    return JET.from_coordinates(np.rint(JET.to_coordinates(jets) / (2 * bound)) * 2 * bound)


def tallied(before: np.ndarray, after: np.ndarray, chunk: int = 10**9) -> CombTally:
    tally = CombTally()
    for start in range(0, max(1, len(before)), chunk):
        tally.add(before[start : start + chunk], after[start : start + chunk], BOUNDS)
    return tally


JETS = falling(100_000)


def test_random_errors_change_fine_bins_as_expected():
    found = tallied(JETS, smeared(JETS)).figures()
    changes = {name: spectrum.change for name, spectrum in found.spectra.items()}
    assert list(changes) == ["pt, 1 GeV", "pt, 5 GeV", "m, 1 GeV", "m, 5 GeV", "eta, .01", "phi, .01"]
    assert all(change.bins > 5 for change in changes.values())
    assert {n: c for n, c in changes.items() if not abs(c["ratio"] - 1) < 4 * c["error"]} == {}
    assert {n: c for n, c in changes.items() if c["ratio"] != pytest.approx(c["chi2"] / c["random"])} == {}
    assert max(abs(passing.sigma) for passing in found.above) < 4


def test_a_comb_changes_them_more():
    found = tallied(JETS, combed(JETS)).figures()
    assert found.spectra["pt, 1 GeV"].change["ratio"] > 10
    assert found.spectra["eta, .01"].change["ratio"] > 2 and found.spectra["phi, .01"].change["ratio"] > 2
    assert found.distinct.after["pt"] < 2000 and found.distinct.before["pt"] > 99_000


def test_expected_numbers_and_variances_are_those_of_many_smearings():
    jets, bound = JETS[:20_000], 2e-2  # errors of more than one bin, and of less
    spectrum = FineSpectrum(1000.0, 0.0, 500_000.0)
    spectrum.add(jets[:, 0], jets[:, 0], bound * jets[:, 0])
    drawn = np.array([np.histogram(smeared(jets, bound, k)[:, 0], spectrum.edges)[0] for k in range(200)])
    assert spectrum.expected.sum() == pytest.approx(len(jets), abs=100)  # the others are above 500 GeV
    pull = (drawn.mean(axis=0) - spectrum.expected) / np.sqrt(np.maximum(spectrum.variance, 1e-3) / len(drawn))
    assert np.abs(pull).max() < 5
    many = spectrum.variance > 10
    assert many.sum() > 30 and drawn.var(axis=0)[many] == pytest.approx(spectrum.variance[many], rel=0.5)
    assert drawn.var(axis=0)[many].mean() == pytest.approx(spectrum.variance[many].mean(), rel=0.05)


def test_the_error_of_a_ratio_is_its_spread_by_chance():
    jets = JETS[:20_000]
    ratios, errors = [], []
    for k in range(60):
        spectrum = FineSpectrum(0.01, -10.0, 10.0)
        spectrum.add(jets[:, 1], smeared(jets, seed=k)[:, 1], np.full(len(jets), BOUND))
        change = spectrum.change()
        ratios.append(change["ratio"])
        errors.append(change["error"])
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    assert np.std(ratios) == pytest.approx(np.mean(errors), rel=0.4)


def test_a_jet_near_an_edge_by_hand():
    spectrum = FineSpectrum(1.0, 0.0, 4.0)
    spectrum.add(
        np.array([1.25, 2.5, 9.0, np.nan]), np.array([0.75, 2.5, -1.0, np.nan]), np.array([0.5, 1.0, 0.1, 0.1])
    )
    assert (spectrum.before.tolist(), spectrum.after.tolist()) == ([0, 1, 1, 0], [1, 0, 1, 0])
    assert spectrum.expected == pytest.approx([0.25, 0.75 + 0.25, 0.5, 0.25])
    assert spectrum.variance == pytest.approx([0.1875, 0.1875 + 0.1875, 0.25, 0.1875])


def test_bins_at_the_ends_and_those_of_few_jets_are_not_compared():
    values = np.repeat([1.3, 2.5, 3.5, 4.5], [25, 25, 24, 25])
    spectrum = FineSpectrum(1.0, 0.0, 10.0)
    spectrum.add(values, values, np.full(len(values), 0.6))
    assert spectrum.change().bins == 1  # from 2 to 3
    assert spectrum.change(3.0).bins == 0


def test_errors_that_move_no_jet_have_no_ratio():
    spectrum = FineSpectrum(1.0, 0.0, 10.0)
    values = np.repeat([1.5, 2.5, 3.5], 50)
    spectrum.add(values, values, np.full(150, 0.1))
    assert spectrum.change() == {"bins": 1}
    empty = FineSpectrum(1.0, 0.0, 10.0)
    empty.add(np.empty(0), np.empty(0), np.empty(0))
    assert empty.change() == {"bins": 0} and empty.figures().before == []


def test_errors_without_a_bound_are_as_wide_as_those_of_the_jets():
    found = largest_errors(JETS, smeared(JETS, 2e-3), {"pt": None, "eta": np.inf, "phi": 5e-3})
    assert found["pt"] / JETS[:, 0] == pytest.approx(2e-3, rel=0.02)
    assert found["eta"] == pytest.approx(2e-3, rel=0.02) and set(found["phi"]) == {5e-3}
    light = np.array([[50_000.0, 0, 0, 10], [50_000, 0, 0, 1000]])
    assert largest_errors(light, light, BOUNDS)["m"] == pytest.approx([0.1, 1.0])
    assert largest_errors(light[:0], light[:0], {})["pt"].tolist() == []


def test_shifts_of_counts_by_hand():
    threshold = Threshold(100.0)
    pt, largest = np.array([50.0, 99.5, 100.0, 100.25, 200]), np.array([0.5, 1, 1, 0.5, 0])
    threshold.add(pt, np.array([50.0, 100.5, 100.5, 99, 201]), largest)
    assert (threshold.before, threshold.after, threshold.below) == (2, 3, 3)
    assert threshold.expected == pytest.approx(0 + 0.25 + 0.5 + 0.75 + 1)
    assert threshold.variance == pytest.approx(0.1875 + 0.25 + 0.1875)
    assert threshold.figures().sigma == pytest.approx(0.5)  # of one jet: the variance is less


def test_distinct_values_are_those_of_the_first_jets():
    distinct = Distinct(most=6)
    before = np.arange(16.0).reshape(4, 4)
    for _ in range(3):
        distinct.add(before, before * [0, 1, 1, 1])
    assert distinct.figures() == {
        "jets": 6,
        "before": dict.fromkeys(("pt", "eta", "phi", "m"), 4),
        "after": {"pt": 1, "eta": 4, "phi": 4, "m": 4},
    }


@settings(max_examples=10)
@given(st.integers(500, 3000), st.integers(0, 3000))
def test_chunks_and_parts_add_up(chunk, cut):
    jets = falling(3000)
    after = combed(jets)
    whole = tallied(jets, after).figures()
    parts = tallied(jets[:cut], after[:cut], chunk)
    parts.merge(tallied(jets[cut:], after[cut:], chunk))
    found = parts.figures()
    assert found.distinct == whole.distinct
    for name, spectrum in whole.spectra.items():
        assert found.spectra[name] == {
            **spectrum,
            "change": pytest.approx(spectrum.change),
            "random": pytest.approx(spectrum.random),
        }
    assert [one.sigma for one in found.above] == pytest.approx([one.sigma for one in whole.above])


def test_an_error_wider_than_all_bins_ends():
    spectrum = FineSpectrum(width=1.0, low=0.0, high=10.0)
    values = np.array([1e30, -1e30, 5.0])
    spectrum.add(values, values, np.array([1e27, 1e27, 10.0]))
    assert spectrum.expected == pytest.approx(np.full(10, 1 / 20))
    assert spectrum.before.sum() == 1
