"""The report of many files, and its page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atlasae.pages import brief_note_lines, note_lines
from atlasae.report import Page, PageTable, Report, counted, some

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

    @property
    def verbose_page(self) -> Page:
        """The table with all notes, and what they say of each collection."""
        details = {
            f"{Path(file['output']).name}: {line}": None for file in self.files for line in file.get("details", ())
        }
        return [self._table(), *note_lines(self._all_notes()), *(f"  {line}" for line in details)]

    def _page(self) -> Page:
        return [self._table(), *brief_note_lines(self._all_notes())]

    def _all_notes(self) -> list[str]:
        return [*self.notes, *_notes_of_many(self.files)]

    def _table(self) -> PageTable:
        shown = [key for key in _COLUMNS if key in self]
        headings = ["file", *(_COLUMNS[key] for key in shown), "seconds", ""]
        rows = [[Path(file["output"]).name, *_cells(file, shown), _state(file)] for file in self.files]
        failed = f"{self.failed} failed" if self.failed else "all done"
        rows.append([_count(self.files), *_cells(self, shown), failed])
        return PageTable(headings, rows, words=(0, len(headings) - 1))


def _count(files: Sequence[FileReport]) -> str:
    """The number of files, and of their parts where some were split."""
    inputs = len({str(file["input"]) for file in files})
    parts = f", {counted(len(files), 'parts')}" if len(files) > inputs else ""
    return f"{inputs} file{'s' * (inputs != 1)}{parts}"


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
