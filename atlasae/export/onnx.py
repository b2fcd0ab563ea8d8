"""A codec as ONNX graphs of elementary operations: jets to three floats and back, with all constants.

ONNX lacks access to the bits of a float, searching in sorted arrays, and some functions of doubles. They are written
with comparisons, sums and exponentials here. The graphs compute in double precision, as the codecs do.
"""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from atlasae.codecs.bottleneck import ASINH_SCALE, BottleneckAutoencoder, BottleneckCodec
from atlasae.codecs.chain import InvertibleAutoencoder, Known
from atlasae.codecs.dither import BLOCK_STEPS, FACTOR, IN_BLOCK, LOWER, STATE_BITS, TERM, Dither
from atlasae.codecs.floats import FloatsCodec
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
        self.autoencoder: InvertibleAutoencoder = codec.autoencoder
        self.grid, self.limits = codec.grid, codec.chain.weights.limits.tolist()
        for i in codec.chain.weights.locations if codec.grid.nodes > 1 else ():
            table = codec.chain.weights.table(i, codec.grid.nodes).values
            self.register_buffer(f"table{i}", torch.from_numpy(table.ravel()))

    def origin(self, i: int, known: Known) -> Tensor | float:
        """The origin of the bins of variable i, with locations interpolated between the nodes of a table."""
        link, nodes = self.autoencoder.links[i], self.grid.nodes
        if not (nodes and link.located):
            return self.autoencoder.origin(i, known)
        origin = link.offset + (0.0 if link.anchor is None else known[link.anchor])
        if nodes == 1:
            return origin
        (row, right), (column, above) = (self.place(k, known[k]) for k in link.given)
        table, corner = self.get_buffer(f"table{i}"), row * nodes + column
        low, high = (table[c] + above * (table[c + 1] - table[c]) for c in (corner, corner + nodes))
        return origin + low + right * (high - low)

    def place(self, k: int, y: Tensor) -> tuple[Tensor, Tensor]:
        """The node below coordinates of variable k, and how far behind it they are."""
        low, high = self.limits[k]
        last = self.grid.nodes - 1
        position = (y.clamp(low, high) - low) * (last / (high - low) if high > low else 0.0)
        node = position.floor().clamp(0, last - 1)
        return node.long(), position - node

    def bins(self, i: int, known: Known) -> Tensor:
        """The mass of every bin of variable i (n x K, or 1 x K)."""
        density, exponent = self.autoencoder.densities[i], self.grid.exponent
        log_widths = _widths(density.edges).log()
        share = density.uniform * log_widths.softmax(-1)
        logits: Tensor = density.logits(self.autoencoder.context(i, known))
        weights = (1 - density.uniform) * logits.softmax(-1) + share
        return (exponent * (weights.log() - log_widths) + log_widths).softmax(-1)

    def coordinate(self, i: int, steps: Tensor, known: Known) -> Tensor:
        """The coordinate at a position in steps from the first cell, given the coordinates before it."""
        u = ((steps + self.grid.first[i]) / self.grid.cells[i]).clamp(0, 1)
        edges = self.autoencoder.densities[i].edges
        if self.grid.exponent == 0:
            y = edges[:1] + (edges[-1:] - edges[:1]) * u
        else:
            y = _quantile(u, self.bins(i, known), edges)
        return self.origin(i, known) + y


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
        known: dict[int, Tensor] = {}
        offsets = OffsetGraph(self.grid.dither)
        for part in self.grid.dither.order(self.autoencoder.free):
            i, block = part.variable, _quotient(cells[part.variable], IN_BLOCK)
            if part.of_block:
                offsets.add(block)
                continue
            blocked = i in self.grid.dither.blocks
            offset = offsets.next() if part.shifted else 0.0
            offsets.add(cells[i] % IN_BLOCK if blocked else cells[i])
            steps = cells[i] - block if blocked else cells[i]
            known[i] = self.coordinate(i, steps.double() + 0.5 - offset, known)
        return _jets([known[i] for i in range(len(cells))])


class ChainEncoder(Chain):
    """From jets to latents of a chain of densities."""

    def forward(self, jets: Tensor) -> Tensor:
        """Jets (n x 4) to latents (n x 3, float32)."""
        coordinates, offsets = _coordinates(jets.double()), OffsetGraph(self.grid.dither)
        known, blocks, cells = dict[int, Tensor](), dict[int, Tensor](), dict[int, Tensor]()
        for part in self.grid.dither.order(self.autoencoder.free):
            i, levels = part.variable, self.grid.levels[part.variable]
            u = self.cumulative(i, coordinates[i] - self.origin(i, known), known)
            position = u * self.grid.cells[i] - self.grid.first[i]
            if part.of_block:
                blocks[i] = (position / BLOCK_STEPS).floor().clamp(0, levels // IN_BLOCK - 1)
                offsets.add(blocks[i].long())
                continue
            offset = offsets.next() if part.shifted else 0.0
            begin, most = (blocks[i] * BLOCK_STEPS, IN_BLOCK) if part.in_block else (0.0, levels)
            number = (position - begin + offset).floor().clamp(0, most - 1)
            offsets.add(number.long())
            known[i] = self.coordinate(i, begin + number + 0.5 - offset, known)
            cells[i] = (number + blocks[i] * IN_BLOCK if part.in_block else number).long()
        return torch.stack([self.word(j, cells) for j in range(len(self.grid.words))], dim=1).float()

    def word(self, j: int, cells: Mapping[int, Tensor]) -> Tensor:
        """Word j as a float in [1, 2), whose last 23 bits are its digits."""
        word = torch.zeros_like(cells[0])
        for digit in self.grid.words[j]:
            word = word * digit.radix + _quotient(cells[digit.variable], digit.divisor) % digit.radix
        return 1 + word.double() / STEPS

    def cumulative(self, i: int, y: Tensor, known: Known) -> Tensor:
        """The integral of the (tempered) density of variable i up to y."""
        edges = self.autoencoder.densities[i].edges
        if self.grid.exponent == 0:
            return ((y - edges[:1]) / (edges[-1:] - edges[:1])).clamp(0, 1)
        inside = ((y[:, None] - edges[:-1]) / _widths(edges)).clamp(0, 1)
        return (self.bins(i, known) * inside).sum(dim=1)


class OffsetGraph:
    """`dither.Offsets` in ONNX operations, which lack shifts of signed integers."""

    def __init__(self, dither: Dither) -> None:
        self.dither = dither
        self.state = torch.zeros(1, dtype=torch.int64)
        self.added: list[Tensor] = []
        self.rounds = 0  # before the first offset

    def add(self, numbers: Tensor) -> None:
        """Let the numbers of a part change the next offsets."""
        self.added.append(numbers)

    def next(self) -> Tensor:
        """The offsets of the next part."""
        for _ in range(self.rounds):
            linear = (self.state * FACTOR + TERM) % (1 << STATE_BITS)
            self.state = _quotient(linear * linear, 1 << LOWER) % (1 << STATE_BITS)
        self.rounds = self.dither.rounds
        for numbers in self.added:
            self.state = (self.state + numbers) * self.dither.weight % (1 << STATE_BITS)
        self.added = []
        return self.state.double() * 2.0**-STATE_BITS


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
