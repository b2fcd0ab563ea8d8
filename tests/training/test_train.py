import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import counted, make_counts, random_jets, write_layout, write_tree

import atlasae.training.train
from atlasae.codecs.bottleneck import Bottleneck
from atlasae.codecs.model import Model, default_model, load_model
from atlasae.errors import UserError
from atlasae.training.loop import Course, bits_per_row, run_course
from atlasae.training.recipes import Recipe, read_recipe
from atlasae.training.train import Split, TrainingSample, learn, learn_from, read_samples, split_by_event, train

pytestmark = pytest.mark.usefixtures("one_torch_thread")

JETS = ("pt", "eta", "phi", "m")
SHORT = Course(steps=20, batch=256, learning_rate=3e-3, validate_every=10)
RECIPES = {
    "invertible": Recipe(seed=5, course=SHORT),
    "mlp": Recipe("mlp", 5, network=Bottleneck(hidden=(16,), activation="silu", batch_norm=True), course=SHORT),
}


def table(n: int, seed: int = 1) -> np.ndarray:
    """Jets (n x 4: pt, eta, phi, m in MeV)."""
    jets = random_jets(n, seed)
    return np.column_stack([jets[v] for v in JETS])


def write_frame(path: Path, jets: np.ndarray, unit: float = 1.0, **more: np.ndarray) -> Path:
    columns = dict(zip(JETS, (jets / [unit, 1, 1, unit]).T, strict=True))
    pd.DataFrame(columns | more).to_pickle(path)
    return path


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Check that jets are equal up to float32, and m unless it is lost in the rounding of E."""
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[:, :3], expected[:, :3], rtol=2e-6, atol=1e-5)
    energies = [np.sqrt((jets[:, 0] * np.cosh(jets[:, 1])) ** 2 + jets[:, 3] ** 2) for jets in (found, expected)]
    np.testing.assert_allclose(*energies, rtol=1e-5)
    assert np.quantile(np.abs(found[:, 3] / expected[:, 3] - 1), 0.8) < 1e-3


def is_partition(found: np.ndarray, truth: Sequence[int]) -> bool:
    """Whether jets have the same number if and only if they are of the same event."""
    pairs = set(zip(found.tolist(), truth, strict=True))
    return len(pairs) == len(set(truth)) == len(np.unique(found))


def straddles(found: np.ndarray, truth: Sequence[int]) -> bool:
    """Whether the jets of an event have more than one number."""
    return len(set(zip(found.tolist(), truth, strict=True))) > len(set(truth))


# --- reading


def test_files_of_every_kind_are_read_together(tmp_path):
    layouts = ("nanoaod", "xaod", "energy", "cartesian", "rntuple", "flat")
    paths = [write_layout(tmp_path / f"{layout}.root", layout, 50) for layout in layouts]
    paths.insert(2, write_frame(tmp_path / "mev.pkl", table(40, 3), event=np.arange(40)))
    paths.append(write_frame(tmp_path / "gev.pkl", table(30, 4), 1000.0, event=np.arange(30)))
    counts = make_counts(50)
    jagged, owner = table(int(counts.sum())), np.repeat(np.arange(50), counts)
    parts = [jagged, jagged, table(40, 3), jagged, jagged, jagged, table(50), table(30, 4)]
    sample = read_samples(paths)
    same(sample.jets, np.concatenate(parts))
    owners = [owner, owner, np.arange(40), owner, owner, owner, None, np.arange(30)]
    ends = np.cumsum([len(part) for part in parts])
    for found, truth in zip(np.split(sample.events, ends[:-1]), owners, strict=True):
        assert truth is None or is_partition(found, truth.tolist())
    assert len(np.unique(sample.events)) >= 5 * len(set(owner)) + 40 + 30 + 1  # no file shares an event with another


def test_several_collections_of_an_event_are_of_one_event(tmp_path):
    counts, others = make_counts(60), make_counts(60, seed=5)
    jets = counted("nanoaod", counts) | counted("xaod", others, seed=2)
    counters = {name: "nJet" if name.startswith("Jet") else "nTruth" for name in jets}
    path = write_tree(tmp_path / "in.root", "t", jets, counters)
    sample = read_samples([path])
    same(sample.jets, np.concatenate([table(int(counts.sum())), table(int(others.sum()), 2)]))
    assert sample.events.tolist() == [*np.repeat(np.arange(60), counts), *np.repeat(np.arange(60), others)]
    same(read_samples([path], ["Jet_"]).jets, table(int(counts.sum())))


def test_units_that_are_given_go_before_what_the_jets_tell(tmp_path):
    path = write_frame(tmp_path / "gev.pkl", table(99), 1000.0)
    same(read_samples([path]).jets, table(99))
    same(read_samples([path], units="MeV").jets, table(99) / [1000, 1, 1, 1000])


def test_jets_without_coordinates_are_left_out(tmp_path):
    jets = table(100)
    jets[[3, 4, 5, 6, 7], [0, 0, 1, 2, 3]] = [np.nan, -5, 11, 4, np.inf]
    sample = read_samples([write_frame(tmp_path / "in.pkl", jets, event=np.arange(100))])
    same(sample.jets, np.delete(jets, [3, 4, 5, 6, 7], axis=0))
    assert is_partition(sample.events, [i for i in range(100) if i not in (3, 4, 5, 6, 7)])


def test_of_too_many_jets_some_are_taken_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(atlasae.training.train, "STEP_ENTRIES", 10)
    monkeypatch.setattr(atlasae.training.train, "MOST_ROWS", 120)
    numbers = np.arange(600)
    paths = [write_frame(tmp_path / f"{i}.pkl", table(600), event=numbers) for i in range(2)]
    found = read_samples(paths).events
    assert 60 <= len(found) <= 180
    first = found[: len(found) // 2]
    assert first.min() < 100 and first.max() >= 500 and len(np.unique(first // 100)) == 6


# --- events of a table


def events_of_falling_pt(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Jets in events of 2 to 4 jets, in falling pt, each event led by a jet harder than the last before it."""
    rng = np.random.default_rng(8)
    counts = rng.integers(2, 5, n)
    jets, truth = table(int(counts.sum())), np.repeat(np.arange(n), counts)
    rank = np.concatenate([np.arange(count) for count in counts])
    jets[:, 0] = np.where(rank == 0, 1e5, 5e4) * 0.8**rank * rng.uniform(0.95, 1, len(jets))
    return jets, truth


