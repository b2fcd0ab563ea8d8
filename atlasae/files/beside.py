"""What ROOT stores besides values and uproot does not write: of a tree besides its branches, of an object its members.

Arguments are uproot's models of objects, with their bases and members.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

MEANT = 0x00FFFE80  # bits of TObject::fBits that classes and users set; the others are ROOT's own state
_CLIPPED = 1 << 10  # TGraph::kClipFrame, set by default: the graph is drawn inside its frame
_HELD = {"@fUniqueID", "@pidf", "fSize", "fN"}  # state in memory; lengths of lists, which are compared
_BYTE_COUNT = 0x40000000  # kByteCountMask: the word gives the length of what follows
_REFERENCED = 1 << 4  # TObject::kIsReferenced: two more bytes, the process id, follow fBits
_NEW_CLASS = 0xFFFFFFFF


def kept_beside(tree: Any) -> list[str]:
    """Short names of what a TTree has besides its branches: aliases, an index, friends, user info ..."""
    found = {
        f"class {tree.classname}": tree.classname != "TTree",
        "weight": tree.member("fWeight", none_if_missing=True) not in (None, 1.0),
        "aliases": bool(tree.aliases),
    }
    try:
        found |= _members_behind(tree) if tree.has_member("fIndexValues") else _bytes_behind(tree)
    except Exception:  # uproot raises anything where the bytes have another layout
        found["what follows the aliases"] = True
    return [name for name, there in found.items() if there]


def _members_behind(tree: Any) -> dict[str, bool]:
    """What follows the aliases in trees of old versions, whose members uproot reads."""
    found = {name: tree.member(name, none_if_missing=True) for name in _BEHIND}
    return {
        "index": len(tree.member("fIndexValues")) > 0 or found["fTreeIndex"] is not None,
        "friends": bool(found["fFriends"]),
        "user info": bool(found["fUserInfo"]),
        "table of references": found["fBranchRef"] is not None,
    }


_BEHIND = ("fTreeIndex", "fFriends", "fUserInfo", "fBranchRef")


def _bytes_behind(tree: Any) -> dict[str, bool]:
    """What follows the aliases in other trees: uproot does not parse it, so it is read here from the bytes."""
    walk = _Walk(tree.chunk, tree.member("fLeaves").cursor.copy())
    walk.skip()  # the leaves
    walk.skip()  # the aliases
    arrays = [walk.skip_array(size) for size in (8, 4)]
    return {
        "index": walk.skip() or any(arrays),
        "friends": walk.skip_list(),
        "user info": walk.skip_list(),
        "table of references": walk.skip(),
    }


class _Walk:
    """A cursor that moves from one member to the next in the bytes of an object."""

    def __init__(self, chunk: Any, cursor: Any) -> None:
        self.chunk, self.cursor = chunk, cursor

    def word(self) -> int:
        """The next four bytes as an unsigned integer."""
        return int(self.cursor.field(self.chunk, struct.Struct(">I"), {}))

    def skip(self) -> bool:
        """Skip an object or a pointer; returns whether it is not null."""
        count = self.word()
        if count & _BYTE_COUNT:  # else a null pointer, or a reference to an earlier object
            self.cursor.skip(count & ~_BYTE_COUNT)
        return count != 0

    def skip_array(self, size: int) -> bool:
        """Skip a TArray with elements of `size` bytes; returns whether it has any."""
        length = self.word()
        self.cursor.skip(length * size)
        return length > 0

    def skip_list(self) -> bool:
        """Skip a pointer to a TList; returns whether the list has entries."""
        inside = _Walk(self.chunk, self.cursor.copy())
        return self.skip() and inside.holds_something()

    def holds_something(self) -> bool:
        """Whether a TList has entries: `TTree::GetUserInfo` creates an empty list in files that never had one."""
        if not self.word() & _BYTE_COUNT:
            return True  # a reference to an earlier list
        if self.word() == _NEW_CLASS:
            self.cursor.classname(self.chunk, {})
        self.cursor.skip(4 + 2 + 2 + 4)  # byte count and version of the list, version and fUniqueID of its TObject
        self.cursor.skip(2 if self.word() & _REFERENCED else 0)
        self.cursor.string(self.chunk, {})
        return self.word() > 0


def functions_in(thing: Any) -> str:
    """The classes in the list of functions of a histogram or graph, as the end of a message."""
    functions = thing.member("fFunctions", none_if_missing=True) if hasattr(thing, "all_members") else None
    kinds = dict.fromkeys(str(function.classname) for function in functions or ())
    return f" with its {', '.join(kinds)}" * bool(kinds)


def lost_in(before: Any, after: Any) -> list[str]:
    """Names of the members that differ between an object and its copy, or of the base that is an array or list."""
    if not hasattr(before, "all_members"):
        return []
    return [name.removeprefix("@") for name in dict.fromkeys(_lost(before, after)) if name != "fName"]  # its key's


def _lost(before: Any, after: Any) -> Iterator[str]:
    if before.classname != after.classname:
        yield f"class {before.classname}"
        return
    kept = after.all_members
    for name, value in before.all_members.items():
        if name == "@fBits":
            if (value ^ kept[name]) & MEANT & ~(_CLIPPED * before.classname.startswith("TGraph")):
                yield name
        elif name not in _HELD and (_differs(value, kept[name]) if name in kept else _says(value)):
            yield name
    for one, other in zip(_listings(before), _listings(after), strict=False):
        if _differs(one._data, other._data):
            yield str(one.classname)


def _differs(before: Any, after: Any) -> bool:
    """Whether two values of a member differ; None, zero and an empty list are equal to each other."""
    if not (_says(before) and _says(after)):
        return _says(before) != _says(after)
    if hasattr(before, "all_members") and not isinstance(before, str):
        return any(_lost(before, after))
    if isinstance(before, np.ndarray):
        return before.tobytes() != np.asarray(after, before.dtype).tobytes()
    if isinstance(before, Iterable) and not isinstance(before, str | bytes):
        one, other = list(before), list(after)
        return len(one) != len(other) or any(_differs(*pair) for pair in zip(one, other, strict=True))
    return bool(before != after and not (np.isreal(before) and np.isnan([before, after]).all()))


def _says(value: Any) -> bool:
    """Whether a value is other than None, zero and an empty list."""
    if isinstance(value, float | int | np.number):
        return bool(value)
    return value is not None and not (hasattr(value, "__len__") and len(value) == 0)


def _listings(model: Any) -> Iterator[Any]:
    """The object and those of its bases that are arrays or lists."""
    for base in model.bases:
        yield from _listings(base)
    if hasattr(model, "_data"):
        yield model
