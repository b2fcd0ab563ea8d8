"""Leaves that uproot reads wrongly: written by ROOT (scripts/make_leaves.py), compared with what ROOT reads."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.plan import Options
from atlasae.compression.verify import verify_file
from atlasae.errors import UserError
from atlasae.files.leaves import AsLists, AsTexts, interpretation_of, read_range, structure_of
from atlasae.files.trees import open_source

GOLDEN = Path(__file__).parents[1] / "golden" / "leaves"
ROOT_FILE = GOLDEN / "leaves.root"
ENTRIES = {"numbers": 12, "old": 12, "members": 12, "offsets": 100}


def as_root_reads() -> dict[str, np.ndarray]:
    """All numbers of every branch."""
    with np.load(GOLDEN / "leaves.npz") as found:
        values = np.split(found["values"], np.cumsum(found["counts"])[:-1])
        return dict(zip(found["names"].tolist(), values, strict=True))


def numbers_of(branch: Any, start: int, stop: int) -> np.ndarray:
    """All numbers of a branch in some entries."""
    array = branch.array(interpretation_of(branch), start, stop)
    return ak.to_numpy(ak.flatten(array, axis=None)) if len(array) else np.empty(0)


def branches_of(file: Any, tree: str) -> dict[str, Any]:
    """The branches with numbers of a tree, by ROOT's names."""
    found = (branch for branch in file[tree].itervalues(recursive=True) if not branch.branches)
    return {f"{tree}.{branch.name.partition('[')[0]}": branch for branch in found if len(branch.member("fLeaves")) == 1}


@pytest.mark.parametrize("tree", ["numbers", "old", "members", "offsets"])
def test_every_number_is_what_root_reads(tree):
    wanted, entries = as_root_reads(), ENTRIES[tree]
    with uproot.open(ROOT_FILE) as file:
        branches = branches_of(file, tree)
        assert len(branches) >= 3 and branches.keys() <= wanted.keys()
        for name, branch in branches.items():
            whole = numbers_of(branch, 0, entries)
            parts = [numbers_of(branch, start, min(start + 5, entries)) for start in range(0, entries, 5)]
            assert whole.astype(np.float64).tolist() == wanted[name].tolist(), name
            assert np.concatenate(parts).tolist() == whole.tolist(), name


def test_numbers_are_of_the_size_and_the_shape_that_they_have_in_memory():
    kinds = {
        "numbers.d1_1": "12 * 3 * float64",
        "numbers.f1_1": "12 * 3 * float32",
        "numbers.d2_2": "12 * var * float64",
        "numbers.f3_3": "12 * 2 * 3 * float32",
        "numbers.f9_4": "12 * var * 2 * float32",
        "members.top.halves": "12 * var * float32",
        "members.top.counted": "12 * var * float64",
    }
    with uproot.open(ROOT_FILE) as file:
        branches = branches_of(file, "numbers") | branches_of(file, "members")
        found = {name: str(branches[name].array(interpretation_of(branches[name])).type) for name in kinds}
    assert found == kinds


@pytest.mark.parametrize(
    ("title", "low", "steps"),
    [
        ("", 0, 0),
        ("an angle", 0, 0),
        ("in [MeV]", 0, 0),
        ("[n]", 0, 0),
        ("[0,1]", 0, 2**32 - 1),
        ("[-10,100,16]", -10, 2**16 / 110),
        ("[n][0,3,5] of what", 0, 2**5 / 3),
        ("[0,1,31]", 0, 2**31),
        ("[0,1,33]", 0, 2**32 - 1),
        ("[0,1,1]", 0, 2**32 - 1),
        ("[0,1,few]", 0, 2**32 - 1),
        ("[ 0 , 1e3 , 24 ]", 0, 2**24 / 1000),
        ("[-pi,pi,8]", -math.pi, 2**8 / (2 * math.pi)),
        ("[-2pi,2*PI,8]", -2 * math.pi, 2**8 / (4 * math.pi)),
        ("[0,twopi,8]", 0, 2**8 / (2 * math.pi)),
        ("[-pi/2,pi/4,8]", -math.pi / 2, 2**8 / (0.75 * math.pi)),
        ("[0,0,10]", 10, 0),
        ("[0,0,14]", 14, 0),
        ("[0,0,15]", 0, 0),
        ("[5,0]", 5, 0),
        ("[low,high]", 0, 0),
    ],
)
def test_a_range_is_read_as_root_reads_it(title, low, steps):
    assert read_range(title) == pytest.approx((low, steps), rel=1e-15)


@pytest.mark.parametrize("title", ["x/d[20,0]", "x/d[-3,-5]"])
def test_bits_that_root_can_not_read_back_are_refused(title):
    members = {"fTitle": title, "fLen": 1, "fLeafCount": None}
    leaf = SimpleNamespace(classname="TLeafD32", member=members.__getitem__)
    branch = SimpleNamespace(member={"fLeaves": [leaf]}.__getitem__)
    with pytest.raises(ValueError, match="ROOT can't read back its Double32_t of (20|-3) bits"):
        interpretation_of(branch)


