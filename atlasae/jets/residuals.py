"""Statistics of compressed jets: residuals of jets and of pairs of jets, their widths, and tests of equality."""

from collections.abc import Mapping

import numpy as np

from atlasae.files.events import Counts
from atlasae.jets.coordinates import Bools, Floats, energy, momentum, wrap
from atlasae.jets.variables import JET

COMPARED = ("pt", "eta", "phi", "m", "E", "px", "py", "pz")
RELATIVE = ("pt", "m", "E")  # variables whose response, after / before, is plotted
HEAVY = 500.0  # MeV: below it m(after) / m(before) is not meaningful
DIJET_PT, DIJET_PHI = 60_000.0, 2.5  # MeV, rad: cuts of a back-to-back pair
CENTRAL = (15.865, 84.135)  # percentiles of the limits of the central 68 %
CENTRAL_95 = (2.5, 97.5)
QUANTILES = (0.1, 1.0, *CENTRAL_95[:1], *CENTRAL[:1], 50.0, *CENTRAL[1:], *CENTRAL_95[1:], 99.0, 99.9)  # per cent


def residuals(before: Floats, after: Floats) -> dict[str, Floats]:
    """Signed residuals of jets (n x 4: pt, eta, phi, m in MeV), by variable.

    Those of pt and E are relative, that of m to max(|m|, 100 MeV), those of px and py to pt, that of pz to |p|. Those
    of eta and phi are differences (phi wrapped).
    """
    with np.errstate(all="ignore"):  # the output of a network has no limits
        momenta, moved = momentum(before), momentum(after)
        size = before[:, 0] * np.cosh(before[:, 1])
        return JET.residuals(before, after) | {
            "E": energy(after) / energy(before) - 1,
            "px": (moved[:, 0] - momenta[:, 0]) / before[:, 0],
            "py": (moved[:, 1] - momenta[:, 1]) / before[:, 0],
            "pz": (moved[:, 2] - momenta[:, 2]) / size,
        }


def mass_response(before: Floats, after: Floats) -> Floats:
    """m(after) / m(before) - 1 of the jets (n x 4) heavier than 0.5 GeV; negative masses after are taken as 0.

    Published networks quote the residual of m in this way.
    """
    heavy = before[:, 3] > HEAVY
    return np.asarray(np.maximum(after[heavy, 3], 0) / before[heavy, 3] - 1)


def half_width(residual: Floats) -> float:
    """Half of the width of the central 68 %; NaN without jets."""
    if not len(residual):
        return float("nan")
    low, high = np.percentile(residual, CENTRAL)
    return float(high - low) / 2


def half_widths(found: Mapping[str, Floats]) -> dict[str, float]:
    """The half-width of every variable's residual."""
    return {variable: half_width(residual) for variable, residual in found.items()}


def two_leading(jets: Floats, counts: Counts) -> Floats:
    """Mass (MeV) of the two jets of largest pt of every event; NaN with fewer than two jets."""
    pairs, events = leading_pairs(jets, counts)
    found = np.full(len(counts), np.nan)
    with np.errstate(all="ignore"):
        total = momentum(jets)[pairs].sum(axis=1)
        square = energy(jets)[pairs].sum(axis=1) ** 2 - (total**2).sum(axis=1)
        found[events] = np.sqrt(np.maximum(square, 0))
    return found


def back_to_back(jets: Floats, counts: Counts) -> Bools:
    """Whether the two leading jets of every event have pt > 60 GeV and are more than 2.5 apart in phi."""
    pairs, events = leading_pairs(jets, counts)
    found = np.zeros(len(counts), bool)
    apart = np.abs(wrap(jets[pairs[:, 0], 2] - jets[pairs[:, 1], 2])) > DIJET_PHI
    found[events] = apart & (jets[pairs, 0] > DIJET_PT).all(axis=1)
    return found


def leading_pairs(jets: Floats, counts: Counts) -> tuple[Counts, Counts]:
    """The rows of the two jets of largest pt (k x 2), and their events: those with two jets or more."""
    order, starts = by_pt(jets, counts), np.cumsum(counts) - counts
    events = np.flatnonzero(counts >= 2)
    return order[np.stack([starts[events], starts[events] + 1], axis=1)], events


def leading_sum(jets: Floats, counts: Counts, leading: int = 4) -> Floats:
    """HT (MeV): the sum of pt over the `leading` jets of largest pt of every event; NaN without jets."""
    order, starts = by_pt(jets, counts), np.cumsum(counts) - counts
    rank = np.arange(len(jets)) - np.repeat(starts, counts)
    pt = np.where(rank < leading, jets[order, 0], 0.0)
    events = np.repeat(np.arange(len(counts)), counts)
    return np.where(counts > 0, np.bincount(events, weights=pt, minlength=len(counts)), np.nan)


def by_pt(jets: Floats, counts: Counts) -> Counts:
    """The rows of all jets, event by event, in falling pt; equal pt keep their order."""
    return np.lexsort((-jets[:, 0], np.repeat(np.arange(len(counts)), counts)))


def area_under_curve(before: Floats, after: Floats) -> tuple[float, float]:
    """The area under the ROC curve of scores of the same jets before and after, and its standard error.

    The error is that of DeLong et al. (1988, Biometrics 44, 837), with the covariance of the two samples, which hold
    the same jets.
    """
    above = _share_below(before, after)  # per jet: share of the scores before that are below its score after
    beyond = 1 - _share_below(after, before)  # per jet: share of the scores after that are above its score before
    error = float((above + beyond).std(ddof=1) / np.sqrt(len(before))) if len(before) > 1 else 0.0
    return float(above.mean()), error


def _share_below(reference: Floats, values: Floats) -> Floats:
    """The share of the reference that is below each value; equal numbers count half."""
    ordered = np.sort(reference)
    sides = [np.searchsorted(ordered, values, side=side) for side in ("left", "right")]
    return np.asarray((sides[0] + sides[1]) / (2 * len(ordered)))
