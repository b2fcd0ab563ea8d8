import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import read_tree, write_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.compression import format
from atlasae.compression.format import (
    FORMAT,
    NEWEST,
    Chunk,
    CompressedCollection,
    Contents,
    Copied,
    CopiedTree,
    Run,
    bits_of,
    check_alike,
    is_compressed,
    jets_tree,
    read_contents,
    write_contents,
)
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.branches import Branch
from atlasae.files.damage import has_traces
from atlasae.files.trees import open_source
from atlasae.files.writing import create
from atlasae.jets.collections import Collection
from atlasae.reports.description import info

JETS = Collection(
    name="Jet",
    prefix="Jet_",
    branches={"pt": "Jet_pt", "eta": "Jet_eta", "phi": "Jet_phi", "m": "Jet_mass"},
    dtypes={"pt": "<f4", "eta": "<f4", "phi": "<f4", "m": "<f8"},
    jagged=True,
    counter="nJet",
    units="GeV",
)
CODEC = {
    "layout": "floats",
    "exponent": 0.2,
    "cells": [3.5, 4.0, 5.0, 6.0],
    "first": [0, 1, 2, 3],
    "levels": [1024, 2048, 1000, 1],
    "words": [[{"variable": 0, "radix": 1024, "divisor": 1}], [{"variable": 1, "radix": 2048, "divisor": 1}]],
}
GOLDEN = Path(__file__).parents[1] / "golden"
GRAFTED = [GOLDEN / "format-5" / f"{name}.root" for name in ("default", "packed", "trees", "ntuple")]
MODEL = b"weights and more weights"
SHA = hashlib.sha256(MODEL).hexdigest()
LATENTS = ("Jet_z0", "Jet_z1", "Jet_z2")
EXACT = tuple(f"Jet_exact_{what}" for what in ("index", "pt", "eta", "phi", "m"))
SUMS = [2**64 - 1, *range(9)]  # one per written branch


def make_run(**changes: Any) -> Run:
    entry = CompressedCollection(
        collection=JETS,
        codec=CODEC,
        precision=dict.fromkeys(("pt", "eta", "phi", "m"), 1e-3),
        model_sha256=SHA,
        jets=11,
        exact_jets=2,
        max_error={"pt": 9e-4, "eta": 8e-4, "phi": 7e-4, "m": 6e-4},
        bytes_in=160,
    )
    facts: dict[str, Any] = {
        "source": {"name": "jets.root", "bytes": 12345},
        "tree": "Events",
        "title": "a title",
        "entries": 5,
        "chunks": 2,
        "collections": [entry],
        "originals": ["event", *JETS.branches.values(), "hit"],
        "carried": [Branch("event", "<u8", False), Branch("hit", "<i2", True, "nhit")],
        "written": ["event", "hit", *LATENTS, *EXACT],
        "counters": {name: "nJet" for name in LATENTS} | {name: "nJet_exact" for name in EXACT} | {"hit": "nhit"},
        "dropped": ["Muon_pt"],
        "versions": {"atlasae": "0.1.0"},
        "table": {"index": "index", "index_name": None},
    }
    return Run(**facts | changes)


def make_contents(*runs: Run, models: dict[str, bytes] | None = None) -> Contents:
    """Contents with two chunks per run, of 3 and 2 events, with 7 and 4 jets."""
    chunks = [Chunk(3, 7, SUMS), Chunk(2, 4, SUMS[::-1])] * len(runs)
    return Contents(list(runs), chunks, {SHA: MODEL} if models is None else models)


def write(path: Path, contents: Contents, entries: int) -> Path:
    """Write a file with the folder and the tree that it describes; returns its path."""
    with create(path) as target:
        events = {name: ak.Array(np.zeros(entries, np.float32)) for name in LATENTS}
        exact = {name: ak.unflatten(np.zeros(0, np.float32), np.zeros(entries, int)) for name in EXACT}
        counters = dict.fromkeys(EXACT, "nJet_exact")
        target.make_tree("Events", events | exact, counters=counters).extend(events | exact)
        write_contents(target, contents)
    return path


def read(path: Path) -> Contents:
    with open_source(path) as source:
        return read_contents(source)


