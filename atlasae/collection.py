"""One collection on its way through a file: four branches to latent and exact branches, and back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import awkward as ak
import numpy as np

from atlasae.baskets import compress_words
from atlasae.codec import Codec, Encoded, ListStorage, Storage, choose_codec, choose_list_codec, encode_within
from atlasae.columns import Array, Counts, counts_of, flatten, index_in_event, to_columns, unflatten
from atlasae.coordinates import Bools, Floats, Layout
from atlasae.invertible import InvertibleAutoencoder
from atlasae.model import Model, domain_warning
from atlasae.precision import Precision
from atlasae.schema import MEV_PER_UNIT, Collection, settle_units
from atlasae.variables import VariableList


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


@dataclass
class Compressor(Counted):
    """One collection on its way through the chunks: its codec, and what became of its jets."""

    collection: Collection
    codec: Codec
    storage: Storage | ListStorage
    bounds: dict[str, float]

    def compress(self, events: dict[str, ak.Array]) -> dict[str, ak.Array]:
        """The latent and exact branches that stand in for the jets of these events."""
        columns, counts = to_columns(self.collection, events)
        encoded = encode_within(self.codec, self.storage, self.bounds, columns)
        self.count(columns, encoded.exact, encoded.largest)
        latents = {
            name: unflatten(encoded.latents[:, j], counts, self.collection.jagged)
            for j, name in enumerate(self.collection.latents)
        }
        return latents | exact_branches(self.collection, columns, counts, encoded)


def start_compressor(
    collection: Collection, units: str | None, precision: Precision, model: Model, events: dict[str, ak.Array]
) -> Compressor:
    """Settle units and codec of a collection by a sample of its events."""
    columns, _ = to_columns(collection, events)
    settled = settle(collection, units, columns)
    storage = storage_of(settled)
    codec = choose_codec(model.autoencoder, storage, precision, columns, _encoded_size(columns))
    warning = domain_warning(model, storage.usable_jets(columns), collection.name)
    return Compressor(settled, codec, storage, precision.of(storage.layout), warning=warning)


def start_list_compressor(
    collection: Collection, autoencoder: InvertibleAutoencoder, events: Mapping[str, ak.Array]
) -> Compressor:
    """The compressor of a list of variables, its grid settled by a sample."""
    storage = list_storage_of(collection)
    codec = choose_list_codec(autoencoder, storage, to_columns(collection, events)[0])
    settled = replace(collection, words=len(codec.grid.words))
    return Compressor(settled, codec, storage, storage.variables.bounds)


def sample_jets(collections: Sequence[Collection], units: str | None, events: Mapping[str, ak.Array]) -> Floats:
    """The jets (n x 4, MeV) of a sample that have coordinates, all collections together."""
    found = []
    for collection in collections:
        columns, _ = to_columns(collection, events)
        found.append(storage_of(settle(collection, units, columns)).usable_jets(columns))
    return np.concatenate(found)


def sampled_bytes(compressors: Sequence[Compressor], events: Mapping[str, ak.Array]) -> int:
    """Bytes of a sample's jets as these compressors would write them."""
    total = 0
    for compressor in compressors:
        columns, _ = to_columns(compressor.collection, events)
        total += _encoded_size(columns)(encode_within(compressor.codec, compressor.storage, compressor.bounds, columns))
    return total


def settle(collection: Collection, units: str | None, columns: Sequence[Array]) -> Collection:
    """The collection with its units, given or found from its convention and a sample of its jets."""
    return collection.settled(units or settle_units(collection, _median_pt(collection, columns)))


def _encoded_size(columns: Sequence[Array]) -> Callable[[Encoded], int]:
    bytes_per_exact = 4 + sum(column.dtype.itemsize for column in columns)

    def size(encoded: Encoded) -> int:
        words = (np.ascontiguousarray(encoded.latents[:, j].astype(">f4")).tobytes() for j in range(3))
        return sum(len(compress_words(word)) for word in words) + bytes_per_exact * int(encoded.exact.sum())

    return size


def _median_pt(collection: Collection, columns: Sequence[Array]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        values = [column.astype(np.float64) for column in columns]
        pt = np.hypot(values[0], values[1]) if collection.variables[0] == "px" else values[0]
    pt = pt[np.isfinite(pt)]
    return float(np.median(pt)) if len(pt) else float("nan")


def exact_branches(
    collection: Collection, columns: Sequence[Array], counts: Counts, encoded: Encoded
) -> dict[str, ak.Array]:
    """The jets kept as they were: where they are in their events, and their four originals."""
    selected = encoded.exact
    kept = [index_in_event(counts)[selected], *(column[selected] for column in columns)]
    per_event = counts_of(selected, counts)
    return {name: ak.unflatten(v, per_event) for name, v in zip(collection.exact.values(), kept, strict=True)}


def restore_columns(collection: Collection, codec: Codec, events: dict[str, ak.Array]) -> dict[str, ak.Array]:
    """The original four branches from the latent and exact branches; undoes `Compressor.compress`."""
    parts = [flatten(events[name]) for name in collection.latents]
    counts = parts[0][1]
    columns = any_storage_of(collection).restore(codec, np.stack([values for values, _ in parts], axis=1))
    listed, exact_counts = flatten(events[collection.exact["index"]])
    index = listed.astype(np.int64)
    if not ((index >= 0) & (index < np.repeat(counts, exact_counts))).all():
        raise ValueError("exact jets that are not in their events")
    where = np.repeat(np.cumsum(counts) - counts, exact_counts) + index
    for variable, column in zip(collection.variables, columns, strict=True):
        column[where] = flatten(events[collection.exact[variable]])[0]
    named = zip(collection.branches.values(), columns, strict=True)
    return {name: unflatten(column, counts, collection.jagged) for name, column in named}


def storage_of(collection: Collection) -> Storage:
    """How a collection of jets with settled units keeps its numbers."""
    assert collection.units is not None
    dtypes = tuple(np.dtype(collection.dtypes[variable]) for variable in collection.variables)
    return Storage(Layout(collection.variables), dtypes, MEV_PER_UNIT[collection.units])


def list_storage_of(collection: Collection) -> ListStorage:
    """How a list of variables keeps its numbers."""
    dtypes = tuple(np.dtype(collection.dtypes[variable]) for variable in collection.variables)
    return ListStorage(VariableList.from_json(collection.terms or []), dtypes)


def any_storage_of(collection: Collection) -> Storage | ListStorage:
    """How a collection keeps its numbers, be they jets or a list of variables."""
    return storage_of(collection) if collection.terms is None else list_storage_of(collection)


def merge_largest(found_errors: Iterable[dict[str, float]]) -> dict[str, float]:
    """The largest error of every variable over several runs of jets."""
    largest: dict[str, float] = {}
    for found in found_errors:
        for variable, error in found.items():
            largest[variable] = max(largest.get(variable, 0.0), error)
    return largest
