"""An original and its compressed or decompressed file: the jets of both as uproot and pandas read them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot
from conftest import (
    GEV,
    LAYOUTS,
    TREES,
    VARIABLES,
    counted,
    eight,
    jet_columns,
    make_counts,
    random_jets,
    read_tree,
    same_jets,
    succeeded,
    write_layout,
    write_tree,
)
from helpers import merge

from atlasae.compression.chunks import silent
from atlasae.compression.compress import compress_file
from atlasae.compression.format import read_contents
from atlasae.compression.plan import Options
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.trees import open_source
from atlasae.jets.collections import stand_ins
from atlasae.reports import comparison
from atlasae.reports.comparison import JetPairs, Pair, open_pair
from atlasae.training import train

NAMES = ["Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass"]
JETS = ("pt", "eta", "phi", "m")


def jets_of(original: Path, compressed: Path, look: Callable[[Pair], object] = bool) -> dict[str, list[JetPairs]]:
    """The chunks of every collection."""
    found: dict[str, list[JetPairs]] = {}
    with open_pair(original, compressed, silent) as pair:
        look(pair)
        for name, jets in pair.jets():
            found.setdefault(name, []).append(jets)
    return found


def joined(chunks: list[JetPairs]) -> JetPairs:
    """The chunks joined."""

    def whole(name: str) -> np.ndarray | None:
        parts = [getattr(chunk, name) for chunk in chunks]
        return None if parts[0] is None else np.concatenate(parts)

    return JetPairs(*[whole(name) for name in ("before", "after", "same", "counts", "numbers", "latents")])


def only(found: dict[str, list[JetPairs]]) -> JetPairs:
    """The jets of the only collection."""
    (chunks,) = found.values()
    return joined(chunks)


def nano(path: Path, jets: dict[str, np.ndarray], counts: list[int]) -> Path:
    """A NanoAOD-like file of jets given by their flat branches."""
    branches = {name: ak.unflatten(values, counts) for name, values in jets.items()}
    return write_tree(path, "Events", branches, dict.fromkeys(branches, "nJet"))


def read_jets(path: Path, layout: str) -> dict[str, ak.Array]:
    """The four stored variables of a file of a layout, read by uproot."""
    tree = read_tree(path, TREES.get(layout, "Events"))
    return {variable: tree[name] for variable, name in VARIABLES[layout].items()}


def mev(path: Path, layout: str) -> np.ndarray:
    """pt, eta, phi, m in MeV of the jets of a file, computed by numpy from what uproot reads."""
    found = eight(read_jets(path, layout), 1000.0 if layout in GEV else 1.0)
    if "m" not in found:
        square = found["E"] ** 2 - (found["pt"] * np.cosh(found["eta"])) ** 2
        found["m"] = np.sign(square) * np.sqrt(np.abs(square))
    return np.stack([found[v] for v in JETS], axis=1)


def same_values(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether jets are equal, but for the last bits of a mass computed from E and p."""
    largest = np.abs(found - expected).max(axis=0)
    return found.shape == expected.shape and bool((largest <= [1e-6, 1e-9, 1e-12, 1e-2]).all())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with a file of a layout, `in.root`, compressed, `small.root`, and decompressed, `back.root`."""
    known: dict[str, Path] = {}

    def make(layout: str) -> Path:
        if layout not in known:
            folder = tmp_path_factory.mktemp(layout)
            write_layout(folder / "in.root", layout, 30)
            succeeded("compress", folder / "in.root", folder / "small.root", "--step-size", "500B")
            succeeded("decompress", folder / "small.root", folder / "back.root")
            known[layout] = folder
        return known[layout]

    return make


@pytest.fixture
def nanoaod(made: Callable[[str], Path]) -> Path:
    return made("nanoaod")


# --- every layout


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compressed", ["small.root", "back.root"])
def test_jets_are_those_of_the_original_and_of_the_decompressed_file(compressed, layout, made):
    folder = made(layout)
    jets = only(jets_of(folder / "in.root", folder / compressed))
    before, after = (mev(folder / name, layout) for name in ("in.root", "back.root"))
    assert len(before) > 20 and not np.array_equal(before, after)
    assert same_values(jets.before, before) and same_values(jets.after, after)
    stored = [read_jets(folder / name, layout) for name in ("in.root", "back.root")]
    assert jets.same.tolist() == same_jets(*stored).tolist()
    if layout == "flat":
        assert jets.counts is None
        assert jets.numbers.tolist() == [2**40 + i for i in range(30)]
    else:
        assert jets.numbers is None
        assert jets.counts.tolist() == ak.num(next(iter(stored[0].values()))).to_list()


def test_compressed_files_come_chunk_by_chunk(nanoaod):
    with open_source(nanoaod / "small.root") as source:
        expected = [chunk.jets for chunk in read_contents(source).chunks]
    (chunks,) = jets_of(nanoaod / "in.root", nanoaod / "small.root").values()
    assert [len(chunk.before) for chunk in chunks] == expected
    assert len(expected) > 2


def test_decompressed_files_come_chunk_by_chunk(nanoaod, monkeypatch):
    monkeypatch.setattr(Options, "step_size", 100)
    (chunks,) = jets_of(nanoaod / "in.root", nanoaod / "back.root").values()
    assert len(chunks) > 5
    assert same_values(joined(chunks).before, mev(nanoaod / "in.root", "nanoaod"))
    assert same_values(joined(chunks).after, mev(nanoaod / "back.root", "nanoaod"))


def test_latents_are_those_of_the_file(nanoaod):
    words = read_tree(nanoaod / "small.root", "Events")
    expected = np.stack([ak.to_numpy(ak.flatten(words[f"Jet_z{i}"])) for i in range(3)], axis=1)
    assert only(jets_of(nanoaod / "in.root", nanoaod / "small.root")).latents.tolist() == expected.tolist()
    assert only(jets_of(nanoaod / "in.root", nanoaod / "back.root")).latents is None


@pytest.mark.parametrize("layout", ["nanoaod", "xaod", "flat"])
def test_bytes_are_those_of_the_baskets(layout, made):
    folder, found = made(layout), {}

    def look(pair: Pair) -> None:
        (paired,) = pair.paired
        found.update(before=paired.bytes_before, after=paired.bytes_after, exact=paired.exact_jets)

    def baskets(path: str, names: list[str]) -> int:
        with uproot.open(folder / path) as file:
            return sum(int(file[TREES.get(layout, "Events")][name].compressed_bytes) for name in names)

    with open_source(folder / "small.root") as source:
        run = read_contents(source).runs[0]
    standing = stand_ins(run.collections[0].collection, run.counters)
    names = list(VARIABLES[layout].values())
    jets_of(folder / "in.root", folder / "small.root", look)
    assert found == {
        "before": baskets("in.root", names),
        "after": baskets("small.root", standing),
        "exact": run.collections[0].exact_jets,
    }
    jets_of(folder / "in.root", folder / "back.root", look)
    assert found == {"before": baskets("in.root", names), "after": baskets("back.root", names), "exact": None}


def test_a_compressed_file_tells_what_was_promised_and_a_plain_one_does_not(nanoaod):
    with open_pair(nanoaod / "in.root", nanoaod / "small.root", silent) as pair:
        (paired,) = pair.paired
        assert paired.precision == dict.fromkeys(JETS, 1e-3)
        assert paired.latents == ("Jet_z0", "Jet_z1", "Jet_z2")
        assert [word.split(" bits of ")[1].split()[0] for word in paired.meaning] == ["pt", "eta", "phi"]
        assert (pair.facts["original"], pair.facts["compressed"]) == ("in.root", "small.root")
        assert (pair.facts["entries"], pair.facts["tree"]) == (30, "Events")
        assert pair.facts["bytes"] == (nanoaod / "small.root").stat().st_size
    with open_pair(nanoaod / "in.root", nanoaod / "back.root", silent) as pair:
        (paired,) = pair.paired
        assert (paired.precision, paired.latents, paired.meaning) == ({}, (), ())
        assert (pair.facts["compressed"], pair.facts["bytes"]) == ("back.root", (nanoaod / "back.root").stat().st_size)


def test_the_latents_of_a_network_are_outputs_of_a_network(by_hand, jets_file, tmp_path):
    small = tmp_path / "small.root"
    succeeded("compress", jets_file, small, "--model", by_hand, "--precision", "none")
    with open_pair(jets_file, small, silent) as pair:
        assert pair.paired[0].meaning == ("an output of the network",) * 3
        assert set(pair.paired[0].precision.values()) == {None}


@pytest.mark.parametrize("compressed", ["small.root", "back.root"])
def test_progress_is_told_in_entries(compressed, nanoaod, monkeypatch):
    monkeypatch.setattr(Options, "step_size", 100)
    steps: list[tuple[int, int]] = []
    with open_pair(nanoaod / "in.root", nanoaod / compressed, lambda *step: steps.append(step)) as pair:
        assert len(list(pair.jets())) == len(steps) > 2
    assert steps == sorted(steps) and steps[-1] == (30, 30)


# --- collections


def test_several_collections_come_each_under_its_name(tmp_path):
    counts = [make_counts(20, seed) for seed in (1, 2)]
    jets = [counted("nanoaod", many, seed) for seed, many in enumerate(counts, 1)]
    branches = jets[0] | {name.replace("Jet", "FatJet"): array for name, array in jets[1].items()}
    original, small = tmp_path / "in.root", tmp_path / "small.root"
    write_tree(original, "Events", branches, {name: f"n{name.partition('_')[0]}" for name in branches})
    succeeded("compress", original, small)
    found = jets_of(original, small)
    assert list(found) == ["Jet", "FatJet"]
    for many, (name, chunks) in zip(counts, found.items(), strict=True):
        assert joined(chunks).counts.tolist() == many.tolist()
        pt = ak.to_numpy(ak.flatten(branches[f"{name}_pt"])).astype(float) * 1000
        assert joined(chunks).before[:, 0].tolist() == pt.tolist()


# --- tables


def frame(n: int = 40) -> pd.DataFrame:
    """Jets of ten events, in falling pt, in MeV."""
    table = pd.DataFrame({v: random_jets(n)[v].astype(np.float32) for v in JETS})
    table["event"] = np.arange(n) // 4 + 7
    return table.sort_values(["event", "pt"], ascending=[True, False], ignore_index=True)


def write_frame(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".pkl":
        table.to_pickle(path)
    else:
        table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".pkl", ".parquet"])
def test_a_table_is_compared_with_each_form_of_what_became_of_it(suffix, tmp_path):
    table, small = frame(), tmp_path / "small.root"
    original = write_frame(table, tmp_path / f"in{suffix}")
    succeeded("compress", original, small)
    found = only(jets_of(original, small))
    assert found.before.tolist() == table[list(JETS)].to_numpy(np.float64).tolist()
    assert np.unique(found.numbers, return_counts=True)[1].tolist() == [4] * 10
    assert found.counts is None
    for back in (tmp_path / f"back{end}" for end in (".root", ".pkl", ".parquet")):
        succeeded("decompress", small, back)
        plain = only(jets_of(original, back))
        assert np.array_equal(plain.before, found.before) and np.array_equal(plain.after, found.after)
        assert not np.array_equal(plain.before, plain.after)
        assert plain.same.tolist() == found.same.tolist() and plain.numbers.tolist() == found.numbers.tolist()


def test_a_flat_tree_is_compared_with_a_table_made_of_it(made, tmp_path):
    folder = made("flat")
    columns = read_tree(folder / "back.root", "jets")
    write_frame(pd.DataFrame({v: ak.to_numpy(columns[v]) for v in JETS}), tmp_path / "back.parquet")
    found = only(jets_of(folder / "in.root", tmp_path / "back.parquet"))
    assert same_values(found.after, mev(folder / "back.root", "flat"))


def test_jets_in_objects_that_are_not_split_are_compared(tmp_path):
    shapes = Path(__file__).parents[1] / "golden" / "shapes.root"
    compress_file(shapes, tmp_path / "small.root", Options(tree="lorentz_lists_unsplit"))
    jets = only(jets_of(shapes, tmp_path / "small.root"))
    assert len(jets.before) > 100 and 0 < abs(jets.after[:, 0] / jets.before[:, 0] - 1).max() <= 1e-3


def test_rows_without_numbers_have_no_events(tmp_path):
    original = write_frame(pd.DataFrame(jet_columns("flat", 6)), tmp_path / "in.pkl")
    succeeded("compress", original, tmp_path / "small.root")
    assert only(jets_of(original, tmp_path / "small.root")).numbers is None


def test_shuffled_rows_keep_their_events(tmp_path):
    table, numbers = frame(), frame()["event"].to_numpy()
    order = np.random.default_rng(3).permutation(len(table))
    original = write_frame(table.iloc[order], tmp_path / "in.pkl")
    succeeded("compress", original, tmp_path / "small.root", "--step-size", "200B")
    with open_pair(original, tmp_path / "small.root", silent) as pair:
        assert not pair.trees[0].contiguous
    found = only(jets_of(original, tmp_path / "small.root"))
    together = found.numbers[:, None] == found.numbers[None]
    assert np.array_equal(together, numbers[order][:, None] == numbers[order][None])


# --- merged files


def merged(folder: Path, *options: tuple[str, ...]) -> list[Path]:
    """Originals with an odd jet each, compressed with its options; `in.root` and `small.root` are the merged files."""
    files = [folder / f"{i}.root" for i in range(len(options))]
    for i, (file, how) in enumerate(zip(files, options, strict=True)):
        jets = jet_columns("nanoaod", 40, seed=i)
        jets["Jet_pt"][3] = np.nan
        nano(file, jets, [20 - i] + [2] * 9 + [2 + i])
        succeeded("compress", file, file.with_suffix(".small.root"), *how)
    merge(folder / "in.root", *files)
    merge(folder / "small.root", *(file.with_suffix(".small.root") for file in files))
    return files


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files, the second compressed less precisely, and the files merged from them."""
    return merged(tmp_path_factory.mktemp("two"), ("--precision", "1e-3"), ("--precision", "1e-2"))


