"""Make the packaged priors of the packed layout from simulated events that may be shipped.

    python scripts/generate_jets.py TRUTH.root --events 110000 --seed 101
    python scripts/generate_jets.py SMEARED.root --events 110000 --seed 303 --smear
    python scripts/train_priors.py TRUTH.root SMEARED.root [-o atlasae/models/priors.safetensors]

The coder's own walk over the events counts how often each bin occurs in each context. A context that is seen seldom is
filled up with what all contexts together look like, and that with a uniform density.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from atlasae.coding import SEEN, Cells, Contexts, Table, runs_of
from atlasae.collection import settle
from atlasae.columns import Counts, counts_of, to_columns
from atlasae.coordinates import Floats
from atlasae.lattice import LOW, Lattice
from atlasae.packed import BALANCES, ETA_EDGES, MULTIPLICITIES, PLACES, PT_EDGES, RATIOS, RECOILS, PackedCodec, Walk
from atlasae.planning import choose_tree
from atlasae.priors import RESOLUTION, Integers, Prior, Priors
from atlasae.rootio import open_source
from atlasae.schema import find_collections
from atlasae.storage import storage_of

DEFAULT = Path(__file__).parents[1] / "atlasae" / "models" / "priors.safetensors"
STEP = 2e-4  # finer than any bin
CLASSES = len(PT_EDGES) + 1
CONTEXTS = {
    "pt": MULTIPLICITIES + 1,
    "fall": CLASSES * PLACES * BALANCES,
    "eta": CLASSES,
    "phi": RATIOS * RECOILS,
    "m": CLASSES * (len(ETA_EDGES) + 1),
}
STRENGTH = {"pt": 100, "fall": 600, "eta": 300, "phi": 600, "m": 240}  # jets that a context weighs as much as
BLEND, PARENT, UNIFORM = 20.0, 0.01, 0.01  # jets, and shares, given to what is more general


def pieces(*parts: tuple[float, float, int]) -> Integers:
    """Edges of bins, from ends and numbers of bins."""
    edges = [np.linspace(low, high, bins + 1)[:-1] for low, high, bins in parts]
    return np.rint(np.append(np.concatenate(edges), parts[-1][1]) * RESOLUTION).astype(np.int64)


PI = float(np.pi)
EDGES = {
    "pt": pieces((0, 2.8, 28), (2.8, 7.8, 167), (7.8, 10.7, 29)),
    "fall": pieces((-10.7, -0.5, 11), (-0.5, 0, 5), (0, 1, 64), (1, 3, 40), (3, 10.7, 15)),
    "eta": pieces((0, 4, 8), (4, 16, 96), (16, 20, 8)),
    "phi": pieces(
        *((0, PI - 1, 12), (PI - 1, PI - 0.25, 15), (PI - 0.25, PI - 0.06, 9), (PI - 0.06, PI + 0.06, 16)),
        *((PI + 0.06, PI + 0.25, 9), (PI + 0.25, PI + 1, 15), (PI + 1, 2 * PI, 12)),
    ),
    # of mu - log pt, counted from where their cells begin; the last bin is that of massless jets
    "m": pieces(
        *((-10.8, 9.2, 4), (9.2, 17.7, 9), (17.7, 19.2, 10), (19.2, 21.8, 65), (21.8, 23.2, 7), (23.2, 40, 4)),
        (40, 41, 1),
    ),
}  # fmt: skip


class Counting:
    """A coder that writes nothing: the tables learn what they are shown."""

    def code(self, table: Table, contexts: Contexts | None, cells: Cells | None, n: int) -> Cells:
        """Let the table learn."""
        assert cells is not None
        runs = runs_of(contexts, n)
        table.note(runs, table.bins(cells if runs.order is None else cells[runs.order]))
        return cells


def events_of(path: Path) -> tuple[Floats, Counts]:
    """The jets (n x 4, MeV) of a file, and how many each event has."""
    with open_source(path) as source:
        tree = choose_tree(source, None, ())
        (collection,) = find_collections(tree.branches)
        columns, counts = to_columns(collection, tree.read(list(collection.branches.values()), 0, tree.entries))
        storage = storage_of(settle(collection, None, columns))
        return storage.to_rows(storage.to_values(columns)), counts


def count(paths: list[Path]) -> dict[str, Integers]:
    """How often every bin occurs in every context."""
    empty = {name: Prior(edges, np.zeros((CONTEXTS[name], len(edges) - 1), np.int64)) for name, edges in EDGES.items()}
    total = {name: prior.counts for name, prior in empty.items()}
    for path in paths:
        jets, counts = events_of(path)
        lattice = Lattice((STEP,) * 4)
        cells, held = lattice.cells(jets)
        walk = Walk(PackedCodec(Priors.from_tables(empty), lattice))
        walk.through(Counting(), counts_of(held, counts), cells[:, held])
        tables = {"pt": walk.pt, "fall": walk.fall, "eta": walk.eta, "phi": walk.phi, "m": walk.mass}
        total = {name: total[name] + table.learned for name, table in tables.items()}
        every, _ = np.histogram(np.log(jets[held, 0]) - LOW[0], EDGES["pt"] / RESOLUTION)
        total["pt"][0] += every  # the first context is of jets whose events are not asked
    return total


def expected(name: str, counts: Integers) -> Integers:
    """Counts of a prior, from those seen."""
    widths = np.diff(EDGES[name]) / np.ptp(EDGES[name])
    parent = counts.sum(axis=0) + widths * len(widths)
    parent /= parent.sum()
    blended = (counts + BLEND * parent) / (counts.sum(axis=1, keepdims=True) + BLEND)
    shares = (1 - PARENT - UNIFORM) * blended + PARENT * parent + UNIFORM * widths
    return np.asarray(np.maximum(1, np.rint(shares * STRENGTH[name] * SEEN)), np.int64)


def main() -> None:
    """Count, and write the priors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT)
    args = parser.parse_args()
    tables = {name: Prior(EDGES[name], expected(name, counts)) for name, counts in count(args.inputs).items()}
    priors = Priors.from_tables(tables)
    args.output.write_bytes(priors.content)
    print(f"{args.output}: {len(priors.content)} bytes, SHA-256 {priors.sha256}")


if __name__ == "__main__":
    main()
