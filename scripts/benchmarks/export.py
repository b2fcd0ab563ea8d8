#!/usr/bin/env python
"""Million jets per second that exported codecs decode and encode on one core, compared with atlasae itself.

A model is exported with a grid at 1e-3 and at `full` (with a tenth of the jets, as every variable needs a network); the
jets are drawn from the model. The C++ header is compiled with g++ -O2, the ONNX graphs run in onnxruntime on one
thread. Each figure is the best of three, by CPU seconds; atlasae is measured from jets to latents and back, without
files.
"""

import subprocess
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
from harness import Given, Table, Tables, Works, fastest, main, millions_a_second

from atlasae.codecs.arrays import drawn_jets
from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.codec import few_threads
from atlasae.codecs.floats import FloatsCodec
from atlasae.codecs.model import load_model
from atlasae.export.cpp import cpp_header
from atlasae.export.export import Exported, exported, onnx_graphs
from atlasae.jets.coordinates import MASS_FLOOR, Floats
from atlasae.jets.padding import Latents
from atlasae.jets.stored import blocks

PROGRAM = """
#include "jets.h"
#include <cstdio>
#include <ctime>
#include <fstream>
int main(int, char** names) {
    std::ifstream in(names[1], std::ios::binary | std::ios::ate);
    const std::size_t n = in.tellg() / 12;
    std::vector<float> z(3 * n);
    std::vector<double> jets(4 * n);
    in.seekg(0).read(reinterpret_cast<char*>(z.data()), 12 * n);
    const std::clock_t start = std::clock();
    atlasae::decode(&z[0], &z[n], &z[2 * n], n, &jets[0], &jets[n], &jets[2 * n], &jets[3 * n]);
    const double took = double(std::clock() - start) / CLOCKS_PER_SEC;
    std::ofstream(names[2], std::ios::binary).write(reinterpret_cast<const char*>(jets.data()), 32 * n);
    std::printf("%g", took);
}
"""
TIMES = 3


def cpp_seconds(found: Exported, latents: Latents, decoded: Floats, folder: Path) -> float:
    """The seconds in which the header decodes; raises AssertionError if its jets differ from Python's."""
    (folder / "jets.h").write_text(cpp_header(cast(FloatsCodec, found.codec), found.collection, found.made))
    (folder / "main.cpp").write_text(PROGRAM)
    np.ascontiguousarray(latents.T).tofile(folder / "in")
    subprocess.run(["g++", "-std=c++17", "-O2", folder / "main.cpp", "-o", folder / "main"], check=True)
    run = [folder / "main", folder / "in", folder / "out"]
    took = [float(subprocess.run(run, check=True, capture_output=True).stdout) for _ in range(TIMES)]
    floors = [1e-6, 1e-6, 1e-6, 1e-6 * MASS_FLOOR]
    assert np.allclose(np.fromfile(folder / "out").reshape(4, -1).T, decoded, rtol=1e-6, atol=floors)
    return min(took)


def speeds(model: str, precision: str, n: int, folder: Path) -> Table:
    """Million jets per second for a model at a precision."""
    found, autoencoder = exported(model, None, precision), load_model(model).autoencoder
    if not isinstance(autoencoder, InvertibleAutoencoder):
        raise SystemExit(f"'{model}' is no chain of densities: give one")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    encoder, decoder = (onnxruntime.InferenceSession(graph, options) for graph in onnx_graphs(found))
    jets, codec = drawn_jets(autoencoder, n), cast(FloatsCodec, found.codec)
    parts = blocks(len(jets))
    latents = np.concatenate([codec.encode(jets[part]) for part in parts])
    decoded = np.concatenate([codec.decode(latents[part]) for part in parts])
    works: Works = {
        ("ONNX encode", precision): lambda: [encoder.run(None, {"jets": jets[part]}) for part in parts],
        ("ONNX decode", precision): lambda: [decoder.run(None, {"latents": latents[part]}) for part in parts],
        ("atlasae encode", precision): lambda: [codec.encode(jets[part]) for part in parts],
        ("atlasae decode", precision): lambda: [codec.decode(latents[part]) for part in parts],
    }
    seconds = fastest(works, TIMES)
    seconds["C++ decode"] = {precision: cpp_seconds(found, latents, decoded, folder)}
    return millions_a_second(len(jets), seconds)


def measure(given: Given) -> Tables:
    """All speeds, with a column for each precision."""
    with few_threads():
        rough = speeds(given.model, "1e-3", given.jets, given.folder)
        full = speeds(given.model, "full", given.jets // 10, given.folder)
    table = {name: row | full[name] for name, row in rough.items()}
    return {"input": {given.model: {"jets": given.jets}}, "million jets a second": table}


if __name__ == "__main__":
    main(__doc__, measure, model="default", jets=300_000)
