/* Entropy coding of cells by tables: codecs/entropy.py compiled, with the arithmetic of constriction's AnsCoder.
 *
 * The coder is a stack (asymmetric numeral systems, Duda 2013): 64 bits of state, words of 32 bits, probabilities of
 * 24 bits. Counts and their sums are below 2^53, thus exact in double precision. What is read first is pushed last:
 * a writer keeps the cells, in a fourth of the memory of their steps, and `atlasae_push` makes words of them. */
#include "coder.h"

#include <stdlib.h>
#include <string.h>

enum { PRECISION = 24, GUESS_BITS = 8, GUESSES = 1 << GUESS_BITS, PLACE = 16, LARGEST_UNIFORM = 1 << PLACE, MOST_CONTEXTS = 1 << 16 };

static const uint32_t WHOLE = 1u << PRECISION;

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
    int64_t total = 0, sum = 0;
    for (int64_t bin = 0; bin < bins; bin++)
        total += counts[bin];
    const double scale = (double)(WHOLE - (uint32_t)bins) / (double)total;
    for (int64_t bin = 0; bin < bins; bin++) {
        starts[bin] = (uint32_t)((double)sum * scale) + (uint32_t)bin;
        sum += counts[bin];
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
static inline uint32_t read_uniform(Coder *coder, uint32_t size, uint32_t share, uint32_t reciprocal) {
    const uint32_t quantile = quantile_of(coder);
    uint32_t number = (uint32_t)((uint64_t)quantile * reciprocal >> 32);
    number += quantile - number * share >= share; /* the reciprocal is rounded down */
    number = number < size - 1 ? number : size - 1;
    const uint32_t start = number * share;
    read_step(coder, quantile, start, number == size - 1 ? WHOLE - start : share);
    return number;
}

/* The same for any size, without a table of shares. */
static inline uint32_t read_any(Coder *coder, uint32_t size) {
    const uint32_t share = WHOLE / size;
    return size > 1 ? read_uniform(coder, size, share, (uint32_t)(((uint64_t)1 << 32) / share)) : 0;
}

/* The bin of a cell of the table, searched. */
static inline int32_t bin_of(const Table *table, int32_t cell) {
    int32_t bin = table->places[(cell - table->edges[0]) >> table->place_bits];
    while (table->edges[bin + 1] <= cell)
        bin++;
    return bin;
}

/* Find the runs of equal contexts that cells have when they are sorted by context; without contexts, it is one. */
static int find_runs(const Table *table, const uint16_t *contexts, int64_t n, Scratch *scratch) {
    uint32_t *begins = scratch->begins;
    scratch->runs = contexts ? table->contexts : 1;
    memset(begins, 0, (size_t)(scratch->runs + 1) * sizeof *begins);
    for (int64_t i = 0; contexts && i < n; i++) {
        if (contexts[i] >= scratch->runs)
            return INVALID;
        begins[contexts[i] + 1]++;
    }
    for (int64_t run = 0; contexts && run < scratch->runs; run++)
        begins[run + 1] += begins[run];
    if (!contexts)
        begins[1] = (uint32_t)n;
    memcpy(scratch->next, begins, (size_t)scratch->runs * sizeof *begins);
    return DONE;
}

/* Make ready a context with cells. */
static inline void meet(const Coder *coder, const Table *table, int64_t context) {
    if (table->bins > 1 && !table->known[context])
        prepare(table, context);
    if (table->bins > 1 && !coder->kept && table->known[context] < GUESSED)
        guess(table, context);
    table->known[context] |= KNOWN;
}

/* What is kept: bins of cells that are sorted by context, with the places in them and the begins of the runs; or places
 * of cells in ranges, with the widths of these. A frame follows, as all is read from the end. */
enum { BINS_AND_PLACES, BINS, RANGES }; /* which steps become of it */
enum { KIND, TABLE, NUMBER, RUNS, FRAME };

/* Room for what is kept, and its frame behind it; NULL for too little. */
static uint32_t *keep(Coder *coder, int kind, const Table *table, int64_t n, int64_t runs) {
    const int64_t size = kind == RANGES ? 2 * n : n + runs + 1;
    uint32_t *room = coder->kept + coder->at;
    if (coder->end - coder->at < size + FRAME)
        return NULL;
    room[size + KIND] = (uint32_t)kind;
    room[size + TABLE] = (uint32_t)(table - coder->tables);
    room[size + NUMBER] = (uint32_t)n;
    room[size + RUNS] = (uint32_t)runs;
    coder->at += size + FRAME;
    return room;
}

/* The bin of a cell and its place in it, as they are kept. */
static inline uint32_t searched(const Table *table, int32_t cell) {
    const int32_t bin = bin_of(table, cell);
    return (uint32_t)bin << PLACE | (uint32_t)(cell - table->firsts[bin]) % LARGEST_UNIFORM;
}

/* Put the bins and places of cells in the order of their contexts. */
static int sort_codes(const Table *table, const uint16_t *contexts, const int32_t *cells, int64_t n, uint32_t *next,
                      uint32_t *sorted) {
    const uint32_t *codes = table->codes, first = (uint32_t)table->edges[0];
    const uint32_t size = (uint32_t)(table->edges[table->bins] - table->edges[0]);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t place = (uint32_t)cells[i] - first;
        if (place >= size)
            return INVALID;
        sorted[contexts ? next[contexts[i]]++ : i] = codes ? codes[place] : searched(table, cells[i]);
    }
    return DONE;
}

