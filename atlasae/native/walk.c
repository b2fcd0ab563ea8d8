/* The jets of events, block by block: `Walk` of codecs/packed.py compiled.
 *
 * Contexts are made of sums, products and quotients in double precision, whose rounding IEEE 754 defines: no compiler
 * may contract them (see scripts/compile.py). */
#include "coder.h"

#include <stdlib.h>
#include <string.h>

enum {
    RANKS = 16, MULTIPLICITIES = 5, PT_CLASSES = 9, ETA_CLASSES = 4, PLACES = 8,
    RECOILS = 3, RATIOS = 20, LOWEST_RATIO = 1023 - 14, BALANCES = 6, LOWEST_BALANCE = 1023 - 6,
    TURN = 4096, UNIT = 1 << 14, SLOPES = 4096
};
enum { PT, FALL, ETA, PHI, MASS, ANY_PHI, TABLES };

/* The jets of some events in the order of coding: all first ones, all second ones and so on. */
typedef struct {
    int64_t events, jets;
    const int64_t *counts;  /* jets of each event */
    int64_t reached[RANKS]; /* by rank: the number of events with a jet of it */
    int32_t *event, *start; /* events with the most jets first, and the first jets of these */
    int32_t *row;           /* of each jet */
    int32_t *pt, *phi;      /* cells of each jet */
    double *x, *y, *last;   /* of each event: the vector sum of the jets so far, and the pt of the last of them */
} Order;

/* What codes the jets. */
typedef struct {
    Coder *coder;
    const Grid *grid;
    Table *tables; /* of this block */
    Scratch scratch;
    Order order;
    int reading;
} Block;

static int take_order(Order *order, int64_t most_events, int64_t most_jets) {
    const size_t events = (size_t)most_events + 1, jets = (size_t)most_jets + 1;
    order->event = malloc(events * sizeof *order->event);
    order->start = malloc(events * sizeof *order->start);
    order->row = malloc(jets * sizeof *order->row);
    order->pt = malloc(jets * sizeof *order->pt);
    order->phi = malloc(jets * sizeof *order->phi);
    order->x = malloc(events * sizeof *order->x);
    order->y = malloc(events * sizeof *order->y);
    order->last = malloc(events * sizeof *order->last);
    const int found = order->event && order->start && order->row && order->pt && order->phi;
    return found && order->x && order->y && order->last ? DONE : NO_MEMORY;
}

static void free_order(Order *order) {
    free(order->event);
    free(order->start);
    free(order->row);
    free(order->pt);
    free(order->phi);
    free(order->x);
    free(order->y);
    free(order->last);
}

static inline int64_t ranked(int64_t count) { return count < RANKS ? count : RANKS; }

/* Sort the events by falling numbers of jets, and the jets by rank; jets beyond the last rank keep their order. */
static void sort(Order *order) {
    int64_t place[RANKS + 1] = {0}, begin = 0, start = 0, n = 0;
    for (int64_t event = 0; event < order->events; event++)
        place[RANKS - ranked(order->counts[event])]++;
    for (int missing = 0; missing <= RANKS; missing++) {
        const int64_t events = place[missing];
        place[missing] = begin;
        begin += events;
        if (missing < RANKS)
            order->reached[RANKS - 1 - missing] = begin;
    }
    for (int64_t event = 0; event < order->events; event++) {
        const int64_t at = place[RANKS - ranked(order->counts[event])]++;
        order->event[at] = (int32_t)event;
        order->start[at] = (int32_t)start;
        start += order->counts[event];
    }
    for (int rank = 0; rank < RANKS; rank++)
        for (int64_t i = 0; i < order->reached[rank]; i++)
            order->row[n++] = order->start[i] + rank;
    start = 0;
    for (int64_t event = 0; n < order->jets && event < order->events; event++) {
        for (int64_t jet = RANKS; jet < order->counts[event]; jet++)
            order->row[n++] = (int32_t)(start + jet);
        start += order->counts[event];
    }
}

