"""What was taken out of a tree, as text: the branch objects with their places, and how they store their values."""

import base64
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from atlasae.files.xz import fitted
from atlasae.graft.baskets import Form
from atlasae.graft.buffers import Thing, read_thing, write_thing
from atlasae.graft.trees import GraftedTree, TakenBranch, clear, point

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
_MOST = 1 << 26  # bytes of branch objects; more are damage


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


@dataclass(frozen=True)
class TakenOut:
    """All branches that were taken out of a tree: their facts, and their objects in one compressed buffer."""

    branches: list[KeptBranch]
    objects: str

    @classmethod
    def of(cls, tree: GraftedTree, taken: Sequence[TakenBranch], forms: dict[str, Form]) -> "TakenOut":
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
