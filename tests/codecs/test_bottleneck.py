import math

import numpy as np
import pytest
import torch
from conftest import network_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from atlasae.codecs.bottleneck import ACTIVATIONS, SCALINGS, Bottleneck, BottleneckAutoencoder, scale, unscale

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def doubles(rows: object) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


COLUMNS = doubles([[50.0, 0.5, -3.0, 60.0], [400.0, -2.5, 1.0, 2500.0], [21.0, 4.0, 3.1, 600.0]])
LARGEST = {"linear": 1e300, "log10": 1e29, "asinh": 1e24}  # numbers that scaling and its inverse reproduce

shapes = st.builds(
    Bottleneck,
    scalings=st.tuples(*[st.sampled_from(SCALINGS)] * 4),
    hidden=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    activation=st.sampled_from([*ACTIVATIONS]),
    batch_norm=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    latent_activation=st.booleans(),
    skip=st.booleans(),
)


def made(**shape: object) -> BottleneckAutoencoder:
    torch.manual_seed(1)
    return BottleneckAutoencoder(Bottleneck(**shape)).double().eval()


# --- scale


@pytest.mark.parametrize(
    ("scaling", "value", "expected"),
    [
        ("linear", -3.5, -3.5),
        ("log10", 1000.0, 3.0),
        ("log10", 1e-6, -6.0),
        ("log10", 0.0, -6.0),
        ("log10", -5.0, -6.0),
        ("asinh", 0.1, math.asinh(1)),
        ("asinh", -2.0, math.asinh(-20)),
        ("asinh", 0.0, 0.0),
    ],
)
def test_a_column_is_scaled_by_hand(scaling, value, expected):
    found = scale(doubles([[value, 7.0]]), (scaling, "linear"))
    assert found.tolist() == [[pytest.approx(expected, abs=1e-12), 7.0]]


@given(st.sampled_from(SCALINGS), st.data())
def test_unscale_is_the_inverse_of_scale(scaling, data):
    least = 1e-6 if scaling == "log10" else -LARGEST[scaling]
    values = st.lists(st.floats(least, LARGEST[scaling]), min_size=1, max_size=9)
    columns = doubles(data.draw(values))[:, None]
    torch.testing.assert_close(unscale(scale(columns, [scaling]), [scaling]), columns, rtol=1e-12, atol=1e-14)


anything = st.lists(st.lists(st.floats(-1e307, 1e307), min_size=3, max_size=3), min_size=1, max_size=5)


@given(anything)
def test_scaled_numbers_are_finite_whatever_they_were(rows):
    numbers = doubles(rows)
    for there in (scale, unscale):
        assert there(numbers, SCALINGS).isfinite().all()


# --- normalisation


def test_the_normalisation_is_that_of_the_scaled_columns():
    network, rng = made(hidden=(4,)), np.random.default_rng(1)
    log_pt, eta, phi = rng.normal(2, 0.25, 5000), rng.normal(1, 2, 5000), rng.normal(0, 0.5, 5000)
    columns = np.column_stack([10**log_pt, eta, phi, 10 ** (log_pt + 1)])
    network.normalise_by(torch.from_numpy(columns))
    assert network.mean.tolist() == pytest.approx([2, 1, 0, 3], abs=0.1)
    assert network.std.tolist() == pytest.approx([0.25, 2, 0.5, 0.25], rel=0.05)
    by_hand = torch.stack([(0 - network.mean[0]) / network.std[0], (3 - network.mean[1]) / network.std[1]])[None]
    torch.testing.assert_close(network.normalised(doubles([[1.0, 3, 0, 1]]))[:, :2], by_hand)


def test_the_normalisation_is_inside_the_network():
    network = network_by_hand()
    network.mean.copy_(torch.tensor([0.5, 2.0, 1.0, -1.0]))
    network.std.copy_(torch.tensor([0.5, 0.25, 2.0, 4.0]))
    m, pt, phi, eta = 10.0, 1000.0, 3.0, 2.0
    latents = network.encode(doubles([[m, pt, phi, eta]]))
    assert latents.tolist() == [pytest.approx([(3 - 2) / 0.25, (3 - 1) / 2, (2 + 1) / 4])]
    log_m = ((3 - 2) / 0.25 - 1) * 0.5 + 0.5
    assert network.decode(latents).tolist() == [pytest.approx([10**log_m, pt, phi, eta])]
    kept = network.state_dict()
    assert kept["mean"].dtype == kept["std"].dtype == torch.float64


