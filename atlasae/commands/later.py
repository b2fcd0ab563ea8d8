"""Libraries that others import at once, and that run when they are first used."""

import sys
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

_LOCK = RLock()


class _Later(ModuleType):
    """A package whose code runs when a name of it is asked for, as it is to import one of its modules.

    `importlib.util.LazyLoader` runs the code at the second `import`, which asks for the name `__spec__`.
    """

    def __getattr__(self, name: str) -> Any:
        with _LOCK:
            if "__path__" not in vars(self):
                spec = self.__spec__
                assert spec is not None and spec.loader is not None
                vars(self)["__path__"] = spec.submodule_search_locations
                spec.loader.exec_module(self)
                self.__class__ = ModuleType  # type: ignore[assignment]  # of a subclass, mypy thinks
        if name in vars(self):
            return vars(self)[name]
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")


def put_off(package: str) -> None:
    """Let a package run when it is first used, unless it was imported before."""
    if package in sys.modules or (spec := find_spec(package)) is None:
        return
    found = module_from_spec(spec)
    del found.__path__
    found.__class__ = _Later
    sys.modules[package] = found
