"""Collections on their way into a file as floats: the model and codec each gets, and the branches that stand in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import awkward as ak
import numpy as np

from atlasae.codecs.chain import JETS, InvertibleAutoencoder
from atlasae.codecs.codec import Encoded, encode_within
from atlasae.codecs.floats import AnyCodec, FloatsCodec, few_threads
from atlasae.codecs.grid import MANTISSA_BITS
from atlasae.codecs.model import Model, default_model, domain_warning, load_model, packaged_model
from atlasae.codecs.search import choose_codec, encoded_bytes
from atlasae.compression.collection import Counted, Start, as_rounded, or_other_units
from atlasae.compression.plan import Options, Plan
from atlasae.errors import UserError
from atlasae.files.events import Array, Counts, Events, counts_of, index_in_event, unflatten
from atlasae.jets.collections import Collection
from atlasae.jets.columns import to_columns
from atlasae.jets.coordinates import Floats
from atlasae.jets.precision import Precision
from atlasae.jets.stored import Storage, storage_of
from atlasae.jets.units import settle
from atlasae.jets.variables import JET
from atlasae.training.train import learn_from, learn_list

SELF = "self"  # the model that is fitted to the input
FEWEST_TO_FIT = 1000  # jets


@dataclass
class Compressor(Counted):
    """One collection on its way through the chunks: its codec, and what became of its jets."""

    collection: Collection
    codec: AnyCodec
    storage: Storage
    bounds: dict[str, float]

    @few_threads()
    def compress(self, events: dict[str, ak.Array]) -> dict[str, ak.Array]:
        """The latent and exact branches that stand in for the jets of these events."""
        columns, counts = to_columns(self.collection, events)
        encoded = encode_within(self.codec, self.storage, self.bounds, columns)
        self.count(columns, encoded.exact, encoded.largest)
        latents = {
            name: unflatten(encoded.latents[:, j], counts, self.collection.jagged)
            for j, name in enumerate(self.collection.latents)
        }
        return latents | exact_branches(self.collection, columns, counts, encoded)

    def note(self) -> str | None:
        """What the user should know of the jets so far."""
        if (
            isinstance(self.codec, FloatsCodec)
            and self.codec.variables == JET
            and self.codec.grid.word_bits > MANTISSA_BITS - 0.1
        ):
            why = "three floats hold 69 bits, too few for this precision; 5e-5 or `full` takes less space"
        else:
            why = "they are unlike the jets the model knows, or unphysical" + or_other_units(self.collection)
        return self.many_exact(self.collection.name, why)


def start_compressor(
    settled: Collection, precision: Precision, model: Model, events: dict[str, ak.Array]
) -> Compressor:
    """Settle the codec of a collection, whose units are known, by a sample of its events."""
    columns, _ = to_columns(settled, events)
    settled = as_rounded(settled, precision, columns)
    storage = storage_of(settled)
    codec = choose_codec(model.autoencoder, storage, precision, columns)
    warning = domain_warning(model, storage.usable_rows(columns), settled.name)
    return Compressor(settled, codec, storage, precision.of(storage.layout), warning=warning)


def start_list_compressor(
    collection: Collection, precision: Precision, model: Model, events: Mapping[str, ak.Array]
) -> Compressor:
    """The compressor of a list of variables, its grid settled by a sample."""
    storage, (columns, _) = storage_of(collection), to_columns(collection, events)
    codec = choose_codec(model.autoencoder, storage, precision, columns)
    assert isinstance(codec, FloatsCodec)
    settled = replace(collection, words=len(codec.grid.words))
    return Compressor(settled, codec, storage, precision.of(storage.layout))


@few_threads()
def start_compressors(events: Events, plan: Plan, options: Options, sample: dict[str, ak.Array]) -> Start:
    """Choose the model, and a compressor for every collection, by a sample of the jets; raises UserError."""

    def start(model: Model) -> list[Compressor]:
        return [start_compressor(collection, options.precision, model, sample) for collection in settled]

    if options.variables:
        return _start_list(plan.collections[0], options.precision, sample)
    settled = settle(plan.collections, options.units, [to_columns(c, sample)[0] for c in plan.collections])
    if options.model != SELF:
        model = _jet_model(options.model)
        compressors = start(model)
        return _start(compressors, model, [c.warning for c in compressors if c.warning])
    model, compressors = default_model(), start(default_model())
    jets = sample_jets(settled, sample)
    if len(jets) < FEWEST_TO_FIT:
        note = f"{len(jets)} jets are too few for a model of their own: the packaged one is used"
        return _start(compressors, model, [note])
    own = learn_from(jets)
    fitted = start(own)
    sizes = [sampled_bytes(candidates, sample) for candidates in (compressors, fitted)]
    saved = (sizes[0] - sizes[1]) * events.entries / max(1, len(next(iter(sample.values()))))
    told = f"a model of its own saves {saved / 1000:,.1f} kB and takes {len(own.content) / 1000:,.1f} kB"
    if saved > len(own.content):
        return _start(fitted, own, [f"{told}: it is in the file"])
    return _start(compressors, model, [f"{told}: the packaged one is used"])


def _start(compressors: Sequence[Compressor], model: Model, notes: Sequence[str]) -> Start:
    embedded = {} if packaged_model(model.sha256) else {model.sha256: model.content}
    return Start(compressors, model.sha256, embedded, notes)


def _jet_model(name: str) -> Model:
    model = load_model(name)
    links = model.autoencoder.links if isinstance(model.autoencoder, InvertibleAutoencoder) else JETS
    if [link.name for link in links] != [link.name for link in JETS]:
        raise UserError(f"model '{name}' is of {', '.join(link.name for link in links)}: jets need pt, eta, phi and m")
    return model


def _start_list(collection: Collection, precision: Precision, sample: dict[str, ak.Array]) -> Start:
    """A model of a list of variables, fitted to a sample, and the compressor that uses it."""
    columns, _ = to_columns(collection, sample)
    storage = storage_of(collection)
    rows = storage.to_values(columns)
    variables = storage.variables.with_categories(rows)
    model = learn_list(variables, rows)
    settled = replace(collection, terms=variables.to_json())
    note = f"the model of {len(variables.variables)} variables is in the file: {len(model.content) / 1000:,.1f} kB"
    return _start([start_list_compressor(settled, precision, model, sample)], model, [note])


def sample_jets(settled: Sequence[Collection], events: Mapping[str, ak.Array]) -> Floats:
    """The jets (n x 4, MeV) of a sample that have coordinates, all collections together."""
    return np.concatenate([storage_of(c).usable_rows(to_columns(c, events)[0]) for c in settled])


def sampled_bytes(compressors: Sequence[Compressor], events: Mapping[str, ak.Array]) -> int:
    """Bytes of a sample's jets as these compressors would write them."""
    total = 0
    for compressor in compressors:
        columns, _ = to_columns(compressor.collection, events)
        encoded = encode_within(compressor.codec, compressor.storage, compressor.bounds, columns)
        total += encoded_bytes(encoded, compressor.storage)
    return total


def exact_branches(
    collection: Collection, columns: Sequence[Array], counts: Counts, encoded: Encoded
) -> dict[str, ak.Array]:
    """The jets kept as they were: where they are in their events, and their four originals."""
    selected = encoded.exact
    kept = [index_in_event(counts)[selected], *(column[selected] for column in columns)]
    per_event = counts_of(selected, counts)
    return {name: ak.unflatten(v, per_event) for name, v in zip(collection.exact.values(), kept, strict=True)}
