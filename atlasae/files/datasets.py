"""Arrays of numpy in files: HDF5, of h5py and of pandas, and npz."""

import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from atlasae.errors import DamagedFileError, UserError, optional
from atlasae.files.branches import Branch, Unwritable
from atlasae.files.events import (
    INDEX,
    ArrayEvents,
    Collected,
    DatasetFacts,
    OpenTable,
    Table,
    TableColumn,
    TableFacts,
    TableWriter,
)
from atlasae.files.pickles import BROKEN, Bounded, Recorder, RefusedError, frame_of, refuse_twice, walk
from atlasae.files.remote import Location
from atlasae.report import line_of, some

_KEY = "jets"  # of a table that was in no HDF5 file
_PANDAS = {"frame": "fixed", "frame_table": "table"}  # layouts by what pandas notes
_COMPOUND, _GROUP = "compound", "group"  # layouts of h5py: one dataset of structures, or a dataset a column
_MOST_GROWTH = 1100  # bytes of numbers that a packed byte may hold: deflate does not exceed it
_ALWAYS = 1 << 26  # bytes of numbers that may be there in any case


def _h5py() -> Any:
    return optional("h5py", "HDF5", "hdf5")


@dataclass(frozen=True)
class _Place:
    """Where the values of a column are: a dataset, a field of its structures, a number in each of its rows."""

    dataset: Any
    field: str | None = None
    item: int | None = None

    def dtype(self) -> Any:
        """The dtype of one value, as it is in the file."""
        dtype = self.dataset.dtype if self.field is None else self.dataset.dtype[self.field]
        return dtype if self.item is None else dtype.base

    def shape(self) -> tuple[int, ...]:
        """The shape of the value of one row."""
        if self.item is not None:
            return ()
        inner: tuple[int, ...] = self.dataset.dtype[self.field].shape if self.field is not None else ()
        return (*self.dataset.shape[1:], *inner)

    def of(self, rows: Any) -> Any:
        """The values in some rows of the dataset."""
        values = rows if self.field is None else rows[self.field]
        return values if self.item is None else values[:, self.item]


@dataclass(frozen=True)
class _Found:
    """A table in an HDF5 file."""

    key: str
    layout: str
    rows: int
    places: dict[str, _Place]
    index: _Place | None = None
    index_name: str | None = None
    attributes: Any = None

    def is_of_jets(self) -> bool:
        """Whether a column is called like a transverse momentum."""
        return any("pt" in name.lower() or "px" in name.lower() for name in self.places)


class Hdf5:
    """HDF5 files: a dataset of structures, a group of datasets of one length, or a store of pandas, fixed or table.

    A file may hold several tables; the longest of those with jets is read. Labels of rows, dtypes, and attributes of
    numbers and texts come back; chunks, filters and enumerations do not. Stores of pandas are written by pandas.
    """

    suffixes = (".h5", ".hdf5", ".hdf")
    holds = frozenset({"lists", "arrays", "texts"})

    @contextmanager
    def open(self, path: Location, stream: BinaryIO) -> Iterator[OpenTable]:
        """Open a file; raises UserError for one without a table, DamagedFileError."""
        h5py = _h5py()
        if stream.read(8) != b"\x89HDF\r\n\x1a\n":
            raise UserError(f"{path.name}: no HDF5 file, whatever its suffix says")
        stream.seek(0)
        with _damage(path.name):
            file = h5py.File(stream, "r")
        with file:
            with _damage(path.name):
                found, others = _choose(file, path.name)
                events = Hdf5Events(found, path.name)
                opened = OpenTable(events, _facts(found, events), (*_lost(found), *_left(others)))
            yield opened

    @contextmanager
    def create(self, path: Path, facts: TableFacts, rows: int | None) -> Iterator[TableWriter]:
        """Write a file: piece by piece but for stores of pandas."""
        layout = facts.get("dataset", DatasetFacts()).get("layout")
        if layout in ("fixed", "table", "columns"):
            yield (collected := Collected(facts))
            _write_store(path, collected.table(), layout, facts["dataset"].get("key", _KEY))
            return
        with _h5py().File(path, "w", locking=False) as file:
            yield _Writer(file, facts)


