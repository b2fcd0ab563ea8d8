/* Reads back LZMA2 as words.c writes it, in half the time of liblzma; all else is refused, for liblzma to read.
 *
 * Most bits of literals are as good as random, and half of all branches by them would be mispredicted. There are none:
 * while a bit is decoded, the chances of both bits that may follow it are loaded. No byte is read or written outside of
 * what is given, whatever it holds. */
#include "export.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

enum {
    DONE = 0, NO_MEMORY = -1, REFUSED = -2,
    FEWEST = 1 << 24,             /* of range, below which it takes another byte */
    BYTE = 8,                     /* bits */
    MATCHED = 1 << BYTE,          /* from here on, the chances of bits of literals that are like those of the word before */
    SYMBOL = 20,                  /* a symbol takes no more bytes: one for each of its bits, at worst */
    FROM_ONE = (1 << SCALE_BITS) - (1 << LEARN) + 1 /* a chance learns from a 0 as this much more would from a 1 */
};

typedef struct {
    uint32_t range, code;
    const uint8_t *in;
} Range;

typedef struct {
    Range range;
    Chances chances;
    int state;
    int is_set; /* whether the last distance is that of one word */
    uint8_t *begin, *at;
} Reader;

/* What is told of the next bit: its chance, where that is kept, and whether (all ones) the bits before are as in the
 * word before. */
typedef struct {
    uint32_t chance;
    Chance *kept;
    uint64_t alike;
} Next;

static inline void normalise(Range *range) {
    if (range->range < FEWEST) {
        range->range <<= BYTE;
        range->code = range->code << BYTE | *range->in++;
    }
}

/* A bit that is mostly the same. */
static inline uint32_t get(Range *range, Chance *chance) {
    const uint32_t p = *chance, bound = (range->range >> SCALE_BITS) * p, bit = range->code >= bound;
    if (bit) {
        range->range -= bound;
        range->code -= bound;
        *chance = (Chance)(p - (p >> LEARN));
    } else {
        range->range = bound;
        *chance = (Chance)(p + (((1u << SCALE_BITS) - p) >> LEARN));
    }
    normalise(range);
    return bit;
}

static inline uint32_t get_tree(Range *range, Chance *chances, int bits) {
    uint32_t node = 1;
    for (int i = 0; i < bits; i++)
        node = node << 1 | get(range, chances + node);
    return node - (1u << bits);
}

#if defined(__x86_64__) && defined(__GNUC__)
/* Compilers make branches of it, or twice the instructions. */
#define BIT "sub %[bound], %[rest]\n\t cmovae %[rest], %[code]\n\t cmovb %[bound], %[range]\n\t cmovae %[p], %[from]\n\t"

/* The node behind a bit that is as good as random, and in `next`, which holds what follows a 0, what follows. */
static inline uint32_t get_random(Range *range, Chance *chance, uint32_t p, Next *next, const Next *one, uint32_t node) {
    const uint32_t bound = (range->range >> SCALE_BITS) * p;
    uint32_t left = range->range - bound, from = p - FROM_ONE, rest = range->code;
    node = node << 1 | 1;
    __asm__(BIT "cmovae %[p1], %[p0]\n\t sbb $0, %[node]"
            : [code] "+&r"(range->code), [rest] "+&r"(rest), [range] "+&r"(left), [from] "+&r"(from),
              [node] "+&r"(node), [p0] "+&r"(next->chance)
            : [bound] "r"(bound), [p] "r"(p), [p1] "rm"(one->chance)
            : "cc");
    *chance = (Chance)(p - (uint32_t)((int32_t)from >> LEARN));
    range->range = left;
    normalise(range);
    return node;
}

