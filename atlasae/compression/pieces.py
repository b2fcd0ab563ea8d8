"""Files with some of the entries of another: parts, which --split-size makes, and skims, which other tools make.

Parts are told by their runs: whether they fit together, and in which order. ROOT's Snapshot, CopyTree and CloneTree
keep the three floats and the exact jets of an entry, but not the folder `atlasae`: the codecs of a skim are read from
the file that it was made from. The checksums of its chunks do not apply.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from atlasae.compression.chunks import layout_kind
from atlasae.compression.format import (
    PACKED_SKIM,
    Chunk,
    CompressedCollection,
    Contents,
    Copied,
    Run,
    read_contents,
    read_folder,
)  # fmt: skip
from atlasae.compression.grafting import rewritten
from atlasae.compression.others import entry_ranges
from atlasae.errors import AtlasaeError, DamagedFileError, UserError
from atlasae.files.branches import Branch
from atlasae.files.events import flatten
from atlasae.files.remote import Location
from atlasae.files.trees import Source, Tree, open_source
from atlasae.jets.collections import Collection, name_counters
from atlasae.jets.inputs import Part
from atlasae.report import some

_NAME = re.compile(r"(.+)\.part([0-9]+)(|\.[^.]*)", re.DOTALL)
Key = tuple[str, int, str]  # name, size and ROOT's UUID of the file that was split
LOOKED_UP = 1_000_000  # entries of a skim above which only a part of its jets is looked up in the whole file
Keys = npt.NDArray[np.uint64]


def part_path(target: Path, number: int, parts: int) -> Path:
    """The path of a part of an output; all numbers have as many digits as the last, so that the names sort."""
    return target.with_name(f"{target.stem}.part{number:0{len(str(parts - 1))}}{target.suffix}")


def parts_in(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder with names of parts, by the name of the whole file, in the order of their numbers."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [(match, path) for path in files if (match := _NAME.fullmatch(path.name))]
    found: dict[str, list[Path]] = {}
    for match, path in sorted(named, key=lambda pair: int(pair[0][2])):
        found.setdefault(match[1] + match[3], []).append(path)
    return found


def number_of(path: Path) -> int:
    """The number in the name of a part."""
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[2])


def part_of(run: Run) -> Part | None:
    """The part of its source that a run compressed, or None for the whole; raises DamagedFileError if it is invalid."""
    if "part" not in run.source:
        return None
    try:
        (start, stop), (number, parts) = run.source["entries"], run.source["part"]
        return msgspec.convert({"start": start, "stop": stop, "number": number, "parts": parts}, Part)
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedFileError(f"which part of '{run.source.get('name')}' a run was made of is damaged") from error


def first_run(path: Path) -> Run | None:
    """The first run of a file, or None if it can't be read or is not a compressed file."""
    try:
        with open_source(path) as source:
            run = read_contents(source).runs[0]
        part_of(run)
        return run
    except (AtlasaeError, OSError):
        return None


def entries_of(runs: Sequence[Run]) -> tuple[int, int] | None:
    """The entries (start, stop) of their source that runs cover together, or None if they are not parts of one."""
    found = [part for run in runs if (part := part_of(run))]
    if len(found) < len(runs) or len({key_of(run) for run in runs}) > 1:
        return None
    return found[0].start, found[-1].stop


def key_of(run: Run) -> Key:
    """The name, size and UUID of the source of a run; the first files of format 1 have no UUID."""
    return run.source["name"], run.source["bytes"], run.source.get("uuid", "")


def in_order(files: Sequence[Contents]) -> list[int]:
    """The indices of files, with the parts of each source sorted; other files keep their positions."""
    order, places, numbers = list(range(len(files))), dict[Key, list[int]](), dict[int, int]()
    for place, contents in enumerate(files):
        if (part := part_of(contents.runs[0])) and entries_of(contents.runs):
            places.setdefault(key_of(contents.runs[0]), []).append(place)
            numbers[place] = part.number
    for found in places.values():
        ordered = sorted(found, key=numbers.__getitem__)
        for place, other in zip(found, ordered, strict=True):
            order[place] = other
    return order


def check_parts(what: str, runs: Sequence[Run], whole: bool = False) -> None:
    """Raise UserError unless the parts of each source are of one split, each once, in order and, if `whole`, all."""
    found: dict[Key, list[Part]] = {}
    for run in runs:
        if part := part_of(run):
            found.setdefault(key_of(run), []).append(part)
    uncut = {key_of(run)[:2] for run in runs if part_of(run) is None}
    for key, parts in found.items():
        problem = "in parts and whole" if key[:2] in uncut else _problem(parts, whole)
        if problem:
            raise UserError(f"{what} has '{key[0]}' {problem}: take each part of one split, once and in order")


