/* Entropy coding of cells by tables: codecs/entropy.py compiled, with the arithmetic of constriction's AnsCoder.
 *
 * The coder is a stack (asymmetric numeral systems, Duda 2013): 64 bits of state, words of 32 bits, probabilities of
 * 24 bits. Counts and their sums are below 2^53, thus exact in double precision. */
#include "coder.h"

#include <stdlib.h>
#include <string.h>

enum { PRECISION = 24, GUESS_BITS = 8, GUESSES = 1 << GUESS_BITS, LARGEST_UNIFORM = 1 << 16, MOST_CONTEXTS = 1 << 16 };
enum { SEEN = 64, FAITH = 600, SHARE = 1 << 16 }; /* of codecs/entropy.py */

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

/* Make the starts of a context from its counts, as constriction's Categorical(perfect=False) does. */
static void prepare(const Table *table, int64_t context) {
    const int64_t bins = table->bins, *counts = table->counts + context * bins;
    uint32_t *starts = table->starts + context * (bins + 1);
    uint16_t *guesses = table->guesses + context * GUESSES;
    double total = 0, sum = 0;
    for (int64_t bin = 0; bin < bins; bin++)
        total += (double)counts[bin];
    const double scale = (double)(WHOLE - (uint32_t)bins) / total;
    for (int64_t bin = 0; bin < bins; bin++) {
        starts[bin] = (uint32_t)(sum * scale) + (uint32_t)bin;
        sum += (double)counts[bin];
    }
    starts[bins] = WHOLE;
    int64_t bin = 0;
    for (uint32_t i = 0; i < GUESSES; i++) {
        while (starts[bin + 1] <= i << (PRECISION - GUESS_BITS))
            bin++;
        guesses[i] = (uint16_t)bin;
    }
    table->known[context] = 1;
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
    while (starts[bin + 1] <= quantile)
        bin++;
    read_step(coder, quantile, starts[bin], starts[bin + 1] - starts[bin]);
    return bin;
}

/* Numbers below `size`, of which the last takes what is left of the whole. */
static inline void write_uniform(Coder *coder, uint32_t number, uint32_t size) {
    if (size < 2)
        return;
    const uint32_t each = WHOLE / size, start = number * each;
    write_step(coder, start, number == size - 1 ? WHOLE - start : each);
}

static inline uint32_t read_uniform(Coder *coder, uint32_t size) {
    if (size < 2)
        return 0;
    const uint32_t each = WHOLE / size, quantile = quantile_of(coder);
    uint32_t number = quantile / each;
    number = number < size - 1 ? number : size - 1;
    const uint32_t start = number * each;
    read_step(coder, quantile, start, number == size - 1 ? WHOLE - start : each);
    return number;
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

/* Code the bins of cells that are sorted by context. */
static int code_bins(Coder *coder, Table *table, int64_t contexts, const int32_t *cells, Scratch *scratch) {
    int64_t i = 0;
    for (int64_t context = 0; context < contexts; context++) {
        const int64_t end = scratch->begins[context + 1];
        if (i == end)
            continue;
        if (table->bins > 1 && !table->known[context])
            prepare(table, context);
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

/* Code the places of cells in their bins; those in bins wider than LARGEST_UNIFORM as two digits, first all high ones,
 * which a reader leaves in `cells`. */
static void code_places(Coder *coder, const Table *table, int32_t *cells, int64_t n, const Scratch *scratch) {
    const int64_t *edges = table->edges;
    int64_t widest = 0;
    for (int64_t bin = 0; bin < table->bins; bin++)
        widest = edges[bin + 1] - edges[bin] > widest ? edges[bin + 1] - edges[bin] : widest;
    const int two = widest > LARGEST_UNIFORM;
    for (int64_t i = 0; two && i < n; i++) {
        const int64_t first = edges[scratch->bins[i]], width = edges[scratch->bins[i] + 1] - first;
        const uint32_t size = (uint32_t)((width - 1) / LARGEST_UNIFORM + 1);
        if (coder->steps)
            write_uniform(coder, (uint32_t)((cells[i] - first) / LARGEST_UNIFORM), size);
        else
            cells[i] = (int32_t)read_uniform(coder, size);
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = edges[scratch->bins[i]], width = edges[scratch->bins[i] + 1] - first;
        const uint32_t size = (uint32_t)(width < LARGEST_UNIFORM ? width : LARGEST_UNIFORM);
        if (coder->steps) {
            write_uniform(coder, (uint32_t)((cells[i] - first) % LARGEST_UNIFORM), size);
        } else {
            const int64_t high = two ? cells[i] : 0, place = high * LARGEST_UNIFORM + read_uniform(coder, size);
            cells[i] = (int32_t)(first + (place < width ? place : width - 1)); /* forged words may exceed the bin */
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
    if (found == DONE)
        found = code_bins(coder, table, contexts ? table->contexts : 1, sorted, scratch);
    if (found != DONE)
        return found;
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

/* Learn from the cells seen, forget these, and make new counts: `CodingTable.settle` of codecs/entropy.py. All arrays are
 * of contexts x bins, but `usual` and `expected` of bins. Products and quotients in double precision are rounded as
 * NumPy's. */
EXPORT int atlasae_learn(Table *table, const int64_t *prior, const int64_t *shares, const int64_t *usual, int64_t *learned,
                         int64_t *expected, double *ratios, int64_t *counts) {
    const int64_t contexts = table->contexts, bins = table->bins;
    int64_t *all = expected + bins;
    memset(expected, 0, (size_t)(2 * bins) * sizeof *expected);
    for (int64_t context = 0; context < contexts; context++) {
        int64_t sum = 0;
        for (int64_t bin = 0, i = context * bins; bin < bins; bin++, i++) {
            learned[i] += table->seen[i];
            sum += learned[i];
            all[bin] += learned[i];
        }
        for (int64_t bin = 0, i = context * bins; sum && bin < bins; bin++, i++)
            expected[bin] += sum * shares[i];
    }
    for (int64_t bin = 0; bin < bins; bin++) {
        const int64_t faith = FAITH * usual[bin] + 1;
        ratios[bin] = (double)(all[bin] * SHARE + faith) / (double)(expected[bin] + faith);
    }
    for (int64_t context = 0; context < contexts; context++)
        for (int64_t bin = 0, i = context * bins; bin < bins; bin++, i++) {
            const int64_t corrected = (int64_t)((double)prior[i] * ratios[bin]); /* positive: the floor */
            counts[i] = SEEN * learned[i] + (corrected > 1 ? corrected : 1);
        }
    memset(table->seen, 0, (size_t)(contexts * bins) * sizeof *table->seen);
    memset(table->known, 0, (size_t)contexts);
    table->counts = counts;
    return DONE;
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
