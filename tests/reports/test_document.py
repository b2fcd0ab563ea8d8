"""The page of figures and tables: it holds all it shows, and asks nothing of any other place."""

import base64
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import counted, write_tree
from PIL import Image

from atlasae.compression.compress import compress_file
from atlasae.compression.plan import Options
from atlasae.jets.precision import Precision
from atlasae.pages import versions_text
from atlasae.reports import document, figures
from atlasae.reports.figures import Choice
from atlasae.reports.panels import NO_LABEL
from atlasae.reports.plotting import Figure

COUNTERS = {f"Jet_{v}": "nJet" for v in ("pt", "eta", "phi", "mass")}
NAME = "<b>Jet&</b>"


class Elements(HTMLParser):
    """The elements of a page, each with its attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A report of 42 jets in a file with an odd name."""
    folder = tmp_path_factory.mktemp("report")
    branches = counted("nanoaod", np.array([2, 0, 3, 1, 4] * 4 + [2]))
    write_tree(folder / "a&b.root", "Events", branches, COUNTERS)
    compress_file(folder / "a&b.root", folder / "small.root", Options(Precision.parse("1e-3")))
    return figures.figures_of([folder / "a&b.root", folder / "small.root"], NO_LABEL)[1]


@pytest.fixture(scope="module")
def page(report: Any) -> str:
    """The page of two figures and of the report."""
    wide = figures.drawn([("Jet_3_response_pt", Figure(figsize=(4, 2))), (NAME, Figure(figsize=(1, 1)))])
    paths, command = ["x/a&b.root", "x/small.root"], "atlasae plot 'a&b.root' small.root --html <page>"
    return document.html_page(wide, report, Choice(), paths, command)


def test_a_page_is_well_formed_and_holds_its_pictures(page):
    elements = Elements(page)
    assert elements.open == []
    images = [attributes for tag, attributes in elements.found if tag == "img"]
    assert [image["alt"] for image in images] == ["Jet_3_response_pt", NAME]
    for image in images:
        kind, data = str(image["src"]).split(",")
        assert kind == "data:image/png;base64" and base64.b64decode(data)[:4] == b"\x89PNG"
    assert [attributes.get("class") for tag, attributes in elements.found if tag == "figure"] == ["wide", None]


def test_a_page_asks_nothing_of_any_other_place(page):
    elements = Elements(page)
    named = [(tag, value) for tag, attributes in elements.found for key, value in attributes.items() if key in NAMING]
    assert named and [value for _, value in named if not str(value).startswith("data:")] == []
    assert {"script", "iframe", "object", "embed", "base"} & {tag for tag, _ in elements.found} == set()
    assert "url(" not in page and "@import" not in page and "http://" not in page and "https://" not in page
    (policy,) = [a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


NAMING = ("src", "href", "srcset", "action", "data", "poster", "background")


def test_a_page_fits_a_phone(page):
    elements = Elements(page)
    viewport = [a["content"] for tag, a in elements.found if tag == "meta" and a.get("name") == "viewport"]
    assert viewport == ["width=device-width, initial-scale=1"]
    assert (
        page.count("max-width: 100%") == page.count("<img") == 2 and page.count('<div class="scroll">') == 2
    )  # of both tables


def test_a_page_tells_files_numbers_command_and_versions(page, report):
    words = "".join(Elements(page).words)
    for expected in (
        "a&b.root",
        "small.root",
        "21 entries of 'Events'",
        "whole file: ",
        "--html <page>",
        versions_text(),
    ):
        assert expected in words
    (collection,) = report["collections"]
    largest = collection["variables"]["m"]["all"]["largest"]
    assert f"{largest:.2g}" in words and f"{collection['bytes_per_jet']:.2f}" in words and "classifier" not in words


def test_a_page_tells_of_a_classifier_that_a_report_has(report):
    (collection,) = report["collections"]
    tests = collection["two_sample"] | {"classifier": {"auc": 0.5012, "error": 0.005}}
    known = report | {"collections": [collection | {"two_sample": tests}]}
    assert "AUC 0.50120 +- 0.005" in document.html_page([], known, Choice(), ["a"], "")


def page_of(name: str) -> str:
    """The page of one figure."""
    return document.html_page(figures.drawn([(name, Figure(figsize=(1, 1)))]), None, Choice(), ["a"], "")


@pytest.mark.usefixtures("sketched")
def test_every_figure_has_a_caption(report):
    names = [name for name, _ in figures.report_figures(report, NO_LABEL)]
    names += ["0_overview", "Jet_7_size", "m_8_training", "Jet_9_comparison"]
    for name in names:
        shown = page_of(name)
        assert "<figcaption></figcaption>" not in shown and "<figcaption>" in shown, name
    assert "Errors of any two variables" in page_of("Jet_4_residuals")


BROWSER = Path(__file__).parents[1] / "browser.py"


@pytest.mark.parametrize("width", [390, 1200], ids=["phone", "desk"])
def test_a_browser_shows_all_of_a_page_without_complaints(page, tmp_path, width):
    pytest.importorskip("PyQt6.QtWebEngineWidgets", exc_type=ImportError)
    path, picture = tmp_path / "page.html", tmp_path / "page.png"
    path.write_text(page)
    quiet = {"QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_DISABLE_SANDBOX": "1", "XDG_RUNTIME_DIR": str(tmp_path)}
    command = [sys.executable, str(BROWSER), str(path), str(width), str(picture)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=os.environ | quiet)
    look = json.loads(done.stdout)
    assert look["asked"] == ["file"] and look["said"] == [] and look["pictures"] == [True, True]
    assert look["wide"] <= width
    assert len(Image.open(picture).convert("RGB").getcolors(1 << 24) or []) > 2  # letters, not an empty page
