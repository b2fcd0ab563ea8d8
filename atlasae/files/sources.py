"""How uproot reads files here: own sources of bytes, decompression with a bound on size, classes kept per file.

And what ROOT stores besides values and uproot does not write: of a tree besides its branches, of an object its members.
"""

import lzma
import os
import struct
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from functools import partial, update_wrapper
from inspect import unwrap
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from types import FunctionType, SimpleNamespace
from typing import Any, Self

import cramjam
import numpy as np
import numpy.typing as npt
import uproot

from atlasae.errors import UnreachableError
from atlasae.files.remote import Remote
from atlasae.xz import unpack_basket

MEANT = 0x00FFFE80  # bits of TObject::fBits that classes and users set; the others are ROOT's own state
_CLIPPED = 1 << 10  # TGraph::kClipFrame, set by default: the graph is drawn inside its frame
_HELD = {"@fUniqueID", "@pidf", "fSize", "fN"}  # state in memory; lengths of lists, which are compared
_BYTE_COUNT = 0x40000000  # kByteCountMask: the word gives the length of what follows
_REFERENCED = 1 << 4  # TObject::kIsReferenced: two more bytes, the process id, follow fBits
_NEW_CLASS = 0xFFFFFFFF


def own_classes() -> dict[str, type]:
    """uproot's built-in classes, to be given to one file as its own.

    uproot makes classes from the streamers of a file and keeps them for every later file of the process: one damaged
    file would spoil all later ones.
    """
    return {name: _own(found) for name, found in list(uproot.classes.items()) if not _is_taught(found)}


def _own(found: Any) -> Any:
    if not issubclass(found, uproot.model.DispatchByVersion):
        return found
    versions = {version: one for version, one in list(found.known_versions.items()) if not _is_taught(one)}
    return type(found.__name__, (found,), {"known_versions": versions, "__module__": found.__module__})


def _is_taught(found: Any) -> bool:
    """Whether uproot made this class from the streamers of a file."""
    return bool(found.__module__ == uproot.dynamic.__name__)


class OwnSource(uproot.source.chunk.Source):  # type: ignore[misc]  # uproot has no types
    """A source of bytes that atlasae opened, which `guarded` recognises."""


class LocalSource(OwnSource):
    """Reads a local file; an error of the disk is an UnreachableError, not damage.

    uproot's own may map the file into memory: if its disk fails or another program truncates it, the process is killed.
    """

    def __init__(self, file_path: str, **_: Any) -> None:
        super().__init__()
        self._file_path = file_path
        with reaching(file_path):
            self._descriptor = os.open(file_path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self._close = weakref.finalize(self, os.close, self._descriptor)  # uproot may not, after an error
            self._num_bytes = os.fstat(self._descriptor).st_size

    @property
    def closed(self) -> bool:
        """Whether its file is closed."""
        return not self._close.alive

    def chunk(self, start: int, stop: int) -> Any:
        """The bytes [start, stop)."""
        return uproot.source.chunk.Chunk(
            self, start, stop, uproot.source.futures.TrivialFuture(self._read(start, stop))
        )

    def chunks(self, ranges: list[tuple[int, int]], notifications: Any) -> list[Any]:
        """Many ranges, each read when its chunk is used, so that unused ones take no memory."""
        chunks = [uproot.source.chunk.Chunk(self, *one, _Later(partial(self._read, *one))) for one in ranges]
        for chunk in chunks:
            notifications.put(chunk)
        return chunks

    def read(self, start: int, size: int) -> bytes:
        """So many bytes, or those that there are."""
        return self._read(start, start + size)

    def _read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), clipped to the size of the file."""
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
    """A future that computes its result when asked for it."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make

    def result(self, timeout: float | None = None) -> bytes:
        """The result."""
        return self._make()


@contextmanager
def reaching(path: str | Path) -> Iterator[None]:
    """Turn an OSError in reading a file into an UnreachableError."""
    try:
        yield
    except OSError as error:
        raise UnreachableError(f"can't read '{path}': {error.strerror or error}") from error


