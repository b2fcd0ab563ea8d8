"""Texts that several commands share."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from atlasae.report import LeftOut, Page, PageTable, some

__version__ = version("atlasae")
MOST_NOTES = 3  # lines of notes of a run, unless all are asked for
_LOST = "left out"  # in notes on what the output does not have
LIBRARIES = ("torch", "uproot", "awkward", "numpy", "constriction", "cramjam", "hist", "mplhep")


def versions_text() -> str:
    """The versions of atlasae, and of the libraries that affect what it writes and reads."""
    return "\n".join([f"atlasae {__version__}", *(f"  {name} {version(name)}" for name in LIBRARIES)])


def model_page(facts: Mapping[str, Any]) -> Page:
    """A model as `Model.describe` shows it."""
    lines = [
        f"{facts['architecture']} model: {facts['parameters']:,} parameters, {size_text(facts['bytes'])}",
        f"SHA-256 {facts['sha256']}",
    ]
    if "columns" in facts:
        lines.append(f"of {', '.join(facts['columns'])} in {facts['units']}")
    if jets := facts.get("provenance", {}).get("jets"):
        lines.append(f"trained on {jets['training']:,} jets, validated on {jets['validation']:,}")
    if test := facts.get("test"):
        lines.append(line_of_test(test))
    if "domain" not in facts:
        return lines
    units = {"pt": "pt in MeV", "eta": "eta", "phi": "phi", "m": "m in MeV"}
    rows = [[units[variable], *(f"{x:.5g}" for x in facts["domain"][variable])] for variable in units]
    return [*lines, PageTable(["jets it knows", *(f"{100 * q:g} %" for q in facts["quantiles"])], rows)]


def line_of_test(test: Mapping[str, Any]) -> str:
    """A line on the test of a model."""
    if "half_widths" in test:
        found = "half-widths" + "".join(f"  {variable} {width:.2g}" for variable, width in test["half_widths"].items())
    else:
        found = f"{test['bits_per_jet_at_1e-3']:.2f} bits per jet at 1e-3"
    return f"test on {test['jets']:,} jets: {found}"


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    """What was left out of a file, one line per reason."""
    whys: dict[str, list[str]] = {}
    for thing in left_out:
        whys.setdefault(thing.why, []).append(thing.name)
    return [f"{some(names, 30)} {'are' if len(names) > 1 else 'is'} left out: {why}" for why, names in whys.items()]


def note_lines(notes: Iterable[str]) -> list[str]:
    """Notes, each on a line."""
    return [f"note: {note}" for note in notes]


def brief_note_lines(notes: Sequence[str]) -> list[str]:
    """All notes on what is left out, and at most three lines of others."""
    lost, others = ([note for note in notes if (_LOST in note) is told] for told in (True, False))
    more = len(others) - (MOST_NOTES - 1)
    if more <= 1:
        return note_lines(lost + others)
    shown = note_lines(lost + others[: MOST_NOTES - 1])
    return [*shown, f"note: and {more} more notes: --verbose shows them"]


def size_text(count: float) -> str:
    """A number of bytes with its unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.995 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
