"""The rounding of an input is found, decoded jets are rounded in the same way, and all bounds hold."""

import awkward as ak
import numpy as np
import pytest
from conftest import random_jets, read_tree, succeeded, write_tree
from hypothesis import given
from hypothesis import strategies as st

from atlasae.jets.collections import Rounding
from atlasae.jets.layouts import Layout
from atlasae.jets.precision import find_roundings, is_exact, room_of
from atlasae.jets.rounding import find_rounding, rounded, rounded_phi
from atlasae.jets.stored import Storage

PT_M = ("pt", "eta", "phi", "m")
GRID = np.float32(-5) + np.arange(4096, dtype=np.float32) * np.float32(10 / 4095)  # as Real32Quant with 12 bits


def cut(values: np.ndarray, bits: int) -> np.ndarray:
    """Values with mantissas rounded to `bits` bits by integer arithmetic, as experiments do."""
    unused = 23 - bits
    raw = values.astype(np.float32).view(np.uint32)
    return ((raw + np.uint32(1 << (unused - 1))) >> unused << unused).view(np.float32)


def jets_rounded(n: int) -> dict[str, np.ndarray]:
    """Jets in GeV, rounded as in NanoAOD: pt and m to 10 bits, eta and phi to 12."""
    jets = random_jets(n)
    units = {"pt": 1000.0, "m": 1000.0}
    return {v: cut(jets[v] / units.get(v, 1.0), 10 if v in units else 12) for v in PT_M}


@pytest.mark.parametrize("bits", [7, 10, 12, 19])
def test_cut_mantissas_are_found(bits):
    values = cut(np.random.default_rng(1).normal(size=1000), bits)
    assert find_rounding(values) == Rounding(bits)
    assert find_rounding(values.astype(np.float64)) == Rounding(bits)
    assert rounded(values.astype(np.float64), Rounding(bits)).astype(np.float32).tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_grid_is_found_and_its_numbers_come_back(dtype):
    drawn = np.random.default_rng(1).choice(GRID, 300).astype(dtype)
    found = find_rounding(drawn)
    assert found is not None and found.bits is None and found.step == pytest.approx(10 / 4095, rel=1e-5)
    np.testing.assert_allclose(rounded(drawn + found.step * 0.49, found), drawn, atol=2e-6)


def test_numbers_as_fine_as_their_type_were_not_rounded():
    values = np.random.default_rng(1).normal(size=1000)
    assert find_rounding(values) is None and find_rounding(values.astype(np.float32)) is None
    assert find_rounding(np.empty(0, np.float32)) is None
    assert find_rounding(np.array([np.nan, np.inf, -np.inf], np.float32)) is None
    uneven = np.concatenate([GRID[:100], GRID[50:60] + np.float32(0.001)])
    assert find_rounding(uneven) is None


def test_what_is_no_number_is_no_matter_of_rounding():
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])
    found = rounded(values, Rounding(3))
    np.testing.assert_array_equal(found, values)
    assert np.signbit(found).tolist() == np.signbit(values).tolist()
    with pytest.raises(ValueError, match="out of range"):
        Rounding(None, 0.0, 0.0)
    with pytest.raises(ValueError, match="out of range"):
        Rounding(99)


@given(
    st.integers(0, 14),
    st.floats(1e-4, 0.3),
    st.floats(0.02, 300),
    st.floats(-1, 1),
    st.sampled_from(PT_M),
)
def test_what_is_decoded_within_its_room_keeps_its_bound(bits, bound, value, off, variable):
    rounding = Rounding(bits)
    original = rounded(np.array([value]), rounding)
    unit = {"pt": original, "m": np.maximum(original, 0.1)}.get(variable, np.ones(1))
    room = room_of(rounding, variable, original, 1000.0, bound)
    decoded = original + 0.999999 * off * room * unit
    fraction, exponent = np.frexp(original)
    below = exponent - (fraction == 0.5)  # the exponent of the next number below a power of two
    if np.frexp(decoded)[1] in (exponent, below):
        assert (np.abs(rounded(decoded, rounding) - original) <= bound * unit * (1 + 1e-12)).all()


def test_room_is_half_a_step_where_the_input_is_coarser_than_the_bound():
    tenths = np.arange(-20, 21) / 10
    rounding = find_rounding(tenths)
    assert rounding is not None
    assert room_of(rounding, "eta", tenths, 1.0, 1e-3) == pytest.approx(0.05)
    assert room_of(rounding, "eta", tenths, 1.0, 0.1) == pytest.approx(0.1, rel=0.5)
    pt = np.linspace(20, 40, 30).astype(np.float32)
    assert room_of(Rounding(4), "pt", pt, 1000.0, 1e-3) == pytest.approx(0.5 / 40, rel=0.3)


