#!/usr/bin/env python
"""The dijet mass spectrum of a compressed file, which is never decompressed to disk.

python scripts/examples/dijet_mass.py SMALL.root
"""

import sys

import awkward as ak
import hist

import atlasae

PER_GEV = {"MeV": 1000, "GeV": 1, "TeV": 0.001}


def main() -> None:
    """Fill the spectrum of the two jets with most pt, 100,000 events at a time, and print it."""
    spectrum = hist.Hist.new.Reg(20, 10, 10_000, transform=hist.axis.transform.log, label="dijet mass [GeV]").Double()
    with atlasae.open(sys.argv[1]) as tree:
        for start in range(0, tree.num_entries, 100_000):
            jets = tree.jets(entry_start=start, entry_stop=start + 100_000)
            in_order = jets[ak.argsort(jets.pt, ascending=False)]
            pairs = in_order[ak.num(in_order) >= 2]
            spectrum.fill((pairs[:, 0] + pairs[:, 1]).mass / PER_GEV[jets.attrs["units"]])
    print(f"{spectrum.sum(flow=True):.0f} pairs of '{tree.main}'")
    print(spectrum)


if __name__ == "__main__":
    main()
