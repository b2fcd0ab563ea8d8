import pickle
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import FrozenInstanceError, dataclass, field, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from conftest import VARIABLES, counted, make_counts, random_jets, write_layout
from layouts import LAYOUTS, Stored

from atlasae.compression.compress import plan_file
from atlasae.compression.plan import Options, Plan, leave_columns, make_plan, open_for, parse_size
from atlasae.errors import UserError
from atlasae.files.branches import Branch, Unwritable
from atlasae.files.events import ArrayEvents, Table
from atlasae.files.tables import write_table
from atlasae.files.trees import open_source
from atlasae.files.writing import create
from atlasae.jets.collections import MEV_PER_UNIT
from atlasae.jets.inputs import TABLE_TREE, Opened, choose_tree, open_input
from atlasae.jets.layouts import Layout
from atlasae.jets.precision import Precision
from atlasae.jets.stored import Storage

NANO = ("pt", "eta", "phi", "mass")
JETS = [f"Jet_{v}" for v in NANO]


def options(**changes: Any) -> Options:
    return Options(Precision.parse("1e-3"), **changes)


def jagged(*names: str, counter: str | None = None, dtype: str = "<f4") -> list[Branch]:
    return [Branch(name, dtype, True, counter) for name in names]


def flat(*names: str, dtype: str = "<f4") -> list[Branch]:
    return [Branch(name, dtype, False) for name in names]


@dataclass
class Events:
    """Events in memory: all jagged branches have the same values and lengths, except those in `others`."""

    branches: list[Branch]
    unwritable: list[Unwritable] = field(default_factory=list)
    others: dict[str, ak.Array] = field(default_factory=dict)
    entries: int = 3
    members: list[Branch] = field(default_factory=list)
    full_names: dict[str, str] = field(default_factory=dict)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        kinds = {branch.name: branch.jagged for branch in self.branches}
        many, one = ak.Array([[1.0, 2.0], [], [3.0]]), ak.Array([1.0, 2.0, 3.0])
        return {name: self.others.get(name, many if kinds[name] else one)[start:stop] for name in names}


def plan_of(branches: list[Branch], *unwritable: str, others: dict[str, ak.Array] | None = None, **how: Any) -> Plan:
    events = Events(branches, [Unwritable(name, "is odd") for name in unwritable], others or {})
    return make_plan(Opened(Path("in.root"), events, "Events"), options(**how))  # type: ignore[arg-type]


NANOAOD = [
    *flat("event", dtype="<u8"),
    *flat("nJet", dtype="<u4"),
    *jagged(*JETS, counter="nJet"),
    *jagged("Jet_area", counter="nJet"),
    *flat("nMuon", dtype="<i8"),
    *jagged("Muon_pt", counter="nMuon"),
    *flat("MET"),
]


# --- jets of every experiment, in tiny files


def write_stored(path: Path, stored: Stored) -> Path:
    """Write jets as an experiment stores them, with what stands beside them."""
    jets = np.stack(list(random_jets(60).values()), axis=1)
    kept = Storage(
        Layout(stored.variables), (np.dtype(stored.dtype),) * len(stored.variables), MEV_PER_UNIT[stored.units]
    )
    columns = kept.to_columns(kept.from_rows(jets))
    named = dict.fromkeys(stored.others, columns[0])
    for names in (stored.branches, *stored.more):
        named |= dict(zip(names, columns, strict=True))
    arrays = {name: in_shape(stored.shape, column) for name, column in named.items()}
    with create(path) as target:
        target.make_tree(stored.tree, arrays, counters=dict.fromkeys(arrays, "n")).extend(arrays)
    return path


def in_shape(shape: str, column: np.ndarray) -> ak.Array:
    if shape == "arrays":
        return ak.Array(column.reshape(-1, 4))
    return ak.Array(column) if shape == "single" else ak.unflatten(column, [1, 0, 2] * 20)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_jets_of_every_experiment_are_found_in_its_files(layout, tmp_path):
    stored = LAYOUTS[layout]
    found = plan_file(write_stored(tmp_path / "in.root", stored))
    assert set(found["collections"].values()) == {stored.units}
    fates = found["branches"]
    for names in (stored.branches, *stored.more):
        assert tuple(fates[name].partition(" of ")[0] for name in names) == stored.variables
    assert all(fates[name] == "copied byte for byte" for name in stored.others)


