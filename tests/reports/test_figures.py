"""From reports to figures: which are drawn, their names, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import counted, read_tree, succeeded, write_tree

from atlasae.errors import UserError
from atlasae.reports import evaluation, figures, plotting
from atlasae.reports.evaluation import evaluate_files
from atlasae.reports.figures import Choice, Drawn
from atlasae.reports.panels import QUANTITIES, Label
from atlasae.reports.plotting import Figure

LABEL = Label("Internal", "ATLAS")
ALL = Choice(jets=("*",))
COUNTERS = {f"Jet_{v}": "nJet" for v in ("pt", "eta", "phi", "mass")}


def evaluated(folder: Path, counts: list[int]) -> dict[str, Any]:
    """The report, as in JSON, of a file with events of so many jets."""
    write_tree(folder / "in.root", "Events", counted("nanoaod", np.array(counts)), COUNTERS)
    succeeded("compress", folder / "in.root", folder / "small.root", "--quiet")
    succeeded("evaluate", folder / "in.root", folder / "small.root", "-o", folder / "report.json", "--quiet")
    return figures.read_report(folder / "report.json")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A report of 42 jets."""
    found = evaluated(tmp_path_factory.mktemp("report"), [2, 0, 3, 1, 4] * 4 + [2])
    assert found["collections"][0]["jets"] == 42
    return found


@pytest.fixture(scope="module")
def drawn(report: dict[str, Any]) -> dict[str, Figure]:
    """Its figures."""
    found = list(figures.report_figures(report, LABEL))
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...]]]:
    """Calls of plotting with their arguments; the figures are empty."""
    found: list[tuple[str, tuple[Any, ...]]] = []

    def instead(name: str) -> Any:
        return lambda *arguments: found.append((name, arguments)) or Figure(figsize=(1, 1))

    names = "spectrum fine_ratios residual_figure response matrix corner latents sizes training comparison"
    names += " learning_rate_figure overview"
    for name in names.split():
        monkeypatch.setattr(plotting, name, instead(name))
    return found


def renamed(report: dict[str, Any], *names: str) -> dict[str, Any]:
    """A report with a copy of the first collection for every name."""
    return report | {"collections": [report["collections"][0] | {"name": name} for name in names]}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


# --- a report


def test_a_report_of_few_jets_is_drawn(drawn):
    expected = {f"1_spectrum_{v}" for v in ("pt", "eta", "phi", "m", "E")}
    expected |= {f"2_residual_{v}" for v in ("pt", "eta", "phi", "m", "E")}
    expected |= {f"3_response_{v}" for v in ("pt", "eta", "phi", "m", "E")}
    expected |= {"4_correlation", "4_residuals", "5_dijet_mass", "5_dijet_mass_response", "5_ht", "5_ht_response"}
    expected |= {"6_latents", "6_latents_pairs"}
    assert {name.removeprefix("Jet_") for name in drawn} == expected
    assert all(isinstance(figure, Figure) for figure in drawn.values())


def test_names_sort_by_subject(drawn):
    subjects = [name.split("_")[1] for name in drawn]
    assert subjects == sorted(subjects) and sorted(drawn, key=lambda name: name.split("_")[1]) == list(drawn)


def test_every_figure_names_its_collection_and_the_label(drawn):
    for name, figure in drawn.items():
        shown = [text.get_text() for text in figure.axes[0].texts]
        assert {"ATLAS", "Internal"} <= set(shown), name
        assert any(text.split("\n")[0] == "Jet" for text in shown), name
        small = "in.root, compared with small.root, precision 0.001, layout floats"
        assert [text.get_text() for text in figure.texts] == [small], name


