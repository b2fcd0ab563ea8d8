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
import json
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
from dataclasses import dataclass, replace
from datetime import timedelta, timezone
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self, TypeAlias, cast

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from atlasae.errors import DamagedFileError, UserError, optional
from atlasae.files.damage import FACTS, damage
from atlasae.files.events import Categories, Name, Table, TableColumn, as_texts, is_text, json_texts, rows_of_json
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
MOST_VALUES = 100_000  # of a column, each of which is told in the record of the table
_MOST_ATTRIBUTES = 1 << 16  # characters of a table's attributes as JSON
_MOST_DIGITS, _MOST_DEPTH = 10_000, 50  # bits of whole numbers in JSON, and lists inside of lists
_OF_JSON = (str, int, float, bool, type(None), list, dict)
_PLAIN_INDEXES = {"Index", "Int64Index", "UInt64Index", "Float64Index", "NumericIndex"}
_NULLABLE = {"IntegerArray", "FloatingArray", "BooleanArray"}  # whose missing values no numpy dtype has
_TEXT_ARRAYS = {"ArrowStringArray", "StringArray"}
_TIMES = {"M8": "datetime", "m8": "timedelta"}
_NO_TIME = np.iinfo(np.int64).min
_NUMBER = re.compile("b1|[iu][1248]|f[248]|[Mm]8")  # times are int64
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


@dataclass(frozen=True)
class _Stored:
    """A column as a table has it: its values, what it was (empty for plain numbers), its categories."""

    values: TableColumn
    kind: str = ""
    categories: Categories | None = None

    def taken(self, codes: _Array, size: int) -> "_Stored | None":
        """The values of these numbers, of which -1 is a missing one, as None in JSON; None where JSON has none such."""
        if codes.dtype.kind not in "iu" or np.any((codes < -1) | (codes >= len(self.values))):
            raise ValueError("codes of no category")
        if is_text(self.values) and np.sum(ak.to_numpy(ak.num(self.values))[codes[codes >= 0]]) > _most_unpacked(size):
            raise ValueError("its rows share their texts")
        if np.all(codes >= 0):
            return replace(self, values=self.values[codes])
        if self.kind.startswith("json"):
            return None
        rows = self.values.tolist()
        return replace(self, values=json_texts(None if code < 0 else rows[code] for code in codes.tolist()))


def _table(frame: Recorded, size: int, file: str) -> Table:
    state = frame.state
    axes, blocks = _axes_and_blocks(state["_mgr"] if "_mgr" in state else state["_data"])
    column_labels, row_labels = _column_labels(axes[0], file), _row_labels(axes[1], size)
    all_positions = _all_positions(blocks, len(column_labels), file)
    labels = column_labels.tolist() if isinstance(column_labels, np.ndarray) else list(column_labels)
    levels = [] if row_labels is not None else _levels(axes[1], size, file)
    rows = len(levels[0][1].values if row_labels is None else row_labels)
    if rows > size:  # each takes a byte or more
        raise ValueError(f"{rows} rows in {size} bytes")
    names = _names(labels, file)
    found = dict[int, _Stored]()
    for (values, _), positions in zip(blocks, all_positions, strict=True):
        found |= _columns(values, positions, rows, size)
        _refuse_shared([one.values for one in found.values()], size)
    stored = {name: found[position] for position, name in enumerate(names) if position in found}
    called = _level_names([name for name, _ in levels], names)
    stored |= {name: one for name, (_, one) in zip(called, levels, strict=True)}
    attributes = state.get("attrs") or {}
    kept = _is_plain([attributes], size) and len(json.dumps(attributes)) < _MOST_ATTRIBUTES
    return Table(
        columns={name: one.values for name, one in stored.items()},
        index=None if row_labels is None else stored_index(row_labels),
        index_name=None if levels else _axis_name(axes[1]),
        skipped=tuple(name for position, name in enumerate(names) if position not in found),
        ranged=isinstance(row_labels, range),
        names=_other_names(names, labels),
        heading=_axis_name(axes[0]),
        texts=_text_type(axes[0].args[1].get("data")),
        objects={name: one.kind for name, one in stored.items() if one.kind},
        categories={name: one.categories for name, one in stored.items() if one.categories},
        levels={name: level for name, (level, _) in zip(called, levels, strict=True)},
        attributes=attributes if kept else {},
        notes=() if kept else left_out_attributes(attributes),
    )


