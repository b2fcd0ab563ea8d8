"""A classifier that tries to separate original from decompressed jets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlasae.jets.coordinates import Floats
from atlasae.jets.residuals import area_under_curve
from atlasae.jets.variables import JET
from atlasae.reports.phases import BestGrid
from atlasae.reports.results import Separation
from atlasae.training.loop import Course, run_course

FEWEST_JETS = 100
PHASES = 3  # coordinates whose phases are inputs: log pt, eta, phi
NEAREST = 1e-4  # steps: distances below are as good as 0
HIDDEN, SEED = 32, 1
COURSE = Course(steps=500, batch=2048, learning_rate=5e-3, validate_every=50)


def tell_apart(before: Floats, after: Floats) -> Separation | None:
    """Train a network to separate original from decompressed jets (n x 4, MeV), and test it on held-out jets.

    Its inputs are the coordinates, and the phases of log pt, eta and phi against the grid that the decompressed jets of
    the training fit best. Returns the area under its ROC curve (0.5 for a guess) and its standard error; None for fewer
    than 100 jets. An original and its decompressed jet are in the same part.
    """
    usable = JET.usable(before) & JET.usable(after)
    before, after = JET.to_coordinates(before[usable]), JET.to_coordinates(after[usable])
    if len(before) < FEWEST_JETS:
        return None
    shuffled = np.random.default_rng(SEED).permutation(len(before))
    validation, test, training = np.split(shuffled, [len(before) // 10, len(before) // 2])
    grids = [BestGrid.of(before[training, i], after[training, i]) for i in range(PHASES)]
    scale = _inputs(before[training], grids)
    middle, spread = scale.mean(axis=0), np.maximum(scale.std(axis=0), 1e-12)

    def rows(part: np.ndarray[Any, Any]) -> Tensor:
        both = _inputs(np.concatenate([before[part], after[part]]), grids)
        labels = np.repeat([0.0, 1.0], len(part))
        return torch.from_numpy(np.column_stack([(both - middle) / spread, labels])).float()

    with torch.random.fork_rng(devices=[]):  # leave the caller's random state as it is
        return _tried(rows(training), rows(validation), rows(test))


def _inputs(coordinates: Floats, grids: Sequence[BestGrid]) -> Floats:
    """The coordinates and, for each grid, cosine and sine of the phase and the logarithm of the distance (in steps)."""
    inputs = list(coordinates.T)
    for column, grid in zip(coordinates.T, grids, strict=False):
        phases = grid.phases(column)
        inputs += [np.cos(2 * np.pi * phases), np.sin(2 * np.pi * phases), np.log10(np.abs(phases) + NEAREST)]
    return np.stack(inputs, axis=1)


def _tried(training: Tensor, validation: Tensor, test: Tensor) -> Separation:
    torch.manual_seed(SEED)
    first = nn.Linear(training.shape[1] - 1, HIDDEN)
    network = nn.Sequential(first, nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))
    run_course(network, _cross_entropy, (training, validation), COURSE, SEED)
    with torch.no_grad():
        scores = network(test[:, :-1])[:, 0].double().numpy()
    area, error = area_under_curve(*np.split(scores, 2))
    return Separation(auc=area, error=error, jets=len(scores) // 2)


def _cross_entropy(network: nn.Module, rows: Tensor) -> Tensor:
    loss: Tensor = nn.functional.binary_cross_entropy_with_logits(network(rows[:, :-1])[:, 0], rows[:, -1])
    return loss
