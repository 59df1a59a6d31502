"""One stream of a drift study: made block by block, measured, and gone on with after a stop or in another process.

Nothing is kept but curves, a few small pictures, and what the next block depends on: caches, the latents of two blocks
for the decoder's memory, one picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from liveavatar.checksums import pack_tensors, read_tensors
from liveavatar.config import GenerationConfig, check_choice, check_whole
from liveavatar.files import write_whole
from liveavatar.metrics.stream_drift import DriftMeter, DriftPoint
from liveavatar.rollout import Rollout, roll_out
from liveavatar.runfolder import pack, unpack
from liveavatar.types import InputError, Step

if TYPE_CHECKING:
    from liveavatar.backends import PictureDecoder
    from liveavatar.pipeline import Pipeline
    from liveavatar.types import Condition

WARM_UP_BLOCKS = 2          # what mini's decoder looks back at most
THUMBNAIL_PX, MOST_THUMBNAILS = 96, 24
SAVE_EVERY = 25             # blocks, where there is a folder

Kind = Literal["jump", "colours"]


@dataclass(frozen=True)
class PlantedFault:
    """A fault put into the finished pictures of a stream, to see whether the measures find it."""

    kind: Kind                  # "jump": the picture stands elsewhere; "colours": red and blue are others
    block: int                  # from this one on
    size: float = 8.0           # pixels of 256 across, or levels of 255

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("jump", "colours"))
        check_whole("block", self.block, 1, 10**6, "block 0 has nothing before it")

    def apply(self, block: int, frames: Tensor) -> Tensor:
        """Put the fault into the pictures (T, H, W, 3) uint8 of a block."""
        if block < self.block:
            return frames
        if self.kind == "jump":
            return frames.roll(round(self.size * frames.shape[2] / 256), 2)
        shift = self.size * torch.tensor([1.0, 0.0, -1.0], device=frames.device)
        return (frames.float() + shift).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class StreamSetting:
    """Describe how one stream differs from the others."""

    name: str
    changes: dict[str, object] = field(default_factory=dict)     # names and values of GenerationConfig
    fault: PlantedFault | None = None

    def config(self, base: GenerationConfig) -> GenerationConfig:
        """Return how the stream is made. Raises InputError for what cannot be."""
        try:
            return replace(base, **self.changes)
        except TypeError:
            unknown = sorted(set(self.changes) - set(base.to_dict()))
            raise InputError(f"setting {self.name!r} changes {unknown[0]!r}, which GenerationConfig does not know; "
                             f"known: {', '.join(base.to_dict())}") from None


class DriftStream:
    """One stream: `advance` makes, decodes and measures its next block."""

    def __init__(self, setting: StreamSetting, pipeline: Pipeline, condition: Condition, config: GenerationConfig,
                 portrait: Tensor, path: Path | None = None) -> None:
        """Take what the stream is made from. portrait: (3, H, W) 0..1 in the size of the video; path: without suffix,
        where curve and state are kept; what is there is gone on with. Raises InputError where that cannot be read."""
        self.setting, self.config = setting, config
        self.points: list[DriftPoint] = []
        self.thumbnails: dict[int, Tensor] = {}            # block -> (h, w, 3) uint8
        self.newest: Tensor | None = None                  # likewise, of the newest block
        backend = pipeline.backend
        self.blocks = condition.frames // pipeline.block_frames        # whole ones
        self._pipeline, self._condition, self._path = pipeline, condition, path
        self._meter = DriftMeter(portrait, pipeline.block_frames / backend.fps)
        self._decoder: PictureDecoder = backend.decoder(condition)
        self._recent: list[Tensor] = []                    # latents of the newest blocks
        self._next, self._thumbnail_every = 0, 1
        self._steps: Iterator[tuple[Step, Rollout | None]] | None = None
        self._rollout: Rollout | None = None
        self._written = 0                                  # points that are in the file
        if path is not None:
            self.points = read_curve(curve_of(path))[:self.blocks]
            self._written = len(self.points)
            self._restore_pictures(self._saved()[0])

    def __repr__(self) -> str:
        return f"DriftStream({self.setting.name!r}, {len(self.points)} of {self.blocks} blocks)"

    @property
    def done(self) -> bool:
        """Tell whether every block is measured."""
        return len(self.points) >= self.blocks

    def advance(self) -> DriftPoint | None:
        """Make and measure a block; None where it was measured before and is only made again.

        That is so after a process was killed: its curve is there, but the state of its newest blocks is not.
        """
        point = self._make()
        if point.block < len(self.points):
            return None
        self.points.append(point)
        if self._path is not None:
            append_points(curve_of(self._path), self.points[self._written:])
            self._written = len(self.points)
            if self._next % SAVE_EVERY == 0 or self.done:
                self.save()
        return point

    def _make(self) -> DriftPoint:
        if self._steps is None:
            self._steps = roll_out(self._pipeline.backend, self._condition, self.config, self._go_on)
        step, self._rollout = next(made for made in self._steps if made[1] is not None)
        self._recent = [*self._recent, step.x][-WARM_UP_BLOCKS:]
        frames = self._decoder.decode(step.x)
        if self.setting.fault is not None:
            frames = self.setting.fault.apply(step.block, frames)
        self._next = step.block + 1
        self._keep_thumbnail(step.block, frames[len(frames) // 2])
        return self._meter.measure(step.block, frames)

    def _keep_thumbnail(self, block: int, picture: Tensor) -> None:
        """Keep a small picture of every so many blocks: every second of them goes when there are too many."""
        self.newest = thumbnail(picture)
        if block % self._thumbnail_every == 0:
            self.thumbnails[block] = self.newest
        while len(self.thumbnails) > MOST_THUMBNAILS:
            self._thumbnail_every *= 2
            self.thumbnails = {at: one for at, one in self.thumbnails.items() if at % self._thumbnail_every == 0}

    # ------------------------------------------------------------------ going on in another process

    def save(self) -> None:
        """Write what the next block depends on, where there is a folder. Raises InputError where that cannot be."""
        if self._path is None or self._rollout is None or self._rollout.block != self._next:
            return
        tensors, about = pack(self._rollout)
        tensors |= {f"latents.{place}": latents.cpu() for place, latents in enumerate(self._recent)}
        tensors |= {f"meter.{name}": tensor for name, tensor in self._meter.state().items()}
        tensors |= {f"thumbnail.{block}": picture for block, picture in self.thumbnails.items()}
        tensors["newest"] = self.newest.clone()          # it may be one of the thumbnails
        try:
            data = pack_tensors(tensors, about | {"thumbnail_every": str(self._thumbnail_every)})
            write_whole(state_of(self._path), lambda part: part.write_bytes(data))
        except OSError as error:
            raise InputError(f"{state_of(self._path)} cannot be written ({error.strerror or error}); free some space, "
                             "then start again: the curves are kept") from error

    def _go_on(self, empty: Rollout) -> Rollout:
        """Return the state that was saved, or the empty one where there is none, or none that fits."""
        tensors, about = self._saved()
        if not tensors or int(about["block"]) > len(self.points):          # the curve was cut or deleted
            return empty
        device = self._pipeline.backend.device
        try:
            rollout = unpack({name: one.to(device) for name, one in tensors.items()}, about, empty)
        except (KeyError, ValueError):                     # of another model: the blocks are made from the first again
            return empty
        recent = [name for name in sorted(tensors) if name.startswith("latents.")]
        self._recent = [tensors[name] for name in recent]
        for latents in self._recent:
            self._decoder.decode(latents)
        self._meter.restore({name.removeprefix("meter."): one for name, one in tensors.items()
                             if name.startswith("meter.")})
        self._thumbnail_every = int(about["thumbnail_every"])
        self._restore_pictures(tensors)
        self._next = rollout.block
        return rollout

    def _saved(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Read what `save` wrote; nothing where there is none, or it is damaged: then all is made again."""
        if self._path is None or not state_of(self._path).is_file():
            return {}, {}
        try:
            return read_tensors(state_of(self._path))
        except Exception:                                  # safetensors raises errors of many kinds
            return {}, {}

    def _restore_pictures(self, tensors: dict[str, Tensor]) -> None:
        self.thumbnails = {int(name.removeprefix("thumbnail.")): one for name, one in tensors.items()
                           if name.startswith("thumbnail.")}
        self.newest = tensors.get("newest")                # None where nothing was saved


