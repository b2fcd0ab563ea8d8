"""What documentation shows, run: the examples of every docstring, and the scripts of scripts/examples."""

import doctest
import importlib
import runpy
import sys
from pathlib import Path

import pytest
from conftest import succeeded, write_layout

import atlasae

PACKAGE = Path(__file__).parents[1] / "atlasae"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if ">>>" in path.read_text(encoding="utf-8"))
EXAMPLES = sorted((Path(__file__).parents[1] / "scripts" / "examples").glob("*.py"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file to compress, and the same compressed."""
    succeeded("compress", write_layout(tmp_path / "in.root", "nanoaod", entries=200), tmp_path / "small.root")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_do_what_they_show(module, folder):
    found = importlib.import_module(f"atlasae.{module}")
    names = vars(found) | {"atlasae": atlasae}
    for test in doctest.DocTestFinder(exclude_empty=True).find(found, found.__name__, globs=names):
        result = doctest.DocTestRunner().run(test)
        assert result.failed == 0, test.name


def test_every_public_name_shows_how_it_is_used():
    names = {"compress_file", "decompress_file", "verify_file", "check_file", "train", "open", "Codec", "load_model"}
    assert names <= set(atlasae.__all__)
    assert [name for name in atlasae.__all__ if ">>>" not in getattr(atlasae, name).__doc__] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(example), "small.root"])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out
