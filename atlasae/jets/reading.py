"""Reads jets from a tree or table chunk by chunk, as stored, in units that are found from the first chunk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import awkward as ak

from atlasae.files.events import Array, Counts, Events
from atlasae.jets.collections import Collection
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import Floats
from atlasae.jets.stored import storage_of
from atlasae.jets.units import settle


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
    return settle(collections, units, [to_columns(collection, sample)[0] for collection in collections])


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
