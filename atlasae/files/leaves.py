"""Leaves of TTrees that uproot reads wrongly or not at all: Double32_t, Float16_t, strings, lists without offsets.

And their titles: brackets in a title give a shape, so branch names must appear there without brackets. For a branch
`x[3]`, ROOT writes the leaf title `x`. uproot writes `x[3]`, and reads that as a shape, as parts of ROOT do. Here the
title becomes `x_3_`, which has the same length; the leaf keeps the name of its branch, by which TTreeReader looks for
it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import uproot

from atlasae.errors import DamagedFileError, UserError
from atlasae.files.branches import plain
from atlasae.files.plain import PlainBranch

_DTYPES = {"Double32_t": "f8", "Float16_t": "f4"}  # types in memory
_LEAVES = {"TLeafD32": "Double32_t", "TLeafF16": "Float16_t"}
_KINDS = {uproot.const.kDouble32: "Double32_t", uproot.const.kFloat16: "Float16_t"}
_PLAIN_BITS = 12  # mantissa bits of a Float16_t without a range
_MOST_BITS = 14  # mantissa bits: sign and rounding take two of 16
_OBJECTS = 61, 62  # kinds of members that are objects of another class
_STORED = {5: ">f4", 8: ">f8", 9: ">f4", 3: ">i4", 13: ">u4"}  # kinds of members that are numbers; 9: a Double32_t
_FOUR = 4  # numbers of each jet in arrays such as `jet_p4[njet][4]`
_ORDERS = [  # of the variables of such jets
    *(("pt", "eta", "phi", "m"), ("pt", "eta", "phi", "e"), ("px", "py", "pz", "e"), ("px", "py", "pz", "m")),
    ("e", "px", "py", "pz"),
]
_HEADS = 10, 16  # bytes in front of a vector of objects: of their count, version and perhaps checksum, and number
_VERSION_AT, _BY_MEMBER = 4, 0x40  # of a vector's version, in the first of its two bytes: kStreamedMemberWise
_COUNTING = 3, 4  # fType of the branch of a TClonesArray or vector that is split: the number of objects
_ONE, _ARRAY, _POINTER = range(3)  # offsets of fType: a number, a fixed array, a pointer with a counter
_VECTOR_BYTES, _POINTER_BYTES = 10, 1  # bytes in front of the numbers of an entry
_OWN_RANGE = re.compile(r"(?:^|/)[df] *(\[[^\[\]]*\])\s*$")  # in `x[n]/d[0,1]`, or in older files `d[0,1]`
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
_PI = {"2pi": 2.0, "2*pi": 2.0, "twopi": 2.0, "pi/2": 0.5, "pi/4": 0.25, "pi": 1.0}

_BEFORE_NAME = 8 + len(b"TLeafX\0") + 28  # bytes of a leaf: class tag, class name, headers of its bases
_KEYS_TO_TAGS = 2  # ROOT adds 2 to the offset of an object in a key: kMapOffset
_LONG = 255  # from this length on, ROOT stores it in five bytes instead of one


@dataclass(frozen=True)
class Truncation:
    """How a Double32_t or Float16_t is stored: as n for `low + n / factor`, or with a mantissa of `bits` bits."""

    low: float = 0.0
    factor: float = 0.0
    bits: int = 0


class AsSteps(uproot.AsDtype):  # type: ignore[misc]  # uproot has no types
    """Integers n >= 0 that stand for `low + n / factor`: Double32_t and Float16_t with a range."""

    def __init__(self, low: float, factor: float, to: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        super().__init__((">u4", shape), (to, shape))
        self._low, self._factor = low, factor

    @property
    def truncation(self) -> "Truncation":
        """How the numbers are stored."""
        return Truncation(self._low, self._factor)

    def basket_array(self, *arguments: Any, **named: Any) -> Any:
        """The numbers of a basket, computed as in ROOT."""
        steps = super().basket_array(*arguments, **named)
        return (steps / self._factor + self._low).astype(self.to_dtype.base)


class AsShortFloats(uproot.AsDtype):  # type: ignore[misc]  # uproot has no types
    """Floats of three bytes: one of exponent, two with the sign above a mantissa of `bits` bits."""

    def __init__(self, bits: int, to: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        super().__init__(([("exponent", "u1"), ("mantissa", ">u2")], shape), (to, shape))
        self._bits = bits

    @property
    def truncation(self) -> "Truncation":
        """How the numbers are stored."""
        return Truncation(bits=self._bits)

    def basket_array(self, *arguments: Any, **named: Any) -> Any:
        """The numbers of a basket, computed as in ROOT."""
        parts, sign = super().basket_array(*arguments, **named), 1 << (self._bits + 1)
        mantissa = parts["mantissa"].astype(np.uint32)
        # Rounding may carry into the bit above the mantissa, which is ORed into the lowest bit of the exponent.
        words = parts["exponent"].astype(np.uint32) << 23 | (mantissa & (sign - 1)) << (23 - self._bits)
        return (words | ((mantissa & sign) != 0).astype(np.uint32) << 31).view(np.float32).astype(self.to_dtype.base)


class AsTexts(uproot.AsStrings):  # type: ignore[misc]  # uproot has no types
    """Strings, each after its length; an empty C string takes no bytes, not even a length."""

    def basket_array(self, data: Any, byte_offsets: Any, basket: Any, branch: Any, *others: Any, **named: Any) -> Any:
        """The strings of a basket; raises UserError where there are no offsets and some strings are empty."""
        if byte_offsets is None:
            texts = super().basket_array(data, byte_offsets, basket, branch, *others, **named)
            if len(texts) != basket.num_entries:  # some strings are empty
                raise _without_offsets(branch)
            return texts
        starts, stops = _places(byte_offsets, basket)
        if np.any(stops < starts) or np.any(starts < 0) or np.any(stops > len(data)):
            raise ValueError("the offsets of its strings are not those of a basket")
        filled = stops > starts
        starts[filled] += self._before(data, starts[filled])
        if np.any(stops < starts):
            raise ValueError("its strings have no room for their lengths")
        offsets = np.concatenate([[0], np.cumsum(stops - starts)])
        indices = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], np.diff(offsets))
        return uproot.interpretation.strings.StringArray(offsets, data[indices].tobytes())

    def _before(self, data: Any, starts: npt.NDArray[Any]) -> Any:
        """The number of bytes in front of each string."""
        if self.length_bytes == "4":
            return self.header_bytes + 4
        lengths = np.append(data, np.uint8(0))[np.minimum(starts + self.header_bytes, len(data))]
        return self.header_bytes + np.where(lengths == 255, 5, 1)


class AsLists(uproot.AsJagged):  # type: ignore[misc]  # uproot has no types
    """Lists in a branch whose baskets may have no offsets; the counter then gives the lengths of the lists."""

    def basket_array(self, data: Any, byte_offsets: Any, basket: Any, branch: Any, *others: Any, **named: Any) -> Any:
        """The lists of a basket; raises UserError where there are neither offsets nor a counter."""
        if byte_offsets is None:
            if self.header_bytes or branch.count_branch is None:
                raise _without_offsets(branch)
            counts = _counts(branch, *branch.entry_offsets[basket.basket_num : basket.basket_num + 2])
            byte_offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]) * self.content.itemsize
            if np.any(counts < 0) or byte_offsets[-1] != len(data):
                raise ValueError(f"its counter gives {byte_offsets[-1]} bytes, and its basket has {len(data)}")
        else:
            starts, stops = _places(byte_offsets, basket)
            byte_offsets = np.append(starts, stops[-1:])
        return super().basket_array(data, byte_offsets, basket, branch, *others, **named)


@dataclass(frozen=True)
class Structure:
    """How a branch stores structures of numbers: as a struct, or as objects of a class that is not split.

    `numbers` are dtype and offset of each in the bytes of a structure, of which there are `size`; `head` is the number
    of bytes in front of those of an entry. A list of structures is `jagged`. In its head, the number of bytes that
    follow is at `bytes_at`, and that of structures stands `behind` bytes and four more from the end. With `by_member`,
    a list has the first number of all its structures, then the second one of all, and so on.
    """

    numbers: Mapping[str, tuple[str, int]]
    size: int
    head: int = 0
    jagged: bool = False
    bytes_at: int = 0
    behind: int = 0
    by_member: bool = False

    def number(self, name: str, structures: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One number of each structure, from the bytes of structures, or of entries with one each."""
        dtype, offset = self.numbers[name]
        width, at = np.dtype(dtype).itemsize, offset + (0 if self.jagged else self.head)
        rows = structures.view(np.uint8).reshape(len(structures), structures.itemsize)
        return np.asarray(_column(rows, at, width).view(dtype), np.dtype(dtype).newbyteorder("="))


