"""An RNTuple that is grafted: sealed pages are copied as bytes, new columns put beside them, envelopes made anew."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import awkward as ak
import numpy as np

from atlasae.errors import UserError
from atlasae.files.checksums import checksum_bytes
from atlasae.files.sources import unpack_blocks
from atlasae.graft.buffers import REWRITE
from atlasae.graft.elements import (
    CUT,
    QUANTIZED,
    Elements,
    bytes_of,
    decode,
    encode,
    encode_cut,
    encode_steps,
    planes_of,
    read_plain,
    split_kind,
)
from atlasae.graft.envelopes import (
    FOOTER,
    HEADER,
    Anchor,
    Cluster,
    EnvelopeLink,
    Group,
    NtuplePage,
    Range,
    open_envelope,
    read_features,
    read_groups,
    read_page_list,
    read_schema,
    read_sets,
    write_footer,
    write_header,
    write_page_list,
)  # fmt: skip
from atlasae.graft.fields import Field, NtupleColumn, read_fields, steps_in, walk_fields, write_fields
from atlasae.graft.records import Read

_EPOCH = 1  # of the version of the format; another one is another format
_LONGEST = 1 << 30  # bytes of an envelope: more is damage
_MAX_KEY = 1 << 30  # bytes of a key, as in ROOT
_BLOB, _RUN, _GAP = 1 << 26, 1 << 23, 1 << 16  # bytes: of a key of pages, of one read, of what is read in vain
_PAGE_BYTES = 1 << 20  # of a new page before compression
_SUM = (1 << 64) - 1


class Blobs(Protocol):
    """A file to which pages and envelopes are written."""

    def write_blob(self, parts: Iterable[bytes], size: int) -> int:
        """Write bytes of this size; returns where they begin."""
        ...


@dataclass(frozen=True)
class Packing:
    """How new pages, of so many planes, and envelopes are compressed, and the setting that the page list tells."""

    pack: Callable[[bytes, int], bytes]
    pack_envelope: Callable[[bytes], bytes]
    setting: int


@dataclass
class Ntuple:
    """An RNTuple as stored: its names, its fields, extra type information, groups of clusters, and its file."""

    name: str
    description: str
    writer: str
    fields: list[Field]
    columns: list[NtupleColumn]
    extra: tuple[list[bytes], list[bytes]]
    groups: list[Group]
    anchor: Anchor
    read: Read
    size: int  # of the file

    @property
    def entries(self) -> int:
        """The number of entries."""
        return sum(group.entries for group in self.groups)

    def clusters(self) -> Iterator[list[Cluster]]:
        """The clusters of each group; raises ValueError where they do not follow each other."""
        first = 0
        for group in self.groups:
            clusters = read_page_list(_envelope(self.read, group.link))
            for cluster in clusters:
                if cluster.first != first or len(cluster.ranges) > len(self.columns):
                    raise ValueError(f"the cluster of entry {first} begins at entry {cluster.first}")
                first += cluster.entries
            if len(clusters) != group.clusters or sum(one.entries for one in clusters) != group.entries:
                raise ValueError(f"{len(clusters)} of {group.clusters} clusters in a group of {group.entries} entries")
            yield clusters


def open_ntuple(anchor: Anchor, file: Read, size: int) -> Ntuple:
    """The RNTuple of an anchor in a file of this size; raises ValueError for damage, UserError for a later format."""
    read = _within(file, size)
    if anchor.version[0] != _EPOCH:
        raise UserError(f"the RNTuple has format {'.'.join(map(str, anchor.version))}, which is not known: {REWRITE}")
    header = open_envelope(HEADER, _envelope(read, anchor.header))
    read_features(header)
    names = [header.text() for _ in range(3)]
    schema = read_schema(header)
    header.end("the header of the RNTuple")
    footer = open_envelope(FOOTER, _envelope(read, anchor.footer))
    read_features(footer)
    if footer.number() != header.checksum:
        raise ValueError("the header and the footer are of different RNTuples")
    late = read_schema(footer.record())
    groups = read_groups(footer)
    read_sets(footer)
    fields = read_fields(schema, late)
    columns = sorted((c for _, one in walk_fields(fields) for c in one.columns), key=lambda column: column.number or 0)
    name, description, writer = names
    return Ntuple(name, description, writer, fields, columns, (schema.extra, late.extra), groups, anchor, read, size)


def _within(read: Read, size: int) -> Read:
    """Reads bytes of a file of this size; raises ValueError where it has fewer."""

    def checked(start: int, stop: int) -> bytes:
        data = read(start, stop) if 0 <= start <= stop <= size else b""
        if len(data) != stop - start:
            raise ValueError(f"the file does not have {stop - start} bytes at {start}")
        return data

    return checked


def _envelope(read: Read, link: EnvelopeLink) -> bytes:
    if max(link.length, link.size) > _LONGEST:
        raise ValueError(f"an envelope of {link.length} bytes is longer than any")
    return unpack_blocks(read(link.position, link.position + link.size), link.length)


_Uses = dict[NtuplePage, list[tuple[NtupleColumn, int]]]  # the columns that have a page, with its number in each


@dataclass
class Fill:
    """A new column: its branch, and whether it holds the ends of the lists of that or their numbers."""

    column: NtupleColumn
    branch: str
    ends: bool
    offset: int = 0  # elements in the clusters before
    inside: int = 0  # elements in this cluster


class NtupleWriter:
    """Writes an RNTuple with other fields than that of `source`, whose clusters it keeps.

    Columns with a `number` are copied, those of `fills` filled by `extend`. `edges` are the last entries (excluded) of
    ranges that have checksums of their own: those of a merged file.
    """

    def __init__(
        self,
        source: Ntuple,
        fields: Sequence[Field],
        fills: Sequence[Fill],
        target: Blobs,
        packing: Packing,
        edges: Sequence[int] = (),
    ) -> None:
        self._source, self._fills, self._target, self._packing = source, fills, target, packing
        schema, self._late, self._columns = write_fields(fields)
        schema.extra, self._late.extra = source.extra
        self._header = write_header(source.name, source.description, source.writer, schema)
        self._header_link = self._write_envelope(self._header)
        self._keys = _keys(fields)
        self._groups: list[Group] = []
        self._made: dict[int, list[tuple[int, bytes]]] = {}  # elements and bytes of new pages, by column
        self._copied = 0
        self._edges = list(edges) or [source.entries]
        copied = {self._keys[id(column)]: 0 for column in self._columns if column.number is not None}
        self._sums = [dict(copied) for _ in self._edges]
        self._steps = self._step()
        self._current = next(self._steps, None)
        self._filled = 0

    def extend(self, events: Mapping[str, ak.Array]) -> None:
        """Append events; those of the fills."""
        parts = {fill.branch: _Part(events[fill.branch]) for fill in self._fills}
        entries, done = len(next(iter(events.values()))), 0
        while done < entries:
            if self._current is None:
                raise ValueError(f"{entries - done} entries more than the RNTuple has")
            stop = done + min(entries - done, self._current.entries - self._filled)
            for fill in self._fills:
                self._fill(fill, parts[fill.branch], done, stop)
            self._filled += stop - done
            done = stop
            if self._filled == self._current.entries:
                self._current, self._filled = next(self._steps, None), 0

    def found(self, which: int = 0) -> list[tuple[str, int]]:
        """Name and checksum of each column that was copied, in the range of entries of this number.

        The checksum is of the plain elements, whatever the compression of pages and their encoding.
        """
        return sorted(self._sums[which].items())

    def finish(self) -> bytes:
        """Write the rest; returns the anchor."""
        while self._current is not None and not self._fills:
            self._current = next(self._steps, None)
        if self._current is not None:
            raise ValueError(f"entries are missing from {self._current.first + self._filled} on")
        version = self._source.anchor.version
        footer = self._write_envelope(write_footer(self._header, self._late, self._groups, version))
        return Anchor(version, self._header_link, footer, _MAX_KEY).to_bytes()

    def _step(self) -> Iterator[Cluster]:
        """Each cluster with entries, to be filled; it is written when the next one is asked for."""
        for clusters in self._source.clusters():
            written = []
            for cluster in filter(lambda one: one.entries, clusters):
                self._made = {id(fill.column): [] for fill in self._fills}
                yield cluster
                written.append(Cluster(cluster.first, cluster.entries, self._ranges(cluster)))
            if written:
                link = self._write_envelope(write_page_list(self._header, written))
                entries = sum(one.entries for one in written)
                self._groups.append(Group(written[0].first, entries, len(written), link))

    def _fill(self, fill: Fill, part: "_Part", start: int, stop: int) -> None:
        values = part.ends(start, stop) + fill.inside if fill.ends else part.values(start, stop)
        fill.inside = int(values[-1]) if fill.ends and len(values) else fill.inside
        self._made[id(fill.column)] += self._pages_of(fill.column, values)

    def _pages_of(self, column: NtupleColumn, values: Elements) -> list[tuple[int, bytes]]:
        """The elements and the bytes of new pages."""
        step = max(1, _PAGE_BYTES * 8 // column.bits)
        pieces = [values[at : at + step] for at in range(0, len(values), step)]
        planes = planes_of(column.kind)
        return [(len(piece), self._packing.pack(_encoded(column, piece), planes)) for piece in pieces]

    def _ranges(self, cluster: Cluster) -> list[Range]:
        """The ranges of all columns in a cluster, with pages copied and made; columns that begin later have none."""
        positions = self._copy(cluster)
        made = self._write_made(_told(cluster) or self._packing.setting)
        ranges = list[Range]()
        for place, column in enumerate(self._columns):
            if column.number is None:
                found = made[id(column)]
            elif column.number < len(cluster.ranges):
                found = _moved(cluster.ranges[column.number], positions)
            else:
                break
            if len(ranges) < place:
                raise ValueError("columns that begin later are not the last")
            ranges.append(found)
        return ranges

    def _write_made(self, told: int) -> dict[int, Range]:
        """Write the new pages of a cluster; returns the range of each new column, with `told` as its compression."""
        places = self._write_once([page for fill in self._fills for _, page in self._made[id(fill.column)]])
        ranges = {}
        for fill in self._fills:
            made = ranges[id(fill.column)] = Range([], fill.offset, told)
            for elements, page in self._made[id(fill.column)]:
                made.pages.append(NtuplePage(elements, len(page), places[page], True))
                fill.offset += elements
            fill.inside = 0
        return ranges

    def _write_once(self, pages: Sequence[bytes]) -> dict[bytes, int]:
        """Write pages with their checksums, equal ones once; returns where each is."""
        places = dict[bytes, int]()
        if pages:
            single = list(dict.fromkeys(pages))
            sealed = (part for page in single for part in (page, _checksum(page)))
            at = self._target.write_blob(sealed, sum(len(page) + 8 for page in single))
            for page in single:
                places[page], at = at, at + len(page) + 8
        return places

    def _copy(self, cluster: Cluster) -> dict[tuple[int, int], int]:
        """Copy the pages of a cluster; returns where each page (position, size) is now."""
        uses = _Uses()
        for column in self._columns:
            if column.number is not None and column.number < len(cluster.ranges):
                for number, page in enumerate(cluster.ranges[column.number].pages):
                    uses.setdefault(page, []).append((column, number))
        sums, place = self._range_of(cluster)
        positions = dict[tuple[int, int], int]()
        for pages in _batches(sorted(uses, key=lambda page: page.position), _BLOB, None):
            self._count(pages)
            size = sum(page.size + 8 for page in pages)
            at = self._target.write_blob(self._sealed(pages, uses, sums, place), size)
            for page in pages:
                positions[page.position, page.size] = at
                at += page.size + 8
        return positions

    def _count(self, pages: Sequence[NtuplePage]) -> None:
        """Raise ValueError for pages that lie over each other: a small file would make a large one."""
        self._copied += sum(page.size for page in pages)
        if self._copied > self._source.size:
            raise ValueError("its pages lie over each other")

    def _range_of(self, cluster: Cluster) -> tuple[dict[str, int], int]:
        """The checksums of the range of entries that a cluster belongs to, and the cluster's first entry there."""
        first = 0
        for edge, sums in zip(self._edges, self._sums, strict=True):
            if cluster.first < edge:
                return sums, cluster.first - first
            first = edge
        raise ValueError(f"entry {cluster.first} is behind the last of {first}")

    def _sealed(self, pages: Sequence[NtuplePage], uses: _Uses, sums: dict[str, int], place: int) -> Iterator[bytes]:
        """Pages with their checksums, which are added where there are none; their elements go into `sums`."""
        for page, sealed in read_pages(self._source.read, pages):
            for column, number in uses[page]:
                plain = decode(column.kind, unpack_blocks(sealed, bytes_of(column.bits, page.elements)))
                name = self._keys[id(column)]
                sums[name] = sums[name] + checksum_bytes(b"%d %d " % (place, number), plain) & _SUM
            yield sealed
            yield _checksum(sealed)

    def _write_envelope(self, made: bytes) -> EnvelopeLink:
        packed = self._packing.pack_envelope(made)
        return EnvelopeLink(len(made), len(packed), self._target.write_blob([packed], len(packed)))


