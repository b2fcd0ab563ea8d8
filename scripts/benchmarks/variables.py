#!/usr/bin/env python
"""Bytes per jet of a long list of variables, compared with LZMA of the same branches rounded to the same precision.

FILE is compressed with `--variables` in both layouts and verified. It is compared with the same branches, in the same
events and by the same writer: unchanged; with mantissas rounded to the fewest bits that keep the precision for every
jet; and as numbers of steps (integers), which pcodec also has column by column, without events. Branches of integers
are unchanged. Bytes are those of compressed baskets; the model of the floats, which is in the file once, has its own
row.
"""

import argparse
from pathlib import Path

import numpy as np
from harness import HERE, Row, Tables, main, transposed
from precision import verified

from atlasae.compression.format import read_contents
from atlasae.compression.plan import Options
from atlasae.files.events import Array
from atlasae.files.trees import open_source
from atlasae.jets.coordinates import inner
from atlasae.jets.inputs import open_input
from atlasae.jets.stored import storage_of
from atlasae.jets.variables import WHOLE, Variable
from atlasae.reports.peers import LZMA, narrow, pcodec_bytes, read_sample, round_mantissa, tree_bytes

RECIPE = HERE.parent / "recipes" / "extended.toml"


def rounded(variable: Variable, column: Array) -> Array:
    """A column with the fewest mantissa bits that keep the precision."""
    if variable.coordinate in WHOLE:
        return column
    before = column.astype(np.float64)
    for bits in range(1, 24):
        candidate = round_mantissa(column.astype(np.float32), bits)
        if variable.error(before, candidate.astype(np.float64)).max(initial=0) <= variable.precision:
            return candidate
    return column


def gridded(variable: Variable, column: Array) -> Array:
    """A column as integers, in units of a step."""
    if variable.coordinate in WHOLE:
        return column
    steps = variable.encode(column.astype(np.float64)) / variable.step(inner(variable.precision), 0.0)
    return narrow(np.rint(steps).astype(np.int64))


def sizes(path: Path, variables: Path, folder: Path) -> Row:
    """Bytes per jet of atlasae and of its peers; raises ValueError if a jet exceeds its bounds."""
    compressed, packed, peer = (folder / f"{name}.root" for name in ("compressed", "packed", "peer"))
    report = verified(path, compressed, Options(variables=variables, force=True))
    smaller = verified(path, packed, Options(variables=variables, packed=True, force=True))
    with open_source(compressed) as source:
        contents = read_contents(source)
    collection = contents.runs[0].collections[0].collection
    names, storage = list(collection.branches.values()), storage_of(collection)
    with open_input(path, report["tree"], ()) as opened:
        sample = read_sample(opened, collection)
    columns = sample.columns
    if not storage.usable(storage.to_values(columns)).all():
        raise ValueError(f"jets of '{path}' have no coordinates: give a file without such")
    jets, pairs = len(columns[0]), list(zip(storage.variables.variables, columns, strict=True))
    variants = {
        "as they are, LZMA(9)": columns,
        "rounded, LZMA(9)": [rounded(*pair) for pair in pairs],
        "grid in integers, LZMA(9)": [gridded(*pair) for pair in pairs],
    }
    ours = {
        "atlasae, packed": float(smaller["bytes_per_jet"]),
        f"atlasae, {collection.words} floats": float(report["bytes_per_jet"]),
        "its model, once a file": sum(map(len, contents.models.values())) / jets,
    }
    steps = dict(zip(names, variants["grid in integers, LZMA(9)"], strict=True))
    ours["grid in integers, pcodec"] = pcodec_bytes(steps) / jets
    return ours | {
        name: tree_bytes(sample, dict(zip(names, found, strict=True)), LZMA, False, peer) / jets
        for name, found in variants.items()
    }


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """The table with a row for every method and a column for every file."""
    found = {path.name: sizes(path, Path(given.variables), folder) for path in given.files}
    return {"bytes per jet": transposed(found)}


if __name__ == "__main__":
    main(__doc__, measure, variables=str(RECIPE))
