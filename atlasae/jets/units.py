"""In which units jets are stored: told by how experiments name branches, and by where the momenta of jets can lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlasae.errors import UserError
from atlasae.files.events import Array
from atlasae.jets.collections import MEV_PER_UNIT, Collection
from atlasae.jets.coordinates import LARGEST_ETA, Floats

GEV_PER_UNIT = {unit: scale / MEV_PER_UNIT["GeV"] for unit, scale in MEV_PER_UNIT.items()}
GUESSED = ("MeV", "GeV")  # nobody's files are in TeV, unless the user says so
SOFT = {"MeV": 0.5, "GeV": 0.0, "TeV": 0.0}  # GeV: hardly a jet is below, in files that tell soft ones by MeV
HARD = 50_000.0  # GeV: hardly a jet is beyond
POSSIBLE = {"MeV": (1.0, 20_000.0), "GeV": (1.0, 20_000.0), "TeV": (1.0, 7_000.0)}  # GeV: the median pt of any jets
USUAL = {"MeV": (7.0, 20_000.0), "GeV": (1.0, 7_000.0)}  # GeV: a median that is no reason to doubt what names say
_FEW, FEW_OF = 2, 1e-3  # jets beyond HARD, and the share of all, that may be mistakes
_LARGEST = 1e9  # in no unit a jet's pt


@dataclass(frozen=True)
class Momenta:
    """Where the pt of a collection's jets lies, as stored; `fits` are the units it may be in."""

    median: float
    fits: tuple[str, ...]

    def usual(self, unit: str) -> bool:
        """Whether the median is where the habits of this unit have it."""
        low, high = USUAL[unit]
        return unit in self.fits and low <= self.median * GEV_PER_UNIT[unit] <= high


def settle(
    collections: Sequence[Collection], units: str | None, columns: Sequence[Sequence[Array]]
) -> list[Collection]:
    """The collections of a tree with their units, given or found from their names and the columns of a sample.

    A wrong guess of the smaller unit would break the promise on m, so there is none: raises UserError where names and
    values disagree, and where values fit two units and no other collection tells. One without jets follows the others.
    """
    if units:
        return [collection.settled(units) for collection in collections]
    found = [momenta_of(valid_pt(c, stored)) for c, stored in zip(collections, columns, strict=True)]
    told = [_told(c, momenta) if momenta else None for c, momenta in zip(collections, found, strict=True)]
    others = {unit for unit in told if unit}
    facts = zip(collections, told, found, strict=True)
    return [c.settled(unit or _by_others(c, momenta, others)) for c, unit, momenta in facts]


def valid_pt(collection: Collection, columns: Sequence[Array]) -> Floats:
    """pt of the jets, as stored, without what stands where there is no jet: zeros, negative numbers, NaN, eta = 999."""
    with np.errstate(over="ignore", invalid="ignore"):
        first, second, _, fourth = (column.astype(np.float64) for column in columns)
        cartesian = collection.variables[0] == "px"
        pt = np.hypot(first, second) if cartesian else first
        return np.asarray(
            pt[(pt > 0) & (pt < _LARGEST) & (fourth >= 0) & (cartesian | (np.abs(second) <= LARGEST_ETA))]
        )


def momenta_of(pt: Floats) -> Momenta | None:
    """Where these lie, in whatever unit; None where there are no jets."""
    if not len(pt):
        return None
    soft, median = np.quantile(pt, [0.05, 0.5]).tolist()
    few = max(_FEW, FEW_OF * len(pt))

    def fits(unit: str, gev: float) -> bool:
        low, high = POSSIBLE[unit]
        return soft * gev >= SOFT[unit] and low <= median * gev <= high and int((pt * gev > HARD).sum()) <= few

    return Momenta(median, tuple(unit for unit, gev in GEV_PER_UNIT.items() if fits(unit, gev)))


def _told(collection: Collection, momenta: Momenta) -> str | None:
    """The unit that name and values agree on, or that values alone leave; None where they leave several."""
    convention, strict = _convention(collection)
    if convention and momenta.usual(convention) and (strict or "TeV" not in momenta.fits):
        return convention
    if strict and convention not in momenta.fits:
        raise UserError(f"'{collection.name}' is in {convention} by its name, but {_meanings(momenta)}")
    only = momenta.fits[0] if len(momenta.fits) == 1 else None
    return only if only in GUESSED else None


def _by_others(collection: Collection, momenta: Momenta | None, others: set[str]) -> str:
    """The unit of the other collections of the tree, where they have one and the values do not forbid it."""
    other = next(iter(others)) if len(others) == 1 else None
    if momenta is None:
        return other or _convention(collection)[0] or "GeV"
    if other in momenta.fits:
        return other
    raise UserError(f"'{collection.name}' may be in {' or '.join(momenta.fits) or 'any unit'}: {_meanings(momenta)}")


def _convention(collection: Collection) -> tuple[str | None, bool]:
    """The unit that jets named so are in, and whether always: ATLAS xAOD, Delphes, EDM4hep; others have the habit."""
    names = list(collection.branches.values())
    fourth = names[-1]
    if "Aux" in collection.prefix:
        return "MeV", True
    if names[0].endswith((".PT", "momentum.x")):
        return "GeV", True
    if collection.prefix.endswith((".", ":")) and fourth.endswith("m"):
        return "MeV", False
    return ("GeV" if fourth.endswith(("mass", "Mass")) or names[0].endswith("_Px") else None), False


def _meanings(momenta: Momenta) -> str:
    """What the median would be in every unit, and how to say which it is."""
    meanings = ", ".join(f"{_in_gev(momenta.median * gev)} in {unit}" for unit, gev in GEV_PER_UNIT.items())
    return f"the median pt {momenta.median:.4g} would be {meanings}: say which with --units"


def _in_gev(pt: float) -> str:
    return f"{pt / 1000:.4g} TeV" if pt >= 1000 else f"{pt:.4g} GeV"
