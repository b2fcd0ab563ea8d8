"""Recognition of jet collections by the names of branches."""

import fnmatch
import json
import os
import re
import shlex
from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from atlasae.errors import UserError
from atlasae.files.branches import Branch
from atlasae.jets.collections import Collection, Term
from atlasae.jets.names import SPELLINGS, Spelled, is_nominal, loosely_spelled, names_jets, names_others, spelled
from atlasae.report import some

BOTH = ("px", "py", "pz", "m", "E")  # E is told by the others

# In the order tried: with both m and E present, m is preferred, since E^2 - p^2 loses digits of it.
LAYOUTS = (
    ("pt", "eta", "phi", "m"),
    ("pt", "eta", "phi", "E"),
    BOTH,
    ("px", "py", "pz", "E"),
    ("px", "py", "pz", "m"),
)

_ANGLES = ("eta", "phi")  # what a systematic may share with the nominal jets
_FOURTH = ("m", "E")
_BESIDE = {"et": "log", "y": "linear", "rapidity": "linear", "rap": "linear"}  # numbers of jets that no layout has
_COORDINATES = {v: "log" for v in ("pt", "E")} | {v: "asinh" for v in ("m", "px", "py", "pz")} | _BESIDE
_COORDINATES |= {"eta": "linear", "phi": "angle"}  # of lists of variables

_TEMPLATE = "pt=A,eta=B,phi=C,m=D"

ByVariable = dict[str, Branch]  # by variable


def read_patterns(given: str | Iterable[str]) -> tuple[str, ...]:
    """The patterns of `jets=`, given as one string or several; raises UserError for anything else."""
    patterns = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if wrong := [pattern for pattern in patterns if not isinstance(pattern, str)]:
        raise UserError(f"{wrong[0]!r} is no pattern: give one as text, or a list of such")
    return patterns


def find_collections(
    branches: Sequence[Branch],
    full_names: Mapping[str, str] | None = None,
    tree: str = "",
    everything: bool = False,
) -> list[Collection]:
    """All jet collections among the branches of a tree of this name, or with `everything` all four-momenta.

    A collection is branches that spell the variables of one of `LAYOUTS` of the same objects, all lists or all single
    numbers, all floating point. Systematics may share eta and phi with the nominal jets; a branch is of one
    collection, in which it is coded. `full_names` are those of branches whose own names do not tell what is above them.
    """
    found, taken = list[Collection](), set[str]()
    for first, group in _groups(branches, full_names or {}):
        if everything or names_jets(first.stem) or not (first.stem or names_others(tree)):
            collection = _of(first, group)
            if collection and (kept := _without(collection, taken)):
                found.append(kept)
                taken.update(collection.branches.values())
    return found


def _without(collection: Collection, taken: Names[str]) -> Collection | None:
    """The collection, which may share eta and phi with others if they are all it shares; None if it shares more."""
    shared = tuple(variable for variable, name in collection.branches.items() if name in taken)
    if not shared or (shared == _ANGLES and collection.variables in LAYOUTS[:2]):
        return replace(collection, shared=shared)
    return None


def _groups(branches: Sequence[Branch], full_names: Mapping[str, str]) -> Iterator[tuple[Spelled, ByVariable]]:
    """The branches that spell variables of the same objects, in the same variation; nominal ones first."""
    styles: dict[tuple[str, ...], dict[str, tuple[Spelled, ByVariable]]] = {}
    for branch in branches:
        if (branch.is_float or branch.is_float_array) and (name := spelled(full_names.get(branch.name, branch.name))):
            _, group = styles.setdefault(name.style, {}).setdefault(name.variation, (name, {}))
            group[name.variable] = branch
    angles = {style: _angles(found) for style, found in styles.items()}
    for style, found in styles.items():
        nominal = _nominal(found)
        shared = _angles_around(style, angles) | {v: b for v, b in nominal.items() if v in _ANGLES}
        for first, own in sorted(found.values(), key=lambda one: not is_nominal(one[0].variation)):
            if is_nominal(first.variation):
                yield first, shared | nominal | own
            elif own.keys() & {"pt", "px"} and own.keys() & set(_FOURTH):
                yield first, shared | own


