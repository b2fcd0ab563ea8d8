"""Any list of variables of jets: each with its coordinate, its inverse, and what an error of it is."""

import math
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from atlasae.errors import UserError
from atlasae.jets.coordinates import Bools, Floats, from_symlog, inner, to_symlog, wrap

COORDINATES = ("log", "linear", "asinh", "angle", "integer", "categorical")
WHOLE = ("integer", "categorical")  # exact, or not at all
MOST_CATEGORIES = 256
_KEYS = {"branch", "coordinate", "precision", "scale"}
_OTHER_SIGN = math.ulp(0.0)  # the error of a whole number whose sign alone is another, or is not: -0.0 is not 0.0


@dataclass(frozen=True)
class Variable:
    """A branch, how it is encoded, and its largest error.

    The error is relative for log (positive numbers), absolute for linear and angle (radians, wrapped), relative to
    max(|x|, scale) for asinh; integer and categorical numbers come back as they were. Categories are few numbers in no
    order; which, is found in the data.
    """

    branch: str
    coordinate: str
    precision: float = 0.0
    scale: float = 1.0
    categories: tuple[float, ...] = ()

    def encode(self, x: Floats) -> Floats:
        """Numbers to coordinates."""
        match self.coordinate:
            case "log":
                return np.asarray(np.log(x))
            case "asinh":
                return to_symlog(x / self.scale)
            case "categorical":
                return np.searchsorted(self.categories, x).astype(np.float64)
        return x

    def decode(self, y: Floats) -> Floats:
        """Coordinates to numbers; the inverse of `encode`."""
        match self.coordinate:
            case "log":
                return np.asarray(np.exp(y))
            case "asinh":
                return from_symlog(y) * self.scale
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
                found &= np.abs(x) <= np.pi
            case "integer":
                found &= (np.abs(x) < 2**40) & (x == np.rint(x))
            case "categorical":
                found &= np.isin(x, self.categories)
            case "asinh":
                with np.errstate(over="ignore", invalid="ignore"):
                    found &= np.isfinite(x / self.scale)
        return found

    def error(self, before: Floats, after: Floats) -> Floats:
        """The error of each number, as the precision is meant."""
        with np.errstate(all="ignore"):
            match self.coordinate:
                case "log":
                    return np.abs(after / before - 1)
                case "angle":
                    return np.abs(wrap(after - before))
                case "asinh":
                    return np.abs(after - before) / np.maximum(np.abs(before), self.scale)
                case "integer" | "categorical":
                    return np.where(np.signbit(before) == np.signbit(after), np.abs(after - before), _OTHER_SIGN)
            return np.abs(after - before)

    def step(self, rounding: float) -> float:
        """The step of the coordinate whose half keeps the precision, rounding to the stored type included."""
        if self.coordinate in WHOLE:
            return 1.0
        kept = inner(self.precision)
        half = np.log1p(kept) if self.coordinate in ("log", "asinh") else kept
        return float(2 * max(half - 4 * rounding, half / 2))


@dataclass(frozen=True)
class VariableList:
    """Variables that are encoded together, in the order of the chain."""

    variables: tuple[Variable, ...]

    def to_coordinates(self, rows: Floats) -> Floats:
        """Rows (n x variables) to coordinates; all must be usable."""
        return np.stack([v.encode(x) for v, x in zip(self.variables, rows.T, strict=True)], axis=1)

    def from_coordinates(self, coordinates: Floats) -> Floats:
        """The inverse of `to_coordinates`."""
        return np.stack([v.decode(y) for v, y in zip(self.variables, coordinates.T, strict=True)], axis=1)

    def usable(self, rows: Floats) -> Bools:
        """Whether all numbers of each row have coordinates."""
        return np.asarray(np.all([v.usable(x) for v, x in zip(self.variables, rows.T, strict=True)], axis=0))

    def errors(self, before: Floats, after: Floats) -> dict[str, Floats]:
        """The error of every number, by branch."""
        columns = zip(self.variables, before.T, after.T, strict=True)
        return {v.branch: v.error(x, y) for v, x, y in columns}

    def with_categories(self, rows: Floats) -> "VariableList":
        """The same list, with the categories that a sample (n x variables) holds; raises UserError for too many."""
        known = []
        for variable, x in zip(self.variables, rows.T, strict=True):
            found = np.unique(x[np.isfinite(x)]) if variable.coordinate == "categorical" else np.empty(0)
            if len(found) > MOST_CATEGORIES:
                raise UserError(f"'{variable.branch}' has {len(found)} categories: more than {MOST_CATEGORIES}")
            known.append(replace(variable, categories=tuple(found.tolist())))
        return VariableList(tuple(known))

    @property
    def names(self) -> list[str]:
        """The branches, in the order of the chain."""
        return [variable.branch for variable in self.variables]

    @property
    def bounds(self) -> dict[str, float]:
        """The precision of every branch."""
        return {v.branch: v.precision for v in self.variables}

    def to_json(self) -> list[dict[str, Any]]:
        """Plain JSON, for `from_json`."""
        return [asdict(variable) for variable in self.variables]

    @classmethod
    def from_json(cls, facts: list[dict[str, Any]]) -> "VariableList":
        """Read what `to_json` made; raises ValueError for anything else."""
        return cls(msgspec.convert(facts, tuple[Variable, ...]))


def read_variables(path: Path) -> VariableList:
    """Read a list of variables: `[[variable]]` tables in TOML with branch, coordinate, precision, scale.

    Raises UserError for what makes no sense.
    """
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


def _variable(table: dict[str, Any], path: Path) -> Variable:
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
            raise UserError(f"{where}: {coordinate} numbers come back as they were: leave precision out")
    elif coordinate == "linear":  # in whatever units: 100 may be fine, and 1e-9, too
        if not 0 < precision < math.inf:
            raise UserError(f"{where}: precision {precision} is no positive number: give it in the branch's units")
    elif not 1e-7 <= precision < 1:
        raise UserError(f"{where}: precision {precision} is not between 1e-7 and 1")
