"""The C++ header compared with Python's decoding: all layouts of jets, exact jets and both architectures."""

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import random_jets, read_tree, run_main, succeeded, untrained_bottleneck, write_layout, write_tree
from cpp import HOSTILE, TOKENS, compiled, quickly_compiled

from atlasae.codecs.bottleneck import ACTIVATIONS
from atlasae.errors import DamagedFileError
from atlasae.export import export
from atlasae.export.cpp import cpp_header
from atlasae.jets.collections import MEV_PER_UNIT, Collection
from atlasae.jets.coordinates import MASS_FLOOR

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here to compile the header with"),
]

JETS = Path(__file__).parents[2] / "data" / "jets.root"
VARIABLES = ("pt", "eta", "phi", "m")
TYPES = {"float32": "float", "float64": "double"}

# Reads the events of a file of raw numbers, as RDataFrame passes them, and writes one variable of all jets.
PROGRAM = """
#include "jets.h"
#include "jets.h"
#include <cstdio>
template <class T> std::vector<T> take(std::FILE* in, std::size_t n) {
    std::vector<T> values(n);
    values.resize(std::fread(values.data(), sizeof(T), n, in));
    return values;
}
int main(int, char** names) {
    std::FILE *in = std::fopen(names[1], "rb"), *out = std::fopen(names[2], "wb");
    const int entries = take<int>(in, 1)[0];
    for (int e = 0; e < entries; ++e) {
        const int jets = take<int>(in, 1)[0], kept = take<int>(in, 1)[0];
        const auto z0 = take<float>(in, jets), z1 = take<float>(in, jets), z2 = take<float>(in, jets);
        const auto index = take<int>(in, kept);
        %s
    }
    return std::fclose(out);
}
"""
JAGGED = """{{
    const auto exact = take<{type}>(in, kept);
    const auto values = atlasae::{v}(z0, z1, z2, index, exact);
    std::fwrite(values.data(), sizeof({type}), values.size(), out);
}}"""
FLAT = """{{
    const auto exact = take<{type}>(in, kept);
    const {type} value = atlasae::{v}(z0[0], z1[0], z2[0], index, exact);
    std::fwrite(&value, sizeof value, 1, out);
}}"""


def read_by_cpp(small: Path, folder: Path, optimised: bool) -> dict[str, np.ndarray]:
    """The jets of a compressed file decoded by its header, by branch and flat."""
    succeeded("export", small, "--cpp", "-o", folder / "jets.h", "--quiet", "--force")
    run = runs(small)[0]
    collection = run["collections"][0]["collection"]
    events = read_tree(small, run["tree"])
    prefix, variables = collection["prefix"], collection["branches"]
    dtypes = {v: np.dtype(dtype) for v, dtype in collection["dtypes"].items()}
    columns = {f"z{j}": np.dtype(np.float32) for j in range(3)} | {"exact_index": np.dtype(np.int32)}
    columns |= {f"exact_{v}": dtypes[v] for v in variables}
    body = JAGGED if collection["jagged"] else FLAT
    reads = "".join(body.format(type=TYPES[dtypes[v].name], v=v) for v in variables)
    program = PROGRAM % reads  # networks, which are inlined, take four times as long without any optimisation
    main = compiled(folder, program, "-O1") if optimised else quickly_compiled(folder, program)
    parts = {name: by_event(events[f"{prefix}{name}"], dtype) for name, dtype in columns.items()}
    raw = [np.int32(len(parts["z0"])).tobytes()]
    for event in zip(*parts.values(), strict=True):
        jets, kept = len(event[0]), len(event[3])
        raw += [np.int32(jets).tobytes(), np.int32(kept).tobytes(), *(values.tobytes() for values in event)]
    (folder / "in").write_bytes(b"".join(raw))
    subprocess.run([main, folder / "in", folder / "out"], check=True)
    return split((folder / "out").read_bytes(), events[f"{prefix}z0"], variables, dtypes)


def by_event(array: ak.Array, dtype: np.dtype) -> list[np.ndarray]:
    """The values of each event; one each of a flat branch."""
    counts = ak.to_numpy(ak.num(array)) if array.ndim > 1 else np.ones(len(array), int)
    values = ak.to_numpy(ak.flatten(array, axis=None)).astype(dtype)
    return np.split(values, counts.cumsum()[:-1]) if len(counts) else []


