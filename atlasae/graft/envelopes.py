"""The envelopes of an RNTuple (header, footer, page lists): records from bytes, and bytes from records.

Format: tree/ntuple/doc/BinaryFormatSpecification.md of https://github.com/root-project/root
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

from atlasae.errors import UserError
from atlasae.files.checksums import checksum_bytes
from atlasae.graft.buffers import REWRITE

HEADER, FOOTER, PAGE_LIST = 1, 2, 3  # types of envelopes
_ANCHOR = Struct(">HHHHQQQQQQQ")
_OBJECT, _CHECKSUM = Struct(">IH"), Struct(">Q")
_COUNTED, _CLASS = 0x40000000, 2  # kByteCountMask, the version of ROOT::RNTuple
_SIZE, _COUNT, _U64, _I64, _U32 = (Struct(code) for code in ("<q", "<I", "<Q", "<q", "<I"))
_FIELD, _COLUMN, _PAIR = Struct("<IIIHH"), Struct("<HHIHH"), Struct("<II")
_PAGE, _LOCATOR, _LARGE = Struct("<iiQ"), Struct("<iQ"), Struct("<QQ")
_SUMMARY, _GROUP = Struct("<QQ"), Struct("<QQI")
_HEAD = Struct("<i")
_LARGE_HEAD = -(1 << 24 | _HEAD.size + _LARGE.size)  # of a locator with a size of 64 bits: its type and its own size
_REPEATED, _PROJECTED, _CHECKED = 1, 2, 4  # flags of fields
_DEFERRED, _LIMITED = 1, 2  # flags of columns

Version = tuple[int, int, int, int]
_WITH_SETS = (1, 0, 1, 0)  # the first version of the format that has sets of attributes


class Cursor:
    """A position in the bytes of an envelope; raises ValueError where they end too early."""

    def __init__(self, data: bytes, at: int = 0, stop: int | None = None) -> None:
        self.data, self.at, self.stop = data, at, len(data) if stop is None else stop

    @property
    def checksum(self) -> int:
        """The checksum of the envelope."""
        return int.from_bytes(self.data[-8:], "little")

    def number(self) -> int:
        """The next unsigned number of 64 bits."""
        return int(self.take(_U64))

    def take(self, form: Struct) -> Any:
        """The next number, or a tuple of several."""
        values = form.unpack_from(self.data, self._step(form.size))
        return values[0] if len(values) == 1 else values

    def text(self) -> str:
        """The next string; bytes that are not UTF-8 are kept."""
        size = self.take(_U32)
        start = self._step(size)
        return self.data[start : start + size].decode("utf-8", "surrogateescape")

    def pages(self, count: int) -> list["NtuplePage"]:
        """The next pages of a column."""
        start = self.at
        if count * _PAGE.size <= self.stop - start:
            found = list(_PAGE.iter_unpack(self.data[start : start + count * _PAGE.size]))
            if all(size >= 0 for _, size, _ in found):
                self._step(count * _PAGE.size)
                return [NtuplePage(abs(number), size, at, number < 0) for number, size, at in found]
        return [self._page() for _ in range(count)]

    def _page(self) -> "NtuplePage":
        number = self.take(_HEAD)
        return NtuplePage(abs(number), *self.locator(), number < 0)

    def locator(self) -> tuple[int, int]:
        """The size and the position of a range of bytes in the file."""
        size = self.take(_HEAD)
        if size >= 0:
            return size, self.take(_U64)
        if size != _LARGE_HEAD:
            raise UserError(f"the RNTuple has a locator of type {-size >> 24}, which can't be grafted: {REWRITE}")
        size, position = self.take(_LARGE)
        return size, position

    def link(self) -> "EnvelopeLink":
        """A link to another envelope."""
        return EnvelopeLink(self.take(_U64), *self.locator())

    def record(self) -> "Cursor":
        """A cursor over the contents of the next record."""
        start, size = self.at, self.take(_SIZE)
        return self._inner(start, size)

    def items(self) -> tuple[int, "Cursor"]:
        """The number of items of the next list, and a cursor over them."""
        start, size, count = self.at, self.take(_SIZE), self.take(_COUNT)
        return count, self._inner(start, -size)

    def records(self) -> Iterable["Cursor"]:
        """A cursor over each record of the next list."""
        count, inner = self.items()
        return (inner.record() for _ in range(count))

    def end(self, what: str) -> None:
        """Raise UserError if there is more than is known here."""
        if self.at < self.stop:
            raise UserError(
                f"{what} has {self.stop - self.at} bytes of a later format, and can't be grafted: {REWRITE}"
            )

    def _inner(self, start: int, size: int) -> "Cursor":
        if size < self.at - start or start + size > self.stop:
            raise ValueError(f"a frame of {size} bytes does not fit in its envelope")
        inner = Cursor(self.data, self.at, start + size)
        self.at = start + size
        return inner

    def _step(self, size: int) -> int:
        start = self.at
        if start + size > self.stop:
            raise ValueError(f"an envelope or a frame ends after {self.stop - start} of {size} bytes")
        self.at = start + size
        return start


class NtuplePage(NamedTuple):
    """A page: its elements, size (without checksum) and position, and whether a checksum follows it."""

    elements: int
    size: int
    position: int
    checksum: bool


class EnvelopeLink(NamedTuple):
    """A link to an envelope: its length, its size in the file, and its position."""

    length: int
    size: int
    position: int


class Range(NamedTuple):
    """The pages of a column in a cluster, its first element, and its compression (None: suppressed)."""

    pages: list[NtuplePage]
    offset: int
    compression: int | None


@dataclass
class Cluster:
    """A cluster: its first entry, its number of entries, and the ranges of its columns."""

    first: int
    entries: int
    ranges: list[Range]


class Group(NamedTuple):
    """A group of clusters: its first entry, number of entries and of clusters, and the link to its page list."""

    first: int
    entries: int
    clusters: int
    link: EnvelopeLink


@dataclass
class FieldRecord:
    """A field as stored; ids are indices in the list of fields."""

    version: int
    type_version: int
    parent: int
    role: int
    name: str
    type_name: str
    type_alias: str
    description: str
    size: int | None = None  # of an array
    source: int | None = None  # of a projected field
    checksum: int | None = None


@dataclass
class ColumnRecord:
    """A column as stored: `first` is the index of its first element, `limits` are the bits of two doubles."""

    kind: int
    bits: int
    field: int
    representation: int
    first: int | None = None
    limits: tuple[int, int] | None = None


@dataclass
class Schema:
    """The fields, columns, alias columns (physical column, field) and extra type information of an envelope."""

    fields: list[FieldRecord] = field(default_factory=list)
    columns: list[ColumnRecord] = field(default_factory=list)
    aliases: list[tuple[int, int]] = field(default_factory=list)
    extra: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Anchor:
    """The object of an RNTuple in a file: the version of the format, links to header and footer, largest key."""

    version: Version
    header: EnvelopeLink
    footer: EnvelopeLink
    max_key: int

    def to_bytes(self) -> bytes:
        """The object as ROOT stores it, with its checksum; version 2 of the class."""
        links = [number for link in (self.header, self.footer) for number in (link.position, link.size, link.length)]
        facts = _ANCHOR.pack(*self.version, *links, self.max_key)
        return _OBJECT.pack(_COUNTED | len(facts) + 2, _CLASS) + facts + _CHECKSUM.pack(checksum_bytes(facts))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Anchor":
        """The anchor that `to_bytes` gave; raises ValueError for damage, UserError for another version of the class."""
        if len(data) < _OBJECT.size + _ANCHOR.size + _CHECKSUM.size:
            raise ValueError(f"the object of an RNTuple has {len(data)} bytes")
        facts = data[_OBJECT.size : _OBJECT.size + _ANCHOR.size]
        count, number = _OBJECT.unpack_from(data)
        if not count & _COUNTED or number != _CLASS:
            raise UserError(f"the RNTuple has version {number} of its class, which is not known: {REWRITE}")
        if _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)[0] != checksum_bytes(facts):
            raise ValueError("the checksum of the object of an RNTuple differs")
        *version, at, size, length, at_footer, size_footer, length_footer, max_key = _ANCHOR.unpack(facts)
        links = EnvelopeLink(length, size, at), EnvelopeLink(length_footer, size_footer, at_footer)
        return cls((version[0], version[1], version[2], version[3]), *links, max_key)


def open_envelope(kind: int, data: bytes) -> Cursor:
    """A cursor over the payload of an envelope; raises ValueError for another kind, length or checksum."""
    if len(data) < 16:
        raise ValueError(f"an envelope has {len(data)} bytes")
    facts, known = _U64.unpack_from(data)[0], _U64.unpack_from(data, len(data) - 8)[0]
    if facts & 0xFFFF != kind or facts >> 16 != len(data) or checksum_bytes(data[:-8]) != known:
        raise ValueError("the kind, the length or the checksum of an envelope is wrong")
    return Cursor(data, 8, len(data) - 8)


def envelope(kind: int, payload: bytes) -> bytes:
    """An envelope with its checksum."""
    body = _U64.pack(kind | len(payload) + 16 << 16) + payload
    return body + _U64.pack(checksum_bytes(body))


def checksum_of(made: bytes) -> bytes:
    """The checksum at the end of an envelope, as others refer to it."""
    return made[-8:]


def read_features(cursor: Cursor) -> None:
    """Raise UserError for any feature flag: none is defined yet, and one means that old readers can't read on."""
    if flags := cursor.take(_I64):
        raise UserError(f"the RNTuple needs features ({flags & (1 << 64) - 1:#x}) not known here: {REWRITE}")


