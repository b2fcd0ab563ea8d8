"""Which branches of a tree are jets: collections, their variables, units and dtypes."""

import fnmatch
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from atlasae.errors import UserError
from atlasae.leaf_names import plain

# How experiments spell each variable, in lower case; the first spelling is our own name for it.
SPELLINGS = {
    "pt": ("pt",),
    "eta": ("eta",),
    "phi": ("phi",),
    "m": ("m", "mass"),
    "E": ("e", "energy"),
    "px": ("px", "momentum.x"),
    "py": ("py", "momentum.y"),
    "pz": ("pz", "momentum.z"),
}
VARIABLE = {spelling: variable for variable, spellings in SPELLINGS.items() for spelling in spellings}

# In the order tried: with both m and E present, m carries more (E alone hides it behind the momentum).
LAYOUTS = (
    ("pt", "eta", "phi", "m"),
    ("pt", "eta", "phi", "E"),
    ("px", "py", "pz", "E"),
    ("px", "py", "pz", "m"),
)
DIMENSIONFUL = frozenset({"pt", "m", "E", "px", "py", "pz"})

MEV_PER_UNIT = {"MeV": 1.0, "GeV": 1000.0, "TeV": 1_000_000.0}

MOST_BITS = 52  # of the mantissa of a float64

FOLDER = "atlasae"  # of a compressed file: what atlasae needs to undo its work
TITLES = {  # of the trees in it
    "runs": "one row a compression",
    "chunks": "one row a chunk of events",
    "models": "one row a model that is not packaged",
}

LIST = "[]"  # in the place of a member of an RNTuple's records, `Jet[].pt`: behind a collection

_TOKENS = "|".join(sorted((re.escape(s) for s in VARIABLE), key=len, reverse=True))
_SEPARATED = re.compile(rf"^(?P<stem>.*[^._:/ ])(?P<separator>[._:/ ]+)(?P<token>{_TOKENS})$", re.IGNORECASE)
_CAMEL = re.compile(r"^(?P<stem>.*[a-z0-9])(?P<separator>)(?P<token>Pt|PT|Eta|Phi|M|Mass|E|Energy|Px|Py|Pz|PX|PY|PZ)$")
_MOMENTUM = {"p4", "momentum", "fourmomentum", "fourvector", "kinematics"}  # of what it is a part of
_BARE = re.compile(rf"^(?P<stem>)(?P<separator>)(?P<token>{_TOKENS})$", re.IGNORECASE)


def read_units(given: str | None) -> str | None:
    """The units of this name, however it is written; raises UserError."""
    if given is None or given in MEV_PER_UNIT:
        return given
    known = {name.lower(): name for name in MEV_PER_UNIT}
    if not isinstance(given, str) or given.lower() not in known:
        raise UserError(f"units {given!r} are none of pt and m: give one of {', '.join(MEV_PER_UNIT)}")
    return known[given.lower()]


def read_patterns(given: str | Iterable[str]) -> tuple[str, ...]:
    """Several patterns, or one; raises UserError."""
    patterns = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if wrong := [pattern for pattern in patterns if not isinstance(pattern, str)]:
        raise UserError(f"{wrong[0]!r} is no pattern: give one as text, or a list of such")
    return patterns


@dataclass(frozen=True)
class Branch:
    """A branch as the file describes it: `dtype` of one number, and whether entries hold many of them.

    `dtype` is `string`, or ends in ` array`, where an entry is no number and no list of numbers; in an RNTuple it may
    be any type that awkward arrays have.
    """

    name: str
    dtype: str
    jagged: bool
    counter: str | None = None

    @property
    def is_float(self) -> bool:
        """Whether this may be a variable of jets."""
        return self.dtype[1:] in ("f4", "f8")

    @property
    def holds_numbers(self) -> bool:
        """Whether an entry is a number or a list of numbers."""
        return self.dtype.startswith(("<", ">", "|")) and " " not in self.dtype


@dataclass(frozen=True)
class Unwritable:
    """A branch that can't be carried, and why; `branch` is what an RNTuple can hold, where a TTree can't."""

    name: str
    why: str
    branch: Branch | None = None


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
class LeftOut:
    """What else of a file does not come along, and why; `minor` is what belongs to something that does come."""

    name: str
    why: str
    minor: bool = False


