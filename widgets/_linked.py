"""Traits of two objects that stay equal, whichever thread sets them."""

from __future__ import annotations

from collections.abc import Callable

import traitlets


def link_traits(one: traitlets.HasTraits, other: traitlets.HasTraits, *names: str) -> Callable[[], None]:
    """Keep traits of two objects equal from now on, beginning with those of `one`. Return what ends it.

    Of values that two threads set at once one remains, in both objects: a video that is played moves the cursor while
    a run begins and puts it to 0. `traitlets.link` raises TraitError there and leaves them unequal.
    """
    def pass_on(change: traitlets.Bunch) -> None:
        target = other if change.owner is one else one
        value = getattr(change.owner, change.name)         # change.new may be old by now
        if getattr(target, change.name) != value:
            setattr(target, change.name, value)

    for name in names:
        setattr(other, name, getattr(one, name))
    one.observe(pass_on, list(names))
    other.observe(pass_on, list(names))

    def unlink() -> None:
        one.unobserve(pass_on, list(names))
        other.unobserve(pass_on, list(names))

    return unlink
