/* LZMA2 for four-byte words, most of which begin with the byte that the word before begins with.
 *
 * Of all that LZMA has, these take literals, and repeats at the distance of one word: the first byte alone (a short
 * repeat) or, where that is cheaper than literals, more bytes. There is no search for other matches: chance ones cost
 * more than they save. Any reader of LZMA2 reads the result. Format: https://www.7-zip.org/sdk.html, and liblzma. */
#include "export.h"
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 60000, /* bytes in a chunk: so that it is below LARGEST_CHUNK when packed */
    LARGEST_CHUNK = 1 << 16,
    WORST = 8, /* times as many bytes as go in come out at worst: nine bits of six bits each, for a byte */
    PRICE_BITS = 4, PRICES = 1 << (SCALE_BITS - PRICE_BITS), PRICE_UNIT = 16
};

typedef struct {
    uint64_t low, pending;
    uint32_t range;
    uint8_t cache, *out;
    int64_t size;
} Range;

typedef struct {
    const uint8_t *data;
    Chances chances;
    Range range;
    int state;
    int is_set; /* whether the last distance is that of one word */
    uint8_t prices[PRICES];
} Encoder;

/* Prices in 1/16 of a bit. */
static void set_prices(Encoder *encoder) {
    for (int i = 0; i < PRICES; i++)
        encoder->prices[i] = (uint8_t)(0.5 - PRICE_UNIT * log2((i + 0.5) / PRICES));
}

static void begin_range(Range *range, uint8_t *out) {
    range->low = 0;
    range->pending = 1;
    range->range = UINT32_MAX;
    range->cache = 0;
    range->out = out;
    range->size = 0;
}

static void shift(Range *range) {
    if ((uint32_t)range->low < 0xFF000000u || range->low >> 32) {
        const uint8_t carry = (uint8_t)(range->low >> 32);
        for (; range->pending; range->pending--) {
            range->out[range->size++] = (uint8_t)(range->cache + carry);
            range->cache = 0xFF;
        }
        range->cache = (uint8_t)(range->low >> 24);
    }
    range->pending++;
    range->low = (uint32_t)range->low << 8;
}

/* Without branches: the bits of most literals are as good as random. */
static inline void put(Range *range, Chance *chance, uint32_t bit) {
    const uint32_t p = *chance, one = 0u - bit, bound = (range->range >> SCALE_BITS) * p, rest = range->range - bound;
    range->low += bound & one;
    range->range = bound ^ ((bound ^ rest) & one);
    *chance = (Chance)(p + ((((1u << SCALE_BITS) - p) >> LEARN) & ~one) - ((p >> LEARN) & one));
    if (range->range < 1u << 24) {
        range->range <<= 8;
        shift(range);
    }
}

static inline void put_tree(Range *range, Chance *chances, uint32_t symbol, int bits) {
    uint32_t node = 1;
    while (bits--) {
        const uint32_t bit = symbol >> bits & 1;
        put(range, chances + node, bit);
        node = node << 1 | bit;
    }
}

static inline int price_of(const Encoder *encoder, Chance chance, uint32_t bit) {
    return encoder->prices[(bit ? (1u << SCALE_BITS) - 1 - chance : chance) >> PRICE_BITS];
}

static int tree_price(const Encoder *encoder, const Chance *chances, uint32_t symbol, int bits) {
    int price = 0;
    uint32_t node = 1;
    while (bits--) {
        const uint32_t bit = symbol >> bits & 1;
        price += price_of(encoder, chances[node], bit);
        node = node << 1 | bit;
    }
    return price;
}

static inline Chance *literals(Encoder *encoder, int64_t at) {
    const uint32_t before = at ? encoder->data[at - 1] : 0, place = (uint32_t)at & ((1 << LP) - 1);
    return encoder->chances.literal[place << LC | before >> (8 - LC)];
}

