#!/usr/bin/env python
"""Measure how fast ROOT's RDataFrame reads jets by an exported header, on one core; needs a Python with ROOT.

    atlasae compress LARGE.root small.root && atlasae export small.root --cpp -o jets.h
    python scripts/benchmark_rdataframe.py jets.h small.root TREE

LARGE.root is made by scripts/make_large.py. Each branch of the header is summed over all jets, alone and all together,
by the header as ROOT's interpreter compiles it, and as ACLiC does. Beside it stand the three floats as they are, with
what LZMA alone takes of that; and what decoding adds to reading them, its exact jets included. Seconds are of the
processor, the least of five.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

TIMES = 5
COUNT = """
double count_jets(ROOT::RDF::RNode df) {{
    auto size = [](const ROOT::RVec<float>& z) {{ return double(z.size()); }};
    return *df.Define("size_", size, {{"{latent}"}}).Sum<double>("size_");
}}
void unpack(const char* path, const char* tree, const std::vector<std::string>& branches) {{
    TFile file(path);
    for (const auto& name : branches) {{
        TBranch* branch = file.Get<TTree>(tree)->GetBranch(name.c_str());
        for (int i = 0; i < branch->GetWriteBasket(); ++i) {{
            branch->GetBasket(i);
            branch->DropBaskets("all");
        }}
    }}
}}
"""
SUM = """
double {name}(ROOT::RDF::RNode df) {{
    return *df{defines}.Define("total_", [](const ROOT::RVec<float>& {arguments}) {{
        return double({sums});
    }}, {{{columns}}}).Sum<double>("total_");
}}
"""


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, all threads together: the least of some."""
    took = []
    for _ in range(TIMES):
        started = time.process_time()
        work()
        took.append(time.process_time() - started)
    return min(took)


def sum_seconds(name: str, defines: Sequence[str], columns: Sequence[str], path: str, tree: str) -> float:
    """Compile the sum of some columns over all jets, and time it."""
    import ROOT

    code = SUM.format(
        name=name,
        defines="".join(defines),
        arguments=", const ROOT::RVec<float>& ".join(f"c{i}" for i in range(len(columns))),
        sums=" + ".join(f"ROOT::VecOps::Sum(c{i})" for i in range(len(columns))),
        columns=", ".join(f'"{column}"' for column in columns),
    )
    ROOT.gInterpreter.Declare(code)
    return seconds(lambda: getattr(ROOT, name)(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path))))


def report(name: str, jets: float, took: float, reading: float | None = None) -> None:
    """A row: million jets a second in all, and of decoding alone."""
    own = "" if reading is None else f"{jets / (took - reading) / 1e6:12.2f}"
    print(f"  {name:32}{took:8.2f} s{jets / took / 1e6:12.2f}{own}", flush=True)


def measure(header: str, path: str, tree: str, compiled: bool) -> None:
    """Print a row for each set of branches, the header compiled by ACLiC or by the interpreter."""
    import ROOT

    lines = [line for line in Path(header).read_text().splitlines() if line.startswith("//   df.Define(")]
    made, latents = [line.split('"')[1] for line in lines], lines[0].split('"')[3:8:2]
    defines = [line.removeprefix("//   df") for line in lines]
    if compiled and ROOT.gROOT.LoadMacro(f"{header}+O"):
        raise SystemExit(f"ACLiC does not compile '{header}'")
    ROOT.gInterpreter.Declare(f'#include "{header}"')
    ROOT.gInterpreter.Declare(COUNT.format(latent=latents[0]))
    jets = ROOT.count_jets(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path)))
    print(f"{'ACLiC' if compiled else 'interpreter'}: {int(jets)} jets; million a second in all, and decoded")
    report("three floats, LZMA alone", jets, seconds(lambda: ROOT.unpack(path, tree, latents)))
    reading = sum_seconds("sum_floats", [], latents, path, tree)
    report("three floats", jets, reading)
    for number, (line, column) in enumerate(zip(defines, made, strict=True)):
        report(column, jets, sum_seconds(f"sum_{number}", [line], [column], path, tree), reading)
    report("all of them", jets, sum_seconds("sum_all", defines, made, path, tree), reading)


def main() -> None:
    """Read the command line; measure both ways, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("header", "path", "tree"):
        parser.add_argument(name)
    parser.add_argument("--only", choices=("interpreter", "ACLiC"), help="one way only, in this process")
    args = parser.parse_args()
    if args.only:
        measure(args.header, args.path, args.tree, args.only == "ACLiC")
        return
    with tempfile.TemporaryDirectory() as folder:  # ACLiC leaves its library beside the header
        header = shutil.copy(args.header, folder)
        for way in ("interpreter", "ACLiC"):
            command = [sys.executable, "-W", "ignore", __file__, header, args.path, args.tree, "--only", way]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
