"""What is compiled is of these sources and without warnings, is in use, and is not missed where it can't be loaded."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlasae.native import library as native

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="without a C compiler nothing is compiled")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, made strictly."""
    assert COMPILER is not None
    target = tmp_path_factory.mktemp("native") / "compiled.library"
    strict = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-std=c11", "-O2", "-ffp-contract=off", "-fPIC", "-shared"]
    sources = sorted(native.HERE.glob("*.c"))
    made_of = f'-DATLASAE_SOURCES="{native.sources_digest()}"'
    subprocess.run([COMPILER, *strict, made_of, "-o", target, *sources, "-lm"], check=True)
    return target


@pytest.fixture
def loaded_from(monkeypatch):
    def load(path: Path) -> object:
        monkeypatch.setattr(native, "COMPILED", path)
        return native.library.__wrapped__()

    return load


@needs_compiler
def test_the_library_is_in_use():
    assert native.library() is not None, "missing, or of other sources: pip install --editable ."


@needs_compiler
def test_the_sources_compile_without_warnings(compiled, loaded_from):
    assert loaded_from(compiled) is not None


@needs_compiler
def test_a_library_of_other_sources_is_left_alone(compiled, tmp_path, loaded_from):
    content, digest = compiled.read_bytes(), native.sources_digest().encode()
    assert content.count(digest) == 1
    (other := tmp_path / "compiled.library").write_bytes(content.replace(digest, b"0" * len(digest)))
    assert loaded_from(other) is None


@pytest.mark.parametrize("content", [None, b"", b"no library"])
def test_no_library_is_no_error(content, tmp_path, loaded_from):
    path = tmp_path / "compiled.library"
    if content is not None:
        path.write_bytes(content)
    assert loaded_from(path) is None


@needs_compiler
def test_arrays_go_by_their_address():
    values = np.arange(3)
    assert native.address_of(values) == values.ctypes.data
    assert native.address_of(None) is None


@needs_compiler
def test_invalid_data_and_missing_memory_are_errors(monkeypatch):
    class Broken:
        def __getattr__(self, name):
            return lambda *_: {"atlasae_walk": -2, "atlasae_code": native.NO_MEMORY}[name]

    monkeypatch.setattr(native, "library", Broken)
    with pytest.raises(ValueError, match="jets outside the grid"):
        native.call("atlasae_walk")
    with pytest.raises(MemoryError, match="atlasae_code"):
        native.call("atlasae_code")


class Library:
    """A C library that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, size: int) -> int:
        """Note what is asked."""
        self.asked.append((parameter, size))
        return 1


@pytest.mark.parametrize(("platform", "asked"), [("linux", [-8, -3, -1]), ("darwin", [])])
def test_threads_share_a_heap_under_linux(monkeypatch, platform, asked):
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", platform)
    native.limit_heap()
    assert [option for option, _ in library.asked] == asked


def test_a_c_library_of_another_kind_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(sys, "platform", "linux")
    native.limit_heap()


@needs_compiler
def test_no_word_is_counted_outside_of_the_counts():
    beyond = np.array([-1, 2**63 - 1, -(2**63), 2**24], np.int64)
    assert native.counted_bytes(beyond).sum() == 3 * len(beyond)
