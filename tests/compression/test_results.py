"""What is said of compressed files: every line from a report, and nothing that a report does not have."""

from dataclasses import replace
from typing import Any

import pytest

from atlasae.compression.results import (
    CollectionReport,
    CompressionReport,
    DecompressionReport,
    InfoReport,
    IntegrityReport,
    RunCollection,
    RunReport,
    StoredCollection,
    TreeReport,
    VerificationReport,
    _without_empty,
)
from atlasae.report import PageTable, Report, counted, to_text


def said(report: Report) -> list[str]:
    """What is said where it goes into a pipe."""
    return to_text(report.page).splitlines()


ENTRY = CollectionReport(
    name="Jet",
    branches={"pt": "Jet_pt", "eta": "Jet_eta", "phi": "Jet_phi", "m": "Jet_mass"},
    units="GeV",
    jets=4200,
    exact_jets=1000,
    bytes_in=60_732,
    bytes_per_jet=5.8,
    bits={"pt": 20.44, "eta": 15.0, "phi": 14.0, "m": 16.2},
    max_error={"pt": 0.00099, "eta": 0.0005, "phi": 0.0, "m": 0.00012},
    precision={"pt": 1e-3, "eta": 1e-3, "phi": 1e-3, "m": None},
    floors={"m": 0.1},
    bytes_out=24_360,
    exponent=None,
)
EVENTS = TreeReport(name="Events", entries=60_000, jets=4200, bytes_in=60_732, bytes_out=24_360)
COMPRESSED = CompressionReport(
    output="out.root",
    tree="Events",
    trees=[EVENTS],
    entries=60_000,
    jets=4200,
    collections=[ENTRY],
    bytes_jets_in=60_732,
    bytes_jets_out=24_360,
    bytes_per_jet=5.8,
    bytes_file_in=3_030_000,
    bytes_file_out=2_990_000,
    carried=["a", "b"],
    dropped=[],
    seconds=1.234,
    notes=["one", "two"],
    precision={"Jet": ENTRY.precision},
    floors={"Jet": ENTRY.floors},
    bits={"Jet": ENTRY.bits},
    exact_jets=1000,
    max_error=ENTRY.max_error,
    model_sha256="0123456789abcdef",
    left_out=[],
)


def test_a_compression_in_words():
    assert said(COMPRESSED) == [
        "out.root: 4,200 jets in 60,000 entries of 'Events'",
        "",
        "collection  unit   jets  exact  bytes per jet  before",
        "Jet         GeV   4,200  1,000           5.80   14.46",
        "",
        "branch    bound  largest error  bits",
        "Jet_pt    0.001        0.00099  20.4",
        "Jet_eta   0.001         0.0005  15.0",
        "Jet_phi   0.001              0  14.0",
        "Jet_mass   none        0.00012  16.2",
        "",
        "jets: 60.73 kB -> 24.36 kB, 5.80 bytes per jet",
        "whole file: 3.03 MB -> 2.99 MB",
        "carried: 2 branches; 1.2 s",
        "note: one",
        "note: two",
    ]


def test_notes_take_three_lines_unless_all_are_asked_for():
    noted = replace(COMPRESSED, notes=[f"n{i}" for i in range(5)], details=["'Jet': m is negative"])
    assert said(noted)[-3:] == ["note: n0", "note: n1", "note: and 3 more notes: --verbose shows them"]
    assert said(replace(noted, notes=["n0", "n1", "n2"]))[-3:] == ["note: n0", "note: n1", "note: n2"]
    every = to_text(noted.verbose_page).splitlines()
    assert every[-6:] == [*(f"note: n{i}" for i in range(5)), "  'Jet': m is negative"]