def _problem(parts: Sequence[Part], whole: bool) -> str | None:
    """What is wrong with the parts of one source, or None."""
    numbers, splits = [part.number for part in parts], sorted({part.parts for part in parts})
    if len(splits) > 1:
        return f"cut into {' and into '.join(map(str, splits))} parts"
    if twice := {number for number in numbers if numbers.count(number) > 1}:
        return f"with part {min(twice)} of {splits[0]} twice"
    if numbers != sorted(numbers):
        return f"with its parts in the order {some(map(str, numbers))}"
    wanted = range(splits[0]) if whole else range(numbers[0], numbers[-1] + 1)
    if missing := [number for number in wanted if number not in numbers]:
        return f"without part {missing[0]} of {splits[0]}"
    if any(first.stop != second.start for first, second in pairwise(parts)):
        return "in parts that do not meet"
    return None


# --- skims


@dataclass(frozen=True)
class Skim:
    """The contents of a skim, as if it had been compressed by itself, and notes for the user."""

    contents: Contents
    notes: list[str]


def contents_of(source: Source, trusted: Location | None, step_size: int) -> Skim:
    """The contents of a compressed file or, for a skim, those that follow from the `trusted` file it was made from.

    Raises UserError if the skim can't be decoded with that file.
    """
    if trusted is None:
        return Skim(read_contents(source), [])
    with open_source(trusted) as whole:
        known = read_folder(whole).of_trees()
        found = [_skim_of(source, whole, told, trusted, step_size) for told in _skimmed(source, known)]
    runs = [run for skim in found for run in skim.contents.runs]
    chunks = [chunk for skim in found for chunk in skim.contents.chunks]
    contents = Contents(runs, chunks, found[0].contents.models)
    return Skim(contents, [note for skim in found for note in skim.notes])


def _skimmed(source: Source, known: Mapping[str, Contents]) -> list[Contents]:
    """The contents of those trees of the whole file that a skim has; of one by itself, under whatever name."""
    if len(known) == 1:
        return list(known.values())
    if found := [told for tree, told in known.items() if tree in source.trees]:
        return found
    raise UserError(
        f"'{source.path}' has none of the trees {some(known)} by these names: skim one under its own name, as its "
        "jets can't be told from those of the others"
    )


def _skim_of(source: Source, whole: Source, told: Contents, trusted: Location, step_size: int) -> Skim:
    """The contents of one tree of a skim, as told by those of the whole file."""
    told = _as_told(whole, told)
    tree = _tree_of(source, told, trusted)
    entries = list(_collections(tree, told, trusted))
    if trusted != source.path:
        _check_origin(tree, _tree_of(whole, told, trusted), told.runs[0], entries, step_size)
    run = _run_of(tree, told.runs[0], entries)
    chunks = list(_chunks(tree, run, step_size))
    contents = Contents([replace(run, chunks=len(chunks))], chunks, told.models)
    return Skim(contents, _notes(tree, run, told.runs[0], trusted))


def _as_told(whole: Source, told: Contents) -> Contents:
    """What a folder tells of a tree, and the tree beside it of the branches that were copied, if it has them all."""
    tree = whole.trees.get(told.tree)
    made = {name for entry in told.runs[0].collections for name in entry.collection.latents}
    if tree is not None and tree.names >= made and tree.entries == sum(run.entries for run in told.runs):
        return rewritten(whole, told)
    return replace(told, runs=[replace(run, graft=None) for run in told.runs])


def _tree_of(source: Source, told: Contents, trusted: Location) -> Tree:
    """The tree of a skim with stand-ins of the jets; it may have another name. Raises UserError if there is none."""
    stand_ins = {name for entry in told.runs[0].collections for name in entry.collection.latents}
    dotless = {name.replace(".", "_") for name in stand_ins}
    found = [tree for tree in source.trees.values() if tree.names & (stand_ins | dotless)]
    named = [tree for tree in found if tree.name == told.tree]
    if not found:
        raise UserError(f"'{source.path}' is no skim of '{trusted}': none of its trees has '{min(stand_ins)}'")
    return (named or found)[0]


def _spelled(name: str, tree: Tree) -> str:
    """The name of a branch in a skim: Snapshot replaces dots by underscores."""
    return name if name in tree.names else name.replace(".", "_")


def _in_skim(collection: Collection, tree: Tree) -> Collection:
    """The collection with its stand-ins named as in the skim."""
    if collection.latents[0] in tree.names:
        return collection
    exact = collection.exact_prefix and collection.exact_prefix.replace(".", "_")
    return replace(collection, prefix=collection.prefix.replace(".", "_"), exact_prefix=exact)


def _collections(tree: Tree, told: Contents, trusted: Location) -> Iterator[CompressedCollection]:
    """The collections of which the skim has latents; raises UserError for those that can't be decoded.

    What is packed beside them does not come along.
    """
    known = {branch.name: branch for branch in tree.branches}
    for entry in told.runs[0].collections:
        collection = _in_skim(entry.collection, tree)
        if known.keys().isdisjoint(collection.latents) or collection.beside:
            continue
        if layout_kind(entry).by_chunk:
            raise UserError(f"'{collection.name}' is packed: {PACKED_SKIM}")
        _check_branches(collection, known, trusted)
        found = told.over_runs(collection.name)
        kinds = {(repr(one.codec), repr(one.collection.roundings), one.model_sha256) for one in found}
        if len(kinds) > 1:
            raise UserError(
                f"'{trusted}' is merged from {len(found)} runs, '{collection.name}' on {len(kinds)} different grids: "
                "nothing tells of which an entry of a skim is; skim each run's own file, before it is merged"
            )
        yield replace(entry, collection=collection)


