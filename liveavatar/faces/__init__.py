"""Find real faces in pictures, read their landmarks, and crop photos to them: two small networks in plain torch.

    picture(s) --detect_faces--> Face --landmarks--> 478 points --curves--> mouth, eyes, head
    frames     --read_faces----> FaceTrack: the same for every picture of a video
    photo      --crop_to_head_and_shoulders--> box and pixels

The networks are the detector and the attention mesh of MediaPipe (Google, Apache-2.0, see weights/NOTICE.md).
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names

_HOME = {
    "Face": "detection", "detect_faces": "detection", "largest_central": "detection",
    "Landmarks": "mesh", "landmarks": "mesh",
    "FaceTrack": "track", "read_faces": "track",
    "mouth_aperture": "curves", "mouth_width": "curves", "eye_opening": "curves", "face_height": "curves",
    "head_pose": "curves",
    "Framing": "framing", "crop_to_head_and_shoulders": "framing",
}

__all__ = list(_HOME)

__getattr__, __dir__ = lazy_names(__name__, _HOME)
