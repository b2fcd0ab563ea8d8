"""The packed layouts: the four branches of a collection, or all others of its jets, as bytes, and back."""

import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import local as local_to_thread
from typing import Any, ClassVar, Self

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.codecs.codec import Encoded, RowCoder, encode_and_compare, encode_in_passes
from atlasae.codecs.columns import (
    CodedColumn,
    ColumnsCodec,
    ListCodec,
    VariedCodec,
    fit_cells,
    fit_columns,
    fit_varied,
)  # fmt: skip
from atlasae.codecs.dither import MASK
from atlasae.codecs.entropy import Cells, Integers
from atlasae.codecs.lattice import GridCells, Lattice, ListLattice, ShiftedLattice, VariedGrid, jet_pass
from atlasae.codecs.packed import Columns, PackedCodec
from atlasae.codecs.priors import Priors, default_priors, packaged_priors
from atlasae.codecs.resolved import ResolvedLattice, ResolvedSteps, lattice_of
from atlasae.compression.collection import (
    CompressedJets,
    Compressor,
    FileLayout,
    JetsLayout,
    Start,
    as_rounded,
)  # fmt: skip
from atlasae.compression.format import CompressedCollection, Run
from atlasae.compression.plan import Options, Plan
from atlasae.errors import DamagedFileError, UserError
from atlasae.files.checksums import buffer_of, checksum_bytes
from atlasae.files.damage import FACTS, damage
from atlasae.files.events import Array, Counts, counts_of, numbers_in, plain_lists, unflatten
from atlasae.files.remote import local
from atlasae.jets.collections import Collection, as_its_jets
from atlasae.jets.columns import SAMPLED, in_runs, settle_by, to_branches, to_coded_columns, to_columns
from atlasae.jets.coordinates import Bools, Floats, by_column
from atlasae.jets.kinds import Kind
from atlasae.jets.padding import Codes, Config, Padding
from atlasae.jets.stored import ROWS, Storage, blocks, storage_of
from atlasae.jets.variables import JET, Variable, VariableList

_FINEST = 1e-5  # smallest bound: tables of finer grids take too long to compute
_LEARNED = 50_000  # jets of the sample from which kinds and contexts of columns are found
MOST_JETS = 2**25  # in a chunk
AnyLattice = Lattice | ResolvedLattice | ListLattice
Dtypes = Sequence[np.dtype[Any]]
WORD = np.dtype("<u4")
_SHARE_OF_FULL = 0.03  # bound of a variation, of that of jets with all bits of three floats
_SHARE_OF_WIDTH = 0.9  # step, of twice the bound by resolution of the nominal jet: that of the variation may be less
_LEARNED_VARIED = 10_000  # jets of the sample from which contexts of variations, which are many, are found
_UNTOLD = (CodedColumn(Kind("integer")),) * 2
_EXACT = [{"id": lzma.FILTER_LZMA1, "preset": 9, "lc": 1, "lp": 0, "pb": 0, "dict_size": 1 << 20}]  # for byte planes


