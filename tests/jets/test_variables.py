import math
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from conftest import Result, bits, read_tree, run_main, succeeded, write_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.codecs.grid import Grid, list_words, pack, unpack
from atlasae.errors import UserError
from atlasae.jets.coordinates import inner
from atlasae.jets.variables import JET, Variable, VariableList, read_variables

pytestmark = pytest.mark.usefixtures("quick_model")

RECIPES = Path(__file__).parents[2] / "scripts" / "recipes"
EXTENDED = RECIPES / "extended.toml"

KINDS = {
    "log": (Variable("x", "log", 1e-3), st.floats(1e-6, 1e9)),
    "linear": (Variable("x", "linear", 1e-3), st.floats(-1e3, 1e3)),
    "asinh": (Variable("x", "asinh", 1e-3, scale=2.5), st.floats(-1e6, 1e6)),
    "angle": (Variable("x", "angle", 1e-3), st.floats(-math.pi, math.pi)),
    "integer": (Variable("x", "integer"), st.integers(-(2**39), 2**39).map(float)),
    "categorical": (Variable("x", "categorical", categories=(-1.0, 0.5, 7.0)), st.sampled_from([-1.0, 0.5, 7.0])),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_half_a_step_off_is_within_the_precision(kind, data):
    variable, numbers = KINDS[kind]
    x = np.array(data.draw(st.lists(numbers, min_size=1, max_size=20)))
    off = np.array(data.draw(st.lists(st.floats(-0.499, 0.499), min_size=len(x), max_size=len(x))))
    assert variable.usable(x).all()
    decoded = variable.decode(variable.encode(x) + off * variable.step(inner(variable.precision), 0.0))
    assert (variable.error(x, decoded) <= variable.precision).all()


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        *[(kind, value) for kind in KINDS for value in (math.nan, math.inf, -math.inf)],
        *[("log", value) for value in (0.0, -1.0)],
        *[("angle", 3.2), ("integer", 0.5), ("integer", 2.0**41), ("categorical", 3.0)],
    ],
)
def test_what_has_no_coordinate_is_not_usable(kind, odd):
    assert not KINDS[kind][0].usable(np.array([odd])).any()


def test_errors_are_measured_as_the_precision_is_meant():
    before, after = np.array([2.0, -3.0]), np.array([2.2, -3.3])
    assert Variable("x", "log", 0.1).error(before, after) == pytest.approx([0.1, 0.1])
    assert Variable("x", "linear", 0.1).error(before, after) == pytest.approx([0.2, 0.3])
    assert Variable("x", "asinh", 0.1, scale=10).error(before, after) == pytest.approx([0.02, 0.03])
    assert Variable("x", "angle", 0.1).error(np.array([3.1]), np.array([-3.1])) == pytest.approx([2 * math.pi - 6.2])


def test_what_others_may_decode_is_off_by_the_drift_as_errors_are_counted():
    jets = np.array([[5e4, 1.0, -2.0, 5e3], [2e4, -3.0, 3.0, 20.0], [1e5, 0.0, 0.0, -400.0]])
    floors = np.array([5e3, 100.0, 400.0])
    for drift in (1e-6, -2e-3):
        off = JET.moved(jets, drift) - jets
        expected = drift * np.stack([jets[:, 0], np.ones(3), np.ones(3), floors], axis=1)
        np.testing.assert_allclose(off, expected, rtol=1e-6, atol=1e-11)


def test_jets_are_a_list_of_variables():
    listed = VariableList(JET.variables)
    jets = np.array([[5e4, 1.0, -2.0, 5e3], [2e4, -3.0, 3.0, 20.0], [1e5, 0.0, 0.0, -400.0]])
    coordinates = JET.to_coordinates(jets)
    assert [v.coordinate for v in JET.variables] == ["log", "linear", "angle", "asinh"] and listed != JET
    assert np.array_equal(coordinates, listed.to_coordinates(jets))
    assert np.array_equal(JET.from_coordinates(coordinates), listed.from_coordinates(coordinates))
    assert JET.usable(jets).all() and listed.usable(jets).all()


def test_residuals_are_errors_with_their_sign():
    before, after = np.array([[2.0, 1.0, 3.1, 50.0]]), np.array([[1.8, 0.75, -3.1, 40.0]])
    found = {v: float(x[0]) for v, x in JET.residuals(before, after).items()}
    assert found == pytest.approx({"pt": -0.1, "eta": -0.25, "phi": 2 * math.pi - 6.2, "m": -0.1})
    assert {v: float(x[0]) for v, x in JET.errors(before, after).items()} == {v: abs(x) for v, x in found.items()}


