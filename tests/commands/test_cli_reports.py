"""The commands evaluate, plot and benchmark: what they print, what they write, and what they refuse."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import uproot
from conftest import (
    Result,
    Terminal,
    counted,
    nothing_left,
    random_jets,
    read_tree,
    run_main,
    succeeded,
    write_layout,
    write_tree,
)
from safetensors.torch import load, save

import atlasae.reports.classifier
from atlasae.codecs.model import Model
from atlasae.commands.cli import commands
from atlasae.reports import benchmark, figures, plotting
from atlasae.reports.plotting import Figure
from atlasae.reports.results import method_text
from atlasae.training import train
from atlasae.training.loop import Course

COUNTERS = dict.fromkeys(("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_nConstituents"), "nJet")
OURS = "atlasae, three floats"


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Networks that are hardly trained, at two precisions."""
    with pytest.MonkeyPatch.context() as patch:
        course = Course(steps=4, batch=64, validate_every=2)
        patch.setattr(train, "SELF_RECIPE", replace(train.SELF_RECIPE, course=course))
        patch.setattr(atlasae.reports.classifier, "COURSE", course)
        patch.setattr(benchmark, "PRECISIONS", (1e-2, 1e-3))
        yield


@pytest.fixture(scope="module")
def report_text(made_once: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the NanoAOD-like file of 60 events."""
    folder = tmp_path_factory.mktemp("report")
    for name, content in made_once.items():
        (folder / name).write_bytes(content)
    succeeded("evaluate", folder / "jets.root", folder / "small.root", "-o", folder / "report.json", "--quiet")
    return (folder / "report.json").read_text()


@pytest.fixture
def report(report_text: str, tmp_path: Path) -> Path:
    (tmp_path / "report.json").write_text(report_text)
    return tmp_path / "report.json"


@pytest.fixture
def short_report(report: Path) -> Path:
    """A report with one spectrum and the fields of every report."""
    found = json.loads(report.read_text())
    collection = found["collections"][0]
    collection |= {"spectra": {"pt": collection["spectra"]["pt"]}, "events": {"events": 0}, "latents": None}
    collection["correlation"]["rows"] = 0
    for variable in collection["variables"].values():
        variable |= {"in_pt": [], "in_eta": []}
    collection["residuals"] = {k: v if k == "pairs" else v[:1] for k, v in collection["residuals"].items()}
    (report.parent / "short.json").write_text(json.dumps(found))
    return report.parent / "short.json"


def strict(text: str) -> Any:
    """Parsed JSON; raises for NaN and Infinity, which JSON lacks."""
    return json.loads(text, parse_constant=pytest.fail)


def refused(code: int, words: tuple[str, ...], *arguments: object, out: Path) -> None:
    """Check that a command fails with one line that contains the words, and changes no files in the folder of OUT."""
    files = sorted(path for path in out.parent.rglob("*") if path.is_file())
    with nothing_left(out):
        assert run_main(*arguments).failed(code, *words)
    assert sorted(path for path in out.parent.rglob("*") if path.is_file()) == files


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- evaluate


def test_evaluate_prints_one_json_object(jets_file, compressed, report_text):
    with nothing_left(jets_file):
        result = succeeded("evaluate", jets_file, compressed, "--json")
    assert strict(result.out) == strict(report_text) and result.out.count("\n") == 1


def test_a_report_is_what_was_measured(report_text, jets_file):
    found = strict(report_text)
    assert (found["original"], found["compressed"]) == ("jets.root", "small.root")
    assert (found["format"], found["entries"], found["tree"]) == (1, 60, "Events")
    (collection,) = found["collections"]
    jets = ak.num(read_tree(jets_file, "Events")["Jet_pt"])
    assert (collection["name"], collection["jets"]) == ("Jet", int(ak.sum(jets)))
    assert collection["events"]["events"] == int(ak.sum(jets > 0))
    for variable in ("pt", "eta", "phi", "m"):
        measured = collection["variables"][variable]
        assert (measured["bound"], measured["all"]["jets"]) == (1e-3, collection["jets"])
        assert 0 < measured["all"]["half_width_68"] < measured["all"]["largest"] <= 1e-3
    # The last bin of pt has no upper edge, and JSON no infinity.
    assert all(b["high"] is None or b["high"] > b["low"] for b in collection["variables"]["pt"]["in_pt"])


def test_evaluate_tells_it_in_words_beside_the_report(jets_file, compressed, report_text, tmp_path):
    result = succeeded("evaluate", jets_file, compressed, "-o", tmp_path / "new.json")
    assert result.out.startswith("jets.root -> small.root: 60 entries of 'Events'\nwhole file: ")
    assert "\nJet: 119 jets, 0 exact" in result.out
    assert "Kolmogorov-Smirnov" in result.out and "a classifier tells them apart" in result.out
    assert (tmp_path / "new.json").read_text() == report_text
    assert succeeded("evaluate", jets_file, compressed, "-o", tmp_path / "new.json", "--force", "--quiet").out == ""


def test_histograms_are_written_for_root(jets_file, compressed, tmp_path):
    out = tmp_path / "histograms.root"
    report = succeeded("evaluate", jets_file, compressed, "--histograms", out, "--json").report["collections"][0]
    pt = ak.to_numpy(ak.flatten(read_tree(jets_file, "Events")["Jet_pt"])) * 1000
    with uproot.open(out) as file:
        names = set(file.keys(cycle=False, filter_classname="TH*"))
        spectra = {f"{w}/{v}" for w in ("before", "after") for v in ("pt", "eta", "phi", "m", "E", "dijet_mass", "ht")}
        residuals = {f"residual/{v}" for v in ("pt", "eta", "phi", "m", "E")}
        wanted = {f"Jet/{name}" for name in spectra | residuals | {"latent/z0", "latent/z2", "latent/z0_z1"}}
        assert wanted <= names, wanted - names
        counts, edges = file["Jet/before/pt"].to_numpy()
        assert counts.tolist() == np.histogram(pt, edges)[0].tolist()
        for name in ("before/eta", "after/phi", "residual/m", "latent/z1", "residual/pt_phi"):
            assert file[f"Jet/{name}"].values(flow=True).sum() == report["jets"] == len(pt), name
        assert file["Jet/before/ht"].values(flow=True).sum() == report["events"]["events"]
        found = report["spectra"]["m"]
        counts, edges = file["Jet/after/m"].to_numpy()
        inside = (edges[:-1] > 0.999 * found["edges"][0]) & (edges[1:] < 1.001 * found["edges"][-1])
        assert counts[inside].tolist() == found["after"]


def test_a_decompressed_file_is_evaluated_too(jets_file, compressed, report_text, tmp_path):
    succeeded("decompress", compressed, tmp_path / "back.root", "--quiet")
    (found,) = succeeded("evaluate", jets_file, tmp_path / "back.root", "--json").report["collections"]
    (promised,) = strict(report_text)["collections"]
    assert found["variables"]["phi"]["all"] == promised["variables"]["phi"]["all"]
    assert (found["exact_jets"], found["latents"], found["variables"]["phi"]["bound"]) == (None, None, None)


def test_a_file_is_not_changed_from_itself(jets_file):
    result = succeeded("evaluate", jets_file, jets_file, "--json")
    (found,) = strict(result.out)["collections"]
    assert {v: variable["all"]["largest"] for v, variable in found["variables"].items()} == dict.fromkeys(
        ("pt", "eta", "phi", "m", "E", "px", "py", "pz"), 0
    )
    assert "AUC 0.50000" in succeeded("evaluate", jets_file, jets_file).out


def test_tables_are_evaluated(tmp_path):
    jets = random_jets(50)
    pd.DataFrame({v: jets[v] for v in ("pt", "eta", "phi", "m")}).to_pickle(tmp_path / "in.pkl")
    succeeded("compress", tmp_path / "in.pkl", tmp_path / "small.root", "--quiet")
    report = succeeded("evaluate", tmp_path / "in.pkl", tmp_path / "small.root", "--json").report
    assert (report["original"], report["collections"][0]["jets"]) == ("in.pkl", 50)


def test_a_file_without_jets_has_nothing_to_compare(tmp_path):
    path, small = write_layout(tmp_path / "in.root", "nanoaod", 0), tmp_path / "small.root"
    succeeded("compress", path, small, "--quiet")
    strict(succeeded("evaluate", path, small, "--json").out)
    assert "no jets to compare" in succeeded("evaluate", path, small).out
    out = tmp_path / "report.json"
    succeeded("evaluate", path, small, "--quiet", "-o", out, "--histograms", tmp_path / "h.root")
    assert strict(succeeded("plot", out, "-o", tmp_path / "figures", "--json").out)["figures"] == []


def test_masses_that_are_nan_afterwards_are_told(jets_file, tmp_path):
    branches = read_tree(jets_file, "Events")
    branches["Jet_mass"] = branches["Jet_mass"] * np.nan
    other = write_tree(tmp_path / "nan.root", "Events", branches, COUNTERS)
    strict(succeeded("evaluate", jets_file, other, "--json").out)
    assert "\npt " in succeeded("evaluate", jets_file, other).out


@pytest.mark.parametrize("option", ["-o", "--histograms"])
def test_an_output_that_would_lose_something_is_refused(option, jets_file, compressed, tmp_path):
    (tmp_path / "there").write_text("mine")
    (tmp_path / "folder").mkdir()
    for out, words in {
        "there": ("exists", "--force"),
        "folder": ("is a folder",),
        "nowhere/report.json": ("no folder",),
        "jets.root": ("is the input",),
        "small.root": ("is the input",),
    }.items():
        arguments = ["evaluate", jets_file, compressed, option, tmp_path / out]
        refused(2, (out.split("/")[0],), *arguments, out=jets_file)
        force = [] if "--force" in words else ["--force"]
        refused(2, (out.split("/")[0], *words), *arguments, *force, out=jets_file)


def test_one_file_is_not_two_outputs(jets_file, compressed, tmp_path):
    out = tmp_path / "out.root"
    refused(2, ("out.root",), "evaluate", jets_file, compressed, "-o", out, "--histograms", out, out=jets_file)


def test_force_replaces_both_outputs(jets_file, compressed, report_text, tmp_path):
    paths = tmp_path / "report.json", tmp_path / "histograms.root"
    for path in paths:
        path.write_text("old")
    more = ["-o", paths[0], "--histograms", paths[1], "--force", "--quiet"]
    succeeded("evaluate", jets_file, compressed, *more)
    assert paths[0].read_text() == report_text and paths[1].read_bytes()[:4] == b"root"


def other_file(path: Path, change: Callable[[dict[str, ak.Array]], dict[str, ak.Array]]) -> Path:
    """The file of 60 events with other branches."""
    branches = read_tree(path, "Events")
    return write_tree(path.with_name("other.root"), "Events", change(branches), COUNTERS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: {n: a[:59] for n, a in b.items()}, ("59", "60", "not the same events")),
        (lambda b: {n: a[::-1] for n, a in b.items()}, ("other numbers of jets per event", "not the same events")),
        (lambda b: {n: a for n, a in b.items() if n != "Jet_phi"}, ("Jet_phi",)),
    ],
)
def test_files_of_other_events_are_refused(change, words, jets_file, compressed, tmp_path):
    other = other_file(jets_file, change)
    more = ["-o", tmp_path / "report.json", "--histograms", tmp_path / "h.root"]
    refused(2, words, "evaluate", other, compressed, *more, out=jets_file)
    refused(2, words, "plot", other, compressed, "-o", tmp_path / "figures", out=jets_file)


@pytest.mark.parametrize("damaged", ["jets.root", "small.root"])
def test_a_damaged_file_is_exit_3(damaged, jets_file, compressed, tmp_path):
    path = tmp_path / damaged
    path.write_bytes(path.read_bytes()[:-100])
    more = ["-o", tmp_path / "report.json", "--histograms", tmp_path / "h.root"]
    refused(3, (damaged, "damaged"), "evaluate", jets_file, compressed, *more, out=jets_file)
    refused(3, (damaged, "damaged"), "plot", jets_file, compressed, "-o", tmp_path / "figures", out=jets_file)


def test_a_damaged_branch_is_exit_3_and_leaves_nothing(jets_file, compressed, tmp_path):
    with uproot.open(compressed) as file:
        start = int(file["Events"]["Jet_z1"].member("fBasketSeek")[0])
    content = bytearray(compressed.read_bytes())
    content[start + 110] ^= 16
    compressed.write_bytes(content)
    more = ["-o", tmp_path / "report.json", "--histograms", tmp_path / "h.root"]
    refused(3, ("damaged",), "evaluate", jets_file, compressed, *more, out=jets_file)
    refused(3, ("damaged",), "plot", jets_file, compressed, "-o", tmp_path / "figures", out=jets_file)


@pytest.mark.parametrize("command", [["evaluate"], ["plot", "-o", "figures"]])
def test_a_file_that_is_not_there_is_told(command, jets_file, tmp_path):
    refused(2, ("no such file", "gone.root"), *command, jets_file, tmp_path / "gone.root", out=jets_file)
    refused(2, ("no such file", "gone.root"), *command, tmp_path / "gone.root", jets_file, out=jets_file)


# --- numbers that agree


def told_by_all(original: Path, tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    """What `compress`, `info`, `verify` and `evaluate` tell as JSON of one file."""
    small = tmp_path / "small.root"
    commands = ["compress", original, small, *options], ["info", small]
    commands = (*commands, ["verify", original, small], ["evaluate", original, small])
    return [succeeded(*command, "--json").report for command in commands]


def of_collections(compressed: Any, inside: Any, verified: Any, evaluated: Any) -> Iterator[list[dict[str, Any]]]:
    """What each of four reports tells of each collection, under the same keys."""
    for here, there, found in zip(
        compressed["collections"], inside["collections"], evaluated["collections"], strict=True
    ):
        name = here["name"]
        keys = ("max_error", "precision", "floors", "units")
        in_verify = {"name": name, "jets": verified["collections"][name]} | {key: verified[key][name] for key in keys}
        sizes = {"bytes_out": there["bytes"]}
        if here["jets"]:  # what the table of `evaluate` shows
            shown = {v: found["variables"][v]["all"]["largest"] for v in here["max_error"]}
            assert all(shown[v] <= error <= 1.0001 * shown[v] for v, error in here["max_error"].items())
        yield [here, there | sizes, in_verify, found]


AGREED = ("max_error", "precision", "floors", "units", "jets", "exact_jets", "bytes_in", "bytes_out", "bytes_per_jet")


@pytest.mark.parametrize("options", [(), ("--layout", "packed", "--precision", "1e-2")])
@pytest.mark.parametrize("kind", ["nanoaod", "energy", "cartesian", "rntuple_xaod", "table", "parquet", "empty"])
def test_four_commands_tell_the_same_numbers(kind, options, tmp_path):
    path = file_of(kind, tmp_path)
    reports = told_by_all(path, tmp_path, *options)
    compressed, inside, verified, evaluated = reports
    small = (tmp_path / "small.root").stat().st_size
    assert [report["bytes_file_in"] for report in reports] == [path.stat().st_size] * 4
    sizes = [compressed["bytes_file_out"], inside["bytes"], verified["bytes_file_out"], evaluated["bytes"]]
    assert sizes == [small] * 4
    assert {report["entries"] for report in reports} == {compressed["entries"]}
    assert [compressed[key] for key in ("jets", "bytes_jets_in", "bytes_per_jet")] == [
        inside[key] for key in ("jets", "bytes_jets_in", "bytes_per_jet")
    ]
    for told in of_collections(*reports):
        for key in AGREED:
            found = [one[key] for one in told if key in one]
            assert len(found) >= 3 and all(one == found[0] for one in found), (key, found)


def file_of(kind: str, folder: Path) -> Path:
    """A file with jets: a layout of a tree, a table, or jets beside a collection that has none."""
    if kind in ("table", "parquet"):
        table = pd.DataFrame({v: random_jets(200)[v].astype(np.float32) for v in ("pt", "eta", "phi", "m")})
        path = folder / {"table": "in.pkl", "parquet": "in.parquet"}[kind]
        table.to_pickle(path) if kind == "table" else table.to_parquet(path)
        return path
    if kind == "empty":
        counts = np.tile([2, 0, 1], 20)
        jets = counted("energy", counts)
        nothing = {name.replace("jet_", "fatjet_"): array[:, :0] for name, array in jets.items()}
        return write_tree(folder / "in.root", "mini", jets | nothing)
    return write_layout(folder / "in.root", kind)


def test_bytes_of_a_parquet_file_are_those_of_its_columns(tmp_path):
    path = file_of("parquet", tmp_path)
    report = succeeded("compress", path, tmp_path / "small.root", "--json").report
    group = pq.ParquetFile(path).metadata.row_group(0)
    assert report["bytes_jets_in"] == sum(group.column(i).total_compressed_size for i in range(4))


# --- plot


def test_two_files_are_drawn(jets_file, compressed, sketched, tmp_path):
    folder = tmp_path / "new" / "figures"
    found = succeeded("plot", jets_file, compressed, "-o", folder, "--json").report
    assert found["output"] == str(folder) and sorted(found["figures"]) == [str(folder / n) for n in written(folder)]
    assert len(found["figures"]) == 24 and found["drawn"] == 23 and {suffix for suffix, _ in sketched} == {".png"}
    assert {"Jet_1_spectrum_pt.png", "Jet_2_residual_m.png", "figures.pdf"} <= set(written(folder))


def test_a_report_is_drawn_as_its_files_are(report, short_report, sketched, tmp_path):
    text = succeeded("plot", report, "-o", tmp_path / "figures").out
    pdf = tmp_path / "figures" / "figures.pdf"
    assert text == f"{tmp_path / 'figures'}: 23 figures as PNG, all of them in {pdf}\n"
    assert len(written(tmp_path / "figures")) == 24
    assert succeeded("plot", short_report, "-o", tmp_path / "figures", "--force", "--quiet").out == ""


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def test_figures_are_real_and_carry_the_label(short_report, tmp_path, monkeypatch):
    drawn: list[Figure] = []
    save = plotting.save
    monkeypatch.setattr(plotting, "save", lambda figure, *to: drawn.append(figure) or save(figure, *to))
    label = ["--label", "Work in progress", "--energy", "13", "--luminosity", "140", "--experiment", "lhcb"]
    succeeded("plot", short_report, "-o", tmp_path / "figures", *label, "--quiet")
    names = ["Jet_1_spectrum_pt", "Jet_2_residual_pt", "Jet_4_residuals"]
    assert written(tmp_path / "figures") == [*(f"{name}.png" for name in names), "figures.pdf"]
    for path in (tmp_path / "figures").iterdir():
        assert path.read_bytes()[:4] == (b"%PDF" if path.suffix == ".pdf" else b"\x89PNG")
    expected = ["LHCb", "Work in progress", r"$\sqrt{s}$ = 13 TeV, 140 fb$^{\mathrm{-1}}$", "Jet"]
    assert [texts_of(figure) for figure in drawn] == [expected] * 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["Jet"]),
        (["--experiment", "none", "--label", "Work in progress"], ["Work in progress", "Jet"]),
        (["--experiment", "ATLAS"], ["ATLAS", "Internal", "Jet"]),
        (["--experiment", "CMS", "--label", ""], ["CMS", "Jet"]),
    ],
)
def test_a_label_names_what_was_asked_for_and_no_energy(options, expected, short_report, sketched, tmp_path):
    succeeded("plot", short_report, "-o", tmp_path / "figures", *options, "--only", "spectra", "--quiet")
    ((_, figure),) = sketched
    assert texts_of(figure) == expected


def test_kinds_of_figures_are_chosen(report, short_report, sketched, tmp_path):
    folder = tmp_path / "figures"
    succeeded("plot", report, "-o", folder, "--only", "residuals,response", "--jets", "J*", "--quiet")
    stems = [f"Jet_{kind}_{v}.png" for kind in ("2_residual", "3_response") for v in ("E", "eta", "m", "phi", "pt")]
    assert written(folder) == [*stems, "figures.pdf"]
    more = ["-o", tmp_path / "more"]
    refused(2, ("'pies' is no kind of figure", "spectra,"), "plot", report, *more, "--only", "pies", out=report)
    words = ("'Tau' is none of the collections with jets: Jet",)
    refused(2, words, "plot", report, *more, "--jets", "Tau", out=report)
    refused(2, ("leave them out",), "plot", report, short_report, "-o", tmp_path / "more", "--jets", "J", out=report)


def test_help_names_all_kinds_of_figures():
    (only,) = [option for option in commands.commands["plot"].params if option.name == "only"]
    assert ", ".join(("overview", *figures.KINDS)) in only.help


def test_a_page_is_written_with_figures_and_without(report, short_report, sketched, tmp_path):
    page = tmp_path / "page.html"
    text = succeeded("plot", report, "--html", page, "--only", "spectra").out
    assert text == f"{page}: a page with 5 figures\n" and not (tmp_path / "figures").exists()
    assert page.read_text().count("<img") == 5 and f"<pre>atlasae plot {report} --html" in page.read_text()
    refused(2, ("page.html' exists", "--force"), "plot", report, "--html", page, out=page)
    refused(2, ("is the input",), "plot", report, "--html", report, "--force", out=report)
    found = succeeded("plot", short_report, "--html", page, "-o", tmp_path / "figures", "--force", "--json").report
    assert (found["html"], found["drawn"], len(found["figures"])) == (str(page), 3, 4)


def test_several_reports_are_compared(report, short_report, sketched, tmp_path):
    found = succeeded("plot", report, short_report, "-o", tmp_path / "figures", "--json").report
    assert [Path(path).name for path in found["figures"]] == ["figures.pdf", "Jet_9_comparison.png"]
    assert [text.get_text() for text in sketched[0][1].axes[0].get_legend().get_texts()] == ["report", "short"]


@pytest.fixture
def models(one_torch_thread: None, tmp_path: Path) -> list[Path]:
    """Two models, trained for a few steps."""
    jets = random_jets(200, seed=6)
    pd.DataFrame({v: jets[v] for v in ("pt", "eta", "phi", "m")}).to_pickle(tmp_path / "jets.pkl")
    paths = [tmp_path / "first.model", tmp_path / "second.model"]
    more = ["--arch", "mlp", "--set", "network.hidden=[4]", "--set", "course.validate_every=5", "--quiet"]
    for steps, path in zip((10, 15), paths, strict=True):
        succeeded("train", tmp_path / "jets.pkl", "-o", path, *more, "--set", f"course.steps={steps}")
    return paths


def test_models_are_drawn_and_compared(models, sketched, tmp_path):
    found = succeeded("plot", *models, "-o", tmp_path / "figures", "--json").report["figures"]
    names = ["first_8_training", "second_8_training", "models_9_comparison"]
    assert [Path(path).stem for path in found[1:]] == names
    first, second, both = (figure for _, figure in sketched)
    assert len(first.axes[0].get_lines()[1].get_xdata()) < len(second.axes[0].get_lines()[1].get_xdata())
    assert [text.get_text() for text in both.axes[0].get_legend().get_texts()] == ["first", "second"]
    (_, alone) = succeeded("plot", models[0], "-o", tmp_path / "alone", "--json").report["figures"]
    assert Path(alone).name == "first_8_training.png"


@pytest.mark.parametrize(
    "history",
    [3, [1], {"validation": 3}, {"steps": [1], "training": [1], "validation": ["a"]},
     {"steps": [1], "training": [1, 2], "validation": [1, 2]}],
)  # fmt: skip
def test_a_history_that_is_none_is_refused(history, models, tmp_path):
    content = models[0].read_bytes()
    facts = Model.from_bytes(content, "first").facts | {"history": history}
    models[0].write_bytes(save(load(content), metadata={"atlasae": json.dumps(facts)}))
    words = ("first.model can't be drawn", "`atlasae train` writes")
    refused(2, words, "plot", models[0], "-o", tmp_path / "figures", out=models[0])


def test_what_does_not_go_together_is_refused(jets_file, compressed, report, by_hand, tmp_path):
    out = ["-o", tmp_path / "figures"]
    words = ("nothing to draw of", "an original and its compressed file, reports, or models")
    refused(2, words, "plot", jets_file, *out, out=jets_file)
    refused(2, words, "plot", jets_file, compressed, report, *out, out=jets_file)
    refused(2, words, "plot", jets_file, compressed, by_hand, *out, out=jets_file)
    for other in (compressed, by_hand):
        refused(2, (), "plot", report, other, *out, out=jets_file)
        refused(2, (), "plot", other, report, *out, out=jets_file)
    refused(2, (), "plot", jets_file, by_hand, *out, out=jets_file)
    refused(2, ("issing argument",), "plot", *out, out=jets_file)
    refused(2, ("-o FOLDER", "--html PAGE"), "plot", report, out=jets_file)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2, "collections": []}', '{"format": 1}'])
def test_what_is_no_report_is_refused(content, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(content)
    refused(2, ("report.json", "report"), "plot", path, "-o", tmp_path / "figures", out=path)


def test_a_report_that_lacks_something_is_refused(short_report, tmp_path):
    found = json.loads(short_report.read_text())
    found["collections"][0]["spectra"]["pt"].pop("moved")
    short_report.write_text(json.dumps(found))
    words = ("short.json can't be drawn", "'moved'")
    refused(2, words, "plot", short_report, "-o", tmp_path / "figures", out=short_report)


@pytest.mark.parametrize("names", [["jets.root", "small.root"], ["report.json"], ["jets.root"]])
def test_what_can_not_be_drawn_leaves_no_folder(names, jets_file, compressed, tmp_path):
    for name in names:
        (tmp_path / name).write_bytes(b"root")
    assert run_main("plot", *(tmp_path / name for name in names), "-o", tmp_path / "figures").code in (2, 3)
    assert not (tmp_path / "figures").exists()


def test_a_folder_with_something_in_it_is_refused(short_report, sketched, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    refused(2, ("is not empty", "--force"), "plot", short_report, "-o", folder, out=folder / "mine.txt")
    refused(2, ("is a file",), "plot", short_report, "-o", short_report, "--force", out=short_report)
    succeeded("plot", short_report, "-o", folder, "--force", "--quiet")
    assert (folder / "mine.txt").read_text() == "mine" and len(written(folder)) == 5
    refused(2, ("is not empty", "--force"), "plot", short_report, "-o", folder, out=folder / "mine.txt")


# --- benchmark


@pytest.fixture(scope="module")
def measured(made_once: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder with a figure, and the output of the benchmark."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "jets.root").write_bytes(made_once["jets.root"])
    return folder / "figures", succeeded("benchmark", folder / "jets.root", "-o", folder / "figures", "--json")


def test_a_benchmark_prints_one_json_object_and_draws(measured):
    folder, result = measured
    found = strict(result.out)
    assert (found["input"], found["collection"], found["precisions"]) == ("jets.root", "Jet", [1e-2, 1e-3])
    assert found["figures"] == [str(folder / name) for name in ("benchmark.pdf", "Jet_7_size.png")]
    assert written(folder) == ["Jet_7_size.png", "benchmark.pdf"] and written(folder.parent) == [
        "figures",
        "jets.root",
    ]
    assert (folder / "Jet_7_size.png").read_bytes()[:4] == b"\x89PNG"
    assert found["curves"][OURS][0] < found["curves"][OURS][1]


def remember(function: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is called once for each key of its arguments."""
    known: dict[Any, Any] = {}

    def call(*arguments: Any, **options: Any) -> Any:
        at = key(*arguments, **options)
        if at not in known:
            known[at] = function(*arguments, **options)
        return known[at]

    return call


def test_a_benchmark_is_told_in_words(measured, jets_file, by_hand, sketched, tmp_path, monkeypatch):
    ours = remember(
        benchmark.compressed_bytes, lambda sample, bound, model, folder, packed=False: (bound, model, packed)
    )
    monkeypatch.setattr(benchmark, "compressed_bytes", ours)
    monkeypatch.setattr(benchmark, "peers", remember(benchmark.peers, lambda sample, bound, folder: bound))
    curves = strict(measured[1].out)["curves"]
    with nothing_left(jets_file):
        lines = succeeded("benchmark", jets_file).out.splitlines()
    assert lines[0].startswith("jets.root, Jet: ") and len(lines) == 2 + len(curves)
    for line, (name, sizes) in zip(lines[2:], curves.items(), strict=True):
        assert line.startswith(method_text(name)) and line.split()[-2:] == [f"{size:.2f}" for size in sizes]
    assert succeeded("benchmark", jets_file, "--quiet", "-o", tmp_path / "figures").out == ""
    other = succeeded("benchmark", jets_file, "--model", by_hand, "--json").report["curves"]
    assert other[OURS] != curves[OURS] and other["SZ3, no events"] == curves["SZ3, no events"]
    (curve,) = [line for line in sketched[0][1].axes[0].get_lines() if line.get_label() == OURS]
    assert curve.get_ydata() == pytest.approx(curves[OURS])


def test_packages_that_are_missing_are_told(jets_file, monkeypatch):
    monkeypatch.setattr(benchmark, "PRECISIONS", (1e-2,))
    monkeypatch.setitem(sys.modules, "pcodec", None)
    text = succeeded("benchmark", jets_file).out
    assert text.endswith("not installed: pcodec: pip install 'atlasae[benchmark]'\n")


def test_a_benchmark_that_makes_no_sense_is_refused(jets_file, tmp_path, monkeypatch):
    folder = tmp_path / "figures"
    few, cut = write_layout(tmp_path / "few.root", "nanoaod", 9), tmp_path / "cut.root"
    cut.write_bytes(jets_file.read_bytes()[:-100])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for code, words, path, *options in (
        (2, ("few.root", "at least 30 are needed"), few),
        (3, ("cut.root", "damaged"), cut),
        (2, ("no such file", "gone.root"), tmp_path / "gone.root"),
        (2, ("no jets 'Muon_'",), jets_file, "--jets", "Muon_"),
        (2, ("'keV'",), jets_file, "--units", "keV"),
        (2, ("no model 'gone.model'",), jets_file, "--model", "gone.model"),
    ):
        refused(code, words, "benchmark", path, "-o", folder, *options, out=jets_file)
    monkeypatch.setattr(benchmark, "benchmark_file", pytest.fail)  # told before anything is measured
    refused(2, ("is not empty", "--force"), "benchmark", jets_file, "-o", tmp_path / "full", out=jets_file)
    refused(2, ("is a file",), "benchmark", jets_file, "-o", jets_file, "--force", out=jets_file)


# --- while they work


@pytest.mark.parametrize(
    ("command", "bar"), [(["evaluate"], "evaluating"), (["plot"], "evaluating"), (["benchmark"], "measuring")]
)
def test_a_bar_is_shown_on_a_terminal_alone(command, bar, jets_file, compressed, sketched, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "report_figures", lambda report, label, choice: iter(()))
    monkeypatch.setattr(benchmark, "PRECISIONS", (1e-2,))
    monkeypatch.setattr(benchmark, "peers", lambda *arguments: {})
    paths = [jets_file] if command == ["benchmark"] else [jets_file, compressed]
    more = ["-o", tmp_path / "figures"] if command == ["plot"] else []
    assert succeeded(*command, *paths, *more).err == ""
    monkeypatch.setattr(io, "StringIO", Terminal)
    assert bar in run_main(*command, *paths, *more).err
    quiet = run_main(*command, *paths, *more, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
