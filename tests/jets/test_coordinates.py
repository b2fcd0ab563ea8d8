import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atlasae.jets.coordinates import (
    DRIFT,
    FULL_TURN,
    LARGEST_PHI,
    LARGEST_TURN,
    MASS_FLOOR,
    columns_to_jets,
    energy,
    from_full_turn,
    from_symlog,
    inner,
    jets_to_columns,
    signed_root,
    signed_square,
    spans_full_turn,
    to_full_turn,
    to_symlog,
    wrap,
)
from atlasae.jets.variables import JET

masses = st.floats(-1e6, 1e6) | st.floats(-200, 200)  # half of them near the floor
jets = st.tuples(st.floats(1e-3, 1e8), st.floats(-10, 10), st.floats(-LARGEST_PHI, LARGEST_PHI), masses)


def table(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


@given(jets)
@example((5e4, 0.0, 0.0, 0.0))
@example((5e4, 0.0, 0.0, -0.0))
@example((5e4, 0.0, 0.0, MASS_FLOOR))
@example((5e4, 0.0, 0.0, -MASS_FLOOR))
@example((5e4, 0.0, 0.0, np.nextafter(MASS_FLOOR, 0)))
@example((5e4, 0.0, 0.0, 5e-324))
@example((1e-300, 10.0, LARGEST_PHI, -1e300))
def test_coordinates_are_undone(jet):
    back = JET.from_coordinates(JET.to_coordinates(table(jet)))[0]
    assert back[0] == pytest.approx(jet[0], rel=1e-12)  # |log pt| is up to 700, with a rounding error of 1e-13
    assert tuple(back[1:3]) == jet[1:3]
    assert back[3] == pytest.approx(jet[3], rel=1e-12, abs=1e-300)
    assert np.signbit(back[3]) == np.signbit(jet[3])


@pytest.mark.parametrize(
    ("m", "mu"),
    [
        (0, 0), (50, 0.5), (-50, -0.5), (99.9, 0.999), (100, 1), (-100, -1),
        (100.5, 1 + math.log(1.005)), (-140, -1 - math.log(1.4)), (199, 1 + math.log(1.99)),
        (100 * math.e, 2), (-100 * math.e**3, -4),
    ],
)  # fmt: skip
def test_mu_is_linear_below_the_floor_and_logarithmic_above(m, mu):
    coordinates = JET.to_coordinates(table((math.e**11, 1.5, -2.5, m)))
    assert coordinates[0] == pytest.approx([11, 1.5, -2.5, mu], abs=1e-12)
    assert JET.from_coordinates(table((11, 1.5, -2.5, mu)))[0] == pytest.approx([math.e**11, 1.5, -2.5, m], rel=1e-12)


def test_the_constants_are_what_files_were_written_with():
    assert (MASS_FLOOR, DRIFT) == (100.0, 3e-6)
    assert (type(LARGEST_PHI), LARGEST_PHI) == (float, 3.141592502593994)  # the float32 next below pi


@pytest.mark.parametrize(
    ("bound", "drift", "kept"),
    [(1e-3, (), 9.97e-4), (1e-2, (), 9.997e-3), (1.3e-5, (), 1e-5), (1e-5, (), 7.5e-6), (1e-3, (1e-4,), 9e-4)],
)
def test_a_bound_is_kept_with_room_for_what_other_machines_do(bound, drift, kept):
    assert inner(bound, *drift) == pytest.approx(kept, rel=1e-12)


@given(st.floats(-3, 3))
@example(1.0)
@example(-1.0)
@example(-0.0)
def test_symlog_is_what_its_formula_says(x):
    found = float(to_symlog(np.array([x]))[0])
    assert found == pytest.approx(x if abs(x) < 1 else math.copysign(1 + math.log(abs(x)), x), rel=1e-14)
    assert math.copysign(1, found) == math.copysign(1, x)
    back = float(from_symlog(np.array([x]))[0])
    assert back == pytest.approx(x if abs(x) < 1 else math.copysign(math.exp(abs(x) - 1), x), rel=1e-14)
    assert math.copysign(1, back) == math.copysign(1, x)


@given(masses, masses)
def test_mu_grows_with_m(a, b):
    low, high = sorted([a, b])
    mu = JET.to_coordinates(table((1, 0, 0, low), (1, 0, 0, high)))[:, 3]
    assert mu[0] <= mu[1]


@given(masses, st.floats(1e-6, 1e-2))
def test_a_step_in_mu_is_that_error_of_m_above_the_floor(m, step):
    mu = JET.to_coordinates(table((1, 0, 0, m)))
    moved = JET.from_coordinates(mu + [0, 0, 0, step])[0, 3]
    # at most exp(T) - 1, relative to the larger of mass and floor
    assert abs(moved - m) <= (math.expm1(step) * (1 + 1e-6)) * max(abs(m), MASS_FLOOR)
    assert abs(moved - m) >= step * (1 - step) * max(abs(m), MASS_FLOOR) * (1 - 1e-4)


def test_phi_never_leaves_its_range_in_float32():
    phi = JET.from_coordinates(table((10, 0, math.pi, 1), (10, 0, -math.pi, 1), (10, 0, 7, 1)))[:, 2]
    assert (np.abs(phi.astype(np.float32)) <= np.pi).all()
    assert np.abs(phi) == pytest.approx(np.pi, abs=4e-7)


PHYSICAL = (5e4, 1.0, 2.0, 5e3)


@pytest.mark.parametrize(
    ("column", "value", "physical"),
    [
        (0, 5e-324, True), (0, 0.0, False), (0, -0.0, False), (0, -1.0, False), (0, np.nan, False), (0, np.inf, False),
        (1, 10.0, True), (1, -10.0, True), (1, 10.001, False), (1, -10.001, False), (1, np.nan, False),
        (2, np.pi, True), (2, -np.pi, True), (2, 3.15, False), (2, -3.15, False), (2, -np.inf, False),
        (3, 0.0, True), (3, -1e9, True), (3, np.nan, False), (3, np.inf, False), (3, -np.inf, False),
    ],
)  # fmt: skip
def test_physical_jets_are_those_with_coordinates(column, value, physical):
    jet = table(PHYSICAL, PHYSICAL)
    jet[1, column] = value
    assert JET.usable(jet).tolist() == [True, physical]


@given(st.floats(-20, 20))
@example(math.pi)
def test_wrap_changes_an_angle_by_whole_turns(angle):
    wrapped = float(wrap(np.array([angle]))[0])
    assert -math.pi <= wrapped <= math.pi
    turns = (angle - wrapped) / (2 * math.pi)
    assert turns == pytest.approx(round(turns), abs=1e-12)


@given(st.floats(-1e150, 1e150))
def test_signed_root_undoes_the_signed_square(m):
    square = signed_square(np.array([m]))
    assert np.sign(square[0]) == np.sign(m) or abs(m) < 1e-150
    assert signed_root(square)[0] == pytest.approx(m, rel=1e-12, abs=1e-150)


# --- columns of a network

SQUARE = table((3000, 0, 0, 4000), (3000, 0, 0.5, -2000), (2000, 0, -3, -3000), (1000, math.asinh(2.4), 1, 0))


def test_an_energy_by_hand():
    # E^2 = p^2 + m |m|, or 0 if that is negative
    assert energy(SQUARE) == pytest.approx([5000, math.sqrt(9e6 - 4e6), 0, 2600])


def test_an_energy_without_bounds_is_no_warning():
    assert energy(table((1e200, 0, 0, 1), (1e200, 5, 0, 1e200))).tolist() == [math.inf] * 2
    assert math.isnan(energy(table((1e200, 0, 0, -1e200)))[0])


def test_columns_are_in_gev_and_in_the_order_asked_for():
    assert jets_to_columns(SQUARE[:1], ("m", "pt", "phi", "eta")).tolist() == [[4, 3, 0, 0]]
    assert jets_to_columns(SQUARE[:1], ("phi", "E", "eta", "pt")).tolist() == [[0, 5, 0, 3]]
    assert columns_to_jets(table((4, 3, 0.5, -1)), ("m", "pt", "phi", "eta")).tolist() == [[3000, -1, 0.5, 4000]]
    assert columns_to_jets(table((5, 0.5, 3, 0)), ("E", "phi", "pt", "eta")).tolist() == [[3000, 0, 0.5, 4000]]
    assert columns_to_jets(table((3, 0.5, 5, 0)), ("E", "phi", "pt", "eta")).tolist() == [[5000, 0, 0.5, -4000]]
    with pytest.raises(ValueError, match="zip"):
        columns_to_jets(table((4, 3, 0.5, -1, 2)), ("m", "pt", "phi", "eta"))


@given(st.lists(jets, min_size=1, max_size=5), st.permutations(["pt", "eta", "phi", "m"]), st.booleans())
def test_columns_are_turned_back_into_jets(rows, order, on_energy):
    before = table(*rows)
    names = ["E" if name == "m" and on_energy else name for name in order]
    after = columns_to_jets(jets_to_columns(before, names), names)
    assert after[:, :3] == pytest.approx(before[:, :3], rel=1e-12, abs=1e-12)
    p = before[:, 0] * np.cosh(before[:, 1])
    square = np.maximum(signed_square(before[:, 3]), -(p**2) if on_energy else -np.inf)
    slack = 1e-14 * (p**2 + square) if on_energy else 1e-12 * np.abs(square)
    assert (np.abs(signed_square(after[:, 3]) - square) <= slack + 1e-12 * p**2 * on_energy).all()


@pytest.mark.parametrize(
    ("said", "meant"), [(3.5, 3.5 - 2 * math.pi), (-9, -9 + 2 * math.pi), (1e9, None), (math.pi, LARGEST_PHI)]
)
def test_phi_of_a_column_is_an_angle(said, meant):
    found = columns_to_jets(table((1, 0, said, 1)), ("pt", "eta", "phi", "m"))[0, 2]
    assert abs(found) <= LARGEST_PHI
    assert meant is None or abs(found) == pytest.approx(abs(meant))


def test_columns_without_bounds_are_no_warning():
    wild = table(*[[x] * 4 for x in (1e308, -1e308, 800, np.inf, -np.inf, np.nan)])
    for last in ("m", "E"):
        assert columns_to_jets(wild, ("pt", "eta", "phi", last)).shape == (6, 4)
    assert jets_to_columns(table((1e300, 10, 0, 1e300)), ("pt", "eta", "phi", "m"))[0, 0] == 1e297


def test_angles_of_a_full_turn_come_back_inside_it():
    single = np.float32(np.pi).astype(float), np.float32(FULL_TURN).astype(float)
    angles = np.array([0.0, 1.5, np.pi, single[0], 4.5, FULL_TURN, single[1]])
    found = from_full_turn(angles)
    assert np.abs(found).max() <= np.pi and found[:3].tolist() == angles[:3].tolist()
    assert np.isnan(from_full_turn(np.array([-1e-9, 6.2832, np.nan, np.inf]))).all()
    back = to_full_turn(found)
    assert back.min() >= 0 and back.max() <= LARGEST_TURN
    assert np.abs(wrap(back - angles)).max() < 5e-7
    assert to_full_turn(np.array([-5e-324]))[0] == LARGEST_TURN


@pytest.mark.parametrize("other", [np.nan, -999.0, -4.0, 7.0])
def test_most_angles_tell_which_turn_they_are_of(other):
    angles = np.array([0.1, 3.0, other, other, -0.2, 4.0, 5.0], np.float32)
    assert spans_full_turn(angles) and not spans_full_turn(angles[:-1]) and not spans_full_turn(angles[:0])
