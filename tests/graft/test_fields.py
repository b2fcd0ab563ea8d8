"""Fields of RNTuples as a tree: ids made anew, fields taken out and put back."""

from dataclasses import replace

import pytest

from atlasae.errors import UserError
from atlasae.graft.envelopes import ColumnRecord, FieldRecord, Schema
from atlasae.graft.fields import (
    COLLECTION,
    RECORD,
    Field,
    described,
    find,
    leaf,
    list_of,
    put_back,
    read_fields,
    records,
    take_fields,
    walk_fields,
    write_fields,
)  # fmt: skip


def numbered(tops: list[Field]) -> list[Field]:
    """The same fields as read from a file."""
    return read_fields(*write_fields(tops)[:2])


def jets() -> list[Field]:
    """An event number, jets as records of a class with pt, eta and a list of weights, projections, and a late field."""
    four = Field("p4", RECORD, "Four", checksum=5, fields=[leaf("pt", "<f4"), leaf("eta", "<f8")])
    jet = Field("_0", RECORD, "Jet", version=3, type_version=2, fields=[four, list_of("w", leaf("_0", "<i2"))])
    pt = ("Jet", "_0", "p4", "pt")
    fields = [
        leaf("event", "<u8"),
        Field("Jet", COLLECTION, "std::vector<Jet>", columns=list_of("x", jet).columns, fields=[jet]),
        Field("Jet_pt", COLLECTION, "v", origin=("Jet",), fields=[Field("_0", type_name="float", origin=pt)]),
        Field("nJet", type_name="n", origin=("Jet",)),
        leaf("late", "<i4"),
    ]
    fields[-1].late = fields[-1].columns[0].late = True
    fields[-1].columns[0].first = 17
    return numbered(fields)


def ids(tops: list[Field], *paths: str) -> set[int]:
    return {one.number or 0 for path, one in walk_fields(tops) if ".".join(path) in paths}


def test_fields_are_what_was_written():
    tops = jets()
    again = numbered(tops)
    assert described(again) == described(tops)
    assert write_fields(again)[:2] == write_fields(tops)[:2]
    assert [one.late for one in again] == [False] * 4 + [True]
    assert [column.first for column in find(again, ("late",)).columns] == [17]


def test_columns_of_projections_are_aliases():
    schema, late, columns = write_fields(jets())
    assert schema.aliases == [(1, 8), (2, 9), (1, 10)]
    assert (late.aliases, len(columns), len(late.fields), len(late.columns)) == ([], 7, 1, 1)
    assert late.columns[0].field == 11


def test_what_was_taken_out_comes_back_in_its_place():
    tops = jets()
    before, everything = write_fields(tops)[:2], described(tops)
    taken, untyped = take_fields(tops, ids(tops, "Jet._0.p4.pt", "event"))
    assert [".".join((*one.path, one.field.name)) for one in taken] == ["event", "Jet._0.p4.pt", "Jet_pt"]
    assert [".".join(one.path) for one in untyped] == ["Jet", "Jet._0", "Jet._0.p4"]
    assert [find(tops, path).type_name for path in (("Jet",), ("Jet", "_0"), ("Jet", "_0", "p4"))] == ["", "", ""]
    assert find(tops, ("Jet", "_0", "w")).type_name == "std::vector<std::int16_t>"
    put_back(tops, (), taken, untyped)
    assert described(tops) == everything
    assert write_fields(tops)[:2] == before


def test_what_is_empty_without_them_is_taken_too():
    tops = jets()
    taken, _ = take_fields(tops, ids(tops, "Jet._0.p4.pt", "Jet._0.p4.eta"))
    assert [one.field.name for one in taken] == ["p4", "Jet_pt"]
    taken, _ = take_fields(tops, ids(tops, "Jet._0.w"))
    assert [one.field.name for one in taken] == ["Jet", "nJet"]


def test_fields_with_jets_in_arrays_of_fixed_size_stay():
    pair = Field(
        "pair", RECORD, "std::array<Four,2>", size=2, fields=[records("_0", [leaf("pt", "<f4"), leaf("m", "<f4")])]
    )
    tops = numbered([pair])
    with pytest.raises(UserError, match="'pair', a std::array<Four,2>.*--rewrite"):
        take_fields(tops, ids(tops, "pair._0.pt"))


def field(parent: int, source: int | None = None) -> FieldRecord:
    return FieldRecord(0, 0, parent, 0, "x", "", "", "", source=source)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Schema(fields=[field(1), field(1)]), "before field 1"),
        (Schema(fields=[field(max(0, number - 1)) for number in range(200)]), "within each other"),
        (Schema(fields=[field(0)], columns=[ColumnRecord(0, 1, 5, 0)]), "column of field 5"),
        (Schema(fields=[field(0, source=9)]), "projects field 9"),
        (Schema(fields=[field(0)], aliases=[(0, 0)]), "is not projected"),
    ],
)
def test_ids_that_do_not_fit_together_are_damage(schema, message):
    with pytest.raises(ValueError, match=message):
        read_fields(schema, Schema())


def test_a_projection_of_other_columns_than_its_own_is_refused():
    schema = write_fields(jets())[0]
    with pytest.raises(UserError, match="projected field '_0'"):
        read_fields(replace(schema, aliases=[(1, 8), (3, 9), (1, 10)]), Schema())


def test_a_path_that_is_not_there_is_damage():
    with pytest.raises(ValueError, match="'Jet.pt'"):
        find(jets(), ("Jet", "pt"))
