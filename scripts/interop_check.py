"""Entries and branch sums of every tree: `sums FILE...` takes them with uproot, `compare JSON` with ROOT as well.

JSON connects the two because uproot and ROOT are in different environments. `make FILE` writes, with ROOT, jets,
branches with odd names, and one object of every kind that is carried; `make FILE N` adds N histograms, which make
atlasae's own trees larger. `header HEADER COMPRESSED DECOMPRESSED TREE` reads the jets of a compressed file by
RDataFrame with its header, and compares each with the decompressed one. `same FILE FILE TREE EXPRESSION...` compares
what ROOT reads of branches in two files. `fields FILE FILE NAME FIELD...` compares every value of every top-level field
of RNTuples in two files that both have, but for those named and their like. `threads FILE FILE TREE PATTERN...`
compares what two threads of RDataFrame read of every column, but for those that match. `skim FILE FOLDER` writes every
third entry of a file's tree, in each way that ROOT has.
"""

import json
import math
import re
import sys
from array import array
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

Sums = dict[str, dict[str, float]]  # tree -> branch -> sum of its values, and the number of entries
ENTRIES = "number of entries"  # no branch has this name


def uproot_sums(path: str) -> Sums:
    """The sums of all numeric branches as uproot reads them."""
    import awkward as ak
    import numpy as np
    import uproot

    sums: Sums = {}
    with uproot.open(path) as file:
        for name in file.keys(filter_classname=["TTree", "ROOT::RNTuple"], cycle=False):
            tree = file[name]
            sums[name] = {ENTRIES: tree.num_entries}
            for branch in filter(lambda branch: is_numeric(tree[branch]), tree.keys()):
                values = ak.to_numpy(ak.flatten(tree[branch].array(), axis=None))
                sums[name][branch] = float(values.sum(dtype=np.float64))
    return sums


def is_numeric(branch: Any) -> bool:
    """Whether RDataFrame sums it by this name: a number or a list of numbers in a branch, a field or a member."""
    if hasattr(branch, "branches"):
        return bool(branch.typename != "char*")
    kind = str(branch.array(entry_stop=0).type.content).removeprefix("var * ")
    numbers = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)}
    return kind in {"bool", *numbers} and not branch.name.isdigit()  # ROOT names members of tuples `_0`


def root_sums(path: str, wanted: Sums) -> Sums:
    """The same sums, of the same branches, as RDataFrame reads them."""
    import ROOT

    sums: Sums = {}
    file = ROOT.TFile.Open(path)
    for name, branches in wanted.items():
        frame, tree = ROOT.RDataFrame(name, path), file.Get(name)
        leaves = {branch: leaf_of(tree, branch) for branch in branches if branch != ENTRIES}
        booked = {
            branch: frame.Sum(column_of(branch, leaf)) for branch, leaf in leaves.items() if not misread(tree, leaf)
        }
        sums[name] = {ENTRIES: frame.Count().GetValue()}
        sums[name] |= {branch: result.GetValue() for branch, result in booked.items()}
        sums[name] |= {branch: leaf_sum(tree, leaf) for branch, leaf in leaves.items() if branch not in booked}
    return sums


def leaf_of(tree: Any, branch: str) -> Any:
    """The one leaf of a plain branch of a TTree, None for others."""
    found = tree.GetBranch(branch) if hasattr(tree, "GetBranch") else None
    leaves = list(found.GetListOfLeaves()) if found and found.ClassName() == "TBranch" else []
    return leaves[0] if len(leaves) == 1 else None


def column_of(branch: str, leaf: Any) -> str:
    """The name by which RDataFrame reads a branch: it takes a leaf of another name for a member."""
    return branch if leaf is None or leaf.GetName() == branch else f"{branch}.{leaf.GetName()}"


def misread(tree: Any, leaf: Any) -> bool:
    """Whether RDataFrame takes another branch with the name of what counts a leaf for its counter."""
    if not leaf or not (counter := leaf.GetLeafCount()):
        return False
    other = tree.GetBranch(counter.GetName())
    return bool(other) and other.GetName() != counter.GetBranch().GetName()


