/* Jets as the words of the floats layout and back: `encode_rows` and `decode_rows` of codecs/walk.py with equal steps,
 * and `pack` and `unpack` of codecs/grid.py, compiled for pt, eta, phi and m, whose location is a table's. */
#include "jets.h"

enum { MOST_PARTS = 2 * VARIABLES, MOST_WORDS = 4, MOST_DIGITS = 16, AXES = 2 };
enum { BLOCK_BITS = 5, IN_BLOCK = 1 << BLOCK_BITS, BLOCK_STEPS = IN_BLOCK - 1 }; /* of codecs/dither.py */
enum { MANTISSA_BITS = 23, ONE = 0x3F800000 };                                   /* of codecs/grid.py */
enum { NOT_WORDS = -2, BEYOND_DIGITS = -3 };                                     /* of library.py */

typedef struct {
    int64_t variable, of_block, in_block, shifted;
} Part; /* `CellPart` of codecs/dither.py */

typedef struct {
    int64_t word, variable, radix, divisor, whole; /* whole: the quotient by the divisor is below the radix */
} Digit;

/* The chain, its grid, and the words of the jets of a chunk: `ChainStruct` of library.py. */
typedef struct {
    Columns columns;
    double low[VARIABLES], spans[VARIABLES], origins[VARIABLES]; /* ranges of coordinates, relative to their origins */
    double cells[VARIABLES], first[VARIABLES];                   /* in a range, and the first of those that there are */
    int64_t levels[VARIABLES];
    double stand_in[VARIABLES];  /* encoded instead of jets without coordinates; m in units of its floor */
    int64_t weight, rounds;      /* of the offsets */
    int64_t nodes;               /* of the table in each axis; 0: none */
    const double *locations;     /* of m: nodes x nodes, by pt and eta */
    double limits[AXES][2], per_node[AXES];
    int64_t parts_there, digits_there, words_there;
    Part parts[MOST_PARTS];      /* in the order of coding */
    Digit digits[MOST_DIGITS];   /* word by word, the leading one first */
    uint32_t *words[MOST_WORDS]; /* the bits of float32 */
} Chain;

typedef int32_t Cells[VARIABLES][STRIP];

/* Jets at some parts of the walk along the chain. */
typedef struct {
    uint32_t states[STRIP];
    double offsets[STRIP];
    Strip known;   /* coordinates of the middles of cells */
    Cells blocks;  /* of variables that are cut into these */
} Walk;

/* The offsets of a part, and the states after it. */
INLINED void take_offsets(const Chain *chain, const Part *part, int n, Walk *walk) {
    if (part->shifted) {
        to_offsets(walk->states, n, walk->offsets);
        hash(walk->states, n, chain->rounds);
    } else
        memset(walk->offsets, 0, (size_t)n * sizeof *walk->offsets);
}

/* Let the numbers of a part change the next offsets. */
INLINED void add_numbers(const Chain *chain, const int32_t *numbers, int n, uint32_t *states) {
    const uint32_t weight = (uint32_t)chain->weight;
    for (int i = 0; i < n; i++)
        states[i] = (states[i] + (uint32_t)numbers[i]) * weight & MASK;
}

/* The node below each point, and how far behind it the point is, in [0, 1]. */
INLINED void place(const Chain *chain, int axis, const double *x, int n, int32_t *nodes, double *behind) {
    const double low = chain->limits[axis][0], high = chain->limits[axis][1], scale = chain->per_node[axis];
    const int32_t last = (int32_t)chain->nodes - 2;
    for (int i = 0; i < n; i++) {
        const double position = (clipped(x[i], low, high) - low) * scale;
        const int32_t node = (int32_t)position;
        nodes[i] = node < last ? node : last;
        behind[i] = position - nodes[i];
    }
}