def test_figures_draw_the_numbers_of_the_report(report, drawn):
    (collection,) = report["collections"]
    spectrum = drawn["Jet_1_spectrum_eta"].axes[0].patches[0].get_data()
    assert spectrum.values.tolist() == collection["spectra"]["eta"]["before"]
    assert spectrum.edges.tolist() == collection["spectra"]["eta"]["edges"]
    residual = drawn["Jet_2_residual_phi"].axes[0]
    assert residual.patches[0].get_data().values.tolist() == collection["residuals"]["counts"][2]
    assert residual.get_xlabel().startswith(r"$\Delta$$\phi$") and "promised bound" in legend(
        drawn["Jet_2_residual_phi"]
    )
    assert "orig." in drawn["Jet_2_residual_m"].axes[0].get_xlabel()
    assert "promised bound" not in legend(drawn["Jet_2_residual_E"])  # nothing was promised of E
    masses = drawn["Jet_5_dijet_mass"].axes[0]
    assert masses.get_ylabel() == "Events / bin"
    numbers = [text.get_text() for text in drawn["Jet_4_correlation"].axes[0].texts]
    assert sum(bool(re.fullmatch(r"(\$-\$)?[01]\.\d\d", number)) for number in numbers) == 64
    latent = drawn["Jet_6_latents"].axes[1].patches[0].get_data()
    assert latent.values.tolist() == collection["latents"]["counts"][1]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Jet", "Jet"),
        ("Jet.", "Jet"),
        ("Jets/pt:x", "Jets_pt_x"),
        ("AntiKt4-Jets", "AntiKt4-Jets"),
        ("../../etc/passwd", "etc_passwd"),
        ("a b\n*?", "a_b"),
        ("", "jets"),
        ("..", "jets"),
        ("Jété", "J_t"),
    ],
)
def test_figures_have_names_that_files_can_have(name, stem, report, asked):
    found = [figure for figure, _ in figures.report_figures(renamed(report, name), LABEL)]
    assert found[0] == f"{stem}_1_spectrum_pt"
    assert [figure for figure in found if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", figure)] == []
    assert asked[0][1][2].note == name  # the label keeps the name as it is


@pytest.mark.parametrize("names", [("Jet.", "Jet_"), ("Jet", "Fat Jet"), ("é", "è")])
def test_figures_of_two_collections_have_two_names(names, report, asked):
    found = [figure for figure, _ in figures.report_figures(renamed(report, *names), LABEL, ALL)]
    assert len(asked) == len(found) == len(set(found))


def kinds(drawn: Any) -> list[str]:
    return [name for name, _ in drawn]


def test_of_many_collections_the_main_one_is_drawn_and_an_overview_of_all(report, asked):
    many = renamed(report, "FatJet", "Jet", "SubJet")
    found = kinds(figures.report_figures(many, LABEL))
    assert found[0] == "0_overview" and {name[:3] for name in found[1:]} == {"Jet"} and len(found) < 30
    ((rows, label),) = [given for name, given in asked if name == "overview"]
    assert [row.name for row in rows] == ["FatJet", "Jet", "SubJet"] and label.source.startswith("in.root, compared")
    bound = report["collections"][0]["variables"]["m"]
    expected = pytest.approx((bound["all"]["half_width_68"] / 1e-3, bound["all"]["largest"] / 1e-3))
    assert rows[0].errors["m"] == expected and "E" not in rows[0].errors  # nothing was promised of E


def test_an_overview_of_very_many_collections_says_how_many_it_leaves_out(report, asked):
    many = renamed(report, *(f"Jet{i}" for i in range(32)))
    list(figures.report_figures(many, LABEL, Choice(("overview",))))
    ((rows, label),) = [given for name, given in asked if name == "overview"]
    assert len(rows) == 30 and label.note == "and 2 collections with fewer jets"


def test_some_kinds_of_figures_and_some_collections_are_drawn(report, asked):
    many = renamed(report, "FatJet", "Jet", "SubJet")
    found = kinds(figures.report_figures(many, LABEL, Choice(("response", "correlation"), ("*Jet",))))
    assert len(found) == 3 * 7 and {name.split("_")[1] for name in found} == {"3", "4"}
    found = kinds(figures.report_figures(many, LABEL, Choice(("latents",), ("SubJet", "Fat*"))))
    assert found == ["FatJet_6_latents", "FatJet_6_latents_pairs", "SubJet_6_latents", "SubJet_6_latents_pairs"]


def test_what_can_not_be_chosen_is_told(report):
    with pytest.raises(UserError, match="--only 'respones' is no kind of figure: give some of overview,spectra,.*"):
        Choice(("spectra", "respones"))
    with pytest.raises(UserError, match="--jets 'TauJet' is none of the collections with jets: Jet$"):
        list(figures.report_figures(report, LABEL, Choice(jets=("TauJet",))))


@pytest.mark.parametrize(
    ("precision", "layout", "expected"),
    [
        (dict.fromkeys(("pt", "m"), 1e-2), "packed", "precision 0.01, layout packed"),
        ({"pt": 1e-3, "m": None}, "floats", "precision pt 0.001 m full, layout floats"),
        ({}, None, ""),
    ],
)
def test_the_small_print_tells_precision_and_layout(precision, layout, expected, report, asked):
    (collection,) = renamed(report, "Jet")["collections"]
    collection |= {"precision": precision, "layout": layout}
    list(figures.report_figures(report | {"collections": [collection]}, LABEL, Choice(("spectra",))))
    assert asked[0][1][2].source == ", ".join(filter(None, ["in.root, compared with small.root", expected]))


def test_a_collection_without_jets_has_no_figures(report, tmp_path):
    empty = evaluated(tmp_path, [0, 0, 0])
    assert empty["collections"][0]["jets"] == 0
    assert list(figures.report_figures(empty, LABEL)) == []
    assert list(figures.comparison_figures({"a": empty, "b": empty}, LABEL)) == []
    both = report | {"collections": [empty["collections"][0] | {"name": "Empty"}, *report["collections"]]}
    assert next(figures.report_figures(both, LABEL))[0].startswith("Jet_")


def test_one_jet_is_drawn(tmp_path):
    alone = evaluated(tmp_path, [0, 1])
    found = dict(figures.report_figures(alone, LABEL))
    assert "Jet_1_spectrum_pt" in found and "Jet_2_residual_m" in found
    assert [name for name in found if "correlation" in name or "dijet" in name] == []  # of one there is none
    for name in ("Jet_1_spectrum_pt", "Jet_3_response_m", "Jet_5_ht_response", "Jet_4_residuals"):
        plotting.save(found[name], tmp_path / f"{name}.png")


def test_rows_without_events_have_no_figures_of_events(report, asked):
    collection = report["collections"][0] | {"events": {"events": 0}, "latents": None}
    found = [name for name, _ in figures.report_figures(report | {"collections": [collection]}, LABEL)]
    assert len(found) == 17 and [name for name in found if "_5_" in name or "_6_" in name] == []


def test_a_variable_that_came_back_as_nan_leaves_the_others(tmp_path):
    evaluated(tmp_path, [3] * 14)
    branches = read_tree(tmp_path / "in.root", "Events")
    other = write_tree(
        tmp_path / "nan.root", "Events", branches | {"Jet_mass": branches["Jet_mass"] * np.nan}, COUNTERS
    )
    found = evaluate_files(tmp_path / "in.root", other).report
    assert found["collections"][0]["variables"]["m"]["all"]["jets"] == 0
    drawn = [name for name, _ in figures.report_figures(found, LABEL)]
    assert {"Jet_2_residual_pt", "Jet_2_residual_phi", "Jet_5_ht"} <= set(drawn)


# --- several reports, models


def test_several_reports_are_compared(report):
    wider = json.loads(json.dumps(report))
    wider["collections"][0]["variables"]["m"]["all"]["half_width_68"] = 0.5
    reports = {"one": renamed(report, "Jet", "Other"), "two": renamed(wider, "Jet")}
    found = dict(figures.comparison_figures(reports, LABEL))
    assert list(found) == ["Jet_9_comparison", "Other_9_comparison"]
    axes = found["Jet_9_comparison"].axes[0]
    assert legend(found["Jet_9_comparison"]) == ["one", "two"] and legend(found["Other_9_comparison"]) == ["one"]
    assert axes.get_ylabel() == figures.WIDTH and "Jet" in [text.get_text() for text in axes.texts]
    assert [text.get_text() for text in axes.get_xticklabels()][-3:] == ["$m$", "$E$", "$m_{jj}$"]
    variables = report["collections"][0]["variables"]
    widths = [variables[v]["all"]["half_width_68"] for v in ("pt", "eta", "phi", "m", "E")]
    widths.append(report["collections"][0]["events"]["dijet_mass"]["all"]["half_width_68"])
    one, two = (line.get_ydata() for line in axes.get_lines())
    assert one == pytest.approx(widths) and two[3] == 0.5


def test_reports_of_one_collection_each_are_compared_whatever_their_names(report):
    reports = {"one": renamed(report, "Jet"), "two": renamed(report, "jets")}
    ((name, figure),) = figures.comparison_figures(reports, LABEL)
    assert name == "Jet_9_comparison" and legend(figure) == ["one", "two"]
    assert "Jet" not in [text.get_text() for text in figure.axes[0].texts]
    more = reports | {"three": renamed(report, "Jet", "Fat")}
    assert [name for name, _ in figures.comparison_figures(more, LABEL)] == [
        "Jet_9_comparison", "jets_9_comparison", "Fat_9_comparison",
    ]  # fmt: skip


def test_a_report_without_events_is_compared_with_one_that_has_them(report):
    flat = report | {"collections": [report["collections"][0] | {"events": {"events": 0}}]}
    ((_, figure),) = figures.comparison_figures({"flat": flat, "jagged": report}, LABEL)
    first, second = figure.axes[0].get_lines()
    assert np.isnan(first.get_ydata()).tolist() == [False] * 5 + [True]
    assert np.isfinite(second.get_ydata()).all()


def facts(m: float | None = None, **more: Any) -> dict[str, Any]:
    """Facts of a model."""
    test = {"jets": 9} | ({"half_widths": {"pt": 0.1, "eta": 0.01, "phi": 0.01, "m": m, "E": 0.1}} if m else {})
    return {"architecture": "mlp", "test": test} | more


HISTORY = {"steps": [10, 20, 30], "training": [None, 2.0, 1.0], "validation": [3.0, None, 1.5], "ended": "all steps"}


def test_a_model_shows_its_training():
    ((name, figure),) = figures.models_figures({"my.first.model": facts(history=HISTORY)}, LABEL)
    assert name == "my_first_model_8_training"
    assert "my.first.model: mlp" in [text.get_text() for text in figure.axes[0].texts]
    curves = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(curves["weights kept"].get_xdata()) == [30, 30]
    assert curves["validation"].get_ydata()[::2].tolist() == [3.0, 1.5]


@pytest.mark.parametrize(
    "history", [None, {}, {"steps": [], "training": [], "validation": []}, HISTORY | {"validation": [None] * 3}]
)
def test_a_model_that_kept_no_losses_shows_none(history):
    assert list(figures.models_figures({"a.model": facts(history=history)}, LABEL)) == []
    assert list(figures.models_figures({"a.model": facts()}, LABEL)) == []


def test_several_models_are_compared():
    models = {"a.model": facts(0.1), "b.model": facts(0.3), "packaged": facts(), "checkpoint": {"architecture": "mlp"}}
    ((name, figure),) = figures.models_figures(models, LABEL)
    assert name == "models_9_comparison" and legend(figure) == ["a.model", "b.model"]
    assert [line.get_ydata()[3] for line in figure.axes[0].get_lines()] == [0.1, 0.3]
    assert "test jets" in [text.get_text() for text in figure.axes[0].texts]


def test_one_model_has_nothing_to_be_compared_with():
    assert list(figures.models_figures({"a.model": facts(0.1), "packaged": facts()}, LABEL)) == []


# --- what is given


def test_fine_spectra_are_drawn_from_the_first_filled_bin_to_the_last(report, asked):
    counts = [3, *[100] * 10, 50, 2, 90]
    change = {"bins": 3, "chi2": 0.2, "random": 0.1, "ratio": 2.0, "error": 0.1}
    found = {"width": 1000.0, "first": 59_000.0, "change": change, "before": counts, "after": counts, "random": counts}
    odd = {"m, 5 GeV": found | {"change": {"bins": 0}}, "phi, .01": found | {"before": counts[:10]}}
    spectra = {"pt, 1 GeV": found, "eta, .01": found | {"before": counts[1:12]}} | odd
    (collection,) = renamed(report, "Jet")["collections"]
    comb = collection["comb"] | {"spectra": spectra}
    drawn = [n for n, _ in figures.report_figures({"collections": [collection | {"comb": comb}]}, LABEL)]
    assert [name for name in drawn if "fine" in name] == ["Jet_1_spectra_fine"]
    (((one, other), _),) = (given for name, given in asked if name == "fine_ratios")
    assert one.edges.tolist() == list(range(60_000, 74_000, 1000))
    expected = [100] * 10 + [50, 0, 90], [100] * 10 + [50, 2, 90]
    assert (one.before.tolist(), one.after.tolist()) == expected
    assert one.change == change and one.quantity == QUANTITIES["pt"]
    assert other.edges.tolist() == list(range(59_000, 71_000, 1000))


def test_a_report_of_an_older_version_has_no_fine_spectra(report, asked):
    (collection,) = renamed(report, "Jet")["collections"]
    older = {key: value for key, value in collection.items() if key != "comb"}
    assert len(list(figures.report_figures({"collections": [older]}, LABEL))) == 23


def written(path: Path, report: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report))
    return path


