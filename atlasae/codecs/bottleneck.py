"""The classic autoencoder: a network with a bottleneck, trained to reproduce its input."""

import math
from collections.abc import Container, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.codec import few_threads
from atlasae.codecs.walk import WIDEST
from atlasae.jets.coordinates import Floats, columns_to_jets, jets_to_columns
from atlasae.jets.padding import Config, Latents, Padding, Stored
from atlasae.jets.stored import Storage
from atlasae.jets.variables import JET, VariableList

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU, "gelu": nn.GELU}
SCALINGS = ("linear", "log10", "asinh")
COLUMNS = (("pt", "eta", "phi", "m"), ("pt", "eta", "phi", "E"))  # in any order
LATENTS = 3
ASINH_SCALE = 0.1  # GeV: below it asinh(x / scale) is nearly linear, so that m <= 0 is possible


@dataclass(frozen=True)
class Bottleneck:
    """The shape of a network: its columns in order, the scaling of each, and its layers.

    Columns are variables of jets in GeV and radians. The decoder has the encoder's hidden layers in reverse.
    `latent_activation` adds an activation before the first layer of the decoder, as in some published networks. `skip`
    adds a linear layer parallel to encoder and decoder, so that the other layers learn the nonlinear part only.
    """

    columns: tuple[str, ...] = ("pt", "eta", "phi", "E")
    scalings: tuple[str, ...] = ("log10", "linear", "linear", "log10")
    hidden: tuple[int, ...] = (200, 100, 50)
    latent: int = 3
    activation: str = "leaky_relu"
    batch_norm: bool = False
    dropout: float = 0.0
    latent_activation: bool = False
    skip: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a shape that is not of a network of jets."""
        widths = (*self.hidden, self.latent)
        wrong = {
            f"columns {', '.join(map(str, self.columns))}: a network of jets takes pt, eta, phi and m or E": (
                sorted(map(str, self.columns)) not in [sorted(columns) for columns in COLUMNS]
            ),
            f"scalings need one of {', '.join(SCALINGS)} for each of the columns": (
                len(self.scalings) != len(self.columns) or not all(scaling in SCALINGS for scaling in self.scalings)
            ),
            f"hidden = {list(self.hidden)}: give the width of each layer, up to {WIDEST}": (
                not self.hidden or not all(type(width) is int and 0 < width <= WIDEST for width in widths)
            ),
            f"latent = {self.latent}: jets become {LATENTS} floats": self.latent != LATENTS,
            f"dropout = {self.dropout}: give a number from 0 to less than 1": not 0 <= self.dropout < 1,
            "batch_norm, latent_activation and skip are true or false": not all(
                type(flag) is bool for flag in (self.batch_norm, self.latent_activation, self.skip)
            ),
            f"activation '{self.activation}' is none of {', '.join(ACTIVATIONS)}": self.activation not in ACTIVATIONS,
        }
        if messages := [message for message, is_wrong in wrong.items() if is_wrong]:
            raise ValueError(messages[0])


class BottleneckAutoencoder(nn.Module):
    """A 4 -> 3 -> 4 network that scales and normalises its columns itself.

    >>> network = BottleneckAutoencoder(Bottleneck(hidden=(8,)))
    >>> network.decode(network.encode(torch.ones(5, 4))).shape
    torch.Size([5, 4])
    """

    mean: Tensor
    std: Tensor
    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, shape: Bottleneck) -> None:
        super().__init__()
        self.shape = shape
        inputs = len(shape.columns)
        self.encoder = _layers((inputs, *shape.hidden, shape.latent), shape)
        self.decoder = _layers((shape.latent, *reversed(shape.hidden), inputs), shape)
        if shape.latent_activation:
            self.decoder = nn.Sequential(ACTIVATIONS[shape.activation](), self.decoder)
        if shape.skip:
            self.encoder, self.decoder = (
                Beside(self.encoder, inputs, shape.latent),
                Beside(self.decoder, shape.latent, inputs),
            )
        self.register_buffer("mean", torch.zeros(inputs, dtype=torch.float64))
        self.register_buffer("std", torch.ones(inputs, dtype=torch.float64))

    def normalise_by(self, columns: Tensor) -> None:
        """Set mean and standard deviation to those of these columns (n x columns) after scaling."""
        scaled = scale(columns, self.shape.scalings)
        self.mean.copy_(scaled.mean(dim=0))
        self.std.copy_(scaled.std(dim=0))

    def normalised(self, columns: Tensor) -> Tensor:
        """Columns (n x columns, float64, GeV and radians), scaled, with mean 0 and standard deviation 1."""
        return (scale(columns, self.shape.scalings) - self.mean) / self.std

    def encode(self, columns: Tensor) -> Tensor:
        """The latents (n x latent) of columns."""
        latents: Tensor = self.encoder(self.normalised(columns).to(self._dtype))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """The columns (float64) of latents."""
        normalised: Tensor = self.decoder(latents.to(self._dtype))
        return unscale(normalised.double() * self.std + self.mean, self.shape.scalings)

    def forward(self, normalised: Tensor) -> Tensor:
        """Normalised columns, encoded and decoded."""
        restored: Tensor = self.decoder(self.encoder(normalised))
        return restored

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class Beside(nn.Module):
    """The sum of layers and of a linear layer parallel to them."""

    def __init__(self, layers: nn.Module, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = layers
        self.straight = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both outputs."""
        total: Tensor = self.layers(x) + self.straight(x)
        return total


