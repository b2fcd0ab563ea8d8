"""Figures: how each looks, what it says, and that no text is cut off or covered."""

import inspect
import io
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from atlasae.errors import UserError
from atlasae.reports import plotting
from atlasae.reports.panels import NO_LABEL, QUANTITIES, Counted, FineRatio, Label, Overview
from atlasae.reports.plotting import FEWEST_SHOWN, Figure

GOLDEN = Path(__file__).parents[1] / "golden" / "figures"
SHORT = Label("Internal", "ATLAS", "13", "140", "AntiKt4TruthJets", "in.root, compared with out.root, precision 0.001")
LONG = Label(
    *("Simulation Preliminary", "ATLAS", "13.6", "140.1", r"$x$\frac{AntiKt10UFOCSSKSoftDropBeta100Zcut10JetsAuxDyn"),
    "a_name_of_a_file_" * 9 + ".root",
)
LABELS = {"short": SHORT, "long": LONG, "none": NO_LABEL}
BELL = np.array([0, 1, 4, 9, 14, 9, 4, 1, 1, 0])
SHARES = dict(zip(("2.5", "15.865", "50", "84.135", "97.5"), (-1.9, -1.0, 0.1, 1.0, 2.0), strict=True))


def quantiles(width: float) -> dict[str, float]:
    return {q: share * width for q, share in SHARES.items()}


def numbers(width: float, mean: float | None = None) -> dict[str, Any]:
    return {
        "mean": 0.1 * width if mean is None else mean,
        "half_width_68": width,
        "quantiles": quantiles(width),
    }


def symmetric(width: float) -> np.ndarray:
    return np.linspace(-3 * width, 3 * width, len(BELL) + 1)


def in_bins(*edges: float, width: float = 1e-3, jets: int = 1000) -> list[dict[str, Any]]:
    """Bins of a report with these edges and growing residuals."""
    bins = []
    for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        size = width * (1 + 0.2 * i)
        errors = dict.fromkeys(SHARES, 0.05 * size)
        found = {
            "quantiles": quantiles(size),
            "errors": errors,
            "half_width_68": size,
            "half_width_68_error": 0.1 * size,
        }
        bins.append({"low": low, "high": high, "jets": jets, **found})
    return bins


def spectrum(label: Label = NO_LABEL, times: float = 1, what: str = "Jets") -> Figure:
    """A falling spectrum in MeV, with one jet that changed bins."""
    before = np.round(np.array([5000, 1200, 300, 80, 20, 5, 1, 0]) * times)
    after, moved = before.copy(), np.zeros(8)
    if before[3]:
        after[2:4] += (1, -1)
        moved[2:4] = 1
    edges = np.geomspace(20_000, 2_000_000, 9)
    below = (7, 6, 1) if times == 1 else None
    counted = Counted(edges, before, after, moved, below, 15_000)
    return plotting.spectrum(counted, QUANTITIES["pt"], label, what)


def fine_ratios(label: Label = NO_LABEL, bins: int = 40, panels: int = 3) -> Figure:
    """Combs in spectra that fall, with one empty bin."""
    edges = 60_000 + 1000.0 * np.arange(bins + 1)
    before = np.round(9000 * (edges[:-1] / 60_000) ** -5)
    before[-3] = 0
    after = before * (1 + 0.15 * (np.arange(bins) % 5 - 2) / 2)
    found = {"ratio": 108.9, "error": 0.1159}
    comb = FineRatio(edges, before, after, np.sqrt(before) / 4, QUANTITIES["pt"], found)
    return plotting.fine_ratios([comb] * panels, label)


def residual_figure(
    label: Label = NO_LABEL,
    width: float = 1e-4,
    bound: float | None = 2.5e-4,
    times: int = 1,
    mean: float | None = None,
) -> Figure:
    found = numbers(width, mean)
    return plotting.residual_figure(symmetric(width), BELL * times, found, QUANTITIES["pt"], True, bound, label)


def response(label: Label = NO_LABEL, width: float = 1e-3) -> Figure:
    bins = in_bins(0, 20_000, 45_000, 110_000, 400_000, 2_000_000, float("inf"), width=width)
    few = in_bins(2, 5, width=width, jets=FEWEST_SHOWN - 1)
    against = [(QUANTITIES["pt"], bins), (QUANTITIES["eta"], [*in_bins(-2, -1, 0, 1, 2, width=width), *few])]
    return plotting.response(against, QUANTITIES["m"], True, label)


def matrix(label: Label = NO_LABEL) -> Figure:
    values = np.array([[1, -0.32, 0.7, -0.004], [-0.32, 1, 0.01, np.nan], [0.7, 0.01, 1, 0], [-0.004, np.nan, 0, 1]])
    return plotting.matrix(["pt", "eta", "phi", "mjj"], values, label)


def corner(label: Label = NO_LABEL, width: float = 1e-4, times: int = 1) -> Figure:
    edges = [symmetric(width), symmetric(3 * width), symmetric(40 * width)]
    both = np.outer(BELL, BELL) * times
    pairs = {(0, 1): both, (0, 2): both, (1, 2): 0 * both}
    symbols = [QUANTITIES[v].symbol for v in ("pt", "eta", "phi")]
    return plotting.corner(symbols, edges, [BELL * times] * 3, pairs, label)


