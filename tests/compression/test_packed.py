"""Collections as one branch of bytes: jets are within bounds or exact, and invalid bytes are refused."""

import zlib
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import bits, random_jets, read_tree, succeeded, write_layout, write_tree
from helpers import merge
from hypothesis import given, settings
from hypothesis import strategies as st

import atlasae
from atlasae.codecs.columns import ListCodec
from atlasae.codecs.priors import default_priors
from atlasae.compression import packed
from atlasae.compression.collection import Compressor
from atlasae.compression.format import FORMAT, NEWEST, read_contents
from atlasae.compression.packed import (
    ListedLayout,
    PackedLayout,
    chunk_key,
    coder_of,
    pack_chunk,
    packed_codec_of,
    start_packed,
    unpack_chunk,
)
from atlasae.compression.plan import Options
from atlasae.errors import UserError
from atlasae.files.trees import open_source
from atlasae.jets.collections import Collection
from atlasae.jets.stored import storage_of
from atlasae.jets.variables import Variable, VariableList

PT_M = ("pt", "eta", "phi", "m")
COUNTS = np.array([0, 3, 1, 0, 6, 2])


def collection(dtype: str = "<f4", jagged: bool = True) -> Collection:
    branches = {v: f"jet_{v}" for v in PT_M}
    return Collection("jet", "jet_", branches, dict.fromkeys(PT_M, dtype), jagged, units="MeV", packed=True)


def events(dtype: str = "<f4", odd: dict[tuple[str, int], float] | None = None) -> dict[str, ak.Array]:
    jets = {v: x.astype(dtype) for v, x in random_jets(int(COUNTS.sum())).items()}
    for (variable, i), value in (odd or {}).items():
        jets[variable][i] = value
    return {f"jet_{v}": ak.unflatten(jets[v], COUNTS) for v in PT_M}


def compressor(dtype: str = "<f4", precision: str = "1e-3", context: bool = True) -> Compressor[PackedLayout]:
    options = Options(precision, packed=True, context=context)
    return start_packed(collection(dtype), options, default_priors(), events(dtype))


def flat(found: dict[str, ak.Array]) -> dict[str, np.ndarray]:
    return {name: ak.to_numpy(ak.flatten(array)) for name, array in found.items()}


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("context", [True, False])
def test_jets_come_back_within_the_bounds_or_bit_for_bit(dtype, context):
    odd = {("pt", 0): np.nan, ("m", 4): -5.0, ("eta", 5): 10.5, ("phi", 6): 4.0, ("pt", 11): 0.0, ("m", 2): 3e37}
    before, one = events(dtype, odd), compressor(dtype, context=context)
    one.add(chunk := one.compress(before))
    written = chunk.branches
    assert list(written) == ["jet_packed"] and ak.num(written["jet_packed"])[1:].to_list() == [0] * 5
    after = one.layout.restore(written, COUNTS)
    exact = np.zeros(12, bool)
    exact[[i for _, i in odd]] = True
    assert (one.jets, one.exact_jets) == (12, 6) and max(one.max_error.values()) <= 1e-3
    for name, values in flat(before).items():
        found = flat(after)[name]
        assert found.dtype == values.dtype and ak.num(after[name]).to_list() == COUNTS.tolist()
        assert found[exact].tobytes() == values[exact].tobytes()
        scale = np.abs(values) if name in ("jet_pt", "jet_m") else 1.0
        assert (np.abs(found - values)[~exact] <= (1e-3 * scale * np.ones(12))[~exact]).all()


def test_events_without_jets_and_no_events_come_back():
    one, none = compressor(), {name: array[:0] for name, array in events().items()}
    assert len(one.layout.restore(one.compress(none).branches, COUNTS[:0])["jet_pt"]) == 0
    empty = {name: array[:1] for name, array in events().items()}
    back = one.layout.restore(one.compress(empty).branches, COUNTS[:1])
    assert back["jet_m"].to_list() == [[]]


