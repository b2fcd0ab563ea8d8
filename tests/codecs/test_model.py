import hashlib
import json
import math
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import jet_grid, network_by_hand, random_jets
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

import atlasae
from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder
from atlasae.codecs.chain import jet_autoencoder
from atlasae.codecs.model import Model, default_model, domain_of, load_model, packaged_model, unlike_jets
from atlasae.codecs.priors import MODELS
from atlasae.errors import UserError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STORED = (Path(atlasae.__file__).parent / "models" / MODELS[-1]).read_bytes()
HEADER = 8 + struct.unpack("<Q", STORED[:8])[0]
GRID = jet_grid(1 / 3, (2.0**16,) * 4, (0,) * 4, (2**16,) * 4, (64, 32, 32))
COORDINATES = torch.tensor(
    [[11.0, 0.5, -3.0, 6.0], [14.0, -4.5, 0.0, -1.0], [10.0, 2.0, 3.1, 0.0]], dtype=torch.float64
)


@cache
def random_model() -> Model:
    torch.manual_seed(4)
    return Model.from_autoencoder(jet_autoencoder(), {"columns": ["pt"], "provenance": {"seed": 4}})


def outputs(model: Model) -> list[torch.Tensor]:
    latents = model.autoencoder.encode(COORDINATES, GRID)
    return [latents, model.autoencoder.decode(latents, GRID), model.autoencoder.log_density(COORDINATES).detach()]


def metadata(content: bytes) -> Any:
    return json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]


def changed(change: Callable[[dict[str, torch.Tensor]], Any]) -> bytes:
    """The default model with other weights."""
    weights = load(STORED)
    change(weights)
    return save(weights, metadata=metadata(STORED))


def described(text: object) -> bytes:
    """The default model with another description."""
    return save(load(STORED), metadata={"atlasae": text if isinstance(text, str) else json.dumps(text)})


