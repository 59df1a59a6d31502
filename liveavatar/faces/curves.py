"""Turn landmarks into curves: mouth, eyes, head. Each takes points (..., 478, 3) px and returns (...).

Lengths are in units of the eye distance: the distance in space between the outer corners of both eyes (points 33 and
263), so that neither the size of the face nor, as far as the depth is right, its turning counts. NaN gives NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIGHT_EYE, LEFT_EYE = 33, 263                                   # outer corners
INNER_LIPS = ((82, 87), (13, 14), (312, 317))                   # upper and lower lip, right, middle, left
NOSE_TO_LIP = ((1, 14), (1, 17), (2, 87), (2, 317))             # tip and base of the nose, edges of the lower lip
MOUTH_CORNERS = (61, 291)
EYE_CORNERS = ((33, 133), (263, 362))                           # of the right and of the left eye: outer, inner
EYE_LIDS = (((160, 144), (159, 145), (158, 153)), ((387, 373), (386, 374), (385, 380)))
FOREHEAD, CHIN = 10, 152                                        # ends of the middle line of the mesh

# Where points that hardly move against the skull lie in a face that looks into the camera: right, down, away from it,
# in thousandths of the eye distance, from the middle between the eyes. The mean of 106 generated frontal portraits,
# made symmetric; their mean pitch is 0 by definition.
ON_THE_MIDDLE = {10: (0, -557, -213), 151: (0, -384, -246), 9: (0, -210, -265), 8: (0, -116, -246),
                 168: (0, -26, -239), 6: (0, 69, -282), 197: (0, 153, -334), 195: (0, 231, -389), 5: (0, 316, -446),
                 4: (0, 414, -468), 1: (0, 485, -442), 2: (0, 543, -268)}
ON_BOTH_SIDES = {                                               # point on the right, on the left: position of the left
    (33, 263): (500, 0, 0), (133, 362): (191, 27, -57), (127, 356): (749, 19, 539), (234, 454): (740, 171, 597),
    (93, 323): (727, 328, 611), (67, 297): (390, -527, -127), (109, 338): (212, -553, -196),
    (54, 284): (651, -380, 137), (21, 251): (710, -264, 275), (48, 278): (214, 446, -271), (64, 294): (217, 473, -233),
    (98, 327): (194, 512, -183), (117, 346): (575, 191, 9), (50, 280): (523, 372, -47), (122, 351): (64, 84, -255),
    (196, 419): (62, 166, -318), (236, 456): (109, 269, -317), (45, 275): (66, 414, -460)}


def distance(points: Tensor, first: int, second: int) -> Tensor:
    """Return the distance in space between two landmarks, in px."""
    return (points[..., first, :] - points[..., second, :]).norm(dim=-1)


def eye_distance(points: Tensor) -> Tensor:
    """Return the distance between the outer corners of both eyes, in px."""
    return distance(points, RIGHT_EYE, LEFT_EYE)


def mouth_aperture(points: Tensor) -> Tensor:
    """Return how far the lips are apart: mean gap of the inner lips over three pairs of points / eye distance.

    About 0 closed, 0.1 in ordinary speech, 0.35 and more wide open.
    """
    gaps = torch.stack([distance(points, upper, lower) for upper, lower in INNER_LIPS])
    return gaps.mean(0) / eye_distance(points)


def lower_lip_drop(points: Tensor) -> Tensor:
    """Return how far the lower lip is below the nose: mean over four pairs of points / eye distance.

    It follows the opening of the mouth. In small, compressed faces it is read more surely than the gap of the lips,
    which is then a few pixels high; it also moves a little with the expression and where the head nods.
    """
    gaps = torch.stack([distance(points, nose, lip) for nose, lip in NOSE_TO_LIP])
    return gaps.mean(0) / eye_distance(points)


def mouth_width(points: Tensor) -> Tensor:
    """Return the distance of the corners of the mouth / eye distance: about 0.55; less rounded, more spread."""
    return distance(points, *MOUTH_CORNERS) / eye_distance(points)


def eye_opening(points: Tensor) -> Tensor:
    """Return how far each eye is open: mean gap of the lids over three pairs / distance of that eye's corners.

    -> (..., 2) the person's right eye, left eye; about 0.1 closed, 0.3 open (the eye aspect ratio of Soukupova and
    Cech, 2016)
    """
    eyes = []
    for lids, corners in zip(EYE_LIDS, EYE_CORNERS, strict=True):
        gaps = torch.stack([distance(points, upper, lower) for upper, lower in lids])
        eyes.append(gaps.mean(0) / distance(points, *corners))
    return torch.stack(eyes, -1)


def face_height(points: Tensor) -> Tensor:
    """Return the distance in the picture from the upper forehead (point 10) to the chin (point 152), in px.

    Point 10 lies at the hairline or up to a tenth of this height below it.
    """
    return (points[..., FOREHEAD, :2] - points[..., CHIN, :2]).norm(dim=-1)


def head_pose(points: Tensor) -> Tensor:
    """Estimate how the head is turned, in degrees: yaw, pitch, roll.

    A mean face of 48 points that hardly move against the skull is turned and scaled onto the landmarks (Kabsch, least
    squares in space). Yaw is positive when the face turns to the right side of the picture, pitch when it looks down,
    roll when it leans clockwise as seen: the signs of the avatars' traits. Pitch 0 is that of the mean portrait, so
    compare pitches of one person only.

    -> (..., 3)
    """
    names, template = rigid_template()
    seen = points[..., names, :].double()
    known = seen.isfinite().all((-1, -2))
    seen = torch.where(known[..., None, None], seen, template.expand_as(seen))
    seen = seen - seen.mean(-2, keepdim=True)
    centred = template - template.mean(-2, keepdim=True)
    left, _, right = torch.linalg.svd(seen.mT @ centred)
    mirrored = torch.linalg.det(left @ right).sign()
    signs = torch.stack([torch.ones_like(mirrored), torch.ones_like(mirrored), mirrored], -1)
    turn = left @ torch.diag_embed(signs) @ right                      # seen = turn @ template; turn = Rz Rx Ry
    yaw = torch.atan2(-turn[..., 2, 0], turn[..., 2, 2])
    pitch = torch.asin(turn[..., 2, 1].clamp(-1, 1))
    roll = torch.atan2(-turn[..., 0, 1], turn[..., 1, 1])
    angles = torch.stack([-yaw, pitch, roll], -1).rad2deg()
    return torch.where(known[..., None], angles, torch.nan).to(points.dtype)


def rigid_template() -> tuple[list[int], Tensor]:
    """Return the numbers of the points of the mean face and where they lie: (48, 3) float64."""
    rows = {**ON_THE_MIDDLE}
    for (right, left), (x, y, z) in ON_BOTH_SIDES.items():
        rows |= {left: (x, y, z), right: (-x, y, z)}
    return list(rows), torch.tensor(list(rows.values()), dtype=torch.float64) / 1000
