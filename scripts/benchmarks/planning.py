#!/usr/bin/env python
"""What a file and a million jets cost, and what a very large sample would take on a batch system.

Files of a hundred, a million and two million jets are made of FILE (scripts/make_large.py). The command line
compresses (without reading back) and decompresses each, in both layouts; CPU time is that of the whole process, imports
included. A million jets cost what two million take beyond one; what one million takes beyond that is the cost of a
file. The rest is arithmetic: it takes for granted that a batch system starts jobs as fast as they end, and that storage
keeps up; the rates at which it would have to are told. At last, where the time of a long file goes, as measured in its
threads.
"""

import argparse
import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import MEGABYTE, Jobs, Row, Tables, alone, command, long_file, main

FEW, MILLION, LONG = 100, 1_000_000, 2_000_000
LAYOUTS = ("floats", "packed")
JETS, PER_FILE, CORES = 1e12, 1e7, 1_000
HOUR = 3600


def costs(path: Path, folder: Path, scratch: Path) -> dict[str, Row]:
    """What each command costs, a file and a million jets, and the bytes of those."""
    used: dict[str, dict[int, float]] = defaultdict(dict)
    sizes: dict[str, dict[int, int]] = defaultdict(dict)
    for jets in (FEW, MILLION, LONG):
        large = long_file(path, jets, scratch)
        sizes["original"][jets] = large.stat().st_size
        for layout in LAYOUTS:
            small, options = folder / f"{layout}.root", ("--force", "--quiet")
            compressed = command("compress", large, small, "--layout", layout, "--no-read-back", *options)
            decompressed = command("decompress", small, folder / "back.root", *options)
            used[f"compress, {layout}"][jets] = compressed.cpu
            used[f"decompress, {layout}"][jets] = decompressed.cpu
            sizes[layout][jets] = small.stat().st_size
    return {name: cost(seconds, sizes, *name.split(", ")) for name, seconds in used.items()}


def cost(seconds: dict[int, float], sizes: dict[str, dict[int, int]], verb: str, layout: str) -> Row:
    """The costs of one command from what files of three lengths took."""
    million = seconds[LONG] - seconds[MILLION]
    grown = {key: (row[LONG] - row[MILLION]) / MEGABYTE for key, row in sizes.items()}
    read, written = ("original", layout) if verb == "compress" else (layout, "original")
    return {
        "100 jets, CPU s": seconds[FEW],
        "a file, CPU s": max(seconds[MILLION] - million, 0.0),
        "a million jets, CPU s": million,
        "a million jets, MB read": grown[read],
        "a million jets, MB written": grown[written],
    }


def plan(row: Row) -> Row:
    """What 10^12 jets would take: core hours, hours on a thousand cores, and the bytes that storage has to move."""
    files, millions = JETS / PER_FILE, JETS / MILLION
    core_seconds = files * row["a file, CPU s"] + millions * row["a million jets, CPU s"]
    read, written = (millions * row[f"a million jets, MB {way}"] * MEGABYTE for way in ("read", "written"))
    return {
        "core hours": core_seconds / HOUR,
        "hours on 1,000 cores": core_seconds / CORES / HOUR,
        "for files, %": 100 * files * row["a file, CPU s"] / core_seconds,
        "TB read": read / 1e12,
        "TB written": written / 1e12,
        "GB/s": (read + written) / 1e9 / (core_seconds / CORES),
    }


def stages(path: str, target: str, layout: str) -> Callable[[], dict[str, float]]:
    """Compress a file with its stages watched; the CPU seconds of each, by the threads it is spent in."""
    from atlasae.compression import compress, floats, packed
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
    watch(floats.Compressor, "compress", "encoding, and decoding to compare")
    watch(packed.PackedCompressor, "compress", "encoding, and decoding to compare")
    watch(writing.Writer, "extend", "compressing baskets, and writing")
    watch(compress, "checksum", "checksums")
    watch(compress, "_start", "choosing grid and model")
    options = Options(packed=layout == "packed", force=True, read_back=False)

    def compressed() -> dict[str, float]:
        compress.compress_file(path, target, options)
        return dict(spent)

    return compressed


JOBS: Jobs = {"stages": stages}


def shares(large: Path, folder: Path, layout: str) -> Row:
    """Where the CPU time of compressing a long file goes, and the peak memory."""
    taken = alone("planning", "stages", large, folder / "stages.root", layout)
    row = {stage: 100 * seconds / taken.cpu for stage, seconds in taken.found.items()}
    return row | {"all else": 100 - sum(row.values())}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Costs, the plan, and the stages."""
    (path,) = given.files
    rows = costs(path, folder, given.scratch)
    large = long_file(path, LONG, given.scratch)
    return {
        "costs": rows,
        "10^12 jets in files of 10^7": {name: plan(row) for name, row in rows.items()},
        "compress by stages, %": {layout: shares(large, folder, layout) for layout in LAYOUTS},
    }


if __name__ == "__main__":
    main(__doc__, measure)
