/* Entropy coding of cells by tables: codecs/entropy.py compiled, with the arithmetic of constriction's AnsCoder.
 *
 * The coder is a stack (asymmetric numeral systems, Duda 2013): 64 bits of state, words of 32 bits, probabilities of
 * 24 bits. Counts and their sums are below 2^53, thus exact in double precision. */
#include "coder.h"

#include <stdlib.h>
#include <string.h>

enum { PRECISION = 24, GUESS_BITS = 8, GUESSES = 1 << GUESS_BITS, LARGEST_UNIFORM = 1 << 16, MOST_CONTEXTS = 1 << 16 };

static const uint32_t WHOLE = 1u << PRECISION;
static const uint64_t ALL_BITS = UINT64_MAX;

int take_scratch(Scratch *scratch, int64_t n) {
    size_t size = (size_t)n + 1;
    scratch->sorted = malloc(size * sizeof *scratch->sorted);
    scratch->bins = malloc(size * sizeof *scratch->bins);
    scratch->relative = malloc(size * sizeof *scratch->relative);
    scratch->contexts = malloc(size * sizeof *scratch->contexts);
    scratch->begins = malloc((MOST_CONTEXTS + 1) * sizeof *scratch->begins);
    scratch->next = malloc((MOST_CONTEXTS + 1) * sizeof *scratch->next);
    if (scratch->sorted && scratch->bins && scratch->relative && scratch->contexts && scratch->begins && scratch->next)
        return DONE;
    free_scratch(scratch);
    return NO_MEMORY;
}

void free_scratch(Scratch *scratch) {
    free(scratch->sorted);
    free(scratch->bins);
    free(scratch->relative);
    free(scratch->contexts);
    free(scratch->begins);
    free(scratch->next);
}

enum { KNOWN = 1, GUESSED = 2 };

/* Make the starts of a context from its counts, as constriction's Categorical(perfect=False) does. */
static void prepare(const Table *table, int64_t context) {
    const int64_t bins = table->bins, *counts = counts_of(table, context);
    uint32_t *starts = table->starts + context * (bins + 1);
    double total = 0, sum = 0;
    for (int64_t bin = 0; bin < bins; bin++)
        total += (double)counts[bin];
    const double scale = (double)(WHOLE - (uint32_t)bins) / total;
    for (int64_t bin = 0; bin < bins; bin++) {
        starts[bin] = (uint32_t)(sum * scale) + (uint32_t)bin;
        sum += (double)counts[bin];
    }
    starts[bins] = WHOLE;
    table->known[context] = KNOWN;
}

static void guess(const Table *table, int64_t context) {
    const uint32_t *starts = table->starts + context * (table->bins + 1);
    uint16_t *guesses = table->guesses + context * GUESSES;
    int64_t bin = 0;
    for (uint32_t i = 0; i < GUESSES; i++) {
        while (starts[bin + 1] <= i << (PRECISION - GUESS_BITS))
            bin++;
        guesses[i] = (uint16_t)bin;
    }
    table->known[context] = GUESSED;
}

static inline void write_step(Coder *coder, uint32_t start, uint32_t probability) {
    coder->steps[coder->step++] = (uint64_t)probability << 32 | start;
}

static inline uint32_t quantile_of(const Coder *coder) { return (uint32_t)coder->state & (WHOLE - 1); }

static inline void read_step(Coder *coder, uint32_t quantile, uint32_t start, uint32_t probability) {
    coder->state = (coder->state >> PRECISION) * probability + (quantile - start);
    if (coder->state < (uint64_t)1 << 32 && coder->words_left)
        coder->state = coder->state << 32 | coder->words[--coder->words_left];
}

