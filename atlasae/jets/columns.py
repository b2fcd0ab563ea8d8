"""The columns of a collection: one flat array per stored variable, with the jets of some events; read by chunks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from atlasae.errors import UserError
from atlasae.files.events import Array, Counts, Events, flatten, unflatten_all
from atlasae.jets.collections import Collection
from atlasae.jets.coordinates import Bools, Floats
from atlasae.jets.stored import storage_of
from atlasae.jets.units import settle

RUN = 500  # consecutive rows of a sample
SAMPLED = 100_000  # rows of a sample that tell its units and its roundings as well as more do


def to_columns(collection: Collection, events: Mapping[str, ak.Array]) -> tuple[list[Array], Counts]:
    """The stored variables of every jet (flat arrays, in their own dtypes) and the jets per event.

    Raises UserError if the branches differ in jets per event.
    """
    parts = {name: flatten(events[name]) for name in collection.branches.values()}
    counts = [count for _, count in parts.values()]
    for name, (_, count) in parts.items():
        if not np.array_equal(count, counts[0]):
            first = next(iter(parts))
            raise UserError(f"'{first}' and '{name}' differ in jets per event: not one collection; choose with --jets")
        if events[name].ndim > 2:
            raise UserError(f"'{name}' has lists of lists: one number for each jet is needed; choose with --jets")
    return [values for values, _ in parts.values()], counts[0]


def to_coded_columns(collection: Collection, events: Mapping[str, ak.Array]) -> tuple[list[Array], Counts]:
    """The columns that are coded: in the stored types, with zeros for variables that another collection holds.

    Variations that are beside their jets have these, too: they tell m of E.
    """
    columns, counts = to_columns(collection, events)
    stored = [_as_stored(x, np.dtype(dtype)) for x, dtype in zip(columns, collection.dtypes.values(), strict=True)]
    pairs = zip(collection.variables, stored, strict=True)
    gone = () if collection.beside else collection.shared
    return [np.zeros_like(x) if variable in gone else x for variable, x in pairs], counts


def in_runs(columns: Sequence[Array], most: int | None) -> list[Array]:
    """About `most` rows of columns, in runs from all over them: jets may resemble those before them in their event."""
    runs = -(-len(columns[0]) // RUN)
    every = max(1, -(-len(columns[0]) // most)) if most else 1
    if every == 1:
        return list(columns)
    starts = RUN * np.arange(0, runs, every)
    rows = (starts[:, None] + np.arange(RUN)).ravel()
    return [column[rows[rows < len(column)]] for column in columns]


def _as_stored(values: Array, dtype: np.dtype[Any]) -> Array:
    """Values in the type in which the file stores them, if that is narrower than the one in memory (Double32_t)."""
    return values.astype(dtype) if values.dtype.kind == "f" and dtype.itemsize < values.dtype.itemsize else values


def same_bits(before: Sequence[Array], after: Sequence[Array]) -> Bools:
    """Whether each jet is the same bit for bit in both sets of columns, once `after` has the dtypes of `before`."""
    with np.errstate(all="ignore"):
        pairs = [(a, b.astype(a.dtype, copy=False)) for a, b in zip(before, after, strict=True)]
    return np.asarray(np.all([a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}") for a, b in pairs], axis=0))


def to_branches(collection: Collection, columns: Sequence[Array], counts: Counts) -> dict[str, ak.Array]:
    """The branches of a collection from the columns of its jets, but those of another; undoes `to_columns`."""
    whole = zip(collection.branches.items(), columns, strict=True)
    named = [(name, column) for (variable, name), column in whole if variable not in collection.shared]
    if collection.array:
        return {name: ak.Array(column.reshape(len(counts), -1)) for name, column in named}
    return unflatten_all(dict(named), counts, collection.jagged)


@dataclass(frozen=True)
class StoredJets:
    """Jets of a collection: the stored columns, and the number of jets per event."""

    collection: Collection
    columns: list[Array]
    counts: Counts

    @property
    def jets(self) -> Floats:
        """The jets (n x 4: pt, eta, phi, m in MeV)."""
        return storage_of(self.collection).rows(self.columns)


def settle_by(collections: Sequence[Collection], units: str | None, sample: Mapping[str, ak.Array]) -> list[Collection]:
    """The collections with their units, as given or found from a sample of events; raises UserError."""
    return settle(collections, units, [in_runs(to_columns(c, sample)[0], SAMPLED) for c in collections])


def read_jets(
    events: Events, collections: Sequence[Collection], units: str | None, step: int, most: int | None = None
) -> Iterator[tuple[int, StoredJets]]:
    """The jets of collections, `step` entries at a time, each with its first entry; raises UserError.

    If the file has more than `most` jets, estimated from the first chunk, chunks are skipped at regular intervals.
    """
    names = [name for collection in collections for name in collection.branches.values()]
    first = events.read(names, 0, min(step, events.entries))
    settled = settle_by(collections, units, first)
    starts = range(0, events.entries, step)
    jets = sum(len(to_columns(collection, first)[0][0]) for collection in settled)
    every = max(1, len(starts) * max(1, jets) // most) if most else 1
    for start in starts[::every]:
        chunk = events.read(names, start, min(start + step, events.entries)) if start else first
        for collection in settled:
            yield start, StoredJets(collection, *to_columns(collection, chunk))
