"""RNTuples whose pages are copied, from file to file: jets within bounds, all else byte for byte, damage noticed."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import run_main

import atlasae
from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.plan import Options
from atlasae.compression.verify import check_file, verify_file
from atlasae.errors import AtlasaeError, DamagedFileError
from atlasae.files.trees import open_source
from atlasae.graft.anchors import GraftedNtuple, ntuples_of
from atlasae.graft.fields import described, find
from atlasae.graft.ntuple import read_pages
from atlasae.graft.records import Records

GOLDEN = Path(__file__).parents[1] / "golden" / "rntuple"
LAYOUTS = ("records", "types", "nanoaod", "physlite", "quantized", "edm4hep")
ALL = (*LAYOUTS, "steps")  # of which the last has nothing but jets


def main_of(source, path: Path) -> GraftedNtuple:
    records = Records(source.read, path.stat().st_size)
    return next(one for one in ntuples_of(records) if one.path == "Events")


def pages_of(path: Path) -> dict[str, list[bytes]]:
    """The sealed pages of each column, by the field and the type of the column."""
    with open_source(path) as source:
        ntuple = main_of(source, path).ntuple
        names = {}
        for name, told in described(ntuple.fields).items():
            for place, column in enumerate(find(ntuple.fields, tuple(name.split("."))).columns):
                names[column.number] = f"{name}#{place} {told[0]}"
        found: dict[str, list[bytes]] = {name: [] for name in names.values()}
        for group in ntuple.clusters():
            for cluster in group:
                for number, known in enumerate(cluster.ranges):
                    pages = (sealed for page in known.pages for _, sealed in read_pages(ntuple.read, [page]))
                    found[names[number]] += pages
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The compressed and the decompressed file of each layout."""
    return there_and_back(tmp_path_factory.mktemp("made"), Options())


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The same with packed jets."""
    return there_and_back(tmp_path_factory.mktemp("packed"), Options(packed=True))


def there_and_back(folder: Path, options: Options) -> dict[str, tuple[Path, Path]]:
    """The compressed and the decompressed file of each layout."""
    files = {name: (folder / f"{name}.small.root", folder / f"{name}.back.root") for name in ALL}
    for name, (small, back) in files.items():
        compress_file(GOLDEN / f"{name}.root", small, options)
        decompress_file(small, back)
    return files


@pytest.mark.parametrize("layout", ALL)
@pytest.mark.parametrize("how", ["made", "packed"])
def test_all_but_jets_comes_back_byte_for_byte(layout, how, request):
    original, (small, back) = GOLDEN / f"{layout}.root", request.getfixturevalue(how)[layout]
    assert verify_file(original, small)["differences"] == []
    before, after = pages_of(original), pages_of(back)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= jets_of(small)
    with uproot.open(original) as one, uproot.open(back) as other:
        assert one["Events"].header.checksum == other["Events"].header.checksum
        assert one.file.streamers.keys() <= other.file.streamers.keys()


def jets_of(small: Path) -> set[str]:
    """The columns of the numbers of jets in a compressed file."""
    with open_source(small) as source:
        made = set(described(main_of(source, small).ntuple.fields))
    with atlasae.open(small) as tree:
        names = [name for collection in tree.collections for name in tree.jets(collection, entry_stop=0).fields]
    assert names
    return {name for name in COLUMNS[small.name.partition(".")[0]] if name.partition("#")[0] not in made}


COLUMNS = {
    "records": [
        *(f"Jet._0.{v}#0 0" for v in ("pt", "eta", "phi", "mass")),
        *(f"FatJet._0.{v}#0 0" for v in ("pt", "eta", "phi", "mass")),
        *(f"leadjet.{v}#0 0" for v in ("pt", "eta", "phi", "m")),
        *(f"trackjets._0.p4.{v}#0 0" for v in ("pt", "eta", "phi", "m")),
    ],
    "types": [f"jets._0.{v}#0 0" for v in ("pt", "eta", "phi", "m")],
    "quantized": [f"jets._0.{v}#0 0" for v in ("pt", "eta", "phi", "m")],
    "steps": [f"Jet_{v}{inner}" for v in ("pt", "eta", "phi", "mass") for inner in ("._0#0 0", "#0 1")],
    "edm4hep": [*(f"Jets._0.momentum.{v}#0 0" for v in "xyz"), "Jets._0.mass#0 0", "Jets._0.energy#0 0"],
    "nanoaod": [f"_collection0._0.Jet_{v}#0 0" for v in ("pt", "eta", "phi", "mass")],
    "physlite": [
        *(f"AnalysisJetsAuxDyn:{v}._0#0 0" for v in ("pt", "eta", "phi", "m")),
        *(f"AnalysisJetsAuxDyn:{v}#0 1" for v in ("pt", "eta", "phi", "m")),
    ],
}


def test_latents_take_the_places_of_jets(made):
    with uproot.open(made["nanoaod"][0]) as file:
        tree = file["Events"]
        assert tree["nJet"].array().to_list() == ak.num(tree["Jet_z0"].array()).to_list()
        assert "Jet_pt" not in tree


def test_a_record_that_lost_members_has_no_class(made):
    with uproot.open(made["records"][0]) as file:
        tree = file["Events"]
        assert (tree["Jet"].typename, tree["trackjets.vertex"].typename) == ("", "Vertex")
    with uproot.open(made["records"][1]) as file:
        assert file["Events"]["Jet"].typename == "std::vector<AnyJet>"


def test_stand_ins_are_members_of_the_jets_and_not_of_their_momenta(made):
    with uproot.open(made["edm4hep"][0]) as small, uproot.open(GOLDEN / "edm4hep.root") as original:
        names, tree = small["Events"].keys(), original["Events"]
        assert {"Jets.z0", "Jets.covMatrix.values", "numbers"} <= set(names) and "Jets.momentum.z0" not in names
        for name in ("Jets.covMatrix.values", "Jets.referencePoint.x", "numbers"):
            assert small["Events"][name].array().to_list() == tree[name].array().to_list()
        assert ak.num(small["Events"]["Jets.z0"].array()).to_list() == ak.num(tree["Jets.mass"].array()).to_list()


def test_every_page_has_a_checksum_where_there_was_none(tmp_path):
    path = tmp_path / "in.root"
    numbers = np.arange(60, dtype=np.float32).reshape(20, 3) + 20
    jets = {f"Jet_{v}": ak.Array(numbers / 50 if v != "pt" else numbers) for v in ("pt", "eta", "phi", "mass")}
    with uproot.recreate(path) as file:
        file["Events"] = {name: ak.from_regular(array) for name, array in jets.items()} | {"x": np.arange(20)}
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    compress_file(path, small)
    decompress_file(small, back)
    for name in (small, back):
        with open_source(name) as source:
            groups = list(main_of(source, name).ntuple.clusters())
            assert all(p.checksum for group in groups for one in group for known in one.ranges for p in known.pages)
    assert verify_file(path, small)["differences"] == []


def test_drop_takes_members_and_fields_out_for_good(tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(GOLDEN / "records.root", small, Options(drop=("Jet.btag", "event")))
    assert set(report["dropped"]) >= {"Jet.btag", "event"}
    assert atlasae.info(small)["carried"] == len(report["carried"]) > 0  # fields, not columns
    assert verify_file(GOLDEN / "records.root", small)["differences"] == []
    decompress_file(small, back)
    with uproot.open(back) as file:
        assert not {"event", "number", "Jet.btag"} & set(file["Events"].keys())
        assert "Jet.tagger" in file["Events"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_jets_leaves_the_jets_alone_in_an_rntuple(layout, made, tmp_path):
    original, small, back = GOLDEN / f"{layout}.root", tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(original, small, Options(only_jets=True))
    assert verify_file(original, small)["differences"] == [] and not check_file(small)["left_out"]
    assert atlasae.info(small)["carried"] == len(report["carried"]) == 0
    decompress_file(small, back)
    with uproot.open(original) as one, uproot.open(back) as other, uproot.open(made[layout][1]) as whole:
        jets = [name for c in report["collections"] for name in c["branches"].values()]
        found, tree = other["Events"].keys(), other["Events"]
        assert set(jets) <= set(found) and other.keys(cycle=False) == ["Events"]
        for name in jets:
            assert tree[name].array().to_list() == whole["Events"][name].array().to_list()
        assert all(tree[name].typename == one["Events"][name].typename for name in jets)
        assert len(found) < len(one["Events"].keys()) and ("nJet" in found) == ("nJet" in one["Events"])
    assert small.stat().st_size < made[layout][0].stat().st_size


def test_only_jets_leaves_all_else_of_the_file_out(tmp_path):
    path, small, back = (tmp_path / f"{name}.root" for name in ("in", "small", "back"))
    numbers = np.arange(60, dtype=np.float32).reshape(20, 3) + 20
    jets = {f"Jet_{v}": ak.from_regular(numbers if v == "pt" else numbers / 50) for v in ("pt", "eta", "phi", "mass")}
    with uproot.recreate(path) as file:
        file["folder/Events"] = jets | {"x": np.arange(20)}
        file["folder/other"] = {"y": np.arange(7)}
        file.mktree("tree", {"z": np.arange(5)})
        file["text"] = "a text"
    compress_file(path, small, Options(only_jets=True))
    assert verify_file(path, small)["differences"] == []
    decompress_file(small, back)
    with uproot.open(back) as file:
        assert file.keys(cycle=False) == ["folder", "folder/Events"]
        assert set(file["folder/Events"].keys()) == set(jets)


def test_a_field_that_is_gone_is_a_difference_from_the_jets_alone(tmp_path):
    original, small = GOLDEN / "records.root", tmp_path / "small.root"
    other, fewer = tmp_path / "other.root", tmp_path / "fewer.root"
    compress_file(original, small, Options(only_jets=True))
    compress_file(original, other, Options(only_jets=True, jets="Jet.{pt,eta,phi,mass}"))
    decompress_file(other, fewer)
    assert any("is not in the original" in found for found in verify_file(fewer, small)["differences"])


def test_packed_jets_take_fewer_bytes_than_floats_and_leave_the_rntuple_one(made, packed):
    for layout in ALL:
        assert packed[layout][0].stat().st_size < made[layout][0].stat().st_size


def test_the_number_of_packed_jets_is_told_by_the_list_that_they_leave(packed):
    with uproot.open(packed["nanoaod"][0]) as file, uproot.open(GOLDEN / "nanoaod.root") as original:
        tree = file["Events"]
        assert tree.keys() == ["MET_pt", "_collection0", "_collection0.Jet_area", "Jet_area", "nJet", "Jet_packed"]
        assert tree["nJet"].array().to_list() == original["Events"]["nJet"].array().to_list()
    with uproot.open(packed["types"][0]) as file:
        assert {"jets", "jets_packed"} <= set(file["Events"].keys()) and "jets.pt" not in file["Events"]


def test_cut_mantissas_keep_their_bits_where_their_rounding_was_found(tmp_path):
    original, small, back = GOLDEN / "cut.root", tmp_path / "small.root", tmp_path / "back.root"
    compress_file(original, small)
    decompress_file(small, back)
    assert verify_file(original, small)["differences"] == []
    with open_source(original) as one, open_source(back) as other:
        before, after = (described(main_of(source, source.path).ntuple.fields) for source in (one, other))
    changed = {name for name in before if before[name] != after[name]}
    assert before.keys() == after.keys() and changed == {"Jet_phi._0"}  # one bit less than a float is no rounding
    with uproot.open(back) as file, uproot.open(original) as first:
        for name, bits in (("Jet_pt", 19), ("Jet_eta", 21), ("Jet_mass", 19)):
            found, wanted = (ak.to_numpy(ak.flatten(one["Events"][name].array())) for one in (file, first))
            assert not (found.view(np.uint32) << bits).any()
            bound = 1e-3 * (np.maximum(wanted, 0.1) if name != "Jet_eta" else 1)
            assert (np.abs(found - wanted) <= bound).all() and (found != wanted).any()


def test_steps_of_jets_stay_steps(made, packed):
    with open_source(GOLDEN / "steps.root") as source, uproot.open(GOLDEN / "steps.root") as original:
        steps = {name: source.trees["Events"].steps(name) for name in ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass")}
        assert all(steps.values())
        before = described(main_of(source, source.path).ntuple.fields)
        for back in (made["steps"][1], packed["steps"][1]):
            with open_source(back) as other, uproot.open(back) as file:
                assert described(main_of(other, back).ntuple.fields) == before
                for name, (low, step) in steps.items():
                    found, wanted = (ak.to_numpy(ak.flatten(one["Events"][name].array())) for one in (file, original))
                    assert (found == (low + step * np.rint((found.astype(float) - low) / step)).astype("f4")).all()
                    assert (np.abs(found - wanted) <= 1e-3 * (np.maximum(wanted, 0.1) if name[4] in "pm" else 1)).all()


def test_a_tree_is_written_where_one_is_asked_for(tmp_path):
    result = run_main("compress", GOLDEN / "nanoaod.root", tmp_path / "small.root", "--format", "ttree")
    assert result.code == 0 and "RNTuples are written as TTrees" in result.out
    with uproot.open(tmp_path / "small.root") as file:
        assert isinstance(file["Events"], uproot.TTree)


def test_fields_that_are_copied_are_told(made):
    branches = verify_file(GOLDEN / "types.root", made["types"][0])["branches"]
    kept = {name for name, how in branches.items() if how == "bit for bit"}
    assert {"array", "flag"} <= kept and not kept & {"jets.pt", "jets.eta"}


def test_damage_of_a_carried_page_is_noticed(made, tmp_path):
    small, copy = made["physlite"][0], tmp_path / "damaged.root"
    with open_source(small) as source:
        ntuple = main_of(source, small).ntuple
        column = find(ntuple.fields, ("index_ref",)).columns[0].number
        page = next(ntuple.clusters())[0].ranges[column].pages[0]
    content = bytearray(small.read_bytes())
    content[page.position + page.size // 2] ^= 1
    copy.write_bytes(content)
    with pytest.raises(DamagedFileError, match="checksum of the page"):
        check_file(copy)
    with pytest.raises(DamagedFileError, match="checksum of the page"):
        decompress_file(copy, tmp_path / "back.root")
    assert not (tmp_path / "back.root").exists()


def test_damage_anywhere_is_damage_or_of_no_account(made, tmp_path):
    """A flipped byte of a page is always noticed, and one elsewhere makes no error of another class."""
    small, copy = made["nanoaod"][0], tmp_path / "damaged.root"
    content = small.read_bytes()
    with open_source(small) as source:
        groups = list(main_of(source, small).ntuple.clusters())
    pages = [page for group in groups for cluster in group for known in cluster.ranges for page in known.pages]
    inside = {page.position + page.size // 3 for page in pages}
    for place in sorted(inside | set(np.linspace(300, len(content) - 1, 40).astype(int))):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        copy.write_bytes(damaged)
        try:
            check_file(copy)
        except AtlasaeError:
            continue
        assert place not in inside
