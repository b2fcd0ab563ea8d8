"""A codec of the packed layout as one C++ header, by which RDataFrame reads the jets: integers and tables alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.codecs.entropy import CodingTable
from atlasae.codecs.lattice import COSINES, DIRECTIONS, EXPONENTIALS, LOW, PER_E, SINES, TURN, Lattice
from atlasae.codecs.packed import ETA_EDGES, PT_EDGES, PackedCodec, Walk
from atlasae.errors import UserError
from atlasae.export.cpp import (
    check_words,
    code_text,
    column_name,
    padding_values,
    paddings,
    part,
    stored_value,
    type_of,
)
from atlasae.jets.collections import Collection
from atlasae.jets.coordinates import LARGEST_PHI, MASS_FLOOR

_WIDTH = 24  # numbers on a line
_HEAD = """\
// Jets from packed bytes, made by atlasae: {made}.
// C++17, no dependencies but ROOT. Values are those of `atlasae decompress`, where exp is the same.
//
//   ROOT::RDataFrame df("{tree}", "file.root");
//   auto jets = atlasae::unpack(df, "file.root");  // has {columns}
//
// ROOT's interpreter takes it as it is; after gROOT->LoadMacro("jets.h+O") it calls what the machine's compiler made.
// Two headers in one program: #define ATLASAE_NAMESPACE before each #include.
"""
_INCLUDES = """\
#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#if __has_include(<ROOT/RDataFrame.hxx>)
#include <ROOT/RDataFrame.hxx>
#include <TBranch.h>
#include <TFile.h>
#include <TLeaf.h>
#include <TTree.h>
#include <TTreeReader.h>
#include <TTreeReaderArray.h>
#endif
"""
_COLUMNS = """\
// What is stored of jets, a column per variable.
struct Columns {{
    static constexpr std::size_t width = {width};
    {members}

    void resize(std::size_t n) {{ {resize} }}
    void set(std::size_t jet, const Jets& jets) {{ {set} }}
    void pad(std::size_t jet, std::int32_t code) {{ {pad} }}  // code is a place of padding, from 1
    template <class Planes>
    void keep(const std::vector<std::uint8_t>& raw, const std::vector<std::size_t>& where, std::size_t at,
              Planes planes) {{
        {keep}
    }}
}};