def _level_names(levels: Sequence[Name | None], others: Sequence[str]) -> list[str]:
    """The names of columns for labels of rows: their own, or else numbers, with underscores where they are taken."""
    names = list[str]()
    for number, level in enumerate(levels):
        name = f"level_{number}" if level is None else str(level)
        while name in (*others, *names):
            name += "_"
        names.append(name)
    return names


def _refuse_shared(columns: Sequence[TableColumn], size: int) -> None:
    """Raise ValueError for columns that use the same numbers twice, or the same texts very often."""
    numbers = sum(column.nbytes for column in columns if not is_text(column))
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


def _columns(values: Any, positions: Sequence[int], rows: int, size: int) -> dict[int, _Stored]:
    """Those columns of a block that a table holds."""
    if _kind(values) == "_reconstruct" and values.state[2].args[0] in _OBJECTS:
        return _object_columns(values, positions, rows, size)
    array, kind = _numbers(values)
    if array is None:
        one = _extension(values, size)
        if one is not None and (len(one.values) != rows or len(positions) != 1):
            raise ValueError(f"{len(one.values)} values for {len(positions)} columns of {rows} rows")
        return {} if one is None else {positions[0]: one}
    if array.shape != (len(positions), rows):
        raise ValueError(f"block of shape {array.shape} for {len(positions)} columns of {rows} rows")
    # Copied, because a row of a block may be read-only or strided.
    return {position: _Stored(column.copy(), kind) for position, column in zip(positions, array, strict=True)}


def _object_columns(values: Any, positions: Sequence[int], rows: int, size: int) -> dict[int, _Stored]:
    """Those columns of a block of Python's objects that hold what JSON holds, or in each row an array of numbers."""
    _, shape, _, fortran, objects = values.state
    if tuple(shape) != (len(positions), rows) or len(objects) != len(positions) * rows:
        raise ValueError(f"{len(objects)} objects for {len(positions)} columns of {rows} rows")
    _refuse_repeated(objects, size)
    every = range(len(positions))
    cuts = [objects[i :: len(positions)] if fortran else objects[i * rows : (i + 1) * rows] for i in every]
    found = {position: _of_objects(cut, size) for position, cut in zip(positions, cuts, strict=True)}
    return {position: one for position, one in found.items() if one is not None}


def _numbers(values: Any) -> tuple[_Array | None, str]:
    """An array of numbers, or of times as int64, and pandas' dtype of the latter; None for anything else."""
    if _kind(values) not in ("DatetimeArray", "TimedeltaArray"):
        array = _array(values)
        return array, _time_type(values) if array is not None else ""
    data, dtype = values.state[:2] if _kind(values.state[1]) in ("dtype", "DatetimeTZDtype") else values.state[1::-1]
    if _kind(dtype) == "dtype":
        return _array(data), _time_type(data)
    zone = dtype.state["tz"]
    if _kind(zone) != "timezone":
        return None, ""
    offset = timezone(timedelta(*zone.args[0].args))
    return _array(data), f"datetime64[{dtype.state['unit']}, {offset}]"


def _time_type(values: Recorded) -> str:
    """The dtype of an array of times, as in `datetime64[us]`; empty for numbers."""
    dtype = values.args[1] if _kind(values) == "_frombuffer" else values.state[2]
    if dtype.args[0] not in _TIMES:
        return ""
    unit, *counts = dtype.state[-1][1][:3]
    text = _bytes(unit).decode()
    if text not in ("s", "ms", "us", "ns") or counts != [1, 1]:
        raise TypeError("unit")
    return f"{_TIMES[dtype.args[0]]}64[{text}]"


def _extension(values: Any, size: int) -> _Stored | None:
    """A column of one of pandas' own types: texts, nullable numbers, categories; None for other types."""
    if text := _text_type(values):
        texts = _pandas_texts(values)
        if texts is None:
            return None
        _refuse_repeated(texts, size)
        kind = f"{text}[{'pyarrow' if _kind(values).startswith('Arrow') else 'python'}]"
        column = _of_texts(texts)
        return _Stored(json_texts(texts), f"json {kind}") if column is None else _Stored(column, kind)
    if _kind(values) in _NULLABLE:
        return _nullable(values)
    return _categorical(values, size) if _kind(values) == "Categorical" else None