static inline int32_t read_bin(Coder *coder, const uint32_t *starts, const uint16_t *guesses) {
    const uint32_t quantile = quantile_of(coder);
    int32_t bin = guesses[quantile >> (PRECISION - GUESS_BITS)];
    bin += starts[bin + 1] <= quantile; /* without a jump, which can't be predicted; the last start is beyond */
    while (starts[bin + 1] <= quantile)
        bin++;
    read_step(coder, quantile, starts[bin], starts[bin + 1] - starts[bin]);
    return bin;
}

/* Numbers below `size` with equal shares, but for the last, which takes what is left of the whole. */
static inline void write_uniform(Coder *coder, uint32_t number, uint32_t size, uint32_t share) {
    const uint32_t start = number * share;
    write_step(coder, start, number == size - 1 ? WHOLE - start : share);
}

static inline uint32_t read_uniform(Coder *coder, uint32_t size, uint32_t share, uint32_t reciprocal) {
    const uint32_t quantile = quantile_of(coder);
    uint32_t number = (uint32_t)((uint64_t)quantile * reciprocal >> 32);
    number += quantile - number * share >= share; /* the reciprocal is rounded down */
    number = number < size - 1 ? number : size - 1;
    const uint32_t start = number * share;
    read_step(coder, quantile, start, number == size - 1 ? WHOLE - start : share);
    return number;
}

/* Numbers of any size, without a table of shares. */
static inline void write_any(Coder *coder, uint32_t number, uint32_t size) {
    if (size > 1)
        write_uniform(coder, number, size, WHOLE / size);
}

static inline uint32_t read_any(Coder *coder, uint32_t size) {
    const uint32_t share = WHOLE / size;
    return size > 1 ? read_uniform(coder, size, share, (uint32_t)(((uint64_t)1 << 32) / share)) : 0;
}

/* The bin of a cell, or -1 beyond the table. */
static inline int32_t bin_of(const Table *table, int32_t cell) {
    if (cell < table->edges[0] || cell >= table->edges[table->bins])
        return -1;
    int32_t bin = table->places[(cell - table->edges[0]) >> table->place_bits];
    while (table->edges[bin + 1] <= cell)
        bin++;
    return bin;
}

/* Find the runs of equal contexts that cells have when they are sorted by context. */
static int find_runs(int64_t all, const uint16_t *contexts, int64_t n, Scratch *scratch) {
    uint32_t *begins = scratch->begins;
    memset(begins, 0, (size_t)(all + 1) * sizeof *begins);
    for (int64_t i = 0; i < n; i++) {
        if (contexts[i] >= all)
            return INVALID;
        begins[contexts[i] + 1]++;
    }
    for (int64_t context = 0; context < all; context++)
        begins[context + 1] += begins[context];
    memcpy(scratch->next, begins, (size_t)all * sizeof *begins);
    return DONE;
}

/* Make ready a context with cells. */
static inline void meet(const Coder *coder, const Table *table, int64_t context) {
    if (table->bins > 1 && !table->known[context])
        prepare(table, context);
    if (table->bins > 1 && !coder->steps && table->known[context] < GUESSED)
        guess(table, context);
    table->known[context] |= KNOWN;
}

/* Write cells that are sorted by context: first all bins, then all places in them; of tables where each cell takes two
 * steps. */
static int write_both(Coder *coder, Table *table, int64_t contexts, const int32_t *cells, const Scratch *scratch) {
    const int64_t n = scratch->begins[contexts];
    uint64_t *steps = coder->steps + coder->step;
    for (int64_t context = 0, i = 0; context < contexts; context++) {
        const int64_t end = scratch->begins[context + 1];
        if (i == end)
            continue;
        meet(coder, table, context);
        const uint32_t *starts = table->starts + context * (table->bins + 1);
        int64_t *seen = table->seen ? table->seen + context * table->bins : NULL;
        for (; i < end; i++) {
            const int32_t bin = bin_of(table, cells[i]);
            if (bin < 0)
                return INVALID;
            const uint32_t start = starts[bin], number = (uint32_t)(cells[i] - table->firsts[bin]);
            const uint32_t share = table->each[bin], place = number * share;
            steps[i] = (uint64_t)(starts[bin + 1] - start) << 32 | start;
            steps[n + i] = (uint64_t)(number == table->widths[bin] - 1 ? WHOLE - place : share) << 32 | place;
            if (seen)
                seen[bin]++;
        }
    }
    coder->step += 2 * n;
    return DONE;
}

