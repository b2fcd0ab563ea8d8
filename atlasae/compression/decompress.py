"""Decompression of a whole file, chunk by chunk, to branches with the original names."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import awkward as ak

from atlasae import pages
from atlasae.compression.chunks import Progress, Salvage, in_turn, restored_events, silent
from atlasae.compression.compress import Finished
from atlasae.compression.format import (
    Contents,
    Run,
    read_contents,
)  # fmt: skip
from atlasae.compression.grafting import (
    damage_of,
    is_grafted,
    rewritten,
    taken_apart,
    write_composed,
    write_regrafted,
)  # fmt: skip
from atlasae.compression.ntuples import split_ntuples
from atlasae.compression.others import copy_back
from atlasae.compression.pieces import check_parts, contents_of
from atlasae.compression.plan import Options
from atlasae.compression.results import DecompressionReport
from atlasae.compression.verify import compare_files
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.branches import Branch
from atlasae.files.events import TableFacts
from atlasae.files.outputs import check_format, check_target, replacing, scratch
from atlasae.files.remote import Location, Named, local, located, watching
from atlasae.files.tables import create_table, format_of, is_table
from atlasae.files.trees import Source, open_source
from atlasae.files.writing import Target, Writer, create
from atlasae.report import LeftOut, some


def recognise_restored(path: Location, target: Path) -> DecompressionReport | None:
    """The report of a file that stands at `target`, if it is what `decompress_file` makes of a compressed one.

    Raises UserError and DamagedFileError.
    """
    with open_source(path) as source:
        contents = read_contents(source)
    if compare_files(target, path, restored=True)["differences"]:
        return None
    return _report(contents, {}, _file_bytes(path, target), target, [], 0.0)


def decompress_file(
    path: Named,
    target: Named,
    force: bool = False,
    progress: Progress | None = None,
    salvage: bool = False,
    trust: Named | None = None,
    *,
    finished: Finished | None = None,
) -> DecompressionReport:
    """Bring the jets of a compressed file back under their own names; returns a report.

    The suffix of `target` selects ROOT, pickle or parquet. Raises DamagedFileError if a checksum differs; with
    `salvage`, intact chunks are written, and the report lists the missing entries. For a skim (some of the entries or
    branches), `trust` is the compressed file that it was made from; no checksums are compared then. `finished` is
    called with the temporary file and the report before the file gets its final name.

    >>> atlasae.decompress_file("small.root", "back.root")["tree"]
    'Events'
    """
    started = time.perf_counter()
    path, target = located(path), local(target)
    check_target(path, target, force, tables=True)
    check_format(target, tables=True)
    with watching(path) as check_unchanged, open_source(path) as source:
        skim = contents_of(source, located(trust) if trust else None, Options.step_size)
        contents, left_out = skim.contents, list[LeftOut]()
        lost = {tree: Salvage() for tree in contents.trees} if salvage else None
        for tree, one in contents.of_trees().items():
            _check_parts(path, one, lost[tree] if lost else None)
        with replacing(target, force) as temporary:
            if is_table(target):
                _write_table(source, contents, temporary, target, progress or silent, lost)
            else:
                left_out = _write_restored(source, contents, temporary, progress or silent, lost)
            check_unchanged()
            notes, sizes = [*skim.notes, *pages.left_out_lines(left_out)], _file_bytes(path, temporary)
            report = _report(contents, lost or {}, sizes, target, notes, time.perf_counter() - started)
            if finished:
                finished(temporary, report)
    return report


def _check_parts(path: Location, contents: Contents, lost: Salvage | None) -> None:
    """Raise UserError if a merged file has parts that do not fit together; with `lost`, record it there instead."""
    try:
        check_parts(f"'{path}'", contents.runs)
    except UserError as error:
        if lost is None:
            raise UserError(f"{error}; --salvage brings back what is there, as it is") from error
        lost.damage.append(str(error))


Lost = Mapping[str, Salvage]  # what a salvage loses of each tree


def _file_bytes(path: Location, target: Path) -> dict[str, int]:
    return {"bytes_file_in": path.stat().st_size, "bytes_file_out": target.stat().st_size}


def _report(
    contents: Contents, lost: Lost, sizes: dict[str, int], target: Path, notes: list[str], seconds: float
) -> DecompressionReport:
    missing = [range_ for one in lost.values() for range_ in one.missing]
    return DecompressionReport(
        entries=contents.entries - sum(stop - start for start, stop in missing),
        jets=sum(chunk.jets for chunk in contents.chunks) - sum(one.jets for one in lost.values()),
        tree=contents.tree,
        trees=contents.trees,
        missing=missing,
        damage=list(_damage(lost)),
        **sizes,
        notes=notes,
        output=str(target),
        seconds=seconds,
    )


def _damage(lost: Lost) -> Iterator[str]:
    """Messages about the damage that a salvage found, with the tree where there are several."""
    for tree, one in lost.items():
        for message in one.damage:
            named = any(f"'{other}'" in message for other in lost)
            yield message if len(lost) == 1 or named else f"tree '{tree}': {message}"


def _write_restored(
    source: Source, contents: Contents, path: Path, progress: Progress, lost: Lost | None
) -> list[LeftOut]:
    """Write the original file; returns what of the compressed file was left out, as it can't be written."""
    if is_grafted(contents) and lost is None:
        write_regrafted(taken_apart(source, contents), path, progress)
        return []
    not_salvaged, trees = _not_salvaged(source, contents), _rewritten(source, contents, lost)
    with scratch(path) as made:
        left_out = _write_anew(source, trees, made, progress, lost)
        if any(run.ntuple for run in contents.runs):
            split_ntuples(made, path, source.compression)
        else:
            write_composed(made, None, path)
    return not_salvaged + left_out