/* The class of a squared ratio by octave: the exponent of its double, minus `lowest`. */
static inline int octave(double square, int lowest, int classes) {
    int64_t bits;
    memcpy(&bits, &square, sizeof bits);
    int found = (int)(bits >> 52) - lowest;
    found = found > 0 ? found : 0;
    return found < classes ? found : classes - 1;
}

static inline double square_of(double size) { return (size * UNIT) * (size * UNIT); }

static inline int smaller(int one, int other) { return one < other ? one : other; }

/* The cell of phi in the direction of integers (x, y). */
static inline int32_t cell_towards(const Grid *grid, double x, double y) {
    const double across = (x < 0 ? -x : x) + (y < 0 ? -y : y);
    const double slope = y * SLOPES / (across > 1 ? across : 1) + SLOPES;
    return grid->phi_from[(int64_t)slope + (x < 0) * (2 * SLOPES + 1)];
}

/* Code with one of the tables; contexts are in the scratch memory. */
static int code_with(Block *block, int table, int in_context, int32_t *cells, int64_t n) {
    Scratch *scratch = &block->scratch;
    return code(block->coder, block->tables + table, in_context ? scratch->contexts : NULL, cells, n, scratch);
}

static int code_first(Block *block, int32_t *pt, int32_t *phi, int64_t n) {
    int64_t i = 0;
    for (int count = MULTIPLICITIES; count; count--)
        for (; i < block->order.reached[count - 1]; i++)
            block->scratch.contexts[i] = (uint16_t)count;
    const int found = code_with(block, PT, block->grid->context != 0, pt, n);
    return found == DONE ? code_with(block, ANY_PHI, 0, phi, n) : found;
}

/* Code pt as its distance below that of the jet before. */
static int code_fall(Block *block, int rank, const int32_t *before, int32_t *pt, int64_t n) {
    const Order *order = &block->order;
    const int64_t size = block->grid->sizes[0];
    int32_t *fall = block->scratch.relative;
    for (int64_t i = 0; i < n; i++) {
        const double square = order->x[i] * order->x[i] + order->y[i] * order->y[i];
        const int is_last = rank + 1 < RANKS ? i >= order->reached[rank + 1] : order->counts[order->event[i]] == RANKS;
        const int place = is_last + 2 * (smaller(rank, PLACES / 2) - 1);
        const int balance = octave(square / square_of(order->last[i]), LOWEST_BALANCE, BALANCES);
        block->scratch.contexts[i] = (uint16_t)((place + PLACES * balance) * PT_CLASSES + block->grid->pt_class[before[i]]);
        if (!block->reading)
            fall[i] = before[i] - pt[i];
    }
    const int found = code_with(block, FALL, 1, fall, n);
    for (int64_t i = 0; block->reading && found == DONE && i < n; i++) {
        const int64_t cell = (int64_t)before[i] - fall[i]; /* forged words may exceed the grid */
        pt[i] = (int32_t)(cell < 0 ? 0 : cell < size ? cell : size - 1);
    }
    return found;
}

/* Code phi relative to the direction of the vector sum of the jets before. */
static int code_recoil(Block *block, int rank, const int32_t *pt, int32_t *phi, int64_t n) {
    const Order *order = &block->order;
    const Grid *grid = block->grid;
    const int32_t turn = (int32_t)grid->sizes[2];
    int32_t *relative = block->scratch.relative;
    for (int64_t i = 0; i < n; i++) {
        const double x = order->x[i], y = order->y[i], square = x * x + y * y;
        const int ratio = octave(square_of(grid->sizes_of_pt[pt[i]]) / (square > 1 ? square : 1), LOWEST_RATIO, RATIOS);
        block->scratch.contexts[i] = (uint16_t)(ratio + RATIOS * (smaller(rank, RECOILS) - 1));
        const int32_t from = cell_towards(grid, x, y);
        if (block->reading)
            phi[i] = from;
        else
            relative[i] = phi[i] - from + (phi[i] < from ? turn : 0);
    }
    const int found = code_with(block, PHI, 1, relative, n);
    for (int64_t i = 0; block->reading && found == DONE && i < n; i++) {
        const int32_t cell = phi[i] + relative[i];
        phi[i] = cell < turn ? cell : cell - turn;
    }
    return found;
}

