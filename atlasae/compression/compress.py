"""Compression of a whole file, chunk by chunk, in memory that does not grow with the file."""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from atlasae import pages
from atlasae.compression.chunks import Progress, in_turn, layout_named, silent
from atlasae.compression.collection import CompressedChunk, Compressor, FileLayout, Restored, Start
from atlasae.compression.format import (
    Chunk,
    CompressedCollection,
    Contents,
    Copied,
    Run,
    SourceFacts,
    bits_of,
    format_needed,
    jets_tree,
    read_contents,
    write_contents,
)  # fmt: skip
from atlasae.compression.grafting import Grafting, GraftTarget, grafting_of, write_composed
from atlasae.compression.ntuples import NtupleTarget, plan_ntuple, split_ntuples
from atlasae.compression.others import copy_others, entry_ranges, moved, read_counted
from atlasae.compression.packed import start_columns, start_variations
from atlasae.compression.plan import (
    Options,
    Plan,
    make_plan,
    open_for,
    options_by_tree,
    settle_plan,
)
from atlasae.compression.results import ANEW, COPIED, CollectionReport, CompressionReport, PlanReport, TreeReport
from atlasae.compression.ttrees import plan_ttree
from atlasae.compression.verify import BranchNames, Differences, Output, compare_files, read_back
from atlasae.errors import UserError
from atlasae.files.checksums import checksums
from atlasae.files.damage import damage
from atlasae.files.events import Events, numbers_in, one_after_another
from atlasae.files.outputs import check_format, check_target, flush, replacing, scratch
from atlasae.files.remote import Location, Named, local, located, watching
from atlasae.files.trees import Source, Tree, open_source
from atlasae.files.writing import RECORDS, PackedWords, Target, Writer, create, pack_words
from atlasae.graft.composing import Composer
from atlasae.graft.records import Records
from atlasae.graft.trees import newest_tree
from atlasae.jets.collections import Collection, as_its_jets, jet_branches, stand_ins
from atlasae.jets.columns import settle_by
from atlasae.jets.inputs import Opened
from atlasae.jets.stored import rounded_up_to, storage_of
from atlasae.pages import size_text
from atlasae.report import LeftOut, Report, merge_largest, some
from atlasae.threads import beside, side_by_side

Finished = Callable[[Path, Report], None]


@dataclass(frozen=True)
class Job:
    """A tree to compress: the input opened at it, the plan, and its file taken apart if all but the jets is copied."""

    opened: Opened
    plan: Plan
    grafting: Grafting | None = None

    @property
    def is_ntuple(self) -> bool:
        """Whether the tree is an RNTuple that is copied."""
        tree = self.opened.tree_read
        return self.plan.grafted and tree is not None and tree.is_rntuple


Write = Callable[[Sequence[Job], Options, Path, Progress], Output]

_NOT_GRAFTED = "the jets are stored in few bits or in a way of their own: the whole file is written anew"
_NUMBER = re.compile(r"[0-9.]+")  # in a note
_PLACES, _PLACE_ENTRIES = 12, 500  # positions, and entries at each, that the sample takes from a long file


def compress_file(
    path: Named,
    target: Named,
    options: Options | None = None,
    progress: Progress | None = None,
    *,
    finished: Finished | None = None,
    **words: Any,
) -> CompressionReport:
    """Compress the jets of a ROOT file or table into three float32 branches a collection; returns the report.

    Options are an `Options`, or words as on the command line: `precision=1e-4, layout="packed"`. The output is read
    back and compared with the input, unless `read_back` is False. Raises UserError for wrong options or input,
    DamagedFileError for a damaged input; no output is left then. `finished` is called with the temporary file and the
    report before the file gets its final name.

    >>> report = atlasae.compress_file("in.root", "packed.root", precision=1e-4, layout="packed")
    >>> report["precision"]["Jet"]["pt"], max(report["max_error"].values()) < 1e-4
    (0.0001, True)
    """
    started = time.perf_counter()
    path, target, options = located(path), local(target), _checked(options, words)
    writing, reading = _halves(progress or silent) if options.read_back else (progress or silent, silent)
    check_target(path, target, options.force)
    check_format(target)
    with watching(path) as check_unchanged, open_for(path, options) as found:
        jobs, write = _planned(found, options)
        with replacing(target, options.force) as temporary:
            written = write(jobs, options, temporary, writing)
            with open_source(temporary) as made, beside(partial(flush, temporary)):
                if options.read_back:
                    read_back(made, written, reading)
                check_unchanged()
                seconds = time.perf_counter() - started
                report = _report(made, written.contents, target, written.notes, seconds, written.details, written.names)
            if finished:
                finished(temporary, report)
    return report