def test_the_range_of_a_member_that_the_file_does_not_tell_is_not_guessed():
    with uproot.open(ROOT_FILE) as file:
        branch = branches_of(file, "members")["members.top.one.a"]
        branch.members["fCheckSum"] = 1
        with pytest.raises(ValueError, match="does not tell the range"):
            interpretation_of(branch)


LENGTHS = {
    "first": [3 if entry % 5 else 0 for entry in range(20)],
    "middle": [entry % 4 for entry in range(20)],
    "long": [253 + entry % 4 for entry in range(20)],
    "none": [0] * 20,
}


@pytest.mark.parametrize(
    ("file", "like"), [("leaves.root", {}), ("steps.root", {"string": "long", "old_string": "middle"})]
)
def test_texts_may_be_empty_anywhere_and_long(file, like):
    lengths = LENGTHS | {name: LENGTHS[other] for name, other in like.items()}
    with open_source(GOLDEN / file) as source:
        tree = source.trees["texts"]
        assert [branch.name for branch in tree.branches] == [*like, *LENGTHS]
        for name, wanted in lengths.items():
            texts = [chr(ord("a") + entry) * length for entry, length in enumerate(wanted)]
            assert tree.read([name], 0, 20)[name].to_list() == texts
            assert tree.read([name], 3, 12)[name].to_list() == texts[3:12]


def basket_of(entries: int) -> Any:
    """A basket with these entries; its bytes are not read."""
    return SimpleNamespace(num_entries=entries, basket_num=0, member={"fKeylen": 70}.__getitem__)


def texts_of(data: bytes, offsets: list[int] | None, entries: int, **how: Any) -> list[str]:
    """The strings read from a basket with these bytes and offsets."""
    given = None if offsets is None else np.array(offsets, np.int32)
    nothing = {"context": {}, "cursor_offset": 0, "library": None, "options": {}}
    branch = SimpleNamespace(name="x")
    return list(
        AsTexts(**how).basket_array(np.frombuffer(data, np.uint8), given, basket_of(entries), branch, **nothing)
    )


@pytest.mark.parametrize("offsets", [[0, 3, 2, 4], [0, 2, 5], [-70, -65, -70, 4], [-3, 2, 4]])
def test_offsets_that_are_none_of_texts_are_damage(offsets):
    with pytest.raises(ValueError, match="offsets of its strings"):
        texts_of(b"\1a\1b", offsets, len(offsets) - 1)


def test_texts_without_room_for_their_lengths_are_damage():
    with pytest.raises(ValueError, match="no room for their lengths"):
        texts_of(b"\1a\377b", [0, 2, 4], 2)


@pytest.mark.parametrize("offsets", [[0, 2, 2, 5], [-70, -68, -70, 5]])
def test_texts_are_told_apart_by_where_they_are_or_by_the_steps_between_them(offsets):
    assert texts_of(b"\1a\2bc", offsets, 3) == ["a", "", "bc"]


@pytest.mark.parametrize("header", [0, 2])
def test_the_lengths_of_texts_may_take_four_bytes(header):
    data = bytes(header) + b"\0\0\0\1a"
    assert texts_of(data * 2, [0, len(data), 2 * len(data)], 2, header_bytes=header, length_bytes="4") == ["a", "a"]


def test_texts_without_offsets_are_read_unless_some_are_empty():
    assert texts_of(b"\1a\2bc", None, 2) == ["a", "bc"]
    with pytest.raises(UserError, match="^branch 'x' has baskets without offsets, .* --drop it$"):
        texts_of(b"\1a\2bc", None, 3)


def lists_without_offsets(counts: list[int], data: bytes, header_bytes: int = 0, counted: bool = True) -> Any:
    """The lists read from a basket with these bytes and no offsets."""
    counter = uproot.open(ROOT_FILE)["numbers/n"]
    counter.array = lambda *_, **__: np.array(counts)
    branch = SimpleNamespace(name="x", entry_offsets=[0, len(counts)], count_branch=counter if counted else None)
    lists = AsLists(uproot.AsDtype(">i2"), header_bytes)
    nothing = {"context": {}, "cursor_offset": 0, "library": None, "options": {}}
    return lists.basket_array(np.frombuffer(data, np.uint8), None, basket_of(len(counts)), branch, **nothing)


@pytest.mark.parametrize("offsets", [[0, 2, 2, 6], [-70, -68, -70, 6]])
def test_lists_are_told_apart_by_where_they_are_or_by_the_steps_between_them(offsets):
    nothing = {"context": {}, "cursor_offset": 0, "library": None, "options": {}}
    data, given = np.frombuffer(b"\0\1\0\2\0\3", np.uint8), np.array(offsets, np.int32)
    lists = AsLists(uproot.AsDtype(">i2")).basket_array(data, given, basket_of(3), SimpleNamespace(), **nothing)
    assert list(map(list, lists)) == [[1], [], [2, 3]]


