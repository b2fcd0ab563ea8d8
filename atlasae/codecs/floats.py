"""The codec of the floats layout: jets, or rows of a list of variables, to float32 latents and back."""

from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, Union

import msgspec
import numpy as np

from atlasae.codecs.codec import few_threads
from atlasae.codecs.dither import BLOCK_BITS, BLOCK_STEPS, IN_BLOCK, NO_DITHER, CellPart, Dither, Offset
from atlasae.codecs.entropy import Integers
from atlasae.codecs.grid import Grid, WordLayout, grid_of_config, is_whole, pack, unpack
from atlasae.codecs.resolved import PER_ONE, ResolvedSteps
from atlasae.codecs.walk import ChainModel, Densities, EqualSteps, check_nodes, decode_rows, encode_rows, free_of
from atlasae.jets.coordinates import MASS_FLOOR, Floats
from atlasae.jets.padding import Config, Latents, Padding, Stored
from atlasae.jets.stored import Storage
from atlasae.jets.variables import JET, VariableList
from atlasae.native.library import ChainGrid, ChainPass

_MOST_CELLS = 1 << 48
_FARTHEST = 700  # coordinates that compiled passes take: a smaller pt than e to -708 is no normal float64

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

    def passes(self, storage: Storage, columns: Stored, wanted: Container[int] | None = None) -> ChainPass | None:
        """A compiled pass over jets of columns like these; None where chain, grid or columns need NumPy's."""
        of = storage.compiled
        if of is None or self.variables != JET or not of.can_pass(columns) or self._compiled is None:
            return None
        return ChainPass(self._compiled, of, len(columns[0]), [i for i in range(4) if wanted is None or i in wanted])

    @cached_property
    def _densities(self) -> Densities:
        return densities_of(self.chain, self.grid.exponent, self.grid.nodes)

    @cached_property
    def _compiled(self) -> ChainGrid | None:
        densities = self._densities
        return _chain_grid(densities, self.grid, self.stand_in) if isinstance(densities, EqualSteps) else None

    def arranged(self, words: WordLayout) -> Self:
        """The same codec with other words."""
        return replace(self, grid=replace(self.grid, words=words))

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


def _chain_grid(densities: EqualSteps, grid: Grid, stand_in: Floats) -> ChainGrid | None:
    """The chain of jets and its grid for compiled passes; None for others than these take."""
    weights, links = densities.weights, densities.links
    if not _is_passable(densities):
        return None
    table = weights.table(3, grid.nodes) if grid.nodes > 1 else None
    *momentum, m = stand_in.tolist()
    found = ChainGrid(
        low=tuple(low for low, _ in weights.ends),
        spans=tuple(high - low for low, high in weights.ends),
        origins=tuple(link.offset for link in links),
        cells=grid.cells,
        first=grid.first,
        levels=grid.levels,
        parts=tuple((p.variable, p.of_block, p.in_block, p.shifted) for p in grid.dither.order(free_of(links))),
        digits=tuple(
            (word, digit.variable, digit.radix, digit.divisor, is_whole(digit, grid))
            for word, digits in enumerate(grid.words)
            for digit in digits
        ),
        words=len(grid.words),
        stand_in=(*momentum, m / MASS_FLOOR),
        weight=grid.dither.weight,
        rounds=grid.dither.rounds,
    )
    if table:
        limits = tuple(table.limits.ravel().tolist())
        found = replace(found, table=table.values, limits=limits, per_node=table.nodes_per_one)
    return found if found.fits and (table is None or table.is_finite) else None


def _is_passable(densities: EqualSteps) -> bool:
    """Whether compiled passes take the chain of jets: the usual one, with a table of locations or none, in float64."""
    weights, links = densities.weights, densities.links
    usual = [(link.anchor, link.located) for link in links] == [(None, False)] * 3 + [(0, True)]
    numbers = [*(end for ends in weights.ends for end in ends), *(link.offset for link in links)]
    near = all(abs(number) < _FARTHEST for number in numbers)
    return usual and links[3].given == (0, 1) and bool(densities.nodes) and weights.limits.dtype == np.float64 and near


