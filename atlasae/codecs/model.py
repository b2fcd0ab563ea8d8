"""Models as files: the weights of an autoencoder and everything needed to use them, in one safetensors file."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from atlasae import pages
from atlasae.codecs.bottleneck import WIDEST, Bottleneck, BottleneckAutoencoder
from atlasae.codecs.chain import InvertibleAutoencoder, Link
from atlasae.codecs.packaged import MODELS, packaged, packaged_as, sha256_of
from atlasae.errors import UserError
from atlasae.files.remote import Named, local
from atlasae.jets.coordinates import Floats
from atlasae.report import line_of, to_html

Autoencoder = InvertibleAutoencoder | BottleneckAutoencoder

MODEL_FORMAT = 1  # of a model file; raise it when an old reader would go wrong
VARIABLES = ("pt", "eta", "phi", "m")
_QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)  # of the jets trained on, kept as the domain of a model
MOST_OUTSIDE = 0.05  # of the jets, before the user is told that they are not what the model knows
FEWEST_TO_WARN = 20
LARGEST = 65_536  # bytes: a model travels inside every file it compressed
_KEY = "atlasae"  # safetensors keeps one free dictionary of strings; ours holds JSON under this name


@dataclass(frozen=True)
class Model:
    """An autoencoder with its facts (coordinates, units, domain, provenance) and the bytes it is stored as.

    The SHA-256 of the bytes is its name: constants and weights can't be parted.
    """

    content: bytes
    autoencoder: Autoencoder
    facts: dict[str, Any]

    @cached_property
    def sha256(self) -> str:
        """The name of the model."""
        return sha256_of(self.content)

    def describe(self) -> dict[str, Any]:
        """Its facts, with its name, and how large it is."""
        parameters = sum(parameter.numel() for parameter in self.autoencoder.parameters())
        sizes = {"sha256": self.sha256, "bytes": len(self.content), "parameters": parameters}
        return self.facts | sizes | {"quantiles": list(_QUANTILES)}

    def __repr__(self) -> str:
        return f"<Model {self.sha256[:12]}: {self.facts['architecture']}, {len(self.content)} bytes>"

    def _repr_html_(self) -> str:
        return to_html(pages.model_page(self.describe()))

    @classmethod
    @torch.random.fork_rng(devices=[])  # layers begin with random numbers, and the caller's are none of ours
    def from_bytes(cls, content: bytes, name: str) -> "Model":
        """Read a model file's bytes; raises UserError where they are none, or of another format version."""
        try:
            size = int.from_bytes(content[:8], "little")
            facts = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])
            version = facts["format"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"'{name}' is no atlasae model: expected a safetensors file made by atlasae") from error
        if version != MODEL_FORMAT:
            raise UserError(f"model '{name}' has format version {version!r}: this atlasae reads version {MODEL_FORMAT}")
        try:
            autoencoder = _build(facts, load(content))
        except (SafetensorError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"model '{name}' has other weights than its architecture: {line_of(error)}") from error
        if "domain" in facts and not _is_domain(facts["domain"]):
            raise UserError(f"model '{name}' has a domain that is none: five rising quantiles of each variable")
        if not _usable(autoencoder):
            raise UserError(f"model '{name}' has weights that are not finite, or bins out of order: train it again")
        return cls(content, autoencoder.eval(), facts)

    @classmethod
    def from_autoencoder(cls, autoencoder: Autoencoder, facts: dict[str, Any]) -> "Model":
        """Make a model of a trained autoencoder; weights are stored as float32 and used as stored.

        Bins, limits and normalisation stay float64: an edge at pi must not move.
        """
        state = autoencoder.state_dict()
        exact = {name for name, _ in autoencoder.named_buffers()}
        weights = {key: tensor if key in exact else tensor.float() for key, tensor in state.items()}
        text = json.dumps(
            {"format": MODEL_FORMAT} | _architecture(autoencoder) | facts, sort_keys=True, allow_nan=False
        )
        return cls.from_bytes(save(weights, metadata={_KEY: text}), "new model")


def domain_of(jets: Floats) -> dict[str, list[float]]:
    """The quantiles of jets (n x 4: pt, eta, phi, m in MeV) by variable; `_QUANTILES` says which."""
    found = np.quantile(jets, _QUANTILES, axis=0)
    return {variable: [float(f"{q:.5g}") for q in found[:, i]] for i, variable in enumerate(VARIABLES)}


