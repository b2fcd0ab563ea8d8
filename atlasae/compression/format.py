"""The `atlasae/` folder of a compressed file: runs, chunks and models, as JSON and bytes."""

import hashlib
import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from typing import Any, NotRequired, TypedDict

import awkward as ak
import msgspec
import numpy as np

from atlasae.errors import DamagedFileError, UserError
from atlasae.files.branches import FOLDER, LIST, TITLES, Branch
from atlasae.files.checksums import checksum_bytes
from atlasae.files.damage import damage, has_traces
from atlasae.files.events import TableFacts
from atlasae.files.trees import Source, Tree
from atlasae.files.writing import Target
from atlasae.graft.digests import Marks
from atlasae.graft.taken import TakenOut
from atlasae.graft.trees import glance
from atlasae.jets.collections import Collection, stand_ins
from atlasae.jets.padding import Config
from atlasae.report import LeftOut, counted, some

FORMAT = 5  # version of the folder; to be raised when old readers would misread a new file
# 1 stores strings, 2 bytes; 3 shifts the grid from jet to jet, and may be grafted; 4 names what makes its offsets, has
# phi in [0, 2 pi) and jets in fixed arrays, sums as marks of grafted files, counters told once, no tree for no models.
# 5 is the format of version 0.4.0: it may have several trees of one file, a run each, bounds by resolution
# (`resolutions` of a collection, `resolved` grids), locations from tables (`nodes`), and other numbers of whole jets
# (`beside`, layout "columns").
NEWEST = 6  # of files that need it, so that others stay readable: it has packed lists of variables (layout "cells"),
# variations beside their jets (`varied`), and RNTuples of which whole jets were taken out, flags of one bit among them.
READ = range(1, NEWEST + 1)
_SINCE = {"cells": 6, "varied": 6}  # the first format of a layout that came after `FORMAT`
BRIEF = 4  # the first format whose counters are told once and whose marks are sums
_PARTS = "where parts of several formats were merged, decompress each by itself"
PACKED_SKIM = (
    "packed jets of a chunk are all in its first entry, so that some of its entries can't be decoded: skim what "
    "`atlasae decompress` gives, or files with --layout floats"
)
_SKIMS = {
    "packed": PACKED_SKIM,
    "floats": "decompress it with --trust FULL.root, the compressed file it was made of",
}
_MADE = {"packed": "packed by atlasae", "floats": "compressed by atlasae to three floats each"}
_LATER = {
    "ntuple",
    "aliases",
    "places",
    "exact_prefix",
    "roundings",
    "left_out",
    "minor",
    "graft",
    "alone",
    "full_turn",
    "follows",
}
_LATER |= {"resolutions", "array", "shared", "parts", "head", "body", "listed", "called", "bytes_at", "behind"}
_LATER |= {"by_member", "beside", "basket_bytes", "low", "factor", "mantissa", "halves"}
_RUNS, _CHUNKS, _MODELS, _ABOUT = (f"{FOLDER}/{name}" for name in ("runs", "chunks", "models", "about"))


@dataclass(frozen=True)
class CompressedCollection:
    """A compressed collection: configuration of its codec, bounds (None: not promised), numbers of jets, errors."""

    collection: Collection
    codec: Config
    precision: dict[str, float | None]
    model_sha256: str
    jets: int
    exact_jets: int
    max_error: dict[str, float]
    bytes_in: int


@dataclass(frozen=True)
class Chunk:
    """Consecutive entries that were compressed together, with the checksum of every branch in `Run.written`.

    In a grafted file, the numbers of `Marks` of the carried branches follow.
    """

    entries: int
    jets: int
    checksums: list[int]


@dataclass(frozen=True)
class CopiedTree:
    """A carried tree; its chunks have no jets.

    `dtypes` and `branches` are in the order of the checksums; the first files of format 1 have neither, and no title.
    """

    name: str
    chunks: list[Chunk]
    dtypes: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    counters: dict[str, str] = field(default_factory=dict)
    title: str | None = None


