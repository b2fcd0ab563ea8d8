#!/usr/bin/env python
"""Million jets per second that the codecs encode and decode in memory, compared with pcodec and SZ3 on the same jets.

A long file is made from FILE. Jets are float64 arrays (pt, eta, phi, m), encoded as latents (three floats) or bytes
(packed) and decoded again. The precision is 1e-3, with the packaged models; CPU seconds are the minimum of three runs.
Decoded jets are dropped block by block, as in `decompress`. The peers (extra `benchmark`) encode the same jets: pcodec
the cells of a grid, SZ3 the coordinates; their time includes the computation of these.
"""

import argparse
from collections import deque
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from harness import Tables, Works, fastest, long_file, main, millions_a_second

from atlasae.codecs.floats import few_threads
from atlasae.codecs.lattice import Lattice
from atlasae.codecs.model import VARIABLES, default_model
from atlasae.codecs.packed import PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.codecs.search import choose_codec
from atlasae.compression.packed import coder_of
from atlasae.jets.coordinates import Floats
from atlasae.jets.inputs import find_in, open_input
from atlasae.jets.precision import Precision, steps
from atlasae.jets.stored import blocks, storage_of
from atlasae.jets.variables import JET
from atlasae.reports.peers import Sample, grid_cells, narrow, read_sample

BOUND = 1e-3
Work = Callable[[], Any]


def read_jets(path: Path) -> Sample:
    """The jets of the first collection of a file."""
    with open_input(path, None, ()) as opened:
        return read_sample(opened, find_in(opened.events, opened.where, ())[0]).settled(None).with_coordinates()


def floats_works(sample: Sample) -> tuple[Work, Work]:
    """Encoding of jets as latents, and decoding of these."""
    jets, precision = sample.jets, Precision.parse(str(BOUND))
    autoencoder = default_model().autoencoder
    codec = choose_codec(autoencoder, storage_of(sample.collection), precision, sample.columns)
    latents = [codec.encode(jets[part]) for part in blocks(len(jets))]

    def encode() -> None:
        deque((codec.encode(jets[part]) for part in blocks(len(jets))), maxlen=0)

    return encode, lambda: deque(map(codec.decode, latents), maxlen=0)


def packed_works(sample: Sample, context: bool) -> tuple[Work, Work]:
    """Encoding of jets as bytes, and decoding of these."""
    jets, layout = sample.jets, storage_of(sample.collection)
    step = steps(Precision.parse(str(BOUND)).of(layout.layout), layout.layout, layout.rounding)
    codec = PackedCodec(default_priors(), Lattice((step[0], step[1], step[2], step[3]), (True,) * 4), context)
    grid = coder_of(codec.lattice, 0, np.arange(len(jets)))

    def pack() -> bytes:
        cells = [grid.part(part).encode(jets[part]).T for part in blocks(len(jets))]
        return codec.encode(np.concatenate(cells, axis=1), sample.counts).tobytes()

    content = pack()

    def unpack() -> None:
        cells = codec.decode(np.frombuffer(content, np.uint32), sample.counts)
        for part in blocks(len(jets)):
            grid.part(part).decode(cells[:, part].T)

    return pack, unpack


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


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Million jets per second by codec, for encoding and decoding."""
    sample = read_jets(long_file(given.files[0], given.jets, given.scratch))
    works: Works = {}
    for name, pair in (
        ("floats", floats_works(sample)),
        ("packed", packed_works(sample, context=True)),
        ("packed, --no-context", packed_works(sample, context=False)),
    ):
        works |= {(name, "encode"): pair[0], (name, "decode"): pair[1]}
    for name, package, peer in (("grid, pcodec", "pcodec", with_pcodec), ("SZ3", "pysz", with_sz3)):
        if find_spec(package):
            works |= {(name, "encode"): partial(peer, sample.jets)}
    with few_threads():
        table = millions_a_second(len(sample.jets), fastest(works))
    return {"input": {given.files[0].name: {"jets": len(sample.jets)}}, "million jets a second": table}


if __name__ == "__main__":
    main(__doc__, measure, jets=500_000)
