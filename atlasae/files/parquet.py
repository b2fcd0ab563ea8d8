"""Parquet, read and written in pieces: columns of numbers, texts and lists, records and lists of records."""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import awkward as ak
import numpy as np

from atlasae.errors import DamagedFileError, UserError, optional
from atlasae.files.branches import LIST, Branch, Unwritable
from atlasae.files.damage import damage
from atlasae.files.events import (
    INDEX,
    Categories,
    Name,
    OpenTable,
    Table,
    TableFacts,
    TableWriter,
    halved,
    is_text,
    json_texts,
    rows_of_json,
)
from atlasae.files.pickles import MOST_VALUES, frame_of, refuse_twice, steps_of
from atlasae.files.remote import Location
from atlasae.files.rntuple import assemble
from atlasae.report import line_of

_CODECS = ("snappy", "none", "gzip", "brotli", "lz4", "zstd")  # the first is pyarrow's own choice
_BUFFER = 1 << 20  # bytes of a column in memory, which else is read whole
_ROWS = 65_536  # read at once
_MOST_READERS = 8  # of different columns, each of which remembers where it is
_MOST_SCHEMA = 1 << 26  # bytes of a schema


def _arrow(module: str = "pyarrow") -> Any:
    return optional(module, "parquet", "tables")


class Parquet:
    """Parquet files, by pyarrow.

    What pandas wrote comes back as it was: names, dtypes, labels of rows. Of all other files the schema is kept, with
    its metadata. Attributes of pandas are not kept.
    """

    suffixes = (".parquet", ".pq")
    holds = frozenset({"lists", "arrays", "texts"})

    @contextmanager
    def open(self, path: Location, stream: BinaryIO) -> Iterator[OpenTable]:
        """Open a file; raises UserError for one that is no parquet, DamagedFileError."""
        parquet = _arrow("pyarrow.parquet")
        if not b"PAR1".startswith(stream.read(4)):
            raise UserError(f"{path.name}: not a parquet file, whatever its suffix says")
        with _damage(path.name):
            file = parquet.ParquetFile(stream, buffer_size=_BUFFER, page_checksum_verification=True)
            events = ParquetEvents(file, path.name)
            opened = _opened(events, path.name)
        yield opened

    @contextmanager
    def create(self, path: Path, facts: TableFacts, rows: int | None) -> Iterator[TableWriter]:
        """Write a table; `rows` is how many it will have, None if that is not known."""
        writer = _Writer(path, facts, rows)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()


@contextmanager
def _damage(file: str) -> Iterator[None]:
    """Turn errors of pyarrow on changed bytes into DamagedFileError."""
    try:
        yield
    except (_arrow().ArrowException, OSError, ValueError, TypeError, AttributeError, LookupError, zlib.error) as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None):  # an error of the machine, not damage
            raise
        raise DamagedFileError(f"{file}: damaged: not the parquet that was written ({line_of(error)})") from None


# Reading


@dataclass(frozen=True)
class _Place:
    """Where the values of a column are: the field, the member of its records, and the columns of the file."""

    field: str
    member: str | None
    paths: list[str]


