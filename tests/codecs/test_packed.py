"""Jets of events are coded and decoded in the packed layout, compiled or not; forged words are refused."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import random_jets
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.codecs import packed
from atlasae.codecs.entropy import CompiledReader, CompiledWriter, Reader, WordWriter
from atlasae.codecs.lattice import Lattice
from atlasae.codecs.packed import RANKS, PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.jets.padding import Padding
from atlasae.native.library import library

STEPS = (2e-3, 2e-3, 2e-3, 2e-3)
compiled = pytest.mark.skipif(library() is None, reason="nothing is compiled")
CODERS = {"python": (WordWriter, Reader), "compiled": (CompiledWriter, CompiledReader)}


@pytest.fixture(scope="module", autouse=True, params=["python", pytest.param("compiled", marks=compiled)])
def coders(request: pytest.FixtureRequest) -> Iterator[None]:
    """All tests of this file, once without and once with what is compiled."""
    with using(request.param):
        yield


@contextmanager
def using(name: str) -> Iterator[None]:
    """While entered, coders of one kind are in use."""
    with pytest.MonkeyPatch.context() as patch:
        for made, coder in zip(("word_writer", "word_reader"), CODERS[name], strict=True):
            patch.setattr(packed, made, coder)
        yield


def codec(step: float = 2e-3, context: bool = True) -> PackedCodec:
    return PackedCodec(default_priors(), Lattice((step,) * 4), context)


def cells_of(n: int, seed: int = 1, step: float = 2e-3) -> np.ndarray:
    jets = random_jets(n, seed)
    cells, held = Lattice((step,) * 4).cells(np.column_stack([jets[v] for v in ("pt", "eta", "phi", "m")]))
    assert held.all()
    return cells


def falling(cells: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Jets, sorted by falling pt in every event."""
    return cells[:, np.lexsort((-cells[0], np.repeat(np.arange(len(counts)), counts)))]


@settings(max_examples=60)
@given(
    counts=st.lists(st.sampled_from([0, 1, 1, 2, 3, 5, RANKS - 1, RANKS, RANKS + 1, 40]), max_size=12),
    step=st.sampled_from([1.5, 0.02, 2e-3, 2e-4, 2e-6]),
    context=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    wild=st.booleans(),
)
def test_jets_come_back(counts, step, context, seed, wild):
    counts = np.array(counts, np.int64)
    one, rng = codec(step, context), np.random.default_rng(seed)
    cells = cells_of(int(counts.sum()), seed % 100, step)
    if wild:  # anywhere on the grid, in any order
        cells = rng.integers(0, np.array(one.lattice.sizes)[:, None], cells.shape).astype(np.int32)
    assert np.array_equal(one.decode(one.encode(cells, counts), counts), cells)


def test_a_long_event_comes_back():
    counts = np.array([3, 100_000, 0, 1])
    cells = cells_of(100_004)
    assert np.array_equal(codec().decode(codec().encode(cells, counts), counts), cells)


def test_massless_jets_come_back_and_take_less():
    cells, counts = cells_of(4000), np.full(1000, 4)
    light, zero = cells.copy(), codec().lattice.zero_mass
    light[3, ::2] = zero + np.arange(2000) % 3
    words = codec().encode(light, counts)
    assert np.array_equal(codec().decode(words, counts), light)
    assert len(words) < 0.95 * len(codec().encode(cells, counts))


