#!/usr/bin/env python
"""Costs per file and per million jets, and an estimate for a very large sample on a batch system.

Files of a hundred, a million and two million jets are made from FILE. The command line compresses (without reading
back) and decompresses each, in both layouts; CPU time is that of the whole process, imports included. The cost of a
million jets is that of two million minus that of one; the cost of a file is the rest of that of one million. The
estimate assumes that the batch system starts jobs as fast as they end and that storage keeps up; the rates that this
needs are given.
"""

from harness import LAYOUTS, MEGABYTE, Given, Row, Table, Tables, command, main, megabytes

FEW, MILLION, LONG = 100, 1_000_000, 2_000_000
JETS, PER_FILE, CORES = 1e12, 1e7, 1_000
HOUR = 3600


def used(given: Given, jets: int) -> Table:
    """CPU seconds, and MB read and written, of each command on a file of so many jets."""
    table, original, back = Table(), given.long(jets), given.folder / "back.root"
    for layout in LAYOUTS:
        small = given.folder / f"{layout}.root"
        compress = ("compress", original, small, "--layout", layout, "--no-read-back")
        for name, read, written, *flags in (compress, ("decompress", small, back)):
            cpu = command(name, read, written, *flags, "--force", "--quiet").cpu
            row = {"CPU s": cpu, "MB read": megabytes(read), "MB written": megabytes(written)}
            table[f"{name}, {layout}"] = row
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


def measure(given: Given) -> Tables:
    """The costs, and the plan."""
    few, million, long = (used(given, jets) for jets in (FEW, MILLION, LONG))
    costs = {name: cost(few[name], million[name], long[name]) for name in few}
    return {"costs": costs, "10^12 jets in files of 10^7": {name: plan(row) for name, row in costs.items()}}


if __name__ == "__main__":
    main(__doc__, measure)
