"""Two files side by side: the jets of each chunk before and after compression."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.compression.chunks import Chunks, Progress, WrittenChunk, in_turn, layout_kind, pieces
from atlasae.compression.format import CompressedCollection, Contents, is_compressed, read_contents
from atlasae.compression.others import entry_ranges
from atlasae.compression.pieces import check_parts, entries_of
from atlasae.compression.plan import Options
from atlasae.errors import UserError
from atlasae.files.events import Counts, flatten
from atlasae.files.remote import Location
from atlasae.files.tables import is_table
from atlasae.files.trees import Source, open_source
from atlasae.jets.collections import Collection, stand_ins
from atlasae.jets.columns import StoredJets, same_bits, settle_by, to_columns
from atlasae.jets.coordinates import Bools, Floats
from atlasae.jets.inputs import Opened, event_branch, find_in, open_input
from atlasae.jets.stored import largest_of, storage_of
from atlasae.report import loosest, some
from atlasae.reports.results import PairFacts
from atlasae.threads import side_by_side

PART = 100_000  # jets per piece
_FIRST = 20_000  # entries from which units are found

EventNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Paired:
    """A collection that is in both files: its precision, and its bytes in baskets before and after."""

    collection: Collection
    bytes_before: int
    bytes_after: int
    precision: dict[str, float | None] = field(default_factory=dict)
    layout: str | None = None
    exact_jets: int | None = None
    latents: tuple[str, ...] = ()
    meaning: tuple[str, ...] = ()  # of each latent: which bits of which variables it holds


@dataclass(frozen=True)
class JetPairs:
    """Jets of some entries before and after (n x 4: pt, eta, phi, m in MeV), and which are the same bit for bit.

    `counts` are the jets per event; if each row is one jet, `numbers` are its event numbers, or None without any.
    `largest` are the largest errors of the variables with a promise, as `verify` counts them.
    """

    before: Floats
    after: Floats
    same: Bools
    counts: Counts | None
    numbers: EventNumbers | None
    latents: Floats | None
    largest: Mapping[str, float] = field(default_factory=dict)


Pieces = Iterator[tuple[int, dict[str, ak.Array], dict[str, ak.Array], dict[str, ak.Array]]]


@dataclass(frozen=True)
class TreePair:
    """A tree of an original and of its compressed or decompressed file.

    `pieces` yields, for ranges of entries: the first entry, the original's branches, the decompressed branches,
    latents.
    """

    original: Opened
    paired: list[Paired]
    pieces: Pieces
    event_column: str | None = None  # as asked for; else found by its name

    def jets(self) -> Iterator[tuple[str, JetPairs]]:
        """The jets of every collection, piece by piece, each with the collection's name."""
        numbers, branch = self._table_numbers, self._number_branch
        for start, before, after, latents in self.pieces:
            stop = start + len(next(iter(after.values())))
            if branch:
                numbers = np.asarray(self.original.events.read([branch], start, stop)[branch]).astype(np.int64)
            of_piece = numbers if branch or numbers is None else numbers[start:stop]
            for paired in self.paired:
                yield paired.collection.name, _jet_pairs(paired, before, after, latents, of_piece)
            del before, after, latents  # views, which would keep this chunk while the next is read

    @property
    def _flat(self) -> Collection | None:
        return next((paired.collection for paired in self.paired if not paired.collection.jagged), None)

    @property
    def events_from(self) -> str | None:
        """What tells of events, in words; None where nothing does: rows are jets, and have no event number."""
        if self._flat is None:
            return f"entries of '{self.original.tree}'"
        return f"column '{self._numbered}'" if self._numbered else None

    @cached_property
    def _numbered(self) -> str | None:
        """The column with the event number of each row; raises UserError where the one asked for is none."""
        events, asked = self.original.events, self.event_column
        if asked is None:
            return event_branch(events) if self._flat else None
        if self._flat is None:
            raise UserError(
                f"'{self.original.path}' has its jets in lists, an event an entry: leave out --event-column"
            )
        columns = [branch.name for branch in events.branches if branch.holds_numbers and not branch.jagged]
        if asked not in columns:
            raise UserError(f"'{self.original.path}' has no column '{asked}' of numbers: there are {some(columns, 12)}")
        return asked

    @property
    def _number_branch(self) -> str | None:
        return self._numbered if self.original.table is None else None

    @cached_property
    def _table_numbers(self) -> EventNumbers | None:
        """The number of the event of each row of a table, which may have been shuffled."""
        if self.original.table is None or self._numbered is None:
            return None
        events = self.original.events
        values = np.asarray(events.read([self._numbered], 0, events.entries)[self._numbered])
        return np.unique(values, return_inverse=True)[1].astype(np.int64)

    @property
    def contiguous(self) -> bool:
        """Whether the jets of an event are adjacent; the rows of a table may have been shuffled."""
        return self._table_numbers is None


