"""Search of the grid and the exponent with the fewest bytes, measured on a sample."""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice, product
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from atlasae.codecs.codec import Encoded, encode_within, restore
from atlasae.codecs.dither import BLOCK_STEPS, NO_DITHER, WEIGHT, Dither
from atlasae.codecs.floats import AnyCodec, FloatsCodec, ResolvedFloatsCodec, codec_of_config, densities_of
from atlasae.codecs.grid import (
    MANTISSA_BITS,
    Cell,
    Grid,
    WordLayout,
    balanced_radices,
    jet_words,
    likely_pairs,
    likely_words,
    list_words,
    pack,
    radices,
    unpack,
)
from atlasae.codecs.resolved import PER_ONE, ResolvedSteps
from atlasae.codecs.walk import ChainModel, Densities, EqualSteps, free_of, nodes_of, spread_rows
from atlasae.errors import UserError
from atlasae.jets.columns import in_runs
from atlasae.jets.coordinates import DRIFT, Floats
from atlasae.jets.padding import Codes, Stored
from atlasae.jets.precision import FULL_BOUND, Precision
from atlasae.jets.stored import LARGEST_WHOLE, Storage, blocks
from atlasae.jets.variables import JET
from atlasae.threads import side_by_side
from atlasae.xz import compress_words, estimate_words

if TYPE_CHECKING:
    from atlasae.codecs.bottleneck import BottleneckAutoencoder

_MEASURED, _ESTIMATED = 18_000, 4_000  # jets on which candidates are measured, and arrangements estimated
_ASKED = 12_000  # jets of which networks are asked that take long
TEMPER = 0.2  # exponent tried with bounds that equal steps in three words can't keep
FULL_TEMPERS = (0.2, 1 / 3, 0.5, 2 / 3)  # exponents tried with `full`; 1/3 minimises the r.m.s. (Panter and Dite 1951)
FULL_WEIGHTS = {"pt": 1.0, "eta": 2.0, "phi": 2.0, "m": 1.0}  # with `full`, 2e-5 in an angle counts as 1e-5 in pt
TAILS = (0.0, 1e-4, 3e-4, 1e-3)  # shares of jets made exact so that the grid is smaller, as tried
BEST = 2  # grids with the fewest bytes, of which all likely arrangements of cells in words are measured
SPARE = 0.1  # bits that a word has left unless the grid was made coarser to fit
LEFT_OUT = 1  # node of a table of locations: these do not depend on anything
LIKELY = 4  # arrangements of the cells in words that are measured: in two words or, if these are too few, in three
OFFSET_BYTES = 3  # what an exact jet adds to the entry offsets of its index and of each variable
MARGIN = 0.02  # the grid is wider on each side by this share of the sample's range, for other jets
FEW = 2_000  # with fewer jets, the range of others can't be estimated

