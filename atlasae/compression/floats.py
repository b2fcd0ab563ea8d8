"""The layouts with float32 latents: choice of model and codec, and the stand-ins of the jets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import awkward as ak
import numpy as np
import numpy.typing as npt

from atlasae.codecs.codec import Encoded, encode_within, few_threads, restore
from atlasae.codecs.entropy import Cells
from atlasae.codecs.floats import AnyCodec, FloatsCodec, codec_of_config
from atlasae.codecs.grid import MANTISSA_BITS
from atlasae.codecs.model import Model, default_model, load_model, packaged_model, unlike_jets
from atlasae.codecs.search import SPARE, choose_codec, encoded_bytes
from atlasae.codecs.walk import JETS
from atlasae.compression.collection import CompressedJets, Compressor, FileLayout, Start, as_rounded
from atlasae.compression.format import CompressedCollection, Run
from atlasae.compression.plan import Options, Plan
from atlasae.errors import UserError
from atlasae.files.damage import FACTS, damage
from atlasae.files.events import Array, Counts, flat_values, flatten, unflatten_all
from atlasae.jets.collections import Collection
from atlasae.jets.columns import in_runs, settle_by, to_branches, to_coded_columns, to_columns
from atlasae.jets.coordinates import Bools, Floats, by_column
from atlasae.jets.stored import ROWS, storage_of

_WORD_MASK = np.int32((1 << MANTISSA_BITS) - 1)
SELF = "self"  # the model that is fitted to the input
MOST_CHOSEN_ON = 200_000  # jets of the sample on which the range of a grid is found: memory does not grow with it
FEWEST_TO_FIT = 1000  # jets in a sample, for a model to be fitted to it


@dataclass(frozen=True)
class WordsLayout:
    """One float32 branch per latent, with one value per jet, and the branches of exact jets."""

    collection: Collection
    codec: AnyCodec
    by_chunk: ClassVar[bool] = False

    @classmethod
    @few_threads()
    def start(cls, plan: Plan, options: Options, sample: Mapping[str, ak.Array], entries: int) -> Start:
        """The compressors of all collections, with model and codecs chosen on a sample; raises UserError."""
        settled = settle_by(plan.collections, options.units, sample)
        if options.model == SELF:
            return _start_fitted(settled, options, sample, entries)
        model = _jet_model(options.model)
        compressors = [start_floats(collection, options, model, sample) for collection in settled]
        unlike = unlike_jets(model, {c.name: sample_jets([c], sample, MOST_CHOSEN_ON) for c in settled})
        return replace(_start(compressors, model, []), unlike=unlike)

    @classmethod
    def from_config(cls, entry: CompressedCollection, content: bytes | None) -> Self:
        """The layout of a compressed collection; raises UserError for an unknown model, DamagedFileError."""
        sha = entry.model_sha256
        model = Model.from_bytes(content, sha[:12]) if content is not None else packaged_model(sha)
        if model is None:
            raise UserError(f"model {sha[:12]} is neither in the file nor in this atlasae: upgrade atlasae")
        with damage(f"the codec of '{entry.collection.name}'", *FACTS):
            return cls(entry.collection, codec_of_config(entry.codec, model.chain))

    def counts(self, run: Run, events: Mapping[str, ak.Array]) -> Counts:
        """The number of jets in each compressed event."""
        return flatten(events[self.collection.latents[0]])[1]

    def encode(self, columns: Sequence[Array], bounds: dict[str, float]) -> Encoded:
        """The latents of jets, and which jets exceed a bound."""
        return encode_within(self.codec, storage_of(self.collection), bounds, columns)

    @few_threads()
    def compress(self, columns: Sequence[Array], counts: Counts, bounds: dict[str, float]) -> CompressedJets:
        """The latent and exact branches of the jets of a chunk."""
        encoded = self.encode(columns, bounds)
        words = dict(zip(self.collection.latents, encoded.latents.T, strict=True))
        latents = unflatten_all(words, counts, self.collection.jagged)
        exact = exact_branches(self.collection, columns, counts, encoded.exact)
        return CompressedJets(latents | exact, encoded.exact, encoded.largest, encoded.restored)

    def restore(
        self, events: Mapping[str, ak.Array], counts: Counts, wanted: Sequence[str] | None = None
    ) -> dict[str, ak.Array]:
        """The original branches of all variables, or of those wanted; the inverse of `compress`.

        Raises ValueError for invalid latents or exact jets.
        """
        collection, storage = self.collection, storage_of(self.collection)
        names = storage.layout.names
        asked = collection.variables if wanted is None else wanted
        alone = {names.index(v) for v in asked} if names == storage.variables.names else None  # others are computed
        columns = dict(zip(names, restore(self.codec, storage, self._words(events), alone), strict=True))
        where = self._exact(events, counts)
        for variable in asked:
            columns[variable][where] = flat_values(events[collection.exact[variable]])
        made = to_branches(collection, list(columns.values()), counts)
        return {collection.branches[variable]: made[collection.branches[variable]] for variable in asked}

    def told(self, events: Mapping[str, ak.Array], counts: Counts) -> list[Cells]:
        """What tells of other numbers of the jets: their words, in which the leading bits are of pt, eta and phi."""
        return [np.maximum(word.view(np.int32), 0) & _WORD_MASK for word in self._words(events)]

    @few_threads()
    def rows(self, events: Mapping[str, ak.Array], counts: Counts) -> list[Floats]:
        """The jets, in float64 arithmetic and, if its drift is not known, in that of float32."""
        words = self._words(events)
        where, found = self._exact(events, counts), list[Floats]()
        kept = [flat_values(events[name]) for v, name in self.collection.exact.items() if v != "index"]
        for codec in (self.codec, *([self.codec.single] if self.codec.single else [])):
            found.append(by_column(restore(codec, ROWS, words)))
            found[-1][where] = storage_of(self.collection).rows(kept)
        return found

    def _words(self, events: Mapping[str, ak.Array]) -> list[npt.NDArray[np.float32]]:
        """The latents of the jets of a chunk, one by one."""
        return [flat_values(events[name]).astype(np.float32, copy=False) for name in self.collection.latents]

    def _exact(self, events: Mapping[str, ak.Array], counts: Counts) -> npt.NDArray[np.int64]:
        """The exact jets of a chunk; raises ValueError for impossible ones."""
        listed, exact_counts = flatten(events[self.collection.exact["index"]])
        index = listed.astype(np.int64)
        if not len(index):
            return index
        if not ((index >= 0) & (index < np.repeat(counts, exact_counts))).all():
            raise ValueError("exact jets that are not in their events")
        return np.asarray(np.repeat(np.cumsum(counts) - counts, exact_counts) + index)

    @property
    def why_exact(self) -> str:
        """The likely reason why many jets are exact, for a note; empty where it is the jets."""
        return ""


@dataclass(frozen=True)
class FloatsLayout(WordsLayout):
    """Three floats per jet, made by a chain of densities on a grid."""

    codec: FloatsCodec

    @property
    def why_exact(self) -> str:
        """The likely reason why many jets are exact; a grid that uses all bits of its words can't be finer."""
        if all(self.codec.grid.words) and self.codec.grid.word_bits > MANTISSA_BITS - SPARE:
            return "three floats hold 69 bits, too few for this precision; 5e-5 or `full` takes less space"
        return super().why_exact