"""


def packed_header(codec: PackedCodec, collection: Collection, tree: str, counter: str | None, made: str) -> str:
    """The header that decodes the packed branch of a collection; `counter` has the jets of each entry.

    Raises UserError for bounds by resolution, DamagedFileError for words that may not become code.
    """
    check_words(collection)
    if not isinstance(codec.lattice, Lattice):
        raise UserError(f"'{collection.name}' has bounds by resolution, which only atlasae unpacks")
    names = {v: column_name(branch) for v, branch in collection.branches.items()}
    columns = ", ".join(names.values())
    head = _HEAD.format(made=code_text(made), tree=code_text(tree), columns=columns) + part("opening")
    before, space, after = head.partition("#ifdef __FAST_MATH__")
    defines = "".join(
        f'\n        .DefineSlotEntry("{name}", [reader](unsigned, ULong64_t entry) {{\n'
        f"            return reader->{'list' if collection.jagged else 'single'}(&detail::Columns::{v}, entry);\n"
        "        })"
        for v, name in names.items()
    )
    words = {"tree_name": tree, "packed_name": collection.latents[0], "counter_name": counter or ""}
    text = "".join(f'inline constexpr const char* {name} = "{code_text(word)}";\n' for name, word in words.items())
    return "".join([
        before, _INCLUDES, space, after, text, _numbers(codec, codec.lattice), *_tables(Walk(codec, codec.lattice)),
        *_table("padding", codec.padding_table), paddings(codec.padding), padding_values(collection, codec.padding),
        *(stored_value(collection, v, again=True) for v in collection.variables),
        _columns(collection, bool(codec.padding.rows)), part("packed"),
        "\n}  // namespace detail\n\n", part("rdataframe").replace("{defines}", defines),
    ])  # fmt: skip


def _numbers(codec: PackedCodec, lattice: Lattice) -> str:
    """The grid, and constants of contexts."""
    steps, turn = lattice.steps, 2 * np.pi
    bounds = np.floor((np.array(PT_EDGES) - LOW[0]) / steps[0])
    doubles = {
        "anchor_ratio": steps[0] / steps[3], "exponential_ratio": steps[0] * PER_E,
        "direction_ratio": steps[2] * TURN / turn, "phi_ratio": turn / TURN / steps[2],
        "largest_phi": LARGEST_PHI, "mass_floor": MASS_FLOOR,
    }  # fmt: skip
    whole = {"zero_mass": lattice.zero_mass, "first_heavy": lattice.first_heavy}
    told = {"in_context": codec.context, "any_shifted": any(lattice.shifted)}
    return "".join([
        *(f"inline constexpr double {name} = {float(x)!r};\n" for name, x in doubles.items()),
        *(f"inline constexpr std::int64_t {name} = {n};\n" for name, n in whole.items()),
        *(f"inline constexpr bool {name} = {str(it).lower()};\n" for name, it in told.items()),
        _array("double", "steps", steps), _array("double", "low", LOW), _array("std::int32_t", "sizes", lattice.sizes),
        _array("bool", "shifted", [str(it).lower() for it in lattice.shifted]),
        _array("double", "pt_edges", bounds), _array("double", "eta_edges", ETA_EDGES),
        _array("double", "exponentials", EXPONENTIALS), _array("double", "cosine", COSINES),
        _array("double", "sine", SINES), _array("std::int16_t", "directions", DIRECTIONS),
    ])  # fmt: skip


def _tables(walk: Walk) -> Iterable[str]:
    yield "struct Prior {\n    const std::int32_t *edges, *counts;\n    int contexts, bins;\n    bool adapts;\n};\n"
    found = {"pt": walk.pt, "fall": walk.fall, "eta": walk.eta, "phi": walk.phi, "mass": walk.mass}
    for name, table in {**found, "any_phi": walk.any_phi}.items():
        yield from _table(name, table)
    yield "\n"


def _table(name: str, table: CodingTable) -> Iterable[str]:
    contexts, bins = table.prior.shape
    yield _array("std::int32_t", f"{name}_bins", table.edges)
    yield _array("std::int32_t", f"{name}_counts", table.prior.ravel())
    adapts = str(table.adapts).lower()
    yield f"inline constexpr Prior {name}_prior = {{{name}_bins, {name}_counts, {contexts}, {bins}, {adapts}}};\n"


def _columns(collection: Collection, padded: bool) -> str:
    kinds: Mapping[str, str] = {v: type_of(collection, v) for v in collection.variables}
    return _COLUMNS.format(
        width=" + ".join(f"sizeof({kind})" for kind in kinds.values()),
        members=" ".join(f"std::vector<{kind}> {v};" for v, kind in kinds.items()),
        resize=" ".join(f"{v}.resize(n);" for v in kinds),
        set=" ".join(f"{v}[jet] = stored_{v}(jets, 0);" for v in kinds),
        pad=" ".join(f"{v}[jet] = padding_{v}(-static_cast<float>(code));" for v in kinds)
        if padded
        else "(void)jet, (void)code;",
        keep="\n        ".join(f"planes({v}, raw, where, at);" for v in kinds),
    )


def _array(kind: str, name: str, numbers: Sequence[Any] | npt.NDArray[np.generic]) -> str:
    texts = [text if isinstance(text, str) else _literal(text) for text in numbers]
    lines = [", ".join(texts[i : i + _WIDTH]) for i in range(0, len(texts), _WIDTH)]
    return f"inline constexpr {kind} {name}[] = {{\n" + ",\n".join(lines) + "};\n"


def _literal(number: Any) -> str:
    value = number.item() if isinstance(number, np.generic) else number
    return repr(int(value)) if float(value).is_integer() else repr(float(value))
