"""The invertible autoencoder: a chain of learned one-dimensional densities, jets to three floats and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor, nn

VARIABLES = ("pt", "eta", "phi", "m")
MANTISSA_BITS = 23  # of a float32: what is free once the exponent is fixed by 1 <= z < 2
_ONE = 0x3F800000  # the float32 1.0

# The support of each coordinate; that of mu lies around its learned location.
_LOG_PT = (6.2, 16.9)  # 0.5 GeV to 22 TeV
_ETA = (-6.0, 6.0)
_MU_CORE, _MU_SUPPORT = (-2.0, 1.6), (-14.0, 5.0)


@dataclass(frozen=True)
class Grid:
    """How cumulative values u become whole numbers, and whole numbers three words.

    Variable i has the cell floor(u_i cells_i) - first_i, kept in [0, levels_i). Word j holds cell_j radix_j + digit_j
    for pt, eta and phi, where the digits are those of m's cell in the mixed radix `radices`, the leading one first.
    `exponent` is the power of the density that u is the integral of: 0 for equal steps.
    """

    exponent: float
    cells: tuple[float, float, float, float]
    first: tuple[int, int, int, int]
    levels: tuple[int, int, int, int]
    radices: tuple[int, int, int]

    @property
    def bits(self) -> dict[str, float]:
        """Bits that each variable occupies."""
        return {variable: round(math.log2(n), 2) for variable, n in zip(VARIABLES, self.levels, strict=True)}

    @property
    def word_bits(self) -> float:
        """Bits of the fullest of the three words; at most 23 fit a float32."""
        return max(math.log2(n * r) for n, r in zip(self.levels[:3], self.radices, strict=True))


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
    """Jets to three floats and back by p(log pt) p(eta | pt) p(phi) p(mu | pt, eta).

    Coordinates are those of `atlasae.coordinates`. Encoding is closed loop: each variable is conditioned on what the
    decoder will know of those before it, so no error spreads from one variable to the next. Everything is float64:
    machines that differ in the last bit then move a result by 1e-14, and no decision hangs on it.
    """

    trained_log_pt: Tensor

    def __init__(self) -> None:
        super().__init__()
        double = torch.float64
        core = torch.linspace(*_MU_CORE, 49, dtype=double)
        tails = [torch.linspace(_MU_SUPPORT[0], _MU_CORE[0], 13), torch.linspace(_MU_CORE[1], _MU_SUPPORT[1], 5)]
        mu = torch.cat([tails[0][:-1].to(double), core, tails[1][1:].to(double)])
        self.pt = Density(torch.linspace(*_LOG_PT, 65, dtype=double), context=0, hidden=0)
        self.eta = Density(torch.linspace(*_ETA, 49, dtype=double), context=1, hidden=32)
        self.phi = Density(torch.linspace(-math.pi, math.pi, 33, dtype=double), context=0, hidden=0)
        self.m = Density(mu, context=2, hidden=48)
        self.location = network(2, 32, 1)
        self.register_buffer("trained_log_pt", torch.tensor(_LOG_PT, dtype=double))
        self.double()

    @property
    def densities(self) -> tuple[Density, Density, Density, Density]:
        """The four conditionals in the order of the chain."""
        return self.pt, self.eta, self.phi, self.m

    def context(self, known: Sequence[Tensor]) -> Tensor:
        """What the next variable is conditioned on (n x 0, 1 or 2), from the coordinates before it."""
        if not known:
            return torch.empty(0)
        # Outside the trained pt the networks are asked for the nearest pt they know.
        log_pt = (known[0].clamp(*self.trained_log_pt.tolist()) - 11) / 2
        features = [log_pt] if len(known) == 1 else [log_pt, known[1] / 3]
        return torch.stack(features, dim=-1)

    def origin(self, known: Sequence[Tensor]) -> Tensor | float:
        """Where the support of the next variable lies: for mu around its location given pt and eta."""
        if len(known) < 3:
            return 0.0
        # A jet's mass grows with its pt: the network has only the deviation to learn.
        deviation: Tensor = self.location(self.context(known)).squeeze(-1)
        return known[0] - 6 + deviation

    def cumulative(self, coordinates: Tensor, exponent: float) -> Tensor:
        """u (n x 4) of each coordinate given the ones before it, not quantised."""
        y = coordinates.unbind(1)
        return torch.stack([
            density.cumulative(y[i] - self.origin(y[:i]), self.context(y[:i]), exponent)
            for i, density in enumerate(self.densities)
        ], dim=1)  # fmt: skip

    def log_densities(self, coordinates: Tensor, exponent: float = 1.0) -> Tensor:
        """Log density (n x 4) of each coordinate given the ones before it."""
        y = coordinates.unbind(1)
        return torch.stack([
            density.log_density(y[i] - self.origin(y[:i]), self.context(y[:i]), exponent)
            for i, density in enumerate(self.densities)
        ], dim=1)  # fmt: skip

    def log_density(self, coordinates: Tensor) -> Tensor:
        """Log density (n) of whole jets; minus its mean over ln 2 is the bits a jet needs, up to the step."""
        return self.log_densities(coordinates).sum(dim=1)

    @torch.no_grad()
    def encode(self, coordinates: Tensor, grid: Grid) -> Tensor:
        """Turn coordinates (n x 4, float64) into latents (n x 3, float32 in [1, 2))."""
        cells: list[Tensor] = []
        known: list[Tensor] = []
        for i, density in enumerate(self.densities):
            origin, context = self.origin(known), self._asked(known, grid)
            u = density.cumulative(coordinates[:, i] - origin, context, grid.exponent)
            cell = (u * grid.cells[i]).floor().long() - grid.first[i]
            cells.append(cell.clamp(0, grid.levels[i] - 1))
            known.append(origin + self._centre(i, cells[-1], context, grid))
        return pack(cells, grid)

    @torch.no_grad()
    def decode(self, latents: Tensor, grid: Grid) -> Tensor:
        """Turn latents back into coordinates (n x 4, float64): the same walk, from the cells."""
        known: list[Tensor] = []
        for i, cell in enumerate(unpack(latents, grid)):
            known.append(self.origin(known) + self._centre(i, cell, self._asked(known, grid), grid))
        return torch.stack(known, dim=1)

    def _asked(self, known: Sequence[Tensor], grid: Grid) -> Tensor:
        # Equal steps ask no network.
        return self.context(known) if grid.exponent else torch.empty(0)

    def _centre(self, i: int, cell: Tensor, context: Tensor, grid: Grid) -> Tensor:
        u = (cell.double() + grid.first[i] + 0.5) / grid.cells[i]
        return self.densities[i].quantile(u.clamp(0, 1), context, grid.exponent)


def network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A small smooth network with two hidden layers."""
    sizes = [inputs, hidden, hidden, outputs]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers[:-1])


