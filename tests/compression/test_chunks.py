"""Pieces of chunks, and the number of jets per event in packed files."""

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
from conftest import succeeded, write_layout
from hypothesis import given
from hypothesis import strategies as st

from atlasae.compression.chunks import Chunks, WrittenChunk, pieces
from atlasae.compression.format import read_contents
from atlasae.compression.layouts import layout_of
from atlasae.errors import DamagedFileError
from atlasae.files.checksums import checksum
from atlasae.files.trees import open_source


@given(st.integers(0, 1000), st.integers(0, 10_000), st.integers(1, 500))
def test_pieces_follow_each_other(entries, jets, most):
    found = list(pieces(entries, jets, most))
    assert found[0][0] == 0 and found[-1][1] == entries
    assert [stop for _, stop in found[:-1]] == [start for start, _ in found[1:]]
    assert all((stop - start) * jets <= most * entries or stop - start == 1 for start, stop in found)


@pytest.fixture(params=["floats", "packed"])
def chunk(request, jets_file, tmp_path):
    succeeded("compress", jets_file, tmp_path / "small.root", "--layout", request.param)
    with open_source(tmp_path / "small.root") as source:
        chunks = Chunks(source, read_contents(source))
        yield chunks.read(*next(iter(chunks)))


def test_parts_are_what_the_whole_is(chunk: WrittenChunk):
    whole, cut = chunk.restored(), chunk.unpacked()
    first, second = cut.part(0, 17), cut.part(17, chunk.chunk.entries)
    assert (first.start, second.start) == (0, 17) and first.chunk.jets + second.chunk.jets == chunk.chunk.jets
    for name, array in whole.items():
        assert checksum(ak.concatenate([first.restored()[name], second.restored()[name]])) == checksum(array)


def test_packed_jets_are_counted_by_their_counter_or_by_a_branch_that_shares_it(tmp_path):
    path = write_layout(tmp_path / "in.root", "nanoaod")
    for options in ((), ("--only-jets",)):
        succeeded("compress", path, tmp_path / "small.root", "--layout", "packed", "--force", *options)
        with open_source(tmp_path / "small.root") as source:
            contents = read_contents(source)
            (run,) = contents.runs
            tree, (entry,) = source.trees[run.tree], run.collections
            events, layout = tree.read(run.written, 0, tree.entries), layout_of(entry, contents)
            assert layout.counts(run, events).sum() == entry.jets
            counter = run.counters["Jet_pt"]
            lies = [np.full(tree.entries, lie, np.int32) for lie in (-1, 2**25)]
            for wrong in (*lies, np.full(tree.entries, np.nan), np.ones((tree.entries, 2), int)):
                with pytest.raises(DamagedFileError, match=f"'{counter}' is damaged"):
                    layout.counts(run, events | {counter: ak.Array(wrong)})
            nobody = replace(run, counters=run.counters | {"Jet_pt": "nothere"})
            with pytest.raises(DamagedFileError, match="'Jet' is damaged: nothing counts its jets"):
                layout.counts(nobody, events)
