"""Measures of a talking video, each with its unit, each proved on ground truth. Names are loaded when first used.

Every result is a frozen dataclass that says `applies` and, where it does not apply, `reason`.
"""

from __future__ import annotations

from liveavatar.lazy import lazy_names

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
    "tier_values": "tiers", "read_texture": "tiers", "TextureReading": "tiers", "decision": "tiers",
    "Decision": "tiers", "accuracy": "tiers", "Accuracy": "tiers",
    "drift": "identity", "Drift": "identity", "cost": "cost", "Cost": "cost",
    "step_effects": "steps", "StepEffect": "steps", "change_map": "steps",
    "footage": "footage", "Footage": "footage", "measure": "report", "Report": "report",
}

__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
