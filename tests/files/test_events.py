import itertools

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlasae.errors import UserError
from atlasae.files.branches import Branch
from atlasae.files.checksums import checksum, checksum_bytes, checksum_file, checksums
from atlasae.files.events import (
    ArrayEvents,
    Window,
    counts_of,
    flatten,
    halved,
    index_in_event,
    numbers_in,
    one_after_another,
    plain_lists,
    unflatten,
    with_shared_ends,
)
from atlasae.jets.columns import to_columns
from atlasae.jets.recognition import find_collections

events = st.lists(st.lists(st.floats(width=32), max_size=4), max_size=8)
counts = st.lists(st.integers(0, 5), max_size=20).map(lambda values: np.array(values, np.int64))


def jagged(values: list[list[float]], dtype: str = "<f4") -> ak.Array:
    flat = np.array([x for event in values for x in event], dtype=dtype)
    return ak.unflatten(flat, np.array([len(event) for event in values], np.int64))


@given(events)
def test_flatten_is_undone(values):
    array = jagged(values)
    flat, per_event = flatten(array)
    assert flat.dtype == np.float32 and per_event.dtype == np.int64
    assert per_event.tolist() == [len(event) for event in values]
    back = unflatten(flat, per_event, jagged=True)
    assert ak.num(back).tolist() == per_event.tolist()
    assert flatten(back)[0].tobytes() == np.array([x for event in values for x in event], np.float32).tobytes()


def test_a_flat_branch_has_one_value_an_event():
    flat, per_event = flatten(ak.Array(np.array([1.5, 2.5])))
    assert (flat.tolist(), per_event.tolist()) == ([1.5, 2.5], [1, 1])
    back = unflatten(flat, per_event, jagged=False)
    assert back.ndim == 1 and back.tolist() == [1.5, 2.5]


def test_a_slice_of_events_is_flattened_as_it_is_seen():
    flat, per_event = flatten(jagged([[1, 2], [], [3], [4, 5, 6]])[[3, 1, 0]])
    assert (flat.tolist(), per_event.tolist()) == ([4, 5, 6, 1, 2], [3, 0, 2])


def test_lists_of_plain_numbers_are_known_by_their_buffers():
    array = jagged([[1, 2], [], [3], [4, 5, 6]])[1:]
    values, numbers = plain_lists(array)
    assert values.tolist() == [3, 4, 5, 6] and numbers.tolist() == [0, 1, 3] == numbers_in(array).tolist()
    others = [ak.Array([[1, None]]), ak.Array(["jet"]), ak.Array(np.ones((2, 3))), ak.Array([[[1]]]), ak.Array([1])]
    assert all(plain_lists(other) is None for other in others)


@given(st.lists(events, min_size=1, max_size=3))
def test_parts_of_a_branch_come_one_after_another(parts):
    arrays = [jagged(part) for part in parts]
    found = one_after_another(arrays)
    assert found.type == ak.concatenate(arrays).type and checksum(found) == checksum(jagged([*itertools.chain(*parts)]))
    assert one_after_another([ak.Array([1, 2]), ak.Array([3])]).tolist() == [1, 2, 3]


@pytest.mark.parametrize("numbers", [[1, 1], [2, 2], [-1, 4]])
def test_numbers_that_do_not_add_up_are_refused(numbers):
    with pytest.raises(ValueError, match="3 values are not those of 2 events"):
        unflatten(np.arange(3), np.array(numbers), jagged=True)


def test_lists_that_end_at_the_same_places_share_these_and_stay_equal():
    read = {"pt": jagged([[1, 2], [], [3]]), "m": jagged([[4, 5], [], [6]]), "other": jagged([[7], [], [8, 9]])}
    read |= {"met": ak.Array(np.ones(3)), "text": ak.Array(["a", "", "b"]), "unread": None}
    shared = with_shared_ends(read)
    assert shared["m"].layout.offsets is shared["pt"].layout.offsets
    assert shared["other"].layout.offsets is not shared["pt"].layout.offsets
    assert list(shared) == list(read) and shared["unread"] is None
    assert all(ak.array_equal(shared[name], array) for name, array in read.items() if array is not None)


