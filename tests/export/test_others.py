"""Other numbers of jets decoded by a header beside Python: every bit of every column, and bytes that are no chunk's."""

import dataclasses
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from conftest import SHARED, random_jets, succeeded, write_tree
from cpp import HOSTILE, TOKENS, compiled, quickly_compiled
from helpers import merge

from atlasae.compression.chunks import Chunks, layouts_of
from atlasae.compression.format import read_contents
from atlasae.compression.packed import ColumnsLayout
from atlasae.errors import DamagedFileError
from atlasae.export.cpp import cpp_header
from atlasae.export.export import exported
from atlasae.export.others import CodedRun, OtherNumbers, with_floats
from atlasae.files.events import flatten
from atlasae.files.trees import open_source

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here to compile the header with"),
]

LAYOUTS = ("floats", "packed")
# Reads chunks: numbers of entries, of bytes of the four-momenta and of the columns, and the checksum of the run; then
# the jets of each entry and the bytes. Writes the columns that are asked for, or what is wrong.
PROGRAM = """
#include "jets.h"
#include "jets.h"
#include <cstdio>
#include <cstdlib>
using namespace atlasae::detail;
template <class T> std::vector<T> take(std::FILE* in, std::size_t n) {
    std::vector<T> values(n);
    values.resize(std::fread(values.data(), sizeof(T), n, in));
    return values;
}
int main(int asked, char** names) {
    std::FILE *in = std::fopen(names[1], "rb"), *out = std::fopen(names[2], "wb");
    for (auto head = take<std::int64_t>(in, 4); head.size() == 4; head = take<std::int64_t>(in, 4)) {
        const auto counts = take<std::int64_t>(in, head[0]);
        const auto jets = take<std::uint8_t>(in, head[1]), bytes = take<std::uint8_t>(in, head[2]);
        try {
            Others others(bytes, all_jets(counts), codings[run_of(head[3]).coding], [&] { TOLD });
            for (int i = 3; i < asked; ++i) {
                const auto& numbers = others.numbers(std::atoi(names[i]));
                std::fwrite(numbers.data(), 1, numbers.size(), out);
            }
        } catch (const std::invalid_argument& problem) {
            std::puts(problem.what());
        }
    }
    return std::fclose(out);
}
"""
TOLD = {
    "packed": "return unpack_cells(jets, counts).told();",
    "floats": """
        std::vector<float> z[3];
        const std::size_t n = jets.size() / 12;
        for (int j = 0; n && j < 3; ++j) z[j].resize(n), std::memcpy(z[j].data(), &jets[4 * n * j], 4 * n);
        return told_by(z);
    """,
}
Given = tuple[np.ndarray, bytes, bytes, int]
INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


