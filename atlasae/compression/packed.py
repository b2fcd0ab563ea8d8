"""One collection on its way through a file in the packed layout: four branches to one of bytes, and back."""

import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.codecs.codec import encode_and_compare
from atlasae.codecs.lattice import Lattice
from atlasae.codecs.packed import Columns, PackedCodec
from atlasae.codecs.priors import Priors, default_priors, packaged_priors
from atlasae.compression.collection import Counted, Start, as_rounded, or_other_units
from atlasae.compression.plan import Options, Plan
from atlasae.errors import UserError
from atlasae.files.events import Array, Counts, counts_of, unflatten
from atlasae.files.remote import local
from atlasae.jets.collections import Collection
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import Bools
from atlasae.jets.padding import Codes, Padding
from atlasae.jets.precision import Precision
from atlasae.jets.stored import Storage, blocks, storage_of
from atlasae.jets.units import settle

FINEST = 1e-5  # bound: the tables of finer grids would take long to make
MOST_JETS = 2**25  # of a chunk
WORD = np.dtype("<u4")
_EXACT = [{"id": lzma.FILTER_LZMA1, "preset": 9, "lc": 1, "lp": 0, "pb": 0, "dict_size": 1 << 20}]  # of byte planes


@dataclass
class PackedCompressor(Counted):
    """One collection on its way through the chunks: its codec, and what became of its jets."""

    collection: Collection
    codec: PackedCodec
    storage: Storage
    bounds: dict[str, float]

    def compress(self, events: Mapping[str, ak.Array]) -> dict[str, ak.Array]:
        """The branch of bytes that stands in for the jets of these events: all in the first, none in the others."""
        columns, counts = to_columns(self.collection, events)
        if len(columns[0]) > MOST_JETS:
            raise UserError(f"{len(columns[0])} jets in a chunk, {MOST_JETS} at most: give a smaller --step-size")
        # What a file says is decided by whole numbers: no machine decodes to another float than the next one.
        drift = steps_apart(self.storage)
        found = encode_and_compare(self.codec.lattice, self.storage, self.bounds, columns, drift)
        codes = self.codec.padding.find(columns)
        exact = found.exact & (codes == 0)
        content = pack(self.codec, found.latents.T, exact, counts, columns, codes)
        self.count(columns, exact, found.largest)
        lengths = np.zeros(len(counts), np.int64)
        lengths[:1] = len(content)
        (name,) = self.collection.latents
        return {name: unflatten(np.frombuffer(content if len(counts) else b"", np.uint8), lengths, jagged=True)}

    def note(self) -> str | None:
        """What the user should know of the jets so far."""
        return self.many_exact(
            self.collection.name, "they are beyond the grid, or unphysical" + or_other_units(self.collection)
        )


def steps_apart(storage: Storage) -> float:
    """How far decoded jets may lie apart on two machines: a step of the stored floats."""
    return 16 * storage.rounding  # of |eta| below 10, absolute


def start_packing(plan: Plan, options: Options, sample: Mapping[str, ak.Array]) -> Start:
    """Choose a compressor for every collection by a sample of the jets; raises UserError."""
    priors = load_priors(options.model)
    settled = settle(plan.collections, options.units, [to_columns(c, sample)[0] for c in plan.collections])
    compressors = [start_packed(c, options.precision, priors, sample, options.context) for c in settled]
    embedded = {} if packaged_priors(priors.sha256) else {priors.sha256: priors.content}
    return Start(compressors, priors.sha256, embedded)


def load_priors(name: str) -> Priors:
    """The packaged tables `default`, or those of a file; raises UserError."""
    if name == "default":
        return default_priors()
    path = local(name, "copy it here")
    if not path.is_file():
        raise UserError(f"no tables '{name}': give a file that `atlasae train --arch tables` made, or `default`")
    try:
        priors = Priors.from_bytes(path.read_bytes())
        PackedCodec(priors, Lattice((1.0,) * 4))
    except ValueError as error:
        raise UserError(f"'{name}' has no tables to pack by: make some with `atlasae train --arch tables`") from error
    return priors


def start_packed(
    settled: Collection, precision: Precision, priors: Priors, events: Mapping[str, ak.Array], context: bool
) -> PackedCompressor:
    """Settle grid and padding of a collection, whose units are known; raises UserError for what packs nothing."""
    columns, _ = to_columns(settled, events)
    settled = as_rounded(settled, precision, columns)
    storage = storage_of(settled)
    bounds = precision.of(storage.layout)
    if precision.full or precision.unbounded or min(bounds.values()) < FINEST:
        raise UserError(f"--layout packed keeps a bound: give --precision a number of {FINEST:g} or more, such as 1e-3")
    wanted = storage.steps(bounds, columns, steps_apart(storage))
    lattice = Lattice((wanted[0], wanted[1], wanted[2], wanted[3]))
    padding = storage.padding(columns)
    return PackedCompressor(settled, PackedCodec(priors, lattice, context, padding), storage, bounds)


