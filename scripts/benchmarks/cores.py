#!/usr/bin/env python
"""Wall time of compress, decompress and verify of one long file on one core and on two.

A long file, and one four times as long, are made from FILE (scripts/make_large.py). Each job runs in a process of its
own, in turns: with one core, with two cores that two threads share, and in two processes at once with a core each. The
last tells what two cores of this machine are worth, as they share caches and memory. Measure on an idle machine: wall
times count.
"""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import speed
from harness import LAYOUTS, MEGABYTE, Given, Job, Row, Table, Tables, Taken, Work, main, take_turns


def verify(path: str, small: str, _: str) -> Work:
    """Prepare `atlasae verify`."""
    from atlasae.compression.verify import verify_file
    from atlasae.native.library import limit_heap

    limit_heap()

    def work() -> None:
        assert not verify_file(path, small)["differences"]

    return work


LONGER = 4
WORKS: dict[str, Callable[..., Work]] = {"compress": speed.compress, "decompress": speed.decompress, "verify": verify}


def prepared(cores: slice, name: str, path: str, target: str, layout: str) -> Work:
    """Prepare one of these for some cores, on which as many threads share the work; a target is a new file."""
    there = sorted(os.sched_getaffinity(0))[cores]
    os.sched_setaffinity(0, there)
    os.environ["ATLASAE_THREADS"] = str(len(there))
    if name != "verify":
        Path(target).unlink(missing_ok=True)
    return WORKS[name](path, target, layout)


def on_cores(cores: str, *job: str) -> Work:
    """Prepare a job for so many cores."""
    return prepared(slice(int(cores)), *job)


def twice(name: str, path: str, target: str, layout: str) -> Work:
    """Prepare a job and the same in another process, each for one core."""
    fork = multiprocessing.get_context("fork")
    ready = fork.Barrier(2)

    def wait_and_work() -> None:
        work = prepared(slice(1, 2), name, path, target if name == "verify" else f"{target}.root", layout)
        ready.wait()
        work()

    other = fork.Process(target=wait_and_work)
    other.start()
    work = prepared(slice(1), name, path, target, layout)
    ready.wait()

    def both() -> None:
        work()
        other.join()
        assert other.exitcode == 0

    return both


def jobs_of(large: Path, folder: Path) -> dict[str, Job]:
    """The jobs by name, each in three ways."""
    jobs: dict[str, Job] = {}
    for layout in LAYOUTS:
        small, back = folder / f"{layout}.root", folder / "back.root"
        places = {"compress": (large, small), "decompress": (small, back), "verify": (large, small)}
        for name, paths in places.items():
            jobs |= {f"{name}, {layout}, {cores}": (on_cores, cores, name, *paths, layout) for cores in (1, 2)}
            jobs[f"{name}, {layout}, twice"] = (twice, name, *paths, layout)
    return jobs


def row_of(one: Taken, two: Taken, twice: Taken) -> Row:
    """What a job took on one core, on two, and twice at once."""
    row = {"wall on one core, s": one.wall, "on two, s": two.wall, "one / two": one.wall / two.wall}
    row |= {"two processes, s": twice.wall, "2 x one / two processes": 2 * one.wall / twice.wall}
    row |= {"CPU on one core, s": one.cpu, "CPU on two, s": two.cpu}
    return row | {"peak on one core, MB": one.peak / MEGABYTE, "peak on two, MB": two.peak / MEGABYTE}


def rows_of(given: Given, jets: int) -> Table:
    """Wall and CPU time and memory of each job on a file with so many jets."""
    found = take_turns(jobs_of(given.long(jets), given.folder), given.times)
    names = dict.fromkeys(name.rpartition(", ")[0] for name in found)
    return {name: row_of(*(found[f"{name}, {way}"] for way in ("1", "2", "twice"))) for name in names}


def measure(given: Given) -> Tables:
    """Tables of both files."""
    longer = f"wall time, {LONGER} times as many jets"
    return {
        "input": given.input,
        "wall time": rows_of(given, given.jets),
        longer: rows_of(given, LONGER * given.jets),
    }


if __name__ == "__main__":
    main(__doc__, measure, cores=0, jets=2_000_000, times=3)
