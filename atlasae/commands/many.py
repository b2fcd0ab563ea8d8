"""Many files: one task per file, a journal of finished outputs, one report."""

import glob
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from atlasae.commands.journal import Journal, Origin
from atlasae.commands.results import FileReport, ManyReport
from atlasae.commands.workers import Outcome, Recognise, Task, Work, Workers
from atlasae.compression.chunks import Progress, silent
from atlasae.compression.compress import compress_file, recognise_compressed
from atlasae.compression.decompress import decompress_file, recognise_restored
from atlasae.compression.pieces import first_run, key_of, number_of, part_of, part_path, parts_in
from atlasae.compression.plan import Options, open_for
from atlasae.compression.results import CompressionReport, DecompressionReport, VerificationReport
from atlasae.compression.verify import verify_file
from atlasae.errors import AtlasaeError, UserError
from atlasae.files.outputs import remove_leftovers
from atlasae.files.remote import Location, Remote
from atlasae.files.tables import is_table

ADDED = ("entries", "jets", "exact_jets", "bytes_file_in", "bytes_file_out", "bytes_jets_in", "bytes_jets_out")  # sums


@dataclass(frozen=True)
class RestoreOptions:
    """The options of `atlasae decompress`."""

    salvage: bool = False
    force: bool = False

    @property
    def digest(self) -> str:
        """A text of all options that affect the output."""
        return str(replace(self, force=False))


def compress_files(
    paths: Sequence[Location],
    folder: Path,
    options: Options,
    workers: Workers,
    progress: Progress = silent,
    split_size: int | None = None,
) -> ManyReport:
    """Compress every file into a folder; returns a report of all. Raises UserError before anything is done.

    A ROOT file of more than `split_size` bytes becomes several, `NAME.part0.root` and so on, each of consecutive
    entries.
    """
    tasks = pair_up(compress_task, expand(paths), folder, options, recognise_compressed_task)
    if split_size:
        tasks = refuse_clashes([part for task in tasks for part in split(task, split_size)])
    return run_into(folder, tasks, workers, progress)


def decompress_files(
    paths: Sequence[Location], folder: Path, options: RestoreOptions, workers: Workers, progress: Progress = silent
) -> ManyReport:
    """Decompress every file into a folder; returns a report of all. Raises UserError before anything is done."""
    tasks = pair_up(
        decompress_task, expand(paths), folder, options, None if options.salvage else recognise_restored_task
    )
    return run_into(folder, tasks, workers, progress)


def verify_files(
    originals: Sequence[Location], folder: Path, workers: Workers, progress: Progress = silent
) -> ManyReport:
    """Compare every file with its output of `compress_files` in the folder; returns a report of all."""
    tasks = find_parts(pair_up(verify_task, expand(originals), folder), folder)
    return run_tasks(tasks, workers, None, progress)


def evaluate_many(
    originals: Sequence[Location],
    folder: Path,
    workers: Workers,
    progress: Progress = silent,
    patterns: Sequence[str] = (),
    units: str | None = None,
    event_column: str | None = None,
) -> Any:
    """Evaluate every file with the file of its name in the folder; returns an `Evaluated` of all files together.

    The report has `files` and the number that `failed`; raises UserError if all did.
    """
    tasks = find_parts(pair_up(evaluate_task, expand(originals), folder), folder)
    asked = Evaluating(tuple(patterns), units, _common_ranges(tasks, patterns, units), event_column)
    total, files = None, list[FileReport]()
    with closing(workers.outcomes([replace(task, options=asked) for task in tasks])) as outcomes:
        for outcome in _in_order(tasks, outcomes):
            total, error = _add_up(total, outcome)
            files.append({"input": str(outcome.task.path), "output": str(outcome.task.target), "error": error})
            progress(len(files), len(tasks))
    if total is None:
        raise UserError(f"no file can be evaluated: {files[0]['error']}")
    found = total.evaluated()
    failed = sum(file["error"] is not None for file in files)
    return replace(found, report=replace(found.report, files=files, failed=failed))


@dataclass(frozen=True)
class Evaluating:
    """The options of `atlasae evaluate`, and the ranges of the histograms."""

    patterns: tuple[str, ...]
    units: str | None
    ranges: Mapping[str, Any]
    event_column: str | None = None


def _common_ranges(tasks: Sequence[Task], patterns: Sequence[str], units: str | None) -> Mapping[str, Any]:
    """The histogram ranges for all files, from the first jets of the first file that has jets."""
    from atlasae.reports.evaluation import first_ranges  # here, because importing torch is slow

    for task in tasks:
        with suppress(AtlasaeError, OSError):  # its own task reports the error
            if found := first_ranges(task.path, task.target, patterns, units):
                return found
    return {}