@dataclass(frozen=True)
class PackedLayout:
    """All jets of a chunk as bytes in its first entry; the number of jets per event is given by a counter."""

    collection: Collection
    codec: PackedCodec
    by_chunk: ClassVar[bool] = True

    @classmethod
    def start(cls, plan: Plan, options: Options, sample: Mapping[str, ak.Array], entries: int) -> Start:
        """The compressors of all collections, with grids and padding chosen on a sample; raises UserError."""
        priors = load_priors(options.model)
        settled = settle_by(plan.collections, options.units, sample)
        compressors = [start_packed(c, options, priors, sample) for c in settled]
        embedded = {} if packaged_priors(priors.sha256) else {priors.sha256: priors.content}
        return Start(compressors, priors.sha256, embedded)

    @classmethod
    def from_config(cls, entry: CompressedCollection, content: bytes | None) -> Self:
        """The layout of a compressed collection; raises UserError for unknown tables, DamagedFileError."""
        sha = entry.model_sha256
        with damage(f"the tables or the codec of '{entry.collection.name}'", *FACTS):
            priors = Priors.from_bytes(content) if content is not None else packaged_priors(sha)
            if priors is not None:
                return cls(entry.collection, packed_codec_of(entry.codec, priors))
        raise UserError(f"tables {sha[:12]} are neither in the file nor in this atlasae: upgrade atlasae")

    def counts(self, run: Run, events: Mapping[str, ak.Array]) -> Counts:
        """The number of jets in each compressed event; raises DamagedFileError for impossible numbers."""
        return _counted(self.collection, run, events)

    def compress(self, columns: Sequence[Array], counts: Counts, bounds: dict[str, float]) -> CompressedJets:
        """The branch of bytes of the jets of a chunk: all bytes in the first entry, none in the others."""
        _refuse_long(len(columns[0]))
        # Cells are decoded by integers, so that decoded jets differ by at most `steps_apart` between machines.
        storage = storage_of(self.collection)
        key = chunk_key(columns)
        found = _compared(self.codec.lattice, storage, bounds, columns, key)
        codes = self.codec.padding.find(columns)
        exact = found.exact & (codes == 0)
        cells, padding = _kept_cells(found.latents.T, ~exact), codes if codes.any() else None
        content = pack_chunk(self.codec, cells, exact, counts, columns, padding, key)
        (name,) = self.collection.latents
        return CompressedJets(_in_first(name, content, counts), exact, found.largest, found.restored)

    def restore(
        self, events: Mapping[str, ak.Array], counts: Counts, wanted: Sequence[str] | None = None
    ) -> dict[str, ak.Array]:
        """The original branches, always all; the inverse of `compress`. Raises ValueError for invalid bytes."""
        (name,) = self.collection.latents
        content, storage = _buffer(events[name]), storage_of(self.collection)
        columns = unpack_chunk(self.codec, storage, content, counts) if len(counts) else _empty(storage.dtypes)
        return to_branches(self.collection, columns, counts)

    def rows(self, events: Mapping[str, ak.Array], counts: Counts) -> list[Floats]:
        """The jets in the middle of their cells, and exact ones as they are."""
        (name,) = self.collection.latents
        storage, jets = storage_of(self.collection), int(counts.sum())
        if not len(counts):
            return [np.empty((0, 4))]
        unpacked = unpacked_chunk(self.codec, storage, _buffer(events[name]), counts)
        head, padding = unpacked.head, unpacked.there[unpacked.codes > 0]
        found = by_column(_decoded(self.codec.lattice, ROWS, unpacked.cells, unpacked.coded, jets, head.key))
        found[padding] = np.nan
        found[head.exact] = storage.rows(head.originals)
        return [found]

    def told(self, events: Mapping[str, ak.Array], counts: Counts) -> list[Cells]:
        """What tells of other numbers of the jets: one more than their cells, or 0 for exact jets and padding."""
        (name,) = self.collection.latents
        if not len(counts):
            return [np.empty(0, np.int32)] * len(self.collection.coded)
        unpacked = unpacked_chunk(self.codec, storage_of(self.collection), _buffer(events[name]), counts)
        found = np.zeros((unpacked.cells.shape[0], int(counts.sum())), np.int32)
        found[:, unpacked.coded] = unpacked.cells + 1
        return list(found - np.minimum(found.min(axis=1, initial=0, keepdims=True), 0))  # of m by resolution, from -1

    @property
    def why_exact(self) -> str:
        """The likely reason why many jets are exact, for a note; empty where it is the jets."""
        return ""


def _counted(collection: Collection, run: Run, events: Mapping[str, ak.Array]) -> Counts:
    """The number of rows of packed bytes in each event; raises DamagedFileError for impossible numbers."""
    if not collection.jagged:
        return np.ones(len(events[collection.latents[0]]), np.int64)
    counter, *_ = [*run.counting(collection, events), None]
    if counter is None:
        raise DamagedFileError(f"'{collection.name}' is damaged: nothing counts its jets")
    found = events[counter] if counter == run.counter_of(collection) else numbers_in(events[counter])
    if found.ndim != 1 or (counts := ak.to_numpy(found)).dtype.kind not in "iu":
        raise DamagedFileError(f"'{counter}' is damaged: it does not have one integer per event")
    if counts.min(initial=0) < 0 or int(counts.astype(np.int64).sum()) > MOST_JETS:
        raise DamagedFileError(f"'{counter}' is damaged: {counts.min()} to {counts.max()} jets in an event")
    return np.asarray(counts, np.int64)


def _refuse_long(rows: int) -> None:
    if rows > MOST_JETS:
        raise UserError(f"{rows} jets in a chunk, {MOST_JETS} at most: give a smaller --step-size")


def _compared(
    lattice: AnyLattice, storage: Storage, bounds: dict[str, float], columns: Sequence[Array], key: int
) -> Encoded:
    """The cells of the jets of a chunk, and how they decode."""
    indices = np.arange(len(columns[0]))
    if passed := jet_pass(lattice, storage, key, indices, columns):
        return encode_in_passes(passed, storage, bounds, columns, steps_apart(storage))
    coder = coder_of(lattice, key, indices)
    return encode_and_compare(coder, storage, bounds, columns, steps_apart(storage))


