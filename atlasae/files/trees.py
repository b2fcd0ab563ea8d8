"""Reading ROOT files: trees and RNTuples by ranges of entries, other objects by copying."""

from __future__ import annotations  # `atlasae info` does without awkward

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot

from atlasae.errors import AtlasaeError, DamagedFileError, UserError
from atlasae.files.branches import Branch, Unwritable
from atlasae.files.checksums import checksum_bytes
from atlasae.files.damage import damage, has_traces, is_of_bytes, is_root
from atlasae.files.events import Array, Counts, lists_of, one_after_another, parts_of_lists, with_shared_ends
from atlasae.files.leaves import (
    Structure,
    Truncation,
    interpretation_of,
    interpretation_of_member,
    is_of_numbers,
    is_stored_narrower,
    mend_leaves,
    plain_numbers,
    plain_structures,
    structure_of,
    truncation_of,
)  # fmt: skip
from atlasae.files.plain import LARGE, Baskets, HeldLists, PlainBranch, Room, SharedEnds, read_numbers
from atlasae.files.remote import Location, Remote
from atlasae.files.rntuple import (
    Leaf,
    branch_of,
    counters_of,
    is_hidden,
    kind_of,
    leaves_of,
    other_names,
    tell_fields,
)
from atlasae.files.sources import (
    LocalSource,
    RemoteSource,
    functions_in,
    guarded,
    kept_beside,
    lost_in,
    own_classes,
)
from atlasae.files.writing import _DEFAULT_COMPRESSION, UNNAMED, Target, can_name, compression_of
from atlasae.report import counted, line_of, short
from atlasae.threads import side_by_side

_TABLES = ".pkl, .parquet, .csv, .h5, .npz"
_KEPT = 100_000_000  # bytes of unpacked baskets that are kept in memory
_LARGE = 4  # a basket is kept where a range of entries is less than so many times as long
_SHARED = 100_000  # numbers or lists that are worth several threads
_CIRCULAR = 1 << 12  # TTree::kCircular: a tree of its last entries
_REUSED = (
    "tree '{name}' is circular (TTree::SetCircular), and baskets of entries that it dropped hide the others: write it "
    "anew with ROOT, such as by RDataFrame::Snapshot or hadd -O"
)
_IN_MEMORY = ("@fUniqueID", "@fBits")  # members with the state of an object in memory


@dataclass(frozen=True)
class Glance:
    """What the object of a TTree tells at a glance: title, entries, and where its branches of plain numbers lie.

    `branches` are all branches if they are of plain numbers, else None. `cut` makes the object that uproot is to read
    where more is asked for.
    """

    title: str
    num_entries: int
    numbers: Mapping[str, PlainBranch]
    branches: Sequence[Branch] | None
    cut: Callable[[], bytes]


@dataclass(frozen=True)
class _Glanced:
    """A TTree of uproot's `file` that is known at a glance, until `whole` lets uproot read it."""

    file: Any
    glance: Glance
    whole: Callable[[], Any]


