"""What was taken out of a tree, as text, put back, and filled again.

Kept are the branch objects with their places, and how they store their values.
"""

from __future__ import annotations  # `atlasae info` does without awkward

import base64
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import awkward as ak

from atlasae.files.events import flatten
from atlasae.files.writing import compression_of
from atlasae.graft.baskets import cut, pack_basket
from atlasae.graft.buffers import Thing, read_thing, write_thing
from atlasae.graft.composing import Composer
from atlasae.graft.forms import Form
from atlasae.graft.records import new_key
from atlasae.graft.trees import FilledBasket, GraftedTree, TakenBranch, clear, order_leaves, point, put_in
from atlasae.threads import side_by_side
from atlasae.xz import fitted

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
_MOST = 1 << 26  # bytes of branch objects; more are damage
_FEWEST, _LARGEST = 1000, 1 << 24  # bytes of a basket


@dataclass(frozen=True)
class KeptBranch:
    """A branch that was taken out: the branches above it, the one that follows it, and its form.

    `called` is the name by which it was asked for, where that is another than its own. What held only others that were
    taken out has no dtype. `basket_bytes` is the mean size of its baskets, uncompressed, if it is more than the branch
    says (0: not): smaller ones would compress less well.
    """

    above: list[str]
    before: str
    form: Form
    called: str = ""
    basket_bytes: int = 0

    @property
    def is_group(self) -> bool:
        """Whether it only holds other branches."""
        return not self.form.dtype

    @property
    def numbers(self) -> list[str]:
        """The names of the numbers of the structures that it holds, if it holds structures."""
        return [part.name for part in self.form.parts]


@dataclass(frozen=True)
class TakenOut:
    """All branches that were taken out of a tree: their facts, and their objects in one compressed buffer."""

    branches: list[KeptBranch]
    objects: str

    @classmethod
    def of(cls, tree: GraftedTree, taken: Sequence[TakenBranch], forms: dict[str, Form]) -> TakenOut:
        """Branches taken out of a tree, in the order of their places; what counts them is replaced by its path."""
        owners = {id(thing): path for path, thing in _counting(tree).items()}
        listed = Thing("TObjArray", 3, {"TObject": Thing("TObject", rest=_OBJECT), "fName": b"", "fLowerBound": 0})
        basket_bytes = [_basket_bytes(one.thing) for one in taken]
        for one in taken:
            if one.name in forms:
                clear(one.thing)
            point(one.thing, lambda counter: _path(owners.get(id(counter), "")))
            listed.items.append(one.thing)
        objects = write_thing(listed, 0)
        data = lzma.compress(objects, format=lzma.FORMAT_RAW, filters=fitted(_FILTERS, len(objects)))
        kept = [
            KeptBranch(list(one.above), one.before, form, one.name if one.name != one.thing.name else "", size)
            for one, form, size in (
                (one, forms.get(one.name, _GROUP), n) for one, n in zip(taken, basket_bytes, strict=True)
            )
        ]
        return cls(kept, base64.b64encode(data).decode())

    def things(self, tree: GraftedTree) -> list[Thing]:
        """The branches, counted by what is in a tree; raises ValueError if it lacks that."""
        known = _counting(tree)

        def instead(stub: Thing) -> Thing:
            if (found := known.get(stub.name)) is None:
                raise ValueError(f"what counts its jets is gone: {stub.name}")
            return found

        found = self._objects()
        for thing in found:
            point(thing, instead)
        return found

    @cached_property
    def named(self) -> list[tuple[str, KeptBranch]]:
        """The branches with values, each behind the name by which it was asked for."""
        pairs = zip(self.branches, self._objects(), strict=True)
        return [(kept.called or thing.name, kept) for kept, thing in pairs if not kept.is_group]

    def put_back(self, tree: GraftedTree) -> list[tuple[Thing, KeptBranch]]:
        """Put the branches back in their places in a tree, without values; returns those that are to hold values.

        Raises ValueError as `things`.
        """
        pairs = list(zip(self.things(tree), self.branches, strict=True))
        for thing, kept in pairs:
            put_in(tree, thing, kept.above, kept.before)
            if kept.is_group and thing["fEntries"]:
                thing["fEntries"] = thing["fEntryNumber"] = tree.thing["fEntries"]
        order_leaves(tree)
        return [(thing, kept) for thing, kept in pairs if not kept.is_group]

    def held(self, branch: str) -> list[str]:
        """The numbers of the structures of a branch that was taken out; other branches hold themselves."""
        return next((kept.numbers for name, kept in self.named if name == branch), []) or [branch]

    def _objects(self) -> list[Thing]:
        packed = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS).decompress(
            base64.b64decode(self.objects), _MOST
        )
        found = [thing for thing in read_thing(packed, "TObjArray", 0).items if thing is not None]
        if len(found) != len(self.branches):
            raise ValueError(f"{len(found)} branches for {len(self.branches)} places")
        return found


