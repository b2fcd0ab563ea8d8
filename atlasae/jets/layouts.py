"""Four stored variables of jets, and their way to pt, eta, phi and m and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from atlasae.jets.coordinates import MASS_FLOOR, Bools, Floats, momentum, signed_root, signed_square
from atlasae.jets.variables import JET, VariableList


@dataclass(frozen=True)
class Layout:
    """Four stored variables, such as (px, py, pz, E), and their way to (pt, eta, phi, m) and back.

    Formulas: p = pt cosh(eta), pz = pt sinh(eta), m^2 = (E - p)(E + p) with its sign kept (PDG review, kinematics).

    >>> jets = Layout(("px", "py", "pz", "E")).to_rows(np.array([[3.0, 4.0, 0.0, 13.0]]))
    >>> jets.round(3).tolist()
    [[5.0, 0.0, 0.927, 12.0]]
    """

    variables: tuple[str, ...]
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
    def promised(self) -> tuple[str, ...]:
        """The variables the promise is on: those a physicist reads, never px, py or pz alone."""
        return ("pt", "eta", "phi", "E", "m") if self.has_energy else ("pt", "eta", "phi", "m")

    def to_rows(self, values: Floats) -> Floats:
        """Turn stored values (n x 4, MeV) into jets (pt, eta, phi, m); NaN and inf pass through without warning."""
        with np.errstate(all="ignore"):
            pt_eta_phi = _cylindrical(values[:, :3]) if self.cartesian else values[:, :3]
            m = values[:, 3]
            if self.has_energy:
                p = _size(values[:, :3], self.cartesian)
                m = signed_root((m - p) * (m + p))
            return np.column_stack([pt_eta_phi, m])

    def from_rows(self, jets: Floats, dtypes: Sequence[np.dtype[Any]], scale: float) -> Floats:
        """Turn jets into stored values: what `dtypes` hold in units of `scale` MeV, as float64 in MeV.

        E is made from the momentum as it is stored, after rounding, so that the mass it implies is the jet's.
        """
        stored = np.column_stack([momentum(jets) if self.cartesian else jets[:, :3], jets[:, 3]])
        for column in range(3):
            unit = scale if self.cartesian or column == 0 else 1.0
            stored[:, column] = (stored[:, column] / unit).astype(dtypes[column]).astype(np.float64) * unit
        if self.has_energy:
            p = _size(stored[:, :3], self.cartesian)
            stored[:, 3] = np.sqrt(np.maximum(p**2 + signed_square(jets[:, 3]), 0))
        return stored

    def usable(self, jets: Floats) -> Bools:
        """Whether each jet may be stored by its coordinates; others, stored negative masses too, come back bit for bit.

        With E the sign of m is no more than the rounding of E: there it may.
        """
        return JET.usable(jets) & (self.has_energy | (jets[:, 3] >= 0))

    def errors(self, values: Floats, decoded: Floats, rounding: float = 0.0) -> dict[str, Floats]:
        """The error of every jet in each promised variable, from stored values (n x 4, MeV) before and after.

        pt and E: relative. eta, phi: difference, phi wrapped. m: relative to max(|m|, MASS_FLOOR); where m is derived
        from E, less what the stored floats leave undefined: with relative rounding r, m^2 is known to
        r (2 E^2 + 2 p^2 (1 + |eta|)), however the jets are stored.
        """
        before, after = self.to_rows(values), self.to_rows(decoded)
        found = JET.errors(before, after)
        if self.has_energy:
            with np.errstate(all="ignore"):
                found["E"] = np.abs(decoded[:, 3] / values[:, 3] - 1)
                found["m"] = _defined_mass_error(before, after, values[:, 3], rounding)
        return {variable: found[variable] for variable in self.promised}

    def shared(self, largest: dict[str, float]) -> dict[str, float]:
        """The largest error of pt, eta, phi and m, from those of the promised variables; m may have none beside E.

        dE/E = (p/E)^2 (dpt/pt + tanh(eta) deta) + (m/E)^2 dm/m, so pt and eta share the bound on E between them.
        """
        if "E" not in largest:
            return largest
        share = 0.5 if "m" in largest else 0.45  # a tenth of E's bound buys a mass that is given up several bits
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
    return np.stack([pt, np.arcsinh(pz / pt), np.arctan2(py, px)], axis=1)
