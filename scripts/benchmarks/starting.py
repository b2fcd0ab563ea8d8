#!/usr/bin/env python
"""CPU time of commands that hardly work: help, info of each FILE compressed, and compress and decompress of 100 jets.

They are compared with a Python that only imports uproot, or uproot and torch. Each is a process of its own.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness import COMMAND, LAYOUTS, Jobs, Table, Tables, command, long_file, main, take_turns

UPROOT, WITH_TORCH = "import uproot", "import uproot, torch"
FEW = 100  # jets


def python(line: str) -> Callable[[], object]:
    """Prepare a Python that runs a line."""
    return lambda: subprocess.run([sys.executable, "-c", line], check=True).returncode


JOBS: Jobs = {"python": python}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """The CPU seconds of each, and their ratios to the imports."""
    jobs: dict[str, tuple[object, ...]] = {line: ("starting", "python", line) for line in (UPROOT, WITH_TORCH)}
    jobs["--help"] = (*COMMAND, "--help")
    for path in given.files:
        command("compress", path, small := folder / f"{path.stem}.small.root", "--quiet")
        jobs[f"info, {path.name}"] = (*COMMAND, "info", small)
    few = long_file(given.files[0], FEW, given.scratch)
    for layout in LAYOUTS:
        small, written = folder / f"{layout}.root", ("--force", "--quiet")
        jobs[f"compress {FEW} jets, {layout}"] = (*COMMAND, "compress", few, small, "--layout", layout, *written)
        jobs[f"decompress {FEW} jets, {layout}"] = (*COMMAND, "decompress", small, folder / "back.root", *written)
    seconds = {name: taken.cpu for name, taken in take_turns(jobs, given.times).items()}
    table = Table()
    for name, cpu in seconds.items():
        table[name] = {"CPU s": cpu} | {f"/ {line}": cpu / seconds[line] for line in (UPROOT, WITH_TORCH)}
    return {"starting": table}


if __name__ == "__main__":
    main(__doc__, measure, times=5)
