"""Training: read the jets of files, split them by event, train, test once."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import torch

from atlasae.codecs.bottleneck import Autoencoder, Bottleneck, BottleneckAutoencoder, BottleneckCodec
from atlasae.codecs.chain import InvertibleAutoencoder, jet_autoencoder
from atlasae.codecs.model import Model, as_model, default_model, domain_of
from atlasae.codecs.walk import Link
from atlasae.errors import UserError
from atlasae.files.events import Events
from atlasae.files.outputs import check_target, write_kept
from atlasae.files.remote import Location, Named, all_located, local
from atlasae.jets.collections import read_units
from atlasae.jets.columns import read_jets
from atlasae.jets.coordinates import Floats, jets_to_columns
from atlasae.jets.inputs import event_numbers, find_in, open_input
from atlasae.jets.recognition import read_patterns
from atlasae.jets.residuals import half_widths, residuals
from atlasae.jets.variables import JET, WHOLE, Variable, VariableList
from atlasae.training.loop import (
    INTERRUPTED,
    Course,
    History,
    Objective,
    Watcher,
    bits_per_row,
    find_rate,
    negative_log_likelihood,
    reconstruction,
    run_course,
)  # fmt: skip
from atlasae.training.recipes import Recipe, read_recipe
from atlasae.training.results import TrainingReport

MOST_ROWS = 2_000_000  # jets: a larger sample does not improve the model
STEP_ENTRIES = 20_000  # entries per chunk
SHARES = (0.8, 0.1)  # of the events, for training and validation; the rest is for the test
FEWEST_EVENTS = 30
SELF_RECIPE = Recipe(course=Course(steps=300, batch=2048, learning_rate=3e-3, validate_every=50))  # `--model self`
FEWEST_ROWS, LIST_HIDDEN = 100, 4
SELF_JETS = 50_000
_FAR = 10  # outliers are this many times the central 99 % range away from it


@dataclass(frozen=True)
class TrainingSample:
    """Jets (n x 4: pt, eta, phi, m in MeV) and the number of each one's event, unique over all files."""

    jets: Floats
    events: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Jets for training, validation and test; all jets of an event are in the same part."""

    training: Floats
    validation: Floats
    test: Floats


def train(  # noqa: PLR0913  # as many as the command has options
    paths: Named | Sequence[Named],
    target: Named,
    recipe: Recipe | Named | None = None,
    *,
    jets: str | Sequence[str] = (),
    units: str | None = None,
    start: Model | Named | None = None,
    device: str = "cpu",
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingReport:
    """Train a model on the jets of files, ROOT and tables, and write it; returns the report.

    `recipe` is one, or its file; `jets` and `units` are as for `compress`; `start` is a model to continue from, or its
    file. Ctrl-C ends the training and keeps the best weights. Raises UserError for what the user can mend,
    DamagedFileError for a damaged input; then no output is left.

    >>> recipe = atlasae.read_recipe(settings=["course.steps=20"])
    >>> atlasae.train(["in.root"], "own.model", recipe)["architecture"]
    'invertible'
    >>> atlasae.compress_file("in.root", "own.root", atlasae.Options(model="own.model"))["jets"] > 0
    True
    """
    listed = all_located(paths)
    target = local(target)
    for path in listed:
        check_target(path, target, force)
    start = start if start is None else as_model(start)
    if not isinstance(recipe, Recipe):
        recipe = read_recipe(recipe, otherwise=start.facts["architecture"] if start else None)
    watch: Watcher | None = (lambda step, steps, loss: progress(step, steps)) if progress else None
    model, history = learn(listed, recipe, read_patterns(jets), read_units(units), start, device, watch)
    facts = {key: model.facts[key] for key in ("architecture", "provenance", "test")}
    return TrainingReport(**write_kept(target, model, force), ended=history.ended, **facts)


def learn(
    paths: Sequence[Location],
    recipe: Recipe,
    patterns: Sequence[str] = (),
    units: str | None = None,
    start: Model | None = None,
    device: str = "cpu",
    watch: Watcher | None = None,
) -> tuple[Model, History]:
    """Train a model on the jets of files (ROOT and tables mixed), from scratch or from another model.

    Raises UserError for too few jets or an unavailable device.
    """
    _check_device(device)
    names = [path.name for path in paths]
    return learn_sample(read_samples(paths, patterns, units), names, recipe, start, device, watch)


@torch.random.fork_rng(devices=[])  # leave the caller's random state as it is
def learn_sample(
    sample: TrainingSample,
    names: Sequence[str],
    recipe: Recipe,
    start: Model | None = None,
    device: str = "cpu",
    watch: Watcher | None = None,
) -> tuple[Model, History]:
    """Train a model on a sample from files of these names; its test jets are used once, after training."""
    split = split_by_event(sample, recipe.seed)
    autoencoder = _begin(recipe, split.training, start)
    history = fit(autoencoder, split, recipe, device, watch)
    facts = describe_jets(autoencoder, split.training) | {
        "provenance": _provenance(names, sample, split, recipe, start, device),
        "test": figures_on(autoencoder, split.test),
        "history": history.to_json(),
    }
    return Model.from_autoencoder(autoencoder, facts), history


@torch.random.fork_rng(devices=[])  # leave the caller's random state as it is
def learn_from(jets: Floats) -> Model:
    """Fit the packaged model to a sample of the jets (n x 4) that it will compress; takes some seconds."""
    shuffled = np.random.default_rng(SELF_RECIPE.seed).permutation(jets)[:SELF_JETS]
    held_out = len(shuffled) // 10
    split = Split(shuffled[2 * held_out :], shuffled[:held_out], shuffled[held_out : 2 * held_out])
    autoencoder = _autoencoder_of(default_model())
    assert isinstance(autoencoder, InvertibleAutoencoder)
    autoencoder.limit(torch.from_numpy(JET.to_coordinates(split.training)))
    torch.manual_seed(SELF_RECIPE.seed)
    history = fit(autoencoder, split, SELF_RECIPE)
    _pass_on(history)
    facts = describe_jets(autoencoder, split.training)
    return Model.from_autoencoder(
        autoencoder,
        facts | {"provenance": {"files": ["the input"], "seed": SELF_RECIPE.seed, "steps": history.steps[-1]}},
    )


@torch.random.fork_rng(devices=[])  # leave the caller's random state as it is
def learn_list(variables: VariableList, rows: Floats) -> Model:
    """Fit an autoencoder of any list of variables to a sample (n x variables); raises UserError for too few rows.

    Each variable is conditioned on those before it, and its location is learned, except for integers and angles.
    """
    usable = variables.usable(rows)
    if usable.sum() < FEWEST_ROWS:
        raise UserError(_too_few(variables, rows, int(usable.sum())))
    rows = rows[usable]
    coordinates = np.random.default_rng(SELF_RECIPE.seed).permutation(variables.to_coordinates(rows))[:SELF_JETS]
    coordinates = coordinates[_is_near(coordinates)]
    torch.manual_seed(SELF_RECIPE.seed)
    autoencoder = InvertibleAutoencoder(*chain_of(variables, coordinates))
    known = torch.from_numpy(coordinates)
    autoencoder.limit(known)
    held_out = len(known) // 10
    split = known[held_out:], known[:held_out]
    _pass_on(run_course(autoencoder, negative_log_likelihood, split, SELF_RECIPE.course, SELF_RECIPE.seed))
    facts = {"columns": [v.branch for v in variables.variables], "units": "as stored", "variables": variables.to_json()}
    return Model.from_autoencoder(
        autoencoder, facts | {"provenance": {"files": ["the input"], "seed": SELF_RECIPE.seed}}
    )


def _is_near(coordinates: Floats) -> npt.NDArray[np.bool_]:
    """Whether each row is near the others: the few outliers are stored exactly, instead of costing every row bits."""
    low, high = np.quantile(coordinates, [0.005, 0.995], axis=0)
    margin = _FAR * np.where(high > low, high - low, np.maximum(np.abs(low), 1))
    return np.asarray(((coordinates >= low - margin) & (coordinates <= high + margin)).all(axis=1))


def _too_few(variables: VariableList, rows: Floats, usable: int) -> str:
    counts = [int(v.usable(x).sum()) for v, x in zip(variables.variables, rows.T, strict=True)]
    fewest = variables.variables[counts.index(min(counts))]
    what = f"{usable} rows with a coordinate of every variable, fewest of '{fewest.branch}' ({fewest.coordinate})"
    return f"{what}: at least {FEWEST_ROWS} are needed"


def _pass_on(history: History) -> None:
    """Raise KeyboardInterrupt if Ctrl-C ended a training that is part of a compression."""
    if history.ended == INTERRUPTED:
        raise KeyboardInterrupt


def chain_of(variables: VariableList, coordinates: Floats) -> tuple[list[Link], list[torch.Tensor]]:
    """The links of a list of variables, and the edges of their bins, from coordinates (n x variables)."""
    links, edges = [], []
    for i, (variable, y) in enumerate(zip(variables.variables, coordinates.T, strict=True)):
        located = bool(i) and variable.coordinate not in (*WHOLE, "angle")
        middle, spread = float(y.mean()), float(y.std()) or 1.0
        given = tuple(range(i)) if located else ()
        offset = middle if located else 0.0
        links.append(Link(variable.branch, given, LIST_HIDDEN, located, offset=offset, centre=middle, scale=spread))
        low, high = _support(variable, y - offset)
        bins = 32 if variable.coordinate not in WHOLE else min(32, round(high - low))
        edges.append(torch.linspace(low, high, bins + 1, dtype=torch.float64))
    return links, edges


def _support(variable: Variable, y: Floats) -> tuple[float, float]:
    """The range of a variable's bins; for integers it ends at half-integers, so that each cell is one integer."""
    match variable.coordinate:
        case "angle":
            return -np.pi, np.pi
        case "categorical":
            return -0.5, len(variable.categories) - 0.5
        case "integer":
            margin = np.ceil(0.1 * np.ptp(y)) + 2
            return float(y.min() - margin) - 0.5, float(y.max() + margin) + 0.5
    reach = 1.5 * float(np.ptp(y)) + 0.1  # on both sides of the location, which may be anywhere in y
    return float(y.min()) - reach, float(y.max()) + reach


