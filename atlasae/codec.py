"""Codecs: jets to latents and back, each jet within its precision or known to be outside it."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from atlasae.coordinates import Bools, Floats, Layout, from_coordinates, is_physical, to_coordinates
from atlasae.invertible import MANTISSA_BITS, Grid, InvertibleAutoencoder, radices
from atlasae.precision import Precision, errors, steps

Latents = npt.NDArray[np.float32]

BLOCK = 65_536  # jets worked on at once, so that memory does not grow with the chunk
SAMPLE = 20_000  # jets on which candidates are measured
TEMPERS = (0.0, 0.2)  # exponents tried for a guaranteed bound
FULL_TEMPERS = (0.2, 1 / 3, 0.5, 2 / 3)  # and for `full`; 1/3 is the best for the r.m.s. (Panter and Dite 1951)
FULL_WEIGHTS = (1.0, 1.5, 1.5, 1.0)  # with `full`, 1.5e-5 in an angle is as good as 1e-5 in pt and m
TAILS = (0.0, 3e-4, 1e-3)  # jets left to the exact branches on purpose, where that makes the grid smaller
MARGIN = 0.03  # of the range seen in the first chunk: later chunks go a little further

_STAND_IN = np.array([50_000.0, 0.0, 0.0, 5_000.0])  # encoded in place of a jet without coordinates


@dataclass(frozen=True)
class FloatsCodec:
    """Three float32 a jet: the latents of an autoencoder on a grid.

    Four verbs: `encode` and `decode` jets (n x 4: pt, eta, phi, m in MeV), `config` out and `from_config` in.
    """

    autoencoder: InvertibleAutoencoder
    grid: Grid

    def encode(self, jets: Floats) -> Latents:
        """Turn jets into latents (n x 3); a jet without coordinates gets some latents, and will decode to another."""
        safe = np.where(is_physical(jets)[:, None], jets, _STAND_IN)
        latents = self.autoencoder.encode(torch.from_numpy(to_coordinates(safe)), self.grid)
        return np.asarray(latents.numpy())

    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into jets (n x 4)."""
        return from_coordinates(self.autoencoder.decode(torch.from_numpy(latents), self.grid).numpy())

    def config(self) -> dict[str, Any]:
        """What `from_config` needs, beside the autoencoder; plain JSON."""
        return {"layout": "floats", **asdict(self.grid)}

    @classmethod
    def from_config(cls, config: dict[str, Any], autoencoder: InvertibleAutoencoder) -> "FloatsCodec":
        """Make the codec that `config` described."""
        lists = {key: tuple(config[key]) for key in ("cells", "first", "levels", "radices")}
        return cls(autoencoder, Grid(exponent=config["exponent"], **lists))


@dataclass(frozen=True)
class Storage:
    """How a collection keeps its numbers: layout, dtype of each variable, MeV per unit."""

    layout: Layout
    dtypes: tuple[np.dtype[np.floating], ...]
    scale: float

    def to_values(self, columns: Sequence[npt.NDArray[np.generic]]) -> Floats:
        """Stored columns to float64 values in MeV (n x 4)."""
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN, or GeV that overflow in MeV
            return np.column_stack([c.astype(np.float64) * u for c, u in zip(columns, self._units(), strict=True)])

    def to_columns(self, values: Floats) -> list[npt.NDArray[np.generic]]:
        """Values in MeV to columns in their own dtypes and units; the inverse of `to_values`."""
        with np.errstate(over="ignore"):
            columns = zip(values.T, self._units(), self.dtypes, strict=True)
            return [(column / unit).astype(dtype) for column, unit, dtype in columns]

    def restore(self, codec: FloatsCodec, latents: Latents) -> list[npt.NDArray[np.generic]]:
        """Decode latents into the columns that a reader of the decompressed file will see."""
        blocks = [
            self.to_columns(self.layout.from_jets(codec.decode(latents[block]), self.dtypes, self.scale))
            for block in _blocks(len(latents))
        ]
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]

    @property
    def rounding(self) -> float:
        """Largest relative error of rounding to the stored dtypes."""
        return max(float(np.finfo(dtype).eps) for dtype in self.dtypes) / 2

    def _units(self) -> list[float]:
        angles = {"eta", "phi"}
        return [1.0 if variable in angles else self.scale for variable in self.layout.variables]


@dataclass(frozen=True)
class Encoded:
    """What encoding a run of jets gave: latents, which jets break a bound, the largest error of the others."""

    latents: Latents
    exact: Bools
    largest: dict[str, float]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work on one thread: blocks are too small to share, and on a busy machine the waiting costs more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def encode_within(
    codec: FloatsCodec, storage: Storage, bounds: dict[str, float], columns: Sequence[npt.NDArray[np.generic]]
) -> Encoded:
    """Encode stored columns, decode them again, and tell which jets are not within their bounds."""
    latents, exact, largest = [], [], dict.fromkeys(bounds, 0.0)
    for block in _blocks(len(columns[0])):
        values = storage.to_values([column[block] for column in columns])
        jets = storage.layout.to_jets(values)
        latents.append(codec.encode(jets))
        decoded = storage.to_values(storage.restore(codec, latents[-1]))
        found = errors(storage.layout, values, decoded, storage.rounding)
        within = is_physical(jets) & np.all([found[v] <= bound for v, bound in bounds.items()], axis=0)
        exact.append(~within)
        for variable in bounds:
            largest[variable] = max(largest[variable], float(found[variable][within].max(initial=0.0)))
    return Encoded(np.concatenate(latents), np.concatenate(exact), largest)