def test_the_event_tells_of_its_jets():
    rng = np.random.default_rng(1)
    counts = np.full(4000, 2)
    first = cells_of(4000)
    second = first.copy()
    turn = codec().lattice.sizes[2]
    second[0] -= np.abs(rng.normal(0, 30, 4000)).astype(np.int32)
    second[2] = (first[2] + turn // 2 + rng.normal(0, 50, 4000).astype(np.int32)) % turn
    cells = np.stack([first, second], axis=2).reshape(4, -1)
    alone = len(codec(context=False).encode(cells, counts))
    assert len(codec().encode(cells, counts)) < 0.92 * alone


def test_jets_without_context_are_alike_in_any_events():
    cells = cells_of(300)
    words = codec(context=False).encode(cells, np.full(100, 3))
    assert np.array_equal(words, codec(context=False).encode(cells, np.ones(300, np.int64)))
    assert np.array_equal(codec(context=False).decode(words, np.array([300])), cells)


def test_words_are_those_of_the_first_release():
    counts = np.random.default_rng(3).integers(0, 6, 500)
    cells = falling(cells_of(int(counts.sum())), counts)
    words = codec().encode(cells, counts)
    assert (
        hashlib.sha256(words.astype("<u4").tobytes()).hexdigest()
        == "d3ea123f38d93bc0cffa721ebd4b37da05aa305a7091c0d64304455b1db4a61a"
    )


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=30).filter(lambda words: not words or words[-1]),
    st.lists(st.integers(0, 20), max_size=30),
)
def test_forged_words_are_some_jets_or_refused(words, counts):
    try:
        cells = codec().decode(np.array(words, np.uint32), np.array(counts, np.int64))
    except ValueError as error:
        assert "outside the grid" in str(error) or "do not end with" in str(error)
    else:
        assert cells.shape == (4, sum(counts)) and ((cells >= 0).all())
        assert np.isfinite(codec().lattice.jets(cells)).all()


def outcome(one: PackedCodec, words: np.ndarray, counts: np.ndarray) -> object:
    """The cells and codes of words, or that they are refused."""
    try:
        return [found.tolist() for found in one.decode_padded(words, counts)]
    except ValueError:
        return "refused"


@compiled
@settings(max_examples=60)
@given(
    counts=st.lists(st.sampled_from([0, 1, 2, 3, 5, RANKS + 1]), min_size=1, max_size=30),
    step=st.sampled_from([1.5, 0.02, 2e-3, 2e-5]),
    context=st.booleans(),
    padded=st.booleans(),
    flips=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 31)), max_size=3),
    cut=st.integers(0, 3),
)
def test_both_coders_agree_on_words_and_on_damaged_ones(counts, step, context, padded, flips, cut):
    counts = np.array(counts, np.int64)
    n = int(counts.sum())
    padding = Padding((("00000000",) * 4,)) if padded else Padding()
    one = PackedCodec(default_priors(), Lattice((step,) * 4), context, padding)
    codes = (np.arange(n) % 3 == 2).astype(np.int32) if padded else None
    cells = np.random.default_rng(n).integers(0, np.array(one.lattice.sizes)[:, None], (4, n)).astype(np.int32)
    words = {}
    for name in CODERS:
        with using(name):
            words[name] = one.encode(cells, counts, codes)
    assert words["python"].tolist() == words["compiled"].tolist()
    damaged = words["python"][: max(0, len(words["python"]) - cut)].copy()
    for place, bit in flips if len(damaged) else ():
        damaged[place % len(damaged)] ^= np.uint32(1 << bit)
    found = []
    for name in CODERS:
        with using(name):
            found.append(outcome(one, damaged, counts))
    assert found[0] == found[1]


@compiled
def test_cells_beyond_the_grid_are_refused():
    cells = cells_of(4)
    for row in range(4):
        beyond = cells.copy()
        beyond[row, 2] = codec().lattice.sizes[row]
        with using("compiled"), pytest.raises(ValueError, match="outside the grid"):
            codec().encode(beyond, np.array([4]))


def test_words_of_other_jets_are_refused():
    counts = np.full(100, 3)
    words = codec().encode(cells_of(300), counts)
    for changed, per_event in ((words, counts[1:]), (np.append(words, [5]).astype(np.uint32), counts)):
        with pytest.raises(ValueError, match="outside the grid|do not end with"):
            codec().decode(changed, per_event)


def test_a_codec_says_what_it_is():
    assert codec(context=False).config() == {
        **{"layout": "packed", "steps": list(STEPS), "shifted": [False] * 4, "context": False}
    }
