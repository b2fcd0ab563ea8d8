import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.jets.residuals import (
    area_under_curve,
    back_to_back,
    by_pt,
    half_width,
    half_widths,
    leading_sum,
    mass_response,
    momentum,
    residuals,
    two_leading,
)

LN2 = math.log(2)  # cosh(ln 2) = 1.25, sinh(ln 2) = 0.75
NAN = math.nan


def jets(*rows: tuple[float, float, float, float]) -> np.ndarray:
    """Jets as an array (n x 4: pt, eta, phi, m)."""
    return np.array(rows, float).reshape(-1, 4)


def test_residuals_by_hand():
    before = np.array([[1e5, 1.0, 3.0, 1e4], [2e5, -0.5, -3.1, 50.0], [1e5, 0.0, 0.0, -1000.0]])
    after = np.array([[1.1e5, 0.9, 3.1, 0.9e4], [1e5, -0.5, 3.1, 40.0], [1e5, 0.25, 0.0, 1000.0]])
    found = residuals(before, after)
    assert set(found) == {"pt", "eta", "phi", "m", "E", "px", "py", "pz"}
    assert found["pt"] == pytest.approx([0.1, -0.5, 0.0])
    assert found["eta"] == pytest.approx([-0.1, 0.0, 0.25])
    assert found["phi"] == pytest.approx([0.1, 6.2 - 2 * math.pi, 0.0])  # wrapped
    assert found["m"] == pytest.approx([-0.1, -10 / 100, 2.0])  # below 100 MeV: relative to 100 MeV
    energies = [
        (math.hypot(1e5 * math.cosh(1.0), 1e4), math.hypot(1.1e5 * math.cosh(0.9), 0.9e4)),
        (math.hypot(2e5 * math.cosh(0.5), 50), math.hypot(1e5 * math.cosh(0.5), 40)),
        (math.sqrt(1e10 - 1e6), math.hypot(1e5 * math.cosh(0.25), 1e3)),
    ]
    assert found["E"] == pytest.approx([b / a - 1 for a, b in energies])


def test_residuals_of_momenta_by_hand():
    before = jets((100, LN2, 0, 0), (100, -LN2, 0, 1e9), (200, 0, math.pi / 2, 0))
    after = jets((110, LN2, math.pi / 2, 7), (90, -LN2, math.pi, 0), (200, LN2, math.pi / 2, 0))
    px, py, pz = momentum(before).T
    assert [px, py, pz] == [pytest.approx(values) for values in ([100, 100, 0], [0, 0, 200], [75, -75, 0])]
    found = residuals(before, after)
    assert found["px"] == pytest.approx([-100 / 100, (-90 - 100) / 100, 0])  # relative to pt
    assert found["py"] == pytest.approx([110 / 100, 0, 0])
    assert found["pz"] == pytest.approx([(82.5 - 75) / 125, (-67.5 + 75) / 125, 150 / 200])  # relative to |p|


def test_jets_that_did_not_change_have_no_residual():
    same = jets((1e5, 1.0, 3.0, 1e4), (2e5, -4.9, -math.pi, -50), (1e4, 0, math.pi, 0))
    assert {v: r.tolist() for v, r in residuals(same, same).items()} == dict.fromkeys(residuals(same, same), [0, 0, 0])


def test_residuals_of_what_is_no_number_are_none():
    before, after = jets((1e5, 1, 0, 10), (1e5, 1, 0, 10)), jets((NAN,) * 4, (1e5, 1e4, 0, 10))
    found = residuals(before, after)  # raises no warning
    assert [math.isnan(residual[0]) for residual in found.values()] == [True] * 8
    assert (found["E"][1], found["pz"][1]) == (math.inf, math.inf)


def test_the_mass_response_by_hand():
    before, after = np.zeros((2, 5, 4))
    before[:, 3] = 1000, 500, 501, -1000, 2000
    after[:, 3] = 1100, 7, 0, 5, -30
    assert mass_response(before, after) == pytest.approx([0.1, -1, -1])  # 500 MeV is not above 0.5 GeV, -30 counts as 0


