"""Documentation, executed: examples of docstrings and pages, commands, and the scripts of scripts/examples."""

import dataclasses
import doctest
import importlib
import pathlib
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd
import pytest
from conftest import counted, make_counts, random_jets, succeeded, write_layout, write_tree

import atlasae
from atlasae.commands.cli import commands
from atlasae.commands.topics import topics
from atlasae.jets.collections import MEV_PER_UNIT
from atlasae.reports import benchmark
from atlasae.training.recipes import COURSES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "atlasae"
README, DOCS = ROOT / "README.md", PACKAGE / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)
EXAMPLES = sorted((ROOT / "scripts" / "examples").glob("*.py"))
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def lines_of(page: Path) -> list[str]:
    """The commands in the blocks of a page."""
    blocks = re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("atlasae ")]


LINES = sorted({line for page in PAGES for line in lines_of(page)})


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
def test_docstrings_do_what_they_show(module, folder, quick_classifier):
    found = importlib.import_module(module)
    names = vars(found) | {"atlasae": atlasae, "pathlib": pathlib}
    for test in doctest.DocTestFinder(exclude_empty=True).find(found, found.__name__, globs=names):
        result = doctest.DocTestRunner().run(test)
        assert result.failed == 0, test.name


def test_every_public_name_shows_how_it_is_used():
    names = {"compress_file", "decompress_file", "verify_file", "check_file", "train", "open", "Codec", "load_model"}
    assert names <= set(atlasae.__all__)
    assert atlasae.__version__ == version("atlasae")
    shown = {name for name in atlasae.__all__ if ">>>" in getattr(atlasae, name).__doc__}
    assert set(atlasae.__all__) - shown == {"__version__"}


def test_what_is_raised_has_a_public_name(folder):
    assert issubclass(atlasae.UserError, atlasae.AtlasaeError)
    assert issubclass(atlasae.DamagedFileError, atlasae.AtlasaeError)
    with pytest.raises(atlasae.UserError, match=r"'1e-3' is no Options: give atlasae.Options\(precision=\.\.\.\)"):
        atlasae.compress_file("in.root", "other.root", "1e-3")
    for verb in (atlasae.open, atlasae.check_file, lambda path: atlasae.compress_file(path, "other.root")):
        with pytest.raises(atlasae.UserError, match="5 is no path"):
            verb(5)


def test_the_readme_is_short_and_starts_two_scripts():
    text = README.read_text(encoding="utf-8")
    assert len(text.encode()) <= 9000
    assert "bash scripts/demo.sh" in text and "bash scripts/test.sh" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_pages_name_is_there(page):
    """Files behind links and pictures, files of the repository in the text, topics, and extras to install exist."""
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r'(?:\]\(|src=")([^)"]+)', text) if not link.startswith("https://")]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"(?:atlasae|data|plots|scripts|tests)/[\w./-]*\w\.\w+", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert set(re.findall(r"`(?:[^`\n]* )?atlasae\s+help\s+([\w-]+)", text)) <= set(topics())
    assert {extra for some in re.findall(r"atlasae\[([\w,]+)\]", text) for extra in some.split(",")} <= EXTRAS


def test_the_readme_names_every_topic_and_every_extra():
    text = README.read_text(encoding="utf-8")
    assert set(re.findall(r"\(atlasae/docs/([\w-]+)\.md\)", text)) == set(topics())
    assert EXTRAS - {"docs", "test"} <= set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("line", LINES)
def test_commands_of_pages_are_understood(line, monkeypatch):
    name, *words = shlex.split(line, comments=True)[1:]
    command = commands.commands[name]
    monkeypatch.setattr(sys, "argv", ["atlasae", name, *words])
    with command.make_context(name, words) as context:
        assert context.args == []


def test_the_list_of_commands_is_complete():
    assert {line.split()[1] for line in lines_of(DOCS / "commands.md")} | {"completion"} == set(commands.commands)


