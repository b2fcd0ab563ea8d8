"""The `atlasae/` folder of a compressed file: runs, chunks and models, as JSON and bytes."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import awkward as ak
import msgspec
import numpy as np

from atlasae import terminal
from atlasae.columns import checksum_bytes
from atlasae.display import Report
from atlasae.errors import DamagedFileError, UserError
from atlasae.remote import Location
from atlasae.rootio import Source, Target, Tree, damage, open_source
from atlasae.schema import FOLDER, FOLDER_TREES, LIST, Branch, Collection, LeftOut, stand_ins

FORMAT = 1  # of the folder; raise it when an old reader would go wrong
_LATER = {"ntuple", "aliases", "places", "exact_prefix", "left_out", "minor"}
_RUNS, _CHUNKS, _MODELS, _ABOUT = (f"{FOLDER}/{name}" for name in ("runs", "chunks", "models", "about"))


@dataclass(frozen=True)
class CompressedCollection:
    """A collection with how it was compressed: codec configuration, bounds (None: not promised), what came of it."""

    collection: Collection
    codec: dict[str, Any]
    precision: dict[str, float | None]
    model_sha256: str
    jets: int
    exact_jets: int
    max_error: dict[str, float]
    bytes_in: int


@dataclass(frozen=True)
class Chunk:
    """A run of events that was written together, with the checksum of every branch in `Run.written`."""

    entries: int
    jets: int
    checksums: list[int]


@dataclass(frozen=True)
class CopiedTree:
    """Another tree of the file, carried as it was; its chunks have no jets.

    `dtypes` and `branches` are in the order of the checksums; the first files of format 1 have neither, and no title.
    """

    name: str
    chunks: list[Chunk]
    dtypes: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    counters: dict[str, str] = field(default_factory=dict)
    title: str | None = None


@dataclass(frozen=True)
class Copied:
    """What else of the file was carried: other trees, and objects by name, with the checksums of what was written.

    The first files of format 1 have no checksums of objects.
    """

    trees: list[CopiedTree] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    checksums: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One compression: everything needed to undo it, but the model's weights."""

    source: dict[str, Any]
    tree: str
    title: str
    entries: int
    chunks: int
    collections: list[CompressedCollection]
    originals: list[str]
    carried: list[Branch]
    written: list[str]
    counters: dict[str, str]
    dropped: list[str]
    versions: dict[str, str]
    table: dict[str, Any] | None = None
    copied: Copied = field(default_factory=Copied)
    format: int = FORMAT
    ntuple: bool = False  # made of an RNTuple and written as one
    aliases: dict[str, str] = field(default_factory=dict)  # originals that are another by another name
    places: dict[str, str] = field(default_factory=dict)  # of originals in the records of that RNTuple
    left_out: list[LeftOut] = field(default_factory=list)  # of what is not branches of its tree

    @property
    def restored(self) -> set[str]:
        """The branches that come back: those carried, those of the jets, and these by another name."""
        jets = {name for entry in self.collections for name in entry.collection.branches.values()}
        return jets | {branch.name for branch in self.carried} | set(self.aliases)

    @property
    def carries_others(self) -> bool:
        """Whether what is not jets came along: not with --only-jets, nor in any part of a file but the first."""
        number, _ = self.source.get("part", (0, 1))
        return number == 0 and (bool(self.carried or self.left_out) or self.copied != Copied())

    @property
    def single(self) -> list[str]:
        """The originals without those that are another by another name."""
        return [name for name in self.originals if name not in self.aliases]

    @property
    def needed(self) -> set[str]:
        """The branches to bring those back from."""
        made = {name for c in self.collections for name in (*c.collection.latents, *c.collection.exact.values())}
        return made | {branch.name for branch in self.carried}

    def to_json(self) -> str:
        """The run as one JSON object."""
        return json.dumps(asdict(self, dict_factory=_told))

    @classmethod
    def from_json(cls, text: str) -> "Run":
        """Read what `to_json` wrote; raises UserError for another format, DamagedFileError for anything else."""
        try:
            facts = json.loads(text)
            if facts["format"] != FORMAT:
                raise UserError(_other_format(facts))
            run = msgspec.convert(facts, cls)
            if set(run.originals) != run.restored:
                raise ValueError("its originals are not the branches that come back")
            if not set(run.aliases.values()) <= set(run.single):
                raise ValueError("it has other names of branches that do not come back")
            if wrong := [name for name, place in run.places.items() if place.replace(LIST, "") != name]:
                raise ValueError(f"'{wrong[0]}' is not at its place")
            if missing := run.needed - set(run.written):
                raise ValueError(f"branch '{min(missing)}' was not written")
            return run
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise DamagedFileError(f"'{_RUNS}' is damaged: {error}") from error