def _nullable(values: Recorded) -> _Stored | None:
    """A column of numbers of which some may be missing, which are then null in JSON."""
    data, mask = _array(values.state["_data"]), _array(values.state["_mask"])
    if data is None or mask is None or mask.dtype != np.bool_ or data.shape != mask.shape or data.ndim != 1:
        raise ValueError("numbers of another shape than what tells which are missing")
    kind = {"b": "boolean", "u": "UInt"}.get(data.dtype.kind, data.dtype.name.capitalize())
    kind = f"UInt{8 * data.itemsize}" if kind == "UInt" else kind
    if not mask.any():
        return _Stored(data.copy(), kind)
    rows = zip(data.tolist(), mask.tolist(), strict=True)
    return _Stored(json_texts(None if missing else value for value, missing in rows), f"json {kind}")


def _categorical(values: Recorded, size: int) -> _Stored | None:
    """A column of categories: their values, in JSON where some are missing."""
    dtype, codes = values.state[:2] if _kind(values.state[0]) == "CategoricalDtype" else values.state[1::-1]
    known, numbers = _of_index(dtype.state["categories"], size), _array(codes)
    if known is None or numbers is None or len(known.values) > MOST_VALUES or known.categories:
        return None
    texts = is_text(known.values)
    if not texts and known.values.dtype.kind not in "biu":
        return None
    found = known.taken(numbers, size)
    if found is None:
        return None
    of = "string" if texts else known.values.dtype.str
    categories = Categories(
        values=known.values.tolist(), dtype=of, kind=known.kind, ordered=bool(dtype.state["ordered"])
    )
    missing = is_text(found.values) and bool(np.any(numbers < 0))
    return _Stored(found.values, "json category" if missing else "category", categories)


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
    return as_texts(texts)


def _of_objects(objects: list[Any], size: int) -> _Stored | None:
    """The column of Python's objects: numbers, texts, lists or arrays of numbers, or JSON; None for anything else."""
    if (texts := _of_texts(objects)) is not None:
        return _Stored(texts, "text")
    for kind in (int, float):
        if all(type(one) is kind for one in objects) and (numbers := np.array(objects)).dtype.kind in "if":
            return _Stored(numbers, "number")
    return _of_lists(objects, size) or (_Stored(json_texts(objects), "json") if _is_plain(objects, size) else None)


def _is_plain(objects: Iterable[Any], size: int) -> bool:
    """Whether JSON holds all of these as they are; raises ValueError for more than a pickle of this size has."""
    left, characters = [(one, 0) for one in objects], _most_unpacked(size)
    while left:
        one, depth = left.pop()
        size, characters = size - 1, characters - (len(one) if type(one) is str else 0)
        if size < 0 or characters < 0:
            raise ValueError("its rows share their objects")
        inner = one if type(one) is list else [*one, *one.values()] if type(one) is dict else []
        left += [(each, depth + 1) for each in inner]
        named = type(one) is not dict or all(type(key) is str for key in one)
        short = type(one) is not int or one.bit_length() <= _MOST_DIGITS
        if type(one) not in _OF_JSON or depth > _MOST_DEPTH or not (named and short):
            return False
    return True


def _of_lists(objects: list[Any], size: int) -> _Stored | None:
    """The column of lists or arrays of numbers of one dtype; None for anything else."""
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
    return _Stored(ak.unflatten(np.concatenate(rows), [len(row) for row in rows]), kind_of)


def _of_list(one: Any) -> _Array | None:
    """A list of floats, or one of whole numbers, as an array."""
    if not isinstance(one, list) or len({type(x) for x in one} | {float}) > 1 + (one != [] and type(one[0]) is int):
        return None
    array = np.array(one, dtype=None if one else np.float64)
    return array if array.dtype.kind in "if" else None


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


def _row_labels(axis: Recorded, size: int) -> range | _Array | None:
    """The labels of rows, if they are numbers."""
    labels = _labels(axis)
    if isinstance(labels, list):
        return None if labels else range(0)
    return labels