def plan_file(path: Named, options: Options | None = None) -> PlanReport:
    """What `compress_file` would do with each branch, without doing it; raises the same errors about the input."""
    options = _checked(options, {})
    with open_for(located(path), options) as found:
        jobs, _ = _planned(found, options)
        trees, source = [job.opened.tree for job in jobs], found.source
        branches, units = dict[str, str](), dict[str, str | None]()
        for job in jobs:
            collections = job.plan.collections
            if not options.variables:
                four = [collection for collection in collections if not collection.beside]
                settled = settle_by(four, options.units, _first(job.opened, jet_branches(four)))
                jets = {collection.name: collection for collection in settled}
                beside = [collection for collection in collections if collection.beside]
                collections = settled + [as_its_jets(c, jets[c.beside]) if c.holds_jets else c for c in beside]
            branches |= {_shown(trees, job, name): fate for name, fate in _fates(job, collections).items()}
            units |= {_shown(trees, job, collection.name): collection.units for collection in collections}
        others = [*source.trees, *source.objects] if source and not options.only_jets else []
        return PlanReport(
            tree=trees[0],
            trees=trees,
            entries=sum(job.opened.events.entries for job in jobs),
            branches=branches,
            collections=units,
            others={name: COPIED if jobs[0].plan.grafted else ANEW for name in others if name not in trees},
            notes=_in_trees({job.opened.tree: job.plan.notes for job in jobs}),
        )


def _shown(trees: Sequence[str], job: Job, name: str) -> str:
    return f"{job.opened.tree}/{name}" if len(trees) > 1 else name