def radices(levels: Sequence[int]) -> tuple[int, int, int]:
    """Digits of m's cell that leave the three words (nearly) equally full.

    The words are right-aligned in the mantissa, and digits are whole bits where that takes no further byte: LZMA
    models bytes, bit by bit. Measured at 1e-3: 0.25 bytes per jet less than left-aligned words of decimal digits.
    """
    balanced = _balanced(levels)
    powers = [2**k for k in range(MANTISSA_BITS)]
    whole = min(
        ((a, b, c) for a, b in product(powers, repeat=2) if (c := _power_of_two(-(-levels[3] // (a * b))))),
        key=lambda candidate: _fullest(levels, candidate),
    )
    return whole if _bytes(_fullest(levels, whole)) <= _bytes(_fullest(levels, balanced)) else balanced


def pack(cells: Sequence[Tensor], grid: Grid) -> Tensor:
    """Put four cells (each n, whole numbers) into three float32 words (n x 3) in [1, 2)."""
    m, words = cells[3], []
    for j in (2, 1, 0):
        words.append(cells[j] * grid.radices[j] + m % grid.radices[j])
        m = m // grid.radices[j]
    return (torch.stack(words[::-1], dim=1).int() | _ONE).view(torch.float32)


def unpack(latents: Tensor, grid: Grid) -> list[Tensor]:
    """Take the four cells out of three words; the inverse of `pack`."""
    words = (latents.contiguous().view(torch.int32) & ((1 << MANTISSA_BITS) - 1)).long().unbind(1)
    m = torch.zeros_like(words[0])
    for word, radix in zip(words, grid.radices, strict=True):
        m = m * radix + word % radix
    return [word // radix for word, radix in zip(words, grid.radices, strict=True)] + [m]


def _balanced(levels: Sequence[int]) -> tuple[int, int, int]:
    capacity = max(levels[:3])
    while math.prod(capacity // n for n in levels[:3]) < levels[3]:
        capacity += max(1, capacity >> 8)
    first, second, third = (capacity // n for n in levels[:3])
    return first, second, third


def _fullest(levels: Sequence[int], digits: Sequence[int]) -> int:
    return max(n * digit for n, digit in zip(levels, digits, strict=False))


def _bytes(size: int) -> int:
    return -(-(size - 1).bit_length() // 8)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _pick(rows: Tensor, k: Tensor) -> Tensor:
    return rows[0][k] if len(rows) == 1 else rows.gather(1, k[:, None]).squeeze(1)
