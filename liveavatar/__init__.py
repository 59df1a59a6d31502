"""Live Avatar workbench: a portrait, a recording and a prompt become a talking video, and every step can be watched.

Names are loaded when they are first used (PEP 562), so `import liveavatar` costs nothing. They stand in the order of
the river: what goes in, the stages, the whole, what is seen on the way.
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names
from liveavatar.threads import set_environment
from liveavatar.version import __version__

_HOME = {   # public name -> module
    # what goes in
    "speak": "speech", "available_voices": "speech", "samples": "speech",
    "avatar": "avatars.portraits", "save_portrait": "avatars.portraits",
    "load_audio": "audio", "load_portrait": "conditions", "sample_portraits": "conditions",
    "parse_prompt": "conditions",
    "GenerationConfig": "config",
    # the values between the stages
    "Speech": "types", "Phoneme": "types", "AudioFeatures": "types", "Portrait": "types", "Prompt": "types",
    "Condition": "types", "Step": "types", "Block": "types", "InputError": "types",
    # the stages
    "make_schedule": "sampler", "denoise_block": "sampler", "Schedule": "sampler",
    "CausalS2VTransformer": "transformer", "Decoder": "decoder", "VideoWriter": "video", "Video": "video",
    # the whole
    "load": "pipeline", "Pipeline": "pipeline", "generate": "pipeline", "resume": "pipeline",
    # what is seen
    "ScaleChannel": "runs.edits", "ReplaceRegion": "runs.edits",
    "Run": "runs.run", "replay": "runs.loading", "Trace": "trace", "read_provenance": "video",
    "MemoryWatch": "vram.watch", "inspect": "inspect",
    # diffusers
    "watch": "interop.watching", "LiveAvatarPipeline": "interop.avatar_pipeline",
}

__all__ = ["__version__", *_HOME]
__getattr__, __dir__ = lazy_names(__name__, _HOME)
set_environment()                        # before torch is loaded: it is read then