def headed(header: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header


# --- the packaged model


def test_the_default_model_is_small_and_can_run_no_code():
    assert default_model().content == STORED
    assert len(STORED) <= 65_536
    header = json.loads(STORED[8:HEADER])
    numbers = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    assert max(end for _, end in numbers) == len(STORED) - HEADER  # a JSON header and the weights only
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F32", "F64"}


def test_the_name_of_a_model_is_the_sha256_of_its_bytes():
    assert default_model().sha256 == hashlib.sha256(STORED).hexdigest()
    assert random_model().sha256 == hashlib.sha256(random_model().content).hexdigest()


def test_the_packaged_model_is_found_by_its_name_and_no_other_is():
    found = packaged_model(hashlib.sha256(STORED).hexdigest())
    assert found is not None and found.content == STORED
    assert packaged_model(random_model().sha256) is None
    assert packaged_model("") is None


def test_models_of_earlier_releases_are_kept():
    # Files refer to these models by their SHA-256 only: never remove a line, only add others.
    assert packaged_model("5a3a465ed47cee1c3ec723c0bd606a8731e3f4dc0f108b69a4b884ab57ec2f72") is not None


def test_the_default_model_tells_where_it_comes_from():
    facts = default_model().facts
    assert facts == json.loads(metadata(STORED)["atlasae"])
    assert (facts["format"], facts["architecture"]) == (1, "invertible")
    assert (facts["columns"], facts["units"]) == (["pt", "eta", "phi", "m"], "MeV")
    assert len(facts["coordinates"]) == 4
    assert set(facts["domain"]) == {"pt", "eta", "phi", "m"}
    provenance = facts["provenance"]
    assert provenance["files"] and provenance["jets"]["training"] > 100_000
    assert {"seed", "course", "versions", "device"} <= set(provenance)
    assert facts["test"]["jets"] == provenance["jets"]["test"] and facts["history"]["steps"]


# --- making and reading


def test_a_model_is_read_back_as_it_was_made():
    made = random_model()
    read = Model.from_bytes(made.content, "read")
    assert read.facts == made.facts
    chain = made.facts.pop("chain")
    assert [link["name"] for link in chain] == ["pt", "eta", "phi", "m"]
    assert made.facts == {"format": 1, "architecture": "invertible", "columns": ["pt"], "provenance": {"seed": 4}}
    for before, after in zip(outputs(made), outputs(read), strict=True):
        assert torch.equal(before, after)
    assert read.sha256 == made.sha256 != default_model().sha256


def test_a_model_is_used_as_it_is_stored():
    torch.manual_seed(4)
    trained = jet_autoencoder()
    stored, used = load(random_model().content), random_model().autoencoder.state_dict()
    for name, tensor in trained.state_dict().items():
        exact = name.endswith("edges") or name == "trained"  # an edge at pi must not be rounded
        assert stored[name].dtype == (torch.float64 if exact else torch.float32)
        assert torch.equal(stored[name].double(), used[name])
        torch.testing.assert_close(used[name], tensor, rtol=0 if exact else 1e-7, atol=0)


def test_the_same_autoencoder_is_the_same_model():
    again = Model.from_autoencoder(random_model().autoencoder, {"provenance": {"seed": 4}, "columns": ["pt"]})
    assert again.sha256 == random_model().sha256


# --- what is no model


def refused(content: bytes, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        Model.from_bytes(content, "mine.safetensors")
    message = str(caught.value)
    assert [word for word in ("'mine.safetensors'", *words) if word not in message] == []
    assert len(message.splitlines()) == 1


NO_MODELS = {
    "empty": b"",
    "pickle": b"\x80\x04N.",
    "zip": b"PK\x03\x04" + bytes(100),
    "cut in the size": STORED[:7],
    "cut after the size": STORED[:8],
    "cut in the header": STORED[: HEADER - 20],
    "zeros": bytes(100),
    "huge header": struct.pack("<Q", 2**63) + STORED[8:],
    "largest header": struct.pack("<Q", 2**64 - 1) + STORED[8:],
    "header too long": struct.pack("<Q", HEADER) + STORED[8:],
    "no metadata": headed(b"{}"),
    "list": headed(b"[]"),
    "no text": headed(b"\xff\xfe"),
    "deep": headed(b"[" * 100_000),
    "long number": headed(b"1" * 10_000),
    "metadata of text": headed(b'{"__metadata__": "atlasae"}'),
    "facts of a number": headed(b'{"__metadata__": {"atlasae": 1}}'),
    "facts of text": headed(b'{"__metadata__": {"atlasae": "\\"format\\""}}'),
    "somebody else's": save({}, metadata={"other": "{}"}),
    "no facts": save({"weight": torch.zeros(1)}),
    "no format": described({"architecture": "invertible"}),
    "facts of a list": described([1]),
    "deep facts": described("[" * 100_000),
}


@pytest.mark.parametrize("content", NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model_is_refused(content):
    refused(content, "is no atlasae model")


@pytest.mark.parametrize("version", [0, 2, 1.5, "1", None, [1], {"a": 1}])
def test_another_format_version_is_named(version):
    refused(described({"format": version}), "format version", "reads version 1")


def put(name: str, tensor: torch.Tensor) -> bytes:
    return changed(lambda weights: weights.update({name: tensor}))


OTHER_WEIGHTS = {
    "one missing": changed(lambda weights: weights.pop("densities.3.logits.0.bias")),
    "constants missing": changed(lambda weights: weights.pop("trained")),
    "all missing": changed(lambda weights: weights.clear()),
    "one more": put("surplus", torch.zeros(1)),
    "longer": put("densities.3.logits.0.bias", torch.zeros(49)),
    "deeper": put("densities.3.logits.0.bias", torch.zeros(1, 48)),
    "none": put("densities.0.logits.values", torch.zeros(0)),
    "fewer bins": put("densities.0.edges", torch.linspace(6, 17, 64, dtype=torch.float64)),
    "cut after the header": STORED[:HEADER],
    "cut at the end": STORED[:-1],
    "too long": STORED + b"\0",
}


@pytest.mark.parametrize("content", OTHER_WEIGHTS.values(), ids=OTHER_WEIGHTS)
def test_weights_of_another_architecture_are_refused(content):
    refused(content, "other weights than its architecture")


def spoiled(name: str, index: int, value: float) -> bytes:
    return changed(lambda weights: weights[name].view(-1).__setitem__(index, value))


UNUSABLE = {
    "nan": spoiled("densities.1.logits.2.weight", 7, float("nan")),
    "infinity": spoiled("locations.3.4.bias", 0, float("inf")),
    "infinite pt": spoiled("trained", 1, float("-inf")),
    "edge at nan": spoiled("densities.2.edges", 32, float("nan")),
    "edge beyond the next": spoiled("densities.2.edges", 3, 3.0),
    "last edge first": spoiled("densities.3.edges", 64, -14.0),
    "edges falling": changed(lambda weights: weights["densities.0.edges"].copy_(weights["densities.0.edges"].flip(0))),
    "bins of no width": changed(lambda weights: weights["densities.1.edges"].zero_()),
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE)
def test_weights_that_can_not_be_used_are_refused(content):
    refused(content, "not finite, or bins out of order")


@pytest.mark.parametrize(
    ("dtype", "numbers"), [("I64", 2), ("C64", 2), ("F16", 8), ("F4", 32), ("F8_E8M0", 16), ("X", 2)]
)
def test_weights_of_another_type_are_refused(dtype, numbers):
    header = json.loads(STORED[8:HEADER])
    header["trained"] |= {"dtype": dtype, "shape": [numbers]}  # the same number of bytes
    refused(headed(json.dumps(header).encode()) + STORED[HEADER:], "weights")


@settings(max_examples=200)
@given(
    flips=st.lists(
        st.tuples(st.one_of(st.integers(0, HEADER), st.integers(0, len(STORED) - 1)), st.integers(1, 255)), max_size=3
    ),
    end=st.one_of(st.just(len(STORED)), st.integers(0, len(STORED))),
)
def test_damaged_bytes_are_refused_or_still_a_model(flips, end):
    damaged = bytearray(STORED)
    for position, mask in flips:
        damaged[position] ^= mask
    content = bytes(damaged[:end])
    try:
        model = Model.from_bytes(content, "mine.safetensors")
    except UserError:
        refused(content)
    else:
        assert end == len(STORED)
        assert model.sha256 == hashlib.sha256(content).hexdigest()
        assert all(tensor.isfinite().all() for tensor in model.autoencoder.state_dict().values())


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content):
    refused(content)
    refused(headed(content))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[(key, value) for key in ("offset", "centre", "scale") for value in (None, True, "x", [], -(10**30), 10**400)],
        ("scale", 0), ("scale", {}), ("scale", 1e-320), ("scale", -1.0),
        ("scale", float("nan")), ("name", 3), ("located", 1), ("hidden", "4"),
        ("hidden", -1), ("hidden", True), ("given", 0), ("given", ["x"]), ("given", [[0]]), ("given", [3]),
        ("given", [-1]), ("given", [True]), ("anchor", 1), ("anchor", -1), ("anchor", "x"), ("anchor", [0]),
        ("anchor", 10**30), ("anchor", True), ("anchor", 0.5), ("anchor", 0.0), ("anchor", ""),
    ],
)  # fmt: skip
def test_a_link_that_is_none_is_refused(key, value):
    facts = json.loads(metadata(STORED)["atlasae"])
    facts["chain"][1][key] = value
    refused(described(facts), "other weights than its architecture", "link")