@dataclass(frozen=True)
class Copied:
    """The carried trees and objects, the latter by name, with the checksums of the objects as written.

    The first files of format 1 have no checksums of objects.
    """

    trees: list[CopiedTree] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    checksums: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CarriedTree:
    """A tree whose baskets were copied as they were: its entries, and the checksums of its branches."""

    entries: int
    marks: Marks


@dataclass(frozen=True)
class CarriedNtuple:
    """An RNTuple from which the jets were taken out: its checksums, and how to put them back (`Surgery.to_json`)."""

    carried: CarriedTree
    surgery: dict[str, Any]


@dataclass(frozen=True)
class Graft:
    """What a run has of a file that was copied byte for byte, but for the jets, whose branches were taken out.

    `trees` are all trees but those of jets, the checksums of whose branches are in the chunks. `objects` are checksums
    by path and cycle, of a file with this `uuid`: ROOT writes objects anew in another. A run that follows another has
    neither. `samples` are checksums of baskets as they lie in the file, which differ where ROOT has written them anew.
    """

    taken: TakenOut | None
    trees: dict[str, CarriedTree]
    objects: dict[str, int]
    uuid: str
    branches: int
    samples: dict[str, int]
    ntuple: CarriedNtuple | None = None  # if the tree is an RNTuple; there is no `taken` then
    alone: bool = False  # whether nothing but the jets is in the file


class SourceFacts(TypedDict):
    """What a run was made of; of a part of a file its first entry and the one after its last, and which of how many."""

    name: str
    bytes: int
    entries: NotRequired[tuple[int, int]]
    part: NotRequired[tuple[int, int]]
    uuid: NotRequired[str]


@dataclass(frozen=True)
class Run:
    """The compression of a tree, with everything that decompression needs except the model.

    A file with several trees of jets has a run for each. The first of them also tells of all else in the file; the
    others `follow` it.
    """

    source: SourceFacts
    tree: str
    title: str
    entries: int
    chunks: int
    collections: list[CompressedCollection]
    originals: list[str]
    carried: list[Branch]
    written: list[str]
    counters: dict[str, str]
    dropped: list[str]
    versions: dict[str, str]
    table: TableFacts | None = None
    copied: Copied = field(default_factory=Copied)
    format: int = FORMAT
    ntuple: bool = False  # whether both input and output are RNTuples
    aliases: dict[str, str] = field(default_factory=dict)  # second name of a branch -> name of the branch
    places: dict[str, str] = field(default_factory=dict)  # paths of originals in the records of that RNTuple
    left_out: list[LeftOut] = field(default_factory=list)  # other than branches of its tree, which are in `dropped`
    options: str = ""  # `Options.digest`
    graft: Graft | None = None  # if all but the jets was copied as it is; `carried` and `copied` are empty then
    follows: bool = False  # whether the run before is of another tree of the same file

    @property
    def source_bytes(self) -> int:
        """The bytes of the input; of a part of a file, its share of them."""
        size, (number, parts) = self.source["bytes"], self.source.get("part", (0, 1))
        return size * (number + 1) // max(1, parts) - size * number // max(1, parts)

    @property
    def restored(self) -> set[str]:
        """The branches that decompression restores: carried ones, those of jets, and aliases of either."""
        jets = {name for entry in self.collections for name in entry.collection.branches.values()}
        return jets | {branch.name for branch in self.carried} | set(self.aliases)

    @property
    def carries_others(self) -> bool:
        """Whether other trees and objects were carried: not with --only-jets, and only in the first part of a file."""
        number, _ = self.source.get("part", (0, 1))
        grafted = self.graft is not None and not self.graft.alone
        found = bool(self.carried or self.left_out or grafted) or self.copied != Copied()
        return number == 0 and found

    @property
    def stand_ins(self) -> set[str]:
        """The branches that replace the jets, with counters of their own."""
        return {name for entry in self.collections for name in stand_ins(entry.collection, self.counters)}

    @property
    def other_trees(self) -> set[str]:
        """The paths of the carried trees, but that of the jets."""
        found = self.graft.trees if self.graft else {tree.name for tree in self.copied.trees}
        return set(found) - {self.tree}

    @property
    def other_objects(self) -> set[str]:
        """The paths of the carried objects that are no trees."""
        return {name.rpartition(";")[0] for name in self.graft.objects} if self.graft else set(self.copied.objects)

    @property
    def single(self) -> list[str]:
        """The originals without aliases."""
        return [name for name in self.originals if name not in self.aliases]

    @property
    def needed(self) -> set[str]:
        """The written branches from which the originals are restored."""
        made = {name for c in self.collections for name in (*c.collection.latents, *c.collection.exact.values())}
        return made | {branch.name for branch in self.carried}

    def counter_of(self, collection: Collection) -> str:
        """The counter of the original branches of a collection, or an empty string."""
        return self.counters.get(next(iter(collection.branches.values())), "")

    def counting(self, collection: Collection, written: Container[str]) -> list[str]:
        """The branches that give the number of jets per event: their counter, or carried branches with the same one."""
        if not collection.told_by_counter:
            return []
        counter = self.counter_of(collection)
        carriers = (b.name for b in self.carried if b.jagged and self.counters.get(b.name) == counter)
        return [name for name in (counter, *carriers) if name in written]

    def to_json(self) -> str:
        """The run as one JSON object."""
        told = replace(self, counters=_once(self)) if self.format in range(BRIEF, NEWEST + 1) else self
        return json.dumps(asdict(told, dict_factory=_told))

    @classmethod
    def from_json(cls, text: str) -> "Run":
        """The run that `to_json` wrote; raises UserError for an unknown format, DamagedFileError if it is invalid."""
        try:
            facts = json.loads(text)
            if facts["format"] not in READ:
                raise UserError(_other_format(facts))
            run = msgspec.convert(facts, cls)
            if run.format >= BRIEF:
                run = replace(run, counters=_of_all(run.counters, run.collections))
            if set(run.originals) != run.restored:
                raise ValueError("its originals are not the branches that it restores")
            if not set(run.aliases.values()) <= set(run.single):
                raise ValueError("it has second names of branches that it does not restore")
            if wrong := [name for name, place in run.places.items() if place.replace(LIST, "") != name]:
                raise ValueError(f"'{wrong[0]}' has a path of another name")
            if missing := run.needed - set(run.written):
                raise ValueError(f"branch '{min(missing)}' was not written")
            return run
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise DamagedFileError(f"'{_RUNS}' is damaged: {error}") from error


