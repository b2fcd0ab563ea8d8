"""Which collection an analysis means by `the jets`."""

import pytest

from atlasae.jets.collections import main_collection


@pytest.mark.parametrize(
    ("jets", "main"),
    [
        ({"FatJet": 10, "GenJet": 127, "Jet": 188, "SubJet": 300}, "Jet"),
        ({"AntiKt4TruthDressedWZJets": 900, "AnalysisJetsAuxDyn": 881, "AnalysisTauJets": 999}, "AnalysisJetsAuxDyn"),
        ({"AnalysisJetsAuxDyn.JetConstitScaleMomentum": 881, "AnalysisJetsAuxDyn": 881}, "AnalysisJetsAuxDyn"),
        ({"largeRjet": 50, "jet": 20, "truth_jet": 30}, "jet"),
        ({"GenJet": 5, "GenJetAK8": 2}, "GenJet"),
        ({"Jet": 0}, "Jet"),
    ],
)
def test_the_main_collection_has_most_of_the_usual_jets(jets, main):
    assert main_collection(jets) == main


def test_no_collection_is_no_main_one():
    with pytest.raises(ValueError):
        main_collection({})