/* Add the jets of a rank to the vector sums of their events, of those that have more jets. */
static void add_jets(Order *order, const Grid *grid, const int32_t *pt, const int32_t *phi, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const double size = grid->sizes_of_pt[pt[i]];
        order->x[i] += size * grid->cosines_and_sines[2 * phi[i]];
        order->y[i] += size * grid->cosines_and_sines[2 * phi[i] + 1];
        order->last[i] = size;
    }
}

/* Code pt and phi rank by rank; those of jets beyond the last rank independently. */
static int code_transverse(Block *block) {
    Order *order = &block->order;
    int64_t begin = 0, before = 0;
    int found = DONE;
    for (int64_t event = 0; event < order->events; event++)
        order->x[event] = order->y[event] = 0;
    for (int rank = 0; rank < RANKS && order->reached[rank] && found == DONE; rank++) {
        const int64_t n = order->reached[rank];
        int32_t *pt = order->pt + begin, *phi = order->phi + begin;
        if (!rank)
            found = code_first(block, pt, phi, n);
        else if ((found = code_fall(block, rank, order->pt + before, pt, n)) == DONE)
            found = code_recoil(block, rank, pt, phi, n);
        if (found == DONE && rank + 1 < RANKS)
            add_jets(order, block->grid, pt, phi, order->reached[rank + 1]);
        before = begin;
        begin += n;
    }
    if (found == DONE)
        found = code_with(block, PT, 0, order->pt + begin, order->jets - begin);
    return found == DONE ? code_with(block, ANY_PHI, 0, order->phi + begin, order->jets - begin) : found;
}

/* Code the cells of mu: relative to those of log pt or, for massless jets, beyond these, from m = 0. */
static int code_mass(Block *block, const int32_t *pt, int32_t *mass) {
    const Grid *grid = block->grid;
    const int64_t n = block->order.jets, top = grid->sizes[3];
    int32_t *relative = block->scratch.relative;
    for (int64_t i = 0; !block->reading && i < n; i++) {
        const int64_t from_zero = mass[i] - grid->zero_mass;
        const int light = from_zero >= 0 && from_zero < grid->light;
        relative[i] = light ? (int32_t)(from_zero + top) : mass[i] - grid->anchors[pt[i]];
    }
    const int found = code_with(block, MASS, 1, relative, n);
    for (int64_t i = 0; block->reading && found == DONE && i < n; i++) {
        const int64_t cell = relative[i] < top ? (int64_t)relative[i] + grid->anchors[pt[i]]
                                               : relative[i] - (top - grid->zero_mass);
        if (cell < 0 || cell >= top)
            return INVALID;
        mass[i] = (int32_t)cell;
    }
    return found;
}

/* Whether all cells are of the grid. */
static int inside(const Grid *grid, int32_t *const cells[4], int64_t n) {
    int beyond = 0;
    for (int row = 0; row < 4; row++) {
        const int32_t *found = cells[row], size = (int32_t)grid->sizes[row];
        for (int64_t i = 0; i < n; i++)
            beyond |= (found[i] < 0) | (found[i] >= size);
    }
    return !beyond;
}

