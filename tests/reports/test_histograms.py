"""Sums over chunks, compared with values by hand and with numpy on all values."""

import math

import hist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.jets.residuals import QUANTILES
from atlasae.reports.histograms import (
    AXES,
    Correlation,
    DensityHistogram,
    Spectrum,
    Spread,
    Thinned,
    linear,
    logarithmic,
    quantile,
    reach,
)

NAN, INF = math.nan, math.inf


def array(*values: float) -> np.ndarray:
    return np.array(values, float)


def parts(values: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    """The values in one part more than there are cuts; some are empty."""
    return np.split(values, sorted(cut % (len(values) + 1) for cut in cuts))


# --- spreads


def spread(at: np.ndarray, residual: np.ndarray, edges: tuple[float, ...] = (0, 10, 20)) -> Spread:
    found = Spread(np.array(edges, float))
    found.add(at, residual)
    return found


def spread_of(residual: np.ndarray) -> dict:
    return spread(np.ones(len(residual)), residual).figures()


def test_a_spread_by_hand():
    found = spread(array(1, 2, 3, 15, -5, 25), array(0.1, 0.2, 0.3, -0.4, 9, 9))  # the last two are in no bin
    figures = found.figures()
    assert {k: figures[k] for k in ("jets", "mean", "std", "largest")} == pytest.approx(
        {"jets": 4, "mean": 0.05, "std": math.sqrt(0.29 / 3), "largest": 0.4}
    )
    first, second = found.by_bin()
    assert {k: first[k] for k in ("low", "high", "jets", "mean", "std", "largest")} == pytest.approx(
        {"low": 0, "high": 10, "jets": 3, "mean": 0.2, "std": 0.1, "largest": 0.3}
    )
    assert {k: second[k] for k in ("low", "high", "jets", "mean", "std", "largest")} == pytest.approx(
        {"low": 10, "high": 20, "jets": 1, "mean": -0.4, "std": 0, "largest": 0.4}
    )
    assert set(second["quantiles"].values()) == {-0.4}
    assert (second["half_width_68"], second["half_width_95"]) == (0, 0)


def test_a_bin_holds_its_lower_edge_and_not_its_upper():
    found = spread(array(0, 10, 20), array(1, 2, 3))
    assert [(one["low"], one["jets"], one["largest"]) for one in found.by_bin()] == [(0, 1, 1), (10, 1, 2)]
    assert found.figures()["jets"] == 2


def test_empty_bins_are_left_out_and_spoil_nothing():
    found = spread(array(25, 26), array(1, 3), (0, 10, 20, INF))
    assert [(one["low"], one["high"], one["mean"]) for one in found.by_bin()] == [(20, INF, 2)]
    assert found.figures()["mean"] == 2
    assert found.figures()["std"] == pytest.approx(math.sqrt(2))


def test_a_spread_of_nothing_has_no_figures():
    empty = spread(array(), array())
    assert (empty.figures(), empty.by_bin()) == ({"jets": 0}, [])
    assert spread(array(1), array(NAN)).figures() == {"jets": 0, "not_finite": 1}


def test_residuals_that_are_not_finite_are_counted_and_nothing_else():
    figures = spread_of(array(1, NAN, 3, INF, -INF))
    assert (figures["jets"], figures["not_finite"], figures["mean"], figures["largest"]) == (2, 3, 2, 3)
    assert "not_finite" not in spread_of(array(1, 2))


def test_half_widths_and_quantiles_of_an_even_spread():
    figures = spread_of(np.linspace(-1, 1, 20_001) * 0.003 + 0.001)
    assert figures["half_width_68"] == pytest.approx(0.6827 * 0.003, rel=0.01)
    assert figures["half_width_95"] == pytest.approx(0.95 * 0.003, rel=0.01)
    expected = {f"{q:g}": 0.001 + (2 * q / 100 - 1) * 0.003 for q in (0.1, 1, 2.5, 15.865, 50, 84.135, 97.5, 99, 99.9)}
    assert figures["quantiles"] == pytest.approx(expected, rel=0.01, abs=1e-6)


def test_a_small_spread_beside_a_large_mean_is_found():
    residual = 800 + np.random.default_rng(1).normal(0, 1e-6, 1000)
    assert spread_of(residual)["std"] == pytest.approx(residual.std(ddof=1), rel=1e-4)


def check_quantiles(residual: np.ndarray) -> None:
    """A quantile lies between the two residuals next to it, within 1 %."""
    found = spread_of(residual)["quantiles"]
    for q in QUANTILES:
        low, high = (float(np.percentile(residual, q, method=side)) for side in ("lower", "higher"))
        assert low - 0.01 * abs(low) - 1e-10 <= found[f"{q:g}"] <= high + 0.01 * abs(high) + 1e-10
        assert residual.min() <= found[f"{q:g}"] <= residual.max()


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=60))
def test_quantiles_are_those_of_numpy_within_1_per_cent(residual):
    check_quantiles(np.array(residual))