def test_counts_that_do_not_fit_are_damage():
    branch_counts = [1, 0, 2]
    assert list(map(list, lists_without_offsets(branch_counts, b"\0\1\0\2\0\3"))) == [[1], [], [2, 3]]
    for counts in ([1, 0, 3], [4, -2, 1], [2**31, 0, 1]):
        with pytest.raises(ValueError, match="its counter gives"):
            lists_without_offsets(counts, b"\0\1\0\2\0\3")


def test_lists_that_nothing_tells_apart_are_named():
    for how in ({"header_bytes": 10}, {"counted": False}):
        with pytest.raises(UserError, match="^branch 'x' has baskets without offsets, .* --drop it$"):
            lists_without_offsets([1], b"\0\1", **how)


@pytest.mark.parametrize("options", [Options(), Options(packed=True), Options(rntuple=True)])
def test_jets_and_all_else_in_few_bits_or_no_bytes_come_back_as_root_reads_them(tmp_path, options):
    small, back = tmp_path / "small.root", tmp_path / "back.root"
    compress_file(GOLDEN / "jets.root", small, options)
    assert not verify_file(GOLDEN / "jets.root", small)["differences"]
    decompress_file(small, back)
    wanted = as_root_reads()
    with open_source(back) as source:
        tree = source.trees["Events"]
        found = {name: tree.read([name], 0, 60)[name] for name in tree.names}
    assert found.pop("text").to_list() == ["abc" if entry % 3 else "" for entry in range(60)]
    for name, array in found.items():
        values, before = ak.to_numpy(ak.flatten(array, axis=None)), wanted[f"Events.{name}"]
        promised = {"Jet_pt": np.abs(before), "Jet_mass": np.maximum(before, 0.1), "Jet_eta": 1, "Jet_phi": 1}.get(
            name, 0
        )
        assert len(values) == len(before) and np.all(np.abs(values - before) <= 1e-3 * promised), name


# --- structures


SHAPES = Path(__file__).parents[1] / "golden" / "shapes.root"


@pytest.mark.parametrize(
    ("tree", "branch", "head", "size", "jagged"),
    [
        ("leaves", "jet", 0, 16, False),
        ("more_leaves", "jet", 0, 28, False),
        ("lorentz", "jet1", 0, 64, False),
        ("lorentz_unsplit", "jet1", 16, 64, False),
        ("lorentz_lists", "Jets", 10, 64, True),
        ("clones", "jets.fP", 0, 40, True),
        ("clones_unsplit", "jets", 71, 65, True),
        ("vectors_unsplit", "jet1", 10, 16, False),
        ("lists_unsplit", "jets", 16, 26, True),
    ],
)
def test_the_structures_of_a_branch_are_found_by_its_first_basket(tree, branch, head, size, jagged):
    with open_source(SHAPES) as source:
        found = source.trees[tree].structure(branch)
        assert (found.head, found.size, found.jagged) == (head, size, jagged)
        assert {name.removeprefix(branch)[0] for name in found.numbers} == {"."}
        for name in found.numbers:
            assert len(source.trees[tree].read([name], 0, 60)[name]) == 60


def test_branches_of_anything_else_have_no_structures():
    with open_source(SHAPES) as source:
        assert [source.trees[tree].structure(name) for tree, name in (("arrays", "jet_pt"), ("lists", "jets"))] == [
            None
        ] * 2


@pytest.mark.parametrize(("data", "size"), [(48, 16), (78, 26), (50, 16), (0, 16)])
def test_structures_of_split_vectors_may_have_versions_in_front(data, size):
    """As those of vector<LorentzVector<PtEtaPhiM4D>> with a split level of 1, whose class has no ClassDef."""
    counts = SimpleNamespace(
        member=lambda *_, **__: 4, array=lambda *_, **__: np.array([2, 0, 1] if data else [0, 0, 0])
    )
    basket = SimpleNamespace(data=np.zeros(data, np.uint8), num_entries=3)
    dtype = np.dtype([(f"fCoordinates/{v}", ">f4") for v in "xyzt"])
    branch = SimpleNamespace(
        member=lambda name, **_: [SimpleNamespace(classname="", member=lambda _: None)] if name == "fLeaves" else 41,
        interpretation=uproot.AsJagged(uproot.AsDtype(dtype)),
        parent=SimpleNamespace(member=lambda *_, **__: None, parent=counts),
        tree=None,
        num_baskets=1,
        basket=lambda _: basket,
    )
    found = structure_of(branch)
    assert (found.head, found.size) == (0, size)
    assert [offset for _, offset in found.numbers.values()] == [size - 16 + 4 * n for n in range(4)]


@pytest.mark.parametrize("data", [b"", b"\0", b"\x0cTClonesArray\0" + bytes(20), b"\xff" * 90])
def test_bytes_that_are_no_array_of_objects_have_no_structure(data):
    basket = SimpleNamespace(data=np.frombuffer(data, np.uint8))
    leaf = SimpleNamespace(classname="TLeafObject")
    members = {"fLeaves": [leaf], "fClassName": "TClonesArray"}
    file = SimpleNamespace(class_named=lambda *_: object())
    branch = SimpleNamespace(member=members.__getitem__, num_baskets=1, basket=lambda _: basket, file=file)
    assert structure_of(branch) is None
