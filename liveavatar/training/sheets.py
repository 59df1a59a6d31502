"""Pictures of training: sheets of video frames, and the curve of the loss.

    python -m liveavatar.training.sheets .train/vae/training.json      draws the curve again
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from torch import Tensor


def draw_curve(log: Path) -> Path:
    """Draw the history of a training.json beside it as loss.png."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    record = json.loads(Path(log).read_text())
    history = record["history"]
    names = [name for name in (history[0] if history else {}) if name not in ("step", "minutes")]
    figure, axes = pyplot.subplots(1, max(len(names), 1), figsize=(3.2 * max(len(names), 1), 2.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=False):
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        axis.plot(*zip(*points, strict=True), linewidth=0.8)
        if all(value > 0 for _, value in points):
            axis.set_yscale("log")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7, which="both")
    figure.suptitle(f"{record['title']}: {record['step']} steps, {record['minutes']:.1f} min", fontsize=9)
    figure.tight_layout()
    path = Path(log).with_name("loss.png")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def write_png(picture: Tensor, path: Path) -> Path:
    """Write a picture (3, H, W) 0..1 as a PNG file."""
    from PIL import Image

    pixels = (picture.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()   # (H, W, 3)
    Image.fromarray(pixels).save(path, "PNG")
    return Path(path)


def tile(pictures: Tensor) -> Tensor:
    """Tile pictures (rows, columns, 3, H, W)  ->  one picture (3, rows*H, columns*W)"""
    rows, columns, _, H, W = pictures.shape
    return pictures.permute(2, 0, 3, 1, 4).reshape(3, rows * H, columns * W)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the loss curve of a training.json again.")
    parser.add_argument("log", type=Path)
    print(draw_curve(parser.parse_args().log))
