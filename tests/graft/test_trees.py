"""TTrees as objects: what their objects tell at a glance is what uproot reads in them."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlasae.errors import UserError
from atlasae.files.leaves import plain_numbers
from atlasae.files.trees import open_source
from atlasae.graft.trees import TREES, glance

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = [GOLDEN / "leaves" / "leaves.root", GOLDEN / "beside.root", *sorted(GOLDEN.glob("format-*/default.root"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.stem}-{path.stem}")
def test_a_glance_tells_what_uproot_reads(path):
    plain = 0
    with open_source(path) as source:
        for name in [name for name in source.trees if source.keys[name].fClassName in TREES]:
            seen, whole = source.glanced(name, glance, part=False), source.trees[name]
            told = seen._given.glance
            assert (seen.title, seen.entries) == (whole.title, whole.entries)
            assert told.branches is None or (seen.branches, []) == (whole.branches, whole.unwritable)
            for branch, where in told.numbers.items():
                expected = plain_numbers(whole._field(branch))
                assert (where.stored, where.read, where.listed) == (expected.stored, expected.read, expected.listed)
                for found, wanted in ((where.firsts, expected.firsts), (where.seeks, expected.seeks)):
                    assert found.tolist() == wanted.tolist()
                plain += 1
    assert plain > 4


@pytest.fixture(scope="module")
def tree_object():
    """What `glance` is given of a tree: its object, class and the bytes of its key."""
    with open_source(FILES[0]) as source:
        key = max((source.keys[name] for name in source.trees), key=lambda key: key.fObjlen)
        return bytes(key.get_uncompressed_chunk_cursor()[0].raw_data), key.fClassName, key.fKeylen


@settings(max_examples=50)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), wanted=st.sampled_from([None, ("x", "n")]))
def test_a_changed_object_is_seen_or_refused(tree_object, place, value, wanted):
    data, *facts = tree_object
    changed = bytearray(data)
    changed[int(place * len(data))] = value
    with contextlib.suppress(UserError, ValueError, LookupError):  # uproot tells of these
        glance(bytes(changed), *facts, wanted)
