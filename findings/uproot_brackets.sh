#!/usr/bin/env bash
# uproot 5.7.7 writes a branch of single numbers called `w[3]`, and can't read it again: it gives the leaf the branch's
# name in its title, where brackets tell a shape, and takes `w[3]` for three numbers an entry. Seen: ValueError, "basket 0
# in tree/branch /t;1:w[3] has the wrong number of bytes (20) for interpretation AsDtype("('>f4', (3,))")"; and a
# branch `w[1]` comes back as an array of one number an entry, without an error. Columns of tables are called so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet uproot==5.7.7 awkward==2.14.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import uproot

with uproot.recreate("x.root") as file:
    tree = file.mktree("t", {"w[3]": np.dtype("f4"), "w[1]": np.dtype("f4")})
    tree.extend({name: np.arange(5, dtype="f4") for name in ("w[3]", "w[1]")})
with uproot.open("x.root") as file:
    tree = file["t"]
    print("uproot", uproot.__version__)
    print("w[1]:", tree["w[1]"].array().type)
    assert tree["w[1]"].array().ndim == 2, "a single number is read as one: uproot has changed"
    try:
        tree["w[3]"].array()
    except ValueError as error:
        print("w[3]:", " ".join(str(error).split()))
    else:
        raise SystemExit("w[3] is read: uproot has changed")
PYTHON
