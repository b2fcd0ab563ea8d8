"""Differences between two ROOT files record by record: attributes of trees, data of branches, other objects."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlasae.graft.buffers import Thing, write_thing
from atlasae.graft.digests import objects_of
from atlasae.graft.records import Records
from atlasae.graft.trees import GraftedTree

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


def compare_objects(one: Records, other: Records, without: str, exactly: bool) -> Iterator[str]:
    """The differences in other objects, or, not `exactly`, in their names: hadd adds histograms up."""
    mine, theirs = (dict(objects_of(records, without)) for records in (one, other))
    if not exactly:
        mine, theirs = ({name.rpartition(";")[0]: 0 for name in found} for found in (mine, theirs))
    yield from (f"'{name}' is in one of the files only" for name in sorted(mine.keys() ^ theirs.keys()))
    yield from (f"'{name}' differs" for name in mine if name in theirs and mine[name] != theirs[name])
