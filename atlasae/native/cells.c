/* Jets as cells of the grid of the packed layout and back: `Lattice` and `ShiftedLattice` of codecs/lattice.py compiled,
 * with the conversions and the comparison of jets/stored.py for four columns of floats.
 *
 * The numbers are the same bit for bit: only sums, products, quotients and comparisons, which IEEE 754 defines, are made
 * here. NumPy takes the logarithms and exponentials between two calls, in the arrays `of_pt` and `of_mass`. */
#include "export.h"

#include <math.h>
#include <stdint.h>

enum { PT, ETA, PHI, MASS, VARIABLES };
enum { STATE_BITS = 31, ROUNDS = 2, LOWER = 15, FACTOR = 1103515245, TERM = 1013904223 }; /* of codecs/dither.py */

static const uint64_t MASK = ((uint64_t)1 << STATE_BITS) - 1;
static const double PI = 3.14159265358979323846;

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
    void *restored[VARIABLES];
    int64_t itemsizes[VARIABLES];
    int32_t *cells[VARIABLES];
    double *of_pt, *of_mass, *mu;              /* for the jets of a block */
    double kept[VARIABLES], largest[VARIABLES]; /* bounds, and the largest errors of jets within them */
    uint8_t *exact;
} Jets;

static inline double load(const void *column, int64_t itemsize, int64_t i) {
    return itemsize == 4 ? (double)((const float *)column)[i] : ((const double *)column)[i];
}

static inline void store(void *column, int64_t itemsize, int64_t i, double value) {
    if (itemsize == 4)
        ((float *)column)[i] = (float)value;
    else
        ((double *)column)[i] = value;
}

static inline double stored(const Jets *jets, int variable, int64_t i) {
    return load(jets->stored[variable], jets->itemsizes[variable], i);
}

static inline double restored(const Jets *jets, int variable, int64_t i) {
    return load(jets->restored[variable], jets->itemsizes[variable], i);
}

static inline uint64_t hashed(uint64_t state) {
    for (int round = 0; round < ROUNDS; round++) {
        state = ((uint64_t)(uint32_t)state * FACTOR + TERM) & MASK;
        state = (uint64_t)(uint32_t)state * (uint32_t)state >> LOWER & MASK;
    }
    return state;
}

/* The offsets of a jet, in steps. */
static inline void take_offsets(const Jets *jets, int64_t i, double offsets[VARIABLES]) {
    uint64_t state = hashed((uint64_t)(jets->indices[i] + jets->key) & MASK);
    for (int variable = 0; variable < VARIABLES; variable++) {
        offsets[variable] = jets->shifted[variable] ? (double)state / ((uint64_t)1 << STATE_BITS) : 0;
        if (jets->shifted[variable])
            state = hashed(state);
    }
}

/* What to take logarithms of: pt, and |m| in units of its floor, or 1. */
EXPORT int atlasae_before_logs(const Jets *jets, int64_t begin, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const double size = fabs(stored(jets, MASS, begin + i) * jets->unit / jets->floor);
        jets->of_pt[i] = stored(jets, PT, begin + i) * jets->unit;
        jets->of_mass[i] = size < 1 ? 1 : size; /* NaN stays */
    }
    return 0;
}

/* The cells of jets, from the logarithms; 0 for those outside the grid. */
EXPORT int atlasae_to_cells(const Jets *jets, int64_t begin, int64_t n) {
    const double heavy = (double)jets->first_heavy;
    for (int64_t i = 0; i < n; i++) {
        const double phi = stored(jets, PHI, begin + i), x = stored(jets, MASS, begin + i) * jets->unit / jets->floor;
        const double size = fabs(x), mu = copysign(size < 1 ? size : 1 + jets->of_mass[i], x);
        const double y[VARIABLES] = {jets->of_pt[i], stored(jets, ETA, begin + i), phi, mu};
        double offsets[VARIABLES], found[VARIABLES];
        take_offsets(jets, begin + i, offsets);
        int held = fabs(phi) <= PI;
        for (int variable = 0; variable < VARIABLES; variable++) {
            found[variable] = (y[variable] - jets->low[variable]) / jets->steps[variable];
            if (variable < MASS || found[MASS] >= heavy)
                found[variable] += offsets[variable];
            held &= found[variable] >= 0 && found[variable] < (double)jets->sizes[variable];
        }
        for (int variable = 0; variable < VARIABLES; variable++)
            jets->cells[variable][begin + i] = held ? (int32_t)found[variable] : 0;
    }
    return 0;
}