def _in_trees(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """The notes on trees, each once, with the trees that it is about unless it is about all.

    Of notes that differ in numbers only, the first is told.
    """
    found: dict[str, dict[str, str]] = {}
    for tree, told in notes.items():
        for note in told:
            found.setdefault(_NUMBER.sub("", note), {}).setdefault(tree, note)
    return [_of_some(alike, len(notes)) for alike in found.values()]


def _of_some(notes: Mapping[str, str], trees: int) -> str:
    """A note on some trees, with their names; on several of which numbers differ, they are those of the first."""
    (first, note), *_ = notes.items()
    if len(set(notes.values())) > 1:
        return f"{first}, and alike in {len(notes) - 1} more trees: {note}"
    return note if len(notes) == trees else f"{some(notes)}: {note}"


def _first(opened: Opened, names: Sequence[str]) -> dict[str, ak.Array]:
    return opened.events.read(names, 0, min(opened.events.entries, _PLACE_ENTRIES))


def _fates(job: Job, collections: Sequence[Collection]) -> dict[str, str]:
    """What becomes of each branch of the tree, in the order of the file."""
    opened, plan = job.opened, job.plan
    tree, jets = opened.tree_read, dict[str, str]()
    for collection in collections:
        unit = f" ({collection.units})" if collection.units else ""
        if collection.has_others:
            jets |= dict.fromkeys(collection.branches.values(), f"a number of '{collection.beside}', packed")
        else:
            own = ((v, name) for v, name in collection.branches.items() if v not in collection.shared)
            jets |= {name: f"{v} of '{collection.name}'{unit}" for v, name in own}
    names = [branch.name for branch in opened.events.branches]
    names += [branch.name for branch in opened.events.unwritable]
    holders = {tree.holder(name) for name in jets} - set(jets) if tree else set()
    dropped = dict.fromkeys(plan.dropped, "left out")
    kept = dict.fromkeys((name for name in names if name not in holders), COPIED if plan.grafted else ANEW)
    beside = {branch.name: "kept bit for bit beside the jets" for branch in plan.carried if plan.grafted}
    return kept | dropped | beside | jets


def recognise_compressed(path: Location, target: Path, options: Options) -> CompressionReport | None:
    """The report of a compressed file that stands at `target`, if it is what `compress_file` makes of just this.

    Compares version, options, and every branch and jet with the input. Raises UserError and DamagedFileError.
    """
    with open_source(target) as source:
        contents = read_contents(source)
        run, *others = contents.files
        if others or (run.options, run.versions["atlasae"]) != (options.digest, version("atlasae")):
            return None
        if compare_files(path, target)["differences"]:
            return None
        return _report(source, contents, target, [], 0.0)


def _planned(opened: Opened, options: Options) -> tuple[list[Job], Write]:
    """The plan for each tree, and what writes them: all but jets is copied byte for byte where that can be done."""
    grafting = grafting_of(opened, options)
    if grafting is None:
        return _planned_anew(opened, options), _write_split if options.rntuple else _write_compressed
    if jobs := _planned_grafts(grafting, opened, options):
        return jobs, _write_grafted
    job, others = _planned_graft(grafting.at(opened.tree), opened, options)
    if others:
        try:
            first, *more = _planned_anew(opened, options)
            anew = replace(first.plan, notes=[*first.plan.notes, _NOT_GRAFTED])
            return [replace(first, plan=anew), *more], _write_compressed
        except UserError:  # what would be lost
            if not job.plan.collections:
                raise
    return [job], _write_grafted


def _planned_anew(opened: Opened, options: Options) -> list[Job]:
    """The plans for a file of which everything is written anew: for all trees with jets."""
    if not opened.others:
        return [Job(opened, make_plan(opened, options))]
    found = [opened.at(tree) for tree in opened.trees]
    return [Job(one, make_plan(one, asked)) for one, asked in zip(found, options_by_tree(options, found), strict=True)]


def _planned_grafts(grafting: Grafting, opened: Opened, options: Options) -> list[Job]:
    """The plans for the trees of a file that is copied, if it has several with jets.

    Trees that can't be compressed stay as they are; raises UserError where they would be lost.
    """
    if not opened.others:
        return []
    found, jobs, left = [opened.at(tree) for tree in opened.trees], list[Job](), list[str]()
    for one, asked in zip(found, options_by_tree(options, found), strict=True):
        try:
            job, _ = _planned_graft(grafting.at(one.tree), one, asked)
        except UserError as error:
            if grafting.alone:
                raise
            left.append(_stays(one.tree, error))
        else:
            if job.plan.collections:
                jobs.append(job)
            else:
                left += job.plan.notes
    return [replace(job, plan=replace(job.plan, notes=[*job.plan.notes, *left])) for job in jobs]


def _stays(tree: str, why: object) -> str:
    return f"tree '{tree}' stays as it is: {why}"


def _planned_graft(grafting: Grafting, opened: Opened, options: Options) -> tuple[Job, list[Collection]]:
    """The plan for a tree that is copied, and the collections that were left because their branches can't be made."""
    if opened.tree_read and opened.tree_read.is_rntuple:
        return Job(*plan_ntuple(grafting.ntuple, opened, options), grafting), []
    opened, plan, forms, others = plan_ttree(grafting.original, opened, options)
    return Job(opened, plan, replace(grafting, forms=forms)), others


def _checked(options: Options | None, words: Mapping[str, Any]) -> Options:
    """The options, by default those of the words; raises UserError for an object of another type, or for both."""
    if not isinstance(options, Options | None):
        raise UserError(f"{options!r} is no Options: give atlasae.Options(precision=...)")
    if options and words:
        raise UserError(f"{next(iter(words))!r} beside an Options: give it to Options(...)")
    return options or Options.of_words(words)


def _halves(progress: Progress) -> tuple[Progress, Progress]:
    """Two callbacks that report the progress of writing and of reading back as the halves of one."""

    def first(done: int, total: int) -> None:
        progress(done, 2 * total)

    def second(done: int, total: int) -> None:
        progress(total + done, 2 * total)

    return first, second


def jet_bytes(tree: Tree, run: Run) -> dict[str, int]:
    """Compressed basket bytes of the stand-ins of each collection: latents, exact branches and their counters."""
    return {
        entry.collection.name: tree.compressed_bytes(stand_ins(entry.collection, run.counters))
        for entry in run.collections
    }


def _carried(source: Source, run: Run, known: BranchNames | None) -> list[str]:
    """The names of the carried branches; `known` as `Output.names`."""
    if run.graft is None or run.graft.alone:
        return [branch.name for branch in run.carried]
    if run.graft.ntuple:
        return sorted(source.trees[run.tree].names - run.stand_ins)
    if known and run.tree in known:
        return sorted({*known[run.tree]} - run.stand_ins)
    with damage(f"'{source.path}'"):  # without uproot, which takes four times as long for a wide tree
        return sorted({*newest_tree(Records(source.read, source.path.stat().st_size), run.tree).names} - run.stand_ins)


def _growth(before: int, after: int) -> list[str]:
    """A note where the output is larger than the input."""
    return [f"the output is larger than the input, by {size_text(after - before)}"] if after > before else []


def _report(
    made: Source,
    contents: Contents,
    target: Path,
    notes: list[str],
    seconds: float,
    details: Sequence[str] = (),
    known: BranchNames | None = None,
) -> CompressionReport:
    """What is reported of a file that is made, and will be called `target`; `known` as `Output.names`."""
    runs = contents.runs
    named = {contents.shown(run.tree, c.collection.name): (run, c) for run in runs for c in run.collections}
    sizes = {run.tree: jet_bytes(jets_tree(made, contents.of_trees()[run.tree]), run) for run in runs}
    collections = {name: _collection_report(name, c, sizes[run.tree]) for name, (run, c) in named.items()}
    trees = [_tree_report(run, sum(sizes[run.tree].values())) for run in runs]
    carried = [contents.shown(run.tree, name) for run in runs for name in _carried(made, run, known)]
    before, size = contents.source_bytes, made.path.stat().st_size
    jets, bytes_out = sum(tree.jets for tree in trees), sum(tree.bytes_out for tree in trees)
    return CompressionReport(
        entries=sum(run.entries for run in runs),
        jets=jets,
        tree=contents.tree,
        trees=trees,
        collections=list(collections.values()),
        precision={name: one.precision for name, one in collections.items()},
        floors={name: one.floors for name, one in collections.items()},
        bits={name: one.bits for name, one in collections.items()},
        bytes_jets_in=sum(tree.bytes_in for tree in trees),
        bytes_jets_out=bytes_out,
        bytes_per_jet=bytes_out / jets if jets else None,
        exact_jets=sum(one.exact_jets for one in collections.values()),
        max_error=merge_largest(entry.max_error for _, entry in named.values()),
        model_sha256=runs[0].collections[0].model_sha256,
        carried=carried,
        dropped=contents.dropped,
        left_out=contents.left_out,
        bytes_file_in=before,
        bytes_file_out=size,
        notes=notes + _growth(before, size),
        details=list(details) or None,
        output=str(target),
        seconds=seconds,
    )


def _tree_report(run: Run, bytes_out: int) -> TreeReport:
    return TreeReport(
        name=run.tree,
        entries=run.entries,
        jets=sum(entry.jets for entry in run.collections if not entry.collection.has_others),
        bytes_in=sum(entry.bytes_in for entry in run.collections),
        bytes_out=bytes_out,
    )


@dataclass(frozen=True)
class WrittenTree:
    """What was written of a tree: its job with the plan settled, run, chunks, type of each branch, models and notes.

    `details` tells of each collection what the notes sum up, `restored` what each of its chunks must restore.
    """

    job: Job
    run: Run
    chunks: list[Chunk]
    types: dict[str, ak.types.Type]
    embedded: dict[str, bytes]
    notes: list[str]
    details: list[str]
    restored: dict[str, list[Restored]]


def _write_trees(
    jobs: Sequence[Job],
    options: Options,
    target: Callable[[Job], Target | NtupleTarget],
    steps: Iterator[Progress],
    left: dict[str, UserError] | None = None,
    copy: GraftTarget | None = None,
) -> list[WrittenTree]:
    """Write the jets of trees one after the other; with `left`, those that can't be compressed are told there.

    The jets are taken out of `copy`, if given, and all else is copied while those of the last tree are compressed.
    """
    written = list[WrittenTree]()
    with ExitStack() as beside:
        for job, advance in zip(jobs, steps, strict=False):
            taken, first = partial(_take_out, job, options, copy, job is jobs[-1], beside), dict[str, ak.Array]()
            if left is None:  # none may stay
                taken()
            try:
                start = _start(job.opened, job.plan, options, first)
            except UserError as error:
                if left is None:
                    raise
                left[job.opened.tree] = error
                continue
            if left is not None:
                taken()
            settled = replace(job, plan=settle_plan(job.plan, [c.collection for c in start.compressors]))
            written.append(
                _write_tree(settled, start, options, target(job), advance, _read_tree(settled, options, first))
            )
    return written


def _take_out(job: Job, options: Options, copy: GraftTarget | None, last: bool, beside: ExitStack) -> None:
    """Take the jets of a TTree out of a copy; behind the last, begin to copy all else beside what follows."""
    if copy and job.grafting:
        ranges = entry_ranges(job.opened.events, job.plan.read, options.step_size)
        copy.take_out(job.grafting, job.plan, [stop for _, stop in ranges])
        if last:
            beside.enter_context(copy.copied_beside())


def _write_tree(
    job: Job,
    start: Start,
    options: Options,
    target: Target | NtupleTarget,
    progress: Progress,
    read: Iterable[dict[str, ak.Array]],
) -> WrittenTree:
    """Write the jets of a tree, whose branches are `read` chunk by chunk."""
    chunks, types = _write_chunks(job.opened, job.plan, start.compressors, options, target, progress, read)
    run = _run(job.opened, job.plan, start, chunks, list(types), options)
    notes = job.plan.notes + start.notes()
    details, restored = start.details(), {c.collection.name: c.restored for c in start.compressors}
    return WrittenTree(job, run, chunks, types, start.embedded, notes, details, restored)


def _contents_of(
    written: Sequence[WrittenTree], left_out: Sequence[LeftOut] = (), copied: Copied | None = None
) -> Contents:
    """The contents of the folder for trees that were written; the first run tells of all else in the file."""
    first, *others = (one.run for one in written)
    runs = [replace(first, left_out=list(left_out), copied=copied or Copied())]
    runs += [replace(run, follows=True) for run in others]
    models = {sha: model for one in written for sha, model in one.embedded.items()}
    return Contents(runs, [chunk for one in written for chunk in one.chunks], models)


def _output(
    written: Sequence[WrittenTree],
    contents: Contents,
    more: Sequence[str] = (),
    differences: Differences | None = None,
    names: BranchNames | None = None,
) -> Output:
    """What was written, with the notes on the trees and `more`."""
    trees = {one.run.tree: one for one in written}
    notes = [*_in_trees({tree: one.notes for tree, one in trees.items()}), *more]
    opened, types = {tree: one.job.opened for tree, one in trees.items()}, {n: one.types for n, one in trees.items()}
    details = _in_trees({tree: one.details for tree, one in trees.items()})
    restored = {tree: one.restored for tree, one in trees.items()}
    return Output(contents, opened, notes, types, differences, details, restored, names)


def _write_compressed(jobs: Sequence[Job], options: Options, path: Path, progress: Progress) -> Output:
    """Write the file, all of it anew, with as few bytes beside its baskets as those of a file that is copied."""
    with scratch(path) as loose:
        with create(loose, told=jobs[0].plan.compression) as target:
            output = _write_all(jobs, options, target, progress)
        write_composed(loose, output.contents, path)
    return output


def _write_split(jobs: Sequence[Job], options: Options, path: Path, progress: Progress) -> Output:
    """Write the file with RNTuples, all of it anew, and split their numbers into planes of bytes."""
    told = jobs[0].plan.compression
    with scratch(path) as made:
        with create(made, told=told, compression=None, trees=RECORDS) as target:  # pages are packed when they are split
            output = _write_all(jobs, options, target, progress)
            write_contents(target, output.contents)
        split_ntuples(made, path, told if options.compression else None)
    return output


def _write_all(jobs: Sequence[Job], options: Options, target: Target, progress: Progress) -> Output:
    """Write all but the folder `atlasae` with uproot."""
    copied, left_out = _copy_others(jobs, options, target)
    written = _write_trees(jobs, options, lambda _: target, _in_turn(progress, jobs))
    contents, source = _contents_of(written, left_out, copied), jobs[0].opened.source
    made = [*contents.trees, *(other.name for other in copied.trees), *copied.objects]
    return _output(written, contents, pages.left_out_lines(left_out) + (moved(source, made) if source else []))


def _write_grafted(jobs: Sequence[Job], options: Options, path: Path, progress: Progress) -> Output:
    """Write the file with all but the jets copied: the stand-ins of TTrees are made first, those of RNTuples there."""
    file, plan, left = jobs[0].grafting, jobs[0].plan, dict[str, UserError]()
    assert file is not None
    ttrees, ntuples = [job for job in jobs if not job.is_ntuple], [job for job in jobs if job.is_ntuple]
    steps, may_stay = _in_turn(progress, [*ttrees, *ntuples]), left if len(jobs) > 1 and not file.alone else None
    with scratch(path) as stand_ins, Composer(path, file.records) as composer:
        copy = GraftTarget(file, composer, plan.recompression)
        with create(stand_ins, numbered=True) as target:
            written = _write_trees(ttrees, options, lambda _: target, steps, may_stay, copy)
        with damage(f"'{file.source.path}'"):
            copy.copy_all()
            written += _write_trees(ntuples, options, lambda job: copy.at(job.opened.tree), steps, may_stay)
            for error in left.values() if not written else ():
                raise error
            written.sort(key=lambda one: [job.opened.tree for job in jobs].index(one.run.tree))
            contents, copied = copy.finish(_contents_of(written, file.left_out), stand_ins)
    more = [*map(_stays, left, left.values()), *pages.left_out_lines(file.left_out)]
    names = {tree.path: tree.names for tree in copied.trees}
    return _output(written, contents, more, None if plan.recompression or ntuples else copied.differences, names)


def _in_turn(progress: Progress, jobs: Sequence[Job]) -> Iterator[Progress]:
    return in_turn(progress, [job.opened.events.entries for job in jobs])


def _copy_others(jobs: Sequence[Job], options: Options, target: Target) -> tuple[Copied, list[LeftOut]]:
    """Copy the other trees and objects; done first, since an unwritable one may end the run."""
    opened, trees = jobs[0].opened, [job.opened.tree for job in jobs]
    if not opened.source or options.only_jets or (opened.part and opened.part.number):
        return Copied(), []
    nested, step_size = bool(options.rntuple), options.step_size
    return copy_others(opened.source, trees, target, step_size, nested, options.drop_unwritable)


def _start(opened: Opened, plan: Plan, options: Options, first: dict[str, ak.Array]) -> Start:
    """What a tree's jets begin with: its parts, too, so that they fit together; one may have no jets."""
    events = opened.whole
    sample = _sample(events, plan, options.step_size, None if opened.part else first)
    four = replace(plan, collections=[c for c in plan.collections if not c.beside])
    start = layout_named(options.layout).start(four, options, sample, events.entries)
    jets = {compressor.collection.name: compressor for compressor in start.compressors}
    whole = len(next(iter(sample.values()))) == events.entries
    found, varied = dict(jets), [c for c in plan.collections if c.beside and c.holds_jets]
    for name in dict.fromkeys(c.beside for c in varied):
        alike = start_variations([c for c in varied if c.beside == name], jets[name], options, sample, whole)
        found |= {compressor.collection.name: compressor for compressor in alike}
    for collection in (c for c in plan.collections if c.has_others):
        found[collection.name] = start_columns(collection, jets[collection.beside], options, sample, whole)
    return replace(start, compressors=[found[collection.name] for collection in plan.collections])


def _sample(
    events: Events, plan: Plan, step_size: int, first: dict[str, ak.Array] | None = None
) -> dict[str, ak.Array]:
    """The sample on which codecs are chosen: the first chunk, and 500 entries at each of 12 positions behind it.

    Of the first chunk, what was read is left in `first`. Simulated samples are often merged from slices in pt, so that
    the first chunk alone would not be representative.
    """
    names = list(dict.fromkeys(jet_branches(plan.collections)))  # variations share some
    (start, stop), *later = entry_ranges(events, plan.read, step_size)
    ends = (stop, max(stop, events.entries - _PLACE_ENTRIES))
    places: list[int] = np.linspace(*ends, _PLACES).astype(int).tolist() if later else []
    ranges = [(start, stop)]
    for place in places:
        begin, end = max(place, ranges[-1][1]), min(place + _PLACE_ENTRIES, events.entries)
        if begin < end:  # odd jets that are there twice would be taken for padding
            ranges.append((begin, end))
    parts = [events.read(names, begin, end) for begin, end in ranges]
    if first is not None:
        first |= parts[0]
    if len(parts) == 1:
        return parts[0]
    return {name: one_after_another([part.pop(name) for part in parts]) for name in names}


def _write_chunks(
    opened: Opened,
    plan: Plan,
    compressors: Sequence[Compressor[FileLayout]],
    options: Options,
    target: Target | NtupleTarget,
    progress: Progress,
    read: Iterable[dict[str, ak.Array]],
) -> tuple[list[Chunk], dict[str, ak.types.Type]]:
    """Write the tree chunk by chunk; returns the chunks, and the type of each branch in the order of checksums."""
    writer, types, chunks, stop = None, dict[str, ak.types.Type](), list[Chunk](), 0
    in_tree = not isinstance(target, NtupleTarget) and not options.rntuple
    alone = len(list(entry_ranges(opened.events, plan.read, options.step_size))) == 1  # else each thread has a chunk
    pack = partial(pack_words, _words_of(plan, compressors) if in_tree else [], alone)
    with side_by_side(partial(_compressed, plan, compressors, pack), read) as compressed:
        for written, words, found, chunk in compressed:
            for compressor, sums in zip(compressors, found, strict=True):
                compressor.add(sums)
            writer = writer or _compressed_tree(target, opened, plan, options, compressors, written)
            types = types or {name: array.type.content for name, array in written.items()}
            writer.expect_words(words)
            writer.extend(written)
            chunks.append(chunk)
            stop += chunk.entries
            progress(stop, opened.events.entries)
            del written, words, found  # before the next is waited for
    return chunks, types


def _read_tree(job: Job, options: Options, known: dict[str, ak.Array]) -> Iterator[dict[str, ak.Array]]:
    """The branches of every chunk of a tree; `known` has some of the first, and is emptied."""
    events, plan = job.opened.events, job.plan
    for start, stop in entry_ranges(events, plan.read, options.step_size):
        yield read_counted(events, plan.read, plan.counted, start, stop, known)
        known.clear()


def _compressed(
    plan: Plan,
    compressors: Sequence[Compressor[FileLayout]],
    pack: Callable[[Mapping[str, ak.Array]], PackedWords],
    events: dict[str, ak.Array],
) -> tuple[dict[str, ak.Array], PackedWords, list[CompressedChunk], Chunk]:
    """The branches that are written of a chunk, the words among them compressed, and what is said of it."""
    written, found = {branch.name: events[branch.name] for branch in plan.carried}, list[CompressedChunk]()
    for compressor in compressors:
        found.append(compressor.compress(events | written))
        written |= found[-1].branches
    for counter, branch in plan.lone_counters.items():
        if plan.grafted and counter in plan.counted.values():  # it stays as it is
            written[counter] = events[counter]
        else:
            written[counter] = ak.Array(numbers_in(events[branch]).astype(np.int32))
    jets = sum(one.jets for c, one in zip(compressors, found, strict=True) if not c.collection.has_others)
    entries = len(next(iter(events.values())))
    return written, pack(written), found, Chunk(entries, jets, [*checksums(written).values()])


def _words_of(plan: Plan, compressors: Sequence[Compressor[FileLayout]]) -> list[str]:
    """The branches (and counters) of four-byte values: all stand-ins but packed bytes."""
    names = [name for collection in plan.collections for name in stand_ins(collection, plan.counters)]
    coded = _coded(compressors)
    return [name for name in names if name not in coded]


def _coded(compressors: Sequence[Compressor[FileLayout]]) -> list[str]:
    """The branches of packed bytes."""
    return [name for c in compressors if c.layout.by_chunk for name in c.collection.latents]


def _compressed_tree(
    target: Target | NtupleTarget,
    opened: Opened,
    plan: Plan,
    options: Options,
    compressors: Sequence[Compressor[FileLayout]],
    columns: dict[str, ak.Array],
) -> Writer:
    if isinstance(target, NtupleTarget):
        return target.make_ntuple(plan, columns)
    if options.rntuple:
        return target.make_ntuple(opened.tree, columns, opened.title, plan.places_written)
    words, coded = _words_of(plan, compressors), _coded(compressors)
    writer = target.make_tree(opened.tree, columns, opened.title, plan.counters, plan.compression, words)
    writer.store(coded)
    writer.expect_zeros([plan.counters[name] for name in coded])
    return writer


def _run(
    opened: Opened,
    plan: Plan,
    start: Start,
    chunks: list[Chunk],
    written: list[str],
    options: Options,
) -> Run:
    return Run(
        source=_source(opened),
        tree=opened.tree,
        title=opened.title,
        entries=opened.events.entries,
        chunks=len(chunks),
        collections=[
            CompressedCollection(
                c.collection, c.layout.codec.config(), _promised(c.bounds), start.model_sha256,
                c.jets, c.exact_jets, rounded_up_to(c.max_error, c.bounds),
                bytes_in=opened.events.compressed_bytes(c.collection.own),
            )
            for c in start.compressors
        ],
        originals=plan.originals,
        carried=plan.carried,
        written=written,
        counters=plan.counters,
        dropped=plan.dropped,
        versions={package: version(package) for package in ("atlasae", "torch", "uproot", "awkward", "numpy")},
        table=opened.table,
        ntuple=(plan.grafted or bool(options.rntuple)) and opened.tree_read is not None and opened.tree_read.is_rntuple,
        aliases=plan.aliases,
        places=plan.places,
        options=options.digest,
        format=format_needed(c.layout.codec.config() for c in start.compressors),
    )  # fmt: skip


def _source(opened: Opened) -> SourceFacts:
    """Name and size of the input, as recorded in the run; for a part, its entries and number too."""
    facts = SourceFacts(name=opened.path.name, bytes=opened.path.stat().st_size)
    if part := opened.part:
        facts |= {"entries": (part.start, part.stop), "part": (part.number, part.parts)}
        facts |= {"uuid": opened.source.uuid} if opened.source else {}
    return facts


def _promised(bounds: dict[str, float]) -> dict[str, float | None]:
    return {variable: bound if math.isfinite(bound) else None for variable, bound in bounds.items()}


def _collection_report(name: str, entry: CompressedCollection, sizes: Mapping[str, int]) -> CollectionReport:
    collection = entry.collection
    bytes_out = sizes[collection.name]
    return CollectionReport(
        name=name,
        branches=collection.branches,
        units=collection.units,
        jets=entry.jets,
        exact_jets=entry.exact_jets,
        precision=entry.precision,
        floors=storage_of(collection).floors,
        max_error=entry.max_error,
        bits=bits_of(entry),
        exponent=entry.codec.get("exponent"),
        bytes_in=entry.bytes_in,
        bytes_out=bytes_out,
        bytes_per_jet=bytes_out / entry.jets if entry.jets else None,
        resolutions=collection.resolution_texts,
    )
