"""Many files on many workers: a task for every file, done by processes here or by dask workers anywhere."""

import glob
import logging
import multiprocessing
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from atlasae.columns import checksum_bytes, checksum_file
from atlasae.container import read_contents
from atlasae.errors import AtlasaeError, UserError, explain
from atlasae.journal import Entry, Journal, Source
from atlasae.pipeline import compress_file, decompress_file
from atlasae.planning import Options, Part, open_for
from atlasae.restoring import Progress
from atlasae.rootio import open_source
from atlasae.tables import is_table
from atlasae.targets import remove_leftovers
from atlasae.verification import verify_file

LOCAL = "local"  # a dask cluster of this process
FILE = "$(file)"  # a line of an HTCondor queue
ATTEMPTS = 3  # how often a worker may die of one file
ADDED = ("entries", "jets", "exact_jets", "bytes_jets_in", "bytes_jets_out")  # what reports add up to

Report = dict[str, Any]


@dataclass(frozen=True)
class Restoring:
    """What `atlasae decompress` may be told."""

    salvage: bool = False
    force: bool = False


@dataclass(frozen=True)
class Task:
    """What is to be done with one file: a function of this task that can be pickled, and what it needs to know."""

    work: Callable[["Task"], Report]
    path: Path
    target: Path
    options: Any = None

    @property
    def digest(self) -> str:
        """A digest of all that decides what comes out, but the input itself; raises OSError of a file it needs."""
        named = [getattr(self.options, name, None) for name in ("model", "variables")]
        files = [Path(name).read_bytes() for name in named if name and Path(name).is_file()]
        options = replace(self.options, force=False) if hasattr(self.options, "force") else self.options
        facts = f"{self.work.__name__} {options} {version('atlasae')}"
        return f"{checksum_bytes(facts.encode(), *files):016x}"


@dataclass(frozen=True)
class Outcome:
    """What became of a task: a report, or why there is none; `entry` is for the journal."""

    task: Task
    report: Report = field(default_factory=dict)
    error: str | None = None
    entry: Entry | None = None
    reused: bool = False


@dataclass(frozen=True)
class Workers:
    """Who works: so many processes on this machine, or dask workers, of an address or `local` ones."""

    number: int = 1
    dask: str | None = None

    def outcomes(self, tasks: Sequence[Task]) -> Generator[Outcome, None, None]:
        """Do all tasks; the outcomes come as they are done."""
        if self.dask is None:
            return _in_processes(tasks, self.number)
        return _on_dask(tasks, self.dask, self.number)


# --- commands on many files


def compress_files(
    paths: Sequence[Path],
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
    paths: Sequence[Path], folder: Path, options: Restoring, workers: Workers, progress: Progress | None = None
) -> Report:
    """Decompress every file into a folder; returns a report of all. Raises UserError before anything is done."""
    tasks = pair_up(decompress_task, expand(paths), folder, options)
    return run_into(folder, tasks, workers, progress)


def verify_files(originals: Sequence[Path], folder: Path, workers: Workers, progress: Progress | None = None) -> Report:
    """Compare every file with the one in the folder that `compress_files` made of it; returns a report of all."""
    tasks = [part for task in pair_up(verify_task, expand(originals), folder) for part in find_parts(task)]
    return run_tasks(tasks, workers, None, progress)


