"""Figures from arrays: the one door to matplotlib. Nothing here computes, nothing here saves but `save`."""

import logging
from collections.abc import Sequence
from pathlib import Path

import matplotlib.style
import mplhep
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from atlasae.errors import UserError

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells of fonts that nobody asked for

STYLE = mplhep.style.ATLAS


def learning_rates(rates: Sequence[float], losses: Sequence[float], chosen: float) -> Figure:
    """The loss against a learning rate that grows at every step, and the rate to choose."""
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(8, 6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(rates, losses, color="#3f90da")
        axes.axvline(chosen, color="#bd1f01", linestyle="--", label=f"choose {chosen:.1g}")
        axes.set(xscale="log", yscale="log" if min(losses) > 0 else "linear")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.legend()
        return figure


def check_suffix(path: Path) -> None:
    """Raise UserError for a name that no figure can have."""
    if path.suffix.lower().removeprefix(".") not in FigureCanvasBase.get_supported_filetypes():
        raise UserError(f"'{path}': no figure ends in '{path.suffix}': name it .png, .pdf or .svg")


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the suffix says as what."""
    figure.savefig(path, dpi=150)
