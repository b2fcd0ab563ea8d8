"""Compiled passes over jets find the cells, columns, errors and checksums that NumPy finds, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atlasae.codecs.codec import encode_and_compare, encode_in_passes
from atlasae.codecs.lattice import LOW, Lattice, ShiftedLattice, jet_pass
from atlasae.jets.layouts import Layout
from atlasae.jets.stored import Storage
from atlasae.native import library as native
from atlasae.native.library import library

pytestmark = pytest.mark.skipif(library() is None, reason="nothing is compiled")
NAMES, ENERGIES = ("pt", "eta", "phi", "m"), ("pt", "eta", "phi", "E")
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
    st.sampled_from([NAMES, ENERGIES]),
    st.booleans(),
    st.tuples(*[st.booleans()] * 4),
    st.integers(0, 2**31 - 1),
    st.sampled_from([1e-4, 2e-3, 0.5]),
)
def test_they_are_those_of_numpy(columns, scale, names, full_turn, shifted, key, step):
    storage = Storage(Layout(names, full_turn), tuple(column.dtype for column in columns), scale)
    lattice, indices = Lattice((step,) * 4, shifted), np.arange(len(columns[0]))
    passed, bounds = jet_pass(lattice, storage, key, indices, columns), dict.fromkeys(storage.layout.promised, 1e-3)
    assert passed is not None
    found = encode_in_passes(passed, storage, bounds, columns, 1e-6)
    if len(indices):
        expected = encode_and_compare(PlainShifted(lattice, key, indices), storage, bounds, columns, 1e-6)
        assert np.array_equal(found.latents, expected.latents) and np.array_equal(found.exact, expected.exact)
        assert (found.largest, found.restored) == (expected.largest, expected.restored)
        plain = storage.to_columns(storage.from_rows(PlainShifted(lattice, key, indices).decode(expected.latents)))
        passed.decode(found.latents.T, made := [np.empty_like(column) for column in columns])
        assert [x.tobytes() for x in made] == [x.tobytes() for x in plain]


class PlainShifted(ShiftedLattice):
    """The grid without what is compiled."""

    def part(self, rows: slice) -> "PlainShifted":
        return PlainShifted(self.lattice, self.key, self.indices[rows])

    def encode(self, rows: np.ndarray) -> np.ndarray:
        return self.lattice.cells(rows, self.offsets)[0].T


@pytest.fixture
def called(monkeypatch):
    """The names of the compiled functions that are called."""
    names, call = [], native.call
    monkeypatch.setattr(native, "call", lambda name, *given: names.append(name) or call(name, *given))
    return names


def cells_and_those_of_numpy(columns: list[np.ndarray], step: float, shifted: bool) -> tuple[np.ndarray, np.ndarray]:
    storage = Storage(Layout(NAMES), (np.dtype(np.float64),) * 4)
    lattice, indices = Lattice((step,) * 4, (shifted,) * 4), np.arange(len(columns[0]))
    plain = PlainShifted(lattice, 3, indices).encode(np.stack(columns, axis=1))
    return jet_pass(lattice, storage, 3, indices, columns).encode(columns), plain.T


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("massive", [False, True])
def test_where_a_jet_may_be_beyond_an_edge_numpy_takes_the_logarithms(massive, shifted, called):
    step, n = 2e-3, 200
    offsets = ShiftedLattice(Lattice((step,) * 4, (shifted,) * 4), 3, np.arange(n)).offsets
    edges = np.arange(1000, 1000 + n) - offsets[3 if massive else 0]
    pt, m = np.full(n, 50_000.0), np.full(n, 5_000.0)
    if massive:
        m = 100 * np.exp(LOW[3] + (edges + 10_000) * step - 1)
    else:
        pt = np.exp(LOW[0] + edges * step)
    found, expected = cells_and_those_of_numpy([pt, np.full(n, 0.1), np.full(n, 0.1), m], step, shifted)
    assert np.array_equal(found, expected)
    assert called == ["atlasae_estimate_cells", "atlasae_before_logs", "atlasae_to_cells"]


def test_other_jets_need_no_logarithms_of_numpy(called):
    rng = np.random.default_rng(8)
    columns = [np.exp(rng.uniform(5, 18, 10_000)), *(rng.uniform(*limits, 10_000) for limits in LIKELY[1:3])]
    mass = rng.choice([-0.5, 0.0, 1e-320, 99.0, 100.0, np.inf, np.nan], 10_000)
    mass[::2] = np.exp(rng.uniform(-10, 20, 5_000))
    found, expected = cells_and_those_of_numpy([*columns, mass], 2e-3, True)
    assert np.array_equal(found, expected) and called == ["atlasae_estimate_cells"]


def test_several_blocks_are_one_after_the_other():
    rng = np.random.default_rng(1)
    columns = [rng.uniform(*limits, 40_000).astype(np.float32) for limits in LIKELY]
    storage = Storage(Layout(NAMES), (np.dtype(np.float32),) * 4, 1000.0)
    lattice, indices = Lattice((2e-3,) * 4, (True,) * 4), np.arange(40_000)
    bounds = dict.fromkeys(NAMES, 1e-3)
    found = encode_in_passes(jet_pass(lattice, storage, 5, indices, columns), storage, bounds, columns, 1e-6)
    expected = encode_and_compare(PlainShifted(lattice, 5, indices), storage, bounds, columns, 1e-6)
    assert np.array_equal(found.latents, expected.latents) and found.restored == expected.restored
    assert found.largest == expected.largest and 0 < found.exact.sum() < 10_000


def test_columns_that_are_not_contiguous_or_of_other_types_are_left_to_numpy():
    storage = Storage(Layout(NAMES), (np.dtype(np.float32),) * 4, 1000.0)
    lattice, indices = Lattice((2e-3,) * 4), np.arange(3)
    there = [np.ones(3, np.float32)] * 4
    assert jet_pass(lattice, storage, 0, indices, there)
    for other in (np.ones(6, np.float32)[::2], np.ones(3), np.ones(3, np.int32)):
        assert jet_pass(lattice, storage, 0, indices, [*there[:3], other]) is None
    with pytest.raises(ValueError, match="stored"):
        jet_pass(lattice, storage, 0, indices).encode([np.ones(2, np.float32)] * 4)
