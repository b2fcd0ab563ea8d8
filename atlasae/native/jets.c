/* Columns of decoded jets, and their comparison with the original ones: `Storage` and `Layout` of jets compiled for
 * four columns of floats. */
#include "jets.h"

static const double LEAST_MASS = -0.1; /* MeV, of jets/coordinates.py */

/* The column of pt, which is rounded twice, as `Layout.from_rows` and `Storage.to_columns` do; leaves pt in MeV. */
INLINED void store_pt(const Columns *columns, int64_t at, int n, double *pt) {
    const int64_t itemsize = columns->itemsizes[PT];
    const double unit = columns->unit;
    double again[STRIP];
    for (int i = 0; i < n; i++)
        pt[i] /= unit;
    store(columns->restored[PT], itemsize, at, n, pt);
    load(columns->restored[PT], itemsize, at, n, unit, pt);
    for (int i = 0; i < n; i++)
        again[i] = pt[i] / unit;
    store(columns->restored[PT], itemsize, at, n, again);
}

/* The columns of pt and of m or E, from the exponentials; E is of the rounded momentum. */
EXPORT EACH_WIDTH int atlasae_to_columns(const Columns *columns, int64_t begin, int64_t all) {
    double pt[STRIP], m[STRIP];
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        const int64_t at = begin + done - columns->first;
        if (columns->restored[PT]) {
            memcpy(pt, columns->of_pt + done, (size_t)n * sizeof *pt);
            store_pt(columns, at, n, pt);
        }
        if (!columns->restored[MASS])
            continue;
        for (int i = 0; i < n; i++) {
            const double mu = columns->mu[done + i], size = fabs(mu);
            m[i] = copysign(size < 1 ? size : columns->of_mass[done + i], mu) * columns->floor;
        }
        for (int i = 0; columns->energy && i < n; i++) {
            const double p = pt[i] * columns->cosh_restored[done + i], square = p * p + signed_square(m[i]);
            m[i] = sqrt(square < 0 ? 0 : square);
        }
        for (int i = 0; i < n; i++)
            m[i] /= columns->unit;
        store(columns->restored[MASS], columns->itemsizes[MASS], at, n, m);
    }
    return 0;
}

/* The angle modulo 2 pi, in [-pi, pi), as NumPy's remainder has it. */
INLINED double wrapped(double angle) {
    const double turned = angle + PI;
    if (turned >= 0 && turned < 2 * PI)
        return turned - PI;
    const double rest = fmod(turned, 2 * PI);
    return (rest < 0 ? rest + 2 * PI : rest == 0 ? 0 : rest) - PI;
}

/* The errors of restored jets in pt, eta, phi and m. */
INLINED void take_errors(const Columns *columns, int n, Strip before, Strip after, double errors[ERRORS][STRIP]) {
    const double floor = columns->floor;
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

/* The errors of E and of the m that is derived from it, less what rounding makes uncertain: `_defined_mass_error`. */
INLINED void take_errors_of_energies(const Columns *columns, int n, const double *cosh_eta, Strip before,
                                     Strip after, const double *old, const double *new,
                                     double errors[ERRORS][STRIP]) {
    const double floor = columns->floor, rounding = columns->rounding;
    for (int i = 0; i < n; i++) {
        const double m = before[MASS][i], square = signed_square(m), p = before[PT][i] * cosh_eta[i];
        const double undefined = rounding * (2 * (old[i] * old[i]) + 2 * (p * p) * (1 + fabs(before[ETA][i])));
        const double change = signed_square(after[MASS][i]) - square, beyond = fabs(change) - undefined;
        const double moved = signed_root(square + copysign(beyond < 0 ? 0 : beyond, change)), size = fabs(m);
        errors[MASS][i] = fabs(new[i] / old[i] - 1);
        errors[VARIABLES][i] = fabs(moved - m) / (size < floor ? floor : size);
    }
}

/* Jets that have no coordinates, or a mass that only rounding of E can make. */
INLINED void find_unusable(const Columns *columns, int n, Strip jets, uint8_t *exact) {
    const double least = columns->energy ? -DBL_MAX : LEAST_MASS;
    for (int i = 0; i < n; i++) {
        const double pt = jets[PT][i], m = jets[MASS][i];
        exact[i] = !((pt > 0) & (pt <= DBL_MAX) & (m >= least) & (m <= DBL_MAX) & (fabs(jets[PHI][i]) <= PI) &
                     (fabs(jets[ETA][i]) <= columns->largest_eta));
    }
}

/* Which jets exceed a bound or have no coordinates, and the largest errors of the others. */
EXPORT EACH_WIDTH int atlasae_compare_jets(Columns *columns, int64_t begin, int64_t all) {
    Strip before, after;
    double old[STRIP], new[STRIP], errors[ERRORS][STRIP];
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        const double *cosh_stored = of_block(columns->cosh_stored, done);
        const double *cosh_restored = of_block(columns->cosh_restored, done);
        uint8_t *exact = columns->exact + begin + done;
        load_jets(columns, columns->stored, begin + done, n, cosh_stored, before, old);
        load_jets(columns, (const void *const *)columns->restored, begin + done - columns->first, n, cosh_restored,
                  after, new);
        take_errors(columns, n, before, after, errors);
        if (columns->energy)
            take_errors_of_energies(columns, n, cosh_stored, before, after, old, new, errors);
        find_unusable(columns, n, before, exact);
        for (int variable = 0; variable < columns->errors; variable++) {
            const double kept = columns->kept[variable], *found = errors[variable];
            for (int i = 0; !isnan(kept) && i < n; i++)
                exact[i] |= !(found[i] <= kept);
        }
        for (int variable = 0; variable < columns->errors; variable++) {
            double largest = columns->largest[variable];
            for (int i = 0; i < n; i++) {
                const double error = exact[i] ? 0 : errors[variable][i];
                largest = error > largest ? error : largest;
            }
            columns->largest[variable] = largest;
        }
    }
    return 0;
}
