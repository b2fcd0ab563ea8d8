/* What the passes over jets share: columns of pt, eta, phi and m or E, the conversions of jets/stored.py and
 * jets/layouts.py, and logarithms. Strips of jets stay in the fastest cache.
 *
 * The numbers are those of NumPy bit for bit: only sums, products, quotients, square roots and comparisons, which IEEE
 * 754 defines, are made here. NumPy takes exponentials and hyperbolic cosines between two calls, and logarithms where
 * ours may give a jet another cell, in arrays for the jets of a block. */
#ifndef ATLASAE_JETS_H
#define ATLASAE_JETS_H

#include "export.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { PT, ETA, PHI, MASS, VARIABLES, ERRORS }; /* where E is stored, it is in the place of m, whose error is a fifth */
enum { STRIP = 512 };                           /* jets at a time */
enum { STATE_BITS = 31, LOWER = 15, FACTOR = 1103515245, TERM = 1013904223 }; /* of codecs/dither.py */

static const uint32_t MASK = ((uint32_t)1 << STATE_BITS) - 1;
static const double PI = 3.14159265358979323846;
static const double LN_2 = 0.693147180559945309417;
static const double TO_WHOLE = 6755399441055744.0; /* 3 * 2^51: doubles beside it are integers */
static const double DRIFT = 1e-12; /* more than logarithms are off, ours or those of any NumPy */

/* Columns of jets, and what to compare: `ColumnsStruct` of library.py. */
typedef struct {
    double unit;                            /* MeV per unit of the columns of pt and of m or E */
    double floor, largest_eta, largest_phi; /* of m in MeV, of coordinates, of what is decoded */
    double largest_turn;                    /* of what is decoded, if phi is in [0, 2 pi); else 0 */
    double rounding;                        /* relative, of stored numbers */
    int64_t energy;                         /* whether E is stored instead of m */
    const void *stored[VARIABLES];          /* columns, float32 or float64 */
    void *restored[VARIABLES];              /* from jet `first` on; NULL: not wanted */
    int64_t first;
    int64_t itemsizes[VARIABLES];
    double *of_pt, *of_mass, *mu;           /* of the jets of a block, as are the hyperbolic cosines of eta: */
    double *cosh_stored, *cosh_restored;
    int64_t errors;                         /* how many there are: VARIABLES, or ERRORS with m beside E */
    double kept[ERRORS], largest[ERRORS];   /* bounds (NaN: none), and the largest errors of jets within them */
    uint8_t *exact;
} Columns;

/* The compiler makes the loops below for wider registers, too, where the linker can choose between them: GCC from 12. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define EACH_WIDTH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_WIDTH
#endif

#define INLINED static inline __attribute__((always_inline)) /* into the function of each width */

typedef double Strip[VARIABLES][STRIP];

INLINED int shorter(int64_t left) { return left < STRIP ? (int)left : STRIP; }

/* An array for the jets of a block, from one of these on; NULL where there is none. */
INLINED double *of_block(double *array, int64_t from) { return array ? array + from : NULL; }

/* One of two numbers, by its bits: of another choice compilers may make a jump, and then take one jet at a time. */
INLINED double either(int first, double one, double other) {
    const uint64_t mask = -(uint64_t)(first != 0);
    uint64_t bits, others;
    memcpy(&bits, &one, sizeof bits);
    memcpy(&others, &other, sizeof others);
    bits = (bits & mask) | (others & ~mask);
    memcpy(&one, &bits, sizeof one);
    return one;
}

INLINED double clipped(double x, double low, double high) {
    const double above = either(x < low, low, x);
    return either(above > high, high, above);
}

/* A column in other units: without these, compilers call a copying of memory, which is slower for so few. */
INLINED void load(const void *column, int64_t itemsize, int64_t begin, int n, double unit, double *values) {
    const float *floats = (const float *)column + begin;
    const double *doubles = (const double *)column + begin;
    if (itemsize == 4)
        for (int i = 0; i < n; i++)
            values[i] = (double)floats[i] * unit;
    else
        for (int i = 0; i < n; i++)
            values[i] = doubles[i] * unit;
}

INLINED void store(void *column, int64_t itemsize, int64_t begin, int n, const double *values) {
    float *floats = (float *)column + begin;
    double *doubles = (double *)column + begin;
    if (itemsize == 4)
        for (int i = 0; i < n; i++)
            floats[i] = (float)values[i];
    else
        for (int i = 0; i < n; i++)
            doubles[i] = values[i];
}

INLINED double signed_square(double m) { return m * fabs(m); }

INLINED double signed_root(double square) { return copysign(sqrt(fabs(square)), square); }

/* Jets of stored or restored columns, pt and m in MeV; `energies`, if these are stored, with the hyperbolic cosines of
 * eta. Angles beyond [0, 2 pi] are NaN, if phi is in that. */