@dataclass(frozen=True)
class ColumnsLayout:
    """Other numbers of the jets of a collection: those of a chunk as bytes in its first entry.

    Each column is told by others, and by the stand-ins of the jets' four-momenta, in whatever layout these are.
    """

    collection: Collection
    codec: ColumnsCodec
    jets: JetsLayout
    by_chunk: ClassVar[bool] = True

    @classmethod
    def from_config(cls, entry: CompressedCollection, jets: JetsLayout) -> Self:
        """The layout of a compressed collection beside these jets; raises DamagedFileError."""
        with damage(f"the codec of '{entry.collection.name}'", *FACTS):
            codec = ColumnsCodec.of_config(entry.codec)
            if wrong := [dtype for dtype in _dtypes(entry.collection) if dtype.kind not in "biuf"]:
                raise ValueError(f"columns of type {wrong[0]}")
            if len(codec.columns) != len(entry.collection.branches):
                raise ValueError(f"{len(codec.columns)} columns")
            return cls(entry.collection, codec, jets)

    def counts(self, run: Run, events: Mapping[str, ak.Array]) -> Counts:
        """The number of jets in each compressed event."""
        return self.jets.counts(run, events)

    def compress(self, columns: Sequence[Array], counts: Counts, bounds: dict[str, float]) -> CompressedJets:
        """The branch of bytes of a chunk; `columns` are followed by what the jets tell of them (`JetsLayout.told`)."""
        n, number = len(columns[0]), len(self.codec.columns)
        _refuse_long(n)
        told = [np.asarray(column, np.int32) for column in columns[number:]]
        content = self.codec.encode(columns[:number], told)
        (name,) = self.collection.latents
        rounded = [place for place, column in enumerate(self.codec.columns) if column.bound]
        back = self.codec.decode(content, [column.dtype for column in columns[:number]], n, lambda: told, rounded)
        largest = dict.fromkeys(bounds, 0.0)
        for place, branch in enumerate(self.collection.branches):
            if bound := self.codec.columns[place].bound:
                largest[branch] = float(bound.errors(columns[place], back[place]).max(initial=0.0))
        return CompressedJets(_in_first(name, content, counts), np.zeros(n, bool), largest)

    def restore(
        self, events: Mapping[str, ak.Array], counts: Counts, wanted: Sequence[str] | None = None
    ) -> dict[str, ak.Array]:
        """The original branches of all variables, or of those wanted; the inverse of `compress`.

        Others are decoded only if they tell of them. Raises ValueError for invalid bytes.
        """
        collection = self.collection
        (latent,) = collection.latents
        asked = set(collection.branches if wanted is None else wanted)
        branches = {variable: name for variable, name in collection.branches.items() if variable in asked}
        dtypes = _dtypes(collection)
        places = [place for place, variable in enumerate(collection.branches) if variable in branches]
        if len(counts):
            told = partial(self.jets.told, events, counts)
            found = self.codec.decode(_bytes(events[latent]), dtypes, int(counts.sum()), told, places)
        else:
            found = {place: np.empty(0, dtypes[place]) for place in places}
        return to_branches(replace(collection, branches=branches), [found[place] for place in places], counts)

    @property
    def why_exact(self) -> str:
        """The likely reason why many numbers are exact, for a note."""
        return "they are unlike those of the sample"


class Nominal:
    """Jets as they are decoded, by which their variations are; each thread keeps those of its last chunk."""

    def __init__(self, layout: JetsLayout) -> None:
        self.layout, self._last = layout, local_to_thread()

    def of(self, events: Mapping[str, ak.Array], counts: Counts) -> tuple[list[Floats], list[Cells]]:
        """The `rows` of the jets of a chunk, and what else they tell (`told`)."""
        collection = self.layout.collection
        arrays = [events[name] for name in (*collection.latents, *collection.exact.values())]
        known, found = getattr(self._last, "found", ((), None))
        if found is None or any(one is not other for one, other in zip(known, arrays, strict=True)):
            found = self.layout.rows(events, counts), self.layout.told(events, counts)
            self._last.found = arrays, found
        return found


