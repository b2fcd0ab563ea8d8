"""RNTuples of every layout: written by ROOT (scripts/make_rntuples.py), and records written by uproot."""

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import bits

import atlasae
from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.plan import Options
from atlasae.compression.verify import check_file, verify_file
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.checksums import checksum
from atlasae.files.events import dtype_of
from atlasae.files.rntuple import assemble, leaves_of
from atlasae.files.trees import Tree, open_source
from atlasae.files.writing import create
from atlasae.graft.anchors import ntuples_of
from atlasae.graft.elements import encode, kind_for, split_kind
from atlasae.graft.records import Records
from atlasae.jets.precision import Precision
from atlasae.jets.recognition import find_collections

GOLDEN = Path(__file__).parents[1] / "golden" / "rntuple"
JETS = {
    "records": ["Jet", "leadjet", "trackjets.p4", "FatJet"],
    "types": ["jets"],
    "nanoaod": ["Jet"],
    "physlite": ["AnalysisJetsAuxDyn"],
}
# Values that no TTree holds, and some that uproot can't write to an RNTuple either.
NESTED = {
    "records": ["Jet.weights", "Jet.tagger"],
    "types": ["texts", "arrays", "maybe", "maybes", "nested", "map.0", "several", "late_maybe"],
    "nanoaod": [],
    "physlite": ["AnalysisJetsAuxDyn:NumTrkPt500", "AnalysisJetsAuxDyn:GhostTrack"],
}
HOPELESS = {"records": [], "types": ["either", "nothing", "streamed"], "nanoaod": [], "physlite": ["AnalysisJets"]}


def tree_of(source: Any, nested: bool = False) -> Tree:
    tree: Tree = source.trees["Events"]
    return tree.nesting() if nested else tree


def values(path: Path, name: str) -> ak.Array:
    """A field as uproot reads it, whatever its C++ type."""
    with uproot.open(path) as file:
        return file["Events"][name].array()


def same(one: ak.Array, other: ak.Array) -> bool:
    """Whether two arrays have the same values, whatever their memory layout."""
    return bool(one.to_list() == other.to_list())


# --- what is in them


@pytest.mark.parametrize("layout", JETS)
def test_every_jet_collection_of_an_rntuple_is_found(layout):
    with open_source(GOLDEN / f"{layout}.root") as source:
        assert [c.name for c in find_collections(tree_of(source).branches)] == JETS[layout]


@pytest.mark.parametrize("layout", JETS)
def test_every_field_is_carried_or_told_and_only_once(layout):
    with open_source(GOLDEN / f"{layout}.root") as source:
        tree = tree_of(source)
        named = [branch.name for branch in tree.branches]
        told = {unwritable.name: unwritable for unwritable in tree.unwritable}
        assert sorted(told) == sorted(NESTED[layout] + HOPELESS[layout])
        assert sorted(name for name in told if told[name].branch is None) == HOPELESS[layout]
        everything = named + list(told) + list(tree.aliases) + tree.hidden
        assert len(everything) == len(set(everything))
        assert {name.partition(".")[0] for name in everything} == {top.name for top in tree._source.fields}
        nesting = tree.nesting()
        assert {b.name for b in nesting.branches} == set(named) | set(NESTED[layout])
        assert [u.name for u in nesting.unwritable] == HOPELESS[layout]


def test_numbers_have_the_type_they_have_in_cpp_however_few_bits_their_columns_have():
    with open_source(GOLDEN / "types.root") as source:
        types = {branch.name: branch.dtype for branch in source.trees["Events"].branches}
        assert {n: types[n] for n in ("half", "halves", "cut", "less")} == {
            "half": "<f4", "halves": "<f4", "cut": "<f4", "less": "<f8",
        }  # fmt: skip
        read = source.trees["Events"].read(["half", "halves", "less"], 0, 30)
    assert read["half"].to_list() == [i * 0.5 for i in range(30)]
    assert read["halves"].to_list() == [[i * 0.5] * (i % 3) for i in range(30)]
    assert [dtype_of(array) for array in read.values()] == ["<f4", "<f4", "<f8"]


def steps(value: float, bits: int) -> float:
    """The number that ROOT reads after storing one in so many bits between -10 and 20."""
    most = 2**bits - 1
    return int(0.5 + (value + 10) * (most / 30)) * (30 / most) - 10


