#!/usr/bin/env python
"""Speed-up by workers: many files compressed by one process, by several, and by local dask workers.

The files are made from FILE, each with its own seed. Each set of workers compresses all files by one command, measured
as a whole, with one thread per process, on all cores. The total bytes of jets must be the same for all sets.
"""

import json

from harness import Given, Tables, main, run_atlasae, take_turns


def crews(workers: int) -> dict[str, list[str]]:
    """The options of each set of workers; the others are compared with the first."""
    several = ["--workers", str(workers)]
    return {"1 process": [], f"{workers} processes": several, f"{workers} dask workers": [*several, "--dask", "local"]}


def measure(given: Given) -> Tables:
    """Make the files and compress them with every set of workers; raises ValueError if the outputs differ in bytes."""
    inputs = [given.long(seed=seed) for seed in range(1, given.number + 1)]
    line = (run_atlasae, "compress", *inputs, "--layout", given.layout, "--json", "-o")
    jobs = {name: (*line, given.folder / name, *options) for name, options in crews(given.workers).items()}
    found = take_turns(jobs, 1)
    if len({json.loads(taken.found)["bytes_jets_out"] for taken in found.values()}) > 1:
        raise ValueError(f"the crews wrote different files: {found}")
    first = found["1 process"]
    rows = {
        name: {"wall, s": taken.wall, "CPU, s": taken.cpu, "times as fast": first.wall / taken.wall}
        for name, taken in found.items()
    }
    return {"input": {given.files[0].name: {"files": len(inputs), "jets a file": given.jets}}, "crews": rows}


if __name__ == "__main__":
    main(__doc__, measure, jets=50_000, number=6, cores=0, workers=2, layout="floats")
