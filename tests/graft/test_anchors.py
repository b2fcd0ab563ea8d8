"""RNTuples among the records of a file: copied with all pages, and what lies is damage."""

from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from atlasae.errors import AtlasaeError, DamagedFileError, UserError
from atlasae.files.checksums import checksum_bytes
from atlasae.files.sources import unpack_blocks
from atlasae.files.trees import open_source
from atlasae.graft import ntuple
from atlasae.graft.anchors import IN_PLANES, GraftedNtuple, ntuples_of, packing
from atlasae.graft.composing import Composer
from atlasae.graft.envelopes import EnvelopeLink, NtuplePage
from atlasae.graft.fields import find, leaf, list_of
from atlasae.graft.ntuple import open_ntuple, read_pages
from atlasae.graft.records import Records
from atlasae.graft.surgery import Made, Surgery, fills_of, operate, undo

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "rntuple").glob("*.root"))
RECORDS, NANOAOD = (path for name in ("records", "nanoaod") for path in GOLDEN if path.stem == name)
ZSTD = packing(uproot.ZSTD(5))


def taken_apart(source, path: Path) -> tuple[Records, GraftedNtuple]:
    records = Records(source.read, path.stat().st_size)
    (found,) = [one for one in ntuples_of(records) if one.path == "Events"]
    return records, found


def copied(path: Path, out: Path, branches=()) -> list[tuple[str, int]]:
    """Copy a file with one RNTuple, and give it vectors with these names and values; returns the checksums."""
    with open_source(path) as source:
        records, found = taken_apart(source, path)
        with Composer(out, records) as composer:
            composer.copy_all([], lambda *_: None)
            fills = []
            for name in branches:
                found.ntuple.fields.append(list_of(name, leaf("_0", "<f4")))
                fills += fills_of(name, found.ntuple.fields[-1])
            writer = found.writer(composer, fills, ZSTD)
            for events in branches and split(branches):
                writer.extend(events)
            found.finish(composer, writer)
            composer.finish([])
        return writer.found()


def split(branches) -> list[dict[str, ak.Array]]:
    return [{name: array[part] for name, array in branches.items()} for part in (slice(7), slice(7, None))]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_copy_has_the_same_pages_in_the_same_clusters(path, tmp_path):
    found = copied(path, tmp_path / "out.root")
    with open_source(path) as source, open_source(tmp_path / "out.root") as other:
        one, two = (taken_apart(file, place)[1] for file, place in ((source, path), (other, tmp_path / "out.root")))
        clusters = zip(*(list(ntuple.ntuple.clusters()) for ntuple in (one, two)), strict=True)
        for before, after in ((a, b) for pair in clusters for a, b in zip(*pair, strict=True)):
            assert (before.first, before.entries) == (after.first, after.entries)
            for mine, theirs in zip(before.ranges, after.ranges, strict=True):
                pages = [
                    [sealed for page in known.pages for _, sealed in read_pages(file.read, [page])]
                    for file, known in ((one.ntuple, mine), (two.ntuple, theirs))
                ]
                assert pages[0] == pages[1]
                assert all(page.checksum for page in theirs.pages)
                assert (mine.offset, mine.compression) == (theirs.offset, theirs.compression)
        assert two.read().found() == found


def test_new_columns_are_cut_at_the_clusters_of_the_others(tmp_path):
    values = ak.Array([[float(n)] * (n % 4) for n in range(30)])
    copied(RECORDS, tmp_path / "out.root", {"z": values})
    with uproot.open(tmp_path / "out.root") as file:
        tree = file["Events"]
        assert tree["z"].array().to_list() == values.to_list()
        with uproot.open(RECORDS) as original:
            assert tree["Jet"].array().to_list() == original["Events"]["Jet"].array().to_list()
        assert len(tree.cluster_summaries) == 3


@pytest.mark.parametrize("number", [29, 31])
def test_a_new_column_has_as_many_entries_as_the_others(number, tmp_path):
    with pytest.raises(ValueError, match="entries"):
        copied(RECORDS, tmp_path / "out.root", {"z": ak.Array([[1.0]] * number)})


def made_beside(source, ntuple, branches) -> tuple[dict[str, int], dict[str, Made]]:
    tree = source.trees["Events"]
    numbers = {name: tree.field_number(name) for name in branches}
    made = {name.replace("pt", "z0"): Made("<f4", True, name) for name in branches}
    return numbers, made | {"Jet_exact.index": Made("<i4", True)}


