"""The invertible autoencoder: a chain of learned one-dimensional densities that maps jets to three floats and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from atlasae.codecs.grid import Grid
from atlasae.codecs.walk import (
    JETS,
    LOCATION_HIDDEN,
    Decoded,
    Link,
    Weights,
    check_order,
    decode_rows,
    encode_rows,
    free_of,
)
from atlasae.jets.coordinates import Floats

Known = Sequence[Tensor] | Mapping[int, Tensor]  # coordinates by the index of their variable

_MU_CORE, _MU_SUPPORT = (-2.0, 1.6), (-14.0, 5.0)


class Density(nn.Module):
    """A density of K bins given a context: p(y | c) = w_k(c) / width_k, constant inside a bin.

    The weights are the output of a network of the context, or free parameters without a context. A uniform density is
    mixed in with a share `uniform` (3 %), so that no value in the support has probability 0.
    """

    edges: Tensor

    def __init__(self, edges: Tensor, context: int, hidden: int, uniform: float = 0.03) -> None:
        super().__init__()
        self.register_buffer("edges", edges)
        self.uniform = uniform
        bins = len(edges) - 1
        self.logits: nn.Module = network(context, hidden, bins) if context else Constant(bins)

    def log_weights(self, context: Tensor) -> Tensor:
        """The logarithm of the probability of each bin (n x K, or 1 x K without a context)."""
        logits: Tensor = self.logits(context)
        widths = self.edges.diff()
        return ((1 - self.uniform) * logits.softmax(-1) + self.uniform * widths / widths.sum()).log()

    def masses(self, context: Tensor, exponent: float) -> Tensor:
        """Integral of the density to the power `exponent` (tempered) over each bin, normalised to 1."""
        log_widths = self.edges.diff().log()
        if exponent == 0:  # a uniform density: the network is not needed
            return log_widths.softmax(-1)[None]
        tempered = exponent * (self.log_weights(context) - log_widths) + log_widths
        return tempered.softmax(-1)

    def cumulative(self, y: Tensor, context: Tensor, exponent: float) -> Tensor:
        """The cumulative distribution F(y | c) of the tempered density, in [0, 1]; its inverse is `quantile`."""
        if exponent == 0:  # linear
            return ((y - self.edges[0]) / (self.edges[-1] - self.edges[0])).clamp(0, 1)
        k = self._bin(y)
        masses = self.masses(context, exponent)
        below = masses.cumsum(-1) - masses
        inside = (y - self.edges[k]) / self.edges.diff()[k]
        return _pick(below, k) + _pick(masses, k) * inside.clamp(0, 1)

    def quantile(self, u: Tensor, context: Tensor, exponent: float) -> Tensor:
        """The y with F(y | c) = u."""
        if exponent == 0:
            return self.edges[0] + (self.edges[-1] - self.edges[0]) * u
        masses = self.masses(context, exponent)
        total = masses.cumsum(-1)
        bounds = total[0] if len(total) == 1 else total
        k = torch.searchsorted(bounds, u if len(total) == 1 else u[:, None]).reshape(-1).clamp(max=len(self.edges) - 2)
        inside = (u - _pick(total - masses, k)) / _pick(masses, k)
        return self.edges[k] + self.edges.diff()[k] * inside.clamp(0, 1)

    def log_density(self, y: Tensor, context: Tensor, exponent: float = 1.0) -> Tensor:
        """Logarithm of the tempered density at y (n)."""
        k = self._bin(y)
        return _pick(self.masses(context, exponent), k).log() - self.edges.diff().log()[k]

    def _bin(self, y: Tensor) -> Tensor:
        return (torch.searchsorted(self.edges, y.contiguous(), right=True) - 1).clamp(0, len(self.edges) - 2)


class Constant(nn.Module):
    """The logits of a density without a context: free parameters (1 x K), the same for every jet."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(1, outputs))

    def forward(self, context: Tensor) -> Tensor:
        """The parameters, for any context."""
        return self.values


