"""What is asked for: one frozen value that refuses nonsense when it is made, before anything heavy is loaded.

Nothing here imports torch, so that the command line can answer a slip of the finger at once.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from liveavatar.types import InputError
from liveavatar.wording import did_you_mean

BLOCK_FRAMES = 12                 # infer_frames comes in whole blocks of 12 video frames
BLOCK_LATENTS = 3                 # and rings in whole blocks of 3 latent frames
LONGEST_RING = 48                 # latent frames
CACHE_LEVELS = ("own", "clean")
SMALLEST_SIDE, LARGEST_SIDE, SIDE_MULTIPLE = 32, 2048, 16
MOST_STEPS = 50
SOLVERS = ("euler", "renoise")
SCHEDULES = ("trained", "released", "linear")
CLEANERS = ("wiener", "noisereduce")


@dataclass(frozen=True)
class GenerationConfig:
    """Describe how a video is made. Names follow the command line of the released Live Avatar.

    size is an area: "W*H" text or (height, width); the aspect follows the portrait. None is the size the weights were
    trained for, into which the portrait is cropped.
    sample_solver None is the one the weights were trained with.
    """

    sample_steps: int = 4
    size: tuple[int, int] | str | None = None
    infer_frames: int = 48                   # video frames in a clip
    num_clip: int | None = None              # at most so many clips; None: as long as the sound
    base_seed: int = 420
    sample_solver: str | None = None         # "euler" | "renoise"
    schedule: str | tuple[float, ...] = "trained"   # a name, or noise levels falling from 1 to 0, steps + 1 of them
    shift: float | None = None               # of the noise levels; None: as the weights were trained
    crop: str | tuple[int, int, int, int] = "auto"  # "auto": a photograph to head and shoulders, where the model was
                                             # trained on such; "none"; or left, top, right, bottom in pixels
    portrait_strength: float = 1.0           # 1: the whole portrait; less: only its blurred colours; 0: none
    sound_strength: float = 1.0              # 1: the sound as it is; less: mixed with noise; 0: none
    ring_frames: int | None = None           # latent frames that a block sees, itself included; None: as trained
    portrait_sink: bool = True               # False: the portrait is forgotten once the ring is full, as frames are
    cache_level: str = "own"                 # "own": earlier blocks are seen at the noise level of the step;
                                             # "clean": finished, from one cache, which costs a pass more a block
    guidance: float = 1.0                    # 1 is off; above it only models that were not distilled gain
    enable_online_decode: bool = True        # decode each block when it is ready; False: all after the last one
    offload_model: bool = False              # move parts to main memory while they rest (no effect on a CPU)
    label: bool | None = None                # burn a small visible mark into the video; None: into those of photographs
    pose_video: str | None = None            # path of a video whose poses are followed (wan-s2v-14b only)
    start_s: float = 0.0                     # of the recording
    duration_s: float | None = None
    clean: str | None = None                 # "wiener" | "noisereduce": what the model hears; the video keeps the sound

    def __post_init__(self) -> None:
        check_whole("sample_steps", self.sample_steps, 1, MOST_STEPS, "4 is what the fast model was trained for")
        check_whole("base_seed", self.base_seed, 0, 2**63 - 1, "any such number gives its own video, for example 420")
        check_infer_frames(self.infer_frames)
        if self.num_clip is not None:
            check_whole("num_clip", self.num_clip, 1, 10**6, "leave it out to follow the sound to its end")
        check_choice("sample_solver", self.sample_solver, (None, *SOLVERS))
        check_choice("clean", self.clean, (None, *CLEANERS))
        if self.shift is not None:
            check_between("shift", self.shift, 0.1, 100)
        object.__setattr__(self, "crop", check_crop(self.crop))
        check_between("portrait_strength", self.portrait_strength, 0, 1)
        check_between("sound_strength", self.sound_strength, 0, 1)
        check_ring_frames(self.ring_frames)
        if not isinstance(self.portrait_sink, bool):
            raise InputError(f"portrait_sink is {self.portrait_sink!r}; it must be True or False")
        check_choice("cache_level", self.cache_level, CACHE_LEVELS)
        check_between("guidance", self.guidance, 0, 20)
        check_between("start_s", self.start_s, 0, math.inf)
        if self.duration_s is not None:
            check_between("duration_s", self.duration_s, 0.04, math.inf)
        if self.size is not None:
            object.__setattr__(self, "size", parse_size(self.size))
        object.__setattr__(self, "schedule", check_schedule(self.schedule, self.sample_steps))

    @property
    def most_frames(self) -> float:
        """Return video frames at most: `num_clip` clips of `infer_frames`."""
        return math.inf if self.num_clip is None else self.num_clip * self.infer_frames

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> GenerationConfig:
        """Make a configuration from JSON: lists become tuples again."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def check_whole(name: str, value: object, least: int, most: int, remedy: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name} is {value!r}; it must be a whole number from {least} to {most}: {remedy}")


