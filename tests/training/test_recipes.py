import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from atlasae.codecs.bottleneck import Bottleneck
from atlasae.errors import UserError
from atlasae.training.loop import Course
from atlasae.training.recipes import Recipe, make_recipe, read_recipe, read_toml

FOLDER = Path(__file__).parents[2] / "scripts" / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.toml") if path.stem != "extended")  # a list of variables
FULL = """
arch = "mlp"
seed = 7
loss = "huber"
beta = 0.5
weights = [1, 2.5, 1, 0.5]

[network]
columns = ["m", "pt", "phi", "eta"]
scalings = ["asinh", "log10", "linear", "linear"]
hidden = [16, 8]
activation = "gelu"
batch_norm = true
dropout = 0.1
latent_activation = true
skip = true

[course]
steps = 30
batch = 64
learning_rate = 1e-3
optimiser = "adamw"
weight_decay = 0.01
schedule = "cosine"
clip = 1.0
validate_every = 10
patience = 2
"""
EXPECTED = Recipe(
    arch="mlp",
    seed=7,
    loss="huber",
    beta=0.5,
    weights=(1, 2.5, 1, 0.5),
    network=Bottleneck(
        columns=("m", "pt", "phi", "eta"),
        scalings=("asinh", "log10", "linear", "linear"),
        hidden=(16, 8),
        activation="gelu",
        batch_norm=True,
        dropout=0.1,
        latent_activation=True,
        skip=True,
    ),
    course=Course(30, 64, 1e-3, "adamw", 0.01, "cosine", 1.0, 10, 2),
)
OF_MLP = Course(steps=20_000, batch=2048, learning_rate=3e-3, validate_every=500)


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(message: str, *words: str) -> None:
    assert len(message.splitlines()) == 1
    assert [word for word in words if word not in message] == []


# --- what is asked for


def test_nothing_asked_is_the_default():
    assert read_recipe(None, []) == Recipe() == make_recipe({}, "here")
    assert Recipe().arch == "invertible"
    assert (Recipe().network.hidden, Recipe().network.latent) == ((200, 100, 50), 3)


def test_a_file_may_say_everything(tmp_path):
    assert read_recipe(written(tmp_path / "all.toml", FULL), []) == EXPECTED


def test_settings_say_the_same_as_a_file():
    facts = tomllib.loads(FULL)
    tables = {name: facts.pop(name) for name in ("network", "course")}
    flat = facts | {f"{table}.{key}": value for table, entries in tables.items() for key, value in entries.items()}
    spelled = {True: "true"}
    settings = [
        f"{key}={spelled.get(value, value) if isinstance(value, bool) else repr(value)}" for key, value in flat.items()
    ]
    assert read_recipe(None, settings) == EXPECTED


def test_settings_go_before_the_file_and_later_ones_before_earlier(tmp_path):
    path = written(tmp_path / "all.toml", FULL)
    found = read_recipe(path, ["course.steps=99", "seed = 1", 'network.activation="relu"', "course.steps=100"])
    assert (found.course.steps, found.seed, found.network.activation) == (100, 1, "relu")
    assert (found.course.batch, found.network.hidden, found.loss) == (64, (16, 8), "huber")


def test_the_architecture_of_the_command_line_goes_first(tmp_path):
    path = written(tmp_path / "all.toml", FULL)
    assert read_recipe(path, ['arch="mlp"'], "invertible").arch == "invertible"
    assert read_recipe(None, ["seed=2"], "mlp") == replace(read_recipe(None, []), arch="mlp", seed=2, course=OF_MLP)


def test_a_recipe_may_leave_its_architecture_to_the_model_to_go_on_from(tmp_path):
    path = written(tmp_path / "all.toml", FULL)
    assert read_recipe(None, [], otherwise="mlp").arch == "mlp"
    assert read_recipe(path, [], otherwise="invertible").arch == "mlp"
    assert read_recipe(path, ['arch="invertible"'], otherwise="mlp").arch == "invertible"
    assert read_recipe(path, [], "invertible", otherwise="mlp").arch == "invertible"


def test_a_course_that_is_not_told_is_that_of_the_architecture(tmp_path):
    assert read_recipe(written(tmp_path / "a.toml", 'arch = "mlp"'), []).course == OF_MLP
    found = read_recipe(written(tmp_path / "b.toml", 'arch = "mlp"\n[course]\nbatch = 9'), [])
    assert found.course == replace(OF_MLP, batch=9)
    assert read_recipe(None, ["course.batch=9"]).course == replace(Course(), batch=9)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_of_ours_is_one(path):
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    assert read_toml(path) == facts
    facts.pop("checkpoint", None)  # belongs to an import, not to a training
    recipe = make_recipe(facts, path.name)
    for table, made in (("network", recipe.network), ("course", recipe.course)):
        for key, value in facts.pop(table, {}).items():
            assert getattr(made, key) == (tuple(value) if isinstance(value, list) else value)
    weights = list(facts.pop("weights", recipe.weights))
    assert list(recipe.weights) == weights
    assert {key: getattr(recipe, key) for key in facts} == facts


def test_there_are_recipes():
    assert {"mlp_E.toml", "mlp_m.toml", "fine_tune.toml", "ae_3d_200.toml"} <= {path.name for path in RECIPES}


# --- what makes no sense

