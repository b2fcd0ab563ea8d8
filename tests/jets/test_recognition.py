import re
import subprocess

import pytest

from atlasae.errors import UserError
from atlasae.files.branches import Branch
from atlasae.jets.collections import Collection, name_counters, stand_ins
from atlasae.jets.recognition import (
    find_collections,
    list_collection,
    match_branches,
    nearest_candidates,
    resolve_pattern,
)
from atlasae.jets.variables import read_variables


def branches(*names: str, dtype: str = "<f4", jagged: bool = True, counter: str | None = None) -> list[Branch]:
    return [Branch(name, dtype, jagged, counter) for name in names]


def spelled(stem: str, *tokens: str) -> list[str]:
    return [stem + token for token in tokens]


def only(found: list[Collection]) -> Collection:
    (collection,) = found
    return collection


XAOD = "AnalysisJetsAuxDyn."
PT_M = ("pt", "eta", "phi", "m")
PT_E = ("pt", "eta", "phi", "E")
P_E = ("px", "py", "pz", "E")
P_M = ("px", "py", "pz", "m")

LAYOUTS = {
    "xAOD": (spelled(XAOD, "pt", "eta", "phi", "m"), PT_M, XAOD, "AnalysisJetsAuxDyn"),
    "RNTuple": (spelled("AntiKt4Jets:", "pt", "eta", "phi", "m"), PT_M, "AntiKt4Jets:", "AntiKt4Jets"),
    "open data": (spelled("jet_", "pt", "eta", "phi", "E"), PT_E, "jet_", "jet"),
    "NanoAOD": (spelled("Jet_", "pt", "eta", "phi", "mass"), PT_M, "Jet_", "Jet"),
    "Delphes": (spelled("Jet.", "PT", "Eta", "Phi", "Mass"), PT_M, "Jet.", "Jet"),
    "HEP tutorial": (spelled("Jet_", "Px", "Py", "Pz", "E"), P_E, "Jet_", "Jet"),
    "plain": (spelled("", "pt", "eta", "phi", "m"), PT_M, "", "jets"),
    "plain E": (spelled("", "pt", "eta", "phi", "energy"), PT_E, "", "jets"),
    "a space": (spelled("jet ", "pT", "eta", "phi", "m"), PT_M, "jet ", "jet"),
    "blanks behind commas": (["jet_px", " jet_py", " jet_pz", " jet_e"], P_E, "jet_", "jet"),
    "records without a name": (spelled(".", "pt", "eta", "phi", "mass"), PT_M, "", "jets"),
    "fat jets": (spelled("fj_", "pt", "eta", "phi", "mass"), PT_M, "fj_", "fj"),
    "camelCase": (spelled("leadingJet", "Pt", "Eta", "Phi", "Mass"), PT_M, "leadingJet", "leadingJet"),
    "camelCase p": (spelled("fatJet", "Px", "Py", "Pz", "Energy"), P_E, "fatJet", "fatJet"),
    "H1": (["PtJet", "EtaJet", "PhiJet", "EJet"], PT_E, "Jet_", "Jet"),
    "ZEUS": ([f"Kt_{v}jet_a" for v in ("px", "py", "pz", "en")], P_E, "Kt_jet_a_", "Kt_jet_a"),
    "EDM4hep": (
        spelled("JetOut.", "momentum.x", "momentum.y", "momentum.z", "mass"),
        P_M, "JetOut.", "JetOut",
    ),
    "EDM4hep energy": (
        spelled("JetOut/JetOut.", "momentum.x", "momentum.y", "momentum.z", "energy"),
        P_E, "JetOut/JetOut.", "JetOut/JetOut",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("names", "variables", "prefix", "name"), LAYOUTS.values(), ids=LAYOUTS)
def test_finds_jets_as_each_experiment_spells_them(names, variables, prefix, name):
    found = only(find_collections(branches("eventNumber", *names[::-1], "weight")))
    assert found.branches == dict(zip(variables, names, strict=True))
    assert found.variables == variables  # in the order of the layout, not of the file
    assert (found.name, found.prefix) == (name, prefix)
    assert found.dtypes == dict.fromkeys(variables, "<f4")
    assert found.units is None


def test_m_is_preferred_where_both_m_and_energy_are_there():
    assert only(find_collections(branches(*spelled("jet_", "pt", "eta", "phi", "E", "m")))).variables == PT_M


def test_both_m_and_energy_are_taken_beside_px():
    names = spelled("Jet.", "px", "py", "pz", "m", "E")
    assert only(find_collections(branches(*names[::-1]))).variables == ("px", "py", "pz", "m", "E")
    assert resolve_pattern("Jet.{px,py,pz,m,E}", branches(*names)).variables == ("px", "py", "pz", "m", "E")
    assert resolve_pattern("Jet.{px,py,pz,E}", branches(*names)).variables == P_E


def test_pt_is_preferred_to_px():
    assert only(find_collections(branches(*spelled("jet_", "px", "py", "pz", "E", "pt", "eta", "phi")))).variables == (
        "pt", "eta", "phi", "E",
    )  # fmt: skip


@pytest.mark.parametrize("stem", ["Electron_", "mu_", "MuonsAuxDyn.", "AntiKt4Jets.ActiveArea4vec_", "Jets.Trk."])
def test_leptons_and_areas_are_no_jets(stem):
    assert find_collections(branches(*spelled(stem, "pt", "eta", "phi", "m"))) == []


def test_jet_momenta_at_other_scales_are_jets_of_their_own():
    names = spelled("Jets.", "pt", "eta", "phi", "m") + spelled(
        "Jets.JetConstitScaleMomentum_", "pt", "eta", "phi", "m"
    )
    assert [c.prefix for c in find_collections(branches(*names))] == ["Jets.", "Jets.JetConstitScaleMomentum_"]


def test_several_collections_stay_apart():
    names = spelled("Jet_", "pt", "eta", "phi", "mass") + spelled("FatJet_", "pt", "eta", "phi", "mass")
    mixed = [name for pair in zip(names[:4], names[4:], strict=True) for name in pair]
    assert [c.name for c in find_collections(branches(*mixed))] == ["Jet", "FatJet"]


def test_branches_of_one_stem_and_different_separators_are_not_mixed():
    assert find_collections(branches("jet_pt", "jet.eta", "jet_phi", "jet_m")) == []


def test_mixed_jagged_and_flat_is_no_collection():
    assert find_collections(branches("jet_pt", "jet_eta", "jet_phi") + branches("jet_m", jagged=False)) == []


def test_flat_jets_are_found():
    assert not only(find_collections(branches("jet_pt", "jet_eta", "jet_phi", "jet_m", jagged=False))).jagged


@pytest.mark.parametrize("dtype", ["<i4", "<u4", "<i8", "|b1", "<f4 array", "string", "<f2"])
def test_branches_that_hold_no_floats_are_no_jets(dtype):
    kinematics = branches("jet_pt", "jet_eta", "jet_phi")
    assert find_collections(kinematics + branches("jet_m", dtype=dtype)) == []
    assert only(find_collections(kinematics + branches("jet_m", dtype=">f8"))).dtypes["m"] == ">f8"


def test_a_whole_number_m_leaves_the_energy():
    found = find_collections(branches("jet_pt", "jet_eta", "jet_phi", "jet_E") + branches("jet_m", dtype="<i4"))
    assert only(found).variables == PT_E


def test_three_variables_are_no_collection():
    assert find_collections(branches("jet_pt", "jet_eta", "jet_phi")) == []


def test_a_shared_counter_is_kept_and_a_divided_one_is_not():
    shared = branches(*spelled("jet_", *PT_M), counter="njet")
    assert only(find_collections(shared)).counter == "njet"
    divided = shared[:3] + branches("jet_m", counter="njet_m")
    assert only(find_collections(divided)).counter is None


def test_latent_and_exact_branches_live_under_the_prefix():
    jets = only(find_collections(branches(*spelled("Jet_", "pt", "eta", "phi", "mass"))))
    assert jets.latents == ("Jet_z0", "Jet_z1", "Jet_z2")
    assert list(jets.exact.values()) == [
        "Jet_exact_index", "Jet_exact_pt", "Jet_exact_eta", "Jet_exact_phi", "Jet_exact_m",
    ]  # fmt: skip
    assert jets.made_counter == "nJet_exact"


# --- --jets PATTERN

NANO = branches(*spelled("Jet_", "pt", "eta", "phi", "mass"), *spelled("FatJet_", "pt", "eta", "phi", "mass"), "MET_pt")


@pytest.mark.parametrize(
    "pattern", ["Jet", "Jet_", "Jet_{pt,eta,phi,mass}", "Jet_pt,Jet_eta,Jet_phi,Jet_mass", "Jet_{mass, phi, eta, pt}"]
)
def test_every_way_to_name_jets_names_the_same(pattern):
    assert resolve_pattern(pattern, NANO) == find_collections(NANO)[0]


def test_a_pattern_may_name_what_is_not_called_a_jet():
    tracks = branches(*spelled("tau_", "pt", "eta", "phi", "m"))
    assert resolve_pattern("tau_", tracks).name == "tau"


def test_braces_may_stand_in_the_middle():
    names = ["Jet_pt_nom", "Jet_eta_nom", "Jet_phi_nom", "Jet_mass_nom"]
    found = resolve_pattern("Jet_{pt,eta,phi,mass}_nom", branches(*names))
    assert found.branches == dict(zip(PT_M, names, strict=True))


def test_a_name_that_is_no_variable_is_given_one():
    names = ["a", "b", "c", "d"]
    found = resolve_pattern("phi=c,pt=a,E=d,eta=b", branches(*names))
    assert found.branches == dict(zip(PT_E, names, strict=True))


def test_four_unrelated_names_get_no_prefix():
    found = resolve_pattern("pt=ptA,eta=other,phi=third,m=last", branches("ptA", "other", "third", "last"))
    assert (found.prefix, found.name) == ("", "jets")


def test_a_name_that_ends_in_no_variable_leaves_the_prefix():
    names = ["Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_rawpt"]
    found = resolve_pattern("pt=Jet_rawpt,Jet_eta,Jet_phi,Jet_mass", branches(*names))
    assert found.branches["pt"] == "Jet_rawpt"
    assert found.prefix == "Jet_"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("Jet_pt,Jet_eta,Jet_phi", "names 3 branches: four are needed"),
        ("Jet_{pt,eta,phi,mass,E,px}", "names 6 branches"),
        ("pt=Jet_pt,Jet_eta,Jet_phi,Jet_mass,E=FatJet_pt", "is no jet collection"),
        ("Jet_{pt,eta,phi,m}", "no branch 'Jet_m'"),
        ("Muon_", "no jets 'Muon_'"),
        ("MET", "no jets 'MET'"),
        ("Jett", "; there are Jet, FatJet"),
        ("Jet_pt,Jet_eta,Jet_phi,FatJet_pt", "is no jet collection"),
        ("x=Jet_pt,Jet_eta,Jet_phi,Jet_mass", "is no jet collection"),
        ("", "no jets ''"),
        (",,,", "no branch ''"),
    ],
)
def test_a_pattern_that_names_no_jets_is_refused(pattern, says):
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        resolve_pattern(pattern, NANO)
    assert "\n" not in str(caught.value)