@pytest.mark.parametrize("size", [1e-8, 1e-5, 1e-3, 1.0, 100.0])
def test_quantiles_of_every_size_are_those_of_numpy(size):
    residual = np.random.default_rng(1).normal(0, size, 10_000)
    check_quantiles(residual)
    figures = spread_of(residual)
    low, high = np.percentile(residual, [15.865, 84.135])
    assert figures["half_width_68"] == pytest.approx((high - low) / 2, rel=0.01)


def test_quantiles_of_residuals_beyond_a_thousand_are_those_of_numpy():
    check_quantiles(np.linspace(2000, 9000, 1000))  # masses of 200 GeV where there was none


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.lists(st.integers(0, 99), max_size=4))
def test_a_spread_in_parts_is_that_of_all_at_once(residual, cuts):
    at, residual = np.arange(len(residual)) % 25.0, np.array(residual)
    once, apart = spread(at, residual), Spread(array(0, 10, 20))
    for one, other in zip(parts(at, cuts), parts(residual, cuts), strict=True):
        apart.add(one, other)
    everything = [(once.figures(), apart.figures()), *zip(once.by_bin(), apart.by_bin(), strict=True)]
    for whole, pieces in everything:
        for key in ("quantiles", "errors"):
            assert pieces.pop(key) == whole.pop(key)
        assert pieces == pytest.approx(whole, rel=1e-9, abs=1e-6)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(0, 30))
def test_merged_spreads_are_those_of_all_at_once(residual, cut):
    at, residual = np.arange(len(residual)) % 25.0, np.array([*residual[:-1], np.nan])
    once, merged = spread(at, residual), spread(at[:cut], residual[:cut])
    merged.merge(spread(at[cut:], residual[cut:]))
    assert merged.fine == once.fine and merged.lost == once.lost == 1
    everything = [(once.figures(), merged.figures()), *zip(once.by_bin(), merged.by_bin(), strict=True)]
    for whole, pieces in everything:
        for key in ("quantiles", "errors"):
            assert pieces.pop(key, None) == whole.pop(key, None)
        assert pieces == pytest.approx(whole, rel=1e-9, abs=1e-6)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_mean_std_and_largest_are_those_of_numpy(residual):
    residual = np.array(residual)
    found = spread(np.arange(len(residual)) % 20.0, residual).figures()
    assert found["jets"] == len(residual)
    assert found["mean"] == pytest.approx(residual.mean(), abs=1e-9)
    assert found["std"] == pytest.approx(residual.std(ddof=1), abs=1e-6)
    assert found["largest"] == np.abs(residual).max()


def test_errors_of_quantiles_are_those_of_repeated_samples():
    """And that of the half-width: 400 samples tell a standard deviation to 3.5 %."""
    rng, found, told = np.random.default_rng(1), [], []
    for _ in range(400):
        figures = spread_of(rng.uniform(-1e-3, 1e-3, 500))
        found.append([*(figures["quantiles"][q] for q in ("15.865", "50", "84.135")), figures["half_width_68"]])
        told.append([*(figures["errors"][q] for q in ("15.865", "50", "84.135")), figures["half_width_68_error"]])
    assert np.mean(told, axis=0) == pytest.approx(np.std(found, axis=0), rel=0.12)


def test_the_error_of_a_quantile_of_one_residual_is_none():
    assert set(spread_of(array(0.3))["errors"].values()) == {0.0}


