"""Columns of symbols, entropy-coded with adaptive tables whose contexts are up to two columns before each.

The tables of a column have bins of about as many of its symbols so far, and counts of these in every context. The
probabilities in the contexts of two columns start from those in the contexts of the first one, and these from those of
the column alone: a network of Bayes (Davies and Moore 1999; Chow and Liu 1968), in integers.
"""

import lzma
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import numpy.typing as npt

from atlasae.codecs.entropy import (
    SHARE,
    Binned,
    Cells,
    Coder,
    Contexts,
    Integers,
    Reader,
    Runs,
    Words,
    WordWriter,
    categorical,
    uniform,
)
from atlasae.codecs.lattice import GridCells, ListLattice
from atlasae.files.events import Array, Counts, index_in_event
from atlasae.jets.kinds import Bound, Kind, kinds_of, kinds_of_cells
from atlasae.jets.padding import Config, Padding
from atlasae.jets.variables import VariableList

_MOST_PARENTS = 2
_CLASSES = 12  # classes of a column that tells another
_FIRST_SPAN, _EARLY = 32, 2**15  # symbols before the first tables; up to here a span has an eighth of all before it
_FEW, _MOST_BINS = 8, 256  # symbols a bin, and bins of the longest columns
_LOOKED_AT = 1 << 16  # symbols from which bins and classes are made
_MOST_PACKED = 1 << 20  # bytes of a column of the sample that are packed as they are, to see how long they are
_MOST_GIVEN = 64  # columns that are known before
_WORD = np.dtype("<u4")
_PLANES = [{"id": lzma.FILTER_LZMA1, "preset": 6, "lc": 1, "lp": 0, "pb": 0, "dict_size": 1 << 20}]
_DIGIT = 16  # bits of a tail that are coded at once
_RANKS = 4  # ranks of a row in its event from which on all are alike


@dataclass(frozen=True)
class Tables:
    """How tables are made: their bins, and the symbols in a context after which its own counts have half of the weight.

    Columns of more than `_EARLY` symbols have more bins.
    """

    bins: int = 48
    trust: int = 30

    def __post_init__(self) -> None:
        """Raise ValueError for numbers out of range."""
        if not (2 <= self.bins <= _MOST_BINS and 1 <= self.trust <= 1 << 12):
            raise ValueError(f"{self} of columns")


_USUAL, _SLOW = Tables(), Tables(24, 48)  # the latter for many contexts
_BINS, _TRUSTS = (16, 24, 32, 64), (24, 6, 12, 96)  # that are tried: bins first, with the first of these


@dataclass(frozen=True)
class SpanTable(Binned):
    """Probabilities of bins of symbols in every context; as `CodingTable`, but made anew for each span of symbols."""

    edges: Integers
    counts: Integers  # contexts x bins

    def bins(self, symbols: Cells) -> Cells:
        """The bin of every symbol."""
        return _places(self.edges[1:-1], symbols)

    def model(self, context: int) -> Any:
        """The coder's model of a context."""
        return categorical(self.counts[context])

    def note(self, runs: Runs, bins: Cells | Integers) -> None:
        """Nothing: the next table is made of all symbols."""


class Meter:
    """A coder that writes nothing and counts bits."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, table: SpanTable, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Count the bits of n symbols, and return them."""
        assert cells is not None
        bins, rows = table.bins(cells), np.zeros(n, np.int64) if contexts is None else contexts
        totals = table.counts.sum(axis=1)
        self.bits += float(np.log2(totals[rows] / table.counts[rows, bins] * table.widths[bins]).sum())
        return cells


