import math

import numpy as np
import pytest
import torch
from conftest import jet_grid, random_jets
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.codecs.chain import Density, InvertibleAutoencoder, jet_autoencoder
from atlasae.codecs.grid import Grid, balanced_radices, pack, radices, unpack
from atlasae.codecs.model import default_model
from atlasae.jets.variables import JET

pytestmark = pytest.mark.usefixtures("one_torch_thread")

EXPONENTS = [0.0, 0.2, 1 / 3, 1.0, 2.0]
SPANS = torch.tensor([10.7, 12.0, 2 * math.pi, 19.0], dtype=torch.float64)  # ranges of log pt, eta, phi, mu
EDGES = torch.tensor([-2.0, -1.5, 0.0, 0.25, 4.0], dtype=torch.float64)


def density(context: int, sharpness: float = 2.0) -> Density:
    """A density with bins of unequal widths and probabilities."""
    torch.manual_seed(5)
    made = Density(EDGES, context=context, hidden=8).double()
    with torch.no_grad():
        for parameter in made.logits.parameters():
            parameter.copy_(sharpness * torch.randn_like(parameter))
    return made


def contexts(context: int, n: int) -> torch.Tensor:
    return torch.linspace(-1, 1, n * context, dtype=torch.float64).reshape(n, context) if context else torch.empty(0)


def autoencoder(name: str) -> InvertibleAutoencoder:
    torch.manual_seed(3)
    return default_model().autoencoder if name == "default" else jet_autoencoder()


def coordinates(n: int, seed: int = 1) -> torch.Tensor:
    jets = random_jets(n, seed)
    return torch.from_numpy(JET.to_coordinates(np.column_stack([jets[v] for v in ("pt", "eta", "phi", "m")])))


# --- one density


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("context", [0, 1, 2])
def test_a_cumulative_rises_from_0_to_1_and_stays_there(context, exponent):
    y = torch.linspace(-3, 5, 801, dtype=torch.float64)
    one = contexts(context, 1).expand(len(y), context) if context else contexts(0, 0)
    u = density(context).cumulative(y, one, exponent)
    assert u.dtype == torch.float64
    inside = (y > -2) & (y < 4)
    assert (u[inside].diff() > 0).all()
    assert u[y <= -2].tolist() == [0] * 101
    assert u[y >= 4].tolist() == pytest.approx([1] * 101, abs=1e-15) and u.max() <= 1 + 1e-15


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("context", [0, 2])
def test_a_quantile_undoes_the_cumulative(context, exponent):
    y = torch.linspace(-2, 4, 241, dtype=torch.float64)  # includes every edge
    c, u, d = contexts(context, 241), torch.linspace(0, 1, 241, dtype=torch.float64), density(context)
    torch.testing.assert_close(d.quantile(d.cumulative(y, c, exponent), c, exponent), y, rtol=0, atol=1e-10)
    torch.testing.assert_close(d.cumulative(d.quantile(u, c, exponent), c, exponent), u, rtol=0, atol=1e-12)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("context", [0, 1])
def test_a_density_is_the_slope_of_its_cumulative(context, exponent):
    middles, n = (EDGES[1:] + EDGES[:-1]) / 2, 4
    d, c = density(context), contexts(context, 1).expand(n, context) if context else contexts(0, 0)
    heights = d.log_density(middles, c, exponent).exp().detach()
    assert float(heights @ EDGES.diff()) == pytest.approx(1, abs=1e-12)
    rise = d.cumulative(middles + 0.1, c, exponent) - d.cumulative(middles - 0.1, c, exponent)
    torch.testing.assert_close(heights, rise.detach() / 0.2, rtol=1e-9, atol=0)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_an_exponent_is_a_power_of_the_density(exponent):
    y, d, c = (EDGES[1:] + EDGES[:-1]) / 2, density(0), contexts(0, 0)
    ratio = d.log_density(y, c, exponent) - exponent * d.log_density(y, c)
    torch.testing.assert_close(ratio, ratio[:1].expand(4), rtol=0, atol=1e-9)


def test_a_density_by_hand():
    d = density(0)
    with torch.no_grad():
        next(d.parameters()).copy_(torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log())
    y = torch.tensor([-1.75, -1.0, 0.125, 2.0], dtype=torch.float64)
    expected = [0.97 * p / w + 0.03 / 6 for p, w in zip([0.1, 0.2, 0.3, 0.4], [0.5, 1.5, 0.25, 3.75], strict=True)]
    assert d.log_density(y, torch.empty(0)).exp().tolist() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("context", [0, 1])
def test_no_value_of_the_support_is_impossible(context):
    heights = density(context, sharpness=1e4).log_density(
        torch.linspace(-2, 4, 50, dtype=torch.float64), contexts(context, 50)
    )
    assert heights.min() >= math.log(0.03 / 6) - 1e-12


