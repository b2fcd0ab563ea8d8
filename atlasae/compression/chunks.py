"""Reads the chunks of a compressed file, compares them with their checksums and decodes them by their layouts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import TypeVar

import awkward as ak
import numpy as np

from atlasae.compression.collection import FileLayout, JetsLayout
from atlasae.compression.format import Chunk, CompressedCollection, Contents, Run, jets_tree
from atlasae.compression.packed import PACKED_LAYOUTS, ColumnsLayout, Nominal, VariedLayout
from atlasae.errors import DamagedFileError, sparing
from atlasae.files.branches import FOLDER
from atlasae.files.checksums import checksums
from atlasae.files.damage import FACTS, damage
from atlasae.files.events import dtype_of
from atlasae.files.trees import Source, Tree
from atlasae.jets.collections import Collection
from atlasae.threads import side_by_side

Progress = Callable[[int, int], None]  # arguments: entries done, all entries
_Made = TypeVar("_Made")


def layout_named(name: str) -> type[JetsLayout]:
    """The layout of four-momenta of this name; raises ValueError for an unknown one."""
    if name in PACKED_LAYOUTS:
        return PACKED_LAYOUTS[name]
    from atlasae.compression.floats import FLOATS_LAYOUTS  # here, as it imports torch: slow, and packed jets need none

    if name not in FLOATS_LAYOUTS:
        raise ValueError(f"layout '{name}' is unknown")
    return FLOATS_LAYOUTS[name]


def layout_kind(entry: CompressedCollection) -> type[FileLayout]:
    """The layout of a compressed collection; raises DamagedFileError if unknown or if its branches do not fit."""
    with damage(f"the codec of '{entry.collection.name}'", *FACTS):
        named = entry.codec["layout"]
        beside = VariedLayout if entry.collection.holds_jets else ColumnsLayout
        kind: type[FileLayout] = beside if entry.collection.beside else layout_named(named)
        if kind.by_chunk != (entry.collection.layout == "packed"):
            raise ValueError(f"layout '{entry.codec['layout']}' of jets in {entry.collection.latents[0]}")
        return kind


def layouts_of(run: Run, contents: Contents) -> list[FileLayout]:
    """The layouts of the collections of a run, with their models; raises UserError and DamagedFileError."""
    found: dict[str, FileLayout] = {}
    jets = {c.collection.name: layout_of(c, contents) for c in run.collections if not c.collection.beside}
    nominal = {name: Nominal(layout) for name, layout in jets.items()}
    for entry in run.collections:
        collection = entry.collection
        if not collection.beside:
            found[collection.name] = jets[collection.name]
        elif collection.beside not in jets or entry.codec.get("layout") != _beside(collection):
            raise DamagedFileError(f"'{collection.name}' is damaged: it has no jets '{collection.beside}' beside it")
        elif collection.holds_jets:
            found[collection.name] = VariedLayout.from_config(entry, nominal[collection.beside])
        else:
            found[collection.name] = ColumnsLayout.from_config(entry, jets[collection.beside])
    return [found[entry.collection.name] for entry in run.collections]


def _beside(collection: Collection) -> str:
    """The layout of a collection beside jets."""
    return "varied" if collection.holds_jets else "columns"


def layout_of(entry: CompressedCollection, contents: Contents) -> JetsLayout:
    """The layout of four-momenta with their model; raises UserError for an unknown model, DamagedFileError."""
    layout_kind(entry)
    layout, collection = (
        layout_named(entry.codec["layout"]).from_config(entry, contents.models.get(entry.model_sha256)),
        entry.collection,
    )
    with damage(f"the codec of '{collection.name}'", *FACTS):
        layout.codec.padding.check([np.dtype(collection.dtypes[variable]) for variable in collection.variables])
    return layout


@dataclass
class Salvage:
    """What a salvage lost: ranges of entries of the tree, the number of jets, and messages about the damage.

    `spoiled` are messages about chunks that are known to be damaged, by their first entry.
    """

    missing: list[tuple[int, int]] = field(default_factory=list)
    jets: int = 0
    damage: list[str] = field(default_factory=list)
    spoiled: dict[int, str] = field(default_factory=dict)

    def miss(self, start: int, chunk: Chunk) -> None:
        """Record a chunk, whose first entry is `start`, as lost."""
        self.missing.append((start, start + chunk.entries))
        self.jets += chunk.jets


@dataclass(frozen=True)
class WrittenChunk:
    """A compressed chunk as read: its run, its first entry in the tree, its branches, and the layouts of the run."""

    run: Run
    start: int
    chunk: Chunk
    events: dict[str, ak.Array]
    layouts: list[FileLayout]

    def restored(self, names: Sequence[str] | None = None) -> dict[str, ak.Array]:
        """The original branches, all or those named; raises DamagedFileError if they can't be decoded."""
        events, aliases = dict(self.events), self.run.aliases
        names = self.run.originals if names is None else names
        single = {aliases.get(name, name) for name in names}
        for layout in self.layouts:
            own = {v: name for v, name in layout.collection.branches.items() if v not in layout.collection.shared}
            wanted = [variable for variable, branch in own.items() if branch in single and branch not in events]
            if wanted:
                with damage(f"'{layout.collection.name}' {_where(self.start, self.chunk)}"):
                    events |= layout.restore(self.events, layout.counts(self.run, self.events), wanted)
        return {name: events[aliases.get(name, name)] for name in names}

    def unpacked(self) -> "WrittenChunk":
        """The chunk with the original branches too if its jets are packed, as `part` can't cut their bytes."""
        if not any(layout.by_chunk for layout in self.layouts):
            return self
        return replace(self, events=self.events | self.restored())

    def part(self, first: int, last: int) -> "WrittenChunk":
        """Entries `first` to `last` (excluded) of the chunk, counted from its first entry."""
        events = {name: array[first:last] for name, array in self.events.items()}
        jets = count_jets(self.run, self.layouts, events)
        return WrittenChunk(self.run, self.start + first, Chunk(last - first, jets, []), events, self.layouts)


