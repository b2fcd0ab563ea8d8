"""NanoEvents of compressed files."""

import sys

import awkward as ak
import numpy as np
import pytest
from conftest import bits, read_tree, succeeded, write_layout

import atlasae
from atlasae.coffea import CoffeaColumn, events


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coffea")
    path = write_layout(folder / "jets.root", "nanoaod")
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


def test_events_are_those_of_the_decompressed_file(small):
    nanoevents = pytest.importorskip("coffea.nanoevents")
    succeeded("decompress", small, small.with_name("back.root"))
    expected = read_tree(small.with_name("back.root"), "Events")
    found = events(small, schema=nanoevents.BaseSchema)
    assert len(found) == 60 and {"Jet_pt", "nJet", "weight"} <= set(found.fields) and "name" not in found.fields
    assert ak.all(found.Jet_pt == expected["Jet_pt"]) and ak.all(found.Jet_mass == expected["Jet_mass"])
    few = events(small, schema=nanoevents.BaseSchema, filter_name="*Jet*", entry_start=10, entry_stop=20)
    assert few.Jet_eta.to_list() == expected["Jet_eta"][10:20].to_list() and "weight" not in few.fields