def latents(label: Label = NO_LABEL, times: int = 1) -> Figure:
    meaning = ["11.3 bits of pt and 4.0 bits of m", "11.1 bits of eta and 4.0 bits of m", "nothing"]
    edges = [np.linspace(1, 2, 11), np.linspace(1, 1.001, 11), np.linspace(0.999, 1.001, 11)]
    return plotting.latents(["$z_0$", "$z_1$", "$z_2$"], meaning, edges, [BELL * times, BELL[::-1], BELL], label)


BOUNDS = [3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4]
PEERS = ("as it is, ZSTD(5)", "mantissas rounded, ZSTD(5)", "mantissas rounded, LZMA(9)", "grid in integers, LZMA(9)")
PEERS += ("grid in three floats, our LZMA", "grid, pcodec, no events", "SZ3, no events")


def sizes(label: Label = NO_LABEL) -> Figure:
    curves = {"ours": (BOUNDS, [2.9, 3.6, 4.4, 5.2, 6.0, 6.8]), "floor": (BOUNDS, [2.8, 3.5, 4.3, 5.1, 5.9, 6.7])}
    curves |= {name: (BOUNDS, [i + 3 + 0.8 * k for k in range(6)]) for i, name in enumerate(PEERS)}
    return plotting.sizes(curves | {"as it is": (BOUNDS, [17.8] * 6)}, ["ours"], "floor", label)


def overview(label: Label = NO_LABEL) -> Figure:
    errors = {"pt": (0.67, 0.99), "eta": (0.68, 1.0), "phi": (0.6, 0.98), "m": (0.65, 0.97)}
    rows = [Overview("Jet", 4493, 11.3, 6.4, errors), Overview("A" * 60, 690, 17.2, 10.0, {"pt": (0.5, 0.9)})]
    return plotting.overview(rows, label)


def training(label: Label = NO_LABEL, scale: float = 1.0) -> Figure:
    losses = {"training": [None, 3.0, 2.4, 2.1, 2.0, 1.9], "validation": [3.4, 3.0, 2.5, 2.3, None, 2.4]}
    scaled = {name: [v if v is None else scale * v for v in values] for name, values in losses.items()}
    return plotting.training([0, 50, 100, 150, 200, 250], scaled, label)


def learning_rate_figure(label: Label = NO_LABEL) -> Figure:
    rates = np.geomspace(1e-6, 1, 13)
    return plotting.learning_rate_figure(rates, 1 + (np.log10(rates) + 2.5) ** 2, 3e-3, label)


def comparison(label: Label = NO_LABEL, names: Iterable[str] = ("one", "another", "third")) -> Figure:
    names = list(names)
    widths = {v: [1e-4 * (i + k + 1) for i in range(len(names))] for k, v in enumerate(("pt", "eta", "m", "mjj"))}
    widths["mjj"][0] = float("nan")
    return plotting.comparison(names, widths, "half-width of the central 68 %", label)


FIGURES: dict[str, Callable[..., Figure]] = {
    draw.__name__: draw
    for draw in (
        *(
            spectrum,
            fine_ratios,
            residual_figure,
            response,
            matrix,
            corner,
            latents,
            sizes,
            training,
            learning_rate_figure,
            comparison,
            overview,
        ),
    )
}


# --- what is in a figure


@cache
def figure(name: str, label: str) -> Figure:
    """Each figure with each label, drawn once."""
    return on_canvas(FIGURES[name](LABELS[label]))


