"""What is said of evaluations and benchmarks: every line from a report, and nothing that a report does not have."""

from dataclasses import replace
from typing import Any

import pytest

from atlasae.report import to_text
from atlasae.reports.results import (
    BenchmarkReport,
    Change,
    CollectionFigures,
    CombFigures,
    CorrelationFigures,
    DistinctFigures,
    EvaluationReport,
    EventFigures,
    EventVariable,
    FiguresReport,
    FineFigures,
    Passing,
    ResidualFigures,
    Separation,
    SpectrumFigures,
    TwoSample,
    VariableFigures,
)

NO_SPECTRUM = SpectrumFigures(edges=[], before=[], after=[], moved=[], outside=0)


def spread(width: float) -> ResidualFigures:
    half = {"half_width_68": width, "half_width_95": 2 * width}
    return ResidualFigures(jets=9, mean=-0.1 * width, std=width, **half, largest=3 * width)


def variable(found: ResidualFigures, bound: float | None) -> VariableFigures:
    return VariableFigures(residual="relative", bound=bound, all=found, in_pt=[], in_abs_eta=[])


def of_events(found: ResidualFigures) -> EventVariable:
    return EventVariable(all=found, in_value=[], spectrum=NO_SPECTRUM)


NONE = ResidualFigures(jets=0)
EVENTS = EventFigures(
    events=1500,
    told_by="entries of 'Events'",
    reordered={"events": 2, "jets": 5},
    dijet_mass=of_events(spread(3e-4)),
    dijet_mass_back_to_back=spread(5e-4),
    ht=of_events(NONE),
)
VARIABLES = {
    "pt": variable(spread(1e-4), 1e-3),
    "m": variable(spread(4e-4), 1e-3),
    "E": variable(spread(2e-4), None),
}
TESTS = TwoSample(
    jets=4200,
    kolmogorov_smirnov={"pt": {"distance": 0.001, "p_value": 0.9}, "m": {"distance": 0.0234, "p_value": 0.5}},
    classifier=None,
)


def fine(change: Change) -> FineFigures:
    return FineFigures(width=1000.0, first=0.0, change=change, before=[], after=[], random=[])


NAMES = ("pt", "eta", "phi", "m")
DISTINCT = DistinctFigures(jets=4200, before=dict.fromkeys(NAMES, 4000), after=dict.fromkeys(NAMES, 17))
COMB = CombFigures(spectra={"m, 5 GeV": fine(Change(bins=0))}, above=[], distinct=DISTINCT)
JETS = CollectionFigures(
    name="Jet",
    branches=dict.fromkeys(("pt", "eta", "phi", "m"), "Jet"),
    units="GeV",
    jets=4200,
    exact_jets=1234,
    not_compared={"jets": 0, "changed": 0},
    light_jets=0,
    precision={},
    floors={},
    max_error={},
    bytes_in=60_732,
    bytes_out=24_381,
    bytes_per_jet_before=14.46,
    bytes_per_jet=5.8049,
    variables=VARIABLES,
    mass_above_500_MeV=spread(6e-4),
    correlation=CorrelationFigures(variables=[], rows=0, matrix=[]),
    events=EVENTS,
    two_sample=TESTS,
    comb=COMB,
    spectra={},
    residuals=None,
    latents=None,
)


def collection(**more: Any) -> CollectionFigures:
    """What `evaluate` reports of a collection."""
    return replace(JETS, **more)


def report_of(*collections: CollectionFigures) -> EvaluationReport:
    facts: dict[str, Any] = {"format": 1, "original": "in.root", "compressed": "small.root", "bytes": 900}
    facts |= {"bytes_file_in": 2000}
    return EvaluationReport(**facts, entries=60_000, tree="Events", collections=list(collections))


def evaluation(*collections: CollectionFigures) -> str:
    return to_text(report_of(*collections).page)


def test_a_notebook_shows_the_main_collection_as_a_small_figure():
    quantiles = dict(zip(("2.5", "15.865", "50", "84.135", "97.5"), (-2e-4, -1e-4, 0.0, 1e-4, 2e-4), strict=True))
    bins = [replace(spread(1e-4), low=0.0, high=2e4, quantiles=quantiles)]
    pt = replace(VARIABLES["pt"], in_pt=bins)
    jets = collection(variables=VARIABLES | {"pt": pt})
    html = report_of(replace(jets, name="FatJet"), jets)._repr_html_()
    assert html.count("<img") == 1 and 'alt="response of pt, Jet"' in html and "data:image/png;base64," in html
    assert "<img" not in report_of(collection())._repr_html_()  # no bins to draw
    assert "<img" not in report_of()._repr_html_()


