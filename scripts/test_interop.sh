#!/usr/bin/env bash
# ROOT itself merges and reads our files: hadd of two compressions, then RDataFrame against uproot; and a header that reads floats.
# Usage: test_interop.sh [PYTHON]    a Python that has ROOT already; without one, ROOT is installed to .venv-root
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -d .venv ]] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --constraint scripts/constraints.txt --editable .

root_python=${1:-.venv-root/bin/python}
if [[ $# -eq 0 ]]; then
    [[ -d .venv-root ]] || python3 -m venv .venv-root
    # --pre: ROOT on PyPI is an alpha; only binary: its sources would build for hours
    "$root_python" -m pip install --quiet --pre --only-binary :all: root
fi
hadd=$("$root_python" -W ignore -c 'import ROOT; print(ROOT.TROOT.GetBinDir())')/hadd

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

"$hadd" "$folder/twice.root" data/jets.root data/jets.root
for layout in packed floats; do
    for part in a b; do
        .venv/bin/atlasae compress data/jets.root "$folder/$part.root" --layout "$layout" --force
    done
    "$hadd" -f "$folder/merged.root" "$folder/a.root" "$folder/b.root"
    .venv/bin/atlasae decompress "$folder/merged.root" "$folder/back.root" --force
    .venv/bin/atlasae verify "$folder/twice.root" "$folder/merged.root"
done

# Parts of one file, some with models of their own, are that file again.
split() {
    rm -rf "$folder/parts"
    .venv/bin/atlasae compress data/jets.root -o "$folder/parts" --split-size 300kB "$@" --quiet
    [[ $(ls "$folder"/parts/*.root | wc -l) -gt 1 ]]
    "$hadd" -f "$folder/whole.root" "$folder"/parts/*.root
    .venv/bin/atlasae decompress "$folder/whole.root" "$folder/whole.back.root" --force
    .venv/bin/atlasae verify data/jets.root "$folder/whole.root"
}
split
split --layout packed
split --model self
split --variables scripts/recipes/extended.toml

# What ROOT made comes along, and is the same after ROOT has rewritten it.
"$root_python" -W ignore scripts/interop_check.py make "$folder/objects.root"
.venv/bin/atlasae compress "$folder/objects.root" "$folder/small.root" | tee "$folder/said"
if grep "left out" "$folder/said"; then exit 1; fi
"$hadd" "$folder/rewritten.root" "$folder/small.root"
for file in small rewritten; do
    .venv/bin/atlasae verify "$folder/objects.root" "$folder/$file.root"
done
.venv/bin/atlasae decompress "$folder/small.root" "$folder/objects.back.root"
.venv/bin/python scripts/interop_check.py sums "$folder"/{small,rewritten,objects.back}.root > "$folder/sums.json"
"$root_python" -W ignore scripts/interop_check.py compare "$folder/sums.json"

# Texts of ours merge whatever their lengths, short before long and long before short, in every way that hadd has.
"$root_python" -W ignore scripts/interop_check.py make "$folder/long.root" 300
cp "$folder/objects.root" "$folder/short.root"
for file in short long; do
    .venv/bin/atlasae compress "$folder/$file.root" "$folder/$file.small.root" --quiet
done
for order in "short long" "long short" "short long short short long"; do
    for how in "" -fk -f505; do
        read -ra parts <<< "$order"
        # shellcheck disable=SC2086  # no option at all is one of the ways
        "$hadd" -f $how "$folder/merged.lengths.root" $(printf "$folder/%s.small.root " "${parts[@]}")
        .venv/bin/atlasae verify "$folder/merged.lengths.root"
        .venv/bin/atlasae decompress "$folder/merged.lengths.root" "$folder/lengths.back.root" --force --quiet
    done
done

.venv/bin/python scripts/interop_check.py sums "$folder/merged.root" "$folder/back.root" > "$folder/sums.json"
"$root_python" -W ignore scripts/interop_check.py compare "$folder/sums.json"

# Skims that ROOT makes of the floats decode as skims of what they were; what is no one tree is refused by name.
.venv/bin/atlasae decompress "$folder/a.root" "$folder/a.back.root"
mkdir "$folder/skims" "$folder/skims.back"
"$root_python" -W ignore scripts/interop_check.py skim "$folder/a.root" "$folder/skims"
"$root_python" -W ignore scripts/interop_check.py skim "$folder/a.back.root" "$folder/skims.back"
for how in copytree clonetree snapshot; do
    if .venv/bin/atlasae decompress "$folder/skims/$how.root" "$folder/skim.root"; then exit 1; fi
    .venv/bin/atlasae decompress "$folder/skims/$how.root" "$folder/skim.root" --trust "$folder/a.root" --force
    .venv/bin/python scripts/interop_check.py sums "$folder/skim.root" |
        sed "s|$folder/skim.root|$folder/skims.back/copytree.root|" > "$folder/sums.json"
    "$root_python" -W ignore scripts/interop_check.py compare "$folder/sums.json"
done
.venv/bin/atlasae compress data/jets.root "$folder/b.root" --only-jets --force
"$hadd" -f -fk "$folder/unlike.root" "$folder/a.root" "$folder/b.root" || true  # it passes over the second tree
.venv/bin/atlasae verify "$folder/unlike.root" 2> "$folder/said" && exit 1
grep "can't be one tree" "$folder/said"

# RDataFrame reads the floats by themselves, with the header of the (merged) file.
read_by_header() {
    .venv/bin/atlasae export "$1" --cpp -o "$folder/jets.h" --force "${@:4}"
    "$root_python" -W ignore scripts/interop_check.py header "$folder/jets.h" "$1" "$2" "${3:-CollectionTree}"
}
read_by_header "$folder/merged.root" "$folder/back.root"

# So it does packed bytes, and bounds by resolution in both layouts.
for options in "--layout packed" "--layout packed --precision resolution/20" "--precision resolution/20"; do
    # shellcheck disable=SC2086  # several words
    .venv/bin/atlasae compress data/jets.root "$folder/read.root" $options --force
    .venv/bin/atlasae decompress "$folder/read.root" "$folder/read.back.root" --force
    read_by_header "$folder/read.root" "$folder/read.back.root"
done

# Other numbers of whole jets, too: in floats, merged from parts that are coded otherwise, and of experiments.
.venv/bin/atlasae compress data/jets.root "$folder/read.root" --whole-jets --precision '1e-3,*.Width=1e-3' --force
"$hadd" -f "$folder/whole.root" "$folder/read.root" "$folder/read.root"
.venv/bin/atlasae decompress "$folder/whole.root" "$folder/whole.back.root" --force
read_by_header "$folder/whole.root" "$folder/whole.back.root"
split --layout packed --whole-jets
read_by_header "$folder/whole.root" "$folder/whole.back.root"
shared=../shared/data
while [[ -d $shared ]] && read -r name tree jets; do
    for layout in packed floats; do
        .venv/bin/atlasae compress "$shared/$name.root" "$folder/read.root" --whole-jets --layout "$layout" --only-jets --force
        .venv/bin/atlasae decompress "$folder/read.root" "$folder/read.back.root" --force
        read_by_header "$folder/read.root" "$folder/read.back.root" "$tree" --jets "$jets" < /dev/null
    done
done <<< "cms_nanoaod_wide Events Jet
atlas_physlite CollectionTree AnalysisJetsAuxDyn"

# And a merged list of variables.
.venv/bin/atlasae compress data/jets.root "$folder/list.root" --variables scripts/recipes/extended.toml
"$hadd" "$folder/lists.root" "$folder/list.root" "$folder/list.root"
.venv/bin/atlasae decompress "$folder/lists.root" "$folder/lists.back.root"
read_by_header "$folder/lists.root" "$folder/lists.back.root"

# What ROOT stores in few bits, or in no bytes, comes back as ROOT reads it.
mkdir "$folder/leaves"
"$root_python" -W ignore scripts/make_leaves.py "$folder/leaves"
for layout in packed floats; do
    .venv/bin/atlasae compress "$folder/leaves/jets.root" "$folder/small.root" --layout "$layout" --force
    .venv/bin/atlasae verify "$folder/leaves/jets.root" "$folder/small.root"
    .venv/bin/atlasae decompress "$folder/small.root" "$folder/leaves/back.root" --force
    "$root_python" -W ignore scripts/interop_check.py same \
        "$folder/leaves/jets.root" "$folder/leaves/back.root" Events nJet tag fixed "Length\$(text)"
done

# Two threads of RDataFrame read all of real files but their jets, compressed and restored, as in the originals. In ROOT
# they share a table of objects with references, as Delphes has, and crash or stop in it now and then, on its own file,
# too: this is tried again, a difference is not.
by_two_threads() {
    local code
    for _ in 1 2 3; do
        code=0
        timeout -s KILL 120 "$root_python" -W ignore scripts/interop_check.py threads "$@" < /dev/null || code=$?
        [[ $code -gt 1 ]] || return "$code"
    done
    return "$code"
}
while [[ -d $shared ]] && read -r name tree; do
    .venv/bin/atlasae compress "$shared/$name.root" "$folder/$name.small.root" --quiet
    .venv/bin/atlasae decompress "$folder/$name.small.root" "$folder/$name.back.root" --quiet
    read -ra names < <(.venv/bin/python -c '
import sys, atlasae
print(*(name for found in atlasae.info(sys.argv[1])["collections"] for name in found["branches"].values()))
' "$folder/$name.small.root")
    for file in small back; do
        by_two_threads "$shared/$name.root" "$folder/$name.$file.root" "$tree" "${names[@]}"
    done
done <<< "atlas_physlite CollectionTree
delphes Delphes"

# RNTuples that ROOT wrote, of every layout, stay RNTuples: ROOT reads all that was carried as before, merges two, and
# reads again what comes back. ROOT 6.40 itself can't merge `types` (classes without dictionary) and `quantized`.
mkdir "$folder/rntuples"
"$root_python" -W ignore scripts/make_rntuples.py "$folder/rntuples"
declare -A jets=(
    [none]="" [none_but_jets]="_collection0"
    [records]="Jet FatJet leadjet trackjets Jet_pt" [types]=jets [quantized]=jets
    [nanoaod]="_collection0 Jet_pt Jet_eta Jet_phi Jet_mass"
    [physlite]="AnalysisJetsAuxDyn:pt AnalysisJetsAuxDyn:eta AnalysisJetsAuxDyn:phi AnalysisJetsAuxDyn:m"
)
same_fields() {
    "$root_python" -W ignore scripts/interop_check.py fields "$1" "$2" Events ${jets[$3]}
}
for layout in records types nanoaod physlite quantized; do
    file=$folder/rntuples/$layout
    .venv/bin/atlasae compress "$file.root" "$file.small.root"
    .venv/bin/atlasae verify "$file.root" "$file.small.root"
    .venv/bin/atlasae decompress "$file.small.root" "$file.back.root"
    same_fields "$file.root" "$file.small.root" "$layout"
    same_fields "$file.root" "$file.back.root" "$layout"
    .venv/bin/atlasae compress "$file.root" "$file.jets.root" --only-jets
    .venv/bin/atlasae verify "$file.root" "$file.jets.root"
    .venv/bin/atlasae decompress "$file.jets.root" "$file.jets.back.root"
    if [[ $layout == nanoaod || $layout == physlite ]]; then  # no classes: RDataFrame has the names of uproot
        .venv/bin/python scripts/interop_check.py sums "$file".{small,back,jets,jets.back}.root > "$folder/sums.json"
        "$root_python" -W ignore scripts/interop_check.py compare "$folder/sums.json"
        same_fields "$file.back.root" "$file.jets.back.root" none_but_jets
    fi
    for how in "" -ff -f505; do
        # shellcheck disable=SC2086  # no option at all is one of the ways
        if "$hadd" -f $how "$file.twice.root" "$file.root" "$file.root"; then
            "$hadd" -f $how "$file.merged.root" "$file.small.root" "$file.small.root"
            .venv/bin/atlasae verify "$file.twice.root" "$file.merged.root"
            .venv/bin/atlasae decompress "$file.merged.root" "$file.merged.back.root" --force
            same_fields "$file.root" "$file.merged.root" "$layout"
            same_fields "$file.back.root" "$file.merged.back.root" none
        fi
    done
done

# What is written anew has page checksums, too, so that hadd merges it.
.venv/bin/atlasae compress "$file.root" "$file.small.root" --format rntuple --rewrite --drop-unwritable --force
"$hadd" -f "$folder/ntuples.root" "$file.small.root" "$file.small.root"
.venv/bin/atlasae verify "$folder/ntuples.root"
same_fields "$file.small.root" "$folder/ntuples.root" none