def thumbnail(picture: Tensor) -> Tensor:
    """Return a picture (H, W, 3) uint8 whose shorter side is THUMBNAIL_PX at most."""
    scale = THUMBNAIL_PX / min(picture.shape[:2])
    if scale >= 1:
        return picture.cpu().clone()
    small = F.interpolate(picture.permute(2, 0, 1)[None].float().cpu(), scale_factor=scale, mode="area")
    return small[0].permute(1, 2, 0).round().to(torch.uint8).contiguous()


# ---------------------------------------------------------------------------------------------- files

def curve_of(path: Path) -> Path:
    """Return the file of a stream's curve: a line of JSON for each block."""
    return path.with_name(path.name + ".jsonl")


def state_of(path: Path) -> Path:
    """Return the file of what the next block depends on."""
    return path.with_name(path.name + ".safetensors")


def append_points(path: Path, points: Sequence[DriftPoint]) -> None:
    """Add blocks to a curve. Raises InputError where the disk refuses it."""
    lines = [json.dumps(asdict(point) | {"seam": None if math.isnan(point.seam) else point.seam}) + "\n"
             for point in points]
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(lines))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); free some space, then start "
                         "again") from error


def read_curve(path: Path) -> list[DriftPoint]:
    """Read a curve as far as it is whole; a file that a killed process left half written ends a line early."""
    points: list[DriftPoint] = []
    if not path.is_file():
        return points
    whole = b""
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            values = json.loads(line) if line.endswith(b"\n") else {}
            values["seam"] = math.nan if values["seam"] is None else values["seam"]
            point = DriftPoint(**values | {name: tuple(values[name]) for name in ("mean_colour", "colour_step")})
        except (ValueError, KeyError, TypeError):
            break
        if point.block != len(points):
            break
        points.append(point)
        whole += line
    if len(whole) != path.stat().st_size:
        write_whole(path, lambda part: part.write_bytes(whole))
    return points