/* Keep cells and count their bins. */
static int keep_cells(Coder *coder, int kind, const Table *table, const uint16_t *contexts, const int32_t *cells,
                      int64_t n, Scratch *scratch) {
    uint32_t *sorted = keep(coder, kind, table, n, scratch->runs);
    if (!sorted || sort_codes(table, contexts, cells, n, scratch->next, sorted) != DONE)
        return INVALID;
    memcpy(sorted + n, scratch->begins, (size_t)(scratch->runs + 1) * sizeof *sorted);
    for (int64_t run = 0, i = 0; run < scratch->runs; run++) {
        const int64_t end = scratch->begins[run + 1];
        int64_t *seen = table->seen ? table->seen + run * table->bins : NULL;
        if (i < end)
            meet(coder, table, run);
        for (; seen && i < end; i++)
            seen[sorted[i] >> PLACE]++;
        i = end;
    }
    return DONE;
}

/* Read the bins of cells in runs of contexts. */
static void read_bins(Coder *coder, const Table *table, Scratch *scratch) {
    for (int64_t run = 0, i = 0; run < scratch->runs; run++) {
        const int64_t end = scratch->begins[run + 1];
        const uint32_t *starts = table->starts + run * (table->bins + 1);
        const uint16_t *guesses = table->guesses + run * GUESSES;
        int64_t *seen = table->seen ? table->seen + run * table->bins : NULL;
        if (i < end)
            meet(coder, table, run);
        for (; i < end; i++) {
            const int32_t bin = table->bins > 1 ? read_bin(coder, starts, guesses) : 0;
            if (seen)
                seen[bin]++;
            scratch->bins[i] = bin;
        }
    }
}

/* Read the places of cells in their bins. */
static void read_places(Coder *coder, const Table *table, int32_t *cells, int64_t n, const Scratch *scratch) {
    for (int64_t i = 0; i < n; i++) {
        const int32_t bin = scratch->bins[i];
        const uint32_t size = table->widths[bin];
        cells[i] = table->firsts[bin];
        if (size > 1)
            cells[i] += (int32_t)read_uniform(coder, size, table->each[bin], table->reciprocals[bin]);
    }
}

/* Places of a wide bin are two digits: the sizes of these. */
static inline uint32_t high_size(int32_t width) { return (uint32_t)((width - 1) / LARGEST_UNIFORM + 1); }
static inline uint32_t low_size(int32_t width) { return (uint32_t)(width < LARGEST_UNIFORM ? width : LARGEST_UNIFORM); }

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
    if (!ruler)
        return edge;
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
    int64_t found = cell;
    if (ruler && ruler->falling) {
        const int64_t at = ruler->before[row] - cell;
        found = at < 0 || at >= ruler->size ? INT32_MIN : ruler->places[ruler->before[row]] - ruler->places[at];
    } else if (ruler) {
        const int64_t step = ruler->step[row], shift = ruler->shift[row];
        const int64_t last = ruler->has_top ? -floor_of(shift - ruler->top, step) : INT64_MAX;
        found = cell >= last ? ruler->top + cell - last : cell * step + shift;
    }
    return found < INT32_MIN || found > INT32_MAX ? INT32_MIN : (int32_t)found;
}

