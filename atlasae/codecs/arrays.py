"""The codec of the Python API: jets in arrays to latents and back, within a precision."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from atlasae.codecs.bottleneck import Autoencoder, BottleneckCodec
from atlasae.codecs.chain import InvertibleAutoencoder
from atlasae.codecs.codec import Encoded, encode_within, few_threads
from atlasae.codecs.floats import codec_of_config
from atlasae.codecs.model import VARIABLES, Model, as_model, packaged_model
from atlasae.codecs.search import choose_codec
from atlasae.errors import UserError
from atlasae.files.remote import Named
from atlasae.jets.coordinates import Bools, Floats
from atlasae.jets.layouts import Layout
from atlasae.jets.padding import Config, Latents
from atlasae.jets.precision import Precision
from atlasae.jets.stored import Storage, blocks
from atlasae.jets.variables import JET

DRAWN = 50_000  # jets drawn from the model, on which its grid is chosen
STORAGE = Storage(Layout(VARIABLES), (np.dtype("<f4"),) * 4)  # bounds hold for decoded jets stored as float32, too


class Codec:
    """Encodes jets (n x 4: pt, eta, phi, m in MeV) as three float32 each; jets that exceed a bound are marked exact.

    `precision` is as for `Options`, `model` a model, its file, or `default`. The grid is chosen on jets drawn from the
    model: it does not depend on the jets, and `atlasae export MODEL` has the same. Errors are relative for pt and m (to
    max(|m|, 100 MeV)), differences for eta and phi. Raises UserError for an invalid precision or a model of other
    variables.

    >>> codec = atlasae.Codec(precision=1e-3)
    >>> jets = np.array([[50_000, 0.5, -1.2, 8_000], [np.nan, 0, 0, 0]])
    >>> latents, exact = codec.encode(jets)
    >>> exact.tolist()
    [False, True]
    >>> back = codec.decode(latents)
    >>> back[exact] = jets[exact]
    >>> bool(abs(back[0, 0] / 50_000 - 1) <= 1e-3)
    True
    >>> atlasae.Codec.from_config(codec.config()) == codec
    True
    """

    def __init__(
        self, precision: Precision | float | str | Mapping[str, float] = "1e-3", model: Named | Model = "default"
    ) -> None:
        asked = Precision.read(precision)
        if asked.resolutions:
            raise UserError(f"precision '{asked.text}' is for files: give a Codec bounds such as 1e-3")
        self.precision = precision if isinstance(precision, str) else asked.text
        self.model = as_model(model)
        columns = STORAGE.to_columns(_jets_of(self.model.autoencoder))
        with few_threads():
            codec = choose_codec(self.model.autoencoder, STORAGE, asked, columns, _outside)
        self.bounds, self.codec = asked.of(STORAGE.layout), codec

    @few_threads()
    def encode(self, jets: npt.ArrayLike) -> tuple[Latents, Bools]:
        """Latents (n x 3), and which jets are exact (n): the caller must store these, all others decode within bounds.

        Exact are jets with NaN, inf, pt <= 0, m < -0.1 MeV, |eta| > 10 or |phi| > pi, and those that would exceed a
        bound; their latents are those of an example.
        """
        found = encode_within(self.codec, STORAGE, self.bounds, list(_rows(jets, VARIABLES, np.float64).T))
        return found.latents, found.exact

    def decode(self, latents: npt.ArrayLike) -> Floats:
        """The jets (n x 4, float64) of latents (n x 3); raises UserError for latents that `encode` can't make."""
        words = _rows(latents, ("z0", "z1", "z2"), np.float32)
        try:
            return np.concatenate([self.codec.decode(words[block]) for block in blocks(len(words))])
        except ValueError as error:
            raise UserError(f"{error}: give latents that `encode` made") from error

    def config(self) -> Config:
        """The configuration as plain JSON for `from_config`, which also needs the model unless it is packaged."""
        return {"precision": self.precision, "model": self.model.sha256, "codec": self.codec.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], model: Model | None = None) -> Self:
        """The codec of a configuration; raises UserError if it is invalid or needs another model."""
        made = cls.__new__(cls)
        try:
            found = model or packaged_model(config["model"])
            if found is None or found.sha256 != config["model"]:
                raise UserError(f"the codec is of model '{config['model']}': give that one, with load_model")
            made.precision, made.model = str(config["precision"]), found
            codec = codec_of_config(config["codec"], found.autoencoder)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"no codec's configuration: {error}") from error
        if codec.variables != JET:
            raise UserError("the codec is of a list of variables: jets need pt, eta, phi and m")
        made.bounds, made.codec = Precision.parse(made.precision).of(STORAGE.layout), codec
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codec) and self._made_of() == other._made_of()

    def __hash__(self) -> int:
        return hash(self.model.sha256)

    def _made_of(self) -> tuple[object, ...]:
        return self.model.sha256, self.bounds, self.codec.config()

    def __repr__(self) -> str:
        return f"<Codec of model {self.model.sha256[:12]} at precision {self.precision}>"


def _rows(values: npt.ArrayLike, names: tuple[str, ...], dtype: npt.DTypeLike) -> Any:
    rows = np.asarray(values, dtype)
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise UserError(f"an array of shape {rows.shape}: give n x {len(names)}, {', '.join(names)}")
    return rows


def _jets_of(autoencoder: Autoencoder) -> Floats:
    """Jets on which a grid is chosen: drawn from the model, or one example for a bottleneck, which has no grid."""
    if not isinstance(autoencoder, InvertibleAutoencoder):
        return BottleneckCodec.stand_in[None]
    if (names := tuple(link.name for link in autoencoder.links)) != VARIABLES:
        raise UserError(f"the model is of a list of variables, {', '.join(names)}: jets need pt, eta, phi and m")
    return drawn_jets(autoencoder, DRAWN)


def _outside(encoded: Encoded, storage: Storage) -> int:
    """The number of exact jets, as the size to minimise: a program with only the three floats would lose them."""
    return int(encoded.exact.sum())


@torch.no_grad()
def drawn_jets(autoencoder: InvertibleAutoencoder, n: int) -> Floats:
    """At most n jets (pt, eta, phi, m in MeV) drawn from the densities of a model, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    u = torch.rand((len(autoencoder.links), n), dtype=torch.float64, generator=generator)
    known: list[torch.Tensor] = []
    for i, density in enumerate(autoencoder.densities):
        known.append(autoencoder.origin(i, known) + density.quantile(u[i], autoencoder.context(i, known), 1.0))
    jets = JET.from_coordinates(torch.stack(known, dim=1).numpy())
    return jets[JET.usable(jets)]
