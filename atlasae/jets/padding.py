"""What stands where there is no jet: rows that repeat bit for bit, such as -999 four times, each kept once."""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Stored = Sequence[npt.NDArray[Any]]  # columns of a collection
Codes = npt.NDArray[np.int32]
Latents = npt.NDArray[np.float32]

MOST = 8  # rows of a collection
FEWEST = 10  # times that one has to come in a sample
_DIGITS = re.compile("[0-9a-f]+")


@dataclass(frozen=True)
class Padding:
    """The rows of stored numbers that stand where there is no jet, each number as the digits (hex) of its bits.

    The code of a row is its place here, from 1 on; that of what is none of these is 0.
    """

    rows: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of_sample(cls, columns: Stored) -> "Padding":
        """The rows that come most often in these columns, of what is no jet."""
        numbers = np.stack([_bits(column).astype(np.uint64) for column in columns], axis=1)
        found, times = np.unique(numbers, axis=0, return_counts=True)
        order = np.argsort(-times, kind="stable")[:MOST]
        widths = [2 * column.dtype.itemsize for column in columns]
        return cls(tuple(_digits(found[i].tolist(), widths) for i in order if times[i] >= FEWEST))

    def config(self) -> dict[str, Any]:
        """What `of_config` needs; nothing where there are no such rows."""
        return {"padding": [list(row) for row in self.rows]} if self.rows else {}

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "Padding":
        """The rows that a codec's configuration has; raises ValueError where these are none."""
        rows = msgspec.convert(config.get("padding", []), tuple[tuple[str, ...], ...])
        if wrong := [digits for row in rows for digits in row if not _DIGITS.fullmatch(digits)]:
            raise ValueError(f"padding {wrong[0]!r} is no number")
        return cls(rows)

    def check(self, dtypes: Sequence[np.dtype[Any]]) -> None:
        """Raise ValueError where a row is not one of numbers of these types."""
        widths = [2 * dtype.itemsize for dtype in dtypes]
        for place, row in enumerate(self.rows, start=1):
            if [len(digits) for digits in row] != widths:
                raise ValueError(f"row {place} of the padding is none of {', '.join(map(str, dtypes))}")

    def find(self, columns: Stored) -> Codes:
        """The code of every row of columns."""
        codes = np.zeros(len(columns[0]), np.int32)
        for code, row in enumerate(self.rows, start=1):
            pairs = zip(columns, row, strict=True)
            codes[np.all([_bits(column) == int(digits, 16) for column, digits in pairs], axis=0)] = code
        return codes

    def fill(self, columns: Stored, codes: Codes) -> None:
        """Put the rows into columns of their types (`check`), where their codes are."""
        for code, row in enumerate(self.rows, start=1):
            for column, digits in zip(columns, row, strict=True):
                _bits(column)[codes == code] = int(digits, 16)

    def mark(self, latents: Latents, codes: Codes) -> Latents:
        """Latents (n x words) whose first word is the negative code, where there is one: no grid has such words.

        The second word tells the row itself, so that a skim is not taken for one of a file with other padding.
        """
        if not codes.any():
            return latents
        marked = latents.copy()
        for code, row in enumerate(self.rows, start=1):
            marked[codes == code, 0] = -code
            marked[codes == code, 1:2] = _mark_of(row)
        return marked

    def unmark(self, latents: Latents) -> tuple[Latents, Codes]:
        """The inverse of `mark`, with some latents in the place of codes; raises ValueError for other codes."""
        marked = latents[:, 0] < 0
        if not self.rows or not marked.any():
            return latents, np.zeros(len(latents), np.int32)
        codes = np.where(marked, -latents[:, 0], 0)
        if (codes > len(self.rows)).any() or (codes != np.rint(codes)).any():
            raise ValueError("latents stand for rows that are not there")
        return np.where(marked[:, None], np.float32(1), latents), codes.astype(np.int32)


def _bits(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory as whole numbers."""
    return column.view(np.dtype(f"u{column.dtype.itemsize}").newbyteorder(column.dtype.byteorder))


def _mark_of(row: Sequence[str]) -> np.float32:
    """A float32 in [1, 2) for a row."""
    return np.uint32(0x3F800000 | zlib.crc32(" ".join(row).encode()) & 0x7FFFFF).view(np.float32)


def _digits(numbers: Sequence[int], widths: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{number:0{width}x}" for number, width in zip(numbers, widths, strict=True))
