"""Portraits for anyone who has no photo: from words and numbers, or at random; saved with who they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch
from torch import Tensor

from liveavatar.files import user_path, write_whole
from liveavatar.types import InputError, Portrait

from .motion import portrait_pose
from .renderer import render
from .sampling import CLOTHES, HAIR_COLOURS, HAIR_STYLES, HAIR_TRAITS, IRISES, LIPS, SKINS, WALLS, random_identities
from .traits import IDENTITY, IDENTITY_COLUMNS, PLAIN_TRAITS

if TYPE_CHECKING:
    from PIL import Image

CHUNK = "liveavatar.identity"           # the PNG text chunk that carries the traits
CHANNELS = ("red", "green", "blue")

_SKIN = dict(zip(("pale", "fair", "light", "medium", "tan", "brown", "dark", "deep"), SKINS.tolist(), strict=True))
_LIPS = dict(zip(_SKIN, LIPS.tolist(), strict=True))
_CLOTH = ("red", "orange", "yellow", "green", "sky", "blue", "purple", "pink", "white", "navy", "grey", "lime", "rust",
          "teal", "cream", "lavender")
_WALL = ("peach", "ice", "lilac", "lemon", "mint", "rose", "sky", "sand", "aqua", "apricot", "steel", "pear")
_IRIS = ("brown", "hazel", "green", "blue", "grey", "amber", "black", "violet")


def _hair_colours() -> dict[str, list[float]]:
    return {name: [int(code[place:place + 2], 16) / 255 for place in (0, 2, 4)] for name, code in HAIR_COLOURS.items()}


def _tints(name: str, colours: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return word -> the three columns of a colour."""
    return {word: dict(zip((f"{name}_{channel}" for channel in CHANNELS), colour, strict=True))
            for word, colour in colours.items()}


def _outfit(collar: int = 0, hoodie: int = 0, jacket: int = 0) -> dict[str, float]:
    return {"collar": collar, "hoodie": hoodie, "jacket": jacket, "neckline_v": collar,
            "neckline_depth": 0.075 + 0.06 * collar}


def _pattern(stripes: float = 0.0, dots: float = 0.0) -> dict[str, float]:
    return {"stripes": stripes, "dots": dots}


_walls = dict(zip(_WALL, WALLS.tolist(), strict=True))
_cloth = dict(zip(_CLOTH, CLOTHES.tolist(), strict=True))

# what may be said in words: trait -> word -> the columns it sets
VOCABULARY: dict[str, dict[str, dict[str, float]]] = {
    "skin": {word: tint | _tints("lips", _LIPS)[word] for word, tint in _tints("skin", _SKIN).items()},
    "hair": {word: dict(zip(HAIR_TRAITS, style, strict=True)) for word, style in HAIR_STYLES.items()},
    "hair_colour": _tints("hair", _hair_colours()),
    "eyes": _tints("iris", dict(zip(_IRIS, IRISES.tolist(), strict=True))),
    "lips": _tints("lips", {"red": [0.80, 0.22, 0.30], "rose": [0.84, 0.42, 0.44], "plum": [0.52, 0.18, 0.30]}),
    "shirt": _tints("shirt", _cloth),
    "accent": _tints("accent", _cloth),
    "background": {word: _tints("background_top", _walls)[word] | _tints("background_bottom", _walls)[word]
                   for word in _walls},
    "outfit": {"tshirt": _outfit(), "collar": _outfit(collar=1), "hoodie": _outfit(hoodie=1),
               "jacket": _outfit(jacket=1)},
    "pattern": {"plain": _pattern(), "stripes": _pattern(stripes=0.9), "dots": _pattern(dots=0.9)},
    "scene": {"discs": {"scene": 0.5}, "window": {"scene": 1.5}, "shelf": {"scene": 2.5}},
    "beard": {"none": {"beard": 0.0, "moustache": 0.0}, "stubble": {"beard": 0.32, "moustache": 0.30},
              "full": {"beard": 0.97, "moustache": 0.97}, "moustache": {"beard": 0.0, "moustache": 0.97}},
    "glasses": {"none": {"glasses": 0.0}, "round": {"glasses": 1.0, "glasses_square": 0.0},
                "square": {"glasses": 1.0, "glasses_square": 1.0}},
}
YES_NO: dict[str, tuple[dict[str, float], dict[str, float]]] = {      # trait -> what False sets, what True sets
    "beard": (VOCABULARY["beard"]["none"], VOCABULARY["beard"]["full"]),
    "glasses": ({"glasses": 0.0}, {"glasses": 1.0}),
    "earrings": ({"earrings": 0.0}, {"earrings": 1.0}),
    "freckles": ({"freckles": 0.0}, {"freckles": 0.8}),
    "collar": ({"collar": 0.0}, _outfit(collar=1)),
    "hoodie": ({"hoodie": 0.0}, _outfit(hoodie=1)),
    "jacket": ({"jacket": 0.0}, {"jacket": 1.0}),
}


def avatar(seed: int | None = None, size: tuple[int, int] = (256, 256), world: str = "rich",
           **traits: str | bool | float) -> Portrait:
    """Draw a portrait: random where nothing is said, the same one for the same seed.

        avatar(7)                                             whoever seed 7 is
        avatar(7, hair="long", skin="dark", glasses=True)     the same person, changed by words (see VOCABULARY)
        avatar(7, eye_size=1.1, stripes=0.9)                  or by any number of IDENTITY
        avatar(7, (128, 128), world="plain")                  the same person, smaller and without shading and texture

    size is (height, width). The portrait carries its identity, so that what it says can be compared with the truth.
    """
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise InputError(f"seed is {seed!r}; give a whole number, or none for a random person")
    settings = [_columns(name, value) for name, value in traits.items()]
    generator = torch.Generator()
    seed = (generator.seed() if seed is None else seed) % 2**63
    generator.manual_seed(seed)
    identity = random_identities(1, generator, world=world)
    pose = portrait_pose(1, generator)
    for name, value in (item for setting in settings for item in setting.items()):
        identity[0, IDENTITY_COLUMNS[name]] = value
    pixels = _in_steps_of_255(render(identity, pose, size)[0])
    return Portrait(pixels, identity[0], source="rendered", sha256=hashlib.sha256(_bytes(pixels)).hexdigest(),
                    drawn={"seed": seed, "size": [int(side) for side in size], "world": world} | traits)