@dataclass(frozen=True)
class Pair:
    """An original and its compressed or decompressed file, open for reading, tree by tree."""

    trees: list[TreePair]
    facts: PairFacts

    @property
    def paired(self) -> list[Paired]:
        """The collections of all trees."""
        return [paired for tree in self.trees for paired in tree.paired]

    def told_by(self, event_column: str | None) -> "Pair":
        """The pair with events that a column tells, where rows are jets."""
        return replace(self, trees=[replace(tree, event_column=event_column) for tree in self.trees])

    def jets(self) -> Iterator[tuple[str, JetPairs]]:
        """The jets of every collection of every tree, piece by piece, each with the collection's name."""
        for tree in self.trees:
            yield from tree.jets()


@contextmanager
def open_pair(
    original: Location,
    compressed: Location,
    progress: Progress,
    patterns: Sequence[str] = (),
    units: str | None = None,
    event_column: str | None = None,
) -> Iterator[Pair]:
    """Open an original and the file compressed or decompressed from it; raises UserError where they differ.

    A compressed file knows its jets and their units; for a decompressed one, `patterns` and `units` tell, as for
    `compress`. Where rows are jets, events are those of `event_column`, or of a column named like an event number.
    """
    with ExitStack() as stack:
        if not is_table(compressed):
            source = stack.enter_context(open_source(compressed))
            if is_compressed(source):
                contents = read_contents(source)
                tree = None if is_table(original) else contents.tree
                before = stack.enter_context(open_input(original, tree, ()))
                yield _with_compressed(before, source, contents, progress).told_by(event_column)
                return
        before = stack.enter_context(open_input(original, None, patterns))
        tree = before.tree if not is_table(compressed) and before.table is None else None
        after = stack.enter_context(open_input(compressed, tree, patterns))
        yield _with_plain(before, after, patterns, units, progress).told_by(event_column)


def _with_compressed(original: Opened, source: Source, contents: Contents, progress: Progress) -> Pair:
    found, trees = list[TreePair](), contents.of_trees()
    entries = [source.trees[tree].entries for tree in trees]
    for (tree, one), advance in zip(trees.items(), in_turn(progress, entries), strict=True):
        check_parts(f"'{source.path}'", one.runs)
        before = original.at(tree).within(entries_of(one.runs))
        _same_entries(before, source.path, source.trees[tree].entries)
        if paired := _paired(before, source, one, contents):
            pieces = _restored_pieces(before, source, one, paired, advance)
            found.append(TreePair(before, paired, pieces))
    if not found:
        raise UserError(f"'{source.path}' holds a list of variables, no four-momenta: `atlasae verify` compares those")
    models = {entry.model_sha256 for run in contents.runs[:1] for entry in run.collections[:1]}
    facts = PairFacts(
        original=original.path.name,
        compressed=source.path.name,
        entries=sum(entries),
        tree=", ".join(trees),
        model_sha256=models.pop(),
        bytes_file_in=contents.source_bytes,
        bytes=source.path.stat().st_size,
    )
    return Pair(found, facts)


def _paired(original: Opened, source: Source, of_tree: Contents, contents: Contents) -> list[Paired]:
    """The collections of jets of a tree, which are named with it where there are several."""
    run, tree, paired = of_tree.runs[0], source.trees[of_tree.tree], list[Paired]()
    for entry in (entry for entry in run.collections if entry.collection.holds_jets):
        name = entry.collection.name
        _same_branches(original, entry.collection, source.path)
        runs = of_tree.over_runs(name)
        paired.append(
            Paired(
                collection=replace(entry.collection, name=contents.shown(run.tree, name)),
                bytes_before=original.events.compressed_bytes(entry.collection.own),
                bytes_after=tree.compressed_bytes(stand_ins(entry.collection, run.counters)),
                precision=loosest([found.precision for found in runs]),
                layout=entry.collection.layout,
                exact_jets=sum(found.exact_jets for found in runs),
                latents=() if layout_kind(entry).by_chunk else entry.collection.latents,
                meaning=_meaning(entry),
            )
        )
    return paired


def _restored_pieces(
    original: Opened, source: Source, contents: Contents, paired: Sequence[Paired], progress: Progress
) -> Pieces:
    chunks = Chunks(source, contents)
    with side_by_side(lambda place: chunks.read(*place).unpacked(), chunks) as unpacked:
        for written in unpacked:
            yield from _pieces_of(written, original, paired)
            progress(written.start + written.chunk.entries, chunks.tree.entries)


def _pieces_of(written: WrittenChunk, original: Opened, paired: Sequence[Paired]) -> Pieces:
    names = [name for p in paired for name in p.collection.branches.values()]
    latents = [name for p in paired for name in p.latents]
    start, entries = written.start, written.chunk.entries
    before = original.events.read(names, start, start + entries)
    for first, last in pieces(entries, written.chunk.jets, PART):
        part = written.part(first, last)
        yield start + first, _part(before, first, last), part.restored(), {n: part.events[n] for n in latents}