@dataclass(frozen=True)
class ListLayout(WordsLayout):
    """The floats of a list of variables, as many as its precision needs; the model is fitted to the input."""

    @classmethod
    @few_threads()
    def start(cls, plan: Plan, options: Options, sample: Mapping[str, ak.Array], entries: int) -> Start:
        """The compressors of all collections, with a model fitted to a sample and its grid; raises UserError."""
        (collection,) = plan.collections
        columns, _ = to_columns(collection, sample)
        storage = storage_of(collection)
        rows = storage.to_values(columns)
        variables = storage.variables.settled(rows)
        from atlasae.training.train import learn_list  # here, as it imports torch

        with few_threads():
            model = learn_list(variables, rows)
        known = replace(collection, terms=variables.to_json())
        storage = storage_of(known)
        codec = choose_codec(model.chain, storage, options.precision, columns, dither=options.dither)
        assert isinstance(codec, FloatsCodec)
        layout = cls(replace(known, words=len(codec.grid.words)), codec)
        note = f"the model of {len(variables.variables)} variables is in the file: {len(model.content) / 1000:,.1f} kB"
        return _start([Compressor(layout, options.precision.of(storage.layout))], model, [note])


FLOATS_LAYOUTS: dict[str, type[WordsLayout]] = {
    "floats": FloatsLayout,
    "resolved": WordsLayout,
    "list": ListLayout,
    "bottleneck": WordsLayout,
}


