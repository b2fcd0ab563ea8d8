"""Inputs at a URL: read in ranges; each failure is one line without secrets."""

import os
import pickle
import shutil
import sys
from importlib import import_module
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pandas as pd
import pytest
from conftest import nothing_left, refused, run_main, succeeded, work_here, write_layout, write_tree
from servers import dead_port

import atlasae
from atlasae.commands.many import expand
from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.plan import Options
from atlasae.compression.verify import check_file, verify_file
from atlasae.errors import DamagedFileError, UnreachableError, UserError
from atlasae.files import remote
from atlasae.files.remote import Remote, address, all_located, local, located, masked, watching
from atlasae.files.trees import open_source
from atlasae.reports.benchmark import read_all_jets
from atlasae.reports.evaluation import evaluate_files
from atlasae.reports.figures import figures_of
from atlasae.reports.panels import Label

PACKED = ("--layout", "packed")
SECRETS = ("user:", "password", "SECRET")


def without_secrets(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


@pytest.fixture
def served(web, made_once):
    """The server, with a file of jets and the same compressed."""
    for name, content in made_once.items():
        (web.folder / name).write_bytes(content)
    return web


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(remote, "SILENCE", 0.2)


@pytest.mark.parametrize(
    ("url", "name", "suffix", "said"),
    [
        ("https://user:p@ssword@h:8/a/b%20c.root?s=SECRET&x", "b c.root", ".root", "https://h:8/a/b%20c.root"),
        ("root://user@h:1094//store/x.root?authz=SECRET", "x.root", ".root", "root://h:1094//store/x.root"),
        ("s3://bucket/of 1/k%20ey.parquet", "k%20ey.parquet", ".parquet", "s3://bucket/of 1/k%20ey.parquet"),
        ("HTTP://h/a.root.1", "a.root.1", ".1", "http://h/a.root.1"),
        ("http://[::1]:8000/a.pkl", "a.pkl", ".pkl", "http://[::1]:8000/a.pkl"),
    ],
)
def test_a_url_is_a_location_with_a_name_and_no_secrets(url, name, suffix, said):
    location = located(url)
    assert isinstance(location, Remote) and location == Remote(url) and address(location) == url
    assert (location.name, location.suffix, location.stem, str(location)) == (
        name,
        suffix,
        name.removesuffix(suffix),
        said,
    )
    assert repr(location) == f"Remote('{said}')"
    assert pickle.loads(pickle.dumps(location)) == location


@pytest.mark.parametrize("text", ["a.root", "/tmp/a.root", "a:b.root", "./https:/a.root", "//b"])
def test_other_texts_are_paths(text):
    assert located(text) == located(Path(text)) == local(text) == Path(text)
    assert address(located(text)) == str(Path(text))


class Named:
    """A path object of another library."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __fspath__(self) -> str:
        return self.text


def test_whatever_names_a_path_is_one_and_nothing_else():
    assert located(Named("a.root")) == Path("a.root")
    assert located(Named("https://h/a.root")) == Remote("https://h/a.root")
    assert all_located("a.root") == all_located(["a.root"]) == all_located(Named("a.root")) == [Path("a.root")]
    assert all_located(name for name in (Path("a"), "b")) == [Path("a"), Path("b")]
    for wrong in (5, None, b"a.root", ["a.root"]):
        with pytest.raises(UserError, match="is no path: give a text or a Path"):
            located(wrong)
    with pytest.raises(UserError, match="None is no path"):
        all_located(None)


def test_a_url_of_this_machine_is_a_path(tmp_path):
    assert located(f"file://{tmp_path}/a%20b.root") == tmp_path / "a b.root"


@pytest.mark.parametrize(
    "url", ["https://user:password@h/", "https://h/a/..", "https://h/a%2F..", "http://h/a%00.root"]
)
def test_a_url_that_names_no_file_is_refused(url):
    with pytest.raises(UserError, match="names no file") as told:
        located(url)
    assert without_secrets(str(told.value))


def test_what_is_no_url_is_refused():
    with pytest.raises(UserError, match="is no URL"):
        located("http://[::1/a.root")


def test_secrets_are_masked_wherever_urls_are():
    assert masked("at https://user:password@h/a?s=SECRET, twice s3://user@b/c") == "at https://h/a twice s3://b/c"


# --- what can be done with a URL


@pytest.mark.usefixtures("quick_classifier")
def test_every_command_reads_urls(served, tmp_path):
    jets, small = served.url("jets.root"), served.url("small.root")
    write_layout(served.folder / "many.root", "nanoaod", 1000)
    assert succeeded("compress", jets, tmp_path / "a.root", "--json").report["jets"]
    assert succeeded("decompress", small, tmp_path / "b.root", "--json").report["missing"] == []
    assert succeeded("verify", jets, small, "--json").report["differences"] == []
    assert succeeded("verify", small, "--json").report["entries"] == 60
    assert succeeded("info", small, "--json").report["file"] == served.said("small.root")
    assert succeeded("evaluate", jets, small, "--json").report["original"] == "jets.root"
    assert succeeded("export", small, "--cpp", "-o", tmp_path / "jets.h", "--json").report["collection"] == "Jet"
    assert succeeded("train", served.url("many.root"), "--arch", "tables", "-o", tmp_path / "t.model", "--json").report[
        "jets"
    ]
    with atlasae.open([small, served.folder / "small.root"]) as tree:
        assert tree.num_entries == 120
        first, second = tree["Jet_pt"].array(entry_stop=60), tree["Jet_pt"].array(entry_start=60)
        assert first.to_list() == second.to_list()


def test_figures_are_drawn_and_sizes_measured_of_urls(served):
    jets, small = located(served.url("jets.root")), located(served.url("small.root"))
    assert next(figures_of([jets, small], Label())[0])[0]
    assert len(read_all_jets(jets, (), None).jets) > 60


def test_what_is_made_of_a_url_is_what_is_made_of_the_file(served, tmp_path):
    found = []
    for path in (served.url("jets.root"), served.folder / "jets.root"):
        out = tmp_path / f"{len(found)}.root"
        report = succeeded("compress", path, out, "--json").report
        found.append({key: report[key] for key in report if key not in ("seconds", "output")})
        run = succeeded("info", out, "--json").report["runs"][0]
        assert (run["source"], run["source_bytes"]) == ("jets.root", (served.folder / "jets.root").stat().st_size)
        assert succeeded("verify", served.folder / "jets.root", out, "--json").report["differences"] == []
        assert without_secrets(out.read_bytes().decode("latin-1"))
    assert found[0] == found[1]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", ["jets.pkl", "jets.parquet"])
def test_tables_are_read_whole(name, ranges, web, tmp_path):
    frame = pd.DataFrame({v: np.linspace(1, 2, 40) * (40 if v == "pt" else 1) for v in ("pt", "eta", "phi", "m")})
    frame.to_pickle(web.folder / name) if name.endswith("pkl") else frame.to_parquet(web.folder / name)
    web.ranges = ranges
    report = succeeded("compress", web.url(name), tmp_path / "out.root", *PACKED, "--json").report
    assert report["entries"] == 40


def test_only_what_is_needed_is_read(web, tmp_path):
    jets = {v: ak.Array(np.linspace(1, 2, 1000).astype(np.float32)) for v in ("pt", "eta", "phi", "m")}
    jets["pt"] = jets["pt"] * 40
    noise = {"noise": ak.Array(np.random.default_rng(1).random((1000, 500)))}
    path = write_tree(web.folder / "jets.root", "jets", jets | noise)
    small = web.folder / "small.root"
    succeeded("compress", path, small, *PACKED, "--quiet")
    assert small.stat().st_size > 3_000_000
    succeeded("info", web.url("small.root"))
    assert 0 < web.sent < 400_000 and len(web.asked) < 20
    web.sent = 0
    with atlasae.open(web.url("small.root")) as tree:
        assert len(tree["pt"].array()) == 1000
    assert web.sent < 400_000
    web.sent = 0
    succeeded("compress", web.url("jets.root"), tmp_path / "some.root", *PACKED, "--only-jets")
    assert web.sent < 400_000


def test_any_store_that_fsspec_knows_will_do(made_once, tmp_path):
    files = fsspec.filesystem("memory")
    for name in ("a", "b"):
        files.pipe_file(f"/jets/{name}.root", made_once["jets.root"])
    files.pipe_file("/jets/deep/c.root", made_once["jets.root"])
    found = expand([Remote("memory://jets/*.root")])
    assert found == [Remote("memory:///jets/a.root"), Remote("memory:///jets/b.root")]
    assert succeeded("compress", found[0].url, tmp_path / "out.root", *PACKED, "--json").report["entries"] == 60
    assert run_main("compress", "memory://jets/*.rot", "-o", tmp_path / "out").failed(2, "no file fits", "*.rot")
    files.rm("/jets", recursive=True)


# --- XRootD


def test_a_server_of_xrootd(xrootd, made_once, tmp_path):
    folder, url = xrootd.folder, xrootd.url
    for name, content in made_once.items():
        (folder / name).write_bytes(content)
    assert succeeded("compress", f"{url}/jets.root", tmp_path / "a.root", *PACKED, "--json").report["jets"]
    assert succeeded("verify", f"{url}/jets.root", tmp_path / "a.root", "--json").report["differences"] == []
    assert succeeded("info", f"{url}/small.root?authz=SECRET", "--json").report["file"] == f"{url}/small.root"
    many = ("decompress", f"{url}/s*.root", "-o", tmp_path / "out", "--json")
    assert [file["input"] for file in succeeded(*many).report["files"]] == [f"{url}/small.root"]
    assert succeeded(*many).report["files"][0]["reused"]
    assert run_main("info", f"{url}/none.root").failed(2, f"no such file: '{url}/none.root'")
    assert run_main("info", url).failed(2, f"'{url}' is a folder")
    assert run_main("compress", f"{url}/x*.root", "-o", tmp_path / "out").failed(2, "no file fits")


def test_a_server_of_xrootd_that_is_lost_on_the_way(xrootd, made_once):
    (xrootd.folder / "jets.root").write_bytes(made_once["jets.root"])
    location = Remote(f"{xrootd.url}/jets.root")
    with pytest.raises(UnreachableError, match="can't read 'root://.*/jets.root'"), open_source(location) as source:
        xrootd.stop()
        source.trees["Events"].read(["Jet_pt"], 0, 60)
    files, _ = location._store
    assert files._readonly_filehandle_cache._cache == {}  # or it would print an error at exit


def test_a_server_of_xrootd_that_is_not_there():
    url = f"root://user@127.0.0.1:{dead_port()}//a.root"
    assert run_main("info", url).failed(2, "can't read 'root://127.0.0.1", "Connection error")


# --- what can go wrong


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, ("no such file",)),
        (403, ("no permission", "credentials")),
        (401, ("no permission", "credentials")),
        (500, ("can't read", "500 Internal Server Error")),
        (503, ("can't read", "503 Service Unavailable")),
    ],
)
def test_what_a_server_refuses_is_said_on_one_line(status, words, served, tmp_path):
    served.status = status
    for command in (("info",), ("verify",)):
        result = run_main(*command, served.url("small.root"))
        assert result.failed(2, *words, served.said("small.root")) and without_secrets(result.err)
    out = tmp_path / "out.root"
    for name in ("jets.root", "jets.pkl"):
        refused(2, (*words, served.said(name)), "compress", served.url(name), out, out=out)


def test_a_server_that_is_not_there():
    result = run_main("info", f"http://user:password@127.0.0.1:{dead_port()}/a.root?SECRET")
    assert result.failed(2, "can't read 'http://127.0.0.1", "Cannot connect") and without_secrets(result.err)


def test_a_server_that_never_answers(served, impatient):
    served.silent = True
    assert run_main("info", served.url("small.root")).failed(2, "no answer in 0.2 seconds; try again")


def test_a_server_that_does_not_tell_how_long_files_are(served):
    served.lengths = False
    assert run_main("info", served.url("small.root")).failed(2, "does not tell its size: download it first")


def test_a_server_that_sends_files_only_whole(served):
    served.ranges = False
    result = run_main("info", served.url("small.root"))
    assert result.failed(2, served.said("small.root"), "sends files only whole (no range requests): download it first")


def test_a_connection_that_breaks_is_no_damage_and_leaves_no_output(served, tmp_path):
    out = tmp_path / "out.root"
    succeeded("compress", served.url("jets.root"), out, *PACKED)
    needed = len(served.asked)
    assert needed > 3
    out.unlink()
    for answered in range(1, needed - 1):  # the last one asks only whether the file has changed
        served.asked.clear()
        served.cut_after = answered
        words = ("can't read", served.said("jets.root"))
        refused(2, words, "compress", served.url("jets.root"), out, *PACKED, out=out)


def test_fewer_bytes_than_asked_for_are_no_damage(served, monkeypatch):
    location = Remote(served.url("jets.root"))
    files, _ = location._store
    monkeypatch.setattr(files, "cat_ranges", lambda paths, starts, stops, on_error: [b"few"] * len(paths))
    with pytest.raises(UnreachableError, match="3 bytes came of 10; try again"):
        location.read([(0, 10)])


def test_ranges_end_where_the_file_does(served, made_once):
    location, content = Remote(served.url("jets.root")), made_once["jets.root"]
    size = len(content)
    ranges = [(0, 4), (size - 3, size + 9), (size, size + 1), (7, 7)]
    assert location.read(ranges) == [content[start:stop] for start, stop in ranges]
    assert [location.peek(start, stop) for start, stop in ranges] == location.read(ranges)


@pytest.mark.parametrize("keep", [2, 300, 5000, -10])
def test_a_file_that_was_cut_is_damaged_there_too(keep, served, made_once):
    (served.folder / "small.root").write_bytes(made_once["small.root"][:keep])
    result = run_main("info", served.url("small.root"))
    assert result.failed(2, "not a ROOT file") if keep == 2 else result.failed(3, "damaged")
    assert without_secrets(result.err)


def test_a_file_with_changed_bytes_is_damaged_there_too(served, made_once):
    content = bytearray(made_once["small.root"])
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    (served.folder / "small.root").write_bytes(content)
    result = run_main("verify", served.url("small.root"))
    assert result.failed(3, "damaged") and without_secrets(result.err)


def test_a_traceback_has_no_secrets(served):
    served.status = 403
    result = run_main("info", served.url("small.root"), "--debug")
    assert result.code == 2 and "Traceback" in result.err and "small.root" in result.err and without_secrets(result.err)


@pytest.mark.parametrize(
    ("scheme", "module", "says"),
    [
        ("https", "aiohttp", "needs aiohttp: pip install 'atlasae[http]'"),
        ("s3", "s3fs", "needs s3fs: pip install 'atlasae[s3]'"),
        ("root", "fsspec_xrootd", "needs fsspec-xrootd: pip install 'atlasae[xrootd]'"),
        ("gs", "gcsfs", "gcsfs"),
        ("foo", None, "Protocol not known: foo; there are http, https, root, s3"),
    ],
)
def test_what_is_not_installed_is_said(scheme, module, says, monkeypatch):
    monkeypatch.delitem(import_module("fsspec.registry")._registry, scheme, raising=False)
    for name in [name for name in sys.modules if module and name.partition(".")[0] == module] + [module or ""]:
        monkeypatch.setitem(sys.modules, name, None)
    assert run_main("info", f"{scheme}://user:password@host/a.root").failed(2, f"'{scheme}://host/a.root'", says)


def test_web_servers_are_not_asked_for_lists(served, tmp_path):
    words = (served.said("*.root"), "web servers list no files: name them one by one")
    assert run_main("compress", served.url("*.root"), "-o", tmp_path / "out").failed(2, *words)


@pytest.mark.parametrize(
    "arguments",
    [
        ("compress", "{jets}", "s3://user:password@b/out.root"),
        ("compress", "{jets}", "-o", "https://user:password@h/out"),
        ("decompress", "{jets}", "root://user:password@h//out.root"),
        ("evaluate", "{jets}", "{jets}", "-o", "https://user:password@h/report.json"),
        ("evaluate", "{jets}", "{jets}", "--histograms", "https://user:password@h/out.root"),
        ("plot", "{jets}", "{jets}", "-o", "https://user:password@h/plots"),
        ("train", "{jets}", "-o", "https://user:password@h/model"),
        ("export", "{jets}", "--cpp", "-o", "https://user:password@h/jets.h"),
    ],
)
def test_outputs_stay_here(arguments, jets_file):
    given = [word.format(jets=jets_file) for word in arguments]
    result = run_main(*given)
    assert result.failed(2, "is a URL, and only inputs are read from one: write it here, and copy it there")
    assert without_secrets(result.err)


def test_outputs_of_functions_stay_here(jets_file):
    for function in (atlasae.compress_file, atlasae.decompress_file):
        with pytest.raises(UserError, match="write it here"):
            function(jets_file, "s3://bucket/out.root")


def test_settings_stay_here(jets_file, tmp_path):
    result = run_main("compress", jets_file, tmp_path / "out.root", "--variables", "https://h/v.toml")
    assert result.failed(2, "'https://h/v.toml' is a URL", "copy it here")


# --- many files


@pytest.mark.usefixtures("here")
def test_many_files_are_done_once_whatever_signs_their_urls(served, tmp_path):
    shutil.copy(served.folder / "jets.root", served.folder / "other jets.root")
    served.etags |= {"jets.root": '"1"', "other jets.root": '"1"'}
    out = tmp_path / "out"

    def compress(signature: str, *more: str):
        names = [served.url(name).replace("SECRET", signature) for name in ("jets.root", "other%20jets.root")]
        return run_main("compress", *names, *more, "-o", out, *PACKED, "--json")

    first = compress("SECRET").report
    assert [Path(file["output"]).name for file in first["files"]] == ["jets.root", "other jets.root"]
    assert [file["reused"] for file in compress("SECRET2").report["files"]] == [True, True]
    served.etags["jets.root"] = '"2"'
    again = compress("SECRET3", served.url("none.root"), "--force")
    assert again.code == 1 and without_secrets(again.out + again.err)
    assert [(file["reused"], file["error"]) for file in again.report["files"]] == [
        (False, None),
        (True, None),
        (False, f"no such file: '{served.said('none.root')}'"),
    ]
    assert without_secrets((out / "atlasae.jsonl").read_text())
    served.status = 503
    gone = compress("SECRET")
    assert gone.code == 1 and [file["reused"] for file in gone.report["files"]] == [False, False]


def test_many_files_by_workers_into_parts_and_back(served, tmp_path, monkeypatch):
    out = tmp_path / "out"
    command = (
        "compress",
        served.url("jets.root"),
        "-o",
        out,
        *PACKED,
        "--workers",
        2,
        "--split-size",
        "20kB",
        "--json",
    )
    files = succeeded(*command).report["files"]
    assert len(files) > 1 and sum(file["entries"] for file in files) == 60
    work_here(monkeypatch)
    checked = succeeded("verify", served.url("jets.root"), out, "--json").report["files"]
    assert [file["differences"] for file in checked] == [[]] * len(files)


@pytest.mark.usefixtures("here")
def test_a_file_that_cannot_be_reached_is_not_split_but_fails_alone(served, tmp_path):
    served.status = 503
    result = run_main("compress", served.url("jets.root"), "-o", tmp_path / "out", "--split-size", "1kB", "--json")
    assert result.code == 1 and result.report["failed"] == 1 and "503" in result.report["files"][0]["error"]


def test_jobs_get_the_whole_url(served, tmp_path):
    url = served.url("jets.root")
    slurm = succeeded("batch", "--scheduler", "slurm", "compress", url, "-o", tmp_path / "out").out
    assert f"  '{url}'\n" in slurm
    assert (
        succeeded("batch", "--scheduler", "condor", "compress", url, "-o", tmp_path / "out").out.splitlines()[-2] == url
    )


@pytest.mark.parametrize("layout", ["floats", "packed"])
def test_models_stay_here(layout, jets_file, tmp_path):
    url = "https://user:password@h/a.model?SECRET"
    result = run_main("compress", jets_file, tmp_path / "out.root", "--layout", layout, "--model", url)
    assert result.failed(2, "'https://h/a.model' is a URL", "copy it here") and without_secrets(result.err)


# --- files that change while they are read


def overwrite(path: Path) -> None:
    """Overwrite a file in place with the same number of other bytes."""
    with path.open("r+b") as file:
        file.write(bytes(100))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def replace_by_a_copy(path: Path) -> None:
    facts = path.stat()
    shutil.copy(path, path.with_suffix(".copy"))
    os.utime(path.with_suffix(".copy"), ns=(facts.st_atime_ns, facts.st_mtime_ns))
    path.with_suffix(".copy").rename(path)


def append(path: Path) -> None:
    facts = path.stat()
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


CHANGES = [overwrite, replace_by_a_copy, append, Path.unlink]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_is_told_of_whatever_went_wrong(jets_file, compressed, change):
    told = pytest.raises(UserError, match="small.root' changed while it was read.*try again")
    with told, watching(jets_file, compressed) as check:
        check()
        change(compressed)
        check()
    with pytest.raises(UserError, match="jets.root' changed while it was read"), watching(jets_file):
        change(jets_file)
        raise DamagedFileError("it is damaged")


def test_a_file_that_does_not_change_is_what_it_is(jets_file, tmp_path):
    with watching(jets_file, tmp_path / "not there") as check:
        jets_file.read_bytes()
        check()
    with pytest.raises(DamagedFileError, match="it is damaged"), watching(jets_file):
        raise DamagedFileError("it is damaged")


def test_a_pipe_may_change(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with watching(tmp_path / "pipe") as check:
        os.utime(tmp_path / "pipe", (0, 0))
        check()


def test_a_url_whose_server_tells_another_version_has_changed(served):
    served.etags["jets.root"] = "first"
    path = located(served.url("jets.root"))
    with watching(path) as check:
        check()
        served.etags["jets.root"] = "second"
        with pytest.raises(UserError, match="changed while it was read.*copy it here first") as caught:
            check()
        served.etags["jets.root"] = "first"
        check()
        assert without_secrets(str(caught.value))
    with pytest.raises(DamagedFileError, match="it is damaged"), watching(path):
        served.status = 503
        raise DamagedFileError("it is damaged")


@pytest.mark.parametrize("work", ["compress", "decompress", "verify", "check", "evaluate"])
def test_nothing_is_made_of_a_file_that_changes(jets_file, compressed, work):
    """Even if all of it could be read."""
    out = jets_file.with_name("out.root")
    changed = jets_file if work in ("compress", "verify") else compressed

    def change(done: int, total: int) -> None:
        os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))

    works = {
        "compress": lambda: compress_file(jets_file, out, Options(packed=True), change),
        "decompress": lambda: decompress_file(compressed, out, progress=change),
        "verify": lambda: verify_file(jets_file, compressed, change),
        "check": lambda: check_file(compressed, change),
        "evaluate": lambda: evaluate_files(jets_file, compressed, change),
    }
    with nothing_left(out), pytest.raises(UserError, match=f"'{changed}' changed while it was read"):
        works[work]()
