"""`atlasae verify`: files that keep the promise, and every kind of difference and damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot
from conftest import (
    jet_columns,
    nothing_left,
    random_jets,
    read_tree,
    refused,
    run_main,
    succeeded,
    write_layout,
    write_tree,
)  # fmt: skip

from atlasae.compression import compress, floats, packed, verify
from atlasae.compression.compress import compress_file
from atlasae.compression.plan import Options
from atlasae.files import trees, writing
from atlasae.files.writing import Writer
from atlasae.jets import stored
from atlasae.report import counted

Branches = dict[str, ak.Array]
JETS = ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass")
GOLDEN = Path(__file__).parents[1] / "golden"


def changed(path: Path, change: Callable[[Branches], Branches]) -> Path:
    """A copy of a NanoAOD-like file with its branches changed."""
    branches = change(read_tree(path, "Events"))
    counters = {name: "nJet" for name in branches if name.startswith("Jet_")}
    return write_tree(path.with_name("changed.root"), "Events", branches, counters)


def with_values(name: str, edit: Callable[[np.ndarray], None]) -> Callable[[Branches], Branches]:
    """A change of one branch: `edit` changes its flat values in place."""

    def change(branches: Branches) -> Branches:
        array = branches[name]
        values = ak.to_numpy(ak.flatten(array, axis=None)).copy()
        edit(values)
        return branches | {name: ak.unflatten(values, ak.num(array)) if array.ndim > 1 else ak.Array(values)}

    return change


def add(i: int, amount: float) -> Callable[[np.ndarray], None]:
    def edit(values: np.ndarray) -> None:
        values[i] += amount

    return edit


def scale(i: int, factor: float) -> Callable[[np.ndarray], None]:
    def edit(values: np.ndarray) -> None:
        values[i] *= factor

    return edit


def flip(i: int, bit: int) -> Callable[[np.ndarray], None]:
    def edit(values: np.ndarray) -> None:
        values.view(f"u{values.itemsize}")[i] ^= 1 << bit

    return edit


def differences(original: Path, small: Path) -> list[str]:
    """The differences that a failed `verify` lists."""
    result = run_main("verify", original, small, "--json")
    assert (result.code, result.err) == (1, ""), result
    assert result.report["differences"]
    text = run_main("verify", original, small)
    assert text.code == 1 and all(f"  {line}\n" in text.out for line in result.report["differences"]), text
    assert counted(len(result.report["differences"]), "differences") in text.out
    return result.report["differences"]


@pytest.mark.parametrize("layout", ["energy", "rntuple"])
def test_what_was_compressed_is_as_promised(layout, tmp_path):
    path, small = write_layout(tmp_path / "in.root", layout), tmp_path / "small.root"
    succeeded("compress", path, small)
    result = succeeded("verify", path, small)
    assert result.out.startswith("60 entries compared: as promised\n")
    report = succeeded("verify", path, small, "--json").report
    assert (report["entries"], report["differences"]) == (60, [])
    (found,), (bounds,) = report["max_error"].values(), report["precision"].values()
    assert found.keys() == bounds.keys()
    assert all(0 < found[variable] <= bounds[variable] for variable in found)


def test_what_was_decompressed_is_what_is_in_the_file(jets_file, compressed, tmp_path):
    succeeded("decompress", compressed, tmp_path / "back.root")
    report = succeeded("verify", tmp_path / "back.root", compressed, "--json").report
    assert report["max_error"] == {"Jet": {"pt": 0, "eta": 0, "phi": 0, "m": 0}}


@pytest.mark.parametrize(
    ("branch", "edit", "variable"),
    [
        ("Jet_pt", scale(7, 1.01), "pt"),
        ("Jet_eta", add(7, -0.01), "eta"),
        ("Jet_phi", add(7, 0.01), "phi"),
        ("Jet_mass", scale(7, 0.99), "m"),
        ("Jet_mass", scale(-1, -1), "m"),
        ("Jet_pt", scale(0, np.nan), "pt"),
        ("Jet_eta", scale(0, np.inf), "eta"),
    ],
)
def test_a_jet_beyond_its_precision_is_a_difference(branch, edit, variable, jets_file, compressed):
    moved = changed(jets_file, with_values(branch, edit))
    assert differences(moved, compressed) == [f"Jet: 1 jet beyond 0.001 in {variable} in entries 0 to 60"]


def test_only_the_jets_that_moved_are_counted(jets_file, compressed):
    moved = changed(jets_file, with_values("Jet_eta", scale(slice(10, 13), 1.1)))
    assert differences(moved, compressed) == ["Jet: 3 jets beyond 0.001 in eta in entries 0 to 60"]


def test_differences_add_up_over_the_blocks_of_a_chunk(jets_file, compressed, monkeypatch):
    moved = changed(jets_file, with_values("Jet_eta", scale(slice(None, None, 20), 1.1)))
    whole = verify.verify_file(moved, compressed)
    monkeypatch.setattr(stored, "BLOCK", 10)
    assert verify.verify_file(moved, compressed) == whole
    assert "jets beyond 0.001 in eta in entries 0 to 60" in whole["differences"][0]


def test_a_jet_kept_exactly_differs_by_a_bit(jets_file, tmp_path):
    odd = changed(jets_file, with_values("Jet_pt", scale(3, np.nan))).rename(tmp_path / "odd.root")
    succeeded("compress", odd, tmp_path / "small.root")
    succeeded("verify", odd, tmp_path / "small.root")
    other = changed(odd, with_values("Jet_pt", flip(3, 0)))
    assert differences(other, tmp_path / "small.root") == ["Jet: 1 jet beyond 0.001 in pt in entries 0 to 60"]


@pytest.mark.parametrize(("branch", "bit"), [("weight", 0), ("weight", 31), ("hit", 15), ("Jet_nConstituents", 7)])
def test_a_bit_of_a_bystander_is_a_difference(branch, bit, jets_file, compressed):
    other = changed(jets_file, with_values(branch, flip(0, bit)))
    assert differences(other, compressed) == [f"branch '{branch}' differs in entries 0 to 60"]


def test_a_difference_says_in_which_entries(jets_file, tmp_path):
    small = tmp_path / "small.root"
    succeeded("compress", jets_file, small, "--step-size", "500B")
    found = differences(changed(jets_file, with_values("event", flip(31, 0))), small)
    (words,) = [line.split() for line in found]
    assert words[:5] == ["branch", "'event'", "differs", "in", "entries"]
    assert 0 < int(words[5]) <= 31 < int(words[7]) < 60


def test_another_text_is_a_difference(jets_file, compressed):
    other = changed(jets_file, lambda b: b | {"name": ak.Array(["other", *b["name"].to_list()[1:]])})
    assert differences(other, compressed) == ["branch 'name' differs in entries 0 to 60"]


def test_other_event_boundaries_are_a_difference(jets_file, compressed):
    def shift(branches: Branches) -> Branches:
        counts = ak.to_numpy(ak.num(branches["Jet_pt"]))
        first = int(np.flatnonzero(counts)[0])
        counts[first], counts[first + 1] = counts[first] - 1, counts[first + 1] + 1
        jets = {name: ak.unflatten(ak.flatten(a), counts) for name, a in branches.items() if name.startswith("Jet_")}
        return branches | jets

    found = differences(changed(jets_file, shift), compressed)
    assert "Jet: jets per event differ in entries 0 to 60" in found


@pytest.mark.parametrize("entries", [0, 1, 59])
def test_fewer_entries_are_a_difference(entries, jets_file, compressed):
    fewer = changed(jets_file, lambda branches: {name: array[:entries] for name, array in branches.items()})
    assert f"60 entries were compressed, the original has {entries}" in differences(fewer, compressed)


def test_more_entries_are_a_difference(jets_file, compressed):
    more = changed(jets_file, lambda branches: {n: ak.concatenate([a, a[:1]]) for n, a in branches.items()})
    assert differences(more, compressed) == ["60 entries were compressed, the original has 61"]


def without(*names: str) -> Callable[[Branches], Branches]:
    return lambda branches: {name: array for name, array in branches.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "branch"),
    [
        (without("weight"), "weight"),
        (without("Jet_pt"), "Jet_pt"),
        (without(*JETS), "Jet_pt"),
        (lambda branches: branches | {"hit": branches["event"]}, "hit"),
        (lambda branches: branches | {"met": ak.values_astype(branches["met"], np.float32)}, "met"),
        (lambda branches: branches | {"Jet_pt": ak.values_astype(branches["Jet_pt"], np.float64)}, "Jet_pt"),
        (lambda branches: branches | {"unheard_of": branches["event"]}, "unheard_of"),
    ],
    ids=["no bystander", "no pt", "no jets", "no list", "other type", "other type of jets", "one more"],
)
def test_other_branches_are_a_difference(change, branch, jets_file, compressed):
    found = differences(changed(jets_file, change), compressed)
    assert [line for line in found if f"'{branch}'" in line] != []


def test_branches_left_out_when_asked_are_no_difference(jets_file, tmp_path):
    succeeded("compress", jets_file, tmp_path / "small.root", "--drop", "we*")
    succeeded("compress", jets_file, tmp_path / "jets_only.root", "--only-jets")
    for small in ("small", "jets_only"):
        succeeded("verify", jets_file, tmp_path / f"{small}.root")


def test_an_error_without_end_is_still_json(jets_file, compressed):
    zero = changed(jets_file, with_values("Jet_pt", scale(7, 0)))
    result = run_main("verify", zero, compressed, "--json")
    json.loads(result.out, parse_constant=pytest.fail)  # NaN and Infinity are not valid JSON


@pytest.fixture
def table() -> pd.DataFrame:
    jets = random_jets(50)
    return pd.DataFrame({v: jets[v] for v in ("pt", "eta", "phi", "m")} | {"weight": np.arange(50)})


@pytest.mark.parametrize("column", ["pt", "weight"])
def test_a_table_without_a_column_is_a_difference(column, table, tmp_path):
    table.to_pickle(tmp_path / "in.pkl")
    succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root")
    table.drop(columns=column).to_pickle(tmp_path / "fewer.pkl")
    assert f"'{column}'" in differences(tmp_path / "fewer.pkl", tmp_path / "small.root")[0]


def test_a_table_with_other_values_is_a_difference(table, tmp_path):
    table.to_pickle(tmp_path / "in.pkl")
    succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root")
    table.loc[3, "weight"], table.loc[4, "pt"] = 99, 1.0
    table.to_pickle(tmp_path / "other.pkl")
    assert differences(tmp_path / "other.pkl", tmp_path / "small.root") == [
        "branch 'weight' differs in entries 0 to 50",
        "jets: 1 jet beyond 0.001 in pt in entries 0 to 50",
    ]


@pytest.mark.parametrize("more", [{"more": np.zeros(9)}, {"more": np.ones(8)}, {"less": np.ones(9)}, {}])
def test_another_tree_is_a_difference(more, tmp_path):
    path, other = tmp_path / "in.root", tmp_path / "other.root"
    for file, written in ((path, {"more": np.ones(9)}), (other, more)):
        write_tree(file, "jets", {name: ak.Array(values) for name, values in jet_columns("flat", 40).items()})
        with uproot.update(file) as opened:
            for tree, values in written.items():
                opened.mktree(tree, {"x": values.dtype}).extend({"x": values})
    succeeded("compress", path, tmp_path / "small.root")
    succeeded("verify", path, tmp_path / "small.root")
    assert [line for line in differences(other, tmp_path / "small.root") if "'more'" in line] != []


@pytest.mark.parametrize("branch", ["Jet_z0", "weight", "Jet_exact_index"])
def test_damage_is_exit_3(branch, tmp_path):
    path = write_layout(tmp_path / "jets.root", "nanoaod")
    odd = changed(path, with_values("Jet_pt", scale(slice(0, 40), np.nan)))
    small = tmp_path / "small.root"
    succeeded("compress", odd, small)
    with uproot.open(small) as file:
        basket = file["Events"][branch]
        middle = int(basket.member("fBasketSeek")[0]) + int(basket.member("fBasketBytes")[0]) - 70
    content = bytearray(small.read_bytes())
    content[middle] ^= 16
    small.write_bytes(content)
    assert run_main("verify", odd, small).failed(3, f"branch '{branch}'", "damaged")


@pytest.mark.parametrize("first", ["original", "compressed"])
def test_the_files_must_be_what_they_are_said_to_be(first, jets_file, compressed):
    pair = {"original": (jets_file, jets_file), "compressed": (compressed, compressed)}[first]
    said = {"original": "was not compressed by atlasae", "compressed": "is compressed by atlasae already"}[first]
    assert run_main("verify", *pair).failed(2, said)


# --- a compressed file without its original


@pytest.fixture(scope="module")
def in_chunks_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a file with another tree and a histogram, and the same compressed in many chunks."""
    folder = tmp_path_factory.mktemp("chunks")
    path = write_layout(folder / "original.root", "nanoaod", entries=200)
    with uproot.update(path) as file:
        file.mktree("more", {"x": "f4"}).extend({"x": np.arange(50, dtype=np.float32)})
        file["histogram"] = np.histogram([1.0, 2.0])
    succeeded("compress", path, folder / "chunks.root", "--step-size", "10kB", "--rewrite")
    return folder


