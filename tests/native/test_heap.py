"""Limits of the heap are set where the C library has them, and not missed elsewhere."""

import ctypes
import sys

import pytest

from atlasae.native import heap


class Library:
    """A C library that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, size: int) -> int:
        """Note a limit."""
        self.asked.append((parameter, size))
        return 1


@pytest.mark.parametrize(("platform", "asked"), [("linux", [(-3, 12_000_000), (-1, 20_000_000)]), ("darwin", [])])
def test_limits_are_set_under_linux(monkeypatch, platform, asked):
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", platform)
    heap.limit_heap()
    assert library.asked == asked


def test_a_c_library_without_limits_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(sys, "platform", "linux")
    heap.limit_heap()
