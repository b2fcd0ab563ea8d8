"""Every module has a floor, imports only from floors below it, and leaves heavy libraries to their one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "atlasae"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")

# An entry may stand here before its module does; a module may not be without its entry.
FLOORS = [
    {"errors", "display"},
    {"remote", "schema", "coordinates", "plotting", "baskets", "grid", "coding", "beside", "bottleneck", "pickles"},
    {"columns", "terminal", "fields", "invertible", "precision", "metrics", "variables", "lattice", "priors"},
    {"storage", "packed", "model", "rootio", "tables", "tallies", "training", "running"},
    {"codec", "collection", "classifier", "recipes", "container", "planning", "targets", "journal"},
    {"learning", "checkpoints", "copying", "packing", "counting", "cpp", "graphs", "encoding"},
    {"restoring", "compressing"},
    {"pipeline", "reading", "export"},
    {"pairs", "peers", "verification"},
    {"benchmark", "evaluation"},
    {"figures", "distributed", "batch"},
    {"many", "options"},
    {"cli"},
]
FLOOR = {module: height for height, modules in enumerate(FLOORS) for module in modules}

DOORS = {
    "uproot": {"rootio"},
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


def imports(module: str) -> set[str]:
    """Dotted names of all that a module imports, in its functions too."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
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
    own = {name.split(".")[1] for name in imports(module) if name.startswith("atlasae.")}
    assert [name for name in own if FLOOR[name] >= FLOOR[module]] == []


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_have_one_door(module):
    libraries = {name.split(".")[0] for name in imports(module)}
    assert [library for library in libraries if module not in DOORS.get(library, {module})] == []


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
