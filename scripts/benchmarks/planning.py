#!/usr/bin/env python
"""Costs per file and per million jets, and an estimate for a very large sample on a batch system.

Files of a hundred, a million and two million jets are made from FILE. The command line compresses (without reading
back) and decompresses each, in both layouts; CPU time is that of the whole process, imports included. The cost of a
million jets is that of two million minus that of one; the cost of a file is the rest of that of one million. The
estimate assumes that the batch system starts jobs as fast as they end and that storage keeps up; the rates that this
needs are given.
"""

import argparse
from pathlib import Path

from harness import LAYOUTS, MEGABYTE, Row, Table, Tables, command, long_file, main

FEW, MILLION, LONG = 100, 1_000_000, 2_000_000
JETS, PER_FILE, CORES = 1e12, 1e7, 1_000
HOUR = 3600


def used(original: Path, folder: Path) -> Table:
    """CPU seconds, and MB read and written, of each command on a file."""
    table = Table()
    for layout in LAYOUTS:
        small, flags = folder / f"{layout}.root", ("--layout", layout, "--no-read-back")
        for line in (("compress", original, small, *flags), ("decompress", small, folder / "back.root")):
            cpu = command(*line, "--force", "--quiet").cpu
            read, written = (Path(path).stat().st_size / MEGABYTE for path in line[1:3])
            table[f"{line[0]}, {layout}"] = {"CPU s": cpu, "MB read": read, "MB written": written}
    return table


def cost(few: Row, million: Row, long: Row) -> Row:
    """The costs of one command, from those of files of three lengths."""
    more = {what: long[what] - million[what] for what in long}
    row = {"100 jets, CPU s": few["CPU s"], "a file, CPU s": max(million["CPU s"] - more["CPU s"], 0.0)}
    return row | {f"a million jets, {what}": figure for what, figure in more.items()}


def plan(row: Row) -> Row:
    """The estimate for 10^12 jets: core hours, hours on 1000 cores, and the bytes and rate of storage."""
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


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """The costs, and the plan."""
    (path,) = given.files
    lengths = [used(long_file(path, jets, given.scratch), folder) for jets in (FEW, MILLION, LONG)]
    costs = {name: cost(*(table[name] for table in lengths)) for name in lengths[0]}
    return {"costs": costs, "10^12 jets in files of 10^7": {name: plan(row) for name, row in costs.items()}}


if __name__ == "__main__":
    main(__doc__, measure)