def leaf_sum(tree: Any, leaf: Any) -> float:
    """The sum of the values of a leaf, read by TTree."""
    total = 0.0
    for entry in range(tree.GetEntries()):
        tree.GetEntry(entry)
        total += sum(leaf.GetValue(place) for place in range(leaf.GetLen()))
    return total


def agree(one: float, other: float) -> bool:
    """Whether sums are equal but for the order of summation; NaN equals NaN."""
    return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))


def compare(sums: dict[str, Sums]) -> bool:
    """Print a line for every tree and every number that differs; returns True if none does."""
    good = True
    for path, wanted in sums.items():
        found = root_sums(path, wanted)
        for tree, branches in wanted.items():
            bad = [branch for branch, value in branches.items() if not agree(value, found[tree][branch])]
            for branch in bad:
                print(f"DIFFERS {path} {tree} {branch}: uproot {branches[branch]!r}, ROOT {found[tree][branch]!r}")
            if not bad:
                print(f"OK {path} {tree}: {branches[ENTRIES]} entries, {len(branches) - 1} sums")
            good = good and not bad
    return good


def make(path: str, more: str = "0") -> None:
    """Write jets, histograms, a profile, a graph and a text with ROOT."""
    import ROOT

    file, random = ROOT.TFile(path, "RECREATE"), ROOT.TRandom3(1)
    tree = ROOT.TTree("Events", "jets")
    jet = {variable: array("f", [0]) for variable in ("pt", "eta", "phi", "m")}
    for variable, value in jet.items():
        tree.Branch(f"jet_{variable}", value, f"jet_{variable}/F")
    # Names with brackets, as array members have, and a counter whose leaf has another branch's name.
    position, hits, number, other = array("f", [1, 2, 3]), array("f", range(4)), array("i", [0]), array("i", [0])
    tree.Branch("vertex.pos[3]", position, "pos[3]/F")
    tree.Branch("number", number, "hits/I")
    tree.Branch("hits", other, "other/I")
    tree.Branch("values", hits, "values[hits]/F")
    histogram, profile = ROOT.TH1F("histogram", "jets;pt;N", 10, 0, 200), ROOT.TProfile("profile", "m", 10, 0, 200)
    for i in range(500):
        pt = 20 + random.Exp(50)
        for value, v in zip(jet.values(), (pt, random.Gaus(), random.Uniform(-3, 3), pt / 10), strict=True):
            value[0] = v
        number[0], other[0], position[2] = i % 4, 1000 + i, i
        tree.Fill()
        histogram.Fill(pt)
        profile.Fill(pt, pt / 10)
    for thing, name in ((tree, "Events"), (histogram, "histogram"), (profile, "profile")):
        thing.Write(name)
    ROOT.TGraph(2, array("d", [1, 2]), array("d", [3, 4])).Write("graph")
    ROOT.TObjString("made by ROOT").Write("text")
    for i in range(int(more)):
        histogram.Write(f"histogram{i}")
    file.Close()


def skim(path: str, folder: str) -> None:
    """Write copytree.root, clonetree.root and snapshot.root: every third entry, without the other trees."""
    import ROOT

    file = ROOT.TFile(path)
    (name,) = {str(key.GetName()) for key in file.GetListOfKeys() if key.GetClassName() == "TTree"}
    tree = file.Get(name)
    for how in ("copytree", "clonetree"):
        out = ROOT.TFile(f"{folder}/{how}.root", "RECREATE")
        skimmed = tree.CopyTree("Entry$ % 3 == 1") if how == "copytree" else tree.CloneTree(0)
        for entry in range(1, int(tree.GetEntries()), 3) if how == "clonetree" else ():
            tree.GetEntry(entry)
            skimmed.Fill()
        skimmed.Write()
        out.Close()
    ROOT.RDataFrame(name, path).Filter("rdfentry_ % 3 == 1").Snapshot(name, f"{folder}/snapshot.root")


