"""Leaves of a TTree: what stands in brackets in their titles tells a shape, so the names there can have none.

ROOT calls the leaf of a branch `x[3]` just `x`, in its title too. uproot writes `x[3]`, and takes that for a shape when
it reads it again, as parts of ROOT do. Here the title says `x_3_`, which is as long; the leaf keeps the name of its
branch, by which TTreeReader looks for it.
"""

from collections.abc import Iterable
from typing import Any

_BRACKETS = str.maketrans("[]", "__")
_BEFORE_NAME = 8 + len(b"TLeafX\0") + 28  # bytes of a leaf: its tag and class, and the headers of its bases
_KEYS_TO_TAGS = 2  # what ROOT adds to a place in a key
_LONG = 255  # bytes of a text from which on its length takes five, not one


def mend_leaves(branches: Iterable[Any]) -> None:
    """Mend the titles of leaves whose names have brackets, before uproot looks for shapes in them."""
    for branch in branches:
        for leaf in branch.member("fLeaves"):
            counter = leaf.member("fLeafCount")
            count = counter.member("fName") if counter else ""
            title = _plain_title(leaf.member("fName"), leaf.member("fTitle"), count)
            leaf.bases[0].bases[0].members["fTitle"] = title


def write_leaves(tree: Any) -> None:
    """Put titles in which names have no brackets in the place of those that uproot has written."""
    written = tree._cascading
    for branch in written._branch_data:
        name, count = branch["fName"], branch["counter"]["fName"] if branch["counter"] else ""
        title = name + f"[{count}]" * bool(count) + "".join(f"[{n}]" for n in branch["shape"])
        before, after = _text(title), _text(_plain_title(name, title, count))
        if after != before:
            place = written.key.seek_location + branch["tleaf_reference_number"] - _KEYS_TO_TAGS
            place += _BEFORE_NAME + len(_text(name))
            assert tree.file.sink.read(place, len(before)) == before, f"the leaf of '{name}' is elsewhere"
            tree.file.sink.write(place, after)


def plain(name: str) -> str:
    """The name without brackets; it is as long.

    >>> plain("x[3]")
    'x_3_'
    """
    return name.translate(_BRACKETS)


def _plain_title(name: str, title: str, count: str) -> str:
    """The title of a leaf without brackets in the names of its branch and of what counts it; its shape stays."""
    shape = title.removeprefix(name).replace(f"[{count}]", f"[{plain(count)}]")
    return (plain(name) if title.startswith(name) else "") + shape


def _text(text: str) -> bytes:
    """A text as ROOT stores it."""
    encoded = text.encode(errors="surrogateescape")
    size = bytes([len(encoded)]) if len(encoded) < _LONG else bytes([_LONG]) + len(encoded).to_bytes(4, "big")
    return size + encoded