def _shared(collection: Collection) -> list[list[str]]:
    """The branches of a collection that share a counter."""
    made = list(collection.exact.values()) or list(collection.latents)
    return [[*collection.branches.values(), *collection.latents]] * collection.jagged + [made]


def _once(run: Run) -> dict[str, str]:
    """The counters of a run, those of a collection for one branch each."""
    groups = [names for entry in run.collections for names in _shared(entry.collection)]
    first = {names[0]: run.counters[names[0]] for names in groups if names[0] in run.counters}
    implied = _of_all(first, run.collections)
    return first | {name: counter for name, counter in run.counters.items() if implied.get(name) != counter}


def _of_all(counters: Mapping[str, str], entries: Sequence[CompressedCollection]) -> dict[str, str]:
    """The counters of all branches of collections, from those of one branch each."""
    found: dict[str, str] = {}
    for names in (names for entry in entries for names in _shared(entry.collection)):
        if names[0] in counters:
            found |= dict.fromkeys(names, counters[names[0]])
    return found | dict(counters)


@dataclass
class Contents:
    """The contents of the folder `atlasae`: runs (several in a merged file), chunks, and models by SHA-256."""

    runs: list[Run]
    chunks: list[Chunk]
    models: dict[str, bytes] = field(default_factory=dict)

    @property
    def tree(self) -> str:
        """The tree of the jets; of several, the first."""
        return self.runs[0].tree

    @property
    def trees(self) -> list[str]:
        """The trees of jets."""
        return list(dict.fromkeys(run.tree for run in self.runs))

    @property
    def files(self) -> list[Run]:
        """The first run of each file that was compressed: several in a merged file."""
        return [run for run in self.runs if not run.follows]

    def of_trees(self) -> dict[str, "Contents"]:
        """The contents of each tree of jets by itself, by its name."""
        found = {run.tree: Contents([], [], self.models) for run in self.runs}
        chunks = iter(self.chunks)
        for run in self.runs:
            found[run.tree].runs.append(run)
            found[run.tree].chunks += islice(chunks, max(0, run.chunks))
        return found

    def shown(self, tree: str, name: str) -> str:
        """A collection or branch of a tree as reports name it: with its tree, where there are several."""
        return name if all(run.tree == tree for run in self.runs) else f"{tree}/{name}"

    def over_runs(self, name: str) -> list[CompressedCollection]:
        """The collection of this name in every run."""
        return [entry for run in self.runs for entry in run.collections if entry.collection.name == name]

    @property
    def entries(self) -> int:
        """The number of entries of all trees of jets."""
        return sum(chunk.entries for chunk in self.chunks)

    @property
    def source_bytes(self) -> int:
        """The bytes of all inputs; of a part of a file, its share."""
        return sum(run.source_bytes for run in self.runs if not run.follows)

    @property
    def left_out(self) -> list[LeftOut]:
        """What the runs left out, without repetition."""
        return list(dict.fromkeys(thing for run in self.runs for thing in run.left_out))

    @property
    def dropped(self) -> list[str]:
        """The branches that the runs left out of their trees, without repetition."""
        found = dict.fromkeys((run.tree, name) for run in self.runs for name in run.dropped)
        return [self.shown(tree, name) for tree, name in found]

    def chunks_by_run(self) -> Iterator[tuple[Run, int, Chunk]]:
        """Every chunk with its run and its first entry in the (merged) tree."""
        chunks = iter(self.chunks)
        start = 0
        for run in self.runs:
            for _ in range(run.chunks):
                chunk = next(chunks)
                yield run, start, chunk
                start += chunk.entries


