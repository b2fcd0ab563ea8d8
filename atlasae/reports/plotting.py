"""Figures from arrays: the one door to matplotlib. No residual is computed here; only `save` writes files."""

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeAlias, TypedDict

import matplotlib.style
import mplhep
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.cbook import is_math_text
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from atlasae.errors import UserError
from atlasae.report import counted, harmless
from atlasae.reports.panels import (
    NO_LABEL,
    QUANTITIES,
    Counted,
    FineRatio,
    Label,
    Numbers,
    Overview,
    Quantity,
    is_logarithmic,
)

__all__ = ["Figure"]  # other modules name the type without importing matplotlib


# loggers that report missing fonts and glyphs
TALKATIVE = ("matplotlib.font_manager", "matplotlib.mathtext", "matplotlib.backends.backend_pdf", "fontTools")
_FAR = 6  # times the range of the axis: a bound beyond is printed, not drawn
MANY = 100  # bins whose markers are small
_FEW = 10  # jets in the fullest bin: with fewer, the axis is linear
SIZE = (6.0, 4.8)  # inches: at a journal's column width, half of this, the smallest letters have 6 points
STYLE = [
    mplhep.style.ATLAS,
    {
        "font.family": "TeX Gyre Heros",  # mplhep's first choice; looked up when drawn
        "axes.labelsize": 15,
        "xtick.labelsize": 13,
        "ytick.labelsize": 13,
        "legend.fontsize": 12,
        "figure.subplot.left": 0.17,
        "figure.subplot.bottom": 0.15,
        "figure.subplot.right": 0.96,
        "figure.subplot.top": 0.95,
        "savefig.dpi": 150,
        "svg.hashsalt": "atlasae",  # the same element ids in every run
        "text.usetex": False,  # names of branches are not LaTeX
        "text.parse_math": True,
    },
]
BLACK, BLUE, RED, ORANGE, GREEN, GREY = "#000000", "#3f90da", "#bd1f01", "#ffa90e", "#2b7f3f", "#94a4a2"
INNER, OUTER, EDGE = "#3f90da", "#bcd9f2", "#1f5f94"  # bands of 68 % and 95 %, errors of the edge between them
DIM, PALE = "#d0d0d0", "#ececec"  # the same bands of few jets
LINES = (BLUE, RED, ORANGE, GREEN, "#832db6", "#a96b59", GREY, "#717581")  # colour-blind safe (Petroff 2021)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)))
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*")
LINE = 0.3  # inches between lines of a label
BANDS = ("2.5", "15.865", "50", "84.135", "97.5")  # percentiles that are drawn
FEWEST_SHOWN = 40  # in a bin of a response: with fewer, no jet is in 2.5 %, and the bin is grey
_FEW_TEXT = f"fewer than {FEWEST_SHOWN}"
_ROOM = 1.6  # height of an axis, in units of the data's, with room for labels and legend


class Look(TypedDict, total=False):
    """How matplotlib draws a line or a text."""

    color: str
    linewidth: float
    linestyle: str | tuple[int, tuple[int, ...]]
    marker: str
    markersize: float
    fillstyle: str
    zorder: float
    fontweight: str
    fontstyle: str


# how experiments write their names, and the status after it
NAMES: dict[str, tuple[Look, Look]] = {
    "ATLAS": ({"fontweight": "bold", "fontstyle": "italic"}, {}),
    "CMS": ({"fontweight": "bold"}, {"fontstyle": "italic"}),
    "LHCb": ({}, {}),
}
SMALL_PRINT = 7  # points of small print
Arguments = ParamSpec("Arguments")