INLINED void load_jets(const Columns *columns, const void *const from[VARIABLES], int64_t begin, int n,
                       const double *cosh_eta, Strip jets, double *energies) {
    const double units[VARIABLES] = {columns->unit, 1, 1, columns->unit};
    for (int variable = 0; variable < VARIABLES; variable++)
        load(from[variable], columns->itemsizes[variable], begin, n, units[variable], jets[variable]);
    if (columns->largest_turn > 0)
        for (int i = 0; i < n; i++) {
            const double phi = jets[PHI][i], folded = either(phi > PI, phi - 2 * PI, phi);
            jets[PHI][i] = either((phi >= 0) & (phi <= (double)(float)(2 * PI)), folded, NAN);
        }
    if (columns->energy)
        for (int i = 0; i < n; i++) {
            const double e = jets[MASS][i], p = jets[PT][i] * cosh_eta[i];
            energies[i] = e;
            jets[MASS][i] = signed_root((e - p) * (e + p));
        }
}

/* What to take logarithms of: pt, and |m|, given in units of its floor, or 1. */
INLINED void before_logs(int n, Strip jets, double *of_pt, double *of_mass) {
    for (int i = 0; i < n; i++) {
        const double size = fabs(jets[MASS][i]);
        of_pt[i] = jets[PT][i];
        of_mass[i] = size < 1 ? 1 : size; /* NaN stays */
    }
}

/* Jets as coordinates, from the logarithms. */
INLINED void after_logs(int n, Strip jets, const double *of_pt, const double *of_mass) {
    for (int i = 0; i < n; i++) {
        const double x = jets[MASS][i], size = fabs(x);
        jets[MASS][i] = copysign((size < 1 ? size : 1) + of_mass[i], x); /* of 1, the logarithm is 0 */
        jets[PT][i] = of_pt[i];
    }
}

/* Logarithms to 1e-13, from 2 artanh((x - 1) / (x + 1)) of the mantissa; NaN for numbers that are not positive. */
INLINED void take_logs(double *values, int n) {
    const uint64_t one = 1023ull << 52, root = 0x3fe6a09e667f3bcdull; /* as doubles: 1 and sqrt(1/2), the least mantissa */
    for (int i = 0; i < n; i++) {
        const double x = values[i];
        uint64_t bits;
        memcpy(&bits, &x, sizeof bits);
        const uint64_t moved = bits - root + one, power = moved >> 52 | 1075ull << 52; /* 2^52 + exponent */
        double exponent, mantissa;
        memcpy(&exponent, &power, sizeof exponent);
        bits -= (moved & 0xfffull << 52) - one;
        memcpy(&mantissa, &bits, sizeof mantissa);
        const double s = (mantissa - 1) / (mantissa + 1), z = s * s;
        double sum = 1.0 / 15;
        for (int term = 13; term > 0; term -= 2)
            sum = sum * z + 1.0 / term;
        const double found = (exponent - (4503599627370496.0 + 1023)) * LN_2 + 2 * s * sum;
        memcpy(&bits, &found, sizeof bits);
        bits |= -(uint64_t)!((x > 0) & (x <= DBL_MAX));
        memcpy(values + i, &bits, sizeof bits);
    }
}

/* Columns of eta and phi, and what to take exponentials of: the coordinates of pt and m. */
INLINED void before_exponentials(const Columns *columns, int64_t at, int n, Strip coordinates, double *of_pt,
                                 double *of_mass, double *mu) {
    const double most = columns->largest_phi, turn = columns->largest_turn;
    memcpy(of_pt, coordinates[PT], (size_t)n * sizeof *of_pt);
    if (columns->restored[MASS])
        for (int i = 0; i < n; i++) {
            mu[i] = coordinates[MASS][i];
            of_mass[i] = fabs(coordinates[MASS][i]) - 1;
        }
    if (columns->restored[PHI])
        for (int i = 0; i < n; i++) {
            const double phi = clipped(coordinates[PHI][i], -most, most), above = either(phi < 0, phi + 2 * PI, phi);
            coordinates[PHI][i] = either(turn > 0, either(above > turn, turn, above), phi);
        }
    for (int variable = ETA; variable <= PHI; variable++)
        if (columns->restored[variable])
            store(columns->restored[variable], columns->itemsizes[variable], at, n, coordinates[variable]);
}

INLINED void hash(uint32_t *states, int n, int64_t rounds) {
    for (int64_t round = 0; round < rounds; round++)
        for (int i = 0; i < n; i++) {
            const uint32_t state = (states[i] * (uint32_t)FACTOR + TERM) & MASK;
            states[i] = (uint32_t)((uint64_t)state * state >> LOWER) & MASK;
        }
}

/* The offsets of states, in steps. */
INLINED void to_offsets(const uint32_t *states, int n, double *offsets) {
    const double unit = 1.0 / ((uint32_t)1 << STATE_BITS);
    for (int i = 0; i < n; i++)
        offsets[i] = (int32_t)states[i] * unit;
}

#endif