@dataclass
class Contents:
    """All that a compressed file says of itself; a merged file has several runs."""

    runs: list[Run]
    chunks: list[Chunk]
    models: dict[str, bytes] = field(default_factory=dict)

    @property
    def part(self) -> tuple[int, int] | None:
        """Which entries of its source this file was made of, where that was cut; parts may be merged again."""
        first, last = (run.source.get("entries") for run in (self.runs[0], self.runs[-1]))
        return (int(first[0]), int(last[1])) if first and last else None

    @property
    def left_out(self) -> list[LeftOut]:
        """What any of the runs left out."""
        return list(dict.fromkeys(thing for run in self.runs for thing in run.left_out))

    def chunks_by_run(self) -> Iterator[tuple[Run, int, Chunk]]:
        """Every chunk with its run and its first entry in the (merged) tree."""
        chunks = iter(self.chunks)
        start = 0
        for run in self.runs:
            for _ in range(run.chunks):
                chunk = next(chunks)
                yield run, start, chunk
                start += chunk.entries


def _told(facts: list[tuple[str, Any]]) -> dict[str, Any]:
    """Without what was added to the format later, where it says nothing."""
    return {key: value for key, value in facts if value or key not in _LATER}


def is_compressed(source: Source) -> bool:
    """Whether a file holds what atlasae compress wrote."""
    return _RUNS in source.trees


def write_contents(target: Target, contents: Contents) -> None:
    """Write the folder; TTrees, so that a merged file has the rows of every part."""
    texts = [run.to_json() for run in contents.runs]
    runs = {
        "json": ak.Array(texts),
        "checksum": ak.Array(np.array([checksum_bytes(text.encode()) for text in texts], np.uint64)),
    }
    target.make_tree(_RUNS, runs, title="one row a compression").extend(runs)
    chunks = {
        "entries": ak.Array(np.array([chunk.entries for chunk in contents.chunks], np.int64)),
        "jets": ak.Array(np.array([chunk.jets for chunk in contents.chunks], np.int64)),
        "checksums": _jagged([np.array(chunk.checksums, np.uint64) for chunk in contents.chunks], np.uint64),
    }
    target.make_tree(_CHUNKS, chunks, title="one row a chunk of events").extend(chunks)
    models = {
        "sha256": ak.Array(list(contents.models) or [""])[: len(contents.models)],
        "content": _jagged([np.frombuffer(content, np.uint8) for content in contents.models.values()], np.uint8),
    }
    target.make_tree(_MODELS, models, title="one row a model that is not packaged").extend(models)
    target.write_object(_ABOUT, _about(contents))


def read_contents(source: Source) -> Contents:
    """Read the folder; raises UserError where there is none, DamagedFileError where it contradicts itself."""
    if not is_compressed(source):
        if _is_remainder(source):
            raise DamagedFileError(f"'{source.path}' is damaged: it has no '{_RUNS}' tree, but what goes with it")
        raise UserError(f"'{source.path}' was not compressed by atlasae: it has no '{_RUNS}' tree")
    with damage(f"'{FOLDER}' in '{source.path}'"):
        rows = _rows(source, _RUNS, ["json", "checksum"])
        chunk_rows = _rows(source, _CHUNKS, ["entries", "jets", "checksums"])
        model_rows = _rows(source, _MODELS, ["sha256", "content"])
        chunks = [
            Chunk(*row)
            for row in zip(*(chunk_rows[k].to_list() for k in ("entries", "jets", "checksums")), strict=True)
        ]
        models = {sha: ak.to_numpy(content).tobytes() for sha, content in zip(*model_rows.values(), strict=True)}
        texts = rows["json"].to_list()
        if [checksum_bytes(text.encode()) for text in texts] != rows["checksum"].to_list():
            raise ValueError(f"the checksum of '{_RUNS}' differs; get the file again")
    contents = Contents([Run.from_json(text) for text in texts], chunks, models)
    _check(source, contents)
    return contents


def _is_remainder(source: Source) -> bool:
    """Whether a file without runs has the other trees of the folder, or all three in a folder of another name."""
    folders = [name.rpartition("/")[::2] for name in source.trees]
    found = {folder: {leaf for other, leaf in folders if other == folder} for folder, _ in folders}
    return FOLDER in found or any(set(FOLDER_TREES) <= leaves for leaves in found.values())


