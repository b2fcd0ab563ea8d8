"""Pages of the commands: every line comes from a report, and is absent where the report lacks it."""

from typing import Any

import pytest

from atlasae import pages
from atlasae.report import LeftOut, Page, to_text


def piped(page: Page) -> str:
    """The text of a page in a pipe."""
    return to_text(page)


def spread(width: float, **more: float) -> dict[str, Any]:
    return {"jets": 9, "mean": -0.1 * width, "std": width, "half_width_68": width, "half_width_95": 2 * width} | {
        "largest": 3 * width,
        **more,
    }


def collection(**more: Any) -> dict[str, Any]:
    """A short report of `evaluate` on a collection."""
    variables = {
        "pt": {"all": spread(1e-4), "bound": 1e-3},
        "m": {"all": spread(4e-4), "bound": 1e-3},
        "E": {"all": spread(2e-4), "bound": None},
    }
    tests = {"pt": {"distance": 0.001, "p_value": 0.9}, "m": {"distance": 0.0234, "p_value": 0.5}}
    events = {
        "events": 1500,
        "reordered": {"events": 2, "jets": 5},
        "dijet_mass": {"all": spread(3e-4)},
        "dijet_mass_back_to_back": spread(5e-4),
        "ht": {"all": {"jets": 0}},
    }
    return {
        "name": "Jet",
        "branches": dict.fromkeys(("pt", "eta", "phi", "m"), "Jet"),
        "jets": 4200,
        "exact_jets": 1234,
        "mass_above_500_MeV": spread(6e-4),
        "not_compared": {"jets": 0, "changed": 0},
        "light_jets": 0,
        "bytes_per_jet_before": 14.46,
        "bytes_per_jet": 5.8049,
        "variables": variables,
        "events": events,
        "two_sample": {"kolmogorov_smirnov": tests, "classifier": None},
    } | more


def evaluation(*collections: dict[str, Any]) -> str:
    facts = {"original": "in.root", "compressed": "small.root", "entries": 60_000, "tree": "Events"}
    return piped(pages.evaluation_page(facts | {"collections": list(collections)}))


# --- evaluate


def test_an_evaluation_in_words():
    assert evaluation(collection()).splitlines() == [
        "in.root -> small.root: 60,000 entries of 'Events'",
        "Jet: 4,200 jets, 1,234 exact, 14.46 -> 5.80 bytes per jet",
        "              mean     std    68 %    95 %  largest  bound",
        "pt          -1e-05  0.0001  0.0001  0.0002   0.0003  0.001",
        "m           -4e-05  0.0004  0.0004  0.0008   0.0012  0.001",
        "E           -2e-05  0.0002  0.0002  0.0004   0.0006",
        "m > .5 GeV  -6e-05  0.0006  0.0006  0.0012   0.0018",
        "dijet mass  -3e-05  0.0003  0.0003  0.0006   0.0009",
        "  apart     -5e-05  0.0005  0.0005   0.001   0.0015",
        "  5 jets of 2 events changed places, of 1,500 events",
        "  Kolmogorov-Smirnov: at most 0.023 (m), p = 0.5",
    ]


def test_what_is_remarkable_is_told():
    odd = {"light_jets": 1500, "not_compared": {"jets": 3000, "changed": 2}}
    tests = collection()["two_sample"] | {"classifier": {"auc": 0.512346, "error": 0.00321, "jets": 2100}}
    lines = evaluation(collection(two_sample=tests, **odd)).splitlines()
    assert "  3,000 jets have no residual (NaN, pt <= 0 ...): 2 changed" in lines
    assert "  1,500 jets are lighter than 100 MeV: the residual of their m is relative to 100 MeV" in lines
    assert lines[-1] == "  a classifier tells them apart with AUC 0.51235 +- 0.003 (2,100 jets)"


def test_a_plain_file_has_no_exact_jets():
    assert "Jet: 4,200 jets, 14.46 -> 5.80 bytes per jet" in evaluation(collection(exact_jets=None)).splitlines()
    assert "4,200 jets, 0 exact, " in evaluation(collection(exact_jets=0))


def test_rows_without_events_tell_nothing_of_events():
    text = evaluation(collection(events={"events": 0}))
    assert "dijet" not in text and "HT" not in text and "changed places" not in text
    assert "\nHT " in evaluation(collection(events=collection()["events"] | {"ht": {"all": spread(1e-4)}}))


