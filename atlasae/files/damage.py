"""What of an error is damage: to blame is the file, not the machine, the user or a bug of ours."""

import math
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from atlasae.errors import AtlasaeError, DamagedFileError, MemoryShortError, memory_short
from atlasae.files.branches import TITLES
from atlasae.files.remote import Location, Remote
from atlasae.files.sources import reaching
from atlasae.report import line_of

FACTS = (LookupError, TypeError, AttributeError, ArithmeticError)  # what JSON of another shape leads to
_ADDRESSABLE = 1 << 47  # bytes: no machine has more
_INTERPRETERS = ("uproot", "awkward")  # of the bytes of a file
_HEAD, _TAIL, _PIECE, _LONGEST = 1 << 20, 1 << 23, 1 << 20, 100  # bytes in which traces are looked for


def _as_told(*texts: str) -> bytes:
    """Short texts as a file has them: each behind its length."""
    return b"".join(bytes([len(text)]) + text.encode() for text in texts)


_KEYS = [("TTree", *titled) for titled in TITLES.items()] + [("TBasket", "checksums", "chunks")]
_TRACE = re.compile(b"|".join(re.escape(_as_told(*key)) for key in _KEYS))


def is_root(path: Location) -> bool:
    """Whether a file begins as a ROOT file does, whatever it is called: grids call them x.root.1."""
    if isinstance(path, Remote):
        path.check_ranges()
        return path.peek(0, 4) == b"root"
    with reaching(path), path.open("rb") as raw:
        return raw.read(4) == b"root"


def has_traces(path: Location) -> bool:
    """Whether a file on this machine has keys of what atlasae writes beside the jets near its begin or its end.

    What is left of a compressed file whose header or directory is damaged is known by them. For files elsewhere nobody
    looks: it would be as much as fetching them.
    """
    if not isinstance(path, Path):
        return False
    with reaching(path), path.open("rb") as file:
        size = path.stat().st_size
        starts = [*range(0, _HEAD, _PIECE), *range(max(_HEAD, size - _TAIL), size, _PIECE)]
        return any(_TRACE.search(_piece(file, start)) for start in starts)


def _piece(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.read(_PIECE + _LONGEST)


@contextmanager
def damage(what: str, *more: type[Exception]) -> Iterator[None]:
    """Turn what bad bytes lead to into a DamagedFileError about `what`; all that `is_of_bytes` denies is no damage.

    With `more`, such errors too, of whoever takes apart facts of a file. Without memory it is a MemoryShortError.
    """
    try:
        yield
    except Exception as error:
        if is_of_bytes(error) or isinstance(error, more):
            raise DamagedFileError(f"{what} is damaged: {line_of(error)}") from error
        if isinstance(error, MemoryError):
            raise MemoryShortError(memory_short(what, error)) from error
        raise


def is_of_bytes(error: Exception) -> bool:
    """Whether the bytes of a file are to blame for an error: not a bug of ours, not the machine, not the user.

    To blame are bytes for whatever is raised in uproot or awkward, of a dozen classes, and for each ValueError of ours:
    what a file says is checked before it is used. All else that our code raises is a bug of it. An OSError with a
    number comes of the system (uproot has one without, for a file that ends early), and a MemoryError of the machine,
    where it asks for what a machine may have.
    """
    if isinstance(error, AtlasaeError):
        return False
    if isinstance(error, MemoryError):
        return math.prod(getattr(error, "shape", ())) >= _ADDRESSABLE
    if isinstance(error, OSError):
        return error.errno is None
    return isinstance(error, ValueError) or _at_work(error) in _INTERPRETERS


def _at_work(error: Exception) -> str:
    """Which of atlasae and what it reads bytes with was at work when an error was raised: the innermost of them."""
    places = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = [place.partition(".")[0] for place in places]
    return next((name for name in reversed(packages) if name in {"atlasae", *_INTERPRETERS}), "")