def structure_of(branch: Any) -> Structure | None:
    """The structures that a branch stores, or None if these are not plain numbers; raises what uproot raises."""
    if _leaf_classes(branch) == ["TLeafObject"] and branch.member("fClassName") == "TClonesArray":
        return _structure_of_clones(branch)
    found = _class_of_object(branch) or branch.interpretation
    if type(found) is uproot.AsObjects:
        found = _numbers_of_class(branch) or found
    jagged, head = isinstance(found, uproot.AsJagged), 0
    if jagged:
        found, head = found.content, found.header_bytes
    dtype = found.from_dtype if isinstance(found, uproot.AsDtype) else None
    if dtype is not None and jagged and dtype.subdtype and dtype.shape == (_FOUR,):
        dtype = np.dtype([(name, dtype.base) for name in _names_of_four(f"{branch.name} {branch.title}")])
    counted = not jagged and any(leaf.member("fLeafCount") for leaf in branch.member("fLeaves"))
    if dtype is None or dtype.names is None or counted:
        return None
    head, size = _head_and_size(branch, dtype.itemsize, jagged, head)
    numbers = _numbers_in(dtype, size - dtype.itemsize)
    by_member = head in _HEADS and jagged and len(_tops(dtype)) > 1 and _is_by_member(branch)
    whole = len(_tops(dtype)) == len(numbers) == len(dtype.names) and size == dtype.itemsize
    if not numbers or head < 0 or size < dtype.itemsize or (by_member and not whole):
        return None
    return Structure(numbers, size, head, jagged, by_member=by_member)


