import numpy as np
import pytest

from atlasae.jets.columns import RUN, in_runs, same_bits


def test_bits_are_compared_and_not_numbers():
    before = [np.array([0.0, np.nan, 1.0, 2.0]), np.array([1, 2, 3, 4], np.int16)]
    after = [np.array([-0.0, np.nan, 1.0, np.nextafter(2.0, 3)]), np.array([1, 2, 4, 4], np.int16)]
    assert same_bits(before, after).tolist() == [False, True, False, False]


@pytest.mark.parametrize("dtype", [">f4", "<f8"])
def test_bits_are_those_in_the_types_of_the_first(dtype):
    before = [np.array([0.5, 0.1, -3.0], np.float32)]
    assert same_bits(before, [before[0].astype(dtype)]).all()
    assert not same_bits(before, [before[0].astype(dtype) + np.float32(1)]).any()


@pytest.mark.parametrize(("n", "most", "taken"), [(0, 10, 0), (7, None, 7), (900, 900, 900), (2600, 1000, 1000)])
def test_a_sample_has_runs_of_rows(n, most, taken):
    one, other = in_runs([np.arange(n), np.arange(n) % 7], most)
    assert len(one) == taken and np.array_equal(other, one % 7)
    starts = one[1:][np.diff(one) != 1]
    assert (starts % RUN == 0).all() and (taken == n) == (len(starts) == 0)
