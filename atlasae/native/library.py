"""The compiled parts, loaded where `pip install` could make them; without them, Python and its libraries do the same.

Arrays are NumPy's: C gets their addresses, checks what comes from files, and keeps nothing.
"""

import ctypes
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
COMPILED = HERE / "compiled.library"  # not .so, which would be taken for a module
NO_MEMORY = -1  # what a function returns; 0 or more: done
INVALID = {  # why it returns any other number
    "atlasae_code": "cells beyond their table",
    "atlasae_walk": "jets outside the grid",
    "atlasae_words": "words that grow",
}
_WIDE = ("atlasae_push", "atlasae_words")  # return int64, others int
_HEAP = {-3: 12_000_000, -1: 20_000_000}  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h, in bytes


class TableStruct(ctypes.Structure):
    """The probabilities of bins of cells by context, as coder.h has them."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("contexts", "bins", "place_bits", "narrowest", "widest")),
        *((name, ctypes.c_void_p) for name in ("edges", "firsts", "widths", "shares", "reciprocals", "places")),
        *((name, ctypes.c_void_p) for name in ("prior", "parts", "usual", "learned", "all", "expected", "ratios")),
        *((name, ctypes.c_void_p) for name in ("seen", "starts", "guesses", "known")),
    )


class CoderStruct(ctypes.Structure):
    """What writes steps or reads words, as coder.h has it."""

    _fields_ = (
        *(("steps", ctypes.c_void_p), ("step", ctypes.c_int64), ("steps_end", ctypes.c_int64)),
        *(("words", ctypes.c_void_p), ("words_left", ctypes.c_int64), ("state", ctypes.c_uint64)),
    )


class GridStruct(ctypes.Structure):
    """The grid and the classes of the packed layout, as coder.h has them."""

    _fields_ = (
        ("sizes", ctypes.c_int64 * 4),
        *((name, ctypes.c_int64) for name in ("zero_mass", "light", "context")),
        *((name, ctypes.c_void_p) for name in ("anchors", "pt_class", "eta_class", "phi_from")),
        *((name, ctypes.c_void_p) for name in ("cosines", "sines", "sizes_of_pt", "directions")),
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
    function.restype = ctypes.c_int64 if name in _WIDE else ctypes.c_int
    found = int(function(*map(_as_c, arguments)))
    if found == NO_MEMORY:
        raise MemoryError(f"{name}: no memory")
    if found < 0:
        raise ValueError(INVALID[name])
    return found


def _as_c(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(address_of(argument))
    if isinstance(argument, ctypes.Structure | ctypes.Array):
        return ctypes.byref(argument)
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument


def lzma2_of_words(data: npt.NDArray[np.uint8]) -> bytes | None:
    """The bytes as LZMA2 with a window of 4 kB by words.c; None without it, or if they would grow too much."""
    if library() is None:
        return None
    room = np.empty(len(data) + len(data) // 8 + 64, np.uint8)
    try:
        return room[: call("atlasae_words", data, len(data), room)].tobytes()
    except ValueError:
        return None


def limit_heap() -> None:
    """Have the C library give back arrays of 12 MB and more at once, and the free end of its heap from 20 MB.

    glibc raises the first limit up to 32 MB by itself, and the heap then keeps the gaps between smaller arrays: packed
    jets take 30 to 50 MB less this way, in the same time. Other C libraries stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    for parameter, size in _HEAP.items():
        if mallopt:
            mallopt(parameter, size)
