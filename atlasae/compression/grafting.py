"""Files of which all but the jets is copied byte for byte, in both directions.

Compression takes the branches of the jets out and puts their stand-ins in; decompression puts the jets' own branches
back and fills them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

import awkward as ak

from atlasae.compression.chunks import Progress, in_turn, restored_events
from atlasae.compression.format import BRIEF, CarriedTree, Chunk, Contents, Graft, Run, write_contents
from atlasae.compression.ntuples import (
    NtupleJets,
    NtupleTarget,
    carried_ntuple,
    differs_from,
    is_ntuple,
    ntuple_of,
    ntuple_rewritten,
    same_fields,
)
from atlasae.compression.plan import Options, Plan
from atlasae.errors import DamagedFileError, UserError, sparing
from atlasae.files.branches import FOLDER
from atlasae.files.damage import FACTS, damage
from atlasae.files.events import flatten
from atlasae.files.leaves import Structure
from atlasae.files.trees import Source, open_source
from atlasae.files.writing import PAGES, RECORDS, compression_of, create_in_memory
from atlasae.graft.anchors import GraftedNtuple, newest_ntuple, ntuples_of, packing
from atlasae.graft.baskets import Form, FormPart, Unpacked, cut, embedded_basket, open_basket, pack_basket
from atlasae.graft.buffers import REWRITE, Thing
from atlasae.graft.comparing import compare_objects, compare_trees
from atlasae.graft.composing import Composer, CopiedRecord, check_sizes
from atlasae.graft.digests import BitMarks, Digests, Marks, objects_of, sampled, samples
from atlasae.graft.ntuple import NtupleWriter
from atlasae.graft.records import Records, new_key
from atlasae.graft.streamers import merged_streamers, streamers_of, trees_among
from atlasae.graft.taken import KeptBranch, TakenOut
from atlasae.graft.trees import (
    CHAIN,
    TREES,
    BasketPlace,
    FilledBasket,
    GraftedTree,
    counting,
    drop,
    drop_others,
    embedded,
    fill,
    newest_tree,
    order_leaves,
    places,
    point,
    put_in,
    refuse_others,
    take_out,
    trees_of,
    where_values_are,
)
from atlasae.jets.collections import Collection, Rounding, jet_branches, name_counters, stand_ins
from atlasae.jets.inputs import Opened
from atlasae.report import LeftOut
from atlasae.threads import side_by_side


@dataclass
class Grafting:
    """A file whose jets are to be taken out: its records, the latest cycles of its trees, and the path of one of jets.

    For other trees of the same file, all but `path` and `forms` is the same (`at`).
    """

    source: Source
    records: Records
    trees: list[GraftedTree]
    ntuples: list[GraftedNtuple]
    path: str
    forms: dict[str, Form] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    alone: bool = False  # whether all but the jets is left out

    def at(self, path: str) -> "Grafting":
        """The same file with another of its trees."""
        return replace(self, path=path, forms={})

    @property
    def tree(self) -> GraftedTree:
        """The tree of the jets, if it is a TTree."""
        return next(tree for tree in self.trees if tree.path == self.path)

    @property
    def ntuple(self) -> GraftedNtuple:
        """The latest cycle of the RNTuple of the jets, if it is one."""
        return newest_ntuple(self.ntuples, self.path)

    def jet_holders(self, collections: Sequence[Collection]) -> list[str]:
        """The branches that hold the variables of collections, some of them in structures."""
        read = self.source.trees[self.tree.path]
        return list(dict.fromkeys(map(read.holder, jet_branches(collections))))


def _ttrees_of(opened: Opened) -> list[str]:
    """The trees with jets that are TTrees."""
    return [name for name in opened.trees if opened.source and not opened.source.trees[name].is_rntuple]


def grafting_of(opened: Opened, options: Options) -> Grafting | None:
    """The file taken apart, if its trees with jets are to be grafted; raises UserError for what is not known."""
    source, ttrees = opened.source, _ttrees_of(opened)
    if source is None or not _stay_as_they_are(opened, options):
        return None
    if options.only_jets:
        return _alone(opened, source, ttrees)
    with damage(f"'{opened.path}'"):
        records = Records(source.read, opened.path.stat().st_size)
        refuse_others(records, trees_among(streamers_of(records)) - {*TREES, CHAIN})
        everything = trees_of(records)
        left_out = [lost for name in ttrees for lost in _older(records, everything, name)]
        return Grafting(
            source, records, latest(everything, ttrees), ntuples_of(records), opened.tree, left_out=left_out
        )


def _stay_as_they_are(opened: Opened, options: Options) -> bool:
    """Whether the trees with jets stay TTrees or RNTuples, whose pages are not packed again."""
    ttrees = len(_ttrees_of(opened))
    ntuples = len(opened.trees) - ttrees
    if options.rewrite or opened.part or (ttrees and options.rntuple):
        return False
    return not ntuples or not (options.rntuple is False or options.compression)


def _alone(opened: Opened, source: Source, ttrees: Sequence[str]) -> Grafting | None:
    """The trees of jets without all else of the file; None where it has what atlasae does not know."""
    with suppress(UserError), damage(f"'{opened.path}'"):
        records = Records(source.read, opened.path.stat().st_size)
        trees = [newest_tree(records, name) for name in ttrees]
        every = ntuples_of(records)
        ntuples = [newest_ntuple(every, name) for name in opened.trees if name not in ttrees]
        records.leave_only([*(tree.key for tree in trees), *(one.key for one in ntuples)])
        return Grafting(source, records, trees, ntuples, opened.tree, alone=True)
    return None


def _older(records: Records, trees: Sequence[GraftedTree], name: str) -> Iterator[LeftOut]:
    """The older cycles of a tree; those without baskets of their own are earlier saves, thus minor."""
    *older, newest = sorted((tree for tree in trees if tree.path == name), key=lambda tree: tree.key.cycle)
    known = _baskets_of(records, newest) if older else set()
    for tree in older:
        minor = _baskets_of(records, tree) <= known
        yield LeftOut(f"cycle {tree.key.cycle} of '{name}'", "only the latest is carried", minor)


def _baskets_of(records: Records, tree: GraftedTree) -> set[int]:
    return {place.at for branch in tree.branches() for place in places(branch, records)}


def latest(trees: Sequence[GraftedTree], names: Sequence[str]) -> list[GraftedTree]:
    """The trees of a file without older cycles of the trees with these names."""
    newest: dict[str, GraftedTree] = {}
    for tree in trees:
        if tree.path not in newest or tree.key.cycle > newest[tree.path].key.cycle:
            newest[tree.path] = tree
    wanted = set(names)
    older = [tree for tree in trees if tree.path in wanted and tree is not newest[tree.path]]
    for tree in older:
        tree.folder.keys.remove(tree.key)
    gone = {id(tree) for tree in older}
    return [tree for tree in trees if id(tree) not in gone]


def forms_of(
    grafting: Grafting, opened: Opened, collections: Sequence[Collection], rounded: bool = False
) -> tuple[dict[str, Form], list[Collection]]:
    """How the branches of jets store their values, found by packing the first basket, and what can't be packed so.

    With `rounded`, decoded values may be rounded as a Double32_t or Float16_t is, whose type can then be made again.
    """
    forms: dict[str, Form] = {}
    others: list[Collection] = []
    read, known = grafting.source.trees[grafting.tree.path], grafting.tree.by_name()
    for collection in collections:
        for variable, name in collection.branches.items():
            dtype, holder = collection.dtypes[variable].replace("<", ">"), read.holder(name)
            if holder in forms:
                continue
            with damage(f"branch '{holder}'"):
                if structure := read.structure(holder):
                    form = _form_of_structures(grafting, holder, structure)
                    assert form is not None  # `unfit` has left out the others
                    forms[holder] = form
                    continue
                _, branch = known.get(name) or grafting.tree.named(name)
                form = Form(dtype, collection.jagged and not collection.array)
                if rounded and collection.stores_coded and (cut := read.truncation(name)):
                    form = replace(form, low=cut.low, factor=cut.factor, mantissa=cut.bits)
                form = _form_of(grafting, opened, name, branch, form)
            if form is None:
                others.append(collection)
                break
            forms[holder] = form
    return forms, others


def has_form(grafting: Grafting, opened: Opened, collections: Sequence[Collection], name: str) -> bool:
    """Whether the values of a branch of other numbers of jets are stored in a way that can be made again."""
    collection = next(c for c in collections if c.beside and name in c.branches)
    return not forms_of(grafting, opened, [replace(collection, branches={name: name})])[1]


def unfit(grafting: Grafting, collections: Sequence[Collection]) -> list[str]:
    """The branches of structures in which more varies than the numbers, such as bits of objects."""
    read = grafting.source.trees[grafting.tree.path]
    held = {name: read.structure(name) for name in grafting.jet_holders(collections)}
    return [name for name, found in held.items() if found and _form_of_structures(grafting, name, found) is None]


def as_stored(collections: Sequence[Collection], forms: Mapping[str, Form]) -> list[Collection]:
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


def _form_of_structures(grafting: Grafting, name: str, structure: Structure) -> Form | None:
    """How a branch stores structures; None where anything but their numbers varies."""
    _, branch = grafting.tree.named(name)
    parts = [FormPart(part, dtype, offset) for part, (dtype, offset) in structure.numbers.items()]
    form: Form | None = None
    for basket in _baskets(grafting.records, branch):
        entry = next((e for e in range(basket.entries) if len(basket.part(e, e + 1)) > structure.head), None)
        if form is None and entry is not None:
            data = basket.part(entry, entry + 1)
            head, body = data[: structure.head], data[structure.head : structure.head + structure.size]
            body = bytes(structure.size) if structure.by_member else body  # it is all numbers, of several structures
            listed = basket.offsets is not None
            places = structure.bytes_at, structure.behind
            form = Form("|u1", structure.jagged, None, parts, head.hex(), body.hex(), listed, *places)
            form = replace(form, by_member=structure.by_member)
        if form and form.pack_all(*form.unpack_all(basket))[0] != basket.data:
            return None
    return form or Form("|u1", structure.jagged, None, parts, "00" * structure.head, "00" * structure.size)


def _baskets(records: Records, branch: Thing) -> Iterator[Unpacked]:
    """All baskets of a branch."""
    for place in places(branch, records):
        yield open_basket(records.read(place.at, place.at + place.nbytes))
    yield from (embedded_basket(basket) for _, basket in embedded(branch))


def _form_of(grafting: Grafting, opened: Opened, name: str, branch: Thing, form: Form) -> Form | None:
    first = next(_baskets(grafting.records, branch), None)
    if first is None:
        return form
    values, counts = flatten(opened.events.read([name], 0, first.entries)[name])
    candidates = [form]
    if form.jagged and len(first.data) >= 6:
        candidates.append(replace(form, vector=int.from_bytes(first.data[4:6], "big")))
    if form.dtype == ">f8":  # a Double32_t is stored as a float
        candidates += [replace(one, dtype=">f4") for one in candidates]
    return next((one for one in candidates if one.pack(values, counts)[0] == first.data), None)


def plan_of(grafting: Grafting, plan: Plan) -> Plan:
    """The plan with what can be dropped from a file: not the branches that count others.

    Raises UserError for jets that are counted by another branch than the one that is read as their counter.
    """
    holders = grafting.jet_holders(plan.collections)
    _check_counters(grafting.tree, plan.collections)
    if grafting.alone:
        kept, names = {*holders, *_counters(plan.collections)}, set(grafting.tree.names)
        return replace(plan, dropped=sorted(names - kept - counting(grafting.tree, names - kept)))
    counters = counting(grafting.tree, {*plan.dropped, *holders})
    return replace(plan, dropped=[name for name in plan.dropped if name not in counters])


def _counters(collections: Sequence[Collection]) -> list[str]:
    """The branches of the input that count jets."""
    return list(dict.fromkeys(c.counter for c in collections if c.counter))


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


@contextmanager
def _of_file(path: Path) -> Iterator[Records]:
    """The records of a file that atlasae wrote."""
    with open_source(path) as source:
        yield Records(source.read, path.stat().st_size)


@dataclass(frozen=True)
class Copy:
    """What was written to a file as it was, or is, in memory: its records and its trees."""

    records: list[CopiedRecord]
    trees: list[GraftedTree]
    ntuples: dict[str, NtupleWriter]

    def differences(self, source: Source) -> Iterator[str]:
        """What differs in the file, in which all is compared as it lies there."""
        records = Records(source.read, source.path.stat().st_size)
        for record in self.records:
            if not record.is_in(records.read):
                yield f"the {record.nbytes} bytes at {record.at} differ"
        found = [tree for tree in trees_of(records) if not tree.path.startswith(f"{FOLDER}/")]
        yield from compare_trees(self.trees, found, exactly=True)
        for mine, theirs in zip(self.trees, found, strict=True):
            for one, other in zip(mine.branches(), theirs.branches(), strict=True):
                if where_values_are(one) != where_values_are(other):
                    yield f"the baskets of branch '{one.name}' of tree '{mine.path}' differ"
        read = {one.path: one.read().found() for one in ntuples_of(records)}
        changed = [path for path, writer in self.ntuples.items() if read.get(path) != writer.found()]
        yield from (f"RNTuple '{path}' differs" for path in changed)


@dataclass(frozen=True)
class Operated:
    """A tree whose jets were taken out: what these were, the counters that stayed, and samples of its baskets."""

    tree: GraftedTree
    taken: TakenOut
    counters: dict[str, Thing]
    samples: dict[str, int]

    @classmethod
    def of(cls, grafting: Grafting, plan: Plan) -> "Operated":
        """Take out the jets of a tree, and what is to be dropped."""
        tree, counters, holders = grafting.tree, _counters_kept(grafting, plan), grafting.jet_holders(plan.collections)
        if grafting.alone:
            drop_others(tree, [*holders, *counters])
        else:
            drop(tree, plan.dropped)
        taken = TakenOut.of(tree, take_out(tree, holders), grafting.forms)
        return cls(tree, taken, counters, samples(grafting.records, sampled(grafting.records, tree)))


class GraftTarget:
    """A copy of a file without the jets of some of its trees, into which their stand-ins are put."""

    def __init__(
        self,
        file: Grafting,
        ttrees: Sequence[tuple[Grafting, Plan, Sequence[Chunk]]],
        composer: Composer,
        recompression: Any,
    ) -> None:
        """Take the jets of TTrees out, whose stand-ins are in these chunks, and copy all."""
        self._file, self._composer = file, composer
        self._operated = [Operated.of(grafting, plan) for grafting, plan, _ in ttrees]
        self._trees = [one.tree for one in self._operated] if file.alone else file.trees
        self._objects = dict(objects_of(file.records, FOLDER))
        self._edges = {one.path: list(accumulate(chunk.entries for chunk in chunks)) for one, _, chunks in ttrees}
        self._digests = Digests(file.records, self._trees, self._edges)
        self._ntuples = dict[str, NtupleTarget]()
        composer.copy_all(self._trees, self._digests.seen, recompression)

    def at(self, path: str) -> NtupleTarget:
        """What takes the stand-ins of the jets of an RNTuple."""
        file = self._file.at(path)
        self._ntuples[path] = NtupleTarget(file.ntuple, file.source.trees[path], self._composer, file.alone)
        return self._ntuples[path]

    def finish(self, contents: Contents, stand_ins: Path) -> tuple[Contents, Copy]:
        """Write the rest, with the stand-ins of TTrees, in their order, from a file; returns the contents, and all."""
        file, composer = self._file, self._composer
        for target in self._ntuples.values():
            target.finish()
        others = [one for one in file.ntuples if id(one) not in {id(target.one) for target in self._ntuples.values()}]
        ntuples = {one.path: one.copy(composer, packing(PAGES)) for one in others}
        trees = dict(carried_trees([tree for tree in self._trees if tree.path not in self._edges], self._digests))
        trees |= {one.path: carried_ntuple(one, ntuples[one.path]) for one in others}
        graft = Graft(None, trees, self._objects, file.source.uuid, 0, {}, alone=file.alone)
        follows = replace(graft, trees={}, objects={})
        runs = [self._grafted(run, follows if run.follows else graft) for run in contents.runs]
        chunks = [chunk for name, one in contents.of_trees().items() for chunk in self._marked(one.chunks, name)]
        contents = replace(contents, runs=runs, chunks=chunks)
        with _of_file(stand_ins) as made:
            put = sorted(trees_of(made), key=lambda tree: int(tree.path))  # they are numbered
            for one, other in zip(self._operated, put, strict=True):
                _put_stand_ins(composer, one, other, made)
            composer.add_streamers(made)
            add_contents(composer, contents)
            composer.finish(self._trees)
        return contents, Copy(composer.kept, self._trees, ntuples)

    def _grafted(self, run: Run, graft: Graft) -> Run:
        """The run with what `graft` tells of the rest of the file, and what was taken out of its tree."""
        if run.tree in self._ntuples:
            return self._ntuples[run.tree].told(run, graft)
        one = next(one for one in self._operated if one.tree.path == run.tree)
        number = 0 if graft.alone else len(one.tree.names)
        return replace(run, graft=replace(graft, taken=one.taken, branches=number, samples=one.samples))

    def _marked(self, chunks: Sequence[Chunk], tree: str) -> Iterator[Chunk]:
        """The chunks of a tree, with the marks of the carried branches of a TTree behind their checksums."""
        for number, chunk in enumerate(chunks):
            marks = Marks.of(*self._digests.in_groups(tree, number)).numbers if tree in self._edges else []
            yield replace(chunk, checksums=chunk.checksums + marks)


def write_composed(made: Path, contents: Contents | None, path: Path) -> None:
    """Write a file of uproot again, with the folder `atlasae` if given: without gaps, its trees compressed."""
    with _of_file(made) as records, Composer(path, records) as composer:
        trees = trees_of(records)
        composer.copy_all(trees, lambda *_: None)
        if contents:
            add_contents(composer, contents)
        composer.finish(trees, RECORDS)


def carried_trees(trees: Sequence[GraftedTree], digests: Digests) -> Iterator[tuple[str, CarriedTree]]:
    """The entries and the checksums of trees that were copied, by their paths."""
    for tree in trees:
        yield tree.path, CarriedTree(tree.thing["fEntries"], Marks.of(*digests.in_groups(tree.path)))


def _counters_kept(grafting: Grafting, plan: Plan) -> dict[str, Thing]:
    """The leaves of the input that count jets, by the name of their branch."""
    found = {}
    for collection in plan.collections:
        if collection.counter and collection.counter not in plan.dropped:
            _, branch = grafting.tree.named(next(iter(collection.branches.values())))
            leaf = branch["fLeaves"].items[0]["fLeafCount"]
            found[collection.counter] = leaf or grafting.tree.named(collection.counter)[1]["fLeaves"].items[0]
    return found


def _put_stand_ins(composer: Composer, operated: Operated, other: GraftedTree, made: Records) -> None:
    """Copy the baskets of the stand-ins, and put their branches into the tree, counted by what counted the jets."""
    tree, counters = operated.tree, operated.counters
    names = set(tree.names)
    ours = [branch for _, branch in other.walk() if branch.name not in counters]
    if taken := names.intersection(branch.name for branch in ours):
        raise UserError(f"branch '{min(taken)}' is in the way of the jets: leave it out with --drop")
    composer.copy_baskets(made, ours, tree.folder.at)
    for branch in ours:
        point(branch, lambda leaf: counters.get(leaf.name, leaf))
        put_in(tree, branch)


def add_contents(composer: Composer, contents: Contents) -> None:
    """Add the folder `atlasae`."""
    with create_in_memory() as (target, buffer):
        write_contents(target, contents)
    data = buffer.getvalue()
    made = Records(lambda start, stop: data[start:stop], len(data))
    folder = composer.add_folder(FOLDER.encode())
    trees = {id(tree.key): tree for tree in trees_of(made)}
    for inner in next(iter(made.root.folders.values())).keys:
        if tree := trees.get(id(inner)):
            composer.copy_baskets(made, list(tree.branches()), folder.at)
            folder.keys.append(composer.add_tree(folder, inner, tree.thing))
        else:
            folder.keys.append(composer.add(folder, inner, made.payload(inner), inner.objlen))
    composer.add_streamers(made)


# --- back


_FEWEST, _LARGEST = 1000, 1 << 24  # bytes of a basket
Spoiled = tuple[str, int]  # a chunk that is damaged: its tree, and its first entry


@dataclass(frozen=True)
class GraftedJets:
    """A tree of jets of a grafted file taken apart: its contents, the tree without stand-ins, the place of samples."""

    contents: Contents
    tree: GraftedTree
    sampled: dict[str, BasketPlace]

    @classmethod
    def of(cls, records: Records, contents: Contents, tree: GraftedTree) -> "GraftedJets":
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
        things, entries = taken.things(self.tree), self.tree.thing["fEntries"]
        for thing, kept in zip(things, taken.branches, strict=True):
            put_in(self.tree, thing, kept.above, kept.before)
            if kept.is_group and thing["fEntries"]:
                thing["fEntries"] = thing["fEntryNumber"] = entries
        order_leaves(self.tree)
        pairs = zip(things, taken.branches, strict=True)
        return [(thing, kept) for thing, kept in pairs if not kept.is_group]

    def held(self, branch: str) -> list[str]:
        """The numbers of the structures of a branch that was taken out; other branches hold themselves."""
        named = self.graft.taken.named if self.graft.taken else ()
        return next(([part.name for part in kept.form.parts] for name, kept in named if name == branch), []) or [branch]


def graft_of(run: Run) -> Graft:
    """What the run of a grafted file tells of what was copied."""
    assert run.graft is not None
    return run.graft


@dataclass
class Grafted:
    """A grafted file taken apart: its records, its trees without stand-ins, and those of jets among them."""

    source: Source
    contents: Contents
    records: Records
    trees: list[GraftedTree]
    jets: list[GraftedJets]
    ntuples: list[GraftedNtuple]
    ntuple_jets: list[NtupleJets]

    @property
    def graft(self) -> Graft:
        """What the first run tells of all but its tree."""
        return graft_of(self.contents.runs[0])

    @property
    def mains(self) -> list[GraftedNtuple]:
        """The RNTuples of jets."""
        return [jets.one for jets in self.ntuple_jets]

    @property
    def others(self) -> list[GraftedNtuple]:
        """All other RNTuples."""
        return [one for one in self.ntuples if not any(one is main for main in self.mains)]

    @property
    def is_untouched(self) -> bool:
        """Whether ROOT has not written the file anew since."""
        return self.source.uuid == self.graft.uuid and len(self.contents.files) == 1

    @cached_property
    def restreamed(self) -> set[str]:
        """The branches of objects, if ROOT has written all baskets anew, as hadd does for another compression.

        Their bytes differ then: ROOT writes other versions of classes, and not all members without their dictionaries.
        """
        if self.is_untouched:
            return set()
        for one in self.jets:
            found = samples(self.records, one.sampled)
            if any(one.graft.samples.get(path) == value for path, value in found.items()):
                return set()
        return {branch.name for tree in self.trees for branch in tree.branches() if branch.kind != "TBranch"}

    def edges(self) -> dict[str, list[int]]:
        """The last entries of the chunks of trees of jets, and of each file in every other tree, by its path."""
        files = self.contents.files
        paths = {path for run in files for path in graft_of(run).trees}
        edges = {path: list(accumulate(_entries(run, path) for run in files)) for path in paths}
        for one in self.jets:
            edges[one.tree.path] = list(accumulate(chunk.entries for chunk in one.contents.chunks))
        for jets in self.ntuple_jets:
            carried = (ntuple_of(run).carried for run in jets.contents.runs)
            edges[jets.one.path] = list(accumulate(one.entries for one in carried))
        return edges

    def digests(self, sparing: bool = False) -> Digests:
        """The checksums of all carried branches, in the ranges that have checksums in the file, of baskets to come."""
        return Digests(self.records, self.trees, self.edges(), sparing)

    def read_ntuples(self, lost: list[str] | None = None) -> dict[str, NtupleWriter]:
        """Read all RNTuples, for their checksums; raises DamagedFileError, or tells in `lost` which can't be read."""
        edges, found = self.edges(), dict[str, NtupleWriter]()
        for one in (*self.others, *self.mains):
            with sparing(lost):
                found[one.path] = one.read(edges.get(one.path, ()))
        return found

    def damaged(self, digests: Digests, ntuples: Mapping[str, NtupleWriter]) -> Iterator[tuple[str, Spoiled | None]]:
        """Messages about what differs from what was written, each with tree and first entry of its chunk, if any."""
        for one in self.jets:
            yield from self._damaged_chunks(one, digests)
        for jets in self.ntuple_jets:
            for number, run in enumerate(jets.contents.runs):
                yield from _damaged_ntuple(jets.one.path, ntuple_of(run).carried, ntuples, number)
        for number, run in enumerate(self.contents.files):
            others = [path for path in graft_of(run).trees if path not in self.contents.trees]
            for path in others:  # an older cycle of an RNTuple of jets is not looked at
                yield from self._damaged_tree(path, number, digests, ntuples)

    def _damaged_tree(
        self, path: str, number: int, digests: Digests, ntuples: Mapping[str, NtupleWriter]
    ) -> Iterator[tuple[str, None]]:
        """What differs in a tree without jets, in the entries that are of the file of this number."""
        run = self.contents.files[number]
        carried = graft_of(run).trees[path]
        if any(one.path == path for one in self.ntuples):
            yield from _damaged_ntuple(path, carried, ntuples, number)
        elif path not in {tree.path for tree in self.trees}:
            yield f"'{self.source.path}' is damaged: '{path}' was in it and is gone", None
        elif changed := self._changed(carried.marks.numbers, run, digests, path, number):
            start, stop = [0, *self.edges()[path]][number : number + 2]
            yield _told(changed, f"of tree '{path}' in entries {start} to {stop}"), None

    def _damaged_chunks(self, jets: GraftedJets, digests: Digests) -> Iterator[tuple[str, Spoiled | None]]:
        path = jets.tree.path
        of_tree = f"of tree '{path}' " * (len(self.jets) > 1)
        for number, (run, start, chunk) in enumerate(jets.contents.chunks_by_run()):
            marks = chunk.checksums[len(run.written) :]
            if changed := self._changed(marks, run, digests, path, number):
                yield _told(changed, f"{of_tree}in entries {start} to {start + chunk.entries}"), (path, start)

    def _changed(self, marks: list[int], run: Run, digests: Digests, path: str, number: int) -> list[str]:
        """The names of branches that differ from what was written, but for those that ROOT has written anew."""
        changed = changed_branches_of(digests, path, number, marks, run)
        return [name for name in changed if name not in self.restreamed]

    def check(self, digests: Digests, ntuples: Mapping[str, NtupleWriter]) -> None:
        """Raise DamagedFileError if a checksum differs of what the digests have seen, or of RNTuples."""
        for message, _ in self.damaged(digests, ntuples):
            raise DamagedFileError(message)

    def check_taken(self) -> None:
        """Raise DamagedFileError if the branches of the jets can't be put back; else they are, without values."""
        with damage(f"'{FOLDER}' in '{self.source.path}'", *FACTS):
            for one in self.jets:
                one.put_back()

    def check_records(self) -> None:
        """Raise DamagedFileError if records or streamer infos are not where the file says, or of another size."""
        with damage(f"'{self.source.path}'"):
            check_sizes(self.records, self.trees)
            merged_streamers(self.records, (), 0)

    def check_objects(self) -> None:
        """Raise DamagedFileError if an object other than a tree has changed since it was written."""
        if self.is_untouched:
            found = dict(objects_of(self.records, FOLDER))
            for name in (name for name, known in self.graft.objects.items() if found.get(name) != known):
                raise DamagedFileError(f"'{name}' in '{self.source.path}' is damaged: its checksum differs")


