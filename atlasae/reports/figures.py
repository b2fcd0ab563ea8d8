"""From reports to figures: which figures an evaluation, a model or a benchmark has, and their names."""

import fnmatch
import io
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from atlasae.codecs.model import load_model
from atlasae.compression.chunks import Progress
from atlasae.errors import UserError
from atlasae.files.damage import is_root
from atlasae.files.outputs import replacing
from atlasae.files.remote import Location, Named, Remote, all_located, local
from atlasae.files.tables import is_table
from atlasae.jets.collections import main_collection
from atlasae.jets.residuals import RELATIVE
from atlasae.report import bound_text
from atlasae.reports import plotting
from atlasae.reports.benchmark import FLOOR, OURS, PACKED
from atlasae.reports.evaluation import REPORT_FORMAT, SHOWN, evaluate_files
from atlasae.reports.fine import FEWEST_IN_BIN, FINE
from atlasae.reports.panels import QUANTITIES, Counted, FineRatio, Label, Overview, Quantity
from atlasae.reports.results import FEWEST_BINS, method_text

WIDTH = "half-width of the central 68 %"
CORNER = 4  # variables in the corner plot: pt, eta, phi, m
MOST_IN_OVERVIEW = 30  # collections

Figure = plotting.Figure
NamedFigures = Iterator[tuple[str, Figure]]


