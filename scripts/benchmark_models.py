#!/usr/bin/env python
"""Networks that turn four jet variables into three floats, side by side on jets none of them was trained on.

    python scripts/benchmark_models.py [JETS] [--more FILE...] [--checkpoint FILE.pth] [--skip NAME...] [--json]

JETS (data/jets.root unless given) is split by event: 60 % to train on, 10 % to validate on, 30 % to be tested on. The
classic networks are trained on the first part and on all jets of --more, the others on the first part. Every row is the
half-width of the central 68 % of the residuals of the test jets: pt, m, E and the mass of dijets relative, eta and phi
differences; m only where it is over 0.5 GeV. Dijets are the two leading jets of an event, both beyond 60 GeV and more
than 2.5 apart in phi. Networks on (pt, eta, phi, E) look good because E says nothing of the mass: look at the columns m
and dijet. --checkpoint takes the published AE_3D_200, as it is and fine-tuned.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.floats import AnyCodec, BottleneckCodec
from atlasae.codecs.model import Autoencoder, Model, default_model
from atlasae.codecs.search import choose_codec
from atlasae.compression.compress import compress_file
from atlasae.compression.plan import Options
from atlasae.files.tables import Table, write_table
from atlasae.jets.coordinates import Floats, energy, wrap
from atlasae.jets.layouts import Layout
from atlasae.jets.precision import Precision
from atlasae.jets.residuals import half_width, residuals
from atlasae.jets.stored import Storage
from atlasae.training.checkpoints import import_checkpoint
from atlasae.training.recipes import Recipe, read_recipe
from atlasae.training.train import Sample, Split, describe_jets, event_parts, fit, read_samples, untrained

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "scripts" / "recipes"
SHARES, SEED = (0.6, 0.1), 1
LIGHT = 500.0  # MeV: below it the relative residual of m says nothing
DIJET_PT, DIJET_PHI = 60_000.0, 2.5
COLUMNS = ("pt", "m", "eta", "phi", "E", "dijet")

Codecs = Callable[[Floats], Floats]  # jets (n x 4, MeV) to what comes back


def split(sample: Sample, more: Floats) -> tuple[Split, np.ndarray]:
    """Training, validation and test jets, and the events of the test jets."""
    chosen = event_parts(sample.events, SEED, SHARES)
    jets = [sample.jets[part] for part in chosen]
    return Split(np.concatenate([jets[0], more]), jets[1], jets[2]), sample.events[chosen[2]]


def widths(before: Floats, after: Floats, events: np.ndarray) -> dict[str, float]:
    """The half-widths of one row."""
    found = residuals(before, after)
    heavy = before[:, 3] > LIGHT
    found["m"] = np.maximum(after[heavy, 3], 0) / before[heavy, 3] - 1  # an imaginary mass is taken as 0
    pairs = dijets(before, events)
    found["dijet"] = pair_mass(after, pairs) / pair_mass(before, pairs) - 1
    row = {column: half_width(found[column]) for column in COLUMNS}
    return row | {"mean": float(np.prod([row[v] for v in ("pt", "m", "eta", "phi")]) ** 0.25)}


def dijets(jets: Floats, events: np.ndarray) -> np.ndarray:
    """Rows of the two leading jets of every dijet event (k x 2)."""
    order = np.lexsort((-jets[:, 0], events))
    first = order[np.unique(events[order], return_index=True)[1]]
    second_at = np.searchsorted(events[order], events[first]) + 1
    has_two = (second_at < len(order)) & (events[order[np.minimum(second_at, len(order) - 1)]] == events[first])
    pairs: np.ndarray = np.stack([first[has_two], order[second_at[has_two]]], axis=1)
    hard = (jets[pairs, 0] > DIJET_PT).all(axis=1)
    apart = np.abs(wrap(jets[pairs[:, 0], 2] - jets[pairs[:, 1], 2])) > DIJET_PHI
    return np.asarray(pairs[hard & apart])


def pair_mass(jets: Floats, pairs: np.ndarray) -> Floats:
    """Invariant mass (MeV) of pairs of jets."""
    pt, eta, phi, _ = jets.T
    momenta = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy(jets)])[:, pairs].sum(axis=2)
    return np.asarray(np.sqrt(np.maximum(momenta[3] ** 2 - (momenta[:3] ** 2).sum(axis=0), 0)))


def simple_codecs(training: Floats) -> Iterator[tuple[str, Codecs]]:
    """What three floats can do without any network."""
    edges = np.quantile(training[:, 0], np.linspace(0, 1, 41))
    bins = np.clip(np.searchsorted(edges, training[:, 0]) - 1, 0, 39)
    medians = np.array([np.median(training[bins == k, 3]) for k in range(40)])

    def keep_three(jets: Floats) -> Floats:
        kept = jets.copy()
        kept[:, 3] = medians[np.clip(np.searchsorted(edges, jets[:, 0]) - 1, 0, 39)]
        return kept

    def four_numbers(bits: int) -> Codecs:
        def rounded(jets: Floats) -> Floats:
            scaled = np.stack([np.log10(jets[:, 0]), *jets[:, 1:3].T, np.log10(np.maximum(jets[:, 3], 0) + 1)], axis=1)
            low, high = scaled.min(axis=0), scaled.max(axis=0)
            steps = (high - low) / (2**bits - 1)
            back = np.rint((scaled - low) / steps) * steps + low
            return np.stack([10 ** back[:, 0], *back[:, 1:3].T, 10 ** back[:, 3] - 1], axis=1)

        return rounded

    yield "no network: pt, eta, phi kept, m the median in its pt bin", keep_three
    yield "no network: four 12-bit numbers (6 bytes a jet)", four_numbers(12)
    yield "no network: four 17-bit numbers (three floats)", four_numbers(17)


def through(codec: AnyCodec) -> Codecs:
    """A codec as jets to what comes back."""
    return lambda jets: codec.decode(codec.encode(jets))


def full_codec(autoencoder: Autoencoder, training: Floats) -> AnyCodec:
    """The codec of an invertible autoencoder with `--precision full`, its range chosen on training jets."""
    storage = Storage(Layout(("pt", "eta", "phi", "m")), (np.dtype("<f8"),) * 4, 1.0)
    return choose_codec(autoencoder, storage, Precision.parse("full"), list(training.T), lambda encoded, kept: 0)


def trained(recipe: Recipe, jets: Split, start: Autoencoder | None = None) -> tuple[Autoencoder, float]:
    """A network trained on these jets, and the seconds it took."""
    torch.manual_seed(recipe.seed)
    autoencoder = start or untrained(recipe, jets.training)
    begun = time.perf_counter()
    fit(autoencoder, jets, recipe)
    return autoencoder, time.perf_counter() - begun


def bytes_per_jet(jets: Floats, model: str, folder: Path) -> float:
    """Bytes per jet of a table of these jets at precision 1e-3, as `atlasae compress` writes it."""
    columns = {v: jets[:, i].astype(np.float32) for i, v in enumerate(("pt", "eta", "phi", "m"))}
    write_table(folder / "test.pkl", Table(columns))
    options = Options(Precision.parse("1e-3"), units="MeV", model=model, force=True)
    return float(compress_file(folder / "test.pkl", folder / "test.root", options)["bytes_per_jet"])


def classic_rows(args: argparse.Namespace, jets: Split, alone: Split) -> Iterator[tuple[str, Codecs, float | None]]:
    """The classic networks: trained here, and the published one."""
    for name in ("mlp_E", "mlp_m"):
        if name not in args.skip:
            recipe = read_recipe(RECIPES / f"{name}.toml", args.settings)
            network, seconds = trained(recipe, jets)
            yield f"mlp on ({', '.join(recipe.network.columns)})", through(codec_of(network)), seconds
    if args.checkpoint:
        published = import_checkpoint(args.checkpoint, RECIPES / "ae_3d_200.toml").autoencoder
        yield "AE_3D_200 as published, (pt, eta, phi, E)", through(codec_of(published)), None
        recipe = read_recipe(RECIPES / "fine_tune.toml", args.settings)
        tuned, seconds = trained(recipe, alone, published)
        yield "AE_3D_200, fine-tuned", through(codec_of(tuned)), seconds


def codec_of(autoencoder: Autoencoder) -> BottleneckCodec:
    """The codec of a classic network."""
    assert not isinstance(autoencoder, InvertibleAutoencoder)
    return BottleneckCodec(autoencoder)


def invertible_rows(alone: Split, folder: Path) -> Iterator[tuple[str, Codecs, float | None, float]]:
    """The invertible autoencoder with all 69 bits: packaged, and trained on JETS alone."""
    packaged, own = default_model().autoencoder, alone.training
    size = bytes_per_jet(alone.test, "default", folder)
    yield "invertible, packaged, --precision full", through(full_codec(packaged, own)), None, size
    autoencoder, seconds = trained(Recipe(), alone)
    model = Model.from_autoencoder(autoencoder, describe_jets(autoencoder, own))
    (folder / "own.safetensors").write_bytes(model.content)
    size = bytes_per_jet(alone.test, str(folder / "own.safetensors"), folder)
    yield "invertible, trained on JETS, --precision full", through(full_codec(model.autoencoder, own)), seconds, size


def measure(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """All rows, as they are found: some take minutes."""
    sample = read_samples([args.jets])
    more = read_samples(args.more).jets if args.more else np.empty((0, 4))
    jets, events = split(sample, more)
    alone = replace(jets, training=jets.training[: len(jets.training) - len(more)])

    def row(name: str, codec: Codecs, seconds: float | None = None, size: float | None = None) -> dict[str, Any]:
        found = {"name": name, "seconds": seconds, "bytes_per_jet_at_1e-3": size}
        return found | widths(jets.test, codec(jets.test), events)

    for name, codec in simple_codecs(alone.training):
        yield row(name, codec)
    for name, codec, seconds in classic_rows(args, jets, alone):
        yield row(name, codec, seconds)
    for name, codec, seconds, size in invertible_rows(alone, folder):
        yield row(name, codec, seconds, size)


def table(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The rows in Markdown."""
    yield "| three floats | pt | m | eta | phi | E | dijet mass | mean of pt, m, eta, phi | trained | bytes at 1e-3 |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        figures = " | ".join(f"{row[column]:.2g}" for column in (*COLUMNS, "mean"))
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f} s"
        size = "" if row["bytes_per_jet_at_1e-3"] is None else f"{row['bytes_per_jet_at_1e-3']:.3f}"
        yield f"| {row['name']} | {figures} | {seconds} | {size} |"


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jets", type=Path, nargs="?", default=ROOT / "data" / "jets.root", metavar="JETS")
    parser.add_argument("--more", type=Path, nargs="+", default=[], metavar="FILE", help="jets to train on, too")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE.pth", help="the published AE_3D_200")
    parser.add_argument("--skip", nargs="+", default=[], choices=("mlp_E", "mlp_m"))
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of recipes")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
        for line in [json.dumps(list(rows))] if args.json else table(rows):
            print(line, flush=True)


if __name__ == "__main__":
    main()