def test_a_report_and_several_are_told_apart(report, asked, tmp_path):
    one, two = (written(tmp_path / f"{name}.json", report) for name in ("one", "two"))
    found, read = figures.figures_of([one], LABEL)
    assert len(list(found)) == 23 and read == json.loads(one.read_text())
    found, read = figures.figures_of([one, two], LABEL)
    assert kinds(found) == ["Jet_9_comparison"] and read is None
    assert asked[-1][1][0] == ["one", "two"]


def test_reports_of_one_name_in_two_folders_are_compared(report, asked, tmp_path):
    paths = [written(tmp_path / folder / "report.json", report) for folder in ("first", "second")]
    assert kinds(figures.figures_of(paths, LABEL)[0]) == ["Jet_9_comparison"]
    with pytest.raises(UserError, match="--only and --jets choose figures of one evaluation: leave them out for"):
        figures.figures_of(paths, LABEL, None, Choice(("spectra",)))
    assert len(asked[0][1][0]) == 2  # both


def test_two_files_are_evaluated_and_drawn_without_a_classifier(asked, jets_file, compressed, monkeypatch):
    monkeypatch.setattr(evaluation, "tell_apart", pytest.fail)
    seen: list[tuple[int, int]] = []
    found, read = figures.figures_of([jets_file, compressed], LABEL, lambda *done: seen.append(done))
    assert len(list(found)) == 23 and seen[-1] == (60, 60)
    assert read["collections"][0]["two_sample"]["classifier"] is None


