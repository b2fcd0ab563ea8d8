"""Units come from names and values of jets, or have to be given."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from conftest import bits, read_tree, run_main, succeeded, write_tree

from atlasae.errors import UserError
from atlasae.files.branches import Branch
from atlasae.jets.collections import Collection
from atlasae.jets.recognition import resolve_pattern
from atlasae.jets.units import settle

NAMES = {
    "plain": "jet_{pt,eta,phi,m}",
    "energy": "jet_{pt,eta,phi,E}",
    "NanoAOD": "Jet_{pt,eta,phi,mass}",
    "tutorial": "Jet_{Px,Py,Pz,E}",
    "struct": "jets.{pt,eta,phi,m}",
    "Aux": "AntiKt4JetsAuxDyn.{pt,eta,phi,m}",
    "RNTuple Aux": "AnalysisJetsAuxDyn:{pt,eta,phi,m}",
    "Delphes": "Jet.{PT,Eta,Phi,Mass}",
    "EDM4hep": "Jet.{momentum.x,momentum.y,momentum.z,energy}",
}
SENTINELS = (-999.0, -99.0, 0.0, np.nan, np.inf, 9999.0)


def collection(names: str) -> Collection:
    stem, _, listed = names.rstrip("}").partition("{")
    return resolve_pattern(names, [Branch(stem + name, "<f4", True, "n") for name in listed.split(",")])


def columns(names: str, median: float, spread: float = 0.3, n: int = 400) -> list[np.ndarray]:
    """Stored columns of jets whose pt has this median."""
    rng = np.random.default_rng(int(median * 1e4) % 1000)
    pt, phi = median * np.exp(spread * rng.permutation(np.linspace(-2.5, 2.5, n))), rng.uniform(-3, 3, n)
    eta = rng.normal(0, 1, n)
    if "x," in names.lower():
        four = [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)]
    else:
        four = [pt, eta, phi, 0.1 * pt]
    return [values.astype(np.float32) for values in four]


def units(names: str, median: float, *others: tuple[str, float], **how: float) -> str:
    """The units that `settle` finds for a collection in a tree with others."""
    all_names = [(names, columns(names, median, **how)), *((other, columns(other, m)) for other, m in others)]
    listed = [collection(names) for names, _ in all_names]
    settled = settle(listed, None, [stored for _, stored in all_names])
    assert settle(listed, "TeV", [stored for _, stored in all_names])[0].units == "TeV"
    assert settled[0].units is not None
    return settled[0].units


@pytest.mark.parametrize(
    ("names", "median", "expected"),
    [
        *[(names, 35.0, "GeV") for names in NAMES if "Aux" not in names],
        *[(names, 35_000.0, "MeV") for names in NAMES if names not in ("Delphes", "EDM4hep")],
        *[(names, 400.0, "GeV") for names in ("plain", "NanoAOD", "tutorial", "struct", "Delphes")],  # large-R jets
        *[(names, 4e5, "MeV") for names in ("plain", "NanoAOD", "tutorial", "struct", "Aux")],
        *[(names, 10_000.0, "MeV") for names in ("Aux", "RNTuple Aux", "struct")],  # soft jets
        *[("NanoAOD", 2_000.0, "GeV"), ("Delphes", 5_000.0, "GeV")],  # hard jets
        *[("EDM4hep", 2.0, "GeV"), ("Delphes", 3.0, "GeV")],  # jets of e+ e- collisions
    ],
)
def test_what_is_clear_is_not_asked(names, median, expected):
    assert units(NAMES[names], median) == expected


@pytest.mark.parametrize(
    ("names", "median", "says"),
    [
        ("plain", 4_000.0, ("may be in MeV or GeV", "4 GeV in MeV", "4 TeV in GeV")),
        ("energy", 12_000.0, ("may be in MeV or GeV",)),
        ("Aux", 1_500.0, ("may be in MeV or GeV", "1.5 GeV in MeV", "1.5 TeV in GeV")),
        ("NanoAOD", 9_000.0, ("may be in MeV or GeV",)),
        ("Aux", 50.0, ("is in MeV by its name, but", "0.05 GeV in MeV", "50 GeV in GeV")),
        *[(names, 50_000.0, ("is in GeV by its name, but", "50 GeV in MeV")) for names in ("Delphes", "EDM4hep")],
        *[(names, 0.3, ("may be in TeV", "300 GeV in TeV")) for names in ("plain", "NanoAOD", "tutorial", "struct")],
        ("Delphes", 0.3, ("is in GeV by its name, but", "300 GeV in TeV")),
        *[(names, 2.0, ("may be in GeV or TeV", "2 TeV in TeV")) for names in ("plain", "NanoAOD")],
        ("plain", 1e-5, ("may be in any unit",)),
        ("plain", 1e8, ("may be in any unit", "100 TeV in MeV")),
    ],
)
def test_what_is_not_clear_is_asked(names, median, says):
    with pytest.raises(UserError) as error:
        units(NAMES[names], median)
    stem = collection(NAMES[names]).name
    assert [word for word in (f"'{stem}'", f"{median:.4g}", "--units", *says) if word not in str(error.value)] == []


def test_soft_jets_among_hard_ones_and_hard_among_soft_tell():
    assert units(NAMES["plain"], 4_000.0, spread=1.0) == "GeV"  # MeV would mean jets of 0.1 GeV
    assert units(NAMES["plain"], 8_000.0, spread=0.9) == "MeV"  # GeV would mean jets of 75 TeV
    assert units(NAMES["plain"], 3.0, spread=1.5) == units(NAMES["EDM4hep"], 1.2, spread=0.9) == "GeV"


def test_a_signalling_nan_gives_no_warning():
    stored = [column.astype(np.float32) for column in columns(NAMES["NanoAOD"], 40.0)]
    stored[0].view(np.uint32)[0] = 0x7FA00001
    (settled,) = settle([collection(NAMES["NanoAOD"])], "GeV", [stored])
    assert settled.units == "GeV"


def test_a_few_mistakes_tell_nothing():
    stored = columns(NAMES["plain"], 4_000.0)
    stored[0][:2] = 90_000, 80_000
    stored[0][2:9] = 1e30
    with pytest.raises(UserError, match="may be in MeV or GeV"):
        settle([collection(NAMES["plain"])], None, [stored])


@pytest.mark.parametrize("sentinel", SENTINELS)
@pytest.mark.parametrize(("median", "expected"), [(35.0, "GeV"), (35_000.0, "MeV")])
def test_what_stands_where_there_is_no_jet_is_not_asked(sentinel, median, expected):
    stored = columns(NAMES["plain"], median)
    for column in stored:
        column[40:] = sentinel  # in nine tenths of the rows
    assert settle([collection(NAMES["plain"])], None, [stored])[0].units == expected


def test_jets_of_which_no_collection_has_any_follow_their_names():
    listed = [collection(NAMES[name]) for name in ("plain", "Aux", "NanoAOD")]
    settled = settle(listed, None, [[np.empty(0, np.float32)] * 4] * 3)
    assert [found.units for found in settled] == ["MeV", "MeV", "GeV"]


@pytest.mark.parametrize(("median", "expected"), [(35.0, "GeV"), (35_000.0, "MeV")])
def test_jets_that_tell_nothing_follow_the_others_of_their_tree(median, expected):
    other = ("fatjet_{pt,eta,phi,m}", median)
    assert units(NAMES["plain"], 4_000.0, other) == expected
    assert units(NAMES["NanoAOD"], 9_000.0, other) == expected
    assert units(NAMES["Aux"], 100.0, other, n=0) == units(NAMES["plain"], 100.0, other, n=0) == expected
    with pytest.raises(UserError, match="may be in MeV or GeV"):  # the other collections differ
        units(NAMES["plain"], 4_000.0, other, ("truthjet_{pt,eta,phi,m}", median * 1000 if median < 100 else 35.0))
    assert units(NAMES["plain"], 35.0, other) == "GeV"  # the values exclude the unit of the others


@pytest.mark.parametrize(
    ("names", "expected"),
    [("plain", "GeV"), ("NanoAOD", "GeV"), ("struct", "MeV"), ("Aux", "MeV"), ("Delphes", "GeV")],
)
def test_without_any_jets_the_convention_holds(names, expected):
    assert units(NAMES[names], 100.0, n=0) == expected
    assert units(NAMES[names], 100.0, (NAMES["energy"].replace("jet", "fatjet"), 4e5), n=0) == "MeV"


def tev_file(folder: Path) -> Path:
    values = columns(NAMES["plain"], 0.3)
    values[3] = (0.0002 + values[3] / 100).astype(np.float32)  # masses near the floor
    names = [f"jet_{v}" for v in ("pt", "eta", "phi", "m")]
    arrays = {name: ak.unflatten(x, [4] * 100) for name, x in zip(names, values, strict=True)}
    return write_tree(folder / "in.root", "t", arrays, dict.fromkeys(arrays, "njet"))


def test_units_that_are_not_clear_cost_one_line(tmp_path):
    path = tev_file(tmp_path)
    for layout in ("floats", "packed"):
        result = run_main("compress", path, tmp_path / "out.root", "--layout", layout)
        assert result.failed(2, "'jet'", "--units", "300 GeV in TeV")
    assert run_main("benchmark", path).failed(2, "--units")


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_tev_go_there_and_back(layout, tmp_path):
    path, small, back = tev_file(tmp_path), tmp_path / "small.root", tmp_path / "back.root"
    report = succeeded("compress", path, small, "--units", "TeV", "--layout", layout, "--json").report
    assert report["collections"][0]["units"] == "TeV" and report["exact_jets"] <= 4
    assert succeeded("info", small, "--json").report["collections"][0]["units"] == "TeV"
    succeeded("verify", path, small)
    succeeded("decompress", small, back)
    before, after = (np.asarray(ak.flatten(read_tree(p, "t")["jet_m"])).astype(float) for p in (path, back))
    assert (np.abs(after - before) <= 1e-3 * np.maximum(before, 1e-4)).all()
    assert bits(read_tree(back, "t")["jet_m"]) != bits(read_tree(path, "t")["jet_m"])


def test_flat_jets_with_sentinels_have_the_unit_of_their_tree(tmp_path):
    rng, n, found = np.random.default_rng(1), 4000, {}
    for i, share in ((1, 0.95), (2, 0.8), (3, 0.4), (4, 0.15)):
        pt, there = 20e3 * rng.uniform(1e-4, 1, n) ** -0.4, rng.random(n) < share
        four = {"pt": pt, "eta": rng.uniform(-2, 2, n), "phi": rng.uniform(-3, 3, n), "m": 0.1 * pt}
        found |= {f"jet{i}_{v}": np.where(there, x, -999).astype(np.float32) for v, x in four.items()}
    path = write_tree(tmp_path / "in.root", "nominal", {name: ak.Array(x) for name, x in found.items()})
    report = succeeded("compress", path, tmp_path / "out.root", "--layout", "packed", "--json").report
    assert [c["units"] for c in report["collections"]] == ["MeV"] * 4