def test_a_quantile_of_counts_lies_between_the_edges_of_its_bin():
    one = hist.axis.Regular(10501, -21.002, 21.002)
    counts = np.zeros(10503, int)
    counts[5251 + 1] = 10  # the bin right of the middle one, flow bins counted
    low, high = (1e-9 * (10 ** one.edges[i] - 1) for i in (5251, 5252))
    assert quantile(counts, 0.0) == pytest.approx(low)
    assert quantile(counts, 1.0) == pytest.approx(high)
    assert low < quantile(counts, 0.3) < quantile(counts, 0.7) < high


# --- spectra


def spectrum(before: np.ndarray, after: np.ndarray, axis: object = None) -> dict:
    found = Spectrum(axis or linear(0, 4, 4))
    found.add(before, after)
    return found.figures()


def test_a_spectrum_by_hand():
    assert spectrum(array(0.5, 0.5, 1.5, 2.5, -1, 9), array(0.5, 1.5, 1.5, 2.5, -1, 3.5)) == {
        "edges": [0, 1, 2, 3, 4],
        "before": [2, 1, 1, 0],
        "after": [1, 2, 1, 1],
        "moved": [1, 1, 0, 1],  # one from the first bin to the second, one from beyond into the last
        "outside": 2,
        "lowest": 0,
        "below": (1, 1, 0),
    }


def test_a_spectrum_shows_what_is_between_its_first_and_its_last_filled_bin():
    axis = linear(0, 10, 10)
    found = spectrum(array(2.5, 5.5), array(2.5, 4.5), axis)
    assert found == {
        "edges": pytest.approx([2, 3, 4, 5, 6]),
        "before": [1, 0, 0, 1],
        "after": [1, 0, 1, 0],
        "moved": [0, 0, 1, 1],
        "outside": 0,
    }
    first, last = spectrum(array(0), array(0), axis), spectrum(array(9.9), array(9.9), axis)
    assert (first["edges"], last["edges"]) == (pytest.approx([0, 1]), pytest.approx([9, 10]))


def test_what_leaves_a_spectrum_has_moved_out_of_its_bin():
    found = spectrum(array(0.5, 1.5, 3.5), array(NAN, -1, INF))
    assert (found["before"], found["after"], found["moved"]) == ([1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1])


@pytest.mark.parametrize("values", [array(), array(-1, 4, NAN)])
def test_a_spectrum_of_nothing_in_its_range_is_empty(values):
    empty = {"edges": [], "before": [], "after": [], "moved": [], "outside": len(values)}
    assert spectrum(values, values) == empty


def test_a_number_as_likely_to_come_as_to_go_moved_both_ways():
    found = spectrum(array(0.5, 1.5), array(1.5, 0.5))
    assert (found["before"], found["after"], found["moved"]) == ([1, 1], [1, 1], [2, 2])


@given(st.lists(st.tuples(st.floats(-1, 5), st.floats(-1, 5)), max_size=30), st.lists(st.integers(0, 99), max_size=4))
def test_a_spectrum_in_parts_is_that_of_all_at_once(pairs, cuts):
    values = np.array(pairs).reshape(-1, 2)
    apart = Spectrum(linear(0, 4, 4))
    for part in parts(values, cuts):
        apart.add(*part.T)
    assert apart.figures() == spectrum(*values.T)


@given(st.lists(st.tuples(st.floats(-1, 5), st.floats(-1, 5)), max_size=30), st.integers(0, 30))
def test_merged_spectra_are_those_of_all_at_once(pairs, cut):
    values, merged, other = np.array(pairs).reshape(-1, 2), Spectrum(linear(0, 4, 4)), Spectrum(linear(0, 4, 4))
    merged.add(*values[:cut].T)
    other.add(*values[cut:].T)
    merged.merge(other)
    assert merged.figures() == spectrum(*values.T)


def test_axes_are_even_or_fall_over_decades():
    assert logarithmic(1, 100).edges[::10] == pytest.approx([1, math.sqrt(10), 10, math.sqrt(1000), 100])
    assert len(logarithmic(10, 1e7)) == 120
    assert linear(-1, 1, 4).edges == pytest.approx([-1, -0.5, 0, 0.5, 1])


