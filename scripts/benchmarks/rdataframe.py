#!/usr/bin/env python
"""Million jets a second that ROOT's RDataFrame reads by an exported header, on one core; needs a Python with ROOT.

A long file is made of FILE (scripts/make_large.py), compressed, and its header exported. Each branch of the header is
summed over all jets, alone and all together, by the header as ROOT's interpreter compiles it, and as ACLiC does. Beside
it stand the three floats as they are, with what LZMA alone takes of that; and what decoding adds to reading them, its
exact jets included. Seconds are of the processor, the fewest of five.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import Jobs, Table, Tables, Works, alone, command, fastest, long_file, main, millions_a_second

TIMES = 5
WAYS = ("interpreter", "ACLiC")
LZMA, FLOATS, ALL = "LZMA of the floats alone", "the floats", "all of them"
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


def sum_of(name: str, defines: Sequence[str], columns: Sequence[str], path: str, tree: str) -> Callable[[], object]:
    """Compile the sum of some columns over all jets; the sum."""
    import ROOT

    code = SUM.format(
        name=name,
        defines="".join(defines),
        arguments=", const ROOT::RVec<float>& ".join(f"c{i}" for i in range(len(columns))),
        sums=" + ".join(f"ROOT::VecOps::Sum(c{i})" for i in range(len(columns))),
        columns=", ".join(f'"{column}"' for column in columns),
    )
    ROOT.gInterpreter.Declare(code)
    return lambda: getattr(ROOT, name)(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path)))


def read(header: str, path: str, way: str) -> Callable[[], Table]:
    """Compile a header; million jets a second of every set of branches."""
    import ROOT

    lines = [line for line in Path(header).read_text().splitlines() if line.startswith("//   df.Define(")]
    made, latents = [line.split('"')[1] for line in lines], lines[0].split('"')[3:8:2]
    defines = [line.removeprefix("//   df") for line in lines]
    with ROOT.TFile.Open(path) as file:
        tree = next(key.GetName() for key in file.GetListOfKeys() if key.GetClassName() == "TTree")
    if way == "ACLiC" and ROOT.gROOT.LoadMacro(f"{header}+O"):
        raise SystemExit(f"ACLiC does not compile '{header}'")
    ROOT.gInterpreter.Declare(f'#include "{header}"')
    ROOT.gInterpreter.Declare(COUNT.format(latent=latents[0]))
    column = f"{way}, reading included"
    works: Works = {
        (LZMA, column): lambda: ROOT.unpack(path, tree, latents),
        (FLOATS, column): sum_of("sum_floats", [], latents, path, tree),
        (ALL, column): sum_of("sum_all", defines, made, path, tree),
    }
    for number, (line, name) in enumerate(zip(defines, made, strict=True)):
        works |= {(name.rpartition("_")[2], column): sum_of(f"sum_{number}", [line], [name], path, tree)}
    jets = ROOT.count_jets(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path)))
    return lambda: millions_a_second(jets, fastest(works, TIMES))


JOBS: Jobs = {"read": read}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Compile both ways, each in a process of its own."""
    if not given.root:
        raise SystemExit("give a Python that has ROOT: --root PYTHON")
    large, small = long_file(given.files[0], given.jets, given.scratch), folder / "small.root"
    command("compress", large, small, "--no-read-back", "--quiet")
    table: Table = {}
    for way in WAYS:  # each has its header: ACLiC leaves its library beside it
        header, column = folder / f"{way}.h", f"{way}, reading included"
        command("export", small, "--cpp", "-o", header, "--quiet")
        found: Table = alone("rdataframe", "read", header, small, way, python=given.root).found
        for name, row in found.items():
            table.setdefault(name, {}).update(row)
            if name not in (LZMA, FLOATS):
                own = 1 / (1 / row[column] - 1 / found[FLOATS][column])
                table[name][f"{way}, decoding alone"] = own
    return {"input": {given.files[0].name: {"jets": given.jets}}, "million jets a second": table}


if __name__ == "__main__":
    main(__doc__, measure, root=None, jets=1_000_000)
