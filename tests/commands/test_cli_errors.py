"""User errors: one line that names the thing, the value and what to do, and no output left."""

import errno
import os
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import (
    Malicious,
    bystanders,
    counted,
    declared,
    make_counts,
    nothing_left,
    read_tree,
    refused,
    run_main,
    succeeded,
    write_layout,
    write_tree,
)

import atlasae.codecs.model
import atlasae.training.loop
from atlasae.codecs.model import default_model
from atlasae.compression.floats import FloatsLayout
from atlasae.compression.format import read_contents, write_contents
from atlasae.compression.packed import PackedLayout
from atlasae.files.trees import open_source
from atlasae.files.writing import create

NAMES = ("pt", "eta", "phi", "mass")
COMMANDS = ("compress", "decompress", "info", "verify", "train", "import-checkpoint")


# --- what is no damage


def failing(error: Exception) -> Callable[..., Any]:
    """A function that raises this error."""

    def fail(*_: Any, **more: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("bug", [TypeError, KeyError, AssertionError, RuntimeError])
@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_a_bug_in_decoding_is_no_damage(bug, layout, jets_file, tmp_path, monkeypatch):
    succeeded("compress", jets_file, tmp_path / "small.root", "--layout", layout)
    monkeypatch.setattr({"floats": FloatsLayout, "packed": PackedLayout}[layout], "restore", failing(bug("ours")))
    with nothing_left(tmp_path / "out.root"):
        for more in ([], ["--salvage"]):
            result = run_main("decompress", tmp_path / "small.root", tmp_path / "out.root", *more)
            assert result.code == 1 and f"unexpected {bug.__name__}" in result.err
            assert "damaged" not in result.err and result.err.count("\n") == 1
        told = run_main("decompress", tmp_path / "small.root", tmp_path / "out.root", "--debug").err
        assert "Traceback" in told and "restored" in told


NO_MEMORY = (2, ("memory ran out for 'Jet' in entries 0 to 60", "--step-size"))
FORGED = (3, ("'Jet' in entries 0 to 60 is damaged: latents are not finite",))


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [(MemoryError(), *NO_MEMORY), (ValueError("latents are not finite"), *FORGED)],
    ids=["memory", "data"],
)
def test_lack_of_memory_is_told_and_ends_a_salvage(error, code, words, compressed, tmp_path, monkeypatch):
    monkeypatch.setattr(FloatsLayout, "restore", failing(error))
    refused(code, words, "decompress", compressed, tmp_path / "out.root", out=compressed)
    words = words if code == 2 else ("no part of the jets",)
    refused(code, words, "decompress", compressed, tmp_path / "out.root", "--salvage", out=compressed)


@pytest.mark.parametrize("command", ["compress", "decompress", "verify"])
def test_a_thread_that_can_not_be_started_is_told(command, jets_file, compressed, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", "2")
    monkeypatch.setattr(threading.Thread, "start", failing(RuntimeError("can't start new thread")))
    out = tmp_path / "out.root"
    arguments = {"verify": [jets_file, compressed], "compress": [jets_file, out]}.get(command, [compressed, out])
    refused(2, ("no thread could be started", "ulimit -u"), command, *arguments, out=out)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOMEM])
@pytest.mark.parametrize("command", ["decompress", "decompress --salvage", "info", "verify", "compress"])
@pytest.mark.parametrize("reads", [0, 3, 8])
def test_a_disk_that_fails_is_told_and_ends_a_salvage(
    number, command, reads, jets_file, compressed, tmp_path, monkeypatch
):
    pread, left = os.pread, [reads]

    def read(*arguments: int) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))
        return pread(*arguments)

    monkeypatch.setattr(os, "pread", read)
    name, *more = command.split()
    path, out = jets_file if name == "compress" else compressed, tmp_path / "out.root"
    arguments = {"info": [path], "verify": [jets_file, path]}.get(name, [path, out, *more])
    refused(2, ("can't read", ".root", os.strerror(number)), name, *arguments, out=out)


# --- what is no input


@pytest.mark.parametrize("command", ["compress", "decompress", "info", "verify"])
@pytest.mark.parametrize("kind", ["missing", "folder", "text", "empty", "short"])
def test_what_is_no_root_file_is_refused(command, kind, tmp_path):
    path, out = tmp_path / "in.root", tmp_path / "out.root"
    contents = {"text": b"pt,eta,phi,m\n1,2,3,4\n", "empty": b"", "short": b"roo"}
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents[kind])
    words = {"missing": "no such file", "folder": "is a folder"}.get(kind, "is not a ROOT file")
    more = {"compress": [out], "decompress": [out], "info": [], "verify": [path]}[command]
    refused(2, (words, "in.root"), command, path, *more, out=out)