def read_schema(cursor: Cursor) -> Schema:
    """The schema of a header, or the extension of a footer."""
    fields = [_read_field(record) for record in cursor.records()]
    columns = [_read_column(record) for record in cursor.records()]
    aliases = [record.take(_PAIR) for record in cursor.records()]
    extra = [record.data[record.at : record.stop] for record in cursor.records()]
    return Schema(fields, columns, aliases, extra)


def _read_field(record: Cursor) -> FieldRecord:
    version, type_version, parent, role, flags = record.take(_FIELD)
    name, type_name, type_alias, description = (record.text() for _ in range(4))
    found = FieldRecord(version, type_version, parent, role, name, type_name, type_alias, description)
    if flags & ~(_REPEATED | _PROJECTED | _CHECKED):
        raise UserError(f"field '{found.name}' has flags ({flags:#x}) not known here: {REWRITE}")
    found.size = record.take(_U64) if flags & _REPEATED else None
    found.source = record.take(_U32) if flags & _PROJECTED else None
    found.checksum = record.take(_U32) if flags & _CHECKED else None
    record.end(f"field '{found.name}'")
    return found


def _read_column(record: Cursor) -> ColumnRecord:
    kind, bits, owner, flags, representation = record.take(_COLUMN)
    if flags & ~(_DEFERRED | _LIMITED):
        raise UserError(f"a column of field {owner} has flags ({flags:#x}) not known here: {REWRITE}")
    first = record.take(_I64) if flags & _DEFERRED else None
    limits = record.take(_LARGE) if flags & _LIMITED else None
    record.end(f"a column of field {owner}")
    return ColumnRecord(kind, bits, owner, representation, first, limits)


