"""Models as files: the weights of an autoencoder and everything needed to use them, in one safetensors file."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from atlasae.errors import UserError
from atlasae.invertible import InvertibleAutoencoder

FORMAT = 1  # of a model file; raise it when an old reader would go wrong
LARGEST = 65_536  # bytes: a model travels inside every file it compressed
_KEY = "atlasae"  # safetensors keeps one free dictionary of strings; ours holds JSON under this name
_PACKAGED = ("default.safetensors",)


@dataclass(frozen=True)
class Model:
    """An autoencoder with its facts (coordinates, units, domain, provenance) and the bytes it is stored as.

    The SHA-256 of the bytes is its name: constants and weights can't be parted.
    """

    content: bytes
    autoencoder: InvertibleAutoencoder
    facts: dict[str, Any]

    @cached_property
    def sha256(self) -> str:
        """The name of the model."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "Model":
        """Read a model file's bytes; raises UserError where they are none, or of another format version."""
        try:
            size = int.from_bytes(content[:8], "little")
            facts = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])
            version = facts["format"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"'{name}' is no atlasae model: expected a safetensors file made by atlasae") from error
        if version != FORMAT:
            raise UserError(f"model '{name}' has format version {version}: this atlasae reads version {FORMAT}")
        autoencoder = InvertibleAutoencoder()
        try:
            autoencoder.load_state_dict({key: tensor.double() for key, tensor in load(content).items()})
        except (SafetensorError, RuntimeError) as error:
            raise UserError(f"model '{name}' has other weights than its architecture: {_first_line(error)}") from error
        if not _usable(autoencoder):
            raise UserError(f"model '{name}' has weights that are not finite, or bins out of order: train it again")
        return cls(content, autoencoder.eval(), facts)

    @classmethod
    def from_autoencoder(cls, autoencoder: InvertibleAutoencoder, facts: dict[str, Any]) -> "Model":
        """Make a model of a trained autoencoder; weights are stored as float32 and used as stored.

        Bins and domain stay float64: an edge at pi must not move.
        """
        state = autoencoder.state_dict()
        weights = {key: tensor if key in _exact_keys(state) else tensor.float() for key, tensor in state.items()}
        text = json.dumps({"format": FORMAT, "architecture": "invertible"} | facts, sort_keys=True)
        return cls.from_bytes(save(weights, metadata={_KEY: text}), "new model")


def default_model() -> Model:
    """The packaged default model."""
    return Model.from_bytes(_packaged(_PACKAGED[-1]), _PACKAGED[-1])


def packaged_model(sha256: str) -> Model | None:
    """The packaged model of this name, now or in any earlier release, or None."""
    models = (Model.from_bytes(_packaged(name), name) for name in _PACKAGED)
    return next((model for model in models if model.sha256 == sha256), None)


def _packaged(name: str) -> bytes:
    return (resources.files("atlasae") / "models" / name).read_bytes()


def _exact_keys(state: dict[str, Any]) -> set[str]:
    return {key for key in state if key.endswith("edges") or key == "trained_log_pt"}


def _usable(autoencoder: InvertibleAutoencoder) -> bool:
    finite = all(bool(tensor.isfinite().all()) for tensor in autoencoder.state_dict().values())
    return finite and all(bool((density.edges.diff() > 0).all()) for density in autoencoder.densities)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
