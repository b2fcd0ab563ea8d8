"""Codecs of the floats layout: jets, or rows of a list of variables, to float32 latents and back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import torch

from atlasae.codecs.bottleneck import BottleneckAutoencoder
from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.grid import Grid, grid_of_config
from atlasae.errors import UserError
from atlasae.jets.coordinates import Floats, columns_to_jets, jets_to_columns
from atlasae.jets.padding import Config, Latents, Padding
from atlasae.jets.variables import JET, VariableList

THREADS, MOST_THREADS = "ATLASAE_THREADS", 1024


@contextmanager
def few_threads() -> Iterator[None]:
    """Limit torch to one thread or to ATLASAE_THREADS; raises UserError unless that is a number from 1 to 1024.

    Blocks of rows are too small to gain from more threads, and lose on a busy machine.
    """
    text = os.environ.get(THREADS, "1")
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise UserError(f"{THREADS}='{text}' is no number of threads: give one from 1 to {MOST_THREADS}")
    threads = torch.get_num_threads()
    torch.set_num_threads(int(text))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class FloatsCodec:
    """An invertible autoencoder on a grid: three float32 per jet, or as many per row as a list of variables needs.

    Rows are jets (n x 4: pt, eta, phi, m in MeV) or variables of a list.
    """

    autoencoder: InvertibleAutoencoder
    grid: Grid
    padding: Padding = Padding()
    variables: VariableList = JET
    single: ClassVar[None] = None

    @cached_property
    def stand_in(self) -> Floats:
        """The row that is encoded instead of a row without coordinates: an example, or that of the first cells."""
        if self.variables.example is not None:
            return np.array(self.variables.example)
        return np.asarray(self.decode(np.ones((1, len(self.grid.words)), np.float32))[0])

    def encode(self, rows: Floats) -> Latents:
        """The latents (n x words) of rows; rows without coordinates get those of `stand_in`."""
        safe = np.where(self.variables.usable(rows)[:, None], rows, self.stand_in)
        latents = self.autoencoder.encode(torch.from_numpy(self.variables.to_coordinates(safe)), self.grid)
        return np.asarray(latents.numpy())

    def part(self, rows: slice) -> Self:
        """The same codec: rows are coded by themselves."""
        return self

    @few_threads()
    def decode(self, latents: Latents) -> Floats:
        """The rows of latents; raises ValueError for latents outside the grid."""
        coordinates = self.autoencoder.decode(torch.tensor(latents), self.grid).double().numpy()
        return self.variables.from_coordinates(coordinates)

    def config(self) -> Config:
        """The configuration as plain JSON for `from_config`, which also needs the autoencoder."""
        listed = {"layout": "list", "variables": self.variables.to_json()}
        described = {"layout": "floats"} if self.variables == JET else listed
        return {**described, **asdict(self.grid), **self.padding.config()}

    @classmethod
    def from_config(cls, config: Config, autoencoder: InvertibleAutoencoder) -> "FloatsCodec":
        """The codec of a configuration; raises ValueError if it is invalid or does not fit the autoencoder."""
        layout = config["layout"]
        variables = VariableList.from_json(config["variables"]) if layout == "list" else JET
        n = len(variables.variables)
        if len(autoencoder.links) != n:
            raise ValueError(f"layout '{layout}' has {n} variables, but the model {len(autoencoder.links)}")
        grid = grid_of_config(config, n)
        grid.dither.check(autoencoder.free, grid.exponent, grid.levels)
        return cls(autoencoder, grid, Padding.of_config(config), variables)


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
    def decode(self, latents: Latents) -> Floats:
        """The jets (n x 4) of latents; raises ValueError for NaN and inf."""
        if not np.isfinite(latents).all():
            raise ValueError("latents are not finite")
        with torch.no_grad():
            columns = self.network.decode(torch.tensor(latents)).numpy()
        return columns_to_jets(columns, self.network.shape.columns)

    def config(self) -> Config:
        """The configuration for `codec_of_config`, which also needs the network."""
        return {"layout": "bottleneck"}

    @cached_property
    def single(self) -> "BottleneckCodec":
        """The same codec in float32 arithmetic."""
        return BottleneckCodec(deepcopy(self.network).float())


AnyCodec = FloatsCodec | BottleneckCodec


def codec_of_config(config: Config, autoencoder: InvertibleAutoencoder | BottleneckAutoencoder) -> AnyCodec:
    """The codec of a configuration; raises ValueError if it is invalid or the autoencoder of another kind."""
    if isinstance(autoencoder, BottleneckAutoencoder) != (config["layout"] == "bottleneck"):
        raise ValueError(f"layout '{config['layout']}' does not fit the kind of the model")
    if isinstance(autoencoder, BottleneckAutoencoder):
        return BottleneckCodec(autoencoder)
    return FloatsCodec.from_config(config, autoencoder)
