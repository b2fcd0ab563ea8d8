import copy
import math
from contextlib import ExitStack
from functools import lru_cache

import numpy as np
import pytest
import torch
from codec_contract import GOLDEN, check_config, check_old_file, check_round_trip, check_smooth
from conftest import digits_of, jet_errors, jet_grid, network_by_hand, random_jets
from helpers import DOUBLE, P_E, P_M, PT_E, PT_M, SINGLE, storage, stored, table, uniform_codec
from hypothesis import given, settings
from hypothesis import strategies as st

import atlasae.jets.stored
from atlasae.codecs import codec as codec_module
from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder, BottleneckCodec
from atlasae.codecs.codec import Encoded, encode_and_compare, encode_within, few_threads, restore
from atlasae.codecs.floats import FloatsCodec, codec_of_config
from atlasae.codecs.lattice import Lattice
from atlasae.codecs.model import default_model
from atlasae.codecs.search import choose_codec, fit_grid
from atlasae.errors import UserError
from atlasae.jets.coordinates import inner
from atlasae.jets.precision import Precision
from atlasae.jets.stored import Storage
from atlasae.jets.variables import JET, VariableList

pytestmark = pytest.mark.usefixtures("one_torch_thread")

MODEL = default_model()
ODD = [  # in the support, but far from the training jets
    (600, 5.9, math.pi, 0), (1e7, -5.9, -math.pi, -0.0), (2e4, 0, 0, -99), (2e4, 1, -1, 100), (5e6, 0, 3, 1e-3),
]  # fmt: skip


def size(encoded: Encoded, kept: Storage) -> int:
    """Bits of latents with equally likely cells, plus those of exact jets."""
    distinct = [1 + len(np.unique(column)) for column in encoded.latents.T]
    return int(len(encoded.latents) * sum(map(math.log2, distinct)) / 8) + 24 * int(encoded.exact.sum())


