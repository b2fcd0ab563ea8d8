"""Checksums of what is carried: of the data of every branch in the order of its entries, and of other objects."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import xxhash

from atlasae.errors import DamagedFileError
from atlasae.files.checksums import checksum_bytes
from atlasae.files.damage import damage
from atlasae.graft.baskets import Digest, Unpacked, embedded_basket, open_basket
from atlasae.graft.buffers import Thing
from atlasae.graft.records import Records
from atlasae.graft.trees import TREES, GraftedTree, embedded, payload_of, places

_ROOM = 1500  # bytes of marks that a file may spend on naming what differs


@dataclass(frozen=True)
class Marks:
    """One checksum over many named things, and a few bits of each, which tell what differs where it does."""

    total: int
    each: str

    @classmethod
    def of(cls, found: Sequence[tuple[str, int]]) -> "Marks":
        """The marks of names and checksums, in any order."""
        found = sorted(found, key=lambda pair: pair[0])
        size = _size(len(found))
        each = b"".join((value % (1 << 8 * size)).to_bytes(size, "little") for _, value in found)
        return cls(_total(found), base64.b64encode(each).decode())

    def changed(self, found: Sequence[tuple[str, int]]) -> list[str]:
        """The names whose checksums differ; all of them where names or their number do."""
        found = sorted(found, key=lambda pair: pair[0])
        if _total(found) == self.total:
            return []
        size, each = _size(len(found)), base64.b64decode(self.each)
        names = [name for name, _ in found]
        if len(each) != size * len(found):
            return names
        before = [int.from_bytes(each[place : place + size], "little") for place in range(0, len(each), size)]
        pairs = zip(found, before, strict=True)
        return [name for (name, value), known in pairs if value % (1 << 8 * size) != known] or names


def _size(number: int) -> int:
    return max(1, min(8, _ROOM // max(1, number)))


def _total(found: Iterable[tuple[str, int]]) -> int:
    digest = xxhash.xxh3_64()
    for name, value in found:
        digest.update(name.encode(errors="surrogateescape") + b"\0" + value.to_bytes(8, "little"))
    return digest.intdigest()


@dataclass
class _Feed:
    """The checksums of a branch, one for each range of entries, fed by its baskets."""

    branch: Thing
    edges: Sequence[int]
    digests: list[Digest] = field(default_factory=list)
    entry: int = 0
    fed: int = 0  # baskets
    in_order: bool = True

    def __post_init__(self) -> None:
        self.digests = [Digest() for _ in self.edges]

    def take(self, basket: Unpacked) -> None:
        """Feed the next basket, whose entries may belong to several ranges."""
        begin, end = self.entry, self.entry + basket.entries
        first = 0
        for digest, last in zip(self.digests, self.edges, strict=True):
            start, stop = max(begin, first), min(end, last)
            if start < stop:
                digest.add(basket.part(start - begin, stop - begin))
            first = last
        self.entry = end
        self.fed += 1


class Digests:
    """The checksums of all branches of trees, from the baskets that are seen while they are copied.

    `edges` are the last entries (excluded) of ranges that have a checksum each: those of a merged file.
    """

    def __init__(self, records: Records, trees: Sequence[GraftedTree], edges: Mapping[str, Sequence[int]]) -> None:
        self._records = records
        self._feeds: dict[str, list[_Feed]] = {}
        self._of: dict[int, list[tuple[_Feed, int]]] = {}
        self._places = {}
        for tree in trees:
            ends = edges.get(tree.path) or [tree.thing["fEntries"]]
            self._feeds[tree.path] = []
            for branch in tree.branches():
                feed = _Feed(branch, ends)
                self._feeds[tree.path].append(feed)
                self._places[id(feed)] = listed = places(branch, records)
                for order, place in enumerate(listed):
                    self._of.setdefault(place.at, []).append((feed, order))

    def seen(self, at: int, record: bytes) -> None:
        """Take in a record that is copied, if it is a basket."""
        if not (feeds := self._of.get(at)):
            return
        basket = None
        for feed, order in feeds:
            if feed.in_order and feed.fed == order:
                with damage(f"branch '{feed.branch.name}'"):
                    basket = basket or open_basket(record)
                    feed.take(basket)
            else:
                feed.in_order = False

    def read(self) -> None:
        """Take in all baskets, as nobody copies them."""
        for feeds in self._feeds.values():
            for feed in feeds:
                feed.in_order = False

    def found(self, tree: str, which: int = 0) -> list[tuple[str, int]]:
        """Name and checksum of each branch of a tree, in its range of this number; called once all is seen."""
        for feed in self._feeds[tree]:
            self._finish(feed)
        return [(feed.branch.name, feed.digests[which].value) for feed in self._feeds[tree]]

    def _finish(self, feed: _Feed) -> None:
        """Take in the baskets inside the branch object, and all others again if they were not copied in order."""
        if feed.fed < 0:
            return
        with damage(f"branch '{feed.branch.name}'"):
            if not feed.in_order or feed.fed < len(self._places[id(feed)]):
                feed.__init__(feed.branch, feed.edges)  # type: ignore[misc]
                for place in self._places[id(feed)]:
                    feed.take(open_basket(self._records.read(place.at, place.at + place.nbytes)))
            for _, basket in embedded(feed.branch):
                feed.take(embedded_basket(basket))
        feed.fed = -1


def objects_of(records: Records, without: str) -> Iterator[tuple[str, int]]:
    """Path (with the cycle) and checksum of every object but trees and folders, and what is in folder `without`."""
    for path, folder in records.root.walk():
        if f"{path}".partition("/")[0] == without and path:
            continue
        for key in folder.keys:
            name = f"{path}{key.path_name};{key.cycle}"
            if key.class_name not in TREES and key.seek not in folder.folders:
                with damage(f"'{name}'"):
                    yield name, checksum_bytes(key.kind, key.title, payload_of(records, key))


def refuse_changed(what: str, changed: Sequence[str]) -> None:
    """Raise DamagedFileError if something differs from what was written."""
    if changed:
        more = f" (and {len(changed) - 1} more)" * (len(changed) > 1)
        raise DamagedFileError(f"{what} '{changed[0]}'{more} is damaged: checksum differs; get the file again")
