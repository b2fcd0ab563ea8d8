"""The part of a C++ header that decodes other numbers of jets (`--whole-jets`), and reads chunk by chunk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from atlasae.codecs.columns import CodedColumn
from atlasae.compression.packed import ColumnsLayout
from atlasae.errors import DamagedFileError
from atlasae.export.cpp import LEAF_TYPES, Addition, array, code_text, column_name, constants, defined, part
from atlasae.jets.collections import Collection

_USAGE = """\
//   ROOT::RDataFrame df("{tree}", "file.root");
//   auto jets = atlasae::unpack(df, "file.root");  // has {columns}
"""
_OTHERS = """\
//
// and other numbers of the jets, decoded where they are asked for:
//
{columns}
"""
_AT_ONCE = """\

//
// All at once, of one file that is read without implicit multi-threading:
//
{usage}"""
INCLUDES = """\
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <type_traits>
#if __has_include(<ROOT/RDataFrame.hxx>)
#include <ROOT/RDataFrame.hxx>
#include <TBranch.h>
#include <TFile.h>
#include <TLeaf.h>
#include <TTree.h>
#include <TTreeReader.h>
#include <TTreeReaderArray.h>
#include <TTreeReaderValue.h>
#endif
"""
_DEFINE = """\
inline ROOT::RDF::RNode define_others(ROOT::RDF::RNode df, std::shared_ptr<Reader> jets) {{
    auto others = std::make_shared<OtherReader>(std::move(jets));
{defines}    return df;
}}

}}  // namespace detail
#endif
"""


@dataclass(frozen=True)
class CodedRun:
    """A run whose columns are coded in one way: the number of its chunks, and the checksum that the file has of it."""

    layout: ColumnsLayout
    chunks: int
    checksum: int


@dataclass(frozen=True)
class OtherNumbers:
    """Other numbers of the jets of a tree, by its runs; `others` are the checksums of the runs of other trees.

    `told` is how many columns the four-momenta tell them by.
    """

    runs: Sequence[CodedRun]
    others: Sequence[int]
    told: int

    def __post_init__(self) -> None:
        """Raise DamagedFileError for columns that no header decodes, as none are written so."""
        for run in self.runs:
            collection, codec = run.layout.collection, run.layout.codec
            known = all(dtype[1:] in LEAF_TYPES for dtype in collection.dtypes.values())
            if not known or codec.given != self.told or any(column.follows for column in codec.columns):
                raise DamagedFileError(f"'{collection.name}' is damaged: its columns are none of these jets")

    @property
    def collection(self) -> Collection:
        """The collection of the numbers, of which all runs have the same branches."""
        return self.runs[0].layout.collection


def usage(tree: str, collection: Collection, others: OtherNumbers | None) -> str:
    """The lines that tell how RDataFrame reads the jets, and which columns there are."""
    columns = ", ".join(map(column_name, collection.branches.values()))
    lines = _USAGE.format(tree=code_text(tree), columns=columns)
    if others is None:
        return lines
    names = ", ".join(map(column_name, others.collection.branches.values()))
    told = wrap(names, 112, break_long_words=False, initial_indent="//   ", subsequent_indent="//   ")
    return lines + _OTHERS.format(columns="\n".join(told))


def with_floats(collection: Collection, tree: str, other_chunks: Sequence[int], others: OtherNumbers) -> Addition:
    """What a header of jets in floats needs for their other numbers."""
    names = array("const char*", "word_names", [f'"{code_text(name)}"' for name in collection.latents])
    defines = "df" + "".join(defined(collection, v, f"ATLASAE_NAMESPACE::{v}") for v in collection.variables)
    code = ["\nnamespace detail {\n\n", of_chunks(tree, other_chunks), f"{names}\n", part("bytes"), part("bins")]
    lines = _AT_ONCE.format(usage=usage(tree, collection, others).rstrip())
    return Addition(lines, INCLUDES, "".join([*code, reader("readfloats", defines, others)]))


def of_chunks(tree: str, other_chunks: Sequence[int]) -> str:
    """The names and numbers of `chunks.h`."""
    return texts({"tree_name": tree}) + array("std::int64_t", "other_chunks", [-1, *other_chunks])  # none is empty


def texts(words: Mapping[str, str]) -> str:
    """Constants that are texts."""
    return "".join(f'inline constexpr const char* {name} = "{code_text(word)}";\n' for name, word in words.items())


def reader(jets: str, defines: str, others: OtherNumbers | None) -> str:
    """What reads chunk by chunk, by this part for the four-momenta, which `defines` has as columns of `df`.

    It ends the namespace `detail`.
    """
    told = part("others") + _numbers(others) if others else ""
    parts = [told, "\n}  // namespace detail\n\n", part("chunks"), part(jets)]
    if others:
        parts += [part("readothers"), _defines(others)]
        defines = f"detail::define_others({defines}, reader)"
    return "".join([*parts, part("rdataframe").replace("{defines}", defines)])


def _defines(others: OtherNumbers) -> str:
    collection = others.collection
    named = [(LEAF_TYPES[collection.dtypes[v][1:]], column_name(branch)) for v, branch in collection.branches.items()]
    defines = [f'    df = define<{kind}>(df, others, {i}, "{name}");\n' for i, (kind, name) in enumerate(named)]
    return _DEFINE.format(defines="".join(defines))


def _numbers(others: OtherNumbers) -> str:
    """The columns as they are coded, and by which runs."""
    codings, runs = list[ColumnsLayout](), list[str]()
    for run in others.runs:
        if run.layout not in codings:
            codings.append(run.layout)
        runs.append(f"{{0x{run.checksum:x}, {run.chunks}, {codings.index(run.layout)}}}")
    runs += [f"{{0x{checksum:x}, 0, 0}}" for checksum in others.others]
    names = list(others.collection.branches)
    listed = [f"{{columns_{i}, {len(names)}, {layout.codec.given}, places_{i}}}" for i, layout in enumerate(codings)]
    return "".join([
        texts({"others_name": others.collection.latents[0]}), constants({"jagged": others.collection.jagged}),
        *(_coding(i, layout, names) for i, layout in enumerate(codings)),
        array("Coding", "codings", listed), array("Run", "runs", list(dict.fromkeys(runs))),
    ])  # fmt: skip


def _coding(number: int, layout: ColumnsLayout, names: Sequence[str]) -> str:
    """The columns of a run in the order of their codes, and the places of those with these names."""
    collection, codec = layout.collection, layout.codec
    marks, lines = list[str](), list[str]()
    for i, (column, (v, branch)) in enumerate(zip(codec.columns, collection.branches.items(), strict=True)):
        name = f"marks_{number}_{i}"
        if column.kind.marks:
            marks.append(array("std::uint64_t", name, [f"0x{mark % 2**64:x}" for mark in column.kind.marks]))
        tells = codec.given + i in {parent for other in codec.columns for parent in other.parents}
        lines.append(f'    {_column(column, np.dtype(collection.dtypes[v]), name, tells)},  // "{code_text(branch)}"\n')
    order = list(collection.branches)
    places = array("int", f"places_{number}", [order.index(name) for name in names])
    return "".join([*marks, f"inline constexpr Column columns_{number}[] = {{\n", *lines, "};\n", places])


def _column(column: CodedColumn, dtype: "np.dtype[np.generic]", marks: str, tells: bool) -> str:
    """A column as `others.h` has it."""
    kind, (first, second) = column.kind, (*column.parents, -1, -1)[:2]
    if dtype.kind == "f":
        steps = "powers" if kind.relative else "multiples" if kind.step else "bits"
    else:
        steps = "flags" if dtype.kind == "b" else "integers"
    facts = [
        f"Steps::{steps}", dtype.itemsize, kind.low, kind.size, kind.cut, kind.tail, repr(float(kind.step)),
        kind.zero if kind.relative else 0, marks if kind.marks else "nullptr", len(kind.marks),
        f"{{{first}, {second}}}", column.tables.bins, column.tables.trust, str(tells).lower(),
    ]  # fmt: skip
    return f"{{{', '.join(map(str, facts))}}}"
