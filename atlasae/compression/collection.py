"""One collection of a file: how it is stored, and what became of its jets on the way there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import awkward as ak

from atlasae.compression.format import CompressedCollection, Run
from atlasae.compression.plan import Options, Plan
from atlasae.files.events import Array, Counts
from atlasae.jets.collections import Collection
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import Bools
from atlasae.jets.padding import Padding
from atlasae.jets.precision import Precision, find_roundings
from atlasae.jets.stored import storage_of

MANY_EXACT = 0.05  # of the jets: then something does not fit, and the user is told


class Described(Protocol):
    """A codec that can say what it is."""

    @property
    def padding(self) -> Padding:
        """The rows where there is no jet."""
        ...

    def config(self) -> dict[str, Any]:
        """What it takes to make it again; plain JSON, `layout` is the name of the layout."""
        ...


@dataclass(frozen=True)
class CompressedJets:
    """The jets of a chunk as they are stored: the branches, which jets are exact, the largest error of the others."""

    branches: dict[str, ak.Array]
    exact: Bools
    largest: dict[str, float]


class FileLayout(Protocol):
    """How the jets of a collection are stored: what turns its own branches into those that stand in, and back."""

    by_chunk: ClassVar[bool]  # the latents of a chunk are bytes in its first entry: they can't be cut or compressed

    @property
    def collection(self) -> Collection:
        """The collection, with its units."""
        ...

    @property
    def codec(self) -> Described:
        """What codes the jets."""
        ...

    @classmethod
    def start(cls, plan: Plan, options: Options, sample: Mapping[str, ak.Array], entries: int) -> "Start":
        """Choose a layout for every collection of `entries` events by a sample of them; raises UserError."""
        ...

    @classmethod
    def from_config(cls, entry: CompressedCollection, content: bytes | None) -> Self:
        """The layout of a compressed file, with the model it has; raises UserError where none is known, or damage."""
        ...

    def counts(self, run: Run, events: Mapping[str, ak.Array]) -> Counts:
        """The jets in each of compressed events; raises DamagedFileError where there can't be so many."""
        ...

    def compress(self, columns: Sequence[Array], counts: Counts, bounds: dict[str, float]) -> CompressedJets:
        """Store the jets of a chunk, each within its bounds or bit for bit."""
        ...

    def restore(self, events: Mapping[str, ak.Array], counts: Counts) -> dict[str, ak.Array]:
        """The original branches of compressed events; undoes `compress`. Raises ValueError for other numbers."""
        ...

    @property
    def why_exact(self) -> str:
        """Why jets are kept exactly, as far as their layout knows."""
        ...


Layout_co = TypeVar("Layout_co", bound=FileLayout, covariant=True)


@dataclass
class Compressor(Generic[Layout_co]):
    """One collection on its way through the chunks, and what became of its jets so far."""

    layout: Layout_co
    bounds: dict[str, float]
    jets: int = 0
    exact_jets: int = 0
    bytes_in: int = 0
    max_error: dict[str, float] = field(default_factory=dict)

    @property
    def collection(self) -> Collection:
        """The collection, with its units."""
        return self.layout.collection

    def compress(self, events: Mapping[str, ak.Array]) -> dict[str, ak.Array]:
        """The branches that stand in for the jets of these events."""
        columns, counts = to_columns(self.collection, events)
        stored = self.layout.compress(columns, counts, self.bounds)
        self.jets += len(stored.exact)
        self.exact_jets += int(stored.exact.sum())
        self.bytes_in += sum(column.nbytes for column in columns)
        self.max_error = merge_largest([self.max_error, stored.largest])
        return stored.branches

    def note(self) -> str | None:
        """What the user should know where many jets are exact."""
        if self.exact_jets <= MANY_EXACT * self.jets:
            return None
        share = self.exact_jets / self.jets
        return f"{share:.0%} of the jets of '{self.collection.name}' are kept exactly: {self.layout.why_exact}"


def or_other_units(collection: Collection) -> str:
    """What a note asks where jets are odd; nothing of a list of variables, which has no units."""
    return f"; right units? they are taken as {collection.units}, --units says otherwise" if collection.units else ""


@dataclass(frozen=True)
class Start:
    """How a file is compressed: a compressor for every collection, their model, what the user should know."""

    compressors: Sequence[Compressor[FileLayout]]
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


def merge_largest(found_errors: Iterable[dict[str, float]]) -> dict[str, float]:
    """The largest error of every variable over several runs of jets."""
    largest: dict[str, float] = {}
    for found in found_errors:
        for variable, error in found.items():
            largest[variable] = max(largest.get(variable, 0.0), error)
    return largest
