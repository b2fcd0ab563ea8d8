"""ROOT objects as Python objects and back: TTree, its branches, leaves and lists, and lists of streamer infos.

ROOT writes an object once, and later pointers to it as its offset in the buffer; the same for the names of classes. So
nothing can be cut out of a buffer or put into it: it is read to objects that point to each other, and written anew.
Format: ROOT's TBufferFile::WriteObjectAny and the streamers of the classes. A class without pointers is kept as bytes.
"""

import re
import struct
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from atlasae.errors import UserError

_COUNT, _NEW, _CLASS = 0x40000000, 0xFFFFFFFF, 0x80000000
_MAPPED = 2  # kMapOffset: added to the offsets of objects and classes
_SELF = 1  # offset of the outermost object
_REFERENCED = 1 << 4  # kIsReferenced: two more bytes in a TObject
_DEEPEST = 100  # pointers inside pointers; more are damage
REWRITE = "--rewrite writes the file anew instead"

# Members in the order of the streamers. `:A` is a base, `x:A` an object, `x*` a pointer, `x/q` a number, `x/s` a
# TString, `x[n]/q` a counted array, `x[]/q` a TArray, `...` other bytes.
_BRANCH = (
    ":TNamed :TAttFill fCompress/i fBasketSize/i fEntryOffsetLen/i fWriteBasket/i fEntryNumber/q {io} fOffset/i "
    "fMaxBaskets/I fSplitLevel/i fEntries/q {first} fTotBytes/q fZipBytes/q fBranches:TObjArray fLeaves:TObjArray "
    "fBaskets:TObjArray fBasketBytes[fMaxBaskets]/i fBasketEntry[fMaxBaskets]/q fBasketSeek[fMaxBaskets]/q fFileName/s"
)
_TREE = (
    ":TNamed :TAttLine :TAttFill :TAttMarker fEntries/q fTotBytes/q fZipBytes/q fSavedBytes/q {flushed} fWeight/d "
    "fTimerInterval/i fScanField/i fUpdate/i {offsets} {range} fMaxEntries/q fMaxEntryLoop/q fMaxVirtualSize/q "
    "fAutoSave/q {autoflush} fEstimate/q {clusters} {io} fBranches:TObjArray fLeaves:TObjArray fAliases* "
    "fIndexValues[]/d fIndex[]/i fTreeIndex* fFriends* fUserInfo* fBranchRef*"
)
_IO = "fIOFeatures:ROOT::TIOFeatures"
_CLUSTERS = "fClusterRangeEnd[fNClusterRange]/q fClusterSize[fNClusterRange]/q"
_TREE_SINCE = {  # version -> what it adds
    "offsets": (17, "fDefaultEntryOffsetLen/i"),
    "flushed": (18, "fFlushedBytes/q"),
    "autoflush": (18, "fAutoFlush/q"),
    "range": (19, "fNClusterRange/I"),
    "clusters": (19, _CLUSTERS),
    "io": (20, _IO),
}
_ELEMENT = (
    ":TBranch fClassName/s fParentName/s fClonesName/s fCheckSum/I fClassVersion/{} fID/i fType/i fStreamerType/i "
    "fMaximum/i fBranchCount* fBranchCount2*"
)
_LEAF = ":TNamed fLen/i fLenType/i fOffset/i fIsRange/? fIsUnsigned/? fLeafCount*"


def _trees() -> Iterator[tuple[tuple[str, int], str]]:
    for version in range(16, 21):
        added = {name: text if version >= since else "" for name, (since, text) in _TREE_SINCE.items()}
        yield ("TTree", version), _TREE.format(**added)


