"""Leaf titles of TTrees: brackets in a title give a shape, so branch names must appear there without brackets.

For a branch `x[3]`, ROOT writes the leaf title `x`. uproot writes `x[3]`, and reads that as a shape, as parts of ROOT
do. Here the title becomes `x_3_`, which has the same length; the leaf keeps the name of its branch, by which
TTreeReader looks for it.
"""

from collections.abc import Iterable
from typing import Any

from atlasae.errors import DamagedFileError

_BRACKETS = str.maketrans("[]", "__")
_BEFORE_NAME = 8 + len(b"TLeafX\0") + 28  # bytes of a leaf: class tag, class name, headers of its bases
_KEYS_TO_TAGS = 2  # ROOT adds 2 to the offset of an object in a key: kMapOffset
_LONG = 255  # from this length on, ROOT stores it in five bytes instead of one


def mend_leaves(branches: Iterable[Any]) -> None:
    """Remove brackets of names from leaf titles, before uproot parses shapes from these; raises DamagedFileError."""
    for branch in branches:
        for leaf in branch.member("fLeaves"):
            if leaf is None:
                raise DamagedFileError(f"branch '{branch.name}' is damaged: one of its leaves is missing")
            if not leaf.has_member("fLeafCount"):  # a class that uproot does not know: `Tree` says so of its branch
                continue
            counter = leaf.member("fLeafCount")
            count = counter.member("fName") if counter else ""
            title = _plain_title(leaf.member("fName"), leaf.member("fTitle"), count)
            leaf.bases[0].bases[0].members["fTitle"] = title


def write_leaves(tree: Any) -> None:
    """Overwrite, in the file, the leaf titles that uproot wrote with brackets of names."""
    written = tree._cascading
    for branch in written._branch_data:
        name, count = branch["fName"], branch["counter"]["fName"] if branch["counter"] else ""
        title = name + f"[{count}]" * bool(count) + "".join(f"[{n}]" for n in branch["shape"])
        before, after = _text(title), _text(_plain_title(name, title, count))
        if after != before:
            position = written.key.seek_location + branch["tleaf_reference_number"] - _KEYS_TO_TAGS
            position += _BEFORE_NAME + len(_text(name))
            assert tree.file.sink.read(position, len(before)) == before, f"the leaf of '{name}' is elsewhere"
            tree.file.sink.write(position, after)


def plain(name: str) -> str:
    """The name with underscores instead of brackets, which has the same length.

    >>> plain("x[3]")
    'x_3_'
    """
    return name.translate(_BRACKETS)


def _plain_title(name: str, title: str, count: str) -> str:
    """A leaf title without brackets in the names of its branch and counter; the shape stays."""
    shape = title.removeprefix(name).replace(f"[{count}]", f"[{plain(count)}]")
    return (plain(name) if title.startswith(name) else "") + shape


def _text(text: str) -> bytes:
    """A string as ROOT stores it: its length, then its bytes."""
    encoded = text.encode(errors="surrogateescape")
    size = bytes([len(encoded)]) if len(encoded) < _LONG else bytes([_LONG]) + len(encoded).to_bytes(4, "big")
    return size + encoded
