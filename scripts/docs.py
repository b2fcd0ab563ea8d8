#!/usr/bin/env python
"""The public names of atlasae, and the classes that they return, as a page for a browser.

python scripts/docs.py build/docs
"""

import argparse
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy.typing as npt
import pdoc.doc
import pdoc.render

import atlasae
from atlasae.commands.topics import topic_text

_written = inspect.formatannotation


def main() -> None:
    """Write the page into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(to_html(), encoding="utf-8")
    print(f"open {folder / 'index.html'} in a browser")


def to_html() -> str:
    """The page; names are documented as members of the package, whichever module defines them."""
    public = [found for name in vars(atlasae)["__all__"] if callable(found := getattr(atlasae, name))]
    documented = {found.__name__: found for found in [*public, *returned_by(public)]}
    sources = sorted({found.__module__ for found in documented.values()})
    modules = {name: pdoc.doc.Module(importlib.import_module(name)) for name in sources}
    for module in modules.values():  # nothing else in a module has a page to link to
        module.members = {name: found for name, found in module.members.items() if name in documented}
    with mock.patch.multiple(atlasae, create=True, __all__=list(documented), **documented):
        page = modules["atlasae"] = pdoc.doc.Module(atlasae)
        assert page.members  # loads them, and the docstring, which is the stub file's
        page.docstring = topic_text("python")
    with mock.patch.object(inspect, "formatannotation", short), mock.patch.object(pdoc.doc, "formatannotation", short):
        pdoc.render.configure(docformat="google", search=False)
        return pdoc.render.html_module(page, modules)


def returned_by(public: list[Any]) -> list[Any]:
    """The classes of atlasae that are not public, but returned by public names, or by methods of such classes."""
    known = list(public)
    for thing in known:  # grows while it is walked
        known += [found for found in _returned_by(thing) if found not in known]
    return known[len(public) :]


def short(annotation: Any, *options: Any, **more: Any) -> str:
    """An annotation as `inspect` formats it, with numpy's names of arrays."""
    text = _written(annotation, *options, **more).replace(_written(npt.ArrayLike), "ArrayLike")
    return re.sub(r"numpy\.ndarray\[tuple\[[^\]]*\], numpy\.dtype\[([\w.]+)\]\]", r"NDArray[\1]", text)


def _returned_by(thing: Any) -> Iterator[type]:
    """The classes of atlasae that a function returns, or the public methods of a class."""
    for function in _methods(thing) if inspect.isclass(thing) else [thing]:
        returned = typing.get_type_hints(function).get("return")
        for one in {returned, *typing.get_args(returned)}:
            if inspect.isclass(one) and one.__module__.startswith("atlasae"):
                yield one


def _methods(found: type) -> list[Any]:
    """The functions behind public methods, properties and `[]` of a class."""
    members = [member for name, member in vars(found).items() if name[0] != "_" or name == "__getitem__"]
    functions = [getattr(member, "fget", getattr(member, "__func__", member)) for member in members]
    return [function for function in functions if inspect.isfunction(function)]


if __name__ == "__main__":
    main()
