#!/usr/bin/env python
"""Measure what exported codecs decode and encode, in million jets a second on one core, beside atlasae itself.

    python scripts/benchmark_export.py [MODEL] [--jets 2000000] [--json]

MODEL (`default` unless given) is exported with a grid at 1e-3 and at `full`; the jets are drawn from it. The C++ header
is compiled with g++ -O2, nothing more; the ONNX graphs run in onnxruntime on one thread. Each figure is the best of
three; atlasae is measured from jets to latents and back, as in its own files but for reading and writing.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from atlasae.codecs.arrays import drawn_jets
from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.floats import few_threads
from atlasae.codecs.model import load_model
from atlasae.export.cpp import cpp_header
from atlasae.export.export import Exported, exported, onnx_graphs
from atlasae.jets.coordinates import MASS_FLOOR, Floats
from atlasae.jets.padding import Latents
from atlasae.jets.stored import blocks

PROGRAM = """
#include "jets.h"
#include <chrono>
#include <cstdio>
#include <fstream>
int main(int, char** names) {
    std::ifstream in(names[1], std::ios::binary | std::ios::ate);
    const std::size_t n = in.tellg() / 12;
    std::vector<float> z(3 * n);
    std::vector<double> jets(4 * n);
    in.seekg(0).read(reinterpret_cast<char*>(z.data()), 12 * n);
    const auto start = std::chrono::steady_clock::now();
    atlasae::decode(&z[0], &z[n], &z[2 * n], n, &jets[0], &jets[n], &jets[2 * n], &jets[3 * n]);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::ofstream(names[2], std::ios::binary).write(reinterpret_cast<const char*>(jets.data()), 32 * n);
    std::printf("%g", took.count());
}
"""
TIMES = 3


def best(work: Callable[[], object], jets: int) -> float:
    """Million jets a second, the best of some."""
    took = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return jets / min(took) / 1e6


def cpp_speed(found: Exported, latents: Latents, decoded: Floats, folder: Path) -> float:
    """Million jets that the header decodes in a second; raises AssertionError where they are others than Python's."""
    (folder / "jets.h").write_text(cpp_header(found.codec, found.collection, found.made))
    (folder / "main.cpp").write_text(PROGRAM)
    np.ascontiguousarray(latents.T).tofile(folder / "in")
    command = ["g++", "-std=c++17", "-O2", str(folder / "main.cpp"), "-o", str(folder / "main")]
    subprocess.run(command, check=True)
    run = [folder / "main", folder / "in", folder / "out"]
    took = [float(subprocess.run(run, check=True, capture_output=True).stdout) for _ in range(TIMES)]
    floors = [1e-6, 1e-6, 1e-6, 1e-6 * MASS_FLOOR]
    assert np.allclose(np.fromfile(folder / "out").reshape(4, -1).T, decoded, rtol=1e-6, atol=floors)
    return len(latents) / min(took) / 1e6


def onnx_speeds(found: Exported, jets: Floats, latents: Latents) -> dict[str, float]:
    """Million jets a second that both graphs take, a block at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    encoder, decoder = (onnxruntime.InferenceSession(graph, options) for graph in onnx_graphs(found))
    parts = blocks(len(jets))
    return {
        "ONNX encode": best(lambda: [encoder.run(None, {"jets": jets[part]}) for part in parts], len(jets)),
        "ONNX decode": best(lambda: [decoder.run(None, {"latents": latents[part]}) for part in parts], len(jets)),
    }


def measure(model: str, precision: str, n: int) -> dict[str, float]:
    """All speeds of a model at a precision."""
    found = exported(model, None, precision)
    autoencoder = load_model(model).autoencoder
    if not isinstance(autoencoder, InvertibleAutoencoder):
        raise SystemExit(f"'{model}' is no chain of densities: give one")
    jets = drawn_jets(autoencoder, n)
    parts, codec = blocks(len(jets)), found.codec
    latents = np.concatenate([codec.encode(jets[part]) for part in parts])
    decoded = np.concatenate([codec.decode(latents[part]) for part in parts])
    with tempfile.TemporaryDirectory() as folder:
        speeds = {"C++ decode": cpp_speed(found, latents, decoded, Path(folder))}
    speeds |= onnx_speeds(found, jets, latents)
    speeds["torch encode"] = best(lambda: [codec.encode(jets[part]) for part in parts], len(jets))
    speeds["torch decode"] = best(lambda: [codec.decode(latents[part]) for part in parts], len(jets))
    return speeds


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--jets", type=int, default=2_000_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with few_threads():
        found = {
            "1e-3": measure(args.model, "1e-3", args.jets),
            # Ten times slower: a network for every variable.
            "full": measure(args.model, "full", args.jets // 10),
        }
    if args.json:
        print(json.dumps(found))
        return
    for precision, speeds in found.items():
        print(f"--precision {precision}, million jets a second on one core")
        for name, speed in speeds.items():
            print(f"  {name:14}{speed:6.2f}")


if __name__ == "__main__":
    main()
