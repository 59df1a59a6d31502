"""Portrait and prompt, from what a person gives to what the model takes.

    any picture  -> load_portrait -> Portrait -> fit_size, fit_portrait -> (3, H, W)
    free text    -> parse_prompt  -> Prompt   -> prompt_vector          -> (1, 4, 19)

Every input that cannot be used is refused here, before any weights load.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import unicodedata
import warnings
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from liveavatar.caught_warnings import ignored_warnings
from liveavatar.files import fault_of, user_path
from liveavatar.pictures import pixels_of
from liveavatar.types import InputError, Portrait, Prompt

MIN_SIDE_PX = 32              # below this there is no face to speak of
MAX_SIDE_PX = 16_384
MAX_PIXELS = 64_000_000       # 64 megapixels: 192 MB once decoded
MAX_ASPECT = 2.0              # longer pictures are cropped to 2:1

CUT_ABOVE = 0.15             # share of a tall picture's overhang that is cut off above the head

SAMPLE_PORTRAITS = "woman", "man"

MAX_WORDS = 512               # what the real model's text encoder reads
MAX_CHARACTERS = 8192


# ---------------------------------------------------------------------------------------------------- portrait

def load_portrait(source, expects_rendered: bool = False) -> Portrait:
    """Bring a picture, in whatever form it comes, to float RGB the right way up.

    source: a path, a PIL image, an array or tensor ((H, W, 3) uint8 or (3, H, W) float 0..1), or a Portrait
    expects_rendered: warn when the picture was not made by the renderer, for weights that were trained on no others
    """
    if isinstance(source, Portrait):
        _check_extent(*source.pixels.shape[-2:], source.source or "the portrait")
        return source
    if isinstance(source, (str, os.PathLike)):
        portrait = _from_file(user_path(source))
    elif isinstance(source, (np.ndarray, Tensor)):
        portrait = _from_array(torch.as_tensor(source))
    elif hasattr(source, "getbands"):                              # a PIL image
        portrait = _from_pixels(_pixels_of(source, "the image"), "image in memory")
    else:
        raise InputError(f"a portrait cannot be made from {type(source).__name__}; "
                         "give a path, a PIL image, an array (H, W, 3) or liveavatar.avatar(seed=1)")
    if expects_rendered and portrait.identity is None:
        warnings.warn(f"{portrait.source}: not a rendered avatar. These weights were trained on rendered avatars only: "
                      "a photo blurs and changes while it speaks, and soon does not look like itself; "
                      "liveavatar.avatar(seed=1) makes a portrait they know", stacklevel=2)
    return portrait


def sample_portraits() -> dict[str, Portrait]:
    """Load the portraits that come with the package, `SAMPLE_PORTRAITS`: photographs of people who do not exist.

    Whose they are stands in samples/NOTICE.md.
    """
    from liveavatar.speech import SAMPLES

    return {name: load_portrait(SAMPLES / f"{name}.png") for name in SAMPLE_PORTRAITS}


def _from_file(path: Path) -> Portrait:
    from PIL import Image, UnidentifiedImageError

    from liveavatar.avatars.portraits import read_identity

    fault = fault_of(path)
    if fault:
        raise InputError(f"portrait {str(path)!r} {fault}; give the path of a PNG or JPEG, or make one with "
                         "liveavatar.avatar(seed=1)")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"portrait {str(path)!r} cannot be read ({error.strerror}); check its permissions") from error
    try:
        with ignored_warnings(Image.DecompressionBombWarning):                   # _check_extent is stricter
            image = Image.open(io.BytesIO(data))                 # a pipe can be read only once
        pixels = _pixels_of(image, str(path))
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"portrait {str(path)!r} ({len(data)} bytes) is not a picture that can be read; "
                         "save it as PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        count = re.search(r"\d+", str(error))
        megapixels = f"{int(count[0]) / 1e6:.0f} megapixels" if count else "far too many pixels"
        raise InputError(f"portrait {str(path)!r} has {megapixels}; at most {MAX_PIXELS // 10**6} are accepted: "
                         "shrink it first") from error
    except Exception as error:                       # Pillow's readers raise almost anything: IndexError, struct.error
        raise InputError(f"portrait {str(path)!r} is damaged ({error}); save it again as PNG or JPEG") from error
    identity = read_identity(io.BytesIO(data)) if image.format == "PNG" else None
    return Portrait(pixels, identity, str(path), hashlib.sha256(data).hexdigest())


def _pixels_of(image, name: str) -> Tensor:
    """Return the pixels of a PIL image, once its size is found fit."""
    width, height = image.size
    _check_extent(height, width, name)
    return pixels_of(image, name)


def _from_array(values: Tensor) -> Portrait:
    if values.ndim != 3 or 3 not in (values.shape[0], values.shape[-1]):
        raise InputError(f"a portrait of shape {tuple(values.shape)} is not a colour picture; "
                         "give (H, W, 3) uint8 or (3, H, W) float 0..1")
    if values.shape[0] != 3:
        values = values.permute(2, 0, 1)
    if values.dtype == torch.uint8:
        values = values.float() / 255
    if not values.is_floating_point():
        raise InputError(f"a portrait of {values.dtype} has no known range; give uint8, or float in 0..1")
    low, high = values.min().item(), values.max().item()           # not a number fails the next line too
    if not (0 <= low and high <= 1):
        raise InputError(f"portrait values lie in {low:.3g}..{high:.3g}; floats must lie in 0..1: "
                         "divide 8-bit values by 255")
    _check_extent(*values.shape[-2:], "the array")
    return _from_pixels(values.float().contiguous(), "array in memory")


def _from_pixels(pixels: Tensor, source: str) -> Portrait:
    return Portrait(pixels, None, source, hashlib.sha256(pixels.numpy(force=True).tobytes()).hexdigest())


def _check_extent(height: int, width: int, name: str) -> None:
    if min(height, width) < MIN_SIDE_PX:
        raise InputError(f"{name} is {width} x {height} px; a portrait needs at least {MIN_SIDE_PX} px a side: "
                         "give a larger picture")
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
        raise InputError(f"{name} is {width} x {height} px; at most {MAX_SIDE_PX} px a side and "
                         f"{MAX_PIXELS // 10**6} megapixels are accepted: shrink it first, 1024 px are plenty")


# -------------------------------------------------------------------------------------------------------- size

def fit_size(size: tuple[int, int], portrait: Portrait, multiple: int = 16) -> tuple[int, int]:
    """Return the video's (height, width): an area no larger than `size`, in the shape of the portrait.

    As in the real model, `size` = (height, width) only says how many pixels may be spent. The portrait is scaled down
    from that area until its sides, rounded up to multiples of `multiple`, fit. Rounding up means that the picture
    always covers the video after a crop of less than one multiple: no black bars.
    """
    area = size[0] * size[1]
    height, width = _tame_aspect(*portrait.pixels.shape[-2:])
    largest = sqrt(area / (height * width))
    for scale in np.linspace(largest, largest / 8, 400):
        rows = _round_up(height * scale, multiple)
        columns = _round_up(width * scale, multiple)
        if rows * columns <= area:
            return rows, columns
    raise InputError(f"size {size[1]}*{size[0]} has too few pixels for sides that are multiples of {multiple}; "
                     f"try {8 * multiple}*{8 * multiple}")


def released_size(height: int, width: int, area: tuple[int, int], multiple: int = 64) -> tuple[int, int]:
    """Return the released model's (height, width) for a picture of that size. Of area = (height, width) the product
    counts.

    It tries a hundred scales from the largest down and takes the first whose sides, rounded up to the multiple, fit.
    Pictures smaller than the area are not enlarged. What the picture does not fill is not left black as there, but
    covered: `fit_portrait`.
    """
    most = area[0] * area[1]
    if most < multiple * multiple:
        raise InputError(f"size {area[1]}*{area[0]} has too few pixels for sides that are multiples of {multiple}; "
                         f"try {4 * multiple}*{4 * multiple}")
    pixels, slack = height * width, multiple - 1
    largest, smallest = 1.0, 0.1
    if pixels > most:
        largest = sqrt(most / pixels)                              # as if nothing were rounded up
        b, c = slack * (height + width), slack * slack - most
        smallest = (sqrt(max(b * b - 2 * pixels * c, 0)) - b) / (2 * pixels)     # as if both sides were, by the most
    for index in range(100):
        scale = largest - (largest - smallest) * index / 100
        rows, columns = (max(-(-int(side * scale) // multiple), 1) * multiple for side in (height, width))
        if rows * columns <= most:
            return rows, columns
    rows = max(int(sqrt(most * height / width)) // multiple, 1) * multiple
    return rows, max(min(int(sqrt(most * width / height)), most // rows) // multiple, 1) * multiple


def _tame_aspect(height: float, width: float) -> tuple[float, float]:
    return min(height, MAX_ASPECT * width), min(width, MAX_ASPECT * height)


def _round_up(length_px: float, multiple: int) -> int:
    slack = 1e-6                                                   # 128.0000001 is 128
    return max(1, int(np.ceil(length_px / multiple - slack))) * multiple


def fit_portrait(portrait: Portrait, size: tuple[int, int]) -> Tensor:
    """Scale until the picture just covers size (height, width), then cut what hangs over -> (3, H, W) 0..1.

    Sideways around the centre; of a tall picture mostly from below, since faces are in its upper part.
    """
    rows, columns = size
    height, width = portrait.pixels.shape[-2:]
    scale = max(rows / height, columns / width)
    scaled = max(rows, round(height * scale)), max(columns, round(width * scale))
    pixels = portrait.pixels[None]
    if scaled != (height, width):
        pixels = functional.interpolate(pixels, scaled, mode="bicubic", align_corners=False, antialias=True)
    top, left = round((scaled[0] - rows) * CUT_ABOVE), (scaled[1] - columns) // 2
    return pixels[0, :, top:top + rows, left:left + columns].clamp(0, 1)


# ------------------------------------------------------------------------------------------------------ prompt
# The words mini knows, by slot and value (the slots and values of avatars.motion.CONTROLS). The longest phrase wins.

VOCABULARY: dict[str, dict[str, tuple[str, ...]]] = {
    "gesture": {
        "rest": ("rest", "resting", "at rest", "hands down", "hands at rest", "hands resting", "hands still",
                 "still hands", "arms down", "arms folded", "no gesture", "no gestures", "without gestures",
                 "without gesturing", "no hands", "no hand movement", "hands out of view", "motionless hands"),
        "beat": ("beat", "beats", "gesture", "gestures", "gesturing", "gesticulating", "gesticulates", "hands",
                 "both hands", "moving hands", "moving her hands", "moving his hands", "moving their hands",
                 "with her hands", "with his hands", "with their hands", "hand gestures", "hand movements",
                 "explaining", "explains"),
        "wave": ("wave", "waves", "waving", "greeting", "greets", "hello", "hi", "goodbye", "bye", "welcoming",
                 "welcome", "welcomes", "raising a hand", "raises a hand"),
        "point": ("point", "points", "pointing", "count", "counts", "counting", "counting on fingers", "finger up",
                  "raised finger", "index finger", "indicating"),
    },
    "mood": {
        "neutral": ("neutral", "neutral face", "neutral expression", "plain expression", "matter of fact", "composed"),
        "happy": ("happy", "happily", "smile", "smiles", "smiling", "warm smile", "cheerful", "cheerfully", "joyful",
                  "joy", "glad", "friendly", "pleased", "delighted", "laughing", "laughs", "grinning", "grin",
                  "merry", "positive", "warmly"),
        "serious": ("serious", "seriously", "stern", "grave", "solemn", "solemnly", "strict", "concerned", "worried",
                    "angry", "frowning", "frowns", "frown", "sad", "sadly", "formal", "thoughtful"),
        "surprised": ("surprised", "surprise", "surprising", "astonished", "amazed", "wide eyed", "wide eyes",
                      "raised eyebrows", "raised brows", "startled", "shocked", "wow"),
    },
    "lighting": {
        "neutral": ("neutral light", "neutral lighting", "white light", "even light", "even lighting", "soft light",
                    "soft lighting", "daylight", "studio", "studio light", "studio lighting"),
        "warm": ("warm", "warm light", "warm lighting", "sunset", "sunrise", "golden hour", "golden light",
                 "candle", "candlelight", "sunny", "sunlight", "sunlit", "orange light", "evening light", "fireside",
                 "cosy", "cozy"),
        "cool": ("cool", "cool light", "cool lighting", "cold", "cold light", "blue light", "bluish", "moonlight",
                 "moonlit", "night", "neon", "overcast"),
        "spot": ("spot", "spotlight", "spotlights", "spotlit", "spot light", "stage", "stage light", "on stage",
                 "dramatic light", "dramatic lighting", "dark background", "dark room", "theatre", "theater"),
    },
    "energy": {
        "calm": ("calm", "calmly", "quiet", "quietly", "gentle", "gently", "relaxed", "slow", "slowly", "still",
                 "softly", "peaceful", "subtle", "subdued", "tired"),
        "normal": ("normal", "normally", "natural", "naturally", "moderate", "usual"),
        "lively": ("lively", "energetic", "energetically", "excited", "excitedly", "animated", "fast", "quick",
                   "vivid", "enthusiastic", "enthusiastically", "passionate", "dynamic", "vigorous", "expressive"),
    },
}

UNSAID = {"gesture": "rest", "mood": "neutral", "lighting": "neutral", "energy": "normal"}   # where a prompt is silent

NEGATIONS = frozenset(("not", "no", "never", "without", "don't", "doesn't", "isn't", "nor", "neither", "hardly"))

QUIET_WORDS = frozenset("""
a an and are as at be being but by does during face for from full has have hand her his i in into is it its look
looking looks of on or our person portrait she he so somebody someone speaker speaking speaks speak talk talking talks
that the their them then they this to under very very video was while who with you your avatar character camera
says saying light lighting lit mood expression energy manner way tone bit little quite rather slightly
""".split())                          # these carry no wish, so they are not reported either

_PHRASES = {tuple(phrase.split()): (slot, value)
            for slot, values in VOCABULARY.items() for value, phrases in values.items() for phrase in phrases}
_LONGEST_PHRASE = max(map(len, _PHRASES))


def parse_prompt(text: str | None) -> Prompt:
    """Find what mini understands in free text; whatever changed nothing comes back in `unknown`, in order.

    The first word for a slot wins. What is denied ("not smiling") is reported, not turned into its opposite.
    A slot that is not mentioned stays out of `slots`, and takes the value of UNSAID. Emoji are words that nobody knows.
    """
    text = "" if text is None else text
    if not isinstance(text, str):
        raise InputError(f"a prompt is text, not {type(text).__name__}; for example \"smiling, in warm light\"")
    words = _words_of(text.lower().replace("’", "'"))
    if len(words) > MAX_WORDS or len(text) > MAX_CHARACTERS:
        raise InputError(f"the prompt has {len(words):,} word{'s' * (len(words) != 1)} in {len(text):,} characters; at "
                         f"most {MAX_WORDS} words and {MAX_CHARACTERS:,} characters are read: shorten it")
    slots: dict[str, str] = {}
    unknown: dict[str, None] = {}                                  # keeps order, drops repeats
    denied = ""
    position = 0
    while position < len(words):
        phrase = _phrase_at(words, position)
        spoken = " ".join(phrase)
        slot, value = _PHRASES.get(phrase, ("", ""))
        if slot and not denied and slots.setdefault(slot, value) == value:
            pass                                                   # understood
        elif slot:
            unknown[f"{denied} {spoken}".strip()] = None
        elif spoken not in QUIET_WORDS and spoken not in NEGATIONS:
            unknown[spoken] = None
        if spoken in NEGATIONS:
            denied = spoken
        elif spoken not in QUIET_WORDS:
            denied = ""
        position += len(phrase)
    return Prompt(text, slots, tuple(unknown))


def _words_of(text: str) -> list[str]:
    """Split a prompt into words and pictograms; punctuation says nothing."""
    parts = re.findall(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]+", text)
    words = (part if part[0].isalnum() else "".join(filter(_is_pictogram, part)) for part in parts)
    return [word for word in words if word]


def _is_pictogram(character: str) -> bool:
    """Tell an emoji or another symbol, and what belongs to it (skin tone), from punctuation."""
    return unicodedata.category(character) in ("So", "Sk") and character not in "`^´¨"


def _phrase_at(words: list[str], start: int) -> tuple[str, ...]:
    """Return the longest known phrase that begins here, or the one word that stands here."""
    for length in range(min(_LONGEST_PHRASE, len(words) - start), 0, -1):
        phrase = tuple(words[start:start + length])
        if phrase in _PHRASES:
            return phrase
    return (words[start],)


def controls_of(prompt: Prompt) -> Tensor:
    """Return (1, 4) long: which value each slot has; UNSAID where the prompt says nothing."""
    from liveavatar.avatars.motion import CONTROLS

    chosen = []
    for slot, values in CONTROLS.items():
        value = prompt.slots.get(slot, UNSAID[slot])
        if value not in values:
            raise InputError(f"{slot} {value!r} is not known; known: {', '.join(values)}")
        chosen.append(values.index(value))
    stray = set(prompt.slots) - set(CONTROLS)
    if stray:
        raise InputError(f"unknown slot {sorted(stray)[0]!r}; known: {', '.join(CONTROLS)}")
    return torch.tensor([chosen])


def prompt_vector(prompt: Prompt) -> Tensor:
    """Return a prompt as four tokens: (1, 4, 19), one row per slot, see controls_vector."""
    return controls_vector(controls_of(prompt))


def nothing_said() -> Tensor:
    """Return all slots "not given" (1, 4, 19): what guidance compares with. A video is made with UNSAID instead."""
    from liveavatar.avatars.motion import CONTROLS

    return controls_vector(torch.tensor([[len(values) for values in CONTROLS.values()]]))


def controls_vector(controls: Tensor) -> Tensor:
    """Return one token per slot, one-hot: controls (B, 4) long -> (B, 4, 19) float32.

    Columns: the values of gesture, then one for "gesture not given"; then mood, lighting and energy likewise
    (4+1 + 4+1 + 4+1 + 3+1 = 19). An index equal to the number of a slot's values means "not given".
    """
    from liveavatar.avatars.motion import CONTROLS

    widths = torch.tensor([len(values) + 1 for values in CONTROLS.values()], device=controls.device)
    if controls.shape[-1:] != widths.shape or (controls < 0).any() or (controls >= widths).any():
        raise InputError(f"controls {tuple(controls.shape)} must be (B, {len(widths)}) with values below "
                         f"{widths.tolist()}")
    columns = widths.cumsum(0) - widths + controls                 # (B, 4)
    return functional.one_hot(columns, int(widths.sum())).float()
