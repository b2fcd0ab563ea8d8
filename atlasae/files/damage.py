"""Which errors are damage of a file, rather than a fault of the machine, of the user or of atlasae."""

import math
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from atlasae.errors import AtlasaeError, DamagedFileError, MemoryShortError, memory_short
from atlasae.files.branches import TITLES
from atlasae.files.remote import Location, Remote
from atlasae.files.sources import reaching
from atlasae.report import line_of

FACTS = (LookupError, TypeError, AttributeError, ArithmeticError)  # raised where JSON has another structure
_ADDRESSABLE = 1 << 47  # bytes: the address space of a process
_INTERPRETERS = ("uproot", "awkward")  # packages that parse the bytes of a file
_HEAD, _TAIL, _PIECE, _LONGEST = 1 << 20, 1 << 23, 1 << 20, 100  # bytes searched for traces


def _as_told(*texts: str) -> bytes:
    """Short strings as ROOT stores them: a length byte, then the characters."""
    return b"".join(bytes([len(text)]) + text.encode() for text in texts)


_KEYS = [("TTree", *titled) for titled in TITLES.items()] + [("TBasket", "checksums", "chunks")]
_TRACE = re.compile(b"|".join(re.escape(_as_told(*key)) for key in _KEYS))


def is_root(path: Location) -> bool:
    """Whether a file begins with `root`: suffixes are unreliable, for grids name files x.root.1."""
    if isinstance(path, Remote):
        path.check_ranges()
        return path.peek(0, 4) == b"root"
    with reaching(path), path.open("rb") as raw:
        return raw.read(4) == b"root"


def has_traces(path: Location) -> bool:
    """Whether a local file has keys of atlasae's own trees in its first MiB or its last 8 MiB.

    They identify a compressed file whose header or directory is damaged. A remote file gives False: the search would
    download 9 MiB.
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
    """Turn errors caused by the bytes of a file (`is_of_bytes`, or of class `more`) into DamagedFileError about `what`.

    A MemoryError that they don't cause becomes MemoryShortError; all other errors pass.
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
    """Whether the bytes of a file caused an error, rather than a bug of atlasae, the machine or the user.

    They did if uproot or awkward raised it (a dozen classes), or if it is a ValueError of atlasae, which checks what it
    reads before it uses it. An OSError with errno comes from the system (uproot raises one without for a file that ends
    early). A MemoryError is of the bytes only if they ask for more than a process can address.
    """
    if isinstance(error, AtlasaeError):
        return False
    if isinstance(error, MemoryError):
        return math.prod(getattr(error, "shape", ())) >= _ADDRESSABLE
    if isinstance(error, OSError):
        return error.errno is None
    return isinstance(error, ValueError) or _at_work(error) in _INTERPRETERS


def _at_work(error: Exception) -> str:
    """The innermost of atlasae, uproot and awkward in the traceback of an error."""
    packages = [_package_of(frame) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((name for name in reversed(packages) if name in {"atlasae", *_INTERPRETERS}), "")


def _package_of(frame: FrameType) -> str:
    if frame.f_code.co_filename == "<dynamic>":  # a class that uproot made from the streamers of a file
        return "uproot"
    return str(frame.f_globals.get("__name__")).partition(".")[0]
