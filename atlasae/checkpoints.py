"""Checkpoints that others published: their weights in a model file of ours."""

import hashlib
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlasae.bottleneck import BottleneckAutoencoder
from atlasae.errors import UserError
from atlasae.model import Model
from atlasae.recipes import Recipe, make_recipe, read_toml

WANTED = {"encoder": list, "decoder": list, "mean": list, "std": list}


def import_checkpoint(path: Path, recipe_path: Path) -> Model:
    """Read a torch checkpoint without running its code, and make a model of it; raises UserError.

    The recipe (TOML) has a table `network` and a table `checkpoint`: the names of the linear layers of `encoder` and
    `decoder` in order, `mean` and `std` of the columns, `state` (the key of the weights, if they are not all there is)
    and `domain`, the quantiles of the jets trained on, in MeV.
    """
    facts = read_toml(recipe_path)
    described = facts.pop("checkpoint", None)
    where = f"'{recipe_path}'"
    if not isinstance(described, dict) or not all(isinstance(described.get(k), t) for k, t in WANTED.items()):
        raise UserError(f"{where}: needs a table 'checkpoint' with the lists {', '.join(WANTED)}")
    recipe = make_recipe(facts | {"arch": "mlp"}, where)
    for layer in ("batch_norm", "skip"):
        if getattr(recipe.network, layer):
            raise UserError(f"{where}: {layer} = true adds layers that no checkpoint has: leave it out")
    weights = _weights(path, described.get("state"))
    network = BottleneckAutoencoder(recipe.network)
    for part in ("encoder", "decoder"):
        _fill(getattr(network, part), described[part], weights, f"{where}, {part}")
    for name in ("mean", "std"):
        numbers = described[name]
        if not all(type(number) in (int, float) for number in numbers):
            raise UserError(f"{where}: {name} = {numbers} are no numbers: give one for each of the columns")
        _copy(getattr(network, name), torch.tensor(numbers, dtype=torch.float64), f"{where}, {name}")
    return Model.from_autoencoder(network, _facts(path, recipe, described))


def _weights(path: Path, key: str | None) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name."""
    try:
        # weights_only: an allow-list of classes; a pickle that wants to run code is refused.
        with warnings.catch_warnings(action="ignore"):  # of what comes of it we tell in one line
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no such file: '{path}'") from None
    except Exception as error:  # whatever a file that is none, or a hostile one, leads torch to
        raise UserError(f"'{path}' is no checkpoint of weights alone: {_reason(error)}") from error
    found = loaded.get(key) if key and isinstance(loaded, dict) else loaded
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise UserError(f"'{path}' has no weights under '{key}': name their key as 'state' in the recipe")
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # torch then tells how to run the code all the same
        return "it is no torch file, or holds more than tensors, and code is not run"
    return " ".join(str(error).split())[:150] or type(error).__name__


def _fill(layers: nn.Module, names: Sequence[str], weights: dict[str, Tensor], where: str) -> None:
    linear = [layer for layer in layers.modules() if isinstance(layer, nn.Linear)]
    if len(linear) != len(names):
        raise UserError(f"{where}: {len(names)} layers are named, the network has {len(linear)}")
    for layer, name in zip(linear, names, strict=True):
        for target, kind in ((layer.weight, "weight"), (layer.bias, "bias")):
            if f"{name}.{kind}" not in weights:
                raise UserError(f"{where}: no '{name}.{kind}' in the checkpoint: it has {', '.join(list(weights)[:4])}")
            _copy(target, weights[f"{name}.{kind}"], f"{where}, {name}.{kind}")


@torch.no_grad()
def _copy(target: Tensor, source: Tensor, where: str) -> None:
    if source.is_nested or source.is_sparse or source.is_meta or not source.is_floating_point():
        raise UserError(f"{where}: is no dense tensor of floating-point numbers: save it as one")
    if target.shape != source.shape:
        raise UserError(f"{where}: shape {tuple(source.shape)} where the recipe asks for {tuple(target.shape)}")
    target.copy_(source)


def _facts(path: Path, recipe: Recipe, described: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "columns": list(recipe.network.columns),
        "units": "GeV",
        "coordinates": list(recipe.network.scalings),
        "provenance": {
            "imported": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "source": described.get("source", ""),
        },
    }
    return facts | ({"domain": described["domain"]} if "domain" in described else {})