def _in_order(tasks: Sequence[Task], outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The outcomes in the order of the tasks, so that sums have the same bits in every run."""
    waiting: dict[Path, Outcome] = {}
    for task in tasks:
        while task.target not in waiting:
            outcome = next(outcomes)
            waiting[outcome.task.target] = outcome
        yield waiting.pop(task.target)


def _add_up(total: Any, outcome: Outcome) -> tuple[Any, str | None]:
    """Add the evaluation of one file; returns the sum, and the error if there was one."""
    if outcome.error is not None:
        return total, outcome.error
    if total is None:
        return outcome.report["tallied"], None
    try:
        total.merge(outcome.report["tallied"])
    except UserError as error:
        return total, str(error)
    return total, None


def evaluate_task(task: Task) -> Mapping[str, Any]:
    """Evaluate one pair of files."""
    from atlasae.reports.evaluation import tally_files

    asked = task.options
    how = asked.patterns, asked.units, asked.ranges, asked.event_column
    return {"tallied": tally_files(task.path, task.target, None, *how)}


def compress_task(task: Task) -> CompressionReport:
    """Compress one file."""
    return compress_file(task.path, task.target, task.options, finished=task.finished)


def decompress_task(task: Task) -> DecompressionReport:
    """Decompress one file."""
    force, salvage = task.options.force, task.options.salvage
    return decompress_file(task.path, task.target, force, salvage=salvage, finished=task.finished)


def recognise_compressed_task(task: Task) -> CompressionReport | None:
    """The report of the file at the target, if it is the task's finished output."""
    with suppress(AtlasaeError):  # another file
        return recognise_compressed(task.path, task.target, task.options)
    return None


def recognise_restored_task(task: Task) -> DecompressionReport | None:
    """The report of the file at the target, if it is the task's finished output."""
    with suppress(AtlasaeError):
        return recognise_restored(task.path, task.target)
    return None


def verify_task(task: Task) -> VerificationReport:
    """Compare one file with its original."""
    return verify_file(task.path, task.target)


def expand(paths: Sequence[Location]) -> list[Location]:
    """The files named, or matched by globs, each once; raises UserError for a glob without a match."""
    found: list[Location] = []
    for path in paths:
        if isinstance(path, Remote):
            found += path.matches()
            continue
        if path.is_dir():
            raise UserError(f"'{path}' is a folder: name files in it, such as '{path / '*.root'}'")
        # Path.glob refuses absolute patterns.
        is_glob = glob.has_magic(str(path)) and not path.exists()
        fitting = sorted(map(Path, glob.glob(str(path), recursive=True))) if is_glob else [path]  # noqa: PTH207
        if not fitting:
            raise UserError(f"no file fits '{path}'")
        found += [file.absolute() for file in fitting if not file.is_dir()]
    return list(dict.fromkeys(found))


def output_name(path: Location) -> str:
    """The name of a file's output: `a.root` for `a.root`, `a.root.1` (as on the grid) and `a.parquet`."""
    if is_table(path):
        return f"{path.stem}.root"
    stem, root, _ = path.name.partition(".root.")
    return f"{stem}.root" if root else path.name


def pair_up(
    work: Work, paths: Sequence[Location], folder: Path, options: Any = None, recognise: Recognise | None = None
) -> list[Task]:
    """A task for every file, with outputs in one folder; raises UserError where two have the same name."""
    folder = folder.absolute()
    return refuse_clashes([Task(work, path, folder / output_name(path), options, recognise) for path in paths])


def refuse_clashes(tasks: list[Task]) -> list[Task]:
    """The tasks, if their outputs differ; else raises UserError."""
    made: dict[Path, Location] = {}
    for task in tasks:
        if task.target in made:
            raise UserError(
                f"'{made[task.target]}' and '{task.path}' would both become '{task.target}': use two folders"
            )
        made[task.target] = task.path
    return tasks


def split(task: Task, size: int) -> list[Task]:
    """Tasks for parts of a ROOT file of about `size` bytes each; the task itself if the file is not larger.

    A file that can't be read is not split: its task reports the error.
    """
    try:
        parts = 1 if is_table(task.path) else -(-task.path.stat().st_size // size)
        with open_for(task.path, task.options) if parts > 1 else nullcontext() as opened:
            entries = opened.events.entries if opened else 0
    except (AtlasaeError, OSError):
        return [task]
    parts = min(parts, entries)
    if parts < 2:
        return [task]
    return [
        replace(task, target=part_path(task.target, number, parts), options=replace(task.options, part=(number, parts)))
        for number in range(parts)
    ]


def find_parts(tasks: Sequence[Task], folder: Path) -> list[Task]:
    """The tasks, each replaced by tasks for all parts of its output (missing and stale ones, too) if that was split."""
    beside = parts_in(folder)
    return [one for task in tasks for one in _parts_of(task, beside.get(task.target.name, ()))]


def _parts_of(task: Task, paths: Sequence[Path]) -> list[Task]:
    """Tasks for all parts of the split that the first of these files belongs to; parts of other splits are stale.

    If the unsplit output exists, all parts are stale. If no part can be read, a task for the first reports why.
    """
    made = {path: run for path in paths if (run := first_run(path)) and run.source["name"] == task.path.name}
    cut = {path: (key_of(run), part) for path, run in made.items() if (part := part_of(run))}
    found: dict[int, Path] = {}
    if task.target.exists() or not paths:
        wanted = [task]
    elif not cut:
        wanted = [replace(task, target=paths[0])]
    else:
        key, first = next(iter(cut.values()))
        names = {number_of(path): path for path in paths}
        found = {part.number: path for path, (k, part) in cut.items() if (k, part.parts) == (key, first.parts)}
        wanted = [
            replace(task, target=found.get(n) or names.get(n) or part_path(task.target, n, first.parts))
            for n in range(first.parts)
        ]
    taken = {one.target for one in wanted}
    return wanted + [replace(task, work=stale_task, target=path) for path in cut if path not in taken]


def stale_task(task: Task) -> NoReturn:
    """Raise UserError: a file is left from another split."""
    raise UserError(_stale(task.target, task.path))


def mixed(tasks: Sequence[Task], done: Mapping[Path, Outcome]) -> Iterator[Outcome]:
    """Failed outcomes for tasks whose input has an output of another split in the same folder."""
    by_input: dict[Location, list[Task]] = {}
    for task in tasks:
        by_input.setdefault(task.path, []).append(task)
    beside = parts_in(tasks[0].target.parent) if tasks else {}
    for path, group in by_input.items():
        left = [task for task in group if task.target not in done]
        whole = group[0].target.with_name(output_name(path))
        others = [other for other in (whole, *beside.get(whole.name, ())) if other not in done and other.exists()]
        if left and (problem := _in_the_way(group, others)):
            yield from (Outcome(task, error=problem) for task in left)


def _in_the_way(group: Sequence[Task], others: Sequence[Path]) -> str | None:
    """The reason why outputs of an input can't be written: existing ones belong to another split; else None."""
    made = {task.target: task for task in group}
    for other in others:
        run = first_run(other)
        if other in made:
            as_asked = run is not None and run.options == made[other].options.digest  # its own task checks more
            if len(group) > 1 and not as_asked and not group[0].options.force:
                return f"'{other}' exists: choose another folder, or replace all parts with --force"
        elif run and run.source["name"] == group[0].path.name:
            return _stale(other, group[0].path)
    return None


def _stale(path: Path, source: Location) -> str:
    return f"'{path}' is from another split of '{source.name}': remove it, or use another folder"


def run_into(folder: Path, tasks: Sequence[Task], workers: Workers, progress: Progress = silent) -> ManyReport:
    """Do tasks with outputs in a folder with a journal; the folder is made if missing."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is no folder: outputs of many files need one")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return run_tasks(tasks, workers, Journal(folder.absolute()), progress)
    finally:
        remove_leftovers(folder)  # killed workers leave temporary files


def run_tasks(
    tasks: Sequence[Task], workers: Workers, journal: Journal | None, progress: Progress = silent
) -> ManyReport:
    """Do all tasks except those that the journal has as done; returns the report of all.

    When interrupted, raises KeyboardInterrupt with the number of finished files; those in the journal are not repeated.
    """
    started = time.perf_counter()
    done = {task.target: outcome for task in tasks if (outcome := _known(task, journal))}
    done |= {outcome.task.target: outcome for outcome in (mixed(tasks, done) if journal else ())}
    left = [replace(task, journaled=journal is not None) for task in tasks if task.target not in done]
    try:
        with closing(workers.outcomes(left)) as outcomes:
            for outcome in outcomes:
                done[outcome.task.target] = outcome
                progress(len(done), len(tasks))
    except KeyboardInterrupt:
        more = "; run it again to go on" if journal else ""
        raise KeyboardInterrupt(f"{len(done)} of {len(tasks)} files are done{more}") from None
    notes = journal.notes if journal else []
    return summary([done[task.target] for task in tasks], notes, time.perf_counter() - started)


def _known(task: Task, journal: Journal | None) -> Outcome | None:
    """The outcome of a task that the journal has as done; else None."""
    if journal is None or task.target.name not in journal.lines:
        return None
    report = None
    with suppress(AtlasaeError, OSError):  # its own task reports the error
        report = journal.find(Origin.of(task.path, task.digest), task.target.name)
    return None if report is None else Outcome(task, report, reused=True)


def summary(outcomes: Sequence[Outcome], notes: list[str], seconds: float) -> ManyReport:
    """The report of many files: a report for each, the number that failed, and sums."""
    files: list[FileReport] = [
        {"input": str(o.task.path), **o.report, "output": str(o.task.target), "error": o.error, "reused": o.reused}
        for o in outcomes
    ]
    good = [o.report for o in outcomes if o.error is None]
    totals = {key: sum(r[key] for r in good) for key in ADDED if good and all(key in r for r in good)}
    if totals.get("jets") and "bytes_jets_out" in totals:
        totals["bytes_per_jet"] = totals["bytes_jets_out"] / totals["jets"]
    return ManyReport(files=files, failed=len(outcomes) - len(good), **totals, notes=notes, seconds=seconds)