def _in_style(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw in the style of ATLAS, then restore matplotlib's settings."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with styled():
            return draw(*args, **kwargs)

    return drawn


@contextmanager
def styled() -> Iterator[None]:
    """The style of all figures, for drawing and saving; settings and levels of loggers are restored."""
    with matplotlib.style.context(STYLE), _quiet():
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@_in_style
def spectrum(counted: Counted, quantity: Quantity, label: Label = NO_LABEL, what: str = "Jets") -> Figure:
    """A distribution before and after, and the ratio; jets below the axis have a bar of their own."""
    figure, (axes, lower) = _two_panels()
    shown = counted.scaled(quantity.scale)
    falls = is_logarithmic(np.asarray(shown.edges, float))
    has_underflow = any(shown.below or ())
    shown = shown.with_underflow() if has_underflow else shown
    x, first, second = (np.asarray(column, float) for column in (shown.edges, shown.before, shown.after))
    axes.stairs(first, x, color=BLACK, linewidth=1.5, label="original")
    axes.stairs(second, x, color=RED, linewidth=1.5, linestyle="--", label="decompressed")
    _ratio(lower, shown)
    lower.set(xlabel=quantity.axis, ylabel="dec. / orig.", xlim=(x[0], x[-1]))
    axes.set_ylabel(f"{what} / bin")
    if falls:
        _logarithmic_x(lower)
    _head_room(axes, np.concatenate([first, second]), falls)
    if has_underflow:
        _underflow(axes, shown, quantity)
    _finish(axes, label)
    return figure


def _ratio(axes: Axes, shown: Counted) -> None:
    """The ratio after / before; points outside the panel are arrows at its edge."""
    first, second, moved = (np.asarray(column, float) for column in (shown.before, shown.after, shown.moved))
    there = (first > 0) | (second > 0)
    with np.errstate(all="ignore"):  # infinite where there were no jets before
        ratio, error = (second / first)[there], (np.sqrt(moved) / first)[there]
    centres, finite = _centres(np.asarray(shown.edges, float))[there], np.isfinite(ratio)
    _around_one(axes, ratio[finite], error[finite])
    low, high = axes.get_ylim()
    inside = (ratio >= low) & (ratio <= high)
    points: Any = {"color": RED, "markersize": 3.5, "linewidth": 1}
    axes.errorbar(centres[inside], ratio[inside], yerr=error[inside], fmt="o", **points)
    for marker, outside, at in (("^", ratio > high, 0.93), ("v", ratio < low, 0.07)):
        height = np.full(outside.sum(), low + at * (high - low))
        axes.plot(centres[outside], height, marker, color=RED, markersize=6, label=f"_{marker}")
    axes.axhline(1, color=BLACK, linewidth=0.8)


def _underflow(axes: Axes, shown: Counted, quantity: Quantity) -> None:
    """The jets below the axis: a grey bar with its limit."""
    x = np.asarray(shown.edges, float)
    axes.stairs(shown.before[1:2], x[1:3], fill=True, color=GREY, alpha=0.35)
    limit = f"{quantity.symbol} < {shown.lowest:.2g} {quantity.unit}".strip()
    at = np.sqrt(x[1] * x[2]) if is_logarithmic(x[3:]) else (x[1] + x[2]) / 2
    text: Any = {"rotation": 90, "ha": "center", "va": "bottom", "fontsize": 9}
    axes.text(at, 0.02, limit, transform=axes.get_xaxis_transform(), **text)


@_in_style
def fine_ratios(spectra: Sequence[FineRatio], label: Label = NO_LABEL) -> Figure:
    """The ratios of decompressed to original jets in fine bins, with bands of what random errors change."""
    rows = (len(spectra) + 1) // 2
    width, height = (1 if len(spectra) == 1 else 1.8) * SIZE[0], 0.75 * SIZE[1] * rows + 1
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, min(2, len(spectra)), squeeze=False)
    sides: Any = {"left": 0.17, "right": 0.96} if len(spectra) == 1 else {"left": 0.1, "right": 0.98, "wspace": 0.25}
    figure.subplots_adjust(top=1 - _room(label) / height, bottom=0.75 / height, hspace=0.35, **sides)
    for axes, found in zip(grid.flat, spectra, strict=False):
        _fine_ratio(axes, found)
    for axes in grid.flat[len(spectra) :]:
        axes.set_visible(False)
    _above(grid[0, 0], label)
    return figure


def _fine_ratio(axes: Axes, found: FineRatio) -> None:
    """One spectrum; bins without jets before are left out."""
    x = np.asarray(found.edges) * found.quantity.scale
    first = np.where(np.asarray(found.before) > 0, np.asarray(found.before, float), np.nan)
    ratio, band = np.asarray(found.after) / first, np.asarray(found.random) / first
    axes.stairs(1 + band, x, baseline=1 - band, fill=True, color=OUTER, label="random errors")
    axes.axhline(1, color=BLACK, linewidth=0.8)
    told = f"decompressed: $\\chi^2$ ratio {found.change['ratio']:.3g} $\\pm$ {found.change['error']:.1g}"
    axes.plot(_centres(x), ratio, "o", color=RED, markersize=2 if len(ratio) > MANY else 3.5, label=told)
    far = max(1.05 * float(np.nanmax(np.abs(ratio - 1))), 3 * float(np.nanmedian(band)), 1e-3)
    width = f"{(x[1] - x[0]):.2g} {found.quantity.unit}".strip()
    axes.set(xlabel=found.quantity.axis, ylabel=f"dec. / orig., bins of {width}", xlim=(x[0], x[-1]))
    axes.set_ylim(1 - far, 1 + 1.9 * far)
    axes.legend(loc="upper right", fontsize=10.5)


