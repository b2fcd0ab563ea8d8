"""Inputs: the tree with jets of a ROOT file, or a table."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from atlasae.errors import UserError
from atlasae.files.branches import FOLDER, TITLES, Unwritable
from atlasae.files.events import INDEX, Array, Counts, Events, TableFacts, Window
from atlasae.files.remote import Location
from atlasae.files.tables import is_table, open_table
from atlasae.files.trees import Source, Tree, open_source
from atlasae.jets.collections import Collection
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import energy
from atlasae.jets.layouts import Layout
from atlasae.jets.names import names_jets
from atlasae.jets.recognition import (
    BOTH,
    find_collections,
    nearest_candidates,
    resolve_pattern,
    spells_jets,
)  # fmt: skip
from atlasae.jets.stored import Storage
from atlasae.jets.units import valid_pt, with_units
from atlasae.jets.variables import JET

EVERYTHING = "*"  # the pattern of all four-momenta, of whatever objects
TABLE_TREE = "jets"  # name of the tree that is written for a table
_TOLD = 1e-5  # relative difference of E from that of the mass and the momentum, at most
_MOST = 0.9  # share of jets with this: the others take 20 bytes each, as much as a mass of all takes in five jets
_TEXTS = "holds texts"
_EVENT_NUMBER = re.compile(r"(^|[._:])(event|event_?number|evt)$", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A part of a file: entries [start, stop) of its tree, the number of the part, and the number of parts."""

    start: int
    stop: int
    number: int
    parts: int


