#!/usr/bin/env bash
# Builds pages of the public functions and classes from their docstrings: bash scripts/docs.sh [FOLDER]
set -euo pipefail
folder=${1:-$(dirname "$0")/../build/docs}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/.."

[[ -d .venv ]] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --constraint scripts/constraints.txt --editable '.[docs]'

.venv/bin/python scripts/docs.py "$folder"
