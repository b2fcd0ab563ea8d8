"""Sums over chunks, in memory independent of the size of a file: residuals, spectra, correlations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import hist
import numpy as np

from atlasae.files.events import Counts
from atlasae.jets.coordinates import Floats
from atlasae.jets.residuals import CENTRAL, CENTRAL_95, QUANTILES
from atlasae.jets.resolution import Resolution, widening
from atlasae.reports.results import (
    CorrelationFigures,
    DensityFigures,
    DensityPair,
    OverResolutionFigures,
    ResidualFigures,
    SpectrumFigures,
)  # fmt: skip

Histogram = hist.Hist[Any]

# A residual r is filled at sign(r) log10(1 + |r| / _SMALLEST): bins of 1 % of r for any precision.
_SMALLEST = 1e-9
_SCALE = hist.axis.Regular(10501, -21.002, 21.002, name="residual")
_FLOW_EDGES = np.concatenate([[_SCALE.edges[0]], _SCALE.edges, [_SCALE.edges[-1]]])  # with empty flow bins

_OVER_BINS, _BEYOND = 60, 1.2  # bins of residuals over the resolution, and where they end, in bounds

PT_BINS = np.array([0, 20, 30, 45, 60, 85, 110, 150, 200, 300, 400, 600, 800, 1200, 2000, np.inf]) * 1000.0  # MeV
ETA_BINS = np.array([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, np.inf])  # of |eta|
MASS_EDGES = np.array([0, 50, 100, 150, 200, 300, 400, 600, 800, 1200, 2000, 4000, np.inf]) * 1000.0  # MeV
SIGNED_EDGES = np.linspace(-5, 5, 21)  # of eta


@dataclass
class Spread:
    """Residuals of one variable in bins of another (`edges`): moments, extremes and quantiles, in constant memory.

    A residual outside the bins is left out. Residuals that are not finite are only counted, in `lost`.
    """

    edges: Floats
    lost: int = 0
    lowest: Floats = field(init=False)
    highest: Floats = field(init=False)
    fine: Histogram = field(init=False)
    moments: Histogram = field(init=False)

    def __post_init__(self) -> None:
        """Make empty histograms."""
        bins = hist.axis.Variable(self.edges, name="at")
        self.lowest, self.highest = np.full((2, len(self.edges) - 1), [[np.inf], [-np.inf]])
        self.fine = hist.Hist(bins, _SCALE, storage=hist.storage.Int64())
        self.moments = hist.Hist(bins, storage=hist.storage.Mean())

    def add(self, at: Floats, residual: Floats) -> None:
        """Add residuals at these values of the variable that is binned."""
        finite = np.isfinite(residual)
        self.lost += int((~finite).sum())
        at, residual = at[finite], residual[finite]
        self.fine.fill(at, np.copysign(np.log10(1 + np.abs(residual) / _SMALLEST), residual))
        self.moments.fill(at, sample=residual)
        index = np.digitize(at, self.edges) - 1
        inside = (index >= 0) & (index < len(self.lowest))
        np.minimum.at(self.lowest, index[inside], residual[inside])
        np.maximum.at(self.highest, index[inside], residual[inside])

    def merge(self, other: "Spread") -> None:
        """Add another Spread with the same edges."""
        self.lost += other.lost
        self.fine += other.fine
        self.moments += other.moments
        self.lowest, self.highest = np.minimum(self.lowest, other.lowest), np.maximum(self.highest, other.highest)

    def figures(self) -> ResidualFigures:
        """The figures of all bins together."""
        counts = self.fine.view(flow=True)[1:-1].sum(axis=0)
        ends = self.lowest.min(), self.highest.max()
        return _figures_of(counts, *_joined(self.moments), ends, not_finite=self.lost or None)

    def by_bin(self) -> list[ResidualFigures]:
        """The figures of every bin that is not empty, with its edges."""
        counts, moments = self.fine.view(flow=True)[1:-1], self.moments.view()
        return [
            _figures_of(counts[i], moments[i]["value"], _variance(moments[i]), ends, low=float(low), high=float(high))
            for i, (low, high) in enumerate(pairwise(self.edges))
            if counts[i].sum()
            for ends in [(self.lowest[i], self.highest[i])]
        ]


def _figures_of(
    counts: Counts, mean: float, variance: float, ends: tuple[float, float], **more: Any
) -> ResidualFigures:
    """Mean, standard deviation, half-widths, largest size and quantiles; only the number of jets if it is 0.

    `ends` are the lowest and highest residual, which limit the quantiles. The error of a quantile is half of the
    interval between those at its share of the jets +- one binomial standard deviation.
    """
    if not (jets := int(counts.sum())):
        return ResidualFigures(jets=0, **more)
    shares = np.array(QUANTILES) / 100
    off = np.sqrt(shares * (1 - shares) / jets)
    at = quantile(counts, np.clip([shares, shares - off, shares + off], 0, 1))
    middle, low, high = np.clip(at, *ends)
    found = dict(zip(QUANTILES, middle.tolist(), strict=True))
    errors = dict(zip(QUANTILES, ((high - low) / 2).tolist(), strict=True))
    return ResidualFigures(
        jets=jets,
        mean=float(mean),
        std=float(np.sqrt(variance)),
        half_width_68=(found[CENTRAL[1]] - found[CENTRAL[0]]) / 2,
        half_width_68_error=_error_of_half(errors[CENTRAL[0]], errors[CENTRAL[1]]),
        half_width_95=(found[CENTRAL_95[1]] - found[CENTRAL_95[0]]) / 2,
        largest=float(max(abs(ends[0]), abs(ends[1]))),
        quantiles={f"{q:g}": value for q, value in found.items()},
        errors={f"{q:g}": value for q, value in errors.items()},
        **more,
    )


def _error_of_half(low: float, high: float) -> float:
    """The error of half of the distance of two symmetric quantiles with these errors (of jets: Cramer 1946, 28.5)."""
    share = CENTRAL[0] / 100
    return 0.5 * float(np.sqrt(low**2 + high**2 - 2 * low * high * share / (1 - share)))


def quantile(counts: Counts, share: Floats) -> Floats:
    """The residuals below which these shares of the counts (of `Spread.fine`, flow bins included) are."""
    running = np.concatenate([[0], np.cumsum(counts)])
    wanted = np.asarray(share) * running[-1]
    i = np.minimum(np.searchsorted(running, wanted, side="right") - 1, int(np.flatnonzero(counts)[-1]))
    at = _FLOW_EDGES[i] + (_FLOW_EDGES[i + 1] - _FLOW_EDGES[i]) * (wanted - running[i]) / counts[i]
    return np.asarray(np.copysign(_SMALLEST * (10 ** np.abs(at) - 1), at))


def _joined(moments: Histogram) -> tuple[float, float]:
    total: Any = moments.sum()
    return total.value, total.variance if total.count > 1 else 0.0


def _variance(moment: Any) -> float:
    return float(moment["_sum_of_deltas_squared"] / (moment["count"] - 1)) if moment["count"] > 1 else 0.0


@dataclass
class Spectrum:
    """The distribution of a variable before and after, and the number of jets that changed bins.

    The jets are the same before and after, so the uncertainty of the ratio in a bin comes from the jets that moved.
    """

    axis: Any
    before: Histogram = field(init=False)
    after: Histogram = field(init=False)
    moved: Counts = field(init=False)  # jets that moved into or out of each bin

    def __post_init__(self) -> None:
        """Make empty histograms."""
        self.before = hist.Hist(self.axis, storage=hist.storage.Double())
        self.after = hist.Hist(self.axis, storage=hist.storage.Double())
        self.moved = np.zeros(len(self.axis) + 2, np.int64)

    def add(self, before: Floats, after: Floats) -> None:
        """Add the values of the same jets, before and after."""
        before, after = self._without_logarithm(before), self._without_logarithm(after)
        self.before.fill(before)
        self.after.fill(after)
        one, other = (self.axis.index(values) + 1 for values in (before, after))
        self.moved += np.bincount(one[one != other], minlength=len(self.moved))
        self.moved += np.bincount(other[one != other], minlength=len(self.moved))

    def _without_logarithm(self, values: Floats) -> Floats:
        """Values with those below the axis just below it: a mass that is not positive has no logarithm."""
        low = float(self.axis.edges[0])
        return np.where(values < low, low - (abs(low) / 2 or 1.0), values)

    def merge(self, other: "Spectrum") -> None:
        """Add another Spectrum with the same axis."""
        self.before += other.before
        self.after += other.after
        self.moved += other.moved

    def figures(self) -> SpectrumFigures:
        """Edges and counts from the first to the last filled bin, and the counts outside of the axis."""
        before, after = (h.view(flow=True).astype(np.int64) for h in (self.before, self.after))
        filled = np.flatnonzero(before[1:-1] + after[1:-1])
        if not len(filled):
            return SpectrumFigures(edges=[], before=[], after=[], moved=[], outside=int(before.sum()))
        below = int(before[0]), int(after[0]), int(self.moved[0])
        first, last = int(filled[0]), int(filled[-1]) + 1
        shown = slice(first + 1, last + 1)
        return SpectrumFigures(
            edges=self.axis.edges[first : last + 1].tolist(),
            before=before[shown].tolist(),
            after=after[shown].tolist(),
            moved=self.moved[shown].tolist(),
            outside=int(before[0] + before[-1]),
            lowest=float(self.axis.edges[0]) if any(below) else None,
            below=below if any(below) else None,
        )


def logarithmic(low: float, high: float) -> Any:
    """An axis for steeply falling distributions, with 20 bins a decade."""
    bins = round(20 * np.log10(high / low))
    return hist.axis.Regular(bins, low, high, transform=hist.axis.transform.log, name="x")


def linear(low: float, high: float, bins: int) -> Any:
    """An axis with bins of equal width."""
    return hist.axis.Regular(bins, low, high, name="x")


AXES = {
    "pt": logarithmic(1e2, 1e8),
    "eta": linear(-5, 5, 50),
    "phi": linear(-np.pi, np.pi, 32),
    "m": logarithmic(10, 1e7),
    "E": logarithmic(1e2, 1e8),
}  # MeV


@dataclass
class OverResolution:
    """Residuals of a variable over the detector's resolution at the pt of the jet, up to the promised `share` of it."""

    resolution: Resolution
    share: float
    spread: Spread = field(default_factory=lambda: Spread(np.array([-np.inf, np.inf])))
    counts: Counts = field(default_factory=lambda: np.zeros(_OVER_BINS, np.int64))

    @property
    def edges(self) -> Floats:
        """The edges of the bins of residuals over the resolution."""
        return np.linspace(-_BEYOND, _BEYOND, _OVER_BINS + 1) * self.share

    def add(self, pt: Floats, residual: Floats) -> None:
        """Add residuals of jets of these pt (MeV)."""
        over = residual / self.resolution.of(pt)
        self.spread.add(pt, over)
        self.counts += np.histogram(over[np.isfinite(over)], self.edges)[0]

    def merge(self, other: "OverResolution") -> None:
        """Add another one of the same resolution and share."""
        self.spread.merge(other.spread)
        self.counts += other.counts

    def figures(self) -> OverResolutionFigures:
        """The report."""
        found = self.spread.figures()
        return OverResolutionFigures(
            terms=list(self.resolution.terms),
            bound=self.share,
            all=found,
            widening=widening(math.hypot(found.mean or 0.0, found.std or 0.0)),
            widening_at_most=widening(self.share),
            edges=self.edges.tolist(),
            counts=self.counts.tolist(),
        )


