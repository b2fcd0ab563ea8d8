"""Search of the grid and the exponent with the fewest bytes, measured on a sample."""

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from atlasae.codecs.bottleneck import BottleneckAutoencoder
from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.codec import Encoded, encode_within, restore
from atlasae.codecs.dither import BLOCK_STEPS, NO_DITHER, WEIGHT, Dither
from atlasae.codecs.floats import AnyCodec, BottleneckCodec, FloatsCodec, ResolvedFloatsCodec
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
from atlasae.codecs.resolved import PER_ONE, ResolvedSteps
from atlasae.errors import UserError
from atlasae.files.xz import compress_words, estimate_words
from atlasae.jets.coordinates import DRIFT, Floats
from atlasae.jets.padding import Stored
from atlasae.jets.precision import FULL_BOUND, Precision
from atlasae.jets.stored import LARGEST_WHOLE, Storage, blocks
from atlasae.jets.variables import JET

_SAMPLE = 12_000  # jets on which candidates are measured
TEMPER = 0.2  # exponent tried with bounds that equal steps in three words can't keep
FULL_TEMPERS = (0.2, 1 / 3, 0.5, 2 / 3)  # exponents tried with `full`; 1/3 minimises the r.m.s. (Panter and Dite 1951)
FULL_WEIGHTS = {"pt": 1.0, "eta": 2.0, "phi": 2.0, "m": 1.0}  # with `full`, 2e-5 in an angle counts as 1e-5 in pt
TAILS = (0.0, 1e-4, 3e-4, 1e-3)  # shares of jets made exact so that the grid is smaller, as tried
NEAR = 1.006  # arrangements of cells in words are tried for grids of up to this times the smallest size
SPARE = 0.1  # bits that a word has left unless the grid was made coarser to fit
LIKELY = 4  # arrangements of the cells in words that are measured
OFFSET_BYTES = 3  # what an exact jet adds to the entry offsets of its index and of each variable
MARGIN = 0.02  # the grid is wider on each side by this share of the sample's range, for other jets
FEW = 2_000  # with fewer jets, the range of others can't be estimated

Size = Callable[[Encoded, Storage], float]
Gridded = TypeVar("Gridded", FloatsCodec, ResolvedFloatsCodec)
_WIDEST_JETS = np.array(
    [[pt, eta, 3.0, m * pt] for pt in (5e2, 1e5, 1e7) for eta in (-5.0, 5.0) for m in (0.0, 0.3)]
)  # in MeV


def encoded_bytes(encoded: Encoded, storage: Storage) -> int:
    """The bytes of encoded rows in a file, exact rows included."""
    words = (np.ascontiguousarray(word.astype(">f4")).tobytes() for word in encoded.latents.T)
    bytes_per_exact = sum(OFFSET_BYTES + size for size in (4, *(dtype.itemsize for dtype in storage.dtypes)))
    return sum(_word_bytes(word) for word in words) + bytes_per_exact * int(encoded.exact.sum())


@lru_cache(maxsize=64)  # candidates share some of their words
def _word_bytes(words: bytes) -> int:
    return len(compress_words(words))


