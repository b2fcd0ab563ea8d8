"""What the packed layout expects of jets before it has seen any: tables of whole numbers, packaged for ever."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from atlasae.codecs.entropy import Integers, Table
from atlasae.codecs.packaged import TABLES, packaged, packaged_as, sha256_of

RESOLUTION = 2.0**16  # of the edges of bins: whole numbers too
_LARGEST = 1 << 20  # bytes
MOST_EDGES = 1024  # of a table
FARTHEST = 100 * int(RESOLUTION)  # edge


@dataclass(frozen=True)
class Prior:
    """What is expected of one variable: edges of bins (in coordinates times 65,536), counts (contexts x bins)."""

    edges: Integers
    counts: Integers

    def table(self, step: float, low: int, high: int, adapts: bool, apart: int = 0) -> Table:
        """The table of cells from `low` to `high` (excluded) of this step; bins without a cell join the next one.

        The last bin may stand for so many cells `apart`, which then come after `high`.
        """
        bins = self.counts.shape[1] - (apart > 0)
        edges = np.clip(np.floor(self.edges[: bins + 1] / (RESOLUTION * step)).astype(np.int64), low, high)
        edges[0], edges[-1] = low, high
        filled = np.diff(edges) > 0
        into = np.minimum(np.cumsum(filled) - filled, filled.sum() - 1)
        counts = np.zeros((len(self.counts), int(filled.sum())), np.int64)
        np.add.at(counts.T, into, self.counts[:, :bins].T)
        ends = [high, high + apart] if apart else [high]
        return Table(np.append(edges[:-1][filled], ends), np.hstack([counts, self.counts[:, bins:]]), adapts)


@dataclass(frozen=True)
class Priors:
    """The priors of all variables, and the bytes they are stored as, whose SHA-256 is their name."""

    content: bytes
    of: Mapping[str, Prior]

    @property
    def sha256(self) -> str:
        """The name."""
        return sha256_of(self.content)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Prior]) -> "Priors":
        """Store tables; counts are below 65,536."""
        arrays = {f"{name}.edges": prior.edges.astype(np.int32) for name, prior in tables.items()}
        arrays |= {f"{name}.counts": prior.counts.astype(np.uint16) for name, prior in tables.items()}
        return cls.from_bytes(save(arrays))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Priors":
        """Read stored tables; raises ValueError where there are none, or such as can't be."""
        try:
            arrays = load(content) if len(content) <= _LARGEST else {}
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise ValueError("no safetensors") from error
        names = sorted({name.partition(".")[0] for name in arrays})
        if not names or set(arrays) != {f"{name}.{part}" for name in names for part in ("edges", "counts")}:
            raise ValueError("no tables of edges and counts")
        tables = {name: _prior(arrays[f"{name}.edges"], arrays[f"{name}.counts"]) for name in names}
        return cls(content, tables)


def _prior(edges: npt.NDArray[np.generic], counts: npt.NDArray[np.generic]) -> Prior:
    """A prior of stored arrays, as `Priors.from_tables` writes them."""
    if (edges.dtype.name, counts.dtype.name, edges.ndim, counts.ndim) != ("int32", "uint16", 1, 2):
        raise ValueError("tables of another type or shape")
    found = Prior(edges.astype(np.int64), counts.astype(np.int64))
    if not 3 <= len(edges) <= MOST_EDGES or counts.shape[1] != len(edges) - 1:
        raise ValueError(f"tables of {counts.shape[1]} bins between {len(edges)} edges")
    if (np.diff(found.edges) <= 0).any() or np.abs(found.edges).max() > FARTHEST or found.counts.min(initial=1) < 1:
        raise ValueError("tables of bins that can't be")
    return found


@cache
def default_priors() -> Priors:
    """The packaged priors."""
    return Priors.from_bytes(packaged(TABLES[-1]))


@cache
def packaged_priors(sha256: str) -> Priors | None:
    """The packaged priors of this name, now or in any earlier release, or None."""
    content = packaged_as(sha256, TABLES)
    return None if content is None else Priors.from_bytes(content)
