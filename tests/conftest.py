"""Small files of every kind, made on the spot, and the command line as a function."""

import contextlib
import functools
import gc
import io
import json
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import settings
from servers import Web, XRootD, web_server, xrootd_server

from atlasae.commands.cli import main
from atlasae.errors import ENDING

# A network on a busy machine can take longer over one example than hypothesis allows. The same examples at every run: a
# change is to blame for what fails; `--hypothesis-profile=default` looks for new ones.
settings.register_profile("atlasae", deadline=None, derandomize=True)
settings.load_profile("atlasae")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs with `&` ignore it
pytest.register_assert_rewrite("codec_contract", "helpers")  # so that their asserts are explained like a test's

gc.disable()  # until all tests are collected: a million objects that stay, which each collection would pass over


def pytest_collection_finish() -> None:
    """Leave what was imported out of all later collections of garbage: they took a seventh of the time of the tests."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


SHARED = Path(__file__).parents[2] / "shared" / "data"
LAYOUTS = ("xaod", "nanoaod", "flat", "energy", "cartesian", "rntuple", "rntuple_xaod")
VARIABLES = {
    "xaod": {v: f"AntiKt4TruthJetsAuxDyn.{v}" for v in ("pt", "eta", "phi", "m")},
    "nanoaod": {"pt": "Jet_pt", "eta": "Jet_eta", "phi": "Jet_phi", "m": "Jet_mass"},
    "flat": {v: v for v in ("pt", "eta", "phi", "m")},
    "energy": {v: f"jet_{v}" for v in ("pt", "eta", "phi", "E")},
    "cartesian": {"px": "Jet_Px", "py": "Jet_Py", "pz": "Jet_Pz", "E": "Jet_E"},
    "edm4hep": {
        v: f"Jet.{name}"
        for v, name in zip(
            ("px", "py", "pz", "m", "E"), ("momentum.x", "momentum.y", "momentum.z", "mass", "energy"), strict=True
        )
    },
    "rntuple": {"pt": "Jet_pt", "eta": "Jet_eta", "phi": "Jet_phi", "m": "Jet_mass"},
    "rntuple_xaod": {v: f"AnalysisJetsAuxDyn:{v}" for v in ("pt", "eta", "phi", "m")},
}
TREES = {"xaod": "CollectionTree", "flat": "jets", "energy": "mini", "cartesian": "events", "edm4hep": "events"}
GEV = ("nanoaod", "cartesian", "edm4hep", "rntuple")
STRING = ak.types.from_datashape("string", highlevel=False)  # parsing it takes longer than writing a branch


@dataclass
class Result:
    """The result of a command: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    def failed(self, code: int, *words: str) -> bool:
        """Whether the command ended with this code, an empty stdout and one line on stderr that has all the words."""
        assert self.code == code, self
        assert self.out == "", self
        assert self.err.startswith("atlasae: ") and self.err.endswith("\n") and self.err.count("\n") == 1, self
        assert "unexpected" not in self.err and "Traceback" not in self.err, self
        assert [word for word in words if word not in self.err] == [], self
        return True


class Terminal(io.StringIO):
    """A text in memory that claims to be a terminal; as `io.StringIO`, what `run_main` prints to."""

    def isatty(self) -> bool:
        """It claims so."""
        return True


def run_main(*arguments: object) -> Result:
    """Run `atlasae ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in ENDING}
    argv = ["atlasae", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as done:
            return Result(int(done.code or 0), out.getvalue(), err.getvalue())
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    raise AssertionError("main() did not exit")


def succeeded(*arguments: object) -> Result:
    """Run `atlasae ARGUMENTS`, which must succeed and print nothing on stderr."""
    result = run_main(*arguments)
    assert result.code == 0 and result.err == "", result
    return result


def jet_grid(exponent: float, cells: Any, first: Any, levels: Any, digits: Any) -> Any:
    """A grid of jets: words of pt, eta and phi, each followed by one of these digits of m."""
    from atlasae.codecs.grid import Grid, jet_words

    return Grid(exponent, cells, first, levels, jet_words(levels, digits))


def digits_of(grid: Any) -> tuple[int, ...]:
    """The digits of m in the three words of a grid of jets."""
    return tuple(digit.radix for word in grid.words for digit in word if digit.variable == 3)


@pytest.fixture
def atlasae() -> Callable[..., Result]:
    return run_main


def random_jets(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Jets in MeV, float64, with all eight variables."""
    rng = np.random.default_rng(seed)
    pt = 20_000 * (1 + rng.pareto(2.5, n))
    eta, phi = np.clip(rng.normal(0, 1.8, n), -4.9, 4.9), rng.uniform(-np.pi, np.pi, n)
    m = pt * rng.uniform(0.03, 0.25, n)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px**2 + py**2 + pz**2 + m**2)
    return {"pt": pt, "eta": eta, "phi": phi, "m": m, "E": energy, "px": px, "py": py, "pz": pz}