def _levels(axis: Recorded, size: int, file: str) -> list[tuple[Name | None, _Stored]]:
    """The labels of rows that are no plain numbers, one column or several, with their names."""
    details = axis.args[1]
    if axis.args[0].__name__ != "MultiIndex":
        found = [(details.get("name"), _of_index(axis, size))]
    else:
        levels = zip(details["names"], details["levels"], details["codes"], strict=True)
        found = [(name, _taken_by(level, codes, size)) for name, level, codes in levels]
    known = [(_index_name(name), one) for name, one in found if one is not None]
    if len(known) < len(found) or len({len(one.values) for _, one in known}) != 1:
        kind = axis.args[0].__name__
        raise UserError(f"{file}: its row index is a {kind} of what no column holds: use reset_index() before saving")
    return known


def _taken_by(level: Recorded, codes: Any, size: int) -> _Stored | None:
    """The labels of rows by their numbers in a level of a MultiIndex; None where some are missing."""
    known, numbers = _of_index(level, size), _array(codes)
    if known is None or numbers is None or np.any(numbers < 0) or len(numbers) > size:
        return None
    return known.taken(numbers, size)


def _of_index(index: Recorded, size: int) -> _Stored | None:
    """The labels of an index as a column; None for a kind of index that no column holds."""
    labels = _labels(index)
    if isinstance(labels, range):
        if len(labels) > size:
            raise ValueError(f"{len(labels)} labels in {size} bytes")
        return _Stored(np.array(labels, np.int64))
    data = index.args[1].get("data")
    if _kind(data) == "_reconstruct" and data.state[2].args[0] in _OBJECTS:
        _refuse_repeated(data.state[4], size)
        return _of_objects(list(data.state[4]), size)
    array, kind = _numbers(data) if isinstance(data, Recorded) else (None, "")
    return _extension(data, size) if array is None else _Stored(array.reshape(-1).copy(), kind)


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
    array, kind = _numbers(data)
    return _objects(data) if array is None else None if kind else array.copy()


def _objects(data: Any) -> list[Any] | None:
    """The objects of a recorded array of numpy; None for other arrays."""
    if _kind(data) == "_reconstruct" and data.state[2].args[0] in _OBJECTS:
        return list(data.state[4])
    return None


def _pandas_texts(data: Recorded) -> list[Any] | None:
    """The texts of an array of pandas' own texts, None for missing ones; None for an unknown array."""
    if _kind(data).startswith("StringArray"):
        texts = _objects(data.state[1])
        return None if texts is None else [text if type(text) is str else None for text in texts]
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
    kind = "i8" if dtype.args[0] in _TIMES else dtype.args[0]
    array = np.frombuffer(_bytes(data), np.dtype(kind).newbyteorder(dtype.state[1]))
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


def _arrow_strings(array: Recorded) -> list[str | None] | None:
    """The strings of a recorded pyarrow array: one buffer of UTF-8, and one of offsets at which strings end.

    Those that a buffer of bits says are missing are None. None for an array of another layout.
    """
    if _kind(array) != "_restore_array":
        return None
    arrow_type, length, nulls, offset, buffers = array.args[0][:5]
    width = {"string": "<i4", "large_string": "<i8"}.get(arrow_type.args[0])
    if not width:
        return None
    if not length:
        return []
    bounds = np.frombuffer(_bytes(buffers[1]), width)[offset : offset + length + 1]
    text = _bytes(buffers[2]) if buffers[2] is not None else b""
    if np.any(np.diff(bounds) < 0) or len(bounds) != length + 1:
        raise ValueError("strings that end before they begin")
    there = np.ones(length, bool)
    if nulls:
        there = np.unpackbits(np.frombuffer(_bytes(buffers[0]), np.uint8), bitorder="little")[offset : offset + length]
    ends = pairwise(bounds.tolist())
    return [text[start:end].decode() if is_there else None for (start, end), is_there in zip(ends, there, strict=True)]


# Writing


