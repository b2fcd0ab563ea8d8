"""Differences between two ROOT files: attributes of trees, data of branches, other objects, or all that was copied."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlasae.files.branches import FOLDER
from atlasae.files.trees import Source
from atlasae.graft.anchors import ntuples_of
from atlasae.graft.buffers import Thing, write_thing
from atlasae.graft.composing import CopiedRecord
from atlasae.graft.digests import Digests, objects_of
from atlasae.graft.ntuple import NtupleWriter
from atlasae.graft.records import Records, records_of
from atlasae.graft.trees import GraftedTree, trees_of, where_values_are

# Members that say where the baskets are, how they are compressed, how large, and of how many entries.
_PLACES = {
    "fCompress",
    "fEntries",
    "fEntryNumber",
    "fEntryOffsetLen",
    "fMaxBaskets",
    "fWriteBasket",
    "fTotBytes",
    "fZipBytes",
    "fBasketBytes",
    "fBasketEntry",
    "fBasketSeek",
}
_LISTED = {"fBranches", "fLeaves", "fBaskets", "fBranchRef"}  # compared by themselves, or not at all
_COUNTERS = ("fLeafCount", "fBranchCount", "fBranchCount2")
# What stays when ROOT writes a branch anew, as hadd does.
_KEPT = {"kind", "fName", "fTitle", "fClassName", "fType", "fStreamerType", "fLen", "fIsUnsigned", *_COUNTERS}


def compare_trees(one: Sequence[GraftedTree], other: Sequence[GraftedTree], exactly: bool) -> Iterator[str]:
    """The differences in attributes of trees and branches; not `exactly`: in what is left when ROOT writes them."""
    mine, theirs = ({tree.path: tree for tree in trees} for trees in (one, other))
    yield from (f"tree '{path}' is in one of the files only" for path in sorted(mine.keys() ^ theirs.keys()))
    for path in mine.keys() & theirs.keys():
        a, b = mine[path], theirs[path]
        facts = [dict(_facts(tree.thing, exactly)) for tree in (a, b)]
        yield from (f"{name} of tree '{path}' differs" for name in _differing(*facts))
        yield from _compare_branches(a, b, exactly)


def _compare_branches(one: GraftedTree, other: GraftedTree, exactly: bool) -> Iterator[str]:
    mine, theirs = one.paths(), other.paths()
    where = f"of tree '{one.path}'"
    for name in mine.keys() ^ theirs.keys():
        yield f"branch '{name}' {where} is in one of the files only"
    common = [name for name in mine if name in theirs]
    if exactly and common != [name for name in theirs if name in mine]:
        yield f"the branches {where} are in another order"
    for name in common:
        a, b = mine[name], theirs[name]
        differing = _differing(dict(_facts(a, exactly)), dict(_facts(b, exactly)))
        leaves = [[dict(_facts(leaf, exactly)) for leaf in branch["fLeaves"].items if leaf] for branch in (a, b)]
        if leaves[0] != leaves[1]:
            differing.append("leaves")
        yield from (f"{found} of branch '{name}' {where} differs" for found in differing)


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _facts(thing: Thing, exactly: bool) -> Iterator[tuple[str, Any]]:
    """The members of an object by name, with those of its bases, but for where its baskets are."""
    found = {"kind": thing.kind} | dict(_members(thing))
    yield from ((name, value) for name, value in found.items() if exactly or name in _KEPT)


def _members(thing: Thing) -> Iterator[tuple[str, Any]]:
    yield f"rest of {thing.kind}", thing.rest
    for name, value in thing.members.items():
        if name.startswith(":"):
            yield from _members(value)
        elif name in _COUNTERS:
            yield name, value and value.name
        elif name not in _PLACES | _LISTED:
            yield name, _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Thing):
        return write_thing(value, 0)
    return (value[0], bytes(value[1])) if isinstance(value, tuple) else value


def compare_data(path: str, edges: Sequence[int], mine: Digests, theirs: Digests) -> Iterator[tuple[str, int, int]]:
    """The branches of a tree that differ, each with the range of entries in which it does.

    `edges` are the last entries (excluded) of the ranges of which both have checksums.
    """
    start = 0
    for number, stop in enumerate(edges):
        others = _by_name(theirs.found(path, number))
        for name, values in _by_name(mine.found(path, number)).items():
            if others.get(name, values) != values:
                yield name, start, stop
        start = stop


def _by_name(found: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """The checksums by name: several branches may have one name."""
    values: dict[str, list[int]] = {}
    for name, value in found:
        values.setdefault(name, []).append(value)
    return values


def compare_objects(one: Records, other: Records, without: str, exactly: bool) -> Iterator[str]:
    """The differences in other objects, or, not `exactly`, in their names: hadd adds histograms up."""
    mine, theirs = (dict(objects_of(records, without)) for records in (one, other))
    if not exactly:
        mine, theirs = ({name.rpartition(";")[0]: 0 for name in found} for found in (mine, theirs))
    yield from (f"'{name}' is in one of the files only" for name in sorted(mine.keys() ^ theirs.keys()))
    yield from (f"'{name}' differs" for name in mine if name in theirs and mine[name] != theirs[name])


@dataclass(frozen=True)
class Copy:
    """What was written to a file as it was, or is, in memory: its records and its trees."""

    records: list[CopiedRecord]
    trees: list[GraftedTree]
    ntuples: dict[str, NtupleWriter]

    def differences(self, source: Source) -> Iterator[str]:
        """What differs in the file, in which all is compared as it lies there."""
        records = records_of(source)
        for record in self.records:
            if not record.is_in(records.read):
                yield f"the {record.nbytes} bytes at {record.at} differ"
        found = [tree for tree in trees_of(records) if not tree.path.startswith(f"{FOLDER}/")]
        yield from compare_trees(self.trees, found, exactly=True)
        for mine, theirs in zip(self.trees, found, strict=True):
            for one, other in zip(mine.branches(), theirs.branches(), strict=True):
                if where_values_are(one) != where_values_are(other):
                    yield f"the baskets of branch '{one.name}' of tree '{mine.path}' differ"
        read = {one.path: one.read().found() for one in ntuples_of(records)}
        changed = [path for path, writer in self.ntuples.items() if read.get(path) != writer.found()]
        yield from (f"RNTuple '{path}' differs" for path in changed)
