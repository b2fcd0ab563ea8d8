"""The command line: options, reports, exit codes; user errors are in test_cli_errors.py."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import torch
import uproot
from conftest import (
    VARIABLES,
    Malicious,
    Result,
    Terminal,
    bits,
    bystanders,
    counted,
    declared,
    jet_columns,
    make_counts,
    random_jets,
    read_tree,
    refused,
    run_main,
    succeeded,
    write_layout,
    write_tree,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import atlasae.codecs.model
import atlasae.training.loop
from atlasae.codecs.model import Model, default_model
from atlasae.graft import composing

COMMANDS = ("compress", "decompress", "info", "verify", "train", "import-checkpoint")
JETS = VARIABLES["nanoaod"].values()


# --- damage


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compressed file of few entries, of which most bytes matter; decompressed, it is `back.root`."""
    folder = tmp_path_factory.mktemp("short")
    jets = counted("nanoaod", make_counts(12))
    others = bystanders(12)
    branches = jets | {name: others[name] for name in ("weight", "hit", "name")}
    write_tree(folder / "in.root", "Events", branches, dict.fromkeys(jets, "nJet"))
    succeeded("compress", folder / "in.root", folder / "small.root")
    succeeded("decompress", folder / "small.root", folder / "back.root")
    (folder / "flipped").mkdir()
    return folder / "small.root"


def test_a_changed_byte_never_changes_a_result(short):
    size = short.stat().st_size
    expected = {name: bits(array) for name, array in read_tree(short.with_name("back.root"), "Events").items()}
    path, out = (short.parent / "flipped" / name for name in ("in.root", "out.root"))

    @settings(max_examples=30)
    @given(position=st.integers(0, size - 1), change=st.integers(1, 255))
    def changed(position: int, change: int) -> None:
        content = bytearray(short.read_bytes())
        content[position] ^= change
        path.write_bytes(content)
        result = run_main("decompress", path, out)
        if result.code == 0:
            assert {name: bits(array) for name, array in read_tree(out, "Events").items()} == expected
            out.unlink()
        else:
            assert result.failed(2 if result.code == 2 else 3)
        assert [file.name for file in path.parent.iterdir()] == ["in.root"]

    changed()


def basket(path: Path, tree: str, branch: str) -> slice:
    """The bytes of a file with the content of a branch's first basket."""
    with uproot.open(path) as file:
        found = file[tree][branch]
        start, size = (int(found.member(name)[0]) for name in ("fBasketSeek", "fBasketBytes"))
        key_size = int.from_bytes(path.read_bytes()[start + 14 : start + 16])
        return slice(start + key_size, start + size)


