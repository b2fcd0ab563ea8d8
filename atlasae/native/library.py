"""The compiled parts, loaded where `pip install` could make them; without them, Python and its libraries do the same.

Arrays are NumPy's: C gets their addresses, checks what comes from files, and keeps nothing.
"""

import ctypes
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

_Column = npt.NDArray[Any]
_Cells = npt.NDArray[np.int32]
_Types = Sequence[np.dtype[Any]]
_Bools = npt.NDArray[np.bool_]
_ROWS = 16_384  # jets of a block, which stays in the cache between two calls
HERE = Path(__file__).parent
COMPILED = HERE / "compiled.library"  # not .so, which would be taken for a module
NO_MEMORY = -1  # what a function returns; 0 or more: done
INVALID = {  # why it returns any other number
    "atlasae_code": "cells beyond their table",
    "atlasae_measured": "cells beyond their table, or a bin without cells",
    "atlasae_walk": "jets outside the grid",
    "atlasae_words": "words that grow",
    "atlasae_unwords": "bytes that atlasae_words does not make",
}
_LONG = ("atlasae_push", "atlasae_words")  # return 64 bits
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # of malloc.h
_LARGE = 3_500_000  # bytes: less than a column of jets takes; with smaller arrays, page faults would take longer
_KEPT = 32_000_000  # bytes of free memory at the end of the heap that are kept for what comes next
BEHIND_WORDS = 20  # bytes: SYMBOL of unwords.c


class TableStruct(ctypes.Structure):
    """The probabilities of bins of cells by context, as coder.h has them."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("contexts", "bins", "place_bits", "settled")),
        ("edges", ctypes.c_void_p),
        ("widest", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("firsts", "widths", "each", "reciprocals", "places", "codes")),
        *((name, ctypes.c_void_p) for name in ("prior", "counts", "seen", "learned", "observed", "expected")),
        *((name, ctypes.c_void_p) for name in ("shares", "faith", "ratios", "starts", "guesses", "known")),
    )


class CoderStruct(ctypes.Structure):
    """What keeps cells or reads words, as coder.h has it."""

    _fields_ = (
        *(("kept", ctypes.c_void_p), ("at", ctypes.c_int64), ("end", ctypes.c_int64), ("tables", ctypes.c_void_p)),
        *(("words", ctypes.c_void_p), ("words_left", ctypes.c_int64), ("state", ctypes.c_uint64)),
    )


class GridStruct(ctypes.Structure):
    """The grid and the classes of the packed layout, as coder.h has them."""

    _fields_ = (
        ("sizes", ctypes.c_int64 * 4),
        *((name, ctypes.c_int64) for name in ("zero_mass", "light", "context")),
        *((name, ctypes.c_void_p) for name in ("anchors", "pt_class", "eta_class", "phi_from")),
        *((name, ctypes.c_void_p) for name in ("cosines_and_sines", "sizes_of_pt")),
    )


class JetsStruct(ctypes.Structure):
    """The grid of some jets, their columns and their cells, as cells.c has them."""

    _fields_ = (
        *((name, ctypes.c_double * 4) for name in ("low", "steps")),
        *((name, ctypes.c_int64 * 4) for name in ("sizes", "shifted")),
        ("first_heavy", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("floor", "largest_eta", "largest_phi", "unit")),
        *(("key", ctypes.c_int64), ("indices", ctypes.c_void_p)),
        *((name, ctypes.c_void_p * 4) for name in ("stored", "restored")),
        *(("first", ctypes.c_int64), ("itemsizes", ctypes.c_int64 * 4), ("cells", ctypes.c_void_p * 4)),
        *((name, ctypes.c_void_p) for name in ("of_pt", "of_mass", "mu")),
        *((name, ctypes.c_double * 4) for name in ("kept", "largest")),
        ("exact", ctypes.c_void_p),
    )


class RulerStruct(ctypes.Structure):
    """Cells of unequal widths on the fine cells of a table, as coder.h has them."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("falling", "has_top", "top")),
        *((name, ctypes.c_void_p) for name in ("step", "shift", "most", "places")),
        ("size", ctypes.c_int64),
        ("before", ctypes.c_void_p),
    )

    @classmethod
    def of(cls, numbers: Mapping[str, int], arrays: Mapping[str, npt.NDArray[Any] | None]) -> Self:
        """The structure of numbers and arrays, which it keeps alive."""
        found = cls(**numbers)
        for name, array in arrays.items():
            setattr(found, name, address_of(array))
        found.arrays = arrays
        return found


def sources_digest() -> str:
    """The SHA-256 of the sources, as scripts/compile.py makes it."""
    return sha256(b"".join(path.read_bytes() for path in sorted(HERE.glob("*.[ch]")))).hexdigest()


@cache
def library() -> ctypes.CDLL | None:
    """The compiled parts, or None where there are none, or those of other sources or machines."""
    try:
        found = ctypes.CDLL(str(COMPILED))
        made_of = ctypes.c_char.in_dll(found, "atlasae_sources")
    except (OSError, ValueError):
        return None
    return found if ctypes.string_at(ctypes.addressof(made_of)) == sources_digest().encode() else None


