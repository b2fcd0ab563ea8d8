"""The walk along a chain of variables, from coordinates to the words of latents and back; equal steps, in NumPy.

Each variable is conditioned on the decoded values of those before it, so that errors do not propagate from one variable
to the next. With equal steps only the learned location of the mass needs a network; all else of a model, and torch, is
for steps that follow densities (`--precision full`).
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from atlasae.codecs.grid import Cell, Grid, joined, pack, unpack
from atlasae.jets.coordinates import Floats
from atlasae.jets.padding import Latents

NODES = 129  # of a table of locations, in each of two variables: 0.005 % more bytes than with the network itself
WIDEST = 4096  # units of a layer; larger numbers are refused as mistakes or attacks
LAYERS = (0, 2, 4)  # of a network with two hidden layers: activations are numbered, too
LOCATION_HIDDEN = 32  # units of a layer of the network of a location
_ROWS = 4096  # of which a network is asked at once
_WIDEST = 1e6  # range of a coordinate in the training

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
JETS = (
    Link("pt", centre=11.0, scale=2.0),
    Link("eta", given=(0,), hidden=32, scale=3.0),
    Link("phi"),
    Link("m", given=(0, 1), hidden=48, located=True, anchor=0, offset=-6.0),
)

Decoded = Mapping[int, Floats]  # decoded coordinates, by the index of their variable
Layers = tuple[tuple[Floats, Floats], ...]  # weights and biases


def check_order(links: Sequence[Link]) -> None:
    """Raise ValueError unless each variable depends on those before it alone."""
    for i, link in enumerate(links):
        if not all(k < i for k in (*link.given, *([] if link.anchor is None else [link.anchor]))):
            raise ValueError(f"link {link.name!r} depends on variables that do not precede it")


def free_of(links: Sequence[Link]) -> list[bool]:
    """Whether the origin of each variable does not depend on others."""
    return [link.anchor is None and not link.located for link in links]


class Densities(Protocol):
    """The densities of a chain, to one power."""

    @property
    def links(self) -> Sequence[Link]:
        """The variables of the chain."""
        ...

    def origin(self, i: int, known: Decoded) -> Floats | float:
        """The origin of the bins of variable i, given the variables before it."""
        ...

    def cumulative(self, i: int, y: Floats, known: Decoded) -> Floats:
        """The cumulative values u of coordinates y of variable i, counted from its origin."""
        ...

    def quantile(self, i: int, u: Floats, known: Decoded) -> Floats:
        """The inverse of `cumulative`."""
        ...

    def width(self, i: int, y: Floats, known: Decoded) -> Floats | float:
        """The inverse of the density at coordinates y of variable i, counted from its origin."""
        ...


@runtime_checkable
class ChainModel(Protocol):
    """A chain of densities: what equal steps need of it and, when it is asked for, the whole in torch."""

    @property
    def links(self) -> tuple[Link, ...]:
        """The variables of the chain."""
        ...

    @property
    def weights(self) -> "Weights":
        """What equal steps need."""
        ...

    def whole(self) -> Any:
        """The `InvertibleAutoencoder`."""
        ...


def encode_rows(densities: Densities, coordinates: Floats, grid: Grid) -> Latents:
    """The latents (n x words, float32 in [1, 2)) of coordinates (n x variables)."""
    known, origins = dict[int, Floats](), dict[int, Floats | float]()
    cells, blocks, positions = dict[int, Floats](), dict[int, Floats](), dict[int, Floats]()
    asked = _needed(densities.links, range(len(densities.links)))
    for part, offset, offsets in grid.dither.walk(free_of(densities.links)):
        i = part.variable
        if i not in positions:
            origins[i] = densities.origin(i, known)
            u = densities.cumulative(i, coordinates[:, i] - origins[i], known)
            u *= grid.cells[i]
            u -= grid.first[i]
            positions[i] = u
        if part.of_block:
            blocks[i] = number = grid.block(i, positions[i])
        else:
            cells[i] = number = grid.cell(i, positions[i], blocks.get(i), offset)
            if i in asked:
                middle = grid.middle(i, number, blocks.get(i), offset)
                known[i] = densities.quantile(i, middle, known) + origins[i]
        offsets.add(number)
    return pack([joined(cells[i], blocks.get(i)) for i in range(len(cells))], grid)


def spread_rows(densities: Densities, coordinates: Floats) -> tuple[Floats, Floats]:
    """Cumulative values u and widths (n x variables) of coordinates, each given those before it, not quantised."""
    known = dict(enumerate(coordinates.T))
    y = [known[i] - densities.origin(i, known) for i in known]
    u = np.stack([densities.cumulative(i, y[i], known) for i in known]).T
    return u, np.stack([np.broadcast_to(densities.width(i, y[i], known), len(coordinates)) for i in known]).T


def decode_rows(densities: Densities, latents: Latents, grid: Grid, wanted: Container[int] | None = None) -> Floats:
    """The coordinates (n x variables) of latents: the middles of their cells; raises ValueError.

    With `wanted`, only these variables are decoded, and the others are 0.
    """
    known = dict[int, Floats]()
    cells, blocks = unpack(latents, grid), dict[int, Cell]()
    every = range(len(cells))
    asked = _needed(densities.links, [i for i in every if wanted is None or i in wanted])
    for part, offset, offsets in grid.dither.walk(free_of(densities.links)):
        i = part.variable
        number = part.of(cells[i])
        offsets.add(number)
        if part.of_block:
            blocks[i] = number
        elif i in asked or wanted is None or i in wanted:
            middle = grid.middle(i, number, blocks.get(i), offset)
            known[i] = densities.quantile(i, middle, known) + densities.origin(i, known)
    nothing = np.zeros(len(latents))
    return np.stack([known.get(i, nothing) for i in every]).T


def _needed(links: Sequence[Link], wanted: Sequence[int]) -> set[int]:
    """The variables that others depend on, if these are wanted."""
    before = {i: {*links[i].given, *([] if (anchor := links[i].anchor) is None else [anchor])} for i in wanted}
    direct = set().union(*before.values())
    return direct | _needed(links, sorted(direct)) if direct else direct


@dataclass(frozen=True, eq=False)
class Weights:
    """What equal steps need of a chain: the ranges of its densities, and the networks of learned locations.

    `limits` (variables x 2) is the range of the training, to which networks are not asked beyond.
    """

    links: tuple[Link, ...]
    ends: tuple[tuple[float, float], ...]
    limits: Floats
    locations: Mapping[int, Layers]

    @classmethod
    def of_state(cls, links: Sequence[Link], state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The part of the weights of an `InvertibleAutoencoder` that equal steps need, by their names in torch."""
        edges = [state[f"densities.{i}.edges"] for i in range(len(links))]
        located = [i for i, link in enumerate(links) if link.located]
        layers = {
            i: tuple((state[f"locations.{i}.{k}.weight"], state[f"locations.{i}.{k}.bias"]) for k in LAYERS)
            for i in located
        }
        return cls(tuple(links), tuple((float(one[0]), float(one[-1])) for one in edges), state["trained"], layers)

    def clipped(self, k: int, values: Floats) -> Floats:
        """Coordinates of variable k, within the range of the training."""
        return np.asarray(np.clip(values, *self.limits[k].tolist()))

    def location(self, i: int, given: Sequence[Floats]) -> Floats:
        """The location (n) of variable i, from coordinates (n each) of those it depends on, by its network."""
        links = [self.links[k] for k in self.links[i].given]
        inputs = zip(self.links[i].given, links, given, strict=True)
        x = np.stack([(self.clipped(k, y) - link.centre) / link.scale for k, link, y in inputs], axis=1)
        parts = [self._ask(self.locations[i], x[start : start + _ROWS]) for start in range(0, max(1, len(x)), _ROWS)]
        return np.concatenate(parts)

    def table(self, i: int, nodes: int) -> "LocationTable":
        """The location of variable i as a table of nodes x nodes, made when it is first asked for."""
        if (i, nodes) not in self._tables:
            self._tables[i, nodes] = LocationTable.of_network(self, i, nodes)
        return self._tables[i, nodes]

    @cached_property
    def _tables(self) -> dict[tuple[int, int], "LocationTable"]:
        return {}

    def _ask(self, layers: Layers, x: Floats) -> Floats:
        *hidden, (weight, bias) = layers
        for matrix, shift in hidden:
            x = x @ matrix.T
            x += shift
            with np.errstate(over="ignore"):  # of large negative numbers, to 0
                x /= np.exp(-x) + 1
        return np.asarray((x @ weight.T + bias)[:, 0])


