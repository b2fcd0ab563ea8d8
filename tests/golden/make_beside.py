"""Make beside.root with ROOT: what it stores of trees, objects and folders that uproot reads but does not write.

Run it where `import ROOT` works; tests read the file.
"""

import ROOT

MAKE = """{
TFile file("beside.root", "RECREATE", "", 505);
int n; float pt[4], eta[4], phi[4], m[4];
TTree friendly("friendly", ""); friendly.Branch("n", &n);
TTree events("Events", "with much beside");
events.Branch("nJet", &n, "nJet/I");
events.Branch("Jet_pt", pt, "Jet_pt[nJet]/F"); events.Branch("Jet_eta", eta, "Jet_eta[nJet]/F");
events.Branch("Jet_phi", phi, "Jet_phi[nJet]/F"); events.Branch("Jet_mass", m, "Jet_mass[nJet]/F");
for (int e = 0; e < 20; ++e) {
    n = e % 4;
    for (int i = 0; i < n; ++i) { pt[i] = 90 + e - i; eta[i] = .1 * e - i; phi[i] = .1 * e; m[i] = 9 + i; }
    events.Fill(); friendly.Fill();
}
friendly.Write();
events.SetWeight(0.25); events.SetAlias("ht", "Sum$(Jet_pt)"); events.BuildIndex("nJet"); events.AddFriend("friendly");
events.GetUserInfo()->Add(new TNamed("release", "21.2"));
events.Write();
TTree plain("plain", ""); plain.Branch("n", &n); plain.Fill(); plain.GetUserInfo(); plain.Write(); plain.Fill();
plain.Write();
TNtuple tuple("tuple", "", "a:b"); tuple.Fill(1, 2); tuple.Write();
std::vector<std::vector<float>> lists = {{1, 2}};
TTree nested("nested", ""); nested.Branch("lists", &lists); nested.Branch("n", &n); nested.Fill(); nested.Write();
TH1F average("average", "", 2, 0, 1); average.SetBit(TH1::kIsAverage); average.Fill(.3); average.Write();
TH1F twice("twice", "", 2, 0, 1); twice.Write(); twice.Write();
TH1F changed("changed", "", 2, 0, 1); changed.Write(); changed.Fill(.3); changed.Write();
double x[3] = {1, 2, 3};
TGraph graph(3, x, x); graph.SetName("graph"); graph.Fit("pol1", "Q0"); graph.Write();
TH1F fitted("fitted", "", 8, -3, 3); fitted.FillRandom("gaus", 100); fitted.Fit("gaus", "Q0"); fitted.Write();
TParameter<double> luminosity("luminosity", 3.5); luminosity.Write();
file.mkdir("empty");
TDirectory* titled = file.mkdir("titled", "of the second kind"); titled->cd();
TNamed inside("inside", "text"); inside.Write();
file.Close();
}"""

ROOT.gErrorIgnoreLevel = ROOT.kFatal
ROOT.gInterpreter.ProcessLine(MAKE)
