"""HDF5 and npz: tables of h5py, pandas and numpy come back as they were."""

import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlasae.errors import AtlasaeError, DamagedFileError, UserError
from atlasae.files import datasets
from atlasae.files.events import Table
from atlasae.files.tables import create_table, open_table, read_table, write_table

h5py = pytest.importorskip("h5py")
pd = pytest.importorskip("pandas")

ROWS = 6
COLUMNS = {
    "pt": np.linspace(20, 70, ROWS).astype(np.float32),
    "m": np.linspace(1, 2, ROWS),
    "n": np.arange(ROWS, dtype=np.int16),
    "tag": np.arange(ROWS) % 2 == 0,
    "half": np.arange(ROWS, dtype=np.float16),
    "other": np.arange(ROWS, dtype=">f4"),
    "pair": np.arange(2 * ROWS, dtype=np.float32).reshape(ROWS, 2),
}


def structures() -> np.ndarray[Any, Any]:
    rows = np.empty(ROWS, [(name, values.dtype, values.shape[1:]) for name, values in COLUMNS.items()])
    for name, values in COLUMNS.items():
        rows[name] = values
    return rows


def vlen(values: list[list[float]]) -> Any:
    rows = np.empty(len(values), object)
    rows[:] = [np.array(one, np.float32) for one in values]
    return rows


def write_compound(path: Path) -> None:
    with h5py.File(path, "w") as file:
        made = file.create_dataset("events/jets", data=structures())
        made.attrs.update({"unit": "GeV", "run": 7, "scale": 1.5})


