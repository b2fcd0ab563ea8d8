"""One self-contained HTML page of figures and tables, which asks nothing of any other place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import PurePath
from typing import Any

from atlasae.compression.results import file_sizes
from atlasae.pages import size_text, versions_text
from atlasae.report import Page, PageTable, harmless, picture_html, to_html
from atlasae.reports import plotting
from atlasae.reports.figures import Choice, Drawn, with_jets
from atlasae.reports.results import residual_table

# What a figure shows, by the part of its name after the collection's.
_CAPTIONS = {
    "0_overview": "All collections: bytes per jet before and after, and errors in units of their promised bounds.",
    "1_spectrum": "Before and after, and the ratio; its errors are jets that changed bins. Arrows: beyond the panel.",
    "1_spectra_fine": "Ratios in fine bins. Band: what random errors of the same size would change.",
    "2_residual": "Errors of single jets; none is beyond the promised bound.",
    "2_resolution": "Errors of single jets in units of the detector's resolution at their pt.",
    "3_response": "Errors against pt and eta: median and bands of 68 % and 95 % of the jets, with statistical errors.",
    "4_correlation": "Correlations of the errors of any two variables.",
    "4_residuals": "Errors of any two variables; a structure would be a correlation.",
    "5_dijet_mass": "Mass of the two leading jets of each event.",
    "5_ht": "Scalar sum of pt of the jets of each event.",
    "6_latents": "The three stored floats, and what they hold.",
    "7_size": "Bytes per jet against the promised largest error.",
    "8_training": "Losses of the training.",
    "9_comparison": "Half of the width of the central 68 % of the errors.",
}
_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1em; max-width: 75em; color: #1a1a1a; }
h1 { font-size: 1.5em; overflow-wrap: anywhere; } h2 { font-size: 1.2em; margin-top: 2em; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26em), 1fr)); gap: 1em; }
figure { margin: 0; border: 1px solid #ddd; border-radius: 6px; padding: .5em; }
figure.wide { grid-column: 1 / -1; }
img { display: block; margin: auto; } figcaption { font-size: .9em; color: #444; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; white-space: nowrap; }
pre { overflow-x: auto; background: #f4f4f4; padding: .7em; border-radius: 6px; }
"""
_WIDE = 1.3  # width over height of a figure that gets a row of its own


def html_page(
    figures: Iterable[Drawn], report: Mapping[str, Any] | None, choice: Choice, paths: Sequence[str], command: str
) -> str:
    """The page of figures, with tables of the evaluation where there is one.

    `paths` are the files that were read, `command` is what made the page. The page's own policy forbids requests.
    """
    shown = "\n".join(map(_figure, figures))
    title = " and ".join(PurePath(path).name for path in paths)
    sections = "".join(_section(heading, page) for heading, page in _tables(report, choice)) if report else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_text(title)}</h1>
{sections}
<h2>Figures</h2>
<main>
{shown}
</main>
<h2>How this page was made</h2>
<pre>{_text(command)}</pre>
<pre>{_text(versions_text())}</pre>
</body>
</html>
"""


def _figure(drawn: Drawn) -> str:
    width, height = drawn.figure.get_size_inches()
    kind = ' class="wide"' if width > _WIDE * height else ""
    known = next((text for part, text in sorted(_CAPTIONS.items(), reverse=True) if part in drawn.name), "")
    caption = f"<figcaption>{_text(known)}</figcaption>"
    return f"<figure{kind}>{picture_html(plotting.with_palette(drawn.png), drawn.name, width)}{caption}</figure>"


def _section(heading: str, page: Page) -> str:
    return f'<h2>{_text(heading)}</h2>\n<div class="scroll">{to_html(page)}</div>\n'


def _text(text: str) -> str:
    return escape(harmless(text))


def _tables(report: Mapping[str, Any], choice: Choice) -> Iterator[tuple[str, Page]]:
    """Headings and pages: the files, and the residuals of each collection that is drawn."""
    yield "Files", _files(report)
    chosen = choice.of_report(report)
    for collection in with_jets(report):
        if collection["name"] in chosen:
            yield f"Errors of {collection['name']}", [residual_table(collection), *_remarks(collection)]


def _files(report: Mapping[str, Any]) -> Page:
    """The files, and every collection with jets."""
    rows = [
        [
            c["name"],
            f"{c['jets']:,}",
            f"{c['exact_jets']:,}" if c["exact_jets"] is not None else "",
            *(f"{c[key]:.2f}" for key in ("bytes_per_jet_before", "bytes_per_jet")),
        ]
        for c in with_jets(report)
    ]
    before = report.get("bytes_file_in")  # reports of version 0.3 lack it
    return [
        f"{report['original']} -> {report['compressed']}: {report['entries']:,} entries of '{report['tree']}'",
        file_sizes(before, report["bytes"]) if before else f"after: {size_text(report['bytes'])}",
        PageTable(["collection", "jets", "exact", "bytes per jet before", "after"], rows),
    ]


def _remarks(collection: Mapping[str, Any]) -> Iterator[str]:
    yield "Errors of pt, m and E are relative (of m below 100 MeV: to 100 MeV), those of eta and phi differences."
    if (tests := collection["two_sample"]) and (auc := tests.get("classifier")):
        yield f"A classifier tells the jets apart with AUC {auc['auc']:.5f} +- {auc['error']:.1g}."