def test_steps_between_two_bounds_are_the_doubles_that_root_reads():
    filled = [i / 7 - 2 for i in range(30)]
    with open_source(GOLDEN / "quantized.root") as source:
        tree = tree_of(source)
        types = {branch.name: branch.dtype for branch in tree.branches if "jets" not in branch.name}
        assert types == {"few": "<f8", "all": "<f8", "single": "<f4", "list": "<f8", "cut": "<f8"}
        assert [u.name for u in tree.unwritable] == ["late"]  # zeros before it begins are not quantised
        read = tree.read(list(types), 0, 30)
        part = tree.read(["list"], 10, 20)["list"]
    assert read["few"].to_list() == [steps(value, 7) for value in filled]
    assert read["all"].to_list() == [steps(value, 32) for value in filled]
    assert read["single"].to_list() == [np.float32(steps(float(np.float32(value)), 29)) for value in filled]
    assert read["list"].to_list() == [[steps(value, 20)] * (i % 3) for i, value in enumerate(filled)]
    assert part.to_list() == read["list"][10:20].to_list()
    assert np.all(ak.to_numpy(read["cut"]).astype(np.float32) == read["cut"])


def test_what_counts_a_collection_is_its_counter_and_other_names_are_known():
    with open_source(GOLDEN / "records.root") as source:
        tree = source.trees["Events"]
        counters = {branch.name: branch.counter for branch in tree.branches if branch.counter}
        assert set(counters.values()) == {"nJet"} and {name.partition(".")[0] for name in counters} == {"Jet"}
        assert next(branch.dtype for branch in tree.branches if branch.name == "nJet") == "<u4"
        assert tree.aliases == {"Jet_pt": "Jet.pt", "number": "event"}
        assert not any(branch.counter for branch in tree.nesting().branches)
    with open_source(GOLDEN / "nanoaod.root") as source:
        tree = source.trees["Events"]
        assert {b.counter for b in tree.branches if b.name.startswith("Jet_")} == {"nJet"}
        assert len(tree.hidden) == 5 and not tree.aliases and not tree.places.keys() - set(tree.hidden)


@pytest.mark.parametrize(("start", "stop"), [(0, 30), (5, 14), (11, 13), (29, 30), (7, 7)])
@pytest.mark.parametrize("layout", JETS)
def test_any_run_of_events_of_several_clusters_is_read(layout, start, stop):
    with open_source(GOLDEN / f"{layout}.root") as source:
        tree = tree_of(source, nested=True)
        names = [branch.name for branch in tree.branches]
        whole, part = tree.read(names, 0, 30), tree.read(names, start, stop)
        assert [n for n in names if not same(whole[n][start:stop], part[n])] == []
        assert [n for n in names if checksum(whole[n][start:stop]) != checksum(part[n])] == []
        assert {branch.name: dtype_of(part[branch.name]) for branch in tree.branches} == {
            branch.name: branch.dtype.removesuffix(" array") for branch in tree.branches
        }


def test_a_member_is_read_without_the_others():
    with open_source(GOLDEN / "records.root") as source:
        tree = source.trees["Events"]
        sizes = {name: tree.compressed_bytes([name]) for name in ("Jet.pt", "Jet.btag", "nJet")}
        both = tree.compressed_bytes(["Jet.pt", "Jet.btag"])
        assert both == sizes["Jet.pt"] + sizes["Jet.btag"] - sizes["nJet"]  # the list they share counts once
        leaf = next(leaf for leaf in leaves_of(tree._source["Jet"]) if leaf.name == "Jet.pt")
        assert (leaf.place, len(leaf.columns)) == ("Jet[].pt", 2)


# --- there and back


def round_trip(original: Path, folder: Path, **given: Any) -> tuple[dict[str, Any], Path, Path]:
    """The report of a compression, the compressed and the decompressed file; checks all bounds."""
    small, back = folder / "small.root", folder / "back.root"
    report = compress_file(original, small, Options(**given))
    assert verify_file(original, small)["differences"] == []
    check_file(small)
    decompress_file(small, back)
    return report, small, back


