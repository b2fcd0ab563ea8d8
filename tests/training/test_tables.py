"""Tables of the packed layout made from jets: the counts of the walk, which make similar jets smaller."""

import numpy as np
import pandas as pd
import pytest
from conftest import random_jets

from atlasae.codecs.entropy import SEEN
from atlasae.codecs.lattice import Lattice
from atlasae.codecs.packed import CONTEXTS, PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.errors import UserError
from atlasae.training.tables import EDGES, STRENGTH, count_files, expected


def narrow_jets(n: int, seed: int = 1) -> np.ndarray:
    """Jets of one pt and small mass, unlike any simulation."""
    jets = random_jets(n, seed)
    rng = np.random.default_rng(seed)
    jets |= {"pt": 50_000 * np.exp(rng.normal(0, 0.01, n)), "m": rng.uniform(4000, 4100, n)}
    return np.column_stack([jets[v] for v in ("pt", "eta", "phi", "m")])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "jets.parquet"
    pd.DataFrame(narrow_jets(3000), columns=["pt", "eta", "phi", "m"]).to_parquet(path)
    return path


def test_tables_of_ones_own_jets_pay(table):
    own, jets = count_files([table], units="MeV", known=default_priors())
    assert jets == 3000 and own.sha256 != default_priors().sha256
    lattice, others = Lattice((2e-3,) * 4), narrow_jets(500, seed=2)
    cells, held = lattice.cells(others)
    assert held.all()
    sizes = [len(PackedCodec(p, lattice).encode(cells, np.ones(500, np.int64))) for p in (own, default_priors())]
    assert sizes[0] < 0.9 * sizes[1]


def test_files_are_counted_together(table):
    assert count_files([table, table], units="MeV")[1] == 6000


def test_few_jets_are_too_few(tmp_path):
    path = tmp_path / "jets.parquet"
    pd.DataFrame(narrow_jets(20), columns=["pt", "eta", "phi", "m"]).to_parquet(path)
    with pytest.raises(UserError, match="20 jets are too few to make tables of"):
        count_files([path], units="MeV")


@pytest.mark.parametrize("name", sorted(EDGES))
def test_what_is_expected_weighs_as_much_as_it_should_and_leaves_nothing_out(name):
    counts = np.zeros((CONTEXTS[name], len(EDGES[name]) - 1), np.int64)
    counts[0, 3] = 1_000_000
    found = expected(name, counts)
    assert found.min() >= 1 and found.max() < 2**16
    assert found.sum(axis=1) == pytest.approx(SEEN * STRENGTH[name], rel=0.03)
    assert found[0, 3] > 0.95 * found[0].sum()  # a context with many jets is close to its own counts
    assert found[1:, 3].min() > 0.9 * found[0, 3] - SEEN  # the others are close to the mean over contexts
