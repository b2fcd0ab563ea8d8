"""What figures are told: quantities, labels, histograms and rows, without matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """The name of a variable on an axis, and its unit; values are in MeV and drawn in GeV."""

    symbol: str
    unit: str = ""

    @property
    def axis(self) -> str:
        """The symbol with its unit."""
        return f"{self.symbol} [{self.unit}]" if self.unit else self.symbol

    @property
    def scale(self) -> float:
        """The factor from stored values to drawn ones."""
        return 1e-3 if self.unit == "GeV" else 1.0


QUANTITIES = {
    "pt": Quantity(r"$p_\mathrm{T}$", "GeV"),
    "eta": Quantity(r"$\eta$"),
    "phi": Quantity(r"$\phi$", "rad"),
    "m": Quantity(r"$m$", "GeV"),
    "E": Quantity(r"$E$", "GeV"),
    "px": Quantity(r"$p_x$", "GeV"),
    "py": Quantity(r"$p_y$", "GeV"),
    "pz": Quantity(r"$p_z$", "GeV"),
    "mjj": Quantity(r"$m_{jj}$", "GeV"),
    "ht": Quantity(r"$H_\mathrm{T}$", "GeV"),
}


@dataclass(frozen=True)
class Label:
    """The text in the corner: experiment, status, energy (TeV), luminosity (1/fb), and a note.

    `source` is in small print: files, precision and layout.
    """

    text: str = ""
    experiment: str = ""
    energy: str = ""
    luminosity: str = ""
    note: str = ""
    source: str = ""

    def with_note(self, note: str) -> "Label":
        """The same label with this note."""
        return replace(self, note=note)

    def with_source(self, source: str) -> "Label":
        """The same label with this small print."""
        return replace(self, source=source)


NO_LABEL = Label()


@dataclass(frozen=True)
class Counted:
    """A histogram before and after; `moved` are the jets that changed bins, `below` those three left of the axis.

    The jets are the same before and after: the error of a ratio is of the jets that moved, not the square root of all.
    """

    edges: Numbers
    before: Numbers
    after: Numbers
    moved: Numbers
    below: tuple[float, float, float] | None = None
    lowest: float = 0.0  # where the axis begins: `below` are the jets under it

    def scaled(self, scale: float) -> "Counted":
        """The same with edges in another unit."""
        return replace(self, edges=np.asarray(self.edges) * scale, lowest=self.lowest * scale)

    def with_underflow(self) -> "Counted":
        """A wide bin in front, between two empty ones, for the jets below the axis."""
        x = np.asarray(self.edges, float)
        wide = 2 + max(2, len(x) // 12)
        left = np.array([wide + 2, wide, 1])  # edges in front, in bins
        first = x[0] * (x[0] / x[1]) ** left if is_logarithmic(x) else x[0] - (x[1] - x[0]) * left
        below = self.below or (0.0, 0.0, 0.0)
        columns = [[0, n, 0, *values] for n, values in zip(below, (self.before, self.after, self.moved), strict=True)]
        return replace(self, edges=[*first, *x], before=columns[0], after=columns[1], moved=columns[2])


@dataclass(frozen=True)
class FineRatio:
    """A spectrum in fine bins: `random` is the root mean square of what random errors change of each count.

    `change` has the `ratio` of chi^2 to that of random errors, and its `error`.
    """

    edges: Numbers
    before: Numbers
    after: Numbers
    random: Numbers
    quantity: Quantity
    change: Mapping[str, float]


@dataclass(frozen=True)
class Overview:
    """A collection in an overview: its jets, bytes per jet before and after, and errors over their bounds.

    `errors` maps variables to the half-width of the central 68 % and to the largest error, both over the bound.
    """

    name: str
    jets: int
    before: float
    after: float
    errors: Mapping[str, tuple[float, float]]


def is_logarithmic(x: npt.NDArray[np.float64]) -> bool:
    """Whether bins suit a logarithmic axis: the last at least three times as wide as the first, no edge negative."""
    return bool(x[0] >= 0 and len(x) > 2 and (x[-1] - x[-2]) > 3 * (x[1] - x[0]))
