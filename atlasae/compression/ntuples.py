"""Compression and decompression of RNTuples whose sealed pages are copied: only the fields of jets are taken out."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import awkward as ak

from atlasae.compression.chunks import Progress, restored_events
from atlasae.compression.format import NEWEST, CarriedNtuple, CarriedTree, Contents, Graft, Run
from atlasae.compression.plan import Options, Plan, leave_columns, make_plan
from atlasae.files.damage import FACTS, damage
from atlasae.files.trees import Source, Tree, open_source
from atlasae.files.writing import Writer
from atlasae.graft.anchors import IN_PLANES, GraftedNtuple, newest_ntuple, ntuples_of, packing
from atlasae.graft.composing import Composer
from atlasae.graft.digests import Marks
from atlasae.graft.fields import Field, Names, described, dotted, put_back, take_fields, walk_fields
from atlasae.graft.ntuple import NtupleWriter
from atlasae.graft.records import records_of
from atlasae.graft.surgery import Made, RoundedAs, Surgery, can_be_taken, operate, other_fields, take_jets, undo
from atlasae.graft.trees import trees_of
from atlasae.jets.collections import Rounding, jet_branches, stand_ins
from atlasae.jets.inputs import Opened

Found = Sequence[tuple[str, int]]  # name and checksum of each column


def plan_ntuple(one: GraftedNtuple, opened: Opened, options: Options) -> tuple[Opened, Plan]:
    """The input with all fields of an RNTuple, those that no TTree can hold included, and the plan for it."""
    tree = opened.tree_read
    assert tree is not None
    opened = replace(opened, events=tree.nesting(counted=options.packed))
    plan = make_plan(opened, replace(options, rntuple=True), grafted=True)
    plan = _fitting(one, tree, _in_steps(tree, plan) if options.rounds else plan)
    take_jets(deepcopy(one.ntuple.fields), _paths(one.ntuple.fields, _numbers_of_jets(tree, plan).values()))
    return opened, _alone(one, tree, plan) if options.only_jets else plan


def _numbers_of_jets(tree: Tree, plan: Plan) -> dict[str, int]:
    """The ids of the fields of jets, by branch."""
    return {branch: tree.field_number(branch) for branch in jet_branches(plan.collections)}


def _in_steps(tree: Tree, plan: Plan) -> Plan:
    """The plan with jets rounded to the steps of their columns (Real32Quant), so that these can be made again."""
    found = []
    for collection in plan.collections:
        own = {v: tree.steps(name) for v, name in collection.branches.items() if v not in collection.shared}
        steps = {v: Rounding(None, *known) for v, known in own.items() if known}
        found.append(replace(collection, roundings=steps) if steps and collection.stores_coded else collection)
    return replace(plan, collections=found)


def _fitting(one: GraftedNtuple, tree: Tree, plan: Plan) -> Plan:
    """The plan where other numbers of jets stay as they are if their columns can't be made again."""
    names = [name for collection in plan.collections if collection.has_others for name in collection.branches]
    unlike = [name for name in names if not can_be_taken(one.ntuple.fields, tree.field_number(name))]
    return leave_columns(plan, unlike) if unlike else plan


def _alone(one: GraftedNtuple, tree: Tree, plan: Plan) -> Plan:
    """The plan for the jets of an RNTuple without all else."""
    fields = one.ntuple.fields
    gone = other_fields(fields, _paths(fields, _numbers_of_jets(tree, plan).values()))
    dropped = {path: dotted(path) for path, one in walk_fields(fields) if one.number in gone}
    return replace(plan, dropped=sorted({name for path, name in dropped.items() if path[:-1] not in dropped}))


def _paths(fields: Sequence[Field], numbers: Collection[int]) -> list[Names]:
    """The paths of the fields with these ids."""
    return [path for path, one in walk_fields(fields) if one.number in numbers]


class NtupleTarget:
    """Takes the stand-ins of the jets of an RNTuple, chunk by chunk, as a `Target` does, into a copy of its file."""

    def __init__(self, one: GraftedNtuple, tree: Tree, composer: Composer, alone: bool) -> None:
        self.one, self._tree, self._composer, self._alone = one, tree, composer, alone
        self._surgery = Surgery()
        self._writer: NtupleWriter | None = None

    def make_ntuple(self, plan: Plan, columns: Mapping[str, ak.Array]) -> Writer:
        """Take the jets out, and put in fields of the types of `columns`, whose values are not written."""
        floats = [collection for collection in plan.collections if not collection.packed]
        beside = {latent: next(iter(c.branches.values())) for c in floats for latent in c.latents}
        made = {name: _made(array, beside.get(name)) for name, array in columns.items()}
        numbers, fields = _numbers_of_jets(self._tree, plan), self.one.ntuple.fields
        with damage(self.one.called):
            jets = _paths(fields, numbers.values())
            take_fields(fields, other_fields(fields, jets) if self._alone else _numbers(fields, plan.dropped))
            fills, self._surgery = operate(self.one.ntuple, numbers, made)
            self._writer = self.one.writer(self._composer, fills, IN_PLANES)
        return _Extending(self._writer, what=self.one.called)

    def finish(self) -> None:
        """Write the rest."""
        assert self._writer is not None
        with damage(self.one.called):
            self.one.finish(self._composer, self._writer)

    def told(self, run: Run, graft: Graft) -> Run:
        """The run with what `graft` tells of the rest of the file, and what was taken out of this RNTuple."""
        assert self._writer is not None
        ntuple = CarriedNtuple(carried_ntuple(self.one, self._writer), self._surgery.to_json())
        graft = replace(graft, ntuple=ntuple, branches=len(self.one.ntuple.columns))
        made = NEWEST if any(entry.collection.beside for entry in run.collections) else run.format
        return replace(run, graft=graft, counters=_needed(run), format=made)


