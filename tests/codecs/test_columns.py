"""Columns told by each other: what is encoded is decoded bit for bit, and invalid bytes are refused."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atlasae.codecs.columns import (
    CodedColumn,
    ColumnsCodec,
    Follows,
    Meter,
    Tables,
    choose_parents,
    classes_of,
    code_symbols,
    code_tails,
    fit_cells,
    fit_columns,
    ranks_of,
    spans,
)
from atlasae.codecs.entropy import Reader, WordWriter
from atlasae.jets.kinds import Bound, Kind

RNG = np.random.default_rng(1)
N = 3000
FIRST = RNG.normal(size=N)
SECOND = (FIRST + RNG.normal(size=N) / 10).astype("f4")
SECOND[:5] = [np.nan, np.inf, -0.0, -999, 0]
VALUES = [FIRST, SECOND, RNG.random(N) < 0.1, RNG.integers(-(2**63), 2**63 - 1, N), np.full(N, 7, "u1")]
GIVEN = [(FIRST * 100 + 1000).astype(np.int32)]


@cache
def codec(bound: Bound | None = None) -> tuple[ColumnsCodec, list[np.ndarray]]:
    """The codec of these columns, and the columns in its order."""
    order, found = fit_columns(VALUES, [None, bound, None, None, None], GIVEN, whole=False)
    return found, [VALUES[place] for place in order]


def dtypes(values: list[np.ndarray]) -> list[np.dtype]:
    return [column.dtype for column in values]


@pytest.mark.parametrize("n", [N, 1, 0])
def test_columns_come_back_bit_for_bit(n):
    coder, values = codec()
    values, given_ = [column[::-1][:n].copy() for column in values], [column[::-1][:n] for column in GIVEN]
    content = coder.encode(values, given_)
    found = coder.decode(content, dtypes(values), n, lambda: given_)
    assert {place: column.tobytes() for place, column in found.items()} == dict(
        enumerate(column.tobytes() for column in values)
    )


def test_a_bound_holds_and_other_numbers_come_back_as_they_were():
    coder, values = codec(Bound(1e-2, absolute=True))
    place = next(i for i, column in enumerate(values) if column is SECOND)
    found = coder.decode(coder.encode(values, GIVEN), dtypes(values), N, lambda: GIVEN)[place]
    usual = np.isfinite(SECOND)
    assert 0.005 < np.abs(found[usual] - SECOND[usual]).max() <= 1e-2
    assert found[~usual].tobytes() == SECOND[~usual].tobytes()


def test_one_column_is_decoded_with_those_that_tell_of_it_alone():
    coder, values = codec()
    alone = next(i for i, column in enumerate(values) if column.dtype == bool)
    assert coder.columns[alone].parents == () and coder.needed([alone]) == [alone]
    found = coder.decode(coder.encode(values, GIVEN), dtypes(values), N, lambda: pytest.fail("not needed"), [alone])
    assert list(found) == [alone] and found[alone].tolist() == VALUES[2].tolist()


def test_a_column_is_told_by_the_one_that_it_depends_on():
    symbols = [RNG.integers(0, 50, N).astype(np.int32) for _ in range(2)]
    follows = (symbols[1] // 2).astype(np.int32)
    told = {one.column: one for one in choose_parents([symbols[0]], [symbols[1], follows], [50, 25])}
    assert sorted(told) == [0, 1]
    assert {(one.column, *one.parents[:1]) for one in told.values()} in ({(0,), (1, 1)}, {(0, 2), (1,)})
    assert min(one.bits for one in told.values()) < 4 < max(one.bits for one in told.values())


def test_columns_with_parents_take_fewer_bytes():
    coder, values = codec()
    alone = ColumnsCodec(tuple(CodedColumn(column.kind, tables=column.tables) for column in coder.columns), 1)
    assert len(coder.encode(values, GIVEN)) < 0.98 * len(alone.encode(values, GIVEN))


def test_a_configuration_gives_the_same_codec():
    coder, _ = codec(Bound(1e-3))
    assert ColumnsCodec.of_config(json.loads(json.dumps(coder.config()))) == coder


@pytest.mark.parametrize(
    "change",
    [
        {"given": -1},
        {"given": 1000},
        {"columns": [{"kind": {"name": "float"}, "parents": [1]}]},
        {"columns": [{"kind": {"name": "float"}, "parents": [0, 0, 0]}]},
        {"columns": [{"kind": {"name": "float"}, "tables": {"bins": 0, "trust": 1}}]},
        {"columns": [{"kind": {"name": "float"}, "tables": {"bins": 9, "trust": 0}}]},
        {"columns": [{"kind": {"name": "unheard of"}}]},
        {"columns": 3},
    ],
)
def test_a_configuration_that_can_not_be_is_refused(change):
    with pytest.raises(ValueError):
        ColumnsCodec.of_config({"given": 1, "columns": [], **change})


@settings(max_examples=60)
@given(st.data())
def test_changed_bytes_are_refused_or_give_as_many_numbers(data):
    coder, values = codec()
    values, n = [column[:200] for column in values], 200
    content = bytearray(coder.encode(values, [GIVEN[0][:n]]))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    cut = bytes(content[: data.draw(st.sampled_from([len(content), place]))])
    try:
        found = coder.decode(cut, dtypes(values), n, lambda: [GIVEN[0][:n]])
    except ValueError:
        return
    assert [len(column) for column in found.values()] == [n] * len(values)


@settings(max_examples=30)
@given(arrays(np.int32, st.integers(0, 300), elements=st.integers(0, 999)), st.integers(0, 2))
def test_symbols_are_read_as_they_were_written(symbols, parents):
    n = len(symbols)
    classes = [classes_of(np.roll(symbols, k + 1)) for k in range(parents)]
    writer, meter = WordWriter(), Meter()
    for coder in (writer, meter):
        assert code_symbols(coder, 1000, classes, symbols, n, Tables(32, 20)).tolist() == symbols.tolist()
    words = writer.words()
    reader = Reader(words)
    assert code_symbols(reader, 1000, classes, None, n, Tables(32, 20)).tolist() == symbols.tolist()
    assert reader.is_at_end and abs(meter.bits - 32 * len(words)) < 80 + 0.01 * meter.bits


@pytest.mark.parametrize("bits", [0, 1, 16, 17, 48])
def test_tails_are_read_as_they_were_written(bits):
    tails = RNG.integers(0, 1 << bits, 50)
    writer = WordWriter()
    code_tails(writer, bits, tails, 50)
    assert code_tails(Reader(writer.words()), bits, None, 50).tolist() == tails.tolist()


def test_spans_cover_all_and_grow():
    lengths = [end - begin for begin, end in spans(10**6)]
    assert sum(lengths) == 10**6 and lengths[:-1] == sorted(lengths[:-1]) and len(lengths) < 80


def test_common_numbers_are_classes_of_their_own():
    assert classes_of(np.array([5, 0, 5, 9], np.int32)).tolist() == [1, 0, 1, 2]
    many = classes_of(np.where(np.arange(N) % 2, 77, np.arange(N)).astype(np.int32))
    assert set(many[1::2].tolist()) & set(many[::2].tolist()) == set()


def test_numbers_without_order_are_kept_by_byte_planes():
    values = np.tile(RNG.integers(0, 2**63 - 1, 40), 50)
    _, found = fit_columns([values], [None], [], whole=True)
    assert found.columns[0].kind == Kind("as it is")
    content = found.encode([values], [])
    assert (
        len(content) < 2000 and found.decode(content, [values.dtype], len(values), list)[0].tolist() == values.tolist()
    )


COUNTS = RNG.integers(0, 5, 800)
ROWS = int(COUNTS.sum())


def cells() -> list[np.ndarray]:
    """Cells that fall in their events, an angle near that of the row before, a copy of the first, and a far one."""
    starts = np.repeat(np.cumsum(COUNTS) - COUNTS, COUNTS)
    falling = RNG.integers(5000, 9000, ROWS)[starts] - 400 * (np.arange(ROWS) - starts) - RNG.integers(0, 50, ROWS)
    angle = (RNG.integers(0, 3000, ROWS)[starts] + RNG.integers(0, 40, ROWS)) % 3000
    far = RNG.normal(0, 30, ROWS).astype(np.int64)
    far[5] = 2**52
    return [falling, angle, falling // 7, far]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 4), max_size=8), st.sampled_from([0, 7, 1000]), st.integers(-9, 9), st.data())
def test_differences_give_the_numbers_again(counts, turn, start, data):
    counts = np.array(counts, np.int64)
    limits = (0, turn - 1) if turn else (-(2**52), 2**52)
    numbers = np.array([data.draw(st.integers(*limits)) for _ in range(int(counts.sum()))], np.int64)
    follows = Follows(start, turn)
    assert follows.together(follows.apart(numbers, counts), counts).tolist() == numbers.tolist()


@pytest.mark.parametrize("n", [None, 1, 0])
def test_cells_of_events_come_back(n):
    columns, counts = cells(), COUNTS
    order, codec = fit_cells(columns, [0, 3000, 0, 0], counts, whole=False)
    assert ColumnsCodec.of_config(json.loads(json.dumps(codec.config()))) == codec
    followed = {place for place, column in zip(order, codec.columns, strict=True) if column.follows}
    assert 1 in followed and followed & {0, 2} and 3 not in followed
    if n is not None:
        columns, counts = [column[:n] for column in columns], np.array([n, 0])
    told = [ranks_of(counts)]
    content = codec.encode([columns[place] for place in order], told, counts)
    types = [np.dtype(np.int64)] * 4
    found = codec.decode(content, types, int(counts.sum()), lambda: told, counts=counts)
    assert [found[place].tolist() for place in range(4)] == [columns[place].tolist() for place in order]
    with pytest.raises(ValueError, match="no events"):
        codec.encode([columns[place] for place in order], told)


def test_rows_that_are_one_an_event_follow_none():
    column = RNG.integers(0, 100, 500)
    _, codec = fit_cells([column, column + 1], [0, 0], np.ones(500, np.int64), whole=True)
    assert codec.given == 0 and not any(column.follows for column in codec.columns)
