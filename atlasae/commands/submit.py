"""Submit files for batch systems, with one job per file."""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from atlasae.errors import UserError
from atlasae.files.remote import Location, address

FILE = "$(file)"  # the variable of an HTCondor queue
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENDS = re.compile(r"^[ #)@]|[ \\]$")  # HTCondor strips these or reads them as syntax


def batch_script(
    scheduler: str, program: Sequence[str], before: Sequence[str], after: Sequence[str], paths: Sequence[Location]
) -> str:
    """A submit file that runs `program before PATH after` for every file as a job of its own, in the current folder.

    Raises UserError for a name that the batch system would parse as anything else than a name.
    """
    if scheduler == "slurm":
        return _slurm_script([*program, *before], after, list(map(address, paths)))
    return _condor_script(program, before, after, list(map(address, paths)))


def _slurm_script(before: Sequence[str], after: Sequence[str], paths: Sequence[str]) -> str:
    folder = str(Path.cwd())
    if _CONTROL.search(folder) or "\\" in folder:  # Slurm parses the folder itself, the shell all else
        raise UserError(_refusal(folder, "Slurm", "its line breaks or backslashes"))
    return "\n".join([
        "#!/bin/bash",
        "#SBATCH --job-name=atlasae",
        f"#SBATCH --array=0-{len(paths) - 1}",
        f"#SBATCH --chdir={shlex.quote(folder)}",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=1",
        "files=(",
        *(f"  {shlex.quote(path)}" for path in paths),
        ")",
        f'exec {shlex.join(before)} "${{files[$SLURM_ARRAY_TASK_ID]}}" {shlex.join(after)}'.rstrip(),
    ])  # fmt: skip


def _condor_script(program: Sequence[str], before: Sequence[str], after: Sequence[str], paths: Sequence[str]) -> str:
    executable, *more = program
    folder = str(Path.cwd())
    _refuse([executable, folder, *paths], lambda text: bool(_ENDS.search(text)), "what it begins or ends with")
    _refuse([*program, *before, *after, folder, *paths], _is_special, "its quotes, dollars or line breaks")
    quoted = " ".join(f"'{text}'" for text in (*more, *before, FILE, *after))
    return "\n".join([
        f"executable = {executable}",
        f'arguments = "{quoted}"',
        f"initialdir = {folder}",
        "log = atlasae.$(ClusterId).log",
        "output = atlasae.$(ClusterId).$(ProcId).out",
        "error = atlasae.$(ClusterId).$(ProcId).err",
        "request_cpus = 1",
        "queue file from (",
        *paths,
        ")",
    ])  # fmt: skip


def _is_special(text: str) -> bool:
    return bool(_CONTROL.search(text) or set(text) & set("\"'$"))


def _refuse(texts: Sequence[str], is_wrong: Callable[[str], bool], cause: str) -> None:
    for text in filter(is_wrong, texts):
        raise UserError(_refusal(text, "HTCondor", cause))


def _refusal(text: str, system: str, cause: str) -> str:
    return f"'{text}' can't be in a submit file of {system}, for {cause}: rename it"
