"""Compression and decompression of RNTuples whose sealed pages are copied: only the fields of jets are taken out."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import awkward as ak

from atlasae.compression.chunks import Progress, restored_events
from atlasae.compression.format import NEWEST, CarriedNtuple, CarriedTree, Contents, Graft, Run
from atlasae.compression.grafting import (
    Spoiled,
    add_contents,
    as_rewritten,
    carried_ntuple,
    carried_trees,
    changed_branches_of,
    damage_of,
    differs_from,
    is_grafted,
    jet_branches,
    taken_apart,
)
from atlasae.compression.plan import Options, Plan, leave_columns
from atlasae.errors import DamagedFileError
from atlasae.files.branches import FOLDER
from atlasae.files.damage import FACTS, damage
from atlasae.files.trees import Source, Tree, open_source
from atlasae.files.writing import PAGES, Writer
from atlasae.graft.anchors import IN_PLANES, GraftedNtuple, ntuples_of, packing
from atlasae.graft.comparing import compare_objects, compare_trees
from atlasae.graft.composing import Composer
from atlasae.graft.digests import Digests, objects_of
from atlasae.graft.fields import Field, described, dotted, put_back, take_fields, walk_fields
from atlasae.graft.ntuple import NtupleWriter
from atlasae.graft.records import Records
from atlasae.graft.streamers import merged_streamers
from atlasae.graft.surgery import Made, RoundedAs, Surgery, can_be_taken, operate, other_fields, undo
from atlasae.graft.trees import GraftedTree, trees_of
from atlasae.jets.collections import Rounding, stand_ins
from atlasae.jets.inputs import Opened


@dataclass
class NtupleFile:
    """A file with RNTuples taken apart: its records, its trees, its RNTuples, and that of the jets."""

    source: Source
    records: Records
    trees: list[GraftedTree]
    ntuples: list[GraftedNtuple]
    main: GraftedNtuple

    @classmethod
    def of(cls, source: Source, name: str) -> "NtupleFile":
        """The file with the latest cycle of the RNTuple of this name; raises DamagedFileError and UserError."""
        with damage(f"'{source.path}'", *FACTS):
            records = Records(source.read, source.path.stat().st_size)
            records.leave_out(FOLDER)
            ntuples = ntuples_of(records)
            named = [one for one in ntuples if one.path == name]
            if not named:
                raise ValueError(f"it has no RNTuple '{name}'")
            main = max(named, key=lambda one: one.key.cycle)
            return cls(source, records, trees_of(records), ntuples, main)

    def columns(self) -> dict[str, list[tuple[str, int]]]:
        """Name and checksum of each column or branch of all RNTuples and trees, which are read, by their paths."""
        digests = Digests(self.records, self.trees, {})
        digests.read()
        found = {tree.path: [*digests.found(tree.path)] for tree in self.trees}
        return found | {one.path: one.read().found() for one in self.ntuples}

    def leave_main(self) -> None:
        """Leave all but the RNTuple of the jets out."""
        self.records.leave_only([self.main.key])
        self.trees, self.ntuples = [], [self.main]

    @property
    def others(self) -> list[GraftedNtuple]:
        """The RNTuples without jets."""
        return [one for one in self.ntuples if one is not self.main]


def is_to_be_grafted(opened: Opened, options: Options) -> bool:
    """Whether an input is an RNTuple that is to stay one, whose pages are copied.

    The jets of others, which would be lost if it were left alone, are kept by writing all anew.
    """
    asked = options.rewrite or options.compression is not None
    asked = asked or (options.only_jets and bool(opened.others))
    tree = opened.tree_read
    return bool(tree and tree.is_rntuple and not asked and options.rntuple is not False and not opened.part)


def as_ntuple(opened: Opened, packed: bool) -> Opened:
    """The input with all fields of its RNTuple, those that no TTree can hold included; `packed` jets need counters."""
    assert opened.tree_read is not None
    return replace(opened, events=opened.tree_read.nesting(counted=packed))


def in_steps(opened: Opened, plan: Plan, options: Options) -> Plan:
    """The plan with jets rounded to the steps of their columns (Real32Quant), so that these can be made again."""
    tree = opened.tree_read
    if tree is None or not options.rounds:
        return plan
    found = []
    for collection in plan.collections:
        own = {v: tree.steps(name) for v, name in collection.branches.items() if v not in collection.shared}
        steps = {v: Rounding(None, *known) for v, known in own.items() if known}
        found.append(replace(collection, roundings=steps) if steps and collection.stores_coded else collection)
    return replace(plan, collections=found)


def plan_fitting(opened: Opened, plan: Plan) -> Plan:
    """The plan where other numbers of jets stay as they are if their columns can't be made again."""
    assert opened.source is not None and opened.tree_read is not None
    names = [name for collection in plan.collections if collection.beside for name in collection.branches]
    fields = NtupleFile.of(opened.source, opened.tree).main.ntuple.fields if names else []
    unlike = [name for name in names if not can_be_taken(fields, opened.tree_read.field_number(name))]
    return leave_columns(plan, unlike) if unlike else plan


