"""Compiled passes over jets find the cells, columns, errors and checksums that NumPy finds, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atlasae.codecs.codec import encode_and_compare
from atlasae.codecs.lattice import CompiledJets, Lattice, ShiftedLattice
from atlasae.jets.layouts import Layout
from atlasae.jets.stored import Storage
from atlasae.native.library import library

pytestmark = pytest.mark.skipif(library() is None, reason="nothing is compiled")
NAMES = ("pt", "eta", "phi", "m")
BOUNDS = dict.fromkeys(NAMES, 1e-3)
STRANGE = [-0.05, 0.0, -0.0, -1.0, 1.0, 1e30, -1e30, np.inf, -np.inf, np.nan, np.pi, 3.1415925, 100.0, 99.99, 1e-30]
LIKELY = ((20.0, 9000.0), (-10.1, 10.1), (-3.15, 3.15), (0.0, 300.0))


@st.composite
def columns_of_jets(draw: st.DrawFn) -> list[np.ndarray]:
    """Columns of up to 40 jets, many likely ones with some numbers that no jet has."""
    n = draw(st.integers(0, 40))
    types = draw(st.lists(st.sampled_from([np.float32, np.float64]), min_size=4, max_size=4))
    return [
        draw(arrays(dtype, n, elements=st.sampled_from(STRANGE) | st.floats(low, high))).astype(dtype)
        for dtype, (low, high) in zip(types, LIKELY, strict=True)
    ]


@settings(max_examples=150)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@given(
    columns_of_jets(),
    st.sampled_from([1.0, 1000.0]),
    st.tuples(*[st.booleans()] * 4),
    st.integers(0, 2**31 - 1),
    st.sampled_from([1e-4, 2e-3, 0.5]),
)
def test_they_are_those_of_numpy(columns, scale, shifted, key, step):
    storage = Storage(Layout(NAMES), tuple(column.dtype for column in columns), scale)
    lattice, indices = Lattice((step,) * 4, shifted), np.arange(len(columns[0]))
    compiled = CompiledJets.of(lattice, storage, key, indices, columns)
    assert compiled is not None
    found = compiled.encode_and_compare(BOUNDS, columns, 1e-6)
    if len(indices):
        expected = encode_and_compare(PlainShifted(lattice, key, indices), storage, BOUNDS, columns, 1e-6)
        assert np.array_equal(found.latents, expected.latents) and np.array_equal(found.exact, expected.exact)
        assert (found.largest, found.restored) == (expected.largest, expected.restored)
        plain = storage.to_columns(storage.from_rows(PlainShifted(lattice, key, indices).decode(expected.latents)))
        assert [x.tobytes() for x in compiled.decode(found.latents.T)] == [x.tobytes() for x in plain]


class PlainShifted(ShiftedLattice):
    """The grid without what is compiled."""

    def part(self, rows: slice) -> "PlainShifted":
        return PlainShifted(self.lattice, self.key, self.indices[rows])

    def encode(self, rows: np.ndarray) -> np.ndarray:
        return self.lattice.cells(rows, self.offsets)[0].T


def test_several_blocks_are_one_after_the_other():
    rng = np.random.default_rng(1)
    columns = [rng.uniform(*limits, 40_000).astype(np.float32) for limits in LIKELY]
    storage = Storage(Layout(NAMES), (np.dtype(np.float32),) * 4, 1000.0)
    lattice, indices = Lattice((2e-3,) * 4, (True,) * 4), np.arange(40_000)
    compiled = CompiledJets.of(lattice, storage, 5, indices, columns)
    found = compiled.encode_and_compare(BOUNDS, columns, 1e-6)
    expected = encode_and_compare(PlainShifted(lattice, 5, indices), storage, BOUNDS, columns, 1e-6)
    assert np.array_equal(found.latents, expected.latents) and found.restored == expected.restored
    assert found.largest == expected.largest and 0 < found.exact.sum() < 10_000


def test_columns_that_are_not_contiguous_or_of_other_types_are_left_to_numpy():
    storage = Storage(Layout(NAMES), (np.dtype(np.float32),) * 4, 1000.0)
    lattice, indices = Lattice((2e-3,) * 4), np.arange(3)
    there = [np.ones(3, np.float32)] * 4
    assert CompiledJets.of(lattice, storage, 0, indices, there)
    for other in (np.ones(6, np.float32)[::2], np.ones(3), np.ones(3, np.int32)):
        assert CompiledJets.of(lattice, storage, 0, indices, [*there[:3], other]) is None
    with pytest.raises(ValueError, match="stored"):
        CompiledJets.of(lattice, storage, 0, indices).jets.encode([np.ones(2, np.float32)] * 4)