static inline double middle(const Jets *jets, int variable, int32_t cell, double offset) {
    const int shifted = variable < MASS || cell >= jets->first_heavy;
    return ((cell + 0.5) - (shifted ? offset : 0)) * jets->steps[variable] + jets->low[variable];
}

/* What to take exponentials of: the coordinates of pt and m; those of eta and phi are columns already. */
EXPORT int atlasae_before_exponentials(const Jets *jets, int64_t begin, int64_t n) {
    const double most = jets->largest_phi;
    for (int64_t i = 0; i < n; i++) {
        double offsets[VARIABLES], y[VARIABLES];
        take_offsets(jets, begin + i, offsets);
        for (int variable = 0; variable < VARIABLES; variable++)
            y[variable] = middle(jets, variable, jets->cells[variable][begin + i], offsets[variable]);
        jets->of_pt[i] = y[PT];
        jets->mu[i] = y[MASS];
        jets->of_mass[i] = fabs(y[MASS]) - 1;
        store(jets->restored[ETA], jets->itemsizes[ETA], begin + i, y[ETA]);
        store(jets->restored[PHI], jets->itemsizes[PHI], begin + i, y[PHI] < -most ? -most : y[PHI] > most ? most : y[PHI]);
    }
    return 0;
}

/* The columns of pt and m, from the exponentials. */
EXPORT int atlasae_to_columns(const Jets *jets, int64_t begin, int64_t n) {
    const double unit = jets->unit;
    for (int64_t i = 0; i < n; i++) {
        const double mu = jets->mu[i], size = fabs(mu);
        const double m = copysign(size < 1 ? size : jets->of_mass[i], mu) * jets->floor;
        store(jets->restored[MASS], jets->itemsizes[MASS], begin + i, m / unit);
        /* pt is rounded once in its unit, and once more, as `Layout.from_rows` and `Storage.to_columns` do. */
        store(jets->restored[PT], jets->itemsizes[PT], begin + i, jets->of_pt[i] / unit);
        store(jets->restored[PT], jets->itemsizes[PT], begin + i, restored(jets, PT, begin + i) * unit / unit);
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

/* Which jets exceed a bound or have no coordinates, and the largest errors of the others. */
EXPORT int atlasae_compare_jets(Jets *jets, int64_t begin, int64_t n) {
    const double unit = jets->unit, floor = jets->floor;
    for (int64_t i = begin; i < begin + n; i++) {
        const double pt = stored(jets, PT, i) * unit, eta = stored(jets, ETA, i), phi = stored(jets, PHI, i);
        const double m = stored(jets, MASS, i) * unit;
        const double errors[VARIABLES] = {
            fabs(restored(jets, PT, i) * unit / pt - 1),
            fabs(restored(jets, ETA, i) - eta),
            fabs(wrapped(restored(jets, PHI, i) - phi)),
            fabs((restored(jets, MASS, i) * unit - m) / (m > floor ? m : floor)),
        };
        int within = pt > 0 && isfinite(pt) && fabs(eta) <= jets->largest_eta && fabs(phi) <= PI && m >= 0 && isfinite(m);
        for (int variable = 0; variable < VARIABLES; variable++)
            within &= errors[variable] <= jets->kept[variable];
        for (int variable = 0; within && variable < VARIABLES; variable++)
            if (errors[variable] > jets->largest[variable])
                jets->largest[variable] = errors[variable];
        jets->exact[i] = !within;
    }
    return 0;
}