def test_where_rounding_leaves_too_little_room_it_is_finer():
    """With numbers at a distance just above the bound, each would have to be decoded to itself."""
    pt = cut(np.linspace(1.0, 1.05, 200), 9)  # at a distance of 2^-9, about 0.00195
    settled = find_roundings({"pt": pt}, 1000.0, {"pt": 0.0019}, full=False)
    assert settled == {"pt": Rounding(10)}
    assert find_roundings({"pt": pt}, 1000.0, {"pt": 0.0019}, full=True) == {"pt": Rounding(9)}
    assert find_roundings({"pt": pt}, 1000.0, {"pt": 1e-4}, full=False) == {"pt": Rounding(9)}


def test_masses_of_zero_stay_within_their_bound():
    mass = np.zeros(100, np.float32)
    (rounding,) = find_roundings({"m": mass}, 1000.0, {"m": 1e-3}, full=False).values()
    decoded = np.linspace(-1, 1, 101) * room_of(rounding, "m", mass, 1000.0, 1e-3) * 0.1
    assert np.abs(rounded(decoded, rounding)).max() <= 1e-4


@pytest.mark.parametrize("layout", ["floats", "packed"])
@pytest.mark.parametrize("bound", [1e-2, 1e-3, 1e-4])
def test_rounded_jets_come_back_as_rounded_and_within_their_bound(layout, bound, tmp_path):
    jets = jets_rounded(3000)
    counts = np.full(1000, 3)
    write_tree(tmp_path / "in.root", "Events", {f"Jet_{v}": ak.unflatten(jets[v], counts) for v in PT_M})
    options = ("--layout", layout, "--precision", bound, "--units", "GeV", "--json")
    report = succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", *options).report
    assert report["exact_jets"] <= 0.01 * report["jets"]
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root", "--quiet")
    back = read_tree(tmp_path / "back.root", "Events")
    for v in PT_M:
        after = ak.to_numpy(ak.flatten(back[f"Jet_{v}"]))
        unit = {"pt": jets[v], "m": np.maximum(jets[v], 0.1)}.get(v, 1.0)
        away = np.abs(after.astype(np.float64) - jets[v])
        assert (away / unit).max() <= bound
        if v == "pt":
            assert find_rounding(after) == Rounding(10)
            assert bound > 2**-12 or (away == 0).all()  # with bounds below the rounding of the input, pt is exact


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_bounds_by_resolution_keep_roundings_as_far_as_they_allow(layout, tmp_path):
    jets = jets_rounded(3000)
    write_tree(tmp_path / "in.root", "Events", {f"Jet_{v}": ak.Array(jets[v]) for v in PT_M})
    options = ("--layout", layout, "--precision", "resolution/20", "--units", "GeV", "--json")
    report = succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", *options).report
    assert report["exact_jets"] <= 0.01 * report["jets"]
    succeeded("verify", tmp_path / "in.root", tmp_path / "small.root", "--quiet")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root", "--quiet")
    back = read_tree(tmp_path / "back.root", "Events")
    for v in PT_M:
        before, after = (find_rounding(ak.to_numpy(array)) for array in (jets[v], back[f"Jet_{v}"]))
        assert after and before and (before.bits is None or after.bits - before.bits <= 3)


def test_bits_below_those_of_the_input_are_not_coded(tmp_path):
    """With 10 bits per number, a jet takes at most 0.2 bytes more at 2e-5 than at 2e-4."""
    jets = jets_rounded(3000)
    write_tree(tmp_path / "in.root", "Events", {f"Jet_{v}": ak.Array(jets[v]) for v in PT_M})
    sizes = {}
    for bound in (2e-4, 2e-5):
        options = ("--layout", "packed", "--precision", f"pt={bound},eta=1e-3,phi=1e-3,m={bound}", "--json")
        found = succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", "--force", *options).report
        sizes[bound] = found["bytes_per_jet"]
    assert sizes[2e-5] - sizes[2e-4] < 0.2


def test_jets_halfway_between_two_numbers_are_exact():
    """Other arithmetic may round them to the other number."""
    kept = Storage(Layout(PT_M), (np.dtype("<f8"),) * 4, 1.0, {"eta": Rounding(None, 0.0, 0.1)})
    values = np.array([[5e4, 1.0, 0.0, 5e3], [5e4, 1.0, 0.0, 5e3]])
    rows = values + [[0, 0.0499999, 0, 0], [0, 0.049, 0, 0]]
    found = kept.errors_of(values, rows)
    assert found["eta"].max() < 1e-12
    worst = kept.worst_errors(values, rows, found, 3e-6)
    assert worst["eta"][0] == pytest.approx(0.1) and worst["eta"][1] < 1e-12


