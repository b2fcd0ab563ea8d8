"""Branches of plain numbers, of arrays, lists or structures of them, read from their baskets by ranges of entries.

A basket that a range does not cover is kept, as the next range needs it too. Large ones are read in parts: uproot
writes all entries of a branch into one basket, however many there are.
"""

import os
import struct
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.files.sources import LocalSource, unpacked_bytes, unpacked_in_turn

_KEY = struct.Struct(">ihiIh")  # in front of a basket: bytes, version, bytes unpacked, date, bytes of the key
_FACTS = struct.Struct(">iib")  # at the end of its key: entries, end of the data, a flag
_OFFSETS, _OFFSET = ">i4", 4  # behind the data: their number, and where each entry begins

_END = np.dtype(np.int64)

_Numbers = npt.NDArray[Any]
_Ends = npt.NDArray[np.int64]  # of entries, behind where the first begins
_Lists = tuple[_Numbers, _Ends]
_Key = tuple[int, int, int, str, str, int | None]  # of a basket: its branch, position and entries, and how it is read

LARGE = 4_000_000  # bytes of a basket that is read in parts
_WIDE = 4  # a small basket is kept where a range of entries is less than so many times as long
_MOST_WHOLE = 100_000_000  # bytes of small baskets
_MOST_IN_PARTS = 100_000_000  # bytes of large ones, or the last of each branch
_MOST_IN_MEMORY = 32_000_000  # bytes of these, the others are in a file
_SPARE = 1.1  # room beside what a range is expected to need


@dataclass(frozen=True)
class PlainBranch:
    """Where a branch of plain numbers, of arrays, lists or structures of them, lies in its file.

    `firsts` are the first entries of its baskets and the number of all entries, `seeks` and `sizes` the positions and
    the bytes of the baskets; numbers, arrays or structures are `stored` in this type, and `read` into that. `head` is
    the number of bytes in front of each list, None for numbers that are in no lists.
    """

    firsts: npt.NDArray[Any]
    seeks: npt.NDArray[Any]
    sizes: npt.NDArray[Any]
    stored: np.dtype[Any]
    read: np.dtype[Any]
    head: int | None

    @property
    def listed(self) -> bool:
        """Whether its entries are lists."""
        return self.head is not None

    def key(self, place: int) -> _Key:
        """What tells a basket, by its place, from all others."""
        begin, entries = int(self.seeks[place]), int(self.firsts[place + 1]) - int(self.firsts[place])
        return int(self.seeks[0]), begin, entries, self.stored.str, self.read.str, self.head


class SharedEnds:
    """The ends of lists of the baskets that were read last: those of branches with one counter are the same array."""

    def __init__(self) -> None:
        self._last: deque[tuple[tuple[int, int], npt.NDArray[np.int32], _Ends]] = deque(maxlen=2)

    def of(self, offsets: npt.NDArray[np.int32], end: int, width: int) -> _Ends:
        """The ends of lists that begin at these bytes, up to an end; raises ValueError if they do not follow."""
        for facts, known, ends in self._last.copy():
            if facts == (end, width) and np.array_equal(known, offsets):
                return ends
        ends = _ends(offsets, end, width)
        self._last.append(((end, width), offsets, ends))
        return ends


@dataclass(frozen=True)
class _Facts:
    """What the key of a basket tells: its own bytes, those behind it, packed and unpacked, entries, end of the data."""

    key: int
    packed: int
    unpacked: int
    entries: int
    end: int

    @classmethod
    def of(cls, begin: bytes, size: int, entries: int) -> "_Facts":
        """Those of a basket that begins so, with so many bytes and entries; raises ValueError for others."""
        told, _, whole, _, key = _KEY.unpack_from(begin)
        if told != size or not _KEY.size + _FACTS.size <= key <= size:
            raise ValueError(f"a basket of {size} bytes, {told} and {key} by its key")
        there, last, _ = _FACTS.unpack_from(begin, key - _FACTS.size)
        if there != entries or not key <= last <= key + whole:
            raise ValueError(f"a basket of {there} entries, and {last - key} of {whole} bytes of data")
        return cls(key, size - key, whole, entries, last - key)


@dataclass(frozen=True)
class _Whole:
    """A basket in memory: its numbers, and the ends of its entries."""

    numbers: _Numbers
    ends: _Ends

    @property
    def nbytes(self) -> int:
        """Its bytes of memory."""
        return self.numbers.nbytes + self.ends.nbytes

    def take(self, here: int, there: int, _: SharedEnds) -> _Lists:
        """The numbers of entries [here, there), and the ends of these."""
        return self.numbers[self.ends[here] : self.ends[there]], self.ends[here : there + 1]


