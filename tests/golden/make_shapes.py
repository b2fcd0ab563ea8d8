"""Make shapes.root with ROOT: jets in the containers that uproot does not write, one tree for each.

Run it where `import ROOT` works; tests read the file.
"""

import ROOT

MAKE = r"""
#include "Math/Vector4D.h"
struct Four { float pt, eta, phi, m; };
struct Five { int flavour; float pt, eta, phi, m; double btag; };
using Polar = ROOT::Math::PtEtaPhiMVector;

void make(const char* path) {
TFile file(path, "RECREATE", "", 505);
TRandom3 random(1);
const int events = 60;
auto jet = [&] {
    return Polar(20 + random.Exp(40), random.Gaus(0, 1.5), random.Uniform(-3.14, 3.14), 2 + random.Exp(6));
};
auto set = [](TLorentzVector& v, const Polar& j) { v.SetPtEtaPhiM(j.Pt(), j.Eta(), j.Phi(), j.M()); };
{ TTree tree("arrays", ""); float pt[4], eta[4], phi[4], m[4]; int event = 0;
  tree.Branch("event", &event); tree.Branch("jet_pt", pt, "jet_pt[4]/F"); tree.Branch("jet_eta", eta, "jet_eta[4]/F");
  tree.Branch("jet_phi", phi, "jet_phi[4]/F"); tree.Branch("jet_m", m, "jet_m[4]/F");
  for (; event < events; ++event) {
    for (int k = 0; k < 4; ++k) {
      Polar j = k > 1 + event % 3 ? Polar(0, 0, 0, 0) : jet();
      pt[k] = j.Pt(); eta[k] = j.Eta(); phi[k] = j.Phi(); m[k] = j.M();
    }
    tree.Fill();
  }
  tree.Write(); }
{ TTree tree("leaves", ""); Four four; tree.Branch("jet", &four, "pt/F:eta/F:phi/F:m/F");
  for (int e = 0; e < events; ++e) {
    Polar j = jet(); four = {float(j.Pt()), float(j.Eta()), float(j.Phi()), float(j.M())}; tree.Fill();
  }
  tree.Write(); }
{ TTree tree("more_leaves", ""); Five five;
  tree.Branch("jet", &five, "flavour/I:pt/F:eta/F:phi/F:m/F:btag/D");
  for (int e = 0; e < events; ++e) {
    Polar j = jet(); five = {e % 6, float(j.Pt()), float(j.Eta()), float(j.Phi()), float(j.M()), 1. / (e + 1)};
    tree.Fill();
  }
  tree.Write(); }
{ TTree tree("doubles32", ""); double pt, eta, phi, m; tree.Branch("jet_pt", &pt, "jet_pt/d");
  tree.Branch("jet_eta", &eta, "jet_eta/d"); tree.Branch("jet_phi", &phi, "jet_phi/d");
  tree.Branch("jet_m", &m, "jet_m/d");
  for (int e = 0; e < events; ++e) {
    Polar j = jet(); pt = j.Pt(); eta = j.Eta(); phi = j.Phi(); m = j.M(); tree.Fill();
  }
  tree.Write(); }
{ TTree tree("bits", ""); auto one = new TLorentzVector, two = new TLorentzVector;
  tree.Branch("jet1", &one); tree.Branch("jet2", &two);
  for (int e = 0; e < events; ++e) {
    set(*one, jet()); set(*two, jet()); two->SetBit(BIT(14), e % 3 == 0); tree.Fill();
  }
  tree.Write(); }
for (int split : {99, 0}) {
  auto named = [&](const char* name) { return TString(name) + (split ? "" : "_unsplit"); };
  auto fill = [&](TTree& tree, auto set) { for (int e = 0; e < events; ++e) { set(e); tree.Fill(); } tree.Write(); };
  { TTree tree(named("lorentz"), ""); auto one = new TLorentzVector, two = new TLorentzVector;
    tree.Branch("jet1", &one, 32000, split); tree.Branch("jet2", &two, 32000, split);
    tree.Branch("muon", &two, 32000, split);
    fill(tree, [&](int) { for (auto v : {one, two}) set(*v, jet()); }); }
  { TTree tree(named("clones"), ""); auto array = new TClonesArray("TLorentzVector");
    tree.Branch("jets", &array, 32000, split);
    fill(tree, [&](int e) {
      array->Clear();
      for (int k = 0; k < e % 5; ++k) set(*(TLorentzVector*)array->ConstructedAt(k), jet());
    }); }
  { TTree tree(named("lorentz_lists"), ""); auto list = new std::vector<TLorentzVector>;
    tree.Branch("Jets", &list, 32000, split);
    fill(tree, [&](int e) { list->resize(e % 5); for (auto& v : *list) set(v, jet()); }); }
  { TTree tree(named("vectors"), ""); auto one = new Polar, two = new Polar, four = new Polar;
    auto three = new ROOT::Math::PxPyPzEVector;
    tree.Branch("jet1", &one, 32000, split); tree.Branch("jet2", &two, 32000, split);
    tree.Branch("subjet.", &three, 32000, split); tree.Branch("tau", &four, 32000, split);
    fill(tree, [&](int) { *one = jet(); *two = jet(); *three = jet(); *four = jet(); }); }
  { TTree tree(named("lists"), "");
    auto list = new std::vector<ROOT::Math::LorentzVector<ROOT::Math::PxPyPzE4D<float>>>;
    tree.Branch("jets", &list, 32000, split);
    fill(tree, [&](int e) { list->resize(e % 5); for (auto& j : *list) j = jet(); }); }
}
}
"""
ROOT.gInterpreter.GenerateDictionary("vector<TLorentzVector>", "vector;TLorentzVector.h")
ROOT.gErrorIgnoreLevel = ROOT.kError
ROOT.gInterpreter.Declare(MAKE)
ROOT.make("shapes.root")
