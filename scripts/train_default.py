"""Train the packaged default model from simulated jets that may be shipped.

    python scripts/train_default.py TRUTH.root SMEARED.root [-o atlasae/models/default.safetensors]

The inputs are made by scripts/generate_jets.py, with and without --smear, so that the model has seen both particle
and detector jets. A fifth of each file's events is kept out of the training and only measured.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from atlasae.collection import storage_of
from atlasae.columns import to_columns
from atlasae.coordinates import is_physical, to_coordinates
from atlasae.model import LARGEST, Model
from atlasae.planning import open_input
from atlasae.schema import find_collections
from atlasae.training import bits_per_jet, fit

STEPS = 4000
SEED = 20261123
HELD_OUT = 5  # every fifth chunk of events


def read_jets(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the jets to train on and of those held out (both n x 4), split by event."""
    with open_input(path, None, ()) as opened:
        (collection,) = find_collections(opened.events.branches)
        storage = storage_of(collection.settled("MeV"))
        parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for i, start in enumerate(range(0, opened.events.entries, 1000)):
            stop = min(start + 1000, opened.events.entries)
            events = opened.events.read(list(collection.branches.values()), start, stop)
            jets = storage.layout.to_jets(storage.to_values(to_columns(collection, events)[0]))
            parts[i % HELD_OUT == 0].append(to_coordinates(jets[is_physical(jets)]))
    return np.concatenate(parts[0]), np.concatenate(parts[1])


def domain(coordinates: np.ndarray) -> dict[str, list[float]]:
    """The quantiles of each coordinate that the model has seen."""
    ends = np.quantile(coordinates, [0.001, 0.5, 0.999], axis=0)
    return {name: ends[:, i].round(4).tolist() for i, name in enumerate(("log_pt", "eta", "phi", "mu"))}


def main() -> None:
    """Train, report the bits per jet on jets held out, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path)
    default = Path(__file__).parents[1] / "atlasae" / "models" / "default.safetensors"
    parser.add_argument("-o", "--output", type=Path, default=default)
    args = parser.parse_args()
    split = {path.name: read_jets(path) for path in args.inputs}
    training = np.concatenate([train for train, _ in split.values()])
    autoencoder = fit(torch.from_numpy(training), STEPS, SEED)
    facts = {
        "columns": ["pt", "eta", "phi", "m"],
        "units": "MeV",
        "coordinates": ["log pt", "eta", "phi", "mu(m), linear below 100 MeV, logarithmic above"],
        "domain_quantiles": domain(training),
        "provenance": {
            "files": list(split),
            "jets": len(training),
            "seed": SEED,
            "steps": STEPS,
            "torch": version("torch"),
        },
        "held_out_bits_per_jet": {
            name: round(bits_per_jet(autoencoder, torch.from_numpy(test), 2e-3), 2) for name, (_, test) in split.items()
        },
    }
    model = Model.from_autoencoder(autoencoder, facts)
    assert len(model.content) <= LARGEST, f"{len(model.content)} bytes: a packaged model has at most {LARGEST}"
    args.output.write_bytes(model.content)
    print(json.dumps(facts, indent=1))
    print(f"{args.output}: {len(model.content)} bytes, SHA-256 {model.sha256}")


if __name__ == "__main__":
    main()
