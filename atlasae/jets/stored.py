"""How a collection keeps its numbers: stored columns to the rows that a codec encodes, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from atlasae.jets.collections import MEV_PER_UNIT, Collection, Rounding
from atlasae.jets.coordinates import DRIFT, MASS_FLOOR, Bools, Floats, Layout, inner, is_physical, moved
from atlasae.jets.padding import Padding
from atlasae.jets.precision import errors, room_of, steps
from atlasae.jets.rounding import rounded, rounded_phi
from atlasae.jets.variables import VariableList

Latents = npt.NDArray[np.float32]

BLOCK = 16_384  # jets worked on at once, so that memory does not grow with the chunk
SAMPLE = 20_000  # rows that padding is looked for in
LARGEST_WHOLE = 2.0**53  # float64 holds all whole numbers below


class Decoder(Protocol):
    """What turns latents back into rows: jets, or the variables of a list."""

    @property
    def padding(self) -> Padding:
        """The rows that some latents stand for."""
        ...

    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into rows."""
        ...


class Restoring:
    """What every storage does alike: decode block by block."""

    def to_columns(self, values: Floats) -> list[npt.NDArray[np.generic]]:
        """Values to columns in their own dtypes and units."""
        raise NotImplementedError

    def from_rows(self, rows: Floats) -> Floats:
        """What a codec decoded to stored values."""
        raise NotImplementedError

    def is_jet(self, columns: Sequence[npt.NDArray[np.generic]]) -> Bools:
        """Whether each row of stored columns may be more than padding."""
        raise NotImplementedError

    def padding(self, columns: Sequence[npt.NDArray[np.generic]]) -> Padding:
        """What stands in stored columns where there is no jet."""
        some = np.random.default_rng(0).permutation(len(columns[0]))[:SAMPLE]  # of all places in an event
        rows = [column[some] for column in columns]
        other = ~self.is_jet(rows)
        return Padding.of_sample([row[other] for row in rows])

    def kept(self, bounds: dict[str, float]) -> dict[str, float]:
        """The bounds to keep here, so that the promised ones hold wherever jets are decoded."""
        return {variable: inner(bound) for variable, bound in bounds.items()}

    def to_values(self, columns: Sequence[npt.NDArray[np.generic]]) -> Floats:
        """Stored columns to values."""
        raise NotImplementedError

    def errors(self, values: Floats, decoded: Floats) -> dict[str, Floats]:
        """The error of every row in each promised variable."""
        raise NotImplementedError

    def errors_of(self, values: Floats, rows: Floats) -> dict[str, Floats]:
        """The error of every row that a codec decoded, once it is stored, against the values it was."""
        return self.errors(values, self.to_values(self.to_columns(self.from_rows(rows))))

    def worst_errors(self, values: Floats, rows: Floats, found: dict[str, Floats], drift: float) -> dict[str, Floats]:
        """The errors that rows decoded `drift` off may have more than `found`, beside the drift itself."""
        return found

    def restore(self, codec: Decoder, latents: Latents) -> list[npt.NDArray[np.generic]]:
        """Decode latents into the columns that a reader of the decompressed file will see."""
        latents, codes = codec.padding.unmark(latents)
        parts = [self.to_columns(self.from_rows(codec.decode(latents[block]))) for block in blocks(len(latents))]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        codec.padding.fill(columns, codes)
        return columns


@dataclass(frozen=True)
class Storage(Restoring):
    """How a collection keeps its numbers: layout, dtype of each variable, MeV per unit, and what it has rounded."""

    layout: Layout
    dtypes: tuple[np.dtype[np.floating], ...]
    scale: float
    roundings: Mapping[str, Rounding] = field(default_factory=dict)

    def to_values(self, columns: Sequence[npt.NDArray[np.generic]]) -> Floats:
        """Stored columns to float64 values in MeV (n x 4)."""
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN, or GeV that overflow in MeV
            return np.column_stack([c.astype(np.float64) * u for c, u in zip(columns, self._units(), strict=True)])

    def to_columns(self, values: Floats) -> list[npt.NDArray[np.generic]]:
        """Values in MeV to columns in their own dtypes and units; the inverse of `to_values`."""
        with np.errstate(over="ignore"):
            columns = [column / unit for column, unit in zip(values.T, self._units(), strict=True)]
            for place, variable in enumerate(self.layout.variables):
                if rounding := self.roundings.get(variable):
                    to = rounded_phi if variable == "phi" else rounded
                    columns[place] = to(columns[place], rounding)
            return [column.astype(dtype) for column, dtype in zip(columns, self.dtypes, strict=True)]

    def steps(
        self, bounds: dict[str, float], columns: Sequence[npt.NDArray[np.generic]], drift: float = DRIFT
    ) -> list[float]:
        """The steps (log pt, eta, phi, mu) that keep these bounds, of jets like those in `columns`."""
        jets = self.is_jet(columns) if self.roundings else np.empty(0, bool)
        stored = dict(zip(self.layout.variables, columns, strict=True))
        rooms = {
            v: room_of(rounding, v, stored[v][jets], self.scale, inner(bounds[v], drift))
            for v, rounding in self.roundings.items()
        }
        return steps(bounds, self.layout, self.dtypes, drift, rooms)

    def is_jet(self, columns: Sequence[npt.NDArray[np.generic]]) -> Bools:
        """Whether each jet of stored columns has coordinates, and no E or m below zero."""
        values = self.to_values(columns)
        return self.usable(self.to_rows(values)) & (values[:, 3] >= 0)

    def usable_jets(self, columns: Sequence[npt.NDArray[np.generic]]) -> Floats:
        """The jets (n x 4) of stored columns that have coordinates."""
        jets = self.to_rows(self.to_values(columns))
        return jets[self.usable(jets)]

    def to_rows(self, values: Floats) -> Floats:
        """Stored values to what a codec encodes: jets (n x 4: pt, eta, phi, m)."""
        return self.layout.to_jets(values)

    def from_rows(self, jets: Floats) -> Floats:
        """What a codec decoded to stored values; the inverse of `to_rows`."""
        return self.layout.from_jets(jets, self.dtypes, self.scale)

    def usable(self, jets: Floats) -> Bools:
        """Whether each jet may be stored by its coordinates; others, stored negative masses too, come back bit for bit.

        With E the sign of m is no more than the rounding of E: there it may.
        """
        return is_physical(jets) & (self.layout.has_energy | (jets[:, 3] >= 0))

    def errors(self, values: Floats, decoded: Floats) -> dict[str, Floats]:
        """The error of every jet in each promised variable."""
        return errors(self.layout, values, decoded, self.rounding)

    def worst_errors(self, values: Floats, rows: Floats, found: dict[str, Floats], drift: float) -> dict[str, Floats]:
        """The same: a jet halfway between two numbers may be rounded to either."""
        if not self.roundings:
            return found
        others = [self.errors_of(values, moved(rows, sign * drift)) for sign in (-1, 1)]
        return {v: np.max([error, *(other[v] for other in others)], axis=0) for v, error in found.items()}

    @property
    def floors(self) -> dict[str, float]:
        """Below which size, in stored units, the error of a variable is relative to this."""
        return {"m": MASS_FLOOR / self.scale}

    @property
    def rounding(self) -> float:
        """Largest relative error of rounding to the stored dtypes."""
        return max(float(np.finfo(dtype).eps) for dtype in self.dtypes) / 2

    def _units(self) -> list[float]:
        angles = {"eta", "phi"}
        return [1.0 if variable in angles else self.scale for variable in self.layout.variables]


