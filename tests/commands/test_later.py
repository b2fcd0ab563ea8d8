"""Packages that are put off run when they are first used, and then are as if they were imported at once."""

import sys
from importlib import import_module
from types import ModuleType

import pytest

from atlasae.commands.later import put_off

NAME = "put_off_for_a_test"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that is put off, which has a number and a module that needs it."""
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "__init__.py").write_text("from . import part\nnumber = 6 * 7\n")
    (tmp_path / NAME / "part.py").write_text(f"import {NAME}\nseen = hasattr({NAME}, 'number')\n")
    monkeypatch.syspath_prepend(tmp_path)
    put_off(NAME)
    yield sys.modules[NAME]
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


def has_run(package: ModuleType) -> bool:
    return "number" in vars(package)


def test_to_import_it_does_not_run_it(package):
    assert import_module(NAME) is package and not has_run(package)


def test_the_first_name_runs_it(package):
    assert package.number == 42 and type(package) is ModuleType
    assert not package.part.seen, "while it runs, its names come one by one"
    with pytest.raises(AttributeError, match=f"'{NAME}' has no attribute 'other'"):
        _ = package.other


def test_a_name_that_it_lacks_runs_it(package):
    with pytest.raises(AttributeError, match=f"'{NAME}' has no attribute 'other'"):
        _ = package.other
    assert has_run(package)


def test_its_modules_run_it_first(package):
    assert import_module(f"{NAME}.part") is package.part and has_run(package)


def test_what_is_imported_or_missing_is_left_alone():
    put_off("sys")
    put_off("no_such_package_at_all")
    assert type(sys) is ModuleType and "no_such_package_at_all" not in sys.modules
