"""The interface of layouts, and the compression of one collection with its counts of jets and its errors."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import awkward as ak
import numpy as np

from atlasae.codecs.codec import checksum_columns
from atlasae.codecs.entropy import Cells
from atlasae.compression.format import CompressedCollection, Run
from atlasae.compression.plan import Options, Plan
from atlasae.files.checksums import checksum_bytes
from atlasae.files.events import Array, Counts
from atlasae.jets.collections import Collection, Rounding
from atlasae.jets.columns import to_coded_columns
from atlasae.jets.coordinates import FULL_TURN, LEAST_MASS, Bools, Floats
from atlasae.jets.padding import Config, Padding
from atlasae.jets.precision import Precision, find_roundings
from atlasae.jets.stored import Storage, blocks, storage_of
from atlasae.report import counted, merge_largest, some

MANY_EXACT = 0.05  # share of exact jets above which the user is told
_NO_RADIANS = "phi is beyond 2 pi, as in degrees, where radians are needed"
_TURNED = 1e-5  # by which a phi may be beyond 2 pi by rounding


class Described(Protocol):
    """A codec with a configuration."""

    @property
    def padding(self) -> Padding:
        """The padding: the rows that are no jets."""
        ...

    def config(self) -> Config:
        """The configuration, as plain JSON, from which the codec is made again; `layout` is the name of the layout."""
        ...


@dataclass(frozen=True)
class CompressedJets:
    """The stand-ins of the jets of a chunk, which jets are exact, and the largest errors of the others.

    `restored` is the checksum of the columns that were compared with the original ones, if these were all columns.
    """

    branches: dict[str, ak.Array]
    exact: Bools
    largest: dict[str, float]
    restored: int | None = None


@dataclass(frozen=True)
class Restored:
    """What a chunk must restore: checksums of the columns of its jets, or None if unknown, and of jets per event.

    The columns were compared with the original ones: they are within `bounds`, or the same bit for bit.
    """

    columns: int | None
    counts: int
    bounds: Mapping[str, float]

    def keeps(self, precision: Mapping[str, float | None], columns: Sequence[Array], counts: Counts) -> bool:
        """Whether restored columns and counts are those that were compared, and the bounds were these or smaller."""
        promised = {variable: bound for variable, bound in precision.items() if bound is not None}
        if not all(self.bounds.get(variable, np.inf) <= bound for variable, bound in promised.items()):
            return False
        return (self.columns, self.counts) == (checksum_columns(columns), checksum_bytes(counts.tobytes()))


@dataclass(frozen=True)
class CompressedChunk:
    """The stand-ins of a collection in a chunk, and what a `Compressor` sums up of its jets."""

    branches: dict[str, ak.Array]
    jets: int
    exact_jets: int
    reasons: Counter[str]
    largest: dict[str, float]
    restored: Restored


class FileLayout(Protocol):
    """Converts the branches of a collection to its stand-ins and back."""

    by_chunk: ClassVar[bool]  # all jets of a chunk are bytes in its first entry, which can't be cut or compressed

    @property
    def collection(self) -> Collection:
        """The collection, with its units."""
        ...

    @property
    def codec(self) -> Described:
        """The codec of the jets."""
        ...

    def counts(self, run: Run, events: Mapping[str, ak.Array]) -> Counts:
        """The number of jets in each compressed event; raises DamagedFileError for impossible numbers."""
        ...

    def compress(self, columns: Sequence[Array], counts: Counts, bounds: dict[str, float]) -> CompressedJets:
        """The stand-ins of the jets of a chunk, each of which decodes within the bounds or bit for bit."""
        ...

    def restore(
        self, events: Mapping[str, ak.Array], counts: Counts, wanted: Sequence[str] | None = None
    ) -> dict[str, ak.Array]:
        """The original branches of events, at least those of the variables wanted; the inverse of `compress`.

        Raises ValueError for invalid stand-ins.
        """
        ...

    @property
    def why_exact(self) -> str:
        """The likely reason why many jets are exact, for a note, where it is not the jets; else empty."""
        ...


class JetsLayout(FileLayout, Protocol):
    """A layout of four-momenta or of a list of variables, which needs no other."""

    @classmethod
    def start(cls, plan: Plan, options: Options, sample: Mapping[str, ak.Array], entries: int) -> "Start":
        """The compressors of all collections, with codecs chosen on a sample of the `entries`; raises UserError."""
        ...

    @classmethod
    def from_config(cls, entry: CompressedCollection, content: bytes | None) -> Self:
        """The layout of a compressed collection; raises UserError for an unknown model, DamagedFileError."""
        ...

    def told(self, events: Mapping[str, ak.Array], counts: Counts) -> list[Cells]:
        """Integers of every jet that tell of its other numbers, from its stand-ins; raises ValueError as `restore`."""
        ...

    def rows(self, events: Mapping[str, ak.Array], counts: Counts) -> list[Floats]:
        """The jets (n x 4: pt, eta, phi, m in MeV) of stand-ins, before decoded ones are rounded to stored types.

        A codec whose drift is not known has them twice, the second time in float32 arithmetic. Of padding they are any
        numbers. Raises ValueError as `restore`.
        """
        ...


Layout_co = TypeVar("Layout_co", bound=FileLayout, covariant=True)


@dataclass
class Compressor(Generic[Layout_co]):
    """Compresses one collection chunk by chunk, and sums up its jets, exact jets and largest errors.

    `reasons` counts what is odd about exact jets (`odd_jets`). `restored` has for every chunk what must come back.
    """

    layout: Layout_co
    bounds: dict[str, float]
    jets: int = 0
    exact_jets: int = 0
    max_error: dict[str, float] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    restored: list[Restored] = field(default_factory=list)

    @property
    def collection(self) -> Collection:
        """The collection, with its units."""
        return self.layout.collection

    def compress(self, events: Mapping[str, ak.Array]) -> CompressedChunk:
        """The stand-ins of the jets of these events, also in several threads; `add` sums up what is said of them."""
        columns, counts = to_coded_columns(self.collection, events)
        stored = self._stored(columns, counts, events)
        restored = Restored(stored.restored, checksum_bytes(counts.tobytes()), self.bounds)
        odd, exact = odd_jets(self.collection, columns, stored.exact), int(stored.exact.sum())
        return CompressedChunk(stored.branches, len(stored.exact), exact, odd, stored.largest, restored)

    def add(self, chunk: CompressedChunk) -> None:
        """Add the next chunk to the sums."""
        self.jets += chunk.jets
        self.exact_jets += chunk.exact_jets
        self.reasons += chunk.reasons
        self.max_error = merge_largest([self.max_error, chunk.largest])
        self.restored.append(chunk.restored)

    def _stored(self, columns: Sequence[Array], counts: Counts, events: Mapping[str, ak.Array]) -> CompressedJets:
        """The compressed columns of a chunk, of which `events` has all branches."""
        return self.layout.compress(columns, counts, self.bounds)

    @property
    def exact_share(self) -> float:
        """The share of exact jets."""
        return self.exact_jets / self.jets if self.jets else 0.0


def odd_jets(collection: Collection, columns: Sequence[Array], exact: Bools) -> Counter[str]:
    """What is odd about exact jets, with the number of jets: the variable without a coordinate, or out of range.

    The range is that of the jets that are not exact.
    """
    found: Counter[str] = Counter()
    if not exact.any() or not collection.holds_jets:
        return found
    storage, odd = storage_of(collection), [column[exact] for column in columns]
    rows, (lows, highs) = storage.rows(odd), _ranges(storage, columns, ~exact)
    stored = dict(zip(collection.variables, odd, strict=True))
    for i, variable in enumerate(storage.variables.names):
        values, low, high = rows[:, i], lows[i], highs[i]
        found[f"{variable} is not finite"] = int((~np.isfinite(stored.get(variable, values))).sum())
        if variable == "phi":
            with np.errstate(invalid="ignore"):  # a signalling NaN
                found[_NO_RADIANS] = int((np.abs(stored.get("phi", values)) > FULL_TURN + _TURNED).sum())
        if variable == "pt":
            found["pt is not positive"] = int((values <= 0).sum())
        elif variable == "m" and not storage.layout.has_signed_mass:
            found["m is negative"] = int((values < LEAST_MASS).sum())
        if not exact.all():
            low = max(0.0, low) if variable in ("pt", "m") else low
            found[f"{variable} is out of range"] = int(((values > high) | ((values < low) & (values > 0))).sum())
    return +found


def _ranges(storage: Storage, columns: Sequence[Array], known: Bools) -> tuple[Floats, Floats]:
    """The least and the largest value of each variable of the known rows."""
    lows, highs = [], []
    for block in blocks(len(known)):
        rows = storage.rows([column[block][known[block]] for column in columns])
        lows.append(rows.min(axis=0, initial=np.inf))
        highs.append(rows.max(axis=0, initial=-np.inf))
    return np.min(lows, axis=0), np.max(highs, axis=0)


@dataclass(frozen=True)
class Start:
    """The compressors of all collections, their model, warnings, and how jets of collections are unlike the model's."""

    compressors: Sequence[Compressor[FileLayout]]
    model_sha256: str
    embedded: dict[str, bytes]  # the model by SHA-256, if the file must contain it
    warnings: Sequence[str] = ()
    unlike: Mapping[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """The warnings, and one line on jets that the model does not know or that are exact."""
        told = [*self._unlike(), *self._many_exact()]
        return [*self.warnings, *(["; ".join(told)] if told else [])]

    def details(self) -> list[str]:
        """The same of each collection."""
        unlike = [f"'{name}': {how}" for name, how in self.unlike.items()]
        exact = [c for c in self.compressors if c.exact_jets]
        return unlike + [
            f"'{c.collection.name}': {c.exact_jets:,} of {counted(c.jets, 'jets')} are kept exactly"
            f"{_because(c.reasons)}"
            for c in exact
        ]

    def _unlike(self) -> Iterator[str]:
        if self.unlike:
            named = some((f"'{name}'" for name in self.unlike), 3)
            first, how = next(iter(self.unlike.items()))
            whose = f"those of '{first}': " if len(self.unlike) > 1 else ""
            yield (
                f"jets of {named} are unlike those the model was trained on: {whose}{how}; "
                "`--model self` may take less space"
            )

    def _many_exact(self) -> Iterator[str]:
        """Which collections have more than 5 % exact jets; once for the same likely reason of the layout."""
        many = sorted((c for c in self.compressors if c.exact_share > MANY_EXACT), key=lambda c: -c.exact_share)
        for why in dict.fromkeys(c.layout.why_exact for c in many):
            alike = [c for c in many if c.layout.why_exact == why]
            least, most = (f"{alike[i].exact_share:.0%}" for i in (-1, 0))
            share = most if least == most else f"{least} to {most}"
            named = some((f"'{c.collection.name}'" for c in alike), 3)
            reasons = sum((c.reasons for c in alike), Counter[str]())
            yield f"{share} of the jets of {named} are kept exactly: {why or _because(reasons).removeprefix(': ')}"


def _because(reasons: Counter[str]) -> str:
    """What is odd about most exact jets."""
    told = ", ".join(f"{what} ({number:,} jet{'s' * (number != 1)})" for what, number in reasons.most_common(2))
    return f": {told or 'they are beyond a bound'}"


def as_rounded(collection: Collection, precision: Precision, columns: Sequence[Array]) -> Collection:
    """The collection with its resolutions and, if it stores pt, eta, phi and m, the roundings found in a sample."""
    promised = precision.of(storage_of(collection).layout)
    by_resolution = {v: found for v, found in precision.resolutions.items() if v in promised}
    collection = replace(collection, resolutions=by_resolution or None)
    storage = storage_of(collection)
    bounds = precision.of(storage.layout)
    if storage.layout.names != storage.variables.names or precision.unbounded:
        return collection
    jets = storage.is_jet(columns)
    kept = columns if jets.all() else [column[jets] for column in columns]
    stored, widths = dict(zip(collection.variables, kept, strict=True)), storage.widths(kept)
    found = find_roundings(stored, storage.scale, bounds, precision.full, widths) | (collection.roundings or {})
    found |= {v: _as_half(found.get(v)) for v in collection.halves}
    return replace(collection, roundings=found or None)


def _as_half(rounding: Rounding | None) -> Rounding:
    """The rounding of decoded values that float16 holds: to the bits of its mantissa, or to fewer if it was so."""
    mantissa = int(np.finfo(np.float16).nmant)
    bits = rounding.bits if rounding and rounding.bits is not None else mantissa
    return Rounding(min(bits, mantissa))
