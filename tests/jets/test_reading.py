"""Jets read chunk by chunk: all of them, or some of the chunks, in the units of the first."""

import numpy as np
import pytest
from conftest import random_jets

from atlasae.files.events import ArrayEvents
from atlasae.jets.columns import read_jets
from atlasae.jets.inputs import find_in


def table(jets: int) -> ArrayEvents:
    return ArrayEvents({variable: values.astype("<f4") for variable, values in random_jets(jets).items()})


def test_chunks_follow_each_other_in_mev():
    events = table(100)
    found = list(read_jets(events, find_in(events, "a table", ()), "GeV", 30))
    assert [(start, len(stored.counts)) for start, stored in found] == [(0, 30), (30, 30), (60, 30), (90, 10)]
    assert {stored.collection.units for _, stored in found} == {"GeV"}
    pt = np.concatenate([stored.jets[:, 0] for _, stored in found])
    assert pt.tolist() == (events.columns["pt"].astype(float) * 1000).tolist()


@pytest.mark.parametrize(("most", "starts"), [(100, [0, 30, 60, 90]), (60, [0, 60]), (1, [0])])
def test_chunks_of_a_long_file_are_left_out(most, starts):
    events = table(100)
    assert [start for start, _ in read_jets(events, find_in(events, "a table", ()), "MeV", 30, most)] == starts


def test_units_are_told_by_the_first_chunk():
    events = table(100)
    events.columns["pt"] = np.where(np.arange(100) < 30, 50_000.0, 50.0).astype("<f4")
    found = read_jets(events, find_in(events, "a table", ()), None, 30)
    assert {stored.collection.units for _, stored in found} == {"MeV"}


def test_no_entries_are_no_chunks():
    events = table(0)
    assert list(read_jets(events, find_in(events, "a table", ()), "MeV", 30)) == []