@dataclass
class DensityHistogram:
    """Two-dimensional histograms of every pair of columns, and one-dimensional ones of every column."""

    names: tuple[str, ...]
    ranges: Sequence[tuple[float, float]]
    bins: int = 60

    @cached_property
    def _axes(self) -> list[Any]:
        return [hist.axis.Regular(self.bins, *limits) for limits in self.ranges]

    @cached_property
    def single(self) -> list[Histogram]:
        """One histogram per column."""
        return [hist.Hist(axis, storage=hist.storage.Double()) for axis in self._axes]

    @cached_property
    def pairs(self) -> dict[tuple[int, int], Histogram]:
        """One histogram per pair of columns."""
        axes = list(enumerate(self._axes))
        return {(i, j): hist.Hist(a, b, storage=hist.storage.Double()) for i, a in axes for j, b in axes if i < j}

    def add(self, columns: Sequence[Floats]) -> None:
        """Add rows, given column by column."""
        for one, column in zip(self.single, columns, strict=True):
            one.fill(column)
        for (i, j), both in self.pairs.items():
            both.fill(columns[i], columns[j])

    def merge(self, other: "DensityHistogram") -> None:
        """Add another one; raises ValueError for other names or ranges."""
        if (self.names, list(self.ranges)) != (other.names, list(other.ranges)):
            raise ValueError(f"{self.names} in {self.ranges} and {other.names} in {other.ranges} do not add up")
        for one, more in zip(self.single, other.single, strict=True):
            one += more  # noqa: PLW2901  (a histogram adds in place)
        for key, both in self.pairs.items():
            both += other.pairs[key]  # noqa: PLW2901  (the same)

    def figures(self) -> DensityFigures:
        """Edges and counts."""
        return DensityFigures(
            names=list(self.names),
            edges=[axis.edges.tolist() for axis in self._axes],
            counts=[one.view().astype(np.int64).tolist() for one in self.single],
            outside=[int(one.sum(flow=True) - one.sum()) for one in self.single],
            pairs=[
                DensityPair(x=i, y=j, counts=both.view().astype(np.int64).tolist())
                for (i, j), both in self.pairs.items()
            ],
        )


