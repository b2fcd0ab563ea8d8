#!/usr/bin/env python
"""Bytes per jet and errors of compressed jets, beside what people use today at the same guaranteed bound.

    python scripts/benchmark_precision.py [IN...] [--precision 1e-2 1e-3 1e-4 full] [--json]

Every IN (data/jets.root unless given) is compressed at every precision and decompressed. The errors are those of the
decompressed file, computed here and not by atlasae; counts, order and all other branches must be the input's. With E,
m is what E and the momentum make, so its largest error holds what the input's own rounding leaves open.

The peers get the same jets in the same events, in a TTree by the same writer, and have to hold the same bound for every
jet. Bytes are those of compressed baskets; the counter that the input has is charged to nobody. pcodec and SZ3 (extra
`benchmark`) know no ROOT and no events: their bytes are those of four bare arrays. Collections with E or px, py, pz
have no peers here, and jets without coordinates (NaN, pt <= 0) are left out of the peers' samples.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.format import CompressedCollection, read_contents
from atlasae.compression.plan import Options
from atlasae.files.checksums import checksum
from atlasae.files.trees import open_source
from atlasae.jets.coordinates import Floats, wrap
from atlasae.jets.inputs import Opened, open_input
from atlasae.jets.precision import Precision
from atlasae.jets.variables import JET
from atlasae.reports.peers import Sample, largest, peers, read_sample

SAMPLE = Path(__file__).parents[1] / "data" / "jets.root"
PRECISIONS = ("1e-2", "1e-3", "1e-4", "full")
VARIABLES = ("pt", "eta", "phi", "m")
MASS_FLOOR = 100  # MeV: the promise on m is relative to max(|m|, MASS_FLOOR)
CENTRAL = (15.865, 84.135)  # percentiles around the central 68 %


def residuals(before: Sample, after: Sample) -> dict[str, Floats]:
    """Signed errors of the jets that have coordinates; relative for pt, m and E."""
    kept = JET.usable(before.jets)
    a, b = before.jets[kept], after.jets[kept]
    found = {
        "pt": b[:, 0] / a[:, 0] - 1,
        "eta": b[:, 1] - a[:, 1],
        "phi": wrap(b[:, 2] - a[:, 2]),
        "m": (b[:, 3] - a[:, 3]) / np.maximum(np.abs(a[:, 3]), MASS_FLOOR),
    }
    if "E" in before.collection.variables:
        old, new = (sample.columns[3][kept].astype(np.float64) for sample in (before, after))
        found["E"] = new / old - 1
    return found


def half_width(residual: Floats) -> float:
    """Half the width of the central 68 % of the jets."""
    low, high = np.percentile(residual, CENTRAL) if len(residual) else (0.0, 0.0)
    return float(high - low) / 2


def check_carried(original: Opened, restored: Opened, names: Sequence[str]) -> None:
    """Compare all branches that are no jets, bit for bit; raises ValueError."""
    for name in names:
        one, other = (opened.events.read([name], 0, opened.events.entries)[name] for opened in (original, restored))
        if checksum(one) != checksum(other):
            raise ValueError(f"branch '{name}' of '{original.path}' did not come back")


def measure(path: Path, precision: str, folder: Path, packed: bool = False) -> list[dict[str, Any]]:
    """Compress, decompress and compare; one row a collection with jets."""
    compressed, restored = folder / "compressed.root", folder / "restored.root"
    options = Options(Precision.parse(precision), packed=packed, drop_unwritable=True, force=True)
    report = compress_file(path, compressed, options)
    decompress_file(compressed, restored, force=True)
    with open_source(compressed) as source:
        entries = [entry for entry in read_contents(source).runs[0].collections if entry.jets]
    sizes = {entry["name"]: entry["bytes_per_jet"] for entry in report["collections"]}
    tree = report["tree"]
    with open_input(path, None, ()) as original, open_input(restored, tree, ()) as back:
        check_carried(original, back, report["carried"])
        shared = {"input": path.name, "precision": precision}
        return [
            shared | {"bytes_per_jet": sizes[entry.collection.name]} | compare(entry, original, back)
            for entry in entries
        ]


def compare(entry: CompressedCollection, original: Opened, back: Opened) -> dict[str, Any]:
    """What became of the jets of one collection; raises ValueError where counts differ."""
    before, after = read_sample(original, entry.collection), read_sample(back, entry.collection)
    if not np.array_equal(before.counts, after.counts):
        raise ValueError(f"jets per event of '{entry.collection.name}' did not come back")
    found = residuals(before, after)
    return {
        "collection": entry.collection.name,
        "jets": entry.jets,
        "exact_share": entry.exact_jets / entry.jets,
        "half_width": {variable: half_width(residual) for variable, residual in found.items()},
        "largest": {variable: largest(residual) for variable, residual in found.items()},
    }


def compare_peers(path: Path, precision: str, rows: list[dict[str, Any]], folder: Path) -> None:
    """Add what the peers take to the rows of an input."""
    with open_source(folder / "compressed.root") as source:
        collections = {e.collection.name: e.collection for e in read_contents(source).runs[0].collections}
    with open_input(path, None, ()) as original:
        packed = {row["collection"]: row for row in measure(path, precision, folder, packed=True)}
        for row in rows:
            collection = collections[row["collection"]]
            if collection.variables == VARIABLES:
                ours = {"**atlasae, packed**": within(packed[row["collection"]], float(precision))}
                row["peers"] = ours | peers(
                    read_sample(original, collection).with_coordinates(), float(precision), folder
                )


def within(row: Mapping[str, Any], bound: float) -> float:
    """The bytes per jet of a row; raises ValueError where a jet is beyond the bound."""
    if not max(row["largest"].values()) <= bound:
        raise ValueError(f"'{row['collection']}' is beyond {bound:g}: {_figures(row['largest'])}")
    return float(row["bytes_per_jet"])


# Output


def errors_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rows as a Markdown table."""
    yield "| input, collection | jets | precision | bytes per jet | exact | half-width of the central 68 % | largest |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row['input']}, {row['collection']} | {row['jets']:,} | {row['precision']} "
            f"| **{row['bytes_per_jet']:.2f}** | {row['exact_share']:.2%} "
            f"| {_figures(row['half_width'])} | {_figures(row['largest'])} |"
        )


def peers_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Bytes per jet of atlasae and its peers, a column for every input and precision."""
    measured = [row for row in rows if "peers" in row]
    if not measured:
        return
    yield "| bytes per jet | " + " | ".join(f"{row['input']}, {row['precision']}" for row in measured) + " |"
    yield "|---|" + "---|" * len(measured)
    yield "| **atlasae** | " + " | ".join(f"**{row['bytes_per_jet']:.2f}**" for row in measured) + " |"
    for name in dict.fromkeys(name for row in measured for name in row["peers"]):
        sizes = (row["peers"].get(name) for row in measured)
        yield f"| {name} | " + " | ".join("" if size is None else f"{size:.2f}" for size in sizes) + " |"


def _figures(found: Mapping[str, float]) -> str:
    return ", ".join(f"{variable} {value:.2g}" for variable, value in found.items())


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", type=Path, nargs="*", default=[SAMPLE], metavar="IN")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for path in args.inputs:
            for precision in args.precision:
                found = measure(path, precision, Path(name))
                if precision != "full" and "=" not in precision:
                    compare_peers(path, precision, found, Path(name))
                rows += found
    print(json.dumps(rows) if args.json else "\n".join([*errors_table(rows), "", *peers_table(rows)]))


if __name__ == "__main__":
    main()
