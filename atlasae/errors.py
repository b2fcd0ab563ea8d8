"""What can go wrong, and the exit code each failure ends with."""


class AtlasaeError(Exception):
    """A failure with a one-line message for the user."""

    exit_code = 2


class UserError(AtlasaeError):
    """The user can mend it: a wrong name, an option, a file of another kind."""

    exit_code = 2


class DamagedFileError(AtlasaeError):
    """The file is damaged: its bytes are not what was written."""

    exit_code = 3
