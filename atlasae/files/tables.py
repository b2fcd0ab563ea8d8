"""Tables in files: which format a suffix stands for, and CSV, which needs no library.

A format is one object: the suffixes of its files, what its columns may hold besides numbers, how a file is opened and
how one is written, in pieces where the format allows it.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from atlasae.errors import DamagedFileError, UserError, optional
from atlasae.files.branches import Branch, Unwritable
from atlasae.files.datasets import Hdf5, Npz
from atlasae.files.events import (
    INDEX,
    Collected,
    CsvFacts,
    OpenTable,
    Table,
    TableColumn,
    TableFacts,
    TableWriter,
)
from atlasae.files.parquet import Parquet
from atlasae.files.pickles import PACKINGS, frame_of, packed_output, read_frame, refuse_twice, unpacked
from atlasae.files.remote import Location
from atlasae.report import line_of

_BLOCK = 1 << 20  # bytes of CSV read at once
_MOST_ROW = 1 << 26  # bytes of one row
_SEPARATORS = ",;\t| "
_MOST_FORMS = 3  # that numbers of a column may have
_MOST_DIGITS = 18  # of a whole number; longer ones are texts
_MOST_WHOLE = 1 << 53  # up to which a float64 holds every whole number
_NAN = ("", "nan")  # how pandas and numpy write a missing number
_MISSING = frozenset(
    {*_NAN, "NaN", "NAN", "NA", "<NA>", "N/A", "n/a", "NULL", "null", "None"}
)  # what pandas takes for one


class TableFormat(Protocol):
    """A format of tables."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes of its files."""
        ...

    @property
    def holds(self) -> frozenset[str]:
        """What its columns hold besides numbers: lists, arrays, texts."""
        ...

    def open(self, path: Location, stream: BinaryIO) -> AbstractContextManager[OpenTable]:
        """Open a file; raises UserError for one of another kind, DamagedFileError."""
        ...

    def create(self, path: Path, facts: TableFacts, rows: int | None) -> AbstractContextManager[TableWriter]:
        """Write a file in pieces; `rows` is how many rows there will be, None if that is not known before."""
        ...


class Pickle:
    """DataFrames that pandas pickled, perhaps packed; all of it is read at once.

    Names, dtypes, byte order and labels come back as they were; of pandas' attributes a note tells.
    """

    suffixes = (".pkl", ".pickle")
    holds = frozenset({"lists", "arrays", "texts"})

    @contextmanager
    def open(self, path: Location, stream: BinaryIO) -> Iterator[OpenTable]:
        """Open a file; raises UserError for what is no table of numbers, DamagedFileError."""
        with unpacked(stream, path.suffix.lower(), path.name) as plain:
            table = read_frame(plain, path.name)
        yield OpenTable.of(table)

    @contextmanager
    def create(self, path: Path, facts: TableFacts, rows: int | None) -> Iterator[TableWriter]:
        """Write a file, all of it at the end."""
        writer = Collected(facts)
        yield writer
        frame = frame_of(writer.table())
        with packed_output(path) as stream:
            frame.to_pickle(stream, compression=None)


# CSV


@dataclass(frozen=True)
class _Block:
    """A piece of a CSV file that holds whole rows: where it begins, its bytes, its first row, its rows."""

    at: int
    nbytes: int
    first: int
    rows: int


