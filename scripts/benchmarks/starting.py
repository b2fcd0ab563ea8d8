#!/usr/bin/env python
"""CPU time of commands that hardly work: help, info of each FILE compressed, and compress and decompress of 100 jets.

They are compared with a Python that only imports uproot, or uproot and torch. Each is a process of its own.
"""

import subprocess
import sys

from harness import LAYOUTS, Given, Job, Table, Tables, Work, command, main, run_atlasae, take_turns

UPROOT, WITH_TORCH = "import uproot", "import uproot, torch"
FEW = 100  # jets


def run_python(line: str) -> Work:
    """Prepare a Python that runs a line."""
    return lambda: subprocess.run([sys.executable, "-c", line], check=True).returncode


def jobs_of(given: Given) -> dict[str, Job]:
    """All jobs by name."""
    jobs: dict[str, Job] = {line: (run_python, line) for line in (UPROOT, WITH_TORCH)}
    jobs["--help"] = (run_atlasae, "--help")
    for path in given.files:
        command("compress", path, small := given.folder / f"{path.stem}.small.root", "--quiet")
        jobs[f"info, {path.name}"] = (run_atlasae, "info", small)
    few, back, flags = given.long(FEW), given.folder / "back.root", ("--force", "--quiet")
    for layout in LAYOUTS:
        small = given.folder / f"{layout}.root"
        jobs[f"compress {FEW} jets, {layout}"] = (run_atlasae, "compress", few, small, "--layout", layout, *flags)
        jobs[f"decompress {FEW} jets, {layout}"] = (run_atlasae, "decompress", small, back, *flags)
    return jobs


def measure(given: Given) -> Tables:
    """The CPU seconds of each, and their ratios to the imports."""
    seconds = {name: taken.cpu for name, taken in take_turns(jobs_of(given), given.times).items()}
    table = Table()
    for name, cpu in seconds.items():
        table[name] = {"CPU s": cpu} | {f"/ {line}": cpu / seconds[line] for line in (UPROOT, WITH_TORCH)}
    return {"starting": table}


if __name__ == "__main__":
    main(__doc__, measure, times=5)
