#!/usr/bin/env python
"""Wall time of compress, decompress and verify of one long file on one core and on two.

A long file is made from FILE (scripts/make_large.py). Each job runs in a separate process, in turns, once with one core
and once with two, on which two threads share the work. Measure on an idle machine: wall times count.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import speed
from harness import LAYOUTS, MEGABYTE, Jobs, Table, Tables, long_file, main, take_turns

CORES = (1, 2)


def on_cores(cores: str, job: str, *arguments: str) -> Callable[[], None]:
    """Prepare a job of `speed`, or `verify`, for so many cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    os.environ["ATLASAE_THREADS"] = cores
    return verify(*arguments) if job == "verify" else speed.JOBS[job](*arguments)


def verify(path: str, small: str) -> Callable[[], None]:
    """Prepare `atlasae verify`."""
    from atlasae.compression.verify import verify_file
    from atlasae.native.library import limit_heap

    limit_heap()

    def done() -> None:
        assert not verify_file(path, small)["differences"]

    return done


JOBS: Jobs = {"on cores": on_cores}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Wall and CPU time and memory of each job on one core and on two."""
    (path,) = given.files
    large, jobs = long_file(path, given.jets, given.scratch), dict[str, tuple[object, ...]]()
    for layout in LAYOUTS:
        small, back = folder / f"{layout}.root", folder / "back.root"
        jobs[f"compress, {layout}"] = ("compress", large, small, layout)
        jobs[f"decompress, {layout}"] = ("decompress", small, back, layout)
        jobs[f"verify, {layout}"] = ("verify", large, small)
    each = {(name, cores): f"{name}, {cores}" for name in jobs for cores in CORES}
    found = take_turns({each[one]: ("cores", "on cores", one[1], *jobs[one[0]]) for one in each}, given.times)
    table = Table()
    for name in jobs:
        one, two = (found[each[name, cores]] for cores in CORES)
        table[name] = {"wall on one core, s": one.wall, "on two, s": two.wall, "one / two": one.wall / two.wall}
        table[name] |= {"CPU on one core, s": one.cpu, "CPU on two, s": two.cpu}
        table[name] |= {"peak on one core, MB": one.peak / MEGABYTE, "peak on two, MB": two.peak / MEGABYTE}
    return {"input": {path.name: {"jets": given.jets}}, "wall time": table}


if __name__ == "__main__":
    main(__doc__, measure, cores=0, jets=2_000_000, times=5)