# --- networks with a bottleneck

SHAPE = {"columns": ["E", "phi", "pt", "eta"], "scalings": ["log10", "linear", "asinh", "linear"]}


@cache
def bottleneck(**more: object) -> BottleneckAutoencoder:
    """A random network, with a normalisation that float32 would round."""
    torch.manual_seed(4)
    shape = {key: tuple(value) for key, value in SHAPE.items()} | {"hidden": (9, 7), "activation": "gelu"}
    network = BottleneckAutoencoder(Bottleneck(**shape | more))
    network.mean.copy_(torch.tensor([1.1, 2.2, 3.3, 4.4], dtype=torch.float64) / 3)
    network.std.copy_(torch.tensor([1.1, 2.2, 3.3, 4.4], dtype=torch.float64) / 7)
    network(torch.randn(50, 4))  # updates the statistics of the batch norm
    return network.double().eval()


@pytest.mark.parametrize("more", [{}, {"batch_norm": True, "dropout": 0.2, "latent_activation": True, "skip": True}])
def test_a_bottleneck_is_read_back_as_it_was_made(more):
    made = Model.from_autoencoder(bottleneck(**more), {"columns": SHAPE["columns"]})
    read = Model.from_bytes(made.content, "read")
    assert (read.facts["architecture"], read.facts["columns"]) == ("mlp", SHAPE["columns"])
    assert read.facts["network"]["hidden"] == [9, 7]
    assert read.autoencoder.shape == bottleneck(**more).shape
    assert (read.sha256, read.autoencoder.training) == (made.sha256, False)
    stored, buffers = load(made.content), dict(bottleneck(**more).named_buffers())
    for name, tensor in bottleneck(**more).state_dict().items():
        assert stored[name].dtype == (tensor.dtype if name in buffers else torch.float32)
        expected = tensor if name in buffers else tensor.float().double()
        assert torch.equal(read.autoencoder.state_dict()[name], expected)
    columns = COORDINATES.abs()
    with torch.no_grad():
        outputs = [m.autoencoder.decode(m.autoencoder.encode(columns)) for m in (made, read)]
        assert torch.equal(*outputs)
        before = bottleneck(**more).decode(bottleneck(**more).encode(columns))
    torch.testing.assert_close(outputs[0], before, rtol=1e-5, atol=1e-5)