def _check_branches(collection: Collection, known: dict[str, Branch], trusted: Location) -> None:
    exact = {collection.exact[v]: dtype for v, dtype in collection.dtypes.items()}
    wanted = {name: Branch(name, "<f4", collection.jagged) for name in collection.latents}
    wanted |= {name: Branch(name, dtype, True) for name, dtype in {collection.exact["index"]: "<i4", **exact}.items()}
    if missing := [name for name in wanted if name not in known]:
        raise UserError(f"'{collection.name}' can't be decoded without '{missing[0]}': skim with {', '.join(wanted)}")
    for name, branch in wanted.items():
        if (known[name].dtype, known[name].jagged) != (branch.dtype, branch.jagged):
            raise UserError(f"branch '{name}' is of type {known[name].dtype}: not a skim of '{trusted}'")


def _check_origin(tree: Tree, whole: Tree, told: Run, entries: Sequence[CompressedCollection], step_size: int) -> None:
    """Raise UserError if some jets of the skim, those looked up, are not in the whole file."""
    latents = {entry.collection.name: entry.collection.latents for entry in told.collections}
    every = max(1, tree.entries // LOOKED_UP)
    for collection in (entry.collection for entry in entries):
        wanted = [keys[::every] for keys in _keys(tree, collection.latents, step_size)]
        missing = np.unique(np.concatenate(wanted))
        looked_up = len(missing)
        for keys in _keys(whole, latents[collection.name], step_size) if looked_up else ():
            missing = np.setdiff1d(missing, keys)
            if not len(missing):
                break
        if len(missing):
            raise UserError(
                f"{len(missing)} of {looked_up} jets looked up are not in the file to trust: name the compressed file "
                "that the skim was made of, for a skim of several files these, merged"
            )


def _keys(tree: Tree, latents: Sequence[str], step_size: int) -> Iterator[Keys]:
    """A 64-bit hash of the latents of each jet, chunk by chunk."""
    for start, stop in entry_ranges(tree, latents, step_size):
        keys: Keys = np.zeros(1, np.uint64)
        for array in tree.read(latents, start, stop).values():
            bits = np.ascontiguousarray(flatten(array)[0], np.float32).view(np.uint32)
            keys = keys * np.uint64(0x9E3779B97F4A7C15) + bits
        yield keys


def _run_of(tree: Tree, told: Run, entries: Sequence[CompressedCollection]) -> Run:
    """The run of a skim, as if its entries had been compressed."""
    jets = {name for entry in entries for name in entry.collection.branches.values()}
    made = [name for entry in entries for name in (*entry.collection.latents, *entry.collection.exact.values())]
    counting = {*(_spelled(counter, tree) for counter in told.counters.values()), *_counters(tree)}
    lost = {_spelled(name, tree) for c in told.collections if c.collection.beside for name in c.collection.latents}
    carried = [branch for branch in tree.branches if branch.name not in {*made, *counting, *jets, *lost}]
    before = {_spelled(name, tree): name for name in told.originals}
    names = {before.get(branch.name, branch.name): branch.name for branch in carried}
    originals = [name for name in told.originals if name in jets or name in names]
    originals += [name for name in names if name not in originals]
    known = {name: counter for name, counter in told.counters.items() if name in originals}
    counters = name_counters([entry.collection for entry in entries], carried, {*originals, *counting})
    return replace(
        told, tree=tree.name, title=tree.title, entries=tree.entries, collections=list(entries), originals=originals,
        carried=carried, written=[*names.values(), *made], counters=counters | known, copied=Copied(),
        aliases={name: stays for name, stays in names.items() if name != stays}, places={}, table=None, ntuple=False,
    )  # fmt: skip


def _counters(tree: Tree) -> set[str]:
    return {branch.counter for branch in tree.branches if branch.counter}


def _chunks(tree: Tree, run: Run, step_size: int) -> Iterator[Chunk]:
    """The chunks of a skim, without checksums."""
    latents = [entry.collection.latents[0] for entry in run.collections]
    for start, stop in entry_ranges(tree, run.written, step_size):
        events = tree.read(latents, start, stop)
        yield Chunk(stop - start, sum(int(flatten(array)[1].sum()) for array in events.values()), [])


def _notes(tree: Tree, run: Run, told: Run, trusted: Location) -> list[str]:
    notes = [f"a skim of '{trusted}', as you say: no checksum fits its {tree.entries} entries, none was compared"]
    if gone := [name for name in told.originals if name not in run.originals]:
        notes.append(f"did not come along: {some(gone)}")
    before = {_spelled(branch.name, tree): branch.dtype for branch in told.carried}
    for branch in run.carried:
        if branch.dtype != before.get(branch.name, branch.dtype):
            notes.append(f"branch '{branch.name}' is of type {branch.dtype} now, was {before[branch.name]}")
    return notes + [f"branch '{found.name}' is left out: {found.why}" for found in tree.unwritable]
