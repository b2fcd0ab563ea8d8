#!/usr/bin/env python
"""What atlasae.open takes for one branch and for all four of the jets, beside uproot on the original; and its memory.

A long file and one four times as long are made of FILE (scripts/make_large.py), and compressed in both layouts, the
jets alone. Beside `open` stand uproot, which reads the same branches of the original, and decompress's own decoding:
its loop over chunks (read, check, decode every branch of the jets) with nothing written. Seconds are CPU seconds of one
core, the fewest of three turns. Peak memory is that of a process that iterates over one branch in steps of 2 MB; the
shorter file has more jets than a chunk, which memory holds one of.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness import MEGABYTE, Jobs, Table, Tables, Works, alone, command, fastest, long_file, main

LAYOUTS = ("floats", "packed")
LONGER = 4
STEP = "2 MB"
ORIGINAL = "uproot, the original"
ONE, FOUR, LOOP = "one branch, CPU s", "all four, CPU s", "decompress's loop, CPU s"


def names_of(tree: Any) -> list[str]:
    """The branches of the jets, that of pt first."""
    (pt,) = tree.keys(filter_name="/(.*[._])?[pP][tT]/")[:1]
    return [pt, *(pt[:-2] + name for name in ("eta", "phi", "m"))]


def open_and_read(path: str, names: list[str]) -> None:
    """Branches of a compressed file."""
    import atlasae

    with atlasae.open(path) as tree:
        tree.arrays(names)


def read_original(path: str, where: str, names: list[str]) -> None:
    """Branches of the original."""
    import uproot

    with uproot.open(path) as file:
        file[where].arrays(names)


def loop(path: str) -> None:
    """What decompress decodes, chunk by chunk."""
    from atlasae.compression.chunks import restored_events, silent
    from atlasae.compression.format import read_contents
    from atlasae.files.trees import open_source

    with open_source(Path(path)) as source:
        for _ in restored_events(source, read_contents(source), silent):
            pass


def read(original: str, *compressed: str) -> Callable[[], Table]:
    """Prepare every way to read, which are taken in turn."""
    import atlasae

    with atlasae.open(compressed[0]) as tree:
        names, where = names_of(tree), tree.name
    works: Works = {}
    for column, some in ((ONE, names[:1]), (FOUR, names)):
        works |= {(ORIGINAL, column): partial(read_original, original, where, some)}
        for layout, path in zip(LAYOUTS, compressed, strict=True):
            works |= {(layout, column): partial(open_and_read, path, some), (layout, LOOP): partial(loop, path)}
    return lambda: fastest(works)


def iterate(path: str) -> Callable[[], int]:
    """Go through one branch, step by step."""
    import atlasae

    def work() -> int:
        with atlasae.open(path) as tree:
            return sum(int(step.nbytes) for step in tree.iterate(names_of(tree)[:1], step_size=STEP))

    return work


JOBS: Jobs = {"read": read, "iterate": iterate}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """A row for each layout, and one for uproot."""
    (path,), small = given.files, {}
    large = {times: long_file(path, times * given.jets, given.scratch) for times in (1, LONGER)}
    for layout in LAYOUTS:
        for times, original in large.items():
            small[layout, times] = target = folder / f"{layout}{times}.root"
            command("compress", original, target, "--layout", layout, "--only-jets", "--no-read-back", "--quiet")
    table: Table = alone("reading", "read", large[1], *(small[layout, 1] for layout in LAYOUTS)).found
    peers = table[ORIGINAL]
    for layout in LAYOUTS:
        row = table[layout]
        row |= {"one branch / uproot": row[ONE] / peers[ONE], "all four / uproot": row[FOUR] / peers[FOUR]}
        row |= {"one branch / loop": row[ONE] / row[LOOP]}
        for times, column in ((1, "peak, MB"), (LONGER, f"peak of {LONGER} times as many jets, MB")):
            row[column] = alone("reading", "iterate", small[layout, times]).peak / MEGABYTE
    return {"input": {path.name: {"jets": given.jets}}, "opening": table}


if __name__ == "__main__":
    main(__doc__, measure, jets=500_000)
