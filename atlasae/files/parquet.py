"""Parquet, read and written in pieces: columns of numbers, texts and lists, records and lists of records."""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
from atlasae.files.events import INDEX, Name, OpenTable, Table, TableFacts, TableWriter, halved
from atlasae.files.pickles import frame_of, left_out_attributes, refuse_twice, steps_of
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
    paths, `nulls` the columns of floats with nulls, `types` the types as they are in Arrow.
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
        self.halves: list[str] = []
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
            if inner is None:
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

    def _add(self, name: str, kind: Any, place: _Place, path: str | None = None) -> None:
        branch, half = _branch(name, kind)
        if branch is None:
            self.unwritable.append(Unwritable(name, f"holds no numbers, nor lists of them, but {kind}"))
            return
        self.branches.append(branch)
        self._places[name] = place
        self.halves += [name] * half
        if path:
            self.places[name] = path

    @property
    def codec(self) -> str:
        """What compresses the first column."""
        groups = self.file.metadata.num_row_groups and self.file.metadata.num_columns
        found = self.file.metadata.row_group(0).column(0).compression.lower() if groups else _CODECS[0]
        return "none" if found == "uncompressed" else str(found)

    def _has_nulls(self, branch: Branch) -> bool:
        """Whether a column of single floats has nulls; raises UserError where they can't be told from values."""
        place = self._places[branch.name]
        if branch.jagged or place.member or branch.dtype.endswith("array") or branch.dtype == "string":
            return False
        nulls = self._null_count(place.paths[0])
        if nulls and not branch.is_float:
            kind = self.schema.field(place.field).type
            raise UserError(
                f"{self.name}: column {branch.name!r} has {nulls} null(s), which {kind} cannot hold: fill them"
            )
        return nulls > 0

    def _null_count(self, path: str) -> int:
        number, metadata, count = self._paths.index(path), self.file.metadata, 0
        for group in range(metadata.num_row_groups):
            found = metadata.row_group(group).column(number).statistics
            if found is None or not found.has_null_count:
                return int(self.file.read(columns=[path]).column(0).null_count)
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
        column = table.column(place.field)
        if place.member is None and name in self.nulls and column.null_count:
            values = column.to_numpy()
            if np.isnan(values).sum() != column.null_count:
                raise UserError(
                    f"{self.name}: column {name!r} has nulls and NaN, which numpy cannot distinguish: fill the nulls"
                )
            return ak.Array(values.astype(np.float32) if half else values)
        array = ak.from_arrow(column)
        array = ak.Array(_present(array[place.member].layout if place.member else array.layout, self.name, name))
        array = ak.without_parameters(array) if ak.fields(array) == [] and not _is_text(array) else array
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


def _is_text(array: ak.Array) -> bool:
    found: str | None = array.layout.parameter("__array__")
    return found == "string"


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
    if types.is_string(kind) or types.is_large_string(kind):
        return Branch(name, "string", jagged=False), False
    jagged, fixed = _is_list(kind), types.is_fixed_size_list(kind)
    inner = _stored(kind.value_type) if jagged or fixed else kind
    if not (types.is_floating(inner) or types.is_integer(inner) or types.is_boolean(inner)):
        return None, False
    half = types.is_float16(inner)
    dtype = np.dtype("f4" if half else inner.to_pandas_dtype()).str
    return Branch(name, dtype + " array" * fixed, jagged=jagged), half