def test_no_jets_are_told_as_such():
    nothing = {v: {"all": {"jets": 0}, "bound": 1e-3} for v in ("pt", "E")}
    lines = evaluation(collection(jets=0, exact_jets=0, variables=nothing), collection(name="Fat")).splitlines()
    assert lines[1:4] == ["Jet: 0 jets, 0 exact", "  no jets to compare", lines[3]]
    assert lines[3].startswith("Fat: 4,200 jets")


NOTHING = {"jets": 0, "not_finite": 9}


@pytest.mark.parametrize("last", ["m", "E"])
def test_a_variable_without_residuals_leaves_the_others(last):
    variables = collection()["variables"] | {"m": {"all": NOTHING, "bound": 1e-3}}
    branches = dict.fromkeys(("pt", "eta", "phi", last), "Jet")
    lines = evaluation(collection(variables=variables, branches=branches, mass_above_500_MeV=NOTHING)).splitlines()
    assert [line.split()[0] for line in lines[3:7]] == ["pt", "E", "dijet", "apart"]


def test_a_mass_that_e_and_p_leave_open_is_told():
    with_energy = dict.fromkeys(("pt", "eta", "phi", "E"), "Jet")
    words = "m is what E and p make"
    assert words in evaluation(collection(branches=with_energy))  # 0.0012 of 0.001
    assert words not in evaluation(collection())
    within = collection()["variables"] | {"m": {"all": spread(1e-4), "bound": 1e-3}}
    assert words not in evaluation(collection(branches=with_energy, variables=within))


def test_numbers_of_any_size_stay_in_their_columns():
    variables = {"pt": {"all": spread(1.23e-9), "bound": 1e-8}, "m": {"all": spread(12345.6), "bound": None}}
    text = evaluation(collection(variables=variables, events={"events": 0}))
    header, pt, m = text.splitlines()[2:5]
    assert len(pt) == len(header) and len(m) == len(header) - len("  bound")
    assert pt.split() == ["pt", "-1.2e-10", "1.2e-09", "1.2e-09", "2.5e-09", "3.7e-09", "1e-08"]
    assert m.split() == ["m", "-1.2e+03", "1.2e+04", "1.2e+04", "2.5e+04", "3.7e+04"]


# --- benchmark and plot

MEASURED = {
    "input": "in.root",
    "collection": "Jet",
    "jets": 12_345,
    "precisions": [0.03, 1e-3, 1e-4],
    "curves": {"ours": [2.123, 5, 10.5], "a longer name": [9, None, 123.4]},
    "missing": [],
}


def test_a_benchmark_in_words():
    first, *table = piped(pages.benchmark_page(MEASURED)).splitlines()
    assert first == "in.root, Jet: 12,345 jets"
    assert table == [
        "bytes per jet, guaranteed precision  0.03  0.001  0.0001",
        "ours                                 2.12   5.00   10.50",
        "a longer name                        9.00      -  123.40",
    ]


def test_missing_packages_and_figures_come_last():
    more = {"missing": ["pcodec", "pysz"], "figures": ["f/a.png", "f/a.pdf"]}
    assert piped(pages.benchmark_page(MEASURED | more)).splitlines()[-3:] == [
        "not installed: pcodec, pysz: pip install 'atlasae[benchmark]'",
        "figure: f/a.png",
        "figure: f/a.pdf",
    ]


def test_figures_are_counted_once():
    text = piped(pages.figures_page({"output": "folder", "figures": ["a.png", "a.pdf"] * 3}))
    assert text == "folder: 3 figures, as PNG and PDF"
    assert piped(pages.figures_page({"output": "folder", "figures": []})) == "no figures: there are no jets to draw"


# --- models


def test_a_model_in_words():
    report = {"output": "a.model", "architecture": "mlp", "bytes": 12_345, "sha256": "0123456789abcdef"}
    assert piped(pages.training_page(report)) == "a.model: mlp, 12.35 kB, SHA-256 0123456789ab"
    report |= {"ended": "all steps done", "provenance": {"jets": {"training": 8000, "validation": 1000, "test": 999}}}
    for test, words in (
        ({"jets": 1999, "bits_per_jet_at_1e-3": 44.066}, "44.07 bits per jet at 1e-3"),
        ({"jets": 1999, "half_widths": {"pt": 0.0123, "m": 0.4}}, "half-widths  pt 0.012  m 0.4"),
    ):
        assert piped(pages.training_page(report | {"test": test})).splitlines()[1:] == [
            "  trained on 8,000 jets, validated on 1,000; all steps done",
            f"  test on 1,999 jets: {words}",
        ]