@pytest.mark.parametrize("name", ["event", "eventNumber", "EventInfo.eventNumber", "event_number", "EVT", "mc:event"])
def test_a_column_may_tell_the_events(name, tmp_path):
    numbers = np.random.default_rng(3).permutation(np.repeat(np.arange(50) * 7 + 2**40, 2))
    sample = read_samples([write_frame(tmp_path / "in.pkl", table(100), **{name: numbers})])
    assert is_partition(sample.events, numbers.tolist())


def test_a_column_of_several_numbers_tells_no_event(tmp_path):
    jets, truth = events_of_falling_pt(60)
    columns = dict(zip(JETS, jets.T, strict=True)) | {"event": np.zeros((len(jets), 2))}
    path = write_tree(tmp_path / "in.root", "jets", {name: ak.Array(values) for name, values in columns.items()})
    assert is_partition(read_samples([path]).events, truth.tolist())


@pytest.mark.parametrize("name", ["prevent", "events", "event_weight"])
def test_a_column_of_another_name_tells_nothing(name, tmp_path):
    jets, truth = events_of_falling_pt(60)
    path = write_frame(tmp_path / "in.pkl", jets, **{name: np.zeros(len(jets), int)})
    assert is_partition(read_samples([path]).events, truth.tolist())


def write_flat(path: Path, jets: np.ndarray, cartesian: bool) -> Path:
    columns = dict(zip(JETS, jets.T, strict=True))
    if cartesian:
        pt, eta, phi, m = jets.T
        px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
        columns = {"px": px, "py": py, "pz": pz, "E": np.sqrt(px**2 + py**2 + pz**2 + m**2)}
    if path.suffix == ".root":
        return write_tree(path, "jets", {name: ak.Array(values) for name, values in columns.items()})
    pd.DataFrame(columns).to_parquet(path)
    return path


