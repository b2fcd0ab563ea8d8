"""A codec as one C++ header that decodes three floats to jets with the standard library alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from atlasae.codecs.bottleneck import ASINH_SCALE, Beside, BottleneckAutoencoder, BottleneckCodec
from atlasae.codecs.chain import Constant, Density
from atlasae.codecs.dither import BLOCK_BITS, BLOCK_STEPS
from atlasae.codecs.floats import AnyCodec, FloatsCodec, ResolvedFloatsCodec
from atlasae.codecs.resolved import PER_ONE, ResolvedSteps
from atlasae.errors import DamagedFileError
from atlasae.jets.collections import MEV_PER_UNIT, Collection, Rounding
from atlasae.jets.coordinates import LARGEST_PHI, LARGEST_TURN, MASS_FLOOR, range_of_phi
from atlasae.jets.padding import Padding
from atlasae.jets.recognition import LAYOUTS
from atlasae.jets.rounding import gap_at
from atlasae.jets.variables import JET

_WIDTH = 24  # numbers on a line
_JETS = ("pt", "eta", "phi", "m")
_TYPES = {"f4": "float", "f8": "double"}
# As ROOT names the types of leaves, which are not all those of <cstdint>.
LEAF_TYPES = {
    "f4": "float", "f8": "double", "b1": "bool", "i1": "char", "u1": "unsigned char", "i2": "short",
    "u2": "unsigned short", "i4": "int", "u4": "unsigned", "i8": "long long", "u8": "unsigned long long",
}  # fmt: skip
_NEEDED = {"px": ("pt", "phi"), "py": ("pt", "phi"), "pz": ("pt", "eta"), "E": _JETS}  # inputs of a stored one
_ESCAPED = {"\\": "\\\\", '"': '\\"', "?": "\\?"}
_ACTIVATIONS = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.SiLU: "silu", nn.GELU: "gelu", nn.LeakyReLU: "leaky_relu"}

_HEAD = """\
// Jets from their three floats, made by atlasae: {made}.
// C++17, no dependencies; with ROOT's headers the functions take and give RVec, without them std::vector.
// Values differ from those of `atlasae decompress` by less than 1e-6 as errors are counted (m: of max(|m|, 100 MeV)).
//
{usage}
//
// ROOT's interpreter takes it as it is; after gROOT->LoadMacro("jets.h+O") it calls what the machine's compiler made.
// decode(z0, z1, z2, n, pt, eta, phi, m) decodes n jets at once, into MeV and radians; not exact jets, nor padding.
// Two headers in one program: #define ATLASAE_NAMESPACE before each #include.
"""

_ACTIVATION = """\
ATLASAE_INLINE void {name}(Block* x, int n) {{
    for (int i = 0; i < n; ++i)
        for (double& v : x[i].at) v = {formula};
}}

