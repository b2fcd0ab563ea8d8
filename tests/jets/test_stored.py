"""Stored columns to rows and back, in any dtypes, units and layout."""

import numpy as np
import pytest
from conftest import random_jets
from helpers import DOUBLE, P_E, P_M, PT_E, PT_M, SINGLE, storage, stored, table, uniform_codec
from hypothesis import given
from hypothesis import strategies as st

from atlasae.codecs.codec import restore
from atlasae.jets.layouts import Layout
from atlasae.jets.stored import Storage

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


@pytest.mark.parametrize(
    ("dtypes", "rounding"), [((DOUBLE,) * 4, 2**-53), ((SINGLE,) * 4, 2**-24), ((DOUBLE,) * 3 + (SINGLE,), 2**-24)]
)
def test_rounding_is_that_of_the_coarsest_dtype(dtypes, rounding):
    assert Storage(Layout(PT_M), dtypes, 1.0).rounding == rounding


@pytest.mark.parametrize("variables", [PT_M, PT_E, P_E, P_M])
def test_restored_columns_are_the_decoded_jets_as_they_were_stored(variables):
    kept = Storage(Layout(variables), (DOUBLE, SINGLE, DOUBLE, DOUBLE), 1000.0)
    jets, codec = random_jets(50), uniform_codec(1e-4)
    columns = restore(codec, kept, codec.encode(table(50)))
    assert [column.dtype for column in columns] == list(kept.dtypes)
    for before, after in zip(stored(jets, kept), columns, strict=True):
        scale = 1 if before is columns[1] else np.abs(before).max()
        assert np.abs(after - before).max() <= 1.1e-4 * scale
    assert [len(column) for column in restore(codec, kept, codec.encode(table(0)))] == [0] * 4
