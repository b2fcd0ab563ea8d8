import copy
import hashlib
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SHARED, succeeded

from atlasae.codecs.model import Model
from atlasae.errors import UserError
from atlasae.files.pickles import RefusedError
from atlasae.training import checkpoints
from atlasae.training.checkpoints import import_checkpoint

pytestmark = pytest.mark.usefixtures("one_torch_thread")

RECIPE = """
arch = "mlp"
[network]
columns = ["pt", "eta", "phi", "E"]
scalings = ["log10", "linear", "linear", "linear"]
hidden = [6, 5]
activation = "tanh"
latent_activation = true
[checkpoint]
source = "made for a test"
state = "model"
encoder = ["en1", "en2", "en3"]
decoder = ["de1", "de2", "de3"]
mean = [1.5, 0.1, -0.2, 300.0]
std = [0.5, 1.5, 1.8, 400.0]
domain = {pt = [1, 2, 3, 4, 5], eta = [-5, -4, 0, 4, 5], phi = [-3, -2, 0, 2, 3], m = [1, 2, 3, 4, 5]}
"""
SIZES = [4, 6, 5, 3, 5, 6, 4]
NAMES = ["en1", "en2", "en3", "de1", "de2", "de3"]
MEAN, STD = np.array([1.5, 0.1, -0.2, 300.0]), np.array([0.5, 1.5, 1.8, 400.0])


def state_dict() -> dict[str, torch.Tensor]:
    """The layers of another program's network."""
    rng = np.random.default_rng(7)
    weights: dict[str, torch.Tensor] = {}
    for name, inputs, outputs in zip(NAMES, SIZES, SIZES[1:], strict=False):
        weights[f"{name}.weight"] = torch.from_numpy(rng.normal(0, 0.7, (outputs, inputs)).astype(np.float32))
        weights[f"{name}.bias"] = torch.from_numpy(rng.normal(0, 0.3, outputs).astype(np.float32))
    return weights


def forward(normalised: np.ndarray, names: list[str], weights: dict[str, torch.Tensor]) -> np.ndarray:
    """Linear layers with a tanh between them, computed by numpy."""
    matrices, biases = ([weights[f"{name}.{kind}"].double().numpy() for name in names] for kind in ("weight", "bias"))
    x = normalised @ matrices[0].T + biases[0]
    for matrix, bias in zip(matrices[1:], biases[1:], strict=True):
        x = np.tanh(x) @ matrix.T + bias
    return x


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))]).state_dict()
    torch.save({"model": state_dict(), "optimiser": optimiser, "epoch": 3}, tmp_path / "published.pth")
    return tmp_path / "published.pth"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def changed(recipe: Path, *edits: tuple[str, str]) -> Path:
    text = recipe.read_text()
    for old, new in edits:
        assert text.count(old) == 1
        text = text.replace(old, new)
    recipe.write_text(text)
    return recipe


def jets(n: int = 20) -> np.ndarray:
    rng = np.random.default_rng(5)
    pt, eta = 20 + rng.exponential(50, n), rng.normal(0, 1.5, n)
    return np.column_stack([pt, eta, rng.uniform(-3.1, 3.1, n), 1.01 * pt * np.cosh(eta)])


# --- what is imported


