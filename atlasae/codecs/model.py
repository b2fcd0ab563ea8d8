"""Model files: the weights of an autoencoder, with all that is needed to use them, in one safetensors file."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from atlasae import pages
from atlasae.codecs.priors import MODELS, packaged, packaged_as, sha256_of
from atlasae.codecs.walk import LAYERS, LOCATION_HIDDEN, WIDEST, ChainModel, Link, Weights, check_order
from atlasae.errors import UserError
from atlasae.files.remote import Named, local
from atlasae.jets.coordinates import Floats
from atlasae.report import line_of, to_html

if TYPE_CHECKING:
    from atlasae.codecs.bottleneck import Autoencoder, BottleneckAutoencoder

Arrays = Mapping[str, npt.NDArray[Any]]

MODEL_FORMAT = 1  # version of the model file; to be raised when old readers would misread a new file
VARIABLES = ("pt", "eta", "phi", "m")
_QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)  # of the training jets, stored as the domain of a model
OTHER_UNITS = 30  # ratio to the median of the training from which jets may be in other units
MOST_OUTSIDE = 0.05  # share of jets outside the domain above which they are unlike those known
FEWEST_TO_WARN = 20  # jets
_BUFFERS = ("mean", "std", "running_mean", "running_var", "num_batches_tracked")  # of a network with a bottleneck
LARGEST = 65_536  # bytes of a model; each file compressed with it contains it
_KEY = "atlasae"  # the metadata of a safetensors file is a dictionary of strings: JSON under this key


@dataclass(frozen=True)
class Model:
    """An autoencoder with its facts (coordinates, units, domain, provenance) and the bytes of its file.

    It is identified by the SHA-256 of these bytes, which cover constants and weights.
    """

    content: bytes
    facts: dict[str, Any]

    @cached_property
    def autoencoder(self) -> "Autoencoder":
        """The autoencoder in torch."""
        return _build(self._read_facts, self._arrays).eval()

    @cached_property
    def chain(self) -> "StoredChain | BottleneckAutoencoder":
        """The chain of densities, for which torch is imported only where it has to be; or a network."""
        if self.facts["architecture"] == "invertible":
            return StoredChain(self, Weights.of_state(_links(self._read_facts), _in_double(self._arrays)))
        return self.autoencoder  # type: ignore[return-value]

    @cached_property
    def _read_facts(self) -> dict[str, Any]:
        return dict(_facts_in(self.content))

    @cached_property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return load(self.content)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the model's bytes, as hexadecimal digits."""
        return sha256_of(self.content)

    def describe(self) -> dict[str, Any]:
        """The facts of the model, its SHA-256, and its size in bytes and parameters."""
        buffers = ("edges", "trained") if self.facts["architecture"] == "invertible" else _BUFFERS
        parameters = sum(array.size for name, array in self._arrays.items() if name.split(".")[-1] not in buffers)
        sizes = {"sha256": self.sha256, "bytes": len(self.content), "parameters": parameters}
        return self.facts | sizes | {"quantiles": list(_QUANTILES)}

    def __repr__(self) -> str:
        return f"<Model {self.sha256[:12]}: {self.facts['architecture']}, {len(self.content)} bytes>"

    def _repr_html_(self) -> str:
        return to_html(pages.model_page(self.describe()))

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "Model":
        """The model of a file's bytes; raises UserError if they are invalid or of another format version."""
        try:
            facts = _facts_in(content)
            version = facts["format"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"'{name}' is no atlasae model: expected a safetensors file made by atlasae") from error
        if version != MODEL_FORMAT:
            raise UserError(f"model '{name}' has format version {version!r}: this atlasae reads version {MODEL_FORMAT}")
        try:
            usable = _is_usable(facts, content)
        except (SafetensorError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"model '{name}' has other weights than its architecture: {line_of(error)}") from error
        if "domain" in facts and not _is_domain(facts["domain"]):
            raise UserError(f"model '{name}' has no valid domain: it needs five rising quantiles of each variable")
        if not usable:
            raise UserError(f"model '{name}' has weights that are not finite, or bins out of order: train it again")
        return cls(content, facts)

    @classmethod
    def from_autoencoder(cls, autoencoder: Any, facts: dict[str, Any]) -> "Model":
        """The model of a trained autoencoder, with weights rounded to float32.

        Bins, limits and normalisation are stored as float64, as an edge at pi must not be rounded.
        """
        from safetensors.torch import save  # here, as it imports torch

        state = autoencoder.state_dict()
        exact = {name for name, _ in autoencoder.named_buffers()}
        weights = {key: tensor if key in exact else tensor.float() for key, tensor in state.items()}
        text = json.dumps(
            {"format": MODEL_FORMAT} | _architecture(autoencoder) | facts, sort_keys=True, allow_nan=False
        )
        return cls.from_bytes(save(weights, metadata={_KEY: text}), "new model")


