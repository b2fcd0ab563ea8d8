/* Jets as cells of the grid of the packed layout and back: `Lattice` and `ShiftedLattice` of codecs/lattice.py compiled,
 * with the conversions and the comparison of jets/stored.py for four columns of floats.
 *
 * The numbers are the same bit for bit: only sums, products, quotients and comparisons, which IEEE 754 defines, are made
 * here. NumPy takes the logarithms and exponentials between two calls, in the arrays `of_pt` and `of_mass`. */
#include "export.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { PT, ETA, PHI, MASS, VARIABLES };
enum { STATE_BITS = 31, ROUNDS = 2, LOWER = 15, FACTOR = 1103515245, TERM = 1013904223 }; /* of codecs/dither.py */

static const uint32_t MASK = ((uint32_t)1 << STATE_BITS) - 1;
static const double PI = 3.14159265358979323846;
static const double LEAST_MASS = -0.1; /* MeV, of jets/coordinates.py */
static const double LN_2 = 0.693147180559945309417;
static const double TO_WHOLE = 6755399441055744.0; /* 3 * 2^51: doubles beside it are integers */
static const double DRIFT = 1e-12; /* more than logarithms are off, ours or those of any NumPy */

/* The grid, and the arrays of the jets of a chunk: `JetsStruct` of library.py. */
typedef struct {
    double low[VARIABLES], steps[VARIABLES];
    int64_t sizes[VARIABLES], shifted[VARIABLES];
    int64_t first_heavy;                       /* the cell of mu from which cells are shifted */
    double floor, largest_eta, largest_phi;    /* of m in MeV, of coordinates, of what is decoded */
    double unit;                               /* MeV per unit of the columns of pt and m */
    int64_t key;                               /* of the offsets */
    const int64_t *indices;                    /* of the jets in the chunk */
    const void *stored[VARIABLES];             /* columns, float32 or float64 */
    void *restored[VARIABLES];                 /* from jet `first` on */
    int64_t first;
    int64_t itemsizes[VARIABLES];
    int32_t *cells[VARIABLES];
    double *of_pt, *of_mass, *mu;              /* for the jets of a block */
    double kept[VARIABLES], largest[VARIABLES]; /* bounds, and the largest errors of jets within them */
    uint8_t *exact;
} Jets;

/* The compiler makes the loops below for wider registers, too, where the linker can choose between them: GCC from 12. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define EACH_WIDTH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_WIDTH
#endif

enum { STRIP = 512 }; /* jets at a time, in the fastest cache */
typedef double Strip[VARIABLES][STRIP];

static inline int shorter(int64_t left) { return left < STRIP ? (int)left : STRIP; }

/* A column in other units: without these, compilers call a copying of memory, which is slower for so few. */
static inline void load(const void *column, int64_t itemsize, int64_t begin, int n, double unit, double *values) {
    const float *floats = (const float *)column + begin;
    const double *doubles = (const double *)column + begin;
    if (itemsize == 4)
        for (int i = 0; i < n; i++)
            values[i] = (double)floats[i] * unit;
    else
        for (int i = 0; i < n; i++)
            values[i] = doubles[i] * unit;
}

static inline void store(void *column, int64_t itemsize, int64_t begin, int n, const double *values) {
    float *floats = (float *)column + begin;
    double *doubles = (double *)column + begin;
    if (itemsize == 4)
        for (int i = 0; i < n; i++)
            floats[i] = (float)values[i];
    else
        for (int i = 0; i < n; i++)
            doubles[i] = values[i];
}

/* Stored or restored columns, pt and m in MeV. */
static inline void load_all(const Jets *jets, const void *const columns[VARIABLES], int64_t begin, int n, Strip values) {
    const double units[VARIABLES] = {jets->unit, 1, 1, jets->unit};
    for (int variable = 0; variable < VARIABLES; variable++)
        load(columns[variable], jets->itemsizes[variable], begin, n, units[variable], values[variable]);
}

static inline void hash(uint32_t *states, int n) {
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < n; i++) {
            const uint32_t state = (states[i] * (uint32_t)FACTOR + TERM) & MASK;
            states[i] = (uint32_t)((uint64_t)state * state >> LOWER) & MASK;
        }
}

/* The offsets of jets, in steps. */
static inline void take_offsets(const Jets *jets, int64_t begin, int n, Strip offsets) {
    uint32_t states[STRIP];
    for (int i = 0; i < n; i++)
        states[i] = (uint32_t)(jets->indices[begin + i] + jets->key) & MASK;
    hash(states, n);
    for (int variable = 0; variable < VARIABLES; variable++) {
        const double unit = jets->shifted[variable] ? 1.0 / ((uint32_t)1 << STATE_BITS) : 0;
        for (int i = 0; i < n; i++)
            offsets[variable][i] = (int32_t)states[i] * unit;
        if (jets->shifted[variable])
            hash(states, n);
    }
}

/* Stored columns, with m in units of its floor. */
static inline void load_stored(const Jets *jets, int64_t begin, int n, Strip values) {
    load_all(jets, jets->stored, begin, n, values);
    for (int i = 0; i < n; i++)
        values[MASS][i] /= jets->floor;
}

