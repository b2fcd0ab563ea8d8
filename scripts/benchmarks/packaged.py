#!/usr/bin/env python
"""Bytes per jet and errors with another model (--model), over those with the packaged one.

Every FILE is compressed by both in the floats layout and decompressed. Bytes are those of all its jets. With `full`,
all 69 bits are used: a model that fits better leaves fewer of them to LZMA, and makes smaller errors. So the r.m.s. of
the errors is compared, too (that of eta and phi halved, as they count in the choice of steps), and `bytes at the same
error` has 4 log2 of its ratio added to the bits of every jet.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from harness import Row, Tables, main
from precision import FULL, compared

from atlasae.codecs.model import VARIABLES
from atlasae.codecs.search import FULL_WEIGHTS


def taken(path: Path, precision: str, model: str, folder: Path) -> tuple[float, float]:
    """Bytes per jet of all collections of a file, and the r.m.s. of the errors of all variables."""
    size, jets, squares = 0.0, 0, list[float]()
    for found in compared(path, folder, precision=precision, only_jets=True, model=model):
        size += found.bytes_per_jet * found.entry.jets
        jets += found.entry.jets
        errors = found.errors
        squares += [float(np.square(errors[v] / FULL_WEIGHTS[v]).sum()) for v in VARIABLES]
    return size / jets, math.sqrt(sum(squares) / (4 * jets))


def figures(path: Path, precision: str, model: str, folder: Path) -> Row:
    """The figures of both models, and their ratios."""
    (before, old), (after, new) = (taken(path, precision, name, folder) for name in ("default", model))
    row = {"bytes per jet, packaged": before, "bytes per jet": after, "ratio": after / before}
    if precision != FULL:
        return row
    same = (after + 4 * math.log2(new / old) / 8) / before
    return row | {"ratio of r.m.s.": new / old, "ratio at the same error": same}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """The table with a row for every file and precision."""
    asked = [(path, precision) for path in given.files for precision in given.precision]
    return {"models": {f"{path.name}, {p}": figures(path, p, given.model, folder) for path, p in asked}}


if __name__ == "__main__":
    main(__doc__, measure, model="default", precision=["1e-2", "1e-3", "1e-4", FULL])
