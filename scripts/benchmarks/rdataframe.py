#!/usr/bin/env python
"""Million jets per second that RDataFrame reads with an exported header, on one core; needs a Python with ROOT.

A long file is made from FILE (scripts/make_large.py), compressed, and its header exported. Each branch of the header is
summed over all jets, alone and all together, with the header compiled by ROOT's interpreter and by ACLiC. For
comparison: the sum of the three floats without decoding, the part of it that is LZMA, and the time that decoding adds,
exact jets included. Packed files, of one bound and of bounds by resolution, are summed over all branches. Times are CPU
seconds, the minimum of five runs.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import Jobs, Table, Tables, Works, alone, command, fastest, long_file, main, millions_a_second

TIMES = 5
WAYS = ("interpreter", "ACLiC")
LZMA, FLOATS, ALL = "LZMA of the floats alone", "the floats", "all of them"
PACKED = {"all of them, packed": "1e-3", "all of them, packed at resolution/20": "resolution/20"}
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


def declared(header: str, path: str, way: str) -> tuple[list[str], str]:
    """Compile a header; returns its lines, and the name of the tree in the file."""
    import ROOT

    if way == "ACLiC" and ROOT.gROOT.LoadMacro(f"{header}+O"):
        raise SystemExit(f"ACLiC does not compile '{header}'")
    ROOT.gInterpreter.Declare(f'#include "{header}"')
    with ROOT.TFile.Open(path) as file:
        tree = next(key.GetName() for key in file.GetListOfKeys() if key.GetClassName() == "TTree")
    return Path(header).read_text().splitlines(), tree


def count_of(read: str, column: str, path: str, tree: str) -> float:
    """The number of jets in a column."""
    import ROOT

    ROOT.gInterpreter.Declare(COUNT.format(read=read, column=column))
    return float(ROOT.count_jets(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path))))


def sum_of(name: str, read: str, columns: Sequence[str], path: str, tree: str) -> Callable[[], object]:
    """Compile the sum of some columns over all jets; returns the function that computes it."""
    import ROOT

    code = SUM.format(
        name=name,
        read=read,
        arguments=", const ROOT::RVec<float>& ".join(f"c{i}" for i in range(len(columns))),
        sums=" + ".join(f"ROOT::VecOps::Sum(c{i})" for i in range(len(columns))),
        columns=", ".join(f'"{column}"' for column in columns),
    )
    ROOT.gInterpreter.Declare(code)
    return lambda: getattr(ROOT, name)(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, path)))


def read(header: str, path: str, way: str) -> Callable[[], Table]:
    """Compile a header; returns million jets per second for every set of branches."""
    import ROOT

    text, tree = declared(header, path, way)
    lines = [line for line in text if line.startswith("//   df.Define(")]
    made, latents = [line.split('"')[1] for line in lines], lines[0].split('"')[3:8:2]
    defines, column = [line.removeprefix("//   df") for line in lines], f"{way}, reading included"
    jets = count_of("df", latents[0], path, tree)
    works: Works = {
        (LZMA, column): lambda: ROOT.unpack(path, tree, latents),
        (FLOATS, column): sum_of("sum_floats", "df", latents, path, tree),
        (ALL, column): sum_of("sum_all", f"df{''.join(defines)}", made, path, tree),
    }
    for number, (line, name) in enumerate(zip(defines, made, strict=True)):
        works |= {(name.rpartition("_")[2], column): sum_of(f"sum_{number}", f"df{line}", [name], path, tree)}
    return lambda: millions_a_second(jets, fastest(works, TIMES))


def read_packed(header: str, path: str, way: str, row: str) -> Callable[[], Table]:
    """The same for all branches of a packed file."""
    text, tree = declared(header, path, way)
    told = next(line for line in text if "atlasae::unpack(df" in line)
    columns, unpacked = told.partition("// has ")[2].split(", "), f'atlasae::unpack(df, "{path}")'
    jets = count_of(unpacked, columns[0], path, tree)
    works: Works = {(row, f"{way}, reading included"): sum_of("sum_all", unpacked, columns, path, tree)}
    return lambda: millions_a_second(jets, fastest(works, TIMES))


JOBS: Jobs = {"read": read, "read_packed": read_packed}


def measure(given: argparse.Namespace, folder: Path) -> Tables:
    """Measure both ways of compilation, each in a separate process."""
    if not given.root:
        raise SystemExit("give a Python that has ROOT: --root PYTHON")
    large, small = long_file(given.files[0], given.jets, given.scratch), folder / "small.root"
    command("compress", large, small, "--no-read-back", "--quiet")
    table: Table = {}
    for way in WAYS:
        column = f"{way}, reading included"
        for name, row in _measured("read", small, way, given.root).items():
            table.setdefault(name, {}).update(row)
            if name not in (LZMA, FLOATS):
                own = 1 / (1 / row[column] - 1 / table[FLOATS][column])
                table[name][f"{way}, decoding alone"] = own
    for name, precision in PACKED.items():
        options = ("--layout", "packed", "--precision", precision, "--no-read-back", "--quiet", "--force")
        command("compress", large, small, *options)
        table[name] = {}
        for way in WAYS:
            table[name] |= _measured("read_packed", small, way, given.root, name)[name]
    return {"input": {given.files[0].name: {"jets": given.jets}}, "million jets a second": table}


def _measured(job: str, small: Path, way: str, python: str, *more: str) -> Table:
    """What a job finds with a header of its own, next to which ACLiC writes its library."""
    header = small.with_name(f"{way}_{job}_{len(list(small.parent.iterdir()))}.h")
    command("export", small, "--cpp", "-o", header, "--quiet")
    found: Table = alone("rdataframe", job, header, small, way, *more, python=python).found
    return found


if __name__ == "__main__":
    main(__doc__, measure, root=None, jets=1_000_000)
