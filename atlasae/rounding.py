"""Inputs that were rounded before: mantissas that were cut, numbers on a grid; what is decoded is rounded as they were.

What an input does not tell apart needs no bits, and jets that come back with the bits they had take no more space than
before: NanoAOD cuts mantissas of pt to 10 bits, RNTuples hold Real32Trunc and Real32Quant, triggers count in units.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]  # of floats
Floats = npt.NDArray[np.float64]

FEWEST, LOOKED_AT = 20, 20_000  # values that show a grid
LACKING = 4  # bits that rounded numbers have fewer than their type
MOST_BITS = 52  # of a float64


@dataclass(frozen=True)
class Rounding:
    """To so many bits of the mantissa, or, where `bits` is none, to origin + k step in the unit of the branch."""

    bits: int | None = None
    origin: float = 0.0
    step: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for what rounds to nothing."""
        grid = bool(np.isfinite(self.origin)) and 0 < self.step < np.inf
        if not (grid if self.bits is None else 0 <= self.bits <= MOST_BITS):
            raise ValueError(f"{self} is none")

    def of(self, values: Floats) -> Floats:
        """The nearest numbers of the kind; NaN and inf as they are."""
        with np.errstate(invalid="ignore", over="ignore"):
            if self.bits is None:
                return np.asarray(self.origin + self.step * np.rint((values - self.origin) / self.step))
            mantissas, exponents = np.frexp(values)
            return np.asarray(np.ldexp(np.rint(np.ldexp(mantissas, self.bits + 1)), exponents - self.bits - 1))

    def room(self, values: Floats, bounds: Floats) -> Floats:
        """How far off each value may be decoded so that the nearest number is within its bound.

        Numbers that are q apart leave (floor(bound / q) + 1/2) q. Around 0 mantissas have numbers without end: there
        what is decoded moves by a share of itself.
        """
        if self.bits is None:
            return np.asarray((np.floor(bounds / self.step) + 0.5) * self.step)
        apart = np.ldexp(1.0, np.frexp(values)[1] - self.bits - 1)
        return np.where(values == 0, bounds / (1 + 0.5 ** (self.bits + 1)), (np.floor(bounds / apart) + 0.5) * apart)

    def finer(self) -> "Rounding":
        """The same with a number more between any two."""
        return replace(self, step=self.step / 2) if self.bits is None else replace(self, bits=self.bits + 1)


def find_rounding(column: Column) -> Rounding | None:
    """How the numbers of a branch were rounded; none where they are as fine as their type."""
    values = column[np.isfinite(column)]
    if not len(values):
        return None
    mantissa, bits = int(np.finfo(column.dtype).nmant), _bits(values)
    cut = Rounding(bits) if mantissa - bits >= LACKING else None
    return _grid(values[:: -(-len(values) // LOOKED_AT)].astype(np.float64), 0.5**bits) or cut


def _bits(values: Column) -> int:
    """The leading bits of the mantissas, all of which are 0 beyond."""
    mantissa = int(np.finfo(values.dtype).nmant)
    used = int(np.bitwise_or.reduce(values.view(f"u{values.itemsize}"))) & ((1 << mantissa) - 1)
    return mantissa - ((used & -used).bit_length() - 1) if used else 0


def _grid(values: Floats, blur: float) -> Rounding | None:
    """The grid that numbers are on, so far as they can tell that are known to a share `blur` of themselves."""
    known = np.unique(values)
    if len(known) < FEWEST:
        return None
    gaps, blurred = np.diff(known), 2 * blur * float(np.abs(known).max())
    if gaps.min() < 2**LACKING * blurred:
        return None
    steps = np.rint(gaps / gaps.min())
    step = float(gaps.sum() / steps.sum())
    away = known[1:] - known[0] - step * np.cumsum(steps)
    return Rounding(None, float(known[0]), step) if np.abs(away).max() <= blurred else None
