"""What can go wrong, and the exit code each failure ends with."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

UNEXPECTED = 1  # exit code of a bug of ours


class AtlasaeError(Exception):
    """A failure with a one-line message for the user; `exit_code` is what the command ends with.

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
    """The user can mend it: bytes that did not come, for there is no file, no way to it, or a disk or server fails."""

    exit_code = 2


class MemoryShortError(AtlasaeError):
    """The user can mend it: there was no memory for what was asked for."""

    exit_code = 2


class DamagedFileError(AtlasaeError):
    """The file is damaged: its bytes are not what was written.

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
    """What to tell the user of an error, and the exit code."""
    if isinstance(error, AtlasaeError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return memory_short("what was asked for", error), MemoryShortError.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f"'{error.filename}': " if error.filename else ""
        return f"{where}{error.strerror}", UserError.exit_code
    return f"unexpected {type(error).__name__}: {error}; --debug shows where", UNEXPECTED


def memory_short(what: str, error: MemoryError) -> str:
    """What to tell of memory that was not there for `what`."""
    told = f" ({error})" if str(error) else ""
    return (
        f"memory ran out for {what}{told}: free some, or take a machine with more; compress takes less by --step-size"
    )


@contextmanager
def sparing(lost: list[str] | None) -> Iterator[None]:
    """Note damage in `lost` and go on, where there is such a list."""
    try:
        yield
    except DamagedFileError as error:
        if lost is None:
            raise
        lost.append(str(error))


def once(ending: type[BaseException]) -> Callable[[int, Any], None]:
    """A handler of signals that raises this, unless it is on its way: what cleans up is not to be stopped by another.

    Not by a flag: where what was raised is caught, as at the end of a training, the next signal is heard.
    """

    def handle(number: int, frame: Any) -> None:
        error = sys.exception()
        while error is not None and not isinstance(error, ending):
            error = error.__context__
        if error is None:
            raise ending

    return handle