def on_canvas(drawn: Figure) -> Figure:
    """A drawn figure; `written` are its texts with their positions."""
    found: list[tuple[str, list[float]]] = []
    draw = Text.draw

    def note(text: Text, renderer: Any, *args: Any, **kwargs: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append((text.get_text(), text.get_window_extent(renderer).extents.tolist()))
        draw(text, renderer, *args, **kwargs)

    with mock.patch.object(Text, "draw", note), plotting.styled():
        FigureCanvasAgg(drawn).draw()
    drawn.written = found
    return drawn


def outside(drawn: Figure) -> list[str]:
    """The texts that are not on the canvas, to a pixel."""
    width, height = drawn.bbox.width, drawn.bbox.height
    boxes = [(text, x0, y0, width - x1, height - y1) for text, (x0, y0, x1, y1) in drawn.written]
    return [text for text, *margins in boxes if min(margins) < -1]


def words(drawn: Figure) -> list[str]:
    """Every text of a figure."""
    return [text for text, _ in drawn.written]


def label_boxes(axes: Axes) -> list[Bbox]:
    """The boxes of the label's lines, which are larger than other text."""
    return [text.get_window_extent() for text in axes.texts if text.get_text() and text.get_fontsize() > 10]


def legend_of(drawn: Figure) -> Any:
    """The legend of a figure, or of the last of its upper panels that has one."""
    shown = [axes.get_legend() for axes in drawn.axes if axes.get_legend()]
    return (*drawn.legends, *shown)[-1]


def legend_texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def curve(axes: Axes, name: str) -> Any:
    return next(line for line in axes.get_lines() if line.get_label() == name)


# --- how figures look


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.mpl_image_compare(tolerance=3, savefig_kwargs={"dpi": 60}, style=plotting.STYLE)
def test_a_figure_looks_as_it_did(name):
    return FIGURES[name](SHORT)


def test_every_drawing_function_has_a_golden_figure():
    functions = {n: f for n, f in vars(plotting).items() if inspect.isfunction(f) and not n.startswith("_")}
    drawing = [n for n, f in functions.items() if inspect.signature(f).return_annotation is Figure]
    assert sorted(drawing) == sorted(FIGURES)
    golden = [f"test_a_figure_looks_as_it_did_{name}.png" for name in FIGURES]
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(golden)
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 400_000


def test_a_missing_golden_figure_fails(tmp_path):
    test = f"{__file__}::test_a_figure_looks_as_it_did[comparison]"
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", f"--mpl-baseline-path={tmp_path}", test]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=GOLDEN.parents[2])
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout
    assert "Image file not found for comparison" in done.stdout


# --- what drawing leaves behind


def settings() -> dict[str, Any]:
    """Matplotlib's settings, except the backend, which it chooses at the first call."""
    return {name: value for name, value in mpl.rcParams.items() if name != "backend"}


@pytest.mark.parametrize("name", FIGURES)
def test_drawing_leaves_the_settings_as_they_were(name):
    before, open_figures = settings(), plt.get_fignums()
    assert isinstance(FIGURES[name](), Figure)
    assert settings() == before and plt.get_fignums() == open_figures


def test_a_figure_that_fails_leaves_the_settings_as_they_were():
    before = settings()
    with pytest.raises(ValueError, match="mismatch"):
        plotting.spectrum(Counted([1, 2, 3], [1], [1], [1]), QUANTITIES["pt"])
    assert settings() == before


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_figure_is_saved_twice_as_the_same_bytes(suffix, tmp_path):
    drawn, before = corner(SHORT), settings()
    paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
    for path in paths:
        plotting.save(drawn, path)
    one, other = (path.read_bytes() for path in paths)
    assert one == other
    assert one[:4] in (b"\x89PNG", b"%PDF", b"<?xm") and b"Date" not in one
    assert settings() == before


def test_a_figure_is_drawn_twice_as_the_same_bytes(tmp_path):
    for i in range(2):
        plotting.save(matrix(SHORT), tmp_path / f"{i}.pdf")
    assert (tmp_path / "0.pdf").read_bytes() == (tmp_path / "1.pdf").read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a.PDF", "b/a.svg"])
def test_a_suffix_that_a_figure_can_have_is_taken(name):
    plotting.check_suffix(Path(name))


@pytest.mark.parametrize("name", ["a", "a.root", "a.png.gz", ".png"])
def test_a_suffix_that_no_figure_has_is_refused(name):
    with pytest.raises(UserError, match=r"no figure ends in .*\.png, \.pdf or \.svg"):
        plotting.check_suffix(Path(name))


def test_a_picture_in_256_colours_looks_the_same_in_fewer_bytes():
    written = io.BytesIO()
    plotting.save(response(SHORT), written, ".png")
    smaller = plotting.with_palette(written.getvalue())
    one, other = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int) for png in (written.getvalue(), smaller))
    assert len(smaller) < 0.5 * len(written.getvalue())
    assert np.abs(one - other).mean() < 0.1 and (other[0, 0] == 255).all()


# --- text that can be read


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", FIGURES)
def test_no_text_leaves_the_canvas(name, label):
    assert outside(figure(name, label)) == []


@pytest.mark.parametrize("label", ["short", "long"])
@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("matrix", "corner", "latents")])
def test_label_and_legend_stay_apart(name, label):
    axes = figure(name, label).axes[0]
    legend = legend_of(figure(name, label)).get_window_extent()
    assert len(label_boxes(axes)) == 4
    assert [box for box in label_boxes(axes) if legend.overlaps(box)] == []


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "matrix"])
def test_the_numbers_along_an_axis_stay_apart(name):
    assert crowded_numbers(figure(name, "short")) == []


@pytest.mark.parametrize("ends", [(20_000, 600_000), (20_000, 1e6), (8_000, 90_000), (1, 1e8), (450_000, 500_000)])
def test_the_numbers_along_a_spectrum_stay_apart_whatever_it_spans(ends):
    edges = np.geomspace(*ends, 31)
    drawn = on_canvas(plotting.spectrum(Counted(edges, [9] * 30, [9] * 30, [0] * 30), QUANTITIES["pt"], SHORT))
    assert crowded_numbers(drawn) == [] and outside(drawn) == []


def crowded_numbers(drawn: Figure) -> list[tuple[str, str]]:
    """Neighbouring numbers of an axis that overlap."""
    crowded = []
    for axes in drawn.axes:
        for axis, side in ((axes.xaxis, 0), (axes.yaxis, 1)):
            ticks = axis.get_ticklabels(which="both") if axes.get_visible() else []
            known = [(tick.get_text(), tick.get_window_extent().extents.tolist()) for tick in ticks]
            shown = sorted((box[side], box[side + 2], text) for text, box in known if (text, box) in drawn.written)
            crowded += [(a[2], b[2]) for a, b in zip(shown[:-1], shown[1:], strict=True) if b[0] < a[1]]
    return crowded


