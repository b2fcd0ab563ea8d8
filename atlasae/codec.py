"""Codecs: jets to latents and back, each jet within its precision or known to be outside it."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from atlasae.baskets import estimate_words
from atlasae.bottleneck import BottleneckAutoencoder
from atlasae.coordinates import (
    DRIFT,
    Bools,
    Floats,
    columns_to_jets,
    from_coordinates,
    is_physical,
    jets_to_columns,
    to_coordinates,
)  # fmt: skip
from atlasae.errors import UserError
from atlasae.grid import (
    MANTISSA_BITS,
    Grid,
    balanced_radices,
    grid_of_config,
    jet_words,
    likely_words,
    list_words,
    pack,
    radices,
    unpack,
)
from atlasae.invertible import JETS, InvertibleAutoencoder
from atlasae.padding import Padding
from atlasae.precision import FULL_BOUND, Precision, errors
from atlasae.storage import LARGEST_WHOLE, Latents, ListStorage, Storage, blocks
from atlasae.variables import VariableList

SAMPLE = 12_000  # jets on which candidates are measured
TEMPERS = (0.0, 0.2)  # exponents tried for a guaranteed bound
FULL_TEMPERS = (0.2, 1 / 3, 0.5, 2 / 3)  # and for `full`; 1/3 is the best for the r.m.s. (Panter and Dite 1951)
FULL_WEIGHTS = {"pt": 1.0, "eta": 2.0, "phi": 2.0, "m": 1.0}  # with `full`: 2e-5 in an angle is as good as 1e-5 in pt
TAILS = (0.0, 1e-4, 3e-4, 1e-3)  # jets left to the exact branches on purpose, where that makes the grid smaller
NEAR = 1.003  # times the smallest size: such grids have their cells arranged in words before one is taken
LIKELY = 4  # arrangements of the cells in words that are measured
MARGIN = 0.02  # of the range seen in the sample: other jets go a little further
DRIFTS = 4  # of a network's own drift: another float32 arithmetic differs from both that were tried
THREADS, MOST_THREADS = "ATLASAE_THREADS", 1024
FEW = 2_000  # jets that do not show how far others may go

_STAND_IN = np.array([50_000.0, 0.0, 0.0, 5_000.0])  # encoded in place of a jet without coordinates


@contextmanager
def few_threads() -> Iterator[None]:
    """Let torch work on one thread, or as many as ATLASAE_THREADS says; raises UserError where it says no number.

    Blocks are too small to share, and on a busy machine the waiting costs more.
    """
    text = os.environ.get(THREADS, "1")
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise UserError(f"{THREADS}='{text}' is no number of threads: give one from 1 to {MOST_THREADS}")
    threads = torch.get_num_threads()
    torch.set_num_threads(int(text))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class FloatsCodec:
    """Three float32 a jet: the latents of an autoencoder on a grid.

    Four verbs: `encode` and `decode` jets (n x 4: pt, eta, phi, m in MeV), `config` out and `from_config` in.
    """

    autoencoder: InvertibleAutoencoder
    grid: Grid
    padding: Padding = Padding()
    stand_in: ClassVar[Floats] = _STAND_IN

    def encode(self, jets: Floats) -> Latents:
        """Turn jets into latents (n x 3); a jet without coordinates gets some latents, and will decode to another."""
        safe = np.where(is_physical(jets)[:, None], jets, _STAND_IN)
        latents = self.autoencoder.encode(torch.from_numpy(to_coordinates(safe)), self.grid)
        return np.asarray(latents.numpy())

    @few_threads()
    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into jets (n x 4)."""
        return from_coordinates(self.autoencoder.decode(torch.tensor(latents), self.grid).double().numpy())

    def config(self) -> dict[str, Any]:
        """What `from_config` needs, beside the autoencoder; plain JSON."""
        return {"layout": "floats", **asdict(self.grid), **self.padding.config()}

    @classmethod
    def from_config(cls, config: dict[str, Any], autoencoder: InvertibleAutoencoder) -> "FloatsCodec":
        """Make the codec that `config` described; raises ValueError where it, or the autoencoder, is not of jets."""
        if len(autoencoder.links) != len(JETS):
            raise ValueError(f"layout 'floats' is of {len(JETS)} variables, the model of {len(autoencoder.links)}")
        return cls(autoencoder, grid_of_config(config, len(JETS)), Padding.of_config(config))


