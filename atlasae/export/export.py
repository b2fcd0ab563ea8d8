"""Exporting a codec: that of a compressed file, or of a model with a newly chosen grid."""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from atlasae.codecs.arrays import Codec
from atlasae.codecs.bottleneck import BottleneckCodec
from atlasae.codecs.floats import AnyCodec, FloatsCodec, ResolvedFloatsCodec
from atlasae.codecs.model import VARIABLES
from atlasae.codecs.packed import PackedCodec
from atlasae.compression.chunks import layout_of
from atlasae.compression.collection import JetsLayout
from atlasae.compression.format import CompressedCollection, Contents, Run, read_contents
from atlasae.compression.packed import ColumnsLayout
from atlasae.errors import DamagedFileError, UserError
from atlasae.export.cpp import Addition, cpp_header
from atlasae.export.lists import list_header
from atlasae.export.onnx import graphs_of
from atlasae.export.others import CodedRun, OtherNumbers, with_floats
from atlasae.export.unpacking import packed_header
from atlasae.files.branches import FOLDER
from atlasae.files.damage import is_root
from atlasae.files.outputs import check_target, replacing
from atlasae.files.remote import Location, Remote, located
from atlasae.files.trees import open_source
from atlasae.jets.collections import Collection
from atlasae.jets.stored import storage_of
from atlasae.pages import size_text
from atlasae.report import Page, Report, short

OPSET = 17  # of ONNX: readable by programs since 2022


@dataclass(frozen=True)
class Exported:
    """A codec to export, its collection, and their origin."""

    codec: AnyCodec | PackedCodec
    collection: Collection
    precision: dict[str, float | None]
    model_sha256: str
    source: str
    tree: str = ""
    counter: str = ""  # of the jets of each entry
    other_chunks: Sequence[int] = ()  # places of the chunks of other trees
    others: OtherNumbers | None = None  # of the jets, which a header decodes
    left_out: Sequence[str] = ()  # other branches of the jets, which are not decoded

    @property
    def made(self) -> str:
        """The origin in one line."""
        return f"of '{self.source}' ({self.collection.name}), model {self.model_sha256[:12]}"


class ExportReport(Report):
    """An exported codec, and the collection it is for."""

    files: list[str]
    bytes: int
    collection: str
    branches: Mapping[str, str]
    others: Sequence[str]
    units: str | None
    precision: Mapping[str, float | None]
    floors: Mapping[str, float]
    model_sha256: str
    left_out: Sequence[str]

    def _page(self) -> Page:
        units = f" in {self.units}" if self.units else ""
        others = f", {len(self.others)} other branches of the jets" if self.others else ""
        of_what = f"for {', '.join(self.branches.values())}{units}{others}, model {self.model_sha256[:12]}"
        made = f"{', '.join(self.files)}: {size_text(self.bytes)}, {of_what}"
        if not self.left_out:
            return [made]
        what = f"{len(self.left_out)} other branches of the jets ({short(', '.join(self.left_out))})"
        return [made, f"not for {what}: read them with `atlasae.open`, or decompress"]


def export_cpp(source: str, target: Path, jets: str | None, precision: str | None, force: bool) -> ExportReport:
    """Write the C++ header that decodes a compressed file, or jets encoded by a model; raises UserError."""
    _check(source, target, force)
    found = exported(source, jets, precision)
    text = _header(found)
    with replacing(target, force) as temporary:
        temporary.write_text(text, encoding="ascii")
    return _report(found, [target])


def _header(found: Exported) -> str:
    codec, collection, others = found.codec, found.collection, found.others
    if isinstance(codec, PackedCodec):
        return packed_header(codec, collection, found.tree, found.counter, found.made, found.other_chunks, others)
    if not collection.holds_jets:
        return list_header(cast(FloatsCodec, codec), collection, found.tree, found.made)
    addition = with_floats(collection, found.tree, found.other_chunks, others) if others else Addition()
    return cpp_header(codec, collection, found.made, addition)


