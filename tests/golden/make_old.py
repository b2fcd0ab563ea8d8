"""Make old.root and circular.root with ROOT: a compression and a kind of tree that few files have.

The jets of old.root are compressed as in ROOT's first years (setting 309). Those of circular.root are in a tree that
keeps about twenty entries, after some of those it dropped were written.

    python make_old.py FOLDER    (a Python with ROOT 6.40)
"""

import sys
from array import array

import ROOT


def make(path: str, entries: int, compression: int = 505, kept: int = 0) -> None:
    """A file of so many entries with one to four jets, in a tree that keeps the last ones."""
    file, random = ROOT.TFile(path, "RECREATE", "", compression), ROOT.TRandom3(1)
    tree, count = ROOT.TTree("events", ""), array("i", [0])
    jets = {name: array("f", [0] * 4) for name in ("pt", "eta", "phi", "mass")}
    tree.Branch("nJet", count, "nJet/I")
    for name, values in jets.items():
        tree.Branch(f"Jet_{name}", values, f"Jet_{name}[nJet]/F")
    if kept:
        tree.SetCircular(kept)
        tree.SetAutoFlush(6)
    for entry in range(entries):
        count[0] = 1 + entry % 4
        for jet in range(count[0]):
            jets["pt"][jet], jets["eta"][jet] = 20 + random.Exp(40), random.Gaus(0, 1.5)
            jets["phi"][jet], jets["mass"][jet] = random.Uniform(-3.14, 3.14), 2 + random.Exp(6)
        tree.Fill()
    tree.Write()
    file.Close()


make(f"{sys.argv[1]}/old.root", 60, compression=309)
make(f"{sys.argv[1]}/circular.root", 35, kept=20)