@pytest.fixture
def in_chunks(in_chunks_once: Path, tmp_path: Path) -> Path:
    """A compressed file of many chunks, beside its original."""
    for path in in_chunks_once.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / "chunks.root"


def damaged(path: Path, *branches: str, tree: str = "Events") -> Path:
    """A copy with a flipped bit in the middle basket of each branch."""
    content = bytearray(path.read_bytes())
    with uproot.open(path) as file:
        for name in branches:
            branch = file[tree][name]
            i = branch.num_baskets // 2
            content[branch.member("fBasketSeek")[i] + branch.member("fBasketBytes")[i] - 9] ^= 4
    path.with_name("damaged.root").write_bytes(content)
    return path.with_name("damaged.root")


def test_a_file_is_checked_without_its_original(in_chunks):
    in_chunks.with_name("original.root").unlink()
    report = succeeded("verify", in_chunks, "--json").report
    assert (report["entries"], report["trees"], report["objects"]) == (200, ["more"], ["histogram"])
    assert report["chunks"] > 3 and {"Jet_z0", "weight", "Jet_exact_pt"} <= set(report["branches"])
    assert succeeded("verify", in_chunks).out.startswith(f"intact: 200 entries, {report['jets']} jets")


@pytest.mark.parametrize(("tree", "branch"), [("Events", "weight"), ("Events", "Jet_z1"), ("more", "x")])
def test_damage_is_found_with_and_without_the_original(tree, branch, in_chunks, tmp_path):
    bad = damaged(in_chunks, branch, tree=tree)
    assert run_main("verify", bad).failed(3, f"branch '{branch}'", "in entries")
    assert run_main("verify", tmp_path / "original.root", bad).failed(3, f"branch '{branch}'")
    with nothing_left(tmp_path / "x"):
        assert run_main("decompress", bad, tmp_path / "back.root").failed(3, f"branch '{branch}'", "in entries")