def _encoded(column: NtupleColumn, values: Elements) -> bytes:
    """The page of some values of a column."""
    if column.kind == CUT:
        return encode_cut(values, column.bits)
    if column.kind == QUANTIZED:
        return encode_steps(values, column.bits, *steps_in(column))
    return encode(column.kind, values)


class SplittingWriter(NtupleWriter):
    """Writes an RNTuple of which all pages are made anew, with numbers split into planes of bytes, and checksums."""

    def __init__(self, source: Ntuple, target: Blobs, packing: Packing) -> None:
        self._before = {id(column): column.kind for column in source.columns}
        for column in source.columns:
            column.kind = split_kind(column.kind)
        super().__init__(source, source.fields, (), target, packing)

    def _ranges(self, cluster: Cluster) -> list[Range]:
        pairs = [(column, cluster.ranges[column.number]) for column in self._columns if column.number is not None]
        made = [self._split(column, known) for column, known in pairs]
        places = self._write_once([page for pages in made for _, page in pages])
        ranges = list[Range]()
        for pages, (_, known) in zip(made, pairs, strict=True):
            split = [NtuplePage(elements, len(page), places[page], True) for elements, page in pages]
            ranges.append(Range(split, known.offset, self._packing.setting))
        return ranges

    def _split(self, column: NtupleColumn, known: Range) -> list[tuple[int, bytes]]:
        made = list[tuple[int, bytes]]()
        for page, sealed in read_pages(self._source.read, known.pages):
            plain = decode(self._before[id(column)], unpack_blocks(sealed, bytes_of(column.bits, page.elements)))
            if planes_of(column.kind) > 1:
                made += self._pages_of(column, read_plain(column.kind, plain))
            else:
                made.append((page.elements, self._packing.pack(plain, 1)))
        return made


