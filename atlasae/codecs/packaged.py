"""Models and tables that are packaged with atlasae; compressed files refer to them by SHA-256."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

# Those of all releases, the current ones last, since files of any release must decode.
MODELS = ("default.safetensors",)
TABLES = ("priors.safetensors",)


@cache
def packaged(name: str) -> bytes:
    """The bytes of a packaged file."""
    return (resources.files("atlasae") / "models" / name).read_bytes()


def packaged_as(sha256: str, names: Sequence[str]) -> bytes | None:
    """The bytes of the packaged file with this SHA-256, or None."""
    return next((content for content in map(packaged, names) if sha256_of(content) == sha256), None)


def sha256_of(content: bytes) -> str:
    """The SHA-256 of bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
