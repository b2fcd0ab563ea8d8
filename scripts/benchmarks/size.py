#!/usr/bin/env python
"""Bytes of jets in every layout, compared with other methods at the same guaranteed bound; and of whole files.

Every FILE is compressed in each layout and decompressed, and every jet must be within the bound. Bytes per jet are of
all stand-ins in the ROOT file, exact jets included, without the counter of the input; the models are the packaged ones,
which are not in the file. The peers (extra `benchmark`) get the same jets in the same events, in a TTree by the same
writer, and keep the same bound for every jet, those of three floats with the exact jets that atlasae has; the bytes of
pcodec and SZ3 are those of four plain arrays, without ROOT and events. Collections with E or px, py, pz have no peers
here, and jets without coordinates are left out of the peers' samples. `one blob an event` is the packed layout with
independent events: words of the first events, each coded from the packaged tables, without ROOT's overhead.

Whole files are those of FILE and --whole, compressed at 1e-3 with all other contents but the branches and objects that
can't be written, which are counted.
"""

from pathlib import Path
from typing import Any

import numpy as np
from codec import packed_codec
from harness import LAYOUTS, Given, Row, Tables, main, megabytes, transposed
from precision import Compared, compared

from atlasae.codecs.model import VARIABLES
from atlasae.compression.compress import compress_file
from atlasae.reports.peers import Sample, largest, peers

OURS: dict[str, dict[str, Any]] = {
    "atlasae, packed": {"layout": "packed"},
    "atlasae, packed, --no-context": {"layout": "packed", "context": False},
    "atlasae, floats": {"layout": "floats"},
}
BLOBS = "atlasae, packed, one blob an event"
EVENTS = 500  # events that are coded independently


def jet_sizes(path: Path, precision: str, folder: Path) -> Row:
    """Bytes per jet of the first collection of pt, eta, phi and m, by method; empty without one."""
    row, sample, bound = Row(), None, float(precision)
    for name, options in OURS.items():
        for found in compared(path, folder, precision=precision, only_jets=True, **options):
            if found.entry.collection.variables == VARIABLES:
                row[name], sample = within(found, bound), found.before.with_coordinates()
                break
    return row | {BLOBS: blob_bytes(sample, bound)} | peers(sample, bound, folder) if sample else row


def within(found: Compared, bound: float) -> float:
    """The bytes per jet of a collection; raises ValueError if a jet exceeds the bound."""
    errors = {variable: largest(error) for variable, error in found.errors.items()}
    if not max(errors.values()) <= bound:
        raise ValueError(f"'{found.entry.collection.name}' is beyond {bound:g}: {errors}")
    return found.bytes_per_jet


def blob_bytes(sample: Sample, bound: float) -> float:
    """Bytes per jet of packed words, with each of the first events coded independently."""
    codec = packed_codec(sample, bound)
    counts = sample.counts[sample.counts > 0][:EVENTS]
    cells, _ = codec.lattice.cells(sample.jets[: counts.sum()])
    events = np.split(cells, counts.cumsum()[:-1], axis=1)
    words = [codec.encode(event, np.array([event.shape[1]])) for event in events]
    return 4 * sum(map(len, words)) / int(counts.sum())


def whole_file(path: Path, folder: Path) -> Row:
    """The bytes of a file before and after, in both layouts, and the number of branches and objects not written."""
    before, sizes = 1e3 * megabytes(path), Row()
    for layout in LAYOUTS:
        report = compress_file(path, folder / "whole.root", layout=layout, drop_unwritable=True, force=True)
        after = 1e3 * megabytes(folder / "whole.root")
        sizes |= {f"{layout}, kB": after, f"{layout}, % of before": 100 * after / before}
    left_out = len(report["dropped"]) + len(report["left_out"])
    return {"jets": report["jets"], "before, kB": before} | sizes | {"left out": left_out}


def measure(given: Given) -> Tables:
    """Bytes per jet, with a column for every file and precision, and kB of whole files."""
    asked = [(path, precision) for path in given.files for precision in given.precision]
    sizes = {f"{path.name}, {precision}": jet_sizes(path, precision, given.folder) for path, precision in asked}
    whole = {path.name: whole_file(path, given.folder) for path in (*given.files, *map(Path, given.whole))}
    return {"bytes per jet": transposed(sizes), "whole files": whole}


if __name__ == "__main__":
    main(__doc__, measure, precision=["1e-2", "1e-3", "1e-4"], whole=[])
