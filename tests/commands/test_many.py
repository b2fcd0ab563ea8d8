"""Many files: each is done, and one that fails does not affect the others."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from conftest import Result, bits, nothing_left, read_tree, refused, run_main, succeeded, work_here, write_layout
from helpers import PACKED, compressed_alone, contents, left_over, merge

from atlasae.commands.journal import NAME
from atlasae.commands.many import compress_task, expand, output_name
from atlasae.commands.workers import Task
from atlasae.compression.plan import Options
from atlasae.jets.precision import Precision
from atlasae.reports.evaluation import evaluate_files


def files_of(result: Result) -> dict[str, dict[str, Any]]:
    return {Path(file["output"]).name: file for file in result.report["files"]}


# --- commands


def test_many_files_come_back(inputs, tmp_path, monkeypatch):
    out, back = tmp_path / "out", tmp_path / "back"
    command = ["compress", tmp_path / "in" / "*.root", "-o", out, *PACKED]
    report = succeeded(*command, "--workers", 2, "--json").report
    alone = compressed_alone(inputs, tmp_path / "alone")
    assert contents(out) == alone
    assert [Path(file["input"]) for file in report["files"]] == inputs
    assert report["failed"] == 0 and report["entries"] == 180
    assert report["jets"] == sum(file["jets"] for file in report["files"]) > 0
    assert report["bytes_per_jet"] == report["bytes_jets_out"] / report["jets"]
    work_here(monkeypatch)
    succeeded("verify", *inputs, out, "--workers", 2)
    text = succeeded("decompress", *(out / path.name for path in inputs), "-o", back).out
    assert [line.split()[0] for line in text.splitlines()] == ["file", "a.root", "b.root", "c.root", "3"]
    for path in inputs:
        assert read_tree(path, "Events")["name"].to_list() == read_tree(back / path.name, "Events")["name"].to_list()


@pytest.mark.usefixtures("here")
def test_a_file_that_fails_is_named_and_harms_no_other(inputs, tmp_path):
    out = tmp_path / "out"
    inputs[1].write_bytes(inputs[1].read_bytes()[:9000])
    result = run_main("compress", *inputs, tmp_path / "missing.root", "-o", out, *PACKED, "--json")
    assert result.code == 1 and result.report["failed"] == 2
    assert sorted(path.name for path in out.iterdir()) == ["a.root", NAME, "c.root"]
    damaged, missing = result.err.splitlines()
    assert damaged.startswith("atlasae: ") and "b.root" in damaged and "damaged" in damaged
    assert missing.startswith("atlasae: ") and "missing.root" in missing
    found = files_of(result)
    assert [found[f"{name}.root"]["error"] is None for name in "abc"] == [True, False, True]


@pytest.mark.usefixtures("here")
def test_verify_names_what_differs(inputs, tmp_path):
    out = tmp_path / "out"
    succeeded("compress", *inputs, "-o", out, *PACKED)
    write_layout(inputs[2], "nanoaod", seed=9)
    result = run_main("verify", *inputs, out)
    assert result.code == 1 and "c.root" in result.err and "differences" in result.err
    assert result.err.count("\n") == 1


def test_two_inputs_of_one_name_are_refused_before_anything_is_done(inputs, tmp_path):
    (tmp_path / "other").mkdir()
    other = write_layout(tmp_path / "other" / "a.root", "nanoaod")
    refused(2, ("a.root", "would both become"), "compress", *inputs, other, "-o", tmp_path / "out", out=tmp_path / "x")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("here")
def test_an_input_in_the_folder_is_never_overwritten(inputs):
    with nothing_left(inputs[1]):
        result = run_main("compress", inputs[0], "-o", inputs[0].parent, "--force", *PACKED)
        (inputs[0].parent / NAME).unlink(missing_ok=True)
    assert result.code == 1 and "is the input" in result.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("compress", "a", "b", "c"), ("many files", "-o FOLDER")),
        (("compress", "a", "b", "--workers", 2), ("--workers", "leave it out")),
        (("compress", "nothing*.root", "-o", "out"), ("no file fits", "nothing*.root")),
        (("compress", ".", "-o", "out"), ("is a folder", "*.root")),
        (("compress", "a.root", "-o", "a.root"), ("is no folder",)),
        (("compress", "a", "b", "--split-size", "2GB"), ("--split-size", "leave it out")),
        (("compress", "a.root", "-o", "out", "--split-size", "two"), ("--split-size 'two' is no size",)),
        (("decompress", "a"), ("issing argument",)),
        (("evaluate", "a", "b", "c"), ("or a folder last",)),
        (("evaluate", "a"), ("issing argument",)),
        (("evaluate", "a", "b", "--dask", "local"), ("--dask", "leave it out")),
        (("verify", "a", "b", "c"), ("or a folder last",)),
    ],
)
def test_what_makes_no_sense_is_refused(command, words, inputs, monkeypatch):
    monkeypatch.chdir(inputs[0].parent)
    refused(2, words, *command, out=inputs[0])


def test_globs_name_every_file_once(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (odd := tmp_path / "in" / "[x].root").write_bytes(b"")
    assert expand([Path("in/?.root"), inputs[0], Path("**/b.root")]) == inputs
    assert expand([odd]) == [odd]


@pytest.mark.parametrize(
    ("name", "output"),
    [("a.root", "a.root"), ("x.pool.root.1", "x.pool.root"), ("a.parquet", "a.root"), ("a", "a")],
)
def test_outputs_are_called_like_their_inputs(name, output):
    assert output_name(Path("somewhere") / name) == output


# --- the journal


@pytest.mark.usefixtures("here")
def test_what_is_done_is_not_done_again(inputs, tmp_path):
    out = tmp_path / "out"
    command = ["compress", *inputs, "-o", out, *PACKED, "--json"]
    first = files_of(succeeded(*command))
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.root")}
    (out / "b.root").unlink()
    again = files_of(succeeded(*command))
    assert [again[f"{name}.root"]["reused"] for name in "abc"] == [True, False, True]
    assert {p for p, time in times.items() if p.stat().st_mtime_ns != time} == {out / "b.root"}
    assert again["a.root"] == first["a.root"] | {"reused": True}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("change", ["options", "input", "output"])
def test_an_output_of_anything_else_is_refused_without_force(change, inputs, tmp_path):
    out = tmp_path / "out"
    command = ["compress", inputs[0], "-o", out, *PACKED]
    succeeded(*command)
    if change == "options":
        command += ["--precision", "1e-2"]
    elif change == "input":
        os.utime(inputs[0], ns=(1, 1))
    else:
        (out / "a.root").write_bytes((out / "a.root").read_bytes() + b"x")
    before = (out / "a.root").read_bytes()
    result = run_main(*command)
    assert result.code == 1 and "exists" in result.err and (out / "a.root").read_bytes() == before
    assert files_of(succeeded(*command, "--force", "--json"))["a.root"]["reused"] is False
    assert files_of(succeeded(*command, "--json"))["a.root"]["reused"] is True


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("layout", [(), ("--split-size", "30kB")], ids=["whole", "split"])
def test_without_their_lines_outputs_are_known_by_their_content(layout, inputs, tmp_path):
    out, back = tmp_path / "out", tmp_path / "back"
    compress = ["compress", *inputs[:2], "-o", out, *PACKED, *layout, "--json"]
    decompress = ["decompress", out / "*.root", "-o", back, "--json"]
    for command, folder in ((compress, out), (decompress, back)):
        first = files_of(succeeded(*command))
        times = {path: path.stat().st_mtime_ns for path in folder.glob("*.root")}
        (folder / NAME).unlink()
        for _ in range(2):  # the second time by lines
            found = files_of(succeeded(*command))
            told = ("output", "jets", "bytes_file_in", "bytes_file_out")
            assert [[file[key] for key in told] for file in found.values()] == [
                [file[key] for key in told] for file in first.values()
            ]
            assert all(file["reused"] for file in found.values())
        assert {path: path.stat().st_mtime_ns for path in folder.glob("*.root")} == times


@pytest.mark.usefixtures("here")
def test_what_is_another_output_without_its_line_is_refused(inputs, tmp_path):
    out, back = tmp_path / "out", tmp_path / "back"
    compress = ["compress", *inputs, "-o", out, *PACKED]
    succeeded(*compress)
    succeeded("decompress", out / "*.root", "-o", back)
    (out / NAME).unlink()
    (back / NAME).unlink()
    before = kept_bytes(out)
    for more in (["--precision", "1e-2"], ["--drop", "weight"], ["--compression", "lzma:1"]):
        assert run_main(*compress, *more).err.count("exists") == 3
    write_layout(inputs[0], "nanoaod", entries=7, seed=5)
    (out / "c.root").write_bytes(b"root" + (out / "c.root").read_bytes()[4:-3000])
    result = run_main(*compress, "--json")
    assert [file["reused"] for file in result.report["files"]] == [False, True, False]
    assert result.err.count("exists") == 2
    with uproot.update(back / "b.root") as file:
        file["more"] = np.histogram([1.0, 2.0])
    result = run_main("decompress", out / "a.root", out / "b.root", "-o", back, "--json")
    assert [file["reused"] for file in result.report["files"]] == [True, False]
    after = kept_bytes(out)
    assert [after[name] == before[name] for name in ("a.root", "b.root")] == [True, True]


def kept_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.root")}


@pytest.mark.usefixtures("here")
def test_a_bad_line_of_the_journal_is_said_and_costs_nothing(inputs, tmp_path):
    out = tmp_path / "out"
    command = ["compress", *inputs, "-o", out, *PACKED]
    succeeded(*command)
    lines = (out / NAME).read_bytes().splitlines(keepends=True)
    (out / NAME).write_bytes(lines[0] + lines[1].replace(b'"jets": ', b'"jets": "') + lines[2])
    note = f"'{out / NAME}': line 2 is damaged, and ignored"
    result = succeeded(*command, "--json")
    assert result.report["notes"] == [note]
    assert all(file["reused"] for file in result.report["files"])
    assert succeeded(*command, "--force").out.endswith(f"\nnote: {note}\n")


@pytest.mark.usefixtures("here")
def test_a_run_that_was_killed_after_its_line_or_after_its_output_is_gone_on_with(inputs, tmp_path):
    out = tmp_path / "out"
    command = ["compress", *inputs, "-o", out, *PACKED, "--json"]
    killed = KILLED.format(marker=tmp_path / "marker", arguments=list(map(str, command[:-1])))
    for left in (["a.root"], ["a.root", "b.root"]):
        assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -signal.SIGKILL
        assert sorted(path.name for path in out.glob("[!.]*.root")) == left
    assert [file["reused"] for file in succeeded(*command).report["files"]] == [True, True, False]
    assert left_over(out) == []
    succeeded("verify", *inputs, out)


# The process dies of the second output: first before it has its name, then after.
KILLED = """if True:
    import os, signal, sys
    from pathlib import Path
    from atlasae.commands import many
    from atlasae.files import outputs
    from atlasae.commands.cli import main
    from atlasae.commands.workers import perform

    named = outputs._rename

    def rename(temporary, target, force):
        if target.name == "b.root" and not Path("{marker}").exists():
            Path("{marker}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        named(temporary, target, force)
        if target.name == "b.root":
            os.kill(os.getpid(), signal.SIGKILL)

    outputs._rename = rename
    sys.argv = ["atlasae", *{arguments}]
    many.Workers.outcomes = lambda self, tasks: (perform(task) for task in tasks)
    main()
    """


def test_a_model_of_other_bytes_is_another_option(tmp_path):
    model = tmp_path / "model"
    task = Task(compress_task, Path("a"), Path("b"), Options(Precision.parse("1e-3"), model=str(model)))
    model.write_bytes(b"one")
    first = task.digest
    model.write_bytes(b"two")
    assert task.digest != first


@pytest.mark.usefixtures("here")
def test_names_may_be_any_bytes(inputs, tmp_path):
    (odd := tmp_path / os.fsdecode(b"o\xff")).mkdir()
    path = inputs[0].rename(odd / os.fsdecode(b"a\xff \n'.root"))
    out, back = odd / "out", odd / "back"
    for command in (["compress", path, "-o", out, *PACKED], ["decompress", out / path.name, "-o", back]):
        assert succeeded(*command, "--json").report["files"][0]["input"] == str(command[1])
        assert succeeded(*command, "--json").report["files"][0]["reused"] is True
        assert "?" in succeeded(*command).out
    succeeded("verify", path, out)
    succeeded("verify", path, out / path.name)
    assert succeeded("info", out / path.name, "--json").report["runs"][0]["source"] == path.name
    words = ("o?", "a?  '.root", "exists")
    refused(2, words, "compress", path, out / path.name, out=path)
    result = run_main("decompress", out / path.name, "-o", out, "--force")
    assert result.code == 1 and "is the input" in result.err


# --- parts of a file


@pytest.mark.parametrize("layout", [(), PACKED])
def test_a_large_file_is_cut_into_parts_that_merge_to_the_whole(layout, tmp_path, monkeypatch):
    path, small = write_layout(tmp_path / "a.root", "nanoaod", entries=800), tmp_path / "small.root"
    write_layout(small, "nanoaod", entries=5)
    with uproot.update(path) as file:
        file["histogram"] = np.histogram([1.0, 2.0])
    out = tmp_path / "out"
    size = path.stat().st_size // 3 + 1
    command = ["compress", path, small, "-o", out, *layout, "--split-size", f"{size}B", "--json"]
    if layout:  # processes that do without torch pack many files above
        work_here(monkeypatch)
    report = succeeded(*command, "--workers", 2).report
    work_here(monkeypatch)
    names = ["a.part0.root", "a.part1.root", "a.part2.root", "small.root"]
    assert [Path(file["output"]).name for file in report["files"]] == names
    assert [file["entries"] for file in report["files"]] == [266, 267, 267, 5]
    assert report["jets"] == len(ak.flatten(read_tree(path, "Events")["Jet_pt"])) + report["files"][-1]["jets"]
    assert [kept(out / name) for name in names] == [True, False, False, False]
    assert all(file["reused"] for file in succeeded(*command).report["files"])
    succeeded("verify", path, small, out)
    merge(tmp_path / "merged.root", *(out / name for name in names[:3]))
    with uproot.update(tmp_path / "merged.root") as file, uproot.open(out / names[0]) as first:
        file["histogram"] = first["histogram"]
    succeeded("verify", path, tmp_path / "merged.root")
    succeeded("decompress", tmp_path / "merged.root", tmp_path / "back.root")
    before, after = (read_tree(tmp_path / name, "Events") for name in ("a.root", "back.root"))
    assert list(after) == list(before)
    assert [n for n in before if "Jet" not in n and bits(before[n]) != bits(after[n])] == []
    assert ak.all(abs(after["Jet_pt"] / before["Jet_pt"] - 1) < 1.01e-3)


def kept(path: Path) -> bool:
    """Whether a file has the histogram."""
    with uproot.open(path) as file:
        return "histogram" in file


@pytest.fixture
def cut(tmp_path: Path, here: None, quick_classifier: None) -> list[Path]:
    """A file, and the two parts that it was compressed into."""
    path = write_layout(tmp_path / "a.root", "nanoaod", entries=100)
    succeeded("compress", path, "-o", tmp_path / "out", *PACKED, "--split-size", f"{path.stat().st_size - 1}B")
    return [path, tmp_path / "out" / "a.part0.root", tmp_path / "out" / "a.part1.root"]


def test_a_part_is_compared_and_evaluated_with_its_own_entries(cut):
    path, first, second = cut
    for part in (first, second):
        assert succeeded("verify", path, part, "--json").report["entries"] == 50
    assert evaluate_files(path, second).report["entries"] == 50
    swapped = run_main("verify", write_layout(path.with_name("b.root"), "nanoaod", entries=70), second)
    assert swapped.code == 1 and "the original has 20 there" in swapped.out


def test_a_part_that_is_missing_or_damaged_is_noticed(cut):
    path, first, second = cut
    second.unlink()
    result = run_main("verify", path, first.parent)
    assert result.code == 1 and "a.part1.root" in result.err
    first.write_bytes(first.read_bytes()[:-9])
    result = run_main("verify", path, first.parent)
    assert result.code == 1 and "a.part0.root" in result.err


def test_parts_do_not_take_the_names_of_other_outputs(cut, tmp_path):
    path = cut[0]
    other = write_layout(tmp_path / "a.part1.root", "nanoaod", entries=5)
    words = ("would both become", "a.part1.root")
    command = ["compress", path, other, "-o", tmp_path / "new", "--split-size", f"{path.stat().st_size - 1}B"]
    refused(2, words, *command, out=path)


@pytest.mark.usefixtures("here")
def test_what_cannot_be_read_is_not_cut(inputs, tmp_path):
    inputs[0].write_bytes(b"root" * 999)
    result = run_main("compress", inputs[0], "-o", tmp_path / "out", "--split-size", "100B", *PACKED)
    assert result.code == 1 and "a.root" in result.err and result.err.count("\n") == 1


# --- many evaluated together


@pytest.fixture
def evaluated(inputs: list[Path], tmp_path: Path, here: None, quick_classifier: None) -> list[Path]:
    """Three files, one without events, compressed into `out`; their originals."""
    write_layout(inputs[1], "nanoaod", entries=0)
    succeeded("compress", *inputs, "-o", tmp_path / "out")
    return inputs


def without(report: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in names}


@pytest.mark.usefixtures("one_torch_thread")
def test_many_are_evaluated_as_the_files_together(evaluated, tmp_path):
    out, histograms = tmp_path / "out", tmp_path / "h.root"
    command = ["evaluate", *evaluated, out, "--workers", 2, "--json", "--histograms", histograms]
    report = succeeded(*command).report
    whole, small = tmp_path / "whole.root", tmp_path / "small.root"
    merge(whole, *evaluated)
    merge(small, *(out / path.name for path in evaluated))
    together = evaluate_files(whole, small)
    ((found,), (expected,)) = report["collections"], together.report["collections"]
    sizes = ("bytes_per_jet", "bytes_per_jet_before", "bytes_in", "bytes_out")  # merged files have other baskets
    one, other = (flat(without(figures, *sizes)) for figures in (found, expected))
    numbers = [key for key, value in other.items() if isinstance(value, float)]
    assert len(numbers) > 100
    assert [one.pop(key) for key in numbers] == pytest.approx([other.pop(key) for key in numbers], rel=1e-9, abs=1e-14)
    assert one == other  # counts, too
    for name in ("spectra", "residuals", "latents", "jets", "exact_jets", "two_sample"):
        assert flat(found[name]) == flat(expected[name]), name
    assert (report["entries"], report["failed"], len(report["files"])) == (together.report["entries"], 0, 3)
    with uproot.open(histograms) as file:
        for name, histogram in together.histograms.items():
            assert np.array_equal(file[name].values(flow=True), histogram.values(flow=True))


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """The leaves of a report by path; what is not finite is null, as in JSON."""
    if isinstance(value, dict):
        return {k: v for key, one in value.items() for k, v in flat(one, f"{at}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, one in enumerate(value) for k, v in flat(one, f"{at}/{i}").items()}
    return {at: None if isinstance(value, float) and not math.isfinite(value) else value}


def test_what_cannot_be_evaluated_is_named_and_left_out(evaluated, tmp_path):
    out = tmp_path / "out"
    other = write_layout(tmp_path / "flat.root", "flat")
    succeeded("compress", other, "-o", out)
    (out / "c.root").unlink()
    result = run_main("evaluate", *evaluated, other, out, "--json")
    missing, unlike = result.err.splitlines()
    assert result.code == 1 and result.report["failed"] == 2
    assert "c.root" in missing and "'flat.root' has other jets than 'a.root'" in unlike
    alone = json.loads(json.dumps(evaluate_files(evaluated[0], out / "a.root").report))
    (found,), (expected,) = result.report["collections"], alone["collections"]
    assert found["spectra"] == expected["spectra"]


@pytest.mark.usefixtures("here")
def test_where_nothing_can_be_evaluated_it_says_why(inputs, tmp_path):
    (tmp_path / "empty").mkdir()
    words = ("no file can be evaluated", "a.root")
    refused(2, words, "evaluate", *inputs, tmp_path / "empty", out=inputs[0])


@pytest.mark.usefixtures("here")
def test_the_journal_is_json_lines(inputs, tmp_path):
    succeeded("compress", *inputs[:2], "-o", tmp_path / "out", *PACKED)
    lines = [json.loads(line) for line in (tmp_path / "out" / NAME).read_text().splitlines()]
    assert [line["output"] for line in lines] == ["a.root", "b.root"]
    assert {key for line in lines for key in line["source"]} == {"input", "size", "mtime_ns", "options", "version"}
