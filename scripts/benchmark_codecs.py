#!/usr/bin/env python
"""Million jets a second that the codecs encode and decode in memory, beside pcodec and SZ3 on the same jets.

    python scripts/benchmark_codecs.py [IN.root] [--json]

IN is a long file, such as scripts/make_large.py makes (data/jets.root unless given). Jets are arrays of float64 (pt,
eta, phi, m) at first and at last; what is between them are latents (three floats) or bytes (packed). Precision is 1e-3,
the models are the packaged ones; every time is the best of three. Decoded jets are made and dropped block by block, as
`decompress` uses them. The peers (extra `benchmark`) encode what they would have to: pcodec the cells of a grid, SZ3
the coordinates, both made of the same arrays in the time that is told.
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atlasae.codecs.floats import few_threads
from atlasae.codecs.lattice import Lattice
from atlasae.codecs.model import default_model
from atlasae.codecs.packed import PackedCodec
from atlasae.codecs.priors import default_priors
from atlasae.codecs.search import choose_codec
from atlasae.files.events import Counts
from atlasae.jets.coordinates import Floats
from atlasae.jets.inputs import find_in, open_input
from atlasae.jets.precision import Precision, steps
from atlasae.jets.stored import blocks, storage_of
from atlasae.jets.variables import JET
from atlasae.reports.peers import VARIABLES, Sample, grid_cells, narrow, read_sample

SAMPLE = Path(__file__).parents[1] / "data" / "jets.root"
BOUND = 1e-3
TIMES = 3


def read_jets(path: Path) -> Sample:
    """The jets of the first collection of a file."""
    with open_input(path, None, ()) as opened:
        return read_sample(opened, find_in(opened.events, opened.where, ())[0]).settled(None).with_coordinates()


def measure(sample: Sample) -> dict[str, dict[str, float]]:
    """Million jets a second, by codec and way."""
    jets, seconds = sample.jets, {"three floats": time_floats(sample)}
    storage = storage_of(sample.collection)
    step = steps(Precision.parse(str(BOUND)).of(storage.layout), storage.layout, storage.rounding)
    for name, context in (("packed", True), ("packed, --no-context", False)):
        codec = PackedCodec(default_priors(), Lattice((step[0], step[1], step[2], step[3])), context)
        seconds[name] = time_packed(codec, jets, sample.counts)
    for name, peer in (("grid, pcodec", with_pcodec), ("SZ3", with_sz3)):
        try:
            seconds[name] = {"encode": best(partial(peer, jets))[0]}
        except ImportError:
            continue
    return {name: {way: len(jets) / 1e6 / took for way, took in row.items()} for name, row in seconds.items()}


def time_floats(sample: Sample) -> dict[str, float]:
    """Seconds of jets to latents and back."""
    jets, precision = sample.jets, Precision.parse(str(BOUND))
    with few_threads():
        autoencoder = default_model().autoencoder
        codec = choose_codec(autoencoder, storage_of(sample.collection), precision, sample.columns)
        encode, latents = best(lambda: [codec.encode(jets[part]) for part in blocks(len(jets))])
        decode, _ = best(lambda: deque(map(codec.decode, latents), maxlen=0))
    return {"encode": encode, "decode": decode}


def time_packed(codec: PackedCodec, jets: Floats, counts: Counts) -> dict[str, float]:
    """Seconds of jets to bytes and back."""

    def pack() -> bytes:
        cells = [codec.lattice.cells(jets[part])[0] for part in blocks(len(jets))]
        return codec.encode(np.concatenate(cells, axis=1), counts).tobytes()

    def unpack() -> None:
        cells = codec.decode(np.frombuffer(content, np.uint32), counts)
        for part in blocks(len(jets)):
            codec.lattice.jets(cells[:, part])

    encode, content = best(pack)
    return {"encode": encode, "decode": best(unpack)[0]}


def with_pcodec(jets: Floats) -> list[bytes]:
    """Cells of a grid, column by column."""
    from pcodec import ChunkConfig, standalone

    cells = grid_cells(jets, BOUND)
    return [standalone.simple_compress(narrow(cells[v]).astype(np.uint16), ChunkConfig()) for v in VARIABLES]


def with_sz3(jets: Floats) -> list[Any]:
    """Coordinates, column by column."""
    from pysz import sz, szConfig, szErrorBoundMode

    columns = np.ascontiguousarray(JET.to_coordinates(jets).T.astype(np.float32))
    config = szConfig(columns[0].shape)
    config.errorBoundMode, config.absErrorBound = szErrorBoundMode.ABS, BOUND
    return [sz.compress(column, config) for column in columns]


def best(job: Callable[[], Any]) -> tuple[float, Any]:
    """The shortest of some times (seconds), and what the job gave."""
    times = []
    for _ in range(TIMES):
        started = time.perf_counter()
        given = job()
        times.append(time.perf_counter() - started)
    return min(times), given


def text(found: Mapping[str, Mapping[str, float]]) -> str:
    """The speeds as lines to read."""
    rows = ((name, ", ".join(f"{way} {speed:.1f}" for way, speed in row.items())) for name, row in found.items())
    return "\n".join(f"{name:22}{ways} million jets a second" for name, ways in rows)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(read_jets(args.input))
    print(json.dumps(found) if args.json else text(found))


if __name__ == "__main__":
    main()