@given(counts)
def test_index_in_event_counts_from_zero_in_every_event(per_event):
    expected = [i for count in per_event for i in range(count)]
    assert index_in_event(per_event).tolist() == expected
    assert index_in_event(per_event).dtype == np.int32


@given(counts, st.data())
def test_counts_of_the_selected(per_event, data):
    total = int(per_event.sum())
    selected = np.array(data.draw(st.lists(st.booleans(), min_size=total, max_size=total)), bool)
    events = ak.unflatten(selected, per_event)
    assert counts_of(selected, per_event).tolist() == [sum(event) for event in events.tolist()]
    # index and counts together find every selected jet again
    where = np.repeat(np.cumsum(per_event) - per_event, counts_of(selected, per_event))
    assert (where + index_in_event(per_event)[selected]).tolist() == np.flatnonzero(selected).tolist()


# --- to_columns


def collection(is_jagged: bool = True, **dtypes: str):
    names = ("jet_pt", "jet_eta", "jet_phi", "jet_m")
    (found,) = find_collections([Branch(n, dtypes.get(n, "<f4"), is_jagged) for n in names])
    return found


def test_columns_keep_their_dtypes_and_order():
    four = {
        "jet_m": jagged([[7], [8, 9]], "<f8"),
        "jet_phi": jagged([[5], [5, 6]]),
        "jet_pt": jagged([[1], [2, 3]], "<f8"),
        "jet_eta": jagged([[4], [4, 4]]),
    }
    columns, per_event = to_columns(collection(), four)
    assert [c.tolist() for c in columns] == [[1, 2, 3], [4, 4, 4], [5, 5, 6], [7, 8, 9]]
    assert [c.dtype.str for c in columns] == ["<f8", "<f4", "<f4", "<f8"]
    assert per_event.tolist() == [1, 2]


def test_branches_that_differ_in_jets_per_event_are_no_collection():
    same, other = jagged([[1, 2], [3]]), jagged([[1], [2, 3]])  # as many jets in all
    with pytest.raises(UserError, match="'jet_pt' and 'jet_phi' differ in jets per event"):
        to_columns(collection(), {"jet_pt": same, "jet_eta": same, "jet_phi": other, "jet_m": same})


# --- columns in memory


def test_columns_in_memory_are_read_like_a_tree():
    lists = {"x": jagged([[1, 2], [], [3], []]), "pair": np.zeros((4, 2), np.int32)}
    table = ArrayEvents({"pt": np.arange(4.0), "n": np.arange(4, dtype=np.int16), **lists}, skipped=["label"])
    assert table.entries == 4
    assert table.branches == [
        Branch("pt", "<f8", jagged=False),
        Branch("n", "<i2", jagged=False),
        Branch("x", "<f4", jagged=True),
        Branch("pair", "<i4 array", jagged=False),
    ]
    assert [(u.name, u.why) for u in table.unwritable] == [("label", "holds no numbers: use astype() before saving")]
    assert table.read(["n"], 1, 3)["n"].tolist() == [1, 2]
    assert table.bytes_per_entry(["pt", "n"]) == 10
    assert table.compressed_bytes(["pt", "n"]) == 40


# --- checksum


def test_a_checksum_never_changes():
    # written in files: these numbers hold for ever
    assert checksum(jagged([[1.0, 2.0], [], [3.0]])) == 2240260664045657661
    assert checksum(ak.Array(np.array([1, 2, 3], "<i4"))) == 7764052002911021640
    assert checksum(ak.Array(["jet", "", "µ"])) == 6562178239116278656


def test_checksums_of_branches_that_share_boundaries_are_those_of_each():
    read = {"pt": jagged([[1, 2], [], [3]]), "m": jagged([[4, 5], [], [6]]), "other": jagged([[7], [], [8, 9]])}
    read |= {"met": ak.Array(np.ones(3)), "text": ak.Array(["a", "", "b"])}
    shared = with_shared_ends(read)
    assert shared["m"].layout.offsets is shared["pt"].layout.offsets
    assert checksums(shared) == {name: checksum(array) for name, array in read.items()}


