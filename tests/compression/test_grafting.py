"""Files of which all but the jets is copied byte for byte."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import (
    bits,
    bystanders,
    check_restored,
    declared,
    random_jets,
    read_tree,
    refused,
    run_main,
    succeeded,
    write_layout,
    write_tree,
)

import atlasae
from atlasae.compression import ttrees
from atlasae.compression.compress import compress_file, plan_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.format import read_contents
from atlasae.compression.grafting import damage_of, grafting_of, taken_apart
from atlasae.compression.plan import Options
from atlasae.compression.ttrees import plan_ttree
from atlasae.compression.verify import check_file, verify_file
from atlasae.errors import UserError
from atlasae.files.trees import open_source
from atlasae.graft import buffers
from atlasae.graft.baskets import Beginning
from atlasae.graft.composing import Composer
from atlasae.graft.forms import Form
from atlasae.graft.records import Records
from atlasae.graft.trees import clear, places, put_in, take_out, trees_of
from atlasae.jets.inputs import open_input

USERS = Path(__file__).parents[1] / "golden" / "users.root"
SHAPES = Path(__file__).parents[1] / "golden" / "shapes.root"
ODD = SHAPES.with_name("odd.root")
JETS = ["Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass"]
PACKED = Options(packed=True, force=True)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file of jets in several baskets, with a histogram and another tree in folders."""
    path = write_layout(tmp_path / "original.root", "nanoaod", entries=120)
    others = bystanders(20, seed=9)
    with uproot.update(path) as file:
        file["deep/histogram"] = np.histogram([1.0, 2.0, 2.5], bins=4)
        file.mktree("deep/other", {name: declared(array) for name, array in others.items()}).extend(others)
    return path


def records_of(path: Path) -> Records:
    content = path.read_bytes()
    return Records(lambda start, stop: content[start:stop], len(content))


def payloads(path: Path, tree: str) -> dict[str, list[bytes]]:
    """What is in the baskets of each branch, as it lies in the file."""
    records = records_of(path)
    found = next(one for one in trees_of(records) if one.path == tree)
    return {
        branch.name: [records.read(p.at, p.at + p.nbytes)[34:] for p in places(branch, records)]
        for branch in found.branches()
    }


def branch_facts(path: Path, tree: str) -> list[tuple[str, ...]]:
    with uproot.open(path) as file:
        branches = file[tree].branches
        return [(b.name, b.title, b.classname, b.member("fLeaves")[0].classname, b.typename) for b in branches]


def run_of(path: Path) -> object:
    with open_source(path) as source:
        return read_contents(source).runs[0].graft


