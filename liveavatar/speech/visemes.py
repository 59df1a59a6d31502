"""Phonemes -> the movements of a mouth: how it looks while a sound is made, and how sounds melt into each other.

    phonemes --viseme_curves--> (T, 7) mouth, one row per video frame
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from liveavatar.types import Phoneme

VISEME_PARAMETERS = ("aperture", "width", "rounding", "teeth", "tongue", "press", "tuck")
"""aperture 0 closed..1 wide open; width -1 narrow..1 spread; rounding 0..1; teeth, tongue 0 hidden..1 seen;
press 1: lips pressed together (p, b, m); tuck 1: lower lip under the upper teeth (f, v)."""


VISEMES: dict[str, tuple[float, ...]] = {
    #           aperture width rounding teeth tongue press tuck | dominance: how strongly it holds its own
    "sil":      (0.00,  0.00,  0.05,  0.00,  0.00,  0.10,  0.00,  0.70),
    "i":        (0.22,  0.85,  0.00,  0.65,  0.15,  0.00,  0.00,  0.90),
    "ih":       (0.28,  0.50,  0.00,  0.50,  0.10,  0.00,  0.00,  0.80),
    "e":        (0.42,  0.60,  0.00,  0.60,  0.10,  0.00,  0.00,  0.90),
    "eh":       (0.55,  0.40,  0.00,  0.55,  0.05,  0.00,  0.00,  1.00),
    "a":        (0.95,  0.20,  0.00,  0.50,  0.00,  0.00,  0.00,  1.10),
    "ah":       (0.90, -0.05,  0.10,  0.35,  0.00,  0.00,  0.00,  1.10),
    "uh":       (0.55,  0.10,  0.05,  0.40,  0.00,  0.00,  0.00,  0.85),
    "schwa":    (0.36,  0.10,  0.10,  0.35,  0.05,  0.00,  0.00,  0.55),
    "er":       (0.38, -0.05,  0.40,  0.30,  0.10,  0.00,  0.00,  0.80),
    "aw":       (0.68, -0.20,  0.55,  0.20,  0.00,  0.00,  0.00,  1.00),
    "o":        (0.50, -0.20,  0.80,  0.10,  0.00,  0.00,  0.00,  1.00),
    "oe":       (0.42, -0.10,  0.75,  0.20,  0.05,  0.00,  0.00,  1.00),
    "u":        (0.26, -0.30,  1.00,  0.00,  0.00,  0.00,  0.00,  1.00),
    "oo":       (0.32, -0.20,  0.70,  0.10,  0.00,  0.00,  0.00,  0.90),
    "y":        (0.24, -0.20,  0.95,  0.15,  0.10,  0.00,  0.00,  1.00),
    "p":        (0.00,  0.05,  0.05,  0.00,  0.00,  1.00,  0.00,  3.20),
    "f":        (0.12,  0.15,  0.00,  0.75,  0.00,  0.00,  1.00,  2.40),
    "th":       (0.24,  0.15,  0.00,  0.65,  0.85,  0.00,  0.00,  1.70),
    "t":        (0.22,  0.20,  0.00,  0.60,  0.45,  0.00,  0.00,  0.75),
    "s":        (0.14,  0.35,  0.00,  0.95,  0.10,  0.00,  0.00,  1.50),
    "sh":       (0.22, -0.20,  0.75,  0.80,  0.05,  0.00,  0.00,  1.70),
    "l":        (0.34,  0.10,  0.00,  0.45,  0.80,  0.00,  0.00,  0.80),
    "r":        (0.26, -0.10,  0.55,  0.35,  0.15,  0.00,  0.00,  0.90),
    "w":        (0.14, -0.30,  1.00,  0.00,  0.00,  0.00,  0.00,  1.80),
    "k":        (0.30,  0.05,  0.00,  0.35,  0.00,  0.00,  0.00,  0.35),
    "h":        (0.34,  0.05,  0.00,  0.30,  0.00,  0.00,  0.00,  0.25),
    "j":        (0.24,  0.60,  0.00,  0.55,  0.10,  0.00,  0.00,  0.80),
}


_IPA_BY_VISEME = {
    "i": "i", "ih": "ɪɨᵻ", "e": "e", "eh": "ɛ", "a": "æa", "ah": "ɑ", "uh": "ɐʌ", "schwa": "əɘɤ", "er": "ɚɜɝ",
    "aw": "ɒɔ", "o": "o", "oe": "øœɞɵ", "u": "uʉɯ", "oo": "ʊ", "y": "yʏ",
    "p": "pbmβɓʙ", "f": "fvʋɱɸ", "th": "θð", "t": "tdnɾɲʈɖɳɗ", "s": "sz", "sh": "ɕʑʃʒʂʐ", "l": "lʎɫɬɭʟɮ",
    "r": "rɹɻɽɺ", "w": "wɥʍ", "k": "kgɡŋxɣχqʁʀcɟɢɴɠ", "h": "hħɦʔʕ", "j": "jçʝ",
}


IPA = {character: viseme for viseme, characters in _IPA_BY_VISEME.items() for character in characters}
IPA_MARKS = "ːˑˈˌʲʰʷˠˤ.-_()|:;ˀˢ'`^ \u200d\u0303\u0325\u0329\u032a\u032f\u031e\u031f\u0320\u0361\u02de"


ARPABET = {
    "aa": "ah", "ae": "a", "ah": "uh", "ao": "aw", "aw": "a oo", "ax": "schwa", "axr": "er", "ay": "a ih", "eh": "eh",
    "er": "er", "ey": "e ih", "ih": "ih", "iy": "i", "ow": "o oo", "oy": "aw ih", "uh": "oo", "uw": "u",
    "b": "p", "ch": "t sh", "d": "t", "dh": "th", "dx": "t", "el": "l", "em": "p", "en": "t", "f": "f", "g": "k",
    "hh": "h", "hv": "h", "jh": "t sh", "k": "k", "l": "l", "m": "p", "n": "t", "ng": "k", "p": "p", "r": "r",
    "s": "s", "sh": "sh", "t": "t", "th": "th", "v": "f", "w": "w", "y": "j", "z": "s", "zh": "sh",
    "pau": "sil", "sil": "sil", "brth": "sil", "h#": "sil", "ssil": "sil",
}


PAUSE_SYMBOLS = ("pau", "_", "_:", "sil", "")
CURVE_HZ = 200                                                    # inner resolution of the coarticulated curves
SMOOTHING_S = (0.028, 0.045, 0.045, 0.035, 0.035, 0.022, 0.024)   # per parameter: lips spread slower than they close


def viseme_of(symbol: str) -> tuple[str, ...]:
    """Name the visemes of one phoneme: "m" -> ("p",), "aɪ" -> ("a", "ih"), "ch" -> ("t", "sh"), "_:" -> ("sil",).

    Symbols are ARPAbet when that table knows them and they are longer than one letter, else IPA read letter by letter;
    stress, length and tie marks say nothing about the lips. A symbol of unknown letters rests: ("sil",).
    """
    if symbol in PAUSE_SYMBOLS:
        return ("sil",)
    if len(symbol) > 1 and symbol in ARPABET:
        return tuple(ARPABET[symbol].split())
    visemes = tuple(IPA[character] for character in symbol if character in IPA)
    return visemes or ("sil",)


def is_pause(phoneme: Phoneme) -> bool:
    """Tell whether nothing is said and the mouth rests."""
    return viseme_of(phoneme.symbol) == ("sil",)


def viseme_curves(phonemes: Iterable[Phoneme], duration_s: float, fps: float = 25.0) -> Tensor:
    """Draw the seven mouth parameters through time, neighbouring sounds melting into each other.

    -> (T, 7) float32, T = ceil(duration_s * fps), sampled in the middle of each video frame; order VISEME_PARAMETERS.
    Coarticulation by dominance (Cohen and Massaro 1993): every sound pulls towards its own target with its own
    weight, and what is seen is the weighted mean under a Gaussian: sum(w * target * G) / sum(w * G).
    """
    frames = math.ceil(round(duration_s * fps, 6))
    samples = math.ceil(duration_s * CURVE_HZ) + 1
    targets = np.tile(np.array(VISEMES["sil"]), (samples, 1))                 # (samples, 7 + dominance)
    for phoneme in phonemes:
        visemes = viseme_of(phoneme.symbol)
        edges = np.linspace(phoneme.start_s, phoneme.end_s, len(visemes) + 1)  # diphthongs are split evenly
        for viseme, start_s, end_s in zip(visemes, edges[:-1], edges[1:], strict=True):
            start = round(start_s * CURVE_HZ)
            targets[start:max(round(end_s * CURVE_HZ), start + 1)] = VISEMES[viseme]
    dominance = targets[:, -1]
    middle_s = (np.arange(frames) + 0.5) / fps
    time_s = np.arange(samples) / CURVE_HZ
    curves = np.empty((frames, len(VISEME_PARAMETERS)), np.float32)
    for column, sigma_s in enumerate(SMOOTHING_S):
        pulled = gaussian_smooth(targets[:, column] * dominance, sigma_s) / gaussian_smooth(dominance, sigma_s)
        curves[:, column] = np.interp(middle_s, time_s, pulled)
    return torch.from_numpy(curves)


def speaking(phonemes: Iterable[Phoneme], duration_s: float, fps: float = 25.0) -> Tensor:
    """Say in which video frames something is spoken: (T,) bool, true where the middle of the frame lies in a sound."""
    frames = math.ceil(round(duration_s * fps, 6))
    middle_s = (torch.arange(frames) + 0.5) / fps
    spoken = torch.zeros(frames, dtype=torch.bool)
    for phoneme in phonemes:
        if not is_pause(phoneme):
            spoken |= (middle_s >= phoneme.start_s) & (middle_s < phoneme.end_s)
    return spoken


def gaussian_smooth(curve: np.ndarray, sigma_s: float) -> np.ndarray:
    """Smooth a curve of CURVE_HZ by a Gaussian, holding its ends."""
    reach = math.ceil(4 * sigma_s * CURVE_HZ)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / CURVE_HZ / sigma_s) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), kernel / kernel.sum(), "valid")