def choose_codec(
    autoencoder: InvertibleAutoencoder,
    storage: Storage,
    precision: Precision,
    columns: Sequence[npt.NDArray[np.generic]],
    size: Callable[[Encoded], int],
) -> FloatsCodec:
    """Choose the grid by the bytes it takes on these jets, those stored exactly included.

    `size` tells the bytes of an encoded sample. With `full` every bit is spent whatever the grid, so there the
    candidate with the smallest sum of squared errors is taken.
    """
    bounds = precision.of(storage.layout)
    jets = storage.layout.to_jets(storage.to_values(columns))
    jets = jets[is_physical(jets)]
    coordinates = torch.from_numpy(to_coordinates(jets if len(jets) else _STAND_IN[None]))
    sample = [column[:: max(1, len(column) // SAMPLE)] for column in columns]
    best: tuple[float, FloatsCodec] | None = None
    for grid in _candidates(autoencoder, coordinates, precision, storage):
        codec = FloatsCodec(autoencoder, grid)
        encoded = encode_within(codec, storage, bounds, sample)
        cost = _squared_error(codec, storage, sample, encoded) if precision.full else float(size(encoded))
        if best is None or cost < best[0]:
            best = (cost, codec)
    assert best is not None  # there is always a candidate
    return best[1]


def _candidates(
    autoencoder: InvertibleAutoencoder, coordinates: torch.Tensor, precision: Precision, storage: Storage
) -> Iterator[Grid]:
    bounds = precision.of(storage.layout)
    wanted = steps(bounds, storage.layout, storage.dtypes)
    if precision.full:
        wanted = [step * weight for step, weight in zip(wanted, FULL_WEIGHTS, strict=True)]
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
    u = [autoencoder.cumulative(asked[block], exponent).numpy() for block in _blocks(len(asked))]
    return width.numpy(), np.concatenate(u)


def fit_grid(width: Floats, u: Floats, exponent: float, step: Sequence[float], tail: float, fill: bool) -> Grid:
    """The grid of at most 69 bits whose cells are as wide as `step` at most, over the range of `u`.

    `tail` of the jets may lie beyond m's range, or in wider cells. With `fill` all 69 bits are used, and `step` only
    says how the variables' errors compare.
    """
    typical = np.exp(np.log(width).mean(axis=0)) if fill else np.quantile(width, 1 - tail, axis=0)
    cells = [float(w) / s for w, s in zip(typical, step, strict=True)]
    lower, upper = u.min(axis=0).tolist(), u.max(axis=0).tolist()
    if tail:  # only m has outliers worth the bytes: massless jets, far below the others of their pt
        lower[3], upper[3] = np.quantile(u[:, 3], [tail, 1 - tail / 10]).tolist()
    grid = _grid(exponent, cells, lower, upper)
    return _scaled(exponent, cells, lower, upper) if fill or grid.word_bits > MANTISSA_BITS else grid


def _grid(exponent: float, cells: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> Grid:
    first, levels = [], []
    for n, low, high in zip(cells, lower, upper, strict=True):
        margin = max(MARGIN * (high - low) * n, 2)
        begin = max(0, math.floor(low * n - margin))
        first.append(begin)
        levels.append(max(1, min(math.ceil(n), math.ceil(high * n + margin)) - begin))
    return Grid(exponent, tuple(cells), tuple(first), tuple(levels), radices(levels))  # type: ignore[arg-type]


def _scaled(exponent: float, cells: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> Grid:
    """The finest of the grids with these cells times any factor that fits three words."""
    small, large = -40.0, 40.0  # powers of two
    for _ in range(50):
        middle = (small + large) / 2
        grid = _grid(exponent, [n * 2**middle for n in cells], lower, upper)
        small, large = (middle, large) if grid.word_bits <= MANTISSA_BITS else (small, middle)
    return _grid(exponent, [n * 2**small for n in cells], lower, upper)


def _squared_error(
    codec: FloatsCodec, storage: Storage, columns: Sequence[npt.NDArray[np.generic]], encoded: Encoded
) -> float:
    decoded = storage.to_values(storage.restore(codec, encoded.latents))
    found = errors(storage.layout, storage.to_values(columns), decoded, storage.rounding)
    within = ~encoded.exact
    # An exact jet costs as much as many bits: weigh it as an error of the bound.
    return float(sum(np.minimum(e[within], 1e-3) @ np.minimum(e[within], 1e-3) for e in found.values())) + 1e-6 * float(
        encoded.exact.sum()
    )


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, max(n, 1), BLOCK)]