@pytest.mark.parametrize("scale", [1, 0.99e3, 3.1])
def test_losses_stay_clear_of_the_label(scale):
    axes = on_canvas(training(SHORT, scale)).axes[0]
    for name in ("training", "validation"):
        points = axes.transData.transform(curve(axes, name).get_xydata())
        assert [p for p in points for box in label_boxes(axes) if box.contains(*p)] == []


def test_the_data_stay_below_the_label_and_the_legend():
    for name in ("spectrum", "residual_figure", "response", "comparison"):
        axes = figure(name, "short").axes[0]
        boxes = [*label_boxes(axes), legend_of(figure(name, "short")).get_window_extent()]
        lowest = min(box.y0 for box in boxes)
        paths = [*(line.get_xydata() for line in axes.get_lines()), *(p.get_path().vertices for p in axes.patches)]
        heights = np.concatenate([axes.transData.transform(path)[:, 1] for path in paths])
        assert np.nanmax(heights) < lowest, name


# --- what the label says


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (
            Label("Internal", "ATLAS", "13", "140", "Jet"),
            ["ATLAS", "Internal", r"13 TeV, 140 fb$^{\mathrm{-1}}$", "Jet"],
        ),
        (Label("Work in progress", "", "13.6", "", ""), ["Work in progress", "13.6 TeV"]),
        (Label("Internal", "CMS", "", "3.2", ""), ["CMS", "Internal", r"3.2 fb$^{\mathrm{-1}}$"]),
        (Label("", "ATLAS"), ["ATLAS"]),
        (Label("", "", note="Jet"), ["Jet"]),
        (NO_LABEL, []),
    ],
)
def test_a_label_says_what_it_was_told(label, expected):
    drawn = on_canvas(residual_figure(label))
    found = [text.get_text().removeprefix(r"$\sqrt{s}$ = ") for text in drawn.axes[0].texts if text.get_text()]
    assert found == expected
    assert [word for word in words(drawn) if "TeV" in word or "fb" in word] == [
        text.get_text() for text in drawn.axes[0].texts if "TeV" in text.get_text() or "fb" in text.get_text()
    ]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_its_label(name):
    found = words(figure(name, "short"))
    assert [word for word in ("ATLAS", "Internal", "AntiKt4TruthJets") if found.count(word) != 1] == []
    assert r"$\sqrt{s}$ = 13 TeV, 140 fb$^{\mathrm{-1}}$" in found
    assert {"ATLAS", "Internal"} & set(words(figure(name, "none"))) == set()


@pytest.mark.parametrize("name", FIGURES)
def test_a_name_is_no_formula_in_any_figure(name):
    assert sum(text.startswith(r"$x$\frac{") for text in shown(figure(name, "long")).values()) == 1


ODD = ("$", "a$b", "$x$", r"$\frac{", r"a\$b$", r"\$", "a_b^c", "%{#}~&", "_begins", "back\\slash")


@pytest.mark.parametrize("name", [*ODD, "two\nlines", "no UTF-8 \udcff", "\x1b[1m"])
def test_names_are_drawn_as_they_are_written(name, tmp_path):
    drawn = on_canvas(comparison(Label("", "", note=name), [name, "other"]))
    written = "".join(c if c.isprintable() else " " if c == "\n" else "?" for c in name)
    assert list(shown(drawn).values()).count(written) == 1
    assert [text.strip() for text in legend_texts(drawn.axes[0])] == [plotting.escaped(name), "other"]
    plotting.save(drawn, tmp_path / "a.pdf")


def shown(drawn: Figure) -> dict[str, str]:
    """Texts without formulas as matplotlib draws them."""
    return {text: text.replace(r"\$", "$") for text in words(drawn) if not is_math_text(text)}


@pytest.mark.parametrize("text", [r"$\frac{$", r"a $\nothing$", "$x$$"])
def test_a_label_that_is_no_formula_is_refused(text):
    plotting.check_label(Label(r"$\sqrt{s}$ and \$", energy="13", luminosity="140", note="$x$"))
    plotting.check_label(Label("100 $"))
    if text == "$x$$":  # three dollars are no formula at all
        plotting.check_label(Label(text))
        return
    for label in (Label(text), Label(energy=text), Label(luminosity=text)):
        with pytest.raises(UserError, match="has a formula that can't be drawn"):
            plotting.check_label(label)


# --- spectra


def test_a_spectrum_says_what_it_shows():
    drawn = figure("spectrum", "none")
    assert {r"$p_\mathrm{T}$ [GeV]", "Jets / bin", "dec. / orig.", "original", "decompressed"} <= set(words(drawn))
    axes, lower = drawn.axes
    left, right = axes.get_xlim()
    assert lower.get_xlim() == (left, right) and left < 20 and right == pytest.approx(2000)  # GeV
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    events = on_canvas(spectrum(what="Events"))
    assert "Events / bin" in words(events) and "Jets / bin" not in words(events)


