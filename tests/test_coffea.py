"""NanoEvents of compressed files."""

import sys

import awkward as ak
import numpy as np
import pytest
from conftest import bits, read_tree, succeeded, write_layout, write_tree

import atlasae
from atlasae.coffea import CoffeaColumn, events

IDS = ("run", "luminosityBlock", "event")  # which NanoAODSchema wants


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coffea")
    events = read_tree(write_layout(folder / "jets.root", "nanoaod"), "Events")
    ids = {name: ak.Array(np.arange(60)) for name in IDS}
    path = write_tree(folder / "with_ids.root", "Events", {n: a for n, a in events.items() if n != "event"} | ids)
    succeeded("compress", path, folder / "small.root", "--layout", "packed")
    return folder / "small.root"


def test_columns_have_the_form_that_they_are_said_to_have(small):
    with atlasae.open(small) as tree:
        for name, dtype in tree.dtypes().items():
            column = CoffeaColumn(tree, name, dtype)
            part = column[10:30]
            assert part.layout.form == column.layout.form
            assert bits(part) == bits(ak.values_astype(tree[name].array()[10:30], np.dtype(dtype.removesuffix("[]"))))


def test_without_coffea_it_is_asked_for(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "coffea.nanoevents", None)
    with pytest.raises(atlasae.UserError, match="NanoEvents need coffea .*: pip install coffea"):
        events(small)


@pytest.mark.filterwarnings("ignore:Missing cross-reference")  # coffea's, of branches that the file does not have
def test_events_are_those_of_the_decompressed_file(small):
    pytest.importorskip("coffea")
    succeeded("decompress", small, small.with_name("back.root"))
    expected = read_tree(small.with_name("back.root"), "Events")
    found = events(small, filter_name=["*Jet*", "weight", *IDS])
    assert len(found) == 60 and ak.all(found.Jet.pt == expected["Jet_pt"])
    assert ak.all(found.Jet.mass == expected["Jet_mass"])
    assert events(small, filter_name=["*Jet*", *IDS], entry_start=10, entry_stop=20).Jet.eta.to_list() == (
        expected["Jet_eta"][10:20].to_list()
    )
