"""Make odd.root with ROOT: what few files have beside their jets.

The jets of `maps` are in baskets with differences of offsets (kGenerateOffsetMap), beside an object that is not split
and texts of several objects; `clones` has objects with a Double32_t in a TClonesArray that is not split; `chain` is a
TChain.

    python make_odd.py odd.root    (a Python with ROOT 6.40)
"""

import sys
import tempfile
from pathlib import Path

import ROOT

CODE = r"""
#include <ROOT/TIOFeatures.hxx>
#include <TChain.h>
#include <TClonesArray.h>
#include <TFile.h>
#include <TNamed.h>
#include <TRandom3.h>
#include <TTree.h>
#include <TVector3.h>
class OddJet : public TObject { public: Double32_t fPt = 30; Double32_t fE = 40; ClassDef(OddJet, 1) };
void make(const char* path) {
  TFile file(path, "RECREATE", "", 505);
  TRandom3 random(1);
  const int events = 60;
  { TTree tree("maps", ""); int n; float pt[4], eta[4], phi[4], m[4]; double weight; auto vertex = new TVector3;
    ROOT::TIOFeatures features; features.Set(ROOT::Experimental::EIOFeatures::kGenerateOffsetMap);
    tree.SetIOFeatures(features);
    tree.Branch("nJet", &n, "nJet/I"); tree.Branch("Jet_pt", pt, "Jet_pt[nJet]/F");
    tree.Branch("Jet_eta", eta, "Jet_eta[nJet]/F"); tree.Branch("Jet_phi", phi, "Jet_phi[nJet]/F");
    tree.Branch("Jet_mass", m, "Jet_mass[nJet]/F"); tree.Branch("weight", &weight);
    tree.Branch("vertex", &vertex, 32000, 0);
    auto names = new TClonesArray("TNamed"); tree.Branch("names", &names);
    for (int e = 0; e < events; ++e) {
      n = e % 5; weight = e; vertex->SetXYZ(e, 1, 2);
      for (int k = 0; k < n; ++k) {
        pt[k] = 20 + random.Exp(40); eta[k] = random.Gaus(0, 1.5); phi[k] = random.Uniform(-3.14, 3.14);
        m[k] = 2 + random.Exp(6);
      }
      names->Clear("C");
      for (int k = 0; k < e % 3; ++k) static_cast<TNamed*>(names->ConstructedAt(k))->SetName(TString::Format("n%d", k));
      tree.Fill();
    }
    tree.Write(); }
  { TTree tree("clones", ""); auto jets = new TClonesArray("OddJet"); tree.Branch("jets", &jets, 32000, 0);
    for (int e = 0; e < events; ++e) {
      jets->Clear();
      for (int k = 0; k < e % 3; ++k) jets->ConstructedAt(k);
      tree.Fill();
    }
    tree.Write(); }
  TChain chain("maps"); chain.Add("other.root"); chain.Write("chain");
}
"""

with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "odd.C").write_text(CODE)
    ROOT.gROOT.ProcessLine(f".L {folder}/odd.C+")
    ROOT.make(sys.argv[1])