_Way = tuple[float, tuple[float, ...]]  # the share of jets made exact, and the steps
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
    model: "ChainModel | BottleneckAutoencoder",
    storage: Storage,
    precision: Precision,
    columns: Stored,
    size: Size = encoded_bytes,
    dither: bool = True,
    leading: bool = False,
) -> AnyCodec:
    """The codec whose grid takes the fewest bytes on a sample of these columns, exact rows included; raises UserError.

    `size` gives the bytes of an encoded sample. With `full` all grids use all bits, so the one with the smallest sum
    of squared errors is chosen; else steps are equal and, with `dither`, shifted from row to row. A network with a
    bottleneck has no grid. With `leading`, the words begin with pt, eta and phi, for what is told by them.
    """
    if not isinstance(model, ChainModel):
        return codec_of_config({"layout": "bottleneck"}, model)
    variables, rows, bounds = storage.variables, storage.usable_rows(columns), precision.of(storage.layout)
    shifts = _dither(model, storage, bounds, columns) if dither and not precision.full else NO_DITHER
    if variables != JET:
        grid = _equal_steps(model, storage, storage.steps(bounds, columns), rows, shifts)
        return FloatsCodec(model, grid, storage.padding(columns), variables)
    if precision.unbounded:
        raise UserError("--precision none is for networks without bounds (mlp): give a bound, or `full`")
    if storage.layout.resolutions:
        return _choose_resolved(model, storage, bounds, columns, shifts, size, leading)
    padding = storage.padding(columns)
    coordinates = JET.to_coordinates(rows if len(rows) else np.array([JET.example]))
    sample = in_runs(columns, _MEASURED)
    wanted = _loosened(storage.steps(bounds, columns), bounds, precision)
    if precision.full:
        codecs = [FloatsCodec(model, grid, padding) for grid in _full_grids(model, coordinates, wanted)]
        return min(codecs, key=lambda codec: _squared_error(codec, storage, bounds, sample))

    def tried(ways: Iterable[_Way], nodes: int, exponent: float = 0.0) -> list[_Trial[FloatsCodec]]:
        asked = _some(coordinates) if exponent else coordinates  # of which the network takes long
        spread = _spread(densities_of(model, exponent, nodes), asked)
        grids = _grids(spread, ways, exponent, NO_DITHER if exponent else shifts)
        codecs = ((FloatsCodec(model, replace(grid, nodes=nodes), padding), way) for grid, way in grids)
        return _trials(codecs, storage, bounds, sample, size, leading)

    ways = list(product(TAILS, wanted))
    trials = sorted(tried(ways, nodes_of(model.weights)), key=_Trial.first)
    # Jets unlike those of the training may take less where the network is left out.
    trials += tried([trials[0].way], LEFT_OUT)
    if any(trial.codec.grid.word_bits >= MANTISSA_BITS - SPARE for trial in trials):
        trials += tried(ways, 0, TEMPER)
    return _best(trials, storage, size)


def _best(trials: "Sequence[_Trial[Gridded]]", storage: Storage, size: Size) -> Gridded:
    """The codec of the fewest bytes: of all trials with their first arrangements, the best ones with all of theirs."""
    first = sorted(trials, key=_Trial.first)[:BEST]
    with side_by_side(lambda trial: trial.best(storage, size), first) as found:
        return min(found, key=itemgetter(0))[1]


def _choose_resolved(
    chain: ChainModel,
    storage: Storage,
    bounds: Mapping[str, float],
    columns: Stored,
    dither: Dither,
    size: Size,
    leading: bool,
) -> ResolvedFloatsCodec:
    """The codec of bounds by resolution whose tails of m and arrangement of cells take the fewest bytes."""
    drift = DRIFT + JET.roundings * storage.rounding
    largest = dict(bounds) | storage.rooms(bounds, columns, drift)
    steps = ResolvedSteps.within(storage.layout.shared(largest), storage.layout.resolutions, drift)
    sample = in_runs(columns, _MEASURED)
    rows, padding = storage.usable_rows(columns), storage.padding(columns)
    tails = TAILS if len(rows) >= FEW else TAILS[:1]
    codecs = ((replace(_resolved_codec(chain, steps, rows, tail, dither), padding=padding), tail) for tail in tails)
    ways = ((codec, (tail, steps.shares)) for codec, tail in codecs)
    return _best(_trials(ways, storage, bounds, sample, size, leading), storage, size)