@dataclass(frozen=True)
class VariedLayout:
    """Jets in a variation that shares eta and phi with the nominal ones: those of a chunk as bytes in its first entry.

    pt and the mass are coded as steps from the nominal jet as it is decoded; exact jets have what is not shared.
    """

    collection: Collection
    codec: VariedCodec
    nominal: Nominal
    by_chunk: ClassVar[bool] = True

    @classmethod
    def from_config(cls, entry: CompressedCollection, nominal: Nominal) -> Self:
        """The layout of a compressed variation of these jets; raises DamagedFileError."""
        with damage(f"the codec of '{entry.collection.name}'", *FACTS):
            jets = nominal.layout.collection
            if not jets.holds_jets or len(entry.collection.own) != 2 or entry.collection.variables != jets.variables:
                raise ValueError(f"a variation of {', '.join(entry.collection.variables)}")
            return cls(entry.collection, VariedCodec.of_config(entry.codec), nominal)

    def counts(self, run: Run, events: Mapping[str, ak.Array]) -> Counts:
        """The number of jets in each compressed event."""
        return self.nominal.layout.counts(run, events)

    def grid(self, rows: Sequence[Floats]) -> VariedGrid:
        """The grid of jets of which the nominal ones are these (`JetsLayout.rows`)."""
        found, single = self.collection.resolutions or {}, None
        for nominal in reversed(rows):
            with np.errstate(all="ignore"):  # of exact jets
                widths = [found[v].of(nominal[:, 0]) if v in found else np.ones(1) for v in ("pt", "m")]
            steps = np.stack(np.broadcast_arrays(*widths), axis=1) * self.codec.steps
            single = VariedGrid(nominal, steps, single)
        assert single is not None
        return single

    def compress(self, columns: Sequence[Array], counts: Counts, bounds: dict[str, float]) -> CompressedJets:
        """The branch of bytes of a chunk; `columns` are followed by those of all `rows`, and by what else is told."""
        _refuse_long(len(columns[0]))
        found, told = self.compared(columns, bounds)
        head = _head(self.codec, found.exact, self._own(columns), 0)
        there = ~found.exact
        content = head + self.codec.columns.encode(list(found.latents[there].T), [cells[there] for cells in told])
        (name,) = self.collection.latents
        return CompressedJets(_in_first(name, content, counts), found.exact, found.largest, found.restored)

    def compared(self, columns: Sequence[Array], bounds: dict[str, float]) -> tuple[Encoded, list[Cells]]:
        """The cells of the jets of a chunk, how they decode, and what tells of them; `columns` as for `compress`."""
        given, storage = self.codec.columns.given, storage_of(self.collection)
        four, rows, told = columns[:4], columns[4 : len(columns) - given], columns[len(columns) - given :]
        grid = self.grid([by_column(rows[place : place + 4]) for place in range(0, len(rows), 4)])
        with np.errstate(over="ignore", invalid="ignore"):  # of jets that are exact
            found = encode_and_compare(grid, storage, bounds, four, steps_apart(storage))
        return found, [np.asarray(cells, np.int32) for cells in told]

    def restore(
        self, events: Mapping[str, ak.Array], counts: Counts, wanted: Sequence[str] | None = None
    ) -> dict[str, ak.Array]:
        """The original branches that no other collection has, always all; the inverse of `compress`.

        Raises ValueError for invalid bytes.
        """
        storage, jets = storage_of(self.collection), int(counts.sum())
        columns = _empty(storage.dtypes, jets)
        if len(counts):
            rows, told = self.nominal.of(events, counts)
            (name,) = self.collection.latents
            head = _headed(self.codec, self._own(storage.dtypes), _bytes(events[name]), jets)
            there = np.flatnonzero(~head.exact)
            types = [np.dtype(np.int64)] * 2
            pt, m = self.codec.columns.decode(
                bytes(head.rest), types, len(there), lambda: [cells[there] for cells in told]
            ).values()
            grid, cells = self.grid([rows[0][there]]), np.stack([pt, m], axis=1)
            for block in blocks(len(there)):
                with np.errstate(over="ignore", invalid="ignore"):  # of nominal jets that are exact
                    decoded = storage.to_columns(storage.from_rows(grid.part(block).decode(cells[block])))
                for column, values in zip(columns, decoded, strict=True):
                    column[there[block]] = values
            for column, values in zip(self._own(columns), head.originals, strict=True):
                column[head.exact] = values
        return to_branches(self.collection, columns, counts)

    def _own(self, columns: Sequence[Any]) -> list[Any]:
        """Of columns of all variables, those that no other collection has."""
        pairs = zip(self.collection.variables, columns, strict=False)
        return [column for variable, column in pairs if variable not in self.collection.shared]

    @property
    def why_exact(self) -> str:
        """The likely reason why many jets are exact, for a note; empty where it is the jets."""
        return ""


@dataclass
class VariedCompressor(Compressor[VariedLayout]):
    """Compresses a variation of jets, whose stand-ins are among the branches of the chunk already."""

    def _stored(self, columns: Sequence[Array], counts: Counts, events: Mapping[str, ak.Array]) -> CompressedJets:
        known = self.layout.nominal.of(events, counts)
        return self.layout.compress(_with_known(columns, known), counts, self.bounds)


def start_variations(
    collections: Sequence[Collection],
    jets: Compressor[FileLayout],
    options: Options,
    sample: Mapping[str, ak.Array],
    whole: bool,
) -> list[VariedCompressor]:
    """The compressors of variations of jets, with steps and contexts found in a sample.

    `whole`: the sample is all of the input.
    """
    layout: Any = jets.layout
    nominal = Nominal(layout)
    events = _first_jets(jets.collection, sample)
    coded, counts = to_coded_columns(jets.collection, events)
    known = nominal.of(layout.compress(coded, counts, jets.bounds).branches | dict(events), counts)
    return [_start_varied(as_its_jets(c, jets.collection), nominal, known, options, events, whole) for c in collections]


def _start_varied(
    collection: Collection,
    nominal: Nominal,
    known: tuple[list[Floats], list[Cells]],
    options: Options,
    events: Mapping[str, ak.Array],
    whole: bool,
) -> VariedCompressor:
    """The compressor of a variation, of whose nominal jets these are `known` in a sample (`Nominal.of`)."""
    columns, told = to_coded_columns(collection, events)[0], known[1]
    settled = as_rounded(collection, options.precision, columns)
    own = {v: rounding for v, rounding in (settled.roundings or {}).items() if v not in settled.shared}
    settled = replace(settled, roundings=own or None)
    storage = storage_of(settled)
    bounds = options.precision.of(storage.layout)
    if options.precision.full:
        bounds |= {v: bound * _SHARE_OF_FULL for v, bound in bounds.items() if v not in settled.shared}
    steps = _varied_steps(storage, bounds, columns)
    made = VariedLayout(settled, VariedCodec(steps, ColumnsCodec(_UNTOLD, len(told))), nominal)
    some = in_runs(_with_known(columns, known), _LEARNED_VARIED)
    found, told = made.compared(some, bounds)
    there = ~found.exact
    whole = whole and len(there) == len(columns[0])
    codec = fit_varied(list(found.latents[there].T), [cells[there] for cells in told], whole)
    return VariedCompressor(replace(made, codec=VariedCodec(steps, codec)), bounds)