Rows = dict[str, dict[str, ak.Array]]  # tree -> column -> rows


def rows_of(path: Path) -> Rows:
    """The three trees of the folder, read by uproot alone."""
    return {name: read_tree(path, name) for name in ("atlasae/runs", "atlasae/chunks", "atlasae/models")}


def write_rows(path: Path, rows: Rows, entries: int) -> Path:
    """Write a file with these rows in the folder and a tree of `entries` entries; returns its path."""
    with create(path) as target:
        for name, columns in (rows | {"Events": {"x": ak.Array(np.zeros(entries))}}).items():
            target.make_tree(name, columns).extend(columns)
    return path


# --- the folder


@pytest.mark.parametrize(
    "contents",
    [
        make_contents(make_run()),
        make_contents(make_run(), models={}),
        make_contents(make_run(), make_run(title="other", dropped=[], table=None)),
        make_contents(make_run(), models={SHA: MODEL, hashlib.sha256(b"").hexdigest(): b""}),
        Contents([make_run(chunks=1, collections=make_run().collections * 2)], [Chunk(0, 0, SUMS)]),
    ],
    ids=["one run", "a packaged model", "two runs", "two models", "no entries"],
)
def test_contents_come_back(tmp_path, contents):
    path = write(tmp_path / "x.root", contents, sum(chunk.entries for chunk in contents.chunks))
    assert read(path) == contents


def test_what_a_file_of_many_jets_holds_comes_back(tmp_path):
    # strings beyond ROOT's short ones (254 bytes), and more rows and bytes than one page
    carried = [Branch(f"branch{i}", "<f4", False) for i in range(2000)]
    originals = [*JETS.branches.values(), *(branch.name for branch in carried)]
    written = [*(branch.name for branch in carried), *LATENTS, *EXACT]
    runs = [make_run(originals=originals, carried=carried, written=written, chunks=500)] * 3
    model = np.random.default_rng(1).bytes(60_000)
    chunks = [Chunk(1, i, list(range(i, i + len(written)))) for i in range(1500)]
    contents = Contents(runs, chunks, {hashlib.sha256(model).hexdigest(): model})
    assert read(write(tmp_path / "x.root", contents, 1500)) == contents


def test_every_chunk_knows_its_run_and_first_entry():
    runs = [make_run(chunks=2, title="a"), make_run(chunks=0, title="b"), make_run(chunks=1, title="c")]
    chunks = [Chunk(3, 7, []), Chunk(0, 0, []), Chunk(2, 4, [])]
    found = list(Contents(runs, chunks).chunks_by_run())
    assert [(run.title, start, chunk) for run, start, chunk in found] == [
        ("a", 0, chunks[0]),
        ("a", 3, chunks[1]),
        ("c", 3, chunks[2]),
    ]


def test_merged_files_hold_the_runs_of_every_part_and_each_model_once(tmp_path):
    other = b"other weights"
    parts = [
        make_contents(make_run(title="a")),
        make_contents(make_run(title="b")),
        make_contents(make_run(title="c"), models={hashlib.sha256(other).hexdigest(): other}),
    ]
    rows = [rows_of(write(tmp_path / f"{i}.root", part, 5)) for i, part in enumerate(parts)]
    merged = {  # as by hadd: the rows of each tree, one file after the other
        name: {column: ak.concatenate([part[name][column] for part in rows]) for column in rows[0][name]}
        for name in rows[0]
    }
    found = read(write_rows(tmp_path / "merged.root", merged, 15))
    assert found.runs == [run for part in parts for run in part.runs]
    assert found.chunks == [chunk for part in parts for chunk in part.chunks]
    assert found.models == parts[0].models | parts[2].models
    assert [start for _, start, _ in found.chunks_by_run()] == [0, 3, 5, 8, 10, 13]


def jets_of(**changes: Any) -> list[CompressedCollection]:
    (entry,) = make_run().collections
    return [dataclasses.replace(entry, collection=dataclasses.replace(JETS, **changes))]


