"""Compiled passes along the chain make the words, columns, errors and checksums that NumPy makes, bit for bit."""

import math
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atlasae.codecs.codec import Encoded, encode_and_compare, encode_in_passes, encode_within, restore
from atlasae.codecs.dither import NO_DITHER, WEIGHT, Dither
from atlasae.codecs.floats import FloatsCodec
from atlasae.codecs.grid import Digit, Grid, WordLayout, jet_words, likely_pairs, likely_words, radices
from atlasae.codecs.model import default_model
from atlasae.codecs.walk import NODES, Link, Weights
from atlasae.jets.layouts import Layout
from atlasae.jets.stored import Storage
from atlasae.native import library as native
from atlasae.native.library import library

pytestmark = pytest.mark.skipif(library() is None, reason="nothing is compiled")
LAYOUTS = [Layout((*("pt", "eta", "phi"), last), turn) for last in ("m", "E") for turn in (False, True)]
STRANGE = [-0.05, 0.0, -0.0, -1.0, 1.0, 1e30, -1e30, np.inf, -np.inf, np.nan, np.pi, 3.1415925, 6.2831855, 6.3, 1e-310]
GEV, MEV = 1000.0, 1.0
LIKELY = ((0.4, 9000.0), (-10.1, 10.1), (-3.15, 6.3), (-0.1, 300.0))  # in GeV
BOUNDS = dict.fromkeys(LAYOUTS[0].promised, 1e-2)
ENDS = default_model().chain.weights.ends
DITHERS = [
    NO_DITHER,
    Dither((0, 1, 2), (1, 2), WEIGHT, rounds=0),
    Dither((0, 1, 2), (1, 2)),
    Dither((0, 1, 2, 3), (2,), rounds=1),
    Dither((0, 2), (0,), WEIGHT),
    Dither((0, 1, 3)),
]


@cache
def grid_of(step: float, dither: Dither, narrow: bool, nodes: int, words: int) -> Grid:
    """A grid with these steps over the range of the model, or over the middle of it."""
    cells = tuple((high - low) / step for low, high in ENDS)
    ranges = [(int(n * 0.3), int(n * 0.6)) if narrow else (0, math.ceil(n)) for n in cells]
    windows = [dither.window(i, *limits) for i, limits in enumerate(ranges)]
    first, levels = (tuple(numbers) for numbers in zip(*windows, strict=True))
    return Grid(0.0, cells, first, levels, arranged(levels, words), dither, nodes)


def arranged(levels: tuple[int, ...], place: int) -> WordLayout:
    """One of the arrangements of cells in words that are measured."""
    rng = np.random.default_rng(1)
    cells = [rng.integers(0, n, 100) for n in levels]
    ways = [jet_words(levels, radices(levels))]
    for likely in (likely_words, likely_pairs):
        ways += islice(likely(cells, levels, lambda word: float(word.std())), 2)
    return ways[place % len(ways)]


@st.composite
def columns_of_jets(draw: st.DrawFn) -> list[np.ndarray]:
    """Columns of up to 40 jets, many likely ones with some numbers that no jet has."""
    n = draw(st.integers(0, 40))
    types = draw(st.lists(st.sampled_from([np.float32, np.float64]), min_size=4, max_size=4))
    with np.errstate(over="ignore"):
        return [
            draw(arrays(np.float64, n, elements=st.sampled_from(STRANGE) | st.floats(low, high))).astype(dtype)
            for dtype, (low, high) in zip(types, LIKELY, strict=True)
        ]


class Plain(FloatsCodec):
    """The codec without what is compiled."""

    def passes(self, storage, columns, wanted=None):
        return None


def check_same(found: Encoded, expected: Encoded) -> None:
    assert np.array_equal(found.latents.view(np.float32), expected.latents)
    assert np.array_equal(found.exact, expected.exact)
    assert (found.largest, found.restored) == (expected.largest, expected.restored)


def check_like_numpy(codec: FloatsCodec, storage: Storage, columns: list[np.ndarray], bounds: dict[str, float]) -> None:
    """Check that passes make what NumPy makes."""
    passed, plain = codec.passes(storage, columns), Plain(codec.chain, codec.grid)
    assert passed is not None
    check_same(encode_in_passes(passed, storage, bounds, columns), encode_and_compare(plain, storage, bounds, columns))
    latents = encode_within(plain, storage, bounds, columns).latents
    check_same_columns(codec, plain, storage, latents, None)


def check_same_columns(codec: FloatsCodec, plain: Plain, storage: Storage, latents: np.ndarray, wanted: object) -> None:
    made, expected = (restore(one, storage, latents.T, wanted) for one in (codec, plain))
    asked = range(4) if wanted is None else wanted
    assert [made[i].tobytes() for i in asked] == [expected[i].tobytes() for i in asked]


