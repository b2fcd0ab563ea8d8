"""Pieces of chunks, jets per event in packed files, and layouts by name, made again from their configuration."""

import json
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest
from conftest import succeeded, write_layout
from hypothesis import given
from hypothesis import strategies as st

from atlasae.compression.chunks import Chunks, WrittenChunk, layout_kind, layout_named, layout_of, pieces
from atlasae.compression.floats import FLOATS_LAYOUTS
from atlasae.compression.format import Contents, read_contents
from atlasae.compression.packed import PackedLayout
from atlasae.errors import DamagedFileError, UserError
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


@pytest.fixture(params=["floats", "packed"])
def contents(request, jets_file, tmp_path) -> Contents:
    succeeded("compress", jets_file, tmp_path / "small.root", "--layout", request.param)
    with open_source(tmp_path / "small.root") as source:
        return read_contents(source)


def test_names_lead_to_layouts():
    assert {name: layout_named(name) for name in FLOATS_LAYOUTS} == FLOATS_LAYOUTS
    assert layout_named("packed") is PackedLayout
    with pytest.raises(ValueError, match="layout 'zip' is unknown"):
        layout_named("zip")


def test_a_file_tells_its_layout(contents):
    (entry,) = contents.runs[0].collections
    layout = layout_of(entry, contents)
    assert type(layout) is layout_kind(entry) is layout_named(entry.codec["layout"])
    assert layout.collection == entry.collection and json.loads(json.dumps(layout.codec.config())) == entry.codec


@pytest.mark.parametrize("codec", [{"layout": "zip"}, {}, {"layout": []}, "another"], ids=str)
def test_a_codec_of_no_layout_or_of_other_branches_is_damage(contents, codec: Any):
    (entry,) = contents.runs[0].collections
    if codec == "another":
        codec = {**entry.codec, "layout": {"packed": "floats", "floats": "packed"}[entry.codec["layout"]]}
    with pytest.raises(DamagedFileError, match="the codec of '.*' is damaged"):
        layout_kind(replace(entry, codec=codec))


def test_a_model_that_nobody_has_is_asked_for(contents):
    (entry,) = contents.runs[0].collections
    with pytest.raises(UserError, match="neither in the file nor in this atlasae: upgrade atlasae"):
        layout_of(replace(entry, model_sha256="0" * 64), contents)
