"""The fields of an RNTuple as a tree without ids: fields are taken out, put in, and put back."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atlasae.errors import UserError
from atlasae.graft.buffers import REWRITE
from atlasae.graft.elements import BITS, ENDS, kind_for
from atlasae.graft.envelopes import ColumnRecord, FieldRecord, Schema

LEAF, COLLECTION, RECORD = 0, 1, 2  # structural roles
_CPP = {
    f"{sign}{bits}": f"std::{kind}{8 * bits}_t" for sign, kind in (("i", "int"), ("u", "uint")) for bits in (1, 2, 4, 8)
}
_CPP |= {"f4": "float", "f8": "double"}
_CARDINALITY = "ROOT::RNTupleCardinality<"
_MOST_DEEP = 100  # fields within each other: more is damage

_ANONYMOUS = re.compile(r":?_\d+")  # names of what lists hold, and of bases of classes

Names = tuple[str, ...]  # of a field: the names from the top, those of anonymous members (`_0`) included


@dataclass(eq=False)
class NtupleColumn:
    """A column of a field; `number` is its id in the file that it was read from, `late` whether it was added later."""

    kind: int = 0
    bits: int = 0
    representation: int = 0
    first: int | None = None
    limits: tuple[int, int] | None = None
    late: bool = False
    number: int | None = None


def steps_in(column: NtupleColumn) -> tuple[float, float]:
    """The least number of a column of multiples of a step, and the step."""
    low, high = np.array(column.limits, "<u8").view("<f8").tolist()
    return low, (high - low) / (2**column.bits - 1)


@dataclass(eq=False)
class Field:
    """A field with those in it; a projected one has the path of its `origin`, whose columns it shows."""

    name: str
    role: int = LEAF
    type_name: str = ""
    type_alias: str = ""
    description: str = ""
    version: int = 0
    type_version: int = 0
    size: int | None = None
    checksum: int | None = None
    origin: Names | None = None
    late: bool = False
    number: int | None = None
    columns: list[NtupleColumn] = field(default_factory=list)
    fields: list["Field"] = field(default_factory=list)

    @property
    def shows_size(self) -> bool:
        """Whether it is the number of elements of a collection, and nothing more."""
        return self.origin is not None and self.type_name.startswith(_CARDINALITY)


@dataclass
class TakenField:
    """A field that was taken out: the path of the field that it was in, and its place there."""

    field: Field
    path: Names = ()
    place: int = 0


@dataclass
class Untyped:
    """The type of a class, or of a list of it, which lost members: without them it is another one."""

    path: Names
    type_name: str = ""
    type_alias: str = ""
    type_version: int = 0
    checksum: int | None = None


def walk_fields(fields: Iterable[Field], path: Names = ()) -> Iterator[tuple[Names, Field]]:
    """All fields with their paths, depth first: the order in which ROOT stores them."""
    for one in fields:
        yield (*path, one.name), one
        yield from walk_fields(one.fields, (*path, one.name))


def dotted(path: Names) -> str:
    """The name of a field as uproot and ROOT have it, in which elements of lists and bases are left out."""
    return ".".join(part for part in path if not _ANONYMOUS.fullmatch(part))


def find(fields: Sequence[Field], path: Names) -> Field:
    """The field with this path; raises ValueError if there is none."""
    found, among = None, fields
    for name in path:
        found = next((one for one in among if one.name == name), None)
        if found is None:
            raise ValueError(f"there is no field '{'.'.join(path)}'")
        among = found.fields
    if found is None:
        raise ValueError("a path is empty")
    return found


def members(tops: list[Field], path: Names) -> list[Field]:
    """The fields inside that with this path, or the uppermost ones; raises ValueError as `find`."""
    return find(tops, path).fields if path else tops


def described(fields: Sequence[Field]) -> dict[str, tuple[Any, ...]]:
    """What is told of each field and its columns, by its path; where it is stored is no part of it."""
    return {
        ".".join(path): (
            one.role, one.type_name, one.type_alias, one.description, one.version, one.type_version, one.size,
            one.checksum, one.origin, [(column.kind, column.bits, column.limits) for column in one.columns],
        )
        for path, one in walk_fields(fields)
    }  # fmt: skip


def read_fields(schema: Schema, late: Schema) -> list[Field]:
    """The top-level fields of a schema and its extension; raises ValueError if their ids do not fit together."""
    records, columns = schema.fields + late.fields, schema.columns + late.columns
    fields = [_field(record, number, number >= len(schema.fields)) for number, record in enumerate(records)]
    depths = [0] * len(fields)
    for number, record in enumerate(records):
        if record.parent > number:
            raise ValueError(f"field '{record.name}' is stored before field {record.parent}, which it is in")
        if record.parent < number:
            fields[record.parent].fields.append(fields[number])
            depths[number] = depths[record.parent] + 1
    if max(depths, default=0) > _MOST_DEEP:
        raise ValueError(f"{max(depths)} fields are within each other")
    for number, column in enumerate(columns):
        if column.field >= len(fields):
            raise ValueError(f"a column of field {column.field} of {len(fields)}")
        fields[column.field].columns.append(_column(column, number, number >= len(schema.columns)))
    tops = [fields[number] for number, record in enumerate(records) if record.parent == number]
    _read_origins(records, fields, tops, schema.aliases + late.aliases)
    return tops


def _field(record: FieldRecord, number: int, late: bool) -> Field:
    names = ("name", "role", "type_name", "type_alias", "description", "version", "type_version", "size", "checksum")
    return Field(**{name: getattr(record, name) for name in names}, late=late, number=number)


def _column(record: ColumnRecord, number: int, late: bool) -> NtupleColumn:
    return NtupleColumn(record.kind, record.bits, record.representation, record.first, record.limits, late, number)


def _read_origins(
    records: Sequence[FieldRecord], fields: Sequence[Field], tops: Sequence[Field], aliases: Sequence[tuple[int, int]]
) -> None:
    """Set the origins of projected fields; raises UserError where their columns are others than those of the origin."""
    paths = {id(one): path for path, one in walk_fields(tops)}
    names = {owner: [column for column, one in aliases if one == owner] for _, owner in aliases}
    for number, record in enumerate(records):
        if record.source is None:
            continue
        if record.source >= len(fields):
            raise ValueError(f"field '{record.name}' projects field {record.source} of {len(fields)}")
        fields[number].origin = paths[id(fields[record.source])]
        shown = [column.number for column in fields[record.source].columns]
        if sorted(names.pop(number, [])) != shown:
            raise UserError(f"projected field '{record.name}' shows other columns than its own: {REWRITE}")
    if names:
        raise ValueError(f"field {min(names)} shows columns of another one, but is not projected")


def write_fields(tops: Sequence[Field]) -> tuple[Schema, Schema, list[NtupleColumn]]:
    """The schema of these fields, its extension, and the columns in the order of their new ids."""
    everything = list(walk_fields(tops))
    ordered = [pair for pair in everything if not pair[1].late]
    ordered += sorted((pair for pair in everything if pair[1].late), key=lambda pair: pair[1].number or 0)
    ids = {id(one): number for number, (_, one) in enumerate(ordered)}
    parents = {id(inner): ids[id(one)] for _, one in ordered for inner in one.fields}
    by_path = {path: one for path, one in everything}
    owned = [(column, one) for _, one in ordered for column in one.columns]
    columns = [pair for pair in owned if not pair[0].late]
    columns += sorted((pair for pair in owned if pair[0].late), key=lambda pair: pair[0].number or 0)
    numbers = {id(column): number for number, (column, _) in enumerate(columns)}
    schemas = Schema(), Schema()
    for _, one in ordered:
        origin = None if one.origin is None else by_path[one.origin]
        parent = parents.get(id(one), ids[id(one)])
        schemas[one.late].fields.append(_field_record(one, parent, None if origin is None else ids[id(origin)]))
        for column in origin.columns if origin else ():
            schemas[one.late or column.late].aliases.append((numbers[id(column)], ids[id(one)]))
    for column, one in columns:
        schemas[column.late].columns.append(_column_record(column, ids[id(one)]))
    return *schemas, [column for column, _ in columns]


def _field_record(one: Field, parent: int, source: int | None) -> FieldRecord:
    return FieldRecord(
        one.version, one.type_version, parent, one.role, one.name, one.type_name, one.type_alias, one.description,
        one.size, source, one.checksum,
    )  # fmt: skip


def _column_record(one: NtupleColumn, owner: int) -> ColumnRecord:
    return ColumnRecord(one.kind, one.bits, owner, one.representation, one.first, one.limits)


def take_fields(
    tops: list[Field], numbers: Collection[int], lists_stay: bool = False
) -> tuple[list[TakenField], list[Untyped]]:
    """Take out the fields with these ids, what they leave empty, and their projections; returns how to put them back.

    Classes that lose members become records without a name. With `lists_stay`, lists of records stay as lists of
    nothing, which tell how many there were. Raises UserError for jets that can't be taken out.
    """
    gone: set[Names] = {path for path, one in walk_fields(tops) if one.number in numbers}
    while more := _also_gone(tops, gone, lists_stay):
        gone |= more
    uppermost = {path for path in gone if not any(path[:end] in gone for end in range(1, len(path)))}
    untyped = [_untype(find(tops, path), path) for path in dict.fromkeys(_above(sorted(uppermost)))]
    taken = list[TakenField]()
    for path, one in list(walk_fields(tops)):
        if path in uppermost:
            among = members(tops, path[:-1])
            place = among.index(one) + sum(known.path == path[:-1] for known in taken)
            taken.append(TakenField(one, path[:-1], place))
            among.remove(one)
    for _, one in walk_fields(known.field for known in taken):
        one.number = None
        for column in one.columns:
            column.number = None
    return taken, untyped


def _also_gone(tops: Sequence[Field], gone: set[Names], lists_stay: bool) -> set[Names]:
    """The fields that are empty without those gone, and the top-level projections of any of those gone."""
    more = set[Names]()
    for path, one in walk_fields(tops):
        inner = [(*path, member.name) for member in one.fields]
        stays = lists_stay and one.role == RECORD and bool(path[1:]) and find(tops, path[:-1]).role == COLLECTION
        if inner and gone.issuperset(inner) and not stays:
            more.add(path)
        if one.origin and any(one.origin[:end] in gone for end in range(1, len(one.origin) + 1)):
            more.add(path[:1])
    return more - gone


def _above(paths: Iterable[Names]) -> Iterator[Names]:
    return (path[:end] for path in paths for end in range(1, len(path)))


def _untype(one: Field, path: Names) -> Untyped:
    if one.role not in (COLLECTION, RECORD) or one.size is not None:
        raise UserError(f"jets in '{'.'.join(path)}', a {one.type_name}, can't be taken out of it: {REWRITE}")
    before = Untyped(path, one.type_name, one.type_alias, one.type_version, one.checksum)
    one.type_name, one.type_alias, one.type_version, one.checksum = "", "", 0, None
    return before


def put_back(
    tops: list[Field], made: Collection[Names], taken: Iterable[TakenField], untyped: Iterable[Untyped]
) -> None:
    """The inverse of `take_fields`, of the same fields or of others with the same paths, without those `made`."""
    for path in made:
        members(tops, path[:-1]).remove(find(tops, path))
    for one in taken:
        members(tops, one.path).insert(one.place, one.field)
    for known in untyped:
        cut = find(tops, known.path)
        cut.type_name, cut.type_alias = known.type_name, known.type_alias
        cut.type_version, cut.checksum = known.type_version, known.checksum


def leaf(name: str, dtype: str) -> Field:
    """A field of numbers."""
    kind = kind_for(dtype)
    return Field(name, LEAF, _CPP[np.dtype(dtype).str[1:]], columns=[NtupleColumn(kind, BITS[kind])])


def list_of(name: str, inner: Field) -> Field:
    """A field of lists; a list of records has no class."""
    type_name = f"std::vector<{inner.type_name}>" if inner.type_name else ""
    return Field(name, COLLECTION, type_name, columns=[NtupleColumn(ENDS, BITS[ENDS])], fields=[inner])


def records(name: str, inner: list[Field]) -> Field:
    """A field of records without a class."""
    return Field(name, RECORD, fields=inner)
