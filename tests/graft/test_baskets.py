"""Baskets opened without knowing what they hold, and baskets of numbers."""

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import uproot

from atlasae.graft.baskets import Digest, Unpacked, begin_basket, cut, open_basket, pack_basket
from atlasae.graft.forms import Form
from atlasae.graft.records import new_key

COUNTS = np.array([2, 0, 3, 1], np.int64)
VALUES = np.arange(6, dtype=np.float32)
FORMS = [Form(">f4", True), Form(">f8", True), Form(">f4", True, vector=9), Form(">f4", False)]


def packed(form: Form, compression: object = None) -> bytes:
    counts = COUNTS if form.jagged else np.ones(6, np.int64)
    key = new_key(b"TBasket", b"x", b"tree", 1234, 100, 0, big=True)
    record, size = pack_basket(*form.pack(VALUES, counts), len(counts), compression, key)
    assert size >= len(record)
    return record


@pytest.mark.parametrize("compression", [None, uproot.ZLIB(6), uproot.LZMA(9)])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_basket_is_opened_as_it_was_packed(form, compression):
    counts = COUNTS if form.jagged else np.ones(6, np.int64)
    data, offsets = form.pack(VALUES, counts)
    found = open_basket(packed(form, compression))
    assert (found.entries, found.data) == (len(counts), data)
    assert found.offsets is None if offsets is None else found.offsets.tolist() == offsets.tolist()


@pytest.mark.parametrize("compression", [None, uproot.ZLIB(6), uproot.LZMA(9)])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_basket_begins_as_it_goes_on(form, compression):
    record = packed(form, compression)
    whole = open_basket(record)
    for most in (0, 5, 1000):
        begun = begin_basket(record, most)
        assert begun.entries == whole.entries and begun.is_of(whole.data) and not begun.is_of(b"x" + whole.data)
        assert len(begun.data) >= min(most, len(whole.data)) and begun.whole == (begun.data == whole.data)


def test_a_counted_basket_is_what_uproot_writes(tmp_path):
    path = tmp_path / "x.root"
    with uproot.recreate(path, compression=None) as file:
        file.mktree("t", {"x": "var * float32"}).extend({"x": ak.unflatten(VALUES, COUNTS)})
    with uproot.open(path) as file:
        branch = file["t"]["x"]
        at, nbytes = (int(branch.member(name)[0]) for name in ("fBasketSeek", "fBasketBytes"))
    found = open_basket(path.read_bytes()[at : at + nbytes])
    data, offsets = FORMS[0].pack(VALUES, COUNTS)
    assert found.data == data and offsets is not None and found.offsets is not None
    assert found.offsets.tolist() == offsets.tolist()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_checksum_does_not_depend_on_baskets(form):
    found = open_basket(packed(form))
    whole, parts = Digest(), Digest()
    whole.add(found.data)
    for entry in range(found.entries):
        parts.add(found.part(entry, entry + 1))
    assert whole.value == parts.value


@pytest.mark.parametrize("place", [0, 6, 15])
def test_a_basket_whose_sizes_lie_is_damage(place):
    record = bytearray(packed(FORMS[0]))
    record[place] ^= 0x80
    with pytest.raises(ValueError):
        open_basket(bytes(record))


@pytest.mark.parametrize("most", [1, 3, 10])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_pieces_of_a_basket_are_all_of_it(form, most):
    whole = open_basket(packed(form))
    pieces = list(whole.pieces(most))
    assert b"".join(piece.data for piece in pieces) == whole.data
    assert sum(piece.entries for piece in pieces) == whole.entries
    entries = [piece.part(at, at + 1) for piece in pieces for at in range(piece.entries)]
    assert entries == [whole.part(at, at + 1) for at in range(whole.entries)]


def test_offsets_that_lie_are_damage():
    found = replace(open_basket(packed(FORMS[0])), offsets=np.array([0, 90, 2, 3]))
    with pytest.raises(ValueError, match="an entry from 0 to 90 of 24 bytes"):
        found.part(0, 1)


def test_entries_of_one_size_need_no_offsets():
    assert Unpacked(3, b"aabbcc", None).part(1, 3) == b"bbcc"


def test_baskets_are_cut_at_entries():
    ranges = list(cut(np.full(100, 5, np.int64), 4, 240))
    assert ranges[0] == (0, 9) and ranges[-1][1] == 100 and len(ranges) == 10
    assert [start for start, _ in ranges[1:]] == [stop for _, stop in ranges[:-1]]
    assert list(cut(np.zeros(0, np.int64), 4, 240)) == []
