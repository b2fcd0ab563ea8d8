#!/usr/bin/env python
"""Networks that encode four jet variables as three floats, compared on jets that none of them was trained on.

FILE is split by event: 60 % for training, 10 % for validation, 30 % for the test. The classic networks are trained on
the first part and on all jets of --more, the others on the first part. Every row has the half-widths of the central
68 % of the residuals of the test jets, relative for pt, m (above 0.5 GeV only), E and the mass of dijets, absolute for
eta and phi. Dijets are the two leading jets of an event, both above 60 GeV and more than 2.5 apart in phi. Networks on
(pt, eta, phi, E) can have a small residual of E and a large one of m: compare the columns m and dijet mass.
--checkpoint takes the published AE_3D_200, unchanged and fine-tuned. Training takes a quarter of an hour or more.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import HERE, Given, Row, Tables, cpu_seconds, main

from atlasae.codecs.bottleneck import Autoencoder
from atlasae.codecs.model import Model, default_model
from atlasae.codecs.search import choose_codec
from atlasae.compression.compress import compress_file
from atlasae.files.events import Table
from atlasae.files.tables import write_table
from atlasae.jets.coordinates import Floats
from atlasae.jets.layouts import Layout
from atlasae.jets.precision import Precision
from atlasae.jets.residuals import back_to_back, half_width, mass_response, residuals, two_leading
from atlasae.jets.stored import Storage
from atlasae.training.checkpoints import import_checkpoint
from atlasae.training.recipes import Recipe, read_recipe
from atlasae.training.train import Split, TrainingSample, describe_jets, event_parts, fit, read_samples, untrained

RECIPES = HERE.parent / "recipes"
SHARES, SEED = (0.6, 0.1), 1
COLUMNS = ("pt", "m", "eta", "phi", "E", "dijet mass")

Way = Callable[[Floats], Floats]  # jets (n x 4, MeV) to decoded jets
Network = tuple[str, Autoencoder, Row]


def split(sample: TrainingSample, more: Floats) -> tuple[Split, np.ndarray]:
    """Training, validation and test jets, and the test jets per event."""
    chosen = event_parts(sample.events, SEED, SHARES)
    jets = [sample.jets[part] for part in chosen]
    counts = np.unique(sample.events[chosen[2]], return_counts=True)[1]
    return Split(np.concatenate([jets[0], more]), jets[1], jets[2]), counts


def widths(before: Floats, after: Floats, counts: np.ndarray) -> Row:
    """The half-widths of one row."""
    found, dijets = residuals(before, after), back_to_back(before, counts)
    found["m"] = mass_response(before, after)
    masses = [two_leading(jets, counts)[dijets] for jets in (after, before)]
    found["dijet mass"] = masses[0] / masses[1] - 1
    row = {column: half_width(found[column]) for column in COLUMNS}
    return row | {"mean of pt, m, eta, phi": float(np.prod([row[v] for v in ("pt", "m", "eta", "phi")]) ** 0.25)}


def simple_ways(training: Floats) -> Iterator[tuple[str, Way]]:
    """Ways to keep three floats, or four numbers in as many bits, without a network."""
    edges = np.quantile(training[:, 0], np.linspace(0, 1, 41))

    def bins(jets: Floats) -> Floats:
        return np.clip(np.searchsorted(edges, jets[:, 0]) - 1, 0, 39)

    medians = np.array([np.median(training[bins(training) == k, 3]) for k in range(40)])

    def rounded(jets: Floats, bits: int) -> Floats:
        scaled = np.stack([np.log10(jets[:, 0]), *jets[:, 1:3].T, np.log10(np.maximum(jets[:, 3], 0) + 1)], axis=1)
        low, high = scaled.min(axis=0), scaled.max(axis=0)
        steps = (high - low) / (2**bits - 1)
        back = np.rint((scaled - low) / steps) * steps + low
        return np.stack([10 ** back[:, 0], *back[:, 1:3].T, 10 ** back[:, 3] - 1], axis=1)

    kept = "no network: pt, eta, phi kept, m the median in its pt bin"
    yield kept, lambda jets: np.column_stack([jets[:, :3], medians[bins(jets)]])
    yield "no network: four 12-bit numbers (6 bytes a jet)", partial(rounded, bits=12)
    yield "no network: four 17-bit numbers (three floats)", partial(rounded, bits=17)


def through(autoencoder: Autoencoder, training: Floats) -> Way:
    """A function from jets to decoded ones: with `--precision full` on the range of training jets, where it has one."""
    storage = Storage(Layout(("pt", "eta", "phi", "m")), (np.dtype("<f8"),) * 4, 1.0)
    chosen = Precision.parse("full")
    codec = choose_codec(autoencoder, storage, chosen, list(training.T), lambda encoded, kept: 0)
    return lambda jets: codec.decode(codec.encode(jets))


def trained(recipe: Recipe, jets: Split, start: Autoencoder | None = None) -> tuple[Autoencoder, Row]:
    """A network trained on these jets, and the seconds of its training."""
    torch.manual_seed(recipe.seed)
    autoencoder = start or untrained(recipe, jets.training)
    began = cpu_seconds()
    fit(autoencoder, jets, recipe)
    return autoencoder, {"trained, CPU s": cpu_seconds() - began}


def size(jets: Floats, model: str, folder: Path) -> Row:
    """Bytes per jet of a table of these jets at precision 1e-3, as `atlasae compress` writes it."""
    columns = {v: jets[:, i].astype(np.float32) for i, v in enumerate(("pt", "eta", "phi", "m"))}
    write_table(folder / "test.pkl", Table(columns))
    report = compress_file(folder / "test.pkl", folder / "test.root", units="MeV", model=model, force=True)
    return {"bytes per jet at 1e-3": float(report["bytes_per_jet"])}


def networks(given: Given, jets: Split, alone: Split) -> Iterator[Network]:
    """The classic networks, trained here and published, and the invertible autoencoder, packaged and of FILE alone."""
    for name in ("mlp_E", "mlp_m"):
        recipe = read_recipe(RECIPES / f"{name}.toml", given.settings)
        yield f"mlp on ({', '.join(recipe.network.columns)})", *trained(recipe, jets)
    if given.checkpoint:
        published = import_checkpoint(Path(given.checkpoint), RECIPES / "ae_3d_200.toml").autoencoder
        yield "AE_3D_200 as published, (pt, eta, phi, E)", published, {}
        tuned = trained(read_recipe(RECIPES / "fine_tune.toml", given.settings), alone, published)
        yield "AE_3D_200, fine-tuned", *tuned
    packaged, path = default_model().autoencoder, given.folder / "own.safetensors"
    yield "invertible, packaged, --precision full", packaged, size(alone.test, "default", given.folder)
    autoencoder, row = trained(Recipe(), alone)
    own = Model.from_autoencoder(autoencoder, describe_jets(autoencoder, alone.training))
    path.write_bytes(own.content)
    row |= size(alone.test, str(path), given.folder)
    yield "invertible, trained on FILE, --precision full", own.autoencoder, row


def measure(given: Given) -> Tables:
    """The table with a row for each network."""
    more = read_samples(list(map(Path, given.more))).jets if given.more else np.empty((0, 4))
    jets, counts = split(read_samples(given.files), more)
    alone, table = replace(jets, training=jets.training[: len(jets.training) - len(more)]), {}
    for name, way in simple_ways(alone.training):
        table[name] = widths(jets.test, way(jets.test), counts)
    for name, network, row in networks(given, jets, alone):
        table[name] = widths(jets.test, through(network, alone.training)(jets.test), counts) | row
    return {"three floats": table}


if __name__ == "__main__":
    main(__doc__, measure, more=[], checkpoint=None, settings=[])
