"""Tables are restored bit for bit, for every pandas; and nothing in a pickle is ever run."""

import bz2
import contextlib
import copyreg
import datetime
import functools
import gzip
import io
import lzma
import operator
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import awkward as ak
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atlasae.errors import AtlasaeError, DamagedFileError, UserError
from atlasae.files import pickles as reader
from atlasae.files import tables
from atlasae.files.events import Table
from atlasae.files.pickles import Recorded, stand_in
from atlasae.files.tables import create_table, is_table, open_table, read_table, write_table

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SHARED = Path(__file__).parents[3] / "shared" / "data"
SUFFIXES = (".pkl", ".parquet")
DTYPES = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path


def pickled(path: Path, value: Any, protocol: int = 5) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def assert_same_array(got: np.ndarray[Any, Any] | None, expected: np.ndarray[Any, Any] | None) -> None:
    if expected is None or got is None:
        assert got is expected
        return
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert got.tobytes() == expected.tobytes()


def assert_same_table(got: Table, expected: Table) -> None:
    assert list(got.columns) == list(expected.columns)
    for name, column in expected.columns.items():
        assert_same_array(got.columns[name], column)
    assert_same_array(got.index, expected.index)
    assert (got.index_name, got.skipped) == (expected.index_name, expected.skipped)


def mixed_frame() -> Any:
    """Blocks of five dtypes whose columns alternate, so that no block's columns lie together."""
    return pd.DataFrame(
        {
            "pt": np.linspace(20e3, 30e3, 4),
            "n": np.arange(4, dtype=np.int32),
            "eta": np.linspace(-2, 2, 4).astype(np.float32),
            "tag": [True, False, True, True],
            "phi": np.linspace(-3, 3, 4),
            "half": np.arange(4, dtype=np.float16),
            "m": np.linspace(0, 5, 4).astype(np.float32),
            "bits": np.arange(4, dtype=np.uint8),
            "E": np.linspace(20e3, 40e3, 4),
        },
        index=pd.Index([7, 3, 12, 9], name="row"),
    )


def expected_table(frame: Any) -> Table:
    """The table of a frame of numbers, by pandas itself."""
    plain = isinstance(frame.index, pd.RangeIndex) and list(frame.index) == list(range(len(frame)))
    return Table(
        {str(name): frame[name].to_numpy() for name in frame},
        None if plain else frame.index.to_numpy(),
        frame.index.name,
    )


FRAMES: dict[str, Callable[[], Any]] = {
    "mixed": mixed_frame,
    "consolidated": lambda: mixed_frame().copy(),
    "selected": lambda: mixed_frame()[["E", "bits", "m", "pt"]].iloc[1:],
    "strided": lambda: pd.DataFrame(np.arange(60.0).reshape(10, 6)[::2, ::3], columns=["a", "b"]),
    "fortran": lambda: pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=list("abc"), copy=False),
    "some of the names": lambda: pd.DataFrame(np.ones((2, 4)), columns=["a", "bc", "d", "e"]).iloc[:, 1:3],
    "integer names": lambda: pd.DataFrame(np.arange(6).reshape(2, 3)),
    "numbered names": lambda: pd.DataFrame(np.arange(6).reshape(2, 3), columns=[10, 20, 5]),
    "mixed names": lambda: pd.DataFrame(np.arange(4).reshape(2, 2), columns=["é", 3]),
    "object names": lambda: pd.DataFrame(np.ones((2, 2)), columns=pd.Index(["pt", "m"], dtype=object)),
    "float index": lambda: pd.DataFrame({"a": [1.0, 2.0]}, index=[0.5, 1.5]),
    "steps": lambda: pd.DataFrame({"a": [1.0, 2.0]}, index=pd.RangeIndex(10, 14, 2)),
    "no rows": lambda: pd.DataFrame({"a": np.zeros(0), "b": np.zeros(0, np.int16)}),
    "no columns": lambda: pd.DataFrame(index=[4, 2]),
    "nothing": pd.DataFrame,
}


# Reading what pandas wrote


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("frame", FRAMES)
def test_reads_pandas_pickles(tmp_path: Path, frame: str, protocol: int) -> None:
    made = FRAMES[frame]()
    assert_same_table(read_table(pickled(tmp_path / "t.pkl", made, protocol)), expected_table(made))


@pytest.mark.parametrize("frame", [name for name in FRAMES if name != "mixed names"])
def test_reads_pandas_parquet(tmp_path: Path, frame: str) -> None:
    made = FRAMES[frame]()
    made.to_parquet(tmp_path / "t.parquet")
    assert_same_table(read_table(tmp_path / "t.parquet"), expected_table(made))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_names_in_pandas_own_string_storage(tmp_path: Path, protocol: int) -> None:
    names = pd.Index(pd.array(["pt", "η"], dtype="string[python]"))
    frame = pd.DataFrame(np.ones((2, 2)))
    frame.columns = names
    assert list(read_table(pickled(tmp_path / "t.pkl", frame, protocol)).columns) == ["pt", "η"]


@pytest.mark.parametrize("string", [pa.string(), pa.large_string()], ids=str)
def test_reads_names_that_are_part_of_an_arrow_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, string: Any
) -> None:
    part = pa.array(["left out", "pt", "η"], string).slice(1)
    assert part.__reduce__()[1][0][3] == 1  # the offset is written, and the whole buffer with it
    frame = pd.DataFrame(np.ones((2, 2)), columns=pd.Index(["a", "b"], dtype="string[pyarrow]"))
    monkeypatch.setattr(type(frame.columns.array), "__getstate__", lambda _: {"_pa_array": part})
    assert list(read_table(pickled(tmp_path / "t.pkl", frame)).columns) == ["pt", "η"]


DATES = pd.to_datetime(["2020-01-01 00:00:00.000000", "2021-06-30 12:00:00.000001", None])
HOURS = datetime.timezone(datetime.timedelta(hours=2))
OF_PANDAS: dict[str, Callable[[], Any]] = {  # columns
    "categories": lambda: pd.Categorical(["b", "a", "b"], categories=["b", "a", "c"], ordered=True),
    "missing categories": lambda: pd.Categorical(["b", None, "a"]),
    "categories of objects": lambda: pd.Categorical(["b", "a", "b"], categories=pd.Index(["a", "b"], dtype=object)),
    "categories of numbers": lambda: pd.Categorical([5, None, 3]),
    "categories of dates": lambda: pd.Categorical(DATES[[0, 1, 0]]),
    "dates": lambda: DATES,
    "dates in nanoseconds": lambda: DATES.astype("datetime64[ns]"),
    "dates in UTC": lambda: DATES.tz_localize("UTC"),
    "dates of a zone": lambda: DATES.tz_localize(HOURS),
    "times": lambda: pd.to_timedelta([1, 2, None]),
    "nullable integers": lambda: pd.array([1, None, 3], dtype="Int64"),
    "nullable integers that are there": lambda: pd.array([1, 2, 3], dtype="Int16"),
    "unsigned": lambda: pd.array([1, None, 2**64 - 1], dtype="UInt64"),
    "nullable booleans": lambda: pd.array([True, None, False], dtype="boolean"),
    "nullable floats": lambda: pd.array([1, None, 3.1], dtype="Float32"),
    "string": lambda: pd.array(["a", None, "b"], dtype="string[python]"),
    "string of arrow": lambda: pd.array(["a", None, "b"], dtype="string[pyarrow]"),
    "str": lambda: pd.array(["a", None, "b"], dtype=pd.StringDtype("pyarrow", np.nan)),
    "str of python": lambda: pd.array(["a", None, "b"], dtype=pd.StringDtype("python", np.nan)),
    "missing objects": lambda: pd.Series(["a", None, float("nan")], dtype=object),
    "objects": lambda: pd.Series(["a", 1, 2.5], dtype=object),
    "objects in objects": lambda: pd.Series([["a"], [[1.5], None], {"b": [True]}], dtype=object),
    "half of a pair": lambda: pd.Series(["\ud800", "b", ""], dtype=object),
    "NUL": lambda: ["a\0b", "", "c\0"],
}
INDEXES: dict[str, Callable[[], Any]] = {
    "texts": lambda: ["a", "b", "c"],
    "objects": lambda: pd.Index(["a", 1, None], dtype=object, name="pt"),
    "dates": lambda: DATES,
    "categories": lambda: pd.CategoricalIndex(["a", "b", "a"], name="who"),
    "nullable": lambda: pd.Index([1, None, 2], dtype="Int64"),
    "entries of awkward": lambda: pd.MultiIndex.from_tuples([(0, 0), (0, 1), (1, 0)], names=["entry", "subentry"]),
    "without names": lambda: pd.MultiIndex.from_tuples([(0, "a"), (0, "b"), (1, "a")]),
    "named as columns": lambda: pd.MultiIndex.from_product([range(3), ["a"]], names=["pt", 5]),
}


