"""What can go wrong, and the exit code each failure ends with."""

from collections.abc import Iterator
from contextlib import contextmanager

UNEXPECTED = 1  # exit code of a bug of ours


class AtlasaeError(Exception):
    """A failure with a one-line message for the user."""

    exit_code = 2


class UserError(AtlasaeError):
    """The user can mend it: a wrong name, an option, a file of another kind."""

    exit_code = 2


class UnreachableError(AtlasaeError):
    """The user can mend it: a file elsewhere that is not there, or no way to it."""

    exit_code = 2


class DamagedFileError(AtlasaeError):
    """The file is damaged: its bytes are not what was written."""

    exit_code = 3


def explain(error: BaseException) -> tuple[str, int]:
    """What to tell the user of an error, and the exit code."""
    if isinstance(error, AtlasaeError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.filename:
        return f"'{error.filename}': {error.strerror}", UserError.exit_code
    return f"unexpected {type(error).__name__}: {error}; --debug shows where", UNEXPECTED


@contextmanager
def sparing(lost: list[str] | None) -> Iterator[None]:
    """Note damage in `lost` and go on, where there is such a list."""
    try:
        yield
    except DamagedFileError as error:
        if lost is None:
            raise
        lost.append(str(error))