def _told(facts: list[tuple[str, object]]) -> dict[str, object]:
    """The facts of an object as a dict, without empty values of fields that were added to the format later."""
    return {key: value for key, value in facts if value or key not in _LATER}


def format_needed(codecs: Iterable[Config]) -> int:
    """The oldest format whose readers know these codecs."""
    return max([FORMAT, *(_SINCE.get(codec["layout"], FORMAT) for codec in codecs)])


def is_compressed(source: Source) -> bool:
    """Whether a file was written by `atlasae compress`: it has a tree of runs."""
    return _RUNS in source.trees


def write_contents(target: Target, contents: Contents) -> None:
    """Write the folder as TTrees, so that hadd concatenates the rows of all files.

    Strings are written as lists of bytes: hadd allocates string branches for the longest string of the first file.
    """
    texts = [run.to_json().encode() for run in contents.runs]
    runs = {
        "json": _byte_rows(texts),
        "checksum": ak.Array(np.array([checksum_bytes(text) for text in texts], np.uint64)),
    }
    target.make_tree(_RUNS, runs, title=TITLES["runs"]).extend(runs)
    chunks = {
        "entries": ak.Array(np.array([chunk.entries for chunk in contents.chunks], np.int64)),
        "jets": ak.Array(np.array([chunk.jets for chunk in contents.chunks], np.int64)),
        "checksums": _jagged([np.array(chunk.checksums, np.uint64) for chunk in contents.chunks], np.uint64),
    }
    target.make_tree(_CHUNKS, chunks, title=TITLES["chunks"]).extend(chunks)
    if contents.models or any(run.format < BRIEF for run in contents.runs):
        _write_models(target, contents.models)
    target.write_object(_ABOUT, _about(contents))


def _write_models(target: Target, found: Mapping[str, bytes]) -> None:
    models = {
        "sha256": ak.Array(np.frombuffer(bytes.fromhex("".join(found)), np.uint8).reshape(-1, 32)),
        "content": _byte_rows(found.values()),
    }
    target.make_tree(_MODELS, models, title=TITLES["models"]).extend(models)


def read_contents(source: Source) -> Contents:
    """The contents of the folder; raises UserError if there is none, DamagedFileError if it does not fit the trees.

    If a tree only has fewer entries than were compressed, the file is a skim, which is a UserError.
    """
    contents = read_folder(source)
    for of_tree in contents.of_trees().values():
        _check_tree(source, of_tree)
    return contents


