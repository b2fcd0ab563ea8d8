"""The other trees and objects of a file: copied, restored, and compared by checksums."""

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

import awkward as ak

from atlasae.compression.format import Chunk, Contents, Copied, CopiedTree
from atlasae.errors import DamagedFileError, UserError, sparing
from atlasae.files.branches import FOLDER, listed
from atlasae.files.checksums import checksum, checksums
from atlasae.files.events import Events, dtype_of, miscounted
from atlasae.files.trees import CopiedObject, Source, Tree
from atlasae.files.writing import UNNAMED, Target, Writer, can_name
from atlasae.jets.collections import name_counters
from atlasae.report import LeftOut, counted

UNWRITTEN = "uproot does not write it"


def copy_others(
    source: Source,
    trees: Collection[str],
    target: Target,
    step_size: int,
    nested: bool = False,
    drop_unwritable: bool = False,
) -> tuple[Copied, list[LeftOut]]:
    """Copy all objects, and all trees but `trees`; returns what was copied, with checksums, and what was left out.

    RNTuples stay RNTuples, nested fields included, if `nested`; else they become TTrees. Without `drop_unwritable`,
    raises UserError for anything that can't be written, before any tree is copied.
    """
    copied, others = Copied(), list(_others(source, trees, nested))
    left_out = _unwritten(source, trees, others)
    for name in _objects(source):
        found = source.copy_object(name, target)
        left_out += _lost(name, found)
        if isinstance(found, CopiedObject):
            copied.objects.append(name)
            copied.checksums[name] = found.checksum
    unwritable = [thing for thing in left_out if not thing.minor]
    if unwritable and not drop_unwritable:
        problem = f"'{source.path}' has {len(unwritable)} things beside its jets that can't be written"
        raise UserError(f"{problem}: {listed(unwritable)}; --drop-unwritable leaves them out")
    copied.trees.extend(_copy_tree(other, target, step_size) for other in others if _is_writable(other))
    return copied, left_out


def copy_back(
    source: Source, contents: Contents, target: Target | None, step_size: int, lost: list[str] | None = None
) -> list[LeftOut]:
    """Copy the other trees and objects of a compressed file, or only check them if there is no target.

    Returns what can't be written, such as objects added after the compression. Raises DamagedFileError if a checksum
    differs; with `lost`, what is damaged is left out and recorded there.
    """
    recorded, known = _recorded(contents), _known_objects(contents)
    for name in sorted((set(recorded) - set(source.trees)) | (set(known) - set(source.objects))):
        with sparing(lost):
            raise DamagedFileError(f"'{source.path}' is damaged: '{name}' was in it and is gone")
    trees = set(contents.trees)
    others = list(_others(source, trees, nested=True))
    left_out = _unwritten(source, trees, others)
    for other in others:
        if other.name in recorded:
            _copy_checked(other, target, recorded[other.name], lost)
        elif target and can_name(other.name):  # added after the compression
            with sparing(lost):
                _copy_tree(other, target, step_size)
    for name in _objects(source):
        with sparing(lost):
            left_out += _lost(name, _copy_object(source, name, target, known))
    return left_out


def compare_others(original: Source, contents: Contents) -> list[str]:
    """The differences between the other trees and objects of an original and those that were compressed.

    What is not in the compressed file is one too, unless its runs recorded it as left out.
    """
    differences, left_out = [], list[LeftOut]()
    for name, copied in _recorded(contents).items():
        tree, entries = original.trees.get(name), sum(chunk.entries for chunk in copied.chunks)
        if tree is None or tree.entries != entries:
            differences.append(f"tree '{name}' with {counted(entries, 'entries')} is not in the original")
            continue
        nesting = tree.nesting()
        tree = nesting if _names(nesting) == copied.branches else tree
        for chunk, (start, stop) in zip(copied.chunks, _ranges(copied.chunks), strict=True):
            changed = _changed(copied, chunk, tree.read(_names(tree), start, stop))
            differences += [f"branch '{b}' of tree '{name}' differs in entries {start} to {stop}" for b in changed]
    for name, known in _known_objects(contents).items():
        if name not in original.objects:
            differences.append(f"'{name}' is not in the original")
            continue
        found = original.copy_object(name)
        left_out += _lost(name, found)
        if known is not None and not (isinstance(found, CopiedObject) and found.checksum == known):
            differences.append(f"'{name}' differs")
    return differences + _untold(original, contents, left_out)


def _untold(original: Source, contents: Contents, left_out: Sequence[LeftOut]) -> list[str]:
    """Messages for what of an original is neither in the compressed file nor recorded as left out."""
    if not any(run.carries_others for run in contents.runs):
        return []
    trees, recorded, known = set(contents.trees), _recorded(contents), _known_objects(contents)
    others = [_as_carried(other, recorded) for other in _others(original, trees, nested=False)]
    names = [thing.name for thing in (*_unwritten(original, trees, others), *left_out)]
    names += [f"'{name}'" for name in _objects(original) if name not in known]
    names += [_shown(other) for other in others if other.name not in recorded]
    told = {thing.name for thing in contents.left_out}
    untold = [name for name in dict.fromkeys(names) if name not in told]
    return [f"{name} of the original is not in the compressed file" for name in untold]


