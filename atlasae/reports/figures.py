"""From reports to figures: which figures an evaluation, a model or a benchmark has, and their names."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atlasae.codecs.model import load_model
from atlasae.compression.chunks import Progress
from atlasae.errors import UserError
from atlasae.files.damage import is_root
from atlasae.files.outputs import replacing
from atlasae.files.remote import Location, Remote
from atlasae.files.tables import is_table
from atlasae.jets.residuals import RELATIVE
from atlasae.reports import plotting
from atlasae.reports.benchmark import FLOOR, OURS
from atlasae.reports.evaluation import REPORT_FORMAT, SHOWN, evaluate_files
from atlasae.reports.fine import FEWEST_IN_BIN, FINE
from atlasae.reports.plotting import QUANTITIES, Label
from atlasae.reports.results import FEWEST_BINS

SUFFIXES = (".png", ".pdf")
WIDTH = "half-width of the central 68 %"
UNDRAWN = ("as it is, LZMA(9)", "grid in integers, ZSTD(5)", "grid in three floats, LZMA(9)")
CORNER = 4  # variables in the corner plot: pt, eta, phi, m

Figure = plotting.Figure
NamedFigures = Iterator[tuple[str, Figure]]


def figures_of(paths: Sequence[Location], label: Label, progress: Progress | None = None) -> NamedFigures:
    """The figures of an original with its compressed file, of one or more reports, or of models."""
    if gone := [path for path in paths if isinstance(path, Path) and not path.is_file()]:
        raise UserError(f"no such file: '{gone[0]}'")
    names = _names(paths)
    if all(path.suffix == ".json" for path in paths):
        reports = {name: read_report(path) for name, path in zip(names, paths, strict=True)}
        drawn = comparison_figures(reports, label) if len(paths) > 1 else report_figures(reports[names[0]], label)
        return _as_far_as_known(drawn, ", ".join(map(str, paths)), "evaluate")
    if all(is_model(path) for path in paths):
        facts = {name: load_model(str(path)).facts for name, path in zip(names, paths, strict=True)}
        return _as_far_as_known(models_figures(facts, label), ", ".join(map(str, paths)), "train")
    if len(paths) == 2:
        original, compressed = paths
        return report_figures(evaluate_files(original, compressed, progress).report, label)
    listed = ", ".join(map(str, paths))
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


def report_figures(report: Mapping[str, Any], label: Label) -> NamedFigures:
    """Every figure of an evaluation, with names that sort by subject; none for a collection without jets."""
    stems = _stems([collection["name"] for collection in report["collections"]])
    for stem, collection in zip(stems, report["collections"], strict=True):
        if collection["variables"]["pt"]["all"]["jets"]:
            for name, figure in _collection_figures(collection, label.with_note(collection["name"])):
                yield f"{stem}_{name}", figure


def _collection_figures(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    yield from _spectra(collection, label)
    yield from _fine(collection.get("comb", {}).get("spectra", {}), label)  # reports of older versions have none
    yield from _residuals(collection, label)
    yield from _responses(collection, label)
    correlation = collection["correlation"]
    if correlation["rows"] > 1:
        found = np.array(correlation["matrix"], dtype=float)
        yield "4_correlation", plotting.matrix(correlation["variables"], found, label)
    yield "4_residuals", _corner(collection["residuals"], label)
    yield from _events(collection["events"], label)
    if latents := collection["latents"]:
        yield from _latents(latents, label)


def _spectra(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    for variable, found in collection["spectra"].items():
        if found["edges"]:
            yield f"1_spectrum_{variable}", _spectrum(found, variable, label)


def _fine(spectra: Mapping[str, Any], label: Label) -> NamedFigures:
    """The spectra in fine bins that random errors would change; bins with few jets are left out."""
    for name, found in spectra.items():
        filled = np.flatnonzero(np.array(found["before"]) >= FEWEST_IN_BIN)
        if found["change"].get("ratio") is None or len(filled) < FEWEST_BINS:
            continue
        start, stop = int(filled[0]), int(filled[-1]) + 1
        edges = found["first"] + found["width"] * np.arange(start, stop + 1)
        before, after, random = (np.array(found[column][start:stop]) for column in ("before", "after", "random"))
        shown, quantity = np.where(before >= FEWEST_IN_BIN, before, 0), QUANTITIES[FINE[name][0]]
        drawn = plotting.fine_ratio(edges, shown, after, random, quantity, found["change"], label)
        yield f"1_fine_{_stem(name)}", drawn


def _spectrum(found: Mapping[str, Any], variable: str, label: Label, what: str = "Jets") -> Figure:
    edges, before, after, moved = (found[column] for column in ("edges", "before", "after", "moved"))
    return plotting.spectrum(edges, before, after, moved, QUANTITIES[variable], label, what)


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


def _responses(collection: Mapping[str, Any], label: Label) -> NamedFigures:
    for variable in RELATIVE:
        found = collection["variables"][variable]
        for other, bins in (("pt", found["in_pt"]), ("eta", found["in_eta"])):
            if bins:
                drawn = plotting.response(bins, QUANTITIES[variable], QUANTITIES[other], label)
                yield f"3_response_{variable}_against_{other}", drawn


def _corner(drawn: Mapping[str, Any], label: Label) -> Figure:
    names = drawn["names"][:CORNER]
    symbols = {name: QUANTITIES[name].symbol for name in names}
    shown = [rf"$\Delta${s} / {s}" if name in RELATIVE else rf"$\Delta${s}" for name, s in symbols.items()]
    return plotting.corner(shown, drawn["edges"][:CORNER], drawn["counts"][:CORNER], _pairs(drawn), label)


def _pairs(drawn: Mapping[str, Any]) -> dict[tuple[int, int], Any]:
    return {(pair["x"], pair["y"]): pair["counts"] for pair in drawn["pairs"]}


def _events(events: Mapping[str, Any], label: Label) -> NamedFigures:
    for key, variable in (("dijet_mass", "mjj"), ("ht", "ht")):
        if not events["events"] or not events[key]["all"]["jets"]:
            continue
        found = events[key]
        if found["spectrum"]["edges"]:
            yield f"5_{key}", _spectrum(found["spectrum"], variable, label, "Events")
        yield (
            f"5_{key}_response",
            plotting.response(found["in_value"], QUANTITIES[variable], QUANTITIES[variable], label),
        )


def _latents(latents: Mapping[str, Any], label: Label) -> NamedFigures:
    symbols = [f"$z_{i}$" for i in range(len(latents["names"]))]
    yield "6_latents", plotting.latents(symbols, latents["meaning"], latents["edges"], latents["counts"], label)
    yield "6_latents_pairs", plotting.corner(symbols, latents["edges"], latents["counts"], _pairs(latents), label)


def training_figures(name: str, facts: Mapping[str, Any], label: Label) -> Iterator[Figure]:
    """The losses of a model's training; no figure for a model without them."""
    history = facts.get("history") or {}
    if any(loss is not None for loss in history.get("validation", [])):
        losses = {name: history[name] for name in ("training", "validation")}
        yield plotting.training(history["steps"], losses, label.with_note(f"{name}: {facts['architecture']}"))


