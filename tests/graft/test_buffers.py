"""Objects of ROOT files taken apart and put together."""

import random
from pathlib import Path

import pytest
import uproot

from atlasae.errors import UserError
from atlasae.graft import buffers
from atlasae.graft.buffers import Thing, read_thing, write_thing
from atlasae.graft.records import RecordKey, Records
from atlasae.graft.trees import TREES, GraftedTree, glance, payload_of

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = [GOLDEN / "leaves" / "leaves.root", GOLDEN / "beside.root"]  # written by ROOT
OBJECT = Thing("TObject", rest=b"\0\1" + bytes(8))


def records_of(path: Path) -> Records:
    content = path.read_bytes()
    return Records(lambda start, stop: content[start:stop], len(content))


def trees_in(path: Path) -> list[tuple[RecordKey, bytes]]:
    """Key and buffer of every TTree of a file."""
    records = records_of(path)
    keys = [key for _, folder in records.root.walk() for key in folder.keys if key.class_name in TREES]
    return [(key, payload_of(records, key)) for key in keys]


def listing(*things: Thing | None) -> Thing:
    return Thing("TObjArray", 3, {"TObject": OBJECT, "fName": b"", "fLowerBound": 0}, list(things))


def named(name: str) -> Thing:
    return Thing("TNamed", 1, {":TObject": OBJECT, "fName": name.encode(), "fTitle": b""})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_tree_of_root_is_written_as_it_was_read(path):
    found = trees_in(path)
    assert len(found) > 4
    for key, data in found:
        assert write_thing(read_thing(data, key.class_name, key.keylen), key.keylen) == data, key.name


def names_in(key: RecordKey, data: bytes) -> list[str]:
    """The names of the branches with values of a tree."""
    return GraftedTree("", None, key, read_thing(data, key.class_name, key.keylen)).names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("seed", range(3))
def test_a_tree_is_cut_to_the_branches_that_are_wanted(path, seed):
    chance = random.Random(seed)
    for key, data in trees_in(path):
        names = names_in(key, data)
        wanted = {name for name in names if chance.random() < 0.3}
        cut = glance(data, key.class_name, key.keylen, wanted).cut()
        assert names_in(key, cut) == [name for name in names if name in wanted], key.name


def test_a_tree_of_which_all_is_wanted_is_not_cut():
    for key, data in trees_in(FILES[0]):
        cut = glance(data, key.class_name, key.keylen, names_in(key, data)).cut()
        assert names_in(key, cut) == names_in(key, data)


def test_offsets_count_from_the_key(tmp_path):
    for key, data in trees_in(FILES[0]):
        moved = write_thing(read_thing(data, key.class_name, key.keylen), key.keylen + 8)
        assert len(moved) == len(data)
        assert write_thing(read_thing(moved, key.class_name, key.keylen + 8), key.keylen) == data


def test_an_object_comes_once_and_its_class_too():
    first, other = named("first"), named("other")
    data = write_thing(listing(first, None, other, first), 50)
    assert data.count(b"TNamed\0") == 1 and data.count(b"first") == 1
    back = read_thing(data, "TObjArray", 50).items
    assert [item and item.name for item in back] == ["first", None, "other", "first"]
    assert back[0] is back[3]


def test_an_object_without_its_first_place_is_declared_at_the_next():
    first, other = named("first"), named("other")
    whole = read_thing(write_thing(listing(first, other, first), 0), "TObjArray", 0)
    whole.items = whole.items[1:]
    back = read_thing(write_thing(whole, 0), "TObjArray", 0)
    assert [item.name for item in back.items if item] == ["other", "first"]


def test_an_unknown_class_is_named():
    data = write_thing(listing(named("x")), 0).replace(b"TNamed\0", b"TFancy\0")
    with pytest.raises(UserError, match=r"TFancy of version 1.*--rewrite"):
        read_thing(data, "TObjArray", 0)


def test_an_unknown_version_is_named(monkeypatch):
    monkeypatch.delitem(buffers._STEPS, ("TBranch", 13))
    key, data = trees_in(FILES[1])[0]
    with pytest.raises(UserError, match="TBranch of version 13"):
        read_thing(data, key.class_name, key.keylen)


@pytest.mark.parametrize("seed", range(3))
def test_damage_is_told_from_bugs(seed):
    some = random.Random(seed)
    for key, data in trees_in(FILES[seed % 2])[:4]:
        for _ in range(30):
            broken = bytearray(data)
            broken[some.randrange(len(data))] = some.choice((0, 0x40, 0x80, 255))
            try:
                read_thing(bytes(broken), key.class_name, key.keylen)
            except (ValueError, UserError):
                continue


@pytest.mark.parametrize("size", [0, 5, 100, 1000])
def test_a_buffer_that_ends_early_is_damage(size):
    key, data = trees_in(FILES[0])[0]
    with pytest.raises(ValueError):
        read_thing(data[:size], key.class_name, key.keylen)


def test_a_tree_of_uproot_is_read(tmp_path):
    with uproot.recreate(tmp_path / "x.root") as file:
        file.mktree("t", {"a": "float32", "b": "var * int64"})
    ((key, data),) = trees_in(tmp_path / "x.root")
    tree = read_thing(data, "TTree", key.keylen)
    assert [branch.name for branch in tree["fBranches"].items if branch] == ["a", "nb", "b"]
    (leaf,) = tree["fBranches"].items[2]["fLeaves"].items
    assert leaf["fLeafCount"] is tree["fBranches"].items[1]["fLeaves"].items[0]
