#!/usr/bin/env python
"""Bytes per jet of a long list of variables, compared with LZMA of the same branches rounded to the same precision.

FILE is compressed with `--variables` in both layouts and verified. It is compared with the same branches, in the same
events and by the same writer: unchanged; with mantissas rounded to the fewest bits that keep the precision for every
jet; and as numbers of steps (integers), which pcodec also has column by column, without events. Branches of integers
are unchanged. Bytes are those of compressed baskets; the model of the floats, which is in the file once, has its own
row.
"""

from pathlib import Path

import numpy as np
from harness import HERE, Given, Row, Tables, main, transposed
from precision import verified

from atlasae.compression.format import read_contents
from atlasae.files.events import Array
from atlasae.files.trees import open_source
from atlasae.jets.coordinates import inner
from atlasae.jets.inputs import open_input
from atlasae.jets.stored import storage_of
from atlasae.jets.variables import WHOLE, Variable
from atlasae.reports.peers import LZMA, narrow, pcodec_bytes, read_sample, round_mantissa, tree_bytes

RECIPE = HERE.parent / "recipes" / "extended.toml"
STEPS = "grid in integers, LZMA(9)"


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
    small = folder / "compressed.root"
    packed = verified(path, folder / "packed.root", variables=variables, layout="packed")
    floats = verified(path, small, variables=variables)
    with open_source(small) as source:
        contents = read_contents(source)
    collection = contents.runs[0].collections[0].collection
    storage = storage_of(collection)
    with open_input(path, floats["tree"], ()) as opened:
        sample = read_sample(opened, collection)
    jets, columns = len(sample.columns[0]), sample.columns
    if not storage.usable(storage.to_values(columns)).all():
        raise ValueError(f"jets of '{path}' have no coordinates: give a file without such")
    pairs = list(zip(storage.variables.variables, columns, strict=True))
    peers = {
        "as they are, LZMA(9)": columns,
        "rounded, LZMA(9)": [rounded(*pair) for pair in pairs],
        STEPS: [gridded(*pair) for pair in pairs],
    }
    named = {name: dict(zip(collection.branches.values(), found, strict=True)) for name, found in peers.items()}
    return {
        "atlasae, packed": float(packed["bytes_per_jet"]),
        f"atlasae, {collection.words} floats": float(floats["bytes_per_jet"]),
        "its model, once a file": sum(map(len, contents.models.values())) / jets,
        "grid in integers, pcodec": pcodec_bytes(named[STEPS]) / jets,
        **{name: tree_bytes(sample, found, LZMA, False, folder / "peer.root") / jets for name, found in named.items()},
    }


def measure(given: Given) -> Tables:
    """The table with a row for every method and a column for every file."""
    found = {path.name: sizes(path, Path(given.variables), given.folder) for path in given.files}
    return {"bytes per jet": transposed(found)}


if __name__ == "__main__":
    main(__doc__, measure, variables=str(RECIPE))
