"""Sums over the chunks of a collection, and the note about exact jets."""

from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest

from atlasae.compression.collection import CompressedJets, Compressor, Start, merge_largest
from atlasae.jets.collections import Collection


@pytest.mark.parametrize(
    ("found", "largest"),
    [
        ([], {}),
        ([{}], {}),
        ([{}, {"pt": 0.1, "m": 0.0}, {"pt": 0.05, "m": 0.2}, {"eta": 0.3}], {"pt": 0.1, "m": 0.2, "eta": 0.3}),
    ],
)
def test_the_largest_error_is_taken_variable_by_variable(found, largest):
    assert merge_largest(iter(found)) == largest


class Exactly:
    """A layout that keeps jets with pt < 0 exactly, and reports errors of 0.1 pt for the others."""

    why_exact = "pt < 0"

    def __init__(self, name: str = "Jet") -> None:
        names = {variable: variable for variable in ("pt", "eta", "phi", "m")}
        self.collection = Collection(name, "Jet_", names, dict.fromkeys(names, "<f4"), jagged=False)

    def compress(self, columns: Any, counts: Any, bounds: Any) -> CompressedJets:
        """No branches; which jets are exact, and the largest error of the others."""
        exact = columns[0] < 0
        return CompressedJets({}, exact, {"pt": float(columns[0][~exact].max(initial=0.0)) / 10})


def test_chunks_add_up():
    compressor: Any = Compressor(Exactly(), {"pt": 1.0})
    for pt in ([-1, 1], [3]):
        column = ak.Array(np.array(pt, np.float32))
        compressor.compress(dict.fromkeys(("pt", "eta", "phi", "m"), column))
    assert (compressor.jets, compressor.exact_jets, compressor.bytes_in) == (3, 1, 48)
    assert compressor.max_error == pytest.approx({"pt": 0.3})
    other: Any = replace(compressor, layout=Exactly("Other"), jets=2)
    few: Any = replace(compressor, jets=20)
    told = "33% of the jets of 'Jet' are kept exactly: pt < 0"
    assert Start([few, compressor], "", {}, ["unlike"]).notes() == ["unlike", told]
    assert Start([compressor, other], "", {}).notes() == [
        "33% to 50% of the jets of 'Other', 'Jet' are kept exactly: pt < 0"
    ]
    assert Start([few, Compressor(Exactly(), {})], "", {}).notes() == []