@pytest.fixture
def small(original: Path, tmp_path: Path) -> Path:
    compress_file(original, tmp_path / "small.root", PACKED)
    return tmp_path / "small.root"


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_baskets_are_copied_both_ways(layout, original, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(original, small, Options(packed=layout == "packed"))
    decompress_file(small, back)
    before = payloads(original, "Events")
    for path in (small, back):
        after = payloads(path, "Events")
        assert {name: after[name] for name in before if name not in JETS} == {
            name: found for name, found in before.items() if name not in JETS
        }
        assert payloads(path, "deep/other") == payloads(original, "deep/other")
    assert branch_facts(back, "Events") == branch_facts(original, "Events")
    assert report["bytes_file_out"] == small.stat().st_size < original.stat().st_size
    check_restored(original, back, "Events", "nanoaod")


def test_stand_ins_share_the_counter_of_the_jets(small):
    records = records_of(small)
    tree = next(one for one in trees_of(records) if one.path == "Events")
    assert [name for name in tree.names if name.startswith("n")].count("nJet") == 1
    carried, made = tree.named("Jet_nConstituents")[1], tree.named("Jet_packed")[1]
    assert carried["fLeaves"].items[0]["fLeafCount"] is tree.named("nJet")[1]["fLeaves"].items[0]
    assert made["fLeaves"].items[0]["fLeafCount"].name == "nJet_packed"


def test_all_branches_are_there_when_it_is_opened(original, small):
    with atlasae.open(small) as tree:
        assert set(tree.keys()) >= set(read_tree(original, "Events"))
        found = tree.arrays(["weight", "name", "Jet_eta"])
    before = read_tree(original, "Events")
    for name in ("weight", "name"):
        assert bits(found[name]) == bits(before[name])


def test_the_report_names_what_is_carried(original, tmp_path):
    report = compress_file(original, tmp_path / "small.root", PACKED)
    assert set(report["carried"]) == set(read_tree(original, "Events")) - set(JETS) | {
        name for name in payloads(original, "Events") if name.startswith("n") and name not in ("name", "number")
    } | {"name", "number"}
    assert report["dropped"] == [] and report["left_out"] == []


def test_what_is_dropped_comes_not_back(original, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(original, small, Options(packed=True, drop=["we*", "nJet"]))
    assert report["dropped"] == ["weight"]  # nJet counts other branches
    decompress_file(small, back)
    assert set(read_tree(original, "Events")) - set(read_tree(back, "Events")) == {"weight"}
    succeeded("verify", original, small)


def test_nothing_but_jets_is_there_when_that_is_asked_for(original, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(original, small, Options(packed=True, only_jets=True))
    decompress_file(small, back)
    succeeded("verify", original, small)
    assert report["carried"] == [] and {"weight", "Jet_nConstituents"} <= set(report["dropped"])
    assert payloads(small, "Events").keys() == {"nJet", "Jet_packed", "nJet_packed"}
    assert payloads(back, "Events")["nJet"] == payloads(original, "Events")["nJet"]
    before = branch_facts(original, "Events")
    assert branch_facts(back, "Events") == [facts for facts in before if facts[0] in ("nJet", *JETS)]
    with uproot.open(back) as file:
        assert file.keys() == ["Events;1"]


def test_a_branch_that_held_nothing_but_jets_goes_and_comes_with_them(original):
    tree = next(one for one in trees_of(records_of(original)) if one.path == "Events")
    branches, group = tree.named("weight")
    clear(group)
    jets = take_out(tree, JETS)
    group["fBranches"].items += [one.thing for one in jets]
    place = branches.items.index(group)
    taken = take_out(tree, JETS)
    assert [one.thing.name for one in taken] == ["weight", *JETS]
    assert not {"weight", *JETS} & set(tree.names)
    for one in taken:
        put_in(tree, one.thing, one.above, one.before)
    assert branches.items.index(group) == place
    assert [branch.name for branch in group["fBranches"].items] == JETS


def test_an_rntuple_beside_the_tree_is_copied(original, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    numbers = {"x": np.arange(500.0), "lists": ak.unflatten(np.arange(900), [1, 2, 3] * 150)}
    with uproot.update(original) as file:
        file.mkrntuple("ntuple", numbers | {"x": numbers["x"][:450]})
    assert compress_file(original, small, PACKED)["notes"] == []
    succeeded("verify", original, small)
    assert run_of(small).trees.keys() == {"deep/other", "ntuple"}
    decompress_file(small, back)
    for path in (small, back):
        found = read_tree(path, "ntuple")
        assert {name: bits(array) for name, array in found.items()} == {
            name: bits(array) for name, array in read_tree(original, "ntuple").items()
        }
    content = bytearray(small.read_bytes())
    keys = [found.start() - 27 for found in re.finditer(b"RBlob", content)]
    sizes = {at: int.from_bytes(content[at : at + 4], "big") for at in keys}
    pages = max(sizes, key=sizes.__getitem__)
    content[pages + sizes[pages] // 2] ^= 1
    small.write_bytes(content)
    assert run_main("verify", small).failed(3, "'ntuple'")


def test_a_folder_has_few_bytes(small):
    before = records_of(small)
    inner = next(folder for folder in before.root.folders.values() if folder.key.path_name == "atlasae")
    own = [tree for tree in trees_of(before) if tree.path.startswith("atlasae/")]
    baskets = [p.nbytes for tree in own for branch in tree.branches() for p in places(branch, before)]
    assert sum(key.nbytes for key in inner.keys) + sum(baskets) < 6000


def test_a_file_is_written_anew_where_that_is_asked_for(original, tmp_path):
    compress_file(original, tmp_path / "small.root", Options(packed=True, rewrite=True))
    assert run_of(tmp_path / "small.root") is None


@pytest.mark.parametrize(("compression", "code"), [("lzma:9", b"XZ"), ("zstd:5", b"ZS")])
def test_carried_baskets_are_compressed_as_asked(compression, code, original, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    compress_file(original, small, Options(packed=True, compression=compression))
    decompress_file(small, back)
    for path in (small, back):
        found = payloads(path, "Events")["event"]
        assert found != payloads(original, "Events")["event"] and all(code in basket[:60] for basket in found)
    check_restored(original, back, "Events", "nanoaod")
    succeeded("verify", original, small)


def test_jets_that_cannot_be_put_back_are_written_anew(tmp_path):
    path = Path(__file__).parents[1] / "golden" / "leaves" / "jets.root"  # jets of Double32_t with a range
    report = succeeded("compress", path, tmp_path / "small.root", "--precision", "resolution/20", "--json").report
    assert any("written anew" in note for note in report["notes"])
    succeeded("verify", path, tmp_path / "small.root")


@pytest.mark.parametrize("layout", ["floats", "packed"])
@pytest.mark.parametrize("name", ["jets", "coarse"])
@pytest.mark.parametrize("precision", ["1e-2", "1e-3", "2e-5"])
def test_jets_come_back_in_the_types_with_few_bits_that_they_had(layout, name, precision, tmp_path):
    path = Path(__file__).parents[1] / "golden" / "leaves" / f"{name}.root"
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = succeeded("compress", path, small, "--layout", layout, "--precision", precision, "--json").report
    assert report["exact_jets"] <= report["jets"] / 20 and not any("anew" in note for note in report["notes"])
    succeeded("verify", path, small, "--quiet")
    succeeded("decompress", small, back, "--quiet")
    stored = report["collections"][0]["branches"]
    with uproot.open(path) as before, uproot.open(back) as after:
        for branch in stored.values():
            leaves = [file["Events"][branch].member("fLeaves")[0] for file in (before, after)]
            assert len({(leaf.classname, leaf.member("fTitle")) for leaf in leaves}) == 1
    columns = []
    for one in (path, back):
        with open_source(one) as source:
            events = source.trees["Events"].read([*stored.values()], 0, source.trees["Events"].entries)
            columns.append({v: ak.to_numpy(ak.flatten(events[branch])).astype(float) for v, branch in stored.items()})
    x, y = columns
    unit = {"pt": x["pt"], "eta": 1, "phi": 1, "m": np.maximum(x["m"], 0.1)}
    assert {v for v in unit if not (np.abs(y[v] - x[v]) / unit[v]).max() <= float(precision) * (1 + 1e-9)} == set()
    opened = atlasae.open(small)
    for v, branch in stored.items():
        assert y[v] == pytest.approx(ak.to_numpy(ak.flatten(opened[branch].array())), rel=1e-6, abs=1e-12)


def test_an_older_cycle_of_the_tree_is_left_out_with_a_note(original, tmp_path):
    jets = {v: np.full(50, 40 if v == "Jet_pt" else 1, np.float32) for v in JETS}
    with uproot.update(original) as file:
        file.mktree("Events", dict.fromkeys(JETS, "f4")).extend(jets)
    report = compress_file(original, tmp_path / "small.root", PACKED)
    assert [thing["name"] for thing in report["left_out"]] == ["cycle 1 of 'Events'"]
    assert not report["left_out"][0]["minor"]  # it has baskets of its own
    assert any("cycle 1" in note and "only the latest" in note for note in report["notes"])
    succeeded("verify", original, tmp_path / "small.root")


def test_jets_counted_by_another_branch_than_is_read_are_refused(original):
    with open_input(original, None, ()) as opened:
        grafting = grafting_of(opened, PACKED)
        _, plan, _, others = plan_ttree(grafting.original, opened, PACKED)
        assert plan.collections and not others
        grafting.tree.thing["fBranches"].items[0]["fName"] = b"nJet"
        with pytest.raises(UserError, match="not counted by branch 'nJet' but by another branch of that name.*--jets"):
            plan_ttree(grafting.original, opened, PACKED)


def test_what_is_not_known_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(buffers._STEPS, ("TBranchElement", 10))
    words = ("TBranchElement of version 10", "--rewrite")
    refused(2, words, "compress", ODD, tmp_path / "x.root", out=tmp_path / "x.root")
    succeeded("compress", ODD, tmp_path / "x.root", "--rewrite", "--drop-unwritable", "--layout", "packed")


# --- damage


def damaged(path: Path, branch: str, tree: str = "Events") -> Path:
    """A copy with a flipped bit in the first basket of a branch."""
    content = bytearray(path.read_bytes())
    with uproot.open(path) as file:
        found = file[tree][branch]
        content[int(found.member("fBasketSeek")[0]) + int(found.member("fBasketBytes")[0]) - 9] ^= 4
    path.with_name("damaged.root").write_bytes(content)
    return path.with_name("damaged.root")


@pytest.mark.parametrize(("tree", "branch"), [("Events", "weight"), ("deep/other", "met")])
def test_damage_of_what_is_carried_is_found(tree, branch, small, original, tmp_path):
    bad = damaged(small, branch, tree)
    assert run_main("verify", bad).failed(3, f"branch '{branch}'", "in entries 0 to")
    assert run_main("verify", original, bad).failed(3, f"branch '{branch}'")
    refused(3, (f"branch '{branch}'",), "decompress", bad, tmp_path / "back.root", out=tmp_path / "back.root")


def test_damage_of_the_input_is_found(original, tmp_path):
    bad = damaged(original, "name")
    content = bytearray(bad.read_bytes())
    with uproot.open(original) as file:
        at = int(file["Events"]["name"].member("fBasketSeek")[0])
    content[at + 6 : at + 10] = b"\x7f\xff\xff\xff"  # fObjlen
    bad.write_bytes(content)
    refused(3, ("'name'",), "compress", bad, tmp_path / "x.root", "--layout", "packed", out=tmp_path / "x.root")


@pytest.mark.parametrize("what", ["basket", "tree"])
def test_a_copy_that_is_not_what_was_read_is_refused(what, original, tmp_path, monkeypatch):
    finish = Composer.finish

    def spoilt(self, trees):
        finish(self, trees)
        record, weight = self.kept[0], trees[0].named("weight")[1]
        if what == "basket":
            self._write_at(record.at + record.nbytes - 1, b"\xff")
        else:
            weight["fTitle"] = b"another"

    monkeypatch.setattr(Composer, "finish", spoilt)
    out = tmp_path / "small.root"
    refused(2, ("does not read back",), "compress", original, out, "--layout", "packed", out=out)


def test_what_is_intact_is_salvaged(original, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    compress_file(original, small, Options(step_size="1kB"))
    report = decompress_file(damaged(small, "Jet_z1"), back, salvage=True)
    ((start, stop),) = report["missing"]
    assert start == 0 < stop < 120 and len(report["damage"]) == 1
    with uproot.open(original) as one, uproot.open(back) as other:
        assert other["deep/histogram"].values().tolist() == one["deep/histogram"].values().tolist()
        assert other["deep/other"].num_entries == one["deep/other"].num_entries
    assert not any("deep/" in note for note in report["notes"])
    before, after = read_tree(original, "Events"), read_tree(back, "Events")
    assert list(after) == list(before)
    assert bits(after["weight"]) == bits(before["weight"][stop:])


def test_another_histogram_is_a_difference(original, small, tmp_path):
    with uproot.update(original) as file:
        file["deep/more"] = np.histogram([1.0])
    assert "deep/more" in str(run_main("verify", original, small, "--json").report["differences"])


# --- after ROOT has written it


def with_other_uuid(path: Path) -> Path:
    """The same file, as if ROOT had written it."""
    content = bytearray(path.read_bytes())
    at = records_of(path).head.uuid
    place = bytes(content[:200]).index(at)
    content[place + 2 : place + 18] = bytes(16)
    path.write_bytes(content)
    return path


def test_objects_are_not_compared_bit_by_bit_after_root_wrote_them(small):
    assert succeeded("verify", with_other_uuid(small), "--json").report["objects"] == ["deep/histogram"]


def chunks_of(path: Path) -> Iterator[int]:
    with open_source(path) as source:
        yield from (len(chunk.checksums) for chunk in read_contents(source).chunks)


def test_every_chunk_has_checksums_of_carried_branches(original, tmp_path):
    compress_file(original, tmp_path / "small.root", Options(packed=True, step_size="1kB"))
    counts = list(chunks_of(tmp_path / "small.root"))
    assert len(counts) > 3 and len(set(counts)) == 1 and counts[0] > 3


def test_jets_of_one_number_an_entry_are_grafted(tmp_path):
    path = write_layout(tmp_path / "flat.root", "flat")
    succeeded("compress", path, tmp_path / "small.root")
    assert run_of(tmp_path / "small.root") is not None
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root")
    check_restored(path, tmp_path / "back.root", "jets", "flat")
    assert ak.num(read_tree(tmp_path / "back.root", "jets")["pt"], axis=0) == 60


# --- jets in other containers: arrays, leaf lists, objects


HELD = {  # collections of each tree, with the branches that hold their variables
    "arrays": {"jet": ["jet_pt", "jet_eta", "jet_phi", "jet_m"]},
    "leaves": {"jet": ["jet"]},
    "more_leaves": {"jet": ["jet"]},
    "doubles32": {"jet": ["jet_pt", "jet_eta", "jet_phi", "jet_m"]},
    "lorentz": {"jet1": ["jet1"], "jet2": ["jet2"]},
    "lorentz_unsplit": {"jet1": ["jet1"], "jet2": ["jet2"]},
    "clones": {"jets": ["jets.fP", "jets.fE"]},
    "clones_unsplit": {"jets": ["jets"]},
    "lorentz_lists": {"Jets": ["Jets"]},
    "lorentz_lists_unsplit": {"Jets": ["Jets"]},
    "vectors": {
        "subjet": [f"subjet.fCoordinates.f{v}" for v in "XYZT"],
        "jet1": ["jet1"],
        "jet2": ["jet2"],
    },
    "vectors_unsplit": {"jet1": ["jet1"], "jet2": ["jet2"], "subjet": ["subjet."]},
    "lists": {"jets": [f"jets.fCoordinates.f{v}" for v in "XYZT"]},
    "lists_unsplit": {"jets": ["jets"]},
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A folder with all trees of SHAPES compressed and decompressed, and the reports of compression and `verify`."""
    folder = tmp_path_factory.mktemp("shapes")
    report = compress_file(SHAPES, folder / "small.root", PACKED)
    verified = verify_file(SHAPES, folder / "small.root")
    decompress_file(folder / "small.root", folder / "back.root")
    assert verify_file(folder / "back.root", folder / "small.root")["differences"] == []
    return folder, report, verified


@pytest.mark.parametrize("tree", HELD)
def test_jets_in_every_container_come_back_in_it(tree, shapes):
    folder, report, verified = shapes
    collections = [c for c in report["collections"] if c["name"].startswith(f"{tree}/")]
    assert {c["name"] for c in collections} == {f"{tree}/{name}" for name in HELD[tree]}
    assert {(c["units"], c["exact_jets"]) for c in collections} == {("GeV", 0)}
    errors = [error for c in collections for error in verified["max_error"][c["name"]].values()]
    assert verified["differences"] == [] and max(errors) > 1e-4
    small, back = folder / "small.root", folder / "back.root"
    with uproot.open(SHAPES) as before, uproot.open(small) as between, uproot.open(back) as after:
        assert after[tree].keys() == before[tree].keys()
        assert [str(b.typename) for b in after[tree].branches] == [str(b.typename) for b in before[tree].branches]
        assert not {name for held in HELD[tree].values() for name in held} & set(between[tree].keys(recursive=False))
        data = [{k: b.uncompressed_bytes for k, b in f[tree].iteritems(recursive=True)} for f in (before, after)]
    assert {k for k in data[0] if abs(data[0][k] - data[1][k]) > 90} == set()  # the same bytes but for keys


def columns_by_member(path: Path) -> np.ndarray:
    """pt, eta, phi, m and flavour of the jets of `by_member`: of each event, as bytes of one column after the other."""
    with uproot.open(path) as file:
        branch = file["by_member"]["jets"]
        events = list[np.ndarray]()
        for basket in map(branch.basket, range(branch.num_baskets)):
            events += [basket.data[i + 16 : j].view(">u4").reshape(5, -1) for i, j in pairwise(basket.byte_offsets)]
    return np.concatenate(events, axis=1).astype(np.uint32)


@pytest.mark.parametrize("packed", [True, False])
def test_jets_that_root_stores_member_by_member_come_back_so(tmp_path, packed):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(USERS, small, tree="by_member", packed=packed)
    assert [c["name"] for c in report["collections"]] == ["jets"] and report["exact_jets"] == 0
    assert verify_file(USERS, small)["differences"] == []
    decompress_file(small, back)
    assert verify_file(back, small)["differences"] == []
    before, after = columns_by_member(USERS), columns_by_member(back)
    assert before[4].tolist() == after[4].tolist() and set(before[4]) <= set(range(6)) and before.shape[1] == 60
    (pt, eta, phi, m), others = (words[:4].view(np.float32).astype(float) for words in (before, after))
    assert (np.abs(others[0] / pt - 1) <= 1e-3).all() and (np.abs(others[1:3] - [eta, phi]) <= 1e-3).all()
    assert (np.abs(others[3] / m - 1) <= 1e-3).all() and pt.min() > 20 and (others[0] != pt).any()


@pytest.mark.parametrize(
    ("tree", "pattern", "variables"),
    [
        ("single", (), "pt eta phi m"),
        ("PtEtaPhiM", (), "pt eta phi m"),
        ("p4", ("px=jet_p4.0,py=jet_p4.1,pz=jet_p4.2,E=jet_p4.3",), "px py pz E"),
    ],
)
def test_jets_in_objects_and_in_arrays_of_four_numbers_come_back(tmp_path, tree, pattern, variables):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(USERS, small, tree=tree, jets=pattern, packed=True)
    (found,) = report["collections"]
    assert (" ".join(found["branches"]), found["units"], report["exact_jets"]) == (variables, "GeV", 0)
    assert verify_file(USERS, small)["differences"] == []
    decompress_file(small, back)
    assert verify_file(back, small)["differences"] == []
    if tree != "single":
        before, after = (ak.to_numpy(ak.flatten(read_tree(path, tree)[f"jet_{tree}"])) for path in (USERS, back))
        assert before.shape == after.shape == (60, 4) and (before != after).any()
        assert np.allclose(before, after, rtol=0, atol=2e-3 * np.abs(before).max(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ("clones", "not read: jets (uproot writes no TClonesArray): jets need a branch for each variable"),
        ("event", "not read: event (uproot writes no Event): jets need a branch for each variable"),
        ("p4", "--jets 'px=jet_p4.0,py=jet_p4.1,pz=jet_p4.2,E=jet_p4.3', if the numbers of 'jet_p4' have this order"),
    ],
)
def test_jets_that_are_not_found_are_told_with_what_holds_them(tmp_path, tree, says):
    with pytest.raises(UserError, match=re.escape(says)):
        compress_file(USERS, tmp_path / "small.root", tree=tree)


def test_other_leaves_of_a_list_stay_bit_for_bit(tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    compress_file(SHAPES, small, Options(tree="more_leaves"))
    decompress_file(small, back)
    with uproot.open(SHAPES) as before, uproot.open(small) as between, uproot.open(back) as after:
        original, restored = (file["more_leaves"]["jet"].array(library="np") for file in (before, after))
        for name in ("flavour", "btag"):
            kept = between["more_leaves"][f"jet.{name}"].array(library="np")
            assert original[name].tobytes() == restored[name].tobytes() == kept.astype(original[name].dtype).tobytes()
        assert original.dtype == restored.dtype and 0 < np.abs(original["pt"] / restored["pt"] - 1).max() < 1e-3


def test_objects_in_which_more_varies_than_numbers_stay(tmp_path):
    report = compress_file(SHAPES, tmp_path / "small.root", Options(tree="bits", packed=True))
    assert [c["name"] for c in report["collections"]] == ["jet1"]
    assert "left as they are, since more than numbers varies in their objects: jet2" in report["notes"]
    assert verify_file(SHAPES, tmp_path / "small.root")["branches"]["jet2"] == "bit for bit"


def test_restored_baskets_do_not_claim_what_they_lack(tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    report = compress_file(ODD, small, Options())
    assert [c["name"] for c in report["collections"]] == ["Jet"]
    decompress_file(small, back)
    branches = {name: branch for name, (_, branch) in trees_of(records_of(back))[0].by_name().items()}
    claiming = {name for name, branch in branches.items() if branch["fIOFeatures"].rest[-1]}
    assert claiming >= {"nJet", "weight"} and claiming.isdisjoint(JETS)
    assert verify_file(ODD, small)["differences"] == []


def test_branches_that_are_copied_but_not_read_are_named(tmp_path):
    compress_file(ODD, tmp_path / "small.root", Options())
    message = "'names.fName' of tree 'maps' is not read here .*as one.*, but lies in the file as it was"
    with atlasae.open(tmp_path / "small.root") as tree, pytest.raises(KeyError, match=message):
        tree["names.fName"]


def test_a_chain_is_copied(tmp_path):
    compress_file(ODD, tmp_path / "small.root", PACKED)
    decompress_file(tmp_path / "small.root", tmp_path / "back.root")
    for made in ("small.root", "back.root"):
        with uproot.open(tmp_path / made) as file:
            assert file.classname_of("chain") == "TChain"
    assert not [found for found in check_file(tmp_path / "small.root")["left_out"] if "chain" in str(found)]


def test_clones_that_uproot_can_not_read_are_no_jets_and_no_bug(tmp_path):
    words = "'clones'", "no branch holds floats"
    refused(2, words, "compress", ODD, tmp_path / "x.root", "--tree", "clones", out=tmp_path / "x.root")


def test_members_of_branches_that_were_dropped_are_not_missed(tmp_path):
    report = compress_file(ODD, tmp_path / "small.root", Options(rewrite=True, drop_unwritable=True))
    assert {"vertex", "names.fName"} <= set(report["dropped"])
    assert verify_file(ODD, tmp_path / "small.root")["differences"] == []


def test_jets_in_structures_can_only_be_copied(tmp_path):
    with pytest.raises(UserError, match=r"'jet\.eta' of 'jet' is in a structure, which uproot can't write"):
        compress_file(SHAPES, tmp_path / "small.root", Options(tree="leaves", rewrite=True))


@pytest.mark.parametrize("tree", ["leaves", "arrays", "vectors"])
def test_jets_of_any_shape_stay_alone(tree, tmp_path):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    compress_file(SHAPES, small, Options(tree=tree, only_jets=True, packed=True))
    assert verify_file(SHAPES, small)["differences"] == []
    decompress_file(small, back)
    with uproot.open(back) as after, uproot.open(SHAPES) as before:
        types = before[tree].typenames()
        assert after.keys(cycle=False) == [tree] and after[tree].typenames().items() <= types.items()


def test_arrays_written_anew_stay_arrays(tmp_path):
    how = Options(tree="arrays", rewrite=True, drop_unwritable=True)
    compress_file(SHAPES, tmp_path / "small.root", how)
    assert verify_file(SHAPES, tmp_path / "small.root")["differences"] == []
    decompress_file(tmp_path / "small.root", tmp_path / "back.root")
    with uproot.open(tmp_path / "back.root") as after:
        assert after["arrays"]["jet_pt"].typename == "float[4]"


@pytest.mark.parametrize("packed", [False, True])
def test_systematics_share_eta_and_phi_with_the_nominal_jets(packed, tmp_path):
    jets = {v: (x / 1000 if v in ("pt", "m") else x).astype(np.float32) for v, x in random_jets(1500).items()}
    branches = {f"jet_{v}": jets[v] for v in ("pt", "eta", "phi", "m")}
    for name, shift in (("up", 1.01), ("down", 0.99)):
        branches |= {f"jet_{v}_JES_{name}": jets[v] * np.float32(shift) for v in ("pt", "m")}
    branches["jet_pt_JES_up"][3] = np.nan  # exact in one variation
    write_tree(tmp_path / "in.root", "Events", {name: ak.Array(x) for name, x in branches.items()})
    report = compress_file(tmp_path / "in.root", tmp_path / "small.root", Options(packed=packed))
    assert [c["name"] for c in report["collections"]] == ["jet", "jet_JES_up", "jet_JES_down"]
    exact = [c["exact_jets"] for c in report["collections"]]
    assert exact[0] == 0 and 1 <= exact[1] < 15
    nominal, up, down = (c["bytes_out"] for c in report["collections"])
    assert max(up, down) < 0.3 * nominal
    decompress_file(tmp_path / "small.root", tmp_path / "back.root")
    assert verify_file(tmp_path / "in.root", tmp_path / "small.root")["differences"] == []
    back = read_tree(tmp_path / "back.root", "Events")
    assert list(back) == list(branches)
    for name, before in branches.items():
        away = np.abs(ak.to_numpy(back[name]) - before) / (before if "pt" in name or "m" in name else 1)
        assert np.nanmax(away) <= 1e-3 and np.nanmax(away) > 0


def test_a_dry_run_tells_what_becomes_of_every_branch(original):
    known = plan_file(SHAPES, Options(tree="more_leaves"))
    assert known["branches"] == {
        "jet.flavour": "kept bit for bit beside the jets",
        "jet.btag": "kept bit for bit beside the jets",
        **{f"jet.{v}": f"{v} of 'jet' (GeV)" for v in ("pt", "eta", "phi", "m")},
    }
    assert known["others"]["lists"] == "copied byte for byte" and "more_leaves" not in known["others"]
    anew = plan_file(original, Options(rewrite=True, drop="event"))
    with uproot.open(original) as file:
        assert set(anew["branches"]) >= set(file["Events"].keys()) and "deep/other" in anew["others"]
    assert {anew["branches"][name] for name in JETS} == {f"{v} of 'Jet' (GeV)" for v in ("pt", "eta", "phi", "m")}
    others = set(anew["branches"].values()) - {anew["branches"][name] for name in JETS}
    assert others == {"left out", "written anew, bit for bit"}
    page = run_main("compress", original, "--dry-run").out
    assert "Jet_pt" in page and "copied byte for byte" in page and "deep/histogram" in page
    assert run_main("compress", original, original, original, "--dry-run").failed(2, "--dry-run is for one file")


def test_branches_of_jets_that_can_not_be_put_back_are_damage(original, tmp_path):
    compress_file(original, tmp_path / "small.root", PACKED)
    with open_source(tmp_path / "small.root") as source:
        contents = read_contents(source)
        (run,) = contents.runs
        assert damage_of(taken_apart(source, contents)) == []
        graft = replace(run.graft, taken=replace(run.graft.taken, objects=""))
        forged = replace(contents, runs=[replace(run, graft=graft)])
        ((message, place),) = damage_of(taken_apart(source, forged))
    assert "'atlasae' in " in message and "is damaged: " in message and place is None


def test_streamer_infos_that_are_elsewhere_are_damage(original, tmp_path):
    small = tmp_path / "small.root"
    compress_file(original, small, PACKED)
    content = bytearray(small.read_bytes())
    content[37:41] = (len(content) - 3).to_bytes(4, "big")  # their position in the header
    small.write_bytes(content)
    for arguments in (("verify", small), ("decompress", small, tmp_path / "back.root")):
        assert run_main(*arguments).failed(3, "is damaged: a key is longer than what holds it")


def test_a_record_of_another_size_than_its_folder_says_is_damage(original, tmp_path):
    small = tmp_path / "small.root"
    compress_file(original, small, PACKED)
    content = bytearray(small.read_bytes())
    with uproot.open(small) as file:
        at = file["deep"].file.root_directory.key("deep").fSeekKey
    content[at : at + 4] = (123_456).to_bytes(4, "big")
    small.write_bytes(content)
    for arguments in (("verify", small), ("decompress", small, tmp_path / "back.root")):
        assert run_main(*arguments).failed(3, "has 123456 bytes, where ")


def test_a_basket_larger_than_its_branch_says_comes_back_as_large(tmp_path):
    """uproot writes what it is given at once as one basket, ROOT one of `fBasketSize`: small ones pack less well."""
    original, small, back = (tmp_path / name for name in ("in.root", "small.root", "back.root"))
    write_layout(original, "nanoaod", 20_000)
    compress_file(original, small, PACKED)
    decompress_file(small, back)
    with uproot.open(original) as before, uproot.open(back) as after:
        for name in JETS:
            branch = before["Events"][name]
            assert after["Events"][name].num_baskets <= branch.num_baskets + 1
            assert branch.uncompressed_bytes > 2 * branch.num_baskets * branch.member("fBasketSize")


@pytest.mark.parametrize("stored", [">f4", ">f8"])
def test_where_the_beginning_of_a_basket_fits_several_forms_all_of_it_tells(stored, monkeypatch):
    """As that of doubles that begin with zeros, and may be floats in the file, as a Double32_t is."""
    monkeypatch.setattr(ttrees, "_ENOUGH", 64)
    values, asked = np.append(np.zeros(100), [1.5, 2.5]), Form(">f8", False)
    data, known = values.astype(stored).tobytes(), list[int]()

    def beginning(_: str, most: int) -> Beginning:
        known.append(most)
        return Beginning(len(values), data[:most], most >= len(data))

    events = SimpleNamespace(read=lambda names, start, stop: {names[0]: ak.Array(values[start:stop])})
    found = ttrees._form_in(asked, SimpleNamespace(beginning=beginning), events, "x", ttrees._ENOUGH)
    assert found == Form(stored, False) and known == [64, ttrees._ALL]
