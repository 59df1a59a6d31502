"""Stage 5: frames + sound -> a video file, written while it is being generated.

H.264 + AAC in `.mp4`, VP9 + Opus in `.webm`, through PyAV (no ffmpeg program is needed). The file grows under a hidden
temporary name beside its final one and gets the final name only when it is whole, so a name that exists can be played.
The temporary name is never the same twice: runs with one output name do not disturb each other. Whichever ends first
gets the name, the other one the next free name (out-2.mp4), and says so.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from liveavatar.files import (
    ffmpeg_url,
    free_name,
    hold,
    part_path,
    printable,
    put_in_place,
    stamp,
    target_of,
    user_path,
)
from liveavatar.soundtrack import SoundTrack
from liveavatar.types import InputError, Portrait, Speech

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import OutputContainer
    from torch import Tensor


@dataclass(frozen=True)
class Format:
    """Describe how one kind of file is written."""

    container: str
    video_codec: str
    video_options: dict[str, str]
    audio_codec: str
    container_options: dict[str, str]


FORMATS = {
    # One thread: the model needs the cores, and 12 pictures of 128*128 take 6 ms. No macroblock tree: with it the same
    # small pictures were now and then encoded to other bytes (x264 on x86, a few runs in a hundred at 64*64).
    ".mp4": Format("mp4", "libx264", {"crf": "18", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"},
                   "aac", {"movflags": "+faststart"}),
    ".webm": Format("webm", "libvpx-vp9", {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"},
                    "libopus", {}),
}

FONT = {   # 5 x 7 pixels, one string a row
    "A": (".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "D": ("####.", "#...#", "#...#", "#...#", "#...#", "#...#", "####."),
    "I": (".###.", "..#..", "..#..", "..#..", "..#..", "..#..", ".###."),
    "M": ("#...#", "##.##", "#.#.#", "#.#.#", "#...#", "#...#", "#...#"),
    "N": ("#...#", "##..#", "#.#.#", "#..##", "#...#", "#...#", "#...#"),
    "O": (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
}


@dataclass(frozen=True)
class Video:
    """A finished video and what it took. In a notebook it shows itself, with sound."""

    path: Path
    frames: int                      # video frames written
    size: tuple[int, int]            # (height, width) in pixels
    fps: float
    x_realtime: float                # seconds of video per second of work; higher is better
    first_picture_s: float           # from the call to the first decoded picture
    seconds: dict[str, float] = field(default_factory=dict)   # of work, by stage
    complete: bool = True            # False when it was stopped before the sound ended
    latents: tuple[Tensor, ...] | None = None                 # one (1, C, F, h, w) a block, when asked for
    run_dir: Path | None = None

    @property
    def duration_s(self) -> float:
        return self.frames / self.fps

    def __repr__(self) -> str:
        height, width = self.size
        state = "" if self.complete else ", stopped early"
        return (f"Video({str(self.path)!r}, {self.duration_s:.2f} s, {width}*{height}, {self.x_realtime:.2f}x real "
                f"time, first picture after {self.first_picture_s:.2f} s{state})")

    def _repr_html_(self) -> str:
        kind = self.path.suffix.lower().removeprefix(".")
        data = base64.b64encode(self.path.read_bytes()).decode("ascii")
        width = max(256, self.size[1])
        return (f'<video data-lm-suppress-shortcuts="true" controls playsinline width="{width}" '
                f'src="data:video/{kind};base64,{data}"></video>'
                f"<div>{self.duration_s:.2f} s of video, {self.x_realtime:.2f}x real time</div>")


def check_output(path: str | os.PathLike) -> Path:
    """Refuse an output that cannot be written, before any work is spent on it. -> its path, ~ expanded"""
    path = user_path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"output {path} ends in {path.suffix or 'nothing'!r}; known: {' and '.join(FORMATS)}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"output {path} is not a file; give the name of a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = target_of(path)
        writing = part_path(target)
        with open(writing, "wb"):
            pass
        writing.unlink()
        if os.path.exists(target) and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"output {path} cannot be written: {error.strerror or error}; "
                         "choose a folder you may write to with --output") from error
    return path


def wants_label(portrait: Portrait | None, asked: bool | None) -> bool:
    """Tell whether a video carries the visible mark: as asked for or, with None, where its portrait is a photograph:
    a picture that the renderer of this package did not make."""
    return portrait is not None and portrait.identity is None if asked is None else asked


def burn_label(frames: np.ndarray, text: str = "AI") -> np.ndarray:
    """Draw a small mark into the lower right corner: (T, H, W, 3) uint8 -> the same shape, a copy."""
    height, width = frames.shape[1:3]
    scale = max(1, min(height, width) // 112)
    rows = ["." + ".".join(FONT[letter][row] for letter in text) + "." for row in range(7)]
    margin = "." * len(rows[0])
    mask = np.array([[pixel == "#" for pixel in row] for row in (margin, *rows, margin)])
    mask = mask.repeat(scale, 0).repeat(scale, 1)
    marked = frames.copy()
    corner = marked[:, height - mask.shape[0] - scale:height - scale, width - mask.shape[1] - scale:width - scale]
    corner[:] = np.where(mask[None, :, :, None], 255, corner // 4).astype(np.uint8)
    return marked


class VideoWriter:
    """Writes pictures as they come and, with each, the stretch of sound that is heard while it is shown.

    So whenever it is closed, picture and sound end together. Use as a context: leaving it normally finishes the file
    under its own name, leaving it by an error removes what was written. `path` is where the file is in the end.
    """

    def __init__(self, path: str | os.PathLike, size: tuple[int, int], fps: float, speech: Speech | None = None,
                 metadata: dict | None = None, label: bool = False) -> None:
        height, width = size
        if height % 2 or width % 2:
            raise InputError(f"a video of {width}*{height} px has an odd side; H.264 wants even sides: "
                             f"{width - width % 2}*{height - height % 2}")
        self.path = check_output(path)
        self.size, self.fps, self.label = size, fps, label
        self.frames = 0
        self.seconds = 0.0                  # of work spent in here
        self._sound: SoundTrack | None = None
        self._container: OutputContainer | None = None
        self._before = stamp(self.path)     # of what stands under the name now
        self._part = part_path(target_of(self.path))
        self._held: BinaryIO | None = None  # marks it as being written
        self._open(FORMATS[self.path.suffix.lower()], metadata or {}, speech)

    def _open(self, form: Format, metadata: dict, speech: Speech | None) -> None:
        import av

        with self._plain_errors():
            self._container = av.open(ffmpeg_url(self._part), "w", format=form.container,
                                      options=form.container_options)
            self._held = hold(self._part)
            text = json.dumps(metadata, sort_keys=True)
            title = printable(self.path.stem)
            self._container.metadata.update({"comment": text, "description": text, "title": title})
            rate = Fraction(self.fps).limit_denominator(1001)
            self._pictures = self._container.add_stream(form.video_codec, rate=rate, options=form.video_options)
            self._pictures.height, self._pictures.width = self.size
            self._pictures.pix_fmt = "yuv420p"
            self._pictures.codec_context.time_base = 1 / rate
            self._tag_colours()
            self._colours = av.video.reformatter.VideoReformatter()     # kept: setting it up costs more than using it
            if speech is not None:
                self._sound = SoundTrack(self._container, form.audio_codec, speech)

    def _tag_colours(self) -> None:
        context = self._pictures.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1     # ITU-R BT.709, said aloud
        context.color_range = 1                                                      # 16..235

    def write(self, frames: np.ndarray | Tensor) -> None:
        """Append (T, H, W, 3) uint8 pictures and the sound that belongs to them."""
        import av

        start = time.perf_counter()
        pixels = np.ascontiguousarray(np.asarray(frames))
        if pixels.shape[1:] != (*self.size, 3) or pixels.dtype != np.uint8:
            raise ValueError(f"frames are {pixels.dtype} {pixels.shape}; this video takes uint8 (T, {self.size[0]}, "
                             f"{self.size[1]}, 3)")
        if self.label:
            pixels = burn_label(pixels)
        with self._plain_errors():
            for picture in pixels:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = self._colours.reformat(frame, format="yuv420p", dst_colorspace="ITU709",
                                               dst_color_range="MPEG")
                frame.pts, frame.time_base = self.frames, 1 / self._pictures.average_rate
                self._container.mux(self._pictures.encode(frame))
                self.frames += 1
            if self._sound is not None:
                self._sound.write_until(Fraction(self.frames) / Fraction(self.fps).limit_denominator(1001))
        self.seconds += time.perf_counter() - start

    def close(self) -> Path | None:
        """Finish the file and give it its name. Without a single picture there is nothing to keep: returns None."""
        if self._container is None:
            return self.path
        if not self.frames:
            self.discard()
            return None
        start = time.perf_counter()
        with self._plain_errors():
            self._container.mux(self._pictures.encode(None))
            if self._sound is not None:
                self._sound.finish()
            container, self._container = self._container, None
            container.close()
            self._step_aside()
            self._let_go()
            put_in_place(self._part, target_of(self.path))
        self.seconds += time.perf_counter() - start
        return self.path

    def _step_aside(self) -> None:
        """Take another name when somebody else has written under this one meanwhile."""
        if stamp(self.path) not in (self._before, None):
            taken, self.path = self.path, free_name(target_of(self.path))
            warnings.warn(f"{printable(taken)} was written by another run meanwhile; this video is "
                          f"{printable(self.path)}", stacklevel=4)

    def discard(self) -> None:
        """Drop what was written; whatever stood under the final name before is left as it was."""
        container, self._container = self._container, None
        if self._sound is not None:
            self._sound.close()
        if container is not None:
            try:
                container.close()
            except (OSError, ValueError):       # the disk may be full: the file goes anyway
                pass
        self._let_go()
        self._part.unlink(missing_ok=True)

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Turn what the disk refuses into one sentence, and leave no half file."""
        try:
            yield
        except OSError as error:
            self.discard()
            if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise InputError(f"the disk is full: {self.path} could not be finished "
                                 f"({error.strerror}); free some space or choose another --output") from error
            raise InputError(f"output {self.path} cannot be written: {error.strerror or error}; "
                             "choose another place with --output") from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def read_provenance(path: str | os.PathLike) -> dict:
    """Read what a video says about itself: that it was generated, by what and from which inputs. {} when it says
    nothing."""
    import av

    with open(user_path(path), "rb") as file, av.open(file, metadata_errors="replace") as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    for name in ("comment", "description"):
        try:
            return json.loads(tags.get(name, ""))
        except ValueError:
            continue
    return {}


def read_frames(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """Yield the pictures of a video file one by one, (H, W, 3) uint8."""
    import av

    with open(user_path(path), "rb") as file, av.open(file, metadata_errors="replace") as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
