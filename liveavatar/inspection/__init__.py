"""Inspect any video: where lips and sound part, where a picture flickers, drifts, jumps or freezes.

    path --read_clip--> Clip (time stamps, small pictures, landmarks, sound) --inspect_video--> Inspection (Findings)
    path --open_video--> Run, for the widgets

Works on files of any origin, size, codec and frame rate that FFmpeg reads. Time stamps count, not frame numbers.
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names

_HOME = {
    "inspect_video": "inspect", "inspect_clip": "inspect", "Inspection": "findings", "Finding": "findings",
    "read_clip": "clip", "Clip": "clip",
    "sync_of": "sync", "Sync": "sync", "Jump": "sync",
    "open_video": "video_run",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