@dataclass(frozen=True)
class Opened:
    """An open input: the events to compress, the name and title of their tree, and the ROOT file (None for a table)."""

    path: Location
    events: Events
    tree: str
    title: str = ""
    source: Source | None = None
    table: TableFacts | None = None
    part: Part | None = None
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # other trees with jets

    @property
    def trees(self) -> list[str]:
        """This tree and the others with jets, in the order of the file."""
        known = {self.tree, *self.others}
        return [name for name in self.source.trees if name in known] if self.source else [self.tree]

    def at(self, tree: str, nested: bool | None = None) -> "Opened":
        """The input at another of its trees, by itself; raises UserError if there is none of this name.

        With `nested` as `open_input` has it, by default as here.
        """
        if self.source is None:
            return self
        found = choose_tree(self.source, tree, ())
        events = found.nesting() if (self._is_nested if nested is None else nested) else found
        whole = replace(self, events=events, tree=found.name, title=found.title, others=(), part=None)
        return whole.in_part(self.part.number, self.part.parts) if self.part else whole

    @property
    def whole(self) -> Events:
        """All events of the tree, of which these may be a part."""
        return self.events.events if isinstance(self.events, Window) else self.events

    @property
    def _is_nested(self) -> bool:
        return isinstance(self.whole, Tree) and self.whole.nested

    @property
    def tree_read(self) -> Tree | None:
        """The tree in the file, or None for a table."""
        return self.source.trees[self.tree] if self.source else None

    @property
    def where(self) -> str:
        """The tree or the table as messages name it."""
        return f"tree '{self.tree}'" if self.table is None else f"'{self.path}'"

    def within(self, entries: tuple[int, int] | None) -> "Opened":
        """The input with the entries [start, stop) only, as far as they exist; with all entries without a range."""
        if entries is None:
            return self
        start, stop = (min(entry, self.events.entries) for entry in entries)
        return replace(self, events=Window(self.events, start, max(start, stop)))

    def in_part(self, number: int, parts: int) -> "Opened":
        """The input with the entries of one of so many parts only."""
        start, stop = (self.events.entries * edge // parts for edge in (number, number + 1))
        return replace(self.within((start, stop)), part=Part(start, stop, number, parts))


@contextmanager
def open_input(
    path: Location, tree: str | None, patterns: Sequence[str], names: Sequence[str] = (), nested: bool = False
) -> Iterator[Opened]:
    """Open a ROOT file at the tree with jets (or with the branches `names`), or a table; raises UserError.

    Of several such trees, it is opened at the one with the most entries. With `nested`, the branches include those
    that only an RNTuple can hold, for output to one.
    """
    if is_table(path):
        with open_table(path) as table:
            yield Opened(path, table.events, TABLE_TREE, table=table.facts, notes=table.notes)
        return
    with open_source(path) as source:
        if any(f"{FOLDER}/{name}" in source.trees for name in TITLES):
            raise UserError(f"'{path}' is compressed by atlasae already: `atlasae decompress` it first")
        found = choose_tree(source, tree, patterns) if tree or not names else tree_with(source, names)
        alike = [] if tree else _having(source, names) if names else _with_jets(source, patterns)
        others = [one.name for one in alike if one is not found]
        events = found.nesting() if nested else found
        yield Opened(path, events, found.name, found.title, source, others=tuple(others))


def choose_tree(source: Source, name: str | None, patterns: Sequence[str]) -> Tree:
    """The tree of this name, or of those with jets the one with the most entries; raises UserError if there is none."""
    if name is not None:
        if name not in source.trees:
            raise UserError(f"no tree '{name}' in '{source.path}': there are {', '.join(source.trees) or 'none'}")
        return source.trees[name]
    candidates = _with_jets(source, patterns)
    if not candidates and patterns and source.trees:
        largest = max(source.trees.values(), key=lambda tree: tree.entries)
        find_in(largest, f"tree '{largest.name}'", patterns, largest.name)
    if not candidates:
        trees = ", ".join(f"'{tree}'" for tree in source.trees)
        looked = f"looked for *_pt, *.pt in {trees}" if trees else "it has no tree"
        problem = f"'{source.path}' has no jets: {looked}"
        raise UserError(problem + _nearest_in(source.trees.values()))
    return max(candidates, key=lambda tree: (tree.entries, len(tree.branches)))


def _nearest_in(trees: Iterable[Tree]) -> str:
    """The end of a message about trees without jets: what comes nearest in the largest, and what can't be read."""
    known = sorted(trees, key=lambda tree: (bool(tree.branches or tree.members), tree.entries))
    if not known:
        return ""
    largest = known[-1]
    near = nearest_candidates(largest.branches, largest.full_names, largest.members)
    return f"; {near}{_unread_jets([u for tree in known for u in _no_numbers(tree)])}"


def _no_numbers(events: Events) -> list[Unwritable]:
    """What can't be read, and texts, which may have been meant as numbers."""
    texts = [Unwritable(branch.name, _TEXTS) for branch in events.branches if branch.dtype == "string"]
    return [*events.unwritable, *texts]


def _unread_variables(unwritable: Iterable[Unwritable]) -> str:
    """The end of a message: branches named like variables of jets that can't be read, with reasons; may be empty."""
    return _unread([u for u in unwritable if spells_jets(u.name)])


def _unread_jets(known: Sequence[Unwritable]) -> str:
    """The same where there are no jets, which may be whole in branches that can't be read, first in those so named."""
    spelling = [u for u in known if spells_jets(u.name)]
    whole = [u for u in known if names_jets(u.name) and u not in spelling]
    whole = whole or [u for u in known if not spelling and u.why != _TEXTS]
    hint = ": jets need a branch for each variable, such as by RDataFrame's Define" if whole else ""
    return _unread([*spelling, *whole]) + hint


def _unread(unread: Sequence[Unwritable]) -> str:
    listed = "; ".join(f"{u.name} ({u.why})" for u in unread[:4])
    return f"; not read: {listed}{', ...' if len(unread) > 4 else ''}" if unread else ""


def tree_with(source: Source, names: Sequence[str]) -> Tree:
    """The tree with the most entries of those that have all these branches; raises UserError if none has."""
    candidates = _having(source, names)
    if not candidates:
        most = max(source.trees.values(), key=lambda tree: len(tree.names & set(names)), default=None)
        missing = next(name for name in names if most is None or name not in most.names)
        where = f"'{most.name}'" if most else "the file"
        raise UserError(f"no tree has all branches of the list: '{missing}' is not in {where} of '{source.path}'")
    return max(candidates, key=lambda tree: tree.entries)


def _having(source: Source, names: Sequence[str]) -> list[Tree]:
    return [tree for tree in source.trees.values() if tree.names >= set(names)]


def _with_jets(source: Source, patterns: Sequence[str]) -> list[Tree]:
    return [tree for tree in source.trees.values() if _holds(tree, patterns)]


def _holds(tree: Tree, patterns: Sequence[str]) -> bool:
    """Whether a tree has the collections that `patterns` name, or, without patterns, any."""
    branches = [*tree.branches, *tree.members]
    if not patterns or EVERYTHING in patterns:
        return bool(find_collections(branches, tree.full_names, tree.name, EVERYTHING in patterns))
    try:
        return bool([resolve_pattern(pattern, branches, tree.full_names) for pattern in patterns])
    except UserError:
        return False


def find_in(events: Events, where: str, patterns: Sequence[str], tree: str = "") -> list[Collection]:
    """The collections that `patterns` name, or all; raises UserError, which names `where`, if there are none.

    The name of the tree tells whose a plain `pt` is.
    """
    branches, full_names = [*events.branches, *events.members], events.full_names
    unread = _unread_variables(_no_numbers(events))
    everything = EVERYTHING in patterns
    try:
        found = [] if everything else [resolve_pattern(pattern, branches, full_names) for pattern in patterns]
    except UserError as error:
        raise UserError(f"{error}{unread}") from error
    why = list[str]()
    if not patterns or everything:
        named = find_collections(branches, full_names, tree, everything)
        found = [collection for collection in named if _is_consistent(collection, events, why)]
    found = [_told(collection, events) for collection in found]
    if everything:
        found = with_units(found, [_first_columns(collection, events) for collection in found])
    if not found and why:
        raise UserError(f"{where} has no jets: {why[0]}{unread}")
    if not found:
        near = nearest_candidates(events.branches, full_names, events.members)
        raise UserError(f"{where} has no jets: looked for *_pt, *.pt; {near}{_unread_jets(_no_numbers(events))}")
    if len({name for c in found for name in c.branches.values()}) < sum(len(c.own) for c in found):
        raise UserError("--jets names a branch twice: a branch belongs to one collection")
    return _named_apart(found)


def _named_apart(collections: list[Collection]) -> list[Collection]:
    """Collections with different names: `Jet_pt` and `Jet.pt` would both be of `Jet`, so they get their prefixes."""
    names = [collection.name for collection in collections]
    return [replace(c, name=c.prefix) if names.count(c.name) > 1 else c for c in collections]


def event_numbers(events: Events, collection: Collection) -> Counts:
    """The number of the event of each row of a table with one jet per row.

    It comes from a column named like an event number. Without one, rows are sorted by their labels (they may have been
    shuffled), and a new event begins where pt rises or a label is missing. Two events may then be taken for one, but
    the jets of one event are never split.
    """
    if named := event_branch(events):
        values = np.asarray(events.read([named], 0, events.entries)[named])
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    momentum = [np.asarray(events.read([name], 0, events.entries)[name]) for name in collection.branches.values()][:2]
    pt = np.hypot(*momentum) if collection.variables[0] == "px" else momentum[0]
    known = any(branch.name == INDEX and branch.holds_numbers for branch in events.branches)
    labels = np.asarray(events.read([INDEX], 0, events.entries)[INDEX]) if known else None
    if labels is None or labels.dtype.kind not in "iu" or len(np.unique(labels)) < len(labels):
        labels = np.arange(len(pt))
    order = np.argsort(labels, kind="stable")
    begins = np.diff(labels[order].astype(np.int64), prepend=-2) != 1
    begins[1:] |= np.diff(pt[order]) > 0
    numbers = np.empty(len(pt), np.int64)
    numbers[order] = np.cumsum(begins) - 1
    return numbers


def event_branch(events: Events) -> str | None:
    """The first flat branch of numbers that is named like an event number (`event`, `eventNumber`, `evt`), or None."""
    single = [branch.name for branch in events.branches if branch.holds_numbers and not branch.jagged]
    return next((name for name in single if _EVENT_NUMBER.search(name)), None)


def _is_consistent(collection: Collection, events: Events, why: list[str]) -> bool:
    """Whether the four branches agree in jets per event in the first 1000 events; what is wrong is added to `why`.

    Vectors inside of objects, which many classes have for what is not always filled, must hold jets there, too.
    """
    try:
        columns = _first_columns(collection, events)
    except UserError as error:
        why.append(str(error))
        return False
    inside = {branch.name for branch in events.members}.intersection(collection.branches.values())
    return not inside or not len(columns[0]) or len(valid_pt(collection, columns)) > 0


def _told(collection: Collection, events: Events) -> Collection:
    """The collection, of m and E with E alone if m and the momentum do not tell E of the first 1000 events."""
    if collection.variables != BOTH or _tell_energy(collection, _first_columns(collection, events)):
        return collection
    return collection.with_only([variable for variable in collection.variables if variable != "m"])


def _tell_energy(collection: Collection, columns: Sequence[Array]) -> bool:
    """Whether E is that of m and the momentum, but for a few jets and padding."""
    storage = Storage(Layout(collection.variables), tuple(column.dtype for column in columns))
    values = storage.to_values(columns)
    rows = storage.to_rows(values)
    jets = JET.usable(rows) & (values[:, 4] > 0)
    told = np.abs(energy(rows[jets]) / values[jets, 4] - 1) < _TOLD
    return bool(np.count_nonzero(told) >= _MOST * len(told))


def _first_columns(collection: Collection, events: Events) -> list[Array]:
    """The columns of the first 1000 events; raises UserError if branches differ in jets per event."""
    return to_columns(collection, events.read(list(collection.branches.values()), 0, min(events.entries, 1000)))[0]