class Tree:
    """A TTree or RNTuple: its branches, and their values by ranges of entries.

    The branches of an RNTuple are its fields and the members of its records; with `nested`, also those that only
    another RNTuple can hold, whose lists need no counters unless they are `counted`.
    """

    def __init__(
        self, source: Any, name: str, nested: bool = False, whole: Iterable[str] = (), counted: bool = True
    ) -> None:
        self.name = name
        self._given = source
        told: Any = source.glance if isinstance(source, _Glanced) else source
        self.is_rntuple = not isinstance(told, uproot.TTree | Glance)
        self.title = str((told.description if self.is_rntuple else told.title) or "")
        self.entries = int(told.num_entries)
        self.nested = nested and self.is_rntuple
        self.counted = counted or not self.nested
        self.whole = frozenset(whole)  # branches whose structures are not taken apart
        self._unpacked: dict[str, _Unpacked] = {}
        self._room = Room()
        self._baskets = Baskets(self._room)
        self._lock = Lock()  # for what uproot reads

    @cached_property
    def _source(self) -> Any:
        """The tree as uproot reads it."""
        return self._given.whole() if isinstance(self._given, _Glanced) else self._given

    def nesting(self, counted: bool = False) -> Tree:
        """The same tree with `nested`, if it is an RNTuple."""
        return Tree(self._source, self.name, nested=True, counted=counted)

    def leaving(self, whole: Iterable[str]) -> Tree:
        """The same tree with some branches whose structures are not taken apart."""
        return Tree(self._source, self.name, self.nested, whole, self.counted)

    @cached_property
    def branches(self) -> list[Branch]:
        """The branches that can be carried, in the order of the file."""
        found = [branch for branch in self._described if isinstance(branch, Branch)]
        if not self.counted:
            return [replace(branch, counter=None) for branch in found]
        # The size of a TClonesArray is counted in a hidden branch.
        known = {branch.name for branch in found if not branch.jagged}
        return [branch if branch.counter in known else replace(branch, counter=None) for branch in found]

    @cached_property
    def unwritable(self) -> list[Unwritable]:
        """The branches that can't be carried, with reasons."""
        return [branch for branch in self._described if isinstance(branch, Unwritable)]

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these branches for entries [start, stop), also by several threads; raises DamagedFileError."""
        where = f"of tree '{self.name}' in entries {start} to {stop}"
        plain, many = partial(self._plain, where, start, stop, SharedEnds()), len(names) * (stop - start) > _SHARED
        with side_by_side(plain, self._by_holder(names), many) as read:
            found = {name: array for held in read for name, array in held.items()}
        events = with_shared_ends({name: found[name] for name in names})
        others = [name for name, array in events.items() if array is None]
        with self._lock:
            self._fetch(others, start, stop)
            for name in others:
                with damage(f"branch '{name}' {where}"):
                    events[name] = self._whole(name, start, stop)
        return events

    def rows(self, name: str) -> list[Any]:
        """The entries of a branch as numbers, or arrays of numbers or of the bytes of texts; raises DamagedFileError.

        Those of plain numbers are read without awkward.
        """
        found = self._numbers(f"of tree '{self.name}'", 0, self.entries, SharedEnds(), name)
        if found is None:
            values = ak.without_parameters(self.read([name], 0, self.entries)[name])
            return list(values.to_list()) if values.ndim == 1 else [ak.to_numpy(row) for row in values]
        numbers, ends = found
        if ends is None:
            return list(numbers.tolist() if numbers.ndim == 1 else numbers)
        return [numbers[ends[i] : ends[i + 1]] for i in range(len(ends) - 1)]

    def _whole(self, name: str, start: int, stop: int) -> ak.Array:
        """A branch for entries [start, stop); raises ValueError if some are missing, AtlasaeError in a circular tree.

        `TTree::SetCircular` drops entries, but leaves in the list of baskets those that are in the file already. Then
        many begin at the same entry, and ROOT itself reads entries of any of them.
        """
        try:
            array = self._joined(name, start, stop)
            if len(array) != stop - start:
                raise ValueError(f"{len(array)} of {stop - start} entries")
        except Exception as error:  # whatever uproot raises for baskets that do not follow each other
            if is_of_bytes(error) and self._hides_entries(name):
                raise AtlasaeError(_REUSED.format(name=self.name)) from error
            raise
        return array

    def _hides_entries(self, name: str) -> bool:
        """Whether several baskets of a branch of a circular tree begin at one entry."""
        if self.is_rntuple or not (self._source.all_members.get("@fBits") or 0) & _CIRCULAR:
            return False
        *firsts, _ = self._field(name).entry_offsets
        return len(set(firsts)) < len(firsts)

    def _joined(self, name: str, start: int, stop: int) -> ak.Array:
        """A branch for entries [start, stop), from a basket that was unpacked before as far as that reaches.

        A basket (or cluster) that is large beside the range is unpacked whole, and kept until another of the branch is:
        else every range that it reaches into would unpack all of it again.
        """
        known = self._unpacked.get(name)
        if known and known.start <= start < known.stop:
            here = known.part(start - known.start, min(stop, known.stop) - known.start)
            return here if stop <= known.stop else one_after_another([here, self._joined(name, known.stop, stop)])
        field, part = self._field(name), self._part(name)
        last = self._last_basket(field, part, start, stop)
        if last is None:
            return _read(field, part, start, stop)
        begin, end = last
        whole = _read(field, part, begin, end)
        self._keep(name, _Unpacked.of(begin, end, whole, self._room))
        inside = whole[max(start, begin) - begin : stop - begin]
        return inside if begin <= start else one_after_another([self._joined(name, start, begin), inside])

    def _by_holder(self, names: Sequence[str]) -> list[_Held]:
        """The branches that hold these, each with what it holds; most hold themselves."""
        held: dict[str, _Held] = {}
        for name in names:
            part = None if self._glanced(name) else self._part(name)
            held.setdefault(part.branch if part else name, {})[name] = part
        return [*held.values()]

    def _plain(self, where: str, start: int, stop: int, shared: SharedEnds, held: _Held) -> dict[str, ak.Array | None]:
        """The entries [start, stop) of what a branch holds: plain numbers, arrays or lists of them; None of others."""
        (name, part), *_ = held.items()
        found = self._numbers(where, start, stop, shared, name, part)
        return {name: found and _events_of(*found, part) for name, part in held.items()}

    def _numbers(
        self, where: str, start: int, stop: int, shared: SharedEnds, name: str, part: _Part | None = None
    ) -> tuple[Array, Counts | None] | None:
        """The same as numbers or structures, and where lists of them begin and the last ends."""
        with damage(f"branch '{name}' {where}"):
            if (branch := self._lying(name, part)) is None:
                return None
            read = read_numbers(self._given.file.source, branch, start, stop, self._baskets, shared)
            return read if read is None or branch.listed else (read[0], None)

    def _lying(self, name: str, part: _Part | None = None) -> PlainBranch | None:
        """Where a branch of plain numbers, arrays or lists of them lies, or the structures of a part; else None."""
        if known := self._glanced(name):
            return known
        field = self._field(name)
        if isinstance(field, Leaf):
            return None
        return plain_structures(field, part.structure) if part else plain_numbers(field)

    def _glanced(self, name: str) -> PlainBranch | None:
        """Where a branch lies, if that is known at a glance."""
        return self._given.glance.numbers.get(name) if isinstance(self._given, _Glanced) else None

    def _last_basket(self, field: Any, part: _Part | None, start: int, stop: int) -> tuple[int, int] | None:
        """The entries of the basket or cluster that reaches beyond a range, if it is large beside the range."""
        if stop <= start or not (self.is_rntuple or part or is_of_numbers(field)):
            return None
        firsts = self._firsts if self.is_rntuple else np.asarray(field.entry_offsets)
        place = int(np.searchsorted(firsts, stop))
        if not 0 < place < len(firsts):
            return None
        begin, end = int(firsts[place - 1]), int(firsts[place])
        return (begin, end) if end > stop and end - begin > (stop - start) / _LARGE else None

    @cached_property
    def _firsts(self) -> npt.NDArray[np.int64]:
        """The first entries of the clusters of an RNTuple, and the number of entries."""
        return np.array([*(int(found.num_first_entry) for found in self._source.cluster_summaries), self.entries])

    def _keep(self, name: str, unpacked: _Unpacked) -> None:
        self._unpacked.pop(name, None)
        self._unpacked[name] = unpacked
        while sum(one.nbytes for one in self._unpacked.values()) > _KEPT and len(self._unpacked) > 1:
            del self._unpacked[next(iter(self._unpacked))]

    def _fetch(self, names: Sequence[str], start: int, stop: int) -> None:
        """Prefetch the baskets of a remote file in parallel: one by one, each would cost a round trip."""
        source = self._given.file.source
        if isinstance(source, RemoteSource):
            with damage(f"tree '{self.name}' in entries {start} to {stop}"):
                source.fetch(self._ranges(names, start, stop))

    def _ranges(self, names: Sequence[str], start: int, stop: int) -> set[tuple[int, int]]:
        """The byte ranges of the baskets or pages of these branches for entries [start, stop)."""
        if self.is_rntuple:
            locators = (page.locator for _, page in self._pages(names, start, stop))
            return {(locator.offset, locator.offset + locator.num_bytes) for locator in locators}
        baskets = [self._field(name).entries_to_ranges_or_baskets(start, stop) for name in names]
        return {range_ for found in baskets for _, range_ in found if isinstance(range_, tuple)}

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Uncompressed bytes per entry of these branches."""
        if self.is_rntuple:
            sizes = (page.num_elements * bits / 8 for bits, page in self._pages(names))
            return float(sum(sizes)) / max(1, self.entries)
        known = sum(int(self._field(name).uncompressed_bytes) for name in self._holders_of(names))
        known = known or 8 * len(names) * self.entries
        return known / max(1, self.entries)

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Compressed bytes of these branches in baskets or pages."""
        if self.is_rntuple:  # it has no counters
            known = [name for name in names if name in self._fields]
            places = {page.locator.offset: int(page.locator.num_bytes) for _, page in self._pages(known)}
            return sum(places.values())  # equal pages are in the file once
        fields = [self._field(name) for name in self._holders_of(names)]
        return sum(int(field.compressed_bytes) for field in fields) + self._embedded_bytes(fields)

    def _embedded_bytes(self, fields: Iterable[Any]) -> int:
        """The share of these branches in the compressed bytes of the tree's object, which may hold baskets."""
        held = sum(len(basket.data) for field in fields for basket in field.embedded_baskets)
        if not held:
            return 0
        key = self._source.parent
        share = int(key.data_compressed_bytes) / max(1, int(key.data_uncompressed_bytes))
        return round(held * share)

    def _pages(self, names: Sequence[str], start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Any]]:
        """The pages of these fields, each with the bits per number; a column that members share comes once.

        Only the clusters with any of the entries [start, stop).
        """
        columns = {int(column.partition("-")[0]) for name in names for column in self._field(name).columns}
        stop = self.entries if stop is None else stop
        for summary, cluster in zip(self._source.cluster_summaries, self._source.page_link_list, strict=True):
            first = summary.num_first_entry
            if first < stop and start < first + summary.num_entries:
                for column in columns.intersection(range(len(cluster))):  # a field may be added later
                    bits = self._source.column_records[column].nbits
                    yield from ((bits, page) for page in cluster[column].pages)

    @property
    def compression(self) -> Any:
        """The compression of the first branch that has one, else of the file, else ZSTD(5)."""
        settings = map(compression_of, chain(self._settings(), [self._source.file.fCompress]))
        return next((setting for setting in settings if setting is not None), _DEFAULT_COMPRESSION)

    def _settings(self) -> Iterator[int]:
        """The compression settings of each branch, or of each column of an RNTuple in each cluster."""
        if not self.is_rntuple:
            yield from (found.member("fCompress") for found in self._fields.values())  # uproot writes 0
            return
        with damage(f"RNTuple '{self.name}'"):
            columns = [column for cluster in self._source.page_link_list for column in cluster]
        yield from (column.compression_settings for column in columns if not column.suppressed)

    @property
    def is_even(self) -> bool:
        """Whether all branches have as many entries as the tree."""
        return self.is_rntuple or all(int(found.num_entries) == self.entries for found in self._fields.values())

    @cached_property
    def beside(self) -> list[str]:
        """What ROOT stores besides the branches of the tree, and uproot does not write."""
        return [] if self.is_rntuple else kept_beside(self._source)

    @property
    def names(self) -> set[str]:
        """The names of all branches with values."""
        return set(self._fields)

    def field_number(self, name: str) -> int:
        """The id of a field of an RNTuple, or of a member of its records."""
        return int(self._field(name).field._fid)

    def listed_with(self, name: str, other: str) -> bool:
        """Whether two fields of an RNTuple are members of the same collection, which has its lengths once."""
        if not self.is_rntuple:
            return False
        first, second = (self._field(one).columns[:1] for one in (name, other))
        return bool(first) and first == second

    def _field(self, name: str) -> Any:
        holder = self.holder(name)
        for fields in (self._fields, self._seconds):
            if holder in fields:
                return fields[holder]
        raise ValueError(f"tree '{self.name}' has no branch '{name}'")

    @cached_property
    def members(self) -> list[Branch]:
        """What only copying keeps as it is: numbers in structures, and branches whose name another has, by paths."""
        if self.is_rntuple:
            return []
        parts = [
            Branch(name, np.dtype(part.structure.numbers[part.number][0]).newbyteorder("<").str, part.structure.jagged)
            for name, part in self._parts.items()
        ]
        seconds = ((name, _described_as(name, found, self.entries)) for name, found in self._seconds.items())
        return parts + [found for _, found in seconds if isinstance(found, Branch)]

    @cached_property
    def full_names(self) -> dict[str, str]:
        """The names of branches with those of the branches above them, where their own do not begin with these."""
        pairs = [] if self.is_rntuple else [*_full_names(self._source, ())]
        return dict(reversed(pairs))  # of branches with one name, that of the first

    def holder(self, name: str) -> str:
        """The branch that holds a member of its structures; other branches hold themselves."""
        part = self._part(name)
        return part.branch if part else name

    def _part(self, name: str) -> _Part | None:
        """What is a part of structures: no branch has its name. To find it, all branches must be described."""
        return None if name in self._fields else self._parts.get(name)

    def is_narrower(self, name: str) -> bool:
        """Whether a branch of doubles stores them as floats."""
        return not self.is_rntuple and not self._part(name) and is_stored_narrower(self._field(name))

    def _holders_of(self, names: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(map(self.holder, names)))

    def truncation(self, branch: str) -> Truncation | None:
        """How the numbers of a branch are truncated (Double32_t, Float16_t); None where they are not."""
        return truncation_of(self._field(branch))

    def steps(self, branch: str) -> tuple[float, float] | None:
        """The least number and the step of a field of an RNTuple that stores multiples of a step; None for others."""
        found = self._field(branch)
        return found.steps if isinstance(found, Leaf) else None

    def structure(self, branch: str) -> Structure | None:
        """The structures of a branch whose numbers are members, by their names; None for other branches."""
        found = {name: part for name, part in self._parts.items() if part.branch == branch}
        if not found:
            return None
        structure = next(iter(found.values())).structure
        return replace(structure, numbers={name: structure.numbers[part.number] for name, part in found.items()})

    @cached_property
    def _parts(self) -> dict[str, _Part]:
        """The numbers inside of structures, by the names of their branches and their own."""
        parts: dict[str, _Part] = {}
        kept = [] if self.is_rntuple else [one for one in self.unwritable if one.name not in self.whole]
        for unread in kept:
            structure = _structure_of(self._fields[unread.name], self.entries)
            for number in structure.numbers if structure else ():
                name = f"{unread.name}{'' if unread.name.endswith('.') else '.'}{number}"
                if structure and name not in self._fields:
                    parts[name] = _Part(unread.name, number, structure)
        return parts

    @cached_property
    def _seconds(self) -> dict[str, Any]:
        """Branches whose name another branch has, by their paths."""
        if self.is_rntuple:
            return {}
        paths = dict(_paths(self._source, ()))
        known = {id(found) for found in self._fields.values()}
        return {path: found for path, found in paths.items() if id(found) not in known and path not in self._fields}

    @cached_property
    def _fields(self) -> dict[str, Any]:
        """The branches or fields with values, by name; of two with one name, the first."""
        if self.is_rntuple:
            return {leaf.name: leaf for leaf in self._leaves if isinstance(leaf, Leaf)}
        fields: dict[str, Any] = {}
        mend_leaves(self._source.itervalues(recursive=True))
        for name, found in _holders(self._source):
            fields.setdefault(name, found)
        return fields

    @cached_property
    def _leaves(self) -> list[Leaf | Unwritable]:
        """The fields of an RNTuple, split into members."""
        found: list[Leaf | Unwritable] = []
        with damage(f"RNTuple '{self.name}'"):
            tell_fields(self._source)
        for top in self._source.fields:
            try:
                found += leaves_of(top)
            except Exception as error:  # whatever uproot raises for types it can't read
                if not is_of_bytes(error):
                    raise
                found.append(Unwritable(top.name, f"uproot can't read {short(top.typename)}"))
        return found

    @cached_property
    def places(self) -> dict[str, str]:
        """The paths of the members of an RNTuple's records, by name."""
        return {name: leaf.place for name, leaf in self._fields.items() if self.is_rntuple and "." in name}

    @cached_property
    def _other_names(self) -> dict[str, str]:
        return other_names(list(self._fields.values())) if self.is_rntuple else {}

    @property
    def aliases(self) -> dict[str, str]:
        """Fields of an RNTuple with the same data as another field, by whose name it is carried."""
        return {name: stays for name, stays in self._other_names.items() if not is_hidden(name)}

    @property
    def hidden(self) -> list[str]:
        """Fields with names that RNTupleImporter made up; their data is carried under the name of the projection."""
        return [name for name in self._other_names if is_hidden(name)]

    @property
    def types_lost(self) -> list[str]:
        """The branches whose C++ type changes when uproot writes them."""
        return [name for name, leaf in self._fields.items() if self.is_rntuple and not leaf.keeps_type]

    @cached_property
    def _described(self) -> list[Branch | Unwritable]:
        if self.is_rntuple:
            return self._described_fields()
        if isinstance(self._given, _Glanced) and self._given.glance.branches is not None:
            return list(self._given.glance.branches)
        described: list[Branch | Unwritable] = []
        for name, found in _holders(self._source):
            if found is not self._fields[name]:
                described.append(Unwritable(name, "the second branch of this name"))
                continue
            described.append(_described_as(name, found, self.entries))
        return described

    def _described_fields(self) -> list[Branch | Unwritable]:
        counters = counters_of(list(self._fields.values()))
        described: list[Branch | Unwritable] = []
        for leaf in self._leaves:
            if isinstance(leaf, Unwritable):
                described.append(leaf)
            elif leaf.name not in self._other_names:
                found = branch_of(leaf, counters.get(next(iter(leaf.columns), "")))
                only_nested = self.nested and isinstance(found, Unwritable) and found.branch
                described.append(only_nested or found)
        return described


