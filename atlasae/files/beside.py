"""What ROOT keeps beside values, and uproot does not write: of a tree beside its branches, of an object in its members.

What is given here are uproot's models: what it read of an object, base by base and member by member.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

MEANT = 0x00FFFE80  # the bits of a TObject that classes and users give a meaning; the others are ROOT's housekeeping
_CLIPPED = 1 << 10  # set in graphs unless somebody unsets it: they are drawn inside their frame
_HELD = {"@fUniqueID", "@pidf", "fSize", "fN"}  # how an object is held in memory; lengths of lists, which are compared
_BYTE_COUNT = 0x40000000  # set in the first word of what tells its own length
_REFERENCED = 1 << 4  # set in the bits of a TObject that two more bytes follow
_NEW_CLASS = 0xFFFFFFFF


def kept_beside(tree: Any) -> list[str]:
    """What a TTree has beside its branches, each in a word or two."""
    found = {
        f"class {tree.classname}": tree.classname != "TTree",
        "weight": tree.member("fWeight", none_if_missing=True) not in (None, 1.0),
        "aliases": bool(tree.aliases),
    }
    try:
        found |= _members_behind(tree) if tree.has_member("fIndexValues") else _bytes_behind(tree)
    except Exception:  # whatever uproot raises where bytes are not what they were taken for
        found["what stands behind the aliases"] = True
    return [name for name, there in found.items() if there]


def _members_behind(tree: Any) -> dict[str, bool]:
    """What uproot has read of trees of old versions."""
    found = {name: tree.member(name, none_if_missing=True) for name in _BEHIND}
    return {
        "index": len(tree.member("fIndexValues")) > 0 or found["fTreeIndex"] is not None,
        "friends": bool(found["fFriends"]),
        "user info": bool(found["fUserInfo"]),
        "table of references": found["fBranchRef"] is not None,
    }


_BEHIND = ("fTreeIndex", "fFriends", "fUserInfo", "fBranchRef")


def _bytes_behind(tree: Any) -> dict[str, bool]:
    """What uproot passes over of other trees, since few ask for it: all that stands behind the aliases."""
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
    """Goes from one thing to the next in the bytes of an object."""

    def __init__(self, chunk: Any, cursor: Any) -> None:
        self.chunk, self.cursor = chunk, cursor

    def word(self) -> int:
        """The next four bytes."""
        return int(self.cursor.field(self.chunk, struct.Struct(">I"), {}))

    def skip(self) -> bool:
        """Pass over an object or a pointer to one; whether there is one."""
        count = self.word()
        if count & _BYTE_COUNT:  # else it points nowhere, or to what was before
            self.cursor.skip(count & ~_BYTE_COUNT)
        return count != 0

    def skip_array(self, size: int) -> bool:
        """Pass over a TArray with numbers of so many bytes; whether it holds any."""
        length = self.word()
        self.cursor.skip(length * size)
        return length > 0

    def skip_list(self) -> bool:
        """Pass over a pointer to a TList; whether there is something in that list."""
        inside = _Walk(self.chunk, self.cursor.copy())
        return self.skip() and inside.holds_something()

    def holds_something(self) -> bool:
        """Whether a TList holds anything: ROOT makes empty ones of user info where somebody asked for it."""
        if not self.word() & _BYTE_COUNT:
            return True  # a list that was before
        if self.word() == _NEW_CLASS:
            self.cursor.classname(self.chunk, {})
        self.cursor.skip(4 + 2 + 2 + 4)  # length and version of the list, version and number of its TObject
        self.cursor.skip(2 if self.word() & _REFERENCED else 0)
        self.cursor.string(self.chunk, {})
        return self.word() > 0


def functions_in(thing: Any) -> str:
    """What a histogram or graph has in its list of functions, fit for the end of a line."""
    functions = thing.member("fFunctions", none_if_missing=True) if hasattr(thing, "all_members") else None
    kinds = dict.fromkeys(str(function.classname) for function in functions or ())
    return f" with its {', '.join(kinds)}" * bool(kinds)


def lost_in(before: Any, after: Any) -> list[str]:
    """What of an object is not the same in what was written of it: its members, or the base that lists or holds it."""
    if not hasattr(before, "all_members"):
        return []
    return [name.removeprefix("@") for name in dict.fromkeys(_lost(before, after)) if name != "fName"]  # the key's now


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
    """Whether a member says something else: what neither says, one may have as an empty list."""
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
    """Whether a value is more than nothing, zero or an empty list."""
    if isinstance(value, float | int | np.number):
        return bool(value)
    return value is not None and not (hasattr(value, "__len__") and len(value) == 0)


def _listings(model: Any) -> Iterator[Any]:
    """The object and its bases, so far as they are arrays or lists."""
    for base in model.bases:
        yield from _listings(base)
    if hasattr(model, "_data"):
        yield model