def _with_known(columns: Sequence[Array], known: tuple[list[Floats], list[Cells]]) -> list[Array]:
    """Columns followed by what is known of the nominal jets, as `VariedLayout.compress` takes them."""
    rows, told = known
    return [*columns, *(x for one in rows for x in one.T), *told]


def _varied_steps(storage: Storage, bounds: dict[str, float], columns: Sequence[Array]) -> tuple[float, float]:
    """The steps of log pt and mu that keep these bounds, in units of resolutions where these have some."""
    resolutions = storage.layout.resolutions
    pt, _, _, m = storage.steps(bounds, columns, steps_apart(storage))
    largest = storage.layout.shared(bounds)
    pt, m = (2 * _SHARE_OF_WIDTH * largest[v] if v in resolutions else step for v, step in (("pt", pt), ("m", m)))
    return pt, m


@dataclass
class ColumnsCompressor(Compressor[ColumnsLayout]):
    """Compresses other numbers of jets, whose stand-ins are among the branches of the chunk already."""

    def _stored(self, columns: Sequence[Array], counts: Counts, events: Mapping[str, ak.Array]) -> CompressedJets:
        return self.layout.compress([*columns, *self.layout.jets.told(events, counts)], counts, self.bounds)


def start_columns(
    collection: Collection, jets: Compressor[FileLayout], options: Options, sample: Mapping[str, ak.Array], whole: bool
) -> ColumnsCompressor:
    """The compressor of other numbers of jets, with kinds and contexts found in a sample; raises UserError.

    `whole`: the sample is all of the input.
    """
    layout: Any = jets.layout
    events = _first_jets(collection, sample)
    coded, counts = to_coded_columns(jets.collection, events)
    told = layout.told(layout.compress(coded, counts, jets.bounds).branches | dict(events), counts)
    columns = to_coded_columns(collection, events)[0]
    bounds = [
        options.precision.of_column(name) if column.dtype.kind == "f" else None
        for name, column in zip(collection.branches, columns, strict=True)
    ]
    order, codec = fit_columns(columns, bounds, told, whole and events is sample)
    names = [list(collection.branches)[place] for place in order]
    ordered = replace(
        collection,
        branches={name: name for name in names},
        dtypes={name: collection.dtypes[name] for name in names},
        terms=VariableList(tuple(map(_variable, names, codec.columns))).to_json(),
    )
    kept = {name: column.bound.size if column.bound else 0.0 for name, column in zip(names, codec.columns, strict=True)}
    return ColumnsCompressor(ColumnsLayout(ordered, codec, layout), kept)


