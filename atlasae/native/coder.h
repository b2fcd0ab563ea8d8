/* What the compiled parts share: the structures that library.py fills, with arrays that NumPy owns. */
#ifndef ATLASAE_CODER_H
#define ATLASAE_CODER_H

#include "export.h"

#include <stdint.h>

enum { DONE = 0, NO_MEMORY = -1, INVALID = -2 }; /* what a function returns */

/* The probabilities of bins of cells by context: `CodingTable` of codecs/entropy.py. */
typedef struct {
    int64_t contexts, bins, place_bits;
    int64_t settled;       /* whether counts are no longer the prior */
    const int64_t *edges;  /* bins + 1: first cells of the bins, and the end */
    int64_t widest;        /* cells of a bin */
    const int32_t *firsts;          /* bins: edges in fewer bits */
    const uint32_t *widths;         /* bins: cells, LARGEST_UNIFORM at most */
    const uint32_t *each;           /* bins: the probability of one of these, but for the last of them */
    const uint32_t *reciprocals;    /* bins: 2^32 / each */
    const int32_t *places; /* at every 2^place_bits-th cell: its bin, at which to begin a search */
    const uint32_t *codes; /* at every cell: its bin and its place in that, as they are kept; NULL for many cells */
    const int64_t *prior;  /* contexts x bins */
    int64_t *counts;       /* bins: scratch, for those of a context */
    int64_t *seen;         /* contexts x bins: cells coded; NULL: the table does not adapt */
    int64_t *learned;      /* contexts x bins: cells coded before */
    int64_t *observed, *expected; /* bins: sums of learned cells, and of those the prior expects, in shares */
    const int64_t *shares, *faith; /* contexts x bins, bins: of the prior */
    double *ratios;        /* bins: observed over expected cells */
    uint32_t *starts;      /* contexts x (bins + 1): sums of the probabilities before each bin */
    uint16_t *guesses;     /* contexts x GUESSES: the bin at which to begin a search */
    uint8_t *known;        /* contexts: 0: not met; KNOWN: starts are of today's counts; GUESSED: guesses, too */
} Table;

/* A writer, which keeps cells until `atlasae_push` makes words of them, or a reader of words. */
typedef struct {
    uint32_t *kept;        /* NULL: reading */
    int64_t at, end;       /* of what is kept */
    const Table *tables;   /* of which there are cells */
    const uint32_t *words; /* read from the end */
    int64_t words_left;
    uint64_t state;
} Coder;

/* Grid and classes of the packed layout: `Walk` of codecs/packed.py. */
typedef struct {
    int64_t sizes[4];         /* cells of log pt, eta, phi and mu */
    int64_t zero_mass, light; /* the cell of m = 0, and the number of cells of massless jets */
    int64_t context;          /* whether the first jet of an event is coded by their number */
    const int32_t *anchors;   /* by cell of pt: the cell of mu from which cells are counted */
    const uint16_t *pt_class, *eta_class;
    const int32_t *phi_from;  /* by slope, for rising x and then for falling: the cell of phi from which cells are counted */
    const double *cosines_and_sines, *sizes_of_pt; /* by cell of phi, in turns; by cell of pt */
} Grid;

/* Cells of unequal widths, other ones in every row, on the fine cells of a table: `EqualCells` or `FallingCells` of
 * codecs/resolved.py. */
typedef struct {
    int64_t falling;             /* whether cells are distances below `before` */
    int64_t has_top, top;        /* from the fine cell `top`, cells are fine cells */
    const int64_t *step, *shift; /* of each row: a cell begins at the fine cell cell * step + shift */
    const int32_t *most;         /* of each row: cells at most; NULL: as many as there are */
    const int64_t *places;       /* where the cells from which distances are counted begin, rising */
    int64_t size;                /* of places */
    const int32_t *before;       /* of each row */
} Ruler;

/* The row of a cell, and the range of cells of its bin. */
typedef struct {
    int32_t row, first, width;
} Range;

/* Scratch memory for n cells. */
typedef struct {
    int32_t *sorted, *bins, *relative;
    uint32_t *begins, *next; /* of the runs of equal contexts; the end of all is the last begin */
    int64_t runs;
    uint16_t *contexts;
} Scratch;

/* Let a table learn of the cells coded since the last time. */
EXPORT int atlasae_learn(Table *table);

/* The counts of a context, until the next call. */
const int64_t *counts_of(const Table *table, int64_t context);

int take_scratch(Scratch *scratch, int64_t n);
void free_scratch(Scratch *scratch);

/* Code n cells, each in its context (NULL: all in context 0), from `cells` or to them. */
int code(Coder *coder, Table *table, const uint16_t *contexts, int32_t *cells, int64_t n, Scratch *scratch);

#endif
