"""Submit files of batch systems: one job a file."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from atlasae.errors import UserError
from atlasae.remote import Location, address

FILE = "$(file)"  # a line of an HTCondor queue


def batch_script(
    scheduler: str, program: Sequence[str], before: Sequence[str], after: Sequence[str], paths: Sequence[Location]
) -> str:
    """A submit file that runs `program before PATH after` for every file, as a job each, from this folder."""
    if scheduler == "slurm":
        return _slurm_script([*program, *before], after, paths)
    return _condor_script(program, [*before, FILE, *after], paths)


def _slurm_script(before: Sequence[str], after: Sequence[str], paths: Sequence[Location]) -> str:
    return "\n".join([
        "#!/bin/bash",
        "#SBATCH --job-name=atlasae",
        f"#SBATCH --array=0-{len(paths) - 1}",
        f"#SBATCH --chdir={shlex.quote(str(Path.cwd()))}",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=1",
        "files=(",
        *(f"  {shlex.quote(address(path))}" for path in paths),
        ")",
        f'exec {shlex.join(before)} "${{files[$SLURM_ARRAY_TASK_ID]}}" {shlex.join(after)}'.rstrip(),
    ])  # fmt: skip


def _condor_script(program: Sequence[str], arguments: Sequence[str], paths: Sequence[Location]) -> str:
    executable, *more = program
    for text in (*program, *arguments, *map(address, paths)):
        if set(text) & set("\"'\n$") and text != FILE:
            raise UserError(f"'{text}' can't be in a submit file of HTCondor, for its quotes or dollars: rename it")
    quoted = " ".join(f"'{text}'" for text in (*more, *arguments))
    return "\n".join([
        f"executable = {executable}",
        f'arguments = "{quoted}"',
        f"initialdir = {Path.cwd()}",
        "log = atlasae.$(ClusterId).log",
        "output = atlasae.$(ClusterId).$(ProcId).out",
        "error = atlasae.$(ClusterId).$(ProcId).err",
        "request_cpus = 1",
        "queue file from (",
        *map(address, paths),
        ")",
    ])  # fmt: skip
