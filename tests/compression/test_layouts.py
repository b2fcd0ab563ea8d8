"""Layouts by name: each is made again from its configuration; unknown names and other branches are refused."""

import json
from dataclasses import replace
from typing import Any

import pytest
from conftest import succeeded

from atlasae.compression.floats import FLOATS_LAYOUTS
from atlasae.compression.format import Contents, read_contents
from atlasae.compression.layouts import layout_kind, layout_named, layout_of
from atlasae.compression.packed import PackedLayout
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.trees import open_source


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