def _resolved_codec(
    chain: ChainModel, steps: ResolvedSteps, rows: Floats, tail: float, dither: Dither
) -> ResolvedFloatsCodec:
    """The codec with cells over the range of these jets; raises UserError for more than three floats hold."""
    rows = rows if len(rows) >= FEW else np.concatenate([rows, _WIDEST_JETS])
    coordinates, nodes = JET.to_coordinates(rows), nodes_of(chain.weights)
    location = EqualSteps(chain.weights, nodes).origin(3, dict(enumerate(coordinates.T)))
    pt = np.clip(np.floor(steps.position(rows[:, 0])), 0, steps.size - 1).astype(np.int64)
    first, size = dither.window(0, *_margins(pt, 0, steps.size - 1))
    smallest = [int(steps.steps(i)[first : first + size].min()) for i in (1, 2)]
    angles = [rows[:, 1] * PER_ONE / smallest[0], np.array([0, 2 * np.pi * PER_ONE / smallest[1]])]
    mass = (coordinates[:, 3] - location) * PER_ONE / steps.steps(3).take(pt)
    windows = [(first, size)]
    for i, column in enumerate([*angles, np.quantile(mass, [tail, 1 - tail / 10])], start=1):
        begin, levels = dither.window(i, *_margins(column))
        windows.append((begin // BLOCK_STEPS if i in dither.blocks else begin, levels))
    (pt_0, pt_n), (eta_0, eta_n), (phi_0, phi_n), (m_0, m_n) = windows
    numbers = pt_n, eta_n, phi_n, m_n
    words = jet_words(numbers, radices(numbers))
    if max(math.prod(digit.radix for digit in word) for word in words) > 1 << MANTISSA_BITS:
        raise UserError("three floats hold too few bits for this share of the resolution: give a larger one, or packed")
    return ResolvedFloatsCodec(chain, steps, (pt_0, eta_0, phi_0, m_0), numbers, words, dither, nodes)


def _margins(column: npt.NDArray[Any], low: float = -math.inf, high: float = math.inf) -> tuple[int, int]:
    """The first and the last cell of positions, with a margin for other jets."""
    margin = max(MARGIN * float(np.ptp(column)), 2)
    return math.floor(max(low, float(column.min()) - margin)), math.ceil(min(high, float(column.max()) + margin))


@dataclass
class _Trial(Generic[Gridded]):
    """A sample on one grid: its latents, likely arrangements of cells in words, and the bytes of those measured."""

    codec: Gridded
    way: "_Way"
    encoded: Encoded
    cells: list[Cell]
    codes: Codes
    words: list[WordLayout]
    sizes: list[float]

    @classmethod
    def of(
        cls,
        codec: Gridded,
        way: "_Way",
        storage: Storage,
        bounds: Mapping[str, float],
        sample: Stored,
        size: Size,
        leading: bool,
    ) -> Self:
        """The trial of a codec, of which the arrangement of the fewest estimated bytes is measured."""
        encoded = encode_within(codec, storage, bounds, sample)
        latents, codes = codec.padding.unmark(encoded.latents)
        cells = unpack(latents, codec.grid)
        some: list[Cell] = [np.ascontiguousarray(cell[:: max(1, len(cell) // _ESTIMATED)]) for cell in cells]
        likely: list[WordLayout] = (
            [] if leading else [*islice(likely_pairs(some, codec.grid.levels, estimate_words), LIKELY)]
        )
        likely = likely or [*islice(likely_words(some, codec.grid.levels, estimate_words), LIKELY)]
        made = cls(codec, way, encoded, cells, codes, list(dict.fromkeys([*likely, codec.grid.words])), [])
        made.sizes.append(made.measured(0, storage, size))
        return made

    def first(self) -> float:
        """The bytes with the first arrangement."""
        return self.sizes[0]

    def measured(self, place: int, storage: Storage, size: Size) -> float:
        """The bytes with one of the arrangements."""
        grid = replace(self.codec.grid, words=self.words[place])
        latents = self.codec.padding.mark(pack(self.cells, grid), self.codes)
        return float(size(replace(self.encoded, latents=latents), storage))

    def best(self, storage: Storage, size: Size) -> tuple[float, Gridded]:
        """The fewest bytes of all arrangements, up to 6 % less than with `radices`, and the codec with it."""
        self.sizes += [self.measured(place, storage, size) for place in range(1, len(self.words))]
        smallest = min(range(len(self.words)), key=self.sizes.__getitem__)
        return self.sizes[smallest], self.codec.arranged(self.words[smallest])


def _trials(
    codecs: Iterable[tuple[Gridded, _Way]],
    storage: Storage,
    bounds: Mapping[str, float],
    sample: Stored,
    size: Size,
    leading: bool,
) -> list[_Trial[Gridded]]:
    """The trials of codecs, each made in its way, side by side."""

    def trial(one: tuple[Gridded, _Way]) -> _Trial[Gridded]:
        return _Trial.of(*one, storage, bounds, sample, size, leading)

    with side_by_side(trial, codecs) as found:
        return list(found)


def _dither(chain: ChainModel, storage: Storage, bounds: Mapping[str, float], columns: Stored) -> Dither:
    """The dither of a chain: all continuous variables are shifted, but those that move with another one (`anchor`).

    Of jets, eta and phi are cut into blocks: so jets near any pt have some 10,000 different offsets.
    """
    continuous = storage.continuous(bounds, columns)
    shifted = [i for i, link in enumerate(chain.links) if continuous[i] and link.anchor is None]
    free = free_of(chain.links)
    first = [i for i in shifted if free[i]]
    return Dither(tuple(shifted), tuple(first[1:3] or first), WEIGHT, rounds=0)


def _equal_steps(chain: ChainModel, storage: Storage, steps: Sequence[float], rows: Floats, dither: Dither) -> Grid:
    """The grid with these steps over the range of the rows; raises UserError for 2^53 steps or more of a variable."""
    variables = storage.variables
    weights = chain.weights
    cells = [(high - low) / step for (low, high), step in zip(weights.ends, steps, strict=True)]
    for variable, n in zip(variables.variables, cells, strict=True):
        if not n < LARGEST_WHOLE:
            what = f"'{variable.branch}' takes {n:.1g} steps at precision {variable.precision:g}"
            raise UserError(f"{what}, {LARGEST_WHOLE:.1g} at most: give a larger precision")
    u, _ = spread_rows(EqualSteps(weights), variables.to_coordinates(rows))
    first, levels = _window(cells, u.min(axis=0).tolist(), u.max(axis=0).tolist(), dither)
    return Grid(0.0, tuple(cells), first, levels, list_words(levels), dither)


def _loosened(wanted: Sequence[float], bounds: Container[str], precision: Precision) -> list[tuple[float, ...]]:
    """The steps that are tried: without a bound of m, that of E limits its error, usually much less."""
    if precision.full:
        wanted = [step * weight for step, weight in zip(wanted, FULL_WEIGHTS.values(), strict=True)]
    return [(*wanted[:3], wanted[3] * factor) for factor in ((1, 4, 16, 64) if "m" not in bounds else (1,))]


def _full_grids(chain: ChainModel, coordinates: Floats, steps: Sequence[Sequence[float]]) -> Iterator[Grid]:
    for exponent in FULL_TEMPERS:
        width, u = _spread(densities_of(chain, exponent), _some(coordinates))
        yield from (fit_grid(width, u, exponent, step, TAILS[0], fill=True) for step in steps)


def _grids(
    spread: tuple[Floats, Floats], ways: Iterable[_Way], exponent: float, dither: Dither
) -> Iterator[tuple[Grid, _Way]]:
    """The different grids, each with the way that it is made."""
    grids = {way: fit_grid(*spread, exponent, way[1], way[0], False, dither) for way in ways}
    first = {grid: way for way, grid in reversed(grids.items())}
    return reversed(first.items())


def _some(coordinates: Floats) -> Floats:
    return coordinates[:: max(1, len(coordinates) // _ASKED)]


def _spread(densities: Densities, coordinates: Floats) -> tuple[Floats, Floats]:
    """Widths of a sample of jets, and the cumulative values u of all."""
    found = [spread_rows(densities, coordinates[block]) for block in blocks(len(coordinates))]
    return _some(np.concatenate([width for _, width in found])), np.concatenate([u for u, _ in found])


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
    found = (_grid(*ranges, dither=some) for some in (() if fill else (dither, NO_DITHER)))
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


def _squared_error(codec: FloatsCodec, storage: Storage, bounds: Mapping[str, float], columns: Stored) -> float:
    encoded = encode_within(codec, storage, bounds, columns)
    decoded = storage.to_values(restore(codec, storage, list(encoded.latents.T)))
    found = storage.errors(storage.to_values(columns), decoded)
    within = ~encoded.exact
    weighted = [error[within] / FULL_WEIGHTS.get(variable, 1.0) for variable, error in found.items()]
    # An exact jet counts as an error of the size of the bound, since it costs many bytes.
    return float(sum(error @ error for error in weighted)) + FULL_BOUND**2 * float(encoded.exact.sum())
