"""What starts the commands: a signal while they are imported."""

import subprocess
import sys

import pytest

# A module that the commands need, whose import is cut short as Ctrl-C would.
SIGNALLED = """if True:
    import os, signal, sys

    class Finder:
        def find_spec(self, name, path, target=None):
            if name == "atlasae.commands.options":
                os.kill(os.getpid(), signal.{number})

    sys.meta_path.insert(0, Finder())
    sys.argv = ["atlasae", "info", "none.root"]
    signal.signal(signal.SIGINT, signal.{before})
    from atlasae.__main__ import start
    start()
    """


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_while_modules_are_imported_is_one_line(number):
    done = run(SIGNALLED.format(number=number, before="default_int_handler"))
    assert (done.returncode, done.stderr, done.stdout) == (130, "atlasae: interrupted: no output was left\n", "")


def test_a_signal_that_is_ignored_stays_so():
    done = run(SIGNALLED.format(number="SIGINT", before="SIG_IGN"))
    assert (done.returncode, done.stderr) == (2, "atlasae: no such file: 'none.root'\n")


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
