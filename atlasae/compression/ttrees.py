"""Compression and decompression of TTrees whose baskets are copied: only the branches of jets are taken out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import awkward as ak

from atlasae.compression.chunks import Progress, made_of_events
from atlasae.compression.format import BRIEF, CarriedTree, Contents, Graft, Run, glanced_tree
from atlasae.compression.plan import Options, Plan, leave, leave_columns, make_plan
from atlasae.errors import UserError
from atlasae.files.branches import FOLDER
from atlasae.files.damage import FACTS, damage
from atlasae.files.events import Array, Counts, Events, flatten
from atlasae.files.leaves import Structure
from atlasae.files.trees import Source, Tree
from atlasae.graft.baskets import Beginning
from atlasae.graft.buffers import REWRITE, Thing
from atlasae.graft.composing import Composer
from atlasae.graft.digests import BitMarks, Digests, Marks, sampled, samples
from atlasae.graft.forms import Form, baskets_of, beginning_of, form_of_structures, forms_of_numbers
from atlasae.graft.records import Records, records_of
from atlasae.graft.taken import Filler, KeptBranch, PackedBasket, TakenOut
from atlasae.graft.trees import (
    BasketPlace,
    GraftedTree,
    counting,
    drop,
    drop_others,
    fill,
    newest_tree,
    point,
    put_in,
    take_out,
)
from atlasae.jets.collections import Collection, Rounding, jet_branches, name_counters, stand_ins
from atlasae.jets.inputs import Opened

_ENOUGH = 100_000  # bytes of a basket that tell how it stores numbers: three of ROOT's baskets by default
_ALL = 1 << 31  # more than a basket has


@dataclass(frozen=True)
class OriginalTree:
    """A TTree whose jets are to be taken out: as uproot reads it, taken apart, and the records of its file."""

    read: Tree
    tree: GraftedTree
    records: Records
    _structures: dict[str, Form | None] = field(default_factory=dict)

    def holders(self, collections: Sequence[Collection]) -> list[str]:
        """The branches that hold the variables of collections, some of them in structures."""
        return list(dict.fromkeys(map(self.read.holder, jet_branches(collections))))

    def form_of_structures(self, name: str, structure: Structure) -> Form | None:
        """How a branch stores structures, which all of its baskets tell; None where anything but numbers varies."""
        if name not in self._structures:
            self._structures[name] = form_of_structures(structure, baskets_of(self.records, self._branch(name)))
        return self._structures[name]

    def beginning(self, name: str, most: int) -> Beginning | None:
        """At least `most` bytes of the first basket of a branch, None without one."""
        return beginning_of(self.records, self._branch(name), most)

    def _branch(self, name: str) -> Thing:
        return (self._by_name.get(name) or self.tree.named(name))[1]

    @cached_property
    def _by_name(self) -> dict[str, tuple[Thing, Thing]]:
        return self.tree.by_name()


def plan_ttree(
    original: OriginalTree, opened: Opened, options: Options
) -> tuple[Opened, Plan, dict[str, Form], list[Collection]]:
    """The input without branches that can't be taken out, the plan for it, and how the branches of jets store values.

    Returned with the collections that are left out of the plan, because their branches can't be made again. Raises
    UserError for jets that are counted by another branch than the one that is read as their counter.
    """
    plan = _keeping_counters(original, make_plan(opened, options, grafted=True), options.only_jets)
    if whole := _unfit(original, plan.collections):
        note = f"left as they are, since more than numbers varies in their objects: {', '.join(whole)}"
        opened = replace(opened, events=original.read.leaving(whole), notes=(*opened.notes, note))
        plan = _keeping_counters(original, make_plan(opened, options, grafted=True), options.only_jets)
    columns = [(c, name) for c in plan.collections if c.has_others for name in c.branches]
    if unlike := [name for c, name in columns if not _has_form(original, opened, c, name)]:
        plan = leave_columns(plan, unlike)
    forms, others = _forms_of(original, opened, plan.collections, options.rounds)
    plan = leave(plan, others) if others else plan
    return opened, replace(plan, collections=_as_stored(plan.collections, forms)), forms, others


def _keeping_counters(original: OriginalTree, plan: Plan, alone: bool) -> Plan:
    """The plan with what can be dropped from a tree, by itself all but the jets: not the branches that count others."""
    tree, holders = original.tree, original.holders(plan.collections)
    _check_counters(tree, plan.collections)
    if alone:
        kept, names = {*holders, *_counters(plan.collections)}, set(tree.names)
        return replace(plan, dropped=sorted(names - kept - counting(tree, names - kept)))
    counters = counting(tree, {*plan.dropped, *holders})
    return replace(plan, dropped=[name for name in plan.dropped if name not in counters])


def _check_counters(tree: GraftedTree, collections: Sequence[Collection]) -> None:
    owners = {id(leaf): branch for branch in tree.branches() for leaf in branch["fLeaves"].items}
    known = tree.by_name()
    counted = [(name, c.counter) for c in collections if c.counter for name in c.branches.values()]
    for name, counter in (pair for pair in counted if known.keys() >= set(pair)):
        leaf = known[name][1]["fLeaves"].items[0]["fLeafCount"]
        owner = owners.get(id(leaf))
        if owner is not None and owner is not known[counter][1]:
            where = f"branch '{owner.name}'" if owner.name != counter else "another branch of that name"
            message = f"'{name}' is not counted by branch '{counter}' but by {where}"
            raise UserError(f"{message}: choose other jets with --jets, or {REWRITE}")


def _counters(collections: Sequence[Collection]) -> list[str]:
    """The branches of the input that count jets."""
    return list(dict.fromkeys(c.counter for c in collections if c.counter))


def _unfit(original: OriginalTree, collections: Sequence[Collection]) -> list[str]:
    """The branches of structures in which more varies than the numbers, such as bits of objects."""
    held = {name: original.read.structure(name) for name in original.holders(collections)}
    return [name for name, found in held.items() if found and original.form_of_structures(name, found) is None]


def _has_form(original: OriginalTree, opened: Opened, collection: Collection, name: str) -> bool:
    """Whether the values of a branch of other numbers of jets are stored in a way that can be made again."""
    return not _forms_of(original, opened, [collection.with_only([name])])[1]


def _forms_of(
    original: OriginalTree, opened: Opened, collections: Sequence[Collection], rounded: bool = False
) -> tuple[dict[str, Form], list[Collection]]:
    """How the branches of jets store their values, found by packing a basket again, and what can't be packed so.

    With `rounded`, decoded values may be rounded as a Double32_t or Float16_t is, whose type can then be made again.
    """
    forms: dict[str, Form] = {}
    others: list[Collection] = []
    for collection in collections:
        for variable, name in collection.branches.items():
            holder = original.read.holder(name)
            if holder in forms:
                continue
            with damage(f"branch '{holder}'"):
                if structure := original.read.structure(holder):
                    form = original.form_of_structures(holder, structure)
                else:
                    form = _form_of(original, opened, collection, variable, rounded)
            if form is None:
                others.append(collection)
                break
            forms[holder] = form
    return forms, others


def _form_of(
    original: OriginalTree, opened: Opened, collection: Collection, variable: str, rounded: bool
) -> Form | None:
    """How a branch of a variable stores its numbers, found by packing those of the first basket again, or None."""
    name = collection.branches[variable]
    form = Form(collection.dtypes[variable].replace("<", ">"), collection.jagged and not collection.array)
    if rounded and collection.stores_coded and (cut := original.read.truncation(name)):
        form = replace(form, low=cut.low, factor=cut.factor, mantissa=cut.bits)
    return _form_in(form, original, opened.events, name, _ENOUGH)


def _form_in(form: Form, original: OriginalTree, events: Events, name: str, most: int) -> Form | None:
    """The form, or one near it, that the first basket of a branch has by so many bytes, or by all if these fit several.

    Such as zeros, which are floats and doubles.
    """
    first = original.beginning(name, most)
    if first is None:
        return form
    found = forms_of_numbers(form, first, *_first_numbers(events, name, first))
    if len(found) > 1 and not first.whole:
        return _form_in(form, original, events, name, _ALL)
    return found[0] if found else None


def _first_numbers(events: Events, name: str, basket: Beginning) -> tuple[Array, Counts]:
    """The first numbers of a branch and of each entry, as many as fill the bytes that a basket begins with."""
    most, known = basket.entries if basket.whole else min(basket.entries, len(basket.data)), len(basket.data)
    values, counts = flatten(events.read([name], 0, most)[name])
    while len(values) < known and most < basket.entries:
        most = min(basket.entries, 2 * most)
        values, counts = flatten(events.read([name], 0, most)[name])
    return values, counts


def _as_stored(collections: Sequence[Collection], forms: Mapping[str, Form]) -> list[Collection]:
    """The collections with the dtypes in which their branches store values, and the roundings of these.

    A Double32_t is a float in the file, or a number with fewer bits.
    """
    found = []
    for collection in collections:
        narrow = {v for v, name in collection.branches.items() if name in forms and forms[name].dtype == ">f4"}
        dtypes = {v: "<f4" if v in narrow else dtype for v, dtype in collection.dtypes.items()}
        known = {
            v: _rounding(forms[name])
            for v, name in collection.branches.items()
            if name in forms
            if v not in collection.shared
        }
        roundings = {v: rounding for v, rounding in known.items() if rounding}
        found.append(replace(collection, dtypes=dtypes, roundings=roundings or None))
    return found


def _rounding(form: Form) -> Rounding | None:
    """The rounding of numbers that are stored with fewer bits than in memory."""
    if form.factor:
        return Rounding(None, form.low, 1 / form.factor)
    return Rounding(form.mantissa) if form.mantissa else None


@dataclass(frozen=True)
class Operated:
    """A tree whose jets were taken out: what these were, the counters that stayed, and samples of its baskets."""

    tree: GraftedTree
    taken: TakenOut
    counters: dict[str, Thing]
    samples: dict[str, int]

    @classmethod
    def of(cls, original: OriginalTree, forms: dict[str, Form], plan: Plan, alone: bool) -> "Operated":
        """Take out the jets of a tree, and what is to be dropped; `alone`: all but the jets."""
        tree, counters, holders = original.tree, _counters_kept(original.tree, plan), original.holders(plan.collections)
        if alone:
            drop_others(tree, [*holders, *counters])
        else:
            drop(tree, plan.dropped)
        taken = TakenOut.of(tree, take_out(tree, holders), forms)
        return cls(tree, taken, counters, samples(original.records, sampled(original.records, tree)))

    def put_stand_ins(self, composer: Composer, other: GraftedTree, made: Records) -> None:
        """Copy the baskets of the stand-ins, and put their branches into the tree, counted by what counted the jets.

        They are those of another tree, in a file with the records `made`.
        """
        names = set(self.tree.names)
        ours = [branch for _, branch in other.walk() if branch.name not in self.counters]
        if taken := names.intersection(branch.name for branch in ours):
            raise UserError(f"branch '{min(taken)}' is in the way of the jets: leave it out with --drop")
        composer.copy_baskets(made, ours, self.tree.folder.at)
        for branch in ours:
            point(branch, lambda leaf: self.counters.get(leaf.name, leaf))
            put_in(self.tree, branch)

    def told(self, run: Run, graft: Graft) -> Run:
        """The run with what `graft` tells of the rest of the file, and what was taken out of this tree."""
        number = 0 if graft.alone else len(self.tree.names)
        return replace(run, graft=replace(graft, taken=self.taken, branches=number, samples=self.samples))


def _counters_kept(tree: GraftedTree, plan: Plan) -> dict[str, Thing]:
    """The leaves of the input that count jets, by the name of their branch."""
    found = {}
    for collection in plan.collections:
        if collection.counter and collection.counter not in plan.dropped:
            _, branch = tree.named(next(iter(collection.branches.values())))
            leaf = branch["fLeaves"].items[0]["fLeafCount"]
            found[collection.counter] = leaf or tree.named(collection.counter)[1]["fLeaves"].items[0]
    return found


def carried_trees(trees: Sequence[GraftedTree], digests: Digests) -> Iterator[tuple[str, CarriedTree]]:
    """The entries and the checksums of trees that were copied, by their paths."""
    for tree in trees:
        yield tree.path, CarriedTree(tree.thing["fEntries"], Marks.of(*digests.in_groups(tree.path)))


def changed_branches_of(digests: Digests, path: str, number: int, marks: list[int], run: Run) -> list[str]:
    """The branches of a tree that differ from the marks that a run has of a range of entries."""
    if run.format < BRIEF:
        return BitMarks(marks).changed(digests.found(path, number))
    return Marks(marks).changed(*digests.in_groups(path, number))


# --- back


@dataclass(frozen=True)
class TtreeJets:
    """A tree of jets of a grafted file taken apart: its contents, the tree without stand-ins, the place of samples."""

    contents: Contents
    tree: GraftedTree
    sampled: dict[str, BasketPlace]

    @classmethod
    def of(cls, records: Records, contents: Contents, tree: GraftedTree) -> "TtreeJets":
        """Take the stand-ins out of a tree of jets, whose contents these are, and what was written beside them."""
        run = contents.runs[0]
        ours = {name for entry in run.collections for name in stand_ins(entry.collection, run.counters)}
        ours |= {run.counters[branch.name] for branch in run.carried if branch.jagged}
        take_out(tree, {*ours, *(branch.name for branch in run.carried)})
        return cls(contents, tree, sampled(records, tree, graft_of(run).samples))

    @property
    def graft(self) -> Graft:
        """What the first run tells of its branches."""
        return graft_of(self.contents.runs[0])

    def put_back(self) -> list[tuple[Thing, KeptBranch]]:
        """Put the branches of the jets back in their places, without values; returns those that are to hold values."""
        taken = self.graft.taken
        assert taken is not None
        return taken.put_back(self.tree)

    def restore(self, source: Source, composer: Composer, setting: int, progress: Progress) -> None:
        """Put the branches of the jets back, and write their baskets; `setting` is the compression of the file."""
        with damage(f"'{FOLDER}' in '{source.path}'", *FACTS):
            filled = self.put_back()
        fillers = [Filler(self.tree, setting, thing, kept) for thing, kept in filled]
        shared = len(self.contents.chunks) == 1  # else each thread has a chunk

        def packed_of(events: Mapping[str, ak.Array]) -> list[list[PackedBasket]]:
            return [filler.pack(events, shared) for filler in fillers]

        for _, packed in made_of_events(packed_of, source, self.contents, progress):
            for filler, baskets in zip(fillers, packed, strict=True):
                filler.write(composer, baskets)
        for filler in fillers:
            fill(self.tree, filler.branch, filler.written)

    def held(self, branch: str) -> list[str]:
        """The numbers of the structures of a branch that was taken out; other branches hold themselves."""
        return self.graft.taken.held(branch) if self.graft.taken else [branch]


def graft_of(run: Run) -> Graft:
    """What the run of a grafted file tells of what was copied."""
    assert run.graft is not None
    return run.graft


def leave_jets_out(tree: GraftedTree, run: Run) -> None:
    """Take out of a tree of an original file what a run took out and left out."""
    graft = graft_of(run)
    names = [name for name, _ in graft.taken.named] if graft.taken else []
    if graft.alone:
        drop_others(tree, [*names, *_counters([entry.collection for entry in run.collections])])
    known = {*tree.names, *tree.paths()}
    take_out(tree, [name for name in names if name in known], wholly=run.format >= BRIEF)
    drop(tree, [name for name in run.dropped if name in known])


def ttree_rewritten(source: Source, contents: Contents) -> Contents:
    """The contents of a grafted TTree as if all that uproot can read had been written anew, without its checksums."""
    run, tree = contents.runs[0], glanced_tree(source, contents.tree)
    with damage(f"'{source.path}'", *FACTS):
        records = records_of(source)
        jets_of = TtreeJets.of(records, contents, newest_tree(records, contents.tree))
        jets_of.put_back()
        order = list(dict.fromkeys(name for branch in jets_of.tree.names for name in jets_of.held(branch)))
    jets, known = set(run.originals), {branch.name: branch for branch in tree.branches}
    kept = [known[name] for name in order if name in known and name not in jets]
    counters = name_counters([entry.collection for entry in run.collections], kept, {*order, *run.counters.values()})
    implied = set(counters.values())
    carried = [branch for branch in kept if branch.name not in implied]
    names = {branch.name for branch in carried}
    originals, counters = [name for name in order if name in jets | names], counters | run.counters
    written = [*run.written, *(branch.name for branch in carried if branch.name not in run.written)]
    made = [replace(chunk, checksums=chunk.checksums[: len(one.written)]) for one, _, chunk in contents.chunks_by_run()]
    runs = [
        replace(one, written=written, carried=carried, originals=originals, counters=counters, graft=None)
        for one in contents.runs
    ]
    return replace(contents, runs=runs, chunks=made)
