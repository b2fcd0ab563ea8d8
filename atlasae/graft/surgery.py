"""What is done to the fields of an RNTuple, and undone: branches taken out, others put in their place."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from atlasae.errors import UserError
from atlasae.graft.buffers import REWRITE
from atlasae.graft.elements import BITS, CUT, HEAD_OF_FLOAT, QUANTIZED, can_be_made, holds, kind_for
from atlasae.graft.fields import (
    COLLECTION,
    RECORD,
    Field,
    Names,
    NtupleColumn,
    TakenField,
    Untyped,
    dotted,
    find,
    leaf,
    list_of,
    members,
    put_back,
    records,
    steps_in,
    take_fields,
    walk_fields,
)  # fmt: skip
from atlasae.graft.ntuple import Fill, Ntuple

_FLOATS = {"float": "<f4", "double": "<f8"}


class Made(NamedTuple):
    """A branch that is put in: its dtype, whether it has lists, and the branch in whose place it is, if any."""

    dtype: str
    jagged: bool
    beside: str | None = None


class RoundedAs(NamedTuple):
    """How the numbers of a branch were rounded: to so many bits of the mantissa, or to `steps`, least number and step.

    Columns with few bits can then be made again.
    """

    mantissa: int | None = None
    steps: tuple[float, float] | None = None


@dataclass
class Surgery:
    """How to undo what was done: fields taken out, types lost, fields put in, and the field of each branch taken."""

    taken: list[TakenField] = field(default_factory=list)
    untyped: list[Untyped] = field(default_factory=list)
    made: list[Names] = field(default_factory=list)
    branches: dict[str, Names] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without what is empty, as defaults are."""
        return asdict(self, dict_factory=lambda facts: {name: value for name, value in facts if value})

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Surgery":
        """What `to_json` gave; raises ValueError for anything else."""
        return msgspec.convert(facts, cls)


def operate(ntuple: Ntuple, numbers: Mapping[str, int], made: Mapping[str, Made]) -> tuple[list[Fill], Surgery]:
    """Take out the fields with these `numbers`, by branch, and put in those `made`; returns the columns to be filled.

    Changes the fields of `ntuple`. A branch made beside a member of records becomes one too, and beside a projected
    field a projected one. A name with a dot is that of a member of a collection, made with it. Raises UserError for
    what can't be taken out. Top-level fields that are there already, such as the number of jets, stay as they are.
    """
    fields, paths = ntuple.fields, {one.number: path for path, one in walk_fields(ntuple.fields)}
    surgery = Surgery(branches={branch: paths[number] for branch, number in numbers.items()})
    fills, known = list[Fill](), {one.name for one in fields}
    for name, new in made.items():
        if new.beside is None and name in known:
            continue
        beside = surgery.branches[new.beside] if new.beside else None
        fills += _put_in(fields, name, new, beside, surgery.made)
    surgery.taken, surgery.untyped = take_jets(fields, surgery.branches.values())
    return fills, surgery


def take_jets(fields: list[Field], paths: Iterable[Names]) -> tuple[list[TakenField], list[Untyped]]:
    """Take out fields with these paths; returns how to put them back, raises UserError for what can't be taken out."""
    gone = {number for path in paths for number in numbers_at(fields, path)}
    _refuse_late(fields, gone)
    return take_fields(fields, gone, lists_stay=True)


def numbers_at(fields: Sequence[Field], path: Names) -> list[int]:
    """The id of a field, and that of the member of records that it projects."""
    found = (find(fields, one).number for one in _real(fields, path))
    return [number for number in found if number is not None]


def other_fields(fields: Sequence[Field], paths: Iterable[Names]) -> set[int]:
    """The ids of all fields but those with these paths, those that they project or are in, and the sizes of these."""
    kept = {real for path in paths for real in _real(fields, path)}
    above = {path[:end] for path in kept for end in range(1, len(path))}
    kept |= {path for path, one in walk_fields(fields) if one.shows_size and one.origin in kept | above}

    def is_kept(path: Names) -> bool:
        return path in above or any(path[:end] in kept for end in range(1, len(path) + 1))

    others = (one.number for path, one in walk_fields(fields) if not is_kept(path))
    return {number for number in others if number is not None}


def can_be_taken(fields: Sequence[Field], number: int) -> bool:
    """Whether the numbers of the field with this id can be taken out and made again, in columns of the same types."""
    path = next(path for path, one in walk_fields(fields) if one.number == number)
    real = _real(fields, path)[-1]
    above = [find(fields, real[:end]) for end in range(1, len(real))]
    inside = [one for _, one in walk_fields([find(fields, real)])]
    columns = [column for one in (*above, *inside) for column in one.columns]
    made = all(can_be_made(column.kind) and not (column.late or column.representation) for column in columns)
    return made and all(one.role in (COLLECTION, RECORD) and one.size is None for one in above)


def _refuse_late(fields: Sequence[Field], numbers: Collection[int]) -> None:
    """Raise UserError for fields that were added while events were written: the first events have none of them."""
    for path, one in walk_fields(fields):
        if one.number in numbers and any(inner.late for _, inner in walk_fields([one])):
            raise UserError(f"field '{'.'.join(path)}' was added while events were written: {REWRITE}")


