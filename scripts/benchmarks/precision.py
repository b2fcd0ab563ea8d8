#!/usr/bin/env python
"""Bytes per jet and errors of decompressed jets, at every precision and in both layouts.

Every FILE is compressed and decompressed. The errors are those of the decompressed file, computed here and not by
atlasae; counts, order and all other branches must be those of the input. Errors of pt, m and E are relative, that of m
to max(|m|, 100 MeV). With E, m is computed from E and the momentum, so that its largest error includes the effect of
the input's own rounding. Jets without coordinates (NaN, pt <= 0) have no errors. Floats are those of --model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import LAYOUTS, Given, Row, Tables, main

from atlasae.codecs.model import VARIABLES
from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.format import CompressedCollection, read_contents
from atlasae.compression.results import CompressionReport
from atlasae.compression.verify import verify_file
from atlasae.files.checksums import checksum
from atlasae.files.trees import open_source
from atlasae.jets.coordinates import Floats
from atlasae.jets.inputs import Opened, open_input
from atlasae.jets.residuals import half_width, residuals
from atlasae.jets.variables import JET
from atlasae.reports.peers import Sample, largest, read_sample

FULL = "full"  # for the floats layout only: packed words have no fixed number of bits to fill


@dataclass(frozen=True)
class Compared:
    """The jets of one collection before and after, and their bytes."""

    entry: CompressedCollection
    before: Sample
    after: Sample
    bytes_per_jet: float

    @property
    def errors(self) -> dict[str, Floats]:
        """Signed errors of the jets that have coordinates, by variable."""
        kept = JET.usable(self.before.jets)
        found = residuals(self.before.jets[kept], self.after.jets[kept])
        chosen = {variable: found[variable] for variable in VARIABLES}
        if "E" in self.before.collection.variables:
            old, new = (sample.columns[3][kept].astype(np.float64) for sample in (self.before, self.after))
            chosen["E"] = new / old - 1
        return chosen


def compared(path: Path, folder: Path, **options: Any) -> Iterator[Compared]:
    """The collections of a file, compressed and decompressed; raises ValueError if other branches changed."""
    small, restored = folder / "compressed.root", folder / "restored.root"
    report = compress_file(path, small, drop_unwritable=True, force=True, **options)
    decompress_file(small, restored, force=True)
    sizes = {found["name"]: found["bytes_per_jet"] for found in report["collections"]}
    with open_source(small) as source:
        entries = [entry for entry in read_contents(source).runs[0].collections if entry.jets]
    with open_input(path, None, ()) as original, open_input(restored, report["tree"], ()) as back:
        check_carried(original, back, report["carried"])
        for entry in entries:
            before, after = (read_sample(opened, entry.collection) for opened in (original, back))
            if not np.array_equal(before.counts, after.counts):
                raise ValueError(f"jets per event of '{entry.collection.name}' in '{path}' did not come back")
            yield Compared(entry, before, after, sizes[entry.collection.name])


def check_carried(original: Opened, restored: Opened, names: list[str]) -> None:
    """Compare all branches but those of jets bit for bit; raises ValueError if they differ."""
    for name in names:
        one, other = (opened.events.read([name], 0, opened.events.entries)[name] for opened in (original, restored))
        if checksum(one) != checksum(other):
            raise ValueError(f"branch '{name}' of '{original.path}' did not come back")


def verified(path: Path, out: Path, **options: Any) -> CompressionReport:
    """The report of a compression whose output is verified; raises ValueError if a jet exceeds its bounds."""
    report = compress_file(path, out, force=True, **options)
    if problems := verify_file(path, out)["differences"]:
        raise ValueError(problems[0])
    return report


def figures(found: Compared) -> Row:
    """The figures of a collection: bytes per jet, exact jets, and errors."""
    row = {"jets": found.entry.jets, "bytes per jet": found.bytes_per_jet}
    row["exact, %"] = 100 * found.entry.exact_jets / found.entry.jets
    for variable, errors in found.errors.items():
        row[f"{variable}: half-width of the central 68 %"] = half_width(errors)
        row[f"{variable}: largest"] = largest(errors)
    return row


def measure(given: Given) -> Tables:
    """The table with a row for every file, layout and precision."""
    rows = {}
    ways = [(layout, p) for layout in LAYOUTS for p in given.precision if layout == "floats" or p != FULL]
    for path in given.files:
        for layout, precision in ways:
            model = {"model": given.model} if layout == "floats" else {}
            collections = list(compared(path, given.folder, layout=layout, precision=precision, **model))
            for found in collections:
                name = f"{path.name}, {found.entry.collection.name}" if len(collections) > 1 else path.name
                rows[f"{name}, {layout}, {precision}"] = figures(found)
    return {"errors": rows}


if __name__ == "__main__":
    main(__doc__, measure, precision=["1e-2", "1e-3", "1e-4", FULL], model="default")
