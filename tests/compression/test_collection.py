"""Sums over the chunks of a collection, and the note about exact jets."""

from collections import Counter
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest

from atlasae.codecs.codec import checksum_columns
from atlasae.compression.collection import CompressedJets, Compressor, Restored, Start, odd_jets
from atlasae.files.checksums import checksum_bytes
from atlasae.jets.collections import Collection


class Exactly:
    """A layout that keeps jets with pt < 0 exactly, and reports errors of 0.1 pt for the others."""

    why_exact = "pt < 0"

    def __init__(self, name: str = "Jet") -> None:
        names = {variable: variable for variable in ("pt", "eta", "phi", "m")}
        self.collection = Collection(name, "Jet_", names, dict.fromkeys(names, "<f4"), jagged=False, units="MeV")

    def compress(self, columns: Any, counts: Any, bounds: Any) -> CompressedJets:
        """No branches; which jets are exact, and the largest error of the others."""
        exact = columns[0] < 0
        return CompressedJets({}, exact, {"pt": float(columns[0][~exact].max(initial=0.0)) / 10})


def test_chunks_add_up():
    compressor: Any = Compressor(Exactly(), {"pt": 1.0})
    for pt in ([-1, 1], [3]):
        column = ak.Array(np.array(pt, np.float32))
        compressor.add(compressor.compress(dict.fromkeys(("pt", "eta", "phi", "m"), column)))
    assert (compressor.jets, compressor.exact_jets) == (3, 1)
    assert compressor.reasons == {"pt is not positive": 1, "m is negative": 1}
    assert compressor.max_error == pytest.approx({"pt": 0.3})
    other: Any = replace(compressor, layout=Exactly("Other"), jets=2)
    few: Any = replace(compressor, jets=20)
    told = "33% of the jets of 'Jet' are kept exactly: pt < 0"
    assert Start([few, compressor], "", {}, ["unlike"]).notes() == ["unlike", told]
    assert Start([compressor, other], "", {}).notes() == [
        "33% to 50% of the jets of 'Other', 'Jet' are kept exactly: pt < 0"
    ]
    assert Start([few, Compressor(Exactly(), {})], "", {}).notes() == []


def test_only_what_was_compared_within_no_wider_bounds_is_known_to_keep_a_precision():
    columns, counts = [np.arange(4, dtype=np.float32), np.ones(4, np.float32)], np.array([3, 1])
    known = Restored(checksum_columns(columns), checksum_bytes(counts.tobytes()), {"pt": 1e-3, "m": np.inf})
    assert known.keeps({"pt": 1e-3, "m": None}, columns, counts)
    assert known.keeps({"pt": 2e-3}, columns, counts)
    assert not known.keeps({"pt": 9e-4}, columns, counts)
    assert not known.keeps({"pt": 1e-3, "m": 1.0}, columns, counts)
    assert not known.keeps({"eta": 1.0}, columns, counts)
    assert not known.keeps({"pt": 1e-3}, columns, counts[::-1].copy())
    assert not known.keeps({"pt": 1e-3}, columns[::-1], counts)
    assert not replace(known, columns=None).keeps({"pt": 1e-3}, columns, counts)


def test_one_line_tells_of_all_jets_that_the_model_does_not_know():
    layout: Any = Exactly()
    layout.why_exact = ""
    reasons = Counter({"m is negative": 1200, "pt is out of range": 1, "eta is not finite": 0})
    many: Any = Compressor(layout, {}, 2000, 1200, {}, +reasons)
    start = Start([many], "", {}, ["a warning"], {"Jet": "pt is low", "FatJet": "m is high"})
    told = (
        "jets of 'Jet', 'FatJet' are unlike those the model was trained on: those of 'Jet': pt is low; "
        "`--model self` may take less space; "
        "60% of the jets of 'Jet' are kept exactly: m is negative (1,200 jets), pt is out of range (1 jet)"
    )
    assert start.notes() == ["a warning", told]
    assert start.details() == [
        "'Jet': pt is low",
        "'FatJet': m is high",
        "'Jet': 1,200 of 2,000 jets are kept exactly: m is negative (1,200 jets), pt is out of range (1 jet)",
    ]
    unknown: Any = replace(many, reasons=Counter())
    assert Start([unknown], "", {}).notes() == ["60% of the jets of 'Jet' are kept exactly: they are beyond a bound"]


def test_what_is_odd_about_jets_names_the_variable():
    collection = Exactly().collection
    pt, m = np.array([30, 60, 20, 0, np.nan, 90, 3], np.float32), np.array([5, 6, -2, 5, 5, 5.5, 5], np.float32)
    columns, exact = [pt, np.zeros_like(pt), np.zeros_like(pt), m], np.arange(7) > 1
    assert odd_jets(collection, columns, exact) == {
        "pt is not finite": 1,
        "pt is not positive": 1,
        "pt is out of range": 3,
        "m is negative": 1,
    }
    assert odd_jets(collection, columns, np.zeros(7, bool)) == {}


@pytest.mark.parametrize("turned", [False, True])
def test_phi_in_degrees_is_told_as_what_it_is(turned):
    collection = replace(Exactly().collection, full_turn=turned)
    rows = [[20.0, 0.1, phi, 5.0] for phi in (0.5, 180.0, 359.0, np.nan, 7.0, 2 * np.pi)]
    columns = list(np.array(rows, np.float32).T)
    told = odd_jets(collection, columns, np.array([False, True, True, True, True, False]))
    assert told["phi is beyond 2 pi, as in degrees, where radians are needed"] == 3 and told["phi is not finite"] == 1