def _nominal(found: Mapping[str, tuple[Spelled, ByVariable]]) -> ByVariable:
    """The variables of the nominal jets, whatever their variation is called."""
    groups = [group for variation, (_, group) in found.items() if is_nominal(variation)]
    return {variable: branch for group in reversed(groups) for variable, branch in group.items()}


def _angles(found: Mapping[str, tuple[Spelled, ByVariable]]) -> ByVariable:
    return {variable: branch for variable, branch in _nominal(found).items() if variable in _ANGLES}


def _angles_around(style: tuple[str, ...], angles: Mapping[tuple[str, ...], ByVariable]) -> ByVariable:
    """eta and phi of the objects whose name these have with a systematic behind it: `jet` of `jet_NOSYS`."""
    stem, separator, *others = style
    while separator and separator in stem:
        stem = stem.rpartition(separator)[0]
        if found := angles.get((stem, separator, *others)):
            return found
    return {}


def resolve_pattern(
    pattern: str, branches: Sequence[Branch], full_names: Mapping[str, str] | None = None
) -> Collection:
    """The collection that `--jets PATTERN` names.

    PATTERN is `Jet_{pt,eta,phi,mass}`, a bare prefix such as `Jet_` or `Jet`, or four names `a,b,c,d`, where a name
    that does not end in a variable is given as `variable=name`. A fifth name is that of E beside px, py, pz and m.
    Raises UserError if branches are missing.
    """
    by_name = {branch.name: branch for branch in branches}
    if "," not in pattern:
        return _by_prefix(pattern, branches, full_names or {})
    group: dict[str, Branch] = {}
    for name in _names(pattern):
        variable, _, given = name.rpartition("=")
        if given not in by_name:
            raise UserError(f"no branch '{given}' for --jets '{pattern}': {_nearest(given, by_name)}")
        group[variable or _variable(given, pattern)] = by_name[given]
    prefix = _prefix_of([branch.name for branch in group.values()])
    collection = _collection(prefix, group, prefix)
    if collection is None or len(collection.branches) < len(group):
        raise UserError(f"--jets '{pattern}' is no jet collection: name four float branches, {_layouts()}")
    return collection


def spells_jets(name: str) -> bool:
    """Whether a branch is named like a variable of jets."""
    found = spelled(name)
    return found is not None and (not found.stem or names_jets(found.stem))


def list_collection(branches: Sequence[Branch], names: Sequence[str], terms: list[Term]) -> Collection:
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


def columns_beside(jets: Collection, branches: Sequence[Branch]) -> Collection:
    """The collection of other numbers of the jets of a collection, in branches with as many of them."""
    return Collection(
        name=f"{jets.name} (other numbers)",
        prefix=jets.prefix,
        branches={branch.name: branch.name for branch in branches},
        dtypes={branch.name: branch.dtype.removesuffix(" array") for branch in branches},
        jagged=jets.jagged,
        array=jets.array,
        counter=jets.counter,
        units="",
        terms=[],
        packed=True,
        beside=jets.name,
    )


