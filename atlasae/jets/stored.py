"""How a collection keeps its numbers: stored columns to the rows that a codec encodes, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.jets.collections import MEV_PER_UNIT, Collection, Rounding
from atlasae.jets.coordinates import DRIFT, Bools, Floats, inner
from atlasae.jets.layouts import Layout
from atlasae.jets.padding import Padding, Stored
from atlasae.jets.precision import room_of, steps
from atlasae.jets.rounding import rounded, rounded_phi
from atlasae.jets.variables import VariableList

BLOCK = 16_384  # rows worked on at once, so that memory does not grow with the chunk
SAMPLE = 20_000  # rows that padding is looked for in
LARGEST_WHOLE = 2.0**53  # float64 holds all whole numbers below


@dataclass(frozen=True)
class Storage:
    """How a collection keeps its rows: which variables are stored, dtype of each, MeV per unit, and what is rounded.

    A row is a jet (pt, eta, phi, m in MeV), whichever four variables are stored, or the variables of a list as they
    are stored, in whatever units.
    """

    layout: Layout | VariableList
    dtypes: tuple[np.dtype[Any], ...]
    scale: float = 1.0
    roundings: Mapping[str, Rounding] = field(default_factory=dict)

    @property
    def variables(self) -> VariableList:
        """The variables of a row."""
        return self.layout.rows

    def to_values(self, columns: Stored) -> Floats:
        """Stored columns to float64 values, momenta in MeV (n x variables)."""
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN, or GeV that overflow in MeV
            return np.column_stack([c.astype(np.float64) * u for c, u in zip(columns, self._units(), strict=True)])

    def to_columns(self, values: Floats) -> list[npt.NDArray[Any]]:
        """Values to columns in their own dtypes and units; the inverse of `to_values`."""
        with np.errstate(over="ignore", invalid="ignore"):
            columns = [column / unit for column, unit in zip(values.T, self._units(), strict=True)]
            for variable, rounding in self.roundings.items():
                place = self.layout.names.index(variable)
                columns[place] = (rounded_phi if variable == "phi" else rounded)(columns[place], rounding)
            return [
                (np.rint(column) if dtype.kind in "iu" else column).astype(dtype)
                for column, dtype in zip(columns, self.dtypes, strict=True)
            ]

    def to_rows(self, values: Floats) -> Floats:
        """Values to the rows that a codec encodes."""
        return self.layout.to_rows(values)

    def from_rows(self, rows: Floats) -> Floats:
        """Rows that a codec decoded to values; the inverse of `to_rows`."""
        return self.layout.from_rows(rows, self.dtypes, self.scale)

    def rows(self, columns: Stored) -> Floats:
        """The rows of stored columns."""
        return self.to_rows(self.to_values(columns))

    def usable(self, rows: Floats) -> Bools:
        """Whether each row may be stored by its coordinates, and is in float64 what is stored."""
        whole = [dtype.kind in "iu" for dtype in self.dtypes]
        return self.layout.usable(rows) & np.asarray(np.abs(rows[:, whole]) < LARGEST_WHOLE).all(axis=1)

    def usable_rows(self, columns: Stored) -> Floats:
        """The rows of stored columns that may be stored by their coordinates."""
        rows = self.rows(columns)
        return rows[self.usable(rows)]

    def is_jet(self, columns: Stored) -> Bools:
        """Whether each row of stored columns may be more than padding: is usable, with no E below zero."""
        values = self.to_values(columns)
        found = self.usable(self.to_rows(values))
        return found & (values[:, 3] >= 0) if self.layout.has_energy else found

    def padding(self, columns: Stored) -> Padding:
        """What stands in stored columns where there is no jet."""
        some = np.random.default_rng(0).permutation(len(columns[0]))[:SAMPLE]  # of all places in an event
        rows = [column[some] for column in columns]
        other = ~self.is_jet(rows)
        return Padding.of_sample([row[other] for row in rows])

    def kept(self, bounds: Mapping[str, float], drift: float = DRIFT) -> dict[str, float]:
        """The bounds to keep here, so that the promised ones hold wherever rows are decoded.

        What is stored as whole numbers is off by a whole number: there the bound itself is kept.
        """
        stored = zip(self.layout.names, self.dtypes, strict=True)
        whole = {name for name, dtype in stored if dtype.kind != "f"}
        return {variable: bound if variable in whole else inner(bound, drift) for variable, bound in bounds.items()}

    def steps(self, bounds: Mapping[str, float], columns: Stored, drift: float = DRIFT) -> list[float]:
        """The steps of the coordinates that keep these bounds, of rows like those in `columns`."""
        jets = self.is_jet(columns) if self.roundings else np.empty(0, bool)
        stored = dict(zip(self.layout.names, columns, strict=True))
        rooms = {
            v: room_of(rounding, v, stored[v][jets], self.scale, inner(bounds[v], drift))
            for v, rounding in self.roundings.items()
        }
        return steps(bounds, self.layout, self.rounding, drift, rooms)

    def errors(self, values: Floats, decoded: Floats) -> dict[str, Floats]:
        """The error of every row in each promised variable."""
        return self.layout.errors(values, decoded, self.rounding)

    def errors_of(self, values: Floats, rows: Floats) -> dict[str, Floats]:
        """The error of every row that a codec decoded, once it is stored, against the values it was."""
        return self.errors(values, self.to_values(self.to_columns(self.from_rows(rows))))

    def worst_errors(self, values: Floats, rows: Floats, found: dict[str, Floats], drift: float) -> dict[str, Floats]:
        """The errors that rows decoded `drift` off may have more than `found`, beside the drift itself.

        What is halfway between two numbers may be rounded to either.
        """
        if not self.roundings:
            return found
        others = [self.errors_of(values, self.variables.moved(rows, sign * drift)) for sign in (-1, 1)]
        return {v: np.max([error, *(other[v] for other in others)], axis=0) for v, error in found.items()}

    @property
    def floors(self) -> dict[str, float]:
        """Below which size, in stored units, the error of a variable is relative to this."""
        return {v.branch: v.scale / self.scale for v in self.variables.variables if v.coordinate == "asinh"}

    @property
    def rounding(self) -> float:
        """Largest relative error of rounding to the stored dtypes."""
        return max((float(np.finfo(dtype).eps) for dtype in self.dtypes if dtype.kind == "f"), default=0.0) / 2

    def _units(self) -> list[float]:
        return [1.0 if variable in {"eta", "phi"} else self.scale for variable in self.layout.names]


def storage_of(collection: Collection) -> Storage:
    """How a collection keeps its numbers: jets, whose units are settled, or a list of variables."""
    dtypes = tuple(np.dtype(collection.dtypes[variable]) for variable in collection.variables)
    if collection.terms is not None:
        return Storage(VariableList.from_json(collection.terms), dtypes)
    assert collection.units is not None
    return Storage(Layout(collection.variables), dtypes, MEV_PER_UNIT[collection.units], collection.roundings or {})


def blocks(n: int) -> list[slice]:
    """The slices of n rows, `BLOCK` at a time."""
    return [slice(start, start + BLOCK) for start in range(0, max(n, 1), BLOCK)]