@dataclass(frozen=True)
class ListStorage(Restoring):
    """How a list of variables keeps its numbers: each in its own dtype, in whatever units."""

    variables: VariableList
    dtypes: tuple[np.dtype[Any], ...]

    def to_values(self, columns: Sequence[npt.NDArray[np.generic]]) -> Floats:
        """Stored columns to float64 values (n x variables)."""
        with np.errstate(invalid="ignore"):
            return np.column_stack([column.astype(np.float64) for column in columns])

    def to_columns(self, values: Floats) -> list[npt.NDArray[np.generic]]:
        """Values to columns in their own dtypes; the inverse of `to_values`."""
        with np.errstate(over="ignore", invalid="ignore"):
            return [
                (np.rint(column) if dtype.kind in "iu" else column).astype(dtype)
                for column, dtype in zip(values.T, self.dtypes, strict=True)
            ]

    def is_jet(self, columns: Sequence[npt.NDArray[np.generic]]) -> Bools:
        """Whether each row of stored columns has coordinates."""
        return self.usable(self.to_values(columns))

    def to_rows(self, values: Floats) -> Floats:
        """Rows are stored values."""
        return values

    def from_rows(self, rows: Floats) -> Floats:
        """Stored values are rows."""
        return rows

    def usable(self, rows: Floats) -> Bools:
        """Whether each row has coordinates, and is in float64 what is stored."""
        whole = [dtype.kind in "iu" for dtype in self.dtypes]
        return self.variables.usable(rows) & np.asarray(np.abs(rows[:, whole]) < LARGEST_WHOLE).all(axis=1)

    def kept(self, bounds: dict[str, float]) -> dict[str, float]:
        """The bounds to keep here; what is rounded to whole numbers is off by a whole number, the bound itself too."""
        types = zip(bounds.items(), self.dtypes, strict=True)
        return {variable: inner(bound) if dtype.kind == "f" else bound for (variable, bound), dtype in types}

    def errors(self, values: Floats, decoded: Floats) -> dict[str, Floats]:
        """The error of every row in each variable."""
        return self.variables.errors(values, decoded)

    @property
    def floors(self) -> dict[str, float]:
        """Below which size the error of a variable is relative to this."""
        return {v.branch: v.scale for v in self.variables.variables if v.coordinate == "asinh"}

    @property
    def rounding(self) -> float:
        """Largest relative error of rounding to the stored dtypes."""
        return max((float(np.finfo(dtype).eps) for dtype in self.dtypes if dtype.kind == "f"), default=0.0) / 2


def storage_of(collection: Collection) -> Storage:
    """How a collection of jets with settled units keeps its numbers."""
    assert collection.units is not None
    dtypes = tuple(np.dtype(collection.dtypes[variable]) for variable in collection.variables)
    return Storage(Layout(collection.variables), dtypes, MEV_PER_UNIT[collection.units], collection.roundings or {})


def list_storage_of(collection: Collection) -> ListStorage:
    """How a list of variables keeps its numbers."""
    dtypes = tuple(np.dtype(collection.dtypes[variable]) for variable in collection.variables)
    return ListStorage(VariableList.from_json(collection.terms or []), dtypes)


def any_storage_of(collection: Collection) -> Storage | ListStorage:
    """How a collection keeps its numbers, be they jets or a list of variables."""
    return storage_of(collection) if collection.terms is None else list_storage_of(collection)


def blocks(n: int) -> list[slice]:
    """The rows of n jets, some at a time."""
    return [slice(start, start + BLOCK) for start in range(0, max(n, 1), BLOCK)]