NONSENSE = [
    ("archi='mlp'", "'archi'", "arch,"),
    ("arch='cnn'", "'cnn'", "invertible, mlp"),
    ("arch=3", "arch '3'"),
    ("arch=['mlp']", "arch"),
    ("loss='mae'", "'mae'", "mse, smooth_l1, huber"),
    ("seed='1'", "seed", "type"),
    ("seed=1.5", "seed", "1.5"),
    ("seed=-1", "seed", "-1"),
    ("seed=true", "seed", "True"),
    ("seed=18446744073709551616", "seed"),  # torch's generators refuse it
    ("weights=3", "weights", "3"),
    ("weights=[1,1,1]", "weights", "each of the columns"),
    ("weights=[1,1,1,0]", "weights", "positive"),
    ("weights=[1,1,1,'a']", "weights"),
    ("weights=[1,1,1,true]", "weights"),
    ("weights=[1,1,1,inf]", "weights"),
    ("weights=[1,1,1,nan]", "weights"),
    ("network=5", "network"),
    ("network=[1]", "network"),
    ("network.layers=[5]", "'layers'", "hidden"),
    ("network.hidden=[]", "hidden"),
    ("network.hidden=200", "hidden", "200"),
    ("network.hidden=[200, 0]", "hidden"),
    ("network.hidden=[200, -5]", "hidden"),
    ("network.hidden=[200.5]", "hidden"),
    ("network.hidden=[true]", "hidden"),
    ("network.hidden=['200']", "hidden"),
    ("network.hidden=[4097]", "hidden", "4096"),
    ("network.latent=0", "latent"),
    ("network.latent=2", "latent", "3"),  # a jet has three branches
    ("network.latent=4", "latent", "3"),
    ("network.activation='sigmoid'", "'sigmoid'", "tanh, relu, leaky_relu, silu, gelu"),
    ("network.batch_norm=1", "batch_norm"),
    ("network.dropout=1.0", "dropout", "less than 1"),
    ("network.dropout=-0.1", "dropout", "-0.1"),
    ("network.dropout=nan", "dropout"),
    ("network.columns=['pt','eta','phi']", "columns pt, eta, phi", "m or E"),
    ("network.columns=['pt','eta','phi','mass']", "columns", "mass"),
    ("network.columns=['pt','pt','phi','m']", "columns"),
    ("network.columns=[1,2,3,4]", "columns"),
    ("network.columns=['pt',1,'eta','phi']", "columns"),
    ("network.scalings=['log10']", "scalings", "linear, log10, asinh"),
    ("network.scalings=['log','linear','linear','log']", "scalings"),
    ("network.scalings=[['log10'],'linear','linear','log10']", "scalings"),
    ("course=1", "course"),
    ("course.steps.more=1", "steps"),
    ("course.epochs=5", "'epochs'", "steps"),
    ("course.steps=0", "steps", "0"),
    ("course.steps=5.0", "steps", "5.0"),
    ("course.batch=-1", "batch"),
    ("course.batch=1048577", "batch", "1048577", "1048576"),  # larger batches exceed any memory
    ("beta=0.0", "beta", "positive"),
    ("beta='small'", "beta"),
    ("course.learning_rate=0.0", "learning_rate"),
    ("course.learning_rate=nan", "learning_rate"),
    ("course.learning_rate=inf", "learning_rate"),
    ("course.learning_rate='fast'", "learning_rate", "fast"),
    ("course.optimiser='ranger'", "'ranger'", "adam, adamw, sgd"),
    ("course.schedule='linear'", "'linear'", "one-cycle, cosine, constant"),
    ("course.weight_decay=-0.1", "weight_decay"),
    ("course.clip=-1", "clip"),
    ("course.clip=true", "clip"),
    ("course.validate_every=0", "validate_every"),
    ("course.patience=0", "patience"),
]


@pytest.mark.parametrize(("setting", "words"), [(case[0], case[1:]) for case in NONSENSE], ids=[c[0] for c in NONSENSE])
def test_what_makes_no_sense_is_refused_on_one_line_that_names_it(setting, words, tmp_path):
    with pytest.raises(UserError) as caught:
        read_recipe(None, [setting])
    refused(str(caught.value), *words)
    path = written(tmp_path / "wrong.toml", setting)
    with pytest.raises(UserError) as caught:
        read_recipe(path, [])
    refused(str(caught.value), *words, "wrong.toml")


def test_a_setting_below_one_of_the_file_that_is_none_is_refused(tmp_path):
    path = written(tmp_path / "a.toml", "[course]\nsteps = 5\n")
    for setting in ("course.steps.more=1", "course=1"):
        with pytest.raises(UserError) as caught:
            read_recipe(path, [setting])
        refused(str(caught.value), setting.partition("=")[0].removesuffix(".more").rpartition(".")[2])


@pytest.mark.parametrize("setting", ["course.steps=0x", "arch=mlp", "steps", "=5", "a b=1"])
def test_a_setting_that_is_no_toml_is_told_with_what_it_lacks(setting):
    with pytest.raises(UserError) as caught:
        read_recipe(None, [setting])
    refused(str(caught.value), f"--set {setting}", "is no TOML", 'arch="mlp"')


@pytest.mark.parametrize("content", [b"arch = ", b"\xff\xfe", b"[course\nsteps = 1"])
def test_a_file_that_is_no_toml_is_told(content, tmp_path):
    with pytest.raises(UserError) as caught:
        read_recipe(written(tmp_path / "a.toml", content), [])
    refused(str(caught.value), "a.toml", "is no TOML")


def test_a_file_that_is_not_there_is_told(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(UserError, match="no recipe '.*': give a TOML file"):
            read_recipe(path, [])