class Chunks:
    """The chunks of a compressed file; the layouts of a run are made when its first chunk is read."""

    def __init__(self, source: Source, contents: Contents) -> None:
        self.tree: Tree = jets_tree(source, contents)
        self.contents = contents
        self._layouts: dict[int, list[FileLayout]] = {}
        self._lock = Lock()  # several threads may read

    def __iter__(self) -> Iterator[tuple[Run, int, Chunk]]:
        """Every chunk with its run and its first entry in the tree."""
        return self.contents.chunks_by_run()

    def read(
        self,
        run: Run,
        start: int,
        chunk: Chunk,
        names: Sequence[str] | None = None,
        known: Mapping[str, ak.Array] | None = None,
    ) -> WrittenChunk:
        """A chunk with its written branches; with `names`, only those from which these originals are restored.

        What is `known` of the chunk is not read again. Raises DamagedFileError if a checksum, a type or the number of
        jets differs from that recorded.
        """
        with self._lock:
            if id(run) not in self._layouts:
                self._layouts[id(run)] = layouts_of(run, self.contents)
        layouts = self._layouts[id(run)]
        written = run.written if names is None else sources_of(run, names)
        known = known or {}
        events = self.tree.read([name for name in written if name not in known], start, start + chunk.entries)
        with damage(f"tree '{self.tree.name}' {_where(start, chunk)}"):
            if chunk.checksums:  # a skim has none
                _check(WrittenChunk(run, start, chunk, events, layouts))
        events = {name: known[name] if name in known else events[name] for name in written}
        return WrittenChunk(run, start, chunk, events, layouts)


def restored_events(
    source: Source, contents: Contents, progress: Progress, lost: Salvage | None = None
) -> Iterator[tuple[Run, dict[str, ak.Array]]]:
    """The run and the original branches of every chunk; raises DamagedFileError, or with `lost` records the damage."""
    return made_of_events(lambda events: events, source, contents, progress, lost)


def made_of_events(
    make: Callable[[dict[str, ak.Array]], _Made],
    source: Source,
    contents: Contents,
    progress: Progress,
    lost: Salvage | None = None,
) -> Iterator[tuple[Run, _Made]]:
    """The same with what is made of the branches of each chunk, in several threads."""
    chunks = Chunks(source, contents)
    with side_by_side(partial(_restored, chunks, lost.spoiled if lost else {}, make), chunks) as restored:
        for (run, start, chunk), found in zip(chunks, restored, strict=True):
            progress(start + chunk.entries, chunks.tree.entries)
            if not isinstance(found, DamagedFileError):
                yield run, found
                del found  # before the next is waited for
                continue
            with sparing(lost.damage if lost else None):
                raise found
            if lost:
                lost.miss(start, chunk)


