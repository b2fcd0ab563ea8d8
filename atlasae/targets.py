"""Where the output goes: checked before anything is read, written beside its place, and there all at once."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from atlasae.errors import UserError
from atlasae.remote import Location, check_exists
from atlasae.tables import is_table

_TEMPORARY = ".atlasae-"  # how the names of unfinished outputs begin


def check_target(path: Location, target: Path, force: bool, tables: bool = False) -> None:
    """Refuse to write where something would be lost, or a table's name where no table comes; raises UserError."""
    check_exists(path)
    if target.exists() and isinstance(path, Path) and path.samefile(target):
        raise UserError(f"'{target}' is the input: the output needs another name")
    if target.is_dir():
        raise UserError(f"'{target}' is a folder: name a file in it")
    if target.exists() and not target.is_file():
        raise UserError(f"'{target}' is a device or a pipe: the output is a file, name one")
    if is_table(target) and not tables:
        raise UserError(f"'{target}' is named like a table: compressed jets go to a .root file")
    if target.exists() and not force:
        raise UserError(f"'{target}' exists: choose another name, or replace it with --force")
    if not target.absolute().parent.is_dir():
        raise UserError(f"no folder '{target.parent}' for the output: make it first")


class Kept(Protocol):
    """A model, or tables: bytes that are known by their hash."""

    @property
    def content(self) -> bytes:
        """Its file."""
        ...

    @property
    def sha256(self) -> str:
        """The hash of that."""
        ...


def write_kept(target: Path, kept: Kept) -> dict[str, Any]:
    """Write the file of a model or of tables; returns what a report tells of it."""
    with replacing(target) as temporary:
        temporary.write_bytes(kept.content)
    return {"output": str(target), "sha256": kept.sha256, "bytes": len(kept.content)}


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary name beside the target, renamed to it at the end, removed if anything goes wrong.

    What was written is on the disk before it gets the target's name: a crash of the machine leaves the old or the new.
    What a killed run left in the folder is removed.
    """
    target = target.resolve()  # a link stays one
    temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}{target.suffix}")
    try:
        remove_leftovers(target.parent)
        with _owned(temporary):
            yield temporary
            _flush(temporary)
            temporary.replace(target)
            _flush(target.parent)
    except OSError as error:
        if error.filename not in (None, str(temporary)):  # of something that was read
            raise
        raise UserError(f"can't write '{target}': {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished outputs of runs that were killed: those that no process holds a lock on."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # a lock that somebody holds, or a file of somebody else's
            handle = os.open(leftover, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
            finally:
                os.close(handle)


@contextmanager
def _owned(temporary: Path) -> Iterator[None]:
    """Make a file and hold a lock on it, which the system lets go when this process ends, however it ends."""
    handle = _make_locked(temporary)
    while not temporary.exists():  # another run took it for a leftover before it was locked
        os.close(handle)
        handle = _make_locked(temporary)
    try:
        yield
    finally:
        os.close(handle)


def _make_locked(temporary: Path) -> int:
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
