"""What is not jets: the other trees and objects of a file, and the checksums that tell later damage."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import awkward as ak

from atlasae.columns import Events, checksum, dtype_of
from atlasae.container import Chunk, Contents, Copied, CopiedTree
from atlasae.errors import DamagedFileError
from atlasae.rootio import Source, Target, Tree, Writer
from atlasae.schema import FOLDER, name_counters


def copy_others(source: Source, tree: str, target: Target, step_size: int) -> tuple[Copied, list[str]]:
    """Copy all trees but `tree`, and all objects; returns what was copied, with checksums, and what was left out."""
    copied, notes = Copied(), []
    for other in _others(source, tree):
        if _names(other):  # else there is nothing to write
            copied.trees.append(_copy_tree(other, target, step_size))
        notes += [f"branch '{u.name}' of tree '{other.name}' is left out: {u.why}" for u in other.unwritable]
    for name in _objects(source):
        if why := source.copy_object(name, target):
            notes.append(f"'{name}' is left out: {why}")
        else:
            copied.objects.append(name)
    return copied, notes


def copy_back(source: Source, contents: Contents, target: Target, step_size: int) -> None:
    """Copy the other trees and objects of a compressed file; raises DamagedFileError where a checksum differs."""
    recorded = _recorded(contents)
    known = {name for run in contents.runs for name in run.copied.objects}
    if gone := sorted((set(recorded) - set(source.trees)) | (known - set(source.objects))):
        raise DamagedFileError(f"'{source.path}' is damaged: '{gone[0]}' was in it and is gone")
    for other in _others(source, contents.runs[0].tree):
        if other.name in recorded:
            _copy_checked(other, target, recorded[other.name])
        else:  # of a later hand
            _copy_tree(other, target, step_size)
    for name in _objects(source):
        if (why := source.copy_object(name, target)) and name in known:
            raise DamagedFileError(f"'{name}' in '{source.path}' is damaged: {why}")


def compare_others(original: Source, contents: Contents) -> list[str]:
    """What the other trees of an original hold that the compressed file was not made from."""
    differences = []
    for name, copied in _recorded(contents).items():
        tree, entries = original.trees.get(name), sum(chunk.entries for chunk in copied.chunks)
        if tree is None or tree.entries != entries:
            differences.append(f"tree '{name}' with {entries} entries is not in the original")
            continue
        for chunk, (start, stop) in zip(copied.chunks, _ranges(copied.chunks), strict=True):
            changed = _changed(copied, chunk, tree.read(_names(tree), start, stop))
            differences += [f"branch '{b}' of tree '{name}' differs in entries {start} to {stop}" for b in changed]
    return differences


def entry_ranges(events: Events, names: Iterable[str], step_size: int) -> Iterator[tuple[int, int]]:
    """Chunks of about `step_size` uncompressed bytes; one empty chunk where there are no entries."""
    step = max(1, int(step_size / max(1.0, events.bytes_per_entry(list(names)))))
    for start in range(0, max(events.entries, 1), step):
        yield start, min(start + step, events.entries)


def _others(source: Source, tree: str) -> Iterator[Tree]:
    for name, other in source.trees.items():
        if name != tree and not name.startswith(f"{FOLDER}/"):
            yield other


def _copy_tree(tree: Tree, target: Target, step_size: int) -> CopiedTree:
    chunks, dtypes = [], []
    for start, stop, events in _write_tree(tree, target, entry_ranges(tree, _names(tree), step_size)):
        chunks.append(Chunk(stop - start, 0, [checksum(array) for array in events.values()]))
        dtypes = [dtype_of(array) for array in events.values()]
    return CopiedTree(tree.name, chunks, dtypes)


def _write_tree(
    tree: Tree, target: Target, ranges: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int, dict[str, ak.Array]]]:
    """Copy a tree range by range, and show each on its way."""
    names, writer = _names(tree), None
    if not names:
        return
    for start, stop in ranges:
        events = tree.read(names, start, stop)
        writer = writer or _declare(tree, target, events)
        yield start, stop, events
        writer.extend(events)


def _declare(tree: Tree, target: Target, events: dict[str, ak.Array]) -> Writer:
    return target.make_tree(tree.name, events, tree.title, _counters(tree), tree.compression)


def _names(tree: Tree) -> list[str]:
    implied = set(_counters(tree).values())
    return [branch.name for branch in tree.branches if branch.name not in implied]


def _counters(tree: Tree) -> dict[str, str]:
    return name_counters([], tree.branches, {branch.name for branch in tree.branches})


def _ranges(chunks: Iterable[Chunk]) -> Iterator[tuple[int, int]]:
    start = 0
    for chunk in chunks:
        yield start, start + chunk.entries
        start += chunk.entries


def _copy_checked(tree: Tree, target: Target, copied: CopiedTree) -> None:
    chunks = copied.chunks
    if (entries := sum(chunk.entries for chunk in chunks)) != tree.entries:
        raise DamagedFileError(f"tree '{tree.name}' is damaged: {tree.entries} entries, {entries} were written")
    for chunk, (start, stop, events) in zip(chunks, _write_tree(tree, target, _ranges(chunks)), strict=True):
        if changed := _changed(copied, chunk, events):
            raise DamagedFileError(
                f"branch '{changed[0]}' of tree '{tree.name}' is damaged: checksum or type differs in entries {start} "
                f"to {stop}"
            )


def _recorded(contents: Contents) -> dict[str, CopiedTree]:
    """What is known of every other tree, over all runs of a merged file."""
    recorded: dict[str, CopiedTree] = {}
    for run in contents.runs:
        for copied in run.copied.trees:
            before = recorded.get(copied.name)
            recorded[copied.name] = replace(copied, chunks=before.chunks + copied.chunks) if before else copied
    return recorded


def _changed(copied: CopiedTree, chunk: Chunk, events: dict[str, ak.Array]) -> list[str]:
    """The branches whose checksum or type is not the recorded one; all of them where there are more or fewer."""
    dtypes = copied.dtypes or [dtype_of(array) for array in events.values()]
    if not len(events) == len(chunk.checksums) == len(dtypes):
        return list(events) or ["(none)"]
    pairs = zip(events.items(), chunk.checksums, dtypes, strict=True)
    return [name for (name, array), known, dtype in pairs if checksum(array) != known or dtype_of(array) != dtype]


def _objects(source: Source) -> list[str]:
    return [name for name in source.objects if not name.startswith(f"{FOLDER}/")]
