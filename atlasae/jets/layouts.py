"""Layouts: conversion of four or five stored variables to pt, eta, phi and m and back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from atlasae.jets.coordinates import (
    LEAST_MASS,
    MASS_FLOOR,
    Bools,
    Floats,
    by_column,
    from_full_turn,
    momentum,
    signed_root,
    signed_square,
    to_full_turn,
)  # fmt: skip
from atlasae.jets.resolution import Resolutions
from atlasae.jets.variables import JET, VariableList

_SHARE_OF_PT = 0.8  # of the bound of E by resolution; that of eta is smaller than the one of pt


@dataclass(frozen=True)
class Layout:
    """Four stored variables, such as (px, py, pz, E), and their conversion to (pt, eta, phi, m) and back.

    A fifth one is E beside m. It is computed from the others, and jets in which it is not what they tell are exact.

    Formulas: p = pt cosh(eta), pz = pt sinh(eta), m^2 = (E - p)(E + p) with its sign kept (PDG review, kinematics).

    >>> jets = Layout(("px", "py", "pz", "E")).to_rows(np.array([[3.0, 4.0, 0.0, 13.0]]))
    >>> jets.round(3).tolist()
    [[5.0, 0.0, 0.927, 12.0]]

    With `full_turn` the stored phi is in [0, 2 pi) instead of [-pi, pi); rows have the latter. The errors of variables
    in `resolutions` are in units of the resolution at the pt of the jet.
    """

    variables: tuple[str, ...]
    full_turn: bool = False
    resolutions: Resolutions = field(default_factory=dict, hash=False)
    rows: ClassVar[VariableList] = JET

    @property
    def names(self) -> list[str]:
        """The stored variables."""
        return list(self.variables)

    @property
    def cartesian(self) -> bool:
        """Whether the momentum is stored as px, py, pz."""
        return self.variables[0] == "px"

    @property
    def has_energy(self) -> bool:
        """Whether the fourth variable is E, so that m has to be derived."""
        return self.variables[3] == "E"

    @property
    def has_signed_mass(self) -> bool:
        """Whether E is stored, by whose rounding m may be below 0."""
        return "E" in self.variables

    @property
    def promised(self) -> tuple[str, ...]:
        """The variables with a bound: pt, eta, phi, m, and E if it is stored; px, py and pz have none."""
        return ("pt", "eta", "phi", "E", "m") if self.has_signed_mass else ("pt", "eta", "phi", "m")

    def to_rows(self, values: Floats) -> Floats:
        """Jets (n x 4: pt, eta, phi, m) from stored values (MeV), without warnings for NaN and inf."""
        with np.errstate(all="ignore"):
            pt, eta, phi = (_cylindrical(values[:, :3]) if self.cartesian else values[:, :3]).T
            phi, m = from_full_turn(phi) if self.full_turn else phi, values[:, 3]
            if self.has_energy:
                p = _size(values[:, :3], self.cartesian)
                m = signed_root((m - p) * (m + p))
            return by_column([pt, eta, phi, m])

    def from_rows(self, jets: Floats, dtypes: Sequence[np.dtype[Any]], scale: float) -> Floats:
        """Stored values (n x 4 or 5, float64, MeV) of jets, the momenta rounded to `dtypes` in units of `scale` MeV.

        E is computed from the rounded momentum, so that E and p together give the mass of the jet.
        """
        further = [jets[:, 3]] * (len(self.variables) - 3)
        stored = by_column([*(momentum(jets) if self.cartesian else jets[:, :3]).T, *further])
        if self.full_turn:
            stored[:, 2] = to_full_turn(stored[:, 2])
        for column in range(3):
            unit = scale if self.cartesian or column == 0 else 1.0
            stored[:, column] = (stored[:, column] / unit).astype(dtypes[column]).astype(np.float64) * unit
        if "E" in self.variables:
            p = _size(stored[:, :3], self.cartesian)
            stored[:, -1] = np.sqrt(np.maximum(p**2 + signed_square(jets[:, 3]), 0))
        return stored

    def usable(self, jets: Floats) -> Bools:
        """Whether each jet may be stored by its coordinates; the others become exact jets.

        A stored m must not be negative by more than rounding, but beside E, from which it has its sign.
        """
        return JET.usable(jets) & (self.has_signed_mass | (jets[:, 3] >= LEAST_MASS))

    def errors(self, values: Floats, decoded: Floats, rounding: float = 0.0) -> dict[str, Floats]:
        """The error of every jet in each promised variable, from stored values (MeV) before and after.

        Errors of pt and E are relative, those of eta and phi differences (phi wrapped), that of m relative to
        max(|m|, MASS_FLOOR). If m is derived from E, its square has an uncertainty of r (2 E^2 + 2 p^2 (1 + |eta|)) by
        the relative rounding r of the stored numbers, which is subtracted first. Those of variables in `resolutions`
        are divided by their resolution.
        """
        before, after = self.to_rows(values), self.to_rows(decoded)
        found = JET.errors(before, after)
        with np.errstate(all="ignore"):
            if "E" in self.variables:
                found["E"] = np.abs(decoded[:, -1] / values[:, -1] - 1)
            if self.has_energy:
                found["m"] = _defined_mass_error(before, after, values[:, 3], rounding)
        with np.errstate(all="ignore"):  # jets without a resolution, at pt <= 0 or NaN, are exact
            for variable in self.promised:
                if resolution := self.resolutions.get(variable):
                    found[variable] = found[variable] / resolution.of(before[:, 0])
        return {variable: found[variable] for variable in self.promised}

    def least(self, variable: str) -> float:
        """The smallest error that counts as 1: the constant term of a variable's resolution, or 1."""
        resolution = self.resolutions.get(variable)
        return resolution.constant if resolution else 1.0

    def shared(self, largest: dict[str, float]) -> dict[str, float]:
        """The largest errors of pt, eta, phi and m that keep the bounds `largest`; these may lack m if they have E.

        dE/E = (p/E)^2 (dpt/pt + tanh(eta) deta) + (m/E)^2 dm/m, so pt and eta get half of the bound of E each.
        """
        if "E" not in largest:
            return largest
        if "E" in self.resolutions:
            return largest | {"pt": min(largest["pt"], _SHARE_OF_PT * largest["E"])}
        share = 0.5 if "m" in largest else 0.45  # without a bound of m, 10 % of E's bound saves several bits of m
        power = share * float(np.log1p(largest["E"]))
        pt, eta = min(largest["pt"], float(np.expm1(power))), min(largest["eta"], power)
        return largest | {"pt": pt, "eta": eta, "m": min(largest.get("m", largest["E"]), largest["E"])}


def _defined_mass_error(before: Floats, after: Floats, energy: Floats, rounding: float) -> Floats:
    square = signed_square(before[:, 3])
    p = before[:, 0] * np.cosh(before[:, 1])
    undefined = rounding * (2 * energy**2 + 2 * p**2 * (1 + np.abs(before[:, 1])))
    change = signed_square(after[:, 3]) - square
    excess = np.copysign(np.maximum(np.abs(change) - undefined, 0), change)
    beyond = np.abs(signed_root(square + excess) - before[:, 3])
    return np.asarray(beyond / np.maximum(np.abs(before[:, 3]), MASS_FLOOR))


def _size(values: Floats, cartesian: bool) -> Floats:
    if cartesian:
        return np.asarray(np.sqrt((values**2).sum(axis=1)))
    return np.asarray(values[:, 0] * np.cosh(values[:, 1]))


def _cylindrical(momentum: Floats) -> Floats:
    px, py, pz = momentum.T
    pt = np.hypot(px, py)
    return by_column([pt, np.arcsinh(pz / pt), np.arctan2(py, px)])
