"""Pages in a terminal, a pipe and a notebook."""

import copy
import json
import pickle
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from atlasae.report import (
    Facts,
    LeftOut,
    Page,
    PageTable,
    Report,
    bars_html,
    counted,
    harmless,
    line_of,
    loosest,
    merge_largest,
    picture_html,
    short,
    to_html,
    to_json,
    to_text,
)

HOSTILE = "[red]x[/red] :smile: \x1b[31m\x07<b>&\"'\n"
LONG = "branch_" * 40
TABLE = PageTable(["branch", "jets"], [["Jet_pt", "1,234"], [LONG, "5"]])


class Parsed(HTMLParser):
    """Tags that must balance, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def narrow(monkeypatch):
    """A terminal of 80 columns that knows colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize(
    ("number", "many", "says"),
    [
        (1, "chunks", "1 chunk"),
        (0, "jets", "0 jets"),
        (1, "entries", "1 entry"),
        (1, "branches", "1 branch"),
        (2000, "entries", "2,000 entries"),
    ],
)
def test_one_thing_is_told_in_the_singular(number, many, says):
    assert counted(number, many) == says


def test_a_pipe_gets_whole_names_and_plain_text():
    text = to_text(["one", TABLE, "two"])
    assert "\x1b" not in text and text.isascii()
    assert [line.split() for line in text.splitlines()] == [
        ["one"],
        ["branch", "jets"],
        ["Jet_pt", "1,234"],
        [LONG, "5"],
        ["two"],
    ]


def test_a_terminal_gets_what_fits_it_and_no_name_is_cut(narrow):
    text = to_text([TABLE], terminal=True)
    assert "\x1b[1m" in text
    plain = text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines())) <= 80 and "…" not in plain
    assert LONG in "".join(line.split(" ")[0] for line in plain.splitlines())
    assert "1,234" in plain


def test_a_terminal_without_colours_gets_none(narrow, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in to_text([TABLE], terminal=True)


@pytest.mark.parametrize("terminal", [False, True])
def test_names_steer_nothing(terminal, narrow):
    text = to_text([HOSTILE, PageTable(["a", "b"], [[HOSTILE, HOSTILE]])], terminal)
    assert "\x1b[31m" not in text and "\x07" not in text
    words = "[red]x[/red] :smile: ?[31m?<b>&\"'"
    assert text.count(words) == 3
    assert to_text(["x"]) == harmless("x")


def test_html_holds_names_as_text():
    parsed = Parsed(to_html([HOSTILE, PageTable(["a", HOSTILE], [[HOSTILE, "1"]])]))
    assert "b" not in parsed.seen
    assert [text.strip() for text in parsed.texts if text.strip()] == [
        harmless(HOSTILE).strip(), "a", harmless(HOSTILE).strip(), harmless(HOSTILE).strip(), "1",
    ]  # fmt: skip


def test_html_is_a_table_with_numbers_at_the_right():
    html = to_html(["one", TABLE])
    assert Parsed(html).seen == ["div", "table", "thead", "tr", "th", "th", "tbody", *["tr", "td", "td"] * 2]
    assert '<td style="text-align: left">Jet_pt</td><td style="text-align: right">1,234</td>' in html


class Part(Facts):
    """Of a report."""

    name: str


class Found(Report):
    """A report of this test."""

    file: str | None = None
    jets: int
    parts: list[Part]
    left_out: list[LeftOut]
    bound: float | None

    def _page(self) -> Page:
        return [f"{self.jets} jets"]


def found() -> Found:
    return Found(jets=3, parts=[Part(name="a")], left_out=[LeftOut("'b'", "odd")], bound=None)


AS_JSON = {
    "jets": 3,
    "parts": [{"name": "a"}],
    "left_out": [{"name": "'b'", "why": "odd", "minor": False}],
    "bound": None,
}


def test_a_report_is_a_dictionary():
    report, facts = found(), AS_JSON
    assert report == facts and isinstance(report, dict)
    assert list(report) == list(facts) and json.loads(report.to_json()) == json.loads(to_json(report)) == facts
    assert json.loads(json.dumps(report)) == facts
    assert report._repr_html_() == "<div>3 jets</div>"


@pytest.mark.parametrize("copied", [lambda report: pickle.loads(pickle.dumps(report)), copy.copy, copy.deepcopy])
def test_a_report_travels(copied):
    again = copied(found())
    assert again == AS_JSON and again._repr_html_() == "<div>3 jets</div>"
    assert (type(again), again.parts[0].name, again.left_out) == (Found, "a", [LeftOut("'b'", "odd")])


def test_a_report_has_the_fields_that_are_named():
    with pytest.raises(TypeError, match="jets"):
        Found(parts=[], left_out=[], bound=None)
    with pytest.raises(AttributeError):
        found().jets = 4
    assert list(replace(found(), file="x")) == ["file", *AS_JSON]


def test_an_error_is_told_on_one_short_line():
    assert line_of(ValueError("a\n  b\x1b[2J")) == "a b?[2J"
    assert line_of(KeyError()) == "KeyError"
    told = line_of(ValueError("x" * 200))
    assert (len(told), told[-4:]) == (150, "x...")


def test_what_is_long_is_cut_where_it_is_longer_and_no_sooner():
    assert (short("x" * 60), short("x" * 61), short(12, 2), short(1234, 3)) == ("x" * 60, "x" * 57 + "...", "12", "...")


def test_the_loosest_promise_holds_for_all():
    found = loosest([{"pt": 1e-3, "m": 1e-2}, {"pt": 2e-3, "m": None}, {"pt": 1e-4, "m": 1.0}])
    assert found == {"pt": 2e-3, "m": None}
    assert loosest([{"pt": 1e-3, "m": 1e-2}, {"pt": 1e-3}]) == {"pt": 1e-3, "m": None}


def test_a_picture_is_in_the_page_and_no_wider_than_it():
    found = picture_html(b"\x89PNG", 'pt "<b>"', 4.5)
    size = 'style="width: 432px; max-width: 100%"'
    assert found == f'<img alt="pt &quot;&lt;b&gt;&quot;" {size} src="data:image/png;base64,iVBORw==">'


def test_bars_are_on_one_scale_and_tell_their_numbers():
    found = bars_html([("<Jet>", 20.0, 5.0), ("FatJet", 10.0, 0.0)], "bytes")
    assert re.findall(r"width: ([\d.]+)em", found) == ["16.00", "4.00", "8.00", "0.00"]
    assert re.findall(r"</span> ([\d.]+)<", found) == ["20.00", "5.00", "10.00", "0.00"]
    assert found.startswith("<div>bytes</div>\n<div>&lt;Jet&gt;</div>")
    assert bars_html([], "bytes") == "" and "0.00em" in bars_html([("Jet", 0.0, 0.0)], "bytes")


@pytest.mark.parametrize(
    ("found", "largest"),
    [
        ([], {}),
        ([{}], {}),
        ([{}, {"pt": 0.1, "m": 0.0}, {"pt": 0.05, "m": 0.2}, {"eta": 0.3}], {"pt": 0.1, "m": 0.2, "eta": 0.3}),
    ],
)
def test_the_largest_error_is_taken_variable_by_variable(found, largest):
    assert merge_largest(iter(found)) == largest
