"""The TTrees of a file as objects: their branches and baskets, branches taken out and put in."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.errors import UserError
from atlasae.files.branches import Branch
from atlasae.files.plain import PlainBranch
from atlasae.files.sources import unpack_blocks
from atlasae.files.trees import Glance
from atlasae.graft.buffers import REWRITE, Thing, read_thing, write_thing
from atlasae.graft.records import Folder, RecordKey, Records, read_key
from atlasae.report import LeftOut

TREES = ("TTree", "TNtuple", "TNtupleD")
CHAIN = "TChain"  # a tree without baskets: a list of files
RNTUPLE = "ROOT::RNTuple"
_COUNTERS = ("fLeafCount", "fBranchCount", "fBranchCount2")  # pointers of leaves and branches to what counts them
_FEWEST = 10  # places for baskets in a branch
_LEAVES = {  # of plain numbers, with their types
    "TLeafB": "i1", "TLeafS": "i2", "TLeafI": "i4", "TLeafL": "i8", "TLeafF": "f4", "TLeafD": "f8", "TLeafO": "b1",
}  # fmt: skip


@dataclass
class GraftedTree:
    """A TTree of a file: its path, folder, key and object."""

    path: str
    folder: Folder
    key: RecordKey
    thing: Thing

    def walk(self) -> Iterator[tuple[Thing, Thing]]:
        """Every list of branches with each of its branches, those with branches inside before these."""
        yield from _walk(self.thing)

    @property
    def names(self) -> list[str]:
        """The names of the branches with values, in their order."""
        return [branch.name for _, branch in self.walk() if not branch["fBranches"].items]

    def branches(self) -> Iterator[Thing]:
        """All branches, and the one that holds the tree's references."""
        yield from (branch for _, branch in self.walk())
        if self.thing["fBranchRef"] is not None:
            yield self.thing["fBranchRef"]

    def paths(self) -> dict[str, Thing]:
        """All branches by the names of the branches above them and their own, joined by slashes; the first of each."""
        found: dict[str, Thing] = {}
        for above, branches in _lists(self.thing, ()):
            for branch in branches.items:
                if branch is not None:
                    found.setdefault("/".join((*above, branch.name)), branch)
        return found

    def named(self, name: str) -> tuple[Thing, Thing]:
        """The first branch of a name or path that holds values, in front of it its list; raises KeyError."""
        return self.all_named([name])[0]

    def all_named(self, names: Collection[str]) -> list[tuple[Thing, Thing]]:
        """The branches of several names or paths, as `named`."""
        known = self.by_name()
        return [known[name] if name in known else self._at(name) for name in names]

    def _at(self, path: str) -> tuple[Thing, Thing]:
        for above, branches in _lists(self.thing, ()):
            for inner in branches.items:
                if inner is not None and "/".join((*above, inner.name)) == path:
                    return branches, inner
        raise KeyError(f"tree '{self.path}' has no branch '{path}'")

    def by_name(self) -> dict[str, tuple[Thing, Thing]]:
        """The first branch of each name that holds values, in front of it its list."""
        found: dict[str, tuple[Thing, Thing]] = {}
        for branches, branch in self.walk():
            if not branch["fBranches"].items:
                found.setdefault(branch.name, (branches, branch))
        return found

    def leaves(self) -> dict[int, Thing]:
        """The leaves of all branches by their id."""
        return {id(leaf): leaf for branch in self.branches() for leaf in branch["fLeaves"].items if leaf is not None}


def _walk(thing: Thing) -> Iterator[tuple[Thing, Thing]]:
    branches = thing["fBranches"]
    for branch in branches.items:
        if branch is not None:
            yield branches, branch
            yield from _walk(branch)


def trees_of(records: Records) -> list[GraftedTree]:
    """All TTrees of a file, every cycle; raises UserError for one that atlasae does not know, ValueError for damage."""
    return [GraftedTree(path, folder, key, _thing(records, key)) for path, folder, key in _keys_of_trees(records)]


def newest_tree(records: Records, name: str) -> GraftedTree:
    """The newest cycle of a tree, read without the others; raises KeyError and as `trees_of`."""
    found = [one for one in _keys_of_trees(records) if one[0] == name]
    if not found:
        raise KeyError(f"there is no tree '{name}'")
    path, folder, key = max(found, key=lambda one: one[2].cycle)
    return GraftedTree(path, folder, key, _thing(records, key))