def _damaged_ntuple(
    path: str, carried: CarriedTree, ntuples: Mapping[str, NtupleWriter], number: int
) -> Iterator[tuple[str, None]]:
    if path in ntuples and differs_from(carried, ntuples[path], number):
        yield f"RNTuple '{path}' is damaged: the checksum of its columns differs; get the file again", None


def changed_branches_of(digests: Digests, path: str, number: int, marks: list[int], run: Run) -> list[str]:
    """The branches of a tree that differ from the marks that a run has of a range of entries."""
    if run.format < BRIEF:
        return BitMarks(marks).changed(digests.found(path, number))
    return Marks(marks).changed(*digests.in_groups(path, number))


def _told(names: Sequence[str], where: str) -> str:
    what = f"branch '{names[0]}' is" if len(names) == 1 else f"some of {len(names)} branches such as '{names[0]}' are"
    return f"{what} damaged: checksum differs {where}; get the file again"


def _entries(run: Run, path: str) -> int:
    carried = run.graft.trees.get(path) if run.graft else None
    return carried.entries if carried else 0


def is_grafted(contents: Contents) -> bool:
    """Whether all runs of a file were grafted."""
    return all(run.graft is not None for run in contents.runs)


def taken_apart(source: Source, contents: Contents) -> Grafted:
    """A grafted file taken apart, without the stand-ins and the folder `atlasae`; raises DamagedFileError."""
    of_trees = contents.of_trees()
    with damage(f"'{source.path}'", *FACTS):
        records = Records(source.read, source.path.stat().st_size)
        trees = latest(_trees_of(records, source), list(of_trees))
        known = {tree.path: tree for tree in trees}
        ntuples = {name for name, one in of_trees.items() if is_ntuple(one)}
        jets = [GraftedJets.of(records, one, known[name]) for name, one in of_trees.items() if name not in ntuples]
        records.leave_out(FOLDER)
        trees = [tree for tree in trees if not tree.path.startswith(f"{FOLDER}/")]
        found = ntuples_of(records)
        of_ntuples = [NtupleJets.of(found, of_trees[name]) for name in of_trees if name in ntuples]
        return Grafted(source, contents, records, trees, jets, found, of_ntuples)


