#!/usr/bin/env python
"""Measure time and memory of atlasae on a long file, beside uproot writing the same tree, and of its codecs alone.

    python scripts/benchmark_speed.py [IN.root] [--jets 2000000] [--times-five] [--json]

A long file is made from IN (data/jets.root unless given) by scripts/make_large.py in a temporary folder. Then, one
after the other, each in a process of its own and all on one core: uproot reads the tree and writes it back with LZMA(9)
and with ZSTD(5), in chunks as long as atlasae's; atlasae compresses it in both layouts, with and without reading back
what it wrote, and decompresses that; and the codecs do by themselves what scripts/benchmark_codecs.py tells. Times
leave imports out. Peak memory is that of the whole process, imports included. With --times-five atlasae compresses and
decompresses a file five times as long, too: memory must not grow, and time not more than the file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import peak_bytes

# Only the standard library here: a process inherits the peak memory of the one that starts it.

MAKE_LARGE = Path(__file__).parent / "make_large.py"
CODECS = Path(__file__).parent / "benchmark_codecs.py"
SAMPLE = Path(__file__).parents[1] / "data" / "jets.root"
MEGABYTE = 1_000_000

Job = Callable[[Path, Path], None]


def copy_with_uproot(algorithm: str, level: int) -> Job:
    """Read the tree and write it back in atlasae's chunks: what one would do without atlasae."""
    import uproot

    from atlasae.copying import entry_ranges
    from atlasae.planning import Options, choose_tree
    from atlasae.rootio import open_source

    compression = getattr(uproot, algorithm)(level)

    def copy(path: Path, target: Path) -> None:
        with open_source(path) as source:
            tree = choose_tree(source, None, ())
            counters = {branch.name: branch.counter for branch in tree.branches if branch.counter}
            names = [branch.name for branch in tree.branches if branch.name not in counters.values()]
            ranges = list(entry_ranges(tree, names, Options.step_size))
        with uproot.open(path) as file, uproot.recreate(target, compression=compression) as output:
            writer = None
            for start, stop in ranges:
                arrays = file[tree.name].arrays(names, entry_start=start, entry_stop=stop)
                events = {name: arrays[name] for name in names}
                if writer is None:
                    types = {name: array.layout.form.type for name, array in events.items()}
                    writer = output.mktree(tree.name, types, counter_name=lambda name: counters[name])
                writer.extend(events)

    return copy


def compress(packed: bool, read_back: bool = True) -> Job:
    """`atlasae compress` in one of the layouts, with or without reading back what it wrote."""
    import atlasae.compressing  # noqa: F401  (imported when it compresses: not part of the time here)
    from atlasae.pipeline import compress_file
    from atlasae.planning import Options
    from atlasae.precision import Precision

    options = Options(Precision.parse("1e-3"), packed=packed, read_back=read_back)
    return lambda path, target: None if compress_file(path, target, options) else None


def decompress(packed: bool) -> Job:
    """`atlasae decompress` of a file in one of the layouts."""
    if not packed:
        import atlasae.model  # noqa: F401
    from atlasae.pipeline import decompress_file

    return lambda path, target: None if decompress_file(path, target) else None


LZMA, ZSTD = "uproot LZMA(9)", "uproot ZSTD(5)"
FLOATS, PACKED = ("compress", "decompress"), ("compress, packed", "decompress, packed")
NOT_READ_BACK = ("compress, --no-read-back", "compress, packed, --no-read-back")
JOBS: dict[str, Callable[[], Job]] = {
    LZMA: lambda: copy_with_uproot("LZMA", 9),
    ZSTD: lambda: copy_with_uproot("ZSTD", 5),
    NOT_READ_BACK[0]: lambda: compress(packed=False, read_back=False),
    FLOATS[0]: lambda: compress(packed=False),
    FLOATS[1]: lambda: decompress(packed=False),
    NOT_READ_BACK[1]: lambda: compress(packed=True, read_back=False),
    PACKED[0]: lambda: compress(packed=True),
    PACKED[1]: lambda: decompress(packed=True),
}
RATIOS = (
    *((FLOATS[0], LZMA), (PACKED[0], ZSTD), (FLOATS[1], ZSTD), (PACKED[1], ZSTD)),
    *((FLOATS[0], NOT_READ_BACK[0]), (PACKED[0], NOT_READ_BACK[1])),
)


def run_job(name: str, path: Path, target: Path) -> None:
    """Do one job in this process, and print what it took, as JSON."""
    job = JOBS[name]()
    started = time.perf_counter(), time.process_time()
    job(path, target)
    seconds, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(
        json.dumps(
            {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak_bytes(), "bytes_out": target.stat().st_size}
        )
    )


def run_alone(script: Path, *arguments: object) -> dict[str, Any]:
    """Run a script in a process of its own, on this one's core; returns what it printed."""
    command = [sys.executable, str(script), *map(str, arguments)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure_all(path: Path, jets: int, folder: Path, everything: bool) -> dict[str, Any]:
    """Make a file of so many jets and do every job on it, or those of atlasae only."""
    large, rows = folder / "large.root", dict[str, dict[str, Any]]()
    subprocess.run([sys.executable, MAKE_LARGE, path, large, "--jets", str(jets)], check=True)
    for name in JOBS if everything else (*FLOATS, *PACKED):
        source = folder / "compressed.root" if name.startswith("decompress") else large
        target = folder / ("compressed.root" if name.startswith("compress") else "copied.root")
        target.unlink(missing_ok=True)
        rows[name] = {"bytes_in": source.stat().st_size} | run_alone(Path(__file__), "--job", name, source, target)
    found = {"jets": jets, "jobs": rows}
    if everything:
        found["ratios"] = [[one, rows[one]["seconds"] / rows[other]["seconds"], other] for one, other in RATIOS]
        found["codecs"] = run_alone(CODECS, large, "--json")
    for file in folder.iterdir():
        file.unlink()
    return found


def text(found: dict[str, Any]) -> str:
    """The measurements as lines to read."""
    lines = [f"{found['jets']:,} jets, one core"]
    for name, row in found["jobs"].items():
        sizes = f"{row['bytes_in'] / MEGABYTE:6.1f} -> {row['bytes_out'] / MEGABYTE:6.1f} MB"
        took = f"{row['seconds']:6.1f} s ({row['cpu_seconds']:.1f} s CPU)"
        lines.append(f"  {name:34}{took}  peak {row['peak_bytes'] / MEGABYTE:4.0f} MB  {sizes}")
    lines += [f"  {one} takes {ratio:.2f} x the time of {other}" for one, ratio, other in found.get("ratios", ())]
    for name, speeds in found.get("codecs", {}).items():
        ways = ", ".join(f"{way} {speed:.1f}" for way, speed in speeds.items())
        lines.append(f"  {name:22}{ways} million jets a second")
    return "\n".join(lines)


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
    if hasattr(os, "sched_setaffinity"):  # for all that is started from here, too
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        found = [measure_all(args.input, args.jets, Path(folder), everything=True)]
        if args.times_five:
            found.append(measure_all(args.input, 5 * args.jets, Path(folder), everything=False))
    print(json.dumps(found, indent=1) if args.json else "\n".join(text(part) for part in found))


if __name__ == "__main__":
    main()