def plan_alone(opened: Opened, plan: Plan) -> Plan:
    """The plan for the jets of an RNTuple without all else."""
    assert opened.source is not None and opened.tree_read is not None
    fields = NtupleFile.of(opened.source, opened.tree).main.ntuple.fields
    numbers = {opened.tree_read.field_number(branch) for branch in jet_branches(plan.collections)}
    paths = [path for path, one in walk_fields(fields) if one.number in numbers]
    gone = other_fields(fields, paths)
    dropped = {path: dotted(path) for path, one in walk_fields(fields) if one.number in gone}
    return replace(plan, dropped=sorted({name for path, name in dropped.items() if path[:-1] not in dropped}))


@contextmanager
def grafted_ntuple(opened: Opened, plan: Plan, path: Path, alone: bool) -> Iterator["NtupleTarget"]:
    """Open a file for a copy of an input, or of its RNTuple `alone`, with other fields in that."""
    assert opened.source is not None and opened.tree_read is not None
    file = NtupleFile.of(opened.source, opened.tree)
    if alone:
        file.leave_main()
    with Composer(path, file.records) as composer:
        yield NtupleTarget(file, opened.tree_read, plan, composer, alone)


class NtupleTarget:
    """Takes the stand-ins of jets, chunk by chunk, as a `Target` does, and puts them into a copy of a file."""

    def __init__(self, file: NtupleFile, tree: Tree, plan: Plan, composer: Composer, alone: bool) -> None:
        self._file, self._tree, self._plan, self._composer, self._alone = file, tree, plan, composer, alone
        self._surgery = Surgery()
        self._writer: NtupleWriter | None = None
        self._trees: dict[str, CarriedTree] = {}
        self._digests, self._objects = Digests(file.records, file.trees, {}), dict(objects_of(file.records, FOLDER))
        composer.copy_all(file.trees, self._digests.seen)

    def make_ntuple(self, name: str, columns: Mapping[str, ak.Array], title: str, places: Mapping[str, str]) -> Writer:
        """Take the jets out, and put in fields of the types of `columns`, whose values are not written."""
        floats = [collection for collection in self._plan.collections if not collection.packed]
        beside = {latent: next(iter(c.branches.values())) for c in floats for latent in c.latents}
        made = {name: _made(array, beside.get(name)) for name, array in columns.items()}
        numbers = {branch: self._tree.field_number(branch) for branch in jet_branches(self._plan.collections)}
        ntuple = self._file.main.ntuple
        with damage(f"RNTuple '{name}'"):
            take_fields(ntuple.fields, self._dropped(set(numbers.values())))
            fills, self._surgery = operate(ntuple, numbers, made)
            self._writer = self._file.main.writer(self._composer, fills, IN_PLANES)
        return _Extending(self._writer, what=f"RNTuple '{name}'")

    def _dropped(self, numbers: Collection[int]) -> set[int]:
        """The ids of the fields to leave out; `numbers` are those of the jets."""
        fields = self._file.main.ntuple.fields
        if not self._alone:
            return _numbers(fields, self._plan.dropped)
        paths = [path for path, one in walk_fields(fields) if one.number in numbers]
        return other_fields(fields, paths)

    def finish(self, contents: Contents) -> Contents:
        """Write all else; returns the contents of the folder `atlasae`."""
        file, run = self._file, contents.runs[0]
        assert self._writer is not None
        with damage(f"RNTuple '{run.tree}'"):
            file.main.finish(self._composer, self._writer)
        trees = dict(carried_trees(file.trees, self._digests))
        trees |= {one.path: carried_ntuple(one, one.copy(self._composer, packing(PAGES))) for one in file.others}
        ntuple = CarriedNtuple(carried_ntuple(file.main, self._writer), self._surgery.to_json())
        columns, uuid = len(file.main.ntuple.columns), file.source.uuid
        graft = Graft(None, trees, self._objects, uuid, columns, {}, ntuple, self._alone)
        made = NEWEST if any(entry.collection.beside for entry in run.collections) else run.format
        contents = replace(contents, runs=[replace(run, graft=graft, counters=_needed(run), format=made)])
        add_contents(self._composer, contents)
        self._composer.finish(file.trees)
        return contents


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