def export_onnx(source: str, folder: Path, jets: str | None, precision: str | None, force: bool) -> ExportReport:
    """Write encoder.onnx and decoder.onnx into a folder, which is made if missing; raises UserError."""
    targets = [folder / "encoder.onnx", folder / "decoder.onnx"]
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is no folder: name one for {targets[0].name} and {targets[1].name}")
    if not folder.absolute().parent.is_dir():
        raise UserError(f"no folder '{folder.parent}' for the output: make it first")
    for target in targets if folder.exists() else []:
        _check(source, target, force)
    found = exported(source, jets, precision)
    if why := _no_graph(found):
        raise UserError(f"'{source}' has {why}: export it with --cpp")
    contents = onnx_graphs(found)
    folder.mkdir(exist_ok=True)
    for target, content in zip(targets, contents, strict=True):
        with replacing(target, force) as temporary:
            temporary.write_bytes(content)
    left_out = [*found.left_out, *_names_of(found.others)]
    return _report(replace(found, others=None, left_out=left_out), targets)


def _no_graph(found: Exported) -> str:
    """What a compressed file has that an ONNX graph can't decode; empty if it decodes all."""
    if isinstance(found.codec, PackedCodec):
        return "packed bytes, which an ONNX graph can't decode"
    if not found.collection.holds_jets:
        return "a list of variables, which an ONNX graph can't decode"
    if isinstance(found.codec, ResolvedFloatsCodec):
        return "bounds by resolution, which an ONNX graph can't decode"
    if found.codec.padding.rows:
        return "padding, which an ONNX graph can't decode"
    return "phi in [0, 2 pi), of an ONNX graph in [-pi, pi)" if found.collection.full_turn else ""


def onnx_graphs(found: Exported) -> tuple[bytes, bytes]:
    """Encoder (jets, n x 4 float64 in MeV, to latents, n x 3 float32) and decoder, as bytes of ONNX files."""
    codec = cast(FloatsCodec | BottleneckCodec, found.codec)
    encoder, decoder = graphs_of(codec)
    jets = torch.from_numpy(np.repeat(codec.stand_in[None], 3, axis=0))
    latents = torch.from_numpy(codec.encode(jets.numpy()))
    return _graph(encoder, jets, "jets", "latents", found), _graph(decoder, latents, "latents", "jets", found)


