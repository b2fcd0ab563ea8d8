"""Codecs of float32 latents: from jets, or rows of any list of variables, to latents and back."""

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
from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.grid import Grid, grid_of_config
from atlasae.errors import UserError
from atlasae.jets.coordinates import Floats, columns_to_jets, jets_to_columns
from atlasae.jets.padding import Latents, Padding
from atlasae.jets.variables import JET, VariableList

THREADS, MOST_THREADS = "ATLASAE_THREADS", 1024


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
    """The latents of an autoencoder on a grid: three float32 a jet, or as many a row as a list of variables needs.

    Four verbs: `encode` and `decode` rows (of jets n x 4: pt, eta, phi, m in MeV), `config` out and `from_config` in.
    """

    autoencoder: InvertibleAutoencoder
    grid: Grid
    padding: Padding = Padding()
    variables: VariableList = JET
    single: ClassVar[None] = None

    @cached_property
    def stand_in(self) -> Floats:
        """A row that is encoded in place of one without coordinates: an example, or that of the first cells."""
        if self.variables.example is not None:
            return np.array(self.variables.example)
        return np.asarray(self.decode(np.ones((1, len(self.grid.words)), np.float32))[0])

    def encode(self, rows: Floats) -> Latents:
        """Turn rows into latents (n x words); one without coordinates gets some latents, and will decode to another."""
        safe = np.where(self.variables.usable(rows)[:, None], rows, self.stand_in)
        latents = self.autoencoder.encode(torch.from_numpy(self.variables.to_coordinates(safe)), self.grid)
        return np.asarray(latents.numpy())

    @few_threads()
    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into rows."""
        coordinates = self.autoencoder.decode(torch.tensor(latents), self.grid).double().numpy()
        return self.variables.from_coordinates(coordinates)

    def config(self) -> dict[str, Any]:
        """What `from_config` needs, beside the autoencoder; plain JSON."""
        listed = {"layout": "list", "variables": self.variables.to_json()}
        described = {"layout": "floats"} if self.variables == JET else listed
        return {**described, **asdict(self.grid), **self.padding.config()}

    @classmethod
    def from_config(cls, config: dict[str, Any], autoencoder: InvertibleAutoencoder) -> "FloatsCodec":
        """Make the codec that `config` described; raises ValueError where it, or the autoencoder, is of other rows."""
        layout = config["layout"]
        variables = VariableList.from_json(config["variables"]) if layout == "list" else JET
        n = len(variables.variables)
        if len(autoencoder.links) != n:
            raise ValueError(f"layout '{layout}' is of {n} variables, the model of {len(autoencoder.links)}")
        return cls(autoencoder, grid_of_config(config, n), Padding.of_config(config), variables)


@dataclass(frozen=True)
class BottleneckCodec:
    """Three float32 a jet: the latents of a network with a bottleneck, as they come."""

    network: BottleneckAutoencoder
    padding: ClassVar[Padding] = Padding()  # its latents may be anything: none is left for rows
    variables: ClassVar[VariableList] = JET
    stand_in: ClassVar[Floats] = np.array(JET.example)

    def encode(self, jets: Floats) -> Latents:
        """Turn jets into latents (n x 3)."""
        safe = np.where(JET.usable(jets)[:, None], jets, self.stand_in)
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


AnyCodec = FloatsCodec | BottleneckCodec


def codec_of_config(config: dict[str, Any], autoencoder: InvertibleAutoencoder | BottleneckAutoencoder) -> AnyCodec:
    """Make the codec that `config` described; raises ValueError where the autoencoder is of another kind."""
    if isinstance(autoencoder, BottleneckAutoencoder) != (config["layout"] == "bottleneck"):
        raise ValueError(f"layout '{config['layout']}' is not of this model")
    if isinstance(autoencoder, BottleneckAutoencoder):
        return BottleneckCodec(autoencoder)
    return FloatsCodec.from_config(config, autoencoder)