def _tops(dtype: Any) -> set[str]:
    """The members of a class, of whose members a structure has the numbers."""
    return {name.partition("/")[0] for name in dtype.names}


def _is_by_member(branch: Any) -> bool:
    """Whether vectors are stored member by member, as ROOT does by default: the first one's version tells."""
    starts, _ = _places(branch.basket(0).byte_offsets, branch.basket(0))
    return bool(branch.basket(0).data[starts[0] + _VERSION_AT] & _BY_MEMBER)


def _names_of_four(text: str) -> list[str]:
    """The variables whose names a text has one after the other, as `jet_PtEtaPhiM` has; 0 to 3 where it has none."""
    letters = re.sub("[^a-z]", "", text.lower())
    return next((list(names) for names in _ORDERS if "".join(names) in letters), [str(n) for n in range(_FOUR)])


def _numbers_in(dtype: Any, before: int) -> dict[str, tuple[str, int]]:
    """The dtypes and offsets of the numbers of a structure, with bytes in front; empty if it has anything else."""
    fields = {name: dtype.fields[name] for name in dtype.names or () if "@" not in name}
    if any(one.subdtype or one.kind not in "fiu" for one, _ in fields.values()):
        return {}
    return {name.replace("/", "."): (one.str, offset + before) for name, (one, offset) in fields.items()}


def _numbers_of_class(branch: Any) -> Any:
    """The numbers of a class that has nothing else, by its streamers: uproot strides no Double32_t."""
    name, prefix = branch.member("fClassName", none_if_missing=True), ""
    elements = _members_of(branch.file, name)
    while len(elements) == 1 and elements[0].member("fType") in _OBJECTS:
        prefix += f"{elements[0].name}/"
        elements = _members_of(branch.file, elements[0].typename)
    kinds = [_STORED.get(element.member("fType")) for element in elements]
    if None in kinds or any(element.title or element.member("fArrayLength") for element in elements):
        return None
    pairs = zip(elements, kinds, strict=True)
    return uproot.AsDtype(np.dtype([(prefix + element.name, kind) for element, kind in pairs])) if elements else None


def _members_of(file: Any, name: str | None) -> Any:
    """The streamer elements of a class, if the file has them."""
    streamer = file.streamer_named(name) if name else None
    return streamer.elements if streamer is not None else []