_FORMATS = dict(_trees()) | {
    ("TNtuple", 2): ":TTree fNvar/i",
    ("TNtupleD", 1): ":TTree fNvar/i",
    ("TBranch", 10): _BRANCH.format(io="", first=""),
    ("TBranch", 11): _BRANCH.format(io="", first="fFirstEntry/q"),
    ("TBranch", 12): _BRANCH.format(io="", first="fFirstEntry/q"),
    ("TBranch", 13): _BRANCH.format(io=_IO, first="fFirstEntry/q"),
    ("TBranchElement", 8): _ELEMENT.format("i"),
    ("TBranchElement", 9): _ELEMENT.format("i"),
    ("TBranchElement", 10): _ELEMENT.format("h"),
    ("TBranchObject", 1): ":TBranch ...",
    ("TBranchSTL", 1): ":TBranch ...",
    ("TBranchRef", 1): ":TBranch fRefTable*",
    ("TRefTable", 3): ":TObject fSize/i fParents* fOwner* ...",
    ("TLeaf", 2): _LEAF,
    ("TNamed", 1): ":TObject fName/s fTitle/s",
    ("TStreamerInfo", 9): (_INFO := ":TNamed fCheckSum/I fClassVersion/i fElements*"),
    ("TStreamerInfo", 10): _INFO,
}
_ARRAYS = {"TObjArray": 3, "TList": 5, "THashList": 5}  # collections of pointers, with the version that is known
_PLAIN = re.compile(  # classes without pointers
    r"TAtt(Fill|Line|Marker)|ROOT::TIOFeatures|TObjString|TFriendElement|TTreeIndex|TParameter<[\w ]+>"
)


_BASES: dict[tuple[str, int, str], tuple[str, ...]] = {}  # by class, version and member: the way to it


