"""The grid and the exponent that take the fewest bytes, measured on a sample."""

import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter

import numpy as np
import torch

from atlasae.codecs.bottleneck import BottleneckAutoencoder
from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.codec import Encoded, encode_within, restore
from atlasae.codecs.floats import AnyCodec, BottleneckCodec, FloatsCodec
from atlasae.codecs.grid import (
    MANTISSA_BITS,
    Grid,
    balanced_radices,
    jet_words,
    likely_words,
    list_words,
    pack,
    radices,
    unpack,
)
from atlasae.errors import UserError
from atlasae.files.xz import compress_words, estimate_words
from atlasae.jets.coordinates import Floats
from atlasae.jets.padding import Stored
from atlasae.jets.precision import FULL_BOUND, Precision
from atlasae.jets.stored import LARGEST_WHOLE, Storage, blocks
from atlasae.jets.variables import JET

SAMPLE = 12_000  # jets on which candidates are measured
TEMPERS = (0.0, 0.2)  # exponents tried for a guaranteed bound
FULL_TEMPERS = (0.2, 1 / 3, 0.5, 2 / 3)  # and for `full`; 1/3 is the best for the r.m.s. (Panter and Dite 1951)
FULL_WEIGHTS = {"pt": 1.0, "eta": 2.0, "phi": 2.0, "m": 1.0}  # with `full`: 2e-5 in an angle is as good as 1e-5 in pt
TAILS = (0.0, 1e-4, 3e-4, 1e-3)  # jets left to the exact branches on purpose, where that makes the grid smaller
NEAR = 1.003  # times the smallest size: such grids have their cells arranged in words before one is taken
LIKELY = 4  # arrangements of the cells in words that are measured
MARGIN = 0.02  # of the range seen in the sample: other jets go a little further
FEW = 2_000  # jets that do not show how far others may go

Size = Callable[[Encoded, Storage], float]


def encoded_bytes(encoded: Encoded, storage: Storage) -> int:
    """The bytes that encoded rows take in a file, the exact ones included."""
    words = (np.ascontiguousarray(word.astype(">f4")).tobytes() for word in encoded.latents.T)
    bytes_per_exact = 4 + sum(dtype.itemsize for dtype in storage.dtypes)
    return sum(_word_bytes(word) for word in words) + bytes_per_exact * int(encoded.exact.sum())


@lru_cache(maxsize=64)  # candidates differ in some of their words only
def _word_bytes(words: bytes) -> int:
    return len(compress_words(words))