def others(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Numbers of n jets of every kind and type, some of which tell of each other."""
    rng = np.random.default_rng(seed)
    tag = np.where(rng.random(n) < 0.2, -1, rng.random(n)).astype("f4")
    full = rng.normal(size=n)
    full[: min(5, n)] = [np.nan, np.inf, -0.0, 5e-324, -1e30][: min(5, n)]
    whole = rng.poisson(np.exp(3 * np.abs(tag)))
    found = {
        "tag": tag,
        "cut": ((tag * 0.7).view("u4") & np.uint32(0xFFFFE000)).view("f4"),
        "grid": np.round(rng.exponential(2, n), 2).astype("f4"),
        "full": full,
        "single": np.where(rng.random(n) < 0.01, np.nan, np.clip(full, -9, 9) * tag).astype("f4"),
        "scale": 10 ** rng.uniform(-30, 30, n) * rng.choice([-1, 1], n),
        "good": tag > 0.5,
        "long": rng.integers(-(2**63), 2**63 - 1, n),
        "far": np.where(rng.random(n) < 0.01, 2**62, whole * 1000),
        "flavour": rng.choice([-21, 0, 4, 5, 1103], n).astype("i2"),
        "same": np.full(n, 7, "i4"),
    }
    return found | {dtype: (whole - (5 if dtype[0] == "i" else 0)).astype(dtype) for dtype in INTEGERS}


def write_whole(path: Path, entries: int = 250, seed: int = 1, flat: bool = False) -> Path:
    """A file of jets with such numbers: in events with up to 20 of them or an entry each, some of them exact."""
    counts = np.random.default_rng(seed).integers(0, 21, entries) * (np.arange(entries) % 5 > 0)
    n = entries if flat else int(counts.sum())
    jets = {v: x.astype("f4") for v, x in random_jets(n, seed).items() if v in ("pt", "eta", "phi", "m")}
    jets["pt"][::17], jets["eta"][5::29] = np.nan, 12.0
    for x in jets.values():
        x[3::7] = -999  # padding
    branches = {f"jet_{name}": x for name, x in (jets | others(n, seed)).items()}
    if flat:
        return write_tree(path, "Events", {name: ak.Array(x) for name, x in branches.items()})
    lists = {name: ak.unflatten(x, counts) for name, x in branches.items()}
    return write_tree(path, "Events", lists, dict.fromkeys(lists, "njet"))


def compress(folder: Path, *options: str, name: str = "in") -> Path:
    succeeded("compress", folder / f"{name}.root", folder / "small.root", "--whole-jets", "--quiet", *options)
    return folder / "small.root"


def chunks_of(
    small: Path, name: str = "jet"
) -> tuple[list[tuple[np.ndarray, bytes, bytes]], list[dict[str, np.ndarray]]]:
    """The jets of each entry, the bytes of the four-momenta and those of the columns; what Python makes of these."""
    given, python = [], []
    with open_source(small) as source:
        contents = read_contents(source)
        chunks, checksums = Chunks(source, contents), source.trees["atlasae/runs"].rows("checksum")
        for run, start, chunk in chunks:
            written = chunks.read(run, start, chunk)
            (jets,) = (layout for layout in written.layouts if layout.collection.name == name)
            (columns,) = (layout for layout in written.layouts if layout.collection.beside == name)
            parts = [flatten(written.events[latent])[0].tobytes() for latent in jets.collection.latents]
            (latent,) = columns.collection.latents
            content, counts = flatten(written.events[latent])[0].tobytes(), jets.counts(run, written.events)
            checksum = checksums[[one is run for one in contents.runs].index(True)]
            given.append((np.asarray(counts, np.int64), b"".join(parts), content, checksum))
            restored = written.restored(list(columns.collection.branches))
            python.append({branch: flatten(array)[0] for branch, array in restored.items()})
    return given, python


def stream(chunks: Sequence[Given]) -> bytes:
    parts = []
    for counts, jets, content, checksum in chunks:
        head = np.array([len(counts), len(jets), len(content), checksum], np.uint64)
        parts += [head.tobytes(), counts.tobytes(), jets, content]
    return b"".join(parts)


def program_of(small: Path, folder: Path, name: str = "jet") -> tuple[str, list[str]]:
    """The program for the header of a file, which is written, and the columns that it has."""
    arguments = ("--cpp", "-o", folder / "jets.h", "--json", "--force")
    report = succeeded("export", small, "--jets", name, *arguments).report
    assert report["left_out"] == []
    layout = "packed" if "unpack_cells" in (folder / "jets.h").read_text() else "floats"
    return PROGRAM.replace("TOLD", TOLD[layout]), report["others"]


def check_like_python(small: Path, folder: Path, jets: str = "jet") -> list[dict[str, np.ndarray]]:
    """Every number is that of Python, bit for bit; columns are asked for in two orders, each twice."""
    program, names = program_of(small, folder, jets)
    main = quickly_compiled(folder, program)
    given, python = chunks_of(small, jets)
    layout = exported(str(small), jets, None).others.runs[0].layout
    relative = {name for name, one in zip(layout.collection.branches, layout.codec.columns, strict=True) if one.bound}
    (folder / "in").write_bytes(stream(given))
    asked = [*range(len(names)), *reversed(range(len(names)))]
    told = subprocess.run([main, "in", "out", *map(str, asked)], cwd=folder, check=True, capture_output=True, text=True)
    assert told.stdout == ""
    raw, start = (folder / "out").read_bytes(), 0
    for chunk in python:
        for place in asked:
            column = chunk[names[place]]
            found = np.frombuffer(raw, column.dtype, len(column), start)
            start += found.nbytes
            check_bits(found, column, 2 * (names[place] in relative))
    assert start == len(raw)
    return python


def check_bits(found: np.ndarray, python: np.ndarray, apart: int) -> None:
    """Equal bit for bit; a float64 within a bound to some in the last place, as NumPy's exp may not be ours."""
    same = found.view(f"u{found.itemsize}") == python.view(f"u{python.itemsize}")
    if apart and python.dtype == np.float64:
        np.testing.assert_array_max_ulp(found[~same], python[~same], apart)
    else:
        assert same.all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "options",
    [
        ("--step-size", "20kB"),
        ("--precision", "1e-2,jet_tag=abs:1e-2,jet_single=1e-3,jet_s*=1e-4,jet_full=1e-3,*=exact"),
        ("--precision", "resolution/20,jet_tag=1e-3,*=exact"),
    ],
)
def test_every_bit_is_that_of_python(tmp_path, layout, options):
    write_whole(tmp_path / "in.root")
    chunks = check_like_python(compress(tmp_path, "--layout", layout, *options), tmp_path)
    assert (len(chunks) > 3) == ("--step-size" in options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_jets_that_are_entries_come_back(tmp_path, layout):
    write_whole(tmp_path / "in.root", 600, flat=True)
    check_like_python(compress(tmp_path, "--layout", layout, "--step-size", "20kB"), tmp_path)


def test_so_many_jets_that_tables_have_more_bins_come_back(tmp_path):
    n = 150_000
    jets = {v: x.astype("f4") for v, x in random_jets(n).items() if v in ("pt", "eta", "phi", "m")}
    kept = {name: x for name, x in others(n).items() if name in ("tag", "cut", "full", "far", "good", "u2")}
    write_tree(tmp_path / "in.root", "Events", {f"jet_{name}": ak.Array(x) for name, x in (jets | kept).items()})
    (chunk,) = check_like_python(compress(tmp_path, "--layout", "packed"), tmp_path)
    assert len(chunk["jet_tag"]) == n


def test_parts_that_were_coded_by_themselves_come_back_from_one_file(tmp_path):
    for seed, name in ((1, "a"), (2, "b")):
        write_whole(tmp_path / f"{name}.root", seed=seed)
        compress(tmp_path, "--layout", "packed", "--only-jets", name=name)
        (tmp_path / "small.root").rename(tmp_path / f"{name}.small.root")
    merge(tmp_path / "merged.root", *(tmp_path / f"{name}.small.root" for name in "aba"))
    check_like_python(tmp_path / "merged.root", tmp_path)
    assert (tmp_path / "jets.h").read_text().count("inline constexpr Column columns_") == 2


def test_a_column_needs_no_others_but_those_that_tell_of_it(tmp_path):
    write_whole(tmp_path / "in.root")
    small = compress(tmp_path, "--layout", "packed")
    program, names = program_of(small, tmp_path)
    main = quickly_compiled(tmp_path, program)
    ((counts, _, content, checksum),), (python,) = chunks_of(small)
    layout = exported(str(small), None, None).others.runs[0].layout
    codec, order = layout.codec, list(layout.collection.branches)
    needed = {place: codec.needed([place]) for place in range(len(order))}
    first = {place: [parent for other in needed[place] for parent in codec.columns[other].parents] for place in needed}
    alone = [place for place in needed if min(first[place], default=codec.given) >= codec.given]  # of the four-momenta
    assert alone
    for place in alone:
        sizes = np.frombuffer(content, "<u4", 2 * len(order)).astype(np.int64).reshape(-1, 2).sum(axis=1)
        ends, spoiled = 8 * len(order) + sizes.cumsum(), bytearray(content)
        for other in set(range(len(order))) - set(needed[place]):
            spoiled[ends[other] - sizes[other] : ends[other]] = bytes(sizes[other])
        (tmp_path / "in").write_bytes(stream([(counts, b"", bytes(spoiled), checksum)]))
        arguments = ["in", "out", str(names.index(order[place]))]
        told = subprocess.run([main, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        column = python[order[place]]
        assert told == ""
        check_bits(np.frombuffer((tmp_path / "out").read_bytes(), column.dtype), column, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_that_are_no_chunk_are_refused_without_reading_beyond_them(tmp_path, layout):
    write_whole(tmp_path / "in.root", 100)
    small = compress(tmp_path, "--layout", layout, "--precision", "1e-3,jet_full=1e-3,*=exact")
    program, names = program_of(small, tmp_path)
    main = compiled(tmp_path, program, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover")
    ((counts, jets, content, checksum),), _ = chunks_of(small)
    random, spoiled = np.random.default_rng(1), []
    for place in [*range(0, 8 * len(names), 3), *random.integers(0, len(content), 150).tolist()]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(0, 8))
        spoiled.append((counts, jets, bytes(changed), checksum))
    lengths = (0, 4, 8 * len(names) - 1, 8 * len(names), 400, len(content) - 4)
    spoiled += [(counts, jets, content[:n], checksum) for n in lengths]
    spoiled += [(counts * sign, jets, content, checksum) for sign in (-1, 2, 2**40)]
    spoiled += [(counts[:-1], jets, content, checksum), (counts, jets, content, checksum ^ 1)]
    (tmp_path / "in").write_bytes(stream(spoiled))
    asked = map(str, range(len(names)))
    found = subprocess.run([main, "in", "out", *asked], cwd=tmp_path, check=True, capture_output=True, text=True)
    refusals = found.stdout.splitlines()
    assert all(line.startswith("atlasae: ") and "damaged" in line for line in refusals)
    assert len(refusals) > 100


def test_names_of_a_forged_file_do_not_become_code(tmp_path):
    write_whole(tmp_path / "in.root", 40)
    small = compress(tmp_path)
    found = exported(str(small), None, None)
    (run,) = found.others.runs
    layout = run.layout
    names = [*HOSTILE, *list(layout.collection.branches)[len(HOSTILE) :]]
    renamed = dict(zip(layout.collection.branches, names, strict=True))
    collection = dataclasses.replace(
        layout.collection,
        prefix=HOSTILE[0],
        branches={name: name for name in names},
        dtypes={renamed[name]: dtype for name, dtype in layout.collection.dtypes.items()},
    )
    renamed_run = dataclasses.replace(run, layout=dataclasses.replace(layout, collection=collection))
    others = OtherNumbers([renamed_run], [], 3)
    addition = with_floats(found.collection, HOSTILE[1], [], others)
    text = cpp_header(found.codec, found.collection, found.made, addition)
    assert text.isascii() and "int hostile" not in TOKENS.sub("", text)
    (tmp_path / "jets.h").write_text(text)
    quickly_compiled(tmp_path, PROGRAM.replace("TOLD", TOLD["floats"]))


def test_columns_that_no_file_has_are_refused(tmp_path):
    write_whole(tmp_path / "in.root", 40)
    small = compress(tmp_path, "--layout", "packed")
    with open_source(small) as source:
        contents = read_contents(source)
    (_, layout) = layouts_of(contents.runs[0], contents)
    assert isinstance(layout, ColumnsLayout)
    OtherNumbers([CodedRun(layout, 1, 1)], [], 4)
    strange = dataclasses.replace(layout.collection, dtypes=dict.fromkeys(layout.collection.dtypes, "<f2"))
    for changed, told in ((dataclasses.replace(layout, collection=strange), 4), (layout, 3)):
        with pytest.raises(DamagedFileError, match="none of these jets"):
            OtherNumbers([CodedRun(changed, 1, 1)], [], told)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "jets"), [("cms_nanoaod_wide", "Jet"), ("atlas_physlite", "AnalysisJetsAuxDyn")])
def test_whole_jets_of_experiments_come_back(tmp_path, name, jets, layout):
    shutil.copy(SHARED / f"{name}.root", tmp_path / "in.root")
    check_like_python(compress(tmp_path, "--layout", layout, "--only-jets"), tmp_path, jets)
