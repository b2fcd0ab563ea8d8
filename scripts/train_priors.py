"""Make the packaged priors of the packed layout from simulated events that may be distributed.

    python scripts/generate_jets.py TRUTH.root --events 110000 --seed 101
    python scripts/generate_jets.py SMEARED.root --events 110000 --seed 303 --smear
    python scripts/train_priors.py TRUTH.root SMEARED.root [-o atlasae/models/priors.safetensors]

The same as `atlasae train --arch tables`, but without the packaged priors as a start.
"""

import argparse
from pathlib import Path

from atlasae.training.tables import count_files

DEFAULT = Path(__file__).parents[1] / "atlasae" / "models" / "priors.safetensors"


def main() -> None:
    """Count, and write the priors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT)
    args = parser.parse_args()
    priors, jets = count_files(args.inputs)
    args.output.write_bytes(priors.content)
    print(f"{args.output}: {jets} jets, {len(priors.content)} bytes, SHA-256 {priors.sha256}")


if __name__ == "__main__":
    main()
