"""The models and tables that come with atlasae: what was compressed with one names it by the SHA-256 of its bytes."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

# Of every release, the present one last: files name any of them.
MODELS = ("default.safetensors",)
TABLES = ("priors.safetensors",)


@cache
def packaged(name: str) -> bytes:
    """The bytes of a packaged file."""
    return (resources.files("atlasae") / "models" / name).read_bytes()


def packaged_as(sha256: str, names: Sequence[str]) -> bytes | None:
    """The bytes with this SHA-256 of packaged files, or None."""
    return next((content for content in map(packaged, names) if sha256_of(content) == sha256), None)


def sha256_of(content: bytes) -> str:
    """The SHA-256 of bytes, as hexadecimal digits: what files call a model or tables by."""
    return hashlib.sha256(content).hexdigest()
