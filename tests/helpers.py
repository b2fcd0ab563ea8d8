"""Helpers that several test modules share besides conftest.py: jets of a codec, many files, merged files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from conftest import bits, declared, jet_grid, random_jets, read_tree

from atlasae.compression.compress import compress_file
from atlasae.compression.plan import Options
from atlasae.jets.layouts import Layout
from atlasae.jets.precision import Precision
from atlasae.jets.stored import Storage

PT_M, PT_E = ("pt", "eta", "phi", "m"), ("pt", "eta", "phi", "E")
P_E, P_M = ("px", "py", "pz", "E"), ("px", "py", "pz", "m")
SINGLE, DOUBLE = np.dtype("<f4"), np.dtype("<f8")
SPANS = (10.7, 12.0, 2 * math.pi, 19.0)  # ranges of the support of log pt, eta, phi, mu
PACKED = ("--layout", "packed")  # does not import torch, so that workers start faster


# --- jets of a codec


def table(n: int, seed: int = 1) -> np.ndarray:
    """Random jets (n x 4: pt, eta, phi, m in MeV)."""
    jets = random_jets(n, seed)
    return np.column_stack([jets[v] for v in PT_M])


def storage(variables: Sequence[str], dtype: np.dtype = DOUBLE, scale: float = 1.0) -> Storage:
    return Storage(Layout(tuple(variables)), (dtype,) * len(variables), scale)


def stored(jets: dict[str, np.ndarray], kept: Storage) -> list[np.ndarray]:
    """Jets as columns in the dtypes and units of a collection."""
    units = [1.0 if v in ("eta", "phi") else kept.scale for v in kept.layout.variables]
    return [(jets[v] / u).astype(dtype) for v, u, dtype in zip(kept.layout.variables, units, kept.dtypes, strict=True)]


def uniform_codec(step: float) -> Any:
    """A codec with equal steps over the whole support."""
    from atlasae.codecs.floats import FloatsCodec
    from atlasae.codecs.grid import radices
    from atlasae.codecs.model import default_model

    cells = tuple(span / step for span in SPANS)
    levels = tuple(math.ceil(n) for n in cells)
    return FloatsCodec(default_model().autoencoder, jet_grid(0.0, cells, (0, 0, 0, 0), levels, radices(levels)))


# --- many files


def compressed_alone(paths: list[Path], folder: Path) -> dict[str, bytes]:
    """The expected outputs: each file compressed by itself, as the bytes of its trees."""
    folder.mkdir()
    for path in paths:
        compress_file(path, folder / path.name, Options(Precision.parse("1e-3"), packed=True))
    return contents(folder)


def contents(folder: Path) -> dict[str, Any]:
    """The jets of every file of a folder, without ROOT's dates."""
    return {
        path.name: {name: bits(array) for name, array in read_tree(path, "Events").items()}
        for path in sorted(folder.glob("*.root"))
    }


def left_over(folder: Path) -> list[Path]:
    return list(folder.glob(".atlasae-*"))


# --- merged files


def merge(target: Path, *parts: Path) -> None:
    """Merge files as `hadd` does: the entries of every tree, part after part, of those parts that have it."""
    trees, holders = dict[str, dict[str, str]](), dict[str, list[Path]]()
    for part in parts:
        with uproot.open(part) as file:
            for name in file.keys(filter_classname="TTree", cycle=False):
                trees.setdefault(name, counters_of(file[name]))
                holders.setdefault(name, []).append(part)
    with uproot.recreate(target) as file:
        for tree, counters in trees.items():
            events = [read_tree(part, tree) for part in holders[tree]]
            joined = {name: ak.concatenate([part[name] for part in events]) for name in events[0]}
            types = {name: declared(array) for name, array in joined.items()}
            file.mktree(tree, types, counter_name=lambda name, known=counters: known[name]).extend(joined)


def counters_of(tree: uproot.TTree) -> dict[str, str]:
    leaves = {branch.name: branch.member("fLeaves")[0].member("fLeafCount") for branch in tree.branches}
    return {name: counter.member("fName") for name, counter in leaves.items() if counter is not None}
