"""A codec of a list of variables as one C++ header that decodes its floats with the standard library alone."""

from collections.abc import Iterable

from atlasae.codecs.floats import FloatsCodec
from atlasae.errors import DamagedFileError
from atlasae.export.cpp import (
    LEAF_TYPES,
    Network,
    array,
    cell_steps,
    code_text,
    column_name,
    constants,
    indented,
    link_steps,
    opening,
    padding_value,
    paddings,
    part,
    parts,
)
from atlasae.jets.collections import Collection
from atlasae.jets.coordinates import LARGEST_TURN
from atlasae.jets.variables import Variable

_HEAD = """\
// A list of variables from its floats, made by atlasae: {made}.
// C++17, no dependencies; with ROOT's headers lists are RVec, without them std::vector.
// Values are those of `atlasae decompress`, floating point to the last digits of a double before it is stored.
//
//   ROOT::RDataFrame df("{tree}", "file.root");
//   auto rows = atlasae::unpack(df);
//
// has these columns:
{columns}//
// Without RDataFrame, the variable in place 0 of the n rows of an entry, of which some are exact:
//
//   atlasae::Rows rows;
//   rows.read({{{words}}}, n);
//   rows.list<0>(exact_index, exact);
//
// ROOT's interpreter takes it as it is; after gROOT->LoadMacro("jets.h+O") it calls what the machine's compiler made.
// Two headers in one program: #define ATLASAE_NAMESPACE before each #include.
"""
_INCLUDES = """\
#include <array>
#include <functional>
#include <limits>
#include <iterator>
#include <memory>
#include <string>
#include <type_traits>
#if __has_include(<ROOT/RDataFrame.hxx>)
#include <ROOT/RDataFrame.hxx>
#endif
"""
_CELLS = """\
inline void find_cells(const float (&z)[words][size], Side& side) {{
    side = {{}};
    auto& [cell, shift, y] = side;
{steps}}}

"""
_LINK = """\
// {i}: "{branch}"
{tables}template <>
struct Link<{i}> {{
    using Type = {type};
    using Given = std::integer_sequence<int{given}>;
    static void decode(Side& side) {{
        auto& [cell, shift, y] = side;
{steps}    }}
    static Type stored(double y) {{ return {stored}; }}
{padding}}};

"""


def list_header(codec: FloatsCodec, collection: Collection, tree: str, made: str) -> str:
    """The header that decodes the words of a list of variables.

    Raises DamagedFileError where the list is none of this codec, or has types that may not become code.
    """
    _check(codec, collection)
    n, words = len(collection.variables), ", ".join(f"z{j}" for j in range(collection.words))
    names = enumerate(map(column_name, collection.branches.values()))
    columns = "".join(f"//   {i}: {name}\n" for i, name in names)
    head = _HEAD.format(made=code_text(made), tree=code_text(tree), columns=columns, words=words)
    numbers = constants({"variables": n, "words": collection.words})
    cells = _CELLS.format(steps=indented(cell_steps(codec), 1))
    links = "".join(_link(codec, collection, i) for i in range(n))
    return "".join([
        opening(head, _INCLUDES), part("silu"), parts(codec), part("floats"), part("precise"), numbers,
        _names(collection), paddings(codec.padding), part("side"), cells, links, part("rows"), part("lists"),
        part("closing"),
    ])  # fmt: skip


def _check(codec: FloatsCodec, collection: Collection) -> None:
    same = codec.variables.names == [*collection.branches.values()] and len(codec.grid.words) == collection.words
    if not same or not all(collection.dtypes.get(v, "")[1:] in LEAF_TYPES for v in collection.variables):
        raise DamagedFileError(f"collection '{collection.name}' is damaged: its variables are not those of its codec")


def _link(codec: FloatsCodec, collection: Collection, i: int) -> str:
    """How variable i is decoded and stored."""
    variable, network, rows = codec.variables.variables[i], Network(f"link{i}"), codec.padding.rows
    dtype = collection.dtypes[collection.variables[i]]
    steps = indented(link_steps(codec, i, network), 2)
    before = [array("double", f"categories_{i}", [*map(repr, variable.categories)])] if variable.categories else []
    if rows:
        before.append(padding_value(str(i), LEAF_TYPES[dtype[1:]], [row[i] for row in rows]))
    link = codec.autoencoder.links[i]
    given = sorted({*link.given, *([] if link.anchor is None else [link.anchor])})
    return _LINK.format(
        i=i,
        branch=code_text(variable.branch),
        tables="".join([*network.tables, *before]),
        type=LEAF_TYPES[dtype[1:]],
        given="".join(f", {j}" for j in given),
        steps=steps,
        stored=_stored(variable, i, dtype),
        padding=f"    static Type padding(float z0) {{ return padding_{i}(z0); }}\n" if rows else "",
    )


def _stored(variable: Variable, i: int, dtype: str) -> str:
    """The stored value of a coordinate y: `Variable.decode`, in the type of the branch."""
    last = len(variable.categories) - 1
    value = {
        "log": "std::exp(y)",
        "asinh": f"from_symlog(y) * {variable.scale!r}",
        "angle": f"full_turn(y, {LARGEST_TURN!r})" if variable.full_turn else "y",
        "integer": "std::nearbyint(y)",
        "categorical": f"categories_{i}[static_cast<int>(within(std::nearbyint(y), 0, {last}))]",
    }.get(variable.coordinate, "y")
    if dtype[1] not in "iu":
        return f"static_cast<Type>({value})"
    return f"whole<{'signed char' if dtype[1:] == 'i1' else 'Type'}>({value})"


def _names(collection: Collection) -> str:
    """The names of columns and branches for RDataFrame."""
    exact = dict(collection.exact)
    names = {
        "word_names[]": collection.latents,
        "index_name": [exact.pop("index")],
        "exact_names[]": exact.values(),
        "column_names[]": map(column_name, collection.branches.values()),
    }
    lines = [f"inline constexpr const char* {name} = {_texts(found, '[]' in name)};\n" for name, found in names.items()]
    return "".join([constants({"jagged": collection.jagged}), *lines, "\n"])


def _texts(names: Iterable[str], listed: bool) -> str:
    texts = ",\n    ".join(f'"{code_text(name)}"' for name in names)
    return f"{{\n    {texts}}}" if listed else texts