def listed(things: Sequence[Unwritable | LeftOut], most: int = 5) -> str:
    """The first of what can't be written, each with its reason, and how many more there are."""
    more = f"; and {len(things) - most} more" * (len(things) > most)
    return "; ".join(f"{thing.name} ({thing.why})" for thing in things[:most]) + more


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
    def exact_counter(self) -> str:
        """The counter that the exact branches share."""
        return f"n{self.prefix}exact"


def find_collections(branches: Sequence[Branch]) -> list[Collection]:
    """Recognise every jet collection among the branches of a tree.

    A collection is four branches with a common, jet-like stem (or none at all) that spell the variables of one of
    `LAYOUTS`, all jagged or all flat, all floating point.
    """
    stems: dict[tuple[str, str], dict[str, Branch]] = {}
    for branch in branches:
        if branch.is_float and (parts := _split(branch.name)):
            stem, separator, variable = parts
            stems.setdefault((stem, separator), {})[variable] = branch
    found = [_collection(stem + separator, group) for (stem, separator), group in stems.items() if _jet_like(stem)]
    return [collection for collection in found if collection is not None]


def resolve_pattern(pattern: str, branches: Sequence[Branch]) -> Collection:
    """Make the collection that `--jets PATTERN` names.

    PATTERN is `Jet_{pt,eta,phi,mass}`, a bare prefix such as `Jet_` or `Jet`, or four names `a,b,c,d`, where a name
    that does not end in a variable is given as `variable=name`. Raises UserError where the branches are not there.
    """
    by_name = {branch.name: branch for branch in branches}
    if "," not in pattern:
        return _by_prefix(pattern, branches)
    group: dict[str, Branch] = {}
    for name in _names(pattern):
        variable, _, given = name.rpartition("=")
        if given not in by_name:
            raise UserError(f"no branch '{given}' for --jets '{pattern}': {_nearest(given, by_name)}")
        group[variable or _variable(given, pattern)] = by_name[given]
    listed = [branch.name for branch in group.values()]
    collection = _collection(_common_prefix(listed) + _common_suffix(listed), group)
    if collection is None:
        raise UserError(f"--jets '{pattern}' is no jet collection: name four float branches, {_layouts()}")
    return collection


def spells_jets(name: str) -> bool:
    """Whether a branch is called as a variable of jets is."""
    parts = _split(name)
    return parts is not None and _jet_like(parts[0])


def list_collection(branches: Sequence[Branch], names: Sequence[str], terms: list[dict[str, Any]]) -> Collection:
    """The collection of a list of variables; raises UserError for branches that are not there, or not alike."""
    by_name = {branch.name: branch for branch in branches}
    for name in names:
        if name not in by_name or not by_name[name].holds_numbers:
            raise UserError(f"no branch '{name}' of numbers for --variables: {_nearest(name, by_name)}")
    chosen = [by_name[name] for name in names]
    if len({branch.jagged for branch in chosen}) > 1:
        raise UserError(f"--variables names lists and single numbers: '{names[0]}' and another are not alike")
    prefix = _common_prefix(names)
    counters = {branch.counter for branch in chosen}
    return Collection(
        name=prefix.rstrip("._:/ ") or "list",
        prefix=prefix,
        branches={name: name for name in names},
        dtypes={branch.name: branch.dtype for branch in chosen},
        jagged=chosen[0].jagged,
        counter=counters.pop() if len(counters) == 1 else None,
        units="",
        terms=terms,
    )


