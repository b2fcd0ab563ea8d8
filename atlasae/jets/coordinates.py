"""Formulas: coordinates, and variables of jets from one another."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MASS_FLOOR = 100.0  # MeV: below it the error of m is absolute, for a relative one is undefined at m = 0
LEAST_MASS = -0.1  # MeV: rounding of E and p leaves massless jets +-0.05; what is lower may be a mark, such as -1
DRIFT = 3e-6  # largest change of a decoded variable by float32 arithmetic: 2.6e-6 measured up to 9 TeV
LARGEST_ETA = 10.0  # jets with larger |eta| are exact
LARGEST_PHI = float(np.nextafter(np.float32(np.pi), np.float32(0)))  # the float32 nearest to pi is above pi
FULL_TURN = 2 * np.pi
LARGEST_TURN = float(np.nextafter(np.float32(FULL_TURN), np.float32(0)))  # the float32 nearest to 2 pi is above 2 pi


def by_column(columns: Sequence[npt.NDArray[Any]]) -> Floats:
    """Columns (n each) as rows (n x columns) whose columns are contiguous: several times as fast as the other order."""
    return np.asarray(np.stack(columns).T)


def to_symlog(x: Floats) -> Floats:
    """x where |x| < 1, else sign(x) (1 + log|x|): a change of T is an error of T max(|x|, 1)."""
    size = np.abs(x)
    return np.asarray(np.copysign(np.where(size < 1, size, 1 + np.log(np.maximum(size, 1))), x))


def from_symlog(y: Floats) -> Floats:
    """The inverse of `to_symlog`."""
    size = np.abs(y)
    return np.asarray(np.copysign(np.where(size < 1, size, np.exp(size - 1)), y))


def wrap(angle: Floats) -> Floats:
    """Angles (radians) modulo 2 pi, in [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def from_full_turn(angle: Floats) -> Floats:
    """Angles of [0, 2 pi] in [-pi, pi], bit for bit where they are in both, and NaN for angles beyond."""
    with np.errstate(invalid="ignore"):
        found = np.where(angle > np.pi, angle - FULL_TURN, angle)
        return np.where((angle >= 0) & (angle <= np.float32(FULL_TURN)), found, np.nan)


def to_full_turn(angle: Floats) -> Floats:
    """Angles of [-pi, pi] in [0, 2 pi), as float32 too: the inverse of `from_full_turn`."""
    return np.asarray(np.where(angle < 0, angle + FULL_TURN, angle).clip(max=LARGEST_TURN))


def spans_full_turn(angle: npt.NDArray[Any]) -> bool:
    """Whether angles are in [0, 2 pi), not in [-pi, pi): more are beyond pi than below 0."""
    beyond = (angle > np.float32(np.pi)) & (angle <= np.float32(FULL_TURN))
    below = (angle < 0) & (angle >= -np.float32(np.pi))
    return int(beyond.sum()) > int(below.sum())


def range_of_phi(full_turn: bool) -> tuple[tuple[float, float], float]:
    """The range of phi, [-pi, pi] or [0, 2 pi], and the largest float32 inside."""
    return ((0.0, FULL_TURN), LARGEST_TURN) if full_turn else ((-np.pi, np.pi), LARGEST_PHI)


def signed_square(m: Floats) -> Floats:
    """m |m|, which is E^2 - p^2 for a mass that is negative where E < p."""
    return np.asarray(m * np.abs(m))


def inner(bound: float, drift: float = DRIFT) -> float:
    """The bound to keep at compression, so that `bound` holds in other arithmetic: `drift` less, at most a quarter."""
    return bound - min(drift, bound / 4)


def signed_root(square: Floats) -> Floats:
    """sign(x) sqrt|x|: the inverse of `signed_square`."""
    return np.asarray(np.copysign(np.sqrt(np.abs(square)), square))


def momentum(jets: Floats) -> Floats:
    """px, py, pz (n x 3, in the unit of pt) of jets whose first columns are pt, eta and phi."""
    pt, eta, phi = jets.T[:3]
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)


def energy(jets: Floats) -> Floats:
    """E = sqrt(p^2 + m |m|) in MeV of jets (n x 4: pt, eta, phi, m in MeV)."""
    with np.errstate(over="ignore", invalid="ignore"):  # the output of a network has no limits
        p = jets[:, 0] * np.cosh(jets[:, 1])
        return np.asarray(np.sqrt(np.maximum(p**2 + signed_square(jets[:, 3]), 0)))


def jets_to_columns(jets: Floats, columns: Sequence[str]) -> Floats:
    """The variables `columns` (of pt, eta, phi, m, E; GeV, radians) of jets (n x 4: pt, eta, phi, m in MeV)."""
    pt, eta, phi, m = jets.T
    every = {"pt": pt / 1000, "eta": eta, "phi": phi, "m": m / 1000, "E": energy(jets) / 1000}
    return np.stack([every[column] for column in columns], axis=1)


def columns_to_jets(values: Floats, columns: Sequence[str]) -> Floats:
    """Jets (n x 4, MeV) from pt, eta, phi and m or E; the inverse of `jets_to_columns`, with phi wrapped."""
    given = dict(zip(columns, values.T, strict=True))
    with np.errstate(over="ignore", invalid="ignore"):  # the output of a network has no limits
        pt, phi = given["pt"] * 1000, np.clip(wrap(given["phi"]), -LARGEST_PHI, LARGEST_PHI)
        if "m" in given:
            return np.stack([pt, given["eta"], phi, given["m"] * 1000], axis=1)
        p, e = pt * np.cosh(given["eta"]), given["E"] * 1000
        return np.stack([pt, given["eta"], phi, signed_root((e - p) * (e + p))], axis=1)