def split(
    raw: bytes, latents: ak.Array, variables: dict[str, str], dtypes: dict[str, np.dtype]
) -> dict[str, np.ndarray]:
    """The output of the program, which is event by event and in an event variable by variable."""
    counts = ak.num(latents).to_list() if latents.ndim > 1 else [1] * len(latents)
    found: dict[str, list[np.ndarray]] = {branch: [] for branch in variables.values()}
    start = 0
    for count in counts:
        for v, branch in variables.items():
            found[branch].append(np.frombuffer(raw, dtypes[v], count, start))
            start += count * dtypes[v].itemsize
    assert start == len(raw)
    return {branch: np.concatenate(parts) for branch, parts in found.items()}


def runs(small: Path) -> list[dict[str, Any]]:
    with uproot.open(small) as file:
        return [json.loads(bytes(text)) for text in file["atlasae/runs"]["json"].array().to_list()]


def check_like_python(small: Path, folder: Path, optimised: bool = False) -> dict[str, np.ndarray]:
    """Every jet is as `atlasae decompress` writes it: to 1e-6, relative where bounds are, or bit for bit if exact."""
    found = read_by_cpp(small, folder, optimised)
    run = runs(small)[0]
    collection = run["collections"][0]["collection"]
    mass, floor = collection["branches"].get("m"), MASS_FLOOR / MEV_PER_UNIT[collection["units"]]
    succeeded("decompress", small, folder / "back.root", "--quiet", "--force")
    back, prefix = read_tree(folder / "back.root", run["tree"]), run["collections"][0]["collection"]["prefix"]
    events = read_tree(small, run["tree"])
    first, index = next(iter(found)), events[f"{prefix}exact_index"]
    counts = ak.num(back[first]) if back[first].ndim > 1 else np.ones(len(index), np.int64)
    kept = ak.to_numpy(ak.flatten(np.cumsum(counts) - counts + index))
    for branch, values in found.items():
        python = ak.to_numpy(ak.flatten(back[branch], axis=None))
        assert values.dtype == python.dtype
        atol = 1e-6 * floor if branch == mass else 1e-7
        np.testing.assert_allclose(values, python, rtol=1e-6, atol=atol, err_msg=branch)
        assert values[kept].tobytes() == python[kept].tobytes()
    assert len(kept) == run["collections"][0]["exact_jets"]
    return found


@pytest.mark.parametrize("precision", ["1e-3", "full"])
def test_every_jet_of_the_packaged_file_is_as_python_decodes_it(precision, tmp_path):
    succeeded("compress", JETS, tmp_path / "small.root", "--precision", precision, "--quiet")
    found = check_like_python(tmp_path / "small.root", tmp_path, optimised=True)
    original = read_tree(JETS, "CollectionTree")
    for branch, values in found.items():
        before = ak.to_numpy(ak.flatten(original[branch])).astype(np.float64)
        size = {"pt": before, "m": np.maximum(np.abs(before), 100)}.get(branch.rpartition(".")[2], 1.0)
        away = np.abs(values - before)
        if branch.endswith("phi"):
            away = np.minimum(away, 2 * np.pi - away)
        assert (away / size).max() <= 1e-3, branch


@pytest.mark.parametrize(
    ("layout", "precision"),
    [("nanoaod", "5e-6"), ("flat", "5e-6"), ("energy", "2e-5"), ("cartesian", "2e-5"), ("edm4hep", "2e-5")],
)
def test_every_layout_is_as_python_decodes_it(layout, precision, tmp_path):
    """At a precision at which three floats don't hold all jets: some are exact."""
    files = write_layout(tmp_path / "in.root", layout), tmp_path / "small.root"
    report = succeeded("compress", *files, "--json", "--precision", precision).report
    assert 0 < report["exact_jets"] < report["jets"]
    check_like_python(tmp_path / "small.root", tmp_path)


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("nanoaod", ("--precision", "resolution/20")),
        ("energy", ("--precision", "resolution/50", "--no-dither")),
        ("flat", ("--precision", "resolution/20", "--resolution", "cms,pt=0:0:0.1")),
        ("nanoaod", ("--precision", "pt=1e-3,eta=resolution/50,phi=1e-3,m=resolution/20")),
    ],
)
def test_bounds_by_resolution_are_as_python_decodes_them(layout, options, tmp_path):
    write_layout(tmp_path / "in.root", layout)
    succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", "--quiet", *options)
    check_like_python(tmp_path / "small.root", tmp_path)
    onnx = run_main("export", tmp_path / "small.root", "--onnx", "-o", tmp_path / "onnx")
    assert onnx.failed(2, "bounds by resolution", "--cpp") and not (tmp_path / "onnx").exists()


