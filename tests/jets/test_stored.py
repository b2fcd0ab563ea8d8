"""Stored columns to rows and back, in any dtypes, units and layout."""

import math

import numpy as np
import pytest
from conftest import random_jets
from helpers import DOUBLE, P_E, P_M, PT_E, PT_M, SINGLE, storage, stored, table, uniform_codec
from hypothesis import given
from hypothesis import strategies as st

from atlasae.codecs.codec import restore
from atlasae.jets.collections import Collection
from atlasae.jets.coordinates import inner
from atlasae.jets.layouts import Layout
from atlasae.jets.precision import Precision
from atlasae.jets.stored import Storage, storage_of
from atlasae.jets.variables import Variable, VariableList

any_column = st.lists(st.floats(width=32), min_size=4, max_size=4).map(lambda values: np.array(values, np.float32))


@given(st.lists(any_column, min_size=1, max_size=5), st.sampled_from([1.0, 1000.0]))
def test_columns_in_their_own_dtypes_and_units_survive_values(rows, scale):
    columns = list(np.array(rows).T)
    kept = storage(PT_M, SINGLE, scale)
    values = kept.to_values(columns)
    assert values.dtype == np.float64
    for before, after in zip(columns, kept.to_columns(values), strict=True):
        assert after.dtype == SINGLE
        np.testing.assert_array_equal(after, before)
        np.testing.assert_array_equal(np.signbit(after), np.signbit(before))


@pytest.mark.parametrize(
    ("variables", "units"), [(PT_M, (1000, 1, 1, 1000)), (PT_E, (1000, 1, 1, 1000)), (P_E, (1000,) * 4)]
)
def test_values_are_in_mev_and_radians(variables, units):
    kept = Storage(Layout(variables), (SINGLE, DOUBLE, SINGLE, DOUBLE), 1000.0)
    columns = [np.array([i + 2], dtype) for i, dtype in enumerate(kept.dtypes)]
    assert kept.to_values(columns).tolist() == [[(i + 2) * unit for i, unit in enumerate(units)]]
    assert [c.dtype for c in kept.to_columns(kept.to_values(columns))] == list(kept.dtypes)


def test_values_beyond_a_dtype_overflow_without_a_warning():
    kept = storage(PT_M, DOUBLE, 1000.0)
    signalling = np.array([0x7FF4000000000001], np.uint64).view(np.float64)
    values = kept.to_values([np.array([1e308]), np.array([1.0]), signalling, np.array([-1e308])])
    assert values[0, 0] == np.inf and values[0, 3] == -np.inf and np.isnan(values[0, 2])
    assert storage(PT_M, SINGLE).to_columns(np.array([[1e300, 0, 0, -1e300]]))[0] == np.inf


def test_a_resolution_at_a_signalling_nan_gives_no_warning():
    signalling = np.array([0x7FA00001], np.uint32).view(SINGLE)
    assert storage(PT_M, SINGLE).widths([signalling] * 4) == {}


@pytest.mark.parametrize(
    ("dtypes", "rounding"), [((DOUBLE,) * 4, 2**-53), ((SINGLE,) * 4, 2**-24), ((DOUBLE,) * 3 + (SINGLE,), 2**-24)]
)
def test_rounding_is_that_of_the_coarsest_dtype(dtypes, rounding):
    assert Storage(Layout(PT_M), dtypes, 1.0).rounding == rounding


@pytest.mark.parametrize("variables", [PT_M, PT_E, P_E, P_M])
def test_restored_columns_are_the_decoded_jets_as_they_were_stored(variables):
    kept = Storage(Layout(variables), (DOUBLE, SINGLE, DOUBLE, DOUBLE), 1000.0)
    jets, codec = random_jets(50), uniform_codec(1e-4)
    columns = restore(codec, kept, codec.encode(table(50)).T)
    assert [column.dtype for column in columns] == list(kept.dtypes)
    for before, after in zip(stored(jets, kept), columns, strict=True):
        scale = 1 if before is columns[1] else np.abs(before).max()
        assert np.abs(after - before).max() <= 1.1e-4 * scale
    assert [len(column) for column in restore(codec, kept, codec.encode(table(0)).T)] == [0] * 4


PINNED = {  # steps of log pt, eta, phi and mu at 1e-3 in the first release: files need the same bits
    (PT_M, SINGLE): (0.001992052976874609, 0.001993046374991536, 0.001993046374991536, 0.001992052976874609),
    (PT_M, DOUBLE): (0.001993006651189239, 0.0019939999999982238, 0.0019939999999982238, 0.001993006651189239),
    (P_E, SINGLE): (0.0009955496512791015, 0.0009955496061593294, 0.001993046374991536, 0.001992052976874609),
    (P_E, DOUBLE): (0.0009965033255937314, 0.0009965033255937314, 0.0019939999999982238, 0.001993006651189239),
}


@pytest.mark.parametrize(("variables", "dtype"), PINNED)
def test_steps_of_jets_are_the_same_to_the_last_bit(variables, dtype):
    kept = storage(variables, dtype)
    bounds = Precision.parse("1e-3").of(kept.layout)
    assert tuple(kept.steps(bounds, list(table(3).T))) == PINNED[variables, dtype]


def test_a_list_leaves_room_for_half_as_many_roundings_as_jets():
    listed = VariableList((Variable("x", "linear", 1e-3), Variable("y", "log", 1e-3), Variable("n", "integer")))
    kept = Storage(listed, (SINGLE, SINGLE, np.dtype("<i4")))
    half = inner(1e-3) - 4 * 2.0**-24
    expected = [2 * half, 2 * (math.log1p(inner(1e-3)) - 4 * 2.0**-24), 1.0]
    assert kept.steps(listed.bounds, list(table(3).T[:3])) == expected


def test_whole_numbers_keep_the_bound_itself():
    listed = VariableList((Variable("x", "linear", 1e-3), Variable("n", "linear", 2.0)))
    kept = Storage(listed, (DOUBLE, np.dtype("<i8")))
    assert kept.kept(listed.bounds) == {"x": inner(1e-3), "n": 2.0}
    rows = np.array([[1.0, 2.0**53], [1.0, 5.0], [np.nan, 5.0]])
    assert kept.usable(rows).tolist() == [False, True, False]  # above 2^53, float64 lacks some integers
    assert [column.tolist() for column in kept.to_columns(np.array([[0.25, 1.6]]))] == [[0.25], [2]]


@pytest.mark.parametrize("units", ["", "keV", None])
def test_units_that_are_none_are_refused(units):
    names = {variable: variable for variable in P_M}
    collection = Collection("Jet", "Jet_", names, dict.fromkeys(names, "<f4"), jagged=False, units=units)
    with pytest.raises(ValueError, match=f"units {units!r} of 'Jet' are none of MeV, GeV, TeV"):
        storage_of(collection)
