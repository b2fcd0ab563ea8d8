"""Offsets that are the same on every machine, uniform, and that make errors independent of values."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlasae.codecs.dither import (
    BLOCK_STEPS,
    IN_BLOCK,
    MASK,
    NO_DITHER,
    WEIGHT,
    CellPart,
    Dither,
    Offsets,
    hashed,
    offset,
)
from atlasae.codecs.grid import Grid, jet_words
from atlasae.codecs.model import default_model
from atlasae.codecs.walk import JETS

JET_DITHER = Dither((0, 1, 2), (1, 2), WEIGHT, rounds=0)
OF_FORMAT_3 = Dither((0, 1, 2), (1, 2))
FREE = [True, True, True, False]
LEVELS = (2000, 64 * IN_BLOCK, 102 * IN_BLOCK, 4000)
STEP = 2e-3


def chi2(values: np.ndarray, bins: int = 64) -> float:
    """The chi^2 per bin of values in [0, 1) against a flat distribution."""
    expected = len(values) / bins
    return float((((np.histogram(values, bins, (0, 1))[0] - expected) ** 2) / expected).mean())


@given(st.integers(0, MASK))
def test_a_state_is_mixed_by_integers_alone(state):
    expected = state
    for _ in range(2):
        expected = ((expected * 1103515245 + 1013904223) % 2**31) ** 2 // 2**15 % 2**31
    assert hashed(state) == hashed(np.array([state]))[0] == expected
    assert offset(np.array([state]))[0] == state / 2**31


def test_hashes_of_a_counter_are_uniform_and_independent():
    first = offset(hashed(np.arange(200_000)))
    second = offset(hashed(hashed(np.arange(200_000))))
    for values in (first, second, (first - second) % 1, np.diff(first) % 1, np.diff(second) % 1):
        assert chi2(values) < 1.6
    assert first.min() >= 0 and first.max() < 1


def largest_harmonic(offsets: np.ndarray) -> float:
    """What these offsets leave of the first 160 harmonics of a comb."""
    return max(abs(np.exp(2j * np.pi * k * offsets).mean()) for k in range(1, 161))


@pytest.mark.parametrize("size", [80, 60, 145])
def test_offsets_of_jets_leave_no_comb(size):
    offsets = Offsets(JET_DITHER)
    offsets.add(np.repeat(np.arange(size), 101))  # blocks of eta
    offsets.add(np.tile(np.arange(101), size))  # and of phi
    assert largest_harmonic(offsets.next()) < 0.011  # pt; of random offsets: 0.02 and more
    steps = np.random.default_rng(0).exponential(125, 101 * size).astype(np.int64)  # of pt^-5
    offsets.add(1000 + steps)
    assert largest_harmonic(offsets.next()) < 4 / np.sqrt(101 * size)  # eta: no more than the noise


def test_offsets_near_an_eta_leave_no_comb():
    offsets = Offsets(JET_DITHER)
    offsets.add(np.full(101 * 500, 37))
    offsets.add(np.repeat(np.arange(101), 500))
    offsets.next()
    falling = -125 * np.log((np.arange(500) + 0.5) / 500)  # cells of pt
    offsets.add(np.tile(1000 + falling.astype(np.int64), 101))
    assert largest_harmonic(offsets.next()) < 0.02


@pytest.mark.parametrize("dither", [JET_DITHER, OF_FORMAT_3])
def test_offsets_follow_from_the_parts_before(dither):
    offsets, weight = Offsets(dither), dither.weight
    assert offsets.next().tolist() == [0.0]
    offsets.add(np.array([1, 2]))
    offsets.add(np.array([3.0, 4.0]))
    state = hashed(0) if dither.rounds else 0
    expected = [((state + a) * weight % 2**31 + b) * weight % 2**31 for a, b in ((1, 3), (2, 4))]
    assert offsets.next().tolist() == [value / 2**31 for value in expected]


def test_offsets_of_jets_need_no_cell_that_needs_them():
    assert list(JET_DITHER.order(FREE)) == [
        CellPart(1, of_block=True),
        CellPart(2, of_block=True),
        CellPart(0, shifted=True),
        CellPart(1, in_block=True, shifted=True),
        CellPart(2, in_block=True, shifted=True),
        CellPart(3),
    ]
    assert list(NO_DITHER.order(FREE)) == [CellPart(i) for i in range(4)] and not NO_DITHER


@given(st.integers(0, 10_000), st.integers(1, 3000))
def test_a_window_of_blocks_holds_all_positions(begin, size):
    first, levels = JET_DITHER.window(1, begin, begin + size)
    assert first % BLOCK_STEPS == 0 and levels % IN_BLOCK == 0
    assert first <= begin and begin + size <= first + levels // IN_BLOCK * BLOCK_STEPS < begin + size + 2 * BLOCK_STEPS
    assert JET_DITHER.window(0, begin, begin + size) == (begin, size + 1)
    assert JET_DITHER.window(3, begin, begin + size) == (begin, size)


@pytest.mark.parametrize(
    ("dither", "exponent", "why"),
    [
        (Dither((0,), (0,)), 0.2, "only equal steps"),
        (Dither((0,), (1,)), 0.0, "can't be shifted"),
        (Dither((4,)), 0.0, "can't be shifted"),
        (Dither((0, 1), (0, 0)), 0.0, "can't be shifted"),
        (Dither((3,), (3,)), 0.0, "in blocks"),
        (Dither((0,), (0,)), 0.0, "blocks of other than 32 cells"),
        (Dither((0,), weight=0), 0.0, "offsets with the weight 0"),
        (Dither((0,), weight=1 << 31), 0.0, "offsets with the weight"),
        (Dither((0,), rounds=-1), 0.0, "-1 rounds"),
        (Dither((0,), rounds=10**9), 0.0, "1000000000 rounds"),
    ],
)
def test_a_dither_that_does_not_fit_its_grid_is_refused(dither, exponent, why):
    with pytest.raises(ValueError, match=why):
        dither.check(FREE, exponent, LEVELS)


def shifted_grid() -> Grid:
    """A grid of jets in equal steps with the offsets of `JET_DITHER`."""
    spans = [float(density.edges[-1] - density.edges[0]) for density in default_model().autoencoder.densities]
    cells = [span / STEP for span in spans]
    first = (1000, 1500 // BLOCK_STEPS * BLOCK_STEPS, 0, 5500)
    return Grid(0.0, tuple(cells), first, LEVELS, jet_words(LEVELS, (16, 16, 16)), JET_DITHER)


@pytest.fixture(scope="module")
def errors() -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of 50,000 jets in the middle of the grid, and their errors in steps."""
    rng = np.random.default_rng(0)
    y = np.stack([rng.uniform(9, 11.5, 50_000), rng.uniform(-2, 0.5, 50_000), rng.uniform(-3, 3, 50_000)], axis=1)
    given_y = torch.from_numpy(np.column_stack([y, y[:, 0] - 6.5 + rng.normal(0, 0.2, 50_000)]))
    model, grid = default_model().autoencoder, shifted_grid()
    decoded = model.decode(model.encode(given_y, grid), grid)
    return given_y.numpy(), ((decoded - given_y) / STEP).numpy()


@pytest.mark.parametrize("variable", range(4))
def test_errors_are_uniform_and_independent_of_the_value(errors, variable):
    y, e = errors[0][:, variable], errors[1][:, variable]
    assert np.abs(e).max() <= 0.5 + 1e-9
    assert chi2(e + 0.5) < 1.6
    for phase in np.split(np.argsort((y / STEP) % 1), 5):  # by the place in a step
        assert abs(e[phase].mean()) < 5 * e.std() / np.sqrt(len(phase))
        assert np.abs(e[phase]).max() > 0.49


def test_errors_of_a_jet_are_independent_of_each_other(errors):
    correlations = np.corrcoef(errors[1].T) - np.eye(4)
    assert np.abs(correlations).max() < 5 / np.sqrt(50_000)


def test_links_of_jets_leave_m_alone_that_moves_with_pt():
    assert [link.name for link in JETS if link.anchor is None] == ["pt", "eta", "phi"]
