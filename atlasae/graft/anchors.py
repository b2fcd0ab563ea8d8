"""The RNTuples among the records of a file: found by their anchors, and copied to another file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atlasae.files.damage import damage
from atlasae.files.writing import ALGORITHMS, PLANES, RECORDS, pack_apart, pack_blocks
from atlasae.graft.composing import Composer
from atlasae.graft.envelopes import Anchor
from atlasae.graft.ntuple import Fill, Ntuple, NtupleWriter, Packing, SplittingWriter, open_ntuple
from atlasae.graft.records import Folder, RecordKey, Records
from atlasae.graft.trees import RNTUPLE, payload_of

_FEW = 1 << 14  # bytes of a page or an envelope that is small
_OF_FEW = ALGORITHMS["zstd"](19)  # for pages so small that the 60 bytes that an xz stream needs are much


@dataclass
class GraftedNtuple:
    """An RNTuple of a file, with its path, its folder and the key of its anchor."""

    path: str
    folder: Folder
    key: RecordKey
    ntuple: Ntuple

    @property
    def called(self) -> str:
        """The RNTuple as messages name it."""
        return f"RNTuple '{self.path}'"

    def writer(
        self, composer: Composer, fills: Sequence[Fill], packing: Packing, edges: Sequence[int] = ()
    ) -> NtupleWriter:
        """A writer of its fields, as they are now."""
        return NtupleWriter(self.ntuple, self.ntuple.fields, fills, composer, packing, edges)

    def finish(self, composer: Composer, writer: NtupleWriter) -> None:
        """Write the rest, and the anchor in the place of that of the input."""
        composer.add_anchor(self.folder, self.key, writer.finish())

    def copy(self, composer: Composer, packing: Packing, edges: Sequence[int] = ()) -> NtupleWriter:
        """Copy it with all its pages; returns the writer, which has their checksums."""
        with damage(self.called):
            self.finish(composer, writer := self.writer(composer, (), packing, edges))
        return writer

    def split(self, composer: Composer, packing: Packing) -> None:
        """Copy it with its numbers split into planes of bytes, in pages that are packed anew."""
        with damage(self.called):
            self.finish(composer, SplittingWriter(self.ntuple, composer, packing))

    def read(self, edges: Sequence[int] = ()) -> NtupleWriter:
        """Read all pages; returns a writer, which has their checksums."""
        nothing = Packing(lambda page, _: page, bytes, 0)
        with damage(self.called):
            writer = NtupleWriter(self.ntuple, self.ntuple.fields, (), _Nowhere(), nothing, edges)
            writer.finish()
        return writer


class _Nowhere:
    """Takes pages and envelopes, and keeps none."""

    def write_blob(self, parts: Iterable[bytes], size: int) -> int:
        """Read the parts."""
        for _ in parts:
            pass
        return 0


def packing(compression: Any) -> Packing:
    """How pages and envelopes are compressed, from a compression of uproot's, or ZSTD where that is smaller."""
    return Packing(lambda page, _: _packed(page, compression), _packed_envelope, compression.code)


def _packed(data: bytes, usual: Any) -> bytes:
    ways = (usual, _OF_FEW) if len(data) < _FEW else (usual,)
    return min((pack_blocks(data, way) for way in ways), key=len)


def _packed_envelope(made: bytes) -> bytes:
    return _packed(made, RECORDS)


def _packed_planes(page: bytes, planes: int) -> bytes:
    """A page with its planes packed one by one, or as a whole where that is smaller."""
    width = len(page) // planes
    apart = pack_apart([page[at : at + width] for at in range(0, len(page), max(1, width))])
    return min(_packed(page, PLANES), apart, key=len)


IN_PLANES = Packing(_packed_planes, _packed_envelope, PLANES.code)


def ntuples_of(records: Records) -> list[GraftedNtuple]:
    """All RNTuples of a file, older cycles included; raises DamagedFileError, and UserError for a later format."""
    found = []
    for path, folder in records.root.walk():
        for key in folder.keys:
            if key.class_name == RNTUPLE:
                with damage(f"RNTuple '{path}{key.path_name}'"):
                    anchor = Anchor.from_bytes(payload_of(records, key))
                    ntuple = open_ntuple(anchor, records.read, records.head.end)
                found.append(GraftedNtuple(f"{path}{key.path_name}", folder, key, ntuple))
    return found


def newest_ntuple(found: Sequence[GraftedNtuple], path: str) -> GraftedNtuple:
    """The latest cycle of the RNTuple with this path; raises ValueError if there is none."""
    named = [one for one in found if one.path == path]
    if not named:
        raise ValueError(f"there is no RNTuple '{path}'")
    return max(named, key=lambda one: one.key.cycle)
