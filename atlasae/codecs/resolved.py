"""Grids whose steps are shares of the detector's resolution at the pt of each jet.

The cells of pt have equal widths in the coordinate of `Resolution.coordinate`. Each has its own steps of eta, phi and
mu, from the resolution at its upper edge: there it is smallest, so that no jet of the cell exceeds its bound. These
steps, and the place of the cell in log pt, are integers in units of 1 / PER_ONE, which all machines must find alike.
Decimal arithmetic decides where a logarithm is too close to an integer for that.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Context, Decimal, localcontext
from functools import cached_property
from typing import ClassVar, Self

import msgspec
import numpy as np
import numpy.typing as npt

from atlasae.codecs.entropy import Cells, Integers
from atlasae.codecs.lattice import EXPONENTIALS, HIGH, LIGHT, LOW, PER_E, TURN, GridCoder, Lattice
from atlasae.jets.coordinates import MASS_FLOOR, Bools, Floats, inner, to_symlog
from atlasae.jets.resolution import Resolution
from atlasae.jets.variables import JET
from atlasae.native.library import RulerStruct

PER_ONE = 1 << 20  # integers per 1 in log pt, eta, phi and mu
CLOSE = 1e-4  # of an integer: numbers whose float64 is closer are computed in decimal arithmetic
DIGITS = 50  # of these
MOST_CELLS = 1 << 17  # of pt
FULL = math.ceil(2 * math.pi * PER_ONE)  # integers in a full turn


@dataclass(frozen=True)
class ResolvedSteps:
    """The steps of log pt, eta, phi and mu: shares of the resolution of those that have one, else of 1.

    Of pt, cells are counted from exp(6.2) MeV. `shifted` says which coordinates are shifted by offsets from 0 to 1,
    which are in steps.
    """

    shares: tuple[float, float, float, float]
    resolutions: tuple[Resolution | None, Resolution | None, Resolution | None, Resolution | None]

    def __post_init__(self) -> None:
        """Raise ValueError for steps that are too small or too large."""
        if not all(1e-6 <= share <= 2 for share in self.shares) or not 0 < self.size <= MOST_CELLS:
            raise ValueError(f"steps {self.shares} are not between 1e-6 and 2, or too small for the resolution of pt")

    @classmethod
    def within(cls, bounds: Mapping[str, float], resolutions: Mapping[str, Resolution], drift: float) -> Self:
        """The steps that keep these largest errors, those of variables in `resolutions` in units of the resolution.

        `drift` is the largest change of a decoded coordinate by rounding and by other arithmetic. A step of pt is
        smaller by the change of its width inside a cell.
        """
        shares, found = [], []
        for variable in JET.variables:
            bound, resolution = bounds[variable.branch], resolutions.get(variable.branch)
            least = resolution.constant if resolution else 1.0
            half = inner(bound, drift / least)
            if variable.branch == "pt":
                half /= 1 + half * (resolution.steepest(math.exp(LOW[0])) if resolution else 1) / 2
            elif variable.branch == "m" and not resolution:
                half = math.log1p(half)
            shares.append(2 * half)
            found.append(resolution)
        return cls((shares[0], shares[1], shares[2], shares[3]), (found[0], found[1], found[2], found[3]))

    @cached_property
    def origin(self) -> float:
        """The coordinate of pt from which cells are counted."""
        return float(self._coordinate(np.exp(LOW[:1]))[0])

    @cached_property
    def size(self) -> int:
        """The number of cells of pt; one is in reserve for offsets."""
        return math.ceil(float(self.position(np.exp(HIGH[:1]))[0])) + 1

    def _coordinate(self, pt: Floats) -> Floats:
        resolution = self.resolutions[0]
        return resolution.coordinate(pt) if resolution else np.log(pt)

    def position(self, pt: Floats) -> Floats:
        """The positions of pt (MeV), in steps."""
        return np.asarray((self._coordinate(pt) - self.origin) / self.shares[0])

    def pt(self, position: Floats) -> Floats:
        """The pt (MeV) of positions, of those below 0 that of 0; the inverse of `position`."""
        coordinate = np.maximum(position, 0) * self.shares[0] + self.origin
        resolution = self.resolutions[0]
        return resolution.pt(coordinate) if resolution else np.exp(coordinate)

    @cached_property
    def places(self) -> Integers:
        """Where each cell of pt lies in log pt, from that of exp(6.2) MeV, in units of 1 / PER_ONE: its lower edge."""
        pt = self.pt(np.arange(self.size, dtype=np.float64))
        return self._floors((np.log(pt) - LOW[0]) * PER_ONE, 0, 0)

    def steps(self, i: int) -> Integers:
        """The step of coordinate i (1: eta, 2: phi, 3: mu) in each cell of pt, in units of 1 / PER_ONE."""
        return self._steps[i - 1]

    @cached_property
    def _steps(self) -> tuple[Integers, ...]:
        upper = self.pt(np.arange(1, self.size + 1, dtype=np.float64))
        found = []
        for i, (share, resolution) in enumerate(zip(self.shares, self.resolutions, strict=True)):
            width = share * (resolution.of(upper) if resolution else np.ones(self.size))
            if i == 3 and resolution:
                width = 2 * np.log1p(width / 2)
            if i:
                found.append(np.maximum(1, self._floors(width * PER_ONE, i, 1)))
        return tuple(found)

    def _floors(self, numbers: Floats, i: int, above: int) -> Integers:
        """The integers below numbers, each of which `_decimal` has exactly."""
        found = np.floor(numbers).astype(np.int64)
        for k in np.flatnonzero(np.abs(numbers - np.rint(numbers)) < CLOSE).tolist():
            found[k] = math.floor(self._decimal(i, k + above))
        return found

    def _decimal(self, i: int, k: int) -> Decimal:
        """The step of coordinate i (0: log pt itself) at position k of pt, in units of 1 / PER_ONE."""
        with localcontext(Context(prec=DIGITS)):
            low, position = Decimal(LOW[0]), Decimal(k) * Decimal(self.shares[0])
            log_pt = low + position
            if resolution := self.resolutions[0]:
                noise, stochastic, constant = map(Decimal, resolution.terms)
                x = low.exp() / 1000
                root = ((constant * x) ** 2 + stochastic**2 * x + noise**2).sqrt()
                w = (2 * constant * root + 2 * constant**2 * x + stochastic**2) * (constant * position).exp()
                twice = w + (stochastic**4 - 4 * (constant * noise) ** 2) / w
                log_pt = (1000 * (twice / 2 - stochastic**2) / (2 * constant**2)).ln()
            if i == 0:
                return (log_pt - low) * PER_ONE
            width, asked = Decimal(self.shares[i]), self.resolutions[i]
            if asked:
                noise, stochastic, constant = map(Decimal, asked.terms)
                x = 1000 / log_pt.exp()
                width *= ((noise * x) ** 2 + stochastic**2 * x + constant**2).sqrt()
            if i == 3 and asked:
                width = 2 * (1 + width / 2).ln()
            return width * PER_ONE


@dataclass(frozen=True)
class ResolvedLattice(GridCoder):
    """A grid whose steps follow the resolution, with an integer cell for each coordinate.

    Cells of eta and mu are counted from 0, those of phi from -pi, in the steps of the jet's cell of pt.
    """

    resolved: ResolvedSteps
    shifted: tuple[bool, bool, bool, bool] = (False,) * 4
    single: ClassVar[None] = None

    def config(self) -> dict[str, object]:
        """The grid as plain JSON, for `lattice_of`."""
        return {"resolved": asdict(self.resolved), "shifted": list(self.shifted)}

    def cells(self, jets: Floats, offsets: Floats | None = None) -> tuple[npt.NDArray[np.int32], Bools]:
        """The cells (4 x n) of jets (n x 4, MeV), and which jets are inside the grid (n); the others get cells 0.

        With `offsets` (4 x n, in steps from 0 to 1), cells are shifted by these.
        """
        pt, eta, phi, m = jets.T
        with np.errstate(all="ignore"):  # the coordinates of unphysical jets are NaN, which have no cell
            first = np.floor(self.resolved.position(pt) + (0 if offsets is None else offsets[0]))
            held = (first >= 0) & (first < self.resolved.size) & (np.abs(phi) <= np.pi)
            mu = to_symlog(m / MASS_FLOOR)
            held &= (np.abs(eta) <= HIGH[1]) & (np.abs(mu) < HIGH[3])
            k = np.where(held, first, 0).astype(np.int64)
            found = [first]
            for i, coordinate in enumerate((eta, phi + np.pi, mu), start=1):
                position = coordinate * PER_ONE / self.resolved.steps(i)[k]
                if offsets is not None:
                    position = position + offsets[i] * (position >= self.first_heavy if i == 3 else 1)
                found.append(np.floor(position))
        return np.where(held, np.stack(found), 0).astype(np.int32), held

    def jets(self, cells: npt.NDArray[np.int32], offsets: Floats | None = None) -> Floats:
        """The jets (n x 4, MeV) in the middle of cells (4 x n)."""
        middles = cells + 0.5
        if offsets is not None:
            middles[:3] -= offsets[:3]
            middles[3] -= offsets[3] * (cells[3] >= self.first_heavy)
        steps = [self.resolved.steps(i).take(cells[0]) / PER_ONE for i in (1, 2, 3)]
        eta, phi, mu = (middle * step for middle, step in zip(middles[1:], steps, strict=True))
        pt = self.resolved.pt(middles[0])
        coordinates = np.stack([np.log(pt), eta, phi - np.pi, mu], axis=1)
        return JET.from_coordinates(coordinates)

    @cached_property
    def light(self) -> int:
        """The number of cells, from m = 0, of massless jets."""
        return max(1, int(LIGHT * PER_ONE) // int(self.resolved.steps(3).max()))

    @property
    def first_heavy(self) -> int:
        """The cell of mu from which cells are shifted."""
        return max(2, self.light)

    @cached_property
    def sizes_of_pt(self) -> Floats:
        """pt of every cell as integers in float64, in an arbitrary unit."""
        places = self.resolved.places * PER_E // PER_ONE
        return np.asarray(EXPONENTIALS[np.minimum(places, len(EXPONENTIALS) - 1)])

    def turn(self, pt: Cells) -> Cells:
        """The number of cells of phi for jets in these cells of pt."""
        return np.asarray(-(-FULL // self.resolved.steps(2).take(pt)) + self.shifted[2], np.int32)

    def directions(self, pt: Cells, phi: Cells) -> Integers:
        """The direction (0 to TURN - 1) of cells of phi; that of -pi is TURN / 2."""
        step = self.resolved.steps(2).take(pt)
        places = phi * step + (0 if self.shifted[2] else step // 2)
        return np.asarray((np.clip(places * TURN // FULL, 0, TURN - 1) + TURN // 2) % TURN)

    def cells_of_directions(self, pt: Cells, directions: Cells) -> Cells:
        """The cell of phi in the middle of directions, for jets in these cells of pt."""
        middles = (2 * ((directions.astype(np.int64) + TURN // 2) % TURN) + 1) * FULL // (2 * TURN)
        return np.asarray(middles // self.resolved.steps(2).take(pt), np.int32)

    def etas(self, pt: Cells, eta: Cells) -> Integers:
        """|eta| of cells, in units of 1 / PER_ONE."""
        step = self.resolved.steps(1).take(pt)
        return np.asarray(np.abs(eta * step + (0 if self.shifted[1] else step // 2)))

    def ruler(self, i: int, pt: Cells) -> "EqualCells":
        """The cells of coordinate i (1: eta, 2: phi, 3: mu relative to log pt) for jets in these cells of pt."""
        step = self.resolved.steps(i).take(pt)
        if i == 1:
            return EqualCells(step, np.full(len(pt), -int(LOW[1]) * PER_ONE))
        if i == 2:
            return EqualCells(step, np.zeros(len(pt), np.int64), self.turn(pt))
        return EqualCells(step, -int(LOW[3]) * PER_ONE - self.resolved.places.take(pt), top=self.top)

    def margin(self, i: int) -> int:
        """Fine cells by which those of coordinate i may exceed its range."""
        return 2 * int(self.resolved.steps(i).max())

    @property
    def top(self) -> int:
        """The fine cell of mu relative to log pt that follows all others: the first of massless jets."""
        return int(HIGH[3] - LOW[3]) * PER_ONE + self.margin(3)


def lattice_of(config: Mapping[str, object]) -> Lattice | ResolvedLattice:
    """The grid of a configuration; raises ValueError if it is invalid."""
    shifted = config.get("shifted", (False,) * 4)
    if "resolved" in config:
        return msgspec.convert({"resolved": config["resolved"], "shifted": shifted}, ResolvedLattice)
    return msgspec.convert({"steps": config["steps"], "shifted": shifted}, Lattice)


@dataclass(frozen=True)
class EqualCells:
    """Cells of the same width in each row: cell c begins at the fine cell c * step + shift.

    Each row has at most `most` cells. From `top`, fine cells are cells of their own: those that come after the others.
    """

    step: Integers
    shift: Integers
    most: Cells | None = None
    top: int | None = None

    def fine(self, cells: Cells) -> Integers:
        """The fine cell at which the cell of each row begins."""
        found = cells * self.step + self.shift
        return found if self.top is None else np.where(cells >= self._last, self.top + cells - self._last, found)

    def start(self, edges: Integers) -> Integers:
        """The first cell of each row that begins at this fine cell or above."""
        found = -((self.shift - edges) // self.step)
        if self.most is not None:
            found = np.minimum(found, self.most)
        return found if self.top is None else np.where(edges > self.top, self._last + edges - self.top, found)

    def swapped(self, cells: Cells, light: int) -> Cells:
        """Cells with those from 0 to `light` in the place of the ones that come after the others."""
        return np.asarray(np.where((cells >= 0) & (cells < light), cells + self._last, cells), np.int32)

    def unswapped(self, cells: Cells) -> Cells:
        """The inverse of `swapped`."""
        return np.asarray(np.where(cells >= self._last, cells - self._last, cells), np.int32)

    @cached_property
    def _last(self) -> Integers:
        assert self.top is not None
        return -((self.shift - self.top) // self.step)

    @property
    def struct(self) -> RulerStruct:
        """The same for a compiled coder."""
        numbers = {"has_top": self.top is not None, "top": self.top or 0}
        most = None if self.most is None else np.ascontiguousarray(self.most, np.int32)
        step, shift = (np.ascontiguousarray(column, np.int64) for column in (self.step, self.shift))
        return RulerStruct.of(numbers, {"step": step, "shift": shift, "most": most})

    def take(self, rows: Integers) -> "EqualCells":
        """The ruler of these rows."""
        return EqualCells(self.step[rows], self.shift[rows], None if self.most is None else self.most[rows], self.top)


@dataclass(frozen=True)
class FallingCells:
    """Distances in cells of pt, below the cell `before` of each row: fine cells are distances of their places."""

    places: Integers
    before: Cells

    def fine(self, cells: Cells) -> Integers:
        """The fine cell at which the cell of each row begins."""
        return np.asarray(self.places.take(self.before) - self.places.take(self.before - cells))

    def start(self, edges: Integers) -> Integers:
        """The first cell of each row that begins at this fine cell or above."""
        farthest = self.places.take(self.before) - edges
        return np.asarray(self.before + 1 - np.searchsorted(self.places, farthest, side="right"))

    @property
    def struct(self) -> RulerStruct:
        """The same for a compiled coder."""
        places, before = np.ascontiguousarray(self.places, np.int64), np.ascontiguousarray(self.before, np.int32)
        return RulerStruct.of({"falling": True, "size": len(places)}, {"places": places, "before": before})

    def take(self, rows: Integers) -> "FallingCells":
        """The ruler of these rows."""
        return FallingCells(self.places, self.before[rows])