@pytest.mark.parametrize("share", [*np.linspace(0.01, 0.99, 8), -1])
def test_a_truncated_file_is_damaged(share, jets_file, compressed, tmp_path):
    out = tmp_path / "cut" / "out.root"
    out.parent.mkdir()
    for path in (jets_file, compressed):
        content = path.read_bytes()
        cut = out.with_name(path.name)
        cut.write_bytes(content[: int(share * len(content)) if share > 0 else -1])
    cut_jets, cut_small = out.with_name("jets.root"), out.with_name("small.root")
    refused(3, ("damaged",), "compress", cut_jets, out, out=out)
    refused(3, ("damaged",), "decompress", cut_small, out, out=out)
    refused(3, ("damaged",), "info", cut_small, out=out)
    refused(3, ("damaged",), "verify", jets_file, cut_small, out=out)


def test_a_file_without_jets_is_refused(tmp_path):
    path = write_tree(tmp_path / "in.root", "Events", bystanders(9))
    refused(2, ("has no jets", "--jets"), "compress", path, tmp_path / "out.root", out=path)
    refused(2, ("has no jets", "--jets"), "compress", path, tmp_path / "out.root", "--tree", "Events", out=path)


def test_a_file_without_trees_is_refused(tmp_path):
    with uproot.recreate(tmp_path / "in.root") as file:
        file["h"] = np.histogram([1.0])
    refused(2, ("has no jets", "no tree"), "compress", tmp_path / "in.root", tmp_path / "out.root", out=tmp_path / "x")


def test_what_is_compressed_already_is_refused(compressed, tmp_path):
    words = ("compressed by atlasae already", "atlasae decompress")
    refused(2, words, "compress", compressed, tmp_path / "out.root", out=compressed)


@pytest.mark.parametrize("command", [("decompress", "out.root"), ("info",)])
def test_what_was_never_compressed_is_refused(command, jets_file, tmp_path):
    name, *out = command
    refused(2, ("was not compressed by atlasae",), name, jets_file, *(tmp_path / o for o in out), out=jets_file)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    path, proof = tmp_path / "in.pkl", tmp_path / "proof"
    path.write_bytes(pickle.dumps(Malicious(f"touch {proof}")))
    refused(2, ("refuses to load", "system"), "compress", path, tmp_path / "out.root", out=path)
    assert not proof.exists()
    pickle.loads(path.read_bytes())
    assert proof.exists()  # it is malicious


# --- what is no output


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_an_output_that_would_lose_something_is_refused(command, jets_file, compressed, tmp_path):
    path = {"compress": jets_file, "decompress": compressed}[command]
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked.root").symlink_to(path)
    (tmp_path / "there.root").write_text("mine")
    for out, words in {
        "there.root": ("exists", "--force"),
        "folder": ("is a folder",),
        "nowhere/out.root": ("no folder",),
        path.name: ("is the input",),
        "linked.root": ("is the input",),
    }.items():
        refused(2, words, command, path, tmp_path / out, out=path)
        if "--force" not in words:
            refused(2, words, command, path, tmp_path / out, "--force", out=path)


def test_compressed_jets_are_no_table(jets_file, tmp_path):
    refused(2, ("is named like a table", ".root"), "compress", jets_file, tmp_path / "out.pkl", out=jets_file)


def test_force_replaces_the_output(jets_file, compressed, tmp_path):
    for command, path in (("compress", jets_file), ("decompress", compressed)):
        out = tmp_path / f"{command}.root"
        out.write_text("old")
        succeeded(command, path, out, "--force")
        with uproot.open(out) as file:
            assert file["Events"].num_entries == 60


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_told(jets_file, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    refused(2, ("can't write", "Permission denied"), "compress", jets_file, folder / "out.root", out=jets_file)


# --- what is no option


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tree", "Nothing"], ("no tree 'Nothing'", "Events")),
        (["--precision", "pt=1e-3,eta=1e-3,phi=1e-3"], ("leaves out m",)),
        (["--precision", "pt=1e-3,mass=1e-3"], ("names 'mass'", "pt, eta, phi, m, E")),
        (["--precision", "0"], ("'0' is no bound",)),
        (["--precision", "best"], ("'best' is no bound", "full")),
        (["--units", "keV"], ("'keV'", "'MeV', 'GeV'")),
        (["--format", "csv"], ("'csv'", "'ttree', 'rntuple'")),
        (["--compression", "gzip:5"], ("'gzip:5'", "zstd")),
        (["--compression", "zstd:high"], ("'zstd:high'", "zstd:5")),
        (["--compression", "zstd:-1"], ("'zstd:-1'",)),
        (["--compression", "lzma:10"], ("'lzma:10'",)),
        (["--step-size", "big"], ("'big' is no size", "20MB")),
        (["--step-size", "-1MB"], ("is no size",)),
        (["--step-size", "0"], ("is no size",)),
        (["--step-size", "MB"], ("is no size",)),
        (["--step-size", "1.2.3MB"], ("is no size",)),
        (["--step-size", "nanMB"], ("is no size",)),
        (["--step-size", "²MB"], ("is no size",)),
        (["--model", "nowhere.safetensors"], ("no model 'nowhere.safetensors'", "default")),
        (["--jets", "Muon_"], ("no jets 'Muon_'",)),
        (["--jets", "Jet_{pt,eta,phi}"], ("names 3 branches",)),
        (["--jets", "Jet_{pt,eta,phi,E}"], ("no branch 'Jet_E'",)),
        (["--jets", "Jet_pt,Jet_eta,Jet_phi,met"], ("'met'", "pt=met")),
        (["--jets", "Jet_", "--jets", "Jet"], ("a branch twice",)),
        (["--drop", "Muon_*"], ("--drop 'Muon_*' matches no branch",)),
        (["--nonsense"], ("--nonsense",)),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, words, jets_file, tmp_path):
    refused(2, words, "compress", jets_file, tmp_path / "out.root", *options, out=jets_file)