def test_a_checksum_knows_the_event_boundaries():
    groupings = [[[1, 2], [3]], [[1], [2, 3]], [[1, 2, 3]], [[1, 2, 3], []], [[], [1, 2, 3]], [[1], [2], [3]]]
    sums = [checksum(jagged(values)) for values in groupings]
    assert len(set(sums)) == len(sums)
    assert checksum(ak.Array(np.array([1, 2, 3], "<f4"))) not in sums  # nor is a flat branch a jagged one


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8), st.data())
def test_a_checksum_knows_every_bit(words, data):
    bits = np.array(words, np.uint32)
    i = data.draw(st.integers(0, len(bits) - 1))
    flipped = bits.copy()
    flipped[i] ^= np.uint32(1 << data.draw(st.integers(0, 31)))
    per_event = [len(bits)]
    floats = (ak.unflatten(b.view(np.float32), per_event) for b in (bits, flipped))
    assert len({checksum(array) for array in floats}) == 2


def test_a_checksum_tells_nans_and_zeros_apart():
    bits = np.array([0x7FC00000, 0x7FC00001, 0xFFC00000, 0x7FA00000, 0x00000000, 0x80000000], np.uint32)
    assert len({checksum(ak.Array(bits[i : i + 1].view(np.float32))) for i in range(len(bits))}) == len(bits)


@given(events, st.data())
def test_a_checksum_is_the_same_in_any_memory_layout(values, data):
    array = jagged(values)
    n = len(array)
    order = np.array(data.draw(st.permutations(range(n))), np.int64)
    undone = np.argsort(order)
    shuffled = array[order][undone] if n else array
    start = data.draw(st.integers(0, n))
    halves = ak.concatenate([array[:start], array[start:]])
    padded = ak.concatenate([jagged([[9, 9]]), array])[1:]
    assert {checksum(a) for a in (shuffled, halves, padded, ak.to_packed(array))} == {checksum(array)}


def test_a_checksum_of_regular_lists_is_that_of_their_numbers_in_any_layout():
    numbers = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert checksum(ak.Array(numbers)) == checksum(ak.Array(np.asfortranarray(numbers)))
    assert checksum(ak.Array(numbers)) == checksum(ak.Array(np.repeat(numbers, 2, axis=0)[::2]))
    assert checksum(ak.Array(numbers)) != checksum(ak.Array(numbers[:, ::-1]))


def test_a_checksum_of_strings_knows_where_each_ends():
    assert checksum(ak.Array(["ab", "c"])) != checksum(ak.Array(["a", "bc"]))
    assert checksum(ak.Array(["ab", "c"])) == checksum(ak.Array(["x", "ab", "c"])[1:])
    assert checksum(ak.Array(["ab", "c"])) != checksum(ak.Array(["ab", "d"]))


def test_an_empty_branch_has_a_checksum():
    assert checksum(jagged([])) == checksum(jagged([[1.0]])[:0])
    assert checksum(jagged([[]])) != checksum(jagged([]))


def test_the_checksum_of_a_file_is_that_of_its_bytes(tmp_path):
    content = np.random.default_rng(1).bytes((1 << 20) + 7)
    (tmp_path / "file").write_bytes(content)
    assert checksum_file(tmp_path / "file") == checksum_bytes(content)


def test_a_window_is_read_like_a_tree_of_its_own():
    whole = ArrayEvents({"x": np.arange(10.0)}, skipped=["f"])
    window = Window(whole, 3, 7)
    assert (window.entries, window.branches, window.unwritable) == (4, whole.branches, whole.unwritable)
    assert window.read(["x"], 1, 4)["x"].to_list() == [4, 5, 6]
    assert window.bytes_per_entry(["x"]) == 8
    assert sum(Window(whole, *ends).compressed_bytes(["x"]) for ends in ((0, 3), (3, 7), (7, 10))) == 80


def test_float16_has_the_nearest_numbers_and_no_other_infinities():
    values = np.array([1e6, -1e6, 65520, np.inf, -np.inf, np.nan, 1 / 3, 3e-8], np.float32)
    found = halved(values)
    assert found.dtype == np.float16
    assert found[:5].tolist() == [65504, -65504, 65504, np.inf, -np.inf] and np.isnan(found[5])
    assert found[6:].tolist() == values[6:].astype(np.float16).tolist()