# --- evaluate


def test_an_evaluation_in_words():
    assert evaluation(collection()).splitlines() == [
        "in.root -> small.root: 60,000 entries of 'Events'",
        "whole file: 2.00 kB -> 900 B",
        "Jet: 4,200 jets, 1,234 exact, 14.46 -> 5.80 bytes per jet",
        "              mean     std    68 %    95 %  largest  bound",
        "pt          -1e-05  0.0001  0.0001  0.0002   0.0003  0.001",
        "m           -4e-05  0.0004  0.0004  0.0008   0.0012  0.001",
        "E           -2e-05  0.0002  0.0002  0.0004   0.0006",
        "m > .5 GeV  -6e-05  0.0006  0.0006  0.0012   0.0018",
        "dijet mass  -3e-05  0.0003  0.0003  0.0006   0.0009",
        "  apart     -5e-05  0.0005  0.0005   0.001   0.0015",
        "  events: 1,500 with jets, by the entries of 'Events'; in 2 of them 5 jets changed places",
        "  Kolmogorov-Smirnov: at most 0.023 (m), p = 0.5 (4,200 jets)",
        "  different values, of 4,200 jets: pt 4,000 -> 17, eta 4,000 -> 17, phi 4,000 -> 17, m 4,000 -> 17",
    ]


def test_what_is_remarkable_is_told():
    odd = {"floors": {"m": 0.1}, "light_jets": 1500, "not_compared": {"jets": 3000, "changed": 2}}
    tests = replace(TESTS, classifier=Separation(auc=0.512346, error=0.00321, jets=2100))
    lines = evaluation(collection(two_sample=tests, **odd)).splitlines()
    assert "  3,000 jets without residual (NaN, pt <= 0 ...): 2 changed" in lines
    floor = "  errors of m are relative to m, or to 0.1 GeV where m is smaller (Jet), as in 1,500 jets"
    assert floor in lines
    told = "  a classifier tells them apart with AUC 0.51235 +- 0.003 (2,100 jets)"
    assert told in lines


def test_one_jet_is_not_jets():
    one = {"floors": {"m": 0.1}, "light_jets": 1, "two_sample": replace(TESTS, jets=1)}
    text = evaluation(collection(**one))
    assert "smaller (Jet), as in 1 jet\n" in text and "(1 jet)" in text and "1 jets" not in text


def test_a_comb_is_told():
    changes = {
        "pt, 1 GeV": Change(bins=229, chi2=18.7, random=0.1714, ratio=108.9, error=0.1159),
        "m, 1 GeV": Change(bins=59, chi2=0.0466, random=0.0332, ratio=1.4, error=0.24),  # by chance
        "eta, .01": Change(bins=498, chi2=0.2, random=0.1, ratio=2.0, error=0.1),
        "phi, .01": Change(bins=3),
    }
    above = [
        Passing(pt=25_000.0, before=4200, after=4200, below=0, sigma=0.0),
        Passing(pt=85_000.0, before=2000, after=2007, below=2200, sigma=4.36),
        Passing(pt=100_000.0, before=1000, after=1000, below=3200, sigma=-0.21),
        Passing(pt=450_000.0, before=0, after=0, below=4200, sigma=0.0),
    ]
    comb = replace(COMB, spectra={name: fine(change) for name, change in changes.items()}, above=above)
    assert evaluation(collection(comb=comb)).splitlines()[-9:] == [
        "fine bins  number  chi^2 per bin  of random errors  ratio   +-",
        "pt, 1 GeV     229           18.7             0.171    109  0.1",
        "m, 1 GeV       59         0.0466            0.0332    1.4  0.2",
        "eta, .01      498            0.2               0.1      2  0.1",
        "jets above  before  after    shift  of random errors",
        "85 GeV       2,000  2,007  +0.35 %        +4.4 sigma",
        "100 GeV      1,000  1,000     +0 %        -0.2 sigma",
        "  different values, of 4,200 jets: pt 4,000 -> 17, eta 4,000 -> 17, phi 4,000 -> 17, m 4,000 -> 17",
        "  errors depend on the value: more jets change fine bins than by random errors (pt, 1 GeV; eta, .01)",
    ]


def test_a_plain_file_has_no_exact_jets():
    assert "Jet: 4,200 jets, 14.46 -> 5.80 bytes per jet" in evaluation(collection(exact_jets=None)).splitlines()
    assert "4,200 jets, 0 exact, " in evaluation(collection(exact_jets=0))