def frame_of(table: Table) -> Any:
    """The DataFrame of a table; raises UserError without pandas, DamagedFileError for values of another dtype."""
    pandas = optional("pandas", "writing a table", "tables")
    with damage("the table", OverflowError, *FACTS):
        columns = {name: _for_frame(values, name, table, pandas) for name, values in table.columns.items()}
    labels = {name: columns.pop(name) for name in table.levels if name in columns}
    rows = len(next(iter(table.written.values()), ()))
    frame = pandas.DataFrame(columns, index=pandas.RangeIndex(rows))
    frame.index = _index_of(table, labels, rows, pandas)
    names = [table.names.get(name, name) for name in columns]
    frame.columns = pandas.Index(names, dtype=_label_type(table, names), name=table.heading)
    frame.attrs = dict(table.attributes)
    return frame


def _index_of(table: Table, labels: Mapping[str, Any], rows: int, pandas: Any) -> Any:
    """The labels of rows, which are columns, or the table's index."""
    if labels:
        levels = [pandas.Index(values, name=table.levels[name]) for name, values in labels.items()]
        return levels[0] if len(levels) == 1 else pandas.MultiIndex.from_arrays(levels)
    if table.index is None:
        return pandas.RangeIndex(rows, name=table.index_name)
    if (steps := steps_of(table)) is not None:
        return pandas.RangeIndex(steps, name=table.index_name)
    return pandas.Index(table.index, name=table.index_name)


def _for_frame(values: TableColumn, name: str, table: Table, pandas: Any) -> Any:
    """A column for pandas, of the dtype that it had there; a list is an array, unless it was a list."""
    kind = table.objects.get(name)
    if kind in ("category", "json category"):
        return _as_categories(values, kind, table.categories[name], pandas)
    return _of_kind(values, kind, pandas)


def _as_categories(values: TableColumn, kind: str, categories: Categories, pandas: Any) -> Any:
    known = categories["values"]
    own = as_texts(known) if categories["dtype"] == "string" else np.array(known, np.dtype(categories["dtype"]))
    index = pandas.Index(_of_kind(own, categories["kind"], pandas))
    numbers = {value: number for number, value in enumerate(known)} | {None: -1}
    rows = rows_of_json(values.tolist()) if kind.startswith("json") else values.tolist()
    dtype = pandas.CategoricalDtype(index, categories["ordered"])
    return pandas.Series(pandas.Categorical.from_codes([numbers[row] for row in rows], dtype=dtype))


def _of_kind(values: TableColumn, kind: str | None, pandas: Any) -> Any:
    """A column, or categories, for pandas."""
    if not kind and isinstance(values, np.ndarray) and values.ndim == 1:
        return values
    own = (kind or "").removeprefix("json").strip()
    in_json = own != (kind or "")
    if own.startswith(("datetime64", "timedelta64")):
        return _times(_given(values, np.int64, in_json)[0], own, pandas)
    if own[:1].isupper() or own == "boolean":
        dtype = pandas.api.types.pandas_dtype(own)
        return pandas.Series(dtype.construct_array_type()(*_given(values, dtype.numpy_dtype, in_json)))
    rows = values.tolist() if kind in ("number", "list") or is_text(values) else list(map(np.asarray, values))
    rows = rows_of_json(values.tolist()) if in_json else rows
    objects = np.empty(len(rows), object)
    objects[:] = rows
    return pandas.Series(objects, dtype=None if kind is None and is_text(values) else _text_type_of(own, pandas))


def _times(values: _Array, kind: str, pandas: Any) -> Any:
    """A column of times."""
    unit, _, zone = kind.partition("[")[2].removesuffix("]").partition(", ")
    times = pandas.Series(values.view(f"{kind[0].replace('d', 'M').replace('t', 'm')}8[{unit}]"))
    return times.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else times


def _given(values: TableColumn, dtype: Any, in_json: bool) -> tuple[_Array, NDArray[np.bool_]]:
    """The numbers of a column, and which of them are missing; times that are missing are NaT."""
    if not in_json:
        return values.astype(dtype), np.zeros(len(values), bool)
    rows = rows_of_json(values.tolist())
    missing = np.array([row is None for row in rows], bool)
    none = _NO_TIME if dtype is np.int64 else 0
    return np.array([none if row is None else row for row in rows], dtype), missing


def _text_type_of(kind: str, pandas: Any) -> Any:
    """The dtype of a column of texts or objects, by the name that `_extension` has for it."""
    own, _, storage = kind.removesuffix("]").partition("[")
    missing = {"string": (), "str": (np.nan,)}.get(own)
    return object if missing is None else pandas.StringDtype(storage, *missing)


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
