"""A package imports only from those left of it, a heavy library has one door, a public name one place."""

import ast
import graphlib
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "atlasae"
TESTS = sorted(Path(__file__).parent.rglob("*.py"))
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
)

# From left to right; packages in one pair of brackets don't import each other.
ORDER = [
    *(
        ("errors",),
        ("threads",),
        ("report",),
        ("pages",),
        ("native",),
        ("xz",),
        ("files",),
        ("graft",),
        ("jets",),
        ("codecs",),
    ),
    *(("training",), ("compression",), ("coffea", "export", "reports"), ("commands",), ("__main__",)),
]
RANK = {package: rank for rank, packages in enumerate(ORDER) for package in packages}
MOST_MODULES, MOST_PACKAGES = 16, 9

DOORS = {
    "uproot": {"files.trees", "files.writing", "files.sources", "files.leaves", "files.damage"},
    "torch": {
        *("codecs.chain", "codecs.bottleneck", "codecs.model", "codecs.arrays", "training.loop", "training.train"),
        *("training.checkpoints", "reports.classifier", "reports.benchmark"),
        *("export.cpp", "export.onnx", "export.export"),
    },
    "click": {"commands.cli", "commands.options", "commands.running"},
    "rich": {"report", "commands.running"},
    "safetensors": {"codecs.model", "codecs.priors"},
    "constriction": {"codecs.entropy"},
    "ctypes": {"native.library"},
    "pandas": {"files.pickles", "files.tables"},
    "pyarrow": {"files.parquet"},
    "h5py": {"files.datasets"},
    "hist": {"reports.histograms"},
    "matplotlib": {"reports.plotting"},
    "mplhep": {"reports.plotting"},
    "PIL": {"reports.plotting"},
    "pcodec": {"reports.peers"},
    "pysz": {"reports.peers"},
    "vector": {"compression.tree"},
    "dask": {"commands.workers"},
    "distributed": {"commands.workers"},
    "onnx": {"export.export"},
    "fsspec": {"files.remote"},
    "aiohttp": {"files.remote"},
    "XRootD": {"files.remote"},
}


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a module, which is parsed once."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imports(path: Path) -> set[str]:
    """Dotted names of all imports of a module, in its functions too."""
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = ".".join(filter(None, ["atlasae" if node.level else "", node.module]))
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


