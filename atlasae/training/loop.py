"""The training loop, common to all networks."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.errors import UserError

Objective = Callable[[nn.Module, Tensor], Tensor]
Watcher = Callable[[int, int, float], None]  # arguments: steps done, all steps, validation loss

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
LOSSES: dict[str, Callable[[float], nn.Module]] = {
    "mse": lambda beta: nn.MSELoss(),
    "smooth_l1": lambda beta: nn.SmoothL1Loss(beta=beta),
    "huber": lambda beta: nn.HuberLoss(delta=beta),
}
SCHEDULES = ("one-cycle", "cosine", "constant")
RATES, RATE_STEPS = (1e-6, 1.0), 200  # of the learning rate finder
_BLOCK = 65_536  # rows per validation batch
CURVES = ("training", "validation")  # names of losses
INTERRUPTED = "interrupted"  # the value of History.ended after Ctrl-C


@dataclass(frozen=True)
class Course:
    """The settings of a training.

    `schedule` is one-cycle (Smith and Topin 2018, arXiv:1708.07120), cosine (Loshchilov and Hutter 2016,
    arXiv:1608.03983) or constant. `clip` is the largest norm of a gradient, 0 for no limit. Norms and biases have no
    weight decay.
    """

    steps: int = 1200
    batch: int = 4096
    learning_rate: float = 1e-2
    optimiser: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "one-cycle"
    clip: float = 0.0
    validate_every: int = 100  # steps
    patience: int = 10  # validations without improvement before training ends


@dataclass
class History:
    """The steps and losses of all validations, and how the training ended."""

    steps: list[int] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    ended: str = "all steps done"

    def add(self, step: int, training: float, validation: float) -> None:
        """Note one validation."""
        self.steps.append(step)
        self.training.append(training)
        self.validation.append(validation)

    def to_json(self) -> dict[str, object]:
        """The history for a model's facts; losses that are not finite become null, because JSON has no infinity."""
        losses = {name: [x if math.isfinite(x) else None for x in getattr(self, name)] for name in CURVES}
        return {"steps": self.steps, **losses, "ended": self.ended}

    @property
    def since_best(self) -> int:
        """The number of validations since the best one."""
        return len(self.validation) - 1 - self.validation.index(min(self.validation))


def run_course(
    network: nn.Module,
    objective: Objective,
    rows: tuple[Tensor, Tensor],
    course: Course,
    seed: int,
    watch: Watcher | None = None,
) -> History:
    """Train a network on the first of `rows`, and leave it with the weights that were best on the second.

    The same seed gives the same weights on the same machine. Ctrl-C ends the training and keeps the best weights;
    before the first validation it raises KeyboardInterrupt. Raises UserError if no validation gave a finite loss.
    """
    history, best = History(), copy.deepcopy(network.state_dict())
    network.train()
    try:
        for step, loss in _steps(network, objective, rows[0], course, seed):
            if step % course.validate_every and step < course.steps:
                continue
            history.add(step, loss, validation_loss(network, objective, rows[1]))
            if watch:
                watch(step, course.steps, history.validation[-1])
            if history.since_best == 0:
                best = copy.deepcopy(network.state_dict())
            elif history.since_best >= course.patience:
                history.ended = f"no better for {course.patience} validations"
                break
    except KeyboardInterrupt:
        if not history.steps:
            raise
        history.ended = INTERRUPTED
    _check_finite(history)
    network.load_state_dict(best)
    network.eval()
    return history


def _check_finite(history: History) -> None:
    """Raise UserError if no validation gave a finite loss."""
    if not math.isfinite(min(history.validation)):
        raise UserError(f"the loss is not finite after {history.steps[-1]} steps: try a lower course.learning_rate")


