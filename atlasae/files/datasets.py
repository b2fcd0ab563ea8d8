"""Arrays of numpy in files: HDF5, of h5py and of pandas, and npz."""

import base64
import io
import math
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
    Name,
    OpenTable,
    Table,
    TableColumn,
    TableFacts,
    TableWriter,
    as_texts,
    is_text,
)
from atlasae.files.pickles import BROKEN, Bounded, Recorder, RefusedError, refuse_twice, walk
from atlasae.files.remote import Location
from atlasae.report import line_of, some

_KEY = "jets"  # of a table that was in no HDF5 file
_PANDAS = ("frame", "frame_table")  # what pandas notes of its stores, fixed and table
_COMPOUND = "compound"  # layout of an npz that holds one array of structures
_MOST_GROWTH = 1100  # bytes of numbers that a packed byte may hold: deflate does not exceed it
_ALWAYS = 1 << 26  # bytes of numbers that may be there in any case
_ELSE = "write .parquet"
_ROWS = 1 << 20  # of labels read at once
_MOST_OUTLINE = 1 << 26  # bytes of an outline
_MOST_BESIDE = 1 << 20  # bytes of all that is in a file beside a table, and of its groups and attributes when packed


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
    """A table in an HDF5 file; `needed` is the group without all of which pandas can't read it."""

    key: str
    rows: int
    places: dict[str, _Place]
    index: _Place | None = None
    index_name: Name | None = None
    needed: str | None = None

    def is_of_jets(self) -> bool:
        """Whether a column is called like a transverse momentum."""
        return any("pt" in name.lower() or "px" in name.lower() for name in self.places)


class Hdf5:
    """HDF5 files: datasets of structures, a group of datasets of one length, or a store of pandas, fixed or table.

    A file may hold several tables; the longest of those with jets is read. All else comes back with it: attributes,
    types, chunks and filters, and whatever is beside the table, if that is small.
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
                found = _choose(file, path.name)
                events = Hdf5Events(found, path.name)
                how, left = _outline(file, found, events)
                facts = _facts(found, events) | {"dataset": how}
                own = {place.dataset.name for place in found.places.values()}
                lost = [name for name in left if name in own or name.startswith(f"{found.needed}/")]
                events.unwritable += [Unwritable(name, "holds more than fits beside the jets") for name in lost]
                opened = OpenTable(events, facts, _left([name for name in left if name not in lost]))
            yield opened

    @contextmanager
    def create(self, path: Path, facts: TableFacts, rows: int | None) -> Iterator[TableWriter]:
        """Write a file piece by piece, if it is known how many rows there will be."""
        outline = facts.get("dataset", DatasetFacts()).get("outline")
        if outline is None:
            with _h5py().File(path, "w", locking=False) as file:
                yield _Writer(file, facts)
            return
        collected = Collected(facts) if rows is None else None
        with _damage("the outline of the table"):
            path.write_bytes(zlib.decompressobj().decompress(base64.b85decode(outline), _MOST_OUTLINE))
            file = _h5py().File(path, "r+", locking=False)
        with file:
            if collected is None:
                yield _Filler(file, facts, rows or 0)
                return
            yield collected
            table = collected.table()
            count = len(next(iter(table.written.values()), ()))
            _Filler(file, facts, count).extend({name: ak.Array(one) for name, one in table.written.items()})


@contextmanager
def _damage(file: str) -> Iterator[None]:
    """Turn errors of h5py on changed bytes into DamagedFileError."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, AttributeError, zlib.error) as error:
        if getattr(error, "errno", None):  # an error of the machine, not damage
            raise
        raise DamagedFileError(f"{file}: damaged: HDF5 can't read it ({line_of(error)})") from None


# Finding tables


def _choose(file: Any, name: str) -> _Found:
    """The table to read."""
    found = list(_tables(file))
    if not found:
        kinds = "a dataset of structures, a group of datasets of one length, or a DataFrame of pandas"
        raise UserError(f"{name}: holds no table: {kinds} is one")
    return max(found, key=lambda one: (one.is_of_jets(), one.rows))


