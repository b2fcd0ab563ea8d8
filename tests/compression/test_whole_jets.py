"""Whole jets: all numbers of a collection come back bit for bit or within their precision."""

import math
import re
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import bits, counted, make_counts, read_tree, run_main, succeeded, write_tree
from helpers import merge

import atlasae
from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.format import NEWEST, read_contents
from atlasae.compression.verify import verify_file
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.trees import open_source
from atlasae.graft.anchors import newest_ntuple, ntuples_of
from atlasae.graft.fields import walk_fields
from atlasae.graft.records import Records

WHOLE = ("--whole-jets", "--layout", "packed")
LAYOUTS = ("floats", "packed")


def others(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Numbers of n jets of every kind."""
    rng = np.random.default_rng(seed)
    tag = np.where(rng.random(n) < 0.2, -1, rng.random(n)).astype("f4")
    full = rng.normal(size=n)
    full[: min(4, n)] = [np.nan, np.inf, -0.0, 5e-324][: min(4, n)]
    return {
        "Jet_tag": tag,
        "Jet_cut": ((tag * 0.7).view("u4") & np.uint32(0xFFFFE000)).view("f4"),
        "Jet_full": full,
        "Jet_id": rng.integers(0, 7, n).astype("i4"),
        "Jet_good": tag > 0.5,
        "Jet_mask": (tag > 0.5).astype("u1"),
        "Jet_long": rng.integers(-(2**63), 2**63 - 1, n),
        "Jet_flavour": rng.choice([-21, 0, 4, 5, 1103], n).astype("i2"),
    }


def write_whole(path: Path, entries: int = 60, seed: int = 1, vectors: bool = False) -> Path:
    """A file of jets with such numbers, and lists that are none of theirs."""
    counts = make_counts(entries, seed)
    jets = counted("nanoaod", counts, seed)
    jets |= {name: ak.unflatten(column, counts) for name, column in others(int(counts.sum()), seed).items()}
    muons = np.random.default_rng(seed).integers(0, 3, entries)
    rest = {"Muon_pt": ak.unflatten(np.arange(muons.sum(), dtype="f4"), muons), "met": ak.Array(np.arange(entries))}
    return write_tree(path, "Events", jets | rest, dict.fromkeys(jets, "nJet") | {"Muon_pt": "nMuon"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with such a file, and the same compressed in both layouts; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_whole(folder / "jets.root")
    for layout in LAYOUTS:
        succeeded("compress", path, folder / f"{layout}.root", "--layout", layout, "--whole-jets", "--quiet")
    return folder


def differing(path: Path, back: Path) -> set[str]:
    """The branches that differ, of two files with the same ones."""
    before, after = read_tree(path, "Events"), read_tree(back, "Events")
    assert list(before) == list(after)
    return {name for name, array in before.items() if bits(array) != bits(after[name])}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_numbers_of_jets_come_back_bit_for_bit(layout, whole, tmp_path):
    with uproot.open(whole / f"{layout}.root") as file:
        names = set(file["Events"].keys())
    assert "Jet_columns" in names and not names & set(others(1)) and {"Muon_pt", "met", "nJet"} <= names
    succeeded("decompress", whole / f"{layout}.root", tmp_path / "back.root", "--quiet")
    assert differing(whole / "jets.root", tmp_path / "back.root") == {f"Jet_{v}" for v in ("pt", "eta", "phi", "mass")}
    report = verify_file(whole / "jets.root", whole / f"{layout}.root")
    assert report["differences"] == []
    assert (report["branches"]["Jet_pt"], report["branches"]["Jet_tag"]) == ("within precision", "bit for bit")


def test_branches_are_put_back_with_their_titles_and_counters(whole, tmp_path):
    succeeded("decompress", whole / "packed.root", tmp_path / "back.root", "--quiet")
    with uproot.open(whole / "jets.root") as before, uproot.open(tmp_path / "back.root") as after:
        for name, branch in before["Events"].items():
            other = after["Events"][name]
            assert (branch.title, branch.typename, branch.classname) == (other.title, other.typename, other.classname)
            if name.startswith("Jet_"):
                assert other.member("fLeaves")[0].member("fLeafCount").member("fName") == "nJet"


def test_numbers_keep_the_precision_of_the_first_glob_that_names_them(whole, tmp_path):
    out, back = tmp_path / "out.root", tmp_path / "back.root"
    precision = "1e-2,Jet_tag=abs:1e-2,Jet_f*=1e-3,*=exact"
    report = succeeded("compress", whole / "jets.root", out, *WHOLE, "--precision", precision, "--json").report
    assert report["precision"]["Jet"]["pt"] == 1e-2
    told = report["precision"]["Jet (other numbers)"]
    assert (told["Jet_tag"], told["Jet_full"], told["Jet_flavour"], told["Jet_cut"]) == (1e-2, 1e-3, 0, 0)
    succeeded("decompress", out, back, "--quiet")
    lossy = {f"Jet_{v}" for v in ("pt", "eta", "phi", "mass", "tag", "full")}
    assert differing(whole / "jets.root", back) == lossy
    before, after = read_tree(whole / "jets.root", "Events"), read_tree(back, "Events")
    assert 0 < ak.max(abs(before["Jet_tag"] - after["Jet_tag"])) <= 1e-2
    x, y = (ak.to_numpy(ak.flatten(array["Jet_full"])) for array in (before, after))
    usual = np.isfinite(x) & (np.abs(x) > 1e-300)
    assert 0 < np.abs(y[usual] / x[usual] - 1).max() <= 1e-3
    assert bits(ak.Array(x[~usual])) == bits(ak.Array(y[~usual]))


def test_numbers_are_told_by_packed_jets_with_bounds_by_resolution(whole, tmp_path):
    succeeded("compress", whole / "jets.root", tmp_path / "out.root", *WHOLE, "--precision", "resolution/20")
    assert verify_file(whole / "jets.root", tmp_path / "out.root")["differences"] == []


def test_what_became_of_each_number_is_told(whole):
    report = succeeded("info", whole / "packed.root", "--json").report
    jets, columns = report["collections"]
    assert "columns" not in jets and report["jets"] == jets["jets"] == columns["jets"]
    told = {column["branch"]: column for column in columns["columns"]}
    assert told.keys() == set(others(1))
    assert told["Jet_good"]["kind"] == "boolean" and told["Jet_long"]["kind"] in ("integer", "as it is")
    assert set(told["Jet_good"]["told_by"] + told["Jet_mask"]["told_by"]) & {"Jet_mask", "Jet_good", "Jet_tag"}
    page = succeeded("info", whole / "packed.root").out
    assert "told by" in page and "small integer" in page


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_number_is_read_like_a_branch(layout, whole):
    before = read_tree(whole / "jets.root", "Events")
    with atlasae.open(whole / f"{layout}.root") as tree:
        assert tree.collections == ["Jet"]
        assert bits(tree["Jet_tag"].array()) == bits(before["Jet_tag"])
        assert bits(tree["Jet_id"].array(entry_start=7, entry_stop=21)) == bits(before["Jet_id"][7:21])
        found = tree.arrays(cut="met > 30")
        assert bits(found["Jet_long"]) == bits(before["Jet_long"][31:])
        assert tree.dtypes()["Jet_good"] == "b1[]"


def test_the_header_of_the_four_momenta_needs_no_name(whole, tmp_path):
    succeeded("export", whole / "floats.root", "--cpp", "-o", tmp_path / "jets.h")
    assert "Jet_z0" in (tmp_path / "jets.h").read_text()


def test_chunks_are_told_apart(whole, tmp_path):
    out = tmp_path / "out.root"
    succeeded("compress", whole / "jets.root", out, *WHOLE, "--step-size", "2kB", "--quiet")
    with open_source(out) as source:
        assert len(read_contents(source).chunks) > 3
    succeeded("decompress", out, tmp_path / "back.root", "--quiet")
    assert len(differing(whole / "jets.root", tmp_path / "back.root")) == 4


@pytest.mark.parametrize("options", [("--rewrite",), ("--only-jets",), ("--step-size", "3kB")])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_ways_to_write_keep_all_numbers(options, layout, whole, tmp_path):
    out, back = tmp_path / "out.root", tmp_path / "back.root"
    succeeded("compress", whole / "jets.root", out, "--whole-jets", "--layout", layout, *options, "--quiet")
    succeeded("decompress", out, back, "--quiet")
    before, after = read_tree(whole / "jets.root", "Events"), read_tree(back, "Events")
    assert [name for name in others(1) if bits(before[name]) != bits(after[name])] == []
    assert ("met" in after) == ("--only-jets" not in options)


def test_merged_files_come_back(tmp_path):
    parts = [write_whole(tmp_path / f"{seed}.root", seed=seed) for seed in (1, 2)]
    small = [tmp_path / f"small{seed}.root" for seed in (1, 2)]
    for path, out in zip(parts, small, strict=True):
        succeeded("compress", path, out, *WHOLE, "--rewrite", "--quiet")
    merge(tmp_path / "merged.root", *small)
    succeeded("decompress", tmp_path / "merged.root", tmp_path / "back.root", "--quiet")
    back = read_tree(tmp_path / "back.root", "Events")
    for name in others(1):
        assert bits(back[name]) == bits(ak.concatenate([read_tree(path, "Events")[name] for path in parts]))


def test_lists_without_a_counter_belong_to_jets_if_they_are_as_long(tmp_path):
    counts = make_counts(60)
    jets = counted("nanoaod", counts) | {"Jet_tag": ak.unflatten(others(int(counts.sum()))["Jet_tag"], counts)}
    jets["Jet_links"] = ak.unflatten(np.arange(60), np.ones(60, int))
    path = tmp_path / "jets.root"
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", {name: array.type.content for name, array in jets.items()}).extend(jets)
    report = compress_file(path, tmp_path / "out.root", whole_jets="*", layout="packed")
    assert list(report["collections"][1]["branches"]) == ["Jet_tag"] and "Jet_links" in report["carried"]


def test_damaged_columns_are_damage(whole, tmp_path):
    path = tmp_path / "damaged.root"
    with uproot.open(whole / "packed.root") as file:
        basket = file["Events"]["Jet_columns"].member("fBasketSeek")[0]
    content = bytearray((whole / "packed.root").read_bytes())
    content[basket + 200] ^= 64
    path.write_bytes(content)
    assert run_main("decompress", path, tmp_path / "back.root").failed(3, "Jet_columns")
    assert run_main("verify", path).failed(3)


def test_intact_chunks_are_salvaged(whole, tmp_path):
    path, back = tmp_path / "damaged.root", tmp_path / "back.root"
    succeeded("compress", whole / "jets.root", path, *WHOLE, "--step-size", "2kB", "--quiet")
    with uproot.open(path) as file:
        column = file["Events"]["Jet_columns"]
        middle = column.member("fBasketSeek")[1] + column.member("fBasketBytes")[1] // 2
    content = bytearray(path.read_bytes())
    content[middle] ^= 4
    path.write_bytes(content)
    report = succeeded("decompress", path, back, "--salvage", "--json").report
    (start, stop), *more = report["missing"]
    before, after = read_tree(whole / "jets.root", "Events")["Jet_tag"], read_tree(back, "Events")["Jet_tag"]
    assert not more and bits(after) == bits(ak.concatenate([before[:start], before[stop:]]))


def test_what_would_become_of_each_number_is_told(whole):
    found = succeeded("compress", whole / "jets.root", *WHOLE[1:], "--whole-jets", "--dry-run", "--json").report
    assert found["branches"]["Jet_tag"] == "a number of 'Jet', packed" and "byte" in found["branches"]["met"]


def test_a_forged_codec_is_damage(whole):
    with open_source(whole / "packed.root") as source:
        run = read_contents(source).runs[0]
    from atlasae.compression.chunks import layouts_of
    from atlasae.compression.format import Contents

    entry = run.collections[1]
    for codec in ({"layout": "columns"}, entry.codec | {"columns": []}, entry.codec | {"layout": "packed"}):
        object.__setattr__(entry, "codec", codec)
        with pytest.raises(DamagedFileError):
            layouts_of(run, Contents([run], []))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--whole-jets", "Muon"), ("'Muon'", "'Jet'")),
        (("--precision", "Jet_tag=1e-3"), ("Jet_tag", "--whole-jets")),
        (("--whole-jets", "--precision", "Jet_tag=abs:0"), ("'0'", "positive")),
        (("--whole-jets", "--precision", "Jet_tag=7"), ("'7'", "no bound")),
        (("--whole-jets", "--precision", "Jet_tags=1e-3"), ("Jet_tags", "no other number")),
    ],
)
def test_what_can_not_be_is_refused(options, words, whole, tmp_path):
    assert run_main("compress", whole / "jets.root", tmp_path / "out.root", *options).failed(2, *words)


def test_a_file_in_the_place_of_a_name_is_told(whole, tmp_path):
    found = run_main("compress", "--whole-jets", whole / "jets.root", whole / "jets.root", tmp_path / "out.root")
    assert found.failed(2, "behind IN and OUT")


def test_jets_without_other_numbers_are_told(tmp_path):
    counts = make_counts(20)
    jets = counted("nanoaod", counts)
    path = write_tree(tmp_path / "jets.root", "Events", jets, dict.fromkeys(jets, "nJet"))
    assert "no other numbers" in succeeded("compress", path, tmp_path / "out.root", *WHOLE).out


def test_options_in_python_are_the_same():
    assert atlasae.Options(whole_jets="Jet").whole_jets == ("Jet",)
    with pytest.raises(UserError, match="whole-jets"):
        atlasae.Options(precision="*=exact")


NTUPLES = Path(__file__).parents[1] / "golden" / "rntuple"
MOMENTA = {"pt", "eta", "phi", "m", "mass", "energy", "x", "y", "z"}


def flattened(path: Path) -> dict[str, str]:
    """The values of all numbers of an RNTuple by their names, as text."""
    with uproot.open(path) as file:
        tree, names = file["Events"], file["Events"].keys()
        return {name: str(tree[name].array().to_list()) for name in names if not tree[name].fields}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["records", "nanoaod", "physlite", "edm4hep"])
def test_whole_jets_of_an_rntuple_stay_in_one(name, layout, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(NTUPLES / f"{name}.root", small, whole_jets="*", layout=layout)
    assert any("other numbers" in one["name"] for one in report["collections"])
    assert verify_file(NTUPLES / f"{name}.root", small)["differences"] == []
    decompress_file(small, back)
    before, after = flattened(NTUPLES / f"{name}.root"), flattened(back)
    assert list(before) == list(after)
    changed = {name for name in before if before[name] != after[name]}
    assert {re.split(r"[.:_]", one)[-1] for one in changed} <= MOMENTA
    with open_source(small) as source, open_source(NTUPLES / f"{name}.root") as original:
        assert source.trees["Events"].is_rntuple
        assert read_contents(source).runs[0].format == NEWEST
        types = {field: column.kind for field, column in kinds_of_columns(original).items() if "good" in field}
    with open_source(back) as source:
        found = kinds_of_columns(source)
        assert {field: found[field].kind for field in types} == types


def kinds_of_columns(source):
    """The first column of each field of an RNTuple."""
    records = Records(source.read, source.path.stat().st_size)
    fields = newest_ntuple(ntuples_of(records), "Events").ntuple.fields
    return {".".join(path): one.columns[0] for path, one in walk_fields(fields) if one.columns}


def test_members_of_records_belong_to_the_jets_wherever_these_are(tmp_path):
    report = compress_file(NTUPLES / "records.root", tmp_path / "small.root", whole_jets="*")
    found = {one["name"]: set(one["branches"]) for one in report["collections"]}
    assert found["trackjets.p4 (other numbers)"] == {"trackjets.vertex.x", "trackjets.vertex.y", "trackjets.charge"}
    assert found["Jet (other numbers)"] == {"Jet.number", "Jet.constituents", "Jet.good", "Jet.btag"}


def test_a_golden_file_of_fields_still_comes_back(tmp_path):
    golden = NTUPLES.parent / f"format-{NEWEST}" / "whole.root"
    assert verify_file(NTUPLES / "records.root", golden)["differences"] == []
    decompress_file(golden, tmp_path / "back.root")
    before, after = flattened(NTUPLES / "records.root"), flattened(tmp_path / "back.root")
    assert before["Jet.good"] == after["Jet.good"] and before["Jet.btag"] == after["Jet.btag"]


def named(style: str, variable: str) -> str:
    """The name of a variable of jets in a style of naming."""
    return style.format(variable, variable[0].upper() + variable[1:])


RANGES = {"pt": (20, 90), "eta": (-3, 3), "phi": (-3, 3), "mass": (3, 9)}


def styled(style: str, shape: tuple[int, ...] | None = None) -> dict[str, ak.Array]:
    """Branches of jets named in a style: lists, each with a counter of its own, or arrays of this shape."""
    counts = make_counts(60)
    n = int(counts.sum()) if shape is None else math.prod(shape)
    rng = np.random.default_rng(1)
    flat = {v: rng.uniform(low, high, n).astype("f4") for v, (low, high) in RANGES.items()}
    flat |= {name.removeprefix("Jet_"): column for name, column in others(n).items()}
    shaped = {v: ak.unflatten(x, counts) if shape is None else ak.Array(x.reshape(shape)) for v, x in flat.items()}
    apart = {"mu_pt": np.arange(60, dtype="f4"), "eventNumber": np.arange(60)}
    return {named(style, v): x for v, x in shaped.items()} | {name: ak.Array(x) for name, x in apart.items()}


@pytest.mark.parametrize(
    ("style", "shape"),
    [(style, None) for style in ("jet_{0}", "jet{1}", "{0}_jet", "{1}Jet", "jet_{0}_NOSYS", "{0}")]
    + [("jet1_{0}", (60,)), ("{0}", (60,)), ("jet_{0}", (60, 2)), ("{0}", (60, 2))],
)
def test_numbers_of_jets_are_found_by_names_and_lengths(style, shape, tmp_path):
    path, small, back = (tmp_path / f"{name}.root" for name in ("in", "small", "back"))
    branches = styled(style, shape)
    write_tree(path, "Events", branches)
    compress_file(path, small, whole_jets="*", layout="packed")
    decompress_file(small, back)
    lossy = {named(style, v) for v in RANGES}
    with open_source(small) as source:
        _, columns = read_contents(source).runs[0].collections
    assert set(columns.collection.branches) == set(branches) - lossy - {"mu_pt", "eventNumber"}
    before, after = read_tree(path, "Events"), read_tree(back, "Events")
    assert {name for name in before if bits(before[name]) != bits(after[name])} <= lossy


def test_lists_with_counters_of_their_own_come_back_without_the_rest(tmp_path):
    path, small, back = (tmp_path / f"{name}.root" for name in ("in", "small", "back"))
    write_tree(path, "Events", styled("jet_{0}"))
    for whole in ((), "*"):
        compress_file(path, small, whole_jets=whole, only_jets=True, force=True)
        decompress_file(small, back, force=True)
        found = read_tree(back, "Events")
        assert "jet_pt" in found and ("jet_tag" in found) == bool(whole) and "eventNumber" not in found


def test_a_branch_called_like_the_bytes_is_not_in_their_way(tmp_path):
    counts = make_counts(60)
    jets = counted("nanoaod", counts) | {"Jet_tag": ak.unflatten(others(int(counts.sum()))["Jet_tag"], counts)}
    rest = {"Jet_columns": ak.Array(np.arange(60)), "Jet__columns": ak.Array(np.arange(60))}
    path = write_tree(tmp_path / "in.root", "Events", jets | rest, dict.fromkeys(jets, "nJet"))
    compress_file(path, tmp_path / "small.root", whole_jets="*")
    decompress_file(tmp_path / "small.root", tmp_path / "back.root")
    assert differing(path, tmp_path / "back.root") == {"Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass"}
