#!/usr/bin/env python
"""Bytes per jet of a long list of variables, beside LZMA of the same branches rounded to the same precision.

    python scripts/benchmark_variables.py [IN] [--variables scripts/recipes/extended.toml] [--json]

IN (data/jets.root unless given) is compressed with `--variables` and verified. Beside it the same branches, in the same
events and by the same writer: as they are; with the mantissas of each rounded to the fewest bits that hold its
precision for every jet; and as whole numbers of steps (32 bits). Whole numbers stay as they are. Bytes are those of
compressed baskets; the model, which is in the file once, is counted in a row of its own.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from atlasae.compression.compress import compress_file
from atlasae.compression.format import read_contents
from atlasae.compression.plan import Options
from atlasae.compression.verify import verify_file
from atlasae.files.events import Array
from atlasae.files.trees import open_source
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import inner
from atlasae.jets.inputs import open_input
from atlasae.jets.precision import Precision
from atlasae.jets.stored import storage_of
from atlasae.jets.variables import WHOLE, Variable
from atlasae.reports.peers import LZMA, Sample, narrow, round_mantissa, tree_bytes

ROOT = Path(__file__).parents[1]


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
    """A column as whole numbers of steps."""
    if variable.coordinate in WHOLE:
        return column
    return narrow(
        np.rint(variable.encode(column.astype(np.float64)) / variable.step(inner(variable.precision), 0.0)).astype(
            np.int64
        )
    )


def measure(path: Path, variables: Path, folder: Path) -> dict[str, Any]:
    """Bytes per jet of atlasae and of its peers."""
    compressed, peer = folder / "compressed.root", folder / "peer.root"
    report = compress_file(path, compressed, Options(Precision.parse("1e-3"), variables=variables))
    if problems := verify_file(path, compressed)["differences"]:
        raise ValueError(problems[0])
    with open_source(compressed) as source:
        contents = read_contents(source)
    collection = contents.runs[0].collections[0].collection
    storage = storage_of(collection)
    with open_input(path, report["tree"], ()) as opened:
        columns, counts = to_columns(
            collection, opened.events.read(list(collection.branches.values()), 0, opened.events.entries)
        )
    usable = storage.usable(storage.to_values(columns))
    if not usable.all():
        raise ValueError(f"{int((~usable).sum())} jets have no coordinates: give a file without such")
    sample = Sample(collection, columns, counts)
    variants = {
        "as they are, LZMA(9)": columns,
        "rounded, LZMA(9)": [rounded(*pair) for pair in zip(storage.variables.variables, columns, strict=True)],
        "grid in integers, LZMA(9)": [
            gridded(*pair) for pair in zip(storage.variables.variables, columns, strict=True)
        ],
    }
    names = list(collection.branches.values())
    sizes = {
        name: tree_bytes(sample, dict(zip(names, found, strict=True)), LZMA, False, peer) / len(columns[0])
        for name, found in variants.items()
    }
    model = sum(map(len, contents.models.values())) / len(columns[0])
    ours = {f"atlasae, {collection.words} floats": report["bytes_per_jet"], "its model, once a file": model}
    return {"input": path.name, "variables": len(names), "jets": len(columns[0]), "bytes_per_jet": ours | sizes}


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, nargs="?", default=ROOT / "data" / "jets.root", metavar="IN")
    parser.add_argument("--variables", type=Path, default=ROOT / "scripts" / "recipes" / "extended.toml")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.input, args.variables, Path(folder))
    if args.json:
        print(json.dumps(found))
        return
    print(
        f"| {found['variables']} variables of {found['jets']:,} jets in {found['input']} | bytes per jet |\n|---|---|"
    )
    for name, size in found["bytes_per_jet"].items():
        print(f"| {name} | {size:.2f} |")


if __name__ == "__main__":
    main()
