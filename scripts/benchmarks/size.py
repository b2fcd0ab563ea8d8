#!/usr/bin/env python
"""Bytes of jets in every layout, beside what people use today at the same guaranteed bound; and of whole files.

Every FILE is compressed in each layout and decompressed, and no jet may be off by more than the bound. Bytes per jet
are those of everything in the ROOT file that stands for the jets, exact jets included, but not the counter that the
input has; the models are the packaged ones, which are not in the file. The peers (extra `benchmark`) get the same jets
in the same events, in a TTree by the same writer, and hold the same bound for every jet; pcodec and SZ3 know no ROOT
and no events, and their bytes are those of four bare arrays. Collections with E or px, py, pz have no peers here, and
jets without coordinates are left out of the peers' samples. `one blob an event` is the packed layout with every event
by itself: words of the first events, each coded from the packaged tables; ROOT would take more.

Whole files are those of FILE and --whole, compressed at 1e-3 with everything else that is in them, but for the branches
and objects that can't be written, which are counted.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from harness import Row, Table, Tables, main
from precision import LAYOUTS, Compared, compared

from atlasae.codecs.lattice import Lattice
from atlasae.codecs.packed import PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.compression.compress import compress_file
from atlasae.compression.packed import steps_apart
from atlasae.compression.plan import Options
from atlasae.jets.precision import Precision, steps
from atlasae.jets.stored import storage_of
from atlasae.reports.peers import VARIABLES, Sample, largest, peers

OURS: dict[str, dict[str, Any]] = {
    "atlasae, packed": {"packed": True},
    "atlasae, packed, --no-context": {"packed": True, "context": False},
    "atlasae, floats": {},
}
BLOBS = "atlasae, packed, one blob an event"
EVENTS = 500  # that are coded each by itself


def jet_sizes(path: Path, precision: str, folder: Path) -> Row:
    """Bytes per jet of the first collection of pt, eta, phi and m, by method; empty where there is none."""
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
    """The bytes per jet of a collection; raises ValueError where a jet is beyond the bound."""
    errors = {variable: largest(error) for variable, error in found.errors.items()}
    if not max(errors.values()) <= bound:
        raise ValueError(f"'{found.entry.collection.name}' is beyond {bound:g}: {errors}")
    return found.bytes_per_jet


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


def whole_file(path: Path, folder: Path) -> Row:
    """The bytes of a file before and after, in both layouts, and how many branches and objects could not be written."""
    before, row = path.stat().st_size, Row()
    for layout, options in LAYOUTS.items():
        target = folder / "whole.root"
        report = compress_file(path, target, Options(drop_unwritable=True, force=True, **options))
        after = target.stat().st_size
        row |= {f"{layout}, kB": after / 1e3, f"{layout}, % of before": 100 * after / before}
    left_out = len(report["dropped"]) + len(report["left_out"])
    return {"jets": report["jets"], "before, kB": before / 1e3} | row | {"left out": left_out}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Bytes per jet, a column for every file and precision, and kB of whole files."""
    sizes = Table()
    for path in given.files:
        for precision in given.precision:
            for method, size in jet_sizes(path, precision, folder).items():
                sizes.setdefault(method, {})[f"{path.name}, {precision}"] = size
    whole = {path.name: whole_file(path, folder) for path in (*given.files, *map(Path, given.whole))}
    return {"bytes per jet": sizes, "whole files": whole}


if __name__ == "__main__":
    main(__doc__, measure, precision=["1e-2", "1e-3", "1e-4"], whole=[])