@pytest.mark.parametrize("names", [["a.root"], ["a.json", "a.root", "b.root"], ["a.root", "b.root", "c.root"]])
def test_what_is_neither_is_refused(names, tmp_path):
    for name in names:
        (tmp_path / name).write_bytes(b"root")
    with pytest.raises(UserError, match="nothing to draw of .*: give an original and its compressed file, reports"):
        figures.figures_of([tmp_path / name for name in names], LABEL)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no such file: '.*gone\.root'"):
        figures.figures_of([tmp_path / "gone.root"], LABEL)


def test_a_model_is_what_is_nothing_else(tmp_path, by_hand):
    for name, content in {"a.root": b"root", "a.pkl": b"x", "a.parquet": b"x", "a.json": b"{}"}.items():
        (tmp_path / name).write_bytes(content)
        assert not figures.is_model(tmp_path / name), name
    assert figures.is_model(by_hand)
    assert not figures.is_model(tmp_path) and not figures.is_model(tmp_path / "gone.model")


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "pt,eta", "[]", "[1, 2]", "3", "null", '"format"', "{}", '{"collections": []}', '{"format": 1}'),
        *('{"format": 2, "collections": []}', '{"format": "1", "collections": []}', '{"format": [], "collections": 1}'),
        *('{"format": 1, "collections": {}}', '{"format": 1, "collections": null}', "[" * 100_000, b"\xff\xfe\x00"),
    ],
)
def test_what_is_no_report_is_refused(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as refused:
        figures.read_report(tmp_path / "a.json")
    message = str(refused.value)
    assert "a.json' is " in message and "\n" not in message
    assert not re.search(r"of format (\S+), this atlasae draws \1$", message)


def test_a_report_of_another_format_says_which(tmp_path):
    with pytest.raises(UserError, match="is a report of format 2, this atlasae draws 1"):
        figures.read_report(written(tmp_path / "a.json", {"format": 2, "collections": []}))


# --- where figures go


def test_a_folder_that_is_new_or_empty_is_taken(tmp_path):
    figures.check_folder(tmp_path / "new", force=False)
    figures.check_folder(tmp_path, force=False)
    (tmp_path / "mine.txt").touch()
    figures.check_folder(tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]  # nothing is made or removed


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty: .*--force"):
        figures.check_folder(tmp_path, force=False)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_no_folder(force, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is a file: figures go into a folder"):
        figures.check_folder(tmp_path / "mine.txt", force)


def sketches(*names: str) -> list[Drawn]:
    return list(figures.drawn((name, Figure(figsize=(1, 1))) for name in names))


def test_figures_are_saved_as_png_and_as_pages_of_a_pdf(tmp_path):
    folder = tmp_path / "new" / "folder"
    found = figures.save_all(sketches("a_1", "b_2"), folder, "all.pdf", False)
    assert found == [str(folder / name) for name in ("all.pdf", "a_1.png", "b_2.png")]
    assert sorted(map(str, folder.iterdir())) == sorted(found)
    assert [Path(path).read_bytes()[:4] for path in found] == [b"%PDF", b"\x89PNG", b"\x89PNG"]
    assert Path(found[0]).read_bytes().count(b"/Type /Page ") == 2


def test_a_pdf_is_written_twice_as_the_same_bytes(tmp_path):
    for name in ("1.pdf", "2.pdf"):
        figures.save_all(sketches("a"), tmp_path, name, True)
    assert (tmp_path / "1.pdf").read_bytes() == (tmp_path / "2.pdf").read_bytes()


def test_without_figures_nothing_is_written(tmp_path):
    assert figures.save_all([], tmp_path / "folder", "all.pdf", False) == [] and list(tmp_path.iterdir()) == []


class Failing(Figure):
    """A figure that writes some bytes, then fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(figsize=(1, 1))
        self.error = error

    def savefig(self, path: Any, **options: Any) -> None:
        path.write(b"half a figure")
        raise self.error


@pytest.mark.parametrize("error", [KeyError("quantiles"), ValueError("of two"), OSError(28, "No space left")])
def test_a_figure_that_fails_leaves_nothing_of_itself(error, tmp_path):
    named = figures.drawn(iter([("a", Figure(figsize=(1, 1))), ("b", Failing(error))]))
    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        figures.save_all(named, tmp_path, "all.pdf", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_an_interruption_leaves_nothing_of_a_figure(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        figures.save_all(figures.drawn(iter([("a", Failing(KeyboardInterrupt()))])), tmp_path, "all.pdf", False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "report",
    [
        {"collections": [3]},
        {"collections": [{"name": "Jet"}]},
        {"collections": [{"name": "Jet", "variables": {"pt": {"all": {"jets": 3}}}, "spectra": {"pt": None}}]},
    ],
)
def test_a_report_that_lacks_something_is_told(report, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"format": 1} | report))
    with pytest.raises(UserError, match=r"a\.json can't be drawn: it lacks what `atlasae evaluate` writes"):
        list(figures.figures_of([path], LABEL)[0])
    assert list(tmp_path.iterdir()) == [path]


# --- a benchmark


def test_a_benchmark_is_drawn(asked):
    sizes = {"atlasae, three floats": [4, 5, 6], "as it is, LZMA(9)": [9, 9, 9], "SZ3, no events": [4, None, 8]}
    known = {"collection": "Jets/pt:x", "jets": 12_345, "precisions": [1e-2, 1e-3, 1e-4], "input": "in.root"}
    ((name, _),) = figures.benchmark_figures(known | {"curves": sizes}, LABEL)
    assert name == "Jets_pt_x_7_size"
    ((kind, (curves, ours, floor, label)),) = asked
    assert (kind, ours, floor) == ("sizes", ["atlasae, three floats", "atlasae, packed"], "entropy floor, jet by jet")
    first, every = (ours[0], "as they are, LZMA"), [1e-2, 1e-3, 1e-4]
    expected = {first[0]: (every, [4, 5, 6]), first[1]: (every, [9, 9, 9]), "SZ3 (no events)": ([1e-2, 1e-4], [4, 8])}
    assert curves == expected
    assert label == LABEL.with_note("Jets/pt:x, 12,345 jets").with_source("in.root")
