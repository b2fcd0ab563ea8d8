"""Train the packaged default model from simulated jets that may be distributed.

    python scripts/generate_jets.py TRUTH.root --events 37000 --seed 101
    python scripts/generate_jets.py SMEARED.root --events 37000 --seed 202 --smear
    python scripts/train_default.py TRUTH.root SMEARED.root -o MODEL.safetensors

One sample is smeared and one is not, so the model knows both particle and detector jets. Jets of these samples have
pt > 20 GeV and |eta| < 4.9. For a model of softer jets (`atlasae help networks`) generate with `--events 14000 --pt-min
5 --eta-max 5`: then two thirds of the jets are below 20 GeV, of which one in five is taken, so that the harder ones are
known as well.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atlasae.codecs.codec import few_threads
from atlasae.codecs.model import LARGEST
from atlasae.training.loop import Course
from atlasae.training.recipes import Recipe
from atlasae.training.train import TrainingSample, learn_sample, read_samples

RECIPE = Recipe(seed=20261123, course=Course(steps=4000, patience=40))
SOFT, SHARE = 20_000.0, 0.2  # MeV, and the share of the jets below that are taken


def thinned(sample: TrainingSample) -> TrainingSample:
    """A sample with a share of its soft jets."""
    kept = (sample.jets[:, 0] > SOFT) | (np.random.default_rng(RECIPE.seed).random(len(sample.jets)) < SHARE)
    return TrainingSample(sample.jets[kept], sample.events[kept])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, report figures on the test jets, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    with few_threads():
        model, _ = learn_sample(thinned(read_samples(args.inputs)), [path.name for path in args.inputs], RECIPE)
    assert len(model.content) <= LARGEST, f"{len(model.content)} bytes: a packaged model has at most {LARGEST}"
    args.output.write_bytes(model.content)
    print(json.dumps(model.facts, indent=1))
    print(f"{args.output}: {len(model.content)} bytes, SHA-256 {model.sha256}")


if __name__ == "__main__":
    main()
