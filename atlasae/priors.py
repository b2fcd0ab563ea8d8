"""What the packed layout expects of jets before it has seen any: tables of whole numbers, packaged for ever."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from atlasae.coding import Table

RESOLUTION = 2.0**16  # of the edges of bins: whole numbers too
_PACKAGED = ("priors.safetensors",)

Integers = npt.NDArray[np.int64]


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
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def from_tables(cls, tables: Mapping[str, Prior]) -> "Priors":
        """Store tables; counts are below 65,536."""
        arrays = {f"{name}.edges": prior.edges.astype(np.int32) for name, prior in tables.items()}
        arrays |= {f"{name}.counts": prior.counts.astype(np.uint16) for name, prior in tables.items()}
        return cls.from_bytes(save(arrays))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Priors":
        """Read stored tables."""
        arrays = {name: array.astype(np.int64) for name, array in load(content).items()}
        names = sorted({name.partition(".")[0] for name in arrays})
        return cls(content, {name: Prior(arrays[f"{name}.edges"], arrays[f"{name}.counts"]) for name in names})


@cache
def default_priors() -> Priors:
    """The packaged priors."""
    return _read(_PACKAGED[-1])


def packaged_priors(sha256: str) -> Priors | None:
    """The packaged priors of this name, now or in any earlier release, or None."""
    return next((priors for priors in map(_read, _PACKAGED) if priors.sha256 == sha256), None)


@cache
def _read(name: str) -> Priors:
    return Priors.from_bytes((resources.files("atlasae") / "models" / name).read_bytes())
