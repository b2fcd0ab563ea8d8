"""Reports as pages of lines and tables: text in a terminal, HTML in a notebook."""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields
from html import escape
from typing import Any, ClassVar, TypeAlias, dataclass_transform

_WIDEST_READ = 100  # columns of running text: longer lines are hard to read


@dataclass(frozen=True)
class PageTable:
    """Rows of cells under headings; the columns in `words` are aligned left, the others right."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = (0,)


Page: TypeAlias = Sequence[str | PageTable]  # lines and tables, one below the other


@dataclass(frozen=True)
class LeftOut:
    """An object or branch that is left out, and why; `minor` if it is a detail of one that is carried."""

    name: str
    why: str
    minor: bool = False


SHARE_OF = "resolution/"  # in a bound, before the number by which the resolution is divided


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Facts(dict[str, Any]):
    """Base of results: subclasses are dataclasses whose fields are also keys, in their order and as plain JSON.

    A field with the default None has no key while it is None.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, eq=False, repr=False, kw_only=True)(cls)

    def __post_init__(self) -> None:
        for one in fields(self):
            if (value := getattr(self, one.name)) is not None or one.default is not None:
                self[one.name] = _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return asdict(value) if isinstance(value, LeftOut) else value


class Report(Facts):
    """The result of a call; a notebook shows it as the terminal does."""

    @property
    def page(self) -> Page:
        """The report as lines and tables."""
        return self._page()

    @property
    def verbose_page(self) -> Page:
        """The report with all that is left out of `page` where there is much of it."""
        return self._page()

    def _page(self) -> Page:
        raise NotImplementedError

    def to_json(self) -> str:
        """The report as `--json` prints it."""
        return to_json(self)

    def _repr_html_(self) -> str:
        return to_html(self.page)


def harmless(text: str) -> str:
    """A text with control characters replaced by `?`: names in a file may contain terminal codes."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def short(kind: Any, longest: int = 60) -> str:
    """The text of a type, or of anything else, cut where it is longer."""
    text = str(kind)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def line_of(error: BaseException) -> str:
    """The message of an error on one short line, printable; where it has none, the name of its class."""
    return short(harmless(" ".join(str(error).split())) or type(error).__name__, 150)


def bound_text(bound: float, of_resolution: bool) -> str:
    """A bound as `--precision` has it: a number, a share of the resolution, or `exact` for 0."""
    if not bound:
        return "exact"
    return f"{SHARE_OF}{1 / bound:g}" if of_resolution else f"{bound:g}"


def loosest(precisions: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The loosest bound of each variable in several precisions; None if one of them has no bound."""
    bounds = {v: [precision.get(v) for precision in precisions] for v in precisions[0]}
    return {v: None if None in found else max(x for x in found if x is not None) for v, found in bounds.items()}


def merge_largest(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The largest error of each variable over several sets of jets."""
    largest: dict[str, float] = {}
    for errors in found:
        for variable, error in errors.items():
            largest[variable] = max(largest.get(variable, 0.0), error)
    return largest


def some(names: Iterable[str], most: int = 5) -> str:
    """The first `most` names, and the number of the others."""
    listed = list(names)
    return ", ".join(listed[:most]) + f" and {len(listed) - most} more" * (len(listed) > most)


_SINGULAR = {"entries": "entry", "branches": "branch"}  # of what loses more than an s


def counted(number: int, many: str) -> str:
    """A number and what it counts: `1 entry`, `2,000 entries`."""
    return f"{number:,} {_SINGULAR.get(many, many[:-1]) if number == 1 else many}"


def to_text(page: Page, terminal: bool = False) -> str:
    """A page as text: plain and of any width, or for a terminal in its colours and width."""
    return "\n".join(
        harmless(block) if isinstance(block, str) else _drawn(block) if terminal else _aligned(block) for block in page
    )


def _aligned(table: PageTable) -> str:
    """A table of aligned columns, two spaces apart."""
    rows = [[_on_a_line(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<" if i in table.words else ">" for i in range(len(widths))]
    pairs = list(zip(sides, widths, strict=True))
    lines = ("  ".join(f"{cell:{side}{width}}" for cell, (side, width) in zip(row, pairs, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _drawn(table: PageTable) -> str:
    """A table for a terminal, in its width."""
    from rich import box
    from rich import table as rich
    from rich.console import Console
    from rich.text import Text

    drawn = rich.Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for i, heading in enumerate(table.headings):
        words = i in table.words
        drawn.add_column(
            Text(_on_a_line(heading)), justify="left" if words else "right", overflow="fold", no_wrap=not words
        )
    for row in table.rows:
        drawn.add_row(*(Text(_on_a_line(cell)) for cell in row))
    console = Console(force_terminal=True)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def markdown_text(text: str, terminal: bool = False) -> str:
    """A Markdown text: plain, or for a terminal with formatted headings, tables and lines."""
    if not terminal:
        return text.rstrip()
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(force_terminal=True)
    with console.capture() as captured:
        console.print(Markdown(text, hyperlinks=False), width=min(console.width, _WIDEST_READ))
    return captured.get().rstrip()


def to_html(page: Page) -> str:
    """A page as HTML, in which names from files are escaped."""
    return "\n".join(
        _table_html(block) if isinstance(block, PageTable) else f"<div>{_escaped(block)}</div>" for block in page
    )


def picture_html(png: bytes, name: str, width: float) -> str:
    """A PNG as an element of a page, in it and not beside it, so many inches wide and never wider than the page."""
    data = base64.b64encode(png).decode()
    style = f"width: {96 * width:.0f}px; max-width: 100%"
    return f'<img alt="{_escaped(name)}" style="{style}" src="data:image/png;base64,{data}">'


def bars_html(rows: Sequence[tuple[str, float, float]], what: str) -> str:
    """Two bars for each row, before and after, on one scale, with their numbers: a small figure without pictures."""
    most = max((max(before, after) for _, before, after in rows), default=0.0) or 1.0
    bars = []
    for name, *sizes in rows:
        bars.append(f"<div>{_escaped(name)}</div>")
        for size, colour in zip(sizes, ("#94a4a2", "#3f90da"), strict=True):
            style = f"background: {colour}; width: {16 * size / most:.2f}em; height: .7em; display: inline-block"
            bars.append(f'<div><span style="{style}"></span> {size:.2f}</div>')
    return "\n".join([f"<div>{_escaped(what)}</div>", *bars]) if rows else ""


def _table_html(table: PageTable) -> str:
    sides = ["left" if i in table.words else "right" for i in range(len(table.headings))]

    def line(tag: str, cells: Sequence[str]) -> str:
        pairs = zip(cells, sides, strict=True)
        inner = "".join(f'<{tag} style="text-align: {side}">{_escaped(cell)}</{tag}>' for cell, side in pairs)
        return f"<tr>{inner}</tr>"

    rows = "\n".join(line("td", row) for row in table.rows)
    return f"<table>\n<thead>{line('th', table.headings)}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _on_a_line(text: str) -> str:
    return harmless(text).replace("\n", "?")


def _escaped(text: str) -> str:
    return escape(harmless(text))


def to_json(report: Mapping[str, Any]) -> str:
    """A report as JSON; numbers that are not finite become null, because JSON has no infinity."""
    return json.dumps(_finite(report), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