@dataclass(frozen=True)
class ResolvedFloatsCodec:
    """Three float32 per jet, from cells whose steps follow the resolution at the pt of the jet (`ResolvedSteps`).

    `first` and `levels` are the first cell and the number of cells of each variable. The model gives the location of m.
    With `dither`, eta and phi are cut into blocks, in steps as small as those at the largest pt: blocks are known
    before pt, and the cells in them after it.
    """

    chain: ChainModel
    resolved: ResolvedSteps
    first: tuple[int, int, int, int]
    levels: tuple[int, int, int, int]
    words: WordLayout
    dither: Dither = NO_DITHER
    nodes: int = 0  # of the table of locations
    padding: Padding = Padding()
    variables: ClassVar[VariableList] = JET
    stand_in: ClassVar[Floats] = np.array(JET.example)
    single: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that do not fit one another, or a model that has no location of m."""
        links = self.chain.links
        if [link.name for link in links] != JET.names or links[3].given != (0, 1):
            raise ValueError("a model of other variables")
        cells = [*map(abs, self.first), *self.levels]
        if not all(n <= _MOST_CELLS for n in cells) or min(self.levels) < 1 or self.first[0] < 0:
            raise ValueError(f"cells from {self.first}, {self.levels} of them")
        if self.first[0] + self.levels[0] > self.resolved.size:
            raise ValueError("more cells of pt than there are")
        self.dither.check(free_of(links), 0.0, self.levels)
        check_nodes(self.chain.weights, self.nodes)

    @property
    def autoencoder(self) -> Any:
        """The `InvertibleAutoencoder`, for which torch is imported."""
        return self.chain.whole()

    def encode(self, rows: Floats) -> Latents:
        """The latents (n x 3) of jets; jets without coordinates get those of `stand_in`."""
        safe = np.where(JET.usable(rows)[:, None], rows, self.stand_in)
        walk = _ResolvedWalk(self, len(rows))
        for part, offset, offsets in self.dither.walk(free_of(self.chain.links)):
            offsets.add(walk.encode(part, offset, JET.to_coordinates(safe)))
        return pack(list(walk.cells), self.grid)

    def decode(self, latents: Latents, wanted: Container[int] | None = None) -> Floats:
        """The jets (n x 4) of latents, with all variables; raises ValueError for latents that `encode` can't make."""
        cells = unpack(latents, self.grid)
        walk = _ResolvedWalk(self, len(latents))
        for part, offset, offsets in self.dither.walk(free_of(self.chain.links)):
            number = part.of(cells[part.variable])
            walk.decode(part, offset, number)
            offsets.add(number)
        return JET.from_coordinates(walk.known)

    def part(self, rows: slice) -> Self:
        """The same codec: jets are coded by themselves."""
        return self

    def passes(self, storage: Storage, columns: Stored, wanted: Container[int] | None = None) -> None:
        """None: NumPy's are the only ones."""

    def arranged(self, words: WordLayout) -> Self:
        """The same codec with other words."""
        return replace(self, words=words)

    @property
    def grid(self) -> Grid:
        """The levels and words, as `pack` and `unpack` take them."""
        return Grid(0.0, (1.0,) * 4, self.first, self.levels, self.words, self.dither, self.nodes)

    def config(self) -> Config:
        """The configuration as plain JSON for `from_config`, which also needs the autoencoder."""
        fields = ("resolved", "first", "levels", "words", "dither", "nodes")
        found = {name: getattr(self, name) for name in fields}
        return {"layout": "resolved", **msgspec.to_builtins(found), **self.padding.config()}

    @classmethod
    def from_config(cls, config: Config, chain: ChainModel) -> "ResolvedFloatsCodec":
        """The codec of a configuration; raises ValueError if it is invalid or does not fit the autoencoder."""
        grid = grid_of_config({"exponent": 0.0, "cells": [1.0] * 4, **config}, 4)
        resolved = msgspec.convert(config["resolved"], ResolvedSteps)
        first, levels = (msgspec.convert(config[name], tuple[int, int, int, int]) for name in ("first", "levels"))
        return cls(chain, resolved, first, levels, grid.words, grid.dither, grid.nodes, Padding.of_config(config))

    @cached_property
    def smallest(self) -> tuple[int, int, int, int]:
        """The smallest step of each coordinate in the cells of pt that there are: that of blocks."""
        there = slice(self.first[0], self.first[0] + self.levels[0])
        eta, phi, m = (int(self.resolved.steps(i)[there].min()) for i in (1, 2, 3))
        return 1, eta, phi, m


