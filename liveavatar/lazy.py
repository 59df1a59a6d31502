"""Names of a package that are looked up when they are first used, so that importing the package costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module


def lazy_names(package: str, home: dict[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` (PEP 562) of a package.

    home: public name -> module inside the package; a module that bears the name and holds nothing of that name is meant
    itself
    """
    module = sys.modules[package]

    def look_up(name: str) -> object:
        if name not in home:
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(home)}")
        origin = import_module(f"{package}.{home[name]}")
        value = getattr(origin, name, origin) if home[name] == name else getattr(origin, name)
        setattr(module, name, value)
        return value

    return look_up, lambda: sorted(module.__all__)
