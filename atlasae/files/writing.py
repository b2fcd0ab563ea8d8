"""Writing ROOT files: trees, RNTuples and other objects."""

from __future__ import annotations  # `atlasae info` does without awkward

import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot

from atlasae.errors import UserError
from atlasae.files.checksums import checksum_bytes
from atlasae.files.damage import damage
from atlasae.files.events import plain_lists
from atlasae.files.leaves import write_leaves
from atlasae.files.rntuple import (
    assemble,
)
from atlasae.report import line_of
from atlasae.threads import side_by_side
from atlasae.xz import are_runs, compress_basket, compress_text, compress_words, store_basket

OBJECTS = uproot.ZLIB(6)  # hadd adds histograms up, so no checksum of atlasae covers them; ZLIB has one of its own
ZEROS = uproot.ZSTD(5)  # for branches of zeros, for which xz headers are too large
SMALL = 1000  # bytes of a basket by LZMA, of which a third may be headers
_NOTHING = 1000  # times fewer bytes, so that LZMA, which takes 20 times as long, is not worth trying
PAGES = uproot.LZMA(9)  # for an RNTuple with latents: all its fields have one compression
PLANES = uproot.ZSTD(5)  # for the planes of bytes of an RNTuple's numbers: LZMA takes 80 times as long for 0.5 % less
ALGORITHMS = {"zlib": uproot.ZLIB, "lzma": uproot.LZMA, "lz4": uproot.LZ4, "zstd": uproot.ZSTD}
_DEFAULT_COMPRESSION = uproot.ZSTD(5)
_BLOCK_HEAD = 9  # bytes in front of a block
_MANY, _BLOCK = 400_000, 1 << 24  # bytes that are worth a thread; of a block, which may hold no more
UNNAMED = "uproot writes no name with an empty part beside a slash"


@dataclass(frozen=True)
class _Packed:
    """Compressed four-byte values of a basket, and the checksum of these values."""

    checksum: int
    words: bytes

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> _Packed:
        data = values.astype(values.dtype.newbyteorder(">")).tobytes()
        return cls(checksum_bytes(data), compress_words(data))


PackedWords = Mapping[str, _Packed]  # by branch


def pack_words(branches: Iterable[str], shared: bool, events: Mapping[str, ak.Array]) -> PackedWords:
    """Compress the words of events that take longest, which several threads may do, or share."""
    values = {name: found[0] for name in branches if name in events and (found := plain_lists(events[name]))}
    many = [name for name, found in values.items() if _MANY < found.nbytes < _BLOCK]
    with side_by_side(lambda name: _Packed.of(values[name]), many, shared) as packed:
        return dict(zip(many, packed, strict=True))


class BasketLZMA(uproot.LZMA):  # type: ignore[misc]  # uproot has no types
    """LZMA for branches of four-byte values, with the filters of `atlasae.xz`; `ZEROS` where it is smaller.

    That is where nearly all values are equal: each block says how it was compressed.
    """

    ready: _Packed | None = None  # the values of the next basket

    def _words(self, data: bytes) -> bytes:
        ready, self.ready = self.ready, None
        return ready.words if ready and ready.checksum == checksum_bytes(data) else compress_words(data)

    def compress(self, data: bytes) -> bytes:
        """Compress one block of a basket, and set the method that its header will tell."""
        short = bytes(ZEROS.compress(data)) if are_runs(data) else b""
        kind, packed = uproot.ZSTD, short
        if not 0 < len(short) * _NOTHING < len(data):
            kind, packed = uproot.LZMA, compress_basket(bytes(data), self._words)
            if len(packed) < SMALL and len(short := short or bytes(ZEROS.compress(data))) < len(packed):
                kind, packed = uproot.ZSTD, short
        self._2byte, self._method = kind._2byte, kind._method
        return packed


class TextLZMA(uproot.LZMA):  # type: ignore[misc]  # uproot has no types
    """LZMA for names and records."""

    def compress(self, data: bytes) -> bytes:
        """Compress one block."""
        return compress_text(bytes(data))


class StoredLZMA(uproot.LZMA):  # type: ignore[misc]  # uproot has no types
    """LZMA for branches of packed bytes, stored as they are: they can't be compressed further."""

    def compress(self, data: bytes) -> bytes:
        """Store one block of a basket."""
        return store_basket(bytes(data))


RECORDS = TextLZMA(9)  # for streamer infos and envelopes, and the folder of a grafted file


def can_name(name: str) -> bool:
    """Whether uproot can write this name: no part between slashes may be empty, for it makes folders of them."""
    return all(name.split("/"))


