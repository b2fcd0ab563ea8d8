"""Threads: how many there are, and that what they share is done in its order, once, and no longer than it is wanted."""

import os
import subprocess
import sys
import threading
import weakref
from itertools import islice
from pathlib import Path
from typing import ClassVar, Self

import pytest
import uproot
from conftest import write_layout
from hypothesis import given
from hypothesis import strategies as st

import atlasae
from atlasae import threads
from atlasae.compression.plan import Options
from atlasae.files import trees, writing
from atlasae.threads import beside, side_by_side

NUMBERS = ("1", "2", "3")


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    for name in ("OMP_NUM_THREADS", "ATLASAE_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ({}, 2),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "16"}, 2),
        ({"OMP_NUM_THREADS": "4,2"}, 2),  # of nested loops
        ({"ATLASAE_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1", "ATLASAE_THREADS": "5"}, 5),
    ],
)
def test_there_are_as_many_threads_as_cores_or_as_are_asked_for(given, number, two_cores, monkeypatch):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert threads.threads() == number


def test_many_cores_are_not_all_taken(two_cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert (threads.cores(), threads.threads()) == (64, 2)


@given(st.lists(st.integers(), max_size=30), st.sampled_from(NUMBERS), st.booleans())
def test_results_are_in_the_order_of_the_work(items, number, shared):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATLASAE_THREADS", number)
        with side_by_side(lambda item: -item, items, shared) as found:
            assert list(found) == [-item for item in items]


@pytest.mark.parametrize("number", NUMBERS)
def test_no_more_is_begun_than_there_are_threads(number, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", number)
    begun = list[int]()
    with side_by_side(begun.append, range(100)) as found:
        list(islice(found, 10))
    assert len(begun) == 9 + int(number) and sorted(begun) == list(range(len(begun)))


class Large:
    """Something to be freed as early as it can be."""

    known: ClassVar[list[weakref.ref[Self]]] = []

    def __init__(self, _: int) -> None:
        self.known.append(weakref.ref(self))


@pytest.mark.parametrize("number", NUMBERS)
def test_what_has_been_worked_on_is_not_held(number, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", number)
    Large.known.clear()
    with side_by_side(lambda item: None, map(Large, range(5))) as found:
        next(found)
    assert [item() for item in Large.known] == [None] * int(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_error_is_raised_in_its_turn_and_ends_the_work(number, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", number)
    begun, drawn, before = list[int](), list[int](), threading.active_count()

    def divide(item: int) -> int:
        begun.append(item)
        return 10 // (item - 5)

    with pytest.raises(ZeroDivisionError), side_by_side(divide, range(100)) as found:
        drawn.extend(found)
    assert drawn == [10 // (item - 5) for item in range(5)] and len(begun) <= 6 + int(number)
    assert threading.active_count() == before


@pytest.mark.parametrize("number", NUMBERS)
def test_work_beside_a_block_is_done_when_that_ends(number, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", number)
    done, threads_before = list[str](), threading.active_count()
    with beside(lambda: done.append("beside")):
        done.append("block")
    assert sorted(done) == ["beside", "block"] and threading.active_count() == threads_before


@pytest.mark.parametrize("number", NUMBERS)
def test_an_error_beside_a_block_is_raised_at_its_end_unless_it_has_one_itself(number, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", number)
    ended = list[bool]()

    def fail() -> None:
        raise OSError("beside")

    with pytest.raises(OSError, match="beside"), beside(fail):
        ended.append(True)
    with pytest.raises(ValueError, match="in the block"), beside(fail):
        raise ValueError("in the block")
    assert ended == [True]


# --- files


LAYOUTS = ("floats", "packed")
SMALL = 2000  # bytes of a chunk


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("many") / "in.root", "nanoaod", entries=400)


def baskets(path: Path) -> dict[str, list[bytes]]:
    """What is compressed in each basket, without the key in front, which tells the time."""
    found = dict[str, list[bytes]]()
    with uproot.open(path) as file:
        for name in file.keys(filter_classname="TTree", cycle=False):
            for branch in file[name].branches:
                begins, sizes = (branch.member(member) for member in ("fBasketSeek", "fBasketBytes"))
                records = [path.read_bytes()[at : at + size] for at, size in zip(begins, sizes, strict=True) if at]
                found[f"{name}/{branch.name}"] = [one[int.from_bytes(one[14:16], "big") :] for one in records]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_are_the_same_with_any_number_of_threads(layout, events, tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "_SHARED", 0)
    monkeypatch.setattr(writing, "_MANY", 0)
    made = []
    for number in NUMBERS:
        monkeypatch.setenv("ATLASAE_THREADS", number)
        small, back = tmp_path / f"small{number}.root", tmp_path / f"back{number}.root"
        atlasae.compress_file(events, small, packed=layout == "packed", step_size=SMALL)
        atlasae.decompress_file(small, back)
        assert atlasae.check_file(small)["chunks"] > 5
        assert atlasae.verify_file(events, small)["differences"] == []
        made.append((baskets(small), baskets(back)))
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("share", [0, 0.5])  # while it is written, and read back
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_interrupted_run_leaves_neither_files_nor_threads(layout, share, events, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", "2")
    before = threading.active_count()

    def interrupt(done: int, total: int) -> None:
        if done > share * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atlasae.compress_file(
            events, tmp_path / "out.root", Options(packed=layout == "packed", step_size=SMALL), interrupt
        )
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_salvage_tells_of_damage_in_the_order_of_the_chunks(number, events, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", number)
    small = tmp_path / "small.root"
    atlasae.compress_file(events, small, step_size=SMALL)
    content = bytearray(small.read_bytes())
    with uproot.open(small) as file:
        begins = [int(at) for at in file["Events/Jet_z0"].member("fBasketSeek") if at]
    for at in begins[1:4]:
        content[at + 150] ^= 255
    small.write_bytes(content)
    report = atlasae.decompress_file(small, tmp_path / "back.root", salvage=True)
    assert [start for start, _ in report["missing"]] == sorted(start for start, _ in report["missing"])
    assert len(report["missing"]) == len(report["damage"]) == 3
    starts = [int(message.split("in entries ")[1].split()[0]) for message in report["damage"]]
    assert starts == [start for start, _ in report["missing"]]


OUTLIVING = """
import sys, threading
import torch
from atlasae import compress_file, decompress_file, verify_file

def work(main, path, small, back):
    main.join()
    compress_file(path, small, step_size=2000)
    decompress_file(small, back)
    print(verify_file(path, small)["differences"])

threading.Thread(target=work, args=(threading.main_thread(), *sys.argv[1:])).start()
"""


@pytest.mark.parametrize("number", NUMBERS[1:2])
def test_a_thread_may_outlive_the_main_one(number, events, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLASAE_THREADS", number)
    paths = [events, tmp_path / "small.root", tmp_path / "back.root"]
    line = [sys.executable, "-c", OUTLIVING, *map(str, paths)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