def _part(events: dict[str, ak.Array], first: int, last: int) -> dict[str, ak.Array]:
    return {name: array[first:last] for name, array in events.items()}


def _settled(opened: Opened, collections: Sequence[Collection], units: str | None) -> list[Collection]:
    names = [name for collection in collections for name in collection.branches.values()]
    first = opened.events.read(names, 0, min(opened.events.entries, _FIRST))
    return settle_by(collections, units, first)


def _with_plain(before: Opened, after: Opened, patterns: Sequence[str], units: str | None, progress: Progress) -> Pair:
    """The trees with jets that both files have."""
    trees = [tree for tree in before.trees if after.source is None or tree in after.source.trees]
    entries = [before.at(tree).events.entries for tree in trees]
    found = [
        _plain_tree(before.at(tree), after.at(tree), tree if len(trees) > 1 else "", patterns, units, advance)
        for tree, advance in zip(trees, in_turn(progress, entries), strict=True)
    ]
    facts = PairFacts(
        original=before.path.name,
        compressed=after.path.name,
        entries=sum(entries),
        tree=", ".join(trees),
        bytes_file_in=before.path.stat().st_size,
        bytes=after.path.stat().st_size,
    )
    return Pair(found, facts)


def _plain_tree(
    before: Opened, after: Opened, shown: str, patterns: Sequence[str], units: str | None, progress: Progress
) -> TreePair:
    """A tree of both files; `shown` is its name, if its collections are named with it."""
    _same_entries(before, after.path, after.events.entries)
    found = []
    for collection in _settled(before, find_in(before.events, before.where, patterns, before.tree), units):
        names = list(collection.branches.values())
        _same_branches(after, collection, before.path)
        named = replace(collection, name=f"{shown}/{collection.name}" if shown else collection.name)
        found.append(Paired(named, before.events.compressed_bytes(names), after.events.compressed_bytes(names)))
    return TreePair(before, found, _plain_pieces(before, after, found, progress))


def _plain_pieces(before: Opened, after: Opened, paired: Sequence[Paired], progress: Progress) -> Pieces:
    names = [name for p in paired for name in p.collection.branches.values()]
    for start, stop in entry_ranges(before.events, names, Options.step_size):
        events = before.events.read(names, start, stop), after.events.read(names, start, stop)
        jets = sum(len(flatten(events[0][next(iter(p.collection.branches.values()))])[0]) for p in paired)
        for first, last in pieces(stop - start, jets, PART):
            yield start + first, _part(events[0], first, last), _part(events[1], first, last), {}
        progress(stop, before.events.entries)


def _jet_pairs(
    paired: Paired,
    before: dict[str, ak.Array],
    after: dict[str, ak.Array],
    latents: dict[str, ak.Array],
    numbers: EventNumbers | None,
) -> JetPairs:
    collection = paired.collection
    one, other = (StoredJets(collection, *to_columns(collection, events)) for events in (before, after))
    if not np.array_equal(one.counts, other.counts):
        raise UserError(
            f"'{collection.name}' has other numbers of jets per event in the two files: not the same events"
        )
    words = [ak.to_numpy(ak.flatten(latents[name], axis=None)) for name in paired.latents] if latents else []
    same, storage = same_bits(one.columns, other.columns), storage_of(collection)
    with np.errstate(all="ignore"):
        errors = storage.errors(storage.to_values(one.columns), storage.to_values(other.columns))
    return JetPairs(
        before=one.jets,
        after=other.jets,
        same=same,
        counts=one.counts if collection.jagged else None,
        numbers=None if collection.jagged else numbers,
        latents=np.stack(words, axis=1).astype(np.float64) if words else None,
        largest=largest_of(errors, same, paired.precision or errors),
    )


def _same_entries(original: Opened, path: Location, entries: int) -> None:
    if original.events.entries != entries:
        raise UserError(
            f"'{path}' has {entries} entries, '{original.path}' {original.events.entries}: not the same events"
        )


def _same_branches(opened: Opened, collection: Collection, path: Location) -> None:
    known = {branch.name for branch in (*opened.events.branches, *opened.events.members)}
    if missing := [name for name in collection.branches.values() if name not in known]:
        raise UserError(f"'{opened.path}' has no branch '{missing[0]}' of '{path}': not the same jets")


def _meaning(entry: CompressedCollection) -> tuple[str, ...]:
    """The contents of each latent: bits of variables, leading ones first."""
    variables = entry.collection.coded
    if "words" not in entry.codec:
        return tuple("an output of the network" for _ in entry.collection.latents)
    words = [
        [
            f"{np.log2(digit['radix']):.1f} bits of {variables[digit['variable']]}"
            for digit in word
            if digit["radix"] > 1
        ]
        for word in entry.codec["words"]
    ]
    return tuple(" and ".join(word) or "nothing" for word in words)