def test_rows_without_events_tell_nothing_of_events():
    text = evaluation(collection(events=EventFigures(events=0)))
    assert "dijet" not in text and "HT" not in text and "changed places" not in text
    assert "  no events: each row is a jet, and no column tells its event (--event-column NAME)" in text.splitlines()
    scattered = EventFigures(events=0, told_by="column 'event', where the jets of an event are not adjacent")
    text = evaluation(collection(events=scattered))
    assert "  no events: column 'event', where the jets of an event are not adjacent" in text.splitlines()
    assert "\nHT " in evaluation(collection(events=replace(EVENTS, ht=of_events(spread(1e-4)))))


def test_no_jets_are_told_as_such():
    nothing = {v: variable(NONE, 1e-3) for v in ("pt", "E")}
    sizes = dict.fromkeys(("bytes_per_jet_before", "bytes_per_jet"))
    empty = collection(jets=0, exact_jets=0, variables=nothing, **sizes)
    lines = evaluation(empty, collection(name="Fat")).splitlines()
    assert lines[2:5] == ["Jet: 0 jets, 0 exact", "  no jets to compare", lines[4]]
    assert lines[4].startswith("Fat: 4,200 jets")


NOTHING = ResidualFigures(jets=0, not_finite=9)


@pytest.mark.parametrize("last", ["m", "E"])
def test_a_variable_without_residuals_leaves_the_others(last):
    variables = VARIABLES | {"m": variable(NOTHING, 1e-3)}
    branches = dict.fromkeys(("pt", "eta", "phi", last), "Jet")
    lines = evaluation(collection(variables=variables, branches=branches, mass_above_500_MeV=NOTHING)).splitlines()
    assert [line.split()[0] for line in lines[4:8]] == ["pt", "E", "dijet", "apart"]


def test_a_mass_that_e_and_p_leave_open_is_told():
    with_energy = dict.fromkeys(("pt", "eta", "phi", "E"), "Jet")
    words = "m is what E and p make"
    assert words in evaluation(collection(branches=with_energy))
    assert words not in evaluation(collection())


def test_numbers_of_any_size_stay_in_their_columns():
    variables = {"pt": variable(spread(1.23e-9), 1e-8), "m": variable(spread(12345.6), None)}
    text = evaluation(collection(variables=variables, events=EventFigures(events=0)))
    header, pt, m = text.splitlines()[3:6]
    assert len(pt) == len(header) and len(m) == len(header) - len("  bound")
    assert pt.split() == ["pt", "-1.2e-10", "1.2e-09", "1.2e-09", "2.5e-09", "3.7e-09", "1e-08"]
    assert m.split() == ["m", "-1.2e+03", "1.2e+04", "1.2e+04", "2.5e+04", "3.7e+04"]


MEASURED = BenchmarkReport(
    input="in.root",
    collection="Jet",
    jets=12_345,
    precisions=[0.03, 1e-3, 1e-4],
    curves={"ours": [2.123, 5, 10.5], "a longer name": [9, None, 123.4]},
    missing=[],
    branches={"pt": "Jet_pt"},
)


def test_a_benchmark_in_words():
    first, *table = to_text(MEASURED.page).splitlines()
    assert first == "in.root, Jet: 12,345 jets"
    assert table == [
        "bytes per jet, guaranteed precision  0.03  0.001  0.0001",
        "ours                                 2.12   5.00   10.50",
        "a longer name                        9.00      -  123.40",
    ]


def test_missing_packages_and_figures_come_last():
    report = replace(MEASURED, missing=["pcodec", "pysz"], figures=["f/a.png", "f/a.pdf"])
    assert to_text(report.page).splitlines()[-3:] == [
        "not installed: pcodec, pysz: pip install 'atlasae[benchmark]'",
        "figure: f/a.png",
        "figure: f/a.pdf",
    ]


def test_figures_are_counted_once():
    drawn = FiguresReport(output="folder", figures=["folder/figures.pdf", "a.png", "b.png"], drawn=2)
    assert to_text(drawn.page) == "folder: 2 figures as PNG, all of them in folder/figures.pdf"
    page = FiguresReport(html="page.html", figures=[], drawn=2)
    assert to_text(page.page) == "page.html: a page with 2 figures" and "output" not in page
    assert to_text(replace(drawn, figures=[], drawn=0).page) == "no figures: there are no jets to draw"