@pytest.mark.parametrize("precision", ["full", "none", "1e-6", "pt=1e-3,eta=1e-3,phi=1e-7,m=1e-3"])
def test_what_packs_nothing_is_told(precision):
    with pytest.raises(UserError, match="--layout packed keeps a bound: give --precision a number of 1e-05 or more"):
        compressor(precision=precision)


def test_more_jets_than_are_read_back_are_not_packed(monkeypatch):
    monkeypatch.setattr(packed, "MOST_JETS", 11)
    with pytest.raises(UserError, match="12 jets in a chunk, 11 at most: give a smaller --step-size"):
        compressor().compress(events())


def test_the_codec_comes_back_from_what_it_says():
    one = compressor(context=False).layout.codec
    assert packed_codec_of(one.config(), default_priors()) == one


@pytest.mark.parametrize(
    "changed",
    [{"steps": [1e-3] * 3}, {"steps": ["1"] * 4}, {"steps": [0.0] * 4}, {"steps": [float("nan")] * 4}, {"context": 1},
     {"steps": None}, {"steps": [True] * 4}, {"steps": [1.1e-8, 1e-3, 1e-3, 1e-3]},
     {"shifted": [True] * 3}, {"shifted": [1] * 4}, {"shifted": None}],
)  # fmt: skip
def test_what_is_no_codec_is_refused(changed):
    with pytest.raises((ValueError, TypeError)):
        packed_codec_of(compressor().layout.codec.config() | changed, default_priors())


def packed_bytes() -> tuple[Compressor[PackedLayout], bytes, np.ndarray]:
    one = compressor()
    content = one.compress(events(odd={("pt", 0): np.nan, ("m", 7): -1.0})).branches["jet_packed"]
    return one, ak.to_numpy(content[0]).tobytes(), COUNTS


def forged(number: int, kept: bytes, words: bytes = b"", key: int = 5) -> bytes:
    return np.array([number, len(kept), key], "<u4").tobytes() + kept + words


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        forged(0, b"", b"abc"),
        forged(2, b"no zlib"),
        forged(2, zlib.compress(b"\0" * 39)),
        forged(2, zlib.compress(b"\0" * 40)),  # the same jet twice
        forged(1, zlib.compress(b"\xff" * 20)),  # an index beyond the last jet
        forged(2**31, zlib.compress(b"\0" * 10_000_000)),
        forged(0, b"", b"\1\0\0\0\0\0\0\0"),  # words never end in zero
    ],
    ids=range(10),
)
def test_other_bytes_are_refused(content):
    one = compressor()
    with pytest.raises((ValueError, zlib.error)):
        unpack_chunk(one.layout.codec, storage_of(one.collection), content, COUNTS)


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_changed_byte_is_some_jets_or_refused(position, change):
    one, content, counts = packed_bytes()
    spoiled = bytearray(content)
    spoiled[position % len(content)] ^= change
    try:
        columns = unpack_chunk(one.layout.codec, storage_of(one.collection), bytes(spoiled), counts)
    except (ValueError, zlib.error):
        return
    assert [len(column) for column in columns] == [12] * 4


def test_jets_alike_differ_when_decoded_unless_the_grid_is_not_shifted():
    alike = {
        name: ak.unflatten(np.full(12, value, "<f4"), COUNTS)
        for name, value in zip(events(), (5e4, 1, 2, 5e3), strict=True)
    }
    for dither in (True, False):
        options = Options(1e-3, packed=True, dither=dither)
        one = start_packed(collection(), options, default_priors(), events())
        assert one.layout.codec.lattice.shifted == (dither,) * 4
        found = flat(one.layout.restore(one.compress(alike).branches, COUNTS))
        assert [len(np.unique(values)) for values in found.values()] == [12 if dither else 1] * 4


def test_chunks_have_keys_of_their_own():
    columns = [np.arange(12, dtype="<f4")] * 4
    assert 0 <= chunk_key(columns) == chunk_key([column.copy() for column in columns]) < 2**31
    assert chunk_key([column + 1 for column in columns]) != chunk_key(columns)