@dataclass(frozen=True)
class ListCodec:
    """As many float32 a row as its variables need: the latents of an autoencoder of any list of variables."""

    autoencoder: InvertibleAutoencoder
    grid: Grid
    variables: VariableList
    padding: Padding = Padding()

    @property
    def stand_in(self) -> Floats:
        """A row that is encoded in place of one without coordinates: that of the first cells."""
        return np.asarray(self.decode(np.ones((1, len(self.grid.words)), np.float32))[0])

    def encode(self, rows: Floats) -> Latents:
        """Turn rows (n x variables) into latents (n x words)."""
        safe = np.where(self.variables.usable(rows)[:, None], rows, self.stand_in)
        coordinates = torch.from_numpy(self.variables.to_coordinates(safe))
        return np.asarray(self.autoencoder.encode(coordinates, self.grid).numpy())

    @few_threads()
    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into rows."""
        return self.variables.from_coordinates(self.autoencoder.decode(torch.tensor(latents), self.grid).numpy())

    def config(self) -> dict[str, Any]:
        """What `codec_of_config` needs, beside the autoencoder."""
        described = {"layout": "list", "variables": self.variables.to_json()}
        return {**described, **asdict(self.grid), **self.padding.config()}


@dataclass(frozen=True)
class BottleneckCodec:
    """Three float32 a jet: the latents of a network with a bottleneck, as they come."""

    network: BottleneckAutoencoder
    padding: ClassVar[Padding] = Padding()  # its latents may be anything: none is left for rows
    stand_in: ClassVar[Floats] = _STAND_IN

    def encode(self, jets: Floats) -> Latents:
        """Turn jets into latents (n x 3)."""
        safe = np.where(is_physical(jets)[:, None], jets, _STAND_IN)
        columns = torch.from_numpy(jets_to_columns(safe, self.network.shape.columns))
        with torch.no_grad():
            return np.asarray(np.nan_to_num(self.network.encode(columns).float().numpy()))

    @few_threads()
    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into jets (n x 4); raises ValueError for latents that are no numbers."""
        if not np.isfinite(latents).all():
            raise ValueError("latents are not finite")
        with torch.no_grad():
            columns = self.network.decode(torch.tensor(latents)).numpy()
        return columns_to_jets(columns, self.network.shape.columns)

    def config(self) -> dict[str, Any]:
        """What `codec_of_config` needs, beside the network."""
        return {"layout": "bottleneck"}

    @cached_property
    def single(self) -> "BottleneckCodec":
        """The same codec in float32 arithmetic."""
        return BottleneckCodec(deepcopy(self.network).float())


AnyCodec = FloatsCodec | BottleneckCodec | ListCodec


def codec_of_config(config: dict[str, Any], autoencoder: InvertibleAutoencoder | BottleneckAutoencoder) -> AnyCodec:
    """Make the codec that `config` described; raises ValueError where the autoencoder is of another kind."""
    if isinstance(autoencoder, BottleneckAutoencoder) != (config["layout"] == "bottleneck"):
        raise ValueError(f"layout '{config['layout']}' is not of this model")
    if isinstance(autoencoder, BottleneckAutoencoder):
        return BottleneckCodec(autoencoder)
    if config["layout"] == "list":
        grid = grid_of_config(config, len(autoencoder.links))
        return ListCodec(autoencoder, grid, VariableList.from_json(config["variables"]), Padding.of_config(config))
    return FloatsCodec.from_config(config, autoencoder)