def of_pandas(column: Any = 1, index: Any = None) -> Any:
    made = pd.DataFrame({"pt": np.arange(3, dtype="f4"), "what": column, "n": [1, 2, 3]})
    return made if index is None else made.set_axis(index if isinstance(index, pd.Index) else pd.Index(index), axis=0)


FRAMES_OF_PANDAS = {f"column: {name}": lambda make=make: of_pandas(make()) for name, make in OF_PANDAS.items()} | {
    f"index: {name}": lambda make=make: of_pandas(index=make()) for name, make in INDEXES.items()
}


def rewritten(path: Path, target: Path) -> None:
    """Write the table again from what is read of it in two pieces."""
    with open_table(path) as opened:
        assert (opened.notes, opened.events.unwritable) == ((), [])
        names, rows = [branch.name for branch in opened.events.branches], opened.events.entries
        with create_table(target, opened.facts, rows) as writer:
            for start, stop in ((0, 1), (1, rows)):
                writer.extend(opened.events.read(names, start, stop))


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("frame", FRAMES_OF_PANDAS)
def test_dtypes_and_labels_of_pandas_come_back(tmp_path: Path, frame: str, protocol: int) -> None:
    made = FRAMES_OF_PANDAS[frame]()
    made.attrs = {"run": 7, "who": ["a", {"b": None}]}
    rewritten(pickled(tmp_path / "a.pkl", made, protocol), tmp_path / "b.pkl")
    back = pd.read_pickle(tmp_path / "b.pkl")
    pd.testing.assert_frame_equal(back, made, check_exact=True, check_freq=True)
    assert back.attrs == made.attrs and back.dtypes.tolist() == made.dtypes.tolist()
    if made["what"].dtype == object:
        assert [repr(one) for one in back["what"]] == [repr(one) for one in made["what"]]


NOT_IN_PARQUET = ("column: objects", "column: objects in objects", "column: half of a pair", "index: objects")


@pytest.mark.parametrize("frame", [name for name in FRAMES_OF_PANDAS if name not in NOT_IN_PARQUET])
@pytest.mark.filterwarnings("ignore:The DataFrame has non-str index name")
def test_dtypes_and_labels_of_pandas_come_back_from_parquet(tmp_path: Path, frame: str) -> None:
    made = FRAMES_OF_PANDAS[frame]()
    made.attrs = {"run": 7}
    made.rename_axis(columns="variable").to_parquet(tmp_path / "a.parquet")
    rewritten(tmp_path / "a.parquet", tmp_path / "b.parquet")
    before, after = (pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    pd.testing.assert_frame_equal(after, before, check_exact=True, check_freq=True)
    assert after.attrs == made.attrs
    assert pq.read_schema(tmp_path / "a.parquet").equals(pq.read_schema(tmp_path / "b.parquet"), check_metadata=True)


@pytest.mark.parametrize("frame", [name for name in FRAMES_OF_PANDAS if name not in NOT_IN_PARQUET])
@pytest.mark.filterwarnings("ignore:The DataFrame has non-str index name")
def test_pickles_become_the_parquet_that_pandas_writes(tmp_path: Path, frame: str) -> None:
    made = FRAMES_OF_PANDAS[frame]()
    made.to_parquet(tmp_path / "a.parquet")
    rewritten(pickled(tmp_path / "a.pkl", made), tmp_path / "b.parquet")
    before, after = (pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    pd.testing.assert_frame_equal(after, before, check_exact=True, check_column_type=False)


@pytest.mark.parametrize("frame", NOT_IN_PARQUET)
def test_what_parquet_has_no_type_for_is_refused(tmp_path: Path, frame: str) -> None:
    with pytest.raises(UserError, match=r"b\.parquet: parquet can't hold the table \(.*\): write \.pkl"):
        rewritten(pickled(tmp_path / "a.pkl", FRAMES_OF_PANDAS[frame]()), tmp_path / "b.parquet")


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([(1, 2), (3,)], dtype=object),
        pd.Series(["a", pd.NA], dtype=object),
        pd.Series([1j, 2]),
        pd.interval_range(0, 2),
        pd.Categorical([1.5, 2]),
        pd.arrays.SparseArray([0, 1]),
        pd.array([1, None], dtype="int64[pyarrow]"),
    ],
    ids=["tuples", "NA", "complex", "intervals", "categories of floats", "sparse", "arrow"],
)
def test_skips_and_names_columns_without_numbers(tmp_path: Path, column: Any) -> None:
    frame = pd.DataFrame({"pt": [1.0, 2.0], "what": column, "n": [1, 2]})
    expected = Table({"pt": np.array([1.0, 2.0]), "n": np.array([1, 2])}, skipped=("what",))
    assert_same_table(read_table(pickled(tmp_path / "t.pkl", frame)), expected)
    with open_table(tmp_path / "t.pkl") as opened:
        assert opened.events.unwritable[0].why == "holds no numbers: use astype() before saving"


@pytest.mark.parametrize("frame", ["mixed", "strided", "fortran"])
def test_columns_are_writable_and_contiguous(tmp_path: Path, frame: str) -> None:
    made = FRAMES[frame]()
    made.to_parquet(tmp_path / "t.parquet")
    for path in (tmp_path / "t.parquet", *(pickled(tmp_path / f"{p}.pkl", made, p) for p in PROTOCOLS)):
        for column in read_table(path).columns.values():
            assert column.flags.writeable
            assert column.flags.c_contiguous


def test_keeps_byte_order_of_pickles_which_parquet_does_not_have(tmp_path: Path) -> None:
    table = Table({"pt": np.array([1.0, 2.0], ">f8")})
    write_table(tmp_path / "t.pkl", table)
    assert_same_table(read_table(tmp_path / "t.pkl"), table)
    write_table(tmp_path / "t.parquet", table)
    assert_same_table(read_table(tmp_path / "t.parquet"), Table({"pt": np.array([1.0, 2.0])}))


# Layouts that today's pandas no longer writes


