import numpy as np
import pytest
from conftest import jet_grid, random_jets
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.codecs.chain import Tempered, jet_autoencoder
from atlasae.codecs.floats import FloatsCodec
from atlasae.codecs.grid import Grid, radices
from atlasae.codecs.model import default_model
from atlasae.codecs.walk import NODES, EqualSteps, Weights, check_nodes, decode_rows, encode_rows, nodes_of
from atlasae.jets.variables import JET

pytestmark = pytest.mark.usefixtures("one_torch_thread")

LEVELS = (20_000, 30_000, 25_000, 40_000)
GRID: Grid = jet_grid(0.0, tuple(map(float, LEVELS)), (0,) * 4, LEVELS, radices(LEVELS))


def coordinates(n: int) -> np.ndarray:
    jets = random_jets(n, 1)
    return JET.to_coordinates(np.column_stack([jets[v] for v in ("pt", "eta", "phi", "m")]))


def weights() -> Weights:
    return default_model().chain.weights


def test_equal_steps_need_nothing_of_torch_and_are_the_same_as_with_it():
    y, steps, tempered = coordinates(2000), EqualSteps(weights()), Tempered(default_model().autoencoder, 0.0)
    latents = encode_rows(steps, y, GRID)
    np.testing.assert_array_equal(latents, encode_rows(tempered, y, GRID))
    np.testing.assert_allclose(
        decode_rows(steps, latents, GRID), decode_rows(tempered, latents, GRID), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("nodes", [0, 1, 2, NODES])
def test_coordinates_are_off_by_half_a_step_at_most_wherever_the_location_is_from(nodes):
    y, steps = coordinates(2000), EqualSteps(weights(), nodes)
    spans = [high - low for low, high in weights().ends]
    off = np.abs(decode_rows(steps, encode_rows(steps, y, GRID), GRID) - y)
    assert (off <= np.array(spans) / np.array(LEVELS) / 2 * (1 + 1e-9)).all()


@pytest.mark.parametrize("wanted", [{0}, {1, 2}, {3}])
def test_variables_are_decoded_alone_as_with_the_others(wanted):
    steps = EqualSteps(weights(), NODES)
    latents = encode_rows(steps, coordinates(100), GRID)
    alone, every = decode_rows(steps, latents, GRID, wanted), decode_rows(steps, latents, GRID)
    for i in wanted:
        np.testing.assert_array_equal(alone[:, i], every[:, i])
    assert not alone[:, sorted({0, 1, 2, 3} - wanted - {0, 1})].any()


# --- the table of locations


def test_a_table_has_the_locations_of_the_network_at_its_nodes():
    known, table = weights(), weights().table(3, NODES)
    pt, eta = (np.linspace(*known.limits[k], NODES) for k in (0, 1))
    np.testing.assert_allclose(table.at(pt, eta), known.location(3, [pt, eta]), rtol=0, atol=1e-9)


def test_between_nodes_a_table_is_near_the_network():
    y, known = coordinates(5000), weights()
    off = known.table(3, NODES).at(y[:, 0], y[:, 1]) - known.location(3, [y[:, 0], y[:, 1]])
    assert np.abs(off).max() < 0.01


@given(st.floats(-100, 100), st.floats(-100, 100))
@settings(max_examples=50)
def test_beyond_the_training_a_table_has_the_nearest_location(pt, eta):
    limits = weights().limits
    inside = [np.clip([x], *limits[k]) for k, x in enumerate((pt, eta))]
    table = weights().table(3, NODES)
    assert table.at(np.array([pt]), np.array([eta])) == pytest.approx(table.at(*inside), abs=1e-12)


def test_a_location_can_be_left_out():
    known = {0: np.array([10.0, 10.0]), 1: np.array([0.0, 2.0])}
    assert EqualSteps(weights(), 1).origin(3, known).tolist() == [4.0, 4.0]  # log pt - 6
    assert len(set(EqualSteps(weights(), NODES).origin(3, known).tolist())) == 2


def test_only_trained_locations_of_two_variables_have_tables():
    assert nodes_of(weights()) == NODES
    assert nodes_of(jet_autoencoder().weights) == 0  # its ranges are infinite
    with pytest.raises(ValueError, match="table of locations"):
        check_nodes(jet_autoencoder().weights, NODES)
    check_nodes(jet_autoencoder().weights, 1)


def test_a_codec_of_a_file_of_an_earlier_format_asks_the_network():
    config = FloatsCodec(default_model().chain, GRID).config()
    del config["nodes"]
    assert FloatsCodec.from_config(config, default_model().chain).grid.nodes == 0
