"""Workers: one task per file, done by local processes or by dask workers."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from multiprocessing import resource_tracker
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from atlasae.commands.journal import Entry, Journal, Origin, add_entry, hex_of
from atlasae.errors import ENDING, UserError, explain, once
from atlasae.files.checksums import checksum_bytes
from atlasae.files.remote import Location
from atlasae.native.library import limit_heap
from atlasae.report import counted
from atlasae.threads import OF_ALL, cores

LOCAL = "local"  # `--dask local`: a cluster of this process
ATTEMPTS = 3  # to do a task whose worker dies
_OF_TERMINAL = {*ENDING} - {signal.SIGTERM}  # signals that reach parent and workers alike
# By default local dask workers trim memory all the time and profile themselves, which takes 50 % more CPU time.
LOCAL_CONFIG = {
    "distributed.nanny.pre-spawn-environ": dict.fromkeys((OF_ALL, "OPENBLAS_NUM_THREADS"), 1),
    "distributed.worker.profile.enabled": False,
}


Work = Callable[["Task"], Mapping[str, Any]]
Recognise = Callable[["Task"], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Task:
    """What to do with one file: a function that can be pickled and takes this task, and its arguments."""

    work: "Work"
    path: Location
    target: Path
    options: Any = None
    recognise: "Recognise | None" = None  # the report of an existing output, from its content
    journaled: bool = False  # whether the target's folder has a journal
    source: Origin | None = None  # set when a journaled task begins

    def finished(self, made: Path, report: Mapping[str, Any]) -> None:
        """Write an output to the journal before it is renamed: after a crash, its bytes show that it is complete."""
        if self.source:
            add_entry(self.target.parent, Entry(self.source, self.target.name, hex_of(made), report))

    @property
    def digest(self) -> str:
        """A digest of all that affects the output except the input; raises OSError where a file it needs is missing."""
        options = getattr(self.options, "digest", self.options)
        facts = f"{self.work.__name__} {options} {version('atlasae')}"
        return f"{checksum_bytes(facts.encode()):016x}"


@dataclass(frozen=True)
class Outcome:
    """The result of a task: a report or an error."""

    task: Task
    report: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    reused: bool = False


@dataclass(frozen=True)
class Workers:
    """Who does the tasks: `number` local processes, or dask workers at an address or `local`."""

    number: int = 1
    dask: str | None = None

    def outcomes(self, tasks: Sequence[Task]) -> Generator[Outcome, None, None]:
        """Do all tasks; yields outcomes in the order in which they finish."""
        if self.dask is None:
            return _in_processes(tasks, self.number)
        return _on_dask(tasks, self.dask, self.number)


def perform(task: Task) -> Outcome:
    """Do one task in this process; all errors become part of the outcome, because repeating would not help."""
    try:
        if task.journaled:
            task = replace(task, source=Origin.of(task.path, task.digest))
        if report := _made_before(task):
            return Outcome(task, report, reused=True)
        report = task.work(task)
        if problems := report.get("differences"):
            return Outcome(task, report, f"'{task.target}': {counted(len(problems), 'differences')}: {problems[0]}")
    except Exception as error:
        return Outcome(task, error=explain(error)[0])
    return Outcome(task, report)


def _made_before(task: Task) -> Mapping[str, Any] | None:
    """The report of an existing output, complete because a worker died after writing it; else None.

    If the journal lost its line, the output is recognised by its content and gets another line.
    """
    if task.source is None or getattr(task.options, "force", False) or not task.target.exists():
        return None
    journal = Journal(task.target.parent)
    if task.target.name in journal.lines or task.recognise is None:
        return journal.find(task.source, task.target.name)
    report = task.recognise(task)
    if report is not None:
        task.finished(task.target, report)
    return report


# --- processes on this machine


def _in_processes(tasks: Sequence[Task], number: int) -> Generator[Outcome, None, None]:
    """Do tasks in `number` processes, each with a thread of its own.

    If a process dies, only its own task is affected.
    """
    waiting, outcomes = SimpleQueue[Task](), SimpleQueue[Outcome]()
    for task in tasks:
        waiting.put(task)
    number = min(number, len(tasks))
    keepers = [_Keeper(waiting, outcomes, max(1, cores() // number)) for _ in range(number)]
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
    """Feeds tasks to one worker process, which may use so many cores, and starts another when it dies."""

    def __init__(self, waiting: SimpleQueue[Task], outcomes: SimpleQueue[Outcome], share: int) -> None:
        super().__init__()
        self.waiting, self.outcomes, self.share = waiting, outcomes, share
        self.stopping = threading.Event()
        self.pool: ProcessPoolExecutor | None = None
        self.pid: int | None = None

    def run(self) -> None:
        """Do waiting tasks until there are none."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINAL)  # workers inherit the mask while they start
        resource_tracker.ensure_running()  # which inherits it, too, and unblocks SIGINT here
        signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINAL)
        try:
            while not self.stopping.is_set():
                self.outcomes.put(self._try(self.waiting.get_nowait()))
        except Empty:
            pass
        finally:
            self._let_go()

    def stop(self) -> None:
        """End the worker, which first removes its temporary files."""
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
            except Exception as error:  # from pickling, say: the caller waits for an outcome
                return Outcome(task, error=explain(error)[0])
        return Outcome(task, error=f"'{task.path}': its worker was killed {ATTEMPTS} times: is there enough memory?")

    def _worker(self) -> ProcessPoolExecutor:
        if self.pool is None:
            spawn = multiprocessing.get_context("spawn")  # a fork would copy locks held by other threads
            self.pool = ProcessPoolExecutor(1, spawn, _prepare_worker, (self.share,))
            self.pid = self.pool.submit(os.getpid).result()
        return self.pool

    def _let_go(self) -> None:
        pool, self.pool, self.pid = self.pool, None, None
        if pool:
            pool.shutdown()