@dataclass(frozen=True)
class _InParts:
    """A large basket, of which `read` gives the unpacked bytes [start, stop)."""

    branch: PlainBranch
    facts: _Facts
    read: Callable[[int, int], bytes]
    nbytes: int  # of memory or in a file

    def take(self, here: int, there: int, shared: SharedEnds) -> _Lists:
        """The numbers of entries [here, there), and the ends of these; raises ValueError."""
        if self.branch.head is None:
            width = self.branch.stored.itemsize
            return _numbers(self._bytes(here * width, there * width), self.branch, there - here)
        starts = self._starts(here, there)
        if (
            self._starts(0, 0)[0] or not 0 <= starts[0] <= starts[-1] <= self.facts.end
        ):  # else the table has differences
            raise ValueError(f"lists from {starts[0]} to {starts[-1]} of {self.facts.end} bytes")
        data = self._bytes(int(starts[0]), int(starts[-1]))
        return _lists(data, starts[:-1] - starts[0], self.branch, shared)

    def _starts(self, here: int, there: int) -> npt.NDArray[np.int32]:
        """Where the lists of entries [here, there) begin, and the last of them ends."""
        last, behind = min(there + 1, self.facts.entries), self.facts.end + _OFFSET
        data = self._bytes(behind + _OFFSET * here, behind + _OFFSET * last)
        starts = np.frombuffer(data, _OFFSETS, last - here).astype(np.int32) - np.int32(self.facts.key)
        return starts if last > there else np.append(starts, np.int32(self.facts.end))

    def _bytes(self, start: int, stop: int) -> bytes:
        """Its bytes [start, stop); raises ValueError for those of others."""
        if stop > self.facts.unpacked:
            raise ValueError(f"bytes {start} to {stop} of a basket of {self.facts.unpacked}")
        return self.read(start, stop)


_Basket = _Whole | _InParts


class Baskets:
    """The baskets of a tree that were read in part, small ones in memory, large ones in a room."""

    def __init__(self, room: "Room") -> None:
        self._known: dict[_Key, _Basket] = {}
        self._room = room

    def __len__(self) -> int:
        return len(self._known)

    def read(self, source: LocalSource, branch: PlainBranch, place: int, whole: bool, shared: SharedEnds) -> _Basket:
        """A basket by its place, all of which or a part is asked for; raises ValueError and struct.error."""
        key = branch.key(place)
        if known := self._known.get(key):
            return known
        facts = None if whole else _facts_if_large(source, branch, place)
        return self._in_parts(source, branch, key[1], facts) if facts else _whole(source, branch, place, shared)

    def _in_parts(self, source: LocalSource, branch: PlainBranch, begin: int, facts: _Facts) -> _InParts:
        packed = _Bytes(source, begin + facts.key)
        if facts.packed == facts.unpacked:
            return _InParts(branch, facts, packed.read, 0)
        unpack = partial(unpacked_in_turn, packed.read, facts.packed, facts.unpacked)
        return _InParts(branch, facts, self._room.hold(unpack, facts.unpacked), facts.unpacked)

    def settle(self, branch: PlainBranch, place: int, basket: _Basket, start: int, stop: int) -> None:
        """Keep a basket, of which the range [start, stop) was read, if the next range needs it, or forget it."""
        key, first, last = branch.key(place), int(branch.firsts[place]), int(branch.firsts[place + 1])
        self._known.pop(key, None)
        in_part = start > first or stop < last
        if last >= stop and (isinstance(basket, _InParts) or in_part and last - first > (stop - start) / _WIDE):
            self._known[key] = basket
            _forget(self._known, _Whole, _MOST_WHOLE, set())
            now = {key[0]: key for key in self._known.copy()}  # the last of each branch
            _forget(self._known, _InParts, _MOST_IN_PARTS, {*now.values()})


def _forget(known: dict[_Key, _Basket], kind: type[_Basket], most: int, spared: Set[_Key]) -> None:
    """Forget the first of the known baskets of a kind until the others take no more than `most` bytes."""
    there = {key: one for key, one in known.copy().items() if isinstance(one, kind)}  # other threads add and take some
    over = sum(one.nbytes for one in there.values()) - most
    for key, one in there.items():
        if over > 0 and key not in spared:
            known.pop(key, None)
            over -= one.nbytes