def read_folder(source: Source) -> Contents:
    """The contents of the folder, not compared with the trees; raises as `read_contents` does."""
    if not is_compressed(source):
        if _is_remainder(source):
            raise DamagedFileError(f"'{source.path}' is damaged: it has no '{_RUNS}' tree, but others of its folder")
        if has_traces(source.path):
            raise DamagedFileError(
                f"'{source.path}' is damaged: its directory does not list the trees of atlasae that its bytes contain"
            )
        if found := _stand_in(source):
            why = f"it has branch '{found}', but no '{_RUNS}'"
            raise UserError(_like_a_skim(source, why, "packed" if found.endswith("packed") else "floats"))
        raise UserError(
            f"'{source.path}' was not compressed by atlasae: it has no '{_RUNS}' tree; give an output of `compress`"
        )
    with damage(f"'{FOLDER}' in '{source.path}'"):
        rows = _rows(source, _RUNS, ["json", "checksum"])
        chunk_rows = _rows(source, _CHUNKS, ["entries", "jets", "checksums"])
        numbers = zip(*(chunk_rows[name] for name in ("entries", "jets", "checksums")), strict=True)
        chunks = [Chunk(entries, jets, checksums.tolist()) for entries, jets, checksums in numbers]
        texts = _bytes_of(rows["json"])
        if [checksum_bytes(text) for text in texts] != rows["checksum"]:
            raise ValueError(f"the checksum of '{_RUNS}' differs; get the file again; {_PARTS}")
    runs = [Run.from_json(text.decode()) for text in texts]
    with damage(f"'{FOLDER}' in '{source.path}'"):
        contents = Contents(runs, chunks, _models(source, runs))
    _check(source, contents)
    return contents


def _models(source: Source, runs: Sequence[Run]) -> dict[str, bytes]:
    if _MODELS not in source.trees and all(run.format >= BRIEF for run in runs):
        return {}
    rows = _rows(source, _MODELS, ["sha256", "content"])
    return dict(zip(_names_of(rows["sha256"]), _bytes_of(rows["content"]), strict=True))


def _is_remainder(source: Source) -> bool:
    """Whether a file without runs has other trees of the folder, or all three in a folder of another name."""
    folders = [name.rpartition("/")[::2] for name in source.trees]
    found = {folder: {leaf for other, leaf in folders if other == folder} for folder, _ in folders}
    return FOLDER in found or any({"runs", "chunks"} <= leaves for leaves in found.values())


def _check(source: Source, contents: Contents) -> None:
    """Raise DamagedFileError or UserError if models, runs and chunks do not fit together."""
    for sha, content in contents.models.items():
        if hashlib.sha256(content).hexdigest() != sha:
            raise DamagedFileError(f"model {sha[:12]} in '{source.path}' is damaged: its bytes have another SHA-256")
    if not contents.runs or len(contents.chunks) != sum(run.chunks for run in contents.runs):
        raise DamagedFileError(
            f"'{source.path}' is damaged: {counted(len(contents.chunks), 'chunks')} for "
            f"{counted(len(contents.runs), 'runs')}; {_PARTS}"
        )
    for of_tree in contents.of_trees().values():
        check_alike(of_tree.runs, f"'{source.path}' merges files that")
    _check_trees(source, contents)
    for run, start, chunk in contents.chunks_by_run():
        if len(chunk.checksums) != len(run.written) and not (run.graft and len(chunk.checksums) > len(run.written)):
            raise DamagedFileError(
                f"'{source.path}' is damaged: the chunk at entry {start} has other checksums than one per branch"
            )


def _check_trees(source: Source, contents: Contents) -> None:
    """Raise DamagedFileError or UserError if the runs of a file are not of different trees, or not of these only."""
    trees = {run.tree for run in contents.runs}
    seen = set[str]()
    for run in contents.runs:
        seen = seen if run.follows else set()
        if run.tree in seen or (run.follows and not seen):
            raise DamagedFileError(f"'{source.path}' is damaged: a run of '{run.tree}' follows none of another tree")
        seen.add(run.tree)
        if _kind(run) != _kind(contents.runs[0]):
            here, there = (f"{_kind(one)} in '{one.source['name']}'" for one in (contents.runs[0], run))
            raise UserError(
                f"'{source.path}' merges trees '{contents.tree}' and '{run.tree}', which can't be restored together: "
                f"what is not jets is {here}, {there}; take them one by one"
            )
        if both := sorted(run.other_trees & trees):
            raise UserError(
                f"'{source.path}' merges files that can't be one: the jets of tree '{both[0]}' are compressed in some, "
                f"not in '{run.source['name']}'; take them one by one"
            )


