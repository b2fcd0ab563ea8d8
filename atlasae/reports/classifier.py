"""A classifier that tries to separate original from decompressed jets."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlasae.jets.coordinates import Floats
from atlasae.jets.residuals import area_under_curve
from atlasae.jets.variables import JET
from atlasae.reports.results import Separation
from atlasae.training.loop import Course, run_course

FEWEST_JETS = 100
HIDDEN, SEED = 32, 1
COURSE = Course(steps=500, batch=2048, learning_rate=5e-3, validate_every=50)


def tell_apart(before: Floats, after: Floats) -> Separation | None:
    """Train a network to separate original from decompressed jets (n x 4, MeV), and test it on held-out jets.

    Returns the area under its ROC curve (0.5 for a guess) and its standard error; None for fewer than 100 jets. An
    original and its decompressed jet are in the same part.
    """
    usable = JET.usable(before) & JET.usable(after)
    before, after = before[usable], after[usable]
    if len(before) < FEWEST_JETS:
        return None
    shuffled = np.random.default_rng(SEED).permutation(len(before))
    validation, test, training = np.split(shuffled, [len(before) // 10, len(before) // 2])
    scale = JET.to_coordinates(before[training])
    middle, spread = scale.mean(axis=0), np.maximum(scale.std(axis=0), 1e-12)

    def rows(part: np.ndarray[Any, Any]) -> Tensor:
        both = JET.to_coordinates(np.concatenate([before[part], after[part]]))
        labels = np.repeat([0.0, 1.0], len(part))
        return torch.from_numpy(np.column_stack([(both - middle) / spread, labels])).float()

    with torch.random.fork_rng(devices=[]):  # leave the caller's random state as it is
        return _tried(rows(training), rows(validation), rows(test))


def _tried(training: Tensor, validation: Tensor, test: Tensor) -> Separation:
    torch.manual_seed(SEED)
    network = nn.Sequential(nn.Linear(4, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))
    run_course(network, _cross_entropy, (training, validation), COURSE, SEED)
    with torch.no_grad():
        scores = network(test[:, :-1])[:, 0].double().numpy()
    area, error = area_under_curve(*np.split(scores, 2))
    return Separation(auc=area, error=error, jets=len(scores) // 2)


def _cross_entropy(network: nn.Module, rows: Tensor) -> Tensor:
    loss: Tensor = nn.functional.binary_cross_entropy_with_logits(network(rows[:, :-1])[:, 0], rows[:, -1])
    return loss