def is_stored_narrower(branch: Any) -> bool:
    """Whether numbers that are read as doubles are floats in the file, as a Double32_t is."""
    found = interpretation_of(branch)
    found = found.content if isinstance(found, uproot.AsJagged) else found
    return isinstance(found, uproot.AsDtype) and found.from_dtype.itemsize < found.to_dtype.itemsize


def _head_and_size(branch: Any, size: int, jagged: bool, head: int) -> tuple[int, int]:
    """The bytes in front of an entry and of a structure, found from the first basket; (-1, 0) if it has others."""
    if jagged and not head:
        return 0, _size_of_each(branch, size)
    basket = branch.basket(0) if branch.num_baskets else None
    if basket is None or not basket.num_entries:
        return -1, 0
    if not jagged:
        bytes_each, more = divmod(len(basket.data), int(basket.num_entries))
        return (-1, 0) if more else (bytes_each - size, size)
    if basket.byte_offsets is None:
        return -1, 0
    starts, stops = _places(basket.byte_offsets, basket)
    for front in _HEADS:
        if starts.min() < 0 or stops.max() > len(basket.data) or (stops - starts).min() < front:
            continue
        counts = basket.data[(starts + front - 4)[:, None] + np.arange(4)].view(">u4")[:, 0].astype(np.int64)
        found = np.unique((stops - starts - front)[counts > 0] / counts[counts > 0])
        if len(found) == 1 and found[0] == int(found[0]) and ((stops - starts == front) == (counts == 0)).all():
            return front, int(found[0])
    return -1, 0


def _size_of_each(branch: Any, size: int) -> int:
    """The bytes of a structure in lists without a head: more than its numbers take if each has a version in front."""
    above = branch.parent
    while above is not branch.tree and above.member("fType", none_if_missing=True) not in _COUNTING:
        above = above.parent
    if above is branch.tree or not branch.num_baskets:
        return size
    basket = branch.basket(0)
    number = int(above.array(uproot.AsDtype(">i4"), 0, int(basket.num_entries), library="np").sum())
    each, more = divmod(len(basket.data), number) if number else (size, 0)
    return size if more else each


def _text_at(data: bytes, at: int) -> tuple[str, int]:
    """A text behind the byte of its length, and where it ends."""
    end = at + 1 + int.from_bytes(data[at : at + 1], "big")
    return data[at + 1 : end].decode("ascii", "replace"), end


def _class_of_object(branch: Any) -> Any:
    """The interpretation of the objects of a branch with the name of their class in front of each, or None."""
    if _leaf_classes(branch) != ["TLeafObject"]:
        return None
    return _strided(branch.file, branch.member("fClassName"))


def _strided(file: Any, name: str) -> Any:
    model = file.class_named(name, "max")
    return model.strided_interpretation(file) if hasattr(model, "strided_interpretation") else None


def _leaf_classes(branch: Any) -> list[str]:
    return [leaf.classname for leaf in branch.member("fLeaves")]


def _structure_of_clones(branch: Any) -> Structure | None:
    """The objects of a TClonesArray that is not split, each behind a byte that says that it is there.

    In front of them: the name of the class of the array, bytes, version, TObject, name, class, number, lower bound.
    """
    if not branch.num_baskets:
        return None
    data = bytes(branch.basket(0).data)
    bytes_at = data.find(b"\0") + 1
    _, at = _text_at(data, bytes_at + 16)
    kind, at = _text_at(data, at)
    head = at + 8
    found = _strided(branch.file, kind.partition(";")[0]) if head <= len(data) else None
    if found is None or not (numbers := _numbers_in(found.from_dtype, 1)):
        return None
    structure = Structure(numbers, found.from_dtype.itemsize + 1, head, True, bytes_at, 4)
    return structure if _holds_clones(branch.basket(0), structure) else None


def _holds_clones(basket: Any, structure: Structure) -> bool:
    """Whether the entries of a basket have as many structures as they say: not if these are stored by member."""
    if basket.byte_offsets is None:
        return False
    starts, stops = _places(basket.byte_offsets, basket)
    if starts.min(initial=0) < 0 or stops.max(initial=0) > len(basket.data) or (stops - starts < structure.head).any():
        return False
    told = basket.data[(starts + structure.head - 8)[:, None] + np.arange(4)].view(">u4")[:, 0]
    return bool((stops - starts - structure.head == told * structure.size).all())


