"""The tables of the packed layout, integer probabilities from which it starts; what is packaged, for ever."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from atlasae.codecs.entropy import CodingTable, Integers

# Those of all releases, the current ones last, since files of any release must decode.
MODELS = ("default.safetensors",)
TABLES = ("priors.safetensors",)


RESOLUTION = 2.0**16  # edges of bins are integers in units of 1 / RESOLUTION of a coordinate
_LARGEST = 1 << 20  # bytes of a file of tables
MOST_EDGES = 1024  # edges of a table
FARTHEST = 100 * int(RESOLUTION)  # largest absolute edge


@dataclass(frozen=True)
class Prior:
    """The table of one variable: edges of bins (in units of 1/65536 of its coordinate), counts (contexts x bins)."""

    edges: Integers
    counts: Integers

    def table(
        self, step: float, low: int, high: int, adapts: bool, apart: int = 0, places: Integers | None = None
    ) -> CodingTable:
        """The table of cells from `low` to `high` (excluded) of this step; bins without a cell join the next one.

        If `apart` is not 0, the last bin is that of `apart` further cells, which follow `high`. Cells of unequal width
        begin at `places`, which are in steps.
        """
        bins = self.counts.shape[1] - (apart > 0)
        edges = np.floor(self.edges[: bins + 1] / (RESOLUTION * step)).astype(np.int64)
        edges = np.clip(edges if places is None else np.searchsorted(places, edges), low, high)
        edges[0], edges[-1] = low, high
        filled = np.diff(edges) > 0
        into = np.minimum(np.cumsum(filled) - filled, filled.sum() - 1)
        counts = np.zeros((len(self.counts), int(filled.sum())), np.int64)
        np.add.at(counts.T, into, self.counts[:, :bins].T)
        ends = [high, high + apart] if apart else [high]
        return CodingTable(np.append(edges[:-1][filled], ends), np.hstack([counts, self.counts[:, bins:]]), adapts)


@dataclass(frozen=True)
class Priors:
    """The tables of all variables, and the bytes of their file, whose SHA-256 identifies them."""

    content: bytes
    of: Mapping[str, Prior] = field(compare=False)  # follow from the bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes, as hexadecimal digits."""
        return sha256_of(self.content)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Prior]) -> "Priors":
        """The priors of tables, whose counts must be below 65536."""
        arrays = {f"{name}.edges": prior.edges.astype(np.int32) for name, prior in tables.items()}
        arrays |= {f"{name}.counts": prior.counts.astype(np.uint16) for name, prior in tables.items()}
        return cls.from_bytes(save(arrays))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Priors":
        """The priors of a file's bytes; raises ValueError for invalid ones."""
        try:
            arrays = load(content) if len(content) <= _LARGEST else {}
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise ValueError("not a safetensors file") from error
        names = sorted({name.partition(".")[0] for name in arrays})
        if not names or set(arrays) != {f"{name}.{part}" for name in names for part in ("edges", "counts")}:
            raise ValueError("no tables of edges and counts")
        tables = {name: _prior(arrays[f"{name}.edges"], arrays[f"{name}.counts"]) for name in names}
        return cls(content, tables)


def _prior(edges: npt.NDArray[np.generic], counts: npt.NDArray[np.generic]) -> Prior:
    """A prior of the arrays that `Priors.from_tables` stores; raises ValueError for others."""
    if (edges.dtype.name, counts.dtype.name, edges.ndim, counts.ndim) != ("int32", "uint16", 1, 2):
        raise ValueError("tables of another type or shape")
    found = Prior(edges.astype(np.int64), counts.astype(np.int64))
    if not 3 <= len(edges) <= MOST_EDGES or counts.shape[1] != len(edges) - 1:
        raise ValueError(f"tables of {counts.shape[1]} bins between {len(edges)} edges")
    if (np.diff(found.edges) <= 0).any() or np.abs(found.edges).max() > FARTHEST or found.counts.min(initial=1) < 1:
        raise ValueError("tables with edges out of order or range, or counts of 0")
    return found


def default_priors() -> Priors:
    """The packaged priors of this release."""
    return _read(packaged(TABLES[-1]))


def packaged_priors(sha256: str) -> Priors | None:
    """The priors with this SHA-256 of those packaged with this or an earlier release, or None."""
    content = packaged_as(sha256, TABLES)
    return None if content is None else _read(content)


@cache
def _read(content: bytes) -> Priors:
    return Priors.from_bytes(content)


@cache
def packaged(name: str) -> bytes:
    """The bytes of a packaged file."""
    return (resources.files("atlasae") / "models" / name).read_bytes()


def packaged_as(sha256: str, names: Sequence[str]) -> bytes | None:
    """The bytes of the packaged file with this SHA-256, or None."""
    return next((content for content in map(packaged, names) if sha256_of(content) == sha256), None)


def sha256_of(content: bytes) -> str:
    """The SHA-256 of bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