def _real(fields: Sequence[Field], path: Names) -> list[Names]:
    """The path of a field, and that of the member of records whose numbers it projects."""
    one = _innermost(find(fields, path))
    return [path] if one.origin is None else [path, one.origin]


def _innermost(one: Field) -> Field:
    return _innermost(one.fields[0]) if one.role == COLLECTION else one


def _put_in(fields: list[Field], name: str, new: Made, beside: Names | None, made: list[Names]) -> list[Fill]:
    """Put in a branch; returns its columns."""
    around, dot, last = name.rpartition(".")
    if beside is None and dot:
        return _in_records(fields, around, leaf(last, new.dtype), name, made)
    member = _real(fields, beside)[-1] if beside else ()
    if len(member) > 1:
        one = leaf(last if beside == member else name, new.dtype)
        _append(fields, _records_of(around, member) if beside == member else member[:-1], one, made)
        if beside != member:
            fields.append(_projection(fields, name, (*member[:-1], one.name), one))
            made.append((name,))
        return [Fill(one.columns[0], name, ends=False)]
    one = list_of(name, leaf("_0", new.dtype)) if new.jagged else leaf(name, new.dtype)
    _append(fields, (), one, made)
    return fills_of(name, one)


def _records_of(name: str, member: Names) -> Names:
    """The path of the records of this name that a member is in, also in records inside of them: of Jet.momentum.x."""
    return next((member[:end] for end in range(len(member) - 1, 0, -1) if dotted(member[:end]) == name), member[:-1])


def _in_records(fields: list[Field], around: str, one: Field, name: str, made: list[Names]) -> list[Fill]:
    """Put a member into the records of a collection, which the first of its members makes."""
    fills = list[Fill]()
    if (around,) not in made:
        collection = list_of(around, records("_0", []))
        _append(fields, (), collection, made)
        fills = [Fill(collection.columns[0], name, ends=True)]
    find(fields, (around, "_0")).fields.append(one)
    return [*fills, Fill(one.columns[0], name, ends=False)]


def _append(fields: list[Field], path: Names, one: Field, made: list[Names]) -> None:
    members(fields, path).append(one)
    made.append((*path, one.name))


def _projection(fields: Sequence[Field], name: str, member: Names, one: Field) -> Field:
    """A list of the numbers of a member of records, which has no columns of its own."""
    ends = (member[:end] for end in range(len(member) - 1, 0, -1))
    collection = next(path for path in ends if find(fields, path).role == COLLECTION)
    inner = Field("_0", type_name=one.type_name, origin=member)
    return Field(name, COLLECTION, f"std::vector<{one.type_name}>", origin=collection, fields=[inner])


def fills_of(branch: str, one: Field) -> list[Fill]:
    """The columns of a field that a branch fills: of lists, or of numbers, or of a member of records."""
    if one.role != COLLECTION:  # an array of fixed size has its numbers in a field inside, one after the other
        return [Fill(one.columns[0], branch, ends=False)] if one.columns else fills_of(branch, one.fields[0])
    return [Fill(one.columns[0], branch, ends=True), *fills_of(branch, one.fields[0])]


def undo(
    ntuple: Ntuple,
    surgery: Surgery,
    rounded: Mapping[str, RoundedAs] | None = None,
    same: Collection[str] = (),
) -> list[Fill]:
    """Make the fields of `ntuple` what they were before `operate`; returns the columns of the branches.

    `ntuple` may be one that ROOT has merged. `rounded` has branches with rounded numbers, whose columns may have few
    bits again; columns of the branches `same` are as they were. Raises ValueError where the RNTuple lacks fields that
    were made.
    """
    fields = ntuple.fields
    put_back(fields, surgery.made, surgery.taken, surgery.untyped)
    fills = list[Fill]()
    for branch, path in surgery.branches.items():
        one = find(fields, _real(fields, path)[-1])
        for _, inner in walk_fields([one]):
            known = (rounded or {}).get(branch, RoundedAs())
            if branch not in same:
                inner.columns = [_plain(column, inner, known) for column in inner.columns if not column.representation]
        fills += fills_of(branch, one)
    filled = {id(fill.column) for fill in fills}
    if any(c.number is None and id(c) not in filled for _, one in walk_fields(fields) for c in one.columns):
        raise ValueError("some columns of the RNTuple are of no branch")
    return fills


def _plain(column: NtupleColumn, one: Field, rounded: RoundedAs) -> NtupleColumn:
    """A column for the same numbers, not begun late; it has few bits only if numbers were rounded to fit these."""
    dtype = _FLOATS.get(one.type_name)
    if len(one.columns) == 1 and _fits(column, rounded):
        return NtupleColumn(column.kind, column.bits, limits=column.limits)
    if dtype is None or holds(column.kind, np.dtype(dtype)):
        return NtupleColumn(column.kind, column.bits)
    kind = kind_for(dtype)
    return NtupleColumn(kind, BITS[kind])


def _fits(column: NtupleColumn, rounded: RoundedAs) -> bool:
    """Whether a column with few bits holds numbers that were rounded so."""
    if column.kind == CUT:
        return rounded.mantissa is not None and HEAD_OF_FLOAT + rounded.mantissa <= column.bits
    return column.kind == QUANTIZED and column.limits is not None and rounded.steps == steps_in(column)