@dataclass
class Correlation:
    """The correlation matrix (Pearson) of columns, chunk by chunk."""

    names: tuple[str, ...]
    rows: int = 0
    mean: Floats = field(init=False)
    products: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Make an empty matrix."""
        self.mean, self.products = np.zeros(len(self.names)), np.zeros((len(self.names),) * 2)

    def add(self, columns: Sequence[Floats]) -> None:
        """Add rows, given column by column, but for those that are not finite (Chan et al. 1979)."""
        table = np.stack(columns, axis=1)
        table = table[np.isfinite(table).all(axis=1)]
        if not len(table):
            return
        mean = table.mean(axis=0)
        deviations = table - mean
        self._join(len(table), mean, deviations.T @ deviations)

    def merge(self, other: "Correlation") -> None:
        """Add another one of the same names."""
        if other.rows:
            self._join(other.rows, other.mean, other.products)

    def _join(self, rows: int, mean: Floats, products: Floats) -> None:
        shift, total = mean - self.mean, self.rows + rows
        self.products += products + np.outer(shift, shift) * self.rows * rows / total
        self.mean += shift * rows / total
        self.rows = total

    def figures(self) -> CorrelationFigures:
        """The matrix; null where a column is constant."""
        spread = np.sqrt(np.diag(self.products))
        spread[spread <= 1e-12 * np.abs(self.mean) * np.sqrt(self.rows)] = np.nan  # rounding errors only
        with np.errstate(all="ignore"):
            matrix = self.products / np.outer(spread, spread)
        return CorrelationFigures(variables=list(self.names), rows=self.rows, matrix=matrix.tolist())


@dataclass
class Thinned:
    """At most `most` rows, evenly from all rows added: every second row is dropped whenever there are more."""

    most: int
    every: int = 1
    seen: int = 0
    parts: list[Floats] = field(default_factory=list)

    def add(self, rows: Floats) -> None:
        """Add rows (n x columns)."""
        self.parts.append(rows[-self.seen % self.every :: self.every].copy())  # a view would keep all rows
        self.seen += len(rows)
        self._thin()

    def merge(self, other: "Thinned") -> None:
        """Add the rows of another sample, as if they had been added here; thinning may select others."""
        kept = Thinned(self.most, other.every, other.seen, list(other.parts))
        while self.every != kept.every:
            (self if self.every < kept.every else kept)._halve()
        self.parts += kept.parts
        self.seen += kept.seen
        self._thin()

    def _thin(self) -> None:
        while sum(map(len, self.parts)) > self.most:
            self._halve()

    def _halve(self) -> None:
        self.parts = [np.concatenate(self.parts)[::2].copy()] if self.parts else []
        self.every *= 2

    def rows(self, columns: int) -> Floats:
        """The kept rows (n x columns)."""
        return np.concatenate([np.empty((0, columns)), *self.parts])


def reach(values: Floats) -> float:
    """A round number above 99.9 % of the absolute values: the range of a histogram of them."""
    sizes = np.abs(values[np.isfinite(values)])
    wanted = max(1e-9, 1.2 * float(np.quantile(sizes, 0.999)) if len(sizes) else 0.0)
    decade = 10 ** np.floor(np.log10(wanted))
    return float(next(step * decade for step in (1, 1.5, 2, 3, 5, 7, 10) if step * decade >= wanted))