def has_checksums_in_planes(path: Path) -> bool:
    """Whether all pages of an RNTuple have checksums, and no column holds numbers as they are in memory."""
    with open_source(path) as source:
        records = Records(source.read, path.stat().st_size)
        ntuple = next(one.ntuple for one in ntuples_of(records) if one.path == "Events")
        pages = [page for group in ntuple.clusters() for one in group for known in one.ranges for page in known.pages]
        assert pages and all(split_kind(column.kind) == column.kind for column in ntuple.columns)
        return all(page.checksum for page in pages)


@pytest.mark.parametrize("layout", JETS)
def test_an_rntuple_comes_back_as_it_was(layout, tmp_path):
    original = GOLDEN / f"{layout}.root"
    report, small, back = round_trip(original, tmp_path, rntuple=True, drop_unwritable=True, rewrite=True)
    assert report["dropped"] == HOPELESS[layout]
    assert all(has_checksums_in_planes(path) for path in (small, back))
    jets = {name for c in report["collections"] for name in c["branches"].values()}
    with open_source(original) as before, open_source(back) as after:
        tree, again = tree_of(before, nested=True), tree_of(after, nested=True)
        assert again.is_rntuple and {name: again.places[name] for name in tree.places if name not in tree.hidden} == {
            name: place for name, place in tree.places.items() if name not in tree.hidden
        }
        expected = [(branch.name, branch.dtype) for branch in tree.branches]
        found = [(branch.name, branch.dtype) for branch in again.branches if branch.name not in tree.aliases]
        assert found == expected  # in their order
        names = [branch.name for branch in tree.branches]
        one, other = tree.read(names, 0, 30), again.read(names, 0, 30)
        assert {n for n in names if checksum(one[n]) != checksum(other[n])} <= jets
        copies = again.read([*tree.aliases], 0, 30)
        assert [n for n, stays in tree.aliases.items() if checksum(copies[n]) != checksum(other[stays])] == []


@pytest.mark.parametrize(("layout", "packed"), [*((layout, False) for layout in JETS), ("records", True)])
def test_an_rntuple_becomes_a_tree_with_a_branch_for_every_member(layout, packed, tmp_path):
    original = GOLDEN / f"{layout}.root"
    if NESTED[layout] or HOPELESS[layout]:
        with pytest.raises(UserError, match=(NESTED[layout] + HOPELESS[layout])[0]):
            compress_file(original, tmp_path / "small.root", Options(packed=packed, rntuple=False))
    report, small, back = round_trip(original, tmp_path, packed=packed, drop_unwritable=True, rntuple=False)
    assert sorted(report["dropped"]) == sorted(NESTED[layout] + HOPELESS[layout])
    jets = {name for c in report["collections"] for name in c["branches"].values()}
    with open_source(original) as before, uproot.open(back) as after:
        assert isinstance(after["Events"], uproot.TTree)
        tree = before.trees["Events"]
        assert {branch.name for branch in tree.branches} | set(tree.aliases) <= set(after["Events"].keys())
        for branch in tree.branches:
            array = after["Events"][branch.name].array()
            assert (
                branch.name in jets
                or branch.name.startswith("n")
                or bits(array) == bits(tree.read([branch.name], 0, 30)[branch.name])
            ), branch.name


