"""The journal: what is done is known, and nothing else is."""

from dataclasses import replace
from pathlib import Path

import pytest

from atlasae.columns import checksum_bytes
from atlasae.errors import UnreachableError, UserError
from atlasae.journal import NAME, Entry, Journal, Source
from atlasae.remote import Remote


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """An output that is there, made of an input that is."""
    (tmp_path / "in").write_bytes(b"input")
    (tmp_path / "out").write_bytes(b"output")
    source = Source.of(tmp_path / "in", "options")
    return Entry(source, "out", f"{checksum_bytes(b'output'):016x}", {"jets": 3, "error": float("inf")})


def test_what_is_added_is_found_again(entry, tmp_path):
    journal = Journal(tmp_path)
    assert journal.find(entry.source, "out") is None
    journal.add(entry)
    for known in (journal, Journal(tmp_path)):
        assert known.find(entry.source, "out") == {"jets": 3, "error": None}  # JSON knows no infinity


@pytest.mark.parametrize(
    "change", [{"size": 4}, {"mtime_ns": 1}, {"options": "other"}, {"input": "other"}, {"version": "2"}]
)
def test_what_is_made_of_anything_else_is_not_done(change, entry, tmp_path):
    Journal(tmp_path).add(entry)
    assert Journal(tmp_path).find(replace(entry.source, **change), "out") is None


@pytest.mark.parametrize("content", [b"outpud", None])
def test_what_has_other_bytes_or_is_gone_is_not_done(content, entry, tmp_path):
    Journal(tmp_path).add(entry)
    (tmp_path / "out").unlink() if content is None else (tmp_path / "out").write_bytes(content)
    assert Journal(tmp_path).find(entry.source, "out") is None


def test_a_line_that_was_cut_harms_no_other(entry, tmp_path):
    journal = Journal(tmp_path)
    journal.add(replace(entry, output="other"))
    journal.add(entry)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-9])
    again = Journal(tmp_path)
    assert list(again.lines) == ["other"]
    again.add(entry)
    assert list(Journal(tmp_path).lines) == ["other", "out"]


def test_a_line_of_another_version_is_not_done(entry, tmp_path):
    (tmp_path / NAME).write_text('{"output": "out", "source": "elsewhere"}\n')
    assert Journal(tmp_path).find(entry.source, "out") is None


def test_the_last_line_of_an_output_counts(entry, tmp_path):
    journal = Journal(tmp_path)
    journal.add(replace(entry, checksum="0"))
    journal.add(entry)
    assert Journal(tmp_path).find(entry.source, "out")


def test_where_it_cannot_be_written_it_says_so(entry, tmp_path):
    journal = Journal(tmp_path / "nowhere")
    with pytest.raises(UserError, match="can't write .*nowhere"):
        journal.add(entry)


def test_a_source_elsewhere_is_what_its_store_tells(web):
    (web.folder / "in").write_bytes(b"input")
    web.etags["in"] = "first"
    of_url = Source.of(Remote(web.url("in")), "options")
    assert of_url == Source(web.said("in"), 5, 0, "options", "ETag first")
    web.status = 503
    with pytest.raises(UnreachableError, match="503"):
        Source.of(Remote(web.url("in")), "options")


def test_lines_from_before_there_were_sources_elsewhere_count(entry, tmp_path):
    journal = Journal(tmp_path)
    journal.add(entry)
    path = tmp_path / NAME
    path.write_text(path.read_text().replace(',"version":""', ""))
    assert "version" not in path.read_text()
    assert Journal(tmp_path).find(entry.source, "out") == entry.report | {"error": None}