def test_a_compression_of_several_trees_in_words():
    """Branches of one name have one row, with the loosest bound and the largest error."""
    up = replace(ENTRY, name="up/Jet", precision=ENTRY.precision | {"pt": 1e-2}, max_error={"pt": 0.009, "m": 1e-5})
    trees = [EVENTS, replace(EVENTS, name="up", jets=4000)]
    lines = said(replace(COMPRESSED, trees=trees, collections=[replace(ENTRY, name="Events/Jet"), up]))
    assert lines[:13] == [
        "out.root: 4,200 jets in 60,000 entries of 2 trees",
        "",
        "tree    entries   jets  jets before  jets after",
        "Events   60,000  4,200     60.73 kB    24.36 kB",
        "up       60,000  4,000     60.73 kB    24.36 kB",
        "",
        "collection  unit   jets  exact  bytes per jet  before",
        "Events/Jet  GeV   4,200  1,000           5.80   14.46",
        "up/Jet      GeV   4,200  1,000           5.80   14.46",
        "",
        "branch    bound  largest error  bits",
        "Jet_pt     0.01          0.009  20.4",
        "Jet_eta   0.001         0.0005  15.0",
    ]


def test_a_compression_without_jets_has_no_bytes_per_jet():
    empty = replace(ENTRY, jets=0, exact_jets=0, bytes_per_jet=None, units=None, max_error={})
    lines = said(replace(COMPRESSED, jets=0, collections=[empty], bytes_per_jet=None))
    assert not [line for line in lines if line.startswith("jets: ") or "nan" in line]
    assert lines[3].split() == ["Jet", "0", "0", "-", "-"] and lines[6].split() == ["Jet_pt", "0.001", "-", "20.4"]


def test_a_mass_that_is_promised_and_no_branch_has_a_row():
    promised = dict.fromkeys(("pt", "E", "m"), 1e-3)
    energy = replace(ENTRY, branches={"pt": "Jet_pt", "E": "Jet_E"}, precision=promised)
    lines = said(replace(COMPRESSED, collections=[energy]))
    assert [line.split() for line in lines[6:9]] == [
        ["Jet_pt", "0.001", "0.00099", "20.4"],
        ["Jet_E", "0.001", "0"],
        ["Jet:", "m", "0.001", "0.00012", "16.2"],
    ]


def test_the_floor_of_a_promise_is_told_with_it():
    jets, fat = (replace(ENTRY, precision={"m": 1e-3}, branches={"m": name}) for name in ("Jet_mass", "Fat_mass"))
    energy = replace(jets, name="truth", units="MeV", floors={"m": 100.0}, branches={"E": "truth_E"})
    one = replace(ENTRY, name="list", precision={"x": 1e-3}, branches={"x": "x"}, units="", floors={"x": 2.5})
    lines = said(replace(COMPRESSED, collections=[jets, replace(fat, name="Fat"), energy, one]))
    assert [line for line in lines if "relative" in line] == [
        "errors of m are relative to m, or to 0.1 GeV where m is smaller (Jet, Fat)",
        "errors of m are relative to m, or to 100 MeV where m is smaller (truth)",
        "errors of x are relative to x, or to 2.5 where x is smaller (list)",
    ]
    lines = said(replace(COMPRESSED, collections=[ENTRY]))
    assert not [line for line in lines if "relative" in line]  # nothing is promised of m


def test_branches_that_nothing_is_promised_of_are_named():
    momenta = replace(ENTRY, branches={"px": "x", "py": "y"}, precision={"pt": 1e-3})
    lines = said(replace(COMPRESSED, collections=[momenta]))
    assert lines[6:9] == ["x", "y", "Jet: pt  0.001        0.00099  20.4"]


@pytest.mark.parametrize(("n", "end"), [(1, "b0"), (6, "b5"), (7, "b5 and 1 more"), (40, "b5 and 34 more")])
def test_only_some_of_what_was_dropped_is_named(n, end):
    lines = said(replace(COMPRESSED, dropped=[f"b{i}" for i in range(n)]))
    (line,) = [line for line in lines if line.startswith("dropped: ")]
    assert line.startswith(f"dropped: {counted(n, 'branches')}: b0") and line.endswith(end)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_990, "999.99 kB"),
        (1_234_567, "1.23 MB"),
        (5e9, "5.00 GB"),
        (5e12, "5000.00 GB"),
    ],
)
def test_sizes_have_a_unit(size, told):
    lines = said(replace(COMPRESSED, bytes_jets_in=size))
    assert [line for line in lines if line.startswith(f"jets: {told} -> 24.36 kB")]


