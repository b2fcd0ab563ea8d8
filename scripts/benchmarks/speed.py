#!/usr/bin/env python
"""Time and memory of compress and decompress on a long file, compared with uproot copying the same tree.

A long file is made from FILE (scripts/make_large.py). Each job runs in a separate process, all on one core: uproot
reads the tree and writes it with LZMA(9) and with ZSTD(5), in chunks as long as atlasae's; atlasae compresses it in
both layouts, with and without reading back, and decompresses the result. Times exclude imports, memory includes them.
With --longer N, a file N times as long is measured, too: memory must not grow, and time by no more than N.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from harness import LAYOUTS, MEGABYTE, Jobs, Table, Tables, long_file, main, take_turns

ZSTD, LZMA = "ZSTD(5)", "LZMA(9)"
NOT_READ_BACK = "--no-read-back"
CHUNK = "20 MB"  # of events in memory, atlasae's default


def copy_with_uproot(path: str, target: str, compression: str) -> Callable[[], None]:
    """Prepare to copy the only tree by uproot, in chunks of the same size as atlasae's."""
    import awkward as ak
    import uproot

    algorithm, level = compression.removesuffix(")").split("(")

    def copy() -> None:
        chosen = getattr(uproot, algorithm)(int(level))
        with uproot.open(path) as file, uproot.recreate(target, compression=chosen) as output:
            (tree,) = (file[name] for name in file.keys(filter_classname="TTree"))
            counters = {
                branch.name: branch.count_branch.name for branch in tree.branches if branch.count_branch is not None
            }
            names, writer = [branch.name for branch in tree.branches if branch.name not in counters.values()], None
            for arrays in tree.iterate(names, step_size=CHUNK):
                events = dict(zip(names, ak.unzip(arrays), strict=True))
                if writer is None:
                    types = {name: array.layout.form.type for name, array in events.items()}
                    writer = output.mktree(tree.name, types, counter_name=counters.__getitem__)
                writer.extend(events)

    return copy


def without_torch(work: Callable[[], object], layout: str) -> Callable[[], None]:
    """The work, checked not to import torch in the packed layout; raises AssertionError."""

    def done() -> None:
        work()
        assert layout != "packed" or "torch" not in sys.modules, "packed bytes were measured with torch imported"

    return done


def compress(path: str, target: str, layout: str, *flags: str) -> Callable[[], None]:
    """Prepare `atlasae compress` in a layout, with or without reading back."""
    from atlasae.compression.compress import compress_file
    from atlasae.compression.plan import Options
    from atlasae.native.library import limit_heap

    if layout == "floats":
        import atlasae.compression.floats  # noqa: F401  (else imported in the timed call)
    limit_heap()
    options = Options(packed=layout == "packed", read_back=NOT_READ_BACK not in flags, force=True)
    return without_torch(lambda: compress_file(path, target, options), layout)


def decompress(path: str, target: str, layout: str) -> Callable[[], None]:
    """Prepare `atlasae decompress` of a file in a layout."""
    from atlasae.compression.decompress import decompress_file
    from atlasae.native.library import limit_heap

    limit_heap()
    if layout == "floats":
        import atlasae.codecs.model  # noqa: F401
    return without_torch(lambda: decompress_file(path, target, force=True), layout)


JOBS: Jobs = {"copy": copy_with_uproot, "compress": compress, "decompress": decompress}


def rows(large: Path, folder: Path, times: int) -> Table:
    """Time, memory and MB of each job, run in turns, and its time relative to uproot's copies."""
    jobs: dict[str, tuple[object, ...]] = {}
    jobs |= {f"uproot copies, {kind}": ("copy", large, folder / f"{kind}.root", kind) for kind in (ZSTD, LZMA)}
    for layout in LAYOUTS:
        small, back = folder / f"{layout}.root", folder / "back.root"
        jobs[f"compress, {layout}"] = ("compress", large, small, layout)
        jobs[f"compress, {layout}, {NOT_READ_BACK}"] = ("compress", large, small, layout, NOT_READ_BACK)
        jobs[f"decompress, {layout}"] = ("decompress", small, back, layout)
    table, found = Table(), take_turns({name: ("speed", *job) for name, job in jobs.items()}, times)
    copies = {f"of {kind}": found[f"uproot copies, {kind}"].cpu for kind in (ZSTD, LZMA)}
    for name, taken in found.items():
        read, written = (Path(str(path)).stat().st_size / MEGABYTE for path in jobs[name][1:3])
        row = table[name] = {"CPU, s": taken.cpu, "wall, s": taken.wall, "peak, MB": taken.peak / MEGABYTE}
        row |= {column: taken.cpu / seconds for column, seconds in copies.items()}
        row |= {"read, MB": read, "written, MB": written}
    return table


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """The jobs, and the time that reading back adds."""
    (path,) = given.files
    table = rows(long_file(path, given.jets, given.scratch), folder, given.times)
    seconds = {name: row["CPU, s"] for name, row in table.items()}
    added = {name: seconds[f"compress, {name}"] / seconds[f"compress, {name}, {NOT_READ_BACK}"] for name in LAYOUTS}
    back = {name: {"adds to compress, %": 100 * (ratio - 1)} for name, ratio in added.items()}
    tables: Tables = {"input": {path.name: {"jets": given.jets}}, "jobs": table, "reading back": back}
    if given.longer > 1:
        longer = long_file(path, given.longer * given.jets, given.scratch)
        tables[f"{given.longer} times as many jets"] = rows(longer, folder, 1)
    return tables


if __name__ == "__main__":
    main(__doc__, measure, jets=2_000_000, times=2, longer=1)
