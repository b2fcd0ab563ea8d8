/* What words.c writes and unwords.c reads: LZMA2 of literals and of repeats at the distance of one word. */
#ifndef ATLASAE_WORDS_H
#define ATLASAE_WORDS_H

#include <stddef.h>
#include <stdint.h>

enum {
    WORD = 4,
    LC = 2, LP = 2, PB = 2, /* as in xz.py: literals by two bits of the byte before, and all by the place in a word */
    STATES = 12, LITERAL_STATES = 7, PLACES = 1 << PB,
    SCALE_BITS = 11, HALF = 1 << (SCALE_BITS - 1), LEARN = 5, /* of probabilities */
    SHORTEST = 2, LONGEST = 273, /* a repeat; shorter ones have a code of their own */
    SLOT = 3, SLOT_BITS = 6,     /* of the distance of one word */
    RANGE_BYTES = 5,             /* in front of a chunk */
    CHUNK_HEADER = 6, RESETS_ALL = 0xE0, GOES_ON = 0x80, THE_END = 0, PROPERTIES = (PB * 5 + LP) * 9 + LC
};

typedef uint16_t Chance; /* the probability of a 0, of 2^SCALE_BITS */

typedef struct {
    Chance choice, choice2, low[PLACES][8], mid[PLACES][8], high[256];
} Length;

typedef struct {
    Chance match[STATES][PLACES], repeat[STATES], first[STATES], is_long[STATES][PLACES];
    Chance literal[1 << (LC + LP)][0x300], slot[64];
    Length match_length, repeat_length;
} Chances;

static void set_chances(Chances *chances) {
    Chance *each = (Chance *)chances;
    for (size_t i = 0; i < sizeof *chances / sizeof *each; i++)
        each[i] = HALF;
}

static inline int after_literal(int state) { return state < 4 ? 0 : state < 10 ? state - 3 : state - 6; }

#endif
