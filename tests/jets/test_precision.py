import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.errors import UserError
from atlasae.jets.coordinates import DRIFT, MASS_FLOOR, inner
from atlasae.jets.layouts import Layout
from atlasae.jets.precision import FULL_BOUND, PROMISED, SMALLEST, Precision, steps
from atlasae.jets.variables import JET

PT_M = Layout(("pt", "eta", "phi", "m"))
PT_E = Layout(("pt", "eta", "phi", "E"))
P_E = Layout(("px", "py", "pz", "E"))
P_M = Layout(("px", "py", "pz", "m"))
P_ME = Layout(("px", "py", "pz", "m", "E"))
DOUBLE, SINGLE = (np.dtype("<f8"),) * 4, (np.dtype("<f4"),) * 4


@pytest.mark.parametrize("text", ["1e-3", "0.001", ".001", "1E-3", " 1e-3 "])
def test_one_number_bounds_every_variable(text):
    assert Precision.parse(text) == Precision(dict.fromkeys(PROMISED, 1e-3))


def test_none_bounds_nothing():
    nothing = Precision.parse("none")
    assert nothing == Precision(dict.fromkeys(PROMISED, math.inf))
    assert nothing.of(PT_E) == dict.fromkeys(("pt", "eta", "phi", "E", "m"), math.inf)
    assert nothing.unbounded
    assert not any(Precision.parse(text).unbounded for text in ("full", "1e-3", "pt=0.99,eta=0.99,phi=0.99,m=0.99"))


def test_full_asks_for_every_bit_and_still_bounds():
    assert Precision.parse("full") == Precision(dict.fromkeys(PROMISED, FULL_BOUND), full=True)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("pt=1e-3", {"pt": 1e-3}),
        ("pt=1e-3,eta=2e-3,phi=3e-3,m=1e-2", {"pt": 1e-3, "eta": 2e-3, "phi": 3e-3, "m": 1e-2}),
        ("E=1e-4, pt=1e-3 ,phi=.5,eta=1e-7", {"E": 1e-4, "pt": 1e-3, "phi": 0.5, "eta": 1e-7}),
    ],
)
def test_each_variable_may_have_its_own_bound(text, bounds):
    assert Precision.parse(text) == Precision(bounds, full=False, everywhere=False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is no bound"),
        ("fine", "'fine' is no bound"),
        ("FULL", "'FULL' is no bound"),
        ("pt=1e-3,eta=1e-3,pt=1e-2", "names 'pt' twice"),
        ("pt=1e-3,pt=1e-3", "names 'pt' twice"),
        ("0", "'0' is no bound"),
        ("1", "'1' is no bound"),
        ("-1e-3", "'-1e-3' is no bound"),
        ("nan", "'nan' is no bound"),
        ("inf", "'inf' is no bound"),
        ("9.9e-8", "'9.9e-8' is no bound"),
        ("1e-3,1e-2", "'1e-3,1e-2' is no bound"),
        ("pt=", "'' is no bound"),
        ("pt=1e-3,", "names ''"),
        ("pt=1e-3,mass=1e-2", "names 'mass': choose from pt, eta, phi, m, E"),
        ("px=1e-3", "names 'px'"),
        ("Pt=1e-3", "names 'Pt'"),
        ("pt=1e-3;eta=1e-3", "is no bound"),
        ("pt=1e-3=1e-3", "is no bound"),
    ],
)
def test_what_is_no_precision_is_refused(text, says):
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        Precision.parse(text)
    assert f"--precision '{text}'" in str(caught.value)


def test_the_smallest_bound_is_what_float32_resolves():
    assert Precision.parse(str(SMALLEST)).bounds["pt"] == SMALLEST


def test_the_promise_is_on_the_layouts_variables():
    assert Precision.parse("1e-3").of(PT_M) == dict.fromkeys(("pt", "eta", "phi", "m"), 1e-3)
    assert Precision.parse("1e-3").of(P_E) == dict.fromkeys(("pt", "eta", "phi", "E", "m"), 1e-3)


def test_m_may_be_given_up_where_the_energy_is_stored_and_nowhere_else():
    precision = Precision.parse("pt=1e-3,eta=1e-3,phi=1e-3,E=1e-2")
    assert precision.of(PT_E) == {"pt": 1e-3, "eta": 1e-3, "phi": 1e-3, "E": 1e-2}
    with pytest.raises(UserError, match=re.escape("leaves out m, needed for jets stored as (pt, eta, phi, m)")):
        precision.of(PT_M)
    with pytest.raises(UserError, match="leaves out m"):
        precision.of(P_ME)


