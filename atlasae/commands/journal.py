"""The journal of an output folder: which outputs are done, so that an interrupted command continues there."""

import fcntl
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from atlasae.errors import UserError
from atlasae.files.checksums import checksum_bytes, checksum_file
from atlasae.files.remote import Location, Remote
from atlasae.report import some, to_json

NAME = "atlasae.jsonl"
_BEGINS = re.compile(rb'\{"check": "([0-9a-f]{16})", ')


@dataclass(frozen=True)
class Origin:
    """The origin of an output: its input file (path, size, time) and the digest of the task's options.

    `version` is for remote files, whose stores give entity tags and the like.
    """

    input: str
    size: int
    mtime_ns: int
    options: str
    version: str = ""

    @classmethod
    def of(cls, path: Location, options: str) -> "Origin":
        """The origin of a file as it is now; raises OSError or UnreachableError where it is missing."""
        if isinstance(path, Remote):
            return cls(str(path), path.stat().st_size, 0, options, path.stat().version)
        facts = path.stat()
        return cls(str(path), facts.st_size, facts.st_mtime_ns, options)


@dataclass(frozen=True)
class Entry:
    """A finished output: its name in the folder, the XXH3 hash of its bytes, and the report."""

    source: Origin
    output: str
    checksum: str
    report: Mapping[str, Any]

    def to_line(self) -> bytes:
        """The entry as a line of JSON that begins with the checksum of its other bytes."""
        rest = to_json(vars(self) | {"source": asdict(self.source)}).encode().removeprefix(b"{")
        return b'{"check": "%016x", %s' % (checksum_bytes(rest), rest)


@dataclass(frozen=True)
class _Name:
    """The part of an entry that is decoded to find it among thousands."""

    output: str


_Told = TypeVar("_Told", Entry, _Name)


class Journal:
    """The entries of a folder's journal, one per line; damaged lines are skipped and named in the notes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.lines: dict[str, list[bytes]] = {}
        damaged = []
        for number, line in enumerate(self.path.read_bytes().splitlines() if self.path.exists() else [], 1):
            if name := _read(line, _Name):
                self.lines.setdefault(name.output, []).append(line)
            else:
                damaged.append(str(number))
        self.notes = [f"'{self.path}': line {some(damaged)} is damaged, and ignored"] if damaged else []

    def find(self, source: Origin, output: str) -> Mapping[str, Any] | None:
        """The report of an output with this origin, if the file still has the bytes noted there; else None.

        Any of several lines may fit: a killed run leaves a line without its output.
        """
        entries = [entry for line in self.lines.get(output, ()) if (entry := _read(line, Entry))]
        fitting = {entry.checksum: entry.report for entry in entries if entry.source == source}
        path = self.path.with_name(output)
        return fitting.get(hex_of(path)) if fitting and path.is_file() else None


def add_entry(folder: Path, entry: Entry) -> None:
    """Append a line to a folder's journal, locked against other runs, and wait until it is on the disk."""
    path, line = folder / NAME, entry.to_line() + b"\n"
    try:
        with path.open("ab+") as file:
            with suppress(OSError):  # some file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            file.write(line if _ends_a_line(file) else b"\n" + line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"can't write '{path}': {error.strerror or error}") from error


def hex_of(path: Path) -> str:
    """The XXH3 hash of a file's bytes in hex, as in a journal."""
    return f"{checksum_file(path):016x}"


def _read(line: bytes, kind: type[_Told]) -> _Told | None:
    """The decoded line; None if it is damaged or of another version."""
    begins = _BEGINS.match(line)
    if begins is None or checksum_bytes(line[begins.end() :]) != int(begins[1], 16):
        return None
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError:
        pass
    try:
        return msgspec.convert(json.loads(line), kind)  # msgspec refuses names that are not UTF-8
    except ValueError:
        return None


def _ends_a_line(file: Any) -> bool:
    """Whether the file is empty or ends with a line break: a crash may have cut its last line."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    return file.read(1) in (b"", b"\n")
