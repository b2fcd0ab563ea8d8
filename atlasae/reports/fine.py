"""What a comb of decoded values would change: spectra in fine bins, counts above thresholds, distinct values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from atlasae.files.events import Counts
from atlasae.jets.coordinates import LARGEST_ETA, Floats
from atlasae.jets.residuals import half_width
from atlasae.jets.resolution import Resolutions
from atlasae.jets.variables import JET
from atlasae.reports.results import Change, CombFigures, DistinctFigures, FineFigures, Passing

FEWEST_IN_BIN = 25  # jets in a bin that is compared
_GEV = 1000.0  # MeV
_HIGHEST = 16_384 * _GEV  # of the fine bins of pt and m
_UNIFORM = 0.6827  # half-width of the central 68 % of errors that are uniform in +-1
# of each spectrum: the variable, the width of its bins, and where they begin and end (MeV, radians)
FINE = {
    "pt, 1 GeV": ("pt", _GEV, 0.0, _HIGHEST),
    "pt, 5 GeV": ("pt", 5 * _GEV, 0.0, _HIGHEST),
    "m, 1 GeV": ("m", _GEV, 0.0, _HIGHEST),
    "m, 5 GeV": ("m", 5 * _GEV, 0.0, _HIGHEST),
    "eta, .01": ("eta", 0.01, -LARGEST_ETA, LARGEST_ETA),
    "phi, .01": ("phi", 0.01, -3.2, 3.2),
}
THRESHOLDS = tuple(pt * _GEV for pt in (25, 85, 100, 200, 450))
MOST_COUNTED = 1_000_000  # jets whose distinct values are counted


def largest_errors(
    before: Floats, after: Floats, bounds: Mapping[str, float | None], resolutions: Resolutions | None = None
) -> dict[str, Floats]:
    """The largest error that each variable of each jet (n x 4, MeV) may have, in its own unit.

    A variable without a bound gets that of uniform errors whose central 68 % are as wide as those of these jets.
    """
    found = JET.residuals(before, after)
    largest = {}
    for variable, values in zip(JET.variables, before.T, strict=True):
        name = variable.branch
        bound = bounds.get(name)
        if bound is None or not np.isfinite(bound):
            bound = half_width(found[name][np.isfinite(found[name])]) / _UNIFORM if len(before) else 0.0
        largest[name] = np.nan_to_num(bound) * variable.unit(values)
        if resolution := (resolutions or {}).get(name):
            largest[name] *= resolution.of(before[:, 0])
    return largest


@dataclass
class FineSpectrum:
    """Jets in fine bins before and after, and what random errors of the same size would make of them.

    A random error is uniform up to the largest one. A jet is then in a bin with the probability p that its interval
    has there: the sums of p and of p (1 - p) over jets are the expected number and its variance, without random
    numbers. Values outside of the bins are left out.
    """

    width: float
    low: float
    high: float
    before: Counts = field(init=False)
    after: Counts = field(init=False)
    expected: Floats = field(init=False)
    variance: Floats = field(init=False)
    first: float = np.inf  # the ends of the spectrum, less what errors can move
    last: float = -np.inf

    def __post_init__(self) -> None:
        """Make empty bins."""
        self.before, self.after = np.zeros((2, self._bins), np.int64)
        self.expected, self.variance = np.zeros((2, self._bins))

    @property
    def _bins(self) -> int:
        return round((self.high - self.low) / self.width)

    @property
    def edges(self) -> Floats:
        """The edges of all bins."""
        return np.asarray(self.low + self.width * np.arange(self._bins + 1), np.float64)

    @property
    def _squares(self) -> Floats:
        """The mean square of the change of each bin that random errors give."""
        return np.asarray(self.variance + (self.expected - self.before) ** 2)

    def add(self, before: Floats, after: Floats, largest: Floats) -> None:
        """Add a variable of jets, and the largest error of each."""
        x, reach = (before - self.low) / self.width, largest / self.width
        self.before += self._sums(np.floor(x)).astype(np.int64)
        self.after += self._sums(np.floor((after - self.low) / self.width)).astype(np.int64)
        self.first = min(self.first, float((before + largest).min(initial=np.inf)))
        self.last = max(self.last, float((before - largest).max(initial=-np.inf)))
        at = np.floor(x - reach)
        moves = (at != np.floor(x + reach)) & (x + reach > 0)
        self.expected += self._sums(at[~moves])
        x, reach, at = x[moves], reach[moves], np.maximum(at[moves], 0)  # an error may be wider than all bins
        while len(at):
            share = (np.minimum(at + 1, x + reach) - np.maximum(at, x - reach)) / (2 * reach)
            self.expected += self._sums(at, share)
            self.variance += self._sums(at, share * (1 - share))
            at = at + 1
            more = at < np.minimum(x + reach, self._bins)
            x, reach, at = x[more], reach[more], at[more]

    def _sums(self, at: Floats, weights: Floats | None = None) -> Floats:
        """Sums over jets by bin (`at`, as float64), of 1 or of weights; NaN and what is outside is left out."""
        inside = (at >= 0) & (at < self._bins)
        weights = None if weights is None else weights[inside]
        return np.asarray(np.bincount(at[inside].astype(np.int64), weights, self._bins), np.float64)

    def merge(self, other: "FineSpectrum") -> None:
        """Add another one with the same bins."""
        self.before += other.before
        self.after += other.after
        self.expected += other.expected
        self.variance += other.variance
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)

    def change(self, low: float = -np.inf, high: float = np.inf) -> Change:
        """How much the bins between two values changed, compared with random errors; without bins, their number alone.

        Bins have `FEWEST_IN_BIN` jets, and are not at an end of the spectrum, where jets move out but not in.
        """
        low, high = max(low, self.first), min(high, self.last)
        edges = self.edges
        used = (self.before >= FEWEST_IN_BIN) & (edges[:-1] >= low) & (edges[1:] <= high)
        n, shift, variance = self.before[used], (self.expected - self.before)[used], self.variance[used]
        chi2, random = ((self.after[used] - n) ** 2 / n).sum(), (self._squares[used] / n).sum()
        if not random:
            return Change(bins=int(used.sum()))
        # Var((N - n)^2) of a normal N, and of few jets that move; as these enter the next bin, covariances add half.
        error = np.sqrt(1.5 * ((2 * variance**2 + 4 * variance * shift**2 + variance) / n**2).sum())
        bins = len(n)
        return Change(
            bins=bins,
            chi2=float(chi2 / bins),
            random=float(random / bins),
            ratio=float(chi2 / random),
            error=float(error / random),
        )

    def figures(self) -> FineFigures:
        """The change, and the bins from the first to the last that are filled."""
        filled = np.flatnonzero(self.before + self.after)
        shown = slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 0)
        return FineFigures(
            width=self.width,
            first=float(self.edges[shown.start]),
            change=self.change(),
            before=self.before[shown].tolist(),
            after=self.after[shown].tolist(),
            random=np.sqrt(self._squares[shown]).tolist(),
        )


@dataclass
class Threshold:
    """The number of jets above a pt (MeV) before and after, and what random errors of the same size give."""

    pt: float
    before: int = 0
    after: int = 0
    below: int = 0
    expected: float = 0.0
    variance: float = 0.0

    def add(self, before: Floats, after: Floats, largest: Floats) -> None:
        """Add the pt of jets, and the largest error of each."""
        self.before += int((before > self.pt).sum())
        self.after += int((after > self.pt).sum())
        self.below += int((before <= self.pt).sum())
        with np.errstate(all="ignore"):
            share = np.clip((before + largest - self.pt) / (2 * largest), 0, 1)
        share = np.where(largest > 0, share, before > self.pt)
        self.expected += float(share.sum())
        self.variance += float((share * (1 - share)).sum())

    def merge(self, other: "Threshold") -> None:
        """Add another one of the same pt."""
        for name in ("before", "after", "below", "expected", "variance"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def figures(self) -> Passing:
        """The counts, and their shift in standard deviations of what random errors give: of at least one jet."""
        sigma = (self.after - self.expected) / np.sqrt(max(self.variance, 1.0))
        return Passing(pt=self.pt, before=self.before, after=self.after, below=self.below, sigma=float(sigma))


@dataclass
class Distinct:
    """The different values of each variable, as float32, of the first `most` jets before and after."""

    most: int = MOST_COUNTED
    parts: list[npt.NDArray[np.float32]] = field(default_factory=list)

    @property
    def jets(self) -> int:
        """The number of jets whose values are counted."""
        return sum(map(len, self.parts))

    def add(self, before: Floats, after: Floats) -> None:
        """Add jets (n x 4) before and after."""
        room = self.most - self.jets
        if room <= 0:
            return
        with np.errstate(over="ignore"):
            self.parts.append(np.concatenate([before[:room], after[:room]], axis=1).astype(np.float32))

    def merge(self, other: "Distinct") -> None:
        """Add other jets."""
        for part in other.parts:
            if room := self.most - self.jets:
                self.parts.append(part[:room])

    def figures(self) -> DistinctFigures:
        """The number of different values of each variable."""
        values = np.concatenate([np.empty((0, 8), np.float32), *self.parts])
        found = [len(np.unique(column)) for column in values.T]
        before, after = (dict(zip(JET.names, part, strict=True)) for part in (found[:4], found[4:]))
        return DistinctFigures(jets=len(values), before=before, after=after)


@dataclass
class CombTally:
    """What a comb of decoded values would change, summed over chunks of jets."""

    spectra: dict[str, FineSpectrum] = field(
        default_factory=lambda: {n: FineSpectrum(*b) for n, (_, *b) in FINE.items()}
    )
    above: list[Threshold] = field(default_factory=lambda: [Threshold(pt) for pt in THRESHOLDS])
    distinct: Distinct = field(default_factory=Distinct)

    def add(
        self,
        before: Floats,
        after: Floats,
        bounds: Mapping[str, float | None],
        resolutions: Resolutions | None = None,
    ) -> None:
        """Add jets (n x 4, MeV) before and after, and the bounds that are promised."""
        errors = largest_errors(before, after, bounds, resolutions)
        columns = {v: (before[:, i], after[:, i], errors[v]) for i, v in enumerate(JET.names)}
        for name, spectrum in self.spectra.items():
            spectrum.add(*columns[FINE[name][0]])
        for threshold in self.above:
            threshold.add(*columns["pt"])
        self.distinct.add(before, after)

    def merge(self, other: "CombTally") -> None:
        """Add other jets."""
        for name, spectrum in self.spectra.items():
            spectrum.merge(other.spectra[name])
        for mine, theirs in zip(self.above, other.above, strict=True):
            mine.merge(theirs)
        self.distinct.merge(other.distinct)

    def figures(self) -> CombFigures:
        """The report."""
        return CombFigures(
            spectra={name: spectrum.figures() for name, spectrum in self.spectra.items()},
            above=[threshold.figures() for threshold in self.above],
            distinct=self.distinct.figures(),
        )