@_in_style
def residual_figure(
    edges: Numbers,
    counts: Numbers,
    numbers: Mapping[str, Any],
    quantity: Quantity,
    relative: bool,
    bound: float | None = None,
    label: Label = NO_LABEL,
) -> Figure:
    """A histogram of residuals with their mean, the half-width of the central 68 %, and the promised bound."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_subplot()
    x, power = _scaled(edges)
    values = np.asarray(counts, float)
    _filled(axes, values, x)
    most = max(1.0, float(values.max()))
    low, high = (numbers["quantiles"][q] / power for q in ("15.865", "84.135"))
    mean, width = numbers["mean"] / power, _short(numbers["half_width_68"])
    name = f"mean {_short(numbers['mean'])}\n68 %: $\\pm${width}"
    bars = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
    axes.errorbar([mean], [1.08 * most], xerr=bars, fmt="o", color=BLACK, capsize=4, linewidth=2, label=name)
    reach = x[-1]
    if bound:
        near = bound / power <= _FAR * reach  # else the residuals would be a line in the middle
        reach = 1.25 * bound / power if near and bound / power >= reach else reach
        ends = [-bound / power, bound / power] if near else []
        name = "promised bound" + (f" $\\pm${_short(bound)}" if not near else "")
        axes.vlines(ends, 0, 1.15 * most, color=RED, linestyle="--", linewidth=1.5, label=name)
    axes.set(xlabel=_residual_text(quantity, relative, power), ylabel="Jets / bin", xlim=(-reach, reach))
    axes.set_ylim(0, 1.8 * most)
    _finish(axes, label)
    return figure


def _residual_text(quantity: Quantity, relative: bool, power: float) -> str:
    """The name of an axis of residuals, in units of a power of ten."""
    if relative:
        return f"{quantity.symbol}(dec.) / {quantity.symbol}(orig.) $-$ 1{_times(power)}"
    return f"$\\Delta${quantity.symbol}{_times(power, quantity.unit)}"


Bins: TypeAlias = Sequence[Mapping[str, Any]]


@_in_style
def response(
    against: Sequence[tuple[Quantity, Bins]], quantity: Quantity, relative: bool = True, label: Label = NO_LABEL
) -> Figure:
    """The residual against other variables: its median, bands of 68 % and 95 % of the jets, and half of the 68 %.

    Bins have `low`, `high`, `jets`, and `quantiles` of the residuals with their statistical `errors`; a bin with fewer
    than `FEWEST_SHOWN` is grey, without median and half-width.
    """
    columns = [(other, _without_gaps(bins)) for other, bins in against]
    figure, grid = _two_rows(len(columns))
    reach, power = _reach(columns)
    for (upper, lower), (other, bins) in zip(grid.T, columns, strict=True):
        x = np.array([b["low"] for b in bins] + [bins[-1]["high"]]) * other.scale
        falls = is_logarithmic(x)
        lower.set(xlabel=other.axis, xlim=(x[1] / 2 if falls and x[0] <= 0 else x[0], x[-1]))
        if falls:
            _logarithmic_x(lower)
        _bands(upper, x, bins, power)
        _half_widths(lower, x, bins, power)
    grid[0, 0].set(ylim=(-1.25 * reach, 2.6 * reach))
    grid[1, 0].set_ylim(0, 1.15 * max(1e-12, grid[1, 0].get_ylim()[1]))
    grid[1, 0].set_ylabel(f"half-width{_times(power)}", fontsize=12)
    grid[0, 0].set_ylabel(_residual_text(quantity, relative, power))
    _legend_of_all(list(grid[0]))
    _corner_text(grid[0, 0], label)
    return figure


def _legend_of_all(panels: Sequence[Axes]) -> None:
    """One legend, in the last of the panels, of what any of them shows."""
    shown: dict[str, Artist] = {}
    for axes in panels:
        shown |= {name: handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    below_status = 0.97 if len(panels) > 1 else 1 - (0.6 * LINE + 0.26) / _height(axes)
    axes.legend(shown.values(), shown, loc="upper right", bbox_to_anchor=(0.99, below_status), borderaxespad=0)


def _two_rows(columns: int) -> tuple[Figure, npt.NDArray[Any]]:
    figure = Figure(figsize=(SIZE[0] * (1 if columns == 1 else 1.8), SIZE[1] * 1.2))
    ratios: Any = {"height_ratios": (2.6, 1)}
    grid = figure.subplots(2, columns, sharex="col", sharey="row", squeeze=False, gridspec_kw=ratios)
    sides: Any = {"left": 0.17} if columns == 1 else {"left": 0.1, "right": 0.98, "wspace": 0.05}
    figure.subplots_adjust(hspace=0.07, bottom=0.13, **sides)
    return figure, grid


def _reach(columns: Sequence[tuple[Quantity, Bins]]) -> tuple[float, float]:
    """The size of the largest 2.5 % and 97.5 % quantile, in units of a power of ten, and this power."""
    found = [b["quantiles"] for _, bins in columns for b in bins if b["quantiles"]]
    reach = max(abs(quantiles[q]) for quantiles in found for q in ("2.5", "97.5"))
    power = _power(reach)
    return max(reach / power, 1e-12), power


def _bands(axes: Axes, x: npt.NDArray[np.float64], bins: Bins, power: float) -> None:
    known = np.array([b["jets"] >= FEWEST_SHOWN for b in bins])
    few = np.array([0 < b["jets"] < FEWEST_SHOWN for b in bins])
    at = {q: np.array([b["quantiles"].get(q, np.nan) for b in bins]) / power for q in BANDS}
    bands = (("2.5", "97.5", OUTER, PALE, "95 %", None), ("15.865", "84.135", INNER, DIM, "68 %", _FEW_TEXT))
    for low, high, colour, grey, name, few_name in bands:
        for shown, filled, told in ((known, colour, name), (few, grey, few_name)):
            if shown.any():
                upper, lower = (np.where(shown, at[q], np.nan) for q in (high, low))
                axes.stairs(upper, x, baseline=lower, fill=True, color=filled, label=told, zorder=0.5)
    for q in ("15.865", "84.135"):
        errors = np.where(known, _errors(bins, q) / power, np.nan)
        axes.errorbar(_middles(x), at[q], yerr=errors, fmt="none", color=EDGE, linewidth=1)
    half, error = (x[1:] - x[:-1]) / 2, _errors(bins, "50") / power
    look: Any = {
        "fmt": "o",
        "color": BLACK,
        "markersize": 2.5,
        "linewidth": 1.2,
        "label": "median" if known.any() else "",
    }
    axes.errorbar(_middles(x), np.where(known, at["50"], np.nan), xerr=half, yerr=error, **look)


def _half_widths(axes: Axes, x: npt.NDArray[np.float64], bins: Bins, power: float) -> None:
    known = np.array([b["jets"] >= FEWEST_SHOWN for b in bins])
    width, error = (
        np.array([b.get(key) or np.nan for b in bins]) / power for key in ("half_width_68", "half_width_68_error")
    )
    half = (x[1:] - x[:-1]) / 2
    look: Any = {"fmt": "o", "color": BLUE, "markersize": 3.5, "linewidth": 1.2}
    axes.errorbar(_middles(x)[known], width[known], xerr=half[known], yerr=error[known], **look)


def _middles(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray((x[1:] + x[:-1]) / 2)


def _errors(bins: Bins, q: str) -> npt.NDArray[np.float64]:
    """The statistical errors of a quantile; 0 in reports of older versions, which have none."""
    return np.array([(b.get("errors") or {}).get(q, 0.0) for b in bins])


def _without_gaps(bins: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Bins with empty ones in the gaps; a bin without an upper edge is kept only if it is the only one."""
    shown = [b for b in bins if b["high"] is not None and np.isfinite(b["high"])]
    shown = shown or [{**bins[0], "high": 2 * bins[0]["low"]}]
    filled: list[Mapping[str, Any]] = []
    for found in shown:
        if filled and filled[-1]["high"] < found["low"]:
            filled.append({"low": filled[-1]["high"], "high": found["low"], "jets": 0, "quantiles": {}})
        filled.append(found)
    return filled