def test_an_imported_network_says_what_the_published_one_says(checkpoint, recipe):
    network, weights = import_checkpoint(checkpoint, recipe).autoencoder, state_dict()
    scaled = np.column_stack([np.log10(jets()[:, 0]), jets()[:, 1:]])
    latents = forward((scaled - MEAN) / STD, NAMES[:3], weights)
    restored = forward(np.tanh(latents), NAMES[3:], weights) * STD + MEAN
    restored[:, 0] = 10 ** restored[:, 0]
    with torch.no_grad():
        found = network.encode(torch.from_numpy(jets()))
        np.testing.assert_allclose(found.numpy(), latents, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(network.decode(found).numpy(), restored, rtol=1e-10)


def test_an_imported_model_says_where_it_comes_from(checkpoint, recipe):
    model = import_checkpoint(checkpoint, recipe)
    assert (model.facts["columns"], model.facts["units"]) == (["pt", "eta", "phi", "E"], "GeV")
    assert model.facts["coordinates"] == ["log10", "linear", "linear", "linear"]
    assert model.facts["domain"]["pt"] == [1, 2, 3, 4, 5]
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    expected = {"imported": "published.pth", "sha256": sha256, "source": "made for a test"}
    assert model.facts["provenance"] == expected
    assert Model.from_bytes(model.content, "again").facts == model.facts
    assert import_checkpoint(checkpoint, recipe).content == model.content


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_weights_alone_of_another_type_are_imported(dtype, tmp_path, recipe):
    torch.save({name: tensor.to(dtype) for name, tensor in state_dict().items()}, tmp_path / "bare.pth")
    changed(recipe, ('state = "model"\n', ""), ('arch = "mlp"\n', ""))
    model = import_checkpoint(tmp_path / "bare.pth", recipe)
    expected = state_dict()["en2.weight"].to(dtype).double()
    assert torch.equal(model.autoencoder.encoder[2].weight, expected)


# --- what can't be


def refused(checkpoint: Path, recipe: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        import_checkpoint(checkpoint, recipe)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([('["en1", "en2", "en3"]', '["en1", "en2", "layer"]')], ("layer.weight", "encoder", "en1.weight")),
        ([('["en1", "en2", "en3"]', '["en1", "en2"]')], ("2 layers are named", "has 3")),
        ([('["de1", "de2", "de3"]', '["de1", "de2", "en3"]')], ("decoder", "en3.weight", "(3, 5)", "(4, 6)")),
        ([("hidden = [6, 5]", "hidden = [6, 4]")], ("en2.weight", "(5, 6)", "(4, 6)")),
        ([("hidden = [6, 5]", "hidden = [6]")], ("3 layers are named", "has 2")),
        ([('state = "model"', 'state = "weights"')], ("'weights'", "state")),
        ([('state = "model"', 'state = "epoch"')], ("'epoch'", "state")),
        ([('state = "model"\n', "")], ("state",)),
        ([("mean = [1.5, 0.1, -0.2, 300.0]\n", "")], ("mean", "checkpoint")),
        ([("std = [0.5, 1.5, 1.8, 400.0]\n", "")], ("std", "checkpoint")),
        ([("mean = [1.5, 0.1, -0.2, 300.0]", "mean = [1.5, 0.1, -0.2]")], ("mean", "(3,)", "(4,)")),
        ([("mean = [1.5, 0.1, -0.2, 300.0]", "mean = 1.5")], ("mean", "checkpoint")),
        ([("mean = [1.5, 0.1, -0.2, 300.0]", 'mean = ["a", "b", "c", "d"]')], ("mean",)),
        ([("std = [0.5, 1.5, 1.8, 400.0]", "std = [0.5, 0.0, 1.8, 400.0]")], ()),
        ([("std = [0.5, 1.5, 1.8, 400.0]", "std = [0.5, nan, 1.8, 400.0]")], ()),
        ([("[checkpoint]", "[check]")], ("checkpoint",)),
        ([('activation = "tanh"', 'activation = "elu"')], ("'elu'",)),
        # The checkpoint lacks these layers: without them the imported network would differ.
        ([("hidden = [6, 5]", "hidden = [6, 5]\nbatch_norm = true")], ("batch_norm",)),
        ([("hidden = [6, 5]", "hidden = [6, 5]\nskip = true")], ("skip",)),
        ([("domain = {pt = [1, 2, 3, 4, 5],", "domain = {pt = [1, 2, 3],")], ("domain",)),
        ([("domain = {pt = [1, 2, 3, 4, 5],", "domain = {")], ("domain",)),
    ],
)
def test_a_recipe_of_another_network_is_refused(edits, words, checkpoint, recipe):
    refused(checkpoint, changed(recipe, *edits), *words)


@pytest.mark.parametrize("change", ["a bias less", "nan", "not numbers"])
def test_a_checkpoint_of_another_network_is_refused(change, tmp_path, recipe):
    weights: dict[str, Any] = copy.deepcopy(state_dict())
    if change == "a bias less":
        del weights["de2.bias"]
    elif change == "nan":
        weights["de2.bias"][1] = torch.nan
    else:
        weights["de2.bias"] = [0.0] * 6
    torch.save({"model": weights}, tmp_path / "odd.pth")
    refused(tmp_path / "odd.pth", recipe, *{"a bias less": ["de2.bias"], "not numbers": ["odd.pth"]}.get(change, []))


@pytest.mark.parametrize("kind", ["whole", "complex", "sparse", "meta"])
def test_a_tensor_of_another_kind_is_refused(kind, tmp_path, recipe):
    weights = state_dict()
    odd = {"whole": torch.Tensor.long, "complex": lambda t: t.to(torch.complex64), "sparse": torch.Tensor.to_sparse,
           "meta": lambda t: t.to("meta")}[kind]  # fmt: skip
    torch.save({"model": weights | {"de2.weight": odd(weights["de2.weight"])}}, tmp_path / "odd.pth")
    refused(tmp_path / "odd.pth", recipe, "de2.weight", "floating-point")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps([1, 2]), b"PK\x03\x04" + bytes(99)])
