"""Chunks of a compressed file, checked against their checksums and decoded."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import awkward as ak
import numpy as np

from atlasae.codecs.codec import Decoder
from atlasae.codecs.packed import PackedCodec
from atlasae.codecs.priors import Priors, packaged_priors
from atlasae.compression.collection import restore_columns
from atlasae.compression.format import Chunk, CompressedCollection, Contents, Run
from atlasae.compression.packed import MOST_JETS, packed_codec_of, restore_packed
from atlasae.errors import DamagedFileError, UserError, sparing
from atlasae.files.branches import FOLDER
from atlasae.files.checksums import checksum
from atlasae.files.damage import FACTS, damage
from atlasae.files.events import Counts, dtype_of, flatten
from atlasae.files.trees import Source, Tree
from atlasae.jets.collections import Collection

Made = TypeVar("Made", bound=Decoder | PackedCodec)
Progress = Callable[[int, int], None]  # entries done, entries in all


@dataclass
class Salvage:
    """What could not be brought back: which entries of the tree, how many jets, and what is wrong where."""

    missing: list[tuple[int, int]] = field(default_factory=list)
    jets: int = 0
    damage: list[str] = field(default_factory=list)

    def miss(self, start: int, chunk: Chunk) -> None:
        """Note a chunk that is not there."""
        self.missing.append((start, start + chunk.entries))
        self.jets += chunk.jets


@dataclass(frozen=True)
class WrittenChunk:
    """A chunk as it was written: its run, its first entry in the tree, its branches, and what decodes them."""

    run: Run
    start: int
    chunk: Chunk
    events: dict[str, ak.Array]
    codecs: list[Decoder | PackedCodec]

    def restored(self, names: Sequence[str] | None = None) -> dict[str, ak.Array]:
        """The original branches, or some of them; raises DamagedFileError where what is stored can't be decoded."""
        events, aliases = dict(self.events), self.run.aliases
        names = self.run.originals if names is None else names
        single = {aliases.get(name, name) for name in names}
        for entry, codec in zip(self.run.collections, self.codecs, strict=True):
            if not events.keys() >= set(entry.collection.branches.values()).intersection(single):
                with damage(f"'{entry.collection.name}' {_where(self.start, self.chunk)}"):
                    events |= self._decoded(entry.collection, codec)
        return {name: events[aliases.get(name, name)] for name in names}

    def _decoded(self, collection: Collection, codec: Decoder | PackedCodec) -> dict[str, ak.Array]:
        if isinstance(codec, PackedCodec):
            return restore_packed(collection, codec, self.events, jets_per_event(self.run, collection, self.events))
        return restore_columns(collection, codec, self.events)

    def unpacked(self) -> "WrittenChunk":
        """The same with packed jets decoded, since their bytes can't be cut."""
        if not any(entry.collection.packed for entry in self.run.collections):
            return self
        return replace(self, events=self.events | self.restored())

    def part(self, first: int, last: int) -> "WrittenChunk":
        """Some of its entries, counted from its own first."""
        events = {name: array[first:last] for name, array in self.events.items()}
        jets = count_jets(self.run, events)
        return WrittenChunk(self.run, self.start + first, Chunk(last - first, jets, []), events, self.codecs)


class Chunks:
    """The chunks of a compressed file; the codec of a run is made when its first chunk is read."""

    def __init__(self, source: Source, contents: Contents) -> None:
        self.tree: Tree = source.trees[contents.runs[0].tree]
        self.contents = contents
        self._codecs: dict[int, list[Decoder | PackedCodec]] = {}

    def __iter__(self) -> Iterator[tuple[Run, int, Chunk]]:
        """Every chunk with its run and its first entry in the tree."""
        return self.contents.chunks_by_run()

    def read(self, run: Run, start: int, chunk: Chunk, names: Sequence[str] | None = None) -> WrittenChunk:
        """One chunk, or what it takes to restore some of its branches.

        Raises DamagedFileError where a checksum, a type or the number of jets is another.
        """
        if id(run) not in self._codecs:
            self._codecs[id(run)] = [codec_of(entry, self.contents) for entry in run.collections]
        written = run.written if names is None else sources_of(run, names)
        events = self.tree.read(written, start, start + chunk.entries)
        with damage(f"tree '{self.tree.name}' {_where(start, chunk)}"):
            if chunk.checksums:  # a skim has none
                _check(run, start, chunk, events)
        return WrittenChunk(run, start, chunk, events, self._codecs[id(run)])


def restored_events(
    source: Source, contents: Contents, progress: Progress, lost: Salvage | None = None
) -> Iterator[tuple[Run, dict[str, ak.Array]]]:
    """Every chunk of a compressed file with its original branches; raises DamagedFileError, or notes what is lost."""
    chunks = Chunks(source, contents)
    for run, start, chunk in chunks:
        events = None
        with sparing(lost.damage if lost else None):
            events = chunks.read(run, start, chunk).restored()
        progress(start + chunk.entries, chunks.tree.entries)
        if events is not None:
            yield run, events
        elif lost:
            lost.miss(start, chunk)


def sources_of(run: Run, names: Sequence[str]) -> list[str]:
    """The written branches that these original branches are restored from."""
    names = [run.aliases.get(name, name) for name in names]
    sources = {branch.name for branch in run.carried}.intersection(names)
    for collection in (entry.collection for entry in run.collections):
        if not set(collection.branches.values()).isdisjoint(names):
            sources |= {*collection.latents, *collection.exact.values(), *_counting(run, collection, run.written)[:1]}
    return [name for name in run.written if name in sources]