def path_of(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def own_imports(module: str) -> set[str]:
    """The modules of atlasae that a module imports."""
    names = {name.removeprefix("atlasae.") for name in imports(path_of(module)) if name.startswith("atlasae.")}
    return {known for known in MODULES for name in names if name == known or name.startswith(f"{known}.")}


def definitions(module: str) -> set[str]:
    """The public names that a module defines."""
    names: set[str] = set()
    for node in ast.parse(path_of(module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_every_module_is_in_one_package_that_is_not_too_large():
    packages = defaultdict(list)
    for module in MODULES:
        packages[module.partition(".")[0]].append(module)
    assert set(packages) == set(RANK)
    assert sum(len(modules) > 1 for modules in packages.values()) <= MOST_PACKAGES
    assert max(map(len, packages.values())) <= MOST_MODULES
    assert not any(module.endswith("utils") for module in MODULES)
    assert {path.parent.parent for path in PACKAGE.rglob("*.py")} <= {PACKAGE, PACKAGE.parent}


@pytest.mark.parametrize("module", MODULES)
def test_a_package_imports_only_from_those_left_of_it(module):
    own = module.partition(".")[0]
    others = {name.partition(".")[0] for name in own_imports(module)} - {own}
    assert [other for other in others if RANK[other] >= RANK[own]] == []


def test_imports_run_in_no_circle():
    graphlib.TopologicalSorter({module: own_imports(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_have_one_door(module):
    libraries = {name.split(".")[0] for name in imports(path_of(module))}
    assert [library for library in libraries if module not in DOORS.get(library, {module})] == []


def test_a_public_name_has_one_place():
    modules_of = defaultdict(list)
    for module in MODULES:
        for name in definitions(module):
            modules_of[name].append(module)
    assert {name: modules for name, modules in modules_of.items() if len(modules) > 1} == {}


def test_packages_hold_no_code():
    for package in PACKAGE.glob("*/__init__.py"):
        (docstring,) = ast.parse(package.read_text(encoding="utf-8")).body
        assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_tests_do_not_import_each_other(path):
    tests = {test.stem for test in TESTS if test.stem.startswith("test_")}
    assert [name for name in imports(path) if name.split(".")[0] in tests] == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_patches_name_objects(path):
    """A dotted string survives renaming of the module that it names, and then patches nothing."""
    calls = [node for node in nodes(path) if isinstance(node, ast.Call)]
    patches = [node for node in calls if node.args and ast.unparse(node.func).endswith(("setattr", "delattr", "patch"))]
    assert [ast.unparse(node) for node in patches if isinstance(node.args[0], ast.Constant | ast.JoinedStr)] == []


@pytest.mark.parametrize("path", [*TESTS, PACKAGE.parent / "scripts" / "fuzz.py"], ids=lambda path: path.stem)
def test_no_test_looks_at_a_clock(path):
    """A busy machine may make anything late: only CPU time is measured."""
    clocks = {"time.time", "time.monotonic", "time.perf_counter", "time.sleep"}
    attributes = [node for node in nodes(path) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    assert clocks & ({ast.unparse(node) for node in attributes} | imports(path)) == set()
    assert [node.lineno for node in nodes(path) if isinstance(node, ast.keyword) and node.arg == "timeout"] == []


def test_init_only_tells_where_names_are():
    docstring, library, attached = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)
    assert ast.unparse(library) == "import lazy_loader"
    assert ast.unparse(attached).endswith("= lazy_loader.attach_stub(__name__, __file__)")
    assert all(isinstance(node, ast.ImportFrom) for node in ast.parse((PACKAGE / "__init__.pyi").read_text()).body[1:])


def test_the_commands_start_without_what_takes_long():
    heavy = {"torch", "uproot", "awkward", "numpy", "rich", "fsspec"}
    code = f"import atlasae.commands.cli, sys; print(sorted({heavy} & sys.modules.keys()))"
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
for module in pkgutil.walk_packages(atlasae.__path__, "atlasae."):
    importlib.import_module(module.name)
imported = state()
atlasae.compress_file(path, f"{path}.small.root")
atlasae.decompress_file(f"{path}.small.root", f"{path}.back.root")
with atlasae.open(f"{path}.small.root") as tree:
    tree.arrays()
counted = atlasae.reports.panels.Counted([0, 1, 2], [3, 4], [3, 4], [0, 0])
figure = atlasae.reports.plotting.spectrum(counted, atlasae.reports.panels.Quantity("x"))
for suffix in ("png", "pdf"):
    atlasae.reports.plotting.save(figure, atlasae.files.remote.located(f"{path}.{suffix}"))
used = state()
print([name for after in (imported, used) for name in before if after[name] != before[name]])
"""


def test_other_libraries_are_left_as_they_were(jets_file):
    code = f"path, libraries = {str(jets_file)!r}, {sorted(DOORS)}\n{LEFT_ALONE}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")


COMMANDS = """
import sys
from atlasae.commands.cli import main
for words in arguments:
    sys.argv = ["atlasae", *words]
    try:
        main()
    except SystemExit as done:
        print(words[0], done.code, "torch" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_jets_within_a_bound_need_no_torch(layout, tmp_path):
    jets, small = Path(__file__).parents[1] / "data" / "jets.root", tmp_path / "small.root"
    golden = Path(__file__).parent / "golden" / "format-1" / ("packed.root" if layout == "packed" else "default.root")
    lines = [["compress", jets, small, "--layout", layout], ["info", golden], ["verify", golden]]
    lines.append(["decompress", golden, tmp_path / "back.root"])
    code = f"arguments = {[[str(word) for word in line] for line in lines]}{COMMANDS}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stderr.splitlines() == [f"{name} 0 False" for name, *_ in lines]