# --- choice of the tree


def write_trees(path: Path, **trees: int) -> Path:
    """Write trees with these numbers of entries; `jets` in a name adds jets, `wide` adds a branch."""
    with create(path) as target:
        for name, entries in trees.items():
            branches = {"x": ak.Array(np.zeros(entries))} if "wide" in name else {}
            spelled = [f"jet_{v}" for v in NANO] if "jets" in name else ["tau_pt", "tau_eta", "tau_phi", "tau_m"]
            spelled = ["x"] if "empty" in name else spelled
            branches |= {variable: ak.Array(np.ones(entries, np.float32)) for variable in spelled}
            target.make_tree(name, branches).extend(branches)
    return path


@pytest.mark.parametrize(
    ("trees", "name", "patterns", "chosen"),
    [
        ({"few_jets": 3, "jets": 5, "taus": 9}, None, (), "jets"),
        ({"jets": 5, "few_jets": 3}, None, (), "jets"),
        ({"jets": 5, "wide_jets": 5}, None, (), "wide_jets"),
        ({"wide_jets": 5, "jets": 5}, None, (), "wide_jets"),
        ({"jets": 0}, None, (), "jets"),
        ({"jets": 5, "taus": 2}, "taus", (), "taus"),
        ({"few_jets": 3, "jets": 5, "taus": 2}, "few_jets", (), "few_jets"),
        ({"jets": 5, "taus": 9}, None, ("tau_",), "taus"),
        ({"jets": 9, "taus": 5}, None, ("tau_",), "taus"),
        ({"jets": 5, "empty": 9}, None, ("jet_{pt,eta,phi,mass}",), "jets"),
    ],
)
def test_the_largest_tree_that_holds_the_jets_is_chosen(tmp_path, trees, name, patterns, chosen):
    with open_source(write_trees(tmp_path / "x.root", **trees)) as source:
        assert choose_tree(source, name, patterns).name == chosen


def test_an_input_knows_its_other_trees_with_jets(tmp_path):
    path = write_trees(tmp_path / "x.root", jets=5, taus=2, jets_up=7)
    with open_input(path, None, ()) as opened:
        assert (opened.tree, opened.others, opened.trees) == ("jets_up", ("jets",), ["jets", "jets_up"])
        other = opened.at("jets")
        assert (other.tree, other.events.entries, other.others) == ("jets", 5, ())
        with pytest.raises(UserError, match="no tree 'none'"):
            opened.at("none")
    with open_input(path, "jets", ()) as opened:
        assert (opened.others, opened.trees) == ((), ["jets"])


@pytest.mark.parametrize(
    ("trees", "name", "says"),
    [
        ({"jets": 5, "taus": 2}, "Jets", "no tree 'Jets' in '.*x.root': there are jets, taus"),
        ({}, "jets", "no tree 'jets' in '.*x.root': there are none"),
        ({"taus": 2, "empty": 1}, None, "'.*x.root' has no jets: .* in 'taus', 'empty'; name them with --jets"),
        ({}, None, "'.*x.root' has no jets: it has no tree"),
    ],
)
def test_a_file_without_the_tree_or_without_jets_is_refused(tmp_path, trees, name, says):
    with open_source(write_trees(tmp_path / "x.root", **trees)) as source, pytest.raises(UserError, match=says):
        choose_tree(source, name, ())


# --- the plan for every branch


def test_every_branch_is_a_jet_carried_or_a_counter():
    plan = plan_of(NANOAOD)
    (jets,) = plan.collections
    assert list(jets.branches.values()) == JETS
    assert [branch.name for branch in plan.carried] == ["event", "Jet_area", "Muon_pt", "MET"]
    assert plan.originals == ["event", *JETS, "Jet_area", "Muon_pt", "MET"]
    assert {plan.counters[name] for name in (*jets.latents, *JETS, "Jet_area")} == {"nJet"}
    assert (plan.counters["Muon_pt"], plan.counters["Jet_exact_pt"]) == ("nMuon", "nJet_exact")
    assert plan.dropped == []