def network_facts(**change: object) -> bytes:
    """The file of a small network with changed facts."""
    facts = Model.from_autoencoder(network_by_hand(), {}).facts
    text = json.dumps(facts | {"network": facts["network"] | change})
    return save(network_by_hand().state_dict(), metadata={"atlasae": text})


HOSTILE = {
    "wide": {"hidden": [10**9]},
    "wider than any": {"hidden": [4097]},
    "deep": {"hidden": [4] * 300},
    "a million million norms": {"batch_norm": 10**12},
    "more norms than there are numbers": {"batch_norm": -(10**30)},
    "no flag": {"skip": 1},
    "many latents": {"latent": 10**9},
    "no width": {"hidden": [0]},
    "less than no width": {"hidden": [-1]},
    "half a width": {"hidden": [1.5]},
    "a width of text": {"hidden": ["2"]},
    "no list": {"hidden": 2},
    "another width": {"hidden": [3]},
    "something unknown": {"code": "print(1)"},
    "another activation": {"activation": "eval"},
    "no activation": {"activation": ["silu"]},
    "two latents": {"latent": 2},
    "five columns": {"columns": ["m", "pt", "phi", "eta", "E"]},
    "unknown columns": {"columns": ["m", "pt", "phi", "theta"]},
    "a column twice": {"columns": ["m", "pt", "phi", "phi"]},
    "both m and E": {"columns": ["m", "pt", "phi", "E"]},
    "columns of numbers": {"columns": [1, 2, 3, 4]},
    "another scaling": {"scalings": ["log10", "log10", "linear", "cubic"]},
    "fewer scalings": {"scalings": ["log10", "log10", "linear"]},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_bottleneck_of_another_shape_is_refused(change):
    refused(network_facts(**change), "other weights than its architecture")


@pytest.mark.parametrize("hidden", [[4096, 4096], [4] * 100])
def test_no_memory_is_taken_for_weights_that_are_not_there(hidden, monkeypatch):
    # A small file could claim more memory than exists: forty layers of 4096 units take 5 GB.
    content = network_facts(hidden=hidden)
    monkeypatch.setattr(
        torch.nn.Linear, "reset_parameters", lambda layer: layer.weight.is_meta or pytest.fail("memory was taken")
    )
    refused(content, "other weights than its architecture")


def test_a_bottleneck_is_as_it_was_before_its_facts_were_changed():
    assert Model.from_bytes(network_facts(), "mine").autoencoder.shape == network_by_hand().shape


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_normalisation_that_can_not_be_used_is_refused(value):
    network = network_by_hand()
    network.std[2] = value
    with pytest.raises(UserError, match="not finite"):
        Model.from_autoencoder(network, {})


# --- the domain


def jets_like(factor: float = 1.0, shift: float = 0.0, n: int = 1000) -> np.ndarray:
    jets = random_jets(n, seed=3)
    return np.column_stack([jets["pt"] * factor, jets["eta"] + shift, jets["phi"], jets["m"] * factor])


@cache
def of_jets() -> Model:
    return Model.from_autoencoder(network_by_hand(), {"domain": domain_of(jets_like(n=5000))})


def test_a_domain_by_hand():
    numbers = np.arange(1001.0)
    jets = np.column_stack([numbers * 1000, numbers / 1000, -numbers / 1000, np.full(1001, 123456.789)])
    assert domain_of(jets) == {
        "pt": [1000, 10_000, 500_000, 990_000, 999_000],
        "eta": [0.001, 0.01, 0.5, 0.99, 0.999],
        "phi": [-0.999, -0.99, -0.5, -0.01, -0.001],
        "m": [123_460] * 5,
    }


def test_similar_jets_are_no_reason_to_warn():
    assert unlike_jets(of_jets(), {"Jet": jets_like()}) == {}
    assert unlike_jets(of_jets(), {"Jet": jets_like()[:21]}) == {}
    assert unlike_jets(Model.from_autoencoder(network_by_hand(), {}), {"Jet": jets_like(1000)}) == {}


@pytest.mark.parametrize(
    ("factor", "shift", "variable"), [(1000, 0, "pt"), (1e-3, 0, "pt"), (20, 0, "pt"), (1, 7, "eta")]
)
def test_other_jets_are_warned_of_with_numbers(factor, shift, variable):
    jets = jets_like(factor, shift)
    warning = unlike_jets(of_jets(), {"Jet": jets})["Jet"]
    assert len(warning.splitlines()) == 1
    column, unit = ({"pt": 0, "eta": 1}[variable], 1000 if variable == "pt" else 1)
    trained, found = np.median(jets_like(n=5000)[:, column]) / unit, np.median(jets[:, column]) / unit
    outside = f"{((jets[:, 1] > 4.9) | (jets[:, 1] < -4.9)).mean():.0%}" if variable == "eta" else ""
    numbers = (f"median is {found:.4g}", f"trained: {trained:.4g}", outside)
    for word in (f" have {variable} o", *numbers):
        assert word in warning
    assert ("right units?" in warning) == (factor in (1000, 1e-3))


def test_collections_unlike_the_model_are_found():
    jets = {"Jet": jets_like(), "FatJet": jets_like(20), "few": jets_like(1000)[:10], "SubJet": jets_like(1e-3)}
    assert list(unlike_jets(of_jets(), jets)) == ["FatJet", "SubJet"]


def test_jets_of_one_part_of_the_domain_are_known():
    # A model of jets above 300 GeV alone takes not a byte less than the packaged one.
    jets = jets_like(n=5000)
    hard = jets[jets[:, 0] > np.quantile(jets[:, 0], 0.6)]
    assert unlike_jets(of_jets(), {"Jet": hard}) == {}


def test_too_few_jets_tell_nothing():
    assert unlike_jets(of_jets(), {"Jet": jets_like(1000)[:19]}) == {}
    assert list(unlike_jets(of_jets(), {"Jet": jets_like(1000)[:20]})) == ["Jet"]


FIVE = {variable: [1, 2, 3, 4, 5] for variable in ("pt", "eta", "phi", "m")}


@pytest.mark.parametrize("domain", [5, {}, {"pt": [1, 2, 3, 4, 5]}, FIVE | {"m": [1, 2]}, FIVE | {"m": "five!"}])
def test_a_domain_that_is_none_is_refused(domain):
    facts = of_jets().facts | {"domain": domain}
    refused(save(load(of_jets().content), metadata={"atlasae": json.dumps(facts)}), "domain")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("anchor", "0"),
        ("anchor", 3),
        ("given", [0, 3]),
        ("given", [-1]),
        ("scale", 0.0),
        ("centre", "1"),
        ("hidden", 1.5),
    ],
)
def test_a_chain_that_hangs_on_nothing_is_refused(setting, value):
    content = default_model().content
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    facts = json.loads(header["__metadata__"]["atlasae"])
    facts["chain"][3][setting] = value
    header["__metadata__"]["atlasae"] = json.dumps(facts)
    text = json.dumps(header).encode()
    refused(len(text).to_bytes(8, "little") + text + content[8 + size :], "other weights than its architecture")