"""
_FORMULAS = {
    "tanh": "std::tanh(v)",
    "relu": "v > 0 ? v : 0",
    "gelu": "0.5 * v * (1 + std::erf(v * 0.70710678118654752))",
    "leaky_relu": "v > 0 ? v : 0.01 * v",
}

_OPENING = """\
template <unsigned wanted>
ATLASAE_INLINE void block(const float (&z)[3][size], [[maybe_unused]] std::size_t count, Jets& jets) {
"""

_NODES = """\
inline const Nodes<{nodes}>& link{i}_nodes() {{
    static const Nodes<{nodes}> table({{{limits}}}, [](double x, double y) {{
        Block given[2] = {{}};
        given[0].at[0] = {x};
        given[1].at[0] = {y};
        return location({names}, given, 0);
    }});
    return table;
}}

"""

_COLUMN = """\
inline {type} stored_{v}(const Jets& jets, int k) {{
    return static_cast<{type}>({formula});
}}

"""

_PADDING = """\
// What stands where there is no jet: z0 is minus its place here.
inline {type} padding_{v}(float z0) {{
    static constexpr std::uint{bits}_t rows[] = {{{rows}}};
    const float code = -z0;
    if (!(code >= 1 && code <= paddings && code == std::floor(code)))
        throw std::invalid_argument("atlasae: latents stand for rows that are not there: wrong header");
    {type} value;
    std::memcpy(&value, &rows[static_cast<int>(code) - 1], sizeof value);
    return value;
}}

"""

_ENERGY = """\
inline {type} stored_E(const Jets& jets, int k) {{
    const double a = {scale} * stored_{a}(jets, k), b = {unit} * stored_{b}(jets, k), c = {unit} * stored_{c}(jets, k);
    const double m = jets.m.at[k], square = {square} + m * std::fabs(m);
    (void)c;
    return static_cast<{type}>(std::sqrt(square > 0 ? square : 0) / {scale});
}}

"""

_JAGGED = """\
// "{branch}"{unit}
ATLASAE_FUNCTION List<{type}> {v}(const List<float>& z0, const List<float>& z1, const List<float>& z2,
    const List<std::int32_t>& exact_index, const List<{type}>& exact_{v}) {{
    List<{type}> values = detail::restore<{needed}>(z0, z1, z2, exact_index, exact_{v}, detail::stored_{v});
{padding}    return values;
}}

"""

_FLAT = """\
// "{branch}"{unit}
ATLASAE_FUNCTION {type} {v}(float z0, float z1, float z2, const List<std::int32_t>& exact_index,
    const List<{type}>& exact_{v}) {{
    if (!exact_index.empty()) return exact_{v}.at(0);
{padding}    detail::Jets jets;
    detail::some<{needed}>(&z0, &z1, &z2, 0, 1, jets);
    return detail::stored_{v}(jets, 0);
}}

"""


_FILL = {
    True: """\
    for (std::size_t i = 0; i < values.size(); ++i)
        if (z0[i] < 0) values[i] = detail::padding_{v}(z0[i]);
""",
    False: """\
    if (z0 < 0) return detail::padding_{v}(z0);
""",
}  # keyed by whether jets are jagged


@dataclass(frozen=True)
class Addition:
    """What a header has beside the four variables of jets in floats: lines of its use, includes, and code."""

    usage: str = ""
    includes: str = ""
    code: str = ""


def cpp_header(codec: AnyCodec, collection: Collection, made: str, addition: Addition = Addition()) -> str:
    """The header that decodes the branches of a collection with settled units; `made` is its line on their origin.

    Raises DamagedFileError where a collection has names, types or units that may not become code.
    """
    check_words(collection)
    if not isinstance(codec, BottleneckCodec):
        located = codec.grid.nodes != 1 and any(link.located for link in codec.autoencoder.links)
        more = [*(["locations"] if located else []), *(["nodes"] if codec.grid.nodes > 1 else [])]
        body = parts(codec) + "".join(map(part, more)) + _chain(codec)
    else:
        body = _network_block(codec.network)
    used = [name for name in _FORMULAS if f" {name}(" in body]
    activations = [_ACTIVATION.format(name=name, formula=_FORMULAS[name]) for name in used]
    usage = "\n".join(_usage(collection)) + addition.usage
    head = opening(_HEAD.format(made=code_text(made), usage=usage), addition.includes) + part("silu")
    stored = "".join(stored_value(collection, v) for v in collection.variables)
    stored += padding_values(collection, codec.padding)
    functions = "".join(_function(collection, v, bool(codec.padding.rows)) for v in collection.variables)
    decoding = [paddings(codec.padding), part("floats"), part("events"), stored, "}  // namespace detail\n\n"]
    return "".join([head, *activations, body, *decoding, functions, part("decode"), addition.code, part("closing")])


def check_words(collection: Collection) -> None:
    """Raise DamagedFileError where a collection has variables, types or units that may not become code."""
    known = collection.variables in LAYOUTS and collection.units in MEV_PER_UNIT
    if not known or not all(collection.dtypes.get(v, "")[1:] in _TYPES for v in collection.variables):
        raise DamagedFileError(
            f"collection '{collection.name}' is damaged: its variables, types or units are not of jets"
        )


def part(name: str) -> str:
    """A file of `decoder/`, the part that is the same in all headers."""
    return resources.files("atlasae").joinpath("export", "decoder", f"{name}.h").read_text(encoding="ascii")


def parts(codec: FloatsCodec | ResolvedFloatsCodec) -> str:
    """The parts that a grid asks for: words, and offsets and steps by density where it has them."""
    grid = codec.grid
    names = ["words", *(["dither"] if grid.dither else []), *(["densities"] if grid.exponent else [])]
    return "".join(map(part, names))


def opening(head: str, includes: str) -> str:
    """The first part of a header that includes more than that of jets in floats."""
    before, space, after = (head + part("opening")).partition("#ifdef __FAST_MATH__")
    return before + includes + space + after


def code_text(name: str) -> str:
    """A name from a file as the inside of a C++ string literal: ASCII on one line, without trigraphs."""
    return "".join(_ESCAPED.get(c) or (c if " " <= c <= "~" else f"\\U{ord(c):08x}") for c in name)


def _usage(collection: Collection) -> Iterable[str]:
    return (f"//   df{defined(collection, v, f'atlasae::{v}')}" for v in collection.variables)


def defined(collection: Collection, v: str, function: str) -> str:
    """The definition of a variable in an RDataFrame by a function of its stand-ins."""
    stand_ins = (*collection.latents, collection.exact["index"], collection.exact[v])
    names = ", ".join(f'"{code_text(name)}"' for name in stand_ins)
    return f'.Define("{column_name(collection.branches[v])}", {function}, {{{names}}})'


def column_name(branch: str) -> str:
    """The column of an RDataFrame for a branch: letters, digits and _ alone."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in branch)


def constants(numbers: Mapping[str, float]) -> str:
    """Constants by name; bool, int or float as they are in Python."""
    kinds = {bool: "bool", int: "std::int64_t", float: "double"}
    texts = {name: repr(number).lower() for name, number in numbers.items()}
    return "".join(f"inline constexpr {kinds[type(numbers[name])]} {name} = {text};\n" for name, text in texts.items())


def array(kind: str, name: str, numbers: Sequence[Any] | npt.NDArray[Any]) -> str:
    """A constant array, of numbers or of their texts."""
    texts = [number if isinstance(number, str) else _literal(number) for number in numbers]
    lines = [", ".join(texts[i : i + _WIDTH]) for i in range(0, len(texts), _WIDTH)]
    return f"inline constexpr {kind} {name}[] = {{\n" + ",\n".join(lines) + "};\n"


def _literal(number: Any) -> str:
    value = number.item() if isinstance(number, np.generic) else number
    return repr(int(value)) if float(value).is_integer() else repr(float(value))


def pt_of_positions(resolved: ResolvedSteps) -> str:
    """The function that has the pt of positions: that of `ResolvedSteps.pt`."""
    terms = {"pt_share": resolved.shares[0], "pt_first": resolved.origin, "pt_constant": 1.0, "pt_unit": 1.0}
    at_zero, linear, whole = 0.0, 0.0, 1.0
    if resolution := resolved.resolutions[0]:
        noise, _, constant = resolution.terms
        terms |= {"pt_constant": constant, "pt_unit": MEV_PER_UNIT["GeV"]}
        at_zero, linear, whole = resolution.at_zero, 4 * constant * noise, 4 * constant**2
    terms |= {"pt_noisy": bool(at_zero), "pt_square": at_zero, "pt_linear": linear, "pt_whole": whole}
    return constants(terms) + part("resolution")


def paddings(padding: Padding) -> str:
    """The number of rows of padding."""
    return f"inline constexpr int paddings = {len(padding.rows)};\n\n"


def padding_values(collection: Collection, padding: Padding) -> str:
    """The values of all variables in the rows of padding."""
    columns = zip(collection.variables if padding.rows else (), zip(*padding.rows, strict=True), strict=True)
    return "".join(padding_value(v, type_of(collection, v), digits) for v, digits in columns)


def padding_value(v: str, kind: str, digits: Sequence[str]) -> str:
    """The values of one variable of this C++ type in the rows of padding."""
    rows = ", ".join(f"0x{int(number, 16):x}" for number in digits)
    return _PADDING.format(type=kind, v=v, bits=4 * len(digits[0]), rows=rows)


def _function(collection: Collection, v: str, padded: bool) -> str:
    needed = " | ".join(f"detail::of_{jet}" for jet in _NEEDED.get(v, (v,)))
    unit = f" ({found})" if (found := collection.unit_of(v)) else ""
    branch, kind = code_text(collection.branches[v]), type_of(collection, v)
    padding = _FILL[collection.jagged].format(v=v) if padded else ""
    what = {"v": v, "type": kind, "needed": needed, "branch": branch, "unit": unit, "padding": padding}
    return (_JAGGED if collection.jagged else _FLAT).format(**what)


def type_of(collection: Collection, v: str) -> str:
    """The C++ type of a stored variable."""
    return _TYPES[collection.dtypes[v][1:]]


def stored_value(collection: Collection, v: str) -> str:
    """The stored value of a variable, in its own unit and type.

    As in `Layout.from_rows`, momenta are rounded to the stored type, taken to MeV and back, before further rounding.
    """
    assert collection.units is not None
    scale, kind = MEV_PER_UNIT[collection.units], type_of(collection, v)
    if v == "E":
        a, b, c = collection.variables[:3]
        cartesian = a == "px"
        square = "a * a + b * b + c * c" if cartesian else "a * std::cosh(b) * (a * std::cosh(b))"
        unit = scale if cartesian else 1.0
        return _ENERGY.format(type=kind, a=a, b=b, c=c, scale=scale, unit=unit, square=square)
    formula = {
        "px": "jets.pt.at[k] * std::cos(jets.phi.at[k])",
        "py": "jets.pt.at[k] * std::sin(jets.phi.at[k])",
        "pz": "jets.pt.at[k] * std::sinh(jets.eta.at[k])",
        "phi": f"full_turn(jets.phi.at[k], {LARGEST_TURN!r})" if collection.full_turn else "jets.phi.at[k]",
    }.get(v, f"jets.{v}.at[k]")
    formula = formula if v in ("eta", "phi") else f"{formula} / {scale}"
    if v != "m":
        formula = f"static_cast<double>(static_cast<{kind}>({formula}))"
        formula = formula if v in ("eta", "phi") else f"{formula} * {scale} / {scale}"
    rounding = (collection.roundings or {}).get(v)
    formula = _rounded(formula, rounding)
    if rounding and v == "phi":
        (low, high), largest = range_of_phi(collection.full_turn)
        least, gap = -largest if low else 0.0, gap_at(high, rounding)
        formula = f"inside({formula}, {low!r}, {high!r}, {gap!r}, {least!r}, {largest!r})"
    return _COLUMN.format(type=kind, v=v, formula=formula)


def _rounded(formula: str, rounding: Rounding | None) -> str:
    """The C++ form of `rounding.rounded`."""
    if rounding is None:
        return formula
    if rounding.bits is None:
        return f"on_grid({formula}, {rounding.origin!r}, {rounding.step!r})"
    return f"cut<{rounding.bits}>({formula})"


class Network:
    """A network in C++: its constants, and the statements that evaluate it for a block of jets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tables: list[str] = []
        self.steps: list[str] = []

    def run(self, module: nn.Module, x: str, width: int) -> tuple[str, int]:
        """Add the statements of `module` on `width` blocks at `x`; returns the name and number of its outputs."""
        match module:
            case nn.Sequential():
                for part in module:
                    x, width = self.run(part, x, width)
            case Beside():
                straight, outputs = self.run(module.straight, x, width)  # activations overwrite their input
                x, width = self.run(module.layers, x, width)
                self.steps.append(_each(outputs, f"{x}[i].at[k] += {straight}[i].at[k]"))
            case nn.Linear():
                bias = module.bias if module.bias is not None else torch.zeros(module.out_features)
                return self._linear(module.weight, bias, x)
            case nn.BatchNorm1d():
                self._normalise(module, x)
            case nn.Dropout():
                pass
            case _:
                self.steps.append(f"{_ACTIVATIONS[type(module)]}({x}, {width});")
        return x, width

    def _linear(self, weight: Tensor, bias: Tensor, x: str) -> tuple[str, int]:
        place = len(self.tables)
        names = [f"{self.name}_{place + i}" for i in range(2)]
        self.tables += [_table(names[0], weight), _table(names[1], bias)]
        y = f"y{place}"
        self.steps += [f"Block {y}[{len(bias)}];", f"linear({names[0]}, {names[1]}, {x}, {y});"]
        return y, len(bias)

    def _normalise(self, norm: nn.BatchNorm1d, x: str) -> None:
        assert norm.running_var is not None and norm.running_mean is not None
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        names = [f"{self.name}_{len(self.tables) + i}" for i in range(2)]
        self.tables += [_table(names[0], factor), _table(names[1], norm.bias - norm.running_mean * factor)]
        self.steps.append(_each(len(factor), f"{x}[i].at[k] = {x}[i].at[k] * {names[0]}[i] + {names[1]}[i]"))


def _each(n: int, statement: str) -> str:
    return f"for (int i = 0; i < {n}; ++i)\n    for (int k = 0; k < size; ++k) {statement};"


def _table(name: str, numbers: Tensor, kind: str = "double") -> str:
    """A constant array of one or two dimensions, aligned for vector loads."""
    values = numbers.detach().double()
    shape = "".join(f"[{n}]" for n in values.shape)
    literal = _float if kind == "float" or bool((values == values.float()).all()) else repr  # shorter, and as exact
    rows = [", ".join(map(literal, row)) for row in (values if values.ndim == 2 else values[None]).tolist()]
    inner = ",\n".join(f"{{{row}}}" for row in rows)
    return f"alignas(32) inline constexpr {kind} {name}{shape} = {f'{{{inner}}}' if values.ndim == 2 else inner};\n"


def _float(number: float) -> str:
    return f"{number:.9g}f" if set(f"{number:.9g}") & set(".e") else f"{number:.9g}.f"


def indented(lines: Iterable[str], depth: int) -> str:
    """Lines of code, so many times further in."""
    return "".join(f"{'    ' * depth}{line}\n" for text in lines for line in text.splitlines())


def _chain(codec: FloatsCodec | ResolvedFloatsCodec) -> str:
    """The C++ form of `FloatsCodec.decode` or `ResolvedFloatsCodec.decode`."""
    tables, steps = [], []
    for i in range(len(_JETS)):
        network = Network(f"link{i}")
        steps += [f"if constexpr ((wanted & {_mask(codec, i)}) != 0) {{"]
        of_link = (
            partial(_resolved_link, codec) if isinstance(codec, ResolvedFloatsCodec) else partial(link_steps, codec)
        )
        steps += [indented(of_link(i, network), 1), "}"]
        tables += network.tables
    before = pt_of_positions(codec.resolved) if isinstance(codec, ResolvedFloatsCodec) else ""
    return "".join([before, *tables, "\n", _OPENING, indented([*_cells(codec), *steps, *_finish()], 1), "}\n\n"])


def _mask(codec: FloatsCodec | ResolvedFloatsCodec, i: int) -> int:
    """Bits of variable i and of those whose decoding needs it."""
    needed = 1 << i
    for j in range(i + 1, len(_JETS)):
        link = codec.autoencoder.links[j]
        before = {*link.given, *([] if link.anchor is None else [link.anchor])}
        needed |= _mask(codec, j) if i in before else 0
    return needed


def _cells(codec: FloatsCodec | ResolvedFloatsCodec) -> Iterable[str]:
    yield f"std::int64_t cell[{len(_JETS)}][size] = {{}};"
    yield f"Block y[{len(_JETS)}] = {{}}, shift[{len(_JETS)}] = {{}};"
    yield from cell_steps(codec)


def cell_steps(codec: FloatsCodec | ResolvedFloatsCodec) -> Iterable[str]:
    """The cells (`cell`, which are 0 before) and offsets (`shift`) of the words `z`."""
    yield "for (int k = 0; k < size; ++k) {"
    for j, digits in enumerate(codec.grid.words):
        yield f"    std::uint32_t word{j} = word_of(z[{j}][k]);"
        for digit in reversed(digits):
            yield f"    cell[{digit.variable}][k] += digit<{digit.radix}>(word{j}) * std::int64_t{{{digit.divisor}}};"
    resolved = isinstance(codec, ResolvedFloatsCodec)
    over = " || ".join([
        *(f"word{j}" for j in range(len(codec.grid.words))),
        *([f"cell[0][k] >= {codec.grid.levels[0]}"] if resolved else []),
    ])  # fmt: skip
    yield f'    if ({over}) throw std::invalid_argument("atlasae: latents hold more than their digits: wrong header");'
    yield from indented(_shifts(codec), 1).splitlines()
    if not resolved:
        yield from (f"    cell[{i}][k] -= cell[{i}][k] >> {BLOCK_BITS};" for i in codec.grid.dither.blocks)
    yield "}"


def _shifts(codec: FloatsCodec | ResolvedFloatsCodec) -> Iterable[str]:
    """The offset of each shifted variable of a jet (`dither.Offsets`)."""
    dither, added, state = codec.grid.dither, list[str](), "std::int64_t state = 0;"
    for part in dither.order(codec.autoencoder.free):
        i = part.variable
        if part.shifted:
            yield state
            yield from (f"state = with(state, {number}, {dither.weight});" for number in added)
            added, state = [], f"state = mixed(state, {dither.rounds});"
            yield f"shift[{i}].at[k] = static_cast<double>(state) / 2147483648;"
        cell = f"cell[{i}][k]"
        added.append(
            f"({cell} >> {BLOCK_BITS})" if part.of_block else f"({cell} & {BLOCK_STEPS})" if part.in_block else cell
        )


def link_steps(codec: FloatsCodec, i: int, network: Network) -> Iterable[str]:
    """The coordinate of variable i from its cell and the coordinates before it."""
    grid, density = codec.grid, codec.autoencoder.densities[i]
    yield f"const Block u = cumulative(cell[{i}], shift[{i}], {grid.first[i]}, {grid.cells[i]!r});"
    yield from _where(codec, i, network)
    if grid.exponent:
        yield from _bins(codec, i, network)
        yield f"const Block inside = quantile(u, link{i}_edges, mass);"
        inside = "inside.at[k]"
    else:
        low, high = float(density.edges[0]), float(density.edges[-1])
        inside = f"({low!r} + rounded({high - low!r} * u.at[k]))"
    yield f"for (int k = 0; k < size; ++k) y[{i}].at[k] = {_origin(codec, i)} + {inside};"


def _resolved_link(codec: ResolvedFloatsCodec, i: int, network: Network) -> Iterable[str]:
    """The same of steps that follow the resolution, which tables have for the cells of pt."""
    first, blocks = codec.first[i], i in codec.dither.blocks
    number = f"cell[{i}][k] & {BLOCK_STEPS}" if blocks else f"cell[{i}][k] + {first}"
    middle = f"static_cast<double>({number}) + 0.5 - shift[{i}].at[k]"
    if i == 0:
        yield f"for (int k = 0; k < size; ++k) y[0].at[k] = std::log(pt_at({middle}));"
        return
    there = codec.resolved.steps(i)[codec.first[0] : codec.first[0] + codec.levels[0]]
    network.tables += [array("std::int32_t", f"link{i}_steps", there)]
    yield from _where(codec, i, network)
    edge = f"static_cast<double>((cell[{i}][k] >> {BLOCK_BITS}) + {first}) * {BLOCK_STEPS * codec.smallest[i]}"
    inside = f"({middle}) * link{i}_steps[cell[0][k]]"
    fine = f"({edge} + {inside})" if blocks else inside
    origin = f"{-np.pi!r}" if i == 2 else _origin(codec, i) if i == 3 else "0"
    yield f"for (int k = 0; k < size; ++k) y[{i}].at[k] = {origin} + {fine} / {PER_ONE};"


def _origin(codec: FloatsCodec | ResolvedFloatsCodec, i: int) -> str:
    """Where the steps of variable i are counted from."""
    link = codec.autoencoder.links[i]
    origin = f"{float(link.offset)!r}" + (f" + y[{link.anchor}].at[k]" if link.anchor is not None else "")
    return f"{origin} + where.at[k]" if link.located and codec.grid.nodes != 1 else origin


def _where(codec: FloatsCodec | ResolvedFloatsCodec, i: int, network: Network) -> Iterable[str]:
    """The learned location of variable i, if it has one."""
    if not codec.autoencoder.links[i].located or codec.grid.nodes == 1:
        return
    if codec.variables != JET:
        yield from _precise_where(codec, i, network)
        return
    tables, names = _location(codec.autoencoder.locations[str(i)], f"link{i}_where")
    network.tables += tables
    yield "Block where = {};"
    if codec.grid.nodes:
        network.tables += [_nodes(codec, i, names)]
        where = f"link{i}_nodes().at({', '.join(f'y[{j}].at[k]' for j in codec.autoencoder.links[i].given)})"
    else:
        yield from _context(codec, i, "given")
        where = f"location({', '.join(names)}, given, k)"
    yield f"for (std::size_t k = 0; k < count; ++k) where.at[k] = {where};"


def _precise_where(codec: FloatsCodec | ResolvedFloatsCodec, i: int, network: Network) -> Iterable[str]:
    """The location in double; inputs are so many that all variables need the same few instances of a template."""
    first, second, last = _layers(codec.autoencoder.locations[str(i)])
    inputs = first.weight.shape[1] + -first.weight.shape[1] % 8
    tables = [functional.pad(first.weight, (0, inputs - first.weight.shape[1])), first.bias]
    tables += [second.weight, second.bias, last.weight, last.bias]
    names = [f"link{i}_where_{number}" for number in range(len(tables))]
    network.tables += map(_table, names, tables)
    yield from _context(codec, i, "given", inputs)
    yield f"const Block where = Location<{inputs}, {len(first.bias)}>{{{', '.join(names)}}}.at(given);"


def _layers(module: nn.Module) -> Iterable[nn.Linear]:
    """The layers of the network of a location."""
    return (part for part in module.modules() if isinstance(part, nn.Linear))


def _location(module: nn.Module, name: str) -> tuple[list[str], list[str]]:
    """The tables of a float network with two hidden layers and one output, and the arguments of `location`."""
    first, second, last = _layers(module)
    wide = -len(first.bias) % 8
    tables = {
        "0": functional.pad(first.weight.T, (0, wide)),
        "1": functional.pad(first.bias, (0, wide)),
        "2": functional.pad(second.weight.T, (0, wide, 0, wide)),
        "3": functional.pad(second.bias, (0, wide)),
        "4": functional.pad(last.weight[0], (0, wide)),
    }
    names = [f"{name}_{number}" for number in tables]
    text = [_table(f"{name}_{number}", table, "float") for number, table in tables.items()]
    return text, [*names, _float(last.bias.item())]


def _nodes(codec: FloatsCodec | ResolvedFloatsCodec, i: int, names: Sequence[str]) -> str:
    """The table of the locations of variable i, which its network fills when it is first used."""
    given = codec.autoencoder.links[i].given
    limits = ", ".join(repr(end) for j in given for end in codec.autoencoder.trained[j].tolist())
    links = [codec.autoencoder.links[j] for j in given]
    scaled = [f"({x} - {float(j.centre)!r}) / {float(j.scale)!r}" for x, j in zip("xy", links, strict=True)]
    return _NODES.format(i=i, nodes=codec.grid.nodes, limits=limits, x=scaled[0], y=scaled[1], names=", ".join(names))


def _context(codec: FloatsCodec | ResolvedFloatsCodec, i: int, name: str, inputs: int = 0) -> Iterable[str]:
    """The inputs of the networks of variable i, clipped to the range of the training; then 0 up to `inputs`."""
    given = codec.autoencoder.links[i].given
    yield f"Block {name}[{inputs}] = {{}};" if inputs else f"Block {name}[{len(given)}];"
    yield "for (int k = 0; k < size; ++k) {"
    for place, j in enumerate(given):
        link, (low, high) = codec.autoencoder.links[j], codec.autoencoder.trained[j].tolist()
        asked = f"within(y[{j}].at[k], {low!r}, {high!r})"
        yield f"    {name}[{place}].at[k] = ({asked} - {float(link.centre)!r}) / {float(link.scale)!r};"
    yield "}"


def _bins(codec: FloatsCodec, i: int, network: Network) -> Iterable[str]:
    """The mass of every bin, for links whose steps are not equal."""
    density, exponent = codec.autoencoder.densities[i], codec.grid.exponent
    network.tables.append(_table(f"link{i}_edges", density.edges))
    bins = len(density.edges) - 1
    if isinstance(density.logits, Constant):
        with torch.no_grad():
            network.tables.append(_table(f"link{i}_mass", density.masses(torch.empty(0), exponent)[0]))
        yield f"Block mass[{bins}];"
        yield _each(bins, f"mass[i].at[k] = link{i}_mass[i]")
        return
    yield from _context(codec, i, "context")
    mass, _ = network.run(density.logits, "context", len(codec.autoencoder.links[i].given))
    network.tables += _shares(density, exponent, f"link{i}")
    yield from network.steps
    yield f"Block* const mass = {mass};"
    yield f"masses(mass, link{i}_share, link{i}_stretch, {exponent!r}, {density.uniform!r});"


def _shares(density: Density, exponent: float, name: str) -> Sequence[str]:
    widths = density.edges.diff()
    return [_table(f"{name}_share", widths / widths.sum()), _table(f"{name}_stretch", widths ** (1 - exponent))]


def _finish() -> Iterable[str]:
    yield "if constexpr ((wanted & of_pt) != 0) exponential(jets.pt = y[0]);"
    yield "jets.eta = y[1];"
    yield from _clipped("y[2].at[k]")
    yield "if constexpr ((wanted & of_m) != 0) {"
    yield "    jets.m = from_symlog(y[3]);"
    yield f"    for (double& m : jets.m.at) m *= {MASS_FLOOR!r};"
    yield "}"


def _clipped(phi: str) -> Iterable[str]:
    """phi, at most the largest float32 below pi."""
    nearest = f"within({phi}, {-LARGEST_PHI!r}, {LARGEST_PHI!r})"
    yield f"for (int k = 0; k < size; ++k) jets.phi.at[k] = {nearest};"


def _network_block(autoencoder: BottleneckAutoencoder) -> str:
    """The C++ form of `BottleneckAutoencoder.decode` and `columns_to_jets`."""
    shape, network = autoencoder.shape, Network("decoder")
    out, _ = network.run(autoencoder.decoder, "latent", shape.latent)
    steps = [f"Block latent[{shape.latent}];"]
    steps += ["for (int k = 0; k < size; ++k) {"]
    steps += [f"    latent[{j}].at[k] = z[{j}][k];" for j in range(shape.latent)]
    finite = " && ".join(f"std::isfinite(z[{j}][k])" for j in range(shape.latent))
    steps += [f'    if (!({finite})) throw std::invalid_argument("atlasae: latents are not finite");', "}"]
    steps += [*network.steps, "for (int k = 0; k < size; ++k) {"]
    for j, (column, scaling) in enumerate(zip(shape.columns, shape.scalings, strict=True)):
        mean, std = float(autoencoder.mean[j]), float(autoencoder.std[j])
        steps.append(f"    const double {column} = {scaling}({out}[{j}].at[k] * {std!r} + {mean!r});")
    steps += [*_jet(shape.columns), "}"]
    return "".join([_UNSCALE, *network.tables, "\n", _OPENING, indented(steps, 1), "}\n\n"])


_UNSCALE = f"""\
inline double linear(double x) {{ return x; }}
inline double log10(double x) {{ return std::exp(within(x, -30, 30) * 2.302585092994046); }}
inline double asinh(double x) {{ return std::sinh(within(x, -60, 60)) * {ASINH_SCALE!r}; }}

"""


def _jet(columns: Sequence[str]) -> Iterable[str]:
    """A jet from a network's columns: in GeV, with phi in any turn."""
    turn = "6.283185307179586"
    yield "    jets.pt.at[k] = 1000 * pt, jets.eta.at[k] = eta;"
    yield f"    const double turned = phi - {turn} * std::floor((phi + {turn} / 2) / {turn});"
    yield f"    jets.phi.at[k] = within(turned, {-LARGEST_PHI!r}, {LARGEST_PHI!r});"
    if "m" in columns:
        yield "    jets.m.at[k] = 1000 * m;"
        return
    yield "    const double p = 1000 * pt * std::cosh(eta), square = (1000 * E - p) * (1000 * E + p);"
    yield "    jets.m.at[k] = std::copysign(std::sqrt(std::fabs(square)), square);"