/* What to take logarithms of: pt, and |m| in units of its floor, or 1. */
static inline void before_logs(int n, Strip values, double *of_pt, double *of_mass) {
    for (int i = 0; i < n; i++) {
        const double size = fabs(values[MASS][i]);
        of_pt[i] = values[PT][i];
        of_mass[i] = size < 1 ? 1 : size; /* NaN stays */
    }
}

EXPORT EACH_WIDTH int atlasae_before_logs(const Jets *jets, int64_t begin, int64_t all) {
    Strip values;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_stored(jets, begin + done, n, values);
        before_logs(n, values, jets->of_pt + done, jets->of_mass + done);
    }
    return 0;
}

/* Logarithms to 1e-13, from 2 artanh((x - 1) / (x + 1)) of the mantissa; NaN for numbers that are not positive. */
static inline void take_logs(double *values, int n) {
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

/* Whether positions (before they are shifted, and after) are so near the edge of a cell that a jet may have another one.
 * `logs` are those of which positions are made: a logarithm of 0 is exact. */
static inline int is_any_near(int n, const double *before, const double *after, const double *logs, double from,
                              double near) {
    uint64_t found = 0;
    for (int i = 0; i < n; i++) {
        const double edge = after[i] + TO_WHOLE - TO_WHOLE;
        const int at_edge = (fabs(after[i] - edge) < near) | (fabs(before[i] - from) < near);
        found |= -(uint64_t)(at_edge & (logs[i] != 0));
    }
    return found != 0;
}

/* Coordinates to positions in the grid, in steps, and which jets are held by it: masks of all bits. Returns whether a
 * jet may have another cell if the logarithms are off by `drift`. */
static inline int take_positions(const Jets *jets, int n, Strip values, const Strip offsets, const double *of_pt,
                                 const double *of_mass, double drift, uint64_t *held) {
    double before[STRIP];
    int unsure = 0;
    for (int i = 0; i < n; i++)
        held[i] = -(uint64_t)(fabs(values[PHI][i]) <= PI);
    for (int variable = 0; variable < VARIABLES; variable++) {
        const double low = jets->low[variable], step = jets->steps[variable], size = (double)jets->sizes[variable];
        const double from = variable < MASS ? -INFINITY : (double)jets->first_heavy;
        for (int i = 0; i < n; i++) {
            before[i] = (values[variable][i] - low) / step;
            values[variable][i] = before[i] + (before[i] >= from ? offsets[variable][i] : 0);
            held[i] &= -(uint64_t)((values[variable][i] >= 0) & (values[variable][i] < size));
        }
        const double *logs = variable == PT ? of_pt : variable == MASS ? of_mass : NULL;
        if (drift > 0 && logs)
            unsure |= is_any_near(n, before, values[variable], logs, from, drift / step);
    }
    return unsure;
}

/* The cells of jets, from the logarithms; 0 for those outside the grid. */
static inline int to_cells(const Jets *jets, int64_t begin, int n, Strip values, const double *of_pt,
                           const double *of_mass, double drift) {
    Strip offsets;
    uint64_t held[STRIP];
    for (int i = 0; i < n; i++) {
        const double x = values[MASS][i], size = fabs(x);
        values[MASS][i] = copysign((size < 1 ? size : 1) + of_mass[i], x); /* of 1, the logarithm is 0 */
        values[PT][i] = of_pt[i];
    }
    take_offsets(jets, begin, n, offsets);
    const int unsure = take_positions(jets, n, values, offsets, of_pt, of_mass, drift, held);
    for (int variable = 0; variable < VARIABLES; variable++) {
        int32_t *cells = jets->cells[variable] + begin;
        for (int i = 0; i < n; i++) {
            uint64_t bits;
            double position;
            memcpy(&bits, &values[variable][i], sizeof bits);
            bits &= held[i];
            memcpy(&position, &bits, sizeof position);
            cells[i] = (int32_t)position;
        }
    }
    return unsure;
}

EXPORT EACH_WIDTH int atlasae_to_cells(const Jets *jets, int64_t begin, int64_t all) {
    Strip values;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_stored(jets, begin + done, n, values);
        to_cells(jets, begin + done, n, values, jets->of_pt + done, jets->of_mass + done, 0);
    }
    return 0;
}

/* The same with logarithms of our own; returns whether those of NumPy may give a jet another cell. */
EXPORT EACH_WIDTH int atlasae_estimate_cells(const Jets *jets, int64_t begin, int64_t all) {
    Strip values;
    double of_pt[STRIP], of_mass[STRIP];
    int unsure = 0;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_stored(jets, begin + done, n, values);
        before_logs(n, values, of_pt, of_mass);
        take_logs(of_pt, n);
        take_logs(of_mass, n);
        unsure |= to_cells(jets, begin + done, n, values, of_pt, of_mass, DRIFT);
    }
    return unsure;
}