class ParquetEvents:
    """The columns of a parquet file, read by ranges of rows.

    Members of records, and of lists of records, are columns of their own, called as in `Jet.pt`; `places` has their
    paths, `nulls` the columns of floats with nulls, `objects` and `categories` what they are in a table. `missing` are
    columns that tell which lists of a field are missing, by its name; those lists are empty here.
    """

    def __init__(self, file: Any, name: str) -> None:
        self.file, self.name = file, name
        self.entries: int = file.metadata.num_rows
        self.schema = file.schema_arrow
        self.members: list[Branch] = []
        self.full_names: dict[str, str] = {}
        self.branches: list[Branch] = []
        self.unwritable: list[Unwritable] = []
        self.places: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.halves: list[str] = []
        self.retyped = False
        self.objects: dict[str, str] = {}
        self.categories: dict[str, Categories] = {}
        self._places: dict[str, _Place] = {}
        self._readers: dict[tuple[str, ...], _Reader] = {}
        self._labels: range | None = None
        refuse_twice(self.schema.names, name)
        self._paths = [file.schema.column(number).path for number in range(len(file.schema))]
        self.sizes = _sizes(file.metadata)
        self._find()
        refuse_twice([branch.name for branch in self.branches], name)
        self.nulls = [branch.name for branch in self.branches if self._has_nulls(branch)]

    def _find(self) -> None:
        left = iter(self._paths)
        for field in self.schema:
            kind = _stored(field.type)
            paths = [next(left) for _ in range(_leaves(kind))]
            inner, mark = _records(kind)
            if inner is None or (not mark and self._misses_some(field.name, inner)):
                self._add(field.name, kind, _Place(field.name, None, paths))
                continue
            rest = iter(paths)
            for member in inner:
                own = _stored(member.type)
                place = _Place(field.name, member.name, [next(rest) for _ in range(_leaves(own))])
                path = f"{field.name}{mark}.{member.name}"
                self._add(path.replace(LIST, ""), _in_list(own) if mark else own, place, path)
        if next(left, None) is not None:
            raise ValueError("its schema of Arrow is of other columns")
        self._tell_missing()

    def _tell_missing(self) -> None:
        """Add a column of booleans for each field of lists of which some are missing."""
        taken = {branch.name for branch in self.branches}
        lists = {place.field: place for name, place in self._places.items() if name not in self.objects}
        for field, place in lists.items():
            if _is_list(self.schema.field(field).type) and self._lacks_lists(place.paths[0]):
                name = f"{field}_missing"
                while name in taken:
                    name += "_"
                taken.add(name)
                self.missing[field], self._places[name] = name, _Place(field, None, place.paths)
                self.branches.append(Branch(name, "|b1", jagged=False))

    def _lacks_lists(self, path: str) -> bool:
        """Whether some lists of a field are missing, of which this is a column of the file."""
        groups = range(self.file.metadata.num_row_groups if self._null_count(path) else 0)
        return any(self.file.read_row_group(group, columns=[path]).column(0).null_count for group in groups)

    def _add(self, name: str, kind: Any, place: _Place, path: str | None = None) -> None:
        branch, half = _branch(name, kind)
        if not path and (branch is None or self._lacks_values(branch, place)):
            branch, half = self._in_other_words(name, kind, place), False
        if branch is None:
            self.unwritable.append(Unwritable(name, f"holds no numbers, nor lists of them, but {kind}"))
            return
        self.branches.append(branch)
        self._places[name] = place
        self.halves += [name] * half
        if path:
            self.places[name] = path

    def _misses_some(self, name: str, members: Iterable[Any]) -> bool:
        """Whether rows lack a record, or a single value of it, as of `ak.firsts`: such records are JSON."""
        paths = {f"{name}.{member.name}" for member in members}.intersection(self._paths)
        return any(self._null_count(path) for path in paths)

    @property
    def codec(self) -> str:
        """What compresses the first column."""
        groups = self.file.metadata.num_row_groups and self.file.metadata.num_columns
        found = self.file.metadata.row_group(0).column(0).compression.lower() if groups else _CODECS[0]
        return "none" if found == "uncompressed" else str(found)

    def _lacks_values(self, branch: Branch, place: _Place) -> bool:
        """Whether a column has nulls that are told apart only in JSON: those of single values that are no floats."""
        flat = not branch.jagged and not branch.is_float and not branch.dtype.endswith("array")
        return flat and self._null_count(place.paths[0]) > 0

    def _in_other_words(self, name: str, kind: Any, place: _Place) -> Branch | None:
        """The branch of a column of a type that no tree has: times as whole numbers, categories as values, or JSON."""
        types, simple = _arrow("pyarrow.types"), _simple(kind)
        if simple is None:
            return None
        self.retyped = True
        if types.is_dictionary(kind):
            self.categories |= _categories(self.file, name, kind)
        branch, half = _branch(name, simple)
        if branch is None or half or types.is_decimal(kind) or self._lacks_values(branch, place):
            self.objects[name] = "json category" if name in self.categories else f"json {_times(kind) or ''}".strip()
            return Branch(name, "string", jagged=False)
        if name in self.categories:
            self.objects[name] = "category"
        elif times := _times(kind):
            self.objects[name] = times
        return branch

    def _has_nulls(self, branch: Branch) -> bool:
        """Whether a column of single floats has nulls."""
        place = self._places[branch.name]
        flat = branch.is_float and not branch.jagged and not place.member
        return flat and self._null_count(place.paths[0]) > 0

    def _null_count(self, path: str) -> int:
        number, metadata, count = self._paths.index(path), self.file.metadata, 0
        for group in range(metadata.num_row_groups):
            found = metadata.row_group(group).column(number).statistics
            if found is None or not found.has_null_count:
                count += self.file.read_row_group(group, columns=[path]).column(0).null_count
            else:
                count += found.null_count
        return count

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these columns for rows [start, stop); raises UserError for missing values, DamagedFileError."""
        with _damage(self.name):
            stored = tuple(name for name in names if self._places[name].paths)
            table = self._reader(stored).read(start, stop) if stored else None
            return {name: self._column(table, name) if name in stored else self._label(start, stop) for name in names}

    def _label(self, start: int, stop: int) -> ak.Array:
        """The labels of rows, of which the file has only the first, the last and the step."""
        labels = self._labels[start:stop] if self._labels is not None else range(0)
        return ak.Array(np.arange(labels.start, labels.stop, labels.step, dtype=np.int64))

    def _reader(self, names: tuple[str, ...]) -> "_Reader":
        reader = self._readers.pop(names, None)
        if reader is None:
            while len(self._readers) >= _MOST_READERS:
                self._readers.pop(next(iter(self._readers)))
            reader = _Reader(self.file, [path for name in names for path in self._places[name].paths])
        self._readers[names] = reader
        return reader

    def _column(self, table: Any, name: str) -> ak.Array:
        place, half = self._places[name], name in self.halves
        column = _bare(table.column(place.field))
        if name == self.missing.get(place.field):
            return ak.Array(column.is_null().to_numpy())
        if place.field in self.missing:
            column = column.fill_null(_arrow().scalar([], column.type))
        if self.objects.get(name, "").startswith("json"):
            return json_texts(column.cast(_simple(column.type)).to_pylist())
        column = column.cast(_in_other_type(column.type) or column.type)
        if place.member is None and name in self.nulls and column.null_count:
            values = column.to_numpy()
            if np.isnan(values).sum() != column.null_count:
                raise UserError(
                    f"{self.name}: column {name!r} has nulls and NaN, which numpy cannot distinguish: fill the nulls"
                )
            return ak.Array(values.astype(np.float32) if half else values)
        array = ak.from_arrow(column)
        array = ak.Array(_present(array[place.member].layout if place.member else array.layout, self.name, name))
        array = ak.without_parameters(array) if ak.fields(array) == [] and not is_text(array) else array
        return ak.values_astype(array, np.float32) if half else array

    def label_rows(self, field: str | None, labels: range | None) -> str:
        """Put the labels of rows behind all columns, those of a field or these; returns their name here."""
        name, own = INDEX, next((branch for branch in self.branches if branch.name == field), None)
        others = [branch for branch in self.branches if branch is not own]
        while name in {branch.name for branch in others}:
            name += "_"
        self.branches = [*others, replace(own, name=name) if own else Branch(name, "<i8", jagged=False)]
        self._labels = labels if own is None else None
        self._places[name] = self._places.pop(own.name) if own else _Place(name, None, [])
        self.nulls = [name if known == field else known for known in self.nulls]
        return name

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Bytes per row of these columns in memory; a text counts as 32."""
        dtypes = {branch.name: branch.dtype.removesuffix(" array") for branch in self.branches}
        sizes = 0
        for name in names:
            one = 32 if dtypes[name] == "string" else np.dtype(dtypes[name]).itemsize
            sizes += one * sum(self.sizes[path][0] for path in self._places[name].paths)
        return sizes / max(1, self.entries)

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Bytes that these columns take in their file."""
        return sum(self.sizes[path][1] for path in self._paths_of(names))

    def _paths_of(self, names: Sequence[str]) -> list[str]:
        return [path for name in names for path in self._places[name].paths]


class _Reader:
    """Reads ranges of rows of some columns; one that follows the one before goes on where that ended."""

    def __init__(self, file: Any, paths: list[str]) -> None:
        self._file, self._paths = file, paths
        self._seek(0)

    def read(self, start: int, stop: int) -> Any:
        """The rows [start, stop) as a table of Arrow."""
        if start < self._at or not self._is_near(start):
            self._seek(start)
        self._take(start - self._at)
        return self._table(self._take(stop - start))

    def _is_near(self, start: int) -> bool:
        return self._at <= start <= self._at + _ROWS

    def _seek(self, start: int) -> None:
        """Go to the row group of a row."""
        metadata, group = self._file.metadata, 0
        self._at = 0
        while group < metadata.num_row_groups and self._at + metadata.row_group(group).num_rows <= start:
            self._at += metadata.row_group(group).num_rows
            group += 1
        # Arrow keeps what it has read of all groups of rows that it iterates over.
        groups = range(group, metadata.num_row_groups)
        self._batches = chain.from_iterable(self._file.iter_batches(_ROWS, [one], self._paths) for one in groups)
        self._left: list[Any] = []

    def _take(self, rows: int) -> list[Any]:
        """The next rows, in batches of Arrow."""
        taken = list[Any]()
        while rows > 0:
            batch = self._left.pop() if self._left else next(self._batches, None)
            if batch is None:
                raise ValueError(f"{rows} rows are missing")
            if batch.num_rows > rows:
                self._left.append(batch.slice(rows))
                batch = batch.slice(0, rows)
            taken.append(batch)
            rows -= batch.num_rows
            self._at += batch.num_rows
        return taken

    def _table(self, batches: list[Any]) -> Any:
        if not batches:
            return self._file.read_row_groups([], columns=self._paths)
        return _arrow().Table.from_batches(batches)


def _sizes(metadata: Any) -> dict[str, tuple[int, int]]:
    """The number of values of each column of a file, and its bytes there."""
    found: dict[str, tuple[int, int]] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            values, packed = found.get(column.path_in_schema, (0, 0))
            found[column.path_in_schema] = values + column.num_values, packed + column.total_compressed_size
    return found or {metadata.schema.column(number).path: (0, 0) for number in range(metadata.num_columns)}


def _stored(kind: Any) -> Any:
    """The type in which a type is stored, which is another one for an extension."""
    types, arrow = _arrow("pyarrow.types"), _arrow()
    return _stored(kind.storage_type) if isinstance(kind, arrow.BaseExtensionType) and types else kind


def _is_text_type(kind: Any) -> bool:
    types = _arrow("pyarrow.types")
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_list(kind: Any) -> bool:
    types = _arrow("pyarrow.types")
    return bool(types.is_list(kind) or types.is_large_list(kind))


def _records(kind: Any) -> tuple[Any, str]:
    """The members of records and what follows the field in their paths; None for anything else."""
    types = _arrow("pyarrow.types")
    if types.is_struct(kind):
        return list(kind), ""
    if _is_list(kind) and types.is_struct(inner := _stored(kind.value_type)):
        return list(inner), LIST
    return None, ""


def _in_list(kind: Any) -> Any:
    return _arrow().large_list(kind)


def _leaves(kind: Any) -> int:
    """The number of columns that a field of this type has in a file."""
    kind, types = _stored(kind), _arrow("pyarrow.types")
    if types.is_map(kind):
        return _leaves(kind.key_type) + _leaves(kind.item_type)
    if types.is_nested(kind):
        return sum(_leaves(kind.field(number).type) for number in range(kind.num_fields))
    return 1


def _branch(name: str, kind: Any) -> tuple[Branch | None, bool]:
    """The branch of a column of this type, None for one that holds no numbers; and whether it is of float16."""
    types = _arrow("pyarrow.types")
    if _is_text_type(kind):
        return Branch(name, "string", jagged=False), False
    jagged, fixed = _is_list(kind), types.is_fixed_size_list(kind)
    inner = _stored(kind.value_type) if jagged or fixed else kind
    if not (types.is_floating(inner) or types.is_integer(inner) or types.is_boolean(inner)):
        return None, False
    half = types.is_float16(inner)
    dtype = np.dtype("f4" if half else inner.to_pandas_dtype()).str
    return Branch(name, dtype + " array" * fixed, jagged=jagged), half


def _simple(kind: Any) -> Any:
    """The type of what JSON has for values of a type: times are numbers, decimals texts; None where it has nothing."""
    types, arrow = _arrow("pyarrow.types"), _arrow()
    kind = _stored(kind)
    if types.is_dictionary(kind):
        return _simple(kind.value_type)
    if types.is_temporal(kind):
        return {32: arrow.int32(), 64: arrow.int64()}.get(getattr(kind, "bit_width", 0))
    if types.is_decimal(kind):
        return arrow.string()
    if types.is_struct(kind):
        members = [(field.name, _simple(field.type)) for field in kind]
        return None if any(one is None for _, one in members) else arrow.struct(members)
    if _is_list(kind) or types.is_fixed_size_list(kind):
        inner = _simple(kind.value_type)
        return None if inner is None else arrow.large_list(inner)
    plain = (types.is_boolean, types.is_integer, types.is_float32, types.is_float64, types.is_null)
    return kind if _is_text_type(kind) or any(is_one(kind) for is_one in plain) else None


def _in_other_type(kind: Any) -> Any:
    """The type of what JSON has for values of a type that no tree has; None for one that a tree has."""
    kind = _stored(kind)
    return None if _records(kind)[0] is not None or _branch("", kind)[0] is not None else _simple(kind)


def _times(kind: Any) -> str | None:
    """The dtype of pandas for a type of times; None for another type."""
    types = _arrow("pyarrow.types")
    if types.is_duration(kind):
        return f"timedelta64[{kind.unit}]"
    return f"datetime64[{kind.unit}{f', {kind.tz}' if kind.tz else ''}]" if types.is_timestamp(kind) else None


def _categories(file: Any, name: str, kind: Any) -> dict[str, Categories]:
    """The values of a dictionary, in the order of the file; nothing if there are too many, or others than texts."""
    if not _is_text_type(kind.value_type):
        return {}
    known: dict[str, None] = {}
    for group in range(file.metadata.num_row_groups):
        for chunk in file.read_row_group(group, columns=[name]).column(0).chunks:
            known |= dict.fromkeys(chunk.dictionary.to_pylist())
    if len(known) > MOST_VALUES or None in known:
        return {}
    return {name: Categories(values=list(known), dtype="string", kind="", ordered=kind.ordered)}


def _bare(column: Any) -> Any:
    """A column without a type that another library registered, but for awkward's, which awkward knows."""
    arrow = _arrow()
    if not isinstance(column.type, arrow.BaseExtensionType) or column.type.extension_name == "awkward":
        return column
    return arrow.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _present(layout: Any, file: str, name: str) -> Any:
    """The layout of a column in which values may be missing, none of which is."""
    if layout.is_option:
        if layout.mask_as_bool(valid_when=False).any():
            raise UserError(
                f"{file}: column {name!r} has missing values, which no tree holds: fill them before, as with NaN by "
                "ak.fill_none(array, numpy.nan), or leave the column out with --drop"
            )
        return _present(layout.project(), file, name)
    if layout.is_indexed:
        return _present(layout.project(), file, name)
    if layout.is_list and layout.parameter("__array__") not in ("string", "bytestring"):
        return layout.copy(content=_present(layout.content, file, name))
    return layout


