"""Figures from arrays: the one door to matplotlib. No residual is computed here; only `save` writes files."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.style
import mplhep
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.cbook import is_math_text
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from atlasae.errors import UserError
from atlasae.report import harmless

__all__ = ["Figure"]  # other modules name the type without importing matplotlib

Numbers = Sequence[float] | npt.NDArray[np.float64]

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
INNER, OUTER = "#3f90da", "#bcd9f2"  # bands of 68 % and 95 %
LINES = (BLUE, RED, ORANGE, GREEN, "#832db6", "#a96b59", GREY, "#717581")  # colour-blind safe (Petroff 2021)
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)))
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*")
LINE = 0.3  # inches between lines of a label
_ROOM = 1.6  # height of an axis, in units of the data's, with room for labels and legend


@dataclass(frozen=True)
class Quantity:
    """The name of a variable on an axis, and its unit; values are in MeV and drawn in GeV."""

    symbol: str
    unit: str = ""

    @property
    def axis(self) -> str:
        """The symbol with its unit."""
        return f"{self.symbol} [{self.unit}]" if self.unit else self.symbol

    @property
    def scale(self) -> float:
        """The factor from stored values to drawn ones."""
        return 1e-3 if self.unit == "GeV" else 1.0


QUANTITIES = {
    "pt": Quantity(r"$p_\mathrm{T}$", "GeV"),
    "eta": Quantity(r"$\eta$"),
    "phi": Quantity(r"$\phi$", "rad"),
    "m": Quantity(r"$m$", "GeV"),
    "E": Quantity(r"$E$", "GeV"),
    "px": Quantity(r"$p_x$", "GeV"),
    "py": Quantity(r"$p_y$", "GeV"),
    "pz": Quantity(r"$p_z$", "GeV"),
    "mjj": Quantity(r"$m_{jj}$", "GeV"),
    "ht": Quantity(r"$H_\mathrm{T}$", "GeV"),
}


@dataclass(frozen=True)
class Label:
    """The text in the corner: experiment, status, energy (TeV), luminosity (1/fb), and a note."""

    text: str = "Internal"
    experiment: str = "ATLAS"
    energy: str = ""
    luminosity: str = ""
    note: str = ""

    def with_note(self, note: str) -> "Label":
        """The same label with this note."""
        return replace(self, note=note)


NO_LABEL = Label("", "")
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
def spectrum(
    edges: Numbers,
    before: Numbers,
    after: Numbers,
    moved: Numbers,
    quantity: Quantity,
    label: Label = NO_LABEL,
    what: str = "Jets",
) -> Figure:
    """A distribution before and after, and the ratio.

    The jets are the same before and after: the ratio's error bars are the jets that moved between bins (`moved`), not
    the square root of their number.
    """
    figure, (axes, lower) = _two_panels()
    x = np.asarray(edges) * quantity.scale
    first, second = np.asarray(before, float), np.asarray(after, float)
    axes.stairs(first, x, color=BLACK, linewidth=1.5, label="original")
    axes.stairs(second, x, color=RED, linewidth=1.5, linestyle="--", label="decompressed")
    filled = first > 0
    centres = _centres(x)[filled]
    ratio, error = second[filled] / first[filled], np.sqrt(np.asarray(moved, float)[filled]) / first[filled]
    lower.errorbar(centres, ratio, yerr=error, fmt="o", color=RED, markersize=3.5, linewidth=1)
    lower.axhline(1, color=BLACK, linewidth=0.8)
    _around_one(lower, ratio, error)
    lower.set(xlabel=quantity.axis, ylabel="dec. / orig.", xlim=(x[0], x[-1]))
    axes.set_ylabel(f"{what} / bin")
    if falls := _is_logarithmic(x):
        _logarithmic_x(lower)
    _head_room(axes, np.concatenate([first, second]), falls)
    _finish(axes, label)
    return figure


@_in_style
def fine_ratio(
    edges: Numbers,
    before: Numbers,
    after: Numbers,
    random: Numbers,
    quantity: Quantity,
    change: Mapping[str, float],
    label: Label = NO_LABEL,
) -> Figure:
    """The ratio of decompressed to original jets in fine bins, with a band of what random errors change.

    `random` is the root mean square of that change of each count; `change` has the `ratio` of chi^2 to that of random
    errors, and its `error`. Bins without jets before are left out.
    """
    figure = Figure(figsize=SIZE)
    axes = figure.add_subplot()
    x = np.asarray(edges) * quantity.scale
    first = np.where(np.asarray(before) > 0, np.asarray(before, float), np.nan)
    ratio, band = np.asarray(after) / first, np.asarray(random) / first
    axes.stairs(1 + band, x, baseline=1 - band, fill=True, color=OUTER, label="random errors")
    axes.axhline(1, color=BLACK, linewidth=0.8)
    told = f"decompressed,\n$\\chi^2$ ratio {change['ratio']:.3g} $\\pm$ {change['error']:.1g}"
    axes.plot(_centres(x), ratio, "o", color=RED, markersize=2 if len(ratio) > MANY else 3.5, label=told)
    far = max(1.05 * float(np.nanmax(np.abs(ratio - 1))), 3 * float(np.nanmedian(band)), 1e-3)
    width = f"{(x[1] - x[0]):.2g} {quantity.unit}".strip()
    axes.set(xlabel=quantity.axis, ylabel=f"dec. / orig., bins of {width}", xlim=(x[0], x[-1]))
    axes.set_ylim(1 - far, 1 + 2.2 * far)
    _finish(axes, label)
    return figure


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
    what = f"{quantity.symbol}(dec.) / {quantity.symbol}(orig.) $-$ 1" if relative else f"$\\Delta${quantity.symbol}"
    unit = "" if relative else quantity.unit
    axes.set(xlabel=f"{what}{_times(power, unit)}", ylabel="Jets / bin", xlim=(-reach, reach))
    axes.set_ylim(0, 1.8 * most)
    _finish(axes, label)
    return figure


@_in_style
def response(bins: Sequence[Mapping[str, Any]], quantity: Quantity, other: Quantity, label: Label = NO_LABEL) -> Figure:
    """The response (after / before) against another variable: median, and bands with 68 % and 95 % of the jets.

    `bins` have `low`, `high` and the `quantiles` of the relative residuals, which are the response minus 1.
    """
    figure = Figure(figsize=SIZE)
    axes = figure.add_subplot()
    shown = _without_gaps(bins)
    x = np.array([b["low"] for b in shown] + [shown[-1]["high"]]) * other.scale
    reach = max(abs(b["quantiles"][q]) for b in shown for q in ("2.5", "97.5") if b["quantiles"])
    power = _power(reach)
    at = {
        q: np.array([b["quantiles"].get(q, np.nan) for b in shown]) / power
        for q in ("2.5", "15.865", "50", "84.135", "97.5")
    }
    axes.stairs(at["50"], x, baseline=None, color=BLACK, linewidth=1.5, label="median")
    for low, high, colour, name in (("2.5", "97.5", OUTER, "95 %"), ("15.865", "84.135", INNER, "68 %")):
        axes.stairs(at[high], x, baseline=at[low], fill=True, color=colour, label=name, zorder=0.5)
    falls = _is_logarithmic(x)
    axes.set(xlabel=other.axis, xlim=(x[1] / 2 if falls and x[0] <= 0 else x[0], x[-1]))
    if falls:
        _logarithmic_x(axes)
    reach = max(reach / power, 1e-12)
    axes.set(ylim=(-1.25 * reach, 2.4 * reach))
    axes.set_ylabel(f"{quantity.symbol}(dec.) / {quantity.symbol}(orig.) $-$ 1{_times(power)}")
    _finish(axes, label)
    return figure


def _without_gaps(bins: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Bins with empty ones in the gaps; a bin without an upper edge is kept only if it is the only one."""
    shown = [b for b in bins if b["high"] is not None and np.isfinite(b["high"])]
    shown = shown or [{**bins[0], "high": 2 * bins[0]["low"]}]
    filled: list[Mapping[str, Any]] = []
    for found in shown:
        if filled and filled[-1]["high"] < found["low"]:
            filled.append({"low": filled[-1]["high"], "high": found["low"], "quantiles": {}})
        filled.append(found)
    return filled