def split_ntuples(made: Path, path: Path, compression: Any = None) -> None:
    """Copy a file that uproot made, with the numbers of its RNTuples split into planes of bytes, which pack better.

    Pages get checksums, and the offsets of lists that are alike are written once.
    """
    with open_source(made) as source, damage(f"'{made}'"):
        records = Records(source.read, source.path.stat().st_size)
        trees = trees_of(records)
        with Composer(path, records) as composer:
            composer.copy_all(trees, lambda *_: None)
            for one in ntuples_of(records):
                one.split(composer, packing(compression) if compression else IN_PLANES)
            composer.finish(trees)


def write_restored_ntuple(source: Source, contents: Contents, path: Path, progress: Progress) -> None:
    """Write the original file of a grafted RNTuple; raises DamagedFileError if a checksum differs."""
    run, compression = contents.runs[0], packing(source.trees[contents.runs[0].tree].compression)
    file, what = NtupleFile.of(source, run.tree), f"RNTuple '{run.tree}'"
    edges = _edges(contents.runs)
    with Composer(path, file.records) as composer:
        digests = Digests(file.records, file.trees, edges)
        composer.copy_all(file.trees, digests.seen)
        with damage(what, *FACTS):
            surgery = Surgery.from_json(_ntuple(run).surgery)
            fills = undo(file.main.ntuple, surgery, _rounded_as(contents.runs), _exact(contents.runs))
            writer = file.main.writer(composer, fills, compression, edges[run.tree])
        for _, events in restored_events(source, contents, progress):
            with damage(what):
                writer.extend(events)
        with damage(what):
            file.main.finish(composer, writer)
        found = {one.path: one.copy(composer, compression, edges.get(one.path, ())) for one in file.others}
        found |= {run.tree: writer}
        for message in _damaged(file, contents, found, digests):
            raise DamagedFileError(message)
        composer.finish(file.trees)


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


def is_ntuple(contents: Contents) -> bool:
    """Whether the tree of a grafted file is an RNTuple."""
    return all(run.graft is not None and run.graft.ntuple is not None for run in contents.runs)


def damage_in(source: Source, contents: Contents) -> list[tuple[str, Spoiled | None]]:
    """Messages about all damage of a grafted file but that of the jets, each with its chunk, if it is of one."""
    if is_ntuple(contents):
        return [(message, None) for message in _damage_of_ntuples(source, contents)]
    return damage_of(taken_apart(source, contents))


def rewritten(source: Source, contents: Contents) -> Contents:
    """The contents of a tree as if all that uproot can read had been written anew, without checksums of what is not."""
    if is_grafted(contents) and is_ntuple(contents):
        return _ntuple_rewritten(source, contents)
    return as_rewritten(source, contents)


def _damage_of_ntuples(source: Source, contents: Contents) -> list[str]:
    """Messages about all damage but that of the jets."""
    run = contents.runs[0]
    file, edges = NtupleFile.of(source, run.tree), _edges(contents.runs)
    digests = Digests(file.records, file.trees, edges)
    digests.read()
    try:
        with damage(f"'{source.path}'"):
            merged_streamers(file.records, (), 0)
        with damage(f"RNTuple '{run.tree}'", *FACTS):
            put_back(file.main.ntuple.fields, Surgery.from_json(_ntuple(run).surgery).made, (), ())
        found = {one.path: one.read(edges.get(one.path, ())) for one in file.ntuples}
        return list(_damaged(file, contents, found, digests))
    except DamagedFileError as error:
        return [str(error)]