@pytest.mark.parametrize("cartesian", [False, True])
@pytest.mark.parametrize("suffix", [".parquet", ".root"])
def test_an_event_begins_where_pt_rises(suffix, cartesian, tmp_path):
    jets, truth = events_of_falling_pt(60)
    path = write_flat(tmp_path / f"in{suffix}", jets, cartesian)
    assert is_partition(read_samples([path]).events, truth.tolist())


@pytest.mark.parametrize("cut", [False, True])
def test_row_labels_tell_how_a_table_was_before_it_was_shuffled(cut, tmp_path):
    jets, truth = events_of_falling_pt(80)
    jets[:, 1] = np.arange(len(jets)) / 100  # to find each again
    frame = pd.DataFrame(jets, columns=JETS)
    if cut:  # half of a table that was split at random, as published ones are
        frame = frame.sample(frac=0.5, random_state=1)
    frame.sample(frac=1, random_state=2).to_pickle(tmp_path / "in.pkl")
    sample = read_samples([tmp_path / "in.pkl"])
    label = np.rint(sample.jets[:, 1] * 100).astype(int)
    if not cut:
        assert is_partition(sample.events, truth[label].tolist())
    order = np.argsort(label)
    label, events = label[order], sample.events[order]
    neighbours = (np.diff(label) == 1) & (np.diff(truth[label]) == 0)
    assert (np.diff(events)[neighbours] == 0).all()
    assert (np.diff(events)[np.diff(label) > 1] != 0).all()


def test_a_new_event_begins_where_a_row_is_missing(tmp_path):
    jets = table(120)
    jets[:, 0] = np.geomspace(1e6, 1e4, 120)  # falls all the way
    frame = pd.DataFrame(jets, columns=JETS)
    frame.drop(index=np.arange(2, 120, 3)).to_pickle(tmp_path / "in.pkl")
    assert is_partition(read_samples([tmp_path / "in.pkl"]).events, np.repeat(np.arange(40), 2).tolist())


@pytest.mark.parametrize("joined", ["labels that repeat", "labels that are no whole numbers", "one label for many"])
def test_rows_of_one_event_stay_together_whatever_the_labels(joined, tmp_path):
    jets, truth = events_of_falling_pt(80)
    n = int(np.searchsorted(truth, 40))
    frame = pd.DataFrame(jets, columns=JETS)
    if joined == "labels that repeat":  # as pd.concat leaves them
        frame = pd.concat([frame[:n], frame[n:].reset_index(drop=True)])
    elif joined == "labels that are no whole numbers":
        frame.index = frame.index.to_numpy() / 7
    else:
        frame.index = np.arange(len(frame)) // 10
    frame.to_pickle(tmp_path / "in.pkl")
    assert not straddles(read_samples([tmp_path / "in.pkl"]).events, truth.tolist())


def test_events_of_one_table_are_never_those_of_the_next(tmp_path):
    frames = [pd.DataFrame(events_of_falling_pt(60)[0], columns=JETS).sample(frac=1, random_state=i) for i in range(2)]
    numbered = write_frame(tmp_path / "numbered.pkl", table(60), event=np.arange(60)[::-1])
    for i, frame in enumerate(frames):
        frame.to_pickle(tmp_path / f"{i}.pkl")
    sample = read_samples([tmp_path / "0.pkl", numbered, tmp_path / "1.pkl"])
    assert len(np.unique(sample.events)) == 60 + 60 + 60