def test_a_learning_rate_in_words():
    text = piped(pages.rate_page({"output": "rate.png", "learning_rate": 0.00312}))
    assert text == "rate.png: learning rate 0.003, as in --set course.learning_rate=..."


# --- compress, decompress, info, verify

ENTRY = {
    "name": "Jet",
    "branches": {"pt": "Jet_pt", "eta": "Jet_eta", "phi": "Jet_phi", "m": "Jet_mass"},
    "units": "GeV",
    "jets": 4200,
    "exact_jets": 1000,
    "bytes_in": 60_732,
    "bytes_per_jet": 5.8,
    "bits": {"pt": 20.44, "eta": 15.0, "phi": 14.0, "m": 16.2},
    "max_error": {"pt": 0.00099, "eta": 0.0005, "phi": 0.0, "m": 0.00012},
    "precision": {"pt": 1e-3, "eta": 1e-3, "phi": 1e-3, "m": None},
    "floors": {"m": 0.1},
}
COMPRESSED = {
    "output": "out.root",
    "tree": "Events",
    "entries": 60_000,
    "jets": 4200,
    "collections": [ENTRY],
    "bytes_jets_in": 60_732,
    "bytes_jets_out": 24_360,
    "bytes_per_jet": 5.8,
    "bytes_file_in": 3_030_000,
    "bytes_file_out": 2_990_000,
    "carried": ["a", "b"],
    "dropped": [],
    "seconds": 1.234,
    "notes": ["one", "two"],
}