def test_the_mass_response_of_light_jets_is_empty():
    assert mass_response(np.ones((2, 4)), np.ones((2, 4))).tolist() == []
    assert mass_response(np.zeros((0, 4)), np.zeros((0, 4))).tolist() == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(0, 101) / 10, (8.4135 - 1.5865) / 2),  # percentiles between the values
        (np.arange(0, 101) / 10 + 5, (8.4135 - 1.5865) / 2),  # an offset does not change the width
        (np.array([*[0.0] * 90, *[1e9] * 5, *[-1e9] * 5]), 0.0),  # nor do 10 % of outliers
        (np.array([-2.0, 2.0]), 2 * 0.6827),
        (np.array([3.0]), 0.0),
    ],
)
def test_a_half_width_by_hand(values, expected):
    assert half_width(values) == pytest.approx(expected)
    assert half_width(-values[::-1]) == pytest.approx(expected)


def test_the_half_width_of_a_normal_distribution_is_its_sigma():
    assert half_width(np.random.default_rng(1).normal(7, 0.3, 100_000)) == pytest.approx(0.3, rel=0.01)


def test_no_jets_have_no_width():
    assert math.isnan(half_width(np.zeros(0)))
    assert {v: math.isnan(w) for v, w in half_widths({"pt": np.zeros(0), "m": np.ones(3)}).items()} == {
        "pt": True, "m": False,
    }  # fmt: skip


# --- events


@pytest.mark.parametrize(
    ("event", "mass"),
    [
        ([(50, 0, 0, 0), (50, 0, math.pi, 0)], 100),  # back to back
        ([(30, 0, 0, 0), (40, 0, math.pi / 2, 0)], math.sqrt(70**2 - 50**2)),
        ([(1, LN2, 1, 0), (1, -LN2, 1, 0)], math.sqrt(2.5**2 - 2**2)),  # forward and backward
        ([(3, 0, 0, 4), (3, 0, math.pi, 4)], 10),  # the jets' own masses are included
        ([(5, 0, 0, -4), (5, 0, math.pi, -4)], 6),  # a negative mass lowers E
        ([(5, 0, 0, -4), (5, 0, 0, -4)], 0),  # E < p: the mass is 0
        (
            [(5, 0, 0, 9), (30, 0, 0, 0), (6, 1, 1, 3), (40, 0, math.pi / 2, 0)],
            math.sqrt(70**2 - 50**2),
        ),  # leading in pt, not in m
        ([(5, 0, 0, 9)], NAN),
        ([], NAN),
    ],
)
def test_a_dijet_mass_by_hand(event, mass):
    assert two_leading(jets(*event), np.array([len(event)])) == pytest.approx([mass], nan_ok=True)
    turned = [(pt, -eta, phi - 1, m) for pt, eta, phi, m in reversed(event)]
    assert two_leading(jets(*turned), np.array([len(event)])) == pytest.approx([mass], nan_ok=True)


def test_dijet_masses_are_of_their_own_events():
    events = [(9, 0, 0, 0)], [], [(1, 0, 0, 0), (1, 0, math.pi, 0), (0.5, 3, 0, 7)], [(2, 0, 0, 0), (2, 0, math.pi, 0)]
    found = two_leading(jets(*sum(events, [])), np.array([1, 0, 3, 2]))
    assert found == pytest.approx([NAN, NAN, 2, 4], nan_ok=True)
    assert two_leading(np.zeros((0, 4)), np.zeros(0, int)).tolist() == []


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ([(61e3, 0, 0, 0), (61e3, 3, math.pi, 0)], True),
        ([(61e3, 0, 3.0, 0), (61e3, 0, -0.4, 0)], True),  # 2.88 apart, wrapped
        ([(61e3, 0, 3.0, 0), (61e3, 0, -3.0, 0)], False),
        ([(61e3, 0, 0, 0), (61e3, 0, 2.51, 0)], True),
        ([(61e3, 0, 0, 0), (61e3, 0, -2.49, 0)], False),
        ([(61e3, 0, 0, 0), (59e3, 0, math.pi, 0)], False),
        ([(50e3, 0, 1, 0), (61e3, 0, 0, 0), (99e3, 0, math.pi, 0)], True),  # the third jet has no effect
        ([(70e3, 0, 0.1, 0), (61e3, 0, 0, 0), (99e3, 0, math.pi, 0)], True),
        ([(99e3, 0, 0, 0)], False),
        ([], False),
    ],
)
def test_what_is_back_to_back_by_hand(event, expected):
    found = back_to_back(jets((99e3, 0, 0, 0), *event), np.array([1, len(event)]))
    assert found.tolist() == [False, expected]


