"""Jets in four columns of floats as cells of a grid and back, by cells.c: the numbers that NumPy makes, bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.native.library import JetsStruct, address_of, call, library

Column = npt.NDArray[Any]
Cells = npt.NDArray[np.int32]
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
        self, grid: CellGrid, key: int, indices: npt.NDArray[np.int64], types: Sequence[np.dtype[Any]], unit: float = 1.0
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
        self._point("cells", cells)
        for begin, n in self._blocks():
            call("atlasae_before_logs", self._struct, begin, n)
            with np.errstate(all="ignore"):  # jets that are unphysical have no cell
                np.log(self._logs[:n], out=self._logs[:n])
                np.log(self._sizes[:n], out=self._sizes[:n])
            call("atlasae_to_cells", self._struct, begin, n)
        return cells

    def decode(self, cells: Cells) -> list[Column]:
        """The columns of the middles of cells (4 x n)."""
        columns = [np.empty(len(self.indices), dtype) for dtype in self.types]
        self._point("restored", columns)
        self._point("cells", cells)
        for begin, n in self._blocks():
            call("atlasae_before_exponentials", self._struct, begin, n)
            with np.errstate(over="ignore"):
                np.exp(self._logs[:n], out=self._logs[:n])
                np.exp(self._sizes[:n], out=self._sizes[:n])
            call("atlasae_to_columns", self._struct, begin, n)
        return columns

    def compare(
        self, columns: Sequence[Column], restored: Sequence[Column], bounds: Sequence[float]
    ) -> tuple[npt.NDArray[np.bool_], list[float]]:
        """Which jets are not within the bounds once restored, and the largest error of the others by variable."""
        exact = np.empty(len(self.indices), bool)
        self._point("stored", columns)
        self._point("restored", restored)
        self._struct.exact = address_of(exact)
        self._struct.kept[:] = bounds
        self._struct.largest[:] = [0.0] * len(bounds)
        call("atlasae_compare_jets", self._struct, 0, len(exact))
        return exact, list(self._struct.largest)

    def _blocks(self) -> list[tuple[int, int]]:
        n = len(self.indices)
        return [(begin, min(_ROWS, n - begin)) for begin in range(0, n, _ROWS)]

    def _point(self, name: str, arrays: Sequence[Column]) -> None:
        """Point to arrays; raises ValueError for others than C takes."""
        dtypes = [np.dtype(np.int32)] * len(arrays) if name == "cells" else self.types
        for array, dtype in zip(arrays, dtypes, strict=True):
            if array.dtype != dtype or array.shape != self.indices.shape or not array.flags.c_contiguous:
                raise ValueError(f"{name}: {array.shape} of {array.dtype} for {self.indices.shape} of {dtype}")
        getattr(self._struct, name)[:] = [array.ctypes.data for array in arrays]


def can_pass(columns: Sequence[Column], types: Sequence[np.dtype[Any]]) -> bool:
    """Whether `JetPass` takes these columns of four variables: contiguous, float32 or float64, of these types."""
    wanted = all(dtype.isnative and dtype.kind == "f" and dtype.itemsize in (4, 8) for dtype in types)
    there = all(c.dtype == dtype and c.flags.c_contiguous for c, dtype in zip(columns, types, strict=True))
    return library() is not None and len(columns) == 4 and wanted and there