def _prepare_worker(share: int) -> None:
    """Let a worker use its share of the cores, end with its parent or on SIGTERM, and ignore what ends the parent.

    Ctrl-C and a terminal that is closed reach both, and the parent ends its workers.
    """
    os.environ[OF_ALL] = str(share)
    for number in _OF_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, once(SystemExit))
    limit_heap()
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _perform_here(task: Task) -> Outcome:
    try:
        return perform(task)
    except SystemExit:  # temporary files are removed by now
        os._exit(1)


# --- dask


def _on_dask(tasks: Sequence[Task], address: str, number: int) -> Generator[Outcome, None, None]:
    """Do tasks as futures of a dask cluster, which repeats those of dead workers."""
    distributed = _library()
    with _client(distributed, address, number) as client:
        # pure=False: a task that failed is done again when submitted again.
        futures = {client.submit(perform, task, retries=ATTEMPTS - 1, pure=False): task for task in tasks}
        for future in distributed.as_completed(futures):
            error = future.exception()
            yield Outcome(futures[future], error=_lost(error)) if error else future.result()


@contextmanager
def _client(distributed: Any, address: str, number: int) -> Iterator[Any]:
    """A client of the cluster at an address, or of a `local` one that ends with it; raises UserError."""
    with ExitStack() as stack:
        if address == LOCAL:
            address = stack.enter_context(_local_cluster(distributed, number))
        try:
            yield stack.enter_context(distributed.Client(address))
        except (OSError, ValueError) as error:
            raise UserError(f"no dask scheduler at '{address}': {error}; give its address, or `local`") from error


@contextmanager
def _local_cluster(distributed: Any, number: int) -> Iterator[Any]:
    """A local cluster of workers with one thread each."""
    from dask import config

    with (
        config.set(LOCAL_CONFIG),
        distributed.LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": ":0"},  # else all try the same port
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UserError("--dask needs dask.distributed: pip install 'atlasae[distributed]'") from error
    return distributed


def _lost(error: BaseException) -> str:
    return f"dask gave up: {type(error).__name__}: {error}"
