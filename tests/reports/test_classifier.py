"""A classifier that separates original from decompressed jets if they differ."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_jets

from atlasae.jets.variables import JET
from atlasae.reports import classifier
from atlasae.reports.classifier import COURSE, FEWEST_JETS, tell_apart
from atlasae.training.loop import run_course

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def jets(n: int, seed: int = 1) -> np.ndarray:
    """pt, eta, phi, m in MeV."""
    found = random_jets(n, seed)
    return np.stack([found[v] for v in ("pt", "eta", "phi", "m")], axis=1)


@pytest.fixture
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the steps, for jets that are told apart soon."""
    monkeypatch.setattr(classifier, "COURSE", replace(COURSE, steps=100))


@pytest.mark.usefixtures("quick_classifier")
def test_jets_that_did_not_change_can_not_be_told_apart():
    found = tell_apart(jets(200), jets(200))
    assert found == {"auc": pytest.approx(0.5, abs=1e-9), "error": pytest.approx(0, abs=1e-9), "jets": 80}


def test_what_changed_by_chance_alone_can_not_be_told_apart():
    before = jets(400)
    after = jets(400, seed=2)  # of the same distribution, and no jet the same
    found = tell_apart(before, after)
    assert found["jets"] == 160 and 0.005 < found["error"] < 0.05
    assert abs(found["auc"] - 0.5) < 4 * found["error"]  # a network that had seen the tested jets would do better


@pytest.mark.usefixtures("shorter")
def test_heavier_jets_are_told_apart():
    before = jets(300)
    found = tell_apart(before, before * [1, 1, 1, 20])  # heavier than any was
    assert found["auc"] > 0.99 and found["error"] < 0.02


@pytest.mark.usefixtures("quick_classifier")
def test_a_network_answers_the_same_twice():
    before = jets(FEWEST_JETS)
    after = before * [1.02, 1, 1, 1.1]
    first = tell_apart(before, after)
    torch.manual_seed(99)
    assert tell_apart(before, after) == first
    assert first["jets"] == 40


def test_few_jets_are_not_told_apart():
    before = jets(FEWEST_JETS - 1)
    assert tell_apart(before, before * [1, 1, 1, 20]) is None
    assert tell_apart(np.zeros((0, 4)), np.zeros((0, 4))) is None


@pytest.mark.parametrize("odd", [(0, np.nan), (0, 0.0), (1, np.inf), (2, 4.0), (3, np.nan)])
@pytest.mark.parametrize("side", [0, 1])
def test_jets_without_coordinates_are_left_out_on_both_sides(side, odd):
    pair = [jets(FEWEST_JETS), jets(FEWEST_JETS)]
    column, value = odd
    pair[side][7, column] = value
    assert tell_apart(*pair) is None  # one is missing


def test_a_network_is_trained_and_tried_on_different_jets(monkeypatch):
    seen = []

    def spy(network, loss, rows, *others):
        seen.extend(rows)
        return run_course(network, loss, rows, *others)

    monkeypatch.setattr(classifier, "run_course", spy)
    monkeypatch.setattr(classifier, "COURSE", type(COURSE)(steps=1, validate_every=1))
    before = jets(200)
    before[:, 2] = np.linspace(-3, 3, 200)  # which jet it is
    found = tell_apart(before, before * [1, 1, 1, 2])
    training, validation = ([round(phi, 5) for phi in rows[:, 2].tolist()] for rows in seen)
    assert (len(training), len(validation), found["jets"]) == (200, 40, 80)  # before and after
    assert training[:100] == training[100:] and validation[:20] == validation[20:]  # the same jets in both
    assert len({*training, *validation}) == 120


def rounded(before: np.ndarray, step: float, columns: tuple[int, ...] = (0, 1, 2, 3)) -> np.ndarray:
    """Jets whose coordinates are on one grid, stored as float32."""
    y = JET.to_coordinates(before)
    y[:, columns] = np.rint(y[:, columns] / step) * step
    return JET.from_coordinates(y).astype(np.float32).astype(np.float64)


@pytest.mark.usefixtures("shorter")
def test_jets_on_a_comb_are_told_apart():
    before = jets(4_000)
    assert tell_apart(before, rounded(before, 2e-3))["auc"] > 0.99
    assert tell_apart(before, rounded(before, 2e-3, (1,)))["auc"] > 0.9


def test_jets_with_random_errors_are_not_told_apart():
    before = jets(4_000)
    errors = np.random.default_rng(3).uniform(-1e-3, 1e-3, before.shape)
    found = tell_apart(before, JET.from_coordinates(JET.to_coordinates(before) + errors))
    assert abs(found["auc"] - 0.5) < 4 * found["error"]
