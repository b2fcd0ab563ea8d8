"""Baskets: their data without knowing what it is, its checksums, and baskets of lists of numbers."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from atlasae.files.leaves import bytes_of_structures
from atlasae.files.sources import unpack_blocks
from atlasae.files.writing import pack_blocks
from atlasae.graft.buffers import Thing
from atlasae.graft.records import KEY_SIZE_AT, RecordKey, unpack_key

Ints = npt.NDArray[np.int64]
_FACTS = struct.Struct(">Hiiiib")  # version, sizes of buffers, entries, end of the data, a flag; the end of the key
_VERSION, _OWN_FLAG = 3, 0
_VECTOR = struct.Struct(">IHi")  # in front of a vector: bytes | kByteCountMask, version, number of values
_COUNT = 0x40000000
_MOST_STEPS = 2**32 - 1
_MOST_BITS = 14  # of mantissas in two bytes: sign and rounding take two of 16


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

    def lengths(self, start: int, stop: int) -> bytes:
        """The bytes of data of each of the entries [start, stop) as int32; nothing where all are of one size."""
        if self.offsets is None:
            return b""
        return np.diff(self._ends(self.offsets)[start : stop + 1]).astype("<i4").tobytes()

    def _ends(self, offsets: Ints) -> Ints:
        if len(offsets) != self.entries:
            raise ValueError(f"{len(offsets)} offsets of {self.entries} entries")
        return np.append(offsets, len(self.data))


def open_basket(record: bytes) -> Unpacked:
    """A basket from its record; raises ValueError for bytes that are none."""
    key, after = unpack_key(record)
    if key.nbytes != len(record) or key.keylen - _FACTS.size < after:
        raise ValueError(f"a basket of {len(record)} bytes, with a key of {key.keylen} of {key.nbytes}")
    entries, border = _facts(record, key.keylen)
    if not 0 <= border <= key.objlen:
        raise ValueError(f"a basket with data of {border} of {key.objlen} bytes")
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


@dataclass(frozen=True)
class FormPart:
    """A number of a structure: the name of its values, its dtype, and its place."""

    name: str
    dtype: str
    offset: int


@dataclass(frozen=True)
class Form:
    """How a branch stores its values: their dtype, whether lists, and the version in front of a vector (or None).

    A branch of structures has `parts`, and the bytes of a structure (`body`) and in front of those of an entry (`head`)
    as hexadecimal digits; `listed` tells whether baskets have offsets of entries of the same size. `bytes_at`, `behind`
    and `by_member` are those of `Structure`. Numbers with a `factor` are stored as n for `low + n / factor`, those with
    a `mantissa` in three bytes, with so many bits of it (Double32_t, Float16_t). Raises ValueError for others than
    these.
    """

    dtype: str
    jagged: bool
    vector: int | None = None
    parts: list[FormPart] = field(default_factory=list)
    head: str = ""
    body: str = ""
    listed: bool = False
    bytes_at: int = 0
    behind: int = 0
    low: float = 0.0
    factor: float = 0.0
    mantissa: int = 0
    by_member: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that ROOT can't store."""
        if not (math.isfinite(self.low) and 0 <= self.factor < math.inf and 0 <= self.mantissa <= _MOST_BITS):
            raise ValueError(f"numbers of {self.mantissa} bits, or {self.factor} steps from {self.low}")

    @property
    def itemsize(self) -> int:
        """The bytes of a value, or of a structure."""
        return len(self.body) // 2 or (3 if self.mantissa else 4 if self.factor else np.dtype(self.dtype).itemsize)

    def pack_all(self, columns: Sequence[npt.NDArray[Any]], counts: Ints) -> tuple[bytes, Ints | None]:
        """The same as `pack` for the values of all parts, or of the only one."""
        if not self.parts:
            return self.pack(columns[0], counts)
        head, body = (np.frombuffer(bytes.fromhex(text), np.uint8) for text in (self.head, self.body))
        bodies = np.tile(body, (len(columns[0]), 1))
        for part, values in zip(self.parts, columns, strict=True):
            data = np.ascontiguousarray(values, np.dtype(part.dtype))
            bodies[:, part.offset : part.offset + data.itemsize] = data.view(np.uint8).reshape(len(data), data.itemsize)
        sizes = counts * len(body) + len(head)
        starts = np.cumsum(sizes) - sizes
        heads = np.tile(head, (len(counts), 1))
        if self.jagged and len(head):
            at, end = self.bytes_at, len(head) - self.behind
            heads[:, at : at + 4] = ((sizes - at - 4) | _COUNT).astype(">u4").view(np.uint8).reshape(-1, 4)
            heads[:, end - 4 : end] = counts.astype(">u4").view(np.uint8).reshape(-1, 4)
        whole = np.empty(int(sizes.sum()), np.uint8)
        whole[(starts[:, None] + np.arange(len(head))).ravel()] = heads.ravel()
        whole[self._places(starts, counts).ravel()] = bodies.ravel()
        return whole.tobytes(), starts if self.jagged or self.listed else None

    def unpack_all(self, basket: Unpacked) -> tuple[list[npt.NDArray[Any]], Ints]:
        """The values of all parts in a basket, and their number in each entry; raises ValueError for other bytes."""
        head, size, data = len(self.head) // 2, self.itemsize, np.frombuffer(basket.data, np.uint8)
        if basket.offsets is None:
            starts = np.arange(basket.entries) * (len(data) // max(1, basket.entries))
        else:
            starts = basket.offsets
        counts = (np.diff(np.append(starts, len(data))) - head) // size
        if (counts < 0).any() or int((counts * size + head).sum()) != len(data):
            raise ValueError(f"entries that are no structures of {size} bytes")
        bodies = data[self._places(starts, counts)]
        views = [(part, np.dtype(part.dtype)) for part in self.parts]
        columns = [bodies[:, p.offset : p.offset + d.itemsize].copy().view(d)[:, 0] for p, d in views]
        return columns, counts

    def _places(self, starts: Ints, counts: Ints) -> Ints:
        """The place of each byte of all structures (n x bytes of a structure)."""
        parts = sorted(self.parts, key=lambda part: part.offset)
        widths = [np.dtype(part.dtype).itemsize for part in parts] if self.by_member else [self.itemsize]
        if sum(widths) != self.itemsize:
            raise ValueError(f"members of {sum(widths)} of {self.itemsize} bytes")
        return bytes_of_structures(starts + len(self.head) // 2, counts, widths)

    def pack(self, values: npt.NDArray[Any], counts: Ints) -> tuple[bytes, Ints | None]:
        """The data of entries with `counts` values each, and where the entries begin."""
        data = self._stored(values)
        if not self.jagged:
            return data.tobytes(), None
        sizes = counts * data.itemsize
        if self.vector is None:
            return data.tobytes(), np.cumsum(sizes) - sizes
        heads = np.zeros(len(counts), [("bytes", ">u4"), ("version", ">u2"), ("size", ">i4")])
        heads["bytes"], heads["version"], heads["size"] = (sizes + 6) | _COUNT, self.vector, counts
        starts = np.cumsum(sizes + _VECTOR.size) - sizes - _VECTOR.size
        whole = np.empty(int((sizes + _VECTOR.size).sum()), np.uint8)
        places = (starts[:, None] + np.arange(_VECTOR.size)).ravel()
        whole[places] = heads.view(np.uint8)
        inside = np.ones(len(whole), bool)
        inside[places] = False
        whole[inside] = data.view(np.uint8)
        return whole.tobytes(), starts

    def _stored(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.factor:
            steps = np.rint((values.astype(np.float64) - self.low) * self.factor)
            return np.clip(steps, 0, _MOST_STEPS).astype(">u4")
        if self.mantissa:
            words = values.astype(np.float32).view(np.uint32)
            short = np.empty(len(words), [("exponent", "u1"), ("mantissa", ">u2")])
            short["exponent"] = words >> 23 & 0xFF
            short["mantissa"] = (words & 0x7FFFFF) >> (23 - self.mantissa) | (words >> 31) << (self.mantissa + 1)
            return short
        return np.ascontiguousarray(values, np.dtype(self.dtype))


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
