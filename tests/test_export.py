"""What is exported from where: files, models, merged files, and what can't be."""

from pathlib import Path

import numpy as np
import pytest
from conftest import counted, make_counts, refused, succeeded, write_tree

from atlasae.codec import FloatsCodec
from atlasae.container import read_contents
from atlasae.export import drawn_jets, exported
from atlasae.model import default_model
from atlasae.precision import Precision
from atlasae.rootio import open_source
from atlasae.storage import storage_of

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def test_a_file_is_exported_with_its_own_grid(compressed, tmp_path):
    report = succeeded("export", compressed, "--cpp", "-o", tmp_path / "jets.h", "--json").report
    assert report["files"] == [str(tmp_path / "jets.h")] and report["bytes"] == (tmp_path / "jets.h").stat().st_size
    assert report["units"] == "GeV" and report["precision"] == dict.fromkeys(("pt", "eta", "phi", "m"), 1e-3)
    with open_source(compressed) as source:
        (entry,) = read_contents(source).runs[0].collections
    found = exported(str(compressed), None, None)
    assert isinstance(found.codec, FloatsCodec) and found.codec == FloatsCodec.from_config(
        entry.codec, found.codec.autoencoder
    )


@pytest.mark.parametrize("precision", ["1e-3", "pt=1e-2,eta=1e-3,phi=1e-3,m=1e-2", "full"])
def test_a_model_gets_a_grid_that_keeps_the_precision_of_its_own_jets(precision):
    model = default_model()
    found = exported("default", None, precision)
    assert isinstance(found.codec, FloatsCodec) and found.model_sha256 == model.sha256
    jets, storage = drawn_jets(model.autoencoder, 5000), storage_of(found.collection)
    errors = storage.errors(jets, found.codec.decode(found.codec.encode(jets)))
    bounds = Precision.parse(precision).of(storage.layout)
    within = np.all([errors[v] <= bound for v, bound in bounds.items()], axis=0)
    assert within.mean() > 0.99


def test_jets_drawn_from_a_model_are_those_it_was_trained_on():
    model = default_model()
    jets = drawn_jets(model.autoencoder, 20_000)
    for i, variable in enumerate(("pt", "eta", "phi", "m")):
        middle = model.facts["domain"][variable][2]
        assert 0.4 < (jets[:, i] > middle).mean() < 0.6, variable


def two_collections(path: Path) -> Path:
    counts = make_counts(40)
    jets = counted("nanoaod", counts)
    fat = {name.replace("Jet", "FatJet"): array for name, array in counted("nanoaod", counts, 7).items()}
    return write_tree(path, "Events", jets | fat, dict.fromkeys(jets, "nJet") | dict.fromkeys(fat, "nFatJet"))


def test_one_of_several_collections_is_chosen(tmp_path):
    succeeded("compress", two_collections(tmp_path / "in.root"), tmp_path / "small.root", "--quiet")
    out = tmp_path / "jets.h"
    refused(2, ("--jets", "FatJet"), "export", tmp_path / "small.root", "--cpp", "-o", out, out=out)
    refused(2, ("'No'", "FatJet"), "export", tmp_path / "small.root", "--cpp", "--jets", "No", "-o", out, out=out)
    succeeded("export", tmp_path / "small.root", "--cpp", "--jets", "FatJet", "-o", out, "--quiet")
    assert "FatJet_z0" in out.read_text() and '"Jet_z0"' not in out.read_text()


def test_what_can_not_be_exported_is_refused(compressed, jets_file, tmp_path):
    out = tmp_path / "jets.h"
    refused(2, ("--cpp",), "export", compressed, "-o", out, out=out)
    refused(2, ("not compressed by atlasae",), "export", jets_file, "--cpp", "-o", out, out=out)
    refused(2, ("no model 'nothing'",), "export", "nothing", "--cpp", "-o", out, out=out)
    refused(
        2, ("--precision", "is of a model"), "export", compressed, "--precision", "1e-3", "--cpp", "-o", out, out=out
    )
    refused(2, ("--jets", "is a model"), "export", "default", "--jets", "Jet", "--cpp", "-o", out, out=out)
    refused(2, ("is the input",), "export", compressed, "--cpp", "-o", compressed, "--force", out=out)
    succeeded("compress", jets_file, tmp_path / "packed.root", "--layout", "packed", "--quiet")
    refused(2, ("packed", "--layout floats"), "export", tmp_path / "packed.root", "--cpp", "-o", out, out=out)
    out.write_text("mine")
    refused(2, ("--force",), "export", compressed, "--cpp", "-o", out, out=out)
