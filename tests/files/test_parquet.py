"""Parquet in pieces: lists, records and lists of records come back with their schema."""

import decimal
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from atlasae.errors import DamagedFileError, UserError
from atlasae.files import parquet
from atlasae.files.events import Table
from atlasae.files.parquet import unpack_schema
from atlasae.files.tables import create_table, open_table, read_table, write_table

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

COUNTS = [2, 0, 3, 1, 1]


def lists(dtype: str = "f4", counts: list[int] = COUNTS) -> ak.Array:
    return ak.unflatten(np.arange(sum(counts), dtype=dtype), counts)


def events() -> ak.Array:
    """Jets as a list of records, a record, lists, texts and numbers."""
    jets = ak.zip({"pt": lists(), "eta": lists("f8"), "n": lists("i2")})
    met = ak.zip({"pt": np.arange(5.0), "phi": np.arange(5, dtype="f4")})
    return ak.zip(
        {"Jet": jets, "MET": met, "el_pt": lists(counts=[1, 1, 0, 0, 2]), "run": np.arange(5), "who": list("abcde")},
        depth_limit=1,
    )


def copied(path: Path, target: Path, pieces: int = 2) -> Any:
    """The file written again from what is read of it in pieces; returns the facts."""
    with open_table(path) as opened:
        names, entries = [branch.name for branch in opened.events.branches], opened.events.entries
        edges = np.linspace(0, entries, pieces + 1).astype(int).tolist()
        with create_table(target, opened.facts, entries) as writer:
            for start, stop in zip(edges[:-1], edges[1:], strict=True):
                writer.extend(opened.events.read(names, start, stop))
        return opened.facts