def _trees_of(records: Records, source: Source) -> list[GraftedTree]:
    """All trees of a grafted file; raises DamagedFileError where uproot can't read one that atlasae does not know."""
    try:
        return trees_of(records)
    except UserError:
        list(source.trees.values())  # uproot tells damage from what is new
        raise


def compare_grafted(opened: Opened, grafted: Grafted) -> tuple[list[str], dict[str, dict[str, bool]]]:
    """The differences between an original and all of a grafted file but the jets.

    Returned with whether each branch or field of each tree of jets, but the jets, has the same data.
    """
    source = opened.source
    if source is None:
        return ["the original is no ROOT file"], {}
    with damage(f"'{source.path}'", *FACTS):
        records = Records(source.read, source.path.stat().st_size)
        ntuples = ntuples_of(records)
        trees = _without_jets(records, ntuples, grafted, source)
        exactly = grafted.is_untouched
        found = list(compare_trees(trees, grafted.trees, exactly))
        digests = grafted.digests(sparing=True)
        digests.read()
        written = grafted.read_ntuples()
        grafted.check(digests, written)
        same = {one.tree.path: dict.fromkeys(one.tree.names, True) for one in grafted.jets}
        found += _compare_ntuples(ntuples, grafted, written, same)
        others = Digests(records, trees, grafted.edges())
        data = list(_compare_data(grafted, digests, others, {one.path: one.thing["fEntries"] for one in trees}))
        found += [message for message, _, _ in data]
        found += compare_objects(records, grafted.records, FOLDER, exactly)
    for _, path, name in data:
        if name in same.get(path, ()):
            same[path][name] = False
    return found, same