@dataclass(frozen=True)
class ListedLayout:
    """A list of variables: the rows of a chunk as bytes in its first entry, as columns that tell of one another."""

    collection: Collection
    codec: ListCodec
    by_chunk: ClassVar[bool] = True

    @classmethod
    def start(cls, plan: Plan, options: Options, sample: Mapping[str, ak.Array], entries: int) -> Start:
        """The compressor of the list, with a grid and contexts found in a sample of the `entries`."""
        (collection,) = plan.collections
        variables = storage_of(collection).variables.settled(
            storage_of(collection).rows(to_columns(collection, sample)[0])
        )
        settled = replace(collection, terms=variables.to_json())
        columns, counts = to_columns(collection, events := _first_jets(collection, sample))
        storage = storage_of(settled)
        bounds = options.precision.of(storage.layout)
        lattice = _list_lattice(storage, bounds, columns, options.dither)
        found = _compared(lattice, storage, bounds, columns, chunk_key(columns))
        cells = _kept_cells(found.latents.T, ~found.exact)
        whole = events is sample and len(counts) == entries
        kept = counts_of(~found.exact, counts)
        events_of = kept if options.context else np.ones(int(kept.sum()), np.int64)
        order, codec = fit_cells(list(cells), lattice.turns, events_of, whole)
        layout = cls(_reordered(settled, order), ListCodec(lattice.reordered(order), codec))
        return Start([Compressor(layout, bounds)], "", {})

    @classmethod
    def from_config(cls, entry: CompressedCollection, content: bytes | None) -> Self:
        """The layout of a compressed collection; raises DamagedFileError."""
        with damage(f"the codec of '{entry.collection.name}'", *FACTS):
            return cls(entry.collection, ListCodec.of_config(entry.codec, storage_of(entry.collection).variables))

    def counts(self, run: Run, events: Mapping[str, ak.Array]) -> Counts:
        """The number of rows in each compressed event; raises DamagedFileError for impossible numbers."""
        return _counted(self.collection, run, events)

    def compress(self, columns: Sequence[Array], counts: Counts, bounds: dict[str, float]) -> CompressedJets:
        """The branch of bytes of the rows of a chunk: all bytes in the first entry, none in the others."""
        _refuse_long(len(columns[0]))
        storage, key, lattice = storage_of(self.collection), chunk_key(columns), self.codec.lattice
        found = _compared(lattice, storage, bounds, columns, key)
        head = _head(lattice, found.exact, columns, key)
        cells = _kept_cells(found.latents.T, ~found.exact)
        content = head + self.codec.encode(cells, counts_of(~found.exact, counts))
        (name,) = self.collection.latents
        return CompressedJets(_in_first(name, content, counts), found.exact, found.largest, found.restored)

    def restore(
        self, events: Mapping[str, ak.Array], counts: Counts, wanted: Sequence[str] | None = None
    ) -> dict[str, ak.Array]:
        """The original branches of all variables, or of those wanted; the inverse of `compress`.

        Others are decoded only if they tell of them. Raises ValueError for invalid bytes.
        """
        collection, storage = self.collection, storage_of(self.collection)
        asked = set(collection.branches if wanted is None else wanted)
        places = [place for place, variable in enumerate(collection.branches) if variable in asked]
        (name,) = collection.latents
        columns = (
            self._columns(storage, _bytes(events[name]), counts, places) if len(counts) else _empty(storage.dtypes)
        )
        branches = {v: branch for v, branch in collection.branches.items() if v in asked}
        return to_branches(replace(collection, branches=branches), [columns[place] for place in places], counts)

    def _columns(self, storage: Storage, content: bytes, counts: Counts, places: Sequence[int]) -> list[Array]:
        """The columns of a chunk; those at other places are of no use."""
        lattice, jets = self.codec.lattice, int(counts.sum())
        found = _headed(lattice, storage.dtypes, content, jets)
        cells = self.codec.decode(bytes(found.rest), counts_of(~found.exact, counts), places)
        columns = _decoded(lattice, storage, cells, np.flatnonzero(~found.exact), jets, found.key)
        for column, values in zip(columns, found.originals, strict=True):
            column[found.exact] = values
        return columns

    def rows(self, events: Mapping[str, ak.Array], counts: Counts) -> list[Floats]:
        """Nothing: lists of variables have no variations."""
        return []

    def told(self, events: Mapping[str, ak.Array], counts: Counts) -> list[Cells]:
        """Nothing: whole jets are not beside lists of variables."""
        return []

    @property
    def why_exact(self) -> str:
        """The likely reason why many rows are exact, for a note; empty where it is the rows."""
        return ""


PACKED_LAYOUTS: dict[str, type[PackedLayout | ListedLayout]] = {"packed": PackedLayout, "cells": ListedLayout}


def _list_lattice(storage: Storage, bounds: dict[str, float], columns: Sequence[Array], dither: bool) -> ListLattice:
    """The grid of a list of variables that keeps these bounds."""
    steps = storage.steps(bounds, columns, steps_apart(storage))
    shifted = storage.continuous(bounds, columns) if dither else [False] * len(steps)
    return ListLattice(storage.variables, tuple(steps), tuple(shifted))


def _reordered(collection: Collection, order: Sequence[int]) -> Collection:
    """The collection of a list with its variables in another order."""
    names, terms = list(collection.branches), collection.terms or []
    ordered = [names[place] for place in order]
    return replace(
        collection,
        branches={name: collection.branches[name] for name in ordered},
        dtypes={name: collection.dtypes[name] for name in ordered},
        terms=[terms[place] for place in order],
    )


def _dtypes(collection: Collection) -> list[np.dtype[Any]]:
    """The types of the variables of a collection."""
    return [np.dtype(collection.dtypes[variable]) for variable in collection.branches]


def _variable(name: str, column: CodedColumn) -> Variable:
    """What a list of variables tells of a column."""
    if column.bound is None:
        return Variable(name, "exact")
    return Variable(name, "linear" if column.bound.absolute else "relative", column.bound.size)


def _first_jets(collection: Collection, sample: Mapping[str, ak.Array]) -> Mapping[str, ak.Array]:
    """The first events of a sample with about `_LEARNED` jets."""
    first = sample[next(iter(collection.branches.values()))]
    ends = np.cumsum(ak.num(first)) if collection.jagged else np.arange(1, len(first) + 1)
    most = int(np.searchsorted(ends, _LEARNED))
    return sample if most >= len(ends) else {name: array[: most + 1] for name, array in sample.items()}


def steps_apart(storage: Storage) -> float:
    """The largest difference of decoded coordinates between machines: one step of the stored floats."""
    return 16 * storage.rounding  # absolute, for |eta| below 10