def test_all_damage_is_counted(in_chunks):
    bad = damaged(damaged(in_chunks, "weight"), "x", tree="more")
    assert run_main("verify", bad).failed(3, "branch 'weight'", "; and 1 more: decompress --salvage")


def test_what_is_intact_is_salvaged(in_chunks, tmp_path):
    succeeded("decompress", in_chunks, tmp_path / "whole.root")
    bad = damaged(in_chunks, "Jet_z1", "weight")
    result = run_main("decompress", bad, tmp_path / "back.root", "--salvage")
    report = succeeded("decompress", bad, tmp_path / "back.root", "--salvage", "--json", "--force").report
    ((start, stop),) = report["missing"]
    assert 0 < start < stop < 200 and report["entries"] == 200 - (stop - start)
    assert result.code == 0 and f"  entries {start} to {stop} are missing\n" in result.out
    assert len(report["damage"]) == 1 and "is damaged" in report["damage"][0]
    whole, back = read_tree(tmp_path / "whole.root", "Events"), read_tree(tmp_path / "back.root", "Events")
    for name, array in whole.items():
        assert ak.array_equal(back[name], ak.concatenate([array[:start], array[stop:]]), equal_nan=True)
    assert read_tree(tmp_path / "back.root", "more")["x"].tolist() == list(range(50))