class OldPickler(pickle._Pickler):
    """Pickles a class by its name, even if it can't be imported."""

    write: Callable[[bytes], object]  # typeshed leaves both out
    memoize: Callable[[object], None]

    def save_global(self, obj: Any, name: str | None = None) -> None:
        self.write(f"c{obj.__module__}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)


class Python2Pickler(OldPickler):
    """Pickles str and bytes alike as Python 2's str."""

    def save_str(self, obj: str | bytes) -> None:
        content = obj.encode() if isinstance(obj, str) else obj
        self.write(b"T" + len(content).to_bytes(4, "little") + content)
        self.memoize(obj)

    dispatch: ClassVar[dict[type, Any]] = {**pickle._Pickler.dispatch, str: save_str, bytes: save_str}


class Made:
    """An object to pickle as the result of a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def old_class(module: str, name: str, state: Any = None) -> type:
    return type(name, (), {"__module__": module, "__qualname__": name, "__getstate__": lambda _: state})


def old_object(module: str, name: str, state: Any) -> Any:
    return old_class(module, name, state)()


def old_index(package: str, name: str, details: dict[str, Any]) -> Made:
    return Made(old_class(f"{package}.base", "_new_Index"), (old_class(f"{package}.numeric", name), details))


def old_frame(managers: str = "pandas.core.internals", indexes: str = "pandas.indexes", location: int = 1) -> Any:
    """The layout of pandas 0.14 to 1.2: two blocks, one placed by a slice and one by an array."""
    floats, counts = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[4, 5, 6]])
    names = old_index(indexes, "Index", {"data": np.array(["pt", "n", "m"], dtype=object), "name": None})
    rows = old_index(indexes, "Int64Index", {"data": np.array([7, 8, 3]), "name": "row"})
    blocks = [{"values": counts, "mgr_locs": np.array([location])}, {"values": floats, "mgr_locs": slice(0, 4, 2)}]
    state = ([names, rows], [counts, floats], [names, names], {"0.14.1": {"axes": [names, rows], "blocks": blocks}})
    manager = old_object(managers, "BlockManager", state)
    return old_object("pandas.core.frame", "DataFrame", {"_data": manager, "_typ": "dataframe", "_metadata": []})


def old_table() -> Table:
    columns = {"pt": np.arange(3, dtype="f4"), "n": np.array([4, 5, 6]), "m": np.arange(3, 6, dtype="f4")}
    return Table(columns, np.array([7, 8, 3]), "row")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    ("managers", "indexes"),
    [
        ("pandas.core.internals.managers", "pandas.core.indexes"),
        ("pandas.core.internals", "pandas.core.indexes"),
        ("pandas.core.internals", "pandas.indexes"),
        ("pandas.core.internals", "pandas.core.index"),
    ],
)
def test_reads_the_layout_before_pandas_1_1(tmp_path: Path, managers: str, indexes: str, protocol: int) -> None:
    with (tmp_path / "t.pkl").open("wb") as stream:
        OldPickler(stream, protocol).dump(old_frame(managers, indexes))
    with pytest.raises((ImportError, AttributeError)):  # else today's pandas knew it, and it were no old layout
        pickle.loads((tmp_path / "t.pkl").read_bytes())
    assert_same_table(read_table(tmp_path / "t.pkl"), old_table())


def test_two_blocks_for_one_column_are_damage(tmp_path: Path) -> None:
    with (tmp_path / "t.pkl").open("wb") as stream:
        OldPickler(stream, 2).dump(old_frame(location=2))
    with pytest.raises(DamagedFileError, match="its blocks are not its columns"):
        read_table(tmp_path / "t.pkl")


def test_reads_what_python_2_wrote(tmp_path: Path) -> None:
    with (tmp_path / "t.pkl").open("wb") as stream:
        Python2Pickler(stream, 2).dump(old_frame())
    assert_same_table(read_table(tmp_path / "t.pkl"), old_table())


# Real files


def test_real_trigger_jets_come_back(tmp_path: Path) -> None:
    path = shared("atlas_trigger_jets_dev.pkl")
    table, frame = read_table(path), pd.read_pickle(path)
    assert list(table.columns) == ["m", "pt", "phi", "eta"]
    assert len(table.columns["pt"]) == 14_004
    assert_same_table(table, expected_table(frame))
    write_table(tmp_path / "back.pkl", table)
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "back.pkl"), frame, check_exact=True)
    write_table(tmp_path / "back.parquet", table)
    back = pd.read_parquet(tmp_path / "back.parquet")
    pd.testing.assert_frame_equal(back, frame, check_exact=True, check_column_type=False)


def test_real_old_table() -> None:
    table = read_table(shared("old_pandas_table.pkl"))
    assert list(table.columns)[:4] == ["jet pT", "jet eta", "jet phi", "jet E"]
    assert {(column.dtype.str, len(column)) for column in table.columns.values()} == {("<f4", 200)}
    assert table.index is not None
    assert table.index[:3].tolist() == [218, 319, 832]
    pt, eta, energy = (table.columns[f"jet {name}"].astype(np.float64) for name in ("pT", "eta", "E"))
    assert (energy >= pt * np.cosh(eta) * (1 - 1e-6)).all()  # so values, names and order belong together


# Writing


@st.composite
def made_tables(draw: st.DrawFn) -> Table:
    rows = draw(st.integers(0, 4))
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=4), unique=True, max_size=6))
    columns = {name: draw(hnp.arrays(draw(st.sampled_from(DTYPES)), rows)) for name in names}
    indexed = draw(st.booleans()) and columns
    index = draw(hnp.arrays(draw(st.sampled_from(("i8", "i4", "u2", "f8"))), rows)) if indexed else None
    return Table(columns, index, draw(st.none() | st.sampled_from([*names, "row"])))


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=made_tables())
def test_round_trip(tmp_path: Path, suffix: str, table: Table) -> None:
    path = tmp_path / f"t{suffix}"
    write_table(path, table)
    assert_same_table(read_table(path), table)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nan_keeps_its_bits(tmp_path: Path, suffix: str) -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000000, 0x8000000000000000], np.uint64)
    table = Table({"m": bits.view(np.float64)})
    write_table(tmp_path / f"t{suffix}", table)
    assert_same_table(read_table(tmp_path / f"t{suffix}"), table)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pandas_reads_what_is_written(tmp_path: Path, suffix: str) -> None:
    frame = mixed_frame()
    write_table(tmp_path / f"t{suffix}", expected_table(frame))
    read = pd.read_pickle if suffix == ".pkl" else pd.read_parquet
    back = read(tmp_path / f"t{suffix}")
    pd.testing.assert_frame_equal(back, frame, check_exact=True, check_column_type=False)
    assert suffix == ".parquet" or back.columns.dtype == object  # the one kind of name that every pandas unpickles


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("storage", ["python", "pyarrow"])
@pytest.mark.parametrize(("missing", "texts"), [(np.nan, "str"), (pd.NA, "string")])
def test_names_are_of_the_type_that_they_were(
    tmp_path: Path, missing: Any, texts: str, storage: Any, protocol: int
) -> None:
    frame = pd.DataFrame({"pt": [1.0], "m": [2.0]})
    frame.columns = pd.Index(["pt", "m"], dtype=pd.StringDtype(storage, missing), name="variable")
    frame.to_pickle(tmp_path / "t.pkl", protocol=protocol)
    table = read_table(tmp_path / "t.pkl")
    assert table.texts == texts
    for suffix in SUFFIXES:
        write_table(tmp_path / f"back{suffix}", table)
        assert read_table(tmp_path / f"back{suffix}").texts == texts
    back = pd.read_pickle(tmp_path / "back.pkl").columns
    assert back.dtype == texts and back.tolist() == ["pt", "m"] and back.name == "variable"


def test_no_type_of_texts_is_of_names_that_are_not(tmp_path: Path) -> None:
    table = Table({"pt": np.ones(1), "0": np.ones(1)}, names={"0": 0}, texts="str")
    write_table(tmp_path / "t.pkl", table)
    assert pd.read_pickle(tmp_path / "t.pkl").columns.tolist() == ["pt", 0]


def test_write_into_no_folder(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(UserError, match="cannot write"):
            write_table(tmp_path / "none" / f"t{suffix}", Table({}))


# A pickle may run code


def evil_attribute(call: Made) -> Any:
    frame = pd.DataFrame({"pt": [1.0]})
    frame.attrs["x"] = call
    return frame


ATTACKS: dict[str, Callable[[str], Any]] = {
    "os.system": lambda marker: Made(os.system, (f"touch {marker}",)),
    "exec": lambda marker: Made(exec, (f"open({marker!r}, 'w').close()",)),
    "eval": lambda marker: Made(eval, (f"open({marker!r}, 'w').close()",)),
    "open": lambda marker: Made(open, (marker, "w")),
    "numpy.save": lambda marker: Made(np.save, (marker, 1)),
    "getattr": lambda marker: Made(getattr, (Made(open, (marker, "w")), "close")),
    "partial": lambda marker: Made(functools.partial, (Made(open, (marker, "w")),)),
    "methodcaller": lambda marker: Made(operator.methodcaller("touch"), (Path(marker),)),
    "in an allowed call": lambda marker: Made(np.dtype, (Made(open, (marker, "w")),)),
    "in a list": lambda marker: [1, {"x": Made(open, (marker, "w"))}],
    "in a column": lambda marker: pd.DataFrame({"o": pd.Series([Made(open, (marker, "w"))], dtype=object)}),
    "as a name": lambda marker: pd.DataFrame([[1.0]], columns=pd.Index([Made(open, (marker, "w"))])),
    "as an attribute": lambda marker: evil_attribute(Made(open, (marker, "w"))),
}


def assert_attack_fails(path: Path, marker: Path, stream: bytes) -> str:
    """The stream makes the marker when it is unpickled, but does not when it is read here, and is refused."""
    with contextlib.suppress(Exception):  # what comes after the marker does not matter
        pickle.loads(stream)
    assert marker.exists(), "this attack is none"
    marker.unlink()
    path.write_bytes(stream)
    with pytest.raises(UserError) as caught:
        read_table(path)
    assert not marker.exists()
    return str(caught.value)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("attack", ATTACKS)
def test_runs_nothing(tmp_path: Path, attack: str, protocol: int) -> None:
    marker = tmp_path / "marker.npy"
    stream = pickle.dumps(ATTACKS[attack](str(marker)), protocol)
    message = assert_attack_fails(tmp_path / "jets.pkl", marker, stream)
    assert "refuses to load" in message


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def class_named(module: str, name: str) -> bytes:
    return b"\x80\x04" + text(module) + text(name) + b"\x93"


# Streams that no pickler writes: `{}` is the command, a string of protocol 0.
HANDMADE: dict[str, bytes] = {
    "GLOBAL": b"cos\nsystem\nS'{}'\n\x85R.",
    "INST": b"(S'{}'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'{}'\no.",
    "dotted name": class_named("shutil", "os.system") + b"S'{}'\n\x85R.",
    "dotted name in an allowed module": class_named("pandas.io.common", "os.system") + b"S'{}'\n\x85R.",
    "dotted name in an allowed package": class_named("pandas", "io.common.os.system") + b"S'{}'\n\x85R.",
    "result thrown away": class_named("os", "system") + b"S'{}'\n\x85R0K\x01.",
}


@pytest.mark.parametrize("attack", HANDMADE)
def test_runs_nothing_handmade(tmp_path: Path, attack: str) -> None:
    marker = tmp_path / "marker"
    stream = HANDMADE[attack].replace(b"{}", f"touch {marker}".encode())
    assert "os.system" in assert_attack_fails(tmp_path / "jets.pkl", marker, stream)


def test_names_what_it_refuses(tmp_path: Path) -> None:
    (tmp_path / "jets.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / "jets.pkl")
    assert str(caught.value) == (
        "jets.pkl: refuses to load os.system: a pickle may run code, and only tables of numbers are read;"
        " save it as parquet"
    )


def test_refused_name_is_shown_on_one_harmless_line(tmp_path: Path) -> None:
    stream = class_named("a\nb", "\x1b[2J" + "x" * 200) + b"."
    (tmp_path / "t.pkl").write_bytes(stream)
    with pytest.raises(UserError, match="refuses to load") as caught:
        read_table(tmp_path / "t.pkl")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_refuses_registered_extensions(tmp_path: Path) -> None:
    """An extension's object may be cached in this process, so that no name is looked up."""
    marker = tmp_path / "m"
    copyreg.add_extension("posix", "system", 240)
    try:
        stream = pickle.dumps(Made(os.system, (f"touch {marker}",)), 2)
        assert b"\x82\xf0" in stream
        assert "EXT1" in assert_attack_fails(tmp_path / "t.pkl", marker, stream)
    finally:
        copyreg.remove_extension("posix", "system", 240)
        copyreg.clear_extension_cache()


@pytest.mark.parametrize("stream", [b"Pname\n.", b"\x80\x04K\x01Q.", b"\x80\x05\x97.", b"\x80\x05C\x00\x98."])
def test_refuses_what_lies_outside_the_stream(tmp_path: Path, stream: bytes) -> None:
    (tmp_path / "t.pkl").write_bytes(stream)
    with pytest.raises(UserError, match="refuses pickle opcode"):
        read_table(tmp_path / "t.pkl")


@pytest.mark.parametrize(
    "stream",
    [
        class_named("pandas", "DataFrame") + b"}" + text("__new__") + b"K\x01sb.",  # state for a class
        class_named("pandas", "DataFrame") + b")\x81}" + text("__class__") + b"K\x01sb.",
        class_named("pandas", "DataFrame") + b")\x81N}" + text("args") + b"K\x01s\x86b.",
        class_named("pandas", "DataFrame") + b")\x81K\x01a.",
        class_named("pandas", "DataFrame") + b")\x81K\x01K\x02s.",
        class_named("pandas", "DataFrame") + b")\x81)R.",
        class_named("pandas", "DataFrame") + b")}" + text("x") + b"K\x01s\x92.",
        class_named("_codecs", "encode") + text("a") + text("rot13") + b"\x86R.",
    ],
    ids=["class", "__class__", "slots", "append", "setitem", "call", "keywords", "encode"],
)
def test_stand_ins_cannot_be_bent(tmp_path: Path, stream: bytes) -> None:
    (tmp_path / "t.pkl").write_bytes(stream)
    with pytest.raises(AtlasaeError):
        read_table(tmp_path / "t.pkl")
    frame = mixed_frame()
    assert_same_table(read_table(pickled(tmp_path / "good.pkl", frame)), expected_table(frame))


def test_knows_one_encoding_of_bytes(tmp_path: Path) -> None:
    stream = pickle.dumps(FRAMES["object names"](), 2)
    assert stream.count(b"latin1") == 1
    (tmp_path / "t.pkl").write_bytes(stream.replace(b"latin1", b"rot_13"))
    with pytest.raises(UserError, match="layout of an unknown pandas"):
        read_table(tmp_path / "t.pkl")


def test_reads_pickles_without_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, expected = pickled(tmp_path / "t.pkl", mixed_frame()), expected_table(mixed_frame())
    for name in ("pandas", "pyarrow", "pyarrow.lib", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert_same_table(read_table(path), expected)


# Packed pickles, and columns of objects


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
def test_packed_pickles_come_back_packed(tmp_path: Path, suffix: str) -> None:
    made = mixed_frame()
    made.to_pickle(tmp_path / f"t.pkl{suffix}")
    table = read_table(tmp_path / f"t.pkl{suffix}")
    assert_same_table(table, expected_table(made))
    write_table(tmp_path / f"b.pkl{suffix}", table)
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / f"b.pkl{suffix}"), made, check_column_type=False)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)])
def test_packed_files_that_are_no_pickles(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, path = tmp_path / "marker", tmp_path / f"t.pkl{suffix}"
    path.write_bytes(pack(pickle.dumps(Made(os.system, (f"touch {marker}",)))))
    with pytest.raises(UserError, match="refuses to load posix.system"):
        read_table(path)
    assert not marker.exists()
    for damaged in (pack(pickle.dumps(mixed_frame()))[:-30], b"PK\3\4", b"hello"):
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=r"t\.pkl\.\w+: damaged: does not unpack"):
            read_table(path)
    monkeypatch.setattr(reader, "_ALWAYS", 1000)
    path.write_bytes(pack(bytes(1_000_000)))
    with pytest.raises(UserError, match="unpacks to 100 times its size and more"):
        read_table(path)


