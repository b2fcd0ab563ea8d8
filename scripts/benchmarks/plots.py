#!/usr/bin/env python
"""Changes by compression at 1e-3 as reported by `evaluate` and `benchmark`, and the figures of plots/.

FILE is compressed, evaluated and drawn; with --plots, the figures of the README are copied to that folder.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from harness import Given, Row, Tables, command, main, transposed

FIGURES = ("3_response_pt", "4_residuals", "5_dijet_mass", "7_size")
LABEL = ("--label", "Pythia 8, smeared", "--energy", "13.6")
WIDTH = "half-width of the central 68 %"
BOUND = 1e-3


def report_of(*arguments: object) -> Any:
    """The report of a command."""
    return json.loads(command(*arguments, "--json", "--force").found)


def figures(path: Path, folder: Path) -> Row:
    """What `evaluate` and `benchmark` report on the first collection of a file, of which figures are drawn, too."""
    small, report, drawn = folder / "small.root", folder / "report.json", folder / path.stem
    report_of("compress", path, small, "--precision", BOUND)
    report_of("evaluate", path, small, "-o", report)
    report_of("plot", report, "-o", drawn, *LABEL)
    benchmark = report_of("benchmark", path, "-o", drawn, *LABEL)
    found = json.loads(report.read_text())["collections"][0]
    row = {f"{name}: {WIDTH}": variable["all"]["half_width_68"] for name, variable in found["variables"].items()}
    events, classifier = found["events"], found["two_sample"]["classifier"]
    if events["events"]:
        row[f"dijet mass: {WIDTH}"] = events["dijet_mass"]["all"]["half_width_68"]
        row["jets that change their place in an event"] = events["reordered"]["jets"]
    row |= {"classifier: AUC": classifier["auc"], "classifier: error of the AUC": classifier["error"]}
    at = benchmark["precisions"].index(BOUND)
    return row | {f"{name}, bytes per jet": curve[at] for name, curve in benchmark["curves"].items() if curve[at]}


def measure(given: Given) -> Tables:
    """The table, with a column for every file; the plots are of the first."""
    table = {path.name: figures(path, given.folder) for path in given.files}
    for name in FIGURES if given.plots else ():
        (figure,) = (given.folder / given.files[0].stem).glob(f"*_{name}.png")
        shutil.copy(figure, Path(given.plots) / f"{name}.png")
    return {f"at {BOUND:g}": transposed(table)}


if __name__ == "__main__":
    main(__doc__, measure, plots=None)
