"""A codec as ONNX graphs of elementary operations: jets to three floats and back, with all constants.

ONNX lacks access to the bits of a float, searching in sorted arrays, and some functions of doubles. They are written
with comparisons, sums and exponentials here. The graphs compute in double precision, as the codecs do.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atlasae.codecs.bottleneck import ASINH_SCALE, BottleneckAutoencoder
from atlasae.codecs.floats import BottleneckCodec, FloatsCodec
from atlasae.codecs.grid import MANTISSA_BITS
from atlasae.jets.coordinates import LARGEST_PHI, MASS_FLOOR

STEPS = 1 << MANTISSA_BITS  # float32 values in [1, 2)


def graphs_of(codec: FloatsCodec | BottleneckCodec) -> tuple[nn.Module, nn.Module]:
    """Encoder (n x 4: pt, eta, phi, m in MeV, float64; to n x 3, float32) and decoder (the reverse)."""
    if isinstance(codec, FloatsCodec):
        return ChainEncoder(codec), ChainDecoder(codec)
    return BottleneckEncoder(codec), BottleneckDecoder(codec)


class Chain(nn.Module):
    """What encoder and decoder of a chain of densities share."""

    def __init__(self, codec: FloatsCodec) -> None:
        super().__init__()
        self.autoencoder, self.grid = codec.autoencoder, codec.grid

    def bins(self, i: int, known: Sequence[Tensor]) -> Tensor:
        """The mass of every bin of variable i (n x K, or 1 x K)."""
        density, exponent = self.autoencoder.densities[i], self.grid.exponent
        log_widths = _widths(density.edges).log()
        share = density.uniform * log_widths.softmax(-1)
        logits: Tensor = density.logits(self.autoencoder.context(i, known))
        weights = (1 - density.uniform) * logits.softmax(-1) + share
        return (exponent * (weights.log() - log_widths) + log_widths).softmax(-1)

    def coordinate(self, i: int, cell: Tensor, known: Sequence[Tensor]) -> Tensor:
        """The centre of a cell, given the coordinates before it."""
        u = ((cell.double() + (self.grid.first[i] + 0.5)) / self.grid.cells[i]).clamp(0, 1)
        edges = self.autoencoder.densities[i].edges
        if self.grid.exponent == 0:
            y = edges[:1] + (edges[-1:] - edges[:1]) * u
        else:
            y = _quantile(u, self.bins(i, known), edges)
        return self.autoencoder.origin(i, known) + y


class ChainDecoder(Chain):
    """From latents of a chain of densities to jets."""

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (n x 3, float32) to jets (n x 4)."""
        words = ((latents.double() - 1) * STEPS).round().long().unbind(1)
        cells = [torch.zeros_like(words[0]) for _ in self.grid.levels]
        for left, digits in zip(words, self.grid.words, strict=True):
            word = left
            for digit in reversed(digits):
                cells[digit.variable] = cells[digit.variable] + word % digit.radix * digit.divisor
                word = _quotient(word, digit.radix)
        known: list[Tensor] = []
        for i, cell in enumerate(cells):
            known.append(self.coordinate(i, cell, known))
        return _jets(known)


class ChainEncoder(Chain):
    """From jets to latents of a chain of densities."""

    def forward(self, jets: Tensor) -> Tensor:
        """Jets (n x 4) to latents (n x 3, float32)."""
        cells: list[Tensor] = []
        known: list[Tensor] = []
        for i, y in enumerate(_coordinates(jets.double())):
            u = self.cumulative(i, y - self.autoencoder.origin(i, known), known)
            cell = (u * self.grid.cells[i]).floor().long() - self.grid.first[i]
            cells.append(cell.clamp(0, self.grid.levels[i] - 1))
            known.append(self.coordinate(i, cells[-1], known))
        return torch.stack([self.word(j, cells) for j in range(len(self.grid.words))], dim=1).float()

    def word(self, j: int, cells: Sequence[Tensor]) -> Tensor:
        """Word j as a float in [1, 2), whose last 23 bits are its digits."""
        word = torch.zeros_like(cells[0])
        for digit in self.grid.words[j]:
            word = word * digit.radix + _quotient(cells[digit.variable], digit.divisor) % digit.radix
        return 1 + word.double() / STEPS

    def cumulative(self, i: int, y: Tensor, known: Sequence[Tensor]) -> Tensor:
        """The integral of the (tempered) density of variable i up to y."""
        edges = self.autoencoder.densities[i].edges
        if self.grid.exponent == 0:
            return ((y - edges[:1]) / (edges[-1:] - edges[:1])).clamp(0, 1)
        inside = ((y[:, None] - edges[:-1]) / _widths(edges)).clamp(0, 1)
        return (self.bins(i, known) * inside).sum(dim=1)


def _quantile(u: Tensor, masses: Tensor, edges: Tensor) -> Tensor:
    """The position where the cumulative density is u, linear within a bin."""
    below = masses.cumsum(-1) - masses
    return edges[:1] + (((u[:, None] - below) / masses).clamp(0, 1) * _widths(edges)).sum(dim=1)