def address_of(array: npt.NDArray[Any] | None) -> int | None:
    """The address of a C-contiguous array, which the caller keeps alive."""
    return None if array is None else array.ctypes.data


def call(name: str, *arguments: Any) -> int:
    """Call a function of the library with addresses of arrays and structures, and with integers of 64 bits.

    Raises ValueError for invalid data, MemoryError.
    """
    function = getattr(library(), name)
    if name in _LONG:
        function.restype = ctypes.c_int64
    found = int(function(*map(_as_c, arguments)))
    if found == NO_MEMORY:
        raise MemoryError(f"{name}: no memory")
    if found < 0:
        raise ValueError(INVALID[name])
    return found


def _as_c(argument: Any) -> Any:
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(address_of(argument))
    return argument if argument is None else ctypes.byref(argument)


def lzma2_of_words(data: npt.NDArray[np.uint8]) -> bytes | None:
    """The bytes as LZMA2 with a window of 4 kB by words.c; None without it, or if they would grow too much."""
    if library() is None:
        return None
    room = np.empty(len(data) + len(data) // 8 + 64, np.uint8)
    try:
        return room[: call("atlasae_words", data, len(data), room)].tobytes()
    except ValueError:
        return None


def words_of_lzma2(data: npt.NDArray[np.uint8], packed: int, room: npt.NDArray[np.uint8]) -> bool:
    """Fill a room with the words that `packed` bytes of LZMA2 hold; False without unwords.c, and for what others made.

    It looks at as much as `BEHIND_WORDS` bytes of the data behind these.
    """
    if library() is None or len(data) < packed + BEHIND_WORDS:
        return False
    try:
        call("atlasae_unwords", data, packed, room, len(room))
    except ValueError:
        return False
    return True


def limit_heap() -> None:
    """Have all threads take memory from one heap of the C library, and give large arrays back when they are freed.

    Where the thread that writes behind has its own heap, compress of packed jets takes 50 MB more; where the columns of
    chunks lie in a heap, of which the C library decides as it goes, what is freed between others stays, some 20 MB.
    Other C libraries than glibc stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for option, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _KEPT)):
            mallopt(option, value)


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
        self, grid: CellGrid, key: int, indices: npt.NDArray[np.int64], types: _Types, unit: float = 1.0
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

    def encode(self, columns: Sequence[_Column]) -> _Cells:
        """The cells (4 x n) of jets; those of jets outside the grid are 0."""
        cells = np.empty((4, len(self.indices)), np.int32)
        self._point("stored", columns)
        self._point("cells", list(cells))
        for block in self._blocks():
            self._encode(block)
        return cells

    def decode(self, cells: _Cells) -> list[_Column]:
        """The columns of the middles of cells (4 x n)."""
        columns = [np.empty(len(self.indices), dtype) for dtype in self.types]
        self._point("restored", columns)
        self._point("cells", list(cells))
        for block in self._blocks():
            self._decode(block)
        return columns

    def encode_and_compare(
        self, columns: Sequence[_Column], bounds: Sequence[float]
    ) -> tuple[_Cells, _Bools, list[float], Iterator[tuple[slice, list[_Column]]]]:
        """The cells (4 x n), which jets are not within the bounds once restored, the largest error of each variable.

        All of these are filled while the blocks of restored columns, which follow, are taken.
        """
        n = len(self.indices)
        cells, exact, largest = np.empty((4, n), np.int32), np.empty(n, bool), [0.0] * len(bounds)
        return cells, exact, largest, self._compared(columns, bounds, cells, exact, largest)

    def _compared(
        self, columns: Sequence[_Column], bounds: Sequence[float], cells: _Cells, exact: _Bools, largest: list[float]
    ) -> Iterator[tuple[slice, list[_Column]]]:
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
        if not call("atlasae_estimate_cells", self._struct, begin, n):
            return
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

    def _point(self, name: str, arrays: Sequence[_Column]) -> None:
        """Point to arrays; raises ValueError for others than C takes."""
        dtypes = [np.dtype(np.int32)] * len(arrays) if name == "cells" else self.types
        for array, dtype in zip(arrays, dtypes, strict=True):
            if array.dtype != dtype or array.shape != self.indices.shape or not array.flags.c_contiguous:
                raise ValueError(f"{name}: {array.shape} of {array.dtype} for {self.indices.shape} of {dtype}")
        getattr(self._struct, name)[:] = [array.ctypes.data for array in arrays]


def can_pass(columns: Sequence[_Column], types: _Types) -> bool:
    """Whether `JetPass` takes these columns of four variables: contiguous, float32 or float64, of these types."""
    wanted = all(dtype.isnative and dtype.kind == "f" and dtype.itemsize in (4, 8) for dtype in types)
    there = all(c.dtype == dtype and c.flags.c_contiguous for c, dtype in zip(columns, types, strict=True))
    return library() is not None and len(columns) == 4 and wanted and there