def test_a_real_file_is_planned_in_its_own_order(tmp_path, layout):
    with open_input(write_layout(tmp_path / "x.root", layout), None, ()) as opened:
        plan = make_plan(opened, options())
        names = [branch.name for branch in opened.events.branches]
        assert (opened.path, opened.tree, opened.table) == (tmp_path / "x.root", opened.events.name, None)
    assert opened.title == ("" if layout.startswith("rntuple") else "a title")
    (jets,) = plan.collections
    assert sorted(jets.branches.values()) == sorted(VARIABLES[layout].values())
    assert [name for name in names if name in plan.originals] == plan.originals
    counters = {"nhit", "ngood", "nJet", "NJet", "njets"} & set(names)
    assert set(names) == set(plan.originals) | counters and not set(plan.originals) & counters
    assert {branch.name for branch in plan.carried} == set(plan.originals) - set(jets.branches.values())


@pytest.mark.parametrize("suffix", [".pkl", ".parquet"])
def test_lists_of_a_table_are_jets_of_events(suffix, tmp_path):
    lists = pd.DataFrame({f"jet_{v}": [[1.0, 2.0], [3.0]] for v in ("pt", "eta", "phi", "m")} | {"event": [1, 2]})
    lists.to_parquet(tmp_path / "x.parquet") if suffix == ".parquet" else lists.to_pickle(tmp_path / "x.pkl")
    with open_for(tmp_path / f"x{suffix}", Options()) as opened:
        (collection,) = make_plan(opened, Options()).collections
    assert collection.jagged and list(collection.branches.values()) == [f"jet_{v}" for v in ("pt", "eta", "phi", "m")]


@pytest.mark.parametrize(
    ("jets", "told"),
    [
        ((), "'.*x.p.*' has no jets: looked for .*; no branch holds .*"),
        (("jet_",), "no jets 'jet_': .*"),
        (("jet_pt,jet_eta,jet_phi,jet_m",), "--jets 'jet_pt,.*' is no jet collection: .*"),
    ],
)
def test_columns_that_would_be_jets_and_are_not_read_are_named(jets, told, tmp_path):
    pd.DataFrame({f"jet_{v}": ["a", "b"] for v in ("pt", "eta", "phi", "m")} | {"event": [1, 2]}).to_pickle(
        tmp_path / "x.pkl"
    )
    asked = Options(jets=jets)
    told = rf"^{told}; not read: jet_pt \(holds texts\).*$"
    with open_for(tmp_path / "x.pkl", asked) as opened, pytest.raises(UserError, match=told):
        make_plan(opened, asked)


def test_branches_that_would_be_jets_and_are_not_read_are_named(tmp_path):
    with uproot.recreate(tmp_path / "x.root") as file:
        numbers = {f"jet_{v}": ak.Array([[1.0], [2.0, 3.0]]) for v in ("pt", "eta", "phi")}
        file["T"] = numbers | {"jet_m": ak.Array([[[1.0]], [[2.0], [3.0]]]), "mu_m": ak.Array([[[1.0]], [[2.0]]])}
    told = "'jet_' spells pt, eta, phi, but neither m nor E; .* --variables jets.toml .*; not read: jet_m "
    told += r"\(a TTree .* holds no var \* var \* float64\)$"
    with open_source(tmp_path / "x.root") as source, pytest.raises(UserError, match=told):
        choose_tree(source, None, ())


