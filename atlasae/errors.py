"""Errors and their exit codes."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

UNEXPECTED = 1  # exit code of an unexpected error, a bug
# What a batch system, Ctrl-C and a terminal that is closed (not on Windows) end a command with: its temporary files go.
ENDING = signal.SIGTERM, signal.SIGINT, *(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))
NO_THREAD = "can't start new thread"  # Python's RuntimeError


class AtlasaeError(Exception):
    """A failure with a one-line message; `exit_code` is that of the command.

    >>> try:
    ...     atlasae.compress_file("missing.root", "other.root")
    ... except atlasae.AtlasaeError as error:
    ...     print(error)
    no such file: 'missing.root'
    """

    exit_code = 2


class UserError(AtlasaeError):
    """The user can mend it: a wrong name, an option, a file of another kind.

    >>> atlasae.Options(only_jets="yes")
    Traceback (most recent call last):
    atlasae.errors.UserError: only_jets 'yes' is neither True nor False
    """

    exit_code = 2


class UnreachableError(AtlasaeError):
    """Bytes could not be read: there is no file, no connection, or a failure of the disk or the server."""

    exit_code = 2


class MemoryShortError(AtlasaeError):
    """There is not enough memory for what was asked for."""

    exit_code = 2


class DamagedFileError(AtlasaeError):
    """The file is damaged: its bytes are not those that were written.

    >>> content = pathlib.Path("small.root").read_bytes()
    >>> pathlib.Path("cut.root").write_bytes(content[: len(content) // 2]) > 0
    True
    >>> try:
    ...     atlasae.check_file("cut.root")
    ... except atlasae.DamagedFileError as error:
    ...     "damaged" in str(error), error.exit_code
    (True, 3)
    """

    exit_code = 3


def explain(error: BaseException) -> tuple[str, int]:
    """The message of an error for the user, and the exit code."""
    if isinstance(error, AtlasaeError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return memory_short("what was asked for", error), MemoryShortError.exit_code
    if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
        why = "memory, or the processes that you may have (`ulimit -u`), are used up"
        return f"no thread could be started: {why}; free some", MemoryShortError.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f"'{error.filename}': " if error.filename else ""
        return f"{where}{error.strerror}", UserError.exit_code
    return f"unexpected {type(error).__name__}: {error}; --debug shows where", UNEXPECTED


def memory_short(what: str, error: MemoryError) -> str:
    """The message for memory that ran out in doing `what`."""
    reason = f" ({error})" if str(error) else ""
    return f"memory ran out for {what}{reason}: free some, or take a machine with more; for compress, lower --step-size"


@contextmanager
def sparing(lost: list[str] | None) -> Iterator[None]:
    """Append damage to `lost` and continue; if `lost` is None, raise it."""
    try:
        yield
    except DamagedFileError as error:
        if lost is None:
            raise
        lost.append(str(error))


def once(ending: type[BaseException]) -> Callable[[int, Any], None]:
    """A signal handler that raises `ending`, but not while one is handled, so that cleaning up is not interrupted.

    There is no flag: after the exception is caught, as at the end of a training, the next signal raises it again.
    """

    def handle(number: int, frame: Any) -> None:
        error = sys.exception()
        while error is not None and not isinstance(error, ending):
            error = error.__context__
        if error is None:
            raise ending

    return handle


def optional(name: str, use: str, extra: str) -> Any:
    """A module of an optional library; raises UserError that names the extra to install where it is missing."""
    try:
        return import_module(name)
    except ImportError:
        raise UserError(f"{use} needs {name.partition('.')[0]}: pip install 'atlasae[{extra}]'") from None
