"""Write, with ROOT, trees that uproot reads wrongly, and the numbers that ROOT reads: golden files of the tests.

    python scripts/make_leaves.py FOLDER    (a Python with ROOT 6.40; as in test_interop.sh)

`numbers` has every way to store a Double32_t or Float16_t, `old` the leaf titles of older ROOT versions, `members`
those in a class, `texts` C strings, `offsets` arrays whose baskets have no offsets; `unequal` has branches with more or
fewer entries than their tree, or in another file; the name of `a/b` has a slash. A second file has jets of such
numbers, a third strings in baskets with differences of offsets (kGenerateOffsetMap).
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CODE = r"""
#include <ROOT/TIOFeatures.hxx>
#include <TFile.h>
#include <TLeaf.h>
#include <TRandom3.h>
#include <TTree.h>

struct Inner { Double32_t a; //[0,100,16]
  Double32_t b; //[-pi,pi] an angle
  Double32_t c; // in [MeV], from [low,high]
  Float16_t d; //[0,0,14]
  Float16_t e; //[0,0,18]
  Double32_t three[3]; //[-30,30,10]
  Float16_t four[2][2]; };
struct Outer { Inner one; std::vector<Inner> many; std::vector<Double32_t> list; //[0,100,8]
  std::vector<Float16_t> halves; int n = 0;
  Double32_t* counted = new Double32_t[9]; //[n][0,50,12]
  Float16_t* short_ones = new Float16_t[9]; //[n]
};

double value(int entry, int i) { return (entry % 7 == 3 ? -1 : 1) * (.1 + .31 * entry + .17 * i); }
void assign(Inner& inner, double x) {
  inner.a = x; inner.b = x / 10; inner.c = x; inner.d = x; inner.e = x;
  for (int i = 0; i < 4; i++) { if (i < 3) inner.three[i] = x - i; inner.four[i / 2][i % 2] = x + i; }
}

struct Buffers {
  int n = 0; Double32_t d[6]; Float16_t f[6];
  void fill(int entry) { n = entry % 3; for (int i = 0; i < 6; i++) d[i] = f[i] = value(entry, i); }
};
void branch(TTree& tree, Buffers& from, const std::string& name, const std::string& shape, const std::string& type) {
  void* where = type[0] == 'd' ? (void*)from.d : (void*)from.f;
  tree.Branch(name.c_str(), where, (name + shape + "/" + type).c_str());
}