def _opened(events: ParquetEvents, file: str) -> OpenTable:
    """The open table with what it has beside its columns, from pandas' metadata or as a schema."""
    metadata = events.schema.pandas_metadata or {}
    field, labels, index_name = _arrow_index(events, metadata)
    names = [branch.name for branch in events.branches if branch.name != field]
    facts = Table({}, None, index_name, **_arrow_names(names, metadata)).facts
    if not _is_of_pandas(events, metadata, field):
        facts["levels"] = _note_dtypes(events, metadata)
        facts["schema"] = _pack(events.schema)
    if field is not None or labels != range(events.entries):
        facts["index"] = events.label_rows(field, labels)
    if field is None and "index" in facts and facts["index"]:
        facts["ranged"] = True
    for key in ("nulls", "halves", "objects", "categories", "places", "missing"):
        if getattr(events, key):
            facts[key] = getattr(events, key)
    if (codec := events.codec) != _CODECS[0]:
        facts["codec"] = codec
    return OpenTable(events, facts)


def _arrow_names(names: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The column index's name, the labels that are numbers, and the type of strings, from pandas' metadata."""
    noted = (metadata.get("column_indexes") or [{}])[0]
    noted_type = noted.get("numpy_type")
    kind = {"int64": int, "float64": float}.get(noted_type)
    texts = noted_type if noted_type in ("str", "string") else None
    labels = {name: kind(name) for name in names} if kind else {}
    heading = noted.get("name") if isinstance(noted.get("name"), str | int | float) else None
    return {"names": labels, "heading": heading, "texts": texts}


def _note_dtypes(events: ParquetEvents, metadata: Mapping[str, Any]) -> dict[str, Name | None]:
    """Note the dtypes that only pandas has; returns the columns that are labels of rows, with their names there."""
    known = {branch.name for branch in events.branches}
    noted = {one["field_name"]: one for one in metadata.get("columns", ()) if one["field_name"] in known}
    for name, dtype in ((name, one["numpy_type"]) for name, one in noted.items()):
        in_json = events.objects.get(name) == "json"
        if dtype[:1].isupper() or dtype == "boolean":
            events.objects[name] = f"json {dtype}" if in_json else dtype
        elif in_json and dtype in ("str", "string"):
            events.objects[name] = f"json {dtype}[pyarrow]"
    labels = [one for one in metadata.get("index_columns", ()) if isinstance(one, str)]
    return {name: _label_name(noted[name]["name"]) for name in labels if name in noted}


def _is_of_pandas(events: ParquetEvents, metadata: Mapping[str, Any], field: str | None) -> bool:
    """Whether pandas would write the same types and metadata for these columns, so that no schema need be kept."""
    plain = all(branch.holds_numbers and not branch.jagged for branch in events.branches)
    if events.places or events.retyped or not plain:
        return False
    types = {column["field_name"]: column["numpy_type"] for column in metadata.get("columns", ())}
    dtypes = {branch.name: np.dtype(branch.dtype).name for branch in events.branches}
    dtypes |= dict.fromkeys(events.halves, "float16")
    labels = metadata.get("index_columns", ())
    others = [column for column in metadata.get("columns", ()) if column["field_name"] != field]
    named = all(isinstance(column["name"], str) for column in others)
    ordinary = named and len(metadata.get("column_indexes", ())) <= 1 and (field in labels or len(labels) < 2)
    alike = all(types.get(name, "object") in (dtype, "object") for name, dtype in dtypes.items())
    own = set(events.schema.metadata or ()) == {b"pandas"} and not metadata.get("attributes")
    return ordinary and alike and own


def _arrow_index(events: ParquetEvents, metadata: Mapping[str, Any]) -> tuple[str | None, range, Name | None]:
    """The field with the row labels, if they are one column of numbers, or their range; and their name."""
    noted = metadata.get("index_columns", ())
    if len(noted) == 1 and isinstance(noted[0], dict):
        labels = range(noted[0]["start"], noted[0]["stop"], noted[0]["step"])
        if len(labels) == events.entries:
            return None, labels, _label_name(noted[0]["name"])
    known = {branch.name for branch in events.branches if branch.holds_numbers and branch.name not in events.objects}
    if len(noted) == 1 and isinstance(noted[0], str) and noted[0] in known:
        names = {column["field_name"]: column["name"] for column in metadata["columns"]}
        return noted[0], range(0), _label_name(names[noted[0]])
    # Not written by pandas, or another tool selected columns or rows and kept the old metadata.
    return None, range(events.entries), None


def _label_name(name: Any) -> Name | None:
    if name is not None and not isinstance(name, str | int | float):
        raise TypeError("index name")
    return name


# Writing


class _Writer:
    """A parquet file being written: a row group for each piece, or all at once where the rows must be known before."""

    def __init__(self, path: Path, facts: TableFacts, rows: int | None) -> None:
        self._path, self._facts, self._rows = path, facts, rows
        self._waiting: list[Mapping[str, ak.Array]] = []
        self._file: Any = None

    def extend(self, columns: Mapping[str, ak.Array]) -> None:
        """Append rows."""
        in_json = "json" in str(self._facts.get("objects"))  # of which Arrow finds the type from all rows
        if "schema" not in self._facts and (self._facts.get("ranged") or self._rows is None or in_json):
            self._waiting.append(columns)
        else:
            self._write(columns)

    def finish(self) -> None:
        """Write what had to wait for all rows."""
        if self._waiting:
            self._write({name: ak.concatenate([part[name] for part in self._waiting]) for name in self._waiting[0]})

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, columns: Mapping[str, ak.Array]) -> None:
        is_plain = all(ak.Array(column).ndim == 1 and not is_text(ak.Array(column)) for column in columns.values())
        typed = any(self._facts.get(key) for key in ("index", "objects", "levels"))
        of_pandas = "schema" not in self._facts and (is_plain or typed)
        table = self._of_frame(columns) if of_pandas else self._of_columns(columns)
        if self._file is None:
            codec = self._facts.get("codec", _CODECS[0])
            how = {"compression": codec if codec in _CODECS else _CODECS[0], "write_page_checksum": True}
            categories = [f.name for f in table.schema if _arrow("pyarrow.types").is_dictionary(f.type)]
            how["use_dictionary"] = of_pandas or categories  # floats of jets repeat too seldom, but pandas does so
            how["use_compliant_nested_type"] = "schema" not in self._facts  # else names are those of the schema
            self._file = _arrow("pyarrow.parquet").ParquetWriter(self._path, table.schema, **how)
        self._file.write_table(table.cast(self._file.schema) if table.schema != self._file.schema else table)

    def _of_frame(self, columns: Mapping[str, ak.Array]) -> Any:
        """A table of Arrow as pandas makes it, but for NaN, which it writes as null, and which loses bits thereby."""
        arrow, table = _arrow(), Table.of(columns, self._facts)
        names = table.names if len(table.names) == len(table.columns) else {}  # labels are strings or all numbers
        index_name = None if table.index_name is None else str(table.index_name)
        table = replace(table, names=names, index_name=index_name)
        native = {name: _native(values) for name, values in table.columns.items()}
        table = replace(table, columns=native, index=None if table.index is None else _native(table.index))
        frame = frame_of(table)
        try:
            schema = arrow.Schema.from_pandas(frame)
            arrays: dict[str, Any] = {n: values for n, values in table.columns.items() if n not in table.levels}
            arrays |= {n: frame.iloc[:, i] for i, n in enumerate(list(arrays)) if _is_pandas_own(table.objects.get(n))}
            arrays |= {n: frame.index.get_level_values(i) for i, n in enumerate(schema.names[len(arrays) :])}
            if table.index is not None and steps_of(table) is None:
                arrays[schema.names[-1]] = table.index
            made = [self._of_array(one, schema.field(n).type, n) for n, one in arrays.items()]
        except (arrow.ArrowException, UnicodeEncodeError) as error:
            raise UserError(f"{self._path.name}: parquet can't hold the table ({line_of(error)}): write .pkl") from None
        return arrow.Table.from_arrays(made, schema=_until(schema, self._rows))

    def _of_array(self, values: Any, kind: Any, name: str) -> Any:
        """A column of a DataFrame: where it is of numbers or lists, as it is here."""
        if isinstance(values, np.ndarray) and values.ndim == 1:
            return _arrow().array(values, from_pandas=name in self._facts.get("nulls", ()))
        if isinstance(values, np.ndarray | ak.Array) and len(values):
            return _cast(_to_arrow(ak.Array(values)), kind)
        return _arrow().array(values, kind, from_pandas=True)

    def _of_columns(self, columns: Mapping[str, ak.Array]) -> Any:
        """A table of Arrow with the types of the schema, if there is one."""
        arrow, facts = _arrow(), self._facts
        schema = unpack_schema(facts["schema"]) if "schema" in facts else None
        halves, own = set(facts.get("halves", ())), dict(columns)
        missing = {field: own.pop(name) for field, name in facts.get("missing", {}).items() if name in own}
        own |= {name: ak.transform(_halved, own[name]) for name in halves.intersection(own)}
        if (index := facts.get("index")) in own and schema is not None:
            labels = own.pop(index)
            if field := _index_field(schema):  # else the schema has their first, last and step
                own[field] = labels
        places = {name: place for name, place in facts.get("places", {}).items() if name in own}
        with damage("what tells the records of members"):
            records = assemble(own, places)
        known = {field.name: field for field in schema} if schema is not None else {}
        names = [name for name in known if name in records.fields]
        names += [name for name in records.fields if name not in known]
        fields, arrays = [], []
        for name in names:
            field = known.get(name)
            array = self._array(name, records[name], field and field.type)
            if name in missing:
                nothing = arrow.scalar(None, array.type)
                array = _arrow("pyarrow.compute").if_else(ak.to_numpy(missing[name]), nothing, array)
            field = field or arrow.field(name, array.type, nullable=name in facts.get("nulls", ()))
            fields.append(field.with_type(array.type))
            arrays.append(array)
        metadata = schema.metadata if schema is not None and len(names) == len(schema) else None
        return arrow.Table.from_arrays(arrays, schema=arrow.schema(fields, metadata))

    def _array(self, name: str, values: ak.Array, kind: Any) -> Any:
        """A column of Arrow, of the type of the schema, if that is known."""
        arrow, facts = _arrow(), self._facts
        if name in facts.get("nulls", ()):
            array = arrow.array(ak.to_numpy(values), from_pandas=True)
        elif kind is not None and facts.get("objects", {}).get(name, "").startswith("json"):
            array = arrow.array(rows_of_json(values.to_list()), _simple(kind))
        else:
            array = _to_arrow(values)
        if kind is None:
            return array
        if _arrow("pyarrow.types").is_dictionary(kind) and name in facts.get("categories", {}):
            return _as_dictionary(array, kind, facts["categories"][name]["values"])
        other = _in_other_type(kind)
        return _cast(array, kind) if other is None else array.cast(other).cast(kind)


def _is_pandas_own(kind: str | None) -> bool:
    """Whether a column is of a dtype that only pandas has, by what `Table.objects` has for it."""
    return kind is not None and kind not in ("number", "text", "list", "array")


def _as_dictionary(array: Any, kind: Any, values: Sequence[str]) -> Any:
    """Texts as numbers of these values."""
    arrow = _arrow()
    known = arrow.array(values, kind.value_type)
    numbers = _arrow("pyarrow.compute").index_in(array.cast(kind.value_type), known).cast(kind.index_type)
    return arrow.DictionaryArray.from_arrays(numbers, known, ordered=kind.ordered)


def _index_field(schema: Any) -> str | None:
    """The field with the row labels, if pandas notes one."""
    noted = (schema.pandas_metadata or {}).get("index_columns") or [None]
    return noted[0] if isinstance(noted[0], str) else None


def _native(values: Any) -> Any:
    return values.astype(values.dtype.newbyteorder("=")) if isinstance(values, np.ndarray) else values


def _to_arrow(array: ak.Array) -> Any:
    return ak.to_arrow(array, extensionarray=False, list_to32=True, string_to32=True)


def _cast(array: Any, kind: Any) -> Any:
    """An array as another type, which may only differ in how lists are stored, and in what may be null."""
    return array.cast(kind) if _fits(kind, array.type) else array


def _fits(kind: Any, found: Any) -> bool:
    types = _arrow("pyarrow.types")
    if types.is_struct(kind) and types.is_struct(found):
        names = [field.name for field in kind]
        return names == [f.name for f in found] and all(_fits(kind.field(n).type, found.field(n).type) for n in names)
    if _is_list(kind) or types.is_fixed_size_list(kind):
        return bool(types.is_nested(found)) and not types.is_struct(found) and _fits(kind.value_type, found.value_type)
    if _is_text_type(kind):
        return _is_text_type(found)
    return bool(kind == found)


def _until(schema: Any, rows: int | None) -> Any:
    """A schema that pandas made of the first rows, for all rows."""
    noted = json.loads(schema.metadata[b"pandas"])
    for labels in noted["index_columns"]:
        if isinstance(labels, dict) and (labels["start"], labels["step"]) == (0, 1) and rows is not None:
            labels["stop"] = rows
    return schema.with_metadata(schema.metadata | {b"pandas": json.dumps(noted).encode()})


# Schemas


def _pack(schema: Any) -> str:
    """A schema of Arrow as text."""
    arrow = _arrow()
    plain = arrow.schema([_plain(field) for field in schema], schema.metadata)
    return base64.b85encode(zlib.compress(plain.serialize().to_pybytes(), 9)).decode()


def unpack_schema(text: str) -> Any:
    """The schema that a compressed file has of a table; raises DamagedFileError."""
    with _damage("its schema"):
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b85decode(text), _MOST_SCHEMA)
        schema = _arrow("pyarrow.ipc").read_schema(_arrow().py_buffer(data))
        return _arrow().schema([_plain(field) for field in schema], schema.metadata)


def _plain(field: Any) -> Any:
    """A field without types that another library registered, of which the names stay in its metadata."""
    arrow, kind, metadata = _arrow(), field.type, dict(field.metadata or {})
    if isinstance(kind, arrow.ExtensionType):
        metadata |= {b"ARROW:extension:name": kind.extension_name.encode()}
        metadata |= {b"ARROW:extension:metadata": kind.__arrow_ext_serialize__()}
        kind = kind.storage_type
    types = _arrow("pyarrow.types")
    if types.is_struct(kind):
        kind = arrow.struct([_plain(member) for member in kind])
    elif types.is_list(kind):
        kind = arrow.list_(_plain(kind.value_field))
    elif types.is_large_list(kind):
        kind = arrow.large_list(_plain(kind.value_field))
    elif types.is_fixed_size_list(kind):
        kind = arrow.list_(_plain(kind.value_field), kind.list_size)
    return arrow.field(field.name, kind, field.nullable, metadata or None)


def _halved(layout: Any, **_: Any) -> Any:
    """The numbers of an awkward layout as float16."""
    return ak.contents.NumpyArray(halved(layout.data)) if layout.is_numpy else None
