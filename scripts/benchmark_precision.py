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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from atlasae.collection import storage_of
from atlasae.columns import Array, Counts, checksum, counts_of, to_columns, unflatten
from atlasae.container import CompressedCollection, read_contents
from atlasae.coordinates import Floats, from_coordinates, is_physical, to_coordinates, wrap
from atlasae.grid import MANTISSA_BITS, Grid, jet_words, pack, radices
from atlasae.pipeline import compress_file, decompress_file
from atlasae.planning import Opened, Options, open_input
from atlasae.precision import Precision
from atlasae.rootio import create, open_source, parse_compression
from atlasae.schema import Collection

Cells = npt.NDArray[np.int64]

SAMPLE = Path(__file__).parents[1] / "data" / "jets.root"
PRECISIONS = ("1e-2", "1e-3", "1e-4", "full")
VARIABLES = ("pt", "eta", "phi", "m")
MASS_FLOOR = 100  # MeV: the promise on m is relative to max(|m|, MASS_FLOOR)
CENTRAL = (15.865, 84.135)  # percentiles around the central 68 %
ZSTD, LZMA = "zstd:5", "lzma:9"


@dataclass(frozen=True)
class Sample:
    """The jets of one collection: stored columns and jets per event."""

    collection: Collection
    columns: list[Array]
    counts: Counts

    @property
    def jets(self) -> Floats:
        """The jets (n x 4: pt, eta, phi, m in MeV)."""
        storage = storage_of(self.collection)
        return storage.layout.to_jets(storage.to_values(self.columns))

    def with_coordinates(self) -> "Sample":
        """Only the jets that have coordinates."""
        kept = is_physical(self.jets)
        return Sample(self.collection, [column[kept] for column in self.columns], counts_of(kept, self.counts))


def read_sample(opened: Opened, collection: Collection) -> Sample:
    """All jets of a collection."""
    events = opened.events.read(list(collection.branches.values()), 0, opened.events.entries)
    return Sample(collection, *to_columns(collection, events))


def residuals(before: Sample, after: Sample) -> dict[str, Floats]:
    """Signed errors of the jets that have coordinates; relative for pt, m and E."""
    kept = is_physical(before.jets)
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


def largest(residual: Floats) -> float:
    """The largest error of any jet."""
    return float(np.abs(residual).max(initial=0))


def check_carried(original: Opened, restored: Opened, names: Sequence[str]) -> None:
    """Compare all branches that are no jets, bit for bit; raises ValueError."""
    for name in names:
        one, other = (opened.events.read([name], 0, opened.events.entries)[name] for opened in (original, restored))
        if checksum(one) != checksum(other):
            raise ValueError(f"branch '{name}' of '{original.path}' did not come back")


def measure(path: Path, precision: str, folder: Path) -> list[dict[str, Any]]:
    """Compress, decompress and compare; one row a collection with jets."""
    compressed, restored = folder / "compressed.root", folder / "restored.root"
    report = compress_file(path, compressed, Options(Precision.parse(precision), drop_unwritable=True, force=True))
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


# Peers


def peers(sample: Sample, bound: float, folder: Path) -> dict[str, float]:
    """Bytes per jet of every peer at a bound; raises ValueError where one does not hold it."""
    jets = sample.jets
    names = sample.collection.variables
    plain = dict(zip(names, sample.columns, strict=True))
    rounded = round_mantissas(sample, bound)
    cells = grid_cells(jets, bound)
    over = cells | {"m": cells["m"] - cells["pt"]}
    small, ratio = ({v: narrow(q) for v, q in grid.items()} for grid in (cells, over))
    trees: dict[str, tuple[Mapping[str, Array], str, bool]] = {
        "as it is, ZSTD(5)": (plain, ZSTD, False),
        "as it is, LZMA(9)": (plain, LZMA, False),
        "mantissas rounded, ZSTD(5)": (rounded, ZSTD, False),
        "mantissas rounded, LZMA(9)": (rounded, LZMA, False),
        "grid in integers, ZSTD(5)": (ratio, ZSTD, False),
        "grid in integers, LZMA(9)": (ratio, LZMA, False),
    }
    if words := grid_words(over):
        trees["grid in three floats, LZMA(9)"] = (words, LZMA, False)
        trees["grid in three floats, LZMA as atlasae sets it"] = (words, LZMA, True)
    found = {name: tree_bytes(sample, *tree, folder / "peer.root") for name, tree in trees.items()}
    found |= {"grid, pcodec, no events": pcodec_bytes(small, ratio), "SZ3, no events": sz3_bytes(jets, bound)}
    return {name: size / len(jets) for name, size in found.items() if size}


def round_mantissas(sample: Sample, bound: float) -> dict[str, Array]:
    """Every variable with the fewest mantissa bits (of a float32) that hold the bound."""
    rounded: dict[str, Array] = {}
    for column, variable in enumerate(VARIABLES):
        for bits in range(1, 24):
            columns = list(sample.columns)
            columns[column] = round_mantissa(columns[column].astype(np.float32), bits)
            if largest(residuals(sample, Sample(sample.collection, columns, sample.counts))[variable]) <= bound:
                break
        rounded[variable] = columns[column]
    return rounded