OBJECTS: dict[str, tuple[list[Any], str]] = {
    "floats": ([1.5, 2.0, -3.0, 4.0], "number"),
    "whole numbers": ([1, 2, 3, 1 << 40], "number"),
    "lists": ([[1.5], [], [2.0, 3.0], [4.0]], "list"),
    "arrays": ([np.ones(2, "f4"), np.zeros(0, "f4"), np.ones(1, "f4"), np.ones(3, "f4")], "array"),
}


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("name", OBJECTS)
def test_columns_of_objects_come_back_as_objects(tmp_path: Path, name: str, protocol: int) -> None:
    values, kind = OBJECTS[name]
    made = mixed_frame().assign(what=pd.Series(values, index=mixed_frame().index, dtype=object))
    table = read_table(pickled(tmp_path / "t.pkl", made, protocol))
    assert (table.objects, table.skipped) == ({"what": kind}, ())
    write_table(tmp_path / "b.pkl", table)
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "b.pkl"), made, check_column_type=False)
    assert [type(one) for one in pd.read_pickle(tmp_path / "b.pkl")["what"]] == [type(one) for one in values]


@pytest.mark.parametrize(
    "values",
    [[1, 2.0], [True, False], [None, 1.0], [[1.0], None], [[1, "a"], [2]], [[[1.0]], [[2.0]]], [1 << 70, 1]],
    ids=ascii,
)
def test_objects_are_kept_as_json(tmp_path: Path, values: list[Any]) -> None:
    made = pd.DataFrame({"pt": [1.0, 2.0], "what": pd.Series(values, dtype=object)})
    table = read_table(pickled(tmp_path / "t.pkl", made))
    assert (table.objects, table.skipped) == ({"what": "json"}, ())
    write_table(tmp_path / "b.pkl", table)
    assert repr(pd.read_pickle(tmp_path / "b.pkl")["what"].tolist()) == repr(values)


