#!/usr/bin/env python
"""Million jets per second that the codecs encode and decode in memory, compared with pcodec and SZ3 on the same jets.

A long file is made from FILE. Jets are float64 arrays (pt, eta, phi, m), encoded as latents (three floats) or bytes
(packed) and decoded again. The precision is 1e-3, with the packaged models; CPU seconds are the minimum of three runs.
Decoded jets are dropped block by block, as in `decompress`. The peers (extra `benchmark`) encode the same jets: pcodec
the cells of a grid, SZ3 the coordinates; their time includes the computation of these.
"""

from collections import deque
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from harness import Given, Table, Tables, Works, fastest, main, millions_a_second

from atlasae.codecs.codec import few_threads
from atlasae.codecs.entropy import Words
from atlasae.codecs.lattice import Lattice
from atlasae.codecs.model import VARIABLES, default_model
from atlasae.codecs.packed import PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.codecs.search import choose_codec
from atlasae.compression.packed import coder_of, steps_apart
from atlasae.jets.coordinates import Floats
from atlasae.jets.inputs import find_in, open_input
from atlasae.jets.precision import Precision, steps
from atlasae.jets.stored import blocks, storage_of
from atlasae.jets.variables import JET
from atlasae.reports.peers import Sample, grid_cells, narrow, read_sample

BOUND = 1e-3
PEERS = {"grid, pcodec": "pcodec", "SZ3": "pysz"}  # the packages that they need


def read_jets(path: Path) -> Sample:
    """The jets of the first collection of a file."""
    with open_input(path, None, ()) as opened:
        return read_sample(opened, find_in(opened.events, opened.where, ())[0]).settled(None).with_coordinates()


def floats_works(sample: Sample, name: str = "floats") -> Works:
    """Encoding of jets as latents, and decoding of these."""
    jets, parts = sample.jets, blocks(len(sample.jets))
    precision, storage = Precision.parse(str(BOUND)), storage_of(sample.collection)
    codec = choose_codec(default_model().autoencoder, storage, precision, sample.columns)
    latents = [codec.encode(jets[part]) for part in parts]
    return {
        (name, "encode"): lambda: deque((codec.encode(jets[part]) for part in parts), maxlen=0),
        (name, "decode"): lambda: deque(map(codec.decode, latents), maxlen=0),
    }


def packed_codec(sample: Sample, bound: float, context: bool = True) -> PackedCodec:
    """The codec of packed bytes at a bound, with the packaged tables."""
    storage = storage_of(sample.collection)
    step = steps(Precision.parse(str(bound)).of(storage.layout), storage.layout, storage.rounding, steps_apart(storage))
    return PackedCodec(default_priors(), Lattice((step[0], step[1], step[2], step[3]), (True,) * 4), context)


def packed_works(sample: Sample, name: str = "packed", context: bool = True) -> Works:
    """Encoding of jets as bytes, and decoding of these."""
    jets, codec = sample.jets, packed_codec(sample, BOUND, context)
    parts, grid = blocks(len(jets)), coder_of(codec.lattice, 0, np.arange(len(jets)))

    def pack() -> Words:
        cells = [grid.part(part).encode(jets[part]).T for part in parts]
        return codec.encode(np.concatenate(cells, axis=1), sample.counts)

    words = pack()

    def unpack() -> None:
        cells = codec.decode(words, sample.counts)
        for part in parts:
            grid.part(part).decode(cells[:, part].T)

    return {(name, "encode"): pack, (name, "decode"): unpack}


def with_pcodec(jets: Floats) -> list[bytes]:
    """The cells of a grid, compressed by pcodec column by column."""
    from pcodec import ChunkConfig, standalone

    cells = grid_cells(jets, BOUND)
    return [standalone.simple_compress(narrow(cells[v]).astype(np.uint16), ChunkConfig()) for v in VARIABLES]


def with_sz3(jets: Floats) -> list[Any]:
    """The coordinates, compressed by SZ3 column by column."""
    from pysz import sz, szConfig, szErrorBoundMode

    columns = np.ascontiguousarray(JET.to_coordinates(jets).T.astype(np.float32))
    config = szConfig(columns[0].shape)
    config.errorBoundMode, config.absErrorBound = szErrorBoundMode.ABS, BOUND
    return [sz.compress(column, config) for column in columns]


def speeds(sample: Sample, works: Works, times: int) -> Table:
    """Million jets per second by codec, for encoding and decoding."""
    with few_threads():
        return millions_a_second(len(sample.jets), fastest(works, times))


def measure(given: Given) -> Tables:
    """The speeds of our codecs and of the peers."""
    sample = read_jets(given.long())
    works = floats_works(sample) | packed_works(sample) | packed_works(sample, "packed, --no-context", context=False)
    for (name, package), peer in zip(PEERS.items(), (with_pcodec, with_sz3), strict=True):
        if find_spec(package):
            works[name, "encode"] = partial(peer, sample.jets)
    table = speeds(sample, works, 3)
    return {"input": {given.files[0].name: {"jets": len(sample.jets)}}, "million jets a second": table}


if __name__ == "__main__":
    main(__doc__, measure, jets=500_000)
