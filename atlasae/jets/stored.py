"""Conversion of a collection's stored columns to the rows that a codec encodes, and back."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.files.events import halved
from atlasae.jets.collections import MEV_PER_UNIT, Collection, Rounding
from atlasae.jets.coordinates import (
    DRIFT,
    LARGEST_ETA,
    LARGEST_PHI,
    LARGEST_TURN,
    MASS_FLOOR,
    Bools,
    Floats,
    by_column,
    inner,
)  # fmt: skip
from atlasae.jets.layouts import Layout
from atlasae.jets.padding import Padding, Stored
from atlasae.jets.precision import is_exact, room_of, steps
from atlasae.jets.rounding import rounded, rounded_phi
from atlasae.jets.variables import JET, WHOLE, VariableList
from atlasae.native.library import JetColumns

BLOCK = 16_384  # rows that are processed at once, so that memory does not grow with the chunk
_SAMPLE = 20_000  # rows in which padding is searched for
_DIGITS = 5  # of the largest error
_PASSED = ["pt", "eta", "phi", "m"], ["pt", "eta", "phi", "E"]  # variables that compiled passes take
LARGEST_WHOLE = 2.0**53  # float64 holds all integers below


@dataclass(frozen=True)
class Storage:
    """How a collection stores its rows: variables, their dtypes, MeV per unit, and the roundings of the input.

    Values of the `halves` are rounded to float16 where they come back, after all else.

    A row is a jet (pt, eta, phi, m in MeV) for any stored layout, or the variables of a list in their stored units.
    """

    layout: Layout | VariableList
    dtypes: tuple[np.dtype[Any], ...]
    scale: float = 1.0
    roundings: Mapping[str, Rounding] = field(default_factory=dict)
    halves: tuple[str, ...] = ()

    @property
    def variables(self) -> VariableList:
        """The variables of a row."""
        return self.layout.rows

    def to_values(self, columns: Stored) -> Floats:
        """Values (n x variables, float64, momenta in MeV) of stored columns."""
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN, or GeV that overflow in MeV
            return by_column([c.astype(np.float64) * u for c, u in zip(columns, self._units(), strict=True)])

    def to_columns(self, values: Floats) -> list[npt.NDArray[Any]]:
        """Columns of values, rounded, in their own dtypes and units; the inverse of `to_values`."""
        with np.errstate(over="ignore", invalid="ignore"):
            columns = [column / unit for column, unit in zip(values.T, self._units(), strict=True)]
            for variable, rounding in self.roundings.items():
                place = self.layout.names.index(variable)
                columns[place] = self._rounded(variable, columns[place], rounding)
            return [
                (np.rint(column) if dtype.kind in "iu" else column).astype(dtype)
                for column, dtype in zip(columns, self.dtypes, strict=True)
            ]

    def _rounded(self, variable: str, column: Floats, rounding: Rounding) -> Floats:
        if variable == "phi":
            return rounded_phi(column, rounding, self.layout.full_turn)
        return rounded(column, rounding)

    def to_rows(self, values: Floats) -> Floats:
        """The rows that a codec encodes, from values."""
        return self.layout.to_rows(values)

    def from_rows(self, rows: Floats) -> Floats:
        """Values of decoded rows; the inverse of `to_rows`."""
        return self.layout.from_rows(rows, self.dtypes, self.scale)

    def rows(self, columns: Stored) -> Floats:
        """The rows of stored columns."""
        return self.to_rows(self.to_values(columns))

    def usable(self, rows: Floats) -> Bools:
        """Whether each row may be stored by its coordinates; stored integers must be below 2^53, exact in float64."""
        whole = [dtype.kind in "iu" for dtype in self.dtypes[: rows.shape[1]]]
        return self.layout.usable(rows) & np.asarray(np.abs(rows[:, whole]) < LARGEST_WHOLE).all(axis=1)

    def usable_rows(self, columns: Stored) -> Floats:
        """The rows of stored columns that may be stored by their coordinates."""
        rows = self.rows(columns)
        return rows[self.usable(rows)]

    def is_jet(self, columns: Stored) -> Bools:
        """Whether each row of stored columns is a jet and not padding: usable, and with E >= 0 if E is stored."""
        found = (self._is_jet([column[block] for column in columns]) for block in blocks(len(columns[0])))
        return np.concatenate([*found])

    def _is_jet(self, columns: Stored) -> Bools:
        values = self.to_values(columns)
        found = self.usable(self.to_rows(values))
        return found & (values[:, 3] >= 0) if self.layout.has_energy else found

    def padding(self, columns: Stored) -> Padding:
        """The padding of stored columns, found in a random sample of rows."""
        n = len(columns[0])
        some = np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False)  # padding follows an event's jets
        rows = [column[some] for column in columns]
        other = ~self.is_jet(rows)
        return Padding.of_sample([row[other] for row in rows])

    def kept(self, bounds: Mapping[str, float], drift: float = DRIFT) -> dict[str, float]:
        """The bounds to keep at compression (`inner`), so that the promised ones hold in other arithmetic.

        Errors of variables stored as integers are integers: their bounds are kept without a margin.
        """
        stored = zip(self.layout.names, self.dtypes, strict=True)
        whole = {name for name, dtype in stored if dtype.kind != "f"}
        return {
            variable: bound if variable in whole else inner(bound, drift / self.layout.least(variable))
            for variable, bound in bounds.items()
        }

    def steps(self, bounds: Mapping[str, float], columns: Stored, drift: float = DRIFT) -> list[float]:
        """The steps of the coordinates that keep these bounds for rows like those in `columns`."""
        return steps(bounds, self.layout, self.rounding, drift, self.rooms(bounds, columns, drift))

    def rooms(self, bounds: Mapping[str, float], columns: Stored, drift: float) -> dict[str, float]:
        """The largest errors of rounded variables with which jets like those in `columns` keep their bounds."""
        jets = [column[self.is_jet(columns)] for column in columns] if self.roundings else columns
        stored, widths = dict(zip(self.layout.names, jets, strict=True)), self.widths(jets)
        kept = {v: inner(bounds[v], drift / self.layout.least(v)) for v in self.roundings}
        return {
            v: room_of(rounding, v, stored[v], self.scale, kept[v], widths.get(v))
            for v, rounding in self.roundings.items()
        }

    def widths(self, columns: Stored) -> dict[str, Floats]:
        """The resolution of each jet, by variable, if bounds are in units of it and variables may be rounded."""
        if not self.roundings and self.layout.names != self.variables.names:
            return {}
        with np.errstate(all="ignore"):
            pt = columns[0].astype(np.float64) * self.scale
            return {v: found.of(pt) for v, found in self.layout.resolutions.items()}

    def continuous(self, bounds: Mapping[str, float], columns: Stored) -> list[bool]:
        """Whether each variable of a row has values at any distance; if not, it is decoded exactly.

        These are integers, categories, and numbers rounded so that neighbours are further apart than two bounds.
        """
        stored, widths = dict(zip(self.layout.names, columns, strict=True)), self.widths(columns)
        exact = {
            v
            for v, rounding in self.roundings.items()
            if is_exact(rounding, v, stored[v], self.scale, bounds[v], widths.get(v))
        }
        return [v.coordinate not in WHOLE and v.branch not in exact for v in self.variables.variables]

    def errors(self, values: Floats, decoded: Floats) -> dict[str, Floats]:
        """The error of every row in each promised variable."""
        return self.layout.errors(values, decoded, self.rounding)

    def errors_of(self, values: Floats, rows: Floats) -> dict[str, Floats]:
        """The error of every decoded row, after rounding to the stored dtypes, against the original values."""
        return self.errors(values, self.to_values(self._halved(self.to_columns(self.from_rows(rows)))))

    def _halved(self, columns: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        return [
            halved(column).astype(column.dtype) if name in self.halves else column
            for name, column in zip(self.layout.names, columns, strict=True)
        ]

    def worst_errors(self, values: Floats, rows: Floats, found: dict[str, Floats], drift: float) -> dict[str, Floats]:
        """The largest of the errors `found` and of those of rows that are decoded `drift` higher or lower.

        A value close to the middle between two numbers of its rounding may be rounded to either.
        """
        if not self.roundings:
            return found
        others = [self.errors_of(values, self.variables.moved(rows, sign * drift)) for sign in (-1, 1)]
        return {v: np.max([error, *(other[v] for other in others)], axis=0) for v, error in found.items()}

    @property
    def floors(self) -> dict[str, float]:
        """The floor of each variable in stored units: below it, the error is relative to the floor."""
        return {v.branch: v.scale / self.scale for v in self.variables.variables if v.coordinate == "asinh"}

    @property
    def rounding(self) -> float:
        """The largest relative error of rounding to the stored dtypes."""
        return max((float(np.finfo(dtype).eps) for dtype in self.dtypes if dtype.kind == "f"), default=0.0) / 2

    @property
    def compiled(self) -> JetColumns | None:
        """The same storage for compiled passes; None where it needs NumPy's."""
        if self.layout.names not in _PASSED or self.variables != JET or self.roundings or self.layout.resolutions:
            return None
        limits = (MASS_FLOOR, LARGEST_ETA, LARGEST_PHI, LARGEST_TURN if self.layout.full_turn else 0.0)
        return JetColumns(self.dtypes, self.scale, *limits, self.layout.has_energy, self.rounding)

    def _units(self) -> list[float]:
        return [1.0 if variable in {"eta", "phi"} else self.scale for variable in self.layout.names]