def _compare_ntuples(
    originals: Sequence[GraftedNtuple],
    grafted: Grafted,
    written: Mapping[str, NtupleWriter],
    same: dict[str, dict[str, bool]],
) -> Iterator[str]:
    """The differences between the RNTuples of an original and those written; of jets, `same` is told of each field."""
    mine, theirs = {one.path: one for one in originals}, {one.path: one for one in (*grafted.others, *grafted.mains)}
    yield from (f"RNTuple '{path}' is in one of the files only" for path in sorted(mine.keys() ^ theirs.keys()))
    edges, jets_of = grafted.edges(), {jets.one.path: jets for jets in grafted.ntuple_jets}
    for path in sorted(mine.keys() & theirs.keys()):
        writer = written[path] if len(edges.get(path, ())) < 2 else theirs[path].read()
        before, after = mine[path].read().found(), writer.found()
        known = dict(after)
        yield from (f"'{name}' of '{path}' differs" for name, value in before if known.get(name, value) != value)
        if path in jets_of:
            same[path] = same_fields(before, after)
            yield from jets_of[path].compare_types(mine[path])
        elif dict(before).keys() != known.keys():
            yield f"RNTuple '{path}' has other columns"


def _without_jets(
    records: Records, ntuples: list[GraftedNtuple], grafted: Grafted, source: Source
) -> list[GraftedTree]:
    """The trees of an original file, without the jets and what was left out; so are its `ntuples` afterwards."""
    jets_of = {jets.one.path: jets for jets in grafted.ntuple_jets}
    runs = {jets.tree.path: jets.contents.runs[0] for jets in grafted.jets if jets.tree.path in source.trees}
    mains = [newest_ntuple(ntuples, path) for path in jets_of if any(one.path == path for one in ntuples)]
    for main in mains:
        jets_of[main.path].leave_out(main)
    if grafted.graft.alone:
        trees, ntuples[:] = [newest_tree(records, name) for name in runs], mains
        records.leave_only([*(tree.key for tree in trees), *(one.key for one in mains)])
    else:
        ntuples.sort(key=lambda one: any(one is main for main in mains))
        trees = latest(trees_of(records), list(runs))
    for tree in trees:
        if tree.path in runs:
            _leave_jets_out(tree, runs[tree.path])
    return trees


