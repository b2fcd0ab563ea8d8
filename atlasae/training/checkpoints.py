"""Published torch checkpoints, converted to model files of atlasae."""

import hashlib
import io
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from atlasae.codecs.bottleneck import BottleneckAutoencoder
from atlasae.codecs.model import Model
from atlasae.errors import UserError
from atlasae.files.pickles import Bounded, Recorded, Recorder, RefusedError, check_keys, stand_in, walk
from atlasae.report import line_of
from atlasae.training.recipes import Recipe, make_recipe, read_toml

_REALS, _OTHERS = ("Double", "Float", "Half", "BFloat16"), ("Byte", "Bool", "ComplexDouble", "ComplexFloat", "Untyped")
_STORAGES = (*_REALS, "Long", "Int", "Short", "Char", *_OTHERS)
_REBUILDS = ("tensor", "tensor_v2", "tensor_v3", "parameter", "sparse_tensor", "meta_tensor_no_storage")
_CALLED = {*(f"_rebuild_{what}" for what in _REBUILDS), "Parameter", "Size", "device", "encode", "_get_layout"}
_NAMES = {  # classes and functions in checkpoints of weights, by top package
    "collections": {"OrderedDict"},
    "_codecs": {"encode"},
    "torch": _CALLED
    | {f"{kind}Storage" for kind in _STORAGES}
    | {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)},
}
LEGACY_PICKLES = 5  # before the numbers: magic number, protocol version, machine, the object, keys of storages
WANTED = {"encoder": list, "decoder": list, "mean": list, "std": list}


def import_checkpoint(path: Path, recipe_path: Path) -> Model:
    """Convert a torch checkpoint to a model without running its code; raises UserError.

    The recipe (TOML) has a table `network` and a table `checkpoint`: the names of the linear layers of `encoder` and
    `decoder` in order, `mean` and `std` of the columns, `state` (the key of the weights, if there are other keys) and
    `domain`, the quantiles of the training jets, in MeV.
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
        # weights_only: torch allows few classes, and refuses pickles that call anything else.
        _check_sizes(path)
        with warnings.catch_warnings(action="ignore"):  # the error is reported in one line
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no such file: '{path}'") from None
    except Exception as error:  # torch raises anything for other or hostile files
        raise UserError(f"'{path}' is no checkpoint of weights alone: {_reason(error)}") from error
    found = loaded.get(key) if key and isinstance(loaded, dict) else loaded
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise UserError(f"'{path}' has no weights under '{key}': name their key as 'state' in the recipe")
    return found


def _check_sizes(path: Path) -> None:
    """Raise RefusedError, or one of `BROKEN`, where torch would allocate more memory than the size of the file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(4) == b"PK\x03\x04":  # a zip archive, as torch tells it
            _check_archive(path, size)
            return
        stream.seek(0)
        for _ in range(LEGACY_PICKLES):
            _check_pickle(stream, size)


def _check_archive(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        names = [part.filename.lower() for part in parts]
        pickles = [part for part in parts if part.filename.lower().endswith("data.pkl")]
        if len(set(names)) < len(names) or len(pickles) != 1 or sum(part.file_size for part in parts) > size:
            raise RefusedError("an archive with repeated names, or larger than its file")
        _check_pickle(io.BytesIO(archive.read(pickles[0])), size)


def _check_pickle(stream: BinaryIO, size: int) -> None:
    start, bounded = stream.tell(), Bounded(stream)
    walk(bounded, persistent=True)
    stream.seek(start)
    _Sizes(bounded, size).record()


class _Sizes(Recorder):
    """Records a checkpoint; refuses storages and tensors larger than the file."""

    def __init__(self, stream: Bounded, size: int) -> None:
        super().__init__(stream, _NAMES, {"collections.OrderedDict": OrderedDict})
        self.size = size
        self.numbers: dict[str, int] = {}

    def persistent_load(self, pid: Any) -> Recorded:
        """A storage with its number of elements."""
        if pid[0] != "storage" or type(pid[4]) is not int:
            raise RefusedError("what is no storage of numbers")
        self.numbers[str(pid[2])] = pid[4]
        if min(self.numbers.values()) < 0 or sum(self.numbers.values()) > self.size:
            raise RefusedError(f"a storage of {pid[4]} numbers, in {self.size} bytes")
        return stand_in("storage")(pid[4])

    def load_reduce(self) -> None:
        """REDUCE: a call of an allowed function."""
        call, args = self.stack[-2:]
        if call is OrderedDict:
            check_keys([key for key, _ in args[0]] if args else [])
        elif call.__name__ not in _CALLED:
            raise RefusedError(f"to call {call.__name__}")
        elif call.__name__.startswith("_rebuild_tensor"):
            _check_extent(*args[:4])
        self.dispatched(pickle.REDUCE)

    def load_build(self) -> None:
        """BUILD: the state of a dictionary; a tensor's is refused, because it may declare any size."""
        if not isinstance(self.stack[-2], OrderedDict):
            raise RefusedError(f"a state of {type(self.stack[-2]).__name__}")
        self.dispatched(pickle.BUILD)

    dispatch = Recorder.dispatch | {pickle.REDUCE[0]: load_reduce, pickle.BUILD[0]: load_build}


def _check_extent(storage: Recorded, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Raise RefusedError for a tensor that exceeds its storage, which torch would enlarge."""
    reach = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) + 1
    if min((offset, *shape, *strides)) < 0 or (min(shape, default=1) and reach > storage.args[0]):
        raise RefusedError(f"a tensor that reaches to {reach} of {storage.args[0]} numbers")


def _reason(error: Exception) -> str:
    if isinstance(error, RefusedError):
        return f"refuses {error}"
    if isinstance(error, pickle.UnpicklingError):  # torch's message says how to run the code nevertheless
        return "it is no torch file, or holds more than tensors, and code is not run"
    return line_of(error)


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


def _facts(path: Path, recipe: Recipe, described: Mapping[str, Any]) -> dict[str, object]:
    facts: dict[str, object] = {
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