def test_packing_is_undone():
    one, cells = compressor(), np.stack([np.arange(12, dtype=np.int32) + 1000] * 4)
    cells[3] += 9000
    columns = [np.arange(12, dtype="<f4") + i for i in range(4)]
    exact = np.zeros(12, bool)
    exact[[3, 11]] = True
    found = unpack_chunk(
        one.layout.codec,
        storage_of(one.collection),
        pack_chunk(one.layout.codec, cells[:, ~exact], exact, COUNTS, columns, key=7),
        COUNTS,
    )
    decoded = coder_of(one.layout.codec.lattice, 7, np.arange(12)).decode(cells.T)
    for column, expected, jets in zip(found, columns, decoded.T, strict=True):
        assert column[exact].tolist() == expected[exact].tolist()
        assert np.allclose(column[~exact], jets[~exact], rtol=1e-6)


# --- lists of variables

LIST = """
[[variable]]
branch = "x_log"
coordinate = "log"
precision = 1e-3
[[variable]]
branch = "x_linear"
coordinate = "linear"
precision = 1e-2
[[variable]]
branch = "x_angle"
coordinate = "angle"
precision = 1e-3
[[variable]]
branch = "x_asinh"
coordinate = "asinh"
scale = 10
precision = 1e-3
[[variable]]
branch = "x_integer"
coordinate = "integer"
[[variable]]
branch = "x_flag"
coordinate = "categorical"
"""
LISTED = ("--layout", "packed", "--variables")


