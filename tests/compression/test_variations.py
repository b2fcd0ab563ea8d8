"""Variations of jets that share eta and phi with the nominal ones: a pt and an E or m of their own."""

from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot
from conftest import bits, declared, random_jets, read_tree, run_main, succeeded, write_tree
from helpers import merge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import atlasae
from atlasae.compression.chunks import layouts_of, sources_of
from atlasae.compression.compress import compress_file, plan_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.format import Contents, read_contents
from atlasae.compression.verify import verify_file
from atlasae.errors import DamagedFileError
from atlasae.files.trees import open_source

SYSTEMATICS = ("JET_EffectiveNP_1__1up", "JET_EffectiveNP_1__1down", "JET_JER__1up")
LAYOUTS = ("floats", "packed")
KINDS = ("e", "m")


def factors(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """What the jets of each variation are scaled by: two are smooth, one is random."""
    rng = np.random.default_rng(seed)
    shift = rng.uniform(0.01, 0.02) * np.ones(n)
    return dict(zip(SYSTEMATICS, (1 + shift, 1 - shift, rng.normal(1, 0.03, n)), strict=True))


def branches(n: int, kind: str = "e", seed: int = 1, dtype: str = "f4") -> dict[str, np.ndarray]:
    """Numbers of n jets as TopCPToolkit names them, in MeV."""
    jets = random_jets(n, seed)
    four = jets["E" if kind == "e" else "m"]
    found = {"jet_eta": jets["eta"], "jet_phi": jets["phi"], "jet_pt_NOSYS": jets["pt"], f"jet_{kind}_NOSYS": four}
    for name, factor in factors(n, seed).items():
        found |= {f"jet_pt_{name}": jets["pt"] * factor, f"jet_{kind}_{name}": four * factor}
    return {name: column.astype(dtype) for name, column in found.items()}


def write(
    path: Path, columns: dict[str, np.ndarray], seed: int = 1, counter: str | None = "njet", **more: ak.Array
) -> Path:
    """A file with these jets, some in each event."""
    n = len(next(iter(columns.values())))
    counts = np.bincount(np.sort(np.random.default_rng(seed).integers(0, max(1, n // 2), n)), minlength=max(1, n // 2))
    jagged = {name: ak.unflatten(column, counts) for name, column in columns.items()}
    counters = dict.fromkeys(jagged, counter) if counter else {}
    return write_tree(path, "reco", jagged | {"event": ak.Array(np.arange(len(counts)))} | more, counters)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of both kinds, each compressed in both layouts; not to be changed."""
    folder = tmp_path_factory.mktemp("variations")
    for kind in KINDS:
        path = write(folder / f"{kind}.root", branches(3000, kind))
        for layout in LAYOUTS:
            compress_file(path, folder / f"{kind}_{layout}.root", layout=layout)
    return folder


def masses(columns: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The mass of the jets of a variation, signed, from pt, eta and E."""
    pt, eta, energy = (columns[one].astype(np.float64) for one in (f"jet_pt_{name}", "jet_eta", f"jet_e_{name}"))
    p = pt * np.cosh(eta)
    square = (energy - p) * (energy + p)
    return np.sign(square) * np.sqrt(np.abs(square))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_variations_take_a_small_part_of_their_bytes(kind, layout, made, tmp_path):
    original, small = made / f"{kind}.root", made / f"{kind}_{layout}.root"
    verified = verify_file(original, small)
    assert verified["differences"] == []
    assert verified["branches"][f"jet_{kind}_{SYSTEMATICS[0]}"] == "within precision" == verified["branches"]["jet_eta"]
    told = succeeded("info", small, "--json").report
    nominal, *others = told["collections"]
    assert [one["name"] for one in others] == [f"jet_{name}" for name in SYSTEMATICS]
    assert all(one["jets"] == nominal["jets"] for one in others)
    assert told["jets"] == 4 * nominal["jets"] == verified["jets"]
    assert all(one["bytes"] < share * one["bytes_in"] for one, share in zip(others, (0.07, 0.07, 0.15), strict=True))
    decompress_file(small, tmp_path / "back.root")
    before, after = read_tree(original, "reco"), read_tree(tmp_path / "back.root", "reco")
    assert list(before) == list(after) and before["event"].to_list() == after["event"].to_list()
    x, y = ({n: ak.to_numpy(ak.flatten(a)) for n, a in one.items() if n != "event"} for one in (before, after))
    for name in SYSTEMATICS:
        for number in (f"jet_pt_{name}", f"jet_{kind}_{name}"):
            away = np.abs(y[number].astype(float) / x[number] - 1)
            assert 0 < away.max() <= 1e-3
    if kind == "e":
        for name in SYSTEMATICS:  # the typical mass, too, though E alone within its bound would not tell it
            assert np.median(np.abs(masses(y, name) / masses(x, name) - 1)) < 1e-3


def test_angles_are_written_once_and_the_nominal_jets_are_the_first(made):
    with uproot.open(made / "e_floats.root") as file:
        names = file["reco"].keys()
    assert [name for name in names if name.startswith("jet") and name.endswith("columns")] == [
        f"jet_{name}_columns" for name in SYSTEMATICS
    ]
    assert not [name for name in names if "eta" in name and "exact" not in name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_jets_of_a_variation_are_read_like_others(layout, made):
    original, name = read_tree(made / "e.root", "reco"), SYSTEMATICS[2]
    with atlasae.open(made / f"e_{layout}.root") as tree:
        assert tree.collections == ["jet", *(f"jet_{name}" for name in SYSTEMATICS)] and tree.main == "jet"
        some = tree.jets(f"jet_{name}", entry_start=5, entry_stop=40)
        assert ak.max(abs(some.pt / original[f"jet_pt_{name}"][5:40] - 1)) <= 1e-3
        assert ak.max(abs(some.eta - original["jet_eta"][5:40])) <= 1e-3
        assert some.attrs["units"] == "MeV"
        alone = tree[f"jet_e_{name}"].array()
        assert ak.all(alone == tree.arrays([f"jet_e_{name}", "jet_pt_NOSYS"])[f"jet_e_{name}"])


def test_what_is_read_for_a_branch_is_no_more_than_it_needs(made):
    with open_source(made / "e_floats.root") as source:
        run = read_contents(source).runs[0]
    one, nominal = sources_of(run, [f"jet_pt_{SYSTEMATICS[0]}"]), sources_of(run, ["jet_eta"])
    assert [name for name in one if name[0] == "j" and name.endswith("columns")] == [f"jet_{SYSTEMATICS[0]}_columns"]
    assert {"jet_z0", "jet_exact_index", "jet_exact_E"} <= {*one}
    assert "jet_z0" in nominal and not [name for name in nominal if name.endswith("columns")]


def test_a_dry_run_tells_whose_each_branch_is(made):
    told = plan_file(made / "e.root")["branches"]
    assert told["jet_eta"] == "eta of 'jet' (MeV)"
    assert told[f"jet_e_{SYSTEMATICS[0]}"] == f"E of 'jet_{SYSTEMATICS[0]}' (MeV)"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_coordinates_comes_back_bit_for_bit(kind, layout, tmp_path):
    columns = branches(400, kind)
    first, second, third = (f"jet_pt_{name}" for name in SYSTEMATICS)
    for i, value in enumerate((np.nan, np.inf, 0.0, -0.0, -1.0, 1e-45)):
        columns[first][i] = columns[f"jet_{kind}_{SYSTEMATICS[1]}"][20 + i] = columns["jet_pt_NOSYS"][40 + i] = value
        columns[f"jet_{kind}_NOSYS"][60 + i] = columns["jet_eta"][80 + i] = columns["jet_phi"][100 + i] = value
    columns[third][120:180] = columns[f"jet_{kind}_{SYSTEMATICS[2]}"][120:180] = -999  # absent in one variation
    for name in columns:
        columns[name][200:240] = -999  # absent in all
    columns[second][300:310] *= 50
    original, small = write(tmp_path / "in.root", columns), tmp_path / "small.root"
    compress_file(original, small, layout=layout)
    assert verify_file(original, small)["differences"] == []
    decompress_file(small, tmp_path / "back.root")
    back = {n: ak.to_numpy(ak.flatten(a)) for n, a in read_tree(tmp_path / "back.root", "reco").items() if n != "event"}
    assert np.isnan(back[first][0]) and bits(ak.Array(back[first][:6])) == bits(ak.Array(columns[first][:6]))
    assert (back[third][120:180] == -999).all() and (back[first][200:240] == -999).all()


@pytest.mark.parametrize(
    ("precision", "options"),
    [
        ("1e-2", {}),
        ("1e-5", {"layout": "packed"}),
        ("pt=1e-3,eta=1e-3,phi=1e-3,m=1e-2,E=1e-2", {}),
        ("resolution/20", {}),
        ("resolution/20", {"layout": "packed"}),
        ("full", {}),
        ("1e-3", {"layout": "packed", "dither": False}),
        ("1e-3", {"model": "self"}),
    ],
)
@pytest.mark.usefixtures("quick_model")
@pytest.mark.parametrize("kind", KINDS)
def test_every_precision_is_kept(kind, precision, options, tmp_path):
    original = write(tmp_path / "in.root", branches(1500, kind))
    report = compress_file(original, tmp_path / "small.root", precision=precision, **options)
    assert verify_file(original, tmp_path / "small.root")["differences"] == []
    assert len(report["collections"]) == 4 and report["exact_jets"] < 0.1 * 4 * 1500
    if precision == "full":
        errors = report["collections"][1]["max_error"]
        assert max(errors["pt"], errors["m"]) <= 3e-5


def test_without_bounds_variations_stay_as_they_are(by_hand, tmp_path):
    original = write(tmp_path / "in.root", branches(300))
    report = compress_file(original, tmp_path / "small.root", precision="none", model=str(by_hand))
    assert [one["name"] for one in report["collections"]] == ["jet"]
    decompress_file(tmp_path / "small.root", tmp_path / "back.root")
    before, after = read_tree(original, "reco"), read_tree(tmp_path / "back.root", "reco")
    assert bits(before[f"jet_pt_{SYSTEMATICS[0]}"]) == bits(after[f"jet_pt_{SYSTEMATICS[0]}"])


def test_networks_with_bounds_have_variations_too(by_hand, tmp_path):
    original = write(tmp_path / "in.root", branches(300))
    compress_file(original, tmp_path / "small.root", precision="1e-1", model=str(by_hand))
    assert verify_file(original, tmp_path / "small.root")["differences"] == []


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)
scales = st.floats(0.5, 2, width=32)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shifts=st.lists(st.tuples(scales, scales, st.one_of(st.none(), numbers)), min_size=1, max_size=30),
    kind=st.sampled_from(KINDS),
    layout=st.sampled_from(LAYOUTS),
)
def test_any_variation_keeps_the_promise(shifts, kind, layout, tmp_path):
    name, *others = SYSTEMATICS
    columns = {key: column for key, column in branches(len(shifts), kind).items() if not key.endswith((*others,))}
    for i, (one, other, odd) in enumerate(shifts):
        columns[f"jet_pt_{name}"][i] *= np.float32(one)
        columns[f"jet_{kind}_{name}"][i] *= np.float32(other)
        if odd is not None:
            columns[f"jet_{kind}_{name}"][i] = odd
    original = write(tmp_path / "in.root", columns)
    compress_file(original, tmp_path / "small.root", layout=layout, force=True)
    assert verify_file(original, tmp_path / "small.root")["differences"] == []


@pytest.mark.parametrize(
    "options", [{"rewrite": True}, {"only_jets": True}, {"step_size": 12_000}, {"whole_jets": "*"}]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_variations_go_with_other_options(layout, options, tmp_path):
    columns = branches(900)
    columns["jet_tag"] = np.random.default_rng(1).integers(0, 3, 900).astype("i4")
    original, small = write(tmp_path / "in.root", columns), tmp_path / "small.root"
    report = compress_file(original, small, layout=layout, **options)
    names = [one["name"] for one in report["collections"]]
    assert names == ["jet", *(f"jet_{name}" for name in SYSTEMATICS)] + ["jet (other numbers)"] * (
        "whole_jets" in options
    )
    assert verify_file(original, small)["differences"] == []
    decompress_file(small, tmp_path / "back.root")
    assert ("jet_tag" in read_tree(tmp_path / "back.root", "reco")) != ("only_jets" in options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_variations_of_merged_files_and_of_parts_come_back(layout, tmp_path):
    paths = [write(tmp_path / f"{seed}.root", branches(300, seed=seed), seed) for seed in (1, 2)]
    for path in paths:
        compress_file(path, path.with_suffix(".small.root"), layout=layout)
    merge(tmp_path / "small.root", *(path.with_suffix(".small.root") for path in paths))
    merge(tmp_path / "both.root", *paths)
    assert verify_file(tmp_path / "both.root", tmp_path / "small.root")["differences"] == []
    parts = [tmp_path / f"part{number}.root" for number in range(2)]
    for number, part in enumerate(parts):
        compress_file(paths[0], part, layout=layout, part=(number, 2))
        assert verify_file(paths[0], part)["differences"] == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_and_single_numbers_have_variations(layout, tmp_path):
    vectors = write(tmp_path / "vectors.root", branches(300), counter=None)
    flat = write_tree(tmp_path / "flat.root", "reco", {n: ak.Array(x) for n, x in branches(300, "m").items()})
    for path in (vectors, flat):
        report = compress_file(path, tmp_path / f"small_{path.name}", layout=layout)
        assert len(report["collections"]) == 4
        assert verify_file(path, tmp_path / f"small_{path.name}")["differences"] == []
    decompress_file(tmp_path / "small_vectors.root", tmp_path / "back.root")
    with uproot.open(vectors) as before, uproot.open(tmp_path / "back.root") as after:
        assert after["reco"].typenames() == before["reco"].typenames()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_variations_in_an_rntuple_stay_in_one(layout, tmp_path):
    columns = branches(600)
    counts = np.full(300, 2)
    with uproot.recreate(tmp_path / "in.root") as file:
        file.mkrntuple("reco", {name: ak.unflatten(column, counts) for name, column in columns.items()})
    report = compress_file(tmp_path / "in.root", tmp_path / "small.root", layout=layout)
    assert len(report["collections"]) == 4
    assert verify_file(tmp_path / "in.root", tmp_path / "small.root")["differences"] == []
    decompress_file(tmp_path / "small.root", tmp_path / "back.root")
    with uproot.open(tmp_path / "back.root") as file:
        assert file["reco"].classname == "ROOT::RNTuple" or "RNTuple" in type(file["reco"]).__name__


def test_rounded_variations_come_back_rounded(tmp_path):
    columns = branches(900, "m")
    for name, column in columns.items():
        if "_pt_" in name or "_m_" in name:
            column.view(np.uint32)[:] &= 0xFFFFE000
    original, small = write(tmp_path / "in.root", columns), tmp_path / "small.root"
    compress_file(original, small)
    assert verify_file(original, small)["differences"] == []
    decompress_file(small, tmp_path / "back.root")
    back = ak.to_numpy(ak.flatten(read_tree(tmp_path / "back.root", "reco")[f"jet_pt_{SYSTEMATICS[0]}"]))
    assert not (back.view(np.uint32) & 0xFFF).any()


def test_variations_of_another_fourth_variable_stay_as_they_are(tmp_path):
    columns = branches(300, "e") | {f"jet_m_{SYSTEMATICS[0]}": branches(300, "m")[f"jet_m_{SYSTEMATICS[0]}"]}
    del columns[f"jet_e_{SYSTEMATICS[0]}"]
    report = compress_file(write(tmp_path / "in.root", columns), tmp_path / "small.root")
    assert [one["name"] for one in report["collections"]] == ["jet", *(f"jet_{name}" for name in SYSTEMATICS[1:])]
    assert f"jet_pt_{SYSTEMATICS[0]}" in report["carried"]


def test_a_skim_has_the_nominal_jets_and_says_what_did_not_come_along(made, tmp_path):
    with uproot.open(made / "e_floats.root") as file:
        names = [name for name in file["reco"].keys(recursive=False) if not name.startswith("n")]
        whole = {name: file["reco"][name].array()[:9] for name in names}
        leaves = {one.name: one.member("fLeaves")[0].member("fLeafCount") for one in file["reco"].branches}
    counters = {name: leaf.member("fName") for name, leaf in leaves.items() if leaf is not None}
    with uproot.recreate(tmp_path / "skim.root") as file:
        types = {name: declared(array) for name, array in whole.items()}
        file.mktree("reco", types, counter_name=lambda name: counters.get(name, f"n{name}")).extend(whole)
    back = tmp_path / "back.root"
    told = succeeded("decompress", tmp_path / "skim.root", back, "--trust", made / "e_floats.root")
    assert f"did not come along: jet_pt_{SYSTEMATICS[0]}" in " ".join(told.out.split())
    found = read_tree(back, "reco")
    assert {"jet_eta", "jet_pt_NOSYS"} <= found.keys() and not [name for name in found if "columns" in name]


def test_a_header_is_of_the_nominal_jets(made, tmp_path):
    assert succeeded("export", made / "e_floats.root", "--cpp", "-o", tmp_path / "jets.h")
    failed = run_main(
        "export", made / "e_floats.root", "--cpp", "--jets", f"jet_{SYSTEMATICS[0]}", "-o", tmp_path / "x.h"
    )
    assert failed.failed(2, f"eta and phi of 'jet_{SYSTEMATICS[0]}'", "are those of others")


def test_a_forged_variation_is_damage(made):
    with open_source(made / "e_packed.root") as source:
        run = read_contents(source).runs[0]
    entry = run.collections[1]
    good = entry.codec
    for changed in ({"steps": [1.0]}, {"steps": [0.0, 1.0]}, {"columns": []}, {"layout": "columns"}, {"given": 99}):
        object.__setattr__(entry, "codec", good | changed)
        with pytest.raises(DamagedFileError):
            layouts_of(run, Contents([run], []))


def test_evaluations_are_of_variations_too(made, quick_classifier):
    report = succeeded("evaluate", made / "e.root", made / "e_floats.root", "--json").report
    assert f"jet_{SYSTEMATICS[0]}" in str(report)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_have_variations_of_any_float(layout, tmp_path):
    columns = {name: x / 1000 if "_pt_" in name or "_m_" in name else x for name, x in branches(900, "m").items()}
    for dtype in ("f2", "f4"):
        frame = pd.DataFrame({name: column.astype(dtype) for name, column in columns.items()})
        frame.to_pickle(tmp_path / f"{dtype}.pkl")
        report = compress_file(tmp_path / f"{dtype}.pkl", tmp_path / f"{dtype}.root", layout=layout)
        assert len(report["collections"]) == 4 and report["notes"] == []
        assert verify_file(tmp_path / f"{dtype}.pkl", tmp_path / f"{dtype}.root")["differences"] == []
        decompress_file(tmp_path / f"{dtype}.root", tmp_path / f"{dtype}_back.pkl")
        back = pd.read_pickle(tmp_path / f"{dtype}_back.pkl")
        assert back.dtypes.to_dict() == frame.dtypes.to_dict() and list(back) == list(frame)
