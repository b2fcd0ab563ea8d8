"""Padding is found, coded with one code per row, and decoded bit for bit."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import bits, random_jets, read_tree, refused, run_main, succeeded, write_tree

import atlasae
from atlasae.codecs.entropy import Reader
from atlasae.codecs.floats import codec_of_config
from atlasae.codecs.lattice import Lattice
from atlasae.codecs.model import default_model
from atlasae.codecs.packed import PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.compression.format import read_contents, write_contents
from atlasae.files.trees import open_source
from atlasae.files.writing import create
from atlasae.jets.padding import MOST, Padding

pytestmark = pytest.mark.usefixtures("quick_model")

FOUR = ("pt", "eta", "phi", "m")


def columns(dtypes: tuple[str, ...] = ("<f4", "<f8", "<i2", "|b1")) -> list[np.ndarray]:
    """80 rows of five kinds: NaN with and without a payload, 0, -0 and 1."""
    first = np.array([np.nan, 0.0, -0.0, 1.0] * 20, "<f4")
    first.view("u4")[::8] |= 7  # half of the NaN have a payload
    return [first, np.zeros(80, dtypes[1]), np.full(80, -999, dtypes[2]), np.ones(80, dtypes[3])]


def test_rows_are_told_apart_by_their_bits():
    stored = columns()
    padding = Padding.of_sample(stored)
    assert len(padding.rows) == 5 and {len(row) for row in padding.rows} == {4}
    codes = padding.find(stored)
    assert sorted(np.bincount(codes).tolist()) == [0, 10, 10, 20, 20, 20]
    empty = [np.zeros_like(column) for column in stored]
    padding.fill(empty, codes)
    assert [column.tobytes() for column in empty] == [column.tobytes() for column in stored]


def test_only_what_repeats_is_padding_and_not_too_much_of_it():
    assert Padding.of_sample([np.arange(1000.0)] * 4) == Padding()
    assert Padding.of_sample([np.repeat(np.arange(3.0), 9)] * 4) == Padding()
    assert len(Padding.of_sample([np.repeat(np.arange(50.0), 12)] * 4).rows) == MOST
    assert Padding.of_sample([np.empty(0)] * 4) == Padding()


def test_padding_is_in_a_configuration_only_where_there_is_some():
    padding = Padding.of_sample(columns())
    assert Padding().config() == {} and Padding.of_config({}) == Padding()
    assert Padding.of_config(json.loads(json.dumps(padding.config()))) == padding
    for wrong, says in (
        (3, "Expected"),
        ([[1]], "Expected"),
        ([["-1"]], "is not hexadecimal"),
        ([["0); //"]], "is not hexadecimal"),
    ):
        with pytest.raises(ValueError, match=says):
            Padding.of_config({"padding": wrong})


def test_latents_are_marked():
    padding, latents = Padding((("0",) * 4,) * 3), np.linspace(1, 1.9, 12, dtype=np.float32).reshape(4, 3)
    codes = np.array([0, 3, 0, 1], np.int32)
    marked = padding.mark(latents.copy(), codes)
    assert marked.dtype == np.float32 and marked[:, 0].tolist() == [latents[0, 0], -3, latents[2, 0], -1]
    back, found = padding.unmark(marked)
    assert found.tolist() == codes.tolist() and (back >= 1).all() and back[0].tobytes() == latents[0].tobytes()
    for code in (-4.0, -0.5, -np.inf):
        with pytest.raises(ValueError, match="a code of padding that the codec lacks"):
            padding.unmark(np.array([[code, 1, 1]], np.float32))


@pytest.mark.parametrize("row", [("00", "0" * 8), ("0" * 8,), ("0" * 8,) * 3, ("0" * 9, "0" * 8), ()])
def test_rows_of_other_types_are_refused(row):
    right, dtypes = ("0" * 8, "f" * 16), [np.dtype("<f4"), np.dtype("<f8")]
    Padding((right, right)).check(dtypes)
    with pytest.raises(ValueError, match="row 2 of the padding does not have the bits of float32, float64"):
        Padding((right, row)).check(dtypes)


@pytest.fixture(scope="module")
def compressed_once(tmp_path_factory):
    """A function of a layout: a file with padding, compressed once."""

    @cache
    def made(layout):
        folder = tmp_path_factory.mktemp("padded")
        if layout == "list":
            (folder / "list.toml").write_text(listed(**{f"jet_{v}": "linear" for v in FOUR}))
        asked = ("--variables", folder / "list.toml") if layout == "list" else ("--layout", layout)
        succeeded("compress", padded_file(folder, jagged=False), folder / "small.root", *asked)
        return folder / "small.root"

    return made


@pytest.mark.parametrize("layout", ["floats", "packed", "list"])
@pytest.mark.parametrize("row", [["0" * 8] * 5, ["0" * 8] * 3 + ["0" * 9]])
def test_a_file_with_padding_of_other_types_is_damaged(layout, row, compressed_once, tmp_path):
    small, forged = compressed_once(layout), tmp_path / "forged.root"
    with open_source(small) as source, create(forged) as target:
        contents = read_contents(source)
        (run,) = contents.runs
        tree = source.trees[run.tree]
        events = tree.read(run.written, 0, tree.entries)
        target.make_tree(run.tree, events, counters=run.counters).extend(events)
        entries = [replace(entry, codec=entry.codec | {"padding": [row]}) for entry in run.collections]
        write_contents(target, replace(contents, runs=[replace(run, collections=entries)]))
    assert run_main("verify", forged).failed(3, "the codec of", "row 1 of the padding does not have")
    refused(3, ("damaged",), "decompress", forged, tmp_path / "back.root", out=tmp_path / "back.root")
    if layout == "floats":
        refused(3, ("damaged",), "export", forged, "--cpp", "-o", tmp_path / "jets.h", out=tmp_path / "jets.h")


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("counts", [[1] * 3000, [6] * 500, [0, 1, 40, 3] * 60, [0] * 3, [2500]])
def test_packed_words_hold_the_codes(context, counts):
    rng, n = np.random.default_rng(4), sum(counts)
    codec = PackedCodec(default_priors(), Lattice((2e-3,) * 4), context, Padding((("0" * 8,) * 4,) * 2))
    codes = rng.choice(3, n, p=[0.5, 0.3, 0.2]).astype(np.int32)
    jets = np.column_stack([random_jets(max(n, 1))[v][:n] for v in FOUR])
    cells, held = codec.lattice.cells(jets)
    assert held.all()
    words = codec.encode(cells, np.array(counts), codes)
    found, found_codes = codec.decode_padded(words, np.array(counts))
    assert found_codes.tolist() == codes.tolist() and found.tolist() == cells[:, codes == 0].tolist()
    if n:
        with pytest.raises(ValueError, match=r"do not end with|outside the grid"):
            codec.decode_padded(np.concatenate([np.arange(1, 9, dtype=np.uint32), words]), np.array(counts))
    assert Reader(words) is not None


def test_codes_cost_what_they_tell():
    """A code costs its entropy, 0.61 bits, if 15 % are jets; less if padding follows the jets of an event."""
    rng = np.random.default_rng(5)
    codec = PackedCodec(default_priors(), Lattice((2e-3,) * 4), True, Padding((("0" * 8,) * 4,)))
    flat = (rng.random(20_000) > 0.15).astype(np.int32)
    jets = np.zeros((4, 20_000), np.int32) + codec.lattice.cells(np.array([[5e4, 0.1, 0.1, 5e3]]))[0]
    without = len(codec.encode(jets[:, flat == 0], np.ones((flat == 0).sum(), np.int64)))
    assert 32 * (len(codec.encode(jets, np.ones(20_000, np.int64), flat)) - without) / 20_000 < 0.65
    real = rng.integers(0, 11, 2_000)
    ended = (np.arange(10) >= real[:, None]).astype(np.int32).ravel()
    without = len(codec.encode(jets[:, ended == 0], real, np.zeros(real.sum(), np.int32)))
    assert 32 * (len(codec.encode(jets, np.full(2_000, 10), ended)) - without) / 20_000 < 0.5


def listed(**kinds: str) -> str:
    """A list of variables in TOML, from the coordinate of each branch."""
    tables = (f'[[variable]]\nbranch = "{name}"\ncoordinate = "{k}"\nprecision = 1e-3\n' for name, k in kinds.items())
    return "".join(tables)


def padded_file(folder: Path, jagged: bool, dtype: str = "<f4", n: int = 1500) -> Path:
    """A file with 30 % jets, three of them exact, and three kinds of padding."""
    jets, rng = random_jets(n), np.random.default_rng(3)
    kind = rng.choice(4, n, p=[0.3, 0.4, 0.2, 0.1])
    found = {}
    for v in FOUR:
        values = jets[v].astype(dtype)
        values[kind == 1], values[kind == 2], values[kind == 3] = -999, 0, np.nan
        values[kind == 2] *= -1 if v == "eta" else 1
        found[f"jet_{v}"] = values
    found["jet_m"][np.flatnonzero(kind == 0)[:3]] = -5
    counts = [0, 5, 1] * (n // 6)
    arrays = {name: ak.unflatten(x, counts) if jagged else ak.Array(x) for name, x in found.items()}
    return write_tree(folder / "in.root", "t", arrays, dict.fromkeys(arrays, "njet") if jagged else {})


@pytest.mark.parametrize("layout", ["floats", "packed"])
@pytest.mark.parametrize("jagged", [True, False])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_padding_is_cheap_and_comes_back_bit_for_bit(layout, jagged, dtype, tmp_path):
    path, small, back = padded_file(tmp_path, jagged, dtype), tmp_path / "small.root", tmp_path / "back.root"
    asked = ("--layout", layout, "--step-size", "10kB")
    report = succeeded("compress", path, small, *asked, "--json").report
    assert report["exact_jets"] == 3 and report["collections"][0]["units"] == "MeV"
    succeeded("verify", path, small)
    succeeded("verify", small)
    succeeded("decompress", small, back)
    before, after = read_tree(path, "t"), read_tree(back, "t")
    there = np.asarray(ak.flatten(before["jet_pt"], axis=None)) > 0
    for v in FOUR:
        x, y = (np.asarray(ak.flatten(events[f"jet_{v}"], axis=None)) for events in (before, after))
        assert y.dtype == x.dtype and y[~there].tobytes() == x[~there].tobytes() and y.tobytes() != x.tobytes()
    with atlasae.open(small) as tree:
        assert bits(tree.arrays(["jet_pt"])["jet_pt"]) == bits(after["jet_pt"])
    with uproot.open(small) as file:
        codec = json.loads(bytes(file["atlasae/runs"]["json"].array()[0]))["collections"][0]["codec"]
    assert len(codec["padding"]) == 3
    if layout == "floats":
        made = codec_of_config(codec, default_model().autoencoder)
        assert made.config()["padding"] == codec["padding"]


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_later_padding_of_other_kinds_is_exact(layout, tmp_path):
    path = padded_file(tmp_path, jagged=False)
    events = {name: ak.to_numpy(x).copy() for name, x in read_tree(path, "t").items()}
    for values in events.values():
        values[-10:] = -1
    write_tree(path, "t", {name: ak.Array(x) for name, x in events.items()})
    succeeded("compress", path, tmp_path / "small.root", "--layout", layout, "--step-size", "2kB", "--quiet")
    succeeded("verify", path, tmp_path / "small.root")


def test_lists_have_padding_too(tmp_path):
    path, toml = padded_file(tmp_path, jagged=False), tmp_path / "list.toml"
    kinds = {"jet_pt": "log", "jet_eta": "linear", "jet_m": "log"}
    toml.write_text(listed(**kinds))
    report = succeeded("compress", path, tmp_path / "small.root", "--variables", toml, "--json").report
    assert report["exact_jets"] == 3
    succeeded("verify", path, tmp_path / "small.root")


def test_files_without_padding_say_nothing_of_it(compressed):
    with uproot.open(compressed) as file:
        assert b"padding" not in bytes(file["atlasae/runs"]["json"].array()[0])