def _leave_jets_out(tree: GraftedTree, run: Run) -> None:
    """Take out of a tree of an original file what a run took out and left out."""
    graft = graft_of(run)
    names = [name for name, _ in graft.taken.named] if graft.taken else []
    if graft.alone:
        drop_others(tree, [*names, *_counters([entry.collection for entry in run.collections])])
    known = {*tree.names, *tree.paths()}
    take_out(tree, [name for name in names if name in known], wholly=run.format >= BRIEF)
    drop(tree, [name for name in run.dropped if name in known])


def _compare_data(
    grafted: Grafted, mine: Digests, theirs: Digests, entries: Mapping[str, int]
) -> Iterator[tuple[str, str, str]]:
    """Messages about branches with other data, each with the tree and the name of the branch.

    `entries` are those of the original's trees; ranges that go beyond are not compared.
    """
    jets = {one.tree.path for one in grafted.jets}
    for path, edges in grafted.edges().items():
        start, main = 0, path in jets
        if not main and entries.get(path) not in (None, edges[-1]):
            yield f"tree '{path}' has {edges[-1]} entries, {entries[path]} in the original", path, ""
        within = [stop for stop in edges if stop <= entries.get(path, -1)]
        for number, stop in enumerate(within):
            others = _by_name(theirs.found(path, number))
            for name, values in _by_name(mine.found(path, number)).items():
                if others.get(name, values) != values:
                    of = "" if main and len(jets) == 1 else f" of tree '{path}'"
                    yield f"branch '{name}'{of} differs in entries {start} to {stop}", path, name
            start = stop


