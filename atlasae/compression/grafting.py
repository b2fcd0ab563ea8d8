"""Files of which all but the jets is copied byte for byte, in both directions.

Compression takes the branches of the jets out and puts their stand-ins in; decompression puts the jets' own branches
back and fills them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from atlasae.compression.chunks import Progress, in_turn
from atlasae.compression.format import CarriedTree, Chunk, Contents, Graft, Run, write_contents
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
from atlasae.compression.ttrees import (
    Operated,
    OriginalTree,
    TtreeJets,
    carried_trees,
    changed_branches_of,
    graft_of,
    leave_jets_out,
    ttree_rewritten,
)
from atlasae.errors import DamagedFileError, UserError, sparing
from atlasae.files.branches import FOLDER
from atlasae.files.damage import FACTS, damage
from atlasae.files.trees import Source, open_source
from atlasae.files.writing import PAGES, RECORDS, create_in_memory
from atlasae.graft.anchors import GraftedNtuple, newest_ntuple, ntuples_of, packing
from atlasae.graft.comparing import Copy, compare_data, compare_objects, compare_trees
from atlasae.graft.composing import Composer, check_sizes
from atlasae.graft.digests import Digests, Marks, objects_of, samples
from atlasae.graft.forms import Form
from atlasae.graft.ntuple import NtupleWriter
from atlasae.graft.records import Records, records_of
from atlasae.graft.streamers import merged_streamers, streamers_of, trees_among
from atlasae.graft.trees import CHAIN, TREES, GraftedTree, latest, newest_tree, older_cycles, refuse_others, trees_of
from atlasae.jets.inputs import Opened
from atlasae.report import LeftOut


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

    @property
    def original(self) -> OriginalTree:
        """The tree of the jets, if it is a TTree, with what is known of it."""
        return OriginalTree(self.source.trees[self.path], self.tree, self.records)


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
        records = records_of(source)
        refuse_others(records, trees_among(streamers_of(records)) - {*TREES, CHAIN})
        everything = trees_of(records)
        left_out = [lost for name in ttrees for lost in older_cycles(records, everything, name)]
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
        records = records_of(source)
        trees = [newest_tree(records, name) for name in ttrees]
        every = ntuples_of(records)
        ntuples = [newest_ntuple(every, name) for name in opened.trees if name not in ttrees]
        records.leave_only([*(tree.key for tree in trees), *(one.key for one in ntuples)])
        return Grafting(source, records, trees, ntuples, opened.tree, alone=True)
    return None


@contextmanager
def _of_file(path: Path) -> Iterator[Records]:
    """The records of a file that atlasae wrote."""
    with open_source(path) as source:
        yield records_of(source)


class GraftTarget:
    """A copy of a file without the jets of some of its trees, into which their stand-ins are put."""

    def __init__(self, file: Grafting, composer: Composer, recompression: Any) -> None:
        """Begin with nothing copied."""
        self._file, self._composer, self._recompression = file, composer, recompression
        self._operated, self._edges, self._is_copied = list[Operated](), dict[str, Sequence[int]](), False
        self._objects, self._digests = dict[str, int](), Digests(file.records, (), {})
        self._ntuples = dict[str, NtupleTarget]()

    def take_out(self, grafting: Grafting, plan: Plan, ends: Sequence[int]) -> None:
        """Take the jets of a TTree out, whose chunks have these ends."""
        with self._damage():
            self._operated.append(Operated.of(grafting.original, grafting.forms, plan, self._file.alone))
        self._edges[grafting.path] = ends

    @property
    def _trees(self) -> list[GraftedTree]:
        return [one.tree for one in self._operated] if self._file.alone else self._file.trees

    def copy_all(self) -> None:
        """Copy all but what was taken out, unless that is done."""
        if self._is_copied:
            return
        with self._damage():
            self._objects = dict(objects_of(self._file.records, FOLDER))
            self._digests, self._is_copied = Digests(self._file.records, self._trees, self._edges), True
            self._composer.copy_all(self._trees, self._digests.seen, self._recompression)

    def copied_beside(self) -> AbstractContextManager[None]:
        """Copy all but what was taken out while a `with` block runs."""
        return self._composer.copied_beside(self.copy_all)

    def _damage(self) -> AbstractContextManager[None]:
        return damage(f"'{self._file.source.path}'")

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
                one.put_stand_ins(composer, other, made)
            composer.add_streamers(made)
            add_contents(composer, contents)
            composer.finish(self._trees)
        return contents, Copy(composer.kept, self._trees, ntuples)

    def _grafted(self, run: Run, graft: Graft) -> Run:
        """The run with what `graft` tells of the rest of the file, and what was taken out of its tree."""
        if run.tree in self._ntuples:
            return self._ntuples[run.tree].told(run, graft)
        return next(one for one in self._operated if one.tree.path == run.tree).told(run, graft)

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


Spoiled = tuple[str, int]  # a chunk that is damaged: its tree, and its first entry


@dataclass
class Grafted:
    """A grafted file taken apart: its records, its trees without stand-ins, and those of jets among them."""

    source: Source
    contents: Contents
    records: Records
    trees: list[GraftedTree]
    jets: list[TtreeJets]
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

    def digests(self) -> Digests:
        """The checksums of all carried branches, in the ranges that have checksums in the file, of baskets to come."""
        return Digests(self.records, self.trees, self.edges(), sparing=True)

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
                yield from self._damaged_ntuple(jets.one.path, ntuple_of(run).carried, ntuples, number)
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
            yield from self._damaged_ntuple(path, carried, ntuples, number)
        elif path not in {tree.path for tree in self.trees}:
            yield f"'{self.source.path}' is damaged: '{path}' was in it and is gone", None
        elif changed := self._changed(carried.marks.numbers, run, digests, path, number):
            start, stop = [0, *self.edges()[path]][number : number + 2]
            yield _told(changed, f"of tree '{path}' in entries {start} to {stop}"), None

    def _damaged_chunks(self, jets: TtreeJets, digests: Digests) -> Iterator[tuple[str, Spoiled | None]]:
        path = jets.tree.path
        of_tree = f"of tree '{path}' " * (len(self.jets) > 1)
        for number, (run, start, chunk) in enumerate(jets.contents.chunks_by_run()):
            marks = chunk.checksums[len(run.written) :]
            if changed := self._changed(marks, run, digests, path, number):
                yield _told(changed, f"{of_tree}in entries {start} to {start + chunk.entries}"), (path, start)

    @staticmethod
    def _damaged_ntuple(
        path: str, carried: CarriedTree, ntuples: Mapping[str, NtupleWriter], number: int
    ) -> Iterator[tuple[str, None]]:
        if path in ntuples and differs_from(carried, ntuples[path], number):
            yield f"RNTuple '{path}' is damaged: the checksum of its columns differs; get the file again", None

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
        records = records_of(source)
        trees = latest(_trees_of(records, source), list(of_trees))
        known = {tree.path: tree for tree in trees}
        ntuples = {name for name, one in of_trees.items() if is_ntuple(one)}
        jets = [TtreeJets.of(records, one, known[name]) for name, one in of_trees.items() if name not in ntuples]
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
        records = records_of(source)
        ntuples = ntuples_of(records)
        trees = _without_jets(records, ntuples, grafted, source)
        exactly = grafted.is_untouched
        found = list(compare_trees(trees, grafted.trees, exactly))
        digests = grafted.digests()
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
            leave_jets_out(tree, runs[tree.path])
    return trees


def _compare_data(
    grafted: Grafted, mine: Digests, theirs: Digests, entries: Mapping[str, int]
) -> Iterator[tuple[str, str, str]]:
    """Messages about branches with other data, each with the tree and the name of the branch.

    `entries` are those of the original's trees; ranges that go beyond are not compared.
    """
    jets = {one.tree.path for one in grafted.jets}
    for path, edges in grafted.edges().items():
        if path not in jets and entries.get(path) not in (None, edges[-1]):
            yield f"tree '{path}' has {edges[-1]} entries, {entries[path]} in the original", path, ""
        of_tree = f" of tree '{path}'" if jets != {path} else ""
        within = [stop for stop in edges if stop <= entries.get(path, -1)]
        for name, start, stop in compare_data(path, within, mine, theirs):
            yield f"branch '{name}'{of_tree} differs in entries {start} to {stop}", path, name


def damage_of(grafted: Grafted) -> list[tuple[str, Spoiled | None]]:
    """Messages about all damage but that of the jets, each with the tree and first entry of its chunk, if any."""
    digests = grafted.digests()
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
    return ntuple_rewritten(source, contents) if is_ntuple(contents) else ttree_rewritten(source, contents)


def write_regrafted(grafted: Grafted, path: Path, progress: Progress) -> None:
    """Write the original file; raises DamagedFileError if a checksum differs."""
    source, edges = grafted.source, grafted.edges()
    trees = [*(jets.one.path for jets in grafted.ntuple_jets), *(one.tree.path for one in grafted.jets)]
    known = grafted.contents.of_trees()
    steps = list(in_turn(progress, [known[tree].entries for tree in trees]))
    with damage(f"'{source.path}'"), Composer(path, grafted.records) as composer:
        grafted.check_objects()
        digests = grafted.digests()
        with composer.copied_beside(composer.begin_copy(grafted.trees, digests.seen)):
            of_jets = {
                jets.one.path: jets.restore(source, composer, edges[jets.one.path], advance)
                for jets, advance in zip(grafted.ntuple_jets, steps, strict=False)
            }
            pages = packing(PAGES)
            others = {one.path: one.copy(composer, pages, edges.get(one.path, ())) for one in grafted.others}
            for one, advance in zip(grafted.jets, steps[len(grafted.ntuple_jets) :], strict=True):
                one.restore(source, composer, grafted.records.head.compress, advance)
        grafted.check(digests, others | of_jets)
        composer.finish(grafted.trees)
