"""The grid: how cumulative values become cells (integers), and cells the mantissas of float32 words."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations, product
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from atlasae.codecs.dither import BLOCK_BITS, BLOCK_STEPS, IN_BLOCK, NO_DITHER, Dither, Offset
from atlasae.jets.coordinates import Floats
from atlasae.jets.padding import Config, Latents
from atlasae.native.library import BEYOND_DIGITS, NOT_WORDS

MANTISSA_BITS = 23  # of a float32; 1 <= z < 2 fixes its sign and exponent
_ONE = 0x3F800000  # the bits of the float32 1.0
_MOST_CELLS = 1 << 48  # of a variable; with more, intermediate int64 values might overflow
_FIELDS = ("exponent", "cells", "first", "levels", "words", "dither", "nodes")
MOST_NODES = 257
Cell = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Digit:
    """A part of the cell of a variable: (cell // divisor) % radix."""

    variable: int
    radix: int
    divisor: int = 1


WordLayout = tuple[tuple[Digit, ...], ...]
Weigh = Callable[[npt.NDArray[np.int64]], float]
_Spread = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Grid:
    """How cumulative values u become cells, and cells the words of latents.

    Variable i has the cell floor(u_i cells_i) - first_i, clamped to [0, levels_i). A word is a number in the mixed
    radix of its digits, the leading one first. u is the integral of the density to the power `exponent`: 0 gives equal
    steps. `dither` shifts the cells of each row by offsets, and cuts some variables into blocks of cells. With `nodes`,
    learned locations are interpolated between so many values of each variable they depend on; 0 asks the network, and
    1 leaves it out.
    """

    exponent: float
    cells: tuple[float, ...]
    first: tuple[int, ...]
    levels: tuple[int, ...]
    words: WordLayout
    dither: Dither = NO_DITHER
    nodes: int = 0

    def block(self, i: int, position: Floats) -> Floats:
        """The number (a float) of the block of variable i at a position, in steps from the first cell."""
        return _whole(position / BLOCK_STEPS, self.levels[i] >> BLOCK_BITS)

    def cell(self, i: int, position: Floats, block: Floats | None, offset: Offset) -> Floats:
        """The number (a float) of the cell of variable i, in its block if there is one, at a position in steps."""
        if block is None:
            return _whole(position + offset, self.levels[i])
        found = position - block * BLOCK_STEPS
        found += offset
        return _whole(found, IN_BLOCK)

    def middle(self, i: int, cell: npt.NDArray[Any], block: npt.NDArray[Any] | None, offset: Offset) -> Floats:
        """The position u of the middle of a cell of variable i, which may be outside of its block."""
        steps = cell if block is None else cell + block * BLOCK_STEPS
        position = steps + (self.first[i] + 0.5)
        position -= offset
        position /= self.cells[i]
        return np.asarray(np.clip(position, 0, 1, out=position))

    @property
    def bits(self) -> tuple[float, ...]:
        """The bits of each variable: log2 of its levels."""
        return tuple(math.log2(levels) for levels in self.levels)

    @property
    def word_bits(self) -> float:
        """The bits of the fullest word; a float32 has 23."""
        return max(math.log2(math.prod(digit.radix for digit in word)) for word in self.words)


def grid_of_config(config: Config, variables: int) -> Grid:
    """The grid of a codec's configuration; raises ValueError if it is invalid or has another number of variables."""
    known: Config = {"dither": {}, "nodes": 0} | config  # formats 1 and 2 have neither, 3 and 4 no nodes
    grid = msgspec.convert({field: known[field] for field in _FIELDS}, Grid)
    sizes = {variables, len(grid.cells), len(grid.first), len(grid.levels)}
    digits = [digit for word in grid.words for digit in word]
    whole = [*grid.levels, *map(abs, grid.first), *(n for digit in digits for n in (digit.radix, digit.divisor))]
    fits = all(math.prod(digit.radix for digit in word) <= 1 << MANTISSA_BITS for word in grid.words)
    if len(sizes) > 1 or not all(0 <= digit.variable < variables for digit in digits) or not fits:
        raise ValueError(f"a grid of {len(grid.levels)} variables in {len(grid.words)} words, for {variables}")
    if not all(0 < n < math.inf for n in grid.cells) or not 0 <= grid.exponent <= 1 or max(whole) > _MOST_CELLS:
        raise ValueError("a grid with an impossible exponent or number of cells")
    if not 0 <= grid.nodes <= MOST_NODES or (grid.nodes and grid.exponent):
        raise ValueError(f"locations between {grid.nodes} nodes, with the exponent {grid.exponent}")
    if min([*grid.levels, *(min(digit.radix, digit.divisor) for digit in digits)]) < 1:
        raise ValueError("a grid with a variable or digit without cells")
    return grid


def radices(levels: Sequence[int]) -> tuple[int, int, int]:
    """The radices of the three digits of m's cell that compress best.

    They are powers of two if that takes no more bytes per word, for LZMA models bytes bit by bit. With words
    right-aligned in the mantissa, this saves 0.25 bytes per jet at 1e-3 against left-aligned decimal digits.
    """
    balanced = balanced_radices(levels)
    powers = [2**k for k in range(MANTISSA_BITS)]
    whole = min(
        ((a, b, c) for a, b in product(powers, repeat=2) if (c := _power_of_two(-(-levels[3] // (a * b))))),
        key=lambda candidate: _fullest(levels, candidate),
    )
    fullest = _fullest(levels, whole)
    fits = fullest <= 1 << MANTISSA_BITS and _bytes(fullest) <= _bytes(_fullest(levels, balanced))
    return whole if fits else balanced


def balanced_radices(levels: Sequence[int]) -> tuple[int, int, int]:
    """The radices of the three digits of m's cell that fill the three words (nearly) equally, to use all 69 bits."""
    capacity = max(levels[:3])
    while math.prod(capacity // n for n in levels[:3]) < levels[3]:
        capacity += max(1, capacity >> 8)
    first, second, third = (capacity // n for n in levels[:3])
    return first, second, third


def jet_words(levels: Sequence[int], digits: Sequence[int]) -> WordLayout:
    """The words of jets: pt, eta and phi, each followed by one of the three digits of m's cell."""
    divisors = (digits[1] * digits[2], digits[2], 1)
    return tuple((Digit(j, levels[j]), Digit(3, digits[j], divisors[j])) for j in range(3))


def list_words(levels: Sequence[int]) -> WordLayout:
    """The words of a list of variables: bits of each cell, the widest first, split only if no word has room for all."""
    bits = [(n - 1).bit_length() for n in levels]
    room = [MANTISSA_BITS] * max(1, -(-sum(bits) // MANTISSA_BITS))
    words: list[list[Digit]] = [[] for _ in room]
    for variable in sorted(range(len(bits)), key=bits.__getitem__, reverse=True):
        left = bits[variable]
        while left or not bits[variable]:
            fitting = [j for j in range(len(room)) if room[j] >= left]
            # All bits into the fullest word with room for them; else as many as fit the emptiest.
            j = min(fitting, key=room.__getitem__) if fitting else max(range(len(room)), key=room.__getitem__)
            width = min(left, room[j])
            left -= width
            room[j] -= width
            words[j].append(Digit(variable, 1 << width, 1 << left))
            if not bits[variable]:
                break
    return tuple(tuple(word) for word in words)


def likely_words(cells: Sequence[Cell], levels: Sequence[int], weigh: Weigh) -> Iterator[WordLayout]:
    """Ways to spread the bits of m over the words of pt, eta and phi, the one of the least weight first.

    All numbers of bits per word are tried, in every order; `weigh` estimates the bytes of one word of all jets.
    """
    bits = (levels[3] - 1).bit_length()
    own, mass = cells[:3], cells[3]

    @cache
    def weight(j: int, width: int, below: int) -> float:
        if levels[j] << width > 1 << MANTISSA_BITS:
            return math.inf
        return weigh((own[j] << width) + (mass >> below & (1 << width) - 1))

    found = {spread: sum(weight(j, *spread[j]) for j in range(3)) for spread in _spreads(bits)}
    likely = sorted((spread for spread, total in found.items() if total < math.inf), key=found.__getitem__)
    return (tuple(_word(j, levels[j], *spread[j]) for j in range(3)) for spread in likely)


def likely_pairs(cells: Sequence[Cell], levels: Sequence[int], weigh: Weigh) -> Iterator[WordLayout]:
    """Ways to put all bits into the first two words, the one of the least weight first; none where they are too many.

    The third word is then 1.0, which takes no bytes: each other word costs a quarter of a bit to tell where it begins.
    """
    if math.prod(levels) > 1 << 2 * MANTISSA_BITS:
        return iter(())

    @cache
    def weight(digits: tuple[Digit, ...]) -> float:
        if math.prod(digit.radix for digit in digits) > 1 << MANTISSA_BITS:
            return math.inf
        word = np.zeros_like(cells[0])
        for digit in digits:
            word = word * digit.radix + cells[digit.variable] // digit.divisor % digit.radix
        return weigh(word)

    found = {pair: weight(pair[0]) + weight(pair[1]) for pair in _pairs(levels)}
    likely = sorted((pair for pair, total in found.items() if total < math.inf), key=found.__getitem__)
    return ((*pair, ()) for pair in likely)


def _pairs(levels: Sequence[int]) -> Iterator[tuple[tuple[Digit, ...], tuple[Digit, ...]]]:
    """Two words of all cells: one has an angle, and that or the other one the last bits of the other angle."""
    pt, m = (Digit(i, levels[i]) for i in (0, 3))
    for whole, cut in ((1, 2), (2, 1)):
        angle = Digit(whole, levels[whole])
        for bits in range(levels[cut].bit_length()):
            high, low = Digit(cut, -(-levels[cut] >> bits), 1 << bits), Digit(cut, 1 << bits)
            yield _aligned(angle, m), _aligned(high, pt, low)
            for order in permutations((high, pt, m)):
                yield _aligned(angle, low), _aligned(*order)


def _aligned(first: Digit, *rest: Digit) -> tuple[Digit, ...]:
    """The digits of a word, of which all but the leading one are whole bits; without those that can only be 0."""
    return first, *(replace(digit, radix=_power_of_two(digit.radix)) for digit in rest if digit.radix > 1)


@cache
def _spreads(bits: int) -> list[_Spread]:
    """The different ways to spread the bits of m over three words: (width, bits below it) in each."""
    found = dict[_Spread, None]()
    for order, (one, two) in product(permutations(range(3)), product(range(bits + 1), repeat=2)):
        if one + two <= bits:
            # From the leading bits of m to the last.
            parts = ((one, bits - one), (two, bits - one - two), (bits - one - two, 0))
            found[tuple(parts[order.index(j)] if parts[order.index(j)][0] else (0, 0) for j in range(3))] = None
    return list(found)


def _word(j: int, levels: int, width: int, below: int) -> tuple[Digit, ...]:
    return (Digit(j, levels), Digit(3, 1 << width, 1 << below)) if width else (Digit(j, levels),)


def joined(cell: Floats, block: Floats | None) -> Cell:
    """The cells (int64) of a variable from numbers (floats): of the cell in its block, and of the block, if any."""
    return np.asarray(cell if block is None else cell + block * IN_BLOCK).astype(np.int64)


def pack(cells: Sequence[Cell], grid: Grid) -> Latents:
    """The float32 words (n x words, in [1, 2)) of cells (one int64 array of n per variable)."""
    words = np.zeros((len(grid.words), len(cells[0])), np.int64)
    for j, digits in enumerate(grid.words):
        for digit in digits:
            words[j] *= digit.radix
            words[j] += _remainder(cells[digit.variable] // digit.divisor, digit, grid)
    return (words.astype(np.int32) | _ONE).view(np.float32).T


def is_whole(digit: Digit, grid: Grid) -> bool:
    """Whether a digit is a leading one: the cell divided by the divisor, below the radix."""
    return digit.divisor * digit.radix >= grid.levels[digit.variable]


def _remainder(quotient: Cell, digit: Digit, grid: Grid) -> Cell:
    """The quotient modulo the radix, which a leading digit holds whole."""
    if is_whole(digit, grid):
        return quotient
    return quotient & (digit.radix - 1) if digit.radix.bit_count() == 1 else quotient % digit.radix


def unpack(latents: Latents, grid: Grid) -> list[Cell]:
    """The cells of words; the inverse of `pack`. Raises ValueError for latents that `pack` can't make."""
    words = np.ascontiguousarray(latents.T).view(np.int32) ^ _ONE
    if (words >> MANTISSA_BITS).any():
        raise ValueError(NOT_WORDS)
    cells = [np.zeros(len(latents), np.int64) for _ in grid.levels]
    for left, digits in zip(words, grid.words, strict=True):
        word = left
        for digit in reversed(digits):
            above = word // np.int32(digit.radix)  # several times as fast as a remainder
            cells[digit.variable] += (word - above * np.int32(digit.radix)).astype(np.int64) * digit.divisor
            word = above
        if word.any():
            raise ValueError(BEYOND_DIGITS)
    return cells


def _whole(position: Floats, levels: int) -> Floats:
    np.floor(position, out=position)
    return np.asarray(np.clip(position, 0, levels - 1, out=position))


def _fullest(levels: Sequence[int], digits: Sequence[int]) -> int:
    return max(n * digit for n, digit in zip(levels, digits, strict=False))


def _bytes(size: int) -> int:
    return -(-(size - 1).bit_length() // 8)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
