"""Baskets: opened and packed without knowing what their data is, and a checksum of it."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from atlasae.files.sources import first_bytes, unpack_blocks
from atlasae.files.writing import pack_blocks
from atlasae.graft.buffers import Thing
from atlasae.graft.records import KEY_SIZE_AT, RecordKey, unpack_key

Ints = npt.NDArray[np.int64]
_FACTS = struct.Struct(">Hiiiib")  # version, sizes of buffers, entries, end of the data, a flag; the end of the key
_VERSION, _OWN_FLAG = 3, 0


@dataclass(frozen=True)
class Unpacked:
    """A basket: its entries, the data without the offsets, and where entries begin in it (None: all of one size)."""

    entries: int
    data: bytes
    offsets: Ints | None

    def part(self, start: int, stop: int) -> bytes:
        """The data of entries [start, stop); raises ValueError where offsets are none."""
        if (start, stop) == (0, self.entries):
            return self.data
        size = len(self.data)
        if self.offsets is not None:
            ends = self._ends(self.offsets)
            begin, end = int(ends[start]), int(ends[stop])
        else:
            begin, end = (size * place // max(1, self.entries) for place in (start, stop))
        if not 0 <= begin <= end <= size:
            raise ValueError(f"an entry from {begin} to {end} of {size} bytes")
        return self.data[begin:end]

    def pieces(self, most: int) -> Iterator["Unpacked"]:
        """The basket in pieces of so many entries; raises ValueError where offsets are none."""
        for start in range(0, self.entries, most):
            stop = min(start + most, self.entries)
            offsets = None if self.offsets is None else self.offsets[start:stop] - self.offsets[start]
            yield Unpacked(stop - start, self.part(start, stop), offsets)

    def lengths(self, start: int, stop: int) -> bytes:
        """The bytes of data of each of the entries [start, stop) as int32; nothing where all are of one size."""
        if self.offsets is None:
            return b""
        return np.diff(self._ends(self.offsets)[start : stop + 1]).astype("<i4").tobytes()

    def _ends(self, offsets: Ints) -> Ints:
        if len(offsets) != self.entries:
            raise ValueError(f"{len(offsets)} offsets of {self.entries} entries")
        return np.append(offsets, len(self.data))


@dataclass(frozen=True)
class Beginning:
    """How a basket begins: its entries, the first bytes of its data, and whether these are `whole`."""

    entries: int
    data: bytes
    whole: bool

    def is_of(self, data: bytes) -> bool:
        """Whether the basket begins so, or is just this where it is known as a whole."""
        return data == self.data if self.whole else data.startswith(self.data)


def begin_basket(record: bytes, most: int) -> Beginning:
    """How a basket begins, with at least `most` bytes of its data if there are so many; raises as `open_basket`."""
    key, entries, border = _told(record)
    payload = record[key.keylen :]
    data = first_bytes(payload, key.objlen, most)[:border] if key.is_compressed else payload[:border]
    return Beginning(entries, data, len(data) == border)


def open_basket(record: bytes) -> Unpacked:
    """A basket from its record; raises ValueError for bytes that are none."""
    key, entries, border = _told(record)
    payload = record[key.keylen :]
    data = unpack_blocks(payload, key.objlen) if key.is_compressed else payload
    offsets = None
    if border < key.objlen:
        words = np.frombuffer(data, ">i4", min(entries, (key.objlen - border - 4) // 4), border + 4)
        offsets = words.astype(np.int64) - key.keylen
    return Unpacked(entries, data[:border], offsets)


def embedded_basket(basket: Thing) -> Unpacked:
    """A basket inside a TTree object, where the last one of a branch may be."""
    data = basket.rest
    if len(data) < KEY_SIZE_AT + 2:
        raise ValueError(f"a basket of {len(data)} bytes")
    keylen = int.from_bytes(data[KEY_SIZE_AT : KEY_SIZE_AT + 2], "big")  # the key may say that it has no bytes
    entries, border = _facts(data, keylen)
    behind = len(data) - keylen
    if not 0 <= border <= behind:
        raise ValueError(f"a basket with data of {border} of {behind} bytes")
    offsets = None
    if behind - border > keylen:  # offsets, and the key once more
        words = np.frombuffer(data, ">i4", min(entries, (behind - border - keylen - 4) // 4), keylen + 4)
        offsets = words.astype(np.int64) - keylen
    return Unpacked(entries, data[len(data) - border :], offsets)


def _told(record: bytes) -> tuple[RecordKey, int, int]:
    """The key of a basket, the number of its entries, and the bytes of its data; raises ValueError."""
    key, after = unpack_key(record)
    if key.nbytes != len(record) or key.keylen - _FACTS.size < after:
        raise ValueError(f"a basket of {len(record)} bytes, with a key of {key.keylen} of {key.nbytes}")
    entries, border = _facts(record, key.keylen)
    if not 0 <= border <= key.objlen:
        raise ValueError(f"a basket with data of {border} of {key.objlen} bytes")
    return key, entries, border


def _facts(record: bytes, keylen: int) -> tuple[int, int]:
    """The number of entries of a basket, and the bytes of its data."""
    try:
        _, _, _, entries, last, _ = _FACTS.unpack_from(record, keylen - _FACTS.size)
    except struct.error as error:
        raise ValueError("a basket that is shorter than its key") from error
    if entries < 0:
        raise ValueError(f"a basket of {entries} entries")
    return entries, last - keylen


class Digest:
    """A running checksum of the data of a branch and of the lengths of its entries.

    The boundaries of baskets are no part of it.
    """

    def __init__(self) -> None:
        self._data, self._lengths = xxhash.xxh3_64(), xxhash.xxh3_64()

    def add(self, data: bytes, lengths: bytes = b"") -> None:
        """Take in the data of the next entries, and their lengths where these differ."""
        self._data.update(data)
        self._lengths.update(lengths)

    @property
    def value(self) -> int:
        """The checksum of all data so far."""
        return xxhash.xxh3_64_intdigest(self._data.digest() + self._lengths.digest())


def pack_basket(data: bytes, offsets: Ints | None, entries: int, compression: Any, key: RecordKey) -> tuple[bytes, int]:
    """The record of a basket, and its bytes before compression; `key` has its names, position and folder."""
    keylen, table = key.keylen + _FACTS.size, b""
    if offsets is not None:
        edges = np.append(offsets, len(data)) + keylen
        table = struct.pack(">i", entries + 1) + edges.astype(">i4").tobytes()
    packed = pack_blocks(data + table, compression)
    size = len(data) + len(table)
    spare = entries + 1 if offsets is not None else len(data) // max(1, entries)
    facts = _FACTS.pack(_VERSION, size + keylen, spare, entries, len(data) + keylen, _OWN_FLAG)
    return key.holding(size, len(packed), _FACTS.size).pack() + facts + packed, keylen + size


def repack(compression: Any, record: bytes) -> bytes:
    """The record of a basket with another compression; raises ValueError for bytes that are none."""
    key, _ = unpack_key(record)
    if key.nbytes != len(record):
        raise ValueError(f"a basket of {len(record)} bytes, {key.nbytes} by its key")
    payload = record[key.keylen :]
    data = unpack_blocks(payload, key.objlen) if key.is_compressed else payload
    packed = pack_blocks(data, compression)
    return struct.pack(">i", key.keylen + len(packed)) + record[4 : key.keylen] + packed


def cut(counts: Ints, itemsize: int, most: int) -> Sequence[tuple[int, int]]:
    """Ranges of entries of about `most` bytes each, for baskets."""
    if not len(counts):
        return []
    ends = np.cumsum(counts * itemsize + 4)
    edges = np.searchsorted(ends, np.arange(most, int(ends[-1]), most))
    edges = np.unique([0, *edges, len(counts)])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
