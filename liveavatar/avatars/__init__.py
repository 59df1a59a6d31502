"""Avatars drawn from named numbers: the ground truth of everything mini learns, and portraits for anyone who has no photo.

    random_identities -> render -> picture
    talk              ->
    landmarks: where mouth, eyes and hands are in that picture
"""

from .landmarks import LANDMARKS, landmarks
from .motion import CONTROLS, portrait_pose, talk
from .renderer import compiled_renderer, render
from .sampling import random_identities, rest_pose
from .traits import IDENTITY, MOTION, Trait, identity_index, motion_index

__all__ = ["CONTROLS", "IDENTITY", "LANDMARKS", "MOTION", "Trait", "compiled_renderer", "identity_index", "landmarks",
           "motion_index", "portrait_pose", "random_identities", "render", "rest_pose", "talk"]
