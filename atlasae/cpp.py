"""A codec as one C++ header: three floats to jets, with no library but the standard one."""

import json
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from atlasae.bottleneck import ASINH_SCALE, Beside, BottleneckAutoencoder
from atlasae.codec import BottleneckCodec, FloatsCodec
from atlasae.coordinates import LARGEST_PHI, MASS_FLOOR
from atlasae.invertible import Constant, Density
from atlasae.schema import MEV_PER_UNIT, Collection

JETS = ("pt", "eta", "phi", "m")
_TYPES = {"f4": "float", "f8": "double"}
_NEEDED = {"px": ("pt", "phi"), "py": ("pt", "phi"), "pz": ("pt", "eta"), "E": JETS}  # of a jet, for what is stored
_ACTIVATIONS = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.SiLU: "silu", nn.GELU: "gelu", nn.LeakyReLU: "leaky_relu"}

_HEAD = """\
// Jets from their three floats, made by atlasae: %(made)s.
// C++17, no dependencies; with ROOT's headers the functions take and give RVec, without them std::vector.
// Decoding is in double: values differ from those of `atlasae decompress` by rounding alone.
//
%(usage)s
//
// decode(z0, z1, z2, n, pt, eta, phi, m) decodes n jets at once, into MeV and radians; exact jets are not its matter.
// Two headers in one program: #define ATLASAE_NAMESPACE before each #include.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>
#if __has_include(<ROOT/RVec.hxx>)
#include <ROOT/RVec.hxx>
#endif

#ifdef __FAST_MATH__
#error "-ffast-math breaks the exponential of this header: leave it out"
#endif
#ifndef ATLASAE_NAMESPACE
#define ATLASAE_NAMESPACE atlasae
#endif

namespace ATLASAE_NAMESPACE {

#if __has_include(<ROOT/RVec.hxx>)
template <class T>
using List = ROOT::VecOps::RVec<T>;
#else
template <class T>
using List = std::vector<T>;
#endif

namespace detail {

// Vectors as g++ and clang have them: four doubles in one register with AVX, in two without.
typedef double Pack __attribute__((vector_size(32), may_alias));
typedef std::int64_t Bits __attribute__((vector_size(32), may_alias));
constexpr int packs = 2;
constexpr int size = 4 * packs;  // jets worked on at once

// Compiled twice, where a program need not be for AVX2: what the machine has is found when it runs. Not in cling, which
// compiles for the machine it is on.
#define ATLASAE_INLINE __attribute__((always_inline)) inline
#if defined(__x86_64__) && !defined(__AVX2__) && !defined(__CLING__)
#define ATLASAE_TWICE
#endif

struct alignas(64) Block {
    double at[size];

    Pack& pack(int q) { return reinterpret_cast<Pack*>(at)[q]; }
    const Pack& pack(int q) const { return reinterpret_cast<const Pack*>(at)[q]; }
};

struct Jets {
    Block pt, eta, phi, m;  // MeV and radians
};

enum Variable : unsigned { of_pt = 1, of_eta = 2, of_phi = 4, of_m = 8 };

ATLASAE_INLINE double within(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// exp to 1e-12: 2^n exp(r), n in the last bits of a number so large that it holds no fraction, exp(r) a series.
ATLASAE_INLINE void exponential(Pack& x) {
    constexpr double shift = 0x1.8p52;
    const Pack zero = {}, low = zero - 700, high = zero + 700;
    const Bits below = x < low, above = x > high;
    x = (Pack)((below & (Bits)low) | (above & (Bits)high) | (~(below | above) & (Bits)x));
    const Pack shifted = x * 1.4426950408889634 + shift;
    const Pack n = shifted - shift;
    const Pack r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    const Pack square = r * r, fourth = square * square;
    const Pack lower = (1 + r) + square * (0.5 + r * (1.0 / 6)), middle = 1.0 / 24 + r * (1.0 / 120);
    const Pack upper = (1.0 / 40320 + r * (1.0 / 362880)) + square * (1.0 / 3628800);
    const Pack series = lower + fourth * ((middle + square * (1.0 / 720 + r * (1.0 / 5040))) + fourth * upper);
    x = series * (Pack)(((Bits)shifted + 1023) << 52);
}

ATLASAE_INLINE void exponential(Block& x) {
    for (int q = 0; q < packs; ++q) exponential(x.pack(q));
}

template <int inputs, int outputs>
ATLASAE_INLINE void linear(const double (&weight)[outputs][inputs], const double (&bias)[outputs], const Block* x,
                           Block* y) {
    for (int o = 0; o < outputs; o += 2) {
        const int p = o + 1 < outputs ? o + 1 : o;
        Pack a = Pack{} + bias[o], b = a, c = Pack{} + bias[p], d = c;
        for (int i = 0; i < inputs; ++i) {
            const double v = weight[o][i], w = weight[p][i];
            a += v * x[i].pack(0), b += v * x[i].pack(1), c += w * x[i].pack(0), d += w * x[i].pack(1);
        }
        y[o].pack(0) = a, y[o].pack(1) = b, y[p].pack(0) = c, y[p].pack(1) = d;
    }
}

"""

