"""Make users.root with ROOT: jets in objects and arrays of users, which uproot does not write, one tree for each.

Run it where `import ROOT` works, with a C++ compiler for the dictionaries; tests read the file.
"""

import tempfile
from pathlib import Path

import ROOT

CODE = r"""
#include <TClonesArray.h>
#include <TFile.h>
#include <TRandom3.h>
#include <TTree.h>
#include "Math/Vector4D.h"
struct Jet { float pt, eta, phi, m; int flavour; };
struct Clone : public TObject { float pt, eta, phi, m; ClassDef(Clone, 1) };
struct Event { int number; std::vector<Jet> jets; };

void make(const char* path) {
TFile file(path, "RECREATE", "", 505);
TRandom3 random(1);
auto fill = [&](TTree& tree, auto set) { for (int e = 0; e < 40; ++e) { set(e); tree.Fill(); } tree.Write(); };
auto jet = [&] {
    float pt = 20 + random.Exp(40);
    return Jet{pt, float(random.Gaus(0, 1.5)), float(random.Uniform(-3.14, 3.14)), float(pt * random.Uniform(.05, .2)),
               int(random.Integer(6))};
};
{ TTree tree("by_member", ""); auto jets = new std::vector<Jet>; tree.Branch("jets", &jets, 32000, 0);
  fill(tree, [&](int e) { jets->resize(e % 4); for (auto& j : *jets) j = jet(); }); }
{ TTree tree("single", ""); auto one = new Jet; tree.Branch("jet", &one, 32000, 0);
  fill(tree, [&](int) { *one = jet(); }); }
{ TTree tree("clones", ""); auto jets = new TClonesArray("Clone"); tree.Branch("jets", &jets, 32000, 0);
  fill(tree, [&](int e) {
    jets->Clear();
    for (int k = 0; k < e % 4; ++k) {
      auto one = (Clone*)jets->ConstructedAt(k); auto j = jet();
      one->pt = j.pt; one->eta = j.eta; one->phi = j.phi; one->m = j.m;
    }
  }); }
{ TTree tree("event", ""); auto event = new Event; tree.Branch("event", &event, 32000, 0);
  fill(tree, [&](int e) { event->number = e; event->jets.resize(e % 4); for (auto& j : event->jets) j = jet(); }); }
for (auto name : {"PtEtaPhiM", "p4"}) {
  TTree tree(name, ""); int n; float numbers[4][4]; tree.Branch("njet", &n, "njet/I");
  tree.Branch(TString("jet_") + name, numbers, TString::Format("jet_%s[njet][4]/F", name));
  fill(tree, [&](int e) {
    n = e % 4;
    for (int k = 0; k < n; ++k) {
      auto j = jet(); ROOT::Math::PtEtaPhiMVector v(j.pt, j.eta, j.phi, j.m);
      float polar[] = {j.pt, j.eta, j.phi, j.m}, p4[] = {float(v.Px()), float(v.Py()), float(v.Pz()), float(v.E())};
      std::copy_n(name[1] == '4' ? p4 : polar, 4, numbers[k]);
    }
  });
}
}
#ifdef __CLING__
#pragma link C++ class Jet+;
#pragma link C++ class std::vector<Jet>+;
#pragma link C++ class Clone+;
#pragma link C++ class Event+;
#endif
"""

with tempfile.TemporaryDirectory() as folder:
    macro = Path(folder) / "users.C"
    macro.write_text(CODE)
    ROOT.gROOT.LoadMacro(f"{macro}+")
    ROOT.make(str(Path(__file__).with_name("users.root")))
