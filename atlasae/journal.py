"""The journal of a folder of outputs: what each was made of, so that a run that was cut off goes on where it was."""

import fcntl
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from atlasae.columns import checksum_file
from atlasae.errors import UserError
from atlasae.remote import Location, Remote

NAME = "atlasae.jsonl"


@dataclass(frozen=True)
class Source:
    """What an output is made of: a file as it was, and the digest of what was to be done with it.

    Of a file elsewhere, `version` is what its store tells.
    """

    input: str
    size: int
    mtime_ns: int
    options: str
    version: str = ""

    @classmethod
    def of(cls, path: Location, options: str) -> "Source":
        """The file as it is; raises OSError where there is none, or UnreachableError of one that is elsewhere."""
        if isinstance(path, Remote):
            return cls(str(path), path.stat().st_size, 0, options, path.stat().version)
        facts = path.stat()
        return cls(str(path), facts.st_size, facts.st_mtime_ns, options)


@dataclass(frozen=True)
class Entry:
    """An output that is done: its name in the folder, the XXH3 of its bytes, and the report."""

    source: Source
    output: str
    checksum: str
    report: dict[str, Any]


@dataclass(frozen=True)
class _Name:
    """All of an entry that need be known of thousands to find one."""

    output: str


class Journal:
    """The entries of a folder's journal, one a line; a line that a crash cut short is none."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.lines: dict[str, bytes] = {}
        name = msgspec.json.Decoder(_Name)
        for line in self.path.read_bytes().splitlines() if self.path.exists() else []:
            with suppress(msgspec.MsgspecError):
                self.lines[name.decode(line).output] = line

    def find(self, source: Source, output: str) -> dict[str, Any] | None:
        """The report of an output that is made of just this, and has the bytes it had then."""
        path = self.path.with_name(output)
        if output not in self.lines or not path.is_file():
            return None
        try:
            entry = msgspec.json.decode(self.lines[output], type=Entry)
        except msgspec.MsgspecError:  # of another version
            return None
        if entry.source != source:
            return None
        return entry.report if checksum_file(path) == int(entry.checksum, 16) else None

    def add(self, entry: Entry) -> None:
        """Append a line, and wait until it is on the disk; other runs may append to the same journal."""
        line = msgspec.json.encode(asdict(entry)) + b"\n"
        try:
            with self.path.open("ab+") as file:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
                file.write(line if _ends_a_line(file) else b"\n" + line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"can't write '{self.path}': {error.strerror or error}") from error
        self.lines[entry.output] = line


def _ends_a_line(file: Any) -> bool:
    """Whether what is appended begins a line: a crash may have cut the last one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    return file.read(1) in (b"", b"\n")
