#!/usr/bin/env bash
# uproot 5.7.7 writes the object of a TTree, and the streamer infos of a file, without compression; ROOT compresses both.
#
# The object has some 520 bytes a branch: of small files with many branches it is the larger part, whatever compression
# is asked for. Each time it grows, it is written anew, and the place of the old one stays in the file.
#
# Seen with uproot 5.7.7 and awkward 2.14.0, 100 branches of 100 zeros, ZSTD(5):
#   file 82,565 bytes, baskets 9,990, object 52,328 as it is, 2,098 if zlib packed it
# This script fails when the object is compressed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --only-binary :all: uproot==5.7.7 awkward==2.14.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import sys
import zlib

import numpy as np
import uproot

names = [f"branch_{i}" for i in range(100)]
with uproot.recreate("x.root", compression=uproot.ZSTD(5)) as file:
    file.mktree("t", dict.fromkeys(names, np.dtype("f4"))).extend(dict.fromkeys(names, np.zeros(100, "f4")))
with uproot.open("x.root") as file:
    key, baskets = file.key("t"), sum(branch.compressed_bytes for branch in file["t"].branches)
begin, end = key.fSeekKey + key.fKeylen, key.fSeekKey + key.fNbytes
with open("x.root", "rb") as raw:
    data = raw.read()[begin:end]
sizes = os.path.getsize("x.root"), baskets, len(data), len(zlib.compress(data, 9))
print("file {:,} bytes, baskets {:,}, object {:,} as it is, {:,} if zlib packed it".format(*sizes))
sys.exit(0 if len(data) == key.fObjlen else 1)
PYTHON
