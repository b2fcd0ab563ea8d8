"""Fit the invertible autoencoder to jets by maximum likelihood."""

import torch
from torch import Tensor

from atlasae.invertible import InvertibleAutoencoder

BATCH = 4096
LEARNING_RATE = 1e-2


def fit(coordinates: Tensor, steps: int, seed: int) -> InvertibleAutoencoder:
    """Train an autoencoder on coordinates (n x 4, float64), reproducibly from the seed.

    A chain of densities has no local minima to speak of, so a fixed one-cycle schedule does
    (Smith and Topin 2018, arXiv:1708.07120).
    """
    torch.manual_seed(seed)
    autoencoder = InvertibleAutoencoder()
    ends = torch.tensor([1e-4, 1 - 1e-4], dtype=torch.float64)
    autoencoder.trained_log_pt.copy_(coordinates[:, 0].quantile(ends))
    optimiser = torch.optim.Adam(autoencoder.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(steps):
        batch = coordinates[torch.randint(0, len(coordinates), (BATCH,))]
        loss = objective(autoencoder, batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return autoencoder.eval()


def objective(autoencoder: InvertibleAutoencoder, coordinates: Tensor) -> Tensor:
    """Negative log likelihood per jet, plus the distance of mu from its location.

    A density of bins is flat inside a bin and says nothing about where its origin should be; the mean distance does,
    and makes the location the conditional median.
    """
    y = coordinates.unbind(1)
    distance = (y[3] - autoencoder.origin(y[:3])).abs().mean()
    return distance - autoencoder.log_density(coordinates).mean()


def bits_per_jet(autoencoder: InvertibleAutoencoder, coordinates: Tensor, step: float) -> float:
    """Bits a jet needs on a grid of this step in every coordinate, according to the model."""
    with torch.no_grad():
        nats = -autoencoder.log_density(coordinates).mean().item()
    return float((nats - 4 * torch.tensor(step).log().item()) / torch.tensor(2.0).log().item())