def _as_carried(tree: Tree, recorded: dict[str, CopiedTree]) -> Tree:
    """The tree with its nested fields, if these were carried in an RNTuple, else the tree itself."""
    nesting = tree.nesting()
    return nesting if tree.name in recorded and _names(nesting) == recorded[tree.name].branches else tree


def _unwritten(source: Source, trees: Collection[str], others: Iterable[Tree]) -> list[LeftOut]:
    """What of trees and folders can't be written or is left out, and the older cycles."""
    left_out = [_beside(what, jets) for name, jets in source.trees.items() if name in trees for what in jets.beside]
    for other in others:
        left_out += [_beside(what, other) for what in other.beside]
        left_out += [LeftOut(f"branch '{u.name}' of {_shown(other)}", u.why) for u in other.unwritable]
        for name, stays in other.aliases.items():
            left_out.append(LeftOut(f"field '{name}' of {_shown(other)}", f"it is '{stays}' there", minor=True))
        if not can_name(other.name):
            left_out.append(LeftOut(_shown(other), UNNAMED))
        elif not _names(other):
            left_out.append(LeftOut(_shown(other), "none of its branches can be written", minor=not other.unwritable))
    return [*left_out, *_older_cycles(source), *_of_folders(source)]


def _shown(tree: Tree) -> str:
    return f"tree '{tree.name}'"


def _beside(what: str, tree: Tree) -> LeftOut:
    return LeftOut(f"{what} of {_shown(tree)}", UNWRITTEN, minor=True)


def _lost(name: str, found: CopiedObject | str) -> list[LeftOut]:
    """What of an object is left out: all of it, or some of its members."""
    if isinstance(found, str):
        return [LeftOut(f"'{name}'", found)]
    return [LeftOut(f"{what} of '{name}'", UNWRITTEN, minor=True) for what in found.lost]


def _older_cycles(source: Source) -> Iterator[LeftOut]:
    """The older cycles of trees (earlier saves, thus minor) and those of other objects that differ from the latest."""
    for key in source.older:
        name, _, cycle = key.rpartition(";")
        is_tree = name in source.trees
        if not _is_ours(name) and (is_tree or not source.repeats(key)):
            yield LeftOut(f"cycle {cycle} of '{name}'", "only the latest is carried", minor=is_tree)


def _of_folders(source: Source) -> Iterator[LeftOut]:
    holding = {folder for name in (*source.trees, *source.objects, *source.folders) for folder in _above(name)}
    for name, title in source.folders.items():
        if _is_ours(name):
            continue
        if name not in holding:
            yield LeftOut(f"empty folder '{name}'", UNWRITTEN, minor=True)
        elif title not in ("", name, name.rpartition("/")[2]):
            yield LeftOut(f"title of folder '{name}'", UNWRITTEN, minor=True)


def _above(name: str) -> list[str]:
    """The part of a name before each of its slashes: the folders that it is written to."""
    return list(accumulate(name.split("/")[:-1], "{}/{}".format))


def moved(source: Source, names: Iterable[str]) -> list[str]:
    """A note for each name with a slash that is not in a folder of the input: uproot makes a folder of it."""
    within = (name for name in names if not source.folders.keys() >= set(_above(name)))
    return [f"'{name}' becomes folder '{name.rpartition('/')[0]}' with '{name.rpartition('/')[2]}'" for name in within]


def entry_ranges(events: Events, names: Iterable[str], step_size: int) -> Iterator[tuple[int, int]]:
    """Ranges of entries with about `step_size` uncompressed bytes each; one empty range if there are no entries."""
    step = max(1, int(step_size / max(1.0, events.bytes_per_entry(list(names)))))
    for start in range(0, max(events.entries, 1), step):
        yield start, min(start + step, events.entries)


def read_counted(
    events: Events,
    names: Sequence[str],
    counters: Mapping[str, str],
    start: int,
    stop: int,
    known: Mapping[str, ak.Array] | None = None,
) -> dict[str, ak.Array]:
    """The branches of some entries; raises UserError if one of `counters` differs from the lengths of its branch.

    The counters follow. They are not carried: they are restored from the lengths. What is `known` is not read again.
    """
    known = known or {}
    asked = [*names, *dict.fromkeys(counters.values())]
    read = {**known, **events.read([name for name in asked if name not in known], start, stop)}
    if wrong := miscounted(read, counters):
        counter = counters[wrong[0]]
        raise UserError(
            f"'{counter}' counts '{wrong[0]}' and has other values in entries {start} to {stop}, which would be lost: "
            f"leave them out with --drop {shlex.quote(counter)}, or all but the jets with --only-jets"
        )
    return {name: read[name] for name in asked}


def _others(source: Source, trees: Collection[str], nested: bool) -> Iterator[Tree]:
    for name, other in source.trees.items():
        if name not in trees and not name.startswith(f"{FOLDER}/"):
            yield other.nesting() if nested else other