def choose_codec(
    autoencoder: InvertibleAutoencoder | BottleneckAutoencoder,
    storage: Storage,
    precision: Precision,
    columns: Stored,
    size: Size = encoded_bytes,
    dither: bool = True,
) -> AnyCodec:
    """The codec whose grid takes the fewest bytes on a sample of these columns, exact rows included; raises UserError.

    `size` gives the bytes of an encoded sample. With `full` all grids use all bits, so the one with the smallest sum
    of squared errors is chosen; else steps are equal and, with `dither`, shifted from row to row. A network with a
    bottleneck has no grid.
    """
    if isinstance(autoencoder, BottleneckAutoencoder):
        return BottleneckCodec(autoencoder)
    variables, rows, bounds = storage.variables, storage.usable_rows(columns), precision.of(storage.layout)
    shifts = _dither(autoencoder, storage, bounds, columns) if dither and not precision.full else NO_DITHER
    if variables != JET:
        grid = _equal_steps(autoencoder, storage, storage.steps(bounds, columns), rows, shifts)
        return FloatsCodec(autoencoder, grid, storage.padding(columns), variables)
    if precision.unbounded:
        raise UserError("--precision none is for networks without bounds (mlp): give a bound, or `full`")
    if storage.layout.resolutions:
        return _choose_resolved(autoencoder, storage, bounds, columns, shifts, size)
    padding = storage.padding(columns)
    coordinates = torch.from_numpy(JET.to_coordinates(rows if len(rows) else np.array([JET.example])))
    sample = [column[:: max(1, len(column) // _SAMPLE)] for column in columns]
    tried: list[tuple[float, FloatsCodec, Encoded]] = []
    for grid in _candidates(autoencoder, coordinates, precision, bounds, storage.steps(bounds, columns), shifts):
        codec = FloatsCodec(autoencoder, grid, padding)
        encoded = encode_within(codec, storage, bounds, sample)
        cost = _squared_error(codec, storage, sample, encoded) if precision.full else float(size(encoded, storage))
        tried.append((cost, codec, encoded))
    tried.sort(key=itemgetter(0))
    if precision.full:
        return tried[0][1]
    near = [(codec, encoded) for cost, codec, encoded in tried if cost <= NEAR * tried[0][0]]
    return min((_arranged(codec, encoded, storage, size) for codec, encoded in near), key=itemgetter(0))[1]


def _choose_resolved(
    autoencoder: InvertibleAutoencoder,
    storage: Storage,
    bounds: Mapping[str, float],
    columns: Stored,
    dither: Dither,
    size: Size,
) -> ResolvedFloatsCodec:
    """The codec of bounds by resolution whose tails of m and arrangement of cells take the fewest bytes."""
    drift = DRIFT + JET.roundings * storage.rounding
    steps = ResolvedSteps.within(storage.layout.shared(dict(bounds)), storage.layout.resolutions, drift)
    sample = [column[:: max(1, len(column) // _SAMPLE)] for column in columns]
    rows, padding, found = storage.usable_rows(columns), storage.padding(columns), []
    for tail in TAILS if len(rows) >= FEW else TAILS[:1]:
        codec = _resolved_codec(autoencoder, steps, rows, tail, dither)
        codec = replace(codec, padding=padding)
        encoded = encode_within(codec, storage, bounds, sample)
        found.append(_arranged(codec, encoded, storage, size))
    return min(found, key=itemgetter(0))[1]


def _resolved_codec(
    autoencoder: InvertibleAutoencoder, steps: ResolvedSteps, rows: Floats, tail: float, dither: Dither
) -> ResolvedFloatsCodec:
    """The codec with cells over the range of these jets; raises UserError for more than three floats hold."""
    rows = rows if len(rows) >= FEW else np.concatenate([rows, _WIDEST_JETS])
    coordinates = torch.from_numpy(JET.to_coordinates(rows))
    with torch.no_grad():
        location = np.asarray(autoencoder.origin(3, coordinates.unbind(1)))
    pt = np.clip(np.floor(steps.position(rows[:, 0])), 0, steps.size - 1).astype(np.int64)
    first, size = dither.window(0, *_margins(pt, 0, steps.size - 1))
    smallest = [int(steps.steps(i)[first : first + size].min()) for i in (1, 2)]
    angles = [rows[:, 1] * PER_ONE / smallest[0], np.array([0, 2 * np.pi * PER_ONE / smallest[1]])]
    mass = (coordinates.numpy()[:, 3] - location) * PER_ONE / steps.steps(3).take(pt)
    windows = [(first, size)]
    for i, column in enumerate([*angles, np.quantile(mass, [tail, 1 - tail / 10])], start=1):
        begin, levels = dither.window(i, *_margins(column))
        windows.append((begin // BLOCK_STEPS if i in dither.blocks else begin, levels))
    (pt_0, pt_n), (eta_0, eta_n), (phi_0, phi_n), (m_0, m_n) = windows
    numbers = pt_n, eta_n, phi_n, m_n
    words = jet_words(numbers, radices(numbers))
    if max(math.prod(digit.radix for digit in word) for word in words) > 1 << MANTISSA_BITS:
        raise UserError("three floats hold too few bits for this share of the resolution: give a larger one, or packed")
    return ResolvedFloatsCodec(autoencoder, steps, (pt_0, eta_0, phi_0, m_0), numbers, words, dither)


def _margins(column: npt.NDArray[Any], low: float = -math.inf, high: float = math.inf) -> tuple[int, int]:
    """The first and the last cell of positions, with a margin for other jets."""
    margin = max(MARGIN * float(np.ptp(column)), 2)
    return math.floor(max(low, float(column.min()) - margin)), math.ceil(min(high, float(column.max()) + margin))


def _dither(
    autoencoder: InvertibleAutoencoder, storage: Storage, bounds: Mapping[str, float], columns: Stored
) -> Dither:
    """The dither of a chain: all continuous variables are shifted, but those that move with another one (`anchor`).

    Of jets, eta and phi are cut into blocks: so jets near any pt have some 10,000 different offsets.
    """
    continuous = storage.continuous(bounds, columns)
    shifted = [i for i, link in enumerate(autoencoder.links) if continuous[i] and link.anchor is None]
    first = [i for i in shifted if autoencoder.free[i]]
    return Dither(tuple(shifted), tuple(first[1:3] or first), WEIGHT, rounds=0)


@torch.no_grad()
def _equal_steps(
    autoencoder: InvertibleAutoencoder, storage: Storage, steps: Sequence[float], rows: Floats, dither: Dither
) -> Grid:
    """The grid with these steps over the range of the rows; raises UserError for 2^53 steps or more of a variable."""
    variables = storage.variables
    spans = [float(density.edges[-1] - density.edges[0]) for density in autoencoder.densities]
    cells = [span / step for span, step in zip(spans, steps, strict=True)]
    for variable, n in zip(variables.variables, cells, strict=True):
        if not n < LARGEST_WHOLE:
            what = f"'{variable.branch}' takes {n:.1g} steps at precision {variable.precision:g}"
            raise UserError(f"{what}, {LARGEST_WHOLE:.1g} at most: give a larger precision")
    u = autoencoder.cumulative(torch.from_numpy(variables.to_coordinates(rows)), 0.0).numpy()
    first, levels = _window(cells, u.min(axis=0).tolist(), u.max(axis=0).tolist(), dither)
    return Grid(0.0, tuple(cells), first, levels, list_words(levels), dither)


def _arranged(codec: Gridded, encoded: Encoded, storage: Storage, size: Size) -> tuple[float, Gridded]:
    """The fewest bytes of all arrangements of cells in words, and its codec: up to 6 % less than with `radices`."""
    grid: Grid = codec.grid
    latents, codes = codec.padding.unmark(encoded.latents)
    cells = unpack(torch.from_numpy(latents), grid)
    likely: list[Grid] = [
        replace(grid, words=words) for words in islice(likely_words(cells, grid.levels, estimate_words), LIKELY)
    ]
    candidates = [grid, *likely]
    packed = (codec.padding.mark(pack(cells, other).numpy(), codes) for other in candidates)
    sizes = [size(replace(encoded, latents=latents), storage) for latents in packed]
    smallest = min(range(len(sizes)), key=sizes.__getitem__)
    return sizes[smallest], codec.arranged(candidates[smallest].words)


def _candidates(
    autoencoder: InvertibleAutoencoder,
    coordinates: torch.Tensor,
    precision: Precision,
    bounds: Container[str],
    wanted: Sequence[float],
    dither: Dither,
) -> Iterator[Grid]:
    if precision.full:
        wanted = [step * weight for step, weight in zip(wanted, FULL_WEIGHTS.values(), strict=True)]
    # Without a bound of m, that of E limits its error, usually much less.
    loosened = (1, 4, 16, 64) if "m" not in bounds else (1,)
    steps = [[*wanted[:3], wanted[3] * factor] for factor in loosened]
    if precision.full:
        for exponent in FULL_TEMPERS:
            width, u = _spread(autoencoder, coordinates, exponent)
            yield from (fit_grid(width, u, exponent, step, TAILS[0], fill=True) for step in steps)
        return
    for exponent in (0.0, TEMPER):
        width, u = _spread(autoencoder, coordinates, exponent)
        shifts = NO_DITHER if exponent else dither
        found = [fit_grid(width, u, exponent, step, tail, False, shifts) for tail in TAILS for step in steps]
        yield from found
        if all(grid.word_bits < MANTISSA_BITS - SPARE for grid in found):
            return


@torch.no_grad()
def _spread(autoencoder: InvertibleAutoencoder, coordinates: torch.Tensor, exponent: float) -> tuple[Floats, Floats]:
    """1 / density of a sample, and the cumulative values u of all jets or, if u needs the network, of the sample."""
    sample = coordinates[:: max(1, len(coordinates) // _SAMPLE)]
    width = (-autoencoder.log_densities(sample, exponent)).exp()
    asked = sample if exponent else coordinates
    u = [autoencoder.cumulative(asked[block], exponent).numpy() for block in blocks(len(asked))]
    return width.numpy(), np.concatenate(u)


def fit_grid(
    width: Floats,
    u: Floats,
    exponent: float,
    step: Sequence[float],
    tail: float,
    fill: bool,
    dither: Dither = NO_DITHER,
) -> Grid:
    """The grid of at most 69 bits whose cells are no wider than `step`, over the range of `u`.

    A share `tail` of the jets may lie outside the range of m, or in wider cells. With `fill`, all 69 bits are used, and
    only the ratios of the steps count. Where there are too few bits for `dither`, it is left out: steps are fine there.
    """
    typical = np.exp(np.log(width).mean(axis=0)) if fill else np.quantile(width, 1 - tail, axis=0)
    cells = [float(w) / s for w, s in zip(typical, step, strict=True)]
    if len(u) < FEW:
        wide = (exponent, cells, [0.0] * 4, [1.0] * 4)
        if fill or _fits(grid := _grid(*wide, dither=dither)):
            return _scaled(*wide) if fill else grid
    lower, upper = u.min(axis=0).tolist(), u.max(axis=0).tolist()
    if tail:  # only for m are exact jets cheaper than a wider range: massless jets lie far below the others
        lower[3], upper[3] = np.quantile(u[:, 3], [tail, 1 - tail / 10]).tolist()
    ranges = (exponent, cells, lower, upper)
    found = [] if fill else [_grid(*ranges, dither=dither), _grid(*ranges)]
    return next(filter(_fits, found), None) or _scaled(*ranges)


def _fits(grid: Grid) -> bool:
    return grid.word_bits <= MANTISSA_BITS


def _grid(
    exponent: float,
    cells: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    digits: Callable[[Sequence[int]], tuple[int, int, int]] = radices,
    dither: Dither = NO_DITHER,
) -> Grid:
    first, levels = _window(cells, lower, upper, dither)
    return Grid(exponent, tuple(cells), first, levels, jet_words(levels, digits(levels)), dither)


def _window(
    cells: Sequence[float], lower: Sequence[float], upper: Sequence[float], dither: Dither
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first cell and the number of cells of each variable, for a range of u widened by `MARGIN`."""
    first, levels = [], []
    for i, (n, low, high) in enumerate(zip(cells, lower, upper, strict=True)):
        margin = max(MARGIN * (high - low) * n, 2)
        begin = max(0, math.floor(low * n - margin))
        end = max(begin + 1, min(math.ceil(n), math.ceil(high * n + margin)))
        begin, size = dither.window(i, begin, end)
        first.append(begin)
        levels.append(size)
    return tuple(first), tuple(levels)


def _scaled(exponent: float, cells: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> Grid:
    """The finest grid in three words with these numbers of cells times a common factor, found by bisection."""
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
    # An exact jet counts as an error of the size of the bound, since it costs many bytes.
    return float(sum(error @ error for error in weighted)) + FULL_BOUND**2 * float(encoded.exact.sum())