def load_priors(name: str) -> Priors:
    """The packaged tables `default`, or tables from a file; raises UserError for a missing or invalid file."""
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
    settled: Collection, options: Options, priors: Priors, events: Mapping[str, ak.Array]
) -> Compressor[PackedLayout]:
    """The compressor of a collection with known units and a grid for a sample; raises UserError for bounds < 1e-5."""
    columns, precision = in_runs(to_coded_columns(settled, events)[0], SAMPLED), options.precision
    settled = as_rounded(settled, precision, columns)
    storage = storage_of(settled)
    bounds = precision.of(storage.layout)
    finest = min(bound * storage.layout.least(variable) for variable, bound in bounds.items())
    if precision.full or precision.unbounded or finest < _FINEST:
        raise UserError(
            f"--layout packed keeps a bound: give --precision a number of {_FINEST:g} or more, such as 1e-3"
        )
    one, two, three, four = storage.continuous(bounds, columns) if options.dither else [False] * 4
    lattice = _lattice(storage, bounds, columns, (one, two, three, four))
    padding = storage.padding(columns)
    return Compressor(PackedLayout(settled, PackedCodec(priors, lattice, options.context, padding)), bounds)


def _lattice(
    storage: Storage, bounds: dict[str, float], columns: Sequence[Array], shifted: tuple[bool, bool, bool, bool]
) -> Lattice | ResolvedLattice:
    drift = steps_apart(storage)
    if resolutions := storage.layout.resolutions:
        drift += JET.roundings * storage.rounding
        largest = bounds | storage.rooms(bounds, columns, drift)
        steps = ResolvedSteps.within(storage.layout.shared(largest), resolutions, drift)
        return ResolvedLattice(steps, shifted)
    one, two, three, four = storage.steps(bounds, columns, drift)
    return Lattice((one, two, three, four), shifted)


def packed_codec_of(config: Config, priors: Priors) -> PackedCodec:
    """The codec of a configuration; raises ValueError if it is invalid."""
    lattice = lattice_of(config)
    if not isinstance(context := config["context"], bool):
        raise ValueError(f"context {context!r} is neither true nor false")
    return PackedCodec(priors, lattice, context, Padding.of_config(config))


def chunk_key(columns: Sequence[Array]) -> int:
    """The key of the shifted cells of a chunk: any number that other chunks rarely have, here a checksum of pt."""
    return checksum_bytes(buffer_of(columns[0])) & MASK


def coder_of(lattice: AnyLattice, key: int, indices: npt.NDArray[np.int64]) -> RowCoder:
    """The grid of jets with these indices in a chunk."""
    return ShiftedLattice(lattice, key, indices) if any(lattice.shifted) else lattice


def pack_chunk(
    codec: PackedCodec,
    cells: Columns,
    exact: Bools,
    counts: Counts,
    columns: Sequence[Array],
    codes: Codes | None = None,
    key: int = 0,
) -> bytes:
    """The bytes of a chunk: number and size of the exact jets, the key of shifted cells, exact jets, then words.

    Exact jets are their indices and values; `cells` are those of all others. Without shifted cells there is no key.
    """
    if exact.any():
        counts, codes = counts_of(~exact, counts), None if codes is None else codes[~exact]
    words = codec.encode(cells, counts, codes)
    return b"".join([_head(codec.lattice, exact, columns, key), buffer_of(words.astype(WORD, copy=False))])


def _head(lattice: AnyLattice | VariedCodec, exact: Bools, columns: Sequence[Array], key: int) -> bytes:
    """What is before the words of a chunk: number and size of the exact jets, key of shifted cells, exact jets."""
    kept = b""
    if exact.any():
        where = np.diff(np.flatnonzero(exact), prepend=0)
        planes = _planes(where.astype(WORD)) + b"".join(_planes(column[exact]) for column in columns)
        kept = lzma.compress(planes, format=lzma.FORMAT_RAW, filters=_EXACT)
        kept += b"\0" * (-len(kept) % WORD.itemsize)  # `baskets` expects a multiple of 4 bytes
    head = [int(exact.sum()), len(kept), *([key] if any(lattice.shifted) else [])]
    return np.array(head, WORD).tobytes() + kept


@dataclass(frozen=True)
class _Head:
    """What `_head` has told, and the bytes behind it."""

    exact: Bools
    originals: list[Array]
    key: int
    rest: bytes | memoryview


def _headed(lattice: AnyLattice | VariedCodec, dtypes: Dtypes, content: bytes | memoryview, jets: int) -> _Head:
    """What is before the words of a chunk; raises ValueError for invalid bytes."""
    begin = WORD.itemsize * (2 + any(lattice.shifted))
    number, size, *key = np.frombuffer(content[:begin], WORD).tolist()
    where, originals = _kept(content[begin : begin + size], number, jets, dtypes)
    exact = np.zeros(jets, bool)
    exact[where] = True
    return _Head(exact, originals, sum(key), content[begin + size :])


