"""A codec of the packed layout as one C++ header, by which RDataFrame reads the jets: integers and tables alone."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from atlasae.codecs.entropy import CodingTable
from atlasae.codecs.lattice import COSINES, DIRECTIONS, EXPONENTIALS, LOW, PER_E, SINES, TURN, Lattice
from atlasae.codecs.packed import ETA_EDGES, PT_EDGES, PackedCodec, Walk, walk_of
from atlasae.codecs.resolved import FULL, PER_ONE, ResolvedLattice
from atlasae.export.cpp import (
    array,
    check_words,
    code_text,
    column_name,
    constants,
    opening,
    padding_values,
    paddings,
    part,
    pt_of_positions,
    stored_value,
    type_of,
)
from atlasae.export.others import INCLUDES, OtherNumbers, of_chunks, reader, texts, usage
from atlasae.jets.collections import Collection
from atlasae.jets.coordinates import LARGEST_PHI, MASS_FLOOR

_HEAD = """\
// Jets from packed bytes, made by atlasae: {made}.
// C++17, no dependencies but ROOT. Values are those of `atlasae decompress`, where exp is the same.
//
{usage}//
// ROOT's interpreter takes it as it is; after gROOT->LoadMacro("jets.h+O") it calls what the machine's compiler made.
// Two headers in one program: #define ATLASAE_NAMESPACE before each #include.
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


def packed_header(
    codec: PackedCodec,
    collection: Collection,
    tree: str,
    counter: str | None,
    made: str,
    other_chunks: Sequence[int] = (),
    others: OtherNumbers | None = None,
) -> str:
    """The header that decodes the packed branch of a collection; `counter` has the jets of each entry.

    `other_chunks` are the places of the chunks of other trees among all of the file. Raises DamagedFileError for words
    that may not become code, and for `others` that are none of these jets.
    """
    check_words(collection)
    head = _HEAD.format(made=code_text(made), usage=usage(tree, collection, others))
    words = {"packed_name": collection.latents[0], "counter_name": counter or ""}
    return "".join([
        opening(head, INCLUDES), of_chunks(tree, other_chunks), texts(words), _numbers(codec), *_tables(walk_of(codec)),
        *_table("padding", codec.padding_table), paddings(codec.padding), padding_values(collection, codec.padding),
        *(stored_value(collection, v) for v in collection.variables),
        _columns(collection, bool(codec.padding.rows)), part("bytes"), part("bins"), part("packed"),
        part("resolved" if isinstance(codec.lattice, ResolvedLattice) else "equal"), part("walk"),
        reader("readpacked", _defined(collection), others), part("closing"),
    ])  # fmt: skip


def _defined(collection: Collection) -> str:
    """The data frame `df` with the variables of the jets."""
    get = "list" if collection.jagged else "single"
    return "df" + "".join(
        f'\n        .DefineSlotEntry("{column_name(branch)}", [reader](unsigned, ULong64_t entry) {{\n'
        f"            return reader->{get}(&detail::Columns::{v}, entry);\n"
        "        })"
        for v, branch in collection.branches.items()
    )


def _numbers(codec: PackedCodec) -> str:
    """The grid, and constants of contexts."""
    lattice = codec.lattice
    return "".join([
        constants({"largest_phi": LARGEST_PHI, "mass_floor": MASS_FLOOR, "first_heavy": lattice.first_heavy}),
        constants({"in_context": codec.context, "any_shifted": any(lattice.shifted)}),
        array("bool", "shifted", [str(it).lower() for it in lattice.shifted]),
        array("double", "exponentials", EXPONENTIALS), array("double", "cosine", COSINES),
        array("double", "sine", SINES), array("std::int16_t", "directions", DIRECTIONS),
        *(_resolved(lattice) if isinstance(lattice, ResolvedLattice) else _equal(lattice)),
    ])  # fmt: skip


def _equal(lattice: Lattice) -> Iterable[str]:
    """The numbers of `equal.h`."""
    steps, turn = lattice.steps, 2 * np.pi
    yield constants({
        "anchor_ratio": steps[0] / steps[3], "exponential_ratio": steps[0] * PER_E,
        "direction_ratio": steps[2] * TURN / turn, "phi_ratio": turn / TURN / steps[2],
        "zero_mass": lattice.zero_mass,
    })  # fmt: skip
    yield array("double", "steps", steps) + array("double", "low", LOW)
    yield array("std::int32_t", "sizes", lattice.sizes)
    yield array("double", "pt_edges", np.floor((np.array(PT_EDGES) - LOW[0]) / steps[0]))
    yield array("double", "eta_edges", ETA_EDGES)


def _resolved(lattice: ResolvedLattice) -> Iterable[str]:
    """The numbers of `resolved.h`, and pt at the positions of its cells."""
    yield constants({
        "per_one": float(PER_ONE), "full": FULL, "top": lattice.top,
        "lowest_eta": int(LOW[1]) * PER_ONE, "lowest_mass": int(LOW[3]) * PER_ONE,
    })  # fmt: skip
    yield array("std::int32_t", "places", lattice.resolved.places)
    for i, name in enumerate(("eta", "phi", "mass"), start=1):
        yield array("std::int32_t", f"{name}_steps", lattice.resolved.steps(i))
    yield array("double", "pt_edges", np.floor((np.array(PT_EDGES) - LOW[0]) * PER_ONE))
    yield array("double", "eta_edges", np.array(ETA_EDGES) * PER_ONE)
    yield pt_of_positions(lattice.resolved)


def _tables(walk: Walk) -> Iterable[str]:
    yield "struct Prior {\n    const std::int32_t *edges, *counts;\n    int contexts, bins;\n    bool adapts;\n};\n"
    found = {"pt": walk.pt, "fall": walk.fall, "eta": walk.eta, "phi": walk.phi, "mass": walk.mass}
    for name, table in {**found, "any_phi": walk.any_phi}.items():
        yield from _table(name, table)
    yield "\n"


def _table(name: str, table: CodingTable) -> Iterable[str]:
    contexts, bins = table.prior.shape
    yield array("std::int32_t", f"{name}_bins", table.edges)
    yield array("std::int32_t", f"{name}_counts", table.prior.ravel())
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
