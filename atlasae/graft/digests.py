"""Checksums of what is carried: of the data of every branch in the order of its entries, and of other objects."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import xxhash

from atlasae.errors import DamagedFileError
from atlasae.files.checksums import checksum_bytes
from atlasae.files.damage import damage
from atlasae.graft.baskets import Digest, Unpacked, embedded_basket, open_basket
from atlasae.graft.buffers import Thing
from atlasae.graft.records import KEY_SIZE_AT, Records
from atlasae.graft.trees import RNTUPLE, TREES, BasketPlace, GraftedTree, embedded, payload_of, places

_ROOM, _FEWEST_BITS = 750, 4  # of format 3: bytes of marks of a chunk that name what differs; bits of each thing
_WORD, _MASK = 64, (1 << 64) - 1
Summed = Sequence[tuple[str, int]]  # names and checksums


@dataclass(frozen=True)
class Marks:
    """Checksums over many named things, which tell the name of the one that differs.

    Of each group of things a checksum of names and values, and the sums of the values times 1, place and place^2 modulo
    a prime: where one value differs by d, they differ by d, d place and d place^2, which gives the place.
    """

    numbers: list[int]

    @classmethod
    def of(cls, *groups: Summed) -> "Marks":
        """The marks of groups of names and checksums, in any order; but for the first, empty groups have none."""
        return cls([number for place, found in enumerate(groups) if found or not place for number in _sums(found)])

    def changed(self, *groups: Summed) -> list[str]:
        """The names of what differs; all of a group where several do, or where names or their number do."""
        other, changed = Marks.of(*groups).numbers, list[str]()
        if len(other) != len(self.numbers):
            return [name for found in groups for name, _ in found]
        groups = tuple(found for place, found in enumerate(groups) if found or not place)
        for place, found in enumerate(groups):
            part = slice(place * _SUMS, (place + 1) * _SUMS)
            changed += _located(self.numbers[part], other[part], [name for name, _ in _sorted(found)])
        return changed


def _sums(found: Summed) -> list[int]:
    found = _sorted(found)
    powers = (sum(place**power * value for place, (_, value) in enumerate(found, 1)) for power in range(_SUMS - 1))
    return [_total(found), *(total % _PRIME for total in powers)]


def _located(known: Sequence[int], found: Sequence[int], names: list[str]) -> list[str]:
    """The name of the value that makes the difference of sums; all names where it is not one."""
    if known[0] == found[0]:
        return []
    once, by_place, by_square = ((one - other) % _PRIME for one, other in zip(known[1:], found[1:], strict=True))
    place = by_place * pow(once, -1, _PRIME) % _PRIME if once else 0
    return [names[place - 1]] if 0 < place <= len(names) and place * by_place % _PRIME == by_square else names


_SUMS, _PRIME = 4, (1 << 61) - 1


@dataclass(frozen=True)
class BitMarks:
    """The marks of format 3: one checksum over many named things, then a few bits of each, in the order of names."""

    numbers: list[int]

    def changed(self, found: Summed) -> list[str]:
        """The names whose checksums differ; all of them where names or their number do."""
        found, bits = _sorted(found), _bits(len(found))
        if [_total(found)] == self.numbers[:1]:
            return []
        each = sum((value % (1 << bits)) << place * bits for place, (_, value) in enumerate(found))
        words = [each >> word * _WORD & _MASK for word in range(-(-len(found) * bits // _WORD))]
        if len(words) != len(self.numbers) - 1:
            return [name for name, _ in found]
        pairs = zip(self.numbers[1:], words, strict=True)
        differ = sum((mine ^ theirs) << place * _WORD for place, (mine, theirs) in enumerate(pairs))
        names = [name for place, (name, _) in enumerate(found) if differ >> place * bits & ((1 << bits) - 1)]
        return names or [name for name, _ in found]


def _sorted(found: Summed) -> Summed:
    return sorted(found, key=lambda pair: pair[0])


def _bits(number: int) -> int:
    return max(_FEWEST_BITS, min(_WORD, 8 * _ROOM // max(1, number)))


def _total(found: Summed) -> int:
    digest = xxhash.xxh3_64()
    for name, value in found:
        digest.update(name.encode(errors="surrogateescape") + b"\0" + value.to_bytes(8, "little"))
    return digest.intdigest()


@dataclass
class _Feed:
    """The checksums of a branch, one for each range of entries, fed by its baskets."""

    branch: Thing
    edges: Sequence[int]
    places: Sequence[BasketPlace]  # of its baskets, in their order
    digests: list[Digest] = field(default_factory=list)
    entry: int = 0
    fed: int = 0  # baskets
    passed: set[int] = field(default_factory=set)  # baskets that were seen before one of those in front of them

    def __post_init__(self) -> None:
        self.digests = [Digest() for _ in self.edges]

    def take(self, basket: Unpacked) -> None:
        """Feed the next basket, whose entries may belong to several ranges."""
        begin, end = self.entry, self.entry + basket.entries
        for digest, first, last in self._overlapping(begin, end):
            part = first - begin, last - begin
            digest.add(basket.part(*part), basket.lengths(*part))
        self.entry = end
        self.fed += 1

    def lose(self, number: int) -> None:
        """Spoil the checksums of the entries of a basket of this number, which can't be opened."""
        ends = [int(end) for end in self.branch["fBasketEntry"][1]]
        self.entry, end = ends[number], ends[number + 1] if number + 1 < len(ends) else self.branch["fEntries"]
        for digest, _, _ in self._overlapping(self.entry, end):
            digest.add(_LOST)
        self.entry = end
        self.fed += 1

    def _overlapping(self, begin: int, end: int) -> Iterator[tuple[Digest, int, int]]:
        """The checksums of ranges that have entries in [begin, end), each with these entries."""
        for number in range(bisect_right(self.edges, begin), len(self.edges)):
            first, last = self.edges[number - 1] if number else 0, self.edges[number]
            if end <= first:
                return
            if max(begin, first) < min(end, last):
                yield self.digests[number], max(begin, first), min(end, last)