# --- too few


@pytest.mark.parametrize("events", [0, 1, 29])
def test_too_few_events_are_told(events, tmp_path):
    path = write_frame(tmp_path / "few.pkl", table(100)[: 3 * events], event=np.arange(3 * events) // 3)
    with pytest.raises(UserError, match=rf"^{events} events with jets in .*few\.pkl: at least 30 are needed$"):
        read_samples([path])


def test_files_without_entries_are_told(tmp_path):
    path = write_layout(tmp_path / "empty.root", "nanoaod", 0)
    with pytest.raises(UserError, match="0 events with jets in .*empty.root"):
        read_samples([path])


def test_an_empty_file_beside_others_is_no_trouble(tmp_path):
    paths = [write_layout(tmp_path / f"{n}.root", "nanoaod", n) for n in (0, 60)]
    assert len(read_samples(paths).jets) == make_counts(60).sum()


# --- splitting


@pytest.mark.parametrize("events", [30, 57, 1000])
def test_a_split_takes_every_jet_once_and_no_event_twice(events):
    rng = np.random.default_rng(events)
    numbers = rng.permutation(np.repeat(np.arange(events) * 3, rng.integers(1, 5, events)))
    jets = np.column_stack([np.arange(len(numbers)), numbers, numbers, numbers]).astype(float)
    split = split_by_event(TrainingSample(jets, numbers), seed=1)
    parts = (split.training, split.validation, split.test)
    assert sorted(np.concatenate(parts)[:, 0]) == jets[:, 0].tolist()
    there = [set(part[:, 1]) for part in parts]
    assert sum(map(len, there)) == len(set.union(*there)) == events
    assert [len(numbers) for numbers in there[:2]] == [int(0.8 * events), int(0.1 * events)]


def test_the_seed_decides_the_split():
    sample = TrainingSample(table(500), np.arange(500) // 2)
    one, again, other = (split_by_event(sample, seed) for seed in (1, 1, 2))
    for name in ("training", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.test, other.test)
    assert not np.array_equal(one.test, sample.jets[450:])  # at random


# --- learning


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("train")
    return [write_layout(folder / "a.root", "nanoaod", 300), write_frame(folder / "b.pkl", table(200, 2))]


@pytest.fixture(scope="module", params=RECIPES)
def learned(request: pytest.FixtureRequest, paths: list[Path]) -> tuple[Recipe, Model, object]:
    recipe = RECIPES[request.param]
    return recipe, *learn(paths, recipe)


def test_what_is_learned_says_where_it_comes_from(learned, paths):
    recipe, model, history = learned
    facts = json.loads(json.dumps(model.facts), parse_constant=pytest.fail)
    assert facts["architecture"] == recipe.arch
    provenance = facts["provenance"]
    assert (provenance["files"], provenance["seed"]) == (["a.root", "b.pkl"], 5)
    assert (provenance["from"], provenance["device"]) == (None, "cpu")
    assert provenance["course"] == asdict(SHORT)
    loss = {"mlp": "mse", "invertible": "negative log-likelihood"}[recipe.arch]
    assert provenance["objective"]["loss"] == loss and ("weights" in provenance["objective"]) == (recipe.arch == "mlp")
    assert {"atlasae", "torch", "numpy"} <= provenance["versions"].keys()
    sample = read_samples(paths)
    assert provenance["events"] == len(np.unique(sample.events))
    assert sum(provenance["jets"].values()) == len(sample.jets) == make_counts(300).sum() + 200
    assert facts["history"] == asdict(history)
    assert history.steps == [10, 20] and history.validation[1] < history.validation[0]


def test_what_is_learned_knows_its_domain_and_columns(learned, paths):
    recipe, model, _ = learned
    training = split_by_event(read_samples(paths), 5).training
    for i, variable in enumerate(JETS):
        expected = np.quantile(training[:, i], [0.001, 0.01, 0.5, 0.99, 0.999])
        assert model.facts["domain"][variable] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    columns = {"invertible": ([*JETS], "MeV"), "mlp": (["pt", "eta", "phi", "E"], "GeV")}
    assert (model.facts["columns"], model.facts["units"]) == columns[recipe.arch]
    assert len(model.facts["coordinates"]) == 4


def test_the_figures_are_those_of_the_test_jets(learned, paths):
    recipe, model, _ = learned
    test, found = split_by_event(read_samples(paths), 5).test, model.facts["test"]
    assert found["jets"] == model.facts["provenance"]["jets"]["test"] == len(test)
    if recipe.arch == "invertible":
        pt, eta, phi, m = test.T
        mu = 1 + np.log(m / 100)  # all of them are heavier than 100 MeV
        coordinates = torch.from_numpy(np.column_stack([np.log(pt), eta, phi, mu]))
        expected = bits_per_row(model.autoencoder, coordinates, 2e-3)
        assert found["bits_per_jet_at_1e-3"] == pytest.approx(expected, rel=1e-4)
        return
    pt, eta, phi, m = test.T
    energy = np.hypot(pt * np.cosh(eta), m)
    columns = torch.from_numpy(np.column_stack([pt / 1000, eta, phi, energy / 1000]))
    with torch.no_grad():
        restored = model.autoencoder.decode(model.autoencoder.encode(columns))
        pulls = model.autoencoder.normalised(restored) - model.autoencoder.normalised(columns)
    assert found["mean_squared_error"] == pytest.approx(float((pulls**2).mean()), rel=1e-3)
    low, high = np.percentile(restored[:, 0].numpy() * 1000 / pt - 1, [15.865, 84.135])
    assert found["half_widths"]["pt"] == pytest.approx((high - low) / 2, rel=1e-3)
    assert set(found["half_widths"]) == {"pt", "eta", "phi", "m", "E", "px", "py", "pz"}


def test_the_test_jets_have_no_say(learned, paths, monkeypatch):
    recipe, model, _ = learned
    split = split_by_event(read_samples(paths), 5)
    monkeypatch.setattr(
        atlasae.training.train, "split_by_event", lambda sample, seed: replace(split, test=table(50, 99))
    )
    again, _ = learn(paths, recipe)
    weights = model.autoencoder.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again.autoencoder.state_dict().items())
    assert again.facts["test"] != model.facts["test"]


def test_the_same_seed_is_the_same_file_and_another_another(learned, paths):
    recipe, model, _ = learned
    torch.manual_seed(77)  # nothing else has a say
    assert learn(paths, recipe)[0].content == model.content
    other = learn(paths, replace(recipe, seed=6))[0].autoencoder.state_dict()
    assert any(not torch.equal(tensor, other[name]) for name, tensor in model.autoencoder.state_dict().items())


def test_learning_goes_on_from_a_model(learned, paths):
    recipe, model, _ = learned
    still = replace(recipe, course=Course(1, 256, 1e-30, "sgd", schedule="constant"))
    before = {name: tensor.clone() for name, tensor in model.autoencoder.state_dict().items()}
    again, _ = learn(paths, still, start=Model.from_bytes(model.content, "start"))
    after = again.autoencoder.state_dict()
    moves = ("running_mean", "running_var", "num_batches_tracked")  # batch norms see a batch
    kept = [name for name in before if name.rpartition(".")[2] not in moves]
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert again.facts["provenance"]["from"] == model.sha256
    further, history = learn(paths, recipe, start=Model.from_bytes(model.content, "start"))
    assert history.validation[-1] < model.facts["history"]["validation"][0]
    assert any(not torch.equal(tensor, before[name]) for name, tensor in further.autoencoder.state_dict().items())


def test_a_model_to_go_on_from_keeps_its_network(learned, paths):
    recipe, model, _ = learned
    arch = {"mlp": "invertible", "invertible": "mlp"}[recipe.arch]
    with pytest.raises(UserError, match=f"--arch {arch}: .* is {recipe.arch}"):
        learn(paths, RECIPES[arch], start=model)
    if recipe.arch == "mlp":
        with pytest.raises(UserError, match="leave `network` out"):
            learn(paths, replace(recipe, network=Bottleneck(hidden=(3,))), start=model)
        assert learn(paths, replace(recipe, network=Bottleneck()), start=model)[0].autoencoder.shape == recipe.network


def test_jets_are_read_as_they_are_for_compress(paths):
    recipe = replace(RECIPES["mlp"], course=replace(SHORT, steps=1))
    seen = []
    model, _ = learn(paths[:1], recipe, ["Jet_"], "MeV", watch=lambda *step: seen.append(step))
    assert model.facts["domain"]["pt"][2] < 100  # MeV, as asked
    assert [step[:2] for step in seen] == [(1, 1)]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (1.0, 30.0, 1.0, 1.0)])
