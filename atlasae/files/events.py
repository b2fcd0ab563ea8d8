"""Events: columns of a tree or a table, and conversions between jets and events."""

from __future__ import annotations  # `atlasae info` does without awkward

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypedDict

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.errors import DamagedFileError
from atlasae.files.branches import Branch, Unwritable
from atlasae.report import line_of

Array = npt.NDArray[np.generic]
Counts = npt.NDArray[np.int64]
TableColumn: TypeAlias = "npt.NDArray[Any] | ak.Array"  # of a table; lists and texts are awkward
Name: TypeAlias = str | int | float
INDEX = "index"  # name of the column that is written for a table's row labels


class Events(Protocol):
    """Branches that are read by ranges of entries: a tree, or a table in memory."""

    entries: int

    @property
    def branches(self) -> list[Branch]:
        """The branches that can be carried."""
        ...

    @property
    def unwritable(self) -> list[Unwritable]:
        """The branches that can't be carried, with reasons."""
        ...

    @property
    def members(self) -> list[Branch]:
        """What can be read like branches, but only copying keeps as it is: numbers in structures."""
        ...

    @property
    def full_names(self) -> dict[str, str]:
        """Names that tell more than those of the branches: with what is above these."""
        ...

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these branches for events [start, stop)."""
        ...

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Uncompressed bytes per entry of these branches."""
        ...

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Bytes that these branches take in their file."""
        ...


class CsvFacts(TypedDict, total=False):
    """How a CSV file is written: what separates its columns, what ends its lines, and how numbers are, by column.

    `missing` has the words for missing numbers, by column, where cells are not empty.
    """

    separator: str
    ending: str
    numbers: dict[str, str]
    missing: dict[str, str]


class Categories(TypedDict):
    """What a column of categories may hold, in order: values of this dtype and kind, as of a column."""

    values: list[Any]
    dtype: str
    kind: str
    ordered: bool


class DatasetFacts(TypedDict, total=False):
    """Where in a file of arrays a table is, how it lies there, and whether an npz is packed.

    `outline` is an HDF5 file without the rows, packed; `columns` are the names of columns by dataset, field (empty for
    a dataset without) and number in a row; `counted` are dataset and field of labels that are 0, 1, 2 ...
    """

    key: str
    layout: str
    packed: bool
    outline: str
    columns: dict[str, dict[str, dict[str, int | None]]]
    counted: tuple[str, str]


class TableFacts(TypedDict, total=False):
    """What of a table is neither its columns nor the labels of its rows, which are in the column `index`, if any.

    `swapped` names the columns of the other byte order, `halves` those of float16, which are float32 here; `places` are
    the paths of members of records, `missing` the columns that tell which lists of others are missing, by the name of
    these. `schema` is Arrow's, for a parquet file that pandas did not make, packed, and
    `codec` what its pages are compressed with. The rest is as `Table` has it.
    """

    index: str | None
    index_name: Name | None
    ranged: bool
    names: dict[str, Name]
    texts: str
    nulls: list[str]
    swapped: list[str]
    heading: Name
    halves: list[str]
    objects: dict[str, str]
    categories: dict[str, Categories]
    levels: dict[str, Name | None]
    attributes: dict[str, Any]
    places: dict[str, str]
    missing: dict[str, str]
    schema: str
    codec: str
    csv: CsvFacts
    dataset: DatasetFacts


@dataclass(frozen=True)
class Table:
    """Columns of one length.

    `columns` maps names to arrays in the file's order, with the dtypes as stored (bool, integers, float16/32/64), or to
    awkward arrays of lists; `index` holds the row labels, None for 0..n-1, `ranged` if they are a RangeIndex; `skipped`
    names the columns left out because they hold no numbers. `names` maps names to labels that are not strings,
    `heading` is the name of the column index, `texts` its pandas type if not object; `nulls` names the columns of
    floats in which NaN stands for null. `objects` are the columns that numpy has no dtype for, with what they were:
    `number`, `text`, `list` or `array` for Python's objects, else the dtype of pandas, as in `string[python]` or
    `datetime64[us]`, which is int64 here; behind `json ` or alone, values are JSON. `categories` tells of those of
    dtype `category`, `levels` are columns that are labels of rows, with their names there, `attributes` is pandas'
    attrs; `notes` says what is not kept.
    """

    columns: dict[str, TableColumn]
    index: npt.NDArray[Any] | None = None
    index_name: Name | None = None
    skipped: tuple[str, ...] = ()
    ranged: bool = False
    names: dict[str, Name] = field(default_factory=dict)
    heading: Name | None = None
    texts: str | None = None
    nulls: tuple[str, ...] = ()
    objects: dict[str, str] = field(default_factory=dict)
    categories: dict[str, Categories] = field(default_factory=dict)
    levels: dict[str, Name | None] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> TableFacts:
        """All but the columns; the labels of rows are the column `index`."""
        facts = TableFacts(index=None, index_name=self.index_name)
        if self.index is not None:
            facts["index"] = self._label()
        if self.ranged and self.index is not None:
            facts["ranged"] = True
        if self.heading is not None:
            facts["heading"] = self.heading
        for key in ("names", "texts", "objects", "categories", "levels", "attributes"):
            if getattr(self, key):
                facts[key] = getattr(self, key)
        found = {name: values.dtype for name, values in self._all().items() if isinstance(values, np.ndarray)}
        lists = {
            "nulls": list(self.nulls),
            "swapped": [name for name, dtype in found.items() if not dtype.isnative],
            "halves": [name for name, dtype in found.items() if dtype == np.float16],
        }
        facts.update({key: names for key, names in lists.items() if names})  # type: ignore[typeddict-item]
        return facts

    @property
    def written(self) -> dict[str, TableColumn]:
        """The columns as a tree holds them: of this machine's byte order, float16 as float32, row labels at the end."""
        return {name: _written(values) for name, values in self._all().items()}

    @classmethod
    def of(cls, columns: Mapping[str, TableColumn], facts: TableFacts) -> Table:
        """The table of columns as a tree holds them."""
        found = {name: _numpy(values) for name, values in columns.items()}
        for name in found.keys() & set(facts.get("halves", ())):
            found[name] = halved(found[name])
        for name in found.keys() & set(facts.get("swapped", ())):
            found[name] = found[name].astype(found[name].dtype.newbyteorder())
        return cls(
            found,
            index=found.pop(label, None) if (label := facts.get("index")) else None,  # None if it was dropped
            index_name=facts.get("index_name"),
            ranged=facts.get("ranged", False),
            names=facts.get("names", {}),
            heading=facts.get("heading"),
            texts=facts.get("texts"),
            nulls=tuple(facts.get("nulls", ())),
            objects={name: kind for name, kind in facts.get("objects", {}).items() if name in found},
            categories=facts.get("categories", {}),
            levels=facts.get("levels", {}),
            attributes=facts.get("attributes", {}),
        )

    def _label(self) -> str:
        name = INDEX
        while name in self.columns:
            name += "_"
        return name

    def _all(self) -> dict[str, TableColumn]:
        return self.columns if self.index is None else self.columns | {self._label(): self.index}


