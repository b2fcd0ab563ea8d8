"""The resolution of a detector: its coordinate, its defaults, and how they are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlasae.errors import UserError
from atlasae.jets.resolution import EXPERIMENTS, Resolution, read_resolutions, widening
from atlasae.report import bound_text

RESOLUTIONS = st.builds(Resolution, st.floats(0, 100), st.floats(0, 10), st.floats(1e-3, 1))
PT = st.floats(500, 2e7)  # MeV


def sigma(found: Resolution, pt: float) -> float:
    """The relative resolution, in the terms of the formula."""
    gev = pt / 1000
    return float((found.noise**2 / gev**2 + found.stochastic**2 / gev + found.constant**2) ** 0.5)


@given(RESOLUTIONS, PT)
def test_the_coordinate_of_pt_changes_by_1_per_resolution(resolution, pt):
    step = 1e-4 * pt * min(1.0, sigma(resolution, pt))
    low, high = resolution.coordinate(np.array([pt - step, pt + step]))
    assert (high - low) / (2 * step) * pt * sigma(resolution, pt) == pytest.approx(1, rel=1e-4)


@given(RESOLUTIONS, PT)
def test_pt_comes_back_from_its_coordinate(resolution, pt):
    assert resolution.pt(resolution.coordinate(np.array([pt])))[0] == pytest.approx(pt, rel=1e-9)


@given(RESOLUTIONS, PT, st.floats(1, 10))
def test_no_step_widens_faster_than_the_steepest(resolution, pt, factor):
    above = pt * factor
    rise = above * sigma(resolution, above) - pt * sigma(resolution, pt)
    assert rise <= resolution.steepest(pt) * (above - pt) * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize(
    ("experiment", "gev", "published"),
    [("atlas", 20, 0.24), ("atlas", 300, 0.06), ("cms", 100, 0.10), ("cms", 1000, 0.05)],
)
def test_defaults_of_pt_are_near_published_numbers(experiment, gev, published):
    found = EXPERIMENTS[experiment]["pt"].of(np.array([gev * 1000.0]))[0]
    assert found == pytest.approx(published, rel=0.03)


def test_terms_can_be_given_and_e_has_those_of_pt():
    found = read_resolutions("cms,m=0:1:0.2,pt=3:0.8:0.04")
    assert found["m"] == Resolution(0, 1, 0.2) and found["eta"] == EXPERIMENTS["cms"]["eta"]
    assert found["E"] == found["pt"] == Resolution(3, 0.8, 0.04)
    assert str(found["m"]) == "0:1:0.2"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lhcb", "'lhcb' is none of atlas, cms"),
        ("atlas,E=1:1:1", "names 'E'"),
        ("atlas,m=1:1", "'1:1' is not N:S:C"),
        ("atlas,m=0:1:0", "C from 0.001 to 1"),
        ("atlas,m=-1:1:0.1", "N is from 0"),
        ("atlas,m=nan:1:0.1", "N is from 0"),
    ],
)
def test_other_texts_are_refused(text, told):
    with pytest.raises(UserError, match=told):
        read_resolutions(text)


def test_a_twentieth_in_quadrature_widens_by_an_eighth_of_a_per_cent():
    assert widening(1 / 20) == pytest.approx(0.00125, rel=1e-3)
    assert bound_text(1 / 20, True) == "resolution/20" and bound_text(1e-3, False) == "0.001"
