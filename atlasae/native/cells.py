"""Jets in four columns of floats as cells of a grid and back, by cells.c: the numbers that NumPy makes, bit for bit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.native.library import JetsStruct, address_of, call, library

Column = npt.NDArray[Any]
Cells = npt.NDArray[np.int32]
Types = Sequence[np.dtype[Any]]
Bools = npt.NDArray[np.bool_]
_ROWS = 16_384  # of a block, which stays in the cache between two calls


@dataclass(frozen=True)
class CellGrid:
    """A grid of cells: lower limits, steps and sizes of its four coordinates, and which of them are shifted.

    `first_heavy` is the cell of mu from which cells are shifted, `floor` that of m in MeV.
    """

    low: tuple[float, ...]
    steps: tuple[float, ...]
    sizes: tuple[int, ...]
    shifted: tuple[bool, ...]
    first_heavy: int
    floor: float
    largest_eta: float
    largest_phi: float


class JetPass:
    """Passes over jets with these indices in a chunk; `unit` is the MeV per unit of their columns of pt and m."""

    def __init__(
        self, grid: CellGrid, key: int, indices: npt.NDArray[np.int64], types: Types, unit: float = 1.0
    ) -> None:
        self.types, self.indices = types, np.ascontiguousarray(indices, np.int64)
        rows = min(_ROWS, len(indices))
        self._logs, self._sizes, self._mu = np.empty(rows), np.empty(rows), np.empty(rows)
        self._struct = JetsStruct(first_heavy=grid.first_heavy, floor=grid.floor, key=key, unit=unit)
        self._struct.largest_eta, self._struct.largest_phi = grid.largest_eta, grid.largest_phi
        self._struct.indices = address_of(self.indices)
        self._struct.of_pt, self._struct.of_mass = address_of(self._logs), address_of(self._sizes)
        self._struct.mu = address_of(self._mu)
        for name in ("low", "steps", "sizes", "shifted"):
            getattr(self._struct, name)[:] = getattr(grid, name)
        self._struct.itemsizes[:] = [dtype.itemsize for dtype in types]

    def encode(self, columns: Sequence[Column]) -> Cells:
        """The cells (4 x n) of jets; those of jets outside the grid are 0."""
        cells = np.empty((4, len(self.indices)), np.int32)
        self._point("stored", columns)
        self._point("cells", list(cells))
        for block in self._blocks():
            self._encode(block)
        return cells

    def decode(self, cells: Cells) -> list[Column]:
        """The columns of the middles of cells (4 x n)."""
        columns = [np.empty(len(self.indices), dtype) for dtype in self.types]
        self._point("restored", columns)
        self._point("cells", list(cells))
        for block in self._blocks():
            self._decode(block)
        return columns

    def encode_and_compare(
        self, columns: Sequence[Column], bounds: Sequence[float]
    ) -> tuple[Cells, Bools, list[float], Iterator[tuple[slice, list[Column]]]]:
        """The cells (4 x n), which jets are not within the bounds once restored, the largest error of each variable.

        All of these are filled while the blocks of restored columns, which follow, are taken.
        """
        n = len(self.indices)
        cells, exact, largest = np.empty((4, n), np.int32), np.empty(n, bool), [0.0] * len(bounds)
        return cells, exact, largest, self._compared(columns, bounds, cells, exact, largest)

    def _compared(
        self, columns: Sequence[Column], bounds: Sequence[float], cells: Cells, exact: Bools, largest: list[float]
    ) -> Iterator[tuple[slice, list[Column]]]:
        self._point("stored", columns)
        self._point("cells", list(cells))
        self._struct.exact = address_of(exact)
        self._struct.kept[:], self._struct.largest[:] = bounds, largest
        room = [np.empty(len(self._logs), dtype) for dtype in self.types]
        self._struct.restored[:] = [array.ctypes.data for array in room]
        for block in self._blocks():
            self._struct.first = block.start
            self._encode(block)
            self._decode(block)
            call("atlasae_compare_jets", self._struct, block.start, block.stop - block.start)
            yield block, [array[: block.stop - block.start] for array in room]
        largest[:] = self._struct.largest

    def _encode(self, block: slice) -> None:
        begin, n = block.start, block.stop - block.start
        call("atlasae_before_logs", self._struct, begin, n)
        with np.errstate(all="ignore"):  # jets that are unphysical have no cell
            np.log(self._logs[:n], out=self._logs[:n])
            np.log(self._sizes[:n], out=self._sizes[:n])
        call("atlasae_to_cells", self._struct, begin, n)

    def _decode(self, block: slice) -> None:
        begin, n = block.start, block.stop - block.start
        call("atlasae_before_exponentials", self._struct, begin, n)
        np.exp(self._logs[:n], out=self._logs[:n])
        np.exp(self._sizes[:n], out=self._sizes[:n])
        call("atlasae_to_columns", self._struct, begin, n)

    def _blocks(self) -> list[slice]:
        n = len(self.indices)
        return [slice(begin, min(begin + _ROWS, n)) for begin in range(0, n, _ROWS)]

    def _point(self, name: str, arrays: Sequence[Column]) -> None:
        """Point to arrays; raises ValueError for others than C takes."""
        dtypes = [np.dtype(np.int32)] * len(arrays) if name == "cells" else self.types
        for array, dtype in zip(arrays, dtypes, strict=True):
            if array.dtype != dtype or array.shape != self.indices.shape or not array.flags.c_contiguous:
                raise ValueError(f"{name}: {array.shape} of {array.dtype} for {self.indices.shape} of {dtype}")
        getattr(self._struct, name)[:] = [array.ctypes.data for array in arrays]


def can_pass(columns: Sequence[Column], types: Types) -> bool:
    """Whether `JetPass` takes these columns of four variables: contiguous, float32 or float64, of these types."""
    wanted = all(dtype.isnative and dtype.kind == "f" and dtype.itemsize in (4, 8) for dtype in types)
    there = all(c.dtype == dtype and c.flags.c_contiguous for c, dtype in zip(columns, types, strict=True))
    return library() is not None and len(columns) == 4 and wanted and there
