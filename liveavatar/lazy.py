"""Names that are looked up when they are first used, and names of an earlier version that still work."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module


def lazy_names(package: str, home: dict[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` (PEP 562) of a package. Importing the package then costs nothing.

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


def renamed(old: str, new: str) -> property:
    """Return a property that reads the attribute `new` and warns that `old` will go."""
    def read(self: object) -> object:
        warnings.warn(f"{type(self).__name__}.{old} is now .{new}; the old name goes with version 0.3",
                      DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(read)
