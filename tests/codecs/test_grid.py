import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae import xz
from atlasae.codecs.grid import Grid, WordLayout, grid_of_config, jet_words, likely_pairs, likely_words, pack, unpack
from atlasae.xz import compress_words, estimate_words

levels_of_jets = st.tuples(*[st.integers(1, 2**12)] * 3, st.integers(1, 2**14))


def jets(levels: Sequence[int], n: int = 50, seed: int = 1) -> list[np.ndarray]:
    """Cells of pt, eta, phi and m, which include the first and the last of each."""
    rng = np.random.default_rng(seed)
    cells = [rng.integers(0, count, n) for count in levels]
    for column, count in zip(cells, levels, strict=True):
        column[:2] = 0, count - 1
    return cells


def nothing(word: np.ndarray) -> float:
    return 0.0


def grid(levels: Sequence[int], words: WordLayout) -> Grid:
    return Grid(0.0, tuple(map(float, levels)), (0,) * 4, tuple(levels), words)


def bits_of_m(words: WordLayout) -> list[int]:
    """The bits of m's cell that the words hold."""
    digits = [digit for word in words for digit in word if digit.variable == 3]
    ranges = [(digit.divisor.bit_length() - 1, digit.radix.bit_length() - 1) for digit in digits]
    assert [(1 << below, 1 << width) for below, width in ranges] == [(d.divisor, d.radix) for d in digits]
    return sorted(bit for below, width in ranges for bit in range(below, below + width))


@settings(max_examples=25)
@given(levels_of_jets)
def test_every_way_holds_each_bit_of_m_once_and_fits_a_float(levels):
    cells = jets(levels)
    found = list(likely_words(cells, levels, nothing))
    assert found  # three words with 12 of 23 bits used have room for 14 more
    assert len(set(found)) == len(found)
    for words in found:
        assert bits_of_m(words) == [*range((levels[3] - 1).bit_length())]
        assert [word[0].variable for word in words] == [0, 1, 2]
        assert [(word[0].radix, word[0].divisor) for word in words] == [(count, 1) for count in levels[:3]]
        assert grid(levels, words).word_bits <= 23
    for words in (found[0], found[-1]):
        unpacked = unpack(pack(cells, grid(levels, words)), grid(levels, words))
        assert all(np.array_equal(a, b) for a, b in zip(unpacked, cells, strict=True))


def test_every_order_and_number_of_bits_is_tried():
    found = list(likely_words(jets((2, 2, 2, 8)), (2, 2, 2, 8), nothing))
    by_hand = set()
    for first in range(4):  # number of bits of the leading part; the second part and the rest follow
        for second in range(4 - first):
            parts = [(first, 3 - first), (second, 3 - first - second), (3 - first - second, 0)]
            for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
                placed = sorted(zip(order, parts, strict=True))
                by_hand.add(tuple(part if part[0] else None for _, part in placed))
    told = {
        tuple((w[1].radix.bit_length() - 1, w[1].divisor.bit_length() - 1) if len(w) > 1 else None for w in words)
        for words in found
    }
    assert told == by_hand
    assert len(found) == len(by_hand)


def test_the_ways_are_sorted_by_the_weight_of_their_words():
    levels = (300, 40, 500, 900)
    cells = jets(levels, 400)

    def weigh(word: np.ndarray) -> float:
        return float(len(zlib.compress(word.astype(">u4").tobytes())))

    def total(words: WordLayout) -> float:
        packed = pack(cells, grid(levels, words)).view(np.uint32) & 0x7FFFFF
        return sum(weigh(column) for column in packed.T)

    totals = [total(words) for words in likely_words(cells, levels, weigh)]
    assert totals == sorted(totals) and totals[0] < totals[-1]


def test_a_word_is_weighed_once():
    seen = []

    def weigh(word: np.ndarray) -> float:
        seen.append(word.tobytes())
        return float(len(seen))

    likely_words(jets((300, 40, 500, 900)), (300, 40, 500, 900), weigh)
    parts = sum(range(1, 12))  # widths and offsets of a part of 10 bits, in each of three words
    assert len(seen) <= 3 * parts


def test_what_fits_no_words_is_no_way():
    assert list(likely_words(jets((2**20,) * 3 + (2**10,)), (2**20,) * 3 + (2**10,), nothing)) == []
    full = (2**22, 2**23, 2**23, 2)
    assert [bits_of_m(words) for words in likely_words(jets(full), full, nothing)] == [[0]]


def test_m_of_one_cell_takes_no_bits():
    assert [bits_of_m(words) for words in likely_words(jets((9, 9, 9, 1)), (9, 9, 9, 1), nothing)] == [[]]


# --- two words


few_levels = st.tuples(*[st.integers(1, 400)] * 4).filter(lambda levels: math.prod(levels) < 2**34)


@settings(max_examples=25)
@given(few_levels)
def test_two_words_hold_every_cell(levels):
    cells, found = jets(levels), list(likely_pairs(jets(levels), levels, nothing))
    assert found and len(set(found)) == len(found)
    for words in found:
        assert len(words) == 3 and words[2] == () and grid(levels, words).word_bits <= 23
        assert all(
            digit.radix.bit_count() == 1 for word in words for digit in word[1:]
        )  # the leading one fills its word
    for words in (found[0], found[-1]):
        latents = pack(cells, grid(levels, words))
        assert set(latents[:, 2].tolist()) == {1.0}
        assert all(np.array_equal(a, b) for a, b in zip(unpack(latents, grid(levels, words)), cells, strict=True))


