"""Many files: one task each, a journal of what is done, one report in the end."""

import glob
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atlasae import terminal
from atlasae.container import read_contents
from atlasae.display import Report
from atlasae.distributed import Outcome, Task, Workers
from atlasae.errors import AtlasaeError, UserError
from atlasae.journal import Journal, Source
from atlasae.pipeline import compress_file, decompress_file
from atlasae.planning import Options, Part, open_for
from atlasae.remote import Location, Remote
from atlasae.restoring import Progress
from atlasae.rootio import open_source
from atlasae.tables import is_table
from atlasae.targets import remove_leftovers
from atlasae.verification import verify_file

ADDED = ("entries", "jets", "exact_jets", "bytes_file_in", "bytes_file_out", "bytes_jets_in", "bytes_jets_out")  # up


@dataclass(frozen=True)
class Restoring:
    """What `atlasae decompress` may be told."""

    salvage: bool = False
    force: bool = False


def compress_files(
    paths: Sequence[Location],
    folder: Path,
    options: Options,
    workers: Workers,
    progress: Progress | None = None,
    split_size: int | None = None,
) -> Report:
    """Compress every file into a folder; returns a report of all. Raises UserError before anything is done.

    A ROOT file of more than `split_size` bytes becomes several, `NAME.part0.root` and so on, each of a run of entries.
    """
    tasks = pair_up(compress_task, expand(paths), folder, options)
    if split_size:
        tasks = refuse_clashes([part for task in tasks for part in split(task, split_size)])
    return run_into(folder, tasks, workers, progress)


def decompress_files(
    paths: Sequence[Location], folder: Path, options: Restoring, workers: Workers, progress: Progress | None = None
) -> Report:
    """Decompress every file into a folder; returns a report of all. Raises UserError before anything is done."""
    tasks = pair_up(decompress_task, expand(paths), folder, options)
    return run_into(folder, tasks, workers, progress)


def verify_files(
    originals: Sequence[Location], folder: Path, workers: Workers, progress: Progress | None = None
) -> Report:
    """Compare every file with the one in the folder that `compress_files` made of it; returns a report of all."""
    tasks = [part for task in pair_up(verify_task, expand(originals), folder) for part in find_parts(task)]
    return run_tasks(tasks, workers, None, progress)


def evaluate_many(
    originals: Sequence[Location],
    folder: Path,
    workers: Workers,
    progress: Progress | None = None,
    patterns: Sequence[str] = (),
    units: str | None = None,
) -> Any:
    """Evaluate every file with the one in the folder of its name; returns an `Evaluated` of all files together.

    Its report has the `files`, and how many `failed`; raises UserError where all did.
    """
    tasks = [part for task in pair_up(evaluate_task, expand(originals), folder) for part in find_parts(task)]
    asked = Evaluating(tuple(patterns), units, _common_ranges(tasks, patterns, units))
    total, files = None, list[dict[str, Any]]()
    with closing(workers.outcomes([replace(task, options=asked) for task in tasks])) as outcomes:
        for outcome in _in_order(tasks, outcomes):
            total, error = _add_up(total, outcome)
            files.append({"input": str(outcome.task.path), "output": str(outcome.task.target), "error": error})
            if progress:
                progress(len(files), len(tasks))
    if total is None:
        raise UserError(f"no file can be evaluated: {files[0]['error']}")
    found = total.evaluated()
    found.report.update(files=files, failed=sum(file["error"] is not None for file in files))
    return found


@dataclass(frozen=True)
class Evaluating:
    """What `atlasae evaluate` may be told, and how far the histograms go."""

    patterns: tuple[str, ...]
    units: str | None
    ranges: dict[str, Any]


def _common_ranges(tasks: Sequence[Task], patterns: Sequence[str], units: str | None) -> dict[str, Any]:
    """How far the histograms of all files are to go: as the first jets of the first file with any have it."""
    from atlasae.evaluation import first_ranges  # here, since torch takes its time

    for task in tasks:
        with suppress(AtlasaeError, OSError):  # its own task will tell
            if found := first_ranges(task.path, task.target, patterns, units):
                return found
    return {}