class Target:
    """A ROOT file being written, tree by tree."""

    def __init__(self, file: Any, compression: Any = None, numbered: bool = False) -> None:
        """Write to a file; `compression` is that of trees for which none is said, by default that of the file.

        With `numbered`, trees are called 0, 1, ...: every basket has the name of its tree.
        """
        self.file, self._compression, self._numbered = file, compression, numbered
        self._trees: list[Any] = []

    def make_tree(
        self,
        name: str,
        columns: Mapping[str, ak.Array],
        title: str = "",
        counters: Mapping[str, str] | None = None,
        compression: Any = None,
        words: Collection[str] = (),
    ) -> Writer:
        """Declare a tree with branches of the types of `columns`, whose values are not written.

        `counters` names the counter of a jagged branch, `n<branch>` unless given; branches may share one. `words` are
        branches (or counters) of four-byte values, compressed with `BasketLZMA`.
        """
        counters, name = counters or {}, str(len(self._trees)) if self._numbered else name
        types = {column: _declared(array) for column, array in columns.items()}
        tree = self.file.mktree(name, types, title=title, counter_name=lambda c: counters.get(c, f"n{c}"))
        if compression := compression or self._compression:
            tree.compression = compression
        packing = {column: BasketLZMA(9) for column in words}
        for column, method in packing.items():
            tree[column].compression = method
        self._trees.append(tree)
        return Writer(tree, words={column: method for column, method in packing.items() if column in columns})

    def make_ntuple(
        self, name: str, columns: Mapping[str, ak.Array], title: str = "", places: Mapping[str, str] | None = None
    ) -> Writer:
        """Declare an RNTuple with fields of the types of `columns`; those in `places` become members of records."""
        form = _assembled(columns, places or {}).layout.form
        return Writer(self.file.mkrntuple(name, form, description=title), places or {})

    def write_object(self, name: str, thing: Any) -> None:
        """Write a histogram, a string (as TObjString) or another object."""
        before, self.file.compression = self.file.compression, OBJECTS
        try:
            self.file[name] = thing
        finally:
            self.file.compression = before

    def finish(self) -> None:
        """Mend leaf titles after all is written, for a tree moves in the file while it grows."""
        for tree in self._trees:
            write_leaves(tree)


@dataclass
class Writer:
    """A tree being filled, with branches of words; an RNTuple has `places`."""

    tree: Any
    places: Mapping[str, str] | None = None
    words: dict[str, BasketLZMA] = field(default_factory=dict)

    def expect_zeros(self, branches: Collection[str]) -> None:
        """Compress these branches as `ZEROS`; call it before anything is written."""
        self._compress(branches, ZEROS)

    def store(self, branches: Collection[str]) -> None:
        """Store these branches of packed bytes as they are; call it before anything is written."""
        self._compress(branches, StoredLZMA(9))

    def _compress(self, branches: Collection[str], method: Any) -> None:
        for name in branches:
            self.tree[name].compression = method

    def expect_words(self, packed: PackedWords) -> None:
        """Write these words, which are compressed already, with the next events."""
        for name, words in packed.items():
            self.words[name].ready = words

    def extend(self, events: Mapping[str, ak.Array]) -> None:
        """Append events; an empty chunk writes nothing, because ROOT can't read an empty cluster."""
        if len(next(iter(events.values()))):
            self.tree.extend(dict(events) if self.places is None else _assembled(events, self.places))


@contextmanager
def create(
    path: Path, compression: Any = _DEFAULT_COMPRESSION, told: Any = None, trees: Any = None, numbered: bool = False
) -> Iterator[Target]:
    """Open a ROOT file for writing; the pages of an RNTuple get the compression of the file, trees that of `trees`.

    `told` is the compression to note in the file, if that of its branches differs: uproot can't note it per branch.
    `numbered` as for `Target`.
    """
    with uproot.recreate(path, compression=compression) as file:
        target = Target(file, trees, numbered)
        yield target
        target.finish()
        file.compression = told or compression


class _InMemory(io.BytesIO):
    """A file in memory that stays when uproot closes it."""

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def create_in_memory() -> Iterator[tuple[Target, io.BytesIO]]:
    """Open a ROOT file in memory for writing; its bytes are there at the end of the `with` block."""
    buffer = _InMemory()
    with uproot.recreate(buffer, compression=ALGORITHMS["lzma"](9)) as file:
        target = Target(file, RECORDS)
        yield target, buffer
        target.finish()


def pack_blocks(data: bytes, compression: Any) -> bytes:
    """Compress the bytes of a record to blocks; where that makes them no smaller, they stay as they are."""
    return bytes(uproot.compression.compress(data, compression))


def pack_apart(parts: Iterable[bytes]) -> bytes:
    """Compress parts of a record, together less than 16 MB, by `PLANES` to blocks of their own.

    A part that gets no smaller shares a block with the next: ROOT reads no block that is larger than what it holds. If
    the last ones get no smaller, all stay as they are.
    """
    blocks, whole, rest = list[bytes](), b"", b""
    for part in parts:
        whole, rest = whole + part, rest + part
        block = bytes(PLANES.compress(rest))
        if len(block) + _BLOCK_HEAD < len(rest):
            sizes = len(block).to_bytes(3, "little") + len(rest).to_bytes(3, "little")
            blocks.append(b"ZS\1" + sizes + block)
            rest = b""
    return whole if rest else b"".join(blocks)


def parse_compression(text: str) -> Any:
    """The compression that `zstd:5`, `lzma:9` ... stand for; raises UserError."""
    name, _, level = text.partition(":")
    if name not in ALGORITHMS or not (level or "5").isdigit():
        raise UserError(f"--compression '{text}': give one of {', '.join(ALGORITHMS)} and a level, such as zstd:5")
    try:
        return ALGORITHMS[name](int(level or "5"))
    except ValueError as error:
        raise UserError(f"--compression '{text}': {line_of(error)}") from error


def compression_of(code: int) -> Any:
    """The compression of a setting in a file; None for no compression or an unknown one."""
    algorithm, level = divmod(code, 100)
    try:  # settings below 100 are levels of ZLIB
        return uproot.compression.Compression.from_code_pair(algorithm or uproot.const.kZLIB, level)
    except ValueError:
        return None


def _assembled(events: Mapping[str, ak.Array], places: Mapping[str, str]) -> ak.Array:
    with damage("what tells the records of members"):
        return assemble(events, places)


def _declared(array: ak.Array) -> Any:
    """The type that mktree and mkrntuple need for an array."""
    layout = array.layout
    if layout.parameter("__array__") == "string":
        return "string"
    if layout.is_list and not layout.is_regular:
        return layout.form.type
    values = ak.to_numpy(array)
    return np.dtype((values.dtype, values.shape[1:]))