def match_branches(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    """The names that match any of the shell patterns; raises UserError if a pattern matches none."""
    matched: set[str] = set()
    for pattern in patterns:
        hits = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not hits:
            raise UserError(
                f"--drop '{pattern}' matches no branch: there are {', '.join(list(names)[:3]) or 'none'} ..."
            )
        matched |= set(hits)
    return matched


def _collection(prefix: str, group: Mapping[str, Branch], stem: str) -> Collection | None:
    layouts = (layout for layout in LAYOUTS if set(layout) <= set(group))
    layout = next((layout for layout in layouts if _are_alike([group[variable] for variable in layout])), None)
    if layout is None:
        return None
    chosen = [group[variable] for variable in layout]
    counters = {branch.counter for branch in chosen}
    return Collection(
        name=(stem and prefix.rstrip("._:/ ")) or "jets",
        prefix=prefix,
        branches={variable: group[variable].name for variable in layout},
        dtypes={variable: group[variable].dtype.removesuffix(" array") for variable in layout},
        jagged=chosen[0].jagged or chosen[0].is_float_array,
        counter=counters.pop() if len(counters) == 1 else None,
        array=chosen[0].is_float_array,
    )


def _are_alike(chosen: Sequence[Branch]) -> bool:
    """Whether branches hold floats, and all of them lists, or single numbers, or arrays."""
    kinds = {(branch.jagged, branch.is_float_array) for branch in chosen}
    return len(kinds) == 1 and all(branch.is_float or branch.is_float_array for branch in chosen)


def _by_prefix(prefix: str, branches: Sequence[Branch], full_names: Mapping[str, str]) -> Collection:
    found = [
        collection
        for first, group in _groups(branches, full_names)
        if prefix in (first.stem, first.prefix, first.prefix.rstrip("._:/ ")) and (collection := _of(first, group))
    ]
    exactly = [collection for collection in found if prefix in (collection.name, collection.prefix)]
    found = exactly or found
    if len(found) != 1:
        known = [(first, made) for first, group in _groups(branches, full_names) if (made := _of(first, group))]
        names = [made.name for _, made in sorted(known, key=lambda one: not names_jets(one[0].stem))]
        others = f"; there are {some(names)}" if names else ""
        raise UserError(f"no jets '{prefix}': no four float branches with this prefix spell {_layouts()}{others}")
    return found[0]


def _of(first: Spelled, group: ByVariable) -> Collection | None:
    return _collection(first.prefix, group, first.stem)


def _names(pattern: str) -> list[str]:
    braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", pattern)
    parts = [part.strip() for part in (braces[2] if braces else pattern).split(",")]
    if len(parts) not in (4, 5):
        raise UserError(f"--jets '{pattern}' names {len(parts)} branches: four are needed, {_layouts()}")
    return [braces[1] + part + braces[3] for part in parts] if braces else parts


def _variable(name: str, pattern: str) -> str:
    if (found := spelled(name)) is None:
        raise UserError(f"which variable is '{name}' in --jets '{pattern}'? give it as pt={name}")
    return found.variable


def _prefix_of(names: Sequence[str]) -> str:
    """The prefix of four branches: as they spell it, or what their names begin with."""
    prefixes = {found.prefix if found else None for found in map(spelled, names)}
    return (prefixes.pop() if len(prefixes) == 1 else None) or _common_prefix(names)


def _common_prefix(names: Iterable[str]) -> str:
    listed = list(names)
    shortest = min(listed, key=len)
    same = next((i for i in range(len(shortest)) if len({n[i] for n in listed}) > 1), len(shortest))
    prefix = shortest[:same]
    return prefix if not prefix or prefix[-1] in "._:/ " else re.sub(r"[^._:/ ]*$", "", prefix)


def _nearest(name: str, known: Mapping[str, Branch]) -> str:
    tail = name.lower()[-4:]
    close = [other for other in known if tail in other.lower()][:3]
    return "there are " + (", ".join(close or list(known)[:3]) or "none of floats")


def nearest_candidates(
    branches: Sequence[Branch], full_names: Mapping[str, str], members: Sequence[Branch] = ()
) -> str:
    """The end of a message where no jets were found: what `--jets` would take, or what comes near to it.

    `members` are numbers inside of structures, which `--variables` does not take.
    """
    columns, branches = branches, [*branches, *members]
    whole = find_collections(branches, full_names, everything=True)
    if whole:
        patterns = [f"'{_pattern_of(list(c.branches.values()))}'" for c in sorted(whole, key=_unlike_jets)]
        return f"name them with --jets {_some_of(patterns)}"
    parts = [(first, group) for first, group in _groups(branches, full_names) if _is_nearly(first, group)]
    for first, group in sorted(parts, key=lambda part: (not names_jets(part[0].stem), -len(part[1]))):
        there = ", ".join(variable for variable in SPELLINGS if variable in group)
        spells = f"'{first.prefix}' spells {there}, but {_lacking(group)}"
        return f"{spells}; name others with --jets {_TEMPLATE}{_as_list(first, group, columns)}"
    return _of_floats([branch for branch in branches if branch.is_float or branch.is_float_array])


def _of_floats(floats: Sequence[Branch]) -> str:
    """What `--jets` may take of floats whose names spell no variables."""
    if fours := [branch.name.removesuffix(".3") for branch in floats if branch.name.endswith(".3")]:
        pairs = ",".join(f"{variable}={fours[0]}.{place}" for place, variable in enumerate(LAYOUTS[3]))
        return f"name them with --jets '{pairs}', if the numbers of '{fours[0]}' have this order"
    if near := _loosely(floats):
        return f"name them with --jets {near}"
    if not floats:
        return "no branch holds floats, or lists of them"
    names = ", ".join(branch.name for branch in floats[:3])
    if all(branch.is_float_array for branch in floats):
        return f"floats are in arrays such as {names}: give each variable of the jets a column or branch of its own"
    return f"name them with --jets {_TEMPLATE}, of floats such as {names}"


def _is_nearly(first: Spelled, group: ByVariable) -> bool:
    """Whether one variable is missing, or of jets two: et, eta and phi spell two."""
    return len(group) == 3 or (len(group) == 2 and names_jets(first.stem))


def _as_list(first: Spelled, group: ByVariable, columns: Sequence[Branch]) -> str:
    """How `--variables` takes numbers of jets that are no four-momentum, as commands of a shell; may be empty."""
    known = {v: b for v, b in group.items() if b in columns and b.holds_numbers}
    for branch in columns:
        variable = branch.name.removeprefix(first.prefix).lower()
        if branch.is_float and variable in _BESIDE and branch.name.startswith(first.prefix):
            known[variable] = branch
    numbers = [(v, b.name) for v, b in known.items() if b.jagged == next(iter(known.values())).jagged]
    if len(numbers) < 2:
        return ""
    terms = (f'{{branch={json.dumps(b)},coordinate="{_COORDINATES[v]}",precision=1e-3}}' for v, b in numbers)
    listed = shlex.quote(f"variable=[{','.join(terms)}]")
    return f", or take them as numbers: echo {listed} > jets.toml and --variables jets.toml (atlasae help precision)"


def _loosely(floats: Sequence[Branch]) -> str:
    """The pattern of branches that begin or end with variables, a letter standing for what is missing; may be empty."""
    groups: dict[str, ByVariable] = {}
    for branch in floats:
        for variable, rest in loosely_spelled(branch.name):
            groups.setdefault(rest, {}).setdefault(variable, branch)
    for layout in LAYOUTS:
        if group := next((one for one in groups.values() if set(layout) <= set(one)), None):
            return "'" + ",".join(f"{variable}={group[variable].name}" for variable in layout) + "'"
    group = next((one for one in groups.values() if {"pt", *_ANGLES} <= set(one)), None)
    named = [f"{variable}={group[variable].name}" for variable in ("pt", *_ANGLES)] if group else []
    return f"{','.join(named)},m=D, where D is m, or E=D" if named else ""


def _some_of(patterns: Sequence[str], most: int = 3) -> str:
    """The first patterns, as alternatives."""
    return " or ".join(patterns[:most]) + f" (and {len(patterns) - most} more)" * (len(patterns) > most)


def _unlike_jets(collection: Collection) -> bool:
    return "jet" not in collection.prefix.lower()


def _lacking(group: ByVariable) -> str:
    """What is missing for one of the layouts, of which a group comes nearest to the first."""
    missing = min(([v for v in layout if v not in group] for layout in LAYOUTS), key=len)
    return "neither m nor E" if missing[0] in _FOURTH else f"no {missing[0]}"


def _pattern_of(names: Sequence[str]) -> str:
    """The pattern of four branches: what their names differ in, in braces."""
    before = os.path.commonprefix(list(names))
    after = os.path.commonprefix([name[len(before) :][::-1] for name in names])[::-1]
    inner = [name[len(before) : len(name) - len(after)] for name in names]
    return f"{before}{{{','.join(inner)}}}{after}" if (before or after) and all(inner) else ",".join(names)


def _layouts() -> str:
    return " or ".join("(" + ", ".join(layout) + ")" for layout in LAYOUTS if len(layout) == 4)