def other_tree(dtype: str, name: str = "other") -> Copied:
    return Copied([CopiedTree(name, [Chunk(5, 0, [1])], [dtype], ["x"])])


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ({}, {"tree": "jets"}, "the tree is 'Events' in 'jets.root', 'jets' in 'b.root'"),
        ({}, {"carried": [Branch("event", "<i8", False), Branch("hit", "<i2", True, "nhit")]}, "'event' is <u8 in"),
        ({}, {"carried": [Branch("event", "<u8", True), Branch("hit", "<i2", True, "nhit")]}, "a list of <u8 in 'b"),
        ({}, {"carried": [Branch("event", "<u8", False)]}, "'hit' is a list of <i2 in 'jets.root', not in 'b.root'"),
        ({}, {"carried": [*make_run().carried, Branch("x", "<f4", False)]}, "'x' is not in 'jets.root', <f4 in"),
        ({}, {"counters": make_run().counters | {"hit": "n"}}, "the counter of 'hit' is 'nhit' in"),
        ({}, {"collections": jets_of(units="MeV")}, "the unit of 'Jet' is GeV in 'jets.root', MeV in 'b.root'"),
        ({}, {"collections": jets_of(packed=True)}, "the layout of 'Jet' is floats in 'jets.root', packed in 'b.root'"),
        ({}, {"collections": jets_of(words=4)}, "what stands for 'Jet' is Jet_z0, Jet_z1, Jet_z2, Jet_exact_index"),
        ({}, {"collections": jets_of(exact_prefix="kept_")}, "what stands for 'Jet' is"),
        ({}, {"collections": jets_of(terms=[])}, "the kind of 'Jet' is jets in 'jets.root', a list of"),
        ({}, {"collections": jets_of(dtypes=JETS.dtypes | {"m": "<f4"})}, "'Jet_mass' is a list of <f8, m of"),
        ({}, {"collections": jets_of(name="jets")}, "'Jet_pt' is a list of <f4, pt of 'Jet', in"),
        ({}, {"collections": []}, "'Jet_pt' is a list of <f4, pt of 'Jet', in 'jets.root', not in 'b.root'"),
        ({}, {"aliases": {"number": "event"}}, "branch 'number' is not in 'jets.root', 'event' by another name in 'b."),
        ({"copied": other_tree("<f4")}, {"copied": other_tree("<f8")}, "branch 'x' of tree 'other' is <f4 in"),
    ],
)  # fmt: skip
def test_merged_files_that_are_no_tree_are_refused_by_what_differs(tmp_path, one, other, says):
    runs = [make_run(**one), dataclasses.replace(make_run(), source={"name": "b.root", "bytes": 1}, **other)]
    with pytest.raises(
        UserError, match="'.*x.root' merges files that can't be one tree: .*; take them one by one$"
    ) as e:
        check_alike(runs, "'x.root' merges files that")
    assert says in str(e.value)
    if set(other) == {"counters"}:  # reading a file makes this check, too
        runs[1] = dataclasses.replace(runs[1], source=runs[0].source)
        with pytest.raises(UserError, match=r"can't be one tree: .* in 'jets.root', 'n' in another 'jets.root'; take"):
            read(write(tmp_path / "x.root", make_contents(*runs), 10))


def test_merged_files_may_differ_in_how_their_jets_were_coded(tmp_path):
    (entry,) = make_run().collections
    entry = dataclasses.replace(entry, precision={"pt": None}, model_sha256="0" * 64, codec={}, jets=1)
    other = make_run(collections=[entry], title="x", dropped=[], versions={}, copied=other_tree("<f4", "more"))
    contents = make_contents(make_run(copied=other_tree("<f8")), other)
    assert read(write(tmp_path / "x.root", contents, 10)) == contents


def test_folders_have_the_same_types_whatever_they_hold(tmp_path):
    # hadd merges only branches of one type, and strings only up to the length in the first file: so no strings
    types = []
    for i, contents in enumerate((make_contents(make_run()), Contents([make_run(chunks=0)], []))):
        with uproot.open(write(tmp_path / f"{i}.root", contents, 5)) as file:
            types.append({
                (tree, branch): file[f"atlasae/{tree}"][branch].typename
                for tree in ("runs", "chunks", "models")
                if f"atlasae/{tree}" in file
                for branch in file[f"atlasae/{tree}"].keys(recursive=False)
            })  # fmt: skip
    assert types[1].items() < types[0].items()  # without models, there is no tree of them
    assert not [name for name, kind in types[0].items() if "string" in kind]
    assert types[0]["runs", "json"] == "uint8_t[]"
    assert types[0]["models", "sha256"] == "uint8_t[32]"


