"""Inputs that were rounded before: mantissas that were cut, numbers on a grid; what is decoded is rounded as they were.

What an input does not tell apart needs no bits, and jets that come back with the bits they had take no more space than
before: NanoAOD cuts mantissas of pt to 10 bits, RNTuples hold Real32Trunc and Real32Quant, triggers count in units.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.schema import Rounding

Column = npt.NDArray[Any]  # of floats
Floats = npt.NDArray[np.float64]

FEWEST, LOOKED_AT = 20, 20_000  # values that show a grid
LACKING = 4  # bits that rounded numbers have fewer than their type


def rounded(values: Floats, rounding: Rounding) -> Floats:
    """The nearest numbers that there are; NaN and inf as they are."""
    with np.errstate(invalid="ignore", over="ignore"):
        if rounding.bits is None:
            return np.asarray(rounding.origin + rounding.step * np.rint((values - rounding.origin) / rounding.step))
        mantissas, exponents = np.frexp(values)
        return np.asarray(np.ldexp(np.rint(np.ldexp(mantissas, rounding.bits + 1)), exponents - rounding.bits - 1))


def room(values: Floats, rounding: Rounding, bounds: Floats) -> Floats:
    """How far off each value may be decoded so that the nearest number is within its bound.

    Numbers that are q apart leave (floor(bound / q) + 1/2) q. Around 0 mantissas have numbers without end: there what
    is decoded moves by a share of itself.
    """
    if rounding.bits is None:
        return np.asarray((np.floor(bounds / rounding.step) + 0.5) * rounding.step)
    apart = np.ldexp(1.0, np.frexp(values)[1] - rounding.bits - 1)
    around = bounds / (1 + 0.5 ** (rounding.bits + 1))
    return np.where(values == 0, around, (np.floor(bounds / apart) + 0.5) * apart)


def finer(rounding: Rounding) -> Rounding:
    """The same with a number more between any two."""
    if rounding.bits is None:
        return replace(rounding, step=rounding.step / 2)
    return replace(rounding, bits=rounding.bits + 1)


def find_rounding(column: Column) -> Rounding | None:
    """How the numbers of a branch were rounded; none where they are as fine as their type."""
    values = column[np.isfinite(column)].astype(column.dtype.newbyteorder("="))
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
