"""The benchmark harness (scripts/benchmarks), and figures of README and pages of help against what it wrote."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import counted, make_counts, write_tree

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "scripts" / "benchmarks"
PAGES = ["README.md", *(f"atlasae/docs/{path.name}" for path in sorted((ROOT / "atlasae" / "docs").glob("*.md")))]
SUBJECTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "harness")

NUMBER = r"(?<![\w.])(?<!\d,)(?>(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?)(?!\s*[MGT]eV)"
UNIT = r"bytes per jet|bytes|kB|MB|GB|TB|%|seconds|s|minutes|million jets a second|times as fast"
QUOTED = re.compile(rf"({NUMBER})(?:\s*({UNIT})(?!\w))?")
BLOCK = re.compile(r"^<!-- figures: ([^\n]+) -->\n(\S.*?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
UNSEEN = re.compile(r"^```.*?^```|`[^`\n]*`|\]\([^)\n]*\)|<[^>]*>", re.MULTILINE | re.DOTALL)  # code, links, tags
REQUIRED = {"size/bytes per jet", "size/whole files", "speed/jobs"}


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import harness

    return harness


def figures_of(results: dict[str, Any], key: str) -> Iterator[tuple[str, float]]:
    """All figures under a key, SUBJECT or SUBJECT/TABLE, by the names of table, row and column."""
    subject, _, chosen = key.partition("/")
    tables = results[subject]["tables"]
    for table in [chosen] if chosen else tables:
        for row, figures in tables[table].items():
            yield from ((f"{table} | {row} | {column}", figure) for column, figure in figures.items())


def is_rounded(written: str, figure: float) -> bool:
    """Whether a number is a figure as rounded to the digits written."""
    plain = written.replace(",", "")
    mantissa, exponent, _ = plain.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(f"{figure:.{decimals}{'e' if exponent else 'f'}}") == float(plain)


def unmeasured(text: str, results: dict[str, Any], keys: str) -> list[str]:
    """Numbers of a text, with their units, that are no figures under the keys and stand in no name there."""
    figures = [figure for key in keys.split(";") for figure in figures_of(results, key.strip())]
    named = {number for name, _ in figures for number in re.findall(NUMBER, name)}
    return [
        f"{written} {unit}".strip()
        for written, unit in QUOTED.findall(UNSEEN.sub(" ", text))
        if written not in named and not any(is_rounded(written, figure) for name, figure in figures if has(unit, name))
    ]


def has(unit: str, name: str) -> bool:
    """Whether the name of a figure tells that unit; every name does where none is written."""
    short = {"seconds": "s"}.get(unit, unit)
    return re.search(rf"(?<!\w){re.escape(short)}(?!\w)", name) is not None if unit else True


def without_key(text: str) -> list[str]:
    """Numbers with units that stand in no marked block."""
    return [f"{number} {unit}" for number, unit in QUOTED.findall(UNSEEN.sub(" ", BLOCK.sub("", text))) if unit]


def given(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- what README quotes


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_of_a_page_was_measured(page):
    """A new measurement that rounds otherwise fails here: write its figures into the page."""
    results = json.loads(given("scripts/benchmarks/results.json"))
    wrong = {keys: unmeasured(text, results, keys) for keys, text in BLOCK.findall(given(page))}
    assert {keys: numbers for keys, numbers in wrong.items() if numbers} == {}


def test_the_readme_quotes_what_matters_most():
    keys = {key.strip() for keys, _ in BLOCK.findall(given("README.md")) for key in keys.split(";")}
    assert REQUIRED - keys == set()


def test_the_readme_quotes_no_figure_without_its_key():
    text = given("README.md")
    assert without_key(text) == []
    assert text.count("<!-- figures:") == len(BLOCK.findall(text))  # each directly before its paragraph


RESULTS = {
    "speed": {
        "tables": {
            "jobs": {"copy, LZMA(9)": {"CPU, s": 1.6449, "peak, MB": 262.25}, "jets": {"number": 101369}},
            "shares, %": {"floats": {"at 1e-3": 12.5}},
        }
    },
    "size": {"tables": {"errors": {"floats": {"largest": 6.828e-4}}}},
}


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("It takes 1.6 s and **262 MB** with LZMA(9), 1.64 seconds; of 101,369 jets", "speed/jobs"),
        ("| a | b |\n|---|---|\n| 1.645 | 262.2 |", "speed"),
        ("12.5 % or 12 % at 1e-3", "speed/shares, %"),
        ("half-widths 6.8e-4 and 0.00068; 1.6 s", "size; speed/jobs"),
        ("up to 100 MeV and 7 TeV, `--jets 17` ![a](plots/3_a.png) and two million", "size"),
    ],
)
def test_figures_rounded_as_written_are_found(text, keys):
    assert unmeasured(text, RESULTS, keys) == []


@pytest.mark.parametrize(
    ("text", "keys", "wrong"),
    [
        ("It takes 1.7 s and 1.65 s", "speed", ["1.7 s", "1.65 s"]),
        ("It takes 1.6 MB", "speed", ["1.6 MB"]),  # it is seconds
        ("It takes 262 MB", "speed/shares, %", ["262 MB"]),  # of another table
        ("101,368 jets, 101,000", "speed", ["101,368", "101,000"]),
        ("6.9e-4, 1e-4", "size", ["6.9e-4", "1e-4"]),
        ("| 1.6 | 3 |", "speed/jobs", ["3"]),
        ("1.6 s,3 s; 40.5 GeV; .5 s", "speed/jobs", ["3 s", ".5 s"]),
    ],
)
def test_other_figures_are_told(text, keys, wrong):
    assert unmeasured(text, RESULTS, keys) == wrong


def test_a_block_ends_at_a_blank_line():
    text = (
        "<!-- figures: a -->\n| 1 |\n| 2 |\n\nplain\n\n<!-- figures: b; c -->\nline\n<!-- figures: d -->\n\nno block\n"
    )
    assert BLOCK.findall(text) == [("a", "| 1 |\n| 2 |"), ("b; c", "line\n<!-- figures: d -->")]


def test_an_unknown_key_is_an_error():
    with pytest.raises(KeyError):
        unmeasured("1", RESULTS, "speed/no such table")


@pytest.mark.parametrize(
    "text",
    ["5.25 bytes per jet", "takes 2 s.", "| 81 % |", "300 MB\n", "a 12kB file", "2.05 times as fast", ".7 seconds"],
)
def test_a_figure_without_a_key_is_told(text):
    assert len(without_key(f"A line.\n\n{text}\n\n<!-- figures: speed -->\n| 1 MB |\n| 2 MB |\n")) == 1


def test_what_is_no_figure_needs_no_key():
    free = "Python 3.11, 69 bits, jets of 40 GeV, 1e-3, 2 sets, [5 MB](6 MB) `7 s`\n```\n8 s\n```\n"
    assert re.findall(r"\d", " ".join(without_key(free))) == ["5"]


# --- the harness


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_is_measured_by_the_harness(name):
    text = given(f"scripts/benchmarks/{name}.py")
    assert re.search(r'^if __name__ == "__main__":\n    main\(__doc__, measure\b', text, re.MULTILINE)
    assert "argparse.ArgumentParser" not in text and "perf_counter" not in text
    assert f"measure {name}" in given("scripts/benchmarks/run.sh")


def test_the_page_of_results_is_made_of_the_figures(harness):
    results = json.loads(given("scripts/benchmarks/results.json"))
    assert given("scripts/benchmarks/results.md") == harness.document(results)
    assert set(results) <= set(SUBJECTS)
    assert all({"date", "load", "cores"} <= part["measured"].keys() for part in results.values())


def test_a_subject_replaces_its_own_figures_only(harness, tmp_path):
    facts = {"date": "2026-11-28", "load": 0.5}
    harness.save(tmp_path, "speed", "About.\nMore.", facts, {"t": {"a": {"x, s": 1 / 3, "n": 12345678}}})
    harness.save(tmp_path, "size", "Bytes.", facts, {"t": {"a": {"x": 1.0}, "b": {"y": 2e-9}}})
    harness.save(tmp_path, "size", "Bytes.", facts, {"u": {"a": {"x": 0.25}, "b": {"y": 2e-9}}})
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["speed"]["tables"] == {"t": {"a": {"x, s": 0.333333, "n": 12345678}}}
    assert results["size"]["tables"] == {"u": {"a": {"x": 0.25}, "b": {"y": 2e-9}}}
    page = (tmp_path / "results.md").read_text()
    assert page.index("## size") < page.index("## speed") and page == harness.document(results)
    assert "| t | x, s | n |\n|---|---|---|\n| a | 0.3333 | 12,345,678 |\n" in page and "More" not in page
    assert "| u | x | y |\n|---|---|---|\n| a | 0.25 |  |\n| b |  | 2e-09 |\n" in page


def test_peers_take_turns_and_the_best_counts(harness, monkeypatch):
    took, order = iter([(3.0, 5.0, 10), (1.0, 9.0, 10), (2.0, 6.0, 12), (4.0, 8.0, 9)]), []

    def alone(*job: object) -> Any:
        order.append(job)
        return harness.Taken(*next(took), found=len(order))

    monkeypatch.setattr(harness, "alone", alone)
    found = harness.take_turns({"ours": ("s", "a"), "theirs": ("s", "b")}, 2)
    assert order == [("s", "a"), ("s", "b")] * 2
    assert found == {"ours": harness.Taken(2.0, 5.0, 12, 3), "theirs": harness.Taken(1.0, 8.0, 10, 4)}


def test_works_in_one_process_take_turns(harness, monkeypatch):
    clock, order = iter([0, 3, 10, 11, 20, 22, 30, 34]), []
    monkeypatch.setattr(harness, "cpu_seconds", lambda: next(clock))
    works = {("a", "x"): lambda: order.append("a"), ("b", "x"): lambda: order.append("b")}
    assert harness.fastest(works, 2) == {"a": {"x": 2}, "b": {"x": 1}} and order == ["a", "b"] * 2
    assert harness.millions_a_second(4_000_000, {"a": {"x": 2}}) == {"a": {"x": 2}}


def test_a_job_tells_its_own_memory_and_what_it_found(harness):
    held = b"x" * 300_000_000  # of this process: a child must not count it
    taken = harness.command("--version")
    assert "atlasae" in taken.found and len(held) > taken.peak > 5_000_000
    assert taken.cpu > 0 and taken.wall > 0


def test_a_job_that_fails_is_no_figure(harness, capfd):
    with pytest.raises(harness.subprocess.CalledProcessError):
        harness.command("no-such-command")
    assert "no-such-command" in capfd.readouterr().err


def test_packed_bytes_are_measured_without_torch(harness, tmp_path, monkeypatch):
    write_tree(tmp_path / "in.root", "Events", counted("nanoaod", make_counts(20)))
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    import speed

    harness.alone(speed.compress, tmp_path / "in.root", small, "packed", "--no-read-back")
    harness.alone(speed.decompress, small, back, "packed")
    assert uproot.open(back)["Events"].num_entries == 20
    monkeypatch.setitem(sys.modules, "torch", object())
    speed.without_torch(lambda: None, "floats")()
    with pytest.raises(AssertionError, match="torch imported"):
        speed.without_torch(lambda: None, "packed")()


def test_long_files_repeat_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from make_large import make_large

    counts = np.full(40, 2)
    beside = {
        "event": ak.Array(np.arange(100, 140)),
        "run": ak.Array(np.full(40, 7, np.int32)),
        "met": ak.Array(np.linspace(1, 9, 40).astype(np.float32)),
        "Muon_charge": ak.unflatten(np.resize([1, -1, 1], 80).astype(np.int8), counts),
        "text": ak.Array(["abc"] * 40),
    }
    write_tree(tmp_path / "in.root", "Events", counted("nanoaod", counts) | beside, {"Muon_charge": "nMuon"})
    make_large(tmp_path / "in.root", tmp_path / "out.root", 240)
    found = uproot.open(tmp_path / "out.root")["Events"].arrays()
    assert found["event"].tolist() == list(range(100, 220))
    assert len(np.unique(found["met"])) == 120 and np.allclose(found["met"][:40], beside["met"], rtol=0.2)
    assert set(found["run"].tolist()) == {7} and set(found["text"].tolist()) == {"abc"}
    charges = ak.to_numpy(ak.flatten(found["Muon_charge"])).reshape(3, 80)
    assert not (charges[0] == charges[1]).all() and (np.sort(charges) == np.sort(charges[0])).all()
    assert ak.num(found["Muon_charge"]).tolist() == [2] * 120


def test_the_figures_of_spectra_see_a_comb(harness, monkeypatch):
    import spectra

    monkeypatch.setattr(spectra, "tell_apart", lambda before, after: None)
    before = spectra.falling_jets(50_000)
    pt = np.exp(np.rint(np.log(before[:, 0]) / 2e-3) * 2e-3)
    after = np.column_stack([pt, before[:, 1:] + np.random.default_rng(1).uniform(-1e-3, 1e-3, (50_000, 3))])
    entry = SimpleNamespace(precision=dict.fromkeys(("pt", "eta", "phi", "m"), 1e-3))
    errors = {"pt": after[:, 0] / before[:, 0] - 1}
    jets = {"before": SimpleNamespace(jets=before), "after": SimpleNamespace(jets=after)}
    row = spectra.figures(SimpleNamespace(**jets, entry=entry, errors=errors, bytes_per_jet=5.0))
    assert (row["jets"], row["bytes per jet"]) == (50_000, 5.0) and 9e-4 < row["largest error"] < 1.01e-3
    assert row["pt: values"] < 1500 and row["pt: values before"] > 49_000
    assert row["pt, 1 GeV"] > 5 and row["pt, 1 GeV, 100 to 120 GeV"] > 5 and row["decoded / original, from"] < 0.9
    assert abs(row["eta, .01"] - 1) < 4 * row["eta, .01: +-"] and abs(row["above 85 GeV: sigma"]) > 3


def test_falling_jets_fall(harness, tmp_path):
    import spectra

    jets = spectra.falling_jets(100_000)
    assert jets[:, 0].min() > 60_000 and (jets[:, 0] > 120_000).mean() == pytest.approx(2**-4, rel=0.05)
    path = spectra.falling_file(tmp_path, 400)
    (first, *_) = uproot.open(path)["jets"]["Jets_pt"].array().tolist()
    assert first == sorted(spectra.falling_jets(400)[:4, 0].astype(np.float32).tolist(), reverse=True)