def test_a_text_tells_people_what_the_file_is(tmp_path):
    with uproot.open(write(tmp_path / "x.root", make_contents(make_run()), 5)) as file:
        text = str(file["atlasae/about"])
        assert file.classname_of("atlasae/about") == "TObjString"
    assert "(Jet)" in text and "atlasae decompress" in text and "pip install atlasae" in text


def test_a_file_without_the_folder_was_not_compressed(tmp_path):
    path = write_tree(tmp_path / "x.root", "Events", {"x": ak.Array([1.0])})
    with open_source(path) as source:
        assert not is_compressed(source)
        with pytest.raises(UserError, match="was not compressed by atlasae"):
            read_contents(source)
    with open_source(write(path, make_contents(make_run()), 5)) as source:
        assert is_compressed(source)


# --- a run as JSON

texts = st.text(st.characters(), max_size=12)  # names of files may have lone surrogates (no valid UTF-8)
numbers = st.floats(allow_nan=False)


@settings(max_examples=50)
@given(st.lists(texts, min_size=8, max_size=8), st.dictionaries(texts, texts, max_size=3), numbers)
def test_a_run_comes_back_from_its_json(names, counters, number):
    collection = dataclasses.replace(JETS, name=names[0], prefix=names[1], branches={"pt": names[2]}, counter=None)
    (entry,) = make_run().collections
    entry = dataclasses.replace(entry, collection=collection, max_error={names[3]: number})
    run = make_run(
        source={"name": names[4], "bytes": 2**40},
        tree=names[5],
        title=names[6],
        collections=[entry, make_run().collections[0]],
        carried=[Branch(names[7], "<f4 array", jagged=True, counter=names[0])],
        originals=sorted({names[2], names[7], *JETS.branches.values()}),
        written=[names[7], *collection.latents, *collection.exact.values(), *LATENTS, *EXACT],
        counters=counters,
        table=None,
    )
    text = run.to_json()
    again = Run.from_json(text)
    assert again.counters.items() >= run.counters.items()  # those of a collection for all of its branches
    assert dataclasses.replace(again, counters=counters) == run
    assert text.isascii()  # readable in any encoding
    assert json.loads(text)["format"] == FORMAT
    old = dataclasses.replace(run, format=3)
    assert Run.from_json(old.to_json()) == old


def test_counters_are_told_once():
    counters = dict.fromkeys(LATENTS, "nJet") | dict.fromkeys(JETS.branches.values(), "nJet")
    run = make_run(counters=counters | dict.fromkeys(EXACT, "nJet_exact"))
    assert json.loads(run.to_json())["counters"] == {"Jet_pt": "nJet", "Jet_exact_index": "nJet_exact"}
    assert Run.from_json(run.to_json()) == run


def test_names_that_are_no_text_come_back_from_a_file(tmp_path):
    run = make_run(source={"name": os.fsdecode(b"\xff\xfe.root"), "bytes": 1}, title="é\n\0")
    assert read(write(tmp_path / "x.root", make_contents(run), 5)).runs == [run]


@pytest.mark.parametrize("version", [NEWEST + 1, 99, 0, "1"])
def test_another_format_version_asks_for_another_atlasae(tmp_path, version):
    facts = json.loads(make_run().to_json()) | {"format": version, "unheard of": 1}
    with pytest.raises(UserError, match=f"made by atlasae 0.1.0 in format {version}: this is .* needs") as caught:
        Run.from_json(json.dumps(facts))
    assert caught.value.exit_code == 2
    path = write(tmp_path / "x.root", make_contents(make_run(format=version)), 5)
    with pytest.raises(UserError, match="atlasae"):
        read(path)


def test_facts_that_a_later_atlasae_adds_are_passed_over():
    assert Run.from_json(changed_facts(more=1)) == make_run()


