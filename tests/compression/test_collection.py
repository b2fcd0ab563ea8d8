"""What becomes of a collection, chunk by chunk."""

import numpy as np
import pytest

from atlasae.compression.collection import Counted, merge_largest


@pytest.mark.parametrize(
    ("found", "largest"),
    [
        ([], {}),
        ([{}], {}),
        ([{}, {"pt": 0.1, "m": 0.0}, {"pt": 0.05, "m": 0.2}, {"eta": 0.3}], {"pt": 0.1, "m": 0.2, "eta": 0.3}),
    ],
)
def test_the_largest_error_is_taken_variable_by_variable(found, largest):
    assert merge_largest(iter(found)) == largest


def test_chunks_add_up():
    counted = Counted()
    for exact, error in (([True, False], 0.1), ([False], 0.3)):
        counted.count([np.zeros(len(exact), np.float32)] * 4, np.array(exact), {"pt": error})
    assert (counted.jets, counted.exact_jets, counted.bytes_in, counted.max_error) == (3, 1, 48, {"pt": 0.3})