def storage_of(layout: Layout, columns: list[np.ndarray], unit: float = GEV) -> Storage:
    return Storage(layout, tuple(column.dtype for column in columns), unit)


grids = st.builds(
    grid_of,
    st.sampled_from([2e-3, 2e-2]),
    st.sampled_from(DITHERS),
    st.booleans(),
    st.sampled_from([1, 2, NODES]),
    st.integers(0, 4),
)


@settings(max_examples=200)
@pytest.mark.filterwarnings("ignore:overflow encountered")
@given(columns_of_jets(), st.sampled_from([GEV, MEV]), st.sampled_from(LAYOUTS), grids, st.booleans())
def test_they_are_those_of_numpy(columns, unit, layout, grid, held):
    storage = storage_of(layout, columns, unit)
    bounds = {v: 1e-2 for v in layout.promised if held or v != "m"}
    check_like_numpy(FloatsCodec(default_model().chain, grid), storage, columns, bounds)


@settings(max_examples=100)
@given(
    arrays(np.uint32, st.tuples(st.integers(1, 30), st.just(3)), elements=st.integers(0, 2**23 - 1)),
    grids,
    st.sampled_from(LAYOUTS),
    st.none() | st.sets(st.integers(0, 3)),
    st.none() | st.tuples(st.integers(0, 2), st.integers(0, 2**32 - 1)),
)
def test_any_words_are_decoded_or_refused_alike(bits, grid, layout, wanted, forged):
    if forged:
        bits[0, forged[0]] = forged[1]
    latents = (bits | (0x3F800000 if not forged else 0)).view(np.float32)
    storage = storage_of(layout, [np.ones(1, np.float32)] * 4)
    codec, wanted = FloatsCodec(default_model().chain, grid), None if layout.has_energy else wanted
    plain = Plain(codec.chain, codec.grid)
    try:
        restore(plain, storage, latents.T, wanted)
    except ValueError as refused:
        with pytest.raises(ValueError, match=f"^{refused}$"):
            restore(codec, storage, latents.T, wanted)
        return
    check_same_columns(codec, plain, storage, latents, wanted)


def likely_jets(n: int, seed: int = 0) -> list[np.ndarray]:
    """Columns of jets in GeV, few of which have no place in a grid."""
    rng = np.random.default_rng(seed)
    pt = np.exp(rng.uniform(-1, 9, n))
    m = pt * np.exp(rng.normal(-2, 0.5, n)) * (rng.uniform(size=n) > 0.01)
    return [x.astype(np.float32) for x in (pt, rng.uniform(-6, 6, n), rng.uniform(-3.1415, 3.1415, n), m)]


