#!/usr/bin/env bash
# uproot 5.7.7 can't read lists from a tree that ROOT was asked to write without offsets (TIOFeatures, kGenerateOffsetMap:
# ROOT makes them again from the counter). Seen, for `pt[n]/F` in ten baskets, which ROOT 6.40.00 wrote and reads back:
# ValueError, "basket 0 in tree/branch /t;1:pt has the wrong number of entries (expected 108, obtained 483)". The same
# numbers in a single basket are read, so that a short file does not show it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary :all: root==0.1a12 uproot==5.7.7 awkward==2.14.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import ROOT
import awkward as ak
import uproot

ROOT.gInterpreter.Declare("""
#include <ROOT/TIOFeatures.hxx>
#include <TFile.h>
#include <TTree.h>

void write(const char* name, int basket) {
  TFile file(name, "RECREATE");
  TTree tree("t", "t");
  ROOT::TIOFeatures features;
  features.Set(ROOT::Experimental::EIOFeatures::kGenerateOffsetMap);
  tree.SetIOFeatures(features);
  int n;
  float pt[4];
  tree.Branch("n", &n, "n/I", basket);
  tree.Branch("pt", pt, "pt[n]/F", basket);
  for (int entry = 0; entry < 1000; ++entry) {
    n = 1 + entry % 4;
    for (int jet = 0; jet < n; ++jet) pt[jet] = 10 * entry + jet;
    tree.Fill();
  }
  tree.Write();
}
""")
want = [[10.0 * entry + jet for jet in range(1 + entry % 4)] for entry in range(1000)]
print("ROOT", ROOT.gROOT.GetVersion(), "uproot", uproot.__version__)
for name, basket in (("one.root", 32000), ("many.root", 2000)):
    ROOT.write(name, basket)
    file = ROOT.TFile.Open(name)
    assert [list(entry.pt) for entry in file.Get("t")] == want, "ROOT reads other numbers than it wrote"
    file.Close()
with uproot.open("one.root") as file:
    assert ak.to_list(file["t/pt"].array()) == want, "a single basket is not read: uproot has changed"
with uproot.open("many.root") as file:
    try:
        file["t/pt"].array()
    except ValueError as error:
        print(" ".join(str(error).split()))
    else:
        raise SystemExit("the lists are read: uproot has changed")
PYTHON
