"""Measure the reader of real faces: how exact, from what size on, how often it sees faces that are none, how fast.

    python benchmarks/faces.py --portraits DIR [--photo fashion_blogger.jpg ...] [--quick]

DIR holds index.csv, landmarks.npz (478 points a picture, by MediaPipe), train/ and val/; the pictures are not part of
this project. Parts that need what is not given are left out. Writes benchmarks/results/faces.md.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from liveavatar.avatars import LANDMARKS, avatar, motion_index, random_identities, render, rest_pose
from liveavatar.avatars import landmarks as true_landmarks
from liveavatar.faces import detect_faces, landmarks, read_faces
from liveavatar.faces.networks import load_networks
from liveavatar.metrics.reader import as_uint8

RESULTS = Path(__file__).parent / "results" / "faces.md"
HEIGHTS_PX = (12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 400)
IN_A_PICTURE_PX = (20, 32, 64)
LONGEST_TAIL = 0.95


# ---------------------------------------------------------------------------------------------- what is measured on
class Portraits:
    """Pictures with landmarks: names, pictures, points (478, 3) px, style."""

    def __init__(self, folder: Path, every: int) -> None:
        table = np.load(folder / "landmarks.npz")
        points = dict(zip(map(str, table["names"]), table["points"].astype(np.float32), strict=True))
        rows = list(csv.DictReader((folder / "index.csv").open()))[::every]
        self.styles = [row["style"] for row in rows]
        self.paths = [folder / row["split"] / row["file"] for row in rows]
        self.points = [torch.from_numpy(points.get(row["file"], points.get(row["file"].rsplit(".", 1)[0])))
                       for row in rows]

    def __iter__(self):
        return ((load(path), points) for path, points in zip(self.paths, self.points, strict=True))


def load(path: Path) -> Tensor:
    """(3, H, W) 0..1"""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255


def scaled(picture: Tensor, factor: float) -> tuple[Tensor, float]:
    """A picture of another size, and by what factor it really is."""
    size = [max(8, round(side * factor)) for side in picture.shape[-2:]]
    small = F.interpolate(picture[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
    return small, size[0] / picture.shape[-2]


def off(found: Tensor, truth: Tensor, points: slice | list[int] = slice(468)) -> float:
    """Mean distance of landmarks (478, 3) in the picture, in shares of the eye distance."""
    unit = (truth[33, :2] - truth[263, :2]).norm()
    return float((found[points, :2] - truth[points, :2]).norm(dim=-1).mean() / unit)


def table(heads: list[str], rows: list[list]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# ---------------------------------------------------------------------------------------------- the parts
def agreement(portraits: Portraits) -> str:
    """End to end against the given landmarks, by style."""
    errors: dict[str, list[float]] = {}
    missed = 0
    for (picture, truth), style in zip(portraits, portraits.styles, strict=True):
        faces = detect_faces(picture)
        if not faces:
            missed += 1
            continue
        error = off(landmarks(picture, faces[:1]).points[0], truth)
        errors.setdefault(style, []).append(error)
        errors.setdefault("all", []).append(error)
    rows = [[style, len(values), f"{np.mean(values):.4f}", f"{np.median(values):.4f}",
             f"{np.quantile(values, LONGEST_TAIL):.4f}", f"{max(values):.4f}"] for style, values in errors.items()]
    return (f"Found in {len(portraits.paths) - missed} of {len(portraits.paths)} pictures of 384 px. Distance from the "
            "given landmarks (MediaPipe's own run on the same pictures), mean over 468 points, in shares of the "
            "distance between the outer corners of the eyes:\n\n" +
            table(["style", "pictures", "mean", "median", "95 %", "worst"], rows))


def by_size(portraits: Portraits) -> str:
    """Found and exact against the height of the face."""
    rows = []
    for height in HEIGHTS_PX:
        errors, gaps, count = [], [], 0
        for picture, truth in portraits:
            small, factor = scaled(picture, height / float((truth[10, :2] - truth[152, :2]).norm()))
            here, faces = truth * factor, detect_faces(small)
            count += 1
            if faces:
                found = landmarks(small, faces[:1]).points[0]
                unit = (here[33, :2] - here[263, :2]).norm()
                errors.append(off(found, here))
                gaps.append(abs(float((lip_gap(found) - lip_gap(here)) / unit)))
        rows.append([height, f"{len(errors) / count:.1%}", *(f"{np.mean(values):.4f}" if values else "-"
                                                           for values in (errors, gaps))])
    return (f"{count} portraits scaled so that the face, upper forehead to chin, is that high:\n\n" +
            table(["face, px", "found", "landmarks, share of eye distance", "gap of the lips, the same"], rows))


def lip_gap(points: Tensor) -> Tensor:
    return (points[13, :2] - points[14, :2]).norm()


def in_a_picture(portraits: Portraits) -> str:
    """Small faces in a picture of 640 x 480: they must be searched for."""
    generator, rows = torch.Generator().manual_seed(0), []
    ground = F.interpolate(torch.rand(1, 3, 5, 6, generator=generator), (480, 640), mode="bicubic")[0].clamp(0, 1)
    for height in IN_A_PICTURE_PX:
        found, count = 0, 0
        for picture, truth in portraits:
            small, factor = scaled(picture, height / float((truth[10, :2] - truth[152, :2]).norm()))
            if max(small.shape[-2:]) > 480:
                continue
            top, left = (int(torch.randint(0, limit - side + 1, (1,), generator=generator))
                         for limit, side in zip((480, 640), small.shape[-2:], strict=True))
            whole = ground.clone()
            whole[:, top:top + small.shape[1], left:left + small.shape[2]] = small
            nose = truth[1, :2] * factor + torch.tensor([left, top])
            found += any(face.box[0] < nose[0] < face.box[2] and face.box[1] < nose[1] < face.box[3]
                         for face in detect_faces(whole))
            count += 1
        rows.append([height, count, f"{found / count:.1%}"])
    return "In a picture of 640 x 480 px, at a random place:\n\n" + table(["face, px", "pictures", "found"], rows)


def textures(count: int, side: int = 256) -> list[Tensor]:
    """Procedural pictures without a face: noise, clouds, waves, ellipses, cells, skin with dark spots."""
    generator, made = torch.Generator().manual_seed(0), []
    y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def spots(ground: Tensor, number: int, largest: float, paint) -> Tensor:
        for _ in range(number):
            centre, radius, squeeze = rand(2), 0.02 + largest * rand(1), 0.5 + rand(1)
            inside = (x - centre[0]) ** 2 + ((y - centre[1]) / squeeze) ** 2 < radius ** 2
            ground = torch.where(inside, paint(ground), ground)
        return ground

    def clouds() -> Tensor:
        layers = [F.interpolate(rand(1, 3, 2 ** level, 2 ** level), (side, side), mode="bicubic")[0] / 1.6 ** level
                  for level in range(1, 8)]
        total = sum(layers)
        return (total - total.min()) / (total.max() - total.min())

    def waves() -> Tensor:
        turns, rates = rand(3) * 6.28, rand(3) * 40 + 2
        return torch.stack([0.5 + 0.5 * torch.sin(rate * 6.28 * (x * turn.cos() + y * turn.sin()))
                            for rate, turn in zip(rates, turns, strict=True)])

    def skin() -> Tensor:
        shade = 0.7 + 0.3 * F.interpolate(rand(1, 1, 6, 6), (side, side), mode="bicubic")[0]
        return spots(torch.tensor([0.8, 0.6, 0.5])[:, None, None] * shade, 4, 0.08, lambda ground: ground * rand(1))

    kinds = (lambda: rand(3, side, side), clouds, waves,
             lambda: spots(rand(3, 1, 1).expand(-1, side, side), 14, 0.2, lambda _: rand(3, 1, 1)),
             lambda: F.interpolate(rand(1, 3, 17, 23), (side, side))[0], skin)
    for number in range(count):
        made.append(kinds[number % len(kinds)]().clamp(0, 1))
    return made


def hands(count: int) -> list[Tensor]:
    """Pieces of rendered avatars around a hand, without the head."""
    generator = torch.Generator().manual_seed(0)
    identity, motion = random_identities(count, generator), rest_pose(count)
    for name, low, high in (("left_hand_x", -0.75, -0.3), ("left_hand_y", 0.3, 0.6), ("left_hand_spread", 0, 1),
                            ("left_hand_curl", 0, 1)):
        motion[:, motion_index(name)] = low + (high - low) * torch.rand(count, generator=generator)
    size = (256, 256)
    pictures, places = render(identity, motion, size), true_landmarks(identity, motion, size)
    pieces = []
    for picture, place in zip(pictures, places[:, LANDMARKS.index("left_hand")], strict=True):
        left, top = (int(min(max(middle - 48, 0), 160)) for middle in place.tolist())
        pieces.append(picture[:, max(top, 140):max(top, 140) + 96, left:left + 96])
    return pieces


def crops_beside(portraits: Portraits, count: int) -> list[Tensor]:
    """Pieces of 64 to 200 px of portraits that do not touch the face."""
    generator, pieces = np.random.default_rng(0), []
    pairs = list(portraits)
    while len(pieces) < count:
        picture, truth = pairs[generator.integers(len(pairs))]
        low, high = truth[:468, :2].amin(0) - 19, truth[:468, :2].amax(0) + 12
        side = int(generator.integers(64, 200))
        left, top = (int(generator.integers(0, extent - side)) for extent in picture.shape[:0:-1])
        if left > high[0] or left + side < low[0] or top > high[1] or top + side < low[1]:
            pieces.append(picture[:, top:top + side, left:left + side])
    return pieces


def crops_below(picture: Tensor, count: int) -> list[Tensor]:
    """Pieces of a photo below its largest face."""
    generator, pieces = np.random.default_rng(0), []
    height, width = picture.shape[-2:]
    floor = int(detect_faces(picture)[0].box[3] * 1.05) + 1
    while len(pieces) < count:
        side = int(generator.integers(64, min(width, height - floor)))
        top, left = int(generator.integers(floor, height - side + 1)), int(generator.integers(0, width - side + 1))
        pieces.append(picture[:, top:top + side, left:left + side])
    return pieces


def false_alarms(sets: dict[str, list[Tensor]]) -> str:
    rows = []
    for name, pictures in sets.items():
        rates = [np.mean([bool(detect_faces(one, search=search, verify=verify)) for one in pictures])
                 for search, verify in ((False, False), (False, True), (True, True))]
        rows.append([name, len(pictures), *(f"{rate:.2%}" for rate in rates)])
    return ("Pictures in which a face is found though there is none, at the default thresholds:\n\n" +
            table(["pictures", "number", "detector alone", "and the mesh", "searched in tiles as well"], rows))


def avatars(count: int) -> str:
    """How often rendered avatars are found, and what the mesh reads off mouths of known aperture."""
    found = {side: np.mean([bool(detect_faces(avatar(seed, size=(side, side)).pixels, search=False))
                            for seed in range(count)]) for side in (128, 256)}
    rows = []
    for side in (128, 256):
        correlations, lines = [], []
        for person in range(8):
            generator = torch.Generator().manual_seed(person)
            motion = rest_pose(40)
            for name, low, high in (("mouth_aperture", 0, 1), ("mouth_width", -0.3, 0.6), ("head_yaw", -0.8, 0.8),
                                    ("head_pitch", -0.5, 0.5), ("head_roll", -0.2, 0.2), ("blink", 0, 1)):
                motion[:, motion_index(name)] = low + (high - low) * torch.rand(40, generator=generator)
            truth = motion[:, motion_index("mouth_aperture")]
            truth[::5] = 0
            identity = random_identities(1, generator).expand(40, -1)
            read = read_faces(as_uint8(render(identity, motion, (side, side))), "each").mouth_aperture
            correlations.append(np.corrcoef(truth, read)[0, 1])
            lines.append(np.polyfit(truth, read, 1))
        gain, closed = np.mean(lines, 0)
        rows.append([side, f"{found[side]:.1%}", f"{np.mean(correlations):.3f}", f"{closed:.3f}", f"{gain:.3f}"])
    return (f"{count} portraits; then 8 people with 40 random poses each (yaw, pitch, roll, blink, mouth width):\n\n" +
            table(["side, px", "found", "mouth: correlation with the truth", "aperture of closed lips",
                     "gain a unit of the trait"], rows))


def speed() -> str:
    """CPU time of the networks on one thread: what other work on the machine takes is not in it."""
    torch.set_num_threads(1)
    rows = []
    for name, network, side in zip(("detector", "mesh"), load_networks(), (128, 192), strict=True):
        times = []
        for batch in (1, 16):
            pictures = torch.rand(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                times.append(min(cpu_ms(lambda p=pictures, n=network: n(p)) for _ in range(20)) / batch)
        rows.append([name, *(f"{value:.1f}" for value in times)])
    return ("Milliseconds of CPU time a picture, one thread, least of 20; the machine was busy with other work:\n\n" +
            table(["network", "alone", "16 at once"], rows))


def cpu_ms(call) -> float:
    began = time.process_time()
    call()
    return 1000 * (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--portraits", type=Path)
    parser.add_argument("--photo", type=Path, nargs="*", default=[])
    parser.add_argument("--quick", action="store_true", help="a tenth of the pictures, for a look")
    arguments = parser.parse_args()
    few = 10 if arguments.quick else 1
    parts = {"Speed": speed(), "Rendered avatars": avatars(200 // few)}
    sets = {"procedural": textures(1200 // few), "hands of avatars": hands(200 // few)}
    sets |= {f"{path.stem}, below the face": crops_below(load(path), 400 // few) for path in arguments.photo}
    if arguments.portraits:
        everything, third = (Portraits(arguments.portraits, every * few) for every in (1, 3))
        sets["portraits, beside the face"] = crops_beside(everything, 800 // few)
        parts |= {"Against MediaPipe": agreement(everything), "By size": by_size(third),
                  "Small faces in a picture": in_a_picture(third)}
    parts["False alarms"] = false_alarms(sets)
    text = ("# The reader of real faces, measured\n\n"
            "Made by `python benchmarks/faces.py --portraits DIR --photo FILE`.\n")
    RESULTS.write_text(text + "".join(f"\n## {name}\n\n{part}" for name, part in parts.items()))
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
