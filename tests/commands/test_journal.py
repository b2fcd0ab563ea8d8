"""The journal knows the outputs that are done, and nothing else."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlasae.commands.journal import NAME, Entry, Journal, Origin, add_entry
from atlasae.errors import UnreachableError, UserError
from atlasae.files.checksums import checksum_bytes
from atlasae.files.remote import Remote


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """An entry for an input and an output that exist."""
    (tmp_path / "in").write_bytes(b"input")
    (tmp_path / "out").write_bytes(b"output")
    source = Origin.of(tmp_path / "in", "options")
    return Entry(source, "out", f"{checksum_bytes(b'output'):016x}", {"jets": 3, "error": float("inf")})


def test_what_is_added_is_found_again(entry, tmp_path):
    assert Journal(tmp_path).find(entry.source, "out") is None
    add_entry(tmp_path, entry)
    assert Journal(tmp_path).find(entry.source, "out") == {"jets": 3, "error": None}  # JSON knows no infinity
    assert Journal(tmp_path).notes == []


@pytest.mark.parametrize(
    "change", [{"size": 4}, {"mtime_ns": 1}, {"options": "other"}, {"input": "other"}, {"version": "2"}]
)
def test_what_is_made_of_anything_else_is_not_done(change, entry, tmp_path):
    add_entry(tmp_path, entry)
    assert Journal(tmp_path).find(replace(entry.source, **change), "out") is None


@pytest.mark.parametrize("content", [b"outpud", None])
def test_what_has_other_bytes_or_is_gone_is_not_done(content, entry, tmp_path):
    add_entry(tmp_path, entry)
    (tmp_path / "out").unlink() if content is None else (tmp_path / "out").write_bytes(content)
    assert Journal(tmp_path).find(entry.source, "out") is None


def test_a_line_that_was_cut_harms_no_other(entry, tmp_path):
    add_entry(tmp_path, replace(entry, output="other"))
    add_entry(tmp_path, entry)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-9])
    assert list(Journal(tmp_path).lines) == ["other"]
    add_entry(tmp_path, entry)
    assert list(Journal(tmp_path).lines) == ["other", "out"]


def test_a_line_of_another_version_is_not_done(entry, tmp_path):
    rest = b'"output": "out", "source": "elsewhere"}'
    line = b'{"check": "%016x", %s\n' % (checksum_bytes(rest), rest)
    (tmp_path / NAME).write_bytes(line)
    assert Journal(tmp_path).find(entry.source, "out") is None
    assert Journal(tmp_path).notes == []


@pytest.mark.parametrize("other", [{"checksum": "0"}, {"source": Origin("other", 5, 1, "options")}, {"report": {}}])
@pytest.mark.parametrize("later", [False, True])
def test_lines_of_runs_that_were_killed_or_refused_are_in_nobodys_way(other, later, entry, tmp_path):
    for one in (entry, replace(entry, **other))[:: -1 if later else 1]:
        add_entry(tmp_path, one)
    assert Journal(tmp_path).find(entry.source, "out") is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_bad_byte_costs_its_line_and_is_said(data, entry, tmp_path):
    path = tmp_path / NAME
    path.unlink(missing_ok=True)
    for one in (replace(entry, output="before"), entry, replace(entry, output="behind")):
        add_entry(tmp_path, one)
    lines = path.read_bytes().splitlines()
    bad = bytearray(lines[1])
    at = data.draw(st.integers(0, len(bad) - 1))
    bad[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != bad[at] and byte not in b"\r\n"))
    path.write_bytes(b"\n".join([lines[0], bytes(bad), lines[2], b""]))
    journal = Journal(tmp_path)
    assert list(journal.lines) == ["before", "behind"]
    assert journal.find(entry.source, "out") is None
    assert journal.notes == [f"'{path}': line 2 is damaged, and ignored"]


def test_a_text_for_a_number_costs_its_line(entry, tmp_path):
    add_entry(tmp_path, entry)
    path = tmp_path / NAME
    path.write_text(path.read_text().replace('"jets": 3', '"jets": "three"'))
    assert Journal(tmp_path).find(entry.source, "out") is None
    assert len(Journal(tmp_path).notes) == 1


def test_names_may_be_any_bytes(entry, tmp_path):
    name = os.fsdecode(b'o\xff\n"\\ .root')
    (tmp_path / "out").rename(tmp_path / name)
    odd = replace(entry, output=name, source=replace(entry.source, input=f"/{name}"), report={"output": name})
    add_entry(tmp_path, odd)
    add_entry(tmp_path, replace(entry, output="other"))
    journal = Journal(tmp_path)
    assert list(journal.lines) == [name, "other"] and journal.notes == []
    assert journal.find(odd.source, name) == {"output": name}
    assert (tmp_path / NAME).read_text(encoding="ascii").count("\n") == 2


def test_where_it_cannot_be_written_it_says_so(entry, tmp_path):
    with pytest.raises(UserError, match="can't write .*nowhere"):
        add_entry(tmp_path / "nowhere", entry)


def test_a_source_elsewhere_is_what_its_store_tells(web):
    (web.folder / "in").write_bytes(b"input")
    web.etags["in"] = "first"
    of_url = Origin.of(Remote(web.url("in")), "options")
    assert of_url == Origin(web.said("in"), 5, 0, "options", "ETag first")
    web.status = 503
    with pytest.raises(UnreachableError, match="503"):
        Origin.of(Remote(web.url("in")), "options")
