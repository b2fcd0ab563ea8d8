"""Events: the columns of a tree, and the jets of each event."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.files.branches import Branch, Unwritable

Array = npt.NDArray[np.generic]
Counts = npt.NDArray[np.int64]


class Events(Protocol):
    """Something with branches that can be read a run of events at a time: a tree, or a table in memory."""

    entries: int

    @property
    def branches(self) -> list[Branch]:
        """The branches that can be carried."""
        ...

    @property
    def unwritable(self) -> list[Unwritable]:
        """The branches that can't."""
        ...

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these branches for events [start, stop)."""
        ...

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Uncompressed size of an entry of these branches."""
        ...

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Bytes these branches take as they are."""
        ...


class ArrayEvents:
    """Columns in memory, one jet per entry, read like a tree."""

    def __init__(self, columns: Mapping[str, Array], skipped: Sequence[str] = ()) -> None:
        self.columns = {name: values for name, values in columns.items() if values.dtype != np.float16}
        self.entries = len(next(iter(columns.values()), ()))
        self.branches = [Branch(name, values.dtype.str, jagged=False) for name, values in self.columns.items()]
        self.unwritable = [Unwritable(name, "holds no single numbers") for name in skipped]
        self.unwritable += [
            Unwritable(name, "a TTree holds no float16") for name in columns if name not in self.columns
        ]

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these columns for rows [start, stop)."""
        return {name: ak.Array(self.columns[name][start:stop]) for name in names}

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Size of a row of these columns."""
        return float(sum(self.columns[name].dtype.itemsize for name in names))

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Size of these columns; in memory nothing is compressed."""
        return sum(self.columns[name].nbytes for name in names)


class Window:
    """Some of the events of a tree, [first, last), read as if there were no others."""

    def __init__(self, events: Events, first: int, last: int) -> None:
        self.events, self.first, self.entries = events, first, last - first
        self.branches, self.unwritable = events.branches, events.unwritable

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these branches for events [start, stop) of the window."""
        return self.events.read(names, self.first + start, self.first + stop)

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Uncompressed size of an entry of these branches, over all events."""
        return self.events.bytes_per_entry(names)

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """The window's share of the bytes these branches take; the shares of windows side by side add up."""
        size, entries = self.events.compressed_bytes(names), max(1, self.events.entries)
        return size * (self.first + self.entries) // entries - size * self.first // entries


def flatten(array: ak.Array) -> tuple[Array, Counts]:
    """Split an array into its values (flat) and the number of values of each event."""
    if array.ndim == 1:
        return ak.to_numpy(array), np.ones(len(array), np.int64)
    return ak.to_numpy(ak.flatten(array)), ak.to_numpy(ak.num(array)).astype(np.int64)


def unflatten(values: Array, counts: Counts, jagged: bool) -> ak.Array:
    """Put flat values back into events; the inverse of `flatten`."""
    return ak.unflatten(values, counts) if jagged else ak.Array(values)


def index_in_event(counts: Counts) -> npt.NDArray[np.int32]:
    """The position of every jet in its own event."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return (np.arange(len(starts)) - starts).astype(np.int32)


def counts_of(selected: npt.NDArray[np.bool_], counts: Counts) -> Counts:
    """How many jets of each event are selected."""
    running = np.concatenate([[0], np.cumsum(selected)])
    ends = np.cumsum(counts)
    return np.asarray(running[ends] - running[ends - counts], dtype=np.int64)


def miscounted(events: Mapping[str, ak.Array], counters: Mapping[str, str]) -> list[str]:
    """The branches whose counters, given by their names, are not how many values they have in each event."""
    pairs = ((name, events[counter], ak.num(events[name])) for name, counter in counters.items())
    return [name for name, counter, counts in pairs if not np.array_equal(ak.to_numpy(counter), ak.to_numpy(counts))]


def dtype_of(array: ak.Array) -> str:
    """The type of one number of an array, as `Branch.dtype` has it; of texts `string`, of what is nested awkward's."""
    if array.layout.parameter("__array__") == "string":
        return "string"
    if is_nested(array):
        return str(array.type.content)
    return str(ak.to_numpy(ak.flatten(array, axis=None)).dtype.str)


def is_nested(array: ak.Array) -> bool:
    """Whether an entry is neither a number nor a list or a fixed array of numbers."""
    form = array.layout.form
    if form.is_list and not form.is_regular:
        return not (form.content.is_unknown or (form.content.is_numpy and not form.content.inner_shape))
    while form.is_regular:
        form = form.content
    return not (form.is_numpy or form.is_unknown)
