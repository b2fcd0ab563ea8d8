"""Jets to the coordinates the autoencoder works in, and back; and what a jet's error is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MASS_FLOOR = 100.0  # MeV: below it the precision of m is absolute, so that massless jets have an error at all
DRIFT = 3e-6  # how far float32 arithmetic moves a decoded jet, in any variable: 2.6e-6 measured up to 9 TeV
LARGEST_PHI = float(np.nextafter(np.float32(np.pi), np.float32(0)))  # pi itself rounds up in float32


def to_coordinates(jets: Floats) -> Floats:
    """Turn jets (n x 4: pt, eta, phi, m in MeV, pt > 0) into coordinates (n x 4: log pt, eta, phi, mu).

    `mu` is m / m0 inside the mass floor m0 and sign(m) (1 + log(|m| / m0)) outside: a step T in it is an error of
    T max(|m|, m0), so one bound on the coordinates is one bound on every variable.
    """
    pt, eta, phi, m = jets.T
    return np.stack([np.log(pt), eta, phi, to_symlog(m / MASS_FLOOR)], axis=1)


def from_coordinates(coordinates: Floats) -> Floats:
    """Turn coordinates back into jets; the inverse of `to_coordinates`."""
    log_pt, eta, phi, mu = coordinates.T
    m = MASS_FLOOR * from_symlog(mu)
    return np.stack([np.exp(log_pt), eta, np.clip(phi, -LARGEST_PHI, LARGEST_PHI), m], axis=1)


def to_symlog(x: Floats) -> Floats:
    """x between -1 and 1, sign(x) (1 + log|x|) outside: a step T is an error of T max(|x|, 1)."""
    size = np.abs(x)
    return np.asarray(np.copysign(np.where(size < 1, size, 1 + np.log(np.maximum(size, 1))), x))


def from_symlog(y: Floats) -> Floats:
    """The inverse of `to_symlog`."""
    size = np.abs(y)
    return np.asarray(np.copysign(np.where(size < 1, size, np.exp(size - 1)), y))


def is_physical(jets: Floats) -> Bools:
    """Whether each jet (pt, eta, phi, m in MeV) has coordinates: finite, pt > 0, |eta| <= 10, |phi| <= pi."""
    pt, eta, phi, m = jets.T
    return np.asarray((pt > 0) & (pt < np.inf) & (np.abs(eta) <= 10) & (np.abs(phi) <= np.pi) & np.isfinite(m))


def wrap(angle: Floats) -> Floats:
    """Bring differences of phi into [-pi, pi]."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def signed_square(m: Floats) -> Floats:
    """m |m|: the signed square of a mass, which is E^2 - p^2."""
    return np.asarray(m * np.abs(m))


def inner(bound: float, drift: float = DRIFT) -> float:
    """The bound to keep here, so that `bound` holds wherever jets are decoded: by other machines, in float32 too."""
    return bound - min(drift, bound / 4)


def moved(jets: Floats, drift: float) -> Floats:
    """Jets as whoever decodes them otherwise may find them: every variable off by `drift`, as errors are counted."""
    off = drift * np.stack([jets[:, 0], *np.ones((2, len(jets))), np.maximum(np.abs(jets[:, 3]), MASS_FLOOR)], axis=1)
    return np.asarray(jets + off)


def signed_root(square: Floats) -> Floats:
    """sign(x) sqrt|x|: the inverse of `signed_square`."""
    return np.asarray(np.copysign(np.sqrt(np.abs(square)), square))


def energy(jets: Floats) -> Floats:
    """E (MeV) of jets (n x 4: pt, eta, phi, m in MeV), m taken with its sign."""
    with np.errstate(over="ignore", invalid="ignore"):  # a network may say anything
        p = _momentum(jets[:, :3], cartesian=False)
        return np.asarray(np.sqrt(np.maximum(p**2 + signed_square(jets[:, 3]), 0)))


def jets_to_columns(jets: Floats, columns: Sequence[str]) -> Floats:
    """Variables of jets (n x 4: pt, eta, phi, m in MeV) in any order, E among them if asked for, in GeV and radians."""
    pt, eta, phi, m = jets.T
    every = {"pt": pt / 1000, "eta": eta, "phi": phi, "m": m / 1000, "E": energy(jets) / 1000}
    return np.stack([every[column] for column in columns], axis=1)


def columns_to_jets(values: Floats, columns: Sequence[str]) -> Floats:
    """Jets (n x 4, MeV) from pt, eta, phi and m or E; the inverse of `jets_to_columns`. phi is wrapped."""
    given = dict(zip(columns, values.T, strict=True))
    with np.errstate(over="ignore", invalid="ignore"):  # a network may say anything: the promise is checked later
        pt, phi = given["pt"] * 1000, np.clip(wrap(given["phi"]), -LARGEST_PHI, LARGEST_PHI)
        if "m" in given:
            return np.stack([pt, given["eta"], phi, given["m"] * 1000], axis=1)
        p, e = pt * np.cosh(given["eta"]), given["E"] * 1000
        return np.stack([pt, given["eta"], phi, signed_root((e - p) * (e + p))], axis=1)


@dataclass(frozen=True)
class Layout:
    """Four stored variables, such as (px, py, pz, E), and their way to (pt, eta, phi, m) and back.

    Formulas: p = pt cosh(eta), pz = pt sinh(eta), m^2 = (E - p)(E + p) with its sign kept (PDG review, kinematics).

    >>> jets = Layout(("px", "py", "pz", "E")).to_jets(np.array([[3.0, 4.0, 0.0, 13.0]]))
    >>> jets.round(3).tolist()
    [[5.0, 0.0, 0.927, 12.0]]
    """

    variables: tuple[str, ...]

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

    def to_jets(self, values: Floats) -> Floats:
        """Turn stored values (n x 4, MeV) into jets (pt, eta, phi, m); NaN and inf pass through without warning."""
        with np.errstate(all="ignore"):
            momentum = _cylindrical(values[:, :3]) if self.cartesian else values[:, :3]
            m = values[:, 3]
            if self.has_energy:
                p = _momentum(values[:, :3], self.cartesian)
                m = signed_root((m - p) * (m + p))
            return np.column_stack([momentum, m])

    def from_jets(self, jets: Floats, dtypes: tuple[np.dtype[np.floating], ...], scale: float) -> Floats:
        """Turn jets into stored values: what `dtypes` hold in units of `scale` MeV, as float64 in MeV.

        E is made from the momentum as it is stored, after rounding, so that the mass it implies is the jet's.
        """
        momentum = _cartesian(jets[:, :3]) if self.cartesian else jets[:, :3]
        stored = np.column_stack([momentum, jets[:, 3]])
        for column in range(3):
            unit = scale if self.cartesian or column == 0 else 1.0
            stored[:, column] = (stored[:, column] / unit).astype(dtypes[column]).astype(np.float64) * unit
        if self.has_energy:
            p = _momentum(stored[:, :3], self.cartesian)
            stored[:, 3] = np.sqrt(np.maximum(p**2 + signed_square(jets[:, 3]), 0))
        return stored


def _momentum(values: Floats, cartesian: bool) -> Floats:
    if cartesian:
        return np.asarray(np.sqrt((values**2).sum(axis=1)))
    return np.asarray(values[:, 0] * np.cosh(values[:, 1]))


def _cylindrical(momentum: Floats) -> Floats:
    px, py, pz = momentum.T
    pt = np.hypot(px, py)
    return np.stack([pt, np.arcsinh(pz / pt), np.arctan2(py, px)], axis=1)


def _cartesian(momentum: Floats) -> Floats:
    pt, eta, phi = momentum.T
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