def _in_order(tasks: Sequence[Task], outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The outcomes in the order of the tasks: sums are then the same to the last bit, whoever was first."""
    waiting: dict[Path, Outcome] = {}
    for task in tasks:
        while task.target not in waiting:
            outcome = next(outcomes)
            waiting[outcome.task.target] = outcome
        yield waiting.pop(task.target)


def _add_up(total: Any, outcome: Outcome) -> tuple[Any, str | None]:
    """Add what was tallied of one file; returns the sum, and what was wrong."""
    if outcome.error is not None:
        return total, outcome.error
    if total is None:
        return outcome.report["tallied"], None
    try:
        total.merge(outcome.report["tallied"])
    except UserError as error:
        return total, str(error)
    return total, None


def evaluate_task(task: Task) -> dict[str, Any]:
    """Tally one pair of files."""
    from atlasae.evaluation import tally_files

    asked = task.options
    return {"tallied": tally_files(task.path, task.target, None, asked.patterns, asked.units, asked.ranges)}


def compress_task(task: Task) -> Report:
    """Compress one file."""
    return compress_file(task.path, task.target, task.options, finished=task.finished)


def decompress_task(task: Task) -> Report:
    """Decompress one file."""
    force, salvage = task.options.force, task.options.salvage
    return decompress_file(task.path, task.target, force, salvage=salvage, finished=task.finished)


def verify_task(task: Task) -> Report:
    """Compare one file with its original."""
    return verify_file(task.path, task.target)


def expand(paths: Sequence[Location]) -> list[Location]:
    """The files that are named or that globs fit, each once; raises UserError for a glob that fits none."""
    found: list[Location] = []
    for path in paths:
        if isinstance(path, Remote):
            found += path.matches()
            continue
        if path.is_dir():
            raise UserError(f"'{path}' is a folder: name files in it, such as '{path / '*.root'}'")
        # Not Path.glob, which knows no absolute patterns.
        is_glob = glob.has_magic(str(path)) and not path.exists()
        fitting = sorted(map(Path, glob.glob(str(path), recursive=True))) if is_glob else [path]  # noqa: PTH207
        if not fitting:
            raise UserError(f"no file fits '{path}'")
        found += [file.absolute() for file in fitting if not file.is_dir()]
    return list(dict.fromkeys(found))


def output_name(path: Location) -> str:
    """What the output of a file is called: `a.root` of `a.root`, of `a.root.1` (as on the grid) and of `a.parquet`."""
    if is_table(path):
        return f"{path.stem}.root"
    stem, root, _ = path.name.partition(".root.")
    return f"{stem}.root" if root else path.name


def pair_up(
    work: Callable[[Task], dict[str, Any]], paths: Sequence[Location], folder: Path, options: Any = None
) -> list[Task]:
    """A task for every file, all outputs in one folder; raises UserError where two would have one name."""
    return refuse_clashes([Task(work, path, folder.absolute() / output_name(path), options) for path in paths])


def refuse_clashes(tasks: list[Task]) -> list[Task]:
    """The tasks, if each has an output of its own; else raises UserError."""
    made: dict[Path, Location] = {}
    for task in tasks:
        if task.target in made:
            raise UserError(
                f"'{made[task.target]}' and '{task.path}' would both become '{task.target}': use two folders"
            )
        made[task.target] = task.path
    return tasks


def split(task: Task, size: int) -> list[Task]:
    """Tasks for parts of a ROOT file of about so many bytes each; the task itself where it is no larger.

    A file that can't be read is left whole: its task tells why.
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
    ends = [entries * number // parts for number in range(parts + 1)]
    ranges = [Part(ends[number], ends[number + 1], number, parts) for number in range(parts)]
    return [
        replace(task, target=part_path(task.target, part.number), options=replace(task.options, part=part))
        for part in ranges
    ]


def part_path(target: Path, number: int) -> Path:
    """Where a part of an output goes."""
    return target.with_name(f"{target.stem}.part{number}{target.suffix}")


def find_parts(task: Task) -> list[Task]:
    """Tasks for all parts that the output of a task was cut into, those that are missing too; itself where it was not.

    A first part that can't be read is a task alone, which tells why.
    """
    first = part_path(task.target, 0)
    if task.target.exists() or not first.exists():
        return [task]
    try:
        with open_source(first) as source:
            _, parts = read_contents(source).runs[0].source.get("part", (0, 1))
    except (AtlasaeError, OSError):
        parts = 1
    return [replace(task, target=part_path(task.target, number)) for number in range(parts)]


def run_into(folder: Path, tasks: Sequence[Task], workers: Workers, progress: Progress | None = None) -> Report:
    """Do tasks whose outputs belong in a folder with a journal; it is made where there is none."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is no folder: outputs of many files need one")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return run_tasks(tasks, workers, Journal(folder.absolute()), progress)
    finally:
        remove_leftovers(folder)  # of workers that were killed


def run_tasks(
    tasks: Sequence[Task], workers: Workers, journal: Journal | None, progress: Progress | None = None
) -> Report:
    """Do all tasks but those whose output the journal knows as done; returns the report of all.

    Where it is interrupted, KeyboardInterrupt says how far it came; what the journal has needs not be done again.
    """
    started = time.perf_counter()
    done = {task.target: outcome for task in tasks if (outcome := _known(task, journal))}
    left = [replace(task, journaled=journal is not None) for task in tasks if task.target not in done]
    try:
        with closing(workers.outcomes(left)) as outcomes:
            for outcome in outcomes:
                done[outcome.task.target] = outcome
                if progress:
                    progress(len(done), len(tasks))
    except KeyboardInterrupt:
        more = "; run it again to go on" if journal else ""
        raise KeyboardInterrupt(f"{len(done)} of {len(tasks)} files are done{more}") from None
    notes = journal.notes if journal else []
    return summary([done[task.target] for task in tasks], notes, time.perf_counter() - started)


def _known(task: Task, journal: Journal | None) -> Outcome | None:
    """The outcome of a task that the journal knows as done."""
    if journal is None or task.target.name not in journal.lines:
        return None
    report = None
    with suppress(AtlasaeError, OSError):  # its own task will tell
        report = journal.find(Source.of(task.path, task.digest), task.target.name)
    return None if report is None else Outcome(task, report, reused=True)


def summary(outcomes: Sequence[Outcome], notes: Sequence[str], seconds: float) -> Report:
    """What many files came to: a report for each, how many failed, and sums."""
    files = [
        {"input": str(o.task.path)} | o.report | {"output": str(o.task.target), "error": o.error, "reused": o.reused}
        for o in outcomes
    ]
    good = [o.report for o in outcomes if o.error is None]
    totals = {key: sum(r[key] for r in good) for key in ADDED if good and all(key in r for r in good)}
    if totals.get("jets") and "bytes_jets_out" in totals:
        totals["bytes_per_jet"] = totals["bytes_jets_out"] / totals["jets"]
    facts = {"files": files, "failed": len(outcomes) - len(good), **totals, "notes": notes, "seconds": seconds}
    return Report(facts, terminal.many_page)