def _tables(file: Any) -> Iterator[_Found]:
    groups, stores = [file], list[str]()
    file.visititems(lambda _, thing: groups.append(thing) if isinstance(thing, _h5py().Group) else None)
    for group in groups:
        if any(group.name.startswith(f"{store}/") for store in stores):
            continue
        if (kind := _text(group.attrs.get("pandas_type"))) in _PANDAS:
            stores.append(group.name)
            yield _fixed(group) if kind == "frame" else _table(group)
            continue
        yield from _of_h5py(group)


def _of_h5py(group: Any) -> Iterator[_Found]:
    """The datasets of structures in a group with those of their length, or else all datasets of one length."""
    datasets = _datasets(group)
    plain = {name: one for name, one in datasets.items() if one.dtype.names is None}
    for own, one in datasets.items():
        if one.dtype.names is not None and one.ndim == 1:
            places = {field: _Place(one, field) for field in one.dtype.names}
            beside = {name: other for name, other in datasets.items() if len(other) == len(one) and name != own}
            places |= {name: place for name, place in _columns(beside).items() if name not in places}
            yield _Found(one.name, len(one), places)
    lengths = [len(one) for one in plain.values()]
    rows = max(set(lengths), key=lengths.count, default=0)
    columns = _columns({name: one for name, one in plain.items() if len(one) == rows})
    if len(columns) > 1:
        yield _Found(group.name, rows, columns)


def _datasets(group: Any) -> dict[str, Any]:
    """The datasets of a group that have rows; not those that links lead to, or that lie outside of the file."""
    h5py = _h5py()
    names = [name for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)]
    found = {name: group[name] for name in names if isinstance(group[name], h5py.Dataset)}
    return {name: one for name, one in found.items() if one.shape and not (one.external or one.is_virtual)}


def _columns(datasets: Mapping[str, Any]) -> dict[str, _Place]:
    """The columns of datasets of one length; fields of structures are called as in `tracks.d0`."""
    places = {name: _Place(one) for name, one in datasets.items() if one.dtype.names is None}
    return places | {
        f"{name}.{field}": _Place(one, field) for name, one in datasets.items() for field in one.dtype.names or ()
    }


def _fixed(group: Any) -> _Found:
    """A DataFrame that pandas stored as fixed: all arrays of numbers that have its rows."""
    datasets = _datasets(group)
    index = datasets.get("axis1", datasets.get("axis1_label0"))
    rows, places = 0 if index is None else len(index), dict[str, _Place]()
    own = [name for name, one in datasets.items() if len(one) == rows and name.startswith(("block", "axis1_label"))]
    for name in own:
        values, items = datasets[name], group.get(name.replace("_values", "_items"))
        known = (
            items[:].tolist() if isinstance(items, _h5py().Dataset) and values.ndim == 2 and name != items.name else []
        )
        if len(known) == values.shape[-1] and items.name != values.name:
            places |= {_text(label): _Place(values, item=item) for item, label in enumerate(known)}
        elif not values.dtype.hasobject:
            places[name] = _Place(values)
    order = [_text(label) for label in datasets["axis0"][:].tolist()] if "axis0" in datasets else []
    places = {name: places[name] for name in sorted(places, key=lambda n: order.index(n) if n in order else len(order))}
    single = None if index is None or index.name.endswith("label0") else _Place(index)
    called = _pickled(single.dataset.attrs.get("name")) if single else None
    return _Found(group.name, rows, places, single, _label_name(called), needed=group.name)


def _label_name(name: Any) -> Name | None:
    return name if isinstance(name, str | int | float) else None


