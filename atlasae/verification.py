"""A compressed file against its original: jets within their precision, all else bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from atlasae.codec import one_thread
from atlasae.collection import any_storage_of, merge_largest
from atlasae.columns import checksum, to_columns
from atlasae.container import CompressedCollection, Contents, Run, read_contents
from atlasae.copying import compare_others
from atlasae.pipeline import Progress, restored_events, silent
from atlasae.planning import Opened, open_input
from atlasae.rootio import Source, open_source
from atlasae.schema import Branch
from atlasae.tables import is_table


def verify_file(original: Path, compressed: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Compare a compressed file with its original: jets within their precision, all else bit for bit.

    `differences` lists what is not as promised; `max_error` holds the largest error of every variable, by collection.
    """
    with one_thread(), open_source(compressed) as source:
        contents = read_contents(source)
        run = contents.runs[0]
        with open_input(original, run.tree if not is_table(original) else None, ()) as opened:
            return _compare(opened, source, contents, progress or silent)


def _compare(opened: Opened, source: Source, contents: Contents, progress: Progress) -> dict[str, Any]:
    run = contents.runs[0]
    known = {branch.name: branch for branch in opened.events.branches}
    differences = _compare_branches(run, known)
    if opened.source:
        differences += compare_others(opened.source, contents)
    found: dict[str, dict[str, float]] = {}
    start = 0
    for run, restored in restored_events(source, contents, progress):
        stop = start + len(next(iter(restored.values())))
        there = [name for name in run.originals if name in known]
        original = opened.events.read(there, start, min(stop, opened.events.entries))
        jets = {name for entry in run.collections for name in entry.collection.branches.values()}
        differences += [
            f"branch '{name}' differs in entries {start} to {stop}"
            for name in there
            if name not in jets and checksum(original[name]) != checksum(restored[name])
        ]
        for entry in run.collections:
            if not set(entry.collection.branches.values()) <= set(there):
                continue
            largest, worse = _compare_jets(entry, original, restored)
            name = entry.collection.name
            found[name] = merge_largest([found.get(name, {}), largest])
            differences += [f"{name}: {problem} in entries {start} to {stop}" for problem in worse]
        start = stop
    if start != opened.events.entries:
        differences.append(f"{start} entries were compressed, the original has {opened.events.entries}")
    precision = {entry.collection.name: entry.precision for entry in contents.runs[0].collections}
    return {"entries": start, "max_error": found, "precision": precision, "differences": differences}


def _compare_branches(run: Run, known: Mapping[str, Branch]) -> list[str]:
    """Branches that are in one of the files only, or jets of another type."""
    implied = set(run.counters.values())
    differences = [f"branch '{name}' is not in the original" for name in run.originals if name not in known]
    new = set(known) - set(run.originals) - set(run.dropped) - implied
    differences += [f"branch '{name}' of the original is not in the compressed file" for name in sorted(new)]
    for entry in run.collections:
        for variable, name in entry.collection.branches.items():
            if name in known and known[name].dtype != (dtype := entry.collection.dtypes[variable]):
                differences.append(f"branch '{name}' is of type {known[name].dtype} in the original, {dtype} before")
    return differences


def _compare_jets(
    entry: CompressedCollection, original: dict[str, ak.Array], restored: dict[str, ak.Array]
) -> tuple[dict[str, float], list[str]]:
    before, counts = to_columns(entry.collection, original)
    after, counts_after = to_columns(entry.collection, restored)
    if not np.array_equal(counts, counts_after):
        return {}, ["jets per event differ"]
    storage = any_storage_of(entry.collection)
    pairs = zip(before, after, strict=True)
    same = np.all([a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}") for a, b in pairs], axis=0)
    with np.errstate(all="ignore"):
        everything = storage.errors(storage.to_values(before), storage.to_values(after))
    largest = {v: float(e[~same].max(initial=0.0)) for v, e in everything.items() if v in entry.precision}
    problems = []
    for variable, bound in entry.precision.items():
        if bound is None:
            continue
        if beyond := int((~(everything[variable] <= bound) & ~same).sum()):
            problems.append(f"{beyond} jets beyond {bound:g} in {variable}")
    return largest, problems
