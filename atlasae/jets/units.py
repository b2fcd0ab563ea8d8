"""Units of stored jets, from the experiments' names of branches and the range of pt; the range of their phi."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from atlasae.errors import UserError
from atlasae.files.events import Array
from atlasae.jets.collections import MEV_PER_UNIT, Collection
from atlasae.jets.coordinates import LARGEST_ETA, Floats, spans_full_turn

GEV_PER_UNIT = {unit: scale / MEV_PER_UNIT["GeV"] for unit, scale in MEV_PER_UNIT.items()}
GUESSED = ("MeV", "GeV")  # TeV only if the user gives it: no known files have it
SOFT = {"MeV": 0.5, "GeV": 0.0, "TeV": 0.0}  # GeV: lower limit of the 5 % quantile of pt, by the unit of the branch
HARD = 50_000.0  # GeV: pt above this is impossible, except for a few jets
POSSIBLE = {"MeV": (1.0, 20_000.0), "GeV": (1.0, 20_000.0), "TeV": (1.0, 7_000.0)}  # GeV: range of the median pt
USUAL = {"MeV": (7.0, 20_000.0), "GeV": (1.0, 7_000.0)}  # GeV: medians with which the unit of the name is accepted
_FEW, FEW_OF = 2, 1e-3  # jets above HARD that are accepted as mistakes: a number, or a share of all
_LARGEST = 1e9  # larger numbers are not a pt in any unit


@dataclass(frozen=True)
class Momenta:
    """The median pt of a collection as stored, and the units that are possible for its values."""

    median: float
    fits: tuple[str, ...]

    def usual(self, unit: str) -> bool:
        """Whether the median pt is in the usual range of this unit."""
        low, high = USUAL[unit]
        return unit in self.fits and low <= self.median * GEV_PER_UNIT[unit] <= high


def settle(
    collections: Sequence[Collection], units: str | None, columns: Sequence[Sequence[Array]]
) -> list[Collection]:
    """The collections of a tree with their units: those given, or those found from names and the columns of a sample.

    The columns tell the range of phi, too.

    A wrong unit would break the promise on m. Therefore UserError is raised if name and values disagree, or if the
    values fit two units and no other collection decides. A collection without jets gets the unit of its neighbours:
    that of most collections with jets; where none has jets, that of its name, or of most names.
    """
    pairs = zip(collections, columns, strict=True)
    turned = [replace(collection, full_turn=_has_full_turn(collection, stored)) for collection, stored in pairs]
    return [c.settled(unit) for c, unit in zip(turned, _units_of(collections, units, columns), strict=True)]


def with_units(collections: Sequence[Collection], columns: Sequence[Sequence[Array]]) -> list[Collection]:
    """Collections of any objects with their units, of those whose units a sample of their columns tells.

    Objects whose values alone leave it open, such as soft particles, have the unit of the others.
    """
    known = [_unit_alone(c, stored) for c, stored in zip(collections, columns, strict=True)]
    others = {unit for unit in known if unit}
    common = others.pop() if len(others) == 1 else None
    found = [(c, unit or common) for c, unit in zip(collections, known, strict=True)]
    return [c.settled(unit) for c, unit in found if unit]


def _unit_alone(collection: Collection, columns: Sequence[Array]) -> str | None:
    try:
        return settle([collection], None, [columns])[0].units
    except UserError:
        return None


def _has_full_turn(collection: Collection, columns: Sequence[Array]) -> bool:
    stored = dict(zip(collection.variables, columns, strict=True))
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return {"pt", "phi"} <= stored.keys() and spans_full_turn(stored["phi"][stored["pt"].astype(np.float64) > 0])


def _units_of(collections: Sequence[Collection], units: str | None, columns: Sequence[Sequence[Array]]) -> list[str]:
    if units:
        return [units] * len(collections)
    found = [momenta_of(valid_pt(c, stored)) for c, stored in zip(collections, columns, strict=True)]
    told = [c.units or (_told(c, m) if m else None) for c, m in zip(collections, found, strict=True)]
    others = {unit for unit in told if unit}
    neighbour, named = _most(told), _most([_convention(c)[0] for c in collections])
    facts = zip(collections, told, found, strict=True)
    return [
        unit or (_by_others(c, momenta, others) if momenta else neighbour or _convention(c)[0] or named or "GeV")
        for c, unit, momenta in facts
    ]


def _most(units: Sequence[str | None]) -> str | None:
    """The unit of most of them; of two of as many, the first."""
    known = [unit for unit in units if unit]
    return max(dict.fromkeys(known), key=known.count, default=None)


def valid_pt(collection: Collection, columns: Sequence[Array]) -> Floats:
    """pt of the jets as stored, without padding: 0, negative numbers, NaN, eta = 999."""
    with np.errstate(over="ignore", invalid="ignore"):
        first, second, _, fourth = (column.astype(np.float64) for column in columns[:4])
        cartesian = collection.variables[0] == "px"
        pt = np.hypot(first, second) if cartesian else first
        return np.asarray(
            pt[(pt > 0) & (pt < _LARGEST) & (fourth >= 0) & (cartesian | (np.abs(second) <= LARGEST_ETA))]
        )


def momenta_of(pt: Floats) -> Momenta | None:
    """The median of pt (in any unit) and the possible units, or None without jets."""
    if not len(pt):
        return None
    soft, median = np.quantile(pt, [0.05, 0.5]).tolist()
    few = max(_FEW, FEW_OF * len(pt))

    def fits(unit: str, gev: float) -> bool:
        low, high = POSSIBLE[unit]
        return soft * gev >= SOFT[unit] and low <= median * gev <= high and int((pt * gev > HARD).sum()) <= few

    return Momenta(median, tuple(unit for unit, gev in GEV_PER_UNIT.items() if fits(unit, gev)))


def _told(collection: Collection, momenta: Momenta) -> str | None:
    """The unit on which name and values agree, or the only one that the values fit; None if they fit several."""
    convention, strict = _convention(collection)
    if convention and momenta.usual(convention) and (strict or "TeV" not in momenta.fits):
        return convention
    if strict and convention not in momenta.fits:
        raise UserError(f"'{collection.name}' is in {convention} by its name, but {_meanings(momenta)}")
    only = momenta.fits[0] if len(momenta.fits) == 1 else None
    return only if only in GUESSED else None


def _by_others(collection: Collection, momenta: Momenta, others: set[str]) -> str:
    """The unit of the other collections of the tree; raises UserError if they differ or the values don't fit it."""
    other = next(iter(others)) if len(others) == 1 else None
    if other in momenta.fits:
        return other
    raise UserError(f"'{collection.name}' may be in {' or '.join(momenta.fits) or 'any unit'}: {_meanings(momenta)}")


def _convention(collection: Collection) -> tuple[str | None, bool]:
    """The unit by the branches' names, and whether it is certain: for ATLAS xAOD, Delphes and EDM4hep it is."""
    names = list(collection.branches.values())
    fourth = names[3]
    if "Aux" in collection.prefix:
        return "MeV", True
    if names[0].endswith((".PT", "momentum.x")):
        return "GeV", True
    if collection.prefix.endswith((".", ":")) and fourth.endswith("m"):
        return "MeV", False
    if any("NOSYS" in name for name in names) or fourth.endswith(("_PE", "_M")):  # ATLAS's tools, and those of LHCb
        return "MeV", False
    return ("GeV" if fourth.endswith(("mass", "Mass")) or names[0].endswith("_Px") else None), False


def _meanings(momenta: Momenta) -> str:
    """The end of a message: the median pt in every unit, and the option to give."""
    meanings = ", ".join(f"{_in_gev(momenta.median * gev)} in {unit}" for unit, gev in GEV_PER_UNIT.items())
    return f"the median pt {momenta.median:.4g} would be {meanings}: say which with --units"


def _in_gev(pt: float) -> str:
    return f"{pt / 1000:.4g} TeV" if pt >= 1000 else f"{pt:.4g} GeV"