class _Part:
    """A branch in some entries: the lengths of its lists, and its numbers."""

    def __init__(self, array: ak.Array) -> None:
        self._edges: Any = None
        if array.layout.is_list and not array.layout.is_regular:
            self._edges = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(array)), dtype=np.int64)])
            array = ak.flatten(array)
        self._values: Elements = ak.to_numpy(ak.without_parameters(array))

    def ends(self, start: int, stop: int) -> Any:
        """The ends of the lists of entries [start, stop), counted from the first of them."""
        return self._edges[start + 1 : stop + 1] - self._edges[start]

    def values(self, start: int, stop: int) -> Any:
        """The numbers of entries [start, stop)."""
        if self._edges is None:
            return self._values[start:stop].reshape(-1)  # arrays of fixed size have several numbers
        return self._values[self._edges[start] : self._edges[stop]]


def _keys(fields: Sequence[Field]) -> dict[int, str]:
    """The names of columns: the path of the field, and the number of the column in its representation."""
    keys = {}
    for path, one in walk_fields(fields):
        for column in one.columns:
            number = sum(c.representation == column.representation for c in one.columns[: one.columns.index(column)])
            keys[id(column)] = f"{'.'.join(path)}#{number}"
    return keys


def _moved(known: Range, positions: Mapping[tuple[int, int], int]) -> Range:
    pages = [NtuplePage(page.elements, page.size, positions[page.position, page.size], True) for page in known.pages]
    return Range(pages, known.offset, known.compression)