_SILU = """\
ATLASAE_INLINE void silu(Block* x, int n) {
    for (int i = 0; i < n; ++i)
        for (int q = 0; q < packs; ++q) {
            Pack e = -x[i].pack(q);
            exponential(e);
            x[i].pack(q) /= 1 + e;
        }
}

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

_WORDS = """\
// The 23 bits of a float between 1 and 2.
inline std::uint32_t word_of(float z) {
    if (!(z >= 1 && z < 2)) throw std::invalid_argument("atlasae: latents are not between 1 and 2");
    std::uint32_t bits;
    std::memcpy(&bits, &z, sizeof z);
    return bits & 0x7fffff;
}

// The last digit of a word, which is taken off it.
template <std::uint32_t radix>
std::int64_t digit(std::uint32_t& word) {
    const std::uint32_t last = word % radix;
    word /= radix;
    return last;
}

ATLASAE_INLINE Block cumulative(const std::int64_t* cell, double first, double cells) {
    Block u;
    for (int k = 0; k < size; ++k) u.at[k] = within((static_cast<double>(cell[k]) + first + 0.5) / cells, 0, 1);
    return u;
}

// m / 100 MeV of a jet: linear between -1 and 1, an exponential outside.
ATLASAE_INLINE Block from_symlog(const Block& y) {
    Block large, x;
    for (int k = 0; k < size; ++k) large.at[k] = std::fabs(y.at[k]) > 1 ? std::fabs(y.at[k]) - 1 : 0;
    exponential(large);
    for (int k = 0; k < size; ++k)
        x.at[k] = std::fabs(y.at[k]) < 1 ? y.at[k] : std::copysign(large.at[k], y.at[k]);
    return x;
}

"""

_DENSITY = """\
// Where a network has a say: the mass of each bin, the density to the power a, from its logits.
template <int bins>
ATLASAE_INLINE void masses(Block* x, const double (&share)[bins], const double (&stretch)[bins], double a,
                           double uniform) {
    for (int k = 0; k < size; ++k) {
        double top = x[0].at[k];
        for (int b = 1; b < bins; ++b) top = x[b].at[k] > top ? x[b].at[k] : top;
        for (int b = 0; b < bins; ++b) x[b].at[k] -= top;
    }
    for (int part = 0; part < 2; ++part) {
        Block sum{};
        for (int b = 0; b < bins; ++b) {
            exponential(x[b]);
            for (int k = 0; k < size; ++k) x[b].at[k] *= part ? stretch[b] : 1;
            for (int k = 0; k < size; ++k) sum.at[k] += x[b].at[k];
        }
        for (int b = 0; b < bins; ++b)
            for (int k = 0; k < size; ++k) {
                x[b].at[k] /= sum.at[k];
                if (!part) x[b].at[k] = a * std::log((1 - uniform) * x[b].at[k] + uniform * share[b]);
            }
    }
}

// The y below which a part u of the masses lies.
template <int edges>
ATLASAE_INLINE double quantile(double u, const double (&edge)[edges], const Block* mass, int k) {
    double below = 0;
    int b = 0;
    while (b < edges - 2 && below + mass[b].at[k] < u) below += mass[b++].at[k];
    return edge[b] + (edge[b + 1] - edge[b]) * within((u - below) / mass[b].at[k], 0, 1);
}

