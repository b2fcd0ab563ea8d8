"""Peers: every method holds its bound, and takes the bytes that are reported."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pysz
import pytest
import uproot
from conftest import VARIABLES as BRANCHES
from conftest import eight, read_tree, write_layout
from pcodec import standalone

from atlasae.codecs.grid import Grid, jet_words, radices, unpack
from atlasae.jets.variables import FourMomentum
from atlasae.reports import peers
from atlasae.reports.benchmark import read_all_jets
from atlasae.reports.peers import Sample, grid_cells, grid_words, narrow, round_mantissa, round_mantissas, tree_bytes

VARIABLES = ("pt", "eta", "phi", "m")
BOUNDS = (3e-2, 1e-3, 1e-4)
IN_TREES = (
    *("as it is, ZSTD(5)", "as it is, LZMA(9)", "mantissas rounded, ZSTD(5)", "mantissas rounded, LZMA(9)"),
    *("grid in integers, ZSTD(5)", "grid in integers, LZMA(9)"),
)
FLOATS = ("grid in three floats, LZMA(9)", "grid in three floats, our LZMA")
NO_TREES = ("grid, pcodec, no events", "SZ3, no events")
JETS = np.array(
    [
        *([20_000, 0.5, -1.0, 50.0], [1e6, -4.9, 3.1415, 80_000.0], [31_000, 0.0, 0.0, 0.0]),
        *([45_000, 2.0, -3.1415, -700.0], [25_500.5, 1e-6, 1e-7, 99.9], [70_000, -0.3, 2.5, 100.1]),
    ]
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Jets of 100 events, as pt, eta, phi and mass in GeV and float32."""
    return read_all_jets(write_layout(tmp_path_factory.mktemp("peers") / "in.root", "nanoaod", 100), (), None)