@dataclass(frozen=True)
class _Part:
    """A number inside of the structures of a branch."""

    branch: str
    number: str
    structure: Structure


_Held = dict[str, _Part | None]  # what a branch holds by name: itself, or parts of its structures


@dataclass(frozen=True)
class CopiedObject:
    """A copied histogram or other object: its checksum, and the parts that the copy lacks."""

    checksum: int
    lost: list[str]


class _Trees(Mapping[str, Tree]):
    """The trees of a file by path, each read when it is first asked for; raises DamagedFileError then."""

    def __init__(self, path: Location, keys: Mapping[str, uproot.reading.ReadOnlyKey]) -> None:
        self._path, self._keys, self._read = path, keys, dict[str, Tree]()

    def __getitem__(self, name: str) -> Tree:
        key = self._keys[name]
        if name not in self._read:
            with damage(f"'{self._path}'"):
                self._read[name] = Tree(key.get(), name)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@dataclass
class Source:
    """An open ROOT file: trees by path, other objects and their classes, folders with their titles, older cycles."""

    path: Location
    file: Any
    keys: dict[str, uproot.reading.ReadOnlyKey] = field(default_factory=dict)  # latest cycles by path
    trees: Mapping[str, Tree] = field(default_factory=dict)
    objects: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    older: dict[str, uproot.reading.ReadOnlyKey] = field(default_factory=dict)  # other cycles, by path and cycle
    seen: dict[tuple[str, bool], Tree] = field(default_factory=dict)  # trees that were glanced at, whole or in part

    @property
    def uuid(self) -> str:
        """The UUID of the file, by which ROOT distinguishes files."""
        return str(self.file.file.uuid)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of the file."""
        return bytes(self.file.file.source.chunk(start, stop).raw_data)

    @property
    def compression(self) -> Any:
        """The compression of the file, or ZSTD(5) if it has none."""
        return compression_of(self.file.file.fCompress) or _DEFAULT_COMPRESSION

    def glanced(self, name: str, look: Callable[[bytes, str, int], Glance], part: bool) -> Tree:
        """A TTree at whose object `look` looks (its bytes, its class and the bytes of the key); uproot reads it later.

        It is kept; `part` says that the glance is at some of its branches. Raises DamagedFileError, and what `look`
        raises.
        """
        if (name, part) not in self.seen:
            key = self.keys[name]
            with damage(f"'{self.path}'"):
                chunk, cursor = key.get_uncompressed_chunk_cursor()
            glance = look(bytes(chunk.raw_data), key.fClassName, key.fKeylen)
            whole = partial(self._whole, copy(key), cursor, glance)
            self.seen[name, part] = Tree(_Glanced(self.file.file, glance, whole), name)
        return self.seen[name, part]

    def _whole(self, key: Any, cursor: Any, glance: Glance) -> Any:
        """A tree that was seen, as uproot reads the object that is cut of it."""
        made = np.frombuffer(glance.cut(), np.uint8)
        chunk = uproot.source.chunk.Chunk.wrap(self.file.file.source, made)
        key.get_uncompressed_chunk_cursor = lambda: (chunk, cursor)
        with damage(f"'{self.path}'"):
            return key.get()

    def repeats(self, older: str) -> bool:
        """Whether an older cycle has the same bytes as the latest."""
        keys = [self.older[older], self.keys[older.rpartition(";")[0]]]
        if len({(key.fClassName, key.fObjlen) for key in keys}) > 1:
            return False
        with damage(f"'{older}' in '{self.path}'"):
            one, other = (key.get_uncompressed_chunk_cursor()[0].raw_data for key in keys)
        return bytes(one) == bytes(other)

    def copy_object(self, name: str, target: Target | None = None) -> CopiedObject | str:
        """Copy an object to a target, or only read it without one; returns a text where uproot can't."""
        if not can_name(name):
            return UNNAMED
        kind = short(self.kinds.get(name, "object"))
        try:
            found = self.keys[name].get()
            thing = str(found) if isinstance(found, str) else found
        except Exception as error:  # whatever uproot raises for a class it can't read
            if not is_of_bytes(error):
                raise
            return f"uproot can't read this {kind}"
        try:
            written = _as_written(thing)
        except Exception as error:  # or can't write
            if not is_of_bytes(error):
                raise
            return f"uproot can't write this {kind}{functions_in(found)}"
        if target:
            target.write_object(name, thing)
        lost = [f"class {kind}"] if isinstance(found, str) and kind != "TObjString" else lost_in(found, written)
        return CopiedObject(checksum_bytes(*_facts(written)), lost)


