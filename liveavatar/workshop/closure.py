"""List what is installed here and needed by the project: the versions that a pack brings."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from liveavatar.types import InputError


def needed_versions(name: str = "liveavatar", extras: Iterable[str] = ()) -> dict[str, str]:
    """Return {name: version} of all that a distribution needs with these extras, and what that needs in turn.

    Only what its requirements ask for on this machine, with the extras they name, and without the distribution itself.
    Raises InputError where something is missing.
    """
    versions: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(name), extra) for extra in ("", *extras)]
    while waiting:
        one, extra = waiting.pop()
        if (one, extra) in done:
            continue
        done.add((one, extra))
        versions[one] = _version(one)
        for requirement in map(Requirement, metadata.requires(one) or ()):
            if requirement.marker is None and extra == "" or (
                    requirement.marker is not None and requirement.marker.evaluate({"extra": extra})):
                other = canonicalize_name(requirement.name)
                waiting += [(other, ""), *((other, wanted) for wanted in requirement.extras)]
    del versions[canonicalize_name(name)]
    return dict(sorted(versions.items()))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        raise InputError(f"{name} is needed for a pack and not installed here; install it first: pip install {name}"
                         ) from None
