#!/usr/bin/env python
"""What workers bring: many files compressed by one process, by several, and by dask workers made here.

The files are made of FILE, each with a seed of its own. Every crew compresses them all with the command line, from its
start to its end, with one thread for each process; the outputs must be the same number of bytes of jets, whoever made
them. Crews take turns, on all cores.
"""

import argparse
import json
from pathlib import Path

from harness import COMMAND, Tables, long_file, main, take_turns


def crews(workers: int) -> dict[str, list[str]]:
    """The options of everyone who is measured; the first is what the others are compared with."""
    several = ["--workers", str(workers)]
    return {"1 process": [], f"{workers} processes": several, f"{workers} dask workers": [*several, "--dask", "local"]}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Make the files and let every crew compress them; raises ValueError where they wrote different files."""
    (path,) = given.files
    inputs = [long_file(path, given.jets, given.scratch, seed) for seed in range(1, given.number + 1)]
    line = (*COMMAND, "compress", *inputs, "--layout", given.layout, "--json", "-o")
    jobs = {name: (*line, folder / name, *options) for name, options in crews(given.workers).items()}
    found = take_turns(jobs, 1)
    if len({json.loads(taken.found)["bytes_jets_out"] for taken in found.values()}) > 1:
        raise ValueError(f"the crews wrote different files: {found}")
    alone = found[next(iter(jobs))].wall
    rows = {
        name: {"wall, s": taken.wall, "CPU, s": taken.cpu, "times as fast": alone / taken.wall}
        for name, taken in found.items()
    }
    return {"input": {path.name: {"files": len(inputs), "jets a file": given.jets}}, "crews": rows}


if __name__ == "__main__":
    main(__doc__, measure, jets=50_000, number=6, cores=0, workers=2, layout="floats")