_LOST = b"lost"


class Digests:
    """The checksums of all branches of trees, from the baskets that are seen while they are copied.

    `edges` are the last entries (excluded) of ranges that have a checksum each, by tree. A basket that can't be opened
    is damage, or with `sparing` spoils the checksum of its entries.
    """

    def __init__(
        self,
        records: Records,
        trees: Sequence[GraftedTree],
        edges: Mapping[str, Sequence[int]],
        sparing: bool = False,
    ) -> None:
        self._sparing = sparing
        self._records = records
        self._feeds: dict[str, list[_Feed]] = {}
        self._of: dict[int, list[tuple[_Feed, int]]] = {}
        for tree in trees:
            ends = edges.get(tree.path) or [tree.thing["fEntries"]]
            self._feeds[tree.path] = []
            for branch in tree.branches():
                feed = _Feed(branch, ends, places(branch, records))
                self._feeds[tree.path].append(feed)
                for order, place in enumerate(feed.places):
                    self._of.setdefault(place.at, []).append((feed, order))

    def seen(self, at: int, record: bytes) -> None:
        """Take in a record that is copied, if it is a basket; one before its turn is read again when that comes."""
        for feed, order in self._of.get(at, ()):
            feed.passed.add(order)
            if feed.fed == order:
                self._take(feed, feed.places[order].number, partial(open_basket, record))
            while feed.fed in feed.passed:
                self._take_next(feed)

    def _take(self, feed: _Feed, number: int, opened: Callable[[], Unpacked]) -> None:
        try:
            with damage(f"branch '{feed.branch.name}'"):
                feed.take(opened())
        except DamagedFileError:
            if not self._sparing:
                raise
            feed.lose(number)

    def found(self, tree: str, which: int = 0) -> list[tuple[str, int]]:
        """Name and checksum of each branch of a tree, in its range of this number; called once all is seen."""
        for feed in self._feeds[tree]:
            self._finish(feed)
        return [(feed.branch.name, feed.digests[which].value) for feed in self._feeds[tree]]

    def in_groups(self, tree: str, which: int = 0) -> tuple[Summed, Summed]:
        """The same of branches of numbers, and of those of objects, which ROOT may write otherwise when it merges."""
        found = self.found(tree, which)
        plain = [feed.branch.kind == "TBranch" for feed in self._feeds[tree]]
        pairs = list(zip(plain, found, strict=True))
        return [one for is_plain, one in pairs if is_plain], [one for is_plain, one in pairs if not is_plain]

    def _finish(self, feed: _Feed) -> None:
        """Take in the baskets that nobody copied, and those inside the branch object."""
        if feed.fed < 0:
            return
        while feed.fed < len(feed.places):
            self._take_next(feed)
        for number, basket in embedded(feed.branch):
            self._take(feed, number, partial(embedded_basket, basket))
        feed.fed = -1

    def _take_next(self, feed: _Feed) -> None:
        place = feed.places[feed.fed]
        self._take(feed, place.number, lambda: open_basket(self._records.read(place.at, place.at + place.nbytes)))


def sampled(records: Records, tree: GraftedTree, names: Collection[str] | None = None) -> dict[str, BasketPlace]:
    """The first baskets of the branches with these paths, by default of some, by their paths."""
    first = {path: found[0] for path, branch in tree.paths().items() if (found := places(branch, records))}
    if names is not None:
        return {path: place for path, place in first.items() if path in names}
    return {path: first[path] for path in sorted(first)[:: max(1, -(-len(first) // _SAMPLES))]}


def samples(records: Records, baskets: Mapping[str, BasketPlace]) -> dict[str, int]:
    """Checksums of baskets as they lie in the file: they tell whether ROOT copied them."""
    return {path: _as_it_lies(records, place) for path, place in baskets.items()}


def _as_it_lies(records: Records, place: BasketPlace) -> int:
    record = records.read(place.at, place.at + place.nbytes)
    return checksum_bytes(record[int.from_bytes(record[KEY_SIZE_AT : KEY_SIZE_AT + 2], "big") :]) % _SHORT


_SAMPLES, _SHORT = 2, 1 << 32


def objects_of(records: Records, without: str) -> Iterator[tuple[str, int]]:
    """Path (with the cycle) and checksum of every object but trees and folders, and what is in folder `without`."""
    for path, folder in records.root.walk():
        if f"{path}".partition("/")[0] == without and path:
            continue
        for key in folder.keys:
            name = f"{path}{key.path_name};{key.cycle}"
            if key.class_name not in (*TREES, RNTUPLE) and key.seek not in folder.folders:
                with damage(f"'{name}'"):
                    yield name, checksum_bytes(key.kind, key.title, payload_of(records, key))
