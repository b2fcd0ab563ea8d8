"""Outputs appear complete or not at all, however the process that writes them ends."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import awkward as ak
import pytest
from conftest import nothing_left, write_tree

from atlasae.codecs.priors import default_priors
from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.plan import Options
from atlasae.errors import UserError
from atlasae.files.outputs import check_format, check_target, remove_leftovers, replacing, write_kept


@pytest.fixture
def source(tmp_path) -> Path:
    return write_tree(tmp_path / "in.root", "T", {"x": ak.Array([1.0])})


def test_the_input_is_never_the_target(source, tmp_path):
    (tmp_path / "link.root").symlink_to(source)
    os.link(source, tmp_path / "hard.root")
    (tmp_path / "folder").mkdir()
    for name in ("in.root", "link.root", "hard.root", "folder/../in.root"):
        for force in (False, True):
            with pytest.raises(UserError, match=r"is the input: the output needs another name"):
                check_target(source, tmp_path / name, force)
            with pytest.raises(UserError, match="is the input"):
                check_target(tmp_path / name, source, force)


@pytest.mark.parametrize(
    ("target", "force", "says"),
    [
        ("old.root", False, "'.*old.root' exists: choose another name, or replace it with --force"),
        ("folder", False, "'.*folder' is a folder: name a file in it"),
        ("folder", True, "'.*folder' is a folder: name a file in it"),
        ("nowhere/out.root", False, "no folder '.*nowhere' for the output: make it first"),
        ("nowhere/out.root", True, "no folder '.*nowhere' for the output: make it first"),
        ("old.root/out.root", True, "no folder '.*old.root' for the output"),
        ("out.pkl", False, "'.*out.pkl' is named like a table: compressed jets go to a .root file"),
        ("out.PARQUET", True, "'.*out.PARQUET' is named like a table"),
    ],
)
def test_targets_that_would_lose_something_are_refused(source, tmp_path, target, force, says):
    (tmp_path / "old.root").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with nothing_left(source), pytest.raises(UserError, match=says):
        check_target(source, tmp_path / target, force)


@pytest.mark.parametrize("name", ["out.root", "out", "AOD.1._000001.pool.root.1", "x.ROOT", "a.b.root", "a.csv.root"])
def test_root_files_have_such_names(name):
    check_format(Path(name))
    check_format(Path(name), tables=True)


@pytest.mark.parametrize("name", ["out.tmp", "jets.v2", "jets.small"])
def test_other_names_are_taken_where_only_root_is_written(name):
    check_format(Path(name))
    with pytest.raises(UserError, match="a format not written here"):
        check_format(Path(name), tables=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.csv", "'x.csv' ends in '.csv', a format not written here: name it .root"),
        ("root.h5", "'root.h5' ends in '.h5'"),
        ("out.pkl", "'out.pkl' ends in '.pkl', a format not written here: name it .root"),
        ("-", "'-' is no file, and a ROOT file can't be written to a pipe: name one"),
    ],
)
def test_files_of_other_formats_are_named_otherwise(name, says):
    with pytest.raises(UserError, match=says):
        check_format(Path(name))


def test_tables_may_be_written():
    for name in ("out.pkl", "out.parquet", "out.csv", "out.csv.gz", "out.h5", "out.npz"):
        check_format(Path(name), tables=True)
    with pytest.raises(UserError, match=r"name it \.root, \.pkl, \.parquet, \.csv, \.h5 or \.npz"):
        check_format(Path("out.feather"), tables=True)


def test_a_missing_input_is_named_before_the_target(tmp_path):
    with pytest.raises(UserError, match="no such file: '.*in.root'"):
        check_target(tmp_path / "in.root", tmp_path / "nowhere" / "out.root", force=False)


def test_other_targets_are_taken(source, tmp_path, monkeypatch):
    (tmp_path / "old.root").write_bytes(b"old")
    check_target(source, tmp_path / "old.root", force=True)
    check_target(source, tmp_path / "new.root", force=False)
    check_target(source, tmp_path / "new.pkl", force=False, tables=True)
    monkeypatch.chdir(tmp_path)
    check_target(Path("in.root"), Path("new.root"), force=False)


def test_a_target_appears_whole(tmp_path):
    target = tmp_path / "out.root"
    for content, force in ((b"first", False), (b"second", True)):
        with replacing(target, force) as temporary:
            assert (temporary.parent, temporary.suffix) == (tmp_path, ".root")  # one file system; a format by suffix
            assert temporary != target and temporary.name.startswith(".")
            temporary.write_bytes(content)
            assert not target.exists() or target.read_bytes() == b"first"
        assert [path.name for path in tmp_path.iterdir()] == ["out.root"]
        assert target.read_bytes() == content


FAILURES = [ValueError("x"), UserError("x"), KeyboardInterrupt(), SystemExit(1), OSError(errno.ENOSPC, "no space left")]


@pytest.mark.parametrize("existing", [None, b"old"])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_failure_leaves_nothing_and_the_old_target_as_it_was(tmp_path, existing, failure):
    target = tmp_path / "out.root"
    if existing is not None:
        target.write_bytes(existing)
    kind = UserError if isinstance(failure, OSError) else type(failure)
    with nothing_left(target), pytest.raises(kind) as caught, replacing(target, True) as temporary:
        temporary.write_bytes(b"half of it")
        raise failure
    if isinstance(failure, OSError):
        assert str(caught.value) == f"can't write '{target}': no space left"
    else:
        assert caught.value is failure


def test_a_target_that_can_not_be_written_is_the_users_to_mend(tmp_path):
    target = tmp_path / "out.root"
    target.mkdir()
    with pytest.raises(UserError, match="can't write '.*out.root'"), replacing(target, True) as temporary:
        temporary.write_bytes(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["out.root"]
    with pytest.raises(UserError, match="can't write"), replacing(tmp_path / "nowhere" / "x.root", False) as temporary:
        temporary.write_bytes(b"new")


def test_what_can_not_be_read_is_not_blamed_on_the_target(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out.root", False):
        (tmp_path / "gone.model").read_bytes()


def test_a_device_is_no_target(source):
    with pytest.raises(UserError, match="'/dev/null' is a device or a pipe"):
        check_target(source, Path("/dev/null"), force=True)


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real.root").write_bytes(b"old")
    (tmp_path / "link.root").symlink_to("folder/real.root")
    with replacing(tmp_path / "link.root", True) as temporary:
        assert temporary.parent == tmp_path / "folder"
        temporary.write_bytes(b"new")
    assert (tmp_path / "link.root").is_symlink()
    assert (tmp_path / "folder" / "real.root").read_bytes() == b"new"


def test_a_target_is_as_readable_as_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "out.root", False) as temporary:
        temporary.write_bytes(b"new")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "out.root")]
    assert modes[0] == modes[1]


def test_a_target_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    target, seen = tmp_path / "out.root", []

    def flushed(handle: int) -> None:
        seen.append((Path(f"/proc/self/fd/{handle}").readlink(), target.exists()))

    monkeypatch.setattr(os, "fsync", flushed)
    with replacing(target, False) as temporary:
        temporary.write_bytes(b"new")
    assert seen == [(temporary, False), (tmp_path, True)]


# --- processes that were killed

HALF = """
import os, signal, sys
from pathlib import Path
from atlasae.files.outputs import replacing
with replacing(Path(sys.argv[1]), True) as temporary:
    temporary.write_bytes(b"half of it")
    os.kill(os.getpid(), int(sys.argv[2]))
    print("written", flush=True)
    sys.stdin.read()
