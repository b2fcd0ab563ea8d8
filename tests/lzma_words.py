"""LZMA2 of four-byte words in plain Python, byte for byte as atlasae/native/words.c makes it, and slow."""

import math
import struct
from collections import defaultdict

WORD, PLACES, PIECE, LARGEST_CHUNK, LONGEST = 4, 4, 60_000, 1 << 16, 273
LC, LP, PB = 2, 2, 2
PRICES = [int(0.5 - 16 * math.log2((i + 0.5) / 128)) for i in range(128)]
Bits = list[tuple[tuple[object, ...], int]]  # the name of a probability, and a bit


def tree(name: tuple[object, ...], symbol: int, bits: int) -> Bits:
    """A symbol from its highest bit on, each bit in the context of those before."""
    nodes = [(1 << i) | symbol >> (bits - i) for i in range(bits)]
    return [((*name, node), symbol >> (bits - 1 - i) & 1) for i, node in enumerate(nodes)]


class RangeCoder:
    """The range coder of LZMA, with carry."""

    def __init__(self) -> None:
        self.low, self.range, self.cache, self.pending, self.out = 0, 0xFFFFFFFF, 0, 1, bytearray()

    def shift(self) -> None:
        if self.low < 0xFF000000 or self.low >= 1 << 32:
            for _ in range(self.pending):
                self.out.append((self.cache + (self.low >> 32)) & 0xFF)
                self.cache = 0xFF
            self.pending, self.cache = 0, self.low >> 24 & 0xFF
        self.pending, self.low = self.pending + 1, self.low << 8 & 0xFFFFFFFF

    def put(self, chance: int, bit: int) -> None:
        bound = (self.range >> 11) * chance
        self.low, self.range = (self.low + bound, self.range - bound) if bit else (self.low, bound)
        if self.range < 1 << 24:
            self.range = self.range << 8 & 0xFFFFFFFF
            self.shift()


class Words:
    """An encoder of literals and of repeats at the distance of one word."""

    def __init__(self, data: bytes) -> None:
        self.data, self.state, self.is_set = data, 0, False
        self.chances: dict[tuple[object, ...], int] = defaultdict(lambda: 1024)

    def price(self, bits: Bits) -> int:
        return sum(PRICES[(2047 - self.chances[name] if bit else self.chances[name]) >> 4] for name, bit in bits)

    def put(self, coder: RangeCoder, bits: Bits) -> None:
        for name, bit in bits:
            chance = self.chances[name]
            coder.put(chance, bit)
            self.chances[name] = chance - (chance >> 5) if bit else chance + ((2048 - chance) >> 5)

    def literal(self, at: int, state: int) -> Bits:
        byte, before = self.data[at], self.data[at - 1] if at else 0
        name = ("literal", at % (1 << LP), before >> (8 - LC))
        found: Bits = [(("match", state, at % PLACES), 0)]
        if state < 7:
            return found + tree(name, byte, 8)
        other, node, same = self.data[at - WORD], 1, True
        for i in range(7, -1, -1):
            bit, bit_there = byte >> i & 1, other >> i & 1
            found.append(((*name, node + (0x100 + 0x100 * bit_there if same else 0)), bit))
            node, same = node << 1 | bit, same and bit == bit_there
        return found

    def length(self, kind: str, place: int, size: int) -> Bits:
        more = size - 2
        found: Bits = [((kind, "choice"), int(more >= 8))]
        if more < 8:
            return found + tree((kind, "low", place), more, 3)
        found.append(((kind, "choice2"), int(more >= 16)))
        return found + (tree((kind, "mid", place), more - 8, 3) if more < 16 else tree((kind, "high"), more - 16, 8))

    def match(self, place: int) -> Bits:
        start: Bits = [(("match", self.state, place), 1), (("repeat", self.state), 0)]
        return start + self.length("match_length", place, 2) + tree(("slot",), WORD - 1, 6)

    def repeat(self, place: int, size: int) -> Bits:
        found: Bits = [(("match", self.state, place), 1), (("repeat", self.state), 1), (("first", self.state), 0)]
        found.append((("long", self.state, place), int(size > 1)))
        return found + (self.length("repeat_length", place, size) if size > 1 else [])

    def cheapest(self, at: int, run: int) -> int:
        if run < 2 or run > WORD:
            return run
        is_long, most, best, state = ("long", self.state, at % PLACES), 0, 1, 9
        saved = self.price([(is_long, 0)]) - self.price([(is_long, 1)])
        for size in range(2, run + 1):
            saved += self.price(self.literal(at + size - 1, state))
            state = after_literal(state)
            gain = saved - self.price(self.length("repeat_length", at % PLACES, size))
            most, best = (gain, size) if gain > most else (most, best)
        return best

    def step(self, coder: RangeCoder, at: int, end: int) -> int:
        data, early, place = self.data, self.state < 7, at % PLACES
        if at % WORD == 0 and at >= WORD and data[at] == data[at - WORD]:
            if self.is_set:
                run = 0
                while run < LONGEST and at + run < end and data[at + run] == data[at + run - WORD]:
                    run += 1
                size = self.cheapest(at, run)
                self.put(coder, self.repeat(place, size))
                self.state = (8 if size > 1 else 9) if early else 11
                return size
            if at + 1 < end and data[at + 1] == data[at + 1 - WORD]:
                self.put(coder, self.match(place))
                self.state, self.is_set = 7 if early else 10, True
                return 2
        self.put(coder, self.literal(at, self.state))
        self.state = after_literal(self.state)
        return 1


def after_literal(state: int) -> int:
    return 0 if state < 4 else state - 3 if state < 10 else state - 6


def lzma2_of(data: bytes) -> bytes:
    """The bytes as LZMA2."""
    encoder, found, at = Words(data), b"", 0
    while at < len(data):
        begin, end, coder = at, min(at + PIECE, len(data)), RangeCoder()
        while at < end:
            at += encoder.step(coder, at, end)
        for _ in range(5):
            coder.shift()
        assert len(coder.out) <= LARGEST_CHUNK
        found += struct.pack(">BHH", 0x80 if begin else 0xE0, end - begin - 1, len(coder.out) - 1)
        found += (b"" if begin else bytes([(PB * 5 + LP) * 9 + LC])) + bytes(coder.out)
    return found + b"\0"