def test_the_ratio_has_the_jets_that_moved_as_bars():
    (container,) = spectrum(times=2).axes[1].containers
    points, _, (bars,) = container
    assert points.get_ydata() == pytest.approx([1, 1, 601 / 600, 159 / 160, 1, 1, 1])  # none of an empty bin
    lengths = [(segment[1] - segment[0])[1] for segment in bars.get_segments()]
    assert lengths == pytest.approx([0, 0, 2 / 600, 2 / 160, 0, 0, 0])


def test_jets_below_the_axis_have_a_bar_and_a_ratio_of_their_own():
    axes, lower = figure("spectrum", "none").axes
    first, second, grey = (patch.get_data() for patch in axes.patches)
    assert (first.values[:3].tolist(), second.values[:3].tolist()) == ([0, 7, 0], [0, 6, 0])
    assert grey.values.tolist() == [7] and grey.edges[1] < 20
    assert r"$p_\mathrm{T}$ < 15 GeV" in words(figure("spectrum", "none"))
    assert len(spectrum(times=2).axes[0].patches) == 2 and len(lower.containers[0][0].get_xdata()) == 8


@pytest.mark.parametrize(("after", "marker"), [(130, "^"), (10, "v"), (0, "v")])
def test_a_ratio_outside_of_the_panel_is_an_arrow_at_its_edge(after, marker):
    counted = Counted(np.linspace(-3, 3, 22), [100] * 21, [100] * 20 + [after], [0] * 20 + [1])
    lower = plotting.spectrum(counted, QUANTITIES["phi"]).axes[1]
    arrows = {line.get_marker(): line for line in lower.get_lines() if line.get_marker() in ("^", "v")}
    assert arrows[marker].get_xdata() == pytest.approx([3 - 1 / 7])
    low, high = lower.get_ylim()
    assert low < arrows[marker].get_ydata()[0] < high and len(lower.containers[0][0].get_xdata()) == 20


def test_jets_in_a_bin_that_had_none_are_an_arrow_upwards():
    counted = Counted([0, 1, 2, 3], [5, 0, 0], [4, 1, 0], [1, 1, 0])
    lower = plotting.spectrum(counted, QUANTITIES["eta"]).axes[1]
    arrows = {line.get_marker(): list(line.get_xdata()) for line in lower.get_lines()}
    assert (arrows["^"], arrows["v"]) == ([1.5], [])


def test_even_bins_are_drawn_on_even_scales():
    drawn = plotting.spectrum(Counted(np.linspace(-3, 3, 4), [5, 6, 7], [5, 6, 7], [0, 0, 0]), QUANTITIES["phi"])
    axes = drawn.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    assert axes.get_xlim() == (-3, 3) and r"$\phi$ [rad]" in words(on_canvas(drawn))


@pytest.mark.parametrize("times", [0, 2e-4, 42 / 6606, 1e7])
def test_a_spectrum_of_any_number_of_jets_is_drawn(times):
    drawn = on_canvas(spectrum(SHORT, times))
    assert outside(drawn) == []
    top, most = drawn.axes[0].get_ylim()[1], round(5000 * times)
    assert max(1, most) < top < max(100, 1e8 * most)


# --- residuals


def test_residuals_say_what_they_show():
    drawn = figure("residual_figure", "none")
    found = words(drawn)
    assert r"$p_\mathrm{T}$(dec.) / $p_\mathrm{T}$(orig.) $-$ 1 [$\mathrm{10^{-4}}$]" in found
    assert "mean $\\mathrm{1.0 \\times 10^{-5}}$\n68 %: $\\pm$$\\mathrm{1.0 \\times 10^{-4}}$" in found
    assert {"Jets / bin", "promised bound"} <= set(found)
    assert drawn.axes[0].get_xlim() == pytest.approx((-3, 3))


def test_the_promised_bound_is_where_it_is():
    (bound,) = (c for c in figure("residual_figure", "none").axes[0].collections if c.get_label() == "promised bound")
    assert [segment[0][0] for segment in bound.get_segments()] == pytest.approx([-2.5, 2.5])


@pytest.mark.parametrize("bound", [None, 0.0])
def test_a_bound_that_is_none_is_not_drawn(bound):
    drawn = residual_figure(bound=bound)
    assert not any("promised" in text for text in legend_texts(drawn.axes[0]))
    assert drawn.axes[0].get_xlim() == pytest.approx((-3, 3))


def test_residuals_far_inside_their_bound_show_it_all_the_same():
    near = residual_figure(bound=1e-3).axes[0]
    (bound,) = (c for c in near.collections if c.get_label() == "promised bound")
    assert [segment[0][0] for segment in bound.get_segments()] == pytest.approx([-10, 10])
    assert near.get_xlim() == pytest.approx((-12.5, 12.5))
    far = residual_figure(bound=1e-2).axes[0]
    assert r"promised bound $\pm$0.01" in legend_texts(far)
    assert far.get_xlim() == pytest.approx((-3, 3))


def test_a_difference_has_a_unit_and_no_ratio():
    found = plotting.residual_figure(symmetric(0.5), BELL, numbers(0.5), QUANTITIES["phi"], False)
    assert found.axes[0].get_xlabel() == r"$\Delta$$\phi$ [rad]"


