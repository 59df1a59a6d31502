"""Avatars drawn from named numbers: the ground truth of everything mini learns, and portraits for all without a photo.

    random_identities -> render -> picture
    talk              ->
    landmarks: where mouth, eyes and hands are in that picture; regions: which pixels show hair, clothes, background

Two worlds: "plain" is drawn flat and says the same the same way, "rich" has shading and texture and leaves pose, hands,
mouth and texture to chance. A person's trait `detail` says how he or she is drawn.
"""

from .landmarks import LANDMARKS, landmarks
from .motion import CONTROLS, portrait_pose, talk
from .portraits import VOCABULARY, avatar, contact_sheet, read_identity, save_portrait
from .regions import REGIONS, regions
from .renderer import compiled_renderer, render
from .sampling import random_identities, rest_pose
from .traits import IDENTITY, MOTION, WORLDS, Trait, identity_index, motion_index

__all__ = ["CONTROLS", "IDENTITY", "LANDMARKS", "MOTION", "REGIONS", "Trait", "VOCABULARY", "WORLDS", "avatar",
           "compiled_renderer", "contact_sheet", "identity_index", "landmarks", "motion_index", "portrait_pose",
           "random_identities", "read_identity", "regions", "render", "rest_pose", "save_portrait", "talk"]