def test_jets_that_can_t_be_read_are_told_with_the_reason(tmp_path):
    columns = {f"jet_{v}": pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32())) for v in ("pt", "eta", "phi")}
    missing = pa.array([[1.0, None], [3.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table(columns | {"jet_m": missing}), tmp_path / "x.parquet")
    told = "has no jets: x.parquet: column 'jet_m' has missing values, which no tree holds: fill them before"
    with open_for(tmp_path / "x.parquet", Options()) as opened, pytest.raises(UserError, match=told):
        make_plan(opened, Options())


@pytest.mark.parametrize(
    ("drop", "dropped"),
    [
        (("Muon_*",), ["Muon_pt"]),
        (("Muon_*", "M*"), ["MET", "Muon_pt"]),
        (("event", "MET"), ["MET", "event"]),
        (("Jet_*",), ["Jet_area"]),  # jets are compressed, not dropped
        (("odd*",), ["odd"]),
    ],
)
def test_dropped_branches_are_left_out_and_named(drop, dropped):
    plan = plan_of(NANOAOD, "odd", drop=drop, drop_unwritable=True)
    assert sorted(plan.dropped) == sorted({*dropped, "odd"})
    left_over = ["nMuon"] * ("Muon_pt" in dropped)  # no longer a counter, so that it is carried
    kept = [name for name in ("event", *JETS, "Jet_area", *left_over, "Muon_pt", "MET") if name not in dropped]
    assert plan.originals == kept


def test_a_pattern_that_drops_nothing_is_refused():
    with pytest.raises(UserError, match=r"--drop 'Tau_\*' matches no branch"):
        plan_of(NANOAOD, drop=("Tau_*",))


def test_only_jets_leaves_everything_else_out():
    plan = plan_of(NANOAOD, "odd", only_jets=True)
    assert (plan.originals, plan.carried) == (JETS, [])
    assert {"event", "Jet_area", "Muon_pt", "MET"} <= set(plan.dropped)


@pytest.mark.parametrize("how", [{"only_jets": True}, {"drop": ("n*", "Muon_pt")}, {"drop": ("*",)}])
def test_what_is_said_to_be_dropped_is_not_written(how):
    plan = plan_of(NANOAOD, **how)
    written = {branch.name for branch in plan.carried} | set(plan.originals) | set(plan.counters.values())
    assert set(plan.dropped) & written == set()
    assert set(plan.dropped) | written >= {branch.name for branch in NANOAOD}


@pytest.mark.parametrize("how", [{"only_jets": True}, {"drop": ("odd*",)}, {"drop_unwritable": True}])
def test_what_can_not_be_written_is_dropped_if_asked_and_named(how):
    assert {"odd1", "odd2"} <= set(plan_of(NANOAOD, "odd1", "odd2", **how).dropped)


@pytest.mark.parametrize(
    ("n", "drop", "says"),
    [
        (1, (), "1 branch that can't be written: odd0 (is odd); --drop-unwritable leaves them out"),
        (2, ("odd0", "MET"), "1 branch that can't be written: odd1 (is odd); --drop-unwritable"),
        (5, (), "odd3 (is odd); odd4 (is odd); --drop-unwritable"),
        (8, ("odd0",), "7 branches that can't be written: odd1 (is odd); odd2"),
        (8, ("odd0",), "odd5 (is odd); and 2 more; --drop-unwritable"),
    ],
)
def test_what_can_not_be_written_stops_the_run_and_is_listed(n, drop, says):
    with pytest.raises(UserError, match=re.escape(says)) as caught:
        plan_of(NANOAOD, *(f"odd{i}" for i in range(n)), drop=drop)
    assert str(caught.value).startswith("'in.root' has ")


def test_what_uproot_writes_otherwise_is_noted():
    assert plan_of(NANOAOD).notes == ["counters are written as int32: nJet, nMuon"]
    ints = [Branch(b.name, "<i4", b.jagged, b.counter) if b.name[0] == "n" else b for b in NANOAOD]
    assert plan_of(ints).notes == []
    vectors = [*jagged(*JETS), *jagged("hits"), *jagged("seen")]
    assert plan_of(vectors).notes == []  # of a table


def test_collections_whose_branches_differ_in_jets_are_not_taken():
    branches = NANOAOD + jagged(*(f"FatJet_{v}" for v in NANO))
    assert [c.name for c in plan_of(branches).collections] == ["Jet", "FatJet"]
    others = {"FatJet_phi": ak.Array([[1.0], [2.0], [3.0]])}  # the same number in all
    plan = plan_of(branches, others=others)
    assert [c.name for c in plan.collections] == ["Jet"]
    assert {f"FatJet_{v}" for v in NANO} <= {branch.name for branch in plan.carried}
    with pytest.raises(UserError, match="has no jets: 'Jet_pt' and 'Jet_phi' differ in jets per event"):
        plan_of(jagged(*JETS), others={"Jet_phi": others["FatJet_phi"]})


def test_only_the_jets_named_are_taken():
    branches = NANOAOD + jagged(*(f"FatJet_{v}" for v in NANO), counter="nFatJet")
    plan = plan_of(branches, jets=("FatJet_",))
    assert [c.name for c in plan.collections] == ["FatJet"]
    assert set(JETS) <= {branch.name for branch in plan.carried}
    assert [c.name for c in plan_of(branches, jets=("FatJet_", "Jet")).collections] == ["FatJet", "Jet"]
    with pytest.raises(UserError, match="no jets 'Tau_'"):
        plan_of(branches, jets=("Tau_",))


@pytest.mark.parametrize("patterns", [("Jet_", "Jet_"), ("Jet_", "pt=Jet_area,Jet_eta,Jet_phi,Jet_mass")])
def test_a_branch_belongs_to_one_collection(patterns):
    with pytest.raises(UserError, match="--jets names a branch twice"):
        plan_of(NANOAOD, jets=patterns)


def test_two_collections_never_share_their_latents():
    # systematic variations: the prefix of both is `Jet_`
    branches = jagged(*(f"Jet_{v}_{side}" for side in ("up", "down") for v in NANO), counter="nJet")
    patterns = tuple(f"Jet_{{pt,eta,phi,mass}}_{side}" for side in ("up", "down"))
    try:
        plan = plan_of(branches, jets=patterns)
    except UserError as error:
        assert "Jet_" in str(error)  # noqa: PT017  # a refusal is as good
        return
    written = [name for c in plan.collections for name in (*c.latents, *c.exact.values())]
    assert sorted(set(written)) == sorted(written)


@pytest.mark.parametrize("name", ["Jet_z0", "Jet_z2", "Jet_exact_index", "Jet_exact_m"])
def test_a_branch_in_the_way_of_a_latent_is_refused(name):
    with pytest.raises(UserError, match=f"branch '{name}' is in the way of 'Jet'"):
        plan_of(NANOAOD + flat(name))


def test_counters_avoid_every_name_of_the_tree():
    plan = plan_of([*flat("nJet", "nJet_exact", "nhits"), *jagged(*JETS), *jagged("hits")])
    made = {plan.counters[name] for name in ("Jet_z0", "Jet_exact_pt", "hits")}
    assert made == {"nJet_", "nJet_exact_", "nhits_"}
    assert [branch.name for branch in plan.carried] == ["nJet", "nJet_exact", "nhits", "hits"]


# As in ROOT 6.40: RFieldBase::Create fails for these names, and succeeds for those of the next test.
@pytest.mark.parametrize("name", ["a/b", "a\\b", "a b", "a.b", "a\tb", "a\nb", "a\x7fb", "\x01", ""])
def test_an_rntuple_takes_no_name_that_root_refuses(name):
    with pytest.raises(UserError, match="can't be a field of an RNTuple, where ROOT allows no dots.*--format ttree"):
        plan_of(NANOAOD + flat(name), rntuple=True)
    assert name in plan_of(NANOAOD + flat(name)).originals


@pytest.mark.parametrize(
    "name", ["é", "1x", "a:b", "a;b", "a[3]", "a-b", "_0", 'a"b', "#", "\xa0x", "x\x85", "l" * 300]
)
def test_an_rntuple_takes_any_other_name(name):
    assert name in plan_of(NANOAOD + flat(name), rntuple=True).originals


@pytest.mark.parametrize(("tree", "refused"), [("a b", True), ("a.b", True), ("a b/c", False), ("", True)])
def test_an_rntuple_has_a_name_that_root_takes(tree, refused):
    opened = Opened(Path("in.root"), Events(NANOAOD), tree)
    with pytest.raises(UserError, match=f"'{tree}' can't be ") if refused else nullcontext():
        make_plan(opened, options(rntuple=True))


def test_members_of_records_have_names_that_root_takes(tmp_path):
    with uproot.recreate(tmp_path / "x.root") as file:
        file.mkrntuple("T", ak.Array([{"r": {"a b": 1.0}, "pt": 1.0, "eta": 0.0, "phi": 0.0, "m": 1.0}]))
    with open_input(tmp_path / "x.root", None, ("pt,eta,phi,m",), nested=True) as opened:
        assert opened.tree_read.places == {"r.a b": "r.a b"}
        with pytest.raises(UserError, match="'r.a b' can't be a field"):
            make_plan(opened, options(rntuple=True, jets=("pt,eta,phi,m",)))


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ({}, "RNTuples are written as TTrees: Events, Runs, More; --format rntuple keeps them"),
        ({"packed": True}, "RNTuples are written as TTrees: Events, Runs, More; --format rntuple keeps them"),
        ({"only_jets": True}, "RNTuples are written as TTrees: Events; --format rntuple keeps them"),
        ({"tree": "trees"}, "RNTuples are written as TTrees: Events, Runs, More; --format rntuple keeps them"),
        ({"tree": "trees", "only_jets": True}, None),
        ({"rntuple": True}, None),
    ],
)
def test_rntuples_that_become_trees_are_told_once(given, note, tmp_path):
    jets = {f"Jet_{v}": [1.0, 2.0] for v in ("pt", "eta", "phi", "mass")}
    with uproot.recreate(tmp_path / "in.root") as file:
        file.mkrntuple("Events", jets | {"more": [1, 2]})
        file.mktree("trees", dict.fromkeys(jets, "f8")).extend({name: np.array([1.0]) for name in jets})
        file.mkrntuple("Runs", {"run": [1, 2]})
        file.mkrntuple("More", {"x": [1.0]})
    asked = Options(units="GeV", **given)
    with open_for(tmp_path / "in.root", asked) as opened:
        notes = make_plan(opened, asked).notes
    assert [told for told in notes if "written as TTrees" in told] == [note] * bool(note)


