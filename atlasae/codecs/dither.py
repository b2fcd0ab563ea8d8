"""Subtractive dithering: grids that are shifted from row to row, so that errors do not depend on values.

Without it all rows share one grid, and decoded values lie on a comb. With an offset d that the decoder knows, a
position x in steps gets the cell floor(x + d), decoded as cell + 1/2 - d: the largest error stays half a step, and if d
is uniform, the error is uniform at every x (Roberts 1962; Gray and Stockham 1993; for images in FITS files: Pence,
White and Seaman 2010, PASP 122). Offsets are made by integer arithmetic: they are the same on all machines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

States = npt.NDArray[np.int64]
Offset = npt.NDArray[np.float64] | float

BLOCK_BITS = 5
IN_BLOCK = 1 << BLOCK_BITS  # cells in a block
BLOCK_STEPS = IN_BLOCK - 1  # steps in a block: an offset cuts the first and the last cell
STATE_BITS = 31  # of a state: products of two states fit in 63 bits
MASK = (1 << STATE_BITS) - 1
# The offset of a jet's pt is w p + w^2 e modulo 1, from the number p of its block of phi, e of that of eta, and the
# weight w = .464; that of eta adds the cell of pt to these three. Of all w, this one leaves the least of a comb: up to
# the 160th harmonic of a step, 1 % in pt and 0.5 % in eta, for any 60 or more blocks of eta and 101 of phi.
WEIGHT = 996_143_927
FACTOR, TERM = 1_103_515_245, 1_013_904_223  # of linear congruential generators: ISO C's example, Knuth and Lewis
ROUNDS = 2  # of a hash: after one, second differences of neighbouring states are equal
LOWER = 15  # bits of a square that are left out


def hashed(state: Any, rounds: int = ROUNDS) -> Any:
    """A hash of a state (an integer or int64 array from 0 to `MASK`): linear, then the middle of its square, twice."""
    for _ in range(rounds):
        state = state * FACTOR
        state += TERM
        state &= MASK
        state *= state
        state >>= LOWER
        state &= MASK
    return state


def offset(state: States) -> npt.NDArray[np.float64]:
    """The offset of a state, in [0, 1)."""
    return np.asarray(state * 2.0**-STATE_BITS)


@dataclass(frozen=True)
class CellPart:
    """What makes the next state: the cell of a variable, or its block or its cell in the block."""

    variable: int
    of_block: bool = False
    in_block: bool = False
    shifted: bool = False  # whether it has an offset, from the state of the parts before it

    def of(self, cell: Any) -> Any:
        """The number of this part in a cell (an array or tensor of integers)."""
        if self.of_block:
            return cell >> BLOCK_BITS
        return cell & BLOCK_STEPS if self.in_block else cell


@dataclass(frozen=True)
class Dither:
    """Which variables of a chain are shifted, and the order in which offsets are made from other cells of the row.

    Cells whose offsets depend on one another can't be decoded. So some variables (`blocks`) are cut into blocks of
    `BLOCK_STEPS` steps that are not shifted; others get offsets from these blocks and from one another; the cells in
    the blocks come last. `weight` and `rounds` make an offset from the one before; a file without them is of format 3.
    """

    shifted: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    weight: int = 919_296_317
    rounds: int = ROUNDS

    def check(self, free: Sequence[bool], exponent: float, levels: Sequence[int]) -> None:
        """Raise ValueError if it does not fit a chain of variables, or a grid's exponent and numbers of cells."""
        if self.shifted and exponent:
            raise ValueError("only equal steps can be shifted")
        known = set(self.blocks) <= set(self.shifted) <= set(range(len(free)))
        if not known or len(set(self.blocks)) < len(self.blocks) or not all(free[i] for i in self.blocks):
            raise ValueError(f"of {len(free)} variables, {self.shifted} can't be shifted, with {self.blocks} in blocks")
        if any(levels[i] % IN_BLOCK for i in self.blocks):
            raise ValueError(f"blocks of other than {IN_BLOCK} cells")
        if not 0 < self.weight <= MASK or not 0 <= self.rounds <= ROUNDS:
            raise ValueError(f"offsets with the weight {self.weight} and {self.rounds} rounds of a hash")

    def __bool__(self) -> bool:
        return bool(self.shifted)

    def window(self, i: int, begin: int, end: int) -> tuple[int, int]:
        """The first step and the number of cells of variable i, for positions from `begin` to `end` in steps."""
        if i in self.blocks:
            first = begin // BLOCK_STEPS
            return first * BLOCK_STEPS, (-(-end // BLOCK_STEPS) - first) * IN_BLOCK
        return begin, end - begin + (i in self.shifted)

    def order(self, free: Sequence[bool]) -> Iterator[CellPart]:
        """The parts in the order of coding; `free`: whether a variable's origin does not depend on others."""
        others = [i for i in range(len(free)) if i not in self.blocks]
        yield from (CellPart(i, of_block=True) for i in self.blocks)
        yield from (CellPart(i, shifted=i in self.shifted) for i in others if free[i])
        yield from (CellPart(i, in_block=True, shifted=True) for i in self.blocks)
        yield from (CellPart(i, shifted=i in self.shifted) for i in others if not free[i])

    def walk(self, free: Sequence[bool]) -> Iterator[tuple[CellPart, Offset, "Offsets"]]:
        """The parts, each with its offset (0.0 if it is not shifted), and the offsets, to which to add its number."""
        offsets = Offsets(self)
        for part in self.order(free):
            yield part, offsets.next() if part.shifted else 0.0, offsets


NO_DITHER = Dither()


class Offsets:
    """The offsets of rows, from the parts before.

    An offset is linear in the numbers added and, without rounds of a hash, in the offset before. So rows with any
    numbers near to one another have offsets far apart, which leave less of a comb than random ones.
    """

    def __init__(self, dither: Dither) -> None:
        self._dither = dither
        self._state: States | None = None
        self._added: list[npt.ArrayLike] = []

    def add(self, numbers: npt.ArrayLike) -> None:
        """Let the numbers (n, from 0) of a part change the next offsets."""
        self._added.append(numbers)

    def next(self) -> npt.NDArray[np.float64]:
        """The offsets of the next part (n, or one before any part was added)."""
        state = np.zeros(1, np.int64) if self._state is None else hashed(self._state, self._dither.rounds)
        for numbers in self._added:
            state = (state + np.asarray(numbers).astype(np.int64)) * self._dither.weight & MASK
        self._added.clear()
        self._state = state
        return offset(state)
