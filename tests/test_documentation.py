"""What documentation shows, run: the examples of every docstring, and the scripts of scripts/examples."""

import dataclasses
import doctest
import importlib
import pathlib
import re
import runpy
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from conftest import counted, make_counts, succeeded, write_layout, write_tree

import atlasae
from atlasae.jets.collections import MEV_PER_UNIT

PACKAGE = Path(__file__).parents[1] / "atlasae"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if ">>>" in path.read_text(encoding="utf-8"))
EXAMPLES = sorted((Path(__file__).parents[1] / "scripts" / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The content of a file to compress, and of the same compressed."""
    folder = tmp_path_factory.mktemp("made")
    succeeded("compress", write_layout(folder / "in.root", "nanoaod", entries=200), folder / "small.root")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A folder with a file to compress, and the same compressed."""
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_do_what_they_show(module, folder):
    found = importlib.import_module(f"atlasae.{module}")
    names = vars(found) | {"atlasae": atlasae, "pathlib": pathlib}
    for test in doctest.DocTestFinder(exclude_empty=True).find(found, found.__name__, globs=names):
        result = doctest.DocTestRunner().run(test)
        assert result.failed == 0, test.name


def test_every_public_name_shows_how_it_is_used():
    names = {"compress_file", "decompress_file", "verify_file", "check_file", "train", "open", "Codec", "load_model"}
    assert names <= set(atlasae.__all__)
    assert [name for name in atlasae.__all__ if ">>>" not in getattr(atlasae, name).__doc__] == []


def test_what_is_raised_has_a_public_name(folder):
    assert issubclass(atlasae.UserError, atlasae.AtlasaeError)
    assert issubclass(atlasae.DamagedFileError, atlasae.AtlasaeError)
    with pytest.raises(atlasae.UserError, match=r"'1e-3' is no Options: give atlasae.Options\(precision=\.\.\.\)"):
        atlasae.compress_file("in.root", "other.root", "1e-3")
    for verb in (atlasae.open, atlasae.check_file, lambda path: atlasae.compress_file(path, "other.root")):
        with pytest.raises(atlasae.UserError, match="5 is no path"):
            verb(5)


def test_the_readme_reads_a_file_as_it_shows(tmp_path, monkeypatch):
    """Where some events have no two jets, too."""
    text = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    (shown,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "tree.jets()" in block]
    jets = counted("nanoaod", make_counts(50))
    numbers = ak.num(jets["Jet_pt"])
    assert ak.min(numbers) < 2 < ak.max(numbers)
    met = {"MET_pt": ak.Array(np.ones(50, np.float32))}
    write_tree(tmp_path / "in.root", "Events", jets | met, dict.fromkeys(jets, "nJet"))
    succeeded("compress", tmp_path / "in.root", tmp_path / "out.root")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown.py").write_text(shown)
    found = runpy.run_path("shown.py")
    assert len(found["pairs"]) == ak.sum(numbers > 1)


def test_every_option_is_told_in_one_line():
    told = [line.partition(":")[0].strip() for line in atlasae.Options.__doc__.splitlines() if ": " in line]
    names = [field.name for field in dataclasses.fields(atlasae.Options)]
    assert [name for name in names if told.count(name) != 1] == []
    (units,) = [line for line in atlasae.Options.__doc__.splitlines() if line.strip().startswith("units: ")]
    assert [unit for unit in MEV_PER_UNIT if f"`{unit}`" not in units] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(example), "small.root"])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out