/* The same, of a literal behind a repeat. */
static inline uint32_t get_matched(Range *range, Chance *chance, uint32_t p, Next *next, const Next *one, uint32_t node) {
    const uint32_t bound = (range->range >> SCALE_BITS) * p;
    uint32_t left = range->range - bound, from = p - FROM_ONE, rest = range->code;
    node = node << 1 | 1;
    __asm__(BIT "cmovae %[p1], %[p0]\n\t cmovae %[alike1], %[alike0]\n\t cmovae %[kept1], %[kept0]\n\t sbb $0, %[node]"
            : [code] "+&r"(range->code), [rest] "+&r"(rest), [range] "+&r"(left), [from] "+&r"(from),
              [node] "+&r"(node), [p0] "+&r"(next->chance), [alike0] "+&r"(next->alike), [kept0] "+&r"(next->kept)
            : [bound] "rm"(bound), [p] "rm"(p), [p1] "rm"(one->chance), [alike1] "rm"(one->alike), [kept1] "rm"(one->kept)
            : "cc");
    *chance = (Chance)(p - (uint32_t)((int32_t)from >> LEARN));
    range->range = left;
    normalise(range);
    return node;
}
#else
/* The node behind a bit that is as good as random, and in `next`, which holds what follows a 0, what follows. */
static inline uint32_t get_random(Range *range, Chance *chance, uint32_t p, Next *next, const Next *one, uint32_t node) {
    const uint32_t bound = (range->range >> SCALE_BITS) * p, zero = 0u - (range->code < bound);
    *chance = (Chance)(p - (uint32_t)((int32_t)(p - (FROM_ONE & zero)) >> LEARN));
    range->range = (bound & zero) | ((range->range - bound) & ~zero);
    range->code -= bound & ~zero;
    next->chance = (next->chance & zero) | (one->chance & ~zero);
    next->kept = zero ? next->kept : one->kept;
    next->alike = zero ? next->alike : one->alike;
    normalise(range);
    return node << 1 | (1 & ~zero);
}
#define get_matched get_random
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define UNROLLED _Pragma("GCC unroll 8")
#else
#define UNROLLED
#endif

static uint32_t get_plain_literal(Range *kept, Chance *chances) {
    Range range = *kept; /* in registers */
    uint32_t node = 1, p = chances[node];
    UNROLLED
    for (int i = 1; i <= BYTE; i++) {
        Next next = {0}, one = {0};
        if (i < BYTE) {
            next.chance = chances[node << 1];
            one.chance = chances[node << 1 | 1];
        }
        node = get_random(&range, chances + node, p, &next, &one, node);
        p = next.chance;
    }
    *kept = range;
    return node & (MATCHED - 1);
}

/* The bits of a literal behind a repeat depend on those of the byte in the word before, up to the first that differs. */
static uint32_t get_matched_literal(Range *kept, Chance *chances, uint32_t other) {
    Range range = *kept;
    uint32_t node = 1;
    Next next = {.kept = chances + MATCHED + (other >> (BYTE - 1) << BYTE) + node, .alike = UINT64_MAX};
    next.chance = *next.kept;
    UNROLLED
    for (int i = 1; i <= BYTE; i++) {
        Chance *here = next.kept;
        const uint32_t p = next.chance;
        const uint64_t is_zero = (other >> (BYTE - i) & 1) - (uint64_t)1, alike = next.alike;
        Next one = {.alike = alike & ~is_zero};
        next.alike = alike & is_zero;
        if (i < BYTE) {
            const uint64_t matched = MATCHED + (uint64_t)((other >> (BYTE - 1 - i) & 1) << BYTE);
            next.kept = chances + (node << 1) + (next.alike & matched);
            one.kept = chances + (node << 1 | 1) + (one.alike & matched);
            next.chance = *next.kept;
            one.chance = *one.kept;
        }
        node = get_matched(&range, here, p, &next, &one, node);
    }
    *kept = range;
    return node & (MATCHED - 1);
}

static void get_literal(Reader *reader) {
    uint8_t *at = reader->at;
    const uint32_t place = (uint32_t)(at - reader->begin) & ((1 << LP) - 1), before = at > reader->begin ? at[-1] : 0;
    Chance *chances = reader->chances.literal[place << LC | before >> (BYTE - LC)];
    if (reader->state < LITERAL_STATES)
        *at = (uint8_t)get_plain_literal(&reader->range, chances);
    else
        *at = (uint8_t)get_matched_literal(&reader->range, chances, at[-WORD]);
    reader->at++;
    reader->state = after_literal(reader->state);
}