def domain_warning(model: Model, jets: Floats, name: str) -> str | None:
    """What to tell of jets (n x 4, MeV) that are unlike those a model was trained on; nothing of fewer than 20."""
    if len(jets) < FEWEST_TO_WARN or "domain" not in model.facts:
        return None
    for i, variable in enumerate(VARIABLES):
        low, _, middle, _, high = model.facts["domain"][variable]
        values, unit, scale = (jets[:, i], " GeV", 1000) if variable in ("pt", "m") else (jets[:, i], "", 1)
        outside = float(((values < low) | (values > high)).mean())
        above = float((values > middle).mean())
        if outside > MOST_OUTSIDE:
            what = f"{outside:.0%} have {variable} outside {low / scale:.4g} to {high / scale:.4g}{unit}"
        elif variable == "pt" and not MOST_OUTSIDE < above < 1 - MOST_OUTSIDE:
            what = f"{max(above, 1 - above):.0%} have pt on one side of the median known"
        else:
            continue
        return (
            f"jets of '{name}' are unlike those the model was trained on: {what}, the median is "
            f"{np.median(values) / scale:.4g}{unit} (trained: {middle / scale:.4g}{unit}); right units? "
            "`--model self` may take less space"
        )
    return None


def default_model() -> Model:
    """The packaged default model."""
    return Model.from_bytes(packaged(MODELS[-1]), "default")


def load_model(name: Named = "default") -> Model:
    """The packaged model `default`, or one from a file; raises UserError.

    >>> atlasae.load_model().facts["columns"]
    ['pt', 'eta', 'phi', 'm']
    """
    if name == "default":
        return default_model()
    path = local(name, "copy it here")
    if not path.is_file():
        raise UserError(f"no model '{name}': give a model file or `default` (or, to compress with, `self`)")
    return Model.from_bytes(path.read_bytes(), str(name))


def as_model(given: Model | Named) -> Model:
    """A model, or that of a name or file; raises UserError."""
    return given if isinstance(given, Model) else load_model(given)


def packaged_model(sha256: str) -> Model | None:
    """The packaged model of this name, now or in any earlier release, or None."""
    content = packaged_as(sha256, MODELS)
    return None if content is None else Model.from_bytes(content, sha256[:12])


def _architecture(autoencoder: Autoencoder) -> dict[str, Any]:
    """What `_build` needs beside the weights."""
    if isinstance(autoencoder, InvertibleAutoencoder):
        return {"architecture": "invertible", "chain": [asdict(link) for link in autoencoder.links]}
    return {"architecture": "mlp", "network": asdict(autoencoder.shape)}


def _build(facts: dict[str, Any], weights: dict[str, Tensor]) -> Autoencoder:
    """The autoencoder that a model file describes; everything is float64 from here on."""
    autoencoder: Autoencoder
    for name, tensor in weights.items():
        if tensor.dtype not in (torch.float32, torch.float64) and not name.endswith("num_batches_tracked"):
            raise ValueError(f"{name} is of type {tensor.dtype}")
    if facts["architecture"] == "invertible":
        links = [Link(**_tuples(link)) for link in facts["chain"]]
        edges = [weights[f"densities.{i}.edges"].double() for i in range(len(links))]
        _check_width(link.hidden for link in links)
        autoencoder = InvertibleAutoencoder(links, edges)
    elif facts["architecture"] == "mlp":
        with torch.device("meta"):  # no memory for weights that may not be there
            autoencoder = BottleneckAutoencoder(Bottleneck(**_tuples(facts["network"])))
    else:
        raise ValueError(f"architecture '{facts['architecture']}' is unknown")
    autoencoder.load_state_dict(
        {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}, assign=True
    )
    return autoencoder


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}


def _check_width(widths: Iterable[int]) -> None:
    if max(widths) > WIDEST:
        raise ValueError(f"layers wider than {WIDEST}")


def _usable(autoencoder: Autoencoder) -> bool:
    finite = all(bool(tensor.isfinite().all()) for tensor in autoencoder.state_dict().values())
    if isinstance(autoencoder, InvertibleAutoencoder):
        return finite and all(bool((density.edges.diff() > 0).all()) for density in autoencoder.densities)
    return finite and bool((autoencoder.std > 0).all())


def _is_domain(domain: Any) -> bool:
    def rising(numbers: Any) -> bool:
        if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
            return False
        return len(numbers) == len(_QUANTILES) and numbers == sorted(numbers) and all(map(math.isfinite, numbers))

    return isinstance(domain, dict) and all(rising(domain.get(variable)) for variable in VARIABLES)