def round_mantissa(values: Array, bits: int) -> Array:
    """Float32 with the last 23 - bits of the mantissa zero, rounded to even."""
    raw, drop = values.view(np.uint32).astype(np.int64), 23 - bits
    if drop:
        raw = (raw + (1 << (drop - 1)) - 1 + ((raw >> drop) & 1)) >> drop << drop
    return np.asarray(raw.astype(np.uint32).view(np.float32))


def grid_cells(jets: Floats, bound: float) -> dict[str, Cells]:
    """Cells of a uniform grid in the coordinates (log pt, eta, phi, mu); raises ValueError where the bound breaks."""
    step = 2 * np.array([np.log1p(bound), bound, bound, np.log1p(bound)])
    cells = np.rint(to_coordinates(jets) / step)
    back = from_coordinates(cells * step)
    floor = np.maximum(np.abs(jets[:, 3]), MASS_FLOOR)
    off = [back[:, 0] / jets[:, 0] - 1, *(back - jets)[:, 1:3].T, (back[:, 3] - jets[:, 3]) / floor]
    if max(largest(error) for error in off) > bound * (1 + 1e-9):
        raise ValueError(f"the grid does not hold {bound:g}")
    return dict(zip(VARIABLES, cells.astype(np.int64).T, strict=True))


def narrow(cells: Cells) -> Array:
    """Cells from zero, in the smallest unsigned integers."""
    return np.asarray(cells - cells.min(), dtype=np.min_scalar_type(int(np.ptp(cells))))


def grid_words(cells: Mapping[str, Cells]) -> dict[str, Array] | None:
    """The plain grid in three floats, packed as the autoencoder packs its own; None where it takes more bits."""
    shifted = {variable: q - q.min() for variable, q in cells.items()}
    levels = [int(q.max()) + 1 for q in shifted.values()]
    grid = Grid(0.0, (1.0,) * 4, (0,) * 4, tuple(levels), jet_words(levels, radices(levels)))
    if grid.word_bits > MANTISSA_BITS:
        return None
    latents = pack([torch.from_numpy(shifted[v]) for v in VARIABLES], grid).numpy()
    return {f"z{j}": latents[:, j].copy() for j in range(3)}


def tree_bytes(sample: Sample, columns: Mapping[str, Array], compression: str, words: bool, path: Path) -> int:
    """Compressed basket bytes of columns in the events of the sample."""
    jagged = sample.collection.jagged
    events = {name: unflatten(column, sample.counts, jagged) for name, column in columns.items()}
    counters = dict.fromkeys(columns, "njets")
    with create(path) as target:
        chosen = parse_compression(compression)
        target.make_tree("t", events, "", counters, chosen, list(columns) if words else ()).extend(events)
    with open_source(path) as source:
        return source.trees["t"].compressed_bytes(list(columns))


def pcodec_bytes(*candidates: Mapping[str, Array]) -> int:
    """Bytes of the smaller of several grids with pcodec; 0 without pcodec."""
    try:
        from pcodec import ChunkConfig, standalone
    except ImportError:
        return 0
    config = ChunkConfig(compression_level=12)
    wide = [[q.astype(np.uint32 if q.itemsize == 4 else np.uint16) for q in grid.values()] for grid in candidates]
    return min(sum(len(standalone.simple_compress(q, config)) for q in grid) for grid in wide)


def sz3_bytes(jets: Floats, bound: float) -> int:
    """Bytes of the coordinates with SZ3 and the best of its algorithms for each; 0 without pysz."""
    try:
        from pysz import sz, szAlgorithm, szConfig, szErrorBoundMode
    except ImportError:
        return 0
    total = 0
    for values in to_coordinates(jets).T.astype(np.float32):
        sizes = []
        for algorithm in (szAlgorithm.NOPRED, szAlgorithm.LORENZO_REG, szAlgorithm.INTERP_LORENZO):
            config = szConfig(values.shape)
            config.errorBoundMode, config.absErrorBound, config.cmprAlgo = szErrorBoundMode.ABS, bound, algorithm
            sizes.append(len(sz.compress(np.ascontiguousarray(values), config)[0]))
        total += min(sizes)
    return total


def compare_peers(path: Path, precision: str, rows: list[dict[str, Any]], folder: Path) -> None:
    """Add what the peers take to the rows of an input."""
    with open_source(folder / "compressed.root") as source:
        collections = {e.collection.name: e.collection for e in read_contents(source).runs[0].collections}
    with open_input(path, None, ()) as original:
        for row in rows:
            collection = collections[row["collection"]]
            if collection.variables == VARIABLES:
                row["peers"] = peers(read_sample(original, collection).with_coordinates(), float(precision), folder)


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
