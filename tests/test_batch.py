"""Submit files: every job does one file, and all together what the command would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import refused, succeeded
from helpers import PACKED

from atlasae.journal import Journal


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `atlasae` in the folder we are in."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "atlasae"
    path.write_text(f"#!{sys.executable}\nfrom atlasae.cli import main\nif __name__ == '__main__':\n    main()\n")
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
