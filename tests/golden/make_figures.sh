#!/bin/sh
# Draw the golden figures anew, those that test_plotting.py compares with; look at each before it is committed.
set -eu
cd "$(dirname "$0")/../.."
# pytest-mpl warns that it draws into the folder it would compare with: that is what we want.
python -m pytest tests/reports/test_plotting.py -k looks_as --mpl-generate-path=tests/golden/figures \
  -W "ignore:Ignoring --mpl-baseline-path"