def test_categories_are_those_of_the_sample():
    listed = VariableList((Variable("a", "categorical"), Variable("b", "linear", 0.1)))
    rows = np.array([[5.0, 1.0], [np.nan, 2.0], [4.0, 3.0], [5.0, 4.0]])
    known = listed.settled(rows)
    assert [variable.categories for variable in known.variables] == [(4.0, 5.0), ()]
    assert VariableList.from_json(known.to_json()) == known
    with pytest.raises(UserError, match="'a' has 300 categories"):
        listed.settled(np.stack([np.arange(300.0)] * 2, axis=1))


def test_whether_angles_span_a_full_turn_is_that_of_the_sample():
    listed = VariableList((Variable("a", "angle", 1e-3), Variable("b", "angle", 1e-3)))
    rows = np.column_stack([np.linspace(0, 2 * np.pi, 99), np.linspace(-np.pi, np.pi, 99)])
    known = listed.settled(rows)
    assert [variable.full_turn for variable in known.variables] == [True, False]
    assert VariableList.from_json(known.to_json()) == known
    assert ["full_turn" in facts for facts in known.to_json()] == [True, False]  # as it was before it was known
    assert known.usable(rows).all() and not listed.usable(rows).all()
    back = known.from_coordinates(known.to_coordinates(rows) + 1e-4)
    assert back[:, 0].min() >= 0 and back[:, 0].max() < 2 * np.pi
    assert max(error.max() for error in known.errors(rows, back).values()) < 1.1e-4


def write(path: Path, *tables: str) -> Path:
    path.write_text("\n".join(f"[[variable]]\n{table}" for table in tables))
    return path


GOOD = 'branch = "y"\ncoordinate = "integer"'


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('branch = "x"\ncoordinate = "cube"', "a coordinate of log, linear"),
        ('coordinate = "log"', "needs a branch"),
        ('branch = "x"\ncoordinate = "log"', "precision 0.0 is not between"),
        ('branch = "x"\ncoordinate = "log"\nprecision = 1', "precision 1 is not between"),
        ('branch = "x"\ncoordinate = "log"\nprecision = "1"', "must be numbers"),
        ('branch = "x"\ncoordinate = "asinh"\nprecision = 0.1\nscale = 0', "scale positive"),
        ('branch = "x"\ncoordinate = "integer"\nprecision = 0.1', "leave precision out"),
        ('branch = "x"\ncoordinate = "integer"\nbits = 3', "no setting 'bits'"),
        ('branch = "y"\ncoordinate = "integer"', "names 1 different branches"),
        ('branch = "x', "is no TOML"),
        ('branch = "x"\ncoordinate = "linear"\nprecision = -1.0', "no positive number: give it in the branch"),
        ('branch = "x"\ncoordinate = "linear"\nprecision = inf', "no positive number"),
        ('branch = "x"\ncoordinate = "asinh"\nprecision = 0.1\nscale = inf', "scale positive"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(table, says, tmp_path):
    with pytest.raises(UserError, match=says):
        read_variables(write(tmp_path / "list.toml", GOOD, table))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("variable = 3", "variable = 3 is no list of tables"),
        ("variable = [1, 2]", "no list of tables"),
        ('[variable]\nbranch = "x"', "no list of tables"),
        ("seed = 1", "no setting 'seed'"),
    ],
)
def test_what_is_no_list_of_tables_is_refused(text, says, tmp_path):
    (tmp_path / "list.toml").write_text(text)
    with pytest.raises(UserError, match=says):
        read_variables(tmp_path / "list.toml")


def test_a_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no list of variables"):
        read_variables(tmp_path / "none.toml")