"""


def half_written(target: Path, number: int) -> subprocess.Popen[bytes]:
    """A process that was stopped or killed after writing half of its output."""
    command = [sys.executable, "-c", HALF, str(target), str(int(number))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    target = tmp_path / "out.root"
    target.write_bytes(b"old")
    with half_written(target, signal.SIGKILL) as process:
        assert process.wait() == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.glob(".atlasae-*.root"))) == 1
    with replacing(tmp_path / "another.root", False) as temporary:
        assert sorted(tmp_path.iterdir()) == sorted([target, temporary])
        temporary.write_bytes(b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another.root", "out.root"]


def test_what_another_run_is_writing_is_left_alone(tmp_path):
    with half_written(tmp_path / "out.root", 0) as process:
        assert process.stdout and process.stdout.readline() == b"written\n"
        (theirs,) = tmp_path.glob(".atlasae-*")
        remove_leftovers(tmp_path)
        with replacing(tmp_path / "another.root", False) as temporary:
            temporary.write_bytes(b"new")
        assert theirs.read_bytes() == b"half of it"
        process.communicate(b"")
    assert process.returncode == 0
    assert (tmp_path / "out.root").read_bytes() == b"half of it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another.root", "out.root"]


def test_only_unfinished_outputs_are_removed(tmp_path):
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / ".atlasae-link.root").symlink_to("precious")
    (tmp_path / ".atlasae-folder").mkdir()
    (tmp_path / ".hidden").touch()
    before = sorted(tmp_path.iterdir())
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", [".atlasae-notes.txt", ".atlasae-", ".atlasae-0123456789abcdef.root", "a copy of one"])
def test_a_file_of_the_user_is_no_leftover_whatever_its_name(name, tmp_path):
    if name == "a copy of one":
        with half_written(tmp_path / "out.root", signal.SIGKILL) as process:
            process.wait()
        (left,) = tmp_path.glob(".atlasae-*")
        name = left.name
        left.rename(tmp_path / "theirs")
        shutil.copy(tmp_path / "theirs", left)
    (tmp_path / name).write_bytes(b"mine")
    with replacing(tmp_path / "another.root", False) as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / name).read_bytes() == b"mine"


def test_a_file_is_locked_before_it_has_a_name_that_leftovers_are_known_by(tmp_path, monkeypatch):
    flock, names = fcntl.flock, []

    def noted(handle: int, operation: int) -> None:
        flock(handle, operation)
        names.extend(path for path in tmp_path.iterdir() if path not in names)
        remove_leftovers(tmp_path) if len(names) == 1 else None

    monkeypatch.setattr(fcntl, "flock", noted)
    with replacing(tmp_path / "out.root", False) as temporary:
        assert temporary not in names and not names[0].exists()
        temporary.write_bytes(b"new")
        remove_leftovers(tmp_path)
    assert (tmp_path / "out.root").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "out.root"]


# --- two runs, one output


def without_links(*arguments: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["links", "no links"])
def linking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and one without."""
    if request.param == "no links":
        monkeypatch.setattr(Path, "hardlink_to", without_links)