# --- grids and words


def test_bits_by_hand():
    grid = jet_grid(0.0, (9.0, 9.0, 9.0, 9.0), (0, 0, 0, 0), (4, 8, 16, 33), (2, 1, 17))
    assert grid.bits == pytest.approx((2, 3, 4, math.log2(33)))
    assert grid.word_bits == pytest.approx(math.log2(16 * 17))


def test_a_word_by_hand():
    grid = jet_grid(0.0, (9.0,) * 4, (0,) * 4, (10, 20, 30, 24), (2, 3, 4))
    # m's cell 17 = 1 of 3 x 4, 1 of 4, 1: digits 1, 1, 1
    latents = pack([np.array([i]) for i in (5, 7, 9, 17)], grid)
    words = [5 * 2 + 1, 7 * 3 + 1, 9 * 4 + 1]
    assert latents.dtype == np.float32
    assert latents.tolist() == [[1 + word / 2**23 for word in words]]


@st.composite
def packings(draw: st.DrawFn) -> tuple[Grid, list[list[int]]]:
    """A grid that fits three words, and cells of jets, which include the first and last of each variable."""
    digits = [draw(st.one_of(st.integers(1, 300), st.integers(1, 2**23))) for _ in range(3)]
    levels = [draw(st.integers(1, 2**23 // radix)) for radix in digits]
    if draw(st.booleans()):
        levels = [2**23 // radix for radix in digits]
    levels.append(draw(st.integers(1, min(math.prod(digits), 2**60))))
    jets = draw(st.lists(st.tuples(*[st.integers(0, n - 1) for n in levels]), max_size=5))
    grid = jet_grid(0.0, (1.0,) * 4, (0,) * 4, tuple(levels), tuple(digits))
    return grid, [[0] * 4, [n - 1 for n in levels], *map(list, jets)]


@settings(max_examples=100)
@given(packings())
def test_words_are_unpacked_whatever_the_radices(packing):
    grid, jets = packing
    latents = pack(list(np.array(jets).T), grid)
    assert ((latents >= 1) & (latents < 2)).all()
    assert np.stack(unpack(latents, grid), axis=1).tolist() == jets


@pytest.mark.parametrize("digits", [radices, balanced_radices])
@settings(max_examples=50)
@given(
    levels=st.tuples(*[st.one_of(st.integers(1, 300), st.integers(1, 2**23))] * 3),
    m=st.one_of(st.integers(1, 300), st.integers(1, 2**40)),
)
def test_radices_cover_the_cells_of_m_and_fit_where_anything_does(digits, levels, m):
    found = digits((*levels, m))
    assert math.prod(found) >= m and min(found) >= 1
    # `balanced_radices` increases the capacity in steps of 1/256.
    if math.prod((2**23 - 2**15) // n for n in levels) >= m:
        assert max(n * radix for n, radix in zip(levels, found, strict=True)) <= 2**23


@pytest.mark.parametrize(
    ("levels", "fullest"),
    [
        ((1000, 1000, 1000, 1000), 16_000),  # radices of 10 would give 10,000: two bytes as well
        ((1 << 16, 1 << 16, 1 << 16, 1 << 20), 1 << 23),
        ((20_000, 100, 100, 27), 20_000),  # the fullest word gets no digit of m
    ],
)
def test_radices_are_whole_bits_where_that_takes_no_further_byte(levels, fullest):
    found = radices(levels)
    assert max(n * radix for n, radix in zip(levels, found, strict=False)) == fullest
    assert [radix for radix in found if radix.bit_count() != 1] == []


def test_radices_are_not_whole_bits_where_a_word_would_not_hold_them():
    found = radices(((1 << 16) + 1,) * 3 + (120**3,))
    assert max(found) <= 2**23 // 65_537 == 127


# --- the autoencoder

COARSE, FINE = (20.0, 30.5, 25.0, 100.25), (4e4, 3e4, 5e4, 3e4)


def whole(exponent: float, cells: tuple[float, ...]) -> Grid:
    levels = tuple(math.ceil(n) for n in cells)
    return jet_grid(exponent, cells, (0, 0, 0, 0), levels, radices(levels))


@pytest.mark.parametrize("name", ["default", "random"])
@pytest.mark.parametrize("cells", [COARSE, FINE])
def test_equal_steps_leave_at_most_half_a_step(name, cells):
    model, y = autoencoder(name), coordinates(1000)
    latents = model.encode(y, whole(0.0, cells))
    assert latents.dtype == torch.float32 and latents.shape == (1000, 3)
    assert ((latents >= 1) & (latents < 2)).all()
    error = (model.decode(latents, whole(0.0, cells)) - y).abs()
    assert (error <= SPANS / torch.tensor(cells) / 2 * (1 + 1e-9)).all()  # in spite of a coarse pt
    assert (error.max(0).values > SPANS / torch.tensor(cells) / 2 * 0.9).all()


@pytest.mark.parametrize("name", ["default", "random"])
@pytest.mark.parametrize("exponent", [0.2, 1 / 3, 1.0])
@pytest.mark.parametrize("cells", [COARSE, FINE])
def test_tempered_steps_leave_at_most_half_a_cell(name, exponent, cells):
    model, y, grid = autoencoder(name), coordinates(1000), whole(exponent, cells)
    decoded = model.decode(model.encode(y, grid), grid)
    known = decoded.unbind(1)
    with torch.no_grad():
        for i, d in enumerate(model.densities):
            origin, context = model.origin(i, known[:i]), model.context(i, known[:i])
            before, after = (d.cumulative(values[:, i] - origin, context, exponent) for values in (y, decoded))
            assert ((after - before).abs() * cells[i]).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("exponent", [0.0, 1 / 3])
@pytest.mark.parametrize("size", [1, 7])
def test_batches_change_nothing(exponent, size):
    model, y, grid = autoencoder("default"), coordinates(1000), whole(exponent, FINE)
    latents = model.encode(y, grid)
    assert torch.equal(torch.cat([model.encode(part, grid) for part in y[:100].split(size)]), latents[:100])
    parts = torch.cat([model.decode(part, grid) for part in latents[:100].split(size)])
    torch.testing.assert_close(parts, model.decode(latents, grid)[:100], rtol=0, atol=1e-12)


def test_numbers_inside_are_float64():
    model, y = autoencoder("default"), coordinates(100)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float64}
    # Steps of 1e-9, below the resolution of float32: only a small range around the jets fits the words.
    within = torch.linspace(1e-4, 5e-3, 100, dtype=torch.float64)
    near = torch.stack([6.2 + 4 + within, -6 + 6.1 + within, -math.pi + 3 + within, y[:, 3]], dim=1)
    first = (4_000_000_000, 6_100_000_000, 3_000_000_000, 0)
    grid = jet_grid(0.0, tuple((SPANS / 1e-9).tolist()), first, (2**23, 2**23, 2**23, 1), (1, 1, 1))
    decoded = model.decode(model.encode(near, grid), grid)
    assert decoded.dtype == torch.float64
    assert ((decoded - near)[:, :3].abs() <= 0.51e-9).all()


@pytest.mark.parametrize("exponent", [0.0, 1 / 3])
def test_values_outside_the_window_get_its_nearest_cell(exponent):
    model, cells = autoencoder("default"), (100.0,) * 4
    grid = jet_grid(exponent, cells, (40, 30, 20, 10), (20, 40, 60, 80), radices((20, 40, 60, 80)))
    y = coordinates(2)
    y[0], y[1] = torch.tensor([-50.0, -50, -50, -500]), torch.tensor([50.0, 50, 50, 500])
    latents = model.encode(y, grid)
    assert np.stack(unpack(latents.numpy(), grid), axis=1).tolist() == [[0, 0, 0, 0], [19, 39, 59, 79]]
    assert model.decode(latents, grid).isfinite().all()


@pytest.mark.parametrize("exponent", [0.0, 1 / 3, 1.0])
def test_densities_are_the_slopes_of_the_cumulatives(exponent):
    model, y = autoencoder("default"), coordinates(200).requires_grad_()
    u = model.cumulative(y, exponent)
    assert ((u >= 0) & (u <= 1)).all()
    log_densities = model.log_densities(y, exponent)
    for i in range(4):
        (slope,) = torch.autograd.grad(u[:, i].sum(), y, retain_graph=True)
        torch.testing.assert_close(slope[:, i].log(), log_densities[:, i], rtol=0, atol=1e-9)
        assert (slope[:, i + 1 :] == 0).all()  # a variable is conditioned on those before it only
    torch.testing.assert_close(model.log_density(y), model.log_densities(y).sum(dim=1))


def test_outside_the_trained_pt_the_nearest_is_asked():
    model = jet_autoencoder()
    model.trained[0] = torch.tensor([10.0, 12.0])
    y = torch.tensor([[9.0, 1.0, 0.0], [10.0, 1.0, 0.0], [12.0, 1.0, 0.0], [15.0, 1.0, 0.0]], dtype=torch.float64)
    asked = model.context(3, y.unbind(1))
    assert torch.equal(asked[0], asked[1]) and torch.equal(asked[2], asked[3]) and not torch.equal(asked[1], asked[2])
    origin = model.origin(3, y.unbind(1)).detach()
    assert float(origin[0] - origin[1]) == pytest.approx(-1)  # but a mass grows with pt everywhere