def _kind(run: Run) -> str:
    """What became of all but the jets of a file."""
    if run.graft is None:
        return "written anew"
    return "left out" if run.graft.alone else "copied"


def jets_tree(source: Source, contents: Contents) -> Tree:
    """The tree of jets; where all else was copied, without the branches that are not read to restore them."""
    name = contents.tree
    if any(run.graft is None or run.graft.ntuple for run in contents.runs):
        return source.trees[name] if contents.runs[0].ntuple else glanced_tree(source, name)
    wanted = {name for run in contents.runs for name in (*run.written, *run.counters.values())}
    return glanced_tree(source, name, wanted)


def glanced_tree(source: Source, name: str, wanted: Container[str] | None = None) -> Tree:
    """A TTree, without the branches that are not `wanted`: uproot, which takes .3 ms for every branch, waits."""
    try:
        return source.glanced(name, partial(glance, wanted=wanted), part=wanted is not None)
    except (UserError, ValueError, LookupError):  # of what atlasae does not know, or of damage, which uproot tells of
        return source.trees[name]


def _check_tree(source: Source, contents: Contents) -> None:
    name, entries = contents.tree, contents.entries
    tree = jets_tree(source, contents) if name in source.trees else None
    told = sum(run.entries for run in contents.runs)
    if tree is not None and tree.entries < entries == told and source.trees[name].is_even:
        why = f"tree '{name}' has {tree.entries} of the {entries} entries compressed"
        raise UserError(_like_a_skim(source, why, contents.runs[0].collections[0].collection.layout))
    if tree is None or tree.entries != entries:
        raise DamagedFileError(
            f"'{source.path}' is damaged: tree '{name}' does not have the {counted(entries, 'entries')} compressed"
        )


def _stand_in(source: Source) -> str | None:
    """The name of a latent branch, recognised by the names of its tree, or None."""
    for names in (tree.names for tree in source.trees.values()):
        for name in sorted(names):
            prefix = name.removesuffix("z0")
            if f"{prefix}z0" == name and {f"{prefix}z1", f"{prefix}exact_index"} <= names:
                return name
            if name.endswith("packed") and f"n{name}" in names:
                return name
    return None


def _like_a_skim(source: Source, why: str, layout: str) -> str:
    return f"'{source.path}' looks like a skim of a compressed file: {why}; {_SKIMS[layout]}"


def check_alike(runs: Sequence[Run], what: str, merged: bool = True) -> None:
    """Raise UserError, with the difference and both sources, if runs can't be one tree.

    Runs `merged` in one file must have the same written branches; others only the same restored ones.
    """
    first = runs[0]
    facts, others = _facts_of_tree(first, merged), _facts_of_others(first)
    for run in runs[1:]:
        pairs = [(facts, _facts_of_tree(run, merged))]
        pairs += [(others[name], found) for name, found in _facts_of_others(run).items() if name in others]
        for one, two in pairs:
            if changed := [fact for fact in one | two if one.get(fact) != two.get(fact)]:
                here, there = (found.get(changed[0], "not") for found in (one, two))
                name, other = (f"'{of.source['name']}'" for of in (first, run))
                raise UserError(
                    f"{what} can't be one tree: {changed[0]} is {here} in {name}, {there} in "
                    f"{'another ' * (name == other)}{other}; take them one by one"
                )