@pytest.mark.parametrize(
    ("width", "times"), [(1e-9, 10**7), (1e-4, 0), (1e-4, 10**7), (0.0999, 0), (1, 10**7), (10, 0)]
)
def test_residuals_of_any_size_and_number_are_drawn(width, times):
    drawn = on_canvas(residual_figure(SHORT, width, 2.5 * width, times))
    assert outside(drawn) == []
    power = 1.0 if width * 3 >= 0.1 else 10.0 ** np.floor(np.log10(3 * width))
    assert drawn.axes[0].get_xlim() == pytest.approx((-3 * width / power, 3 * width / power))
    assert drawn.axes[0].get_ylim()[1] > max(1, 14 * times)


@pytest.mark.parametrize(
    ("mean", "shown"),
    [
        (0.0, "0"),
        (-0.012, "$-$0.012"),
        (99.4, "99"),
        (99.9, "100"),
        (1234.0, r"$\mathrm{1.2 \times 10^{3}}$"),
        (-9.94e-5, r"$\mathrm{-9.9 \times 10^{-5}}$"),
        (9.96e-5, r"$\mathrm{1.0 \times 10^{-4}}$"),
    ],
)
def test_a_mean_is_written_with_two_digits(mean, shown):
    (text,) = [t for t in legend_texts(residual_figure(mean=mean).axes[0]) if "mean" in t]
    assert text.splitlines()[0] == f"mean {shown}"


# --- responses


def bands(axes: Axes) -> dict[str, Any]:
    return {patch.get_label(): patch.get_data() for patch in axes.patches}


def covered(found: Any) -> list[tuple[float, float]]:
    """The bins in which a band is drawn."""
    pairs = zip(found.edges[:-1], found.edges[1:], found.values, strict=True)
    return [(a, b) for a, b, value in pairs if np.isfinite(value)]


def test_a_response_says_what_it_shows():
    drawn = figure("response", "none")
    assert r"$m$(dec.) / $m$(orig.) $-$ 1 [$\mathrm{10^{-3}}$]" in words(drawn)
    assert {r"$p_\mathrm{T}$ [GeV]", r"$\eta$", "median", "68 %", "95 %", "fewer than 40"} <= set(words(drawn))
    found, widths = bands(drawn.axes[0]), 1 + 0.2 * np.arange(5)  # the last bin has no end
    for name, low, high in (("68 %", -1.0, 1.0), ("95 %", -1.9, 2.0)):
        assert found[name].edges == pytest.approx([0, 20, 45, 110, 400, 2000])
        assert found[name].baseline == pytest.approx(low * widths)
        assert found[name].values == pytest.approx(high * widths)


def points_and_errors(axes: Axes, container: int) -> tuple[np.ndarray, np.ndarray]:
    points, _, bars = axes.containers[container]
    lengths = [segment[1] - segment[0] for segment in bars[-1].get_segments()]
    return points.get_ydata(), np.array(lengths)[:, 1] / 2


def test_medians_and_half_widths_have_statistical_errors():
    upper, _, lower, _ = figure("response", "none").axes
    widths = 1 + 0.2 * np.arange(5)
    medians, errors = points_and_errors(upper, -1)
    assert medians == pytest.approx(0.1 * widths) and errors == pytest.approx(0.05 * widths)
    half_widths, errors = points_and_errors(lower, 0)
    assert half_widths == pytest.approx(widths) and errors == pytest.approx(0.1 * widths)


def test_a_bin_of_few_jets_is_grey_and_has_no_median():
    upper, lower = (figure("response", "none").axes[i] for i in (1, 3))
    assert covered(bands(upper)["fewer than 40"]) == [(2, 5)]
    assert covered(bands(upper)["68 %"]) == [(-2, -1), (-1, 0), (0, 1), (1, 2)]
    assert np.isnan(upper.containers[-1][0].get_ydata()).tolist() == [False] * 4 + [True]
    assert len(lower.containers[0][0].get_ydata()) == 4


def test_bins_that_all_have_few_jets_are_drawn_without_a_median():
    bins = in_bins(0, 1, 2, jets=3)
    drawn = on_canvas(plotting.response([(QUANTITIES["eta"], bins)], QUANTITIES["m"], True, SHORT))
    assert [text.get_text() for text in legend_of(drawn).get_texts()] == ["fewer than 40"] and outside(drawn) == []


def test_an_overview_tells_sizes_and_errors_of_every_collection():
    drawn = figure("overview", "none")
    assert {"Jet\n4,493 jets", " 11.3 ", " 6.4 ", " 17.2 ", "before", "after", r"$\phi$"} <= set(words(drawn))
    left, right = drawn.axes
    assert left.get_xlim() == pytest.approx((0, 1.2 * 17.2))
    points = [line.get_xdata().tolist() for line in right.get_lines() if line.get_marker() in ("o", "s")]
    assert points == [[0.67, 0.5], [0.99, 0.9], [0.68], [1.0]]  # half-widths, then the largest


@pytest.mark.parametrize(("jets", "end"), [(1, 1.2 * 1596), (50, 1.2 * 20)])
def test_collections_of_few_jets_do_not_set_the_axis_of_an_overview(jets, end):
    rows = [Overview("Jet", jets, 20.0, 10.0, {}), Overview("GenJetAK8", 1, 465.0, 1596.0, {})]
    drawn = on_canvas(plotting.overview(rows, SHORT))
    assert drawn.axes[0].get_xlim()[1] == pytest.approx(end)
    assert " 1596.0 " in words(drawn) and outside(drawn) == []


