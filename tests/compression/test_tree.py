"""Compressed files read as trees: the same values as after decompression, and only requested branches are read."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import vector
from conftest import bits, jet_columns, read_tree, succeeded, write_layout, write_tree

import atlasae
from atlasae.compression.chunks import Chunks, sources_of
from atlasae.compression.format import read_contents
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.trees import Source, Tree, _Trees, open_source
from atlasae.graft import taken
from atlasae.jets.collections import Collection

JETS = ["Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass"]


@pytest.fixture(scope="session", params=["floats", "packed"])
def pair(request, tmp_path_factory):
    """A compressed file of several chunks, and the file that is decompressed from it."""
    folder = tmp_path_factory.mktemp("pair")
    small, back = folder / "pair.root", folder / "back.root"
    path = write_layout(folder / "jets.root", "nanoaod")
    succeeded("compress", path, small, "--layout", request.param, "--step-size", "500B")
    succeeded("decompress", small, back)
    return small, back


@pytest.fixture(params=["floats", "packed"])
def rewritten(request, jets_file, tmp_path):
    """A compressed file of several chunks, all of whose branches were written anew."""
    small = tmp_path / "rewritten.root"
    succeeded("compress", jets_file, small, "--layout", request.param, "--step-size", "2kB", "--rewrite")
    return small


@pytest.fixture
def reads(monkeypatch):
    """The names of branches in each call of `Tree.read`."""
    found = []
    read = Tree.read
    monkeypatch.setattr(
        Tree, "read", lambda self, names, *range: found.append(list(names)) or read(self, names, *range)
    )
    return found


def test_what_was_taken_out_is_read_twice_whatever_the_number_of_branches(pair, monkeypatch):
    found = []
    read = taken.read_thing
    monkeypatch.setattr(taken, "read_thing", lambda *args: found.append(args) or read(*args))
    with atlasae.open(pair[0]) as tree:
        assert len(tree) > len(found)
    assert len(found) == 2  # to put it back, and for its names


@pytest.mark.parametrize("how", ["floats", "packed"])
def test_every_layout_has_the_branches_of_its_original(layout, how, made_of):
    folder = made_of(layout, "--layout", how)
    with atlasae.open(folder / "small.root") as tree, uproot.open(folder / "jets.root") as original:
        assert tree.keys() == original[tree.name].keys(recursive=False)
        for name, array in read_tree(folder / "back.root", tree.name).items():
            if name in tree:
                assert bits(tree[name].array()) == bits(array)
        assert {len(jets) for jets in map(tree.jets, tree.collections)} == {tree.num_entries}


def test_it_is_a_mapping_of_branches_as_the_tree_of_uproot_is(pair):
    small, back = pair
    with atlasae.open(small) as tree, uproot.open(back) as whole:
        original = whole["Events"]
        assert list(tree) == tree.keys() == original.keys() and len(tree) == len(original)
        assert [branch.name for branch in tree.values()] == original.keys()
        for pattern in ["Jet_*", "/jet_(pt|eta)/i", "/et_pt/", ["/Jet_p/", "weight"], "nothing"]:
            assert tree.keys(filter_name=pattern) == original.keys(filter_name=pattern)


@pytest.mark.parametrize(
    "begin, end", [(None, None), (0, 0), (5, 41), (-7, None), (None, -50), (59, 400), (40, 5), (60, 61)]
)
def test_any_range_of_entries_is_that_of_the_decompressed_file(pair, begin, end):
    small, back = pair
    with atlasae.open(small) as tree, uproot.open(back) as whole:
        assert len(tree._places) > 3
        found = tree.arrays([*JETS, "nJet", "weight", "name"], entry_start=begin, entry_stop=end)
        for name in found.fields:
            expected = whole["Events"][name].array()[slice(*slice(begin, end).indices(60)[:2])]
            assert bits(found[name]) == bits(expected)


def test_nothing_but_the_jets_is_looked_at_until_it_is_asked_for(pair, monkeypatch):
    def unwanted(*_: object) -> Any:
        raise AssertionError("uproot reads a tree")

    with monkeypatch.context() as patched, atlasae.open(pair[0]) as tree:
        patched.setattr(_Trees, "__getitem__", unwanted)
        patched.setattr(Source, "_whole", unwanted)
        assert "Jet_pt" in tree and tree.arrays(JETS).fields == JETS and len(tree.jets()) == 60
    assert repr(tree) == "<CompressedTree 'Events' (closed, 60 entries)>" and "closed" in tree._repr_html_()
    with pytest.raises(UserError, match="tree 'Events' is closed: read it before, or open the file again"):
        tree.keys()


@pytest.mark.parametrize("step", [1, 7, 1000, "500 B", "20 MB"])
def test_steps_follow_each_other_and_decode_every_chunk_once(pair, step, reads):
    small, back = pair
    with atlasae.open(small) as tree, uproot.open(back) as whole:
        del reads[:]
        steps = list(tree.iterate(["Jet_pt", "hit"], step_size=step, entry_start=3))
        assert sum("hit" in names for names in reads) <= len(tree._places) + (
            step == "500 B"
        )  # one more read of the first chunk, for its size
        for name in ("Jet_pt", "hit"):
            assert bits(ak.concatenate([found[name] for found in steps])) == bits(whole["Events"][name].array()[3:])
    if isinstance(step, int):
        assert {len(found) for found in steps[:-1]} <= {step}


def test_another_thread_may_read_another_chunk_meanwhile(pair):
    with atlasae.open(pair[0]) as tree, ThreadPoolExecutor(1) as other:
        expected = bits(tree["Jet_mass"].array(entry_stop=20))
        last, others = tree._places[-1], list[Any]()

        class Slow(dict[str, Collection]):
            def values(self) -> Any:
                if not others:  # once
                    others.append(None)
                    others.append(other.submit(tree["Jet_pt"].array, entry_start=last.begin).result())
                return super().values()

        tree._collections = Slow(tree._collections)
        assert bits(tree["Jet_mass"].array(entry_stop=20)) == expected
        assert bits(others[1]) == bits(tree["Jet_pt"].array(entry_start=last.begin))
        assert bits(tree["Jet_mass"].array(entry_stop=20)) == expected


def test_only_what_is_asked_is_read_and_decoded(pair, reads):
    with atlasae.open(pair[0]) as tree:
        del reads[:]
        tree["weight"].array()
        assert {name for names in reads for name in names} == {"weight"}
        del reads[:]
        tree["Jet_pt"].array(entry_stop=1)
        packed = "Jet_packed" in reads[0]
        latents = ["Jet_packed"] if packed else ["Jet_z0", "Jet_z1", "Jet_z2"]
        assert [
            name for name in reads[0] if "exact" not in name and name not in ("Jet_nConstituents", "nJet")
        ] == latents
        assert len(reads) == 1
        tree["Jet_mass"].array(entry_stop=1)  # packed: decoded with pt; floats: from the latents read for pt
        tree.jets(entry_stop=1)
        assert [name for names in reads for name in names].count(latents[0]) == 1
        assert len(reads) == 1 or not packed


def test_branches_come_from_what_was_written_for_them(rewritten):
    with open_source(rewritten) as source:
        (run,) = read_contents(source).runs
    assert sources_of(run, run.originals) == [
        name for name in run.written if name in run.needed | {"Jet_nConstituents"}
    ]
    assert sources_of(run, []) == []
    assert sources_of(run, ["weight", "event"]) == ["event", "weight"]


def test_jets_are_vectors(pair):
    with atlasae.open(pair[0]) as tree:
        jets, events = tree.jets("Jet"), tree.arrays(JETS)
        np.testing.assert_array_equal(ak.flatten(jets.mass), ak.flatten(events["Jet_mass"]))
        pairs = jets[ak.num(jets) >= 2]
        first, second = pairs[:, 0], pairs[:, 1]
        both = [
            vector.obj(pt=a.pt, eta=a.eta, phi=a.phi, mass=a.mass)
            + vector.obj(pt=b.pt, eta=b.eta, phi=b.phi, mass=b.mass)
            for a, b in zip(first, second, strict=True)
        ]
        np.testing.assert_allclose((first + second).mass, [one.mass for one in both], rtol=1e-5)
        with pytest.raises(UserError, match="no jets 'FatJet' in tree 'Events': there are Jet"):
            tree.jets("FatJet")


def test_libraries_are_those_of_uproot(pair):
    small, back = pair
    names = ["Jet_pt", "weight", "name", "matrix", "passed", "nJet"]
    with atlasae.open(small) as tree, uproot.open(back) as whole:
        found, expected = tree.arrays(names, library="np"), whole["Events"].arrays(names, library="np")
        for name in names:
            assert (found[name].dtype, found[name].shape) == (expected[name].dtype, expected[name].shape)
            assert all(
                np.array_equal(a, b, equal_nan=name == "weight")
                for a, b in zip(found[name], expected[name], strict=True)
            )
        frame = tree.arrays(names, library="pd")
        assert list(frame.columns) == names and len(frame) == 60
        assert np.array_equal(frame["Jet_pt"][7], expected["Jet_pt"][7])
        np.testing.assert_array_equal(tree["nJet"].array(library="np"), expected["nJet"])
        with pytest.raises(UserError, match="library='cupy' is not known: give one of ak, np, pd"):
            tree.arrays(names, library="cupy")


def test_rows_of_a_frame_are_numbered_as_entries_are(pair):
    small, back = pair
    with atlasae.open(small) as tree, uproot.open(back) as whole:
        for start, stop in [(None, None), (13, 47), (-5, None), (7, 7)]:
            options = {"entry_start": start, "entry_stop": stop, "library": "pd"}
            assert tree.arrays(["weight"], **options).equals(whole["Events"].arrays(["weight"], **options))
        steps = list(tree.iterate(["weight"], step_size=25, entry_start=3, library="pd"))
        assert [row for step in steps for row in step.index] == list(range(3, tree.num_entries))
        assert tree["weight"].array(entry_start=4, library="pd").index[0] == 4


def test_a_closed_tree_is_not_called_damaged(pair):
    with atlasae.open(pair[0]) as tree:
        tree["weight"].array()
    for read in (tree["Jet_pt"].array, tree["weight"].array, tree.jets, lambda: next(tree.iterate())):
        with pytest.raises(UserError, match="tree 'Events' is closed: read it before, or open the file again"):
            read()


def test_filters_are_those_of_uproot(pair):
    small, back = pair
    filters = ["Jet_*", "/jet_(pt|eta)/i", ["nJet", "w*"], lambda name: name.endswith("t"), "nothing", None]
    with atlasae.open(small) as tree, uproot.open(back) as whole:
        for wanted in filters:
            assert tree.keys(filter_name=wanted) == whole["Events"].keys(filter_name=wanted)
            assert tree.arrays(filter_name=wanted, entry_stop=1).fields == tree.keys(filter_name=wanted)
        assert tree.arrays(["Jet_pt", "hit"], filter_name="Jet_*").fields == ["Jet_pt"]


def test_what_is_not_there_is_told(pair, tmp_path):
    with atlasae.open(pair[0]) as tree:
        assert "Jet_z0" not in tree and "Jet_pt" in tree and list(tree) == tree.keys()
        assert repr(tree) == "<CompressedTree 'Events' (19 branches, 60 entries)>"
        assert (tree.title, tree["hit"].num_entries, tree.collections) == ("a title", 60, ["Jet"])
        with pytest.raises(KeyError, match="no branch 'Jet_z0' in tree 'Events'"):
            tree["Jet_z0"]
        with pytest.raises(UserError, match="no branch 'Jet_E' in tree 'Events': nearest are Jet_"):
            tree.arrays(["Jet_pt", "Jet_E"])
        for step in (0, "much", "3 apples"):
            with pytest.raises(UserError, match="step_size"):
                list(tree.iterate(step_size=step))
    with pytest.raises(UserError, match="no file to open"):
        atlasae.open([])
    with pytest.raises(UserError, match="was not compressed by atlasae"):
        atlasae.open(pair[1])
    with pytest.raises(UserError, match="no such file"):
        atlasae.open(str(tmp_path / "nowhere.root"))


def test_several_files_are_one_tree(pair, tmp_path):
    small, back = pair
    other = write_layout(tmp_path / "other.root", "nanoaod", entries=20, seed=5)
    succeeded("compress", other, tmp_path / "second.root")
    with atlasae.open([small, tmp_path / "second.root"]) as tree:
        assert tree.num_entries == 80
        assert bits(tree["Jet_pt"].array()[:60]) == bits(read_tree(back, "Events")["Jet_pt"])
        assert bits(tree["event"].array(entry_start=55)) == bits(
            ak.concatenate([read_tree(path, "Events")["event"] for path in (back, other)])[55:]
        )
    succeeded("compress", other, tmp_path / "third.root", "--only-jets")
    with pytest.raises(UserError, match=r"what you open can't be one tree: .* in 'jets.root', .*in 'other.root'; take"):
        atlasae.open([small, tmp_path / "third.root"])


@pytest.mark.parametrize("how", ["floats", "packed"])
def test_no_entries_have_branches_of_the_right_types(how, tmp_path):
    path = write_layout(tmp_path / "in.root", "nanoaod", entries=0)
    succeeded("compress", path, tmp_path / "small.root", "--layout", how)
    with atlasae.open(tmp_path / "small.root") as tree:
        assert len(tree.arrays()) == len(tree.jets()) == tree.num_entries == 0
        assert tree["Jet_pt"].array().type == uproot.open(path)["Events"]["Jet_pt"].array().type
        assert list(tree.iterate()) == []


def test_a_changed_branch_is_told_when_it_is_read(rewritten, tmp_path):
    with open_source(rewritten) as source:
        contents = read_contents(source)
        (run,), chunk = contents.runs, contents.chunks[1]
        chunk.checksums[run.written.index("weight")] ^= 1
        chunks = Chunks(source, contents)
        positions = list(chunks)
        assert chunks.read(*positions[1], ["Jet_pt"]).restored(["Jet_pt"]).keys() == {"Jet_pt"}
        with pytest.raises(DamagedFileError, match="branch 'weight' is damaged: checksum differs"):
            chunks.read(*positions[1], ["weight"])


def test_lists_of_variables_are_read_but_are_no_vectors(quick_model, tmp_path):
    rng = np.random.default_rng(3)
    branches = {name: ak.Array(rng.normal(size=300).astype(np.float32)) for name in ("a", "b")}
    path = write_tree(tmp_path / "in.root", "t", branches)
    lines = [
        "[[variable]]",
        'branch = "a"',
        'coordinate = "linear"',
        "precision = 1e-3",
        "[[variable]]",
        'branch = "b"',
        'coordinate = "linear"',
        "precision = 1e-3",
    ]
    (tmp_path / "list.toml").write_text("\n".join(lines))
    succeeded("compress", path, tmp_path / "small.root", "--variables", tmp_path / "list.toml")
    with atlasae.open(tmp_path / "small.root") as tree:
        assert np.abs(tree["a"].array() - branches["a"]).to_numpy().max() < 1e-3
        with pytest.raises(UserError, match="no jets in tree 't': read its branches by `arrays`"):
            tree.jets()


def test_a_tree_shows_its_jets_and_names_the_rest(pair):
    with atlasae.open(pair[0]) as tree:
        html = tree._repr_html_()
        assert f"{tree.num_entries:,} entries" in html and f"and {len(list(tree)) - 4} other branches: " in html
    cells = [cell.split(">")[1].split("<")[0] for cell in html.split("<td")[1:]]
    assert cells[:4] == ["Jet_pt", "pt", "GeV", "float32"] and len(cells) == 16
    assert cells[2::4] == ["GeV", "", "", "GeV"]  # eta and phi have none


def test_a_tree_shows_bytes_per_jet_as_bars_until_it_is_closed(pair):
    (found,) = atlasae.info(pair[0]).collections
    with atlasae.open(pair[0]) as tree:
        html = tree._repr_html_()
    assert "<div>bytes per jet, before and after</div>\n<div>Jet</div>" in html
    assert f"</span> {found.bytes_in / found.jets:.2f}<" in html and f"</span> {found.bytes_per_jet:.2f}<" in html
    assert "bytes per jet" not in tree._repr_html_()


def test_entries_and_slices_of_a_branch_are_those_of_its_array(pair):
    with atlasae.open(pair[0]) as tree:
        branch = tree["Jet_pt"]
        every = branch.array()
        for entries in (slice(3, 9), slice(None, 100), slice(50, 20), slice(1, 40, 7), slice(None, None, -9)):
            assert bits(branch[entries]) == bits(every[entries])
        assert branch[7].to_list() == every[7].to_list() and branch[-1].to_list() == every[-1].to_list()
        with pytest.raises(IndexError, match="entry 60 of 'Jet_pt', which has 60"):
            branch[60]


def test_types_are_those_that_uproot_names(pair, capsys):
    with atlasae.open(pair[0]) as tree, uproot.open(pair[1]) as whole:
        expected = {name: kind.replace("char*", "std::string") for name, kind in whole["Events"].typenames().items()}
        assert tree.typenames() == expected | {"matrix": "float[...]"}
        tree.show(filter_name="Jet_*")
        assert capsys.readouterr().out.splitlines()[0].split() == ["Jet_pt", "|", "float[]"]
        assert tree._ipython_key_completions_() == tree.keys()


@pytest.mark.parametrize("cut", ["nJet > 1", "(nJet > 1) & (weight < 0.5)", "~(nJet == 2) | (weight * 2 >= 1)"])
def test_a_cut_keeps_entries(pair, cut):
    with atlasae.open(pair[0]) as tree:
        every = tree.arrays(["nJet", "weight", "Jet_pt"])
        with np.errstate(invalid="ignore"):  # weights have NaN
            kept = eval(cut, {}, {"nJet": every.nJet, "weight": every.weight})
        assert 0 < ak.sum(kept) < 60
        assert tree.arrays("Jet_pt", cut=cut)["Jet_pt"].to_list() == every[kept]["Jet_pt"].to_list()
        part = tree.arrays("weight", cut=cut, entry_start=10, entry_stop=50, library="pd")
        assert part.index.to_list() == [i for i in range(10, 50) if kept[i]]


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        ("nJet >", "can't be read: invalid syntax"),
        ("nJet > 1 and weight < 1", "has a BoolOp: compare branches, and join comparisons by & and |"),
        ("exit()", "has a Call"),
        ("nJets > 1", "no branch 'nJets' in tree 'Events': nearest are nJet"),
        ("Jet_pt > 30", "gives 60 .* give one truth value an entry"),
        ("1 < nJet < 3", "can't be computed"),
        ("nJet", "gives 60 .* give one truth value an entry"),
        ("().__class__", "has a Tuple"),
    ],
)
def test_a_cut_that_is_none_is_refused(pair, cut, why):
    with atlasae.open(pair[0]) as tree, pytest.raises(UserError, match=why):
        tree.arrays("weight", cut=cut)


def test_the_jets_are_those_of_the_main_collection(tmp_path):
    events = {}
    for name, jets in (("FatJet", 3), ("GenJet", 9), ("Jet", 5)):
        columns = jet_columns("nanoaod", 40 * jets)
        events |= {f"{name}_{v}": ak.unflatten(columns[f"Jet_{v}"], [jets] * 40) for v in ("pt", "eta", "phi", "mass")}
    write_tree(tmp_path / "in.root", "Events", events)
    atlasae.compress_file(tmp_path / "in.root", tmp_path / "out.root", layout="packed")
    with atlasae.open(tmp_path / "out.root") as tree:
        assert tree.main == "Jet"
        jets = tree.jets()
        assert ak.all(ak.num(jets) == 5) and jets.mass.ndim == 2
        assert dict(jets.attrs) == {"collection": "Jet", "units": "GeV"}