def test_a_name_without_a_variable_asks_for_one():
    with pytest.raises(UserError, match="which variable is 'a' .* give it as pt=a"):
        resolve_pattern("a,b,c,d", branches("a", "b", "c", "d"))


def test_a_prefix_of_two_collections_is_refused():
    two = branches(*spelled("jet_", *PT_M), *spelled("jet.", *PT_M))
    with pytest.raises(UserError):
        resolve_pattern("jet", two)
    assert resolve_pattern("jet.", two).prefix == "jet."


def test_whole_numbers_can_not_be_named_as_jets():
    with pytest.raises(UserError, match="float"):
        resolve_pattern("jet_{pt,eta,phi,m}", branches("jet_pt", "jet_eta", "jet_phi") + branches("jet_m", dtype="<i4"))


def test_match_branches_unites_the_patterns():
    assert match_branches(["a*", "?b"], ["ab", "ac", "bb", "c"]) == {"ab", "ac", "bb"}
    assert match_branches([], ["ab"]) == set()
    assert match_branches(["x[3]"], ["x[3]", "x3"]) == {"x[3]", "x3"}


def test_a_drop_pattern_that_matches_nothing_is_refused():
    with pytest.raises(UserError, match="--drop 'x\\*' matches no branch: there are a, b"):
        match_branches(["a", "x*"], ["a", "b"])


