#!/usr/bin/env python
"""Measure what workers bring: many files compressed by one process, by several, and by dask workers made here.

    python scripts/benchmark_many.py [IN.root] [--files 40] [--jets 100000] [--workers 2] [--layout floats] [--json]

The files are made from IN (data/jets.root unless given) by scripts/make_large.py, each with a seed of its own, in a
temporary folder. Every crew compresses them all with the command line, from its start to its end; the outputs must be
the same number of bytes of jets, whoever made them. Crews take turns, and the best of --repeat is taken of each.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from make_large import make_large
from measuring import ATLASAE, cpu_seconds

SAMPLE = Path(__file__).parents[1] / "data" / "jets.root"


def crews(workers: int) -> dict[str, list[str]]:
    """The options of everyone who is measured; the first is what the others are compared with."""
    several = ["--workers", str(workers)]
    return {"1 process": [], f"{workers} processes": several, f"{workers} dask workers": [*several, "--dask", "local"]}


def compress_all(inputs: list[Path], folder: Path, options: list[str]) -> tuple[float, float, int]:
    """Compress all files into a new folder; returns seconds, CPU seconds, and the bytes that the jets take."""
    started, used = time.perf_counter(), cpu_seconds()
    command = [*ATLASAE, "compress", *map(str, inputs), "-o", str(folder), "--json", *options]
    # A thread for each process, so that crews differ in workers alone.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | threads)
    seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return seconds, cpu_seconds() - used, int(json.loads(found.stdout)["bytes_jets_out"])


def measure(path: Path, files: int, jets: int, workers: int, more: list[str], repeat: int) -> dict[str, Any]:
    """Make the files and let every crew compress them."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs = [Path(scratch) / f"{number:03}.root" for number in range(files)]
        for seed, target in enumerate(inputs, 1):
            make_large(path, target, jets, seed)
        rows: dict[str, list[tuple[float, float, int]]] = {name: [] for name in crews(workers)}
        for _ in range(repeat):
            for name, options in crews(workers).items():
                rows[name].append(compress_all(inputs, Path(scratch) / "out", [*options, *more]))
    if len({size for row in rows.values() for *_, size in row}) > 1:
        raise SystemExit(f"the crews wrote different files: {rows}")
    seconds = {name: min(took for took, *_ in row) for name, row in rows.items()}
    cpu = {name: min(used for _, used, _ in row) for name, row in rows.items()}
    first = next(iter(seconds.values()))
    ratios = {name: first / took for name, took in seconds.items()}
    return {"files": files, "jets": jets, "seconds": seconds, "cpu_seconds": cpu, "ratios": ratios}


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--jets", type=int, default=100_000, help="in every file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--layout", default="floats")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    more = ["--layout", args.layout]
    found = measure(args.input, args.files, args.jets, args.workers, more, args.repeat)
    if args.json:
        print(json.dumps(found))
        return
    print(f"{args.files} files of {args.jets:,} jets, {args.layout}")
    for name, seconds in found["seconds"].items():
        used = f"{found['cpu_seconds'][name]:.1f} s CPU"
        print(f"  {name:16}{seconds:7.1f} s ({used})  {found['ratios'][name]:.2f} x as fast as 1 process")


if __name__ == "__main__":
    main()
