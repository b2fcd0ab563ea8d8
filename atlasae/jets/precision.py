"""Precision: the bound of each variable, and the steps of coordinates that keep it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import SupportsFloat

import numpy as np

from atlasae.errors import UserError
from atlasae.jets.collections import Rounding
from atlasae.jets.coordinates import DRIFT, MASS_FLOOR, Floats, inner
from atlasae.jets.kinds import Bound
from atlasae.jets.layouts import Layout
from atlasae.jets.resolution import DEFAULT, Resolutions, read_resolutions
from atlasae.jets.rounding import RARE, Column, find_rounding, finer, room, spacing
from atlasae.jets.variables import VariableList
from atlasae.report import SHARE_OF

FULL_BOUND = 1e-3  # of `full`, which uses every bit; the few jets in tails with larger errors are exact
FEWEST_PARTS, MOST_PARTS = 2.0, 200.0  # of a resolution
SMALLEST = 1e-7  # bound; float32 has a resolution of 1.2e-7
ROOM = 0.6  # share of the bound that rounding must leave to the codec; else decoded values get one more bit
RESOLVED_ROOM = 0.95  # the same of bounds by resolution, where zeros behind are worth less than the steps they cost
_LEAST = 1e-280  # of a unit: steps between smaller numbers would be 0 in float64
_WIDEST = 0.1  # largest error of a codec before rounding, for inputs of any coarseness
_USUAL, _EXACTLY, _ABSOLUTE = "1e-3", "exact", "abs:"
PROMISED = ("pt", "eta", "phi", "m", "E")


@dataclass(frozen=True)
class Precision:
    """The largest error of each variable: relative for pt, m and E, absolute for eta and phi.

    That of m is relative to max(|m|, 100 MeV). `full` is the best that three floats can do, `none` has no bounds. The
    bounds of variables in `resolutions` are in units of the detector's resolution at the pt of the jet. `columns` are
    the bounds of other numbers of jets by the names of their branches, or globs (None: exact).

    >>> atlasae.Precision.parse("pt=1e-3,eta=1e-3,phi=1e-3,m=1e-2").bounds["m"]
    0.01
    """

    bounds: dict[str, float]
    full: bool = False
    everywhere: bool = True  # one number for all variables, not one for each
    resolutions: Resolutions = field(default_factory=dict)
    columns: tuple[tuple[str, Bound | None], ...] = ()

    @classmethod
    def parse(cls, text: str, resolution: str = DEFAULT) -> "Precision":
        """Read `1e-3`, `resolution/20`, `pt=1e-3,eta=1e-3,phi=1e-3,m=1e-2`, `full` or `none`; raises UserError.

        `resolution` names the experiment, and other terms than its own (`read_resolutions`). Any of these may be
        followed by other numbers of jets, as in `1e-3,Jet_btag*=abs:1e-3,*=exact`.
        """
        parts = [part.strip() for part in text.split(",")]
        others = [part for part in parts if _names_branches(part)]
        rest = ",".join(part for part in parts if part not in others) if others else text
        columns = tuple(_column(part, text) for part in others)
        return replace(cls._of_variables(rest or (_USUAL if others else text), resolution), columns=columns)

    @classmethod
    def _of_variables(cls, text: str, resolution: str) -> "Precision":
        """The precision of the four-momenta alone."""
        known = read_resolutions(resolution)
        if text == "full":
            return cls(dict.fromkeys(PROMISED, FULL_BOUND), full=True)
        if text == "none":
            return cls(dict.fromkeys(PROMISED, math.inf))
        if "=" not in text:
            used = known if text.startswith(SHARE_OF) else {}
            return cls(dict.fromkeys(PROMISED, _bound(text, text)), resolutions=used)
        bounds, used = {}, {}
        for part in text.split(","):
            variable, _, value = part.strip().partition("=")
            if variable not in PROMISED:
                raise UserError(f"--precision '{text}' names '{variable}': choose from {', '.join(PROMISED)}")
            if variable in bounds:
                raise UserError(f"--precision '{text}' names '{variable}' twice: give each variable one bound")
            bounds[variable] = _bound(value, text)
            if value.startswith(SHARE_OF):
                used[variable] = known[variable]
        return cls(bounds, everywhere=False, resolutions=used)

    @classmethod
    def read(cls, given: "Precision | float | str | Mapping[str, float]") -> "Precision":
        """A precision from a Precision, a number, bounds by variable, or text for `parse`; raises UserError.

        >>> atlasae.Precision.read({"pt": 1e-3, "eta": 1e-3, "phi": 1e-3, "m": 1e-2}).text
        'pt=0.001,eta=0.001,phi=0.001,m=0.01'
        """
        if isinstance(given, Precision):
            return given
        if isinstance(given, Mapping):
            return cls.parse(",".join(f"{variable}={bound}" for variable, bound in given.items()))
        if isinstance(given, bool) or not isinstance(given, SupportsFloat | str):
            raise UserError(f"precision {given!r} is none: give a number such as 1e-3, or text as for --precision")
        return cls.parse(given if isinstance(given, str) else str(float(given)))

    @property
    def text(self) -> str:
        """The text that `parse` reads as this precision."""
        if self.columns:
            listed = (f"{name}={bound.text if bound else _EXACTLY}" for name, bound in self.columns)
            return ",".join([replace(self, columns=()).text, *listed])
        if self.full or self.unbounded:
            return "full" if self.full else "none"
        if self.everywhere:
            return self._text_of(PROMISED[0])
        return ",".join(f"{variable}={self._text_of(variable)}" for variable in self.bounds)

    def _text_of(self, variable: str) -> str:
        bound = self.bounds[variable]
        return f"{SHARE_OF}{1 / bound!r}" if variable in self.resolutions else f"{bound!r}"

    @property
    def unbounded(self) -> bool:
        """Whether there are no bounds (`none`): errors are measured only."""
        return math.inf in self.bounds.values()

    def of_column(self, name: str) -> Bound | None:
        """The bound of another number of jets: that of the first glob that its branch matches; None is exact."""
        return next((bound for glob, bound in self.columns if fnmatchcase(name, glob)), None)

    def of(self, layout: Layout | VariableList) -> dict[str, float]:
        """The bounds of the promised variables of a layout; raises UserError if one is missing.

        Only m may be missing, if E is stored. A list of variables has its own bounds.
        """
        if isinstance(layout, VariableList):
            return layout.bounds
        promised = [v for v in layout.promised if v in self.bounds or not (v == "m" and layout.has_energy)]
        if missing := [v for v in promised if v not in self.bounds]:
            stored = ", ".join(layout.variables)
            raise UserError(f"--precision leaves out {', '.join(missing)}, needed for jets stored as ({stored})")
        return {v: self.bounds[v] for v in promised}


def steps(
    bounds: Mapping[str, float],
    layout: Layout | VariableList,
    rounding: float,
    drift: float = DRIFT,
    rooms: Mapping[str, float] | None = None,
) -> list[float]:
    """The step of each coordinate: twice the largest error that keeps `inner` of every bound, rounding included.

    `rooms` has that error for variables that are rounded after decoding as their input was (`room_of`).
    """
    largest = {variable: inner(bound, drift) for variable, bound in (*bounds.items(), *(rooms or {}).items())}
    return layout.rows.steps(layout.shared(largest), rounding)


def room_of(
    rounding: Rounding, variable: str, column: Column, scale: float, bound: float, widths: Floats | None = None
) -> float:
    """The error of a decoded variable before rounding with which all jets but a share `RARE` keep their bound after it.

    It is relative or absolute as the bound is, and like that in units of `widths`, the resolution of each jet; `scale`
    is MeV per unit of the branch.
    """
    values, unit = _values_and_units(variable, column, scale, widths)
    if not len(values):
        return bound
    found = np.quantile(room(values, rounding, bound * unit) / unit, RARE, method="lower")
    return min(float(found), max(bound, _WIDEST))


def is_exact(
    rounding: Rounding, variable: str, column: Column, scale: float, bound: float, widths: Floats | None = None
) -> bool:
    """Whether all jets but a share `RARE` are further from the next number of the rounding than two bounds."""
    values, unit = _values_and_units(variable, column, scale, widths)
    distances = spacing(values, rounding) / unit
    return not len(values) or float(np.quantile(distances, RARE, method="lower")) > 2 * bound


def _values_and_units(variable: str, column: Column, scale: float, widths: Floats | None) -> tuple[Floats, Floats]:
    """The finite values of a branch, and the change of each that is an error of 1; without those at pt = 0 or near."""
    finite = np.isfinite(column)
    values = column[finite].astype(np.float64)
    size = {"pt": np.abs(values), "m": np.maximum(np.abs(values), MASS_FLOOR / scale)}
    unit = size.get(variable, np.ones(len(values))) * (1.0 if widths is None else widths[finite])
    return values[unit > _LEAST], unit[unit > _LEAST]


def find_roundings(
    columns: Mapping[str, Column],
    scale: float,
    bounds: Mapping[str, float],
    full: bool,
    widths: Mapping[str, Floats] | None = None,
) -> dict[str, Rounding]:
    """The rounding of each variable after decoding: that of the input, or finer until enough of the bound is left.

    With `full`, it is that of the input. Variables that need no rounding are missing. `widths` has the resolution of
    each jet in the variables whose bounds are in units of it.
    """
    found = {}
    for variable, column in columns.items():
        rounding, bound, unit = find_rounding(column), bounds[variable], (widths or {}).get(variable)
        least = bound * (ROOM if unit is None else RESOLVED_ROOM)
        while rounding and not full and room_of(rounding, variable, column, scale, bound, unit) < least:
            rounding = finer(rounding)
        if rounding and (rounding.bits is None or rounding.bits < np.finfo(column.dtype).nmant):
            found[variable] = rounding
    return found


def _names_branches(part: str) -> bool:
    """Whether a part of a precision is that of other numbers of jets: no name of a variable, nor anything like one."""
    name, _, value = part.partition("=")
    return bool(value) and (bool(set(name) & set("*?[_.")) or value.startswith((_EXACTLY, _ABSOLUTE)))


def _column(part: str, text: str) -> tuple[str, Bound | None]:
    """The glob and the bound of a part; raises UserError."""
    glob, _, value = part.partition("=")
    if value == _EXACTLY:
        return glob, None
    if value.startswith(_ABSOLUTE):
        size = value.removeprefix(_ABSOLUTE)
        if not 0 < (found := _number(size)) < math.inf:
            raise UserError(f"--precision '{text}': '{size}' is no positive number, in the units of '{glob}'")
        return glob, Bound(found, absolute=True)
    return glob, Bound(_bound(value, text))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _bound(value: str, text: str) -> float:
    """The number of a bound, also of a share of the resolution; raises UserError."""
    divides = value.startswith(SHARE_OF)
    number = _number(value.removeprefix(SHARE_OF))
    if divides and not FEWEST_PARTS <= number <= MOST_PARTS:
        parts = f"{FEWEST_PARTS:g} and {MOST_PARTS:g}"
        raise UserError(f"--precision '{text}': '{value}' is no share between {parts}, such as {SHARE_OF}20")
    if not divides and not SMALLEST <= number < 1:
        raise UserError(
            f"--precision '{text}': '{value}' is no bound between {SMALLEST:g} and 1, such as 1e-3, "
            f"'{SHARE_OF}20' or 'full'"
        )
    return 1 / number if divides else number
