"""Write the missing golden files of the present formats, which every later version of atlasae has to read.

    python tests/golden/make_golden.py

Each is a small compressed file and, in an .npz, every branch of its decompressed file when it was made.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import torch
import uproot

from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder
from atlasae.codecs.chain import jet_autoencoder
from atlasae.codecs.model import Model
from atlasae.compression.compress import compress_file
from atlasae.compression.decompress import decompress_file
from atlasae.compression.format import FORMAT, NEWEST
from atlasae.compression.plan import Options
from atlasae.compression.verify import verify_file
from atlasae.jets.precision import Precision

HERE, LATER = (Path(__file__).parent / f"format-{number}" for number in (FORMAT, NEWEST))
COLLECTIONS = (
    ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass"),
    ("truthjet_pt", "truthjet_eta", "truthjet_phi", "truthjet_E"),
)
ENTRIES = 100
LIST = "\n".join(
    f'[[variable]]\nbranch = "{branch}"\ncoordinate = "{coordinate}"\nprecision = {precision}'
    for branch, coordinate, precision in (
        ("Jet_pt", "log", 1e-3),
        ("Jet_eta", "linear", 1e-3),
        ("Jet_phi", "angle", 1e-3),
        ("Jet_mass", "asinh", 1e-2),
        ("Jet_area", "linear", 1e-2),
    )
)
ODD = (np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e-45, 11.0, -3.2, 1e30)


def main() -> None:
    """Write every kind that is missing."""
    with tempfile.TemporaryDirectory() as folder:
        original, model, mlp = (Path(folder) / name for name in ("original.root", "a.safetensors", "mlp.safetensors"))
        variables = Path(folder) / "list.toml"
        write_original(original)
        model.write_bytes(small_model().content)
        mlp.write_bytes(small_network().content)
        variables.write_text(LIST)
        usual = Options(Precision.parse("1e-3"), step_size=4_000)
        packed, listed = replace(usual, packed=True), replace(usual, variables=variables, only_jets=True)
        embedded = Options(Precision.parse("full"), model=str(model))
        make("default", original, usual)
        make("embedded", original, embedded)
        make("mlp", original, Options(Precision.parse("1e-1"), model=str(mlp), only_jets=True))
        make("ntuple", original, replace(usual, rntuple=True, only_jets=True))
        make("packed", original, packed)
        make("list", original, listed)
        make("list_packed", original, replace(listed, packed=True), LATER)
        make_others(Path(folder), usual, packed, listed)
    if not (HERE / "records.root").exists():  # is compared with what ROOT wrote, in rntuple/
        records = HERE.parent / "rntuple" / "records.root"
        compress_file(records, HERE / "records.root", replace(usual, rntuple=True))
    whole = LATER / "whole.root"
    if not whole.exists():
        whole.parent.mkdir(exist_ok=True)
        compress_file(HERE.parent / "rntuple" / "records.root", whole, replace(usual, whole_jets="*"))


def make_others(folder: Path, usual: Options, packed: Options, listed: Options) -> None:
    """Those of rounded jets, of phi in [0, 2 pi), of several trees, of whole jets, and of bounds by resolution."""
    rounded, turned, tagged = (folder / f"jets_{name}.root" for name in ("rounded", "turned", "tagged"))
    write_rounded(rounded)
    make("rounded", rounded, usual)
    make("rounded_packed", rounded, packed)
    write_turned(turned)
    make("turned", turned, usual)
    make("turned_packed", turned, packed)
    make("turned_list", turned, listed)
    write_tagged(tagged)
    make("trees", tagged, usual)
    for name, one in {"whole": {"whole_jets": ("Jet",)}, "resolved": {"precision": "resolution/20"}}.items():
        make(name, tagged, replace(usual, tree="Events", **one))
        make(f"{name}_packed", tagged, replace(packed, tree="Events", **one))
    make_varied(folder, usual, packed)


def make_varied(folder: Path, usual: Options, packed: Options) -> None:
    """Those of variations with m and with E; format-5/shared.root has them as floats, of which no more are written."""
    for kind, options in {"mass": usual, "E": packed}.items():
        path = folder / f"jets_{kind}.root"
        write_varied(path, kind)
        make(f"varied_{options.layout}", path, options, LATER)


def make(name: str, original: Path, options: Options, folder: Path = HERE) -> None:
    """Write one golden file and its decompressed values, unless they are there."""
    folder.mkdir(exist_ok=True)
    compressed, restored = folder / f"{name}.root", original.with_name(f"{name}.root")
    if compressed.exists():
        return
    compress_file(original, compressed, options)
    assert not verify_file(original, compressed)["differences"]
    decompress_file(compressed, restored)
    before, after = read(original), read(restored)
    facts = {"branches": np.array(list(after))}
    for branch, array in after.items():
        facts[f"{branch}.counts"], facts[branch] = parts(array)
    for names in COLLECTIONS:
        if not set(names) <= set(after):
            continue
        same = [bits(parts(before[branch])[1]) == bits(parts(after[branch])[1]) for branch in names]
        facts |= dict.fromkeys((f"{branch}.exact" for branch in names), np.all(same, axis=0))
    np.savez_compressed(folder / f"{name}.npz", **facts)


def read(path: Path) -> dict[str, ak.Array]:
    """All branches except counters."""
    with uproot.open(path) as file:
        return {b.name: b.array() for b in file["Events"].branches if not b.name.startswith("n")}


def parts(array: ak.Array) -> tuple[np.ndarray, np.ndarray]:
    """Values per entry, and all values."""
    if str(array.type).endswith("string"):
        return np.ones(len(array), int), np.array(array.to_list())
    if array.ndim == 1:
        return np.ones(len(array), int), ak.to_numpy(array)
    return ak.to_numpy(ak.num(array)), ak.to_numpy(ak.flatten(array))


def bits(values: np.ndarray) -> np.ndarray:
    """The bits of floats as integers."""
    return values.view(f"u{values.itemsize}")


def write_original(path: Path) -> None:
    """Write jets of float32 and float64, odd ones among them, between branches of other types."""
    rng = np.random.default_rng(20261124)
    counts = rng.integers(0, 4, ENTRIES), rng.integers(0, 3, ENTRIES)
    single = [x.astype(np.float32) for x in jets(rng, int(counts[0].sum()), unit=1000.0)]
    double = jets(rng, int(counts[1].sum()), unit=1.0)
    double[3] = np.sqrt((double[0] * np.cosh(double[1])) ** 2 + double[3] ** 2)
    for columns in (single, double):
        for i, value in enumerate(ODD):
            columns[i % 4][7 * i] = value
    single[0].view(np.uint32)[3], double[0].view(np.uint64)[3] = 0x7F800123, 0x7FF0000000000123
    weights = rng.integers(0, 2**32, ENTRIES, dtype=np.uint32).view(np.float32)
    branches = {"event": ak.Array(np.arange(ENTRIES, dtype=np.uint64) + 2**40), "weight": ak.Array(weights)}
    counters = {"Jet_area": "nJet"}
    for names, columns, per_event, counter in zip(
        COLLECTIONS, (single, double), counts, ("nJet", "ntruthjet"), strict=True
    ):
        branches |= {name: ak.unflatten(x, per_event) for name, x in zip(names, columns, strict=True)}
        counters |= dict.fromkeys(names, counter)
    branches["Jet_area"] = ak.unflatten(rng.normal(0.5, 0.1, len(single[0])).astype(np.float32), counts[0])
    branches["text"] = ak.Array([f"é{i}" * (i % 3) for i in range(ENTRIES)])
    with uproot.recreate(path) as file:
        types = {name: declared(array) for name, array in branches.items()}
        file.mktree("Events", types, counter_name=lambda name: counters[name]).extend(branches)


def write_rounded(path: Path) -> None:
    """Write rounded jets with padding between: mantissas cut to 10 bits, eta on a grid, and -999."""
    rng = np.random.default_rng(20261128)
    columns = [x.astype(np.float32) for x in jets(rng, 3 * ENTRIES, unit=1000.0)]
    for column in (columns[0], columns[3]):
        column.view(np.uint32)[:] &= 0xFFFFE000
    columns[1] = (np.round(columns[1] * 10) / 10).astype(np.float32)
    absent = rng.random(3 * ENTRIES) < 0.3
    for column in columns:
        column[absent] = -999
    names = COLLECTIONS[0]
    with uproot.recreate(path) as file:
        counted = {name: ak.unflatten(column, np.full(ENTRIES, 3)) for name, column in zip(names, columns, strict=True)}
        types = {name: declared(array) for name, array in counted.items()}
        file.mktree("Events", types, counter_name=lambda name: "nJet").extend(counted)


def write_turned(path: Path) -> None:
    """Write jets with phi in [0, 2 pi], its ends and pi among them."""
    rng = np.random.default_rng(20261129)
    columns = [x.astype(np.float32) for x in jets(rng, 3 * ENTRIES, unit=1000.0)]
    columns[2] = (columns[2] % (2 * np.pi)).astype(np.float32)
    columns[2][:4] = 0, np.pi, 2 * np.pi, np.nextafter(np.float32(2 * np.pi), np.float32(0))
    columns[2][4:6] = -1e-3, 6.2832  # beyond
    columns.append(rng.normal(0.5, 0.1, 3 * ENTRIES).astype(np.float32))
    names = (*COLLECTIONS[0], "Jet_area")
    with uproot.recreate(path) as file:
        counted = {name: ak.unflatten(column, np.full(ENTRIES, 3)) for name, column in zip(names, columns, strict=True)}
        types = {name: declared(array) for name, array in counted.items()}
        file.mktree("Events", types, counter_name=lambda name: "nJet").extend(counted)


def write_tagged(path: Path) -> None:
    """Write two trees of jets with a flag, a count, a float of 8 bits, and a float with a sentinel."""
    rng = np.random.default_rng(20261130)
    counts = rng.integers(0, 4, ENTRIES)
    n = int(counts.sum())
    with uproot.recreate(path) as file:
        for tree in ("Events", "up"):
            columns = [x.astype(np.float32) for x in jets(rng, n, unit=1000.0)]
            columns[0][::9] = -1.0  # exact
            columns += [rng.random(n) < 0.1, rng.poisson(12, n).astype(np.int32)]
            fraction, tag = rng.random((2, n), np.float32)
            columns += [
                (fraction.view(np.uint32) & 0xFFFF8000).view(np.float32),
                np.where(tag < 0.1, np.float32(-1), tag),
            ]
            names = (*COLLECTIONS[0], "Jet_good", "Jet_constituents", "Jet_fraction", "Jet_tag")
            counted = {name: ak.unflatten(column, counts) for name, column in zip(names, columns, strict=True)}
            types = {name: declared(array) for name, array in counted.items()}
            file.mktree(tree, types, counter_name=lambda name: "nJet").extend(counted)


def write_varied(path: Path, kind: str) -> None:
    """Write jets with two variations, one of them odd here and there; all share eta and phi."""
    rng = np.random.default_rng(20261201)
    pt, eta, phi, m = jets(rng, 3 * ENTRIES, unit=1000.0)
    four = m if kind == "mass" else np.sqrt((pt * np.cosh(eta)) ** 2 + m**2)
    columns = {"Jet_pt": pt, "Jet_eta": eta, "Jet_phi": phi, f"Jet_{kind}": four}
    for name, factor in {"jesUp": 1.02, "jerUp": rng.normal(1, 0.03, len(pt))}.items():
        columns |= {f"Jet_pt_{name}": pt * factor, f"Jet_{kind}_{name}": four * factor}
    for i, value in enumerate(ODD):
        columns["Jet_pt_jerUp"][7 * i] = columns["Jet_pt"][7 * i + 1] = value
    counted = {name: ak.unflatten(x.astype(np.float32), np.full(ENTRIES, 3)) for name, x in columns.items()}
    with uproot.recreate(path) as file:
        types = {name: declared(array) for name, array in counted.items()}
        file.mktree("Events", types, counter_name=lambda name: "nJet").extend(counted)


def jets(rng: np.random.Generator, n: int, unit: float) -> list[np.ndarray]:
    """pt, eta, phi, m."""
    pt = 20_000 * (1 + rng.pareto(2.5, n))
    return [pt / unit, rng.normal(0, 1.8, n), rng.uniform(-3.14, 3.14, n), pt * rng.uniform(0.03, 0.25, n) / unit]


def declared(array: ak.Array) -> object:
    """The type of a branch, for mktree."""
    if str(array.type).endswith("string"):
        return "string"
    return ak.to_numpy(array).dtype if array.ndim == 1 else array.layout.form.type


def small_model() -> Model:
    """An untrained model with few different weights, so that it takes little space."""
    torch.manual_seed(1)
    autoencoder = jet_autoencoder()
    with torch.no_grad():
        for weights in autoencoder.parameters():
            weights.copy_((weights * 16).round() / 16)
    return Model.from_autoencoder(autoencoder, {"provenance": "random weights, for a golden file"})


def small_network() -> Model:
    """A bottleneck network that keeps pt, eta and phi, and sets m to a tenth of pt."""
    columns, scalings = ("m", "pt", "phi", "eta"), ("log10", "log10", "linear", "linear")
    network = BottleneckAutoencoder(Bottleneck(columns, scalings, hidden=(2,), skip=True)).double()
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
        for latent, column in enumerate((1, 2, 3)):
            network.encoder.straight.weight[latent, column] = network.decoder.straight.weight[column, latent] = 1
        network.decoder.straight.weight[0, 0] = 1
        network.decoder.layers[-1].bias[0] = -1  # of log10 m
    return Model.from_autoencoder(network, {"provenance": "by hand, for a golden file"})


if __name__ == "__main__":
    main()
