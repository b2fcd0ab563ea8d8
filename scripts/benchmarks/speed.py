#!/usr/bin/env python
"""Time and memory of compress and decompress on a long file, beside uproot writing the same tree.

A long file is made of FILE (scripts/make_large.py). Each job runs in a process of its own and all on one core: uproot
reads the tree and writes it back with LZMA(9) and with ZSTD(5), in chunks as long as atlasae's; atlasae compresses it
in both layouts, with and without reading back what it wrote, and decompresses that. Times leave imports out, memory
does not. With --longer N atlasae works on a file N times as long, too: memory must not grow, time not more than it.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from harness import MEGABYTE, Jobs, Row, Table, Tables, Taken, long_file, main, take_turns

ZSTD, LZMA = "ZSTD(5)", "LZMA(9)"
LAYOUTS = ("floats", "packed")
NOT_READ_BACK = "--no-read-back"


def copy_with_uproot(path: str, target: str, compression: str) -> Callable[[], None]:
    """Read the tree and write it back in atlasae's chunks: what one would do without atlasae."""
    import uproot

    from atlasae.copying import entry_ranges
    from atlasae.planning import Options, choose_tree
    from atlasae.rootio import open_source

    algorithm, level = compression.removesuffix(")").split("(")

    def copy() -> None:
        with open_source(Path(path)) as source:
            tree = choose_tree(source, None, ())
            counters = {branch.name: branch.counter for branch in tree.branches if branch.counter}
            names = [branch.name for branch in tree.branches if branch.name not in counters.values()]
            ranges = list(entry_ranges(tree, names, Options.step_size))
        chosen = getattr(uproot, algorithm)(int(level))
        with uproot.open(path) as file, uproot.recreate(target, compression=chosen) as output:
            writer = None
            for start, stop in ranges:
                arrays = file[tree.name].arrays(names, entry_start=start, entry_stop=stop)
                events = {name: arrays[name] for name in names}
                if writer is None:
                    types = {name: array.layout.form.type for name, array in events.items()}
                    writer = output.mktree(tree.name, types, counter_name=lambda name: counters[name])
                writer.extend(events)

    return copy


def without_torch(work: Callable[[], object], layout: str) -> Callable[[], None]:
    """The work, of which packed bytes must not need torch; raises AssertionError."""

    def done() -> None:
        work()
        assert layout != "packed" or "torch" not in sys.modules, "packed bytes were measured with torch imported"

    return done


def compress(path: str, target: str, layout: str, *flags: str) -> Callable[[], None]:
    """`atlasae compress` in a layout, with or without reading back what it wrote."""
    from atlasae.pipeline import compress_file
    from atlasae.planning import Options

    if layout == "floats":
        import atlasae.compressing  # noqa: F401  (imported when it compresses: not part of the time here)
    options = Options(packed=layout == "packed", read_back=NOT_READ_BACK not in flags, force=True)
    return without_torch(lambda: compress_file(path, target, options), layout)


def decompress(path: str, target: str, layout: str) -> Callable[[], None]:
    """`atlasae decompress` of a file in a layout."""
    from atlasae.pipeline import decompress_file

    if layout == "floats":
        import atlasae.model  # noqa: F401
    return without_torch(lambda: decompress_file(path, target, force=True), layout)


JOBS: Jobs = {"copy": copy_with_uproot, "compress": compress, "decompress": decompress}


def jobs(large: Path, folder: Path, copies: bool) -> dict[str, tuple[str, ...]]:
    """What is done with a long file: job and arguments, by the name of the row."""
    back, found = str(folder / "back.root"), dict[str, tuple[str, ...]]()
    for kind in (ZSTD, LZMA) if copies else ():
        found[f"uproot copies, {kind}"] = ("copy", str(large), str(folder / f"{kind}.root"), kind)
    for layout in LAYOUTS:
        small = str(folder / f"{layout}.root")
        found[f"compress, {layout}"] = ("compress", str(large), small, layout)
        if copies:
            found[f"compress, {layout}, {NOT_READ_BACK}"] = (*found[f"compress, {layout}"], NOT_READ_BACK)
        found[f"decompress, {layout}"] = ("decompress", small, back, layout)
    return found


def rows(large: Path, folder: Path, times: int, copies: bool) -> Table:
    """Do all jobs in turn; times, memory and MB."""
    asked = jobs(large, folder, copies)
    taken = take_turns({name: ("speed", *job) for name, job in asked.items()}, times)
    return {name: row(taken[name], *job[1:3]) for name, job in asked.items()}


def row(taken: Taken, path: str, target: str) -> Row:
    """One job's figures."""
    megabytes = (Path(name).stat().st_size / MEGABYTE for name in (path, target))
    found = {"CPU, s": taken.cpu, "wall, s": taken.wall, "peak, MB": taken.peak / MEGABYTE}
    return found | dict(zip(("read, MB", "written, MB"), megabytes, strict=True))


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """The jobs, each beside uproot's copies, and what reading back adds."""
    (path,) = given.files
    large = long_file(path, given.jets, given.scratch)
    table = rows(large, folder, given.times, copies=True)
    for kind in (ZSTD, LZMA):
        for found in table.values():
            found[f"of {kind}"] = found["CPU, s"] / table[f"uproot copies, {kind}"]["CPU, s"]
    seconds = {name: found["CPU, s"] for name, found in table.items()}
    added = {name: seconds[f"compress, {name}"] / seconds[f"compress, {name}, {NOT_READ_BACK}"] for name in LAYOUTS}
    back = {name: {"adds to compress, %": 100 * (ratio - 1)} for name, ratio in added.items()}
    tables: Tables = {"input": {path.name: {"jets": given.jets}}, "jobs": table, "reading back": back}
    if given.longer > 1:
        longer = long_file(path, given.longer * given.jets, given.scratch)
        tables[f"{given.longer} times as many jets"] = rows(longer, folder, 1, copies=False)
    return tables


if __name__ == "__main__":
    main(__doc__, measure, jets=2_000_000, times=2, longer=1)