/* The origins of the cells of a variable: `EqualSteps.origin`. */
INLINED void take_origins(const Chain *chain, int64_t variable, int n, Strip known, double *origins) {
    const double *table = chain->locations, origin = chain->origins[variable];
    const int32_t size = (int32_t)chain->nodes;
    int32_t rows[STRIP], columns[STRIP];
    double right[STRIP], above[STRIP];
    for (int i = 0; i < n; i++)
        origins[i] = variable == MASS ? known[PT][i] + origin : origin;
    if (variable != MASS || !size)
        return;
    place(chain, 0, known[PT], n, rows, right);
    place(chain, 1, known[ETA], n, columns, above);
    for (int i = 0; i < n; i++) {
        const int32_t at = rows[i] * size + columns[i];
        const double low = (table[at + 1] - table[at]) * above[i] + table[at];
        const double high = (table[at + size + 1] - table[at + size]) * above[i] + table[at + size];
        origins[i] += (high - low) * right[i] + low;
    }
}

/* The coordinates of the middles of the cells of a part: `Grid.middle` and `EqualSteps.quantile`. */
INLINED void take_middles(const Chain *chain, const Part *part, const int32_t *numbers, const double *origins,
                          int n, Walk *walk) {
    const int64_t v = part->variable;
    const double half = chain->first[v] + 0.5, cells = chain->cells[v], low = chain->low[v], span = chain->spans[v];
    for (int i = 0; i < n; i++) {
        const int32_t steps = numbers[i] + (part->in_block ? walk->blocks[v][i] * BLOCK_STEPS : 0);
        const double position = (steps + half - walk->offsets[i]) / cells;
        walk->known[v][i] = low + span * clipped(position, 0, 1) + origins[i];
    }
}

/* Numbers of whole steps up to `most` from positions. Returns whether one of these is so near to an edge of cells that
 * the number may be another one if the position is off by `near`; a logarithm of 0 is exact. */
INLINED int to_numbers(int n, const double *positions, int32_t most, double near, const double *logs,
                       int32_t *numbers) {
    uint64_t found = 0;
    for (int i = 0; i < n; i++)
        numbers[i] = (int32_t)clipped(positions[i], 0, most);
    for (int i = 0; near > 0 && i < n; i++) {
        const double edge = positions[i] + TO_WHOLE - TO_WHOLE;
        found |= -(uint64_t)((fabs(positions[i] - edge) < near) & (edge >= 1) & (edge <= most) & (logs[i] != 0));
    }
    return found != 0;
}

/* The positions of coordinates, in steps from the first cell. */
INLINED void take_positions(const Chain *chain, int64_t v, const double *coordinates, const double *origins, int n,
                            double *positions) {
    const double low = chain->low[v], span = chain->spans[v], cells = chain->cells[v], first = chain->first[v];
    for (int i = 0; i < n; i++)
        positions[i] = clipped((coordinates[i] - origins[i] - low) / span, 0, 1) * cells - first;
}

/* The cells of coordinates. Returns whether a jet may have other ones if the logarithms are off by `drift`. */
INLINED int to_cells(const Chain *chain, int n, Strip coordinates, const double *of_pt, const double *of_mass,
                     double drift, Cells cells) {
    Walk walk;
    double positions[STRIP], origins[STRIP];
    int32_t numbers[STRIP];
    int unsure = 0;
    memset(walk.states, 0, sizeof walk.states);
    for (int64_t k = 0; k < chain->parts_there; k++) {
        const Part *part = &chain->parts[k];
        const int64_t v = part->variable;
        const double *logs = v == PT ? of_pt : v == MASS ? of_mass : NULL;
        const double near = logs ? drift * chain->cells[v] / chain->spans[v] : 0;
        take_offsets(chain, part, n, &walk);
        take_origins(chain, v, n, walk.known, origins);
        take_positions(chain, v, coordinates[v], origins, n, positions);
        if (part->of_block) {
            for (int i = 0; i < n; i++)
                positions[i] /= BLOCK_STEPS;
            const int32_t most = (int32_t)(chain->levels[v] >> BLOCK_BITS) - 1;
            unsure |= to_numbers(n, positions, most, near, logs, walk.blocks[v]);
            memcpy(numbers, walk.blocks[v], sizeof numbers);
        } else {
            for (int i = 0; i < n; i++) {
                const double begin = part->in_block ? (double)walk.blocks[v][i] * BLOCK_STEPS : 0;
                positions[i] = positions[i] - begin + walk.offsets[i];
            }
            const int32_t most = part->in_block ? BLOCK_STEPS : (int32_t)chain->levels[v] - 1;
            unsure |= to_numbers(n, positions, most, near, logs, numbers);
            for (int i = 0; i < n; i++)
                cells[v][i] = numbers[i] + (part->in_block ? walk.blocks[v][i] << BLOCK_BITS : 0);
            take_middles(chain, part, numbers, origins, n, &walk);
        }
        add_numbers(chain, numbers, n, walk.states);
    }
    return unsure;
}

