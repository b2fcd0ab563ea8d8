#!/usr/bin/env python
"""What a comb of decoded values does to spectra: changes of fine bins and counts, compared with random errors.

One million jets are drawn with pt^-5 from 60 GeV, and a long file is made from each FILE. They are compressed in both
layouts and decompressed. Changes of fine bins are chi^2 of decoded against original jets, per bin, over that of random
errors, uniform within the same bound: 1 where an error does not depend on the value. Shifts of counts are in standard
deviations of what these random errors give. `AUC` is that of the classifier of `atlasae evaluate`. Encode and decode
are those of `codec`: in memory, in million jets per CPU second.
"""

from pathlib import Path

import awkward as ak
import codec
import numpy as np
import uproot
from harness import LAYOUTS, Given, Row, Table, Tables, long_file, main, transposed
from precision import Compared, compared

from atlasae.codecs.codec import few_threads
from atlasae.jets.coordinates import Floats
from atlasae.jets.variables import JET
from atlasae.reports.classifier import tell_apart
from atlasae.reports.fine import CombTally, FineSpectrum
from atlasae.reports.peers import largest

BOUND = 1e-3
LOWEST, POWER, SEED = 60_000.0, 5.0, 1  # of the falling spectrum: pt in MeV, d(jets)/d(pt) ~ pt^-POWER
JETS_AN_EVENT = 4
WINDOW_OF, WINDOW = "pt, 1 GeV", (100_000.0, 120_000.0)  # MeV
THRESHOLD = 85_000.0  # MeV
TESTED = 1_000_000  # jets that the classifier gets


def falling_jets(jets: int, seed: int = SEED) -> Floats:
    """Jets (n x 4: pt, eta, phi, m in MeV) with a falling pt, flat eta and phi, and m from .1 to .2 of pt."""
    random = np.random.default_rng(seed)
    pt = LOWEST * random.random(jets) ** (-1 / (POWER - 1))
    angles = random.uniform(-2.5, 2.5, jets), random.uniform(-np.pi, np.pi, jets)
    return np.stack([pt, *angles, pt * random.uniform(0.1, 0.2, jets)], axis=1)


def falling_file(folder: Path, jets: int) -> Path:
    """A file of these jets, four in an event, in falling pt; an existing one is used again."""
    path = folder / f"falling_{jets}.root"
    if not path.exists():
        drawn = falling_jets(jets // JETS_AN_EVENT * JETS_AN_EVENT).reshape(-1, JETS_AN_EVENT, 4)
        order = np.argsort(-drawn[:, :, :1], axis=1)
        drawn = np.take_along_axis(drawn, order, axis=1).astype(np.float32)
        with uproot.recreate(path) as file:
            columns = zip(JET.names, drawn.transpose(2, 0, 1), strict=True)
            events = ak.zip({name: ak.from_regular(column) for name, column in columns})
            file.mktree("jets", {"Jets": events.type.content}).extend({"Jets": events})
    return path


def figures(found: Compared) -> Row:
    """All figures of a collection, of its jets that have coordinates."""
    kept, comb = JET.usable(found.before.jets), CombTally()
    before, after = found.before.jets[kept], found.after.jets[kept]
    comb.add(before, after, found.entry.precision)
    distinct = comb.distinct.figures()
    row: Row = {"jets": len(before), "bytes per jet": found.bytes_per_jet}
    row["largest error"] = max(map(largest, found.errors.values()))
    row |= {"pt: values before": distinct.before["pt"], "pt: values": distinct.after["pt"]}
    for name, spectrum in comb.spectra.items():
        row |= change_row(name, spectrum)
        if name == WINDOW_OF:
            row |= change_row(f"{name}, 100 to 120 GeV", spectrum, WINDOW) | extremes(spectrum)
    (above,) = (one.figures() for one in comb.above if one.pt == THRESHOLD)
    row |= {"above 85 GeV: shift, %": 100 * (above.after / above.before - 1), "above 85 GeV: sigma": above.sigma}
    every = -(-len(before) // TESTED)
    told = tell_apart(before[::every], after[::every])
    return row | ({"AUC": told.auc, "AUC: +-": told.error} if told else {})


def change_row(name: str, spectrum: FineSpectrum, window: tuple[float, float] = (-np.inf, np.inf)) -> Row:
    """The change of fine bins over that of random errors, and its error; nothing where there are no bins."""
    change = spectrum.change(*window)
    if change.ratio is None or change.error is None:
        return {}
    return {name: change.ratio, f"{name}: +-": change.error}


def extremes(spectrum: FineSpectrum) -> Row:
    """The smallest and largest ratio of decoded to original jets in the bins of the window."""
    low, high = np.searchsorted(spectrum.edges, WINDOW)
    filled = spectrum.before[low:high] > 0
    ratio = spectrum.after[low:high][filled] / spectrum.before[low:high][filled]
    return {"decoded / original, from": ratio.min(), "to": ratio.max()} if len(ratio) else {}


@few_threads()
def measure(given: Given) -> Tables:
    """The figures of every file and layout, and the speed for each file."""
    longer = [long_file(path, given.longer, given.scratch) for path in given.files]
    found, fast = Table(), Table()
    for path in (falling_file(given.scratch, given.jets), *longer):
        for layout in LAYOUTS:
            for one in compared(path, given.folder, precision=str(BOUND), layout=layout, only_jets=True):
                found[f"{path.stem}, {layout}"] = figures(one)
        sample = codec.read_jets(path)
        rows = codec.speeds(sample, codec.floats_works(sample) | codec.packed_works(sample), 2)
        fast |= {f"{path.stem}, {layout}": row for layout, row in rows.items()}
    return {"figures": transposed(found), "million jets a second": fast}


if __name__ == "__main__":
    main(__doc__, measure, jets=1_000_000, longer=2_000_000)