def _table(group: Any) -> _Found:
    """A DataFrame that pandas stored as a table, whose first field has the labels of rows."""
    table, places = group["table"], dict[str, _Place]()
    first, *fields = table.dtype.names
    for field in fields:
        names, shape = _pickled(table.attrs.get(f"{field}_kind")), table.dtype[field].shape
        known = [str(name) for name in names] if isinstance(names, list) else []
        if shape and shape != (len(known),):
            raise ValueError(f"'{field}' of shape {shape} for {len(known)} columns")
        places |= {name: _Place(table, field, item if shape else None) for item, name in enumerate(known or [field])}
    axes = _pickled(group.attrs.get("non_index_axes"))
    order = [str(name) for name in axes[0][1]] if isinstance(axes, list) and axes else []
    places = {name: places[name] for name in sorted(places, key=lambda n: order.index(n) if n in order else -1)}
    info = _pickled(group.attrs.get("info"))
    called = info.get("index", {}).get("index_name") if isinstance(info, dict) else None
    return _Found(group.name, len(table), places, _Place(table, first), _label_name(called), needed=group.name)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _pickled(value: Any) -> Any:
    """What an attribute of PyTables says, which is pickled unless it is a text or a number; no code of it runs.

    None for what would need code.
    """
    if not isinstance(value, bytes):
        return value
    if not value.endswith(b"."):
        return value.decode()
    try:
        walk(Bounded(io.BytesIO(value)))
        return Recorder(Bounded(io.BytesIO(value)), {}).record()
    except RefusedError:
        return None
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
        self.label: str | None = None
        refuse_twice(list(found.places), name)
        places = [*found.places.values(), *([found.index] if found.index else [])]
        for dataset in {place.dataset.name: place.dataset for place in places}.values():
            _refuse_bombs(dataset, name)
            _refuse_unpackable(dataset, name)
        if found.index is not None and not _counts(found.index):
            self.label = INDEX
            while self.label in self._places:
                self.label += "_"
            self._places[self.label] = found.index
        for column, place in self._places.items():
            if branch := _branch(column, place):
                self.branches.append(branch)
            elif place.field or place.dataset.id.get_storage_size() > _MOST_BESIDE:
                self.unwritable.append(Unwritable(column, f"holds no numbers, nor lists of them, but {place.dtype()}"))

    def places(self) -> dict[str, _Place]:
        """Where the columns are that can be read."""
        return {branch.name: self._places[branch.name] for branch in self.branches}

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these columns for rows [start, stop); raises UserError for texts in no UTF-8, DamagedFileError."""
        rows: dict[str, NDArray[Any]] = {}
        with _damage(self._name):
            for name in names:
                dataset = self._places[name].dataset
                if dataset.name not in rows:
                    places = [self._places[n] for n in names if self._places[n].dataset.name == dataset.name]
                    rows[dataset.name] = _rows(dataset, places, start, stop)
            try:
                return {name: _values(self._places[name], rows[self._places[name].dataset.name]) for name in names}
            except UnicodeDecodeError:
                raise UserError(f"{self._name}: texts among {some(names)} are no UTF-8: leave them out") from None

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


def _rows(dataset: Any, places: Sequence[_Place], start: int, stop: int) -> NDArray[Any]:
    """Rows of a dataset, or fields of them."""
    if not dataset.dtype.hasobject and any(place.dtype().base.kind == "S" for place in places):
        rows = np.empty((stop - start, *dataset.shape[1:]), dataset.dtype)
        _transfer(dataset, start, rows, dataset.id.read)  # as bytes: HDF5 would cut a text at a NUL
        return rows
    fields = list(dict.fromkeys(place.field for place in places))
    found: NDArray[Any] = (dataset if fields == [None] else dataset.fields(fields))[start:stop]
    return found


def _transfer(dataset: Any, start: int, rows: NDArray[Any], how: Any) -> None:
    """Read or write rows as the bytes that they are in the file."""
    if rows.size:
        space = dataset.id.get_space()
        space.select_hyperslab((start, *(0,) * (rows.ndim - 1)), rows.shape)
        how(_h5py().h5s.create_simple(rows.shape), space, rows, dataset.id.get_type())


def _counts(index: _Place) -> bool:
    """Whether labels of rows are 0, 1, 2 ..."""
    dtype, rows = index.dtype(), len(index.dataset)
    part = index.dataset if index.field is None else index.dataset.fields(index.field)
    return dtype.kind in "iu" and all(
        np.array_equal(part[start : start + _ROWS], np.arange(start, min(start + _ROWS, rows)))
        for start in range(0, rows, _ROWS)
    )


def _refuse_bombs(dataset: Any, name: str) -> None:
    """Raise UserError for a dataset that says it has far more numbers than its bytes in the file can hold."""
    stored = dataset.id.get_storage_size()
    if dataset.size * dataset.dtype.itemsize > _ALWAYS + _MOST_GROWTH * stored:
        raise UserError(f"{name}: '{dataset.name}' has {dataset.size} values in {stored} bytes: write it without gaps")


def _refuse_unpackable(dataset: Any, name: str) -> None:
    """Raise UserError for a dataset that is packed by a filter that this HDF5 lacks."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
    lacking = [_text(one[3]) or str(one[0]) for one in filters if not _h5py().h5z.filter_avail(one[0])]
    if lacking:
        how = "import hdf5plugin, or pack it by zlib"
        raise UserError(f"{name}: '{dataset.name}' is packed by {lacking[0]}, which h5py lacks: {how}")


