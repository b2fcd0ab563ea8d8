"""Lists of variables: the coordinate of each, its inverse, and its error. Jets are the list `JET`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from atlasae.errors import UserError
from atlasae.jets.collections import Term
from atlasae.jets.coordinates import (
    LARGEST_ETA,
    LARGEST_PHI,
    MASS_FLOOR,
    Bools,
    Floats,
    by_column,
    from_full_turn,
    from_symlog,
    spans_full_turn,
    to_full_turn,
    to_symlog,
    wrap,
)  # fmt: skip
from atlasae.jets.resolution import Resolutions

COORDINATES = ("log", "linear", "asinh", "angle", "integer", "categorical")
WHOLE = ("integer", "categorical")  # decoded exactly, or kept as exact jets
MOST_CATEGORIES = 256
_KEYS = {"branch", "coordinate", "precision", "scale"}
_OTHER_SIGN = math.ulp(0.0)  # error of an integer whose sign differs, such as -0.0 for 0.0: the smallest above 0


@dataclass(frozen=True)
class Variable:
    """A branch, its coordinate, and its largest error.

    The error is relative for log (positive numbers), absolute for linear and angle (radians, wrapped), and relative to
    max(|x|, scale) for asinh; integer and categorical numbers are decoded exactly. Categories are a few different
    numbers, found in the data, as is whether an angle is in [0, 2 pi) instead of [-pi, pi) (`full_turn`). Other numbers
    of whole jets, which are no list to encode, are `exact`, `linear`, or `relative` (as log, of either sign).
    """

    branch: str
    coordinate: str
    precision: float = 0.0
    scale: float = 1.0
    categories: tuple[float, ...] = ()
    full_turn: bool = False

    def encode(self, x: Floats) -> Floats:
        """The coordinates of numbers."""
        match self.coordinate:
            case "log":
                return np.asarray(np.log(x))
            case "asinh":
                return to_symlog(x / self.scale)
            case "angle" if self.full_turn:
                return from_full_turn(x)
            case "categorical":
                return np.searchsorted(self.categories, x).astype(np.float64)
        return x

    def decode(self, y: Floats) -> Floats:
        """The numbers of coordinates; the inverse of `encode`."""
        match self.coordinate:
            case "log":
                return np.asarray(np.exp(y))
            case "asinh":
                return from_symlog(y) * self.scale
            case "angle" if self.full_turn:
                return to_full_turn(y)
            case "integer":
                return np.asarray(np.rint(y))
            case "categorical":
                place = np.clip(np.rint(y), 0, len(self.categories) - 1).astype(int)
                return np.asarray(np.array(self.categories, np.float64)[place])
        return y

    def usable(self, x: Floats) -> Bools:
        """Whether each number has a coordinate."""
        found = np.isfinite(x)
        match self.coordinate:
            case "log":
                found &= x > 0
            case "angle":
                found &= np.isfinite(from_full_turn(x)) if self.full_turn else np.abs(x) <= np.pi
            case "integer":
                found &= (np.abs(x) < 2**40) & (x == np.rint(x))
            case "categorical":
                found &= np.isin(x, self.categories)
            case "asinh":
                with np.errstate(over="ignore", invalid="ignore"):
                    found &= np.isfinite(x / self.scale)
        return found

    def unit(self, x: Floats) -> Floats:
        """The change of each number that is an error of 1."""
        match self.coordinate:
            case "log":
                return x
            case "asinh":
                return np.maximum(np.abs(x), self.scale)
        return np.ones(len(x))

    def residual(self, before: Floats, after: Floats) -> Floats:
        """The signed error of each number, relative or absolute as its precision."""
        with np.errstate(all="ignore"):
            match self.coordinate:
                case "log" | "relative":
                    return np.asarray(after / before - 1)
                case "angle":
                    return wrap(after - before)
                case "asinh":
                    return np.asarray((after - before) / self.unit(before))
            return np.asarray(after - before)

    def error(self, before: Floats, after: Floats) -> Floats:
        """The absolute residual of each number; of integers, `_OTHER_SIGN` if only the sign of 0 may differ."""
        found = np.abs(self.residual(before, after))
        if self.coordinate in WHOLE:
            return np.where(np.signbit(before) == np.signbit(after), found, _OTHER_SIGN)
        return np.asarray(found)

    def step(self, largest: float, rounding: float | np.float32) -> float:
        """The step of the coordinate: half of it is an error of `largest`, less the relative error `rounding`."""
        if self.coordinate in WHOLE:
            return 1.0
        half = np.log1p(largest) if self.coordinate in ("log", "asinh") else largest
        return float(2 * max(half - rounding, half / 2))


@dataclass(frozen=True)
class VariableList:
    """Variables that are encoded together, in the order of the chain, and stored without conversion.

    Steps are smaller than bounds allow by `roundings` times the relative error of rounding to the stored type.
    """

    variables: tuple[Variable, ...]
    roundings: ClassVar[int] = 4
    has_energy: ClassVar[bool] = False
    has_signed_mass: ClassVar[bool] = False
    resolutions: ClassVar[Resolutions] = {}  # of none, as bounds are in the list
    full_turn: ClassVar[bool] = False  # of jets it is their layout that tells
    example: ClassVar[Sequence[float] | None] = None  # a row that any model of these variables can encode

    def to_coordinates(self, rows: Floats) -> Floats:
        """The coordinates of rows (n x variables), which must be usable."""
        return by_column([v.encode(x) for v, x in zip(self.variables, rows.T, strict=True)])

    def from_coordinates(self, coordinates: Floats) -> Floats:
        """The inverse of `to_coordinates`."""
        return by_column([v.decode(y) for v, y in zip(self.variables, coordinates.T, strict=True)])

    def usable(self, rows: Floats) -> Bools:
        """Whether all numbers of each row have coordinates."""
        return np.asarray(np.all([v.usable(x) for v, x in zip(self.variables, rows.T, strict=True)], axis=0))

    def errors(self, before: Floats, after: Floats, rounding: float = 0.0) -> dict[str, Floats]:
        """The error of every number, by branch; `rounding` has no effect, since no variable is derived from others."""
        columns = zip(self.variables, before.T, after.T, strict=True)
        return {v.branch: v.error(x, y) for v, x, y in columns}

    def residuals(self, before: Floats, after: Floats) -> dict[str, Floats]:
        """The residual of every number, by branch."""
        columns = zip(self.variables, before.T, after.T, strict=True)
        return {v.branch: v.residual(x, y) for v, x, y in columns}

    def moved(self, rows: Floats, drift: float) -> Floats:
        """Rows in which every number has an error of `drift`, as decoding in other arithmetic may give."""
        return by_column([x + drift * v.unit(x) for v, x in zip(self.variables, rows.T, strict=True)])

    def steps(self, largest: Mapping[str, float], rounding: float | np.float32) -> list[float]:
        """The step of each coordinate: half of it is the largest error, less rounding to the stored types."""
        return [v.step(largest[v.branch], self.roundings * rounding) for v in self.variables]

    @property
    def rows(self) -> "VariableList":
        """The variables of rows: this list."""
        return self

    def to_rows(self, values: Floats) -> Floats:
        """The rows of stored values: the same numbers."""
        return values

    def from_rows(self, rows: Floats, dtypes: Sequence[np.dtype[Any]], scale: float) -> Floats:
        """The stored values of rows: the same numbers for any dtypes and scale."""
        return rows

    def least(self, variable: str) -> float:
        """The smallest error that counts as 1."""
        return 1.0

    def shared(self, largest: dict[str, float]) -> dict[str, float]:
        """The largest error of each variable of a row, from the bounds of the stored variables: the same numbers."""
        return largest

    def settled(self, rows: Floats) -> "VariableList":
        """The list with the categories and the ranges of angles of a sample (n x variables).

        Raises UserError for a variable with over 256 categories.
        """
        known = []
        for variable, x in zip(self.variables, rows.T, strict=True):
            found = np.unique(x[np.isfinite(x)]) if variable.coordinate == "categorical" else np.empty(0)
            if len(found) > MOST_CATEGORIES:
                raise UserError(f"'{variable.branch}' has {len(found)} categories: more than {MOST_CATEGORIES}")
            turned = variable.coordinate == "angle" and spans_full_turn(x)
            known.append(replace(variable, categories=tuple(found.tolist()), full_turn=turned))
        return VariableList(tuple(known))

    @property
    def names(self) -> list[str]:
        """The branches, in the order of the chain."""
        return [variable.branch for variable in self.variables]

    @property
    def bounds(self) -> dict[str, float]:
        """The precision of every branch."""
        return {v.branch: v.precision for v in self.variables}

    def to_json(self) -> list[Term]:
        """The list as plain JSON, for `from_json`."""
        return [_told(variable) for variable in self.variables]

    @classmethod
    def from_json(cls, facts: Sequence[Term]) -> "VariableList":
        """The list from JSON of `to_json`; raises ValueError for anything else."""
        return cls(msgspec.convert(facts, tuple[Variable, ...]))


@dataclass(frozen=True)
class FourMomentum(VariableList):
    """pt, eta, phi and m (MeV) of a jet, which may be derived from other stored variables (`Layout`).

    A step of a coordinate (log pt, eta, phi, mu) is the same error at any value: of m, one relative to
    max(|m|, 100 MeV). Jets have coordinates if |eta| <= 10. Decoded |phi| is at most the largest float32 below pi.
    """

    variables: tuple[Variable, ...] = (
        Variable("pt", "log"),
        Variable("eta", "linear"),
        Variable("phi", "angle"),
        Variable("m", "asinh", scale=MASS_FLOOR),
    )
    roundings: ClassVar[int] = 8  # twice that of a list, since pt and phi may be derived from px and py, m from E and p
    example: ClassVar[Sequence[float] | None] = (50_000.0, 0.0, 0.0, 5_000.0)

    def steps(self, largest: Mapping[str, float], rounding: float | np.float32) -> list[float]:
        """The steps; for stored float32, those of eta and phi are computed in float32, as in all existing files."""
        single = rounding >= np.finfo(np.float32).eps / 2
        return super().steps(largest, np.float32(rounding) if single else rounding)

    def from_coordinates(self, coordinates: Floats) -> Floats:
        """The jets of coordinates (n x 4), with |phi| below pi as float32 too."""
        jets = super().from_coordinates(coordinates)
        jets[:, 2].clip(-LARGEST_PHI, LARGEST_PHI, out=jets[:, 2])
        return jets

    def usable(self, rows: Floats) -> Bools:
        """Whether each jet has coordinates: finite, pt > 0, |eta| <= 10, |phi| <= pi."""
        return super().usable(rows) & (np.abs(rows[:, 1]) <= LARGEST_ETA)


JET = FourMomentum()


def read_variables(path: Path) -> VariableList:
    """The list of variables of a TOML file: `[[variable]]` tables with branch, coordinate, precision, scale.

    Raises UserError for a missing file, other settings, or values out of range.
    """
    import tomllib  # here, as few commands are given a list

    if not path.is_file():
        raise UserError(f"no list of variables '{path}': give a TOML file, such as scripts/recipes/extended.toml")
    try:
        facts = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is no TOML: {error}") from error
    tables = facts.pop("variable", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"'{path}': variable = {tables!r} is no list of tables: begin each with [[variable]]")
    if facts:
        raise UserError(f"'{path}': no setting '{next(iter(facts))}': a list has [[variable]] tables alone")
    variables = tuple(_variable(table, path) for table in tables)
    names = [variable.branch for variable in variables]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"'{path}' names {len(set(names))} different branches: give [[variable]] tables, two at least")
    return VariableList(variables)


def _told(variable: Variable) -> Term:
    """The facts of a variable, without `full_turn` where it is false: it was added to the format later."""
    facts: Term = asdict(variable)  # type: ignore[assignment]
    if not variable.full_turn:
        del facts["full_turn"]
    return facts


def _variable(table: Mapping[str, Any], path: Path) -> Variable:
    where = f"'{path}', variable '{table.get('branch')}'"
    if unknown := set(table) - _KEYS:
        raise UserError(f"{where}: no setting '{unknown.pop()}': there are {', '.join(sorted(_KEYS))}")
    if not isinstance(table.get("branch"), str) or table.get("coordinate") not in COORDINATES:
        raise UserError(f"{where}: needs a branch, and a coordinate of {', '.join(COORDINATES)}")
    precision, scale = table.get("precision", 0.0), table.get("scale", 1.0)
    if type(precision) not in (int, float) or type(scale) not in (int, float) or not 0 < scale < math.inf:
        raise UserError(f"{where}: precision {precision!r} and scale {scale!r} must be numbers, scale positive")
    _check_precision(table["coordinate"], precision, where)
    return Variable(table["branch"], table["coordinate"], float(precision), float(scale))


def _check_precision(coordinate: str, precision: float, where: str) -> None:
    if coordinate in WHOLE:
        if precision:
            raise UserError(f"{where}: {coordinate} numbers are decoded exactly: leave precision out")
    elif coordinate == "linear":  # in the units of the branch, so any positive number is possible
        if not 0 < precision < math.inf:
            raise UserError(f"{where}: precision {precision} is no positive number: give it in the branch's units")
    elif not 1e-7 <= precision < 1:
        raise UserError(f"{where}: precision {precision} is not between 1e-7 and 1")