def _check(source: Source, contents: Contents) -> None:
    """Whether the rows of the folder fit each other, and the tree."""
    for sha, content in contents.models.items():
        if hashlib.sha256(content).hexdigest() != sha:
            raise DamagedFileError(f"model {sha[:12]} in '{source.path}' is damaged: its bytes have another SHA-256")
    if not contents.runs or len(contents.chunks) != sum(run.chunks for run in contents.runs):
        raise DamagedFileError(
            f"'{source.path}' is damaged: {len(contents.chunks)} chunks for {len(contents.runs)} runs"
        )
    for run, start, chunk in contents.chunks_by_run():
        if len(chunk.checksums) != len(run.written):
            raise DamagedFileError(
                f"'{source.path}' is damaged: the checksums of entry {start} are not of its branches"
            )
    name = contents.runs[0].tree
    entries = sum(chunk.entries for chunk in contents.chunks)
    if name not in source.trees or source.trees[name].entries != entries:
        raise DamagedFileError(
            f"'{source.path}' is damaged: tree '{name}' does not have the {entries} entries compressed"
        )


def _rows(source: Source, name: str, columns: list[str]) -> dict[str, ak.Array]:
    tree = source.trees[name]
    return tree.read(columns, 0, tree.entries)


def _jagged(rows: list[np.ndarray[Any, Any]], dtype: type) -> ak.Array:
    values: np.ndarray[Any, Any] = np.concatenate([np.empty(0, dtype), *rows]).astype(dtype)
    return ak.unflatten(values, np.array([len(row) for row in rows], np.int64))


def _other_format(facts: dict[str, Any]) -> str:
    maker = facts.get("versions", {}).get("atlasae", "of a later day")
    return (
        f"made by atlasae {maker} in format {facts['format']}: this is atlasae {version('atlasae')}, which reads "
        f"format {FORMAT}; it needs atlasae {maker} or later"
    )


def _about(contents: Contents) -> str:
    names = [c.collection.name for run in contents.runs for c in run.collections]
    packed = any(c.collection.packed for run in contents.runs for c in run.collections)
    return (
        f"The jets of this file ({', '.join(names)}) were {'packed' if packed else 'compressed'} by atlasae"
        f"{'' if packed else ' to three floats each'}. "
        "`atlasae decompress` brings them back: pip install atlasae."
    )


def describe(path: Location) -> Report:
    """What `atlasae info` prints, from a compressed file, without its model."""
    with open_source(path) as source:
        contents = read_contents(source)
        with damage(f"'{FOLDER}' in '{path}'"):
            return Report(_described_file(path, source, contents), terminal.info_page)


def _described_file(path: Location, source: Source, contents: Contents) -> dict[str, Any]:
    tree = source.trees[contents.runs[0].tree]
    names = dict.fromkeys(entry.collection.name for run in contents.runs for entry in run.collections)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "tree": tree.name,
        "entries": tree.entries,
        "jets": sum(entry.jets for run in contents.runs for entry in run.collections),
        "collections": [_described(name, contents.runs, tree) for name in names],
        "carried": len(contents.runs[0].carried),
        "left_out": [asdict(thing) for thing in contents.left_out],
        "runs": [_described_run(run, contents) for run in contents.runs],
    }


def bits_of(entry: CompressedCollection) -> dict[str, float]:
    """Bits that each variable occupies in the three words; nothing where the latents are no grid."""
    if "levels" not in entry.codec:
        return {}
    names = entry.collection.variables if entry.collection.terms else ("pt", "eta", "phi", "m")
    return {v: round(math.log2(n), 2) for v, n in zip(names, entry.codec["levels"], strict=True)}


def _described(name: str, runs: list[Run], tree: Tree) -> dict[str, Any]:
    """One collection over all runs of a merged file."""
    found = [(run, entry) for run in runs for entry in run.collections if entry.collection.name == name]
    entries = [entry for _, entry in found]
    jets = sum(entry.jets for entry in entries)
    size = tree.compressed_bytes(stand_ins(entries[0].collection, found[0][0].counters))
    return {
        "name": entries[0].collection.name,
        "branches": entries[0].collection.branches,
        "units": entries[0].collection.units,
        "jets": jets,
        "exact_jets": sum(entry.exact_jets for entry in entries),
        "bytes_in": sum(entry.bytes_in for entry in entries),
        "bytes": size,
        "bytes_per_jet": size / jets if jets else None,
    }


def _described_run(run: Run, contents: Contents) -> dict[str, Any]:
    sha = run.collections[0].model_sha256
    return {
        "source": str(run.source["name"]),
        "source_bytes": int(run.source["bytes"]),
        "entries": run.entries,
        "chunks": run.chunks,
        "collections": [
            {
                "name": entry.collection.name,
                "precision": entry.precision,
                "bits": bits_of(entry),
                "max_error": entry.max_error,
            }
            for entry in run.collections
        ],
        "model_sha256": sha,
        "model_from": "in the file" if sha in contents.models else "packaged with atlasae",
        "versions": run.versions,
    }