def test_nothing_is_salvaged_of_a_file_without_an_intact_chunk(tmp_path):
    succeeded("compress", write_layout(tmp_path / "in.root", "flat"), tmp_path / "small.root")
    bad = damaged(tmp_path / "small.root", "z1", tree="jets")
    with nothing_left(tmp_path / "x"):
        assert run_main("decompress", bad, tmp_path / "back.root", "--salvage").failed(3, "no part of the jets")


def test_how_each_branch_was_kept_is_told(jets_file, compressed):
    branches = succeeded("verify", jets_file, compressed, "--json").report["branches"]
    assert {name for name, how in branches.items() if how == "within precision"} == set(JETS)
    assert {how for name, how in branches.items() if name not in JETS} == {"bit for bit"}
    names = {branch for branch in branches if branch in ("Jet_eta", "met")}
    for name in names:
        other = changed(jets_file, with_values(name, add(3, 1.0)))
        report = run_main("verify", other, compressed, "--json").report
        assert {b for b, how in report["branches"].items() if how == "different"} == (
            set(JETS) if name in JETS else {name}
        )


def test_more_than_two_files_are_refused(compressed):
    assert run_main("verify", compressed, compressed, compressed).failed(2, "3 files were named")


# --- reading back by compress


def patch_writing(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[ak.Array], ak.Array]) -> None:
    """Patch the writer so that it writes changed values of one branch."""
    extend = Writer.extend

    def extend_changed(writer: Writer, events: Branches) -> None:
        extend(writer, {**events, **({name: change(events[name])} if name in events else {})})

    monkeypatch.setattr(Writer, "extend", extend_changed)


