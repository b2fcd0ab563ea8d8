"""The C++ header of the packed layout beside Python: every bit of every jet, and bytes that are no chunk's."""

import json
import shutil
import subprocess
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import random_jets, read_tree, succeeded, write_layout, write_tree
from cpp import compiled, quickly_compiled

from atlasae.compression.format import read_contents
from atlasae.compression.packed import PackedLayout
from atlasae.export.unpacking import packed_header
from atlasae.files.trees import open_source

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here to compile the header with")

RESOLVED = ("--precision", "resolution/20")
TYPES = {"<f4": "float", "<f8": "double"}
# Reads chunks: the number of entries and of bytes, the jets of each entry, the bytes; writes the columns of each, or
# what is wrong with it.
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
    for (auto head = take<std::int64_t>(in, 2); head.size() == 2; head = take<std::int64_t>(in, 2)) {
        const auto counts = take<std::int64_t>(in, head[0]);
        const auto bytes = take<std::uint8_t>(in, head[1]);
        atlasae::detail::Columns columns;
        try {
            atlasae::detail::restore(atlasae::detail::unpack_cells(bytes, counts), columns);
        } catch (const std::invalid_argument& problem) {
            std::puts(problem.what());
            continue;
        }
        %s
    }
    return std::fclose(out);
}
"""


def program_of(small: Path, folder: Path) -> tuple[str, dict[str, str]]:
    """The program for the header of a file, which is written, and the type of each variable."""
    succeeded("export", small, "--cpp", "-o", folder / "jets.h", "--quiet", "--force")
    with open_source(small) as source:
        dtypes = read_contents(source).runs[0].collections[0].collection.dtypes
    write = "std::fwrite(columns.{v}.data(), sizeof({type}), columns.{v}.size(), out);"
    return PROGRAM % " ".join(write.format(v=v, type=TYPES[dtype]) for v, dtype in dtypes.items()), dict(dtypes)


def chunks_of(small: Path) -> list[tuple[np.ndarray, bytes]]:
    """The jets of each entry, and the bytes, of every chunk."""
    found = []
    with open_source(small) as source:
        contents = read_contents(source)
        run = contents.runs[0]
        collection = run.collections[0].collection
        counter = run.counter_of(collection)
        start = 0
        for chunk in run_chunks(small):
            names = [*collection.latents, *([counter] if counter else [])]
            events = source.trees[run.tree].read(names, start, start + chunk)
            counts = ak.to_numpy(events[counter]) if counter else np.ones(chunk)
            content = ak.to_numpy(ak.flatten(events[collection.latents[0]])).astype(np.uint8).tobytes()
            found.append((counts.astype(np.int64), content))
            start += chunk
    return found


def run_chunks(small: Path) -> list[int]:
    with uproot.open(small) as file:
        return file["atlasae/chunks"]["entries"].array(library="np").tolist()


def given(chunks: list[tuple[np.ndarray, bytes]]) -> bytes:
    parts = ((np.array([len(counts), len(content)]), counts, content) for counts, content in chunks)
    return b"".join(head.tobytes() + counts.tobytes() + content for head, counts, content in parts)


def check_like_python(small: Path, folder: Path) -> None:
    """Every number that the program writes is that of `atlasae decompress`, bit for bit."""
    program, dtypes = program_of(small, folder)
    main = quickly_compiled(folder, program)
    chunks = chunks_of(small)
    (folder / "in").write_bytes(given(chunks))
    told = subprocess.run([main, folder / "in", folder / "out"], check=True, capture_output=True, text=True).stdout
    assert told == ""
    raw, start = (folder / "out").read_bytes(), 0
    found = {v: [] for v in dtypes}
    for counts, _ in chunks:
        for v, dtype in dtypes.items():
            found[v].append(np.frombuffer(raw, dtype, int(counts.sum()), start))
            start += found[v][-1].nbytes
    assert start == len(raw)
    succeeded("decompress", small, folder / "back.root", "--quiet", "--force")
    with open_source(small) as source:
        run = read_contents(source).runs[0]
    back = read_tree(folder / "back.root", run.tree)
    for v, branch in run.collections[0].collection.branches.items():
        python = ak.to_numpy(ak.flatten(back[branch], axis=None))
        check_bits(np.concatenate(found[v]), python, 20 if run.collections[0].collection.resolutions else 2)


def check_bits(found: np.ndarray, python: np.ndarray, apart: int) -> None:
    """Equal bit for bit; as float64 to some in the last place, as NumPy's exp and log may not be the machine's."""
    assert found.dtype == python.dtype
    if found.dtype == np.float32:
        np.testing.assert_array_equal(found.view("u4"), python.view("u4"))
    else:
        np.testing.assert_array_max_ulp(np.nan_to_num(found), np.nan_to_num(python), apart)


def packed(folder: Path, *options: str) -> Path:
    succeeded("compress", folder / "in.root", folder / "small.root", "--layout", "packed", "--quiet", *options)
    return folder / "small.root"


def many(path: Path, dtype: str = "<f4") -> Path:
    """Jets in events with up to 20 of them, some of which are exact, massless or repeated."""
    counts = np.random.default_rng(3).integers(0, 21, 250)
    jets = {
        f"jet_{v}": x.astype(dtype) for v, x in random_jets(int(counts.sum())).items() if v in ("pt", "eta", "phi", "m")
    }
    jets["jet_pt"][::17], jets["jet_eta"][5::29], jets["jet_m"][::11] = np.nan, 12.0, 0.0
    return write_tree(
        path, "mini", {name: ak.unflatten(x, counts) for name, x in jets.items()}, dict.fromkeys(jets, "n")
    )


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("<f4", ()),
        ("<f8", ("--no-context",)),
        ("<f4", ("--precision", "3e-5", "--no-dither")),
        ("<f4", RESOLVED),
        ("<f8", (*RESOLVED, "--no-context", "--no-dither")),
        ("<f4", (*RESOLVED, "--resolution", "cms,pt=0:0:0.1")),
        ("<f4", ("--precision", "pt=1e-3,eta=resolution/50,phi=1e-3,m=resolution/100")),
    ],
)
def test_every_bit_is_that_of_python(tmp_path, dtype, options):
    many(tmp_path / "in.root", dtype)
    check_like_python(packed(tmp_path, *options), tmp_path)


@pytest.mark.parametrize("layout", ["nanoaod", "energy", "cartesian", "edm4hep", "flat"])
def test_jets_of_every_layout_come_back(tmp_path, layout):
    write_layout(tmp_path / "in.root", layout)
    small = packed(tmp_path, "--step-size", "1kB")
    assert len(chunks_of(small)) > 1
    check_like_python(small, tmp_path)


@pytest.mark.parametrize("options", [(), ("--no-context",)])
def test_padding_comes_back(tmp_path, options):
    counts = np.random.default_rng(4).integers(0, 21, 250)
    n = int(counts.sum())
    jets = {f"jet_{v}": x.astype("f4") for v, x in random_jets(n).items() if v in ("pt", "eta", "phi", "m")}
    for values in jets.values():
        values[::3], values[1::7] = -999, np.nan
    jets["jet_eta"][5::29] = 12.0
    branches = {name: ak.unflatten(x, counts) for name, x in jets.items()}
    write_tree(tmp_path / "in.root", "mini", branches, dict.fromkeys(jets, "n"))
    small = packed(tmp_path, *options)
    with open_source(small) as source:
        (entry,) = read_contents(source).runs[0].collections
    assert len(entry.codec["padding"]) == 4 and entry.exact_jets < n / 10
    check_like_python(small, tmp_path)


@pytest.mark.parametrize("options", [(), RESOLVED])
def test_bytes_that_are_no_chunk_are_refused_without_reading_beyond_them(tmp_path, options):
    many(tmp_path / "in.root")
    small = packed(tmp_path, *options)
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover")
    main = compiled(tmp_path, program_of(small, tmp_path)[0], "-O1", *sanitizers)
    ((counts, content),) = chunks_of(small)
    random, spoiled = np.random.default_rng(1), []
    for place in [*range(16), *random.integers(0, len(content), 150).tolist()]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(0, 8))
        spoiled.append((counts, bytes(changed)))
    spoiled += [(counts, content[:n]) for n in (0, 4, 8, 11, 12, 400, len(content) - 4)]
    spoiled += [(counts * sign, content) for sign in (-1, 2, 2**40)] + [(counts[:-1], content)]
    (tmp_path / "in").write_bytes(given(spoiled))
    found = subprocess.run([main, tmp_path / "in", tmp_path / "out"], check=True, capture_output=True, text=True)
    refusals = found.stdout.splitlines()
    assert all(line.startswith("atlasae: ") and "damaged" in line for line in refusals)
    assert len(refusals) > 30


def test_names_of_a_forged_file_do_not_become_code(tmp_path):
    write_layout(tmp_path / "in.root", "nanoaod")
    small = packed(tmp_path)
    with open_source(small) as source:
        contents = read_contents(source)
    entry = contents.runs[0].collections[0]
    layout = PackedLayout.from_config(entry, None)
    evil = 'x");}\n#error "ran\\'
    header = packed_header(layout.codec, layout.collection, evil, evil, evil)
    (tmp_path / "jets.h").write_text(header, encoding="ascii")
    program = '#include "jets.h"\nint main() { return atlasae::detail::tree_name[0] != 120; }\n'
    assert subprocess.run([quickly_compiled(tmp_path, program)], check=False).returncode == 0


def test_the_header_says_how_rdataframe_reads_the_jets(tmp_path):
    write_layout(tmp_path / "in.root", "xaod")
    small = packed(tmp_path)
    told = succeeded("export", small, "--cpp", "-o", tmp_path / "jets.h", "--json").report
    assert json.loads(json.dumps(told))["units"] == "MeV"
    text = (tmp_path / "jets.h").read_text()
    assert 'auto jets = atlasae::unpack(df, "file.root");' in text
    assert "has AntiKt4TruthJetsAuxDyn_pt, AntiKt4TruthJetsAuxDyn_eta" in text