/* The literal at a place; after a repeat its bits depend on those of the byte in the word before. */
static inline void put_literal(Encoder *encoder, int64_t at) {
    const uint8_t byte = encoder->data[at];
    Chance *chances = literals(encoder, at);
    Range range = encoder->range; /* in registers */
    put(&range, &encoder->chances.match[encoder->state][at % PLACES], 0);
    if (encoder->state < LITERAL_STATES) {
        put_tree(&range, chances, byte, 8);
    } else {
        uint32_t other = encoder->data[at - WORD], half = 0x100, node = 1;
        for (int i = 7; i >= 0; i--) {
            const uint32_t bit = byte >> i & 1;
            other <<= 1;
            put(&range, chances + half + (other & half) + node, bit);
            node = node << 1 | bit;
            half &= bit ? other : ~other;
        }
    }
    encoder->range = range;
    encoder->state = after_literal(encoder->state);
}

static int literal_price(Encoder *encoder, int64_t at, int state) {
    const uint8_t byte = encoder->data[at];
    const Chance *chances = literals(encoder, at);
    int price = price_of(encoder, encoder->chances.match[state][at % PLACES], 0);
    if (state < LITERAL_STATES)
        return price + tree_price(encoder, chances, byte, 8);
    uint32_t other = encoder->data[at - WORD], half = 0x100, node = 1;
    for (int i = 7; i >= 0; i--) {
        const uint32_t bit = byte >> i & 1;
        other <<= 1;
        price += price_of(encoder, chances[half + (other & half) + node], bit);
        node = node << 1 | bit;
        half &= bit ? other : ~other;
    }
    return price;
}

static void put_length(Range *range, Length *length, int64_t place, uint32_t size) {
    const uint32_t more = size - SHORTEST;
    put(range, &length->choice, more >= 8);
    if (more < 8) {
        put_tree(range, length->low[place], more, 3);
        return;
    }
    put(range, &length->choice2, more >= 16);
    if (more < 16)
        put_tree(range, length->mid[place], more - 8, 3);
    else
        put_tree(range, length->high, more - 16, 8);
}

/* The first match sets the distance of all repeats: that of one word, of which SLOT is the slot. */
static void put_match(Encoder *encoder, int64_t at) {
    put(&encoder->range, &encoder->chances.match[encoder->state][at % PLACES], 1);
    put(&encoder->range, &encoder->chances.repeat[encoder->state], 0);
    put_length(&encoder->range, &encoder->chances.match_length, at % PLACES, SHORTEST);
    put_tree(&encoder->range, encoder->chances.slot, SLOT, SLOT_BITS);
    encoder->state = encoder->state < LITERAL_STATES ? 7 : 10;
    encoder->is_set = 1;
}

static void put_repeat(Encoder *encoder, int64_t at, uint32_t size) {
    Chances *chances = &encoder->chances;
    const int64_t place = at % PLACES;
    const int state = encoder->state, after = state < LITERAL_STATES;
    put(&encoder->range, &chances->match[state][place], 1);
    put(&encoder->range, &chances->repeat[state], 1);
    put(&encoder->range, &chances->first[state], 0);
    put(&encoder->range, &chances->is_long[state][place], size > 1);
    if (size > 1)
        put_length(&encoder->range, &chances->repeat_length, place, size);
    encoder->state = size > 1 ? (after ? 8 : 11) : (after ? 9 : 11);
}

/* How many bytes to repeat, of a run of `run` bytes from the beginning of a word. */
static uint32_t cheapest(Encoder *encoder, int64_t at, uint32_t run) {
    const Chances *chances = &encoder->chances;
    const int64_t place = at % PLACES;
    const int state = encoder->state;
    if (run < SHORTEST || run > WORD)
        return run;
    const int is_long = chances->is_long[state][place];
    /* What a longer repeat does without: the code of a short one, and the literals that would follow it. */
    int saved = price_of(encoder, (Chance)is_long, 0) - price_of(encoder, (Chance)is_long, 1), most = 0, after = 9;
    uint32_t best = 1;
    for (uint32_t size = SHORTEST; size <= run; size++) {
        saved += literal_price(encoder, at + size - 1, after);
        after = after == 9 ? 6 : after_literal(after);
        const Length *length = &chances->repeat_length;
        const int price = price_of(encoder, length->choice, 0) + tree_price(encoder, length->low[place], size - SHORTEST, 3);
        if (saved - price > most) {
            most = saved - price;
            best = size;
        }
    }
    return best;
}

