"""Pages of the commands: reports as lines and tables."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from atlasae.report import LeftOut, Page, PageTable, loosest, some

LIBRARIES = ("torch", "uproot", "awkward", "numpy", "constriction", "cramjam", "hist", "mplhep")


def versions_text() -> str:
    """The versions of atlasae, and of the libraries that affect what it writes and reads."""
    return "\n".join([f"atlasae {version('atlasae')}", *(f"  {name} {version(name)}" for name in LIBRARIES)])


def rate_page(report: dict[str, Any]) -> Page:
    """The result of `train --find-rate`."""
    return [f"{report['output']}: learning rate {report['learning_rate']:.1g}, as in --set course.learning_rate=..."]


def training_page(report: dict[str, Any]) -> Page:
    """A trained or imported model."""
    lines = [f"{report['output']}: {report['architecture']}, {_size(report['bytes'])}, SHA-256 {report['sha256'][:12]}"]
    if "test" in report:
        jets = report["provenance"]["jets"]
        lines.append(f"  trained on {jets['training']:,} jets, validated on {jets['validation']:,}; {report['ended']}")
        lines.append(f"  test on {report['test']['jets']:,} jets: {_test_line(report['test'])}")
    return lines


def model_page(facts: dict[str, Any]) -> Page:
    """A model as `Model.describe` shows it."""
    lines = [
        f"{facts['architecture']} model: {facts['parameters']:,} parameters, {_size(facts['bytes'])}",
        f"SHA-256 {facts['sha256']}",
    ]
    if "columns" in facts:
        lines.append(f"of {', '.join(facts['columns'])} in {facts['units']}")
    if jets := facts.get("provenance", {}).get("jets"):
        lines.append(f"trained on {jets['training']:,} jets, validated on {jets['validation']:,}")
    if test := facts.get("test"):
        lines.append(f"test on {test['jets']:,} jets: {_test_line(test)}")
    if "domain" not in facts:
        return lines
    units = {"pt": "pt in MeV", "eta": "eta", "phi": "phi", "m": "m in MeV"}
    rows = [[units[variable], *(f"{x:.5g}" for x in facts["domain"][variable])] for variable in units]
    return [*lines, PageTable(["jets it knows", *(f"{100 * q:g} %" for q in facts["quantiles"])], rows)]


def export_page(report: dict[str, Any]) -> Page:
    """An exported codec."""
    units = f"in {report['units']}, model {report['model_sha256'][:12]}"
    branches = ", ".join(report["branches"].values())
    return [f"{', '.join(report['files'])}: {_size(report['bytes'])}, for {branches} {units}"]


def tables_page(report: dict[str, Any]) -> Page:
    """Tables for the packed layout."""
    size = f"{_size(report['bytes'])}, SHA-256 {report['sha256'][:12]}"
    return [f"{report['output']}: tables of {report['jets']:,} jets, {size}"]


def _test_line(test: dict[str, Any]) -> str:
    if "half_widths" not in test:
        return f"{test['bits_per_jet_at_1e-3']:.2f} bits per jet at 1e-3"
    widths = "  ".join(f"{variable} {width:.2g}" for variable, width in test["half_widths"].items())
    return f"half-widths  {widths}"


def compression_page(report: dict[str, Any]) -> Page:
    """The result of `compress`."""
    heading = f"{report['output']}: {report['jets']:,} jets in {report['entries']:,} entries of '{report['tree']}'"
    lines = []
    before, after = report["bytes_jets_in"], report["bytes_jets_out"]
    if report["jets"]:
        lines.append(f"jets: {_size(before)} -> {_size(after)}, {report['bytes_per_jet']:.2f} bytes per jet")
    lines.append(f"whole file: {_size(report['bytes_file_in'])} -> {_size(report['bytes_file_out'])}")
    lines.append(f"carried: {len(report['carried'])} branches; {report['seconds']:.1f} s")
    notes = [f"note: {note}" for note in report["notes"]]
    return [heading, "", *_collections(report["collections"]), "", *lines, *_dropped(report), *notes]


def _collections(entries: Sequence[dict[str, Any]]) -> list[str | PageTable]:
    """Tables of collections, and of their variables with bounds, largest errors and bits."""
    wholes = [
        [entry["name"], entry["units"] or "", f"{entry['jets']:,}", f"{entry['exact_jets']:,}", *_sizes(entry)]
        for entry in entries
    ]
    variables = [
        [branch, *_promise(variable, entry), f"{bits:.1f}" if (bits := entry["bits"].get(variable)) is not None else ""]
        for entry in entries
        for variable, branch in _variables(entry).items()
    ]
    return [
        PageTable(["collection", "unit", "jets", "exact", "bytes per jet", "before"], wholes, words=(0, 1)),
        "",
        PageTable(["branch", "bound", "largest error", "bits"], variables),
        *_floors(entries),
    ]


def _floors(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Lines on variables whose errors are relative to a floor where they are smaller, with their collections."""
    named: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        for variable, floor in entry["floors"].items():
            if entry["precision"].get(variable) is not None:
                text = f"{floor:g} {entry['units'] or ''}".rstrip()
                named.setdefault((variable, text), []).append(entry["name"])
    return [
        f"errors of {variable} are relative to {variable}, or to {floor} where {variable} is smaller ({some(names, 6)})"
        for (variable, floor), names in named.items()
    ]


