"""The compiled parts, loaded where `pip install` could make them; without them, Python and its libraries do the same.

Arrays are NumPy's: C gets their addresses, checks what comes from files, and keeps nothing.
"""

import ctypes
import sys
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

MOST_PARTS, MOST_DIGITS, MOST_WORDS = 8, 16, 4  # of chain.c
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
        *((name, ctypes.c_double) for name in ("unit", "floor", "largest_eta", "largest_phi", "largest_turn", "rounding")),
        ("energy", ctypes.c_int64),
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
        *(("parts", ctypes.c_int64 * (4 * MOST_PARTS)), ("digits", ctypes.c_int64 * (5 * MOST_DIGITS))),
        ("words", ctypes.c_void_p * MOST_WORDS),
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