@dataclass(eq=False)
class Thing:
    """An object: its class and version, members by name (bases by class), the items of a list, other bytes.

    A member or item that is a Thing in a pointer may be the same one elsewhere.
    """

    kind: str
    version: int = 0
    members: dict[str, Any] = field(default_factory=dict)
    items: list["Thing | None"] = field(default_factory=list)
    options: list[bytes] = field(default_factory=list)  # of the items of a TList
    rest: bytes = b""

    def holder(self, name: str) -> "Thing":
        """The object itself, or its base with this member; raises KeyError."""
        if name in self.members:
            return self
        where = self.kind, self.version, name
        if (bases := _BASES.get(where)) is None:
            bases = _BASES[where] = self._bases_to(name)
        found = self
        for base in bases:
            found = found.members[base]
        return found

    def _bases_to(self, name: str) -> tuple[str, ...]:
        """The bases inside each other, the innermost of which has a member; raises KeyError."""
        for key, base in self.members.items():
            if key.startswith(":"):
                if name in base.members:
                    return (key,)
                with suppress(KeyError):
                    return (key, *base._bases_to(name))
        raise KeyError(f"{self.kind} has no {name}")

    def __getitem__(self, name: str) -> Any:
        return self.holder(name).members[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.holder(name).members[name] = value

    @property
    def name(self) -> str:
        """Its fName, as uproot decodes it."""
        return bytes(self["fName"]).decode(errors="surrogateescape")


@dataclass(frozen=True)
class Step:
    """One step of a streamer: a kind, a name, and what it needs to know: a class, a struct or a count."""

    kind: str
    name: str
    what: Any = None


def _steps(text: str) -> list[Step]:
    """The steps of a format; numbers in a row are one step."""
    steps: list[Step] = []
    for word in text.split():
        name, _, kind = word.partition("/")
        counted = re.fullmatch(r"(\w+)\[(\w*)\]", name)
        if word == "...":
            steps.append(Step("rest", ""))
        elif counted:
            steps.append(Step("array" if counted[2] else "tarray", counted[1], (np.dtype(f">{kind}"), counted[2])))
        elif kind == "s":
            steps.append(Step("string", name))
        elif kind:
            _add_number(steps, name, kind)
        elif word.endswith("*"):
            steps.append(Step("pointer", word[:-1]))
        else:
            of, _, cls = word.partition(":")
            steps.append(Step("object", of or f":{cls}", cls))
    return steps


def _add_number(steps: list[Step], name: str, kind: str) -> None:
    if steps and steps[-1].kind == "numbers":
        before = steps.pop()
        steps.append(Step("numbers", f"{before.name} {name}", struct.Struct(before.what.format + kind)))
    else:
        steps.append(Step("numbers", name, struct.Struct(f">{kind}")))


_STEPS = {key: _steps(text) for key, text in _FORMATS.items()}
_LEAVES = re.compile("TLeaf(B|C|D|D32|F|F16|G|I|L|O|S|Element|Object)")
_OF_LEAVES = _steps(":TLeaf ...")  # of any version
_OF_INFOS = {  # of any version, by class; the others as TStreamer
    "TStreamerElement": _steps(":TNamed ..."),
    "TStreamerSTLstring": _steps(":TStreamerSTL ..."),
    "TStreamer": _steps(":TStreamerElement ..."),
}
_NAMED = {step: tuple(step.name.split()) for steps in _STEPS.values() for step in steps if step.kind == "numbers"}


def _of_class(kind: str, version: int) -> list[Step] | None:
    """The steps of a class, None for one that is kept as bytes; raises UserError for an unknown one."""
    if (steps := _STEPS.get((kind, version))) is not None:
        return steps
    if _LEAVES.fullmatch(kind):
        return _OF_LEAVES
    if kind.startswith("TStreamer") and kind != "TStreamerInfo":
        return _OF_INFOS.get(kind, _OF_INFOS["TStreamer"])
    if _PLAIN.fullmatch(kind):
        return None
    raise UserError(f"its tree has a {kind} of version {version}, which atlasae does not know: {REWRITE}")


def read_thing(data: bytes, kind: str, key_size: int, wanted: Container[str] | None = None) -> Thing:
    """Read the object of class `kind` from a buffer, in whose offsets its key of `key_size` bytes counts.

    Branches without others inside whose names are not `wanted` are left out, with their leaves. Raises UserError for a
    class that is not known, ValueError for bytes that are none.
    """
    try:
        return _Reader(data, key_size, wanted).outermost(kind)
    except (struct.error, IndexError, RecursionError) as error:
        raise ValueError(f"its {kind} ends early, or nests too deep") from error


class _Reader:
    """A position in a buffer, and the objects and classes met before."""

    def __init__(self, data: bytes, key_size: int, wanted: Container[str] | None) -> None:
        self._data, self._at, self._shift = data, 0, key_size + _MAPPED
        self._known: dict[int, Thing] = {}
        self._depth = 0
        self._cuts, self._wanted = wanted is not None, wanted or ()

    def outermost(self, kind: str) -> Thing:
        found = Thing(kind)
        self._known[_SELF] = found
        self._fill(found)
        if self._at != len(self._data):
            raise ValueError(f"its {kind} has {len(self._data)} bytes, {self._at} of which were read")
        return found

    def _numbers(self, form: struct.Struct) -> tuple[Any, ...]:
        found = form.unpack_from(self._data, self._at)
        self._at += form.size
        return found

    def _bytes(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._data):
            raise ValueError(f"{size} bytes at {self._at} are more than there are")
        self._at += size
        return self._data[self._at - size : self._at]

    def _string(self) -> bytes:
        size = self._data[self._at]
        self._at += 1
        return self._bytes(self._numbers(_INT)[0] if size == 255 else size)

    def _fill(self, thing: Thing) -> None:
        """Read the members of an object with its version, in front of which are mostly its bytes."""
        if thing.kind == "TObject":
            self._fill_base(thing)
            return
        count, thing.version = self._numbers(_HEADER)
        if not count & _COUNT:
            raise UserError(f"its tree has a {thing.kind} without a size, which atlasae does not know: {REWRITE}")
        end = self._at - 2 + (count & ~_COUNT)
        if thing.kind in _ARRAYS:
            self._fill_list(thing)
        elif steps := _of_class(thing.kind, thing.version):
            for step in steps:
                self._step(thing, step, end)
        else:
            thing.rest = self._bytes(end - self._at)
        if self._at != end:
            raise ValueError(f"its {thing.kind} ends at {end}, and its members at {self._at}")

    def _fill_base(self, thing: Thing) -> None:
        start = self._at
        self._at += 10
        self._at += 2 * bool(self._data[start + 9] & _REFERENCED)
        thing.rest = self._data[start : self._at]

    def _step(self, thing: Thing, step: Step, end: int) -> None:
        kind = step.kind
        if kind == "numbers":
            thing.members.update(zip(_NAMED[step], self._numbers(step.what), strict=True))
        elif kind == "object":
            thing.members[step.name] = found = Thing(step.what)
            self._fill(found)
        elif kind == "string":
            thing.members[step.name] = self._string()
        elif kind == "pointer":
            thing.members[step.name] = self._pointer()
        elif kind == "array":
            thing.members[step.name] = self._array(thing, step)
        elif kind == "tarray":
            thing.members[step.name] = self._bytes(self._numbers(_INT)[0] * step.what[0].itemsize)
        else:
            thing.rest = self._bytes(end - self._at)

    def _array(self, thing: Thing, step: Step) -> tuple[int, npt.NDArray[Any]]:
        """A counted array, and the byte in front of it: 0 if it is not there."""
        dtype, count = step.what
        flag = self._bytes(1)[0]
        size = thing.members[count] if flag else 0
        return flag, np.frombuffer(self._bytes(size * dtype.itemsize), dtype)

    def _fill_list(self, thing: Thing) -> None:
        if thing.version != _ARRAYS[thing.kind]:
            raise UserError(f"its tree has a {thing.kind} of version {thing.version}: {REWRITE}")
        thing.members["TObject"] = base = Thing("TObject")
        self._fill_base(base)
        thing.members["fName"] = self._string()
        size = self._numbers(_INT)[0]
        if not 0 <= size <= len(self._data):
            raise ValueError(f"a list of {size} objects")
        if thing.kind == "TObjArray":
            thing.members["fLowerBound"] = self._numbers(_INT)[0]
        for _ in range(size):
            thing.items.append(self._pointer())
            if thing.kind != "TObjArray":
                thing.options.append(self._string())
        if self._cuts and thing.kind == "TObjArray":
            thing.items = [item for item in thing.items if item is not None]

    def _pointer(self) -> Thing | None:
        start = self._at
        word = self._numbers(_WORD)[0]
        end = None
        if word & _COUNT and word != _NEW:
            end = self._at + (word & ~_COUNT)
            start_tag, word = self._at, self._numbers(_WORD)[0]
        else:
            start_tag = start
        if not word & _CLASS:
            return self._known.get(word) if word else None
        if end is None:
            raise UserError(f"its tree has an object without a size: {REWRITE}")
        return self._object(start, start_tag, word, end)

    def _object(self, start: int, start_tag: int, word: int, end: int) -> Thing | None:
        """The object behind the tag `word` of its class."""
        if word == _NEW:
            kind, self._at = self._class_at(start_tag)
        else:
            kind, _ = self._class_at((word & ~_CLASS) - self._shift)
        cut = self._cuts and kind.startswith("TBranch")
        if cut and self._is_left_out(kind):
            self._at = end
            return None
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"objects inside objects, {self._depth} deep")
        found = self._known[start + self._shift] = Thing(kind)
        if kind == "TBasket":  # has no version in front, and no pointers
            found.rest = self._bytes(end - self._at)
        else:
            self._fill(found)
        self._depth -= 1
        if self._at != end:
            raise ValueError(f"a {kind} of {end - start} bytes, {self._at - start} of which were read")
        return None if cut and not found["fBranches"].items and found.name not in self._wanted else found

    def _class_at(self, at: int) -> tuple[str, int]:
        """The name of the class whose tag is at a position, and where the name ends."""
        end = self._data.find(b"\0", at + _WORD.size)
        if at < 0 or end < 0 or self._data[at : at + _WORD.size] != _WORD.pack(_NEW):
            raise ValueError(f"an object of a class at {at + self._shift}, where there is none")
        return self._data[at + _WORD.size : end].decode(errors="replace"), end + 1

    def _is_left_out(self, kind: str) -> bool:
        """Whether the branch here holds no others, and its name is none of those wanted."""
        start, steps = self._at, list[Step]()
        while not steps or steps[0].name == ":TBranch":  # the base of all other kinds
            steps, kind = _of_class(kind, self._numbers(_HEADER)[1]) or [], "TBranch"
        begin = self._at
        name = self._named()
        self._at = begin
        for step in takewhile(lambda step: step.name != "fBranches", steps):
            size = step.what.size if step.kind == "numbers" else self._numbers(_WORD)[0] & ~_COUNT
            self._at += size
        self._named()
        inside, self._at = self._numbers(_INT)[0], start
        return not inside and name.decode(errors="surrogateescape") not in self._wanted

    def _named(self) -> bytes:
        """The name at the beginning of a TNamed or of a list."""
        self._at += _HEADER.size
        self._fill_base(Thing("TObject"))
        return self._string()


