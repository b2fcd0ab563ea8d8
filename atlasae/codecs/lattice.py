"""Jets on a uniform grid, as whole numbers; and the sizes and directions of their momenta, in whole numbers too.

What decides how a file is read must be the same on every machine. Sums, products, quotients and square roots are (IEEE
754 rounds them one way); logarithms and sines are not. So the encoder alone takes logarithms, and what encoder and
decoder both need of exponentials and angles comes from the tables here, of whole numbers far from a tie: every
mathematical library rounds them alike.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from atlasae.codecs.entropy import Cells
from atlasae.jets.coordinates import MASS_FLOOR, Bools, Floats, to_symlog
from atlasae.jets.variables import JET

LOW = np.array([6.2, -10.0, -math.pi, -20.0])  # where the cells of log pt, eta, phi and mu begin
HIGH = np.array([16.9, 10.0, math.pi, 20.0])
FINEST = 1e-6  # step: there are tables of all cells, which have to fit in memory
PER_E = 256  # entries of EXPONENTIALS for a factor of e
TURN = 4096  # directions in a turn
UNIT = 2**14  # of sines
SLOPES = 4096  # entries of DIRECTIONS for a quarter of a turn

EXPONENTIALS = np.rint(2**10 * np.exp(np.arange(int((HIGH[0] - LOW[0]) * PER_E) + 2) / PER_E))
COSINES = np.rint(UNIT * np.cos(2 * np.pi * (np.arange(TURN) + 0.5) / TURN))
SINES = np.rint(UNIT * np.sin(2 * np.pi * (np.arange(TURN) + 0.5) / TURN))
_SLOPES = np.arange(-SLOPES, SLOPES + 1) / SLOPES  # y / (|x| + |y|), which grows with the direction where x > 0
DIRECTIONS = np.rint(np.arctan2(_SLOPES, 1 - np.abs(_SLOPES)) * TURN / (2 * np.pi)).astype(np.int32)


@dataclass(frozen=True)
class Lattice:
    """A uniform grid in the coordinates log pt, eta, phi and mu: a cell is a whole number for each of the four."""

    steps: tuple[float, float, float, float]
    single: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Raise ValueError for steps that make no grid."""
        if not all(FINEST <= step < 2 for step in self.steps):
            raise ValueError(f"steps {self.steps} make no grid")

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Cells of each coordinate."""
        spans = [high - low for low, high in zip(LOW.tolist(), HIGH.tolist(), strict=True)]
        return tuple(math.ceil(span / step) for span, step in zip(spans, self.steps, strict=True))

    def cells(self, jets: Floats) -> tuple[npt.NDArray[np.int32], Bools]:
        """The cells (4 x n) of jets (n x 4, MeV), and which jets have any."""
        pt, eta, phi, m = jets.T
        found = np.empty((4, len(jets)))
        with np.errstate(all="ignore"):  # what has no coordinate is no number, and has no cell
            coordinates = np.log(pt), eta, phi, to_symlog(m / MASS_FLOOR)
            for row, values, low, step in zip(found, coordinates, LOW.tolist(), self.steps, strict=True):
                np.floor((values - low) / step, out=row)
        held = np.abs(phi) <= np.pi
        for row, size in zip(found, self.sizes, strict=True):
            held &= (row >= 0) & (row < size)
        return np.where(held, found, 0).astype(np.int32), held

    def encode(self, rows: Floats) -> npt.NDArray[np.int32]:
        """The cells (n x 4) of jets; one without a cell gets the first ones, and will decode to another."""
        return self.cells(rows)[0].T

    def decode(self, latents: npt.NDArray[np.int32]) -> Floats:
        """The jets in the middle of cells (n x 4)."""
        return self.jets(latents.T)

    def jets(self, cells: npt.NDArray[np.int32]) -> Floats:
        """The jets (n x 4, MeV) in the middle of cells (4 x n)."""
        return JET.from_coordinates(self.coordinates(cells))

    def coordinates(self, cells: npt.NDArray[np.int32]) -> Floats:
        """The middles (n x 4) of cells (4 x n); phi may lie a little beyond pi."""
        middles = cells + 0.5
        middles *= np.array(self.steps)[:, None]
        middles += LOW[:, None]
        return np.asarray(middles.T)

    @cached_property
    def zero_mass(self) -> int:
        """The cell of m = 0."""
        return math.floor(-float(LOW[3]) / self.steps[3])

    @cached_property
    def sizes_of_pt(self) -> Floats:
        """pt of every cell in whole numbers, in units of no meaning."""
        places = np.floor((np.arange(self.sizes[0]) + 0.5) * (self.steps[0] * PER_E)).astype(np.int64)
        return np.asarray(EXPONENTIALS[np.minimum(places, len(EXPONENTIALS) - 1)])

    @cached_property
    def directions(self) -> npt.NDArray[np.int64]:
        """The direction, as one of TURN, of every cell of phi; that of -pi is TURN / 2."""
        places = np.floor((np.arange(self.sizes[2]) + 0.5) * (self.steps[2] * TURN / (2 * math.pi))).astype(np.int64)
        return np.asarray((np.minimum(places, TURN - 1) + TURN // 2) % TURN)

    @cached_property
    def cells_of_directions(self) -> Cells:
        """The cell of phi in the middle of each direction."""
        places = ((np.arange(TURN) + TURN // 2) % TURN + 0.5) * (2 * math.pi / TURN / self.steps[2])
        return np.asarray(np.minimum(np.floor(places), self.sizes[2] - 1), np.int32)


def direction(x: Floats, y: Floats) -> Cells:
    """The direction of (x, y), whole numbers, as one of TURN; to about one of them."""
    slope = y * SLOPES / np.maximum(np.abs(x) + np.abs(y), 1) + SLOPES
    right = DIRECTIONS[slope.astype(np.int64)]
    return np.asarray(np.where(x < 0, TURN // 2 - right, right) & (TURN - 1))