@pytest.mark.parametrize("extension", [True, False], ids=["awkward", "plain"])
def test_records_and_lists_come_back_with_their_schema(tmp_path: Path, extension: bool) -> None:
    ak.to_parquet(events(), tmp_path / "a.parquet", extensionarray=extension)
    facts = copied(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert facts["places"] == {
        **{f"Jet.{name}": f"Jet[].{name}" for name in ("pt", "eta", "n")},
        **{f"MET.{name}": f"MET.{name}" for name in ("pt", "phi")},
    }
    before, after = (ak.from_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert before.type == after.type and before.to_list() == after.to_list()
    first, second = (pq.read_schema(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert first.equals(second, check_metadata=True)


def test_members_are_branches_and_are_read_alone(tmp_path: Path) -> None:
    ak.to_parquet(events(), tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet") as opened:
        branches = {branch.name: (branch.dtype, branch.jagged) for branch in opened.events.branches}
        assert branches["Jet.eta"] == ("<f8", True) and branches["MET.phi"] == ("<f4", False)
        assert branches["who"] == ("string", False) and branches["el_pt"] == ("<f4", True)
        read = opened.events.read(["Jet.n", "run"], 2, 4)
        assert {name: array.to_list() for name, array in read.items()} == {"Jet.n": [[2, 3, 4], [5]], "run": [2, 3]}
        assert opened.events.bytes_per_entry(["Jet.eta", "run"]) == (8 * (sum(COUNTS) + 1) + 8 * len(COUNTS)) / len(
            COUNTS
        )
        assert 0 < opened.events.compressed_bytes(["Jet.pt"]) < (tmp_path / "a.parquet").stat().st_size


def test_lists_of_pandas_keep_what_pandas_notes(tmp_path: Path) -> None:
    made = pd.DataFrame({"pt": [[1.0], [], [2.0, 3.0]], "who": ["a", "b", "c"]}, index=pd.Index([7, 3, 5], name="row"))
    made.to_parquet(tmp_path / "a.parquet")
    assert copied(tmp_path / "a.parquet", tmp_path / "b.parquet")["index"] == "index"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "b.parquet"), pd.read_parquet(tmp_path / "a.parquet"))


def test_any_range_of_rows_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 7)
    table = pa.table({"n": np.arange(100), "x": [[i] * (i % 3) for i in range(100)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=30)
    with open_table(tmp_path / "a.parquet") as opened:
        for start, stop in ((0, 100), (5, 6), (29, 31), (31, 40), (10, 90), (100, 100), (0, 0), (95, 100)):
            read = opened.events.read(["n", "x"], start, stop)
            assert read["n"].to_list() == list(range(start, stop))
            assert read["x"].to_list() == [[i] * (i % 3) for i in range(start, stop)]
        for number in range(20):  # more than are remembered
            names = ["n", "x"] if number % 2 else ["x"]
            assert len(opened.events.read(names, number, number + 1)["x"]) == 1


def test_missing_values_in_lists_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([[1.0, None], [2.0]])}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a.parquet: column 'x' has missing values, .* or leave the column out"):
        read_table(tmp_path / "a.parquet")


def test_missing_lists_are_empty_and_told_by_a_column(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array([[1.0], None, []]), "x_missing": [1, 2, 3], "y": pa.array([[1], [], [2]])})
    pq.write_table(table, tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet") as opened:
        names = [branch.name for branch in opened.events.branches]
        assert (names, opened.facts["missing"]) == (["x", "x_missing", "y", "x_missing_"], {"x": "x_missing_"})
        read = opened.events.read(names, 0, 3)
    assert (read["x"].to_list(), read["x_missing_"].to_list()) == ([[1.0], [], []], [False, True, False])


TYPES = [
    pa.array([[[1.0]], [[], None]]),
    pa.array([["a", None], []]),
    pa.array([1, 2], pa.date32()),
    pa.array([1, None], pa.timestamp("ns", "Europe/Paris")),
    pa.array([1, 2], pa.time64("us")),
    pa.array([1, None], pa.duration("ms")),
    pa.array([decimal.Decimal("1.20"), None], pa.decimal128(7, 2)),
    pa.array(["b", "a"]).dictionary_encode(),
    pa.array(["b", None], pa.large_string()).dictionary_encode(),
    pa.array([3, None], pa.int16()),
    pa.array([True, None]),
    pa.array(["a", None], pa.large_string()),
    pa.nulls(2),
    pa.array([{"pt": 0.1, "charge": -1}, None], pa.struct({"pt": pa.float32(), "charge": pa.int32()})),
    pa.array([{"pt": 0.1, "tag": "b"}, {"pt": None, "tag": None}]),
    pa.array([{"pt": float("inf"), "hits": [1, 2]}, None]),
    pa.array([[1.0], None]),
    pa.array([None, []], pa.large_list(pa.int16())),
    pa.array([None, [{"pt": 1.0, "charge": -1}]]),
]


@pytest.mark.parametrize("values", TYPES, ids=lambda one: str(one.type))
def test_types_that_no_tree_has_come_back(tmp_path: Path, values: Any) -> None:
    pq.write_table(pa.table({"x": values, "pt": np.arange(2.0)}), tmp_path / "a.parquet")
    copied(tmp_path / "a.parquet", tmp_path / "b.parquet")
    before, after = (pq.read_table(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert after.schema.equals(before.schema, check_metadata=True) and after.to_pylist() == before.to_pylist()


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[{"a": [1.0]}], []]),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32())),
        pa.array([b"a", b"b"]),
    ],
    ids=["lists in records", "maps", "bytes"],
)
def test_other_types_are_named_and_left_alone(tmp_path: Path, values: Any) -> None:
    pq.write_table(pa.table({"x": values, "pt": np.arange(2.0)}), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert list(table.columns) == ["pt"] and table.skipped in (("x",), ("x.a",))


def test_float16_and_arrays_of_fixed_size(tmp_path: Path) -> None:
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype="f4")), 3)
    half = pa.array(np.array([0.1, 2], np.float16))
    pq.write_table(pa.table({"x": fixed, "h": half}), tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet") as opened:
        assert {branch.name: branch.dtype for branch in opened.events.branches} == {"x": "<f4 array", "h": "<f4"}
        assert opened.facts["halves"] == ["h"]
    copied(tmp_path / "a.parquet", tmp_path / "b.parquet", pieces=1)
    assert pq.read_table(tmp_path / "b.parquet").equals(pq.read_table(tmp_path / "a.parquet"))


@pytest.mark.parametrize("codec", ["none", "zstd", "gzip"])
def test_pages_are_compressed_as_they_were(tmp_path: Path, codec: str) -> None:
    pq.write_table(pa.table({"x": np.zeros(100)}), tmp_path / "a.parquet", compression=codec)
    copied(tmp_path / "a.parquet", tmp_path / "b.parquet")
    columns = [pq.read_metadata(tmp_path / name).row_group(0).column(0) for name in ("a.parquet", "b.parquet")]
    assert columns[0].compression == columns[1].compression


def test_columns_that_are_gone_leave_the_others(tmp_path: Path) -> None:
    ak.to_parquet(events(), tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet") as opened, create_table(tmp_path / "b.parquet", opened.facts, 5) as writer:
        writer.extend(opened.events.read(["Jet.pt", "run"], 0, 5))
    back = pq.read_table(tmp_path / "b.parquet")
    assert back.column_names == ["Jet", "run"]
    assert back["Jet"].to_pylist() == [[{"pt": x} for x in row] for row in lists().to_list()]


def test_lists_of_a_tree_make_parquet(tmp_path: Path) -> None:
    with create_table(tmp_path / "a.parquet", {}, 5) as writer:
        writer.extend({"Jet_pt": lists(), "run": ak.Array(np.arange(5))})
    assert ak.from_parquet(tmp_path / "a.parquet")["Jet_pt"].to_list() == lists().to_list()


@pytest.mark.parametrize("text", ["", "hello", "c$}#oW&}yXE%1s8d;h"])
def test_a_forged_schema_is_damage(text: str) -> None:
    with pytest.raises(DamagedFileError, match="its schema: damaged"):
        unpack_schema(text)


def test_truncated_lists_are_damaged(tmp_path: Path) -> None:
    ak.to_parquet(events(), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for length in range(4, len(whole), 301):
        (tmp_path / "a.parquet").write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=r"a\.parquet: damaged"):
            read_table(tmp_path / "a.parquet")


def test_labels_of_a_range_are_made(tmp_path: Path) -> None:
    pd.DataFrame({"pt": np.arange(3.0)}, index=pd.RangeIndex(5, 11, 2)).to_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert table.index is not None and table.index.tolist() == [5, 7, 9] and table.ranged
    write_table(tmp_path / "b.parquet", Table(table.columns, table.index, ranged=True))
    assert pd.read_parquet(tmp_path / "b.parquet").index.equals(pd.RangeIndex(5, 11, 2))


def test_groups_of_rows_are_read_one_by_one_since_arrow_keeps_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"x": np.arange(100.0)}), tmp_path / "a.parquet", row_group_size=30)
    asked, known = list[list[int]](), pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, *args: [asked.append(args[1]), known(self, *args)][1]
    )
    with open_table(tmp_path / "a.parquet") as opened:
        assert opened.events.read(["x"], 10, 70)["x"].to_list() == list(range(10, 70))
        assert opened.events.read(["x"], 70, 100)["x"].to_list() == list(range(70, 100))
    assert asked == [[0], [1], [2], [3]]