@_in_style
def matrix(names: Sequence[str], values: npt.NDArray[np.float64], label: Label = NO_LABEL) -> Figure:
    """A correlation matrix with its numbers; undefined ones stay white."""
    figure = Figure(figsize=(SIZE[0], SIZE[0]))
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.1, right=0.88, bottom=0.08, top=0.81)
    image = axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    scale = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03)
    scale.set_label("correlation of residuals", fontsize=12)
    scale.ax.tick_params(labelsize=10)
    symbols = [QUANTITIES[name].symbol for name in names]
    axes.set_xticks(range(len(names)), symbols)
    axes.set_yticks(range(len(names)), symbols)
    axes.tick_params(which="both", length=0)
    axes.minorticks_off()
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.6 else BLACK
            axes.text(
                j,
                i,
                f"{value:.2f}".replace("-0.00", "0.00").replace("-", "$-$"),
                ha="center",
                va="center",
                color=colour,
                fontsize=10,
            )
    _above(axes, label)
    return figure


@_in_style
def corner(
    axis_labels: Sequence[str],
    edges: Sequence[Numbers],
    counts: Sequence[Numbers],
    pairs: Mapping[tuple[int, int], Any],
    label: Label = NO_LABEL,
) -> Figure:
    """The histogram of every column on the diagonal, the density of every pair below it."""
    n = len(edges)
    figure = Figure(figsize=(SIZE[0] * 1.1, SIZE[0] * 1.1))
    grid = figure.subplots(n, n, squeeze=False)
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.1, top=0.96, wspace=0.08, hspace=0.08)
    norm = LogNorm(1, max([10.0, *(float(np.max(both)) for both in pairs.values())]))
    for (i, j), axes in np.ndenumerate(grid):
        axes.set_visible(j <= i)
        if j > i:
            continue
        (x, power), (y, other) = _scaled(edges[j]), _scaled(edges[i])
        if i == j:
            _filled(axes, counts[i], x)
            axes.set(xlim=(x[0], x[-1]), ylim=(0, None), yticks=[])
        else:
            _density(axes, x, y, np.asarray(pairs[j, i], float), norm)
        _outer_labels(axes, (i, j), n, axis_labels[j] + _times(power), axis_labels[i] + _times(other))
    _corner_text(grid[0, 0], label, (1.2, 0.95))
    if n > 1:
        _colour_scale(figure, grid[min(1, n - 2), n - 1], norm)
    return figure


def _colour_scale(figure: Figure, free: Axes, norm: LogNorm) -> None:
    """The colours of all densities, in a free cell of the corner."""
    box = free.get_position()
    axes = figure.add_axes((box.x0, box.y0 + 0.3 * box.height, box.width, 0.1 * box.height))
    scale = figure.colorbar(ScalarMappable(norm, "viridis"), cax=axes, orientation="horizontal")
    scale.set_label("Jets / bin", fontsize=11, loc="center")
    axes.tick_params(labelsize=10)


