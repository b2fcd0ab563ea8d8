"""Tables of numbers in files: pandas pickles and parquet.

A pickle is a program. Here it may only build inert stand-ins that record which class was named, with which arguments
and which state (`atlasae.files.pickles`); the table is then made from those records with numpy, and no code of the file
or of pandas runs. The size of the file is a bound on what it makes: no more rows, and no more bytes of numbers, than it
has bytes.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from atlasae.errors import DamagedFileError, UserError
from atlasae.files.pickles import BROKEN, Bounded, Recorded, Recorder, RefusedError, walk
from atlasae.files.remote import Location
from atlasae.report import line_of

PICKLE_SUFFIXES = (".pkl", ".pickle")
PARQUET_SUFFIXES = (".parquet", ".pq")

# Classes and functions in a pickled DataFrame, by top package: pandas moves modules, but keeps these names.
_PANDAS_NAMES = """
    DataFrame Series BlockManager SingleBlockManager _unpickle_block new_block
    Index RangeIndex Int64Index UInt64Index Float64Index NumericIndex MultiIndex CategoricalIndex DatetimeIndex
    IntervalIndex PeriodIndex TimedeltaIndex _new_Index _new_DatetimeIndex _new_PeriodIndex FrozenList FrozenNDArray
    ArrowExtensionArray ArrowStringArray ArrowStringArrayNumpySemantics BooleanArray Categorical DatetimeArray
    FloatingArray IntegerArray IntervalArray PeriodArray SparseArray StringArray StringArrayNumpySemantics
    TimedeltaArray ArrowDtype BooleanDtype CategoricalDtype DatetimeTZDtype IntervalDtype PeriodDtype SparseDtype
    StringDtype Float32Dtype Float64Dtype Int8Dtype Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype UInt32Dtype
    UInt64Dtype IntIndex BlockIndex NA NAType NaTType _nat_unpickle __nat_unpickle Timestamp _unpickle_timestamp
    Timedelta _timedelta_unpickle __pyx_unpickle_NDArrayBacked __pyx_unpickle_IntervalMixin
"""
_ALLOWED = {
    "pandas": frozenset(_PANDAS_NAMES.split()),
    "numpy": {"_frombuffer", "_reconstruct", "dtype", "ndarray", "scalar"},
    "pyarrow": {"_restore_array", "chunked_array", "py_buffer", "type_for_alias"},
    "builtins": {"bytearray", "bytes", "object", "slice"},
    "__builtin__": {"bytearray", "bytes", "object", "slice"},
    "copyreg": {"_reconstructor"},
    "copy_reg": {"_reconstructor"},
    "_codecs": {"encode"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
}
MOST_COLUMNS = 100_000  # in a pickle: a column takes more memory than its name and numbers
_PLAIN_INDEXES = {"Index", "Int64Index", "UInt64Index", "Float64Index", "NumericIndex"}
# Types with missing values other than NaN, which no numpy dtype has.
_NULLABLE_ARRAYS = {"IntegerArray", "FloatingArray", "BooleanArray", "ArrowExtensionArray", "SparseArray"}
_TEXT_ARRAYS = {"ArrowStringArray", "StringArray"}
_NUMBER = re.compile("b1|[iu][1248]|f[248]")

_Array: TypeAlias = NDArray[Any]
Labels: TypeAlias = range | _Array | list[Any]
Name: TypeAlias = str | int | float


@dataclass(frozen=True)
class Table:
    """Columns of numbers of one length.

    `columns` maps names to 1-D arrays in the file's order, with the dtypes as stored (bool, integers, float16/32/64);
    `index` holds the row labels, None for 0..n-1, `ranged` if they are a RangeIndex; `skipped` names the columns left
    out because they hold no numbers. `names` maps names to labels that are not strings, `heading` is the name of the
    column index, `texts` its pandas type if not object; `nulls` names the columns of floats in which NaN stands for
    null; `notes` says what is not kept; `stored_bytes` are the bytes of columns in the file, if it compresses them.
    """

    columns: dict[str, _Array]
    index: _Array | None = None
    index_name: Name | None = None
    skipped: tuple[str, ...] = ()
    ranged: bool = False
    names: dict[str, Name] = field(default_factory=dict)
    heading: Name | None = None
    texts: str | None = None
    nulls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stored_bytes: Mapping[str, int] = field(default_factory=dict)

    def for_parquet(self) -> "Table":
        """The same table as parquet stores it: native byte order, and labels as strings unless all are numbers."""
        columns = {name: values.astype(values.dtype.newbyteorder("=")) for name, values in self.columns.items()}
        index = None if self.index is None else self.index.astype(self.index.dtype.newbyteorder("="))
        names = self.names if len(self.names) == len(columns) else {}
        index_name = None if self.index_name is None else str(self.index_name)
        return replace(self, columns=columns, index=index, names=names, index_name=index_name)


class TableFacts(TypedDict, total=False):
    """What of a table is neither its columns nor the labels of its rows, which are in the column `index`, if any.

    `swapped` names the columns of the other byte order; the rest is as `Table` has it.
    """

    index: str | None
    index_name: Name | None
    ranged: bool
    names: dict[str, Name]
    texts: str
    nulls: list[str]
    swapped: list[str]
    heading: Name


def is_pickle(path: Location) -> bool:
    """Whether the suffix is .pkl or .pickle; raises UserError where it is no table's suffix."""
    if not is_table(path):
        raise UserError(f"{path.name}: {path.suffix!r} is no table's suffix: use .pkl or .parquet")
    return path.suffix.lower() in PICKLE_SUFFIXES