def find_rate(
    network: nn.Module, objective: Objective, rows: Tensor, course: Course, seed: int
) -> tuple[list[float], list[float], float]:
    """Train with a learning rate that grows from 1e-6 to 1 (Smith 2015, arXiv:1506.01186), then restore the weights.

    Returns rates, smoothed losses, and the suggested rate: a third of the one with the lowest loss. Stops where the
    loss explodes.
    """
    before, (low, high), steps = copy.deepcopy(network.state_dict()), RATES, RATE_STEPS
    growing = replace(course, steps=steps, schedule="constant", learning_rate=low)
    rates, losses, smooth = [], [], 0.0
    network.train()
    for step, loss in _steps(network, objective, rows, growing, seed, growth=(high / low) ** (1 / steps)):
        smooth = 0.9 * smooth + 0.1 * loss
        rates.append(low * (high / low) ** (step / steps))
        losses.append(smooth / (1 - 0.9**step))
        if not math.isfinite(loss) or losses[-1] > losses[0] + 3 * abs(losses[0]) + 4 * (losses[0] - min(losses)):
            break
    network.load_state_dict(before)
    finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
    return rates, losses, rates[finite.index(min(finite))] / 3


def validation_loss(network: nn.Module, objective: Objective, rows: Tensor) -> float:
    """Mean loss over all rows in evaluation mode; infinite if it is not a number."""
    network.eval()
    with torch.no_grad():
        total = 0.0
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            total += float(objective(network, block)) * len(block)
    network.train()
    return total / len(rows) if math.isfinite(total) else math.inf


def negative_log_likelihood(network: nn.Module, coordinates: Tensor) -> Tensor:
    """Nats per row of an invertible autoencoder, plus the mean distances from the learned locations.

    The density is constant within a bin, so the likelihood does not determine the location of the bins; the mean
    distance does: its minimum is the conditional median.
    """
    assert isinstance(network, InvertibleAutoencoder)
    y = coordinates.unbind(1)
    loss = -network.log_density(coordinates).mean()
    for i in map(int, network.locations):
        loss = loss + (y[i] - network.origin(i, y)).abs().mean()
    return loss


def reconstruction(loss: str, weights: Sequence[float] = (), beta: float = 1.0) -> Objective:
    """The loss between the (normalised) rows and the network's output, each column times its weight.

    At a difference of `beta`, smooth_l1 and huber change from quadratic to linear.
    """
    measure = LOSSES[loss](beta)

    def objective(network: nn.Module, rows: Tensor) -> Tensor:
        scale = rows.new_tensor(weights or [1.0] * rows.shape[1])
        distance: Tensor = measure(network(rows) * scale, rows * scale)
        return distance

    return objective


def bits_per_row(network: InvertibleAutoencoder, coordinates: Tensor, step: float) -> float:
    """The bits per row on a grid of this step in every coordinate, by the model's density."""
    with torch.no_grad():
        nats = -network.log_density(coordinates).mean().item()
    return (nats - coordinates.shape[1] * math.log(step)) / math.log(2)


def _steps(
    network: nn.Module, objective: Objective, rows: Tensor, course: Course, seed: int, growth: float = 1.0
) -> Iterator[tuple[int, float]]:
    generator = torch.Generator(rows.device).manual_seed(seed)
    optimiser = _optimiser(network, course)
    schedule = _schedule(optimiser, course, growth)
    for step in range(1, course.steps + 1):
        chosen = torch.randint(0, len(rows), (course.batch,), generator=generator, device=rows.device)
        loss = objective(network, rows[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        if course.clip:
            nn.utils.clip_grad_norm_(network.parameters(), course.clip)
        optimiser.step()
        schedule.step()
        yield step, float(loss.detach())


def _optimiser(network: nn.Module, course: Course) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    spared = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": course.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    optimiser: torch.optim.Optimizer = OPTIMISERS[course.optimiser](groups, lr=course.learning_rate)
    return optimiser


def _schedule(optimiser: torch.optim.Optimizer, course: Course, growth: float) -> torch.optim.lr_scheduler.LRScheduler:
    schedules = torch.optim.lr_scheduler
    match course.schedule:
        case "one-cycle":
            return schedules.OneCycleLR(optimiser, course.learning_rate, total_steps=course.steps)
        case "cosine":
            return schedules.CosineAnnealingLR(optimiser, course.steps)
        case _:
            return schedules.ExponentialLR(optimiser, growth)
