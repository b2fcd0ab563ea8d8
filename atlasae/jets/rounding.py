"""Inputs that were rounded before: mantissas that were cut, numbers on a grid; what is decoded is rounded as they were.

What an input does not tell apart needs no bits, and jets that come back with the bits they had take no more space than
before: NanoAOD cuts mantissas of pt to 10 bits, RNTuples hold Real32Trunc and Real32Quant, triggers count in units.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.jets.collections import Rounding
from atlasae.jets.coordinates import LARGEST_PHI, Floats

Column = npt.NDArray[Any]  # of floats

_FEWEST, LOOKED_AT = 20, 20_000  # values that show a grid
RARE = 1e-3  # of the values may be others: such jets are exact
DENSE = 2.0**-20  # of a bound: numbers so near each other round to nothing
LACKING = 4  # bits that rounded numbers have fewer than their type


def rounded(values: Floats, rounding: Rounding) -> Floats:
    """The nearest numbers that there are; NaN and inf as they are."""
    with np.errstate(invalid="ignore", over="ignore"):
        if rounding.bits is None:
            return np.asarray(rounding.origin + rounding.step * np.rint((values - rounding.origin) / rounding.step))
        mantissas, exponents = np.frexp(values)
        return np.asarray(np.ldexp(np.rint(np.ldexp(mantissas, rounding.bits + 1)), exponents - rounding.bits - 1))


def rounded_phi(values: Floats, rounding: Rounding) -> Floats:
    """The same for angles: where the nearest number is beyond pi, the next one on this side of it."""
    found = rounded(values, rounding)
    inside = np.where(np.abs(found) > np.pi, found - np.copysign(gap_at_pi(rounding), found), found)
    return np.asarray(np.clip(inside, -LARGEST_PHI, LARGEST_PHI))


def gap_at_pi(rounding: Rounding) -> float:
    """How far apart numbers are around pi."""
    return rounding.step if rounding.bits is None else 2.0 ** (1 - rounding.bits)


def spacing(values: Floats, rounding: Rounding) -> Floats:
    """How far the nearest other number is from each value; below a power of two they are half as far apart."""
    if rounding.bits is None:
        return np.full(len(values), rounding.step)
    mantissas, exponents = np.frexp(values)
    return np.asarray(np.ldexp(1.0, exponents - rounding.bits - 1 - (np.abs(mantissas) == 0.5)))


def room(values: Floats, rounding: Rounding, bounds: Floats) -> Floats:
    """How far off each value may be decoded so that the nearest number is within its bound.

    Numbers that are q apart leave (floor(bound / q) + 1/2) q. Around 0 mantissas have numbers without end: there what
    is decoded moves by a share of itself.
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
    """The same with a number more between any two."""
    if rounding.bits is None:
        return replace(rounding, step=rounding.step / 2)
    return replace(rounding, bits=rounding.bits + 1)


def find_rounding(column: Column) -> Rounding | None:
    """How nearly all numbers of a branch were rounded, the coarsest way; none where they are as fine as their type."""
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
    """The leading bits of the mantissas of nearly all numbers, which are 0 beyond."""
    mantissa = int(np.finfo(values.dtype).nmant)
    words = values.view(f"u{values.itemsize}") & ((1 << mantissa) - 1)
    unused = np.where(words == 0, mantissa, np.frexp((words & -words).astype(np.float64))[1] - 1)
    return mantissa - int(np.quantile(unused, RARE, method="lower"))


def _grid(values: Column, blur: float) -> Rounding | None:
    """The grid that numbers are on, so far as they can tell that are known to a share `blur` of themselves."""
    known = np.unique(values.astype(np.float64))
    if len(known) < _FEWEST:
        return None
    gaps, blurred = np.diff(known), 2 * blur * float(np.abs(known).max())
    if gaps.min() < 2**LACKING * blurred:
        return None
    steps = np.rint(gaps / gaps.min())
    step = float(gaps.sum() / steps.sum())
    away = known[1:] - known[0] - step * np.cumsum(steps)
    if np.abs(away).max() > 4 * blurred:  # of both numbers, and of the step
        return None
    return _plain(known, values.dtype, step) or Rounding(None, float(known[0]), step)


def _plain(known: Floats, dtype: np.dtype[Any], step: float) -> Rounding | None:
    """The grid of a short step through zero, if all numbers are on it bit for bit."""
    short = float(f"{step:.6g}")
    plain = Rounding(None, 0.0, short)
    return plain if np.array_equal(rounded(known, plain).astype(dtype), known.astype(dtype)) else None
