"""Basket bytes: LZMA fitted to what a TTree basket of latents holds, in the xz format ROOT reads.

A jagged basket is values followed by entry offsets (four bytes each). LZMA's default model suits neither: offsets only
grow, so their differences are compressed instead, as a second block of the same xz stream with its own filters. Every
xz reader, ROOT's and uproot's among them, reads such a stream. Format: https://tukaani.org/xz/xz-file-format.txt
"""

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from atlasae.native.library import BEHIND_WORDS, counted_bytes, lzma2_of_words, words_of_lzma2

Filters = list[dict[str, int]]

# Four-byte words, of which two bytes never change: the literal model is given the position in the word (lp). There are
# no long repeats to find, and a match that chance makes costs more than its literals save: with the smallest window and
# few attempts, words take 0.05 to 0.5 % less than with 64 kB and three-byte matches, in less than half the time. Where
# the compiled parts are there, words.c makes LZMA2 with the same literal model and no other matches than repeats of the
# word before: 0 to 1 % less again, in a fifth of the time. Only long runs of equal words are left to liblzma.
_LZMA = {"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 2, "lp": 2, "pb": 2, "mf": lzma.MF_BT2, "nice_len": 16, "depth": 1}
WORDS: Filters = [_LZMA | {"dict_size": 1 << 12}]
TEXT: Filters = [
    {"id": lzma.FILTER_LZMA2, "preset": 9, "pb": 0, "nice_len": 128, "mf": lzma.MF_BT3}
]  # of names and records
OFFSETS: Filters = [{"id": lzma.FILTER_DELTA, "dist": 4}, _LZMA | {"dict_size": 1 << 16}]
_OF_RUNS = {"mf": lzma.MF_HC4}  # finds matches in runs of equal words in two thirds of the time, for as many bytes

_WINDOW = 1 << 12, 1 << 26  # bytes: the smallest that LZMA knows, and that of preset 9
_LEARNING = 3.0  # bits spent on each probability before LZMA has learned it
_FLAGS = b"\0\x01"  # of a stream whose blocks end in their CRC32
_HEADER = b"\xfd7zXZ\0" + _FLAGS + struct.pack("<I", zlib.crc32(_FLAGS))
_FOOTER_SIZE = 12
_CRC_SIZE = 4
_BLOCK_HEADER_SIZE = 12
_LARGEST_INDEX = 64  # bytes, of what `unpack_basket` reads: that of a basket has two blocks
_CHUNK = 1 << 16  # bytes: the largest LZMA2 chunk that is not compressed
_SMALL_WINDOW, _WINDOW_OF_CHUNKS = b"\0", b"\x08"  # of LZMA2 in a block's header: 4 kB, 64 kB
_NO_FILTERS, _DELTA = b"", b"\x03\x01\x03"  # in front of LZMA2; Delta with a distance of 3 + 1
_FEWEST_CHANGES = 10  # of so many words, one must differ from the word before: else they are runs, for liblzma


def compress_basket(data: bytes, compress: Callable[[bytes], bytes] | None = None) -> bytes:
    """Compress a basket of four-byte values, with or without entry offsets, as one xz stream.

    `compress` compresses the values, by default `compress_words`.
    """
    split, compress = len(data) - _offsets_size(data), compress or compress_words
    if split == len(data):
        return compress(data)
    offsets = _xz_offsets(data[split:])
    return join_streams([compress(data[:split]), offsets]) if split else offsets


def store_basket(data: bytes) -> bytes:
    """Put a basket of packed bytes into an xz stream uncompressed; only its entry offsets are compressed."""
    split = len(data) - _offsets_size(data)
    blocks, records = ([part] for part in _stored(data[:split]))
    if split < len(data):
        block, record = _block(_xz_offsets(data[split:]))
        blocks.append(block)
        records.append(record)
    return _stream(blocks, records)


def compress_text(data: bytes) -> bytes:
    """Compress names and records, which begin at any byte, as one xz stream."""
    return _xz(data, fitted(TEXT, len(data)))


def fitted(filters: Filters, size: int) -> Filters:
    """The filters with a window no larger than `size` bytes of data: to clear 64 MB, that of preset 9, takes 40 ms."""
    smallest, largest = _WINDOW
    return [*filters[:-1], filters[-1] | {"dict_size": min(max(size, smallest), largest)}]


def compress_words(data: bytes) -> bytes:
    """Compress four-byte values alone, to the size they will have in a basket."""
    return _by_words(data, np.frombuffer(data, np.uint8), _NO_FILTERS) or _xz_words(data, WORDS)


def are_runs(data: bytes) -> bool:
    """Whether four-byte values are mostly runs of equal ones."""
    words = np.frombuffer(data, ">u4", count=len(data) // 4)
    return bool(_FEWEST_CHANGES * np.count_nonzero(words[1:] != words[:-1]) < len(words))


def estimate_words(words: npt.NDArray[np.int64]) -> float:
    """Estimate the bytes that `compress_words` makes of words below 2^24, to choose the candidates that are compressed.

    The entropy of each byte given its position and the two leading bits of the byte before, which is the context of the
    literal model (`WORDS`), and some bits to learn each probability.
    """
    counts = counted_bytes(words)
    counts = _count_bytes(words) if counts is None else counts
    of_context, seen = (some[some > 0] for some in (counts.sum(axis=1), counts.ravel()))
    bits = float(of_context @ np.log2(of_context) - seen @ np.log2(seen)) + _LEARNING * (len(seen) - len(of_context))
    return bits / 8


def _count_bytes(words: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """As `counted_bytes`, in NumPy."""
    high, middle, low = words >> 16, words >> 8 & 0xFF, words & 0xFF
    bytes_in_context = np.concatenate([high, (4 + (high >> 6) << 8) + middle, (8 + (middle >> 6) << 8) + low])
    return np.bincount(bytes_in_context, minlength=12 << 8).reshape(12, 256)


def join_streams(streams: Sequence[bytes]) -> bytes:
    """Make one xz stream with several blocks from streams with one block each."""
    blocks, records = zip(*map(_block, streams), strict=True)
    return _stream(blocks, records)


def _stream(blocks: Sequence[bytes], records: Sequence[bytes]) -> bytes:
    """An xz stream of blocks and their records in the index."""
    index = b"\0" + _integer(len(records)) + b"".join(records)
    index += b"\0" * (-len(index) % 4)
    index += struct.pack("<I", zlib.crc32(index))
    footer = struct.pack("<I", len(index) // 4 - 1) + _FLAGS
    return _HEADER + b"".join(blocks) + index + struct.pack("<I", zlib.crc32(footer)) + footer + b"YZ"


def _block(stream: bytes) -> tuple[bytes, bytes]:
    """The block of a stream with one block, and its record."""
    index_size = (struct.unpack_from("<I", stream, len(stream) - 8)[0] + 1) * 4
    index_start = len(stream) - _FOOTER_SIZE - index_size
    return stream[len(_HEADER) : index_start], _record(stream[index_start : index_start + index_size])


def _xz_words(data: bytes, filters: Filters) -> bytes:
    """Words by liblzma."""
    return _xz(data, [*filters[:-1], filters[-1] | _OF_RUNS] if are_runs(data) else filters)


def _xz(data: bytes, filters: Filters) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=filters)


@lru_cache(maxsize=2)  # branches that share a counter have the same offsets
def _xz_offsets(data: bytes) -> bytes:
    values = np.frombuffer(data, np.uint8)
    differences = values.copy()
    differences[4:] -= values[:-4]
    return _by_words(data, differences, _DELTA) or _xz_words(data, OFFSETS)


def _by_words(data: bytes, filtered: npt.NDArray[np.uint8], filters: bytes) -> bytes | None:
    """The stream of data by words.c, which gets them `filtered` by `filters`; None where liblzma is better."""
    if are_runs(data):
        return None
    packed = lzma2_of_words(filtered)
    return None if packed is None else _stream(*([part] for part in _framed(data, packed, filters, _SMALL_WINDOW)))


def _stored(data: bytes) -> tuple[bytes, bytes]:
    """A block of uncompressed LZMA2 chunks, and its record."""
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    # control byte: 1 resets the dictionary, 2 goes on, 0 ends
    packed = b"".join(bytes([1 + (i > 0)]) + struct.pack(">H", len(c) - 1) + c for i, c in enumerate(chunks)) + b"\0"
    return _framed(data, packed, b"", _WINDOW_OF_CHUNKS)


def _framed(data: bytes, packed: bytes, filters: bytes, window: bytes) -> tuple[bytes, bytes]:
    """A block of data that other filters and LZMA2, which comes last, have packed; and its record."""
    header = _block_header(filters, window)
    block = header + packed + b"\0" * (-len(packed) % 4) + struct.pack("<I", zlib.crc32(data))
    return block, _integer(len(header) + len(packed) + 4) + _integer(len(data))


def _block_header(filters: bytes, window: bytes) -> bytes:
    header = bytes([2, len(filters) > 0]) + filters + b"\x21\x01" + window  # three four-byte words
    header += b"\0" * (8 - len(header))
    return header + struct.pack("<I", zlib.crc32(header))


_FRAMED = {_block_header(filters, _SMALL_WINDOW): filters for filters in (_NO_FILTERS, _DELTA)}


def unpack_basket(data: bytes | memoryview, room: npt.NDArray[np.uint8]) -> int | None:
    """Unpack a stream of `compress_basket` into a room, and return how many bytes that are.

    None for streams that others made or that are damaged, and where words.c is missing: they are left to liblzma, which
    takes twice the time, and anything is in the room.
    """
    values, filled = np.frombuffer(data, np.uint8), 0
    with suppress(ValueError):
        for filters, begin, packed, size, crc in _blocks_in(data):
            part = room[filled : filled + size]
            if len(part) < size:
                return None
            if filters == _DELTA:
                part[:], found = _unpacked_offsets(bytes(data[begin : begin + packed]), size)
            elif words_of_lzma2(values[begin:], packed, part):
                found = zlib.crc32(part.data)
            else:
                return None
            if found != crc:
                return None
            filled += size
        return filled
    return None


@lru_cache(maxsize=2)  # branches that share a counter have the same offsets
def _unpacked_offsets(packed: bytes, size: int) -> tuple[npt.NDArray[np.uint8], int]:
    """The bytes that `_xz_offsets` packed behind its Delta filter, and their CRC32; raises ValueError for others."""
    differences = np.empty(size, np.uint8)
    if not words_of_lzma2(np.frombuffer(packed + bytes(BEHIND_WORDS), np.uint8), len(packed), differences):
        raise ValueError("offsets that others made")
    found = np.cumsum(differences.reshape(-1, 4), axis=0, dtype=np.uint8).reshape(-1)
    return found, zlib.crc32(found.data)


def _blocks_in(stream: bytes | memoryview) -> Iterator[tuple[bytes, int, int, int, int]]:
    """The filters of each block, where its LZMA2 begins, the sizes packed and unpacked, and the CRC32.

    Raises ValueError for streams that `_stream` and `_framed` do not make.
    """
    at, index = len(_HEADER), _index_of(stream)
    count, *numbers = _integers(index[1:-_CRC_SIZE])
    sizes = [*zip(numbers[: 2 * count : 2], numbers[1 : 2 * count : 2], strict=True)]
    records = [_integer(unpadded) + _integer(size) for unpadded, size in sizes]
    end = len(stream) - _FOOTER_SIZE - len(index)
    if b"".join((stream[:at], stream[end:])) != _stream([], records):
        raise ValueError("a stream that others made")
    for unpadded, size in sizes:
        begin, after = at + _BLOCK_HEADER_SIZE, at + unpadded - _CRC_SIZE
        padded = after + -unpadded % 4
        filters = _FRAMED.get(bytes(stream[at:begin]))
        if filters is None or not begin < after <= padded <= end - _CRC_SIZE or any(stream[after:padded]):
            raise ValueError("a block that others made")
        at = padded + _CRC_SIZE
        yield filters, begin, after - begin, size, int.from_bytes(stream[padded:at], "little")
    if at != end:
        raise ValueError("bytes behind the last block")


def _index_of(stream: bytes | memoryview) -> bytes:
    """The index of a stream, without a check; raises ValueError where there is none, or a large one."""
    end = len(stream) - _FOOTER_SIZE
    size = (int.from_bytes(stream[-8:-4], "little") + 1) * 4
    if not 2 * _CRC_SIZE <= size <= min(end - len(_HEADER), _LARGEST_INDEX):
        raise ValueError("a stream that others made")
    return bytes(stream[end - size : end])


def _offsets_size(data: bytes) -> int:
    """The number of bytes of entry offsets and their count at the end of a basket; 0 where there are none.

    A count c is followed by c offsets to the end, of which the last minus the first is the size of the values. A wrong
    guess makes the stream larger but never wrong: both parts decompress to what they were.
    """
    words = np.frombuffer(data, ">u4", count=len(data) // 4)
    behind = np.arange(len(words), dtype=np.uint32)[:0:-1]  # how many words follow each
    found = len(words) - 1 - np.flatnonzero(words[:-1] == behind)[::-1]
    values = len(words) - 1 - found
    found = found[words[-1] - words[-found].astype(np.int64) == 4 * values] if len(words) else found
    return 4 * (int(found[-1]) + 1) if len(found) else 0


def _record(index: bytes) -> bytes:
    """The record of an index with one: its two integers (unpadded size, size), still encoded."""
    end = 2
    for _ in range(2):
        while index[end] & 0x80:
            end += 1
        end += 1
    return index[2:end]


def _integers(encoded: bytes) -> Iterator[int]:
    """The numbers in bytes, as `_integer` encodes each."""
    number = shift = 0
    for byte in encoded:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0


def _integer(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
