"""A compressed file against its original, or by itself: jets within their precision, all else bit for bit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import awkward as ak
import numpy as np

from atlasae import terminal
from atlasae.collection import merge_largest
from atlasae.columns import checksum, to_columns
from atlasae.container import CompressedCollection, Contents, Run, read_contents
from atlasae.copying import compare_others, copy_back
from atlasae.display import Report
from atlasae.errors import DamagedFileError
from atlasae.planning import Opened, Options, open_input
from atlasae.remote import Location, located
from atlasae.restoring import Progress, Salvage, restored_events, silent
from atlasae.rootio import Source, open_source
from atlasae.schema import Branch
from atlasae.storage import any_storage_of
from atlasae.tables import is_table

EXACT, WITHIN, DIFFERENT = "bit for bit", "within precision", "different"


def check_file(compressed: str | Location, progress: Progress | None = None) -> Report:
    """Check a compressed file by itself: every checksum, the models, and that all of it decodes.

    Returns what was checked; raises DamagedFileError that tells what is damaged, and how much else.

    >>> atlasae.check_file("small.root")["entries"]
    200
    """
    with open_source(located(compressed)) as source:
        contents, lost = read_contents(source), Salvage()
        chunks = sum(1 for _ in restored_events(source, contents, progress or silent, lost))
        copy_back(source, contents, None, Options.step_size, lost.damage)
    if lost.damage:
        more = f"; and {len(lost.damage) - 1} more: decompress --salvage" if len(lost.damage) > 1 else ""
        raise DamagedFileError(lost.damage[0] + more)
    run = contents.runs[0]
    facts = {
        "entries": sum(chunk.entries for chunk in contents.chunks),
        "jets": sum(chunk.jets for chunk in contents.chunks),
        "chunks": chunks,
        "branches": run.written,
        "trees": sorted({tree.name for run in contents.runs for tree in run.copied.trees}),
        "objects": sorted({name for run in contents.runs for name in run.copied.objects}),
        "models": sorted(contents.models),
    }
    return Report(facts, terminal.integrity_page)


def verify_file(original: str | Location, compressed: str | Location, progress: Progress | None = None) -> Report:
    """Compare a compressed file with its original: jets within their precision, all else bit for bit.

    `differences` lists what is not as promised, `branches` how each branch of the original was kept; `max_error` holds
    the largest error of every variable, by collection. What a run recorded as left out is listed in `left_out` and is
    no difference; what else of the original is not there is one. Raises DamagedFileError where a checksum does not
    match.

    >>> atlasae.verify_file("in.root", "small.root")["differences"]
    []
    """
    original = located(original)
    with open_source(located(compressed)) as source:
        contents = read_contents(source)
        run = contents.runs[0]
        with open_input(original, run.tree if not is_table(original) else None, (), nested=run.ntuple) as opened:
            facts = _compare(opened.within(contents.part), source, contents, progress or silent)
        copy_back(source, contents, None, Options.step_size)
    return Report(facts, terminal.verification_page)


@dataclass
class Comparison:
    """What was found so far: how each branch was kept, the largest errors, and what is not as promised."""

    branches: dict[str, str]
    largest: dict[str, dict[str, float]] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def add(self, run: Run, original: dict[str, ak.Array], restored: dict[str, ak.Array], where: str) -> None:
        """Compare a chunk; `original` lacks the branches that are not there."""
        jets = {name for entry in run.collections for name in entry.collection.branches.values()}
        for name, array in original.items():
            if name not in jets and checksum(array) != checksum(restored[name]):
                self.differences.append(f"branch '{name}' differs in {where}")
                self.branches[name] = DIFFERENT
        for entry in run.collections:
            if set(entry.collection.branches.values()) <= set(original):
                self._add_jets(entry, original, restored, where)

    def _add_jets(
        self, entry: CompressedCollection, original: dict[str, ak.Array], restored: dict[str, ak.Array], where: str
    ) -> None:
        name = entry.collection.name
        largest, worse = _compare_jets(entry, original, restored)
        self.largest[name] = merge_largest([self.largest.get(name, {}), largest])
        self.differences += [f"{name}: {problem} in {where}" for problem in worse]
        for branch in entry.collection.branches.values():
            if self.branches[branch] != DIFFERENT:
                self.branches[branch] = DIFFERENT if worse else WITHIN


def _compare(opened: Opened, source: Source, contents: Contents, progress: Progress) -> dict[str, Any]:
    run = contents.runs[0]
    known = {branch.name: branch for branch in opened.events.branches}
    names = set(known) | _same_names(run, opened)
    found = Comparison({name: EXACT if name in names else DIFFERENT for name in run.originals})
    found.differences += _compare_branches(run, known, names)
    start = 0
    for run, restored in restored_events(source, contents, progress):
        stop = start + len(next(iter(restored.values())))
        there = [name for name in run.originals if name in known]
        original = opened.events.read(there, start, min(stop, opened.events.entries))
        found.add(run, original, restored, f"entries {start} to {stop}")
        start = stop
    if start != opened.events.entries:
        found.differences.append(
            f"{start} entries were compressed, the original has {opened.events.entries}"
            + " there" * bool(contents.part)
        )
    if opened.source:
        found.differences += compare_others(opened.source, contents)
    return {
        "entries": start,
        "max_error": found.largest,
        "precision": {entry.collection.name: entry.precision for entry in contents.runs[0].collections},
        "branches": {name: found.branches[run.aliases.get(name, name)] for name in found.branches},
        "left_out": [asdict(thing) for thing in contents.left_out],
        "differences": found.differences,
    }


def _same_names(run: Run, original: Opened) -> set[str]:
    """The other names of branches that the original has, too, for the same."""
    others = original.tree_read.aliases if original.tree_read else {}
    return {name for name, stays in run.aliases.items() if others.get(name) == stays}


def _compare_branches(run: Run, known: Mapping[str, Branch], names: set[str]) -> list[str]:
    """Branches that are in one of the files only, or jets of another type."""
    implied = set(run.counters.values())
    differences = [f"branch '{name}' is not in the original" for name in run.originals if name not in names]
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
