"""What a pickle may ask for is refused before it is made; the pickles here are harmless anyway."""

import io
import pickle
from typing import Any

import pytest

from atlasae.files import pickles
from atlasae.files.pickles import BROKEN, Bounded, Recorded, Recorder, RefusedError, check_keys, walk

ALLOWED = {"collections": {"OrderedDict"}, "builtins": {"bytearray"}}


def record(stream: bytes) -> Any:
    """The records of a pickle, after the walk through its opcodes."""
    opened = io.BytesIO(stream)
    walk(Bounded(opened))
    opened.seek(0)
    return Recorder(Bounded(opened), ALLOWED).record()


@pytest.mark.parametrize("protocol", [4, 5])  # before, bytes and sets are calls
@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None], ("b", 1): {3: "x" * 300}, 7: (True, b"raw")},
        [{1, 2}, frozenset({"a"}), 2**70, "é" * 70_000, list(range(2000))],
    ],
)
def test_plain_things_are_recorded_as_they_are(value, protocol):
    assert record(pickle.dumps(value, protocol)) == value


def test_an_object_is_recorded_and_not_made():
    found = record(pickle.dumps(bytearray(b"abc"), 3))
    assert isinstance(found, Recorded)
    assert (found.path, found.args) == ("builtins.bytearray", (b"abc",))


def test_bytes_that_may_change_are_bytes():
    assert record(pickle.dumps(bytearray(b"a" * 1000), 5)) == b"a" * 1000


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("value", [{((1, 2), 3): 0}, {frozenset({1}): 0}, {tuple(range(101)): 0}, {(1, (2,)): 0, 5: 1}])
def test_keys_made_of_keys_are_refused(value, protocol):
    allowed = {"builtins": {"frozenset"}, "__builtin__": {"frozenset"}}
    stream = io.BytesIO(pickle.dumps(value, protocol))
    if protocol < 4 and isinstance(next(iter(value)), frozenset):
        assert Recorder(Bounded(stream), allowed).record()  # a call that is recorded
        return
    with pytest.raises(RefusedError, match="a key made of keys"):
        Recorder(Bounded(stream), allowed).record()


@pytest.mark.parametrize("value", [{((1,),)}, frozenset({((1,),)})])
def test_members_of_sets_are_plain_too(value):
    with pytest.raises(RefusedError, match="a key made of keys"):
        record(pickle.dumps(value, 4))


def test_values_may_be_inside_each_other():
    value: Any = ()
    for _ in range(16):
        value = (value, value)  # as a tree it has 2**16 leaves
    assert record(pickle.dumps({"a": value}))["a"][0] is not None


@pytest.mark.parametrize("into", [{}, {1: 1, 2: 2}])
def test_a_dictionary_has_no_more_keys_than_that(into, monkeypatch):
    monkeypatch.setattr(pickles, "MOST_KEYS", 5)
    check_keys(list(range(5 - len(into))), into)
    with pytest.raises(RefusedError, match="a dictionary of more than 5 keys"):
        check_keys(list(range(6 - len(into))), into)
    with pytest.raises(RefusedError):
        record(pickle.dumps(dict.fromkeys(range(6))))


SIZE = (10**9).to_bytes(8, "little")


@pytest.mark.parametrize(
    "stream", [b"\x80\x04\x8d" + SIZE, b"\x80\x04\x8e" + SIZE, b"\x80\x05\x96" + SIZE, b"\x80\x04\x95" + SIZE + b"N."]
)
def test_a_declared_size_that_is_not_there_is_not_asked_for(stream):
    class Counting(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1) -> bytes:
            self.most = max(self.most, size or 0)
            return super().read(size)

    counting = Counting(stream)
    with pytest.raises(ValueError, match="1000000000"):
        walk(Bounded(counting))
    assert counting.most < 1 << 16


def test_numbers_of_many_digits_are_refused():
    with pytest.raises(RefusedError, match="an integer of 7[0-9]{4} bits"):
        record(pickle.dumps(1 << 70_000))


def test_what_breaks_off_is_broken():
    whole = pickle.dumps({"a": list(range(50)), "b": "x" * 200})
    for end in range(len(whole)):
        with pytest.raises(BROKEN):
            record(whole[:end])