@dataclass(frozen=True)
class _Bytes:
    """The bytes of a source from a position on."""

    source: LocalSource
    at: int

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop)."""
        return self.source.read(self.at + start, stop - start)


class Room:
    """Room for what large baskets hold: memory, and beyond that a temporary file (in TMPDIR) without a name.

    Where the disk has none, all is in memory. What is no longer used makes room for others.
    """

    def __init__(self) -> None:
        self._lock, self._file = RLock(), -1  # what is freed meanwhile may ask for it again
        self._in_memory, self._end = 0, 0
        self._free: list[tuple[int, int]] = []  # sizes and positions

    def hold(self, make: Callable[[], Iterator[Any]], size: int) -> Callable[[int, int], bytes]:
        """What gives bytes [start, stop) of the `size` bytes that are made part by part."""
        if self._in_memory + size > _MOST_IN_MEMORY:
            with suppress(OSError):
                return self._in_a_file(make(), size).read
        held = _Held(b"".join(make()))
        self._add(size)
        weakref.finalize(held, self._add, -size)
        return held.read

    def _add(self, size: int) -> None:
        with self._lock:
            self._in_memory += size

    def _in_a_file(self, parts: Iterator[Any], size: int) -> "_Filed":
        filed = self._place(size)
        at = filed.at
        for part in parts:
            left = memoryview(part).cast("B")
            while left:
                done = os.pwrite(filed.file, left, at)
                at, left = at + done, left[done:]
        return filed

    def _place(self, size: int) -> "_Filed":
        """The smallest place in the file that is free and large enough, or its end."""
        with self._lock:
            if self._file < 0:
                with tempfile.TemporaryFile(buffering=0) as file:
                    self._file = os.dup(file.fileno())
                weakref.finalize(self, os.close, self._file)
            place = min((free for free in self._free if free[0] >= size), default=None)
            if place:
                self._free.remove(place)
            else:
                place = size, self._end
                self._end += size
            filed = _Filed(self, self._file, place[1])
        weakref.finalize(filed, self._free.append, place)
        return filed


class HeldLists:
    """Lists of numbers of many entries, in a room; raises ValueError if they do not follow each other."""

    def __init__(self, room: Room, numbers: _Numbers, ends: _Ends) -> None:
        if ends[0] or (ends[1:] < ends[:-1]).any() or ends[-1] > len(numbers):
            raise ValueError("lists that do not follow each other")
        self._type = numbers.dtype
        self._numbers, self._ends = (room.hold(partial(_made, part), part.nbytes) for part in (numbers, ends))

    def take(self, here: int, there: int) -> _Lists:
        """The numbers of entries [here, there), and the ends of these behind a 0."""
        size, width = _END.itemsize, self._type.itemsize
        ends = np.frombuffer(self._ends(here * size, (there + 1) * size), _END)
        data = self._numbers(int(ends[0]) * width, int(ends[-1]) * width)
        return np.frombuffer(data, self._type), ends - ends[0]


def _made(part: npt.NDArray[Any]) -> Iterator[Any]:
    yield np.ascontiguousarray(part)


@dataclass(frozen=True)
class _Held:
    """Bytes in memory."""

    data: bytes

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop)."""
        return self.data[start:stop]