def found_errors(kept: Storage, before: list[np.ndarray], after: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The error of every jet in each variable, including that of m from E if E is stored as float64."""
    pairs = [dict(zip(kept.layout.variables, columns, strict=True)) for columns in (before, after)]
    found = jet_errors(*pairs, kept.scale)
    if kept.layout.has_energy and kept.dtypes[3] == DOUBLE:
        found["m"] = jet_errors(*[with_mass(columns) for columns in pairs], kept.scale)["m"]
    return found


def with_mass(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    wide = {v: array.astype(np.longdouble) for v, array in columns.items()}
    pt = wide["pt"] if "pt" in wide else np.hypot(wide["px"], wide["py"])
    pz = wide["pz"] if "pz" in wide else pt * np.sinh(wide["eta"])
    square = wide["E"] ** 2 - pt**2 - pz**2
    mass = (np.sign(square) * np.sqrt(np.abs(square))).astype(np.float64)
    return {v: array for v, array in columns.items() if v != "E"} | {"m": mass}


def check_within(codec: FloatsCodec, kept: Storage, columns: list[np.ndarray], bounds: dict[str, float]) -> float:
    """Check that every jet that is not exact is within its bounds; returns the share of exact jets."""
    encoded = encode_within(codec, kept, bounds, columns)
    within = ~encoded.exact
    found = found_errors(kept, columns, restore(codec, kept, encoded.latents.T))
    worst = {v: float(error[within].max(initial=0)) for v, error in found.items() if v in bounds}
    assert {v: error for v, error in worst.items() if not error <= bounds[v] * (1 + 1e-9)} == {}
    # A small m from E has lost digits by cancellation: its sixth digit depends on the arithmetic.
    assert {v: encoded.largest[v] for v in worst} == pytest.approx(worst, rel=1e-4, abs=1e-7)
    return float(encoded.exact.mean())


@lru_cache
def codecs(name: str) -> FloatsCodec:
    if name == "uniform":
        return uniform_codec(1e-3)
    if name == "tempered":
        even = jet_grid(1 / 3, (2.0**16,) * 4, (0,) * 4, (2**16,) * 4, (64, 32, 32))
        return FloatsCodec(MODEL.autoencoder, even)
    kept = storage(PT_M)
    return choose_codec(MODEL.autoencoder, kept, Precision.parse(name), stored(random_jets(3000), kept), size)


# --- the contract

HALF, ANGLE = math.expm1(0.5e-3 + 1e-12), 0.5e-3 + 1e-12  # half of a step of 1e-3: relative error, absolute error
CONTRACT = [
    ("uniform", np.concatenate([table(1000), ODD]), {"pt": HALF, "eta": ANGLE, "phi": ANGLE, "m": HALF}),
    ("tempered", table(1000), dict.fromkeys(PT_M, 1e-3)),
    ("1e-2", table(3000), dict.fromkeys(PT_M, 1e-2)),
    ("full", table(3000), dict.fromkeys(PT_M, 1e-3)),
]


@pytest.mark.parametrize(("name", "jets", "bounds"), CONTRACT, ids=[case[0] for case in CONTRACT])
def test_jets_come_back_within_their_bounds(name, jets, bounds):
    check_round_trip(codecs(name), jets, bounds, shifted=name == "1e-2")


@pytest.mark.parametrize("name", ["uniform", "tempered", "1e-2", "full"])
def test_a_codec_is_made_again_from_its_config(name):
    check_config(codecs(name), table(100))


@pytest.mark.parametrize("case", ["1/uniform", "1/full", "3/shifted", "4/shifted"])
def test_old_latents_keep_their_meaning(case):
    check_old_file(FloatsCodec, GOLDEN / f"codec-floats-{case}.json")


def test_an_old_file_that_is_gone_is_a_failure():
    with pytest.raises(FileNotFoundError):
        check_old_file(FloatsCodec, GOLDEN / "codec-floats-1" / "gone.json")


# --- networks with a bottleneck


@lru_cache
def network(kind: str) -> BottleneckAutoencoder:
    """A network made by hand, or a random one with E and its columns in another order; neither has bounds."""
    if kind == "by hand":
        return network_by_hand()
    torch.manual_seed(3)
    shape = Bottleneck(("E", "phi", "pt", "eta"), ("asinh", "linear", "log10", "linear"), hidden=(9,), batch_norm=True)
    made = BottleneckAutoencoder(shape)
    made.normalise_by(torch.tensor([[100.0, 2, 50, 1], [1000, -2, 80, -2]], dtype=torch.float64))
    return made.double().eval()


@pytest.mark.parametrize("kind", ["by hand", "of chance"])
def test_a_bottleneck_says_the_same_every_day(kind):
    codec = BottleneckCodec(network(kind))
    wild = np.array([[np.nan] * 4, [-1, 0, 0, 0], [1e300, 10, 3, 1e300], [1e-300, 0, 0, -1e9], [1e5, 0, 4, 0]])
    check_smooth(codec, np.concatenate([table(500), ODD, wild]))
    check_config(codec, table(50))


def test_a_bottleneck_is_told_columns_in_its_own_order_and_units():
    # The network by hand keeps pt (in GeV), phi and eta, and decodes m as a tenth of pt.
    codec, jets = BottleneckCodec(network("by hand")), table(200)
    latents = codec.encode(jets)
    np.testing.assert_allclose(
        latents, np.column_stack([np.log10(jets[:, 0] / 1000), jets[:, 2], jets[:, 1]]), rtol=1e-6
    )
    decoded = codec.decode(latents)
    np.testing.assert_allclose(decoded[:, :3], jets[:, :3], rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(decoded[:, 3], jets[:, 0] / 10, rtol=2e-6)


def test_a_network_on_the_energy_gets_it_from_m_and_gives_m_back():
    made, jets = network("of chance"), table(200)
    pt, eta, phi, m = jets.T
    energy = np.hypot(pt * np.cosh(eta), m)
    columns = torch.from_numpy(np.column_stack([energy / 1000, phi, pt / 1000, eta]))
    with torch.no_grad():
        latents = made.encode(columns).float()
        e, phi, pt, eta = made.decode(latents.double()).numpy().T * [[1000], [1], [1000], [1]]
    codec = BottleneckCodec(made)
    np.testing.assert_allclose(codec.encode(jets), latents.numpy(), rtol=1e-6, atol=1e-6)
    square = e**2 - (pt * np.cosh(eta)) ** 2
    expected = np.column_stack(
        [pt, eta, np.arctan2(np.sin(phi), np.cos(phi)), np.copysign(np.abs(square) ** 0.5, square)]
    )
    np.testing.assert_allclose(codec.decode(latents.numpy()), expected, rtol=1e-6, atol=1e-6)


def test_phi_that_a_network_takes_too_far_is_wrapped():
    decoded = BottleneckCodec(network("by hand")).decode(np.array([[2, 3.5, 0], [2, -9.0, 0], [2, 0.5, 0]], np.float32))
    assert decoded[:, 2] == pytest.approx([3.5 - 2 * math.pi, -9 + 2 * math.pi, 0.5])


@pytest.mark.parametrize("latents", [[3e38] * 3, [-3e38] * 3, [1e4, -1e30, 800.0]])
def test_latents_of_damage_are_decoded_without_a_warning(latents):
    for kind in ("by hand", "of chance"):
        assert BottleneckCodec(network(kind)).decode(np.array([latents], np.float32)).shape == (1, 4)


@pytest.mark.parametrize("codec", [BottleneckCodec(network("by hand")), uniform_codec(1e-3)], ids=["network", "grid"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_latents_that_are_no_numbers_are_refused(codec, value):
    latents = codec.encode(table(3))
    latents[1, 2] = value
    with pytest.raises(ValueError, match="latents are not"):
        codec.decode(latents)


def test_a_bottleneck_leaves_nothing_to_choose_and_its_bounds_hold():
    kept, columns = storage(PT_M), list(table(2000).T)
    made = network("by hand")
    for text in ("1e-1", "none", "full"):
        assert choose_codec(made, kept, Precision.parse(text), columns, size) == BottleneckCodec(made)
    pt, _, _, m = columns
    exact = check_within(BottleneckCodec(made), kept, columns, Precision.parse("1e-1").of(kept.layout))
    assert exact == pytest.approx((np.abs(pt / 10 - m) > 0.1 * m).mean(), abs=1e-3)
    assert 0.5 < exact < 0.95


def test_without_a_promise_only_what_is_no_jet_is_exact():
    kept, columns = storage(PT_E), stored(random_jets(300), storage(PT_E))
    columns[0][[3, 7]], columns[1][9], columns[3][11] = [np.nan, -1], 11, np.inf
    encoded = encode_within(
        BottleneckCodec(network("of chance")), kept, Precision.parse("none").of(kept.layout), columns
    )
    assert np.flatnonzero(encoded.exact).tolist() == [3, 7, 9, 11]
    assert encoded.largest["pt"] > 0.1


def test_no_promise_is_for_networks_with_a_bottleneck():
    kept, columns = storage(PT_M), list(table(100).T)
    with pytest.raises(UserError, match=r"--precision none .* \(mlp\)"):
        choose_codec(MODEL.autoencoder, kept, Precision.parse("none"), columns, size)


def test_a_codec_of_another_kind_of_network_is_refused():
    grid, bottleneck = codecs("uniform").config(), BottleneckCodec(network("by hand")).config()
    for config, autoencoder in ((grid, network("by hand")), (bottleneck, MODEL.autoencoder)):
        with pytest.raises(ValueError, match=f"layout '{config['layout']}' does not fit the kind of the model"):
            codec_of_config(config, autoencoder)


def read_only(latents: np.ndarray) -> np.ndarray:
    return np.frombuffer(latents.tobytes(), np.float32).reshape(-1, 3)


@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2], read_only])
def test_latents_are_decoded_however_they_lie_in_memory(arrange):
    codec, latents = codecs("uniform"), codecs("uniform").encode(table(10))
    np.testing.assert_array_equal(codec.decode(arrange(latents)), codec.decode(latents))


def test_jets_without_coordinates_change_nothing_for_the_others():
    jets = table(6)
    latents = codecs("uniform").encode(jets)
    jets[[1, 3, 4], [0, 2, 3]] = [-5, 4, np.nan]
    mixed = codecs("uniform").encode(jets)
    np.testing.assert_array_equal(mixed[[0, 2, 5]], latents[[0, 2, 5]])
    assert ((mixed >= 1) & (mixed < 2)).all()


# --- encode_within

STRANGE = {
    "pt": [0.0, -0.0, -1.0, np.nan, np.inf, 1e-40],
    "eta": [10.001, -1e30, np.nan, -np.inf],
    "phi": [3.15, -3.15, 1e30, np.nan, np.float32(np.pi)],  # pi as float32 is above pi
    "m": [np.nan, np.inf, -np.inf, 3e38, -0.2, -99.0, -5000.0],
}


@pytest.mark.parametrize("variable", STRANGE)
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE])
def test_jets_that_have_no_coordinates_or_no_place_are_exact(variable, dtype):
    kept, values = storage(PT_M, dtype), STRANGE[variable]
    columns = stored(random_jets(2 * len(values)), kept)
    columns[PT_M.index(variable)][::2] = values
    encoded = encode_within(codecs("uniform"), kept, dict.fromkeys(PT_M, 1e-3), columns)
    assert encoded.exact.tolist() == [True, False] * len(values)
    assert len(np.unique(encoded.latents[::2], axis=0)) == 1  # latents of exact jets are equal, and cost nearly nothing
    assert max(encoded.largest.values()) <= 1e-3


def test_jets_without_a_cell_of_a_lattice_are_exact_in_the_same_loop():
    kept, columns, lattice = storage(PT_E), stored(random_jets(4), storage(PT_E)), Lattice((1e-3,) * 4)
    columns[0][0], columns[1][1], columns[3][2] = 400.0, -10.001, np.inf  # MeV: below the first cell of log pt
    found = encode_and_compare(lattice, kept, dict.fromkeys(("pt", "eta", "phi", "E"), 0.9), columns, 1e-6)
    assert found.exact.tolist() == [True, True, True, False]
    assert np.array_equal(found.latents[3], lattice.cells(kept.rows(columns))[0][:, 3])


def test_a_list_of_other_variables_than_the_model_has_is_refused():
    config = codecs("uniform").config() | {"layout": "list", "variables": VariableList(JET.variables[:3]).to_json()}
    with pytest.raises(ValueError, match="layout 'list' has 3 variables, but the model 4"):
        codec_of_config(config, MODEL.autoencoder)


def test_jets_outside_the_grid_are_exact_and_leave_the_others_alone():
    kept, columns = storage(PT_M), list(table(3).T)
    codec, bounds = uniform_codec(1e-3), dict.fromkeys(PT_M, 1e-3)
    window = jet_grid(0.0, codec.grid.cells, (2000, 0, 0, 0), (4000, 12_000, 6284, 19_000), digits_of(codec.grid))
    columns[0][:] = [math.exp(6.2 + 1.99), math.exp(6.2 + 2.01), math.exp(6.2 + 6.01)]
    assert encode_within(FloatsCodec(codec.autoencoder, window), kept, bounds, columns).exact.tolist() == [1, 0, 1]


def test_one_jet_over_one_bound_is_exact():
    kept, codec, columns = storage(PT_M), codecs("uniform"), list(table(500).T)
    loose, error = (
        dict.fromkeys(PT_M, 1e-2),
        found_errors(kept, columns, restore(codec, kept, codec.encode(table(500)).T)),
    )
    for variable in PT_M:
        limit = float(np.median(error[variable]))
        encoded = encode_within(codec, kept, loose | {variable: limit}, columns)
        assert encoded.exact.tolist() == (error[variable] > inner(limit)).tolist()


# --- decoding in other arithmetic


def in_batches(codec: FloatsCodec, n: int) -> FloatsCodec:
    """The same codec, decoding n jets at a time."""

    class Batches(FloatsCodec):
        def decode(self, latents, wanted=None):
            return np.concatenate([super(Batches, self).decode(latents[i : i + n]) for i in range(0, len(latents), n)])

    return Batches(codec.autoencoder, codec.grid)


def in_single(codec: FloatsCodec) -> FloatsCodec:
    """The same codec, decoding in float32."""
    return FloatsCodec(copy.deepcopy(codec.autoencoder).float(), codec.grid)


@pytest.mark.parametrize(
    ("text", "variables", "dtype"),
    [
        ("1e-2", PT_M, SINGLE), ("1e-3", PT_M, DOUBLE), ("1e-4", PT_M, SINGLE), ("2e-5", PT_M, DOUBLE),
        ("1e-3", PT_E, SINGLE), ("1e-4", PT_E, DOUBLE), ("full", PT_E, DOUBLE), ("1e-3", P_E, SINGLE),
    ],
)  # fmt: skip
def test_the_promise_holds_whoever_decodes(text, variables, dtype):
    kept, precision = storage(variables, dtype), Precision.parse(text)
    columns = stored(random_jets(20_000, seed=3), kept)
    few, bounds = [column[:3000] for column in columns], precision.of(kept.layout)
    codec = choose_codec(MODEL.autoencoder, kept, precision, few, size)
    encoded = encode_within(codec, kept, bounds, columns)
    assert not encoded.exact.all()
    values, here = kept.to_values(columns), restore(codec, kept, encoded.latents.T)
    moved = 0
    for other in (in_single(codec), in_batches(codec, 10_000), in_batches(in_single(codec), 777)):
        restored = restore(other, kept, encoded.latents.T)
        found = kept.errors(values, kept.to_values(restored))
        assert {
            v: error[~encoded.exact].max() for v, error in found.items() if (error > bounds[v])[~encoded.exact].any()
        } == {}
        moved += sum(int((a != b).sum()) for a, b in zip(here, restored, strict=True))
    assert moved  # other arithmetic did change some jets


class Decoder(torch.nn.Module):
    """Latents to coordinates in float32, as one graph."""

    def __init__(self, codec: FloatsCodec) -> None:
        super().__init__()
        self.autoencoder, self.grid = copy.deepcopy(codec.autoencoder).float(), codec.grid

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        words = ((latents - 1) * 2**23).long().unbind(1)
        cells = [torch.zeros_like(words[0]) for _ in self.grid.levels]
        for left, digits in zip(words, self.grid.words, strict=True):
            word = left
            for digit in reversed(digits):
                cells[digit.variable] = cells[digit.variable] + word % digit.radix * digit.divisor
                word = word // digit.radix
        known: list[torch.Tensor] = []
        for i, cell in enumerate(cells):
            centre = self.autoencoder._centre(i, cell, torch.empty(0), self.grid)
            known.append(self.autoencoder.origin(i, known) + centre)
        return torch.stack(known, dim=1)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("variables", [PT_M, P_E])
def test_the_promise_holds_in_onnxruntime(variables, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    kept, columns = storage(variables), stored(random_jets(20_000, seed=3), storage(variables))
    codec, bounds = uniform_codec(0.96e-3), dict.fromkeys(kept.layout.promised, 1e-3)
    encoded = encode_within(codec, kept, bounds, columns)
    example, sizes = (torch.tensor(encoded.latents[:7]),), ({0: torch.export.Dim("jets")},)
    program = torch.onnx.export(Decoder(codec).eval(), example, dynamo=True, dynamic_shapes=sizes, verbose=False)
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: encoded.latents})
    monkeypatch.setattr(
        FloatsCodec, "decode", lambda self, latents, wanted=None: JET.from_coordinates(found.astype(np.float64))
    )
    monkeypatch.setattr(atlasae.jets.stored, "BLOCK", len(found))
    restored = restore(codec, kept, encoded.latents.T)
    errors = kept.errors(kept.to_values(columns), kept.to_values(restored))
    assert not encoded.exact.all()
    assert {
        v: error[~encoded.exact].max() for v, error in errors.items() if (error > bounds[v])[~encoded.exact].any()
    } == {}


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_single_jets_change_nothing_beyond_the_last_bits(threads, unlimited, monkeypatch):
    codec, jets = codecs("full"), table(300)
    latents = codec.encode(jets)
    monkeypatch.setenv("ATLASAE_THREADS", str(threads))
    alone = np.concatenate([codec.decode(latent[None]) for latent in latents])
    np.testing.assert_allclose(alone, codec.decode(latents), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bound", [1e-6, 1e-5, 1e-3])
def test_the_promise_of_a_network_holds_in_single_precision(bound):
    codec, kept = BottleneckCodec(network("by hand")), storage(PT_E)
    values = kept.to_values(stored(random_jets(2000, seed=3), kept))
    off = values[:, 0] * 10 ** np.linspace(-8, -2, 2000)  # E at relative distances of 1e-8 to 1e-2 from the network's
    values[:, 3] = np.sqrt((values[:, 0] * np.cosh(values[:, 1])) ** 2 + (0.1 * values[:, 0] + off) ** 2)
    columns, bounds = kept.to_columns(values), dict.fromkeys(("pt", "eta", "phi", "E"), bound)
    within = ~encode_within(codec, kept, bounds, columns).exact
    latents = codec.encode(kept.to_rows(values))
    for other in (codec, codec.single):
        found = kept.errors(values, kept.to_values(restore(other, kept, latents.T)))
        assert all((found[v] <= bound)[within].all() for v in bounds)
    assert within.any() and not within.all()


def test_blocks_change_nothing(monkeypatch):
    kept, bounds = storage(P_E, SINGLE), dict.fromkeys(("pt", "eta", "phi", "E", "m"), 1e-3)
    columns = stored(random_jets(50), kept)
    columns[0][[3, 20, 21]] = np.nan
    whole = encode_within(codecs("tempered"), kept, bounds, columns)
    monkeypatch.setattr(atlasae.jets.stored, "BLOCK", 7)
    parts = encode_within(codecs("tempered"), kept, bounds, columns)
    np.testing.assert_array_equal(parts.latents, whole.latents)
    np.testing.assert_array_equal(parts.exact, whole.exact)
    assert parts.largest == pytest.approx(whole.largest, abs=1e-12) and min(whole.largest.values()) > 0


@pytest.mark.parametrize("variables", [PT_M, P_E])
def test_no_jets_are_no_trouble(variables):
    kept, columns = storage(variables), [np.zeros(0)] * 4
    codec = choose_codec(MODEL.autoencoder, kept, Precision.parse("1e-3"), columns, size)
    encoded = encode_within(codec, kept, {"pt": 1e-3, "m": 1e-3}, columns)
    assert (encoded.latents.shape, encoded.exact.shape) == ((0, 3), (0,))
    assert encoded.largest == {"pt": 0.0, "m": 0.0}


# --- choose_codec


@pytest.mark.parametrize("text", ["1e-2", "1e-3", "1e-4"])
@pytest.mark.parametrize(("variables", "dtype"), [(PT_M, SINGLE), (PT_E, DOUBLE), (P_E, SINGLE)])
def test_bounds_are_held_for_jets_the_codec_was_not_chosen_on(text, variables, dtype):
    kept, precision = storage(variables, dtype), Precision.parse(text)
    codec = choose_codec(MODEL.autoencoder, kept, precision, stored(random_jets(3000), kept), size)
    others = stored(random_jets(3000, seed=2), kept)
    assert check_within(codec, kept, others, precision.of(kept.layout)) < 0.01
    assert codec.grid.word_bits <= 23


@pytest.mark.parametrize("variables", [PT_E, P_E])
def test_m_that_is_given_up_takes_fewer_bits(variables):
    kept, columns = storage(variables), stored(random_jets(3000), storage(variables))
    held, loose = Precision.parse("1e-3"), Precision.parse("pt=1e-3,eta=1e-3,phi=1e-3,E=1e-3")
    with_m, without = (choose_codec(MODEL.autoencoder, kept, p, columns, size) for p in (held, loose))
    assert check_within(without, kept, columns, loose.of(kept.layout)) < 0.01
    assert without.grid.bits[3] < with_m.grid.bits[3] - 1


@pytest.mark.parametrize("variables", [PT_M, P_E])
def test_full_spends_all_bits_and_still_bounds(variables):
    kept, precision = storage(variables), Precision.parse("full")
    columns = stored(random_jets(3000), kept)
    codec = choose_codec(MODEL.autoencoder, kept, precision, columns, size)
    assert 22.9 < codec.grid.word_bits <= 23
    assert sum(codec.grid.bits) > 68.5
    assert check_within(codec, kept, columns, precision.of(kept.layout)) < 0.01
    errors = found_errors(kept, columns, restore(codec, kept, encode_within(codec, kept, {}, columns).latents.T))
    assert max(float(np.median(error)) for error in errors.values()) < 2e-5


@pytest.mark.parametrize("wanted", [0, 1, -1])
def test_the_candidate_of_the_smallest_size_is_taken(wanted, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", "1")  # so that sizes are asked for in turn
    kept, precision = storage(PT_M), Precision.parse("1e-3")
    columns = stored(random_jets(3000), kept)
    seen: list[np.ndarray] = []

    def collect(encoded: Encoded, kept: Storage) -> int:
        seen.append(encoded.latents)
        return 5

    choose_codec(MODEL.autoencoder, kept, precision, columns, collect)
    sizes = iter([3 if i == wanted % len(seen) else 4 for i in range(len(seen))])
    codec = choose_codec(MODEL.autoencoder, kept, precision, columns, lambda *_: next(sizes))
    found = encode_within(codec, kept, precision.of(kept.layout), columns).latents
    np.testing.assert_array_equal(found, seen[wanted])


@pytest.mark.parametrize("text", ["1e-2", "1e-3", "full"])
def test_few_jets_do_not_shut_out_others(text):
    kept, precision = storage(PT_M), Precision.parse(text)
    codec = choose_codec(MODEL.autoencoder, kept, precision, stored(random_jets(3), kept), size)
    assert check_within(codec, kept, stored(random_jets(1000, seed=2), kept), precision.of(kept.layout)) < 0.01


def test_a_codec_is_chosen_where_no_jet_has_coordinates():
    kept, precision = storage(PT_M), Precision.parse("1e-3")
    nothing = [np.full(5, np.nan)] * 4
    codec = choose_codec(MODEL.autoencoder, kept, precision, nothing, size)
    assert encode_within(codec, kept, precision.of(kept.layout), nothing).exact.all()


jets_with_mass = st.lists(
    st.tuples(st.floats(1e3, 1e7), st.floats(-5, 5), st.floats(-3.14, 3.14), st.floats(0.02, 1.5)),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize("variables", [PT_M, PT_E, P_E, P_M])
@settings(max_examples=8)  # each chooses a grid
@given(
    jets=jets_with_mass,
    light=st.lists(st.sampled_from([0.0, -0.0, 1e-3, 99.0, 101.0, -50.0, -5000.0]), max_size=3),
    exponent=st.floats(1, 5),
    dtype=st.sampled_from([SINGLE, DOUBLE]),
    scale=st.sampled_from([1.0, 1000.0]),
)
def test_any_jets_are_within_any_bounds_or_exact(variables, jets, light, exponent, dtype, scale):
    pt, eta, phi, ratio = np.array(jets).T
    m = pt * ratio
    if "m" in variables:  # with E, such small masses are undefined by rounding
        m[: len(light)] = light[: len(m)]
    p = pt * np.array([np.cos(phi), np.sin(phi), np.sinh(eta)])
    energy = np.sqrt((p**2).sum(axis=0) + m**2)
    every = dict(zip(("pt", "eta", "phi", "m", "E", "px", "py", "pz"), (pt, eta, phi, m, energy, *p), strict=True))
    kept, precision = storage(variables, dtype, scale), Precision.parse(str(10**-exponent))
    columns = stored(every, kept)
    codec = choose_codec(MODEL.autoencoder, kept, precision, columns, size)
    check_within(codec, kept, columns, precision.of(kept.layout))
    assert codec.grid.word_bits <= 23


# --- fit_grid


@settings(max_examples=50)
@given(
    window=st.tuples(*[st.tuples(st.floats(0, 0.9), st.floats(1e-3, 0.1))] * 4),
    step=st.tuples(*[st.floats(-8, 1)] * 4).map(lambda powers: [10**power for power in powers]),
    width=st.tuples(*[st.floats(0.1, 100)] * 4),
    tail=st.sampled_from([0.0, 1e-3]),
    fill=st.booleans(),
    n=st.sampled_from([2, 3000]),
)
def test_a_grid_always_fits_three_words(window, step, width, tail, fill, n):
    u = np.array([np.linspace(low, low + range_, n) for low, range_ in window]).T
    grid = fit_grid(np.tile(width, (n, 1)), u, 0.2, step, 0.0 if fill else tail, fill)
    assert grid.word_bits <= 23
    assert math.prod(digits_of(grid)) >= grid.levels[3]
    for first, levels, cells in zip(grid.first, grid.levels, grid.cells, strict=True):
        assert first >= 0 and levels >= 1
        assert first + levels <= max(1, math.ceil(cells))
    # All steps are scaled by one factor, and never made coarser than needed to fit.
    factors = [n * s / w for n, s, w in zip(grid.cells, step, width, strict=True)]
    assert factors == pytest.approx([factors[0]] * 4, rel=1e-9)
    if not fill:
        assert factors[0] <= 1 + 1e-9
    if fill or factors[0] < 1 - 1e-9:
        assert grid.word_bits > 22.9


def test_a_tail_of_light_jets_makes_the_window_of_m_smaller():
    u = np.tile(np.linspace(0.4005, 0.5995, 10_000)[:, None], 4)
    u[:5, 3] = 0.01
    whole, cut = (fit_grid(np.ones((10_000, 4)), u, 0.0, [1e-3] * 4, tail, fill=False) for tail in (0.0, 1e-3))
    assert whole.levels == (604 - 396, 604 - 396, 604 - 396, 612)  # the range plus 2 % on both sides, in integer cells
    assert cut.levels[:3] == whole.levels[:3]
    assert 200 < cut.levels[3] <= 606 - 394


@pytest.fixture
def unlimited(monkeypatch):
    """Without the limit of all tests."""
    monkeypatch.setattr(codec_module, "_limit", codec_module._Limit())


def test_torch_gets_its_threads_back(unlimited):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="any"), few_threads():
            assert torch.get_num_threads() == 1
            raise ValueError("any")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_who_comes_second_does_not_change_the_limit(unlimited, monkeypatch):
    before = torch.get_num_threads()
    with few_threads():
        monkeypatch.setenv("ATLASAE_THREADS", "2")
        with few_threads():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_last_of_several_that_limit_torch_gives_it_its_threads_back(unlimited):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ExitStack() as first:
            first.enter_context(few_threads())
            with few_threads():
                first.close()
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_torch_gets_as_many_threads_as_it_is_told(unlimited, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", "2")
    with few_threads():
        assert torch.get_num_threads() == 2
    for text in ("0", "many", "-1", "", "1e9", "100000"):
        monkeypatch.setenv("ATLASAE_THREADS", text)
        with pytest.raises(UserError, match="ATLASAE_THREADS"), few_threads():
            pass


def test_words_of_different_numbers_of_rows_are_refused():
    kept, codec = storage(PT_M, SINGLE), uniform_codec(1e-3)
    words = list(codec.encode(table(5)).T)
    for wrong in (words[2][:1], words[2][:4], np.append(words[2], words[2][:1])):
        with pytest.raises(ValueError, match="latents of different numbers of rows"):
            restore(codec, kept, [*words[:2], wrong])