static int code_block(Block *block, int32_t *const cells[4]) {
    Order *order = &block->order;
    const Grid *grid = block->grid;
    uint16_t *contexts = block->scratch.contexts;
    if (!block->reading && !inside(grid, cells, order->jets))
        return INVALID;
    sort(order);
    for (int64_t i = 0; !block->reading && i < order->jets; i++) {
        order->pt[i] = cells[0][order->row[i]];
        order->phi[i] = cells[2][order->row[i]];
    }
    int found = code_transverse(block);
    if (found != DONE)
        return found;
    for (int64_t i = 0; block->reading && i < order->jets; i++) {
        cells[0][order->row[i]] = order->pt[i];
        cells[2][order->row[i]] = order->phi[i];
    }
    for (int64_t i = 0; i < order->jets; i++)
        contexts[i] = grid->pt_class[cells[0][i]];
    if ((found = code_with(block, ETA, 1, cells[1], order->jets)) != DONE)
        return found;
    for (int64_t i = 0; i < order->jets; i++)
        contexts[i] = (uint16_t)(contexts[i] * ETA_CLASSES + grid->eta_class[cells[1][i]]);
    return code_mass(block, cells[0], cells[3]);
}

/* The jets of each block of events, from the ends of the blocks; INVALID for numbers of jets that can't be. */
static int find_sizes(const int64_t *counts, const int64_t *ends, int64_t blocks, int64_t jets, int64_t *sizes) {
    for (int64_t block = 0, event = 0; block < blocks; block++)
        for (sizes[block] = 0; event < ends[block]; event++) {
            if (counts[event] < 0 || counts[event] > jets)
                return INVALID;
            sizes[block] += counts[event];
            jets -= counts[event];
        }
    return jets ? INVALID : DONE;
}

/* Let the tables learn of the block before; a writer's are copies, since those of kept cells stay as they are. */
static void settle(Block *block) {
    for (int table = 0; table < TABLES; table++) {
        if (!block->reading)
            block->tables[table] = block->tables[table - TABLES];
        Table *now = block->tables + table;
        if (!now->seen)
            continue;
        atlasae_learn(now);
        if (!block->reading)
            now->starts += now->contexts * (now->bins + 1);
    }
}

static int code_blocks(Block *block, const int64_t *ends, const int64_t *sizes, int64_t blocks, int32_t *cells,
                       int64_t stride) {
    int64_t begin = 0;
    int found = DONE;
    for (int64_t i = 0; i < blocks && found == DONE; i++) {
        int32_t *const rows[4] = {cells, cells + stride, cells + 2 * stride, cells + 3 * stride};
        block->order.events = ends[i] - begin;
        block->order.jets = sizes[i];
        if (i) {
            block->tables += block->reading ? 0 : TABLES;
            settle(block);
        }
        found = code_block(block, rows);
        block->order.counts += ends[i] - begin;
        begin = ends[i];
        cells += sizes[i];
    }
    return found;
}

static int64_t largest(const int64_t *numbers, int64_t n) {
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++)
        found = numbers[i] > found ? numbers[i] : found;
    return found;
}

/* Code the cells (four rows, of `stride` cells each) of all jets of some events, from `cells` or to them. Blocks of
 * events have these `ends`; after each, the tables learn of it. Tables: pt, fall, eta, phi, m, and phi without context;
 * for a writer there is room for as many in each block, and `starts` for those of all blocks. */
EXPORT int atlasae_walk(Coder *coder, Table *tables, const Grid *grid, const int64_t *counts, const int64_t *ends,
                        int64_t blocks, int64_t jets, int32_t *cells, int64_t stride) {
    Block block = {.coder = coder, .grid = grid, .tables = tables, .reading = !coder->kept};
    int64_t *sizes = malloc(((size_t)blocks + 1) * sizeof *sizes);
    int found = sizes ? find_sizes(counts, ends, blocks, jets, sizes) : NO_MEMORY;
    coder->tables = tables;
    block.order.counts = counts;
    if (found == DONE)
        found = take_scratch(&block.scratch, largest(sizes, blocks));
    if (found == DONE) {
        found = take_order(&block.order, blocks ? ends[blocks - 1] : 0, largest(sizes, blocks));
        if (found == DONE)
            found = code_blocks(&block, ends, sizes, blocks, cells, stride);
        free_order(&block.order);
        free_scratch(&block.scratch);
    }
    free(sizes);
    return found;
}
