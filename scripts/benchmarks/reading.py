#!/usr/bin/env python
"""Time and memory of atlasae.open for one and for all four branches of jets, compared with uproot on the original.

A long file and one four times as long are made from FILE (scripts/make_large.py), and compressed in both layouts, only
the jets. `open` is compared with uproot, which reads the same branches of the original, and with the decoding of
decompress: its loop over chunks (read, check, decode every branch of the jets), without writing. Times are CPU seconds
of one core, the minimum of three runs. Peak memory is that of a process that iterates over one branch in steps of 2 MB;
even the shorter file has more than one chunk, and memory holds one at a time.
"""

from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from harness import LAYOUTS, MEGABYTE, Given, Table, Tables, Work, Works, alone, command, fastest, main

LONGER = 4
STEP = "2 MB"
ORIGINAL = "uproot, the original"
ONE, FOUR, LOOP = "one branch, CPU s", "all four, CPU s", "decompress's loop, CPU s"


def names_of(tree: Any) -> list[str]:
    """The branches of the jets, pt first."""
    (pt,) = tree.keys(filter_name="/(.*[._])?[pP][tT]/")[:1]
    return [pt, *(pt[:-2] + name for name in ("eta", "phi", "m"))]


def read(original: str, *compressed: str) -> Work:
    """Prepare to measure every way of reading, in turns."""
    import uproot

    import atlasae
    from atlasae.compression.chunks import restored_events, silent
    from atlasae.compression.format import read_contents
    from atlasae.files.trees import open_source

    with atlasae.open(compressed[0]) as tree:
        names, where = names_of(tree), tree.name

    def read_original(some: list[str]) -> None:
        with uproot.open(original) as file:
            file[where].arrays(some)

    def open_and_read(path: str, some: list[str]) -> None:
        with atlasae.open(path) as tree:
            tree.arrays(some)

    def loop(path: str) -> None:  # as decompress does
        with open_source(Path(path)) as source:
            deque(restored_events(source, read_contents(source), silent), maxlen=0)

    works: Works = {}
    for column, some in ((ONE, names[:1]), (FOUR, names)):
        works[ORIGINAL, column] = partial(read_original, some)
        for layout, path in zip(LAYOUTS, compressed, strict=True):
            works |= {(layout, column): partial(open_and_read, path, some), (layout, LOOP): partial(loop, path)}
    return lambda: fastest(works)


def iterate(path: str) -> Work:
    """Prepare to iterate over one branch in steps."""
    import atlasae

    def work() -> int:
        with atlasae.open(path) as tree:
            return sum(int(step.nbytes) for step in tree.iterate(names_of(tree)[:1], step_size=STEP))

    return work


def compressed(given: Given, layout: str, times: int) -> Path:
    """The jets of a file so many times as long."""
    target = given.folder / f"{layout}{times}.root"
    flags = ("--layout", layout, "--only-jets", "--no-read-back", "--quiet")
    command("compress", given.long(times * given.jets), target, *flags)
    return target


def measure(given: Given) -> Tables:
    """The tables, with a row for each layout and one for uproot."""
    small = {layout: compressed(given, layout, 1) for layout in LAYOUTS}
    table: Table = alone(read, given.long(), *small.values()).found
    peers = table[ORIGINAL]
    for layout, path in small.items():
        row = table[layout]
        row |= {"one branch / uproot": row[ONE] / peers[ONE], "all four / uproot": row[FOUR] / peers[FOUR]}
        row["one branch / loop"] = row[ONE] / row[LOOP]
        row["peak, MB"] = alone(iterate, path).peak / MEGABYTE
        longer = alone(iterate, compressed(given, layout, LONGER))
        row[f"peak of {LONGER} times as many jets, MB"] = longer.peak / MEGABYTE
    return {"input": given.input, "opening": table}


if __name__ == "__main__":
    main(__doc__, measure, jets=500_000)