Autoencoder = InvertibleAutoencoder | BottleneckAutoencoder


@dataclass(frozen=True)
class BottleneckCodec:
    """The latents of a network with a bottleneck: three float32 per jet, not quantised."""

    network: BottleneckAutoencoder
    padding: ClassVar[Padding] = Padding()  # latents may be any numbers, so that none can be reserved for padding
    variables: ClassVar[VariableList] = JET
    stand_in: ClassVar[Floats] = np.array(JET.example)

    def encode(self, jets: Floats) -> Latents:
        """The latents (n x 3) of jets; jets without coordinates get those of `stand_in`."""
        safe = np.where(JET.usable(jets)[:, None], jets, self.stand_in)
        columns = torch.from_numpy(jets_to_columns(safe, self.network.shape.columns))
        with torch.no_grad():
            return np.asarray(np.nan_to_num(self.network.encode(columns).float().numpy()))

    def part(self, rows: slice) -> Self:
        """The same codec: jets are coded by themselves."""
        return self

    @few_threads()
    def decode(self, latents: Latents, wanted: Container[int] | None = None) -> Floats:
        """The jets (n x 4) of latents, always all variables; raises ValueError for NaN and inf."""
        if not np.isfinite(latents).all():
            raise ValueError("latents are not finite")
        with torch.no_grad():
            columns = self.network.decode(torch.tensor(latents)).numpy()
        return columns_to_jets(columns, self.network.shape.columns)

    def passes(self, storage: Storage, columns: Stored, wanted: Container[int] | None = None) -> None:
        """None: NumPy's are the only ones."""

    def config(self) -> Config:
        """The configuration for `codec_of_config`, which also needs the network."""
        return {"layout": "bottleneck"}

    @cached_property
    def single(self) -> "BottleneckCodec":
        """The same codec in float32 arithmetic."""
        return BottleneckCodec(deepcopy(self.network).float())


def scale(columns: Tensor, scalings: Sequence[str]) -> Tensor:
    """Columns, each scaled as x, log10 max(x, 1e-6) or asinh(x / 0.1); `unscale` is the inverse."""
    scaled = []
    for column, scaling in zip(columns.unbind(1), scalings, strict=True):
        match scaling:
            case "log10":
                scaled.append(column.clamp(min=1e-6).log10())
            case "asinh":
                scaled.append((column / ASINH_SCALE).asinh())
            case _:
                scaled.append(column)
    return torch.stack(scaled, dim=1)


def unscale(scaled: Tensor, scalings: Sequence[str]) -> Tensor:
    """The inverse of `scale`; clamped, so that log10 and asinh columns are finite for any finite or infinite input."""
    columns = []
    for column, scaling in zip(scaled.unbind(1), scalings, strict=True):
        match scaling:
            case "log10":
                columns.append((column.clamp(-30, 30) * math.log(10)).exp())
            case "asinh":
                columns.append(column.clamp(-60, 60).sinh() * ASINH_SCALE)
            case _:
                columns.append(column)
    return torch.stack(columns, dim=1)


def _layers(sizes: Sequence[int], shape: Bottleneck) -> nn.Sequential:
    """Linear layers with batch norm, activation and dropout between them; none of these follows the last layer."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers.append(nn.Linear(inputs, outputs))
        layers += [nn.BatchNorm1d(outputs)] * shape.batch_norm
        layers.append(ACTIVATIONS[shape.activation]())
        layers += [nn.Dropout(shape.dropout)] * (shape.dropout > 0)
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