def _instead_of(path: str) -> str:
    """What to give in place of a file that is not of ROOT: tables come here only where they are not taken."""
    if path.endswith(tuple(_TABLES.split(", "))):
        return "a table can't be taken here, give a .root file"
    return f"give a .root file, or a table ({_TABLES})"


@contextmanager
def open_source(path: Location) -> Iterator[Source]:
    """Open a ROOT file for reading; raises UserError for other files, DamagedFileError for a truncated file."""
    if isinstance(path, Path) and not path.is_file():
        raise UserError(_no_file(path))
    if not is_root(path):
        if has_traces(path):
            raise DamagedFileError(f"'{path}' is damaged: it has lost the header of a ROOT file; get it again")
        raise UserError(f"'{path}' is not a ROOT file: {_instead_of(str(path))}")
    with guarded:
        with damage(f"'{path}'"):
            file = _opened(path)
        with file:
            source = Source(path, file)
            with damage(f"'{path}'"):
                _check_size(source)
                _fill(source)
            yield source


def _no_file(path: Path) -> str:
    if path.is_dir():
        return f"'{path}' is a folder: name a file in it"
    if path.exists():
        return f"'{path}' is a pipe or a device, of which only the next bytes can be read: write it to a file first"
    return f"no such file: '{path}'"


