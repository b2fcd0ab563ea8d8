"""Names of jets in forty and more experiments, frameworks and datasets, and names that only look like jets."""

import numpy as np
import pytest
from conftest import random_jets
from layouts import LAYOUTS, PT_M, Stored

from atlasae.files.branches import Branch
from atlasae.jets.collections import MEV_PER_UNIT, Collection
from atlasae.jets.layouts import Layout
from atlasae.jets.names import names_jets, names_others, spelled
from atlasae.jets.recognition import find_collections
from atlasae.jets.stored import Storage
from atlasae.jets.units import settle


def branches_of(stored: Stored) -> list[Branch]:
    more = [name for names in stored.more for name in names]
    return [Branch(name, stored.dtype, stored.shape == "lists") for name in (*stored.others, *stored.branches, *more)]


def columns_of(stored: Stored) -> list[np.ndarray]:
    """Jets of some 40 GeV, as they are stored."""
    jets = np.stack(list(random_jets(200).values()), axis=1)
    kept = Storage(
        Layout(stored.variables), (np.dtype(stored.dtype),) * len(stored.variables), MEV_PER_UNIT[stored.units]
    )
    return kept.to_columns(kept.from_rows(jets))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_jets_of_every_experiment_are_found_with_their_units(layout):
    stored = LAYOUTS[layout]
    found = find_collections(branches_of(stored), tree=stored.tree)
    assert [tuple(c.branches.values()) for c in found] == [stored.branches, *stored.more]
    assert {c.variables for c in found} == {stored.variables}
    settled = settle(found, None, [columns_of(stored)] * len(found))
    assert {c.units for c in settled} == {stored.units}
    made = [name for c in found for name in c.latents]
    assert len(set(made)) == len(made)


def four(prefix: str = "", suffix: str = "", variables: tuple[str, ...] = PT_M) -> list[Branch]:
    return [Branch(f"{prefix}{v}{suffix}", "<f4", True) for v in variables]


@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [
        *((f"jet_{other}_", "") for other in ("trk", "track", "sv", "constituent", "muon", "ele", "parton", "met")),
        *(("jet_", "_" + other) for other in ("err", "unc", "sigma", "resolution", "track")),
        *((other, "") for other in ("Electron_", "mu_", "dijet_", "JetConst.", "Jets.Trk.", "nonJet_", "genPart_")),
        *((other, "") for other in ("JetArea_", "Jet.Constituents.", "jetTrk", "kt_", "adj_", "jpsi_", "Jpsi")),
        *(("", other) for other in ("_mu1", "_W", "_jpsi", "_jj")),
    ],
)
def test_what_is_no_jet_is_not_taken(prefix, suffix):
    assert find_collections(four(prefix, suffix)) == []
    (found,) = find_collections(four(prefix, suffix), everything=True) or [None]
    assert found is None or set(found.branches.values()) == {b.name for b in four(prefix, suffix)}


@pytest.mark.parametrize(
    "stem",
    [
        "Jets",
        "bjet",
        "trackJets",
        "j1",
        "leadjet",
        "AK4CHS",
        "AntiKtR060",
        "fat_jet_2",
        "jet_constscale",
        "jet_Flavor_Response_up",
    ],
)
def test_jets_are_called_many_names(stem):
    assert names_jets(stem)


@pytest.mark.parametrize("tree", ["muons", "DF_1/O2track", "Electron", "photons"])
def test_plain_names_in_a_tree_of_others_are_no_jets(tree):
    assert names_others(tree) and not names_others("Events") and not names_others("trackjets")
    assert find_collections(four(), tree=tree) == [] and len(find_collections(four(), tree="DF_1/O2jet")) == 1
    assert len(find_collections(four("jet_"), tree=tree)) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Jet_pt_nom", ("pt", "Jet", "nom", "Jet_nom_")),
        ("jet_e_JET_JER__1up", ("E", "jet", "JET_JER__1up", "jet_JET_JER__1up_")),
        ("Jet_pt_jesTotalUp", ("pt", "Jet", "jesTotalUp", "Jet_jesTotalUp_")),
        ("jet_pt_JET_Flavor_Response__1up", ("pt", "jet", "JET_Flavor_Response__1up", "jet_JET_Flavor_Response__1up_")),
        ("pt_jet1", ("pt", "jet1", "", "jet1_")),
        ("n_ptjet_a", ("pt", "n_jet_a", "", "n_jet_a_")),
        ("m_energy", ("E", "", "", "m_")),
        ("jets.m_eta", ("eta", "jets", "", "jets.")),
        ("jetpt2", ("pt", "jet", "2", "jet2_")),
        ("jets.fP.fZ", ("pz", "jets", "", "jets.")),
        ("jet 1 pt", ("pt", "jet 1", "", "jet 1 ")),
    ],
)
def test_a_name_is_taken_apart(name, expected):
    found = spelled(name)
    assert found and (found.variable, found.stem, found.variation, found.prefix) == expected


@pytest.mark.parametrize(
    "name", ["eventNumber", "nJet", "Jet_btagDeepFlavB", "Jet_area", "jet", "Jet_muEF", "fpt", "jet_pt_err_up", ""]
)
def test_other_names_spell_no_variable(name):
    assert spelled(name) is None or not names_jets(spelled(name).stem)


# --- systematics


def found_in(*names: str) -> list[Collection]:
    return find_collections([Branch(name, "<f4", True) for name in names])


def test_nominal_jets_come_first_and_own_what_is_shared():
    names = [f"jet_{v}_JET_JER__1up" for v in ("pt", "e")] + ["jet_eta", "jet_phi", "jet_pt_NOSYS", "jet_e_NOSYS"]
    assert next(iter(found_in(*names))).branches == {
        "pt": "jet_pt_NOSYS", "eta": "jet_eta", "phi": "jet_phi", "E": "jet_e_NOSYS",
    }  # fmt: skip


def test_variations_share_what_the_nominal_jets_own():
    names = [f"Jet_{v}{s}" for s in ("_jesUp", "", "_jesDown") for v in ("pt", "mass")] + ["Jet_eta", "Jet_phi"]
    nominal, *others = found_in(*names)
    assert (nominal.prefix, nominal.shared) == ("Jet_", ())
    assert [(c.prefix, c.shared) for c in others] == [(f"Jet_{s}_", ("eta", "phi")) for s in ("jesUp", "jesDown")]
    assert [c.own for c in others] == [[f"Jet_pt_{s}", f"Jet_mass_{s}"] for s in ("jesUp", "jesDown")]
    assert [list(c.branches.values())[1:3] for c in others] == [["Jet_eta", "Jet_phi"]] * 2
    assert [c.shared for c in found_in(*(name.replace("mass", "e") for name in names))] == [
        c.shared for c in found_in(*names)
    ]


def test_variations_with_variables_of_their_own_are_collections():
    names = [f"jet_{v}{s}" for v in PT_M for s in ("", "_up", "_down")]
    assert [c.prefix for c in found_in(*names)] == ["jet_", "jet_up_", "jet_down_"]


def test_a_variation_of_pt_alone_is_none():
    assert [c.name for c in found_in("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_pt_raw")] == ["Jet"]


@pytest.mark.parametrize("tree", ["B0", "B0_mc", "ntuples/D0", "Jpsi", "Kshort", "Lambda_b", "B02DPi", "Bplus"])
def test_trees_of_hadrons_are_of_others(tree):
    assert names_others(tree)


@pytest.mark.parametrize("tree", ["T", "B", "D", "events", "data", "Delphes", "pico", "ds", "dst", "background"])
def test_other_trees_may_be_of_jets(tree):
    assert not names_others(tree)
