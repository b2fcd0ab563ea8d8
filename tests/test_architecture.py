"""Every module has a floor, imports only from floors below it, and leaves heavy libraries to their one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "atlasae"
TESTS = sorted(Path(__file__).parent.glob("*.py"))
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")

# An entry may stand here before its module does; a module may not be without its entry.
FLOORS = [
    {"errors", "display", "leaf_names"},
    {"schema", "coordinates"},
    {"remote", "rounding", "plotting", "baskets", "grid", "padding", "terminal", "coding", "leaves"},
    {
        *("columns", "fields", "invertible", "bottleneck", "precision", "metrics", "variables", "lattice", "priors"),
        *("sources", "beside", "pickles"),
    },
    {"storage", "packed", "units", "model", "rootio", "tables", "tallies", "training", "running"},
    {"codec", "collection", "classifier", "recipes", "container", "planning", "targets", "journal"},
    {"learning", "checkpoints", "copying", "packing", "counting", "cpp", "graphs", "encoding", "parts"},
    {"restoring", "compressing", "skims"},
    {"reading", "export", "verification"},
    {"pipeline", "pairs", "peers"},
    {"benchmark", "evaluation"},
    {"figures", "distributed", "batch"},
    {"many", "options", "topics"},
    {"cli"},
]
FLOOR = {module: height for height, modules in enumerate(FLOORS) for module in modules}

DOORS = {
    "uproot": {"rootio", "sources", "leaves"},
    "torch": {
        *("grid", "invertible", "bottleneck", "codec", "model", "training"),
        *("classifier", "learning", "checkpoints", "peers", "benchmark", "cpp", "graphs", "encoding", "export"),
    },
    "click": {"cli", "options", "running"},
    "rich": {"display", "running"},
    "safetensors": {"model", "priors"},
    "constriction": {"coding"},
    "pandas": {"tables"},
    "pyarrow": {"tables"},
    "hist": {"tallies"},
    "matplotlib": {"plotting"},
    "mplhep": {"plotting"},
    "pcodec": {"peers"},
    "pysz": {"peers"},
    "vector": {"reading"},
    "dask": {"distributed"},
    "distributed": {"distributed"},
    "onnx": {"export"},
    "fsspec": {"remote"},
    "aiohttp": {"remote"},
    "XRootD": {"remote"},
}


def imports(path: Path) -> set[str]:
    """Dotted names of all that a module imports, in its functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = ".".join(filter(None, ["atlasae" if node.level else "", node.module]))
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


def test_every_module_has_one_floor_and_its_own_subject():
    assert sorted(FLOOR) == sorted(module for modules in FLOORS for module in modules)
    assert set(MODULES) <= set(FLOOR)
    assert "utils" not in MODULES
    assert {path.parent for path in PACKAGE.rglob("*.py")} == {PACKAGE}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward(module):
    own = {name.split(".")[1] for name in imports(PACKAGE / f"{module}.py") if name.startswith("atlasae.")}
    assert [name for name in own if FLOOR[name] >= FLOOR[module]] == []


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_have_one_door(module):
    libraries = {name.split(".")[0] for name in imports(PACKAGE / f"{module}.py")}
    assert [library for library in libraries if module not in DOORS.get(library, {module})] == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_tests_do_not_import_each_other(path):
    tests = {test.stem for test in TESTS if test.stem.startswith("test_")}
    assert [name for name in imports(path) if name.split(".")[0] in tests] == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_patches_name_objects(path):
    """A dotted string outlives what it names: nobody sees it when a module is renamed or taken apart."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    patches = [node for node in calls if node.args and ast.unparse(node.func).endswith(("setattr", "delattr", "patch"))]
    assert [ast.unparse(node) for node in patches if isinstance(node.args[0], ast.Constant | ast.JoinedStr)] == []


@pytest.mark.parametrize("path", [*TESTS, PACKAGE.parent / "scripts" / "fuzz.py"], ids=lambda path: path.stem)
def test_no_test_looks_at_a_clock(path):
    """What a busy machine makes late is no failure: CPU time is measured."""
    clocks = {"time.time", "time.monotonic", "time.perf_counter", "time.sleep"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert (
        clocks & ({ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | imports(path))
        == set()
    )
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "timeout"] == []


def test_init_only_tells_where_names_are():
    docstring, library, attached = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)
    assert ast.unparse(library) == "import lazy_loader"
    assert ast.unparse(attached).endswith("= lazy_loader.attach_stub(__name__, __file__)")
    assert all(isinstance(node, ast.ImportFrom) for node in ast.parse((PACKAGE / "__init__.pyi").read_text()).body[1:])


def test_the_commands_start_without_what_takes_long():
    heavy = {"torch", "uproot", "awkward", "numpy", "rich", "fsspec"}
    code = f"import atlasae.cli, sys; print(sorted({heavy} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout == "[]\n"


LEFT_ALONE = """
import contextlib, logging, pkgutil, signal, sys, warnings, importlib
for name in (*libraries, "vector.backends.awkward", "pyarrow.parquet", "torch.onnx"):  # which may have their own habits
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
import fontTools.subset, matplotlib.backends.backend_pdf, matplotlib.mathtext, mplhep, numpy, torch, uproot