def _facts_of_tree(run: Run, written: bool) -> dict[str, str]:
    """What must be equal in all runs of a tree: names of the facts for messages, with their values."""
    facts = {"the tree": f"'{run.tree}'"}
    if written:
        facts["what is not jets"] = f"copied, with {run.graft.branches} branches" if run.graft else "written anew"
    facts |= {f"branch '{branch.name}'": _type_of(branch.dtype, branch.jagged) for branch in run.carried}
    facts |= {f"branch '{name}'": f"'{stays}' by another name" for name, stays in run.aliases.items()}
    for collection in (entry.collection for entry in run.collections):
        facts |= _facts_of_jets(collection) | (_facts_of_stand_ins(collection) if written else {})
    counted = run.counters if written else run.counters.keys() & set(run.originals)
    return facts | {f"the counter of '{name}'": f"'{run.counters[name]}'" for name in sorted(counted)}


def _facts_of_jets(collection: Collection) -> dict[str, str]:
    name, dtypes = collection.name, collection.dtypes
    types = {v: f"{_type_of(dtypes[v], collection.jagged)}, {v} of '{name}'," for v in collection.branches}
    return {f"branch '{branch}'": types[v] for v, branch in collection.branches.items()} | {
        f"the unit of '{name}'": str(collection.units),
        f"the kind of '{name}'": "jets" if collection.holds_jets else "a list of variables",
    }


def _facts_of_stand_ins(collection: Collection) -> dict[str, str]:
    return {
        f"the layout of '{collection.name}'": collection.layout,
        f"what stands for '{collection.name}'": ", ".join((*collection.latents, *collection.exact.values())),
    }


def _facts_of_others(run: Run) -> dict[str, dict[str, str]]:
    """The branches of the carried trees, if recorded (not by the first files of format 1)."""
    return {
        tree.name: {
            f"branch '{name}' of tree '{tree.name}'": _type_of(dtype, name in tree.counters)
            for name, dtype in zip(tree.branches, tree.dtypes, strict=True)
        }
        for tree in run.copied.trees
        if tree.branches
    }


def _type_of(dtype: str, jagged: bool) -> str:
    return f"a list of {dtype}" if jagged else dtype


def _rows(source: Source, name: str, columns: list[str]) -> dict[str, list[Any]]:
    if name not in source.trees:
        raise ValueError(f"it has no tree '{name}'")
    tree = glanced_tree(source, name)
    return {column: tree.rows(column) for column in columns}


def _jagged(rows: list[np.ndarray[Any, Any]], dtype: type) -> "ak.Array":
    values: np.ndarray[Any, Any] = np.concatenate([np.empty(0, dtype), *rows]).astype(dtype)
    return ak.unflatten(values, np.array([len(row) for row in rows], np.int64))


def _byte_rows(rows: Iterable[bytes]) -> "ak.Array":
    return _jagged([np.frombuffer(row, np.uint8) for row in rows], np.uint8)


def _bytes_of(rows: list[Any]) -> list[bytes]:
    return [row.tobytes() for row in rows]


def _names_of(rows: list[Any]) -> list[str]:
    """The SHA-256 of each row, which format 1 stores as 64 hexadecimal digits."""
    return [row.decode() if len(row) == 64 else row.hex() for row in _bytes_of(rows)]


def _other_format(facts: Mapping[str, Any]) -> str:
    maker = facts.get("versions", {}).get("atlasae", "of a later day")
    return (
        f"made by atlasae {maker} in format {facts['format']}: this is atlasae {version('atlasae')}, which reads "
        f"formats {READ[0]} to {NEWEST}; it needs atlasae {maker} or later"
    )


def _about(contents: Contents) -> str:
    names = dict.fromkeys(c.collection.name for run in contents.runs for c in run.collections)
    layouts = dict.fromkeys(c.collection.layout for run in contents.runs for c in run.collections)
    return (
        f"The jets of this file ({some(names, 2)}) were {' or '.join(_MADE[layout] for layout in layouts)}. "
        "`atlasae decompress` brings them back: pip install atlasae."
    )


def bits_of(entry: CompressedCollection) -> dict[str, float]:
    """The bits of each variable in the words; empty for latents without a grid."""
    if "columns" in entry.codec:
        own = [v for v in entry.collection.branches if v not in entry.collection.shared]
        return {v: c["bits"] for v, c in zip(own, entry.codec["columns"], strict=True)}
    if "levels" not in entry.codec:
        return {}
    pairs = zip(entry.collection.coded, entry.codec["levels"], strict=True)
    return {v: round(math.log2(n), 2) for v, n in pairs}
