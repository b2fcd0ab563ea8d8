"""The grid that decoded values fit best, found from the values alone, and the phase of values against it."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from atlasae.jets.coordinates import Floats

_MOST_BINS, _BINS_A_VALUE = 2**20, 256  # of the histogram whose spectrum is searched
_WIDEST = 0.1  # step of a grid: wider structures are those of the spectrum itself
_BINS_A_STEP = 4  # at least: finer grids are not found
_NEARLY = 0.9  # of the largest difference: a grid of step s fits one of s / 2, s / 3, ... as well
_ROUNDS = 3  # of the refinement


@dataclass(frozen=True)
class BestGrid:
    """A grid: its number of steps per unit, and the phase of 0 against it."""

    frequency: float = 0.0
    origin: float = 0.0

    @classmethod
    def of(cls, before: Floats, after: Floats) -> Self:
        """The grid that values after fit better than values before: where their Fourier transforms differ most.

        The transform at a frequency is 1 if all values are on a grid of so many steps per unit, and near the root of
        1 / n if they are on none. Values that are all equal have no grid: all phases are 0.
        """
        low, high = float(min(before.min(), after.min())), float(max(before.max(), after.max()))
        if not high > low:
            return cls()
        bins = min(_MOST_BINS, 1 << (_BINS_A_VALUE * len(after)).bit_length())
        width = (high - low) / bins
        found = np.abs(_spectrum(after, low, width, bins)) - np.abs(_spectrum(before, low, width, bins))
        frequencies = np.arange(len(found)) / (2 * bins * width)
        searched = np.flatnonzero((frequencies >= 1 / _WIDEST) & (frequencies <= 1 / (_BINS_A_STEP * width)))
        if not len(searched):
            return cls()
        peaks = np.flatnonzero(found[searched] >= _NEARLY * found[searched].max())
        first = searched[np.split(peaks, np.flatnonzero(np.diff(peaks) > 1) + 1)[0]]
        return cls(float(frequencies[first[np.argmax(found[first])]])).fitted(after)

    def fitted(self, values: Floats) -> Self:
        """The grid moved and stretched so that it fits these values best."""
        grid, middle = self, float(values.mean())
        spread = max(float(((values - middle) ** 2).sum()), np.finfo(float).tiny)
        for _ in range(_ROUNDS):
            turns = grid.frequency * (values - middle)
            origin = float(np.angle(np.exp(2j * np.pi * turns).mean())) / (2 * np.pi)
            grid = replace(grid, origin=grid.frequency * middle + origin)
            slope = float((grid.phases(values) * (values - middle)).sum()) / spread
            grid = replace(grid, frequency=grid.frequency - slope, origin=grid.origin - slope * middle)
        return grid

    def phases(self, values: Floats) -> Floats:
        """The distance of each value from the nearest point of the grid, in steps: in [-1/2, 1/2]."""
        turns = self.frequency * values - self.origin
        return np.asarray(turns - np.rint(turns))


def _spectrum(values: Floats, low: float, width: float, bins: int) -> npt.NDArray[np.complex128]:
    """The Fourier transform of a fine histogram of values, per value."""
    places = np.minimum((values - low) / width, bins - 1).astype(np.int64)
    return np.fft.rfft(np.bincount(places, minlength=bins), 2 * bins) / len(values)