def benchmark_figures(report: Mapping[str, Any], label: Label) -> NamedFigures:
    """Bytes per jet against precision, for all methods but those in `UNDRAWN`."""
    curves = {}
    for name, sizes in report["curves"].items():
        if name in UNDRAWN:
            continue
        points = [(x, y) for x, y in zip(report["precisions"], sizes, strict=True) if y is not None]
        curves[name] = ([x for x, _ in points], [y for _, y in points])
    noted = label.with_note(f"{report['collection']}, {report['jets']:,} jets")
    yield f"{_stem(report['collection'])}_7_size", plotting.sizes(curves, OURS, FLOOR, noted)


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


def check_folder(folder: Path, force: bool) -> None:
    """Raise UserError for a file, or for a folder with files that figures might replace, unless `force`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is a file: figures go into a folder")
    if folder.is_dir() and not force and any(folder.iterdir()):
        raise UserError(f"'{folder}' is not empty: choose another folder, or replace figures in it with --force")


def save_all(figures: NamedFigures, folder: Path, force: bool) -> list[str]:
    """Write each figure as PNG and PDF into a folder, which is made if missing; returns the paths."""
    written = []
    for name, figure in figures:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in SUFFIXES:
            with replacing(folder / f"{name}{suffix}", force) as temporary:
                plotting.save(figure, temporary)
            written.append(str(folder / f"{name}{suffix}"))
    return written


def _stems(names: Sequence[str]) -> list[str]:
    """Names as parts of file names, made different."""
    stems: list[str] = []
    for name in names:
        stem = _stem(name)
        stems.append(stem if stem not in stems else f"{stem}-{len(stems) + 1}")
    return stems


def _stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_") or "jets"
