"""A ROOT file composed of the records of others: copied in the order of the file, objects and folders written anew.

A copied record never moves up, so that a position that took four bytes still fits; new records follow behind.
"""

import os
import struct
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from atlasae.errors import UserError
from atlasae.files.checksums import checksum_bytes
from atlasae.files.writing import ALGORITHMS, RECORDS, pack_blocks
from atlasae.graft.baskets import repack
from atlasae.graft.buffers import Thing, write_thing
from atlasae.graft.records import BIG, START_BIG, Folder, Head, Read, RecordKey, Records, new_key, pack_keys
from atlasae.graft.streamers import merged_streamers
from atlasae.graft.trees import RNTUPLE, TREES, GraftedTree, move, places, relocate
from atlasae.threads import beside

Seen = Callable[[int, bytes], None]  # is given the position of each record that is copied, and its bytes
_APART = {*TREES, RNTUPLE}  # classes of objects that are not copied as they are
_AT_ONCE, _GAP = 1 << 22, 1 << 16  # bytes that are read, or flushed, at once; of a gap that is read over
_SHORTEST = 34  # bytes of a record: those of a key with its positions
_THREADS = 2  # that compress baskets
_FREE_UNTIL = 2_000_000_000  # the end of the free space behind a file, as ROOT has it
_LONG = 1 << 16  # bytes of a TTree object from which those of RECORDS take too long: .2 s for 170 kB
_OF_LONG = ALGORITHMS["lzma"](3)  # of names that repeat: fewer bytes than (6), in a fifth of the time
_OF_SHORT = ALGORITHMS["zlib"](9)  # where xz has too large a frame


class Moves:
    """Where records went that were copied."""

    def __init__(self, spans: npt.NDArray[np.int64], begin: int) -> None:
        """The spans (n x 2: position and bytes, sorted) are copied to `begin`; raises ValueError if some overlap."""
        ends = spans.sum(axis=1)
        if len(spans) and ((spans[1:, 0] < ends[:-1]).any() or (spans <= 0).any()):
            raise ValueError("two of its records overlap, or have no bytes")
        self.spans = spans
        self._to = begin + np.cumsum(spans[:, 1]) - spans[:, 1]
        self.end = begin + int(spans[:, 1].sum())

    def __call__(self, at: int) -> int:
        """Where the record at a position went; raises ValueError if there was none."""
        place = int(np.searchsorted(self.spans[:, 0], at))
        if place == len(self.spans) or self.spans[place, 0] != at:
            raise ValueError(f"there is no record at {at}")
        return int(self._to[place])


def spans_of(records: Records, trees: Iterable[GraftedTree]) -> npt.NDArray[np.int64]:
    """Position and bytes of all records that are copied as they are: folders, objects other than trees, baskets."""
    found = {(folder.at, folder.key.nbytes) for _, folder in records.root.walk()}
    for _, folder in records.root.walk():
        found |= {(key.seek, key.nbytes) for key in folder.keys if key.class_name not in _APART}
    return _sorted(records, found | set(_baskets(records, trees)))


def check_sizes(records: Records, trees: Iterable[GraftedTree]) -> None:
    """Raise ValueError if a record that would be copied has another size than what points to it says."""
    for at, nbytes in spans_of(records, trees).tolist():
        _check_size(records.read(at, at + _SHORTEST), at, nbytes)


def _baskets(records: Records, trees: Iterable[GraftedTree]) -> Iterator[tuple[int, int]]:
    for tree in trees:
        for branch in tree.branches():
            yield from ((place.at, place.nbytes) for place in places(branch, records))


def _sorted(records: Records, found: Collection[tuple[int, int]]) -> npt.NDArray[np.int64]:
    spans = np.array(sorted(found), np.int64).reshape(-1, 2)
    if len(spans) and not records.head.begin <= spans[0, 0] <= int(spans.sum(axis=1).max()) <= records.head.end:
        raise ValueError("some of its records are said to be outside of the file")
    return spans


@dataclass(frozen=True)
class CopiedRecord:
    """A record that was copied: its position in the copy, its bytes, and their checksum."""

    at: int
    nbytes: int
    checksum: int

    def is_in(self, read: Read) -> bool:
        """Whether a file has it."""
        return checksum_bytes(read(self.at, self.at + self.nbytes)) == self.checksum