def match_branches(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    """The names that match any of the shell patterns; raises UserError where a pattern matches none."""
    matched: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not hits:
            raise UserError(f"--drop '{pattern}' matches no branch: there are {', '.join(list(names)[:3])} ...")
        matched |= set(hits)
    return matched


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
        if collection.packed:
            counters |= dict.fromkeys(collection.latents, names.made(f"n{collection.prefix}packed"))
        else:
            counters |= dict.fromkeys(collection.exact.values(), names.made(collection.exact_counter))
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
    first = [next(iter(c.branches.values())) for c in collections if c.packed and c.jagged]
    return {counters[name]: name for name in first if counters[name] not in shared}


def _split(name: str) -> tuple[str, str, str] | None:
    for expression in (_BARE, _SEPARATED, _CAMEL):
        if match := expression.match(name):
            return match["stem"], match["separator"], VARIABLE[match["token"].lower()]
    return None


def _jet_like(stem: str) -> bool:
    # The last part alone: `XJets.ActiveArea4vec_pt` is an area, `XJets.JetConstitScaleMomentum_pt` is a jet.
    *parts, last = re.split(r"[.:/]", stem.lower())
    if parts and last in _MOMENTUM:
        last = parts[-1]
    return not stem or "jet" in last


def _collection(prefix: str, group: Mapping[str, Branch]) -> Collection | None:
    layout = next((layout for layout in LAYOUTS if set(layout) <= set(group)), None)
    if layout is None:
        return None
    chosen = [group[variable] for variable in layout]
    if len({branch.jagged for branch in chosen}) > 1 or not all(branch.is_float for branch in chosen):
        return None
    counters = {branch.counter for branch in chosen}
    return Collection(
        name=prefix.rstrip("._:/ ") or "jets",
        prefix=prefix,
        branches={variable: group[variable].name for variable in layout},
        dtypes={variable: group[variable].dtype for variable in layout},
        jagged=chosen[0].jagged,
        counter=counters.pop() if len(counters) == 1 else None,
    )


def _by_prefix(prefix: str, branches: Sequence[Branch]) -> Collection:
    groups: dict[str, dict[str, Branch]] = {}
    for branch in branches:
        parts = _split(branch.name)
        if parts and prefix in (parts[0], parts[0] + parts[1]):
            groups.setdefault(parts[0] + parts[1], {})[parts[2]] = branch
    found = [c for full, group in groups.items() if (c := _collection(full, group)) is not None]
    if len(found) != 1:
        raise UserError(f"no jets '{prefix}': no four float branches with this prefix spell {_layouts()}")
    return found[0]


def _names(pattern: str) -> list[str]:
    braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", pattern)
    parts = [part.strip() for part in (braces[2] if braces else pattern).split(",")]
    if len(parts) != 4:
        raise UserError(f"--jets '{pattern}' names {len(parts)} branches: four are needed, {_layouts()}")
    return [braces[1] + part + braces[3] for part in parts] if braces else parts


def _variable(name: str, pattern: str) -> str:
    parts = _split(name)
    if parts is None and (match := re.search(rf"(?:^|[._:/ ])({_TOKENS})(?=[._:/ ])", name, re.IGNORECASE)):
        return VARIABLE[match[1].lower()]  # a systematic variation: Jet_pt_nom
    if parts is None:
        raise UserError(f"which variable is '{name}' in --jets '{pattern}'? give it as pt={name}")
    return parts[2]


def _common_prefix(names: Iterable[str]) -> str:
    listed = list(names)
    shortest = min(listed, key=len)
    same = next((i for i in range(len(shortest)) if len({n[i] for n in listed}) > 1), len(shortest))
    prefix = shortest[:same]
    return prefix if not prefix or prefix[-1] in "._:/ " else re.sub(r"[^._:/ ]*$", "", prefix)


def _common_suffix(names: Sequence[str]) -> str:
    """What follows the variables, behind a separator: `nom_` of Jet_pt_nom, Jet_eta_nom ..."""
    tails = {
        match[1] for name in names if (match := re.search(rf"(?:{_TOKENS})[._:/ ]([^._:/ ]+)$", name, re.IGNORECASE))
    }
    return f"{tail}_" if len(tails) == 1 and (tail := tails.pop()) else ""


def _nearest(name: str, known: Mapping[str, Branch]) -> str:
    tail = name.lower()[-4:]
    close = [other for other in known if tail in other.lower()][:3]
    return "there are " + ", ".join(close or list(known)[:3])


def _layouts() -> str:
    return " or ".join("(" + ", ".join(layout) + ")" for layout in LAYOUTS[:3])
