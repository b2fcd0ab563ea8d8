"""Sources of exports: files, models, merged files, and what can't be exported."""

import dataclasses
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from codec_contract import GOLDEN
from conftest import counted, make_counts, random_jets, refused, succeeded, untrained_bottleneck, write_tree

from atlasae.codecs.arrays import drawn_jets
from atlasae.codecs.bottleneck import ACTIVATIONS
from atlasae.codecs.floats import FloatsCodec
from atlasae.codecs.model import default_model
from atlasae.compression.compress import compress_file
from atlasae.compression.format import Contents, read_contents
from atlasae.errors import UserError
from atlasae.export import export
from atlasae.export.export import chosen_entry, exported, onnx_graphs
from atlasae.files.trees import open_source
from atlasae.jets.precision import Precision
from atlasae.jets.stored import storage_of

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True, scope="module")
def chosen_once() -> Iterator[None]:
    """The grid of a model at a precision takes seconds to choose: only the first test does so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "Codec", cache(export.Codec))
        yield


def test_a_file_is_exported_with_its_own_grid(compressed, tmp_path):
    report = succeeded("export", compressed, "--cpp", "-o", tmp_path / "jets.h", "--json").report
    assert report["files"] == [str(tmp_path / "jets.h")] and report["bytes"] == (tmp_path / "jets.h").stat().st_size
    assert report["units"] == "GeV" and report["precision"] == dict.fromkeys(("pt", "eta", "phi", "m"), 1e-3)
    with open_source(compressed) as source:
        (entry,) = read_contents(source).runs[0].collections
    said = succeeded("export", compressed, "--cpp", "-o", tmp_path / "jets.h", "--force").out
    assert said.startswith(f"{tmp_path / 'jets.h'}: ") and "Jet_pt, Jet_eta, Jet_phi, Jet_mass in GeV" in said
    found = exported(str(compressed), None, None)
    assert isinstance(found.codec, FloatsCodec) and found.codec == FloatsCodec.from_config(
        entry.codec, found.codec.chain
    )


def test_a_compressed_file_is_known_by_its_bytes_not_by_its_name(compressed, tmp_path):
    """Grids name files x.root.1, and a model may have any name."""
    shutil.copy(compressed, tmp_path / "user.x.root.1")
    out = tmp_path / "jets.h"
    succeeded("export", tmp_path / "user.x.root.1", "--cpp", "-o", out, "--quiet")
    assert "of 'user.x.root.1' (Jet)" in out.read_text()
    (tmp_path / "model.root").write_bytes(untrained_bottleneck("relu", ("pt", "eta", "phi", "m")))
    assert exported(str(tmp_path / "model.root"), None, None).source == "model.root"
    refused(
        2, ("no such file", "absent.root"), "export", tmp_path / "absent.root", "--cpp", "-o", out, "--force", out=out
    )


@pytest.mark.parametrize("precision", ["1e-3", "pt=1e-2,eta=1e-3,phi=1e-3,m=1e-2", "full"])
def test_a_model_gets_a_grid_that_keeps_the_precision_of_its_own_jets(precision):
    model = default_model()
    found = exported("default", None, precision)
    assert isinstance(found.codec, FloatsCodec) and found.model_sha256 == model.sha256
    jets, storage = drawn_jets(model.autoencoder, 5000), storage_of(found.collection)
    jets = jets[storage.usable(jets)]  # stored negative masses are always kept exactly
    errors = storage.errors(jets, found.codec.decode(found.codec.encode(jets)))
    bounds = Precision.parse(precision).of(storage.layout)
    within = np.all([errors[v] <= bound for v, bound in bounds.items()], axis=0)
    assert within.mean() > 0.999


def test_jets_drawn_from_a_model_are_those_it_was_trained_on():
    model = default_model()
    jets = drawn_jets(model.autoencoder, 20_000)
    for i, variable in enumerate(("pt", "eta", "phi", "m")):
        middle = model.facts["domain"][variable][2]
        assert 0.4 < (jets[:, i] > middle).mean() < 0.6, variable


def test_runs_of_different_grids_are_refused(jets_file, compressed, tmp_path):
    succeeded("compress", jets_file, tmp_path / "finer.root", "--precision", "1e-4", "--quiet")
    contents = []
    for path in (compressed, tmp_path / "finer.root"):
        with open_source(path) as source:
            contents.append(read_contents(source))
    same = Contents(contents[0].runs * 2, contents[0].chunks * 2)
    assert chosen_entry(compressed, same, None) == (contents[0].runs[0], contents[0].runs[0].collections[0])
    merged = Contents(contents[0].runs + contents[1].runs, contents[0].chunks + contents[1].chunks)
    with pytest.raises(UserError, match="merged from 2 runs, 'Jet' on 2 different grids: export each run's own file"):
        chosen_entry(compressed, merged, None)


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


def test_other_numbers_of_the_jets_are_in_a_header_but_not_in_graphs(tmp_path):
    jets = counted("nanoaod", make_counts(40))
    jets |= {"Jet_btag": jets["Jet_pt"] * 0.5}
    write_tree(tmp_path / "in.root", "Events", jets, dict.fromkeys(jets, "nJet"))
    succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", "--whole-jets", "--quiet")
    said = succeeded("export", tmp_path / "small.root", "--cpp", "-o", tmp_path / "jets.h").out
    assert "1 other branches of the jets, model" in said and "decompress" not in said
    assert '"Jet_btag");' in (tmp_path / "jets.h").read_text()
    said = succeeded("export", tmp_path / "small.root", "--onnx", "-o", tmp_path / "graphs").out
    line = "not for 1 other branches of the jets (Jet_btag): read them with `atlasae.open`, or decompress\n"
    assert said.endswith(line) and "model" in said and "branches of the jets, model" not in said


def test_other_numbers_of_the_jets_of_an_rntuple_are_left_out(tmp_path):
    compress_file(GOLDEN / "rntuple" / "records.root", tmp_path / "small.root", whole_jets="Jet")
    arguments = ("--jets", "Jet", "--cpp", "-o", tmp_path / "jets.h", "--json")
    report = succeeded("export", tmp_path / "small.root", *arguments).report
    assert report["left_out"] and report["others"] == [] and "unpack" not in (tmp_path / "jets.h").read_text()


def test_packed_bytes_in_an_rntuple_have_no_header(jets_file, tmp_path):
    out = tmp_path / "jets.h"
    succeeded("compress", jets_file, tmp_path / "n.root", "--layout", "packed", "--format", "rntuple", "--quiet")
    refused(2, ("RNTuple", "--format ttree"), "export", tmp_path / "n.root", "--cpp", "-o", out, out=out)


def test_what_can_not_be_exported_is_refused(compressed, jets_file, tmp_path):
    out = tmp_path / "jets.h"
    refused(2, ("--cpp or --onnx",), "export", compressed, "-o", out, out=out)
    refused(2, ("not compressed by atlasae",), "export", jets_file, "--cpp", "-o", out, out=out)
    refused(2, ("no model 'nothing'",), "export", "nothing", "--cpp", "-o", out, out=out)
    refused(
        2, ("--precision", "is for a model"), "export", compressed, "--precision", "1e-3", "--cpp", "-o", out, out=out
    )
    refused(2, ("--jets", "is a model"), "export", "default", "--jets", "Jet", "--cpp", "-o", out, out=out)
    refused(2, ("is the input",), "export", compressed, "--cpp", "-o", compressed, "--force", out=out)
    succeeded("compress", jets_file, tmp_path / "packed.root", "--layout", "packed", "--quiet")
    graphs = tmp_path / "graphs"
    refused(2, ("packed bytes", "--cpp"), "export", tmp_path / "packed.root", "--onnx", "-o", graphs, out=graphs)
    out.write_text("mine")
    refused(2, ("--force",), "export", compressed, "--cpp", "-o", out, out=out)


def sessions(folder: Path) -> list[onnxruntime.InferenceSession]:
    return [
        onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        for name in ("encoder", "decoder")
    ]


def check_onnx(source: object, folder: Path, jets: np.ndarray, precision: str | None = None) -> None:
    """ONNX decodes what Python keeps within its bounds within them, from Python's latents and from its own.

    A bottleneck network has no bounds: there ONNX gives the same values as Python.
    """
    options = ["--precision", precision] if precision else []
    succeeded("export", source, "--onnx", "-o", folder, "--quiet", *options)
    assert sorted(path.name for path in folder.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    found = exported(str(source), None, precision)
    encoder, decoder = sessions(folder)
    latents = found.codec.encode(jets)
    (own,) = encoder.run(None, {"jets": jets})
    assert own.dtype == np.float32 and own.shape == latents.shape
    storage, python = storage_of(found.collection), found.codec.decode(latents)
    bounds = {v: bound for v, bound in found.precision.items() if bound is not None}
    errors = storage.errors(jets, python)
    kept = np.all([errors[v] <= bound for v, bound in storage.kept(bounds).items()], axis=0)
    assert not bounds or kept.mean() > 0.9
    for z in (latents, own):
        (decoded,) = decoder.run(None, {"latents": z})
        assert decoded.dtype == np.float64
        errors = storage.errors(jets, decoded)
        assert all((errors[v][kept] <= bound).all() for v, bound in bounds.items())
        if z is latents or not bounds:
            # A GELU is in float32 there, everything else in double; the masses of a network are differences.
            rtol, atol = (1e-6, 1e-9) if bounds else (1e-4, 0.1)
            np.testing.assert_allclose(decoded, python, rtol=rtol, atol=atol)


def jets_of_a_model(n: int) -> np.ndarray:
    jets = drawn_jets(default_model().autoencoder, n)
    return jets[jets[:, 3] >= 0]


@pytest.mark.parametrize("precision", ["1e-3", "full"])
def test_graphs_of_a_chain_keep_what_python_keeps(precision, tmp_path):
    check_onnx("default", tmp_path / "graphs", jets_of_a_model(2000), precision)


def test_graphs_of_a_file_have_its_grid(compressed, tmp_path):
    pt, eta, phi, m = (random_jets(300)[v] for v in ("pt", "eta", "phi", "m"))
    check_onnx(compressed, tmp_path / "graphs", np.stack([pt, eta, phi, m], axis=1))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("columns", [("pt", "eta", "phi", "E"), ("m", "phi", "eta", "pt")])
def test_graphs_of_a_bottleneck_are_what_python_has(activation, columns, tmp_path):
    (tmp_path / "mlp.safetensors").write_bytes(untrained_bottleneck(activation, columns))
    check_onnx(tmp_path / "mlp.safetensors", tmp_path / "graphs", jets_of_a_model(200))


def test_a_graph_says_what_it_is_of(tmp_path):
    succeeded("export", "default", "--onnx", "-o", tmp_path / "graphs", "--quiet")
    found = {entry.key: entry.value for entry in onnx.load(tmp_path / "graphs" / "decoder.onnx").metadata_props}
    assert default_model().sha256[:12] in found["made"] and "MeV" in found["columns"]


def test_a_graph_of_a_name_that_is_no_text_is_written():
    found = dataclasses.replace(exported("default", None, "1e-3"), source="\ud800.root")
    made = {prop.key: prop.value for prop in onnx.load_from_string(onnx_graphs(found)[0]).metadata_props}["made"]
    assert made.startswith("of '?.root' (Jet), model ")


def test_a_folder_of_graphs_is_refused_where_it_can_not_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    refused(2, ("is no folder",), "export", "default", "--onnx", "-o", tmp_path / "file", out=tmp_path / "file")
    refused(2, ("no folder",), "export", "default", "--onnx", "-o", tmp_path / "a" / "b", out=tmp_path / "file")
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "decoder.onnx").write_text("mine")
    out = tmp_path / "graphs" / "encoder.onnx"
    refused(2, ("decoder.onnx", "--force"), "export", "default", "--onnx", "-o", tmp_path / "graphs", out=out)
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused(2, ("atlasae[onnx]",), "export", "default", "--onnx", "-o", tmp_path / "new", out=tmp_path / "new")
