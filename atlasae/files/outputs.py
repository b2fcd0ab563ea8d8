"""Where the output goes: checked before anything is read, written beside its place, and there all at once."""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from atlasae.errors import UserError
from atlasae.files.remote import Location, check_exists
from atlasae.files.tables import is_table
from atlasae.report import Facts

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


class Written(Facts):
    """What a report tells of a model, or of tables, that were written."""

    output: str
    sha256: str
    bytes: int


def write_kept(target: Path, kept: Kept, force: bool) -> Written:
    """Write the file of a model or of tables; returns what a report tells of it."""
    with replacing(target, force) as temporary:
        temporary.write_bytes(kept.content)
    return Written(output=str(target), sha256=kept.sha256, bytes=len(kept.content))


@contextmanager
def replacing(target: Path, force: bool) -> Iterator[Path]:
    """A temporary name beside the target, which gets the target's name at the end, removed if anything goes wrong.

    What was written is on the disk before that: a crash of the machine leaves the old or the new. Without `force` a
    target that came meanwhile stays, and it is a UserError. What a killed run left in the folder is removed.
    """
    target = target.resolve()  # a link stays one
    made: list[Path] = []
    try:
        remove_leftovers(target.parent)
        with _temporary(target, made) as temporary:
            yield temporary
            _flush(temporary)
            _rename(temporary, target, force)
            _flush(target.parent)
    except OSError as error:
        if error.filename not in (None, *map(str, made)):  # of something that was read
            raise
        raise UserError(f"can't write '{target}': {error.strerror or error}") from error
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished outputs of runs that were killed: what such a run made and no process holds a lock on."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # a lock that somebody holds, or a file of somebody else's
            handle = os.open(leftover, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _is_marked(leftover, handle):
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    leftover.unlink()
            finally:
                os.close(handle)


@contextmanager
def _temporary(target: Path, made: list[Path]) -> Iterator[Path]:
    """Make a file and hold a lock on it, which the system lets go when this process ends, however it ends.

    It is locked before it has the name that leftovers are known by. All names it may have are put into `made`.
    """
    unmarked = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}{target.suffix}")
    made.append(unmarked)
    handle = os.open(unmarked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        marked = unmarked.with_name(f"{_TEMPORARY}{_mark(handle)}-{secrets.token_hex(8)}{target.suffix}")
        made.append(marked)
        yield unmarked.rename(marked)
    finally:
        os.close(handle)


def _mark(handle: int) -> str:
    """What stands in the name of a temporary file: its own number in the file system, which no other file has."""
    return f"{os.fstat(handle).st_ino:x}"


def _is_marked(path: Path, handle: int) -> bool:
    """Whether a file was made by `_temporary`: a user's own may have a name like that, but not with its number."""
    return re.fullmatch(rf"{_mark(handle)}-[0-9a-f]{{16}}", path.stem.removeprefix(_TEMPORARY)) is not None


def _rename(temporary: Path, target: Path, force: bool) -> None:
    """Give a file its name; without `force` only if nobody else has it: it is looked for and taken in one step."""
    if force:
        temporary.replace(target)
        return
    try:
        _take(temporary, target)
    except FileExistsError as error:
        raise UserError(
            f"'{target}' exists: something else wrote it meanwhile; choose another name, or replace it with --force"
        ) from error


def _take(temporary: Path, target: Path) -> None:
    """Give a file a name that is free, too; raises FileExistsError. Without hard links a file of no bytes holds it."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        if not target.samefile(temporary):  # else it is this link: a server of NFS was asked twice
            raise
    except OSError:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink()
            raise


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