def _branch(name: str, place: _Place) -> Branch | None:
    h5py, dtype, shape = _h5py(), place.dtype().base, place.shape()
    inner = h5py.check_vlen_dtype(dtype)
    if h5py.check_string_dtype(dtype) is not None:
        return None if shape else Branch(name, "string", jagged=False)
    if inner is not None and not shape:
        return Branch(name, _plain(inner).str, jagged=True) if _is_number(inner) else None
    if not _is_number(dtype) or math.prod(shape) == 0:
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
        return as_texts([text.decode() if isinstance(text, bytes) else text for text in values.tolist()])
    if (inner := h5py.check_vlen_dtype(dtype)) is not None:
        parts = [np.asarray(part) for part in values]
        flat = np.concatenate(parts) if parts else np.empty(0, inner)
        return ak.unflatten(flat.astype(_plain(inner)), np.array([len(part) for part in parts], np.int64))
    values = np.ascontiguousarray(values).astype(_plain(dtype))
    return ak.Array(values.reshape(len(values), math.prod(place.shape())) if place.shape() else values)


def _facts(found: _Found, events: Hdf5Events) -> TableFacts:
    facts = TableFacts(index=events.label, index_name=found.index_name)
    dtypes = {name: place.dtype().base for name, place in events.places().items() if not place.dtype().hasobject}
    if halves := [name for name, dtype in dtypes.items() if dtype == np.float16]:
        facts["halves"] = halves
    return facts


def _left(names: Sequence[str]) -> tuple[str, ...]:
    return (f"left out, as too large to be kept beside the table, or references: {some(names)}",) if names else ()


# The outline of a file: all but the rows of its table


def _outline(file: Any, found: _Found, events: Hdf5Events) -> tuple[DatasetFacts, list[str]]:
    """What tells how the file is made again, and what is left out of that."""
    columns: dict[str, dict[str, dict[str, int | None]]] = {}
    for name, place in events.places().items():
        columns.setdefault(place.dataset.name, {}).setdefault(place.field or "", {})[name] = place.item
    data, left, memory = set(columns), list[str](), io.BytesIO()
    how = DatasetFacts(key=found.key, columns=columns)
    if found.index is not None and events.label is None:
        data.add(found.index.dataset.name)
        how["counted"] = (found.index.dataset.name, found.index.field or "")
    with _h5py().File(memory, "w", track_order=_is_ordered(file)) as copy:
        _Outline(data, left, file.id.get_filesize()).add(file, copy)
    how["outline"] = base64.b85encode(zlib.compress(memory.getvalue(), 9)).decode()
    if len(how["outline"]) > _MOST_BESIDE:
        return DatasetFacts(key=found.key), [f"{found.needed or ''}/groups and attributes"]
    return how, left


def _is_ordered(group: Any) -> bool:
    """Whether things in a group are in the order in which they were made."""
    return bool(group.id.get_create_plist().get_link_creation_order())