def _outer_labels(axes: Axes, at: tuple[int, int], n: int, below: str, beside: str) -> None:
    i, j = at
    axes.tick_params(labelsize=10, length=4)
    for axis in (axes.xaxis, axes.yaxis)[: 1 + (i != j)]:
        low, high = axis.get_view_interval()
        away = 0.1 * (high - low)  # from the edges: so labels of neighbours don't overlap
        axis.set_ticks([t for t in MaxNLocator(4).tick_values(low, high) if low + away <= t <= high - away])
    axes.ticklabel_format(useOffset=False)
    axes.tick_params(which="minor", bottom=False, left=False, top=False, right=False)
    axes.set_xlabel(below if i == n - 1 else "", fontsize=12, loc="center")
    axes.set_ylabel(beside if j == 0 and i > 0 else "", fontsize=12, loc="center")
    axes.tick_params(labelbottom=i == n - 1, labelleft=j == 0)


def _density(axes: Axes, x: Numbers, y: Numbers, counts: npt.NDArray[np.float64], norm: LogNorm) -> None:
    shown = np.ma.masked_equal(counts.T, 0)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    if shown.count():
        axes.pcolormesh(x, y, shown, cmap="viridis", norm=norm, rasterized=True)


@_in_style
def latents(
    names: Sequence[str],
    meaning: Sequence[str],
    edges: Sequence[Numbers],
    counts: Sequence[Numbers],
    label: Label = NO_LABEL,
) -> Figure:
    """The distribution of every latent, with its contents."""
    figure = Figure(figsize=(SIZE[0], SIZE[1] * 1.5))
    rows = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(hspace=0.55, top=0.86, bottom=0.1, right=0.92)
    for axes, name, holds, bins, values in zip(rows, names, meaning, edges, counts, strict=True):
        _filled(axes, values, np.asarray(bins))
        axes.set(xlim=(bins[0], bins[-1]), ylabel="Jets / bin", ylim=(0, 1.5 * max(1, *values)))
        axes.set_xlabel(name)
        axes.text(0.05, 0.93, escaped(holds), transform=axes.transAxes, va="top", fontsize=12)
        axes.ticklabel_format(axis="both", useOffset=False)
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(axis="x", which="major", pad=6)
    _above(rows[0], label)
    return figure


@_in_style
def sizes(
    curves: Mapping[str, tuple[Numbers, Numbers]], ours: Sequence[str], floor: str, label: Label = NO_LABEL
) -> Figure:
    """Bytes per jet against the guaranteed precision, and their ratio to the `floor`; `ours` are drawn thick.

    The upper panel ends above the curves that change with the precision; a curve beyond has its number at the edge.
    """
    rows = (len(curves) + 1) // 2
    height = SIZE[1] * 1.5 + 0.23 * rows
    figure = Figure(figsize=(SIZE[0] * 1.25, height))
    axes, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1.5, 1)})
    figure.subplots_adjust(
        left=0.13, right=0.97, bottom=(0.8 + 0.23 * rows) / height, top=1 - _room(label) / height, hspace=0.07
    )
    looks = _looks(list(curves), ours, floor)
    base = dict(zip(*curves[floor], strict=True))
    for name in (*(n for n in curves if n not in (*ours, floor)), floor, *ours):
        x, y = (np.asarray(column, float) for column in curves[name])
        axes.plot(x, y, label=name, **looks[name])
        known = np.array([bound in base for bound in x], bool)
        lower.plot(
            x[known], [size / base[bound] for bound, size in zip(x[known], y[known], strict=True)], **looks[name]
        )
    _limits_of_sizes(axes, lower, curves, base)
    x = np.concatenate([np.asarray(x, float) for x, _ in curves.values()])
    lower.set(
        xscale="log",
        xlabel="guaranteed largest error",
        ylabel="ratio to the floor",
        xlim=(1.6 * x.max(), x.min() / 1.6),
    )
    axes.set_ylabel("Bytes / jet")
    handles, names = axes.get_legend_handles_labels()
    order = [names.index(name) for name in curves]
    figure.legend(
        [handles[i] for i in order], [names[i] for i in order], loc="lower center", ncol=2, fontsize=10,
        columnspacing=1.0, handlelength=2.6,
    )  # fmt: skip
    _above(axes, label)
    return figure


def _looks(names: Sequence[str], ours: Sequence[str], floor: str) -> dict[str, Look]:
    looks: dict[str, Look] = {floor: {"color": BLACK, "linewidth": 1.5, "linestyle": ":"}}
    for name, colour, marker in zip(ours, (BLACK, BLUE), "os", strict=False):
        looks[name] = {"color": colour, "linewidth": 2.5, "markersize": 7, "marker": marker, "zorder": 3}
    for i, name in enumerate(name for name in names if name not in looks):
        looks[name] = {
            "color": LINES[1 + i % 7], "marker": MARKERS[(i + 2) % 8], "linestyle": DASHES[i % 8], "linewidth": 1.3,
            "markersize": 5, "fillstyle": "none" if i > 6 else "full",
        }  # fmt: skip
    return looks


