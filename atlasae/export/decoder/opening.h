#pragma once

#ifdef __CLING__
#pragma cling optimize(3)
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>
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

// Compiled twice, where a program need not be for AVX2: what the machine has is found when it runs.
#define ATLASAE_INLINE __attribute__((always_inline)) inline
#if defined(__x86_64__) && !(defined(__AVX2__) && defined(__FMA__))
#define ATLASAE_TWICE
#include <cpuid.h>
#endif

// ROOT's interpreter compiles a function with whatever first calls it, and then hardly optimises it, unless it has done
// so before: with this header, as asked for above, or in a library that ACLiC made of it.
#if defined(__CLING__) || defined(__ACLIC__)
#define ATLASAE_FUNCTION __attribute__((used)) inline
#else
#define ATLASAE_FUNCTION inline
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
typedef std::uint64_t Shifted __attribute__((vector_size(32), may_alias));
constexpr int size = 4;  // jets worked on at once: events have few

struct alignas(32) Block {
    double at[size];

    Pack& pack() { return reinterpret_cast<Pack&>(at); }
    const Pack& pack() const { return reinterpret_cast<const Pack&>(at); }
};

struct Jets {
    Block pt, eta, phi, m;  // MeV and radians
};

enum Variable : unsigned { of_pt = 1, of_eta = 2, of_phi = 4, of_m = 8 };

ATLASAE_INLINE double within(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// A product that is rounded before a sum takes it: contexts must be the same on all machines.
ATLASAE_INLINE double rounded(double x) {
#if defined(__x86_64__)
    __asm__("" : "+x"(x));
    return x;
#else
    volatile double found = x;
    return found;
#endif
}

// The nearest number with so many bits of mantissa.
template <int bits>
inline double cut(double x) {
    int exponent;
    const double mantissa = std::frexp(x, &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits + 1)), exponent - bits - 1);
}

inline double on_grid(double x, double origin, double step) {
    return origin + step * std::nearbyint((x - origin) / step);
}

// What was rounded to beyond the range of phi, on this side of its end.
inline double inside(double phi, double low, double high, double gap, double least, double largest) {
    const double found = phi > high ? phi - gap : phi < low ? phi + gap : phi;
    return within(found, least, largest);
}

// phi in [0, 2 pi), below the float32 nearest to 2 pi.
inline double full_turn(double phi, double largest) {
    return std::fmin(phi < 0 ? phi + 6.283185307179586 : phi, largest);
}

// The inverse of x for |x| < 1, and else of sign(x) (1 + log|x|).
inline double from_symlog(double y) {
    const double size = std::fabs(y);
    return std::copysign(size < 1 ? size : std::exp(size - 1), y);
}

// exp to 1e-15: 2^n exp(r), n in the last bits of a number so large that it holds no fraction, exp(r) a series.
ATLASAE_INLINE void exponential(Block& block) {
    constexpr double shift = 0x1.8p52;
    Pack x = block.pack();
    const Pack zero = {}, low = zero - 700, high = zero + 700;
    const Bits below = x < low, above = x > high;
    x = (Pack)((below & (Bits)low) | (above & (Bits)high) | (~(below | above) & (Bits)x));
    const Pack shifted = x * 1.4426950408889634 + shift;
    const Pack n = shifted - shift;
    const Pack r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    const Pack square = r * r, fourth = square * square;
    const Pack lower = (1 + r) + square * (0.5 + r * (1.0 / 6)), middle = 1.0 / 24 + r * (1.0 / 120);
    const Pack last = 1.0 / 479001600 + r * (1.0 / 6227020800);
    const Pack upper = (1.0 / 40320 + r * (1.0 / 362880)) + square * (1.0 / 3628800 + r * (1.0 / 39916800));
    const Pack higher = (middle + square * (1.0 / 720 + r * (1.0 / 5040))) + fourth * (upper + fourth * last);
    const Pack series = lower + fourth * higher;
    block.pack() = series * (Pack)(((Bits)shifted + 1023) << 52);
}

// Linear layers and activations are written out for several numbers at once: ROOT's interpreter keeps nothing in registers
// from one turn of a loop to the next.
template <int inputs, int... o>
ATLASAE_INLINE void add_product(const double (*weight)[inputs], int i, const Block* x, Pack* sum,
                                std::integer_sequence<int, o...>) {
    const Pack known = x[i].pack();
    ((sum[o] += weight[o][i] * known), ...);
}

template <int inputs, int... i, class Outputs>
ATLASAE_INLINE void add_products(const double (*weight)[inputs], int first, const Block* x, Pack* sum,
                                 std::integer_sequence<int, i...>, Outputs outputs) {
    (add_product(weight, first + i, x, sum, outputs), ...);
}

template <int inputs, int... o>
ATLASAE_INLINE void rows(const double (*weight)[inputs], const double* bias, const Block* x, Block* y,
                         std::integer_sequence<int, o...> outputs) {
    constexpr int whole = inputs / 8 * 8;
    Pack sum[] = {(Pack{} + bias[o])...};
    for (int i = 0; i < whole; i += 8) add_products(weight, i, x, sum, std::make_integer_sequence<int, 8>{}, outputs);
    if constexpr (whole < inputs)
        add_products(weight, whole, x, sum, std::make_integer_sequence<int, inputs - whole>{}, outputs);
    ((y[o].pack() = sum[o]), ...);
}

template <int inputs, int outputs>
ATLASAE_INLINE void linear(const double (&weight)[outputs][inputs], const double (&bias)[outputs], const Block* x,
                           Block* y) {
    constexpr int whole = outputs / 8 * 8;
    for (int o = 0; o < whole; o += 8) rows(weight + o, bias + o, x, y + o, std::make_integer_sequence<int, 8>{});
    if constexpr (whole < outputs)
        rows(weight + whole, bias + whole, x, y + whole, std::make_integer_sequence<int, outputs - whole>{});
}

