"""Output files: targets are checked before anything is read, written under a temporary name, then renamed."""

import fcntl
import mimetypes
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from atlasae.errors import UserError
from atlasae.files.remote import Location, check_exists
from atlasae.files.tables import is_table, table_suffixes
from atlasae.report import Facts

_FOREIGN = {".arrow", ".feather", ".h5", ".hdf5", ".npy", ".npz", ".parquet", ".pkl"}  # that `mimetypes` does not know
_TEMPORARY = ".atlasae-"  # prefix of the names of unfinished outputs


def check_target(path: Location, target: Path, force: bool, tables: bool = False) -> None:
    """Raise UserError for a target that exists, is the input, or has a table's suffix unless `tables`."""
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


def check_format(target: Path, tables: bool = False) -> None:
    """Raise UserError for a target named like a file of another format than ROOT.

    With `tables`, the suffix says which format is written: tables, too, but none that is unknown.
    """
    if target.name == "-":
        raise UserError("'-' is no file, and a ROOT file can't be written to a pipe: name one")
    suffix = target.suffix.lower()
    named = any(one.lower().startswith(".root") for one in target.suffixes)  # also .root.1, as on the grid
    if not suffix or named or (tables and is_table(target)):
        return
    if tables or suffix in _FOREIGN or mimetypes.MimeTypes().guess_type(f"x{suffix}")[0]:
        ends = f"'{target}' ends in '{target.suffix}', a format not written here"
        raise UserError(f"{ends}: name it .root{', ' + table_suffixes() if tables else ''}")


class Kept(Protocol):
    """Content known by its hash: a model or tables."""

    @property
    def content(self) -> bytes:
        """The bytes of its file."""
        ...

    @property
    def sha256(self) -> str:
        """The SHA-256 hash of these bytes."""
        ...


class Written(Facts):
    """What a report tells of a model, or of tables, that were written."""

    output: str
    sha256: str
    bytes: int


def write_kept(target: Path, kept: Kept, force: bool) -> Written:
    """Write the file of a model or of tables; returns target, sha256 and size for a report."""
    with replacing(target, force) as temporary:
        temporary.write_bytes(kept.content)
    return Written(output=str(target), sha256=kept.sha256, bytes=len(kept.content))


@contextmanager
def replacing(target: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary name beside the target, which is renamed to the target at the end and removed after an error.

    The bytes are flushed to disk before the renaming, so a crash leaves the old file or the new one. Raises UserError
    where the target has appeared meanwhile, unless `force`. Leftovers of killed runs in the folder are removed.
    """
    target = target.resolve()  # follow a symbolic link, so that it stays one
    made: list[Path] = []
    try:
        remove_leftovers(target.parent)
        with _temporary(target, made) as temporary:
            yield temporary
            flush(temporary)
            _rename(temporary, target, force)
            flush(target.parent)
    except OSError as error:
        if error.filename not in (None, *map(str, made)):  # an error in reading an input
            raise
        raise UserError(f"can't write '{target}': {error.strerror or error}") from error
    finally:
        for path in made:
            path.unlink(missing_ok=True)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """Yield a temporary name beside the target, for bytes that are needed until the end of the `with` block."""
    made: list[Path] = []
    try:
        with _temporary(target, made) as temporary:
            yield temporary
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished outputs of killed runs: files that atlasae made and no process has locked."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # locked by a process, or another user's file
            handle = os.open(leftover, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _is_marked(leftover, handle):
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    leftover.unlink()
            finally:
                os.close(handle)


@contextmanager
def _temporary(target: Path, made: list[Path]) -> Iterator[Path]:
    """Make a file and lock it; the system releases the lock when this process ends for any reason.

    It is locked before it gets a name that `remove_leftovers` looks for. Both names are added to `made`.
    """
    unmarked = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}{target.suffix}")
    made.append(unmarked)
    handle = os.open(unmarked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        marked = unmarked.with_name(f"{_TEMPORARY}{_mark(handle)}-{secrets.token_hex(8)}{target.suffix}")
        made.append(marked)
        yield unmarked.rename(marked)
    finally:
        os.close(handle)


def _mark(handle: int) -> str:
    """The inode number of a temporary file in hex, part of its name: no other file has the same."""
    return f"{os.fstat(handle).st_ino:x}"


def _is_marked(path: Path, handle: int) -> bool:
    """Whether `_temporary` made a file: its name contains its own inode number."""
    return re.fullmatch(rf"{_mark(handle)}-[0-9a-f]{{16}}", path.stem.removeprefix(_TEMPORARY)) is not None


def _rename(temporary: Path, target: Path, force: bool) -> None:
    """Rename a file; without `force` only if the target does not exist, checked and renamed in one step."""
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
    """Rename a file to a free name; raises FileExistsError. Without hard links, an empty file reserves the name."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        if not target.samefile(temporary):  # else it is this link: NFS may repeat a request
            raise
    except OSError:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink()
            raise


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
