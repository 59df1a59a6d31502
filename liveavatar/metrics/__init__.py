"""Measures of a talking video, each with its unit, each proved on ground truth. Names are loaded when first used.

Every result is a frozen dataclass that says `applies` and, where it does not apply, `reason`.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {   # public name -> module
    "load_reader": "reader", "read_face": "reader", "Reading": "regressor",
    "mouth_opening": "lips", "true_opening": "lips", "offset_curve": "lips", "OffsetCurve": "lips",
    "offset_track": "lips", "OffsetTrack": "lips", "lip_error": "lips", "LipError": "lips",
    "phoneme_report": "lips", "PhonemeReport": "lips", "Confusion": "lips",
    "align": "alignment", "align_pictures": "alignment", "Alignment": "alignment", "vowel_envelope": "alignment",
    "nearest_truth": "nearest", "Nearest": "nearest",
    "texture": "texture", "Texture": "texture", "flicker": "texture", "Flicker": "texture", "Spectrum": "texture",
    "psnr_db": "texture", "ssim": "texture",
    "motion": "motion", "Motion": "motion", "sparc": "motion", "ldlj": "motion",
    "drift": "identity", "Drift": "identity", "cost": "cost", "Cost": "cost",
    "footage": "footage", "Footage": "footage", "measure": "report", "Report": "report",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"liveavatar.metrics has no {name!r}; it has {', '.join(_HOME)}")
    value = getattr(import_module(f"liveavatar.metrics.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
