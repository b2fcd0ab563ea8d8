"""The invertible autoencoder: a chain of learned one-dimensional densities, jets to three floats and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from atlasae.codecs.grid import Grid, pack, unpack

_SMALLEST = 1e-100  # scale: what is divided by less may be infinite


@dataclass(frozen=True)
class Link:
    """One variable of the chain: the variables before it that its density is given, and where its support lies.

    The support begins at `offset`, and moves with the coordinate of the variable `anchor` and with a location learned
    from those given.
    """

    name: str
    given: tuple[int, ...] = ()
    hidden: int = 0
    located: bool = False
    anchor: int | None = None
    offset: float = 0.0
    centre: float = 0.0  # of the coordinate, as what follows is given it: (y - centre) / scale
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for what is no link: one that exists is a valid one."""
        numbers = (self.offset, self.centre, self.scale)
        wrong = {
            "a name is text, and located true or false": not (type(self.name) is str and type(self.located) is bool),
            "variables before it are given as whole numbers": not (
                type(self.given) is tuple
                and all(map(_is_whole, (*self.given, self.hidden, 0 if self.anchor is None else self.anchor)))
            ),
            "offset, centre and scale are finite numbers, scale positive": not (
                all(type(x) in (int, float) and _is_finite(x) for x in numbers) and self.scale > _SMALLEST
            ),
        }
        if messages := [message for message, is_wrong in wrong.items() if is_wrong]:
            raise ValueError(f"link {self.name!r}: {messages[0]}")


def _is_finite(number: float) -> bool:
    return math.isfinite(number) if type(number) is float else abs(number) < 2**63  # torch takes no larger integer


def _is_whole(number: object) -> bool:
    return type(number) is int and number >= 0


# Jets: log pt from 0.5 GeV to 22 TeV; mu, which grows with pt, around what its pt and eta let expect.
_MU_CORE, _MU_SUPPORT = (-2.0, 1.6), (-14.0, 5.0)
JETS = (
    Link("pt", centre=11.0, scale=2.0),
    Link("eta", given=(0,), hidden=32, scale=3.0),
    Link("phi"),
    Link("m", given=(0, 1), hidden=48, located=True, anchor=0, offset=-6.0),
)


class Density(nn.Module):
    """Probability of each of K bins given a context: p(y | c) = w_k(c) / width_k, constant inside a bin.

    The weights come from a network of the context, or are free numbers where there is none. A few percent of a
    uniform density is mixed in, so that no value of the support is impossible.
    """

    edges: Tensor

    def __init__(self, edges: Tensor, context: int, hidden: int, uniform: float = 0.03) -> None:
        super().__init__()
        self.register_buffer("edges", edges)
        self.uniform = uniform
        bins = len(edges) - 1
        self.logits: nn.Module = network(context, hidden, bins) if context else Constant(bins)

    def log_weights(self, context: Tensor) -> Tensor:
        """Log probability of each bin (n x K, or 1 x K without a context)."""
        logits: Tensor = self.logits(context)
        widths = self.edges.diff()
        return ((1 - self.uniform) * logits.softmax(-1) + self.uniform * widths / widths.sum()).log()

    def masses(self, context: Tensor, exponent: float) -> Tensor:
        """Integral of the density to the power `exponent` over each bin, normalised to 1."""
        log_widths = self.edges.diff().log()
        if exponent == 0:  # the network has no say: do not run it
            return log_widths.softmax(-1)[None]
        tempered = exponent * (self.log_weights(context) - log_widths) + log_widths
        return tempered.softmax(-1)

    def cumulative(self, y: Tensor, context: Tensor, exponent: float) -> Tensor:
        """F(y | c) of the tempered density, in [0, 1]; its inverse is `quantile`."""
        if exponent == 0:  # a straight line
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
        """Log of the tempered density at y (n)."""
        k = self._bin(y)
        return _pick(self.masses(context, exponent), k).log() - self.edges.diff().log()[k]

    def _bin(self, y: Tensor) -> Tensor:
        return (torch.searchsorted(self.edges, y.contiguous(), right=True) - 1).clamp(0, len(self.edges) - 2)