def evaluate_many(
    originals: Sequence[Path],
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
    total, files = None, list[Report]()
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
        with suppress(AtlasaeError):  # its own task will tell
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


def evaluate_task(task: Task) -> Report:
    """Tally one pair of files."""
    from atlasae.evaluation import tally_files

    asked = task.options
    return {"tallied": tally_files(task.path, task.target, None, asked.patterns, asked.units, asked.ranges)}


def compress_task(task: Task) -> Report:
    """Compress one file."""
    return compress_file(task.path, task.target, task.options)


def decompress_task(task: Task) -> Report:
    """Decompress one file."""
    return decompress_file(task.path, task.target, task.options.force, salvage=task.options.salvage)


def verify_task(task: Task) -> Report:
    """Compare one file with its original."""
    return verify_file(task.path, task.target)


def expand(paths: Sequence[Path]) -> list[Path]:
    """The files that are named or that globs fit, each once; raises UserError for a glob that fits none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            raise UserError(f"'{path}' is a folder: name files in it, such as '{path / '*.root'}'")
        # Not Path.glob, which knows no absolute patterns.
        is_glob = glob.has_magic(str(path)) and not path.exists()
        fitting = sorted(map(Path, glob.glob(str(path), recursive=True))) if is_glob else [path]  # noqa: PTH207
        if not fitting:
            raise UserError(f"no file fits '{path}'")
        found += [file for file in fitting if not file.is_dir()]
    return list(dict.fromkeys(path.absolute() for path in found))


def output_name(path: Path) -> str:
    """What the output of a file is called: `a.root` of `a.root`, of `a.root.1` (as on the grid) and of `a.parquet`."""
    if is_table(path):
        return f"{path.stem}.root"
    stem, root, _ = path.name.partition(".root.")
    return f"{stem}.root" if root else path.name


def pair_up(work: Callable[[Task], Report], paths: Sequence[Path], folder: Path, options: Any = None) -> list[Task]:
    """A task for every file, all outputs in one folder; raises UserError where two would have one name."""
    return refuse_clashes([Task(work, path, folder.absolute() / output_name(path), options) for path in paths])


def refuse_clashes(tasks: list[Task]) -> list[Task]:
    """The tasks, if each has an output of its own; else raises UserError."""
    made: dict[Path, Path] = {}
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
    parts = -(-task.path.stat().st_size // size) if task.path.is_file() and not is_table(task.path) else 1
    try:
        with open_for(task.path, task.options) if parts > 1 else nullcontext() as opened:
            entries = opened.events.entries if opened else 0
    except AtlasaeError:
        entries = 0
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
    except AtlasaeError:
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
    left = [task for task in tasks if task.target not in done]
    try:
        with closing(workers.outcomes(left)) as outcomes:
            for outcome in outcomes:
                done[outcome.task.target] = outcome
                if journal and outcome.entry:
                    journal.add(outcome.entry)
                if progress:
                    progress(len(done), len(tasks))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(done)} of {len(tasks)} files are done; run it again to go on") from None
    return summary([done[task.target] for task in tasks], time.perf_counter() - started)


def _known(task: Task, journal: Journal | None) -> Outcome | None:
    """The outcome of a task that the journal knows as done."""
    if journal is None or not task.path.exists():
        return None
    report = journal.find(Source.of(task.path, task.digest), task.target.name)
    return None if report is None else Outcome(task, report, reused=True)


def perform(task: Task) -> Outcome:
    """Do one task, wherever this is; what is wrong with its file is part of the outcome, as nobody need try again."""
    try:
        source = Source.of(task.path, task.digest)
        report = task.work(task)
        if problems := report.get("differences"):
            return Outcome(task, report, f"'{task.target}': {len(problems)} differences: {problems[0]}")
        made = checksum_file(task.target)
    except Exception as error:
        return Outcome(task, error=explain(error)[0])
    return Outcome(task, report, entry=Entry(source, task.target.name, f"{made:016x}", report))


def summary(outcomes: Sequence[Outcome], seconds: float) -> Report:
    """What many files came to: a report for each, how many failed, and sums."""
    files = [
        {"input": str(o.task.path), "output": str(o.task.target), "error": o.error, "reused": o.reused} | o.report
        for o in outcomes
    ]
    good = [o.report for o in outcomes if o.error is None]
    totals = {key: sum(r[key] for r in good) for key in ADDED if good and all(key in r for r in good)}
    if totals.get("jets") and "bytes_jets_out" in totals:
        totals["bytes_per_jet"] = totals["bytes_jets_out"] / totals["jets"]
    return {"files": files, "failed": len(outcomes) - len(good), **totals, "seconds": seconds}


# --- processes on this machine


def _in_processes(tasks: Sequence[Task], number: int) -> Generator[Outcome, None, None]:
    """Do tasks in so many processes, each with a thread that looks after it alone.

    When one dies, nobody but its own task is to blame, and no other is harmed.
    """
    waiting, outcomes = SimpleQueue[Task](), SimpleQueue[Outcome]()
    for task in tasks:
        waiting.put(task)
    keepers = [_Keeper(waiting, outcomes) for _ in range(min(number, len(tasks)))]
    try:
        for keeper in keepers:
            keeper.start()
        for _ in tasks:
            yield outcomes.get()
    except BaseException:
        for keeper in keepers:
            keeper.stop()
        raise
    finally:
        for keeper in keepers:
            keeper.join()


class _Keeper(threading.Thread):
    """Gives tasks to one worker process, and gets another process when it dies."""

    def __init__(self, waiting: SimpleQueue[Task], outcomes: SimpleQueue[Outcome]) -> None:
        super().__init__()
        self.waiting, self.outcomes = waiting, outcomes
        self.stopping = threading.Event()
        self.pool: ProcessPoolExecutor | None = None
        self.pid: int | None = None

    def run(self) -> None:
        """Do what waits, until nothing does."""
        try:
            while not self.stopping.is_set():
                self.outcomes.put(self._try(self.waiting.get_nowait()))
        except Empty:
            pass
        finally:
            self._let_go()

    def stop(self) -> None:
        """End the worker, whatever it does: it removes its temporary files first."""
        self.stopping.set()
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def _try(self, task: Task) -> Outcome:
        for _ in range(ATTEMPTS):
            try:
                worker = self._worker()
                if self.stopping.is_set():
                    break
                return worker.submit(_perform_here, task).result()
            except BrokenProcessPool:
                self._let_go()
            except Exception as error:  # of pickling, say: without an outcome somebody would wait for ever
                return Outcome(task, error=explain(error)[0])
        return Outcome(task, error=f"'{task.path}': its worker was killed {ATTEMPTS} times: is there enough memory?")

    def _worker(self) -> ProcessPoolExecutor:
        if self.pool is None:
            spawn = multiprocessing.get_context("spawn")  # a fork would take locks of other threads along
            self.pool = ProcessPoolExecutor(1, spawn, _prepare_worker)
            self.pid = self.pool.submit(os.getpid).result()
        return self.pool

    def _let_go(self) -> None:
        pool, self.pool, self.pid = self.pool, None, None
        if pool:
            pool.shutdown()


def _prepare_worker() -> None:
    """Let a worker end with its parent, or when that says so, and not by Ctrl-C, which the parent hears too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(1)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _perform_here(task: Task) -> Outcome:
    try:
        return perform(task)
    except SystemExit:  # what was unfinished is removed by now
        os._exit(1)


# --- dask


def _on_dask(tasks: Sequence[Task], address: str, number: int) -> Generator[Outcome, None, None]:
    """Do tasks as futures of a cluster; it gives those of a worker that died to another."""
    distributed = _library()
    with _client(distributed, address, number) as client:
        # Not pure: a task that failed is to be done when it is asked for again.
        futures = {client.submit(perform, task, retries=ATTEMPTS - 1, pure=False): task for task in tasks}
        for future in distributed.as_completed(futures):
            error = future.exception()
            yield Outcome(futures[future], error=_lost(error)) if error else future.result()


@contextmanager
def _client(distributed: Any, address: str, number: int) -> Iterator[Any]:
    """A client of the cluster at an address, or of a `local` one that lives as long; raises UserError."""
    with ExitStack() as stack:
        if address == LOCAL:
            address = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=number, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
                )
            )
        try:
            yield stack.enter_context(distributed.Client(address))
        except (OSError, ValueError) as error:
            raise UserError(f"no dask scheduler at '{address}': {error}; give its address, or `local`") from error


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UserError("--dask needs dask.distributed: pip install 'atlasae[distributed]'") from error
    return distributed