def choose_codec(
    autoencoder: InvertibleAutoencoder | BottleneckAutoencoder,
    storage: Storage,
    precision: Precision,
    columns: Stored,
    size: Size = encoded_bytes,
) -> AnyCodec:
    """Choose the grid by the bytes it takes on these rows, those stored exactly included.

    `size` tells the bytes of an encoded sample. With `full` every bit is spent whatever the grid, so there the
    candidate with the smallest sum of squared errors is taken. A network with a bottleneck leaves nothing to choose,
    and a list of variables gets equal steps.
    """
    if isinstance(autoencoder, BottleneckAutoencoder):
        return BottleneckCodec(autoencoder)
    variables, rows, bounds = storage.variables, storage.usable_rows(columns), precision.of(storage.layout)
    if variables != JET:
        grid = _equal_steps(autoencoder, storage, storage.steps(bounds, columns), rows)
        return FloatsCodec(autoencoder, grid, storage.padding(columns), variables)
    if precision.unbounded:
        raise UserError("--precision none is for a network that promises nothing (mlp): give a bound, or `full`")
    padding = storage.padding(columns)
    coordinates = torch.from_numpy(JET.to_coordinates(rows if len(rows) else np.array([JET.example])))
    sample = [column[:: max(1, len(column) // SAMPLE)] for column in columns]
    tried: list[tuple[float, FloatsCodec, Encoded]] = []
    for grid in _candidates(autoencoder, coordinates, precision, bounds, storage.steps(bounds, columns)):
        codec = FloatsCodec(autoencoder, grid, padding)
        encoded = encode_within(codec, storage, bounds, sample)
        cost = _squared_error(codec, storage, sample, encoded) if precision.full else float(size(encoded, storage))
        tried.append((cost, codec, encoded))
    tried.sort(key=itemgetter(0))
    if precision.full:
        return tried[0][1]
    near = [(codec, encoded) for cost, codec, encoded in tried if cost <= NEAR * tried[0][0]]
    return min((_arranged(codec, encoded, storage, size) for codec, encoded in near), key=itemgetter(0))[1]


@torch.no_grad()
def _equal_steps(autoencoder: InvertibleAutoencoder, storage: Storage, steps: Sequence[float], rows: Floats) -> Grid:
    """The grid of these steps over the range of rows, in as few words as it takes; raises UserError for too many."""
    variables = storage.variables
    spans = [float(density.edges[-1] - density.edges[0]) for density in autoencoder.densities]
    cells = [span / step for span, step in zip(spans, steps, strict=True)]
    for variable, n in zip(variables.variables, cells, strict=True):
        if not n < LARGEST_WHOLE:
            what = f"'{variable.branch}' takes {n:.1g} steps at precision {variable.precision:g}"
            raise UserError(f"{what}, {LARGEST_WHOLE:.1g} at most: give a larger precision")
    u = autoencoder.cumulative(torch.from_numpy(variables.to_coordinates(rows)), 0.0).numpy()
    first, levels = _window(cells, u.min(axis=0).tolist(), u.max(axis=0).tolist())
    return Grid(0.0, tuple(cells), first, levels, list_words(levels))


def _arranged(codec: FloatsCodec, encoded: Encoded, storage: Storage, size: Size) -> tuple[float, FloatsCodec]:
    """Bytes, and the codec with its cells in the words that take the fewest: up to 6 % less than those of `radices`."""
    grid = codec.grid
    latents, codes = codec.padding.unmark(encoded.latents)
    cells = unpack(torch.from_numpy(latents), grid)
    candidates = [
        grid,
        *(replace(grid, words=words) for words in likely_words(cells, grid.levels, estimate_words)[:LIKELY]),
    ]
    packed = (codec.padding.mark(pack(cells, other).numpy(), codes) for other in candidates)
    sizes = [size(replace(encoded, latents=latents), storage) for latents in packed]
    smallest = min(range(len(sizes)), key=sizes.__getitem__)
    return sizes[smallest], replace(codec, grid=candidates[smallest])


def _candidates(
    autoencoder: InvertibleAutoencoder,
    coordinates: torch.Tensor,
    precision: Precision,
    bounds: Container[str],
    wanted: Sequence[float],
) -> Iterator[Grid]:
    if precision.full:
        wanted = [step * weight for step, weight in zip(wanted, FULL_WEIGHTS.values(), strict=True)]
    # Where m is given up, E alone says how well it must be known: usually much less.
    loosened = (1, 4, 16, 64) if "m" not in bounds else (1,)
    for exponent in FULL_TEMPERS if precision.full else TEMPERS:
        width, u = _spread(autoencoder, coordinates, exponent)
        for tail in TAILS[:1] if precision.full else TAILS:
            for factor in loosened:
                step = [*wanted[:3], wanted[3] * factor]
                yield fit_grid(width, u, exponent, step, tail, fill=precision.full)


@torch.no_grad()
def _spread(autoencoder: InvertibleAutoencoder, coordinates: torch.Tensor, exponent: float) -> tuple[Floats, Floats]:
    """Inverse density and cumulative value u (both n x 4) of the jets, or of a sample where the network is asked."""
    sample = coordinates[:: max(1, len(coordinates) // SAMPLE)]
    width = (-autoencoder.log_densities(sample, exponent)).exp()
    asked = sample if exponent else coordinates
    u = [autoencoder.cumulative(asked[block], exponent).numpy() for block in blocks(len(asked))]
    return width.numpy(), np.concatenate(u)


def fit_grid(width: Floats, u: Floats, exponent: float, step: Sequence[float], tail: float, fill: bool) -> Grid:
    """The grid of at most 69 bits whose cells are as wide as `step` at most, over the range of `u`.

    `tail` of the jets may lie beyond m's range, or in wider cells. With `fill` all 69 bits are used, and `step` only
    says how the variables' errors compare.
    """
    typical = np.exp(np.log(width).mean(axis=0)) if fill else np.quantile(width, 1 - tail, axis=0)
    cells = [float(w) / s for w, s in zip(typical, step, strict=True)]
    if len(u) < FEW:
        wide = (exponent, cells, [0.0] * 4, [1.0] * 4)
        if fill or _grid(*wide).word_bits <= MANTISSA_BITS:
            return _scaled(*wide) if fill else _grid(*wide)
    lower, upper = u.min(axis=0).tolist(), u.max(axis=0).tolist()
    if tail:  # only m has outliers worth the bytes: massless jets, far below the others of their pt
        lower[3], upper[3] = np.quantile(u[:, 3], [tail, 1 - tail / 10]).tolist()
    grid = _grid(exponent, cells, lower, upper)
    return _scaled(exponent, cells, lower, upper) if fill or grid.word_bits > MANTISSA_BITS else grid


def _grid(
    exponent: float,
    cells: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    digits: Callable[[Sequence[int]], tuple[int, int, int]] = radices,
) -> Grid:
    first, levels = _window(cells, lower, upper)
    return Grid(exponent, tuple(cells), first, levels, jet_words(levels, digits(levels)))


def _window(
    cells: Sequence[float], lower: Sequence[float], upper: Sequence[float]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First cell and number of cells of each variable, for a range of u and a little more."""
    first, levels = [], []
    for n, low, high in zip(cells, lower, upper, strict=True):
        margin = max(MARGIN * (high - low) * n, 2)
        begin = max(0, math.floor(low * n - margin))
        first.append(begin)
        levels.append(max(1, min(math.ceil(n), math.ceil(high * n + margin)) - begin))
    return tuple(first), tuple(levels)


def _scaled(exponent: float, cells: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> Grid:
    """The finest of the grids with these cells times any factor that fits three words."""
    small, large = -40.0, 40.0  # powers of two
    for _ in range(50):
        middle = (small + large) / 2
        grid = _grid(exponent, [n * 2**middle for n in cells], lower, upper, balanced_radices)
        small, large = (middle, large) if grid.word_bits <= MANTISSA_BITS else (small, middle)
    return _grid(exponent, [n * 2**small for n in cells], lower, upper, balanced_radices)


def _squared_error(codec: FloatsCodec, storage: Storage, columns: Stored, encoded: Encoded) -> float:
    decoded = storage.to_values(restore(codec, storage, encoded.latents))
    found = storage.errors(storage.to_values(columns), decoded)
    within = ~encoded.exact
    weighted = [error[within] / FULL_WEIGHTS.get(variable, 1.0) for variable, error in found.items()]
    # An exact jet costs as much as many bits: weigh it as an error of the bound.
    return float(sum(error @ error for error in weighted)) + FULL_BOUND**2 * float(encoded.exact.sum())