def _limits_of_sizes(
    axes: Axes, lower: Axes, curves: Mapping[str, tuple[Numbers, Numbers]], base: Mapping[float, float]
) -> None:
    """Limits around the curves that change with the precision; others are told by an arrow and their size."""
    sizes = {name: np.asarray(y, float) for name, (_, y) in curves.items()}
    flat = [name for name, y in sizes.items() if len(y) > 1 and np.ptp(y) < 1e-3 * y.max()]
    shown = {name: y for name, y in sizes.items() if name not in flat} or sizes
    most, least = (float(end(np.concatenate(list(shown.values())))) for end in (np.max, np.min))
    axes.set_ylim(least - 0.1 * (most - least), most + 0.12 * (most - least) or 1.1 * most)
    beyond = [f"{name}: {sizes[name][0]:.1f}" for name in flat if sizes[name][0] > axes.get_ylim()[1]]
    if beyond:
        text: Any = {"transform": axes.transAxes, "va": "top", "fontsize": 10}
        axes.text(0.03, 0.97, "\n".join([r"above this panel ($\uparrow$):", *map(escaped, beyond)]), **text)
    points = [point for name in shown for point in zip(*curves[name], strict=True)]
    ratios = [size / base[x] for x, size in points if x in base]
    lower.set_ylim(0.94 * min(ratios), 1.05 * max(ratios))


@_in_style
def training(steps: Numbers, losses: Mapping[str, Sequence[float | None]], label: Label = NO_LABEL) -> Figure:
    """The losses of a training at every validation."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_subplot()
    finite = [value for values in losses.values() for value in values if value is not None]
    for (name, values), colour, dashes in zip(losses.items(), (BLUE, RED), DASHES, strict=False):
        known = [np.nan if v is None else v for v in values]
        axes.plot(steps, known, label=name, color=colour, linestyle=dashes, marker="o", markersize=3)
    best = int(np.nanargmin([np.inf if v is None else v for v in losses["validation"]]))
    axes.axvline(steps[best], ymax=0.62, color=GREY, linewidth=1, linestyle=":", label="weights kept")
    axes.set(xlabel="step", ylabel="loss")
    _room_above(axes, finite)
    _finish(axes, label)
    return figure


@_in_style
def learning_rate_figure(rates: Numbers, losses: Numbers, chosen: float, label: Label = NO_LABEL) -> Figure:
    """The loss against a growing learning rate, and the suggested rate."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color=BLUE)
    axes.axvline(chosen, ymax=0.68, color=RED, linestyle="--", label=f"choose {chosen:.1g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    _room_above(axes, losses)
    _finish(axes, label)
    return figure


@_in_style
def comparison(
    names: Sequence[str], widths: Mapping[str, Sequence[float]], ylabel: str, label: Label = NO_LABEL
) -> Figure:
    """One figure of every variable, such as the half-width, for several models or files, with one marker each."""
    figure = Figure(figsize=(SIZE[0] * 1.25, SIZE[1] * 1.15))
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.14, right=0.97)
    for i, name in enumerate(names):
        at = np.arange(len(widths)) + (i - (len(names) - 1) / 2) * 0.6 / max(1, len(names))
        values = [found[i] for found in widths.values()]
        shown = escaped(_shortened(name, 40))
        text, marker = " " * shown.startswith("_") + shown, MARKERS[(i + i // 8) % 8]  # _ would hide it
        axes.plot(at, values, linestyle="", label=text, color=LINES[i % 8], marker=marker, markersize=8)
    axes.set_xticks(range(len(widths)), [QUANTITIES[v].symbol if v in QUANTITIES else v for v in widths])
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    values = [value for found in widths.values() for value in found if value > 0]
    axes.set(ylabel=ylabel, xlim=(-0.6, len(widths) - 0.4))
    if values:
        axes.set_yscale("log")
        axes.set_ylim(min(values) / 3, max(values) * 10 ** (0.12 * len(names) + 0.8))
    _finish(axes, label)
    return figure


@_in_style
def overview(collections: Sequence[Overview], label: Label = NO_LABEL) -> Figure:
    """Bytes per jet of every collection before and after, and its errors in units of their bounds."""
    height = 1.8 + _room(label) + 0.42 * len(collections)
    figure = Figure(figsize=(SIZE[0] * 1.6, height))
    left, right = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(
        left=0.27, right=0.98, top=1 - (0.5 + _room(label)) / height, bottom=0.75 / height, wspace=0.12
    )
    rows = np.arange(len(collections))
    _bars_of_sizes(left, collections)
    left.set_yticks(
        rows, [f"{escaped(_shortened(c.name))}\n{counted(c.jets, 'jets')}" for c in collections], fontsize=10
    )
    left.set(xlabel="Bytes / jet", ylim=(len(collections) - 0.5, -0.5))
    for i, variable in enumerate(dict.fromkeys(v for c in collections for v in c.errors)):
        found = [(row, *c.errors[variable]) for row, c in enumerate(collections) if variable in c.errors]
        at, widths, largest = (np.array(column) for column in zip(*found, strict=True))
        look: Any = {"color": LINES[i % 8], "marker": MARKERS[i % 8], "linestyle": ""}
        right.plot(widths, at + 0.14 * (i - 1.5), **look, markersize=5, label=QUANTITIES[variable].symbol)
        right.plot(largest, at + 0.14 * (i - 1.5), **look, markersize=5, fillstyle="none")
    right.axvline(1, color=RED, linestyle="--", linewidth=1.2)
    right.set(xlabel="error / bound (filled: 68 %, open: largest)", xlim=(0, 1.25))
    for axes in (left, right):
        axes.tick_params(axis="y", which="both", length=0)
        axes.xaxis.label.set_fontsize(12)
        beside: Any = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncol": 4, "fontsize": 11}
        if axes.get_legend_handles_labels()[0]:  # of a decompressed file no bounds are known
            axes.legend(**beside, columnspacing=0.8, handletextpad=0.3, handlelength=1.2)
    _corner_text(left, label, (0.0, 1 + (0.45 + _height_of(label)) / _height(left)))
    return figure


def _bars_of_sizes(axes: Axes, collections: Sequence[Overview]) -> None:
    """Bytes per jet before and after, with numbers; the axis ends beyond the collections that have many jets."""
    many = [c for c in collections if c.jets >= FEWEST_SHOWN] or collections
    end = 1.2 * max(max(c.before, c.after) for c in many) or 1.0
    axes.set_xlim(0, end)
    for up, name, colour in ((-0.19, "before", GREY), (0.19, "after", BLUE)):
        sizes = np.array([getattr(c, name) for c in collections])
        at = np.arange(len(sizes)) + up
        axes.barh(at, np.minimum(sizes, end), 0.36, color=colour, label=name)
        for size, y in zip(sizes, at, strict=True):
            beyond = size > 0.9 * end
            side, x = ("right", min(size, end)) if beyond else ("left", size)
            text: Any = {"ha": side, "va": "center", "fontsize": 8, "color": "white" if beyond else BLACK}
            axes.text(x, y, f" {size:.1f} ", **text)


def check_suffix(path: Path) -> None:
    """Raise UserError for a suffix that is not .png, .pdf or .svg."""
    if path.suffix.lower().removeprefix(".") not in FigureCanvasBase.get_supported_filetypes():
        raise UserError(f"'{path}': no figure ends in '{path.suffix}': name it .png, .pdf or .svg")


def save(figure: Figure, path: Path | BinaryIO, suffix: str = "") -> None:
    """Write a figure into a file in the format of the suffix, or of its name."""
    suffix = suffix or (path.suffix.lower() if isinstance(path, Path) else ".png")
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}  # so that all runs agree
    with styled():
        figure.savefig(path, format=suffix[1:], metadata=dates.get(suffix))


def with_palette(png: bytes) -> bytes:
    """The same picture in 256 colours: a third of the bytes, for a page that is sent."""
    written = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        written, "png", optimize=True
    )
    return written.getvalue()


