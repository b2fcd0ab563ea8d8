"""The evaluation of a compressed or decompressed file against its original: the report, and its histograms."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from atlasae.codecs.codec import few_threads
from atlasae.compression.chunks import Progress, silent
from atlasae.errors import UserError
from atlasae.files.events import Counts
from atlasae.files.remote import Location, Named, located, watching
from atlasae.files.writing import create
from atlasae.jets.collections import read_units
from atlasae.jets.coordinates import MASS_FLOOR, Floats, energy
from atlasae.jets.recognition import read_patterns
from atlasae.jets.residuals import (
    COMPARED,
    back_to_back,
    by_pt,
    leading_sum,
    mass_response,
    residuals,
    two_leading,
)
from atlasae.jets.resolution import Resolutions
from atlasae.jets.stored import rounded_up_to, storage_of
from atlasae.jets.variables import JET
from atlasae.report import merge_largest
from atlasae.reports.classifier import tell_apart
from atlasae.reports.comparison import EventNumbers, JetPairs, Pair, Paired, open_pair
from atlasae.reports.fine import CombTally
from atlasae.reports.histograms import (
    AXES,
    ETA_BINS,
    MASS_EDGES,
    PT_BINS,
    SIGNED_EDGES,
    Correlation,
    DensityHistogram,
    Histogram,
    OverResolution,
    Spectrum,
    Spread,
    Thinned,
    logarithmic,
    reach,
)
from atlasae.reports.ranks import Ranks
from atlasae.reports.results import (
    CollectionFigures,
    EvaluationReport,
    EventFigures,
    EventVariable,
    PairFacts,
    TwoSample,
    VariableFigures,
)

REPORT_FORMAT = 1  # raise it when older versions would misread a report
SHOWN = ("pt", "eta", "phi", "m", "E")  # variables with figures of spectra and residuals
MOST_SAMPLED = 200_000  # jets that the classifier gets
_UNITS = {"eta": 1.0, "phi": 1.0}  # of ranks, else MASS_FLOOR


@dataclass(frozen=True)
class Evaluated:
    """A report and its histograms by name."""

    report: EvaluationReport
    histograms: dict[str, Histogram]


@dataclass
class Tallied:
    """Sums over pairs of files: facts of the files, and an evaluation per collection, by name."""

    facts: PairFacts
    evaluations: dict[str, "Evaluation"]
    files: int = 1

    @property
    def ranges(self) -> dict[str, "Ranges"]:
        """The histogram ranges of every collection with jets: evaluations with the same ranges can be merged."""
        return {
            name: Ranges(e.residuals.ranges, e.latents.ranges if e.latents else None)
            for name, e in self.evaluations.items()
            if e.residuals
        }

    def merge(self, other: "Tallied") -> None:
        """Add another pair of files; raises UserError where its collections differ."""
        mine, theirs = ([e.paired.collection for e in tallied.evaluations.values()] for tallied in (self, other))
        if mine != theirs or self.facts.tree != other.facts.tree:
            there, here = other.facts.original, self.facts.original
            raise UserError(f"'{there}' has other jets than '{here}': evaluate it by itself")
        for name, evaluation in self.evaluations.items():
            evaluation.merge(other.evaluations[name])
        self.facts = self.facts.merged(other.facts)
        self.files += other.files

    def evaluated(self) -> Evaluated:
        """The report and its histograms."""
        with few_threads():
            found = [evaluation.figures() for evaluation in self.evaluations.values()]
        histograms = {f"{c}/{name}": h for c, e in self.evaluations.items() for name, h in e.histograms().items()}
        more = f" and {self.files - 1} more" if self.files > 1 else ""
        named = {key: f"{self.facts[key]}{more}" for key in ("original", "compressed")}
        report = EvaluationReport(format=REPORT_FORMAT, **(self.facts | named), collections=found)
        return Evaluated(report, histograms)


@dataclass(frozen=True)
class Ranges:
    """The ranges of the histograms of residuals and latents; None until the first jets give them."""

    residuals: Sequence[tuple[float, float]] | None = None
    latents: Sequence[tuple[float, float]] | None = None


def evaluate(
    original: Named,
    compressed: Named,
    jets: str | Iterable[str] = (),
    units: str | None = None,
    event_column: str | None = None,
) -> EvaluationReport:
    """The report of `atlasae evaluate` on an original and its compressed or decompressed file.

    `jets` and `units` are as in `Options`, `event_column` tells the event of each row of a table of jets. Raises
    UserError for files of other events, DamagedFileError.

    >>> report = atlasae.evaluate("in.root", "small.root")
    >>> report["collections"][0]["variables"]["pt"]["all"]["largest"] <= 1e-3
    True
    """
    files = located(original), located(compressed)
    asked = read_patterns(jets), read_units(units)
    return evaluate_files(*files, None, *asked, event_column=event_column).report


def evaluate_files(
    original: Location,
    compressed: Location,
    progress: Progress | None = None,
    patterns: Sequence[str] = (),
    units: str | None = None,
    classify: bool = True,
    event_column: str | None = None,
) -> Evaluated:
    """Compare the jets of a compressed or decompressed file with the original, chunk by chunk.

    `patterns` and `units` say which jets of a decompressed file are compared, as for `compress`. Without `classify`, no
    classifier is trained. Raises UserError where the files are not of the same events, DamagedFileError where one is
    damaged.
    """
    tallied = tally_files(original, compressed, progress, patterns, units, event_column=event_column)
    for evaluation in tallied.evaluations.values():
        evaluation.classify = classify
    return tallied.evaluated()


def tally_files(
    original: Location,
    compressed: Location,
    progress: Progress | None = None,
    patterns: Sequence[str] = (),
    units: str | None = None,
    ranges: Mapping[str, Ranges] | None = None,
    event_column: str | None = None,
) -> Tallied:
    """The sums that `evaluate_files` reports; those of several files with the same ranges can be merged."""
    with (
        few_threads(),
        watching(original, compressed) as check_unchanged,
        open_pair(original, compressed, progress or silent, patterns, units, event_column) as pair,
    ):
        tallied = _start(pair, ranges or {})
        for name, jets in pair.jets():
            tallied.evaluations[name].add(jets)
        check_unchanged()
        for evaluation in tallied.evaluations.values():
            evaluation.rows.finish()
    return tallied


def first_ranges(
    original: Location, compressed: Location, patterns: Sequence[str] = (), units: str | None = None
) -> dict[str, Ranges]:
    """The histogram ranges of a pair of files, from its first jets."""
    with few_threads(), open_pair(original, compressed, silent, patterns, units) as pair:
        tallied = _start(pair, {})
        for name, jets in pair.jets():
            tallied.evaluations[name].add(jets)
            if len(tallied.ranges) == len(tallied.evaluations):
                break
    return tallied.ranges


def _start(pair: Pair, ranges: Mapping[str, Ranges]) -> Tallied:
    made = dict[str, Evaluation]()
    for tree in pair.trees:
        for paired in tree.paired:
            name = paired.collection.name
            made[name] = Evaluation(paired, tree.contiguous, ranges.get(name, Ranges()), tree.events_from)
    return Tallied(pair.facts, made)


def write_histograms(path: Path, histograms: Mapping[str, Histogram]) -> None:
    """Write histograms to a ROOT file, each under its name."""
    with create(path) as target:
        for name, histogram in histograms.items():
            target.write_object(name, histogram)


class Evaluation:
    """The sums over chunks for one collection."""

    def __init__(
        self,
        paired: Paired,
        contiguous: bool = True,
        ranges: Ranges | None = None,
        events_from: str | None = None,
    ) -> None:
        self.paired, self.ranges = paired, ranges or Ranges()
        self.events = EventTally(events_from)
        self.rows = EventRows(self.events, contiguous)
        self.jets = self.not_compared = self.changed = self.light = 0
        self.largest: dict[str, float] = {}
        self.in_pt = {v: Spread(PT_BINS) for v in COMPARED}
        self.in_abs_eta = {v: Spread(ETA_BINS) for v in COMPARED}
        self.in_eta = {v: Spread(SIGNED_EDGES) for v in SHOWN}
        self.heavy = Spread(np.array([0.0, np.inf]))
        self.spectra = {v: Spectrum(AXES[v]) for v in SHOWN}
        self.correlation = Correlation(COMPARED)
        self.comb = CombTally()
        self.ranks = {v: Ranks(_UNITS.get(v, MASS_FLOOR)) for v in SHOWN}
        self.sample = Thinned(MOST_SAMPLED)
        resolutions, bounds = self._resolutions, self.paired.precision
        self.over = {v: OverResolution(r, share) for v, r in resolutions.items() if (share := bounds.get(v))}
        self.residuals: DensityHistogram | None = None
        self.latents: DensityHistogram | None = None
        self.classify = True

    @property
    def _resolutions(self) -> Resolutions:
        """The resolutions in units of which variables have bounds."""
        return self.paired.collection.resolutions or {}

    def add(self, jets: JetPairs) -> None:
        """Add the jets of a chunk; those without coordinates are only compared bit for bit."""
        usable = JET.usable(jets.before)
        before, after = jets.before[usable], jets.after[usable]
        self.jets += len(usable)
        self.largest = merge_largest([self.largest, jets.largest])
        self.not_compared += int((~usable).sum())
        self.changed += int((~usable & ~jets.same).sum())
        self.light += int((np.abs(before[:, 3]) < MASS_FLOOR).sum())
        self._add_residuals(before, after)
        shown = _shown(after)
        for variable, values in _shown(before).items():
            self.spectra[variable].add(values, shown[variable])
            self.ranks[variable].add(values, shown[variable])
        self.comb.add(before, after, self.paired.precision, self._resolutions)
        self.sample.add(np.concatenate([before, after], axis=1))
        self._add_latents(jets.latents)
        if jets.counts is not None:
            counts = np.bincount(
                np.repeat(np.arange(len(jets.counts)), jets.counts)[usable], minlength=len(jets.counts)
            )
            self.events.add(before, after, counts)
        elif jets.numbers is not None:
            self.rows.add(before, after, jets.numbers[usable])

    def merge(self, other: "Evaluation") -> None:
        """Add another evaluation with the same ranges."""
        self.paired = _joined(self.paired, other.paired)
        self.largest = merge_largest([self.largest, other.largest])
        for name in ("jets", "not_compared", "changed", "light"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in (
            (self.in_pt, other.in_pt),
            (self.in_abs_eta, other.in_abs_eta),
            (self.in_eta, other.in_eta),
        ):
            for variable, spread in mine.items():
                spread.merge(theirs[variable])
        for variable, spectrum in self.spectra.items():
            spectrum.merge(other.spectra[variable])
            self.ranks[variable].merge(other.ranks[variable])
        for variable, over in self.over.items():
            over.merge(other.over[variable])
        self.comb.merge(other.comb)
        self.heavy.merge(other.heavy)
        self.correlation.merge(other.correlation)
        self.sample.merge(other.sample)
        self.events.merge(other.events)
        self.residuals = _merged(self.residuals, other.residuals)
        self.latents = _merged(self.latents, other.latents)

    def _add_residuals(self, before: Floats, after: Floats) -> None:
        found = residuals(before, after)
        for variable, residual in found.items():
            self.in_pt[variable].add(before[:, 0], residual)
            self.in_abs_eta[variable].add(np.abs(before[:, 1]), residual)
        for variable, spread in self.in_eta.items():
            spread.add(before[:, 1], found[variable])
        for variable, over in self.over.items():
            over.add(before[:, 0], found[variable])
        response = mass_response(before, after)
        self.heavy.add(np.ones(len(response)), response)
        self.correlation.add([found[v] for v in COMPARED])
        if self.residuals is None and len(before):
            ranges = self.ranges.residuals or [(-far, far) for far in (reach(found[v]) for v in SHOWN)]
            self.residuals = DensityHistogram(SHOWN, ranges)
        if self.residuals:
            self.residuals.add([found[v] for v in SHOWN])

    def _add_latents(self, latents: Floats | None) -> None:
        if latents is None or not len(latents):
            return
        if self.latents is None:
            ranges = self.ranges.latents or [_around(column) for column in latents.T]
            self.latents = DensityHistogram(self.paired.latents, ranges)
        self.latents.add(list(latents.T))

    def figures(self) -> CollectionFigures:
        """The report of this collection."""
        self.rows.finish()
        collection, before, after = self.paired.collection, self.paired.bytes_before, self.paired.bytes_after
        return CollectionFigures(
            name=collection.name,
            branches=collection.branches,
            units=collection.units,
            jets=self.jets,
            exact_jets=self.paired.exact_jets,
            not_compared={"jets": self.not_compared, "changed": self.changed},
            light_jets=self.light,
            precision=self.paired.precision,
            resolutions=collection.resolution_texts,
            layout=self.paired.layout,
            floors=storage_of(collection).floors,
            max_error=rounded_up_to(self.largest, self.paired.precision),
            bytes_in=before,
            bytes_out=after,
            bytes_per_jet_before=before / self.jets if self.jets else None,
            bytes_per_jet=after / self.jets if self.jets else None,
            variables={v: self._variable(v) for v in COMPARED},
            mass_above_500_MeV=self.heavy.figures(),
            correlation=self.correlation.figures(),
            events=self.events.figures(),
            two_sample=self._two_sample(),
            comb=self.comb.figures(),
            spectra={v: spectrum.figures() for v, spectrum in self.spectra.items()},
            residuals=self.residuals.figures() if self.residuals else None,
            latents=replace(self.latents.figures(), meaning=self.paired.meaning) if self.latents else None,
        )

    def histograms(self) -> dict[str, Histogram]:
        """Spectra before and after, residuals and latents, in MeV and radians."""
        spectra = self.spectra | {"dijet_mass": self.events.mass, "ht": self.events.ht}
        found = {f"before/{name}": spectrum.before for name, spectrum in spectra.items()}
        found |= {f"after/{name}": spectrum.after for name, spectrum in spectra.items()}
        for group, density in (("residual", self.residuals), ("latent", self.latents)):
            if density:
                names = [name.removeprefix(self.paired.collection.prefix) for name in density.names]
                found |= {f"{group}/{name}": one for name, one in zip(names, density.single, strict=True)}
                found |= {f"{group}/{names[i]}_{names[j]}": both for (i, j), both in density.pairs.items()}
        return found

    def _variable(self, variable: str) -> VariableFigures:
        figures = self.in_pt[variable].figures()
        if figures.jets and variable in self.largest and variable not in self.over:  # as `verify` counts it
            figures = replace(figures, largest=self.largest[variable])
        return VariableFigures(
            residual="difference" if variable in ("eta", "phi") else "relative",
            bound=None if variable in self.over else self.paired.precision.get(variable),
            all=figures,
            in_pt=self.in_pt[variable].by_bin(),
            in_abs_eta=self.in_abs_eta[variable].by_bin(),
            in_eta=self.in_eta[variable].by_bin() if variable in SHOWN else None,
            over_resolution=self.over[variable].figures() if variable in self.over else None,
        )

    def _two_sample(self) -> TwoSample:
        rows = self.sample.rows(8)
        return TwoSample(
            jets=self.ranks["pt"].values,
            kolmogorov_smirnov={v: ranks.figures() for v, ranks in self.ranks.items() if ranks.values},
            classifier=tell_apart(rows[:, :4], rows[:, 4:]) if self.classify else None,
        )


@dataclass
class EventTally:
    """Sums over events: dijet mass, HT, and changes of the order of jets in pt."""

    told_by: str | None = None  # what tells of events, in words
    events: int = 0
    scattered: bool = False  # jets of an event are not adjacent: events unknown
    reordered_events: int = 0
    reordered_jets: int = 0
    mass: Spectrum = field(default_factory=lambda: Spectrum(logarithmic(1e3, 1e8)))
    mass_spread: Spread = field(default_factory=lambda: Spread(MASS_EDGES))
    balanced: Spread = field(default_factory=lambda: Spread(MASS_EDGES))  # back to back, as from a resonance
    ht: Spectrum = field(default_factory=lambda: Spectrum(logarithmic(1e3, 1e8)))
    ht_spread: Spread = field(default_factory=lambda: Spread(MASS_EDGES))

    def add(self, before: Floats, after: Floats, counts: Counts) -> None:
        """Add events, whose jets (n x 4, MeV) are adjacent."""
        self.events += int((counts > 0).sum())
        moved = by_pt(before, counts) != by_pt(after, counts)
        self.reordered_jets += int(moved.sum())
        self.reordered_events += len(np.unique(np.repeat(np.arange(len(counts)), counts)[moved]))
        masses = two_leading(before, counts), two_leading(after, counts)
        _add_pairs(self.mass, self.mass_spread, *masses)
        apart = back_to_back(before, counts)
        with np.errstate(all="ignore"):
            self.balanced.add(masses[0][apart], masses[1][apart] / masses[0][apart] - 1)
        _add_pairs(self.ht, self.ht_spread, leading_sum(before, counts), leading_sum(after, counts))

    def merge(self, other: "EventTally") -> None:
        """Add other events."""
        self.events += other.events
        self.scattered |= other.scattered
        self.reordered_events += other.reordered_events
        self.reordered_jets += other.reordered_jets
        self.mass.merge(other.mass)
        self.mass_spread.merge(other.mass_spread)
        self.balanced.merge(other.balanced)
        self.ht.merge(other.ht)
        self.ht_spread.merge(other.ht_spread)

    def figures(self) -> EventFigures:
        """The report of events; `events` is 0 if the file does not tell them."""
        if not self.events or self.scattered:
            scattered = f"{self.told_by}, where the jets of an event are not adjacent" if self.scattered else None
            return EventFigures(events=0, told_by=scattered)
        return EventFigures(
            events=self.events,
            told_by=self.told_by,
            reordered={"events": self.reordered_events, "jets": self.reordered_jets},
            dijet_mass=_of_events(self.mass, self.mass_spread),
            dijet_mass_back_to_back=self.balanced.figures(),
            ht=_of_events(self.ht, self.ht_spread),
        )


def _merged(one: DensityHistogram | None, other: DensityHistogram | None) -> DensityHistogram | None:
    if one and other:
        one.merge(other)
    return one or other


def _joined(one: Paired, other: Paired) -> Paired:
    """Two pairs as one: the loosest bounds, and the sums of bytes and exact jets."""
    both = [(one.precision.get(v), other.precision.get(v)) for v in one.precision]
    known = one.exact_jets is not None and other.exact_jets is not None
    return replace(
        one,
        bytes_before=one.bytes_before + other.bytes_before,
        bytes_after=one.bytes_after + other.bytes_after,
        precision={v: max(a, b) if a and b else None for v, (a, b) in zip(one.precision, both, strict=True)},
        exact_jets=(one.exact_jets or 0) + (other.exact_jets or 0) if known else None,
    )


def _add_pairs(spectrum: Spectrum, spread: Spread, before: Floats, after: Floats) -> None:
    there = np.isfinite(before)
    spectrum.add(before[there], after[there])
    with np.errstate(all="ignore"):  # masses may be 0
        spread.add(before[there], after[there] / before[there] - 1)


def _of_events(spectrum: Spectrum, spread: Spread) -> EventVariable:
    return EventVariable(all=spread.figures(), in_value=spread.by_bin(), spectrum=spectrum.figures())


class EventRows:
    """Groups jets, one per row, by event number.

    If the rows of an event are adjacent, the last event is kept for the next chunk, else all are kept until the end. If
    they turn out not to be adjacent, no events are reported.
    """

    def __init__(self, tally: EventTally, contiguous: bool) -> None:
        self.tally, self.contiguous = tally, contiguous
        self.waiting: list[tuple[Floats, Floats, EventNumbers]] = []

    def add(self, before: Floats, after: Floats, numbers: EventNumbers) -> None:
        """Add rows."""
        self.waiting.append((before, after, numbers))
        if not self.contiguous:
            return
        before, after, numbers = self._joined()
        begins = np.flatnonzero(np.diff(numbers)) + 1
        self.tally.scattered |= len(begins) + 1 > max(1, len(np.unique(numbers)))
        last = int(begins[-1]) if len(begins) else 0
        self._pass_on(before[:last], after[:last], numbers[:last])
        self.waiting = [(before[last:], after[last:], numbers[last:])]

    def finish(self) -> None:
        """Add the rows that were kept."""
        if self.waiting:
            before, after, numbers = self._joined()
            order = np.argsort(numbers, kind="stable")
            self._pass_on(before[order], after[order], numbers[order])
            self.waiting = []

    def _joined(self) -> tuple[Floats, Floats, EventNumbers]:
        before, after, numbers = (np.concatenate(parts) for parts in zip(*self.waiting, strict=True))
        return before, after, numbers

    def _pass_on(self, before: Floats, after: Floats, numbers: EventNumbers) -> None:
        begins = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
        self.tally.add(before, after, np.diff(begins, append=len(numbers)))


def _shown(jets: Floats) -> dict[str, Floats]:
    return dict(zip(SHOWN, (*jets.T, energy(jets)), strict=True))


def _around(column: Sequence[float] | Floats) -> tuple[float, float]:
    low, high = float(np.min(column)), float(np.max(column))
    margin = 0.02 * (high - low) or max(1e-6, 1e-6 * abs(low))
    return low - margin, math.nextafter(high + margin, math.inf)
