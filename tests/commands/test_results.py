"""What is said of many files: every line from a report."""

from atlasae.commands.results import ManyReport, failure_line
from atlasae.report import to_text


def test_many_files_are_a_table_with_their_sums():
    done = {"input": "/in/a.root", "output": "/out/a.root", "error": None, "reused": False, "seconds": 2.0}
    done |= {"entries": 60_000, "jets": 240_000, "bytes_jets_out": 1_200_000, "bytes_per_jet": 5.0}
    failed = {"input": "/in/b[red].root", "output": "/out/b[red].root", "error": "no\njets", "reused": False}
    report = ManyReport(files=[done, done | {"reused": True}, failed], failed=1, jets=480_000, notes=[], seconds=3.0)
    lines = to_text(report.page).splitlines()
    assert [line.split() for line in lines] == [
        ["file", "jets", "seconds"],
        ["a.root", "240,000", "2.0", "done"],
        ["a.root", "240,000", "2.0", "as", "it", "was"],
        ["b[red].root", "-", "-", "failed"],
        ["3", "files", "480,000", "3.0", "1", "failed"],
    ]
    assert failure_line(failed) == "'/in/b[red].root': no jets"
    assert failure_line(failed | {"error": "'/in/b[red].root' is odd"}) == "'/in/b[red].root' is odd"


def test_no_name_is_cut_in_a_table_of_many_files():
    name = "x" * 300 + ".root"
    row = {"input": name, "output": name, "error": None, "reused": False, "seconds": 1.0}
    assert name in to_text(ManyReport(files=[row], failed=0, notes=[], seconds=1.0).page)