@dataclass
class Composer:
    """A file being composed, from the folders and the header of another."""

    path: Path
    records: Records

    def __post_init__(self) -> None:
        """Start with an empty file."""
        self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        self._file.truncate()
        self.end = self._flushed = self.records.head.begin
        self.root = self.records.root
        self._copied: list[CopiedRecord] = []
        self._infos: list[Records] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    @property
    def kept(self) -> list[CopiedRecord]:
        """The records that were copied, without folders, which change when the file is finished."""
        folders = {folder.at for _, folder in self.root.walk()}
        return [record for record in self._copied if record.at not in folders]

    def copy_all(self, trees: Sequence[GraftedTree], seen: Seen, compression: Any = None) -> None:
        """Copy all records but those of the trees themselves, which `finish` writes, and of branches taken out.

        With a compression, baskets get it, whatever they hold.
        """
        copy, folder = self._begin(trees if compression is None else (), seen)
        copy()
        if compression is not None:
            self._repack(trees, folder, seen, compression)

    def begin_copy(self, trees: Sequence[GraftedTree], seen: Seen) -> Callable[[], None]:
        """Make room for all of these records, behind which others may be appended; returns what copies them, once."""
        return self._begin(trees, seen)[0]

    @contextmanager
    def copied_beside(self, copy: Callable[[], None]) -> Iterator[None]:
        """Copy while the `with` block runs, or behind it in one thread; an error in the block ends that."""
        with beside(copy):
            try:
                yield
            except BaseException:
                self._file.close()
                raise

    def _begin(self, trees: Sequence[GraftedTree], seen: Seen) -> tuple[Callable[[], None], Callable[[int], int]]:
        """What copies records, and where the folder at a position went."""
        moves = Moves(spans_of(self.records, trees), self.end)
        folders = {folder.at: moves(folder.at) for _, folder in self.root.walk()}
        root = folders[self.root.at]
        for tree in trees:
            for branch in tree.branches():
                move(branch, moves)
        for _, folder in list(self.root.walk()):
            _move_folder(folder, moves, folders)

        def folder_of(before: int) -> int:
            return folders.get(before, root)

        return self._reserve(self.records.read, moves, folder_of, seen), folder_of

    def copy_baskets(self, records: Records, branches: Sequence[Thing], folder: int) -> None:
        """Copy the baskets of branches of another file behind all."""
        found = {(place.at, place.nbytes) for branch in branches for place in places(branch, records)}
        moves = Moves(_sorted(records, found), self.end)
        self._reserve(records.read, moves, lambda _: folder, lambda *_: None)()
        for branch in branches:
            move(branch, moves)

    def _reserve(self, read: Read, moves: Moves, folder: Callable[[int], int], seen: Seen) -> Callable[[], None]:
        """Make room for records where they are moved to; returns what copies them."""
        begin, self.end = self.end, moves.end
        self._flushed = self.end  # copying flushes what it copies
        return lambda: self._copy(read, moves.spans, begin, folder, seen)

    def _copy(
        self, read: Read, spans: npt.NDArray[np.int64], to: int, folder: Callable[[int], int], seen: Seen
    ) -> None:
        """Copy records to a position on, beside the file object, as other threads may write behind them."""
        with os.fdopen(os.dup(self._file.fileno()), "wb") as file:
            for group in _groups(spans):
                if self._file.closed:
                    return  # an error elsewhere has ended it all
                begin, end = int(group[0, 0]), int(group[-1].sum())
                data = memoryview(bytearray(read(begin, end)))
                if len(data) != end - begin:
                    raise ValueError(f"{len(data)} of {end - begin} bytes at {begin}")
                start, records = to, list[memoryview]()
                for at, nbytes in group.tolist():
                    records.append(data[at - begin : at - begin + nbytes])
                    seen(at, bytes(records[-1]))
                    _set_places(records[-1], at, to, folder)
                    self._copied.append(CopiedRecord(to, nbytes, checksum_bytes(records[-1])))
                    to += nbytes
                _write_at(file.fileno(), start, b"".join(records))
                _begin_flush(file.fileno(), start, to)

    def _repack(self, trees: Sequence[GraftedTree], folder: Callable[[int], int], seen: Seen, compression: Any) -> None:
        """Write the baskets of trees with another compression, made in two threads."""
        found: dict[int, tuple[int, int]] = {}
        with ThreadPoolExecutor(_THREADS) as pool:
            for group in _groups(_sorted(self.records, set(_baskets(self.records, trees)))):
                begin = int(group[0, 0])
                data = self.records.read(begin, int(group[-1].sum()))
                records = [data[at - begin : at - begin + nbytes] for at, nbytes in group.tolist()]
                for at, before, after in zip(
                    group[:, 0].tolist(), records, pool.map(partial(repack, compression), records), strict=True
                ):
                    seen(at, before)
                    record = bytearray(after)
                    _set_places(record, at, self.end, folder)
                    found[at] = self.append(bytes(record)), len(record)
        for tree in trees:
            relocate(tree, found, compression.code)

    def append(self, record: bytes) -> int:
        """Write a record behind all others; returns its position."""
        self._file.seek(self.end)
        self._file.write(record)
        self.end += len(record)
        if self.end - self._flushed > _AT_ONCE:
            self._file.flush()
            _begin_flush(self._file.fileno(), self._flushed, self.end)
            self._flushed = self.end
        return self.end - len(record)

    def put(self, record: bytes) -> int:
        """Write a record of this file behind all others, and its position into its key; returns that."""
        placed = bytearray(record)
        _set_places(placed, self.end, self.end, lambda folder: folder)
        return self.append(bytes(placed))

    def write_blob(self, parts: Iterable[bytes], size: int) -> int:
        """Write pages or an envelope of an RNTuple, of `size` bytes together, in a key; returns where they begin."""
        root = self.root
        key = new_key(b"RBlob", b"", b"", self.end, root.at, root.changed).holding(size, size)
        start = self.append(key.pack()) + key.keylen
        for part in parts:
            self.append(part)
        if self.end != start + size:
            raise ValueError(f"{self.end - start} bytes of pages where {size} were said to be")
        return start

    def add_anchor(self, folder: Folder, key: RecordKey, payload: bytes) -> None:
        """Add the object of an RNTuple in the place of another."""
        made = self.add(folder, key, payload)
        folder.keys = [made if known is key else known for known in folder.keys]

    def add(self, folder: Folder, key: RecordKey, payload: bytes, size: int | None = None) -> RecordKey:
        """Add a record of the class, names, time and cycle of a key, with a payload of `size` bytes uncompressed."""
        made = new_key(key.kind, key.name, key.title, self.end, folder.at, key.datime)
        made = replace(made, cycle=key.cycle).holding(len(payload) if size is None else size, len(payload))
        self.append(made.pack() + payload)
        return made

    def add_tree(self, folder: Folder, key: RecordKey, thing: Thing) -> RecordKey:
        """Add the record of a tree's object."""
        keylen = new_key(key.kind, key.name, key.title, self.end, folder.at, key.datime).keylen
        data = write_thing(thing, keylen)
        return self.add(folder, key, _packed(data), len(data))

    def add_folder(self, name: bytes) -> Folder:
        """Add a folder to the outermost one."""
        root = self.root
        key = new_key(b"TDirectory", name, name, self.end, root.at, root.changed)
        uuid = root.uuid[:18].ljust(18, b"\0") + bytes(12)
        folder = Folder(key.holding(60, 60), 5, root.created, root.changed, key.keylen, root.at, uuid)
        self.append(folder.key.pack() + bytes(60))
        root.keys.append(folder.key)
        root.folders[folder.at] = folder
        return folder

    def add_streamers(self, records: Records) -> None:
        """Let the file have the streamer infos of another file too, if it lacks them."""
        self._infos.append(records)

    def finish(self, trees: Sequence[GraftedTree], compression: Any = None) -> None:
        """Write trees, lists of keys, streamer infos, free space and header.

        With a compression, streamer infos get it, which uproot writes without any.
        """
        for tree in trees:
            made = self.add_tree(tree.folder, tree.key, tree.thing)
            tree.folder.keys = [made if key is tree.key else key for key in tree.folder.keys]
        for _, folder in self.root.walk():
            self._write_keys(folder)
        info = self._write_infos(compression)
        head = replace(self.records.head, seek_info=info.seek if info else 0, nbytes_info=info.nbytes if info else 0)
        self._write_end(head)

    def _write_keys(self, folder: Folder) -> None:
        listed = self.add(folder, replace(folder.key, cycle=1), pack_keys(folder))
        data = folder.pack(listed.seek, listed.nbytes)
        start = self.records.head.nbytes_name if folder is self.root else folder.key.keylen
        room = folder.key.nbytes - start
        if any(data[room:]):
            raise UserError(f"folder '{folder.key.path_name}' has no room for positions beyond 2 GB")
        self._write_at(folder.at + start, data[:room])

    def _write_at(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        self._file.write(data)

    def _write_infos(self, compression: Any) -> RecordKey | None:
        payload, size = merged_streamers(self.records, self._infos, self.end)
        payload = pack_blocks(payload, compression) if compression and len(payload) == size else payload
        if not size:
            return None
        key = new_key(b"TList", b"StreamerInfo", b"Doubly linked list", self.end, self.root.at, self.root.changed)
        key = key.holding(size, len(payload))
        self.append(key.pack() + payload)
        return key

    def _write_end(self, head: Head) -> None:
        """Write the record of the free space behind the file, then the header."""
        root = self.root.key
        key = new_key(root.kind, root.name, root.title, self.end, root.seek, root.datime)
        end = self.end + key.keylen
        big = end + 18 > START_BIG
        end += 18 if big else 10
        until = _FREE_UNTIL if not big else (end // 1_000_000_000 + 2) * 1_000_000_000
        free = struct.pack(">hqq" if big else ">hii", 1 + BIG * big, end, until)
        key = key.holding(len(free), len(free))
        at = self.append(key.pack() + free)
        self._write_at(0, replace(head, end=end, seek_free=at, nbytes_free=key.nbytes, nfree=1).pack())


def _write_at(descriptor: int, at: int, data: bytes) -> None:
    """Write at a position of a file, whose own position stays."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, memoryview(data)[done:], at + done)


def _begin_flush(descriptor: int, begin: int, end: int) -> None:
    """Have the system begin to write bytes of a file to disk, so that flushing it at the end takes less long.

    Linux does when it is told that they are not needed soon, and keeps them until they are written: posix_fadvise(2).
    """
    if sys.platform == "linux":
        with suppress(OSError):  # a file system that can't
            os.posix_fadvise(descriptor, begin, end - begin, os.POSIX_FADV_DONTNEED)


def _packed(data: bytes) -> bytes:
    """The object of a tree in few bytes: it has the names of all branches, most of a small file."""
    found = [pack_blocks(data, kind) for kind in ((RECORDS, _OF_SHORT) if len(data) < _LONG else (_OF_LONG,))]
    return min(found, key=len)


def _groups(spans: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """The spans in groups that are read at once."""
    ends, first = spans.sum(axis=1), 0
    for place in range(1, len(spans) + 1):
        whole = place == len(spans)
        if whole or ends[place] - spans[first, 0] > _AT_ONCE or spans[place, 0] - ends[place - 1] > _GAP:
            yield spans[first:place]
            first = place


def _set_places(record: bytearray | memoryview, at: int, to: int, folder: Callable[[int], int]) -> None:
    """Set the position of a record and of its folder in its key; raises ValueError if it has another size."""
    form = ">qq" if _check_size(record, at, len(record)) > BIG else ">ii"
    before = struct.unpack_from(form, record, 18)[1]
    struct.pack_into(form, record, 18, to, folder(before))


def _check_size(record: bytes | bytearray | memoryview, at: int, told: int) -> int:
    """The version of a record's key; raises ValueError if the record has another size than `told`."""
    nbytes, version = struct.unpack_from(">ih", record) if len(record) >= _SHORTEST else (len(record), 0)
    if nbytes != told or told < _SHORTEST:
        raise ValueError(f"a record at {at} has {nbytes} bytes, where {told} are said to be")
    return int(version)


def _move_folder(folder: Folder, moves: Moves, folders: dict[int, int]) -> None:
    """Set the positions of a folder and of its keys; those of trees and RNTuples stay, until they are written."""
    at = folders[folder.at]
    folder.key = replace(folder.key, seek=at, folder=folders.get(folder.key.folder, folder.key.folder))
    folder.parent = folders.get(folder.parent, folder.parent)
    folder.keys = [
        key if key.class_name in _APART else replace(key, seek=moves(key.seek), folder=at) for key in folder.keys
    ]