def _present(layout: Any, file: str, name: str) -> Any:
    """The layout of a column in which values may be missing, none of which is."""
    if layout.is_option:
        if layout.mask_as_bool(valid_when=False).any():
            raise UserError(
                f"{file}: column {name!r} has missing values, which no tree holds: leave it out with --drop"
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
    field, labels, index_name = _arrow_index(events, metadata, file)
    names = [branch.name for branch in events.branches if branch.name != field]
    facts = Table({}, None, index_name, **_arrow_names(names, metadata)).facts
    if field is not None or labels != range(events.entries):
        facts["index"] = events.label_rows(field, labels)
    if field is None and "index" in facts and facts["index"]:
        facts["ranged"] = True
    if events.nulls:
        facts["nulls"] = events.nulls
    if events.halves:
        facts["halves"] = events.halves
    if events.places:
        facts["places"] = events.places
    if (codec := events.codec) != _CODECS[0]:
        facts["codec"] = codec
    plain = not events.places and all(b.holds_numbers and not b.jagged for b in events.branches)
    if not plain:
        facts["schema"] = _pack(events.schema)
    notes = left_out_attributes(metadata.get("attributes"))
    return OpenTable(events, facts, (*notes, *_arrow_notes(events, metadata, "schema" in facts)))


def _arrow_names(names: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The column index's name, the labels that are numbers, and the type of strings, from pandas' metadata."""
    noted = (metadata.get("column_indexes") or [{}])[0]
    noted_type = noted.get("numpy_type")
    kind = {"int64": int, "float64": float}.get(noted_type)
    texts = noted_type if noted_type in ("str", "string") else None
    labels = {name: kind(name) for name in names} if kind else {}
    return {"names": labels, "heading": _label_name(noted.get("name")), "texts": texts}


def _label_name(name: Any) -> Name | None:
    if name is not None and not isinstance(name, str | int | float):
        raise TypeError("index name")
    return name


def _arrow_notes(events: ParquetEvents, metadata: Mapping[str, Any], kept: bool) -> list[str]:
    """Notes on column types that numpy lacks, and on metadata that is left out."""
    types = {column["field_name"]: column["numpy_type"] for column in metadata.get("columns", ())}
    dtypes = {branch.name: np.dtype(branch.dtype).name for branch in events.branches if branch.holds_numbers}
    dtypes |= dict.fromkeys(events.halves, "float16")
    notes = [
        f"column {name!r} is of type {types[name]}, and becomes {dtype}"
        for name, dtype in dtypes.items()
        if not kept and name in types and types[name] not in (dtype, "object")
    ]
    known = {b"pandas", b"PANDAS_ATTRS"}
    others = sorted(key.decode(errors="replace") for key in set(events.schema.metadata or ()) - known)
    if others and not kept:
        notes.append(f"metadata of the file is left out: {', '.join(map(ascii, others))}")
    return notes


def _arrow_index(events: ParquetEvents, metadata: Mapping[str, Any], file: str) -> tuple[str | None, Any, Name | None]:
    """The field with the row labels, the labels and their name, from pandas' metadata."""
    if len(metadata.get("column_indexes", ())) > 1:
        raise UserError(f"{file}: its columns are a MultiIndex: give each column one name")
    noted = metadata.get("index_columns", ())
    if len(noted) > 1:
        raise UserError(f"{file}: its row index is a MultiIndex, not numbers: use reset_index() before saving")
    if noted and isinstance(noted[0], dict):
        labels = range(noted[0]["start"], noted[0]["stop"], noted[0]["step"])
        if len(labels) == events.entries:
            return None, labels, _label_name(noted[0]["name"])
    elif noted and noted[0] in events.schema.names:
        return noted[0], None, _name_of_labels(events, noted[0], metadata, file)
    # Not written by pandas, or another tool selected columns or rows and kept the old metadata.
    return None, range(events.entries), None


def _name_of_labels(events: ParquetEvents, field: str, metadata: Mapping[str, Any], file: str) -> Name | None:
    if not any(branch.name == field and branch.holds_numbers for branch in events.branches):
        kind = events.schema.field(field).type
        raise UserError(f"{file}: its row index is a list of {kind}, not numbers: use reset_index() before saving")
    names = {column["field_name"]: column["name"] for column in metadata["columns"]}
    return _label_name(names[field])


# Writing


class _Writer:
    """A parquet file being written: a row group for each piece, or all at once where the rows must be known before."""

    def __init__(self, path: Path, facts: TableFacts, rows: int | None) -> None:
        self._path, self._facts, self._rows = path, facts, rows
        self._waiting: list[Mapping[str, ak.Array]] = []
        self._file: Any = None

    def extend(self, columns: Mapping[str, ak.Array]) -> None:
        """Append rows."""
        if self._facts.get("ranged") or self._rows is None:
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
        is_plain = all(ak.Array(column).ndim == 1 and not _is_text(ak.Array(column)) for column in columns.values())
        of_pandas = "schema" not in self._facts and (is_plain or self._facts.get("index") is not None)
        table = self._of_frame(columns) if of_pandas else self._of_columns(columns)
        if self._file is None:
            codec = self._facts.get("codec", _CODECS[0])
            how = {"compression": codec if codec in _CODECS else _CODECS[0], "write_page_checksum": True}
            how["use_dictionary"] = of_pandas  # floats of jets repeat too seldom, but pandas does so
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
        schema = arrow.Schema.from_pandas(frame_of(table))
        arrays: dict[str, Any] = dict(table.columns)
        if table.index is not None and steps_of(table) is None:
            arrays[schema.names[-1]] = table.index
        made = [
            arrow.array(values, from_pandas=name in table.nulls)
            if isinstance(values, np.ndarray) and values.ndim == 1
            else _cast(_to_arrow(ak.Array(values)), schema.field(name).type)
            for name, values in arrays.items()
        ]
        return arrow.Table.from_arrays(made, schema=_until(schema, self._rows))

    def _of_columns(self, columns: Mapping[str, ak.Array]) -> Any:
        """A table of Arrow with the types of the schema, if there is one."""
        arrow, facts = _arrow(), self._facts
        schema = unpack_schema(facts["schema"]) if "schema" in facts else None
        halves, own = set(facts.get("halves", ())), dict(columns)
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
            if name in facts.get("nulls", ()):
                array = arrow.array(ak.to_numpy(records[name]), from_pandas=True)
            else:
                array = _to_arrow(records[name])
            field = known.get(name) or arrow.field(name, array.type, nullable=name in facts.get("nulls", ()))
            array = _cast(array, field.type)
            fields.append(field.with_type(array.type))
            arrays.append(array)
        metadata = schema.metadata if schema is not None and len(names) == len(schema) else None
        return arrow.Table.from_arrays(arrays, schema=arrow.schema(fields, metadata))


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
    if types.is_string(kind) or types.is_large_string(kind):
        return bool(types.is_string(found) or types.is_large_string(found))
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
