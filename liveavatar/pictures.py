"""A picture of any kind -> sRGB pixels the right way up: modes, depths, transparency, EXIF and colour profiles."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from liveavatar.types import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLE_FORMAT = 339                   # TIFF tag: 1 whole numbers, 2 signed ones, 3 floating point
WHITES = (1.0, 255.0, 65_535.0, 2.0**32 - 1)     # what white may be, where a file does not say how bright it is


def pixels_of(image: Image, name: str) -> Tensor:
    """Return the first frame of a PIL image, upright, on white, in sRGB: (3, H, W) float 0..1.

    name: of the picture in messages. Raises InputError for values that are not numbers; warns of an animation and of
    a colour profile that cannot be used.
    """
    from PIL import ImageOps

    if getattr(image, "n_frames", 1) > 1:
        warnings.warn(f"{name}: {image.n_frames} pictures in one file; the first is used", stacklevel=5)
        image.seek(0)
    kind, values_are = image.format, getattr(image, "tag_v2", {}).get(SAMPLE_FORMAT, (1,))
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return deep_grey(np.asarray(image, dtype=np.float32), WHITES[2], name)
    if image.mode == "I":
        values = np.asarray(image, dtype=np.int32)
        whole = np.ravel(values_are)[0] == 1
        values = values.view(np.uint32) if kind == "TIFF" and whole else values       # Pillow has no unsigned mode
        return deep_grey(values.astype(np.float32), None if kind in ("TIFF", None) else WHITES[2], name)
    if image.mode == "F":
        return deep_grey(np.asarray(image), None, name)
    return torch.from_numpy(np.array(on_white(image, name))).permute(2, 0, 1).float() / 255


def on_white(image: Image, name: str) -> Image:
    """Return an RGB image in sRGB; what is transparent shows white."""
    from PIL import Image as images

    if not image.has_transparency_data:
        return in_srgb(image, name)
    image = image.convert("RGBA")
    colours = in_srgb(image.convert("RGB"), name, image.info.get("icc_profile"))
    colours.putalpha(image.getchannel("A"))
    return images.alpha_composite(images.new("RGBA", image.size, "white"), colours).convert("RGB")


def in_srgb(image: Image, name: str, profile: bytes | None = None) -> Image:
    """Bring an image from the colours of its profile to sRGB, and to mode RGB."""
    from PIL import ImageCms

    profile = profile or image.info.get("icc_profile")
    if not profile:
        return image.convert("RGB")
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space, text = given.profile.xcolor_space.strip(), ImageCms.getProfileDescription(given)
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space)
        if mode is None or (image.mode == "CMYK") != (mode == "CMYK"):
            raise ValueError(f"it is for {space} pictures")
        if mode == "RGB" and "sRGB" in text:
            return image.convert("RGB")
        return ImageCms.profileToProfile(image.convert(mode), given, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        warnings.warn(f"{name}: its colour profile cannot be used ({error}); its colours are taken as sRGB",
                      stacklevel=6)
        return image.convert("RGB")


def deep_grey(values: np.ndarray, white: float | None, name: str) -> Tensor:
    """Bring grey with more than 8 bits (H, W) to (3, H, W) float 0..1. white: its number, None to guess it."""
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds values that are not numbers; save it again as an 8-bit PNG")
    brightest = float(values.max())
    white = white or next((one for one in WHITES if brightest <= one), brightest)
    return torch.from_numpy(values / np.float32(white)).clamp(0, 1).expand(3, -1, -1).contiguous()