def test_doubles_in_gev_are_as_python_decodes_them(tmp_path):
    jets = random_jets(60)
    branches = {v: ak.Array(jets[v] / (1 if v in ("eta", "phi") else 1000)) for v in ("pt", "eta", "phi", "E")}
    write_tree(tmp_path / "in.root", "jets", branches)
    succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", "--quiet", "--units", "GeV")
    found = check_like_python(tmp_path / "small.root", tmp_path)
    assert {values.dtype for values in found.values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("jagged", [True, False])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_padding_is_as_python_decodes_it(jagged, dtype, tmp_path):
    jets = random_jets(300)
    branches = {v: jets[v].astype(dtype) for v in ("pt", "eta", "phi", "E")}
    for values in branches.values():
        values[::3], values[1::7] = -999, np.nan
    branches["pt"][5] = 0  # one exact jet
    arrays = {f"jet_{v}": ak.unflatten(x, [0, 2, 4] * 50) if jagged else ak.Array(x) for v, x in branches.items()}
    write_tree(tmp_path / "in.root", "jets", arrays, dict.fromkeys(arrays, "njet") if jagged else {})
    words = "--units", "MeV", "--precision", "3e-2", "--json"
    report = succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", *words).report
    assert report["exact_jets"] == 1
    assert runs(tmp_path / "small.root")[0]["collections"][0]["codec"]["words"][2] == []  # two words hold all bits
    found = check_like_python(tmp_path / "small.root", tmp_path)
    for v, values in branches.items():
        assert found[f"jet_{v}"][::3].tobytes() == values[::3].tobytes()
    onnx = run_main("export", tmp_path / "small.root", "--onnx", "-o", tmp_path / "onnx")
    assert onnx.failed(2, "has padding", "--cpp") and not (tmp_path / "onnx").exists()


def test_phi_of_a_full_turn_is_as_python_decodes_it(tmp_path):
    jets = random_jets(300)
    branches = {v: ak.Array((x / 1000 if v in ("pt", "m") else x).astype(np.float32)) for v, x in jets.items()}
    branches["phi"] = np.round(branches["phi"] % (2 * np.pi) * 32) / 32  # near 2 pi too
    write_tree(tmp_path / "in.root", "jets", {v: branches[v] for v in ("pt", "eta", "phi", "m")})
    options = ("--quiet", "--units", "GeV", "--precision", "0.1")
    succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", *options)
    found = check_like_python(tmp_path / "small.root", tmp_path)
    assert found["phi"].min() >= 0 and 6.2 < found["phi"].max() < 2 * np.pi
    onnx = run_main("export", tmp_path / "small.root", "--onnx", "-o", tmp_path / "onnx")
    assert onnx.failed(2, "[0, 2 pi)", "--cpp") and not (tmp_path / "onnx").exists()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("columns", [("pt", "eta", "phi", "E"), ("m", "phi", "eta", "pt")])
def test_every_bottleneck_is_as_python_decodes_it(activation, columns, tmp_path):
    """An untrained network keeps almost no jet within its precision; without bounds, none is exact."""
    (tmp_path / "mlp.safetensors").write_bytes(untrained_bottleneck(activation, columns))
    write_layout(tmp_path / "in.root", "nanoaod")
    options = ("--model", tmp_path / "mlp.safetensors", "--precision", "none", "--quiet")
    succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", *options)
    check_like_python(tmp_path / "small.root", tmp_path)


def test_latents_of_another_grid_are_refused(compressed, tmp_path):
    succeeded("export", compressed, "--cpp", "-o", tmp_path / "jets.h", "--quiet")
    program = """#include "jets.h"
    int main(int n, char**) {
        const float z = n > 1 ? 0.5f : 1.9999999f;
        try { atlasae::pt({z}, {z}, {z}, {}, {}); } catch (const std::invalid_argument&) { return 0; }
        return 1;
    }"""
    main = compiled(tmp_path, program, "-Og")
    for arguments in ([], ["low"]):
        subprocess.run([main, *arguments], check=True)


def test_two_headers_go_into_one_program(compressed, tmp_path):
    for name, source in (("one", compressed), ("two", "default")):
        succeeded("export", source, "--cpp", "-o", tmp_path / f"{name}.h", "--quiet")
    lines = [f'#define ATLASAE_NAMESPACE {name}\n#include "{name}.h"\n' for name in ("one", "two")]
    program = (
        "".join(lines) + "int main() { return one::pt({}, {}, {}, {}, {}).size() + two::m({}, {}, {}, {}, {}).size(); }"
    )
    subprocess.run([quickly_compiled(tmp_path, program)], check=True)


def test_rounded_jets_are_rounded_as_python_rounds_them(tmp_path):
    """Rounded finer than the input: cut mantissas and grids come back, those of powers of two bit for bit."""
    jets = random_jets(300)
    rounded = (np.round(jets["pt"] / 500) / 2, np.round(jets["eta"], 1), jets["phi"], np.round(jets["m"] / 250) / 4)
    columns = dict(zip(VARIABLES, rounded, strict=True))
    branches = {f"Jet_{v}": ak.Array(column.astype(np.float32)) for v, column in columns.items()}
    branches["Jet_phi"] = ak.Array((ak.to_numpy(branches["Jet_phi"]).view(np.uint32) & 0xFFFFC000).view(np.float32))
    write_tree(tmp_path / "in.root", "Events", branches)
    precision = "pt=1e-4,eta=1e-3,phi=1e-6,m=1e-4"
    succeeded("compress", tmp_path / "in.root", tmp_path / "small.root", "--units", "GeV", "--precision", precision)
    assert set(runs(tmp_path / "small.root")[0]["collections"][0]["collection"]["roundings"]) == {*VARIABLES}
    found = check_like_python(tmp_path / "small.root", tmp_path)
    np.testing.assert_allclose(found["Jet_eta"], branches["Jet_eta"], atol=1e-6)
    for branch in ("Jet_pt", "Jet_m"):
        assert found[branch].tobytes() == ak.to_numpy(branches[branch]).tobytes()


# --- names that a file chooses


@functools.cache
def default() -> export.Exported:
    return export.exported("default", None, "1e-2")


def header(collection: Collection, made: str = "for a test") -> str:
    return cpp_header(default().codec, collection, made)


def of_jets(jagged: bool, branches: dict[str, str], prefix: str, **more: Any) -> Collection:
    facts = {"dtypes": dict.fromkeys(branches, "<f4"), "units": "GeV", "counter": None} | more
    return Collection(prefix, prefix, branches, jagged=jagged, **facts)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_file_becomes_code(name, tmp_path):
    for jagged in (True, False):
        plain = header(of_jets(jagged, {v: f"Jet_{v}" for v in ("pt", "eta", "phi", "m")}, "Jet_"))
        odd = header(of_jets(jagged, {v: f"{v}{name}" for v in ("pt", "eta", "phi", "m")}, name), f"of '{name}'")
        assert TOKENS.sub("", odd) == TOKENS.sub("", plain)
        assert odd.isascii()
        (tmp_path / f"jagged{jagged:d}.h").write_text(odd)
    lines = [f'#define ATLASAE_NAMESPACE n{i}\n#include "jagged{i}.h"\n' for i in (0, 1)]  # a program that reads both
    (tmp_path / "main.cpp").write_text("".join(lines))
    strict = ["-std=c++17", "-fsyntax-only", "-trigraphs", "-Wall", "-Wcomment", "-Werror"]
    subprocess.run(["g++", *strict, tmp_path / "main.cpp"], check=True)


@pytest.mark.parametrize(
    ("branches", "more"),
    [
        ({"pt": "a", "eta": "b", "phi": "c", "m() { int hostile; } int x": "d"}, {}),
        ({"pt": "a", "eta": "b", "phi": "c"}, {}),
        ({"pt": "a", "eta": "b", "phi": "c", "m": "d"}, {"units": "GeV; int hostile"}),
        ({"pt": "a", "eta": "b", "phi": "c", "m": "d"}, {"dtypes": dict.fromkeys(("pt", "eta", "phi", "m"), "<i4")}),
    ],
)
def test_words_that_become_code_are_those_of_jets(branches, more):
    with pytest.raises(DamagedFileError, match="collection 'Jet_' is damaged: its variables, types or units"):
        header(of_jets(True, branches, "Jet_", **more))