ROWS = Storage(Layout(("pt", "eta", "phi", "m")), (np.dtype(np.float64),) * 4)  # whose columns are those of rows


def largest_of(errors: Mapping[str, Floats], same: Bools, promised: Iterable[str]) -> dict[str, float]:
    """The largest error of each promised variable, of the rows that are not the `same` bit for bit."""
    return {v: float(errors[v][~same].max(initial=0.0)) for v in promised if v in errors}


def rounded_up_to(largest: Mapping[str, float], bounds: Mapping[str, float | None]) -> dict[str, float]:
    """The largest errors as they are recorded and reported: of few digits, but not beyond their bounds."""
    return {variable: rounded_up(error, bounds.get(variable)) for variable, error in largest.items()}


def rounded_up(error: float, bound: float | None) -> float:
    """An error of few digits, not below it and not beyond its bound."""
    if not 0 < error < math.inf:
        return error
    digits = _DIGITS - math.ceil(math.log10(error))
    rounded = float(f"{math.ceil(error * 10.0**digits)}e{-digits}")
    return max(error, rounded if bound is None else min(bound, rounded))


def storage_of(collection: Collection) -> Storage:
    """The storage of a collection of jets, or of a list of variables; raises ValueError for unknown units."""
    dtypes = tuple(np.dtype(collection.dtypes[variable]) for variable in collection.variables)
    if collection.terms is not None:
        return Storage(VariableList.from_json(collection.terms), dtypes)
    scale = MEV_PER_UNIT.get(collection.units or "")
    if scale is None:
        raise ValueError(f"units {collection.units!r} of '{collection.name}' are none of {', '.join(MEV_PER_UNIT)}")
    layout = Layout(collection.variables, collection.full_turn, collection.resolutions or {})
    return Storage(layout, dtypes, scale, collection.roundings or {}, collection.halves)


def blocks(n: int) -> list[slice]:
    """Slices of n rows with `BLOCK` rows each; one empty slice if n is 0."""
    return [slice(start, start + BLOCK) for start in range(0, max(n, 1), BLOCK)]
