"""What a tree holds: branches, what they are of, and how a file of ours names its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlasae.report import LeftOut

FOLDER = "atlasae"  # of a compressed file: what atlasae needs to undo its work
TITLES = {  # of the trees in it
    "runs": "one row a compression",
    "chunks": "one row a chunk of events",
    "models": "one row a model that is not packaged",
}

LIST = "[]"  # in the place of a member of an RNTuple's records, `Jet[].pt`: behind a collection


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


def listed(things: Sequence[Unwritable | LeftOut], most: int = 5) -> str:
    """The first of what can't be written, each with its reason, and how many more there are."""
    more = f"; and {len(things) - most} more" * (len(things) > most)
    return "; ".join(f"{thing.name} ({thing.why})" for thing in things[:most]) + more
