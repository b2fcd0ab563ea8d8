"""What is said of many files: every line from a report."""

from atlasae.commands.results import ManyReport, failure_line
from atlasae.report import to_text


def test_many_files_are_a_table_with_their_sums():
    done = {"input": "/in/a.root", "output": "/out/a.root", "error": None, "reused": False, "seconds": 2.0}
    done |= {"entries": 60_000, "jets": 240_000, "bytes_jets_out": 1_200_000, "bytes_per_jet": 5.0}
    failed = {"input": "/in/b[red].root", "output": "/out/b[red].root", "error": "no\njets", "reused": False}
    reused = done | {"input": "/in/c.root", "output": "/out/c.root", "reused": True}
    report = ManyReport(files=[done, reused, failed], failed=1, jets=480_000, notes=[], seconds=3.0)
    lines = to_text(report.page).splitlines()
    assert [line.split() for line in lines] == [
        ["file", "jets", "seconds"],
        ["a.root", "240,000", "2.0", "done"],
        ["c.root", "240,000", "2.0", "as", "it", "was"],
        ["b[red].root", "-", "-", "failed"],
        ["3", "files", "480,000", "3.0", "1", "failed"],
    ]
    assert failure_line(failed) == "'/in/b[red].root': no jets"
    assert failure_line(failed | {"error": "'/in/b[red].root' is odd"}) == "'/in/b[red].root' is odd"


def test_a_table_of_many_files_counts_files_and_not_their_parts():
    part = {"input": "/in/a.root", "error": None, "reused": False, "seconds": 1.0}
    rows = [part | {"output": f"a.part{i}.root"} for i in range(3)]
    last = to_text(ManyReport(files=rows, failed=0, notes=[], seconds=1.0).page).splitlines()[-1]
    assert last.split() == ["1", "file,", "3", "parts", "1.0", "all", "done"]
    one = to_text(ManyReport(files=rows[:1], failed=0, notes=[], seconds=1.0).page).splitlines()[-1]
    assert one.split() == ["1", "file", "1.0", "all", "done"]


def test_notes_of_many_files_take_three_lines_unless_all_are_asked_for():
    file = {"input": "/in/a.root", "error": None, "reused": False, "seconds": 1.0, "output": "/out/a.root"}
    rows = [file | {"notes": ["n0", "n1", "n2"], "details": ["'Jet': d"]}]
    report = ManyReport(files=rows, failed=0, notes=["first"], seconds=1.0)
    shown, every = (to_text(page).splitlines() for page in (report.page, report.verbose_page))
    assert shown[-3:] == ["note: first", "note: a.root: n0", "note: and 2 more notes: --verbose shows them"]
    assert every[-5:] == ["note: first", *(f"note: a.root: n{i}" for i in range(3)), "  a.root: 'Jet': d"]


def test_no_name_is_cut_in_a_table_of_many_files():
    name = "x" * 300 + ".root"
    row = {"input": name, "output": name, "error": None, "reused": False, "seconds": 1.0}
    assert name in to_text(ManyReport(files=[row], failed=0, notes=[], seconds=1.0).page)
