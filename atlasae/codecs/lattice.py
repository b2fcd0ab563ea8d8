"""Jets on a uniform grid as integer cells, and their momenta and directions in integers.

Contexts of the packed layout must be equal on every machine. Sums, products, quotients and square roots are (IEEE 754
defines their rounding); logarithms and sines are not. So only the encoder takes logarithms, and exponentials and angles
that encoder and decoder both need come from tables of integers. Their values before rounding are far from k + 1/2, so
that every mathematical library gives the same integers.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from atlasae.codecs.dither import MASK, hashed, offset
from atlasae.codecs.entropy import Cells
from atlasae.files.events import Array
from atlasae.jets.coordinates import LARGEST_PHI, MASS_FLOOR, Bools, Floats, by_column, to_symlog
from atlasae.jets.layouts import Layout
from atlasae.jets.stored import Storage
from atlasae.jets.variables import JET, WHOLE, VariableList
from atlasae.native.library import CellGrid, JetPass

Indices = npt.NDArray[np.int64]

LOW = np.array([6.2, -10.0, -math.pi, -20.0])  # lower limits of log pt, eta, phi and mu
HIGH = np.array([16.9, 10.0, math.pi, 20.0])
FINEST = 1e-6  # smallest step: tables of all cells must fit in memory
LIGHT = 0.01  # of mu, which is 1 MeV: jets below are massless, at any pt
PER_E = 256  # entries of EXPONENTIALS per factor of e
TURN = 4096  # directions in 2 pi
UNIT = 2**14  # sines and cosines are in units of 1 / UNIT
SLOPES = 4096  # entries of DIRECTIONS per pi / 2
_MOST_VARIED = 2.0**40  # cells of a variation, which is exact beyond
_FARTHEST = 2.0**53  # cells of a list of variables: float64 holds all integers below

EXPONENTIALS = np.rint(2**10 * np.exp(np.arange(int((HIGH[0] - LOW[0]) * PER_E) + 2) / PER_E))
COSINES = np.rint(UNIT * np.cos(2 * np.pi * (np.arange(TURN) + 0.5) / TURN))
SINES = np.rint(UNIT * np.sin(2 * np.pi * (np.arange(TURN) + 0.5) / TURN))
_SLOPES = np.arange(-SLOPES, SLOPES + 1) / SLOPES  # y / (|x| + |y|), which rises with the direction for x > 0
_JETS = Storage(Layout(("pt", "eta", "phi", "m")), (np.dtype(np.float64),) * 4)
_MASS = JET.variables[3]
DIRECTIONS = np.rint(np.arctan2(_SLOPES, 1 - np.abs(_SLOPES)) * TURN / (2 * np.pi)).astype(np.int32)


GridCells = npt.NDArray[Any]  # integers: int32, of a list of variables int64


class GridCoder(ABC):
    """Codes jets as integer cells of a grid, one for each coordinate; the same grid for all rows of a chunk."""

    @abstractmethod
    def cells(self, jets: Floats, offsets: Floats | None = None) -> tuple[GridCells, Bools]:
        """The cells (4 x n) of jets (n x 4, MeV), and which jets are in the grid; cells of others are 0."""

    @abstractmethod
    def jets(self, cells: GridCells, offsets: Floats | None = None) -> Floats:
        """The jets (n x 4, MeV) in the middle of cells (4 x n)."""

    def encode(self, rows: Floats) -> GridCells:
        """The cells (n x 4) of jets (n x 4, MeV); jets outside the grid get cells 0."""
        return self.cells(rows)[0].T

    def decode(self, latents: GridCells) -> Floats:
        """The jets (n x 4, MeV) in the middle of cells (n x 4)."""
        return self.jets(latents.T)

    def part(self, rows: slice) -> Self:
        """The same grid: that of all rows of a chunk."""
        return self


@dataclass(frozen=True)
class Lattice(GridCoder):
    """A uniform grid in the coordinates log pt, eta, phi and mu, with an integer cell for each.

    Coordinates in `shifted` have one cell more: `ShiftedLattice` shifts their cells by offsets.
    """

    steps: tuple[float, float, float, float]
    shifted: tuple[bool, bool, bool, bool] = (False,) * 4
    single: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Raise ValueError for steps that are too small or too large."""
        if not all(FINEST <= step < 2 for step in self.steps):
            raise ValueError(f"steps {self.steps} are not between 1e-6 and 2")

    def config(self) -> dict[str, object]:
        """The grid as plain JSON, which `lattice_of` in `resolved` reads."""
        return {"steps": list(self.steps), "shifted": list(self.shifted)}

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of cells of each coordinate."""
        spans = [high - low for low, high in zip(LOW.tolist(), HIGH.tolist(), strict=True)]
        found = zip(spans, self.steps, self.shifted, strict=True)
        return tuple(math.ceil(span / step) + shifted for span, step, shifted in found)

    def cells(self, jets: Floats, offsets: Floats | None = None) -> tuple[npt.NDArray[np.int32], Bools]:
        """The cells (4 x n) of jets (n x 4, MeV), and which jets are inside the grid (n); the others get cells 0.

        With `offsets` (4 x n, in steps from 0 to 1), cells are shifted by these.
        """
        pt, eta, phi, m = jets.T
        found = np.empty((4, len(jets)))
        with np.errstate(all="ignore"):  # the coordinates of unphysical jets are NaN, which have no cell
            coordinates = np.log(pt), eta, phi, to_symlog(m / MASS_FLOOR)
            for row, values, low, step in zip(found, coordinates, LOW.tolist(), self.steps, strict=True):
                np.divide(values - low, step, out=row)
            if offsets is not None:
                found[:3] += offsets[:3]
                found[3] += offsets[3] * (found[3] >= self.first_heavy)
            np.floor(found, out=found)
        held = np.abs(phi) <= np.pi
        for row, size in zip(found, self.sizes, strict=True):
            held &= (row >= 0) & (row < size)
        return np.where(held, found, 0).astype(np.int32), held

    def jets(self, cells: npt.NDArray[np.int32], offsets: Floats | None = None) -> Floats:
        """The jets (n x 4, MeV) in the middle of cells (4 x n)."""
        return JET.from_coordinates(self.coordinates(cells, offsets))

    def coordinates(self, cells: npt.NDArray[np.int32], offsets: Floats | None = None) -> Floats:
        """The coordinates (n x 4) of the middles of cells (4 x n); phi may exceed pi by half a step."""
        middles = cells + 0.5
        if offsets is not None:
            middles[:3] -= offsets[:3]
            middles[3] -= offsets[3] * (cells[3] >= self.first_heavy)
        middles *= np.array(self.steps)[:, None]
        middles += LOW[:, None]
        return np.asarray(middles.T)

    @cached_property
    def compiled(self) -> CellGrid:
        """The same grid for a compiled pass."""
        limits = tuple(LOW.tolist()), self.steps, self.sizes, self.shifted
        return CellGrid(*limits, self.first_heavy)

    @cached_property
    def light(self) -> int:
        """The number of cells, from m = 0, of massless jets."""
        return max(1, int(LIGHT / self.steps[3]))

    @cached_property
    def first_heavy(self) -> int:
        """The cell of mu from which cells are shifted: below, massless jets keep a cell, and m its sign."""
        return self.zero_mass + max(2, self.light)

    @cached_property
    def zero_mass(self) -> int:
        """The cell of m = 0."""
        return math.floor(-float(LOW[3]) / self.steps[3])

    @cached_property
    def sizes_of_pt(self) -> Floats:
        """pt of every cell as integers in float64, in an arbitrary unit."""
        places = np.floor((np.arange(self.sizes[0]) + 0.5) * (self.steps[0] * PER_E)).astype(np.int64)
        return np.asarray(EXPONENTIALS[np.minimum(places, len(EXPONENTIALS) - 1)])

    @cached_property
    def directions(self) -> npt.NDArray[np.int64]:
        """The direction (0 to TURN - 1) of every cell of phi; that of -pi is TURN / 2."""
        places = np.floor((np.arange(self.sizes[2]) + 0.5) * (self.steps[2] * TURN / (2 * math.pi))).astype(np.int64)
        return np.asarray((np.minimum(places, TURN - 1) + TURN // 2) % TURN)

    @cached_property
    def cells_of_directions(self) -> Cells:
        """The cell of phi in the middle of each direction."""
        places = ((np.arange(TURN) + TURN // 2) % TURN + 0.5) * (2 * math.pi / TURN / self.steps[2])
        return np.asarray(np.minimum(np.floor(places), self.sizes[2] - 1), np.int32)


@dataclass(frozen=True)
class ListLattice(GridCoder):
    """A uniform grid in the coordinates of a list of variables, with an integer cell (int64) for each.

    Cells are counted from the coordinate 0, those of angles from -pi. Integers and categories have one each.
    """

    variables: VariableList
    steps: tuple[float, ...]
    shifted: tuple[bool, ...]
    single: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Raise ValueError for steps that are not positive, or other numbers of them."""
        number = len(self.variables.variables)
        if not (len(self.steps) == len(self.shifted) == number and all(0 < step < math.inf for step in self.steps)):
            raise ValueError(f"steps {self.steps} of {number} variables")

    def config(self) -> dict[str, object]:
        """The grid as plain JSON, without its variables."""
        return {"steps": list(self.steps), "shifted": list(self.shifted)}

    def reordered(self, order: Sequence[int]) -> "ListLattice":
        """The grid with its variables in another order."""
        variables = VariableList(tuple(self.variables.variables[place] for place in order))
        steps, shifted = ([numbers[place] for place in order] for numbers in (self.steps, self.shifted))
        return ListLattice(variables, tuple(steps), tuple(map(bool, shifted)))

    @property
    def turns(self) -> list[int]:
        """The number of cells in a full turn of each angle, and 0 of others."""
        found = zip(self.variables.variables, self.steps, self.shifted, strict=True)
        return [math.ceil(2 * math.pi / step) + shifted if v.coordinate == "angle" else 0 for v, step, shifted in found]

    def cells(self, jets: Floats, offsets: Floats | None = None) -> tuple[GridCells, Bools]:
        """The cells (variables x n) of rows (n x variables), and which rows are in the grid; others get cells 0."""
        with np.errstate(all="ignore"):  # rows without coordinates
            found = np.ascontiguousarray(self.variables.to_coordinates(jets).T)
            found -= self._origins
            found /= self._steps
            found += self._middles if offsets is None else self._middles + offsets
            np.floor(found, out=found)
            held = np.asarray((np.abs(found) < _FARTHEST).all(axis=0))
        for row, turn in zip(found, self.turns, strict=True):
            if turn:
                held &= (row >= 0) & (row < turn)
        return np.where(held, found, 0).astype(np.int64), held

    def jets(self, cells: GridCells, offsets: Floats | None = None) -> Floats:
        """The rows (n x variables) in the middle of cells (variables x n)."""
        middles = cells + (0.5 - self._middles)
        if offsets is not None:
            middles -= offsets
        middles *= self._steps
        middles += self._origins
        for row, variable in zip(middles, self.variables.variables, strict=True):
            if variable.coordinate == "angle":
                row.clip(-LARGEST_PHI, LARGEST_PHI, out=row)
        with np.errstate(over="ignore"):  # of forged cells
            return self.variables.from_coordinates(middles.T)

    @cached_property
    def _steps(self) -> Floats:
        return np.array(self.steps)[:, None]

    @cached_property
    def _middles(self) -> Floats:
        """The offsets of cells that have a number in their middle: those of integers and categories."""
        return np.array([[0.5 * (variable.coordinate in WHOLE)] for variable in self.variables.variables])

    @cached_property
    def _origins(self) -> Floats:
        return np.array([[-math.pi * (variable.coordinate == "angle")] for variable in self.variables.variables])