def test_an_rntuple_takes_no_names_with_dots():
    dotted = jagged(*(f"Jets.{v}" for v in ("pt", "eta", "phi", "m")))
    plan_of(NANOAOD, rntuple=True)
    plan_of(dotted)
    for branches in (dotted, NANOAOD + flat("a.b")):
        with pytest.raises(UserError, match="can't be a field of an RNTuple"):
            plan_of(branches, rntuple=True)
    plan_of(NANOAOD + flat("a.b"), rntuple=True, drop=("a.b",))


# --- the input


def test_a_file_that_is_compressed_already_is_refused(tmp_path):
    jets = counted("nanoaod", make_counts(5))
    with create(tmp_path / "x.root") as target:
        for name in ("Events", "atlasae/chunks"):
            target.make_tree(name, jets).extend(jets)
    says = "is compressed by atlasae already: `atlasae decompress` it first"
    with pytest.raises(UserError, match=says), open_input(tmp_path / "x.root", None, ()):
        raise AssertionError("opened")


def test_an_input_is_opened_at_the_tree_asked_for(tmp_path):
    path = write_trees(tmp_path / "x.root", few_jets=3, jets=5)
    with open_input(path, "few_jets", ()) as opened:
        assert (opened.tree, opened.events.entries, opened.source.path) == ("few_jets", 3, path)


