"""What the commands say on a terminal: reports to lines of text."""

import io
import os
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "uproot", "awkward", "numpy", "constriction", "cramjam", "hist", "mplhep")


def harmless(text: str) -> str:
    """Text without what would steer a terminal: names in a file may be anything."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def versions_text() -> str:
    """This version, and those of the libraries that have a say in what is written and read."""
    return "\n".join([f"atlasae {version('atlasae')}", *(f"  {name} {version(name)}" for name in LIBRARIES)])


def rate_text(report: dict[str, Any]) -> str:
    """What `train --find-rate` found."""
    return f"{report['output']}: learning rate {report['learning_rate']:.1g}, as in --set course.learning_rate=..."


def model_text(report: dict[str, Any]) -> str:
    """A model that was trained or imported."""
    lines = [f"{report['output']}: {report['architecture']}, {_size(report['bytes'])}, SHA-256 {report['sha256'][:12]}"]
    if "test" in report:
        jets = report["provenance"]["jets"]
        lines.append(f"  trained on {jets['training']:,} jets, validated on {jets['validation']:,}; {report['ended']}")
        lines.append(f"  test on {report['test']['jets']:,} jets: {_test_line(report['test'])}")
    return "\n".join(lines)


def export_text(report: dict[str, Any]) -> str:
    """A codec written for other programs."""
    units = f"in {report['units']}, model {report['model_sha256'][:12]}"
    branches = ", ".join(report["branches"].values())
    return f"{', '.join(report['files'])}: {_size(report['bytes'])}, for {branches} {units}"


def tables_text(report: dict[str, Any]) -> str:
    """Tables for the packed layout."""
    size = f"{_size(report['bytes'])}, SHA-256 {report['sha256'][:12]}"
    return f"{report['output']}: tables of {report['jets']:,} jets, {size}"


def _test_line(test: dict[str, Any]) -> str:
    if "half_widths" not in test:
        return f"{test['bits_per_jet_at_1e-3']:.2f} bits per jet at 1e-3"
    widths = "  ".join(f"{variable} {width:.2g}" for variable, width in test["half_widths"].items())
    return f"half-widths  {widths}"


def compression_text(report: dict[str, Any]) -> str:
    """What `compress` did."""
    lines = [f"{report['output']}: {report['jets']:,} jets in {report['entries']:,} entries of '{report['tree']}'"]
    for entry in report["collections"]:
        lines.append(_collection_line(entry))
        lines.append("    largest error  " + _errors_line(entry["max_error"], entry["precision"]))
    before, after = report["bytes_jets_in"], report["bytes_jets_out"]
    if report["jets"]:
        lines.append(f"jets: {_size(before)} -> {_size(after)}, {report['bytes_per_jet']:.2f} bytes per jet")
    lines.append(f"carried: {len(report['carried'])} branches; {report['seconds']:.1f} s")
    if report["dropped"]:
        lines.append(f"dropped: {len(report['dropped'])} branches: {_some(report['dropped'])}")
    return "\n".join(lines + [f"note: {note}" for note in report["notes"]])


def _collection_line(entry: dict[str, Any]) -> str:
    per_jet = f", {entry['bytes_per_jet']:.2f} bytes per jet" if entry["jets"] else ""
    return (
        f"  {_braced(list(entry['branches'].values()))}{' in ' + entry['units'] if entry['units'] else ''}: "
        f"{entry['jets']:,} jets, {entry['exact_jets']:,} exact{per_jet}"
    )


def _braced(names: list[str]) -> str:
    """`Jet_{pt,eta,phi,mass}`: the way --jets takes them."""
    prefix = os.path.commonprefix(names)
    return f"{prefix}{{{','.join(name.removeprefix(prefix) for name in names)}}}"


def _errors_line(found: dict[str, float], bounds: dict[str, float | None]) -> str:
    prefix = os.path.commonprefix(list(bounds)) if len(bounds) > 1 else ""
    shown = {v.removeprefix(prefix): (found.get(v, 0.0), bound) for v, bound in bounds.items()}
    return "  ".join(f"{v} {error:.2g}" + (f" of {bound:g}" if bound else "") for v, (error, bound) in shown.items())


def decompression_text(report: dict[str, Any]) -> str:
    """What `decompress` did."""
    done = (
        f"{report['output']}: {report['jets']:,} jets in {report['entries']:,} entries of '{report['tree']}'; "
        f"{report['seconds']:.1f} s"
    )
    missing = [f"  entries {start} to {stop} are missing" for start, stop in report["missing"]]
    return "\n".join([done, *missing, *(f"  {problem}" for problem in report["damage"])])


_COLUMNS = {"entries": "entries", "jets": "jets", "bytes_jets_out": "bytes", "bytes_per_jet": "bytes/jet"}


def many_text(report: dict[str, Any]) -> str:
    """What became of many files: a row each, and their sums."""
    from rich.console import Console
    from rich.table import Table

    shown = [key for key in _COLUMNS if key in report]
    table = Table("file", *(_COLUMNS[key] for key in shown), "seconds", "", box=None, pad_edge=False)
    for column in table.columns[1:-1]:
        column.justify = "right"
    for file in report["files"]:
        table.add_row(harmless(Path(file["output"]).name), *_cells(file, shown), _state(file))
    failed = f"{report['failed']} failed" if report["failed"] else "all done"
    table.add_row(f"{len(report['files'])} files", *_cells(report, shown), failed)
    width = max(80, Console(width=10_000).measure(table).maximum)  # a name that is cut is no name
    console = Console(file=(text := io.StringIO()), width=width, markup=False, highlight=False, color_system=None)
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _cells(file: dict[str, Any], shown: list[str]) -> list[str]:
    numbers = [file.get(key) for key in shown]
    cells = [f"{n:,.2f}" if isinstance(n, float) else "-" if n is None else f"{n:,}" for n in numbers]
    return [*cells, f"{file['seconds']:.1f}" if "seconds" in file else "-"]


def _state(file: dict[str, Any]) -> str:
    if file["error"] is not None:
        return "failed"
    return "as it was" if file["reused"] else "done"


def failure_line(file: dict[str, Any]) -> str:
    """Why one of many files failed, with its name."""
    error = file["error"].replace("\n", " ")
    return error if file["input"] in error else f"'{file['input']}': {error}"


def info_text(facts: dict[str, Any]) -> str:
    """What is inside a compressed file."""
    lines = [f"{facts['file']}: {_size(facts['bytes'])}, tree '{facts['tree']}', {facts['entries']:,} entries"]
    lines += [_collection_line(entry) for entry in facts["collections"]]
    for run in facts["runs"]:
        lines.append(
            f"run: {run['source']} ({_size(run['source_bytes'])}), {run['entries']:,} entries, {run['chunks']} chunks"
        )
        for entry in run["collections"]:
            bounds = ", ".join(f"{v} {bound:g}" for v, bound in entry["precision"].items() if bound is not None)
            bits = f"; {sum(entry['bits'].values()):.0f} bits" if entry["bits"] else ""
            lines.append(f"  {entry['name']}: precision {bounds or 'none'}{bits}")
            lines.append("    largest error  " + _errors_line(entry["max_error"], entry["precision"]))
        made_by = run["versions"].get("atlasae", "?")
        lines.append(f"  model {run['model_sha256'][:12]} ({run['model_from']}), atlasae {made_by}")
    lines.append(f"carried: {facts['carried']} branches")
    return "\n".join(lines)


def integrity_text(report: dict[str, Any]) -> str:
    """What `verify` found in a compressed file alone."""
    others = ", ".join(f"'{name}'" for name in [*report["trees"], *report["objects"]])
    carried = [f"  carried beside it: {others}"] if others else []
    models = [f"  model {sha[:12]} is in the file" for sha in report["models"]]
    return "\n".join([
        f"intact: {report['entries']:,} entries, {report['jets']:,} jets, {report['chunks']:,} chunks of "
        f"{len(report['branches'])} branches",
        *carried,
        *models,
    ])  # fmt: skip


def verification_text(report: dict[str, Any]) -> str:
    """What `verify` found."""
    kept = Counter(report["branches"].values())
    lines = ["  branches: " + ", ".join(f"{n} {how}" for how, n in kept.items())]
    lines += [f"  {name}: largest error  {_errors_line(found, report['precision'][name])}"
              for name, found in report["max_error"].items()]  # fmt: skip
    problems = report["differences"]
    shown = [f"  {problem}" for problem in problems[:20]]
    verdict = f"{len(problems)} differences" if problems else "as promised"
    return "\n".join([f"{report['entries']:,} entries compared: {verdict}", *shown, *lines])


def evaluation_text(report: dict[str, Any]) -> str:
    """What `evaluate` found, collection by collection."""
    lines = [f"{report['original']} -> {report['compressed']}: {report['entries']:,} entries of '{report['tree']}'"]
    for collection in report["collections"]:
        exact = f", {collection['exact_jets']:,} exact" if collection["exact_jets"] is not None else ""
        sizes = f"{collection['bytes_per_jet_before']:.2f} -> {collection['bytes_per_jet']:.2f} bytes per jet"
        lines.append(
            f"  {collection['name']}: {collection['jets']:,} jets{exact}" + f", {sizes}" * bool(collection["jets"])
        )
        lines += [f"    {line}" for line in _evaluation_lines(collection)]
    return "\n".join(lines)


def _evaluation_lines(collection: dict[str, Any]) -> list[str]:
    if not collection["variables"]["pt"]["all"]["jets"]:
        return ["no jets to compare"]
    rows = {variable: (found["all"], found["bound"]) for variable, found in collection["variables"].items()}
    rows["m > .5 GeV"] = (collection["mass_above_500_MeV"], None)
    events = collection["events"]
    if events["events"]:
        rows["dijet mass"] = (events["dijet_mass"]["all"], None)
        rows["  apart"] = (events["dijet_mass_back_to_back"], None)
        rows["HT"] = (events["ht"]["all"], None)
    lines = [f"{'':10} {'mean':>9} {'std':>9} {'68 %':>9} {'95 %':>9} {'largest':>9} {'bound':>9}"]
    for name, (found, bound) in rows.items():
        if not found["jets"]:
            continue
        columns = (found[key] for key in ("mean", "std", "half_width_68", "half_width_95", "largest"))
        lines.append(f"{name:10} " + " ".join(f"{x:9.2g}" for x in columns) + (f" {bound:9.2g}" if bound else ""))
    return [*lines, *_remarks(collection)]


def _remarks(collection: dict[str, Any]) -> list[str]:
    remarks = []
    if odd := collection["not_compared"]["jets"]:
        remarks.append(
            f"{odd:,} jets have no residual (NaN, pt <= 0 ...): {collection['not_compared']['changed']:,} changed"
        )
    if light := collection["light_jets"]:
        remarks.append(f"{light:,} jets are lighter than 100 MeV: the residual of their m is relative to 100 MeV")
    if (events := collection["events"])["events"]:
        moved = events["reordered"]
        remarks.append(
            f"{moved['jets']:,} jets of {moved['events']:,} events changed places, of {events['events']:,} events"
        )
    m = collection["variables"]["m"]
    if "E" in collection["branches"] and m["bound"] and m["all"].get("largest", 0.0) > m["bound"]:
        remarks.append("m is what E and p make: beyond its bound only by what their stored floats leave open")
    tests = collection["two_sample"]
    furthest = max(tests["kolmogorov_smirnov"].items(), key=lambda item: float(item[1]["distance"]))
    remarks.append(
        f"Kolmogorov-Smirnov: at most {furthest[1]['distance']:.2g} ({furthest[0]}), p = {furthest[1]['p_value']:.2g}"
    )
    if auc := tests["classifier"]:
        remarks.append(
            f"a classifier tells them apart with AUC {auc['auc']:.5f} +- {auc['error']:.1g} ({auc['jets']:,} jets)"
        )
    return remarks


def benchmark_text(report: dict[str, Any]) -> str:
    """What `benchmark` measured."""
    heading = "bytes per jet, guaranteed precision"
    widest = max(map(len, [heading, *report["curves"]]))
    lines = [
        f"{report['input']}, {report['collection']}: {report['jets']:,} jets",
        f"{heading:{widest}}" + "".join(f" {b:7g}" for b in report["precisions"]),
    ]
    for name, sizes in report["curves"].items():
        lines.append(f"{name:{widest}}" + "".join("       -" if size is None else f" {size:7.2f}" for size in sizes))
    if report["missing"]:
        lines.append(f"not installed: {', '.join(report['missing'])}: pip install 'atlasae[benchmark]'")
    return "\n".join(lines + [f"figure: {path}" for path in report.get("figures", [])])


def figures_text(report: dict[str, Any]) -> str:
    """Where the figures are."""
    if not report["figures"]:
        return "no figures: there are no jets to draw"
    return f"{report['output']}: {len(report['figures']) // 2} figures, as PNG and PDF"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.995 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
