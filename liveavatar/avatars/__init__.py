"""Avatars drawn from named numbers: the ground truth of everything mini learns, and portraits for all without a photo.

    random_identities -> render -> picture
    talk              ->
    landmarks: where mouth, eyes and hands are in that picture
"""

from .landmarks import LANDMARKS, landmarks
from .motion import CONTROLS, portrait_pose, talk
from .portraits import VOCABULARY, avatar, contact_sheet, read_identity, save_portrait
from .renderer import compiled_renderer, render
from .sampling import random_identities, rest_pose
from .traits import IDENTITY, MOTION, Trait, identity_index, motion_index

__all__ = ["CONTROLS", "IDENTITY", "LANDMARKS", "MOTION", "Trait", "VOCABULARY", "avatar", "compiled_renderer",
           "contact_sheet", "identity_index", "landmarks", "motion_index", "portrait_pose", "random_identities",
           "read_identity", "render", "rest_pose", "save_portrait", "talk"]
