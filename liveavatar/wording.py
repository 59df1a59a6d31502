"""Words that several messages share."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return "; did you mean 'mini'?" for a name that is nearly one of the known ones, else nothing."""
    names = {name.lower(): name for name in known}
    near = get_close_matches(str(given).lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {names[near[0]]!r}?" if near else ""