@pytest.mark.parametrize("layout", ["floats", "packed"])
@pytest.mark.parametrize("name", ["hit", "weight", "name"])
def test_a_branch_that_is_written_wrongly_is_named_and_nothing_left(jets_file, monkeypatch, layout, name):
    out = jets_file.with_name("out.root")
    patch_writing(monkeypatch, name, lambda array: array[::-1])
    asked = ("compress", jets_file, out, "--layout", layout, "--rewrite")
    refused(2, (f"branch '{name}' does not read back", "checksum differs", f"--drop {name}"), *asked, out=out)
    succeeded(*asked, "--drop", name)
    out.unlink()
    succeeded(*asked, "--no-read-back")
    assert run_main("verify", out).failed(3, f"'{name}'")


def test_a_branch_that_reads_back_as_another_type_is_named(tmp_path, monkeypatch):
    """The bytes are the same, so that checksums agree."""
    monkeypatch.setattr(trees, "mend_leaves", lambda branches: None)
    monkeypatch.setattr(writing, "write_leaves", lambda tree: None)
    columns = jet_columns("flat", 6) | {"w[1]": np.arange(6, dtype=np.float32)}
    pd.DataFrame(columns).to_pickle(tmp_path / "jets.pkl")
    words = ("'w[1]' does not read back", "float32 was written, 1 * float32 is read", "--drop 'w[1]'")
    asked = ("compress", tmp_path / "jets.pkl", tmp_path / "out.root", "--layout", "packed")
    refused(2, words, *asked, out=tmp_path / "out.root")
    succeeded(*asked, "--drop", "w[1]")


def test_jets_that_break_the_promise_are_told(jets_file, monkeypatch):
    monkeypatch.setattr(compress, "_promised", lambda compressor: dict.fromkeys(("pt", "eta", "phi", "m"), 1e-9))
    words = ("'Jet_pt' does not read back", "jets beyond 1e-09 in pt in entries 0 to 60", "--jets")
    refused(2, words, "compress", jets_file, jets_file.with_name("out.root"), out=jets_file)


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_jets_that_decode_otherwise_than_they_were_compared_are_compared_with_the_original(
    jets_file, monkeypatch, layout
):
    module, name = {"floats": (floats, "restore"), "packed": (packed, "unpack_chunk")}[layout]
    decode, factor = getattr(module, name), 1.0

    def decode_otherwise(*given: object) -> list[np.ndarray]:
        pt, *others = decode(*given)
        return [pt * np.float32(factor), *others]

    monkeypatch.setattr(module, name, decode_otherwise)
    asked, out = ("compress", jets_file, jets_file.with_name("out.root"), "--layout", layout), jets_file
    factor = 1.1
    refused(2, ("'Jet_pt' does not read back", "jets beyond 0.001 in pt in entries 0 to 60"), *asked, out=out)
    factor = 1 + 2e-7  # as on another machine: other floats, which are within the bound
    succeeded(*asked, "--precision", "1e-2")


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_jets_that_decode_as_they_were_compared_are_not_compared_again(jets_file, monkeypatch, layout):
    monkeypatch.setattr(verify, "_compare_jets", lambda *_: pytest.fail("compared twice"))
    succeeded("compress", jets_file, jets_file.with_name("out.root"), "--layout", layout)


