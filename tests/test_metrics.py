import math

import numpy as np
import pytest

from atlasae.metrics import half_width, half_widths, residuals


def test_residuals_by_hand():
    before = np.array([[1e5, 1.0, 3.0, 1e4], [2e5, -0.5, -3.1, 50.0], [1e5, 0.0, 0.0, -1000.0]])
    after = np.array([[1.1e5, 0.9, 3.1, 0.9e4], [1e5, -0.5, 3.1, 40.0], [1e5, 0.25, 0.0, 1000.0]])
    found = residuals(before, after)
    assert set(found) == {"pt", "eta", "phi", "m", "E"}
    assert found["pt"] == pytest.approx([0.1, -0.5, 0.0])
    assert found["eta"] == pytest.approx([-0.1, 0.0, 0.25])
    assert found["phi"] == pytest.approx([0.1, 6.2 - 2 * math.pi, 0.0])  # the short way round
    assert found["m"] == pytest.approx([-0.1, -10 / 100, 2.0])  # below 100 MeV: of 100 MeV
    energies = [
        (math.hypot(1e5 * math.cosh(1.0), 1e4), math.hypot(1.1e5 * math.cosh(0.9), 0.9e4)),
        (math.hypot(2e5 * math.cosh(0.5), 50), math.hypot(1e5 * math.cosh(0.5), 40)),
        (math.sqrt(1e10 - 1e6), math.hypot(1e5 * math.cosh(0.25), 1e3)),
    ]
    assert found["E"] == pytest.approx([b / a - 1 for a, b in energies])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(0, 101) / 10, (8.4135 - 1.5865) / 2),  # percentiles between the values
        (np.arange(0, 101) / 10 + 5, (8.4135 - 1.5865) / 2),  # where they lie is no width
        (np.array([*[0.0] * 90, *[1e9] * 5, *[-1e9] * 5]), 0.0),  # nor are a few far away
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