@dataclass(frozen=True)
class Encoded:
    """What encoding a run of jets gave: latents, which jets break a bound, the largest error of the others."""

    latents: Latents
    exact: Bools
    largest: dict[str, float]


def encode_within(
    codec: AnyCodec,
    storage: Storage | ListStorage,
    bounds: dict[str, float],
    columns: Sequence[npt.NDArray[np.generic]],
) -> Encoded:
    """Encode stored columns, decode them again, and tell which jets are not within their bounds.

    A jet counts as within where it is so by a margin (`inner`), for whoever decodes it may compute otherwise. Padding
    is neither: its latents say what it is.
    """
    latents, exact, largest = [], [], dict.fromkeys(bounds, 0.0)
    kept = storage.kept(bounds)
    # Nobody looks at the latents of exact jets: alike, they cost nothing.
    unused = codec.encode(codec.stand_in[None])
    for block in blocks(len(columns[0])):
        stored = [column[block] for column in columns]
        values = storage.to_values(stored)
        rows = storage.to_rows(values)
        latents.append(codec.encode(rows))
        decoded = codec.decode(latents[-1])
        found = storage.errors_of(values, decoded)
        worst = storage.worst_errors(values, decoded, _worst(codec, storage, values, latents[-1], found), DRIFT)
        within = storage.usable(rows) & np.all([worst[v] <= bound for v, bound in kept.items()], axis=0)
        latents[-1][~within] = unused
        codes = codec.padding.find(stored)
        latents[-1] = codec.padding.mark(latents[-1], codes)
        within &= codes == 0
        exact.append(~within & (codes == 0))
        for variable in bounds:
            largest[variable] = max(largest[variable], float(found[variable][within].max(initial=0.0)))
    return Encoded(np.concatenate(latents), np.concatenate(exact), largest)


def _worst(
    codec: AnyCodec, storage: Storage | ListStorage, values: Floats, latents: Latents, found: dict[str, Floats]
) -> dict[str, Floats]:
    """The errors that jets may have in other arithmetic; `found` are those in ours.

    A chain of densities moves by `DRIFT` at most, which `inner` leaves room for. A network that tells E and p, whose
    difference is the mass, has no such limit: there each jet is decoded in float32 too.
    """
    if not isinstance(codec, BottleneckCodec):
        return found
    single = storage.errors(values, storage.to_values(storage.restore(codec.single, latents)))
    with np.errstate(invalid="ignore"):  # what is no number in both is no drift
        drifts = {variable: np.nan_to_num(np.abs(single[variable] - error)) for variable, error in found.items()}
    return {variable: error + DRIFTS * drifts[variable] for variable, error in found.items()}


