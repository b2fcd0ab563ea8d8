"""The codec of arrays: every jet that is not marked exact is within its bounds."""

import json
from collections.abc import Iterator
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from codec_contract import check_config, check_round_trip, largest
from conftest import random_jets, untrained_bottleneck
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atlasae.codecs import arrays
from atlasae.codecs.arrays import Codec
from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.floats import FloatsCodec
from atlasae.codecs.model import Model, default_model
from atlasae.errors import UserError
from atlasae.export.export import exported
from atlasae.jets.coordinates import LEAST_MASS
from atlasae.jets.precision import Precision
from atlasae.jets.variables import JET, VariableList
from atlasae.training.train import chain_of

pytestmark = pytest.mark.usefixtures("one_torch_thread")

VARIABLES = ("pt", "eta", "phi", "m")
PRECISIONS = ("1e-2", "1e-3", "pt=1e-2,eta=1e-3,phi=1e-3,m=5e-2", "full")
BOUNDS = {
    "1e-2": dict.fromkeys(VARIABLES, 1e-2),
    "1e-3": dict.fromkeys(VARIABLES, 1e-3),
    "full": dict.fromkeys(VARIABLES, 1e-3),
    "pt=1e-2,eta=1e-3,phi=1e-3,m=5e-2": {"pt": 1e-2, "eta": 1e-3, "phi": 1e-3, "m": 5e-2},
}