// The words are name, shape and type of one branch after the other.
void make_numbers(const char* tree_name, const std::vector<std::string>& words, bool old) {
  TTree tree(tree_name, ""); Buffers from; tree.SetAutoFlush(7);
  tree.Branch("n", &from.n, "n/I");
  for (size_t i = 0; i < words.size(); i += 3) {
    branch(tree, from, words[i], words[i + 1], words[i + 2]);
    if (old) tree.GetLeaf(words[i].c_str())->SetTitle(words[i + 2].c_str());
  }
  for (int entry = 0; entry < 12; entry++) { from.fill(entry); tree.Fill(); }
  tree.Write();
}
void make_members() {
  TTree tree("members", ""); Outer outer; tree.Branch("top.", &outer, 32000, 99); tree.SetAutoFlush(7);
  for (int entry = 0; entry < 12; entry++) {
    const double x = value(entry, 0);
    assign(outer.one, x); outer.many.resize(entry % 3); outer.n = entry % 4; outer.list.clear(); outer.halves.clear();
    for (int i = 0; i < entry % 3; i++) assign(outer.many[i], x + i);
    for (int i = 0; i < outer.n; i++) {
      outer.list.push_back(x + i); outer.halves.push_back(x + i); outer.counted[i] = x + i; outer.short_ones[i] = x + i;
    }
    tree.Fill();
  }
  tree.Write();
}
void make_texts(bool steps) {
  TTree tree("texts", ""); char text[4][600]; std::string string; TString old_string, *pointer = &old_string;
  ROOT::TIOFeatures features; features.Set(ROOT::Experimental::EIOFeatures::kGenerateOffsetMap);
  if (steps) tree.SetIOFeatures(features);
  tree.SetAutoFlush(5);
  const char* names[] = {"first", "middle", "long", "none"};
  if (steps) { tree.Branch("string", &string); tree.Branch("old_string", "TString", &pointer); }
  for (int i = 0; i < 4; i++) tree.Branch(names[i], text[i], (std::string(names[i]) + "/C").c_str());
  for (int entry = 0; entry < 20; entry++) {
    const int lengths[] = {entry % 5 ? 3 : 0, entry % 4 ? entry % 4 : 0, 253 + entry % 4, 0};
    for (int i = 0; i < 4; i++) { std::fill_n(text[i], lengths[i], char('a' + entry)); text[i][lengths[i]] = 0; }
    string = text[2]; old_string = text[1]; tree.Fill();
  }
  tree.Write();
}
void make_offsets() {
  TTree tree("offsets", ""); Buffers from; struct { int k, l; } two; float x[6];
  ROOT::TIOFeatures features; features.Set(ROOT::Experimental::EIOFeatures::kGenerateOffsetMap);
  tree.SetIOFeatures(features);
  tree.Branch("n", &from.n, "n/I", 200); tree.Branch("two", &two, "k/I:l/I", 2000);
  tree.Branch("x", x, "x[n]/F", 300); tree.Branch("y", x, "y[l]/F", 200);
  for (int entry = 0; entry < 100; entry++) {
    from.fill(entry); two = {entry % 2, entry % 4};
    for (int i = 0; i < 6; i++) x[i] = value(entry, i);
    tree.Fill();
  }
  tree.Write();
}
void make_coarse() {
    TTree tree("Events", ""); TRandom3 dice(2); int n; Double32_t pt[9]; Float16_t eta[9], phi[9], m[9];
    tree.Branch("n", &n, "n/I");
    tree.Branch("jet_pt", pt, "jet_pt[n]/d[0,6500,16]");
    tree.Branch("jet_eta", eta, "jet_eta[n]/f[-5,5,9]");
    tree.Branch("jet_phi", phi, "jet_phi[n]/f[-pi,pi,14]");
    tree.Branch("jet_m", m, "jet_m[n]/f");
    for (int i = 0; i < 100; ++i) {
        n = i % 9;
        for (int j = 0; j < n; ++j) {
            pt[j] = 20 + dice.Exp(60); eta[j] = dice.Uniform(-4.5, 4.5); phi[j] = dice.Uniform(-3.14159, 3.14159);
            m[j] = dice.Uniform(2, 40);
        }
        tree.Fill();
    }
    tree.Write();
}
void make_events() {
  TTree tree("Events", ""); TRandom3 dice(1); Buffers from; Double32_t pt[6], eta[6], phi[6], m[6]; char text[9];
  tree.Branch("nJet", &from.n, "nJet/I"); tree.Branch("Jet_pt", pt, "Jet_pt[nJet]/d[0,6500]");
  tree.Branch("Jet_eta", eta, "Jet_eta[nJet]/d[-5,5,20]"); tree.Branch("Jet_phi", phi, "Jet_phi[nJet]/d[-pi,pi,18]");
  tree.Branch("Jet_mass", m, "Jet_mass[nJet]/d[0,0,14]"); branch(tree, from, "tag", "[nJet]", "d[0,100,16]");
  branch(tree, from, "fixed", "[2][3]", "f[-100,100]"); tree.Branch("text", text, "text/C");
  for (int entry = 0; entry < 60; entry++) {
    from.fill(entry);
    for (int i = 0; i < from.n; i++) {
      pt[i] = 20 + dice.Exp(50); eta[i] = dice.Gaus(0, 1.5); phi[i] = dice.Uniform(-3.1, 3.1);
      m[i] = pt[i] * dice.Uniform(.05, .2);
    }
    snprintf(text, 9, "%s", entry % 3 ? "abc" : "");
    tree.Fill();
  }
  tree.Write();
}
void make_unequal(const char* elsewhere) {
  TTree tree("unequal", ""); float x = 1; tree.Branch("x", &x, "x/F");
  auto more = tree.Branch("more", &x, "more/F"); tree.Branch("away", &x, "away/F", 200)->SetFile(elsewhere);
  for (int entry = 0; entry < 100; entry++) { tree.Fill(); more->Fill(); }
  auto less = tree.Branch("less", &x, "less/F"); less->Fill();
  tree.Write();
  TTree slash("a/b", ""); slash.Branch("x", &x, "x/F"); slash.Fill(); slash.Write();
}
std::vector<double> as_read(TTree& tree, const char* name) {
  tree.SetEstimate(100000);
  if (auto branch = tree.GetBranch(name); branch && branch->IsA() == TBranch::Class()) {  // Draw may miss offsets
    std::vector<double> found; auto leaf = static_cast<TLeaf*>(branch->GetListOfLeaves()->At(0));
    for (Long64_t entry = 0; entry < tree.GetEntries(); entry++) {
      tree.GetEntry(entry);
      for (int i = 0; i < leaf->GetLen(); i++) found.push_back(leaf->GetValue(i));
    }
    return found;
  }
  const auto many = tree.Draw(name, "", "goff");
  return {tree.GetV1(), tree.GetV1() + many};
}
"""

RANGES = (
    *("", "[0,6500]", "[-100,100]", "[-pi,pi]", "[0,twopi,12]", "[-2pi,2*pi,20]", "[0,100,2]", "[0,100,31]"),
    *("[ 0 , 1e3 , 24 ]", "[0,0,2]", "[0,0,8]", "[0,0,14]", "[0,0,15]", "[0,0,32]", "[5,0]"),
)
SHAPES = ("", "[3]", "[n]", "[2][3]", "[n][2]")


def main(folder: str) -> None:
    """Write steps.root, leaves.root, jets.root, coarse.root, and all numbers of the latter in leaves.npz."""
    import ROOT

    ROOT.gErrorIgnoreLevel = ROOT.kError
    ROOT.gInterpreter.Declare(CODE)
    root, elsewhere, today = (Path(folder).resolve() / f"{name}.root" for name in ("leaves", "elsewhere", "today"))
    jets = root.with_stem("jets")
    with ROOT.TFile.Open(str(today), "RECREATE"):  # ROOT 6.40 can't read titles of older versions
        ROOT.make_numbers("old", _branches("old"), False)
    with ROOT.TFile.Open(str(root), "RECREATE", "", 209):
        ROOT.make_numbers("numbers", _branches("numbers"), False)
        ROOT.make_numbers("old", _branches("old"), True)
        ROOT.make_members()
        ROOT.make_texts(False)
        ROOT.make_offsets()
        ROOT.make_unequal(elsewhere.name)
    with ROOT.TFile.Open(str(root.with_stem("steps")), "RECREATE", "", 209):
        ROOT.make_texts(True)
    with ROOT.TFile.Open(str(jets), "RECREATE", "", 209):
        ROOT.make_events()
    with ROOT.TFile.Open(str(root.with_stem("coarse")), "RECREATE", "", 209):
        ROOT.make_coarse()
    found = dict(_as_read(ROOT, root, "numbers", "members", "offsets"))
    found |= dict([*_as_read(ROOT, today, "old"), *_as_read(ROOT, jets, "Events")])
    counts = [len(values) for values in found.values()]
    np.savez_compressed(
        root.with_suffix(".npz"), names=[*found], counts=counts, values=np.concatenate([*found.values()])
    )
    elsewhere.unlink()
    today.unlink()


def _branches(tree: str) -> list[str]:
    """Name, shape and type of the branches of a tree; each range has several shapes."""
    return [
        word
        for i in range(len(RANGES))
        for j in ((i % 5, (i + 2) % 5) if tree == "numbers" else ((i % 3),))
        for kind in "df"
        if tree == "numbers" or RANGES[i]
        for word in (f"{kind}{i}_{j}", SHAPES[j], f"{kind}{RANGES[i]}")
    ]


def _as_read(ROOT: Any, path: Path, *trees: str) -> Iterator[tuple[str, np.ndarray]]:
    """All numbers of every branch, which is named `tree.branch`."""
    file = ROOT.TFile.Open(str(path))
    for name in trees:
        tree = file.Get(name)
        leaves = [leaf for leaf in tree.GetListOfLeaves() if leaf.GetBranch().GetName() not in ("two", "text")]
        names = [leaf.GetBranch().GetName().partition("[")[0] for leaf in leaves if not leaf.GetName().endswith("_")]
        for branch in dict.fromkeys(names):
            yield f"{name}.{branch}", np.array(ROOT.as_read(tree, branch))


if __name__ == "__main__":
    main(sys.argv[1])