def _sizes(entry: dict[str, Any]) -> tuple[str, str]:
    if not entry["jets"]:
        return "-", "-"
    return f"{entry['bytes_per_jet']:.2f}", f"{entry['bytes_in'] / entry['jets']:.2f}"


def _variables(entry: dict[str, Any]) -> dict[str, str]:
    """Branches by variable, and variables with a bound but no branch: m, if E and p are stored."""
    branches: dict[str, str] = entry["branches"]
    return branches | {v: f"{entry['name']}: {v}" for v in entry["precision"] if v not in branches}


def _promise(variable: str, entry: dict[str, Any]) -> list[str]:
    """The bound of a variable and its largest error; empty for a variable without a promise."""
    if variable not in entry["precision"]:
        return ["", ""]
    bound = entry["precision"][variable]
    error = f"{entry['max_error'].get(variable, 0.0):.2g}" if entry["jets"] else "-"
    return [f"{bound:g}" if bound is not None else "none", error]


def decompression_page(report: dict[str, Any]) -> Page:
    """The result of `decompress`."""
    done = (
        f"{report['output']}: {report['jets']:,} jets in {report['entries']:,} entries of '{report['tree']}'; "
        f"{_size(report['bytes_file_in'])} -> {_size(report['bytes_file_out'])}; {report['seconds']:.1f} s"
    )
    missing = [f"  entries {start} to {stop} are missing" for start, stop in report["missing"]]
    notes = [f"note: {note}" for note in report["notes"]]
    return [done, *missing, *(f"  {problem}" for problem in report["damage"]), *notes]


_COLUMNS = {
    "entries": "entries",
    "jets": "jets",
    "bytes_file_in": "bytes before",
    "bytes_file_out": "after",
    "bytes_jets_out": "of jets",
    "bytes_per_jet": "bytes/jet",
}


def many_page(report: dict[str, Any]) -> Page:
    """A table of many files with their sums."""
    shown = [key for key in _COLUMNS if key in report]
    headings = ["file", *(_COLUMNS[key] for key in shown), "seconds", ""]
    rows = [[Path(file["output"]).name, *_cells(file, shown), _state(file)] for file in report["files"]]
    failed = f"{report['failed']} failed" if report["failed"] else "all done"
    rows.append([f"{len(report['files'])} files", *_cells(report, shown), failed])
    noted = [*(f"note: {note}" for note in report.get("notes", ())), *_notes_of_many(report["files"])]
    return [PageTable(headings, rows, words=(0, len(headings) - 1)), *noted]


def _notes_of_many(files: Sequence[dict[str, Any]]) -> list[str]:
    """Every note once, with the names of its files."""
    notes: dict[str, list[str]] = {}
    for file in files:
        for note in file.get("notes", ()):
            notes.setdefault(note, []).append(Path(file["output"]).name)
    return [f"note: {some(names, 3)}: {note}" for note, names in notes.items()]


def _cells(file: dict[str, Any], shown: list[str]) -> list[str]:
    numbers = [file.get(key) for key in shown]
    cells = [f"{n:,.2f}" if isinstance(n, float) else "-" if n is None else f"{n:,}" for n in numbers]
    return [*cells, f"{file['seconds']:.1f}" if "seconds" in file else "-"]


def _state(file: dict[str, Any]) -> str:
    if file["error"] is not None:
        return "failed"
    return "as it was" if file["reused"] else "done"


def failure_line(file: dict[str, Any]) -> str:
    """The error of one of many files, with its name."""
    error = file["error"].replace("\n", " ")
    return error if file["input"] in error else f"'{file['input']}': {error}"