def test_a_decompression_in_words():
    facts: dict[str, Any] = {"output": "b.root", "jets": 4200, "entries": 60_000, "tree": "Events", "seconds": 0.06}
    facts |= {"trees": ["Events"], "bytes_file_in": 2_990_000, "bytes_file_out": 3_030_000}
    report = DecompressionReport(**facts, missing=[], damage=[], notes=[])
    whole = "b.root: 4,200 jets in 60,000 entries of 'Events'; 2.99 MB -> 3.03 MB; 0.1 s"
    assert said(report) == [whole]
    lost = replace(report, missing=[(10, 20), (50, 60)], damage=["branch 'z0' is damaged"], notes=["a skim"])
    assert said(lost) == [
        whole,
        "  entries 10 to 20 are missing",
        "  entries 50 to 60 are missing",
        "  branch 'z0' is damaged",
        "note: a skim",
    ]
    assert said(replace(report, notes=["something"])) == [whole, "note: something"]
    assert "entries of 'Events', 'up'; " in said(replace(report, trees=["Events", "up"]))[0]


def test_a_file_that_is_intact_in_words():
    report = IntegrityReport(
        bytes=2000,
        entries=60_000,
        jets=4200,
        chunks=3,
        branches=["a", "z0"],
        trees=[],
        objects=[],
        models=[],
        dropped=[],
        left_out=[],
    )
    whole = "intact: 60,000 entries, 4,200 jets, 3 chunks of 2 branches, 2.00 kB"
    assert said(report) == [whole]
    assert said(replace(report, trees=["more"], objects=["h"], models=["0123456789abcdef"])) == [
        whole,
        "  carried beside it: 'more', 'h'",
        "  model 0123456789ab is in the file",
    ]


KEPT = ("name", "branches", "units", "floors", "precision", "max_error", "jets", "exact_jets", "bytes_in")
KEPT += ("bytes_per_jet",)
STORED = StoredCollection(**{key: ENTRY[key] for key in KEPT}, bytes=24_360)
PROMISED = RunCollection(
    name="Jet", precision=ENTRY.precision, max_error=ENTRY.max_error, bits={"pt": 20.4, "eta": 15, "phi": 14, "m": 16.2}
)
RUN = RunReport(
    source="in.root",
    source_bytes=2_000_000,
    tree="Events",
    entries=60_000,
    chunks=3,
    collections=[PROMISED, replace(PROMISED, name="Fat", bits={}, precision={"pt": None})],
    model_sha256="0123456789abcdef",
    model_from="packaged",
    versions={"atlasae": "0.1.0"},
)
INFO = InfoReport(
    file="small.root",
    bytes=900,
    bytes_file_in=2_000_000,
    bytes_jets_in=121_464,
    bytes_jets_out=48_720,
    bytes_per_jet=5.8,
    tree="Events",
    trees=[replace(EVENTS, jets=8400)],
    entries=60_000,
    jets=8400,
    collections=[STORED, replace(STORED, name="Fat", branches={"pt": "Fat_pt"}, precision={"pt": None})],
    carried=12,
    dropped=[],
    left_out=[],
    runs=[RUN],
)