@dataclass(frozen=True)
class Choice:
    """Which figures of an evaluation are drawn: kinds, by default all, and names or shell patterns of collections."""

    only: tuple[str, ...] = ()
    jets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError for kinds that there are not."""
        kinds = ("overview", *KINDS)
        if unknown := [kind for kind in self.only if kind not in kinds]:
            raise UserError(f"--only '{unknown[0]}' is no kind of figure: give some of {','.join(kinds)}")

    def draws(self, kind: str) -> bool:
        """Whether figures of this kind are drawn."""
        return not self.only or kind in self.only

    def collections(self, jets: Sequence[tuple[str, int]]) -> list[str]:
        """The names of those that are drawn, given the number of jets of each; by default the main one."""
        names = [name for name, _ in jets]
        if not self.jets:
            return [main_collection(dict(jets))] if jets else []
        for pattern in self.jets:
            if not fnmatch.filter(names, pattern):
                raise UserError(f"--jets '{pattern}' is none of the collections with jets: {', '.join(names)}")
        return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.jets)]

    def of_report(self, report: Mapping[str, Any]) -> list[str]:
        """The names of those of a report that are drawn."""
        return self.collections([(c["name"], c["jets"]) for c in with_jets(report)])


def plot(
    paths: Named | Sequence[Named],
    folder: Named,
    *,
    only: Sequence[str] = (),
    jets: Sequence[str] = (),
    experiment: str = "",
    force: bool = False,
) -> list[str]:
    """Draw the figures of `atlasae plot` into a folder; returns their paths.

    `paths` are an original and its compressed file, a report or several, or models. `only` names kinds of figures and
    `jets` collections. Raises UserError.

    >>> written = atlasae.plot(["in.root", "small.root"], "figures", only=["spectra"])
    >>> "figures/figures.pdf" in written
    True
    """
    target, choice = local(folder), Choice(tuple(only), tuple(jets))
    check_folder(target, force)
    label = Label("Internal" if experiment else "", experiment)
    return save_all(drawn(figures_of(all_located(paths), label, None, choice)[0]), target, "figures.pdf", force)


def figures_of(
    paths: Sequence[Location], label: Label, progress: Progress | None = None, choice: Choice | None = None
) -> tuple[NamedFigures, Mapping[str, Any] | None]:
    """The figures of an original with its compressed file, of one or more reports, or of models.

    `choice` is for the figures of one evaluation, whose report is returned, too.
    """
    if gone := [path for path in paths if isinstance(path, Path) and not path.is_file()]:
        raise UserError(f"no such file: '{gone[0]}'")
    names, listed = _names(paths), ", ".join(map(str, paths))
    if len(paths) == 1 and paths[0].suffix == ".json":
        report = read_report(paths[0])
        return _as_far_as_known(report_figures(report, label, choice), listed, "evaluate"), report
    if len(paths) == 2 and not any(path.suffix == ".json" or is_model(path) for path in paths):
        evaluated = evaluate_files(paths[0], paths[1], progress, classify=False).report
        return report_figures(evaluated, label, choice), evaluated
    if choice and (choice.only or choice.jets):
        raise UserError(f"--only and --jets choose figures of one evaluation: leave them out for {listed}")
    if all(path.suffix == ".json" for path in paths):
        reports = {name: read_report(path) for name, path in zip(names, paths, strict=True)}
        return _as_far_as_known(comparison_figures(reports, label), listed, "evaluate"), None
    if all(is_model(path) for path in paths):
        facts = {name: load_model(str(path)).facts for name, path in zip(names, paths, strict=True)}
        return _as_far_as_known(models_figures(facts, label), listed, "train"), None
    raise UserError(f"nothing to draw of {listed}: give an original and its compressed file, reports, or models")


def _names(paths: Sequence[Location]) -> list[str]:
    """A name for each file: without folder and suffix, if these names differ."""
    short = [path.stem for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _as_far_as_known(drawn: NamedFigures, what: str, command: str) -> NamedFigures:
    """Figures of a report or model; raises UserError where it lacks a value that is drawn."""
    try:
        yield from drawn
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{what} can't be drawn: it lacks what `atlasae {command}` writes ({error!r})") from error


def report_figures(report: Mapping[str, Any], label: Label, choice: Choice | None = None) -> NamedFigures:
    """The figures of an evaluation, with names that sort by subject; none for a collection without jets.

    By default those of the main collection, and an overview of all. Raises UserError for jets that are not there.
    """
    choice = choice or Choice()
    known, chosen = with_jets(report), choice.of_report(report)
    stems = dict(zip([c["name"] for c in known], _stems([c["name"] for c in known]), strict=True))
    if len(known) > 1 and choice.draws("overview"):
        yield "0_overview", _overview(known, label.with_source(_source(report)))
    for collection in known:
        name = collection["name"]
        if name in chosen:
            noted = label.with_note(name).with_source(_source(report, collection))
            for kind, draw in KINDS.items():
                if choice.draws(kind):
                    yield from ((f"{stems[name]}_{found}", figure) for found, figure in draw(collection, noted))


def with_jets(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The collections of a report that have jets with residuals."""
    return [c for c in report["collections"] if c["variables"]["pt"]["all"]["jets"]]


def _source(report: Mapping[str, Any], collection: Mapping[str, Any] | None = None) -> str:
    """The small print: files, and precision and layout of a collection."""
    facts = [f"{report['original']}, compared with {report['compressed']}" if "original" in report else ""]
    if collection:
        layout, resolutions = collection.get("layout"), collection.get("resolutions") or {}
        facts += [_precision(collection["precision"], resolutions), f"layout {layout}" if layout else ""]
    return ", ".join(filter(None, facts))


def _precision(bounds: Mapping[str, float | None], resolutions: Container[str]) -> str:
    """The promised bounds: one where all are the same; nothing for a decompressed file, whose bounds are not known."""
    texts = {v: "full" if bound is None else bound_text(bound, v in resolutions) for v, bound in bounds.items()}
    if len(set(texts.values())) > 1:
        return "precision " + " ".join(f"{v} {text}" for v, text in texts.items())
    return f"precision {next(iter(texts.values()))}" if texts else ""


def _overview(collections: Sequence[Mapping[str, Any]], label: Label) -> Figure:
    """The collections with most jets, as far as they fit on a page."""
    most = sorted(collections, key=lambda c: -c["jets"])[:MOST_IN_OVERVIEW]
    rows = [
        Overview(c["name"], c["jets"], c["bytes_per_jet_before"], c["bytes_per_jet"], _over_bounds(c["variables"]))
        for c in most
    ]
    left = len(collections) - len(rows)
    return plotting.overview(rows, label.with_note(f"and {left} collections with fewer jets" if left else ""))


