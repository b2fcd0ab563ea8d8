"""Compression of a whole file, chunk by chunk, in memory that does not grow with the file."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from atlasae import pages
from atlasae.compression.chunks import Progress, layout_named, silent
from atlasae.compression.collection import Compressor, FileLayout, Start, merge_largest
from atlasae.compression.format import (
    Chunk,
    CompressedCollection,
    Contents,
    Copied,
    Run,
    SourceFacts,
    bits_of,
    read_contents,
    write_contents,
)  # fmt: skip
from atlasae.compression.grafting import (
    Grafting,
    as_stored,
    forms_of,
    grafting_of,
    jet_branches,
    plan_of,
    unfit,
    write_grafted,
)  # fmt: skip
from atlasae.compression.ntuples import NtupleTarget, as_ntuple, grafted_ntuple, is_to_be_grafted
from atlasae.compression.others import copy_others, entry_ranges, moved, read_counted
from atlasae.compression.packed import start_columns
from atlasae.compression.plan import Options, Plan, leave, make_plan, open_for, settle_plan
from atlasae.compression.results import ANEW, COPIED, CollectionReport, CompressionReport, PlanReport
from atlasae.compression.verify import Output, compare_files, read_back
from atlasae.errors import UserError
from atlasae.files.checksums import checksum
from atlasae.files.damage import damage
from atlasae.files.events import Events
from atlasae.files.outputs import check_format, check_target, replacing, scratch
from atlasae.files.remote import Location, Named, local, located, watching
from atlasae.files.trees import Source, Tree, open_source
from atlasae.files.writing import PAGES, Behind, Target, Writer, create
from atlasae.jets.collections import Collection, stand_ins
from atlasae.jets.inputs import Opened
from atlasae.jets.reading import settle_by
from atlasae.jets.stored import storage_of
from atlasae.pages import size_text
from atlasae.report import LeftOut, Report

Finished = Callable[[Path, Report], None]
Write = Callable[[Opened, Plan, Options, Path, Progress], Output]

_NOT_GRAFTED = "the jets are stored in few bits or in a way of their own: the whole file is written anew"
_DIGITS = 5  # of the largest error
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
        opened, plan, write = _planned(found, options)
        with replacing(target, options.force) as temporary:
            written = write(opened, plan, options, temporary, writing)
            with open_source(temporary) as made:
                if options.read_back:
                    read_back(made, opened, written, reading)
                check_unchanged()
                notes = plan.notes + written.notes
                report = _report(path, made, written.run, target, notes, time.perf_counter() - started)
            if finished:
                finished(temporary, report)
    return report


def plan_file(path: Named, options: Options | None = None) -> PlanReport:
    """What `compress_file` would do with each branch, without doing it; raises the same errors about the input."""
    options = _checked(options, {})
    with open_for(located(path), options) as found:
        opened, plan, _ = _planned(found, options)
        collections = plan.collections
        if not options.variables:
            four = [collection for collection in collections if not collection.beside]
            settled = settle_by(four, options.units, _first(opened, jet_branches(four)))
            collections = settled + [collection for collection in collections if collection.beside]
        source, kept = opened.source, COPIED if plan.grafted else ANEW
        others = [*source.trees, *source.objects] if source and not options.only_jets else []
        return PlanReport(
            tree=opened.tree,
            entries=opened.events.entries,
            branches=_fates(opened, plan, collections),
            collections={collection.name: collection.units for collection in collections},
            others={name: kept for name in others if name != opened.tree},
            notes=plan.notes,
        )


def _first(opened: Opened, names: Sequence[str]) -> dict[str, ak.Array]:
    return opened.events.read(names, 0, min(opened.events.entries, _PLACE_ENTRIES))


def _fates(opened: Opened, plan: Plan, collections: Sequence[Collection]) -> dict[str, str]:
    """What becomes of each branch of the tree, in the order of the file."""
    tree, jets = opened.tree_read, dict[str, str]()
    for collection in collections:
        unit = f" ({collection.units})" if collection.units else ""
        if collection.beside:
            jets |= dict.fromkeys(collection.branches.values(), f"a number of '{collection.beside}', packed")
        else:
            jets |= {name: f"{v} of '{collection.name}'{unit}" for v, name in collection.branches.items()}
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
        run, *others = read_contents(source).runs
        if others or (run.options, run.versions["atlasae"]) != (options.digest, version("atlasae")):
            return None
        if compare_files(path, target)["differences"]:
            return None
        return _report(path, source, run, target, [], 0.0)


def _planned(opened: Opened, options: Options) -> tuple[Opened, Plan, Write]:
    """The plan for an input, and what writes it: all but its jets is copied byte for byte where that can be done."""
    if is_to_be_grafted(opened, options):
        opened = as_ntuple(opened)
        return opened, make_plan(opened, replace(options, rntuple=True), grafted=True), _write_grafted_ntuple
    grafting = grafting_of(opened, options)
    if grafting is None:
        return opened, make_plan(opened, options), _write_compressed
    plan = plan_of(grafting, make_plan(opened, options, grafted=True))
    if (whole := unfit(grafting, plan.collections)) and opened.tree_read:
        note = f"left as they are, since more than numbers varies in their objects: {', '.join(whole)}"
        opened = replace(opened, events=opened.tree_read.leaving(whole), notes=(*opened.notes, note))
        plan = plan_of(grafting, make_plan(opened, options, grafted=True))
    forms, others = forms_of(grafting, opened, plan.collections)
    if others:
        try:
            anew = make_plan(opened, options)
            return opened, replace(anew, notes=[*anew.notes, _NOT_GRAFTED]), _write_compressed
        except UserError:  # what would be lost
            plan = leave(plan, others)
            if not plan.collections:
                raise
    plan = replace(plan, collections=as_stored(plan.collections, forms))
    return opened, plan, partial(_write_grafted, replace(grafting, forms=forms))


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


def file_bytes(path: Location, target: Path, part: tuple[int, int] = (0, 1)) -> dict[str, int]:
    """Bytes of the input and output files; for a part (its number, the number of parts), its share of the input."""
    number, parts = part
    before = path.stat().st_size
    before = before * (number + 1) // parts - before * number // parts
    return {"bytes_file_in": before, "bytes_file_out": target.stat().st_size}


def jet_bytes(tree: Tree, run: Run) -> dict[str, int]:
    """Compressed basket bytes of the stand-ins of each collection: latents, exact branches and their counters."""
    return {
        entry.collection.name: tree.compressed_bytes(stand_ins(entry.collection, run.counters))
        for entry in run.collections
    }


def _carried(tree: Tree, run: Run) -> list[str]:
    """The names of the carried branches."""
    if run.graft is None or run.graft.alone:
        return [branch.name for branch in run.carried]
    made = {name for entry in run.collections for name in stand_ins(entry.collection, run.counters)}
    return sorted(tree.names - made)


def _growth(before: int, after: int) -> list[str]:
    """A note where the output is larger than the input."""
    return [f"the output is larger than the input, by {size_text(after - before)}"] if after > before else []


def _report(
    path: Location, made: Source, run: Run, target: Path, notes: list[str], seconds: float
) -> CompressionReport:
    """What is reported of a file that is made, and will be called `target`."""
    tree = made.trees[run.tree]
    sizes, carried = jet_bytes(tree, run), _carried(tree, run)
    file_sizes = file_bytes(path, local(made.path), run.source.get("part", (0, 1)))
    jets = sum(entry.jets for entry in run.collections if not entry.collection.beside)
    bytes_out = sum(sizes.values())
    return CompressionReport(
        entries=run.entries,
        jets=jets,
        tree=run.tree,
        collections=[_collection_report(entry, sizes[entry.collection.name]) for entry in run.collections],
        precision={entry.collection.name: entry.precision for entry in run.collections},
        floors={entry.collection.name: storage_of(entry.collection).floors for entry in run.collections},
        bits={entry.collection.name: bits_of(entry) for entry in run.collections},
        bytes_jets_in=sum(entry.bytes_in for entry in run.collections),
        bytes_jets_out=bytes_out,
        bytes_per_jet=bytes_out / jets if jets else None,
        exact_jets=sum(entry.exact_jets for entry in run.collections),
        max_error=merge_largest(entry.max_error for entry in run.collections),
        model_sha256=run.collections[0].model_sha256,
        carried=carried,
        dropped=run.dropped,
        left_out=run.left_out,
        **file_sizes,
        notes=notes + _growth(file_sizes["bytes_file_in"], file_sizes["bytes_file_out"]),
        output=str(target),
        seconds=seconds,
    )


def _write_compressed(opened: Opened, plan: Plan, options: Options, path: Path, progress: Progress) -> Output:
    """Write the file, all of it anew."""
    start = _start(opened.events, plan, options)
    plan = settle_plan(plan, [compressor.collection for compressor in start.compressors])
    of_pages = {"compression": plan.compression if options.compression else PAGES} if options.rntuple else {}
    with create(path, told=plan.compression, **of_pages) as target:
        copied, left_out = _copy_others(opened, options, target)
        chunks, types = _write_chunks(opened, plan, start.compressors, options, target, progress)
        notes = start.notes() + pages.left_out_lines(left_out)
        written = [opened.tree, *(other.name for other in copied.trees), *copied.objects]
        notes += moved(opened.source, written) if opened.source else []
        run = replace(_run(opened, plan, start, chunks, list(types), options), copied=copied, left_out=left_out)
        write_contents(target, Contents([run], chunks, start.embedded))
    return Output(run, notes, types)


def _write_grafted(
    grafting: Grafting, opened: Opened, plan: Plan, options: Options, path: Path, progress: Progress
) -> Output:
    """Write the file with all but the jets copied."""
    start = _start(opened.events, plan, options)
    plan = settle_plan(plan, [compressor.collection for compressor in start.compressors])
    with scratch(path) as stand_ins:
        with create(stand_ins) as target:
            chunks, types = _write_chunks(opened, plan, start.compressors, options, target, progress)
        run = replace(_run(opened, plan, start, chunks, list(types), options), left_out=grafting.left_out)
        contents = Contents([run], chunks, start.embedded)
        with damage(f"'{opened.path}'"):
            contents, copy = write_grafted(grafting, plan, stand_ins, contents, path)
    notes = start.notes() + pages.left_out_lines(grafting.left_out)
    return Output(contents.runs[0], notes, types, None if plan.recompression else copy.differences)


def _write_grafted_ntuple(opened: Opened, plan: Plan, options: Options, path: Path, progress: Progress) -> Output:
    """Write the file with the pages of an RNTuple copied."""
    options = replace(options, rntuple=True)
    start = _start(opened.events, plan, options)
    plan = settle_plan(plan, [compressor.collection for compressor in start.compressors])
    with grafted_ntuple(opened, plan, path) as target:
        chunks, types = _write_chunks(opened, plan, start.compressors, options, target, progress)
        run = _run(opened, plan, start, chunks, list(types), options)
        contents = target.finish(Contents([run], chunks, start.embedded))
    return Output(contents.runs[0], start.notes(), types)


def _copy_others(opened: Opened, options: Options, target: Target) -> tuple[Copied, list[LeftOut]]:
    """Copy the other trees and objects; done first, since an unwritable one may end the run."""
    if not opened.source or options.only_jets or (opened.part and opened.part.number):
        return Copied(), []
    source, tree, step_size = opened.source, opened.tree, options.step_size
    return copy_others(source, tree, target, step_size, bool(options.rntuple), options.drop_unwritable)


def _start(events: Events, plan: Plan, options: Options) -> Start:
    sample = _sample(events, plan, options.step_size)
    four = replace(plan, collections=[c for c in plan.collections if not c.beside])
    start = layout_named(options.layout).start(four, options, sample, events.entries)
    jets = {compressor.collection.name: compressor for compressor in start.compressors}
    whole = len(next(iter(sample.values()))) == events.entries
    others = [start_columns(c, jets[c.beside], options, sample, whole) for c in plan.collections if c.beside]
    return replace(start, compressors=[*start.compressors, *others])


def _sample(events: Events, plan: Plan, step_size: int) -> dict[str, ak.Array]:
    """The sample on which codecs are chosen: the first chunk, and 500 entries at each of 12 positions behind it.

    Simulated samples are often merged from slices in pt, so that the first chunk alone would not be representative.
    """
    names = [name for collection in plan.collections for name in collection.branches.values()]
    (start, stop), *later = entry_ranges(events, plan.read, step_size)
    ends = (stop, max(stop, events.entries - _PLACE_ENTRIES))
    places: list[int] = np.linspace(*ends, _PLACES).astype(int).tolist() if later else []
    ranges = [(start, stop), *((place, min(place + _PLACE_ENTRIES, events.entries)) for place in places)]
    parts = [events.read(names, begin, end) for begin, end in ranges]
    return {name: ak.concatenate([part[name] for part in parts]) for name in names}


def _write_chunks(
    opened: Opened,
    plan: Plan,
    compressors: Sequence[Compressor[FileLayout]],
    options: Options,
    target: Target | NtupleTarget,
    progress: Progress,
) -> tuple[list[Chunk], dict[str, ak.types.Type]]:
    """Write the tree chunk by chunk; returns the chunks, and the type of each branch in the order of checksums."""
    writer, written = None, dict[str, ak.Array]()
    chunks: list[Chunk] = []
    with Behind() as behind:
        for start, stop in entry_ranges(opened.events, plan.read, options.step_size):
            events = read_counted(opened.events, plan.read, plan.counted, start, stop)
            written = {branch.name: events[branch.name] for branch in plan.carried}
            for compressor in compressors:
                written |= compressor.compress(events | written)
            for counter, branch in plan.lone_counters.items():
                written[counter] = ak.values_astype(ak.num(events[branch]), np.int32)
                if plan.grafted and counter in plan.counted.values():  # it stays as it is
                    written |= opened.events.read([counter], start, stop)
            writer = writer or _compressed_tree(target, opened, plan, options, compressors, written)
            behind.extend(writer, written)
            jets = sum(c.jets for c in compressors if not c.collection.beside) - sum(chunk.jets for chunk in chunks)
            chunks.append(Chunk(stop - start, jets, [checksum(array) for array in written.values()]))
            progress(stop, opened.events.entries)
    return chunks, {name: array.type.content for name, array in written.items()}


def _compressed_tree(
    target: Target | NtupleTarget,
    opened: Opened,
    plan: Plan,
    options: Options,
    compressors: Sequence[Compressor[FileLayout]],
    columns: dict[str, ak.Array],
) -> Writer:
    if options.rntuple or isinstance(target, NtupleTarget):
        return target.make_ntuple(opened.tree, columns, opened.title, plan.places_written)
    words = [name for collection in plan.collections for name in stand_ins(collection, plan.counters)]
    writer = target.make_tree(opened.tree, columns, opened.title, plan.counters, plan.compression, words)
    coded = [name for c in compressors if c.layout.by_chunk for name in c.collection.latents]
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
                c.jets, c.exact_jets, {v: _rounded_up(x, c.bounds.get(v, math.inf)) for v, x in c.max_error.items()},
                # `compressed_bytes` is 0 for baskets inside the tree object.
                bytes_in=opened.events.compressed_bytes(c.collection.own) or c.bytes_in,
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
        ntuple=bool(options.rntuple) and opened.tree_read is not None and opened.tree_read.is_rntuple,
        aliases=plan.aliases,
        places=plan.places,
        options=options.digest,
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


def _rounded_up(error: float, bound: float) -> float:
    """An error of few digits, which takes few bytes, but not beyond its bound."""
    if not 0 < error < math.inf:
        return error
    digits = _DIGITS - math.ceil(math.log10(error))
    return max(error, min(bound, float(f"{math.ceil(error * 10.0**digits)}e{-digits}")))


def _collection_report(entry: CompressedCollection, bytes_out: int) -> CollectionReport:
    collection = entry.collection
    return CollectionReport(
        name=collection.name,
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
    )