def test_ht_is_the_pt_of_the_leading_jets():
    pt = [7, 100, 1, 10, 5, 3, 2, 1000]
    rows, counts = jets(*[(p, 1, 2, 3) for p in pt]), np.array([6, 0, 1, 1])
    assert leading_sum(rows, counts) == pytest.approx([100 + 10 + 7 + 5, NAN, 2, 1000], nan_ok=True)
    assert leading_sum(rows, counts, leading=1) == pytest.approx([100, NAN, 2, 1000], nan_ok=True)
    assert leading_sum(rows, counts, leading=99) == pytest.approx([126, NAN, 2, 1000], nan_ok=True)
    assert leading_sum(np.zeros((0, 4)), np.zeros(2, int)) == pytest.approx([NAN, NAN], nan_ok=True)


def test_jets_are_put_in_falling_pt_within_their_events():
    rows = jets(*[(p, 0, 0, 0) for p in (1, 3, 2, 9, 4, 4, 5, 4)])
    assert by_pt(rows, np.array([3, 0, 1, 4])).tolist() == [1, 2, 0, 3, 6, 4, 5, 7]  # equal pt keep their order


# --- two samples


@pytest.mark.parametrize(
    ("before", "after", "area", "error"),
    [
        ([0, 1], [0.5, 2], 0.75, 0),
        ([0, 1, 2], [3, 0.5, 1.5], 2 / 3, 1 / 3),  # shares 1, 1/3, 2/3 and 1, 2/3, 1/3: sums with a variance of 1/3
        ([5, 5, 5], [5, 5, 5], 0.5, 0),
        ([1, 2, 3], [1, 2, 3], 0.5, 0),
        ([1, 2], [3, 4], 1, 0),
        ([3, 4], [1, 2], 0, 0),
        ([0], [1], 1, 0),  # one jet has no spread
    ],
)
def test_an_area_under_the_curve_by_hand(before, after, area, error):
    found = area_under_curve(np.array(before, float), np.array(after, float))
    assert found == pytest.approx((area, error), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_an_area_under_the_curve_is_the_share_of_pairs_in_order(scores):
    before, after = np.array(scores, float).T
    above = (after[:, None] > before[None]).mean() + (after[:, None] == before[None]).mean() / 2
    assert area_under_curve(before, after)[0] == pytest.approx(above)


@pytest.mark.parametrize("alike", [0.0, 0.8, 0.99])
def test_the_error_of_an_area_is_how_much_it_varies(alike):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        common, one, other = rng.normal(size=(3, 200))
        parts = [np.sqrt(alike) * common + np.sqrt(1 - alike) * own for own in (one, other)]
        found.append(area_under_curve(parts[0], parts[1] + 0.3))
    areas, errors = np.array(found).T
    assert errors.mean() == pytest.approx(areas.std(), rel=0.15)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_the_order_of_jets_in_an_event_changes_no_measure(counts, seed):
    rng = np.random.default_rng(seed)
    n, counts = sum(counts), np.array(counts)
    rows = np.column_stack([rng.permutation(n) + 1.0, rng.normal(size=(n, 3))])
    events = np.repeat(np.arange(len(counts)), counts)
    mixed = rows[np.lexsort((rng.random(n), events))]
    for measure in (two_leading, leading_sum):
        assert measure(mixed, counts) == pytest.approx(measure(rows, counts), nan_ok=True)