def test_a_response_of_a_report_without_errors_is_drawn():
    older = [{key: b[key] for key in ("low", "high", "jets", "quantiles", "half_width_68")} for b in in_bins(0, 1, 2)]
    assert outside(on_canvas(plotting.response([(QUANTITIES["eta"], older)], QUANTITIES["m"]))) == []


def test_a_bin_without_jets_is_left_open():
    bins = in_bins(0, 1, 2, 3, 4)
    drawn = plotting.response([(QUANTITIES["eta"], [bins[0], bins[3]])], QUANTITIES["m"])
    assert covered(bands(drawn.axes[0])["68 %"]) == [(0, 1), (3, 4)]


@pytest.mark.parametrize("high", [float("inf"), None])
def test_a_bin_without_end_is_drawn_where_it_is_the_only_one(high):
    bins = [in_bins(2e6, 3e6)[0] | {"high": high}]
    assert plotting.response([(QUANTITIES["pt"], bins)], QUANTITIES["m"]).axes[0].get_xlim() == (2000, 4000)


def test_a_difference_against_another_variable_has_its_unit():
    drawn = plotting.response([(QUANTITIES["eta"], in_bins(0, 1, 2))], QUANTITIES["phi"], False)
    assert drawn.axes[0].get_ylabel() == r"$\Delta$$\phi$ [$\mathrm{10^{-3}}$ rad]"


@pytest.mark.parametrize("width", [0, 1e-9, 10])
def test_responses_of_any_size_are_drawn(width):
    drawn = on_canvas(response(SHORT, width))
    assert outside(drawn) == []
    low, high = drawn.axes[0].get_ylim()
    assert low < 0 < high


# --- matrices and corners


def test_a_matrix_shows_its_numbers_and_leaves_out_what_is_not_defined():
    found = [text.get_text() for text in figure("matrix", "none").axes[0].texts if text.get_text()]
    assert found.count("1.00") == 4 and found.count("$-$0.32") == 2 and found.count("0.70") == 2
    assert found.count("0.00") == 4  # of -0.004 and of 0
    assert len(found) == 14
    assert [t.get_text() for t in figure("matrix", "none").axes[0].get_xticklabels()][3] == "$m_{jj}$"


def test_a_matrix_without_any_number_is_drawn():
    drawn = on_canvas(plotting.matrix(["pt", "m"], np.full((2, 2), np.nan), SHORT))
    assert outside(drawn) == [] and len(label_boxes(drawn.axes[0])) == 4


def test_a_corner_has_a_panel_for_every_two_columns():
    drawn = figure("corner", "none")
    assert [axes.get_visible() for axes in drawn.axes[:9]] == [True, False, False, True, True, False, True, True, True]
    assert r"$p_\mathrm{T}$ [$\mathrm{10^{-4}}$]" in words(drawn) and r"$\phi$ [$\mathrm{10^{-2}}$]" in words(drawn)
    assert words(drawn).count(r"$\eta$ [$\mathrm{10^{-4}}$]") == 2  # below and beside
    filled = [len(axes.collections) for axes in drawn.axes[:9] if axes.get_visible()]
    assert filled == [0, 1, 0, 1, 0, 0]  # densities, but for one without jets
    assert "Jets / bin" in words(drawn)  # what the colours mean


@pytest.mark.parametrize(("width", "times"), [(1e-9, 0), (1e-9, 10**7), (10, 1), (10, 10**7)])
def test_corners_of_any_size_and_number_are_drawn(width, times):
    assert outside(on_canvas(corner(SHORT, width, times))) == []


def test_a_corner_of_one_jet_is_drawn():
    counts = np.zeros(10)
    counts[3] = 1
    drawn = plotting.corner(["a", "b"], [symmetric(1)] * 2, [counts] * 2, {(0, 1): np.outer(counts, counts)}, SHORT)
    assert outside(on_canvas(drawn)) == []
    (mesh,) = drawn.axes[2].collections
    assert mesh.get_array().compressed().tolist() == [1]
    assert np.argwhere(~mesh.get_array().mask.reshape(10, 10)).tolist() == [[3, 3]]


def test_a_density_has_the_first_column_along_x():
    counts = np.zeros((10, 10))
    counts[2, 7] = 5
    drawn = plotting.corner(["a", "b"], [symmetric(1)] * 2, [BELL] * 2, {(0, 1): counts})
    (mesh,) = drawn.axes[2].collections
    assert np.argwhere(~mesh.get_array().mask.reshape(10, 10)).tolist() == [[7, 2]]  # row y, column x


@pytest.mark.parametrize("times", [0, 10**7])
def test_latents_of_any_number_are_drawn(times):
    drawn = on_canvas(latents(NO_LABEL, times))
    assert {"$z_0$", "$z_2$", "nothing", "11.3 bits of pt and 4.0 bits of m"} <= set(words(drawn))
    assert [axes.get_xlim() for axes in drawn.axes] == [(1, 2), (1, 1.001), (0.999, 1.001)]


