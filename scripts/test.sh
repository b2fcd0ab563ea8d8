#!/usr/bin/env bash
# Lint, types and tests, in an environment of its own (.venv).
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -d .venv ]] || python3 -m venv .venv
pip=(.venv/bin/python -m pip install --quiet)
# Up to 23.2, pip compares every file of a package with a list of a thousand tags: half a minute in all.
"${pip[@]}" 'pip>=23.3' || echo "there is no newer pip: it takes longer"
# Bytecode is written when a module is imported, as most of torch's and sympy's never are.
"${pip[@]}" --no-compile --constraint scripts/constraints.txt --editable '.[browser,test]'

.venv/bin/ruff check
.venv/bin/ruff format --check
.venv/bin/mypy &  # on one core, while tests begin; its result is asked for at the end
types=$!
# Of the commands that tests start, the first writes bytecode for the others: a third of a second each.
unset PYTHONDONTWRITEBYTECODE
# Two tests at a time, of one thread each; neighbours stay together: they share what is made for them.
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 2 --dist worksteal
wait "$types"
