"""What uproot reads our files by: their bytes, blocks that hold no more than they say, classes of one file alone."""

import os
import weakref
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from functools import partial, update_wrapper
from inspect import unwrap
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from types import FunctionType
from typing import Any, Self

import cramjam
import numpy as np
import uproot

from atlasae.errors import UnreachableError
from atlasae.files.remote import Remote

_BOUNDED = {"ZLIB": cramjam.zlib, "LZMA": cramjam.xz, "ZSTD": cramjam.zstd}  # LZ4's blocks are bounded in uproot's own


def own_classes() -> dict[str, Any]:
    """uproot's classes as they were before any file, to be given to one: what it teaches of its own ends with it.

    uproot makes classes by what a file says of them, and keeps them for every later file of the process: one damaged
    file would spoil them all.
    """
    return {name: _own(found) for name, found in list(uproot.classes.items()) if not _is_taught(found)}


def _own(found: Any) -> Any:
    if not issubclass(found, uproot.model.DispatchByVersion):
        return found
    versions = {version: one for version, one in list(found.known_versions.items()) if not _is_taught(one)}
    return type(found.__name__, (found,), {"known_versions": versions, "__module__": found.__module__})


def _is_taught(found: Any) -> bool:
    """Whether some file told of a class."""
    return bool(found.__module__ == uproot.dynamic.__name__)


class OwnSource(uproot.source.chunk.Source):  # type: ignore[misc]  # uproot has no types
    """What uproot reads a file by that atlasae opened, and by what `guarded` knows it."""