def latest(trees: Sequence[GraftedTree], names: Sequence[str]) -> list[GraftedTree]:
    """The trees of a file without older cycles of the trees with these names."""
    newest: dict[str, GraftedTree] = {}
    for tree in trees:
        if tree.path not in newest or tree.key.cycle > newest[tree.path].key.cycle:
            newest[tree.path] = tree
    wanted = set(names)
    older = [tree for tree in trees if tree.path in wanted and tree is not newest[tree.path]]
    for tree in older:
        tree.folder.keys.remove(tree.key)
    gone = {id(tree) for tree in older}
    return [tree for tree in trees if id(tree) not in gone]


def older_cycles(records: Records, trees: Sequence[GraftedTree], name: str) -> Iterator[LeftOut]:
    """The older cycles of a tree; those without baskets of their own are earlier saves, thus minor."""
    *older, newest = sorted((tree for tree in trees if tree.path == name), key=lambda tree: tree.key.cycle)
    known = _baskets_of(records, newest) if older else set()
    for tree in older:
        minor = _baskets_of(records, tree) <= known
        yield LeftOut(f"cycle {tree.key.cycle} of '{name}'", "only the latest is carried", minor)


def _baskets_of(records: Records, tree: GraftedTree) -> set[int]:
    return {place.at for branch in tree.branches() for place in places(branch, records)}


def _keys_of_trees(records: Records) -> list[tuple[str, Folder, RecordKey]]:
    """Path, folder and key of every TTree."""
    folders = records.root.walk()
    every = ((f"{path}{key.path_name}", folder, key) for path, folder in folders for key in folder.keys)
    return [one for one in every if one[2].class_name in TREES]


def _thing(records: Records, key: RecordKey) -> Thing:
    return read_thing(payload_of(records, key), key.class_name, key.keylen)


def payload_of(records: Records, key: RecordKey) -> bytes:
    """What follows a key, decompressed."""
    payload = records.payload(key)
    return unpack_blocks(payload, key.objlen) if key.is_compressed else payload


def glance(data: bytes, kind: str, key_size: int, wanted: Container[str] | None = None) -> Glance:
    """What the object of a TTree tells, as `read_thing` reads it, and its buffer without what that leaves out."""
    thing = read_thing(data, kind, key_size, wanted)
    holders = [branch for _, branch in _walk(thing) if not branch["fBranches"].items]
    kinds = [_kind_of(branch) for branch in holders]
    numbers: dict[str, PlainBranch | None] = {}
    for branch, found in zip(holders, kinds, strict=True):
        numbers.setdefault(branch.name, _numbers_of(branch, *found) if found else None)
    plain = len(numbers) == len(holders) and all(branch["fEntries"] == thing["fEntries"] for branch in holders)
    return Glance(
        title=bytes(thing["fTitle"]).decode(errors="surrogateescape"),
        num_entries=thing["fEntries"],
        numbers={name: where for name, where in numbers.items() if where},
        branches=_branches(holders, [kind for kind in kinds if kind]) if plain and all(kinds) else None,
        cut=(lambda: data) if wanted is None else partial(write_thing, thing, key_size),
    )


def _kind_of(branch: Thing) -> tuple[np.dtype[Any], bool] | None:
    """The type of the plain numbers of a branch, and whether it has lists of them; None for others."""
    leaves = branch["fLeaves"].items
    leaf = leaves[0] if len(leaves) == 1 else None
    if branch.kind != "TBranch" or branch["fFileName"] or leaf is None or leaf.kind not in _LEAVES:
        return None
    counter, shape = leaf["fLeafCount"], leaf["fTitle"].partition(b"[")[2]
    if leaf["fLen"] != 1 or shape != (counter["fName"] + b"]" if counter else b""):
        return None
    return np.dtype(_LEAVES[leaf.kind].replace("i", "u" if leaf["fIsUnsigned"] else "i")), counter is not None


def _numbers_of(branch: Thing, kind: np.dtype[Any], listed: bool) -> PlainBranch | None:
    """Where a branch of plain numbers lies; None where some of its baskets are in the tree, or do not add up."""
    ends = branch["fWriteBasket"] + 1
    firsts, seeks, sizes = (branch[name][1] for name in ("fBasketEntry", "fBasketSeek", "fBasketBytes"))
    if any(branch["fBaskets"].items) or not 1 < ends <= len(firsts) or firsts[ends - 1] != branch["fEntries"]:
        return None
    return PlainBranch(firsts[:ends], seeks, sizes, kind.newbyteorder(">"), kind, 0 if listed else None)


