/* Jets as cells of the grid of the packed layout and back: `Lattice` and `ShiftedLattice` of codecs/lattice.py compiled,
 * with the conversions and the comparison of jets/stored.py for four columns of floats.
 *
 * The numbers are the same bit for bit: only sums, products, quotients and comparisons, which IEEE 754 defines, are made
 * here. NumPy takes the logarithms and exponentials between two calls, in the arrays `of_pt` and `of_mass`. */
#include "export.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

enum { PT, ETA, PHI, MASS, VARIABLES };
enum { STATE_BITS = 31, ROUNDS = 2, LOWER = 15, FACTOR = 1103515245, TERM = 1013904223 }; /* of codecs/dither.py */

static const uint32_t MASK = ((uint32_t)1 << STATE_BITS) - 1;
static const double PI = 3.14159265358979323846;
static const double LEAST_MASS = -0.1; /* MeV, of jets/coordinates.py */

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

static inline void load(const void *column, int64_t itemsize, int64_t begin, int n, double *values) {
    const float *floats = (const float *)column + begin;
    const double *doubles = (const double *)column + begin;
    if (itemsize == 4)
        for (int i = 0; i < n; i++)
            values[i] = (double)floats[i];
    else
        for (int i = 0; i < n; i++)
            values[i] = doubles[i];
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
    for (int variable = 0; variable < VARIABLES; variable++)
        load(columns[variable], jets->itemsizes[variable], begin, n, values[variable]);
    for (int i = 0; i < n; i++) {
        values[PT][i] *= jets->unit;
        values[MASS][i] *= jets->unit;
    }
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

/* What to take logarithms of: pt, and |m| in units of its floor, or 1. */
EXPORT EACH_WIDTH int atlasae_before_logs(const Jets *jets, int64_t begin, int64_t all) {
    Strip values;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_all(jets, jets->stored, begin + done, n, values);
        for (int i = 0; i < n; i++) {
            const double size = fabs(values[MASS][i] / jets->floor);
            jets->of_pt[done + i] = values[PT][i];
            jets->of_mass[done + i] = size < 1 ? 1 : size; /* NaN stays */
        }
    }
    return 0;
}

/* Coordinates to positions in the grid, in steps, and which jets are held by it. */
static inline void take_positions(const Jets *jets, int n, Strip values, const Strip offsets, uint8_t *held) {
    const double heavy = (double)jets->first_heavy;
    for (int i = 0; i < n; i++)
        held[i] = fabs(values[PHI][i]) <= PI;
    for (int variable = 0; variable < VARIABLES; variable++) {
        const double low = jets->low[variable], step = jets->steps[variable], size = (double)jets->sizes[variable];
        const double from = variable < MASS ? -INFINITY : heavy;
        for (int i = 0; i < n; i++) {
            const double position = (values[variable][i] - low) / step;
            values[variable][i] = position + (position >= from ? offsets[variable][i] : 0);
        }
        for (int i = 0; i < n; i++)
            held[i] &= (values[variable][i] >= 0) & (values[variable][i] < size);
    }
}

/* The cells of jets, from the logarithms; 0 for those outside the grid. */
EXPORT EACH_WIDTH int atlasae_to_cells(const Jets *jets, int64_t begin, int64_t all) {
    Strip values, offsets;
    uint8_t held[STRIP];
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_all(jets, jets->stored, begin + done, n, values);
        for (int i = 0; i < n; i++) {
            const double x = values[MASS][i] / jets->floor, size = fabs(x);
            values[MASS][i] = copysign(size < 1 ? size : 1 + jets->of_mass[done + i], x);
            values[PT][i] = jets->of_pt[done + i];
        }
        take_offsets(jets, begin + done, n, offsets);
        take_positions(jets, n, values, offsets, held);
        for (int variable = 0; variable < VARIABLES; variable++)
            for (int i = 0; i < n; i++)
                jets->cells[variable][begin + done + i] = (int32_t)(held[i] ? values[variable][i] : 0);
    }
    return 0;
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
        load(jets->restored[PT], jets->itemsizes[PT], at, n, pt);
        for (int i = 0; i < n; i++)
            pt[i] = pt[i] * unit / unit;
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