class AsMember(uproot.AsDtype):  # type: ignore[misc]  # uproot has no types
    """One number of each structure of a branch, which has one an entry."""

    def __init__(self, structure: Structure, name: str) -> None:
        dtype, offset = structure.numbers[name]
        super().__init__(dtype, np.dtype(dtype).newbyteorder("="))
        self._structure, self._offset = structure, offset

    def basket_array(self, data: Any, *others: Any, **named: Any) -> Any:
        """The numbers of a basket."""
        structure = self._structure
        rows = data.reshape(-1, structure.head + structure.size)[:, structure.head :]
        return super().basket_array(_column(rows, self._offset, self.itemsize), *others, **named)


class AsMemberOfLists(uproot.AsJagged):  # type: ignore[misc]  # uproot has no types
    """One number of each structure of a branch, which has lists of them."""

    def __init__(self, structure: Structure, name: str) -> None:
        dtype, offset = structure.numbers[name]
        super().__init__(uproot.AsDtype(dtype, np.dtype(dtype).newbyteorder("=")))
        self._structure, self._offset = structure, offset

    def basket_array(self, data: Any, byte_offsets: Any, basket: Any, branch: Any, *others: Any, **named: Any) -> Any:
        """The lists of numbers of a basket; raises ValueError where entries are not lists of such structures."""
        if byte_offsets is None:
            raise _without_offsets(branch)
        structure, width = self._structure, self.content.itemsize
        starts, stops = _places(byte_offsets, basket)
        counts = (stops - starts - structure.head) // structure.size
        if np.any(counts < 0) or np.any(starts + structure.head + counts * structure.size != stops):
            raise ValueError("its entries are no lists of structures")
        numbers = [(offset, np.dtype(kind).itemsize) for kind, offset in structure.numbers.values()]
        widths = [width for _, width in sorted(numbers)] if structure.by_member else [structure.size]
        rows = data[bytes_of_structures(starts + structure.head, counts, widths)]
        edges = np.concatenate([[0], np.cumsum(counts) * width])
        return super().basket_array(_column(rows, self._offset, width), edges, basket, branch, *others, **named)


def bytes_of_structures(
    starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], widths: Sequence[int]
) -> npt.NDArray[np.int64]:
    """The place of each byte of all structures (n x bytes of a structure) of lists that begin at `starts`.

    A list has the first members of all its structures, then the second ones, of these `widths` in bytes.
    """
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    before = np.repeat(np.cumsum(widths) - widths, widths)  # bytes of a structure in front of the member
    own = np.arange(sum(widths)) - before
    places = np.repeat(starts, counts)[:, None] + np.repeat(counts, counts)[:, None] * before
    return np.asarray(places + inside[:, None] * np.repeat(widths, widths) + own)


def _column(rows: Any, offset: int, width: int) -> Any:
    return np.ascontiguousarray(rows[:, offset : offset + width]).reshape(-1)


def interpretation_of_member(structure: Structure, name: str) -> Any:
    """The uproot interpretation of one number of each structure."""
    return AsMemberOfLists(structure, name) if structure.jagged else AsMember(structure, name)