@contextmanager
def _damage(file: str) -> Iterator[None]:
    """Turn errors of h5py on changed bytes into DamagedFileError."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, AttributeError) as error:
        if getattr(error, "errno", None):  # an error of the machine, not damage
            raise
        raise DamagedFileError(f"{file}: damaged: HDF5 can't read it ({line_of(error)})") from None


# Finding tables


def _choose(file: Any, name: str) -> tuple[_Found, list[str]]:
    """The table to read, and the keys of the others."""
    found = list(_tables(file))
    if not found:
        kinds = "a dataset of structures, a group of datasets of one length, or a DataFrame of pandas"
        raise UserError(f"{name}: holds no table: {kinds} is one")
    best = max(found, key=lambda one: (one.is_of_jets(), one.rows))
    return best, [one.key for one in found if one is not best]


def _tables(file: Any) -> Iterator[_Found]:
    groups, stores = [file], list[str]()
    file.visititems(lambda _, thing: groups.append(thing) if isinstance(thing, _h5py().Group) else None)
    for group in groups:
        if any(group.name.startswith(f"{store}/") for store in stores):
            continue
        if (kind := _text(group.attrs.get("pandas_type"))) in _PANDAS:
            stores.append(group.name)
            yield _store(group, _PANDAS[kind])
            continue
        yield from _of_h5py(group)


def _of_h5py(group: Any) -> Iterator[_Found]:
    """The datasets of structures in a group, and the group itself if it has datasets of one length."""
    h5py = _h5py()
    links = {name: group.get(name, getlink=True) for name in group}
    names = [name for name, link in links.items() if isinstance(link, h5py.HardLink)]  # others lead out of the file
    datasets = {name: group[name] for name in names if isinstance(group[name], h5py.Dataset)}
    datasets = {name: one for name, one in datasets.items() if one.ndim and not (one.external or one.is_virtual)}
    plain = {name: one for name, one in datasets.items() if one.dtype.names is None}
    for one in datasets.values():
        if one.dtype.names is not None and one.ndim == 1:
            places = {field: _Place(one, field) for field in one.dtype.names}
            yield _Found(one.name, _COMPOUND, len(one), places, attributes=one.attrs)
    lengths = [len(one) for one in plain.values()]
    rows = max(set(lengths), key=lengths.count, default=0)
    columns = {name: _Place(one) for name, one in plain.items() if len(one) == rows}
    if len(columns) > 1:
        yield _Found(group.name, _GROUP, rows, columns, attributes=group.attrs)


def _store(group: Any, layout: str) -> _Found:
    """A DataFrame that pandas stored."""
    return _fixed(group) if layout == "fixed" else _table(group)


def _fixed(group: Any) -> _Found:
    names, places = _labels(group["axis0"]), dict[str, _Place]()
    for number in range(int(group.attrs["nblocks"])):
        values = group[f"block{number}_values"]
        items = _labels(group[f"block{number}_items"])
        if values.ndim != 2 or values.shape[1] != len(items):
            raise ValueError(f"block {number} of shape {values.shape} for {len(items)} columns")
        places |= {name: _Place(values, item=item) for item, name in enumerate(items)}
    index = group["axis1"]
    if index.dtype.kind not in "iuf" or set(names) != set(places):
        raise ValueError("its row labels are no numbers, or its blocks not its columns")
    name = _pickled(index.attrs.get("name"))
    return _Found(group.name, "fixed", len(index), {n: places[n] for n in names}, _Place(index), name)


def _table(group: Any) -> _Found:
    table, places = group["table"], dict[str, _Place]()
    for field in table.dtype.names[1:]:
        names = _pickled(table.attrs[f"{field}_kind"])
        shape = table.dtype[field].shape
        if shape and shape != (len(names),):
            raise ValueError(f"'{field}' of shape {shape} for {len(names)} columns")
        places |= {name: _Place(table, field, item if shape else None) for item, name in enumerate(names)}
    names = _pickled(group.attrs["non_index_axes"])[0][1]
    info = _pickled(group.attrs["info"])
    own = info.get("index", {}).get("index_name") if isinstance(info, dict) else None
    layout = "table" if any(place.item is not None for place in places.values()) else "columns"
    index = _Place(table, table.dtype.names[0])
    if index.dtype().kind not in "iuf" or set(names) != set(places):
        raise ValueError("its row labels are no numbers, or its fields not its columns")
    return _Found(group.name, layout, len(table), {str(n): places[n] for n in names}, index, own)


def _labels(dataset: Any) -> list[str]:
    if dataset.dtype.kind != "S":
        raise UserError(f"'{dataset.name}': names of columns are {dataset.dtype}: give each column a string")
    return [text.decode() for text in dataset[:]]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _pickled(value: Any) -> Any:
    """What an attribute of PyTables says, which is pickled unless it is a text or a number; no code of it runs."""
    if not isinstance(value, bytes):
        return value
    if not value.endswith(b"."):
        return value.decode()
    try:
        walk(Bounded(io.BytesIO(value)))
        return Recorder(Bounded(io.BytesIO(value)), {}).record()
    except RefusedError as error:
        raise UserError(f"refuses {error} of an attribute: a pickle may run code") from None
    except BROKEN:
        return value.decode()  # a text that ends in a dot


# Reading


class Hdf5Events:
    """The columns of a table in an HDF5 file, read by ranges of rows."""

    def __init__(self, found: _Found, name: str) -> None:
        self._name, self.entries = name, found.rows
        self.members: list[Branch] = []
        self.full_names: dict[str, str] = {}
        self.branches: list[Branch] = []
        self.unwritable: list[Unwritable] = []
        self._places = dict(found.places)
        refuse_twice(list(found.places), name)
        places = [*found.places.values(), *([found.index] if found.index else [])]
        for dataset in {place.dataset.name: place.dataset for place in places}.values():
            _refuse_bombs(dataset, name)
        if found.index is not None and not _counts(found.index):
            label = INDEX
            while label in self._places:
                label += "_"
            self._places[label] = found.index
            self.label: str | None = label
        else:
            self.label = None
        for column, place in self._places.items():
            if branch := _branch(column, place):
                self.branches.append(branch)
            else:
                self.unwritable.append(Unwritable(column, f"holds no numbers, nor lists of them, but {place.dtype()}"))

    def places(self) -> dict[str, _Place]:
        """Where the columns are that can be read."""
        return {branch.name: self._places[branch.name] for branch in self.branches}

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these columns for rows [start, stop); raises DamagedFileError."""
        rows: dict[str, NDArray[Any]] = {}
        with _damage(self._name):
            for name in names:
                dataset = self._places[name].dataset
                if dataset.name not in rows:
                    fields = [self._places[n].field for n in names if self._places[n].dataset.name == dataset.name]
                    whole = fields[0] is None
                    rows[dataset.name] = (dataset if whole else dataset.fields(list(dict.fromkeys(fields))))[start:stop]
            return {name: _values(self._places[name], rows[self._places[name].dataset.name]) for name in names}

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Bytes per row of these columns; a list or a text counts as 32."""
        sizes = [(self._places[name].dtype(), self._places[name].shape()) for name in names]
        return float(sum(32 if dtype.hasobject else dtype.base.itemsize * math.prod(shape) for dtype, shape in sizes))

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Bytes that these columns take in their file; of a dataset with several, their share."""
        whole: dict[str, int] = {}
        for place in self._places.values():
            whole[place.dataset.name] = whole.get(place.dataset.name, 0) + 1
        places = [self._places[name] for name in names]
        return sum(place.dataset.id.get_storage_size() // whole[place.dataset.name] for place in places)


def _counts(index: _Place) -> bool:
    """Whether labels of rows are 0, 1, 2 ..."""
    labels = index.of(index.dataset[:])
    return bool(labels.dtype.kind in "iu" and np.array_equal(labels, np.arange(len(labels))))


def _refuse_bombs(dataset: Any, name: str) -> None:
    """Raise UserError for a dataset that says it has far more numbers than its bytes in the file can hold."""
    stored = dataset.id.get_storage_size()
    if dataset.size * dataset.dtype.itemsize > _ALWAYS + _MOST_GROWTH * stored:
        raise UserError(f"{name}: '{dataset.name}' has {dataset.size} values in {stored} bytes: write it without gaps")


def _branch(name: str, place: _Place) -> Branch | None:
    h5py, dtype, shape = _h5py(), place.dtype().base, place.shape()
    inner = h5py.check_vlen_dtype(dtype)
    if (text := h5py.check_string_dtype(dtype)) is not None:
        return Branch(name, "string", jagged=False) if text.length is None and not shape else None
    if inner is not None and not shape:
        return Branch(name, _plain(inner).str, jagged=True) if _is_number(inner) else None
    if not _is_number(dtype) or len(shape) > 1:
        return None
    return Branch(name, _plain(dtype).str + " array" * bool(shape), jagged=False)


def _is_number(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.itemsize <= 8


def _plain(dtype: Any) -> Any:
    """A dtype as a tree holds it."""
    return np.dtype("f4") if dtype == np.float16 else np.dtype(dtype.base.type).newbyteorder("=")


def _values(place: _Place, rows: Any) -> ak.Array:
    values, h5py = place.of(rows), _h5py()
    dtype = place.dtype().base
    if h5py.check_string_dtype(dtype) is not None:
        texts = [text.decode() if isinstance(text, bytes) else text for text in values.tolist()]
        return ak.Array(texts) if texts else ak.Array([""])[:0]
    if (inner := h5py.check_vlen_dtype(dtype)) is not None:
        parts = [np.asarray(part) for part in values]
        flat = np.concatenate(parts) if parts else np.empty(0, inner)
        return ak.unflatten(flat.astype(_plain(inner)), np.array([len(part) for part in parts], np.int64))
    return ak.Array(np.ascontiguousarray(values).astype(_plain(dtype)))


def _facts(found: _Found, events: Hdf5Events) -> TableFacts:
    facts = TableFacts(index=events.label, index_name=found.index_name)
    dtypes = {name: place.dtype().base for name, place in events.places().items() if not place.dtype().hasobject}
    if swapped := [name for name, dtype in dtypes.items() if not dtype.isnative]:
        facts["swapped"] = swapped
    if halves := [name for name, dtype in dtypes.items() if dtype == np.float16]:
        facts["halves"] = halves
    facts["dataset"] = DatasetFacts(key=found.key, layout=found.layout, attributes=_attributes(found))
    return facts


def _attributes(found: _Found) -> dict[str, str | int | float]:
    """The attributes of a table of h5py that are single numbers or texts."""
    every = {name: found.attributes[name] for name in found.attributes or ()}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in every.items()}
    return {name: value for name, value in plain.items() if isinstance(value, str | int | float)}


def _lost(found: _Found) -> list[str]:
    lost = sorted(set(found.attributes or ()) - set(_attributes(found)))
    return [f"attributes of the table are left out: {', '.join(map(ascii, lost))}"] if lost else []


def _left(others: Sequence[str]) -> list[str]:
    return [f"other tables of the file are left out: {some(others)}"] if others else []


# Writing


class _Writer:
    """A table of h5py being written."""

    def __init__(self, file: Any, facts: TableFacts) -> None:
        self._file, self._facts = file, facts
        self._how = facts.get("dataset", DatasetFacts())
        self._rows = 0

    def extend(self, columns: Mapping[str, ak.Array]) -> None:
        """Append rows."""
        table = Table.of(columns, self._facts)
        own = table.columns | ({} if table.index is None else {str(table.index_name or INDEX): table.index})
        values = {name: _for_file(column) for name, column in own.items()}
        stop = self._rows + len(next(iter(own.values()), ()))
        parts = {name: one for name, (one, _) in values.items()}
        for name, (rows, dtype) in self._datasets(parts, {name: dtype for name, (_, dtype) in values.items()}).items():
            dataset = self._dataset(name, dtype, rows.shape[1:])
            dataset.resize(stop, axis=0)
            if len(rows) == 1:
                dataset[self._rows] = rows[0]  # h5py takes an array of one list for a matrix
            else:
                dataset[self._rows : stop] = rows
        self._rows = stop

    def _datasets(
        self, values: Mapping[str, NDArray[Any]], dtypes: Mapping[str, np.dtype[Any]]
    ) -> dict[str, tuple[NDArray[Any], np.dtype[Any]]]:
        """The rows of each dataset by its path, and their dtype."""
        key = self._how.get("key", f"/{_KEY}")
        flat = all(not dtype.hasobject for dtype in dtypes.values())
        if self._how.get("layout", _COMPOUND if flat else _GROUP) == _GROUP:
            return {f"{key.rstrip('/')}/{name}": (values[name], dtypes[name]) for name in values}
        fields = [(name, dtypes[name], values[name].shape[1:]) for name in values]
        rows = np.empty(len(next(iter(values.values()), ())), fields)
        for name, one in values.items():
            rows[name] = one
        return {key: (rows, rows.dtype)}

    def _dataset(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Any:
        if name not in self._file:
            made = self._file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=True)
            key = self._how.get("key", f"/{_KEY}")
            for attribute, value in self._how.get("attributes", {}).items():
                self._file[key].attrs[attribute] = value
            return made
        return self._file[name]


def _for_file(column: TableColumn) -> tuple[Any, Any]:
    """The rows of a column, and the dtype that h5py writes them in."""
    h5py = _h5py()
    if isinstance(column, np.ndarray):
        return column, column.dtype
    if column.layout.parameter("__array__") == "string":
        return np.array(column.to_list(), object), h5py.string_dtype()
    rows = np.empty(len(column), object)
    for number, row in enumerate(column):  # numpy would make one array of lists of one length
        rows[number] = np.asarray(row)
    return rows, h5py.vlen_dtype(ak.to_numpy(ak.flatten(column)).dtype)


def _write_store(path: Path, table: Table, layout: str, key: str) -> None:
    """Have pandas store a DataFrame."""
    optional("tables", "a store of pandas", "hdf5")
    if wrong := [name for name, values in table.columns.items() if not isinstance(values, np.ndarray)]:
        raise UserError(f"{path.name}: a store of pandas can't hold column {wrong[0]!r}: write .parquet")
    how = {"format": "fixed" if layout == "fixed" else "table", "data_columns": True if layout == "columns" else None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that are no words of Python
        # In memory, since PyTables locks a file on disk, as `replacing` does.
        memory = {"driver": "H5FD_CORE", "driver_core_backing_store": 0}
        with optional("pandas", "a store of pandas", "tables").HDFStore(path, "w", **memory) as store:
            store.put(key, frame_of(table), **how)
            path.write_bytes(store._handle.get_file_image())


# npz


class Npz:
    """Files of `numpy.savez`: an array a column, or one of structures. All of it is read at once."""

    suffixes = (".npz",)
    holds = frozenset({"arrays", "texts"})

    @contextmanager
    def open(self, path: Location, stream: BinaryIO) -> Iterator[OpenTable]:
        """Open a file; raises UserError for one without arrays of numbers, DamagedFileError."""
        if not zipfile.is_zipfile(stream):
            kind = DamagedFileError if _begins_as_zip(stream) else UserError
            raise kind(f"{path.name}: {'damaged: its end is missing' if kind is DamagedFileError else 'no npz file'}")
        yield _open_npz(stream, path.name)

    @contextmanager
    def create(self, path: Path, facts: TableFacts, rows: int | None) -> Iterator[TableWriter]:
        """Write a file, all of it at the end."""
        collected = Collected(facts)
        yield collected
        table, how = collected.table(), facts.get("dataset", DatasetFacts())
        arrays = {name: _for_npz(column) for name, column in table.columns.items()}
        if table.index is not None:
            arrays[str(table.index_name or INDEX)] = table.index
        if how.get("layout") == _COMPOUND:
            one = np.empty(len(next(iter(arrays.values()), ())), [(n, a.dtype, a.shape[1:]) for n, a in arrays.items()])
            for name, array in arrays.items():
                one[name] = array
            arrays = {how.get("key", _KEY): one}
        packing = zipfile.ZIP_DEFLATED if how.get("packed") else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", packing) as file:
            for name, array in arrays.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)


def _begins_as_zip(stream: BinaryIO) -> bool:
    stream.seek(0)
    return stream.read(4) in (b"PK\3\4", b"")


def _for_npz(column: TableColumn) -> NDArray[Any]:
    return column if isinstance(column, np.ndarray) else np.array(column.to_list(), np.str_)


def _open_npz(stream: BinaryIO, name: str) -> OpenTable:
    try:
        with zipfile.ZipFile(stream) as file:
            arrays, objects = _arrays(file, name)
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in file.infolist())
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, LookupError, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise DamagedFileError(f"{name}: damaged: not the npz that was written ({line_of(error)})") from None
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(f"{name}: no npz that numpy reads ({line_of(error)})") from None
    how = DatasetFacts(packed=packed)
    if len(arrays) == 1 and (only := next(iter(arrays.values()))).dtype.names and only.ndim == 1:
        how |= {"layout": _COMPOUND, "key": next(iter(arrays))}
        arrays = {field: only[field].copy() for field in only.dtype.names}
    lengths = [len(array) for array in arrays.values() if array.ndim]
    rows = max(set(lengths), key=lengths.count, default=0)
    columns, unwritable = dict[str, TableColumn](), [Unwritable(one, "holds objects of Python") for one in objects]
    for one, array in arrays.items():
        if array.ndim in (1, 2) and len(array) == rows and (_is_number(array.dtype) or _is_text(array)):
            columns[one] = ak.Array(array.tolist()) if _is_text(array) and rows else array
        else:
            unwritable.append(Unwritable(one, f"is an array of {array.dtype} of shape {array.shape}"))
    table = Table(columns)
    events = ArrayEvents(table.written)
    events.unwritable = unwritable
    return OpenTable(events, table.facts | {"dataset": how})


def _is_text(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "U" and array.ndim == 1


def _arrays(file: zipfile.ZipFile, name: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The arrays in a file by name, and the names of those that are pickled."""
    arrays, objects = dict[str, NDArray[Any]](), list[str]()
    names = [info.filename.removesuffix(".npy") for info in file.infolist()]
    refuse_twice(names, name)
    for info, own in zip(file.infolist(), names, strict=True):
        if info.file_size > _ALWAYS + _MOST_GROWTH * info.compress_size:
            raise ValueError(f"'{info.filename}' has {info.file_size} bytes in {info.compress_size}")
        with file.open(info) as member:
            header = member.read(min(info.file_size, 1 << 16))
        shape, dtype, offset = _header(header)
        if dtype.hasobject:
            objects.append(own)
            continue
        if offset + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"'{info.filename}' has {info.file_size} bytes for {shape} of {dtype}")
        with file.open(info) as member:
            arrays[own] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays, objects


def _header(data: bytes) -> tuple[tuple[int, ...], Any, int]:
    """Shape, dtype and size of what is in front of an array."""
    stream = io.BytesIO(data)
    major, _ = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype, stream.tell()
