#!/usr/bin/env bash
# Compresses the jets of data/jets.root, gives them back, and says what it saved and what it cost.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -d .venv ]] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --constraint scripts/constraints.txt --editable .

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

.venv/bin/atlasae compress data/jets.root "$folder/compressed.root"
.venv/bin/atlasae info "$folder/compressed.root"
.venv/bin/atlasae decompress "$folder/compressed.root" "$folder/restored.root"
.venv/bin/atlasae verify data/jets.root "$folder/compressed.root"
wc --bytes data/jets.root "$folder/compressed.root" "$folder/restored.root"