def packed_codec_of(config: dict[str, Any], priors: Priors) -> PackedCodec:
    """The codec that `config` described; raises ValueError where it describes none."""
    wanted, context = config["steps"], config["context"]
    if not (isinstance(context, bool) and len(wanted) == 4 and all(isinstance(step, float) for step in wanted)):
        raise ValueError("steps or context of another kind")
    lattice = Lattice((wanted[0], wanted[1], wanted[2], wanted[3]))
    return PackedCodec(priors, lattice, context, Padding.of_config(config))


def restore_packed(
    collection: Collection, codec: PackedCodec, events: Mapping[str, ak.Array], counts: Counts
) -> dict[str, ak.Array]:
    """The original four branches of a chunk; undoes `PackedCompressor.compress`. Raises ValueError for other bytes."""
    (name,) = collection.latents
    content = ak.to_numpy(ak.flatten(events[name], axis=None)).astype(np.uint8).tobytes()
    storage = storage_of(collection)
    columns = unpack(codec, storage, content, counts) if len(counts) else _empty(storage)
    named = zip(collection.branches.values(), columns, strict=True)
    return {branch: unflatten(column, counts, collection.jagged) for branch, column in named}


def pack(
    codec: PackedCodec,
    cells: Columns,
    exact: Bools,
    counts: Counts,
    columns: Sequence[Array],
    codes: Codes | None = None,
) -> bytes:
    """The bytes of a chunk: the exact jets (how many bytes they take, where they are, what they are), then words."""
    kept = b""
    if exact.any():
        where = np.diff(np.flatnonzero(exact), prepend=0)
        planes = _planes(where.astype(WORD)) + b"".join(_planes(column[exact]) for column in columns)
        kept = lzma.compress(planes, format=lzma.FORMAT_RAW, filters=_EXACT)
        kept += b"\0" * (-len(kept) % WORD.itemsize)  # so that the basket is of whole words, as `baskets` expects
    words = codec.encode(cells[:, ~exact], counts_of(~exact, counts), None if codes is None else codes[~exact])
    return np.array([int(exact.sum()), len(kept)], WORD).tobytes() + kept + words.astype(WORD).tobytes()


def unpack(codec: PackedCodec, storage: Storage, content: bytes, counts: Counts) -> list[npt.NDArray[np.generic]]:
    """The four columns of a chunk; the inverse of `pack`."""
    jets, (number, size) = int(counts.sum()), np.frombuffer(content[:8], WORD).tolist()
    where, originals = _kept(content[8 : 8 + size], number, jets, storage)
    exact = np.zeros(jets, bool)
    exact[where] = True
    words = np.frombuffer(content[8 + size :], WORD).astype(np.uint32)
    cells, codes = codec.decode_padded(words, counts_of(~exact, counts))
    columns = _empty(storage, jets)
    there = np.flatnonzero(~exact)
    for block in blocks(cells.shape[1]):
        rows = there[codes == 0][block] if number or codes.any() else block
        restored = storage.to_columns(storage.from_rows(codec.lattice.jets(cells[:, block])))
        for column, values in zip(columns, restored, strict=True):
            column[rows] = values
    for column, values in zip(columns, originals, strict=True):
        column[where] = values
    all_codes = np.zeros(jets, np.int32)
    all_codes[there] = codes
    codec.padding.fill(columns, all_codes)
    return columns


def _kept(content: bytes, number: int, jets: int, storage: Storage) -> tuple[npt.NDArray[np.int64], list[Array]]:
    """Where the exact jets are, and their four originals."""
    if not number:
        return np.empty(0, np.int64), _empty(storage)
    types = [WORD, *storage.dtypes]
    expected = number * sum(dtype.itemsize for dtype in types)
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_EXACT)
    try:
        raw = unpacker.decompress(content, expected + 1) if number <= jets else b""
    except lzma.LZMAError as error:
        raise ValueError(f"{number} exact jets can't be unpacked") from error
    if len(raw) != expected:
        raise ValueError(f"{number} exact jets do not fit")
    ends = np.cumsum([0, *(number * dtype.itemsize for dtype in types)]).tolist()
    parts = [_from_planes(raw[ends[i] : ends[i + 1]], dtype) for i, dtype in enumerate(types)]
    where = np.cumsum(parts[0].astype(np.int64))
    if (np.diff(where) <= 0).any() or where[-1] >= jets:
        raise ValueError("exact jets that are not there")
    return where, parts[1:]


def _planes(values: Array) -> bytes:
    """The first bytes of all numbers, then the second ones, and so on: they compress better."""
    return values.view(np.uint8).reshape(len(values), -1).T.tobytes()


def _from_planes(content: bytes, dtype: np.dtype[Any]) -> Array:
    planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1)
    return np.asarray(np.ascontiguousarray(planes.T).view(dtype)[:, 0])


def _empty(storage: Storage, jets: int = 0) -> list[npt.NDArray[np.generic]]:
    return [np.empty(jets, dtype) for dtype in storage.dtypes]
