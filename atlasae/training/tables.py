"""Tables of the packed layout from jets: how often each bin occurs in each context."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from atlasae.codecs.entropy import SEEN, Cells, Contexts, Table, runs_of
from atlasae.codecs.lattice import LOW, Lattice
from atlasae.codecs.packed import CONTEXTS, PackedCodec, Walk
from atlasae.codecs.priors import RESOLUTION, Integers, Prior, Priors, default_priors
from atlasae.errors import UserError
from atlasae.files.events import Counts, counts_of
from atlasae.files.outputs import check_target, write_kept
from atlasae.files.remote import Location
from atlasae.jets.collections import Collection
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import Floats
from atlasae.jets.inputs import find_in, open_input
from atlasae.jets.stored import storage_of
from atlasae.jets.units import settle
from atlasae.training.results import TablesReport

STEP = 2e-4  # finer than any bin
_STEP_ENTRIES = 100_000  # entries read at once
_FEWEST_JETS = 1000
STRENGTH = {"pt": 100, "fall": 600, "eta": 300, "phi": 600, "m": 240}  # jets that a context weighs as much as
BLEND, PARENT, UNIFORM = 20.0, 0.01, 0.01  # jets, and shares, given to what is more general


def _pieces(*parts: tuple[float, float, int]) -> Integers:
    """Edges of bins, from ends and numbers of bins."""
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
    # of mu - log pt, counted from where their cells begin; the last bin is that of massless jets
    "m": _pieces(
        *((-10.8, 9.2, 4), (9.2, 17.7, 9), (17.7, 19.2, 10), (19.2, 21.8, 65), (21.8, 23.2, 7), (23.2, 40, 4)),
        (40, 41, 1),
    ),
}  # fmt: skip


def train_tables(
    paths: Sequence[Location], target: Path, patterns: Sequence[str] = (), units: str | None = None, force: bool = False
) -> TablesReport:
    """Make tables for the packed layout of the jets of files, and write them; returns the report."""
    for path in paths:
        check_target(path, target, force)
    priors, jets = count_files(paths, patterns, units, default_priors())
    return TablesReport(**write_kept(target, priors, force), jets=jets)


class Counting:
    """A coder that writes nothing: the tables learn what they are shown."""

    def code(self, table: Table, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Let the table learn."""
        assert cells is not None
        runs = runs_of(contexts, n)
        table.note(runs, table.bins(cells if runs.order is None else cells[runs.order]))
        return cells


def count_files(
    paths: Sequence[Location], patterns: Sequence[str] = (), units: str | None = None, known: Priors | None = None
) -> tuple[Priors, int]:
    """The priors of the jets of files (ROOT and tables), and how many jets those are; raises UserError.

    `known` priors have a say too, the less the more jets there are.
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
    """The jets (n x 4, MeV) of a file that can be packed, and how many each event has, chunk by chunk."""
    with open_input(path, None, patterns) as opened:
        settled: list[Collection] = []
        collections = find_in(opened.events, opened.where, patterns)
        names = [name for collection in collections for name in collection.branches.values()]
        for start in range(0, opened.events.entries, _STEP_ENTRIES):
            events = opened.events.read(names, start, min(start + _STEP_ENTRIES, opened.events.entries))
            settled = settled or settle(collections, units, [to_columns(c, events)[0] for c in collections])
            for collection in settled:
                columns, counts = to_columns(collection, events)
                storage = storage_of(collection)
                jets = storage.to_rows(storage.to_values(columns))
                kept = storage.usable(jets)
                yield jets[kept], counts_of(kept, counts)


def _count(empty: Priors, jets: Floats, counts: Counts) -> dict[str, Integers]:
    """How often every bin occurs in every context."""
    lattice = Lattice((STEP,) * 4)
    cells, held = lattice.cells(jets)
    walk = Walk(PackedCodec(empty, lattice))
    walk.through(Counting(), counts_of(held, counts), cells[:, held])
    tables = {"pt": walk.pt, "fall": walk.fall, "eta": walk.eta, "phi": walk.phi, "m": walk.mass}
    found = {name: table.learned for name, table in tables.items()}
    every, _ = np.histogram(np.log(jets[held, 0]) - LOW[0], EDGES["pt"] / RESOLUTION)
    found["pt"][0] += every  # the first context is of jets whose events are not asked
    return found


def expected(name: str, counts: Integers) -> Integers:
    """Counts of a prior, from those seen."""
    widths = np.diff(EDGES[name]) / np.ptp(EDGES[name])
    parent = counts.sum(axis=0) + widths * len(widths)
    parent /= parent.sum()
    blended = (counts + BLEND * parent) / (counts.sum(axis=1, keepdims=True) + BLEND)
    shares = (1 - PARENT - UNIFORM) * blended + PARENT * parent + UNIFORM * widths
    return np.asarray(np.maximum(1, np.rint(shares * STRENGTH[name] * SEEN)), np.int64)