def compare_ntuples(opened: Opened, source: Source, contents: Contents) -> tuple[list[str], dict[str, bool]]:
    """The differences between an original and all of a grafted file but the jets, and which fields are the same."""
    run = contents.runs[0]
    if opened.source is None or opened.tree_read is None or not opened.tree_read.is_rntuple:
        return ["the original has no RNTuple"], {}
    mine, theirs = NtupleFile.of(opened.source, run.tree), NtupleFile.of(source, run.tree)
    with damage(f"RNTuple '{run.tree}'", *FACTS):
        fields, surgery = mine.main.ntuple.fields, Surgery.from_json(_ntuple(run).surgery)
        if run.graft and run.graft.alone:
            mine.leave_main()
        take_fields(fields, _left_out(fields, run, surgery))
        before = described(fields)
        put_back(theirs.main.ntuple.fields, surgery.made, (), ())
    columns, others = mine.columns(), theirs.columns()
    differences = _differing(columns, others)
    same = _same_fields(columns[mine.main.path], dict(others[theirs.main.path]))
    put_back(theirs.main.ntuple.fields, (), surgery.taken, surgery.untyped)
    after = described(theirs.main.ntuple.fields)
    differences += [f"field '{name}' is in one of the files only" for name in sorted(before.keys() ^ after.keys())]
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    differences += [f"the type of field '{name}' differs" for name in changed]
    exactly = source.uuid == (run.graft.uuid if run.graft else "") and len(contents.runs) == 1
    differences += [*compare_trees(mine.trees, theirs.trees, exactly)]
    return differences + [*compare_objects(mine.records, theirs.records, FOLDER, exactly)], same


def _same_fields(columns: Sequence[tuple[str, int]], others: Mapping[str, int]) -> dict[str, bool]:
    """Whether all columns of each field that both files have are the same, by the name of the field."""
    same = dict[str, bool]()
    for column, value in columns:
        if column in others:
            field = dotted(tuple(column.rpartition("#")[0].split(".")))
            same[field] = same.get(field, True) and others[column] == value
    return same


def _left_out(fields: Sequence[Field], run: Run, surgery: Surgery) -> set[int]:
    """The ids of the fields of an original that a run has left out."""
    if run.graft is None or not run.graft.alone:
        return _numbers(fields, run.dropped)
    known = {path for path, _ in walk_fields(fields)}
    return other_fields(fields, known & set(surgery.branches.values()))


def _differing(mine: Mapping[str, list[tuple[str, int]]], theirs: Mapping[str, list[tuple[str, int]]]) -> list[str]:
    """The differences in columns and branches that both files have, each with name and checksum."""
    differences = [f"'{path}' is in one of the files only" for path in sorted(mine.keys() ^ theirs.keys())]
    for path in sorted(mine.keys() & theirs.keys()):
        others = dict(theirs[path])
        changed = [name for name, value in mine[path] if others.get(name, value) != value]
        differences += [f"'{name}' of '{path}' differs" for name in changed]
    return differences


def _ntuple(run: Run) -> CarriedNtuple:
    assert run.graft is not None and run.graft.ntuple is not None
    return run.graft.ntuple


def _trees(run: Run) -> dict[str, CarriedTree]:
    """All trees and RNTuples of a run, by their paths."""
    return ({} if run.graft is None else run.graft.trees) | {run.tree: _ntuple(run).carried}


def _edges(runs: Sequence[Run]) -> dict[str, Sequence[int]]:
    """The last entries of each run in every tree and RNTuple."""
    paths = {path for run in runs for path in _trees(run)}
    return {path: list(accumulate(one.entries for run in runs if (one := _trees(run).get(path)))) for path in paths}


def _damaged(
    file: NtupleFile, contents: Contents, written: Mapping[str, NtupleWriter], digests: Digests
) -> Iterator[str]:
    """Messages about what differs from what was written, of all that was copied."""
    known = set(written) | {tree.path for tree in file.trees}
    seen: dict[str, int] = {}
    for run in contents.runs:
        for path, carried in _trees(run).items():
            number = seen[path] = seen.get(path, -1) + 1
            if path not in known:
                yield f"'{file.source.path}' is damaged: '{path}' was in it and is gone"
                continue
            if path in written:
                differs = differs_from(carried, written[path], number)
            else:
                differs = bool(changed_branches_of(digests, path, number, carried.marks.numbers, run))
            if differs:
                yield f"'{path}' is damaged: the checksum of its columns or branches differs; get the file again"
    graft = contents.runs[0].graft
    if graft and file.source.uuid == graft.uuid and len(contents.runs) == 1:
        objects = dict(objects_of(file.records, FOLDER))
        changed = [name for name, value in graft.objects.items() if objects.get(name) != value]
        yield from (f"'{name}' in '{file.source.path}' is damaged: its checksum differs" for name in changed)


def _ntuple_rewritten(source: Source, contents: Contents) -> Contents:
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
    run = contents.runs[0]
    ntuple = NtupleFile.of(source, run.tree).main.ntuple
    with damage(f"RNTuple '{run.tree}'", *FACTS):
        undo(ntuple, Surgery.from_json(_ntuple(run).surgery))
    places = {dotted(path): place for place, (path, _) in enumerate(walk_fields(ntuple.fields))}
    return sorted(names, key=lambda name: places.get(name, len(places)))