"""

_OPENING = """\
template <unsigned wanted>
ATLASAE_INLINE void block(const float (&z)[3][size], Jets& jets) {
"""

_TAIL = """\
#ifdef ATLASAE_TWICE
template <unsigned wanted>
__attribute__((target("avx2,fma"))) void block_avx2(const float (&z)[3][size], Jets& jets) {
    block<wanted>(z, jets);
}
#endif

template <unsigned wanted>
void block_here(const float (&z)[3][size], Jets& jets) {
#ifdef ATLASAE_TWICE
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return block_avx2<wanted>(z, jets);
#endif
    block<wanted>(z, jets);
}

// Jets from `start` on, at most `size` of them.
template <unsigned wanted>
std::size_t some(const float* z0, const float* z1, const float* z2, std::size_t start, std::size_t n, Jets& jets) {
    const std::size_t count = n - start < size ? n - start : size;
    float z[3][size];
    for (std::size_t k = 0; k < size; ++k) {
        const std::size_t i = start + (k < count ? k : 0);
        z[0][k] = z0[i], z[1][k] = z1[i], z[2][k] = z2[i];
    }
    block_here<wanted>(z, jets);
    return count;
}

template <unsigned wanted, class T, class Stored>
List<T> restore(const List<float>& z0, const List<float>& z1, const List<float>& z2,
                const List<std::int32_t>& exact_index, const List<T>& exact, Stored stored) {
    const std::size_t n = z0.size();
    if (z1.size() != n || z2.size() != n || exact.size() != exact_index.size())
        throw std::invalid_argument("atlasae: branches of different lengths: not one collection");
    List<T> values(n);
    Jets jets;
    for (std::size_t start = 0; start < n; start += size) {
        const std::size_t count = some<wanted>(z0.data(), z1.data(), z2.data(), start, n, jets);
        for (std::size_t k = 0; k < count; ++k) values[start + k] = stored(jets, static_cast<int>(k));
    }
    for (std::size_t i = 0; i < exact.size(); ++i) {
        if (exact_index[i] < 0 || static_cast<std::size_t>(exact_index[i]) >= n)
            throw std::invalid_argument("atlasae: exact jets that are not in their event");
        values[exact_index[i]] = exact[i];
    }
    return values;
}

"""

_COLUMN = """\
inline {type} stored_{v}(const Jets& jets, int k) {{
    return static_cast<{type}>({formula});
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
// {branch}
inline List<{type}> {v}(const List<float>& z0, const List<float>& z1, const List<float>& z2,
    const List<std::int32_t>& exact_index, const List<{type}>& exact_{v}) {{
    return detail::restore<{needed}>(z0, z1, z2, exact_index, exact_{v}, detail::stored_{v});
}}

"""

_FLAT = """\
// {branch}
inline {type} {v}(float z0, float z1, float z2, const List<std::int32_t>& exact_index,
    const List<{type}>& exact_{v}) {{
    if (!exact_index.empty()) return exact_{v}.at(0);
    detail::Jets jets;
    detail::some<{needed}>(&z0, &z1, &z2, 0, 1, jets);
    return detail::stored_{v}(jets, 0);
}}

"""

_DECODE = """\
// n jets: pt and m in MeV, eta, phi.
inline void decode(const float* z0, const float* z1, const float* z2, std::size_t n, double* pt, double* eta,
                   double* phi, double* m) {
    detail::Jets jets;
    for (std::size_t start = 0; start < n; start += detail::size) {
        const std::size_t count = detail::some<15>(z0, z1, z2, start, n, jets);
        for (std::size_t k = 0; k < count; ++k) {
            pt[start + k] = jets.pt.at[k], eta[start + k] = jets.eta.at[k];
            phi[start + k] = jets.phi.at[k], m[start + k] = jets.m.at[k];
        }
    }
}

}  // namespace ATLASAE_NAMESPACE
#undef ATLASAE_NAMESPACE
#undef ATLASAE_INLINE
#undef ATLASAE_TWICE
"""


def cpp_header(codec: FloatsCodec | BottleneckCodec, collection: Collection, made: str) -> str:
    """The header that brings the branches of a collection (with settled units) back; `made` says of what it is."""
    if isinstance(codec, FloatsCodec):
        body = _WORDS + (_DENSITY if codec.grid.exponent else "") + _chain(codec)
    else:
        body = _network_block(codec.network)
    used = [name for name in _FORMULAS if f" {name}(" in body]
    activations = [_ACTIVATION.format(name=name, formula=_FORMULAS[name]) for name in used]
    head = _HEAD % {"made": _text(made), "usage": "\n".join(_usage(collection))}
    stored = "".join(_stored(collection, v) for v in collection.variables)
    functions = "".join(_function(collection, v) for v in collection.variables)
    return "".join([head, _SILU, *activations, body, _TAIL, stored, "}  // namespace detail\n\n", functions, _DECODE])


def _text(name: str) -> str:
    """What a file calls something, fit for a comment."""
    return json.dumps(name)[1:-1]


def _usage(collection: Collection) -> Iterable[str]:
    for v, branch in collection.branches.items():
        names = ", ".join(
            f'"{_text(name)}"' for name in (*collection.latents, collection.exact["index"], collection.exact[v])
        )
        column = "".join(c if c.isascii() and c.isalnum() else "_" for c in branch)
        yield f'//   df.Define("{column}", atlasae::{v}, {{{names}}})'


def _function(collection: Collection, v: str) -> str:
    needed = " | ".join(f"detail::of_{jet}" for jet in _NEEDED.get(v, (v,)))
    unit = f" ({collection.units})" if v not in ("eta", "phi") else ""
    what = {"v": v, "type": _type(collection, v), "needed": needed, "branch": _text(collection.branches[v]) + unit}
    return (_JAGGED if collection.jagged else _FLAT).format(**what)


def _type(collection: Collection, v: str) -> str:
    return _TYPES[collection.dtypes[v][1:]]


def _stored(collection: Collection, v: str) -> str:
    """What stands in the branch of a variable: in its own unit and type."""
    assert collection.units is not None
    scale, kind = MEV_PER_UNIT[collection.units], _type(collection, v)
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
    }.get(v, f"jets.{v}.at[k]")
    return _COLUMN.format(type=kind, v=v, formula=formula if v in ("eta", "phi") else f"{formula} / {scale}")


class _Network:
    """A network in C++: its numbers, and the statements that run a block of jets through it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tables: list[str] = []
        self.steps: list[str] = []

    def run(self, module: nn.Module, x: str, width: int) -> tuple[str, int]:
        """Add what `module` does to the blocks `x`, so many of them; gives where its outputs are, and how many."""
        match module:
            case nn.Sequential():
                for part in module:
                    x, width = self.run(part, x, width)
            case Beside():
                straight, outputs = self.run(module.straight, x, width)  # first: activations change their input
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


def _table(name: str, numbers: Tensor) -> str:
    """A constant array of one or two dimensions."""
    values = numbers.detach().double()
    shape = "".join(f"[{n}]" for n in values.shape)
    rows = [", ".join(map(repr, row)) for row in (values if values.ndim == 2 else values[None]).tolist()]
    inner = ",\n".join(f"{{{row}}}" for row in rows)
    return f"inline constexpr double {name}{shape} = {f'{{{inner}}}' if values.ndim == 2 else inner};\n"


def _indented(lines: Iterable[str], depth: int) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for text in lines for line in text.splitlines())


def _chain(codec: FloatsCodec) -> str:
    """The walk of `InvertibleAutoencoder.decode`, and `from_coordinates`."""
    tables, steps = [], []
    for i in range(len(JETS)):
        network = _Network(f"link{i}")
        steps += [f"if constexpr ((wanted & {_mask(codec, i)}) != 0) {{"]
        steps += [_indented(_link(codec, i, network), 1), "}"]
        tables += network.tables
    return "".join([*tables, "\n", _OPENING, _indented([*_cells(codec), *steps, *_finish()], 1), "}\n\n"])


def _mask(codec: FloatsCodec, i: int) -> int:
    """The variables for which that of link i is needed, one bit each."""
    needed = 1 << i
    for j in range(i + 1, len(JETS)):
        link = codec.autoencoder.links[j]
        before = {*link.given, *([] if link.anchor is None else [link.anchor])}
        needed |= _mask(codec, j) if i in before else 0
    return needed


def _cells(codec: FloatsCodec) -> Iterable[str]:
    yield f"std::int64_t cell[{len(JETS)}][size] = {{}};"
    yield f"Block y[{len(JETS)}] = {{}};"
    yield "for (int k = 0; k < size; ++k) {"
    for j, digits in enumerate(codec.grid.words):
        yield f"    std::uint32_t word{j} = word_of(z[{j}][k]);"
        for digit in reversed(digits):
            yield f"    cell[{digit.variable}][k] += digit<{digit.radix}>(word{j}) * std::int64_t{{{digit.divisor}}};"
    over = " || ".join(f"word{j}" for j in range(len(codec.grid.words)))
    yield f'    if ({over}) throw std::invalid_argument("atlasae: latents hold more than their digits: wrong header");'
    yield "}"


def _link(codec: FloatsCodec, i: int, network: _Network) -> Iterable[str]:
    """The coordinate of variable i, from its cell and the coordinates before it."""
    link, grid, density = codec.autoencoder.links[i], codec.grid, codec.autoencoder.densities[i]
    yield f"const Block u = cumulative(cell[{i}], {grid.first[i]}, {grid.cells[i]!r});"
    origin = f"{float(link.offset)!r}" + (f" + y[{link.anchor}].at[k]" if link.anchor is not None else "")
    if link.located:
        where, _ = network.run(codec.autoencoder.locations[str(i)], "given", len(link.given))
        origin += f" + {where}[0].at[k]"
        yield from (*_context(codec, i, "given"), *network.steps)
        network.steps.clear()
    if grid.exponent:
        yield from _bins(codec, i, network)
        inside = f"quantile(u.at[k], link{i}_edges, mass, k)"
    else:
        low, high = float(density.edges[0]), float(density.edges[-1])
        inside = f"({low!r} + {high - low!r} * u.at[k])"
    yield f"for (int k = 0; k < size; ++k) y[{i}].at[k] = {origin} + {inside};"


def _context(codec: FloatsCodec, i: int, name: str) -> Iterable[str]:
    """What the networks of variable i are given, nowhere beyond what they were trained on."""
    given = codec.autoencoder.links[i].given
    yield f"Block {name}[{len(given)}];"
    yield "for (int k = 0; k < size; ++k) {"
    for place, j in enumerate(given):
        link, (low, high) = codec.autoencoder.links[j], codec.autoencoder.trained[j].tolist()
        asked = f"within(y[{j}].at[k], {low!r}, {high!r})"
        yield f"    {name}[{place}].at[k] = ({asked} - {float(link.centre)!r}) / {float(link.scale)!r};"
    yield "}"


def _bins(codec: FloatsCodec, i: int, network: _Network) -> Iterable[str]:
    """The mass of every bin, where steps are not equal."""
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
    """phi as the largest float32 below pi has it at most."""
    nearest = f"within({phi}, {-LARGEST_PHI!r}, {LARGEST_PHI!r})"
    yield f"for (int k = 0; k < size; ++k) jets.phi.at[k] = {nearest};"


def _network_block(autoencoder: BottleneckAutoencoder) -> str:
    """The steps of `BottleneckAutoencoder.decode`, and `columns_to_jets`."""
    shape, network = autoencoder.shape, _Network("decoder")
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
    return "".join([_UNSCALE, *network.tables, "\n", _OPENING, _indented(steps, 1), "}\n\n"])


_UNSCALE = f"""\
inline double linear(double x) {{ return x; }}
inline double log10(double x) {{ return std::exp(within(x, -30, 30) * 2.302585092994046); }}
inline double asinh(double x) {{ return std::sinh(within(x, -60, 60)) * {ASINH_SCALE!r}; }}

"""


def _jet(columns: Sequence[str]) -> Iterable[str]:
    """A jet of the columns that a network tells: in GeV, phi anywhere."""
    turn = "6.283185307179586"
    yield "    jets.pt.at[k] = 1000 * pt, jets.eta.at[k] = eta;"
    yield f"    const double turned = phi - {turn} * std::floor((phi + {turn} / 2) / {turn});"
    yield f"    jets.phi.at[k] = within(turned, {-LARGEST_PHI!r}, {LARGEST_PHI!r});"
    if "m" in columns:
        yield "    jets.m.at[k] = 1000 * m;"
        return
    yield "    const double p = 1000 * pt * std::cosh(eta), square = (1000 * E - p) * (1000 * E + p);"
    yield "    jets.m.at[k] = std::copysign(std::sqrt(std::fabs(square)), square);"
