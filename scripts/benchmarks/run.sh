#!/usr/bin/env bash
# Measures every subject and writes results.json and results.md; ten minutes or so of one core, and of two for `many`.
# Usage: run.sh [DATA [ROOT_PYTHON]]
#   DATA         a folder with the real data: atlas_trigger_jets_dev.pkl, pythia_dijet.root, others for whole files
#   ROOT_PYTHON  a Python that has ROOT: two minutes more
# What is not there is left out, and said. PYTHON=... takes that Python instead of .venv. LONG=1 measures what takes
# long, too: more jets for `speed` and `baskets`, the figures of `plots`, and `models`, which trains for a quarter of an
# hour and more. A subject that fails keeps its old figures and stops no other; the exit code is 1 then.
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=$repository/.venv/bin/python
    [[ -e $PYTHON ]] || python3 -m venv "$repository/.venv"
    "$PYTHON" -m pip install --quiet --constraint "$repository/scripts/constraints.txt" \
        --editable "$repository[benchmark,distributed,onnx,tables]"
fi
data=${1:-}
root_python=${2:-}
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
failed=0

present() { # those of the named files that are in DATA
    local name
    for name in "$@"; do
        if [[ -n $data && -e $data/$name ]]; then
            echo "$data/$name"
        else
            echo "left out, not in DATA: $name" >&2
        fi
    done
}
measure() { # a subject and its arguments
    local began=$SECONDS
    "$PYTHON" -W ignore "$repository/scripts/benchmarks/$1.py" "${@:2}" --scratch "$scratch" || {
        echo "failed: $1" >&2
        failed=1
    }
    echo "$1 took $((SECONDS - began)) s" >&2
}

mapfile -t dijets < <(present pythia_dijet.root)
mapfile -t trigger < <(present atlas_trigger_jets_dev.pkl)
mapfile -t others < <(present atlas_physlite.root atlas_open_data_4lep.root cms_nanoaod_wide.root cms_nanoaod.root \
    cms_hzz_pxpypze.root delphes.root fcc_edm4hep.root)
samples=("$repository/data/jets.root" "${trigger[@]}" "${dijets[@]}")

measure size "${samples[@]}" ${others:+--whole "${others[@]}"}
measure precision "${samples[@]}"
measure variables
mapfile -t wide < <(present cms_nanoaod_wide.root)
measure whole "$repository/data/jets.root" "${wide[@]}"
measure speed "${dijets[@]}" ${LONG:+--longer 5}
measure baskets "${dijets[@]}" ${LONG:+--longer 4}
measure cores "${dijets[@]}"
measure codec "${dijets[@]}"
measure spectra "${dijets[@]}"
measure reading
mapfile -t wide < <(present atlas_physlite.root cms_nanoaod_wide.root)
measure starting "$repository/data/jets.root" "${wide[@]}"
measure planning
measure export
measure many
measure install
if [[ -n $root_python ]]; then
    measure rdataframe "${dijets[@]}" --root "$root_python"
else
    echo "left out, without ROOT_PYTHON: rdataframe" >&2
fi
if [[ -n ${LONG:-} ]]; then
    mapfile -t published < <(present AE_3D_200_no1cycle_trainforever.pth)
    measure plots --plots "$repository/plots"
    measure models "${trigger[@]}" ${dijets:+--more "${dijets[@]}"} ${published:+--checkpoint "${published[0]}"}
else
    echo "left out, without LONG=1: plots, models" >&2
fi
exit "$failed"
