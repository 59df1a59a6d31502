"""From one picture to the numbers that drew it: lips, head, hands, colours.

A small network, trained on pictures of which everything is known (`liveavatar.training.regressor`): drawn avatars and,
where they are given, photographs that speak. The shipped one is that of version 0.1 and knows avatars alone. It looks
twice: at the whole picture for head, hands, eyes and colours, and at a piece around the mouth that the first look
found, cut in proportion to the face. What a closed mouth hides (teeth, for instance) cannot be seen and is guessed; of
a photograph only mouth and eyelids can be read, the rest is relative to a portrait that the network does not know.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE_PX = 128           # pictures are looked at in this size
TEXTURE_SIDE_PX = 256   # and their textures in this one
CROP_PX = 48            # side of the piece around the mouth
CROP_EYES = 2.2         # side of the piece in the picture, distances between the eyes
FEATURES = 192          # for the Frechet distance of content
TEXTURED = 2            # stages of the tower whose channels tell of texture
LIP_FEATURES = 96

# names are those of motion traits; the mouth's come from the close look
MOUTH = ("mouth_aperture", "mouth_width", "lip_rounding", "teeth", "lip_press")
BODY = ("blink", "smile", "brow_raise", "head_x", "head_y", "head_yaw", "head_pitch", "head_roll", "lean",
        "left_shoulder", "right_shoulder",
        *(f"{side}_hand_{what}" for side in ("left", "right") for what in ("x", "y", "angle", "spread", "curl")))
COLOURS = ("skin", "hair", "shirt", "background_top")
PLACE = ("mouth_x", "mouth_y", "face_size")     # middle of the mouth, -1..1 across and down the picture; logarithm of
                                                # the distance between the eyes, in sides of the picture


@dataclass(frozen=True)
class Reading:
    """Hold what was read off B pictures, in the units of the traits of the same names."""

    motion: Tensor      # (B, N) in the order of names
    colours: Tensor     # (B, 4, 3) red, green, blue of COLOURS, 0..1
    place: Tensor       # (B, 3) in the order of PLACE, of the squared picture (the first two where it is not scaled)
    features: Tensor    # (B, 192) for the Frechet distance of content
    names: tuple[str, ...] = MOUTH + BODY

    def __getitem__(self, name: str) -> Tensor:
        """Return a trait (B,) or a colour (B, 3) by name."""
        if name in COLOURS:
            return self.colours[:, COLOURS.index(name)]
        if name not in self.names:
            raise KeyError(f"unknown reading {name!r}; known: {', '.join((*self.names, *COLOURS))}")
        return self.motion[:, self.names.index(name)]


class FaceRegressor(nn.Module):
    """picture (B, 3, H, W) 0..1  ->  Reading. Pictures are cut square first."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 128, 128),
                 mouth_widths: tuple[int, ...] = (32, 48, 64, 96), body: tuple[str, ...] = BODY,
                 scaled: bool = True) -> None:
        """Build the network. body: traits that the whole picture is read for; scaled: the piece around the mouth is cut
        in proportion to the face (False: always CROP_PX of SIDE_PX, as the weights of version 0.1 were trained)"""
        super().__init__()
        self.config = {"widths": list(widths), "mouth_widths": list(mouth_widths), "body": list(body),
                       "scaled": scaled}
        self.names, self.scaled = (*MOUTH, *body), scaled
        self.tower = _tower(3, widths)
        self.describe = nn.Linear(widths[-1] * (SIDE_PX >> len(widths)) ** 2, FEATURES)
        self.places = len(PLACE) if scaled else 2
        self.body = nn.Linear(FEATURES, self.places + len(body) + 3 * len(COLOURS))
        self.mouth_tower = _tower(3, mouth_widths)
        self.mouth_describe = nn.Linear(mouth_widths[-1] * (CROP_PX >> len(mouth_widths)) ** 2, LIP_FEATURES)
        self.mouth = nn.Linear(LIP_FEATURES + FEATURES, len(MOUTH))

    def forward(self, picture: Tensor) -> Reading:
        return Reading(*self.read(picture), self.names)

    def read(self, picture: Tensor, shake: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the fields of a Reading; shake (B, 3), in training, moves the close look away from the mouth it found.
        """
        square = cut_square(picture)
        whole = resized(square, SIDE_PX) - 0.5
        features = F.silu(self.describe(self.tower(whole).flatten(1)))
        body = self.body(features)
        place, traits, colours = body.split([self.places, len(self.names) - len(MOUTH), 3 * len(COLOURS)], dim=1)
        near = place.detach() if shake is None else place.detach() + shake
        mouth = F.silu(self.mouth_describe(self.mouth_tower(self.close_up(square, near)).flatten(1)))
        lips = self.mouth(torch.cat([mouth, features], dim=1))
        return torch.cat([lips, traits], dim=1), colours.unflatten(1, (-1, 3)), place, features

    def close_up(self, square: Tensor, place: Tensor) -> Tensor:
        """Cut the pieces around the mouth that lips are read off: square (B, 3, S, S) 0..1, place (B, 3) as in a
        Reading  ->  (B, 3, 48, 48) -0.5..0.5"""
        if self.scaled:
            return crop_around(square, place) - 0.5
        return crop_fixed(resized(square, SIDE_PX), place) - 0.5

    @torch.no_grad()
    def features(self, picture: Tensor) -> Tensor:
        """Describe picture (B, 3, H, W)  ->  (B, 192): pictures that look alike lie near each other."""
        return F.silu(self.describe(self.tower(as_square(picture, SIDE_PX) - 0.5).flatten(1)))

    @torch.no_grad()
    def textures(self, picture: Tensor) -> Tensor:
        """Map picture (B, 3, H, W)  ->  (B, 288): of every channel of the first stages its mean, its spread over the
        picture and how much of it is fine detail. Blur, noise and wrong colours change them; `features` learned to
        overlook all three."""
        x, found = as_square(picture, TEXTURE_SIDE_PX if self.scaled else SIDE_PX) - 0.5, []
        for first in range(0, 4 * TEXTURED, 4):                                          # a stage has four layers
            x = self.tower[first:first + 4](x)
            detail = x - F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            found += [x.mean((2, 3)), x.std((2, 3)), detail.abs().mean((2, 3))]
        return torch.cat(found, 1)


def _tower(channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Build a stack of convolutions; each width halves the side."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.SiLU(),
                   nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
        channels = width
    return nn.Sequential(*layers)


def as_square(picture: Tensor, side_px: int) -> Tensor:
    """Cut the longer side around its middle and resize. (B, 3, H, W) -> (B, 3, side_px, side_px)"""
    return resized(cut_square(picture), side_px)


def cut_square(picture: Tensor) -> Tensor:
    """Cut the longer side around its middle."""
    H, W = picture.shape[-2:]
    side = min(H, W)
    top, left = (H - side) // 2, (W - side) // 2
    return picture[..., top:top + side, left:left + side]


def resized(picture: Tensor, side_px: int) -> Tensor:
    side = picture.shape[-1]
    if side == side_px:
        return picture
    return F.interpolate(picture, size=(side_px, side_px), mode="bilinear", antialias=side > side_px,
                         align_corners=False)


def crop_around(picture: Tensor, place: Tensor) -> Tensor:
    """Cut pieces around the mouth, in proportion to the face. picture (B, 3, S, S), place (B, 3) in the order of
    PLACE  ->  (B, 3, 48, 48)"""
    fine = 2 * CROP_PX                                  # twice as fine first, so that nothing is skipped
    reach = ((torch.arange(fine, device=picture.device, dtype=torch.float32) + 0.5) / fine - 0.5)[None]
    place = place.float()
    reach = reach * 2 * CROP_EYES * place[:, 2:].clamp(-4.0, -0.5).exp()                       # (B, fine)
    across = (place[:, :1] + reach)[:, None, :].expand(-1, fine, -1)
    down = (place[:, 1:2] + reach)[:, :, None].expand(-1, -1, fine)
    piece = F.grid_sample(picture.float(), torch.stack([across, down], -1), padding_mode="border",
                          align_corners=False)
    return F.avg_pool2d(piece, 2)


def crop_fixed(picture: Tensor, place: Tensor) -> Tensor:
    """Cut pieces of 48 x 48 px around places (B, 2). (B, 3, 128, 128) -> (B, 3, 48, 48)"""
    reach = (torch.arange(CROP_PX, device=picture.device, dtype=torch.float32) + 0.5 - CROP_PX / 2) * 2 / SIDE_PX
    place = place.float()
    across = (place[:, 0, None, None] + reach[None, None, :]).expand(-1, CROP_PX, -1)
    down = (place[:, 1, None, None] + reach[None, :, None]).expand(-1, -1, CROP_PX)
    return F.grid_sample(picture.float(), torch.stack([across, down], -1), padding_mode="border", align_corners=False)


def save_regressor(regressor: FaceRegressor, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and widths into one safetensors file."""
    from safetensors.torch import save_file
    state = {name: tensor.detach().to(dtype).contiguous().cpu() for name, tensor in regressor.state_dict().items()}
    save_file(state, str(path), metadata={"config": json.dumps(regressor.config)})


def regressor_of(config: dict) -> FaceRegressor:
    """Build a regressor from its configuration, as JSON keeps it."""
    return FaceRegressor(**{name: tuple(value) if isinstance(value, list) else value for name, value in config.items()})


def load_regressor(path: str | Path, device: torch.device | str = "cpu") -> FaceRegressor:
    """Read what `save_regressor` wrote; float32, ready to use."""
    from safetensors import safe_open
    with safe_open(str(path), framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        state = {name: file.get_tensor(name).float() for name in file.keys()}   # noqa: SIM118
    regressor = regressor_of(config)
    regressor.load_state_dict(state)
    return regressor.requires_grad_(False).eval().to(device)