def test_loss_and_weights_are_those_of_the_recipe(weights, paths, monkeypatch):
    seen = {}

    def fake(network, objective, rows, course, seed, watch):
        seen["loss"] = float(objective(lambda rows: rows + 0.5, rows[0]))
        seen["rows"] = rows
        return run_course(network, objective, rows, course, seed, watch)

    monkeypatch.setattr(atlasae.training.train, "run_course", fake)
    learn(paths, replace(RECIPES["mlp"], loss="huber", beta=0.8, weights=weights, course=replace(SHORT, steps=1)))
    expected = (3 * 0.125 + (0.125 if weights[1] == 1 else 0.8 * (15 - 0.4))) / 4
    assert seen["loss"] == pytest.approx(expected, rel=1e-4)
    assert seen["rows"][0].dtype == torch.float32 and len(seen["rows"][0]) > 5 * len(seen["rows"][1])


def test_a_network_that_diverges_is_told(paths):
    with pytest.raises(UserError, match="not finite"):
        learn(paths, replace(RECIPES["mlp"], course=replace(SHORT, learning_rate=1e30, schedule="constant")))


# --- a model of the input's own


def test_training_writes_what_is_learned_and_tells_of_it(paths, tmp_path):
    recipe, progress = RECIPES["mlp"], []

    def note(done: int, steps: int) -> None:
        progress.append((done, steps))

    report = train(paths[:1], tmp_path / "own.model", recipe, jets=["Jet_"], progress=note)
    model = load_model(tmp_path / "own.model")
    assert model.content == learn(paths[:1], recipe, ["Jet_"])[0].content
    assert report["output"] == str(tmp_path / "own.model") and report["sha256"] == model.sha256
    assert report["bytes"] == len(model.content) and report["ended"] == model.facts["history"]["ended"]
    assert all(report[key] == model.facts[key] for key in ("architecture", "provenance", "test"))
    assert progress[-1] == (recipe.course.steps, recipe.course.steps)
    assert "half-widths" in report._repr_html_()