def _places(byte_offsets: npt.NDArray[Any], basket: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The bytes [start, stop) of each entry of a basket.

    Offsets count from the beginning of the basket's key, so none is 0. With kGenerateOffsetMap, ROOT stores differences
    instead, of which the first is 0.
    """
    starts, stop, key = byte_offsets[:-1].astype(np.int64), byte_offsets[-1:].astype(np.int64), basket.member("fKeylen")
    if len(starts) and starts[0] == -key:
        starts = np.cumsum(starts + key)
    return starts, np.append(starts[1:], stop)


def _without_offsets(branch: Any) -> UserError:
    return UserError(f"branch '{branch.name}' has baskets without offsets, which uproot can't read: --drop it")


def interpretation_of(branch: Any) -> Any:
    """The uproot interpretation of a branch, with those that uproot gets wrong replaced; raises what uproot raises."""
    leaves = branch.member("fLeaves")
    if len(leaves) != 1:
        return branch.interpretation
    if leaves[0].classname == "TLeafC":
        return AsTexts()
    found = _truncated(branch, leaves[0]) or branch.interpretation
    if type(found) is uproot.AsStrings:
        return AsTexts(found.header_bytes, found.length_bytes)
    # Subclasses of AsJagged read objects, whose lengths are stored otherwise.
    return AsLists(found.content, found.header_bytes) if type(found) is uproot.AsJagged else found


def truncation_of(branch: Any) -> Truncation | None:
    """How the numbers of a branch are truncated; None where they are stored as floats, or are arrays."""
    found = interpretation_of(branch)
    found = found.content if isinstance(found, AsLists) and not found.header_bytes else found
    return found.truncation if isinstance(found, AsSteps | AsShortFloats) and not found.inner_shape else None


def is_of_numbers(branch: Any) -> bool:
    """Whether a branch holds numbers or lists of them, which are read at once."""
    found = interpretation_of(branch)
    return isinstance(found.content if isinstance(found, AsLists) else found, uproot.AsDtype)


def plain_numbers(branch: Any) -> PlainBranch | None:
    """Where a branch of plain numbers, of arrays or of lists of them, lies; None for others, or within a tree."""
    interpretation = interpretation_of(branch)
    head = int(interpretation.header_bytes) if type(interpretation) is AsLists else None
    found = interpretation if head is None else interpretation.content
    plain = type(found) is uproot.AsDtype and found.from_dtype.base.kind in "biuf"
    if not plain or (head is not None and found.inner_shape):
        return None
    return _lying(branch, found.from_dtype, found.to_dtype, head)


def plain_structures(branch: Any, structure: Structure) -> PlainBranch | None:
    """Where the bytes of structures lie, or of entries with one each; None where they are stored by member."""
    if structure.by_member:
        return None
    size, head = (structure.size, structure.head) if structure.jagged else (structure.head + structure.size, None)
    return _lying(branch, np.dtype(f"V{size}"), np.dtype(f"V{size}"), head)


def _lying(branch: Any, stored: Any, read: Any, head: int | None) -> PlainBranch | None:
    """Where a branch lies; None if some of its baskets are within the tree."""
    if len(branch.embedded_baskets):
        return None
    seeks, sizes = (branch.member(name) for name in ("fBasketSeek", "fBasketBytes"))
    return PlainBranch(np.asarray(branch.entry_offsets), seeks, sizes, stored, read, head)


def _counts(branch: Any, start: int, stop: int) -> npt.NDArray[Any]:
    """The lengths of the lists in entries [start, stop) of a branch, from its counter."""
    counter = branch.count_branch
    counts = counter.array(interpretation_of(counter), start, stop, array_cache=None, library="np")
    return np.asarray(counts[branch.count_leaf.member("fName")] if counts.dtype.names else counts)


def _truncated(branch: Any, leaf: Any) -> Any:
    """The interpretation of a Double32_t or Float16_t, stored with fewer bits than in memory; None for other types."""
    if leaf.classname in _LEAVES:
        own_range = _OWN_RANGE.search(leaf.member("fTitle"))
        return _listed(leaf, _numbers(_LEAVES[leaf.classname], own_range[1] if own_range else "", _shape(leaf)))
    if leaf.classname != "TLeafElement":
        return None
    held, kind = divmod(leaf.member("fType"), uproot.const.kOffsetL)
    if kind in _KINDS and held in (_ONE, _ARRAY):
        return _listed(leaf, _numbers(_KINDS[kind], _element(branch).title, _shape(leaf)))
    # A list inside a collection would be a list of lists.
    return None if branch.member("fType") else _truncated_list(branch, leaf)


def _listed(leaf: Any, numbers: Any) -> Any:
    return numbers if leaf.member("fLeafCount") is None else uproot.AsJagged(numbers)


def _truncated_list(branch: Any, leaf: Any) -> Any:
    """The same for a class member that is a list: a counted pointer, or a vector."""
    held, kind = divmod(leaf.member("fType"), uproot.const.kOffsetL)
    if kind in _KINDS and held == _POINTER:
        return uproot.AsJagged(_numbers(_KINDS[kind], _element(branch).title, ()), _POINTER_BYTES)
    vector = re.fullmatch(r"(?:std::)?vector<(Double32_t|Float16_t)>", _typename(branch))
    if vector and leaf.member("fLen") == 1:  # ROOT ignores the range of a vector
        return uproot.AsJagged(_numbers(vector[1], "", ()), _VECTOR_BYTES)
    return None


def _numbers(kind: str, title: str, shape: tuple[int, ...]) -> Any:
    """The interpretation of numbers of type `kind` (Double32_t or Float16_t), with the range in `title`, if any."""
    low, factor = read_range(title)
    if factor:
        return AsSteps(low, factor, _DTYPES[kind], shape)
    bits = int(low) or (_PLAIN_BITS if kind == "Float16_t" else 0)
    if bits == 0:
        return uproot.AsDtype((">f4", shape), ("f8", shape))
    if not 0 < bits <= _MOST_BITS:
        raise ValueError(f"ROOT can't read back its {kind} of {bits} bits")
    return AsShortFloats(bits, _DTYPES[kind], shape)


def read_range(title: str) -> tuple[float, float]:
    """The lowest number and the steps per 1 of a range `[low,high,bits]` in a title or comment, parsed as in ROOT.

    Without a range, the number of mantissa bits (0 if not given) and 0 steps.
    """
    found = [inner.split(",") for inner in re.findall(r"\[([^\]]*)\]", title)[:2] if "," in inner]
    if not found:
        return 0.0, 0.0
    given = re.match(r"\s*[-+]?\d+", found[0][2]) if len(found[0]) > 2 else None
    bits = int(given[0]) if given else 32
    bits = bits if 2 <= bits <= 32 else 32
    low, high = map(_bound, found[0][:2])
    if low < high:
        return low, min(2**bits, 2**32 - 1) / (high - low)
    return (bits if bits < 15 else low), 0.0


def _bound(text: str) -> float:
    """One end of a range, parsed as in ROOT: a multiple of pi, a number, or 0 for anything else."""
    text = text.lower().replace(" ", "")
    if "pi" in text:
        times = next(times for name, times in _PI.items() if name in text)
        return times * math.pi * (-1 if "-" in text else 1)
    number = _NUMBER.match(text)
    return float(number[0]) if number else 0.0


def _shape(leaf: Any) -> tuple[int, ...]:
    """The fixed dimensions of a leaf from its title; one dimension of all elements where the title contradicts fLen."""
    length = leaf.member("fLen")
    shape = tuple(map(int, re.findall(r"\[(\d+)\]", leaf.member("fTitle"))))
    if math.prod(shape) == length:
        return shape
    return (length,) if length > 1 else ()


def _typename(branch: Any) -> str:
    """The C++ class of a branch's values, without blanks."""
    member = branch.member("fParentName", none_if_missing=True) and branch.streamer
    name = member.typename if member else branch.member("fClassName", none_if_missing=True)
    return (name or "").replace(" ", "")


def _element(branch: Any) -> Any:
    """The streamer element of the class member that a branch holds; raises ValueError where the file has none."""
    versions = branch.file.streamers.get(branch.member("fClassName").replace(" ", ""), {})
    info, number = versions.get(branch.member("fClassVersion")), branch.member("fID")
    if info is not None and info.member("fCheckSum") == branch.member("fCheckSum"):
        member = dict(enumerate(info.elements)).get(number)
        if member is not None and member.name == re.sub(r"\[.*", "", branch.name).rpartition(".")[2]:
            return member
    raise ValueError("the file does not tell the range of its numbers")


# Titles


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


def _plain_title(name: str, title: str, count: str) -> str:
    """A leaf title without brackets in the names of its branch and counter; the shape stays."""
    shape = title.removeprefix(name).replace(f"[{count}]", f"[{plain(count)}]")
    return (plain(name) if title.startswith(name) else "") + shape


def _text(text: str) -> bytes:
    """A string as ROOT stores it: its length, then its bytes."""
    encoded = text.encode(errors="surrogateescape")
    size = bytes([len(encoded)]) if len(encoded) < _LONG else bytes([_LONG]) + len(encoded).to_bytes(4, "big")
    return size + encoded
