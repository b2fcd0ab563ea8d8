"""Entropy coding of integers with tables of integer probabilities; the same calls write and read.

A coder is compiled where the compiled parts are there, and constriction's otherwise: both make the same words.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from constriction import stream  # type: ignore[import-untyped]

from atlasae.native.library import CoderStruct, RulerStruct, TableStruct, address_of, call, library

Cells = npt.NDArray[np.int32]
Contexts = npt.NDArray[np.uint16]
Words = npt.NDArray[np.uint32]
Integers = npt.NDArray[np.int64]

SEEN = 64  # count of one coded cell; counts of priors may thus be fractions of a cell
FAITH = 600  # pseudo-count of the expectation: after 600 cells a bin's observed frequency has half of the weight
SHARE = 1 << 16  # shares are integers in units of 1 / SHARE
LARGEST_UNIFORM = 1 << 16  # sizes; constriction has 24 bits for a uniform model. Larger offsets are coded as two digits
MOST_LOOKED_UP = 1 << 20  # cells of the largest range with a lookup table of bins
GUESSES = 1 << 8  # by the leading bits of a quantile: the bin at which the compiled reader begins to search
PLACE_BITS = 15  # by the leading bits of a cell: the bin at which the compiled writer begins to search
KEPT, FRAME = 3, 5  # numbers that the compiled writer keeps: of a cell in ranges, and of some cells beside contexts
OF_BIN = 16  # bits of a place, below those of a bin
WORD_BITS = 32
PRECISION = 24  # bits of a probability


class Binned:
    """Bins of cells: `edges` (bins + 1) are the first cells of the bins, and the end."""

    edges: Integers

    @cached_property
    def widths(self) -> Cells:
        """The number of cells of each bin."""
        return np.diff(self.edges).astype(np.int32)

    @cached_property
    def widest(self) -> int:
        """The number of cells of the widest bin."""
        return int(self.widths.max())

    @cached_property
    def narrowest(self) -> int:
        """The number of cells of the narrowest bin."""
        return int(self.widths.min())

    @cached_property
    def first(self) -> Cells:
        """The first cell of each bin."""
        return self.edges[:-1].astype(np.int32)


@dataclass
class CodingTable(Binned):
    """The probabilities of bins of cells in every context, as integers, so that all machines decode alike.

    Cells in a bin are equally likely. To adapt to other jets than those of the prior, `settle` adds the cells coded
    since the last call to `learned`, and multiplies each bin of the prior (both contexts x bins) by the ratio of
    observed to expected cells over all contexts.
    """

    edges: Integers
    prior: Integers
    adapts: bool = True

    def __post_init__(self) -> None:
        """Start from the prior, with no cells coded."""
        self.prior = np.ascontiguousarray(self.prior, np.int64)
        self.learned = np.zeros_like(self.prior)
        self._counts: Integers | None = self.prior
        self._coded: list[Cells | Integers] = []
        self._models: dict[int, Any] = {}
        self._compiled: CompiledTable | None = None

    @property
    def compiled(self) -> "CompiledTable":
        """The same table for a compiled coder."""
        if self._compiled is None:
            self._compiled = CompiledTable(self)
        return self._compiled

    def bins(self, cells: Cells | Integers) -> Cells:
        """The bin of every cell."""
        if self.edges[-1] - self.edges[0] > MOST_LOOKED_UP:
            return self._stepped(cells)
        return np.asarray(self._lookup.take(cells - np.int32(self.edges[0])))

    def _searched(self, cells: Cells | Integers) -> Cells:
        return np.asarray(np.searchsorted(self.edges, cells, side="right") - 1, np.int32)

    def _stepped(self, cells: Cells | Integers) -> Cells:
        """The bins of cells from where `places` has them begin; a third of the time of a search of all edges."""
        bits, places = self.places
        found: Cells = places.take((cells - self.edges[0]) >> bits)
        ends = self.edges[1:]
        while (beyond := cells >= ends.take(found)).any():
            found += beyond
        return found

    @cached_property
    def _lookup(self) -> Cells:
        return np.repeat(np.arange(len(self.widths), dtype=np.int32), self.widths)

    def model(self, context: int) -> Any:
        """The coder's model of a context, from its counts."""
        if context not in self._models:
            self._models[context] = categorical(self.counts[context])
        return self._models[context]

    def note(self, runs: "Runs", bins: Cells | Integers) -> None:
        """Keep coded bins, in the order of their contexts, until `settle`."""
        if self.adapts:
            size = self.prior.shape[1]
            self._coded.append(bins if runs.order is None else np.repeat(runs.contexts * size, runs.lengths) + bins)

    def fresh(self) -> Self:
        """The same table, with no cells coded; what follows from the prior alone is not computed again."""
        if self.adapts:
            _ = self.shares, self.faith  # made once, for all copies
        _ = self.places, self.codes, self.in_bins
        found = copy(self)
        found.__post_init__()
        return found

    @property
    def counts(self) -> Integers:
        """The counts (contexts x bins) since the last call of `settle`."""
        if self._counts is None:
            self._counts = SEEN * self.learned + self._corrected()
        return self._counts

    def settle(self) -> None:
        """Update the counts with the bins coded since the last call."""
        if self._compiled is not None and self.adapts:
            self._compiled = self._compiled.settled()
            self._counts = None
        if self._coded:
            seen = np.bincount(np.concatenate(self._coded), minlength=self.learned.size)
            self.learned += seen.reshape(self.learned.shape)
            self._coded.clear()
            self._models.clear()
            self._counts = None

    def _corrected(self) -> Integers:
        """The prior times observed over expected cells; IEEE 754 makes its few float64 operations equal everywhere."""
        expected = (self.learned.sum(axis=1, keepdims=True) * self.shares).sum(axis=0)
        ratio = (self.learned.sum(axis=0) * SHARE + self.faith) / (expected + self.faith)
        return np.asarray(np.maximum(1, np.floor(self.prior * ratio)), np.int64)

    @cached_property
    def shares(self) -> Integers:
        """The share of each bin (contexts x bins) in its context, by the prior."""
        return np.asarray(self.prior * SHARE // np.maximum(1, self.prior.sum(axis=1, keepdims=True)))

    @cached_property
    def faith(self) -> Integers:
        """The pseudo-count of the expectation of each bin, in shares."""
        usual = self.prior.sum(axis=0) * SHARE // max(1, int(self.prior.sum()))
        return np.asarray(FAITH * usual + 1)

    @cached_property
    def in_bins(self) -> dict[str, npt.NDArray[Any]]:
        """By bin: its first cell, how many (up to `LARGEST_UNIFORM`), the probability of one, and 2^32 over that."""
        widths = np.clip(self.widths, 1, LARGEST_UNIFORM).astype(np.uint32)
        each = np.uint32(1 << PRECISION) // widths
        reciprocals = (np.uint64(1 << WORD_BITS) // each).astype(np.uint32)
        return {"firsts": self.first, "widths": widths, "each": each, "reciprocals": reciprocals}

    @cached_property
    def places(self) -> tuple[int, Cells]:
        """By the leading bits of a cell: how many bits follow, and the bin at which to begin a search."""
        first, last = int(self.edges[0]), int(self.edges[-1]) - 1
        bits = max(0, (last - first).bit_length() - PLACE_BITS)
        return bits, self._searched(np.arange(first, last + 1, 1 << bits))

    @cached_property
    def codes(self) -> Words | None:
        """The bin and the place in it of each cell, as the compiled writer keeps them; None for too many cells."""
        bits, bins = self.places
        if bits or self.widest > LARGEST_UNIFORM:
            return None
        places = np.arange(len(bins), dtype=np.int32) + (self.first[0] - self.first.take(bins))
        return np.asarray(bins << OF_BIN | places, np.uint32)


def categorical(counts: Integers) -> Any:
    """The coder's model of bins with these counts, which are below 2^53 and thus exact as float64."""
    return stream.model.Categorical(counts.astype(np.float64), perfect=False)


def uniform(size: int) -> CodingTable:
    """The table in which all cells below `size` are equally likely; it does not adapt."""
    return CodingTable(np.array([0, size]), np.ones((1, 1), np.int64), adapts=False)


class Ruler(Protocol):
    """Cells of unequal widths, other ones in every row: where they lie on the fine cells of a table."""

    def fine(self, cells: Cells) -> Integers:
        """The fine cell at which the cell of each row begins."""
        ...

    def start(self, edges: Integers) -> Integers:
        """The first cell of each row that begins at this fine cell or above."""
        ...

    def take(self, rows: Integers) -> Self:
        """The ruler of these rows."""
        ...

    @property
    def struct(self) -> RulerStruct:
        """The same for a compiled coder."""
        ...


class Coder(Protocol):
    """A writer, which takes cells and returns them, or a reader, which takes None and returns the cells written."""

    def code(self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Code n cells, each in its context (None: all in context 0)."""
        ...


class WordWriter:
    """Cells to words. The ANS coder is a stack: steps are collected, and encoded in reverse by `words`."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []

    def code(self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Add cells to the steps to be encoded, and return them."""
        return self.code_measured(table, contexts, cells, n, None)

    def code_measured(
        self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int, ruler: Ruler | None
    ) -> Cells:
        """The same for cells that a ruler puts on those of the table."""
        assert cells is not None
        runs = runs_of(contexts, n)
        sorted_cells = cells if runs.order is None else cells.take(runs.order)
        measured = runs.measured(ruler)
        bins = table.bins(measured.fine(sorted_cells) if measured else sorted_cells)
        if len(table.widths) > 1:
            self.steps.extend((bins[first:end], table.model(context)) for context, first, end in runs)
        first, widths = _ranges(table, bins, measured)
        offsets = sorted_cells - first
        if table.widest > LARGEST_UNIFORM:
            high, sizes = offsets // LARGEST_UNIFORM, (widths - 1) // LARGEST_UNIFORM + 1
            self._uniform(high, sizes, 1)
            offsets, widths = offsets % LARGEST_UNIFORM, np.minimum(widths, LARGEST_UNIFORM)
        self._uniform(offsets, widths, 1 if measured else table.narrowest)
        table.note(runs, bins)
        return cells

    def _uniform(self, offsets: Cells, sizes: Cells, smallest: int) -> None:
        if smallest == 1:
            some = sizes > 1
            offsets, sizes = offsets[some], sizes[some]
        if len(sizes):
            self.steps.append((offsets, stream.model.Uniform(), sizes))

    def words(self) -> Words:
        """The words of all steps, for `Reader`."""
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
        """Whether all cells have been read."""
        return bool(self.coder.is_empty())

    def code(self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Read n cells."""
        return self.code_measured(table, contexts, cells, n, None)

    def code_measured(
        self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int, ruler: Ruler | None
    ) -> Cells:
        """The same for cells that a ruler puts on those of the table; raises ValueError for a bin without any."""
        runs = runs_of(contexts, n)
        bins = self._bins(table, runs, n)
        measured = runs.measured(ruler)
        found, widths = _ranges(table, bins, measured)
        narrowest = 1 if measured else table.narrowest
        if table.widest > LARGEST_UNIFORM:
            high = self._uniform((widths - 1) // LARGEST_UNIFORM + 1, 1)
            offsets = high * LARGEST_UNIFORM + self._uniform(np.minimum(widths, LARGEST_UNIFORM), narrowest)
            found += np.minimum(offsets, widths - 1)
        else:
            found += self._uniform(widths, narrowest)
        table.note(runs, bins)
        return found if runs.order is None else _put(found, runs.order)

    def _bins(self, table: CodingTable, runs: "Runs", n: int) -> Integers:
        if len(table.widths) == 1 or not n:
            return np.zeros(n, np.int64)
        parts = [self.coder.decode(table.model(context), end - first) for context, first, end in runs]
        return np.concatenate(parts, dtype=np.int64)

    def _uniform(self, sizes: Cells, smallest: int) -> Cells:
        if smallest > 1 and len(sizes):
            return np.asarray(self.coder.decode(stream.model.Uniform(), sizes))
        found, some = np.zeros(len(sizes), np.int32), sizes > 1
        if some.any():
            found[some] = self.coder.decode(stream.model.Uniform(), sizes[some])
        return found


class CompiledTable:
    """The arrays of a table for a compiled coder, which makes the probabilities of a context when it meets it.

    It has room for the probabilities of so many blocks, after each of which the compiled walk lets it learn.
    """

    def __init__(self, table: CodingTable, blocks: int = 1) -> None:
        contexts, bins = table.prior.shape
        self.blocks = blocks
        place_bits, places = table.places
        edges = np.ascontiguousarray(table.edges, np.int64)
        self.arrays: dict[str, npt.NDArray[Any]] = {"edges": edges, "places": places, "prior": table.prior}
        self.arrays |= {"starts": np.empty((blocks, contexts, bins + 1), np.uint32)}
        self.arrays |= {"guesses": np.empty((contexts, GUESSES), np.uint16), "known": np.zeros(contexts, np.uint8)}
        if table.adapts:
            self.arrays |= {"seen": np.zeros_like(table.prior), "learned": table.learned}
            self.arrays |= {"shares": table.shares, "faith": table.faith, "ratios": np.empty(bins)}
            self.arrays |= {name: np.zeros(bins, np.int64) for name in ("counts", "observed", "expected")}
        self.arrays |= table.in_bins
        if table.codes is not None:
            self.arrays["codes"] = table.codes
        self.struct = TableStruct(contexts=contexts, bins=bins, place_bits=place_bits, widest=table.widest)
        for name, array in self.arrays.items():
            setattr(self.struct, name, address_of(array))

    def settled(self) -> Self:
        """The table with the cells coded so far; the probabilities of this one stay, for cells that are kept."""
        call("atlasae_learn", self.struct)
        found = copy(self)
        found.arrays = self.arrays | {"starts": np.empty_like(self.arrays["starts"])}
        found.struct = TableStruct.from_buffer_copy(self.struct)
        found.struct.starts = address_of(found.arrays["starts"])
        return found


def _structs(tables: Sequence[CompiledTable]) -> Any:
    """The tables as C has them, with room for those of all blocks."""
    blocks = max(table.blocks for table in tables)
    return (TableStruct * (blocks * len(tables)))(*(table.struct for table in tables))


class CompiledWriter:
    """Cells to words, compiled. Cells are kept with their tables, and encoded in reverse by `words`."""

    def __init__(self) -> None:
        self.kept: list[tuple[Sequence[CompiledTable], Any, Words]] = []

    def code(self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Keep cells to be encoded, and return them."""
        assert cells is not None
        given = np.ascontiguousarray(cells, np.int32)
        self.run("atlasae_code", [table.compiled], n, 1, _contexts(contexts), given, n)
        return cells

    def code_measured(
        self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int, ruler: Ruler
    ) -> Cells:
        """The same for cells that a ruler puts on those of the table."""
        assert cells is not None
        given = np.ascontiguousarray(cells, np.int32)
        self.run("atlasae_measured", [table.compiled], n, 1, _contexts(contexts), given, n, ruler.struct)
        return cells

    def run(self, name: str, tables: Sequence[CompiledTable], n: int, times: int, *arguments: Any) -> None:
        """Let a function keep n cells, of each of these tables at most so many times a block."""
        structs, widest = _structs(tables), max(table.struct.widest for table in tables)
        each = 1 if name != "atlasae_measured" and widest <= LARGEST_UNIFORM else KEPT
        framed = sum(table.blocks * (2 * FRAME + table.struct.contexts) for table in tables)
        kept = np.empty(each * n + times * framed, np.uint32)
        coder = CoderStruct(kept=address_of(kept), end=len(kept))
        call(name, coder, structs, *arguments)
        kept.resize(coder.at, refcheck=False)  # what is left is given back
        self.kept.append((tables, structs, kept))

    def words(self) -> Words:
        """The words of all cells, for a reader."""
        most = 2 * sum(len(kept) for *_, kept in self.kept)
        state, room, end = np.zeros(1, np.uint64), np.empty(most + 3, np.uint32), 0
        while self.kept:
            _, structs, kept = self.kept.pop()
            end += call("atlasae_push", state, structs, kept, len(kept), room[end:])
        rest = int(state[0])
        while rest:
            room[end] = rest & ((1 << WORD_BITS) - 1)
            rest >>= WORD_BITS
            end += 1
        return room[:end]


class CompiledReader:
    """Words back to cells, compiled; raises ValueError for words that end with a zero, as `Reader` does."""

    def __init__(self, words: Words) -> None:
        self.words = np.ascontiguousarray(words, np.uint32)
        left, state = len(words), 0
        if left and not words[-1]:
            raise ValueError("words end with a zero")
        while left and state < 1 << WORD_BITS:
            left -= 1
            state = state << WORD_BITS | int(words[left])
        self.struct = CoderStruct(words=address_of(self.words), words_left=left, state=state)

    @property
    def is_at_end(self) -> bool:
        """Whether all cells have been read."""
        return not self.struct.words_left and not self.struct.state

    def code(self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Read n cells."""
        found = np.empty(n, np.int32)
        self.run("atlasae_code", [table.compiled], n, 1, _contexts(contexts), found, n)
        return found

    def code_measured(
        self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int, ruler: Ruler
    ) -> Cells:
        """The same for cells that a ruler puts on those of the table; raises ValueError for a bin without any."""
        found = np.empty(n, np.int32)
        self.run("atlasae_measured", [table.compiled], n, 1, _contexts(contexts), found, n, ruler.struct)
        return found

    def run(self, name: str, tables: Sequence[CompiledTable], n: int, times: int, *arguments: Any) -> None:
        """Let a function read n cells."""
        call(name, self.struct, _structs(tables), *arguments)


def word_writer() -> WordWriter | CompiledWriter:
    """The fastest writer that there is."""
    return WordWriter() if library() is None else CompiledWriter()


def word_reader(words: Words) -> Reader | CompiledReader:
    """The fastest reader of words that there is; raises ValueError for words that no writer makes."""
    return Reader(words) if library() is None else CompiledReader(words)


def _contexts(contexts: Contexts | None) -> Contexts | None:
    return None if contexts is None else np.ascontiguousarray(contexts, np.uint16)


@dataclass(frozen=True)
class Runs:
    """Cells sorted by context: their order (None: unchanged), and the contexts and lengths of the runs."""

    order: Integers | None
    contexts: Integers
    lengths: Integers

    def measured(self, ruler: Ruler | None) -> Ruler | None:
        """The ruler in the order of the runs."""
        return ruler if ruler is None or self.order is None else ruler.take(self.order)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """The context, begin and end of every run."""
        ends = np.cumsum(self.lengths)
        return zip(self.contexts.tolist(), (ends - self.lengths).tolist(), ends.tolist(), strict=True)


def runs_of(contexts: Contexts | None, n: int) -> Runs:
    """The runs of n cells in these contexts (None: all in context 0)."""
    if contexts is None or not n:
        return Runs(None, np.zeros(min(n, 1), np.int64), np.full(min(n, 1), n))
    lengths = np.bincount(contexts)
    some = np.flatnonzero(lengths)
    keys = contexts.astype(np.uint8) if len(lengths) <= 1 << 8 else contexts  # radix sort of bytes: a third of the time
    return Runs(np.argsort(keys, kind="stable"), some, lengths[some])


def _ranges(table: CodingTable, bins: Cells | Integers, ruler: Ruler | None) -> tuple[Cells, Cells]:
    """The first cell of the bin of each row, and the number of its cells; raises ValueError for a bin without any."""
    if ruler is None:
        return table.first.take(bins), table.widths.take(bins)
    first = ruler.start(table.edges[:-1].take(bins))
    widths = ruler.start(table.edges[1:].take(bins)) - first
    if widths.min(initial=1) < 1:
        raise ValueError("a bin without cells")
    return first.astype(np.int32), widths.astype(np.int32)


def _put(sorted_cells: Cells, order: Integers) -> Cells:
    found = np.empty_like(sorted_cells)
    found[order] = sorted_cells
    return found