def _opened(path: Location) -> Any:
    ours = {"object_cache": None, "array_cache": None, "custom_classes": own_classes(), "minimal_ttree_metadata": False}
    if isinstance(path, Remote):  # as a dict: in a string, uproot takes what follows a colon for an object's name
        return uproot.open({str(path): None}, handler=RemoteSource, remote=path, **ours)
    return uproot.open(path, handler=LocalSource, **ours)


def _check_size(source: Source) -> None:
    """Raise ValueError where the file is shorter than its header says: the missing end might never be read."""
    size, whole = source.path.stat().st_size, int(source.file.file.fEND)
    if size < whole:
        raise ValueError(f"it ends after {size} of {whole} bytes; get it again")


def _fill(source: Source) -> None:
    """Sort the latest cycles of a file's keys into trees, folders and other objects."""
    cycles: dict[str, list[Any]] = {}
    trees: dict[str, uproot.reading.ReadOnlyKey] = {}
    for name, key in _keys(source.file):
        cycles.setdefault(name, []).append(key)
    for name, keys in cycles.items():
        *older, latest = sorted(keys, key=lambda key: abs(int(key.fCycle)))
        source.keys[name] = latest
        source.older |= {f"{name};{key.fCycle}": key for key in older}
        if latest.fClassName in ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple"):
            trees[name] = latest
        elif latest.fClassName.startswith("TDirectory"):
            source.folders[name] = str(latest.fTitle or "")
        else:
            source.objects.append(name)
            source.kinds[name] = str(latest.fClassName)
    source.trees = _Trees(source.path, trees)