@_in_style
def matrix(names: Sequence[str], values: npt.NDArray[np.float64], label: Label = NO_LABEL) -> Figure:
    """A correlation matrix with its numbers; undefined ones stay white."""
    figure = Figure(figsize=(SIZE[0], SIZE[0]))
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.1, right=0.97, bottom=0.08, top=0.83)
    axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
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
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.1, top=0.97, wspace=0.08, hspace=0.08)
    for (i, j), axes in np.ndenumerate(grid):
        axes.set_visible(j <= i)
        if j > i:
            continue
        (x, power), (y, other) = _scaled(edges[j]), _scaled(edges[i])
        if i == j:
            _filled(axes, counts[i], x)
            axes.set(xlim=(x[0], x[-1]), ylim=(0, None), yticks=[])
        else:
            _density(axes, x, y, np.asarray(pairs[j, i], float))
        _outer_labels(axes, (i, j), n, axis_labels[j] + _times(power), axis_labels[i] + _times(other))
    _corner_text(grid[0, 0], label, (1.2, 0.95))
    return figure


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


def _density(axes: Axes, x: Numbers, y: Numbers, counts: npt.NDArray[np.float64]) -> Any:
    shown = np.ma.masked_equal(counts.T, 0)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    if not shown.count():
        return None
    return axes.pcolormesh(x, y, shown, cmap="viridis", norm=LogNorm(1, max(2, shown.max())), rasterized=True)


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
    figure.subplots_adjust(hspace=0.55, top=0.87, bottom=0.1, right=0.92)
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
def sizes(curves: Mapping[str, tuple[Numbers, Numbers]], first: str, floor: str, label: Label = NO_LABEL) -> Figure:
    """Bytes per jet against the guaranteed precision; `first` is drawn thick, `floor` as a line without markers."""
    figure = Figure(figsize=(SIZE[0], SIZE[1] * 1.25))
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.13, right=0.96, bottom=0.13, top=0.83)
    looks: dict[str, Any] = {
        first: {"color": BLACK, "linewidth": 2.5, "markersize": 7, "marker": "o", "zorder": 3},
        floor: {"color": BLACK, "linewidth": 1.5, "linestyle": ":"},
    }
    others = [name for name in curves if name not in looks]
    for i, name in enumerate(others):
        looks[name] = {
            "color": LINES[i % 8],
            "marker": MARKERS[(i + 1) % 8],
            "linestyle": DASHES[i % 8],
            "markersize": 6,
        }
    for name in [first, *others, floor]:
        axes.plot(*curves[name], label=name, **looks[name])
    most = max(float(np.max(y)) for _, y in curves.values())
    axes.set(xscale="log", xlabel="guaranteed largest error", ylabel="Bytes / jet", ylim=(0, 1.5 * most))
    x = np.concatenate([np.asarray(x, float) for x, _ in curves.values()])
    axes.set_xlim(1.6 * x.max(), x.min() / 1.6)
    axes.legend(loc="upper center", ncol=2, fontsize=10.5, columnspacing=0.8, handlelength=2.2)
    _above(axes, label)
    return figure


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