def _widths(edges: Tensor) -> Tensor:
    return edges[1:] - edges[:-1]


def _quotient(whole: Tensor, divisor: int) -> Tensor:
    return torch.div(whole, divisor, rounding_mode="floor")


def _coordinates(jets: Tensor) -> tuple[Tensor, ...]:
    """`JET.to_coordinates` in ONNX operations."""
    pt, eta, phi, m = jets.unbind(1)
    x = m / MASS_FLOOR
    size = x.abs()
    return pt.log(), eta, phi, torch.where(size < 1, x, x.sign() * (1 + size.clamp(min=1).log()))


def _jets(coordinates: Sequence[Tensor]) -> Tensor:
    """`JET.from_coordinates` in ONNX operations."""
    log_pt, eta, phi, mu = coordinates
    size = mu.abs()
    m = MASS_FLOOR * torch.where(size < 1, mu, mu.sign() * (size.clamp(min=1) - 1).exp())
    return torch.stack([log_pt.exp(), eta, phi.clamp(-LARGEST_PHI, LARGEST_PHI), m], dim=1)


class BottleneckEncoder(nn.Module):
    """From jets to latents of a bottleneck network."""

    def __init__(self, codec: BottleneckCodec) -> None:
        super().__init__()
        self.network = _plain(codec.network)

    def forward(self, jets: Tensor) -> Tensor:
        """Jets (n x 4) to latents (n x 3, float32)."""
        pt, eta, phi, m = jets.double().unbind(1)
        p = pt * _cosh(eta)
        energy = (p * p + m * m.abs()).clamp(min=0).sqrt()
        every = {"pt": pt / 1000, "eta": eta, "phi": phi, "m": m / 1000, "E": energy / 1000}
        shape, network = self.network.shape, self.network
        pairs = zip(shape.columns, shape.scalings, strict=True)
        scaled = torch.stack([_scaled(every[column], scaling) for column, scaling in pairs], dim=1)
        latents: Tensor = network.encoder((scaled - network.mean) / network.std)
        return latents.float()


class BottleneckDecoder(nn.Module):
    """From latents of a bottleneck network to jets."""

    def __init__(self, codec: BottleneckCodec) -> None:
        super().__init__()
        self.network = _plain(codec.network)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (n x 3, float32) to jets (n x 4)."""
        shape, network = self.network.shape, self.network
        decoded = (network.decoder(latents.double()) * network.std + network.mean).unbind(1)
        scaled = zip(shape.columns, decoded, shape.scalings, strict=True)
        given = {column: _unscaled(values, scaling) for column, values, scaling in scaled}
        turns = ((given["phi"] + math.pi) / (2 * math.pi)).floor()
        phi = (given["phi"] - 2 * math.pi * turns).clamp(-LARGEST_PHI, LARGEST_PHI)
        pt, eta = given["pt"] * 1000, given["eta"]
        if "m" in given:
            m = given["m"] * 1000
        else:
            p, energy = pt * _cosh(eta), given["E"] * 1000
            square = (energy - p) * (energy + p)
            m = square.sign() * square.abs().sqrt()
        return torch.stack([pt, eta, phi, m], dim=1)


class LeakyReLU(nn.Module):
    """`nn.LeakyReLU`, also for doubles."""

    def forward(self, x: Tensor) -> Tensor:
        """x, or x / 100 where it is negative."""
        return torch.where(x > 0, x, 0.01 * x)


class GELU(nn.Module):
    """`nn.GELU`; its error function is computed in float32, the only type that ONNX runtimes implement."""

    def forward(self, x: Tensor) -> Tensor:
        """x times the standard normal distribution function of x."""
        return 0.5 * x * (1 + (x * math.sqrt(0.5)).float().erf().double())


def _plain(network: BottleneckAutoencoder) -> BottleneckAutoencoder:
    """A copy in which all activations work on doubles."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LeakyReLU | nn.GELU):
                setattr(module, name, LeakyReLU() if isinstance(child, nn.LeakyReLU) else GELU())
    return network


def _scaled(x: Tensor, scaling: str) -> Tensor:
    match scaling:
        case "log10":
            return x.clamp(min=1e-6).log() / math.log(10)
        case "asinh":
            size = (x / ASINH_SCALE).abs()
            return x.sign() * (size + (size * size + 1).sqrt()).log()
        case _:
            return x


def _unscaled(y: Tensor, scaling: str) -> Tensor:
    match scaling:
        case "log10":
            return (y.clamp(-30, 30) * math.log(10)).exp()
        case "asinh":
            power = y.clamp(-60, 60).exp()
            return (power - 1 / power) / 2 * ASINH_SCALE
        case _:
            return y


def _cosh(x: Tensor) -> Tensor:
    return (x.exp() + (-x).exp()) / 2