static uint32_t get_length(Range *range, Length *length, int64_t place) {
    if (!get(range, &length->choice))
        return SHORTEST + get_tree(range, length->low[place], 3);
    if (!get(range, &length->choice2))
        return SHORTEST + 8 + get_tree(range, length->mid[place], 3);
    return SHORTEST + 16 + get_tree(range, length->high, BYTE);
}

/* How many bytes to repeat; 0 where the distance is another than that of one word. */
static uint32_t get_repeat(Reader *reader, int64_t place) {
    Chances *chances = &reader->chances;
    Range *range = &reader->range;
    const int state = reader->state, after = state < LITERAL_STATES;
    if (!get(range, &chances->repeat[state])) {
        reader->state = after ? 7 : 10;
        reader->is_set = 1;
        const uint32_t size = get_length(range, &chances->match_length, place);
        return size == SHORTEST && get_tree(range, chances->slot, SLOT_BITS) == SLOT ? size : 0;
    }
    if (get(range, &chances->first[state]) || !reader->is_set)
        return 0;
    if (!get(range, &chances->is_long[state][place])) {
        reader->state = after ? 9 : 11;
        return 1;
    }
    reader->state = after ? 8 : 11;
    return get_length(range, &chances->repeat_length, place);
}

static int get_symbol(Reader *reader, const uint8_t *end) {
    const int64_t place = (reader->at - reader->begin) % PLACES;
    if (!get(&reader->range, &reader->chances.match[reader->state][place])) {
        get_literal(reader);
        return DONE;
    }
    const uint32_t size = get_repeat(reader, place);
    if (!size || reader->at - reader->begin < WORD || end - reader->at < size)
        return REFUSED;
    for (const uint8_t *behind = reader->at + size; reader->at < behind; reader->at++)
        *reader->at = reader->at[-WORD];
    return DONE;
}

/* A chunk of packed bytes, to `end`. */
static int get_chunk(Reader *reader, const uint8_t *packed, int64_t size, const uint8_t *end) {
    const uint8_t *last = packed + size;
    if (size < RANGE_BYTES || *packed)
        return REFUSED;
    reader->range = (Range){UINT32_MAX, 0, packed};
    for (int i = 0; i < RANGE_BYTES; i++)
        reader->range.code = reader->range.code << BYTE | *reader->range.in++;
    while (reader->at < end)
        if (reader->range.in > last || get_symbol(reader, end))
            return REFUSED;
    return reader->range.in == last && !reader->range.code ? DONE : REFUSED;
}

static int64_t number(const uint8_t *in) { return in[0] << BYTE | in[1]; }

static int get_chunks(Reader *reader, const uint8_t *in, int64_t packed, int64_t n) {
    const uint8_t *last = in + packed, *end = reader->begin + n;
    while (last - in > CHUNK_HEADER && *in == (reader->at > reader->begin ? GOES_ON : RESETS_ALL)) {
        const int64_t size = number(in + 1) + 1, packed_size = number(in + 3) + 1;
        const int first = *in == RESETS_ALL;
        if (first && in[CHUNK_HEADER - 1] != PROPERTIES)
            return REFUSED;
        in += CHUNK_HEADER - !first;
        if (end - reader->at < size || last - in < packed_size || get_chunk(reader, in, packed_size, reader->at + size))
            return REFUSED;
        in += packed_size;
    }
    return reader->at == end && last - in == 1 && *in == THE_END ? DONE : REFUSED;
}

/* Makes n bytes of `packed` bytes of LZMA2, behind which `in` has SYMBOL bytes more. Returns 0, -1 without memory, or
 * -2 for others than atlasae_words makes: then there is anything in `out`. */
EXPORT int atlasae_unwords(const uint8_t *in, int64_t packed, uint8_t *out, int64_t n) {
    Reader *reader = malloc(sizeof *reader);
    if (!reader)
        return NO_MEMORY;
    set_chances(&reader->chances);
    reader->state = reader->is_set = 0;
    reader->begin = reader->at = out;
    const int found = get_chunks(reader, in, packed, n);
    free(reader);
    return found;
}