def test_a_compression_in_words():
    assert piped(pages.compression_page(COMPRESSED)).splitlines() == [
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


def test_a_compression_without_jets_has_no_bytes_per_jet():
    empty = ENTRY | {"jets": 0, "exact_jets": 0, "bytes_per_jet": float("nan"), "units": None, "max_error": {}}
    report = COMPRESSED | {"jets": 0, "collections": [empty], "bytes_per_jet": float("nan")}
    lines = piped(pages.compression_page(report)).splitlines()
    assert not [line for line in lines if line.startswith("jets: ") or "nan" in line]
    assert lines[3].split() == ["Jet", "0", "0", "-", "-"] and lines[6].split() == ["Jet_pt", "0.001", "-", "20.4"]


def test_a_mass_that_is_promised_and_no_branch_has_a_row():
    energy = ENTRY | {"branches": {"pt": "Jet_pt", "E": "Jet_E"}, "precision": {"pt": 1e-3, "E": 1e-3, "m": 1e-3}}
    lines = piped(pages.compression_page(COMPRESSED | {"collections": [energy]})).splitlines()
    assert [line.split() for line in lines[6:9]] == [
        ["Jet_pt", "0.001", "0.00099", "20.4"],
        ["Jet_E", "0.001", "0"],
        ["Jet:", "m", "0.001", "0.00012", "16.2"],
    ]


def test_the_floor_of_a_promise_is_told_with_it():
    jets, fat = (ENTRY | {"precision": {"m": 1e-3}, "branches": {"m": name}} for name in ("Jet_mass", "Fat_mass"))
    fat |= {"name": "Fat"}
    energy = ENTRY | {"name": "truth", "precision": {"m": 1e-3}, "units": "MeV", "floors": {"m": 100.0}}
    one = ENTRY | {"name": "list", "precision": {"x": 1e-3}, "branches": {"x": "x"}, "units": "", "floors": {"x": 2.5}}
    listed = [jets, fat, energy | {"branches": {"E": "truth_E"}}, one]
    lines = piped(pages.compression_page(COMPRESSED | {"collections": listed})).splitlines()
    assert [line for line in lines if "relative" in line] == [
        "errors of m are relative to m, or to 0.1 GeV where m is smaller (Jet, Fat)",
        "errors of m are relative to m, or to 100 MeV where m is smaller (truth)",
        "errors of x are relative to x, or to 2.5 where x is smaller (list)",
    ]
    lines = piped(pages.compression_page(COMPRESSED | {"collections": [ENTRY]})).splitlines()
    assert not [line for line in lines if "relative" in line]  # m has no bound


def test_branches_that_nothing_is_promised_of_are_named():
    momenta = ENTRY | {"branches": {"px": "x", "py": "y"}, "precision": {"pt": 1e-3}}
    lines = piped(pages.compression_page(COMPRESSED | {"collections": [momenta]})).splitlines()
    assert lines[6:9] == ["x", "y", "Jet: pt  0.001        0.00099  20.4"]


@pytest.mark.parametrize(("n", "end"), [(1, "b0"), (6, "b5"), (7, "b5 and 1 more"), (40, "b5 and 34 more")])
def test_only_some_of_what_was_dropped_is_named(n, end):
    text = piped(pages.compression_page(COMPRESSED | {"dropped": [f"b{i}" for i in range(n)]}))
    (line,) = [line for line in text.splitlines() if line.startswith("dropped: ")]
    assert line.startswith(f"dropped: {n} branches: b0") and line.endswith(end)


@pytest.mark.parametrize(
    ("size", "said"),
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
def test_sizes_have_a_unit(size, said):
    text = piped(pages.compression_page(COMPRESSED | {"bytes_jets_in": size}))
    assert f"\njets: {said} -> 24.36 kB" in text


def test_a_decompression_in_words():
    facts = {"output": "b.root", "jets": 4200, "entries": 60_000, "tree": "Events", "seconds": 0.06, "notes": []}
    facts |= {"bytes_file_in": 2_990_000, "bytes_file_out": 3_030_000}
    whole = "b.root: 4,200 jets in 60,000 entries of 'Events'; 2.99 MB -> 3.03 MB; 0.1 s"
    assert piped(pages.decompression_page(facts | {"missing": [], "damage": []})) == whole
    lost = {"missing": [(10, 20), (50, 60)], "damage": ["branch 'z0' is damaged"], "notes": ["a skim"]}
    assert piped(pages.decompression_page(facts | lost)).splitlines() == [
        whole,
        "  entries 10 to 20 are missing",
        "  entries 50 to 60 are missing",
        "  branch 'z0' is damaged",
        "note: a skim",
    ]
    noted = facts | {"missing": [], "damage": [], "notes": ["something"]}
    assert piped(pages.decompression_page(noted)).splitlines() == [whole, "note: something"]


def test_a_file_that_is_intact_in_words():
    facts = {"entries": 60_000, "jets": 4200, "chunks": 3, "branches": ["a", "z0"], "trees": [], "objects": []}
    facts |= {"dropped": [], "left_out": []}
    whole = "intact: 60,000 entries, 4,200 jets, 3 chunks of 2 branches"
    assert piped(pages.integrity_page(facts | {"models": []})) == whole
    more = {"trees": ["more"], "objects": ["h"], "models": ["0123456789abcdef"]}
    assert piped(pages.integrity_page(facts | more)).splitlines() == [
        whole,
        "  carried beside it: 'more', 'h'",
        "  model 0123456789ab is in the file",
    ]


def test_what_is_inside_a_file_in_words():
    run = {"source": "in.root", "source_bytes": 2_000_000, "entries": 60_000, "chunks": 3, "model_from": "packaged"}
    run |= {"model_sha256": "0123456789abcdef", "versions": {"atlasae": "0.1.0"}}
    bits = {"pt": 20.4, "eta": 15, "phi": 14, "m": 16.2}
    run |= {"collections": [ENTRY | {"bits": bits}, ENTRY | {"name": "Fat", "bits": {}, "precision": {"pt": None}}]}
    facts = {"file": "small.root", "bytes": 900, "tree": "Events", "entries": 60_000, "carried": 12, "runs": [run]}
    facts |= {
        "collections": [ENTRY, ENTRY | {"name": "Fat", "branches": {"pt": "Fat_pt"}}],
        "dropped": [],
        "left_out": [],
    }
    assert piped(pages.info_page(facts)).splitlines() == [
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
        "compressed from     size  entries  chunks        bound  model                    atlasae",
        "in.root          2.00 MB   60,000       3  0.001, none  0123456789ab (packaged)    0.1.0",
    ]
    nobody = piped(pages.info_page(facts | {"runs": [run | {"versions": {}}]}))
    assert nobody.endswith("(packaged)        ?")


def test_what_is_told_of_a_merged_file_holds_for_all_of_it():
    loose = {"precision": {"pt": 1e-2, "eta": None}, "max_error": {"pt": 0.0099, "eta": 0.5}, "bits": {"pt": 17}}
    tight = {"precision": {"pt": 1e-3, "eta": 1e-3}, "max_error": {"pt": 1e-4, "eta": 0.1}, "bits": {"pt": 20}}
    run = {"source": "in.root", "source_bytes": 1, "entries": 1, "chunks": 3, "model_from": "packaged"}
    run |= {"model_sha256": "0123456789abcdef", "versions": {}}
    runs = [run | {"collections": [{"name": "Jet"} | entry]} for entry in (loose, tight)]
    whole = ENTRY | {"branches": {"pt": "Jet_pt", "eta": "Jet_eta"}}
    facts = {"file": "small.root", "bytes": 900, "tree": "Events", "entries": 60_000, "carried": 12, "runs": runs}
    lines = piped(pages.info_page(facts | {"collections": [whole], "dropped": [], "left_out": []})).splitlines()
    assert [line.split() for line in lines[6:8]] == [
        ["Jet_pt", "0.01", "0.0099", "20.0"],
        ["Jet_eta", "none", "0.5"],
    ]
    assert len(lines) == 12


def test_what_was_left_out_is_listed_by_reason():
    things = [
        LeftOut("'a'", "odd"),
        LeftOut("weight of tree 't'", "no words for it", minor=True),
        LeftOut("'b'", "odd"),
    ]
    assert pages.left_out_lines(things) == [
        "'a', 'b' are left out: odd",
        "weight of tree 't' is left out: no words for it",
    ]


def test_what_differs_is_listed_up_to_twenty():
    report = {"entries": 60_000, "max_error": {"Jet": {"pt": 0.0009}}, "precision": {"Jet": {"pt": 1e-3, "m": 1e-3}}}
    report |= {"floors": {"Jet": {"m": 0.1}}, "units": {"Jet": "GeV"}, "dropped": [], "left_out": []}
    report["branches"] = {"a": "bit for bit", "Jet_pt": "within precision", "b": "bit for bit"}
    agrees = piped(pages.verification_page(report | {"differences": []}))
    assert agrees.splitlines() == [
        "60,000 entries compared: as promised",
        "  branches: 2 bit for bit, 1 within precision",
        "jets  variable  bound  largest error",
        "Jet   pt        0.001         0.0009",
        "Jet   m         0.001              0",
        "errors of m are relative to m, or to 0.1 GeV where m is smaller (Jet)",
    ]
    lines = piped(pages.verification_page(report | {"differences": [f"d{i}" for i in range(25)]})).splitlines()
    assert lines[0] == "60,000 entries compared: 25 differences"
    assert lines[1:21] == [f"  d{i}" for i in range(20)] and len(lines) == 26


def test_many_files_are_a_table_with_their_sums():
    done = {"input": "/in/a.root", "output": "/out/a.root", "error": None, "reused": False, "seconds": 2.0}
    done |= {"entries": 60_000, "jets": 240_000, "bytes_jets_out": 1_200_000, "bytes_per_jet": 5.0}
    failed = {"input": "/in/b[red].root", "output": "/out/b[red].root", "error": "no\njets", "reused": False}
    report = {"files": [done, done | {"reused": True}, failed], "failed": 1, "jets": 480_000, "seconds": 3.0}
    lines = piped(pages.many_page(report)).splitlines()
    assert [line.split() for line in lines] == [
        ["file", "jets", "seconds"],
        ["a.root", "240,000", "2.0", "done"],
        ["a.root", "240,000", "2.0", "as", "it", "was"],
        ["b[red].root", "-", "-", "failed"],
        ["3", "files", "480,000", "3.0", "1", "failed"],
    ]
    assert pages.failure_line(failed) == "'/in/b[red].root': no jets"
    assert pages.failure_line(failed | {"error": "'/in/b[red].root' is odd"}) == "'/in/b[red].root' is odd"


def test_no_name_is_cut_in_a_table_of_many_files():
    name = "x" * 300 + ".root"
    row = {"input": name, "output": name, "error": None, "reused": False, "seconds": 1.0}
    assert name in piped(pages.many_page({"files": [row], "failed": 0, "seconds": 1.0}))
