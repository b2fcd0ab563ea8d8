"""Rounding of inputs: mantissas with few bits, or multiples of a step. Decoded values are rounded in the same way.

Codecs then need not store bits that the input lacks, and ROOT compresses a decompressed file as well as the original.
NanoAOD rounds mantissas of pt to 10 bits, RNTuples have Real32Trunc and Real32Quant, triggers use multiples of a step.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.jets.collections import Rounding
from atlasae.jets.coordinates import Floats, range_of_phi

Column = npt.NDArray[Any]  # float32 or float64

_FEWEST, LOOKED_AT = 20, 20_000  # different values that show a step, at least; values looked at, at most
RARE = 1e-3  # share of values that may be rounded otherwise: their jets are exact
DENSE = 2.0**-20  # of a bound: rounding to numbers that are closer together is neglected
LACKING = 4  # bits of the mantissa that rounding must have removed, at least


def rounded(values: Floats, rounding: Rounding) -> Floats:
    """Values rounded to the nearest number of this rounding; NaN and inf are kept."""
    with np.errstate(invalid="ignore", over="ignore"):
        if rounding.bits is None:
            return np.asarray(rounding.origin + rounding.step * np.rint((values - rounding.origin) / rounding.step))
        mantissas, exponents = np.frexp(values)
        return np.asarray(np.ldexp(np.rint(np.ldexp(mantissas, rounding.bits + 1)), exponents - rounding.bits - 1))


def rounded_phi(values: Floats, rounding: Rounding, full_turn: bool = False) -> Floats:
    """Angles rounded as `rounded` does, but to the next number inside if the nearest one is outside of their range."""
    found, (low, high), largest = rounded(values, rounding), *range_of_phi(full_turn)
    gap = gap_at(high, rounding)
    inside = np.where(found > high, found - gap, np.where(found < low, found + gap, found))
    return np.asarray(np.clip(inside, -largest if low else 0.0, largest))


def gap_at(end: float, rounding: Rounding) -> float:
    """The distance of neighbouring numbers near pi or 2 pi."""
    return rounding.step if rounding.bits is None else 2.0 ** (math.floor(math.log2(end)) - rounding.bits)


def spacing(values: Floats, rounding: Rounding) -> Floats:
    """The distance from each value to the nearest other number; below a power of two it is half of that above."""
    if rounding.bits is None:
        return np.full(len(values), rounding.step)
    mantissas, exponents = np.frexp(values)
    return np.asarray(np.ldexp(1.0, exponents - rounding.bits - 1 - (np.abs(mantissas) == 0.5)))


def room(values: Floats, rounding: Rounding, bounds: Floats) -> Floats:
    """The largest error of each value before rounding with which it is within its bound after rounding.

    For numbers at a distance q it is (floor(bound / q) + 1/2) q. Near 0 a rounded mantissa has numbers at any small
    distance: there rounding changes a decoded value by a relative 2^-(bits + 1).
    """
    below, around = spacing(values, rounding), bounds
    above = below
    if rounding.bits is not None:
        above = np.where(np.abs(np.frexp(values)[0]) == 0.5, 2 * below, below)
        around = bounds / (1 + 0.5 ** (rounding.bits + 1))
    dense = (below < bounds * DENSE) | (values == 0) & (rounding.bits is not None)
    sides = [np.where(dense, 1.0, side) for side in (below, above)]
    return np.where(dense, around, np.min([(np.floor(bounds / side) + 0.5) * side for side in sides], axis=0))


def finer(rounding: Rounding) -> Rounding:
    """The rounding with one more number between neighbours: one bit more, or half of the step."""
    if rounding.bits is None:
        return replace(rounding, step=rounding.step / 2)
    return replace(rounding, bits=rounding.bits + 1)


def find_rounding(column: Column) -> Rounding | None:
    """The coarsest rounding of all but a share `RARE` of the values; None if they have all bits of their type."""
    values = column[np.isfinite(column)].astype(column.dtype.newbyteorder("="))
    values = values[:: max(1, len(values) // LOOKED_AT)]
    if not len(values):
        return None
    mantissa, bits = int(np.finfo(values.dtype).nmant), _bits(values)
    found = [Rounding(bits)] if mantissa - bits >= LACKING else []
    found += [grid for known in (mantissa, bits) if (grid := _grid(values, 0.5**known))]
    wide = values.astype(np.float64)
    return max(found, key=lambda rounding: float(np.median(spacing(wide, rounding))), default=None)


def _bits(values: Column) -> int:
    """The number of leading bits of the mantissa after which all but a share `RARE` of the values have zeros only."""
    mantissa = int(np.finfo(values.dtype).nmant)
    words = values.view(f"u{values.itemsize}") & ((1 << mantissa) - 1)
    unused = np.where(words == 0, mantissa, np.frexp((words & -words).astype(np.float64))[1] - 1)
    return mantissa - int(np.quantile(unused, RARE, method="lower"))


def _grid(values: Column, blur: float) -> Rounding | None:
    """The grid on which values with a relative uncertainty `blur` lie, or None."""
    known = np.unique(values.astype(np.float64))
    if len(known) < _FEWEST:
        return None
    gaps, blurred = np.diff(known), 2 * blur * float(np.abs(known).max())
    if gaps.min() < 2**LACKING * blurred:
        return None
    steps = np.rint(gaps / gaps.min())
    step = float(gaps.sum() / steps.sum())
    away = known[1:] - known[0] - step * np.cumsum(steps)
    if np.abs(away).max() > 4 * blurred:  # the uncertainties of both numbers and of the step
        return None
    return _plain(known, values.dtype, step) or Rounding(None, float(known[0]), step)


def _plain(known: Floats, dtype: np.dtype[Any], step: float) -> Rounding | None:
    """The grid through 0 whose step has 6 digits, if all values are on it bit for bit, or None."""
    short = float(f"{step:.6g}")
    plain = Rounding(None, 0.0, short)
    return plain if np.array_equal(rounded(known, plain).astype(dtype), known.astype(dtype)) else None