@pytest.fixture(scope="module")
def with_energy(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Jets of 100 events, as pt, eta, phi and E in MeV."""
    return read_all_jets(write_layout(tmp_path_factory.mktemp("peers") / "in.root", "energy", 100), (), None)


Recorded = list[tuple[dict[str, np.ndarray], str, bool, int]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The columns of every tree written, its compression, and whether it is that of latents."""
    found: Recorded = []

    def recording(sample: Sample, columns: Mapping[str, Any], compression: str, words: bool, *rest: Any) -> int:
        size = tree_bytes(sample, columns, compression, words, *rest)
        found.append((dict(columns), compression, words, size))
        return size

    monkeypatch.setattr(peers, "tree_bytes", recording)
    return found


def errors(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The largest error of each variable, relative where its bound is."""
    scale = np.stack([before[:, 0], np.ones(len(before)), np.ones(len(before)), np.maximum(np.abs(before[:, 3]), 100)])
    difference = after - before
    difference[:, 2] = (difference[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return np.abs(difference / scale.T).max(axis=0)


def from_cells(cells: Mapping[str, np.ndarray], bound: float) -> np.ndarray:
    """The jets at the centres of grid cells, by hand."""
    relative, absolute = 2 * np.log1p(bound), 2 * bound
    size = np.abs(cells["m"] * relative)
    m = np.sign(cells["m"]) * np.where(size < 1, 100 * size, 100 * np.exp(size - 1))
    return np.stack([np.exp(cells["pt"] * relative), cells["eta"] * absolute, cells["phi"] * absolute, m], axis=1)


def from_coordinates(y: np.ndarray) -> np.ndarray:
    """log pt, eta, phi, mu to jets, by hand."""
    size = np.abs(y[:, 3])
    m = np.sign(y[:, 3]) * np.where(size < 1, 100 * size, 100 * np.exp(size - 1))
    return np.stack([np.exp(y[:, 0]), y[:, 1], y[:, 2], m], axis=1)


def as_table(columns: Mapping[str, np.ndarray], unit: float) -> np.ndarray:
    """Columns pt, eta, phi, m to jets in MeV."""
    return np.stack([columns[v].astype(float) * (unit if v in ("pt", "m") else 1) for v in VARIABLES], axis=1)


# --- mantissas


@pytest.mark.parametrize(
    ("value", "bits", "expected"),
    [
        (1.0, 1, 1.0),
        (1.3, 1, 1.5),
        (1.25, 1, 1.0),  # ties to even
        (1.75, 1, 2.0),
        (-1.75, 1, -2.0),
        (3.14159, 2, 3.0),
        (3.14159, 3, 3.25),
        (3.3, 2, 3.5),
        (-100.7, 4, -100.0),
        (1000.0, 23, 1000.0),
        (0.0, 1, 0.0),
    ],
)
def test_a_mantissa_is_rounded_by_hand(value, bits, expected):
    found = round_mantissa(np.array([value], np.float32), bits)
    assert found.dtype == np.float32 and found.tolist() == [np.float32(expected)]


@pytest.mark.parametrize("bits", [1, 2, 7, 22, 23])
def test_a_rounded_mantissa_has_no_more_bits_and_is_the_nearest(bits):
    values = np.random.default_rng(1).normal(0, 1000, 500).astype(np.float32)
    found = round_mantissa(values, bits)
    assert not (found.view(np.uint32) & ((1 << (23 - bits)) - 1)).any()
    spacing = np.spacing(np.abs(values)).astype(float) * 2 ** (23 - bits)
    assert (np.abs(found.astype(float) - values) <= spacing / 2).all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_rounded_mantissas_hold_the_bound_and_are_the_shortest_that_do(bound, sample):
    rounded = round_mantissas(sample, bound)
    assert (errors(sample.jets, as_table(rounded, 1000)) <= bound).all()
    for i, (variable, column) in enumerate(zip(VARIABLES, sample.columns, strict=True)):
        used = next(b for b in range(1, 24) if np.array_equal(round_mantissa(column, b), rounded[variable]))
        shorter = dict(zip(VARIABLES, sample.columns, strict=True)) | {variable: round_mantissa(column, used - 1)}
        assert used > 1 and errors(sample.jets, as_table(shorter, 1000))[i] > bound


# --- the grid


def test_cells_by_hand():
    step = 2 * np.log(1.01)
    cells = grid_cells(JETS, 0.01)
    assert cells["pt"].tolist() == [round(np.log(pt) / step) for pt in JETS[:, 0]]
    assert cells["eta"].tolist() == [25, -245, 0, 100, 0, -15]
    assert cells["phi"].tolist() == [-50, 157, 0, -157, 0, 125]
    assert cells["m"][:3].tolist() == [round(0.5 / step), round((1 + np.log(800)) / step), 0]
    assert cells["m"][3:].tolist() == [-round((1 + np.log(7)) / step), round(0.999 / step), round(1.001 / step)]
    assert {q.dtype for q in cells.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("bound", [0.3, *BOUNDS, 1e-6])
def test_a_grid_holds_its_bound(bound, sample):
    for jets in (JETS, sample.jets):
        found = errors(jets, from_cells(grid_cells(jets, bound), bound))
        assert (found <= bound * (1 + 1e-9)).all()
    assert (found > 0.5 * bound).all()  # and is no finer than it has to be


def test_a_grid_that_does_not_hold_its_bound_is_told(monkeypatch):
    with pytest.raises(ValueError, match="the grid does not hold 1e-17"):
        grid_cells(JETS, 1e-17)  # beyond what float64 can tell
    monkeypatch.setattr(FourMomentum, "from_coordinates", lambda self, y: from_coordinates(y) * 1.02)
    with pytest.raises(ValueError, match=r"the grid does not hold 0\.01"):
        grid_cells(JETS, 0.01)


@pytest.mark.parametrize(
    ("cells", "dtype"), [([5, 6, 260], "u1"), ([-3, 0, 253], "u2"), ([7, 7], "u1"), ([0, 65536], "u4")]
)
def test_narrow_integers_begin_at_zero(cells, dtype):
    found = narrow(np.array(cells, np.int64))
    assert found.dtype == np.dtype(dtype) and found.tolist() == [cell - min(cells) for cell in cells]


@pytest.mark.parametrize("bound", BOUNDS)
def test_three_floats_hold_the_cells(bound, sample):
    cells = grid_cells(sample.jets, bound)
    words = grid_words(cells)
    assert list(words) == ["z0", "z1", "z2"] and {z.dtype for z in words.values()} == {np.dtype(np.float32)}
    assert all(((z >= 1) & (z < 2)).all() for z in words.values())
    levels = [int(np.ptp(q)) + 1 for q in cells.values()]
    grid = Grid(0.0, (1.0,) * 4, (0,) * 4, tuple(levels), jet_words(levels, radices(levels)))
    back = unpack(np.stack(list(words.values()), axis=1), grid)
    assert [q.tolist() for q in back] == [(q - q.min()).tolist() for q in cells.values()]


def test_what_fits_no_three_floats_is_left_out(sample, recorded, tmp_path):
    assert grid_words(grid_cells(sample.jets, 1e-7)) is None
    found = peers.peers(sample, 1e-7, tmp_path)
    assert set(found) == {*IN_TREES, *NO_TREES}


# --- bytes


def algorithm(path: Path, branch: Any) -> bytes:
    """The first bytes of a branch's first compressed block."""
    start = int(branch.member("fBasketSeek")[0])
    content = path.read_bytes()
    return content[start + int.from_bytes(content[start + 14 : start + 16]) :][:2]


@pytest.mark.parametrize(("compression", "words"), [("zstd:5", False), ("lzma:9", False), ("lzma:9", True)])
def test_bytes_of_a_tree_are_those_that_uproot_counts(compression, words, sample, tmp_path):
    kind = {"zstd": b"ZS", "lzma": b"XZ"}[compression[:4]]
    columns = {f"z{i}": column for i, column in enumerate(sample.columns[:3])}
    size = tree_bytes(sample, columns, compression, words, tmp_path / "peer.root")
    with uproot.open(tmp_path / "peer.root") as file:
        tree = file["t"]
        assert sorted(tree.keys()) == ["njets", "z0", "z1", "z2"]
        assert size == sum(tree[name].compressed_bytes for name in columns) > 0
        assert {algorithm(tmp_path / "peer.root", tree[name]) for name in columns} == {kind}
        for name, column in columns.items():
            array = tree[name].array()
            assert ak.flatten(array).to_list() == column.tolist()
            assert ak.num(array).to_list() == sample.counts.tolist()


@pytest.mark.parametrize("bound", BOUNDS)
def test_every_peer_in_a_tree_holds_its_bound(bound, sample, recorded, tmp_path):
    found = peers.peers(sample, bound, tmp_path)
    trees = dict(zip((*IN_TREES, *FLOATS), recorded, strict=True))
    n, cells = len(sample.jets), grid_cells(sample.jets, bound)
    lowest = {v: q.min() for v, q in (cells | {"m": cells["m"] - cells["pt"]}).items()}
    for name, (columns, compression, words, size) in trees.items():
        assert found[name] == size / n and compression == ("zstd:5" if "ZSTD" in name else "lzma:9"), name
        assert words == ("our" in name), name
        if "as it is" in name:
            assert [column.tolist() for column in columns.values()] == [column.tolist() for column in sample.columns]
        elif "mantissas" in name:
            assert (errors(sample.jets, as_table(columns, 1000)) <= bound).all(), name
        elif "integers" in name:
            back = {v: columns[v].astype(np.int64) + lowest[v] for v in VARIABLES}
            back["m"] += back["pt"]
            assert (errors(sample.jets, from_cells(back, bound)) <= bound * (1 + 1e-9)).all(), name
        else:
            assert list(columns) == ["z0", "z1", "z2"], name


@pytest.mark.parametrize("bound", BOUNDS)
def test_pcodec_gives_the_cells_back_and_is_counted(bound, sample, monkeypatch):
    cells = grid_cells(sample.jets, bound)
    over = cells | {"m": cells["m"] - cells["pt"]}
    packed: list[bytes] = []
    compress = standalone.simple_compress
    monkeypatch.setattr(standalone, "simple_compress", lambda q, c: packed.append(compress(q, c)) or packed[-1])
    candidates = [{v: narrow(q) for v, q in grid.items()} for grid in (cells, over)]
    size = peers.pcodec_bytes(*candidates)
    assert size == min(sum(map(len, packed[:4])), sum(map(len, packed[4:]))) and len(packed) == 8
    back = [standalone.simple_decompress(content).tolist() for content in packed]
    assert back == [q.tolist() for grid in candidates for q in grid.values()]


@pytest.mark.parametrize("bound", BOUNDS)
def test_sz3_holds_its_bound_and_is_counted(bound, sample, monkeypatch):
    packed: list[np.ndarray] = []
    compress, decompress = pysz.sz.compress, pysz.sz.decompress

    class Recording:
        @staticmethod
        def compress(values: np.ndarray, config: Any) -> tuple[np.ndarray, float]:
            found = compress(values, config)
            packed.append(found[0].copy())
            return found

    monkeypatch.setattr(pysz, "sz", Recording)
    size = peers.sz3_bytes(sample.jets, bound)
    sizes = [min(map(len, packed[i : i + 3])) for i in range(0, 12, 3)]
    assert size == sum(sizes) and len(packed) == 12
    for algorithm in range(3):
        chosen = packed[algorithm::3]
        columns = [decompress(content, np.float32, (len(sample.jets),))[0] for content in chosen]
        found = errors(sample.jets, from_coordinates(np.stack(columns, axis=1).astype(float)))
        assert (found <= bound * (1 + 1e-3)).all(), found  # float32 coordinates


@pytest.mark.parametrize(("package", "lost"), [("pcodec", "grid, pcodec, no events"), ("pysz", "SZ3, no events")])
def test_a_peer_whose_package_is_missing_is_left_out(package, lost, sample, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)  # importing it is an error now
    found = peers.peers(sample, 1e-2, tmp_path)
    assert set(found) == {*IN_TREES, *FLOATS, *NO_TREES} - {lost}


def test_three_floats_keep_masses_below_0_bit_for_bit(sample, tmp_path):
    columns = [*sample.columns[:3], sample.columns[3].copy()]
    columns[3][::7] *= -1
    without = peers.peers(sample, 1e-2, tmp_path)
    with uproot.open(tmp_path / "peer.root") as file:
        assert ak.sum(ak.num(file["t"][sample.collection.exact["m"]].array())) == 0
    found = peers.peers(Sample(sample.collection, columns, sample.counts), 1e-2, tmp_path)
    with uproot.open(tmp_path / "peer.root") as file:
        kept = file["t"][sample.collection.exact["m"]].array()
    assert ak.flatten(kept).to_list() == columns[3][::7].tolist()
    assert all(found[name] > without[name] + 16 * len(columns[3][::7]) / len(columns[3]) for name in FLOATS)


def test_looser_bounds_take_fewer_bytes(sample, tmp_path):
    tight, loose = (peers.peers(sample, bound, tmp_path) for bound in (1e-4, 1e-2))
    assert set(tight) == set(loose) == {*IN_TREES, *FLOATS, *NO_TREES}
    for name in tight:
        assert loose[name] == tight[name] if "as it is" in name else 0 < loose[name] < tight[name], name


# --- jets


def test_jets_with_energy_are_taken_as_pt_eta_phi_m(with_energy, tmp_path):
    stored = {v: a.tolist() for v, a in zip(["pt", "eta", "phi", "E"], with_energy.columns, strict=True)}
    taken = with_energy.as_jets()
    assert taken.collection.variables == VARIABLES and taken.collection.units == "MeV"
    assert {column.dtype for column in taken.columns} == {np.dtype(np.float32)}
    pt, eta, _, energy = (np.array(stored[v]) for v in stored)
    square = energy**2 - (pt * np.cosh(eta)) ** 2
    assert taken.jets[:, :3] == pytest.approx(np.array([stored[v] for v in ("pt", "eta", "phi")]).T, rel=1e-6)
    assert taken.jets[:, 3] == pytest.approx(np.sign(square) * np.sqrt(np.abs(square)), rel=1e-6, abs=1e-3)
    assert taken.counts is with_energy.counts


def test_every_peer_of_jets_with_energy_holds_its_bound(with_energy, recorded, tmp_path):
    peers.peers(with_energy, 1e-2, tmp_path)
    columns = {name: tree[0] for name, tree in zip((*IN_TREES, *FLOATS), recorded, strict=True)}
    assert {name: list(found) for name, found in columns.items() if "as it is" in name} == {
        name: ["pt", "eta", "phi", "E"] for name in IN_TREES[:2]
    }
    assert columns["as it is, ZSTD(5)"]["E"] is with_energy.columns[3]
    rounded = columns["mantissas rounded, LZMA(9)"]
    assert list(rounded) == list(columns["grid in integers, LZMA(9)"]) == list(VARIABLES)
    assert (errors(with_energy.as_jets().jets, as_table(rounded, 1)) <= 1e-2).all()


def test_jets_that_are_stored_so_stay_as_they_are(sample):
    assert sample.as_jets() is sample


def test_jets_are_those_of_the_file(tmp_path):
    path = write_layout(tmp_path / "in.root", "cartesian", 30)
    branches = read_tree(path, "events")
    expected = eight({v: branches[name] for v, name in BRANCHES["cartesian"].items()}, 1000)
    found = read_all_jets(path, (), None).jets
    assert found[:, :3] == pytest.approx(np.stack([expected[v] for v in ("pt", "eta", "phi")], axis=1), rel=1e-6)


def test_jets_without_coordinates_leave_their_events(sample):
    columns = [column.copy() for column in sample.columns]
    first = np.flatnonzero(sample.counts)[0]
    columns[0][0] = -1
    odd = replace(sample, columns=columns).with_coordinates()
    assert len(odd.jets) == len(sample.jets) - 1
    assert (sample.counts - odd.counts).tolist() == [int(i == first) for i in range(100)]
    assert odd.columns[3].tolist() == sample.columns[3][1:].tolist()
