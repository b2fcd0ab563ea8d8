"""How a command runs: its progress, report and errors, and how a shell completes its line."""

import io
import json
import math
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Terminal, nothing_left, run_main, succeeded

from atlasae.compression import floats
from atlasae.native import library
from atlasae.report import to_json
from atlasae.reports import figures, plotting


def test_a_terminal_gets_tables_that_fit_it(compressed):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from atlasae.commands.cli import main; main()", "info", str(compressed)]
    environment = os.environ | {"COLUMNS": "60", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    subprocess.run(command, stdin=theirs, stdout=theirs, check=True, env=environment)
    os.write(theirs, b"\0")
    told = b""
    while not told.endswith(b"\0"):
        told += os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert b"\x1b[1mcollection" in told
    plain = re.sub(r"\x1b\[\d*m", "", told.decode()).split("\r\n\r\n", 1)[1]
    tables = [line for line in plain.splitlines() if not line.startswith("errors of ")]
    assert max(map(len, tables)) <= 60 and "Jet_mass" in plain


def test_quiet_prints_nothing(jets_file, tmp_path):
    small = tmp_path / "small.root"
    for command in (
        ["compress", jets_file, small],
        ["verify", jets_file, small],
        ["decompress", small, tmp_path / "b.root"],
    ):
        assert succeeded(*command, "--quiet").out == ""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_progress_bar_is_for_terminals_and_never_on_stdout(options, jets_file, tmp_path, monkeypatch):
    plain = run_main("compress", jets_file, tmp_path / "out.root", "--json")
    monkeypatch.setattr(io, "StringIO", Terminal)
    shown = run_main("compress", jets_file, tmp_path / "out.root", "--force", *options)
    quiet = run_main("compress", jets_file, tmp_path / "out.root", "--force", "--quiet", *options)
    assert (plain.code, shown.code, quiet.code) == (0, 0, 0)
    assert plain.err == quiet.err == "" and "compressing" in shown.err and "compressing" not in shown.out
    assert not options or shown.report.keys() == plain.report.keys()


def test_debug_shows_where(tmp_path):
    result = run_main("info", tmp_path / "missing.root", "--debug")
    *traceback, message = result.err.splitlines()
    assert (result.code, result.out) == (2, "")
    assert traceback[0].startswith("Traceback") and message.startswith("atlasae: no such file")


def test_an_error_of_ours_is_one_line_that_says_so(jets_file, tmp_path, monkeypatch):
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("of two\nlines")

    monkeypatch.setattr(floats, "load_model", fail)
    with nothing_left(jets_file):
        result = run_main("compress", jets_file, tmp_path / "out.root")
    assert (result.code, result.out) == (1, "")
    assert result.err == "atlasae: unexpected ZeroDivisionError: of two lines; --debug shows where\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell, monkeypatch):
    found = run_main("completion", shell)
    assert found.code == 0 and f"_ATLASAE_COMPLETE={shell}_complete" in found.out
    monkeypatch.setenv("_ATLASAE_COMPLETE", f"{shell}_complete")
    words = ["atlasae", "compress", "--lay"]
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else "2")
    command = [sys.executable, "-c", "from atlasae.commands.cli import main; main()"]
    assert "--layout" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_takes_the_completion():
    script = run_main("completion", "bash").out
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_json_has_null_for_what_has_no_end():
    told = json.loads(to_json({"a": [math.inf, {"b": (math.nan, 1.5)}], "c": -math.inf, "d": "inf"}))
    assert told == {"a": [None, {"b": [None, 1.5]}], "c": None, "d": "inf"}


SIGNALLED = """if True:
    import os, signal, sys
    from pathlib import Path
    import click
    from atlasae.commands.running import run
    from atlasae.files.outputs import replacing

    def signals(*arguments, **options):
        for number in 4 * (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)

    @click.command()
    def write():
        unlink = Path.unlink
        Path.unlink = lambda path, **options: (signals(), unlink(path, **options), signals())
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            print("heard")
        with replacing(Path("out"), False) as temporary:
            temporary.write_text("half")
            signals()

    commands = click.Group(commands={"write": write})
    sys.argv = ["atlasae", "write"]
    run(commands)
    """


def test_signals_that_come_while_a_run_cleans_up_change_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, cwd=tmp_path, text=True, check=False)
    assert done.stderr == "atlasae: interrupted: no output was left\n"
    assert (done.returncode, done.stdout) == (130, "heard\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_classifier")
def test_a_folder_of_figures_is_not_said_to_be_empty(jets_file, compressed, tmp_path, monkeypatch):
    begun, replacing = [], figures.replacing

    def interrupted(path: Path, force: bool) -> Any:
        begun.append(path)
        if len(begun) == 4:  # a PDF of all figures, then the third of them
            os.kill(os.getpid(), signal.SIGINT)
        return replacing(path, force)

    monkeypatch.setattr(plotting, "save", lambda figure, written, suffix: written.write(b"a figure"))
    monkeypatch.setattr(figures, "replacing", interrupted)
    result = run_main("plot", jets_file, compressed, "-o", tmp_path / "plots")
    assert (result.code, result.out, result.err) == (130, "", "atlasae: interrupted\n")
    assert len(list((tmp_path / "plots").iterdir())) == 2


@pytest.mark.parametrize("command", ["compress", "decompress", "verify"])
def test_threads_of_a_command_share_one_heap(command, jets_file, compressed, tmp_path, monkeypatch):
    limited = []
    monkeypatch.setattr(library, "limit_heap", lambda: limited.append(command))
    files = {"compress": (jets_file, tmp_path / "out"), "decompress": (compressed, tmp_path / "out")}
    succeeded(command, *files.get(command, (compressed,)))
    assert limited == [command]


def test_names_that_are_not_utf8_are_printed_as_they_are(tmp_path):
    name = b"o\xff.root"
    command = [sys.executable, "-c", "from atlasae.commands.cli import main; main()", "batch", "--scheduler", "slurm"]
    command += ["verify", os.fsdecode(name), str(tmp_path)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=True, env=environment)
    assert b"/" + name + b"'\n" in done.stdout
