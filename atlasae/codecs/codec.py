"""The one loop that keeps the promise: encode, decode, compare, keep exactly what fails."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from atlasae.jets.coordinates import DRIFT, Bools, Floats
from atlasae.jets.padding import Latents, Padding, Stored
from atlasae.jets.stored import Storage, blocks

DRIFTS = 4  # of a network's own drift: another float32 arithmetic differs from both that were tried


class RowCoder(Protocol):
    """What turns rows into numbers and back, each row by itself."""

    @property
    def single(self) -> Self | None:
        """The same in float32 arithmetic, where its own drift is not known to be below `DRIFT`."""
        ...

    def encode(self, rows: Floats) -> npt.NDArray[Any]:
        """Turn rows (n x variables) into numbers (n x words); rows without coordinates into some."""
        ...

    def decode(self, latents: Any) -> Floats:
        """Turn numbers back into rows."""
        ...


class Decoder(Protocol):
    """What turns latents back into rows: jets, or the variables of a list."""

    @property
    def padding(self) -> Padding:
        """The rows that some latents stand for."""
        ...

    def decode(self, latents: Latents) -> Floats:
        """Turn latents back into rows."""
        ...


class FloatsCoder(RowCoder, Decoder, Protocol):
    """A coder whose numbers are the float32 of branches."""

    @property
    def stand_in(self) -> Floats:
        """A row that is encoded in place of one without coordinates."""
        ...


@dataclass(frozen=True)
class Encoded:
    """What encoding a run of rows gave: latents, which rows break a bound, the largest error of the others."""

    latents: npt.NDArray[Any]
    exact: Bools
    largest: dict[str, float]


def encode_and_compare(
    coder: RowCoder, storage: Storage, bounds: Mapping[str, float], columns: Stored, drift: float = DRIFT
) -> Encoded:
    """Encode stored columns, decode them again, and tell which rows are not within their bounds.

    A row counts as within where it is so by a margin (`inner`), for whoever decodes it may be off by `drift`.
    """
    latents, exact, largest = [], [], dict.fromkeys(bounds, 0.0)
    kept = storage.kept(bounds, drift)
    for block in blocks(len(columns[0])):
        values = storage.to_values([column[block] for column in columns])
        rows = storage.to_rows(values)
        latents.append(coder.encode(rows))
        decoded = coder.decode(latents[-1])
        found = storage.errors_of(values, decoded)
        worst = storage.worst_errors(values, decoded, _worst(coder, storage, values, latents[-1], found), drift)
        within = storage.usable(rows) & np.all([worst[v] <= bound for v, bound in kept.items()], axis=0)
        exact.append(~within)
        for variable in bounds:
            largest[variable] = max(largest[variable], float(found[variable][within].max(initial=0.0)))
    return Encoded(np.concatenate(latents), np.concatenate(exact), largest)


def encode_within(codec: FloatsCoder, storage: Storage, bounds: Mapping[str, float], columns: Stored) -> Encoded:
    """The same for float32 of branches: all exact rows have the latents of one row, and padding has its own."""
    found = encode_and_compare(codec, storage, bounds, columns)
    codes = codec.padding.find(columns)
    # Nobody looks at the latents of exact rows: alike, they cost nothing.
    found.latents[found.exact] = codec.encode(codec.stand_in[None])
    return replace(found, latents=codec.padding.mark(found.latents, codes), exact=found.exact & (codes == 0))


def restore(codec: Decoder, storage: Storage, latents: Latents) -> list[npt.NDArray[Any]]:
    """Decode latents into the columns that a reader of the decompressed file will see."""
    latents, codes = codec.padding.unmark(latents)
    parts = [storage.to_columns(storage.from_rows(codec.decode(latents[block]))) for block in blocks(len(latents))]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    codec.padding.fill(columns, codes)
    return columns


def _worst(
    coder: RowCoder, storage: Storage, values: Floats, latents: npt.NDArray[Any], found: dict[str, Floats]
) -> dict[str, Floats]:
    """The errors that rows may have in other arithmetic; `found` are those in ours.

    A chain of densities moves by `DRIFT` at most, which `inner` leaves room for. A network that tells E and p, whose
    difference is the mass, has no such limit: there each jet is decoded in float32 too.
    """
    if coder.single is None:
        return found
    single = storage.errors_of(values, coder.single.decode(latents))
    with np.errstate(invalid="ignore"):  # what is no number in both is no drift
        drifts = {variable: np.nan_to_num(np.abs(single[variable] - error)) for variable, error in found.items()}
    return {variable: error + DRIFTS * drifts[variable] for variable, error in found.items()}