# --- sizes, losses, comparisons


def test_sizes_fall_to_the_left_and_ours_stand_out():
    drawn = figure("sizes", "none")
    axes, lower = drawn.axes
    left, right = axes.get_xlim()
    assert left > 3e-2 and right < 1e-4
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["ours", "floor", *PEERS, "as it is"]
    widths = {line.get_label(): line.get_linewidth() for line in axes.get_lines()}
    assert max(widths, key=widths.get) == "ours"
    assert curve(axes, "floor").get_marker() in ("None", "", None)
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.get_lines()]
    assert len(set(looks)) == len(looks)


def test_sizes_are_shown_where_curves_lie_and_beside_the_floor():
    axes, lower = figure("sizes", "none").axes
    curves = [line for line in axes.get_lines() if line.get_label() != "as it is"]
    low, high = axes.get_ylim()
    assert all(low < y < high for line in curves for y in line.get_ydata()) and high < 17.8
    assert any("as it is: 17.8" in word for word in words(figure("sizes", "none")))  # told, where it isn't seen
    ratios = {line.get_color(): line.get_ydata() for line in lower.get_lines() if line.get_linewidth() == 2.5}
    expected = np.array([2.9, 3.6, 4.4, 5.2, 6.0, 6.8]) / [2.8, 3.5, 4.3, 5.1, 5.9, 6.7]
    assert ratios[plotting.BLACK] == pytest.approx(expected)


@pytest.mark.parametrize("value", [1e-9, 1e7])
def test_sizes_at_one_precision_are_drawn(value):
    curves = {"ours": ([1e-3], [value]), "floor": ([1e-3], [value / 2]), "other": ([1e-3, 1e-4], [value, value])}
    assert outside(on_canvas(plotting.sizes(curves, ["ours"], "floor", SHORT))) == []


def test_the_weights_kept_are_those_of_the_lowest_validation():
    axes = figure("training", "none").axes[0]
    assert list(curve(axes, "weights kept").get_xdata()) == [150, 150]
    assert np.isnan(curve(axes, "training").get_ydata()[0]) and np.isnan(curve(axes, "validation").get_ydata()[4])
    assert {"step", "loss", "training", "validation", "weights kept"} <= set(words(figure("training", "none")))
    assert axes.get_yscale() == "linear"


@pytest.mark.parametrize("losses", [[-3.0, -4.0], [0.0, 1.0], [1e-9, 1e-8], [1e7, None], [2.0, float("nan")]])
def test_losses_of_any_size_are_drawn(losses):
    drawn = on_canvas(plotting.training([0, 5], {"training": [None, None], "validation": losses}, SHORT))
    assert outside(drawn) == []
    assert drawn.axes[0].get_yscale() == ("log" if losses == [1e-9, 1e-8] else "linear")


@pytest.mark.parametrize("losses", [[3.0, 2.0, 9.0], [3.0, -2.0, float("nan")]])
def test_the_learning_rate_to_choose_is_marked(losses):
    drawn = on_canvas(plotting.learning_rate_figure([1e-4, 1e-3, 1e-2], losses, 1e-3, SHORT))
    assert list(curve(drawn.axes[0], "choose 0.001").get_xdata()) == [1e-3, 1e-3]
    assert {"choose 0.001", "learning rate", "training loss"} <= set(words(drawn)) and outside(drawn) == []


def test_a_comparison_has_a_marker_for_every_name_and_variable():
    axes = figure("comparison", "none").axes[0]
    assert legend_texts(axes) == ["one", "another", "third"]
    assert curve(axes, "another").get_ydata() == pytest.approx([2e-4, 3e-4, 4e-4, 5e-4])
    assert [t.get_text() for t in axes.get_xticklabels()] == [r"$p_\mathrm{T}$", r"$\eta$", "$m$", "$m_{jj}$"]
    positions = np.concatenate([line.get_xdata() for line in axes.get_lines()])
    assert len(set(positions)) == 12


@pytest.mark.parametrize("widths", [[0.0, 0.0], [float("nan"), 1.0], [1e-9, 10.0]])
def test_widths_of_any_size_are_compared(widths):
    drawn = on_canvas(plotting.comparison(["a", "b"], {"pt": widths, "other": widths}, "width", SHORT))
    assert outside(drawn) == [] and {"a", "b", "other", "width"} <= set(words(drawn))


def test_many_long_names_are_compared():
    names = [f"AntiKt4EMPFlow_{i}_with_a_long_name" for i in range(10)]
    drawn = on_canvas(comparison(SHORT, names))
    assert outside(drawn) == [] and set(names) <= set(words(drawn))
    looks = {(line.get_color(), line.get_marker()) for line in drawn.axes[0].get_lines()}
    assert len(looks) == len(names)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Jet, 17,082 jets", "Jet, 17,082 jets"),
        ("AntiKt4TruthJetsAuxDyn, 17,082 jets", "AntiK...uxDyn, 17,082 jets"),
        ("AntiKt4EMPFlowJetsAuxDyn_calibrated", "AntiKt4EMPFlo...calibrated"),
    ],
)
def test_a_long_name_loses_its_middle_and_no_digit_of_a_number(text, shown):
    assert plotting._shortened(text) == shown