# --- where nothing is found


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (spelled("Electron_", "pt", "eta", "phi", "mass"), "name them with --jets 'Electron_{pt,eta,phi,mass}'"),
        (
            [f"{v}_{x}" for x in ("mu", "jj", "tau", "ele", "W") for v in ("pt", "eta", "phi", "E")],
            "--jets '{pt,eta,phi,E}_mu' or '{pt,eta,phi,E}_jj' or '{pt,eta,phi,E}_tau' (and 2 more)",
        ),
        (spelled("jet_", "pt", "eta", "phi"), "'jet_' spells pt, eta, phi, but neither m nor E"),
        (spelled("jet_", "pt", "y", "phi", "m"), "'jet_' spells pt, phi, m, but no eta; name others with --jets"),
        (spelled("jet_", "et", "eta", "phi"), "'jet_' spells eta, phi, but no pt; name others with --jets"),
        (spelled("jet_p4.", *"0123"), "--jets 'px=jet_p4.0,py=jet_p4.1,pz=jet_p4.2,E=jet_p4.3', if"),
        (spelled("x_", "px", "py", "E"), "'x_' spells E, px, py, but no pz"),
        (["a", "b"], "name them with --jets pt=A,eta=B,phi=C,m=D, of floats such as a, b"),
        ([], "no branch holds floats, or lists of them"),
        (["x", "Ptj", "Etaj", "Phij", "Ej"], "name them with --jets 'pt=Ptj,eta=Etaj,phi=Phij,E=Ej'"),
        (["Ptj", "Etaj", "Phij", "x"], "name them with --jets pt=Ptj,eta=Etaj,phi=Phij,m=D, where D is m, or E=D"),
    ],
)
def test_what_comes_nearest_is_named_with_what_would_take_it(names, told):
    found = nearest_candidates(branches(*names), {})
    assert told in found
    for pattern in re.findall("(?:--jets| or) '([^']*)'", found):
        assert len(resolve_pattern(pattern, branches(*names)).branches) == 4


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (spelled("L1Jet_", "pt", "eta", "phi"), spelled("L1Jet_", "eta", "phi", "pt")),
        (spelled("jet_", "pt", "rapidity", "phi", "mass", "n"), spelled("jet_", "phi", "pt", "mass", "rapidity")),
        (["jetEt", "jetEta", "jetPhi", "jetE"], ["jetE", "jetEta", "jetPhi", "jetEt"]),
        (spelled("my 'odd' jet.", "y", "phi", "E"), spelled("my 'odd' jet.", "E", "phi", "y")),
    ],
)
def test_the_list_that_is_told_can_be_pasted(tmp_path, names, listed):
    found = nearest_candidates(branches(*names), {})
    command = re.search(r"take them as numbers: (echo .*) and --variables jets.toml", found)[1]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    variables = read_variables(tmp_path / "jets.toml")
    assert sorted(variables.names) == sorted(listed)
    assert list_collection(branches(*names), variables.names, variables.to_json()).jagged