def test_merged_files_are_compared_run_by_run(two):
    original, small = (two[0].with_name(name) for name in ("in.root", "small.root"))
    with open_pair(original, small, silent) as pair, open_source(small) as source:
        runs = read_contents(source).runs
        assert pair.paired[0].exact_jets == sum(run.collections[0].exact_jets for run in runs) == 2
        assert pair.facts["entries"] == 22
    (chunks,) = jets_of(original, small).values()
    assert len(chunks) == 2
    for file, jets in zip(two, chunks, strict=True):
        alone = only(jets_of(file, file.with_suffix(".small.root")))
        assert np.array_equal(jets.before, alone.before, equal_nan=True)
        assert np.array_equal(jets.after, alone.after, equal_nan=True)
        assert jets.counts.tolist() == alone.counts.tolist()


def test_the_bounds_of_a_merged_file_hold_for_all_its_jets(two):
    with open_pair(two[0].with_name("in.root"), two[0].with_name("small.root"), silent) as pair:
        assert pair.paired[0].precision == dict.fromkeys(JETS, 1e-2)


def test_a_merged_file_promises_nothing_where_a_part_of_it_does_not(by_hand, tmp_path):
    merged(tmp_path, ("--precision", "1e-3"), ("--precision", "none", "--model", str(by_hand)))
    with open_pair(tmp_path / "in.root", tmp_path / "small.root", silent) as pair:
        assert set(pair.paired[0].precision.values()) == {None}