@dataclass
class _Extending(Writer):
    """The writer of an RNTuple, as one of a `Target`."""

    what: str = ""

    def extend(self, events: Mapping[str, ak.Array]) -> None:
        """Append events."""
        with damage(self.what):
            self.tree.extend(events)


def _needed(run: Run) -> dict[str, str]:
    """The counters that `stand_ins` asks for: an RNTuple has none, so that only their names are needed."""
    collections = [entry.collection for entry in run.collections]
    names = [
        name for c in collections for name in ([*c.latents, *c.exact.values()][-1], next(iter(c.branches.values())))
    ]
    return {name: run.counters[name] for name in names if name in run.counters}


def _made(array: ak.Array, beside: str | None) -> Made:
    jagged = array.layout.is_list and not array.layout.is_regular
    numbers = ak.to_numpy(ak.flatten(array) if jagged else array)
    return Made(numbers.dtype.newbyteorder("<").str, jagged, beside)


def _numbers(fields: Sequence[Field], names: Sequence[str]) -> set[int]:
    """The ids of fields with these names, in which those of lists' elements and of bases are left out."""
    wanted = set(names)
    return {one.number for path, one in walk_fields(fields) if dotted(path) in wanted and one.number is not None}


def carried_ntuple(one: GraftedNtuple, writer: NtupleWriter) -> CarriedTree:
    """Its entries and the checksum of all its columns: the pages have checksums of their own, which tell the place."""
    return CarriedTree(one.ntuple.entries, Marks(Marks.of(writer.found()).numbers[:1]))


def differs_from(carried: CarriedTree, writer: NtupleWriter, number: int) -> bool:
    """Whether a range of the entries of an RNTuple differs from what was carried."""
    return Marks.of(writer.found(number)).numbers[:1] != carried.marks.numbers[:1]


def split_ntuples(made: Path, path: Path, compression: Any = None) -> None:
    """Copy a file that uproot made, with the numbers of its RNTuples split into planes of bytes, which pack better.

    Pages get checksums, and the offsets of lists that are alike are written once.
    """
    with open_source(made) as source, damage(f"'{made}'"):
        records = records_of(source)
        trees = trees_of(records)
        with Composer(path, records) as composer:
            composer.copy_all(trees, lambda *_: None)
            for one in ntuples_of(records):
                one.split(composer, packing(compression) if compression else IN_PLANES)
            composer.finish(trees)


# --- back


def is_ntuple(contents: Contents) -> bool:
    """Whether a tree of a grafted file is an RNTuple."""
    return all(run.graft is not None and run.graft.ntuple is not None for run in contents.runs)


def ntuple_of(run: Run) -> CarriedNtuple:
    """What the run of an RNTuple that was copied tells of it."""
    assert run.graft is not None and run.graft.ntuple is not None
    return run.graft.ntuple