def write_schema(schema: Schema) -> bytes:
    """The four lists of a schema."""
    return b"".join(
        _list([_record(item) for item in items])
        for items in (
            map(_write_field, schema.fields),
            map(_write_column, schema.columns),
            (_PAIR.pack(*alias) for alias in schema.aliases),
            schema.extra,
        )
    )


def _write_field(one: FieldRecord) -> bytes:
    flags = _REPEATED * (one.size is not None) | _PROJECTED * (one.source is not None)
    flags |= _CHECKED * (one.checksum is not None)
    parts = [_FIELD.pack(one.version, one.type_version, one.parent, one.role, flags)]
    parts += map(_text, (one.name, one.type_name, one.type_alias, one.description))
    more = ((_U64, one.size), (_U32, one.source), (_U32, one.checksum))
    parts += [form.pack(value) for form, value in more if value is not None]
    return b"".join(parts)


def _write_column(one: ColumnRecord) -> bytes:
    flags = _DEFERRED * (one.first is not None) | _LIMITED * (one.limits is not None)
    packed = _COLUMN.pack(one.kind, one.bits, one.field, flags, one.representation)
    packed += b"" if one.first is None else _I64.pack(one.first)
    return packed + (b"" if one.limits is None else _LARGE.pack(*one.limits))


