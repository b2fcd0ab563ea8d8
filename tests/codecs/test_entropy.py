"""Cells are coded and decoded, in as many bits as probabilities give, and words never change, compiled or not."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.codecs.entropy import (
    FAITH,
    LARGEST_UNIFORM,
    MOST_LOOKED_UP,
    SEEN,
    CodingTable,
    CompiledReader,
    CompiledWriter,
    Reader,
    WordWriter,
    uniform,
)
from atlasae.native.library import library

compiled = pytest.mark.skipif(library() is None, reason="nothing is compiled")
CODERS = [(WordWriter, Reader), pytest.param(CompiledWriter, CompiledReader, marks=compiled)]
both = pytest.mark.parametrize(("writer_of", "reader_of"), CODERS, ids=["python", "compiled"])
writers = pytest.mark.parametrize("writer_of", [WordWriter, pytest.param(CompiledWriter, marks=compiled)])


def table(edges: list[int], counts: list[list[int]], adapts: bool = True) -> CodingTable:
    return CodingTable(np.array(edges, np.int64), np.array(counts, np.int64), adapts)


def cells_of(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)


def words_of(
    known: CodingTable, contexts: np.ndarray | None, cells: np.ndarray, writer_of: type = WordWriter
) -> np.ndarray:
    writer = writer_of()
    assert np.array_equal(writer.code(known, contexts, cells, len(cells)), cells)
    return writer.words()


@st.composite
def coded(draw: st.DrawFn) -> tuple[list[int], list[list[int]], list[int], list[int]]:
    """Edges, counts, contexts and cells, from one bin of one cell to bins whose offsets need two digits."""
    widths = draw(
        st.lists(st.sampled_from([1, 2, 7, 1000, LARGEST_UNIFORM, 3 * LARGEST_UNIFORM + 5]), min_size=1, max_size=6)
    )
    first = draw(st.integers(-1000, 1000))
    edges = [first + sum(widths[:i]) for i in range(len(widths) + 1)]
    contexts = draw(st.integers(1, 4))
    row = st.lists(st.integers(1, 10_000), min_size=len(widths), max_size=len(widths))
    counts = draw(st.lists(row, min_size=contexts, max_size=contexts))
    cells = draw(st.lists(st.integers(edges[0], edges[-1] - 1), max_size=40))
    return edges, counts, draw(st.lists(st.integers(0, contexts - 1), min_size=len(cells), max_size=len(cells))), cells


@both
@settings(max_examples=150)
@given(coded(), st.booleans())
def test_what_is_written_is_read(writer_of, reader_of, example, adapts):
    edges, counts, contexts, cells = example
    writer, given_contexts = writer_of(), np.array(contexts, np.uint16)
    writing, reading = (table(edges, counts, adapts) for _ in range(2))
    for _ in range(2):  # the second time with updated tables
        writer.code(writing, given_contexts, cells_of(cells), len(cells))
        writer.code(uniform(5), None, cells_of([c % 5 for c in cells]), len(cells))
        writing.settle()
    reader = reader_of(writer.words())
    for _ in range(2):
        assert reader.code(reading, given_contexts, None, len(cells)).tolist() == cells
        assert reader.code(uniform(5), None, None, len(cells)).tolist() == [c % 5 for c in cells]
        reading.settle()
    assert reader.is_at_end
    assert np.array_equal(writing.counts, reading.counts)


@compiled
@settings(max_examples=150)
@given(coded(), st.booleans())
def test_the_compiled_writer_writes_the_same_words(example, adapts):
    edges, counts, contexts, cells = example
    found = []
    for writer in (WordWriter(), CompiledWriter()):
        known = table(edges, counts, adapts)
        for _ in range(2):
            writer.code(known, np.array(contexts, np.uint16), cells_of(cells), len(cells))
            known.settle()
        writer.code(known, None, cells_of(cells), len(cells))
        found.append(writer.words().tolist())
    assert found[0] == found[1]


@compiled
@settings(max_examples=150)
@given(coded(), st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**32 - 1]), max_size=8))
def test_the_compiled_reader_reads_the_same_of_any_words(example, words):
    edges, counts, contexts, _ = example
    found = []
    for reader_of in (Reader, CompiledReader):
        try:
            reader = reader_of(np.array(words, np.uint32))
        except ValueError:
            found.append(None)
        else:
            known = table(edges, counts)
            cells = reader.code(known, np.array(contexts, np.uint16), None, len(contexts)).tolist()
            found.append((cells, reader.is_at_end))
    assert found[0] == found[1]
    assert found[0] is None or all(edges[0] <= cell < edges[-1] for cell in found[0][0])


@compiled
def test_cells_and_contexts_beyond_a_table_are_refused():
    known = table([0, 5, 50], [[60, 600]])
    for cell, context in ((-1, 0), (50, 0), (3, 1)):
        with pytest.raises(ValueError, match="cells beyond their table"):
            CompiledWriter().code(known, np.array([context], np.uint16), cells_of([cell]), 1)
    with pytest.raises(ValueError, match="cells beyond their table"):
        CompiledReader(np.array([1], np.uint32)).code(known, np.array([1], np.uint16), None, 1)


def test_words_are_as_many_as_the_probabilities_tell():
    rng = np.random.default_rng(1)
    known = table([0, 10, 20, 100], [[8, 1, 1], [1, 1, 8]], adapts=False)
    contexts = rng.integers(0, 2, 20_000).astype(np.uint16)
    bins = np.where(rng.random(20_000) < 0.8, 2 * contexts, 1 - contexts % 2)
    cells = (known.first[bins] + rng.integers(0, known.widths[bins])).astype(np.int32)
    probability = known.counts[contexts, bins] / 10 / known.widths[bins]
    expected = -np.log2(probability).sum() / 32
    assert len(words_of(known, contexts, cells)) == pytest.approx(expected, rel=1e-3, abs=3)


@writers
def test_a_table_that_adapts_learns_what_it_codes(writer_of):
    cells = cells_of([3] * 1000)
    learned, fixed = (table([0, 1, 2, 3, 4], [[SEEN] * 4], adapts) for adapts in (True, False))
    for known in (learned, fixed):
        for _ in range(2):  # a table does not change before `settle`
            assert len(words_of(known, None, cells, writer_of)) == pytest.approx(1000 * math.log2(4) / 32, abs=3)
        known.settle()
    assert learned.learned.tolist() == [[0, 0, 0, 2000]] and not fixed.learned.any()
    assert len(words_of(learned, None, cells, writer_of)) < 20


def test_what_comes_more_often_than_expected_is_expected_in_other_contexts_too():
    known = table([0, 1, 2, 3], [[100 * SEEN] * 3, [200 * SEEN, 300 * SEEN, 400 * SEEN]])
    WordWriter().code(known, np.zeros(2000, np.uint16), cells_of([2] * 2000), 2000)
    known.settle()
    first, other = known.counts / known.counts.sum(axis=1, keepdims=True)
    assert first[2] > 0.9
    usual, third = FAITH * np.array([3, 4, 5]) / 12, 2000 / 3
    ratio = (np.array([0, 0, 2000]) + usual) / (third + usual)
    expected = np.array([200, 300, 400]) * ratio
    assert other == pytest.approx(expected / expected.sum(), rel=1e-3)


def test_a_table_of_very_many_cells_finds_bins_too():
    edges = [0, 3, MOST_LOOKED_UP + 7, 2 * MOST_LOOKED_UP]
    cells = cells_of([0, 2, 3, MOST_LOOKED_UP + 6, MOST_LOOKED_UP + 7, 2 * MOST_LOOKED_UP - 1])
    known = table(edges, [[1, 1, 1]])
    assert known.bins(cells).tolist() == [0, 0, 1, 1, 2, 2]
    assert (
        Reader(words_of(table(edges, [[1, 1, 1]]), None, cells)).code(known, None, None, 6).tolist() == cells.tolist()
    )


@writers
def test_words_are_those_of_the_first_release(writer_of):
    rng = np.random.default_rng(7)
    known = table([0, 5, 50, 200], [[60, 600, 6], [1, 2, 3]])
    writer = writer_of()
    writer.code(known, rng.integers(0, 2, 500).astype(np.uint16), rng.integers(0, 200, 500).astype(np.int32), 500)
    writer.code(uniform(100_000), None, rng.integers(0, 100_000, 50).astype(np.int32), 50)
    words = writer.words()
    assert (
        hashlib.sha256(words.astype("<u4").tobytes()).hexdigest()
        == "5bc111e06d74bc7040f84c8a983376c24bfcdfd0ddb6c956d0ccae398d8f1594"
    )


@given(st.lists(st.integers(0, 2**32 - 1), max_size=8).filter(lambda words: not words or words[-1]))
def test_any_words_are_read_as_something_in_the_table(words):
    known = table([0, 5, 50, 200], [[60, 600, 6]])
    found = Reader(np.array(words, np.uint32)).code(known, None, None, 100)
    assert ((found >= 0) & (found < 200)).all()


@writers
def test_a_fresh_table_has_learned_nothing(writer_of):
    known = table([0, 1, 2, 40], [[SEEN, 7, 3], [5, SEEN, 2]])
    before = words_of(known.fresh(), np.array([0, 1], np.uint16), cells_of([1, 30]), writer_of)
    words_of(known, np.array([0, 1] * 50, np.uint16), cells_of([2, 5] * 50), writer_of)
    known.settle()
    assert known.learned.any() and (known.counts != known.prior).any()
    again = known.fresh()
    assert not again.learned.any() and again.counts.tolist() == known.prior.tolist()
    assert np.array_equal(words_of(again, np.array([0, 1], np.uint16), cells_of([1, 30]), writer_of), before)


@compiled
@settings(max_examples=100)
@given(coded())
def test_compiled_tables_learn_the_same(example):
    edges, counts, contexts, cells = example
    tables = [table(edges, counts) for _ in range(2)]
    for known, writer in zip(tables, (WordWriter(), CompiledWriter()), strict=True):
        for part in (slice(0, 20), slice(20, None)):
            some = cells_of(cells[part])
            writer.code(known, np.array(contexts[part], np.uint16), some, len(some))
            known.settle()
    one, other = tables
    if len(counts[0]) > 1:  # of one bin, there is nothing to learn
        assert np.array_equal(one.learned, other.learned) and np.array_equal(one.counts, other.counts)
