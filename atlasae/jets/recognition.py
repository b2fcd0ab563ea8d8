"""Recognition of jet collections by the names of branches."""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atlasae.errors import UserError
from atlasae.files.branches import Branch
from atlasae.jets.collections import Collection

# How experiments spell each variable, in lower case; the first spelling is atlasae's name for it.
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

# In the order tried: with both m and E present, m is preferred, since E^2 - p^2 loses digits of it.
LAYOUTS = (
    ("pt", "eta", "phi", "m"),
    ("pt", "eta", "phi", "E"),
    ("px", "py", "pz", "E"),
    ("px", "py", "pz", "m"),
)

_TOKENS = "|".join(sorted((re.escape(s) for s in VARIABLE), key=len, reverse=True))
_SEPARATED = re.compile(rf"^(?P<stem>.*[^._:/ ])(?P<separator>[._:/ ]+)(?P<token>{_TOKENS})$", re.IGNORECASE)
_CAMEL = re.compile(r"^(?P<stem>.*[a-z0-9])(?P<separator>)(?P<token>Pt|PT|Eta|Phi|M|Mass|E|Energy|Px|Py|Pz|PX|PY|PZ)$")
_MOMENTUM = {"p4", "momentum", "fourmomentum", "fourvector", "kinematics"}  # the stem before these must be jet-like
_BARE = re.compile(rf"^(?P<stem>)(?P<separator>)(?P<token>{_TOKENS})$", re.IGNORECASE)


def read_patterns(given: str | Iterable[str]) -> tuple[str, ...]:
    """The patterns of `jets=`, given as one string or several; raises UserError for anything else."""
    patterns = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if wrong := [pattern for pattern in patterns if not isinstance(pattern, str)]:
        raise UserError(f"{wrong[0]!r} is no pattern: give one as text, or a list of such")
    return patterns


def find_collections(branches: Sequence[Branch]) -> list[Collection]:
    """All jet collections among the branches of a tree.

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
    """The collection that `--jets PATTERN` names.

    PATTERN is `Jet_{pt,eta,phi,mass}`, a bare prefix such as `Jet_` or `Jet`, or four names `a,b,c,d`, where a name
    that does not end in a variable is given as `variable=name`. Raises UserError if branches are missing.
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
    """Whether a branch is named like a variable of jets."""
    parts = _split(name)
    return parts is not None and _jet_like(parts[0])


def list_collection(branches: Sequence[Branch], names: Sequence[str], terms: list[dict[str, Any]]) -> Collection:
    """The collection of a list of variables; raises UserError if branches are missing, or both jagged and flat."""
    by_name = {branch.name: branch for branch in branches}
    for name in names:
        if name not in by_name or not by_name[name].holds_numbers:
            raise UserError(f"no branch '{name}' of numbers for --variables: {_nearest(name, by_name)}")
    chosen = [by_name[name] for name in names]
    if len({branch.jagged for branch in chosen}) > 1:
        raise UserError(f"--variables mixes lists and single numbers: give branches like '{names[0]}' only")
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
    """The names that match any of the shell patterns; raises UserError if a pattern matches none."""
    matched: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not hits:
            raise UserError(f"--drop '{pattern}' matches no branch: there are {', '.join(list(names)[:3])} ...")
        matched |= set(hits)
    return matched


def _split(name: str) -> tuple[str, str, str] | None:
    for expression in (_BARE, _SEPARATED, _CAMEL):
        if match := expression.match(name):
            return match["stem"], match["separator"], VARIABLE[match["token"].lower()]
    return None


def _jet_like(stem: str) -> bool:
    # Only the last part counts: `XJets.ActiveArea4vec_pt` is an area, `XJets.JetConstitScaleMomentum_pt` is a jet.
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
    """The common ending after the variables, as part of a prefix: `nom_` for Jet_pt_nom, Jet_eta_nom ..., or empty."""
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
