#!/usr/bin/env python
"""Branches of a compressed file as awkward arrays, as numpy arrays, and a piece at a time.

python scripts/examples/read_columns.py SMALL.root
"""

import sys

import awkward as ak

import atlasae


def main() -> None:
    """Print what the file contains, its first events, and the mean number of jets."""
    with atlasae.open(sys.argv[1]) as tree:
        print(tree, tree.collections)
        print(tree.arrays(filter_name="*pt", entry_stop=3).to_list())
        print(tree[tree.keys()[0]].array(entry_stop=3, library="np"))
        leading = tree.keys(filter_name="*pt")[0]
        jets = sum(int(ak.count(step[leading])) for step in tree.iterate(leading, step_size="1 MB"))
        print(f"{jets / tree.num_entries:.2f} jets an entry")


if __name__ == "__main__":
    main()
