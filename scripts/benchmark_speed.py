#!/usr/bin/env python
"""Measure time and memory of atlasae on a long file, beside uproot writing the same tree with LZMA(9).

    python scripts/benchmark_speed.py [IN.root] [--jets 2000000] [--times-five] [--json]

A long file is made from IN (data/jets.root unless given) by scripts/make_large.py in a temporary folder. Then, one
after the other and each in a process of its own: uproot reads the tree and writes it back with LZMA(9), in chunks as
long as atlasae's; atlasae compresses it and decompresses that. Times leave imports out. Peak memory is that of the
whole process, imports included. With --times-five a file five times as long is measured too: memory must not grow.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Only the standard library here: a process inherits the peak memory of the one that starts it.

MAKE_LARGE = Path(__file__).parent / "make_large.py"
SAMPLE = Path(__file__).parents[1] / "data" / "jets.root"
MEGABYTE = 1_000_000
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in what getrusage calls one

Job = Callable[[Path, Path], None]


def copy_with_uproot() -> Job:
    """Read the tree and write it back with LZMA(9) in atlasae's chunks: what one would do without atlasae."""
    import uproot

    from atlasae.copying import entry_ranges
    from atlasae.planning import Options, choose_tree
    from atlasae.rootio import open_source

    def copy(path: Path, target: Path) -> None:
        with open_source(path) as source:
            tree = choose_tree(source, None, ())
            counters = {branch.name: branch.counter for branch in tree.branches if branch.counter}
            names = [branch.name for branch in tree.branches if branch.name not in counters.values()]
            ranges = list(entry_ranges(tree, names, Options.step_size))
        with uproot.open(path) as file, uproot.recreate(target, compression=uproot.LZMA(9)) as output:
            writer = None
            for start, stop in ranges:
                arrays = file[tree.name].arrays(names, entry_start=start, entry_stop=stop)
                events = {name: arrays[name] for name in names}
                if writer is None:
                    types = {name: array.layout.form.type for name, array in events.items()}
                    writer = output.mktree(tree.name, types, counter_name=lambda name: counters[name])
                writer.extend(events)

    return copy


def compress() -> Job:
    """`atlasae compress` with its default settings."""
    from atlasae.pipeline import compress_file
    from atlasae.planning import Options
    from atlasae.precision import Precision

    return lambda path, target: None if compress_file(path, target, Options(Precision.parse("1e-3"))) else None


def decompress() -> Job:
    """`atlasae decompress`."""
    from atlasae.pipeline import decompress_file

    return lambda path, target: None if decompress_file(path, target) else None


JOBS = {"uproot LZMA(9)": copy_with_uproot, "atlasae compress": compress, "atlasae decompress": decompress}


def run_job(name: str, path: Path, target: Path) -> None:
    """Do one job in this process and print what it took, as JSON."""
    job = JOBS[name]()
    started = time.perf_counter(), time.process_time()
    job(path, target)
    seconds, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak, "bytes_out": target.stat().st_size}))


def measure(name: str, path: Path, target: Path) -> dict[str, Any]:
    """Do one job in a process of its own; returns what it took."""
    command = [sys.executable, __file__, "--job", name, str(path), str(target)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {"job": name, "bytes_in": path.stat().st_size} | found


def measure_all(path: Path, jets: int, folder: Path) -> dict[str, Any]:
    """Make a file of so many jets and do every job on it."""
    large, compressed = folder / "large.root", folder / "compressed.root"
    subprocess.run([sys.executable, MAKE_LARGE, path, large, "--jets", str(jets)], check=True)
    rows = [
        measure("uproot LZMA(9)", large, folder / "copied.root"),
        measure("atlasae compress", large, compressed),
        measure("atlasae decompress", compressed, folder / "restored.root"),
    ]
    for file in folder.iterdir():
        file.unlink()
    return {"jets": jets, "jobs": rows, "time_ratio": rows[1]["seconds"] / rows[0]["seconds"]}


def text(found: dict[str, Any]) -> str:
    """The measurements as lines to read."""
    lines = [f"{found['jets']:,} jets"]
    for row in found["jobs"]:
        sizes = f"{row['bytes_in'] / MEGABYTE:6.1f} -> {row['bytes_out'] / MEGABYTE:6.1f} MB"
        took = f"{row['seconds']:6.1f} s ({row['cpu_seconds']:.1f} s CPU)"
        lines.append(f"  {row['job']:20}{took}  peak {row['peak_bytes'] / MEGABYTE:4.0f} MB  {sizes}")
    return "\n".join([*lines, f"  compress takes {found['time_ratio']:.2f} x the time of uproot with LZMA(9)"])


def main() -> None:
    """Read the command line; measure, or do the one job asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--jets", type=int, default=2_000_000)
    parser.add_argument("--times-five", action="store_true", help="measure a file five times as long, too")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--job", nargs=3, metavar=("NAME", "IN", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        run_job(args.job[0], Path(args.job[1]), Path(args.job[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        lengths = [args.jets, 5 * args.jets] if args.times_five else [args.jets]
        found = [measure_all(args.input, jets, Path(folder)) for jets in lengths]
    print(json.dumps(found, indent=1) if args.json else "\n".join(text(part) for part in found))


if __name__ == "__main__":
    main()