def _over_bounds(variables: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Half-widths and largest errors of variables that have a bound, in its units."""
    bounds = {v: (f["all"], f["bound"]) for v, f in variables.items() if f["bound"] and f["all"]["jets"]}
    return {v: (found["half_width_68"] / bound, found["largest"] / bound) for v, (found, bound) in bounds.items()}


def _spectra(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    for variable, found in collection["spectra"].items():
        if found["edges"]:
            yield f"1_spectrum_{variable}", _spectrum(found, variable, label)


def _spectrum(found: Mapping[str, Any], variable: str, label: Label, what: str = "Jets") -> Figure:
    edges, before, after, moved = (found[column] for column in ("edges", "before", "after", "moved"))
    counted = Counted(edges, before, after, moved, found.get("below"), found.get("lowest") or 0.0)
    return plotting.spectrum(counted, QUANTITIES[variable], label, what)


def _fine(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    """The spectra in fine bins that random errors would change, on one page; reports of older versions have none."""
    spectra = collection.get("comb", {}).get("spectra", {})
    shown = [panel for name, found in spectra.items() if (panel := _fine_ratio(found, QUANTITIES[FINE[name][0]]))]
    if shown:
        yield "1_spectra_fine", plotting.fine_ratios(shown, label)


def _fine_ratio(found: Mapping[str, Any], quantity: Quantity) -> FineRatio | None:
    """From the first filled bin to the last; bins with few jets are left out."""
    filled = np.flatnonzero(np.array(found["before"]) >= FEWEST_IN_BIN)
    if found["change"].get("ratio") is None or len(filled) < FEWEST_BINS:
        return None
    start, stop = int(filled[0]), int(filled[-1]) + 1
    edges = found["first"] + found["width"] * np.arange(start, stop + 1)
    before, after, random = (np.array(found[column][start:stop]) for column in ("before", "after", "random"))
    shown = np.where(before >= FEWEST_IN_BIN, before, 0)
    return FineRatio(edges, shown, after, random, quantity, found["change"])


def _residuals(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    drawn = collection["residuals"]
    for variable, edges, counts in zip(drawn["names"], drawn["edges"], drawn["counts"], strict=True):
        found = collection["variables"][variable]
        if not found["all"]["jets"]:  # no residual is finite
            continue
        relative = found["residual"] == "relative"
        yield (
            f"2_residual_{variable}",
            plotting.residual_figure(
                edges, counts, found["all"], QUANTITIES[variable], relative, found["bound"], label
            ),
        )


def _over_resolution(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    """Residuals over the resolution, of variables whose bounds are shares of it."""
    for variable in SHOWN:
        over = collection["variables"][variable].get("over_resolution")
        if over and over["all"]["jets"]:
            noted = label.with_source(f"{label.source}, widens the resolution by {over['widening']:.2%}")
            symbol = rf"{QUANTITIES[variable].symbol} / $\sigma$"
            quantity = replace(QUANTITIES[variable], symbol=symbol, unit="")
            shown = over["edges"], over["counts"], over["all"], quantity, False, over["bound"]
            yield f"2_resolution_{variable}", plotting.residual_figure(*shown, noted)


def _responses(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    """The residuals of each variable against pt and eta."""
    for variable in SHOWN:
        found = collection["variables"][variable]
        bins = [(QUANTITIES[other], found.get(f"in_{other}")) for other in ("pt", "eta")]
        if against := [(other, listed) for other, listed in bins if listed]:
            relative = found["residual"] == "relative"
            yield f"3_response_{variable}", plotting.response(against, QUANTITIES[variable], relative, label)


def _correlations(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    correlation = collection["correlation"]
    if correlation["rows"] > 1:
        found = np.array(correlation["matrix"], dtype=float)
        yield "4_correlation", plotting.matrix(correlation["variables"], found, label)
    yield "4_residuals", _corner(collection["residuals"], label)


def _corner(drawn: Mapping[str, Any], label: Label) -> Figure:
    names = drawn["names"][:CORNER]
    symbols = {name: QUANTITIES[name].symbol for name in names}
    shown = [rf"$\Delta${s} / {s}" if name in RELATIVE else rf"$\Delta${s}" for name, s in symbols.items()]
    return plotting.corner(shown, drawn["edges"][:CORNER], drawn["counts"][:CORNER], _pairs(drawn), label)


def _pairs(drawn: Mapping[str, Any]) -> dict[tuple[int, int], Any]:
    return {(pair["x"], pair["y"]): pair["counts"] for pair in drawn["pairs"]}


def _events(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    events = collection["events"]
    for key, variable in (("dijet_mass", "mjj"), ("ht", "ht")):
        if not events["events"] or not events[key]["all"]["jets"]:
            continue
        found, quantity = events[key], QUANTITIES[variable]
        if found["spectrum"]["edges"]:
            yield f"5_{key}", _spectrum(found["spectrum"], variable, label, "Events")
        yield f"5_{key}_response", plotting.response([(quantity, found["in_value"])], quantity, True, label)


def _latents(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    if not (latents := collection["latents"]):
        return
    symbols = [f"$z_{i}$" for i in range(len(latents["names"]))]
    yield "6_latents", plotting.latents(symbols, latents["meaning"], latents["edges"], latents["counts"], label)
    yield "6_latents_pairs", plotting.corner(symbols, latents["edges"], latents["counts"], _pairs(latents), label)


KINDS: dict[str, Callable[[Mapping[str, Any], Label], NamedFigures]] = {
    "spectra": _spectra,
    "fine": _fine,
    "residuals": _residuals,
    "resolution": _over_resolution,
    "response": _responses,
    "correlation": _correlations,
    "events": _events,
    "latents": _latents,
}  # of figures of an evaluation, beside `overview`


def training_figures(name: str, facts: Mapping[str, Any], label: Label) -> Iterator[Figure]:
    """The losses of a model's training; no figure for a model without them."""
    history = facts.get("history") or {}
    if any(loss is not None for loss in history.get("validation", [])):
        losses = {name: history[name] for name in ("training", "validation")}
        yield plotting.training(history["steps"], losses, label.with_note(f"{name}: {facts['architecture']}"))


def benchmark_figures(report: Mapping[str, Any], label: Label) -> NamedFigures:
    """Bytes per jet against precision, for all methods."""
    curves = {}
    for name, sizes in report["curves"].items():
        points = [(x, y) for x, y in zip(report["precisions"], sizes, strict=True) if y is not None]
        curves[method_text(name)] = ([x for x, _ in points], [y for _, y in points])
    noted = label.with_note(f"{report['collection']}, {report['jets']:,} jets").with_source(report.get("input", ""))
    ours = [method_text(name) for name in (OURS, PACKED)]
    yield f"{_stem(report['collection'])}_7_size", plotting.sizes(curves, ours, method_text(FLOOR), noted)


def models_figures(models: Mapping[str, Mapping[str, Any]], label: Label) -> NamedFigures:
    """The training of each model, and the half-widths of all models on their own test jets."""
    for stem, (name, facts) in zip(_stems(list(models)), models.items(), strict=True):
        for figure in training_figures(name, facts, label):
            yield f"{stem}_8_training", figure
    found = {name: facts.get("test", {}).get("half_widths") for name, facts in models.items()}
    known = {name: widths for name, widths in found.items() if widths}
    if len(known) > 1:
        columns = {v: [widths[v] for widths in known.values()] for v in SHOWN}
        yield "models_9_comparison", plotting.comparison(list(known), columns, WIDTH, label.with_note("test jets"))


def comparison_figures(reports: Mapping[str, Mapping[str, Any]], label: Label) -> NamedFigures:
    """Half-widths of several reports per collection; reports with one collection each are compared anyway."""
    listed = {name: report["collections"] for name, report in reports.items()}
    alone = all(len(collections) == 1 for collections in listed.values())
    names = [c["name"] for collections in listed.values() for c in collections]
    for name in names[:1] if alone else dict.fromkeys(names):
        widths = {r: _widths(cs[0]) for r, cs in listed.items()} if alone else {
            r: _widths(c) for r, cs in listed.items() for c in cs if c["name"] == name
        }  # fmt: skip
        found = {report: columns for report, columns in widths.items() if columns}
        columns = {v: [row[v] for row in found.values()] for v in next(iter(found.values()), {})}
        if columns:
            noted = label.with_note(name) if len(set(names)) == 1 or not alone else label
            yield f"{_stem(name)}_9_comparison", plotting.comparison(list(found), columns, WIDTH, noted)


def _widths(collection: Mapping[str, Any]) -> dict[str, float]:
    """The half-widths of a collection, and of the dijet mass if it has dijets."""
    if not collection["variables"]["pt"]["all"]["jets"]:
        return {}
    widths = {v: collection["variables"][v]["all"]["half_width_68"] for v in SHOWN}
    mass = collection["events"].get("dijet_mass", {}).get("all", {})
    return widths | ({"mjj": mass["half_width_68"]} if mass.get("jets") else {"mjj": float("nan")})


def read_report(path: Location) -> Mapping[str, Any]:
    """Read a report of `atlasae evaluate`; raises UserError for other files."""
    try:
        with path.open("rb") as file:
            report = json.load(file)
        version, collections = report["format"], report["collections"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"'{path}' is no report of `atlasae evaluate`") from error
    if version != REPORT_FORMAT:
        raise UserError(f"'{path}' is a report of format {version!r}, this atlasae draws {REPORT_FORMAT}")
    if not isinstance(collections, list):
        raise UserError(f"'{path}' is no report of `atlasae evaluate`")
    return dict(report)


def is_model(path: Location) -> bool:
    """Whether a local file is neither a report, a ROOT file nor a table."""
    if isinstance(path, Remote):
        return False
    return path.suffix != ".json" and not is_table(path) and path.is_file() and not is_root(path)


@dataclass(frozen=True)
class Drawn:
    """A figure, its name, and its PNG."""

    name: str
    figure: Figure
    png: bytes


def check_folder(folder: Path, force: bool) -> None:
    """Raise UserError for a file, or for a folder with files that figures might replace, unless `force`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is a file: figures go into a folder")
    if folder.is_dir() and not force and any(folder.iterdir()):
        raise UserError(f"'{folder}' is not empty: choose another folder, or replace figures in it with --force")


def drawn(figures: NamedFigures) -> Iterator[Drawn]:
    """Each figure with its PNG."""
    for name, figure in figures:
        written = io.BytesIO()
        plotting.save(figure, written, ".png")
        yield Drawn(name, figure, written.getvalue())


def save_all(figures: Iterable[Drawn], folder: Path, pdf: str, force: bool) -> list[str]:
    """Write each figure as PNG into a folder, which is made if missing, and all into one PDF; returns the paths."""
    figures = iter(figures)
    first = next(figures, None)
    if first is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / pdf]
    with replacing(folder / pdf, force) as document, plotting.pages(document) as page:
        for one in chain([first], figures):
            written.append(folder / f"{one.name}.png")
            with replacing(written[-1], force) as temporary:
                temporary.write_bytes(one.png)
            page(one.figure)
    return [str(path) for path in written]


def _stems(names: Sequence[str]) -> list[str]:
    """Names as parts of file names, made different."""
    stems: list[str] = []
    for name in names:
        stem = _stem(name)
        stems.append(stem if stem not in stems else f"{stem}-{len(stems) + 1}")
    return stems


def _stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_") or "jets"
