#!/usr/bin/env python
"""Bytes per jet of a long list of variables, beside LZMA of the same branches rounded to the same precision.

FILE is compressed with `--variables` and verified. Beside it the same branches, in the same events and by the same
writer: as they are; with the mantissas of each rounded to the fewest bits that hold its precision for every jet; and as
integers, the number of steps. Integers stay as they are. Bytes are those of compressed baskets; the model, which is in
the file once, is counted in a row of its own.
"""

import argparse
from pathlib import Path

import numpy as np
from harness import HERE, Row, Tables, main

from atlasae.compression.compress import compress_file
from atlasae.compression.format import read_contents
from atlasae.compression.plan import Options
from atlasae.compression.verify import verify_file
from atlasae.files.events import Array
from atlasae.files.trees import open_source
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import inner
from atlasae.jets.inputs import open_input
from atlasae.jets.stored import storage_of
from atlasae.jets.variables import WHOLE, Variable
from atlasae.reports.peers import LZMA, Sample, narrow, round_mantissa, tree_bytes

RECIPE = HERE.parent / "recipes" / "extended.toml"


def rounded(variable: Variable, column: Array) -> Array:
    """A column with the fewest mantissa bits that hold the precision."""
    if variable.coordinate in WHOLE:
        return column
    before = column.astype(np.float64)
    for bits in range(1, 24):
        candidate = round_mantissa(column.astype(np.float32), bits)
        if variable.error(before, candidate.astype(np.float64)).max(initial=0) <= variable.precision:
            return candidate
    return column


def gridded(variable: Variable, column: Array) -> Array:
    """A column as numbers of steps."""
    if variable.coordinate in WHOLE:
        return column
    return narrow(
        np.rint(variable.encode(column.astype(np.float64)) / variable.step(inner(variable.precision), 0.0)).astype(
            np.int64
        )
    )


def sizes(path: Path, variables: Path, folder: Path) -> Row:
    """Bytes per jet of atlasae and of its peers; raises ValueError where a jet did not come back."""
    compressed, peer = folder / "compressed.root", folder / "peer.root"
    report = compress_file(path, compressed, Options(variables=variables, force=True))
    if problems := verify_file(path, compressed)["differences"]:
        raise ValueError(problems[0])
    with open_source(compressed) as source:
        contents = read_contents(source)
    collection = contents.runs[0].collections[0].collection
    names, storage = list(collection.branches.values()), storage_of(collection)
    with open_input(path, report["tree"], ()) as opened:
        columns, counts = to_columns(collection, opened.events.read(names, 0, opened.events.entries))
    if not storage.usable(storage.to_values(columns)).all():
        raise ValueError(f"jets of '{path}' have no coordinates: give a file without such")
    sample, jets = Sample(collection, columns, counts), len(columns[0])
    pairs = list(zip(storage.variables.variables, columns, strict=True))
    variants = {
        "as they are, LZMA(9)": columns,
        "rounded, LZMA(9)": [rounded(*pair) for pair in pairs],
        "grid in integers, LZMA(9)": [gridded(*pair) for pair in pairs],
    }
    ours = {
        f"atlasae, {collection.words} floats": float(report["bytes_per_jet"]),
        "its model, once a file": sum(map(len, contents.models.values())) / jets,
    }
    return ours | {
        name: tree_bytes(sample, dict(zip(names, found, strict=True)), LZMA, False, peer) / jets
        for name, found in variants.items()
    }


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """A row for every way, a column for every file."""
    rows: dict[str, Row] = {}
    for path in given.files:
        for name, size in sizes(path, Path(given.variables), folder).items():
            rows.setdefault(name, {})[path.name] = size
    return {"bytes per jet": rows}


if __name__ == "__main__":
    main(__doc__, measure, variables=str(RECIPE))