class Csv:
    """Texts with one row a line, and the names of columns in the first; perhaps packed.

    A column of numbers comes back as it was written, if all its numbers are whole, or as Python, numpy or a C format
    write them; those of jets as the shortest text of the float. All other columns are texts.
    """

    suffixes = (".csv", ".tsv", ".txt")
    holds = frozenset({"texts"})

    @contextmanager
    def open(self, path: Location, stream: BinaryIO) -> Iterator[OpenTable]:
        """Open a file; raises UserError for what has no names in its first line, DamagedFileError."""
        with unpacked(stream, path.suffix.lower(), path.name) as plain:
            try:
                events = CsvEvents(plain, path.name)
            except (csv.Error, UnicodeDecodeError) as error:
                raise UserError(f"{path.name}: no CSV in UTF-8 ({line_of(error)})") from None
            yield OpenTable(events, events.facts, events.notes)

    @contextmanager
    def create(self, path: Path, facts: TableFacts, rows: int | None) -> Iterator[TableWriter]:
        """Write a file."""
        with packed_output(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
            yield _CsvWriter(text, facts)


class CsvEvents:
    """The columns of a CSV file, read by ranges of rows; its first pass finds where rows are, and how numbers are."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        head = stream.readline(_BLOCK).decode("utf-8-sig")
        self.ending = "\r\n" if head.endswith("\r\n") else "\n"
        self.separator = _separator(head)
        self.titles = next(csv.reader([head.rstrip("\r\n")], delimiter=self.separator), [])
        _refuse_headless(self.titles, name)
        self._names = [title or INDEX for title in self.titles]  # pandas writes labels under no name
        refuse_twice(self._names, name)
        self._forms = [_Forms() for _ in self.titles]
        self._blocks = list(self._survey())
        self.entries = sum(block.rows for block in self._blocks)
        self._cached: tuple[_Block, list[tuple[str, ...]]] | None = None
        forms = dict(zip(self._names, self._forms, strict=True))
        self.branches = [Branch(column, form.dtype, jagged=False) for column, form in forms.items()]
        self.members: list[Branch] = []
        self.full_names: dict[str, str] = {}
        self.unwritable: list[Unwritable] = []
        self._by_name = forms

    @property
    def facts(self) -> TableFacts:
        """How the file is written."""
        plain = ("repr", "single", "text", "int", "number")  # as the dtype says
        numbers = {name: form.kept for name, form in self._by_name.items() if form.kept not in plain}
        how = CsvFacts(separator=self.separator, ending=self.ending, numbers=numbers)
        facts = TableFacts(index=INDEX if "" in self.titles else None, csv=how)
        missing = {name: form.missing for name, form in self._by_name.items() if form.missing is not None}
        if missing:
            facts["nulls"] = list(missing)
        if words := {name: word for name, word in missing.items() if word}:
            how["missing"] = words
        return facts

    @property
    def notes(self) -> tuple[str, ...]:
        """The columns whose numbers come back in another form."""
        return tuple(
            f"column {name!r} comes back as the same numbers, written in another form"
            for name, form in self._by_name.items()
            if form.kept == "number" or (form.missing is not None and len(form.words) > 1)
        )

    def _survey(self) -> Iterator[_Block]:
        first = 0
        while True:
            at = self._stream.tell()
            data = self._next()
            if not data:
                return
            columns = self._parse(data, first)
            for form, texts in zip(self._forms, columns, strict=True):
                form.see(texts)
            rows = len(columns[0])
            yield _Block(at, len(data), first, rows)
            first += rows

    def _next(self) -> bytes:
        """The next whole rows: a quoted text may hold an end of line."""
        data = self._stream.read(_BLOCK)
        data += self._stream.readline(_MOST_ROW)
        while data.count(b'"') % 2 and len(data) < _MOST_ROW and (more := self._stream.readline(_MOST_ROW)):
            data += more
        return data

    def _parse(self, data: bytes, first: int) -> list[tuple[str, ...]]:
        """The texts of each column."""
        lines = io.StringIO(data.decode(), newline="")
        rows = [row for row in csv.reader(lines, delimiter=self.separator, strict=True) if row]
        wrong = next((number for number, row in enumerate(rows) if len(row) != len(self.titles)), None)
        if wrong is not None:
            raise DamagedFileError(
                f"{self._name}: damaged: row {first + wrong + 1} has {len(rows[wrong])} cells, "
                f"where the first line names {len(self.titles)} columns"
            )
        return list(zip(*rows, strict=True)) or [() for _ in self.titles]

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read these columns for rows [start, stop); raises DamagedFileError where they have changed."""
        numbers = [self._names.index(name) for name in names]
        texts: list[list[str]] = [[] for _ in names]
        for block in self._blocks:
            if block.first < stop and start < block.first + block.rows:
                columns = self._read(block)
                begin, end = max(0, start - block.first), stop - block.first
                for own, number in zip(texts, numbers, strict=True):
                    own.extend(columns[number][begin:end])
        return {name: self._by_name[name].array(own) for name, own in zip(names, texts, strict=True)}

    def _read(self, block: _Block) -> list[tuple[str, ...]]:
        if self._cached is None or self._cached[0] is not block:
            self._stream.seek(block.at)
            self._cached = block, self._parse(self._stream.read(block.nbytes), block.first)
        return self._cached[1]

    def bytes_per_entry(self, names: Sequence[str]) -> float:
        """Bytes per row of these columns: eight for a number, for a text those that cells have on the average."""
        size = sum(block.nbytes for block in self._blocks) / max(1, self.entries * len(self._names))
        return sum(max(8.0, size) for _ in names)

    def compressed_bytes(self, names: Sequence[str]) -> int:
        """Bytes that these columns take in their file, as if all took the same."""
        return sum(block.nbytes for block in self._blocks) * len(names) // len(self._names)


def _separator(head: str) -> str:
    """What separates the names of columns: blanks only where nothing else does, for names may have some."""
    found = max(_SEPARATORS.replace(" ", ""), key=head.count)
    return found if found in head else " "


def _refuse_headless(titles: list[str], name: str) -> None:
    """Raise UserError for a first line that holds no names."""
    if not any(titles) or titles.count("") > 1 or all(map(_is_number, titles)):
        raise UserError(f"{name}: names no columns in its first line: write them there, as in pt,eta,phi,m")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _repr(values: NDArray[np.float64]) -> list[str]:
    return list(map(repr, values.tolist()))


def _single(values: NDArray[Any]) -> list[str]:
    with np.errstate(over="ignore"):
        return list(map(str, values.astype(np.float32).astype("U32").tolist()))


def _form(name: str) -> Callable[[NDArray[Any]], list[str]]:
    """What writes numbers in a form: `repr`, `single`, `int` or a format of C."""
    if name.startswith("%"):
        return lambda values: [name % value for value in values.tolist()]
    return {"single": _single, "int": lambda values: list(map(str, values.tolist()))}.get(name, _repr)


def _is_format(name: str) -> bool:
    """Whether this is a format of C that `_guesses` makes."""
    digits = name[2:-1]
    return (
        name[:2] == "%." and name[-1:] in ("f", "e", "g") and digits.isascii() and digits.isdigit() and len(digits) < 3
    )


def _guesses(text: str) -> list[str]:
    """The formats of C that may have written a number."""
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    fixed = f"%.{decimals}{'e' if exponent else 'f'}"
    return [fixed, "%.18e"] if decimals < 100 else []


class _Forms:
    """How the numbers of a column are written: the forms that all texts so far have."""

    def __init__(self) -> None:
        self.words = set[str]()  # that stand for missing numbers
        self._left: list[str] | None = None
        self._numbers, self._whole, self._long = True, True, False

    def see(self, texts: Sequence[str]) -> None:
        """Take more texts into account."""
        words = _MISSING.intersection(texts)
        given = [text for text in texts if text not in words] if words else texts
        self.words |= words
        self._numbers = self._numbers and all(map(_is_number, given))
        if not self._numbers or not given:
            return
        whole = [text for text in given if text.lstrip("-").isdigit() and text != "-0"]
        if any(len(text) > _MOST_DIGITS or str(int(text)) != text for text in whole):
            self._numbers = False  # a float would cut them, or they are names such as 007
            return
        self._whole = self._whole and len(whole) == len(given)
        self._long = self._long or any(abs(int(text)) > _MOST_WHOLE for text in whole)
        values = np.array(list(map(float, given)))
        if self._left is None:
            self._left = [
                "single",
                "repr",
                *_guesses(next((text for text in given if any(map(str.isdigit, text))), "")),
                *(f"%.{digits}g" for digits in range(4, 18)),
            ]
        for some in (100, len(given)):  # most forms fail at once
            self._left = [name for name in self._left if _form(name)(values[:some]) == list(given[:some])][:_MOST_FORMS]

    @property
    def kept(self) -> str:
        """The form: `int`, `repr`, `single`, a format of C, `number` for none of these, `text` where some are none."""
        if self._numbers and self._left is None and self.words <= set(_NAN):
            return "repr"
        if not self._numbers or self._left is None:
            return "text"
        if self._whole and not self.words:
            return "int"
        if self._long:  # a float would change it
            return "text"
        return self._left[0] if self._left else "number"

    @property
    def missing(self) -> str | None:
        """The word that is written for a missing number; None in a column of texts, or where NaN is written `nan`."""
        return min(self.words) if self.words - {"nan"} and self.kept != "text" else None

    @property
    def dtype(self) -> str:
        """The dtype of its branch."""
        return {"text": "string", "int": "<i8", "single": "<f4"}.get(self.kept, "<f8")

    def array(self, texts: list[str]) -> ak.Array:
        """The values of texts."""
        if self.dtype == "string":
            return ak.Array(texts) if texts else ak.Array([""])[:0]
        if self.dtype == "<i8":
            return ak.Array(np.array(list(map(int, texts)), np.int64))
        return ak.Array(np.array([np.nan if text in self.words else float(text) for text in texts]).astype(self.dtype))


class _CsvWriter:
    """A CSV file being written."""

    def __init__(self, text: Any, facts: TableFacts) -> None:
        how = facts.get("csv", CsvFacts())
        self._facts, self._numbers = facts, how.get("numbers", {})
        separator, ending = how.get("separator", ","), how.get("ending", "\n")
        if separator not in _SEPARATORS or len(separator) != 1 or ending not in ("\n", "\r\n"):
            raise DamagedFileError(f"the record of the table is damaged: {separator!r} separates its columns")
        self._writer = csv.writer(text, delimiter=separator, lineterminator=ending)
        self._begun = False

    def extend(self, columns: Mapping[str, ak.Array]) -> None:
        """Append rows."""
        table = Table.of(columns, self._facts)
        written: dict[str, TableColumn] = {} if table.index is None else {str(table.index_name or ""): table.index}
        cells = {name: self._cells(INDEX, values) for name, values in written.items()}
        cells |= {name: self._cells(name, values) for name, values in table.columns.items()}
        if not self._begun:
            self._writer.writerow(cells)
            self._begun = True
        self._writer.writerows(zip(*cells.values(), strict=True))

    def _cells(self, name: str, values: TableColumn) -> list[str]:
        if isinstance(values, ak.Array):
            return [str(text) for text in values.to_list()]
        if values.dtype.kind != "f":
            return list(map(str, values.tolist()))
        form = self._numbers.get(name, "single" if values.dtype.itemsize < 8 else "repr")
        texts = _form(form if _is_format(form) or form == "single" else "repr")(values)
        if name in self._facts.get("nulls", ()):
            word = self._facts.get("csv", CsvFacts()).get("missing", {}).get(name, "")
            return [word if missing else text for text, missing in zip(texts, np.isnan(values).tolist(), strict=True)]
        return texts


# All formats

FORMATS: tuple[TableFormat, ...] = (Pickle(), Parquet(), Csv(), Hdf5(), Npz())
_PACKED = (Pickle, Csv)  # formats whose files may be packed


def format_of(path: Location) -> TableFormat | None:
    """The format that the suffix of a file stands for; None if that is no table's."""
    suffix, own = path.suffix.lower(), tuple(FORMATS)
    if suffix in PACKINGS:
        suffix = Path(path.stem).suffix.lower()
        own = tuple(one for one in FORMATS if isinstance(one, _PACKED))
    return next((one for one in own if suffix in one.suffixes), None)


def is_table(path: Location) -> bool:
    """Whether the suffix is a table's: .pkl, .parquet, .csv, .h5, .npz ..."""
    return format_of(path) is not None


def table_suffixes() -> str:
    """The suffixes of tables, for messages: one of each format."""
    first = [one.suffixes[0] for one in FORMATS]
    return f"{', '.join(first[:-1])} or {first[-1]}"


@contextmanager
def open_table(path: Location) -> Iterator[OpenTable]:
    """Open a table; the suffix decides on its format.

    Raises UserError for anything else than a table of numbers, DamagedFileError for a file that is truncated or
    contradicts itself.
    """
    found = _known(path)
    try:
        with path.open("rb") as stream, found.open(path, stream) as opened:
            yield opened
    except FileNotFoundError as error:
        if error.filename not in (None, str(path)):
            raise
        raise UserError(f"no such file: {path}") from None
    except OSError as error:
        if error.filename not in (None, str(path)):
            raise
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def read_table(path: Location) -> Table:
    """All of a table; raises as `open_table`."""
    with open_table(path) as opened:
        events, facts = opened.events, opened.facts
        columns = events.read([branch.name for branch in events.branches], 0, events.entries)
        table = Table.of(columns, facts)
        skipped = tuple(one.name for one in events.unwritable)
    return Table(**{**vars(table), "skipped": skipped, "notes": opened.notes})


@contextmanager
def create_table(
    path: Path, facts: TableFacts, rows: int | None = None, called: Path | None = None
) -> Iterator[TableWriter]:
    """Write a table in pieces, in the format that the suffix says, with every name, dtype and bit, and the labels.

    `called` is the name that the file will get, if that is another. Raises UserError where the file cannot be written.
    """
    try:
        with _known(called or path).create(path, facts, rows) as writer:
            yield writer
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def write_table(path: Path, table: Table) -> None:
    """Write a table, as `create_table`."""
    rows = len(next(iter(table.written.values()), ()))
    with create_table(path, table.facts, rows) as writer:
        writer.extend({name: ak.Array(values) for name, values in table.written.items()})


def _known(path: Location) -> TableFormat:
    found = format_of(path)
    if found is None:
        raise UserError(f"{path.name}: {path.suffix!r} is no table's suffix: use {table_suffixes()}")
    return found


def to_frame(columns: Mapping[str, NDArray[Any]], entries: range | NDArray[Any]) -> Any:
    """A DataFrame with a row for each of these entries of a tree; lists become objects.

    Raises UserError without pandas.
    """
    pandas = optional("pandas", "library='pd'", "tables")
    frame = pandas.DataFrame({name: list(c) if c.ndim > 1 else c for name, c in columns.items()})
    return frame.set_index(pandas.RangeIndex(entries) if isinstance(entries, range) else pandas.Index(entries))