def check_between(name: str, value: object, least: float, most: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        reach = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise InputError(f"{name} is {value!r}; it must be a number {reach}")


def check_choice(name: str, value: object, known: tuple) -> None:
    if value not in known:
        names = [one for one in known if one is not None]
        raise InputError(f"{name} is {value!r}; known: {', '.join(map(repr, names))}{did_you_mean(value, names)}")


def check_crop(crop: Any) -> str | tuple[int, int, int, int]:
    if crop in ("auto", "none"):
        return crop
    try:
        left, top, right, bottom = (int(side) for side in (crop.split(",") if isinstance(crop, str) else crop))
    except (TypeError, ValueError):
        raise InputError(f'crop is {crop!r}; give "auto", "none", or the edges of a box in pixels of the picture: '
                         'left,top,right,bottom, for example "40,0,552,512"') from None
    if right <= left or bottom <= top:
        raise InputError(f"crop is {crop!r}, a box {right - left} px wide and {bottom - top} px high; the order is "
                         "left,top,right,bottom")
    return left, top, right, bottom


def check_infer_frames(frames: object) -> None:
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1 or frames % BLOCK_FRAMES:
        remedy = "48 is usual"
        if isinstance(frames, int) and frames > 0:
            below = frames // BLOCK_FRAMES * BLOCK_FRAMES
            nearest = [str(near) for near in (below, below + BLOCK_FRAMES) if near > 0]
            remedy = f"the nearest are {' and '.join(nearest)}" if len(nearest) > 1 else f"the nearest is {nearest[0]}"
        raise InputError(f"infer_frames is {frames!r}; a clip is made of blocks of {BLOCK_FRAMES} video frames: "
                         f"{remedy}")


def check_ring_frames(frames: object) -> None:
    """Refuse a length of the ring that is no whole number of blocks. Raises InputError."""
    whole = isinstance(frames, int) and not isinstance(frames, bool)
    if frames is not None and not (whole and frames % BLOCK_LATENTS == 0 and BLOCK_LATENTS <= frames <= LONGEST_RING):
        raise InputError(f"ring_frames is {frames!r}; a ring holds whole blocks of {BLOCK_LATENTS} latent frames, the "
                         f"one being made included: a multiple of {BLOCK_LATENTS} from {BLOCK_LATENTS} to "
                         f"{LONGEST_RING}, for example 9; leave it out for that of training")


def check_schedule(schedule: Any, steps: int) -> str | tuple[float, ...]:
    if isinstance(schedule, str):
        check_choice("schedule", schedule, SCHEDULES)
        return schedule
    try:
        levels = tuple(float(level) for level in schedule)
    except (TypeError, ValueError):
        raise InputError(f"schedule is {schedule!r}; give one of {', '.join(SCHEDULES)} or a list of noise levels "
                         "such as (1.0, 0.9, 0.75, 0.5, 0.0)") from None
    falling = all(a > b for a, b in pairwise(levels))
    if len(levels) < 2 or not falling or not 0 < levels[0] <= 1 or levels[-1] != 0:
        raise InputError(f"schedule {levels} must fall from at most 1 to 0, for example (1.0, 0.9, 0.75, 0.5, 0.0)")
    if len(levels) != steps + 1:
        raise InputError(f"schedule has {len(levels)} levels, that is {len(levels) - 1} steps, but sample_steps is "
                         f"{steps}; use sample_steps={len(levels) - 1}")
    return levels


def parse_size(size: Any) -> tuple[int, int]:
    """Parse "W*H" or (height, width) -> (height, width)"""
    if isinstance(size, str):
        parts = size.lower().replace("x", "*").split("*")
        if len(parts) != 2 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
            raise InputError(f"size is {size!r}; write width*height in pixels, for example 256*256")
        width, height = (int(part) for part in parts)
    else:
        try:
            height, width = size
            whole = all(isinstance(side, int) and not isinstance(side, bool) for side in (height, width))
        except (TypeError, ValueError):
            whole = False
        if not whole:
            raise InputError(f"size is {size!r}; give (height, width) in pixels or text such as '256*256'")
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE and side % SIDE_MULTIPLE == 0 for side in (height, width)):
        raise InputError(f"size is {width}*{height}; both sides must be multiples of {SIDE_MULTIPLE} from "
                         f"{SMALLEST_SIDE} to {LARGEST_SIDE}: try {near_side(width)}*{near_side(height)}")
    return height, width


def near_side(side: int) -> int:
    return min(max(round(side / SIDE_MULTIPLE) * SIDE_MULTIPLE, SMALLEST_SIDE), LARGEST_SIDE)


def size_text(size: tuple[int, int]) -> str:
    """Format (height, width) as "W*H", as the command line writes it."""
    return f"{size[1]}*{size[0]}"
