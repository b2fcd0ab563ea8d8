"""Fields of RNTuples: records are split into their members, and put together again.

The path of a member is `Jet[].p4.pt`: a collection (`[]`) of records, each with a record `p4` and its number `pt`. The
member's name is the same without brackets, as in ROOT and uproot.
"""

from __future__ import annotations  # `atlasae info` does without awkward

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.files.branches import LIST, Branch, Unwritable
from atlasae.report import short

_ANONYMOUS = "_"  # prefix of the names that ROOT's RNTupleImporter gives to collections: `_collection0`
_QUANTIZED = 0x1D  # column type Real32Quant
_CARDINALITY = "-cardinality"  # suffix of the column of a field RNTupleCardinality

# Types of numbers in C++; the column may store fewer bits.
_NUMBERS = {f"std::{sign}int{bits}_t": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NUMBERS |= {"float": "float32", "double": "float64", "bool": "bool"}
# Types that uproot writes as well; an RVec becomes a vector, which ROOT reads as either, a cardinality an integer.
_KEPT = {"std::vector", "ROOT::VecOps::RVec", "std::array", "std::string", "std::optional", "ROOT::RNTupleCardinality"}

_Members: TypeAlias = "dict[str, ak.Array | _Members]"  # of records at any depth


@dataclass(frozen=True)
class Leaf:
    """A field, or a member of records at any depth, that is read by itself; `form` is its awkward form."""

    name: str
    place: str
    field: Any
    form: Any

    def read(self, start: int, stop: int) -> ak.Array:
        """Its values for entries [start, stop), with the number type that it has in C++."""
        if not self._quantized:
            array = self._array(start, stop)
            return array if self.number in (None, self._stored) else ak.values_astype(array, self.number)
        with _steps_kept(self.field.ntuple):
            array = self._array(start, stop)
        return ak.transform(partial(_dequantized, self._quantized[0], str(self.number or self._stored)), array)

    def _array(self, start: int, stop: int) -> ak.Array:
        return self.field.array(entry_start=start, entry_stop=stop, array_cache=None)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns it is made of, outermost first; leaves with the same columns have the same data."""
        return tuple(reversed(re.findall(rf'"column-(\d+(?:{_CARDINALITY})?)', self.form.to_json())))

    @cached_property
    def _quantized(self) -> list[Any]:
        """The columns of its numbers if any is Real32Quant, which stores steps between two bounds; else empty."""
        column = next(reversed(self.columns), "")
        if not column.isdigit():
            return []
        ntuple = self.field.ntuple
        field = ntuple.column_records[int(column)].field_id
        columns = [ntuple.column_records[record.idx] for record in ntuple._column_records_dict[field]]
        return columns if any(record.type == _QUANTIZED for record in columns) else []

    @property
    def steps(self) -> tuple[float, float] | None:
        """The least number and the step of numbers in a Real32Quant column; None for others."""
        if len(self._quantized) != 1 or self.lost_steps:
            return None
        (column,) = self._quantized
        return float(column.min_value), _step(column)

    @property
    def lost_steps(self) -> bool:
        """Whether some entries have zeros (a column that begins late) or another encoding than quantised numbers."""
        return len(self._quantized) > 1 or any(record.first_element_index for record in self._quantized)

    @property
    def projected(self) -> bool:
        """Whether this is a projected field: another name for the data of another field."""
        return self.field.record.source_field_id is not None

    @property
    def cardinality_of(self) -> str | None:
        """The column of the collection whose size this field is; None for other fields."""
        first = next(iter(self.columns), "")
        return first.removesuffix(_CARDINALITY) if first.endswith(_CARDINALITY) else None

    @property
    def number(self) -> str | None:
        """The dtype of its numbers in C++; None for a field without numbers, or with an unknown type."""
        words = re.findall(r"[\w:]+", re.sub(r",\d+>", ">", self.field.typename))
        return _NUMBERS.get(words[-1]) if words and self._stored else None

    @property
    def keeps_type(self) -> bool:
        """Whether the field that uproot writes has the same C++ type."""
        words = set(re.findall(r"[\w:]+", self.field.typename))
        return all(word in _NUMBERS or word in _KEPT or word.isdigit() for word in words)

    @cached_property
    def _stored(self) -> str | None:
        """The dtype of its column of numbers; None for a field without numbers."""
        form = self.form
        while (form.is_list or form.is_option) and form.parameter("__array__") != "string":
            form = form.content
        return str(form.primitive) if form.is_numpy else None


@contextmanager
def _steps_kept(ntuple: Any) -> Iterator[None]:
    """Read Real32Quant columns as integers: uproot would turn them into float32, though they may be doubles."""
    known = ntuple.post_process
    ntuple.post_process = lambda buffer, how: None if how.dtype_str == "real32quant" else known(buffer, how)
    try:
        yield
    finally:
        del ntuple.post_process


def _dequantized(column: Any, number: str, layout: Any, **_: Any) -> Any:
    """The numbers of a Real32Quant column from its integers, computed as in ROOT."""
    if not layout.is_numpy:
        return None
    return ak.contents.NumpyArray((layout.data.view(np.uint32) * _step(column) + column.min_value).astype(number))


def _step(column: Any) -> float:
    return float((column.max_value - column.min_value) / (2**column.nbits - 1))


def tell_fields(ntuple: Any) -> None:
    """Tell each field of an RNTuple those in it: uproot goes through all fields for each, four seconds for 1,500."""
    known, within = ntuple.all_fields, defaultdict[int, list[Any]](list)
    for number, record in enumerate(ntuple.field_records):
        if record.parent_field_id != number:
            within[record.parent_field_id].append(known[number])
    for number in reversed(range(len(known))):  # fields are stored before those in them
        inner = ([*one.fields] if one.is_anonymous else [one] for one in within[number])
        known[number]._fields = [one for some in inner for one in some]


def leaves_of(top: Any) -> Iterator[Leaf | Unwritable]:
    """The members of a top-level field, in order, or the field itself; raises what uproot raises on unknown types."""
    if "." in top.name:  # uproot writes such names, which ROOT forbids, and can't read them
        yield Unwritable(top.name, "a dot separates a record from a member, and can't be in a name")
    else:
        yield from _leaves(top, top.to_akform()[0].content(top.name), top.name, None)


def _leaves(found: Any, form: Any, place: str, around: Any) -> Iterator[Leaf | Unwritable]:
    """The same for a member at `place`; `around` is the form of the collection around it: lists in that stay whole."""
    records = form.content if _is_list(form) and around is None else form
    if not (records.is_record and records.fields):
        whole = ak.forms.ListOffsetForm(around.offsets, form, form_key=around.form_key) if around else form
        yield Leaf(place.replace(LIST, "") if "." in place else place, place, found, whole)
        return
    inside = around if records is form else form
    for member in found.fields:
        where = f"{place}{LIST * (records is not form)}.{member.name}"
        if "." in member.name or LIST in found.name + member.name:
            name = f"{place.replace(LIST, '')}.{member.name}"
            yield Unwritable(name, f"'.' and '{LIST}' separate records from members, and can't be in a name")
        else:
            yield from _leaves(member, records.content(member.name), where, inside)


def _is_list(form: Any) -> bool:
    return form.is_list and not form.is_regular and form.parameter("__array__") != "string"


def other_names(leaves: Sequence[Leaf]) -> dict[str, str]:
    """Leaves with the same data as another leaf, each with the name of the leaf that is kept.

    Kept is the collection's member rather than its projection, unless RNTupleImporter made up the collection's name:
    then `Jet_pt`, rather than `_collection0.Jet_pt`.
    """
    alike = defaultdict[tuple[object, ...], list[Leaf]](list)
    for leaf in leaves:
        if leaf.columns and leaf.cardinality_of is None:
            alike[leaf.columns, str(leaf.form.type), leaf.number].append(leaf)
    names: dict[str, str] = {}
    for group in alike.values():
        stays, *others = sorted(group, key=lambda leaf: (leaf.name.startswith(_ANONYMOUS), leaf.projected))
        if any(leaf.projected for leaf in group):
            names |= {leaf.name: stays.name for leaf in others}
    return names


def is_hidden(name: str) -> bool:
    """Whether RNTupleImporter made the name up."""
    return name.startswith(_ANONYMOUS)


def counters_of(leaves: Sequence[Leaf]) -> dict[str, str]:
    """The fields that are the sizes of collections, by the column of the collection."""
    return {leaf.cardinality_of: leaf.name for leaf in reversed(leaves) if leaf.cardinality_of is not None}


def branch_of(leaf: Leaf, counter: str | None) -> Branch | Unwritable:
    """The branch that a leaf becomes; where a TTree can't hold it, an Unwritable with the branch for an RNTuple."""
    if leaf.lost_steps:
        return Unwritable(
            leaf.name, "some entries have another encoding of its numbers, and uproot does not tell which"
        )
    kind = kind_of(leaf.form, leaf.number)
    if kind is not None:
        return Branch(leaf.name, *kind, counter if kind[1] else None)
    if not leaf.columns:
        return Unwritable(leaf.name, "it holds no values")
    why = f"a TTree written by uproot holds no {short(leaf.form.type)}"
    if not _writable(leaf.form) and leaf.number is None:
        return Unwritable(leaf.name, f"uproot writes no {short(leaf.form.type)}")
    array = ak.Array(leaf.form.length_zero_array())
    array = ak.values_astype(array, leaf.number) if leaf.number else array
    return Unwritable(leaf.name, why, Branch(leaf.name, str(array.type.content), jagged=False))


def kind_of(form: Any, number: str | None = None) -> tuple[str, bool] | None:
    """The dtype of a branch of this form and whether it is jagged; None where a TTree can't hold it.

    `number` is the type of the numbers, if it differs from the form's.
    """
    if form.parameter("__array__") == "string":
        return "string", False
    jagged = form.is_list and not form.is_regular
    inner = form.content if jagged else form
    while inner.is_regular and not jagged:
        inner = inner.content
    fixed = form.is_regular or len(getattr(inner, "inner_shape", ())) > 0
    dtype = np.dtype(number or inner.primitive) if inner.is_numpy else np.dtype(object)
    if (jagged and fixed) or dtype.kind not in "biuf" or dtype == np.float16:
        return None
    return dtype.str + " array" * fixed, jagged


def _writable(form: Any) -> bool:
    """Whether uproot writes this form to an RNTuple."""
    if form.is_record:
        return bool(form.fields) and all(_writable(form.content(name)) for name in form.fields)
    if form.is_list or form.is_option:
        return _writable(form.content)
    return bool(form.is_numpy) and form.primitive != "float16"


def assemble(columns: Mapping[str, ak.Array], places: Mapping[str, str]) -> ak.Array:
    """One array of records from columns, of which those in `places` become members at these paths.

    Raises ValueError where the members of a collection have different numbers of values.
    """
    top: _Members = {}
    for name, array in columns.items():
        *parents, last = places.get(name, name).split(".")
        records = top
        for parent in parents:
            records = records.setdefault(parent, {})
        records[last] = array
    return ak.Array(_record(top))


def _record(members: _Members) -> Any:
    """An array of records from members, which may be records and collections themselves."""
    contents = {
        key if isinstance(member, ak.Array) else key.removesuffix(LIST): _content(key, member)
        for key, member in members.items()
    }
    names = None if all(map(str.isdigit, contents)) else list(contents)
    return ak.contents.RecordArray(list(contents.values()), names)


def _content(key: str, member: ak.Array | _Members) -> Any:
    if isinstance(member, ak.Array):
        return member.layout
    if not key.endswith(LIST):
        return _record(member)
    counts = [ak.to_numpy(ak.num(array)) for array in _arrays(member)]
    if any(not np.array_equal(count, counts[0]) for count in counts[1:]):
        raise ValueError(f"the members of '{key.removesuffix(LIST)}' have different numbers of values")
    return _listed(_record(_flattened(member)), counts[0])


def _listed(content: Any, counts: npt.NDArray[np.int64]) -> Any:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content)


def _arrays(members: _Members) -> Iterator[ak.Array]:
    for member in members.values():
        if isinstance(member, ak.Array):
            yield member
        else:
            yield from _arrays(member)


def _flattened(members: _Members) -> _Members:
    return {
        key: ak.flatten(member) if isinstance(member, ak.Array) else _flattened(member)
        for key, member in members.items()
    }