@pytest.fixture(autouse=True, scope="module")
def few_drawn() -> Iterator[None]:
    """Grids are chosen on 5,000 jets that are drawn, not on 50,000."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "DRAWN", 5000)
        yield


@lru_cache
def codec_at(precision: str) -> Codec:
    return Codec(precision)


@lru_cache
def table(n: int) -> np.ndarray:
    jets = random_jets(n)
    return np.column_stack([jets[v] for v in VARIABLES])


def alone(codec: Codec) -> Any:
    """A codec with the methods of the contract: `encode` returns latents only, and checks that no jet is exact."""

    def encode(jets: np.ndarray) -> np.ndarray:
        latents, exact = codec.encode(jets)
        assert not exact.any()
        return latents

    return SimpleNamespace(encode=encode, decode=codec.decode)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_codec_keeps_the_contract(precision):
    codec = codec_at(precision)
    jets = table(1000)
    kept = jets[~codec.encode(jets)[1]]
    assert len(kept) > 0.99 * len(jets)
    check_round_trip(alone(codec), kept, BOUNDS[precision], shifted=precision != "full")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_codec_is_made_again_from_its_config(precision):
    codec = codec_at(precision)
    text = json.dumps(codec.config(), allow_nan=False)
    again = Codec.from_config(json.loads(text))
    assert again == codec and hash(again) == hash(codec) and again.bounds == codec.bounds
    latents, exact = codec.encode(table(100))
    for found, expected in zip(again.encode(table(100)), (latents, exact), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again.decode(latents), codec.decode(latents))
    check_config(codec.codec, table(100))


def test_codecs_of_other_precision_differ():
    assert codec_at("1e-2") != codec_at("1e-3") and codec_at("1e-2") != "1e-2"
    same = Codec(1e-2)
    assert same == codec_at("1e-2") and repr(same).endswith("at precision 0.01>")
    assert same == Codec(Precision.parse("1e-2"))


def test_a_codec_is_refused_what_is_no_precision_or_model():
    bounds = {"pt": 1e-2, "eta": 1e-3, "phi": 1e-3, "m": 5e-2}
    assert Codec(bounds) == codec_at("pt=1e-2,eta=1e-3,phi=1e-3,m=5e-2")
    assert Codec.from_config(Codec(bounds).config()).bounds == bounds
    with pytest.raises(UserError, match="precision None is none"):
        Codec(None)
    with pytest.raises(UserError, match="5 is no path"):
        Codec(1e-2, 5)


NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
NEAR = (st.floats(1e3, 1e7), st.floats(-11, 11), st.floats(-3.2, 3.2), st.floats(-1e3, 1e6))
ODD = st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, -1.0, 1e300, 5e-324, np.pi, 10.0])
JETS = st.lists(st.tuples(*(st.one_of(near, ODD, NUMBERS) for near in NEAR)), min_size=0, max_size=20)


@settings(max_examples=60)
@given(jets=JETS, precision=st.sampled_from(PRECISIONS))
@example(jets=[(1e3, 0.0, 0.0, 3.40282357e38)], precision="1e-2")  # beyond float32
def test_whatever_the_jets_those_not_marked_are_within_their_bounds(jets, precision):
    jets = np.array(jets, np.float64).reshape(-1, 4)
    codec = codec_at(precision)
    latents, exact = codec.encode(jets)
    assert (latents.shape, latents.dtype, exact.shape, exact.dtype) == ((len(jets), 3), "f4", (len(jets),), bool)
    back = codec.decode(latents)
    assert back.shape == jets.shape and np.isfinite(back).all()
    for decoded in (back, back.astype(np.float32).astype(np.float64)):
        found = largest(jets[~exact], decoded[~exact])
        assert {v: error for v, error in found.items() if not error <= BOUNDS[precision][v]} == {}
    usable = np.isfinite(jets).all(axis=1) & (jets[:, 0] > 0) & (jets[:, 3] >= LEAST_MASS) & (np.abs(jets[:, 1]) <= 10)
    assert exact[~usable].all()


def test_jets_that_are_marked_are_marked_for_a_reason():
    assert not codec_at("1e-3").encode([[50_000.0, 0.5, -1.2, 8_000.0]])[1].any()
    assert codec_at("1e-3").encode(table(1000))[1].mean() < 0.01


@pytest.mark.parametrize("precision", ["1e-3", "full"])
def test_a_model_is_exported_with_the_same_grid(precision):
    found = exported("default", None, precision).codec
    assert isinstance(found, FloatsCodec) and found.config() == codec_at(precision).codec.config()


def test_a_bottleneck_promises_by_marking_what_it_does_not_keep():
    model = Model.from_bytes(untrained_bottleneck("tanh", ("pt", "eta", "phi", "E")), "untrained")
    codec = Codec("pt=0.5,eta=0.9,phi=0.9,m=0.9", model)
    jets = table(500)
    latents, exact = codec.encode(jets)
    found = largest(jets[~exact], codec.decode(latents)[~exact]) if not exact.all() else {}
    assert {v: error for v, error in found.items() if not error <= codec.bounds[v]} == {}
    assert Codec.from_config(codec.config(), model) == codec
    loose = Codec("none", model)
    assert not loose.encode(jets)[1].any()
    with pytest.raises(UserError, match="give that one, with load_model"):
        Codec.from_config(codec.config())
    with pytest.raises(UserError, match="give that one, with load_model"):
        Codec.from_config(codec.config(), default_model())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "2"}, "no bound between"),
        ({"codec": {}}, "no codec's configuration"),
        ({"codec": {"layout": "bottleneck"}}, "does not fit the kind of the model"),
        ({"codec": None}, "no codec's configuration"),
    ],
)
def test_a_config_that_is_none_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        Codec.from_config(codec_at("1e-3").config() | change)
    with pytest.raises(UserError, match="no codec's configuration: 'model'"):
        Codec.from_config({})


def test_a_config_of_a_list_of_variables_is_refused():
    config = codec_at("1e-3").config()
    listed = config["codec"] | {"layout": "list", "variables": JET.to_json()}
    with pytest.raises(UserError, match="the codec is of a list of variables: jets need pt, eta, phi and m"):
        Codec.from_config(config | {"codec": listed})


def test_arrays_of_another_shape_are_refused():
    codec = codec_at("1e-3")
    for jets in (np.zeros(4), np.zeros((2, 3)), np.zeros((2, 4, 1))):
        with pytest.raises(UserError, match="give n x 4, pt, eta, phi, m"):
            codec.encode(jets)
    with pytest.raises(UserError, match="give n x 3, z0, z1, z2"):
        codec.decode(np.ones((2, 4)))


@pytest.mark.parametrize("value", [np.nan, 0.5, 2.0, -1.5, 1.99999])
def test_latents_that_no_jet_has_are_refused(value):
    with pytest.raises(UserError, match="give latents that `encode` made"):
        codec_at("1e-3").decode(np.full((1, 3), value))


def test_a_model_of_other_variables_is_refused():
    variables = VariableList.from_json([{"branch": name, "coordinate": "linear", "precision": 1e-2} for name in "ab"])
    autoencoder = InvertibleAutoencoder(*chain_of(variables, np.random.default_rng(1).normal(size=(300, 2))))
    with pytest.raises(UserError, match="of a list of variables, a, b: jets need pt, eta, phi and m"):
        Codec("1e-2", Model.from_autoencoder(autoencoder, {}))


def test_a_promise_of_nothing_is_for_a_network_that_promises_nothing():
    with pytest.raises(UserError, match="give a bound"):
        Codec("none")
