#!/usr/bin/env python
"""Wall time of compress, decompress and verify of one long file on one core and on two.

A long file, and one four times as long, are made from FILE (scripts/make_large.py). Each job runs in a process of its
own, in turns, once with one core and once with two, on which two threads share the work. Measure on an idle machine:
wall times count.
"""

import os
from collections.abc import Callable
from pathlib import Path

import speed
from harness import LAYOUTS, MEGABYTE, Given, Job, Row, Table, Tables, Taken, Work, main, take_turns


def verify(path: str, small: str) -> Work:
    """Prepare `atlasae verify`."""
    from atlasae.compression.verify import verify_file
    from atlasae.native.library import limit_heap

    limit_heap()

    def work() -> None:
        assert not verify_file(path, small)["differences"]

    return work


LONGER = 4
WORKS: dict[str, Callable[..., Work]] = {"compress": speed.compress, "decompress": speed.decompress, "verify": verify}


def on_cores(cores: str, name: str, *arguments: str) -> Work:
    """Prepare one of these for so many cores, on which as many threads share the work."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    os.environ["ATLASAE_THREADS"] = cores
    return WORKS[name](*arguments)


def jobs_of(large: Path, folder: Path) -> dict[str, Job]:
    """The jobs by name, once on one core and once on two."""
    jobs: dict[str, Job] = {}
    for layout in LAYOUTS:
        small, back = folder / f"{layout}.root", folder / "back.root"
        for cores in (1, 2):
            jobs[f"compress, {layout}, {cores}"] = (on_cores, cores, "compress", large, small, layout)
            jobs[f"decompress, {layout}, {cores}"] = (on_cores, cores, "decompress", small, back, layout)
            jobs[f"verify, {layout}, {cores}"] = (on_cores, cores, "verify", large, small)
    return jobs


def row_of(one: Taken, two: Taken) -> Row:
    """What a job took on one core and on two."""
    row = {"wall on one core, s": one.wall, "on two, s": two.wall, "one / two": one.wall / two.wall}
    row |= {"CPU on one core, s": one.cpu, "CPU on two, s": two.cpu}
    return row | {"peak on one core, MB": one.peak / MEGABYTE, "peak on two, MB": two.peak / MEGABYTE}


def rows_of(given: Given, jets: int) -> Table:
    """Wall and CPU time and memory of each job on a file with so many jets, on one core and on two."""
    found = take_turns(jobs_of(given.long(jets), given.folder), given.times)
    names = dict.fromkeys(name.rpartition(", ")[0] for name in found)
    return {name: row_of(found[f"{name}, 1"], found[f"{name}, 2"]) for name in names}


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
