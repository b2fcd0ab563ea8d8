"""Kolmogorov-Smirnov tests of all values, in a memory that does not grow: ranks in fine bins."""

from dataclasses import dataclass, field

import numpy as np

from atlasae.files.events import Counts
from atlasae.jets.coordinates import Floats, to_symlog

_BINS = 2**15  # per unit of the symlog: 3e-5 of a value above the unit, 3e-5 units below
_LARGEST = 20.0  # symlog of 2e8 units; what is beyond, and NaN, is in the bins at the ends


@dataclass
class Ranks:
    """How many values before and after are in each of many bins, whose edges are fixed and so need no first pass.

    The distance of the two distributions is found at the edges of bins. It is at most `resolution` too small: within a
    bin, one distribution may rise before the other. A bin is 3e-5 of its value wide, or 3e-5 of `unit` below that.
    """

    unit: float = 1.0
    low: int = 0
    counts: Counts = field(default_factory=lambda: np.zeros((2, 0), np.int64))

    @property
    def values(self) -> int:
        """The number of values before, and after."""
        return int(self.counts[0].sum())

    def add(self, before: Floats, after: Floats) -> None:
        """Add values of the same jets."""
        if not len(before):
            return
        places = [self._places(values) for values in (before, after)]
        self._cover(min(int(p.min()) for p in places), max(int(p.max()) for p in places) + 1)
        for row, place in zip(self.counts, places, strict=True):
            row += np.bincount(place - self.low, minlength=len(row))  # noqa: PLW2901  (a view of the counts)

    def merge(self, other: "Ranks") -> None:
        """Add the values of another one with the same unit."""
        high = other.low + other.counts.shape[1]
        if high > other.low:
            self._cover(other.low, high)
            self.counts[:, other.low - self.low : high - self.low] += other.counts

    def figures(self) -> dict[str, float]:
        """The largest distance of the two cumulative distributions, its p-value, and its resolution."""
        one, other = np.concatenate([[[0], [0]], self.counts.cumsum(axis=1)], axis=1) / self.values
        distance = float(np.abs(one - other).max())
        within = float(max((one[1:] - other[:-1]).max(), (other[1:] - one[:-1]).max()))  # the largest possible distance
        p = probability(distance, self.values, self.values)
        return {"distance": distance, "p_value": p, "resolution": max(0.0, within - distance)}

    def _places(self, values: Floats) -> Counts:
        scaled = np.clip(to_symlog(np.nan_to_num(values, nan=np.inf) / self.unit), -_LARGEST, _LARGEST)
        return np.floor(scaled * _BINS).astype(np.int64)

    def _cover(self, low: int, high: int) -> None:
        """Make room for the bins from `low` to `high`."""
        if not self.counts.shape[1]:
            self.low = low
        before, after = max(0, self.low - low), max(0, high - self.low - self.counts.shape[1])
        if before or after:
            self.counts = np.pad(self.counts, [(0, 0), (before, after)])
            self.low -= before


def probability(distance: float, one: int, other: int) -> float:
    """The probability that two samples of one distribution, of so many values each, are farther apart by chance.

    It is the asymptotic one for independent samples (Numerical Recipes, section 14.3). Distances of samples of the same
    jets are smaller.
    """
    n = np.sqrt(one * other / (one + other))
    scaled, k = (n + 0.12 + 0.11 / n) * distance, np.arange(1, 101)
    found = 2 * float(((-1.0) ** (k - 1) * np.exp(-2 * k**2 * scaled**2)).sum()) if scaled > 0.2 else 1.0
    return min(1.0, max(0.0, found))
