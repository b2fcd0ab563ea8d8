"""Compiled passes over jets in columns: to cells or words and back, and their comparison with the original ones.

NumPy takes exponentials and hyperbolic cosines between two calls, and logarithms where those of C are not enough.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from atlasae.native.library import (
    MOST_DIGITS,
    MOST_PARTS,
    MOST_WORDS,
    ChainStruct,
    JetsStruct,
    address_of,
    call,
    library,
)  # fmt: skip

_Column = npt.NDArray[Any]
_Bools = npt.NDArray[np.bool_]
Columns = Sequence[_Column]
Blocks = Iterator[tuple[slice, list[_Column]]]
_ROWS = 16_384  # jets of a block, which stays in the cache between two calls
_ETA, _MASS = 1, 3
_MOST = 2**31  # cells of a variable: their numbers are int32


@dataclass(frozen=True)
class JetColumns:
    """How four columns of jets are stored: their types, MeV per unit of pt and m, and the limits of coordinates.

    With `energy`, the fourth is E instead of m. `largest_turn` is the largest phi, if that is in [0, 2 pi), else 0.
    `rounding` is the relative one of stored numbers, `floor` that of m in MeV.
    """

    types: tuple[np.dtype[Any], ...]
    unit: float
    floor: float
    largest_eta: float
    largest_phi: float
    largest_turn: float = 0.0
    energy: bool = False
    rounding: float = 0.0

    def can_pass(self, columns: Columns) -> bool:
        """Whether passes take these columns: contiguous, float32 or float64, of these types."""
        wanted = all(dtype.isnative and dtype.kind == "f" and dtype.itemsize in (4, 8) for dtype in self.types)
        there = all(c.dtype == dtype and c.flags.c_contiguous for c, dtype in zip(columns, self.types, strict=True))
        return library() is not None and wanted and there


@dataclass(frozen=True)
class CellGrid:
    """A grid of cells: lower limits, steps and sizes of its four coordinates, and which of them are shifted.

    `first_heavy` is the cell of mu from which cells are shifted.
    """

    low: tuple[float, ...]
    steps: tuple[float, ...]
    sizes: tuple[int, ...]
    shifted: tuple[bool, ...]
    first_heavy: int


@dataclass(frozen=True, eq=False)
class ChainGrid:
    """A chain of equal steps for pt, eta, phi and m, and its grid.

    `low` and `spans` are ranges of coordinates, counted from `origins`, to which that of m adds log pt and a location.
    This is a table (`nodes` x `nodes`, by log pt and eta) between `limits`, if there is one. Ranges have `cells`, of
    which there are `levels` from the `first` one. `parts` (variable, of block, in block, shifted) are in the order of
    coding, `digits` (word, variable, radix, divisor, whole) word by word. `stand_in` (m in units of its floor) is
    encoded instead of jets without coordinates. `weight` and `rounds` make offsets.
    """

    low: tuple[float, ...]
    spans: tuple[float, ...]
    origins: tuple[float, ...]
    cells: tuple[float, ...]
    first: tuple[int, ...]
    levels: tuple[int, ...]
    parts: tuple[tuple[int, bool, bool, bool], ...]
    digits: tuple[tuple[int, int, int, int, bool], ...]
    words: int
    stand_in: tuple[float, ...]
    weight: int
    rounds: int
    table: npt.NDArray[np.float64] | None = None
    limits: tuple[float, ...] = (0.0,) * 4
    per_node: tuple[float, ...] = (0.0,) * 2

    @property
    def fits(self) -> bool:
        """Whether C has room for its parts, digits and words, and numbers of all cells."""
        largest = [sum((radix - 1) * divisor for _, v, radix, divisor, _ in self.digits if v == i) for i in range(4)]
        room = len(self.parts) <= MOST_PARTS and len(self.digits) <= MOST_DIGITS and self.words <= MOST_WORDS
        return room and max(*largest, *self.levels) < _MOST


class _Pass:
    """Passes over n jets, of which `numbers` (several x n) are made; the variables `wanted` are made of these."""

    numbers: ClassVar[str]  # the field of their addresses
    dtype: ClassVar[np.dtype[Any]]
    estimate: ClassVar[str]  # functions: numbers by logarithms of C, what NumPy takes logarithms of, numbers by these ...
    before_logs: ClassVar[str]
    after_logs: ClassVar[str]
    before_exponentials: ClassVar[str]  # ... and what it takes exponentials of

    def __init__(self, struct: Any, of: JetColumns, n: int, several: int, wanted: Sequence[int] = range(4)) -> None:
        self.of, self.n, self.several, self.wanted = of, n, several, wanted
        self._struct, self._columns = struct, struct.columns
        self._logs, self._sizes, self._mu, self._before, self._after = np.empty((5, min(_ROWS, n)))
        for name in ("unit", "floor", "largest_eta", "largest_phi", "largest_turn", "energy", "rounding"):
            setattr(self._columns, name, getattr(of, name))
        self._columns.itemsizes[:] = [dtype.itemsize for dtype in of.types]
        self._columns.of_pt, self._columns.of_mass = address_of(self._logs), address_of(self._sizes)
        self._columns.mu, self._columns.errors = address_of(self._mu), 5 if of.energy else 4
        if of.energy:
            self._columns.cosh_stored, self._columns.cosh_restored = map(address_of, (self._before, self._after))

    def encode(self, columns: Columns) -> _Column:
        """The numbers (several x n) of jets; those of jets without any are of no use."""
        numbers = self._room()
        self._point("stored", columns)
        for block in self._blocks():
            self._encode(columns, block)
        return numbers

    def decode(self, numbers: _Column, columns: Columns) -> None:
        """Fill columns with the jets of numbers (several x n), those that are wanted; raises ValueError."""
        self._point("restored", columns)
        self._point(self.numbers, list(numbers))
        for block in self._blocks():
            self._decode([column[block] for column in columns], block)

    def encode_and_compare(
        self, columns: Columns, bounds: Sequence[float]
    ) -> tuple[_Column, _Bools, list[float], Blocks]:
        """The numbers (several x n), which jets are not within bounds once restored, and the largest errors of others.

        All of these are filled while the blocks of restored columns, which follow, are taken. Bounds are of pt, eta,
        phi, m, or E and m; NaN is none.
        """
        numbers, exact, largest = self._room(), np.empty(self.n, bool), [0.0] * len(bounds)
        return numbers, exact, largest, self._compared(columns, bounds, exact, largest)

    def _compared(self, columns: Columns, bounds: Sequence[float], exact: _Bools, largest: list[float]) -> Blocks:
        self._point("stored", columns)
        self._columns.exact = address_of(exact)
        self._columns.kept[: len(bounds)], self._columns.largest[: len(bounds)] = bounds, largest
        room = [np.empty(len(self._logs), dtype) for dtype in self.of.types]
        self._columns.restored[:] = [address_of(array) for array in room]
        for block in self._blocks():
            self._columns.first = block.start
            restored = [array[: block.stop - block.start] for array in room]
            self._encode(columns, block)
            self._decode(restored, block)
            call("atlasae_compare_jets", self._columns, block.start, block.stop - block.start)
            yield block, restored
        largest[:] = self._columns.largest[: len(bounds)]

    def _encode(self, columns: Columns, block: slice) -> None:
        begin, n = block.start, block.stop - block.start
        with np.errstate(all="ignore"):  # jets that are unphysical have no numbers of use
            if self.of.energy:
                np.cosh(columns[_ETA][block], out=self._before[:n], dtype=np.float64)
            if not call(self.estimate, self._struct, begin, n):
                return
            call(self.before_logs, self._struct, begin, n)
            np.log(self._logs[:n], out=self._logs[:n])
            np.log(self._sizes[:n], out=self._sizes[:n])
        call(self.after_logs, self._struct, begin, n)

    def _decode(self, columns: Columns, block: slice) -> None:
        begin, n = block.start, block.stop - block.start
        call(self.before_exponentials, self._struct, begin, n)
        if 0 in self.wanted:
            np.exp(self._logs[:n], out=self._logs[:n])
        if _MASS in self.wanted:
            np.exp(self._sizes[:n], out=self._sizes[:n])
            if self.of.energy:
                np.cosh(columns[_ETA], out=self._after[:n], dtype=np.float64)
        call("atlasae_to_columns", self._columns, begin, n)

    def _blocks(self) -> list[slice]:
        return [slice(begin, min(begin + _ROWS, self.n)) for begin in range(0, self.n, _ROWS)]

    def _room(self) -> _Column:
        numbers = np.empty((self.several, self.n), self.dtype)
        self._point(self.numbers, list(numbers))
        return numbers

    def _point(self, name: str, arrays: Columns) -> None:
        """Point to arrays; raises ValueError for others than C takes."""
        is_column = name != self.numbers
        dtypes = self.of.types if is_column else [self.dtype] * self.several
        for array, dtype in zip(arrays, dtypes, strict=True):
            if array.dtype != dtype or array.shape != (self.n,) or not array.flags.c_contiguous:
                raise ValueError(f"{name}: {array.shape} of {array.dtype} for {(self.n,)} of {dtype}")
        there = self.wanted if name == "restored" else range(len(dtypes))
        target = getattr(self._struct.columns if is_column else self._struct, name)
        target[: len(dtypes)] = [address_of(array) if i in there else None for i, array in enumerate(arrays)]


class JetPass(_Pass):
    """Passes over jets with these indices in a chunk, to cells and back."""

    numbers, dtype = "cells", np.dtype(np.int32)
    estimate, before_logs, after_logs = "atlasae_estimate_cells", "atlasae_before_logs", "atlasae_to_cells"
    before_exponentials = "atlasae_before_exponentials"

    def __init__(self, grid: CellGrid, key: int, indices: npt.NDArray[np.int64], of: JetColumns) -> None:
        super().__init__(JetsStruct(first_heavy=grid.first_heavy, key=key), of, len(indices), 4)
        self.indices = np.ascontiguousarray(indices, np.int64)
        self._struct.indices = address_of(self.indices)
        for name in ("low", "steps", "sizes", "shifted"):
            getattr(self._struct, name)[:] = getattr(grid, name)


class ChainPass(_Pass):
    """Passes over n jets, to the bits of float32 words and back, of which they make the variables `wanted`."""

    numbers, dtype = "words", np.dtype(np.uint32)
    estimate, before_logs, after_logs = "atlasae_estimate_words", "atlasae_before_logs_of_words", "atlasae_to_words"
    before_exponentials = "atlasae_from_words"

    def __init__(self, grid: ChainGrid, of: JetColumns, n: int, wanted: Sequence[int] = range(4)) -> None:
        super().__init__(ChainStruct(weight=grid.weight, rounds=grid.rounds), of, n, grid.words, wanted)
        struct, self.grid = self._struct, grid
        for name in ("low", "spans", "origins", "cells", "first", "levels", "stand_in", "limits", "per_node"):
            getattr(struct, name)[:] = getattr(grid, name)
        if grid.table is not None:
            struct.nodes, struct.locations = len(grid.table), address_of(grid.table)
        needed = max((place for place, part in enumerate(grid.parts, 1) if part[0] in wanted), default=0)
        struct.parts_there, struct.digits_there, struct.words_there = needed, len(grid.digits), grid.words
        for name in ("parts", "digits"):
            numbers = [number for one in getattr(grid, name) for number in one]
            getattr(struct, name)[: len(numbers)] = numbers