def test_masses_in_whole_gev_are_not_exact(tmp_path):
    """Rounded mantissas have half of the distance below a power of two, and 1, 2 and 4 GeV are the most frequent."""
    rng, n = np.random.default_rng(5), 6000
    pt = 20 * (1 + rng.pareto(3, n))
    jets = {"pt": pt, "eta": np.clip(rng.normal(0, 1.8, n), -4.9, 4.9), "phi": rng.uniform(-3.14, 3.14, n)}
    jets["m"] = np.maximum(np.rint(pt * rng.uniform(0.03, 0.25, n)), 1)
    columns = {f"jet1_{v}": ak.Array(x.astype(np.float32)) for v, x in jets.items()}
    write_tree(tmp_path / "in.root", "Events", columns)
    options = ("--units", "GeV", "--layout", "packed", "--json")
    report = succeeded("compress", tmp_path / "in.root", tmp_path / "out.root", *options).report
    assert report["exact_jets"] < 0.01 * n and report["bytes_per_jet"] < 5.2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [0.1, 0.25, 1.0, 0.005])
def test_short_steps_are_found_and_come_back_bit_for_bit(step, dtype):
    whole = np.unique(np.random.default_rng(1).integers(-31, 300, 500))
    values = (np.rint(whole) * step).astype(dtype)
    assert find_rounding(values) == Rounding(None, 0.0, step)
    assert rounded(values.astype(np.float64), Rounding(None, 0.0, step)).astype(dtype).tobytes() == values.tobytes()


def test_a_single_number_that_is_finer_does_not_matter():
    values = cut(np.random.default_rng(1).uniform(20, 500, 5000), 10)
    values[7] = 1e-40
    values[8] = np.float32(np.pi)
    assert find_rounding(values) == Rounding(10)


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_a_number_next_to_nothing_among_cut_ones_is_no_matter(layout, tmp_path):
    jets = {v: x.astype(np.float64) for v, x in jets_rounded(500).items()}
    jets["eta"][3] = 2.0**-1050
    write_tree(tmp_path / "in.root", "Events", {f"jet1_{v}": ak.Array(x) for v, x in jets.items()})
    options = ("--units", "GeV", "--layout", layout, "--json")
    result = succeeded("compress", tmp_path / "in.root", tmp_path / "out.root", *options)
    assert result.report["exact_jets"] <= 2 and result.err == ""


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_no_phi_is_rounded_to_beyond_pi(layout, tmp_path):
    rng = np.random.default_rng(2)
    phi = np.array([3.125] * 50 + [0.03125 * i for i in range(-100, 101)])
    jets = {"pt": rng.uniform(20, 90, len(phi)), "eta": rng.normal(0, 1, len(phi)), "phi": phi}
    jets["m"] = rng.uniform(1, 9, len(phi))
    branches = {f"jet1_{v}": ak.Array(x.astype(np.float32)) for v, x in jets.items()}
    write_tree(tmp_path / "in.root", "Events", branches)
    options = ("--units", "GeV", "--layout", layout, "--precision", "0.1")
    succeeded("compress", tmp_path / "in.root", tmp_path / "out.root", *options)
    succeeded("decompress", tmp_path / "out.root", tmp_path / "back.root")
    assert np.abs(ak.to_numpy(read_tree(tmp_path / "back.root", "Events")["jet1_phi"])).max() <= np.pi
    for rounding in (Rounding(6), Rounding(3), Rounding(None, 0.0, 0.1), Rounding(None, -np.pi, np.pi / 32)):
        found = rounded_phi(np.linspace(-np.pi, np.pi, 4001), rounding)
        assert np.abs(found).max() <= np.pi
    for rounding in (Rounding(6), Rounding(3), Rounding(None, 0.0, 0.1), Rounding(None, -0.03, 0.1)):
        found = rounded_phi(np.linspace(0, 2 * np.pi, 4001), rounding, full_turn=True)
        assert found.min() >= 0 and found.max() <= np.float32(2 * np.pi) and len(np.unique(found)) > 20


@pytest.mark.parametrize("least", [5e-324, 2e-317, 1e-300])
def test_numbers_near_0_do_not_spoil_the_room_of_others(least):
    pt = np.float64(np.float32(np.linspace(20, 90, 200)))
    with_least = np.concatenate([[least], pt])
    for variable in ("pt", "m"):
        expected = room_of(Rounding(23), variable, pt, 1000.0, 1e-3)
        assert room_of(Rounding(23), variable, with_least, 1000.0, 1e-3) == pytest.approx(expected, rel=0.01)
        assert not is_exact(Rounding(23), variable, with_least, 1000.0, 1e-3)