def write_header(name: str, description: str, writer: str, schema: Schema) -> bytes:
    """The header envelope."""
    return envelope(HEADER, _I64.pack(0) + b"".join(map(_text, (name, description, writer))) + write_schema(schema))


def read_groups(cursor: Cursor) -> list[Group]:
    """The groups of clusters of a footer."""
    groups = []
    for record in cursor.records():
        first, entries, clusters = record.take(_GROUP)
        groups.append(Group(first, entries, clusters, record.link()))
        record.end("a group of clusters")
    return groups


def read_sets(cursor: Cursor) -> None:
    """Raise UserError for linked sets of attributes: they hold positions of other RNTuples."""
    if cursor.at < cursor.stop:
        count, _ = cursor.items()
        if count:
            raise UserError(f"the RNTuple has {count} sets of attributes, which can't be grafted: {REWRITE}")
    cursor.end("the footer of the RNTuple")


def write_footer(header: bytes, late: Schema, groups: Sequence[Group], version: Version) -> bytes:
    """The footer envelope of an RNTuple with this header; from format 1.0.1 on with no sets of attributes."""
    records = [_GROUP.pack(*group[:3]) + _U64.pack(group.link.length) + _locator(*group.link[1:]) for group in groups]
    payload = (
        _I64.pack(0) + checksum_of(header) + _record(write_schema(late)) + _list([_record(one) for one in records])
    )
    return envelope(FOOTER, payload + (_list([]) if version >= _WITH_SETS else b""))


def read_page_list(data: bytes) -> list[Cluster]:
    """The clusters of a page list; raises ValueError for one that does not fit together."""
    cursor = open_envelope(PAGE_LIST, data)
    cursor.take(_U64)  # checksum of the header
    summaries = [record.take(_SUMMARY) for record in cursor.records()]
    count, outer = cursor.items()
    if count != len(summaries):
        raise ValueError(f"{count} lists of pages for {len(summaries)} clusters")
    clusters = []
    for first, facts in summaries:
        if facts >> 56 & 1:
            raise UserError("the RNTuple has sharded clusters, which can't be grafted: {REWRITE}")
        columns, inner = outer.items()
        clusters.append(Cluster(first, facts & (1 << 56) - 1, [_read_range(inner) for _ in range(columns)]))
    return clusters


def _read_range(cursor: Cursor) -> Range:
    count, inner = cursor.items()
    pages, offset = inner.pages(count), inner.take(_I64)
    return Range(pages, offset, None if offset < 0 else inner.take(_U32))


def write_page_list(header: bytes, clusters: Sequence[Cluster]) -> bytes:
    """The page list envelope of clusters of an RNTuple with this header."""
    summaries = _list([_record(_SUMMARY.pack(one.first, one.entries)) for one in clusters])
    pages = _list([_list([_write_range(found) for found in one.ranges]) for one in clusters])
    return envelope(PAGE_LIST, checksum_of(header) + summaries + pages)


def _write_range(found: Range) -> bytes:
    pages = [_HEAD.pack(-one.elements if one.checksum else one.elements) + _locator(*one[1:3]) for one in found.pages]
    end = _I64.pack(found.offset) + (b"" if found.compression is None else _U32.pack(found.compression))
    return _list(pages, end)


def _locator(size: int, position: int) -> bytes:
    if size < 1 << 31:
        return _LOCATOR.pack(size, position)
    return _HEAD.pack(_LARGE_HEAD) + _LARGE.pack(size, position)


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return _U32.pack(len(data)) + data


def _record(payload: bytes) -> bytes:
    return _SIZE.pack(len(payload) + _SIZE.size) + payload


def _list(items: Sequence[bytes], end: bytes = b"") -> bytes:
    payload = b"".join(items) + end
    return _SIZE.pack(-len(payload) - _SIZE.size - _COUNT.size) + _COUNT.pack(len(items)) + payload