@pytest.mark.parametrize(("path", "branch"), [(RECORDS, "Jet.pt"), (NANOAOD, "Jet_pt")], ids=["records", "nanoaod"])
def test_fields_come_back_as_they_were(path, branch, tmp_path):
    out, back = tmp_path / "out.root", tmp_path / "back.root"
    with open_source(path) as source:
        records, found = taken_apart(source, path)
        before = source.trees["Events"].read([branch], 0, 30)[branch]
        fills, surgery = operate(found.ntuple, *made_beside(source, found.ntuple, [branch]))
        with Composer(out, records) as composer:
            composer.copy_all([], lambda *_: None)
            writer = found.writer(composer, fills, ZSTD)
            writer.extend({fill.branch: before for fill in fills})
            found.finish(composer, writer)
            composer.finish([])
    with open_source(out) as source:
        name = branch.replace("pt", "z0")
        assert source.trees["Events"].read([name], 0, 30)[name].to_list() == before.to_list()
        assert branch not in source.trees["Events"].names
        records, found = taken_apart(source, out)
        fills = undo(found.ntuple, Surgery.from_json(surgery.to_json()))
        with Composer(back, records) as composer:
            composer.copy_all([], lambda *_: None)
            writer = found.writer(composer, fills, ZSTD)
            writer.extend({branch: before})
            found.finish(composer, writer)
            composer.finish([])
    with uproot.open(path) as one, uproot.open(back) as other:
        assert one["Events"].header.checksum == other["Events"].header.checksum
        for name in one["Events"].keys(recursive=False):
            assert one["Events"][name].array().to_list() == other["Events"][name].array().to_list()


def test_late_jets_are_refused_by_name(tmp_path):
    path = next(path for path in GOLDEN if path.stem == "types")
    with open_source(path) as source:
        ntuple = taken_apart(source, path)[1].ntuple
        number = find(ntuple.fields, ("late",)).number
        with pytest.raises(UserError, match="'late' was added while events were written.*--rewrite"):
            operate(ntuple, {"late": number}, {})


def test_surgery_on_other_fields_is_damage():
    with open_source(RECORDS) as source:
        _, found = taken_apart(source, RECORDS)
        with pytest.raises(ValueError, match="no field 'z'"):
            undo(found.ntuple, Surgery(made=[("z",)]))


def lying(ntuple, **lies):
    """A copy of an RNTuple whose first cluster lies."""

    class Lying(type(ntuple)):
        def clusters(self):
            for group in super().clusters():
                for cluster in group:
                    known = cluster.ranges[0]
                    cluster.ranges[0] = known._replace(pages=[page._replace(**lies) for page in known.pages])
                yield group

    return Lying(**vars(ntuple))


@pytest.mark.parametrize(
    ("lies", "message"),
    [
        ({"position": 1 << 50}, "does not have"),
        ({"size": (1 << 31) - 1}, "lie over each other"),
        ({"elements": 1 << 31}, "do not hold"),
        ({"position": 300}, "checksum of the page"),
    ],
)
def test_pages_that_lie_are_damage(lies, message):
    with open_source(RECORDS) as source:
        _, found = taken_apart(source, RECORDS)
        with pytest.raises(DamagedFileError, match=message):
            replace(found, ntuple=lying(found.ntuple, **lies)).read()


def test_pages_over_each_other_make_no_large_file():
    with open_source(RECORDS) as source:
        _, found = taken_apart(source, RECORDS)
        found.ntuple.size = 100
        with pytest.raises(DamagedFileError, match="lie over each other"):
            found.read()


def test_clusters_follow_each_other():
    with open_source(RECORDS) as source:
        _, found = taken_apart(source, RECORDS)
        group = found.ntuple.groups[0]
        for wrong in (group._replace(entries=7), group._replace(clusters=9)):
            found.ntuple.groups = [wrong]
            with pytest.raises(DamagedFileError, match="clusters in a group"):
                found.read()
        found.ntuple.groups = [group, group]
        with pytest.raises(DamagedFileError, match="begins at entry 0"):
            found.read()


def test_an_envelope_is_no_gigabytes_long():
    with open_source(RECORDS) as source:
        anchor = taken_apart(source, RECORDS)[1].ntuple.anchor
        for link in (EnvelopeLink(1 << 40, 10, 300), EnvelopeLink(10, 1 << 40, 300), EnvelopeLink(1 << 29, 100, 300)):
            with pytest.raises(ValueError, match="bytes"):
                open_ntuple(replace(anchor, header=link), source.read, RECORDS.stat().st_size)


