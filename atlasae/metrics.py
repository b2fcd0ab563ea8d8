"""What compression cost: residuals of jets and their widths."""

from collections.abc import Mapping

import numpy as np

from atlasae.coordinates import MASS_FLOOR, Floats, energy, wrap

CENTRAL = (15.865, 84.135)  # percentiles around the central 68 %


def residuals(before: Floats, after: Floats) -> dict[str, Floats]:
    """Signed residuals of jets (n x 4: pt, eta, phi, m in MeV).

    pt and E are relative, m is relative to max(|m|, 100 MeV), eta and phi are differences, phi wrapped.
    """
    floor = np.maximum(np.abs(before[:, 3]), MASS_FLOOR)
    return {
        "pt": after[:, 0] / before[:, 0] - 1,
        "eta": after[:, 1] - before[:, 1],
        "phi": wrap(after[:, 2] - before[:, 2]),
        "m": (after[:, 3] - before[:, 3]) / floor,
        "E": energy(after) / energy(before) - 1,
    }


def half_width(residual: Floats) -> float:
    """Half the width of the central 68 %; NaN without jets."""
    if not len(residual):
        return float("nan")
    low, high = np.percentile(residual, CENTRAL)
    return float(high - low) / 2


def half_widths(found: Mapping[str, Floats]) -> dict[str, float]:
    """The half-width of every variable's residual."""
    return {variable: half_width(residual) for variable, residual in found.items()}
