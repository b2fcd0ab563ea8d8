"""The grid that values fit best, from the values alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.reports.phases import BestGrid


def drawn(n: int, seed: int = 1) -> np.ndarray:
    """Values that fall steeply, as log pt does."""
    return 11 + np.random.default_rng(seed).exponential(0.25, n)


@settings(max_examples=15)
@given(st.floats(5e-4, 0.05), st.floats(0, 1))
def test_the_step_and_the_origin_of_a_grid_are_found(step, origin):
    values = drawn(2_000)
    after = (np.rint(values / step - origin) + origin) * step
    grid = BestGrid.of(values, after)
    assert 1 / grid.frequency == pytest.approx(step, rel=1e-9)
    assert np.abs(grid.phases(after)).max() < 1e-6
    assert np.abs(grid.phases(values)).std() == pytest.approx(1 / np.sqrt(48), rel=0.1)  # uniform


def test_values_that_were_on_a_grid_before_hide_no_finer_one():
    coarse = np.rint(drawn(5_000) / 0.05) * 0.05
    before = coarse + np.random.default_rng(2).uniform(-1e-2, 1e-2, 5_000)  # half of a comb is in both
    grid = BestGrid.of(before, np.rint(before / 2e-3) * 2e-3)
    assert 1 / grid.frequency == pytest.approx(2e-3)


def test_random_errors_have_no_grid():
    values = drawn(20_000)
    random = np.random.default_rng(2).uniform(-1e-3, 1e-3, len(values))
    phases = BestGrid.of(values, values + random).phases(values + random)
    assert np.abs(np.exp(2j * np.pi * phases).mean()) < 0.05


def test_a_shift_value_by_value_leaves_no_grid():
    values, step = drawn(20_000), 2e-3
    shift = np.random.default_rng(2).random(len(values))
    after = (np.rint(values / step - shift) + shift) * step
    assert np.abs(np.exp(2j * np.pi * BestGrid.of(values, after).phases(after)).mean()) < 0.05


def test_equal_values_have_no_phase():
    assert BestGrid.of(np.ones(200), np.ones(200)).phases(np.ones(3)).tolist() == [0, 0, 0]
    narrow = 1 + 1e-3 * np.random.default_rng(1).random(200)  # narrower than the widest step, on no grid
    assert np.isfinite(BestGrid.of(narrow, narrow).phases(narrow)).all()