def nested(times: int) -> list[Any]:
    one: list[Any] = ["x" * 100]
    for _ in range(times):
        one = [one, one]
    return one


def deep(levels: int) -> list[Any]:
    one: list[Any] = []
    for _ in range(levels):
        one = [one]
    return one


def test_objects_that_would_fill_the_memory_are_damage_or_skipped(tmp_path: Path) -> None:
    made = pd.DataFrame({"what": pd.Series([nested(40)], dtype=object)})
    with pytest.raises(DamagedFileError, match="its rows share their objects"):
        read_table(pickled(tmp_path / "t.pkl", made))
    for one in (deep(60), 1 << 20_000):
        made = pd.DataFrame({"pt": [1.0], "what": pd.Series([one], dtype=object)})
        assert read_table(pickled(tmp_path / "t.pkl", made)).skipped == ("what",)


def test_a_long_category_is_not_very_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_ALWAYS", 1000)
    made = pd.DataFrame({"what": pd.Categorical.from_codes([0] * 2000, ["x" * 10_000])})
    with pytest.raises(DamagedFileError, match="its rows share their texts"):
        read_table(pickled(tmp_path / "t.pkl", made))


def test_a_column_that_is_no_json_is_damage(tmp_path: Path) -> None:
    for kind, text in (("json", "{"), ("json Int64", '"a"'), ("json datetime64[us]", "[]"), ("category", "a")):
        categories: Any = {"what": {"values": ["b"], "dtype": "string", "kind": "", "ordered": False}}
        table = Table({"what": ak.Array([text])}, objects={"what": kind}, categories=categories)
        with pytest.raises(DamagedFileError):
            write_table(tmp_path / "t.pkl", table)


def test_one_list_is_not_many_rows(tmp_path: Path) -> None:
    one = list(map(float, range(100)))
    with pytest.raises(DamagedFileError, match="its rows share their numbers"):
        read_table(pickled(tmp_path / "t.pkl", pd.DataFrame({"what": pd.Series([one] * 1000, dtype=object)})))


TEXTS = {
    "object": (object, "text"),
    "str": (pd.StringDtype("pyarrow", np.nan), "str[pyarrow]"),
    "str of python": (pd.StringDtype("python", np.nan), "str[python]"),
    "string": (pd.StringDtype("pyarrow"), "string[pyarrow]"),
    "string of python": (pd.StringDtype("python"), "string[python]"),
}


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("name", TEXTS)
def test_texts_come_back_in_the_type_that_they_had(tmp_path: Path, name: str, protocol: int) -> None:
    dtype, kind = TEXTS[name]
    made = mixed_frame()
    made["what"] = pd.Series(["a", "", "b-jet é\n", "a"], index=made.index, dtype=dtype)
    made["more"] = pd.Series(["x"] * 4, index=made.index, dtype=dtype)
    made = made.iloc[::-1].iloc[:3]  # views of arrays that are longer
    table = read_table(pickled(tmp_path / "t.pkl", made, protocol))
    assert (table.objects, table.skipped) == ({"what": kind, "more": kind}, ())
    write_table(tmp_path / "b.pkl", table)
    back = pd.read_pickle(tmp_path / "b.pkl")
    pd.testing.assert_frame_equal(back, made, check_column_type=False)
    assert back.dtypes.tolist() == made.dtypes.tolist()


def test_one_text_is_not_very_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_ALWAYS", 1000)
    text = "x" * 10_000
    for dtype in (object, "string[python]"):
        made = pd.DataFrame({i: pd.Series([text] * 60, dtype=dtype) for i in range(60)})
        with pytest.raises(DamagedFileError, match="share their texts"):
            read_table(pickled(tmp_path / "t.pkl", made))
    made = pd.DataFrame({"a": pd.Series(["light"] * 1000, dtype=object)})
    assert read_table(pickled(tmp_path / "t.pkl", made)).objects == {"a": "text"}