def test_merged_files_of_other_jets_are_refused(tmp_path):
    jets = counted("nanoaod", make_counts(20))
    files = [write_tree(tmp_path / f"{i}.root", "Events", jets, dict.fromkeys(jets, "nJet")) for i in range(2)]
    for file, units in zip(files, ("GeV", "MeV"), strict=True):
        succeeded("compress", file, file.with_suffix(".small.root"), "--units", units)
    original, small = tmp_path / "in.root", tmp_path / "small.root"
    merge(original, *files)
    merge(small, *(file.with_suffix(".small.root") for file in files))
    refused(original, small, "small.root", "merges files that can't be one tree", "the unit of 'Jet'", "one by one")


# --- odd jets, few jets, no jets


ODD = {"Jet_pt": [0, np.nan, np.inf, -1], "Jet_eta": [np.nan, -np.inf], "Jet_phi": [np.nan, 4], "Jet_mass": [np.nan]}


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A file of twenty jets, nine of which have no coordinates."""
    jets, row = jet_columns("nanoaod", 20), 0
    for name, values in ODD.items():
        for value in values:
            jets[name][2 * row] = value
            row += 1
    return nano(tmp_path / "odd.root", jets, [5, 0, 10, 5])


def test_jets_without_coordinates_come_along_bit_for_bit(odd, tmp_path):
    succeeded("compress", odd, tmp_path / "small.root")
    jets = only(jets_of(odd, tmp_path / "small.root"))
    assert jets.same[0:18:2].all() and not jets.same.all()
    assert np.array_equal(jets.before[0:18:2], jets.after[0:18:2], equal_nan=True)
    assert jets.before[2, 0] != jets.before[2, 0]  # the NaN is one


def test_another_nan_is_not_the_same(odd, tmp_path):
    branches = read_tree(odd, "Events")
    pt = ak.to_numpy(ak.flatten(branches["Jet_pt"])).copy()
    pt.view(np.uint32)[2] ^= 1  # in its payload
    pt[0] = -0.0
    jets = {name: ak.to_numpy(ak.flatten(array)) for name, array in branches.items()} | {"Jet_pt": pt}
    other = nano(tmp_path / "other.root", jets, [5, 0, 10, 5])
    assert np.flatnonzero(~only(jets_of(odd, other)).same).tolist() == [0, 2]


@pytest.mark.parametrize("layout", ["nanoaod", "rntuple", "flat"])
def test_files_without_entries_have_no_jets(layout, tmp_path):
    original = write_layout(tmp_path / "in.root", layout, 0)
    succeeded("compress", original, tmp_path / "small.root")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root")
    for compressed in ("small.root", "back.root"):
        jets = only(jets_of(original, tmp_path / compressed))
        assert jets.before.shape == jets.after.shape == (0, 4) and len(jets.same) == 0


def test_events_without_jets_are_events(tmp_path):
    original = nano(tmp_path / "in.root", jet_columns("nanoaod", 0), [0, 0, 0])
    succeeded("compress", original, tmp_path / "small.root")
    jets = only(jets_of(original, tmp_path / "small.root"))
    assert (jets.before.shape, jets.counts.tolist()) == ((0, 4), [0, 0, 0])


# --- what does not belong together


def refused(original: Path, compressed: Path, *words: str) -> None:
    """The two are not compared, and one line says why."""
    with pytest.raises(UserError) as caught:
        jets_of(original, compressed)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


def changed(path: Path, target: Path, **changes: ak.Array | None) -> Path:
    """A copy of a NanoAOD-like file with other branches, or without some."""
    branches = {name: array for name, array in (read_tree(path, "Events") | changes).items() if array is not None}
    return write_tree(target, "Events", branches, {name: "nJet" for name in branches if name.startswith("Jet_")})


@pytest.mark.parametrize("compressed", ["small.root", "back.root"])
def test_other_numbers_of_entries_are_refused(compressed, nanoaod, tmp_path):
    longer = write_layout(tmp_path / "longer.root", "nanoaod", 31)
    refused(longer, nanoaod / compressed, "longer.root", compressed, "30 entries", "31", "not the same events")


@pytest.mark.parametrize("compressed", ["small.root", "back.root"])
def test_other_numbers_of_jets_are_refused(compressed, nanoaod, tmp_path):
    branches = read_tree(nanoaod / "in.root", "Events")
    other = {
        name: ak.concatenate([array[1:], array[:1]]) for name, array in branches.items() if name.startswith("Jet_")
    }
    assert ak.num(other["Jet_pt"]).to_list() != ak.num(branches["Jet_pt"]).to_list()
    original = changed(nanoaod / "in.root", tmp_path / "other.root", **other)
    refused(original, nanoaod / compressed, "'Jet'", "other numbers of jets per event", "not the same events")


def test_an_original_without_the_jets_is_refused(nanoaod, tmp_path):
    original = changed(nanoaod / "in.root", tmp_path / "less.root", Jet_mass=None)
    refused(original, nanoaod / "small.root", "less.root", "no branch 'Jet_mass'", "small.root")


def test_a_plain_file_without_the_jets_is_refused(nanoaod, tmp_path):
    muons = {name.replace("Jet", "Muon"): array for name, array in counted("nanoaod", make_counts(30)).items()}
    other = write_tree(tmp_path / "muons.root", "Events", muons)
    refused(nanoaod / "in.root", other, "muons.root", "no branch 'Jet_pt'")


def test_a_plain_file_of_another_tree_is_refused(nanoaod, tmp_path):
    other = write_tree(tmp_path / "other.root", "others", counted("nanoaod", make_counts(30)))
    refused(nanoaod / "in.root", other, "no tree 'Events'", "other.root", "others")


def test_an_original_that_is_compressed_itself_is_refused(nanoaod):
    refused(nanoaod / "small.root", nanoaod / "small.root", "small.root", "compressed by atlasae already", "decompress")
    refused(nanoaod / "small.root", nanoaod / "back.root", "small.root", "compressed by atlasae already", "decompress")


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("suffix", [".root", ".pkl", ".parquet"])
def test_a_file_that_is_not_there_is_refused(missing, suffix, nanoaod, tmp_path):
    paths = [nanoaod / "in.root", nanoaod / "small.root"]
    paths[missing] = tmp_path / f"none{suffix}"
    refused(*paths, f"none{suffix}")


def test_a_list_of_variables_is_refused(tmp_path, monkeypatch):
    course = replace(train.SELF_RECIPE.course, steps=2, validate_every=1)
    monkeypatch.setattr(train, "SELF_RECIPE", replace(train.SELF_RECIPE, course=course))
    original = write_layout(tmp_path / "in.root", "nanoaod", 60)
    tables = [f'[[variable]]\nbranch = "{name}"\ncoordinate = "linear"\nprecision = 1e-3' for name in NAMES[:2]]
    (tmp_path / "list.toml").write_text("\n".join(tables))
    succeeded("compress", original, tmp_path / "small.root", "--variables", tmp_path / "list.toml")
    refused(original, tmp_path / "small.root", "small.root", "list of variables", "verify")


# --- damage


@pytest.mark.parametrize("branch", ["Jet_z0", "Jet_z1", "Jet_z2"])
def test_a_flipped_byte_is_damage(branch, nanoaod, tmp_path):
    content = bytearray((nanoaod / "small.root").read_bytes())
    with uproot.open(nanoaod / "small.root") as file:
        start, size = (int(file["Events"][branch].member(name)[0]) for name in ("fBasketSeek", "fBasketBytes"))
    key_size = int.from_bytes(content[start + 14 : start + 16])
    content[start + (key_size + size) // 2] ^= 16  # in the middle of its first basket
    (tmp_path / "flipped.root").write_bytes(content)
    with pytest.raises(DamagedFileError) as caught:
        jets_of(nanoaod / "in.root", tmp_path / "flipped.root")
    assert branch in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [0, 1])
def test_half_a_file_is_damage(side, nanoaod, tmp_path):
    paths = [nanoaod / "in.root", nanoaod / "small.root"]
    content = paths[side].read_bytes()
    paths[side] = tmp_path / "half.root"
    paths[side].write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFileError, match=r"half\.root"):
        jets_of(*paths)


@pytest.mark.parametrize("layout", ["nanoaod", "flat", "energy"])
def test_packed_jets_are_those_of_the_file_they_decompress_to(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "PART", 20)
    original = write_layout(tmp_path / "in.root", layout)
    succeeded("compress", original, tmp_path / "small.root", "--layout", "packed", "--step-size", "4kB")
    succeeded("decompress", tmp_path / "small.root", tmp_path / "back.root")
    packed, plain = (jets_of(original, tmp_path / name) for name in ("small.root", "back.root"))
    for one, other in zip(packed.values(), plain.values(), strict=True):
        for name in ("before", "after", "same"):
            joined = [np.concatenate([getattr(part, name) for part in parts]) for parts in (one, other)]
            assert np.array_equal(*joined, equal_nan=name != "same")
        assert all(part.latents is None for part in one)


@pytest.mark.parametrize("compressed", [True, False])
def test_pieces_hold_every_jet_once_and_events_whole(compressed, monkeypatch, nanoaod):
    other = nanoaod / ("small.root" if compressed else "back.root")
    whole = only(jets_of(nanoaod / "in.root", other))
    monkeypatch.setattr(comparison, "PART", 20)
    (parts,) = jets_of(nanoaod / "in.root", other).values()
    assert len(parts) > 3 and all(len(part.before) == part.counts.sum() for part in parts)
    for name in ("before", "after", "same", "counts", *(["latents"] if compressed else [])):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