@pytest.fixture(scope="module")
def made_records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The compressed and the decompressed RNTuple of records."""
    return round_trip(GOLDEN / "records.root", tmp_path_factory.mktemp("made"), rntuple=True)[1:]


def test_members_of_a_collection_share_one_counter_in_a_tree(tmp_path):
    _, small, back = round_trip(GOLDEN / "records.root", tmp_path, drop_unwritable=True, rntuple=False)
    for path, jets in ((small, ["Jet.z0", "Jet.z2"]), (back, ["Jet.pt", "Jet.mass"])):
        with open_source(path) as source:
            counters = {branch.name: branch.counter for branch in source.trees["Events"].branches}
            assert {counters[name] for name in (*jets, "Jet.btag", "Jet.number")} == {"nJet"}
            assert counters["FatJet.area"] == "nFatJet" and counters["trackjets.vertex.x"] == "ntrackjets"


def test_latents_stand_among_the_members_of_their_jets(made_records):
    small, _ = made_records
    with uproot.open(small) as file:
        ntuple = file["Events"]
        assert {"z0", "z1", "z2", "btag", "weights"} <= {member.name for member in ntuple["Jet"].fields}
        assert {member.name for member in ntuple["trackjets"]["p4"].fields} == {"z0", "z1", "z2"}
        assert {member.name for member in ntuple["Jet_exact"].fields} == {"index", "pt", "eta", "phi", "m"}
        assert str(ntuple["leadjet.z0"].array().type) == "30 * float32"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_records_of_the_past_still_come_back(version, tmp_path):
    compressed, original = GOLDEN.parent / f"format-{version}" / "records.root", GOLDEN / "records.root"
    assert verify_file(original, compressed)["differences"] == []
    decompress_file(compressed, tmp_path / "back.root")
    with uproot.open(original) as before, uproot.open(tmp_path / "back.root") as after:
        assert after["Events"].keys() == before["Events"].keys()


def test_a_compressed_rntuple_is_opened_as_what_it_was(made_records):
    small, back = made_records
    with atlasae.open(small) as tree:
        assert list(tree)[:3] == ["Jet.number", "Jet.pt", "Jet.eta"]
        assert bits(tree["Jet_pt"].array()) == bits(values(back, "Jet.pt")) == bits(tree["Jet.pt"].array())
        assert tree["Jet.weights"].array(entry_stop=9).to_list() == values(back, "Jet.weights")[:9].to_list()
        assert tree["Jet.weights"].array(library="np")[4] == values(back, "Jet.weights")[4].to_list()
        assert tree.collections == JETS["records"] and len(tree.jets("leadjet")) == 30


def test_an_rntuple_without_entries_comes_back(tmp_path):
    with uproot.recreate(tmp_path / "in.root") as file:
        array = ak.Array({"Jet": records(np.array([2, 1]))})
        file.mkrntuple("Events", array.layout.form)
    report, _, back = round_trip(tmp_path / "in.root", tmp_path, rntuple=True)
    assert (report["entries"], report["jets"]) == (0, 0)
    assert str(values(back, "Jet").type) == f"0 * {array['Jet'].type.content}"


def test_other_rntuples_stay_rntuples_with_all_they_hold(tmp_path):
    counts = np.arange(30) % 4
    path = write_records(tmp_path / "in.root")
    runs = {"lumi": records(counts), "nested": ak.Array([[[1.0]], []] * 15), "texts": ak.Array([["a"], []] * 15)}
    with uproot.update(path) as file:
        file.mkrntuple("more/runs", ak.Array(runs))
        file.mkrntuple("empty", ak.Array(runs)[:1].layout.form)
        file.mktree("tree", {"x": np.arange(3)})
    report, small, back = round_trip(path, tmp_path, rntuple=True)
    assert not any("left out" in note for note in report["notes"])
    kinds = {"Events": "ROOT::RNTuple", "more/runs": "ROOT::RNTuple", "empty": "ROOT::RNTuple", "tree": "TTree"}
    for name in (small, back):
        with uproot.open(path) as before, uproot.open(name) as after:
            classes = after.classnames(cycle=False)
            assert {name: classes[name] for name in kinds} == kinds
            assert before["more/runs"].arrays().to_list() == after["more/runs"].arrays().to_list()
            assert before["empty"].keys() == after["empty"].keys()
    other = tmp_path / "other.root"
    with uproot.recreate(other) as file:
        file["Events"] = ak.Array({"Jet": records(counts)})
        file.mkrntuple("more/runs", ak.Array(runs | {"texts": ak.Array([["b"], []] * 15)}))
    assert "'texts._0#1' of 'more/runs' differs" in verify_file(other, small)["differences"]


@pytest.mark.parametrize("rntuple", [False, True])
def test_what_was_an_rntuple_is_compressed_as_it_was(rntuple, tmp_path):
    path = tmp_path / "in.root"
    with create(path, uproot.LZ4(3)) as target:
        for name in ("Events", "other"):
            array = {"leadjet": ak.zip(single(20)), "number": ak.Array(np.arange(20.0))}
            target.file[name] = ak.Array(array)
    _, small, back = round_trip(path, tmp_path, rntuple=rntuple)
    for name in (small, back):
        with open_source(name) as source:
            trees = [source.trees["Events"], source.trees["other"]]
            assert source.compression.code == uproot.LZ4(3).code
            assert [(tree.is_rntuple, tree.compression.code) for tree in trees] == [(rntuple, uproot.LZ4(3).code)] * 2


def test_a_table_can_not_hold_what_is_nested(tmp_path):
    array = ak.Array({"leadjet": ak.zip(single(20)), "nested": ak.Array([[[1.0], []]] * 20)})
    with uproot.recreate(tmp_path / "in.root") as file:
        file["Events"] = array
    _, small, _ = round_trip(tmp_path / "in.root", tmp_path, rntuple=True)
    with pytest.raises(UserError, match="can't hold 'nested'"):
        decompress_file(small, tmp_path / "back.pkl")


# --- what users may be told


def single(entries: int) -> dict[str, ak.Array]:
    """The four variables, with one jet per entry."""
    rng = np.random.default_rng(3)
    pt = rng.uniform(20, 200, entries)
    columns = {"pt": pt, "eta": rng.normal(size=entries), "phi": rng.uniform(-3, 3, entries), "mass": pt / 10}
    return {name: ak.Array(column.astype(np.float32)) for name, column in columns.items()}


def records(counts: np.ndarray[Any, Any]) -> ak.Array:
    """Jets as records, several per entry."""
    return ak.unflatten(ak.zip(single(int(counts.sum()))), counts)


def write_records(path: Path, **more: ak.Array) -> Path:
    counts = np.arange(30) % 4
    with uproot.recreate(path) as file:
        file["Events"] = ak.Array({"Jet": records(counts), **more})
    return path


def test_a_member_in_the_way_of_a_latent_is_told(tmp_path):
    jets = ak.with_field(records(np.arange(30) % 4), ak.local_index(records(np.arange(30) % 4)["pt"]), "z1")
    with uproot.recreate(tmp_path / "in.root") as file:
        file["Events"] = ak.Array({"Jet": jets})
    for rntuple in (False, True):  # in a tree, and in an RNTuple
        with pytest.raises(UserError, match=r"'Jet.z1' is in the way of 'Jet': leave it out with --drop"):
            compress_file(tmp_path / "in.root", tmp_path / "small.root", Options(rntuple=rntuple))


def test_a_field_in_the_way_of_exact_jets_is_told(tmp_path):
    path = write_records(tmp_path / "in.root", Jet_exact=ak.Array(np.arange(30)))
    with pytest.raises(UserError, match=r"'Jet_exact' is in the way of 'Jet'"):
        compress_file(path, tmp_path / "small.root", Options(rntuple=True))


@pytest.mark.parametrize("rntuple", [False, True])
def test_names_that_look_like_places_stay_or_are_told(rntuple, tmp_path):
    odd = ak.with_field(records(np.arange(30) % 4), records(np.arange(30) % 4)["pt"], "c[]")
    numbers = ak.Array(np.arange(30))
    more = {"x[]": numbers, "x": numbers, "y*": numbers, "J.q": numbers, "met[]": ak.zip({"x": numbers})}
    path = write_records(tmp_path / "in.root", odd=ak.with_field(odd, odd["pt"], "a.b"), **more)
    with pytest.raises(UserError, match="4 branches that can't be written: .*can't be in a name"):
        compress_file(path, tmp_path / "small.root", Options(rntuple=rntuple, rewrite=True))
    report, small, back = round_trip(path, tmp_path, rntuple=rntuple, rewrite=True, drop_unwritable=True)
    assert sorted(report["dropped"]) == ["J.q", "met.x", "odd.a.b", "odd.c[]"]
    assert verify_file(path, small)["differences"] == []
    for name in ("x[]", "x", "y*"):
        assert same(values(path, name), values(back, name))


def test_what_only_an_rntuple_holds_is_said_to_go_into_one(tmp_path):
    nested = ak.Array([[[1.0]], []] * 15)
    path = write_records(tmp_path / "in.root", nested=nested)
    for packed in (False, True):
        with pytest.raises(UserError, match="leaves them out, --format rntuple carries them$"):
            compress_file(path, tmp_path / "small.root", Options(packed=packed, rntuple=False))
    path = write_records(tmp_path / "in.root", nested=nested, **{"J.q": ak.Array(np.arange(30))})
    with pytest.raises(UserError, match="leaves them out, --format rntuple carries 1 of them$"):
        compress_file(path, tmp_path / "small.root", Options(rntuple=False))


def test_a_name_is_dropped_alone_and_goes_where_its_field_goes(tmp_path):
    original = GOLDEN / "records.root"
    report = compress_file(original, tmp_path / "a.root", Options(rntuple=True, drop=("Jet_pt",)))
    assert report["dropped"] == ["Jet_pt"]
    compress_file(original, tmp_path / "b.root", Options(rntuple=True, drop=("event",)))
    for name, kept in (("a", {"number"}), ("b", {"Jet_pt"})):
        with atlasae.open(tmp_path / f"{name}.root") as tree:
            assert {"Jet_pt", "number"} & set(tree) == kept


def test_compression_is_that_of_all_pages(tmp_path):
    path = write_records(tmp_path / "in.root", zeros=ak.Array(np.zeros(30)))
    compress_file(path, tmp_path / "small.root", Options(rntuple=True, compression="zlib:1"))
    with uproot.open(tmp_path / "small.root") as file:
        assert {c.compression_settings for c in file["Events"].page_link_list[0]} == {101}


def test_another_original_is_told_member_by_member(tmp_path):
    _, small, _ = round_trip(write_records(tmp_path / "in.root", x=ak.Array(np.arange(30))), tmp_path, rntuple=True)
    other = write_records(tmp_path / "other.root", x=ak.Array(np.arange(30) + 1), y=ak.Array(np.arange(30)))
    assert verify_file(other, small)["differences"] == [
        "'x#0' of 'Events' differs",
        "field 'y' is in one of the files only",
    ]


def test_damage_of_a_member_is_noticed(tmp_path):
    pattern = np.random.default_rng(1).integers(0, 2**62, 30)
    jets = ak.with_field(records(np.full(30, 1)), ak.unflatten(pattern, np.full(30, 1)), "word")
    with uproot.recreate(tmp_path / "in.root") as file:
        file["Events"] = ak.Array({"Jet": jets})
    options = Options(Precision.parse("1e-3"), rntuple=True, compression="zstd:1")
    compress_file(tmp_path / "in.root", tmp_path / "small.root", options)
    content = bytearray((tmp_path / "small.root").read_bytes())
    page = encode(kind_for(pattern.dtype), pattern)
    content[content.index(page) + 7] ^= 4  # what is random is stored as it is
    (tmp_path / "small.root").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"branch 'Jet.word' is damaged: checksum differs"):
        check_file(tmp_path / "small.root")


# --- records put together


def test_members_are_put_together_at_their_places():
    one, two = ak.Array([[1, 2], [], [3]]), ak.Array([[[1.0], []], [], [[2.0]]])
    columns = {"a.b.x": one, "a.b.y": two, "a.q": ak.Array(["p", "", "r"]), "t.0": one[:, :0], "t.1": ak.num(one)}
    made = assemble(columns, {"a.b.x": "a.b[].x", "a.b.y": "a.b[].y"})
    assert made.to_list() == [
        {"a": {"b": [{"x": 1, "y": [1.0]}, {"x": 2, "y": []}], "q": "p"}, "t": ([], 2)},
        {"a": {"b": [], "q": ""}, "t": ([], 0)},
        {"a": {"b": [{"x": 3, "y": [2.0]}], "q": "r"}, "t": ([], 1)},
    ]


def test_members_that_do_not_hold_equally_many_are_refused():
    with pytest.raises(ValueError, match="the members of 'a' have different numbers of values"):
        assemble({"a.x": ak.Array([[1], []]), "a.y": ak.Array([[], [1]])}, {"a.x": "a[].x", "a.y": "a[].y"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([[[1], []]], [[[], [1]]]),
        ([1, None], [None, 1]),
        ([[1, None], [2]], [[1], [None, 2]]),
        ([{"a": 1, "b": 2}], [{"a": 2, "b": 1}]),
        ([["a", "b"]], [["ab", ""]]),
        ([(1, [2])], [(1, [2, 2])]),
    ],
)
def test_the_checksum_of_what_is_nested_tells_values_and_structure(one, other):
    assert checksum(ak.Array(one)) != checksum(ak.Array(other))
    assert checksum(ak.Array(one)) == checksum(ak.Array([*other, *one])[len(other) :])