def test_jets_in_arrays_are_to_be_taken_apart():
    found = nearest_candidates(branches("features", dtype="<f4 array", jagged=False), {})
    assert found.startswith("floats are in arrays such as features: give each variable")


def test_no_list_is_told_of_numbers_that_can_t_be_listed():
    names = spelled("jet_", "pt", "eta", "phi")
    assert "numbers" in nearest_candidates(branches(*names), {})
    assert "numbers" not in nearest_candidates([], {}, branches(*names))


def test_no_message_ends_in_an_empty_list():
    with pytest.raises(UserError, match="there are none of floats$"):
        resolve_pattern("jet_{pt,eta,phi,m}", [])
    with pytest.raises(UserError, match="there are none"):
        match_branches(["x"], [])


# --- counters


def jets(prefix: str, jagged: bool = True, counter: str | None = None) -> Collection:
    return only(find_collections(branches(*spelled(prefix, *PT_M), jagged=jagged, counter=counter)))


def test_a_collection_keeps_its_counter_for_old_and_new_branches():
    collection = jets("jet_", counter="njet")
    counters = name_counters([collection], [], {"njet"})
    own = [*collection.latents, *collection.branches.values()]
    assert {counters[name] for name in own} == {"njet"}
    assert {counters[name] for name in collection.exact.values()} == {"njet_exact"}


