"""Topics of `atlasae help`: all listed, one line each, plain in a pipe and formatted on a terminal, at once."""

import io
import re
import subprocess
import sys

import pytest
from conftest import Terminal, run_main, succeeded

from atlasae.commands import topics

KNOWN = topics.topics()


def test_the_list_has_a_line_of_every_page():
    told = succeeded("help").out.splitlines()
    pages = sorted(page.name for page in topics._FOLDER.iterdir())
    assert [f"{line.split()[0]}.md" for line in told[:-2]] == pages and len(pages) >= 10
    assert told[-2:] == ["", "atlasae help TOPIC shows one"]
    assert [line for line in told if len(line) > 80] == []
    assert all(KNOWN.values())


@pytest.mark.parametrize("name", KNOWN)
def test_a_topic_is_its_page(name):
    shown = succeeded("help", name).out
    assert shown.startswith("# ") and KNOWN[name] in shown.splitlines()[0]
    assert shown.endswith("\n") and not shown.endswith("\n\n") and "<!--" not in shown
    assert shown.isascii() and max(map(len, shown.splitlines())) <= 140


@pytest.mark.parametrize("name", ["promises", "", "../docs/promise", "PROMISE"])
def test_a_topic_that_is_none_names_those_there_are(name):
    assert run_main("help", name).failed(2, f"no topic '{name}'", "choose from", *KNOWN)


def test_what_is_for_tests_is_not_shown(tmp_path, monkeypatch):
    (tmp_path / "one.md").write_text("# One: the first\n\n<!-- figures: size -->\n| a |\n|---|\n\nend <!-- of it -->\n")
    monkeypatch.setattr(topics, "_FOLDER", tmp_path)
    assert topics.topics() == {"one": "the first"}
    assert topics.topic_text("one") == "# One: the first\n\n| a |\n|---|\n\nend "


@pytest.mark.parametrize("name", KNOWN)
def test_a_terminal_gets_it_drawn_in_lines_that_fit(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(io, "StringIO", Terminal)
    shown = succeeded("help", name).out
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert plain != shown and KNOWN[name].split()[0] in plain
    assert not re.search(r"^#|\|--|```|\*\*|\x1b", plain, re.MULTILINE)
    assert max(map(len, plain.splitlines())) <= 71  # code has a space on either side


def test_lines_are_not_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(io, "StringIO", Terminal)
    plain = re.sub(r"\x1b\[[\d;]*m", "", succeeded("help", "promise").out)
    assert 90 < max(map(len, plain.splitlines())) <= 101


@pytest.mark.parametrize("words", [["help"], ["help", "promise"]])
def test_a_topic_comes_at_once(words):
    heavy = {"torch", "uproot", "awkward", "numpy", "rich", "fsspec"}
    code = f"import atexit, sys; sys.argv[1:] = {words}; atexit.register(lambda: print({heavy} & sys.modules.keys()))"
    command = [sys.executable, "-c", f"{code}; from atlasae.commands.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()" and done.stderr == ""
