#!/usr/bin/env python
"""The dijet mass spectrum of a compressed file, which is never decompressed to disk.

python scripts/examples/dijet_mass.py SMALL.root
"""

import sys

import awkward as ak
import hist

import atlasae


def main() -> None:
    """Fill the spectrum chunk by chunk, and print it."""
    spectrum = hist.Hist.new.Reg(20, 10, 10_000, transform=hist.axis.transform.log, name="mjj").Double()
    with atlasae.open(sys.argv[1]) as tree:
        for start in range(0, tree.num_entries, 100_000):
            jets = tree.jets(entry_start=start, entry_stop=start + 100_000)
            pairs = jets[ak.num(jets) >= 2]
            spectrum.fill((pairs[:, 0] + pairs[:, 1]).mass)
    print(spectrum)


if __name__ == "__main__":
    main()
