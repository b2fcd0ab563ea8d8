"""The codec of the floats layout: jets, or rows of a list of variables, to float32 latents and back."""

from collections.abc import Container
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, Union

import numpy as np

from atlasae.codecs.codec import few_threads
from atlasae.codecs.grid import Grid, grid_of_config
from atlasae.codecs.walk import ChainModel, Densities, EqualSteps, check_nodes, decode_rows, encode_rows, free_of
from atlasae.jets.coordinates import Floats
from atlasae.jets.padding import Config, Latents, Padding
from atlasae.jets.variables import JET, VariableList

if TYPE_CHECKING:
    from atlasae.codecs.bottleneck import BottleneckAutoencoder, BottleneckCodec


@dataclass(frozen=True)
class FloatsCodec:
    """An invertible autoencoder on a grid: three float32 per jet, or as many per row as a list of variables needs.

    Rows are jets (n x 4: pt, eta, phi, m in MeV) or variables of a list.
    """

    chain: ChainModel
    grid: Grid
    padding: Padding = Padding()
    variables: VariableList = JET
    single: ClassVar[None] = None

    @property
    def autoencoder(self) -> Any:
        """The `InvertibleAutoencoder`, for which torch is imported."""
        return self.chain.whole()

    @cached_property
    def stand_in(self) -> Floats:
        """The row that is encoded instead of a row without coordinates: an example, or that of the first cells."""
        if self.variables.example is not None:
            return np.array(self.variables.example)
        return np.asarray(self.decode(np.ones((1, len(self.grid.words)), np.float32))[0])

    def encode(self, rows: Floats) -> Latents:
        """The latents (n x words) of rows; rows without coordinates get those of `stand_in`."""
        usable = self.variables.usable(rows)
        safe = rows if usable.all() else np.where(usable[:, None], rows, self.stand_in)
        return encode_rows(self._densities, self.variables.to_coordinates(safe), self.grid)

    def part(self, rows: slice) -> Self:
        """The same codec: rows are coded by themselves."""
        return self

    def decode(self, latents: Latents, wanted: Container[int] | None = None) -> Floats:
        """The rows of latents, or only the variables wanted of them; raises ValueError for latents outside the grid."""
        densities = self._densities
        with few_threads():
            coordinates = decode_rows(densities, latents, self.grid, wanted)
        return self.variables.from_coordinates(coordinates.astype(np.float64, copy=False))

    @cached_property
    def _densities(self) -> Densities:
        return densities_of(self.chain, self.grid.exponent, self.grid.nodes)

    def config(self) -> Config:
        """The configuration as plain JSON for `from_config`, which also needs the autoencoder."""
        listed = {"layout": "list", "variables": self.variables.to_json()}
        described = {"layout": "floats"} if self.variables == JET else listed
        return {**described, **asdict(self.grid), **self.padding.config()}

    @classmethod
    def from_config(cls, config: Config, chain: ChainModel) -> "FloatsCodec":
        """The codec of a configuration; raises ValueError if it is invalid or does not fit the autoencoder."""
        layout = config["layout"]
        variables = VariableList.from_json(config["variables"]) if layout == "list" else JET
        n = len(variables.variables)
        if len(chain.links) != n:
            raise ValueError(f"layout '{layout}' has {n} variables, but the model {len(chain.links)}")
        grid = grid_of_config(config, n)
        grid.dither.check(free_of(chain.links), grid.exponent, grid.levels)
        check_nodes(chain.weights, grid.nodes)
        return cls(chain, grid, Padding.of_config(config), variables)


def densities_of(chain: ChainModel, exponent: float, nodes: int = 0) -> Densities:
    """The densities of a chain to the power `exponent`; equal steps with locations from a table of `nodes`."""
    if exponent == 0:
        return EqualSteps(chain.weights, nodes)
    from atlasae.codecs.chain import Tempered  # here, as it imports torch: slow, and equal steps need none

    return Tempered(chain.whole(), exponent)


AnyCodec = Union[FloatsCodec, "BottleneckCodec"]  # noqa: UP007  (a name in quotes has no operators)


def codec_of_config(config: Config, model: "ChainModel | BottleneckAutoencoder") -> AnyCodec:
    """The codec of a configuration; raises ValueError if it is invalid or the autoencoder of another kind."""
    if isinstance(model, ChainModel) == (config["layout"] == "bottleneck"):
        raise ValueError(f"layout '{config['layout']}' does not fit the kind of the model")
    if isinstance(model, ChainModel):
        return FloatsCodec.from_config(config, model)
    from atlasae.codecs.bottleneck import BottleneckCodec  # here, as it imports torch

    return BottleneckCodec(model)
