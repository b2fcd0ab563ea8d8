import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any

import awkward as ak
import numpy as np
import pytest
from conftest import GEV, VARIABLES, bits, jet_columns, largest_errors, make_counts
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.codecs.codec import few_threads
from atlasae.codecs.model import Model, default_model
from atlasae.compression.collection import Compressor
from atlasae.compression.floats import WordsLayout, start_floats
from atlasae.compression.plan import Options
from atlasae.errors import UserError
from atlasae.files.branches import Branch
from atlasae.files.events import flatten
from atlasae.jets.collections import Collection
from atlasae.jets.recognition import resolve_pattern
from atlasae.jets.stored import storage_of
from atlasae.jets.units import settle

BOUND = 1e-3
JAGGED = ("xaod", "nanoaod", "energy", "cartesian")
# Bits of float32 that must be kept exactly: NaNs with payloads (one signalling), infinities, zeros, a subnormal.
NAN, SIGNALLING, MINUS_NAN = 0x7FC00123, 0x7FA00001, 0xFFC00001
INF, MINUS_INF, ZERO, MINUS_ZERO, SUBNORMAL = 0x7F800000, 0xFF800000, 0, 0x80000000, 1


@pytest.fixture(autouse=True)
def on_few_threads() -> Iterator[None]:
    with few_threads():
        yield


@cache
def model() -> Model:
    return default_model()


def collection_of(columns: dict[str, np.ndarray], jagged: bool) -> Collection:
    branches = [Branch(name, a.dtype.str, jagged, "n" if jagged else None) for name, a in columns.items()]
    return resolve_pattern(",".join(columns), branches)


def events_of(columns: dict[str, np.ndarray], counts: np.ndarray | None) -> dict[str, ak.Array]:
    return {name: ak.Array(a) if counts is None else ak.unflatten(a, counts) for name, a in columns.items()}


def start(columns: dict[str, np.ndarray], counts: np.ndarray | None, **how: Any) -> Compressor[WordsLayout]:
    """A compressor chosen by these jets, as `compress` chooses it."""
    options = Options(how.get("precision", str(BOUND)), dither=how.get("dither", True))
    found = collection_of(columns, jagged=counts is not None)
    (settled,) = settle([found], how.get("units"), [list(columns.values())])
    return start_floats(settled, options, model(), events_of(columns, counts))


def round_trip(
    compressor: Compressor[WordsLayout], events: dict[str, ak.Array]
) -> tuple[dict[str, ak.Array], dict[str, ak.Array]]:
    """The stand-ins of the events, and the events restored from these."""
    compressor.add(chunk := compressor.compress(events))
    written = chunk.branches
    _, counts = flatten(written[compressor.collection.latents[0]])
    return written, compressor.layout.restore(written, counts)


def plain(array: ak.Array) -> np.ndarray:
    return np.asarray(ak.to_numpy(ak.flatten(array, axis=None)))


