#!/usr/bin/env bash
# uproot 5.7.7 does not read a std::vector of objects that ROOT wrote with a split level of 1, if their class has no
# ClassDef. ROOT then puts byte count, version and checksum (10 bytes) in front of the member of each object, here
# fCoordinates of ROOT::Math::PtEtaPhiMVector: three of them take 3 * (10 + 4 * 8) = 126 bytes. uproot expects 32 bytes
# an object, says that the basket has the wrong number of bytes, and takes the branch of the member for its own counter
# (`count_branch`). With a split level of 99 the same vector is read.
#
# Seen with uproot 5.7.7 and ROOT 6.40 (root 0.1a12), events with 0, 1 and 2 jets: ROOT reads [12.0, 12.0] in the last,
# uproot raises ValueError, "basket 0 in tree/branch /t;1:jets/jets.fCoordinates has the wrong number of bytes (126) for
# interpretation AsStridedObjects(Model_ROOT_3a3a_Math_3a3a_PtEtaPhiM4D_3c_double_3e__v1)". This script fails when uproot
# reads the jets, or says otherwise that it can't. It needs a C++ compiler, for ROOT's dictionary.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary :all: root==0.1a12 uproot==5.7.7 awkward==2.14.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import ROOT
import uproot

ROOT.gInterpreter.GenerateDictionary(
    "vector<ROOT::Math::LorentzVector<ROOT::Math::PtEtaPhiM4D<double>>>", "vector;Math/Vector4D.h"
)
ROOT.gInterpreter.ProcessLine("""{
  TFile file("v.root", "RECREATE"); TTree tree("t", ""); std::vector<ROOT::Math::PtEtaPhiMVector> jets;
  tree.Branch("jets", &jets, 32000, 1); tree.Branch("deep", &jets, 32000, 99);
  for (int i = 0; i < 3; ++i) { jets.assign(i, ROOT::Math::PtEtaPhiMVector(10 + i, 1, 2, 3)); tree.Fill(); }
  tree.Write(); }""")
file = ROOT.TFile.Open("v.root")
tree = file.Get("t")
tree.GetEntry(2)
print("ROOT", ROOT.gROOT.GetVersion(), "reads", [jet.Pt() for jet in tree.jets])
found = uproot.open("v.root")["t"]
member = found["jets/jets.fCoordinates"]
print("uproot", uproot.__version__, "reads of a split level of 99", found["deep/deep.fCoordinates.fPt"].array().tolist())
print("the counter of jets.fCoordinates:", member.count_branch.name)
assert member.count_branch is member, "the counter is another branch: uproot has changed"
try:
    print(member.array())
except ValueError as error:
    told = " ".join(str(error).split())
    print("of a split level of 1:", told)
    assert "wrong number of bytes (126)" in told, "uproot says something else"
else:
    raise SystemExit("jets of a split level of 1 are read: uproot has changed")
PYTHON
