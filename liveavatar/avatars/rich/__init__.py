"""The rich world: people drawn with shading and texture, and movements left to chance in four tiers.

The drawing keeps the plain world's geometry, so that landmarks hold for both. Layers keep the rule of `renderer`:
straight lines of elementwise torch.
"""

from __future__ import annotations

from .body import body
from .eyes import eyes
from .hair import back_hair, front_hair
from .hands import hands
from .head import face
from .mouth import lips
from .scene import background, lighting

__all__ = ["back_hair", "background", "body", "eyes", "face", "front_hair", "hands", "lighting", "lips"]