class _ResolvedWalk:
    """The cells of jets, part by part in the order of a dither, and the coordinates decoded so far."""

    def __init__(self, codec: ResolvedFloatsCodec, n: int) -> None:
        self.codec = codec
        self.cells, self.known = np.zeros((4, n), np.int64), np.zeros((n, 4))
        self.blocks = np.zeros((4, n), np.int64)
        self.pt = np.zeros(n, np.int64)

    def encode(self, part: CellPart, offset: Offset, coordinates: Floats) -> Integers:
        """Find the cells of a part of these coordinates (n x 4), and decode it."""
        i, codec = part.variable, self.codec
        step, origin = self._step(part), self._origin(part)
        y = (
            codec.resolved.position(np.exp(coordinates[:, 0]))
            if i == 0
            else (coordinates[:, i] - origin) * PER_ONE / step
        )
        if part.of_block:
            number = np.floor(y / BLOCK_STEPS - codec.first[i]).clip(0, (codec.levels[i] >> BLOCK_BITS) - 1)
        elif part.in_block:
            number = np.floor(y + offset).clip(0, IN_BLOCK - 1)
        else:
            number = np.floor(y + offset - codec.first[i]).clip(0, codec.levels[i] - 1)
        found = number.astype(np.int64)
        self.decode(part, offset, found)
        self.cells[i] += found << BLOCK_BITS if part.of_block else found
        return found

    def decode(self, part: CellPart, offset: Offset, number: Integers) -> None:
        """Add the coordinates of the cells of a part."""
        i, codec = part.variable, self.codec
        if part.of_block:
            self.blocks[i] = number
            return
        middle = number + (0 if part.in_block else codec.first[i]) + 0.5 - offset
        if i == 0:
            self.pt = number + codec.first[0]
            self.known[:, 0] = np.log(codec.resolved.pt(np.asarray(middle, np.float64)))
        else:
            self.known[:, i] = self._origin(part) + middle * self._step(part) / PER_ONE

    def _step(self, part: CellPart) -> Integers | int:
        """The steps of a variable, in units of 1 / PER_ONE; of blocks, the same for all jets."""
        i = part.variable
        return self.codec.smallest[i] if part.of_block or not i else self.codec.resolved.steps(i).take(self.pt)

    def _origin(self, part: CellPart) -> Floats | float:
        """The coordinate from which cells are counted: the lower edge of the block, 0, -pi, or the location of m."""
        i, codec = part.variable, self.codec
        if part.in_block:
            edge = (self.blocks[i] + codec.first[i]) * (BLOCK_STEPS * codec.smallest[i])
            return np.asarray(edge / PER_ONE) - (np.pi if i == 2 else 0.0)
        if i < 3:
            return -np.pi if i == 2 else 0.0
        known = dict(enumerate(self.known.T))
        return np.asarray(EqualSteps(codec.chain.weights, codec.nodes).origin(3, known))


AnyCodec = Union[FloatsCodec, ResolvedFloatsCodec, "BottleneckCodec"]  # noqa: UP007  (a name in quotes has no operators)


def codec_of_config(config: Config, model: "ChainModel | BottleneckAutoencoder") -> AnyCodec:
    """The codec of a configuration; raises ValueError if it is invalid or the autoencoder of another kind."""
    if isinstance(model, ChainModel) == (config["layout"] == "bottleneck"):
        raise ValueError(f"layout '{config['layout']}' does not fit the kind of the model")
    if isinstance(model, ChainModel):
        kind = ResolvedFloatsCodec if config["layout"] == "resolved" else FloatsCodec
        return kind.from_config(config, model)
    from atlasae.codecs.bottleneck import BottleneckCodec  # here, as it imports torch

    return BottleneckCodec(model)