# CSV


def csv_of(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


CSVS = {
    "pandas": ",pt,n\n3,1.5,2\n7,-2e-05,3\n",
    "fixed": "pt,m\n1.500,-0.020\n10.000,0.001\n",
    "savetxt": "pt m\n1.500000000000000000e+00 2.000000000000000000e+00\n",
    "single": "pt,m\n0.1,12345.678\n0.33333334,1e-05\n",
    "double": "pt,m\n0.1,0.30000000000000004\n",
    "dos": "pt;who;m\r\n1.0;a;2.0\r\n",
    "quoted": 'pt,who\n1.0,"a, ""b""\nc"\n2.0,\n',
    "missing": "pt,m\n1.5,\n,2.5\n",
    "missing of whole numbers": "pt,m\n1,\n,-2\n",
    "missing by words": "pt,m,x\n1.5,NA,0.5\nNULL,2,NaN\n",
    "all missing": "pt,m,x\n1.5,,nan\n2.5,,nan\n",
    "words": "pt,who\n1.5,NA\n2.5,None\n",
    "minus zero": "pt,m\n1,-0\n2,1\n",
    "missing of long numbers": "pt,event\n1.5,\n2.5,9007199254740993\n",
    "long numbers among others": "pt,x\n1.5,0.5\n2.5,9007199254740993\n",
    "mixed": "pt,m\n1.5,x\n2.5,2\n",
    "long": "event,pt\n1234567890123456789012,1.5\n",
    "zeros": "run,pt\n007,1.5\n",
    "digits": "pt,m\n123456,0.00123457\n1.5,1e-07\n",
    "no rows": "pt,m\n",
    "blanks in names": "jet 1 pt,m\n1.0,2.0\n",
    "tabs": "pt\tm\n1.0\t2.0\n",
}


@pytest.mark.parametrize("name", CSVS)
def test_csv_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    path = csv_of(tmp_path / "t.csv", CSVS[name])
    with open_table(path) as opened:
        events = opened.events
        columns = events.read([branch.name for branch in events.branches], 0, events.entries)
        with create_table(tmp_path / "b.csv", opened.facts) as writer:
            writer.extend(columns)
        assert opened.notes == ()
    assert (tmp_path / "b.csv").read_bytes() == path.read_bytes()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(width=32), min_size=1), form=st.sampled_from(["", "%.3f", "%.9e", "%.5g", "single"]))
def test_numbers_of_csv_come_back_as_they_were(tmp_path: Path, values: list[float], form: str) -> None:
    texts = [form % value if "%" in form else str(np.float32(value)) if form else repr(value) for value in values]
    path = csv_of(tmp_path / "t.csv", "\n".join(["x,y", *(f"{text},1" for text in texts)]) + "\n")
    with open_table(path) as opened, create_table(tmp_path / "b.csv", opened.facts) as writer:
        writer.extend(opened.events.read(["x", "y"], 0, len(values)))
    assert (tmp_path / "b.csv").read_text() == path.read_text()


@pytest.mark.parametrize(("cells", "dtype"), [("1.5 2.5", "<f4"), ("1 2", "<f8"), ("1e-9 0.25000000001", "<f8")])
@pytest.mark.parametrize("word", ["", "NA", "nan", "NaN", "<NA>"])
def test_numbers_may_be_missing_in_csv(tmp_path: Path, cells: str, dtype: str, word: str) -> None:
    first, second = cells.split()
    with open_table(csv_of(tmp_path / "t.csv", f"n,x\n1,{first}\n2,{word}\n3,{second}\n")) as opened:
        read = opened.events.read(["x"], 0, 3)["x"].to_numpy()
    assert np.array_equal(read, [float(first), np.nan, float(second)], equal_nan=True)
    assert opened.events.branches[1].dtype == dtype


def test_two_words_for_missing_numbers_become_one(tmp_path: Path) -> None:
    with open_table(csv_of(tmp_path / "t.csv", "n,x\n1,1.5\n2,\n3,nan\n")) as opened:
        assert opened.notes == ("column 'x' comes back as the same numbers, written in another form",)


def test_numbers_in_no_form_come_back_as_numbers(tmp_path: Path) -> None:
    with open_table(csv_of(tmp_path / "t.csv", "pt\tm\n1.50\t1\n+2.5\t2\n")) as opened:
        assert opened.notes == ("column 'pt' comes back as the same numbers, written in another form",)
        assert opened.events.read(["pt"], 0, 2)["pt"].tolist() == [1.5, 2.5]


def test_csv_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BLOCK", 50)
    path = csv_of(tmp_path / "t.csv", "n,who\n" + "".join(f'{i},"a\n{i}"\n' for i in range(100)))
    with open_table(path) as opened:
        assert opened.events.entries == 100
        for start, stop in ((0, 100), (37, 63), (99, 100), (40, 40)):
            read = opened.events.read(["n", "who"], start, stop)
            assert read["n"].tolist() == list(range(start, stop))
            assert read["who"].tolist() == [f"a\n{i}" for i in range(start, stop)]


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"", UserError, "names no columns in its first line"),
        (b"1.0,2.0\n3.0,4.0\n", UserError, "names no columns in its first line"),
        (b"pt,pt\n1.0,2.0\n", UserError, "column 'pt' is there twice"),
        (b"pt,m\n1.0\n", DamagedFileError, "row 1 has 1 cells, where the first line names 2 columns"),
        (b"pt,m\n1.0,\xff\n", UserError, "no CSV in UTF-8"),
        (b'pt,m\n1.0,"2\n', UserError, "no CSV in UTF-8"),
    ],
)
def test_csv_that_is_none(tmp_path: Path, content: bytes, kind: type[AtlasaeError], message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(kind, match=message):
        read_table(tmp_path / "t.csv")


# What is no table


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"pt": [1.0]}, "dict"),
        ([1.0], "list"),
        (1.0, "float"),
        (np.ones(3), "numpy array"),
        (pd.Series([1.0]), "Series"),
        (pd.Index([1.0]), "Index"),
    ],
    ids=["dict", "list", "float", "array", "series", "index"],
)
def test_says_what_a_pickle_holds_instead(tmp_path: Path, value: Any, kind: str) -> None:
    for protocol in (0, 2, 5):
        with pytest.raises(UserError, match=f"t.pkl: holds an object of type {kind}, not a DataFrame"):
            read_table(pickled(tmp_path / "t.pkl", value, protocol))


def odd_frame(**how: Any) -> Any:
    return pd.DataFrame({"pt": [1.0, 2.0, 4.0], "m": np.array([1, 2, 3], np.int16)}, **how)


