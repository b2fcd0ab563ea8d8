"""Kinds of numbers that jets have beside their four-momenta, found in a sample, and the symbols that stand for them.

A symbol is a small integer: 0 for a number that is kept as it is, then one for each mark (categories, and numbers that
stand apart, such as -999), then the steps of all others from the lowest. Long steps have a tail of bits of their own.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.files.events import Array

Steps = npt.NDArray[np.int64]
Symbols = npt.NDArray[np.int32]

_MOST_MARKS = 256  # marks of a column: categories, or numbers that stand apart
_MOST_STEPS = 1 << 20  # symbols of the steps of a column; longer ones have a tail
_MOST_TAIL = 48  # bits
_COMMON = 1 / 50  # share of the sample from which a number may stand apart
_APART = 8  # numbers that stand apart in one column, at most
_USES = 64  # jets for each category, at least
_SPARSE = 4  # steps for each different integer, from which integers are categories
_WIDER = 16  # the range of the sample is widened on both sides by a share 1 / _WIDER
_GRIDS = (*(10.0**-n for n in range(7)), *(2.0**-n for n in range(1, 13)))
_FAR = 1 / 2000  # share of cells on either side that may be far from all others, and are kept as they are
_FINEST = 1e-8  # steps of a logarithm
_TINIEST = 746  # -log of the smallest float64
_KINDS = ("boolean", "small integer", "category", "integer", "cut float", "grid", "float", "rounded", "as it is")
_SMALL = 256  # different values of a small integer


@dataclass(frozen=True)
class Bound:
    """The largest error of a number: relative, or absolute in its own unit."""

    size: float
    absolute: bool = False

    @property
    def text(self) -> str:
        """As `--precision` has it."""
        return f"{'abs:' if self.absolute else ''}{self.size:g}"

    def errors(self, before: Array, after: Array) -> npt.NDArray[np.float64]:
        """The error of each number: 0 of those that are the same bit for bit."""
        x, y = before.astype(np.float64), after.astype(np.float64)
        with np.errstate(all="ignore"):
            found = np.abs(y - x) if self.absolute else np.abs(y / x - 1)
        return np.where(_bits(before) == _bits(after), 0.0, found)


@dataclass(frozen=True)
class Kind:
    """What the numbers of a column are, and the symbols that stand for them.

    Steps are the integers themselves, the bits of floats in the order of their values without `cut` zeros behind,
    multiples of `step`, or, of a relative bound, those of `step` in the logarithm. Those of `size` symbols from `low`
    follow each other, 2^tail steps for a symbol. Marks are bits of numbers.
    """

    name: str
    low: int = 0
    size: int = 0
    cut: int = 0
    step: float = 0.0
    tail: int = 0
    marks: tuple[int, ...] = ()
    relative: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        limits = 0 <= self.size <= 2 * _MOST_STEPS and abs(self.low) < 1 << 63 and 0 <= self.cut < 64
        if self.name not in _KINDS or not limits or not 0 <= self.tail <= _MOST_TAIL:
            raise ValueError(f"{self.name!r} is no kind of {self.size} symbols from {self.low}")
        if not 0 <= self.step < math.inf or (self.name in ("grid", "rounded") and not self.step):
            raise ValueError(f"steps of {self.step}")
        if self.relative and self.step < _FINEST:
            raise ValueError(f"steps of {self.step}")
        if any(abs(mark) >= 1 << 63 for mark in self.marks):
            raise ValueError("marks beyond 64 bits")
        if len(self.marks) > _MOST_MARKS or len(set(self.marks)) < len(self.marks):
            raise ValueError(f"{len(self.marks)} marks")

    @property
    def symbols(self) -> int:
        """The number of symbols."""
        return self.first + self.size

    @property
    def first(self) -> int:
        """The symbol of the lowest step."""
        return 1 + len(self.marks)

    def encode(self, values: Array, bound: Bound | None = None) -> tuple[Symbols, Steps]:
        """The symbol of each number, and its tail; 0 where these would not give it back as it is, or within bound."""
        steps, there = self._steps(values)
        places = (steps >> self.tail) - self.low
        there &= (places >= 0) & (places < self.size)
        with np.errstate(all="ignore"):
            back = self._values(steps, values.dtype)
        there &= _bits(back) == _bits(values) if bound is None else bound.errors(values, back) <= _inner(bound, values)
        symbols = np.where(there, places + self.first, 0).astype(np.int32)
        if self.marks:
            marks, bits = self._sorted_marks(values.dtype), _bits(values)
            places = np.minimum(np.searchsorted(marks[0], bits), len(marks[0]) - 1)
            symbols = np.where(marks[0][places] == bits, marks[1][places], symbols).astype(np.int32)
        return symbols, steps & ((1 << self.tail) - 1)

    def decode(self, symbols: Symbols, tails: Steps, dtype: np.dtype[Any]) -> Array:
        """The numbers of symbols; those of symbol 0 are to be filled in."""
        steps = ((np.maximum(symbols.astype(np.int64) - self.first, 0) + self.low) << self.tail) | tails
        with np.errstate(all="ignore"):
            found = self._values(steps, dtype)
        if self.marks:
            marks = np.array([0, *self.marks], np.int64).astype(_unsigned(dtype)).view(dtype)
            return np.where(symbols < self.first, marks[np.minimum(symbols, len(self.marks))], found)
        return found

    def _sorted_marks(self, dtype: np.dtype[Any]) -> tuple[Array, Symbols]:
        marks = np.array(self.marks, np.int64).astype(_unsigned(dtype))
        order = np.argsort(marks)
        return marks[order], (order + 1).astype(np.int32)

    def _steps(self, values: Array) -> tuple[Steps, npt.NDArray[np.bool_]]:
        """The step of every number that has one, and which have."""
        if values.dtype.kind != "f":
            return values.astype(np.int64), np.ones(len(values), bool)
        if not self.step:
            size = _magnitudes(values)
            steps = size >> self.cut
            return np.where(np.signbit(values), -1 - steps, steps), (steps << self.cut) == size
        x = values.astype(np.float64)
        with np.errstate(all="ignore"):
            if self.relative:
                found = np.rint(np.log(np.abs(x)) / self.step) + self.zero
                found = np.where(x < 0, -found, found)
            else:
                found = np.rint(x / self.step)
            there = np.abs(found) < 2.0**53
            return np.where(there, found, 0).astype(np.int64), there

    def _values(self, steps: Steps, dtype: np.dtype[Any]) -> Array:
        if dtype.kind != "f":
            return steps.astype(dtype)
        if not self.step:
            size = np.where(steps < 0, -1 - steps, steps) << self.cut
            sign = np.asarray(steps < 0, _unsigned(dtype)) << _unsigned(dtype).type(8 * dtype.itemsize - 1)
            return np.asarray((size.astype(_unsigned(dtype)) | sign).view(dtype))
        if self.relative:
            size = np.exp((np.abs(steps) - self.zero) * self.step)
            return np.asarray(np.where(steps < 0, -size, size), dtype)
        return np.asarray(steps * self.step, dtype)

    @property
    def zero(self) -> int:
        """The step of a number of 1 with a relative bound; those of all others are positive, too."""
        return math.ceil(_TINIEST / self.step)


def kinds_of(values: Array, bound: Bound | None = None, whole: bool = False) -> list[Kind]:
    """The kinds that the numbers of a sample may have; `whole`: of all numbers, which have no others beside."""
    category = _category(values)
    found = [category] if category else list(_candidates(values, bound))
    return found if whole else [_widened(kind) for kind in found]


def kinds_of_cells(cells: Steps, whole: bool = False) -> list[Kind]:
    """The kinds that cells of a grid may have, from a sample: of all cells, or of all but far and common ones.

    Cells may be any integers; `whole` as for `kinds_of`.
    """
    marks, others = _apart(cells)
    found = [_fitted(Kind("integer"), cells)]
    if len(others):
        low, high = np.sort(others)[[int(share * (len(others) - 1)) for share in (_FAR, 1 - _FAR)]]
        found.append(_fitted(Kind("integer", marks=marks), others[(others >= low) & (others <= high)]))
    return found if whole else [_widened(kind) for kind in found]


def _category(values: Array) -> Kind | None:
    """The kind of a few different numbers, each of which is there many times."""
    bits, counts = np.unique(_bits(values), return_counts=True)
    if not len(bits) or len(bits) > _MOST_MARKS or len(values) < _USES * len(bits):
        return None
    if values.dtype.kind != "f":
        low, high = int(values.min()), int(values.max())
        if high - low < _SPARSE * len(bits):
            return None
    order = np.argsort(bits.view(values.dtype).astype(np.float64), kind="stable")
    return Kind("category", marks=_marks(bits[order]))


def _candidates(values: Array, bound: Bound | None) -> Iterable[Kind]:
    if values.dtype.kind != "f":
        low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
        name = "boolean" if 0 <= low <= high <= 1 else "small integer" if high - low < _SMALL else "integer"
        yield _fitted(Kind(name), values)
        return
    marks, others = _apart(values)
    if bound is not None:
        margin = _epsilon(values.dtype)
        half = bound.size if bound.absolute else math.log1p(bound.size)
        step = 2 * max(half - 4 * margin * (not bound.absolute), half / 2)
        yield _fitted(Kind("rounded", step=step, marks=marks, relative=not bound.absolute), others)
    size = _magnitudes(others)
    zeros = int(np.bitwise_or.reduce(size)) if len(size) else 1
    cut = min((zeros & -zeros).bit_length() - 1 if zeros else 0, 8 * values.dtype.itemsize - 2)
    yield _fitted(Kind("cut float" if cut else "float", cut=cut, marks=marks), others)
    for step in _GRIDS:
        with np.errstate(all="ignore"):
            steps = np.rint(values.astype(np.float64) / step)
            on_grid = (_bits((steps * step).astype(values.dtype)) == _bits(values)).all()
        if on_grid and len(values):
            yield _fitted(Kind("grid", step=step), values)
            break


def _apart(values: Array) -> tuple[tuple[int, ...], Array]:
    """The bits of numbers that stand apart, as they are common, and all numbers but these."""
    bits, counts = np.unique(_bits(values), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_APART]
    common = np.sort(bits[order[counts[order] >= max(4, _COMMON * len(values))]])
    return _marks(common), values[~np.isin(_bits(values), common)]


def _fitted(kind: Kind, values: Array) -> Kind:
    """The kind with the range of these numbers, and the tail that it needs."""
    steps, there = kind._steps(values)
    if values.dtype.kind == "f":
        there &= np.isfinite(values)
    if kind.relative:
        there &= values != 0
    if not there.any():
        return kind
    low, high = int(steps[there].min()), int(steps[there].max())
    tail = max(0, ((high - low) // _MOST_STEPS).bit_length())
    return replace(kind, low=low >> tail, size=(high >> tail) - (low >> tail) + 1, tail=tail)


def _widened(kind: Kind) -> Kind:
    """The kind for numbers beyond those of the sample, too."""
    if not kind.size or kind.name == "boolean":
        return kind
    more = kind.size // _WIDER + 1
    low = max(kind.low - more, -(1 << 63 >> kind.tail) + 1)
    return replace(kind, low=low, size=kind.size + 2 * more)


def _inner(bound: Bound, values: Array) -> float:
    """The bound less what another machine's logarithm may move a number by."""
    return bound.size - (0 if bound.absolute else min(_epsilon(values.dtype), bound.size / 2))


def _epsilon(dtype: np.dtype[Any]) -> float:
    """The relative distance of floats of this type."""
    return float(np.finfo(np.float64 if dtype.itemsize == 8 else np.float32).eps)


def _unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"u{dtype.itemsize}")


def _bits(values: Array) -> Array:
    return np.ascontiguousarray(values).view(_unsigned(values.dtype))


def _marks(bits: Array) -> tuple[int, ...]:
    return tuple(bits.astype(np.uint64).view(np.int64).tolist())


def _magnitudes(values: Array) -> Steps:
    """The bits of floats without their sign."""
    return _bits(values).astype(np.uint64).view(np.int64) & ((1 << (8 * values.dtype.itemsize - 1)) - 1)