@contextmanager
def pages(path: Path) -> Iterator[Callable[[Figure], None]]:
    """A PDF with a page for every figure that the function it yields is given."""
    with styled(), PdfPages(path, metadata={"CreationDate": None}) as document:
        yield document.savefig


def _two_panels() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(SIZE[0], SIZE[1] * 1.15))
    axes, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    figure.subplots_adjust(hspace=0.07, bottom=0.13)
    return figure, (axes, lower)


def _filled(axes: Axes, values: Numbers, x: npt.NDArray[np.float64]) -> None:
    axes.stairs(values, x, fill=True, color=OUTER)
    axes.stairs(values, x, color=BLUE, linewidth=1.2)


def _centres(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt(x[1:] * x[:-1])) if is_logarithmic(x) and x[0] > 0 else _middles(x)


def _around_one(axes: Axes, ratio: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> None:
    far = float(np.quantile(np.abs(ratio - 1) + error, 0.95)) if len(ratio) else 0.0
    far = min(1.05, max(0.012, 1.3 * far))
    axes.set_ylim(1 - far, 1 + far)


def _head_room(axes: Axes, counts: npt.NDArray[np.float64], falls: bool) -> None:
    """Leave room above the data for label and legend."""
    most = max(1.0, float(counts.max(initial=0.0)))
    if falls and most > _FEW:
        axes.set_yscale("log")
        axes.set_ylim(0.5, 0.5 * (most / 0.5) ** _ROOM)
    else:
        axes.set_ylim(0, _ROOM * most)


def _room_above(axes: Axes, values: Numbers) -> None:
    """Limits that leave the upper third to label and legend; logarithmic where the values span a factor of 3."""
    finite = np.asarray(values, float)[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if high >= 3 * low > 0:
        axes.set_yscale("log")
        ratio = high / low
        axes.set_ylim(low / ratio**0.1, high * ratio**0.6)
    else:
        reach = max(high - low, 1e-3 * abs(high), 1e-9)
        axes.set_ylim(low - 0.1 * reach, high + 0.6 * reach)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))


