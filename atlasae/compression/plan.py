"""The options of `compress`, and the plan that follows from them: what becomes of each branch."""

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

import awkward as ak
import numpy as np

from atlasae.errors import UserError
from atlasae.files.branches import FOLDER, LIST, Branch, Unwritable, listed
from atlasae.files.checksums import checksum_bytes
from atlasae.files.remote import Location, Named, local
from atlasae.files.trees import Tree
from atlasae.files.writing import UNNAMED, can_name, parse_compression
from atlasae.jets.collections import Collection, in_records, lone_counters, made_places, name_counters, read_units
from atlasae.jets.inputs import Opened, event_branch, find_in, open_input
from atlasae.jets.names import spelled, tells_of_same
from atlasae.jets.precision import PROMISED, Precision
from atlasae.jets.recognition import (
    columns_beside,
    list_collection,
    match_branches,
    read_patterns,
)  # fmt: skip
from atlasae.jets.variables import read_variables
from atlasae.report import counted, some

_COUNTED = 100_000  # entries whose lists are counted at once
_BYTES = {"b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}
_NTUPLE_NAME = re.compile(r"[^./ \\\x00-\x1f\x7f]+")  # ROOT::Internal::EnsureValidNameForRNTuple
_NO_NAME = "where ROOT allows no dots, slashes, blanks, backslashes or control signs"
_WORDS: dict[str, tuple[str, dict[Any, bool | None]]] = {  # of the command line: the fields of `Options` they set
    "layout": ("packed", {"floats": False, "packed": True}),
    "format": ("rntuple", {"ttree": False, "rntuple": True, None: None}),
    **{f"no_{name}": (name, {True: False, False: True}) for name in ("context", "dither", "read_back")},
}

_Given = TypeVar("_Given")
_Kept = TypeVar("_Kept")


class Taken(Generic[_Given, _Kept]):
    """A field that accepts values of several types and stores the result of `read` on them."""

    def __init__(self, read: Callable[[_Given], _Kept], default: _Kept) -> None:
        self.read, self.default = read, default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> _Kept: ...
    @overload
    def __get__(self, instance: object, owner: type) -> _Kept: ...
    def __get__(self, instance: object | None, owner: type) -> _Kept:
        kept: _Kept = self.default if instance is None else instance.__dict__[self.name]
        return kept

    def __set__(self, instance: object, given: _Given) -> None:
        instance.__dict__[self.name] = self.read(given)


def _file(given: Named | None) -> Path | None:
    return None if given is None else local(given, "copy it here")


def _model(given: str | PathLike[str]) -> str:
    if not isinstance(given, str | PathLike):
        raise UserError(f"model {given!r} is none: give a model file, `default` or `self`")
    return fspath(given)


def _size(given: int | str) -> int:
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise UserError(f"step_size {given!r} is no size: give one such as 20MB, or a number of bytes")
    return parse_size(str(given), "step_size")


@dataclass(frozen=True)
class Options:
    """The options of `compress_file`, as in `atlasae compress --help`; raises UserError for invalid values.

    Args:
        precision: the largest error: 1e-3, "1e-3", "resolution/20", {"pt": 1e-3, ...}, "full", "none" or a Precision.
        tree: the tree to compress; by default all that hold jets.
        jets: which jets: a prefix, `Jet_{pt,eta,phi,mass}` or four names; several in a list. By default all; `*` takes
            all four-momenta, of electrons and muons too.
        units: of pt and m, `MeV`, `GeV` or `TeV`; by default found from names and values together.
        variables: a TOML file that lists branches, each with its precision, to compress instead of jets.
        model: a model file (or one of tables, for packed), `default` or `self`.
        compression: of carried branches, such as "zstd:5"; by default as in the input.
        rntuple: whether to write an RNTuple or a TTree; by default what the input is, if its pages can be copied.
        packed: whether to pack the jets of a chunk into bytes, instead of three floats per jet.
        context: whether packed jets are predicted from the jets before them in their event: smaller, but slower.
        dither: whether the grid is shifted from jet to jet, so that spectra have no comb; else equal jets decode alike.
        only_jets: whether to leave out everything but the jets.
        drop: names or wildcards of branches to leave out; several in a list.
        drop_unwritable: whether to leave out branches and objects that can't be written, with a note.
        step_size: uncompressed size of the events of a chunk: bytes, or "20MB".
        force: whether to replace an output that exists.
        read_back: whether to read the output back and compare it with the input, before it gets its name.
        part: the part of each tree to compress: its number, from 0 on, and the number of parts; by default all.
        whole_jets: collections (names or wildcards) of which all other numbers of their jets are packed, too.
        rewrite: whether to write everything anew, also what could be copied byte for byte.

    >>> atlasae.Options(precision=1e-4, jets="Jet_", step_size="20 MB").jets
    ('Jet_',)
    """

    precision: Taken[Precision | float | str | Mapping[str, float], Precision] = Taken(
        Precision.read, Precision.parse("1e-3")
    )
    tree: str | None = None
    jets: Taken[str | Iterable[str], tuple[str, ...]] = Taken(read_patterns, ())
    units: Taken[str | None, str | None] = Taken(read_units, None)
    variables: Taken[Named | None, Path | None] = Taken(_file, None)
    model: Taken[str | PathLike[str], str] = Taken(_model, "default")
    compression: str | None = None
    rntuple: bool | None = None
    packed: bool = False
    context: bool = True
    dither: bool = True
    only_jets: bool = False
    drop: Taken[str | Iterable[str], tuple[str, ...]] = Taken(read_patterns, ())
    drop_unwritable: bool = False
    step_size: Taken[int | str, int] = Taken(_size, 10_000_000)
    force: bool = False
    read_back: bool = True
    part: tuple[int, int] | None = None
    rewrite: bool = False
    whole_jets: Taken[str | Iterable[str], tuple[str, ...]] = Taken(read_patterns, ())

    def __post_init__(self) -> None:
        for option in fields(self):
            if isinstance(option.default, bool) and not isinstance(given := getattr(self, option.name), bool):
                raise UserError(f"{option.name} {given!r} is neither True nor False")
        if not isinstance(self.rntuple, bool | None):
            raise UserError(f"rntuple {self.rntuple!r} is neither True nor False, nor None for what the input is")
        for name in ("tree", "compression"):
            if not isinstance(given := getattr(self, name), str | None):
                raise UserError(f"{name} {given!r} is no text")
        if self.compression:
            parse_compression(self.compression)
        self._check_whole_jets()

    def _check_whole_jets(self) -> None:
        """Raise UserError for options that do not go with `whole_jets`, or need it."""
        if self.precision.columns and not self.whole_jets:
            name = self.precision.columns[0][0]
            raise UserError(
                f"--precision '{self.precision.text}' names '{name}', which is none of {', '.join(PROMISED)}: "
                "add --whole-jets, which compresses other numbers of jets, too"
            )
        if self.whole_jets and self.variables:
            raise UserError("--whole-jets finds the numbers of jets by itself: leave out --variables")

    @property
    def layout(self) -> str:
        """The name of the layout: packed, cells, list or floats."""
        if self.packed:
            return "cells" if self.variables else "packed"
        return "list" if self.variables else "floats"

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> Self:
        """Options by name; also `layout`, `format` and `no_...` as on the command line. Raises UserError for others."""
        known = [option.name for option in fields(cls)]
        given = dict[str, Any]()
        for word, value in words.items():
            name, meanings = _WORDS.get(word, (word, None))
            if name not in known:
                near = difflib.get_close_matches(word, [*known, *_WORDS], n=3) or known
                raise UserError(f"{word!r} is no option: nearest are {', '.join(near)}")
            if meanings and value not in meanings:
                raise UserError(f"{word} {value!r} is unknown: give one of {', '.join(map(repr, meanings))}")
            given[name] = meanings[value] if meanings else value
        return cls(**given)

    @property
    def rounds(self) -> bool:
        """Whether decoded values can be rounded as stored ones are: within bounds that are not of the resolution."""
        return not (self.variables or self.precision.resolutions or self.precision.unbounded)

    @property
    def digest(self) -> str:
        """A digest of all that the output depends on except the input; raises OSError for an unreadable file."""
        files = [Path(name).read_bytes() for name in (self.model, self.variables) if name and Path(name).is_file()]
        return f"{checksum_bytes(str(replace(self, force=False)).encode(), *files):016x}"


def parse_size(text: str, name: str) -> int:
    """The bytes of a size such as `20MB` or `1.5 GB`; raises UserError, which names the option `name`.

    >>> parse_size("20 kB", "step_size")
    20000
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmg]?b)?\s*", text, re.ASCII | re.IGNORECASE)
    size = float(match[1]) * _BYTES[(match[2] or "b").lower()] if match else 0.0
    if not size > 0:
        raise UserError(f"{name} '{text}' is no size: give one such as 20MB")
    return max(1, int(size))


@dataclass(frozen=True)
class Plan:
    """Which branches are compressed, which are carried, and which are left out."""

    collections: list[Collection]
    carried: list[Branch]
    originals: list[str]
    counters: dict[str, str]
    dropped: list[str]
    notes: list[str]
    aliases: dict[str, str] = field(default_factory=dict)  # second name of a field of an RNTuple -> name of the field
    places: dict[str, str] = field(default_factory=dict)  # paths of the members of its records
    counted: dict[str, str] = field(default_factory=dict)  # branches whose counter is in the input -> the counter
    compression: Any = None  # of carried branches: by option or as in the input; None for a table
    grafted: bool = False  # whether all but the jets is copied byte for byte
    recompression: Any = None  # of carried baskets, where it was asked for

    @property
    def read(self) -> list[str]:
        """The branches to read: the originals without aliases."""
        return [name for name in self.originals if name not in self.aliases]

    @property
    def places_written(self) -> dict[str, str]:
        """The paths in an RNTuple of all that is written to its records."""
        made = (made_places(collection, self.places) for collection in self.collections)
        return self.places | {name: place for found in made for name, place in found.items()}

    @property
    def lone_counters(self) -> dict[str, str]:
        """Counters of packed jets that are written as branches of their own, each with a branch that it counts."""
        return lone_counters(self.collections, self.carried, self.counters)


@contextmanager
def open_for(path: Location, options: Options) -> Iterator[Opened]:
    """Open an input with the tree, jets and part that the options select."""
    names = read_variables(options.variables).names if options.variables else ()
    with open_input(path, options.tree, options.jets, names, bool(options.rntuple)) as opened:
        yield opened.in_part(*options.part) if options.part else opened


def make_plan(opened: Opened, options: Options, grafted: bool = False) -> Plan:
    """The plan for an input; raises UserError if something would be lost that the options do not allow.

    Of a `grafted` file only the jets are read: all else is copied byte for byte.
    """
    events, tree = opened.events, opened.tree_read
    _refuse_folder(opened, options)
    if not can_name(opened.tree):
        raise UserError(f"tree '{opened.tree}' can't be written: {UNNAMED}; give it another name (rootmv)")
    places, aliases = (tree.places, tree.aliases) if tree else ({}, {})
    as_it_was = tree.compression if tree else None
    collections = _collections(opened, options)
    collections += _beside(opened, collections, options)
    if grafted and options.rntuple:
        collections = [in_records(collection, always=True) for collection in collections]
    jets = {name for collection in collections for name in collection.branches.values()}
    names = _names_in(opened, collections, grafted)
    asked = match_branches(options.drop, [*names, *aliases, *(u.name for u in events.unwritable)])
    dropped = (set(names) | set(aliases) if options.only_jets else asked) - jets
    unwritable = [u for u in events.unwritable if u.name not in dropped] if not grafted else []
    if unwritable and not (options.drop_unwritable or options.only_jets):
        raise UserError(_unwritable_message(unwritable, opened.path, options))
    kept = [branch for branch in events.branches if branch.name not in dropped and branch.name not in jets]
    taken = {branch.name for branch in kept} | jets | {u.name for u in events.unwritable if grafted}
    kept = _beside_members(tree, jets) if grafted and tree else kept
    counters = name_counters(collections, kept, {*names, *taken}, places)
    implied = set(counters.values())
    carried = [branch for branch in kept if branch.name not in implied]
    _refuse_taken(collections, taken)
    if options.rntuple:
        _refuse_names([branch.name for branch in carried] + sorted(jets), places, opened)
    originals = jets | {branch.name for branch in carried}
    stay = set(names) - asked
    aliases = {name: stays for name, stays in aliases.items() if stays in originals and name not in dropped}
    return Plan(
        collections=collections,
        carried=carried,
        originals=[*(name for name in names if name in originals), *aliases],
        counters=counters,
        dropped=sorted(dropped - implied) + [u.name for u in unwritable],
        notes=[
            *_without_others(collections, options),
            *_wider(opened, collections),
            *(opened.notes if grafted else _notes(opened, options, implied, collections, aliases)),
            *_exact_beside(collections, [name for name in names if name not in dropped]),
        ],
        aliases=aliases,
        places={name: places[name] for name in (*originals, *aliases) if name in places} if options.rntuple else {},
        counted={name: counters[name] for name in names if name in originals and counters.get(name) in stay},
        compression=parse_compression(options.compression) if options.compression else as_it_was,
        grafted=grafted,
        recompression=parse_compression(options.compression) if options.compression else None,
    )


def _exact_beside(collections: Sequence[Collection], names: Sequence[str]) -> list[str]:
    """A note on what is kept bit for bit and tells more of jets than their bounds: jet_px beside jet_pt."""
    prefixes = {collection.prefix.replace(".", "_"): collection for collection in collections if collection.holds_jets}
    taken = {name for collection in collections for name in collection.branches.values()}
    found = [
        name
        for name in names
        if name not in taken
        and (read := spelled(name))
        and (jets := prefixes.get(read.prefix.replace(".", "_")))
        and read.variable not in jets.variables
    ]
    if not found:
        return []
    return [f"kept bit for bit beside jets within a bound, of which they tell more: {some(found)} (--drop)"]


def options_by_tree(options: Options, trees: Sequence[Opened]) -> list[Options]:
    """The options for each of several trees of a file: what is to be dropped need only be in one of them."""
    known = [_names_known(opened) for opened in trees]
    lists = [[p for p in options.drop if _fits(p, names) or not any(_fits(p, n) for n in known)] for names in known]
    return [replace(options, drop=tuple(drop)) for drop in lists]


def _names_known(opened: Opened) -> list[str]:
    events, aliases = opened.events, opened.tree_read.aliases if opened.tree_read else {}
    branches = [branch.name for branch in (*events.branches, *events.members)]
    return [*aliases, *branches, *(found.name for found in events.unwritable)]


def _fits(pattern: str, names: Sequence[str]) -> bool:
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names)


def _beside_members(tree: Tree, jets: set[str]) -> list[Branch]:
    """The other numbers of structures whose branches are taken out for their jets."""
    holders = {tree.holder(name) for name in jets} - jets
    return [branch for branch in tree.members if tree.holder(branch.name) in holders and branch.name not in jets]


def _names_in(opened: Opened, collections: Sequence[Collection], grafted: bool) -> list[str]:
    """The names of branches, and of members if the file is copied; else raises UserError for jets that are members."""
    names = [branch.name for branch in opened.events.branches]
    members = [branch.name for branch in opened.events.members]
    if grafted:
        return names + members
    for collection in collections:
        if inside := set(members).intersection(collection.branches.values()):
            raise UserError(
                f"'{opened.path}': '{min(inside)}' of '{collection.name}' is in a structure, which uproot can't write: "
                "only files that are copied keep such jets, without --rewrite, --only-jets, --format and RNTuples"
            )
    return names


def _refuse_folder(opened: Opened, options: Options) -> None:
    """Raise UserError if the input has a folder or object `atlasae`, whose name the output needs."""
    source = opened.source
    others = (*source.trees, *source.objects, *source.folders) if source and not options.only_jets else ()
    if any(name.partition("/")[0] == FOLDER for name in (opened.tree, *others)):
        raise UserError(
            f"'{opened.path}' has a folder or object '{FOLDER}' of its own, where atlasae is to write: "
            "give it another name (rootmv)"
        )


def leave(plan: Plan, collections: Sequence[Collection]) -> Plan:
    """The plan for a tree that is copied, where these collections and what shares their branches stay as they are."""
    out = {name for collection in collections for name in collection.own}
    left = [collection for collection in plan.collections if out & set(collection.branches.values())]
    alone = {collection.name for collection in left}
    left += [collection for collection in plan.collections if collection.beside in alone and collection not in left]
    gone = {name for c in left for name in (*c.own, *c.latents, *c.exact.values())}
    names = some(f"'{collection.name}'" for collection in left)
    return replace(
        plan,
        collections=[collection for collection in plan.collections if collection not in left],
        originals=[name for name in plan.originals if name not in gone],
        counters={name: counter for name, counter in plan.counters.items() if name not in gone},
        counted={name: counter for name, counter in plan.counted.items() if name not in gone},
        notes=[*plan.notes, f"left as they are, since they are stored in a way of their own: {names}"],
    )


def leave_columns(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan for a file that is copied, where these branches of other numbers of jets stay as they are."""
    found = [
        c.with_only([name for name in c.branches if name not in names]) if c.has_others else c for c in plan.collections
    ]
    return replace(
        plan,
        collections=[collection for collection in found if collection.branches],
        originals=[name for name in plan.originals if name not in names],
        counters={name: counter for name, counter in plan.counters.items() if name not in names},
        counted={name: counter for name, counter in plan.counted.items() if name not in names},
        notes=[*plan.notes, f"left as they are, since they are stored in a way of their own: {some(names)}"],
    )


def settle_plan(plan: Plan, collections: list[Collection]) -> Plan:
    """The plan with settled collections; the number of latents of a list of variables follows from its precision."""
    counters = dict(plan.counters)
    for before, after in zip(plan.collections, collections, strict=True):
        if after.jagged:
            counters |= dict.fromkeys(after.latents, plan.counters[before.latents[0]])
    names = set(plan.originals)
    _refuse_taken(collections, names)
    return replace(plan, collections=collections, counters=counters)


def _collections(opened: Opened, options: Options) -> list[Collection]:
    if options.packed:
        _refuse_unpacked(options)
    if options.variables is None:
        found = find_in(opened.whole, opened.where, options.jets, opened.tree)
        found = [replace(c, packed=options.packed) for c in found if not c.shared] + _variations(found, options)
        if options.rounds:
            found = [replace(c, halves=_halves(c, opened)) for c in found]
        return [in_records(c) for c in found] if options.rntuple else found
    if options.jets or options.units or options.model not in ("default", "self"):
        raise UserError("--variables goes without --jets, --units and --model: the list says all, its model is fitted")
    variables = read_variables(options.variables)
    collection = list_collection(opened.events.branches, variables.names, variables.to_json())
    found = [replace(collection, packed=options.packed)]
    return [in_records(c) for c in found] if options.rntuple else found


def _variations(found: Sequence[Collection], options: Options) -> list[Collection]:
    """The collections that share eta and phi with others, as variations of these; without bounds there are none."""
    owners = {name: c for c in found for v, name in c.branches.items() if v not in c.shared}
    pairs = [(c, owners[c.branches[c.shared[0]]]) for c in found if c.shared and not options.precision.unbounded]
    return [replace(c, packed=True, beside=jets.name) for c, jets in pairs if c.variables == jets.variables]


def _halves(collection: Collection, opened: Opened) -> tuple[str, ...]:
    """The variables that are float16 in a table and can be rounded to that: those of pt, eta, phi and m, if stored."""
    halves = opened.table.get("halves", []) if opened.table and collection.stores_coded else []
    return tuple(v for v, name in collection.branches.items() if name in halves)


def _wider(opened: Opened, collections: Sequence[Collection]) -> list[str]:
    """A note on jets of float16 that come back in another type."""
    halves = set(opened.table.get("halves", [])) if opened.table else set()
    found = [name for c in collections for v, name in c.branches.items() if name in halves and v not in c.halves]
    return [f"float16 comes back as float32, not to round twice: {some(found)}"] if found else []


def _beside(opened: Opened, collections: Sequence[Collection], options: Options) -> list[Collection]:
    """The collections of other numbers of the jets of `--whole-jets`; raises UserError for names that no jets have."""
    taken = {name for collection in collections for name in collection.branches.values()}
    found = []
    for pattern in options.whole_jets:
        if not opened.others and not any(fnmatchcase(collection.name, pattern) for collection in collections):
            names = ", ".join(f"'{collection.name}'" for collection in collections)
            raise UserError(f"--whole-jets '{pattern}' names none of {names}: give one of these, or nothing for all")
    for collection in collections:
        if not collection.beside and any(fnmatchcase(collection.name, pattern) for pattern in options.whole_jets):
            branches = [b for b in _others_of(opened, collection) if b.name not in taken]
            branches = [b for b in branches if not any(fnmatchcase(b.name, pattern) for pattern in options.drop)]
            taken |= {branch.name for branch in branches}
            found += [columns_beside(collection, branches)] if branches else []
    found = _named_freely([in_records(c) for c in found] if options.rntuple else found, _names_known(opened))
    if not opened.others:
        _refuse_unmatched(options, [name for collection in found for name in collection.branches])
    return found


def _named_freely(collections: Sequence[Collection], names: Sequence[str]) -> list[Collection]:
    """The collections of other numbers with names for their bytes that no branch has, and none of the others."""
    taken, found = set(names), list[Collection]()
    for collection in collections:
        free = collection
        while free.latents[0] in taken:
            free = replace(free, prefix=f"{free.prefix}_")
        taken.update(free.latents)
        found.append(free)
    return found


def _refuse_unmatched(options: Options, names: Sequence[str]) -> None:
    """Raise UserError for a precision of other numbers than jets have."""
    for glob, _ in options.precision.columns:
        if glob != "*" and not any(fnmatchcase(name, glob) for name in names):
            raise UserError(f"--precision names '{glob}', but no other number of jets: there are {some(names, 4)}")


def _without_others(collections: Sequence[Collection], options: Options) -> list[str]:
    """A note where `--whole-jets` has found nothing."""
    if not options.whole_jets or any(collection.has_others for collection in collections):
        return []
    return ["--whole-jets has found no other numbers of jets: branches with as many as there are jets"]


def _others_of(opened: Opened, collection: Collection) -> Iterator[Branch]:
    """The branches with as many numbers in each entry as there are jets of a collection."""
    first, branches = next(iter(collection.branches.values())), opened.events.branches
    apart = {branch.counter for branch in branches} | {event_branch(opened.events), (opened.table or {}).get("index")}
    for branch in branches:
        if branch.name not in apart and _is_shaped(branch, collection) and _is_of(opened, collection, branch, first):
            yield branch


def _is_shaped(branch: Branch, collection: Collection) -> bool:
    """Whether entries of a branch are lists, arrays or single numbers, as those of jets are."""
    dtype, array = branch.dtype.removesuffix(" array"), branch.dtype.endswith(" array")
    alike = (branch.jagged, array) == (collection.jagged and not collection.array, collection.array)
    return alike and dtype[0] in "<>|" and dtype[1] in "biuf"


def _is_of(opened: Opened, collection: Collection, branch: Branch, first: str) -> bool:
    """Whether a branch has one number for each jet: by its counter, or by its name and the lengths of its lists."""
    if branch.counter and branch.counter == collection.counter:
        return True
    if opened.tree_read and opened.tree_read.listed_with(branch.name, first):
        return True
    prefix = collection.prefix
    named = bool(prefix and branch.name.startswith(prefix)) or tells_of_same(branch.name, first)
    return named and (not collection.jagged or _same_lengths(opened, branch.name, first))


def _same_lengths(opened: Opened, name: str, jets: str) -> bool:
    """Whether the lists of a branch are as long as those of jets in all entries."""
    for start in range(0, opened.events.entries, _COUNTED):
        found = opened.events.read([name, jets], start, min(start + _COUNTED, opened.events.entries))
        if found[name].ndim != 2 or not np.array_equal(ak.num(found[name]), ak.num(found[jets])):
            return False
    return True


def _refuse_unpacked(options: Options) -> None:
    """Raise UserError for options that the packed layout does not support."""
    given = {"--model self": options.model == "self"}
    if wrong := [name for name, there in given.items() if there]:
        raise UserError(f"--layout packed packs jets by its own tables: leave out {wrong[0]}")


def _refuse_taken(collections: list[Collection], names: set[str]) -> None:
    taken = set(names)
    for collection in collections:
        made = {*collection.latents, *collection.exact.values()}
        made |= {collection.exact_prefix.removesuffix(".")} if collection.exact_prefix else set()
        if clash := sorted(made & taken):
            raise UserError(f"branch '{clash[0]}' is in the way of '{collection.name}': leave it out with --drop")
        taken |= made


def _refuse_names(names: Sequence[str], places: Mapping[str, str], opened: Opened) -> None:
    """Raise UserError for names that ROOT does not allow in an RNTuple: it would not open the file."""
    tree = opened.tree.rpartition("/")[2]
    if not _NTUPLE_NAME.fullmatch(tree):
        raise UserError(f"'{opened.path}': '{tree}' can't be the name of an RNTuple, {_NO_NAME}: write --format ttree")
    for name in names:
        members = places[name].replace(LIST, "").split(".") if name in places else [name]
        if not all(_NTUPLE_NAME.fullmatch(member) for member in members):
            message = f"'{name}' can't be a field of an RNTuple, {_NO_NAME}: write --format ttree, or leave it out"
            raise UserError(f"'{opened.path}': {message}")


def _unwritable_message(unwritable: Sequence[Unwritable], path: Location, options: Options) -> str:
    problem = f"'{path}' has {counted(len(unwritable), 'branches')} that can't be written: {listed(unwritable)}"
    nested = sum(u.branch is not None for u in unwritable)
    carries = f", --format rntuple carries {'them' if nested == len(unwritable) else f'{nested} of them'}"
    return f"{problem}; --drop-unwritable leaves them out{carries if nested else ''}"


def _notes(
    opened: Opened,
    options: Options,
    implied: set[str],
    collections: Sequence[Collection],
    aliases: Mapping[str, str],
) -> list[str]:
    """Notes about what uproot writes differently from the input."""
    branches = opened.events.branches
    notes = [*opened.notes]
    retyped = [branch.name for branch in branches if branch.name in implied and branch.dtype != "<i4"]
    if retyped:
        notes.append(f"counters are written as int32: {', '.join(retyped)}")
    known = {branch.name for branch in branches}
    made = [name for name in implied if name not in known and not name.endswith(("exact", "packed"))]
    if made and not options.rntuple and opened.source:
        notes.append(f"vectors are written as counted arrays; {len(made)} counters such as {sorted(made)[0]} are new")
    notes += [] if options.rntuple else _notes_of_trees(opened, options)
    if opened.tree_read and opened.tree_read.is_rntuple:
        notes += _notes_of_rntuple(opened.tree_read, bool(options.rntuple), aliases)
    return notes


def _notes_of_trees(opened: Opened, options: Options) -> list[str]:
    """A note with the RNTuples that become TTrees: the one that is compressed and those that are copied."""
    others = opened.source.trees.values() if opened.source else ()
    copied = not (options.only_jets or (opened.part and opened.part.number))
    names = [t.name for t in others if t.is_rntuple and (copied or t.name == opened.tree) and t.branches]
    return [f"RNTuples are written as TTrees: {some(names)}; --format rntuple keeps them"] if names else []


def _notes_of_rntuple(tree: Tree, rntuple: bool, aliases: Mapping[str, str]) -> list[str]:
    """Notes about what of an RNTuple is written differently from the input."""
    notes = []
    if members := sorted(set(tree.places) - set(tree.hidden) - set(aliases)):
        kept = "stay records, of classes without a name" if rntuple else f"become branches, such as {members[0]}"
        notes.append(f"records {kept}: {some(dict.fromkeys(name.partition('.')[0] for name in members))}")
    if unnamed := dict.fromkeys(name.partition(".")[0] for name in tree.hidden):
        notes.append(f"members of collections without a name come by that of their projection: {some(unnamed)}")
    if aliases:
        notes.append(f"fields by another name are written once: {some(aliases)}")
    holds = {branch.name for branch in (tree.nesting() if rntuple else tree).branches}
    if lost := [name for name in tree.types_lost if name in holds]:
        notes.append(f"numbers and lists of other C++ types are written as plain ones: {some(lost)}")
    return notes
