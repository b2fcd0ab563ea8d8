"""Reports of evaluations, benchmarks and figures, and their pages."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from atlasae.compression.results import file_sizes, floor_lines
from atlasae.jets.collections import main_collection
from atlasae.report import Facts, Page, PageTable, Report, bound_text, counted, picture_html
from atlasae.reports.panels import NO_LABEL, QUANTITIES

MOST_CHANGED = 1.3  # change of fine bins over that of random errors, if errors do not depend on the value
BY_CHANCE = 3.0  # standard deviations
_WIDTH = 4.0  # inches of a figure in a notebook
FEWEST_BINS = 10  # with enough jets, of fine spectra that are judged and drawn


class ResidualFigures(Facts):
    """Residuals of `jets`, or of those between `low` and `high` of another variable; nothing more where there are none.

    `errors` are the statistical errors of the `quantiles`. `not_finite` counts residuals that are in no other figure.
    """

    low: float | None = None
    high: float | None = None
    jets: int
    mean: float | None = None
    std: float | None = None
    half_width_68: float | None = None
    half_width_68_error: float | None = None
    half_width_95: float | None = None
    largest: float | None = None
    quantiles: Mapping[str, float] | None = None
    errors: Mapping[str, float] | None = None
    not_finite: int | None = None


class OverResolutionFigures(Facts):
    """Residuals over the resolution of the detector, of the terms N, S and C, with their bound and a histogram.

    `widening` is the relative change of the resolution by adding the root mean square of residuals in quadrature;
    `widening_at_most` that by adding the bound.
    """

    terms: list[float]
    bound: float
    all: ResidualFigures
    widening: float
    widening_at_most: float
    edges: list[float]
    counts: list[int]


class VariableFigures(Facts):
    """Residuals of a variable, `relative` ones or a `difference`, and the bound on them, if one is promised.

    Where the bound is a share of the resolution, `over_resolution` has it.
    """

    residual: str
    bound: float | None
    all: ResidualFigures
    in_pt: list[ResidualFigures]
    in_abs_eta: list[ResidualFigures]
    in_eta: list[ResidualFigures] | None = None
    over_resolution: OverResolutionFigures | None = None


class SpectrumFigures(Facts):
    """A histogram before and after; `moved` counts what changed its bin, into it or out of it.

    `outside` counts what is on neither axis before. `below` are the numbers before, after and moved under `lowest`,
    where the axis begins, such as masses that are not positive.
    """

    edges: list[float]
    before: list[int]
    after: list[int]
    moved: list[int]
    outside: int
    lowest: float | None = None
    below: tuple[int, int, int] | None = None


class DensityPair(Facts):
    """A two-dimensional histogram of the columns `x` and `y`."""

    x: int
    y: int
    counts: list[list[int]]


class DensityFigures(Facts):
    """A histogram of each column, and of every two; of latents, the `meaning` of each."""

    names: list[str]
    edges: list[list[float]]
    counts: list[list[int]]
    outside: list[int]
    pairs: list[DensityPair]
    meaning: tuple[str, ...] | None = None


class CorrelationFigures(Facts):
    """The correlation matrix (Pearson) of residuals; not a number where one never changes."""

    variables: list[str]
    rows: int
    matrix: list[list[float]]


class EventVariable(Facts):
    """A variable of events: its residuals, in all and in bins of its own value, and its spectrum."""

    all: ResidualFigures
    in_value: list[ResidualFigures]
    spectrum: SpectrumFigures


class EventFigures(Facts):
    """Variables of whole events; without events, or if rows have no event number, `events` alone.

    `told_by` says where events come from. `reordered` counts the `jets` that changed places in pt, and their `events`.
    """

    events: int
    told_by: str | None = None
    reordered: Mapping[str, int] | None = None
    dijet_mass: EventVariable | None = None
    dijet_mass_back_to_back: ResidualFigures | None = None
    ht: EventVariable | None = None


class Separation(Facts):
    """How well a classifier tells jets from what became of them: the area under its ROC curve, with its error."""

    auc: float
    error: float
    jets: int


class TwoSample(Facts):
    """Tests of whether jets before and after are of one distribution: the `distance` and `p_value` of each variable.

    The distance is of all `jets`, and at most `resolution` too small.
    """

    jets: int
    kolmogorov_smirnov: Mapping[str, Mapping[str, float]]
    classifier: Separation | None


class Change(Facts):
    """How much the counts of `bins` changed: `chi2`, the mean of (after - before)^2 / before over the bins.

    `random` is the chi2 that random errors of the same size would give, `ratio` chi2 over it, about 1 for errors that
    do not depend on the value, and `error` what chance makes of the ratio. Nothing more where random errors move no
    jet.
    """

    bins: int
    chi2: float | None = None
    random: float | None = None
    ratio: float | None = None
    error: float | None = None


class FineFigures(Facts):
    """A spectrum in bins of equal `width` from `first` (MeV, radians): jets before and after, and their `change`.

    `random` is the root mean square of each bin's change that random errors of the same size would give.
    """

    width: float
    first: float
    change: Change
    before: list[int]
    after: list[int]
    random: list[float]


class Passing(Facts):
    """The number of jets above a pt (MeV) before and after, and of the others before.

    `sigma` is the shift in standard deviations of what random errors of the same size give.
    """

    pt: float
    before: int
    after: int
    below: int
    sigma: float


class DistinctFigures(Facts):
    """The number of different values of each variable, before and after, of so many `jets`."""

    jets: int
    before: Mapping[str, int]
    after: Mapping[str, int]


class CombFigures(Facts):
    """What a comb of decoded values would change: fine spectra by name, jets above a pt, distinct values."""

    spectra: Mapping[str, FineFigures]
    above: list[Passing]
    distinct: DistinctFigures


class CollectionFigures(Facts):
    """The evaluation of a collection; `exact_jets` is None for a decompressed file.

    `not_compared` counts the `jets` without a residual, and those of them that `changed`. `max_error` is the largest
    error of each promised variable, as `verify` counts it: m that is made of E and p counts beyond what their stored
    floats leave open. `bytes_in` and `bytes_out` are compressed bytes in baskets.
    """

    name: str
    branches: Mapping[str, str]
    units: str | None
    jets: int
    exact_jets: int | None
    not_compared: Mapping[str, int]
    light_jets: int
    precision: Mapping[str, float | None]
    resolutions: Mapping[str, str] | None = None
    layout: str | None = None
    floors: Mapping[str, float]
    max_error: Mapping[str, float]
    bytes_in: int
    bytes_out: int
    bytes_per_jet_before: float | None
    bytes_per_jet: float | None
    variables: Mapping[str, VariableFigures]
    mass_above_500_MeV: ResidualFigures  # noqa: N815  # its key in JSON
    correlation: CorrelationFigures
    events: EventFigures
    two_sample: TwoSample
    comb: CombFigures
    spectra: Mapping[str, SpectrumFigures]
    residuals: DensityFigures | None
    latents: DensityFigures | None


class PairFacts(Facts):
    """The names of a pair of files, and size and model of the compressed one."""

    original: str
    compressed: str
    entries: int
    tree: str
    model_sha256: str | None = None
    bytes_file_in: int
    bytes: int

    def merged(self, other: "PairFacts") -> "PairFacts":
        """The sums of two pairs; the model if both have the same."""
        model = self.model_sha256 if self.model_sha256 == other.model_sha256 else None
        sums = {key: self[key] + other[key] for key in ("entries", "bytes_file_in", "bytes")}
        return replace(self, **sums, model_sha256=model)


class EvaluationReport(Report):
    """The result of `evaluate`, collection by collection; of many files, `files` has the error of each."""

    format: int
    original: str
    compressed: str
    entries: int
    tree: str
    model_sha256: str | None = None
    bytes_file_in: int
    bytes: int
    collections: list[CollectionFigures]
    files: list[Mapping[str, Any]] | None = None
    failed: int | None = None

    def _repr_html_(self) -> str:
        return "\n".join([super()._repr_html_(), *self._pictures()])

    def _pictures(self) -> Iterator[str]:
        """The response of pt of the main collection, where it has jets."""
        from atlasae.reports import plotting

        known = {c.name: c for c in self.collections if c.variables["pt"].in_pt}
        if known:
            name = main_collection({name: c.jets for name, c in known.items()})
            pt, label = known[name].variables["pt"], NO_LABEL.with_note(name)
            quantity, written = QUANTITIES["pt"], io.BytesIO()
            plotting.save(plotting.response([(quantity, pt.in_pt)], quantity, True, label), written, ".png")
            yield picture_html(plotting.with_palette(written.getvalue()), f"response of pt, {name}", _WIDTH)

    def _page(self) -> Page:
        page: list[str | PageTable] = [
            f"{self.original} -> {self.compressed}: {counted(self.entries, 'entries')} of '{self.tree}'",
            file_sizes(self.bytes_file_in, self.bytes),
        ]
        for found in self.collections:
            exact = f", {found.exact_jets:,} exact" if found.exact_jets is not None else ""
            page.append(f"{found.name}: {counted(found.jets, 'jets')}{exact}{_sizes(found)}")
            if found.variables["pt"].all.jets:
                page += [residual_table(found), *_over_resolution(found), *_remarks(found), *_comb(found.comb)]
            else:
                page.append("  no jets to compare")
        return page


def _sizes(found: CollectionFigures) -> str:
    if found.bytes_per_jet_before is None or found.bytes_per_jet is None:
        return ""
    return f", {found.bytes_per_jet_before:.2f} -> {found.bytes_per_jet:.2f} bytes per jet"


def residual_table(collection: Mapping[str, Any]) -> PageTable:
    """The residuals of a collection of a report, read from JSON or not, by variable."""
    rows = {variable: (found["all"], found["bound"]) for variable, found in collection["variables"].items()}
    rows["m > .5 GeV"] = (collection["mass_above_500_MeV"], None)
    events = collection["events"]
    if "dijet_mass" in events:
        rows["dijet mass"] = (events["dijet_mass"]["all"], None)
        rows["  apart"] = (events["dijet_mass_back_to_back"], None)
        rows["HT"] = (events["ht"]["all"], None)
    keys = ("mean", "std", "half_width_68", "half_width_95", "largest")
    return PageTable(
        ["", "mean", "std", "68 %", "95 %", "largest", "bound"],
        [
            [name, *(f"{found[key]:.2g}" for key in keys), f"{bound:.2g}" if bound else ""]
            for name, (found, bound) in rows.items()
            if found["jets"]
        ],
    )


def _over_resolution(collection: CollectionFigures) -> list[str | PageTable]:
    """The table of residuals in units of the resolution, if bounds are by resolution."""
    known = {v: over for v, found in collection.variables.items() if (over := found.over_resolution)}
    rows = [
        [
            variable, f"{over.all.std or 0:.2g}", f"{over.all.largest or 0:.2g}", bound_text(over.bound, True),
            f"{over.widening:.3%}", f"{over.widening_at_most:.3%}",
        ]
        for variable, over in known.items()
    ]  # fmt: skip
    heads = ["over resolution", "std", "largest", "bound", "widens it by", "at most"]
    return [PageTable(heads, rows, words=(0,))] if rows else []


def _remarks(collection: CollectionFigures) -> list[str]:
    remarks = []
    if odd := collection.not_compared["jets"]:
        changed = collection.not_compared["changed"]
        remarks.append(f"  {counted(odd, 'jets')} without residual (NaN, pt <= 0 ...): {changed:,} changed")
    told = [(collection.name, collection.units, collection.floors, dict.fromkeys(collection.floors, 1.0))]
    remarks += [f"  {line}, as in {counted(collection.light_jets, 'jets')}" for line in floor_lines(told)]
    remarks.append(f"  {_events(collection.events)}")
    if "E" in collection.branches and "m" not in collection.branches:
        remarks.append("  m is what E and p make: its largest error is beyond what their stored floats leave open")
    return [*remarks, *_two_sample(collection.two_sample)]


def _events(found: EventFigures) -> str:
    """Where events come from, and how many jets changed places in them."""
    if moved := found.reordered:
        changed = f"in {moved['events']:,} of them {counted(moved['jets'], 'jets')} changed places"
        return f"events: {found.events:,} with jets, by the {found.told_by}; {changed}"
    return f"no events: {found.told_by or 'each row is a jet, and no column tells its event (--event-column NAME)'}"


def _two_sample(tests: TwoSample) -> list[str]:
    name, furthest = max(tests.kolmogorov_smirnov.items(), key=lambda item: item[1]["distance"])
    distance, p = furthest["distance"], furthest["p_value"]
    remarks = [f"  Kolmogorov-Smirnov: at most {distance:.2g} ({name}), p = {p:.2g} ({counted(tests.jets, 'jets')})"]
    if auc := tests.classifier:
        figures = f"AUC {auc.auc:.5f} +- {auc.error:.1g} ({counted(auc.jets, 'jets')})"
        remarks.append(f"  a classifier tells them apart with {figures}")
    return remarks


def _comb(found: CombFigures) -> Iterator[str | PageTable]:
    changes = {name: one.change for name, one in found.spectra.items() if one.change.ratio is not None}
    if changes:
        yield _changes(changes)
    if passing := [one for one in found.above if one.before and one.below]:
        yield _passing(passing)
    yield f"  different values, of {counted(found.distinct.jets, 'jets')}: " + ", ".join(
        f"{name} {before:,} -> {found.distinct.after[name]:,}" for name, before in found.distinct.before.items()
    )
    if combs := [name for name, change in changes.items() if _is_comb(change)]:
        yield f"  errors depend on the value: more jets change fine bins than by random errors ({'; '.join(combs)})"


def _changes(changes: Mapping[str, Change]) -> PageTable:
    """Changes of fine bins; the ratio is near 1 if errors do not depend on the value."""
    rows = [
        [
            name,
            f"{found.bins:,}",
            *(f"{found[key]:.3g}" for key in ("chi2", "random", "ratio")),
            f"{found['error']:.1g}",
        ]
        for name, found in changes.items()
    ]
    return PageTable(["fine bins", "number", "chi^2 per bin", "of random errors", "ratio", "+-"], rows)


def _passing(found: Sequence[Passing]) -> PageTable:
    rows = [
        [f"{one.pt / 1000:g} GeV", f"{one.before:,}", f"{one.after:,}", f"{100 * (one.after / one.before - 1):+.2g} %"]
        + [f"{one.sigma:+.1f} sigma"]
        for one in found
    ]
    return PageTable(["jets above", "before", "after", "shift", "of random errors"], rows)


def _is_comb(change: Change) -> bool:
    """Whether bins changed more than random errors would change them, and not by chance."""
    return bool(change.bins >= FEWEST_BINS and change["ratio"] > MOST_CHANGED + BY_CHANCE * change["error"])


# methods of a benchmark in words, by their keys in JSON
_METHODS = {
    "as it is, ZSTD(5)": "as they are, ZSTD",
    "as it is, LZMA(9)": "as they are, LZMA",
    "mantissas rounded, ZSTD(5)": "rounded mantissas, ZSTD",
    "mantissas rounded, LZMA(9)": "rounded mantissas, LZMA",
    "grid in integers, ZSTD(5)": "rounded to integers, ZSTD",
    "grid in integers, LZMA(9)": "rounded to integers, LZMA",
    "grid in three floats, LZMA(9)": "rounded, in three floats, LZMA",
    "grid in three floats, our LZMA": "rounded, in three floats, our LZMA",
    "grid, pcodec, no events": "rounded to integers, pcodec (no events)",
    "SZ3, no events": "SZ3 (no events)",
    "entropy (fitted model)": "entropy floor, jet by jet",
}


def method_text(name: str) -> str:
    """The name of a method of a benchmark, in words."""
    return _METHODS.get(name, name)


class BenchmarkReport(Report):
    """The result of `benchmark`: `curves` holds bytes per jet by method, one for each of `precisions`.

    `missing` are packages of methods that are not installed.
    """

    input: str
    collection: str
    branches: Mapping[str, str]
    jets: int
    precisions: list[float]
    curves: Mapping[str, Sequence[float | None]]
    missing: list[str]
    figures: list[str] | None = None

    def _page(self) -> Page:
        rows = [
            [method_text(name), *("-" if size is None else f"{size:.2f}" for size in sizes)]
            for name, sizes in self.curves.items()
        ]
        missing = ", ".join(self.missing)
        return [
            f"{self.input}, {self.collection}: {counted(self.jets, 'jets')}",
            PageTable(["bytes per jet, guaranteed precision", *(f"{bound:g}" for bound in self.precisions)], rows),
            *([f"not installed: {missing}: pip install 'atlasae[benchmark]'"] if missing else []),
            *(f"figure: {path}" for path in self.figures or ()),
        ]


class FiguresReport(Report):
    """The folder and the paths of figures, the PDF of all first, and the page with all; `drawn` is their number."""

    output: str | None = None
    figures: list[str]
    html: str | None = None
    drawn: int

    def _page(self) -> Page:
        if not self.drawn:
            return ["no figures: there are no jets to draw"]
        pdf = f", all of them in {self.figures[0]}" if self.figures else ""
        folder = [f"{self.output}: {self.drawn} figures as PNG{pdf}"] if self.output else []
        return [*folder, *([f"{self.html}: a page with {self.drawn} figures"] if self.html else [])]