def _branches(holders: Sequence[Thing], kinds: Sequence[tuple[np.dtype[Any], bool]]) -> list[Branch]:
    """Branches of plain numbers of these kinds."""
    owners = {id(branch["fLeaves"].items[0]): branch.name for branch in holders}
    return [
        Branch(branch.name, kind.str, listed, owners.get(id(branch["fLeaves"].items[0]["fLeafCount"])))
        for branch, (kind, listed) in zip(holders, kinds, strict=True)
    ]


@dataclass(frozen=True)
class BasketPlace:
    """A basket of a branch: its position, its bytes, and its number."""

    at: int
    nbytes: int
    number: int


def places(branch: Thing, records: Records) -> list[BasketPlace]:
    """The baskets of a branch that are records of the file; raises ValueError for impossible ones."""
    if branch["fFileName"]:
        return []
    written = branch["fWriteBasket"]
    seeks, sizes = (branch[name][1] for name in ("fBasketSeek", "fBasketBytes"))
    if not 0 <= written <= min(len(seeks), len(sizes)) + (written == 0):
        raise ValueError(f"branch '{branch.name}' has {written} baskets, of which it lists {len(seeks)}")
    found = []
    for number in range(min(written, len(seeks))):
        at, nbytes = int(seeks[number]), int(sizes[number])
        if at:
            nbytes = nbytes or read_key(records.read, at, records.head.end).nbytes
            found.append(BasketPlace(at, nbytes, number))
    return found


def embedded(branch: Thing) -> list[tuple[int, Thing]]:
    """The baskets inside the branch object, with their numbers."""
    seeks = branch["fBasketSeek"][1]
    found = enumerate(branch["fBaskets"].items)
    return [(n, b) for n, b in found if b is not None and b.kind == "TBasket" and not (n < len(seeks) and seeks[n])]


def where_values_are(branch: Thing) -> list[bytes]:
    """What a branch tells of its baskets: their entries, positions and bytes, and those inside the branch object."""
    arrays = [branch[name][1] for name in ("fBasketEntry", "fBasketSeek", "fBasketBytes")]
    told = [np.asarray(array, np.int64).tobytes() for array in arrays]
    return [*told, *(basket.rest for _, basket in embedded(branch))]


def move(branch: Thing, moved: Callable[[int], int]) -> None:
    """Set the positions of a branch's baskets, each to where `moved` says it went."""
    flag, seeks = branch["fBasketSeek"]
    if branch["fFileName"] or not seeks.any():
        return
    branch["fBasketSeek"] = flag, np.array([moved(int(seek)) if seek else 0 for seek in seeks], np.int64)


def relocate(tree: GraftedTree, found: Mapping[int, tuple[int, int]], setting: int) -> None:
    """Set position and bytes of a tree's baskets, which `found` has by their old positions, and their compression."""
    for branch in tree.branches():
        if branch["fFileName"]:
            continue
        (flag, seeks), (flag_sizes, sizes) = branch["fBasketSeek"], branch["fBasketBytes"]
        moved = [found.get(int(seek), (0, 0)) for seek in seeks]
        grown = sum(nbytes for _, nbytes in moved) - int(sizes[: len(seeks)][seeks != 0].sum())
        branch["fBasketSeek"] = flag, np.array([at for at, _ in moved], np.int64)
        pairs = zip(moved, sizes, strict=False)
        branch["fBasketBytes"] = flag_sizes, np.array([nbytes or int(size) for (_, nbytes), size in pairs], np.int64)
        branch["fCompress"] = setting
        for counted in (branch, tree.thing):
            counted["fZipBytes"] = max(0, counted["fZipBytes"] + grown)


@dataclass(frozen=True)
class FilledBasket:
    """A basket that was written: its position, its bytes, those before compression, and its entries."""

    at: int
    nbytes: int
    unpacked: int
    entries: int