def _logarithmic_x(axes: Axes) -> None:
    """A logarithmic axis; for less than two decades, with labels at 1, 2 and 5 times powers of ten."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high < 100 * low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, label: Label) -> None:
    if axes.get_legend_handles_labels()[0]:
        below_status = 1 - (0.6 * LINE + 0.26) / _height(axes)
        axes.legend(loc="upper right", bbox_to_anchor=(0.99, below_status), borderaxespad=0)
    _corner_text(axes, label)


def _corner_text(axes: Axes, label: Label, at: tuple[float, float] | None = None) -> None:
    """Experiment and status in the upper left corner, or at `at` (in units of the axes), with the note below."""
    step = LINE / _height(axes)
    x, y = at or (0.045, 1 - 0.6 * step)
    status: Any = {"transform": axes.transAxes, "va": "top", "fontsize": 15}
    if label.experiment:
        written, after = NAMES[label.experiment]
        name = axes.text(x, y, label.experiment, **status, **written)
        if label.text:
            mplhep.append_text(label.text, name, loc="right", ax=axes, fontsize=15, **after)
    elif label.text:
        axes.text(x, y, label.text, **status)
    y -= step if label.experiment or label.text else 0
    for i, line in enumerate(_lines(label)):
        axes.text(x, y - i * step, line, **status | {"fontsize": 12})
    _small_print(axes, label)


def _small_print(axes: Axes, label: Label) -> None:
    """Files, precision and layout, along the upper edge of the figure."""
    figure = axes.get_figure()
    if label.source and isinstance(figure, Figure):
        most = int(figure.get_figwidth() * 72 / (0.55 * SMALL_PRINT))
        text = escaped(_shortened(label.source, most))
        figure.text(0.995, 0.995, text, ha="right", va="top", fontsize=SMALL_PRINT, color="#555555")


def _above(axes: Axes, label: Label) -> None:
    """The label above the axes, where there is no room inside."""
    _corner_text(axes, label, (0.0, 1 + _height_of(label) / _height(axes)))


def _height_of(label: Label) -> float:
    """Inches that a label takes."""
    return LINE * (len(_lines(label)) + bool(label.experiment or label.text))


def _room(label: Label) -> float:
    """Inches above the axes for a label, the numbers of an axis and small print."""
    return 0.25 + _height_of(label)


def _height(axes: Axes) -> float:
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return float(axes.get_position().height * figure.get_figheight())


def _lines(label: Label) -> list[str]:
    energy = rf"$\sqrt{{s}}$ = {label.energy} TeV" if label.energy else ""
    luminosity = rf"{label.luminosity} fb$^{{\mathrm{{-1}}}}$" if label.luminosity else ""
    return [line for line in (", ".join(filter(None, [energy, luminosity])), escaped(_shortened(label.note))) if line]


def escaped(text: str) -> str:
    """A name with escaped dollars, between which matplotlib would see a formula."""
    return harmless(text).replace("\n", " ").replace("$", r"\$")


def check_label(label: Label) -> None:
    """Raise UserError for a label with a formula that can't be drawn."""
    for text in filter(is_math_text, (label.text, *_lines(label))):
        try:
            MathTextParser("path").parse(text)
        except ValueError as error:
            raise UserError(rf"'{text}' has a formula that can't be drawn: write \$ for a dollar") from error


def _shortened(text: str, longest: int = 26) -> str:
    """A long name with the middle cut out; the part after a comma stays."""
    if len(text) <= longest:
        return text
    name, comma, rest = text.partition(", ")
    left = longest - len(comma + rest) - 3
    tail = max(1, min(10, left // 2))
    return f"{name[: max(1, left - tail)]}...{name[-tail:]}{comma}{rest}"


def _power(largest: float) -> float:
    """The power of ten for axis values of this size: 1 from .1 to 1000."""
    if not 0 < largest < 0.1:
        return 1.0
    return float(10.0 ** np.floor(np.log10(largest)))


def _scaled(edges: Numbers) -> tuple[npt.NDArray[np.float64], float]:
    values = np.asarray(edges, float)
    power = _power(float(np.abs(values).max()))
    return values / power, power


def _times(power: float, unit: str = "") -> str:
    parts = [] if power == 1 else [rf"$\mathrm{{10^{{{round(np.log10(power))}}}}}$"]
    inside = " ".join([*parts, unit]).strip()
    return f" [{inside}]" if inside else ""


def _short(value: float) -> str:
    """A number with two digits; a power of ten is written as a formula."""
    digits, exponent = f"{value:.1e}".split("e")
    if value == 0 or -2 <= int(exponent) <= 2:
        shown = f"{value:.0f}" if int(exponent) == 2 else f"{value:.2g}"
        return shown.replace("-", "$-$")
    return rf"$\mathrm{{{digits} \times 10^{{{int(exponent)}}}}}$"