/* The integer parts of quotients of integers from 0: with the half, none is near to an integer. */
INLINED void divide(const int32_t *numbers, int64_t by, int n, int32_t *quotients) {
    const double inverse = 1.0 / (double)by;
    for (int i = 0; i < n; i++)
        quotients[i] = (int32_t)((numbers[i] + 0.5) * inverse);
}

/* Words of cells. */
INLINED void pack(const Chain *chain, Cells cells, int64_t begin, int n) {
    int32_t digits[STRIP], above[STRIP];
    for (int64_t j = 0; j < chain->words_there; j++)
        for (int i = 0; i < n; i++)
            chain->words[j][begin + i] = 0;
    for (int64_t k = 0; k < chain->digits_there; k++) {
        const Digit *digit = &chain->digits[k];
        const uint32_t radix = (uint32_t)digit->radix;
        uint32_t *words = chain->words[digit->word] + begin;
        divide(cells[digit->variable], digit->divisor, n, digits);
        if (digit->whole)
            memset(above, 0, sizeof above);
        else
            divide(digits, digit->radix, n, above);
        for (int i = 0; i < n; i++)
            words[i] = words[i] * radix + ((uint32_t)digits[i] - (uint32_t)above[i] * radix);
    }
    for (int64_t j = 0; j < chain->words_there; j++)
        for (int i = 0; i < n; i++)
            chain->words[j][begin + i] |= ONE;
}

/* Cells of words. Returns 0, or what is wrong with a word: a mask of 1 and 2. */
INLINED int unpack(const Chain *chain, int64_t begin, int n, Cells cells) {
    int32_t words[STRIP], above[STRIP];
    uint32_t outside = 0, left = 0;
    memset(cells, 0, sizeof(Cells));
    for (int64_t j = 0, k = chain->digits_there; j < chain->words_there; j++) {
        const uint32_t *given = chain->words[chain->words_there - 1 - j] + begin;
        for (int i = 0; i < n; i++) {
            const uint32_t bits = given[i] ^ ONE;
            outside |= bits >> MANTISSA_BITS;
            words[i] = (int32_t)(bits & (((uint32_t)1 << MANTISSA_BITS) - 1));
        }
        for (; k && chain->digits[k - 1].word == chain->words_there - 1 - j; k--) {
            const Digit *digit = &chain->digits[k - 1];
            const int32_t radix = (int32_t)digit->radix, divisor = (int32_t)digit->divisor;
            divide(words, radix, n, above);
            for (int i = 0; i < n; i++) {
                cells[digit->variable][i] += (words[i] - above[i] * radix) * divisor;
                words[i] = above[i];
            }
        }
        for (int i = 0; i < n; i++)
            left |= (uint32_t)words[i];
    }
    return (outside != 0) | (left != 0) << 1;
}