/* Code the bins of cells that are sorted by context. */
static int code_bins(Coder *coder, Table *table, int64_t contexts, const int32_t *cells, Scratch *scratch) {
    int64_t i = 0;
    for (int64_t context = 0; context < contexts; context++) {
        const int64_t end = scratch->begins[context + 1];
        if (i == end)
            continue;
        meet(coder, table, context);
        const uint32_t *starts = table->starts + context * (table->bins + 1);
        int64_t *seen = table->seen ? table->seen + context * table->bins : NULL;
        for (; i < end; i++) {
            int32_t bin = 0;
            if (!coder->steps)
                bin = table->bins > 1 ? read_bin(coder, starts, table->guesses + context * GUESSES) : 0;
            else if ((bin = bin_of(table, cells[i])) < 0)
                return INVALID;
            else if (table->bins > 1)
                write_step(coder, starts[bin], starts[bin + 1] - starts[bin]);
            if (seen)
                seen[bin]++;
            scratch->bins[i] = bin;
        }
    }
    return DONE;
}

/* Code the places of cells in their bins as two digits, first all high ones, which a reader leaves in `cells`. */
static void code_high_places(Coder *coder, const Table *table, int32_t *cells, int64_t n, const Scratch *scratch) {
    const int64_t *edges = table->edges;
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = edges[scratch->bins[i]], width = edges[scratch->bins[i] + 1] - first;
        const uint32_t size = (uint32_t)((width - 1) / LARGEST_UNIFORM + 1);
        if (coder->steps)
            write_any(coder, (uint32_t)((cells[i] - first) / LARGEST_UNIFORM), size);
        else
            cells[i] = (int32_t)read_any(coder, size);
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = edges[scratch->bins[i]], width = edges[scratch->bins[i] + 1] - first;
        const uint32_t size = (uint32_t)(width < LARGEST_UNIFORM ? width : LARGEST_UNIFORM);
        if (coder->steps) {
            write_any(coder, (uint32_t)((cells[i] - first) % LARGEST_UNIFORM), size);
        } else {
            const int64_t high = cells[i], place = high * LARGEST_UNIFORM + read_any(coder, size);
            cells[i] = (int32_t)(first + (place < width ? place : width - 1)); /* forged words may exceed the bin */
        }
    }
}

/* Code the places of cells in their bins. */
static void code_places(Coder *coder, const Table *table, int32_t *cells, int64_t n, const Scratch *scratch) {
    for (int64_t i = 0; i < n; i++) {
        const int32_t bin = scratch->bins[i];
        const uint32_t size = table->widths[bin];
        uint32_t number = 0;
        if (coder->steps && size > 1)
            write_uniform(coder, (uint32_t)(cells[i] - table->firsts[bin]), size, table->each[bin]);
        else if (!coder->steps) {
            if (size > 1)
                number = read_uniform(coder, size, table->each[bin], table->reciprocals[bin]);
            cells[i] = table->firsts[bin] + (int32_t)number;
        }
    }
}