@dataclass(frozen=True)
class EqualSteps:
    """The densities of a chain to the power 0: equal steps from a location that is learned.

    With `nodes` locations come from a table, interpolated between the nearest four nodes, several times as fast as the
    network that fills it. A last-bit difference of the network between machines moves them by no more than itself.
    """

    weights: Weights
    nodes: int = 0

    @property
    def links(self) -> Sequence[Link]:
        """The variables of the chain."""
        return self.weights.links

    def origin(self, i: int, known: Decoded) -> Floats | float:
        """The origin of variable i: its offset, plus the coordinate of its anchor, plus a learned location."""
        link = self.links[i]
        origin: Floats | float = link.offset
        if link.anchor is not None:
            origin = known[link.anchor] + origin
        if link.located and self.nodes != 1:
            given = [known[k] for k in link.given]
            where = self.weights.table(i, self.nodes).at(*given) if self.nodes else self.weights.location(i, given)
            origin = origin + where
        return origin

    def cumulative(self, i: int, y: Floats, known: Decoded) -> Floats:
        """The share of the range of variable i that lies below its coordinates y, in [0, 1]."""
        low, high = self.weights.ends[i]
        y = y - low
        y /= high - low
        return np.asarray(np.clip(y, 0, 1, out=y))

    def quantile(self, i: int, u: Floats, known: Decoded) -> Floats:
        """The inverse of `cumulative`."""
        low, high = self.weights.ends[i]
        return np.asarray(low + (high - low) * u.astype(self.weights.limits.dtype, copy=False))

    def width(self, i: int, y: Floats, known: Decoded) -> float:
        """The range of variable i, at any coordinate."""
        low, high = self.weights.ends[i]
        return high - low