class _Guard:
    """While entered, blocks in files of an `OwnSource` decompress to no more bytes than they declare.

    A few hundred bytes may decompress to gigabytes, and uproot checks the size afterwards. All threads decompress
    through `uproot.compression.decompress`. It is replaced while files of atlasae are open; the replacement passes the
    blocks of other sources on to uproot's function.
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
            if not self._open and uproot.compression.decompress is self._ours:  # else somebody has replaced it since
                uproot.compression.decompress = self._theirs


guarded = _Guard()


def _by_source(theirs: Any) -> Any:
    def decompress(chunk: Any, *arguments: Any, **more: Any) -> Any:
        if not isinstance(chunk.source, OwnSource):
            return theirs(chunk, *arguments, **more)
        return _unpack_old(chunk, *arguments) or _unpack_blocks(chunk, *arguments, **more)

    return update_wrapper(decompress, theirs)


_Bytes = bytes | memoryview
_Into = Callable[[Any, Any], int]  # decompresses data into a room, and returns how much there is


def _unpack(into: _Into, data: Any, uncompressed_bytes: int) -> Any:
    """Decompress into the declared number of bytes; raises ValueError where there are more."""
    unpacked = np.empty(uncompressed_bytes, np.uint8)
    return unpacked[: _unpack_to(into, data, unpacked)]


def _unpack_to(into: _Into, data: Any, room: npt.NDArray[np.uint8]) -> int:
    """Decompress into a room and return how much there is; raises ValueError where there is more than room."""
    try:
        return into(data, room)
    except (cramjam.DecompressionError, lzma.LZMAError) as error:
        raise ValueError(str(error)) from error


def _xz_into(data: Any, room: npt.NDArray[np.uint8]) -> int:
    """As cramjam's, by Python's liblzma: since 5.6 that takes two thirds of the time of 5.2, which cramjam has.

    What atlasae wrote is unpacked in half of that.
    """
    if (size := unpack_basket(memoryview(data), room)) is not None:
        return size
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    unpacked = decoder.decompress(data, len(room) + 1)
    if not decoder.eof or len(unpacked) > len(room):
        raise lzma.LZMAError(f"more than a buffer of {len(room)} bytes, or a stream without its end")
    room[: len(unpacked)] = np.frombuffer(unpacked, np.uint8)
    return len(unpacked)


_BOUNDED: dict[str, _Into] = {  # uproot bounds LZ4 itself
    "ZLIB": cramjam.zlib.decompress_into,
    "LZMA": _xz_into,
    "ZSTD": cramjam.zstd.decompress_into,
}


def _bounded(name: str) -> Any:
    """A copy of uproot's decompressor of this name, with a bound."""
    found = copy(getattr(uproot.compression, name))
    found.decompress = partial(_unpack, _BOUNDED[found.name])
    return found


def _with_bounds() -> Any:
    """A copy of uproot's `decompress` that calls the decompressors with a bound."""
    theirs = unwrap(uproot.compression.decompress)  # in case others have wrapped it
    names = [f"_decompress_{name}" for name in _BOUNDED]
    places = vars(uproot.compression) | {name: _bounded(name) for name in names}
    return FunctionType(theirs.__code__, places, theirs.__name__, theirs.__defaults__)


_unpack_blocks = _with_bounds()
_BLOCK = 9  # bytes of the header of a compressed block
_NO_FILE = SimpleNamespace(file_path="(bytes)")  # for uproot's messages
_XZ = b"XZ"
_OLD = b"CS"  # begins blocks of ROOT's first compression, deflate without zlib's header (settings 301 to 309)
_INTO = {  # what decompresses blocks that begin so
    _OLD: cramjam.deflate.decompress_into,
    b"ZL": _BOUNDED["ZLIB"],
    _XZ: _BOUNDED["LZMA"],
    b"ZS": _BOUNDED["ZSTD"],
}


