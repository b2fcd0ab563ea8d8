#!/usr/bin/env bash
# ParquetFile.iter_batches of pyarrow 26.0.1 keeps what it has read until all of it is read.
#
# A file of 160 MB, in 40 groups of rows, is read in batches that are thrown away. Memory grows by the compressed bytes
# of all groups before, although Arrow's own count of its memory stays near nothing; with an iterator for each group, it
# does not grow.
#
# Seen with pyarrow 26.0.1:
#   grows by 154 MB with one iterator, by 0 MB with one for each group
# This script fails when one iterator needs no more memory than many.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary :all: pyarrow==26.0.1 numpy
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUPS, ROWS = 40, 1_000_000


def in_memory():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1000


def growth(batches):
    next(batches)
    before = in_memory()
    for _ in batches:
        pass
    return in_memory() - before


rng = np.random.default_rng(1)
with pq.ParquetWriter("x.parquet", pa.schema([("x", pa.float32())])) as writer:
    for _ in range(GROUPS):
        writer.write_table(pa.table({"x": rng.random(ROWS, dtype="f4")}))
many, one = pq.ParquetFile("x.parquet"), pq.ParquetFile("x.parquet")
apart = growth(batch for group in range(GROUPS) for batch in many.iter_batches(row_groups=[group]))
together = growth(one.iter_batches())
print(f"pyarrow {pa.__version__}: grows by {together:.0f} MB with one iterator, by {max(0, apart):.0f} MB with one for each group")
sys.exit(0 if together > apart + 50 else 1)
PYTHON