ODD_FRAMES: dict[str, Callable[[], Any]] = {
    "backwards": lambda: odd_frame(index=pd.RangeIndex(3, 0, -1)),
    "steps": lambda: odd_frame(index=pd.RangeIndex(-4, 5, 3, name="row")),
    "one row": lambda: odd_frame(index=pd.RangeIndex(7, 10)).iloc[:1],
    "no rows": lambda: odd_frame(index=pd.RangeIndex(7, 10)).iloc[:0],
    "no range": lambda: odd_frame(index=[3, 2, 1]),
    "a number as name": lambda: odd_frame(index=pd.Index([5, 3, 1], name=7)),
    "name of names": lambda: odd_frame().rename_axis(columns="variable"),
    "number of names": lambda: odd_frame().rename_axis(columns=0),
    "integer names": lambda: odd_frame().set_axis([30, 10], axis=1),
    "float names": lambda: odd_frame().set_axis([0.5, 1.0], axis=1),
    "nulls": lambda: odd_frame().assign(x=[1.0, np.nan, 3.0]),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("frame", ODD_FRAMES)
def test_labels_come_back_as_they_were(tmp_path: Path, suffix: str, frame: str) -> None:
    made, first, second = ODD_FRAMES[frame](), tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    if suffix == ".parquet" and isinstance(made.index.name, int):
        pytest.skip("pandas makes it a string")
    write, read = (made.to_pickle, pd.read_pickle) if suffix == ".pkl" else (made.to_parquet, pd.read_parquet)
    write(first)
    table = read_table(first)
    write_table(second, table)
    assert table.notes == ()
    before, after = read(first), read(second)
    pd.testing.assert_frame_equal(after, before, check_exact=True, check_index_type="equiv", check_column_type=False)
    assert type(after.index) is type(before.index) or not len(before)
    assert [type(name) for name in after.columns] == [type(name) for name in before.columns]
    if suffix == ".parquet":
        nulls = [[column.null_count for column in pq.read_table(path).columns] for path in (first, second)]
        assert nulls[0] == nulls[1]


def test_mixed_names_keep_their_types(tmp_path: Path) -> None:
    made = odd_frame().assign(**{"0": 1, "1": 2}).set_axis(["pt", 0, 0.5, True], axis=1)
    write_table(tmp_path / "b.pkl", read_table(pickled(tmp_path / "a.pkl", made)))
    assert [repr(name) for name in pd.read_pickle(tmp_path / "b.pkl")] == ["'pt'", "0", "0.5", "True"]


def test_rows_that_are_missing_make_no_range(tmp_path: Path) -> None:
    write_table(tmp_path / "t.pkl", Table({"pt": np.ones(3)}, np.array([5, 4, 1]), ranged=True))
    assert pd.read_pickle(tmp_path / "t.pkl").index.tolist() == [5, 4, 1]


def test_what_is_not_kept_is_told(tmp_path: Path) -> None:
    made = odd_frame()
    made.attrs["run"] = (7,)
    assert read_table(pickled(tmp_path / "t.pkl", made)).notes == (
        "attributes of the table are left out: 1 in its attrs",
    )


def test_metadata_of_parquet_is_kept(tmp_path: Path) -> None:
    arrow = pa.Table.from_pandas(odd_frame())
    pq.write_table(arrow.replace_schema_metadata(arrow.schema.metadata | {b"cut": b"pt > 20"}), tmp_path / "a.pq")
    rewritten(tmp_path / "a.pq", tmp_path / "b.pq")
    assert pq.read_schema(tmp_path / "b.pq").metadata == pq.read_schema(tmp_path / "a.pq").metadata


REFUSED_FRAMES: dict[str, tuple[Any, str]] = {
    "two names": (pd.DataFrame(np.ones((2, 2)), columns=["a", "a"]), "column 'a' is there twice"),
    "1 and '1'": (pd.DataFrame(np.ones((2, 2)), columns=pd.Index([1, "1"], dtype=object)), "'1' is there twice"),
    "nested names": (
        pd.DataFrame(np.ones((1, 2)), columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])),
        "Multi",
    ),
    "dates as names": (pd.DataFrame(np.ones((1, 1)), columns=pd.to_datetime(["2020"])), "DatetimeIndex"),
    "tuple as name": (pd.DataFrame({"a": [1]}).set_axis(pd.Index([(1, 2)], tupleize_cols=False), axis=1), "tuple"),
    "rows by interval": (pd.DataFrame({"a": [1]}, index=pd.CategoricalIndex([0.5])), "its row index is a Categor"),
    "rows without a label": (
        pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_arrays([[1, 2], ["a", None]])),
        r"MultiIndex of what no column holds: use reset_index\(\) before saving",
    ),
    "no name": (pd.DataFrame(np.ones((1, 2)), columns=["a", None]), "a column's name is a NoneType"),
}


@pytest.mark.parametrize("frame", REFUSED_FRAMES)
def test_refuses_frames_that_are_no_table_of_numbers(tmp_path: Path, frame: str) -> None:
    made, reason = REFUSED_FRAMES[frame]
    with pytest.raises(UserError, match=reason):
        read_table(pickled(tmp_path / "t.pkl", made))


