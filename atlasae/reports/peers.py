"""Peers: the same jets, in the same events, stored by other methods at the same bound."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.codecs.grid import MANTISSA_BITS, Grid, jet_words, pack, radices
from atlasae.codecs.model import VARIABLES
from atlasae.compression.floats import exact_branches
from atlasae.files.events import Array, counts_of, unflatten_all
from atlasae.files.trees import open_source
from atlasae.files.writing import create, parse_compression
from atlasae.jets.collections import Collection
from atlasae.jets.columns import StoredJets, to_columns
from atlasae.jets.coordinates import MASS_FLOOR, Floats
from atlasae.jets.inputs import Opened
from atlasae.jets.residuals import residuals
from atlasae.jets.stored import storage_of
from atlasae.jets.units import settle
from atlasae.jets.variables import JET

_Cells = npt.NDArray[np.int64]

ZSTD, LZMA = "zstd:5", "lzma:9"
_KEPT = "nexact"  # the counter of exact jets


@dataclass(frozen=True)
class Sample(StoredJets):
    """The jets of one collection, all at once."""

    def with_coordinates(self) -> "Sample":
        """The jets that have coordinates."""
        kept = JET.usable(self.jets)
        return Sample(self.collection, [column[kept] for column in self.columns], counts_of(kept, self.counts))

    def settled(self, units: str | None) -> "Sample":
        """The sample in units that are given or found from the jets."""
        return replace(self, collection=settle([self.collection], units, [self.columns])[0])

    def as_jets(self) -> "Sample":
        """The jets as pt, eta, phi and m in MeV and float32, if they are stored as other variables."""
        if self.collection.variables == VARIABLES:
            return self
        branches, dtypes = {v: v for v in VARIABLES}, dict.fromkeys(VARIABLES, "<f4")
        collection = replace(self.collection, branches=branches, dtypes=dtypes, units="MeV")
        return Sample(collection, [column.astype(np.float32) for column in self.jets.T], self.counts)


def read_sample(opened: Opened, collection: Collection, entries: int | None = None) -> Sample:
    """The jets of a collection in the first entries, or in all."""
    stop = opened.events.entries if entries is None else min(entries, opened.events.entries)
    events = opened.events.read(list(collection.branches.values()), 0, stop)
    return Sample(collection, *to_columns(collection, events))


def peers(sample: Sample, bound: float, folder: Path) -> dict[str, float]:
    """Bytes per jet of every peer at a bound; raises ValueError where one violates it.

    Every peer stores pt, eta, phi and m; only `as it is` keeps the stored variables. All jets need coordinates. Peers
    of three floats have the branches of exact jets that atlasae would have without a network, empty where it has none.
    """
    plain = dict(zip(sample.collection.variables, sample.columns, strict=True))
    promised = storage_of(sample.collection).usable(sample.jets)
    sample = sample.as_jets()
    jets, rounded = sample.jets, round_mantissas(sample, bound)
    cells = grid_cells(jets, bound)
    over = cells | {"m": cells["m"] - cells["pt"]}
    small, ratio = ({v: narrow(q) for v, q in grid.items()} for grid in (cells, over))
    path = folder / "peer.root"
    trees: dict[str, tuple[Mapping[str, Array], str]] = {
        "as it is, ZSTD(5)": (plain, ZSTD),
        "as it is, LZMA(9)": (plain, LZMA),
        "mantissas rounded, ZSTD(5)": (rounded, ZSTD),
        "mantissas rounded, LZMA(9)": (rounded, LZMA),
        "grid in integers, ZSTD(5)": (ratio, ZSTD),
        "grid in integers, LZMA(9)": (ratio, LZMA),
    }
    found = {name: tree_bytes(sample, *tree, False, path) for name, tree in trees.items()}
    if words := grid_words(over):
        kept = exact_branches(sample.collection, sample.columns, sample.counts, ~promised)
        for name, ours in (("LZMA(9)", False), ("our LZMA", True)):
            found[f"grid in three floats, {name}"] = tree_bytes(sample, words, LZMA, ours, path, kept)
    found |= {"grid, pcodec, no events": pcodec_bytes(small, ratio), "SZ3, no events": sz3_bytes(jets, bound)}
    return {name: size / len(jets) for name, size in found.items() if size}


def largest(errors: Floats) -> float:
    """The largest absolute error."""
    return float(np.abs(errors).max(initial=0))


def round_mantissas(sample: Sample, bound: float) -> dict[str, Array]:
    """Every variable with the fewest mantissa bits (of a float32) that hold the bound."""
    rounded: dict[str, Array] = {}
    for column, variable in enumerate(VARIABLES):
        for bits in range(1, 24):
            columns = list(sample.columns)
            columns[column] = round_mantissa(columns[column].astype(np.float32), bits)
            if (
                largest(residuals(sample.jets, Sample(sample.collection, columns, sample.counts).jets)[variable])
                <= bound
            ):
                break
        rounded[variable] = columns[column]
    return rounded


def round_mantissa(values: Array, bits: int) -> Array:
    """Float32 with the last 23 - bits of the mantissa zero, rounded to even."""
    raw, drop = values.view(np.uint32).astype(np.int64), 23 - bits
    if drop:
        raw = (raw + (1 << (drop - 1)) - 1 + ((raw >> drop) & 1)) >> drop << drop
    return np.asarray(raw.astype(np.uint32).view(np.float32))


def grid_cells(jets: Floats, bound: float) -> dict[str, _Cells]:
    """Cells of a uniform grid in log pt, eta, phi and mu; raises ValueError where an error exceeds the bound."""
    step = 2 * np.array([np.log1p(bound), bound, bound, np.log1p(bound)])
    cells = np.rint(JET.to_coordinates(jets) / step)
    back = JET.from_coordinates(cells * step)
    floor = np.maximum(np.abs(jets[:, 3]), MASS_FLOOR)
    off = [back[:, 0] / jets[:, 0] - 1, *(back - jets)[:, 1:3].T, (back[:, 3] - jets[:, 3]) / floor]
    if max(largest(error) for error in off) > bound * (1 + 1e-9):
        raise ValueError(f"the grid does not hold {bound:g}")
    return dict(zip(VARIABLES, cells.astype(np.int64).T, strict=True))


def narrow(cells: _Cells) -> Array:
    """Cells from zero, in the smallest unsigned integers."""
    return np.asarray(cells - cells.min(), dtype=np.min_scalar_type(int(np.ptp(cells))))


def grid_words(cells: Mapping[str, _Cells]) -> dict[str, Array] | None:
    """The cells as three floats, packed as the autoencoder packs its own; None where they take more bits."""
    shifted = {variable: q - q.min() for variable, q in cells.items()}
    levels = [int(q.max()) + 1 for q in shifted.values()]
    grid = Grid(0.0, (1.0,) * 4, (0,) * 4, tuple(levels), jet_words(levels, radices(levels)))
    if grid.word_bits > MANTISSA_BITS:
        return None
    latents = pack([shifted[v] for v in VARIABLES], grid)
    return {f"z{j}": latents[:, j].copy() for j in range(3)}


def tree_bytes(
    sample: Sample,
    columns: Mapping[str, Array],
    compression: str,
    words: bool,
    path: Path,
    kept: Mapping[str, ak.Array] | None = None,
) -> int:
    """Compressed bytes, in baskets, of columns in the events of the sample, and of branches of exact jets."""
    jagged, kept = sample.collection.jagged, kept or {}
    events = unflatten_all(columns, sample.counts, jagged) | dict(kept)
    counters = dict.fromkeys(columns, "njets") | dict.fromkeys(kept, _KEPT)
    counted = [*events, *([_KEPT] if kept else [])]
    with create(path) as target:
        chosen = parse_compression(compression)
        target.make_tree("t", events, "", counters, chosen, counted if words else ()).extend(events)
    with open_source(path) as source:
        return source.trees["t"].compressed_bytes(counted)


def pcodec_bytes(*candidates: Mapping[str, Array]) -> int:
    """Bytes of the smallest candidate compressed by pcodec; 0 without pcodec."""
    try:
        from pcodec import ChunkConfig, standalone
    except ImportError:
        return 0
    config = ChunkConfig(compression_level=12)
    wide = [[q.astype(np.uint32 if q.itemsize == 4 else np.uint16) for q in grid.values()] for grid in candidates]
    return min(sum(len(standalone.simple_compress(q, config)) for q in grid) for grid in wide)


def sz3_bytes(jets: Floats, bound: float) -> int:
    """Bytes of the coordinates compressed by SZ3, with its best algorithm for each; 0 without pysz."""
    try:
        from pysz import sz, szAlgorithm, szConfig, szErrorBoundMode
    except ImportError:
        return 0
    total, logarithm = 0, float(np.log1p(bound))  # bound of log pt and log m
    for values, limit in zip(
        JET.to_coordinates(jets).T.astype(np.float32), (logarithm, bound, bound, logarithm), strict=True
    ):
        sizes = []
        for algorithm in (szAlgorithm.NOPRED, szAlgorithm.LORENZO_REG, szAlgorithm.INTERP_LORENZO):
            config = szConfig(values.shape)
            config.errorBoundMode, config.absErrorBound, config.cmprAlgo = szErrorBoundMode.ABS, limit, algorithm
            sizes.append(len(sz.compress(np.ascontiguousarray(values), config)[0]))
        total += min(sizes)
    return total