def _begin(recipe: Recipe, jets: Floats, start: Model | None) -> Autoencoder:
    """The autoencoder to train; raises UserError if the recipe asks for another network than that of `start`."""
    torch.manual_seed(recipe.seed)
    if start is None:
        return untrained(recipe, jets)
    known = _autoencoder_of(start)
    if start.facts["architecture"] != recipe.arch:
        raise UserError(f"--arch {recipe.arch}: the model to continue from is {start.facts['architecture']}: use that")
    if isinstance(known, BottleneckAutoencoder) and recipe.network not in (known.shape, Bottleneck()):
        raise UserError("the model to continue from keeps its network: leave `network` out of the recipe")
    return known


def _autoencoder_of(model: Model) -> Autoencoder:
    """A copy of its autoencoder, for training to change: models are shared by all files of a process."""
    return deepcopy(model.autoencoder)


def untrained(recipe: Recipe, jets: Floats) -> Autoencoder:
    """A new autoencoder with the range or the normalisation of these jets and random weights."""
    if recipe.arch == "invertible":
        autoencoder = jet_autoencoder()
        autoencoder.limit(torch.from_numpy(JET.to_coordinates(jets)))
        return autoencoder
    network = BottleneckAutoencoder(recipe.network)
    network.normalise_by(torch.from_numpy(jets_to_columns(jets, recipe.network.columns)))
    return network


