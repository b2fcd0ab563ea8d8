"""One collection of a file: what became of its jets, and its four branches from those that stand in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import awkward as ak
import numpy as np

from atlasae.codecs.codec import Decoder, restore
from atlasae.files.events import Array, flatten, unflatten
from atlasae.jets.collections import Collection
from atlasae.jets.coordinates import Bools
from atlasae.jets.precision import Precision, find_roundings
from atlasae.jets.stored import storage_of

MANY_EXACT = 0.05  # of the jets: then something does not fit, and the user is told


@dataclass(kw_only=True)
class Counted:
    """What became of the jets of a collection, chunk by chunk."""

    warning: str | None = None
    jets: int = 0
    exact_jets: int = 0
    bytes_in: int = 0
    max_error: dict[str, float] = field(default_factory=dict)

    def count(self, columns: Sequence[Array], exact: Bools, largest: dict[str, float]) -> None:
        """Add the jets of a chunk, which of them are exact, and the largest error of the others."""
        self.jets += len(exact)
        self.exact_jets += int(exact.sum())
        self.bytes_in += sum(column.nbytes for column in columns)
        self.max_error = merge_largest([self.max_error, largest])

    def many_exact(self, name: str, why: str) -> str | None:
        """What the user should know where many jets are exact."""
        if self.exact_jets <= MANY_EXACT * self.jets:
            return None
        return f"{self.exact_jets / self.jets:.0%} of the jets of '{name}' are kept exactly: {why}"


def or_other_units(collection: Collection) -> str:
    """What a note asks where jets are odd; nothing of a list of variables, which has no units."""
    return f"; right units? they are taken as {collection.units}, --units says otherwise" if collection.units else ""


class Described(Protocol):
    """A codec that can say what it is."""

    def config(self) -> dict[str, Any]:
        """What it takes to make it again; plain JSON."""
        ...


class Compressing(Protocol):
    """One collection on its way into a file, in any layout."""

    collection: Collection
    bounds: dict[str, float]
    jets: int
    exact_jets: int
    bytes_in: int
    max_error: dict[str, float]

    @property
    def codec(self) -> Described:
        """What codes the jets."""
        ...

    def compress(self, events: dict[str, ak.Array]) -> dict[str, ak.Array]:
        """The branches that stand in for the jets of these events."""
        ...

    def note(self) -> str | None:
        """What the user should know of the jets so far."""
        ...


@dataclass(frozen=True)
class Start:
    """How a file is compressed: a compressor for every collection, their model, what the user should know."""

    compressors: Sequence[Compressing]
    model_sha256: str
    embedded: dict[str, bytes]  # the model, where it has to travel in the file
    notes: Sequence[str] = ()


def as_rounded(collection: Collection, precision: Precision, columns: Sequence[Array]) -> Collection:
    """The settled collection with how a sample of its jets has been rounded, where it stores pt, eta, phi and m."""
    storage = storage_of(collection)
    bounds = precision.of(storage.layout)
    if storage.layout.names != storage.variables.names or precision.unbounded:
        return collection
    jets = storage.is_jet(columns)
    stored = {v: column[jets] for v, column in zip(collection.variables, columns, strict=True)}
    return replace(collection, roundings=find_roundings(stored, storage.scale, bounds, precision.full) or None)


def restore_columns(collection: Collection, codec: Decoder, events: dict[str, ak.Array]) -> dict[str, ak.Array]:
    """The original four branches from the latent and exact branches; undoes `Compressor.compress`."""
    parts = [flatten(events[name]) for name in collection.latents]
    counts = parts[0][1]
    columns = restore(codec, storage_of(collection), np.stack([values for values, _ in parts], axis=1))
    listed, exact_counts = flatten(events[collection.exact["index"]])
    index = listed.astype(np.int64)
    if not ((index >= 0) & (index < np.repeat(counts, exact_counts))).all():
        raise ValueError("exact jets that are not in their events")
    where = np.repeat(np.cumsum(counts) - counts, exact_counts) + index
    for variable, column in zip(collection.variables, columns, strict=True):
        column[where] = flatten(events[collection.exact[variable]])[0]
    named = zip(collection.branches.values(), columns, strict=True)
    return {name: unflatten(column, counts, collection.jagged) for name, column in named}


def merge_largest(found_errors: Iterable[dict[str, float]]) -> dict[str, float]:
    """The largest error of every variable over several runs of jets."""
    largest: dict[str, float] = {}
    for found in found_errors:
        for variable, error in found.items():
            largest[variable] = max(largest.get(variable, 0.0), error)
    return largest
