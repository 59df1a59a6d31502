"""A portrait with known landmarks: the mean of many faces, on a picture of soft colours. Nobody's likeness."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from liveavatar.puppets.people import Portraits

SIDE = 96


def landmarks(gap=0.0, lean=0.0, side=SIDE):
    """(1, 478, 3) px; gap opens the mouth by so many distances between the eyes, lean turns the head in the picture."""
    with np.load(Path(__file__).parent / "data" / "mean_face.npz") as file:
        points = torch.from_numpy(file["points"].astype(np.float32))
    from liveavatar.puppets import topology as mesh

    points[list(mesh.LOWER_LIP_INNER[1:-1]), 1] += gap
    points[list(mesh.LOWER_LIP_OUTER[1:-1]), 1] += gap
    points[152, 1] += gap
    cos, sin = np.cos(lean), np.sin(lean)
    x, y, z = points.unbind(1)
    scale = 0.24 * side
    turned = torch.stack([cos * x - sin * y, sin * x + cos * y, z], 1) * scale
    return (turned + torch.tensor([side / 2, 0.42 * side, 0.0]))[None]


def portraits(count=1, seed=0, **shape):
    """Pictures of soft colours with lips of another colour, and a person's mask."""
    points = landmarks(**shape).repeat(count, 1, 1)
    soft = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    picture = F.interpolate(soft, size=(SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1) * 0.5 + 0.3
    line = torch.arange(128) / 128
    person = ((line[None] - 0.5).abs() < 0.3) & (line[:, None] > 0.15)
    return Portraits((255 * picture).round().byte(), points, person.float().expand(count, -1, -1),
                     tuple(f"{number}.jpg" for number in range(count)))