class InvertibleAutoencoder(nn.Module):
    """Coordinates to floats and back by a chain of densities, for jets p(log pt) p(eta | pt) p(phi) p(mu | pt, eta).

    Each variable is conditioned on the decoded values of those before it, so that errors do not propagate from one
    variable to the next. All arithmetic is float64: results differ by 1e-14 between machines, which changes no cell
    when decoding. After `.float()`, decoding is in float32 and correct to `DRIFT`.
    """

    trained: Tensor
    densities: Sequence[Density]
    locations: Mapping[str, nn.Module]

    def __init__(self, links: Sequence[Link], edges: Sequence[Tensor]) -> None:
        super().__init__()
        check_order(links)
        self.links = tuple(links)
        # Torch's containers behave as sequences and mappings of these classes, but are not typed so.
        self.densities = nn.ModuleList(  # type: ignore[assignment]
            Density(bins.double(), len(link.given), link.hidden) for link, bins in zip(links, edges, strict=True)
        )
        self.locations = nn.ModuleDict(  # type: ignore[assignment]
            {str(i): network(len(link.given), LOCATION_HIDDEN, 1) for i, link in enumerate(links) if link.located}
        )
        unlimited = torch.tensor([-math.inf, math.inf]).repeat(len(self.links), 1)
        self.register_buffer("trained", torch.nan_to_num(unlimited))
        self.double()

    def limit(self, coordinates: Tensor) -> None:
        """Store the range (quantiles 1e-4 and 1 - 1e-4) of training coordinates, to which contexts are clamped."""
        ends = torch.tensor([1e-4, 1 - 1e-4], dtype=torch.float64)
        for i, column in enumerate(coordinates.unbind(1)):
            # torch.quantile accepts at most 16 million numbers.
            self.trained[i] = column[:: max(1, len(column) // 1_000_000)].quantile(ends.to(column.device))

    def context(self, i: int, known: Known) -> Tensor:
        """The context of variable i (n x given) from the coordinates before it, scaled."""
        if not self.links[i].given:
            return torch.empty(0)
        # Clamped to the range of training: networks extrapolate badly.
        limits = self.trained.tolist()
        given = [(self.links[k], known[k].clamp(*limits[k])) for k in self.links[i].given]
        return torch.stack([(y - link.centre) / link.scale for link, y in given], dim=-1)

    def origin(self, i: int, known: Known) -> Tensor | float:
        """The origin of the bins of variable i, one per row or the same for all."""
        link = self.links[i]
        origin: Tensor | float = link.offset
        if link.anchor is not None:
            origin = origin + known[link.anchor]
        if link.located:  # the network learns the deviation from the anchor
            origin = origin + self.locations[str(i)](self.context(i, known)).squeeze(-1)
        return origin

    def cumulative(self, coordinates: Tensor, exponent: float) -> Tensor:
        """The cumulative value u (n x variables) of each coordinate given the ones before it, not quantised."""
        y = coordinates.unbind(1)
        return torch.stack([
            density.cumulative(y[i] - self.origin(i, y), self.context(i, y), exponent)
            for i, density in enumerate(self.densities)
        ], dim=1)  # fmt: skip

    def log_densities(self, coordinates: Tensor, exponent: float = 1.0) -> Tensor:
        """Logarithm of the density (n x variables) of each coordinate given the ones before it."""
        y = coordinates.unbind(1)
        return torch.stack([
            density.log_density(y[i] - self.origin(i, y), self.context(i, y), exponent)
            for i, density in enumerate(self.densities)
        ], dim=1)  # fmt: skip

    def log_density(self, coordinates: Tensor) -> Tensor:
        """Logarithm of the density (n) of rows; -mean / ln 2 is the bits per row, up to a constant set by the steps."""
        return self.log_densities(coordinates).sum(dim=1)

    def encode(self, coordinates: Tensor, grid: Grid) -> Tensor:
        """The latents (n x words, float32 in [1, 2)) of coordinates (n x variables, float64)."""
        return torch.from_numpy(encode_rows(Tempered(self, grid.exponent), coordinates.numpy(), grid))

    def decode(self, latents: Tensor, grid: Grid) -> Tensor:
        """The coordinates (n x variables) of latents: the middles of their cells; raises ValueError."""
        return torch.from_numpy(decode_rows(Tempered(self, grid.exponent), latents.numpy(), grid))

    @property
    def free(self) -> list[bool]:
        """Whether the origin of each variable does not depend on others."""
        return free_of(self.links)

    @property
    def weights(self) -> Weights:
        """What equal steps need, in NumPy."""
        state = {name: tensor.detach().cpu().numpy() for name, tensor in self.state_dict().items()}
        return Weights.of_state(self.links, state)

    def whole(self) -> "InvertibleAutoencoder":
        """The autoencoder itself."""
        return self


@dataclass(frozen=True)
class Tempered:
    """The densities of an autoencoder to the power `exponent`, for arrays."""

    autoencoder: InvertibleAutoencoder
    exponent: float

    @property
    def links(self) -> Sequence[Link]:
        """The variables of the chain."""
        return self.autoencoder.links

    @torch.no_grad()
    def origin(self, i: int, known: Decoded) -> Floats | float:
        """The origin of the bins of variable i."""
        found = self.autoencoder.origin(i, _tensors(known))
        return found.numpy() if isinstance(found, Tensor) else found

    @torch.no_grad()
    def cumulative(self, i: int, y: Floats, known: Decoded) -> Floats:
        """The cumulative values u of coordinates y of variable i, counted from its origin."""
        density, given = self.autoencoder.densities[i], torch.from_numpy(np.ascontiguousarray(y))
        return np.asarray(density.cumulative(given, self._asked(i, known), self.exponent).numpy())

    @torch.no_grad()
    def quantile(self, i: int, u: Floats, known: Decoded) -> Floats:
        """The inverse of `cumulative`."""
        density, given = self.autoencoder.densities[i], torch.from_numpy(u).to(self.autoencoder.trained.dtype)
        return np.asarray(density.quantile(given, self._asked(i, known), self.exponent).numpy())

    @torch.no_grad()
    def width(self, i: int, y: Floats, known: Decoded) -> Floats:
        """The inverse of the density at coordinates y of variable i, counted from its origin."""
        density, given = self.autoencoder.densities[i], torch.from_numpy(np.ascontiguousarray(y))
        context = self.autoencoder.context(i, _tensors(known))
        return np.asarray((-density.log_density(given, context, self.exponent)).exp().numpy())

    def _asked(self, i: int, known: Decoded) -> Tensor:
        # Equal steps (exponent 0) need no context.
        return self.autoencoder.context(i, _tensors(known)) if self.exponent else torch.empty(0)


def _tensors(known: Decoded) -> dict[int, Tensor]:
    return {i: torch.from_numpy(values) for i, values in known.items()}


def jet_autoencoder() -> InvertibleAutoencoder:
    """The untrained autoencoder of jets, in the coordinates of `atlasae.jets.variables.JET`."""
    double = torch.float64
    core = torch.linspace(*_MU_CORE, 49, dtype=double)
    below = torch.linspace(_MU_SUPPORT[0], _MU_CORE[0], 13, dtype=double)
    above = torch.linspace(_MU_CORE[1], _MU_SUPPORT[1], 5, dtype=double)
    edges = [
        torch.linspace(6.2, 16.9, 65, dtype=double),
        torch.linspace(-6.0, 6.0, 49, dtype=double),
        torch.linspace(-math.pi, math.pi, 33, dtype=double),
        torch.cat([below[:-1], core, above[1:]]),
    ]
    return InvertibleAutoencoder(JETS, edges)


def network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A network with two hidden layers and SiLU activations."""
    sizes = [inputs, hidden, hidden, outputs]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers[:-1])


def _pick(rows: Tensor, k: Tensor) -> Tensor:
    return rows[0][k] if len(rows) == 1 else rows.gather(1, k[:, None]).squeeze(1)