static uint32_t run_at(const uint8_t *data, int64_t at, int64_t end) {
    uint32_t run = 0;
    while (run < LONGEST && at + run < end && data[at + run] == data[at + run - WORD])
        run++;
    return run;
}

/* Encode one byte or more, and return how many. */
static inline int64_t step(Encoder *encoder, int64_t at, int64_t end) {
    const uint8_t *data = encoder->data;
    if (at % WORD == 0 && at >= WORD && data[at] == data[at - WORD]) {
        if (encoder->is_set) {
            const uint32_t size = cheapest(encoder, at, run_at(data, at, end));
            put_repeat(encoder, at, size);
            return size;
        }
        if (at + 1 < end && data[at + 1] == data[at + 1 - WORD]) {
            put_match(encoder, at);
            return SHORTEST;
        }
    }
    put_literal(encoder, at);
    return 1;
}

static void put_number(uint8_t *out, int64_t number) {
    out[0] = (uint8_t)(number >> 8);
    out[1] = (uint8_t)number;
}

/* LZMA2 of n bytes of data, as lc=2, lp=2, pb=2. Returns its size, -1 without memory, or -2 where data grow by more
 * than a chunk may: `out` has room for n + n / 8 + 64 bytes. */
EXPORT int64_t atlasae_words(const uint8_t *data, int64_t n, uint8_t *out) {
    const int64_t room = n + n / 8 + 64;
    int64_t size = 0, at = 0;
    Encoder *encoder = malloc(sizeof *encoder);
    uint8_t *packed = malloc(PIECE * WORST + 64);
    if (!encoder || !packed) {
        free(encoder);
        free(packed);
        return -1;
    }
    encoder->data = data;
    encoder->state = encoder->is_set = 0;
    set_chances(&encoder->chances);
    set_prices(encoder);
    while (at < n && size >= 0) {
        const int64_t begin = at, end = n - at < PIECE ? n : at + PIECE;
        begin_range(&encoder->range, packed);
        while (at < end)
            at += step(encoder, at, end);
        for (int i = 0; i < RANGE_BYTES; i++)
            shift(&encoder->range);
        const int64_t packed_size = encoder->range.size;
        if (packed_size > LARGEST_CHUNK || size + packed_size + CHUNK_HEADER + 1 > room) {
            size = -2;
            break;
        }
        out[size] = begin ? GOES_ON : RESETS_ALL;
        put_number(out + size + 1, end - begin - 1);
        put_number(out + size + 3, packed_size - 1);
        size += CHUNK_HEADER - 1;
        if (!begin)
            out[size++] = PROPERTIES;
        memcpy(out + size, packed, (size_t)packed_size);
        size += packed_size;
    }
    if (size >= 0)
        out[size++] = THE_END;
    free(encoder);
    free(packed);
    return size;
}

/* Adds to 12 x 256 counts the three bytes of n words below 2^24, each in its context: the high byte, the middle one and
 * the low one, the latter two by the two leading bits of the byte before. */
EXPORT int atlasae_count_bytes(const int64_t *words, int64_t n, int64_t *counts) {
    int64_t(*of_context)[256] = (int64_t(*)[256])counts;
    for (int64_t i = 0; i < n; i++) {
        const unsigned high = words[i] >> 16 & 0xFF, middle = words[i] >> 8 & 0xFF, low = words[i] & 0xFF;
        of_context[0][high]++;
        of_context[4 + (high >> 6)][middle]++;
        of_context[8 + (middle >> 6)][low]++;
    }
    return 0;
}
