"""Forms: how branches store numbers, packed by hand, and found in the baskets of others."""

import numpy as np
import pytest

from atlasae.files.leaves import Structure
from atlasae.graft.baskets import Beginning, Unpacked
from atlasae.graft.forms import Form, form_of_structures, forms_of_numbers

COUNTS = np.array([2, 0, 3, 1], np.int64)
VALUES = np.arange(6, dtype=np.float32)
VECTOR = Form(">f4", True, vector=9)


def basket(form: Form) -> Beginning:
    return Beginning(len(COUNTS), form.pack(VALUES, COUNTS)[0], True)


@pytest.mark.parametrize(
    "wrong", [{"factor": np.inf}, {"factor": -1.0}, {"low": np.nan}, {"mantissa": 15}, {"mantissa": -1}]
)
def test_numbers_that_root_can_not_store_are_no_form(wrong):
    with pytest.raises(ValueError, match="numbers of"):
        Form(">f8", True, **wrong)


def test_numbers_in_few_bits_by_hand():
    values, counts = np.array([-5.0, 5.0, 0.5, 7.0, -9.0]), np.array([2, 3])
    steps, offsets = Form(">f8", True, low=-5.0, factor=25.5).pack(values, counts)
    assert np.frombuffer(steps, ">u4").tolist() == [0, 255, 140, 306, 0] and offsets.tolist() == [0, 8]
    short, offsets = Form(">f8", True, mantissa=12).pack(np.array([1.5, -2.25]), np.array([1, 1]))
    assert short == bytes([127, 0x08, 0x00, 128, 0x22, 0x00]) and offsets.tolist() == [0, 3]


def test_a_vector_has_its_size_in_front():
    data, offsets = VECTOR.pack(VALUES, COUNTS)
    assert data[:10].hex() == "4000000e" + "0009" + "00000002" and data[18:28].hex() == "40000006" + "0009" + "00000000"
    assert offsets is not None and offsets.tolist() == [0, 18, 28, 50]


@pytest.mark.parametrize("form", [Form(">f4", True), VECTOR, Form(">f8", True)], ids=str)
def test_the_form_of_numbers_is_found_in_a_basket(form):
    asked = Form(">f8" if form.dtype == ">f8" else ">f4", True)
    assert forms_of_numbers(asked, basket(form), VALUES, COUNTS) == [form]
    assert forms_of_numbers(asked, basket(form), VALUES + 1, COUNTS) == []


@pytest.mark.parametrize("form", [Form(">f4", True), VECTOR, Form(">f8", True)], ids=str)
def test_the_form_of_numbers_is_found_in_how_a_basket_begins(form):
    asked, data = Form(">f8" if form.dtype == ">f8" else ">f4", True), form.pack(VALUES, COUNTS)[0]
    for most in range(12, len(data)):  # behind the head of a vector
        begun = Beginning(len(COUNTS), data[:most], False)
        assert forms_of_numbers(asked, begun, VALUES, COUNTS) == [form]
        assert forms_of_numbers(asked, begun, VALUES[::-1], COUNTS) == []


def test_doubles_beyond_floats_are_doubles():
    large, asked = np.array([1e300, -1e300, 3.4e38, 3.5e38, np.nan, -np.inf]), Form(">f8", True)
    data = asked.pack(large, COUNTS)[0]
    assert forms_of_numbers(asked, Beginning(4, data, True), large, COUNTS) == [asked]


def test_zeros_are_told_by_how_many_bytes_they_take():
    zeros, asked = np.zeros(6), Form(">f8", True)
    data = asked.pack(zeros, COUNTS)[0]
    floats = Form(">f4", True)
    assert forms_of_numbers(asked, Beginning(4, data[:12], False), zeros, COUNTS) == [asked, floats]
    assert forms_of_numbers(asked, Beginning(4, data, True), zeros, COUNTS) == [asked]
    assert forms_of_numbers(asked, Beginning(4, data[:24], True), zeros, COUNTS) == [floats]


def test_doubles_may_be_stored_as_floats():
    stored = Form(">f4", True, vector=3)
    assert forms_of_numbers(Form(">f8", True), basket(stored), VALUES, COUNTS) == [stored]


def test_the_form_of_structures_is_that_of_all_baskets():
    structure = Structure({"x": (">f4", 4)}, size=8)
    alike, odd = (np.array([(7, x), (tag, x + 1)], ">i4,>f4").tobytes() for x, tag in ((1, 7), (3, 8)))
    form = form_of_structures(structure, [Unpacked(2, alike, None), Unpacked(2, alike, None)])
    assert form is not None and form.body == "00000007" + np.array(1, ">f4").tobytes().hex()
    assert form_of_structures(structure, [Unpacked(2, alike, None), Unpacked(2, odd, None)]) is None
