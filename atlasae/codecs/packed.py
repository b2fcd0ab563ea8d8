"""The packed layout: jets on a uniform grid, entropy-coded with probabilities that depend on the event so far."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from atlasae.codecs.entropy import (
    SEEN,
    Cells,
    Coder,
    CodingTable,
    CompiledReader,
    CompiledTable,
    CompiledWriter,
    Contexts,
    Reader,
    Ruler,
    Words,
    WordWriter,
    uniform,
    word_reader,
    word_writer,
)
from atlasae.codecs.lattice import COSINES, DIRECTIONS, HIGH, LOW, SINES, TURN, UNIT, Lattice, direction
from atlasae.codecs.priors import Priors
from atlasae.codecs.resolved import FULL, EqualCells, FallingCells, ResolvedLattice
from atlasae.codecs.resolved import PER_ONE as FINE
from atlasae.files.events import Counts, counts_of, index_in_event
from atlasae.jets.coordinates import Floats
from atlasae.jets.padding import Codes, Config, Padding
from atlasae.native.library import GridStruct, address_of

Columns = npt.NDArray[np.int32]  # 4 x n: cells of log pt, eta, phi and mu

RANKS = 16  # jets of an event that are predicted from those before them; later ones are coded independently
FIRST_BLOCK = 128  # jets in the first block; the tables are updated after each block
EARLY = 2**15  # up to here a block has a fourth of the jets before it; later blocks have as many as all before
MULTIPLICITIES = 5  # classes of the number of jets: 1 to 4, and 5 or more
PT_EDGES = (10.1, 10.3, 10.6, 11.0, 11.5, 12.2, 12.9, 13.6)  # log pt (MeV): classes for the next pt, eta and m
ETA_EDGES = (1.0, 2.0, 3.0)  # |eta|: classes for m
PLACES = 8  # classes of a jet's position in its event: rank up to four, times whether it is the last
AFTER = 4  # classes of the rank for padding
RECOILS = 3  # classes of the rank for phi
RATIOS = 20  # classes of (pt / |vector sum of the jets before|)^2, in octaves
LOWEST_RATIO = 1023 - 14  # exponent of the lowest of these, as float64 stores it (biased by 1023)
BALANCES, LOWEST_BALANCE = 6, 1023 - 6  # the same for (|vector sum of the jets before| / pt of the last of them)^2
CONTEXTS = {  # number of contexts of each table
    "pt": MULTIPLICITIES + 1,
    "fall": (len(PT_EDGES) + 1) * PLACES * BALANCES,
    "eta": len(PT_EDGES) + 1,
    "phi": RATIOS * RECOILS,
    "m": (len(PT_EDGES) + 1) * (len(ETA_EDGES) + 1),
}
_TABLES = ("pt", "fall", "eta", "phi", "mass", "any_phi")  # of a walk, in the order that walk.c expects
_WALKS = 8  # that are kept, for the next chunk: collections in turns, and the runs of merged files
_MANY_CELLS = 1 << 20  # of a walk that takes tens of MB: of such ones the last alone is kept


@dataclass(frozen=True)
class PackedCodec:
    """Encodes the cells of jets, event by event, as words, and decodes them.

    Without `context`, each jet is coded independently of its event, and the tables do not adapt.
    """

    priors: Priors
    lattice: Lattice | ResolvedLattice
    context: bool = True
    padding: Padding = Padding()

    def __post_init__(self) -> None:
        """Raise ValueError for tables with other numbers of contexts."""
        if (found := {name: len(prior.counts) for name, prior in self.priors.of.items()}) != CONTEXTS:
            raise ValueError(f"tables of {found} contexts, not of {CONTEXTS}")

    def config(self) -> Config:
        """The configuration for `packed_codec_of`, which also needs the priors."""
        described = {"layout": "packed", **self.lattice.config(), "context": self.context}
        return described | self.padding.config()

    def encode(self, cells: Columns, counts: Counts, codes: Codes | None = None) -> Words:
        """The words of cells (4 x n) in events with `counts` jets; where `codes` is not 0, a jet is padding instead."""
        writer = self._writer()
        if self.padding.rows:
            codes = self._code(writer, counts, np.zeros(cells.shape[1], np.int32) if codes is None else codes)
            cells, counts = cells[:, codes == 0], counts_of(codes == 0, counts)
        self._walk().through(writer, counts, _with_rows(cells))
        return writer.words()

    def decode(self, words: Words, counts: Counts) -> Columns:
        """The cells (4 x n) of words, without padding; raises ValueError if the words are not of these events."""
        return self.decode_padded(words, counts)[0]

    def decode_padded(self, words: Words, counts: Counts) -> tuple[Columns, Codes]:
        """The cells (4 x n, of jets with code 0) and the padding code of every jet; raises ValueError as `decode`."""
        reader, codes = self._reader(words), np.zeros(int(counts.sum()), np.int32)
        if self.padding.rows:
            codes = self._code(reader, counts, None)
            counts = counts_of(codes == 0, counts)
        cells = self._walk().through(reader, counts, None)
        if not reader.is_at_end:
            raise ValueError("words do not end with the last jet")
        return cells, codes

    def _writer(self) -> WordWriter | CompiledWriter:
        return word_writer()

    def _reader(self, words: Words) -> Reader | CompiledReader:
        return word_reader(words)

    def _walk(self) -> "Walk":
        large = isinstance(self.lattice, Lattice) and sum(self.lattice.sizes) > _MANY_CELLS
        return (_large_walk_of if large else _walk_of)(self.priors, self.lattice, self.context).fresh()

    @property
    def padding_table(self) -> CodingTable:
        """The table of padding codes, with none coded: alone, and by rank after each code."""
        kinds = len(self.padding.rows) + 1
        return CodingTable(np.arange(kinds + 1), np.full((1 + AFTER * kinds, kinds), SEEN))

    def _code(self, coder: Coder, counts: Counts, codes: Codes | None) -> Codes:
        """Code the padding code of every jet, in the context of its rank and of the code of the jet before."""
        counts = counts if self.context else np.ones(int(counts.sum()), np.int64)
        found, table = np.empty(int(counts.sum()), np.int32), self.padding_table
        for events, jets in _blocks(counts):
            rows, ranks = _by_rank(counts[events])
            given = None if codes is None else codes[jets][rows]
            found[jets][rows] = _code_ranks(coder, table, ranks, len(found[jets]), given)
            table.settle()
        return found


def _code_ranks(coder: Coder, table: CodingTable, ranks: list[Counts], n: int, codes: Codes | None) -> Codes:
    """Code the padding codes of n jets rank by rank: the first jets of all events, then the second, and so on."""
    kinds, found, begin, before = table.prior.shape[1], np.empty(n, np.int32), 0, 0
    for rank, counts in enumerate(ranks):
        here, there = slice(begin, begin + len(counts)), slice(before, before + len(counts))
        place = 1 + (min(rank, AFTER) - 1) * kinds
        contexts = np.asarray(place + found[there], np.uint16) if rank else None
        found[here] = coder.code(table, contexts, _part(codes, here), len(counts))
        before, begin = begin, begin + len(counts)
    late = slice(begin, n)
    found[late] = coder.code(table, None, _part(codes, late), n - begin)
    return found


class Sums:
    """Per event, the vector sum of the transverse momenta of the jets so far, and the pt of the last; all integers."""

    def __init__(self, events: int) -> None:
        self.x, self.y, self.last = np.zeros(events), np.zeros(events), np.zeros(events)

    def add(self, size: Floats, cosines: Floats, sines: Floats) -> None:
        """Add the next jet of every event, from its pt and direction."""
        self.x += size * cosines
        self.y += size * sines
        self.last = size

    def keep(self, events: int) -> None:
        """Drop all but the first `events` events."""
        self.x, self.y, self.last = self.x[:events], self.y[:events], self.last[:events]

    @property
    def square(self) -> Floats:
        """The square of the vector sum."""
        return np.asarray(self.x * self.x + self.y * self.y)


class Walk:
    """One pass over the jets of a chunk, the same for writing and reading, with its adaptive tables."""

    is_compiled: ClassVar[bool] = True  # whether walk.c is the same as `_block`

    def __init__(self, codec: PackedCodec, lattice: Lattice) -> None:
        priors = codec.priors.of
        (pt, eta, phi, m), steps = lattice.sizes, lattice.steps
        self.lattice, self.context, self.sizes_of_pt = lattice, codec.context, lattice.sizes_of_pt
        self.anchors = np.floor((np.arange(pt) + 0.5) * (steps[0] / steps[3])).astype(np.int32)
        self.top, self.light = m, lattice.light
        self.pt = priors["pt"].table(steps[0], 0, pt, codec.context)
        self.fall = priors["fall"].table(steps[0], -pt, pt, codec.context)
        self.eta = priors["eta"].table(steps[1], 0, eta, codec.context)
        self.any_phi = uniform(phi)
        self.phi = priors["phi"].table(steps[2], 0, phi, codec.context)
        self.mass = priors["m"].table(steps[3], -int(self.anchors[-1]), m, codec.context, self.light)
        self.pt_class = _classes(PT_EDGES, float(LOW[0]), steps[0], pt)
        self.eta_class = _folded_classes(ETA_EDGES, float(LOW[1]), steps[1], eta)
        # By direction of the vector sum of the jets before: its cell of phi, from which the cells of phi are counted.
        self.phi_from = lattice.cells_of_directions
        self.cosines, self.sines = COSINES[lattice.directions], SINES[lattice.directions]

    def fresh(self) -> Self:
        """The same walk, with tables that have no cells coded; the rest is shared."""
        found = copy(self)
        for name in _TABLES:
            setattr(found, name, getattr(self, name).fresh())
        return found

    @property
    def tables(self) -> list[CodingTable]:
        """All tables, in the order of walk.c."""
        return [getattr(self, name) for name in _TABLES]

    def through(self, coder: Coder, counts: Counts, cells: Columns | None) -> Columns:
        """Code the jets of all events, block by block; returns their cells (4 x n)."""
        if not self.context:
            counts = np.ones(int(counts.sum()), np.int64)
        if self.is_compiled and isinstance(coder, CompiledReader | CompiledWriter):
            return self._compiled(coder, counts, cells)
        found = np.empty((4, int(counts.sum())), np.int32)
        for events, jets in _blocks(counts):
            self._block(coder, counts[events], None if cells is None else cells[:, jets], found[:, jets])
            for table in self.tables:
                table.settle()
        return found

    def _compiled(self, coder: CompiledReader | CompiledWriter, counts: Counts, cells: Columns | None) -> Columns:
        """The same as all blocks, by walk.c."""
        ends = np.array([events.stop for events, _ in _blocks(counts)], np.int64)
        found = np.empty((4, int(counts.sum())), np.int32) if cells is None else cells
        number, jets = len(ends), found.shape[1]
        events = self._grid, np.ascontiguousarray(counts, np.int64), ends, number, jets
        blocks = max(number, 1) if isinstance(coder, CompiledWriter) else 1
        tables = [CompiledTable(table, blocks) for table in self.tables]
        coder.run("atlasae_walk", tables, 4 * jets, RANKS + 1, *events, found, found.strides[0] // found.itemsize)
        return found

    @cached_property
    def _grid(self) -> GridStruct:
        lattice = self.lattice
        found = GridStruct(zero_mass=lattice.zero_mass, light=self.light, context=self.context)
        found.sizes[:] = lattice.sizes
        for name in self._of_grid:
            setattr(found, name, address_of(self._of_grid[name]))
        return found

    @cached_property
    def _of_grid(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of a grid, kept alive."""
        found = {name: getattr(self, name) for name in ("anchors", "pt_class", "eta_class")}
        towards = np.concatenate([DIRECTIONS, TURN // 2 - DIRECTIONS]) & (TURN - 1)  # x >= 0, then x < 0
        found |= {"phi_from": self.phi_from.take(towards), "sizes_of_pt": self.lattice.sizes_of_pt}
        found |= {"cosines_and_sines": np.stack([self.cosines, self.sines], axis=1)}
        return {name: np.ascontiguousarray(array) for name, array in found.items()}

    def _block(self, coder: Coder, counts: Counts, given: Columns | None, found: Columns) -> None:
        """Code the jets of some events and write them to `found`: pt and phi rank by rank, then all eta, then all m."""
        n = found.shape[1]
        rows, ranks = _by_rank(counts)
        found[0, rows], found[2, rows] = self._transverse(
            coder, ranks, n, None if given is None else given[0, rows], None if given is None else given[2, rows]
        )
        classes = self.pt_class.take(found[0])
        found[1] = coder.code(self.eta, classes, None if given is None else given[1], n)
        contexts = classes * np.uint16(len(ETA_EDGES) + 1) + self.eta_class.take(found[1])
        relative = None if given is None else self.relative_mass(given[0], given[3])
        found[3] = self.mass_of(found[0], coder.code(self.mass, contexts, relative, n))
        if n and not 0 <= found[3].min() <= found[3].max() < self.top:
            raise ValueError("jets outside the grid")

    def _transverse(
        self, coder: Coder, ranks: list[Counts], n: int, given_pt: Cells | None, given_phi: Cells | None
    ) -> tuple[Cells, Cells]:
        """Code pt and phi rank by rank: the first jets of all events, then the second ones, which recoil, and so on.

        `ranks` has, for each rank, the numbers of jets of the events with a jet of this rank.
        """
        pt, phi = np.empty(n, np.int32), np.empty(n, np.int32)
        begin, before, sums = 0, 0, Sums(len(ranks[0]) if ranks else 0)
        for rank, counts in enumerate(ranks):
            here, there = slice(begin, begin + len(counts)), slice(before, before + len(counts))
            given = _part(given_pt, here), _part(given_phi, here)
            if rank == 0:
                pt[here] = coder.code(self.pt, self._multiplicity(counts), given[0], len(counts))
                phi[here] = self._any_phi(coder, pt[here], given[1])
                size = self.sizes_of_pt.take(pt[here])
            else:
                sums.keep(len(counts))
                square = sums.square
                pt[here] = self._fall(coder, rank, counts, square / _square(sums.last), pt[there], given[0])
                size = self.sizes_of_pt.take(pt[here])
                ratio = _square(size) / np.maximum(square, 1.0)
                phi[here] = self._recoil(coder, rank, ratio, direction(sums.x, sums.y), pt[here], given[1])
            if rank + 1 < len(ranks):
                sums.add(size, *self._cosines_and_sines(pt[here], phi[here]))
            before, begin = begin, begin + len(counts)
        late = slice(begin, n)
        pt[late] = coder.code(self.pt, None, _part(given_pt, late), n - begin)
        phi[late] = self._any_phi(coder, pt[late], _part(given_phi, late))
        return pt, phi

    def _fall(
        self, coder: Coder, rank: int, counts: Counts, balance: Floats, previous: Cells, pt: Cells | None
    ) -> Cells:
        """Code pt as its distance below that of the jet before; `balance` is (|vector sum| / pt of that jet)^2."""
        contexts = _place(rank, counts) + np.uint16(PLACES) * _octaves(balance, LOWEST_BALANCE, BALANCES)
        contexts *= np.uint16(len(PT_EDGES) + 1)
        contexts += self.pt_class.take(previous)
        falls = None if pt is None else previous - pt
        fall = _coded(coder, self.fall, contexts, falls, len(counts), self._falls(previous))
        return np.asarray(np.clip(previous - fall, 0, len(self.sizes_of_pt) - 1))  # a forged file may exceed the grid

    def _falls(self, previous: Cells) -> FallingCells | None:
        return None

    def _any_phi(self, coder: Coder, pt: Cells, phi: Cells | None) -> Cells:
        return coder.code(self.any_phi, None, phi, len(pt))

    def _cosines_and_sines(self, pt: Cells, phi: Cells) -> tuple[Floats, Floats]:
        return self.cosines.take(phi), self.sines.take(phi)

    def _recoil(self, coder: Coder, rank: int, ratio: Floats, before: Cells, pt: Cells, phi: Cells | None) -> Cells:
        """Code phi relative to the direction `before` of the vector sum; `ratio` is (pt / |vector sum|)^2."""
        turn, start, ruler = self._turn_and_start(pt, before)
        contexts = _octaves(ratio, LOWEST_RATIO, RATIOS) + np.uint16(RATIOS * (min(rank, RECOILS) - 1))
        relative = None if phi is None else phi - start
        if relative is not None:
            relative += turn * (relative < 0)
        found = _coded(coder, self.phi, contexts, relative, len(before), ruler) + start
        return np.asarray(found - turn * (found >= turn), np.int32)

    def _turn_and_start(self, pt: Cells, before: Cells) -> tuple[Any, Any, EqualCells | None]:
        """The number of cells of phi, the one from which they are counted, and their widths."""
        return np.int32(self.lattice.sizes[2]), self.phi_from.take(before), None

    def _multiplicity(self, counts: Counts) -> Contexts | None:
        return np.minimum(counts, MULTIPLICITIES).astype(np.uint16) if self.context else None

    def relative_mass(self, pt: Cells, m: Cells) -> Cells:
        """The cell of mu as it is coded: relative to that of log pt or, for massless jets, beyond these, from m = 0."""
        from_zero = m - np.int32(self.lattice.zero_mass)
        light = (from_zero >= 0) & (from_zero < self.light)
        return np.where(light, from_zero + np.int32(self.top), m - self.anchors[pt])

    def mass_of(self, pt: Cells, relative: Cells) -> Cells:
        """The cell of mu; the inverse of `relative_mass`."""
        light = relative - np.int32(self.top - self.lattice.zero_mass)
        return np.where(relative >= self.top, light, relative + self.anchors[pt])


class ResolvedWalk(Walk):
    """A pass over jets whose steps follow the resolution: tables are of fine cells, and rulers tell where cells lie."""

    is_compiled: ClassVar[bool] = False  # but its coder is

    def __init__(self, codec: PackedCodec, lattice: ResolvedLattice) -> None:
        priors, step, adapts = codec.priors.of, 1 / FINE, codec.context
        self.resolved, self.context, self.sizes_of_pt = lattice, codec.context, lattice.sizes_of_pt
        places = lattice.resolved.places
        size, highest = len(places), int(places[-1])
        eta, phi, m = (lattice.margin(i) for i in (1, 2, 3))
        self.pt = priors["pt"].table(step, 0, size, adapts, places=places)
        self.fall = priors["fall"].table(step, -highest, highest + 1, adapts)
        self.eta = priors["eta"].table(step, -eta, int(HIGH[1] - LOW[1]) * FINE + eta, adapts)
        self.any_phi = uniform(FULL + phi)
        self.phi = priors["phi"].table(step, 0, FULL + phi, adapts)
        self.mass = priors["m"].table(step, -highest - m, lattice.top, adapts, lattice.light)
        bounds = np.floor((np.array(PT_EDGES) - LOW[0]) * FINE).astype(np.int64)
        self.pt_class = np.searchsorted(bounds, places, side="right").astype(np.uint16)
        self.eta_edges = np.array(ETA_EDGES) * FINE

    def _block(self, coder: Coder, counts: Counts, given: Columns | None, found: Columns) -> None:
        n, lattice = found.shape[1], self.resolved
        rows, ranks = _by_rank(counts)
        found[0, rows], found[2, rows] = self._transverse(
            coder, ranks, n, None if given is None else given[0, rows], None if given is None else given[2, rows]
        )
        classes, eta, mass = self.pt_class.take(found[0]), lattice.ruler(1, found[0]), lattice.ruler(3, found[0])
        found[1] = _coded(coder, self.eta, classes, None if given is None else given[1], n, eta)
        contexts = classes * np.uint16(len(ETA_EDGES) + 1)
        contexts += np.searchsorted(self.eta_edges, lattice.etas(found[0], found[1]), side="right").astype(np.uint16)
        relative = None if given is None else mass.swapped(given[3], lattice.light)
        found[3] = mass.unswapped(_coded(coder, self.mass, contexts, relative, n, mass))

    def _any_phi(self, coder: Coder, pt: Cells, phi: Cells | None) -> Cells:
        return _coded(coder, self.any_phi, None, phi, len(pt), self.resolved.ruler(2, pt))

    def _cosines_and_sines(self, pt: Cells, phi: Cells) -> tuple[Floats, Floats]:
        directions = self.resolved.directions(pt, phi)
        return COSINES.take(directions), SINES.take(directions)

    def _falls(self, previous: Cells) -> FallingCells:
        return FallingCells(self.resolved.resolved.places, previous)

    def _turn_and_start(self, pt: Cells, before: Cells) -> tuple[Any, Any, EqualCells | None]:
        ruler = self.resolved.ruler(2, pt)
        return self.resolved.turn(pt), self.resolved.cells_of_directions(pt, before), ruler


def walk_of(codec: PackedCodec) -> Walk:
    """The walk of a codec, with no cells coded."""
    lattice = codec.lattice
    return ResolvedWalk(codec, lattice) if isinstance(lattice, ResolvedLattice) else Walk(codec, lattice)


def _made_walk(priors: Priors, lattice: Lattice | ResolvedLattice, context: bool) -> Walk:
    return walk_of(PackedCodec(priors, lattice, context))


_walk_of, _large_walk_of = lru_cache(_WALKS)(_made_walk), lru_cache(1)(_made_walk)


def _coded(
    coder: Coder, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int, ruler: Ruler | None
) -> Cells:
    """Code n cells, which a ruler puts on those of the table if there is one."""
    if ruler is None:
        return coder.code(table, contexts, cells, n)
    assert isinstance(coder, WordWriter | Reader | CompiledWriter | CompiledReader)
    return coder.code_measured(table, contexts, cells, n, ruler)


def _with_rows(cells: Columns) -> Columns:
    """Cells whose rows are contiguous, as the compiled walk needs them."""
    rows = cells.strides[1] == cells.itemsize and cells.dtype == np.int32
    return cells if rows else np.ascontiguousarray(cells, np.int32)


def _place(rank: int, counts: Counts) -> Contexts:
    """The class of a jet's position in its event: its rank, and whether it is the last."""
    return np.asarray((counts == rank + 1) + 2 * (min(rank, PLACES // 2) - 1), np.uint16)


def _octaves(square: Floats, lowest: int, classes: int) -> Contexts:
    """The class of a squared ratio by octave: the exponent of its float64, minus `lowest`."""
    return np.asarray(np.clip((square.view(np.int64) >> 52) - lowest, 0, classes - 1), np.uint16)


def _square(size: Floats) -> Floats:
    """The squares of pt in the units of `Sums`."""
    size = size * float(UNIT)
    return size * size


def _part(column: Cells | None, rows: slice) -> Cells | None:
    return None if column is None else column[rows]


def _blocks(counts: Counts) -> Iterator[tuple[slice, slice]]:
    """Slices of events and of their jets, in growing blocks: small ones adapt tables early, large ones are faster."""
    ends = np.cumsum(counts)
    first, jets, size = 0, 0, FIRST_BLOCK
    while first < len(counts):
        last = max(first + 1, int(np.searchsorted(ends, jets + size, side="right")))
        yield slice(first, last), slice(jets, int(ends[last - 1]))
        first, jets = last, int(ends[last - 1])
        size = max(FIRST_BLOCK, jets // 4 if jets < EARLY else jets)


def _by_rank(counts: Counts) -> tuple[npt.NDArray[np.int64] | slice, list[Counts]]:
    """The rows of jets in the order of coding, and for each rank the numbers of jets of the events that reach it.

    The order is all first jets, all second ones and so on, events with the most jets first, so that the events of a
    rank are the first events of the rank before. Jets beyond the last rank follow in their own order.
    """
    most = int(counts.max(initial=0))
    if most == 1 and counts.min() == 1:
        return slice(None), [counts]
    missing = np.asarray(RANKS - np.minimum(counts, RANKS), np.uint16)
    order = np.argsort(missing, kind="stable")
    with_more = np.cumsum(np.bincount(missing, minlength=RANKS + 1))[::-1]  # [k]: events with k jets or more
    starts, sorted_counts = (np.cumsum(counts) - counts)[order], counts[order]
    numbers = with_more[1 : min(RANKS, most) + 1].tolist()
    rows = [starts[:n] + rank for rank, n in enumerate(numbers)]
    if most > RANKS:
        rows.append(np.flatnonzero(index_in_event(counts) >= RANKS))
    return np.concatenate([np.empty(0, np.int64), *rows]), [sorted_counts[:n] for n in numbers]


def _classes(edges: Sequence[float], low: float, step: float, cells: int) -> Contexts:
    """The class of every cell by the `edges` of its coordinate."""
    bounds = np.floor((np.array(edges) - low) / step)
    return np.asarray(np.searchsorted(bounds, np.arange(cells), side="right"), np.uint16)


def _folded_classes(edges: Sequence[float], low: float, step: float, cells: int) -> Contexts:
    """The class of every cell by the absolute value of its coordinate."""
    size = np.abs(low + (np.arange(cells) + 0.5) * step)
    return np.asarray(np.searchsorted(np.array(edges), size, side="right"), np.uint16)