def is_table(path: Location) -> bool:
    """Whether the suffix is a table's: .pkl, .pickle, .parquet, .pq."""
    return path.suffix.lower() in PICKLE_SUFFIXES + PARQUET_SUFFIXES


def read_table(path: Location) -> Table:
    """Read a pickled DataFrame (of pandas 0.14 or later) or a parquet file; the suffix decides which.

    Raises UserError for anything else than a table of numbers (of a pickle: for any other class it names),
    DamagedFileError for a file that is truncated or contradicts itself.
    """
    read = _read_pickle if is_pickle(path) else _read_parquet
    try:
        with path.open("rb") as stream:
            return read(stream, path.name)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def write_table(path: Path, table: Table) -> None:
    """Write a DataFrame as a pickle or as parquet, as the suffix says, with every name, dtype and bit, and the index.

    Raises UserError where the format cannot hold a column, or the file cannot be written.
    """
    write = _write_pickle if is_pickle(path) else _write_parquet
    try:
        write(path, table)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def to_frame(columns: Mapping[str, _Array], entries: range | _Array) -> Any:
    """A DataFrame with a row for each of these entries of a tree; lists become objects.

    Raises UserError without pandas.
    """
    pandas = _library("pandas", "library='pd'")
    frame = pandas.DataFrame({name: list(c) if c.ndim > 1 else c for name, c in columns.items()})
    return frame.set_index(pandas.RangeIndex(entries) if isinstance(entries, range) else pandas.Index(entries))