def fit(
    autoencoder: Autoencoder, split: Split, recipe: Recipe, device: str = "cpu", watch: Watcher | None = None
) -> History:
    """Train an autoencoder on a split; afterwards it is on the CPU and in float64."""
    rows = tuple(_rows(autoencoder, jets).to(device) for jets in (split.training, split.validation))
    objective = _objective(autoencoder, recipe)
    if isinstance(autoencoder, BottleneckAutoencoder):  # in float32, twice as fast; the normalisation stays float64
        autoencoder.encoder.float()
        autoencoder.decoder.float()
    history = run_course(autoencoder.to(device), objective, (rows[0], rows[1]), recipe.course, recipe.seed, watch)
    autoencoder.to("cpu").double()
    return history


def learning_rates(
    paths: Sequence[Location],
    recipe: Recipe,
    patterns: Sequence[str] = (),
    units: str | None = None,
    start: Model | None = None,
) -> tuple[list[float], list[float], float]:
    """The result of `find_rate` for a new network of a recipe, or for a model, on the jets of files."""
    split = split_by_event(read_samples(paths, patterns, units), recipe.seed)
    autoencoder = _begin(recipe, split.training, start).float()
    objective, rows = _objective(autoencoder, recipe), _rows(autoencoder, split.training).float()
    return find_rate(autoencoder, objective, rows, recipe.course, recipe.seed)


def _objective(autoencoder: Autoencoder, recipe: Recipe) -> Objective:
    if isinstance(autoencoder, InvertibleAutoencoder):
        return negative_log_likelihood
    return reconstruction(recipe.loss, recipe.weights, recipe.beta)


def _check_device(device: str) -> None:
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: networks are trained on cpu or cuda")
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"--device {device}: torch finds no GPU here; use --device cpu")