def _columns(name: str, value: str | bool | float) -> dict[str, float]:
    """Return what one argument of `avatar` sets; refuses unknown traits, unknown words and numbers that cannot be
    drawn."""
    if name not in VOCABULARY and name not in YES_NO and name not in IDENTITY_COLUMNS:
        known = sorted({*VOCABULARY, *YES_NO, *IDENTITY_COLUMNS})
        near = get_close_matches(name, known, n=3, cutoff=0.4)
        raise InputError(f"unknown trait {name!r}; " + (f"did you mean {_listed(near)}?" if near else
                                                        f"known: {_listed(known)}"))
    if isinstance(value, str):
        return _word(name, value)
    if isinstance(value, bool) and name in YES_NO:
        return dict(YES_NO[name][value])
    return _number(name, value)


def _word(name: str, word: str) -> dict[str, float]:
    words = VOCABULARY.get(name)
    if words is None:
        raise InputError(f"{name}={word!r} is a word, but {name!r} takes {_takes(name)}")
    if word.lower() not in words:
        raise InputError(f"{name}={word!r} is unknown; choose from {_listed(words)}")
    return words[word.lower()]


def _number(name: str, value: object) -> dict[str, float]:
    if name not in IDENTITY_COLUMNS or isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name}={value!r} cannot be drawn; {name!r} takes {_takes(name)}")
    trait = IDENTITY[IDENTITY_COLUMNS[name]]
    if not trait.low <= value <= trait.high:
        raise InputError(f"{name}={value} is out of range; {trait.doc}: {trait.low} to {trait.high}")
    return {name: float(value)}


def _takes(name: str) -> str:
    """Say what a trait accepts."""
    kinds: list[str] = []
    if name in VOCABULARY:
        kinds.append(f"one of {_listed(VOCABULARY[name])}")
    if name in YES_NO:
        kinds.append("True or False")
    if name in IDENTITY_COLUMNS:
        trait = IDENTITY[IDENTITY_COLUMNS[name]]
        kinds.append(f"a number from {trait.low} to {trait.high}")
    return ", or ".join(kinds)


def _listed(names) -> str:
    return ", ".join(repr(name) for name in names)


# ---------------------------------------------------------------- files

def _in_steps_of_255(pixels: Tensor) -> Tensor:
    """Round as a file rounds, so that saved equals loaded."""
    return (pixels.clamp(0, 1) * 255).round() / 255


def _bytes(pixels: Tensor) -> bytes:
    """Convert (3, H, W) 0..1  ->  rows of red, green, blue bytes"""
    return (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes()


def _picture(pixels: Tensor) -> Image.Image:
    from PIL import Image

    _, height, width = pixels.shape
    return Image.frombytes("RGB", (width, height), _bytes(pixels.detach().float().cpu()))


def save_portrait(portrait: Portrait, path: str | Path) -> None:
    """Write a PNG; when the portrait has an identity, a text chunk carries it, trait by trait."""
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    if portrait.identity is not None:
        values = portrait.identity.tolist()
        notes.add_text(CHUNK, json.dumps({trait.name: value for trait, value in zip(IDENTITY, values, strict=True)}))
    _write(lambda part: _picture(portrait.pixels).save(part, format="PNG", pnginfo=notes), path)


def read_identity(path: str | Path | BinaryIO) -> Tensor | None:
    """Return who a saved portrait shows: (NI,), or None when the file (its path, or open) says nothing about it.

    Traits that the file does not name take their defaults: it may be older than they are.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(user_path(path) if isinstance(path, (str, Path)) else path) as picture:
            picture.load()                          # text chunks may follow the pixels
            note = getattr(picture, "text", {}).get(CHUNK)
    except UnidentifiedImageError:
        raise InputError(f"{path} is not a picture; give a PNG written by save_portrait") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path and the file") from None
    if note is None:
        return None
    try:
        values = json.loads(note)
        known = [float(values[trait.name]) for trait in IDENTITY[:PLAIN_TRAITS]]
        return torch.tensor(known + [float(values.get(trait.name, trait.default)) for trait in IDENTITY[PLAIN_TRAITS:]])
    except (ValueError, TypeError, KeyError):
        return None                                 # of another version, or damaged: then it is just a picture


def contact_sheet(images: Tensor, columns: int, path: str | Path) -> None:
    """Write many pictures (N, 3, H, W) in 0..1 as one, row by row."""
    if images.ndim != 4 or images.shape[1] != 3 or not len(images) or columns < 1:
        raise InputError(f"a contact sheet needs images (N, 3, H, W) and at least one column, "
                         f"got {tuple(images.shape)} and {columns} columns")
    N, _, H, W = images.shape
    rows = -(-N // columns)
    sheet = torch.zeros(rows * columns, 3, H, W)
    sheet[:N] = images.detach().float().cpu()
    joined = sheet.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).reshape(3, rows * H, columns * W)
    _write(lambda part: _picture(joined).save(part, format="PNG"), path)


def _write(save: Callable[[Path], None], path: str | Path) -> None:
    try:
        write_whole(user_path(path), save)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}); "
                         "choose a folder that exists and may be written to") from None
