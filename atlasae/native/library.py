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
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

_MOST_PARTS, _MOST_DIGITS, _MOST_WORDS = 8, 16, 4  # of chain.c
_Column = npt.NDArray[Any]
_Bools = npt.NDArray[np.bool_]
_Columns = Sequence[_Column]
_Blocks = Iterator[tuple[slice, list[_Column]]]
_ROWS = 16_384  # jets of a block, which stays in the cache between two calls
_ETA, _MASS = 1, 3
_MOST = 2**31  # cells of a variable: their numbers are int32
HERE = Path(__file__).parent
COMPILED = HERE / "compiled.library"  # not .so, which would be taken for a module
NO_MEMORY = -1  # what a function returns; 0 or more: done
NOT_WORDS, BEYOND_DIGITS = "latents are not between 1 and 2", "latents exceed the digits of the grid"
INVALID = {  # why it returns -2, -3 ...
    "atlasae_code": ("cells beyond their table",),
    "atlasae_measured": ("cells beyond their table, or a bin without cells",),
    "atlasae_walk": ("jets outside the grid",),
    "atlasae_words": ("words that grow",),
    "atlasae_unwords": ("bytes that atlasae_words does not make",),
    "atlasae_from_words": (NOT_WORDS, BEYOND_DIGITS),
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


class ColumnsStruct(ctypes.Structure):
    """Columns of jets, and what to compare, as jets.h has them."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("unit", "floor", "largest_eta", "largest_phi")),
        *(("largest_turn", ctypes.c_double), ("rounding", ctypes.c_double), ("energy", ctypes.c_int64)),
        *((name, ctypes.c_void_p * 4) for name in ("stored", "restored")),
        *(("first", ctypes.c_int64), ("itemsizes", ctypes.c_int64 * 4)),
        *((name, ctypes.c_void_p) for name in ("of_pt", "of_mass", "mu", "cosh_stored", "cosh_restored")),
        ("errors", ctypes.c_int64),
        *((name, ctypes.c_double * 5) for name in ("kept", "largest")),
        ("exact", ctypes.c_void_p),
    )


class JetsStruct(ctypes.Structure):
    """The grid of some jets, their columns and their cells, as cells.c has them."""

    _fields_ = (
        ("columns", ColumnsStruct),
        *((name, ctypes.c_double * 4) for name in ("low", "steps")),
        *((name, ctypes.c_int64 * 4) for name in ("sizes", "shifted")),
        *(("first_heavy", ctypes.c_int64), ("key", ctypes.c_int64), ("indices", ctypes.c_void_p)),
        ("cells", ctypes.c_void_p * 4),
    )


class ChainStruct(ctypes.Structure):
    """A chain of equal steps, the columns of some jets and their words, as chain.c has them."""

    _fields_ = (
        ("columns", ColumnsStruct),
        *((name, ctypes.c_double * 4) for name in ("low", "spans", "origins", "cells", "first")),
        *(("levels", ctypes.c_int64 * 4), ("stand_in", ctypes.c_double * 4)),
        *((name, ctypes.c_int64) for name in ("weight", "rounds", "nodes")),
        *(("locations", ctypes.c_void_p), ("limits", ctypes.c_double * 4), ("per_node", ctypes.c_double * 2)),
        *((name, ctypes.c_int64) for name in ("parts_there", "digits_there", "words_there")),
        *(("parts", ctypes.c_int64 * (4 * _MOST_PARTS)), ("digits", ctypes.c_int64 * (5 * _MOST_DIGITS))),
        ("words", ctypes.c_void_p * _MOST_WORDS),
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
        raise ValueError(INVALID[name][NO_MEMORY - 1 - found])
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


def counted_bytes(words: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """Counts (12 x 256) of the three bytes of words below 2^24 by context, as words.c has it; None without it."""
    if library() is None:
        return None
    counts = np.zeros((12, 256), np.int64)
    call("atlasae_count_bytes", np.ascontiguousarray(words, np.int64), len(words), counts)
    return counts


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

    @property
    def compared(self) -> tuple[str, ...]:
        """The variables whose errors are found, in their order."""
        return ("pt", "eta", "phi", "E", "m") if self.energy else ("pt", "eta", "phi", "m")

    def can_pass(self, columns: _Columns) -> bool:
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
        room = len(self.parts) <= _MOST_PARTS and len(self.digits) <= _MOST_DIGITS and self.words <= _MOST_WORDS
        return room and max(*largest, *self.levels) < _MOST


class _Pass:
    """Passes over n jets, of which `numbers` (several x n) are made; the variables `wanted` are made of these."""

    numbers: ClassVar[str]  # the field of their addresses
    dtype: ClassVar[np.dtype[Any]]
    estimate: ClassVar[str]  # the function that makes numbers with logarithms of its own
    before_logs: ClassVar[str]  # that of what NumPy takes logarithms of
    after_logs: ClassVar[str]  # that of numbers with these
    before_exponentials: ClassVar[str]  # that of what it takes exponentials of

    def __init__(self, struct: Any, of: JetColumns, n: int, several: int, wanted: Sequence[int] = range(4)) -> None:
        self.of, self.n, self.several, self.wanted = of, n, several, wanted
        self._struct, self._columns = struct, struct.columns
        self._logs, self._sizes, self._mu, self._before, self._after = np.empty((5, min(_ROWS, n)))
        for name in ("unit", "floor", "largest_eta", "largest_phi", "largest_turn", "energy", "rounding"):
            setattr(self._columns, name, getattr(of, name))
        self._columns.itemsizes[:] = [dtype.itemsize for dtype in of.types]
        self._columns.of_pt, self._columns.of_mass = address_of(self._logs), address_of(self._sizes)
        self._columns.mu, self._columns.errors = address_of(self._mu), len(of.compared)
        if of.energy:
            self._columns.cosh_stored, self._columns.cosh_restored = map(address_of, (self._before, self._after))

    def encode(self, columns: _Columns) -> _Column:
        """The numbers (several x n) of jets; those of jets without any are of no use."""
        numbers = self._room()
        self._point("stored", columns)
        for block in self._blocks():
            self._encode(columns, block)
        return numbers

    def decode(self, numbers: _Column | _Columns, columns: _Columns) -> None:
        """Fill columns with the jets of numbers (several x n), those that are wanted; raises ValueError."""
        self._point("restored", columns)
        self._point(self.numbers, list(numbers))
        for block in self._blocks():
            self._decode([column[block] for column in columns], block)

    def encode_and_compare(
        self, columns: _Columns, bounds: Mapping[str, float]
    ) -> tuple[_Column, _Bools, dict[str, float], _Blocks]:
        """The numbers (several x n), which jets are not within bounds once restored, and the largest errors of others.

        All of these are filled while the blocks of restored columns, which follow, are taken.
        """
        numbers, exact, largest = self._room(), np.empty(self.n, bool), dict[str, float]()
        return numbers, exact, largest, self._compared(columns, bounds, exact, largest)

    def _compared(
        self, columns: _Columns, bounds: Mapping[str, float], exact: _Bools, largest: dict[str, float]
    ) -> _Blocks:
        self._point("stored", columns)
        self._columns.exact = address_of(exact)
        for place, variable in enumerate(self.of.compared):
            self._columns.kept[place] = bounds.get(variable, np.nan)
        room = [np.empty(len(self._logs), dtype) for dtype in self.of.types]
        self._columns.restored[:] = [address_of(array) for array in room]
        for block in self._blocks():
            self._columns.first = block.start
            restored = [array[: block.stop - block.start] for array in room]
            self._encode(columns, block)
            self._decode(restored, block)
            call("atlasae_compare_jets", self._columns, block.start, block.stop - block.start)
            yield block, restored
        largest |= zip(self.of.compared, self._columns.largest, strict=False)

    def _encode(self, columns: _Columns, block: slice) -> None:
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

    def _decode(self, columns: _Columns, block: slice) -> None:
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

    def _point(self, name: str, arrays: _Columns) -> None:
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