def changed_facts(**changes: Any) -> str:
    return json.dumps(json.loads(make_run().to_json()) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        make_run().to_json()[:-1],
        "[]",
        "1",
        "null",
        '"format"',
        "{}",
        json.dumps({"format": FORMAT}),
        changed_facts(entries="5"),
        changed_facts(source={"bytes": 1}),
        changed_facts(source={"name": "x"}),
        changed_facts(written=["event", 1]),
        changed_facts(counters={"hit": None}),
        changed_facts(copied={"trees": [{"name": "x", "chunks": [1]}]}),
        changed_facts(collections=None),
        changed_facts(collections=["Jet"]),
        changed_facts(collections=[{"collection": {}}]),
        changed_facts(carried=[{"name": "x"}]),
        changed_facts(originals=[]),
        changed_facts(written=["event", "hit", *LATENTS]),
        changed_facts(written=["event", *LATENTS, *EXACT]),
        changed_facts(originals=["event", "Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass"]),
        "[" * 100_000,
    ],
    ids=range(24),
)
def test_what_is_no_run_is_damage(text):
    with pytest.raises(DamagedFileError, match="'atlasae/runs' is damaged: ") as caught:
        Run.from_json(text)
    assert caught.value.exit_code == 3


# --- damage


def replace_row(rows: Rows, tree: str, column: str, change: Callable[[Any], Any]) -> None:
    """Replace the only row of a column by `change` of it, with the same type."""
    array = rows[tree][column]
    (value,) = array.to_list()
    flat = np.array(change(value), dtype=ak.to_numpy(ak.flatten(array, axis=None)).dtype)
    jagged = flat.ndim == 1
    rows[tree][column] = ak.unflatten(flat, [len(flat)]) if jagged else ak.Array(flat if flat.ndim else flat[None])


@pytest.mark.parametrize(
    ("tree", "column", "change", "says"),
    [
        ("runs", "json", lambda text: [*bytes(text).replace(b"12345", b"12346")], "checksum of 'atlasae/runs' differs"),
        ("runs", "json", lambda text: [*text, 32], "the checksum of 'atlasae/runs' differs"),
        ("runs", "checksum", lambda value: value ^ 1, "the checksum of 'atlasae/runs' differs"),
        ("chunks", "entries", lambda value: value + 1, "tree 'Events' does not have the 6 entries compressed"),
        ("models", "content", lambda value: [*value[:-1], value[-1] ^ 1], f"model {SHA[:12]} in .* another SHA-256"),
        ("models", "content", lambda value: value[:-1], "another SHA-256"),
        ("models", "sha256", lambda value: [[0] * 32], "model 000000000000 in .* another SHA-256"),
    ],
)
def test_changed_rows_are_damage(tmp_path, tree, column, change, says):
    contents = Contents([make_run(chunks=1)], [Chunk(5, 11, SUMS)], {SHA: MODEL})
    rows = rows_of(write(tmp_path / "x.root", contents, 5))
    assert read(write_rows(tmp_path / "same.root", rows, 5)) == contents
    replace_row(rows, f"atlasae/{tree}", column, change)
    with pytest.raises(DamagedFileError, match=says):
        read(write_rows(tmp_path / "changed.root", rows, 5))


@pytest.mark.parametrize(
    ("contents", "entries", "says"),
    [
        (make_contents(make_run(chunks=3)), 5, "2 chunks for 1 run"),
        (make_contents(make_run(chunks=1)), 5, "2 chunks for 1 run"),
        (make_contents(make_run(), make_run(chunks=1)), 10, "4 chunks for 2 runs"),
        (Contents([], []), 0, "0 chunks for 0 runs"),
        (make_contents(make_run()), 6, "tree 'Events' does not have the 5 entries compressed"),
        (make_contents(make_run(), make_run()), 11, "tree 'Events' does not have the 10 entries compressed"),
        (Contents([make_run(chunks=1)], [Chunk(5, 11, SUMS[1:])]), 5, "checksums"),
        (make_contents(make_run(tree="jets")), 5, "tree 'jets' does not have the 5 entries compressed"),
    ],
)
def test_a_folder_that_contradicts_itself_or_its_tree_is_damage(tmp_path, contents, entries, says):
    path = write(tmp_path / "x.root", contents, entries)
    with pytest.raises(DamagedFileError, match=says) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_fewer_entries_are_a_skim_where_all_branches_have_as_many_else_damage(tmp_path):
    with open_source(write(tmp_path / "x.root", make_contents(make_run()), 4)) as source:
        with pytest.raises(
            UserError, match=r"x.root' looks like a skim .* has 4 of the 5 entries compressed; .* --trust"
        ):
            read_contents(source)
        source.trees["Events"].entries = 3
        with pytest.raises(DamagedFileError, match="tree 'Events' does not have the 5 entries compressed"):
            read_contents(source)


