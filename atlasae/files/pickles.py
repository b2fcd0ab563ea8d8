"""Pickles as records: inert stand-ins with the arguments and states that a pickle names; no code of a file runs.

A pickle is a program. Here it may only build stand-ins that record which class was named, with which arguments and
which state; a table is then made from those records with numpy. The size of the pickle is a bound on what it
makes: no more rows than it has bytes, and no more than four times as many bytes of numbers; texts that it repeats
may take a hundred times its bytes (and 64 MB).

Before anything is built, the opcodes are walked through: declared sizes must fit the file. The records then take about
as much memory as the file. Keys of dictionaries may not be nested: hashing tuples inside tuples can take for ever.
"""

import bz2
import functools
import gzip
import lzma
import pickle
import pickletools
import re
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self, TypeAlias, cast

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from atlasae.errors import DamagedFileError, UserError, optional
from atlasae.files.events import Name, Table, TableColumn
from atlasae.report import line_of

MOST_KEYS = 100_000  # entries of a dictionary or set
MOST_KEY_PARTS = 100  # items of a tuple used as a key
_MOST_BITS = 65_536  # of an integer
_LARGE = 1 << 16  # bytes: a larger read is first compared with the size of the stream
# Opcodes that reach outside the file: registered extensions, or buffers passed beside the stream.
_OUTSIDE = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
_PERSISTENT = {"PERSID", "BINPERSID"}
# Errors of the unpickler on changed bytes.
BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
)


class RefusedError(Exception):
    """A pickle that may be intact, but asks for what no table or checkpoint needs; the message follows `refuses`."""


class Recorded:
    """An object as a pickle describes it: the path of its class, its arguments, its state."""

    path: ClassVar[str]
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Self:
        """Keep the arguments; the class is not called."""
        recorded = super().__new__(cls)
        recorded.args, recorded.state = args, None
        return recorded

    def __setstate__(self, state: Any) -> None:
        self.state = state


@functools.cache
def stand_in(path: str) -> type[Recorded]:
    """A subclass of Recorded for the class that a pickle names, with the same name."""
    return type(path.rpartition(".")[2], (Recorded,), {"path": path})


class Bounded:
    """A stream that refuses to read more bytes than it has: a pickle may declare any size."""

    def __init__(self, stream: BinaryIO) -> None:
        self.readline, self.readinto, self.tell = stream.readline, stream.readinto, stream.tell  # type: ignore[attr-defined]
        self._stream, start = stream, stream.tell()
        self.size = stream.seek(0, 2)
        stream.seek(start)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; raises ValueError for more than 64 kB of which some are missing."""
        if size > _LARGE and size > self.size - self.tell():
            raise ValueError(f"{size} bytes, of which {self.size - self.tell()} are there")
        return self._stream.read(size)


def walk(stream: Bounded, persistent: bool = False) -> None:
    """Read all opcodes of a pickle without executing them, so that a truncated file is known before anything is built.

    Raises RefusedError, or one of `BROKEN` where the bytes are damaged.
    """
    for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]  # it calls read, readline and tell
        if opcode.name in _OUTSIDE or (opcode.name in _PERSISTENT and not persistent):
            raise RefusedError(f"pickle opcode {opcode.name}")
        if isinstance(argument, int):
            if opcode.name in ("PUT", "LONG_BINPUT", "FRAME") and argument > stream.size:
                raise ValueError(f"{opcode.name} {argument}")
            if argument.bit_length() > _MOST_BITS:
                raise RefusedError(f"an integer of {argument.bit_length()} bits")


class Recorder(pickle._Unpickler):
    """Records a pickle; refuses names other than those `allowed` by top package, and keys without bound.

    `made` maps paths to classes that are used themselves instead of stand-ins.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    metastack: list[list[Any]]
    memo: dict[int, Any]

    def __init__(
        self, stream: Bounded, allowed: Mapping[str, Iterable[str]], made: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(stream, encoding="latin-1")  # Python 2 wrote arrays as str: latin-1 keeps their bytes
        self.allowed, self.made = allowed, made or {}

    def record(self) -> Any:
        """The recorded object of the pickle."""
        try:
            return self.load()
        finally:
            self.memo.clear()  # the memo refers to the recorder itself, and would keep all of it alive

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for the class, or one of `made`; raises RefusedError for a name that is not allowed."""
        path = f"{module}.{name}"
        if name in self.allowed.get(module.partition(".")[0], ()):
            return self.made.get(path) or stand_in(path)
        shown = ascii(path)[1:-1][:80]  # a name from a file may hold terminal codes
        raise RefusedError(f"to load {shown}")

    def load_setitem(self) -> None:
        """SETITEM, with its key checked."""
        check_keys(self.stack[-2:-1], self.stack[-3])
        self.dispatched(pickle.SETITEM)

    def load_setitems(self) -> None:
        """SETITEMS, with its keys checked."""
        check_keys(self.stack[::2], self.metastack[-1][-1])
        self.dispatched(pickle.SETITEMS)

    def load_dict(self) -> None:
        """DICT, with its keys checked."""
        check_keys(self.stack[::2])
        self.dispatched(pickle.DICT)

    def load_additems(self) -> None:
        """ADDITEMS, with its items checked."""
        check_keys(self.stack, self.metastack[-1][-1])
        self.dispatched(pickle.ADDITEMS)

    def load_frozenset(self) -> None:
        """FROZENSET, with its items checked."""
        check_keys(self.stack)
        self.dispatched(pickle.FROZENSET)

    def dispatched(self, opcode: bytes) -> None:
        """Execute an opcode as Python's unpickler does."""
        python: Any = pickle._Unpickler
        python.dispatch[opcode[0]](self)

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.BYTEARRAY8[0]: dispatch[pickle.BINBYTES8[0]],  # it makes one copy less
    }


