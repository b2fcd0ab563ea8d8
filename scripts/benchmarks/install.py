#!/usr/bin/env python
"""What `pip install` takes: megabytes of a new environment, and of torch alone; needs a package index.

Each extra is added to the environment in turn, so that what it shares with those before is not counted again. Sizes are
of site-packages without pip; torch is the version that scripts/constraints.txt pins, which has no CUDA.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from harness import HERE, MEGABYTE, Row, Tables, main

ROOT = HERE.parents[1]
CONSTRAINTS = HERE.parent / "constraints.txt"


def megabytes(path: Path) -> float:
    """The size of a file, or of all files in a folder, pip's own left out."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file() and f.relative_to(path).parts[:1] != ("pip",)) / MEGABYTE


def pip(python: Path | str, *arguments: object) -> None:
    """Run pip of a Python, with the versions that the tests use."""
    line = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, "--constraint", CONSTRAINTS]
    subprocess.run([str(one) for one in line], check=True)


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Megabytes of torch's wheel, of torch, of all that atlasae needs, and what each extra adds."""
    pip(sys.executable, "download", "--no-deps", "--dest", folder / "wheels", "torch")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    (packages,) = (folder / "env" / "lib").glob("*/site-packages")
    pip(python, "install", ROOT)
    before = megabytes(packages)
    row: Row = {"torch's wheel": megabytes(folder / "wheels"), "torch": megabytes(packages / "torch"), "all": before}
    for extra in given.extras:
        pip(python, "install", f"{ROOT}[{extra}]")
        after = megabytes(packages)
        row[f"[{extra}] adds"], before = after - before, after
    return {"MB": {name: {"MB": figure} for name, figure in row.items()}}


if __name__ == "__main__":
    main(__doc__, measure, extras=["tables", "hdf5", "onnx"])
