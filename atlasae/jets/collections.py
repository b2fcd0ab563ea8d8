"""Collections: the branches, dtypes, counters and units of a set of jets in a tree."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

from atlasae.errors import UserError
from atlasae.files.branches import LIST, Branch, plain
from atlasae.jets.resolution import Resolution

MEV_PER_UNIT = {"MeV": 1.0, "GeV": 1000.0, "TeV": 1_000_000.0}

MOST_BITS = 52  # bits of the mantissa of a float64

# What a name has that is not of an analysis's usual jets: truth, other radii, parts of jets, other objects.
_SPECIAL = re.compile(
    "gen|truth|true|parton|fat|large|sub|group|soft|trim|prun|ak8|ak1\\d|a[kt]*kt1\\d|ca\\d|track|trk|tau|corrt1|"
    "electron|muon|photon|lepton|particle",
    re.IGNORECASE,
)


def read_units(given: str | None) -> str | None:
    """The unit of this name in any case (`gev` is GeV), or None if None is given; raises UserError for other names."""
    if given is None or given in MEV_PER_UNIT:
        return given
    known = {name.lower(): name for name in MEV_PER_UNIT}
    if not isinstance(given, str) or given.lower() not in known:
        raise UserError(f"units {given!r} are none of pt and m: give one of {', '.join(MEV_PER_UNIT)}")
    return known[given.lower()]


@dataclass(frozen=True)
class Rounding:
    """How an input was rounded: to `bits` bits of the mantissa or, if None, to origin + k step in the branch's unit."""

    bits: int | None = None
    origin: float = 0.0
    step: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError unless `bits` is in 0...52, or origin and step are finite and the step positive."""
        grid = math.isfinite(self.origin) and 0 < self.step < math.inf
        if not (grid if self.bits is None else 0 <= self.bits <= MOST_BITS):
            raise ValueError(f"{self} has bits, origin or step out of range")


class Term(TypedDict, total=False):
    """A variable of a list as a run stores it: the fields of `Variable`."""

    branch: str
    coordinate: str
    precision: float
    scale: float
    categories: Sequence[float]
    full_turn: bool


@dataclass(frozen=True)
class Collection:
    """One set of jets in a tree: its branches by variable, their dtypes and counter, and the units of pt and m."""

    name: str
    prefix: str
    branches: dict[str, str]
    dtypes: dict[str, str]
    jagged: bool
    counter: str | None = None
    units: str | None = None
    words: int = 3
    terms: list[Term] | None = None  # `VariableList.to_json`, for a list of variables instead of jets
    packed: bool = False  # stored in one branch of bytes (`--layout packed`); its counter gives the jets per event
    exact_prefix: str | None = None  # prefix of the exact branches, if it is not `prefix` + `exact_`
    roundings: dict[str, Rounding] | None = None  # by variable, where the input was rounded
    array: bool = False  # entries are arrays, of as many jets as in every other
    shared: tuple[str, ...] = ()  # variables whose branches are of another collection, in which they are coded
    full_turn: bool = False  # phi is in [0, 2 pi), not in [-pi, pi)
    beside: str = (
        ""  # the collection of whose jets it has other numbers (`--whole-jets`), or which it is a variation of
    )
    resolutions: dict[str, Resolution] | None = None  # by variable, where it is the unit of bounds and errors
    halves: tuple[str, ...] = ()  # variables of float16: their jets are within bounds in that type, too

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables in the order of the layout, for instance pt, eta, phi, m."""
        return tuple(self.branches)

    @property
    def own(self) -> list[str]:
        """The branches that no other collection holds."""
        return [name for variable, name in self.branches.items() if variable not in self.shared]

    @property
    def holds_jets(self) -> bool:
        """Whether its variables are a four-momentum."""
        return self.terms is None

    @property
    def has_others(self) -> bool:
        """Whether its variables are other numbers of the jets of another collection."""
        return bool(self.beside) and not self.holds_jets

    @property
    def coded(self) -> tuple[str, ...]:
        """The variables that a codec encodes: pt, eta, phi and m of jets, whatever is stored of them."""
        return ("pt", "eta", "phi", "m") if self.holds_jets else self.variables

    @property
    def stores_coded(self) -> bool:
        """Whether pt, eta, phi and m are what is stored, so that decoded values can be rounded as stored ones are."""
        return self.holds_jets and self.variables == self.coded

    @property
    def resolution_texts(self) -> dict[str, str] | None:
        """N:S:C of the variables whose bounds and errors are in units of the resolution, or None."""
        return {v: str(found) for v, found in self.resolutions.items()} if self.resolutions else None

    def with_only(self, variables: Sequence[str]) -> "Collection":
        """The collection with some of its variables, of which no more is known than their branches and dtypes."""
        branches, dtypes = ({name: of[name] for name in variables} for of in (self.branches, self.dtypes))
        return replace(self, branches=branches, dtypes=dtypes)

    @property
    def layout(self) -> str:
        """How its jets are stored, as `--layout` has it."""
        return "packed" if self.packed else "floats"

    @property
    def told_by_counter(self) -> bool:
        """Whether nothing but a counter tells how many jets an event has."""
        return self.packed and self.jagged and not self.beside

    @property
    def latents(self) -> tuple[str, ...]:
        """The names of the branches that replace the variables: one float32 per word (3 for jets), or one of bytes."""
        if self.packed:
            return (f"{self.prefix}{'columns' if self.beside else 'packed'}",)
        return tuple(f"{self.prefix}z{j}" for j in range(self.words))

    @property
    def exact(self) -> dict[str, str]:
        """The branches of exact jets: the index in the event, then each variable; empty if packed."""
        if self.packed:
            return {}
        exact = self.exact_prefix or f"{self.prefix}exact_"
        kept = {v: f"{exact}{v.removeprefix(self.prefix)}" for v in self.branches}
        return {"index": f"{exact}index"} | kept

    def unit_of(self, variable: str) -> str:
        """The unit of a variable; empty for eta and phi, and where it is not known."""
        return "" if variable in ("eta", "phi") else self.units or ""

    def settled(self, units: str) -> "Collection":
        """A copy of the collection with these units."""
        return replace(self, units=units)

    @property
    def made_counter(self) -> str:
        """The counter that the exact branches share, or that of the bytes."""
        return f"n{self.prefix}{'columns' if self.beside else 'packed' if self.packed else 'exact'}"


