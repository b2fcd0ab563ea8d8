#!/usr/bin/env bash
# uproot 5.7.7 reads arrays of Double32_t with a range as floats, which they are not: no error, the right shape, nonsense.
#
# ROOT's leaf list `x[3]/d[-100,100]` stores each number as a whole number of steps of 200 / (2^32 - 1) above -100. The
# range stands behind the slash of the leaf's title, and uproot takes the first brackets there: those of the dimension.
# No range is found in them, so four bytes are read as a float. Scalars (`x/d[-100,100]`) are read right, but for
# rounding. Arrays of Float16_t (`y[3]/f`) end in an UnboundLocalError, of `low`, for the same reason.
#
# Seen with uproot 5.7.7 and ROOT 6.40 (root 0.1a12), filled with 1, 2 and 3:
#   ROOT reads [1.0000000011641532, 1.999999979045242, 3.0000000034924454],
#   uproot [-3.6675422400408844e-38, -2.106485661434095e-37, -1.2638914865435588e-36]
# and UnboundLocalError for `y`. This script fails when uproot reads the numbers, or says that it can't.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary :all: root==0.1a12 uproot==5.7.7 awkward==2.14.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import ROOT
import uproot

ROOT.gInterpreter.ProcessLine("""{
  TFile file("x.root", "RECREATE"); TTree tree("t", ""); Double32_t x[3] = {1, 2, 3}; Float16_t y[3] = {1, 2, 3};
  tree.Branch("x", x, "x[3]/d[-100,100]"); tree.Branch("one", x, "one/d[-100,100]"); tree.Branch("y", y, "y[3]/f");
  tree.Fill(); tree.Write(); }""")
file = ROOT.TFile.Open("x.root")
tree = file.Get("t")
tree.GetEntry(0)
root = [tree.GetLeaf("x").GetValue(i) for i in range(3)]
found = uproot.open("x.root")["t"]
read = found["x"].array(library="np")[0]
print(f"uproot {uproot.__version__}, ROOT {ROOT.gROOT.GetVersion()}: ROOT reads {root}, uproot {read.tolist()}")
print("a scalar with the same range:", found["one"].array(library="np"))
try:
    error = found["y"].array(library="np")
except UnboundLocalError as raised:
    error = raised
print("Float16_t:", repr(error))
as_ever = np.allclose(root, [1, 2, 3]) and not np.allclose(read, root) and isinstance(error, UnboundLocalError)
sys.exit(0 if as_ever else "uproot reads this otherwise now")
PYTHON