@pytest.mark.parametrize("suffix", [".pkl", ".parquet"])
@pytest.mark.parametrize(
    ("others", "name"),
    [((), "index"), (("index",), "index_"), (("index", "index_"), "index__"), (("index_",), "index")],
)
def test_row_labels_of_a_table_become_a_column_of_a_free_name(tmp_path, suffix, others, name):
    columns = {column: np.arange(4, dtype=np.float32) for column in ("pt", "eta", "phi", "m", *others)}
    index = np.array([7, 5, 3, 3])
    write_table(tmp_path / f"x{suffix}", Table(columns, index, "label"))
    with open_input(tmp_path / f"x{suffix}", None, ()) as opened:
        assert (opened.tree, opened.source) == (TABLE_TREE, None)
        assert opened.table == {"index": name, "index_name": "label"}
        assert [branch.name for branch in opened.events.branches] == [*columns, name]
        assert opened.events.read([name], 0, 4)[name].tolist() == index.tolist()
        plan = make_plan(opened, options())
    assert plan.originals == [*columns, name]
    assert [branch.name for branch in plan.carried] == [*others, name]


@pytest.mark.parametrize("name", ["/a", "a/", "a//b"])
def test_jets_of_a_tree_with_nothing_beside_a_slash_are_refused(name):
    columns = ArrayEvents({v: np.ones(3, np.float32) for v in ("pt", "eta", "phi", "m")})
    opened = Opened(Path("x.root"), columns, name)
    with pytest.raises(UserError, match=f"tree '{name}' can't be written: .* beside a slash; .* .rootmv."):
        make_plan(opened, options())