def info_page(facts: dict[str, Any]) -> Page:
    """The contents of a compressed file."""
    runs = facts["runs"]
    made = PageTable(
        ["compressed from", "size", "entries", "chunks", "bound", "model", "atlasae"],
        [
            [
                run["source"], _size(run["source_bytes"]), f"{run['entries']:,}", f"{run['chunks']:,}", _bounds(run),
                f"{run['model_sha256'][:12]} ({run['model_from']})", run["versions"].get("atlasae", "?"),
            ]
            for run in runs
        ],
        words=(0, 5),
    )  # fmt: skip
    return [
        f"{facts['file']}: {_size(facts['bytes'])}, tree '{facts['tree']}', {facts['entries']:,} entries, "
        f"{facts['carried']} branches carried",
        "",
        *_collections([_of_all_runs(collection, runs) for collection in facts["collections"]]),
        "",
        made,
        *_left_out_page(facts),
    ]


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    """What was left out of a file, one line per reason."""
    whys: dict[str, list[str]] = {}
    for thing in left_out:
        whys.setdefault(thing.why, []).append(thing.name)
    return [f"{some(names, 30)} {'are' if len(names) > 1 else 'is'} left out: {why}" for why, names in whys.items()]


def _left_out_page(report: dict[str, Any]) -> list[str]:
    """Lines on what a compressed file lacks of its input: branches of the tree, other trees and objects."""
    return [*_dropped(report), *left_out_lines([LeftOut(**thing) for thing in report["left_out"]])]


def _dropped(report: dict[str, Any]) -> list[str]:
    """A line on dropped branches, if there are any."""
    names = report["dropped"]
    return [f"dropped: {len(names)} branches: {some(names, 6)}"] if names else []


def _bounds(run: dict[str, Any]) -> str:
    """The bounds of a run, each once, the tightest first."""
    bounds = {bound for entry in run["collections"] for bound in entry["precision"].values()}
    return ", ".join([f"{bound:g}" for bound in sorted(bounds - {None})] + ["none"] * (None in bounds))