def code_symbols(
    coder: Coder | Meter, size: int, parents: Sequence[Contexts], symbols: Cells | None, n: int, made: Tables = _USUAL
) -> Cells:
    """Code n symbols below `size` in the contexts of the classes of up to two columns; returns them."""
    found = np.empty(n, np.int32)
    if size <= 1:
        return np.zeros(n, np.int32)
    contexts = _contexts(parents)
    for begin, end in spans(n):
        table = _table(found[:begin], size, [(each[:begin], number) for each, number in contexts], made)
        given = None if symbols is None else symbols[begin:end]
        inner = contexts[-1][0][begin:end] if contexts else None
        found[begin:end] = coder.code(table, inner, given, end - begin)  # type: ignore[arg-type]
    return found


def spans(n: int) -> Iterator[tuple[int, int]]:
    """Ranges of growing lengths: small ones adapt tables early, long ones are faster."""
    begin = 0
    while begin < n:
        size = max(_FIRST_SPAN, begin // 8 if begin < _EARLY else begin)
        yield begin, min(n, begin + size)
        begin += size


def classes_of(symbols: Cells | Integers) -> Contexts:
    """The class of every symbol, of about as many each; symbols that are common have one of their own."""
    known = np.unique(some := _some(symbols))
    edges = known[1:].astype(np.int64) if len(known) <= _CLASSES else _quantiles(some, _CLASSES)
    return _places(edges, symbols).astype(np.uint16)


def _contexts(parents: Sequence[Contexts]) -> list[tuple[Contexts, int]]:
    """The contexts of the first parent, then of the first two, each with their number."""
    found: list[tuple[Contexts, int]] = []
    for classes in parents:
        kinds = int(classes.max(initial=0)) + 1
        before, number = found[-1] if found else (np.zeros(len(classes), np.uint16), 1)
        found.append((before * np.uint16(kinds) + classes, number * kinds))
    return found


def _table(seen: Cells, size: int, contexts: Sequence[tuple[Contexts, int]], made: Tables) -> SpanTable:
    """The table of symbols that follow those seen, whose contexts are given."""
    edges = _edges(seen, size, made.bins)
    bins, number = _places(edges[1:-1], seen), len(edges) - 1
    shares = _shares(2 * np.bincount(bins, minlength=number)[None] + 1)
    counts = shares
    kinds = 1
    for each, more in contexts:
        keys = each.astype(np.int64) * number + bins
        found = np.bincount(keys, minlength=more * number).reshape(more, number)
        counts = found * SHARE + made.trust * np.repeat(shares, more // kinds, axis=0)
        shares, kinds = _shares(counts), more
    return SpanTable(edges, counts)


def _shares(counts: Integers) -> Integers:
    """The share of each bin in its context, in units of 1 / SHARE, and no less than one."""
    return np.asarray(np.maximum(1, counts * SHARE // counts.sum(axis=1, keepdims=True)))


def _edges(seen: Cells, size: int, bins: int) -> Integers:
    """The edges of bins of about as many symbols; a common symbol has a bin of its own."""
    most = bins if len(seen) < _EARLY else min(_MOST_BINS, bins * math.isqrt(len(seen) // _EARLY))
    if size <= most:
        return np.arange(size + 1)
    inner = _quantiles(_some(seen), min(most, max(_FEW, len(seen) // _FEW)))
    return np.unique(np.concatenate([[0, 1, size], inner[inner < size]]))


def _quantiles(symbols: Cells | Integers, parts: int) -> Integers:
    """The first symbols of all parts but the lowest, of sorted symbols."""
    n = len(symbols)
    found, counts = np.unique(np.sort(symbols)[np.arange(1, parts) * n // parts] if n else symbols, return_counts=True)
    return np.unique(np.concatenate([found, found[counts > 1] + 1])).astype(np.int64)


def _some(symbols: Cells | Integers) -> Cells | Integers:
    return symbols[:: len(symbols) // _LOOKED_AT + 1]


def _places(edges: Integers, symbols: Cells | Integers) -> Cells:
    """The number of inner edges up to each symbol."""
    if not len(edges):
        return np.zeros(len(symbols), np.int32)
    if edges[-1] > 8 * len(symbols) + _LOOKED_AT:
        return np.asarray(np.searchsorted(edges, symbols, side="right"), np.int32)
    last = int(edges[-1])
    table = np.zeros(last + 1, np.int32)
    table[edges] = 1
    return np.asarray(np.cumsum(table, dtype=np.int32).take(np.minimum(symbols, last)))


def code_tails(coder: Coder, bits: int, tails: Integers | None, n: int) -> Integers:
    """Code n tails of this many bits, all as likely; returns them."""
    found = np.zeros(n, np.int64)
    for shift in range(0, bits, _DIGIT):
        width = min(_DIGIT, bits - shift)
        given = None if tails is None else ((tails >> shift) & ((1 << width) - 1)).astype(np.int32)
        found |= coder.code(uniform(1 << width), None, given, n).astype(np.int64) << shift
    return found


@dataclass(frozen=True)
class Follows:
    """A column of integers of which differences are coded: from the row before in its event, or from `start`.

    With a `turn`, integers are from 0 to below that, and so are differences.
    """

    start: int = 0
    turn: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a turn without integers."""
        if self.turn < 0:
            raise ValueError(f"a turn of {self.turn}")

    @classmethod
    def of_sample(cls, numbers: Integers, counts: Counts, turn: int) -> Self:
        """The start from which differences are about those between the rows of an event."""
        if turn or not len(numbers):
            return cls(0, turn)
        steps = np.diff(numbers)[index_in_event(counts)[1:] > 0]
        falls = float(np.median(steps)) if len(steps) else 0.0
        return cls(int(numbers.max() if falls < 0 else numbers.min()))

    def apart(self, numbers: Array, counts: Counts) -> Integers:
        """The differences of numbers of events with so many rows."""
        numbers, first = numbers.astype(np.int64), _firsts(counts)
        found = np.diff(numbers, prepend=self.start)
        found[first] = numbers[first] - self.start
        return np.asarray(found % self.turn if self.turn else found)

    def together(self, differences: Array, counts: Counts) -> Integers:
        """The numbers of differences; the inverse of `apart`."""
        sums, first = np.cumsum(differences, dtype=np.int64), _firsts(counts)
        before: Integers = sums[first] - differences[first].astype(np.int64)
        found = sums - np.repeat(before, counts[counts > 0]) + self.start
        return np.asarray(found % self.turn if self.turn else found)


def ranks_of(counts: Counts) -> Cells:
    """What the place of a row in its event tells: its rank, and whether it is the last."""
    rank = index_in_event(counts)
    last = rank + 1 == np.repeat(counts, counts)
    return np.asarray(2 * np.minimum(rank, _RANKS) + last, np.int32)


def _firsts(counts: Counts) -> Integers:
    """The first row of every event that has any."""
    some = counts[counts > 0]
    return np.asarray(np.cumsum(some) - some)


def choose_parents(
    given: Sequence[Cells],
    columns: Sequence[Cells],
    sizes: Sequence[int],
    apart: Sequence["Apart"] = (),
    tuned: bool = True,
) -> list["Told"]:
    """The columns in the order in which they tell most of each other, and what each is told by.

    The first parent of a column is that with the most mutual information (Chow and Liu 1968), the second has the most
    in its contexts; a column has as many of them as take the fewest bits. A column whose differences
    (`apart`) take fewer bits is told by the first of those given. Tables are `tuned` for each, or the usual ones.
    """
    classes = [classes_of(symbols) for symbols in (*given, *columns)]
    information = _Information(classes)
    known, left = list(range(len(given))), list(range(len(given), len(classes)))
    found = []
    while left:
        column, first = _best((information.of(x, y), x, y) for x in left for y in known)[1:] if known else (left[0], -1)
        others = [y for y in known if y != first]
        second = [_best((information.beside(column, first, y), y) for y in others)[1]] if others else []
        tried = [(), *([(first,)] if known else []), *((first, y) for y in second)]
        number = column - len(given)
        told = _fewest(number, tried, classes, columns[number], sizes[number], tuned)
        if apart:
            one, places = apart[number], [(0,), *((0, y) for y in (first, *second) if y)]
            after = _fewest(number, places, classes, one.symbols, one.size)
            told = replace(after, follows=True) if after.bits + one.longer < told.bits else told
        found.append(told)
        known.append(column)
        left.remove(column)
    return found


@dataclass(frozen=True)
class Apart:
    """The symbols of the differences of a column, of so many, and by how many bits their tails are longer."""

    symbols: Cells
    size: int
    longer: int


@dataclass(frozen=True)
class Told:
    """A column by its number, what it is told by (given columns first), its bits a symbol, whether of differences."""

    column: int
    parents: tuple[int, ...]
    tables: Tables
    bits: float
    follows: bool = False


def _fewest(
    column: int,
    tried: Sequence[tuple[int, ...]],
    classes: Sequence[Contexts],
    symbols: Cells,
    size: int,
    tuned: bool = True,
) -> Told:
    """The column with those of these parents, and with those tables, that take the fewest bits."""

    def measured(parents: tuple[int, ...], made: Tables) -> Told:
        meter = Meter()
        code_symbols(meter, size, [classes[parent] for parent in parents], symbols, len(symbols), made)
        return Told(column, parents, made, meter.bits / max(1, len(symbols)))

    found = [measured(parents, _USUAL) for parents in tried]
    best = min([*found, *(measured(parents, _SLOW) for parents in tried if len(parents) > 1)], key=_bits_of)
    if size <= 1 or not tuned:
        return best
    usual, *trusts = _TRUSTS
    best = min([best, *(measured(best.parents, Tables(bins, usual)) for bins in _BINS)], key=_bits_of)
    made = [Tables(best.tables.bins, trust) for trust in trusts]
    return min([best, *(measured(best.parents, tables) for tables in made)], key=_bits_of)


def _bits_of(told: Told) -> float:
    return told.bits


def _best(scored: Any) -> Any:
    return max(scored, key=lambda one: one[0])


class _Information:
    """The mutual information of classes of columns, in bits of all symbols, less what chance would give."""

    def __init__(self, classes: Sequence[Contexts]) -> None:
        self.classes = [each.astype(np.int64) for each in classes]
        self.kinds = [int(each.max(initial=0)) + 1 for each in self.classes]
        self._known: dict[tuple[int, int], float] = {}

    def of(self, x: int, y: int) -> float:
        """The information that two columns have of each other."""
        if (x, y) not in self._known:
            found = self._counts(x, y, np.zeros_like(self.classes[x]), 1)
            self._known[x, y] = self._known[y, x] = float(_gain(found).sum())
        return self._known[x, y]

    def beside(self, x: int, first: int, y: int) -> float:
        """What y tells of x that the first column has not told."""
        return float(_gain(self._counts(x, y, self.classes[first], self.kinds[first])).sum())

    def _counts(self, x: int, y: int, within: Integers, kinds: int) -> Integers:
        keys = (within * self.kinds[x] + self.classes[x]) * self.kinds[y] + self.classes[y]
        shape = kinds, self.kinds[x], self.kinds[y]
        return np.bincount(keys, minlength=math.prod(shape)).reshape(shape)


def _gain(counts: Integers) -> npt.NDArray[np.float64]:
    """The mutual information of each table, in bits, with the correction of Miller and Madow (1955) for chance."""
    rows, columns, every = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
    chance = [(x > 0).reshape(len(x), -1).sum(axis=1) for x in (counts, rows, columns)]
    degrees = chance[0] - chance[1] - chance[2] + (every > 0)
    found = _bits(counts) + _bits(every[:, None]) - _bits(rows) - _bits(columns)
    return np.asarray(found - degrees / (2 * math.log(2)))


def _bits(counts: Integers) -> npt.NDArray[np.float64]:
    """The sum of n log2(n) in each table."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    return np.asarray((flat * np.log2(np.maximum(flat, 1))).sum(axis=1))


@dataclass(frozen=True)
class CodedColumn:
    """A column of a file: its kind, its bound (None: exact), what it is told by, and its bits in the sample.

    Where it `follows`, its kind is of the differences of its numbers, which are integers.
    """

    kind: Kind
    bound: Bound | None = None
    parents: tuple[int, ...] = ()
    tables: Tables = _USUAL
    bits: float = 0.0
    follows: Follows | None = None

    def classes(self, symbols: Cells, numbers: Array) -> Contexts:
        """The classes by which its numbers tell others."""
        if self.follows is None:
            return classes_of(symbols)
        above: Integers = numbers.astype(np.int64)
        return classes_of(above - above.min(initial=0))


@dataclass(frozen=True)
class ColumnsCodec:
    """Codes columns of numbers one after the other, each told by those before it and by `given` other ones."""

    columns: tuple[CodedColumn, ...]
    given: int = 0
    padding: Padding = Padding()

    def __post_init__(self) -> None:
        """Raise ValueError for columns that are told by later ones."""
        if not 0 <= self.given <= _MOST_GIVEN:
            raise ValueError(f"{self.given} columns that are known before")
        for number, column in enumerate(self.columns):
            known = all(0 <= parent < self.given + number for parent in column.parents)
            if not known or len(column.parents) > _MOST_PARENTS:
                raise ValueError(f"column {number} is told by columns {column.parents}")

    def config(self) -> Config:
        """The configuration for `of_config`."""
        return {"layout": "columns", "given": self.given, "columns": [_told(asdict(column)) for column in self.columns]}

    @classmethod
    def of_config(cls, config: Config) -> Self:
        """The codec of a configuration; raises ValueError if it is invalid."""
        facts = {"columns": config["columns"], "given": config["given"]}
        found = msgspec.convert(facts, _Facts)
        return cls(found.columns, found.given)

    def encode(self, values: Sequence[Array], given: Sequence[Cells], counts: Counts | None = None) -> bytes:
        """The bytes of columns: the lengths of their words and of what is kept of them as it is, then all of these.

        Columns that follow need the `counts` of rows of all events.
        """
        classes, head, parts = dict(enumerate(map(classes_of, given))), list[int](), list[bytes]()
        for number, (column, numbers) in enumerate(zip(self.columns, values, strict=True)):
            coded = numbers if column.follows is None else column.follows.apart(numbers, _given(counts))
            symbols, tails = column.kind.encode(coded, column.bound)
            writer = WordWriter()
            parents, n = [classes[parent] for parent in column.parents], len(symbols)
            code_symbols(writer, column.kind.symbols, parents, symbols, n, column.tables)
            some = tails[symbols >= column.kind.first]
            code_tails(writer, column.kind.tail, some, len(some))
            if number in self._telling:
                classes[self.given + number] = column.classes(symbols, numbers)
            words, kept = writer.words().astype(_WORD).tobytes(), _pack(coded[symbols == 0])
            head += [len(words), len(kept)]
            parts += [words, kept]
        return np.array(head, _WORD).tobytes() + b"".join(parts)

    @cached_property
    def _telling(self) -> set[int]:
        """The numbers of the columns by which others are told."""
        return {parent - self.given for column in self.columns for parent in column.parents if parent >= self.given}

    def needed(self, wanted: Iterable[int]) -> list[int]:
        """The numbers of the columns that are wanted, and of those by which they are told."""
        needed = set(wanted)
        for number in reversed(range(len(self.columns))):
            if number in needed:
                needed |= {parent - self.given for parent in self.columns[number].parents if parent >= self.given}
        return sorted(needed)

    def decode(
        self,
        content: bytes,
        dtypes: Sequence[np.dtype[Any]],
        jets: int,
        given: Callable[[], Sequence[Cells]],
        wanted: Iterable[int] | None = None,
        counts: Counts | None = None,
    ) -> dict[int, Array]:
        """The columns of bytes by their numbers, those that are wanted (None: all); raises ValueError for others.

        `given` is called only if a column is told by what it returns. `counts` as for `encode`.
        """
        wanted = set(range(len(self.columns)) if wanted is None else wanted)
        needed, classes, found = self.needed(wanted), dict[int, Contexts](), dict[int, Array]()
        if any(parent < self.given for number in needed for parent in self.columns[number].parents):
            classes |= enumerate(map(classes_of, given()))
        for number, (words, kept) in self._parts(content, needed).items():
            column, dtype = self.columns[number], dtypes[number]
            reader = Reader(words)
            parents = [classes[parent] for parent in column.parents]
            symbols = code_symbols(reader, column.kind.symbols, parents, None, jets, column.tables)
            there = symbols >= column.kind.first
            tails = np.zeros(jets, np.int64)
            tails[there] = code_tails(reader, column.kind.tail, None, int(there.sum()))
            if not reader.is_at_end:
                raise ValueError("words do not end with the last jet")
            numbers = column.kind.decode(symbols, tails, dtype)
            numbers[symbols == 0] = _unpack(kept, int((symbols == 0).sum()), dtype)
            if column.follows is not None:
                numbers = column.follows.together(numbers, _given(counts))
            if number in self._telling:
                classes[self.given + number] = column.classes(symbols, numbers)
            if number in wanted:
                found[number] = numbers
        return found

    def _parts(self, content: bytes, needed: Sequence[int]) -> dict[int, tuple[Words, bytes]]:
        """The words and the kept bytes of columns, by their numbers; raises ValueError for lengths that do not fit."""
        size = 2 * len(self.columns) * _WORD.itemsize
        lengths = np.frombuffer(content[:size], _WORD).astype(np.int64)
        ends = size + np.cumsum(lengths)
        if len(lengths) != 2 * len(self.columns) or (len(ends) and ends[-1] != len(content)):
            raise ValueError("columns of other lengths")
        parts = [content[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
        return {n: (np.frombuffer(parts[2 * n], _WORD).astype(np.uint32), parts[2 * n + 1]) for n in needed}


@dataclass(frozen=True)
class ListCodec:
    """Codes the cells of a list of variables as columns of integers."""

    lattice: ListLattice
    columns: ColumnsCodec
    padding: Padding = Padding()

    def __post_init__(self) -> None:
        """Raise ValueError for other numbers of columns than of variables, and what no list is told by."""
        number = len(self.lattice.variables.variables)
        if len(self.columns.columns) != number or self.columns.given > 1:
            raise ValueError(
                f"{len(self.columns.columns)} columns, told by {self.columns.given}, of {number} variables"
            )

    def config(self) -> Config:
        """The configuration for `of_config`, which also needs the variables."""
        return {**self.columns.config(), **self.lattice.config(), "layout": "cells"}

    @classmethod
    def of_config(cls, config: Config, variables: VariableList) -> Self:
        """The codec of a configuration; raises ValueError if it is invalid."""
        facts = {"variables": variables, "steps": config["steps"], "shifted": config["shifted"]}
        return cls(msgspec.convert(facts, ListLattice), ColumnsCodec.of_config(config))

    def encode(self, cells: GridCells, counts: Counts) -> bytes:
        """The bytes of cells (variables x n) in events with `counts` rows."""
        return self.columns.encode(list(cells), self._told(counts), counts)

    def decode(self, content: bytes, counts: Counts, wanted: Iterable[int] | None = None) -> GridCells:
        """The cells (variables x n) of bytes, 0 of variables that are not wanted; raises ValueError for others."""
        number, rows = len(self.columns.columns), int(counts.sum())
        types = [np.dtype(np.int64)] * number
        found = self.columns.decode(content, types, rows, lambda: self._told(counts), wanted, counts)
        cells = np.zeros((number, rows), np.int64)
        for place, column in found.items():
            cells[place] = column
        return cells

    def _told(self, counts: Counts) -> list[Cells]:
        return [ranks_of(counts)] * self.columns.given


@dataclass(frozen=True)
class VariedCodec:
    """Codes the cells of jets in a variation (`VariedGrid`), told by the nominal jets.

    `steps` are of log pt and mu: of variables with a bound by resolution, shares of that at the nominal pt.
    """

    steps: tuple[float, float]
    columns: ColumnsCodec
    padding: Padding = Padding()
    shifted: ClassVar[tuple[bool, ...]] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for other columns than of pt and m, and for steps out of range."""
        if len(self.columns.columns) != 2 or not all(0 < step <= 2 for step in self.steps):
            raise ValueError(f"steps {self.steps} of {len(self.columns.columns)} columns of a variation")

    def config(self) -> Config:
        """The configuration for `of_config`."""
        return {**self.columns.config(), "layout": "varied", "steps": list(self.steps)}

    @classmethod
    def of_config(cls, config: Config) -> Self:
        """The codec of a configuration; raises ValueError if it is invalid."""
        return cls(msgspec.convert(config["steps"], tuple[float, float]), ColumnsCodec.of_config(config))


def _given(counts: Counts | None) -> Counts:
    """The counts of rows, which columns that follow need; raises ValueError without any."""
    if counts is None:
        raise ValueError("columns that follow rows of no events")
    return counts


class _Facts(msgspec.Struct):
    columns: tuple[CodedColumn, ...]
    given: int


def _told(facts: Mapping[str, Any]) -> Config:
    """The facts of a column without those that are empty."""
    kept = {name: _told(fact) if isinstance(fact, dict) else fact for name, fact in facts.items()}
    return {name: fact for name, fact in kept.items() if fact or name in ("kind", "bits") or fact == {}}


def _pack(values: Array) -> bytes:
    """Numbers as they are, by byte planes: all first bytes, then all second ones, and so on."""
    if not len(values):
        return b""
    planes = values.view(np.uint8).reshape(len(values), -1).T.tobytes()
    packed = lzma.compress(planes, format=lzma.FORMAT_RAW, filters=_PLANES)
    return packed + b"\0" * (-len(packed) % _WORD.itemsize)  # baskets of words: `xz`


def _unpack(content: bytes, number: int, dtype: np.dtype[Any]) -> Array:
    """The inverse of `_pack`; raises ValueError for other bytes."""
    expected = number * dtype.itemsize
    try:
        planes = (
            lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_PLANES).decompress(content, expected + 1) if number else b""
        )
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{number} numbers that are kept can't be unpacked") from error
    if len(planes) != expected or (content and not number):
        raise ValueError(f"{number} numbers that are kept are not of the expected size")
    planes_of = np.frombuffer(planes, np.uint8).reshape(dtype.itemsize, -1)
    return np.asarray(np.ascontiguousarray(planes_of.T).view(dtype)[:, 0])


def fit_columns(
    values: Sequence[Array], bounds: Sequence[Bound | None], given: Sequence[Cells], whole: bool
) -> tuple[list[int], ColumnsCodec]:
    """The codec of columns like those of a sample, and the order in which it codes them.

    `whole`: the sample has all numbers that are to be coded. Columns that the tables would make longer than their byte
    planes are kept as they are.
    """
    kinds = [
        _shortest(kinds_of(numbers, bound, whole), numbers, bound)
        for numbers, bound in zip(values, bounds, strict=True)
    ]
    coded = [kind.encode(numbers, bound)[0] for kind, numbers, bound in zip(kinds, values, bounds, strict=True)]
    told = choose_parents(given, coded, [kind.symbols for kind in kinds])
    telling = {parent - len(given) for one in told for parent in one.parents}
    columns = []
    for one, parents in _in_order(told, len(given)):
        kind, numbers = kinds[one.column], values[one.column]
        kept = 8 * len(_pack(numbers)) / max(1, len(numbers)) if numbers.nbytes <= _MOST_PACKED else math.inf
        if kept < one.bits + kind.tail and one.column not in telling and bounds[one.column] is None:
            columns.append(CodedColumn(Kind("as it is"), bits=round(kept, 2)))
        else:
            columns.append(CodedColumn(kind, bounds[one.column], parents, one.tables, round(one.bits + kind.tail, 2)))
    return [one.column for one in told], ColumnsCodec(tuple(columns), len(given))


def fit_cells(
    cells: Sequence[Integers], turns: Sequence[int], counts: Counts, whole: bool
) -> tuple[list[int], ColumnsCodec]:
    """The codec of columns of cells of a grid, and the order in which it codes them; `whole` as for `fit_columns`.

    Where events have several rows, columns are told by the place of a row (`ranks_of`), too, and may follow the row
    before. `turns` has the number of cells of a full turn, or 0.
    """
    given = [ranks_of(counts)] if counts.max(initial=0) > 1 else []
    plain = [_coded(column, whole) for column in cells]
    follows = [Follows.of_sample(column, counts, turn) for column, turn in zip(cells, turns, strict=True)]
    pairs = zip(follows, cells, strict=True)
    apart = [_coded(one.apart(column, counts), whole) for one, column in pairs] if given else []
    differences = [Apart(found, kind.symbols, kind.tail - plain[i][0].tail) for i, (kind, found) in enumerate(apart)]
    told = choose_parents(given, [found for _, found in plain], [kind.symbols for kind, _ in plain], differences)
    columns = []
    for one, parents in _in_order(told, len(given)):
        kind = (apart if one.follows else plain)[one.column][0]
        after = follows[one.column] if one.follows else None
        columns.append(CodedColumn(kind, None, parents, one.tables, round(one.bits + kind.tail, 2), after))
    return [one.column for one in told], ColumnsCodec(tuple(columns), len(given))


def fit_varied(cells: Sequence[Integers], given: Sequence[Cells], whole: bool) -> ColumnsCodec:
    """The codec of columns of cells, each told by those `given` and by the columns before it; `whole` as above.

    There may be hundreds of variations, so that their tables are not tuned: that would save a hundredth.
    """
    known, columns = list(given), list[CodedColumn]()
    for kind, symbols in (_coded(column, whole) for column in cells):
        (one,) = choose_parents(known, [symbols], [kind.symbols], tuned=False)
        columns.append(CodedColumn(kind, None, one.parents, one.tables, round(one.bits + kind.tail, 2)))
        known.append(symbols)
    return ColumnsCodec(tuple(columns), len(given))


def _coded(cells: Integers, whole: bool) -> tuple[Kind, Cells]:
    """The kind of which cells take the fewest bits, and their symbols."""
    kind = _shortest(kinds_of_cells(cells, whole), cells, None)
    return kind, kind.encode(cells)[0]


def _in_order(told: Sequence[Told], given: int) -> list[tuple[Told, tuple[int, ...]]]:
    """The columns that are told, each with its parents by their places in this order."""
    places = {given + one.column: given + place for place, one in enumerate(told)}
    return [(one, tuple(places.get(parent, parent) for parent in one.parents)) for one in told]


def _shortest(kinds: Sequence[Kind], values: Array, bound: Bound | None) -> Kind:
    """The kind of which the numbers of a sample take the fewest bits, as if nothing told of them."""
    if len(kinds) == 1:
        return kinds[0]

    def bits(kind: Kind) -> float:
        meter, (symbols, _) = Meter(), kind.encode(values, bound)
        code_symbols(meter, kind.symbols, [], symbols, len(symbols))
        kept = 8 * values.itemsize * int((symbols == 0).sum())
        return meter.bits + kept + kind.tail * int((symbols >= kind.first).sum())

    return min(kinds, key=bits)
