"""The invertible autoencoder: a chain of learned one-dimensional densities that maps jets to three floats and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from atlasae.codecs.dither import Offset
from atlasae.codecs.grid import Grid, joined, pack, unpack

Known = Sequence[Tensor] | Mapping[int, Tensor]  # coordinates by the index of their variable

_SMALLEST = 1e-100  # scale: division by less may overflow


@dataclass(frozen=True)
class Link:
    """One variable of the chain: the earlier variables that condition its density (`given`), and its support.

    The edges of the bins are relative to an origin: `offset`, plus the coordinate of the variable `anchor`, plus, if
    `located`, a location learned from the variables `given`.
    """

    name: str
    given: tuple[int, ...] = ()
    hidden: int = 0
    located: bool = False
    anchor: int | None = None
    offset: float = 0.0
    centre: float = 0.0  # later variables are conditioned on (y - centre) / scale
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for values of other types, or numbers that are not finite, negative or too small."""
        numbers = (self.offset, self.centre, self.scale)
        wrong = {
            "name must be text, and located true or false": not (type(self.name) is str and type(self.located) is bool),
            "given, hidden and anchor must be integers from 0": not (
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


# Jets: log pt from 0.5 GeV to 22 TeV; mu relative to log pt (it grows with pt) and to a location learned from pt, eta.
_MU_CORE, _MU_SUPPORT = (-2.0, 1.6), (-14.0, 5.0)
JETS = (
    Link("pt", centre=11.0, scale=2.0),
    Link("eta", given=(0,), hidden=32, scale=3.0),
    Link("phi"),
    Link("m", given=(0, 1), hidden=48, located=True, anchor=0, offset=-6.0),
)


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
        for i, link in enumerate(links):
            if not all(k < i for k in (*link.given, *([] if link.anchor is None else [link.anchor]))):
                raise ValueError(f"link {link.name!r} depends on variables that do not precede it")
        self.links = tuple(links)
        # Torch's containers behave as sequences and mappings of these classes, but are not typed so.
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

    @torch.no_grad()
    def encode(self, coordinates: Tensor, grid: Grid) -> Tensor:
        """The latents (n x words, float32 in [1, 2)) of coordinates (n x variables, float64)."""
        known: dict[int, Tensor] = {}
        cells, blocks, positions = dict[int, Tensor](), dict[int, Tensor](), dict[int, Tensor]()
        for part, offset, offsets in grid.dither.walk(self.free):
            i = part.variable
            origin = self.origin(i, known)
            if i not in positions:
                u = self.densities[i].cumulative(coordinates[:, i] - origin, self._asked(i, known, grid), grid.exponent)
                positions[i] = u * grid.cells[i] - grid.first[i]
            if part.of_block:
                blocks[i] = number = grid.block(i, positions[i])
            else:
                cells[i] = number = grid.cell(i, positions[i], blocks.get(i), offset)
                known[i] = origin + self._middle(i, number, blocks.get(i), offset, known, grid)
            offsets.add(number)
        return pack([joined(cells[i], blocks.get(i)) for i in range(len(cells))], grid)

    @torch.no_grad()
    def decode(self, latents: Tensor, grid: Grid) -> Tensor:
        """The coordinates (n x variables, float64) of latents: the middles of their cells; raises ValueError."""
        known: dict[int, Tensor] = {}
        cells, blocks = unpack(latents, grid), dict[int, Tensor]()
        for part, offset, offsets in grid.dither.walk(self.free):
            i = part.variable
            number = part.of(cells[i])
            offsets.add(number)
            if part.of_block:
                blocks[i] = number
            else:
                middle = self._middle(i, number.to(self.trained.dtype), blocks.get(i), offset, known, grid)
                known[i] = self.origin(i, known) + middle
        return torch.stack([known[i] for i in range(len(cells))], dim=1)

    @property
    def free(self) -> list[bool]:
        """Whether the origin of each variable does not depend on others."""
        return [link.anchor is None and not link.located for link in self.links]

    def _asked(self, i: int, known: Known, grid: Grid) -> Tensor:
        # Equal steps (exponent 0) need no context.
        return self.context(i, known) if grid.exponent else torch.empty(0)

    def _middle(self, i: int, cell: Tensor, block: Tensor | None, offset: Offset, known: Known, grid: Grid) -> Tensor:
        """The coordinate of the middle of a cell, from the origin of its variable."""
        context = self._asked(i, known, grid)
        return self.densities[i].quantile(grid.middle(i, cell, block, offset), context, grid.exponent)


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