def test_training_refuses_what_it_would_overwrite(paths, tmp_path):
    (tmp_path / "there.model").write_text("mine")
    with pytest.raises(UserError, match="exists: choose another name"):
        train(str(paths[0]), tmp_path / "there.model")
    with pytest.raises(UserError, match="is the input"):
        train(paths, paths[0], force=True)
    assert (tmp_path / "there.model").read_text() == "mine"


def test_a_model_to_go_on_from_decides_the_architecture(learned, paths, tmp_path, monkeypatch):
    _, model, history = learned
    seen = []
    monkeypatch.setattr(
        atlasae.training.train, "learn", lambda paths, recipe, *others: seen.append(recipe) or (model, history)
    )
    train(paths[0], tmp_path / "own.model", start=model)
    assert seen[0] == read_recipe(arch=model.facts["architecture"])


def test_training_takes_files_in_the_place_of_what_they_hold(learned, paths, tmp_path, monkeypatch):
    _, model, history = learned
    seen = []
    monkeypatch.setattr(atlasae.training.train, "learn", lambda *given: seen.append(given) or (model, history))
    (tmp_path / "mine.toml").write_text('arch = "mlp"\nseed = 5\n')
    (tmp_path / "first.model").write_bytes(model.content)
    start = str(tmp_path / "first.model")
    train(str(paths[0]), tmp_path / "own.model", tmp_path / "mine.toml", jets="Jet_", units="mev", start=start)
    ((listed, recipe, jets, units, begun, *_),) = seen
    assert (listed, recipe.arch, recipe.seed, jets, units) == ([paths[0]], "mlp", 5, ("Jet_",), "MeV")
    assert begun.sha256 == model.sha256
    with pytest.raises(UserError, match="units 'eV' are none"):
        train(paths[0], tmp_path / "other.model", units="eV")


