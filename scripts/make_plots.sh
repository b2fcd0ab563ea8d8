#!/usr/bin/env bash
# Makes plots/, the README's figures, from data/jets.root, and measures what they show (scripts/benchmarks).
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -d .venv ]] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --constraint scripts/constraints.txt --editable '.[benchmark]'

.venv/bin/python scripts/benchmarks/plots.py data/jets.root --plots plots