class ShiftableLattice(Protocol):
    """A grid whose cells can be shifted by offsets (coordinates x n, in steps)."""

    @property
    def shifted(self) -> tuple[bool, ...]:
        """Which coordinates are shifted."""
        ...

    def cells(self, jets: Floats, offsets: Floats | None = None) -> tuple[GridCells, Bools]:
        """The cells (coordinates x n) of rows (n x coordinates), and which are inside the grid (n)."""
        ...

    def jets(self, cells: GridCells, offsets: Floats | None = None) -> Floats:
        """The rows (n x coordinates) in the middle of cells (coordinates x n)."""
        ...


@dataclass(frozen=True)
class ShiftedLattice:
    """The grid of some jets of a chunk, shifted for each by offsets from a counter: the `key`, and the jet's index."""

    lattice: ShiftableLattice
    key: int
    indices: Indices  # of the jets in the chunk
    single: ClassVar[None] = None

    def part(self, rows: slice) -> "ShiftedLattice":
        """The grid of some of these jets."""
        return ShiftedLattice(self.lattice, self.key, self.indices[rows])

    def encode(self, rows: Floats) -> GridCells:
        """The cells (n x 4) of jets (n x 4, MeV); jets outside the grid get cells 0."""
        columns = list(rows.T)
        if passed := jet_pass(self.lattice, _JETS, self.key, self.indices, columns):
            return passed.encode(columns).T
        return self.lattice.cells(rows, self.offsets)[0].T

    def decode(self, latents: GridCells) -> Floats:
        """The jets (n x 4, MeV) in the middle of cells (n x 4)."""
        return self.lattice.jets(latents.T, self.offsets)

    @cached_property
    def offsets(self) -> Floats:
        """The offsets (coordinates x n), of 0 for coordinates that are not shifted."""
        state = hashed((self.indices + self.key) & MASK)
        found = np.zeros((len(self.lattice.shifted), len(state)))
        for row in np.flatnonzero(self.lattice.shifted):
            found[row] = offset(state)
            state = hashed(state)
        return found


