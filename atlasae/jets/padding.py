"""Padding: rows that mark the absence of a jet and repeat bit for bit, such as -999 four times."""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Stored = Sequence[npt.NDArray[Any]]  # the columns of a collection
Config = dict[str, Any]  # the configuration of a codec, as JSON
Codes = npt.NDArray[np.int32]
Latents = npt.NDArray[np.float32]

MOST = 8  # padding rows per collection
FEWEST = 10  # occurrences of a padding row in the sample
_DIGITS = re.compile("[0-9a-f]+")


@dataclass(frozen=True)
class Padding:
    """The padding rows of a collection, each number as the hexadecimal digits of its bits.

    The code of a row is its position in `rows`, counted from 1; all other rows have code 0.
    """

    rows: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of_sample(cls, columns: Stored) -> "Padding":
        """The most frequent rows of these columns, which hold no jets: at most 8, each with 10 occurrences or more."""
        numbers = np.stack([_bits(column).astype(np.uint64) for column in columns], axis=1)
        found, times = np.unique(numbers, axis=0, return_counts=True)
        order = np.argsort(-times, kind="stable")[:MOST]
        widths = [2 * column.dtype.itemsize for column in columns]
        return cls(tuple(_digits(found[i].tolist(), widths) for i in order if times[i] >= FEWEST))

    def config(self) -> Config:
        """The entry `padding` of a codec's configuration, which `of_config` reads; empty without rows."""
        return {"padding": [list(row) for row in self.rows]} if self.rows else {}

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "Padding":
        """The padding of a codec's configuration; raises ValueError for digits that are not hexadecimal."""
        rows = msgspec.convert(config.get("padding", []), tuple[tuple[str, ...], ...])
        if wrong := [digits for row in rows for digits in row if not _DIGITS.fullmatch(digits)]:
            raise ValueError(f"padding {wrong[0]!r} is not hexadecimal")
        return cls(rows)

    def check(self, dtypes: Sequence[np.dtype[Any]]) -> None:
        """Raise ValueError if a row does not have as many bits as these types."""
        widths = [2 * dtype.itemsize for dtype in dtypes]
        for place, row in enumerate(self.rows, start=1):
            if [len(digits) for digits in row] != widths:
                raise ValueError(f"row {place} of the padding does not have the bits of {', '.join(map(str, dtypes))}")

    def find(self, columns: Stored) -> Codes:
        """The code of every row of these columns (int32)."""
        codes = np.zeros(len(columns[0]), np.int32)
        for code, row in enumerate(self.rows, start=1):
            pairs = zip(columns, row, strict=True)
            codes[np.all([_bits(column) == int(digits, 16) for column, digits in pairs], axis=0)] = code
        return codes

    def fill(self, columns: Stored, codes: Codes) -> None:
        """Write the padding rows into the columns where `codes` has theirs; `check` must have passed."""
        for code, row in enumerate(self.rows, start=1):
            for column, digits in zip(columns, row, strict=True):
                _bits(column)[codes == code] = int(digits, 16)

    def mark(self, latents: Latents, codes: Codes) -> Latents:
        """Latents (n x words) with -code as the first word of padding rows; words of a grid are never negative.

        The second word is a checksum of the row, so that a skim is not decoded with the padding of another file.
        """
        if not codes.any():
            return latents
        marked = latents.copy()
        for code, row in enumerate(self.rows, start=1):
            marked[codes == code, 0] = -code
            marked[codes == code, 1:2] = _mark_of(row)
        return marked

    def unmark(self, latents: Latents) -> tuple[Latents, Codes]:
        """Latents, with 1.0 in padding rows, and codes: the inverse of `mark`; raises ValueError for unknown codes."""
        marked = latents[:, 0] < 0
        if not self.rows or not marked.any():
            return latents, np.zeros(len(latents), np.int32)
        codes = np.where(marked, -latents[:, 0], 0)
        if (codes > len(self.rows)).any() or (codes != np.rint(codes)).any():
            raise ValueError("latents have a code of padding that the codec lacks")
        return np.where(marked[:, None], np.float32(1), latents), codes.astype(np.int32)


def _bits(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory as unsigned integers."""
    return column.view(np.dtype(f"u{column.dtype.itemsize}").newbyteorder(column.dtype.byteorder))


def _mark_of(row: Sequence[str]) -> np.float32:
    """23 bits of the CRC-32 of a row as the mantissa of a float32 in [1, 2)."""
    return np.uint32(0x3F800000 | zlib.crc32(" ".join(row).encode()) & 0x7FFFFF).view(np.float32)


def _digits(numbers: Sequence[int], widths: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{number:0{width}x}" for number, width in zip(numbers, widths, strict=True))