def test_what_is_inside_a_file_in_words():
    assert said(INFO) == [
        "small.root: 900 B, tree 'Events', 60,000 entries, 12 branches carried",
        "",
        "collection  unit   jets  exact  bytes per jet  before",
        "Jet         GeV   4,200  1,000           5.80   14.46",
        "Fat         GeV   4,200  1,000           5.80   14.46",
        "",
        "branch    bound  largest error  bits",
        "Jet_pt    0.001        0.00099  20.4",
        "Jet_eta   0.001         0.0005  15.0",
        "Jet_phi   0.001              0  14.0",
        "Jet_mass   none        0.00012  16.2",
        "Fat_pt     none        0.00099",
        "",
        "jets: 121.46 kB -> 48.72 kB, 5.80 bytes per jet",
        "whole file: 2.00 MB -> 900 B",
        "",
        "compressed from     size  entries  chunks        bound  model                    atlasae",
        "in.root          2.00 MB   60,000       3  0.001, none  0123456789ab (packaged)    0.1.0",
    ]
    several = said(replace(INFO, trees=[EVENTS, replace(EVENTS, name="up")]))
    assert several[0] == "small.root: 900 B, 2 trees, 60,000 entries, 12 branches carried"
    assert several[-1].startswith("Events  in.root") and several[-2].startswith("tree    compressed from")
    nobody = said(replace(INFO, runs=[replace(RUN, versions={})]))
    assert nobody[-1].endswith("(packaged)        ?")


def test_what_is_told_of_a_merged_file_holds_for_all_of_it():
    loose = {"precision": {"pt": 1e-2, "eta": None}, "max_error": {"pt": 0.0099, "eta": 0.5}, "bits": {"pt": 17}}
    tight = {"precision": {"pt": 1e-3, "eta": 1e-3}, "max_error": {"pt": 1e-4, "eta": 0.1}, "bits": {"pt": 20}}
    runs = [replace(RUN, collections=[RunCollection(name="Jet", **entry)]) for entry in (loose, tight)]
    told = {"precision": {"pt": 1e-2, "eta": None}, "max_error": {"pt": 0.0099, "eta": 0.5}}
    whole = replace(STORED, branches={"pt": "Jet_pt", "eta": "Jet_eta"}, **told)
    lines = said(replace(INFO, runs=runs, collections=[whole]))
    assert [line.split() for line in lines[6:8]] == [
        ["Jet_pt", "0.01", "0.0099", "20.0"],
        ["Jet_eta", "none", "0.5"],
    ]
    assert len(lines) == 15


def test_what_differs_is_listed_up_to_twenty():
    report = VerificationReport(
        entries=60_000,
        jets=4200,
        bytes_file_in=2000,
        bytes_file_out=900,
        collections={"Jet": 4200},
        max_error={"Jet": {"pt": 0.0009}},
        precision={"Jet": {"pt": 1e-3, "m": 1e-3}},
        floors={"Jet": {"m": 0.1}},
        units={"Jet": "GeV"},
        branches={"a": "bit for bit", "Jet_pt": "within precision", "b": "bit for bit"},
        dropped=[],
        left_out=[],
        differences=[],
    )
    assert said(report) == [
        "60,000 entries compared: as promised",
        "  4,200 jets; whole file: 2.00 kB -> 900 B",
        "  branches: 1 within precision, 2 bit for bit",
        "jets  variable  bound  largest error",
        "Jet   pt        0.001         0.0009",
        "Jet   m         0.001              0",
        "errors of m are relative to m, or to 0.1 GeV where m is smaller (Jet)",
    ]
    lines = said(replace(report, differences=[f"d{i}" for i in range(25)]))
    assert lines[0] == "60,000 entries compared: 25 differences"
    assert lines[1:21] == [f"  d{i}" for i in range(20)] and len(lines) == 27
    empty = said(replace(report, collections={"Jet": 0}))
    assert [line.split() for line in empty if line.startswith("Jet")] == [["Jet", v, "0.001", "-"] for v in ("pt", "m")]


def test_a_last_column_without_entries_is_left_out():
    table = PageTable(["branch", "bits"], [["Jet_pt", ""], ["Jet_eta", ""]])
    assert _without_empty(table) == PageTable(["branch"], [["Jet_pt"], ["Jet_eta"]], table.words)
    some = PageTable(["branch", "bits"], [["Jet_pt", "11.5"], ["Jet_eta", ""]])
    assert _without_empty(some) == some