def _write_anew(
    source: Source, trees: Mapping[str, Contents], path: Path, progress: Progress, lost: Lost | None
) -> list[LeftOut]:
    """Write the original file with uproot, from the contents of each tree; returns what was left out."""
    entries, contents = [one.entries for one in trees.values()], _joined(trees)
    with create(path, _restored_compression(source, contents.runs[0])) as target:
        written = [
            _write_tree(source, one, target, advance, lost[tree] if lost else None)
            for (tree, one), advance in zip(trees.items(), in_turn(progress, entries), strict=True)
        ]
        if not any(written):
            raise _all_lost(source)
        found = lost[contents.tree].damage if lost else None
        return copy_back(source, contents, target, Options.step_size, found)


def _joined(trees: Mapping[str, Contents]) -> Contents:
    """The contents of several trees as those of one file, in the order of trees."""
    found = list(trees.values())
    runs, chunks = [run for one in found for run in one.runs], [chunk for one in found for chunk in one.chunks]
    return replace(found[0], runs=runs, chunks=chunks)


def _write_tree(source: Source, contents: Contents, target: Target, progress: Progress, lost: Salvage | None) -> bool:
    """Write one of the trees of the original file; returns whether any of it is intact."""
    run, writer = contents.runs[0], None
    for _, restored in restored_events(source, contents, progress, lost):
        events = {name: restored[name] for name in run.originals}  # hadd matches branches by name, in any order
        writer = writer or _restored_tree(source, run, events, target)
        writer.extend(events)
    return writer is not None


def _not_salvaged(source: Source, contents: Contents) -> list[LeftOut]:
    """What a salvage leaves out of the trees of jets of a grafted file: it writes them anew, as far as uproot can."""
    trees = [source.trees[name] for name in contents.trees] if is_grafted(contents) else []
    return [
        LeftOut(contents.shown(tree.name, branch.name), branch.why)
        for tree in trees
        for branch in (tree.nesting() if tree.is_rntuple else tree).unwritable
    ]


def _rewritten(source: Source, contents: Contents, lost: Lost | None) -> dict[str, Contents]:
    """The contents of each tree of a file that is to be written anew, of which a grafted one is checked before."""
    if not is_grafted(contents):
        return contents.of_trees()
    for message, place in damage_of(taken_apart(source, contents)):
        if lost is None:
            raise DamagedFileError(message)
        if place is None:
            lost[contents.tree].damage.append(message)
        else:
            tree, start = place
            lost[tree].spoiled[start] = message
    return {tree: rewritten(source, one) for tree, one in contents.of_trees().items()}