def test_the_glossary_has_the_words_in_their_order():
    found = re.findall(r"^\*\*([\w -]+)\*\*: ", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found == sorted(set(found))
    asked = (
        "jet collection branch basket chunk latent bound precision layout model tables run part skim padding sentinel"
    )
    asked += " rounding carried response residual checksum salvage"
    assert {*asked.split(), "exact jet"} <= {*found}


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A folder for the examples of pages: in.root, with events of fewer than two jets, and out.root made from it."""
    jets = counted("nanoaod", make_counts(50))
    numbers = ak.num(jets["Jet_pt"])
    assert ak.min(numbers) < 2 < ak.max(numbers)
    met = {"MET_pt": ak.Array(np.ones(50, np.float32))}
    write_tree(tmp_path / "in.root", "Events", jets | met, dict.fromkeys(jets, "nJet"))
    succeeded("compress", tmp_path / "in.root", tmp_path / "out.root")
    monkeypatch.chdir(tmp_path)
    return numbers


def shown_in(page: Path, language: str) -> list[str]:
    """The blocks of code of a page."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [README, DOCS / "python.md"], ids=lambda path: path.name)
def test_pages_read_a_file_as_they_show(page, opened):
    """Also where some events have fewer than two jets."""
    (shown,) = [block for block in shown_in(page, "python") if "tree.jets()" in block]
    Path("shown.py").write_text(shown)
    found = runpy.run_path("shown.py")
    assert len(found["pairs"]) == ak.sum(opened > 1)


def test_what_the_page_on_python_shows_runs(opened):
    ran = []
    for block in shown_in(DOCS / "python.md", "python"):
        if "coffea" not in block:  # no extra installs it
            Path("shown.py").write_text(block)
            ran.append(runpy.run_path("shown.py"))
    _, report, arrays = ran
    assert report["report"]["precision"]["Jet"]["pt"] == 1e-4
    back, jets = arrays["back"], arrays["jets"]
    assert np.abs(back / jets - 1)[:, [0, 3]].max() <= 1e-3 and np.abs(back - jets)[:, 1:3].max() <= 1e-3


@pytest.mark.usefixtures("quick_classifier", "quick_model", "here")
def test_every_command_of_the_readme_works_in_the_order_given(opened, sketched, monkeypatch):
    monkeypatch.setattr(benchmark, "PRECISIONS", (1e-2, 1e-3))
    quick = dataclasses.replace(COURSES["invertible"], steps=20, batch=64, validate_every=10)
    monkeypatch.setitem(COURSES, "invertible", quick)
    Path("out.root").unlink()
    pd.DataFrame(random_jets(500)).to_pickle("more.pkl")
    Path("data").mkdir()
    for name in ("a", "b"):
        Path(f"data/{name}.root").write_bytes(Path("in.root").read_bytes())
    assert len(lines_of(README)) > 12
    for line in lines_of(README):
        succeeded(*shlex.split(line, comments=True)[1:])
    assert len(sketched) > 20


def test_the_reader_on_the_page_of_the_format_reads_what_atlasae_reads(opened):
    (shown,) = shown_in(DOCS / "format.md", "python")
    Path("reader.py").write_text(shown)
    jets = runpy.run_path("reader.py")["jets"]
    with atlasae.open("out.root") as tree:
        for variable, values in jets.items():
            expected = tree["Jet_mass" if variable == "m" else f"Jet_{variable}"].array()
            assert ak.num(values).to_list() == ak.num(expected).to_list()
            np.testing.assert_allclose(ak.flatten(values), ak.flatten(expected), rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("page", [README, DOCS / "cpp.md"], ids=lambda path: path.name)
def test_pages_read_a_file_in_cpp_as_its_header_says(page, opened):
    succeeded("export", "out.root", "--cpp", "-o", "jets.h")
    (block,) = shown_in(page, "cpp")
    (shown,) = re.findall(r"= df\.(.*);", block)
    assert f"df.{shown}\n" in Path("jets.h").read_text()


def test_every_option_is_told_in_one_line():
    described = [line.partition(":")[0].strip() for line in atlasae.Options.__doc__.splitlines() if ": " in line]
    names = [field.name for field in dataclasses.fields(atlasae.Options)]
    assert [name for name in names if described.count(name) != 1] == []
    (units,) = [line for line in atlasae.Options.__doc__.splitlines() if line.strip().startswith("units: ")]
    assert [unit for unit in MEV_PER_UNIT if f"`{unit}`" not in units] == []


def test_the_page_of_public_names_is_built_without_a_warning(tmp_path):
    pytest.importorskip("pdoc")
    command = [sys.executable, "-W", "error", ROOT / "scripts" / "docs.py", tmp_path / "new" / "docs"]
    done = subprocess.run([*map(str, command)], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    page = (tmp_path / "new" / "docs" / "index.html").read_text(encoding="utf-8")
    kinds = ("Compression", "Decompression", "Evaluation", "Info", "Integrity", "Training", "Verification")
    reports = {f"{what}Report" for what in kinds}
    returned = {"Bound", "CompressedBranch", "CompressedTree", "Model", "Recipe", *reports}
    assert set(re.findall(r'<section id="(\w+)"', page)) == {*atlasae.__all__} - {"__version__"} | returned
    anchors = set(re.findall(r'\bid="([^"]+)"', page))
    assert {"Codec.encode", "CompressedTree.arrays", "CompressionReport.bytes_per_jet", "Options.precision"} <= anchors
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors
    assert re.findall(r'href="(?!#|https://)[^"]*', page) == []  # a page by itself
    assert "_array_like" not in page.split("<main", 1)[1].split("pdoc-code codehilite")[0]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(example), "small.root"])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


def test_release_texts_have_the_version_and_the_requirements_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()
    recipe = (ROOT / "scripts" / "conda-recipe.yaml").read_text()
    assert f'version: "{project["version"]}"' in recipe
    names = {re.match(r"[\w-]+", requirement)[0].replace("_", "-") for requirement in project["dependencies"]}
    renamed = {"torch": "pytorch", "xxhash": "python-xxhash"}
    assert [name for name in names if f"    - {renamed.get(name, name)}" not in recipe] == []