class _Outline:
    """A copy of an HDF5 file in which the datasets of a table are empty, without what is too large."""

    def __init__(self, data: set[str], left: list[str], size: int) -> None:
        self._data, self._left, self._size = data, left, size
        self._room, self._groups = _MOST_BESIDE, set[Any]()

    def add(self, group: Any, target: Any) -> None:
        """Copy a group and all that is in it."""
        h5py = _h5py()
        self._groups.add(group.id)
        self._left += copy_attributes(group, target)
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                target[name] = link
            elif isinstance(thing := group[name], h5py.Group):
                self._add_group(thing, target, name)
            elif thing.name in self._data:
                self._left += copy_attributes(thing, _emptied(thing, target, name))
            elif self._fits(thing):
                h5py.h5o.copy(group.id, name.encode(), target.id, name.encode())
            else:
                self._left.append(thing.name)

    def _add_group(self, group: Any, target: Any, name: str) -> None:
        if group.id in self._groups:  # it is in itself
            self._left.append(group.name)
        elif _text(group.attrs.get("CLASS")) == "TINDEX":
            return  # pandas' index of a table, by which queries are faster
        else:
            self.add(group, target.create_group(name, track_order=_is_ordered(group)))

    def _fits(self, thing: Any) -> bool:
        """Whether there is room for a thing; of lists and texts, HDF5 tells no size."""
        size = thing.id.get_storage_size() if isinstance(thing, _h5py().Dataset) else 0
        if size and thing.dtype.hasobject:
            size = sum(map(len, np.ravel(thing[()]))) if self._size < _ALWAYS else self._size
        fits = size <= self._room
        self._room -= size if fits else 0
        return bool(fits)


def _emptied(dataset: Any, target: Any, name: str) -> Any:
    """A dataset of the same type, shape and filters without values."""
    h5py = _h5py()
    how = dataset.id.get_create_plist()
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_DEFAULT)
    how.set_obj_track_times(False)  # so that the outlines of equal files are equal
    made = h5py.h5d.create(target.id, name.encode(), dataset.id.get_type().copy(), dataset.id.get_space(), how)
    return h5py.Dataset(made)


def copy_attributes(source: Any, target: Any) -> list[str]:
    """Copy the attributes of an object of HDF5 with their types; returns those that can't be copied: references."""
    h5py, left = _h5py(), list[str]()
    for number in range(h5py.h5a.get_num_attrs(source.id)):
        known = h5py.h5a.open(source.id, index=number)
        try:
            kind, space = known.get_type().copy(), known.get_space()
            if _refers(known.dtype):
                raise TypeError("a reference")
            made = h5py.h5a.create(target.id, known.name, kind, space)
            if space.get_simple_extent_type() != h5py.h5s.NULL:
                # As bytes where that is possible: HDF5 would cut a text that fills its place.
                values = np.empty(known.shape, known.dtype if known.dtype.hasobject else f"V{kind.get_size()}")
                as_bytes = None if known.dtype.hasobject else kind
                known.read(values, as_bytes)
                made.write(values, as_bytes)
        except (TypeError, ValueError, OSError):
            left.append(f"{source.name}.{_text(known.name)}")
    return left


def _refers(dtype: Any) -> bool:
    """Whether values of a dtype are references to other objects of their file, as those of dimension scales."""
    h5py = _h5py()
    if not isinstance(dtype, np.dtype):
        return False
    inner = [h5py.check_vlen_dtype(dtype), *(dtype[name] for name in dtype.names or ())]
    return h5py.check_ref_dtype(dtype) is not None or any(map(_refers, inner))


# Writing


