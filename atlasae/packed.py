"""The packed layout: jets on a uniform grid, entropy-coded with what the model and the event let expect of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.coding import Cells, Coder, Contexts, Reader, Words, Writer
from atlasae.columns import Counts
from atlasae.coordinates import Floats
from atlasae.lattice import COSINES, LOW, SINES, UNIT, Lattice, direction
from atlasae.priors import Priors

Columns = npt.NDArray[np.int32]  # 4 x n: cells of log pt, eta, phi and mu

RANKS = 16  # jets of an event that are told by those before them; later ones are coded alone
FIRST_BLOCK = 128  # jets coded before the tables learn of them
EARLY = 2**15  # jets that are coded in blocks of a fourth of all before them; later blocks are as long as all
MULTIPLICITIES = 5  # numbers of jets that are told apart, the largest with all beyond
PT_EDGES = (10.1, 10.3, 10.6, 11.0, 11.5, 12.2, 12.9, 13.6)  # of log pt (MeV): contexts of what follows it
ETA_EDGES = (1.0, 2.0, 3.0)  # of |eta|: contexts of the mass
PLACES = 8  # contexts of a jet's place in its event: rank up to four, and whether it is the last
RECOILS = 3  # ranks that the direction of a jet is told apart by
RATIOS = 20  # contexts of pt against the recoil of the jets before: half octaves of its square
LOWEST_RATIO = 2 * (1023 - 7)
BALANCES, LOWEST_BALANCE = 6, 2 * (1023 - 3)  # contexts of how far the jets before are from balance, against the last
LIGHT = 0.01  # of mu, 1 MeV: massless jets lie there, whatever their pt


@dataclass(frozen=True)
class PackedCodec:
    """Jets of events to words and back. Words depend on the priors, the lattice, and nothing else that is not given.

    Without `context` each jet is coded by itself: its event is not asked, and the tables learn nothing.
    """

    priors: Priors
    lattice: Lattice
    context: bool = True

    def config(self) -> dict[str, Any]:
        """What `packed_codec_of` needs, beside the priors."""
        return {"layout": "packed", "steps": list(self.lattice.steps), "context": self.context}

    def encode(self, cells: Columns, counts: Counts) -> Words:
        """The words of cells (4 x n) in events of so many jets."""
        writer = Writer()
        Walk(self).through(writer, counts, cells)
        return writer.words()

    def decode(self, words: Words, counts: Counts) -> Columns:
        """The cells (4 x n) that words hold; raises ValueError for words that hold none."""
        reader = Reader(words)
        cells = Walk(self).through(reader, counts, None)
        if not reader.is_at_end:
            raise ValueError("words of other jets")
        return cells


class Walk:
    """The way through the jets of a chunk, the same for writing and for reading; and the tables that learn on it."""

    def __init__(self, codec: PackedCodec) -> None:
        lattice, priors = codec.lattice, codec.priors.of
        (pt, eta, phi, m), steps = lattice.sizes, lattice.steps
        self.lattice, self.context = lattice, codec.context
        self.anchors = np.floor((np.arange(pt) + 0.5) * (steps[0] / steps[3])).astype(np.int32)
        self.top, self.light = m, max(1, int(LIGHT / steps[3]))
        self.pt = priors["pt"].table(steps[0], 0, pt, codec.context)
        self.fall = priors["fall"].table(steps[0], -pt, pt, codec.context)
        self.eta = priors["eta"].table(steps[1], 0, eta, codec.context)
        self.phi = priors["phi"].table(steps[2], 0, phi, codec.context)
        self.mass = priors["m"].table(steps[3], -int(self.anchors[-1]), m, codec.context, self.light)
        self.pt_class = _classes(PT_EDGES, float(LOW[0]), steps[0], pt)
        self.eta_class = _folded_classes(ETA_EDGES, float(LOW[1]), steps[1], eta)

    def through(self, coder: Coder, counts: Counts, cells: Columns | None) -> Columns:
        """Code the jets of all events, block by block."""
        if not self.context:
            counts = np.ones(int(counts.sum()), np.int64)
        found = np.empty((4, int(counts.sum())), np.int32)
        for events, jets in _blocks(counts):
            rows, ranks = _by_rank(counts[events])
            given = None if cells is None else cells[:, jets][:, rows]
            columns = self._block(coder, counts[events], ranks, given)
            if ((columns < 0) | (columns >= np.array(self.lattice.sizes)[:, None])).any():
                raise ValueError("jets beyond the grid")
            found[:, jets.start + rows] = columns
        return found

    def _block(self, coder: Coder, counts: Counts, ranks: list[int], given: Columns | None) -> Columns:
        """Code the jets of some events, put in the order of `_by_rank`."""
        n = int(counts.sum())
        found = np.empty((4, n), np.int32)
        pt, phi = (None, None) if given is None else (given[0], given[2])
        self._transverse(coder, np.sort(counts)[::-1], ranks, found, pt, phi)
        begin = sum(ranks)
        late = slice(begin, n)
        found[0, late] = coder.code(self.pt, None, _part(pt, late), n - begin)
        found[2, late] = coder.code_uniform(self.lattice.sizes[2], _part(phi, late), n - begin)
        classes = self.pt_class[found[0]]
        found[1] = coder.code(self.eta, classes, None if given is None else given[1], n)
        contexts = classes * np.uint16(len(ETA_EDGES) + 1) + self.eta_class[found[1]]
        relative = None if given is None else self.relative_mass(given[0], given[3])
        found[3] = self.mass_of(found[0], coder.code(self.mass, contexts, relative, n))
        return found

    def _transverse(
        self, coder: Coder, counts: Counts, ranks: list[int], found: Columns, pt: Cells | None, phi: Cells | None
    ) -> None:
        """Code pt and phi rank by rank: of every event the first jet, then the second, which recoils, and so on."""
        lattice, begin, before = self.lattice, 0, 0
        x, y = (np.zeros(ranks[0] if ranks else 0) for _ in range(2))
        for rank, n in enumerate(ranks):
            here, there = slice(begin, begin + n), slice(before, before + n)
            if rank == 0:
                found[0, here] = coder.code(self.pt, self._multiplicity(counts[:n]), _part(pt, here), n)
                found[2, here] = coder.code_uniform(lattice.sizes[2], _part(phi, here), n)
            else:
                previous = found[0, there]
                fallen = None if pt is None else previous - pt[here]
                contexts = self._fall_context(previous, rank, counts[:n], x[:n], y[:n])
                fall = coder.code(self.fall, contexts, fallen, n)
                found[0, here] = np.clip(previous - fall, 0, lattice.sizes[0] - 1)  # in a forged file it may be beyond
                self._recoil(coder, rank, x[:n], y[:n], found[:, here], _part(phi, here))
            size = lattice.sizes_of_pt[found[0, here]]
            way = lattice.directions[found[2, here]]
            x[:n] += size * COSINES[way]
            y[:n] += size * SINES[way]
            before, begin = begin, begin + n

    def _recoil(self, coder: Coder, rank: int, x: Floats, y: Floats, found: Columns, phi: Cells | None) -> None:
        """Code phi from the direction that balances the jets before."""
        lattice, turn = self.lattice, self.lattice.sizes[2]
        opposite = lattice.cells_of_directions[direction(-x, -y)] - np.int32(turn // 2)
        size = lattice.sizes_of_pt[found[0]] * float(UNIT)
        ratios = _octaves(size * size, np.sqrt(np.maximum(x * x + y * y, 1.0)), LOWEST_RATIO, RATIOS)
        contexts = ratios + np.uint16(RATIOS * (min(rank, RECOILS) - 1))
        relative = None if phi is None else (phi - opposite) % np.int32(turn)
        found[2] = (coder.code(self.phi, contexts, relative, len(x)) + opposite) % np.int32(turn)

    def _multiplicity(self, counts: Counts) -> Contexts | None:
        return np.minimum(counts, MULTIPLICITIES).astype(np.uint16) if self.context else None

    def _fall_context(self, previous: Cells, rank: int, counts: Counts, x: Floats, y: Floats) -> Contexts:
        classes = self.pt_class[previous]
        place = _place(rank, counts)
        balance = _octaves(x * x + y * y, self.lattice.sizes_of_pt[previous] * float(UNIT), LOWEST_BALANCE, BALANCES)
        return np.asarray(classes + np.uint16(len(PT_EDGES) + 1) * (place + np.uint16(PLACES) * balance), np.uint16)

    def relative_mass(self, pt: Cells, m: Cells) -> Cells:
        """The cell of mu as it is coded: from that of log pt, but for massless jets."""
        from_zero = m - np.int32(self.lattice.zero_mass)
        light = (from_zero >= 0) & (from_zero < self.light)
        return np.where(light, from_zero + np.int32(self.top), m - self.anchors[pt])

    def mass_of(self, pt: Cells, relative: Cells) -> Cells:
        """The inverse of `relative_mass`."""
        light = relative - np.int32(self.top - self.lattice.zero_mass)
        return np.where(relative >= self.top, light, relative + self.anchors[pt])


def _place(rank: int, counts: Counts) -> Contexts:
    """The class of a jet's place in its event: its rank, and whether it is the last one."""
    return np.asarray((counts == rank + 1) + 2 * (min(rank, PLACES // 2) - 1), np.uint16)


def _octaves(square: Floats, size: Floats, lowest: int, classes: int) -> Contexts:
    """The class of the square of a ratio, `size` its divisor, by half octaves: read off the bits of a float64."""
    return np.asarray(np.clip(((square / (size * size)).view(np.int64) >> 51) - lowest, 0, classes - 1), np.uint16)


def _part(column: Cells | None, rows: slice) -> Cells | None:
    return None if column is None else column[rows]


def _blocks(counts: Counts) -> Iterator[tuple[slice, slice]]:
    """Events and their jets: some first, then ever more, since every block costs time."""
    ends = np.cumsum(counts)
    first, jets, size = 0, 0, FIRST_BLOCK
    while first < len(counts):
        last = max(first + 1, int(np.searchsorted(ends, jets + size, side="right")))
        yield slice(first, last), slice(jets, int(ends[last - 1]))
        first, jets = last, int(ends[last - 1])
        size = max(FIRST_BLOCK, jets // 4 if jets < EARLY else jets)


def _by_rank(counts: Counts) -> tuple[npt.NDArray[np.int64], list[int]]:
    """The rows of jets in the order they are coded in, and how many events have a jet of each rank.

    All first jets, all second ones and so on, events with the most jets first: the jets before those of a rank are the
    first ones of the rank before. Jets beyond the last rank come at the end, as they are.
    """
    order = np.argsort(-counts, kind="stable")
    starts = (np.cumsum(counts) - counts)[order]
    ranks = [int((counts > rank).sum()) for rank in range(min(RANKS, int(counts.max(initial=0))))]
    rows = [starts[:n] + rank for rank, n in enumerate(ranks)]
    if counts.max(initial=0) > RANKS:
        begins = np.cumsum(counts) - counts
        rows.append(np.flatnonzero(np.arange(counts.sum()) - np.repeat(begins, counts) >= RANKS))
    return np.concatenate([np.empty(0, np.int64), *rows]), ranks


def _classes(edges: Sequence[float], low: float, step: float, cells: int) -> Contexts:
    """The class of every cell, cut at `edges` of the coordinate."""
    bounds = np.floor((np.array(edges) - low) / step)
    return np.asarray(np.searchsorted(bounds, np.arange(cells), side="right"), np.uint16)


def _folded_classes(edges: Sequence[float], low: float, step: float, cells: int) -> Contexts:
    """The class of every cell by the size of the coordinate."""
    size = np.abs(low + (np.arange(cells) + 0.5) * step)
    return np.asarray(np.searchsorted(np.array(edges), size, side="right"), np.uint16)