def test_a_table_without_row_labels_stays_without(tmp_path):
    write_table(tmp_path / "x.pkl", Table({v: np.ones(3, ">f8") for v in ("pt", "eta", "phi", "E")}))
    with open_input(tmp_path / "x.pkl", None, ()) as opened:
        assert opened.table == {"index": None, "index_name": None, "swapped": ["pt", "eta", "phi", "E"]}
        assert [branch.dtype for branch in opened.events.branches] == ["<f8"] * 4  # as read from a tree
        assert opened.events.read(["E"], 0, 3)["E"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "size"),
    [("20MB", 20_000_000), ("20 mb", 20_000_000), ("1.5 GB", 1_500_000_000), (".5kB", 500), ("7", 7), (" 3 B ", 3)]
    + [("0.2B", 1), ("2.kb", 2000)],
)
def test_sizes_in_bytes(text, size):
    assert parse_size(text, "--step-size") == size


@pytest.mark.parametrize(
    "text", ["", "MB", "-1MB", "1.2.3MB", "20k", "20 TB", "nanMB", "1e3", "0", "0.0 GB", "\u00b2MB", "."]
)
def test_what_is_no_size_is_told_with_its_name(text):
    with pytest.raises(UserError, match=r"^step_size '.*' is no size: give one such as 20MB$"):
        parse_size(text, "step_size")


# --- options of the Python API


class Named:
    """A path of another library than pathlib."""

    def __fspath__(self) -> str:
        return "x.toml"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"precision": 1e-4}, Precision.parse("1e-4")),
        ({"precision": np.float64(1e-4)}, Precision.parse("1e-4")),
        ({"precision": "1e-4"}, Precision.parse("1e-4")),
        ({"precision": Precision.parse("full")}, Precision.parse("full")),
        ({"precision": {"pt": 1e-3, "eta": "1e-4"}}, Precision.parse("pt=1e-3,eta=1e-4")),
        ({"jets": "Jet_"}, ("Jet_",)),
        ({"jets": ["Jet_", "Fat_"]}, ("Jet_", "Fat_")),
        ({"drop": "x*"}, ("x*",)),
        ({"drop": (name for name in ("x", "y"))}, ("x", "y")),
        ({"units": "mev"}, "MeV"),
        ({"units": "GEV"}, "GeV"),
        ({"units": None}, None),
        ({"variables": "x.toml"}, Path("x.toml")),
        ({"variables": Named()}, Path("x.toml")),
        ({"model": Path("own.model")}, "own.model"),
        ({"model": "self"}, "self"),
        ({"step_size": "20 MB"}, 20_000_000),
        ({"step_size": 5}, 5),
        ({"compression": "zstd:5"}, "zstd:5"),
    ],
)
def test_an_option_may_be_given_in_each_natural_form(given, kept):
    (name,) = given
    found = getattr(Options(**given), name)
    assert (type(found), found) == (type(kept), kept)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"precision": 2}, r"'2\.0' is no bound between 1e-07 and 1"),
        ({"precision": None}, "precision None is none: give a number such as 1e-3"),
        ({"precision": True}, "precision True is none"),
        ({"precision": {"pt": 1e-3, "rapidity": 1e-3}}, "'rapidity': choose from pt, eta, phi, m, E"),
        ({"precision": [1e-3]}, r"precision \[0\.001\] is none"),
        ({"jets": 5}, "5 is no pattern"),
        ({"jets": ["Jet_", 5]}, "5 is no pattern"),
        ({"drop": None}, "None is no pattern"),
        ({"units": "keV"}, "units 'keV' are none of pt and m: give one of MeV, GeV"),
        ({"units": 1000}, "units 1000 are none"),
        ({"variables": 5}, "5 is no path: give a text or a Path"),
        ({"variables": "https://example.org/x.toml"}, "copy it here"),
        ({"model": None}, "model None is none: give a model file, `default` or `self`"),
        ({"compression": "zip"}, "'zip': give one of zlib, lzma"),
        ({"compression": 5}, "compression 5 is no text"),
        ({"tree": 5}, "tree 5 is no text"),
        ({"step_size": "20 fortnights"}, "step_size '20 fortnights' is no size: give one such as 20MB"),
        ({"step_size": 0}, "step_size '0' is no size"),
        ({"step_size": True}, "step_size True is no size"),
        ({"packed": "yes"}, "packed 'yes' is neither True nor False"),
        ({"force": 1}, "force 1 is neither True nor False"),
    ],
)
def test_an_option_that_can_not_be_is_told_when_it_is_given(given, words):
    with pytest.raises(UserError, match=words) as told:
        Options(**given)
    assert "\n" not in str(told.value)


