"""The scripts that damage files and kill processes at random, for a few rounds."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run_script(name: str, *arguments: object) -> str:
    """The output of a script, which must succeed."""
    command = [sys.executable, SCRIPTS / name, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_changed_files_are_refused_or_come_out_right():
    printed = run_script("fuzz.py", "--number", 50, "--seed", 1, "--workers", 1)
    assert "50 files changed, seed 1: 0 failures" in printed
    kinds = ("compressed, flip", "compressed, forge", "compressed, cut", "model, header", "input, scribble")
    assert [kind for kind in kinds if kind not in printed] == []
    assert "refused" in printed and "correct" in printed


def test_a_failure_is_not_overlooked(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import fuzz

    assert fuzz.is_one_line("atlasae: it is so\n")
    assert not any(map(fuzz.is_one_line, ("", "Traceback\n", "atlasae: a\nb\n", "atlasae: a")))


def test_killed_runs_leave_the_old_target_or_the_new_one():
    printed = run_script("kill.py", "--number", 8)
    assert " 0 broken" in printed and " 0 left at the end" in printed
