"""Where the parts of a drawn avatar are, in pixels: exact, because drawing uses the same geometry."""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import eye_centre, hand_pose, head_to_view, lip_line, mouth, to_pixels, tuck_depth
from .traits import IDENTITY_COLUMNS, MOTION_COLUMNS, Named

LANDMARKS: tuple[str, ...] = (
    "mouth_center",     # between the lips
    "mouth_left",       # corner at the picture's left
    "mouth_right",
    "lip_upper",        # lower edge of the upper lip, in the middle
    "lip_lower",        # upper edge of the lower lip; on lip_upper when the mouth is closed
    "left_eye",         # at the picture's left
    "right_eye",
    "left_hand",        # middle of the palm; may lie outside the picture
    "right_hand",
    "head_center",      # middle of the face
)


def landmarks(identity: Tensor, motion: Tensor, size: tuple[int, int] = (128, 128)) -> Tensor:
    """Find the landmarks of avatars drawn at `size` (height, width).

    identity (B, NI), motion (B, NM)  ->  (B, P, 2) x and y in pixels from the upper left corner, in the order of
    LANDMARKS; 0.5 is the centre of the first pixel
    """
    who, move = Named(identity, IDENTITY_COLUMNS), Named(motion, MOTION_COLUMNS)
    on_head = [*_mouth_points(who, move), *(eye_centre(who, move, side) for side in (-1.0, 1.0))]
    face = move["head_yaw"] * 0.03, 0.02 + 0 * move["head_yaw"]
    points = [head_to_view(move, x, y) for x, y in on_head]
    points += [hand_pose(move, side)[:2] for side in (-1, 1)]
    points.append(head_to_view(move, *face))
    pixels = [torch.cat(to_pixels(move, x, y, size), -1) for x, y in points]        # each (B, 1, 2)
    return torch.cat(pixels, 1)


def _mouth_points(who: Named, move: Named) -> list[tuple[Tensor, Tensor]]:
    """Return centre, left and right corner, upper and lower lip, in the frame of the head."""
    shape = mouth(who, move)
    middle, corner = shape.y + lip_line(shape, 0.0), shape.y + lip_line(shape, 1.0)
    upper = middle - shape.up
    lower = torch.maximum(upper, middle + shape.down - tuck_depth(move))
    turn = 0.14 * move["head_yaw"]
    return [(shape.x, 0.5 * (upper + lower)), (shape.x - shape.half_width * (1 + turn), corner),
            (shape.x + shape.half_width * (1 - turn), corner), (shape.x, upper), (shape.x, lower)]
