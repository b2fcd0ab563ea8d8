#!/usr/bin/env python
"""What `pip install` takes: megabytes of a new environment, and of torch alone; needs a package index.

Each extra is added to the environment in turn, so that what it shares with those before is not counted again. Sizes are
of site-packages without pip; torch is the version that scripts/constraints.txt pins, which has no CUDA.
"""

import subprocess
import sys
from pathlib import Path

from harness import HERE, MEGABYTE, Given, Row, Tables, main

ROOT = HERE.parents[1]
CONSTRAINTS = HERE.parent / "constraints.txt"


def size(folder: Path) -> float:
    """Megabytes of all files in a folder, pip's own left out."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != "pip"]
    return sum(path.stat().st_size for path in files) / MEGABYTE


def pip(python: Path | str, *arguments: object) -> None:
    """Run pip of a Python, with the versions that the tests use."""
    line = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, "--constraint", CONSTRAINTS]
    subprocess.run(list(map(str, line)), check=True)


def measure(given: Given) -> Tables:
    """Megabytes of torch's wheel, of torch, of all that atlasae needs, and what each extra adds."""
    wheels, environment = given.folder / "wheels", given.folder / "env"
    pip(sys.executable, "download", "--no-deps", "--dest", wheels, "torch")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    (packages,) = (environment / "lib").glob("*/site-packages")
    pip(python, "install", ROOT)
    before = size(packages)
    row: Row = {"torch's wheel": size(wheels), "torch": size(packages / "torch"), "all": before}
    for extra in given.extras:
        pip(python, "install", f"{ROOT}[{extra}]")
        after = size(packages)
        row[f"[{extra}] adds"], before = after - before, after
    return {"MB": {name: {"MB": figure} for name, figure in row.items()}}


if __name__ == "__main__":
    main(__doc__, measure, extras=["tables", "hdf5", "onnx"])