def test_two_words_are_sorted_by_their_weight():
    levels = (100, 200, 90, 300)
    cells = jets(levels, 400)

    def weigh(word: np.ndarray) -> float:
        return float(len(zlib.compress(word.astype(">u4").tobytes())))

    packed = [pack(cells, grid(levels, words)).view(np.uint32) for words in likely_pairs(cells, levels, weigh)]
    totals = [sum(weigh(column & 0x7FFFFF) for column in words.T[:2]) for words in packed]
    assert totals == sorted(totals) and totals[0] < totals[-1]


def test_what_takes_more_bits_is_in_no_two_words():
    levels = (2**11, 2**13, 2**12, 2**12)
    assert list(likely_pairs(jets(levels), levels, nothing)) == []


# --- the weight that is used


def distributed(kind: str, n: int = 20_000) -> np.ndarray:
    rng = np.random.default_rng(3)
    byte = rng.integers(0, 256, n)
    words = {
        "uniform": rng.integers(0, 2**21, n),
        "narrow": rng.integers(0, 2**9, n),
        "falling": np.minimum(rng.exponential(3000, n).astype(int), 2**23 - 1),
        "constant": np.full(n, 77),
        "leading bits fall": (np.minimum(rng.exponential(9, n).astype(int), 127) << 12) + rng.integers(0, 2**12, n),
        "told by the byte before": (byte << 8) + (byte >> 6 << 4) + rng.integers(0, 4, n),
        "trailing bits fall": (rng.integers(0, 2**12, n) << 7) + np.minimum(rng.exponential(9, n).astype(int), 127),
    }
    return words[kind].astype(np.int64)


KINDS = ("uniform", "narrow", "falling", "told by the byte before", "leading bits fall", "trailing bits fall")


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_words_are_estimated(kind):
    words = distributed(kind)
    truth = len(compress_words((words | 0x3F800000).astype(">u4").tobytes()))
    assert 0.88 * truth < estimate_words(words) < 1.02 * truth
    assert estimate_words(words[:0]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_the_same_without_what_is_compiled(kind, monkeypatch):
    words = distributed(kind)
    compiled = estimate_words(words)
    monkeypatch.setattr(xz, "counted_bytes", lambda words: None)
    assert estimate_words(words) == compiled


def test_words_that_never_change_cost_next_to_nothing():
    assert estimate_words(distributed("constant")) < 50


def test_the_estimate_of_independent_bits_is_their_number():
    words = np.arange(2**16).astype(np.int64)  # 65,536 different words: 16 bits each
    learning = 3 * (2 * 256 + 4 * 256)
    assert 2**16 * 2 <= estimate_words(words) <= 2**16 * 2 + learning
    assert estimate_words(words) == pytest.approx(math.log2(2**16) / 8 * 2**16, rel=0.01)


# --- what comes from a file


@pytest.mark.parametrize("latents", [[0.999, 1, 1], [1, 2, 1], [1, 1, -1.5], [1.0, 1.0, 1.9999999]])
def test_latents_that_no_cells_make_are_refused(latents):
    grid = Grid(0.0, (10.0,) * 4, (0,) * 4, (10,) * 4, jet_words((10,) * 4, (10, 1, 1)))
    with pytest.raises(ValueError, match="latents"):
        unpack(np.array([[1.0, 1.0, 1.0], latents], np.float32), grid)


GRID = Grid(0.2, (10.0, 20.0, 30.5, 9.0), (0, -3, 0, 0), (10, 9, 8, 7), jet_words((10, 9, 8, 7), (7, 1, 1)))
BAD = {
    "exponent": ["0", None, math.nan, -1.0, 1.1], "cells": [[1.0] * 3, [1.0, 2.0, 3.0, math.inf], [0.0] * 4, 1.0],
    "first": [[0] * 5, [0.5] * 4, [1 << 60] * 4], "levels": [[10, 9, 8, 0], [10, 9, 8], [1 << 60] * 4, ["10"] * 4],
    "words": [
        [[{"variable": 4, "radix": 2}]], [[{"variable": -1, "radix": 2}]], [[{"variable": 0, "radix": 0}]],
        [[{"variable": 0, "radix": 1 << 24}]], [[{"variable": 0, "radix": 2, "divisor": 0}]], [[{"radix": 2}]],
        [[{"variable": 0, "radix": "2"}]], None,
    ],
    "nodes": [-1, 258, 1, 129, "129", 2.5, None],  # 1 and 129: not with an exponent
}  # fmt: skip


def test_a_grid_comes_back_from_its_configuration():
    config = json.loads(json.dumps({"layout": "floats", **asdict(GRID)}))
    assert grid_of_config(config, 4) == GRID
    with pytest.raises(ValueError, match="for 3"):
        grid_of_config(config, 3)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD.items() for value in values])
def test_a_grid_that_can_not_be_is_refused(field, value):
    with pytest.raises(ValueError):  # noqa: PT011
        grid_of_config(asdict(GRID) | {field: value}, 4)
