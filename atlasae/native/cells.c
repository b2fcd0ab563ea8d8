/* Jets as cells of the grid of the packed layout and back: `Lattice` and `ShiftedLattice` of codecs/lattice.py compiled.
 *
 * NumPy takes the logarithms and exponentials between two calls, in the arrays `of_pt` and `of_mass`. */
#include "jets.h"

enum { ROUNDS = 2 }; /* of codecs/dither.py */

/* The grid, and the arrays of the jets of a chunk: `JetsStruct` of library.py. */
typedef struct {
    Columns columns;
    double low[VARIABLES], steps[VARIABLES];
    int64_t sizes[VARIABLES], shifted[VARIABLES];
    int64_t first_heavy;    /* the cell of mu from which cells are shifted */
    int64_t key;            /* of the offsets */
    const int64_t *indices; /* of the jets in the chunk */
    int32_t *cells[VARIABLES];
} Jets;

/* The offsets of jets, in steps. */
INLINED void take_offsets(const Jets *jets, int64_t begin, int n, Strip offsets) {
    uint32_t states[STRIP];
    for (int i = 0; i < n; i++)
        states[i] = (uint32_t)(jets->indices[begin + i] + jets->key) & MASK;
    hash(states, n, ROUNDS);
    for (int variable = 0; variable < VARIABLES; variable++) {
        if (jets->shifted[variable]) {
            to_offsets(states, n, offsets[variable]);
            hash(states, n, ROUNDS);
        } else
            memset(offsets[variable], 0, (size_t)n * sizeof *offsets[variable]);
    }
}

/* Stored columns, with m in units of its floor. */
INLINED void load_stored(const Jets *jets, int64_t begin, int64_t done, int n, Strip values) {
    double energies[STRIP];
    load_jets(&jets->columns, jets->columns.stored, begin + done, n, of_block(jets->columns.cosh_stored, done), values,
              energies);
    for (int i = 0; i < n; i++)
        values[MASS][i] /= jets->columns.floor;
}

EXPORT EACH_WIDTH int atlasae_before_logs(const Jets *jets, int64_t begin, int64_t all) {
    Strip values;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_stored(jets, begin, done, n, values);
        before_logs(n, values, jets->columns.of_pt + done, jets->columns.of_mass + done);
    }
    return 0;
}

/* Whether positions (before they are shifted, and after) are so near the edge of a cell that a jet may have another one.
 * `logs` are those of which positions are made: a logarithm of 0 is exact. */
INLINED int is_any_near(int n, const double *before, const double *after, const double *logs, double from,
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
INLINED int take_positions(const Jets *jets, int n, Strip values, const Strip offsets, const double *of_pt,
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
INLINED int to_cells(const Jets *jets, int64_t begin, int n, Strip values, const double *of_pt,
                     const double *of_mass, double drift) {
    Strip offsets;
    uint64_t held[STRIP];
    after_logs(n, values, of_pt, of_mass);
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
        load_stored(jets, begin, done, n, values);
        to_cells(jets, begin + done, n, values, jets->columns.of_pt + done, jets->columns.of_mass + done, 0);
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
        load_stored(jets, begin, done, n, values);
        before_logs(n, values, of_pt, of_mass);
        take_logs(of_pt, n);
        take_logs(of_mass, n);
        unsure |= to_cells(jets, begin + done, n, values, of_pt, of_mass, DRIFT);
    }
    return unsure;
}

/* What to take exponentials of: the coordinates of pt and m; those of eta and phi are columns already. */
EXPORT EACH_WIDTH int atlasae_before_exponentials(const Jets *jets, int64_t begin, int64_t all) {
    const Columns *columns = &jets->columns;
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
        before_exponentials(columns, begin + done - columns->first, n, values, columns->of_pt + done,
                            columns->of_mass + done, columns->mu + done);
    }
    return 0;
}
