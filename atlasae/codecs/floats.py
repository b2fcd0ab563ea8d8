"""Codecs of three floats: from jets to latents and back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from atlasae.codecs.bottleneck import BottleneckAutoencoder
from atlasae.codecs.chain import JETS, InvertibleAutoencoder
from atlasae.codecs.grid import (
    Grid,
    grid_of_config,
)
from atlasae.errors import UserError
from atlasae.jets.coordinates import (
    Floats,
    columns_to_jets,
    from_coordinates,
    is_physical,
    jets_to_columns,
    to_coordinates,
)  # fmt: skip
from atlasae.jets.padding import Padding
from atlasae.jets.stored import Latents
from atlasae.jets.variables import VariableList

THREADS, MOST_THREADS = "ATLASAE_THREADS", 1024

_STAND_IN = np.array([50_000.0, 0.0, 0.0, 5_000.0])  # encoded in place of a jet without coordinates


@contextmanager
def few_threads() -> Iterator[None]:
    """Let torch work on one thread, or as many as ATLASAE_THREADS says; raises UserError where it says no number.

    Blocks are too small to share, and on a busy machine the waiting costs more.
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
    """Three float32 a jet: the latents of an autoencoder on a grid.

    Four verbs: `encode` and `decode` jets (n x 4: pt, eta, phi, m in MeV), `config` out and `from_config` in.
    """

    autoencoder: InvertibleAutoencoder
    grid: Grid
    padding: Padding = Padding()
    stand_in: ClassVar[Floats] = _STAND_IN

    def encode(self, jets: Floats) -> Latents:
        """Turn jets into latents (n x 3); a jet without coordinates gets some latents, and will decode to another."""
        safe = np.where(is_physical(jets)[:, None], jets, _STAND_IN)
        latents = self.autoencoder.encode(torch.from_numpy(to_coordinates(safe)), self.grid)
        return np.asarray(latents.numpy())

    @few_threads()
    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into jets (n x 4)."""
        return from_coordinates(self.autoencoder.decode(torch.tensor(latents), self.grid).double().numpy())

    def config(self) -> dict[str, Any]:
        """What `from_config` needs, beside the autoencoder; plain JSON."""
        return {"layout": "floats", **asdict(self.grid), **self.padding.config()}

    @classmethod
    def from_config(cls, config: dict[str, Any], autoencoder: InvertibleAutoencoder) -> "FloatsCodec":
        """Make the codec that `config` described; raises ValueError where it, or the autoencoder, is not of jets."""
        if len(autoencoder.links) != len(JETS):
            raise ValueError(f"layout 'floats' is of {len(JETS)} variables, the model of {len(autoencoder.links)}")
        return cls(autoencoder, grid_of_config(config, len(JETS)), Padding.of_config(config))


@dataclass(frozen=True)
class ListCodec:
    """As many float32 a row as its variables need: the latents of an autoencoder of any list of variables."""

    autoencoder: InvertibleAutoencoder
    grid: Grid
    variables: VariableList
    padding: Padding = Padding()

    @property
    def stand_in(self) -> Floats:
        """A row that is encoded in place of one without coordinates: that of the first cells."""
        return np.asarray(self.decode(np.ones((1, len(self.grid.words)), np.float32))[0])

    def encode(self, rows: Floats) -> Latents:
        """Turn rows (n x variables) into latents (n x words)."""
        safe = np.where(self.variables.usable(rows)[:, None], rows, self.stand_in)
        coordinates = torch.from_numpy(self.variables.to_coordinates(safe))
        return np.asarray(self.autoencoder.encode(coordinates, self.grid).numpy())

    @few_threads()
    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into rows."""
        return self.variables.from_coordinates(self.autoencoder.decode(torch.tensor(latents), self.grid).numpy())

    def config(self) -> dict[str, Any]:
        """What `codec_of_config` needs, beside the autoencoder."""
        described = {"layout": "list", "variables": self.variables.to_json()}
        return {**described, **asdict(self.grid), **self.padding.config()}


@dataclass(frozen=True)
class BottleneckCodec:
    """Three float32 a jet: the latents of a network with a bottleneck, as they come."""

    network: BottleneckAutoencoder
    padding: ClassVar[Padding] = Padding()  # its latents may be anything: none is left for rows
    stand_in: ClassVar[Floats] = _STAND_IN

    def encode(self, jets: Floats) -> Latents:
        """Turn jets into latents (n x 3)."""
        safe = np.where(is_physical(jets)[:, None], jets, _STAND_IN)
        columns = torch.from_numpy(jets_to_columns(safe, self.network.shape.columns))
        with torch.no_grad():
            return np.asarray(np.nan_to_num(self.network.encode(columns).float().numpy()))

    @few_threads()
    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into jets (n x 4); raises ValueError for latents that are no numbers."""
        if not np.isfinite(latents).all():
            raise ValueError("latents are not finite")
        with torch.no_grad():
            columns = self.network.decode(torch.tensor(latents)).numpy()
        return columns_to_jets(columns, self.network.shape.columns)

    def config(self) -> dict[str, Any]:
        """What `codec_of_config` needs, beside the network."""
        return {"layout": "bottleneck"}

    @cached_property
    def single(self) -> "BottleneckCodec":
        """The same codec in float32 arithmetic."""
        return BottleneckCodec(deepcopy(self.network).float())


AnyCodec = FloatsCodec | BottleneckCodec | ListCodec


def codec_of_config(config: dict[str, Any], autoencoder: InvertibleAutoencoder | BottleneckAutoencoder) -> AnyCodec:
    """Make the codec that `config` described; raises ValueError where the autoencoder is of another kind."""
    if isinstance(autoencoder, BottleneckAutoencoder) != (config["layout"] == "bottleneck"):
        raise ValueError(f"layout '{config['layout']}' is not of this model")
    if isinstance(autoencoder, BottleneckAutoencoder):
        return BottleneckCodec(autoencoder)
    if config["layout"] == "list":
        grid = grid_of_config(config, len(autoencoder.links))
        return ListCodec(autoencoder, grid, VariableList.from_json(config["variables"]), Padding.of_config(config))
    return FloatsCodec.from_config(config, autoencoder)