def _of_all_runs(collection: dict[str, Any], runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A collection of a merged file, with the loosest bounds and the largest errors and bits of its runs."""
    found = [entry for run in runs for entry in run["collections"] if entry["name"] == collection["name"]]
    return collection | {
        "precision": loosest([entry["precision"] for entry in found]),
        "max_error": _largest([entry["max_error"] for entry in found]),
        "bits": _largest([entry["bits"] for entry in found]),
    }


def _largest(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {v: max(numbers.get(v, 0.0) for numbers in found) for v in found[0]}


def integrity_page(report: dict[str, Any]) -> Page:
    """The result of `verify` on a compressed file alone."""
    others = ", ".join(f"'{name}'" for name in [*report["trees"], *report["objects"]])
    carried = [f"  carried beside it: {others}"] if others else []
    models = [f"  model {sha[:12]} is in the file" for sha in report["models"]]
    return [
        f"intact: {report['entries']:,} entries, {report['jets']:,} jets, {report['chunks']:,} chunks of "
        f"{len(report['branches'])} branches",
        *carried,
        *models,
        *(f"  {line}" for line in _left_out_page(report)),
    ]


def verification_page(report: dict[str, Any]) -> Page:
    """The result of `verify`."""
    kept = Counter(report["branches"].values())
    problems = report["differences"]
    verdict = f"{len(problems)} differences" if problems else "as promised"
    rows = [
        [name, variable, *_promise(variable, {"jets": 1, "max_error": found, "precision": report["precision"][name]})]
        for name, found in report["max_error"].items()
        for variable in report["precision"][name]
    ]
    collections = [
        {"name": name} | {key: report[key][name] for key in ("precision", "floors", "units")}
        for name in report["max_error"]
    ]
    return [
        f"{report['entries']:,} entries compared: {verdict}",
        *(f"  {problem}" for problem in problems[:20]),
        "  branches: " + ", ".join(f"{n} {how}" for how, n in kept.items()),
        *(f"  {line}" for line in _left_out_page(report)),
        *([PageTable(["jets", "variable", "bound", "largest error"], rows, words=(0, 1))] if rows else []),
        *_floors(collections),
    ]


def evaluation_page(report: dict[str, Any]) -> Page:
    """The result of `evaluate`, collection by collection."""
    page: list[str | PageTable] = [
        f"{report['original']} -> {report['compressed']}: {report['entries']:,} entries of '{report['tree']}'"
    ]
    for collection in report["collections"]:
        exact = f", {collection['exact_jets']:,} exact" if collection["exact_jets"] is not None else ""
        sizes = f"{collection['bytes_per_jet_before']:.2f} -> {collection['bytes_per_jet']:.2f} bytes per jet"
        page.append(
            f"{collection['name']}: {collection['jets']:,} jets{exact}" + f", {sizes}" * bool(collection["jets"])
        )
        if collection["variables"]["pt"]["all"]["jets"]:
            page += [_residuals(collection), *_remarks(collection)]
        else:
            page.append("  no jets to compare")
    return page


def _residuals(collection: dict[str, Any]) -> PageTable:
    rows = {variable: (found["all"], found["bound"]) for variable, found in collection["variables"].items()}
    rows["m > .5 GeV"] = (collection["mass_above_500_MeV"], None)
    events = collection["events"]
    if events["events"]:
        rows["dijet mass"] = (events["dijet_mass"]["all"], None)
        rows["  apart"] = (events["dijet_mass_back_to_back"], None)
        rows["HT"] = (events["ht"]["all"], None)
    keys = ("mean", "std", "half_width_68", "half_width_95", "largest")
    return PageTable(
        ["", "mean", "std", "68 %", "95 %", "largest", "bound"],
        [
            [name, *(f"{found[key]:.2g}" for key in keys), f"{bound:.2g}" if bound else ""]
            for name, (found, bound) in rows.items()
            if found["jets"]
        ],
    )


def _remarks(collection: dict[str, Any]) -> list[str]:
    remarks = []
    if odd := collection["not_compared"]["jets"]:
        remarks.append(
            f"  {odd:,} jets have no residual (NaN, pt <= 0 ...): {collection['not_compared']['changed']:,} changed"
        )
    if light := collection["light_jets"]:
        remarks.append(f"  {light:,} jets are lighter than 100 MeV: the residual of their m is relative to 100 MeV")
    if (events := collection["events"])["events"]:
        moved = events["reordered"]
        remarks.append(
            f"  {moved['jets']:,} jets of {moved['events']:,} events changed places, of {events['events']:,} events"
        )
    m = collection["variables"]["m"]
    if "E" in collection["branches"] and m["bound"] and m["all"].get("largest", 0.0) > m["bound"]:
        remarks.append("  m is what E and p make: beyond its bound only by what their stored floats leave open")
    tests = collection["two_sample"]
    furthest = max(tests["kolmogorov_smirnov"].items(), key=lambda item: float(item[1]["distance"]))
    remarks.append(
        f"  Kolmogorov-Smirnov: at most {furthest[1]['distance']:.2g} ({furthest[0]}), p = {furthest[1]['p_value']:.2g}"
    )
    if auc := tests["classifier"]:
        remarks.append(
            f"  a classifier tells them apart with AUC {auc['auc']:.5f} +- {auc['error']:.1g} ({auc['jets']:,} jets)"
        )
    return remarks


def benchmark_page(report: dict[str, Any]) -> Page:
    """The result of `benchmark`."""
    missing = report["missing"]
    return [
        f"{report['input']}, {report['collection']}: {report['jets']:,} jets",
        PageTable(
            ["bytes per jet, guaranteed precision", *(f"{bound:g}" for bound in report["precisions"])],
            [
                [name, *("-" if size is None else f"{size:.2f}" for size in sizes)]
                for name, sizes in report["curves"].items()
            ],
        ),
        *([f"not installed: {', '.join(missing)}: pip install 'atlasae[benchmark]'"] if missing else []),
        *(f"figure: {path}" for path in report.get("figures", [])),
    ]


def figures_page(report: dict[str, Any]) -> Page:
    """The paths of the figures."""
    if not report["figures"]:
        return ["no figures: there are no jets to draw"]
    return [f"{report['output']}: {len(report['figures']) // 2} figures, as PNG and PDF"]


def tree_page(facts: dict[str, Any]) -> Page:
    """An open compressed tree: its jets, and its other branches."""
    rows = [
        [branch, variable, collection["units"] or "", collection["types"][variable]]
        for collection in facts["collections"]
        for variable, branch in collection["branches"].items()
    ]
    others = [f"and {len(facts['others'])} other branches: {some(facts['others'], 6)}"] if facts["others"] else []
    return [
        f"tree '{facts['tree']}': {facts['entries']:,} entries",
        PageTable(["branch", "variable", "unit", "type"], rows, words=(0, 1, 2, 3)),
        *others,
    ]


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.995 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