def test_another_format_is_refused_by_name():
    with open_source(RECORDS) as source:
        anchor = taken_apart(source, RECORDS)[1].ntuple.anchor
        with pytest.raises(UserError, match="format 2.0.0.0.*--rewrite"):
            open_ntuple(replace(anchor, version=(2, 0, 0, 0)), source.read, RECORDS.stat().st_size)


@pytest.mark.parametrize("which", range(3), ids=["header", "footer", "page list"])
def test_envelopes_that_lie_are_damage_or_refused(which, monkeypatch):
    """Their checksums are right, as those of a file that somebody made to harm."""
    known, numbers = ntuple._envelope, np.random.default_rng(which)
    read = []

    def lying(file, link):
        data = bytearray(known(file, link))
        read.append(link)
        if min(len(read), 3) == which + 1:
            place = numbers.integers(8, len(data) - 12)
            data[place : place + 4] = numbers.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\1\0\0\0"]
            )
            data[-8:] = checksum_bytes(bytes(data[:-8])).to_bytes(8, "little")
        return bytes(data)

    monkeypatch.setattr(ntuple, "_envelope", lying)
    refused = 0
    with open_source(RECORDS) as source:
        for _ in range(60):
            read.clear()
            try:
                taken_apart(source, RECORDS)[1].read()
            except AtlasaeError:
                refused += 1
    assert refused > 20


def test_near_pages_are_read_at_once():
    asked = []
    data = bytes(200)
    pages = [NtuplePage(1, 10, 0, False), NtuplePage(1, 10, 20, False), NtuplePage(1, 10, 150, False)]

    def read(start, stop):
        asked.append((start, stop))
        return data[start:stop]

    assert [sealed for _, sealed in read_pages(read, pages)] == [bytes(10)] * 3
    assert asked == [(0, 160)]


# --- split into planes


@pytest.mark.parametrize("kept", [0xFFFFFFFF, 0xFFFF, 0xFF00, 0xFFFF0000, 0])
def test_blocks_of_planes_are_smaller_than_what_they_hold(kept):
    """ROOT reads no others; only planes that get smaller have a block of their own."""
    words = np.random.default_rng(1).integers(0, 1 << 32, 30000, np.uint32) & np.uint32(kept) | np.uint32(0x3F800000)
    page = words.view(np.uint8).reshape(-1, 4).T.tobytes()
    packed = IN_PLANES.pack(page, 4)
    assert unpack_blocks(packed, len(page)) == page and len(packed) <= len(page)
    at = 0
    while len(packed) < len(page) and at < len(packed):
        size, plain = (int.from_bytes(packed[at + k : at + k + 3], "little") for k in (3, 6))
        assert size + 9 < plain
        at += 9 + size


def test_numbers_are_split_and_equal_pages_written_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ntuple, "_PAGE_BYTES", 256)
    random = np.random.default_rng(2)
    counts = random.integers(0, 5, 300)
    lists = ak.unflatten(random.normal(size=counts.sum()), counts)
    columns = {"x": ak.values_astype(lists, np.float32), "y": lists, "text": ak.Array(["a", "", "bcd"] * 100)}
    columns |= {kind: random.integers(0, 100, 300).astype(kind) for kind in ("i1", "u1", "i2", "u2", "i8", "u8", "?")}
    columns["nan"] = np.frombuffer(b"\1\0\x80\x7f" * 300, "<f4")  # a signalling NaN
    with uproot.recreate(tmp_path / "in.root", compression=None) as file:
        file.mkrntuple("Events", ak.Array(columns).layout.form)
        for start in (0, 100):
            file["Events"].extend({name: array[start : start + 100 + start] for name, array in columns.items()})
    with open_source(tmp_path / "in.root") as source:
        records, found = taken_apart(source, tmp_path / "in.root")
        with Composer(tmp_path / "out.root", records) as composer:
            composer.copy_all([], lambda *_: None)
            found.split(composer, IN_PLANES)
            composer.finish([])
    with uproot.open(tmp_path / "out.root") as file, open_source(tmp_path / "out.root") as source:
        again = file["Events"].arrays()
        for name, array in columns.items():
            flat = [ak.to_numpy(ak.flatten(one, axis=None)).tobytes() for one in (ak.Array(array), again[name])]
            assert flat[0] == flat[1], name
        _, made = taken_apart(source, tmp_path / "out.root")
        for cluster in (cluster for group in made.ntuple.clusters() for cluster in group):
            one, other = (find(made.ntuple.fields, (name,)).columns[0].number for name in ("x", "y"))
            assert [page.position for page in cluster.ranges[one].pages] == [
                page.position for page in cluster.ranges[other].pages
            ]
            assert all(page.checksum for known in cluster.ranges for page in known.pages)