def _written(values: TableColumn) -> TableColumn:
    if isinstance(values, ak.Array):
        return values
    return values.astype(np.float32 if values.dtype == np.float16 else values.dtype.newbyteorder("="))


def halved(values: Any) -> Any:
    """Numbers as float16: the nearest ones, and the largest for finite numbers beyond, which would be infinite."""
    largest = np.finfo(np.float16).max
    kept = np.where(np.isfinite(values), np.clip(values, -largest, largest), values)
    return kept.astype(np.float16)


def _numpy(values: TableColumn) -> TableColumn:
    """A column as an array of numpy, unless it is of lists or texts."""
    if isinstance(values, ak.Array) and not is_text(values):
        return ak.to_numpy(values) if values.layout.is_numpy or values.layout.is_regular else values
    return values


def json_texts(rows: Iterable[Any]) -> ak.Array:
    """Texts, each of which is a row as JSON."""
    return as_texts([json.dumps(row) for row in rows])


def rows_of_json(texts: Iterable[str]) -> list[Any]:
    """The rows that texts are of; raises DamagedFileError for what is no JSON."""
    try:
        return [json.loads(text) for text in texts]
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"a column is damaged: no JSON ({line_of(error)})") from None


def as_texts(texts: Sequence[str]) -> ak.Array:
    """A column of texts."""
    return ak.Array(texts) if texts else ak.Array([""])[:0]


def is_text(values: TableColumn) -> bool:
    """Whether a column is of texts."""
    return isinstance(values, ak.Array) and values.layout.parameter("__array__") == "string"