def _restored_tree(source: Source, run: Run, events: dict[str, ak.Array], target: Target) -> Writer:
    """The writer of the tree: an RNTuple if both original and compressed tree are, else a TTree."""
    if run.ntuple:
        return target.make_ntuple(run.tree, events, run.title, run.places)
    return target.make_tree(run.tree, events, run.title, run.counters, _restored_compression(source, run))


def _restored_compression(source: Source, run: Run) -> Any:
    """The compression of the carried branches; for an RNTuple, that of the file, which all its pages have."""
    tree = source.trees[run.tree]
    return source.compression if tree.is_rntuple else tree.compression


def _all_lost(source: Source) -> DamagedFileError:
    return DamagedFileError(f"no part of the jets in '{source.path}' is intact: get the file again")


def _is_nested(branch: Branch) -> bool:
    """Whether entries are other than what a column of a table holds: a number, a string or an array of fixed size."""
    return not (branch.holds_numbers or branch.dtype == "string" or branch.dtype.endswith(" array"))


def _write_table(
    source: Source, contents: Contents, path: Path, target: Path, progress: Progress, lost: Lost | None
) -> None:
    """Write the original branches as the columns of a table that will be called `target`, chunk by chunk."""
    if len(contents.trees) > 1:
        raise UserError(f"'{source.path}' has several trees: {some(contents.trees)}; write a .root file")
    ((tree, contents),) = _rewritten(source, contents, lost).items()
    run = contents.runs[0]
    _refuse_unheld(source, run, target)
    rows = contents.entries if lost is None else None
    restored = restored_events(source, contents, progress, lost[tree] if lost else None)
    first = next(restored, None)
    if first is None:
        raise _all_lost(source)
    with create_table(path, _facts_of(contents.runs), rows, target) as writer:
        for _, events in chain([first], restored):
            writer.extend({name: events[name] for name in run.originals})


def _facts_of(runs: Sequence[Run]) -> TableFacts:
    """What the table has beside its columns; jets of float16 are again if that keeps them within bounds in all runs."""
    run = runs[0]
    facts = TableFacts(**(run.table or {}))
    carried = {branch.name for branch in run.carried}
    if "halves" in facts:
        kept = carried.union(set[str].intersection(*map(_halves, runs)))
        facts["halves"] = [name for name in facts["halves"] if name in kept]
    if run.places:
        facts["places"] = run.places
    return facts


def _halves(run: Run) -> set[str]:
    """The branches of jets that are within bounds as float16."""
    collections = [entry.collection for entry in run.collections]
    return {collection.branches[v] for collection in collections for v in collection.halves}


def _refuse_unheld(source: Source, run: Run, path: Path) -> None:
    """Raise UserError if a branch holds what a table in this format can't."""
    found = format_of(path)
    holds = found.holds if found else frozenset()
    jets = {name: c.collection for c in run.collections for name in c.collection.branches.values()}
    lists = {name for name, collection in jets.items() if collection.jagged}
    lists |= {branch.name for branch in run.carried if branch.jagged and branch.holds_numbers}
    arrays = {name for name, collection in jets.items() if collection.array}
    arrays |= {branch.name for branch in run.carried if branch.dtype.endswith(" array")}
    texts = {branch.name for branch in run.carried if branch.dtype == "string"}
    kinds = {"lists": lists, "arrays": arrays, "texts": texts}
    for kind, names in kinds.items():
        if names and kind not in holds:
            others = ".root or .parquet" if path.suffix != ".parquet" else ".root"
            what = "several jets an event" if names & set(jets) else f"{kind} in '{min(names)}'"
            raise UserError(f"'{source.path}' has {what}, which {path.suffix} can't hold: write {others}")
    if nested := [branch.name for branch in run.carried if _is_nested(branch)]:
        raise UserError(f"'{source.path}': a table can't hold '{nested[0]}'; write a .root file")