def test_what_has_no_logarithm_is_below_the_axis():
    found = spectrum(array(-5, 0, 9, 50, 20), array(5, -1, 50, 50, 0), logarithmic(10, 1e3))
    assert (sum(found["before"]), found["outside"]) == (2, 3)
    assert (found["lowest"], found["below"]) == (pytest.approx(10), (3, 3, 2))


def test_every_variable_that_is_shown_has_an_axis_in_mev():
    ordinary = {"pt": (2e4, 1e6), "eta": (-4.9, 4.9), "phi": (-3.14, 3.14), "m": (100, 1e5), "E": (2e4, 6.5e6)}
    assert list(AXES) == list(ordinary)
    for variable, values in ordinary.items():
        assert spectrum(np.array(values), np.array(values), AXES[variable])["outside"] == 0


# --- densities


def test_a_density_by_hand():
    found = DensityHistogram(("a", "b", "c"), [(0, 2), (0, 4), (-1, 1)], bins=2)
    found.add([array(0.5, 0.5, 1.5, 9), array(1, 3, 3, 3), array(0.5, -0.5, 0.5, NAN)])
    assert found.figures() == {
        "names": ["a", "b", "c"],
        "edges": [[0, 1, 2], [0, 2, 4], [-1, 0, 1]],
        "counts": [[2, 1], [1, 3], [1, 2]],
        "outside": [1, 0, 1],
        "pairs": [
            {"x": 0, "y": 1, "counts": [[1, 1], [0, 1]]},
            {"x": 0, "y": 2, "counts": [[1, 1], [0, 1]]},
            {"x": 1, "y": 2, "counts": [[0, 1], [1, 1]]},
        ],
    }


@given(st.lists(st.tuples(st.floats(-1, 3), st.floats(-1, 3)), max_size=20), st.lists(st.integers(0, 99), max_size=4))
def test_a_density_in_parts_is_that_of_all_at_once(pairs, cuts):
    rows, once, apart = (
        np.array(pairs).reshape(-1, 2),
        *(DensityHistogram(("a", "b"), [(0, 2)] * 2, 3) for _ in range(2)),
    )
    once.add(list(rows.T))
    for part in parts(rows, cuts):
        apart.add(list(part.T))
    assert apart.figures() == once.figures()


@given(st.lists(st.tuples(st.floats(-1, 3), st.floats(-1, 3)), max_size=20), st.integers(0, 20))
def test_merged_densities_are_those_of_all_at_once(pairs, cut):
    rows = np.array(pairs).reshape(-1, 2)
    once, merged, other = (DensityHistogram(("a", "b"), [(0, 2)] * 2, 3) for _ in range(3))
    for density, part in ((once, rows), (merged, rows[:cut]), (other, rows[cut:])):
        density.add(list(part.T))
    merged.merge(other)
    assert merged.figures() == once.figures()


def test_densities_of_other_ranges_do_not_add_up():
    with pytest.raises(ValueError, match="do not add up"):
        DensityHistogram(("a",), [(0, 1)]).merge(DensityHistogram(("a",), [(0, 2)]))


# --- correlations


def correlation(*columns: np.ndarray) -> dict:
    found = Correlation(tuple("abcdef"[: len(columns)]))
    found.add(columns)
    return found.figures()


def test_correlations_by_hand():
    found = correlation(array(1, 2, 3), array(30, 20, 10), array(1, 0, 1))
    assert (found["variables"], found["rows"]) == (["a", "b", "c"], 3)
    assert np.array(found["matrix"]) == pytest.approx(np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 1]]), abs=1e-12)


@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 99), max_size=4))
def test_correlations_in_any_parts_are_those_of_numpy(n, seed, cuts):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 3)) @ rng.normal(size=(3, 3)) * array(1, 1e-6, 1e6) + array(0, 1e-3, 1e7)
    found = Correlation(("a", "b", "c"))
    for part in parts(rows, cuts):
        found.add(list(part.T))
    assert found.figures()["rows"] == n
    assert np.array(found.figures()["matrix"]) == pytest.approx(np.corrcoef(rows.T), abs=1e-6)


