#!/usr/bin/env bash
# Lint, types and tests, in an environment of its own (.venv).
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -d .venv ]] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --constraint scripts/constraints.txt --editable '.[browser,test]'

.venv/bin/ruff check
.venv/bin/ruff format --check
.venv/bin/mypy
# Of the commands that tests start, the first writes bytecode for the others: a third of a second each.
unset PYTHONDONTWRITEBYTECODE
# Two tests at a time, of one thread each; neighbours stay together: they share what is made for them.
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 2 --dist worksteal