/* Code the places of the cells of rows in their bins, as one digit or, in wide bins, as two: first all high ones. */
static void read_ranges(Coder *coder, int two, const Range *ranges, int32_t *cells, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        cells[ranges[i].row] = two ? (int32_t)read_any(coder, high_size(ranges[i].width)) : 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t *cell = cells + ranges[i].row;
        const int64_t width = ranges[i].width, high = *cell;
        const int64_t place = high * LARGEST_UNIFORM + read_any(coder, low_size(ranges[i].width));
        *cell = ranges[i].first + (int32_t)(place < width ? place : width - 1); /* forged words may exceed the bin */
    }
}

static int keep_ranges(Coder *coder, const Table *table, const Range *ranges, const int32_t *cells, int64_t n) {
    uint32_t *kept = keep(coder, RANGES, table, n, 0);
    for (int64_t i = 0; kept && i < n; i++) {
        kept[2 * i] = (uint32_t)(cells[ranges[i].row] - ranges[i].first);
        kept[2 * i + 1] = (uint32_t)ranges[i].width;
    }
    return kept ? DONE : INVALID;
}

/* Find the ranges of cells from their bins. */
static int find_ranges(const Table *table, const Ruler *ruler, const int32_t *bins, Range *ranges, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const int64_t *edges = table->edges + bins[i], first = start_of(ruler, ranges[i].row, edges[0]);
        const int64_t width = start_of(ruler, ranges[i].row, edges[1]) - first;
        if (width < 1)
            return INVALID;
        ranges[i].first = (int32_t)first;
        ranges[i].width = (int32_t)width;
    }
    return DONE;
}

/* Keep or read the bins of cells, whose rows are sorted by context. */
static int code_bins(Coder *coder, Table *table, int32_t *cells, int64_t n, const Ruler *ruler, const Range *ranges,
                     Scratch *scratch) {
    if (!coder->kept) {
        read_bins(coder, table, scratch);
        return DONE;
    }
    for (int64_t i = 0; i < n; i++)
        scratch->sorted[i] = fine_of(ruler, ranges[i].row, cells[ranges[i].row]);
    const int found = keep_cells(coder, BINS, table, NULL, scratch->sorted, n, scratch);
    for (int64_t i = 0; found == DONE && i < n; i++)
        scratch->bins[i] = bin_of(table, scratch->sorted[i]);
    return found;
}

/* Code cells whose places are in ranges: those of wide bins, or those that a ruler tells. */
static int code_in_ranges(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n,
                          const Ruler *ruler, Scratch *scratch) {
    Range *ranges = malloc(((size_t)n + 1) * sizeof *ranges);
    int found = ranges ? find_runs(table, contexts, n, scratch) : NO_MEMORY;
    for (int64_t i = 0; found == DONE && i < n; i++)
        ranges[contexts ? scratch->next[contexts[i]]++ : i].row = (int32_t)i;
    if (found == DONE)
        found = code_bins(coder, table, cells, n, ruler, ranges, scratch);
    if (found == DONE)
        found = find_ranges(table, ruler, scratch->bins, ranges, n);
    if (found == DONE && coder->kept)
        found = keep_ranges(coder, table, ranges, cells, n);
    else if (found == DONE)
        read_ranges(coder, table->widest > LARGEST_UNIFORM, ranges, cells, n);
    free(ranges);
    return found;
}

int code(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n, Scratch *scratch) {
    if (!n)
        return DONE;
    if (table->widest > LARGEST_UNIFORM)
        return code_in_ranges(coder, table, contexts, cells, n, NULL, scratch);
    const int found = find_runs(table, contexts, n, scratch);
    if (found != DONE)
        return found;
    if (coder->kept)
        return keep_cells(coder, BINS_AND_PLACES, table, contexts, cells, n, scratch);
    int32_t *sorted = contexts ? scratch->sorted : cells;
    read_bins(coder, table, scratch);
    read_places(coder, table, sorted, n, scratch);
    for (int64_t i = 0; contexts && i < n; i++)
        cells[i] = sorted[scratch->next[contexts[i]]++];
    return DONE;
}

/* Code with scratch memory for n cells, and with a ruler or NULL. */
static int code_alone(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n,
                      const Ruler *ruler) {
    Scratch scratch;
    int found = table->contexts > MOST_CONTEXTS ? INVALID : take_scratch(&scratch, n);
    if (found != DONE)
        return found;
    coder->tables = table;
    if (!ruler)
        found = code(coder, table, contexts, cells, n, &scratch);
    else if (n)
        found = code_in_ranges(coder, table, contexts, cells, n, ruler, &scratch);
    free_scratch(&scratch);
    return found;
}