READ_BY_HEADER = """
#include "{header}"
ROOT::RDF::RNode read_by_header(ROOT::RDF::RNode df) {{
    return {read};
}}
template <class T>
double difference(T one, T other, double floor) {{
    if (!std::memcmp(&one, &other, sizeof one)) return 0;
    const double a = one, b = other;
    return std::isnan(a) || std::isnan(b) || !floor ? INFINITY : std::fabs(a - b) / std::max(std::fabs(b), floor);
}}
template <class T>
double largest_difference(const std::vector<ROOT::RVec<T>>& one, const std::vector<ROOT::RVec<T>>& other,
                          double floor) {{
    double largest = one.size() == other.size() ? 0 : INFINITY;
    for (std::size_t e = 0; e < one.size() && std::isfinite(largest); ++e) {{
        if (one[e].size() != other[e].size()) return INFINITY;
        for (std::size_t i = 0; i < one[e].size(); ++i)
            largest = std::max(largest, difference<T>(one[e][i], other[e][i], floor));
    }}
    return largest;
}}
"""
CLOSE = 1e-6  # relative difference of values decoded in double and in float32; those of packed bytes are equal
MASS_FLOOR = 100.0  # MeV: errors of smaller masses are relative to this


def header(path: str, compressed: str, decompressed: str, tree: str) -> bool:
    """Print a line for every branch; returns True if RDataFrame reads each jet as `atlasae decompress` writes it."""
    import ROOT

    text = Path(path).read_text().splitlines()
    lines = [line for line in text if line.startswith("//   df.Define(")]
    read = f"df{''.join(line.removeprefix('//   df') for line in lines)}"
    columns, others = [line.split('"')[1] for line in lines], list[str]()
    if any("atlasae::unpack(df" in line for line in text):
        columns, others, read = unpacked(text, compressed)
    ROOT.gInterpreter.Declare(READ_BY_HEADER.format(header=path, read=read))
    found = ROOT.read_by_header(ROOT.RDF.AsRNode(ROOT.RDataFrame(tree, compressed)))
    back, good = ROOT.RDataFrame(tree, decompressed), True
    branches = {"".join(c if c.isalnum() else "_" for c in str(name)): str(name) for name in back.GetColumnNames()}
    for column in (*columns, *others):
        kind = back.GetColumnType(branches[column])
        one, other = found.Take[kind](column), back.Take[kind](branches[column])
        floor = MASS_FLOOR if branches[column].endswith(".m") else 1e-3  # xAOD: in MeV
        away = ROOT.largest_difference(one.GetValue(), other.GetValue(), 0 if column in others else floor)
        jets = sum(len(event) for event in other.GetValue())
        near = away <= (CLOSE if lines and column in columns else 0)
        good = good and near and jets > 0
        print(f"{'OK' if near else 'DIFFERS'} {branches[column]}: {jets} jets by header, at most {away:.1e} away")
    return good and bool(columns)


def unpacked(header: list[str], compressed: str) -> tuple[list[str], list[str], str]:
    """The columns of a header that has `unpack`, other numbers of the jets, and the call of it.

    What is read chunk by chunk needs the name of its file.
    """
    told = next(line for line in header if "atlasae::unpack(df" in line)
    if "// has " not in told:
        columns = [line.split(": ")[1] for line in header if re.match(r"//   \d+: ", line)]
        return columns, [], "atlasae::unpack(df)"
    others, read = list[str](), f'atlasae::unpack(df, "{compressed}")'
    if begin := [i for i, line in enumerate(header) if line.startswith("// and other numbers of the jets")]:
        lines = header[begin[0] + 2 :]
        others = " ".join(line.removeprefix("//   ") for line in lines[: lines.index("//")]).split(", ")
    return told.partition("// has ")[2].split(", "), others, read