def _copy_tree(tree: Tree, target: Target, step_size: int) -> CopiedTree:
    names, counters = _names(tree), _counters(tree)
    known = {branch.name for branch in tree.branches}
    counted = {name: counters[name] for name in names if counters.get(name) in known}
    copied = CopiedTree(
        tree.name, [], [], names, {name: counters[name] for name in names if name in counters}, tree.title
    )
    writer = None
    for start, stop in entry_ranges(tree, names, step_size) if names else ():
        read = read_counted(tree, names, counted, start, stop)
        events = {name: read[name] for name in names}
        copied.chunks.append(Chunk(stop - start, 0, [*checksums(events).values()]))
        copied.dtypes[:] = [dtype_of(array) for array in events.values()]
        writer = writer or _declare(tree, target, copied, events)
        writer.extend(events)
    return copied


def _declare(tree: Tree, target: Target, copied: CopiedTree, events: dict[str, ak.Array]) -> Writer:
    title = tree.title if copied.title is None else copied.title
    if tree.nested:
        return target.make_ntuple(tree.name, events, title, tree.places)
    return target.make_tree(tree.name, events, title, copied.counters or _counters(tree), tree.compression)


def _names(tree: Tree) -> list[str]:
    implied = set(_counters(tree).values())
    return [branch.name for branch in tree.branches if branch.name not in implied]


def _is_writable(tree: Tree) -> bool:
    return can_name(tree.name) and bool(_names(tree))


def _counters(tree: Tree) -> dict[str, str]:
    return name_counters([], tree.branches, {branch.name for branch in tree.branches}, tree.places)


def _ranges(chunks: Iterable[Chunk]) -> Iterator[tuple[int, int]]:
    start = 0
    for chunk in chunks:
        yield start, start + chunk.entries
        start += chunk.entries


def _copy_checked(tree: Tree, target: Target | None, copied: CopiedTree, lost: list[str] | None) -> None:
    if (entries := sum(chunk.entries for chunk in copied.chunks)) != tree.entries:
        with sparing(lost):
            raise DamagedFileError(
                f"tree '{tree.name}' is damaged: {counted(tree.entries, 'entries')}, {entries:,} were written"
            )
        return
    writer = None
    for chunk, (start, stop) in zip(copied.chunks, _ranges(copied.chunks), strict=True):
        with sparing(lost):
            events = _read_checked(tree, copied, chunk, start, stop)
            if target:
                writer = writer or _declare(tree, target, copied, events)
                writer.extend(events)


def _read_checked(tree: Tree, copied: CopiedTree, chunk: Chunk, start: int, stop: int) -> dict[str, ak.Array]:
    events = tree.read(copied.branches or _names(tree), start, stop)
    if changed := _changed(copied, chunk, events):
        raise DamagedFileError(
            f"branch '{changed[0]}' of tree '{tree.name}' is damaged: checksum or type differs in entries {start} "
            f"to {stop}"
        )
    return events


def _copy_object(source: Source, name: str, target: Target | None, known: dict[str, int | None]) -> CopiedObject | str:
    if name not in known:  # it was added after the compression
        return source.copy_object(name, target)
    found = source.copy_object(name)
    if isinstance(found, str):
        raise DamagedFileError(f"'{name}' in '{source.path}' is damaged: {found}")
    if known[name] not in (None, found.checksum):
        raise DamagedFileError(f"'{name}' in '{source.path}' is damaged: its checksum differs")
    return source.copy_object(name, target) if target else found


def _known_objects(contents: Contents) -> dict[str, int | None]:
    """The carried objects, with their checksums if there is one run: hadd adds up the histograms of several files."""
    alone = len(contents.files) == 1
    return {
        name: run.copied.checksums.get(name) if alone else None for run in contents.runs for name in run.copied.objects
    }


def _recorded(contents: Contents) -> dict[str, CopiedTree]:
    """The record of each carried tree, with the chunks of all runs of a merged file."""
    recorded: dict[str, CopiedTree] = {}
    for run in contents.runs:
        for copied in run.copied.trees:
            before = recorded.get(copied.name)
            recorded[copied.name] = replace(copied, chunks=before.chunks + copied.chunks) if before else copied
    return recorded


def _changed(copied: CopiedTree, chunk: Chunk, events: dict[str, ak.Array]) -> list[str]:
    """The branches whose checksum or type differs from the recorded one; if names differ, the added and lost ones."""
    if copied.branches and list(events) != copied.branches:
        return sorted(set(events) ^ set(copied.branches)) or list(events)
    dtypes = copied.dtypes or [dtype_of(array) for array in events.values()]
    if not len(events) == len(chunk.checksums) == len(dtypes):
        return list(events) or ["(none)"]
    pairs = zip(events.items(), chunk.checksums, dtypes, strict=True)
    return [name for (name, array), known, dtype in pairs if checksum(array) != known or dtype_of(array) != dtype]


def _objects(source: Source) -> list[str]:
    return [name for name in source.objects if not _is_ours(name)]


def _is_ours(name: str) -> bool:
    return f"{name}/".startswith(f"{FOLDER}/")