def write_list(folder: Path, name: str = "in.root", seed: int = 1, jagged: bool = True) -> Path:
    """A file with a list of variables, some of which have no coordinate, and the list beside it."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, 300) if jagged else np.ones(300, int)
    n = int(counts.sum())
    size = rng.exponential(50, n).astype("f4") + 1
    columns = {
        "x_log": size, "x_linear": rng.normal(0, 5, n), "x_angle": rng.uniform(-np.pi, np.pi, n).astype("f4"),
        "x_asinh": rng.normal(0, 100, n).astype("f4"), "x_integer": (size // 7).astype("i2"),
        "x_flag": rng.choice([-1, 0, 5], n).astype("f4"), "x_other": np.arange(n),
    }  # fmt: skip
    columns["x_log"][3], columns["x_linear"][7], columns["x_asinh"][9] = -999, np.nan, np.inf
    columns["x_linear"][11], columns["x_angle"][5] = 1e300, np.float32(np.pi)
    (folder / "list.toml").write_text(LIST)
    branches = {name: ak.unflatten(x, counts) if jagged else ak.Array(x) for name, x in columns.items()}
    return write_tree(folder / name, "Events", branches, dict.fromkeys(columns, "nx") if jagged else {})


@pytest.mark.parametrize("jagged", [True, False])
@pytest.mark.parametrize("dither", [True, False])
def test_lists_come_back_within_their_bounds_or_bit_for_bit(jagged, dither, tmp_path):
    path, out, back = write_list(tmp_path, jagged=jagged), tmp_path / "out.root", tmp_path / "back.root"
    more = [] if dither else ["--no-dither"]
    report = succeeded("compress", path, out, *LISTED, tmp_path / "list.toml", *more, "--json").report
    (listed,) = report["collections"]
    assert 4 <= listed["exact_jets"] <= 8 and listed["bytes_per_jet"] < 20
    with uproot.open(out) as file:
        assert "x_packed" in file["Events"] and "x_other" in file["Events"] and "x_log" not in file["Events"]
    succeeded("verify", path, out)
    succeeded("decompress", out, back)
    before, after = read_tree(path, "Events"), read_tree(back, "Events")
    assert list(before) == list(after)
    assert {name for name in before if bits(before[name]) != bits(after[name])} == {
        "x_log", "x_linear", "x_angle", "x_asinh",
    }  # fmt: skip
    x, y = (ak.to_numpy(ak.flatten(array["x_log"], axis=None)) for array in (before, after))
    assert 5e-4 < np.abs(y[x > 0] / x[x > 0] - 1).max() <= 1e-3
    page = succeeded("info", out).out
    assert "none is needed" in page and "x_asinh" in page


def test_only_lists_that_are_packed_are_of_the_newest_format(tmp_path):
    path = write_list(tmp_path)
    for name, more in {"list": (*LISTED, tmp_path / "list.toml"), "jets": ()}.items():
        source = path if name == "list" else write_layout(tmp_path / "jets.root", "nanoaod")
        succeeded("compress", source, tmp_path / f"{name}_.root", *more)
    found = []
    for name in ("list", "jets"):
        with open_source(tmp_path / f"{name}_.root") as source:
            found.append(read_contents(source).runs[0].format)
    assert found == [NEWEST, FORMAT]


def test_a_variable_of_a_list_is_decoded_with_those_that_tell_of_it_alone(tmp_path, monkeypatch):
    path, out = write_list(tmp_path), tmp_path / "out.root"
    succeeded("compress", path, out, *LISTED, tmp_path / "list.toml")
    asked = []
    decode = ListCodec.decode
    monkeypatch.setattr(
        ListCodec, "decode", lambda self, content, counts, wanted=None: asked.append(self.columns.needed(wanted))
        or decode(self, content, counts, wanted)
    )  # fmt: skip
    with atlasae.open(out) as tree:
        integers = tree["x_integer"].array()
    assert bits(integers) == bits(read_tree(path, "Events")["x_integer"])
    assert len(asked) == 1 and 1 <= len(asked[0]) < 6


def test_packed_lists_of_several_files_merge(tmp_path):
    parts = [write_list(tmp_path, f"{seed}.root", seed) for seed in (1, 2)]
    small = [path.with_suffix(".small.root") for path in parts]
    for path, one in zip(parts, small, strict=True):
        succeeded("compress", path, one, *LISTED, tmp_path / "list.toml", "--only-jets")
    merge(tmp_path / "merged.root", *small)
    succeeded("decompress", tmp_path / "merged.root", tmp_path / "back.root")
    before = [read_tree(path, "Events")["x_integer"] for path in parts]
    assert bits(read_tree(tmp_path / "back.root", "Events")["x_integer"]) == bits(ak.concatenate(before))


@settings(max_examples=40)
@given(st.data())
def test_changed_bytes_of_a_list_are_refused_or_give_as_many_rows(data):
    layout, content, counts = packed_list()
    spoiled = bytearray(content)
    spoiled[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    branch = ak.Array([np.frombuffer(bytes(spoiled), np.uint8), *[np.empty(0, np.uint8)] * (len(counts) - 1)])
    try:
        found = layout.restore({"x_packed": branch}, counts)
    except (ValueError, MemoryError, OverflowError):
        return
    assert {len(ak.flatten(array)) for array in found.values()} == {int(counts.sum())}


@cache
def packed_list() -> tuple[ListedLayout, bytes, np.ndarray]:
    """The layout of a list, the bytes of a chunk, and its counts."""
    variables = VariableList((Variable("x_a", "log", 1e-2), Variable("x_b", "angle", 1e-2), Variable("x_c", "integer")))
    types = {"x_a": "<f4", "x_b": "<f8", "x_c": "<i4"}
    names = {name: name for name in types}
    rows = Collection("x", "x_", names, types, True, units="", packed=True, terms=variables.to_json())
    rng, counts = np.random.default_rng(1), np.array([0, 3, 200, 4])
    columns = {"x_a": rng.exponential(1, 207).astype("f4"), "x_b": rng.random(207), "x_c": rng.integers(0, 9, 207)}
    columns["x_a"][0] = -1
    sample = {name: ak.unflatten(x.astype(types[name]), counts) for name, x in columns.items()}
    (one,) = ListedLayout.start(SimpleNamespace(collections=[rows]), Options(packed=True), sample, 4).compressors
    return one.layout, packed._bytes(one.compress(sample).branches["x_packed"]), counts
