#!/usr/bin/env bash
# Makes plots/, the README's figures, from data/jets.root, and prints the figures that the README quotes of them.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -d .venv ]] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --constraint scripts/constraints.txt --editable '.[benchmark]'

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
label=(--no-experiment-label --label 'Pythia 8, smeared' --energy 13.6)

.venv/bin/atlasae compress data/jets.root "$folder/compressed.root" --quiet
.venv/bin/atlasae evaluate data/jets.root "$folder/compressed.root" -o "$folder/report.json"
.venv/bin/atlasae plot "$folder/report.json" -o "$folder/figures" "${label[@]}" --quiet
.venv/bin/atlasae benchmark data/jets.root -o "$folder/figures" "${label[@]}" --force

mkdir -p plots
for figure in 3_response_pt_against_pt 4_residuals 5_dijet_mass 7_size; do
    cp "$folder/figures/"*_"$figure.png" "plots/$figure.png"
done
