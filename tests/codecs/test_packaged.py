import hashlib
from pathlib import Path

import pytest

import atlasae
from atlasae.codecs.priors import MODELS, TABLES, packaged, packaged_as, sha256_of

FOLDER = Path(atlasae.__file__).parent / "models"


def test_everything_that_is_packaged_can_be_named():
    assert {path.name for path in FOLDER.iterdir() if path.suffix == ".safetensors"} == {*MODELS, *TABLES}


@pytest.mark.parametrize("names", [MODELS, TABLES])
def test_packaged_files_are_found_by_their_sha256_alone(names):
    for name in names:
        content = (FOLDER / name).read_bytes()
        assert packaged(name) == content == packaged_as(hashlib.sha256(content).hexdigest(), names)
        assert packaged_as(sha256_of(content + b" "), names) is packaged_as("", names) is None


def test_a_model_is_no_table():
    assert packaged_as(sha256_of(packaged(MODELS[-1])), TABLES) is None
