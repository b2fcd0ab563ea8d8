"""How the branches of a tree store their numbers: found by packing those of a basket again, and packed so later."""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.files.leaves import Structure, bytes_of_structures
from atlasae.graft.baskets import Beginning, Ints, Unpacked, begin_basket, embedded_basket, open_basket
from atlasae.graft.buffers import Thing
from atlasae.graft.records import Records
from atlasae.graft.trees import embedded, places

_Bytes = npt.NDArray[np.uint8]
_VECTOR = struct.Struct(">IHi")  # in front of a vector: bytes | kByteCountMask, version, number of values
_COUNT = 0x40000000
_MOST_STEPS = 2**32 - 1
_AT_ONCE = 50_000  # entries whose structures are packed again at once
_MOST_BITS = 14  # of mantissas in two bytes: sign and rounding take two of 16


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
        self._put(whole, heads, bodies, starts, counts)
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
        bodies = data[self._places(starts, counts)] if self.by_member else self._behind_heads(data, starts)
        views = [(part, np.dtype(part.dtype)) for part in self.parts]
        columns = [bodies[:, p.offset : p.offset + d.itemsize].copy().view(d)[:, 0] for p, d in views]
        return columns, counts

    def _put(self, whole: _Bytes, heads: _Bytes, bodies: _Bytes, starts: Ints, counts: Ints) -> None:
        """Put the heads of entries (n x bytes) and their structures (n x bytes) into all bytes of a basket."""
        places = (starts[:, None] + np.arange(heads.shape[1])).ravel()
        whole[places] = heads.ravel()
        if self.by_member:
            whole[self._places(starts, counts).ravel()] = bodies.ravel()
        else:
            inside = np.ones(len(whole), bool)
            inside[places] = False
            whole[inside] = bodies.ravel()

    def _behind_heads(self, data: _Bytes, starts: Ints) -> _Bytes:
        """The structures (n x bytes) of entries that begin at these places of data."""
        heads = (starts[:, None] + np.arange(len(self.head) // 2)).ravel()
        if heads.size and not 0 <= heads.min() <= heads.max() < len(data):
            raise ValueError(f"heads from {heads.min()} to {heads.max()} of {len(data)} bytes")
        behind = np.delete(data, heads)
        if behind.size % self.itemsize:
            raise ValueError(f"{behind.size} bytes of structures of {self.itemsize}")
        return behind.reshape(-1, self.itemsize)

    def _places(self, starts: Ints, counts: Ints) -> Ints:
        """The place of each byte of all structures (n x bytes of a structure) that are stored by member."""
        parts = sorted(self.parts, key=lambda part: part.offset)
        widths = [np.dtype(part.dtype).itemsize for part in parts]
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


def baskets_of(records: Records, branch: Thing) -> Iterator[Unpacked]:
    """All baskets of a branch, in their order; raises ValueError for bytes that are none."""
    for place in places(branch, records):
        yield open_basket(records.read(place.at, place.at + place.nbytes))
    yield from (embedded_basket(basket) for _, basket in embedded(branch))


def beginning_of(records: Records, branch: Thing, most: int) -> Beginning | None:
    """At least `most` bytes of the first basket of a branch, None without one; raises ValueError for other bytes."""
    for place in places(branch, records):
        return begin_basket(records.read(place.at, place.at + place.nbytes), most)
    for _, basket in embedded(branch):
        first = embedded_basket(basket)
        return Beginning(first.entries, first.data, True)
    return None


def forms_of_numbers(form: Form, basket: Beginning, values: npt.NDArray[Any], counts: Ints) -> list[Form]:
    """The form and those near it in which a basket stores these values of its entries; of those that are alike one.

    Of a large basket, only as many entries are packed as have all of the bytes with which it begins.
    """
    candidates = [form]
    if form.jagged and len(basket.data) >= 6:
        candidates.append(replace(form, vector=int.from_bytes(basket.data[4:6], "big")))
    if form.dtype == ">f8":  # a Double32_t is stored as a float
        candidates += [replace(one, dtype=">f4") for one in candidates]
    if not basket.whole:
        counts = counts[: int(np.searchsorted(np.cumsum(counts), len(basket.data))) + 1]
        values = values[: int(counts.sum())]
    alike: dict[bytes, Form] = {}
    with np.errstate(over="ignore"):  # doubles beyond floats are not stored as such
        for one in candidates:
            if basket.is_of(data := one.pack(values, counts)[0]):
                alike.setdefault(data, one)
    return [*alike.values()]


def form_of_structures(structure: Structure, baskets: Iterable[Unpacked]) -> Form | None:
    """How a branch with these baskets stores structures; None where anything but their numbers varies."""
    parts = [FormPart(part, dtype, offset) for part, (dtype, offset) in structure.numbers.items()]
    form: Form | None = None
    for basket in chain.from_iterable(basket.pieces(_AT_ONCE) for basket in baskets):
        if form is None and (entry := _first_filled(basket, structure.head)) is not None:
            form = _form_of_entry(structure, parts, basket.part(entry, entry + 1), basket.offsets is not None)
        if form and form.pack_all(*form.unpack_all(basket))[0] != basket.data:
            return None
    return form or Form("|u1", structure.jagged, None, parts, "00" * structure.head, "00" * structure.size)


def _first_filled(basket: Unpacked, head: int) -> int | None:
    """The first entry of a basket with more bytes than those in front of structures, if there is one."""
    if basket.offsets is None:
        return 0 if len(basket.data) > head * basket.entries else None
    filled = np.flatnonzero(np.diff(np.append(basket.offsets, len(basket.data))) > head)
    return int(filled[0]) if len(filled) else None


def _form_of_entry(structure: Structure, parts: list[FormPart], data: bytes, listed: bool) -> Form:
    """The form with what stands around the numbers in the data of an entry with structures."""
    head, body = data[: structure.head], data[structure.head : structure.head + structure.size]
    body = bytes(structure.size) if structure.by_member else body  # it is all numbers, of several structures
    form = Form("|u1", structure.jagged, None, parts, head.hex(), body.hex(), listed)
    return replace(form, bytes_at=structure.bytes_at, behind=structure.behind, by_member=structure.by_member)