@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_merged_correlations_are_those_of_numpy(n, seed, cut):
    rows = np.random.default_rng(seed).normal(size=(n, 2)) + array(0, 1e3)
    found, other = Correlation(("a", "b")), Correlation(("a", "b"))
    found.add(list(rows[:cut].T))
    other.add(list(rows[cut:].T))
    found.merge(other)
    assert found.figures()["rows"] == n
    assert np.array(found.figures()["matrix"]) == pytest.approx(np.corrcoef(rows.T), abs=1e-6)


def test_rows_that_are_not_finite_have_no_correlation():
    odd = correlation(array(1, 2, NAN, 4, 3), array(1, 5, 3, 2, -INF))
    assert odd == correlation(array(1, 2, 4), array(1, 5, 2))
    assert odd["rows"] == 3


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-3])
def test_a_column_that_never_changes_has_no_correlation(value):
    found = Correlation(("a", "b"))
    for start in (0, 3):
        found.add([np.full(3, value), np.arange(3.0) + start])
    assert np.array(found.figures()["matrix"]) == pytest.approx(np.array([[NAN, NAN], [NAN, 1]]), nan_ok=True)


def test_nothing_has_no_correlation():
    assert correlation(array(), array())["rows"] == 0
    assert np.isnan(correlation(array(), array())["matrix"]).all()
    assert np.isnan(correlation(array(1), array(2))["matrix"]).all()


# --- what is kept of many rows


@pytest.mark.parametrize(
    ("n", "kept"), [(0, []), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (5, [0, 2, 4]), (9, [0, 4, 8]), (17, [0, 8, 16])]
)
def test_every_second_row_is_left_out_again_and_again(n, kept):
    thinned = Thinned(4)
    thinned.add(np.column_stack([np.arange(float(n))] * 2))
    assert thinned.rows(2).tolist() == [[row, row] for row in kept]
    assert thinned.seen == n


@given(st.integers(0, 100), st.integers(1, 10), st.lists(st.integers(0, 99), max_size=8))
def test_what_is_kept_does_not_depend_on_the_parts(n, most, cuts):
    rows, once, apart = np.arange(float(n))[:, None], Thinned(most), Thinned(most)
    once.add(rows)
    for part in parts(rows, cuts):
        apart.add(part)
    assert apart.rows(1).tolist() == once.rows(1).tolist()
    assert min(n, most) / 2 < len(once.rows(1)) <= most or n == 0


@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 10))
def test_of_merged_rows_no_more_are_kept_and_from_all_over(n, more, most):
    rows, merged, other = np.arange(float(n + more))[:, None], Thinned(most), Thinned(most)
    merged.add(rows[:n])
    other.add(rows[n:])
    before = other.rows(1).tolist()
    merged.merge(other)
    kept = merged.rows(1)[:, 0]
    assert other.rows(1).tolist() == before and merged.seen == n + more
    assert len(kept) <= most and (np.diff(kept) > 0).all()
    assert kept.tolist() == rows[:, 0].tolist() or len(rows) > most
    assert not len(rows) or (np.diff([-1, *kept, len(rows)]) <= 2 * merged.every).all()


# --- how far a histogram goes


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (array(0.1), 0.15),  # 1.2 times as far, rounded up
        (array(-0.1, 0.05), 0.15),
        (array(0.8), 1),
        (array(0.81), 1),
        (array(0.9), 1.5),
        (array(2, NAN, INF, -INF), 3),
        (array(3.5e-4), 5e-4),
        (array(500), 700),
        (array(*[1.0] * 9999, 1e6), 1.5),  # one of very many is left outside
        (array(0, 0), 1e-9),
        (array(NAN), 1e-9),
        (array(), 1e-9),
    ],
)
def test_a_histogram_goes_as_far_as_nearly_all_values(values, expected):
    assert reach(values) == pytest.approx(expected)


@settings(max_examples=200)
@given(st.floats(1e-8, 1e100))
def test_a_reach_is_round_and_not_far_beyond(value):
    found = reach(array(value))
    assert 1.2 * value * (1 - 1e-12) <= found <= 1.2 * value * 1.67
    assert float(f"{found:.1e}") == pytest.approx(found)