@pytest.mark.parametrize(("tree", "column"), [("chunks", None), ("models", None), ("runs", "json"), ("chunks", "jets")])
def test_a_folder_that_lacks_something_is_damage(tmp_path, tree, column):
    run = make_run(format=3)  # of which there is a tree of models always
    rows = rows_of(write(tmp_path / "x.root", make_contents(run), 5))
    (rows if column is None else rows[f"atlasae/{tree}"]).pop(column or f"atlasae/{tree}")
    with pytest.raises(DamagedFileError, match=f"atlasae.* is damaged: .*{column or tree}"):
        read(write_rows(tmp_path / "changed.root", rows, 5))


@pytest.fixture(scope="module")
def plain_file(tmp_path_factory) -> Path:
    """A file without ROOT compression, so that its bytes can be searched for strings."""
    path = tmp_path_factory.mktemp("plain") / "x.root"
    with create(path, compression=None) as target:
        target.make_tree("Events", {"x": ak.Array([1.0])}).extend({"x": ak.Array(np.zeros(5))})
        write_contents(target, make_contents(make_run()))
    return path


@settings(max_examples=40)
@given(position=st.integers(0, len(make_run().to_json()) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_run_is_never_read(plain_file, position, bit):
    content = bytearray(plain_file.read_bytes())
    content[content.index(make_run().to_json().encode()) + position] ^= 1 << bit
    changed = plain_file.with_name("changed.root")
    changed.write_bytes(content)
    with pytest.raises(DamagedFileError):
        read(changed)


# --- the report of `atlasae info`


def test_describe_tells_what_was_written(tmp_path):
    packaged = dataclasses.replace(make_run().collections[0], model_sha256="f" * 64, jets=4, exact_jets=1)
    runs = [make_run(), make_run(source={"name": "b.root", "bytes": 7}, collections=[packaged], versions={"b": "1"})]
    path = write(tmp_path / "x.root", make_contents(*runs), 10)
    facts = info(path)
    with uproot.open(path) as file:
        names = [*LATENTS, *EXACT, "nJet_exact"]
        size = sum(file["Events"][name].compressed_bytes for name in names)
    bits = {"pt": 10.0, "eta": 11.0, "phi": 9.97, "m": 0.0}
    told = {
        "name": "Jet",
        "precision": dict.fromkeys(("pt", "eta", "phi", "m"), 1e-3),
        "bits": bits,
        "max_error": {"pt": 9e-4, "eta": 8e-4, "phi": 7e-4, "m": 6e-4},
    }
    same = {"tree": "Events", "entries": 5, "chunks": 2, "collections": [told]}
    assert facts == {
        "file": str(path),
        "bytes": path.stat().st_size,
        "bytes_file_in": 12345 + 7,
        "bytes_jets_in": 320,
        "bytes_jets_out": size,
        "bytes_per_jet": size / 15,
        "tree": "Events",
        "trees": [{"name": "Events", "entries": 10, "jets": 15, "bytes_in": 320, "bytes_out": size}],
        "entries": 10,
        "jets": 15,
        "collections": [
            {
                "name": "Jet",
                "branches": JETS.branches,
                "units": "GeV",
                "floors": {"m": 0.1},
                "precision": told["precision"],
                "max_error": told["max_error"],
                "jets": 15,
                "exact_jets": 3,
                "bytes_in": 320,
                "bytes": size,
                "bytes_per_jet": size / 15,
            }
        ],
        "carried": 2,
        "dropped": ["Muon_pt"],
        "left_out": [],
        "runs": [
            {"source": "jets.root", "source_bytes": 12345, "model_sha256": SHA, "model_from": "in the file"}
            | {"versions": {"atlasae": "0.1.0"}}
            | same,
            {"source": "b.root", "source_bytes": 7, "model_sha256": "f" * 64}
            | {"model_from": "packaged with atlasae", "versions": {"b": "1"}}
            | same,
        ],
    }
    json.dumps(facts)


@pytest.mark.parametrize("path", GRAFTED, ids=lambda path: f"{path.parent.stem}-{path.stem}")
def test_describe_reads_no_more_branches_than_it_needs(path, monkeypatch):
    told = info(path)
    with open_source(path) as source:
        contents = read_contents(source)
        cut, whole = jets_tree(source, contents), source.trees[contents.tree]
        assert cut.names <= whole.names
        assert cut.names >= {name for run in contents.runs for name in run.written if name in whole.names}

    def unknown(*_: object, **__: object) -> bytes:
        raise UserError("a class that atlasae does not know")

    monkeypatch.setattr(format, "glance", unknown)
    assert info(path) == told


def test_describe_of_no_jets_gives_no_bytes_per_jet(tmp_path):
    empty = dataclasses.replace(make_run().collections[0], jets=0, exact_jets=0)
    contents = Contents([make_run(collections=[empty], chunks=1)], [Chunk(0, 0, SUMS)])
    facts = info(write(tmp_path / "x.root", contents, 0))
    assert (facts["entries"], facts["jets"], facts["collections"][0]["bytes_per_jet"]) == (0, 0, None)


def test_bits_are_the_logarithm_of_the_levels():
    assert bits_of(make_run().collections[0]) == {"pt": 10.0, "eta": 11.0, "phi": 9.97, "m": 0.0}


def test_describe_needs_no_network(tmp_path):
    path = write(tmp_path / "x.root", make_contents(make_run()), 5)
    code = "import sys; from pathlib import Path; from atlasae.reports.description import info; "
    code += "print(info(Path(sys.argv[1]))['tree'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert done.stdout == "Events False\n"


@pytest.mark.parametrize("name", [b"atlasae", b"runs"])
def test_a_folder_or_a_tree_of_another_name_is_damage(name, tmp_path):
    path = write(tmp_path / "x.root", make_contents(make_run()), 5)
    other = bytes([name[0] ^ 1]) + name[1:]
    path.write_bytes(path.read_bytes().replace(bytes([len(name)]) + name, bytes([len(name)]) + other))
    with pytest.raises(DamagedFileError, match="'atlasae/runs' tree, but others of its folder"):
        read(path)


BEGINS = {
    "magic": slice(0, 4),
    "header": slice(0, 100),
    "root directory": slice(100, 300),
    "first kilobytes": slice(0, 4096),
}


@pytest.mark.parametrize("where", BEGINS.values(), ids=BEGINS.keys())
@pytest.mark.parametrize("lie", [b"\x00", b"\xff"])
def test_what_is_left_of_a_compressed_file_is_damaged(where, lie, compressed):
    content = bytearray(compressed.read_bytes())
    content[where] = lie * (where.stop - where.start)
    compressed.write_bytes(content)
    with pytest.raises(DamagedFileError, match="is damaged: "), open_source(compressed) as source:
        read_contents(source)


def test_traces_are_looked_for_where_they_are(tmp_path, compressed, jets_file):
    small, far = compressed.read_bytes(), tmp_path / "far.root"
    kept = small.index(b"\x05TTree\x04runs")
    far.write_bytes(b"root" + bytes((1 << 20) - kept - 10) + small + bytes(9_000_000))
    assert has_traces(far)  # the trace lies across two pieces
    far.write_bytes(bytes(9_000_000) + small + bytes(1_000_000))
    assert has_traces(far)
    assert not has_traces(jets_file)
    with pytest.raises(UserError, match="was not compressed by atlasae"), open_source(jets_file) as source:
        read_contents(source)