def jet_columns(layout: str, n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """The branches of a layout, flat, float32, in the layout's units."""
    jets = random_jets(n, seed)
    unit = {v: 1000.0 if layout in GEV and v not in ("eta", "phi") else 1.0 for v in jets}
    return {name: (jets[v] / unit[v]).astype(np.float32) for v, name in VARIABLES[layout].items()}


def make_counts(entries: int, seed: int = 1) -> np.ndarray:
    """Jets per event: in many events none."""
    return np.random.default_rng(seed).integers(0, 5, entries)


def bystanders(entries: int, seed: int = 2) -> dict[str, ak.Array]:
    """Branches of every type that uproot can write to a TTree; float bit patterns of every kind, NaN payloads too."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, entries)
    total = int(counts.sum())
    words = rng.integers(0, 2**32, entries, dtype=np.uint32)
    words[: min(3, entries)] = np.array([0x7FC00123, 0xFF800000, 0x80000000], np.uint32)[: min(3, entries)]
    return {
        "event": ak.Array(np.arange(entries, dtype=np.uint64) + 2**40),
        "number": ak.Array(rng.integers(-(2**62), 2**62, entries)),
        "weight": ak.Array(words.view(np.float32)),
        "met": ak.Array(rng.normal(size=entries)),
        "passed": ak.Array(rng.random(entries) > 0.5),
        "flags": ak.Array(rng.integers(0, 256, entries).astype(np.uint8)),
        "short": ak.Array(rng.integers(-3000, 3000, entries).astype(np.int16)),
        "matrix": ak.Array(rng.normal(size=(entries, 4)).astype(np.float32)),
        "name": strings(rng, entries),
        "hit": ak.unflatten(rng.integers(-9, 9, total).astype(np.int16), counts),
        "good": ak.unflatten(rng.random(total) > 0.5, counts),
    }


def strings(rng: np.random.Generator, entries: int) -> ak.Array:
    """Strings of 0 to 300 characters, some with several bytes."""
    texts = [("é" if i % 3 else "x") * int(rng.integers(0, 150)) for i in range(entries)]
    return ak.Array([*texts, "end"])[:entries]


def counted(layout: str, counts: np.ndarray, seed: int = 1) -> dict[str, ak.Array]:
    """The jet branches of a layout, jagged."""
    columns = jet_columns(layout, int(counts.sum()), seed)
    return {name: ak.unflatten(values, counts) for name, values in columns.items()}


def write_tree(
    path: Path, tree: str, branches: dict[str, ak.Array], counters: dict[str, str] | None = None, **more: Any
) -> Path:
    """Write one TTree, in three baskets, and whatever else `more` names (`/` as `__`)."""
    entries = len(next(iter(branches.values())))
    names = counters or {}
    with uproot.recreate(path) as file:
        types = {name: declared(array) for name, array in branches.items()}
        made = file.mktree(tree, types, title="a title", counter_name=lambda name: names.get(name, f"n{name}"))
        for start in range(0, entries, max(1, -(-entries // 3))):
            made.extend({name: array[start : start + max(1, -(-entries // 3))] for name, array in branches.items()})
        for name, thing in more.items():
            file[name.replace("__", "/")] = thing
    return path


def declared(array: ak.Array) -> Any:
    if array.layout.parameter("__array__") == "string":
        return STRING
    if array.layout.is_list and not array.layout.is_regular:
        return array.layout.form.type
    values = ak.to_numpy(array)
    return np.dtype((values.dtype, values.shape[1:]))


def write_layout(path: Path, layout: str, entries: int = 60, seed: int = 1) -> Path:
    """Write a file of one of LAYOUTS: jets between bystanders. What was written before is written again as it was."""
    known = (path.name, layout, entries, seed)
    if known not in WRITTEN:
        WRITTEN[known] = make_layout(path, layout, entries, seed).read_bytes()
    path.write_bytes(WRITTEN[known])
    return path


WRITTEN: dict[tuple[str, str, int, int], bytes] = {}  # of a tenth of a megabyte or less each


def make_layout(path: Path, layout: str, entries: int, seed: int) -> Path:
    others = bystanders(entries, seed + 1)
    before = {name: others[name] for name in ("event", "weight", "hit")}
    after = {name: array for name, array in others.items() if name not in before}
    if layout == "flat":
        jets = {name: ak.Array(values) for name, values in jet_columns(layout, entries, seed).items()}
    else:
        jets = counted(layout, make_counts(entries, seed), seed)
    branches = before | jets | after
    if layout.startswith("rntuple"):
        with uproot.recreate(path) as file:
            ntuple = file.mkrntuple("Events", {name: declared(array) for name, array in branches.items()})
            if entries:
                ntuple.extend(branches)
        return path
    counters = dict.fromkeys(jets, {"nanoaod": "nJet", "cartesian": "NJet"}.get(layout, "njets"))
    if layout == "nanoaod":  # a bystander of the jets themselves
        branches["Jet_nConstituents"] = ak.values_astype(ak.local_index(jets["Jet_pt"]), np.uint8)
        counters["Jet_nConstituents"] = "nJet"
    return write_tree(path, TREES.get(layout, "Events"), branches, counters)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def one_torch_thread() -> Iterator[None]:
    """Torch on one thread, as in the commands: on a busy machine twenty times faster."""
    from atlasae.codecs.codec import few_threads

    with few_threads():
        yield


@pytest.fixture
def quick_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick classifier, for tests that do not depend on how well it separates jets."""
    from atlasae.reports import classifier
    from atlasae.training.loop import Course

    monkeypatch.setattr(classifier, "COURSE", Course(steps=4, batch=64, validate_every=2))


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The figures that were saved, with their suffixes: they are made, but not drawn, which takes half a second each.

    Files are empty, and a picture in a page is of one pixel.
    """
    from PIL import Image

    from atlasae.reports import plotting

    found: list[tuple[str, Any]] = []

    def save(figure: Any, path: Path | io.BytesIO, suffix: str = "") -> None:
        found.append((suffix, figure))
        if not isinstance(path, Path):
            Image.new("RGB", (1, 1)).save(path, "png")

    @contextlib.contextmanager
    def pages(path: Path) -> Iterator[Callable[[Any], None]]:
        path.touch()
        yield lambda figure: None

    monkeypatch.setattr(plotting, "save", save)
    monkeypatch.setattr(plotting, "pages", pages)
    return found


@pytest.fixture(scope="session")
def made_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function of a layout and options of `compress`: the folder of a file of 60 events that must not be changed.

    It has `jets.root`, compressed `small.root`, and decompressed `back.root`; each folder is made once.
    """

    @functools.cache
    def make(layout: str, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("made")
        path, small = write_layout(folder / "jets.root", layout), folder / "small.root"
        succeeded("compress", path, small, *options, "--quiet")
        succeeded("decompress", small, folder / "back.root", "--quiet")
        return folder

    return make


@pytest.fixture(scope="session")
def made_once(made_of: Callable[..., Path]) -> dict[str, bytes]:
    """A NanoAOD-like file of 60 events, and the same compressed."""
    return {name: (made_of("nanoaod") / name).read_bytes() for name in ("jets.root", "small.root")}


@pytest.fixture
def jets_file(made_once: dict[str, bytes], tmp_path: Path) -> Path:
    """A NanoAOD-like file of 60 events."""
    (tmp_path / "jets.root").write_bytes(made_once["jets.root"])
    return tmp_path / "jets.root"


@pytest.fixture
def compressed(jets_file: Path, made_once: dict[str, bytes], tmp_path: Path) -> Path:
    """The same file, compressed, beside it."""
    (tmp_path / "small.root").write_bytes(made_once["small.root"])
    return tmp_path / "small.root"


@pytest.fixture
def quick_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model fitted to the input gets a hundred steps instead of hundreds."""
    from atlasae.training import train

    course = replace(train.SELF_RECIPE.course, steps=100, batch=512)
    monkeypatch.setattr(train, "SELF_RECIPE", replace(train.SELF_RECIPE, course=course))


@pytest.fixture(scope="session")
def inputs_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three files of jets that differ."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate("abc", 1):
        write_layout(folder / f"{name}.root", "nanoaod", seed=seed)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def inputs(inputs_once: dict[str, bytes], tmp_path: Path) -> list[Path]:
    """Three files of jets that differ."""
    (tmp_path / "in").mkdir()
    for name, content in inputs_once.items():
        (tmp_path / "in" / name).write_bytes(content)
    return [tmp_path / "in" / name for name in inputs_once]


def work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the tasks of many files in this process, since starting a process takes a second.

    Tasks and outcomes are pickled nevertheless; with several workers, the last file is done first.
    """
    from atlasae.commands import workers

    def in_this_process(tasks: Sequence[Any], number: int) -> Iterator[Any]:
        for task in tasks if number == 1 else reversed(tasks):
            yield pickle.loads(pickle.dumps(workers.perform(pickle.loads(pickle.dumps(task)))))

    monkeypatch.setattr(workers, "_in_processes", in_this_process)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many files are done in this process."""
    work_here(monkeypatch)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A web server of the folder `web`."""
    (tmp_path / "web").mkdir()
    with web_server(tmp_path / "web") as server:
        yield server


@pytest.fixture
def xrootd() -> Iterator[XRootD]:
    """A server of XRootD."""
    if shutil.which("xrootd") is None:
        pytest.skip("no XRootD server here: Debian has one in xrootd-server, the PyPI package xrootd has clients only")
    with xrootd_server() as found:
        yield found


@contextlib.contextmanager
def nothing_left(*paths: Path) -> Iterator[None]:
    """Check that the folder of the paths has the same files with the same bytes afterwards."""
    folders = {path.parent for path in paths}
    before = {file: file.read_bytes() for folder in folders for file in folder.iterdir() if file.is_file()}
    yield
    after = {file for folder in folders for file in folder.iterdir() if file.is_file()}
    assert sorted(after) == sorted(before)
    assert [file for file in after if file.read_bytes() != before[file]] == []


def refused(code: int, words: tuple[str, ...], *arguments: object, out: Path) -> None:
    """Check that a command fails with one line that contains the words, and changes nothing in the folder of OUT."""
    with nothing_left(out):
        assert run_main(*arguments).failed(code, *words)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


# Comparison, by uproot alone


def read_tree(path: Path, tree: str) -> dict[str, ak.Array]:
    """All branches of a tree except counters, in the file's order."""
    with uproot.open(path, array_cache=None, object_cache=None) as file:
        found = file[tree]
        names = [str(name) for name in found.keys(recursive=False)]
        return {name: found[name].array() for name in names if not is_counter(found, name)}


def is_counter(tree: Any, name: str) -> bool:
    if not isinstance(tree, uproot.TTree):
        return False
    return any(
        (leaf := branch.member("fLeaves")[0].member("fLeafCount")) is not None and leaf.member("fName") == name
        for branch in tree.branches
    )


def bits(array: ak.Array) -> tuple[Any, ...]:
    """The type, the event boundaries and the bytes of an array."""
    plain = ak.without_parameters(array)
    counts: list[int] = []
    if plain.layout.is_list and not plain.layout.is_regular:
        counts = ak.num(plain).to_list()
        plain = ak.flatten(plain)
    values = ak.to_numpy(plain)
    return str(array.type), counts, values.dtype, np.ascontiguousarray(values).tobytes()


def eight(jets: dict[str, ak.Array], unit: float) -> dict[str, np.ndarray]:
    """pt, eta, phi, m and, where stored, E of jets by variable, float64 in MeV."""
    flat = {v: ak.to_numpy(ak.flatten(a, axis=None)).astype(np.float64) for v, a in jets.items()}
    values = {v: a if v in ("eta", "phi") else a * unit for v, a in flat.items()}
    if "px" in values:
        values["pt"] = np.hypot(values["px"], values["py"])
        values["eta"] = np.arcsinh(values["pz"] / values["pt"])
        values["phi"] = np.arctan2(values["py"], values["px"])
    return values


def jet_errors(before: dict[str, ak.Array], after: dict[str, ak.Array], unit: float) -> dict[str, np.ndarray]:
    """The error of every jet in each variable with a bound; m derived from E is left to the tool."""
    a, b = eight(before, unit), eight(after, unit)
    found = {
        "pt": np.abs(b["pt"] / a["pt"] - 1),
        "eta": np.abs(b["eta"] - a["eta"]),
        "phi": np.abs((b["phi"] - a["phi"] + np.pi) % (2 * np.pi) - np.pi),
    }
    if "m" in a:
        found["m"] = np.abs(b["m"] - a["m"]) / np.maximum(np.abs(a["m"]), 100)
    if "E" in before:
        found["E"] = np.abs(b["E"] / a["E"] - 1)
    return found


def same_jets(before: dict[str, ak.Array], after: dict[str, ak.Array]) -> np.ndarray:
    """Which jets have the same bits as before, in all four variables."""
    pairs = [[ak.to_numpy(ak.flatten(jets[v], axis=None)) for jets in (before, after)] for v in before]
    return np.all([a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}") for a, b in pairs], axis=0)


def largest_errors(before: dict[str, ak.Array], after: dict[str, ak.Array], unit: float) -> dict[str, float]:
    """The largest error of each promised variable over all (ordinary) jets."""
    return {variable: float(error.max(initial=0.0)) for variable, error in jet_errors(before, after, unit).items()}


def check_restored(original: Path, restored: Path, tree: str, layout: str, precision: float = 1e-3) -> None:
    """Check names, order, types, counts and bits of everything, and the precision of the jets."""
    before, after = read_tree(original, tree), read_tree(restored, tree)
    assert list(after) == list(before)
    for name, array in before.items():
        if name not in VARIABLES[layout].values():
            assert bits(after[name]) == bits(array), name
    check_jets(before, after, layout, precision)


def check_jets(before: dict[str, ak.Array], after: dict[str, ak.Array], layout: str, precision: float = 1e-3) -> None:
    """Check types, counts and the precision of the jets among the branches."""
    jets = VARIABLES[layout]
    for name in jets.values():
        assert str(after[name].type) == str(before[name].type)
        if before[name].ndim > 1:
            assert ak.num(after[name]).to_list() == ak.num(before[name]).to_list()
    unit = 1000.0 if layout in GEV else 1.0
    stored = [{v: arrays[name] for v, name in jets.items()} for arrays in (before, after)]
    assert {v: e for v, e in largest_errors(*stored, unit).items() if not e <= precision} == {}


def network_by_hand() -> Any:
    """An untrained network that keeps pt, eta and phi, and sets m to a tenth of pt."""
    import torch

    from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder

    columns, scalings = ("m", "pt", "phi", "eta"), ("log10", "log10", "linear", "linear")
    network = BottleneckAutoencoder(Bottleneck(columns, scalings, hidden=(2,), skip=True)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for latent, column in enumerate((1, 2, 3)):
            network.encoder.straight.weight[latent, column] = 1
            network.decoder.straight.weight[column, latent] = 1
        network.decoder.straight.weight[0, 0] = 1
        network.decoder.layers[-1].bias[0] = -1  # of log10 m
    return network.eval()


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    """A model file of `network_by_hand`."""
    from atlasae.codecs.model import Model

    (tmp_path / "by_hand.model").write_bytes(Model.from_autoencoder(network_by_hand(), {}).content)
    return tmp_path / "by_hand.model"


def untrained_bottleneck(activation: str, columns: tuple[str, ...]) -> bytes:
    """An untrained model; where m comes first, with every option of a network."""
    from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder
    from atlasae.codecs.model import Model

    odd = columns[0] == "m"
    scalings = ("asinh", "linear", "linear", "log10") if odd else ("log10", "linear", "linear", "log10")
    shape = Bottleneck(columns, scalings, (6, 5), 3, activation, odd, 0.1, odd, odd)
    return Model.from_autoencoder(BottleneckAutoencoder(shape), {}).content