def write_group(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name, values in COLUMNS.items():
            file[f"jets/{name}"] = values
        file["jets"].attrs["unit"] = "GeV"


def write_lists(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("Jet_pt", "Jet_eta"):
            file.create_dataset(name, data=vlen([[1, 2], [], [3]]), dtype=h5py.vlen_dtype(np.float32))
        file.create_dataset("who", data=["a", "", "é"], dtype=h5py.string_dtype())
        file["run"] = np.arange(3)


def copied(path: Path, target: Path) -> None:
    """Write the file again from what is read of it in two pieces."""
    with open_table(path) as opened:
        names, rows = [branch.name for branch in opened.events.branches], opened.events.entries
        with create_table(target, opened.facts, rows) as writer:
            for start, stop in ((0, rows // 2), (rows // 2, rows)):
                writer.extend(opened.events.read(names, start, stop))
        assert (opened.notes, opened.events.unwritable) == ((), [])


def everything(path: Path) -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """The values, dtypes and attributes of all datasets and groups."""
    found = {}
    with h5py.File(path) as file:

        def see(name: str, thing: Any) -> None:
            is_data = isinstance(thing, h5py.Dataset)
            values = [str(np.asarray(x).tolist()) for x in thing[:]] if is_data else None
            found[name] = (values, thing.dtype if is_data else None, dict(thing.attrs))

        file.visititems(see)
    return found


WAYS: dict[str, Callable[[Path], None]] = {"compound": write_compound, "group": write_group, "lists": write_lists}


@pytest.mark.parametrize("way", WAYS)
def test_h5py_comes_back_as_it_was(tmp_path: Path, way: str) -> None:
    WAYS[way](tmp_path / "a.h5")
    copied(tmp_path / "a.h5", tmp_path / "b.h5")
    assert everything(tmp_path / "b.h5") == everything(tmp_path / "a.h5")


def frame(**how: Any) -> Any:
    columns = {name: COLUMNS[name] for name in ("pt", "n", "m")}
    return pd.DataFrame(columns | {"E": np.arange(6.0)}, **how)


@pytest.mark.parametrize("how", [{}, {"index": pd.Index([3, 1, 4, 1, 5, 9], name="row")}], ids=["plain", "labels"])
@pytest.mark.parametrize("words", [{}, {"format": "table"}, {"format": "table", "data_columns": True}], ids=str)
def test_stores_of_pandas_come_back(tmp_path: Path, words: dict[str, Any], how: dict[str, Any]) -> None:
    pytest.importorskip("tables")
    frame(**how).to_hdf(tmp_path / "a.h5", key="x/jets", **words)
    copied(tmp_path / "a.h5", tmp_path / "b.h5")
    before, after = (pd.read_hdf(tmp_path / name, "x/jets") for name in ("a.h5", "b.h5"))
    pd.testing.assert_frame_equal(after, before, check_exact=True)
    if words.get("data_columns"):
        assert len(pd.read_hdf(tmp_path / "b.h5", "x/jets", where="m > 1.5")) == 3


def test_the_longest_table_with_jets_is_read_and_the_others_come_back(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["jets"] = structures()[:4]
        file["few"] = structures()[:2]
        file["tracks/d0"], file["tracks/z0"] = np.arange(9.0), np.arange(9.0)
    with open_table(tmp_path / "a.h5") as opened:
        assert opened.events.entries == 4
    copied(tmp_path / "a.h5", tmp_path / "b.h5")
    assert everything(tmp_path / "b.h5") == everything(tmp_path / "a.h5")


def test_what_is_too_large_to_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_MOST_BESIDE", 4000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["jets"] = structures()
        file["large"], file["small"] = np.arange(1000.0), np.arange(10.0)
    with open_table(tmp_path / "a.h5") as opened:
        assert opened.notes == ("left out, as too large to be kept beside the table, or references: /large",)
    pytest.importorskip("tables")
    monkeypatch.undo()
    frame().assign(what=pd.Series([one * 200_000 for one in "abcdef"], dtype=object)).to_hdf(
        tmp_path / "b.h5", key="jets"
    )
    with open_table(tmp_path / "b.h5") as opened:
        assert [one.name for one in opened.events.unwritable] == ["/jets/block3_values"]


def test_columns_that_hold_no_numbers_are_named(tmp_path: Path) -> None:
    rows = np.zeros(3, [("pt", "f4"), ("who", "S3"), ("z", "c16"), ("cube", "f4", (2, 2))])
    rows["who"], rows["cube"] = [b"abc", b"a\0b", b""], np.arange(12).reshape(3, 2, 2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["jets"] = rows
    with open_table(tmp_path / "a.h5") as opened:
        assert [branch.name for branch in opened.events.branches] == ["pt", "who", "cube"]
        assert [one.name for one in opened.events.unwritable] == ["z"]
        read = opened.events.read(["who", "cube"], 0, 3)
        assert read["who"].to_list() == ["abc", "a\0b", ""] and read["cube"].to_list()[1] == [4, 5, 6, 7]
        with create_table(tmp_path / "b.h5", opened.facts, 3) as writer:
            writer.extend(opened.events.read(["pt", "who", "cube"], 0, 3))
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["jets"].dtype.names == ("pt", "who", "cube")
        assert all(file["jets"][name].tobytes() == rows[name].tobytes() for name in file["jets"].dtype.names)


def write_odd(path: Path) -> None:
    """Attributes of all kinds, chunks, filters, enumerations, links, texts of fixed size, a dataset of many axes."""
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs["edges"], file.attrs["none"] = np.arange(3.0), h5py.Empty("f4")
        group = file.create_group("events", track_order=True)
        group.attrs.create("names", ["a", "éé"], dtype=h5py.string_dtype())
        how = {"chunks": (4,), "compression": "gzip", "shuffle": True, "fletcher32": True, "maxshape": (None,)}
        for name in ("jet_pt", "jet_eta", "jet_phi", "jet_m"):
            group.create_dataset(name, data=np.linspace(1, 2, ROWS), **how).attrs["unit"] = np.bytes_(b"GeV")
        group.create_dataset("flavour", data=np.arange(ROWS, dtype="i1"), dtype=h5py.enum_dtype({"u": 0, "b": 5}))
        group.create_dataset("who", data=np.array([b"abc", b"a"] * 3))
        group.create_dataset("scaled", data=np.arange(ROWS), chunks=(2,), scaleoffset=4)
        group.create_dataset("constituents", data=np.arange(ROWS * 24, dtype=">f4").reshape(ROWS, 6, 4))
        group.create_dataset("tracks", data=np.zeros((ROWS, 3), [("d0", "f2"), ("n", "u1")]), fillvalue=None)
        group["other"] = np.arange(3) * 1j
        file["soft"], file["external"] = h5py.SoftLink("/events/jet_pt"), h5py.ExternalLink("none.h5", "/x")


def test_all_that_hdf5_has_comes_back(tmp_path: Path) -> None:
    write_odd(tmp_path / "a.h5")
    copied(tmp_path / "a.h5", tmp_path / "b.h5")
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        assert list(a["events"]) == list(b["events"])
        for name, one in a["events"].items():
            other = b["events"][name]
            assert one.id.get_type() == other.id.get_type() and one[:].tobytes() == other[:].tobytes()
            filters = [x.id.get_create_plist().get_nfilters() for x in (one, other)]
            assert (filters[0], one.chunks, one.maxshape) == (filters[1], other.chunks, other.maxshape)
            assert {n: (v, one.attrs.get_id(n).dtype) for n, v in one.attrs.items()} == {
                n: (v, other.attrs.get_id(n).dtype) for n, v in other.attrs.items()
            }
        assert b.attrs["edges"].tolist() == [0, 1, 2] and isinstance(b.attrs["none"], h5py.Empty)
        assert b["events"].attrs["names"].tolist() == ["a", "éé"]
        assert [b.get(name, getlink=True).path for name in ("soft", "external")] == ["/events/jet_pt", "/x"]


def test_references_are_told_and_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pt"], file["x"] = np.arange(3.0), np.arange(3.0)
        file["x"].make_scale("x")
        file["pt"].dims[0].attach_scale(file["x"])
    with open_table(tmp_path / "a.h5") as opened:
        assert opened.notes[0].endswith("references: /pt.DIMENSION_LIST, /x.REFERENCE_LIST")


def test_the_outlines_of_equal_files_are_equal(tmp_path: Path) -> None:
    pytest.importorskip("tables")
    frame().to_hdf(tmp_path / "a.h5", key="jets", format="table")
    for first, second in (("a.h5", "b.h5"), ("b.h5", "c.h5")):
        copied(tmp_path / first, tmp_path / second)
    facts = [outline_of(tmp_path / name)[0] for name in ("a.h5", "b.h5", "c.h5")]
    assert facts[0] == facts[1] == facts[2]


def test_datasets_of_columns_that_are_left_out_are_gone(tmp_path: Path) -> None:
    write_group(tmp_path / "a.h5")
    with open_table(tmp_path / "a.h5") as opened, create_table(tmp_path / "b.h5", opened.facts, 3) as writer:
        writer.extend(opened.events.read(["pt", "n"], 0, 3))
    assert everything(tmp_path / "b.h5")["jets/pt"][0] == [str(x) for x in COLUMNS["pt"][:3].tolist()]
    assert set(everything(tmp_path / "b.h5")) == {"jets", "jets/pt", "jets/n"}


def test_a_store_of_pandas_needs_all_columns(tmp_path: Path) -> None:
    pytest.importorskip("tables")
    frame().to_hdf(tmp_path / "a.h5", key="jets")
    with open_table(tmp_path / "a.h5") as opened:
        facts, events = opened.facts, opened.events.read(["pt", "n", "m"], 0, ROWS)
    why = "a store of pandas comes back with all columns, of which some were left out: write .parquet"
    with pytest.raises(UserError, match=why), create_table(tmp_path / "b.h5", facts, ROWS) as writer:
        writer.extend(events)


def test_rows_of_which_the_number_is_not_known_are_written(tmp_path: Path) -> None:
    for name, write in WAYS.items():
        path = tmp_path / f"{name}.h5"
        write(path)
        with open_table(path) as opened, create_table(tmp_path / "b.h5", opened.facts) as writer:
            names = [branch.name for branch in opened.events.branches]
            writer.extend(opened.events.read(names, 0, 1))
            writer.extend(opened.events.read(names, 2, 3))
        assert read_table(tmp_path / "b.h5").columns.keys() == read_table(path).columns.keys()
        assert len(next(iter(read_table(tmp_path / "b.h5").columns.values()))) == 2


def outline_of(path: Path, **changes: Any) -> Any:
    with open_table(path) as opened:
        facts = opened.facts
        facts["dataset"].update(changes)
        return facts, opened.events.read([branch.name for branch in opened.events.branches], 0, ROWS)


def test_a_forged_outline_writes_nothing_outside_of_the_file(tmp_path: Path) -> None:
    write_compound(tmp_path / "other.h5")
    write_group(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/events/jets")
        file.create_dataset("raw", (ROWS,), "f8", external=[(str(tmp_path / "raw"), 0, 48)])
    for columns in ({"/link": {"": {"pt": None}}}, {"/raw": {"": {"pt": None}}}, {"/none": {}}):
        facts, events = outline_of(tmp_path / "a.h5", columns=columns)
        with pytest.raises(DamagedFileError), create_table(tmp_path / "b.h5", facts, ROWS) as writer:
            writer.extend(events)
    assert not (tmp_path / "raw").exists() or not (tmp_path / "raw").read_bytes().strip(b"\0")
    facts, _ = outline_of(tmp_path / "a.h5", outline="c$}#oW&}yXE%1s8d;h")
    with pytest.raises(DamagedFileError), create_table(tmp_path / "b.h5", facts, ROWS):
        pass


def test_texts_that_a_format_would_cut_are_refused(tmp_path: Path) -> None:
    for suffix in (".h5", ".npz"):
        with pytest.raises(UserError, match="column 'x' has a text with the character NUL, which .* cuts: write"):
            write_table(tmp_path / f"a{suffix}", Table({"x": ak.Array(["a", "b\0"])}))


def test_nothing_outside_of_the_file_is_read(tmp_path: Path) -> None:
    np.arange(6.0).tofile(tmp_path / "raw")
    write_compound(tmp_path / "other.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/events/jets")
        file.create_dataset("raw", (6,), "f8", external=[(str(tmp_path / "raw"), 0, 48)])
        layout = h5py.VirtualLayout((6,), structures().dtype)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "events/jets", (6,))
        file.create_virtual_dataset("virtual", layout)
    with pytest.raises(UserError, match="holds no table"):
        read_table(tmp_path / "a.h5")


def test_no_pickle_in_an_attribute_is_run(tmp_path: Path) -> None:
    pytest.importorskip("tables")
    frame().to_hdf(tmp_path / "a.h5", key="jets", format="table")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["jets"].attrs["non_index_axes"] = np.bytes_(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "m") + b"'\ntR.")
    copied(tmp_path / "a.h5", tmp_path / "b.h5")
    assert not (tmp_path / "m").exists()


def test_numbers_without_bytes_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("jets", (1 << 40,), structures().dtype, chunks=(1000,))
    with pytest.raises(UserError, match=r"'/jets' has \d+ values in 0 bytes"):
        read_table(tmp_path / "a.h5")


def test_files_that_are_no_hdf5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"pt,m\n1,2\n")
    with pytest.raises(UserError, match="no HDF5 file, whatever its suffix says"):
        read_table(path)
    write_compound(path)
    whole = path.read_bytes()
    for length in range(8, len(whole), 301):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=r"a\.h5: damaged"):
            read_table(path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"HDF5 needs h5py: pip install 'atlasae\[hdf5\]'"):
        read_table(path)


# npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_comes_back_as_it_was(tmp_path: Path, save: Callable[..., None]) -> None:
    columns = COLUMNS | {"file": np.arange(ROWS), "who": np.array(list("abcdef"))}
    with (tmp_path / "a.npz").open("wb") as stream:  # a column may be called `file`
        save(stream, **{name: values for name, values in columns.items() if name != "file"})
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as made, made.open("file.npy", "w") as member:
        np.lib.format.write_array(member, columns["file"])
    copied(tmp_path / "a.npz", tmp_path / "b.npz")
    before, after = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert before.files == after.files
    for name in before.files:
        assert (after[name].dtype, after[name].tolist()) == (before[name].dtype, before[name].tolist())


def test_structures_in_npz_stay_structures(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", jets=structures())
    copied(tmp_path / "a.npz", tmp_path / "b.npz")
    back = np.load(tmp_path / "b.npz")["jets"]
    assert back.dtype == structures().dtype and back.tobytes() == structures().tobytes()


def test_arrays_of_other_lengths_and_objects_are_named(tmp_path: Path) -> None:
    odd = {"edges": np.arange(3.0), "what": np.array([{}] * ROWS, object), "one": np.array(5)}
    np.savez(tmp_path / "a.npz", pt=COLUMNS["pt"], m=COLUMNS["m"], **odd)
    table = read_table(tmp_path / "a.npz")
    assert list(table.columns) == ["pt", "m"] and set(table.skipped) == set(odd)


def test_no_pickle_in_npz_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return open, (str(tmp_path / "m"), "w")

    np.savez(tmp_path / "a.npz", what=np.array([Evil()], object))
    assert b"builtins" in (tmp_path / "a.npz").read_bytes() or pickle.DEFAULT_PROTOCOL
    assert read_table(tmp_path / "a.npz").skipped == ("what",)
    assert not (tmp_path / "m").exists()


def test_a_header_that_lies_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", pt=np.arange(6.0))
    whole = (tmp_path / "a.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as file:
        file.writestr("pt.npy", zipfile.ZipFile(tmp_path / "a.npz").read("pt.npy").replace(b"(6,)", b"(9,)"))
    with pytest.raises(DamagedFileError, match=r"'pt\.npy' has \d+ bytes for \(9,\) of float64"):
        read_table(tmp_path / "b.npz")
    (tmp_path / "a.npz").write_bytes(whole[:-30])
    with pytest.raises(DamagedFileError, match="damaged: its end is missing"):
        read_table(tmp_path / "a.npz")
    monkeypatch.setattr(datasets, "_ALWAYS", 10)
    monkeypatch.setattr(datasets, "_MOST_GROWTH", 2)
    np.savez_compressed(tmp_path / "c.npz", pt=np.zeros(10_000))
    with pytest.raises(DamagedFileError, match=r"'pt\.npy' has \d+ bytes in \d+"):
        read_table(tmp_path / "c.npz")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_never_end_in_a_traceback(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"a{suffix}"
    if not whole.exists():  # once for all examples
        write_compound(whole) if suffix == ".h5" else np.savez_compressed(whole, pt=COLUMNS["pt"], n=COLUMNS["n"])
    content = bytearray(whole.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read_table(path)
    except AtlasaeError:
        return
