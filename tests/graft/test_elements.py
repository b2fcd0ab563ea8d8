"""Elements of the pages of RNTuples: their encodings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atlasae.graft.elements import (
    BITS,
    ENDS,
    bytes_of,
    decode,
    encode,
    encode_cut,
    holds,
    kind_for,
    planes_of,
    read_plain,
    split_kind,
)

DTYPES = ["<i1", "<u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"]


@given(st.sampled_from(DTYPES), st.data())
def test_decoding_inverts_encoding(dtype, data):
    values = data.draw(arrays(dtype, st.integers(0, 20)))
    page = encode(kind_for(dtype), values)
    assert len(page) == bytes_of(BITS[kind_for(dtype)], len(values))
    assert decode(kind_for(dtype), page) == values.tobytes()


@given(st.sampled_from(range(0x05, 0x10)), st.binary(max_size=160))
def test_columns_as_in_memory_split_into_planes(kind, content):
    split = split_kind(kind)
    plain = content[: len(content) // planes_of(split) * planes_of(split)]
    assert planes_of(kind) == 1 < planes_of(split) and split_kind(split) == split
    assert decode(split, encode(split, read_plain(split, plain))) == plain


@pytest.mark.parametrize(("kind", "dtype"), [(0x0E, "<u4"), (0x0F, "<u8"), (0x1A, "<u4"), (ENDS, "<u8")])
def test_ends_of_lists_are_told_in_four_ways(kind, dtype):
    ends = np.array([0, 3, 3, 70000])
    assert decode(kind, encode(kind, ends)) == ends.astype(dtype).tobytes()


def test_ends_are_stored_as_differences_byte_by_byte():
    assert encode(ENDS, np.array([1, 3, 6])) == bytes([1, 2, 3]) + bytes(21)


def test_whole_numbers_near_zero_have_zeros_in_front():
    assert encode(kind_for("<i2"), np.array([-1, 1, -2], "<i2")) == bytes([1, 2, 3, 0, 0, 0])


@given(arrays("<u4", st.integers(0, 20)), st.integers(10, 31))
def test_cut_floats_are_packed_bit_by_bit(words, bits):
    words = words & np.uint32(2**32 - 2 ** (32 - bits))
    page = encode_cut(words.view("<f4"), bits)
    assert len(page) == bytes_of(bits, len(words))
    stream = np.unpackbits(np.frombuffer(page, np.uint8), bitorder="little")[: bits * len(words)].reshape(-1, bits)
    found = (stream.astype(np.uint64) << np.arange(bits, dtype=np.uint64)).sum(axis=1) << np.uint64(32 - bits)
    assert found.tolist() == words.tolist()


def test_floats_are_cut_to_the_nearest():
    assert encode_cut(np.array([1 + 2**-8, 1 - 2**-9], "<f4"), 16) == np.array([0x3F81, 0x3F80], "<u2").tobytes()


def test_an_unknown_type_of_column_is_left_as_it_is():
    assert decode(0x99, b"abc") == b"abc"


def test_bits_take_whole_bytes():
    assert [bytes_of(1, number) for number in (0, 1, 8, 9)] == [0, 1, 1, 2]


@pytest.mark.parametrize(("kind", "dtype", "plain"), [(0x18, "<f4", True), (0x19, "<f4", False), (0x1D, "<f4", False)])
def test_columns_of_few_bits_do_not_hold_floats_as_they_are(kind, dtype, plain):
    assert holds(kind, dtype) == plain
