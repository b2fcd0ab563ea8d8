"""The elements of an RNTuple's pages: encoded as its columns have it, and decoded to plain little-endian bytes."""

import numpy as np
import numpy.typing as npt

# Types of columns, each encoding in pages with the bytes of an element.
_SPLIT = {0x12: 2, 0x14: 4, 0x16: 8, 0x17: 2, 0x18: 4, 0x19: 8}
_ZIGZAG = {0x11: 2, 0x13: 4, 0x15: 8}
_DELTA = {0x1A: 4, 0x1B: 8}
_DTYPES = {0x0E: "<u4", 0x0F: "<u8", 0x1A: "<u4", 0x1B: "<u8"}
_DTYPES |= {0x0B: "<f2", 0x0C: "<f4", 0x0D: "<f8", 0x17: "<f2", 0x18: "<f4", 0x19: "<f8"}
_INTEGERS = {0x01: "|u1", 0x02: "|u1", 0x03: "|i1", 0x04: "|u1", 0x05: "<i2", 0x06: "<u2", 0x07: "<i4", 0x08: "<u4"}
_INTEGERS |= {0x09: "<i8", 0x0A: "<u8", 0x11: "<i2", 0x12: "<u2", 0x13: "<i4", 0x14: "<u4", 0x15: "<i8", 0x16: "<u8"}
_NUMBERS = {"<i1": 0x03, "<u1": 0x04, "<i2": 0x11, "<u2": 0x12, "<i4": 0x13, "<u4": 0x14, "<i8": 0x15, "<u8": 0x16}
_NUMBERS |= {"|i1": 0x03, "|u1": 0x04, "<f4": 0x18, "<f8": 0x19}
_SPLIT_OF = {0x05: 0x11, 0x06: 0x12, 0x07: 0x13, 0x08: 0x14, 0x09: 0x15, 0x0A: 0x16}  # the same, split into planes
_SPLIT_OF |= {0x0B: 0x17, 0x0C: 0x18, 0x0D: 0x19, 0x0E: 0x1A, 0x0F: 0x1B}
BIT = 0x00  # type of the columns of flags, eight in a byte
CUT = 0x1C  # type of the columns of floats of which only the first bits are stored, one after the other
QUANTIZED = 0x1D  # type of the columns of floats that are multiples of a step between two limits, in few bits each
HEAD_OF_FLOAT = 9  # bits of a float in front of its mantissa
ENDS = 0x1B  # type of the columns with the lengths of lists, cumulated in a cluster
BITS = {0x03: 8, 0x04: 8, 0x0C: 32, 0x0D: 64, 0x0E: 32, 0x0F: 64, 0x11: 16, 0x12: 16, 0x13: 32, 0x14: 32, 0x15: 64}
BITS |= {0x16: 64, 0x18: 32, 0x19: 64, 0x1A: 32, 0x1B: 64}

Elements = npt.NDArray[np.generic]


def bytes_of(bits: int, elements: int) -> int:
    """The bytes of a page before compression."""
    return (bits * elements + 7) // 8


def kind_for(dtype: npt.DTypeLike) -> int:
    """The type of column for numbers of this dtype; raises KeyError for others."""
    return _NUMBERS[np.dtype(dtype).str]


def holds(kind: int, dtype: npt.DTypeLike) -> bool:
    """Whether a column of this type holds floats of this dtype as they are, neither cut nor in steps."""
    return np.dtype(dtype).kind == "f" and _DTYPES.get(kind) == np.dtype(dtype).str


def split_kind(kind: int) -> int:
    """The type of column for the same values, split into planes of bytes; another one stays."""
    return _SPLIT_OF.get(kind, kind)


def planes_of(kind: int) -> int:
    """The number of planes of bytes in a page of this type of column."""
    return _SPLIT.get(kind) or _ZIGZAG.get(kind) or _DELTA.get(kind) or 1


def read_plain(kind: int, plain: bytes) -> Elements:
    """The values of a column of this type from its plain elements; of one without planes the bytes of its page."""
    return np.frombuffer(plain, _DTYPES.get(kind, f"<u{planes_of(kind)}"))


def encode_cut(values: Elements, bits: int) -> bytes:
    """A page of floats cut to so many bits, to the nearest of these numbers."""
    words, gone = np.ascontiguousarray(values, "<f4").view("<u4").astype(np.uint64), np.uint64(32 - bits)
    finite = np.isfinite(values)
    half = (np.uint64(1) << gone) // np.uint64(2)
    return _in_bits(np.where(finite, words + half, words) >> gone, bits)


def encode_steps(values: Elements, bits: int, low: float, step: float) -> bytes:
    """A page of floats as multiples of a step above the lowest, in so many bits: the nearest of these numbers."""
    found = np.rint((np.asarray(values, np.float64) - low) / step)
    return _in_bits(np.clip(np.nan_to_num(found), 0, 2**bits - 1).astype(np.uint64), bits)


def _in_bits(words: npt.NDArray[np.uint64], bits: int) -> bytes:
    """Numbers in so many bits each, one after the other."""
    digits = np.unpackbits(words.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")[:, :bits]
    return np.packbits(digits, bitorder="little").tobytes()


def encode(kind: int, values: Elements) -> bytes:
    """A page of values; raises ValueError for a type of column that has others than these."""
    if kind == BIT:
        return np.packbits(values.astype(bool), bitorder="little").tobytes()
    values = np.ascontiguousarray(values, _dtype_of(kind))
    if kind in _DELTA:
        values = np.diff(values, prepend=values.dtype.type(0))
    elif kind in _ZIGZAG:
        signed = values.astype(f"<i{_ZIGZAG[kind]}")
        values = (signed << 1) ^ (signed >> (8 * signed.itemsize - 1))
    if planes_of(kind) > 1:
        return values.view(np.uint8).reshape(-1, values.itemsize).T.tobytes()
    return values.tobytes()


def can_be_made(kind: int) -> bool:
    """Whether pages of columns of this type can be made."""
    return kind in (BIT, CUT, QUANTIZED) or kind in _DTYPES or kind in _INTEGERS


def _dtype_of(kind: int) -> str:
    """The dtype of the numbers in a column of this type; raises ValueError for others."""
    found = _DTYPES.get(kind) or _INTEGERS.get(kind)
    if found is None:
        raise ValueError(f"columns of type {kind:#04x} can't be made")
    return found


def decode(kind: int, page: bytes) -> bytes:
    """The plain elements of a page; those of a column that has no encoding, or an unknown one, as they are."""
    width = planes_of(kind)
    if width == 1:
        return page
    joined = np.ascontiguousarray(np.frombuffer(page, np.uint8).reshape(width, -1).T)
    if kind in _SPLIT:
        return joined.tobytes()
    values = joined.view(f"<u{width}").reshape(-1)
    if kind in _DELTA:
        return np.cumsum(values, dtype=values.dtype).tobytes()
    one = values.dtype.type(1)
    return bytes(((values >> one) ^ (np.zeros_like(values) - (values & one))).tobytes())