def choose_codec(
    autoencoder: InvertibleAutoencoder | BottleneckAutoencoder,
    storage: Storage,
    precision: Precision,
    columns: Sequence[npt.NDArray[np.generic]],
    size: Callable[[Encoded], int],
) -> AnyCodec:
    """Choose the grid by the bytes it takes on these jets, those stored exactly included.

    `size` tells the bytes of an encoded sample. With `full` every bit is spent whatever the grid, so there the
    candidate with the smallest sum of squared errors is taken. A network with a bottleneck leaves nothing to choose.
    """
    if isinstance(autoencoder, BottleneckAutoencoder):
        return BottleneckCodec(autoencoder)
    if precision.unbounded:
        raise UserError("--precision none is for a network that promises nothing (mlp): give a bound, or `full`")
    bounds = precision.of(storage.layout)
    jets, padding = storage.usable_jets(columns), storage.padding(columns)
    coordinates = torch.from_numpy(to_coordinates(jets if len(jets) else _STAND_IN[None]))
    sample = [column[:: max(1, len(column) // SAMPLE)] for column in columns]
    tried: list[tuple[float, FloatsCodec, Encoded]] = []
    for grid in _candidates(autoencoder, coordinates, precision, storage, columns):
        codec = FloatsCodec(autoencoder, grid, padding)
        encoded = encode_within(codec, storage, bounds, sample)
        cost = _squared_error(codec, storage, sample, encoded) if precision.full else float(size(encoded))
        tried.append((cost, codec, encoded))
    tried.sort(key=itemgetter(0))
    if precision.full:
        return tried[0][1]
    near = [(codec, encoded) for cost, codec, encoded in tried if cost <= NEAR * tried[0][0]]
    return min((_arranged(codec, encoded, size) for codec, encoded in near), key=itemgetter(0))[1]


@torch.no_grad()
def choose_list_codec(
    autoencoder: InvertibleAutoencoder, storage: ListStorage, columns: Sequence[npt.NDArray[np.generic]]
) -> ListCodec:
    """The grid of equal steps that keeps every precision, over the range of a sample; in as few words as it takes."""
    variables = storage.variables
    rows = storage.to_rows(storage.to_values(columns))
    rows = rows[storage.usable(rows)]
    coordinates = torch.from_numpy(variables.to_coordinates(rows))
    spans = [float(density.edges[-1] - density.edges[0]) for density in autoencoder.densities]
    cells = [span / v.step(storage.rounding) for span, v in zip(spans, variables.variables, strict=True)]
    for variable, n in zip(variables.variables, cells, strict=True):
        if not n < LARGEST_WHOLE:
            what = f"'{variable.branch}' takes {n:.1g} steps at precision {variable.precision:g}"
            raise UserError(f"{what}, {LARGEST_WHOLE:.1g} at most: give a larger precision")
    u = autoencoder.cumulative(coordinates, 0.0).numpy()
    first, levels = _window(cells, u.min(axis=0).tolist(), u.max(axis=0).tolist())
    grid = Grid(0.0, tuple(cells), first, levels, list_words(levels))
    return ListCodec(autoencoder, grid, variables, storage.padding(columns))


def _arranged(codec: FloatsCodec, encoded: Encoded, size: Callable[[Encoded], int]) -> tuple[int, FloatsCodec]:
    """Bytes, and the codec with its cells in the words that take the fewest: up to 6 % less than those of `radices`."""
    grid = codec.grid
    latents, codes = codec.padding.unmark(encoded.latents)
    cells = unpack(torch.from_numpy(latents), grid)
    candidates = [
        grid,
        *(replace(grid, words=words) for words in likely_words(cells, grid.levels, estimate_words)[:LIKELY]),
    ]
    packed = (codec.padding.mark(pack(cells, other).numpy(), codes) for other in candidates)
    sizes = [size(replace(encoded, latents=latents)) for latents in packed]
    smallest = min(range(len(sizes)), key=sizes.__getitem__)
    return sizes[smallest], replace(codec, grid=candidates[smallest])


def _candidates(
    autoencoder: InvertibleAutoencoder,
    coordinates: torch.Tensor,
    precision: Precision,
    storage: Storage,
    columns: Sequence[npt.NDArray[np.generic]],
) -> Iterator[Grid]:
    bounds = precision.of(storage.layout)
    wanted = storage.steps(bounds, columns)
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


def _squared_error(
    codec: FloatsCodec, storage: Storage, columns: Sequence[npt.NDArray[np.generic]], encoded: Encoded
) -> float:
    decoded = storage.to_values(storage.restore(codec, encoded.latents))
    found = errors(storage.layout, storage.to_values(columns), decoded, storage.rounding)
    within = ~encoded.exact
    weighted = [error[within] / FULL_WEIGHTS.get(variable, 1.0) for variable, error in found.items()]
    # An exact jet costs as much as many bits: weigh it as an error of the bound.
    return float(sum(error @ error for error in weighted)) + FULL_BOUND**2 * float(encoded.exact.sum())