def test_a_bound_left_out_is_missed():
    with pytest.raises(UserError, match="leaves out eta, phi, E,"):
        Precision.parse("pt=1e-3,m=1e-3").of(P_E)


# --- steps


def rounding_of(dtypes: tuple[np.dtype, ...]) -> float:
    """The relative error of rounding to the first of these dtypes."""
    return float(np.finfo(dtypes[0]).eps) / 2


def test_steps_by_hand():
    bounds = {"pt": 1e-2, "eta": 2e-2, "phi": 3e-2, "m": 0.5}
    expected = [2 * math.log(1.01 - 3e-6), 4e-2 - 6e-6, 6e-2 - 6e-6, 2 * math.log(1.5 - 3e-6)]
    assert steps(bounds, PT_M, rounding_of(DOUBLE)) == pytest.approx(expected, rel=1e-9)


def test_pt_and_eta_share_the_bound_on_the_energy():
    bounds = dict.fromkeys(("pt", "eta", "phi", "m"), 1e-2)
    without, shared = steps(bounds, P_M, rounding_of(DOUBLE)), steps(bounds | {"E": 1e-2}, P_E, rounding_of(DOUBLE))
    assert shared == pytest.approx([without[0] / 2, without[1] / 2, without[2], without[3]], rel=1e-2)
    assert steps(bounds | {"E": 0.5}, P_E, rounding_of(DOUBLE)) == pytest.approx(without)


def test_without_a_bound_on_m_the_energy_gives_one():
    bounds = {"pt": 1e-3, "eta": 1e-3, "phi": 1e-3, "E": 2e-2}
    assert steps(bounds, PT_E, rounding_of(DOUBLE))[3] == pytest.approx(2 * math.log(1.02 - 3e-6), rel=1e-9)


@pytest.mark.parametrize("layout", [PT_M, PT_E, P_E, P_M, P_ME])
@pytest.mark.parametrize("dtypes", [SINGLE, DOUBLE])
@settings(max_examples=25)
@given(
    exponent=st.floats(1, 6),
    jet=st.tuples(st.floats(1e4, 2e6), st.floats(-2, 2), st.floats(-3.1, 3.1), st.floats(0.02, 1.5)),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 4),
)
def test_half_a_step_in_every_coordinate_keeps_every_bound(layout, dtypes, exponent, jet, signs):
    bound = 10**-exponent if dtypes is DOUBLE else max(10**-exponent, 5e-6)
    bounds = dict.fromkeys(layout.promised, bound)
    before = np.array([[*jet[:3], jet[0] * jet[3]]])
    half = np.array(steps(bounds, layout, rounding_of(dtypes))) / 2
    moved = JET.from_coordinates(JET.to_coordinates(before) + half * signs)
    values, decoded = (layout.from_rows(jets, DOUBLE, 1.0) for jets in (before, moved))
    found = layout.errors(values, decoded.astype(dtypes[0]).astype(np.float64), rounding_of(dtypes))
    assert {v: e[0] for v, e in found.items() if not e[0] <= bound} == {}


@pytest.mark.parametrize("dtypes", [SINGLE, DOUBLE])
@given(exponent=st.floats(0.1, 7))
def test_a_step_is_never_wasted_nor_gone(dtypes, exponent):
    bound = 10**-exponent
    for step in steps(dict.fromkeys(PT_M.variables, bound), PT_M, rounding_of(dtypes)):
        assert math.log1p(inner(bound)) / 2 <= step / 2 < bound
        if dtypes is DOUBLE:
            assert step / 2 >= math.log1p(inner(bound)) * (1 - 1e-6) - 1e-15


def test_room_for_other_arithmetic_by_hand():
    assert inner(1e-3) == pytest.approx(0.997e-3)
    assert inner(8e-6) == pytest.approx(6e-6)  # the margin is at most a quarter of the bound
    assert inner(math.inf) == math.inf
    assert inner(0.0) == 0.0
    assert DRIFT == 3e-6


# --- errors


def error(layout: Layout, before: tuple[float, ...], after: tuple[float, ...], rounding: float = 0.0) -> dict:
    found = layout.errors(np.array([before]), np.array([after]), rounding)
    assert tuple(found) == layout.promised
    return {variable: float(e[0]) for variable, e in found.items()}


def test_errors_by_hand():
    found = error(PT_M, (100.0, 1.0, 0.5, 1000.0), (101.0, 1.25, 0.25, 990.0))
    assert found == pytest.approx({"pt": 0.01, "eta": 0.25, "phi": 0.25, "m": 0.01})


