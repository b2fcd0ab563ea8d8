"""What a compressed file holds, as `atlasae info` tells it."""

from collections.abc import Sequence
from dataclasses import replace

from atlasae.compression.format import CompressedCollection, Contents, Run, bits_of, jets_tree, read_contents
from atlasae.compression.results import InfoReport, RunCollection, RunReport, StoredCollection, StoredColumn, TreeReport
from atlasae.files.branches import FOLDER
from atlasae.files.damage import FACTS, damage
from atlasae.files.remote import Location, Named, located
from atlasae.files.trees import Source, Tree, open_source
from atlasae.jets.collections import stand_ins
from atlasae.jets.stored import storage_of
from atlasae.report import loosest, merge_largest


def info(named: Named) -> InfoReport:
    """The report of `atlasae info` on a compressed file; no model is needed.

    >>> report = atlasae.info("small.root")
    >>> report["tree"], report["entries"], [collection["name"] for collection in report["collections"]]
    ('Events', 200, ['Jet'])
    """
    path = located(named)
    with open_source(path) as source:
        contents = read_contents(source)
        with damage(f"'{FOLDER}' in '{path}'", *FACTS):
            return _described_file(path, source, contents)


def _described_file(path: Location, source: Source, contents: Contents) -> InfoReport:
    found = contents.of_trees()
    trees = {name: jets_tree(source, one) for name, one in found.items()}
    told = {name: _collections_of(trees[name], one) for name, one in found.items()}
    collections = [replace(c, name=contents.shown(tree, c.name)) for tree, known in told.items() for c in known]
    jets = sum(collection.jets for collection in collections if collection.columns is None)
    after = sum(collection.bytes for collection in collections)
    return InfoReport(
        file=str(path),
        bytes=path.stat().st_size,
        bytes_file_in=contents.source_bytes,
        bytes_jets_in=sum(collection.bytes_in for collection in collections),
        bytes_jets_out=after,
        bytes_per_jet=after / jets if jets else None,
        tree=contents.tree,
        trees=[_described_tree(trees[name], known) for name, known in told.items()],
        entries=contents.entries,
        jets=jets,
        collections=collections,
        carried=sum(_carried_number(trees[name], one.runs[0]) for name, one in found.items()),
        dropped=contents.dropped,
        left_out=contents.left_out,
        runs=[_described_run(run, contents) for run in contents.runs],
    )


def _carried_number(tree: Tree, run: Run) -> int:
    """The number of carried branches; of an RNTuple, its `Graft` has that of columns, with those of the jets."""
    if run.graft and run.graft.ntuple:
        return 0 if run.graft.alone else len(tree.names - run.stand_ins)
    return run.graft.branches if run.graft else len(run.carried)


def _collections_of(tree: Tree, contents: Contents) -> list[StoredCollection]:
    names = dict.fromkeys(entry.collection.name for run in contents.runs for entry in run.collections)
    return [_described(name, contents, tree) for name in names]


def _described_tree(tree: Tree, collections: Sequence[StoredCollection]) -> TreeReport:
    return TreeReport(
        name=tree.name,
        entries=tree.entries,
        jets=sum(one.jets for one in collections if one.columns is None),
        bytes_in=sum(one.bytes_in for one in collections),
        bytes_out=sum(one.bytes for one in collections),
    )


def _described(name: str, contents: Contents, tree: Tree) -> StoredCollection:
    """The facts of a collection, summed over all runs of a merged file."""
    found = [(run, entry) for run in contents.runs for entry in run.collections if entry.collection.name == name]
    entries = [entry for _, entry in found]
    jets = sum(entry.jets for entry in entries)
    size = tree.compressed_bytes(stand_ins(entries[0].collection, found[0][0].counters))
    return StoredCollection(
        name=entries[0].collection.name,
        branches=entries[0].collection.branches,
        units=entries[0].collection.units,
        floors=storage_of(entries[0].collection).floors,
        precision=loosest([entry.precision for entry in entries]),
        max_error=merge_largest(entry.max_error for entry in entries),
        jets=jets,
        exact_jets=sum(entry.exact_jets for entry in entries),
        bytes_in=sum(entry.bytes_in for entry in entries),
        bytes=size,
        bytes_per_jet=size / jets if jets else None,
        resolutions=entries[0].collection.resolution_texts,
        columns=_columns_of(found[0][0], entries[0]) if entries[0].collection.has_others else None,
    )


def _columns_of(run: Run, entry: CompressedCollection) -> list[StoredColumn]:
    """The columns of other numbers of jets, with the names of what each is told by."""
    from atlasae.codecs.columns import ColumnsCodec  # here, as few files have columns, and `info` is to answer at once

    four = [c.collection for c in run.collections if c.collection.name == entry.collection.beside]
    codec, names = ColumnsCodec.of_config(entry.codec), list(entry.collection.branches)
    given = [four[0].branches.get(v, v) for v in four[0].coded] if four and four[0].packed else []
    given = given or [*(four[0].latents if four else ())]
    if len(given) != codec.given or len(names) != len(codec.columns):
        raise ValueError(f"'{entry.collection.name}' is told by {codec.given} others")
    known = [*given, *names]
    return [
        StoredColumn(
            branch=name,
            kind=column.kind.name,
            precision=column.bound.text if column.bound else "exact",
            bits=column.bits,
            told_by=[known[parent] for parent in column.parents],
        )
        for name, column in zip(names, codec.columns, strict=True)
    ]


def _described_run(run: Run, contents: Contents) -> RunReport:
    sha = run.collections[0].model_sha256
    return RunReport(
        source=run.source["name"],
        source_bytes=run.source["bytes"],
        tree=run.tree,
        entries=run.entries,
        chunks=run.chunks,
        collections=[
            RunCollection(
                name=contents.shown(run.tree, e.collection.name),
                precision=e.precision,
                bits=bits_of(e),
                max_error=e.max_error,
                resolutions=e.collection.resolution_texts,
            )
            for e in run.collections
        ],
        model_sha256=sha,
        model_from="in the file" if sha in contents.models else "packaged with atlasae" if sha else "none is needed",
        versions=run.versions,
    )