def _restored(
    chunks: Chunks,
    spoiled: Mapping[int, str],
    make: Callable[[dict[str, ak.Array]], _Made],
    place: tuple[Run, int, Chunk],
) -> _Made | DamagedFileError:
    """What is made of the original branches of a chunk, or what is wrong with it; `spoiled` has messages by entries."""
    run, start, chunk = place
    if start in spoiled:
        return DamagedFileError(spoiled[start])
    try:
        events = chunks.read(run, start, chunk).restored()
    except DamagedFileError as error:
        return error
    return make(events)


def sources_of(run: Run, names: Sequence[str]) -> list[str]:
    """The written branches from which these original branches are restored, in the order of `run.written`."""
    names = [run.aliases.get(name, name) for name in names]
    sources = {branch.name for branch in run.carried}.intersection(names)
    collections = [entry.collection for entry in run.collections]
    telling = [c for c in collections if c.beside and not set(c.own).isdisjoint(names)]
    told, varied = {c.beside for c in telling}, {c.beside for c in telling if c.holds_jets}
    for collection in collections:
        own = [(v, branch) for v, branch in collection.branches.items() if v not in collection.shared]
        wanted = [v for v, branch in own if branch in names or collection.name in varied]
        if wanted or collection.name in told:
            counting = run.counting(collection, run.written)[:1]
            exact = {collection.exact[variable] for variable in ("index", *wanted) if collection.exact}
            sources |= {*collection.latents, *exact, *counting}
    return [name for name in run.written if name in sources]


def pieces(entries: int, jets: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of entries with about `most` jets each, to limit memory; one empty range if there are no entries.

    >>> list(pieces(10, 100, 40))
    [(0, 4), (4, 8), (8, 10)]
    """
    step = max(1, entries * most // max(1, jets))
    for first in range(0, max(entries, 1), step):
        yield first, min(first + step, entries)


def _check(written: WrittenChunk) -> None:
    run, chunk, events, where = written.run, written.chunk, written.events, _where(written.start, written.chunk)
    if changed := changed_branches(run, chunk, events):
        (name, why), *others = changed.items()
        more = f" (and {len(others)} more)" if others else ""
        raise DamagedFileError(f"branch '{name}'{more} is damaged: {why} {where}; get the file again")
    if len(events) == len(run.written) and (jets := count_jets(run, written.layouts, events)) != chunk.jets:
        raise DamagedFileError(f"'{FOLDER}/chunks' is damaged: {chunk.jets} jets recorded, {jets} found {where}")


def changed_branches(run: Run, chunk: Chunk, events: Mapping[str, ak.Array]) -> dict[str, str]:
    """The branches of a chunk whose checksum or type differs, and which; a checksum does not include the type."""
    known = zip(run.written, chunk.checksums, strict=False)  # of grafted files, those of the stand-ins come first
    there = checksums(events)
    found = {n: "checksum differs" for n, told in known if there.get(n, told) != told}
    dtypes = {branch.name: branch.dtype.removesuffix(" array") for branch in run.carried if branch.name in events}
    return found | {n: "type differs" for n, dtype in dtypes.items() if n not in found and dtype_of(events[n]) != dtype}


def _where(start: int, chunk: Chunk) -> str:
    return f"in entries {start} to {start + chunk.entries}"


def count_jets(run: Run, layouts: Sequence[FileLayout], events: Mapping[str, ak.Array]) -> int:
    """The number of jets in compressed events, all collections together."""
    return sum(int(layout.counts(run, events).sum()) for layout in layouts if not layout.collection.has_others)


def in_turn(progress: Progress, totals: Sequence[int]) -> Iterator[Progress]:
    """Callbacks for the progress of several things, one after the other, each of so many entries, as that of one."""
    before = 0
    for total in totals:
        yield partial(_advance, progress, before, sum(totals))
        before += total


def _advance(progress: Progress, before: int, whole: int, done: int, _: int) -> None:
    progress(before + done, whole)


def silent(done: int, total: int) -> None:
    """Ignore the progress."""