def fill(tree: GraftedTree, branch: Thing, baskets: Sequence[FilledBasket]) -> None:
    """Let a branch of a tree have these baskets and no others."""
    _count(tree, branch, -1)
    size = max(_FEWEST, len(baskets) + 1)
    ends = np.cumsum([0, *(basket.entries for basket in baskets)])
    listed: dict[str, Sequence[int]] = {"fBasketEntry": ends.tolist()}
    listed |= {"fBasketBytes": [b.nbytes for b in baskets], "fBasketSeek": [b.at for b in baskets]}
    for name, values in listed.items():
        array: npt.NDArray[np.int64] = np.zeros(size, np.int64)
        array[: len(values)] = values
        branch[name] = 1, array
    branch["fMaxBaskets"], branch["fWriteBasket"] = size, len(baskets)
    branch["fEntries"] = branch["fEntryNumber"] = int(ends[-1])
    branch["fTotBytes"], branch["fZipBytes"] = (sum(getattr(b, x) for b in baskets) for x in ("unpacked", "nbytes"))
    branch["fBaskets"].items = []
    if features := _features(branch):  # ROOT would take the offsets for what the baskets of before had instead
        features.rest = features.rest[:-1] + bytes(1)
    _count(tree, branch, 1)


def _features(branch: Thing) -> Thing | None:
    """The fIOFeatures of a branch, which those of old versions do not have."""
    try:
        return branch["fIOFeatures"]  # type: ignore[no-any-return]
    except KeyError:
        return None


def clear(branch: Thing) -> None:
    """Let a branch have no baskets, so that its object takes few bytes."""
    for name in ("fBasketBytes", "fBasketEntry", "fBasketSeek"):
        branch[name] = 1, np.zeros(_FEWEST, np.int64)
    for name in ("fWriteBasket", "fEntries", "fEntryNumber", "fTotBytes", "fZipBytes"):
        branch[name] = 0
    branch["fMaxBaskets"] = _FEWEST
    branch["fBaskets"].items = []


@dataclass(frozen=True)
class TakenBranch:
    """A branch taken out of a tree: the path of its list of branches, the name of the next one there, and the object.

    The next one is one that stayed, or empty at the end. `name` is that by which it was asked for.
    """

    name: str
    above: tuple[str, ...]
    before: str
    thing: Thing


def take_out(tree: GraftedTree, names: Collection[str], wholly: bool = True) -> list[TakenBranch]:
    """Take branches out of a tree, with their leaves; in their order; raises KeyError if one is missing.

    With `wholly`, branches that only held others go with the last of these: ROOT can't read an empty one after a merge.
    """
    found = tree.all_named(names)
    gone = {id(branch): name for name, (_, branch) in zip(names, found, strict=True)}
    emptied = _emptied(tree, gone) if wholly else []
    gone |= {id(branch): branch.name for _, branch in emptied}
    taken = [one for path, branches in _lists(tree.thing, ()) for one in _taken(path, branches, gone)]
    _remove(tree, [*found, *emptied])
    return taken


def _emptied(tree: GraftedTree, gone: Collection[int]) -> list[tuple[Thing, Thing]]:
    """The branches, each behind its list, that hold nothing but branches that go."""
    out, found = set(gone), list[tuple[Thing, Thing]]()
    for branches, branch in reversed(list(tree.walk())):
        inside = [inner for inner in branch["fBranches"].items if inner is not None]
        own = branch["fWriteBasket"] or any(basket is not None for basket in branch["fBaskets"].items)
        if inside and not own and all(id(inner) in out for inner in inside):
            out.add(id(branch))
            found.append((branches, branch))
    return found


def _taken(path: tuple[str, ...], branches: Thing, gone: Mapping[int, str]) -> Iterator[TakenBranch]:
    """The branches of a list that are taken out, each with the name of the next that stays."""
    things = [branch for branch in branches.items if branch is not None]
    for place, branch in enumerate(things):
        if id(branch) in gone:
            behind = (other.name for other in things[place + 1 :] if id(other) not in gone)
            yield TakenBranch(gone[id(branch)], path, next(behind, ""), branch)


def drop(tree: GraftedTree, names: Collection[str]) -> None:
    """Take branches out for good, and the branches above them that hold no others."""
    groups = _groups(tree)
    take_out(tree, names)
    _prune(tree, groups)


def drop_others(tree: GraftedTree, names: Collection[str]) -> None:
    """Take all out for good but the branches of these names, the first of each, what counts and what holds them."""
    groups = _groups(tree)
    kept = {id(branch) for _, branch in tree.all_named({*names, *counting(tree, set(tree.names).difference(names))})}
    gone = [pair for pair in tree.walk() if id(pair[1]) not in kept | groups]
    _remove(tree, gone)
    _prune(tree, groups)
    tree.thing["fBranchRef"] = None


