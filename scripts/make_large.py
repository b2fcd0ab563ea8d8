#!/usr/bin/env python
"""Make a long file of jets from a short one by repeating its tree, smeared differently each time.

    python scripts/make_large.py IN.root OUT.root --jets 2000000 [--seed S]

IN is a ROOT file with one jet collection, such as data/jets.root. Every repetition smears pt and m by 3 % and eta and
phi by 0.03, so that no jet and no sequence of bytes repeats. Other branches do not repeat either, as a compressor
would find that: floats are smeared like pt, integers that differ in all events (event numbers) continue, and all other
numbers are permuted; nested values and texts are unchanged. The file ends with the event of the last jet that was asked
for. The tree's title records how it was made.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import numpy as np

from atlasae.errors import UserError
from atlasae.files.events import flatten, unflatten, unflatten_all
from atlasae.files.trees import Tree, open_source
from atlasae.files.writing import create
from atlasae.jets.collections import Collection, name_counters
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import LARGEST_PHI, Floats, wrap
from atlasae.jets.inputs import choose_tree
from atlasae.jets.recognition import find_collections
from atlasae.jets.stored import Storage, storage_of
from atlasae.jets.units import settle
from atlasae.jets.variables import JET

EVENTS_AT_ONCE = 10_000  # events in a basket
RELATIVE = 0.03  # standard deviation of the factor of pt and m
ABSOLUTE = 0.03  # standard deviation of the shift of eta and phi
NUMBERS = r"\d+ \* (var \* )?(u?int|float)\d+"  # types of branches that are varied: a number or list per event
SEED = 1


@dataclass(frozen=True)
class Jets:
    """The only jet collection of a tree, and its storage."""

    tree: Tree
    collection: Collection
    storage: Storage

    @classmethod
    def of(cls, tree: Tree) -> "Jets":
        """The collection of a tree with its units; raises UserError unless there is exactly one, with jets."""
        found = find_collections(tree.branches)
        if len(found) != 1:
            raise UserError(f"tree '{tree.name}' has {len(found)} jet collections: give a file with one")
        columns, _ = to_columns(found[0], tree.read(list(found[0].branches.values()), 0, tree.entries))
        if not len(columns[0]):
            raise UserError(f"tree '{tree.name}' has no jets to repeat: give a file with some")
        (collection,) = settle(found, None, [columns])
        return cls(tree, collection, storage_of(collection))


def smear(jets: Floats, random: np.random.Generator) -> Floats:
    """Jets (n x 4: pt, eta, phi, m in MeV) smeared by about a detector's resolution; unphysical ones are unchanged."""
    noise = random.standard_normal(jets.shape)
    moved = jets.copy()
    moved[:, [0, 3]] *= np.exp(RELATIVE * noise[:, [0, 3]])
    moved[:, 1:3] += ABSOLUTE * noise[:, 1:3]
    moved[:, 2] = np.clip(wrap(moved[:, 2]), -LARGEST_PHI, LARGEST_PHI)
    return np.where(JET.usable(jets)[:, None], moved, jets)


def smear_events(source: Jets, events: dict[str, ak.Array], random: np.random.Generator) -> dict[str, ak.Array]:
    """The events with smeared jets."""
    columns, counts = to_columns(source.collection, events)
    storage = source.storage
    jets = smear(storage.rows(columns), random)
    smeared = storage.to_columns(storage.from_rows(jets))
    named = zip(source.collection.branches.values(), smeared, strict=True)
    return events | unflatten_all(dict(named), counts, source.collection.jagged)


def vary(array: ak.Array, first: int, random: np.random.Generator) -> ak.Array:
    """A variation of another branch, as further events may have it; `first` is the number of events before these."""
    if not re.fullmatch(NUMBERS, str(array.type)):
        return array
    values, counts = flatten(array)
    different = len(np.unique(values))
    if values.dtype.kind == "f" and different > len(values) / 2:
        varied = values * np.exp(RELATIVE * random.standard_normal(len(values))).astype(values.dtype)
    elif array.ndim == 1 and different == len(values):
        varied = values + np.array(first).astype(values.dtype)
    else:
        varied = random.permutation(values)
    return unflatten(varied, counts, array.ndim > 1)


def repeats(source: Jets, names: list[str], jets: int, seed: int) -> Iterator[dict[str, ak.Array]]:
    """Chunks of smeared events, up to the event with the last of `jets` jets."""
    own = list(source.collection.branches.values())
    left, repeat, first = jets, 0, own[0]
    while left > 0:
        random = np.random.default_rng([seed, repeat])
        for start in range(0, source.tree.entries, EVENTS_AT_ONCE):
            events = source.tree.read(names, start, min(start + EVENTS_AT_ONCE, source.tree.entries))
            running = np.cumsum(flatten(events[first])[1])
            wanted = int(np.searchsorted(running, left)) + 1
            some = {name: vary(array[:wanted], repeat * source.tree.entries, random) for name, array in events.items()}
            yield smear_events(source, some | {name: events[name][:wanted] for name in own}, random)
            left -= int(running[min(wanted, len(running)) - 1])
            if left <= 0:
                return
        repeat += 1


def make_large(path: Path, target: Path, jets: int, seed: int = SEED) -> None:
    """Write `target` with `jets` jets or a few more, made from those of `path`; raises UserError without jets."""
    with open_source(path) as file:
        source = Jets.of(choose_tree(file, None, ()))
        tree, collection = source.tree, source.collection
        own = set(collection.branches.values())
        others = [branch for branch in tree.branches if branch.name not in own]
        counters = name_counters([collection], others, {branch.name for branch in tree.branches})
        names = [branch.name for branch in tree.branches if branch.name not in counters.values()]
        title = f"{path.name} repeated to {jets} jets, smeared with seed {seed}"
        with create(target) as output:
            writer = None
            for events in repeats(source, names, jets, seed):
                writer = writer or output.make_tree(tree.name, events, title, counters, tree.compression)
                writer.extend(events)


def main() -> None:
    """Read the command line and make the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--jets", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    make_large(args.input, args.output, args.jets, args.seed)


if __name__ == "__main__":
    main()