def _keys(directory: Any) -> Iterator[tuple[str, Any]]:
    """All keys by path, without uproot's lookup by name, which parses slashes, colons and semicolons."""
    for key in directory._keys:
        yield key.fName, key
        if key.fClassName in ("TDirectory", "TDirectoryFile"):
            yield from ((f"{key.fName}/{name}", inner) for name, inner in _keys(key.get()))


def _holders(source: Any) -> Iterator[tuple[str, Any]]:
    """Name and branch for every branch of a TTree with values."""
    for branch in source.itervalues(recursive=True):
        # A branch with sub-branches groups them; the only value it may hold is their counter.
        if not branch.branches:
            yield branch.name, branch


def _paths(above: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Path and branch for every branch of a TTree with values."""
    for branch in above.branches:
        here = (*path, branch.name)
        if branch.branches:
            yield from _paths(branch, here)
        else:
            yield "/".join(here), branch


def _full_names(above: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The names that ROOT gives branches, by their names and by their paths: only behind a dot they have that above."""
    for branch in above.branches:
        name = str(branch.name)
        here = (*path, name)
        if branch.branches:
            yield from _full_names(branch, here)
        elif path and not name.startswith((f"{path[0].removesuffix('.')}.", f"{path[0].removesuffix('_')}_")):
            full = f"{path[0].removesuffix('.')}.{name}"
            yield from ((name, full), ("/".join(here), full))


def _structure_of(found: Any, entries: int) -> Structure | None:
    """The structures that a branch with these entries stores, if uproot can read them."""
    if found.num_entries != entries or found.member("fFileName", none_if_missing=True):
        return None
    try:
        return structure_of(found)
    except Exception as error:  # uproot raises anything where it can't interpret a branch
        if not is_of_bytes(error):
            raise
        return None


def _described_as(name: str, found: Any, entries: int) -> Branch | Unwritable:
    try:
        return _describe(name, found, entries)
    except Exception as error:  # uproot raises anything where it can't interpret a branch
        if not is_of_bytes(error):
            raise
        return Unwritable(name, line_of(error))


def _describe(name: str, found: Any, entries: int) -> Branch | Unwritable:
    """The branch of a tree with these entries, or the reason why uproot can't write one like it."""
    if why := _unreadable(found, entries):
        return Unwritable(name, why)
    interpretation = interpretation_of(found)
    if not isinstance(interpretation, (uproot.AsDtype, uproot.AsJagged, uproot.AsStrings)):
        return Unwritable(name, f"uproot writes no {short(found.typename)}")
    if isinstance(interpretation, uproot.AsStrings) and found.count_branch is not None:
        return Unwritable(name, "uproot reads the texts of several objects as one")
    if found.streamer is not None and name.endswith("fBits"):
        # TObject::Streamer adds two bytes to fBits of objects that a TRef refers to.
        return Unwritable(name, "uproot reads the bits of a TObject wrongly where references point to it")
    form = interpretation.awkward_form(found.file)
    kind = kind_of(form)
    if kind is None:
        return Unwritable(name, f"a TTree written by uproot holds no {short(form.type)}")
    return Branch(name, *kind, _counter(found) if kind[1] else None)


def _unreadable(found: Any, entries: int) -> str | None:
    """The reason why a branch of a tree with these entries can't be read or written, if there is one."""
    if found.num_entries != entries:
        return f"it has {counted(found.num_entries, 'entries')}, and its tree {entries:,}"
    if elsewhere := found.member("fFileName", none_if_missing=True):
        return f"its values are in the file '{short(elsewhere)}'"
    return "uproot writes no branch of several leaves" if len(found.member("fLeaves")) > 1 else None


def _counter(branch: Any) -> str | None:
    """The name of the branch that counts a jagged one; its leaf may have another branch's name."""
    counter = branch.count_branch
    # A counter with sub-branches counts these, and has no values that could be carried.
    return None if counter is None or counter.branches else str(counter.name)


@dataclass(frozen=True)
class _Unpacked:
    """The entries [start, stop) of one basket or cluster, of which `part` gives some, in so many bytes of memory."""

    start: int
    stop: int
    part: Callable[[int, int], ak.Array]
    nbytes: int

    @classmethod
    def of(cls, start: int, stop: int, array: ak.Array, room: Room) -> _Unpacked:
        """Keep these entries: many lists of plain numbers in a room, others in memory."""
        parts = parts_of_lists(array) if array.nbytes > LARGE else None
        if parts is None:
            return cls(start, stop, lambda first, last: array[first:last], array.nbytes)
        held = HeldLists(room, parts[0], parts[1] - parts[1][0])
        return cls(start, stop, lambda first, last: lists_of(*held.take(first, last)), 0)


def _events_of(values: Array, ends: Counts | None, part: _Part | None) -> ak.Array:
    """Numbers, arrays or a part of structures as events."""
    column = part.structure.number(part.number, values) if part else values
    return ak.from_numpy(column, regulararray=True) if ends is None else lists_of(column, ends)


def _read(found: Any, part: _Part | None, start: int, stop: int) -> ak.Array:
    if isinstance(found, Leaf):
        return found.read(start, stop)
    read_as = interpretation_of_member(part.structure, part.number) if part else interpretation_of(found)
    return found.array(read_as, start, stop, array_cache=None)


def _as_written(thing: Any) -> Any:
    """An object written by uproot and read again: uproot and ROOT store different versions of a class."""
    file = uproot.recreate(buffer := io.BytesIO())  # uproot closes the buffer with the file: too early
    file["x"] = thing
    with uproot.open(io.BytesIO(buffer.getvalue()), custom_classes=own_classes()) as written:
        return written["x"]


def _facts(thing: Any) -> Iterator[bytes]:
    """The bytes of all members of an object, but for those that ROOT changes when it reads and writes it."""
    if isinstance(thing, uproot.Model) and not isinstance(thing, str):
        yield thing.classname.encode()
        members = (value for name, value in sorted(thing.members.items()) if name not in _IN_MEMORY)
        for part in (*thing.bases, *members, getattr(thing, "_data", ())):  # arrays and lists have _data
            yield from _facts(part)
    elif isinstance(thing, np.ndarray):
        yield np.ascontiguousarray(thing, thing.dtype.newbyteorder("<")).tobytes()
    elif isinstance(thing, Iterable) and not isinstance(thing, str | bytes):
        for part in thing:
            yield from _facts(part)
    else:
        yield str(thing).encode()
