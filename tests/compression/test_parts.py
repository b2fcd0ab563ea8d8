"""Parts of a split file: they are sorted and joined, and parts that do not fit together are refused."""

import os
import shutil
from pathlib import Path

import awkward as ak
import pytest
from conftest import Result, read_tree, run_main, succeeded, work_here, write_layout
from helpers import merge

import atlasae
from atlasae.compression.format import read_contents
from atlasae.compression.pieces import first_run, part_of, part_path, parts_in
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.trees import open_source
from atlasae.jets.inputs import Part

PACKED = ("--layout", "packed")
pytestmark = pytest.mark.usefixtures("here")


def cut(path: Path, folder: Path, parts: int, *options: object) -> list[Path]:
    """Compress a file into `parts` parts; returns their paths."""
    size = -(-path.stat().st_size // parts)
    succeeded("compress", path, "-o", folder, *PACKED, "--split-size", f"{size}B", *options)
    return parts_in(folder)[path.name]


def numbers(path: Path) -> list[int]:
    return read_tree(path, "Events")["event"].to_list()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files `a.root` and `b.root` of 120 events.

    Twelve parts of `a.root` are in `twelve`, three in `three`; two parts of `b.root` are in `b`.
    """
    folder = tmp_path_factory.mktemp("cut")
    path, other = (write_layout(folder / f"{name}.root", "nanoaod", entries=120, seed=ord(name) - 96) for name in "ab")
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        cut(path, folder / "twelve", 12)
        cut(path, folder / "three", 3)
        cut(other, folder / "b", 2)
    return folder


@pytest.fixture
def made(once: Path, tmp_path: Path) -> Path:
    """A copy of `once` in `tmp_path`."""
    shutil.copytree(once, tmp_path / "made")
    return tmp_path / "made"


def test_names_sort_as_numbers_do(made):
    parts = sorted((made / "twelve").glob("*.root"))
    assert [path.name for path in parts] == [f"a.part{number:02}.root" for number in range(12)]
    assert part_path(Path("a.root"), 3, 10).name == "a.part3.root"
    assert part_path(Path("a.b.root"), 3, 1001).name == "a.b.part0003.root"
    with atlasae.open(parts) as tree:
        assert tree["event"].array().to_list() == numbers(made / "a.root")
    succeeded("verify", made / "a.root", made / "twelve")


def unpadded(folder: Path) -> list[Path]:
    """Rename parts to numbers without padding, as earlier releases did; returns them sorted by name."""
    for number, path in enumerate(sorted(folder.glob("*.root"))):
        path.rename(path.with_name(f"a.part{number}.root"))
    return sorted(folder.glob("*.root"))


def test_parts_of_names_that_were_not_padded_are_put_in_order(made):
    parts = unpadded(made / "twelve")
    assert parts[2].name == "a.part10.root"
    with atlasae.open(parts) as tree:
        assert tree["event"].array().to_list() == numbers(made / "a.root")
    assert len(succeeded("verify", made / "a.root", made / "twelve", "--json").report["files"]) == 12
    parts[2].write_bytes(b"root")
    result = run_main("verify", made / "a.root", made / "twelve", "--json")
    assert result.report["failed"] == 1 and "a.part10.root" in result.err and "no such file" not in result.err


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        ([0, 0], "with part 0 of 3 twice"),
        ([0, 1], "without part 2 of 3"),
        ([0, 2], "without part 1 of 3"),
        ([0, 1, 2, 1], "with part 1 of 3 twice"),
        ([0, 1, 2, 3], "cut into 3 and into 12 parts"),
        ([0, 1, 2, -1], "in parts and whole"),
        ([0, 1, -2], "'a.root' without part 2 of 3"),
        ([0, 1, 2, -2], "'b.root' without part 0 of 2"),
    ],
)
def test_what_does_not_go_together_is_refused(positions, says, made):
    succeeded("compress", made / "a.root", made / "whole.root", *PACKED)
    files = [*sorted((made / "three").glob("*.root")), made / "twelve" / "a.part03.root"]
    files += [made / "b" / "b.part1.root", made / "whole.root"]
    with pytest.raises(UserError, match=says):
        atlasae.open([files[position] for position in positions])


def test_a_part_alone_is_opened_and_so_are_all_of_two_files_and_one_that_is_whole(made):
    first, second, third = sorted((made / "three").glob("*.root"))
    other, more = made / "b.root", sorted((made / "b").glob("*.root"))
    succeeded("compress", other, made / "whole.root", *PACKED)
    with atlasae.open(second) as tree:
        assert tree["event"].array().to_list() == numbers(made / "a.root")[40:80]
    with atlasae.open([third, more[1], first, more[0], second]) as tree:
        events = numbers(made / "a.root"), numbers(other)
        order = [events[0][:40], events[1][:60], events[0][40:80], events[1][60:], events[0][80:]]
        assert tree["event"].array().to_list() == sum(order, [])


def test_a_file_of_the_same_name_and_size_is_another(made):
    (made / "other").mkdir()
    other = made / "other" / "a.root"
    parts, size = sorted((made / "three").glob("*.root")), (made / "a.root").stat().st_size
    other.write_bytes(write_layout(made / "x.root", "nanoaod", entries=120, seed=1).read_bytes())
    assert other.stat().st_size == size
    more = cut(other, made / "others", 3)
    with atlasae.open([*parts, *more]) as tree:
        assert tree.num_entries == 240
    with pytest.raises(UserError, match="without part 2 of 3"):
        atlasae.open([*parts[:2], more[2]])


# --- merged files


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        ([0, 0], "part 0 of 3 twice"),
        ([1, 0], "in the order 1, 0"),
        ([0, 2], "without part 1"),
        ([0, 3], "3 and into 12"),
    ],
)
def test_merged_parts_that_do_not_go_together_are_refused(positions, says, made):
    files = [*sorted((made / "three").glob("*.root")), made / "twelve" / "a.part00.root"]
    merged = made / "merged.root"
    merge(merged, *(files[position] for position in positions))
    for command in (["verify", merged], ["verify", made / "a.root", merged], ["decompress", merged, made / "x.root"]):
        assert run_main(*command).failed(2, "merged.root", "'a.root'", says)
    assert run_main("evaluate", made / "a.root", merged).failed(2, says)
    with pytest.raises(UserError, match=says):
        atlasae.open(merged)
    report = succeeded("decompress", "--salvage", merged, made / "back.root", "--json").report
    assert len(report["damage"]) == 1 and says in report["damage"][0]
    expected = [number for position in positions for number in read_tree(files[position], "Events")["event"].to_list()]
    assert numbers(made / "back.root") == expected


def test_parts_that_follow_each_other_may_be_merged_by_themselves(made):
    parts = sorted((made / "twelve").glob("*.root"))
    first, second = made / "first.root", made / "second.root"
    merge(first, *parts[:5])
    merge(second, *parts[5:])
    for merged in (first, second):
        succeeded("verify", made / "a.root", merged)
    with atlasae.open([second, first]) as tree:
        assert tree["event"].array().to_list() == numbers(made / "a.root")
    with pytest.raises(UserError, match="without part 5 of 12"):
        atlasae.open([first, parts[6]])


# --- outputs that exist


def verified(made: Path, folder: Path) -> Result:
    return run_main("verify", made / "a.root", folder, "--json")


@pytest.mark.parametrize("name", ["a.part2.root", "a.part00.root", "a.root"])
def test_what_is_left_of_another_split_is_named_by_verify_and_in_the_way_of_compress(name, made):
    two, path = made / "two", made / "a.root"
    cut(path, two, 2)
    if name == "a.root":
        succeeded("compress", path, two / name, *PACKED)
    else:
        folder = "three" if name == "a.part2.root" else "twelve"
        shutil.copy(made / folder / name, two)
    result = verified(made, two)
    stale = ["a.part0.root", "a.part1.root"] if name == "a.root" else [name]
    assert result.code == 1 and result.report["failed"] == len(stale)
    assert [line for line in result.err.splitlines() if "another split of 'a.root': remove it" not in line] == []
    assert all(name in line for name, line in zip(stale, result.err.splitlines(), strict=True))
    before = {file: file.read_bytes() for file in two.iterdir()}
    for force in ([], ["--force"]):
        half = f"{-(-path.stat().st_size // 2)}B"
        result = run_main("compress", path, "-o", two, *PACKED, "--precision", "1e-2", "--split-size", half, *force)
        assert result.code == 1 and (name in result.err or not force)
        assert {file: file.read_bytes() for file in two.iterdir()} == before
    (two / name).unlink()
    cut(path, two, 2, "--precision", "1e-2", "--force")
    assert verified(made, two).code == 0


def test_parts_are_never_mixed_with_those_of_another_split(made):
    path, folder = made / "a.root", made / "three"
    before = {file: file.read_bytes() for file in folder.iterdir()}
    size = f"{-(-path.stat().st_size // 5)}B"
    result = run_main("compress", path, "-o", folder, *PACKED, "--split-size", size)
    assert result.code == 1 and "a.part0.root' exists" in result.err
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    result = run_main("compress", path, "-o", folder, *PACKED)
    assert result.code == 1 and "a.part0.root' is from another split of 'a.root': remove it" in result.err
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    cut(path, folder, 5, "--force")
    assert verified(made, folder).code == 0


def test_files_that_only_look_like_parts_are_in_nobodys_way(made):
    path, folder = made / "a.root", made / "new"
    folder.mkdir()
    (folder / "a.part0.root").write_bytes(b"something else")
    other = write_layout(made / "a.part1.root", "nanoaod", entries=5)
    assert succeeded("compress", path, other, "-o", folder, *PACKED, "--json").report["failed"] == 0
    assert succeeded("verify", path, other, folder, "--json").report["failed"] == 0


def test_a_run_that_makes_no_part_of_its_source_is_damaged(made):
    path = made / "three" / "a.part0.root"
    with open_source(path) as source:
        (run,) = read_contents(source).runs
    assert part_of(run) == Part(0, 40, 0, 3) and first_run(path) == run
    for wrong in ({"part": [0]}, {"part": ["0", "3"]}, {"entries": None}, {"part": None}):
        run.source.update({"part": [0, 3], "entries": [0, 40]} | wrong)
        with pytest.raises(DamagedFileError, match=r"part of 'a.root'"):
            part_of(run)


def test_parts_may_have_any_name(made):
    odd = made / os.fsdecode(b"a\xff\n[1] .part7.root")
    (made / "a.root").rename(odd)
    parts = cut(odd, made / "odd", 2)
    assert len(parts) == 2
    succeeded("verify", odd, made / "odd")
    with atlasae.open(parts[::-1]) as tree:
        assert ak.all(tree["event"].array() == read_tree(odd, "Events")["event"])
