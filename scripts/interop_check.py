"""Entries and branch sums of every TTree: `sums FILE...` takes them with uproot, `compare JSON` with ROOT as well.

The two run in different environments (uproot is not where ROOT is), hence the JSON between them.
"""

import json
import math
import sys
from pathlib import Path

Sums = dict[str, dict[str, float]]  # tree -> branch -> sum of its values, with the number of entries among them
ENTRIES = "number of entries"  # no branch is called so


def uproot_sums(path: str) -> Sums:
    """The sums of all numeric branches as uproot reads them."""
    import awkward as ak
    import numpy as np
    import uproot

    sums: Sums = {}
    with uproot.open(path) as file:
        for name in file.keys(filter_classname="TTree", cycle=False):
            tree = file[name]
            sums[name] = {ENTRIES: tree.num_entries}
            for branch in tree.keys(filter_typename=lambda typename: typename != "char*"):
                values = ak.to_numpy(ak.flatten(tree[branch].array(), axis=None))
                sums[name][branch] = float(values.sum(dtype=np.float64))
    return sums


def root_sums(path: str, wanted: Sums) -> Sums:
    """The same sums, of the same branches, as RDataFrame reads them."""
    import ROOT

    sums: Sums = {}
    for name, branches in wanted.items():
        frame = ROOT.RDataFrame(name, path)
        booked = {branch: frame.Sum(branch) for branch in branches if branch != ENTRIES}
        sums[name] = {ENTRIES: frame.Count().GetValue()}
        sums[name] |= {branch: result.GetValue() for branch, result in booked.items()}
    return sums


def agree(one: float, other: float) -> bool:
    """Equal but for the order of summation; two NaNs agree."""
    return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))


def compare(sums: dict[str, Sums]) -> bool:
    """Prints a line for every tree and every number that differs; True if none does."""
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


def main(command: str, *paths: str) -> int:
    """Runs `sums` or `compare`; 1 if a number differs."""
    if command == "sums":
        json.dump({path: uproot_sums(path) for path in paths}, sys.stdout)
        return 0
    (path,) = paths
    return 0 if compare(json.loads(Path(path).read_text())) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