def column_branch(name: str, values: TableColumn) -> Branch:
    """The branch that a column of a table becomes."""
    if isinstance(values, ak.Array):
        return Branch(name, dtype_of(values), jagged=values.ndim > 1)
    return Branch(name, values.dtype.str + " array" * (values.ndim > 1), jagged=False)


@dataclass(frozen=True)
class OpenTable:
    """A table that is open: its rows, what it has beside its columns, and notes on what is not kept."""

    events: Events
    facts: TableFacts
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: Table) -> OpenTable:
        """A table in memory."""
        return cls(ArrayEvents(table.written, table.skipped), table.facts, table.notes)


class TableWriter(Protocol):
    """A table being written."""

    def extend(self, columns: Mapping[str, ak.Array]) -> None:
        """Append rows."""
        ...


class Collected:
    """A table that is collected in memory."""

    def __init__(self, facts: TableFacts) -> None:
        self._facts, self._parts = facts, list[Mapping[str, ak.Array]]()

    def extend(self, columns: Mapping[str, ak.Array]) -> None:
        """Append rows."""
        self._parts.append(columns)

    def table(self) -> Table:
        """All rows."""
        names = self._parts[0] if self._parts else ()
        return Table.of({name: ak.concatenate([part[name] for part in self._parts]) for name in names}, self._facts)


class ArrayEvents:
    """Columns in memory, read like a tree whose entries are the rows."""

    def __init__(self, columns: Mapping[str, TableColumn], skipped: Sequence[str] = ()) -> None:
        self.columns = dict(columns)
        self.entries = len(next(iter(columns.values()), ()))
        self.branches = [column_branch(name, values) for name, values in self.columns.items()]
        self.members: list[Branch] = []
        self.full_names: dict[str, str] = {}
        self.unwritable = [Unwritable(name, "holds no numbers: use astype() before saving") for name in skipped]

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these columns for rows [start, stop)."""
        return {name: ak.Array(self.columns[name][start:stop]) for name in names}

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Bytes per row of these columns."""
        return self.compressed_bytes(names) / max(1, self.entries)

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Bytes of these columns, which are not compressed in memory."""
        return sum(self.columns[name].nbytes for name in names)


class Window:
    """Entries [first, last) of a tree, read as a tree of their own."""

    def __init__(self, events: Events, first: int, last: int) -> None:
        self.events, self.first, self.entries = events, first, last - first
        self.branches, self.unwritable = events.branches, events.unwritable
        self.members, self.full_names = events.members, events.full_names

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these branches for events [start, stop) of the window."""
        return self.events.read(names, self.first + start, self.first + stop)

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Uncompressed bytes per entry of these branches, as the mean over the whole tree."""
        return self.events.bytes_per_entry(names)

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """The window's share of the bytes of these branches; the shares of adjacent windows add up to all bytes."""
        size, entries = self.events.compressed_bytes(names), max(1, self.events.entries)
        return size * (self.first + self.entries) // entries - size * self.first // entries


def flatten(array: ak.Array) -> tuple[Array, Counts]:
    """Split an array into its flat values and the number of values in each event."""
    if plain := plain_lists(array):
        return plain
    if array.ndim == 1:
        return ak.to_numpy(array), np.ones(len(array), np.int64)
    return ak.to_numpy(ak.flatten(array)), numbers_in(array)


def flat_values(array: ak.Array) -> Array:
    """The flat values alone."""
    if parts := parts_of_lists(array):
        return parts[0]
    return np.asarray(ak.to_numpy(array if array.ndim == 1 else ak.flatten(array)))


def plain_lists(array: ak.Array) -> tuple[Array, Counts] | None:
    """The flat values and their numbers in lists of plain numbers, by their buffers; None for other arrays.

    awkward's own functions take half a millisecond for an array however short, and chunks may be many.
    """
    if (parts := parts_of_lists(array)) is None:
        return None
    values, offsets = parts
    return values, np.diff(offsets).astype(np.int64, copy=False)


def parts_of_lists(array: ak.Array) -> tuple[Array, npt.NDArray[Any]] | None:
    """The flat values in lists of plain numbers, and the offsets of the lists, from any number; None for others."""
    lists = array.layout
    if not isinstance(lists, ak.contents.ListOffsetArray) or lists.parameters:
        return None
    values, offsets = lists.content, lists.offsets.data
    if not isinstance(values, ak.contents.NumpyArray) or values.parameters or values.data.ndim > 1:
        return None
    return values.data[offsets[0] : offsets[-1]], offsets


