"""What figures are told: labels, quantities, and a bar for the jets below an axis."""

import numpy as np
import pytest

from atlasae.reports.panels import QUANTITIES, Counted, Label, is_logarithmic


def test_a_label_gets_a_note_and_small_print_and_keeps_the_rest():
    label = Label("Internal", "ATLAS", "13", "140").with_note("Jet").with_source("in.root")
    assert label == Label("Internal", "ATLAS", "13", "140", "Jet", "in.root")


def test_masses_are_drawn_in_gev_and_angles_as_they_are():
    assert (QUANTITIES["m"].axis, QUANTITIES["m"].scale) == ("$m$ [GeV]", 1e-3)
    assert (QUANTITIES["eta"].axis, QUANTITIES["eta"].scale) == (r"$\eta$", 1.0)


@pytest.mark.parametrize("edges", [np.geomspace(10, 1000, 25), np.linspace(-5, 5, 25)])
def test_jets_below_an_axis_have_a_wide_bin_between_two_empty_ones(edges):
    counted = Counted(edges, [1] * 24, [2] * 24, [3] * 24, (7, 8, 9), 10).with_underflow()
    assert (counted.before[:4], counted.after[:4], counted.moved[:4]) == ([0, 7, 0, 1], [0, 8, 0, 2], [0, 9, 0, 3])
    assert len(counted.edges) == 28 and (np.diff(counted.edges) > 0).all()
    assert is_logarithmic(np.asarray(counted.edges)) == is_logarithmic(edges)


def test_other_units_scale_edges_and_the_limit_alone():
    counted = Counted([1000.0, 2000.0], [1], [1], [0], (1, 1, 0), 500.0).scaled(1e-3)
    assert list(counted.edges) == [1, 2] and (counted.lowest, counted.before, counted.below) == (0.5, [1], (1, 1, 0))