def check_suffix(path: Path) -> None:
    """Raise UserError for a suffix that is not .png, .pdf or .svg."""
    if path.suffix.lower().removeprefix(".") not in FigureCanvasBase.get_supported_filetypes():
        raise UserError(f"'{path}': no figure ends in '{path.suffix}': name it .png, .pdf or .svg")


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix."""
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}  # so that all runs agree
    with styled():
        figure.savefig(path, metadata=dates.get(path.suffix.lower()))


def _two_panels() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(SIZE[0], SIZE[1] * 1.15))
    axes, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    figure.subplots_adjust(hspace=0.07, bottom=0.13)
    return figure, (axes, lower)


def _filled(axes: Axes, values: Numbers, x: npt.NDArray[np.float64]) -> None:
    axes.stairs(values, x, fill=True, color=OUTER)
    axes.stairs(values, x, color=BLUE, linewidth=1.2)


def _centres(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt(x[1:] * x[:-1]) if _is_logarithmic(x) and x[0] > 0 else (x[1:] + x[:-1]) / 2)


def _is_logarithmic(x: npt.NDArray[np.float64]) -> bool:
    """Whether bins suit a logarithmic axis: the last at least three times as wide as the first, no edge negative."""
    return bool(x[0] >= 0 and len(x) > 2 and (x[-1] - x[-2]) > 3 * (x[1] - x[0]))


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
        name = axes.text(x, y, label.experiment, fontweight="bold", fontstyle="italic", **status)
        mplhep.append_text(label.text, name, loc="right", ax=axes, fontsize=15)
    else:
        axes.text(x, y, label.text, **status)
    y -= step if label.experiment or label.text else 0
    for i, line in enumerate(_lines(label)):
        axes.text(x, y - i * step, line, **status | {"fontsize": 12})


def _above(axes: Axes, label: Label) -> None:
    """The label above the axes, where there is no room inside."""
    lines = len(_lines(label)) + bool(label.experiment or label.text)
    _corner_text(axes, label, (0.0, 1 + lines * LINE / _height(axes)))


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
