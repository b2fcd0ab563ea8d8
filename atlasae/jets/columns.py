"""The columns of a collection: all jets of a run of events, variable by variable."""

from collections.abc import Mapping, Sequence

import awkward as ak
import numpy as np

from atlasae.errors import UserError
from atlasae.files.events import Array, Counts, flatten
from atlasae.jets.collections import Collection
from atlasae.jets.coordinates import Bools


def to_columns(collection: Collection, events: Mapping[str, ak.Array]) -> tuple[list[Array], Counts]:
    """The four stored variables of every jet (flat, in their own dtypes) and the jets per event.

    Raises UserError where the four branches do not hold equally many jets in every event.
    """
    parts = {name: flatten(events[name]) for name in collection.branches.values()}
    counts = [count for _, count in parts.values()]
    for name, (_, count) in parts.items():
        if not np.array_equal(count, counts[0]):
            first = next(iter(parts))
            raise UserError(f"'{first}' and '{name}' differ in jets per event: not one collection; choose with --jets")
    return [values for values, _ in parts.values()], counts[0]


def same_bits(before: Sequence[Array], after: Sequence[Array]) -> Bools:
    """Whether each jet of some columns is bit for bit that of others, in the types of the first."""
    with np.errstate(all="ignore"):
        pairs = [(a, b.astype(a.dtype, copy=False)) for a, b in zip(before, after, strict=True)]
    return np.asarray(np.all([a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}") for a, b in pairs], axis=0))
