#!/usr/bin/env bash
# Builds sdist and wheel in a clean environment, installs the wheel alone, and runs the commands of README with it.
# Usage: release.sh [FOLDER]    where the two files go; build/release by default
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$repository/build/release}"
target=$(cd "${1:-$repository/build/release}" && pwd)
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
cd "$scratch"

if [[ -n $(git -C "$repository" status --porcelain) ]]; then
    echo "the checkout has changes: commit them first, for a release is made of a commit" >&2
    exit 1
fi
git clone --quiet "$repository" source

python3 -m venv builder
builder/bin/python -m pip install --quiet build
builder/bin/python -m build --outdir built source > build.log || { cat build.log >&2; exit 1; }
CC=false builder/bin/python -m build --wheel --outdir plain source > plain.log || { cat plain.log >&2; exit 1; }
[[ -e $(echo plain/*-py3-none-any.whl) ]] || { echo "without a compiler there is no wheel of Python alone" >&2; exit 1; }

python3 -m venv clean
clean/bin/python -m pip install --quiet --constraint source/scripts/constraints.txt built/*.whl
cp source/data/jets.root in.root
export PATH=$scratch/clean/bin:$PATH
atlasae --version
python -c "from atlasae.native.library import library; assert library(), 'nothing is compiled'"
atlasae compress in.root out.root --quiet
atlasae decompress out.root back.root --quiet
atlasae info out.root > /dev/null
atlasae verify in.root out.root --quiet
atlasae evaluate in.root out.root -o report.json --quiet
atlasae plot report.json -o plots --quiet
atlasae train in.root -o own.model --set course.steps=20 --quiet
atlasae export out.root --cpp -o jets.h --quiet
atlasae help promise > /dev/null
python -c 'import atlasae; print(len(atlasae.open("out.root").jets()), "events")'

cp built/* "$target"
ls -l "$target"