_GROUP = Form("", jagged=False)
_OBJECT = b"\0\1" + bytes(8)  # a TObject of version 1


def _basket_bytes(branch: Thing) -> int:
    """The mean size of the baskets of a branch, uncompressed, or 0 if it is no more than the branch says."""
    mean = branch["fTotBytes"] // max(1, branch["fWriteBasket"])
    return int(mean) if mean > branch["fBasketSize"] else 0


def _counting(tree: GraftedTree) -> dict[str, Thing]:
    """The branches of a tree, and their leaves, by their paths: what may count others."""
    branches = tree.paths()
    leaves = {
        f"{path}/{leaf.name} (leaf)": leaf
        for path, branch in branches.items()
        for leaf in branch["fLeaves"].items
        if leaf is not None
    }
    return branches | leaves


def _path(name: str) -> Thing:
    """A stand-in for what counts a branch, named by its path."""
    base = Thing("TObject", rest=_OBJECT)
    return Thing("TNamed", 1, {":TObject": base, "fName": name.encode(errors="surrogateescape"), "fTitle": b""})


@dataclass(frozen=True)
class PackedBasket:
    """The record of a basket, whose position is not yet known, its bytes before compression, and its entries."""

    record: bytes
    size: int
    entries: int


@dataclass
class Filler:
    """Makes and writes the baskets of a branch, in its own form, of about the size that they had."""

    tree: GraftedTree
    compression: int  # of the file, for branches that have none of their own
    branch: Thing
    kept: KeptBranch
    written: list[FilledBasket] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of what the branch holds."""
        return self.kept.numbers or [self.kept.called or self.branch.name]

    def pack(self, events: Mapping[str, ak.Array], shared: bool) -> list[PackedBasket]:
        """The baskets of some entries, which several threads may make, or share."""
        columns, counted = zip(*(flatten(events[name]) for name in self.names), strict=True)
        counts = counted[0]
        starts = counts.cumsum() - counts
        most = max(_FEWEST, self.branch["fBasketSize"], min(self.kept.basket_bytes, _LARGEST))
        baskets = list[tuple[list[Any], Any]]()
        for first, last in cut(counts, self.kept.form.itemsize, most):
            part = slice(int(starts[first]), int(starts[last - 1] + counts[last - 1]))
            baskets.append(([values[part] for values in columns], counts[first:last]))
        with side_by_side(self._packed, baskets, shared and len(baskets) > 1) as packed:
            return list(packed)

    def write(self, composer: Composer, baskets: Sequence[PackedBasket]) -> None:
        """Write the baskets of the next entries."""
        for basket in baskets:
            at = composer.put(basket.record)
            self.written.append(FilledBasket(at, len(basket.record), basket.size, basket.entries))

    def _packed(self, basket: tuple[Sequence[Any], Any]) -> PackedBasket:
        (columns, counts), tree = basket, self.tree
        key = new_key(b"TBasket", self.branch["fName"], tree.key.name, 0, tree.folder.at, tree.key.datime, big=True)
        data, offsets = self.kept.form.pack_all(columns, counts)
        setting = compression_of(self.branch["fCompress"] or self.compression)
        record, size = pack_basket(data, offsets, len(counts), setting, key)
        return PackedBasket(record, size, len(counts))
