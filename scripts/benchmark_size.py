#!/usr/bin/env python
"""Bytes per jet of every layout, beside what people use today, on the same jets and at the same guaranteed bound.

    python scripts/benchmark_size.py [IN...] [--precision 1e-2 1e-3 1e-4] [--json]

Every IN (data/jets.root unless given) is compressed in each layout and decompressed, and no jet may be off by more than
the bound. Bytes are those of everything in the ROOT file that stands for the jets, exact jets included, but not the
counter that the input has; the models are the packaged ones, which are not in the file. Peers are measured as by
scripts/benchmark_precision.py. `one blob an event` is the packed layout as it would be with every event by itself, so
that any can be read alone: words of the first events, each coded from the packaged tables; ROOT would take more.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_precision import SAMPLE, compare, within

from atlasae.codecs.lattice import Lattice
from atlasae.codecs.packed import PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.format import CompressedCollection, read_contents
from atlasae.compression.packed import steps_apart
from atlasae.compression.plan import Options
from atlasae.files.trees import open_source
from atlasae.jets.inputs import Opened, open_input
from atlasae.jets.precision import Precision, steps
from atlasae.jets.stored import storage_of
from atlasae.reports.peers import VARIABLES, Sample, peers, read_sample

LAYOUTS: dict[str, dict[str, Any]] = {
    "**atlasae, packed**": {"packed": True},
    "**atlasae, packed, --no-context**": {"packed": True, "context": False},
    "**atlasae, three floats**": {},
}
BLOBS = "atlasae, packed, one blob an event"
EVENTS = 500  # that are coded each by itself


def measure(path: Path, precision: str, folder: Path) -> list[dict[str, Any]]:
    """Bytes per jet by method; one row a collection of pt, eta, phi and m."""
    bound, rows = float(precision), dict[str, dict[str, Any]]()
    with open_input(path, None, ()) as original:
        for layout, options in LAYOUTS.items():
            for entry, size in compressed(path, original, precision, options, folder):
                row = rows.setdefault(entry.collection.name, {"jets": entry.jets, "bytes_per_jet": {}})
                row["bytes_per_jet"][layout] = size
                row["sample"] = read_sample(original, entry.collection).with_coordinates()
    for row in rows.values():
        sample = row.pop("sample")
        row["bytes_per_jet"] |= {BLOBS: blob_bytes(sample, bound)} | peers(sample, bound, folder)
    shared = {"input": path.name, "precision": precision}
    return [shared | {"collection": name} | row for name, row in rows.items()]


def compressed(
    path: Path, original: Opened, precision: str, layout: dict[str, Any], folder: Path
) -> Iterator[tuple[CompressedCollection, float]]:
    """Every collection of pt, eta, phi and m, and its bytes per jet; raises ValueError where a jet breaks its bound."""
    small, restored = folder / "compressed.root", folder / "restored.root"
    options = Options(Precision.parse(precision), drop_unwritable=True, only_jets=True, force=True)
    report = compress_file(path, small, replace(options, **layout))
    decompress_file(small, restored, force=True)
    sizes = {entry["name"]: entry["bytes_per_jet"] for entry in report["collections"]}
    with open_source(small) as source, open_input(restored, report["tree"], ()) as back:
        for entry in read_contents(source).runs[0].collections:
            if entry.jets and entry.collection.variables == VARIABLES:
                found = compare(entry, original, back) | {"bytes_per_jet": sizes[entry.collection.name]}
                yield entry, within(found, float(precision))


def blob_bytes(sample: Sample, bound: float) -> float:
    """Bytes per jet of packed words, each of the first events by itself."""
    storage = storage_of(sample.collection)
    bounds = Precision.parse(str(bound)).of(storage.layout)
    step = steps(bounds, storage.layout, storage.rounding, steps_apart(storage))
    codec = PackedCodec(default_priors(), Lattice((step[0], step[1], step[2], step[3])))
    counts = sample.counts[sample.counts > 0][:EVENTS]
    cells, _ = codec.lattice.cells(sample.jets[: counts.sum()])
    ends = counts.cumsum()
    events = zip(ends - counts, ends, strict=True)
    words = [codec.encode(cells[:, first:end], np.array([end - first])) for first, end in events]
    return 4 * sum(map(len, words)) / int(ends[-1])


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Bytes per jet as a Markdown table, a column for every input and precision."""
    yield "| bytes per jet | " + " | ".join(f"{row['input']}, {row['precision']}" for row in rows) + " |"
    yield "|---|" + "---|" * len(rows)
    for name in dict.fromkeys(name for row in rows for name in row["bytes_per_jet"]):
        sizes = (row["bytes_per_jet"].get(name) for row in rows)
        yield f"| {name} | " + " | ".join("" if size is None else f"{size:.3f}" for size in sizes) + " |"


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", type=Path, nargs="*", default=[SAMPLE], metavar="IN")
    parser.add_argument("--precision", nargs="+", default=["1e-2", "1e-3", "1e-4"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for path in args.inputs for text in args.precision for row in measure(path, text, Path(folder))]
    print(json.dumps(rows) if args.json else "\n".join(table(rows)))


if __name__ == "__main__":
    main()