def _by_name(found: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """The checksums by name: several branches may have one name."""
    values: dict[str, list[int]] = {}
    for name, value in found:
        values.setdefault(name, []).append(value)
    return values


def damage_of(grafted: Grafted) -> list[tuple[str, Spoiled | None]]:
    """Messages about all damage but that of the jets, each with the tree and first entry of its chunk, if any."""
    digests = grafted.digests(sparing=True)
    digests.read()
    lost = list[str]()
    ntuples = grafted.read_ntuples(lost)
    found: list[tuple[str, Spoiled | None]] = [(message, None) for message in lost]
    found += grafted.damaged(digests, ntuples)
    for check in (grafted.check_objects, grafted.check_taken, grafted.check_records):
        try:
            check()
        except DamagedFileError as error:
            found.append((str(error), None))
    return found


def rewritten(source: Source, contents: Contents) -> Contents:
    """The contents of one tree of a grafted file as if all that uproot can read had been written anew.

    The checksums of what was copied are left out.
    """
    if not is_grafted(contents):
        return contents
    return ntuple_rewritten(source, contents) if is_ntuple(contents) else _ttree_rewritten(source, contents)


def _ttree_rewritten(source: Source, contents: Contents) -> Contents:
    run, tree = contents.runs[0], source.trees[contents.tree]
    with damage(f"'{source.path}'", *FACTS):
        records = Records(source.read, source.path.stat().st_size)
        jets_of = GraftedJets.of(records, contents, newest_tree(records, contents.tree))
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


def write_regrafted(grafted: Grafted, path: Path, progress: Progress) -> None:
    """Write the original file; raises DamagedFileError if a checksum differs."""
    source, edges = grafted.source, grafted.edges()
    trees = [*(jets.one.path for jets in grafted.ntuple_jets), *(one.tree.path for one in grafted.jets)]
    known = grafted.contents.of_trees()
    steps = list(in_turn(progress, [known[tree].entries for tree in trees]))
    places = zip(grafted.jets, steps[len(grafted.ntuple_jets) :], strict=True)
    restored = [restored_events(source, one.contents, advance) for one, advance in places]
    with (
        damage(f"'{source.path}'"),
        Composer(path, grafted.records) as composer,
        side_by_side(_first, restored[:1]) as begun,  # while all else is copied
    ):
        grafted.check_objects()
        digests = grafted.digests(sparing=True)
        composer.copy_all(grafted.trees, digests.seen)
        of_jets = {
            jets.one.path: jets.restore(source, composer, edges[jets.one.path], advance)
            for jets, advance in zip(grafted.ntuple_jets, steps, strict=False)
        }
        pages = packing(PAGES)
        others = {one.path: one.copy(composer, pages, edges.get(one.path, ())) for one in grafted.others}
        grafted.check(digests, others | of_jets)
        for one, chunks in zip(grafted.jets, restored, strict=True):
            _fill_jets(grafted, one, composer, chain(*begun, chunks))
        composer.finish(grafted.trees)


def _first(restored: Iterator[tuple[Run, dict[str, ak.Array]]]) -> list[tuple[Run, dict[str, ak.Array]]]:
    """The first chunk, if there is one."""
    return list(islice(restored, 1))


def _fill_jets(
    grafted: Grafted, jets: GraftedJets, composer: Composer, restored: Iterable[tuple[Run, dict[str, ak.Array]]]
) -> None:
    """Put the branches of the jets back into a tree, and write their baskets."""
    with damage(f"'{FOLDER}' in '{grafted.source.path}'", *FACTS):
        filled = jets.put_back()
    setting = grafted.records.head.compress
    fillers = [Filler(composer, jets.tree, setting, thing, kept) for thing, kept in filled]
    for _, events in restored:
        for filler in fillers:
            filler.add(events)
    for filler in fillers:
        fill(jets.tree, filler.branch, filler.written)


@dataclass
class Filler:
    """Writes the baskets of a branch, in its own form, of about the size that they had."""

    composer: Composer
    tree: GraftedTree
    compression: int  # of the file, for branches that have none of their own
    branch: Thing
    kept: KeptBranch
    written: list[FilledBasket] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of what the branch holds."""
        return [part.name for part in self.kept.form.parts] or [self.kept.called or self.branch.name]

    def add(self, events: Mapping[str, ak.Array]) -> None:
        """Write the next entries."""
        columns, counted = zip(*(flatten(events[name]) for name in self.names), strict=True)
        counts = counted[0]
        starts = counts.cumsum() - counts
        most = max(_FEWEST, self.branch["fBasketSize"], min(self.kept.basket_bytes, _LARGEST))
        for first, last in cut(counts, self.kept.form.itemsize, most):
            begin = int(starts[first])
            end = begin + int(counts[first:last].sum())
            self._write([values[begin:end] for values in columns], counts[first:last])

    def _write(self, columns: Sequence[Any], counts: Any) -> None:
        tree, composer = self.tree, self.composer
        key = new_key(
            b"TBasket", self.branch["fName"], tree.key.name, composer.end, tree.folder.at, tree.key.datime, big=True
        )
        data, offsets = self.kept.form.pack_all(columns, counts)
        setting = compression_of(self.branch["fCompress"] or self.compression)
        record, size = pack_basket(data, offsets, len(counts), setting, key)
        self.written.append(FilledBasket(composer.append(record), len(record), size, len(counts)))