@torch.no_grad()
def _graph(module: torch.nn.Module, example: torch.Tensor, given: str, result: str, found: Exported) -> bytes:
    try:
        import onnx
    except ImportError as error:
        raise UserError("--onnx needs onnx: install it with `pip install 'atlasae[onnx]'`") from error
    written = io.BytesIO()
    with warnings.catch_warnings():
        # torch's newer exporter needs onnxscript; the older one warns about constants.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (example,),
            written,  # type: ignore[arg-type]  # typed for the newer exporter; files in memory work
            input_names=[given],
            output_names=[result],
            dynamic_axes={given: {0: "n"}, result: {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(written.getvalue())
    made = found.made.encode("utf-8", "replace").decode()  # names in a file may not be UTF-8
    facts = {"made": made, "columns": "pt, eta, phi, m; MeV", "precision": json.dumps(found.precision)}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def exported(source: str, jets: str | None, precision: str | None) -> Exported:
    """The codec of a compressed file, or of a model with a grid chosen on jets drawn from the model."""
    location = located(source)
    if _is_compressed(location):
        if precision is not None:
            raise UserError(f"--precision {precision} is for a model: '{location}' keeps its own precision")
        return _of_file(location, jets)
    if jets is not None:
        raise UserError(f"--jets {jets} is for a compressed file: '{source}' is a model")
    return _of_model(source, precision or "1e-3")


def _is_compressed(location: Location) -> bool:
    """Whether this is a ROOT file: by its first bytes, or its suffix if it does not exist; a model is never remote."""
    if isinstance(location, Remote):
        return True
    return is_root(location) if location.is_file() else location.suffix == ".root"


def _check(source: str, target: Path, force: bool) -> None:
    location = located(source)
    is_input = isinstance(location, Remote) or location.is_file()
    check_target(location if is_input else target.absolute().parent, target, force)


def _report(found: Exported, written: list[Path]) -> ExportReport:
    return ExportReport(
        files=[str(path) for path in written],
        bytes=sum(path.stat().st_size for path in written),
        collection=found.collection.name,
        branches=found.collection.branches,
        others=_names_of(found.others),
        units=found.collection.units,
        precision=found.precision,
        floors=storage_of(found.collection).floors,
        model_sha256=found.model_sha256,
        left_out=found.left_out,
    )


def _of_file(path: Location, jets: str | None) -> Exported:
    with open_source(path) as source:
        contents = read_contents(source)
        run, entry = chosen_entry(path, contents, jets)
        is_rntuple = source.trees[run.tree].is_rntuple
        checksums = source.trees[f"{FOLDER}/runs"].rows("checksum")
    collection = entry.collection
    if collection.packed and not collection.holds_jets:
        told = f"'{path}' has a list of variables in packed bytes, which no header reads"
        raise UserError(f"{told}: compress with --layout floats, or read it with `atlasae.open`")
    if collection.shared:
        told = f"{' and '.join(collection.shared)} of '{collection.name}' in '{path}' are those of others"
        raise UserError(f"{told}: export the collection that holds them")
    layout = layout_of(entry, contents)
    codec = cast(AnyCodec | PackedCodec, layout.codec)
    if isinstance(codec, PackedCodec) and is_rntuple:
        raise UserError(f"'{path}' has packed bytes in an RNTuple, which no header reads: compress with --format ttree")
    beside = [other.collection for other in run.collections if other.collection.beside == collection.name]
    others = _others([*zip(contents.runs, checksums, strict=True)], run.tree, entry, layout)
    return Exported(
        codec,
        collection,
        entry.precision,
        entry.model_sha256,
        path.name,
        run.tree,
        run.counter_of(collection) if collection.jagged else "",
        [place for place, (of, _, _) in enumerate(contents.chunks_by_run()) if of.tree != run.tree],
        None if is_rntuple else others,
        [branch for other in beside if is_rntuple or not other.has_others for branch in other.own],
    )


def _others(
    runs: Sequence[tuple[Run, int]], tree: str, jets: CompressedCollection, layout: JetsLayout
) -> OtherNumbers | None:
    """The other numbers of the jets of a tree, from all runs with their checksums, or None; raises DamagedFileError."""
    name, found, elsewhere = jets.collection.name, list[CodedRun](), list[int]()
    for run, checksum in runs:
        here = [other for other in run.collections if other.collection.has_others and run.tree == tree]
        beside = [other for other in here if other.collection.beside == name]
        found += [CodedRun(ColumnsLayout.from_config(other, layout), run.chunks, checksum) for other in beside]
        elsewhere += [] if run.tree == tree else [checksum]
    if len(found) not in (0, len(runs) - len(elsewhere)):
        raise DamagedFileError(f"'{name}' is damaged: {len(found)} of {len(runs)} runs have other numbers of its jets")
    return OtherNumbers(found, elsewhere, 4 if jets.collection.packed else jets.collection.words) if found else None


def _names_of(others: OtherNumbers | None) -> list[str]:
    return list(others.collection.branches.values()) if others else []


def chosen_entry(path: Location, contents: Contents, jets: str | None) -> tuple[Run, CompressedCollection]:
    """The collection of this name, or the only one, and its first run; raises UserError where runs have other codecs.

    Where there are several trees, its name is that of its tree, a slash, and its own.
    """
    pairs = [(run, entry) for run in contents.runs for entry in run.collections if not entry.collection.has_others]
    named = [(contents.shown(run.tree, entry.collection.name), run, entry) for run, entry in pairs]
    names = list(dict.fromkeys(name for name, _, entry in named if not entry.collection.shared))
    if jets is None and len(names) > 1:
        raise UserError(f"'{path}' has several collections: choose one of {', '.join(names)} with --jets")
    found = [(run, entry) for name, run, entry in named if name == (jets or names[0])]
    if not found:
        raise UserError(f"'{path}' has no collection '{jets}': choose from {', '.join(names)}")
    kinds = {(repr(entry.codec), entry.model_sha256, repr(entry.collection)) for _, entry in found}
    if len(kinds) > 1:
        raise UserError(
            f"'{path}' is merged from {len(found)} runs, '{found[0][1].collection.name}' on {len(kinds)} different "
            "grids: export each run's own file, before it was merged"
        )
    return found[0]


def _of_model(name: str, precision: str) -> Exported:
    made = Codec(precision, name)
    branches, dtypes = {v: f"Jet_{v}" for v in VARIABLES}, dict.fromkeys(VARIABLES, "<f4")
    collection = Collection("Jet", "Jet_", branches, dtypes, jagged=True, units="MeV")
    kept: dict[str, float | None] = dict.fromkeys(VARIABLES)
    if isinstance(made.codec, FloatsCodec):  # a bottleneck network has no bounds of its own
        kept |= made.bounds
    codec = cast(FloatsCodec | BottleneckCodec, made.codec)  # which has no bounds by resolution
    return Exported(codec, collection, kept, made.model.sha256, Path(name).name)
