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

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from codec import packed_codec
from harness import Row, Tables, main, transposed
from precision import LAYOUTS, Compared, compared

from atlasae.codecs.model import VARIABLES
from atlasae.compression.compress import compress_file
from atlasae.compression.plan import Options
from atlasae.reports.peers import Sample, largest, peers

OURS: dict[str, dict[str, Any]] = {
    "atlasae, packed": {"packed": True},
    "atlasae, packed, --no-context": {"packed": True, "context": False},
    "atlasae, floats": {},
}
BLOBS = "atlasae, packed, one blob an event"
EVENTS = 500  # events that are coded independently


def jet_sizes(path: Path, precision: str, folder: Path) -> Row:
    """Bytes per jet of the first collection of pt, eta, phi and m, by method; empty without one."""
    row, sample = Row(), None
    for layout, options in OURS.items():
        for found in compared(path, folder, precision=precision, only_jets=True, **options):
            if found.entry.collection.variables == VARIABLES:
                row[layout], sample = within(found, float(precision)), found.before.with_coordinates()
                break
    if sample is None:
        return row
    return row | {BLOBS: blob_bytes(sample, float(precision))} | peers(sample, float(precision), folder)


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
    ends = counts.cumsum()
    events = zip(ends - counts, ends, strict=True)
    words = [codec.encode(cells[:, first:end], np.array([end - first])) for first, end in events]
    return 4 * sum(map(len, words)) / int(ends[-1])


def whole_file(path: Path, folder: Path) -> Row:
    """The bytes of a file before and after, in both layouts, and the number of branches and objects not written."""
    before, row = path.stat().st_size, Row()
    for layout, options in LAYOUTS.items():
        target = folder / "whole.root"
        report = compress_file(path, target, Options(drop_unwritable=True, force=True, **options))
        after = target.stat().st_size
        row |= {f"{layout}, kB": after / 1e3, f"{layout}, % of before": 100 * after / before}
    left_out = len(report["dropped"]) + len(report["left_out"])
    return {"jets": report["jets"], "before, kB": before / 1e3} | row | {"left out": left_out}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Bytes per jet, with a column for every file and precision, and kB of whole files."""
    asked = [(path, precision) for path in given.files for precision in given.precision]
    sizes = {f"{path.name}, {precision}": jet_sizes(path, precision, folder) for path, precision in asked}
    whole = {path.name: whole_file(path, folder) for path in (*given.files, *map(Path, given.whole))}
    return {"bytes per jet": transposed(sizes), "whole files": whole}


if __name__ == "__main__":
    main(__doc__, measure, precision=["1e-2", "1e-3", "1e-4"], whole=[])
