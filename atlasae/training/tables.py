"""Tables of the packed layout: counts of each bin in each context, from jets."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from atlasae.codecs.entropy import SEEN, Cells, CodingTable, Contexts, Integers, runs_of
from atlasae.codecs.lattice import LOW, Lattice
from atlasae.codecs.packed import CONTEXTS, PackedCodec, Walk
from atlasae.codecs.priors import RESOLUTION, Prior, Priors, default_priors
from atlasae.errors import UserError
from atlasae.files.events import Counts, counts_of
from atlasae.files.outputs import check_target, write_kept
from atlasae.files.remote import Location
from atlasae.jets.columns import read_jets
from atlasae.jets.coordinates import Floats
from atlasae.jets.inputs import find_in, open_input
from atlasae.jets.stored import storage_of
from atlasae.training.results import TablesReport

STEP = 2e-4  # of the lattice: finer than the width of any bin
_STEP_ENTRIES = 100_000  # entries per chunk
_FEWEST_JETS = 1000
STRENGTH = {"pt": 100, "fall": 600, "eta": 300, "phi": 600, "m": 240}  # weight of each context's prior, in jets
BLEND, PARENT, UNIFORM = 20.0, 0.01, 0.01  # weights: mean over contexts (in jets, as a share), uniform


def _pieces(*parts: tuple[float, float, int]) -> Integers:
    """Edges of bins, from (low, high, number of bins) of adjacent intervals."""
    edges = [np.linspace(low, high, bins + 1)[:-1] for low, high, bins in parts]
    return np.rint(np.append(np.concatenate(edges), parts[-1][1]) * RESOLUTION).astype(np.int64)


PI = float(np.pi)
EDGES = {
    "pt": _pieces((0, 2.8, 28), (2.8, 7.8, 167), (7.8, 10.7, 29)),
    "fall": _pieces((-10.7, -0.5, 11), (-0.5, 0, 5), (0, 1, 64), (1, 3, 40), (3, 10.7, 15)),
    "eta": _pieces((0, 4, 8), (4, 16, 96), (16, 20, 8)),
    "phi": _pieces(
        *((0, PI - 1, 12), (PI - 1, PI - 0.25, 15), (PI - 0.25, PI - 0.06, 9), (PI - 0.06, PI + 0.06, 16)),
        *((PI + 0.06, PI + 0.25, 9), (PI + 0.25, PI + 1, 15), (PI + 1, 2 * PI, 12)),
    ),
    # mu - log pt, from the lower edge of its cells; the last bin has massless jets
    "m": _pieces(
        *((-10.8, 9.2, 4), (9.2, 17.7, 9), (17.7, 19.2, 10), (19.2, 21.8, 65), (21.8, 23.2, 7), (23.2, 40, 4)),
        (40, 41, 1),
    ),
}  # fmt: skip


def train_tables(
    paths: Sequence[Location], target: Path, patterns: Sequence[str] = (), units: str | None = None, force: bool = False
) -> TablesReport:
    """Make tables for the packed layout from the jets of files, and write them; returns the report."""
    for path in paths:
        check_target(path, target, force)
    priors, jets = count_files(paths, patterns, units, default_priors())
    return TablesReport(**write_kept(target, priors, force), jets=jets)


class Counting:
    """A coder that writes nothing and counts bins in the tables."""

    def code(self, table: CodingTable, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Count the bins of these cells, by context; returns the cells."""
        assert cells is not None
        runs = runs_of(contexts, n)
        table.note(runs, table.bins(cells if runs.order is None else cells[runs.order]))
        return cells


def count_files(
    paths: Sequence[Location], patterns: Sequence[str] = (), units: str | None = None, known: Priors | None = None
) -> tuple[Priors, int]:
    """The priors from the jets of files (ROOT and tables), and the number of jets; raises UserError.

    The counts of `known` priors are added: their weight falls with the number of jets.
    """
    total = {name: np.zeros((CONTEXTS[name], len(edges) - 1), np.int64) for name, edges in EDGES.items()}
    empty, jets = Priors.from_tables({name: Prior(EDGES[name], counts + 1) for name, counts in total.items()}), 0
    for path in paths:
        for rows, counts in _events(path, patterns, units):
            jets += len(rows)
            for name, found in _count(empty, rows, counts).items():
                total[name] += found
    if jets < _FEWEST_JETS:
        raise UserError(f"{jets} jets are too few to make tables of: give files with {_FEWEST_JETS} or more")
    if known:
        total = {name: counts + known.of[name].counts // SEEN for name, counts in total.items()}
    return Priors.from_tables({n: Prior(EDGES[n], expected(n, counts)) for n, counts in total.items()}), jets


def _events(path: Location, patterns: Sequence[str], units: str | None) -> Iterator[tuple[Floats, Counts]]:
    """The jets (n x 4, MeV) of a file that can be packed and the number in each event, chunk by chunk."""
    with open_input(path, None, patterns) as opened:
        collections = find_in(opened.events, opened.where, patterns, opened.tree)
        for _, stored in read_jets(opened.events, collections, units, _STEP_ENTRIES):
            jets = stored.jets
            kept = storage_of(stored.collection).usable(jets)
            yield jets[kept], counts_of(kept, stored.counts)


def _count(empty: Priors, jets: Floats, counts: Counts) -> dict[str, Integers]:
    """The counts of every bin in every context."""
    lattice = Lattice((STEP,) * 4)
    cells, held = lattice.cells(jets)
    walk = Walk(PackedCodec(empty, lattice), lattice)
    walk.through(Counting(), counts_of(held, counts), cells[:, held])
    tables = {"pt": walk.pt, "fall": walk.fall, "eta": walk.eta, "phi": walk.phi, "m": walk.mass}
    found = {name: table.learned for name, table in tables.items()}
    every, _ = np.histogram(np.log(jets[held, 0]) - LOW[0], EDGES["pt"] / RESOLUTION)
    found["pt"][0] += every  # context 0 is of jets coded without their events
    return found


def expected(name: str, counts: Integers) -> Integers:
    """The counts of a prior from observed counts: blended with the mean over contexts and with a uniform density."""
    widths = np.diff(EDGES[name]) / np.ptp(EDGES[name])
    parent = counts.sum(axis=0) + widths * len(widths)
    parent /= parent.sum()
    blended = (counts + BLEND * parent) / (counts.sum(axis=1, keepdims=True) + BLEND)
    shares = (1 - PARENT - UNIFORM) * blended + PARENT * parent + UNIFORM * widths
    return np.asarray(np.maximum(1, np.rint(shares * STRENGTH[name] * SEEN)), np.int64)
