"""Bytes per jet against the guaranteed precision, for atlasae and its peers."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.codec import few_threads
from atlasae.compression.chunks import Progress, silent
from atlasae.compression.compress import compress_file
from atlasae.compression.plan import Options
from atlasae.errors import UserError
from atlasae.files.events import unflatten_all
from atlasae.files.remote import Location
from atlasae.files.writing import create
from atlasae.jets.coordinates import Floats
from atlasae.jets.inputs import find_in, open_input
from atlasae.jets.precision import Precision
from atlasae.jets.variables import JET
from atlasae.reports.peers import Sample, peers, read_sample
from atlasae.reports.results import BenchmarkReport
from atlasae.training.loop import bits_per_row
from atlasae.training.train import FEWEST_EVENTS, learn_from

PRECISIONS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
ENOUGH_JETS = 200_000  # of a file, about: more change no printed digit
_FIRST = 1000  # entries read to estimate the jets per entry
OURS, PACKED = "atlasae, three floats", "atlasae, packed"
FLOOR = "entropy (fitted model)"
TREE = "jets"


def benchmark_file(
    path: Location,
    patterns: Sequence[str] = (),
    units: str | None = None,
    model: str = "default",
    progress: Progress | None = None,
) -> BenchmarkReport:
    """Measure about 200,000 jets of a file's first collection, from its first entry on; returns the report.

    Jets without coordinates (NaN, pt <= 0) are left out. `curves` maps methods to bytes per jet, one for each of
    `precisions`; null where a method can't hold that precision. Raises UserError for too few jets.
    """
    sample = read_all_jets(path, patterns, units)
    rows = []
    with few_threads(), tempfile.TemporaryDirectory() as folder:
        entropy = fit_entropy(sample.jets)
        for done, bound in enumerate(PRECISIONS, start=1):
            row = {OURS: compressed_bytes(sample, bound, model, Path(folder))}
            row[PACKED] = compressed_bytes(sample, bound, "default", Path(folder), packed=True)
            rows.append(row | peers(sample, bound, Path(folder)) | {FLOOR: entropy(bound)})
            (progress or silent)(done, len(PRECISIONS))
    names = dict.fromkeys(name for row in rows for name in row)
    return BenchmarkReport(
        input=path.name,
        collection=sample.collection.name,
        branches=sample.collection.branches,
        jets=len(sample.columns[0]),
        precisions=list(PRECISIONS),
        curves={name: [row.get(name) for row in rows] for name in names},
        missing=[package for package in ("pcodec", "pysz") if find_spec(package) is None],
    )


def read_all_jets(path: Location, patterns: Sequence[str], units: str | None) -> Sample:
    """The jets with coordinates of the first collection of a file."""
    with open_input(path, None, patterns) as opened:
        collection = find_in(opened.events, opened.where, patterns, opened.tree)[0]
        some = len(read_sample(opened, collection, _FIRST).columns[0]) or 1
        enough = min(opened.events.entries, _FIRST) * (ENOUGH_JETS / some)
        sample = read_sample(opened, collection, math.ceil(enough)).settled(units).with_coordinates()
    if len(sample.columns[0]) < FEWEST_EVENTS:
        raise UserError(f"'{path}' has {len(sample.columns[0])} jets to measure: at least {FEWEST_EVENTS} are needed")
    return sample


def compressed_bytes(sample: Sample, bound: float, model: str, folder: Path, packed: bool = False) -> float:
    """Bytes per jet of a sample compressed by atlasae, a model of its own included."""
    path, names = folder / "sample.root", sample.collection.branches
    columns = dict(zip(names.values(), sample.columns, strict=True))
    events = unflatten_all(columns, sample.counts, sample.collection.jagged)
    with create(path) as target:
        target.make_tree(TREE, events, counters=dict.fromkeys(events, "njets")).extend(events)
    pattern = ",".join(f"{variable}={name}" for variable, name in names.items())
    given = Options(Precision.parse(f"{bound:g}"), jets=(pattern,), units=sample.collection.units, force=True)
    options = replace(given, model=model, packed=packed)
    return float(compress_file(path, folder / "compressed.root", options).bytes_per_jet or 0)


def fit_entropy(jets: Floats) -> Callable[[float], float]:
    """Fit a model to four fifths of the jets; returns the bytes per jet of the others as a function of the bound.

    That is the entropy: no coder that codes jets one by one with this model takes fewer bytes. Other models may.
    """
    shuffled = np.random.default_rng(1).permutation(jets)
    test, training = np.split(shuffled, [len(jets) // 5])
    autoencoder = learn_from(training).autoencoder
    assert isinstance(autoencoder, InvertibleAutoencoder)
    coordinates = torch.from_numpy(JET.to_coordinates(test))
    return lambda bound: bits_per_row(autoencoder, coordinates, 2 * float(np.log1p(bound))) / 8
