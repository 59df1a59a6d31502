"""Speech whose phonemes are known: synthetic voices, visemes, and the clips that come with the package.

    text --speak--> Speech(wave, phonemes) --viseme_curves--> (T, 7) mouth, one row per video frame
    python -m liveavatar.speech --voices      lists the voices of this machine
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names

_HOME = {
    "speak": "synthesis", "join": "synthesis", "available_voices": "synthesis", "available_variants": "synthesis",
    "viseme_of": "visemes", "viseme_curves": "visemes", "speaking": "visemes", "is_pause": "visemes",
    "VISEMES": "visemes", "VISEME_PARAMETERS": "visemes",
    "samples": "shipped", "SAMPLES": "shipped", "INSTALL": "espeak",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