@given(st.lists(st.integers(1, 2**30), min_size=1, max_size=14), st.randoms(use_true_random=False))
def test_words_of_any_list_hold_every_cell(levels, random):

    words = list_words(levels)
    grid = Grid(0.0, (1.0,) * len(levels), (0,) * len(levels), tuple(levels), words)
    assert grid.word_bits <= 23
    assert len(words) == max(1, -(-sum((n - 1).bit_length() for n in levels) // 23))  # the smallest possible number
    cells = [np.array([0, n - 1, random.randrange(n)]) for n in levels]
    for before, after in zip(cells, unpack(pack(cells, grid), grid), strict=True):
        assert np.array_equal(before, after)


def columns(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    energy = rng.exponential(30, n) + 5
    return {
        "x_energy": energy.astype(np.float32),
        "x_width": (0.4 / np.sqrt(energy) + rng.normal(0, 0.01, n)).astype(np.float64),
        "x_phi": rng.uniform(-3.14, 3.14, n).astype(np.float32),
        "x_charge": rng.normal(0, 100, n).astype(np.float32),
        "x_hits": rng.poisson(energy).astype(np.uint16),
        "x_flavour": rng.choice([0, 4, 5, 15], n).astype(np.int8),
    }


LIST = (
    'branch = "x_energy"\ncoordinate = "log"\nprecision = 1e-3',
    'branch = "x_width"\ncoordinate = "linear"\nprecision = 1e-4',
    'branch = "x_phi"\ncoordinate = "angle"\nprecision = 1e-2',
    'branch = "x_charge"\ncoordinate = "asinh"\nprecision = 1e-2\nscale = 10',
    'branch = "x_hits"\ncoordinate = "integer"',
    'branch = "x_flavour"\ncoordinate = "categorical"',
)


@pytest.mark.parametrize("jagged", [True, False])
def test_a_list_comes_back_within_its_precision(jagged, tmp_path):
    found, counts = columns(900), np.tile([0, 1, 3, 2], 150)
    found["x_energy"][7], found["x_width"][11], found["x_flavour"][13] = np.nan, np.inf, 99
    arrays = {name: ak.unflatten(x, counts) if jagged else ak.Array(x) for name, x in found.items()}
    events = {"event": ak.Array(np.arange(600 if jagged else 900)), **arrays}
    path = write_tree(tmp_path / "in.root", "things", events, dict.fromkeys(found, "nx"))
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    options = ("--variables", write(tmp_path / "list.toml", *LIST))
    report = succeeded("compress", path, small, *options, "--json").report
    assert report["exact_jets"] <= 3  # 99 is a category of the sample
    assert set(report["max_error"]) == set(found)
    succeeded("verify", path, small)
    succeeded("info", small)
    succeeded("decompress", small, back)
    before, after = read_tree(path, "things"), read_tree(back, "things")
    assert list(after) == list(before)
    for name in ("event", "x_hits", "x_flavour"):
        assert bits(after[name]) == bits(before[name])
    listed = read_variables(tmp_path / "list.toml")
    for variable in listed.variables[:4]:
        x, y = (ak.to_numpy(ak.flatten(t[variable.branch], axis=None)) for t in (before, after))
        assert x.dtype == y.dtype
        usable = variable.usable(x.astype(float))
        assert (variable.error(x.astype(float), y.astype(float))[usable] <= variable.precision).all()
        assert x[~usable].tobytes() == y[~usable].tobytes()


def compressed_list(folder: Path, found: dict[str, np.ndarray], *tables: str) -> Result:
    path = write_tree(folder / "in.root", "things", {name: ak.Array(x) for name, x in found.items()})
    listed = write(folder / "list.toml", *tables)
    return run_main("compress", path, folder / "small.root", "--tree", "things", "--variables", listed, "--json")


def test_linear_numbers_have_a_precision_in_their_own_units(tmp_path):
    rng = np.random.default_rng(3)
    found = {"met": rng.exponential(5e4, 300), "dz": rng.normal(0, 1e-9, 300), "id": rng.integers(0, 250, 300)}
    found["adc"] = rng.integers(0, 4000, 300).astype(np.uint16)
    tables = [f'branch = "{name}"\ncoordinate = "linear"\nprecision = {precision}' for name, precision in
              {"met": 100, "dz": 1e-12, "id": 0.4, "adc": 2.0}.items()]  # fmt: skip
    result = compressed_list(tmp_path, found, *tables)
    assert result.code == 0 and result.report["exact_jets"] == 0
    assert 50 < result.report["max_error"]["met"] <= 100 and result.report["max_error"]["id"] == 0
    succeeded("verify", tmp_path / "in.root", tmp_path / "small.root")


def test_whole_numbers_that_float64_does_not_hold_come_back_exactly(tmp_path):
    found = columns(300) | {"x_id": np.arange(300)}
    found["x_id"][150:155] = 2**60 + np.arange(5)
    linear = 'branch = "x_id"\ncoordinate = "linear"\nprecision = 1e6'
    assert compressed_list(tmp_path, found, linear, LIST[0]).report["exact_jets"] == 5
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root")
    assert read_tree(tmp_path / "back.root", "things")["x_id"][150:155].tolist() == found["x_id"][150:155].tolist()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('branch = "x_id"\ncoordinate = "linear"\nprecision = 1e-4', ("'x_id'", "steps", "larger precision")),
        ('branch = "x_width"\ncoordinate = "integer"', ("'x_width' (integer)", "at least 100 are needed")),
        ('branch = "x_energy"\ncoordinate = "asinh"\nprecision = 0.1\nscale = 1e-320', ("'x_energy' (asinh)",)),
    ],
)
def test_a_list_that_these_numbers_do_not_fit_is_refused(table, words, tmp_path):
    found = columns(300) | {"x_id": np.linspace(0, 1e15, 300)}
    assert compressed_list(tmp_path, found, table, LIST[5]).failed(2, *words)


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_whole_numbers_in_floats_come_back_bit_for_bit(dtype, tmp_path):
    odd = [-0.0, 0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, np.finfo(dtype).smallest_subnormal]
    whole = np.tile(np.array([*odd, 1, 2, 3, -4], dtype), 40)
    whole.view(f"u{whole.itemsize}")[3::12] |= 5  # NaN with a payload
    zeros = np.where(np.arange(len(whole)) % 3, 0.0, -0.0).astype(dtype)
    found = {"count": whole, "flavour": whole.copy(), "zero": zeros, "pt": np.linspace(1, 2, len(whole))}
    kinds = {"count": "integer", "flavour": "categorical", "zero": "categorical"}
    tables = [f'branch = "{name}"\ncoordinate = "{kind}"' for name, kind in kinds.items()]
    report = compressed_list(tmp_path, found, *tables, LIST[0].replace("x_energy", "pt")).report
    assert 0 < report["exact_jets"] < len(whole)
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    succeeded("verify", tmp_path / "in.root", small)
    succeeded("decompress", small, back)
    for name in kinds:
        assert bits(read_tree(back, "things")[name]) == bits(read_tree(tmp_path / "in.root", "things")[name])


@pytest.mark.parametrize("coordinate", ["integer", "categorical"])
def test_another_sign_is_an_error_of_whole_numbers(coordinate):
    variable = Variable("x", coordinate, categories=(0.0, 1.0))
    before, after = np.array([0.0, -0.0, 0.0, -0.0, 1.0]), np.array([0.0, -0.0, -0.0, 0.0, 1.0])
    assert (variable.error(before, after) > variable.precision).tolist() == [False, False, True, True, False]


def test_a_category_of_later_chunks_is_kept_exactly(tmp_path):
    found = columns(30_000)
    found["x_flavour"][29_400] = 77  # not in the rows of the sample
    events = {name: ak.Array(x) for name, x in found.items()}
    path = write_tree(tmp_path / "in.root", "things", events)
    listed = write(tmp_path / "list.toml", *LIST)
    report = succeeded(
        "compress",
        path,
        tmp_path / "small.root",
        "--tree",
        "things",
        "--variables",
        listed,
        "--step-size",
        "40kB",
        "--json",
    ).report
    assert 1 <= report["exact_jets"] < 300
    succeeded("verify", path, tmp_path / "small.root")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--jets", "x_"), "goes without --jets"),
        (("--units", "GeV"), "goes without"),
        (("--model", "m.st"), "goes without"),
        (("--tree", "other"), "no tree 'other'"),
    ],
)
def test_what_does_not_go_with_a_list_is_refused(options, says, tmp_path):
    path = write_tree(tmp_path / "in.root", "things", {name: ak.Array(x) for name, x in columns(200).items()})
    listed = write(tmp_path / "list.toml", *LIST)
    tree = () if "--tree" in options else ("--tree", "things")
    assert run_main("compress", path, tmp_path / "out.root", "--variables", listed, *tree, *options).failed(2, says)


@pytest.mark.parametrize(("n", "says"), [(50, "at least 100 are needed"), (0, "at least 100 are needed")])
def test_too_few_rows_are_refused(n, says, tmp_path):
    path = write_tree(tmp_path / "in.root", "things", {name: ak.Array(x) for name, x in columns(n).items()})
    listed = write(tmp_path / "list.toml", *LIST)
    result = run_main("compress", path, tmp_path / "out.root", "--variables", listed)
    assert result.failed(2, says)


def test_a_branch_that_is_not_there_is_refused(tmp_path):
    path = write_tree(tmp_path / "in.root", "things", {"x_energy": ak.Array([1.0, 2.0])})
    listed = write(tmp_path / "list.toml", *LIST)
    result = run_main("compress", path, tmp_path / "out.root", "--variables", listed)
    assert result.failed(2, "no tree", "'x_width'")
    result = run_main("compress", path, tmp_path / "out.root", "--variables", listed, "--tree", "things")
    assert result.failed(2, "no branch 'x_width'")


def test_the_extended_list_is_of_the_sample():
    assert len(read_variables(EXTENDED).variables) >= 10
