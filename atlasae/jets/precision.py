"""What is promised of every jet: the largest error of each variable, and how it is measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import SupportsFloat

import numpy as np

from atlasae.errors import UserError
from atlasae.jets.collections import Rounding
from atlasae.jets.coordinates import DRIFT, MASS_FLOOR, inner
from atlasae.jets.layouts import Layout
from atlasae.jets.rounding import RARE, Column, find_rounding, finer, room
from atlasae.jets.variables import VariableList

FULL_BOUND = 1e-3  # `full` spends every bit; the few jets in tails that it leaves worse than this are kept exact
SMALLEST = 1e-7  # what float32 resolves
ROOM = 0.6  # of the bound is left to the codec at least: else what is decoded is rounded to a bit more
WIDEST = 0.1  # what a codec may be off by, however coarse the input is
VARIABLES = ("pt", "eta", "phi", "m", "E")


@dataclass(frozen=True)
class Precision:
    """The largest error of each variable: relative for pt, m and E, absolute for eta and phi.

    m's is relative to max(|m|, 100 MeV). `full` asks for the best the three floats can do, `none` for no promise.

    >>> atlasae.Precision.parse("pt=1e-3,eta=1e-3,phi=1e-3,m=1e-2").bounds["m"]
    0.01
    """

    bounds: dict[str, float]
    full: bool = False
    everywhere: bool = True  # one number for every variable, not a list of them

    @classmethod
    def parse(cls, text: str) -> "Precision":
        """Read `1e-3`, `pt=1e-3,eta=1e-3,phi=1e-3,m=1e-2`, `full` or `none`; raises UserError."""
        if text == "full":
            return cls(dict.fromkeys(VARIABLES, FULL_BOUND), full=True)
        if text == "none":
            return cls(dict.fromkeys(VARIABLES, math.inf))
        if "=" not in text:
            return cls(dict.fromkeys(VARIABLES, _bound(text, text)))
        bounds = {}
        for part in text.split(","):
            variable, _, value = part.strip().partition("=")
            if variable not in VARIABLES:
                raise UserError(f"--precision '{text}' names '{variable}': choose from {', '.join(VARIABLES)}")
            if variable in bounds:
                raise UserError(f"--precision '{text}' names '{variable}' twice: give each variable one bound")
            bounds[variable] = _bound(value, text)
        return cls(bounds, everywhere=False)

    @classmethod
    def read(cls, given: "Precision | float | str | Mapping[str, float]") -> "Precision":
        """The precision that was given: one, a number, a bound of each variable, or text; raises UserError.

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
        """What `parse` makes this of."""
        if self.full or self.unbounded:
            return "full" if self.full else "none"
        if self.everywhere:
            return f"{self.bounds[VARIABLES[0]]!r}"
        return ",".join(f"{variable}={bound!r}" for variable, bound in self.bounds.items())

    @property
    def unbounded(self) -> bool:
        """Whether nothing is promised, only measured."""
        return math.inf in self.bounds.values()

    def of(self, layout: Layout | VariableList) -> dict[str, float]:
        """The bounds on the variables promised for this layout; m may be given up where E is promised.

        A list of variables has bounds of its own.
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
    """The step of each coordinate whose half keeps `inner` of every bound, rounding included.

    Variables in `rooms` keep their bound where they are off by so much, and are rounded as their input was.
    """
    largest = {variable: inner(bound, drift) for variable, bound in (*bounds.items(), *(rooms or {}).items())}
    return layout.rows.steps(layout.shared(largest), rounding)


def room_of(rounding: Rounding, variable: str, column: Column, scale: float, bound: float) -> float:
    """How far off jets may be decoded, as errors of the variable are counted, so that all but `RARE` keep their bound.

    `scale` is MeV per unit of the branch.
    """
    values = column[np.isfinite(column)].astype(np.float64)
    size = {"pt": np.abs(values), "m": np.maximum(np.abs(values), MASS_FLOOR / scale)}
    unit = size.get(variable, np.ones(len(values)))
    values, unit = values[unit > 0], unit[unit > 0]
    if not len(values):
        return bound
    found = np.quantile(room(values, rounding, bound * unit) / unit, RARE, method="lower")
    return min(float(found), max(bound, WIDEST))


def find_roundings(
    columns: Mapping[str, Column], scale: float, bounds: Mapping[str, float], full: bool
) -> dict[str, Rounding]:
    """How each variable is to be rounded once it is decoded: as the input is, or finer where that takes too much room.

    With `full` there is no bound to leave room for.
    """
    found = {}
    for variable, column in columns.items():
        rounding, bound = find_rounding(column), bounds[variable]
        while rounding and not full and room_of(rounding, variable, column, scale, bound) < ROOM * bound:
            rounding = finer(rounding)
        if rounding and (rounding.bits is None or rounding.bits < np.finfo(column.dtype).nmant):
            found[variable] = rounding
    return found


def _bound(value: str, text: str) -> float:
    try:
        bound = float(value)
    except ValueError:
        bound = float("nan")
    if not SMALLEST <= bound < 1:
        raise UserError(
            f"--precision '{text}': '{value}' is no bound between {SMALLEST:g} and 1, such as 1e-3; or 'full'"
        )
    return bound