@pytest.mark.parametrize("command", [*COMMANDS, "nonsense"])
def test_a_command_without_its_arguments_is_refused(command, tmp_path):
    refused(2, ("issing argument",) if command in COMMANDS else ("No such command",), command, out=tmp_path / "x")


def model_of_version(version: int) -> bytes:
    content = default_model().content
    there, other = (f'\\"format\\": {v}'.encode() for v in (atlasae.codecs.model.MODEL_FORMAT, version))
    assert content.count(there) == 1 and len(there) == len(other)
    return content.replace(there, other)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: model_of_version(7), ("format version 7", "version 1")),
        (lambda: default_model().content[:-4], ("other weights than its architecture",)),
        (lambda: default_model().content[:1000], ("is no atlasae model",)),
        (lambda: b"", ("is no atlasae model",)),
        (lambda: b"\xff" * 100, ("is no atlasae model",)),
    ],
    ids=["version", "cut", "cut short", "empty", "bytes"],
)
def test_what_is_no_model_of_ours_is_refused(content, words, jets_file, tmp_path):
    (tmp_path / "a.model").write_bytes(content())
    command = ["compress", jets_file, tmp_path / "out.root", "--model", tmp_path / "a.model"]
    refused(2, ("a.model", *words), *command, out=jets_file)


# --- branches that can't be written


@pytest.fixture
def nested_file(tmp_path: Path) -> Path:
    """An RNTuple with a branch that uproot can't write to a TTree."""
    counts = make_counts(20)
    branches = counted("rntuple", counts) | {"tracks": ak.Array([[[1, 2], []]] * 20), "n": ak.Array(np.arange(20))}
    types = {n: a.layout.form.type if n == "tracks" else declared(a) for n, a in branches.items()}
    with uproot.recreate(tmp_path / "nested.root") as file:
        file.mkrntuple("Events", types).extend(branches)
    return tmp_path / "nested.root"


def test_a_branch_that_cannot_be_written_stops_the_run(nested_file, tmp_path):
    words = ("1 branch that can't be written", "tracks", "--drop-unwritable")
    refused(2, words, "compress", nested_file, tmp_path / "out.root", "--format", "ttree", out=nested_file)


def test_a_branch_that_cannot_be_written_is_copied_as_it_is(nested_file, tmp_path):
    report = succeeded("compress", nested_file, tmp_path / "out.root", "--json").report
    assert {"n", "tracks"} <= set(report["carried"]) and report["dropped"] == []
    succeeded("decompress", tmp_path / "out.root", tmp_path / "back.root")
    with uproot.open(nested_file) as before, uproot.open(tmp_path / "back.root") as after:
        assert after["Events/tracks"].array().to_list() == before["Events/tracks"].array().to_list()


@pytest.mark.parametrize("options", [["--drop-unwritable"], ["--drop", "tracks"], ["--only-jets"]])
def test_a_branch_that_cannot_be_written_may_be_left_out(options, nested_file, tmp_path):
    how = (*options, "--format", "ttree", "--json")
    report = succeeded("compress", nested_file, tmp_path / "out.root", *how).report
    assert report["carried"] == ([] if options == ["--only-jets"] else ["n"])
    assert "tracks" in report["dropped"]
    succeeded("decompress", tmp_path / "out.root", tmp_path / "back.root")
    assert "tracks" not in read_tree(tmp_path / "back.root", "Events")