@dataclass(frozen=True)
class NtupleJets:
    """An RNTuple of jets of a grafted file taken apart: its contents, and itself without stand-ins."""

    contents: Contents
    one: GraftedNtuple

    @classmethod
    def of(cls, ntuples: Sequence[GraftedNtuple], contents: Contents) -> "NtupleJets":
        """Take the stand-ins out of that of the RNTuples, whose contents these are; raises DamagedFileError."""
        with damage(f"RNTuple '{contents.tree}'", *FACTS):
            found = cls(contents, newest_ntuple(ntuples, contents.tree))
            put_back(found.one.ntuple.fields, found.surgery.made, (), ())
        return found

    @property
    def surgery(self) -> Surgery:
        """What was done to the fields."""
        return Surgery.from_json(ntuple_of(self.contents.runs[0]).surgery)

    def restore(self, source: Source, composer: Composer, edges: Sequence[int], progress: Progress) -> NtupleWriter:
        """Write it with the jets' own fields, as it was; returns the writer, which has the checksums of the others."""
        runs, compression = self.contents.runs, packing(source.trees[self.one.path].compression)
        with damage(self.one.called, *FACTS):
            fills = undo(self.one.ntuple, replace(self.surgery, made=[]), _rounded_as(runs), _exact(runs))
            writer = self.one.writer(composer, fills, compression, edges)
        for _, events in restored_events(source, self.contents, progress):
            with damage(self.one.called):
                writer.extend(events)
        with damage(self.one.called):
            self.one.finish(composer, writer)
        return writer

    def leave_out(self, original: GraftedNtuple) -> None:
        """Take out of an original RNTuple what the run left out."""
        fields, run = original.ntuple.fields, self.contents.runs[0]
        with damage(self.one.called, *FACTS):
            alone = run.graft is not None and run.graft.alone
            take_fields(fields, self._left_out(fields) if alone else _numbers(fields, run.dropped))

    def _left_out(self, fields: Sequence[Field]) -> set[int]:
        """The ids of the fields of an original of which only the jets were taken."""
        known = {path for path, _ in walk_fields(fields)}
        return other_fields(fields, known & set(self.surgery.branches.values()))

    def compare_types(self, original: GraftedNtuple) -> list[str]:
        """The differences between the fields of an original and those of this RNTuple, to which the jets' are added."""
        before = described(original.ntuple.fields)
        put_back(self.one.ntuple.fields, (), self.surgery.taken, self.surgery.untyped)
        after = described(self.one.ntuple.fields)
        differences = [f"field '{name}' is in one of the files only" for name in sorted(before.keys() ^ after.keys())]
        changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
        return differences + [f"the type of field '{name}' differs" for name in changed]


def _rounded_as(runs: Sequence[Run]) -> dict[str, RoundedAs]:
    """How the numbers of branches were rounded in all runs: cut mantissas, or steps if they are the same in all."""
    found = defaultdict[str, list[Rounding]](list)
    for collection in (entry.collection for run in runs for entry in run.collections):
        for variable, rounding in (collection.roundings or {}).items():
            if variable in collection.branches:
                found[collection.branches[variable]].append(rounding)
    return {branch: known for branch, all_ in found.items() if len(all_) == len(runs) and (known := _common(all_))}


def _common(roundings: Sequence[Rounding]) -> RoundedAs | None:
    """The finest of several cut mantissas, or steps that are the same; None for different ones."""
    bits = [one.bits for one in roundings if one.bits is not None]
    if len(bits) == len(roundings):
        return RoundedAs(mantissa=max(bits))
    first = roundings[0]
    return RoundedAs(steps=(first.origin, first.step)) if all(one == first for one in roundings) else None


def _exact(runs: Sequence[Run]) -> set[str]:
    """The branches of other numbers of jets that are exact in all runs."""
    found = [
        {name for c in run.collections if c.collection.beside for name, bound in c.precision.items() if not bound}
        for run in runs
    ]
    return set.intersection(*found)


def same_fields(columns: Found, others: Found) -> dict[str, bool]:
    """Whether all columns of each field that both files have are the same, by the name of the field."""
    known, same = dict(others), dict[str, bool]()
    for column, value in columns:
        if column in known:
            field = dotted(tuple(column.rpartition("#")[0].split(".")))
            same[field] = same.get(field, True) and known[column] == value
    return same


def ntuple_rewritten(source: Source, contents: Contents) -> Contents:
    """The contents of a grafted RNTuple as if all that uproot can read had been written anew, without its checksums."""
    run, tree = contents.runs[0], source.trees[contents.runs[0].tree].nesting()
    ours = {name for entry in run.collections for name in stand_ins(entry.collection, run.counters)}
    carried = [branch for branch in tree.branches if branch.name not in ours]
    names = [branch.name for branch in carried]
    aliases = {name: stays for name, stays in tree.aliases.items() if stays in names} | run.aliases
    originals = _in_order(source, contents, {**dict.fromkeys((*run.originals, *names)), **aliases})
    written = list(dict.fromkeys((*run.written, *names)))  # the counter of packed jets is both
    places = run.places | {name: tree.places[name] for name in names if name in tree.places}

    def rewritten(one: Run) -> Run:
        of_tree = replace(one, carried=carried, originals=originals, written=written, places=places)
        return replace(of_tree, aliases=aliases, graft=None)

    return replace(contents, runs=list(map(rewritten, contents.runs)))


def _in_order(source: Source, contents: Contents, names: Collection[str]) -> list[str]:
    """Names of fields in the order of the original."""
    with damage(f"'{source.path}'", *FACTS):
        found = ntuples_of(records_of(source))
    jets = NtupleJets.of(found, contents)
    with damage(jets.one.called, *FACTS):
        undo(jets.one.ntuple, replace(jets.surgery, made=[]))
    places = {dotted(path): place for place, (path, _) in enumerate(walk_fields(jets.one.ntuple.fields))}
    return sorted(names, key=lambda name: places.get(name, len(places)))