_INT, _WORD, _HEADER, _SHORT = (struct.Struct(form) for form in (">i", ">I", ">IH", ">H"))


def write_thing(thing: Thing, key_size: int) -> bytes:
    """The buffer of an object, in whose offsets its key of `key_size` bytes counts: the inverse of `read_thing`.

    Raises ValueError for numbers that are too large, as those of a damaged file may be with others added.
    """
    writer = _Writer(key_size)
    try:
        writer.outermost(thing)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a {thing.kind} with numbers that are too large") from error
    return bytes(writer.data)


class _Writer:
    """A buffer, and the offsets of the objects and classes in it."""

    def __init__(self, key_size: int) -> None:
        self.data, self._shift = bytearray(), key_size + _MAPPED
        self._known: dict[int | str, int] = {}

    def outermost(self, thing: Thing) -> None:
        self._known[id(thing)] = _SELF
        self._put(thing)

    def _string(self, text: bytes) -> None:
        self.data += bytes([len(text)]) if len(text) < 255 else b"\xff" + _INT.pack(len(text))
        self.data += text

    def _put(self, thing: Thing) -> None:
        if thing.kind in ("TObject", "TBasket"):
            self.data += thing.rest
            return
        start = len(self.data)
        self.data += _HEADER.pack(0, thing.version)
        if thing.kind in _ARRAYS:
            self._put_list(thing)
        else:
            for step in _of_class(thing.kind, thing.version) or ():
                self._step(thing, step)
            self.data += thing.rest
        _WORD.pack_into(self.data, start, len(self.data) - start - 4 | _COUNT)

    def _step(self, thing: Thing, step: Step) -> None:
        if step.kind == "numbers":
            self.data += step.what.pack(*(thing.members[name] for name in _NAMED[step]))
        elif step.kind == "object":
            self._put(thing.members[step.name])
        elif step.kind == "string":
            self._string(thing.members[step.name])
        elif step.kind == "pointer":
            self._pointer(thing.members[step.name])
        elif step.kind == "array":
            flag, values = thing.members[step.name]
            self.data += bytes([flag]) + np.asarray(values, step.what[0]).tobytes()
        elif step.kind == "tarray":
            values = thing.members[step.name]
            self.data += _INT.pack(len(values) // step.what[0].itemsize) + values

    def _put_list(self, thing: Thing) -> None:
        self.data += thing.members["TObject"].rest
        self._string(thing.members["fName"])
        self.data += _INT.pack(len(thing.items))
        if thing.kind == "TObjArray":
            self.data += _INT.pack(thing.members["fLowerBound"])
        for place, item in enumerate(thing.items):
            self._pointer(item)
            if thing.kind != "TObjArray":
                self._string(thing.options[place])

    def _pointer(self, thing: Thing | None) -> None:
        if thing is None or id(thing) in self._known:
            self.data += _WORD.pack(0 if thing is None else self._known[id(thing)])
            return
        start = len(self.data)
        self.data += _WORD.pack(0)
        if known := self._known.get(thing.kind):
            self.data += _WORD.pack(known | _CLASS)
        else:
            self._known[thing.kind] = start + 4 + self._shift
            self.data += _WORD.pack(_NEW) + thing.kind.encode() + b"\0"
        self._known[id(thing)] = start + self._shift
        self._put(thing)
        _WORD.pack_into(self.data, start, len(self.data) - start - 4 | _COUNT)