def _told(cluster: Cluster) -> int | None:
    """The compression that a cluster tells; 0 or None if there is none.

    New pages tell the same, whatever theirs is (each block has it in front): ROOT's hadd takes that of any column for
    all, and would compress all others anew.
    """
    return next((found.compression for found in cluster.ranges if found.compression), None)


def _checksum(sealed: bytes) -> bytes:
    return checksum_bytes(sealed).to_bytes(8, "little")


def read_pages(read: Read, pages: Sequence[NtuplePage]) -> Iterator[tuple[NtuplePage, bytes]]:
    """Pages in the order of their positions, near ones by one read; raises ValueError if a checksum differs."""
    for run in _batches(pages, _RUN, _GAP):
        start, last = run[0].position, max(page.position + page.size + 8 * page.checksum for page in run)
        data = read(start, last)
        for page in run:
            sealed = data[page.position - start : page.position - start + page.size]
            end = page.position - start + page.size
            if page.checksum and data[end : end + 8] != _checksum(sealed):
                raise ValueError(f"the checksum of the page at byte {page.position} differs")
            yield page, sealed


def _batches(pages: Sequence[NtuplePage], most: int, gap: int | None) -> Iterator[list[NtuplePage]]:
    """Pages in groups of at most `most` bytes (or one page), with gaps no longer than `gap` between them."""
    batch, size, stop = list[NtuplePage](), 0, 0
    for page in pages:
        apart = gap is not None and page.position - stop > gap
        if batch and (size + page.size > most or apart):
            yield batch
            batch, size = [], 0
        batch.append(page)
        size, stop = size + page.size + 8, page.position + page.size
    if batch:
        yield batch
