#!/usr/bin/env python
"""Bytes per jet of whole jets: packed by atlasae, beside the branches as they are and pcodec of the same numbers.

Of each FILE, the numbers of its main collection are compressed with `--whole-jets --layout packed`: the four-momenta at
1e-3, all others as `--others` says. pcodec compresses column by column the very integers that atlasae codes (cells of
the grid, steps of the kinds), and has no settings; atlasae's are what the file tells of the columns. `second half` has
the jets of later events, coded with what was found in those before.
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import awkward as ak
import numpy as np
from harness import Given, Row, Table, Tables, main, transposed
from precision import verified

from atlasae.codecs.columns import CodedColumn, ColumnsCodec, fit_columns
from atlasae.compression.chunks import Chunks
from atlasae.compression.format import read_contents
from atlasae.compression.packed import ColumnsLayout
from atlasae.files.events import Array, flatten
from atlasae.files.trees import open_source
from atlasae.jets.collections import main_collection
from atlasae.reports.peers import narrow, pcodec_bytes


def pcodec(columns: Sequence[Array]) -> int:
    """Bytes of integers, column by column, each in the type in which it takes the fewest."""
    small = [narrow(column.astype(np.int64) - int(column.min())) for column in columns]
    return sum(pcodec_bytes({"": column}, {"": column.astype(np.uint32)}) for column in small)


def steps(column: CodedColumn, numbers: Array) -> Array:
    """The integers of a column, their tails included."""
    found, tails = column.kind.encode(numbers, column.bound)
    return np.asarray((found.astype(np.int64) << column.kind.tail) | np.where(found >= column.kind.first, tails, 0))


def settings(codec: ColumnsCodec) -> int:
    """Bytes of the settings of the columns, packed as in the file."""
    return len(zlib.compress(json.dumps(codec.config()).encode(), 9))


def sizes(path: Path, precision: str, folder: Path) -> dict[str, Row]:
    """Bytes per jet by method, of all jets and of the second half; raises ValueError if a jet exceeds its bounds."""
    out = folder / "whole.root"
    report = verified(path, out, precision=precision, layout="packed", whole_jets="*")
    with open_source(out) as source:
        chunks = Chunks(source, read_contents(source))
        (run, start, chunk), *_ = chunks
        written = chunks.read(run, start, chunk)
        main = main_collection({c.collection.name: c.jets for c in run.collections if not c.collection.beside})
        layout = next(one for one in written.layouts if one.collection.beside == main)
        assert isinstance(layout, ColumnsLayout)
        counts, restored = layout.counts(run, written.events), written.restored()
        told, codec = layout.jets.told(written.events, counts), layout.codec
    columns = [flatten(restored[name])[0] for name in layout.collection.branches.values()]
    symbols = [steps(column, numbers) for column, numbers in zip(codec.columns, columns, strict=True)]
    names, jets = {main, layout.collection.name}, int(counts.sum())
    both = [collection for collection in report["collections"] if collection["name"] in names]
    cut = int(ak.sum(counts[: len(counts) // 2]))  # the first jet of the second half
    bounds = [column.bound for column in codec.columns]
    order, learned = fit_columns([c[:cut] for c in columns], bounds, [c[:cut] for c in told], whole=False)
    later = learned.encode([columns[place][cut:] for place in order], [c[cut:] for c in told])
    return {
        "all": {
            "branches as they are": sum(collection["bytes_in"] for collection in both) / jets,
            "pcodec, the same numbers": pcodec([*told, *symbols]) / jets,
            "atlasae": sum(collection["bytes_out"] for collection in both) / jets,
            "its settings": settings(codec) / jets,
        },
        "second half, but for the four-momenta": {
            "pcodec, the same numbers": pcodec([column[cut:] for column in symbols]) / (jets - cut),
            "atlasae": len(later) / (jets - cut),
            "its settings": settings(learned) / (jets - cut),
        },
    }


def measure(given: Given) -> Tables:
    """A table of all jets, and one of the second half, with a row for every method and a column for every file."""
    tables: dict[str, Table] = {}
    for path in given.files:
        for others in given.others:
            for table, row in sizes(path, f"1e-3,*={others}", given.folder).items():
                tables.setdefault(f"bytes per jet, {table}", {})[f"{path.name}, others {others}"] = row
    return {table: transposed(found) for table, found in tables.items()}


if __name__ == "__main__":
    main(__doc__, measure, others=["exact", "abs:1e-3"])