def test_names_of_parquet_that_are_several_come_back(tmp_path: Path) -> None:
    REFUSED_FRAMES["nested names"][0].to_parquet(tmp_path / "a.parquet")
    rewritten(tmp_path / "a.parquet", tmp_path / "b.parquet")
    before, after = (pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    pd.testing.assert_frame_equal(after, before)


def test_refuses_unknown_layouts(tmp_path: Path) -> None:
    stream = io.BytesIO()
    OldPickler(stream, 2).dump(old_object("pandas.core.frame", "DataFrame", {"_data": {}}))
    (tmp_path / "t.pkl").write_bytes(stream.getvalue())
    with pytest.raises(UserError, match="layout of an unknown pandas"):
        read_table(tmp_path / "t.pkl")


def test_files_that_are_not_there_or_not_tables(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(UserError, match="no such file"):
            read_table(tmp_path / f"none{suffix}")
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(UserError, match=r"cannot read .*folder"):
            read_table(tmp_path / f"folder{suffix}")
        for content in (b"hello, jets\n", b"counts,pt\n1,2\n", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"root\x00\x00"):
            (tmp_path / f"t{suffix}").write_bytes(content)
            with pytest.raises(UserError):
                read_table(tmp_path / f"t{suffix}")
    with pytest.raises(UserError, match=r"'\.xyz' is no table's suffix: use \.pkl, \.parquet, \.csv, \.h5 or \.npz"):
        read_table(tmp_path / "t.xyz")


def test_refuses_a_second_object(tmp_path: Path) -> None:
    (tmp_path / "t.pkl").write_bytes(2 * pickle.dumps(pd.DataFrame({"a": [1.0]})))
    with pytest.raises(UserError, match="goes on after its first object"):
        read_table(tmp_path / "t.pkl")


def test_suffixes() -> None:
    assert all(is_table(Path(name)) for name in ("a.pkl", "a.parquet", "a.PKL", "x/a.b.pq", "a.pkl.gz", "a.csv.xz"))
    assert not any(is_table(Path(name)) for name in ("a.root", "a.xyz", "pkl", "a.parquet.gz", "a.gz", "a"))


# Nulls in parquet


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_nulls_among_floats_are_nan(tmp_path: Path) -> None:
    pd.DataFrame({"m": [1.0, np.nan]}).to_parquet(tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet")["m"].null_count == 1
    assert_same_array(read_table(tmp_path / "t.parquet").columns["m"], np.array([1.0, np.nan]))


def test_refuses_nulls_beside_nan(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column 'm' has nulls and NaN"):
        read_table(parquet(tmp_path / "t.parquet", m=pa.array([float("nan"), None])))


def test_parquet_without_pandas_metadata(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.pq", pt=np.ones(3, "f4"), who=["a", "b", "c"], nested=[[1], [2], [3]])
    table = read_table(path)
    assert_same_array(table.columns["pt"], np.ones(3, "f4"))
    assert {name: table.columns[name].tolist() for name in ("who", "nested")} == {
        "who": ["a", "b", "c"],
        "nested": [[1], [2], [3]],
    }


def test_parquet_whose_index_was_left_out_by_another_tool(tmp_path: Path) -> None:
    write_table(tmp_path / "t.pq", Table({"pt": np.ones(2)}, np.array([4, 2]), "row"))
    pq.write_table(pq.read_table(tmp_path / "t.pq").select(["pt"]), tmp_path / "t.pq")
    assert_same_table(read_table(tmp_path / "t.pq"), Table({"pt": np.ones(2)}))


def test_parquet_whose_rows_were_picked_by_another_tool(tmp_path: Path) -> None:
    pd.DataFrame({"pt": np.arange(9.0)}, index=pd.RangeIndex(5, 14)).to_parquet(tmp_path / "t.pq")
    pq.write_table(pq.read_table(tmp_path / "t.pq").slice(2, 3), tmp_path / "t.pq")
    assert_same_table(read_table(tmp_path / "t.pq"), Table({"pt": np.arange(2.0, 5)}))


def test_refuses_parquet_with_one_name_twice(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "t.pq")
    with pytest.raises(UserError, match="column 'a' is there twice"):
        read_table(tmp_path / "t.pq")


def test_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "t.parquet", a=[1.0])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"writing a table needs pandas: pip install 'atlasae\[tables\]'"):
        write_table(tmp_path / "t.pkl", Table({"a": np.ones(1)}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for touch in (lambda: read_table(path), lambda: write_table(path, Table({"a": np.ones(1)}))):
        with pytest.raises(UserError, match=r"parquet needs pyarrow: pip install 'atlasae\[tables\]'"):
            touch()


# Damage


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_truncated_pickles_are_damaged(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps(mixed_frame(), protocol)
    for length in range(0, len(whole), 7):
        (tmp_path / "t.pkl").write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=r"t\.pkl: damaged"):
            read_table(tmp_path / "t.pkl")


def test_truncated_parquet_is_damaged(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", expected_table(mixed_frame()))
    whole = (tmp_path / "t.parquet").read_bytes()
    for length in range(0, len(whole), 61):
        (tmp_path / "t.parquet").write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=r"t\.parquet: damaged"):
            read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_never_end_in_a_traceback(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"t{suffix}"
    if not whole.exists():  # once for all examples
        write_table(whole, expected_table(mixed_frame()))
    content = bytearray(whole.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(AtlasaeError):
        read_table(path)


def test_changed_numbers_in_our_parquet_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, Table({"pt": np.random.default_rng(1).normal(size=1000)}))
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError):
        read_table(path)


@pytest.mark.parametrize(
    "stream",
    [b"\x80\x02Nr\xff\xff\xff\x7f.", b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"x."],
    ids=["memo index", "length"],
)
def test_a_changed_size_takes_no_memory(tmp_path: Path, stream: bytes) -> None:
    (tmp_path / "t.pkl").write_bytes(stream)
    with pytest.raises(DamagedFileError, match="breaks off"):
        read_table(tmp_path / "t.pkl")


def test_sizes_that_do_not_fit_are_damage(tmp_path: Path) -> None:
    whole, rows = pickle.dumps(pd.DataFrame({"a": np.arange(300.0)})), b"M\x2c\x01"  # 300, as a two-byte integer
    assert whole.count(rows) == 2  # of the block, and of the rows' RangeIndex
    for position, reason in ((whole.index(rows), "cannot reshape"), (whole.rindex(rows), "block of shape")):
        (tmp_path / "t.pkl").write_bytes(whole[:position] + b"M\x2b\x01" + whole[position + 3 :])
        with pytest.raises(DamagedFileError, match=rf"contradicts itself \({reason}"):
            read_table(tmp_path / "t.pkl")


def test_rows_that_no_number_is_of_are_not_made(tmp_path: Path) -> None:
    made = pd.DataFrame({"text": []}, index=pd.RangeIndex(5, 5))
    whole = pickle.dumps(made, 5)
    end = whole.rindex(b"K\x05")
    (tmp_path / "t.pkl").write_bytes(whole[:end] + b"J\x00\x00\x01\x00" + whole[end + 2 :])
    with pytest.raises(DamagedFileError, match=r"6553. rows in \d+ bytes"):
        read_table(tmp_path / "t.pkl")


def test_columns_beyond_count_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_COLUMNS", 50)
    path = pickled(tmp_path / "t.pkl", pd.DataFrame(np.empty((0, 51))))
    with pytest.raises(UserError, match=r"has 51 columns: 50 are read at most"):
        read_table(path)
    assert len(read_table(pickled(tmp_path / "t.pkl", pd.DataFrame(np.ones((2, 50))))).columns) == 50


def recorded(path: str, *args: Any, state: Any = None) -> Recorded:
    found = stand_in(path)(*args)
    found.state = state
    return found


def blocks_of_the_same_numbers(blocks: int, rows: int) -> Recorded:
    """The records of a pickle whose blocks refer to one array."""
    dtype = recorded("numpy.dtype", "f8", state=(3, "<"))
    values = recorded("numpy._core.numeric._frombuffer", bytes(8 * rows), dtype, (1, rows), "C")
    locations = [recorded("builtins.slice", i, i + 1, 1) for i in range(blocks)]
    made = tuple(recorded("pandas._libs.internals._unpickle_block", values, location, 2) for location in locations)
    index = stand_in("pandas.core.indexes.range.RangeIndex")
    axes = [
        recorded("pandas._new_Index", index, {"start": 0, "stop": n, "step": 1, "name": None}) for n in (blocks, rows)
    ]
    return recorded("pandas.DataFrame", state={"_mgr": recorded("pandas.BlockManager", made, axes)})


def test_one_array_is_not_many_columns() -> None:
    assert len(reader._table(blocks_of_the_same_numbers(2, 1000), 9000, "t.pkl").columns) == 2
    with pytest.raises(ValueError, match="columns share their numbers"):
        reader._table(blocks_of_the_same_numbers(9, 1000), 9000, "t.pkl")


def test_strings_of_a_buffer_share_nothing_of_it() -> None:
    offsets = np.array([0, 6, 0, 6], "<i4").tobytes()
    buffers = (None, offsets, b"abcdef")
    kind = recorded("pyarrow.type_for_alias", "string")
    with pytest.raises(ValueError, match="strings that end before they begin"):
        reader._arrow_strings(recorded("pyarrow._restore_array", (kind, 3, 0, 0, buffers)))
    with pytest.raises(ValueError, match="strings that end before they begin"):
        reader._arrow_strings(recorded("pyarrow._restore_array", (kind, 10**9, 1, 0, buffers)))


def test_keys_made_of_keys_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0]})
    frame.attrs = {((1, 2), 3): "x"}
    with pytest.raises(UserError, match=r"t.pkl: refuses a key made of keys: "):
        read_table(pickled(tmp_path / "t.pkl", frame))


def test_names_for_billions_of_columns_are_damage(tmp_path: Path) -> None:
    whole = pickle.dumps(pd.DataFrame(np.zeros((1, 70_000))))
    stop = (70_000).to_bytes(4, "little")
    assert whole.count(b"J" + stop) >= 2  # of the block, and of the names' RangeIndex
    end = whole.rindex(b"J" + stop)
    (tmp_path / "t.pkl").write_bytes(whole[:end] + b"J\xff\xff\xff\x7f" + whole[end + 5 :])
    with pytest.raises(DamagedFileError, match="its blocks are not its columns"):
        read_table(tmp_path / "t.pkl")