def _decoded(
    lattice: AnyLattice, storage: Storage, cells: GridCells, jets: Integers, number: int, key: int
) -> list[Array]:
    """The columns of a chunk with this number of jets, of which these have cells; the others are of no use."""
    passed, columns = jet_pass(lattice, storage, key, jets), _empty(storage.dtypes, number)
    if passed:
        found = columns if len(jets) == number else _empty(storage.dtypes, len(jets))
        passed.decode(cells, found)
        for column, values in zip(columns, found, strict=True) if found is not columns else ():
            column[jets] = values
        return columns
    for block in blocks(cells.shape[1]):
        rows = jets[block]
        coder = coder_of(lattice, key, rows)
        restored = storage.to_columns(storage.from_rows(coder.decode(cells[:, block].T)))
        for column, values in zip(columns, restored, strict=True):
            column[rows] = values
    return columns


def _kept_cells(cells: Columns, kept: Bools) -> Columns:
    """The cells of the jets that are kept, moved to the front of their rows: a copy would take as much memory."""
    n = int(kept.sum())
    for row in cells if n < len(kept) else ():
        row[:n] = row[kept]
    return cells[:, :n]


@dataclass(frozen=True)
class UnpackedChunk:
    """The cells (4 x n) of the jets of a chunk that are neither exact nor padding, and all that is told of the others.

    `there` are the jets that are not exact, with their padding codes.
    """

    cells: Columns
    head: _Head
    there: Integers
    codes: Codes

    @property
    def coded(self) -> Integers:
        """The jets of the cells."""
        return self.there[self.codes == 0] if self.codes.any() else self.there


def unpacked_chunk(codec: PackedCodec, storage: Storage, content: bytes | memoryview, counts: Counts) -> UnpackedChunk:
    """What the bytes of a chunk tell; raises ValueError for invalid ones."""
    head = _headed(codec.lattice, storage.dtypes, content, int(counts.sum()))
    words = np.frombuffer(head.rest, WORD).astype(np.uint32, copy=False)
    cells, codes = codec.decode_padded(words, counts_of(~head.exact, counts) if head.originals[0].size else counts)
    return UnpackedChunk(cells, head, np.flatnonzero(~head.exact), codes)


def unpack_chunk(
    codec: PackedCodec, storage: Storage, content: bytes | memoryview, counts: Counts
) -> list[npt.NDArray[np.generic]]:
    """The four columns of a chunk; the inverse of `pack_chunk`."""
    found, jets = unpacked_chunk(codec, storage, content, counts), int(counts.sum())
    columns = _decoded(codec.lattice, storage, found.cells, found.coded, jets, found.head.key)
    for column, values in zip(columns, found.head.originals, strict=True):
        column[found.head.exact] = values
    if codec.padding.rows:
        codes = np.zeros(jets, np.int32)
        codes[found.there] = found.codes
        codec.padding.fill(columns, codes)
    return columns


def _kept(
    content: bytes | memoryview, number: int, jets: int, dtypes: Dtypes
) -> tuple[npt.NDArray[np.int64], list[Array]]:
    """The indices of the exact jets in the chunk, and their original values; raises ValueError for invalid bytes."""
    if not number:
        return np.empty(0, np.int64), _empty(dtypes)
    types = [WORD, *dtypes]
    expected = number * sum(dtype.itemsize for dtype in types)
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_EXACT)
    try:
        raw = unpacker.decompress(content, expected + 1) if number <= jets else b""
    except lzma.LZMAError as error:
        raise ValueError(f"{number} exact jets can't be unpacked") from error
    if len(raw) != expected:
        raise ValueError(f"{number} exact jets are not of the expected size")
    ends = np.cumsum([0, *(number * dtype.itemsize for dtype in types)]).tolist()
    parts = [_from_planes(raw[ends[i] : ends[i + 1]], dtype) for i, dtype in enumerate(types)]
    where = np.cumsum(parts[0].astype(np.int64))
    if (np.diff(where) <= 0).any() or where[-1] >= jets:
        raise ValueError("indices of exact jets are invalid")
    return where, parts[1:]


def _bytes(branch: ak.Array) -> bytes:
    """The bytes of a chunk, all of which are in its first entry."""
    return bytes(_buffer(branch))


def _buffer(branch: ak.Array) -> bytes | memoryview:
    """The same, where they lie."""
    plain = plain_lists(branch)
    values = plain[0] if plain else ak.to_numpy(ak.flatten(branch, axis=None))
    return buffer_of(np.ascontiguousarray(values, np.uint8))


def _in_first(name: str, content: bytes, counts: Counts) -> dict[str, ak.Array]:
    """The branch of the bytes of a chunk."""
    lengths = np.zeros(len(counts), np.int64)
    lengths[:1] = len(content)
    return {name: unflatten(np.frombuffer(content if len(counts) else b"", np.uint8), lengths, jagged=True)}


def _planes(values: Array) -> bytes:
    """The first bytes of all numbers, then the second bytes, and so on, which compresses better."""
    return values.view(np.uint8).reshape(len(values), -1).T.tobytes()


def _from_planes(content: bytes, dtype: np.dtype[Any]) -> Array:
    planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1)
    return np.asarray(np.ascontiguousarray(planes.T).view(dtype)[:, 0])


def _empty(dtypes: Dtypes, jets: int = 0) -> list[npt.NDArray[np.generic]]:
    return [np.empty(jets, dtype) for dtype in dtypes]