def _lost(error: BaseException) -> str:
    return f"dask gave up: {type(error).__name__}: {error}"


# --- batch systems


def batch_script(
    scheduler: str, program: Sequence[str], before: Sequence[str], after: Sequence[str], paths: Sequence[Path]
) -> str:
    """A submit file that runs `program before PATH after` for every file, as a job each, from this folder."""
    if scheduler == "slurm":
        return _slurm_script([*program, *before], after, paths)
    return _condor_script(program, [*before, FILE, *after], paths)


def _slurm_script(before: Sequence[str], after: Sequence[str], paths: Sequence[Path]) -> str:
    return "\n".join([
        "#!/bin/bash",
        "#SBATCH --job-name=atlasae",
        f"#SBATCH --array=0-{len(paths) - 1}",
        f"#SBATCH --chdir={shlex.quote(str(Path.cwd()))}",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=1",
        "files=(",
        *(f"  {shlex.quote(str(path))}" for path in paths),
        ")",
        f'exec {shlex.join(before)} "${{files[$SLURM_ARRAY_TASK_ID]}}" {shlex.join(after)}'.rstrip(),
    ])  # fmt: skip


def _condor_script(program: Sequence[str], arguments: Sequence[str], paths: Sequence[Path]) -> str:
    executable, *more = program
    for text in (*program, *arguments, *map(str, paths)):
        if set(text) & set("\"'\n$") and text != FILE:
            raise UserError(f"'{text}' can't be in a submit file of HTCondor, for its quotes or dollars: rename it")
    quoted = " ".join(f"'{text}'" for text in (*more, *arguments))
    return "\n".join([
        f"executable = {executable}",
        f'arguments = "{quoted}"',
        f"initialdir = {Path.cwd()}",
        "log = atlasae.$(ClusterId).log",
        "output = atlasae.$(ClusterId).$(ProcId).out",
        "error = atlasae.$(ClusterId).$(ProcId).err",
        "request_cpus = 1",
        "queue file from (",
        *map(str, paths),
        ")",
    ])  # fmt: skip
