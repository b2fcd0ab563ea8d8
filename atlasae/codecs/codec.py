"""The loop that keeps the promise: encode, decode, compare, and mark rows that exceed a bound as exact."""

import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from atlasae.files.checksums import RunningChecksum
from atlasae.jets.coordinates import DRIFT, Bools, Floats
from atlasae.jets.padding import Latents, Padding, Stored
from atlasae.jets.stored import Storage, blocks
from atlasae.native.library import ChainPass, JetPass
from atlasae.threads import given_threads

DRIFTS = 4  # margin in units of the difference of float64 and float32: other float32 arithmetic may differ by more


class _Limit:
    """The threads that torch had before the first of those who limit them now; the last one gives them back."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = Lock(), 0, 0

    def begin(self, torch: Any, number: int) -> None:
        """Limit torch to so many threads, if nobody else limits them."""
        with self._lock:
            if not self._users:
                self._before = torch.get_num_threads()
                torch.set_num_threads(number)
            self._users += 1

    def end(self, torch: Any) -> None:
        """Give torch its threads back, if nobody else limits them."""
        with self._lock:
            self._users -= 1
            if not self._users:
                torch.set_num_threads(self._before)


_limit = _Limit()


@contextmanager
def few_threads() -> Iterator[None]:
    """Limit torch, if it is there, to one thread or to ATLASAE_THREADS; raises UserError unless that is 1 to 1024.

    Blocks of rows are too small to gain from more threads, and lose on a busy machine.
    """
    number = given_threads() or 1
    torch: Any = sys.modules.get("torch")  # equal steps do without
    if not hasattr(torch, "set_num_threads"):  # another thread may be importing it
        yield
        return
    _limit.begin(torch, number)
    try:
        yield
    finally:
        _limit.end(torch)


class RowCoder(Protocol):
    """Encodes rows as numbers and decodes them, each row independently of the others."""

    @property
    def single(self) -> Self | None:
        """The same coder in float32 arithmetic, or None if its drift is known to be below `DRIFT`."""
        ...

    def part(self, rows: slice) -> Self:
        """The coder of some rows of a chunk; the same, unless rows are coded by their position."""
        ...

    def encode(self, rows: Floats) -> npt.NDArray[Any]:
        """The numbers (n x words) of rows (n x variables); rows without coordinates get any numbers."""
        ...

    def decode(self, latents: Any) -> Floats:
        """The rows of numbers."""
        ...


class Decoder(Protocol):
    """Decodes latents to rows: jets, or the variables of a list."""

    @property
    def padding(self) -> Padding:
        """The padding, for which some latents are reserved."""
        ...

    def decode(self, latents: Latents, wanted: Container[int] | None = None) -> Floats:
        """The rows of latents; with `wanted`, only these variables of a row need be right."""
        ...

    def passes(self, storage: Storage, columns: Stored, wanted: Container[int] | None = None) -> ChainPass | None:
        """A compiled pass over rows of columns like these, for the variables wanted; None where there is none."""
        ...


class FloatsCoder(Decoder, RowCoder, Protocol):
    """A coder whose numbers are float32 latents."""

    @property
    def stand_in(self) -> Floats:
        """The row that is encoded instead of a row without coordinates."""
        ...


@dataclass(frozen=True)
class Encoded:
    """Encoded rows: their latents, which rows exceed a bound, and the largest error of the others by variable.

    `restored` is the checksum of the columns (`checksum_columns`) that were compared: decoded, and the original rows
    where these exceed a bound.
    """

    latents: npt.NDArray[Any]
    exact: Bools
    largest: dict[str, float]
    restored: int


def encode_and_compare(
    coder: RowCoder, storage: Storage, bounds: Mapping[str, float], columns: Stored, drift: float = DRIFT
) -> Encoded:
    """Encode stored columns, decode them, and find the rows that exceed a bound.

    Bounds are reduced by `drift` (`inner`), since other arithmetic may decode a row differently by that much.
    """
    latents: npt.NDArray[Any] = np.empty(0)
    exact, largest, restored = [], dict.fromkeys(bounds, 0.0), RunningChecksum()
    kept = storage.kept(bounds, drift)
    for block in blocks(len(columns[0])):
        original = [column[block] for column in columns]
        values = storage.to_values(original)
        rows, here = storage.to_rows(values), coder.part(block)
        encoded = here.encode(rows)
        latents = latents if block.start else _room(encoded, len(columns[0]))
        latents[block] = encoded
        decoded = here.decode(encoded)
        back = storage.to_columns(storage.from_rows(decoded))
        found = storage.errors(values, storage.to_values(back))
        worst = storage.worst_errors(values, decoded, _worst(here, storage, values, encoded, found), drift)
        within = storage.usable(rows) & np.all([worst[v] <= bound for v, bound in kept.items()], axis=0)
        exact.append(~within)
        restored.add(with_exact(back, original, exact[-1]))
        for variable in bounds:
            largest[variable] = max(largest[variable], float(found[variable][within].max(initial=0.0)))
    return Encoded(latents, np.concatenate(exact), largest, restored.value)


def encode_in_passes(
    passed: ChainPass | JetPass, storage: Storage, bounds: Mapping[str, float], columns: Stored, drift: float = DRIFT
) -> Encoded:
    """What `encode_and_compare` finds, by compiled passes; latents are the numbers these make."""
    kept, restored = storage.kept(bounds, drift), RunningChecksum()
    numbers, exact, largest, parts = passed.encode_and_compare(columns, kept)
    for block, back in parts:
        restored.add(with_exact(back, [column[block] for column in columns], exact[block]))
    return Encoded(numbers.T, exact, {variable: largest[variable] for variable in bounds}, restored.value)


def _room(encoded: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """Room for the numbers of n rows, in the order in memory of those of a block."""
    return np.empty((n, encoded.shape[1]), encoded.dtype, "F" if encoded.flags.f_contiguous else "C")


def with_exact(columns: list[npt.NDArray[Any]], original: Stored, exact: Bools) -> list[npt.NDArray[Any]]:
    """Decoded columns with the original values of exact rows, which are of the same type in a file."""
    if len(where := np.flatnonzero(exact)):
        with np.errstate(over="ignore"):  # arrays of float64 that are given to `Codec` may not fit
            for column, values in zip(columns, original, strict=True):
                column[where] = values[where]
    return columns


def checksum_columns(columns: Stored) -> int:
    """The checksum of the columns of rows, to compare with that of `Encoded`."""
    restored = RunningChecksum()
    for block in blocks(len(columns[0])):
        restored.add(column[block] for column in columns)
    return restored.value


def encode_within(codec: FloatsCoder, storage: Storage, bounds: Mapping[str, float], columns: Stored) -> Encoded:
    """The same for float32 latents: exact rows get those of `stand_in`, padding its own, and padding is not exact."""
    if passed := codec.passes(storage, columns):
        found = encode_in_passes(passed, storage, bounds, columns)
        found = replace(found, latents=found.latents.view(np.float32))
    else:
        found = encode_and_compare(codec, storage, bounds, columns)
    codes = codec.padding.find(columns)
    # The latents of exact rows are not used: equal ones compress to nearly nothing.
    found.latents[found.exact] = codec.encode(codec.stand_in[None])
    return replace(found, latents=codec.padding.mark(found.latents, codes), exact=found.exact & (codes == 0))


def restore(
    codec: Decoder, storage: Storage, words: Sequence[Latents], wanted: Container[int] | None = None
) -> list[npt.NDArray[Any]]:
    """The columns, with padding, that decompression makes of latents, given word by word (words x n).

    With `wanted`, only the columns of these variables of a row are right. Raises ValueError for impossible latents.
    """
    codes, n = None, len(words[0])
    if any(len(word) != n for word in words):
        raise ValueError("latents of different numbers of rows")
    if codec.padding.rows:
        latents, codes = codec.padding.unmark(np.stack(words).T)
        words = list(latents.T)
    columns = _columns(n, storage.dtypes)
    if passed := codec.passes(storage, columns, wanted):
        passed.decode([np.ascontiguousarray(word, np.float32).view(np.uint32) for word in words], columns)
    else:
        for block in blocks(n):
            latents = np.stack([word[block] for word in words]).T
            rows = storage.from_rows(codec.decode(latents, wanted))
            for column, part in zip(columns, storage.to_columns(rows), strict=True):
                column[block] = part
    if codes is not None:
        codec.padding.fill(columns, codes)
    return columns


def _columns(n: int, dtypes: Sequence[np.dtype[Any]]) -> list[npt.NDArray[Any]]:
    """Room for columns of n rows, of one type in one array: NumPy has large arrays in large pages, which cost less."""
    if len(set(dtypes)) > 1:
        return [np.empty(n, dtype) for dtype in dtypes]
    return list(np.empty((len(dtypes), n), dtypes[0]))


def _worst(
    coder: RowCoder, storage: Storage, values: Floats, latents: npt.NDArray[Any], found: dict[str, Floats]
) -> dict[str, Floats]:
    """The errors that rows may have in other arithmetic, where `found` are those in float64.

    A chain of densities drifts by `DRIFT` at most, for which `inner` leaves room. A network with outputs pt and E has
    no such limit, since m is their small difference: its drift is measured, by decoding each jet in float32, too.
    """
    if coder.single is None:
        return found
    single = storage.errors_of(values, coder.single.decode(latents))
    with np.errstate(invalid="ignore"):  # NaN in both has no drift
        drifts = {variable: np.nan_to_num(np.abs(single[variable] - error)) for variable, error in found.items()}
    return {variable: error + DRIFTS * drifts[variable] for variable, error in found.items()}
