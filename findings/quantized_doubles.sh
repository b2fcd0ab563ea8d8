#!/usr/bin/env bash
# uproot 5.7.7 reads RNTuple fields of type double that are stored as Real32Quant in single precision only.
#
# ROOT stores such a number as one of up to 2^32 steps between two bounds, and computes a double from it. uproot does so
# in float32, of 24 bits: of 32 bits eight are gone, and of fewer the value is rounded. The field's type stays double in
# the file, uproot's array is of float32.
#
# Seen with uproot 5.7.7 and ROOT 6.40 (root 0.1a12), 2/3 as one of 2^32 steps between 0 and 1000:
#   ROOT reads 0.6666667760970693, uproot 0.6666668 of type float32
# This script fails when uproot reads the double.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary :all: root==0.1a12 uproot==5.7.7 awkward==2.14.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os

import ROOT
import uproot

ROOT.gInterpreter.Declare("""
#include <ROOT/RField.hxx>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleReader.hxx>
#include <ROOT/RNTupleWriter.hxx>
double there_and_back() {
  auto model = ROOT::RNTupleModel::Create();
  auto field = std::make_unique<ROOT::RField<double>>("x");
  field->SetQuantized(0, 1000, 32);
  model->AddField(std::move(field));
  auto x = model->GetDefaultEntry().GetPtr<double>("x");
  { auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "t", "x.root"); *x = 2. / 3; writer->Fill(); }
  return ROOT::RNTupleReader::Open("t", "x.root")->GetView<double>("x")(0);
}""")
root, field = ROOT.there_and_back(), uproot.open("x.root")["t/x"]
read = field.array()
print(f"ROOT {ROOT.gROOT.GetVersion()}: {root!r}, uproot {uproot.__version__}: {read[0]!r}, {read.type} of {field.typename}", flush=True)
os._exit(0 if float(read[0]) != root and "float32" in str(read.type) else 1)  # ROOT may crash at its end
PYTHON
