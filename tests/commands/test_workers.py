"""Workers: every task is done, by any kind of worker, even if other workers die."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
from conftest import refused, run_main, succeeded
from helpers import PACKED, compressed_alone, contents, left_over
from tasks import PROFILE, die_always, die_once, die_when_done, refuse, tell_environment

from atlasae import commands
from atlasae.commands.journal import NAME, Journal
from atlasae.commands.many import run_into, run_tasks
from atlasae.commands.workers import LOCAL_CONFIG, Outcome, Task, Workers
from atlasae.compression.plan import Options
from atlasae.jets.precision import Precision

# --- workers that die


def tasks_of(work: Callable[[Task], dict[str, Any]], inputs: list[Path], folder: Path) -> list[Task]:
    options = Options(Precision.parse("1e-3"), packed=True)
    return [Task(work, path, folder / path.name, options) for path in inputs]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a dask cluster of two workers."""
    free = {"dashboard_address": ":0"}  # another test has a cluster at the same time
    quiet = {"dashboard_address": None, "scheduler_kwargs": free, "silence_logs": logging.CRITICAL}
    with dask.config.set(LOCAL_CONFIG):  # dask's own would stay in the environment, for the next cluster
        found = distributed.LocalCluster(2, threads_per_worker=1, **quiet)
    with found:
        yield found.scheduler_address


@pytest.fixture(scope="module")
def alone(inputs_once: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outputs of `inputs`, each compressed by itself."""
    folder = tmp_path_factory.mktemp("alone")
    for name, content in inputs_once.items():
        (folder / name).write_bytes(content)
    return compressed_alone([folder / name for name in inputs_once], folder / "out")


@pytest.fixture(params=["processes", "dask"])
def workers(request: pytest.FixtureRequest) -> Workers:
    return Workers(2, request.getfixturevalue("cluster") if request.param == "dask" else None)


def test_a_killed_worker_harms_nothing(workers, inputs, alone, tmp_path):
    out = tmp_path / "out"
    report = run_into(out, tasks_of(die_once, inputs, out), workers)
    assert report["failed"] == 0 and inputs[1].with_suffix(".tried").exists()
    assert contents(out) == alone
    assert left_over(out) == []
    assert sorted(Journal(out).lines) == ["a.root", "b.root", "c.root"]


def test_what_a_killed_worker_had_done_is_done(workers, inputs, alone, tmp_path):
    out = tmp_path / "out"
    report = run_into(out, tasks_of(die_when_done, inputs, out), workers)
    assert [file["error"] for file in report["files"]] == [None] * 3
    assert [file["reused"] for file in report["files"]] == [False, True, False]
    assert contents(out) == alone


def test_a_file_that_kills_every_worker_is_given_up(inputs, tmp_path):
    report = run_tasks(tasks_of(die_always, inputs, tmp_path), Workers(2), None)
    assert [file["error"] is None for file in report["files"]] == [True, False, True]
    assert "killed" in report["files"][1]["error"]
    assert inputs[1].with_suffix(".tried").read_text() == "xxx"


def test_what_the_user_must_mend_is_not_tried_again(workers, inputs, tmp_path):
    report = run_tasks(tasks_of(refuse, inputs[:1], tmp_path), workers, None)
    assert report["files"][0]["error"] == "not this one"
    assert inputs[0].with_suffix(".tried").read_text() == "x"


def test_every_task_has_an_outcome_though_it_cannot_be_pickled(inputs, tmp_path):
    (outcome,) = Workers(1).outcomes(tasks_of(lambda task: {}, inputs[:1], tmp_path))
    assert isinstance(outcome, Outcome) and "ickle" in str(outcome.error)


@pytest.mark.parametrize(("number", "share"), [(1, "2"), (2, "1")])
def test_a_worker_uses_its_share_of_the_cores(number, share, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(commands.workers, "cores", lambda: 2)
    found = list(Workers(number).outcomes(tasks_of(tell_environment, inputs[:2], tmp_path)))
    assert {outcome.report["environment"]["OMP_NUM_THREADS"] for outcome in found} == {share}


# --- dask


def test_dask_makes_the_same_files(inputs, alone, tmp_path):
    out = tmp_path / "out"
    report = succeeded("compress", *inputs, "-o", out, *PACKED, "--dask", "local", "--workers", 2, "--json").report
    assert report["failed"] == 0
    assert contents(out) == alone


def test_dask_lets_local_workers_keep_their_memory_and_does_not_watch_them(inputs, tmp_path):
    (outcome,) = Workers(2, "local").outcomes(tasks_of(tell_environment, inputs[:1], tmp_path))
    assert "MALLOC_TRIM_THRESHOLD_" not in outcome.report["environment"]
    assert outcome.report["environment"]["OMP_NUM_THREADS"] == "1"
    assert outcome.report["profiled"] is False and dask.config.get(PROFILE) is True


def test_a_dask_cluster_is_found_by_its_address(cluster, inputs, tmp_path):
    out = tmp_path / "out"
    inputs[0].write_bytes(b"")
    result = run_main("compress", *inputs, "-o", out, *PACKED, "--dask", cluster)
    assert result.code == 1 and "a.root" in result.err and "is not a ROOT file" in result.err
    assert sorted(path.name for path in out.iterdir()) == [NAME, "b.root", "c.root"]


def test_without_dask_it_says_so(inputs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ("--dask needs", "atlasae[distributed]")
    refused(2, words, "compress", *inputs, "-o", tmp_path / "out", "--dask", "local", out=tmp_path / "x")


@pytest.mark.parametrize("address", ["nowhere:1", "tcp://127.0.0.1:9", "x://y"])
def test_where_no_scheduler_is_it_says_so(address, inputs, tmp_path):
    words = ("no dask scheduler", address)
    with dask.config.set({"distributed.comm.timeouts.connect": "100ms"}):
        refused(2, words, "compress", *inputs, "-o", tmp_path / "out", "--dask", address, out=tmp_path / "x")


# --- interrupted


INTERRUPTED = """if True:
    import os
    import signal
    from pathlib import Path
    from atlasae.commands.cli import main
    from atlasae.files.outputs import replacing

    def linger(task):
        signalled, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written)  # unlike signal.pause(), what reads it ends if the signal came before, too
        with replacing(task.target, False) as temporary, Path(str(task.path) + ".begun").open("w") as begun:
            print("begun", file=begun, flush=True)
            os.read(signalled, 1)

    if __name__ == "__main__":
        import atlasae.commands.many as many
        many.compress_task = linger
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may be run where it is ignored
        main()
    """


@pytest.mark.parametrize(
    ("how", "send"),
    [
        *((number, os.kill) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)),
        *((number, os.killpg) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)),  # as a terminal does
    ],
)
def test_workers_end_with_the_command_and_leave_nothing(how, send, inputs, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(INTERRUPTED)
    pipes = [path.with_name(path.name + ".begun") for path in inputs[:2]]
    for pipe in pipes:
        os.mkfifo(pipe)
    command = [sys.executable, script, "compress", *inputs[:2], "-o", out, "--workers", "2", *PACKED]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    with pipes[0].open() as one, pipes[1].open() as other:
        assert one.readline() == other.readline() == "begun\n"
        assert len(left_over(out)) == 2
        send(process.pid, how)
        err = process.communicate()[1]
        assert one.read() == other.read() == ""  # a pipe ends with the worker that writes to it
    assert left_over(out) == []
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert err == "atlasae: interrupted: 0 of 2 files are done; run it again to go on\n"