@pytest.mark.usefixtures("linking")
def test_of_two_runs_that_write_one_output_the_second_is_refused(tmp_path):
    target = tmp_path / "out.root"
    with pytest.raises(UserError, match=r"out.root' exists: .* meanwhile; .*--force"), replacing(target, False) as late:
        late.write_bytes(b"second")
        with replacing(target, False) as soon:
            soon.write_bytes(b"first")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("linking")
def test_of_two_runs_that_may_replace_it_the_last_one_wins(tmp_path):
    target = tmp_path / "out.root"
    target.write_bytes(b"old")
    with replacing(target, True) as late:
        late.write_bytes(b"second")
        with replacing(target, True) as soon:
            soon.write_bytes(b"first")
    assert target.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_that_was_made_though_its_answer_was_lost_is_ours(tmp_path, monkeypatch):
    link = Path.hardlink_to

    def twice(path: Path, other: Path) -> None:
        link(path, other)
        link(path, other)

    monkeypatch.setattr(Path, "hardlink_to", twice)
    with replacing(tmp_path / "out.root", False) as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "out.root").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "out.root"]


def test_a_name_that_was_taken_is_free_again_where_the_file_never_gets_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", without_links)
    monkeypatch.setattr(Path, "replace", without_links)
    with pytest.raises(UserError, match="can't write"), replacing(tmp_path / "out.root", False) as temporary:
        temporary.write_bytes(b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("force", [False, True])
def test_an_output_that_came_meanwhile_stays_unless_it_may_be_replaced(force, jets_file, tmp_path):
    small, out = tmp_path / "small.root", tmp_path / "out.root"
    compress_file(jets_file, small, Options(packed=True))
    options = Options(packed=True, force=force)
    for path, write, told in ((jets_file, compress_file, options), (small, decompress_file, force)):
        out.unlink(missing_ok=True)
        with contextlib.nullcontext() if force else pytest.raises(UserError, match=r"out.root' exists"):
            write(path, out, told, lambda done, entries: out.write_bytes(b"theirs"))
        assert (out.read_bytes() == b"theirs") is not force


@pytest.mark.parametrize("force", [False, True])
def test_every_writer_says_whether_it_may_replace(force, tmp_path):
    target = tmp_path / "tables.model"
    target.write_bytes(b"old")
    with contextlib.nullcontext() if force else pytest.raises(UserError, match="exists"):
        write_kept(target, default_priors(), force)
    assert (target.read_bytes() == b"old") is not force


def test_what_is_known_by_its_hash_is_written_and_told(tmp_path):
    kept, target = default_priors(), tmp_path / "tables.model"
    assert write_kept(target, kept, False) == {
        "output": str(target),
        "sha256": kept.sha256,
        "bytes": target.stat().st_size,
    }
    assert target.read_bytes() == kept.content and list(tmp_path.iterdir()) == [target]
