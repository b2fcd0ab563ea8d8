"""Collections: which of several is the main one."""

import pytest

from atlasae.jets.collections import main_collection


@pytest.mark.parametrize(
    ("jets", "main"),
    [
        ({"FatJet": 9, "GenJet": 99, "Jet": 5, "SoftActivityJet": 50}, "Jet"),
        ({"AntiKt4TruthJetsAuxDyn": 99, "AnalysisJetsAuxDyn": 9, "AnalysisLargeRJetsAuxDyn": 3}, "AnalysisJetsAuxDyn"),
        ({"Jet_nom": 9, "jets": 5}, "jets"),
        ({"Jet": 0, "CorrT1METJet": 7, "AntiKt4EMPFlowJets": 3, "AntiKt4LCTopoJets": 4}, "AntiKt4LCTopoJets"),
        ({"GenJet": 4, "FatJet": 5}, "FatJet"),
        ({"Jet": 0, "GenJet": 0}, "Jet"),
        ({"AntiKt4TruthJetsAuxDyn": 3}, "AntiKt4TruthJetsAuxDyn"),
        ({"HLT_Jet": 8, "L1Jet": 7, "reco_jets": 2}, "reco_jets"),
        ({"Jet_jesTotalUp": 9, "jet": 1}, "jet"),
    ],
)
def test_the_main_collection_has_a_plain_name_else_most_jets(jets, main):
    assert main_collection(jets) == main
