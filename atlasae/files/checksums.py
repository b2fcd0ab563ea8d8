"""Checksums (XXH3, 64 bits) of branches and files."""

from __future__ import annotations  # `atlasae info` does without awkward

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import awkward as ak
import numpy as np
import xxhash

from atlasae.files.events import Array, Counts, is_nested, parts_of_lists


def checksum_bytes(*parts: bytes | memoryview) -> int:
    """The XXH3 hash (64 bits) of some bytes, one after the other."""
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()


def buffer_of(array: Array) -> bytes | memoryview:
    """The bytes of an array, without a copy if they lie one after the other."""
    return np.ascontiguousarray(array).data.cast("B") if array.size and array.ndim else array.tobytes()


class RunningChecksum:
    """The XXH3 hash (64 bits) of columns that come block by block; it depends on the blocks."""

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_64()

    def add(self, columns: Iterable[Array]) -> None:
        """Add the values of the next block, column by column."""
        for column in columns:
            self._digest.update(buffer_of(column))

    @property
    def value(self) -> int:
        """The hash of the blocks so far."""
        return self._digest.intdigest()


def checksum_file(path: Path) -> int:
    """The XXH3 hash (64 bits) of the bytes of a file."""
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.intdigest()


def checksum(array: ak.Array) -> int:
    """The XXH3 hash (64 bits) of the values and event boundaries of an array; its memory layout does not matter."""
    return checksums({"": array})[""]


def checksums(arrays: Mapping[str, ak.Array]) -> dict[str, int]:
    """The same of many; the boundaries that some share (`with_shared_ends`) are hashed once."""
    begun, found = dict[int, tuple[Counts, xxhash.xxh3_64]](), dict[str, int]()  # with what the number stands for
    for name, array in arrays.items():
        if parts := parts_of_lists(array):
            values, offsets = parts
            if id(offsets) not in begun:
                begun[id(offsets)] = offsets, xxhash.xxh3_64(np.diff(offsets).astype("<i8", copy=False).data)
            digest = begun[id(offsets)][1].copy()
            digest.update(np.ascontiguousarray(values).data)
            found[name] = digest.intdigest()
        else:
            found[name] = checksum_bytes(*_parts(ak.without_parameters(array)))  # a string is a list of bytes
    return found


def _parts(array: ak.Array) -> Iterator[bytes | memoryview]:
    """The bytes of an array, level by level: which values are missing, the lengths of lists, the values."""
    layout = array.layout
    if layout.is_option:
        yield ak.to_numpy(ak.is_none(array)).tobytes()
        array = ak.drop_none(array, axis=0)
        yield from _parts(array)
    elif layout.is_record:
        for name in layout.fields:
            yield from _parts(array[name])
    elif layout.is_list and not layout.is_regular:
        yield buffer_of(ak.to_numpy(ak.num(array)).astype("<i8"))
        yield from _parts(ak.flatten(array))
    elif layout.is_regular and is_nested(array):
        yield from _parts(ak.flatten(array))
    else:
        yield buffer_of(ak.to_numpy(array))
