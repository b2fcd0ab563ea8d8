"""The contract of every codec: checks to call with a codec, after numcodecs' tests/common.py.

A new codec is tested by a few short functions that call these; see codecs/test_codec.py. Errors are computed here,
without the functions that codecs use.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from conftest import largest_errors

from atlasae.codecs.bottleneck import BottleneckCodec
from atlasae.codecs.floats import codec_of_config
from atlasae.codecs.model import packaged_model

GOLDEN = Path(__file__).parent / "golden"


def largest(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """The largest error of each variable of jets (n x 4: pt, eta, phi, m in MeV)."""
    tables = (dict(zip(("pt", "eta", "phi", "m"), jets.T, strict=True)) for jets in (before, after))
    return largest_errors(*tables, 1.0)


def check_latents(latents: np.ndarray, jets: int) -> None:
    """Latents are three float32 per jet in [1, 2): 23 free bits each, no NaN, inf or subnormal numbers."""
    assert latents.dtype == np.float32
    assert latents.shape == (jets, 3)
    assert ((latents >= 1) & (latents < 2)).all()


def check_round_trip(codec: Any, jets: np.ndarray, bounds: dict[str, float], shifted: bool = False) -> None:
    """Jets are decoded within their bounds; compressing these a second time changes them no further.

    With a shifted grid, a second time changes some of them, again within their bounds.
    """
    given = jets.copy()
    latents = codec.encode(jets)
    check_latents(latents, len(jets))
    decoded = codec.decode(latents)
    assert decoded.dtype == np.float64
    assert decoded.shape == jets.shape
    assert {v: e for v, e in largest(jets, decoded).items() if not e <= bounds[v]} == {}
    again = codec.encode(decoded)
    if shifted:
        assert {v: e for v, e in largest(decoded, codec.decode(again)).items() if not e <= bounds[v]} == {}
    else:
        np.testing.assert_array_equal(again, latents)
    np.testing.assert_array_equal(jets, given)
    check_batches(codec, jets, latents, decoded)


def check_batches(codec: Any, jets: np.ndarray, latents: np.ndarray, decoded: np.ndarray) -> None:
    """A jet's latents do not depend on other jets or on the call; its decoded values only in the last bits."""
    np.testing.assert_array_equal(codec.encode(jets), latents)
    check_latents(codec.encode(jets[:0]), 0)
    assert codec.decode(latents[:0]).shape == (0, 4)
    for size in (1, 33):
        parts = [slice(start, start + size) for start in range(0, min(len(jets), 50 * size), size)]
        n = parts[-1].stop
        np.testing.assert_array_equal(np.concatenate([codec.encode(jets[part]) for part in parts]), latents[:n])
        again = np.concatenate([codec.decode(latents[part]) for part in parts])
        np.testing.assert_allclose(again, decoded[:n], rtol=1e-12, atol=1e-12)


def check_smooth(codec: Any, jets: np.ndarray) -> None:
    """Latents of a network without bounds: three finite float32, the same in every call, for any jets."""
    given = jets.copy()
    latents = codec.encode(jets)
    assert (latents.dtype, latents.shape) == (np.float32, (len(jets), 3))
    assert np.isfinite(latents).all()
    decoded = codec.decode(latents)
    assert (decoded.dtype, decoded.shape) == (np.float64, jets.shape)
    assert (np.abs(decoded[:, 2]) <= np.pi).all()
    np.testing.assert_array_equal(jets, given)
    np.testing.assert_array_equal(codec.encode(jets), latents)
    np.testing.assert_array_equal(codec.decode(latents), decoded)
    for size in (1, 33):  # the last bits may depend on the number of jets
        np.testing.assert_allclose(codec.encode(jets[:size]), latents[:size], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(codec.decode(latents[:size]), decoded[:size], rtol=1e-9, atol=1e-9)
    assert codec.encode(jets[:0]).shape == (0, 3) and codec.decode(latents[:0]).shape == (0, 4)


def check_config(codec: Any, jets: np.ndarray) -> None:
    """A codec's configuration is plain JSON, and with the network is enough to make the codec again."""
    text = json.dumps(codec.config(), allow_nan=False)
    network = codec.network if isinstance(codec, BottleneckCodec) else codec.autoencoder
    again = codec_of_config(json.loads(text), network)
    assert again == codec
    assert json.dumps(again.config()) == text
    latents = codec.encode(jets)
    np.testing.assert_array_equal(again.encode(jets), latents)
    np.testing.assert_array_equal(again.decode(latents), codec.decode(latents))


def check_old_file(codec_class: Any, path: Path) -> None:
    """Latents written by any earlier version decode to the same values as then; a missing file is a failure."""
    old = json.loads(path.read_text(encoding="utf-8"))
    model = packaged_model(old["model"])
    assert model is not None, "a packaged model is kept for ever"
    codec = codec_class.from_config(old["config"], model.autoencoder)
    latents = np.array(old["latents"], np.float32)
    np.testing.assert_allclose(codec.decode(latents), old["decoded"], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(codec.encode(np.array(old["jets"])), latents)


def write_old_file(codec: Any, model: str, jets: np.ndarray, path: Path) -> None:
    """Write a file for `check_old_file`, once per format; no test calls it.

    `model` is the SHA-256 of the packaged model. An old file is never written again:

        write_old_file(codec, default_model().sha256, jets, GOLDEN / "codec-NAME-VERSION" / "CASE.json")
    """
    latents = codec.encode(jets)
    rows = {"jets": jets, "latents": latents, "decoded": codec.decode(latents)}
    lists = {key: "[\n  " + ",\n  ".join(map(json.dumps, array.tolist())) + "\n ]" for key, array in rows.items()}
    fields = {"model": json.dumps(model), "config": json.dumps(codec.config()), **lists}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(f' "{key}": {value}' for key, value in fields.items()) + "\n}\n")
