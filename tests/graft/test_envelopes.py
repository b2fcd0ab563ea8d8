"""Envelopes of RNTuples: what ROOT wrote comes out byte for byte, and lies are damage."""

import struct
from pathlib import Path

import pytest
import xxhash

from atlasae.errors import UserError
from atlasae.files.sources import unpack_blocks
from atlasae.files.trees import open_source
from atlasae.graft.envelopes import (
    FOOTER,
    HEADER,
    PAGE_LIST,
    Anchor,
    Cluster,
    Cursor,
    EnvelopeLink,
    FieldRecord,
    Group,
    NtuplePage,
    Range,
    Schema,
    envelope,
    open_envelope,
    read_features,
    read_groups,
    read_page_list,
    read_schema,
    read_sets,
    write_footer,
    write_header,
    write_page_list,
    write_schema,
)  # fmt: skip
from atlasae.graft.records import Records
from atlasae.graft.trees import RNTUPLE, payload_of

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "rntuple").glob("*.root"))


def parts_of(path: Path) -> tuple[Anchor, bytes, bytes, list[bytes]]:
    """The anchor, the header, the footer and the page lists of a file."""
    with open_source(path) as source:
        records = Records(source.read, path.stat().st_size)
        (key,) = (key for key in records.root.keys if key.class_name == RNTUPLE)
        anchor = Anchor.from_bytes(payload_of(records, key))

        def read(link: EnvelopeLink) -> bytes:
            return unpack_blocks(source.read(link.position, link.position + link.size), link.length)

        header, footer = read(anchor.header), read(anchor.footer)
        cursor = open_envelope(FOOTER, footer)
        cursor.at += 16
        cursor.record()
        return anchor, header, footer, [read(group.link) for group in read_groups(cursor)]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_envelopes_that_root_wrote_are_written_alike(path):
    anchor, header, footer, page_lists = parts_of(path)
    assert Anchor.from_bytes(anchor.to_bytes()) == anchor
    cursor = open_envelope(HEADER, header)
    read_features(cursor)
    names = [cursor.text() for _ in range(3)]
    assert write_header(*names, read_schema(cursor)) == header
    cursor = open_envelope(FOOTER, footer)
    read_features(cursor)
    assert cursor.number() == int.from_bytes(header[-8:], "little")
    late, groups = read_schema(cursor.record()), read_groups(cursor)
    read_sets(cursor)
    assert write_footer(header, late, groups, anchor.version) == footer
    for page_list in page_lists:
        assert write_page_list(header, read_page_list(page_list)) == page_list


def test_pages_beyond_two_gigabytes_and_suppressed_columns_come_back():
    large = NtuplePage(7, 1 << 32, 1 << 40, True)
    clusters = [Cluster(0, 5, [Range([large, NtuplePage(1, 8, 99, False)], 0, 505), Range([], -(1 << 63), None)])]
    made = write_page_list(bytes(8), clusters)
    assert read_page_list(made) == clusters
    assert struct.pack("<i", -(1 << 24 | 20)) in made


def test_an_envelope_is_known_by_its_kind_length_and_checksum():
    made = bytearray(envelope(HEADER, b"payload"))
    assert open_envelope(HEADER, bytes(made)).at == 8
    for wrong in (made[:-1], made[:10], made + b"\0", made[:9] + b"?" + made[10:]):
        with pytest.raises(ValueError, match="envelope"):
            open_envelope(HEADER, bytes(wrong))
    with pytest.raises(ValueError, match="kind"):
        open_envelope(PAGE_LIST, bytes(made))


@pytest.mark.parametrize("size", [-1, 0, 7, 1 << 40, -(1 << 62)])
def test_a_frame_that_lies_about_its_size_is_damage(size):
    with pytest.raises(ValueError, match="frame"):
        Cursor(struct.pack("<q", size) + bytes(20)).record()
    with pytest.raises(ValueError, match="frame"):
        Cursor(struct.pack("<qI", -size, 1) + bytes(20)).items()


def test_more_pages_than_there_are_bytes_are_damage():
    with pytest.raises(ValueError, match="ends"):
        Cursor(bytes(40)).pages(1 << 31)


def schema_with(field: bytes = b"", flags: int = 0) -> bytes:
    """A schema of one field with flags, and bytes behind what is known."""
    made = write_schema(Schema(fields=[FieldRecord(0, 0, 0, 0, "odd", "", "", "")]))
    body = bytearray(made[12 + 8 : 12 + struct.unpack_from("<q", made, 12)[0]])
    struct.pack_into("<H", body, 14, flags)
    record = struct.pack("<q", len(body) + len(field) + 8) + bytes(body) + field
    listed = struct.pack("<qI", -len(record) - 12, 1) + record
    return listed + struct.pack("<qI", -12, 0) * 3


def test_what_a_later_format_has_is_refused_by_name():
    assert read_schema(Cursor(schema_with())).fields[0].name == "odd"
    for made in (schema_with(b"more"), schema_with(flags=0x10)):
        with pytest.raises(UserError, match="'odd'.*--rewrite"):
            read_schema(Cursor(made))
    with pytest.raises(UserError, match="features"):
        read_features(Cursor(struct.pack("<q", 4)))
    with pytest.raises(UserError, match="sets of attributes"):
        read_sets(Cursor(struct.pack("<qI", -12, 1)))
    with pytest.raises(UserError, match="locator of type 2"):
        Cursor(struct.pack("<i", -(2 << 24 | 16)) + bytes(12)).locator()


def test_an_anchor_is_known_by_its_version_and_checksum():
    made = Anchor((1, 0, 0, 0), EnvelopeLink(1, 2, 3), EnvelopeLink(4, 5, 6), 7).to_bytes()
    assert made[-8:] == struct.pack(">Q", xxhash.xxh3_64_intdigest(made[6:-8]))
    with pytest.raises(ValueError, match="checksum"):
        Anchor.from_bytes(made[:20] + b"?" + made[21:])
    with pytest.raises(ValueError, match="bytes"):
        Anchor.from_bytes(made[:40])
    with pytest.raises(UserError, match="version 3"):
        Anchor.from_bytes(made[:5] + b"\3" + made[6:])


def test_a_page_list_has_pages_for_each_of_its_clusters():
    none, one = struct.pack("<qI", -12, 0), struct.pack("<qI", -24, 1)
    payload = bytes(8) + none + one + none  # no summaries; the pages of a cluster without columns
    with pytest.raises(ValueError, match="1 lists of pages for 0 clusters"):
        read_page_list(envelope(PAGE_LIST, payload))


def test_groups_tell_where_their_page_list_is():
    groups = [Group(0, 5, 1, EnvelopeLink(10, 9, 8)), Group(5, 1, 1, EnvelopeLink(1 << 33, 1 << 32, 8))]
    made = write_footer(bytes(8), Schema(), groups, (1, 0, 0, 0))
    cursor = open_envelope(FOOTER, made)
    cursor.at += 16
    cursor.record()
    assert read_groups(cursor) == groups