class _Filler:
    """A table being written into the outline of its file."""

    def __init__(self, file: Any, facts: TableFacts, rows: int) -> None:
        self._facts, self._how, self._at = facts, facts["dataset"], 0
        with _damage("the outline of the table"):
            counted = [self._how["counted"][0]] if "counted" in self._how else []
            self._columns = self._how["columns"]
            self._datasets = {path: _resized(file, path, rows) for path in {*self._columns, *counted}}

    def extend(self, columns: Mapping[str, ak.Array]) -> None:
        """Append rows; raises UserError where columns of a store of pandas were left out."""
        table = Table.of(columns, self._facts)
        own = table.columns | ({} if table.index is None else {str(self._facts["index"]): table.index})
        stop = self._at + len(next(iter(own.values()), ()))
        with _damage("the outline of the table"):
            if not self._at:
                self._leave_out(own)
            for path, dataset in self._datasets.items():
                _put(dataset, self._at, self._rows(path, dataset, own, range(self._at, stop)))
        self._at = stop

    def _leave_out(self, own: Mapping[str, TableColumn]) -> None:
        """Remove the datasets and fields of columns that were left out."""
        for path, dataset in list(self._datasets.items()):
            fields, counted = self._columns.get(path, {}), self._how.get("counted", ("", ""))
            kept = {field for field, items in fields.items() if set(items) <= set(own)}
            kept |= {counted[1]} if counted[0] == path else set()
            lacking = [field for field in dataset.dtype.names or ("",) if field not in kept]
            if lacking and "CLASS" in dataset.attrs:
                raise UserError(f"a store of pandas comes back with all columns, of which some were left out: {_ELSE}")
            if lacking and not kept:
                del dataset.parent[dataset.name], self._datasets[path]
            elif lacking:
                dtype = np.dtype([(field, dataset.dtype[field]) for field in dataset.dtype.names if field in kept])
                kind = _h5py().h5t.py_create(dtype, logical=True)
                self._datasets[path] = _made_again(dataset, len(dataset), kind)
        self._columns = {
            path: {field: items for field, items in fields.items() if set(items) <= set(own)}
            for path, fields in self._columns.items()
        }

    def _rows(self, path: str, dataset: Any, own: Mapping[str, TableColumn], numbers: range) -> Any:
        """Some rows of a dataset."""
        counted = self._how.get("counted", ("", ""))
        counts = {counted[1]: np.array(numbers)} if counted[0] == path else {}
        fields = self._columns.get(path, {})
        values = {field: _stacked(items, own) for field, items in fields.items()} | counts
        if "" in values:
            return _as_stored(values[""], dataset.dtype, dataset.shape[1:])
        rows = np.zeros((len(numbers), *dataset.shape[1:]), dataset.dtype)
        for field, one in values.items():
            dtype = dataset.dtype[field]
            rows[field] = _as_stored(one, dtype.base, (*dataset.shape[1:], *dtype.shape))
        return rows


def _stacked(items: Mapping[str, int | None], own: Mapping[str, TableColumn]) -> Any:
    """The values of a dataset, or of one of its fields: those of a column, or one beside the other."""
    if None in items.values():
        (name,) = items
        return _whole(own[name])
    return np.stack([_whole(own[name]) for name in sorted(items, key=lambda name: items[name] or 0)], axis=1)


def _whole(column: Any) -> Any:
    """A column with texts as objects, since numpy's own lose NUL at their ends."""
    return np.array(column.to_list(), object) if is_text(column) else column


def _as_stored(values: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    """The values of some rows in the dtype of their dataset."""
    h5py = _h5py()
    if (text := h5py.check_string_dtype(dtype)) is not None:
        made = np.empty(values.shape, dtype if text.length else object)
        made.reshape(-1)[:] = [one.encode() for one in values.reshape(-1)]
        return made
    if h5py.check_vlen_dtype(dtype) is not None:
        return _lists(values)
    return np.asarray(values).astype(dtype).reshape(len(values), *shape)


def _resized(file: Any, path: str, rows: int) -> Any:
    """A dataset of the outline with so many rows; raises ValueError for one outside of the file."""
    h5py, group = _h5py(), file
    *folders, name = path.strip("/").split("/")
    for part in (*folders, name):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"'{path}' is not in the file")
        group = group[part]
    dataset = group
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"'{path}' is not in the file")
    if "NROWS" in dataset.attrs:
        dataset.attrs.modify("NROWS", rows)
    if len(dataset) == rows:
        return dataset
    if dataset.chunks and dataset.maxshape[0] is None:
        dataset.resize(rows, axis=0)
        return dataset
    return _made_again(dataset, rows, dataset.id.get_type())


def _made_again(dataset: Any, rows: int, kind: Any) -> Any:
    """A dataset in the place of another one, with other rows or another type."""
    h5py, parent, name = _h5py(), dataset.parent, dataset.name.rpartition("/")[2]
    how, shape = dataset.id.get_create_plist(), (rows, *dataset.shape[1:])
    if how.get_layout() == h5py.h5d.COMPACT:
        how.set_layout(h5py.h5d.CONTIGUOUS)
    del parent[name]
    made = h5py.Dataset(h5py.h5d.create(parent.id, name.encode(), kind, h5py.h5s.create_simple(shape), how))
    copy_attributes(dataset, made)
    return made