@dataclass(frozen=True, eq=False)
class StoredChain:
    """The chain of densities of a model file, in NumPy until the whole is asked for."""

    model: Model
    weights: Weights

    @property
    def links(self) -> tuple[Link, ...]:
        """The variables of the chain."""
        return self.weights.links

    def whole(self) -> Any:
        """The autoencoder in torch."""
        return self.model.autoencoder


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
        if outside <= MOST_OUTSIDE:
            continue
        what = f"{outside:.0%} have {variable} outside {low / scale:.4g} to {high / scale:.4g}{unit}"
        median = float(np.median(values))
        asked = "; right units?" if unit and not middle / OTHER_UNITS < median < middle * OTHER_UNITS else ""
        trained = f"(trained: {middle / scale:.4g}{unit})"
        return f"{what}, the median is {median / scale:.4g}{unit} {trained}{asked}"
    return None


def default_model() -> Model:
    """The packaged default model."""
    return _packaged(packaged(MODELS[-1]))


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
    return None if content is None else _packaged(content)


@cache  # with the tables of its locations, which several collections and files need
def _packaged(content: bytes) -> Model:
    return Model.from_bytes(content, sha256_of(content)[:12])


def _facts_in(content: bytes) -> Any:
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])


def _architecture(autoencoder: "Autoencoder") -> dict[str, Any]:
    """The facts that `_build` needs besides the weights."""
    if isinstance(autoencoder, ChainModel):
        return {"architecture": "invertible", "chain": [asdict(link) for link in autoencoder.links]}
    return {"architecture": "mlp", "network": asdict(autoencoder.shape)}


def _is_usable(facts: dict[str, Any], content: bytes) -> bool:
    """Whether all weights of a model file are finite and bins in order; raises various errors for other weights."""
    arrays = load(content)
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float64) and not name.endswith("num_batches_tracked"):
            raise ValueError(f"{name} is of type {array.dtype}")
    finite = all(bool(np.isfinite(array).all()) for array in arrays.values())
    if facts["architecture"] == "mlp":
        _build(facts, arrays)
        return finite and bool((arrays["std"] > 0).all())
    if facts["architecture"] != "invertible":
        raise ValueError(f"architecture '{facts['architecture']}' is unknown")
    links = _links(facts)
    found = {name: array.shape for name, array in arrays.items()}
    edges = [arrays[f"densities.{i}.edges"] for i in range(len(links))]
    expected = dict(_shapes(links, [len(one) for one in edges]))
    if wrong := sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)):
        raise ValueError(f"{wrong[0]} is {found.get(wrong[0], 'missing')}, not {expected.get(wrong[0], 'known')}")
    return finite and all(bool((np.diff(one) > 0).all()) for one in edges)


def _links(facts: dict[str, Any]) -> list[Link]:
    links = [Link(**_tuples(link)) for link in facts["chain"]]
    check_order(links)
    if max(link.hidden for link in links) > WIDEST:
        raise ValueError(f"layers wider than {WIDEST}")
    return links


def _shapes(links: Sequence[Link], edges: Sequence[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of the weights of an `InvertibleAutoencoder` with so many edges of bins."""
    yield "trained", (len(links), 2)
    for i, (link, ends) in enumerate(zip(links, edges, strict=True)):
        yield f"densities.{i}.edges", (ends,)
        if link.given:
            yield from _layers(f"densities.{i}.logits", (len(link.given), link.hidden, link.hidden, ends - 1))
        else:
            yield f"densities.{i}.logits.values", (1, ends - 1)
        if link.located:
            yield from _layers(f"locations.{i}", (len(link.given), LOCATION_HIDDEN, LOCATION_HIDDEN, 1))


def _layers(name: str, sizes: Sequence[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for k, (inputs, outputs) in zip(LAYERS, pairwise(sizes), strict=True):
        yield f"{name}.{k}.weight", (outputs, inputs)
        yield f"{name}.{k}.bias", (outputs,)


def _build(facts: dict[str, Any], arrays: Arrays) -> "Autoencoder":
    """The autoencoder of a model file, in float64; raises various errors for invalid facts or weights."""
    import torch  # here, as it takes long

    from atlasae.codecs.bottleneck import Bottleneck, BottleneckAutoencoder
    from atlasae.codecs.chain import InvertibleAutoencoder

    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    weights = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    autoencoder: Autoencoder
    if facts["architecture"] == "invertible":
        links = _links(facts)
        edges = [weights[f"densities.{i}.edges"] for i in range(len(links))]
        with torch.random.fork_rng(devices=[]):  # layers draw random numbers; the caller's generator must not advance
            autoencoder = InvertibleAutoencoder(links, edges)
    else:
        with torch.device("meta"):  # allocates nothing: the facts may claim more weights than the file has
            autoencoder = BottleneckAutoencoder(Bottleneck(**_tuples(facts["network"])))
    autoencoder.load_state_dict(weights, assign=True)
    return autoencoder


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}


def _in_double(arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def _is_domain(domain: Any) -> bool:
    def rising(numbers: Any) -> bool:
        if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
            return False
        return len(numbers) == len(_QUANTILES) and numbers == sorted(numbers) and all(map(math.isfinite, numbers))

    return isinstance(domain, dict) and all(rising(domain.get(variable)) for variable in VARIABLES)
