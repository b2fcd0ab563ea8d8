"""Events: columns of a tree or a table, and conversions between jets and events."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.files.branches import Branch, Unwritable

Array = npt.NDArray[np.generic]
Counts = npt.NDArray[np.int64]


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


class ArrayEvents:
    """Columns in memory with one jet per entry, read like a tree.

    `stored_bytes` are the bytes that columns take in their file, where they are compressed.
    """

    def __init__(
        self, columns: Mapping[str, Array], skipped: Sequence[str] = (), stored_bytes: Mapping[str, int] | None = None
    ) -> None:
        self.stored_bytes = stored_bytes or {}
        self.columns = {name: values for name, values in columns.items() if values.dtype != np.float16}
        self.entries = len(next(iter(columns.values()), ()))
        self.branches = [Branch(name, values.dtype.str, jagged=False) for name, values in self.columns.items()]
        self.members: list[Branch] = []
        self.full_names: dict[str, str] = {}
        self.unwritable = [Unwritable(name, "holds no single numbers") for name in skipped]
        self.unwritable += [
            Unwritable(name, "a TTree holds no float16") for name in columns if name not in self.columns
        ]

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these columns for rows [start, stop)."""
        return {name: ak.Array(self.columns[name][start:stop]) for name in names}

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Bytes per row of these columns."""
        return float(sum(self.columns[name].dtype.itemsize for name in names))

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Bytes that these columns take in their file; a pickle holds them as they are in memory."""
        return sum(self.stored_bytes.get(name, self.columns[name].nbytes) for name in names)


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
    if array.ndim == 1:
        return ak.to_numpy(array), np.ones(len(array), np.int64)
    return ak.to_numpy(ak.flatten(array)), ak.to_numpy(ak.num(array)).astype(np.int64)


def unflatten(values: Array, counts: Counts, jagged: bool) -> ak.Array:
    """Put flat values back into events; the inverse of `flatten`."""
    return ak.unflatten(values, counts) if jagged else ak.Array(values)


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
    pairs = ((name, events[counter], ak.num(events[name])) for name, counter in counters.items())
    return [name for name, counter, counts in pairs if not np.array_equal(ak.to_numpy(counter), ak.to_numpy(counts))]


def dtype_of(array: ak.Array) -> str:
    """The dtype of an array's numbers, as in `Branch.dtype`; `string` for strings, the awkward type of nested lists."""
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
