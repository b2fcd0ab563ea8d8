"""Grids whose steps follow the resolution: jets are within their share of it, and integers are right everywhere."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.codecs import entropy, resolved
from atlasae.codecs.entropy import Reader, WordWriter, uniform
from atlasae.codecs.floats import ResolvedFloatsCodec, codec_of_config
from atlasae.codecs.lattice import HIGH, LOW, ShiftedLattice
from atlasae.codecs.model import default_model
from atlasae.codecs.packed import PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.codecs.resolved import PER_ONE, EqualCells, FallingCells, ResolvedLattice, ResolvedSteps, lattice_of
from atlasae.codecs.search import choose_codec
from atlasae.files.events import counts_of
from atlasae.jets.layouts import Layout
from atlasae.jets.precision import Precision
from atlasae.jets.resolution import EXPERIMENTS, Resolution
from atlasae.jets.stored import Storage
from atlasae.native.library import library

VARIABLES = ("pt", "eta", "phi", "m")
TERMS = ("noise", "stochastic", "constant")
SHIFTED, PLAIN = (True,) * 4, (False,) * 4
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def steps(share: float = 1 / 20, experiment: str = "atlas", drift: float = 0.0) -> ResolvedSteps:
    return ResolvedSteps.within(dict.fromkeys(VARIABLES, share), EXPERIMENTS[experiment], drift)


def jets(n: int, seed: int = 1) -> np.ndarray:
    """Jets with a falling pt from 1 GeV, some of them massless."""
    random = np.random.default_rng(seed)
    pt = np.minimum(1000 * random.random(n) ** -1.5, 1e7)
    m = pt * random.uniform(0, 0.3, n) * (random.random(n) > 0.1)
    return np.stack([pt, random.uniform(-5, 5, n), random.uniform(-np.pi, np.pi, n), m], axis=1)


def over_resolution(before: np.ndarray, after: np.ndarray, experiment: str = "atlas") -> np.ndarray:
    """The errors (n x 4) over the resolution at the pt before, from their definitions."""
    gev = before[:, 0] / 1000
    found = []
    for variable, x, y in zip(VARIABLES, before.T, after.T, strict=True):
        error = np.abs(y - x) if variable != "phi" else np.abs((y - x + np.pi) % (2 * np.pi) - np.pi)
        unit = {"pt": x, "m": np.maximum(np.abs(x), 100.0)}.get(variable, 1.0)
        noise, stochastic, constant = EXPERIMENTS[experiment][variable].terms
        found.append(error / unit / np.sqrt(noise**2 / gev**2 + stochastic**2 / gev + constant**2))
    return np.stack(found, axis=1)


@given(st.sampled_from(["atlas", "cms"]), st.sampled_from([3.0, 20.0, 200.0]), st.booleans(), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_no_jet_is_further_off_than_its_share_of_the_resolution(experiment, parts, shifts, seed):
    lattice = ResolvedLattice(steps(1 / parts, experiment), SHIFTED if shifts else PLAIN)
    coder = ShiftedLattice(lattice, seed, np.arange(300)) if shifts else lattice
    before = jets(300, seed)
    errors = over_resolution(before, coder.decode(coder.encode(before)), experiment)
    assert errors.max() <= (1 + 1e-9) / parts
    if parts > 10:  # steps are not much smaller than they could be, where the resolution hardly changes in a cell
        assert np.median(errors[:, 0]) > 0.4 / parts and np.median(errors[:, 1:3]) > 0.35 / parts


@pytest.mark.parametrize("jet", [(1e4, 0, np.nan, 0), (-1, 0, 0, 0), (400, 0, 0, 0), (1e4, 10.1, 0, 0), (3e7, 0, 0, 0)])
def test_jets_beyond_the_grid_have_no_cell(jet):
    cells, held = ResolvedLattice(steps()).cells(np.array([jet, (5e4, 0, 0, 5e3)]))
    assert held.tolist() == [False, True] and cells[:, 0].tolist() == [0] * 4


def test_decimal_arithmetic_gives_the_same_integers(monkeypatch):
    found = steps(1 / 3, "cms")
    fast = [found.places, *(found.steps(i) for i in (1, 2, 3))]
    monkeypatch.setattr(resolved, "CLOSE", 1.0)  # so that each of them is computed in decimal arithmetic
    again = steps(1 / 3, "cms")
    for one, other in zip(fast, [again.places, *(again.steps(i) for i in (1, 2, 3))], strict=True):
        np.testing.assert_array_equal(one, other)
    assert math.exp(LOW[0] + found.places[40] / PER_ONE) == pytest.approx(
        found.pt(np.array([40.0]))[0], rel=2 / PER_ONE
    )


def test_variables_with_bounds_of_their_own_have_the_same_step_everywhere():
    mixed = ResolvedSteps.within({"pt": 1e-3, "eta": 1 / 20, "phi": 1e-3, "m": 1e-2}, EXPERIMENTS["cms"], 0)
    assert mixed.resolutions == tuple(EXPERIMENTS["cms"][v] for v in VARIABLES)
    own = ResolvedSteps.within({"pt": 1e-3, "eta": 1 / 20, "phi": 1e-3, "m": 1e-2}, {"eta": Resolution(0, 0, 0.02)}, 0)
    assert own.steps(2).tolist() == [int(2e-3 * PER_ONE)] * own.size
    assert own.steps(1).tolist() == [int(2e-3 * PER_ONE)] * own.size
    assert own.steps(3)[0] == int(2 * math.log1p(1e-2) * PER_ONE)


@pytest.mark.parametrize("shares", [(0.0, 0.1, 0.1, 0.1), (3.0, 0.1, 0.1, 0.1), (math.nan, 0.1, 0.1, 0.1), (1e-6,) * 4])
def test_steps_out_of_range_are_refused(shares):
    with pytest.raises(ValueError, match=r"not between|too small"):
        ResolvedSteps(shares, (None, None, None, None))


@given(st.integers(1, 50), st.integers(-100, 100), st.integers(-200, 200))
def test_a_ruler_finds_the_first_cell_at_or_above_an_edge(step, shift, edge):
    ruler = EqualCells(np.array([step]), np.array([shift]))
    first = int(ruler.start(np.array([edge]))[0])
    fine = [int(ruler.fine(np.array([cell]))[0]) for cell in (first - 1, first)]
    assert fine[0] < edge <= fine[1]


@given(st.integers(0, 19), st.integers(-400, 400))
def test_falling_cells_are_measured_by_their_places(before, edge):
    places = np.cumsum(np.arange(1, 21))
    ruler = FallingCells(places, np.array([before], np.int32))
    falls = [cell for cell in range(before - 19, before + 1) if places[before] - places[before - cell] >= edge]
    assert int(ruler.start(np.array([edge]))[0]) == (falls[0] if falls else before + 1)


def test_a_bin_without_cells_is_refused():
    words = WordWriter()
    words.code(uniform(4), None, np.array([3], np.int32), 1)
    nothing = EqualCells(np.array([8]), np.array([1]))  # its cells begin at 1, 9, ...: none from 4 to 8
    with pytest.raises(ValueError, match="a bin without cells"):
        Reader(words.words()).code_measured(replace_edges(4, 8), None, None, 1, nothing)


def replace_edges(low: int, high: int):
    table = uniform(4)
    table.edges = np.array([low, high])
    return table


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("shifted", [SHIFTED, PLAIN])
@pytest.mark.parametrize("parts", [4.0, 200.0])
def test_cells_come_back_from_words(context, shifted, parts):
    lattice = ResolvedLattice(steps(1 / parts), shifted)
    codec = PackedCodec(default_priors(), lattice, context)
    counts = np.array([0, 3, 1, 20, 0, 6] * 10)
    before = jets(int(counts.sum()))
    before[:40, 3] = 0.4  # massless
    offsets = ShiftedLattice(lattice, 5, np.arange(len(before))).offsets
    cells, held = lattice.cells(before, offsets)
    assert held.all()
    np.testing.assert_array_equal(codec.decode(codec.encode(cells, counts), counts), cells)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_any_words_give_cells_inside_the_grid_or_are_refused(words):
    codec = PackedCodec(default_priors(), ResolvedLattice(steps(), SHIFTED))
    try:
        cells = codec.decode(np.array(words, np.uint32), np.array([3, 2, 20]))
    except ValueError:
        return
    assert np.isfinite(codec.lattice.jets(cells)).all()


@pytest.mark.skipif(library() is None, reason="nothing is compiled")
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=30), st.sampled_from([4.0, 20.0, 200.0]), st.booleans(),
    st.integers(0, 99), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_compiled_and_python_write_the_same_words_and_read_the_same_of_any(counts, parts, context, seed, words):
    lattice, counts = ResolvedLattice(steps(1 / parts), SHIFTED), np.array(counts)
    codec, before = PackedCodec(default_priors(), lattice, context), jets(int(counts.sum()), seed)
    cells, held = lattice.cells(before, ShiftedLattice(lattice, seed, np.arange(len(before))).offsets)
    cells, counts = cells[:, held], counts_of(held, counts)
    found = []
    for compiled in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not compiled:
                patch.setattr(entropy, "library", lambda: None)
            written = codec.encode(cells, counts)
            assert np.array_equal(codec.decode(written, counts), cells)
            try:
                read = codec.decode(np.array(words, np.uint32), counts).tolist()
            except ValueError:
                read = "refused"
        found.append((written.tolist(), read))
    assert found[0] == found[1]


def test_the_grid_is_in_the_configuration():
    lattice = ResolvedLattice(steps(), SHIFTED)
    assert lattice_of(json.loads(json.dumps(lattice.config()))) == lattice
    with pytest.raises(ValueError, match="resolutions"):
        lattice_of({"resolved": {"shares": [0.1] * 4}})


# --- floats


def storage() -> Storage:
    return Storage(Layout(VARIABLES, resolutions=EXPERIMENTS["atlas"]), (np.dtype("<f4"),) * 4)


@pytest.fixture(scope="module", params=[True, False], ids=["dither", "no dither"])
def codec(request: pytest.FixtureRequest) -> ResolvedFloatsCodec:
    columns = list(jets(3000, 2).astype("<f4").T)
    found = choose_codec(
        default_model().chain, storage(), Precision.parse("resolution/20"), columns, dither=request.param
    )
    assert isinstance(found, ResolvedFloatsCodec)
    return found


def test_floats_are_within_the_share_of_the_resolution(codec):
    before = jets(2000, 2)
    latents = codec.encode(before)
    assert latents.shape == (2000, 3) and ((latents >= 1) & (latents < 2)).all()
    errors = over_resolution(before, codec.decode(latents))
    assert (errors.max(axis=1) <= 1 / 20).mean() > 0.995  # up to 1e-3 may be beyond the range of m
    np.testing.assert_array_equal(codec.encode(before[:7]), latents[:7])
    assert len(np.unique(codec.decode(latents)[:, 0])) > (1500 if codec.dither else 100)


def test_words_begin_with_pt_eta_and_phi_where_that_is_asked_for():
    columns, precision = list(jets(3000, 2).astype("<f4").T), Precision.parse("resolution/5")
    made = (choose_codec(default_model().chain, storage(), precision, columns, leading=only) for only in (False, True))
    free, leading = (codec.words for codec in made if isinstance(codec, ResolvedFloatsCodec))
    assert free[2] == ()  # all bits are in two words
    assert [word[0].variable for word in leading] == [0, 1, 2]


def test_few_jets_get_the_widest_grid():
    grid = choose_codec(
        default_model().chain, storage(), Precision.parse("resolution/20"), list(jets(3).astype("<f4").T)
    )
    before = jets(500)
    inside = before[(before[:, 0] > 1e3) & (before[:, 0] < 1e7) & (np.abs(before[:, 1]) < 5)]
    assert (over_resolution(inside, grid.decode(grid.encode(inside))) <= 1 / 20).all(axis=1).mean() > 0.9


def test_the_codec_is_in_its_configuration(codec):
    text = json.dumps(codec.config(), allow_nan=False)
    again = codec_of_config(json.loads(text), codec.chain)
    assert again == codec and json.dumps(again.config()) == text


@pytest.mark.parametrize(
    "change",
    [
        {"first": [-1, 0, 0, 0]},
        {"levels": [1 << 20, 32, 32, 10]},
        {"levels": [10, 0, 32, 10]},
        {"resolved": {"shares": [0.1] * 4, "resolutions": [None] * 3 + [dict.fromkeys(TERMS, 0)]}},
        {"dither": {"shifted": [0], "blocks": [1]}},
    ],
)
def test_impossible_configurations_are_refused(codec, change):
    with pytest.raises(ValueError):  # noqa: PT011  (of several kinds)
        codec_of_config(codec.config() | change, codec.chain)


def test_a_model_of_other_variables_is_refused(codec):
    other = replace(codec.chain.links[3], given=(0,))
    chain = type("Other", (), {"links": (*codec.chain.links[:3], other)})()
    with pytest.raises(ValueError, match="other variables"):
        replace(codec, chain=chain)


def test_the_range_of_pt_is_that_of_the_uniform_grid():
    found = steps()
    ends = found.pt(np.array([0.0, float(found.size - 1)]))
    assert np.log(ends[0]) == pytest.approx(LOW[0]) and np.log(ends[1]) >= HIGH[0] - 1e-6