def check_keys(keys: list[Any], into: Any = ()) -> None:
    """Raise RefusedError for nested keys, whose hashes may take for ever, or too many keys for a dictionary."""
    for key in keys:
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) > MOST_KEY_PARTS or any(isinstance(part, tuple | frozenset) for part in parts):
            raise RefusedError("a key made of keys")
    if len(keys) + (len(into) if isinstance(into, dict | set) else 0) > MOST_KEYS:
        raise RefusedError(f"a dictionary of more than {MOST_KEYS} keys")


# DataFrames

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
FRAMES = {
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
_OBJECTS = ("O8", "O4")
_MOST_GROWTH = 4  # times the bytes of a pickle that its numbers may have: small whole numbers take two bytes there

_Array: TypeAlias = NDArray[Any]
Labels: TypeAlias = range | _Array | list[Any]


# From bytes to records


def _kind(value: Any) -> str:
    """The class of a value or of what it stands for; of a function that makes an object, the class it is given."""
    kind = type(value).__name__
    if kind in ("_reconstructor", "__pyx_unpickle_NDArrayBacked", "_new_Index"):
        return str(value.args[0].__name__)
    return kind


def read_frame(stream: BinaryIO, file: str) -> Table:
    """The table of a pickled DataFrame (of pandas 0.14 or later).

    Raises UserError for anything else than a table of numbers and for any other class that the pickle names,
    DamagedFileError for a pickle that breaks off or contradicts itself.
    """
    bounded = Bounded(stream)
    try:
        _check_opcodes(stream, bounded, file)
        stream.seek(0)
        frame = Recorder(bounded, FRAMES).record()
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


def refuse_twice(names: Sequence[str], file: str) -> None:
    """Raise UserError for a table with two columns of one name."""
    for name, times in Counter(names).items():
        if times > 1:
            raise UserError(f"{file}: column {name!r} is there twice: rename one")


def stored_index(labels: range | _Array) -> _Array | None:
    """Labels of rows as a table stores them: None for 0, 1, 2 ..."""
    if not isinstance(labels, range):
        return labels
    return None if labels == range(len(labels)) else np.arange(labels.start, labels.stop, labels.step, dtype=np.int64)


# From records to a table


def _table(frame: Recorded, size: int, file: str) -> Table:
    state = frame.state
    axes, blocks = _axes_and_blocks(state["_mgr"] if "_mgr" in state else state["_data"])
    column_labels, row_labels = _column_labels(axes[0], file), _row_labels(axes[1], file)
    all_positions = _all_positions(blocks, len(column_labels), file)
    labels = column_labels.tolist() if isinstance(column_labels, np.ndarray) else list(column_labels)
    if len(row_labels) > size:  # each takes a byte or more
        raise ValueError(f"{len(row_labels)} rows in {size} bytes")
    names = _names(labels, file)
    stored, objects = dict[int, TableColumn](), dict[str, str]()
    for (values, _), positions in zip(blocks, all_positions, strict=True):
        _refuse_nullable(values, [names[position] for position in positions], file)
        for position, (column, kind) in _columns(values, positions, len(row_labels), size).items():
            stored[position] = column
            objects |= {names[position]: kind} if kind else {}
        _refuse_shared(stored.values(), size)
    return Table(
        columns={name: stored[position] for position, name in enumerate(names) if position in stored},
        index=stored_index(row_labels),
        index_name=_axis_name(axes[1]),
        skipped=tuple(name for position, name in enumerate(names) if position not in stored),
        ranged=isinstance(row_labels, range),
        names=_other_names(names, labels),
        heading=_axis_name(axes[0]),
        texts=_text_type(axes[0].args[1].get("data")),
        objects=objects,
        notes=left_out_attributes(state.get("attrs")),
    )


def _refuse_shared(columns: Iterable[TableColumn], size: int) -> None:
    """Raise ValueError for columns that use the same numbers twice, or the same texts very often."""
    numbers = sum(column.nbytes for column in columns if not _is_text(column))
    if numbers > _MOST_GROWTH * size:
        raise ValueError("its columns share their numbers")
    if sum(column.nbytes for column in columns) - numbers > _most_unpacked(size):
        raise ValueError("its columns share their texts")


def _other_names(names: Sequence[str], labels: Sequence[Name]) -> dict[str, Name]:
    """The labels that are not strings, by the names that columns have here."""
    return {name: label for name, label in zip(names, labels, strict=True) if not isinstance(label, str)}


def left_out_attributes(attributes: Any) -> tuple[str, ...]:
    """A note on the attributes of a table, which are not kept."""
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


def _columns(values: Any, positions: Sequence[int], rows: int, size: int) -> dict[int, tuple[TableColumn, str]]:
    """The columns of a block, each with the kind of its objects, which is empty for plain numbers."""
    array = _array(values)
    if _text_type(values):
        column = _text_column(values, rows, size)
        return {} if column is None else {positions[0]: column}
    if array is None:
        return _object_columns(values, positions, rows, size)
    if array.shape != (len(positions), rows):
        raise ValueError(f"block of shape {array.shape} for {len(positions)} columns of {rows} rows")
    # Copied, because a row of a block may be read-only or strided.
    return {position: (column.copy(), "") for position, column in zip(positions, array, strict=True)}


def _object_columns(values: Any, positions: Sequence[int], rows: int, size: int) -> dict[int, tuple[TableColumn, str]]:
    """Those columns of a block of Python's objects that hold numbers, or in each row a list or an array of numbers."""
    if _kind(values) != "_reconstruct" or values.state[2].args[0] not in _OBJECTS:
        return {}
    _, shape, _, fortran, objects = values.state
    if tuple(shape) != (len(positions), rows) or len(objects) != len(positions) * rows:
        raise ValueError(f"{len(objects)} objects for {len(positions)} columns of {rows} rows")
    _refuse_repeated(objects, size)
    every = range(len(positions))
    cuts = [objects[i :: len(positions)] if fortran else objects[i * rows : (i + 1) * rows] for i in every]
    found = {position: _of_objects(cut, size) for position, cut in zip(positions, cuts, strict=True)}
    return {position: one for position, one in found.items() if one is not None}


def _text_column(values: Recorded, rows: int, size: int) -> tuple[TableColumn, str] | None:
    """The column of an array of pandas' own texts, and its type, as in `str[pyarrow]`; None if texts are missing."""
    texts = _pandas_texts(values)
    if texts is None:
        return None
    if len(texts) != rows:
        raise ValueError(f"{len(texts)} texts for {rows} rows")
    _refuse_repeated(texts, size)
    column = _of_texts(texts)
    storage = "pyarrow" if _kind(values).startswith("Arrow") else "python"
    return None if column is None else (column, f"{_text_type(values)}[{storage}]")


def _refuse_repeated(objects: Iterable[Any], size: int) -> None:
    """Raise ValueError for a text that is used so often that it would fill the memory."""
    if sum(len(one) for one in objects if type(one) is str) > _most_unpacked(size):
        raise ValueError("its rows share their texts")


def _of_texts(texts: Sequence[Any]) -> ak.Array | None:
    """The column of texts; None where some are none, or can't be written as UTF-8."""
    if not all(type(text) is str for text in texts):
        return None
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return ak.Array(texts) if texts else ak.Array([""])[:0]


def _of_objects(objects: list[Any], size: int) -> tuple[TableColumn, str] | None:
    """The column of Python's objects and their kind: `number`, `text`, `list` or `array`; None for anything else."""
    if objects and (texts := _of_texts(objects)) is not None:
        return texts, "text"
    for kind in (int, float):
        if objects and all(type(one) is kind for one in objects):
            numbers = np.array(objects)
            return (numbers, "number") if numbers.dtype.kind in "if" else None
    arrays = [_array(one) for one in objects]
    kind_of = "array" if all(array is not None for array in arrays) else "list"
    if kind_of == "list":
        arrays = [_of_list(one) for one in objects]
    rows = [array for array in arrays if array is not None and array.ndim == 1]
    if not rows or len(rows) < len(objects):
        return None
    if sum(map(len, rows)) > size:  # one list may be used for many rows
        raise ValueError("its rows share their numbers")
    dtypes = {row.dtype for row in rows if kind_of == "array" or len(row)}
    if len(dtypes) > 1 or not all(dtype.isnative and dtype != np.float16 for dtype in dtypes):
        return None
    values = np.concatenate(rows)
    return ak.unflatten(values, [len(row) for row in rows]), kind_of


def _of_list(one: Any) -> _Array | None:
    """A list of floats, or one of whole numbers, as an array."""
    if not isinstance(one, list) or len({type(x) for x in one} | {float}) > 1 + (one != [] and type(one[0]) is int):
        return None
    array = np.array(one, dtype=None if one else np.float64)
    return array if array.dtype.kind in "if" else None


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
    refuse_twice(names, file)
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


def _text_type(data: Any) -> str | None:
    """The pandas type of texts other than object: `str`, or `string`, whose missing value is NA."""
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
    data = details["data"]
    if _text_type(data):
        texts = _pandas_texts(data)
        return [None] if texts is None else texts  # no names: refused later
    array = _array(data)
    return _objects(data) if array is None else array.copy()


def _objects(data: Any) -> list[Any] | None:
    """The objects of a recorded array of numpy; None for other arrays."""
    if _kind(data) == "_reconstruct" and data.state[2].args[0] in _OBJECTS:
        return list(data.state[4])
    return None


def _pandas_texts(data: Recorded) -> list[Any] | None:
    """The texts of an array of pandas' own texts; None for an unknown one."""
    if _kind(data).startswith("StringArray"):
        return _objects(data.state[1])
    return _arrow_strings(data.state["_pa_array"])


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


def _arrow_strings(array: Recorded) -> list[str] | None:
    """The strings of a recorded pyarrow array: one buffer of UTF-8, and one of offsets at which strings end.

    None where some are missing, or for an array of another layout.
    """
    if _kind(array) != "_restore_array":
        return None
    arrow_type, length, nulls, offset, buffers = array.args[0][:5]
    width = {"string": "<i4", "large_string": "<i8"}.get(arrow_type.args[0])
    if nulls or not width:
        return None
    if not length:
        return []
    bounds = np.frombuffer(_bytes(buffers[1]), width)[offset : offset + length + 1]
    text = _bytes(buffers[2])
    if np.any(np.diff(bounds) < 0):
        raise ValueError("strings that end before they begin")
    return [text[start:end].decode() for start, end in pairwise(bounds.tolist())]


def frame_of(table: Table) -> Any:
    """The DataFrame of a table; raises UserError without pandas."""
    pandas = optional("pandas", "writing a table", "tables")
    if table.index is None:
        rows = len(next(iter(table.columns.values()), ()))
        index = pandas.RangeIndex(rows, name=table.index_name)
    elif (steps := steps_of(table)) is not None:
        index = pandas.RangeIndex(steps, name=table.index_name)
    else:
        index = pandas.Index(table.index, name=table.index_name)
    columns = {
        name: _for_frame(values, table.objects.get(name), index, pandas) for name, values in table.columns.items()
    }
    frame = pandas.DataFrame(columns, index=index)
    labels = [table.names.get(name, name) for name in table.columns]
    frame.columns = pandas.Index(labels, dtype=_label_type(table, labels), name=table.heading)
    return frame


def _for_frame(values: TableColumn, kind: str | None, index: Any, pandas: Any) -> Any:
    """A column for pandas, with Python's objects where it had them; a list is an array, unless it was a list."""
    if isinstance(values, np.ndarray) and values.ndim == 1 and kind is None:
        return values
    rows = values.tolist() if kind in ("number", "list") or _is_text(values) else list(map(np.asarray, values))
    objects = np.empty(len(rows), object)
    objects[:] = rows
    if _is_text(values):
        return pandas.Series(objects, index, dtype=_pandas_type(kind, pandas))
    return objects


def _pandas_type(kind: str | None, pandas: Any) -> Any:
    """The dtype of a column of texts, by the name that `_text_column` has for it; None for pandas' own choice."""
    texts, _, storage = (kind or "").removesuffix("]").partition("[")
    if texts == "string":
        return pandas.StringDtype(storage)
    return pandas.StringDtype(storage, np.nan) if texts == "str" else object if texts == "text" else None


def _is_text(values: TableColumn) -> bool:
    return isinstance(values, ak.Array) and values.layout.parameter("__array__") == "string"


def _label_type(table: Table, labels: Sequence[Name]) -> Any:
    """The type of labels; pandas 3's own strings, which older versions can't read, only if they were those."""
    if labels and all(type(label) in (int, float) for label in labels):
        return None
    return table.texts if table.texts and not table.names else object


def steps_of(table: Table) -> range | None:
    """The row labels as a range, if they were one and still are (rows may have been dropped); else None."""
    if not table.ranged or table.index is None or not len(table.index):
        return None
    labels = table.index.tolist()
    steps = range(labels[0], labels[0] + 1) if len(labels) == 1 else None
    if len(labels) > 1 and (step := labels[1] - labels[0]):
        steps = range(labels[0], labels[0] + step * len(labels), step)
    return steps if steps is not None and list(steps) == labels else None


# Packed files

PACKINGS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_MOST_UNPACKED = 100  # times the size of a packed file, or of texts that it repeats, beyond which it is refused
_ALWAYS = 1 << 26  # bytes that a packed file may have in any case


def _most_unpacked(size: int) -> int:
    """The bytes that may come of a file of this size."""
    return _ALWAYS + _MOST_UNPACKED * size


@contextmanager
def unpacked(stream: BinaryIO, suffix: str, file: str) -> Iterator[BinaryIO]:
    """The bytes of a file packed as its suffix says, unpacked on disk; as they are for any other suffix.

    Raises UserError for one that unpacks to more than 100 times its size (and 64 MB), DamagedFileError.
    """
    if suffix not in PACKINGS:
        yield stream
        return
    most = _most_unpacked(stream.seek(0, 2))
    stream.seek(0)
    with tempfile.TemporaryFile() as plain:
        try:
            with PACKINGS[suffix](stream) as packed:
                while block := packed.read(_LARGE):
                    plain.write(block)
                    if plain.tell() > most:
                        raise UserError(f"{file}: unpacks to {_MOST_UNPACKED} times its size and more: unpack it first")
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            if getattr(error, "errno", None):  # an error of the machine, not damage
                raise
            raise DamagedFileError(f"{file}: damaged: does not unpack ({line_of(error)})") from None
        plain.seek(0)
        yield cast(BinaryIO, plain)


@contextmanager
def packed_output(path: Path) -> Iterator[BinaryIO]:
    """A file opened for writing, packed as its suffix says."""
    with PACKINGS.get(path.suffix.lower(), open)(path, "wb") as stream:
        yield stream