def test_an_error_of_pt_is_relative_to_the_original():
    assert error(PT_M, (100, 0, 0, 0), (50, 0, 0, 0))["pt"] == pytest.approx(0.5)
    assert error(PT_M, (50, 0, 0, 0), (100, 0, 0, 0))["pt"] == pytest.approx(1.0)


@pytest.mark.parametrize(("a", "b"), [(3.14, -3.14), (-3.14, 3.14), (3.14, 3.14 - 2 * math.pi)])
def test_phi_is_a_circle(a, b):
    expected = min(abs(a - b), 2 * math.pi - abs(a - b))
    assert error(PT_M, (100, 0, a, 0), (100, 0, b, 0))["phi"] == pytest.approx(expected, abs=1e-12)
    assert expected < 0.004


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0, 5, 0.05),
        (0, -5, 0.05),
        (50, 60, 0.1),
        (100, 110, 0.1),
        (200, 220, 0.1),
        (-200, -180, 0.1),
        (-1000, 1000, 2.0),
        (50, 500, 4.5),  # relative to the original mass
    ],
)
def test_an_error_of_m_is_relative_to_the_mass_or_the_floor(before, after, expected):
    assert MASS_FLOOR == 100
    assert error(PT_M, (1e5, 0, 0, before), (1e5, 0, 0, after))["m"] == pytest.approx(expected)
    assert error(P_M, (6e4, 8e4, 0, before), (6e4, 8e4, 0, after))["m"] == pytest.approx(expected)


def test_errors_of_px_py_pz_are_those_of_pt_eta_phi():
    found = error(P_E, (3e4, 4e4, 12e4, 13e4), (4e4, -3e4, 0.0, 13e4))
    assert found["pt"] == pytest.approx(0, abs=1e-15)
    assert found["eta"] == pytest.approx(math.asinh(2.4))
    assert found["phi"] == pytest.approx(math.pi / 2)
    assert found["E"] == 0
    assert found["m"] == pytest.approx(12e4 / 100)


def test_an_error_of_the_energy_is_relative():
    assert error(PT_E, (5e4, 0, 0, 13e4), (5e4, 0, 0, 12e4))["E"] == pytest.approx(1 / 13)


def test_what_the_stored_floats_leave_undefined_is_no_error_of_m():
    momentum, energy, rounding = 5e4, 13e4, 1e-3
    undefined = rounding * (2 * energy**2 + 2 * momentum**2)  # of m^2 = (12e4)^2
    for sign in (1, -1):
        for beyond, expected in ((0.5, 0.0), (1.0, 0.0), (3.0, None)):
            square = 12e4**2 + sign * beyond * undefined
            found = error(PT_E, (momentum, 0, 0, energy), (momentum, 0, 0, math.sqrt(square + momentum**2)), rounding)[
                "m"
            ]
            if expected is None:
                expected = abs(math.sqrt(12e4**2 + sign * 2 * undefined) - 12e4) / 12e4  # noqa: PLW2901
            assert found == pytest.approx(expected, abs=1e-10)


def test_more_of_m_is_undefined_at_large_eta():
    # eta is rounded, too, which changes p by eta times the relative rounding
    p, eta = 1e5 * math.cosh(3), 3.0
    energy, rounding = math.hypot(p, 5e4), 1e-4
    for part, defined in ((0.99, False), (1.01, True)):
        change = part * rounding * (2 * energy**2 + 2 * p**2 * (1 + eta))
        after = math.sqrt(energy**2 + change)
        assert (error(PT_E, (1e5, eta, 0, energy), (1e5, eta, 0, after), rounding)["m"] > 0) == defined


def test_m_that_is_stored_has_no_slack():
    assert error(PT_M, (1e5, 0, 0, 1e4), (1e5, 0, 0, 1.1e4), rounding=0.1)["m"] == pytest.approx(0.1)


def test_no_number_is_no_small_error():
    for before in (np.nan, np.inf, 0.0):  # bounds are below 1
        assert not error(PT_M, (before, 0, 0, 0), (1e5, 0, 0, 0))["pt"] < 1
    assert not error(PT_E, (1e5, 0, 0, np.nan), (1e5, 0, 0, 1e6))["m"] < 1
    assert not error(PT_E, (1e5, 0, 0, 1e6), (1e5, 0, 0, np.nan))["E"] < 1


@pytest.mark.parametrize("text", ["0.001", "full", "none", "pt=0.001,eta=0.002,phi=0.003,m=0.01"])
def test_a_precision_says_what_it_is_made_of(text):
    assert Precision.parse(text).text == text
