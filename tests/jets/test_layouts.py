import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.jets.layouts import Layout

LAYOUTS = [
    ("pt", "eta", "phi", "m"),
    ("pt", "eta", "phi", "E"),
    ("px", "py", "pz", "E"),
    ("px", "py", "pz", "m"),
    ("px", "py", "pz", "m", "E"),
]
SINGLE, DOUBLE = np.dtype("<f4"), np.dtype("<f8")


def table(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


HAND = {
    ("pt", "eta", "phi", "m"): (5.0, 0.5, 0.25, -12.0),
    ("pt", "eta", "phi", "E"): (5.0, 0.0, 0.25, 13.0),
    ("px", "py", "pz", "E"): (3.0, 4.0, 12.0, 15.0),
    ("px", "py", "pz", "m"): (3.0, 4.0, 12.0, 7.0),
    ("px", "py", "pz", "m", "E"): (3.0, 4.0, 12.0, -7.0, math.sqrt(120)),
}
EXPECTED = {
    ("pt", "eta", "phi", "m"): (5.0, 0.5, 0.25, -12.0),
    ("pt", "eta", "phi", "E"): (5.0, 0.0, 0.25, 12.0),
    ("px", "py", "pz", "E"): (5.0, math.asinh(2.4), math.atan2(4, 3), math.sqrt(56)),
    ("px", "py", "pz", "m"): (5.0, math.asinh(2.4), math.atan2(4, 3), 7.0),
    ("px", "py", "pz", "m", "E"): (5.0, math.asinh(2.4), math.atan2(4, 3), -7.0),
}


@pytest.mark.parametrize("variables", LAYOUTS)
def test_jets_of_every_layout_by_hand(variables):
    assert Layout(variables).to_rows(table(HAND[variables]))[0] == pytest.approx(EXPECTED[variables], rel=1e-14)


def test_an_energy_below_the_momentum_is_a_negative_mass():
    assert Layout(LAYOUTS[2]).to_rows(table((3, 4, 12, 12)))[0, 3] == pytest.approx(-5)
    assert Layout(LAYOUTS[1]).to_rows(table((13, 0, 0, 5)))[0, 3] == pytest.approx(-12)


@pytest.mark.parametrize("variables", LAYOUTS)
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
@settings(max_examples=25)  # for each of 16 cases
@given(jet=st.tuples(st.floats(1e3, 1e7), st.floats(-5, 5), st.floats(-3.14, 3.14), st.floats(-1e2, 1e6)))
def test_layouts_are_undone(variables, dtype, scale, jet):
    layout = Layout(variables)
    p = jet[0] * math.cosh(jet[1])
    if jet[3] < 0:
        jet = (*jet[:3], -0.5 * abs(jet[3]))
    stored = layout.from_rows(table(jet), (dtype,) * 4, scale)
    units = np.array([scale if v not in ("eta", "phi") else 1.0 for v in variables])
    rounded = (stored / units).astype(dtype).astype(np.float64) * units
    back = layout.to_rows(rounded)[0]
    eps = float(np.finfo(dtype).eps)
    assert back[0] == pytest.approx(jet[0], rel=4 * eps)
    assert back[1] == pytest.approx(jet[1], abs=20 * eps)
    assert back[2] == pytest.approx(jet[2], abs=4 * eps)
    # m^2 = E^2 - p^2: only the rounding of E changes m^2, by eps E^2, because p is computed from stored values
    slack = 2 * eps * (p**2 + jet[3] ** 2) if layout.has_energy else 4 * eps * jet[3] ** 2 + 1e-70
    assert abs(back[3] * abs(back[3]) - jet[3] * abs(jet[3])) <= slack + 1e-12 * p**2 * layout.has_energy


JETS = {
    "usual": (54_321.123456789, 1.23456789, 0.987654321, 9_876.54321),
    "light": (54_321.123456789, -2.3456789, -2.987654321, 139.57),
    "massless": (54_321.123456789, 0.3456789, 3.1415, 0.0),
    "negative": (54_321.123456789, 0.0, -3.1415, -2_345.6789),
    "forward": (20_123.456789, 4.8765432, 1.5707963, 5_432.1),
}


@pytest.mark.parametrize("variables", LAYOUTS)
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("jet", JETS.values(), ids=JETS)
def test_stored_values_by_hand(variables, dtype, scale, jet):
    pt, eta, phi, m = jet
    px, py, pz = pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)
    momentum = {"pt": pt, "eta": eta, "phi": phi, "px": px, "py": py, "pz": pz}
    units = [1 if v in ("eta", "phi") else scale for v in variables[:3]]
    held = [float(dtype.type(momentum[v] / unit)) * unit for v, unit in zip(variables[:3], units, strict=True)]
    p = math.hypot(*held) if variables[0] == "px" else held[0] * math.cosh(held[1])
    stored = Layout(variables).from_rows(table(jet), (dtype,) * 4, scale)
    others = {"E": math.sqrt(p**2 + m * abs(m)), "m": m}
    assert stored[0] == pytest.approx([*held, *(others[v] for v in variables[3:])], rel=1e-14)
    # E is computed from the stored momentum: m^2 is exact up to the cancellation in float64
    back = Layout(variables).to_rows(stored)[0, 3]
    assert back * abs(back) == pytest.approx(m * abs(m), abs=4e-16 * p**2, rel=1e-14)


