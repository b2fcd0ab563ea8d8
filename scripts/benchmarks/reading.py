#!/usr/bin/env python
"""Measure atlasae.open: one branch of a million jets beside what decompress takes to decode it, and its memory.

    python scripts/benchmark_reading.py [IN.root] [--jets 1500000] [--json]

A long file and one ten times as long are made from IN (data/jets.root unless given) by scripts/make_large.py, and
compressed in both layouts. Decompress's own decoding is its loop over chunks (read, check, decode every branch of the
jets) with nothing written. Peak memory is that of a process that iterates over the file in steps of 2 MB;
the shorter file has more jets than a chunk, which memory holds one of.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import peak_bytes

# Only the standard library here: a process inherits the peak memory of the one that starts it.

MAKE_LARGE = Path(__file__).parent / "make_large.py"
SAMPLE = Path(__file__).parents[1] / "data" / "jets.root"
TIMES = 5  # of which the shortest counts
LONGER = 10
STEP = "2 MB"


def read_seconds(path: Path) -> dict[str, float]:
    """The shortest of some times that one branch takes: decoded by decompress's loop, and asked of `atlasae.open`."""
    import atlasae
    from atlasae.container import read_contents
    from atlasae.restoring import restored_events, silent
    from atlasae.rootio import open_source

    def decode() -> None:
        with open_source(path) as source:
            for _ in restored_events(source, read_contents(source), silent):
                pass

    def ask() -> None:
        with atlasae.open(path) as tree:
            tree.arrays(tree.keys(filter_name="*pt")[0])

    found: dict[str, list[float]] = {"decompress": [], "open": []}
    for _ in range(TIMES):  # in turn, so that a slow moment is shared
        for name, work in (("decompress", decode), ("open", ask)):
            started = time.perf_counter()
            work()
            found[name].append(time.perf_counter() - started)
    return {name: min(seconds) for name, seconds in found.items()}


def iterate(path: Path) -> dict[str, float]:
    """Peak memory of iterating over one branch."""
    import atlasae

    with atlasae.open(path) as tree:
        jets = sum(int(step.nbytes) for step in tree.iterate(filter_name="*pt", step_size=STEP))
    return {"peak": peak_bytes() / 1e6, "bytes": jets}


def apart(job: str, path: Path) -> dict[str, float]:
    """What a job finds in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--job", job, path], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def measure(path: Path, jets: int, folder: Path) -> list[dict[str, Any]]:
    """The rows of the table: a layout each."""
    rows = []
    files = {times: folder / f"{times}.root" for times in (1, LONGER)}
    for times, large in files.items():
        subprocess.run([sys.executable, MAKE_LARGE, path, large, "--jets", str(times * jets)], check=True)
    for layout in ("floats", "packed"):
        small = {}
        for times, large in files.items():
            small[times] = folder / f"{layout}{times}.root"
            atlasae = Path(sys.executable).with_name("atlasae")
            options = ["--layout", layout, "--only-jets", "--quiet"]
            subprocess.run([atlasae, "compress", large, small[times], *options], check=True)
        peaks = [apart("iterate", small[times])["peak"] for times in files]
        rows.append({"layout": layout} | apart("read_seconds", small[1]) | {"peak": peaks[0], "peak_longer": peaks[1]})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--jets", type=int, default=1_500_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--job", choices=["read_seconds", "iterate"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        print(json.dumps({"read_seconds": read_seconds, "iterate": iterate}[given.job](given.path)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(given.path, given.jets, Path(folder))
    if given.json:
        print(json.dumps({"input": given.path.name, "jets": given.jets, "rows": rows}))
        return
    columns = ["decode, s", "open, s", "ratio", "peak, MB", f"of {LONGER} times as many"]
    print(f"| {given.path.name}, {given.jets:,} jets | " + " | ".join(columns) + " |")
    print("|---|---|---|---|---|---|")
    for r in rows:
        seconds = f"{r['decompress']:.2f} | {r['open']:.2f} | {r['open'] / r['decompress']:.2f}"
        print(f"| {r['layout']} | {seconds} | {r['peak']:.0f} | {r['peak_longer']:.0f} |")


if __name__ == "__main__":
    main()