/* What to take exponentials of: the coordinates of pt and m; those of eta and phi are columns already. */
EXPORT EACH_WIDTH int atlasae_before_exponentials(const Jets *jets, int64_t begin, int64_t all) {
    const double most = jets->largest_phi;
    Strip values, offsets;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        take_offsets(jets, begin + done, n, offsets);
        for (int variable = 0; variable < VARIABLES; variable++) {
            const double low = jets->low[variable], step = jets->steps[variable];
            const int32_t *cells = jets->cells[variable] + begin + done;
            const int32_t from = variable < MASS ? INT32_MIN : (int32_t)jets->first_heavy;
            for (int i = 0; i < n; i++)
                values[variable][i] = ((cells[i] + 0.5) - (cells[i] >= from ? offsets[variable][i] : 0)) * step + low;
        }
        for (int i = 0; i < n; i++) {
            const double phi = values[PHI][i];
            values[PHI][i] = phi < -most ? -most : phi > most ? most : phi;
            jets->of_pt[done + i] = values[PT][i];
            jets->mu[done + i] = values[MASS][i];
            jets->of_mass[done + i] = fabs(values[MASS][i]) - 1;
        }
        store(jets->restored[ETA], jets->itemsizes[ETA], begin + done - jets->first, n, values[ETA]);
        store(jets->restored[PHI], jets->itemsizes[PHI], begin + done - jets->first, n, values[PHI]);
    }
    return 0;
}

/* The columns of pt and m, from the exponentials. pt is rounded twice, as `Layout.from_rows` and `Storage.to_columns`
 * do. */
EXPORT EACH_WIDTH int atlasae_to_columns(const Jets *jets, int64_t begin, int64_t all) {
    const double unit = jets->unit, floor = jets->floor;
    double pt[STRIP], m[STRIP];
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        const int64_t at = begin + done - jets->first;
        for (int i = 0; i < n; i++) {
            const double mu = jets->mu[done + i], size = fabs(mu);
            m[i] = copysign(size < 1 ? size : jets->of_mass[done + i], mu) * floor / unit;
            pt[i] = jets->of_pt[done + i] / unit;
        }
        store(jets->restored[MASS], jets->itemsizes[MASS], at, n, m);
        store(jets->restored[PT], jets->itemsizes[PT], at, n, pt);
        load(jets->restored[PT], jets->itemsizes[PT], at, n, unit, pt);
        for (int i = 0; i < n; i++)
            pt[i] /= unit;
        store(jets->restored[PT], jets->itemsizes[PT], at, n, pt);
    }
    return 0;
}

/* The angle modulo 2 pi, in [-pi, pi), as NumPy's remainder has it. */
static inline double wrapped(double angle) {
    const double turned = angle + PI;
    if (turned >= 0 && turned < 2 * PI)
        return turned - PI;
    const double rest = fmod(turned, 2 * PI);
    return (rest < 0 ? rest + 2 * PI : rest == 0 ? 0 : rest) - PI;
}

/* The errors of restored jets. */
static inline void take_errors(const Jets *jets, int n, Strip before, Strip after, Strip errors) {
    const double floor = jets->floor;
    int turned = 0;
    for (int i = 0; i < n; i++) {
        const double m = before[MASS][i], sum = after[PHI][i] - before[PHI][i] + PI;
        errors[PT][i] = fabs(after[PT][i] / before[PT][i] - 1);
        errors[ETA][i] = fabs(after[ETA][i] - before[ETA][i]);
        errors[PHI][i] = fabs(sum - PI);
        errors[MASS][i] = fabs((after[MASS][i] - m) / (m > floor ? m : floor));
        turned |= !(sum >= 0) | !(sum < 2 * PI);
    }
    for (int i = 0; turned && i < n; i++)
        errors[PHI][i] = fabs(wrapped(after[PHI][i] - before[PHI][i]));
}

/* Which jets exceed a bound or have no coordinates, and the largest errors of the others. */
EXPORT EACH_WIDTH int atlasae_compare_jets(Jets *jets, int64_t begin, int64_t all) {
    Strip before, after, errors;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        uint8_t *exact = jets->exact + begin + done;
        load_all(jets, jets->stored, begin + done, n, before);
        load_all(jets, (const void *const *)jets->restored, begin + done - jets->first, n, after);
        take_errors(jets, n, before, after, errors);
        for (int i = 0; i < n; i++) {
            const double pt = before[PT][i], m = before[MASS][i];
            exact[i] = !((pt > 0) & (pt <= DBL_MAX) & (m >= LEAST_MASS) & (m <= DBL_MAX) & (fabs(before[PHI][i]) <= PI) &
                         (fabs(before[ETA][i]) <= jets->largest_eta));
        }
        for (int variable = 0; variable < VARIABLES; variable++) {
            const double kept = jets->kept[variable], *found = errors[variable];
            for (int i = 0; i < n; i++)
                exact[i] |= !(found[i] <= kept);
        }
        for (int variable = 0; variable < VARIABLES; variable++) {
            double largest = jets->largest[variable];
            for (int i = 0; i < n; i++) {
                const double error = exact[i] ? 0 : errors[variable][i];
                largest = error > largest ? error : largest;
            }
            jets->largest[variable] = largest;
        }
    }
    return 0;
}