class Constant(nn.Module):
    """What stands in for a network where there is no context: the same free numbers for every jet (1 x K)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(1, outputs))

    def forward(self, context: Tensor) -> Tensor:
        """The numbers, whatever the context."""
        return self.values


class InvertibleAutoencoder(nn.Module):
    """Coordinates to floats and back by a chain of densities, for jets p(log pt) p(eta | pt) p(phi) p(mu | pt, eta).

    Encoding is closed loop: each variable is conditioned on what the decoder will know of those before it, so no error
    spreads from one variable to the next. Everything is float64: machines that differ in the last bit then move a
    result by 1e-14, and no decision hangs on it. After `.float()` it decodes in float32, to within `DRIFT`.
    """

    trained: Tensor
    densities: Sequence[Density]
    locations: Mapping[str, nn.Module]

    def __init__(self, links: Sequence[Link], edges: Sequence[Tensor]) -> None:
        super().__init__()
        for i, link in enumerate(links):
            if not all(k < i for k in (*link.given, *([] if link.anchor is None else [link.anchor]))):
                raise ValueError(f"link {link.name!r} is given variables that are not before it")
        self.links = tuple(links)
        # Torch's containers are sequences and mappings of what was put in, but their types do not say so.
        self.densities = nn.ModuleList(  # type: ignore[assignment]
            Density(bins.double(), len(link.given), link.hidden) for link, bins in zip(links, edges, strict=True)
        )
        self.locations = nn.ModuleDict(  # type: ignore[assignment]
            {str(i): network(len(link.given), 32, 1) for i, link in enumerate(links) if link.located}
        )
        unlimited = torch.tensor([-math.inf, math.inf]).repeat(len(self.links), 1)
        self.register_buffer("trained", torch.nan_to_num(unlimited))
        self.double()

    def limit(self, coordinates: Tensor) -> None:
        """Note the range of the coordinates (n x variables) to train on; beyond it, networks are not asked."""
        ends = torch.tensor([1e-4, 1 - 1e-4], dtype=torch.float64)
        for i, column in enumerate(coordinates.unbind(1)):
            # torch.quantile takes no more than 16 million numbers.
            self.trained[i] = column[:: max(1, len(column) // 1_000_000)].quantile(ends.to(column.device))

    def context(self, i: int, known: Sequence[Tensor]) -> Tensor:
        """What variable i is conditioned on (n x given), from the coordinates before it."""
        if not self.links[i].given:
            return torch.empty(0)
        # Outside what it was trained on, a network is asked for the nearest it knows.
        limits = self.trained.tolist()
        given = [(self.links[k], known[k].clamp(*limits[k])) for k in self.links[i].given]
        return torch.stack([(y - link.centre) / link.scale for link, y in given], dim=-1)

    def origin(self, i: int, known: Sequence[Tensor]) -> Tensor | float:
        """Where the support of variable i lies."""
        link = self.links[i]
        origin: Tensor | float = link.offset
        if link.anchor is not None:
            origin = origin + known[link.anchor]
        if link.located:  # the network has only the deviation from the anchor to learn
            origin = origin + self.locations[str(i)](self.context(i, known)).squeeze(-1)
        return origin

    def cumulative(self, coordinates: Tensor, exponent: float) -> Tensor:
        """u (n x variables) of each coordinate given the ones before it, not quantised."""
        y = coordinates.unbind(1)
        return torch.stack([
            density.cumulative(y[i] - self.origin(i, y), self.context(i, y), exponent)
            for i, density in enumerate(self.densities)
        ], dim=1)  # fmt: skip

    def log_densities(self, coordinates: Tensor, exponent: float = 1.0) -> Tensor:
        """Log density (n x variables) of each coordinate given the ones before it."""
        y = coordinates.unbind(1)
        return torch.stack([
            density.log_density(y[i] - self.origin(i, y), self.context(i, y), exponent)
            for i, density in enumerate(self.densities)
        ], dim=1)  # fmt: skip

    def log_density(self, coordinates: Tensor) -> Tensor:
        """Log density (n) of whole rows; minus its mean over ln 2 is the bits a row needs, up to the step."""
        return self.log_densities(coordinates).sum(dim=1)

    @torch.no_grad()
    def encode(self, coordinates: Tensor, grid: Grid) -> Tensor:
        """Turn coordinates (n x variables, float64) into latents (n x words, float32 in [1, 2))."""
        cells: list[Tensor] = []
        known: list[Tensor] = []
        for i, density in enumerate(self.densities):
            origin, context = self.origin(i, known), self._asked(i, known, grid)
            u = density.cumulative(coordinates[:, i] - origin, context, grid.exponent)
            cell = (u * grid.cells[i]).floor().long() - grid.first[i]
            cells.append(cell.clamp(0, grid.levels[i] - 1))
            known.append(origin + self._centre(i, cells[-1], context, grid))
        return pack(cells, grid)

    @torch.no_grad()
    def decode(self, latents: Tensor, grid: Grid) -> Tensor:
        """Turn latents back into coordinates (n x variables, float64): the same walk, from the cells."""
        known: list[Tensor] = []
        for i, cell in enumerate(unpack(latents, grid)):
            known.append(self.origin(i, known) + self._centre(i, cell, self._asked(i, known, grid), grid))
        return torch.stack(known, dim=1)

    def _asked(self, i: int, known: Sequence[Tensor], grid: Grid) -> Tensor:
        # Equal steps ask no network.
        return self.context(i, known) if grid.exponent else torch.empty(0)

    def _centre(self, i: int, cell: Tensor, context: Tensor, grid: Grid) -> Tensor:
        u = (cell.to(self.trained.dtype) + grid.first[i] + 0.5) / grid.cells[i]
        return self.densities[i].quantile(u.clamp(0, 1), context, grid.exponent)


def jet_autoencoder() -> InvertibleAutoencoder:
    """The untrained autoencoder of jets, in the coordinates of `atlasae.jets.coordinates`."""
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
    """A small smooth network with two hidden layers."""
    sizes = [inputs, hidden, hidden, outputs]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers[:-1])


def _pick(rows: Tensor, k: Tensor) -> Tensor:
    return rows[0][k] if len(rows) == 1 else rows.gather(1, k[:, None]).squeeze(1)
