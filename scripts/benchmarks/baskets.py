#!/usr/bin/env python
"""Time and memory of compress where each branch of a long file is one basket, beside baskets of 10,000 entries.

uproot writes all entries that it is given at once into one basket. The same jets are written so by LZMA(1), the slowest
to unpack, and in small baskets; atlasae compresses both in both layouts, with reading back. Times exclude imports,
memory includes them. With --longer N, files N times as long are measured, too: memory must not grow.
"""

from pathlib import Path

import uproot
from harness import LAYOUTS, MEGABYTE, Given, Job, Table, Tables, main, take_turns
from speed import compress

SMALL = 10_000  # entries


def rewritten(path: Path, target: Path, entries: int | None) -> Path:
    """The branches of the only tree of a file, in baskets of so many entries, or in one each."""
    with uproot.open(path) as file, uproot.recreate(target, compression=uproot.LZMA(1)) as output:
        (tree,) = (file[name] for name in file.keys(filter_classname="TTree"))
        counted = {b.name: b.count_branch.name for b in tree.branches if b.count_branch is not None}
        events = {branch.name: branch.array() for branch in tree.branches if branch.name not in counted.values()}
        types = {name: array.type.content for name, array in events.items()}
        made, step = output.mktree(tree.name, types, counter_name=counted.__getitem__), entries or tree.num_entries
        for start in range(0, tree.num_entries, step):
            made.extend({name: array[start : start + step] for name, array in events.items()})
    return target


def rows(long: Path, folder: Path, times: int) -> Table:
    """Time and memory with one basket per branch and with small ones, and the ratio of the times, by layout."""
    files = {"small": rewritten(long, folder / "small.root", SMALL), "one": rewritten(long, folder / "one.root", None)}
    jobs: dict[str, Job] = {
        f"{layout} {name}": (compress, path, folder / "out.root", layout)
        for layout in LAYOUTS
        for name, path in files.items()
    }
    found, table = take_turns(jobs, times), Table()
    for layout in LAYOUTS:
        small, one = (found[f"{layout} {name}"] for name in ("small", "one"))
        table[f"compress, {layout}"] = {
            "small baskets, CPU s": small.cpu,
            "one basket, CPU s": one.cpu,
            "one / small": one.cpu / small.cpu,
            "small baskets, peak MB": small.peak / MEGABYTE,
            "one basket, peak MB": one.peak / MEGABYTE,
        }
    return table


def measure(given: Given) -> Tables:
    """The table, and that of longer files."""
    jobs = rows(given.long(), given.folder, given.times)
    return {"input": given.input, "jobs": jobs} | given.longer_too(rows)


if __name__ == "__main__":
    main(__doc__, measure, jets=2_000_000, times=2, longer=1)
