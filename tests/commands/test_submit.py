"""Submit files: every job does one file, and all jobs together the same as the command."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import refused, succeeded
from helpers import PACKED

from atlasae.commands.journal import Journal
from atlasae.commands.submit import batch_script
from atlasae.errors import UserError


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `atlasae` in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "atlasae"
    path.write_text(
        f"#!{sys.executable}\nfrom atlasae.commands.cli import main\nif __name__ == '__main__':\n    main()\n"
    )
    path.chmod(0o755)
    return path


def test_every_task_of_a_slurm_array_does_one_file(program, inputs, tmp_path):
    odd = inputs[1].rename(inputs[1].with_name("it's b.root"))
    command = ["compress", "in/*.root", "-o", "out", *PACKED, "--drop", "na*", "--drop", "weight"]
    script = succeeded("batch", *command, "--scheduler", "slurm").out
    assert "#SBATCH --array=0-2\n" in script and f"#SBATCH --chdir={tmp_path}\n" in script
    listed = [inputs[0], inputs[2], odd]
    for number in range(3):
        subprocess.run(["bash", "-c", script], check=True, env=os.environ | {"SLURM_ARRAY_TASK_ID": str(number)})
        assert len(list((tmp_path / "out").glob("*.root"))) == number + 1
    assert sorted(Journal(tmp_path / "out").lines) == [path.name for path in sorted(listed)]
    again = succeeded(*command, "--json").report
    assert all(file["reused"] for file in again["files"]) and "weight" in again["files"][0]["dropped"]


def test_a_submit_file_of_htcondor(program, inputs, tmp_path):
    script = succeeded("batch", "--scheduler", "condor", "verify", *inputs, tmp_path / "in", "--json").out
    lines = script.splitlines()
    assert f"executable = {program}" in lines and f"initialdir = {tmp_path}" in lines
    assert f"arguments = \"'verify' '--json' '--' '$(file)' '{tmp_path / 'in'}'\"" in lines
    assert lines[-5:] == ["queue file from (", *map(str, inputs), ")"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("condor", "compress", "in/a.root", "out.root"), ("many files and a folder",)),
        (("slurm", "verify", "in/a.root", "in/b.root"), ("many files and a folder",)),
        (("slurm", "compress", "in/a.root", "-o", "out", "--layuot", "packed"), ("--layuot",)),
        (("slurm", "compress", "in/a.root", "a.root", "-o", "out"), ("would both become",)),
        (("condor", "compress", "it's.root", "-o", "out"), ("it's.root", "rename it")),
    ],
)
def test_a_job_that_cannot_be_is_refused(arguments, words, program, inputs, tmp_path):
    refused(2, words, "batch", "--scheduler", *arguments, out=program)


ODD = {
    "line break": "a\nqueue 9\nb",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "quote": "it's",
    "double quote": 'a"b',
    "dollar": "a$(x)",
    "its own macro": "$(file)",
    "backquote": "a`touch x`b",
    "backslash": "a\\b",
    "backslash at the end": "a\\",
    "blank": "a b",
    "blank at the end": "a ",
    "blank before": " a",
    "comma": "a, b",
    "percent": "a%b",
    "semicolon": "a; touch x",
    "hash": "#a",
    "bracket": ")",
    "equals": "queue = 3",
    "no UTF-8": os.fsdecode(b"a\xff"),
}
REFUSED = {"line break", "carriage return", "tab", "quote", "double quote", "dollar", "its own macro"}
AT_THE_ENDS = {"backslash at the end", "blank at the end"}  # of a path; none begins with its name
SHELL = """#!{python}
import json, os, sys
print(json.dumps([os.getcwd(), *sys.argv[1:]]))
"""


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[str, Path], list[str]]:
    """The folder and arguments with which a task of a Slurm array calls its program, after the program's name."""

    def told(script: str, folder: Path) -> list[str]:
        (line,) = [line for line in script.splitlines() if line.startswith("#SBATCH --chdir=")]
        (at,) = shlex.split(line.removeprefix("#SBATCH --chdir="))
        assert os.fsencode(at) == os.fsencode(folder)
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": "0"}
        done = subprocess.run(["bash", "-c", script], check=True, cwd=at, env=environment, capture_output=True)
        found = json.loads(done.stdout)
        assert isinstance(found, list)
        return found

    return told


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_slurm_takes_any_name_of_file_folder_option_and_program(name, tell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = tmp_path / f"{name}.py"
    program.write_text(SHELL.format(python=sys.executable))
    program.chmod(0o755)
    words = [str(program)], ["compress", "-o", name, "--"], [name]
    script = batch_script("slurm", *words, [tmp_path / name, tmp_path / "other"])
    assert tell(script, tmp_path) == [str(tmp_path), "compress", "-o", name, "--", str(tmp_path / name), name]


@pytest.mark.parametrize("kind", ODD)
def test_slurm_starts_in_any_folder_or_says_that_it_cannot(kind, tell, tmp_path, monkeypatch):
    (folder := tmp_path / ODD[kind]).mkdir()
    monkeypatch.chdir(folder)
    (program := tmp_path / "tell").write_text(SHELL.format(python=sys.executable))
    program.chmod(0o755)
    words = [str(program)], ["verify"], []
    if kind in ("line break", "carriage return", "tab", "backslash", "backslash at the end"):
        with pytest.raises(UserError, match="can't be in a submit file of Slurm"):
            batch_script("slurm", *words, [Path("/a")])
    else:
        assert tell(batch_script("slurm", *words, [Path("/a")]), folder) == [str(folder), "verify", "/a"]


@pytest.mark.parametrize("where", ["file", "folder of files", "folder", "option", "last", "program"])
@pytest.mark.parametrize("kind", ODD)
def test_what_htcondor_would_not_take_for_a_name_is_refused(kind, where, tmp_path, monkeypatch):
    name = ODD[kind]
    (folder := tmp_path / (name if where == "folder" else "plain")).mkdir()
    monkeypatch.chdir(folder)
    path = {"file": tmp_path / name, "folder of files": tmp_path / name / "a"}.get(where, tmp_path / "a")
    program = str(tmp_path / (name if where == "program" else "program"))
    before = ["compress", *(["-o", name] if where == "option" else []), "--"]
    words = [program], before, [name] if where == "last" else []
    if kind in REFUSED or (kind in AT_THE_ENDS and where in ("file", "folder", "program")):
        with pytest.raises(UserError, match="can't be in a submit file of HTCondor"):
            batch_script("condor", *words, [path])
        return
    lines = batch_script("condor", *words, [path]).split("\n")
    quoted = " ".join(f"'{word}'" for word in (*words[1], "$(file)", *words[2]))
    assert lines[:3] == [f"executable = {program}", f'arguments = "{quoted}"', f"initialdir = {folder}"]
    assert lines[7:] == ["queue file from (", str(path), ")"]