@pytest.mark.parametrize("variables", LAYOUTS)
def test_each_jet_is_turned_by_itself(variables):
    layout, jets = Layout(variables), table(*JETS.values())
    stored = layout.from_rows(jets, (SINGLE,) * 4, 1000.0)
    alone = [layout.from_rows(jet[None], (SINGLE,) * 4, 1000.0)[0] for jet in jets]
    assert stored == pytest.approx(np.array(alone), rel=1e-14)
    assert layout.to_rows(stored) == pytest.approx(
        np.array([layout.to_rows(row[None])[0] for row in stored]), rel=1e-14
    )


@pytest.mark.parametrize("variables", LAYOUTS)
def test_each_momentum_has_its_own_dtype(variables):
    jet = table(JETS["usual"])
    double, single = (Layout(variables).from_rows(jet, (dtype,) * 4, 1.0)[0] for dtype in (DOUBLE, SINGLE))
    for column in range(3):
        dtypes = [SINGLE if i == column else DOUBLE for i in range(4)]
        mixed = Layout(variables).from_rows(jet, tuple(dtypes), 1.0)[0, :3]
        assert mixed.tolist() == [(single if i == column else double)[i] for i in range(3)]


@pytest.mark.parametrize("variables", LAYOUTS)
def test_momenta_leave_from_rows_as_their_dtypes_hold_them(variables):
    jet = table((54_321.123456789, 1.23456789, 0.987654321, 9_876.54321))
    stored = Layout(variables).from_rows(jet, (SINGLE,) * 4, 1000.0)
    units = np.array([1000.0 if v not in ("eta", "phi") else 1.0 for v in variables])[:3]
    in_units = stored[0, :3] / units
    assert in_units == pytest.approx(in_units.astype(np.float32).astype(np.float64), rel=1e-15)


@pytest.mark.parametrize(("m", "stored"), [(-0.05, True), (-0.2, False), (-1.0, False)])
def test_a_stored_mass_is_as_negative_as_rounding_leaves_it(m, stored):
    jet = table((54_321.0, 1.2, 0.9, m))
    assert Layout(("pt", "eta", "phi", "m")).usable(jet).tolist() == [stored]
    assert Layout(("pt", "eta", "phi", "E")).usable(jet).tolist() == [True]


def test_nan_and_infinity_pass_through_without_a_warning():
    rows = table(*[(a, b, a, b, a) for a in (np.nan, np.inf, -np.inf, 0.0, 1e308) for b in (np.nan, -np.inf, 1e308)])
    for variables in LAYOUTS:
        values = rows[:, : len(variables)]
        assert Layout(variables).to_rows(values).shape == (len(rows), 4)
        assert {len(found) for found in Layout(variables).errors(values, values).values()} == {len(rows)}


def test_an_energy_is_never_the_root_of_something_negative():
    assert Layout(LAYOUTS[1]).from_rows(table((10, 0, 0, -20)), (DOUBLE,) * 4, 1.0)[0, 3] == 0


def test_layouts_are_told_apart_by_their_variables_and_stay_as_they_are():
    assert {Layout(variables): variables for variables in LAYOUTS}[Layout(tuple(LAYOUTS[2]))] == LAYOUTS[2]
    with pytest.raises(AttributeError):
        Layout(LAYOUTS[0]).variables = LAYOUTS[1]


def test_what_is_promised():
    found = [Layout(variables).promised for variables in LAYOUTS]
    with_energy, without = ("pt", "eta", "phi", "E", "m"), ("pt", "eta", "phi", "m")
    assert found == [without, with_energy, with_energy, without, with_energy]