@pytest.mark.parametrize("dither", DITHERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_are_one_after_the_other(dither, layout):
    pt, eta, phi, m = likely_jets(40_000)
    if layout.full_turn:
        phi = phi % np.float32(2 * np.pi)
    columns = [pt, eta, phi, np.hypot(pt * np.cosh(eta), m) if layout.has_energy else m]
    codec = FloatsCodec(default_model().chain, grid_of(2e-3, dither, False, NODES, 0))
    storage, bounds = storage_of(layout, columns), dict.fromkeys(layout.promised, 2e-3)
    check_like_numpy(codec, storage, columns, bounds)
    assert encode_within(codec, storage, bounds, columns).exact.mean() < 0.1


def test_padding_is_found_and_restored():
    columns = likely_jets(2_000)
    for column in columns:
        column[::7] = -999
    storage = storage_of(LAYOUTS[0], columns)
    codec = FloatsCodec(default_model().chain, grid_of(2e-3, DITHERS[1], False, NODES, 0), storage.padding(columns))
    found = encode_within(codec, storage, BOUNDS, columns)
    plain = Plain(codec.chain, codec.grid, codec.padding)
    check_same(found, encode_within(plain, storage, BOUNDS, columns))
    assert codec.padding.rows and not found.exact[::7].any() and (found.latents[::7, 0] == -1).all()
    check_same_columns(codec, plain, storage, found.latents, None)


@pytest.fixture
def called(monkeypatch):
    """The names of the compiled functions that are called."""
    names, call = [], native.call
    monkeypatch.setattr(native, "call", lambda name, *given: names.append(name) or call(name, *given))
    return names


@pytest.mark.parametrize("dither", DITHERS)
@pytest.mark.parametrize("massive", [False, True])
def test_where_a_jet_may_be_beyond_an_edge_numpy_takes_the_logarithms(massive, dither, called):
    grid = grid_of(2e-3, dither, False, 1, 0)
    codec, columns = FloatsCodec(default_model().chain, grid), [np.ones(1000)] * 4
    storage = storage_of(LAYOUTS[0], columns, MEV)
    columns = [np.full(1000, 5e4), np.full(1000, 0.1), np.full(1000, 0.2), np.full(1000, 5e3)]
    rows = np.stack(columns, axis=1)
    variable = 3 if massive else 0
    middles = Plain(codec.chain, grid).decode(codec.encode(rows + np.linspace(0, 1e4, 1000)[:, None] * [1, 0, 0, 1]))
    half = np.exp(1e-3)
    columns[0] = middles[:, 0]  # in the middle of a cell: other variables stay where they are
    columns[variable] = middles[:, variable] * half
    expected = Plain(codec.chain, grid).encode(np.stack(columns, axis=1))
    found = codec.passes(storage, columns).encode(columns)
    assert np.array_equal(found.T.view(np.float32), expected)
    assert called == ["atlasae_estimate_words", "atlasae_before_logs_of_words", "atlasae_to_words"]


def test_other_jets_need_no_logarithms_of_numpy(called):
    columns = likely_jets(10_000)
    columns[0][:100] = np.float32(1e-3)  # below the range of the model
    storage = storage_of(LAYOUTS[0], columns)
    codec = FloatsCodec(default_model().chain, grid_of(2e-3, DITHERS[1], True, NODES, 0))
    found = codec.passes(storage, columns).encode(columns)
    assert called == ["atlasae_estimate_words"]
    assert np.array_equal(found.T.view(np.float32), Plain(codec.chain, codec.grid).encode(storage.rows(columns)))


def test_a_variable_that_is_not_wanted_is_not_made(called):
    columns = likely_jets(100)
    storage = storage_of(LAYOUTS[0], columns)
    codec = FloatsCodec(default_model().chain, grid_of(2e-3, DITHERS[1], False, NODES, 0))
    latents = codec.encode(storage.rows(columns))
    for wanted in ({0}, {0, 1, 2}, {3}, {1}, set()):
        made = [np.full(100, -7.0, np.float32) for _ in range(4)]
        codec.passes(storage, made, wanted).decode(np.ascontiguousarray(latents.T).view(np.uint32), made)
        assert [i for i in range(4) if (made[i] != -7).all()] == sorted(wanted)
        check_same_columns(codec, Plain(codec.chain, codec.grid), storage, latents, wanted)


class Chain:
    """A chain like the packaged one but for some facts."""

    def __init__(self, **changed: object) -> None:
        self.weights = replace(default_model().chain.weights, **changed)
        self.links = self.weights.links

    def whole(self) -> None:
        raise AssertionError


def linked(place: int, **changed: object) -> tuple[Link, ...]:
    links = list(default_model().chain.links)
    links[place] = replace(links[place], **changed)
    return tuple(links)


def test_other_chains_grids_and_columns_are_left_to_numpy():
    weights, grid = default_model().chain.weights, grid_of(2e-3, DITHERS[1], False, NODES, 0)
    columns = [np.ones(3, np.float32)] * 4
    storage = storage_of(LAYOUTS[0], columns)
    assert FloatsCodec(Chain(), grid).passes(storage, columns)
    assert isinstance(weights, Weights)
    chains = [
        Chain(links=linked(3, anchor=None)),
        Chain(links=linked(3, given=(1, 0))),
        Chain(links=linked(1, anchor=0)),
        Chain(links=linked(0, offset=1e6)),
        Chain(limits=weights.limits.astype(np.float32)),
        Chain(ends=((-1e6, 1e6), *weights.ends[1:])),
        Chain(locations={3: tuple((matrix * np.nan, shift) for matrix, shift in weights.locations[3])}),
    ]
    many = tuple((Digit(0, 1),) for _ in range(5))
    others = [
        replace(grid, nodes=0),
        replace(grid, words=many),
        replace(grid, words=((Digit(0, 1),) * 17,)),
        replace(grid, levels=(2**31, *grid.levels[1:])),
        replace(grid, words=((Digit(0, 1 << 20, 1 << 20),),)),
    ]
    for codec in [FloatsCodec(chain, grid) for chain in chains] + [FloatsCodec(Chain(), other) for other in others]:
        assert codec.passes(storage, columns) is None
    for other in (np.ones(6, np.float32)[::2], np.ones(3), np.ones(3, np.int32), np.ones(3, ">f4")):
        assert FloatsCodec(Chain(), grid).passes(storage, [*columns[:3], other]) is None
    assert FloatsCodec(Chain(), grid).passes(replace(storage, layout=Layout(("px", "py", "pz", "E"))), columns) is None


def test_without_what_is_compiled_numpy_does_all(monkeypatch):
    columns = likely_jets(10)
    storage, codec = storage_of(LAYOUTS[0], columns), FloatsCodec(Chain(), grid_of(2e-3, DITHERS[1], False, NODES, 0))
    found = encode_within(codec, storage, BOUNDS, columns)
    monkeypatch.setattr(native, "library", lambda: None)
    assert codec.passes(storage, columns) is None
    check_same(encode_within(codec, storage, BOUNDS, columns), found)
