#!/usr/bin/env python
"""Branches and jets of a compressed file as numpy and awkward arrays, and a piece at a time.

python scripts/examples/read_columns.py SMALL.root
"""

import sys

import awkward as ak

import atlasae


def main() -> None:
    """Print what the file contains, the jets of its first events, and the mean number of jets."""
    with atlasae.open(sys.argv[1]) as tree:
        print(tree, tree.collections)
        print(tree[tree.keys()[0]].array(entry_stop=3, library="np"))
        print(tree.jets(entry_stop=3).pt.to_list())
        jets = sum(
            int(ak.count(tree.jets(entry_start=start, entry_stop=start + 100_000).pt))
            for start in range(0, tree.num_entries, 100_000)
        )
        print(f"{jets / tree.num_entries:.2f} jets of '{tree.main}' an entry")


if __name__ == "__main__":
    main()
