"""The resolution of a detector, by which bounds can be given: formulas, and defaults of ATLAS and CMS.

Defaults are approximations, for bounds and not for physics. Those of pt pass near numbers of public papers: of ATLAS,
24 % at 20 GeV and 6 % at 300 GeV (Eur. Phys. J. C 81 (2021) 689, arXiv:2007.02645, abstract), and of CMS, 15 to 20 % at
30 GeV, 10 % at 100 GeV and 5 % at 1 TeV (JINST 12 (2017) P02014, arXiv:1607.03663). Those of eta, phi and m are fits to
half-widths (68 %) in the full simulation of two public files, of isolated anti-kt jets (R = 0.4) with a generated jet
within 0.3: 2,200 jets of CMS NanoAOD, and 100 of ATLAS PHYSLITE, too few for an m of their own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlasae.errors import UserError

if TYPE_CHECKING:  # commands start without numpy
    from atlasae.jets.coordinates import Floats

_GEV = 1000.0  # MeV
_NOTHING = 1e-12  # w(0) without N and S
_LEAST, _MOST = 1e-3, (100.0, 10.0)  # of C, and of N and S


@dataclass(frozen=True)
class Resolution:
    """sigma(pt) = sqrt(N^2 / pt^2 + S^2 / pt + C^2), pt in GeV: relative for pt, m and E, absolute for eta and phi.

    N is the noise (GeV), S the stochastic term (GeV^1/2), and C the constant term, which is above 0.

    >>> round(Resolution(2.6, 0.9, 0.03).of(20_000.0), 3)
    0.241
    """

    noise: float
    stochastic: float
    constant: float

    def __post_init__(self) -> None:
        """Raise ValueError for numbers out of range."""
        noise, stochastic = _MOST
        known = 0 <= self.noise <= noise and 0 <= self.stochastic <= stochastic
        if not (known and _LEAST <= self.constant <= 1):
            raise ValueError(f"N is from 0 to {noise:g}, S from 0 to {stochastic:g}, C from {_LEAST:g} to 1")

    def __str__(self) -> str:
        return ":".join(f"{term:g}" for term in self.terms)

    @property
    def terms(self) -> tuple[float, float, float]:
        """N, S and C."""
        return self.noise, self.stochastic, self.constant

    def of(self, pt: "Floats") -> "Floats":
        """The resolution at these pt (MeV)."""
        x = _GEV / pt
        found: Floats = ((self.noise * x) ** 2 + self.stochastic**2 * x + self.constant**2) ** 0.5
        return found

    def coordinate(self, pt: "Floats") -> "Floats":
        """The coordinate of pt (MeV) whose unit is the resolution: the integral of d(pt) / (pt sigma(pt)).

        It is log(w(pt) / w(0)) / C with w = 2 C sqrt(R) + 2 C^2 pt + S^2 and R = C^2 pt^2 + S^2 pt + N^2. Without N and
        S it is log(pt) / C.
        """
        import numpy as np

        noise, stochastic, constant = self.terms
        x = np.asarray(pt) / _GEV
        if not self.at_zero:
            return np.asarray(np.log(x) / constant)
        square = (constant * x) ** 2 + stochastic**2 * x
        change = square / (np.sqrt(square + noise**2) + noise) + constant * x
        return np.asarray(np.log1p(2 * constant * change / self.at_zero) / constant)

    def pt(self, coordinate: "Floats") -> "Floats":
        """The pt (MeV) of coordinates: e (4 C N + w(0) e) / (4 C^2 (1 + e)) with e = w(pt) / w(0) - 1."""
        import numpy as np

        noise, _, constant = self.terms
        if not self.at_zero:
            return np.asarray(_GEV * np.exp(constant * np.asarray(coordinate)))
        e = np.expm1(constant * np.asarray(coordinate))
        return np.asarray(_GEV * e * (4 * constant * noise + self.at_zero * e) / (4 * constant**2 * (1 + e)))

    @property
    def at_zero(self) -> float:
        """w(0); 0 without N and S."""
        found = 2 * self.constant * self.noise + self.stochastic**2
        return found if found >= _NOTHING else 0.0

    def steepest(self, pt: float) -> float:
        """The largest derivative of pt sigma(pt) by pt above this pt (MeV), between its values there and far above."""
        noise, stochastic, constant = self.terms
        x = pt / _GEV
        root = math.sqrt((constant * x) ** 2 + stochastic**2 * x + noise**2)
        return max(constant, (stochastic**2 + 2 * constant**2 * x) / (2 * root))


Resolutions = Mapping[str, Resolution]  # by variable
DEFAULT = "atlas"
EXPERIMENTS: dict[str, dict[str, Resolution]] = {
    "atlas": {
        "pt": Resolution(2.6, 0.9, 0.03),
        "eta": Resolution(0.8, 0.11, 0.007),
        "phi": Resolution(0.8, 0.11, 0.007),
        "m": Resolution(0.0, 1.4, 0.32),
    },
    "cms": {
        "pt": Resolution(4.0, 0.8, 0.043),
        "eta": Resolution(0.85, 0.09, 0.006),
        "phi": Resolution(0.85, 0.09, 0.006),
        "m": Resolution(0.0, 1.4, 0.32),
    },
}


def widening(share: float) -> float:
    """What an error of this share of the resolution, added in quadrature, adds to it: 0.00125 for 1/20."""
    return math.sqrt(1 + share**2) - 1


def read_resolutions(text: str) -> dict[str, Resolution]:
    """The resolutions of `atlas`, `cms`, or one of these with other terms, `cms,m=0:1:0.2`; raises UserError."""
    name, *changes = text.split(",")
    if name not in EXPERIMENTS:
        raise UserError(f"--resolution '{text}': '{name}' is none of {', '.join(EXPERIMENTS)}")
    found = dict(EXPERIMENTS[name])
    for change in changes:
        variable, _, terms = change.partition("=")
        if variable not in found:
            raise UserError(f"--resolution '{text}' names '{variable}': choose from {', '.join(found)}")
        try:
            noise, stochastic, constant = map(float, terms.split(":"))
            found[variable] = Resolution(noise, stochastic, constant)
        except ValueError as error:
            raise UserError(f"--resolution '{text}': '{terms}' is not N:S:C, such as 0:1:0.2 ({error})") from error
    return found | {"E": found["pt"]}