def same_bits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which numbers have the same bits, including NaN payloads and signs of zeros."""
    whole = f"u{one.itemsize}"
    return np.asarray(one.view(whole) == other.view(whole))


def places_of(written: dict[str, ak.Array], collection: Collection, counts: np.ndarray) -> np.ndarray:
    """The indices, among all jets, of the exact jets, according to the exact branches."""
    firsts = np.cumsum(counts) - counts
    index = written[collection.exact["index"]].to_list()
    return np.array([first + i for first, event in zip(firsts, index, strict=True) for i in event], int)


def unit(layout: str) -> float:
    return 1000.0 if layout in GEV else 1.0


def promised_errors(
    layout: str, before: dict[str, Any], after: dict[str, Any], which: np.ndarray | slice = slice(None)
) -> dict[str, float]:
    """The largest errors of the selected jets."""
    names = VARIABLES[layout].items()
    both = [{v: ak.Array(plain(arrays[name])[which]) for v, name in names} for arrays in (before, after)]
    return largest_errors(*both, unit(layout))


# --- round trip


@pytest.mark.parametrize("layout", [*JAGGED, "flat"])
def test_jets_come_back_within_their_bounds_and_type(layout):
    counts = None if layout == "flat" else make_counts(150)
    columns = jet_columns(layout, 300 if counts is None else int(counts.sum()))
    compressor = start(columns, counts)
    events = events_of(columns, counts)
    written, restored = round_trip(compressor, events)
    collection = compressor.collection
    assert list(written) == [*collection.latents, *collection.exact.values()]
    for name in collection.latents:
        assert str(written[name].type) == str(next(iter(events.values())).type)  # float32, with the same lengths
        assert counts is None or ak.num(written[name]).to_list() == counts.tolist()
    assert sorted(restored) == sorted(columns)
    for name, array in events.items():
        assert bits(restored[name])[:3] == bits(array)[:3]  # type, jets per event, dtype
    errors = promised_errors(layout, columns, restored)
    assert {v: e for v, e in errors.items() if not e <= BOUND} == {}
    assert max(errors.values()) > BOUND / 100  # else all would be exact


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_phi_comes_back_in_the_range_it_is_from(dtype):
    columns = {name: column.astype(dtype) for name, column in jet_columns("flat", 400).items()}
    (name,) = [name for name in columns if name.endswith("phi")]
    for at, end in enumerate((-np.pi, np.pi, np.float32(np.pi), np.float32(-np.pi))):
        columns[name][at] = end
    half = round_trip(start(columns, None), events_of(columns, None))[1]
    assert np.abs(plain(half[name])).max() <= np.float32(np.pi)
    columns[name] = (columns[name].astype(np.float64) % (2 * np.pi)).astype(dtype)
    columns[name][4:9] = 0, np.pi, np.float32(np.pi), 2 * np.pi, np.float32(2 * np.pi)
    compressor = start(columns, None)
    full = plain(round_trip(compressor, events_of(columns, None))[1][name])
    assert compressor.collection.full_turn and compressor.exact_jets < 2  # one by its rounding, none for its phi
    assert full.min() >= 0 and np.float32(np.pi) < full.max() < 2 * np.pi
    away = np.abs(full.astype(np.float64) - columns[name])
    assert np.minimum(away, 2 * np.pi - away).max() <= BOUND


def test_jets_outside_of_a_full_turn_are_exact():
    columns = jet_columns("flat", 400)
    (name,) = [name for name in columns if name.endswith("phi")]
    columns[name] = columns[name] % np.float32(2 * np.pi)
    columns[name][:2] = -1e-3, 6.2832
    compressor = start(columns, None)
    back = plain(round_trip(compressor, events_of(columns, None))[1][name])
    assert compressor.exact_jets == 2 and back[:2].tolist() == columns[name][:2].tolist()


ODD = {  # (index of the jet, variable): bits
    (0, "pt"): NAN,
    (3, "m"): SIGNALLING,
    (4, "eta"): MINUS_NAN,
    (7, "phi"): INF,
    (8, "m"): MINUS_INF,
    (12, "pt"): MINUS_ZERO,
    (13, "pt"): ZERO,
    (14, "pt"): np.float32(-5e4).view(np.uint32),
    (20, "phi"): np.float32(3.5).view(np.uint32),
    (21, "eta"): np.float32(-11).view(np.uint32),
    (22, "pt"): np.float32(3e38).view(np.uint32),
    (23, "pt"): SUBNORMAL,
    (39, "m"): np.float32(-3e38).view(np.uint32),
}


@pytest.mark.parametrize("jagged", [True, False])
def test_odd_jets_come_back_bit_for_bit_from_where_they_were(jagged):
    counts = make_counts(25, seed=3) if jagged else None
    n = int(counts.sum()) if counts is not None else 50
    assert n >= 40
    columns = jet_columns("flat", n)
    compressor = start(columns, counts)  # its codec is chosen without odd jets
    for (row, variable), word in ODD.items():
        columns[variable].view(np.uint32)[row] = word
    written, restored = round_trip(compressor, events_of(columns, counts))
    odd = sorted({row for row, _ in ODD})
    rows = places_of(written, compressor.collection, counts if jagged else np.ones(n, int))
    assert rows.tolist() == odd
    for variable, column in columns.items():
        kept = written[compressor.collection.exact[variable]]
        assert plain(kept).tobytes() == column[odd].tobytes()
        assert same_bits(plain(restored[variable]), column)[odd].all()
    ordinary = np.delete(np.arange(n), odd)
    errors = promised_errors("flat", columns, restored, ordinary)
    assert max(errors.values()) <= BOUND
    assert compressor.max_error == pytest.approx(errors, rel=1e-6)
    assert (compressor.jets, compressor.exact_jets) == (n, len(odd))


def words(low: float, high: float) -> st.SearchStrategy[int]:
    return st.floats(low, high, width=32).map(lambda x: int(np.float32(x).view(np.uint32)))


momenta, angles = words(1e3, 1e7), words(-3, 3)
special = st.sampled_from([NAN, SIGNALLING, MINUS_NAN, INF, MINUS_INF, ZERO, MINUS_ZERO, SUBNORMAL])
anything = st.one_of(special, st.integers(0, 2**32 - 1), momenta, angles)
jets = st.one_of(
    st.tuples(momenta, angles, angles, momenta),  # typical jets
    st.tuples(momenta, momenta, momenta, momenta),
    st.tuples(anything, anything, anything, anything),
)
wild_jets = st.lists(st.lists(jets, max_size=4), min_size=1, max_size=8)


@cache
def seasoned(layout: str) -> Compressor[WordsLayout]:
    """A compressor with a codec chosen on typical jets."""
    return start(jet_columns(layout, 500), np.full(100, 5))


@settings(max_examples=50)
@given(wild_jets, st.sampled_from(["xaod", "energy", "cartesian"]))
def test_any_bits_are_kept_within_their_bounds_or_exactly(events, layout):
    counts = np.array([len(event) for event in events])
    table = np.array([jet for event in events for jet in event], np.uint32).reshape(-1, 4).view(np.float32)
    columns = {name: np.ascontiguousarray(table[:, j]) for j, name in enumerate(VARIABLES[layout].values())}
    compressor = dataclasses.replace(seasoned(layout), jets=0, exact_jets=0, max_error={})
    written, restored = round_trip(compressor, events_of(columns, counts))
    exact = np.zeros(len(table), bool)
    exact[places_of(written, compressor.collection, counts)] = True
    assert all(same_bits(plain(restored[name]), column)[exact].all() for name, column in columns.items())
    errors = promised_errors(layout, columns, restored, ~exact)
    assert {v: e for v, e in errors.items() if not e <= 1.0001 * BOUND} == {}  # other formulas than in the package
    assert (compressor.jets, compressor.exact_jets) == (len(table), exact.sum())


def test_a_compressor_adds_up_over_the_chunks():
    columns = jet_columns("flat", 400)
    compressor, whole = start(columns, None), start(columns, None)
    columns["pt"][[5, 300]] = -1
    whole.add(whole.compress(events_of(columns, None)))
    for part in (slice(0, 350), slice(350, 350), slice(350, 400)):
        compressor.add(compressor.compress(events_of({name: column[part] for name, column in columns.items()}, None)))
    assert (compressor.jets, compressor.exact_jets) == (400, 2)
    assert compressor.max_error == pytest.approx(whole.max_error)


def test_every_column_keeps_its_own_dtype():
    columns = jet_columns("flat", 200)
    columns = {name: a.astype(np.float64 if name in ("pt", "m") else np.float32) for name, a in columns.items()}
    columns["m"].view(np.uint64)[7] = 0x7FF0000000ABCDEF  # a signalling NaN with a payload
    compressor = start(columns, None)
    written, restored = round_trip(compressor, events_of(columns, None))
    assert {name: a.dtype for name, a in columns.items()} == {name: plain(a).dtype for name, a in restored.items()}
    assert {name: plain(written[f"exact_{name}"]).dtype for name in columns} == {n: a.dtype for n, a in columns.items()}
    assert same_bits(plain(restored["m"]), columns["m"])[7]


@pytest.mark.parametrize("counts", [np.zeros(0, int), np.zeros(5, int), None])
def test_no_jets_at_all_come_back(counts):
    columns = {name: column[:0] for name, column in jet_columns("flat", 1).items()}
    compressor = start(columns, counts)
    events = events_of(columns, counts)
    written, restored = round_trip(compressor, events)
    assert [name for name in columns if bits(restored[name]) != bits(events[name])] == []
    assert (compressor.jets, compressor.exact_jets) == (0, 0)
    assert {len(array) for array in written.values()} == {0 if counts is None else len(counts)}
    # a later chunk may have jets
    later = jet_columns("flat", 50)
    _, restored = round_trip(compressor, events_of(later, None if counts is None else np.full(10, 5)))
    assert max(promised_errors("flat", later, restored).values()) <= BOUND


def test_events_whose_branches_differ_are_refused():
    columns, counts = jet_columns("flat", 10), np.array([4, 6])
    compressor = start(columns, counts)
    events = events_of(columns, counts) | {"phi": ak.unflatten(columns["phi"], [5, 5])}
    with pytest.raises(UserError, match="'pt' and 'phi' differ in jets per event"):
        compressor.compress(events)


# --- units and storage


@pytest.mark.parametrize(
    ("layout", "scale", "units", "settled"),
    [
        ("flat", 1, None, "MeV"),
        ("flat", 1e-3, None, "GeV"),
        ("flat", 1, "GeV", "GeV"),
        ("flat", 1e-3, "MeV", "MeV"),
        ("nanoaod", 1, None, "GeV"),
        ("nanoaod", 1000, None, "MeV"),
        ("cartesian", 1, None, "GeV"),
        ("cartesian", 1000, None, "MeV"),
        ("xaod", 1, None, "MeV"),
    ],
)
def test_units_are_settled_by_the_jets_unless_they_are_given(layout, scale, units, settled):
    columns = jet_columns(layout, 60)
    angles = [VARIABLES[layout].get(v) for v in ("eta", "phi")]
    columns = {name: a if name in angles else (a * scale).astype(np.float32) for name, a in columns.items()}
    next(iter(columns.values()))[:20] = [np.nan, np.inf, -np.inf, 3e38] * 5  # say nothing about units
    compressor = start(columns, None, units=units)
    assert compressor.collection.units == settled
    assert storage_of(compressor.collection).scale == {"MeV": 1.0, "GeV": 1000.0}[settled]
    assert compressor.collection == collection_of(columns, jagged=False).settled(settled)


@pytest.mark.parametrize("layout", JAGGED)
def test_storage_is_that_of_the_collection(layout):
    columns = jet_columns(layout, 4)
    last = list(columns)[-1]
    columns[last] = columns[last].astype(">f8")
    storage = storage_of(collection_of(columns, jagged=True).settled("GeV"))
    assert storage.layout.variables == tuple(VARIABLES[layout])
    assert storage.dtypes == (np.dtype("<f4"),) * 3 + (np.dtype(">f8"),)
    assert storage.scale == 1000


def test_bounds_are_those_of_the_layout():
    bounds = "pt=1e-2,eta=2e-3,phi=3e-3,m=4e-2,E=1e-2"
    assert start(jet_columns("flat", 50), None, precision=bounds).bounds == {
        "pt": 1e-2, "eta": 2e-3, "phi": 3e-3, "m": 4e-2,
    }  # fmt: skip
    assert start(jet_columns("energy", 50), None, precision=bounds).bounds["E"] == 1e-2
    with pytest.raises(UserError, match="--precision leaves out phi, m"):
        start(jet_columns("flat", 50), None, precision="pt=1e-3,eta=1e-3")


@pytest.mark.parametrize("dither", [True, False])
def test_decoded_values_lie_on_a_comb_only_without_dither(dither):
    rng = np.random.default_rng(0)
    columns = jet_columns("flat", 20_000)
    columns["pt"] = (60e3 * rng.uniform(1, 1.2, 20_000)).astype(np.float32)  # 91 steps
    compressor = start(columns, None, dither=dither)
    _, restored = round_trip(compressor, events_of(columns, None))
    assert max(compressor.max_error.values()) <= BOUND
    assert (len(np.unique(plain(restored["pt"]))) > 10_000) == dither
    moved = np.histogram(plain(restored["pt"]), 60, (60e3, 72e3))[0] - np.histogram(columns["pt"], 60, (60e3, 72e3))[0]
    assert (np.abs(moved).max() < 60) == dither  # of 333 jets in a bin


def test_values_that_come_back_exactly_are_not_shifted():
    """eta in tenths, further apart than two bounds, decode to themselves; pt of ten bits does not and is shifted."""
    columns = jet_columns("flat", 2000)
    columns["eta"] = (np.round(columns["eta"] * 10) / 10).astype(np.float32)
    columns["pt"].view(np.uint32)[:] &= 0xFFFFE000
    compressor = start(columns, None)
    dither = compressor.layout.codec.config()["dither"]
    assert (dither["shifted"], dither["blocks"]) == ((0, 2), (2,))
    _, restored = round_trip(compressor, events_of(columns, None))
    assert np.array_equal(plain(restored["eta"]), columns["eta"])
