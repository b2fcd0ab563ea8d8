"""Kolmogorov-Smirnov tests of all values, chunk by chunk."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.reports.ranks import Ranks, probability

NAN = math.nan
VALUES = st.lists(st.floats(-1e3, 1e3) | st.sampled_from([0.0, 1.0, -1.0]), min_size=1, max_size=50)


def exact(before: np.ndarray, after: np.ndarray) -> float:
    """The largest distance of two cumulative distributions."""
    every = np.sort(np.concatenate([before, after]))
    one, other = (np.searchsorted(np.sort(x), every, side="right") / len(x) for x in (before, after))
    return float(np.abs(one - other).max())


def ranked(before: np.ndarray, after: np.ndarray, chunk: int = 10**9, unit: float = 1.0) -> Ranks:
    ranks = Ranks(unit)
    for start in range(0, len(before), chunk):
        ranks.add(before[start : start + chunk], after[start : start + chunk])
    return ranks


@pytest.mark.parametrize("chunk", [700, 10**9])
@pytest.mark.parametrize("step", [2e-3, 2e-2])
def test_the_distance_of_a_comb_is_that_of_all_values(chunk, step):
    before = 60_000 * np.random.default_rng(1).random(20_000) ** -0.25
    after = np.exp(np.rint(np.log(before) / step) * step)
    found = ranked(before, after, chunk, 100.0).figures()
    assert found["resolution"] < 5e-4
    assert -1e-12 <= exact(before, after) - found["distance"] <= found["resolution"] + 1e-12


@settings(max_examples=30)
@given(VALUES, st.data())
def test_distances_are_too_small_by_the_resolution_at_most(before, data):
    one = np.array(before)
    other = np.array(data.draw(st.lists(st.floats(-1e3, 1e3), min_size=len(one), max_size=len(one))))
    found = ranked(one, other).figures()
    assert -1e-12 <= exact(one, other) - found["distance"] <= found["resolution"] + 1e-12


@settings(max_examples=10)
@given(st.integers(40, 400), st.integers(0, 400))
def test_chunks_and_parts_add_up(chunk, cut):
    random = np.random.default_rng(1)
    before, after = random.standard_normal((2, 400)) * 10 ** random.uniform(-2, 2, (2, 400))
    whole, parts = ranked(before, after), ranked(before[:cut], after[:cut], chunk)
    parts.merge(ranked(before[cut:], after[cut:], chunk))
    assert parts.values == 400 and parts.figures() == whole.figures()
    assert (parts.low, parts.counts.tolist()) == (whole.low, whole.counts.tolist())


@pytest.mark.parametrize(
    ("before", "after", "distance"),
    [
        ([1, 2, 3, 4], [3, 4, 5, 6], 0.5),
        ([4, 1, 3, 2], [2, 3, 4, 1], 0),
        ([0, 0, 1], [0, 1, 1], 1 / 3),  # equal values are one step of the distributions
        ([1, 2, 3, 4], [1, 2, NAN, NAN], 0.5),  # NaN is above all numbers
        ([1, 2, 3, 4], [1, 2, math.inf, math.inf], 0.5),
        ([-1e-3, 1e-3], [1e-3, 1e-3], 0.5),
    ],
)
def test_a_distance_by_hand(before, after, distance):
    one, other = np.array(before, float), np.array(after, float)
    assert ranked(one, other).figures()["distance"] == pytest.approx(distance)
    assert ranked(other, one).figures()["distance"] == pytest.approx(distance)


def test_no_values_leave_ranks_empty():
    ranks = ranked(np.empty(0), np.empty(0))
    ranks.merge(Ranks())
    ranks.add(np.empty(0), np.empty(0))
    assert ranks.values == 0


@pytest.mark.parametrize(
    ("moved", "expected"),  # by the tables' critical distances, 1.224, 1.358 and 1.628 over 100
    [(0, 1), (1, 1), (244, 0.1012), (271, 0.0504), (325, 0.0101), (20_000, 0)],
)
def test_a_probability_is_that_of_the_tables(moved, expected):
    assert probability(moved / 20_000, 20_000, 20_000) == pytest.approx(expected, abs=5e-4)


def test_a_probability_of_few_values_by_hand():
    scaled = (math.sqrt(2) + 0.12 + 0.11 / math.sqrt(2)) * 0.5  # Stephens' correction
    expected = 2 * (math.exp(-2 * scaled**2) - math.exp(-8 * scaled**2) + math.exp(-18 * scaled**2))
    assert probability(0.5, 4, 4) == pytest.approx(expected) == pytest.approx(0.534416, abs=1e-6)
