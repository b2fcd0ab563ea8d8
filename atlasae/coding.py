"""Whole numbers to bytes and back by tables of whole numbers: one walk over the numbers writes them, and reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from constriction import stream  # type: ignore[import-untyped]

Cells = npt.NDArray[np.int32]
Contexts = npt.NDArray[np.uint16]
Words = npt.NDArray[np.uint32]

SEEN = 64  # what one more number adds to a count: priors are that much finer
LARGEST_UNIFORM = 1 << 16  # of constriction's 24 bits, so that none is wasted; what is larger is coded as two digits
MOST_LOOKED_UP = 1 << 20  # cells that a table of bins is made for


@dataclass
class Table:
    """How likely each bin of cells is in every context: whole numbers, alike wherever a file is read.

    `edges` (bins + 1) are the first cells of the bins; inside a bin all cells are alike. `counts` (contexts x bins)
    grow with what is coded, so that a table soon fits jets it was not made for.
    """

    edges: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    adapts: bool = True

    @cached_property
    def widths(self) -> Cells:
        """Cells of each bin."""
        return np.diff(self.edges).astype(np.int32)

    def bins(self, cells: Cells) -> Cells:
        """The bin of every cell."""
        if self.edges[-1] - self.edges[0] > MOST_LOOKED_UP:
            return np.asarray(np.searchsorted(self.edges, cells, side="right") - 1, np.int32)
        return np.asarray(self._lookup[cells - np.int32(self.edges[0])])

    @cached_property
    def _lookup(self) -> Cells:
        return np.repeat(np.arange(len(self.widths), dtype=np.int32), self.widths)

    @cached_property
    def first(self) -> Cells:
        """The first cell of each bin."""
        return self.edges[:-1].astype(np.int32)

    def model(self, context: int) -> Any:
        """The coder's model of a context; counts below 2^53 are exact as float64, and all else is integers."""
        return stream.model.Categorical(self.counts[context].astype(np.float64), perfect=False)

    def learn(self, contexts: Contexts | None, bins: Cells) -> None:
        """Count what was coded."""
        if self.adapts:
            size = self.counts.shape[1]
            where = bins if contexts is None else contexts * np.int32(size) + bins
            self.counts += SEEN * np.bincount(where, minlength=self.counts.size).reshape(self.counts.shape)


class Coder(Protocol):
    """Either direction: a writer takes the cells and returns them, a reader takes none and returns those written."""

    def code(self, table: Table, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Code n cells, each in its context (all in the first, where there are none)."""
        ...

    def code_uniform(self, size: int, cells: Cells | None, n: int) -> Cells:
        """Code n cells below `size` that are all alike."""
        ...


class Writer:
    """Cells to words. The coder is a stack: what is to be read first is written last, when all is known."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []

    def code(self, table: Table, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Note cells to be written."""
        assert cells is not None
        bins = table.bins(cells)
        if len(table.widths) > 1:
            for context, rows in _by_context(contexts, n):
                self.steps.append((bins if rows is None else bins[rows], table.model(context)))
        self._offsets(cells - table.first[bins], table.widths[bins])
        table.learn(contexts, bins)
        return cells

    def code_uniform(self, size: int, cells: Cells | None, n: int) -> Cells:
        """Note cells below `size` to be written."""
        assert cells is not None
        self._offsets(cells, np.full(n, size, np.int32))
        return cells

    def _offsets(self, offsets: Cells, sizes: Cells) -> None:
        for digits, of in _digits(sizes):
            self._uniform(offsets // digits % LARGEST_UNIFORM, of)

    def _uniform(self, offsets: Cells, sizes: Cells) -> None:
        some = sizes > 1
        if not some.all():
            offsets, sizes = offsets[some], sizes[some]
        if len(sizes):
            self.steps.append((offsets, stream.model.Uniform(), sizes))

    def words(self) -> Words:
        """All that was noted, as the words that `Reader` takes."""
        coder = stream.stack.AnsCoder()
        for step in reversed(self.steps):
            coder.encode_reverse(*step)
        return np.asarray(coder.get_compressed(), np.uint32)


class Reader:
    """Words back to cells."""

    def __init__(self, words: Words) -> None:
        self.coder = stream.stack.AnsCoder(words)

    @property
    def is_at_end(self) -> bool:
        """Whether all was read that was written."""
        return bool(self.coder.is_empty())

    def code(self, table: Table, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Read cells."""
        bins = np.zeros(n, np.int32)
        if len(table.widths) > 1:
            for context, rows in _by_context(contexts, n):
                if rows is None:
                    bins = self.coder.decode(table.model(context), n)
                else:
                    bins[rows] = self.coder.decode(table.model(context), len(rows))
        found = table.first[bins] + self._offsets(table.widths[bins])
        table.learn(contexts, bins)
        return np.asarray(found)

    def code_uniform(self, size: int, cells: Cells | None, n: int) -> Cells:
        """Read cells below `size`."""
        return self._offsets(np.full(n, size, np.int32))

    def _offsets(self, sizes: Cells) -> Cells:
        found = np.zeros(len(sizes), np.int32)
        for digits, of in _digits(sizes):
            found += digits * self._uniform(of)
        return np.minimum(found, sizes - 1)

    def _uniform(self, sizes: Cells) -> Cells:
        some = sizes > 1
        if some.all():
            return np.asarray(self.coder.decode(stream.model.Uniform(), sizes)) if len(sizes) else sizes
        found = np.zeros(len(sizes), np.int32)
        if some.any():
            found[some] = self.coder.decode(stream.model.Uniform(), sizes[some])
        return found


def _digits(sizes: Cells) -> Iterator[tuple[int, Cells]]:
    """Place value and number of values of each digit: one, unless some numbers are too large for that."""
    if len(sizes) and int(sizes.max()) > LARGEST_UNIFORM:
        yield LARGEST_UNIFORM, (sizes - 1) // LARGEST_UNIFORM + 1
        sizes = np.minimum(sizes, LARGEST_UNIFORM)
    yield 1, sizes


def _by_context(contexts: Contexts | None, n: int) -> Iterator[tuple[int, npt.NDArray[np.int64] | None]]:
    """Every context that occurs and the rows it is of (None: all)."""
    if not n:
        return
    if contexts is None:
        yield 0, None
        return
    order = np.argsort(contexts, kind="stable")
    sizes = np.bincount(contexts)
    ends = np.cumsum(sizes)
    for context in np.flatnonzero(sizes).tolist():
        yield context, order[ends[context] - sizes[context] : ends[context]]