def test_a_model_shows_what_it_is():
    model = default_model()
    html = model._repr_html_()
    facts = model.describe()
    assert facts["sha256"] == model.sha256 and facts["bytes"] == len(model.content)
    assert facts["parameters"] == sum(p.numel() for p in model.autoencoder.parameters())
    for words in (model.sha256, "invertible model", f"{facts['parameters']:,} parameters", "pt, eta, phi, m in MeV"):
        assert words in html
    jets, domain = facts["provenance"]["jets"], facts["domain"]
    assert (
        f"trained on {jets['training']:,} jets" in html and f"{facts['test']['bits_per_jet_at_1e-3']:.2f} bits" in html
    )
    rows = [row.split("<td")[1].split(">")[1].split("<")[0] for row in html.split("<tr>")[2:]]
    assert rows == ["pt in MeV", "eta", "phi", "m in MeV"] and f"{domain['m'][-1]:.5g}" in html
    assert repr(model) == f"<Model {model.sha256[:12]}: invertible, {len(model.content)} bytes>"


def test_a_model_that_knows_little_shows_that():
    html = Model.from_autoencoder(default_model().autoencoder, {})._repr_html_()
    assert "parameters" in html and "trained" not in html and "<table" not in html


def test_a_model_is_loaded_by_name_or_from_a_file(tmp_path):
    model = default_model()
    (tmp_path / "own.model").write_bytes(model.content)
    assert load_model().sha256 == load_model("default").sha256 == model.sha256
    assert (
        load_model(tmp_path / "own.model").content == load_model(str(tmp_path / "own.model")).content == model.content
    )
    with pytest.raises(UserError, match="no model 'none': give a model file"):
        load_model("none")