def read_samples(paths: Sequence[Location], patterns: Sequence[str] = (), units: str | None = None) -> TrainingSample:
    """The physical jets of files, all collections together: at most `MOST_ROWS`, spread over each file."""
    jets: list[Floats] = []
    events: list[npt.NDArray[np.int64]] = []
    first = 0
    for path in paths:
        with open_input(path, None, patterns) as opened:
            for found, numbers in _read_file(opened.events, patterns, units, opened.where, MOST_ROWS // len(paths)):
                jets.append(found)
                events.append(numbers + first)
        first = max((int(numbers.max()) for numbers in events if len(numbers)), default=-1) + 1
    sample = TrainingSample(np.concatenate([np.empty((0, 4)), *jets]), np.concatenate([np.empty(0, np.int64), *events]))
    if (n := len(np.unique(sample.events))) < FEWEST_EVENTS:
        raise UserError(f"{n} events with jets in {', '.join(map(str, paths))}: at least {FEWEST_EVENTS} are needed")
    return sample


def split_by_event(sample: TrainingSample, seed: int) -> Split:
    """Split a sample three ways, at random from the seed; jets of one event stay together."""
    return Split(*(sample.jets[part] for part in event_parts(sample.events, seed)))


def event_parts(
    events: npt.NDArray[np.int64], seed: int, shares: tuple[float, float] = SHARES
) -> list[npt.NDArray[np.bool_]]:
    """Masks of the jets for training, validation and test, by their events."""
    shuffled = np.random.default_rng(seed).permutation(np.unique(events))
    ends = np.cumsum([int(share * len(shuffled)) for share in shares])
    return [np.isin(events, part) for part in np.split(shuffled, ends)]


def describe_jets(autoencoder: Autoencoder, jets: Floats) -> dict[str, object]:
    """Columns, units, coordinates and domain that a model of these jets expects."""
    if isinstance(autoencoder, InvertibleAutoencoder):
        coordinates = ["log pt", "eta", "phi", "mu: m / 100 MeV below 100 MeV, sign(m) (1 + log(|m| / 100 MeV)) above"]
        described = {"columns": ["pt", "eta", "phi", "m"], "units": "MeV", "coordinates": coordinates}
    else:
        shape = autoencoder.shape
        described = {"columns": list(shape.columns), "units": "GeV", "coordinates": list(shape.scalings)}
    return described | {"domain": domain_of(jets)}


def figures_on(autoencoder: Autoencoder, jets: Floats) -> dict[str, object]:
    """Figures of a model on test jets: bits per jet at a bound of 1e-3, or half-widths of the residuals."""
    if isinstance(autoencoder, InvertibleAutoencoder):
        return {"jets": len(jets), "bits_per_jet_at_1e-3": bits_per_row(autoencoder, _rows(autoencoder, jets), 2e-3)}
    codec = BottleneckCodec(autoencoder)
    normalised = autoencoder.normalised(torch.from_numpy(jets_to_columns(jets, autoencoder.shape.columns)))
    with torch.no_grad():
        error = float(((autoencoder(normalised) - normalised) ** 2).mean())
    widths = half_widths(residuals(jets, codec.decode(codec.encode(jets))))
    return {"jets": len(jets), "mean_squared_error": error, "half_widths": widths}


def _rows(autoencoder: Autoencoder, jets: Floats) -> torch.Tensor:
    """Jets as the rows that an autoencoder is trained on."""
    if isinstance(autoencoder, InvertibleAutoencoder):
        return torch.from_numpy(JET.to_coordinates(jets))
    return autoencoder.normalised(torch.from_numpy(jets_to_columns(jets, autoencoder.shape.columns))).float()


def _read_file(
    events: Events, patterns: Sequence[str], units: str | None, where: str, most: int
) -> Iterator[tuple[Floats, npt.NDArray[np.int64]]]:
    """Jets and event numbers (rising) chunk by chunk; every n-th chunk of a long file."""
    collections = find_in(events, where, patterns)
    numbers = None if any(c.jagged for c in collections) else event_numbers(events, collections[0])
    for start, stored in read_jets(events, collections, units, STEP_ENTRIES, most):
        jets, counts = stored.jets, stored.counts
        entry = np.repeat(np.arange(start, start + len(counts)), counts)
        kept = JET.usable(jets)
        yield jets[kept], (entry if numbers is None else numbers[entry])[kept]


def _provenance(
    names: Sequence[str], sample: TrainingSample, split: Split, recipe: Recipe, start: Model | None, device: str
) -> dict[str, object]:
    jets = {"training": len(split.training), "validation": len(split.validation), "test": len(split.test)}
    return {
        "files": list(names),
        "events": len(np.unique(sample.events)),
        "jets": jets,
        "seed": recipe.seed,
        "course": asdict(recipe.course),
        "objective": _objective_facts(recipe),
        "from": start.sha256 if start else None,
        "device": device,
        "versions": {package: version(package) for package in ("atlasae", "torch", "numpy")},
    }


def _objective_facts(recipe: Recipe) -> dict[str, object]:
    if recipe.arch == "invertible":
        return {"loss": "negative log-likelihood"}
    return {"loss": recipe.loss, "beta": recipe.beta, "weights": list(recipe.weights)}
