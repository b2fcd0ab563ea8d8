"""The uniform grid of jets, and tables of integers that are equal on every machine."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlasae.codecs import lattice
from atlasae.codecs.dither import MASK
from atlasae.codecs.lattice import HIGH, LOW, PER_E, SLOPES, TURN, UNIT, Lattice, ListLattice, ShiftedLattice, direction
from atlasae.jets.variables import JET, Variable, VariableList

STEPS = (2e-3, 2e-3, 2e-3, 2e-3)
DIAMOND = np.arange(-SLOPES, SLOPES + 1) / SLOPES


@pytest.mark.parametrize(
    ("exact", "table"),
    [
        (2**10 * np.exp(np.arange(len(lattice.EXPONENTIALS)) / PER_E), lattice.EXPONENTIALS),
        (UNIT * np.cos(2 * np.pi * (np.arange(TURN) + 0.5) / TURN), lattice.COSINES),
        (UNIT * np.sin(2 * np.pi * (np.arange(TURN) + 0.5) / TURN), lattice.SINES),
        (np.arctan2(DIAMOND, 1 - np.abs(DIAMOND)) * TURN / (2 * np.pi), lattice.DIRECTIONS),
    ],
    ids=["exponentials", "cosines", "sines", "directions"],
)
def test_no_number_is_near_a_tie_so_that_every_library_rounds_alike(exact, table):
    assert np.array_equal(np.rint(exact), table)
    inner = exact[np.abs(exact * 2 - np.rint(exact * 2)) > 0]  # without integers and k + 1/2
    distance = np.abs(np.abs(inner - np.floor(inner)) - 0.5)
    assert distance.min() > 1e-7 * max(1.0, float(np.abs(exact).max()) * 1e-8)


@given(
    st.floats(math.log(600), 16.8), st.floats(-9.99, 9.99), st.floats(-3.14, 3.14), st.floats(-1e6, 1e6),
    st.floats(-5, 0),
)  # fmt: skip
def test_a_cell_is_no_further_than_half_a_step(log_pt, eta, phi, m, exponent):
    jets = np.array([[math.exp(log_pt), eta, phi, m]])
    grid = Lattice((10**exponent,) * 4)
    cells, held = grid.cells(jets)
    assert held.all() and cells.shape == (4, 1) and cells.dtype == np.int32
    assert np.abs(grid.coordinates(cells) - JET.to_coordinates(jets)).max() <= 10**exponent / 2 + 1e-9
    assert np.array_equal(grid.cells(grid.jets(cells))[0], cells)


@pytest.mark.parametrize(
    "jet",
    [
        *((400, 0, 0, 0), (3e7, 0, 0, 0), (np.nan, 0, 0, 0), (1e4, np.inf, 0, 0)),
        *((1e4, 0, 3.2, 0), (0, 0, 0, 0), (1e4, 0, 0, 1e12)),
    ],
)  # fmt: skip
def test_jets_beyond_the_grid_have_no_cell(jet):
    cells, held = Lattice(STEPS).cells(np.array([jet, (5e4, 0, 0, 5e3)]))
    assert held.tolist() == [False, True]
    assert ((cells >= 0) & (cells < np.array(Lattice(STEPS).sizes)[:, None])).all()


@given(
    st.floats(math.log(600), 16.8), st.floats(-9.99, 9.99), st.floats(-math.pi, math.pi), st.floats(-1e6, 1e6),
    st.floats(-5, 0), st.integers(0, 2**31 - 1), st.integers(0, 2**25),
)  # fmt: skip
def test_a_shifted_cell_is_no_further_than_half_a_step(log_pt, eta, phi, m, exponent, key, index):
    jets = np.array([[math.exp(log_pt), eta, phi, m]])
    grid = ShiftedLattice(Lattice((10**exponent,) * 4, (True,) * 4), key, np.array([index]))
    cells, held = grid.lattice.cells(jets, grid.offsets)
    assert held.all() and cells.dtype == np.int32 and (cells[:, 0] < grid.lattice.sizes).all()
    assert np.abs(grid.lattice.coordinates(cells, grid.offsets) - JET.to_coordinates(jets)).max() <= (
        10**exponent / 2 + 1e-9
    )
    assert np.array_equal(grid.encode(jets), cells.T) and np.array_equal(grid.part(slice(0, 1)).encode(jets), cells.T)
    assert cells[3, 0] < grid.lattice.first_heavy or grid.decode(cells.T)[0, 3] > 0


def test_massless_jets_keep_their_cell_and_jets_alike_do_not():
    grid = ShiftedLattice(Lattice(STEPS, (True, True, False, True)), 7, np.arange(1000))
    cells = grid.encode(np.tile([[5e4, 0.501, 1.0, 0.0], [5e4, 0.501, 1.0, 5e3]], (500, 1)))
    assert [len(np.unique(column)) for column in cells.T] == [2, 2, 1, 3]
    decoded = grid.decode(cells)
    assert len(np.unique(decoded[::2, 3])) == 1 and len(np.unique(decoded[1::2, 3])) == 500
    assert len(np.unique(decoded[:, 0])) == 1000 and len(np.unique(decoded[:, 2])) == 1
    other = ShiftedLattice(grid.lattice, 70_000, grid.indices)
    assert not np.isin(other.offsets[0], grid.offsets[0]).any()


@pytest.mark.parametrize("steps", [(0, 1, 1, 1), (1, 1, 1, -1), (1, 1, math.nan, 1), (1, 1, 1, 5), (1e-9, 1, 1, 1)])
def test_steps_that_make_no_grid_are_refused(steps):
    with pytest.raises(ValueError, match="are not between 1e-6 and 2"):
        Lattice(steps)


def test_momenta_in_whole_numbers_are_close_to_the_jets():
    grid = Lattice(STEPS)
    assert grid.sizes == tuple(math.ceil(x) for x in (HIGH - LOW) / 2e-3)
    middle = np.exp(LOW[0] + (np.arange(grid.sizes[0]) + 0.5) * 2e-3)
    unit = grid.sizes_of_pt / middle
    assert unit.max() / unit.min() < 1.006
    phi = LOW[2] + (np.arange(grid.sizes[2]) + 0.5) * 2e-3
    apart = (grid.directions + 0.5) * 2 * np.pi / TURN - phi
    assert np.abs((apart + np.pi) % (2 * np.pi) - np.pi).max() < 2 * np.pi / TURN
    assert np.abs(grid.cells_of_directions[grid.directions] - np.arange(grid.sizes[2])).max() <= 2
    assert grid.coordinates(np.array([[0], [0], [0], [grid.zero_mass]], np.int32))[0, 3] == pytest.approx(0, abs=2e-3)


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40)), min_size=1, max_size=20))
def test_directions_are_those_of_the_arctangent(pairs):
    x, y = np.array([pair for pair in pairs if pair != (0, 0)] or [(1, 0)], float).T
    apart = direction(x, y) * 2 * np.pi / TURN - np.arctan2(y, x)
    assert np.abs((apart + np.pi) % (2 * np.pi) - np.pi).max() < 2 * 2 * np.pi / TURN
    assert direction(np.zeros(1), np.zeros(1)).tolist() == [0]


LISTED = VariableList((
    Variable("a", "log"), Variable("b", "linear"), Variable("c", "angle"), Variable("d", "asinh", scale=7.0),
    Variable("e", "integer"), Variable("f", "categorical", categories=(-1.0, 0.5, 4.0)),
    Variable("g", "angle", full_turn=True),
))  # fmt: skip


@given(
    st.floats(-30, 30), st.floats(-1e9, 1e9), st.floats(-3.14159, 3.14159), st.floats(-1e9, 1e9),
    st.integers(-(2**40), 2**40), st.tuples(st.sampled_from([-1.0, 0.5, 4.0]), st.floats(0, 6.28)),
    st.none() | st.integers(0, MASK),
)  # fmt: skip
def test_rows_of_a_list_are_no_further_than_half_a_step(log_a, b, c, d, e, others, key):
    shifted, rows = key is not None, np.array([[math.exp(log_a), b, c, d, e, *others]])
    steps = (0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 0.1)
    grid = ListLattice(LISTED, steps, (shifted, shifted, shifted, shifted, False, False, shifted))
    coder = grid if key is None else ShiftedLattice(grid, key, np.arange(1))
    cells = coder.encode(rows)
    assert cells.dtype == np.int64 and grid.turns == [0, 0, 63 + shifted, 0, 0, 0, 63 + shifted]
    back = coder.decode(cells)
    errors = np.array([*LISTED.errors(rows, back).values()])[:, 0]
    assert (errors <= [math.expm1(0.05) * 1.001, 0.0501, 0.0501, math.expm1(0.05) * 1.001, 0, 0, 0.0501]).all()
    assert abs(back[0, 2]) < math.pi and 0 <= back[0, 6] < 2 * math.pi


def test_rows_of_a_list_without_cells_are_outside():
    grid = ListLattice(LISTED, (0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 0.1), (False,) * 7)
    rows = np.tile([1.0, 0.0, 0.0, 0.0, 0.0, 4.0, 0.0], (5, 1))
    rows[0, 0], rows[1, 1], rows[2, 2], rows[3, 3] = -1, 1e300, 4, np.nan
    cells, held = grid.cells(rows)
    assert held.tolist() == [False, False, False, False, True] and not cells[:, :4].any()
    assert grid.reordered([6, 0, 1, 2, 3, 4, 5]).reordered([1, 2, 3, 4, 5, 6, 0]) == grid


@pytest.mark.parametrize("steps", [(0.1,), (0.0,) * 7, (math.nan,) * 7])
def test_steps_of_a_list_that_can_not_be_are_refused(steps):
    with pytest.raises(ValueError, match="of 7 variables"):
        ListLattice(LISTED, steps, (False,) * len(steps))