def test_another_tree_that_is_written_wrongly_is_told(jets_file, monkeypatch):
    with uproot.update(jets_file) as file:
        file.mktree("other", {"value": np.dtype("f4")}).extend({"value": np.arange(9, dtype=np.float32)})
    patch_writing(monkeypatch, "value", lambda array: array + 1)
    words = ("'value' of tree 'other' is damaged", "--only-jets")
    refused(2, words, "compress", jets_file, jets_file.with_name("out.root"), "--rewrite", out=jets_file)


def test_reading_back_is_the_second_half_of_the_progress(jets_file):
    told: list[tuple[int, int]] = []
    compress_file(jets_file, jets_file.with_name("a.root"), progress=lambda *done: told.append(done))
    assert told == [(60, 120), (120, 120)]
    told.clear()
    options = Options(read_back=False)
    compress_file(jets_file, jets_file.with_name("b.root"), options, progress=lambda *done: told.append(done))
    assert told == [(60, 60)]


# --- bounds by resolution

SHARE = ("--precision", "resolution/20", "--resolution", "cms,m=0:1:0.2")


@pytest.mark.parametrize("layout", ["nanoaod", "energy"])
@pytest.mark.parametrize("how", [(), ("--layout", "packed"), ("--no-dither",), ("--layout", "packed", "--no-dither")])
def test_bounds_by_resolution_are_kept_recorded_and_compared(tmp_path, how, layout):
    original, small, back = (tmp_path / f"{name}.root" for name in ("in", "small", "back"))
    write_layout(original, layout)
    told = succeeded("compress", original, small, *SHARE, *how, "--json").report
    assert set(told["collections"][0]["precision"].values()) == {1 / 20}
    assert max(told["max_error"].values()) <= 1 / 20
    assert told["collections"][0]["resolutions"]["m"] == "0:1:0.2"
    assert told["exact_jets"] < 0.1 * told["jets"]
    shown = succeeded("info", small).out
    assert "resolution/20" in shown and "m 0:1:0.2" in shown
    assert "resolution/20" in succeeded("verify", original, small).out
    succeeded("decompress", small, back)
    tree = uproot.open(original).keys(recursive=False, cycle=False)[0]
    before, after = read_tree(original, tree), read_tree(back, tree)
    pt, eta = (next(name for name in before if name.lower().endswith(f"jet_{v}")) for v in ("pt", "eta"))
    unit = 1.0 if layout == "nanoaod" else 1000.0
    gev = ak.to_numpy(ak.flatten(before[pt])).astype(float) / unit
    off = ak.to_numpy(ak.flatten(after[eta])).astype(float) - ak.to_numpy(ak.flatten(before[eta]))
    sigma = np.sqrt((0.85 / gev) ** 2 + 0.09**2 / gev + 0.006**2)  # of eta, by its definition
    assert np.abs(off / sigma).max() <= 1 / 20
    assert np.abs(off / sigma).max() > 1 / 25


def test_a_jet_beyond_its_share_of_the_resolution_is_a_difference(tmp_path):
    original, small = tmp_path / "in.root", tmp_path / "small.root"
    write_layout(original, "nanoaod")
    succeeded("compress", original, small, *SHARE)
    other = changed(original, lambda branches: branches | {"Jet_eta": branches["Jet_eta"] + np.float32(0.01)})
    found = run_main("verify", other, small)
    assert found.code == 1 and "beyond resolution/20 in eta" in found.out


def test_a_model_that_a_damaged_list_of_keys_lost_is_damage(tmp_path):
    path = tmp_path / "embedded.root"
    content = bytearray((GOLDEN / "format-5" / "embedded.root").read_bytes())
    with uproot.open(GOLDEN / "format-5" / "embedded.root") as file:
        keys = file["atlasae"]
        listed = slice(keys._fSeekKeys, keys._fSeekKeys + keys._fNbytesKeys)
    key = content.index(b"\5TTree\6models", *listed.indices(len(content))[:2]) - 26  # the size of a key stands first
    content[key : listed.stop] = bytes(listed.stop - key)
    path.write_bytes(content)
    for command in (("verify", path), ("decompress", path, tmp_path / "back.root")):
        refused(3, ("damaged",), *command, out=path)
