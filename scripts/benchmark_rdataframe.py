#!/usr/bin/env python
"""Measure how fast ROOT's RDataFrame reads jets by an exported header, on one core; needs a Python with ROOT.

    atlasae compress LARGE.root small.root && atlasae export small.root --cpp -o jets.h
    python scripts/benchmark_rdataframe.py jets.h small.root TREE

LARGE.root is made by scripts/make_large.py. Every branch of the header is summed over all jets, one of them alone and
all together; the sums of the three floats as they are tell what reading takes.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

COUNT = """
double count_jets(ROOT::RDF::RNode df) {{
    auto size = [](const ROOT::RVec<float>& z) {{ return double(z.size()); }};
    return *df.Define("size_", size, {{"{latent}"}}).Sum<double>("size_");
}}
"""
SUM = """
#include "{header}"
double {name}(ROOT::RDF::RNode df) {{
    return *df{defines}.Define("total_", [](const ROOT::RVec<float>& {arguments}) {{
        return double({sums});
    }}, {{{columns}}}).Sum<double>("total_");
}}
"""


def seconds(name: str, header: str, defines: Sequence[str], columns: Sequence[str], path: str, tree: str) -> float:
    """Compile the sum of some columns over all jets, and time it."""
    import ROOT

    code = SUM.format(
        header=header,
        name=name,
        defines="".join(defines),
        arguments=", const ROOT::RVec<float>& ".join(f"c{i}" for i in range(len(columns))),
        sums=" + ".join(f"ROOT::VecOps::Sum(c{i})" for i in range(len(columns))),
        columns=", ".join(f'"{column}"' for column in columns),
    )
    ROOT.gInterpreter.Declare(code)
    node = ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path))
    started = time.perf_counter()
    getattr(ROOT, name)(node)
    return time.perf_counter() - started


def main(header: str, path: str, tree: str) -> None:
    """Print a row for each set of branches."""
    import ROOT

    lines = [line for line in Path(header).read_text().splitlines() if line.startswith("//   df.Define(")]
    made = [line.split('"')[1] for line in lines]
    latents = lines[0].split('"')[3:8:2]
    defines = [line.removeprefix("//   df") for line in lines]
    ROOT.gInterpreter.Declare(COUNT.format(latent=latents[0]))
    jets = ROOT.count_jets(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path)))
    sets = {"the three floats alone": ([], latents), "all four": (defines, made)}
    sets |= {f"{column} alone": ([line], [column]) for line, column in zip(defines, made, strict=True)}
    for number, (name, (used, columns)) in enumerate(sets.items()):
        took = seconds(f"sum_{number}", header, used, columns, path, tree)
        print(f"{name}: {jets / took / 1e6:.2f} million jets a second")


if __name__ == "__main__":
    main(*sys.argv[1:])
