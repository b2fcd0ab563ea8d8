"""How experiments, frameworks and datasets store jets: names, containers and units, with what stands beside them."""

from dataclasses import dataclass

PT_M, PT_E = ("pt", "eta", "phi", "m"), ("pt", "eta", "phi", "E")
P_E, P_M = ("px", "py", "pz", "E"), ("px", "py", "pz", "m")
P_ME = (*P_M, "E")


@dataclass(frozen=True)
class Stored:
    """Jets in a tree: their branches, and others that are no jets.

    `shape` is of the branches: `lists`, `single` numbers or `arrays` of four.
    """

    variables: tuple[str, ...]
    branches: tuple[str, ...]
    units: str = "GeV"
    shape: str = "lists"
    dtype: str = "<f4"
    tree: str = "Events"
    others: tuple[str, ...] = ()
    more: tuple[tuple[str, ...], ...] = ()  # further collections of the same variables


def _all(prefix: str, *tokens: str, suffix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{token}{suffix}" for token in tokens)


def _each(stem: str, *variables: str) -> tuple[str, ...]:
    return tuple(f"{stem}{v}" for v in variables)


_PT_M, _PT_E = ("pt", "eta", "phi", "m"), ("pt", "eta", "phi", "e")
_NANO = ("pt", "eta", "phi", "mass")
_FM, _POLAR = ("Pt", "Eta", "Phi", "M"), "obj.m_state.p4Polar_.fCoordinates.f"
_PXYZ_M = ("px", "py", "pz", "mass")
_ELECTRONS = (*_each("Electron_", *_NANO), *_each("Muon_", *_NANO), *_each("Tau_", *_NANO), "MET_pt", "MET_phi")

LAYOUTS = {
    # ATLAS
    "PHYSLITE": Stored(
        PT_M, _each("AnalysisJetsAuxDyn.", *_PT_M), "MeV", tree="CollectionTree",
        others=_each("AnalysisMuonsAuxDyn.", *_PT_M),
    ),
    "DAOD_PHYS": Stored(
        PT_M, _each("AntiKt10UFOCSSKJetsAuxDyn.", *_PT_M), "MeV",
        others=_each("AntiKt4EMPFlowJets.ActiveArea4vec_", *_PT_M), tree="CollectionTree",
    ),
    "truth jets": Stored(PT_M, _each("AntiKt4TruthDressedWZJetsAuxDyn.", *_PT_M), "MeV"),
    "open data": Stored(
        PT_E, _each("jet_", "pt", "eta", "phi", "E"), "MeV", tree="mini", others=_each("lep_", "pt", "eta", "phi", "E")
    ),
    "AnalysisTop": Stored(
        PT_E, _each("jet_", *_PT_E), "MeV", tree="nominal", others=(*_each("el_", *_PT_E), *_each("mu_", *_PT_E))
    ),
    "TopCPToolkit": Stored(
        PT_E, ("jet_pt_NOSYS", "jet_eta", "jet_phi", "jet_e_NOSYS"), "MeV", tree="reco",
        others=("el_pt_NOSYS", "el_eta", "el_phi", "el_e_NOSYS"),
    ),
    "easyjet": Stored(
        PT_M, _all("recojet_antikt4PFlow_", *_PT_M, suffix="_NOSYS"), "MeV", tree="AnalysisMiniTree",
        others=_all("muon_", *_PT_M, suffix="_NOSYS"),
    ),
    "trigger": Stored(PT_M, _each("offline_akt4_pf_NOSYS_", *_PT_M), "MeV"),
    "infix": Stored(
        PT_E, ("ljet_NOSYS_pt", "ljet_eta", "ljet_phi", "ljet_NOSYS_e"), "MeV", others=("jet_track_pt",)
    ),
    # CMS
    "NanoAOD": Stored(PT_M, _each("Jet_", *_NANO), others=_ELECTRONS, more=(_each("FatJet_", *_NANO),)),
    "NanoAOD-tools": Stored(
        PT_M, _all("Jet_", *_NANO, suffix="_nom"),
        others=("Jet_pt_jesTotalUp_err", *_ELECTRONS, *_all("Jet_", *_NANO, suffix="_unc")),
    ),
    "HTT": Stored(PT_M, ("jpt_1", "jeta_1", "jphi_1", "jm_1"), shape="single", others=("pt_1", "eta_1", "phi_1")),
    "ggNtuplizer": Stored(
        PT_E, _each("jet", "Pt", "Eta", "Phi", "En"), others=_each("ele", "Pt", "Eta", "Phi", "En"), tree="EventTree"
    ),
    "ggNtuplizer AK8": Stored(PT_M, _each("AK8Jet", "Pt", "Eta", "Phi", "Mass")),
    "heavy-ion forest": Stored(PT_M, _each("jt", *_PT_M), others=("refpt", "rawpt", "trkPt", "trkEta"), tree="t"),
    "AOD": Stored(
        PT_M, _each(f"recoPFJets_ak4PFJets__RECO.{_POLAR}", *_FM),
        others=_each(f"recoPFCandidates_particleFlow__RECO.{_POLAR}", *_FM),
    ),
    "CMS4": Stored(
        P_E, _each("floatROOTMathLorentzVectors_pfJetMaker_pfjetsp4_CMS3.obj.fCoordinates.f", "X", "Y", "Z", "T")
    ),
    "TreeMaker": Stored(
        PT_E, _each("JetsAK8.fCoordinates.f", "Pt", "Eta", "Phi", "E"),
        others=_each("Muons.fCoordinates.f", "Pt", "Eta", "Phi", "E"), tree="PreSelection",
    ),
    "Bacon": Stored(PT_M, _each("AK4CHS.", *_NANO), others=_each("Muon.", *_NANO)),
    "flat AK8": Stored(PT_M, _each("AK8Puppijet0_", *_NANO), shape="single", dtype="<f8"),
    "dataformats": Stored(PT_M, _each("patJets_slimmedJets__PAT.obj.", "pt_", "eta_", "phi_", "mass_")),
    "scouting": Stored(PT_M, _each("ScoutingPFJet_", *_PT_M), others=_each("ScoutingMuon_", *_PT_M)),
    # other experiments
    "ALICE O2": Stored(
        PT_M, _each("f", "Pt", "Eta", "Phi", "Mass"), tree="O2jet", shape="single", others=("fArea", "fR", "fEnergy")
    ),
    "ALICE emcal": Stored(PT_M, _each("Jets.f", "Pt", "Eta", "Phi", "M"), others=("Jets.fArea",)),
    "LHCb": Stored(
        P_E, _each("Jet_", "PX", "PY", "PZ", "PE"), "MeV", "single", "<f8", tree="DecayTree",
        others=_each("muplus_", "PX", "PY", "PZ", "PE"),
    ),
    "STAR": Stored(PT_E, _each("mJets.m", "Pt", "Eta", "Phi", "E"), others=("mJets.mTracks.mPt",)),
    "sPHENIX": Stored(PT_E, _each("", "m_pt", "m_eta", "m_phi", "m_energy"), tree="T"),
    "H1": Stored(P_E, _each("Jet_", "px", "py", "pz", "e"), others=_each("Electron_", "px", "py", "pz", "e")),
    "LCTuple": Stored(P_E, _each("j", "mox", "moy", "moz", "ene"), others=_each("mc", "mox", "moy", "moz", "ene")),
    "EDM4eic": Stored(
        P_E, _each("ReconstructedChargedJets.", "momentum.x", "momentum.y", "momentum.z", "energy"),
        others=_each("ReconstructedParticles.", "momentum.x", "momentum.y", "momentum.z", "energy"),
    ),
    "EDM4hep": Stored(P_M, _each("JetOut/JetOut.", "momentum.x", "momentum.y", "momentum.z", "mass")),
    "FCCAnalyses": Stored(P_ME, _each("Jet/Jet.", "momentum.x", "momentum.y", "momentum.z", "mass", "energy")),
    "FCC-EDM": Stored(P_M, _each("jets.core.p4.", *_PXYZ_M), others=_each("skimmedGenParticles.core.p4.", *_PXYZ_M)),
    # generators, simulation, datasets
    "Delphes": Stored(
        PT_M, _each("Jet.", "PT", "Eta", "Phi", "Mass"), tree="Delphes",
        others=_each("Track.", "PT", "Eta", "Phi", "Mass"),
    ),
    "HEP tutorial": Stored(P_E, _each("Jet_", "Px", "Py", "Pz", "E"), others=_each("Muon_", "Px", "Py", "Pz", "E")),
    "JetClass": Stored(
        PT_E, _each("jet_", "pt", "eta", "phi", "energy"), shape="single", tree="tree",
        others=_each("part_", "px", "py", "pz", "energy"),
    ),
    "LHC Olympics": Stored(
        P_M, _each("", "pxj1", "pyj1", "pzj1", "mj1"), shape="single", more=(_each("", "pxj2", "pyj2", "pzj2", "mj2"),)
    ),
    "numbered": Stored(
        PT_M, _each("jet1_", *_PT_M), shape="single", more=(_each("jet2_", *_PT_M),), others=_each("dijet_", *_PT_M)
    ),
    "variable first": Stored(
        PT_E, ("pt_jet1", "eta_jet1", "phi_jet1", "E_jet1"), shape="single",
        others=("pt_mu1", "eta_mu1", "phi_mu1", "E_mu1"),
    ),
    "camelCase": Stored(PT_M, _each("leadingJet", "Pt", "Eta", "Phi", "Mass"), shape="single"),
    "table": Stored(PT_M, _PT_M, "MeV", "single"),
    # containers
    "fixed arrays": Stored(PT_M, _each("jet_", *_PT_M), shape="arrays"),
    "leaf list": Stored(PT_M, _each("jet.", *_PT_M), shape="single", others=("jet.btag",)),
    "TLorentzVector": Stored(P_E, ("jet1.fP.fX", "jet1.fP.fY", "jet1.fP.fZ", "jet1.fE"), shape="single", dtype="<f8"),
    "TClonesArray": Stored(P_E, ("jets.fP.fX", "jets.fP.fY", "jets.fP.fZ", "jets.fE"), dtype="<f8"),
    "ROOT::Math": Stored(PT_M, _each("leadjet.fCoordinates.f", "Pt", "Eta", "Phi", "M"), shape="single", dtype="<f8"),
    "records": Stored(PT_M, _each("Jet.p4.", *_PT_M), others=("Jet.constituents.pt",)),
}  # fmt: skip
