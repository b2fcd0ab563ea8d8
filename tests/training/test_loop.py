import json
import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder
from atlasae.codecs.chain import InvertibleAutoencoder, jet_autoencoder
from atlasae.errors import UserError
from atlasae.training import loop
from atlasae.training.loop import (
    Course,
    History,
    bits_per_row,
    find_rate,
    negative_log_likelihood,
    reconstruction,
    run_course,
    validation_loss,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STEP = 2e-3
SUPPORT = 10.7 * 12 * 2 * math.pi * 19  # of log pt, eta, phi, mu: what a uniform density spreads over


def coordinates(n: int, seed: int) -> torch.Tensor:
    """Falling log pt, eta narrower at high pt, mu 3.4 below log pt on the average."""
    rng = np.random.default_rng(seed)
    log_pt = 10 + rng.exponential(0.6, n).clip(max=5)
    eta = rng.normal(0, 1.5 / (log_pt - 9), n).clip(-5.9, 5.9)
    mu = log_pt - 3.4 + rng.normal(0, 0.4, n)
    return torch.from_numpy(np.column_stack([log_pt, eta, rng.uniform(-math.pi, math.pi, n), mu]))


def fit(jets: torch.Tensor, steps: int, seed: int) -> tuple[InvertibleAutoencoder, History]:
    torch.manual_seed(seed)
    autoencoder = jet_autoencoder()
    autoencoder.limit(jets)
    course = Course(steps=steps, validate_every=20)
    return autoencoder, run_course(autoencoder, negative_log_likelihood, (jets, jets[:500]), course, seed)


@cache
def fitted(steps: int = 60, seed: int = 1) -> InvertibleAutoencoder:
    return fit(coordinates(2000, seed=1), steps, seed)[0]


def untrained() -> InvertibleAutoencoder:
    """An autoencoder with zeros as weights: all bins have the same probability, mu is around log pt - 6."""
    autoencoder = jet_autoencoder()
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.zero_()
    return autoencoder


def test_training_repeats_itself_from_the_seed():
    torch.manual_seed(99)  # no other test's random numbers matter
    again, _ = fit(coordinates(2000, seed=1), 5, 1)
    torch.rand(3)
    first, other = fitted(5, seed=1).state_dict(), fitted(5, seed=2).state_dict()
    assert all(torch.equal(tensor, first[name]) for name, tensor in again.state_dict().items())
    assert not torch.equal(other["densities.3.logits.0.weight"], first["densities.3.logits.0.weight"])


def test_a_few_steps_learn_most_of_what_there_is():
    jets = coordinates(5000, seed=2)  # not those trained on
    before, after = (bits_per_row(autoencoder, jets, STEP) for autoencoder in (fitted(1), fitted()))
    # By hand: entropies of an exponential, of normals and of a uniform, in nats
    spread = (1.5 / (jets[:, 0] - 9)).log().mean().item()
    normal = 0.5 * math.log(2 * math.pi * math.e)
    truth = (1 + math.log(0.6)) + (normal + spread) + math.log(2 * math.pi) + (normal + math.log(0.4))
    floor = (truth - 4 * math.log(STEP)) / math.log(2)
    assert floor - 0.1 < after < floor + 3
    assert after < before - 6
    assert after < math.log2(SUPPORT / STEP**4) - 5


def test_what_is_learned_are_finite_float64():
    for tensor in fitted().state_dict().values():
        assert tensor.dtype == torch.float64 and tensor.isfinite().all()
    assert not fitted().training


def test_the_networks_remember_the_pt_they_were_trained_on():
    expected = np.quantile(coordinates(2000, seed=1)[:, 0].numpy(), [1e-4, 1 - 1e-4])
    assert fitted().trained[0].numpy() == pytest.approx(expected)


def test_the_location_is_the_median_of_mu():
    y = coordinates(5000, seed=2)
    with torch.no_grad():
        distance = y[:, 3] - fitted().origin(3, y.unbind(1)[:3])
    assert abs(float(distance.median())) < 0.25


def test_bits_by_hand():
    # Uniform in pt, eta and phi. In mu 64 bins: 12 of 1.0, 48 of 0.075, 4 of 0.85, and 3 % of a uniform density.
    jets = torch.tensor([[11.0, 1.0, 2.0, 5.0 + offset] for offset in (-13.5, -7.0, 0.01, 4.0)], dtype=torch.float64)
    for jet, width in zip(jets, (1.0, 1.0, 0.075, 0.85), strict=True):
        density = (0.97 / 64 / width + 0.03 / 19) * 19 / SUPPORT
        expected = -math.log2(density * STEP**4)
        assert bits_per_row(untrained(), jet[None], STEP) == pytest.approx(expected, abs=1e-4)
    each = [bits_per_row(untrained(), jet[None], STEP) for jet in jets]
    assert bits_per_row(untrained(), jets, STEP) == pytest.approx(sum(each) / 4, abs=1e-4)
    assert bits_per_row(untrained(), jets, STEP / 2) == pytest.approx(sum(each) / 4 + 4, abs=1e-4)


def test_the_objective_by_hand():
    jets = torch.tensor([[11.0, 1.0, 2.0, 5.0 + 0.01], [11.0, 1.0, 2.0, 5.0 - 7.0]], dtype=torch.float64)
    nats = bits_per_row(untrained(), jets, 1.0) * math.log(2)
    assert negative_log_likelihood(untrained(), jets).item() == pytest.approx(nats + (0.01 + 7.0) / 2, abs=1e-5)


def slope(autoencoder: InvertibleAutoencoder, jets: torch.Tensor, weights: torch.Tensor, index: int) -> float:
    """Change of the objective by one weight, by finite difference."""
    values = []
    for step in (1e-4, -2e-4):
        weights.view(-1)[index] += step
        values.append(negative_log_likelihood(autoencoder, jets).item())
    weights.view(-1)[index] += 1e-4
    return (values[0] - values[1]) / 2e-4


def test_the_objective_has_the_slope_it_says_in_every_weight():
    torch.manual_seed(6)
    jets, autoencoder = coordinates(200, seed=3), jet_autoencoder()
    negative_log_likelihood(autoencoder, jets).backward()
    for name, parameter in autoencoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        steepest = int(parameter.grad.abs().argmax())
        found = slope(autoencoder, jets, parameter.data, steepest)
        assert found == pytest.approx(parameter.grad.view(-1)[steepest].item(), rel=1e-2), name
        assert found != 0, name


# --- the loop, whatever the network


class Weights(nn.Module):
    """Parameters: a matrix with weight decay, and a bias and a norm without."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(1, 2, dtype=torch.float64))
        self.bias = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.norm = nn.BatchNorm1d(2, dtype=torch.float64)


ROWS = torch.zeros(4, 1, dtype=torch.float64)
SLOPES = {"matrix": 3.0, "bias": -0.5, "norm.weight": 0.0}


def after_one_step(slopes: dict[str, float], **course: object) -> dict[str, float]:
    """The change of each parameter after one step, for an objective with these slopes."""
    network = Weights()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    course = Course(steps=1, learning_rate=0.1, schedule="constant", **course)
    run_course(network, sloped(slopes), (ROWS, ROWS), course, 1)
    return {name: (network.get_parameter(name) - before[name]).flatten()[0].item() for name in slopes}


def sloped(slopes: dict[str, float]) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
    def objective(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return sum((slope * network.get_parameter(name).sum() for name, slope in slopes.items()), torch.zeros(()))

    return objective


# By hand: Adam's first step is the learning rate, down the slope. Adam adds the decay to the slope, AdamW to the step.
@pytest.mark.parametrize(
    ("optimiser", "decay", "matrix", "bias"),
    [
        ("sgd", 0.0, -0.1 * 3, 0.1 * 0.5),
        ("sgd", 0.2, -0.1 * (3 + 0.2), 0.1 * 0.5),
        ("adam", 0.0, -0.1, 0.1),
        ("adam", 0.2, -0.1, 0.1),
        ("adamw", 0.0, -0.1, 0.1),
        ("adamw", 0.2, -0.1 - 0.1 * 0.2, 0.1),
    ],
)
def test_the_first_step_of_an_optimiser_by_hand(optimiser, decay, matrix, bias):
    found = after_one_step(SLOPES, optimiser=optimiser, weight_decay=decay)
    assert found == {"matrix": pytest.approx(matrix, rel=1e-5), "bias": pytest.approx(bias, rel=1e-5), "norm.weight": 0}


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_weight_decay_spares_norms_and_biases(optimiser):
    found = after_one_step(dict.fromkeys(SLOPES, 0.0), optimiser=optimiser, weight_decay=0.2)
    assert found["matrix"] < -0.01 and found["bias"] == found["norm.weight"] == 0


STEEP = math.hypot(3, 3, 0.5, 0.5)


@pytest.mark.parametrize(("clip", "slope"), [(0.0, STEEP), (100.0, STEEP), (1.0, 1.0), (0.1, 0.1)])
def test_a_gradient_is_clipped_to_its_norm(clip, slope):
    found = after_one_step(SLOPES, optimiser="sgd", clip=clip)
    assert math.hypot(*[found["matrix"]] * 2, *[found["bias"]] * 2) == pytest.approx(0.1 * slope, rel=1e-4)
    assert found["matrix"] / found["bias"] == pytest.approx(-6)


def rates(schedule: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every one of 40 steps."""
    found = []

    class Recorder(torch.optim.SGD):
        def step(self, closure: object = None) -> None:
            found.append({group["lr"] for group in self.param_groups})
            super().step()

    monkeypatch.setitem(loop.OPTIMISERS, "sgd", Recorder)
    run_course(Weights(), sloped(SLOPES), (ROWS, ROWS), Course(40, 4, 0.5, "sgd", schedule=schedule), 1)
    return [rate for (rate,) in found]


def test_a_constant_learning_rate_stays(monkeypatch):
    assert rates("constant", monkeypatch) == [0.5] * 40


def test_a_cosine_falls_from_the_learning_rate(monkeypatch):
    assert rates("cosine", monkeypatch) == pytest.approx([0.25 * (1 + math.cos(math.pi * k / 40)) for k in range(40)])


def test_one_cycle_rises_to_the_learning_rate_and_falls_to_nothing(monkeypatch):
    found = rates("one-cycle", monkeypatch)
    top = found.index(max(found))
    assert (found[0], found[top], found[-1]) == pytest.approx((0.5 / 25, 0.5, 0.0), abs=1e-5)
    assert found[:top] == sorted(found[:top]) and found[top:] == sorted(found[top:], reverse=True)
    assert 8 <= top <= 14


@pytest.mark.parametrize("schedule", loop.SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_course_may_be_short(schedule, steps):
    assert run_course(Weights(), sloped(SLOPES), (ROWS, ROWS), Course(steps, 4, 0.1, schedule=schedule), 1).steps == [
        steps
    ]


# --- the learning rate


@pytest.mark.parametrize("distance", [1.0, 100.0])
def test_the_rate_found_is_below_what_leads_away(distance):
    # A parabola of curvature 10, its floor where the rows are: a rate of more than 2 / 10 leads away from it.
    network, rows = Counter(), torch.randn(500, generator=torch.Generator().manual_seed(1)).double()
    rows = distance * (1 + rows / 100)

    def valley(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return 5 * ((network.number - rows) ** 2).mean()

    course = Course(7, 5, 1e-2, "sgd", schedule="one-cycle", validate_every=3)
    rates, losses, chosen = find_rate(network, valley, rows, course, 1)
    assert rates[0] == pytest.approx(1e-6 * 10 ** (6 / 200))
    assert np.diff(np.log10(rates)) == pytest.approx([6 / 200] * (len(rates) - 1))
    assert len(losses) == len(rates) <= 200 and losses[0] == pytest.approx(5 * distance**2, rel=0.05)
    assert chosen == rates[losses.index(min(losses))] / 3
    assert 0.01 < chosen < 0.1
    assert network.number.item() == 0  # as it was


@pytest.mark.parametrize("beyond", [math.nan, math.inf, 1e30])
def test_looking_for_a_rate_ends_where_the_loss_explodes(beyond):
    asked = []

    def objective(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        asked.append(len(rows))
        return network.number * 0 + (10.0 - len(asked) if len(asked) < 9 else beyond)

    rates, losses, chosen = find_rate(Counter(), objective, ROWS, Course(batch=3), 1)
    assert (len(rates), len(losses), asked) == (9, 9, [3] * 9)
    assert chosen == rates[7] / 3


# --- validation


class Counter(nn.Module):
    """A parameter that every step raises by one."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros((), dtype=torch.float64))


COUNT = {"learning_rate": 1.0, "optimiser": "sgd", "schedule": "constant", "batch": 2}


def played(losses: list[float]) -> Callable[[nn.Module, torch.Tensor], torch.Tensor]:
    """An objective that moves `Counter` by one per step, with these validation losses."""
    left: Iterator[float] = iter(losses)

    def objective(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return -network.number if network.training else torch.tensor(next(left), dtype=torch.float64)

    return objective


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([5, 4, 3, 2, 1, 0], 6),
        ([5, 1, 3, 2, 1.5, 1.2], 2),
        ([1, 2, 3, 2, 3, 0], 6),
        ([5, 2, 2, 2, 3, 4], 2),
        ([math.nan, math.inf, 3, math.nan, 4, 5], 3),
    ],
)
def test_the_best_weights_are_kept(losses, best):
    network = Counter()
    history = run_course(network, played(losses), (ROWS, ROWS), Course(6, validate_every=1, **COUNT), 1)
    assert (network.number.item(), history.ended, history.steps) == (best, "all steps done", [1, 2, 3, 4, 5, 6])
    assert history.training == [0, -1, -2, -3, -4, -5]
    assert history.validation == [loss if math.isfinite(loss) else math.inf for loss in losses]
    assert not network.training


def test_training_ends_early_where_nothing_gets_better():
    network = Counter()
    course = Course(1000, validate_every=5, patience=3, **COUNT)
    history = run_course(network, played([4, 2, 3, 1, 2, 2, 1, 9]), (ROWS, ROWS), course, 1)
    assert history.steps == [5, 10, 15, 20, 25, 30, 35]
    assert history.ended == "no better for 3 validations"
    assert network.number.item() == 20


def test_the_last_step_is_validated_too():
    network, seen = Counter(), []
    course = Course(7, validate_every=5, **COUNT)
    history = run_course(network, played([2, 1]), (ROWS, ROWS), course, 1, lambda *step: seen.append(step))
    assert history.steps == [5, 7] and network.number.item() == 7
    assert seen == [(5, 7, 2), (7, 7, 1)]


@pytest.mark.parametrize(("interrupted_at", "left"), [(5, 4), (11, 4)])
def test_ctrl_c_keeps_the_best_so_far(interrupted_at, left):
    validated = played([3, 5, 7, 9, 9, 9])
    network = Counter()

    def objective(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        if network.training and network.number.item() == interrupted_at:
            raise KeyboardInterrupt
        return validated(network, rows)

    history = run_course(network, objective, (ROWS, ROWS), Course(20, validate_every=4, **COUNT), 1)
    assert (history.ended, network.number.item(), network.training) == ("interrupted", left, False)
    assert history.steps == [*range(4, interrupted_at + 1, 4)]


def test_ctrl_c_before_anything_is_learned_is_passed_on():
    def objective(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        if not network.training:
            raise KeyboardInterrupt
        return network.number

    with pytest.raises(KeyboardInterrupt):
        run_course(Counter(), objective, (ROWS, ROWS), Course(20, validate_every=4, **COUNT), 1)


def test_a_loss_that_is_never_finite_is_told():
    with pytest.raises(UserError, match=r"not finite after 3 steps: .*learning_rate"):
        run_course(
            Counter(), played([math.nan, math.inf, math.nan]), (ROWS, ROWS), Course(3, validate_every=1, **COUNT), 1
        )


def test_a_history_is_json_whatever_the_losses_were():
    history = History([1, 2], [math.inf, 3.0], [math.nan, 4.0], "interrupted")
    stored = json.loads(json.dumps(history.to_json(), allow_nan=False))
    assert stored == {"steps": [1, 2], "training": [None, 3], "validation": [None, 4], "ended": "interrupted"}


def test_the_validation_loss_is_the_mean_over_all_rows(monkeypatch):
    monkeypatch.setattr(loop, "_BLOCK", 3)
    rows, network = torch.arange(7.0)[:, None] ** 2, Counter()

    def mean(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        assert not network.training and not torch.is_grad_enabled() and len(rows) <= 3
        return rows.mean()

    assert validation_loss(network, mean, rows) == pytest.approx((0 + 1 + 4 + 9 + 16 + 25 + 36) / 7)
    assert network.training  # it continues
    rows[5] = math.nan
    assert validation_loss(network, mean, rows) == math.inf


# --- objectives


@pytest.mark.parametrize(
    ("loss", "weights", "beta", "expected"),
    [
        ("mse", (), 1, (0.25 + 9 + 0 + 1) / 4),
        ("mse", (2, 1, 5, 0.5), 0.1, (4 * 0.25 + 9 + 0 + 0.25) / 4),
        ("smooth_l1", (), 1, (0.125 + 2.5 + 0 + 0.5) / 4),
        ("smooth_l1", (), 0.2, (0.4 + 2.9 + 0 + 0.9) / 4),
        ("smooth_l1", (1, 2, 1, 1), 2, (0.0625 + 5 + 0 + 0.25) / 4),
        ("huber", (), 1, (0.125 + 2.5 + 0 + 0.5) / 4),
        ("huber", (), 0.2, (0.08 + 0.58 + 0 + 0.18) / 4),
        ("huber", (1, 2, 1, 1), 1, (0.125 + 5.5 + 0 + 0.5) / 4),
    ],
)
def test_a_reconstruction_by_hand(loss, weights, beta, expected):
    class Shifted(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows + torch.tensor([0.5, -3, 0, 1])

    rows = torch.tensor([[1.0, 2, 3, 4], [-7, 5, 0, 9]])
    assert float(reconstruction(loss, weights, beta)(Shifted(), rows)) == pytest.approx(expected, rel=1e-6)


def bottleneck(seed: int, **shape: object) -> BottleneckAutoencoder:
    torch.manual_seed(seed)
    return BottleneckAutoencoder(Bottleneck(hidden=(16,), activation="silu", **shape))


def fitted_bottleneck(seed: int, weights: tuple[float, ...] = (), **shape: object) -> BottleneckAutoencoder:
    rows = torch.randn(500, 4, generator=torch.Generator().manual_seed(1))
    network, course = bottleneck(1, **shape), Course(60, 64, 1e-2, validate_every=20)
    run_course(network, reconstruction("mse", weights), (rows[:400], rows[400:]), course, seed)
    return network


def test_a_bottleneck_repeats_itself_from_the_seed():
    shape = {"batch_norm": True, "dropout": 0.1}
    first, again, other = (fitted_bottleneck(seed, **shape).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not torch.equal(first["encoder.0.weight"], other["encoder.0.weight"])


@pytest.mark.parametrize("column", [0, 3])
def test_a_column_of_more_weight_is_known_better(column):
    # Four independent numbers in three latents: one is lost, unless it counts.
    rows = torch.randn(1000, 4, generator=torch.Generator().manual_seed(2))
    weights = [1.0] * 4
    weights[column] = 5.0
    network = fitted_bottleneck(1, tuple(weights))
    with torch.no_grad():
        error = ((network(rows) - rows) ** 2).mean(dim=0)
    assert float(error[column]) < 0.2
    assert float(error.sum() - error[column]) > 0.5