def test_dots_in_an_rntuple_are_refused(tmp_path):
    path = write_layout(tmp_path / "in.root", "xaod")
    words = ("AntiKt4TruthJetsAuxDyn", "dot", "ttree")
    refused(2, words, "compress", path, tmp_path / "out.root", "--format", "rntuple", out=path)


# --- every other user error: what is wrong, its value, and what to do


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "decompress small.root back.csv",
            ("'small.root' has several jets an event, which .csv can't hold", "write .root or .parquet"),
        ),
        ("decompress small.root back.xyz", ("'back.xyz' ends in '.xyz'", "name it .root, .pkl, .parquet, .csv")),
        ("verify jets.root small.root small.root", ("3 files were named", "COMPRESSED alone")),
        (
            "verify jets.root",
            ("'jets.root' was not compressed by atlasae", "atlasae/runs", "give an output of `compress`"),
        ),
        ("verify other.root small.root", ("no tree 'Events' in 'other.root'", "there are T")),
        ("info later.root", ("made by atlasae 9.1 in format 7", "this is atlasae", "needs atlasae 9.1 or later")),
        ("decompress later.root back.root", ("made by atlasae 9.1 in format 7", "needs atlasae 9.1 or later")),
        ("compress jets.root /dev/null", ("'/dev/null' is a device or a pipe", "name one")),
        ("compress jets.root out.root --variables no.toml", ("no list of variables 'no.toml'", "give a TOML file")),
        ("compress jets.root out.root --variables list.toml", ("'nothing'", "is not in 'Events'")),
        ("compress jets.root out.root --precision none", ("--precision none", "give a bound, or `full`")),
        ("compress jets.root out.root --tree Nothing", ("no tree 'Nothing' in 'jets.root'", "there are Events")),
        ("compress table.md out.root", ("'table.md' is not a ROOT file", "(.pkl, .parquet, .csv, .h5, .npz)")),
        ("train", ("Missing argument", "`atlasae train --help`")),
        ("batch compress jets.root", ("Missing option '--scheduler'. Choose from: condor, slurm; `atlasae batch",)),
        ("train jets.root", ("no output for the model", "-o MODEL")),
        ("train jets.root -o m --arch tree", ("'tree'", "'invertible', 'mlp'")),
        ("train jets.root -o m --config no.toml", ("no recipe 'no.toml'", "scripts/recipes")),
        ("train jets.root -o m --set course.stepps=3", ("no setting 'stepps'", "there are")),
        ("train jets.root -o m --set course.steps=many", ("course.steps=many", "quotes")),
        ("train jets.root -o m --set course.steps=-1", ("steps = -1 makes no sense", "give a positive number")),
        ("train jets.root -o m --from no.model", ("no model 'no.model'", "give a model file")),
        ("train jets.root -o jets.root", ("'jets.root' is the input", "another name")),
        ("import-checkpoint small.root --recipe list.toml -o m", ("list.toml",)),
        ("evaluate jets.root other.root", ("other.root",)),
        ("evaluate jets.root small.root -o x --histograms x", ("'x' can't be both", "name two files")),
        ("plot no.json -o plots", ("no such file: 'no.json'",)),
        ("plot list.toml -o plots", ("'list.toml' is no atlasae model", "made by atlasae")),
        ("plot list.toml -o jets.root", ("'jets.root' is a file", "figures go into a folder")),
        ("benchmark other.root", ("'other.root' has no jets", "--jets")),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_one_line(command, words, jets_file, compressed, monkeypatch):
    monkeypatch.chdir(jets_file.parent)
    write_tree(Path("other.root"), "T", {"x": ak.Array([1.0])})
    Path("list.toml").write_text('[[variable]]\nbranch="nothing"\ncoordinate="log"\nprecision=1e-3\n' * 2)
    Path("list.toml").write_text(Path("list.toml").read_text().replace("nothing", "met", 1))
    Path("table.md").write_text("pt eta phi m")
    with open_source(compressed) as source, create(Path("later.root")) as target:
        contents = read_contents(source)
        later = replace(contents.runs[0], format=7, versions={"atlasae": "9.1"})
        write_contents(target, replace(contents, runs=[later]))
    refused(2, words, *command.split(), out=jets_file)


def test_names_that_steer_a_terminal_are_shown_harmless(tmp_path):
    jets = {
        f"\x1b[2JJet_{v}": array for v, array in zip(NAMES, counted("nanoaod", make_counts(9)).values(), strict=True)
    }
    path = write_tree(tmp_path / "in.root", "Events", jets, dict.fromkeys(jets, "n"))
    result = run_main("compress", path, tmp_path / "out.root", "--tree", "\x1b[31mno")
    assert result.failed(2, "no tree '?[31mno'")
    told = succeeded("compress", path, tmp_path / "out.root").out + succeeded("info", tmp_path / "out.root").out
    assert "?[2JJet" in told and "\x1b" not in told
