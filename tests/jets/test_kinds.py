"""Kinds of numbers: found in a sample, and symbols that give every number back bit for bit, or within its bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from atlasae.jets.kinds import Bound, Kind, kinds_of, kinds_of_cells

RANDOM = np.random.default_rng(1).normal(size=2000)
CUT = (RANDOM.astype("f4").view("u4") & 0xFFFFE000).view("f4")
SENTINELS = np.where(np.arange(2000) % 5 == 0, -999, RANDOM).astype("f4")
DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def bits(values: np.ndarray) -> list[int]:
    return values.view(f"u{values.itemsize}").tolist()


def back(kind: Kind, values: np.ndarray, bound: Bound | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of symbols, and which were kept as they are."""
    symbols, tails = kind.encode(values, bound)
    assert symbols.min(initial=0) >= 0 and symbols.max(initial=0) < kind.symbols
    return kind.decode(symbols, tails, values.dtype), symbols == 0


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (np.arange(2000) % 3 == 0, "boolean"),
        (np.arange(2000, dtype="u1") % 2, "boolean"),
        (np.arange(2000, dtype="i4") % 50 - 1, "small integer"),
        (np.arange(2000, dtype="i8") * 1000, "integer"),
        (np.array([11, -11, 211, 2212] * 500, "i4"), "category"),
        (np.array([0.1, 0.25, -0.0, np.nan] * 500, "f4"), "category"),
        (CUT, "cut float"),
        (np.round(RANDOM, 2).astype("f4"), "grid"),
        (RANDOM.astype("f4"), "float"),
        (RANDOM, "float"),
    ],
)
def test_the_kind_of_numbers_is_found_and_gives_them_back(values, name):
    kinds = kinds_of(values, whole=True)
    assert name in [kind.name for kind in kinds]
    for kind in kinds:
        found, kept = back(kind, values)
        assert bits(found[~kept]) == bits(values[~kept])
        assert kept.sum() == (0 if kind.name != "grid" else kept.sum())


def test_numbers_that_stand_apart_have_symbols_of_their_own():
    (kind,) = kinds_of(SENTINELS, whole=True)
    assert kind.marks == (int(np.float32(-999).view("u4")),)
    symbols, _ = kind.encode(SENTINELS)
    assert set(symbols[::5].tolist()) == {1} and symbols[SENTINELS != -999].min() > 1


@pytest.mark.parametrize("bound", [Bound(1e-3), Bound(1e-3, absolute=True), Bound(1e-6), Bound(5.0, absolute=True)])
@pytest.mark.parametrize("values", [SENTINELS, RANDOM, RANDOM * 1e30, np.zeros(50, "f4")])
def test_a_bound_holds_for_all_numbers_that_are_not_kept(values, bound):
    values = values.copy()
    values[1:5] = [np.nan, np.inf, -0.0, 1e-40]
    for kind in kinds_of(values, bound):
        found, kept = back(kind, values, bound)
        assert (bound.errors(values, found)[~kept] <= bound.size).all()
        marked = kind.encode(values, bound)[0] < kind.first
        assert bits(found[marked & ~kept]) == bits(values[marked & ~kept])
    assert kinds_of(values, bound)[0].name in ("rounded", "category")


@settings(max_examples=60)
@given(st.data())
def test_numbers_unlike_the_sample_are_kept_or_given_back(data):
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    sample, values = (data.draw(arrays(dtype, st.integers(0, 40))) for _ in range(2))
    for kind in kinds_of(sample):
        for numbers in (sample, values):
            found, kept = back(kind, numbers)
            assert bits(found[~kept]) == bits(numbers[~kept])


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "other"},
        {"name": "grid"},
        {"name": "grid", "step": float("nan")},
        {"name": "float", "size": -1},
        {"name": "float", "size": 1 << 30},
        {"name": "float", "tail": 60},
        {"name": "float", "cut": 64},
        {"name": "integer", "low": 1 << 64},
        {"name": "category", "marks": (1, 1)},
        {"name": "category", "marks": tuple(range(300))},
    ],
)
def test_a_kind_that_can_not_be_is_refused(facts):
    with pytest.raises(ValueError, match="kind|steps|marks"):
        Kind(**facts)


def test_a_bound_is_told_as_it_was_given():
    assert (Bound(1e-3).text, Bound(0.5, absolute=True).text) == ("0.001", "abs:0.5")
    assert Bound(1e-3).errors(np.array([0.0, 2.0]), np.array([0.0, 2.2])).round(6).tolist() == [0.0, 0.1]


def test_far_cells_are_left_out_and_common_ones_stand_apart():
    cells = np.random.default_rng(1).integers(0, 500, 5000)
    cells[:200], cells[200] = -(2**40), 2**50
    wide, near = kinds_of_cells(cells, whole=True)
    assert wide.tail > 20 and near.marks == (-(2**40),) and near.size <= 500 and not near.tail
    for kind in (wide, near):
        symbols, tails = kind.encode(cells)
        assert (kind.decode(symbols, tails, cells.dtype)[symbols > 0] == cells[symbols > 0]).all()
        assert (symbols > 0).mean() > 0.99
    assert all(len(kinds_of_cells(np.empty(0, np.int64), whole)) == 1 for whole in (True, False))
