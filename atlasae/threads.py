"""Threads: how many may be used, and work that several of them share, with results in the order of the work."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from atlasae.errors import NO_THREAD, UserError

THREADS, MOST_THREADS = "ATLASAE_THREADS", 1024
OF_ALL = "OMP_NUM_THREADS"  # which batch systems and dask set to the cores that a job or a worker may use
_USUAL = 2  # threads without ATLASAE_THREADS: each takes memory for a chunk, and a third would mostly wait

Item = TypeVar("Item")
Result = TypeVar("Result")


def given_threads() -> int | None:
    """The number in ATLASAE_THREADS, or None without; raises UserError unless it is 1 to 1024."""
    text = os.environ.get(THREADS)
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise UserError(f"{THREADS}='{text}' is no number of threads: give one from 1 to {MOST_THREADS}")
    return int(text)


def cores() -> int:
    """The cores that this process may use: those of its affinity, and no more than OMP_NUM_THREADS."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = os.environ.get(OF_ALL, "")
    return min(there, int(text)) if text.isdecimal() and int(text) else there


def threads() -> int:
    """The threads that share the work on a file: ATLASAE_THREADS, else two, or one on one core; raises UserError."""
    return given_threads() or min(cores(), _USUAL)


def begin(pool: ThreadPoolExecutor, work: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Have a thread of a pool work on an item; in a thread that outlives the main one, which gets no others, do it."""
    try:
        return pool.submit(work, item)
    except RuntimeError as ending:
        if str(ending) == NO_THREAD:
            raise
        done = Future[Result]()
        try:
            done.set_result(work(item))
        except BaseException as error:
            done.set_exception(error)
        return done


@contextmanager
def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], shared: bool = True
) -> Iterator[Iterator[Result]]:
    """The results of work on items, in their order, while `threads` do it, of which the one that asks for them is one.

    So as many items less one are worked on before they are asked for, the first at once. At the end of the `with` block
    what is begun is finished, and no more. Where there is one thread, or little to be `shared`, work is done when asked
    for.
    """
    number = threads() if shared else 1
    if number == 1:
        yield map(work, items)
        return
    pool, rest = ThreadPoolExecutor(number), iter(items)
    try:
        yield _drawn(pool, work, deque(begin(pool, work, item) for item in islice(rest, number - 1)), rest)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do work in a thread while the `with` block runs, or behind that in one thread; its error is raised at the end."""
    with side_by_side(lambda one: one(), [work]) as done:
        yield
        deque(done, maxlen=0)


def _drawn(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], begun: deque[Future[Result]], rest: Iterator[Item]
) -> Iterator[Result]:
    for item in rest:
        begun.append(begin(pool, work, item))
        del item  # it may be large, and is no longer needed when its work is done
        yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