class LocalSource(OwnSource):
    """What uproot reads a file on this machine by: a disk that fails is told of, and is no damage.

    uproot's own may map the file into memory: where its disk fails, or another program cuts it, that ends the process.
    """

    def __init__(self, file_path: str, **_: Any) -> None:
        super().__init__()
        self._file_path = file_path
        with reaching(file_path):
            self._descriptor = os.open(file_path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self._close = weakref.finalize(self, os.close, self._descriptor)  # uproot forgets it where it can't go on
            self._num_bytes = os.fstat(self._descriptor).st_size

    @property
    def closed(self) -> bool:
        """Whether its file is."""
        return not self._close.alive

    def chunk(self, start: int, stop: int) -> Any:
        """One range of bytes."""
        return uproot.source.chunk.Chunk(
            self, start, stop, uproot.source.futures.TrivialFuture(self._read(start, stop))
        )

    def chunks(self, ranges: list[tuple[int, int]], notifications: Any) -> list[Any]:
        """Many ranges, each read when it is looked at: so no more than one is held that nobody needs yet."""
        chunks = [uproot.source.chunk.Chunk(self, *one, _Later(partial(self._read, *one))) for one in ranges]
        for chunk in chunks:
            notifications.put(chunk)
        return chunks

    def _read(self, start: int, stop: int) -> bytes:
        """The bytes of [start, stop), so far as the file has them."""
        position, stop = max(0, int(start)), min(int(stop), self._num_bytes)
        parts = []
        with reaching(self._file_path):
            while position < stop and (part := os.pread(self._descriptor, stop - position, position)):
                parts.append(part)
                position += len(part)
        return b"".join(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


class _Later:
    """A future whose result is made when it is asked for."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make

    def result(self, timeout: float | None = None) -> bytes:
        """The result."""
        return self._make()


@contextmanager
def reaching(path: str | Path) -> Iterator[None]:
    """Turn what the system says of a file that it can't read into an UnreachableError."""
    try:
        yield
    except OSError as error:
        raise UnreachableError(f"can't read '{path}': {error.strerror or error}") from error


class _Guard:
    """While it is entered, blocks of files that an `OwnSource` reads unpack to no more than they say.

    A few hundred bytes of a file may unpack to as many gigabytes, and uproot's own would do it before it looks. All of
    a process unpacks by one function of uproot. Ours is in its place so long as files of ours are open, and asks whose
    bytes they are: what other threads read of their own files meanwhile is unpacked by uproot's, as ever.
    """

    def __init__(self) -> None:
        self._lock, self._open = Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._open += 1
            if self._open == 1:
                self._theirs = uproot.compression.decompress
                self._ours = uproot.compression.decompress = _by_source(self._theirs)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open -= 1
            if not self._open and uproot.compression.decompress is self._ours:  # else somebody put theirs over it
                uproot.compression.decompress = self._theirs


guarded = _Guard()


def _by_source(theirs: Any) -> Any:
    def decompress(chunk: Any, *arguments: Any, **more: Any) -> Any:
        unpack = _unpack_blocks if isinstance(chunk.source, OwnSource) else theirs
        return unpack(chunk, *arguments, **more)

    return update_wrapper(decompress, theirs)


def _unpack(into: Callable[[Any, Any], int], data: Any, uncompressed_bytes: int) -> Any:
    """Decompress as many bytes as a block says it holds; raises where there are more of them, and takes no memory."""
    unpacked = np.empty(uncompressed_bytes, np.uint8)
    try:
        return unpacked[: into(data, unpacked)]
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from error


def _bounded(name: str) -> Any:
    """uproot's decompressor of this name, but bounded."""
    found = copy(getattr(uproot.compression, name))
    found.decompress = partial(_unpack, _BOUNDED[found.name].decompress_into)
    return found


def _with_bounds() -> Any:
    """uproot's `decompress`, with decompressors that are bounded."""
    theirs = unwrap(uproot.compression.decompress)  # if others have put theirs around it
    names = [f"_decompress_{name}" for name in _BOUNDED]
    places = vars(uproot.compression) | {name: _bounded(name) for name in names}
    return FunctionType(theirs.__code__, places, theirs.__name__, theirs.__defaults__)


_unpack_blocks = _with_bounds()
REQUESTS = 4  # at once, of a file elsewhere


class RemoteSource(OwnSource):
    """What uproot reads a file elsewhere by: many ranges at once, each checked to be as long as asked for.

    uproot's own takes what a web server sends whole for a part, and makes damage of a connection that breaks.
    """

    def __init__(self, file_path: str, *, remote: Remote, **_: Any) -> None:
        super().__init__()
        self._file_path, self._remote = file_path, remote
        self._num_bytes = remote.stat().st_size
        self._executor = ThreadPoolExecutor(REQUESTS)
        self._fetched: dict[tuple[int, int], Any] = {}  # futures of what was asked for ahead
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether its file is."""
        return self._closed

    def chunk(self, start: int, stop: int) -> Any:
        """One range of bytes: of the directory, or a page that was asked for ahead."""
        if fetched := self._fetched.get((start, stop)):
            return uproot.source.chunk.Chunk(self, start, stop, fetched)
        data = uproot.source.futures.TrivialFuture(self._remote.peek(start, stop))
        return uproot.source.chunk.Chunk(self, start, stop, data)

    def chunks(self, ranges: list[tuple[int, int]], notifications: Any) -> Any:
        """Many ranges, those close to each other by one request; each is told of when it is there."""
        if not set(ranges) <= self._fetched.keys():
            return uproot.source.coalesce.coalesce_requests(
                ranges, lambda asked: self._executor.submit(self._remote.read, asked), self, notifications
            )
        chunks = [uproot.source.chunk.Chunk(self, *one, self._fetched[one]) for one in ranges]
        for chunk in chunks:
            chunk.future.add_done_callback(uproot.source.chunk.notifier(chunk, notifications))
        return chunks

    def fetch(self, ranges: Collection[tuple[int, int]]) -> None:
        """Ask for ranges that `chunks` is to be asked for next; those before are forgotten."""
        known = {one: future for one, future in self._fetched.items() if one in ranges}
        chunks = self.chunks([one for one in ranges if one not in known], SimpleQueue())
        self._fetched = known | {(chunk.start, chunk.stop): chunk.future for chunk in chunks}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._closed:  # uproot closes it once more when Python ends, with nobody there to answer
            self._closed = True
            self._executor.shutdown(cancel_futures=True)
            self._remote.close()