def _groups(tree: GraftedTree) -> set[int]:
    """The branches that hold others."""
    return {id(branch) for _, branch in tree.walk() if branch["fBranches"].items}


def _remove(tree: GraftedTree, pairs: Sequence[tuple[Thing, Thing]]) -> None:
    """Take branches out of the lists in front of them."""
    gone = {id(branch) for _, branch in pairs}
    for branches in {id(branches): branches for branches, _ in pairs}.values():
        branches.items = [branch for branch in branches.items if id(branch) not in gone]
    _forget(tree, (branch for _, branch in pairs))


def _prune(tree: GraftedTree, groups: Collection[int]) -> None:
    """Take out the groups that hold nothing any more."""
    while empty := [pair for pair in tree.walk() if id(pair[1]) in groups and not pair[1]["fBranches"].items]:
        _remove(tree, empty)


def counting(tree: GraftedTree, without: Collection[str]) -> set[str]:
    """The names of the branches that count others, but for those that count only branches `without`."""
    owners, counted = dict[int, str](), set[int]()
    for branch in tree.branches():
        for leaf in branch["fLeaves"].items:
            owners[id(leaf)] = branch.name
            if leaf is not None and branch.name not in without:
                counted.add(id(leaf["fLeafCount"]))
    return {owners[leaf] for leaf in counted if leaf in owners}


def _forget(tree: GraftedTree, branches: Iterable[Thing]) -> None:
    """Take the leaves of branches, and their bytes, out of what the tree counts."""
    gone = list(branches)
    leaves = {id(leaf) for branch in gone for leaf in branch["fLeaves"].items}
    tree.thing["fLeaves"].items = [leaf for leaf in tree.thing["fLeaves"].items if id(leaf) not in leaves]
    for branch in gone:
        _count(tree, branch, -1)


def _count(tree: GraftedTree, branch: Thing, times: int) -> None:
    for name in ("fTotBytes", "fZipBytes"):
        tree.thing[name] = max(0, tree.thing[name] + times * branch[name])


def _lists(thing: Thing, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Thing]]:
    """Every list of branches with the names of the branches above it."""
    yield path, thing["fBranches"]
    for branch in thing["fBranches"].items:
        if branch is not None and branch["fBranches"].items:
            yield from _lists(branch, (*path, branch.name))


def put_in(tree: GraftedTree, branch: Thing, above: Sequence[str] = (), before: str = "") -> None:
    """Put a branch into a tree, by default behind all others; raises ValueError if it has no branch `above`."""
    branches = next((found for path, found in _lists(tree.thing, ()) if path == tuple(above)), None)
    if branches is None:
        branches = _empty_list(tree, above)
    following = (place for place, other in enumerate(branches.items) if other is not None and other.name == before)
    branches.items.insert(next(following, len(branches.items)) if before else len(branches.items), branch)
    tree.thing["fLeaves"].items += branch["fLeaves"].items
    _count(tree, branch, 1)


def _empty_list(tree: GraftedTree, above: Sequence[str]) -> Thing:
    """The list of a branch whose branches were all taken out."""
    branches = tree.thing["fBranches"]
    for name in above:
        inner = next((branch for branch in branches.items if branch is not None and branch.name == name), None)
        if inner is None:
            raise ValueError(f"tree '{tree.path}' has no branch '{'/'.join(above)}'")
        branches = inner["fBranches"]
    return branches  # type: ignore[no-any-return]


def order_leaves(tree: GraftedTree) -> None:
    """Bring the tree's list of leaves into the order of its branches."""
    known = {id(leaf) for leaf in tree.thing["fLeaves"].items}
    tree.thing["fLeaves"].items = [leaf for key, leaf in tree.leaves().items() if key in known]


def point(branch: Thing, instead: Callable[[Thing], Thing]) -> None:
    """Replace what counts a branch and its leaves."""
    for thing in (branch, *branch["fLeaves"].items):
        for name in _COUNTERS:
            try:
                counter = thing[name]
            except KeyError:
                continue
            if counter is not None:
                thing[name] = instead(counter)


def refuse_others(records: Records, kinds: Collection[str]) -> None:
    """Raise UserError if a file has keys of these classes, which have positions inside that atlasae does not know."""
    for path, folder in records.root.walk():
        for key in folder.keys:
            if key.class_name in kinds:
                raise UserError(f"'{path}{key.path_name}' is of class {key.class_name}: {REWRITE}")
