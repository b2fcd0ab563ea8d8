"""Reports of the commands that make models and tables, and their pages."""

from collections.abc import Mapping
from typing import Any

from atlasae.files.outputs import Written
from atlasae.pages import line_of_test, size_text
from atlasae.report import Page, Report


class TrainingReport(Written, Report):
    """A trained model; an imported one has `columns` instead of `test` and `ended`.

    `provenance` and `test` are those of the model file.
    """

    ended: str | None = None
    architecture: str
    columns: list[str] | None = None
    provenance: Mapping[str, Any]
    test: Mapping[str, Any] | None = None

    def _page(self) -> Page:
        lines = [f"{self.output}: {self.architecture}, {size_text(self.bytes)}, SHA-256 {self.sha256[:12]}"]
        if self.test:
            jets = self.provenance["jets"]
            lines.append(f"  trained on {jets['training']:,} jets, validated on {jets['validation']:,}; {self.ended}")
            lines.append(f"  {line_of_test(self.test)}")
        return lines


class TablesReport(Written, Report):
    """Tables for the packed layout, and how many jets they were counted in."""

    jets: int

    def _page(self) -> Page:
        return [f"{self.output}: tables of {self.jets:,} jets, {size_text(self.bytes)}, SHA-256 {self.sha256[:12]}"]


class RateReport(Report):
    """The result of `train --find-rate`, with the loss at each rate."""

    output: str
    learning_rate: float
    rates: list[float]
    losses: list[float]

    def _page(self) -> Page:
        return [f"{self.output}: learning rate {self.learning_rate:.1g}, as in --set course.learning_rate=..."]