EXPORT int atlasae_code(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n) {
    return code_alone(coder, table, contexts, cells, n, NULL);
}

/* Code n cells that a ruler puts on those of the table. */
EXPORT int atlasae_measured(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n,
                            const Ruler *ruler) {
    return code_alone(coder, table, contexts, cells, n, ruler);
}

/* The state of the coder and its quotient by the whole, and the words that were full. */
typedef struct {
    uint64_t state, quotient;
    uint32_t *restrict words;
    int64_t written;
} Stack;

/* Push a step. Whether a word is full can't be predicted, so there is no jump: it is written in any case. The quotient
 * tells it before the state is known, for which the next step waits. */
static inline Stack push(Stack stack, uint32_t start, uint32_t probability) {
    const int full = stack.quotient >> (64 - 2 * PRECISION) >= probability;
    const uint64_t now = full ? stack.quotient >> (32 - PRECISION) : stack.state;
    stack.words[stack.written] = (uint32_t)stack.state;
    stack.written += full;
#ifdef __SIZEOF_INT128__ /* the reciprocal does not wait for the state, which the step before makes */
    uint64_t quotient = (uint64_t)((unsigned __int128)now * (UINT64_MAX / probability) >> 64);
    for (uint64_t rest = now - quotient * probability; rest >= probability; rest -= probability)
        quotient++;
#else
    const uint64_t quotient = now / probability;
#endif
    stack.quotient = quotient;
    stack.state = now + start + quotient * (WHOLE - probability);
    return stack;
}

static inline Stack push_uniform(Stack stack, uint32_t number, uint32_t size, uint32_t share) {
    const uint32_t start = number * share;
    return push(stack, start, number == size - 1 ? WHOLE - start : share);
}

static inline Stack push_any(Stack stack, uint32_t number, uint32_t size) {
    return size > 1 ? push_uniform(stack, number, size, WHOLE / size) : stack;
}

static Stack push_ranges(Stack stack, int two, const uint32_t *kept, int64_t n) {
    for (int64_t i = n; i--;)
        stack = push_any(stack, kept[2 * i] % LARGEST_UNIFORM, low_size((int32_t)kept[2 * i + 1]));
    for (int64_t i = n; two && i--;)
        stack = push_any(stack, kept[2 * i] / LARGEST_UNIFORM, high_size((int32_t)kept[2 * i + 1]));
    return stack;
}

static Stack push_places(Stack stack, const Table *given, const uint32_t *cells, int64_t n) {
    const Table table = *given; /* a copy, which no word that is written can change */
    for (int64_t i = n; i--;) {
        const uint32_t bin = cells[i] >> PLACE, size = table.widths[bin];
        if (size > 1)
            stack = push_uniform(stack, cells[i] % LARGEST_UNIFORM, size, table.each[bin]);
    }
    return stack;
}

static Stack push_bins(Stack stack, const Table *given, const uint32_t *cells, const uint32_t *begins, int64_t runs) {
    const Table table = *given;
    while (table.bins > 1 && runs--) {
        const uint32_t *starts = table.starts + runs * (table.bins + 1);
        for (int64_t i = begins[runs + 1]; i-- > begins[runs];) {
            const uint32_t bin = cells[i] >> PLACE;
            stack = push(stack, starts[bin], starts[bin + 1] - starts[bin]);
        }
    }
    return stack;
}

/* Push what is kept before `end`, from the last to the first, on a state: full words go to `words`, which have room for
 * one more than there may be, and whose number is returned. */
EXPORT int64_t atlasae_push(uint64_t *state, const Table *tables, const uint32_t *kept, int64_t end, uint32_t *words) {
    Stack stack = {*state, *state >> PRECISION, words, 0};
    while (end) {
        const uint32_t *frame = kept + end - FRAME;
        const Table *table = tables + frame[TABLE];
        const int64_t n = frame[NUMBER], runs = frame[RUNS];
        const uint32_t *begin = frame - (frame[KIND] == RANGES ? 2 * n : n + runs + 1);
        if (frame[KIND] == RANGES)
            stack = push_ranges(stack, table->widest > LARGEST_UNIFORM, begin, n);
        if (frame[KIND] == BINS_AND_PLACES)
            stack = push_places(stack, table, begin, n);
        if (frame[KIND] != RANGES)
            stack = push_bins(stack, table, begin, begin + n, runs);
        end = begin - kept;
    }
    *state = stack.state;
    return stack.written;
}
