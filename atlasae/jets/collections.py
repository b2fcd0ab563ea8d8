"""What jets are called in a tree: collections, their branches, units and dtypes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from atlasae.errors import UserError
from atlasae.files.branches import LIST, Branch
from atlasae.files.leaf_names import plain

DIMENSIONFUL = frozenset({"pt", "m", "E", "px", "py", "pz"})

MEV_PER_UNIT = {"MeV": 1.0, "GeV": 1000.0, "TeV": 1_000_000.0}

MOST_BITS = 52  # of the mantissa of a float64


def read_units(given: str | None) -> str | None:
    """The units of this name, however it is written; raises UserError."""
    if given is None or given in MEV_PER_UNIT:
        return given
    known = {name.lower(): name for name in MEV_PER_UNIT}
    if not isinstance(given, str) or given.lower() not in known:
        raise UserError(f"units {given!r} are none of pt and m: give one of {', '.join(MEV_PER_UNIT)}")
    return known[given.lower()]


@dataclass(frozen=True)
class Rounding:
    """To so many bits of the mantissa, or, where `bits` is none, to origin + k step in the unit of the branch."""

    bits: int | None = None
    origin: float = 0.0
    step: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for what rounds to nothing."""
        grid = math.isfinite(self.origin) and 0 < self.step < math.inf
        if not (grid if self.bits is None else 0 <= self.bits <= MOST_BITS):
            raise ValueError(f"{self} is none")


@dataclass(frozen=True)
class Collection:
    """One set of jets in a tree: which branch holds which variable, in which units."""

    name: str
    prefix: str
    branches: dict[str, str]
    dtypes: dict[str, str]
    jagged: bool
    counter: str | None = None
    units: str | None = None
    words: int = 3
    terms: list[dict[str, Any]] | None = None  # of a list of variables that are no four-momentum
    packed: bool = False  # into one branch of bytes, whose jets per event are told by their counter
    exact_prefix: str | None = None  # of the exact branches, where it is not the prefix and `exact_`
    roundings: dict[str, Rounding] | None = None  # of the variables that the input has rounded

    @property
    def variables(self) -> tuple[str, ...]:
        """The four variables in the order of the layout, for instance pt, eta, phi, m."""
        return tuple(self.branches)

    @property
    def holds_jets(self) -> bool:
        """Whether its variables are a four-momentum."""
        return self.terms is None

    @property
    def coded(self) -> tuple[str, ...]:
        """The variables that a codec encodes: pt, eta, phi and m of jets, whatever is stored of them."""
        return ("pt", "eta", "phi", "m") if self.holds_jets else self.variables

    @property
    def layout(self) -> str:
        """How its jets are stored, as `--layout` has it."""
        return "packed" if self.packed else "floats"

    @property
    def told_by_counter(self) -> bool:
        """Whether nothing but a counter tells how many jets an event has."""
        return self.packed and self.jagged

    @property
    def latents(self) -> tuple[str, ...]:
        """The names of the branches that replace the variables: three of float32 for jets, or one of bytes."""
        if self.packed:
            return (f"{self.prefix}packed",)
        return tuple(f"{self.prefix}z{j}" for j in range(self.words))

    @property
    def exact(self) -> dict[str, str]:
        """The branches of the jets kept as they were: index in the event, then the originals; none if packed."""
        if self.packed:
            return {}
        exact = self.exact_prefix or f"{self.prefix}exact_"
        kept = {v: f"{exact}{v.removeprefix(self.prefix)}" for v in self.branches}
        return {"index": f"{exact}index"} | kept

    def settled(self, units: str) -> "Collection":
        """The same collection with its units known."""
        return replace(self, units=units)

    @property
    def made_counter(self) -> str:
        """The counter that the exact branches share, or that of the bytes."""
        return f"n{self.prefix}{'packed' if self.packed else 'exact'}"


def name_counters(
    collections: Sequence[Collection],
    carried: Sequence[Branch],
    taken: set[str],
    places: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The counter of every jagged branch that compressing or decompressing may write.

    Branches keep the counter they had. One is made for those that had none (vectors, RNTuple fields), of a name that
    is not `taken`; a collection's branches share theirs, and so do the members of an RNTuple's records, which `places`
    tells.
    """
    counters: dict[str, str] = {}
    names = _CounterNames(set(taken), places or {})
    for collection in collections:
        if collection.jagged:
            first = next(iter(collection.branches.values()))
            counter = collection.counter or names.counting(first, collection.name)
            counters |= dict.fromkeys([*collection.latents, *collection.branches.values()], counter)
        counters |= dict.fromkeys(collection.exact.values() or collection.latents, names.made(collection.made_counter))
    for branch in carried:
        if branch.jagged:
            counters[branch.name] = branch.counter or names.counting(branch.name, branch.name)
    return counters


@dataclass
class _CounterNames:
    """Makes names for counters, other than those in use; members of the same records share one."""

    used: set[str]
    places: Mapping[str, str]
    of_records: dict[str, str] = field(default_factory=dict)

    def made(self, name: str) -> str:
        # ROOT looks for counters by what stands in brackets, and its Snapshot crashes on those with dots.
        name = plain(name).replace(".", "_")
        while name in self.used:
            name += "_"
        self.used.add(name)
        return name

    def counting(self, branch: str, name: str) -> str:
        records, listed, _ = self.places.get(branch, "").partition(f"{LIST}.")
        if not listed:
            return self.made(f"n{name}")
        if records not in self.of_records:
            self.of_records[records] = self.made(f"n{records}")
        return self.of_records[records]


def in_records(collection: Collection) -> Collection:
    """The collection as an RNTuple can hold it: exact branches of jets in records get records of their own."""
    if not any("." in name for name in collection.branches.values()):
        return collection
    return replace(collection, exact_prefix=f"{collection.prefix.replace('.', '_')}exact.")


def made_places(collection: Collection, places: Mapping[str, str]) -> dict[str, str]:
    """Where in an RNTuple the branches stand that stand in for a collection: latents beside the variables."""
    found = {}
    records, dot, _ = collection.prefix.rpartition(".")
    if dot:
        steps = places[next(iter(collection.branches.values()))].split(".")[: records.count(".") + 1]
        found = {name: ".".join([*steps, name.removeprefix(records + dot)]) for name in collection.latents}
    if collection.exact_prefix:
        exact = collection.exact_prefix
        found |= {name: name.replace(exact, exact.replace(".", f"{LIST}."), 1) for name in collection.exact.values()}
    return found


def stand_ins(collection: Collection, counters: Mapping[str, str]) -> list[str]:
    """The branches that stand in for a collection: latents, exact branches, and the counters made for them."""
    names = [*collection.latents, *collection.exact.values()]
    names.append(counters[names[-1]])
    if collection.jagged and collection.counter is None:
        names.append(counters[next(iter(collection.branches.values()))])
    return names


def lone_counters(
    collections: Sequence[Collection], carried: Sequence[Branch], counters: Mapping[str, str]
) -> dict[str, str]:
    """The counters of packed jets that no other branch brings along, each with one of the branches it counts."""
    shared = {counters[branch.name] for branch in carried if branch.jagged}
    first = [next(iter(c.branches.values())) for c in collections if c.told_by_counter]
    return {counters[name]: name for name in first if counters[name] not in shared}
