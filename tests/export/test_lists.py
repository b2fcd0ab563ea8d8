"""The C++ header of a list of variables beside Python: every bit of every row, and words that are no row's."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from codec_contract import GOLDEN
from conftest import read_tree, refused, succeeded, write_tree
from cpp import HOSTILE, TOKENS, quickly_compiled

from atlasae.codecs.floats import FloatsCodec
from atlasae.compression.format import read_contents
from atlasae.errors import DamagedFileError
from atlasae.export.export import Exported, exported
from atlasae.export.lists import list_header
from atlasae.files.trees import open_source
from atlasae.jets.collections import Collection
from atlasae.jets.variables import VariableList

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here to compile the header with"),
]

TYPES = {
    "<f4": "float", "<f8": "double", "|b1": "bool", "|i1": "char", "|u1": "unsigned char", "<i2": "short",
    "<u2": "unsigned short", "<i4": "int", "<u4": "unsigned", "<i8": "long long", "<u8": "unsigned long long",
}  # fmt: skip

# Reads the entries of a file of raw numbers, as RDataFrame passes them, and writes every variable of all rows.
PROGRAM = """
#include "jets.h"
#include "jets.h"
#include <cstdio>
template <class T> atlasae::List<T> take(std::FILE* in, std::size_t n) {
    atlasae::List<T> values;
    for (T x; n && std::fread(&x, sizeof x, 1, in); --n) values.push_back(x);
    return values;
}
template <int i> void write(std::FILE* in, std::FILE* out, atlasae::Rows& rows, const atlasae::List<int>& index) {
    using T = atlasae::detail::Type<i>;
    for (const T x : rows.list<i>(index, take<T>(in, index.size()))) std::fwrite(&x, sizeof x, 1, out);
}
int main(int, char** names) {
    std::FILE *in = std::fopen(names[1], "rb"), *out = std::fopen(names[2], "wb");
    const int entries = take<int>(in, 1)[0];
    atlasae::Rows rows;
    for (int e = 0; e < entries; ++e) {
        const int n = take<int>(in, 1)[0], kept = take<int>(in, 1)[0];
        atlasae::List<float> z[WORDS];
        const float* words[WORDS];
        for (int j = 0; j < WORDS; ++j) z[j] = take<float>(in, n), words[j] = z[j].data();
        rows.read(words, n);
        const auto index = take<int>(in, kept);
        WRITES
    }
    return std::fclose(out);
}
"""
BRANCHES = {
    "x_size": ("log", "<f4", 1e-3), "x_flag": ("categorical", "|b1", 0), "x_place": ("linear", "<f8", 1e-2),
    "x_phi": ("angle", "<f4", 1e-3), "x_turn": ("angle", "<f8", 1e-2), "x_charge": ("asinh", "<f4", 1e-2),
    "x_count": ("integer", "<i2", 0), "x_small": ("integer", "|i1", 0), "x_large": ("linear", "<u8", 3),
    "x_kind": ("categorical", "<f4", 0),
}  # fmt: skip


def columns(n: int) -> dict[str, np.ndarray]:
    """Numbers for `BRANCHES`: some without a coordinate, some rows that repeat, and some far from all others."""
    rng = np.random.default_rng(3)
    size = rng.exponential(50, n) + 1
    found = {
        "x_size": size, "x_flag": rng.random(n) < 0.2, "x_place": rng.normal(0, 5, n) + np.log(size),
        "x_phi": rng.uniform(-np.pi, np.pi, n), "x_turn": rng.uniform(0, 2 * np.pi, n),
        "x_charge": rng.normal(0, 100, n), "x_count": size // 7, "x_small": rng.integers(-9, 9, n),
        "x_large": size * 1000, "x_kind": rng.choice([-1, 0, 5], n),
    }  # fmt: skip
    found = {name: x.astype(BRANCHES[name][1]) for name, x in found.items()}
    found["x_size"][3:40:9] = [np.nan, np.inf, 0, -2, 1e38]
    found["x_place"][[7, 8]], found["x_charge"][[50, 51, 52]] = [np.nan, 1e300], [0, -0.0, -np.inf]
    for x in found.values():
        x[60::20] = x[60]
    found["x_size"][60::20], found["x_place"][60::20] = -999, np.nan  # padding
    return found


def write_list(folder: Path, counts: np.ndarray | None) -> Path:
    """A file with these numbers, in lists or one a row, and the list of variables beside it."""
    text = [f'branch="{v}"\ncoordinate="{kind}"\nprecision={bound}\n' for v, (kind, _, bound) in BRANCHES.items()]
    (folder / "list.toml").write_text("".join(f"[[variable]]\n{one}scale=10\n" for one in text))
    n = int(counts.sum()) if counts is not None else 900
    branches = {v: ak.Array(x) if counts is None else ak.unflatten(x, counts) for v, x in columns(n).items()}
    return write_tree(folder / "in.root", "Events", branches, {} if counts is None else dict.fromkeys(branches, "nx"))


def by_entry(array: ak.Array, dtype: str) -> list[np.ndarray]:
    counts = ak.to_numpy(ak.num(array)) if array.ndim > 1 else np.ones(len(array), int)
    return np.split(ak.to_numpy(ak.flatten(array, axis=None)).astype(dtype), counts.cumsum()[:-1])


def read_by_cpp(small: Path, folder: Path) -> tuple[Collection, dict[str, np.ndarray]]:
    """The variables of a compressed file decoded by its header, by branch and flat."""
    succeeded("export", small, "--cpp", "-o", folder / "jets.h", "--quiet", "--force")
    with open_source(small) as source:
        run = read_contents(source).runs[0]
    collection = run.collections[0].collection
    branches, dtypes = collection.branches, [collection.dtypes[v] for v in collection.variables]
    writes = " ".join(f"write<{i}>(in, out, rows, index);" for i in range(len(dtypes)))
    program = PROGRAM.replace("WORDS", str(collection.words)).replace("WRITES", writes)
    main, events = quickly_compiled(folder, program), read_tree(small, run.tree)
    kinds = ["<f4"] * collection.words + ["<i4"] + dtypes
    names = [*collection.latents, *collection.exact.values()]
    parts = [by_entry(events[name], kind) for name, kind in zip(names, kinds, strict=True)]
    raw = [np.int32(len(parts[0])).tobytes()]
    for entry in zip(*parts, strict=True):
        raw += [np.int32([len(entry[0]), len(entry[collection.words])]).tobytes(), *(x.tobytes() for x in entry)]
    (folder / "in").write_bytes(b"".join(raw))
    subprocess.run([main, folder / "in", folder / "out"], check=True)
    out, start, found = (folder / "out").read_bytes(), 0, {branch: [] for branch in branches.values()}
    for words in parts[0]:
        for branch, dtype in zip(branches.values(), dtypes, strict=True):
            found[branch].append(np.frombuffer(out, dtype, len(words), start))
            start += found[branch][-1].nbytes
    assert start == len(out)
    return collection, {branch: np.concatenate(values) for branch, values in found.items()}


def check_like_python(small: Path, folder: Path) -> None:
    """All numbers are as `atlasae decompress` writes them, bit for bit but for the last digits of float64."""
    collection, found = read_by_cpp(small, folder)
    succeeded("decompress", small, folder / "back.root", "--quiet", "--force")
    with open_source(small) as source:
        back = read_tree(folder / "back.root", read_contents(source).runs[0].tree)
    for branch, values in found.items():
        python = ak.to_numpy(ak.flatten(back[branch], axis=None)).astype(values.dtype)
        assert values.dtype == np.dtype(collection.dtypes[branch])
        if values.dtype == np.float64:
            np.testing.assert_allclose(values, python, rtol=1e-13, atol=1e-13, err_msg=branch)
        else:
            assert values.tobytes() == python.tobytes(), branch


@pytest.mark.parametrize("jagged", [True, False])
@pytest.mark.parametrize("more", [(), ("--no-dither",)])
def test_every_number_is_as_python_decodes_it(quick_model, jagged, more, tmp_path):
    counts = np.random.default_rng(4).integers(0, 11, 180) if jagged else None
    path, small = write_list(tmp_path, counts), tmp_path / "small.root"
    report = succeeded("compress", path, small, "--variables", tmp_path / "list.toml", *more, "--json").report
    assert 7 <= report["exact_jets"] <= 30
    found = exported(str(small), None, None)
    assert isinstance(found.codec, FloatsCodec) and len(found.codec.padding.rows) == 1
    assert found.codec.variables.variables[4].full_turn and bool(found.codec.grid.dither) == (not more)
    check_like_python(small, tmp_path)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_lists_of_older_files_are_as_python_decodes_them(version, tmp_path):
    check_like_python(GOLDEN / f"format-{version}" / "list.root", tmp_path)


def test_what_is_no_row_is_refused(tmp_path):
    found = listed()
    (tmp_path / "jets.h").write_text(header(found), encoding="ascii")
    n, one = found.collection.words, "1.9999999f"
    program = f"""#include "jets.h"
    template <class F> int refused(F f) {{
        try {{ f(); }} catch (const std::invalid_argument&) {{ return 1; }}
        return 0;
    }}
    int main() {{
        const float full = {one}, low = 0.5f, good = 1;
        const float* const all_full[] = {{{", ".join(["&full"] * n)}}};
        const float* const all_low[] = {{{", ".join(["&low"] * n)}}};
        const float* const all_good[] = {{{", ".join(["&good"] * n)}}};
        atlasae::Rows rows;
        int times = refused([&] {{ rows.read(all_full, 1); }}) + refused([&] {{ rows.read(all_low, 1); }});
        times += refused([&] {{ rows.read(all_low, 1); }});  // is not taken for the rows before
        rows.read(all_good, 1);
        times += refused([&] {{ rows.list<0>({{0}}, {{}}); }}) + refused([&] {{ rows.list<0>({{1}}, {{5}}); }});
        return times == 5 && rows.list<0>({{0}}, {{5}})[0] == 5 ? 0 : 1;
    }}"""
    subprocess.run([quickly_compiled(tmp_path, program)], check=True)


# --- names and types that a file chooses


def listed() -> Exported:
    return exported(str(GOLDEN / "format-2" / "list.root"), None, None)


def header(found: Exported, **changes: object) -> str:
    assert isinstance(found.codec, FloatsCodec)
    return list_header(found.codec, dataclasses.replace(found.collection, **changes), found.tree, found.made)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_file_becomes_code(name):
    found = listed()
    assert isinstance(found.codec, FloatsCodec)
    variables = [dataclasses.replace(v, branch=f"{i}{name}") for i, v in enumerate(found.codec.variables.variables)]
    codec = dataclasses.replace(found.codec, variables=VariableList(tuple(variables)))
    names, dtypes = [v.branch for v in variables], found.collection.dtypes.values()
    branches = dict(zip(names, names, strict=True))
    odd = dataclasses.replace(
        found.collection, branches=branches, dtypes=dict(zip(names, dtypes, strict=True)), prefix=name
    )
    text = list_header(codec, odd, name, name)
    assert TOKENS.sub("", text) == TOKENS.sub("", header(found)) and text.isascii()


def test_a_list_that_is_none_of_its_codec_is_damaged():
    found = listed()
    of_text = dict.fromkeys(found.collection.variables, "<f2; int hostile")
    for changes in ({"dtypes": of_text}, {"words": 9}, {"branches": {"a": "a"}, "dtypes": {"a": "<f4"}}):
        with pytest.raises(DamagedFileError, match="is damaged: its variables are not those of its codec"):
            header(found, **changes)


def test_lists_without_a_header_or_a_graph_are_refused_by_name(tmp_path):
    list_file, out = GOLDEN / "format-2" / "list.root", tmp_path / "out"
    refused(2, ("a list of variables", "--cpp"), "export", list_file, "--onnx", "-o", out, out=out)
    path = write_list(tmp_path, None)
    words = "--variables", tmp_path / "list.toml", "--layout", "packed", "--quiet"
    succeeded("compress", path, tmp_path / "packed.root", *words)
    refused(2, ("packed bytes", "--layout floats"), "export", tmp_path / "packed.root", "--cpp", "-o", out, out=out)
