#!/usr/bin/env bash
# uproot 5.7.7 reads other texts than ROOT wrote from a branch of C strings (`s/C`) where one is empty, or fails.
#
# ROOT writes nothing for an empty C string, not even its length: two offsets are the same. uproot takes a byte of
# length off each string, so an empty one has -1 bytes: an IndexError where it is the last of its basket, and elsewhere
# all strings behind it begin a byte too early.
#
# Seen with uproot 5.7.7 and ROOT 6.40 (root 0.1a12):
#   written ['abc', '', 'def'], read ['abc', '', 'c\x03']
#   written ['abc', 'def', ''], read IndexError('index 8 is out of bounds for axis 0 with size 8')
# This script fails when uproot reads them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary :all: root==0.1a12 uproot==5.7.7 awkward==2.14.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import ROOT
import uproot

right = 0
for texts in (["abc", "", "def"], ["abc", "def", ""]):
    fills = " ".join(f'strcpy(s, "{text}"); tree.Fill();' for text in texts)
    tree = 'TFile file("x.root", "RECREATE"); TTree tree("t", ""); char s[9]; tree.Branch("s", s, "s/C");'
    ROOT.gInterpreter.ProcessLine(f"{{ {tree} {fills} tree.Write(); }}")
    try:
        read = uproot.open("x.root")["t/s"].array().to_list()
    except IndexError as raised:
        read = repr(raised)
    print(f"uproot {uproot.__version__}, ROOT {ROOT.gROOT.GetVersion()}: written {texts}, read {read}")
    right += read == texts
sys.exit(0 if right == 0 else "uproot reads this otherwise now")
PYTHON
