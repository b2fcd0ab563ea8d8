#!/usr/bin/env python
"""Measure what a file and a million jets cost, and what a very large sample would take on a batch system.

    python scripts/benchmark_planning.py [IN.root] [--jets 1e12] [--per-file 1e7] [--cores 1000] [--json]

Files of a hundred, a million and four million jets are made from IN (data/jets.root unless given) by
scripts/make_large.py in a temporary folder. The command line compresses and decompresses each, in both layouts; CPU
time is that of the whole process, imports included. A million jets cost a third of what four million take beyond one
million; what one million takes beyond that is the cost of a file. The rest is arithmetic: it takes for granted that
a batch system starts `atlasae batch`'s jobs as fast as they end, and that storage keeps up; the rates at which it would
have to are printed. At last, where the time of a long file goes, stage by stage, as measured in its threads.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import ATLASAE, cpu_seconds, peak_bytes

# Only the standard library up here: a process inherits the peak memory of the one that starts it.

MAKE_LARGE = Path(__file__).parent / "make_large.py"
SAMPLE = Path(__file__).parents[1] / "data" / "jets.root"
FEW, MILLION, LONG = 100, 1_000_000, 4_000_000
LAYOUTS = ("floats", "packed")
HOUR, TERABYTE, GIGABYTE = 3600, 1e12, 1e9

Row = dict[str, float]


def run(*arguments: object) -> float:
    """Run a command of atlasae; returns its CPU seconds."""
    before = cpu_seconds()
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([*ATLASAE, *map(str, arguments), "--quiet"], check=True, env=os.environ | threads)
    return cpu_seconds() - before


def measure(path: Path, folder: Path) -> dict[str, Row]:
    """What each command costs, a file and a million jets, and the bytes of those."""
    used: dict[str, dict[int, float]] = {}
    sizes: dict[str, dict[int, int]] = {}
    for jets in (FEW, MILLION, LONG):
        large, back = folder / "large.root", folder / "back.root"
        subprocess.run([sys.executable, MAKE_LARGE, path, large, "--jets", str(jets)], check=True)
        sizes.setdefault("original", {})[jets] = large.stat().st_size
        for layout in LAYOUTS:
            small = folder / f"{layout}.root"
            took = run("compress", large, small, "--layout", layout, "--force", "--no-read-back")
            used.setdefault(f"compress, {layout}", {})[jets] = took
            used.setdefault(f"decompress, {layout}", {})[jets] = run("decompress", small, back, "--force")
            sizes.setdefault(layout, {})[jets] = small.stat().st_size
    return {name: costs(seconds, sizes, name) for name, seconds in used.items()}


def costs(seconds: dict[int, float], sizes: dict[str, dict[int, int]], name: str) -> Row:
    """The costs of one command from what files of three lengths took."""
    verb, layout = name.split(", ")
    millions = (LONG - MILLION) / MILLION
    slope = (seconds[LONG] - seconds[MILLION]) / millions
    grown = {key: (row[LONG] - row[MILLION]) / millions for key, row in sizes.items()}
    read, written = (grown["original"], grown[layout]) if verb == "compress" else (grown[layout], grown["original"])
    return {
        "few": seconds[FEW],
        "file": max(seconds[MILLION] - slope, 0.0),
        "million": slope,
        "bytes_read": read,
        "bytes_written": written,
    }


def plan(row: Row, jets: float, per_file: float, cores: int) -> Row:
    """What so many jets would take: core hours, hours on so many cores, and the bytes that storage has to move."""
    files, millions = jets / per_file, jets / MILLION
    core_seconds = files * row["file"] + millions * row["million"]
    hours = core_seconds / cores / HOUR
    read, written = millions * row["bytes_read"], millions * row["bytes_written"]
    return {
        "files": files,
        "core_hours": core_seconds / HOUR,
        "hours": hours,
        "share_of_files": files * row["file"] / core_seconds,
        "terabytes_read": read / TERABYTE,
        "terabytes_written": written / TERABYTE,
        "gigabytes_per_second": (read + written) / GIGABYTE / (hours * HOUR),
    }


def stages(path: Path, layout: str, folder: Path) -> dict[str, Any]:
    """Where the CPU time of compressing a long file goes, by the threads it is spent in, and the peak memory."""
    found = subprocess.run(
        [sys.executable, __file__, path, "--stages", layout, "--folder", folder], check=True, stdout=subprocess.PIPE
    )
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def run_stages(path: Path, layout: str, folder: Path) -> None:
    """Compress one file in this process with its stages watched, and print what they took, as JSON."""
    from atlasae.compression import collection, compress
    from atlasae.compression.plan import Options
    from atlasae.files import trees, writing

    spent: dict[str, float] = defaultdict(float)
    within = threading.local()  # seconds of stages inside the one that goes on

    def watch(owner: Any, name: str, stage: str) -> None:
        plain: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(plain)
        def watched(*given: Any, **named: Any) -> Any:
            before, within.seconds, began = getattr(within, "seconds", 0.0), 0.0, time.thread_time()
            try:
                return plain(*given, **named)
            finally:
                took = time.thread_time() - began
                spent[stage] += took - within.seconds
                within.seconds = before + took

        setattr(owner, name, watched)

    watch(trees.Tree, "read", "reading baskets")
    watch(collection.Compressor, "compress", "encoding, and decoding to compare")
    watch(writing.Writer, "extend", "compressing baskets, and writing")
    watch(compress, "checksum", "checksums")
    watch(compress, "_start", "choosing grid and model")
    began = time.process_time()
    options = Options(packed=layout == "packed", force=True, read_back=False)
    compress.compress_file(path, folder / "stages.root", options)
    total = time.process_time() - began
    spent["all else"] = total - sum(spent.values())
    peak = peak_bytes()
    print(json.dumps({"shares": {stage: seconds / total for stage, seconds in spent.items()}, "peak_bytes": peak}))


def text(found: dict[str, Any]) -> str:
    """The measurements as lines to read."""
    lines = ["CPU seconds: a file of 100 jets, a file, a million jets; MB read and written a million jets"]
    for name, row in found["costs"].items():
        moved = f"{row['bytes_read'] / 1e6:6.1f} {row['bytes_written'] / 1e6:6.1f}"
        lines.append(f"  {name:20}{row['few']:6.2f} {row['file']:6.2f} {row['million']:6.2f}   {moved}")
    lines.append(f"{found['jets']:.0e} jets, {found['per_file']:.0e} a file, {found['cores']:,} cores")
    for name, row in found["plans"].items():
        lines.append(
            f"  {name:20}{row['core_hours']:10,.0f} core hours ({row['share_of_files']:.0%} for files), "
            f"{row['hours']:.2f} h; {row['terabytes_read']:,.1f} TB read, {row['terabytes_written']:,.1f} TB written, "
            f"{row['gigabytes_per_second']:.1f} GB/s"
        )
    for layout, seen in found["stages"].items():
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in seen["shares"].items())
        lines.append(f"compress, {layout}: {shares}; peak {seen['peak_bytes'] / 1e6:.0f} MB")
    return "\n".join(lines)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--jets", type=float, default=1e12)
    parser.add_argument("--per-file", type=float, default=1e7)
    parser.add_argument("--cores", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stages", choices=LAYOUTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stages:
        run_stages(args.input, args.stages, args.folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = measure(args.input, folder)
        seen = {layout: stages(folder / "large.root", layout, folder) for layout in LAYOUTS}
    plans = {name: plan(row, args.jets, args.per_file, args.cores) for name, row in rows.items()}
    given = {"jets": args.jets, "per_file": args.per_file, "cores": args.cores}
    found = given | {"costs": rows, "plans": plans, "stages": seen}
    print(json.dumps(found) if args.json else text(found))


if __name__ == "__main__":
    main()