def same(one: str, other: str, tree: str, *expressions: str) -> bool:
    """Print a line for every expression of branches; returns True if ROOT reads the same numbers from both files."""
    import ROOT

    good = True
    for expression in expressions:
        numbers = []
        for path in (one, other):
            file = ROOT.TFile.Open(path)
            found = file.Get(tree)
            found.SetEstimate(10_000_000)
            many = found.Draw(expression, "", "goff")
            numbers.append([found.GetV1()[i] for i in range(many)])
        equal = bool(numbers[0]) and numbers[0] == numbers[1]
        print(f"{'OK' if equal else 'DIFFERS'} {expression}: {len(numbers[0])} numbers of {one} in {other}")
        good = good and equal
    return good


SHOW = r"""
#include <ROOT/RFieldVisitor.hxx>
#include <ROOT/RNTupleReader.hxx>
#include <sstream>
template <class View>
std::string shown(ROOT::RNTupleReader& reader, View view, std::size_t times) {
    std::ostringstream out;
    for (std::size_t time = 0; time < times; ++time)
        for (auto i : reader) {
            if constexpr (std::is_same_v<View, ROOT::RNTupleView<void>>) {
                view(i);
                ROOT::Internal::RPrintValueVisitor visitor(view.GetValue(), out);
                view.GetField().AcceptVisitor(visitor);
            } else out << std::uint64_t(view(i));
            out << ";";
        }
    return out.str();
}
std::map<std::string, std::string> show_fields(const char* name, const char* path, std::size_t times) {
    auto reader = ROOT::RNTupleReader::Open(name, path);
    std::map<std::string, std::string> found;
    for (const auto& field : reader->GetDescriptor().GetTopLevelFields()) {
        const auto &label = field.GetFieldName(), &type = field.GetTypeName();
        if (type.find("RNTupleCardinality<std::uint32_t>") != std::string::npos)  // which ROOT 6.40 does not print
            found[label] = shown(*reader, reader->GetView<ROOT::RNTupleCardinality<std::uint32_t>>(label), times);
        else found[label] = shown(*reader, reader->GetView<void>(label), times);
    }
    return found;
}
"""