def start_floats(
    settled: Collection, options: Options, model: Model, events: Mapping[str, ak.Array]
) -> Compressor[WordsLayout]:
    """The compressor of a collection with known units, its codec chosen on a sample of its events."""
    columns, precision = in_runs(to_coded_columns(settled, events)[0], MOST_CHOSEN_ON), options.precision
    settled = as_rounded(settled, precision, columns)
    storage = storage_of(settled)
    codec = choose_codec(
        model.chain, storage, precision, columns, dither=options.dither, leading=bool(options.whole_jets)
    )
    return Compressor(FLOATS_LAYOUTS[codec.config()["layout"]](settled, codec), precision.of(storage.layout))


def _start_fitted(
    settled: Sequence[Collection], options: Options, sample: Mapping[str, ak.Array], entries: int
) -> Start:
    """The start with the packaged model or one fitted to the sample, whichever needs fewer bytes for all `entries`."""
    model = default_model()
    compressors = [start_floats(collection, options, model, sample) for collection in settled]
    jets = sample_jets(settled, sample)
    if len(jets) < FEWEST_TO_FIT:
        note = f"{len(jets)} jets are too few for a model of their own: the packaged one is used"
        return _start(compressors, model, [note])
    from atlasae.training.train import learn_from  # here, as it imports torch

    with few_threads():
        own = learn_from(jets)
    fitted = [start_floats(collection, options, own, sample) for collection in settled]
    sizes = [sampled_bytes(candidates, sample) for candidates in (compressors, fitted)]
    saved = (sizes[0] - sizes[1]) * entries / max(1, len(next(iter(sample.values()))))
    told = f"a model of its own saves {saved / 1000:,.1f} kB and takes {len(own.content) / 1000:,.1f} kB"
    if saved > len(own.content):
        return _start(fitted, own, [f"{told}: it is in the file"])
    return _start(compressors, model, [f"{told}: the packaged one is used"])


def _start(compressors: Sequence[Compressor[FileLayout]], model: Model, notes: Sequence[str]) -> Start:
    embedded = {} if packaged_model(model.sha256) else {model.sha256: model.content}
    return Start(compressors, model.sha256, embedded, notes)


def _jet_model(name: str) -> Model:
    model = load_model(name)
    links = getattr(model.chain, "links", JETS)
    if [link.name for link in links] != [link.name for link in JETS]:
        raise UserError(f"model '{name}' is of {', '.join(link.name for link in links)}: jets need pt, eta, phi and m")
    return model


def sample_jets(settled: Sequence[Collection], events: Mapping[str, ak.Array], most: int | None = None) -> Floats:
    """The jets (n x 4, MeV) with valid coordinates in a sample, all collections together; `most` a collection."""
    columns = [in_runs(to_coded_columns(collection, events)[0], most) for collection in settled]
    return np.concatenate([storage_of(c).usable_rows(found) for c, found in zip(settled, columns, strict=True)])


def sampled_bytes(compressors: Sequence[Compressor[WordsLayout]], events: Mapping[str, ak.Array]) -> int:
    """The bytes that these compressors need for the jets of a sample."""
    total = 0
    for compressor in compressors:
        columns, _ = to_coded_columns(compressor.collection, events)
        encoded = compressor.layout.encode(columns, compressor.bounds)
        total += encoded_bytes(encoded, storage_of(compressor.collection))
    return total


def exact_branches(
    collection: Collection, columns: Sequence[Array], counts: Counts, exact: Bools
) -> dict[str, ak.Array]:
    """The branches of exact jets: their indices in their events, and their original values."""
    jets, ends = np.flatnonzero(exact), np.cumsum(counts)
    events = np.searchsorted(ends, jets, side="right")
    index = (jets - (ends - counts)[events]).astype(np.int32)
    kept, per_event = [index, *(column[jets] for column in columns)], np.bincount(events, minlength=len(counts))
    named = zip(collection.exact.values(), kept, strict=True)
    return unflatten_all(dict(named), per_event, jagged=True)
