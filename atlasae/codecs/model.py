"""Model files: the weights of an autoencoder, with all that is needed to use them, in one safetensors file."""

import json
import math
from collections.abc import Iterable, Mapping
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

MODEL_FORMAT = 1  # version of the model file; to be raised when old readers would misread a new file
VARIABLES = ("pt", "eta", "phi", "m")
_QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)  # of the training jets, stored as the domain of a model
OTHER_UNITS = 30  # ratio to the median of the training from which jets may be in other units
MOST_OUTSIDE = 0.05  # share of jets outside the domain above which `domain_warning` warns
FEWEST_TO_WARN = 20  # jets
LARGEST = 65_536  # bytes of a model; each file compressed with it contains it
_KEY = "atlasae"  # the metadata of a safetensors file is a dictionary of strings: JSON under this key


@dataclass(frozen=True)
class Model:
    """An autoencoder with its facts (coordinates, units, domain, provenance) and the bytes of its file.

    It is identified by the SHA-256 of these bytes, which cover constants and weights.
    """

    content: bytes
    autoencoder: Autoencoder
    facts: dict[str, Any]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the model's bytes, as hexadecimal digits."""
        return sha256_of(self.content)

    def describe(self) -> dict[str, Any]:
        """The facts of the model, its SHA-256, and its size in bytes and parameters."""
        parameters = sum(parameter.numel() for parameter in self.autoencoder.parameters())
        sizes = {"sha256": self.sha256, "bytes": len(self.content), "parameters": parameters}
        return self.facts | sizes | {"quantiles": list(_QUANTILES)}

    def __repr__(self) -> str:
        return f"<Model {self.sha256[:12]}: {self.facts['architecture']}, {len(self.content)} bytes>"

    def _repr_html_(self) -> str:
        return to_html(pages.model_page(self.describe()))

    @classmethod
    @torch.random.fork_rng(devices=[])  # layers draw random numbers; the caller's generator must not advance
    def from_bytes(cls, content: bytes, name: str) -> "Model":
        """The model of a file's bytes; raises UserError if they are invalid or of another format version."""
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
            raise UserError(f"model '{name}' has no valid domain: it needs five rising quantiles of each variable")
        if not _usable(autoencoder):
            raise UserError(f"model '{name}' has weights that are not finite, or bins out of order: train it again")
        return cls(content, autoencoder.eval(), facts)

    @classmethod
    def from_autoencoder(cls, autoencoder: Autoencoder, facts: dict[str, Any]) -> "Model":
        """The model of a trained autoencoder, with weights rounded to float32.

        Bins, limits and normalisation are stored as float64, as an edge at pi must not be rounded.
        """
        state = autoencoder.state_dict()
        exact = {name for name, _ in autoencoder.named_buffers()}
        weights = {key: tensor if key in exact else tensor.float() for key, tensor in state.items()}
        text = json.dumps(
            {"format": MODEL_FORMAT} | _architecture(autoencoder) | facts, sort_keys=True, allow_nan=False
        )
        return cls.from_bytes(save(weights, metadata={_KEY: text}), "new model")


def domain_of(jets: Floats) -> dict[str, list[float]]:
    """The quantiles `_QUANTILES` of jets (n x 4: pt, eta, phi, m in MeV) by variable."""
    found = np.quantile(jets, _QUANTILES, axis=0)
    return {variable: [float(f"{q:.5g}") for q in found[:, i]] for i, variable in enumerate(VARIABLES)}


def unlike_jets(model: Model, jets: Mapping[str, Floats]) -> dict[str, str]:
    """How jets (n x 4, MeV) of collections of 20 or more are unlike those of the training, of those that are."""
    return {name: unlike for name, some_jets in jets.items() if (unlike := _unlike(model, some_jets))}


def _unlike(model: Model, jets: Floats) -> str | None:
    """How jets differ from those that a model was trained on, or None if they don't, or are few."""
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
        median = float(np.median(values))
        asked = "; right units?" if unit and not middle / OTHER_UNITS < median < middle * OTHER_UNITS else ""
        trained = f"(trained: {middle / scale:.4g}{unit})"
        return f"{what}, the median is {median / scale:.4g}{unit} {trained}{asked}"
    return None


def default_model() -> Model:
    """The packaged default model."""
    return Model.from_bytes(packaged(MODELS[-1]), "default")


def load_model(name: Named = "default") -> Model:
    """The packaged model `default`, or one from a file; raises UserError for a missing or invalid file.

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
    """The model itself, or that of a name or file (`load_model`); raises UserError."""
    return given if isinstance(given, Model) else load_model(given)


def packaged_model(sha256: str) -> Model | None:
    """The model with this SHA-256 of those packaged with this or an earlier release, or None."""
    content = packaged_as(sha256, MODELS)
    return None if content is None else Model.from_bytes(content, sha256[:12])


def _architecture(autoencoder: Autoencoder) -> dict[str, Any]:
    """The facts that `_build` needs besides the weights."""
    if isinstance(autoencoder, InvertibleAutoencoder):
        return {"architecture": "invertible", "chain": [asdict(link) for link in autoencoder.links]}
    return {"architecture": "mlp", "network": asdict(autoencoder.shape)}


def _build(facts: dict[str, Any], weights: dict[str, Tensor]) -> Autoencoder:
    """The autoencoder of a model file, in float64; raises various errors for invalid facts or weights."""
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
        with torch.device("meta"):  # allocates nothing: the facts may claim more weights than the file has
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