@pytest.mark.parametrize("device", ["tpu", "mps"])
def test_a_device_that_is_none_is_told(device, paths):
    with pytest.raises(UserError, match=f"--device {device}: networks are trained on cpu or cuda"):
        learn(paths, RECIPES["mlp"], device=device)


@cache
def massless_forward() -> np.ndarray:
    """Jets unlike those of the packaged model: light, and in a narrow range of pt and eta."""
    rng = np.random.default_rng(4)
    pt = rng.normal(8e4, 1e3, 3000)
    return np.column_stack([pt, rng.normal(3, 0.05, 3000), rng.uniform(-3.14, 3.14, 3000), rng.uniform(1, 50, 3000)])


def test_a_model_of_the_inputs_own_knows_its_jets_better(quick_model):
    jets = massless_forward()
    own = learn_from(jets)
    bits = [bits_per_row(model.autoencoder, coordinates(jets), 2e-3) for model in (own, default_model())]
    assert bits[0] < bits[1] - 5
    assert own.sha256 != default_model().sha256 and own.facts["architecture"] == "invertible"
    assert own.facts["domain"]["m"][2] == pytest.approx(25, abs=2)
    assert own.facts["provenance"]["seed"] == 1 and own.facts["provenance"]["steps"] <= 100
    assert Model.from_bytes(own.content, "own").facts == own.facts
    assert learn_from(jets).content == own.content


def test_training_leaves_the_model_that_it_begins_with_as_it_is(paths, quick_model):
    model = default_model()
    before = {name: tensor.clone() for name, tensor in model.autoencoder.state_dict().items()}
    learn_from(massless_forward())
    learn(paths, RECIPES["invertible"], start=model)
    after = model.autoencoder.state_dict()
    assert [name for name, tensor in before.items() if not tensor.equal(after[name])] == []
    assert Model.from_bytes(model.content, "again").sha256 == model.sha256


def coordinates(jets: np.ndarray) -> torch.Tensor:
    """Coordinates of jets lighter than 100 MeV."""
    return torch.from_numpy(np.column_stack([np.log(jets[:, 0]), jets[:, 1:3], jets[:, 3] / 100]))


def test_a_model_of_the_inputs_own_is_made_of_a_sample_of_it(quick_model, monkeypatch):
    monkeypatch.setattr(atlasae.training.train, "SELF_JETS", 100)
    seen = []

    def fake(autoencoder, split: Split, recipe):
        seen.append(split)
        return atlasae.training.train.History([1], [0.0], [0.0])

    monkeypatch.setattr(atlasae.training.train, "fit", fake)
    learn_from(massless_forward())
    (split,) = seen
    parts = (split.training, split.validation, split.test)
    assert [len(part) for part in parts] == [80, 10, 10]
    everywhere = {tuple(row): i for i, row in enumerate(massless_forward())}
    rows = sorted(everywhere[tuple(row)] for part in parts for row in part)
    assert len(set(rows)) == 100 and rows[0] < 300 and rows[-1] > 2700