int code(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n, Scratch *scratch) {
    if (!n)
        return DONE;
    if (coder->steps && coder->steps_end - coder->step < 3 * n)
        return INVALID;
    int32_t *sorted = contexts ? scratch->sorted : cells;
    scratch->begins[0] = 0;
    scratch->begins[1] = (uint32_t)n;
    int found = contexts ? find_runs(table->contexts, contexts, n, scratch) : DONE;
    for (int64_t i = 0; contexts && coder->steps && found == DONE && i < n; i++)
        sorted[scratch->next[contexts[i]]++] = cells[i];
    const int64_t all = contexts ? table->contexts : 1;
    if (found == DONE && coder->steps && table->bins > 1 && table->narrowest > 1 && table->widest <= LARGEST_UNIFORM)
        return write_both(coder, table, all, sorted, scratch);
    if (found == DONE)
        found = code_bins(coder, table, all, sorted, scratch);
    if (found != DONE)
        return found;
    if (table->widest > LARGEST_UNIFORM)
        code_high_places(coder, table, sorted, n, scratch);
    else
        code_places(coder, table, sorted, n, scratch);
    for (int64_t i = 0; contexts && !coder->steps && i < n; i++)
        cells[i] = sorted[scratch->next[contexts[i]]++];
    return DONE;
}

EXPORT int atlasae_code(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n) {
    Scratch scratch;
    int found = table->contexts > MOST_CONTEXTS ? INVALID : take_scratch(&scratch, n);
    if (found != DONE)
        return found;
    found = code(coder, table, contexts, cells, n, &scratch);
    free_scratch(&scratch);
    return found;
}

/* The quotient of a number by a positive one, rounded down. */
static inline int64_t floor_of(int64_t number, int64_t divisor) {
    return number / divisor - (number % divisor < 0);
}

