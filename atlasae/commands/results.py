"""The report of many files, and its page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atlasae.pages import note_lines
from atlasae.report import Page, PageTable, Report, some

FileReport = Mapping[str, Any]  # of any command, with `input`, `output`, `error` and, of a journal's folder, `reused`

_COLUMNS = {
    "entries": "entries",
    "jets": "jets",
    "bytes_file_in": "bytes before",
    "bytes_file_out": "after",
    "bytes_jets_out": "of jets",
    "bytes_per_jet": "bytes/jet",
}


class ManyReport(Report):
    """A report of each file, the number that `failed`, and the sums of the others."""

    files: list[FileReport]
    failed: int
    entries: int | None = None
    jets: int | None = None
    exact_jets: int | None = None
    bytes_file_in: int | None = None
    bytes_file_out: int | None = None
    bytes_jets_in: int | None = None
    bytes_jets_out: int | None = None
    bytes_per_jet: float | None = None
    notes: list[str]
    seconds: float

    def _page(self) -> Page:
        shown = [key for key in _COLUMNS if key in self]
        headings = ["file", *(_COLUMNS[key] for key in shown), "seconds", ""]
        rows = [[Path(file["output"]).name, *_cells(file, shown), _state(file)] for file in self.files]
        failed = f"{self.failed} failed" if self.failed else "all done"
        rows.append([f"{len(self.files)} files", *_cells(self, shown), failed])
        noted = [*note_lines(self.notes), *note_lines(_notes_of_many(self.files))]
        return [PageTable(headings, rows, words=(0, len(headings) - 1)), *noted]


def _notes_of_many(files: Sequence[FileReport]) -> list[str]:
    """Every note once, with the names of its files."""
    notes: dict[str, list[str]] = {}
    for file in files:
        for note in file.get("notes", ()):
            notes.setdefault(note, []).append(Path(file["output"]).name)
    return [f"{some(names, 3)}: {note}" for note, names in notes.items()]


def _cells(file: FileReport, shown: Sequence[str]) -> list[str]:
    numbers = [file.get(key) for key in shown]
    cells = [f"{n:,.2f}" if isinstance(n, float) else "-" if n is None else f"{n:,}" for n in numbers]
    return [*cells, f"{file['seconds']:.1f}" if "seconds" in file else "-"]


def _state(file: FileReport) -> str:
    if file["error"] is not None:
        return "failed"
    return "as it was" if file["reused"] else "done"


def failure_line(file: FileReport) -> str:
    """The error of one of many files, with its name."""
    error = file["error"].replace("\n", " ")
    return error if file["input"] in error else f"'{file['input']}': {error}"