def _unpack_old(chunk: Any, cursor: Any, context: Any, compressed_bytes: int, uncompressed_bytes: int, *_: Any) -> Any:
    """Blocks of ROOT's first compression, which uproot refuses, decompressed; None where the first is another."""
    if compressed_bytes < _BLOCK or bytes(cursor.copy().bytes(chunk, len(_OLD), context)) != _OLD:
        return None
    data = bytes(cursor.bytes(chunk, compressed_bytes, context))
    return uproot.source.chunk.Chunk.wrap(chunk.source, _unpack_alike(data, uncompressed_bytes))


def _unpack_alike(data: _Bytes, size: int) -> npt.NDArray[np.uint8]:
    """The `size` bytes of blocks of one kind that `_INTO` has; raises ValueError for others."""
    _check_blocks(data, size)
    kind, unpacked, filled, at = bytes(data[:2]), np.empty(size, np.uint8), 0, 0
    while at < len(data):
        end, told = _sizes(data, at)
        if data[at : at + 2] != kind:
            raise ValueError(f"a block that begins with {bytes(data[at : at + 2])!r} behind one with {kind!r}")
        filled += _unpack_to(_INTO[kind], data[at + _BLOCK : end], unpacked[filled : filled + told])
        at = end
    if filled != size:
        raise ValueError(f"its blocks of {len(data)} bytes decompress to {filled} of {size} bytes")
    return unpacked


def _check_blocks(data: _Bytes, size: int) -> None:
    """Raise ValueError unless the headers of blocks tell of all data, and of so many bytes in it."""
    told, at = 0, 0
    while at < len(data):
        at, more = _sizes(data, at)
        told += more
    if at != len(data) or told != size:
        raise ValueError(f"{len(data)} bytes of compressed blocks do not hold {size} bytes")


def _sizes(data: _Bytes, at: int) -> tuple[int, int]:
    """Where the block that begins at a position of data ends, and how many bytes it holds."""
    header = data[at : at + _BLOCK]
    return at + _BLOCK + int.from_bytes(header[3:6], "little"), int.from_bytes(header[6:], "little")


def unpack_blocks(data: bytes, size: int) -> bytes:
    """The `size` bytes that ROOT's blocks hold, or `data` itself if it has that size; raises ValueError for others."""
    return bytes(unpacked_bytes(data, size))


def first_bytes(data: bytes, size: int, most: int) -> bytes:
    """The first of the `size` bytes that ROOT's blocks hold, at least `most` if the first block has so many.

    LZMA, the slowest, is unpacked no further. Raises ValueError for other bytes.
    """
    if size <= most or data[:2] != _XZ:
        return unpack_blocks(data, size)
    _check_blocks(data, size)
    end, told = _sizes(data, 0)
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data[_BLOCK:end], min(most, told))
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from error


def unpacked_bytes(data: _Bytes, size: int) -> Any:
    """The same as bytes or as an array, without a copy."""
    return data if len(data) == size else _of_blocks(data, size)


def unpacked_in_turn(read: Callable[[int, int], bytes], length: int, size: int) -> Iterator[Any]:
    """The `size` bytes that blocks hold, block by block; `read` gives the bytes [start, stop) of their `length`."""
    at, told = 0, 0
    while at < length:
        end, more = _sizes(read(at, at + _BLOCK), 0)
        at, told, block = at + end, told + more, memoryview(read(at, at + end))
        if at > length or told > size:
            break
        yield _of_blocks(block, more)
    if (at, told) != (length, size):
        raise ValueError(f"{length} bytes of compressed blocks do not hold {size} bytes")


def _of_blocks(data: _Bytes, size: int) -> Any:
    """The bytes that compressed blocks hold."""
    if data[:2] in _INTO:
        return _unpack_alike(data, size)
    _check_blocks(data, size)
    chunk = uproot.source.chunk.Chunk.wrap(_NO_FILE, np.frombuffer(data, np.uint8))
    cursor = uproot.source.cursor.Cursor(0)
    return _unpack_blocks(chunk, cursor, {}, len(data), size).raw_data


REQUESTS = 4  # parallel requests per remote file