def as_its_jets(variation: Collection, jets: Collection) -> Collection:
    """The variation with what it has in common with its jets: units, and the range of phi."""
    return replace(variation, units=jets.units, full_turn=jets.full_turn)


def main_collection(jets: Mapping[str, int]) -> str:
    """The collection that an analysis means by `the jets`, from the number of jets by name; raises ValueError if none.

    It is the one with most jets of those whose name tells of no other kind (truth, large radius, subjets, taus); of
    several, the one with the shortest name, and of those of several trees (`nominal/Jet`) the first.

    >>> main_collection({"FatJet": 0, "GenJet": 127, "Jet": 188, "SubJet": 300})
    'Jet'
    """
    usual = [name for name in jets if not _SPECIAL.search(name)]
    return min(usual or jets, key=lambda name: (-jets[name], len(name.rpartition("/")[2])))


def jet_branches(collections: Sequence[Collection]) -> list[str]:
    """The branches of the variables of collections."""
    return [name for collection in collections for name in collection.branches.values()]


def name_counters(
    collections: Sequence[Collection],
    carried: Sequence[Branch],
    taken: set[str],
    places: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The counter of every jagged branch that compression or decompression may write, by branch.

    Branches keep the counter they had. The others (vectors, RNTuple fields) get a new one, whose name is not in
    `taken`: one per collection, and one per collection of records of an RNTuple; `places` maps branches to their paths
    in the RNTuple.
    """
    counters: dict[str, str] = {}
    names = _CounterNames(set(taken), places or {})
    for collection in collections:
        if collection.jagged:
            first = next(iter(collection.branches.values()))
            jets = [counters[name] for c in collections if c.name == collection.beside for name in c.latents]
            counter = collection.counter or (jets[0] if jets else names.counting(first, collection.name))
            counters |= dict.fromkeys([*collection.latents, *collection.branches.values()], counter)
        counters |= dict.fromkeys(collection.exact.values() or collection.latents, names.made(collection.made_counter))
    for branch in carried:
        if branch.jagged:
            counters[branch.name] = branch.counter or names.counting(branch.name, branch.name)
    return counters


@dataclass
class _CounterNames:
    """Makes names of counters that are not in use yet; members of the same records share one."""

    used: set[str]
    places: Mapping[str, str]
    of_records: dict[str, str] = field(default_factory=dict)

    def made(self, name: str) -> str:
        # ROOT takes the counter from the brackets of the leaf's title; RDataFrame's Snapshot crashes on dots in it.
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


def in_records(collection: Collection, always: bool = False) -> Collection:
    """The collection as an RNTuple can hold it: if its jets are members of records, so are its exact branches.

    With `always`, these are in any case: five lists with the same lengths then share one column for them. Packed jets
    are beside the records, in a branch whose name has no dots.
    """
    if collection.packed:
        return replace(collection, prefix=collection.prefix.replace(".", "_"))
    if not (always or any("." in name for name in collection.branches.values())):
        return collection
    return replace(collection, exact_prefix=f"{collection.prefix.replace('.', '_')}exact.")


def made_places(collection: Collection, places: Mapping[str, str]) -> dict[str, str]:
    """The paths in an RNTuple of a collection's stand-ins, by branch: latents are members of the variables' records."""
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
    """The stand-ins of a collection: latents, exact branches, and the counters made for them."""
    names = [*collection.latents, *collection.exact.values()]
    names.append(counters[names[-1]])
    if collection.jagged and collection.counter is None and not collection.beside:
        names.append(counters[next(iter(collection.branches.values()))])
    return names


def lone_counters(
    collections: Sequence[Collection], carried: Sequence[Branch], counters: Mapping[str, str]
) -> dict[str, str]:
    """The counters of packed jets that no carried branch shares, each with the first branch of its collection."""
    shared = {counters[branch.name] for branch in carried if branch.jagged}
    first = [next(iter(c.branches.values())) for c in collections if c.told_by_counter]
    return {counters[name]: name for name in first if counters[name] not in shared}