@dataclass(frozen=True)
class _Filed:
    """Bytes from a position in a file on, by the number of the open file, which the room closes at its end."""

    room: Room
    file: int
    at: int

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop)."""
        return os.pread(self.file, stop - start, self.at + start)


def read_numbers(
    source: Any, branch: PlainBranch, start: int, stop: int, known: Baskets, shared: SharedEnds
) -> _Lists | None:
    """The numbers of entries [start, stop) of a branch in a source of bytes, and the ends of its lists behind a 0.

    A tenth of the time of uproot's, which makes an object of every basket; unpacking is the rest. None for baskets that
    are not in a local file of atlasae or not as most are: uproot reads them, or tells what is wrong with them.
    """
    firsts, places = branch.firsts, _places(branch, start, stop)
    if not isinstance(source, LocalSource) or places is None:
        return None
    room, ends = np.empty(0, branch.read), np.empty(0, np.int64)
    for place in places:
        first, last = int(firsts[place]), int(firsts[place + 1])
        here, there = max(start, first), min(stop, last)
        try:
            basket = known.read(source, branch, place, (here, there) == (first, last), shared)
            values, inside = basket.take(here - first, there - first, shared)
        except (ValueError, struct.error):
            return None
        if (start, stop) == (first, last) and isinstance(basket, _Whole):
            return values, inside  # and it stays known if it is: what was read in parts will be so again
        known.settle(branch, place, basket, start, stop)
        if place == places.start:
            ends = np.zeros(stop - start + 1, np.int64)
        done, end = int(ends[here - start]), there - start
        ends[here - start + 1 : end + 1] = inside[1:]
        ends[here - start + 1 : end + 1] += done - inside[0]
        if ends[end] > len(room):
            more = int(ends[end] * (1 + _SPARE * (stop - there) / (there - start)))
            room = np.concatenate([room[:done], np.empty(more - done, branch.read)])
        room[done : ends[end]] = values
    return room[: ends[-1]], ends


def _places(branch: PlainBranch, start: int, stop: int) -> range | None:
    """The baskets with entries [start, stop); None where they do not follow each other, or are not all there."""
    firsts = branch.firsts
    places = range(int(np.searchsorted(firsts, start, "right")) - 1, int(np.searchsorted(firsts, stop, "left")))
    follow = 0 <= start < stop <= firsts[-1] and not (np.diff(firsts) < 1).any()
    return places if follow and places.stop <= min(len(branch.seeks), len(branch.sizes)) else None


def _facts_if_large(source: LocalSource, branch: PlainBranch, place: int) -> _Facts | None:
    """What the key of a basket tells, if that is large."""
    _, begin, entries, *_ = branch.key(place)
    _, _, size, _, key = _KEY.unpack(source.read(begin, _KEY.size))
    return _Facts.of(source.read(begin, key), int(branch.sizes[place]), entries) if size > LARGE else None


def _whole(source: LocalSource, branch: PlainBranch, place: int, shared: SharedEnds) -> _Whole:
    _, begin, entries, *_ = branch.key(place)
    return whole_basket(source.read(begin, int(branch.sizes[place])), entries, branch, shared)


def whole_basket(record: bytes, entries: int, branch: PlainBranch, shared: SharedEnds) -> _Whole:
    """A basket of so many entries from its bytes; raises ValueError and struct.error for others."""
    facts = _Facts.of(record, len(record), entries)
    data = unpacked_bytes(memoryview(record)[facts.key :], facts.unpacked)
    if branch.head is None:
        values, ends = _numbers(data[: facts.end], branch, entries)
    else:
        offsets = np.frombuffer(data, _OFFSETS, entries, facts.end + _OFFSET)  # ValueError for baskets without
        values, ends = _lists(data[: facts.end], offsets.astype(np.int32) - np.int32(facts.key), branch, shared)
    return _Whole(_native(values, branch.read, len(data)), ends)


def _numbers(data: Any, branch: PlainBranch, entries: int) -> _Lists:
    """The numbers of entries, each of which has one, in all of their bytes."""
    if len(data) != entries * branch.stored.itemsize:
        raise ValueError(f"{len(data)} bytes for {entries} numbers")
    return np.frombuffer(data, branch.stored), np.arange(entries + 1)


def _lists(data: Any, starts: npt.NDArray[np.int32], branch: PlainBranch, shared: SharedEnds) -> _Lists:
    """The numbers of lists that begin at these places of data, and the ends of the lists; raises ValueError."""
    assert branch.head is not None
    heads = branch.head * np.arange(len(starts), dtype=np.int32)
    end, width = len(data) - branch.head * len(starts), branch.stored.itemsize
    if end < 0 or end % width:
        raise ValueError(f"{len(data)} bytes for {len(starts)} lists")
    ends = shared.of(starts - heads, end, width)
    return np.frombuffer(_without_heads(data, starts, branch.head, width), branch.stored), ends


def _without_heads(data: Any, starts: npt.NDArray[np.int32], head: int, width: int) -> Any:
    """What is behind the heads of lists that begin at these places of data."""
    if not head:
        return data
    step = 2 if head % 2 == 0 == width % 2 else 1  # bytes that are moved together
    heads = starts.astype(np.intp)[:, None] // step + np.arange(head // step)
    return np.delete(np.frombuffer(data, f"u{step}"), heads.ravel())


def _native(values: _Numbers, dtype: np.dtype[Any], size: int) -> _Numbers:
    """Numbers in `size` bytes of memory in a type of this machine: there, if only bytes change and little else is."""
    if not values.flags.writeable or values.dtype.newbyteorder() != dtype.base or 2 * values.nbytes < size:
        return values.astype(dtype.base)
    found = values.view(dtype.base)
    found[:] = values
    return found


def _ends(starts: npt.NDArray[np.int32], end: int, width: int) -> _Ends:
    """The ends of lists, counted in numbers, from where they begin in bytes; raises ValueError."""
    follow = not (starts[1:] < starts[:-1]).any() and starts[-1] <= end
    ends = np.empty(len(starts) + 1, np.int64)
    np.floor_divide(starts, width, out=ends[:-1])
    ends[-1] = end // width
    if starts[0] or not follow or (ends[:-1] * width != starts).any():
        raise ValueError("lists that do not follow each other")
    return ends