def test_flat_jets_have_no_counter_but_their_exact_branches_do():
    collection = jets("jet_", jagged=False)
    assert set(name_counters([collection], [], set())) == set(collection.exact.values())


def test_made_counters_have_no_brackets():
    counters = name_counters([jets("jet[0]_")], branches("x[3]") + branches("y", counter="n[y]"), {"nx_3_"})
    assert set(counters.values()) == {"njet_0_", "njet_0__exact", "nx_3__", "n[y]"}


def test_made_counters_avoid_each_other_and_what_is_taken():
    one, other = jets("jet_"), jets("jet.")  # both would be `njet`
    carried = branches("jet", "x") + branches("y", counter="ny") + branches("flat", jagged=False)
    counters = name_counters([one, other], carried, {"njet", "nx", "x_"})
    made = [
        {counters[n] for n in (*one.latents, *one.branches.values())},
        {counters[n] for n in (*other.latents, *other.branches.values())},
        {counters[n] for n in one.exact.values()},
        {counters[n] for n in other.exact.values()},
        {counters["jet"]},
        {counters["x"]},
        {counters["y"]},
    ]
    assert all(len(group) == 1 for group in made)  # one counter per group
    names = [name for group in made for name in group]
    assert len(set(names)) == len(names)
    assert not {"njet", "nx", "x_"} & set(names)
    assert counters["y"] == "ny"
    assert "flat" not in counters


def test_counters_that_are_made_have_no_dots_in_their_names():
    # RDataFrame's Snapshot replaces dots by underscores, and crashes if a counter has one
    (collection,) = find_collections([Branch(f"AntiKt4Jets.{v}", "<f4", True) for v in ("pt", "eta", "phi", "m")])
    counters = name_counters([collection], [Branch("Muons.pt", "<f4", True)], {"nMuons_pt"})
    assert counters["AntiKt4Jets.exact_pt"] == "nAntiKt4Jets_exact" and counters["AntiKt4Jets.z0"] == "nAntiKt4Jets"
    assert counters["Muons.pt"] == "nMuons_pt_"


def test_stand_ins_are_everything_written_for_the_jets():
    shared, own = jets("jet_", counter="njet"), jets("Jet_")
    for collection, counter in ((shared, []), (own, ["nJet"])):
        counters = name_counters([collection], [], {"njet"})
        expected = [*collection.latents, *collection.exact.values(), collection.made_counter, *counter]
        assert stand_ins(collection, counters) == expected


def test_settled_changes_the_units_only():
    collection = jets("jet_")
    settled = collection.settled("MeV")
    assert settled.units == "MeV" and collection.units is None
    assert settled.settled(None) == collection  # type: ignore[arg-type]
