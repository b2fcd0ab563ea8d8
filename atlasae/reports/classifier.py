"""Whether a network can tell original from decompressed jets."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlasae.jets.coordinates import Floats, is_physical, to_coordinates
from atlasae.jets.residuals import area_under_curve
from atlasae.reports.results import Separation
from atlasae.training.loop import Course, run_course

FEWEST_JETS = 100
HIDDEN, SEED = 32, 1
COURSE = Course(steps=500, batch=2048, learning_rate=5e-3, validate_every=50)


def tell_apart(before: Floats, after: Floats) -> Separation | None:
    """Train a small network to tell jets (n x 4, MeV) from what became of them, and try it on jets it has not seen.

    Returns the area under its ROC curve, .5 where it can only guess, with its standard error; nothing of fewer than
    100 jets. A jet is in the same part before and after.
    """
    usable = is_physical(before) & is_physical(after)
    before, after = before[usable], after[usable]
    if len(before) < FEWEST_JETS:
        return None
    shuffled = np.random.default_rng(SEED).permutation(len(before))
    validation, test, training = np.split(shuffled, [len(before) // 10, len(before) // 2])
    scale = to_coordinates(before[training])
    middle, spread = scale.mean(axis=0), np.maximum(scale.std(axis=0), 1e-12)

    def rows(part: np.ndarray[Any, Any]) -> Tensor:
        both = to_coordinates(np.concatenate([before[part], after[part]]))
        labels = np.repeat([0.0, 1.0], len(part))
        return torch.from_numpy(np.column_stack([(both - middle) / spread, labels])).float()

    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are none of ours
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
