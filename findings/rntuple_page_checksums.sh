#!/usr/bin/env bash
# RNTuples that uproot 5.7.7 writes have no checksums of their pages, those that ROOT writes have them by default.
#
# The format leaves page checksums open: the sign of the number of elements in the page list tells whether eight bytes of
# XXH3 follow a page. Header, footer and page lists have checksums in both. So damage in a page of uproot's is read as
# other values without a word, and ROOT's fast merging, which copies sealed pages and asserts that they have checksums,
# ends with uproot's files in words of the assertion and does not merge them.
#
# Seen with uproot 5.7.7 and ROOT 6.40 (root 0.1a12), one field of 1,000 floats:
#   pages with a checksum: 0 of 1 by uproot, 1 of 1 by ROOT
# This script fails when uproot writes checksums, or ROOT none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary :all: root==0.1a12 uproot==5.7.7 awkward==2.14.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os

import numpy as np
import ROOT
import uproot

with uproot.recreate("uproot.root") as file:
    file.mkrntuple("t", {"x": np.arange(1000, dtype=np.float32)})
ROOT.gInterpreter.Declare("""
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>
void write() {
  auto model = ROOT::RNTupleModel::Create();
  auto x = model->MakeField<float>("x");
  auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "t", "root.root");
  for (int i = 0; i < 1000; ++i) { *x = i; writer->Fill(); }
}""")
ROOT.write()


def checksums(path):
    columns = [column for cluster in uproot.open(path)["t"].page_link_list for column in cluster]
    return [bool(page.has_checksum) for column in columns for page in column.pages]


by_uproot, by_root = checksums("uproot.root"), checksums("root.root")
print(f"uproot {uproot.__version__}, ROOT {ROOT.gROOT.GetVersion()}: pages with a checksum: {sum(by_uproot)} of "
      f"{len(by_uproot)} by uproot, {sum(by_root)} of {len(by_root)} by ROOT", flush=True)
os._exit(0 if by_root and by_uproot and all(by_root) and not any(by_uproot) else 1)  # ROOT may crash at its end
PYTHON
