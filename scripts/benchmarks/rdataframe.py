#!/usr/bin/env python
"""Million jets per second that RDataFrame reads with an exported header, on one core; needs a Python with ROOT.

A long file is made from FILE (scripts/make_large.py), compressed, and its header exported. Each branch of the header is
summed over all jets, alone and all together, with the header compiled by ROOT's interpreter and by ACLiC. For
comparison: the sum of the three floats without decoding, the part of it that is LZMA, and the time that decoding adds,
exact jets included. Packed files, of one bound and of bounds by resolution, are summed over all branches. Times are CPU
seconds, the minimum of five runs.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import Given, Table, Tables, Work, Works, alone, command, fastest, main, millions_a_second

TIMES = 5
WAYS = ("interpreter", "ACLiC")
LZMA, FLOATS, ALL = "LZMA of the floats alone", "the floats", "all of them"
FILES = {  # by what is said of their rows, the options of `compress`
    "": (),
    ", packed": ("--layout", "packed"),
    ", packed at resolution/20": ("--layout", "packed", "--precision", "resolution/20"),
}
COUNT = """
double count_jets(ROOT::RDF::RNode df) {{
    auto size = [](const ROOT::RVec<float>& z) {{ return double(z.size()); }};
    return *{read}.Define("size_", size, {{"{column}"}}).Sum<double>("size_");
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
    return *{read}.Define("total_", [](const ROOT::RVec<float>& {arguments}) {{
        return double({sums});
    }}, {{{columns}}}).Sum<double>("total_");
}}
"""

Sums = dict[str, tuple[str, Sequence[str]]]  # by row: what reads, in C++, and the columns that are summed


def sums_of(header: str, path: str) -> Sums:
    """What the lines at the top of a header say: the three floats, all branches, and each; of packed jets, all."""
    lines = Path(header).read_text().splitlines()
    if told := next((line for line in lines if "atlasae::unpack(df" in line), None):
        return {ALL: (f'atlasae::unpack(df, "{path}")', told.partition("// has ")[2].split(", "))}
    defines = [line.removeprefix("//   df") for line in lines if line.startswith("//   df.Define(")]
    made, latents = [line.split('"')[1] for line in defines], defines[0].split('"')[3:8:2]
    each = {name.rpartition("_")[2]: (f"df{line}", [name]) for line, name in zip(defines, made, strict=True)}
    return {FLOATS: ("df", latents), ALL: (f"df{''.join(defines)}", made), **each}


def declare_sum(name: str, read: str, columns: Sequence[str]) -> None:
    """Compile the sum of some columns over all jets."""
    import ROOT

    places = [f"c{i}" for i in range(len(columns))]
    code = SUM.format(
        name=name,
        read=read,
        arguments=", const ROOT::RVec<float>& ".join(places),
        sums=" + ".join(f"ROOT::VecOps::Sum({place})" for place in places),
        columns=", ".join(f'"{column}"' for column in columns),
    )
    ROOT.gInterpreter.Declare(code)


def read(header: str, path: str, way: str) -> Work:
    """Compile a header; returns million jets per second for every set of branches."""
    import ROOT

    if way == "ACLiC" and ROOT.gROOT.LoadMacro(f"{header}+O"):
        raise SystemExit(f"ACLiC does not compile '{header}'")
    ROOT.gInterpreter.Declare(f'#include "{header}"')
    with ROOT.TFile.Open(path) as file:
        tree = next(key.GetName() for key in file.GetListOfKeys() if key.GetClassName() == "TTree")

    def run(name: str) -> float:
        return float(getattr(ROOT, name)(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path))))

    works, sums = Works(), sums_of(header, path)
    if FLOATS in sums:
        works[LZMA, way] = lambda: ROOT.unpack(path, tree, sums[FLOATS][1])
    for number, (row, (source, columns)) in enumerate(sums.items()):
        declare_sum(f"sum_{number}", source, columns)
        works[row, way] = partial(run, f"sum_{number}")
    source, columns = next(iter(sums.values()))
    ROOT.gInterpreter.Declare(COUNT.format(read=source, column=columns[0]))
    jets = run("count_jets")
    return lambda: millions_a_second(jets, fastest(works, TIMES))


def measure(given: Given) -> Tables:
    """Measure both ways of compilation, each in a separate process."""
    if not given.root:
        raise SystemExit("give a Python that has ROOT: --root PYTHON")
    table = Table()
    for number, (said, options) in enumerate(FILES.items()):
        small = given.folder / f"small{number}.root"
        command("compress", given.long(), small, *options, "--no-read-back", "--quiet")
        for way in WAYS:
            header = given.folder / f"{way}{number}.h"  # next to which ACLiC writes its library
            command("export", small, "--cpp", "-o", header, "--quiet")
            found: Table = alone(read, header, small, way, python=given.root).found
            for name, rates in found.items():
                row = table.setdefault(f"{name}{said}", {})
                row[f"{way}, reading included"] = rates[way]
                if not options and name not in (LZMA, FLOATS):
                    row[f"{way}, decoding alone"] = 1 / (1 / rates[way] - 1 / found[FLOATS][way])
    return {"input": given.input, "million jets a second": table}


if __name__ == "__main__":
    main(__doc__, measure, root=None, jets=1_000_000)