def test_options_are_values():
    options = Options(precision=1e-4, jets="Jet_", step_size="20MB")
    assert options == pickle.loads(pickle.dumps(options)) == replace(options) != replace(options, units="gev")
    assert replace(options, units="gev").units == "GeV"
    assert Options.step_size == Options().step_size == 10_000_000
    with pytest.raises(FrozenInstanceError):
        options.precision = 1e-3


def test_words_of_the_command_line_are_options():
    words = {"precision": 1e-4, "layout": "packed", "format": "ttree", "no_context": True, "no_dither": False}
    assert Options.of_words(words) == Options(precision=1e-4, packed=True, rntuple=False, context=False, dither=True)
    assert Options.of_words({}) == Options()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"layot": "packed"}, "'layot' is no option: nearest are layout"),
        ({"xyzzy": 1}, "'xyzzy' is no option: nearest are precision, tree"),
        ({"layout": "zip"}, "layout 'zip' is unknown: give one of 'floats', 'packed'"),
        ({"format": 5}, "format 5 is unknown: give one of 'ttree', 'rntuple', None"),
        ({"units": "keV"}, "units 'keV' are none of pt and m"),
    ],
)
def test_other_words_are_refused(words, why):
    with pytest.raises(UserError, match=why):
        Options.of_words(words)


def test_jets_that_are_whole_in_a_branch_are_named(tmp_path):
    with uproot.recreate(tmp_path / "x.root") as file:
        file["T"] = {"jetp4": ak.Array([[[1.0, 2.0, 3.0, 4.0]], []]), "n": ak.Array([1, 0])}
    told = r"; not read: jetp4 \(.*\): jets need a branch for each variable, such as by RDataFrame's Define$"
    with pytest.raises(UserError, match=told), open_for(tmp_path / "x.root", Options()) as opened:
        make_plan(opened, Options())


def test_other_numbers_of_jets_may_stay_while_their_neighbours_are_packed():
    plan = plan_of([*NANOAOD, *jagged("Jet_q", dtype="<f8", counter="nJet")], packed=True, whole_jets="Jet")
    left = leave_columns(plan, ["Jet_q"])
    before, after = ([c for c in one.collections if c.has_others][0] for one in (plan, left))
    assert list(before.dtypes) == list(before.branches) == ["Jet_area", "Jet_q"]
    assert after.dtypes == {"Jet_area": "<f4"} and list(after.branches) == ["Jet_area"]
    assert "left as they are, since they are stored in a way of their own: Jet_q" in left.notes