def test_what_is_trained_is_what_is_used():
    network = made(hidden=(6, 5), activation="silu", latent_activation=True)
    network.normalise_by(COLUMNS)
    with torch.no_grad():
        trained, used = network(network.normalised(COLUMNS)), network.decode(network.encode(COLUMNS))
    torch.testing.assert_close(network.normalised(used), trained)


# --- layers

L, N, A, D = nn.Linear, nn.BatchNorm1d, nn.SiLU, nn.Dropout


@pytest.mark.parametrize(
    ("shape", "hidden", "before_decoder"),
    [
        ({}, [L, A], []),
        ({"batch_norm": True}, [L, N, A], []),
        ({"dropout": 0.1}, [L, A, D], []),
        ({"batch_norm": True, "dropout": 0.1, "latent_activation": True}, [L, N, A, D], [A]),
    ],
)
def test_nothing_but_a_linear_layer_is_at_the_bottleneck_and_at_the_output(shape, hidden, before_decoder):
    network = made(hidden=(7, 5), activation="silu", **shape)
    leaves = [
        [type(module) for module in part.modules() if not list(module.children())]
        for part in (network.encoder, network.decoder)
    ]
    assert leaves == [[*hidden, *hidden, L], [*before_decoder, *hidden, *hidden, L]]


@settings(max_examples=50)
@given(shapes)
def test_a_network_has_the_layers_it_was_asked_for(shape):
    network = BottleneckAutoencoder(shape)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    widths = [(layer.in_features, layer.out_features) for layer in linear if layer.bias is not None]
    there = [4, *shape.hidden, 3]
    assert widths == [*zip(there, there[1:], strict=False), *zip(there[::-1], there[-2::-1], strict=False)]
    beside = [(layer.in_features, layer.out_features) for layer in linear if layer.bias is None]
    assert beside == [(4, 3), (3, 4)] * shape.skip
    found = {type(module) for module in network.modules()}
    assert ACTIVATIONS[shape.activation] in found
    assert (nn.BatchNorm1d in found, nn.Dropout in found) == (shape.batch_norm, shape.dropout > 0)
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} <= {shape.dropout}
    latents = network.eval().encode(COLUMNS)
    assert latents.shape == (3, 3)
    assert network.decode(latents).shape == (3, 4)
    assert network.decode(latents).dtype == torch.float64
    assert [network.encode(COLUMNS[:0]).shape, network.decode(latents[:0]).shape] == [(0, 3), (0, 4)]


def test_an_activation_of_the_latents_is_the_decoders():
    far = doubles([[40.0, -40.0, 40.0]])
    for latent_activation in (True, False):
        network = made(hidden=(6,), activation="tanh", latent_activation=latent_activation)
        with torch.no_grad():
            assert torch.equal(network.decode(far), network.decode(2 * far)) == latent_activation
            assert network.encode(COLUMNS).abs().max() > 1  # not limited by an activation


def test_layers_beside_the_straight_ones_are_added_up():
    network = made(hidden=(6,), skip=True)
    normalised, latents = network.normalised(COLUMNS), torch.ones(3, 3).double()
    with torch.no_grad():
        straight = normalised @ network.encoder.straight.weight.T
        torch.testing.assert_close(network.encode(COLUMNS), network.encoder.layers(normalised) + straight)
        straight = latents @ network.decoder.straight.weight.T
        torch.testing.assert_close(network.decoder(latents), network.decoder.layers(latents) + straight)


@settings(max_examples=50)
@given(shapes, anything, st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_encode_and_decode_are_finite_whatever_the_input(shape, rows, latents):
    network = BottleneckAutoencoder(shape).double().eval()
    bounded = doubles([[*row, 1.0] for row in rows])
    for i, scaling in enumerate(shape.scalings):
        if scaling == "linear":
            bounded[:, i] = bounded[:, i].clamp(-1e290, 1e290)  # products with weights must be finite
    with torch.no_grad():
        assert network.encode(bounded).isfinite().all()
        assert network.decode(torch.tensor([latents])).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns_are_float64_whatever_the_weights(dtype):
    network = made(hidden=(6,))
    network.encoder.to(dtype)
    network.decoder.to(dtype)
    with torch.no_grad():
        latents = network.encode(COLUMNS)
        assert latents.dtype == dtype
        assert network.decode(latents.double()).dtype == torch.float64