@dataclass(frozen=True, eq=False)
class LocationTable:
    """A function of two variables by its values at nodes (nodes x nodes) between limits (2 x 2), bilinear between."""

    limits: Floats
    values: Floats

    @classmethod
    def of_network(cls, weights: Weights, i: int, nodes: int) -> "LocationTable":
        """The table of the location of variable i."""
        limits = weights.limits[list(weights.links[i].given)]
        one, two = (np.linspace(low, high, nodes, dtype=limits.dtype) for low, high in limits.tolist())
        values = weights.location(i, [np.repeat(one, nodes), np.tile(two, nodes)])
        return cls(limits, values.reshape(nodes, nodes))

    def at(self, x: Floats, y: Floats) -> Floats:
        """The values (n) at points (n each), or at the limit nearest to points outside."""
        nodes, flat = len(self.values), self.values.ravel()
        (i, right), (j, above) = self._place(0, x), self._place(1, y)
        i *= nodes
        i += j
        low = self._between(flat, i, 1, above)
        i += nodes
        high = self._between(flat, i, 1, above)
        high -= low
        high *= right
        high += low
        return high

    @cached_property
    def nodes_per_one(self) -> tuple[float, ...]:
        """The nodes per 1 of each variable."""
        last = len(self.values) - 1
        return tuple(last / (high - low) if high > low else 0.0 for low, high in self.limits.tolist())

    @cached_property
    def is_finite(self) -> bool:
        """Whether all its numbers are finite, and of float64."""
        return all(array.dtype == np.float64 and bool(np.isfinite(array).all()) for array in (self.limits, self.values))

    def _place(self, axis: int, x: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
        """The node below each point, and how far behind it the point is, in [0, 1]."""
        low, high = self.limits[axis].tolist()
        last = len(self.values) - 1
        position = np.clip(x, low, high)
        position -= low
        position *= self.nodes_per_one[axis]
        node = position.astype(np.intp)
        np.minimum(node, last - 1, out=node)
        position -= node
        return node, position

    def _between(self, flat: Floats, place: npt.NDArray[np.intp], step: int, share: Floats) -> Floats:
        here, there = flat.take(place), flat.take(place + step)
        there -= here
        there *= share
        there += here
        return there


def nodes_of(weights: Weights) -> int:
    """The nodes of a chain's tables of locations; 0 if a location does not depend on two variables of known ranges."""
    located = [weights.links[i].given for i in weights.locations]
    known = (weights.limits[:, 1] - weights.limits[:, 0] < _WIDEST).tolist()  # of an untrained model they are infinite
    return NODES if located and all(len(given) == 2 and all(known[k] for k in given) for given in located) else 0


def check_nodes(weights: Weights, nodes: int) -> None:
    """Raise ValueError for tables that a chain can't have."""
    if nodes > 1 and not nodes_of(weights):
        raise ValueError("a table of locations of other than two variables")
