#!/usr/bin/env bash
# Compresses the jets of data/jets.root, gives them back, and says and draws what it saved and what it cost.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

[[ -d .venv ]] || python3 -m venv .venv
say "installing atlasae and its libraries into .venv (torch is large: minutes, the first time)"
.venv/bin/python -m pip install --constraint scripts/constraints.txt --editable . > >(grep --line-buffered -v "already satisfied" || true)

mkdir -p demo
atlasae=.venv/bin/atlasae original=data/jets.root small=demo/compressed.root

say "compressing: three floats a jet instead of four"
$atlasae compress $original $small --force
say "bringing the jets back, and comparing all of it"
$atlasae decompress $small demo/restored.root --force
$atlasae verify $original $small
say "drawing the response to pt, and all figures on one page"
$atlasae plot $original $small -o demo/figures --html demo/report.html --force

say "what it saved"
$atlasae info $small --json | .venv/bin/python -c '
import json, sys
found = json.load(sys.stdin)
whole, before = found["bytes"], found["runs"][0]["source_bytes"]
jets_before, jets = (sum(c[key] for c in found["collections"]) for key in ("bytes_in", "bytes"))
jet = [size / found["jets"] for size in (jets_before, jets)]
print(f"a jet:      {jet[0]:.2f} -> {jet[1]:.2f} bytes, {1 - jets / jets_before:.0%} less")
print(f"the file:   {before:,} -> {whole:,} bytes, {1 - whole / before:.0%} less: jets were {jets_before / before:.0%} of it,")
print("            and all else is copied byte for byte (--only-jets leaves it out)")'
say "look at $PWD/$(ls demo/figures/*_3_response_pt.png), or at all of $PWD/demo/report.html"