def fields(one: str, other: str, name: str, *without: str) -> bool:
    """Print what differs; returns True if ROOT reads the same values of all fields that both files have.

    Where the other file has a multiple of the entries, as after hadd, the first one is read as often.
    """
    import make_rntuples
    import ROOT

    for library in ("libMathCore", "libROOTNTuple"):
        ROOT.gSystem.Load(library)
    ROOT.gInterpreter.Declare(make_rntuples.CODE)  # classes of its fields
    ROOT.gInterpreter.Declare(SHOW)
    entries = [ROOT.RNTupleReader.Open(name, path).GetNEntries() for path in (one, other)]
    times = max(1, entries[1] // max(1, entries[0]))
    found = [ROOT.show_fields(name, path, number) for path, number in ((one, times), (other, 1))]
    mine, theirs = ({str(key): str(value) for key, value in shown} for shown in found)
    common = [key for key in mine if key in theirs and key not in without]
    bad = [key for key in common if mine[key] != theirs[key]]
    for key in bad:
        print(f"DIFFERS {key}: {mine[key][:80]} in {one}, {theirs[key][:80]} in {other}")
    print(f"{'DIFFERS' if bad else 'OK'} {len(common)} fields of {one}, {entries[0]} entries, in {other}, {entries[1]}")
    return bool(common) and not bad


DIGEST = r"""
#include <ROOT/RDataFrame.hxx>
#include <TLorentzVector.h>
#include <cstring>
#include <type_traits>
inline ULong64_t mixed(ULong64_t bits) {
    bits = (bits ^ (bits >> 33)) * 0xff51afd7ed558ccdULL;
    return bits ^ (bits >> 33);
}
template <class T>
ULong64_t digest(const T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
        ULong64_t bits = 0;
        std::memcpy(&bits, &value, sizeof value);
        return mixed(bits + 1);
    } else if constexpr (std::is_same_v<T, TLorentzVector>) {
        return digest(std::array<double, 4>{value.X(), value.Y(), value.Z(), value.T()});
    } else {
        ULong64_t all = value.size();
        for (const auto& one : value) all = mixed(31 * all + digest(one));
        return all;
    }
}
using Booked = std::vector<ROOT::RDF::RResultPtr<ULong64_t>>;
template <class T>
void book(ROOT::RDF::RNode frame, const std::vector<std::string>& columns, Booked& booked) {
    for (const auto& column : columns)
        booked.push_back(frame.Define("digest_of", digest<T>, {column}).template Sum<ULong64_t>("digest_of"));
}
"""
READABLE = {"ROOT", "VecOps", "RVec", "std", "vector", "array", "string", "TLorentzVector", "unsigned"}
READABLE |= {"char", "short", "int", "long", "float", "double", "bool", "Char_t", "UChar_t", "Short_t", "UShort_t"}
READABLE |= {"Int_t", "UInt_t", "Long64_t", "ULong64_t", "Float_t", "Double_t", "Bool_t"}


def frame_sums(path: str, name: str) -> dict[str, int]:
    """The sum over entries of a digest of each column that RDataFrame reads without dictionaries, by two threads."""
    import ROOT

    file = ROOT.TFile.Open(path)
    frame, tree = ROOT.RDataFrame(name, [path, path]), file.Get(name)  # twice: both threads have something to do
    kinds: dict[str, list[str]] = {}
    for column in map(str, frame.GetColumnNames()):
        kind = str(frame.GetColumnType(column))
        if is_readable(tree, column, kind):
            kinds.setdefault(kind, []).append(column)
    booked, entries = ROOT.Booked(), frame.Count()
    for kind, columns in kinds.items():
        ROOT.book[kind](ROOT.RDF.AsRNode(frame), columns, booked)
    columns = [column for some in kinds.values() for column in some]
    assert entries.GetValue() > 0
    return {column: result.GetValue() for column, result in zip(columns, booked, strict=True)}


def is_readable(tree: Any, column: str, kind: str) -> bool:
    """Whether RDataFrame reads a column without dictionaries, that is one of numbers, texts or TLorentzVectors.

    It calls split branches of other classes numbers, has no dictionary for vectors within vectors within vectors, and
    does not read texts that are members of split objects.
    """
    branch = tree.GetBranch(column)
    is_member = bool(branch) and branch.GetMother().GetName() != column
    is_split = bool(branch) and branch.GetListOfBranches().GetEntries() > 0
    known = READABLE.issuperset(re.findall(r"[A-Za-z_]\w*", kind)) and kind.count("vector<") < 2
    return known and not (is_member and "string" in kind) and not (is_split and "<" not in kind)


def threads(one: str, other: str, name: str, *without: str) -> bool:
    """Print what differs; returns True if two threads of RDataFrame read the same of all columns that both files have.

    Columns whose name matches a pattern in `without`, those of jets, are left out.
    """
    import ROOT

    ROOT.EnableImplicitMT(2)
    ROOT.gInterpreter.Declare(DIGEST)
    mine, theirs = frame_sums(one, name), frame_sums(other, name)
    common = [key for key in mine if key in theirs and not any(fnmatch(key, pattern) for pattern in without)]
    bad = [key for key in common if mine[key] != theirs[key]]
    for key in bad:
        print(f"DIFFERS {key} of {one} in {other}")
    print(f"{'DIFFERS' if bad else 'OK'} {len(common)} of {len(mine)} columns of {one} in {other}, by two threads")
    return bool(common) and not bad


def main(command: str, *paths: str) -> int:
    """Run `sums`, `make`, `skim`, `compare`, `header`, `same`, `fields` or `threads`; returns 1 if a number differs."""
    checks: dict[str, Callable[..., bool]] = {"header": header, "same": same, "fields": fields, "threads": threads}
    if check := checks.get(command):
        return 0 if check(*paths) else 1
    if command == "make":
        make(*paths)
        return 0
    if command == "skim":
        skim(*paths)
        return 0
    if command == "sums":
        json.dump({path: uproot_sums(path) for path in paths}, sys.stdout)
        return 0
    (path,) = paths
    return 0 if compare(json.loads(Path(path).read_text())) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