/* Stored jets with m in units of its floor, and the stand-in for those without coordinates. */
INLINED void load_stored(const Chain *chain, int64_t begin, int64_t done, int n, Strip jets) {
    const Columns *columns = &chain->columns;
    double energies[STRIP];
    int usable[STRIP];
    load_jets(columns, columns->stored, begin + done, n, of_block(columns->cosh_stored, done), jets,
              energies);
    for (int i = 0; i < n; i++) {
        const double pt = jets[PT][i], m = jets[MASS][i];
        usable[i] = (pt > 0) & (pt <= DBL_MAX) & (fabs(m) <= DBL_MAX) & (fabs(jets[PHI][i]) <= PI) &
                    (fabs(jets[ETA][i]) <= columns->largest_eta);
        jets[MASS][i] = m / columns->floor;
    }
    for (int variable = 0; variable < VARIABLES; variable++)
        for (int i = 0; i < n; i++)
            jets[variable][i] = either(usable[i], jets[variable][i], chain->stand_in[variable]);
}

EXPORT EACH_WIDTH int atlasae_before_logs_of_words(const Chain *chain, int64_t begin, int64_t all) {
    Strip jets;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_stored(chain, begin, done, n, jets);
        before_logs(n, jets, chain->columns.of_pt + done, chain->columns.of_mass + done);
    }
    return 0;
}

INLINED int to_words(const Chain *chain, int64_t begin, int n, Strip jets, const double *of_pt,
                     const double *of_mass, double drift) {
    Cells cells;
    after_logs(n, jets, of_pt, of_mass);
    const int unsure = to_cells(chain, n, jets, of_pt, of_mass, drift, cells);
    pack(chain, cells, begin, n);
    return unsure;
}

EXPORT EACH_WIDTH int atlasae_to_words(const Chain *chain, int64_t begin, int64_t all) {
    Strip jets;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_stored(chain, begin, done, n, jets);
        to_words(chain, begin + done, n, jets, chain->columns.of_pt + done, chain->columns.of_mass + done, 0);
    }
    return 0;
}

/* The same with logarithms of our own; returns whether those of NumPy may give a jet another cell. */
EXPORT EACH_WIDTH int atlasae_estimate_words(const Chain *chain, int64_t begin, int64_t all) {
    Strip jets;
    double of_pt[STRIP], of_mass[STRIP];
    int unsure = 0;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        load_stored(chain, begin, done, n, jets);
        before_logs(n, jets, of_pt, of_mass);
        take_logs(of_pt, n);
        take_logs(of_mass, n);
        unsure |= to_words(chain, begin + done, n, jets, of_pt, of_mass, DRIFT);
    }
    return unsure;
}

/* The coordinates of words. */
INLINED void to_coordinates(const Chain *chain, Cells cells, int n, Walk *walk) {
    double origins[STRIP];
    int32_t numbers[STRIP];
    for (int64_t k = 0; k < chain->parts_there; k++) {
        const Part *part = &chain->parts[k];
        const int32_t *cell = cells[part->variable];
        for (int i = 0; i < n; i++)
            numbers[i] = part->of_block ? cell[i] >> BLOCK_BITS : part->in_block ? cell[i] & BLOCK_STEPS : cell[i];
        take_offsets(chain, part, n, walk);
        if (part->of_block)
            memcpy(walk->blocks[part->variable], numbers, sizeof numbers);
        else {
            take_origins(chain, part->variable, n, walk->known, origins);
            take_middles(chain, part, numbers, origins, n, walk);
        }
        add_numbers(chain, numbers, n, walk->states);
    }
}

/* Columns of eta and phi, and what to take exponentials of. */
EXPORT EACH_WIDTH int atlasae_from_words(const Chain *chain, int64_t begin, int64_t all) {
    const Columns *columns = &chain->columns;
    int wrong = 0;
    for (int64_t done = 0; done < all; done += STRIP) {
        const int n = shorter(all - done);
        Walk walk;
        Cells cells;
        memset(walk.states, 0, sizeof walk.states);
        wrong |= unpack(chain, begin + done, n, cells);
        to_coordinates(chain, cells, n, &walk);
        before_exponentials(columns, begin + done - columns->first, n, walk.known, columns->of_pt + done,
                            columns->of_mass + done, columns->mu + done);
    }
    return wrong & 1 ? NOT_WORDS : wrong ? BEYOND_DIGITS : 0;
}