def numbers_in(array: ak.Array) -> Counts:
    """The number of values in each entry of an array of lists."""
    plain = plain_lists(array)
    return plain[1] if plain else ak.to_numpy(ak.num(array)).astype(np.int64)


def unflatten(values: Array, counts: Counts, jagged: bool) -> ak.Array:
    """Put flat values back into events; the inverse of `flatten`. Raises ValueError for numbers that do not add up."""
    return unflatten_all({"": values}, counts, jagged)[""]


def unflatten_all(columns: Mapping[str, Array], counts: Counts, jagged: bool) -> dict[str, ak.Array]:
    """The same for columns of the same events, whose arrays share the ends of these."""
    if not jagged:
        return {name: ak.Array(values) for name, values in columns.items()}
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    follow = not (ends[1:] < ends[:-1]).any()
    for values in columns.values():
        if len(values) != ends[-1] or not follow:
            raise ValueError(f"{len(values)} values are not those of {len(counts)} events")
    return {name: lists_of(values, ends) for name, values in columns.items()}


def lists_of(values: Array, ends: Counts) -> ak.Array:
    """Lists of values, with the ends of the lists, which follow each other up to the last value, behind a 0."""
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(ends), ak.contents.NumpyArray(values)))


def with_shared_ends(events: Mapping[str, ak.Array | None]) -> dict[str, ak.Array | None]:
    """The same arrays, where lists that end at the same places share these: a third of the memory of jets in events."""
    known, found = dict[tuple[int, int], ak.index.Index](), dict(events)
    for name, array in events.items():
        lists = None if array is None else array.layout
        if isinstance(lists, ak.contents.ListOffsetArray):
            ends = known.setdefault((len(lists.offsets.data), int(lists.offsets.data[-1])), lists.offsets)
            if ends.data is not lists.offsets.data and np.array_equal(ends.data, lists.offsets.data):
                found[name] = ak.Array(lists.copy(offsets=ends))
    return found


def one_after_another(parts: Sequence[ak.Array]) -> ak.Array:
    """The events of a branch that was read in parts."""
    found = [plain_lists(part) for part in parts]
    lists = [plain for plain in found if plain]
    if len(lists) < len(parts) or not lists:
        return ak.concatenate(parts)
    values, counts = (np.concatenate(of_all) for of_all in zip(*lists, strict=True))
    return unflatten(values, counts, jagged=True)


def index_in_event(counts: Counts) -> npt.NDArray[np.int32]:
    """The index of every jet in its event."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return (np.arange(len(starts)) - starts).astype(np.int32)


def counts_of(selected: npt.NDArray[np.bool_], counts: Counts) -> Counts:
    """The number of selected jets in each event."""
    running = np.concatenate([[0], np.cumsum(selected)])
    ends = np.cumsum(counts)
    return np.asarray(running[ends] - running[ends - counts], dtype=np.int64)


def miscounted(events: Mapping[str, ak.Array], counters: Mapping[str, str]) -> list[str]:
    """The branches whose counters (`counters` maps branch to counter) differ from their numbers of values."""
    pairs = ((name, events[counter], numbers_in(events[name])) for name, counter in counters.items())
    return [name for name, counter, counts in pairs if not np.array_equal(ak.to_numpy(counter), counts)]


def dtype_of(array: ak.Array) -> str:
    """The dtype of an array's numbers, as in `Branch.dtype`; `string` for strings, the awkward type of nested lists."""
    if plain := plain_lists(array):
        return str(plain[0].dtype.str)
    if array.layout.parameter("__array__") == "string":
        return "string"
    if is_nested(array):
        return str(array.type.content)
    return str(ak.to_numpy(ak.flatten(array, axis=None)).dtype.str)


def is_nested(array: ak.Array) -> bool:
    """Whether an entry is neither a number nor a list or fixed-size array of numbers."""
    form = array.layout.form
    if form.is_list and not form.is_regular:
        return not (form.content.is_unknown or (form.content.is_numpy and not form.content.inner_shape))
    while form.is_regular:
        form = form.content
    return not (form.is_numpy or form.is_unknown)