def test_what_is_no_checkpoint_is_refused(content, tmp_path, recipe):
    (tmp_path / "odd.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"'.*odd\.pth' is no checkpoint of weights alone: \w") as caught:
        import_checkpoint(tmp_path / "odd.pth", recipe)
    assert "weights_only" not in str(caught.value)  # torch's advice on how to run the code


def test_files_that_are_not_there_are_told(checkpoint, recipe, tmp_path):
    refused(tmp_path / "gone.pth", recipe, "no such file", "gone.pth")
    refused(checkpoint, tmp_path / "gone.toml", "gone.toml")
    refused(tmp_path, recipe, str(tmp_path))


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_not_run(zipped, tmp_path, recipe):
    path, proof = tmp_path / "evil.pth", tmp_path / "proof"
    evil = {"model": state_dict() | {"en1.weight": Malicious(f"touch {proof}")}}
    torch.save(evil, path, _use_new_zipfile_serialization=zipped)
    refused(path, recipe, "evil.pth", "weights alone")
    assert not proof.exists()
    torch.load(path, weights_only=False)
    assert proof.exists()  # it is malicious


def number_of(path: Path, old: int, new: int) -> Path:
    """Replace an integer (of two bytes) in the pickle of a checkpoint."""
    content = path.read_bytes()
    one, other = (b"M" + number.to_bytes(2, "little") for number in (old, new))
    assert one in content
    path.write_bytes(content.replace(one, other))
    return path


@pytest.mark.parametrize(
    ("tensor", "numbers", "words"),
    [
        (torch.zeros(700), (700, 40_000), "a storage of 40000 numbers"),
        (torch.zeros(1).expand(700), (700, 40_000), None),  # of one number: a view that takes no memory
        (torch.zeros(900)[:700], (700, 901), "a tensor that reaches to 901 of 900 numbers"),
    ],
)
def test_sizes_that_a_checkpoint_only_declares_are_refused(tensor, numbers, words, tmp_path):
    path = tmp_path / "odd.pth"
    torch.save({"a": tensor}, path, _use_new_zipfile_serialization=False)
    checkpoints._check_sizes(path)
    number_of(path, *numbers)
    if words is None:
        checkpoints._check_sizes(path)
        return
    with pytest.raises(RefusedError, match=words):
        checkpoints._check_sizes(path)


class Reduced:
    """An object to pickle as a call."""

    def __init__(self, function: object, args: tuple[object, ...]) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({((1, 2), 3): 0}, "a key made of keys"),
        (Reduced(OrderedDict, ([(((1, 2), 3), 0)],)), "a key made of keys"),
        (Reduced(torch.FloatTensor, (5,)), "to load torch.FloatTensor"),
        (Reduced(torch.storage.UntypedStorage, (5,)), "to call UntypedStorage"),
        (bytearray(5), "to load __builtin__.bytearray"),
    ],
)
def test_what_may_take_for_ever_or_any_memory_is_refused(value, words, zipped, tmp_path, recipe):
    path = tmp_path / "odd.pth"
    torch.save({"model": state_dict() | {"more": value}}, path, _use_new_zipfile_serialization=zipped)
    refused(path, recipe, "odd.pth", f"refuses {words}")


def test_archives_that_unpack_to_more_than_they_are_are_refused(tmp_path, recipe):
    path, packed = tmp_path / "whole.pth", tmp_path / "packed.pth"
    torch.save({"model": state_dict() | {"more": torch.zeros(10_000)}}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for part in archive.namelist():
            other.writestr(part, archive.read(part))
    refused(packed, recipe, "packed.pth", "larger than its file")


# --- a published one

PUBLISHED = SHARED / "AE_3D_200_no1cycle_trainforever.pth"
AE_3D_200 = Path(__file__).parents[2] / "scripts" / "recipes" / "ae_3d_200.toml"
HALF_WIDTHS = {"pt": 0.15e-2, "eta": 4.2e-4, "phi": 4.0e-4, "E": 0.46e-2}  # as measured by others


@pytest.fixture(scope="module")
def trigger_jets() -> dict[str, np.ndarray]:
    frame = pd.read_pickle(SHARED / "atlas_trigger_jets_dev.pkl")
    jets = {name: frame[name].to_numpy(np.float64) for name in ("pt", "eta", "phi", "m")}
    p = jets["pt"] * np.cosh(jets["eta"])
    return jets | {"E": np.sqrt(p**2 + jets["m"] * np.abs(jets["m"]))}


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the shared data are not here")
def test_the_published_network_is_as_good_as_it_was_published(trigger_jets, tmp_path):
    succeeded("import-checkpoint", PUBLISHED, "--recipe", AE_3D_200, "-o", tmp_path / "m", "--quiet")
    network = Model.from_bytes((tmp_path / "m").read_bytes(), "m").autoencoder
    units = {"pt": 1000.0, "eta": 1.0, "phi": 1.0, "E": 1000.0}
    columns = np.column_stack([trigger_jets[v] / unit for v, unit in units.items()])
    with torch.no_grad():
        restored = network.decode(network.encode(torch.from_numpy(columns))).numpy()
    std = np.array([121.266, 1.59494, 1.82144, 568.685])
    assert (((restored - columns) / std) ** 2).mean() == pytest.approx(2.3e-7, rel=0.05)
    residuals = {"pt": restored[:, 0] / columns[:, 0] - 1, "E": restored[:, 3] / columns[:, 3] - 1}
    residuals |= {"eta": restored[:, 1] - columns[:, 1], "phi": restored[:, 2] - columns[:, 2]}
    found = {v: np.diff(np.percentile(residuals[v], [15.865, 84.135])).item() / 2 for v in HALF_WIDTHS}
    assert found == pytest.approx(HALF_WIDTHS, rel=0.05)