def pieces(entries: int, jets: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of about `most` jets, events whole (one where there are none): one at a time takes little memory.

    >>> list(pieces(10, 100, 40))
    [(0, 4), (4, 8), (8, 10)]
    """
    step = max(1, entries * most // max(1, jets))
    for first in range(0, max(entries, 1), step):
        yield first, min(first + step, entries)


def _check(run: Run, start: int, chunk: Chunk, events: dict[str, ak.Array]) -> None:
    where = _where(start, chunk)
    if changed := changed_branches(run, chunk, events):
        (name, why), *others = changed.items()
        more = f" (and {len(others)} more)" if others else ""
        raise DamagedFileError(f"branch '{name}'{more} is damaged: {why} {where}; get the file again")
    if len(events) == len(run.written) and (jets := count_jets(run, events)) != chunk.jets:
        raise DamagedFileError(f"'{FOLDER}/chunks' is damaged: {chunk.jets} jets where there are {jets} {where}")


def changed_branches(run: Run, chunk: Chunk, events: Mapping[str, ak.Array]) -> dict[str, str]:
    """The branches of a chunk that are not what was written, and why; a checksum is of bytes, whatever they mean."""
    checksums = zip(run.written, chunk.checksums, strict=True)
    found = {n: "checksum differs" for n, known in checksums if n in events and checksum(events[n]) != known}
    dtypes = {branch.name: branch.dtype.removesuffix(" array") for branch in run.carried if branch.name in events}
    return found | {n: "type differs" for n, dtype in dtypes.items() if n not in found and dtype_of(events[n]) != dtype}


def _where(start: int, chunk: Chunk) -> str:
    return f"in entries {start} to {start + chunk.entries}"


def count_jets(run: Run, events: Mapping[str, ak.Array]) -> int:
    """Jets in compressed events, over all collections."""
    return sum(int(jets_per_event(run, entry.collection, events).sum()) for entry in run.collections)


def jets_per_event(run: Run, collection: Collection, events: Mapping[str, ak.Array]) -> Counts:
    """The jets of a collection in each of compressed events; raises DamagedFileError where there can't be so many."""
    if not collection.packed:
        return flatten(events[collection.latents[0]])[1]
    if not collection.jagged:
        return np.ones(len(events[collection.latents[0]]), np.int64)
    counter, *_ = [*_counting(run, collection, events), None]
    if counter is None:
        raise DamagedFileError(f"'{collection.name}' is damaged: nothing counts its jets")
    found = events[counter] if counter == _counter_of(run, collection) else ak.num(events[counter])
    if found.ndim != 1 or (counts := ak.to_numpy(found)).dtype.kind not in "iu":
        raise DamagedFileError(f"'{counter}' is damaged: it counts nothing")
    if counts.min(initial=0) < 0 or int(counts.astype(np.int64).sum()) > MOST_JETS:
        raise DamagedFileError(f"'{counter}' is damaged: {counts.min()} to {counts.max()} jets in an event")
    return np.asarray(counts, np.int64)


def _counting(run: Run, collection: Collection, written: Container[str]) -> list[str]:
    """The branches that tell how many packed jets an event has: their counter, or carried ones that share it."""
    counter = _counter_of(run, collection)
    if not (collection.packed and collection.jagged):
        return []
    carriers = (branch.name for branch in run.carried if branch.jagged and run.counters.get(branch.name) == counter)
    return [name for name in (counter, *carriers) if name in written]


def _counter_of(run: Run, collection: Collection) -> str:
    return run.counters.get(next(iter(collection.branches.values())), "")


def codec_of(entry: CompressedCollection, contents: Contents) -> Decoder | PackedCodec:
    """The codec of a compressed collection, with its model from the file or from the package; raises UserError."""
    sha = entry.model_sha256
    if entry.collection.packed:
        content = contents.models.get(sha)
        with damage(f"the tables or the codec of '{entry.collection.name}'", *FACTS):
            priors = Priors.from_bytes(content) if content is not None else packaged_priors(sha)
            if priors is not None:
                return _of_types(entry.collection, packed_codec_of(entry.codec, priors))
        raise UserError(f"tables {sha[:12]} are neither in the file nor in this atlasae: upgrade atlasae")
    from atlasae.codecs.floats import codec_of_config  # here, since torch takes its time, and packed jets need none
    from atlasae.codecs.model import Model, packaged_model

    content = contents.models.get(sha)
    model = Model.from_bytes(content, sha[:12]) if content is not None else packaged_model(sha)
    if model is None:
        raise UserError(f"model {sha[:12]} is neither in the file nor in this atlasae: upgrade atlasae")
    with damage(f"the codec of '{entry.collection.name}'", *FACTS):
        return _of_types(entry.collection, codec_of_config(entry.codec, model.autoencoder))


def _of_types(collection: Collection, codec: Made) -> Made:
    """The codec, checked to have padding of the types of this collection; raises ValueError where it has other."""
    codec.padding.check([np.dtype(collection.dtypes[variable]) for variable in collection.variables])
    return codec


def silent(done: int, total: int) -> None:
    """No progress bar."""