def jet_pass(
    lattice: object, storage: Storage, key: int, indices: Indices, columns: Sequence[Array] = ()
) -> JetPass | None:
    """A compiled pass over jets with these indices in a chunk; None if a grid or columns like these need NumPy's."""
    of = storage.compiled
    if of is None or not isinstance(lattice, Lattice):
        return None
    there = of.can_pass(columns or [np.empty(0, dtype) for dtype in storage.dtypes])
    return JetPass(lattice.compiled, key, indices, of) if there else None


@dataclass(frozen=True)
class VariedGrid:
    """The grid of jets in a variation: steps from the same jets in `nominal` (n x 4: pt, eta, phi, m in MeV).

    Steps (n x 2, or 1 x 2) are of log pt, and of mu from the mass that scales with pt. Nothing but a product hangs on
    `nominal`, so that its drift in other arithmetic is the drift of the jets. `single` is the same grid in float32
    arithmetic, if the drift is not known.
    """

    nominal: Floats
    steps: Floats
    single: "VariedGrid | None" = None

    def part(self, rows: slice) -> "VariedGrid":
        """The grid of some of these jets."""
        steps = self.steps if len(self.steps) == 1 else self.steps[rows]
        return VariedGrid(self.nominal[rows], steps, self.single and self.single.part(rows))

    def encode(self, rows: Floats) -> GridCells:
        """The cells (n x 2) of jets (n x 4, MeV); jets without coordinates get any."""
        with np.errstate(all="ignore"):
            pt = np.rint(np.log(rows[:, 0] / self.nominal[:, 0]) / self.steps[:, 0])
            m = np.rint((_MASS.encode(rows[:, 3]) - self._scaled(pt)) / self.steps[:, 1])
        cells = by_column([pt, m])
        return np.where(np.abs(cells) < _MOST_VARIED, cells, 0).astype(np.int64)

    def decode(self, latents: GridCells) -> Floats:
        """The jets (n x 4, MeV) in the middle of cells (n x 2)."""
        _, eta, phi, _ = self.nominal.T
        with np.errstate(all="ignore"):  # of padding
            mass = _MASS.decode(self._scaled(latents[:, 0]) + latents[:, 1] * self.steps[:, 1])
            return by_column([self.nominal[:, 0] * self._factor(latents[:, 0]), eta, phi, mass])

    def _factor(self, pt: Any) -> Floats:
        return np.asarray(np.exp(pt * self.steps[:, 0]))

    def _scaled(self, pt: Any) -> Floats:
        """mu of the nominal mass, scaled as pt is."""
        return _MASS.encode(self.nominal[:, 3] * self._factor(pt))


def direction(x: Floats, y: Floats) -> Cells:
    """The direction (0 to TURN - 1) of integers (x, y), correct to about 1."""
    slope = y * SLOPES / np.maximum(np.abs(x) + np.abs(y), 1) + SLOPES
    right = DIRECTIONS[slope.astype(np.int64)]
    return np.asarray(np.where(x < 0, TURN // 2 - right, right) & (TURN - 1))
