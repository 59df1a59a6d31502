"""Photographs that speak by warping: a second world with known truth, beside the drawn avatars.

    portraits + landmarks -> rigs (which way every point moves, for each movement of the face) -> pictures
                             motion, the same columns as those of avatars ->
"""

from .people import Portraits, blend_people, read_portraits, rigs_of
from .render import render_puppets
from .rig import Rigs, build_rigs
from .world import PuppetWorld

__all__ = ["Portraits", "PuppetWorld", "Rigs", "blend_people", "build_rigs", "read_portraits", "render_puppets",
           "rigs_of"]