def state():
    names = ("matplotlib", "matplotlib.font_manager", "matplotlib.mathtext", "matplotlib.backends.backend_pdf")
    loggers = [logging.getLogger(name) for name in (*names, "fontTools", "fontTools.subset", "torch", "root")]
    classes = {name: (found, dict(getattr(found, "known_versions", {}))) for name, found in uproot.classes.items()}
    unpackers = {k: dict(vars(v)) for k, v in vars(uproot.compression).items() if k.startswith("_decompress_Z")}
    return {
        "uproot": (dict(vars(uproot.compression)), unpackers, classes),
        "loggers": [(one.level, one.disabled, one.propagate, [*one.handlers], [*one.filters]) for one in loggers],
        "logging": (logging.root.level, [*logging.root.handlers], logging.root.manager.disable),
        "matplotlib": dict(matplotlib.rcParams),
        "warnings": [*warnings.filters],
        "torch": (torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state().tolist()),
        "numpy": (numpy.geterr(), numpy.random.get_state()[1].tolist()),
        "python": (sys.getrecursionlimit(), sys.excepthook, [signal.getsignal(one) for one in signal.valid_signals()]),
    }

before = state()
import atlasae
for module in pkgutil.iter_modules(atlasae.__path__):
    importlib.import_module(f"atlasae.{module.name}")
imported = state()
atlasae.compress_file(path, f"{path}.small.root")
atlasae.decompress_file(f"{path}.small.root", f"{path}.back.root")
with atlasae.open(f"{path}.small.root") as tree:
    tree.arrays()
figure = atlasae.plotting.spectrum([0, 1, 2], [3, 4], [3, 4], [0, 0], atlasae.plotting.Quantity("x"))
for suffix in ("png", "pdf"):
    atlasae.plotting.save(figure, atlasae.remote.located(f"{path}.{suffix}"))
used = state()
print([name for after in (imported, used) for name in before if after[name] != before[name]])
"""


def test_other_libraries_are_left_as_they_were(jets_file):
    code = f"path, libraries = {str(jets_file)!r}, {sorted(DOORS)}\n{LEFT_ALONE}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")


@pytest.mark.parametrize("command", ["compress", "decompress", "info", "verify"])
def test_packed_files_need_no_torch(command, tmp_path):
    path = Path(__file__).parent / "golden" / "format-1" / "packed.root"
    if command == "compress":
        path = Path(__file__).parents[1] / "data" / "jets.root"
    out = {"compress": [tmp_path / "small.root", "--layout", "packed"], "decompress": [tmp_path / "back.root"]}
    arguments = ["atlasae", command, str(path), *map(str, out.get(command, []))]
    code = f"import atexit, sys; sys.argv = {arguments}; atexit.register(lambda: print('torch' in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", f"{code}; from atlasae.cli import main; main()"], capture_output=True, check=True
    )
    assert found.stdout.decode().splitlines()[-1] == "False"
