#!/usr/bin/env python
"""Time and memory of compress and decompress on a long file, compared with uproot copying the same tree.

A long file is made from FILE (scripts/make_large.py). Each job runs in a separate process, all on one core: uproot
reads the tree and writes it with LZMA(9) and with ZSTD(5), in chunks as long as atlasae's; atlasae compresses it in
both layouts, with and without reading back, and decompresses the result. Times exclude imports, memory includes them.
With --longer N, a file N times as long is measured, too: memory must not grow, and time by no more than N.
"""

import sys
from pathlib import Path

from harness import LAYOUTS, MEGABYTE, Given, Job, Table, Tables, Work, main, megabytes, take_turns

ZSTD, LZMA = "ZSTD(5)", "LZMA(9)"
NOT_READ_BACK = "--no-read-back"
CHUNK = "10 MB"  # of events in memory, atlasae's default


def copy_with_uproot(path: str, target: str, compression: str) -> Work:
    """Prepare to copy the only tree by uproot, in chunks of the same size as atlasae's."""
    import awkward as ak
    import uproot

    algorithm, level = compression.removesuffix(")").split("(")
    chosen = getattr(uproot, algorithm)(int(level))

    def copy() -> None:
        with uproot.open(path) as file, uproot.recreate(target, compression=chosen) as output:
            (tree,) = (file[name] for name in file.keys(filter_classname="TTree"))
            counted = [branch for branch in tree.branches if branch.count_branch is not None]
            counters = {branch.name: branch.count_branch.name for branch in counted}
            names, writer = [branch.name for branch in tree.branches if branch.name not in counters.values()], None
            for arrays in tree.iterate(names, step_size=CHUNK):
                events = dict(zip(names, ak.unzip(arrays), strict=True))
                if writer is None:
                    types = {name: array.layout.form.type for name, array in events.items()}
                    writer = output.mktree(tree.name, types, counter_name=counters.__getitem__)
                writer.extend(events)

    return copy


def compress(path: str, target: str, layout: str, *flags: str) -> Work:
    """Prepare `atlasae compress` in a layout, with or without reading back."""
    from atlasae.compression.compress import compress_file
    from atlasae.native.library import limit_heap

    if layout == "floats":
        import atlasae.compression.floats  # noqa: F401  (else imported in the timed call)
    limit_heap()
    read_back = NOT_READ_BACK not in flags
    return without_torch(lambda: compress_file(path, target, layout=layout, read_back=read_back, force=True), layout)


def decompress(path: str, target: str, layout: str) -> Work:
    """Prepare `atlasae decompress` of a file in a layout."""
    from atlasae.compression.decompress import decompress_file
    from atlasae.native.library import limit_heap

    limit_heap()
    if layout == "floats":
        import atlasae.codecs.model  # noqa: F401
    return without_torch(lambda: decompress_file(path, target, force=True), layout)


def without_torch(work: Work, layout: str) -> Work:
    """The work, checked not to import torch in the packed layout; raises AssertionError."""

    def done() -> None:
        work()
        assert layout != "packed" or "torch" not in sys.modules, "packed bytes were measured with torch imported"

    return done


def jobs_of(large: Path, folder: Path) -> dict[str, Job]:
    """The jobs on a long file, by name."""
    jobs: dict[str, Job] = {}
    for kind in (ZSTD, LZMA):
        jobs[f"uproot copies, {kind}"] = (copy_with_uproot, large, folder / f"{kind}.root", kind)
    for layout in LAYOUTS:
        small, back = folder / f"{layout}.root", folder / "back.root"
        jobs[f"compress, {layout}"] = (compress, large, small, layout)
        jobs[f"compress, {layout}, {NOT_READ_BACK}"] = (compress, large, small, layout, NOT_READ_BACK)
        jobs[f"decompress, {layout}"] = (decompress, small, back, layout)
    return jobs


def rows(large: Path, folder: Path, times: int) -> Table:
    """Time, memory and MB of each job, run in turns, and its time relative to uproot's copies."""
    table, jobs = Table(), jobs_of(large, folder)
    found = take_turns(jobs, times)
    for name, taken in found.items():
        row = table[name] = {"CPU, s": taken.cpu, "wall, s": taken.wall, "peak, MB": taken.peak / MEGABYTE}
        row |= {f"of {kind}": taken.cpu / found[f"uproot copies, {kind}"].cpu for kind in (ZSTD, LZMA)}
        _, source, written, *_ = jobs[name]
        row |= {"read, MB": megabytes(source), "written, MB": megabytes(written)}
    return table


def measure(given: Given) -> Tables:
    """The jobs, and the time that reading back adds."""
    table, back = rows(given.long(), given.folder, given.times), Table()
    for layout in LAYOUTS:
        with_it, without = (table[f"compress, {layout}{flag}"]["CPU, s"] for flag in ("", f", {NOT_READ_BACK}"))
        back[layout] = {"adds to compress, %": 100 * (with_it / without - 1)}
    return {"input": given.input, "jobs": table, "reading back": back} | given.longer_too(rows)


if __name__ == "__main__":
    main(__doc__, measure, jets=2_000_000, times=2, longer=1)