def _put(dataset: Any, start: int, rows: Any) -> None:
    """Write rows from a number on."""
    if len(rows) == 1 and dataset.dtype.hasobject:
        dataset[start] = rows[0]  # h5py takes an array of one list for a matrix
    elif dataset.dtype.hasobject or dataset.id.get_type().get_size() != rows.dtype.itemsize:
        dataset[start : start + len(rows)] = rows
    else:  # HDF5 would cut a text that fills its place
        _transfer(dataset, start, np.ascontiguousarray(rows), dataset.id.write)


class _Writer:
    """A table being written into an HDF5 file of its own: a dataset of structures, or with lists a dataset a column."""

    def __init__(self, file: Any, facts: TableFacts) -> None:
        self._file, self._facts = file, facts
        self._key = facts.get("dataset", DatasetFacts()).get("key", f"/{_KEY}")
        self._rows = 0

    def extend(self, columns: Mapping[str, ak.Array]) -> None:
        """Append rows."""
        table = Table.of(columns, self._facts)
        own = table.columns | ({} if table.index is None else {str(table.index_name or INDEX): table.index})
        values = {name: _for_file(column, name) for name, column in own.items()}
        stop = self._rows + len(next(iter(own.values()), ()))
        parts = {name: one for name, (one, _) in values.items()}
        for name, (rows, dtype) in self._datasets(parts, {name: dtype for name, (_, dtype) in values.items()}).items():
            dataset = self._dataset(name, dtype, rows.shape[1:])
            dataset.resize(stop, axis=0)
            _put(dataset, self._rows, rows)
        self._rows = stop

    def _datasets(
        self, values: Mapping[str, NDArray[Any]], dtypes: Mapping[str, np.dtype[Any]]
    ) -> dict[str, tuple[NDArray[Any], np.dtype[Any]]]:
        """The rows of each dataset by its path, and their dtype."""
        if any(dtype.hasobject for dtype in dtypes.values()):
            return {f"{self._key.rstrip('/')}/{name}": (values[name], dtypes[name]) for name in values}
        fields = [(name, dtypes[name], values[name].shape[1:]) for name in values]
        rows = np.empty(len(next(iter(values.values()), ())), fields)
        for name, one in values.items():
            rows[name] = one
        return {self._key: (rows, rows.dtype)}

    def _dataset(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Any:
        if name not in self._file:
            return self._file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=True)
        return self._file[name]


def _for_file(column: TableColumn, name: str) -> tuple[Any, Any]:
    """The rows of a column, and the dtype that h5py writes them in; raises UserError for texts with NUL."""
    h5py = _h5py()
    if isinstance(column, np.ndarray):
        return column, column.dtype
    if is_text(column):
        return np.array(_without_nul(column, name, "HDF5"), object), h5py.string_dtype()
    return _lists(column), h5py.vlen_dtype(ak.to_numpy(ak.flatten(column)).dtype)


def _lists(column: ak.Array) -> NDArray[Any]:
    """Lists as an array of arrays."""
    rows = np.empty(len(column), object)
    for number, row in enumerate(column):  # numpy would make one array of lists of one length
        rows[number] = np.asarray(row)
    return rows


def _without_nul(column: ak.Array, name: str, format_name: str) -> list[str]:
    """The texts of a column; raises UserError where one has the character that ends texts in files of this format."""
    texts: list[str] = column.to_list()
    if any("\0" in text for text in texts):
        raise UserError(f"column {name!r} has a text with the character NUL, which {format_name} cuts: write .parquet")
    return texts


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
        arrays = {name: _for_npz(column, name) for name, column in table.columns.items()}
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


def _for_npz(column: TableColumn, name: str) -> NDArray[Any]:
    return column if isinstance(column, np.ndarray) else np.array(_without_nul(column, name, "npz"), np.str_)


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
