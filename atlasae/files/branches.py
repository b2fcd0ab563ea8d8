"""Branches of a tree: names, types, counters, and the names of atlasae's own trees."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlasae.report import LeftOut

FOLDER = "atlasae"  # folder of a compressed file with the trees that decompression needs
TITLES = {  # of the trees in FOLDER
    "runs": "one row a compression",
    "chunks": "one row a chunk of events",
    "models": "one row a model that is not packaged",
}

_BRACKETS = str.maketrans("[]", "__")  # of a name: in the title of a leaf, brackets give a shape
LIST = "[]"  # follows a collection in the path of an RNTuple's member, as in `Jet[].pt`


@dataclass(frozen=True)
class Branch:
    """A branch: its name, the `dtype` of its numbers, whether entries are lists (`jagged`), and the counter of these.

    `dtype` is `string` or ends in ` array` where an entry is neither a number nor a list of numbers; in an RNTuple, any
    awkward type.
    """

    name: str
    dtype: str
    jagged: bool
    counter: str | None = None

    @property
    def is_float(self) -> bool:
        """Whether the numbers are float32 or float64, as a variable of jets needs."""
        return self.dtype[1:] in ("f4", "f8")

    @property
    def is_float_array(self) -> bool:
        """Whether an entry is an array of as many float32 or float64 as every other."""
        return self.dtype[1:] in ("f4 array", "f8 array")

    @property
    def holds_numbers(self) -> bool:
        """Whether an entry is a number or a list of numbers."""
        return self.dtype.startswith(("<", ">", "|")) and " " not in self.dtype


@dataclass(frozen=True)
class Unwritable:
    """A branch that can't be carried, and why; `branch` describes it if an RNTuple could hold it, but no TTree."""

    name: str
    why: str
    branch: Branch | None = None


def listed(things: Sequence[Unwritable | LeftOut], most: int = 5) -> str:
    """The first `most` items, each with its reason, and the number of the others."""
    more = f"; and {len(things) - most} more" * (len(things) > most)
    return "; ".join(f"{thing.name} ({thing.why})" for thing in things[:most]) + more


def plain(name: str) -> str:
    """The name with underscores instead of brackets, which has the same length.

    >>> plain("x[3]")
    'x_3_'
    """
    return name.translate(_BRACKETS)
