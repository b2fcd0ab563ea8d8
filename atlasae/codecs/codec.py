"""The one loop that keeps the promise: encode, decode, compare, keep exactly what fails."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atlasae.codecs.floats import AnyCodec, BottleneckCodec
from atlasae.jets.coordinates import (
    DRIFT,
    Bools,
    Floats,
)  # fmt: skip
from atlasae.jets.stored import Latents, ListStorage, Storage, blocks

DRIFTS = 4  # of a network's own drift: another float32 arithmetic differs from both that were tried


@dataclass(frozen=True)
class Encoded:
    """What encoding a run of jets gave: latents, which jets break a bound, the largest error of the others."""

    latents: Latents
    exact: Bools
    largest: dict[str, float]


def encode_within(
    codec: AnyCodec,
    storage: Storage | ListStorage,
    bounds: dict[str, float],
    columns: Sequence[npt.NDArray[np.generic]],
) -> Encoded:
    """Encode stored columns, decode them again, and tell which jets are not within their bounds.

    A jet counts as within where it is so by a margin (`inner`), for whoever decodes it may compute otherwise. Padding
    is neither: its latents say what it is.
    """
    latents, exact, largest = [], [], dict.fromkeys(bounds, 0.0)
    kept = storage.kept(bounds)
    # Nobody looks at the latents of exact jets: alike, they cost nothing.
    unused = codec.encode(codec.stand_in[None])
    for block in blocks(len(columns[0])):
        stored = [column[block] for column in columns]
        values = storage.to_values(stored)
        rows = storage.to_rows(values)
        latents.append(codec.encode(rows))
        decoded = codec.decode(latents[-1])
        found = storage.errors_of(values, decoded)
        worst = storage.worst_errors(values, decoded, _worst(codec, storage, values, latents[-1], found), DRIFT)
        within = storage.usable(rows) & np.all([worst[v] <= bound for v, bound in kept.items()], axis=0)
        latents[-1][~within] = unused
        codes = codec.padding.find(stored)
        latents[-1] = codec.padding.mark(latents[-1], codes)
        within &= codes == 0
        exact.append(~within & (codes == 0))
        for variable in bounds:
            largest[variable] = max(largest[variable], float(found[variable][within].max(initial=0.0)))
    return Encoded(np.concatenate(latents), np.concatenate(exact), largest)


def _worst(
    codec: AnyCodec, storage: Storage | ListStorage, values: Floats, latents: Latents, found: dict[str, Floats]
) -> dict[str, Floats]:
    """The errors that jets may have in other arithmetic; `found` are those in ours.

    A chain of densities moves by `DRIFT` at most, which `inner` leaves room for. A network that tells E and p, whose
    difference is the mass, has no such limit: there each jet is decoded in float32 too.
    """
    if not isinstance(codec, BottleneckCodec):
        return found
    single = storage.errors(values, storage.to_values(storage.restore(codec.single, latents)))
    with np.errstate(invalid="ignore"):  # what is no number in both is no drift
        drifts = {variable: np.nan_to_num(np.abs(single[variable] - error)) for variable, error in found.items()}
    return {variable: error + DRIFTS * drifts[variable] for variable, error in found.items()}
