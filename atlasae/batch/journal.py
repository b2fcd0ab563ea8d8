"""The journal of a folder of outputs: what each was made of, so that a run that was cut off goes on where it was."""

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
    """What an output is made of: a file as it was, and the digest of what was to be done with it.

    Of a file elsewhere, `version` is what its store tells.
    """

    input: str
    size: int
    mtime_ns: int
    options: str
    version: str = ""

    @classmethod
    def of(cls, path: Location, options: str) -> "Origin":
        """The file as it is; raises OSError where there is none, or UnreachableError of one that is elsewhere."""
        if isinstance(path, Remote):
            return cls(str(path), path.stat().st_size, 0, options, path.stat().version)
        facts = path.stat()
        return cls(str(path), facts.st_size, facts.st_mtime_ns, options)


@dataclass(frozen=True)
class Entry:
    """An output that is done: its name in the folder, the XXH3 of its bytes, and the report."""

    source: Origin
    output: str
    checksum: str
    report: Mapping[str, Any]

    def to_line(self) -> bytes:
        """The entry as a line of JSON, which begins with the checksum of what follows."""
        rest = to_json(vars(self) | {"source": asdict(self.source)}).encode().removeprefix(b"{")
        return b'{"check": "%016x", %s' % (checksum_bytes(rest), rest)


@dataclass(frozen=True)
class _Name:
    """All of an entry that need be known of thousands to find one."""

    output: str


_Told = TypeVar("_Told", Entry, _Name)


class Journal:
    """The entries of a folder's journal, one a line; a line that is damaged is none, and is said in the notes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.lines: dict[str, list[bytes]] = {}
        damaged = []
        for number, line in enumerate(self.path.read_bytes().splitlines() if self.path.exists() else [], 1):
            if name := _read(line, _Name):
                self.lines.setdefault(name.output, []).append(line)
            else:
                damaged.append(str(number))
        self.notes = [f"'{self.path}': what is in line {some(damaged)} is damaged, and not counted"] if damaged else []

    def find(self, source: Origin, output: str) -> Mapping[str, Any] | None:
        """The report of an output that is made of just this, and has the bytes it had then.

        Of several lines any will do: a run that was killed, or refused, has written one and made nothing.
        """
        entries = [entry for line in self.lines.get(output, ()) if (entry := _read(line, Entry))]
        fitting = {entry.checksum: entry.report for entry in entries if entry.source == source}
        path = self.path.with_name(output)
        return fitting.get(hex_of(path)) if fitting and path.is_file() else None


def add_entry(folder: Path, entry: Entry) -> None:
    """Append a line to a folder's journal, and wait until it is on the disk; other runs may append to the same."""
    path, line = folder / NAME, entry.to_line() + b"\n"
    try:
        with path.open("ab+") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            file.write(line if _ends_a_line(file) else b"\n" + line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"can't write '{path}': {error.strerror or error}") from error


def hex_of(path: Path) -> str:
    """The XXH3 of a file's bytes, as it stands in a journal."""
    return f"{checksum_file(path):016x}"


def _read(line: bytes, kind: type[_Told]) -> _Told | None:
    """What a line tells; nothing of one that is damaged, or of another version."""
    begins = _BEGINS.match(line)
    if begins is None or checksum_bytes(line[begins.end() :]) != int(begins[1], 16):
        return None
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError:
        pass
    try:
        return msgspec.convert(json.loads(line), kind)  # names that are not UTF-8 are no JSON to msgspec
    except ValueError:
        return None


def _ends_a_line(file: Any) -> bool:
    """Whether what is appended begins a line: a crash may have cut the last one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    return file.read(1) in (b"", b"\n")