class RemoteSource(OwnSource):
    """Reads a remote file: many ranges in parallel, each checked for its length.

    uproot's own takes a whole file from a server without range requests for a part, and reports lost connections as
    damage.
    """

    def __init__(self, file_path: str, *, remote: Remote, **_: Any) -> None:
        super().__init__()
        self._file_path, self._remote = file_path, remote
        self._num_bytes = remote.stat().st_size
        self._executor = ThreadPoolExecutor(REQUESTS)
        self._fetched: dict[tuple[int, int], Any] = {}  # futures of prefetched ranges
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether its file is closed."""
        return self._closed

    def chunk(self, start: int, stop: int) -> Any:
        """The bytes [start, stop): metadata from cached blocks, or a prefetched page."""
        if fetched := self._fetched.get((start, stop)):
            return uproot.source.chunk.Chunk(self, start, stop, fetched)
        data = uproot.source.futures.TrivialFuture(self._remote.peek(start, stop))
        return uproot.source.chunk.Chunk(self, start, stop, data)

    def chunks(self, ranges: list[tuple[int, int]], notifications: Any) -> Any:
        """Many ranges, near ones by one request; each is announced in `notifications` when it has arrived."""
        if not set(ranges) <= self._fetched.keys():
            return uproot.source.coalesce.coalesce_requests(
                ranges, lambda asked: self._executor.submit(self._remote.read, asked), self, notifications
            )
        chunks = [uproot.source.chunk.Chunk(self, *one, self._fetched[one]) for one in ranges]
        for chunk in chunks:
            chunk.future.add_done_callback(uproot.source.chunk.notifier(chunk, notifications))
        return chunks

    def fetch(self, ranges: Collection[tuple[int, int]]) -> None:
        """Prefetch ranges that `chunks` will be asked for; earlier ones are dropped."""
        known = {one: future for one, future in self._fetched.items() if one in ranges}
        chunks = self.chunks([one for one in ranges if one not in known], SimpleQueue())
        self._fetched = known | {(chunk.start, chunk.stop): chunk.future for chunk in chunks}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._closed:  # uproot closes it again at exit, when the server may be gone
            self._closed = True
            self._executor.shutdown(cancel_futures=True)
            self._remote.close()


# What is besides values; arguments are uproot's models of objects, with their bases and members


def kept_beside(tree: Any) -> list[str]:
    """Short names of what a TTree has besides its branches: aliases, an index, friends, user info ..."""
    found = {
        f"class {tree.classname}": tree.classname != "TTree",
        "weight": tree.member("fWeight", none_if_missing=True) not in (None, 1.0),
        "aliases": bool(tree.aliases),
    }
    try:
        found |= _members_behind(tree) if tree.has_member("fIndexValues") else _bytes_behind(tree)
    except Exception:  # uproot raises anything where the bytes have another layout
        found["what follows the aliases"] = True
    return [name for name, there in found.items() if there]


def _members_behind(tree: Any) -> dict[str, bool]:
    """What follows the aliases in trees of old versions, whose members uproot reads."""
    found = {name: tree.member(name, none_if_missing=True) for name in _BEHIND}
    return {
        "index": len(tree.member("fIndexValues")) > 0 or found["fTreeIndex"] is not None,
        "friends": bool(found["fFriends"]),
        "user info": bool(found["fUserInfo"]),
        "table of references": found["fBranchRef"] is not None,
    }


_BEHIND = ("fTreeIndex", "fFriends", "fUserInfo", "fBranchRef")


def _bytes_behind(tree: Any) -> dict[str, bool]:
    """What follows the aliases in other trees: uproot does not parse it, so it is read here from the bytes."""
    walk = _Walk(tree.chunk, tree.member("fLeaves").cursor.copy())
    walk.skip()  # the leaves
    walk.skip()  # the aliases
    arrays = [walk.skip_array(size) for size in (8, 4)]
    return {
        "index": walk.skip() or any(arrays),
        "friends": walk.skip_list(),
        "user info": walk.skip_list(),
        "table of references": walk.skip(),
    }


class _Walk:
    """A cursor that moves from one member to the next in the bytes of an object."""

    def __init__(self, chunk: Any, cursor: Any) -> None:
        self.chunk, self.cursor = chunk, cursor

    def word(self) -> int:
        """The next four bytes as an unsigned integer."""
        return int(self.cursor.field(self.chunk, struct.Struct(">I"), {}))

    def skip(self) -> bool:
        """Skip an object or a pointer; returns whether it is not null."""
        count = self.word()
        if count & _BYTE_COUNT:  # else a null pointer, or a reference to an earlier object
            self.cursor.skip(count & ~_BYTE_COUNT)
        return count != 0

    def skip_array(self, size: int) -> bool:
        """Skip a TArray with elements of `size` bytes; returns whether it has any."""
        length = self.word()
        self.cursor.skip(length * size)
        return length > 0

    def skip_list(self) -> bool:
        """Skip a pointer to a TList; returns whether the list has entries."""
        inside = _Walk(self.chunk, self.cursor.copy())
        return self.skip() and inside.holds_something()

    def holds_something(self) -> bool:
        """Whether a TList has entries: `TTree::GetUserInfo` creates an empty list in files that never had one."""
        if not self.word() & _BYTE_COUNT:
            return True  # a reference to an earlier list
        if self.word() == _NEW_CLASS:
            self.cursor.classname(self.chunk, {})
        self.cursor.skip(4 + 2 + 2 + 4)  # byte count and version of the list, version and fUniqueID of its TObject
        self.cursor.skip(2 if self.word() & _REFERENCED else 0)
        self.cursor.string(self.chunk, {})
        return self.word() > 0


def functions_in(thing: Any) -> str:
    """The classes in the list of functions of a histogram or graph, as the end of a message."""
    functions = thing.member("fFunctions", none_if_missing=True) if hasattr(thing, "all_members") else None
    kinds = dict.fromkeys(str(function.classname) for function in functions or ())
    return f" with its {', '.join(kinds)}" * bool(kinds)


def lost_in(before: Any, after: Any) -> list[str]:
    """Names of the members that differ between an object and its copy, or of the base that is an array or list."""
    if not hasattr(before, "all_members"):
        return []
    return [name.removeprefix("@") for name in dict.fromkeys(_lost(before, after)) if name != "fName"]  # its key's


def _lost(before: Any, after: Any) -> Iterator[str]:
    if before.classname != after.classname:
        yield f"class {before.classname}"
        return
    kept = after.all_members
    for name, value in before.all_members.items():
        if name == "@fBits":
            if (value ^ kept[name]) & MEANT & ~(_CLIPPED * before.classname.startswith("TGraph")):
                yield name
        elif name not in _HELD and (_differs(value, kept[name]) if name in kept else _says(value)):
            yield name
    for one, other in zip(_listings(before), _listings(after), strict=False):
        if _differs(one._data, other._data):
            yield str(one.classname)


def _differs(before: Any, after: Any) -> bool:
    """Whether two values of a member differ; None, zero and an empty list are equal to each other."""
    if not (_says(before) and _says(after)):
        return _says(before) != _says(after)
    if hasattr(before, "all_members") and not isinstance(before, str):
        return any(_lost(before, after))
    if isinstance(before, np.ndarray):
        return before.tobytes() != np.asarray(after, before.dtype).tobytes()
    if isinstance(before, Iterable) and not isinstance(before, str | bytes):
        one, other = list(before), list(after)
        return len(one) != len(other) or any(_differs(*pair) for pair in zip(one, other, strict=True))
    return bool(before != after and not (np.isreal(before) and np.isnan([before, after]).all()))


def _says(value: Any) -> bool:
    """Whether a value is other than None, zero and an empty list."""
    if isinstance(value, float | int | np.number):
        return bool(value)
    return value is not None and not (hasattr(value, "__len__") and len(value) == 0)


def _listings(model: Any) -> Iterator[Any]:
    """The object and those of its bases that are arrays or lists."""
    for base in model.bases:
        yield from _listings(base)
    if hasattr(model, "_data"):
        yield model