def _library(name: str, use: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UserError(f"{use} needs {name.partition('.')[0]}: pip install 'atlasae[tables]'") from None


def _unique(names: Sequence[str], file: str) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise UserError(f"{file}: column {name!r} is there twice: rename one")


def _stored_index(labels: range | _Array) -> _Array | None:
    if not isinstance(labels, range):
        return labels
    return None if labels == range(len(labels)) else np.arange(labels.start, labels.stop, labels.step, dtype=np.int64)


# Pickle: from bytes to records


def _kind(value: Any) -> str:
    """The class of a value or of what it stands for; of a function that makes an object, the class it is given."""
    kind = type(value).__name__
    if kind in ("_reconstructor", "__pyx_unpickle_NDArrayBacked", "_new_Index"):
        return str(value.args[0].__name__)
    return kind


def _read_pickle(stream: BinaryIO, file: str) -> Table:
    bounded = Bounded(stream)
    try:
        _check_opcodes(stream, bounded, file)
        stream.seek(0)
        frame = Recorder(bounded, _ALLOWED).record()
    except RefusedError as error:
        raise UserError(
            f"{file}: refuses {error}: a pickle may run code, and only tables of numbers are read; save it as parquet"
        ) from None
    except BROKEN as error:
        raise DamagedFileError(f"{file}: damaged: its pickle makes no sense ({line_of(error)})") from None
    try:
        if _kind(frame) != "DataFrame":
            raise UserError(f"{file}: holds an object of type {_shown_kind(frame)}, not a DataFrame: save that itself")
        return _table(frame, bounded.size, file)
    except (ValueError, OverflowError, MemoryError) as error:
        raise DamagedFileError(f"{file}: damaged: its table contradicts itself ({line_of(error)})") from None
    except (TypeError, AttributeError, LookupError):
        raise UserError(f"{file}: a DataFrame with the layout of an unknown pandas: save it as parquet") from None


def _check_opcodes(stream: BinaryIO, bounded: Bounded, file: str) -> None:
    """Walk through the opcodes of a file that holds one pickle and nothing else."""
    start = stream.read(1)
    stream.seek(0)
    try:
        walk(bounded)
    except (ValueError, LookupError, MemoryError, OverflowError) as error:
        if start in (b"", b"\x80"):  # protocol 2 and later
            raise DamagedFileError(f"{file}: damaged: its pickle breaks off ({line_of(error)})") from None
        raise UserError(f"{file}: not a pickle, whatever its suffix says") from None
    if stream.read(1):
        raise UserError(f"{file}: goes on after its first object: save one DataFrame per file")


def _shown_kind(value: Any) -> str:
    kind = _kind(value)
    return "numpy array" if kind in ("_frombuffer", "_reconstruct") else kind


# Pickle: from records to a table


def _table(frame: Recorded, size: int, file: str) -> Table:
    state = frame.state
    axes, blocks = _axes_and_blocks(state["_mgr"] if "_mgr" in state else state["_data"])
    column_labels, row_labels = _column_labels(axes[0], file), _row_labels(axes[1], file)
    all_positions = _all_positions(blocks, len(column_labels), file)
    labels = column_labels.tolist() if isinstance(column_labels, np.ndarray) else list(column_labels)
    if len(row_labels) > size:  # each takes a byte or more
        raise ValueError(f"{len(row_labels)} rows in {size} bytes")
    names = _names(labels, file)
    stored: dict[int, _Array] = {}
    for (values, _), positions in zip(blocks, all_positions, strict=True):
        _refuse_nullable(values, [names[position] for position in positions], file)
        stored.update(_columns(values, positions, len(row_labels)))
        if sum(column.nbytes for column in stored.values()) > 2 * size:  # numbers used for two columns
            raise ValueError("its columns share their numbers")
    return Table(
        columns={name: stored[position] for position, name in enumerate(names) if position in stored},
        index=_stored_index(row_labels),
        index_name=_axis_name(axes[1]),
        skipped=tuple(name for position, name in enumerate(names) if position not in stored),
        ranged=isinstance(row_labels, range),
        names=_other_names(names, labels),
        heading=_axis_name(axes[0]),
        texts=_texts(axes[0]),
        notes=_left_out(state.get("attrs")),
    )


def _other_names(names: Sequence[str], labels: Sequence[Name]) -> dict[str, Name]:
    """The labels that are not strings, by the names that columns have here."""
    return {name: label for name, label in zip(names, labels, strict=True) if not isinstance(label, str)}


def _left_out(attributes: Any) -> tuple[str, ...]:
    return (f"attributes of the table are left out: {len(attributes)} in its attrs",) if attributes else ()


def _axes_and_blocks(manager: Recorded) -> tuple[Any, list[tuple[Any, Any]]]:
    """Both axes, and (values, placement) of each block: columns of one dtype."""
    if manager.state is None:  # since pandas 1.3
        blocks, axes = manager.args
        return axes, [block.args[:2] for block in blocks]
    described = manager.state[3]["0.14.1"]  # version of the format, named after the pandas that introduced it
    return described["axes"], [(block["values"], block["mgr_locs"]) for block in described["blocks"]]


def _all_positions(blocks: list[tuple[Any, Any]], n_columns: int, file: str) -> list[Sequence[int]]:
    """The positions of the columns in each block, which together are all columns, each once."""
    positions, left = list[Sequence[int]](), n_columns
    for _, placement in blocks:
        positions.append(_positions(placement, n_columns))
        left -= len(positions[-1])
        if left < 0:
            break
    if not left and n_columns > MOST_COLUMNS:
        raise UserError(f"{file}: has {n_columns} columns: {MOST_COLUMNS} are read at most; save it as parquet")
    # The number is compared first: one flipped bit in a RangeIndex may declare billions of columns.
    if left or sorted(chain(*positions)) != list(range(n_columns)):
        raise ValueError("its blocks are not its columns")
    return positions


def _positions(placement: Any, n_columns: int) -> Sequence[int]:
    if _kind(placement) == "slice":
        return range(*slice(*placement.args).indices(n_columns))
    array = _array(placement)
    if array is None or array.ndim != 1:
        raise TypeError("placement")
    return list(map(int, array)) if len(array) <= n_columns else range(len(array))  # too many are refused


def _columns(values: Any, positions: Sequence[int], rows: int) -> dict[int, _Array]:
    array = _array(values)
    if array is None:
        return {}
    if array.shape != (len(positions), rows):
        raise ValueError(f"block of shape {array.shape} for {len(positions)} columns of {rows} rows")
    # Copied, because a row of a block may be read-only or strided.
    return {position: column.copy() for position, column in zip(positions, array, strict=True)}


def _refuse_nullable(values: Any, names: list[str], file: str) -> None:
    kind = _kind(values)
    if kind in _NULLABLE_ARRAYS:
        raise UserError(f"{file}: column {names[0]!r} is of type {kind}, not plain numbers: use astype() before saving")


def _column_labels(axis: Recorded, file: str) -> Labels:
    labels = _labels(axis)
    if labels is None:
        raise UserError(f"{file}: its columns are a {axis.args[0].__name__}: give each column one name")
    for label in labels if isinstance(labels, list) else ():
        if not isinstance(label, str | int | float):
            raise UserError(f"{file}: a column's name is a {_kind(label)}: give each column a string")
    return labels


def _names(labels: Sequence[Name], file: str) -> list[str]:
    names = [str(label) for label in labels]
    _unique(names, file)
    return names


def _row_labels(axis: Recorded, file: str) -> range | _Array:
    labels = _labels(axis)
    if isinstance(labels, list) and not labels:
        return range(0)
    if labels is None or isinstance(labels, list):
        kind = axis.args[0].__name__ if labels is None else "list of strings or objects"
        raise UserError(f"{file}: its row index is a {kind}, not numbers: use reset_index() before saving")
    return labels


def _axis_name(axis: Recorded) -> Name | None:
    return _index_name(axis.args[1].get("name"))


def _texts(axis: Recorded) -> str | None:
    """The pandas type of labels other than object: `str`, or `string`, whose missing value is NA."""
    data = axis.args[1].get("data")
    kind = _kind(data)
    if kind.removesuffix("NumpySemantics") not in _TEXT_ARRAYS:
        return None
    dtype = data.state[0] if kind.startswith("StringArray") else data.state.get("_dtype")
    missing = next(iter(getattr(dtype, "args", ())[1:]), None)
    return "str" if kind.endswith("NumpySemantics") or isinstance(missing, float) else "string"


def _index_name(name: Any) -> Name | None:
    if name is not None and not isinstance(name, str | int | float):
        raise TypeError("index name")
    return name


def _labels(axis: Recorded) -> Labels | None:
    """The labels of an axis; None for an index that is neither numbers nor strings."""
    index_class, details = axis.args
    if index_class.__name__ == "RangeIndex":
        return range(details["start"], details["stop"], details["step"])
    if index_class.__name__ not in _PLAIN_INDEXES:
        return None
    data, kind = details["data"], _kind(details["data"])
    if kind in ("ArrowStringArray", "ArrowStringArrayNumpySemantics"):
        return _arrow_strings(data.state["_pa_array"])
    if kind in ("StringArray", "StringArrayNumpySemantics"):
        data = data.state[1]
    array = _array(data)
    if array is not None:
        return array.copy()
    if _kind(data) == "_reconstruct" and data.state[2].args[0] in ("O8", "O4"):
        return list(data.state[4])
    return None


def _array(values: Any) -> _Array | None:
    """A recorded numpy array of numbers; None for other arrays."""
    match _kind(values):
        case "_frombuffer":
            data, dtype, shape, order = values.args[:4]
        case "_reconstruct":
            _, shape, dtype, fortran, data = values.state
            order = "F" if fortran else "C"
        case _:
            return None
    if not _NUMBER.fullmatch(dtype.args[0]):
        return None
    array = np.frombuffer(_bytes(data), np.dtype(dtype.args[0]).newbyteorder(dtype.state[1]))
    return array.reshape(shape, order=order)


def _bytes(value: Any) -> bytes | bytearray:
    """The bytes of a buffer, which each pickle protocol wraps in another way."""
    while _kind(value) in ("encode", "bytes", "bytearray", "py_buffer") and isinstance(value, Recorded):
        if value.args[1:] not in ((), ("latin1",), ("latin-1",)):
            raise TypeError("encoding")
        value = value.args[0] if value.args else b""
    if isinstance(value, str):
        return value.encode("latin-1")
    if not isinstance(value, bytes | bytearray):
        raise TypeError("buffer")
    return value


def _arrow_strings(array: Recorded) -> list[Any]:
    """The strings of a recorded pyarrow array: one buffer of UTF-8, and one of offsets at which strings end."""
    arrow_type, length, nulls, offset, buffers = array.args[0][:5]
    if nulls or not length:
        return [None] * min(length, 1)  # no names: refused later
    width = {"string": "<i4", "large_string": "<i8"}[arrow_type.args[0]]
    bounds = np.frombuffer(_bytes(buffers[1]), width)[offset : offset + length + 1]
    text = _bytes(buffers[2])
    if np.any(np.diff(bounds) < 0):
        raise ValueError("strings that end before they begin")
    return [text[start:end].decode() for start, end in pairwise(bounds.tolist())]


# Parquet


def _read_parquet(stream: BinaryIO, file: str) -> Table:
    parquet, arrow = _library("pyarrow.parquet", "parquet"), _library("pyarrow", "parquet")
    magic = stream.read(4)
    if not b"PAR1".startswith(magic):
        raise UserError(f"{file}: not a parquet file, whatever its suffix says")
    try:
        opened = parquet.ParquetFile(stream, page_checksum_verification=True)
        table = opened.read()
        metadata = table.schema.pandas_metadata or {}
        _unique(table.column_names, file)
        return replace(_from_arrow(table, metadata, file), stored_bytes=_chunk_bytes(opened.metadata))
    except (arrow.ArrowException, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None):  # an error of the machine, not damage
            raise
        raise DamagedFileError(f"{file}: damaged: not the parquet that was written ({line_of(error)})") from None


def _chunk_bytes(metadata: Any) -> dict[str, int]:
    """The compressed bytes of each column of a parquet file."""
    sizes: Counter[str] = Counter()
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            sizes[column.path_in_schema.partition(".")[0]] += column.total_compressed_size
    return dict(sizes)


def _from_arrow(table: Any, metadata: Mapping[str, Any], file: str) -> Table:
    field, labels, index_name = _arrow_index(table, metadata, file)
    names = [name for name in table.column_names if name != field]
    arrays = {name: _arrow_numbers(table[name], name, file) for name in names}
    numbers = {name: array for name, array in arrays.items() if array is not None}
    heading, labels_of, texts = _arrow_names(names, metadata)
    return Table(
        columns=numbers,
        index=_stored_index(labels),
        index_name=index_name,
        skipped=tuple(name for name in names if arrays[name] is None),
        ranged=isinstance(labels, range),
        names=labels_of,
        heading=heading,
        texts=texts,
        nulls=tuple(name for name in numbers if table[name].null_count),
        notes=(*_left_out(metadata.get("attributes")), *_arrow_notes(table, numbers, metadata)),
    )


def _arrow_names(names: Sequence[str], metadata: Mapping[str, Any]) -> tuple[Name | None, dict[str, Name], str | None]:
    """The column index's name, the labels that are numbers, and the type of strings, from pandas' metadata."""
    noted = (metadata.get("column_indexes") or [{}])[0]
    noted_type = noted.get("numpy_type")
    kind = {"int64": int, "float64": float}.get(noted_type)
    texts = noted_type if noted_type in ("str", "string") else None
    return _index_name(noted.get("name")), {name: kind(name) for name in names} if kind else {}, texts


def _arrow_notes(table: Any, numbers: Mapping[str, _Array], metadata: Mapping[str, Any]) -> list[str]:
    """Notes on column types that numpy lacks, and on metadata that is left out."""
    types = {column["field_name"]: column["numpy_type"] for column in metadata.get("columns", ())}
    notes = [
        f"column {name!r} is of type {types[name]}, and becomes {array.dtype}"
        for name, array in numbers.items()
        if name in types and types[name] not in (array.dtype.name, "object")
    ]
    known = {b"pandas", b"PANDAS_ATTRS"}
    if others := sorted(key.decode(errors="replace") for key in set(table.schema.metadata or ()) - known):
        notes.append(f"metadata of the file is left out: {', '.join(map(ascii, others))}")
    return notes


def _arrow_index(table: Any, metadata: Mapping[str, Any], file: str) -> tuple[str | None, range | _Array, Name | None]:
    """The field with the row labels, the labels and their name, from pandas' metadata."""
    if len(metadata.get("column_indexes", ())) > 1:
        raise UserError(f"{file}: its columns are a MultiIndex: give each column one name")
    noted = metadata.get("index_columns", ())
    if len(noted) > 1:
        raise UserError(f"{file}: its row index is a MultiIndex, not numbers: use reset_index() before saving")
    if noted and isinstance(noted[0], dict):
        labels = range(noted[0]["start"], noted[0]["stop"], noted[0]["step"])
        if len(labels) == table.num_rows:
            return None, labels, _index_name(noted[0]["name"])
    elif noted and noted[0] in table.column_names:
        return noted[0], *_arrow_labels(table, noted[0], metadata, file)
    # Not written by pandas, or another tool selected columns or rows and kept the old metadata.
    return None, range(table.num_rows), None


def _arrow_labels(table: Any, field: str, metadata: Mapping[str, Any], file: str) -> tuple[_Array, Name | None]:
    array = _arrow_numbers(table[field], field, file)
    if array is None:
        kind = table[field].type
        raise UserError(f"{file}: its row index is a list of {kind}, not numbers: use reset_index() before saving")
    names = {column["field_name"]: column["name"] for column in metadata["columns"]}
    return array, _index_name(names[field])


def _arrow_numbers(column: Any, name: str, file: str) -> _Array | None:
    """A column's numbers; None if it holds anything else.

    pandas writes NaN as null, so nulls in a column of floats become NaN. A column with both is refused: numpy has one
    value for the two.
    """
    types = _library("pyarrow.types", "parquet")
    floats = types.is_floating(column.type)
    if not (floats or types.is_integer(column.type) or types.is_boolean(column.type)):
        return None
    if column.null_count and not floats:
        raise UserError(
            f"{file}: column {name!r} has {column.null_count} null(s), which {column.type} cannot hold: fill them"
        )
    array: _Array = column.to_numpy()
    if column.null_count and np.isnan(array).sum() != column.null_count:
        raise UserError(f"{file}: column {name!r} has nulls and NaN, which numpy cannot distinguish: fill the nulls")
    return array.copy()


# Writing


def _frame(table: Table) -> Any:
    pandas = _library("pandas", "writing a table")
    if table.index is None:
        rows = len(next(iter(table.columns.values()), ()))
        index = pandas.RangeIndex(rows, name=table.index_name)
    elif (steps := _steps(table)) is not None:
        index = pandas.RangeIndex(steps, name=table.index_name)
    else:
        index = pandas.Index(table.index, name=table.index_name)
    frame = pandas.DataFrame(table.columns, index=index)
    labels = [table.names.get(name, name) for name in table.columns]
    frame.columns = pandas.Index(labels, dtype=_label_type(table, labels), name=table.heading)
    return frame


def _label_type(table: Table, labels: Sequence[Name]) -> Any:
    """The type of labels; pandas 3's own strings, which older versions can't read, only if they were those."""
    if labels and all(type(label) in (int, float) for label in labels):
        return None
    return table.texts if table.texts and not table.names else object


def _steps(table: Table) -> range | None:
    """The row labels as a range, if they were one and still are (rows may have been dropped); else None."""
    if not table.ranged or table.index is None or not len(table.index):
        return None
    labels = table.index.tolist()
    steps = range(labels[0], labels[0] + 1) if len(labels) == 1 else None
    if len(labels) > 1 and (step := labels[1] - labels[0]):
        steps = range(labels[0], labels[0] + step * len(labels), step)
    return steps if steps is not None and list(steps) == labels else None


def _write_pickle(path: Path, table: Table) -> None:
    _frame(table).to_pickle(path)


def _write_parquet(path: Path, table: Table) -> None:
    parquet, arrow = _library("pyarrow.parquet", "parquet"), _library("pyarrow", "parquet")
    schema = arrow.Schema.from_pandas(_frame(table))
    arrays = dict(table.columns)
    if table.index is not None and _steps(table) is None:
        arrays[schema.names[-1]] = table.index
    # Not DataFrame.to_parquet, which writes NaN as null and so loses its bits.
    columns = [_arrow_array(arrow, name, array, path.name, name in table.nulls) for name, array in arrays.items()]
    parquet.write_table(arrow.Table.from_arrays(columns, schema=schema), path, write_page_checksum=True)


def _arrow_array(arrow: Any, name: str, array: _Array, file: str, nulls: bool) -> Any:
    try:
        return arrow.array(array, from_pandas=nulls)
    except arrow.ArrowNotImplementedError:
        raise UserError(f"{file}: parquet cannot hold column {name!r} of type {array.dtype}: write .pkl") from None
