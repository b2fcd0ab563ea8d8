"""How a command runs: signals, errors and exit codes, progress and report on the terminal."""

import atexit
import gc
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click
from click.shell_completion import get_completion_class, shell_complete

from atlasae.commands.results import failure_line
from atlasae.errors import ENDING, explain, once
from atlasae.files.remote import masked
from atlasae.report import Report, harmless, to_text

_PROGRAM = "atlasae"
_COMPLETE = "_ATLASAE_COMPLETE"  # set by a shell that asks for completions
_INTERRUPTED = 130  # exit code after Ctrl-C, as in shells
_GARBAGE = 5000  # objects after which Python looks for garbage: by default so few that it takes a tenth of a command


class SomeLeft(KeyboardInterrupt):
    """The interruption of a command that may have finished some of its outputs."""


@contextmanager
def several_outputs() -> Iterator[None]:
    """Turn KeyboardInterrupt into SomeLeft, so that the message does not say that no output was left."""
    try:
        yield
    except KeyboardInterrupt as error:
        if str(error):  # it says how many are done
            raise
        raise SomeLeft from error


def run(commands: click.Group) -> NoReturn:
    """Run a command; an error becomes one line on stderr and an exit code (2: user's, 3: damaged file)."""
    for number in ENDING:  # so that temporary files are removed
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, once(KeyboardInterrupt))
    _take_any_name()
    gc.set_threshold(_GARBAGE)
    atexit.register(gc.freeze)  # else Python looks for garbage among all modules as it ends, for 0.1 s
    try:
        if instruction := os.environ.get(_COMPLETE):
            sys.exit(shell_complete(commands, {}, _PROGRAM, _COMPLETE, instruction))
        # Not commands(): click's main prints an empty line at Ctrl-C.
        with commands.make_context(_PROGRAM, sys.argv[1:]) as context:
            code = commands.invoke(context)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        code = error.exit_code
    except (Exception, KeyboardInterrupt) as error:
        _end_undisturbed()
        if "--debug" in sys.argv:
            click.echo(masked(traceback.format_exc()), err=True, nl=False)
        message, code = _explain(error)
        click.echo(harmless(f"atlasae: {message}".replace("\n", " ")), err=True)
    _end_undisturbed()
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: BaseException) -> tuple[str, int]:
    """The message of an error, and the exit code."""
    error = _interruption(error) or error
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        reason = str(error) or ("" if isinstance(error, SomeLeft) else "no output was left")
        return ": ".join(filter(None, ("interrupted", reason))), _INTERRUPTED
    if isinstance(error, click.ClickException):
        return _of_click(error), error.exit_code
    return explain(error)


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """What interrupted a command, if that became another error, as where a class is made (of `__set_name__`)."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error


def _of_click(error: click.ClickException) -> str:
    """What click says of wrong words on the command line, on one line, and where the right ones are."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; `{context.command_path} --help` lists what there is" if context else message


def _end_undisturbed() -> None:
    """Ignore signals at the very end, which would change the message or the exit code."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _take_any_name() -> None:
    """Print names of files that are not UTF-8 as their bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")


def completion_script(commands: click.Group, shell: str) -> str:
    """A script for a shell (bash, zsh, fish) that completes commands and options."""
    found = get_completion_class(shell)
    assert found is not None
    return found(commands, {}, _PROGRAM, _COMPLETE).source()


def show(report: Report, as_json: bool, quiet: bool, verbose: bool = False) -> None:
    """Print a report as a page, with all notes if `verbose`, or as one JSON object; nothing if `quiet`."""
    if as_json:
        click.echo(report.to_json())
    elif not quiet:
        click.echo(to_text(report.verbose_page if verbose else report.page, sys.stdout.isatty()))


def show_many(report: Report, as_json: bool, quiet: bool, verbose: bool = False) -> int:
    """Print the report of many files, with failures on stderr; returns the exit code."""
    show(report, as_json, quiet, verbose)
    for file in report.get("files", ()):
        if file["error"] is not None:
            click.echo(harmless(f"atlasae: {failure_line(file)}"), err=True)
    return 1 if report.get("failed") else 0


@contextmanager
def progress(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield a progress function, with a bar on stderr unless that is no terminal or `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