/* The number of places up to one. */
static int64_t places_up_to(const Ruler *ruler, int64_t place) {
    int64_t low = 0, high = ruler->size;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (ruler->places[middle] <= place)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first cell of a row that begins at this fine cell or above. */
static int64_t start_of(const Ruler *ruler, int64_t row, int64_t edge) {
    if (ruler->falling)
        return ruler->before[row] + 1 - places_up_to(ruler, ruler->places[ruler->before[row]] - edge);
    const int64_t step = ruler->step[row], shift = ruler->shift[row];
    if (ruler->has_top && edge > ruler->top)
        return -floor_of(shift - ruler->top, step) + edge - ruler->top;
    const int64_t found = -floor_of(shift - edge, step);
    return ruler->most && found > ruler->most[row] ? ruler->most[row] : found;
}

/* The fine cell at which the cell of a row begins, or -2^31, which no table has. */
static int32_t fine_of(const Ruler *ruler, int64_t row, int64_t cell) {
    int64_t found;
    if (ruler->falling) {
        const int64_t at = ruler->before[row] - cell;
        found = at < 0 || at >= ruler->size ? INT32_MIN : ruler->places[ruler->before[row]] - ruler->places[at];
    } else {
        const int64_t step = ruler->step[row], shift = ruler->shift[row];
        const int64_t last = ruler->has_top ? -floor_of(shift - ruler->top, step) : INT64_MAX;
        found = cell >= last ? ruler->top + cell - last : cell * step + shift;
    }
    return found < INT32_MIN || found > INT32_MAX ? INT32_MIN : (int32_t)found;
}

/* Code the places of the cells of rows in their bins, of which `ranges` has the first cell and the width. */
static void code_measured_places(Coder *coder, int two, const int32_t *rows, const int32_t (*ranges)[2], int32_t *cells,
                                 int64_t n) {
    for (int64_t i = 0; two && i < n; i++) {
        const uint32_t size = (uint32_t)((ranges[i][1] - 1) / LARGEST_UNIFORM + 1);
        if (coder->steps)
            write_any(coder, (uint32_t)((cells[rows[i]] - ranges[i][0]) / LARGEST_UNIFORM), size);
        else
            cells[rows[i]] = (int32_t)read_any(coder, size);
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = ranges[i][0], width = ranges[i][1];
        const uint32_t size = (uint32_t)(width < LARGEST_UNIFORM ? width : LARGEST_UNIFORM);
        if (coder->steps) {
            write_any(coder, (uint32_t)((cells[rows[i]] - first) % LARGEST_UNIFORM), size);
        } else {
            const int64_t high = two ? cells[rows[i]] : 0, place = high * LARGEST_UNIFORM + read_any(coder, size);
            cells[rows[i]] = (int32_t)(first + (place < width ? place : width - 1));
        }
    }
}

static int code_measured(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n,
                         const Ruler *ruler, int32_t (*ranges)[2], Scratch *scratch) {
    int32_t *rows = scratch->relative;
    scratch->begins[0] = 0;
    scratch->begins[1] = (uint32_t)n;
    int found = contexts ? find_runs(table->contexts, contexts, n, scratch) : DONE;
    for (int64_t i = 0; found == DONE && i < n; i++)
        rows[contexts ? scratch->next[contexts[i]]++ : i] = (int32_t)i;
    for (int64_t i = 0; coder->steps && found == DONE && i < n; i++)
        scratch->sorted[i] = fine_of(ruler, rows[i], cells[rows[i]]);
    if (found == DONE)
        found = code_bins(coder, table, contexts ? table->contexts : 1, scratch->sorted, scratch);
    int64_t widest = 0;
    for (int64_t bin = 0; bin < table->bins; bin++)
        widest = table->edges[bin + 1] - table->edges[bin] > widest ? table->edges[bin + 1] - table->edges[bin] : widest;
    for (int64_t i = 0; found == DONE && i < n; i++) {
        const int64_t *edges = table->edges + scratch->bins[i], first = start_of(ruler, rows[i], edges[0]);
        const int64_t width = start_of(ruler, rows[i], edges[1]) - first;
        if (width < 1)
            return INVALID;
        ranges[i][0] = (int32_t)first;
        ranges[i][1] = (int32_t)width;
    }
    if (found == DONE)
        code_measured_places(coder, widest > LARGEST_UNIFORM, rows, ranges, cells, n);
    return found;
}

/* Code n cells that a ruler puts on those of the table. */
EXPORT int atlasae_measured(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n,
                            const Ruler *ruler) {
    Scratch scratch;
    if (table->contexts > MOST_CONTEXTS || (coder->steps && coder->steps_end - coder->step < 3 * n))
        return INVALID;
    int found = take_scratch(&scratch, n);
    if (found != DONE)
        return found;
    int32_t(*ranges)[2] = malloc(((size_t)n + 1) * sizeof *ranges);
    found = ranges ? code_measured(coder, table, contexts, cells, n, ruler, ranges, &scratch) : NO_MEMORY;
    free(ranges);
    free_scratch(&scratch);
    return found;
}

/* A number divided by another, of which the reciprocal is ALL_BITS / divisor. A product takes a fourth of the time of a
 * quotient, and the reciprocal does not wait for the step before. */
static inline uint64_t quotient(uint64_t number, uint32_t divisor, uint64_t reciprocal) {
#ifdef __SIZEOF_INT128__
    uint64_t found = (uint64_t)((unsigned __int128)number * reciprocal >> 64);
    for (uint64_t rest = number - found * divisor; rest >= divisor; rest -= divisor)
        found++;
    return found;
#else
    (void)reciprocal;
    return number / divisor;
#endif
}

/* Push n steps, from the last to the first, on a state: its full words go to `words`, whose number is returned. */
EXPORT int64_t atlasae_push(uint64_t *state, const uint64_t *steps, int64_t n, uint32_t *words) {
    uint64_t now = *state;
    int64_t written = 0;
    while (n--) {
        const uint32_t start = (uint32_t)steps[n], probability = (uint32_t)(steps[n] >> 32);
        if (now >> (64 - PRECISION) >= probability) {
            words[written++] = (uint32_t)now;
            now >>= 32;
        }
        const uint64_t prefix = quotient(now, probability, ALL_BITS / probability);
        now = prefix << PRECISION | (start + (uint32_t)(now - prefix * probability));
    }
    *state = now;
    return written;
}
