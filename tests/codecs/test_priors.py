"""Tables of priors, converted to any step; the packaged ones are kept for ever."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from atlasae.codecs.packed import BALANCES, ETA_EDGES, MULTIPLICITIES, PLACES, PT_EDGES, RATIOS, RECOILS
from atlasae.codecs.priors import RESOLUTION, Prior, Priors, default_priors, packaged_priors

SHA = "d1dea68b5c401c171ac3ae726079551d41dc3de6b70cac7544d7c1c6762a007d"


def prior(edges: list[float], counts: list[list[int]]) -> Prior:
    return Prior(np.rint(np.array(edges) * RESOLUTION).astype(np.int64), np.array(counts, np.int64))


def test_bins_are_cut_at_cells():
    table = prior([0, 0.5, 1, 4], [[10, 20, 30]]).table(0.25, 0, 16, True)
    assert table.edges.tolist() == [0, 2, 4, 16] and table.counts.tolist() == [[10, 20, 30]] and table.adapts


def test_bins_without_a_cell_join_the_next_and_the_ends_are_those_asked_for():
    known = prior([0, 0.1, 0.2, 2, 2.1], [[1, 2, 3, 4], [5, 6, 7, 8]])
    table = known.table(1.0, -3, 5, False)
    assert table.edges.tolist() == [-3, 0, 2, 5] and not table.adapts
    assert table.counts.sum(axis=1).tolist() == [10, 26]


def test_the_last_bin_may_stand_apart():
    table = prior([0, 1, 2, 3], [[1, 2, 9]]).table(0.5, -2, 4, True, apart=6)
    assert table.edges.tolist() == [-2, 2, 4, 10] and table.counts.tolist() == [[1, 2, 9]]


@given(st.floats(-6, 0.3).map(lambda power: 10**power), st.sampled_from(sorted(default_priors().of)))
def test_no_count_is_lost_and_no_cell_without_a_bin(step, name):
    known, ends = default_priors().of[name], (-int(11 / step) - 1, int(41 / step) + 1)
    table = known.table(step, *ends, True)
    assert table.edges[0] == ends[0] and table.edges[-1] == ends[1] and (table.widths > 0).all()
    assert np.array_equal(table.counts.sum(axis=1), known.counts.sum(axis=1)) and (table.counts > 0).all()


def test_tables_come_back_from_their_bytes():
    tables = {"a": prior([0, 1, 2], [[1, 65_535]]), "b": prior([-1, 0, 1], [[7, 1], [8, 1]])}
    found = Priors.from_tables(tables)
    assert Priors.from_bytes(found.content).sha256 == found.sha256 and sorted(found.of) == ["a", "b"]
    for name, known in tables.items():
        assert np.array_equal(found.of[name].edges, known.edges) and np.array_equal(found.of[name].counts, known.counts)


def test_the_packaged_priors_are_kept_for_ever():
    assert default_priors().sha256 == SHA
    assert packaged_priors(SHA) == default_priors() and packaged_priors("0" * 64) is None


@pytest.mark.parametrize(
    ("name", "contexts"),
    [
        ("pt", MULTIPLICITIES + 1),
        ("fall", (len(PT_EDGES) + 1) * PLACES * BALANCES),
        ("eta", len(PT_EDGES) + 1),
        ("phi", RATIOS * RECOILS),
        ("m", (len(PT_EDGES) + 1) * (len(ETA_EDGES) + 1)),
    ],
)
def test_every_context_has_its_counts(name, contexts):
    known = default_priors().of[name]
    assert known.counts.shape == (contexts, len(known.edges) - 1) and (np.diff(known.edges) > 0).all()


EDGES, COUNTS = np.array([0, 1, 2], np.int32), np.ones((2, 2), np.uint16)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"\xff" * 100, bytes(2**20 + 1)),
        save({}),
        save({"pt.edges": EDGES}),
        save({"pt.edges": EDGES, "pt.counts": COUNTS, "odd": COUNTS}),
        save({"pt.edges": EDGES.astype(np.int64), "pt.counts": COUNTS}),
        save({"pt.edges": EDGES, "pt.counts": COUNTS.astype(np.float32)}),
        save({"pt.edges": EDGES, "pt.counts": COUNTS[0]}),
        save({"pt.edges": EDGES[:2], "pt.counts": COUNTS}),
        save({"pt.edges": EDGES[::-1].copy(), "pt.counts": COUNTS}),
        save({"pt.edges": np.array([0, 1, 2**30], np.int32), "pt.counts": COUNTS}),
        save({"pt.edges": EDGES, "pt.counts": COUNTS * np.uint16(0)}),
        save({"pt.edges": np.arange(2000, dtype=np.int32), "pt.counts": np.ones((1, 1999), np.uint16)}),
    ],
)
def test_bytes_that_hold_no_tables_are_refused(content):
    with pytest.raises(ValueError, match=r"tables|safetensors"):
        Priors.from_bytes(content)