def flip(path: Path, where: slice) -> None:
    """Change a bit in the middle of a part of a file."""
    content = bytearray(path.read_bytes())
    content[(where.start + where.stop) // 2] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("branch", ["Jet_z0", "Jet_z2", "weight", "hit", "name"])
def test_a_damaged_branch_is_exit_3(branch, compressed, tmp_path):
    flip(compressed, basket(compressed, "Events", branch))
    refused(3, ("damaged",), "decompress", compressed, tmp_path / "out.root", out=compressed)


def with_another_leaf(content: bytes, branch: str) -> bytes:
    """A file whose branch has a leaf of another class, and with it another type of its values.

    The class stands before the name of the leaf: by its name where it is the first of a tree, else as a reference.
    """
    others = {b"L": b"D", b"D": b"L", b"O": b"B", b"B": b"O", b"F": b"I"}
    if leaf := re.search(rb"TLeaf([A-Z])\0[^T]{,60}?" + bytes([len(branch)]) + branch.encode(), content):
        return content[: leaf.start(1)] + others[leaf[1]] + content[leaf.end(1) :]
    names = branch, "Jet_nConstituents" if branch == "Jet_z0" else "Jet_z0"
    before = rb"(?s)(\x80...)(?:\x40...\0.){3}\0\x01.{8}"  # class, versions of TLeafX, TLeaf and TNamed, TObject
    (leaf,), (other,) = (re.finditer(before + bytes([len(n)]) + n.encode(), content) for n in names)
    return content[: leaf.start(1)] + other[1] + content[leaf.end(1) :]


@pytest.mark.parametrize("branch", ["event", "met", "passed", "Jet_z0", "Jet_nConstituents"])
def test_a_branch_of_another_type_is_exit_3(branch, jets_file, tmp_path, monkeypatch):
    compressed = tmp_path / "small.root"
    monkeypatch.setattr(composing, "pack_blocks", lambda data, _: data)  # the object of the tree is not compressed
    succeeded("compress", jets_file, compressed, "--rewrite")
    compressed.write_bytes(with_another_leaf(compressed.read_bytes(), branch))
    refused(3, ("damaged",), "decompress", compressed, tmp_path / "out.root", out=compressed)


def test_a_compression_that_does_not_exist_changes_nothing(compressed, tmp_path):
    back, again = tmp_path / "back.root", tmp_path / "again.root"
    succeeded("decompress", compressed, back)
    code = compressed.read_bytes().index((32_000).to_bytes(4)) - 4  # fCompress stands before fBasketSize in a TBranch
    flip(compressed, slice(code, code + 1))
    succeeded("decompress", compressed, again)
    before, after = (read_tree(path, "Events") for path in (back, again))
    assert [(name, bits(array)) for name, array in after.items()] == [(n, bits(a)) for n, a in before.items()]


@pytest.fixture
def with_others(jets_file: Path, tmp_path: Path) -> Path:
    """A compressed file that carries another tree and a histogram."""
    with uproot.update(jets_file) as file:
        file.mktree("other", {"x": np.dtype("f4")}).extend({"x": np.random.default_rng(1).random(999, np.float32)})
        file["histogram"] = np.histogram(np.random.default_rng(2).random(999), bins=99)
    succeeded("compress", jets_file, tmp_path / "small.root")
    return tmp_path / "small.root"


def test_a_damaged_other_tree_is_exit_3(with_others, tmp_path):
    flip(with_others, basket(with_others, "other", "x"))
    refused(3, ("'other'", "damaged"), "decompress", with_others, tmp_path / "out.root", out=with_others)


def test_a_damaged_histogram_is_exit_3(with_others, tmp_path):
    with uproot.open(with_others) as file:
        key = file.key("histogram")
    flip(with_others, slice(key.fSeekKey + key.fKeylen, key.fSeekKey + key.fNbytes))
    refused(3, ("'histogram;1'", "damaged"), "decompress", with_others, tmp_path / "out.root", out=with_others)


# --- what is printed


REPORTED = {
    *("entries", "jets", "collections", "precision", "bits", "bytes_jets_in", "bytes_jets_out", "bytes_per_jet"),
    *("exact_jets", "max_error", "model_sha256", "carried", "dropped", "seconds"),
}


def test_the_report_in_json(jets_file, tmp_path):
    report = succeeded("compress", jets_file, tmp_path / "out.root", "--json").report
    assert REPORTED - report.keys() == set()
    (collection,) = report["collections"]
    assert collection["name"] == "Jet" and collection["branches"] == VARIABLES["nanoaod"]
    assert (collection["units"], collection["jets"]) == ("GeV", report["jets"])
    before, after = read_tree(jets_file, "Events"), read_tree(tmp_path / "out.root", "Events")
    assert (report["entries"], report["jets"]) == (60, int(ak.num(before["Jet_pt"]).to_numpy().sum()))
    with uproot.open(jets_file) as file:
        assert set(report["carried"]) == set(file["Events"].keys()) - set(JETS)
    assert (report["dropped"], report["exact_jets"]) == ([], 0)
    assert report["model_sha256"] == default_model().sha256
    assert [note for note in report["notes"] if "kept exactly" in note] == []
    made = [name for name in after if name not in before] + ["nJet_exact"]
    assert (report["bytes_jets_in"], report["bytes_jets_out"]) == (
        basket_bytes(jets_file, JETS),
        basket_bytes(tmp_path / "out.root", made),
    )
    assert report["bytes_per_jet"] == report["bytes_jets_out"] / report["jets"]


def basket_bytes(path: Path, names: list[str]) -> int:
    with uproot.open(path) as file:
        return sum(file["Events"][name].compressed_bytes for name in names)


def test_the_report_of_a_file_without_jets_is_json(tmp_path):
    path = write_layout(tmp_path / "in.root", "nanoaod", entries=0)
    result = succeeded("compress", path, tmp_path / "out.root", "--json")
    report = json.loads(result.out, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    assert (report["jets"], report["bytes_per_jet"]) == (0, None)
    assert "\njets: " not in (told := succeeded("compress", path, tmp_path / "out.root", "--force").out)
    for text in (told, succeeded("info", tmp_path / "out.root").out):
        assert row(text, "Jet") == ["Jet", "GeV", "0", "0", "-", "-"]


def row(text: str, begin: str) -> list[str]:
    """The cells of a table's row."""
    return next(line.split() for line in text.splitlines() if line.startswith(f"{begin} "))


def test_json_is_one_object_whatever_the_command(jets_file, compressed, tmp_path):
    assert succeeded("decompress", compressed, tmp_path / "out.root", "--json").report["entries"] == 60
    assert succeeded("verify", jets_file, compressed, "--json").report["entries"] == 60
    facts = succeeded("info", compressed, "--json").report
    assert (facts["tree"], facts["entries"], facts["bytes"]) == ("Events", 60, compressed.stat().st_size)
    assert facts["collections"][0]["branches"] == VARIABLES["nanoaod"]
    assert facts["runs"][0]["source"] == "jets.root"
    assert facts["runs"][0]["collections"][0]["precision"] == dict.fromkeys(("pt", "eta", "phi", "m"), 1e-3)


def test_the_report_in_words(jets_file, tmp_path):
    out = tmp_path / "out.root"
    report = succeeded("compress", jets_file, out, "--json", "--drop", "w*").report
    text = succeeded("compress", jets_file, out, "--force", "--drop", "w*").out
    per_jet = f"{report['bytes_per_jet']:.2f} bytes per jet"
    for words in (
        f"{out}: {report['jets']} jets in 60 entries of 'Events'\n",
        f" kB, {per_jet}\n",
        "dropped: 1 branch: weight",
    ):
        assert words in text
    (told,) = report["collections"]
    sizes = [f"{told['bytes_per_jet']:.2f}", f"{told['bytes_in'] / told['jets']:.2f}"]
    for said in (text, succeeded("info", out).out):
        assert "\x1b" not in said
        assert row(said, "Jet") == ["Jet", "GeV", str(report["jets"]), "0", *sizes]
        for variable, name in told["branches"].items():
            assert row(said, name) == [
                name, "0.001", f"{told['max_error'][variable]:.2g}", f"{told['bits'][variable]:.1f}",
            ]  # fmt: skip
    assert f"{report['jets']} jets" in succeeded("decompress", out, tmp_path / "back.root").out


def test_help_and_info_come_without_torch_and_awkward(compressed):
    code = """if True:
        import sys
        sys.modules["torch"] = None  # importing it is an error now
        from atlasae.commands.cli import main
        for words in [["--help"], ["-h"], ["--version"], *([c, "--help"] for c in sys.argv[2:]), ["info", sys.argv[1]]]:
            sys.argv[1:] = words
            try:
                main()
            except SystemExit as done:
                assert done.code == 0, words
        assert not [name for name in sys.modules if name.startswith("awkward.")]
        """
    command = [sys.executable, "-c", code, str(compressed), *COMMANDS]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("Usage: ", "--precision", "--force", "FILE", "[ORIGINAL] COMPRESSED", "bytes per jet"):
        assert words in done.stdout


# --- options that do something


@pytest.mark.parametrize("pattern", ["Jet_{pt,eta,phi,mass}", "Jet_", "Jet", "Jet_pt,Jet_eta,Jet_phi,m=Jet_mass"])
def test_jets_are_named_in_any_form(pattern, tmp_path):
    jets = counted("nanoaod", make_counts(30))
    other = {name.replace("Jet", "FatJet"): array for name, array in jets.items()}
    counters = dict.fromkeys(jets, "nJet") | dict.fromkeys(other, "nFatJet")
    path = write_tree(tmp_path / "in.root", "Events", jets | other, counters)
    report = succeeded("compress", path, tmp_path / "out.root", "--jets", pattern, "--json").report
    assert [c["branches"] for c in report["collections"]] == [VARIABLES["nanoaod"]]
    assert set(report["carried"]) == {"nJet", "nFatJet", *other}


def test_several_collections_are_named_one_by_one(tmp_path):
    jets = {name.replace("Jet", stem): a for stem in "ABC" for name, a in counted("nanoaod", make_counts(30)).items()}
    path = write_tree(tmp_path / "in.root", "Events", jets, {name: f"n{name[0]}" for name in jets})
    report = succeeded("compress", path, tmp_path / "out.root", "--jets", "C_", "--jets", "A", "--json").report
    assert [c["name"] for c in report["collections"]] == ["C", "A"]
    succeeded("decompress", tmp_path / "out.root", tmp_path / "back.root")
    back = read_tree(tmp_path / "back.root", "Events")
    assert list(back) == list(jets)
    assert bits(back["B_pt"]) == bits(jets["B_pt"])


def test_collections_of_one_stem_are_told_apart(tmp_path):
    jets = counted("nanoaod", make_counts(30))
    other = {name.replace("Jet_", "Jet."): array for name, array in jets.items()}
    path = write_tree(tmp_path / "in.root", "Events", jets | other, dict.fromkeys([*jets, *other], "nJet"))
    report = succeeded("compress", path, tmp_path / "out.root", "--json").report
    assert sorted(report["bits"]) == sorted(report["precision"]) == ["Jet.", "Jet_"]
    sizes = [c["bytes_out"] for c in report["collections"]]
    assert report["bytes_jets_out"] == sum(sizes)
    succeeded("verify", path, tmp_path / "out.root")


def test_a_tree_is_named(tmp_path):
    jets = {tree: counted("nanoaod", make_counts(n)) for tree, n in (("large", 50), ("small", 20))}
    path = tmp_path / "in.root"
    with uproot.recreate(path) as file:
        for tree, branches in jets.items():
            made = file.mktree(tree, {n: declared(a) for n, a in branches.items()}, counter_name=lambda _: "nJet")
            made.extend(branches)
    for options, tree in ([], "large"), (["--tree", "small"], "small"):
        report = succeeded("compress", path, tmp_path / "out.root", *options, "--json", "--force").report
        assert report["tree"] == tree
        succeeded("verify", path, tmp_path / "out.root")


def branches_of(path: Path) -> set[str]:
    """The names of all branches, counters too."""
    with uproot.open(path) as file:
        return set(file["Events"].keys())


def test_only_jets_leaves_all_else_out(jets_file, tmp_path):
    out, back = tmp_path / "out.root", tmp_path / "back.root"
    with uproot.update(jets_file) as file:
        file["histogram"] = np.histogram([1.0])
    report = succeeded("compress", jets_file, out, "--only-jets", "--json").report
    assert report["carried"] == []
    assert report["dropped"] == sorted(branches_of(jets_file) - branches_of(out) - set(JETS))
    succeeded("decompress", out, back)
    assert list(read_tree(back, "Events")) == list(JETS)
    with uproot.open(back) as file:
        assert "histogram" not in file


def test_drop_leaves_branches_out_but_never_jets(jets_file, tmp_path):
    out, back = tmp_path / "out.root", tmp_path / "back.root"
    report = succeeded("compress", jets_file, out, "--drop", "[mw]*", "--drop", "*e*", "--json").report
    assert report["dropped"] == sorted(branches_of(jets_file) - branches_of(out) - set(JETS))
    succeeded("decompress", out, back)
    left = [name for name in read_tree(jets_file, "Events") if name in JETS or not (name[0] in "mw" or "e" in name)]
    assert list(read_tree(back, "Events")) == left


@pytest.mark.parametrize(("units", "factor"), [("MeV", 1), ("GeV", 1000)])
def test_units_decide_where_the_mass_floor_lies(units, factor, tmp_path):
    jets = random_jets(200)
    columns = {v: jets[v] for v in ("pt", "eta", "phi", "m")}
    columns["m"] = np.linspace(1, 50, 200)  # below 100 MeV, above 100 GeV, were these GeV
    path = write_tree(tmp_path / "in.root", "jets", {name: ak.Array(values) for name, values in columns.items()})
    report = succeeded(
        "compress", path, tmp_path / "out.root", "--units", units, "--json", "--precision", "1e-2"
    ).report
    assert report["collections"][0]["units"] == units
    succeeded("decompress", tmp_path / "out.root", tmp_path / "back.root")
    error = np.abs(ak.to_numpy(read_tree(tmp_path / "back.root", "jets")["m"]) - columns["m"])
    assert (error <= 1e-2 * np.maximum(columns["m"], 100 / factor)).all()
    assert (error.max() > 0.5) == (units == "MeV")


@pytest.mark.parametrize(("text", "begins"), [("zstd:1", b"ZS"), ("lz4", b"L4"), ("zlib:9", b"ZL"), ("lzma:1", b"XZ")])
def test_carried_branches_are_compressed_as_asked(text, begins, jets_file, tmp_path):
    out = tmp_path / "out.root"
    succeeded("compress", jets_file, out, "--compression", text)
    assert out.read_bytes()[basket(out, "Events", "event")][:2] == begins
    assert out.read_bytes()[basket(out, "Events", "Jet_z0")][:2] == b"XZ"
    succeeded("verify", jets_file, out)


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_carried_branches_are_compressed_as_the_file_they_come_from(layout, tmp_path):
    """There and back; uproot notes it in the file, not in the branches."""
    branches = counted("nanoaod", make_counts(60)) | {"event": ak.Array(np.arange(60))}
    with uproot.recreate(tmp_path / "in.root", compression=uproot.LZMA(8)) as file:
        types = {name: declared(array) for name, array in branches.items()}
        file.mktree("Events", types, counter_name=lambda name: "nJet").extend(branches)
    out, back = tmp_path / "out.root", tmp_path / "back.root"
    succeeded("compress", tmp_path / "in.root", out, "--layout", layout)
    succeeded("decompress", out, back)
    for path in (out, back):
        assert path.read_bytes()[basket(path, "Events", "event")][:2] == b"XZ"
        with uproot.open(path) as file:
            assert file.file.compression.code == uproot.LZMA(8).code


@pytest.mark.parametrize(("text", "chunks"), [("1B", 12), ("1000 GB", 1), (".5kb", 12), ("1e3", None)])
def test_sizes_are_read_with_their_units(text, chunks, short, tmp_path):
    path, out = short.with_name("in.root"), tmp_path / "out.root"
    if chunks is None:
        refused(2, ("is no size",), "compress", path, out, "--step-size", text, out=out)
        return
    succeeded("compress", path, out, "--step-size", text)
    found = succeeded("info", out, "--json").report["runs"][0]["chunks"]
    assert found == chunks or text == ".5kb" and 1 < found < 12


def test_a_note_says_that_many_jets_do_not_fit(tmp_path):
    jets = jet_columns("flat", 100)
    jets["pt"][:7] = -1
    path = write_tree(tmp_path / "in.root", "jets", {name: ak.Array(values) for name, values in jets.items()})
    text = succeeded("compress", path, tmp_path / "out.root").out
    assert row(text, "jets")[1:4] == ["MeV", "100", "7"]
    for layout in ("floats", "packed"):
        text = succeeded("compress", path, tmp_path / "out.root", "--force", "--layout", layout).out
        (note,) = [line for line in text.splitlines(keepends=True) if "kept exactly" in line]
        assert note.startswith("note: ")
        assert note.endswith("7% of the jets of 'jets' are kept exactly: pt is not positive (7 jets)\n")


def test_exact_momenta_beside_jets_within_a_bound_are_told(tmp_path):
    jets = counted("nanoaod", make_counts(60))
    more = {"Jet_px": jets["Jet_pt"], "Jet_E": jets["Jet_pt"], "Jet_area": jets["Jet_pt"], "Muon_px": jets["Jet_pt"]}
    path = write_tree(tmp_path / "in.root", "Events", jets | more, dict.fromkeys([*jets, *more], "nJet"))
    told = "note: kept bit for bit beside jets within a bound, of which they tell more: Jet_px, Jet_E (--drop)"
    for options in ((), ("--rewrite",)):
        small = tmp_path / f"{len(options)}.root"
        assert told in succeeded("compress", path, small, *options).out.splitlines()
    dropped = succeeded("compress", path, tmp_path / "2.root", "--drop", "Jet_px", "--drop", "Jet_E").out
    assert "kept bit for bit beside" not in dropped


def test_notes_say_what_uproot_writes_otherwise(tmp_path):
    path = write_layout(tmp_path / "in.root", "rntuple")
    text = succeeded("compress", path, tmp_path / "out.root", "--format", "ttree").out
    assert "note: vectors are written as counted arrays; " in text


def test_what_a_table_cannot_carry_is_refused_or_left_out(tmp_path):
    jets = random_jets(30)
    frame = pd.DataFrame({v: jets[v] for v in ("pt", "eta", "phi", "m")} | {"label": [("a", 1)] * 30})
    frame.to_pickle(tmp_path / "in.pkl")
    command = ["compress", tmp_path / "in.pkl", tmp_path / "out.root"]
    refused(2, ("label", "--drop-unwritable"), *command, out=tmp_path / "in.pkl")
    assert succeeded(*command, "--drop-unwritable", "--json").report["dropped"] == ["label"]


# --- train

SHORT = ("--set", "course.steps=10", "--set", "course.batch=64", "--set", "course.validate_every=5")
MLP = ("--arch", "mlp", "--set", "network.hidden=[8]", *SHORT)
INVERTIBLE = ("--set", "course.learning_rate=1e-3", *SHORT)


@pytest.fixture
def table_of_jets(one_torch_thread: None, tmp_path: Path) -> Path:
    """A table of 100 events of two jets."""
    jets = random_jets(200, seed=6)
    columns = {v: jets[v] for v in ("pt", "eta", "phi", "m")}
    pd.DataFrame(columns | {"event": np.arange(200) // 2}).to_pickle(tmp_path / "jets.pkl")
    return tmp_path / "jets.pkl"


def trained(*arguments: object) -> Result:
    return succeeded("train", *arguments, "--json")


@pytest.mark.parametrize(("options", "arch"), [(INVERTIBLE, "invertible"), (MLP, "mlp")])
def test_a_model_is_trained_on_files_of_every_kind(options, arch, table_of_jets, jets_file, tmp_path):
    out = tmp_path / "mine.model"
    result = trained(table_of_jets, jets_file, "-o", out, *options)
    report = json.loads(result.out, parse_constant=pytest.fail)
    model = Model.from_bytes(out.read_bytes(), "mine")
    assert (report["output"], report["sha256"]) == (str(out), model.sha256)
    assert (report["bytes"], report["ended"]) == (out.stat().st_size, "all steps done")
    assert report["architecture"] == model.facts["architecture"] == arch
    assert {key: report[key] for key in ("provenance", "test")} == {k: model.facts[k] for k in ("provenance", "test")}
    assert report["provenance"]["files"] == ["jets.pkl", "jets.root"]
    branches = read_tree(jets_file, "Events")
    with_jets = int((ak.num(branches["Jet_pt"]) > 0).to_numpy().sum())
    assert report["provenance"]["events"] == 100 + with_jets
    assert sum(report["provenance"]["jets"].values()) == 200 + len(ak.flatten(branches["Jet_pt"]))
    succeeded("compress", jets_file, tmp_path / "small.root", "--model", out)
    succeeded("verify", jets_file, tmp_path / "small.root")


@pytest.mark.parametrize(("options", "words"), [(INVERTIBLE, "bits per jet at 1e-3"), (MLP, "half-widths  ")])
def test_what_was_trained_is_told_in_words(options, words, table_of_jets, tmp_path):
    out = tmp_path / "mine.model"
    text = succeeded("train", table_of_jets, "-o", out, *options).out
    sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
    kind = "mlp" if options == MLP else "invertible"
    first, second, third = text.splitlines()
    assert first == f"{out}: {kind}, {out.stat().st_size / 1000:.2f} kB, SHA-256 {sha256[:12]}"
    assert second == "  trained on 160 jets, validated on 20; all steps done"
    assert third.startswith("  test on 20 jets: ") and words in third
    assert succeeded("train", table_of_jets, "-o", out, *options, "--force", "--quiet").out == ""


def test_a_seed_makes_the_same_file_again(table_of_jets, tmp_path):
    files = {name: tmp_path / f"{name}.model" for name in ("one", "again", "other", "set")}
    seeds = {"one": ["--seed", 3], "again": ["--seed", 3], "other": ["--seed", 4], "set": ["--set", "seed=3"]}
    for name, out in files.items():
        report = trained(table_of_jets, "-o", out, *MLP, *seeds[name]).report
        assert report["provenance"]["seed"] == (4 if name == "other" else 3)
    contents = {name: out.read_bytes() for name, out in files.items()}
    assert contents["one"] == contents["again"] == contents["set"] != contents["other"]


def test_a_recipe_file_and_settings_are_followed(table_of_jets, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'arch = "mlp"\nseed = 9\n[network]\nhidden = [7, 6]\ncolumns = ["m", "pt", "phi", "eta"]\n'
        'scalings = ["asinh", "log10", "linear", "linear"]\n[course]\nsteps = 4\nbatch = 32\n'
    )
    out = tmp_path / "mine.model"
    report = trained(table_of_jets, "-o", out, "--config", recipe, "--set", "course.steps=6").report
    course = report["provenance"]["course"]
    assert (course["steps"], course["batch"], report["provenance"]["seed"]) == (6, 32, 9)
    facts = Model.from_bytes(out.read_bytes(), "mine").facts
    assert (facts["network"]["hidden"], facts["columns"]) == ([7, 6], ["m", "pt", "phi", "eta"])
    other = trained(table_of_jets, "-o", out, "--force", "--config", recipe, "--arch", "invertible").report
    assert other["architecture"] == "invertible"


def test_training_goes_on_from_a_model(table_of_jets, tmp_path):
    first, further = tmp_path / "first.model", tmp_path / "further.model"
    report = trained(table_of_jets, "-o", first, "--from", "default", *INVERTIBLE).report
    assert report["provenance"]["from"] == default_model().sha256
    started = trained(table_of_jets, "-o", further, *INVERTIBLE).report
    key = "bits_per_jet_at_1e-3"
    assert report["test"][key] < started["test"][key] - 1  # it knew jets before
    trained(table_of_jets, "-o", first, "--force", *MLP)
    report = trained(table_of_jets, "-o", further, "--force", "--from", first, *SHORT).report  # --arch is the model's
    assert report["architecture"] == "mlp"
    assert report["provenance"]["from"] == hashlib.sha256(first.read_bytes()).hexdigest()
    shape = Model.from_bytes(further.read_bytes(), "further").facts["network"]
    assert shape["hidden"] == [8]


def test_a_model_is_no_output_over_anything_that_is_there(table_of_jets, jets_file, tmp_path):
    (tmp_path / "there.model").write_text("mine")
    for out, words in {
        "there.model": ("exists", "--force"),
        "nowhere/mine.model": ("no folder",),
        ".": ("is a folder",),
    }.items():
        refused(2, words, "train", table_of_jets, jets_file, "-o", tmp_path / out, *MLP, out=jets_file)
    for paths in ((jets_file, table_of_jets), (table_of_jets, jets_file)):
        refused(2, ("is the input",), "train", *paths, "-o", jets_file, "--force", out=jets_file)
    succeeded("train", table_of_jets, "-o", tmp_path / "there.model", *MLP, "--force")
    assert Model.from_bytes((tmp_path / "there.model").read_bytes(), "there").facts["architecture"] == "mlp"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--config", "gone.toml"], ("no recipe 'gone.toml'",)),
        (["--set", "course.steps=none"], ("--set course.steps=none", "is no TOML")),
        (["--set", "course.epochs=5"], ("'epochs'",)),
        (["--set", "seed=18446744073709551616"], ("seed",)),
        (["--seed", "-1"], ("seed = -1",)),
        (["--seed", "one"], ("'one'",)),
        (["--arch", "cnn"], ("'cnn'", "'invertible', 'mlp'")),
        (["--from", "gone.model"], ("no model 'gone.model'",)),
        (["--arch", "mlp", "--from", "default"], ("--arch mlp", "is invertible")),
        (["--set", 'arch="mlp"', "--from", "default"], ("--arch mlp", "is invertible")),
        (["--find-rate", "rate.png"], ("-o", "--find-rate", "not both")),
        (["--jets", "Muon_"], ("no jets 'Muon_'",)),
        (["--units", "keV"], ("'keV'",)),
        (["--device", "tpu"], ("'tpu'",)),
        ([*MLP, "--set", "course.learning_rate=1e18", "--set", 'course.schedule="constant"'], ("not finite",)),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(options, words, jets_file, tmp_path):
    refused(2, words, "train", jets_file, "-o", tmp_path / "mine.model", *SHORT, *options, out=jets_file)


def test_a_training_without_a_place_for_the_model_is_refused(jets_file):
    refused(2, ("no output for the model", "-o MODEL"), "train", jets_file, *MLP, out=jets_file)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_told(jets_file, tmp_path):
    refused(2, ("cuda",), "train", jets_file, "-o", tmp_path / "m", *MLP, "--device", "cuda", out=jets_file)


@pytest.mark.parametrize(
    ("name", "entries", "code", "words"),
    [
        ("gone", None, 2, ("no such file",)),
        ("empty", 0, 2, ("0 events with jets", "30 are needed")),
        ("few", 20, 2, ("events with jets in", "30 are needed")),
        ("cut", 60, 3, ("damaged",)),
    ],
)
def test_files_that_teach_nothing_are_told(name, entries, code, words, table_of_jets, tmp_path):
    path = tmp_path / f"{name}.root"
    if entries is not None:
        write_layout(path, "nanoaod", entries)
    if name == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    others = [table_of_jets] if name in ("gone", "cut") else []
    refused(code, (*words, name), "train", *others, path, "-o", tmp_path / "mine.model", *MLP, out=table_of_jets)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_best_model_so_far(number, table_of_jets, tmp_path, monkeypatch):
    validate, seen = atlasae.training.loop.validation_loss, []

    def interrupted(*arguments: object) -> float:
        seen.append(validate(*arguments))
        if len(seen) == 3:
            os.kill(os.getpid(), number)
        return seen[-1]

    monkeypatch.setattr(atlasae.training.loop, "validation_loss", interrupted)
    out = tmp_path / "mine.model"
    more = ("--set", "course.steps=1000000", "--set", 'course.schedule="constant"')
    assert trained(table_of_jets, "-o", out, *MLP, *more).report["ended"] == "interrupted"
    model = Model.from_bytes(out.read_bytes(), "mine")
    assert len(model.facts["history"]["validation"]) in (2, 3)
    assert "interrupted" in str(model.facts["history"]["ended"])
    succeeded("compress", table_of_jets, tmp_path / "small.root", "--model", out)


def test_ctrl_c_before_there_is_a_best_model_leaves_nothing(table_of_jets, tmp_path, monkeypatch):
    monkeypatch.setattr(
        atlasae.training.loop, "validation_loss", lambda *arguments: os.kill(os.getpid(), signal.SIGINT)
    )
    refused(130, ("interrupted",), "train", table_of_jets, "-o", tmp_path / "mine.model", *MLP, out=table_of_jets)


def test_training_shows_a_bar_on_a_terminal(table_of_jets, tmp_path, monkeypatch):
    monkeypatch.setattr(io, "StringIO", Terminal)
    shown = run_main("train", table_of_jets, "-o", tmp_path / "a.model", *MLP, "--json")
    quiet = run_main("train", table_of_jets, "-o", tmp_path / "b.model", *MLP, "--quiet")
    assert (shown.code, quiet.code) == (0, 0)
    assert "training" in shown.err and shown.report["ended"] == "all steps done"
    assert (quiet.out, quiet.err) == ("", "")


@pytest.mark.parametrize("options", [INVERTIBLE, MLP])
def test_the_learning_rate_is_looked_for_and_plotted(options, table_of_jets, tmp_path, monkeypatch):
    monkeypatch.setattr(atlasae.training.loop, "RATE_STEPS", 80)
    plot = tmp_path / "rate.png"
    result = succeeded("train", table_of_jets, "--find-rate", plot, *options, "--json")
    report = json.loads(result.out, parse_constant=pytest.fail)
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert report["output"] == str(plot) and 1e-6 < report["learning_rate"] < 1
    assert len(report["rates"]) == len(report["losses"]) > 50
    refused(2, ("exists", "--force"), "train", table_of_jets, "--find-rate", plot, *options, out=plot)
    words = ("is the input",)
    refused(2, words, "train", table_of_jets, "--find-rate", table_of_jets, *options, "--force", out=plot)


def test_the_learning_rate_is_told_beside_its_plot(table_of_jets, tmp_path):
    plot = tmp_path / "rate.pdf"
    text = succeeded("train", table_of_jets, "--find-rate", plot, *MLP).out
    assert text.startswith(f"{plot}: learning rate ") and plot.read_bytes()[:4] == b"%PDF"
    refused(2, ("nothing",), "train", table_of_jets, "--find-rate", tmp_path / "rate.nothing", *MLP, out=table_of_jets)


# --- import-checkpoint


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint of another program, and the recipe that describes it."""
    rng = np.random.default_rng(7)
    sizes = {"a": (5, 4), "b": (3, 5), "c": (5, 3), "d": (4, 5)}
    weights = {f"{name}.weight": torch.from_numpy(rng.normal(0, 0.5, shape)) for name, shape in sizes.items()}
    weights |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in sizes.items()}
    torch.save({"net": weights}, tmp_path / "published.pth")
    (tmp_path / "recipe.toml").write_text(
        '[network]\nhidden = [5]\n[checkpoint]\nsource = "made here"\nstate = "net"\nencoder = ["a", "b"]\n'
        'decoder = ["c", "d"]\nmean = [1.5, 0, 0, 2.0]\nstd = [0.2, 1.5, 1.8, 0.5]\n'
    )
    return tmp_path / "published.pth", tmp_path / "recipe.toml"


def test_a_published_checkpoint_compresses(published, jets_file, tmp_path):
    checkpoint, recipe = published
    out, small = tmp_path / "mine.model", tmp_path / "small.root"
    report = succeeded("import-checkpoint", checkpoint, "--recipe", recipe, "-o", out, "--json").report
    content = out.read_bytes()
    assert (report["output"], report["bytes"]) == (str(out), len(content))
    assert report["sha256"] == hashlib.sha256(content).hexdigest()
    assert (report["architecture"], report["columns"]) == ("mlp", ["pt", "eta", "phi", "E"])
    assert report["provenance"]["imported"] == "published.pth" and report["provenance"]["source"] == "made here"
    command = ["import-checkpoint", checkpoint, "--recipe", recipe, "-o", out, "--force"]
    assert succeeded(*command).out == f"{out}: mlp, {len(content) / 1000:.2f} kB, SHA-256 {report['sha256'][:12]}\n"
    assert succeeded(*command, "--quiet").out == "" and out.read_bytes() == content
    succeeded("compress", jets_file, small, "--model", out, "--precision", "none")  # jets with m: it wants E
    succeeded("verify", jets_file, small)
    further = trained(jets_file, "-o", tmp_path / "further.model", "--from", out, *SHORT).report
    assert further["provenance"]["from"] == report["sha256"]


def test_an_import_that_would_lose_something_or_makes_no_sense_is_refused(published, tmp_path):
    checkpoint, recipe = published
    (tmp_path / "there.model").write_text("mine")
    begin = ["import-checkpoint", checkpoint, "--recipe", recipe, "-o"]
    refused(2, ("exists", "--force"), *begin, tmp_path / "there.model", out=checkpoint)
    for force in ([], ["--force"]):
        refused(2, ("is the input",), *begin, checkpoint, *force, out=checkpoint)
        refused(2, ("recipe.toml",), *begin, recipe, *force, out=checkpoint)
    refused(2, ("--recipe",), "import-checkpoint", checkpoint, "-o", tmp_path / "m", out=checkpoint)
    refused(2, ("-o",), "import-checkpoint", checkpoint, "--recipe", recipe, out=checkpoint)
    gone = ["import-checkpoint", tmp_path / "gone.pth", "--recipe", recipe, "-o", tmp_path / "m"]
    refused(2, ("no such file", "gone.pth"), *gone, out=checkpoint)
    begin[3] = tmp_path / "gone.toml"
    refused(2, ("no such file", "gone.toml"), *begin, tmp_path / "m", out=checkpoint)


def test_a_malicious_checkpoint_is_refused_and_not_run(published, tmp_path):
    proof = tmp_path / "proof"
    torch.save({"net": {"a.weight": Malicious(f"touch {proof}")}}, published[0])
    begin = ["import-checkpoint", published[0], "--recipe", published[1], "-o", tmp_path / "m"]
    refused(2, ("published.pth", "weights alone"), *begin, out=published[0])
    assert not proof.exists()


def test_tables_are_made_and_told(jets_file, tmp_path):
    files = [write_layout(tmp_path / "many.root", "nanoaod", 600)] * 2
    out = tmp_path / "own.safetensors"
    report = succeeded("train", *files, "-o", out, "--arch", "tables", "--json").report
    assert report["jets"] > 1000 and report["bytes"] == out.stat().st_size
    assert (
        f"tables of {report['jets']:,} jets" in succeeded("train", *files, "-o", out, "--arch", "tables", "--force").out
    )
    for words, more in (
        (("nothing to set", "--seed"), ("--seed", "1", "-o", out)),
        (("no output for the tables",), ()),
        (("--device",), ("--device", "cuda", "-o", out)),
    ):
        assert run_main("train", jets_file, "--arch", "tables", *more).failed(2, *words)
