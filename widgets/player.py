"""The video with its sound, while it is made and afterwards; and two videos against each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.preview import encoded, strip
from liveavatar.runs.info import RUNNING
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError
from widgets._decoding import GUESS, decoding
from widgets._live import Body, Buffers, Cursor, LiveView, do_nothing, run_of, sentence
from widgets._run_pair import RunPair, pair_names

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from liveavatar.types import Speech
    from widgets._decoding import Job
    from widgets._live import Source

SHOWN = {"one": "A alone", "side": "side by side", "wipe": "wipe", "blink": "blink", "difference": "difference"}
QUALITY = {"quality": 95, "subsampling": 0}     # of the JPEGs; colours as sharp as the rest: mouths are small
BLOCKS_A_MESSAGE = 6
FEW_WORDS = 3                # differences that a name tells


class Player(LiveView):
    """Plays the blocks as they are decoded, with their sound; waits when they come slower than they are played.

    While a run pauses inside a block, the guess of its newest step is shown in that block's place, decoded. With
    `other` two runs are compared, on the same clock: below them is where their latents and pictures part, and the
    figures of both (`player.pair`). The player drives the time cursor and follows it.
    """

    script = "player.js"
    nothing = "Nothing to play yet: give a run, Player(run), the folder of a saved one, or a video, Player('a.mp4')."
    drawn_after = (Block,)

    show = traitlets.Enum(list(SHOWN), "side", help="how two runs are compared: " + ", ".join(SHOWN)).tag(
        sync=True, code=True)
    split = traitlets.Float(0.5, min=0, max=1, help="where the wipe stands: left of it A, right of it B, 0 to 1").tag(
        sync=True, code=True)
    blink_s = traitlets.Float(0.5, min=0.1, max=5, help="seconds for which the blink shows each of the two").tag(
        sync=True, code=True)
    gain = traitlets.Float(4.0, min=1, max=32, help="how many times the difference is made brighter").tag(
        sync=True, code=True)
    sound = traitlets.Enum(["a", "b", "off"], "a", help="whose sound is heard: a, b or off").tag(sync=True, code=True)
    speed = traitlets.Float(1.0, min=0.1, max=4, help="how fast it is played, 1 is real time; the pitch follows").tag(
        sync=True, code=True)
    loop = traitlets.Bool(False, help="begin again at the end").tag(sync=True, code=True)
    autoplay = traitlets.Bool(True, help="play as soon as a run that has just begun has its first block; a branch is "
                                         "shown where it begins").tag(sync=True, code=True)
    height_px = traitlets.Int(384, min=64, max=2000, help="height of the picture in pixels").tag(sync=True, code=True)
    playing = traitlets.Bool(False, help="whether it is being played; set it to play or pause").tag(sync=True)
    _keys = traitlets.Unicode("space: play or pause. Arrow keys: one frame back or on. Home: the beginning.").tag(
        sync=True)

    def __init__(self, source: Source | None = None, other: Source | None = None, *, cursor: Cursor | None = None,
                 **traits: object) -> None:
        self.other: Run | None = None
        self._pair: RunPair | None = None
        self._unsubscribe_other: Callable[[], None] = do_nothing
        self._sent: set[tuple[str, int]] = set()
        self._heard = False                          # the sound has been sent
        self._live = False                           # the run began while it was shown here
        self._guess_sent: tuple = ()                 # (block, step, decoded) of the guess that was sent
        super().__init__(source, cursor=cursor, **traits)
        if other is not None:
            self.compare(other)

    def compare(self, other: Source | None) -> None:
        """Show another run, a saved one or a video file against the first. None: the first alone again."""
        self._leave_other()
        with self._lock:
            try:
                self.other = run_of(other)
                self._report("compare", "")
            except InputError as problem:
                self.other = None
                self._report("compare", sentence(problem))
        if self.other is not None:
            self._unsubscribe_other = self.other.subscribe(lambda event: self.refresh(urgent=False))
        self.refresh(full=True)

    def close(self) -> None:
        self._leave_other()
        super().close()

    def as_code(self) -> str:
        code = super().as_code()
        return code if self.other is None else code.replace("Player(run", "Player(run, other", 1)

    # ------------------------------------------------------------------ what is on screen

    @property
    def runs(self) -> dict[str, Run]:
        """Return "a" and, where two are compared, "b"."""
        return {name: run for name, run in (("a", self.run), ("b", self.other)) if run is not None}

    @property
    def ready_s(self) -> float:
        """Return seconds of video that can be played without waiting."""
        return min((played_to_s(run) for run in self.runs.values()), default=0.0)

    @property
    def picture(self) -> np.ndarray:
        """Return (H, W, 3) uint8: the frame of A under the cursor; of the newest guess where the block is not decoded.
        """
        return self._picture("a")

    @property
    def picture_b(self) -> np.ndarray:
        """Return (H, W, 3) uint8: the frame of B under the cursor."""
        return self._picture("b")

    @property
    def guess(self) -> tuple[int, int] | None:
        """Return (block, step) whose guess is shown where the video is not decoded yet; None while the run is going."""
        if self.run is None or self.run.state == RUNNING or not self.run.recorded_steps:
            return None
        block, step = self.run.recorded_steps[-1]
        return None if self.run.decoded_block(block) is not None else (block, step)

    @property
    def difference(self) -> float:
        """Return mean absolute difference of the two frames under the cursor; 0 the same, 1 black against white."""
        a, b = self.picture, self.picture_b
        if a.shape != b.shape:
            raise InputError(f"A is {a.shape[1]}*{a.shape[0]} px and B {b.shape[1]}*{b.shape[0]}; only pictures of one "
                             "size have a difference")
        return float(np.abs(a.astype(np.int16) - b).mean() / 255)

    @property
    def pair(self) -> RunPair:
        """Return differences and figures of the two: `latents`, `pixels`, `figures`."""
        if self.run is None or self.other is None:
            raise InputError("there is no B; compare with player.compare(other_run)")
        if self._pair is None or (self._pair.run, self._pair.other) != (self.run, self.other):
            self._pair = RunPair(self.run, self.other)
        return self._pair

    @property
    def names(self) -> dict[str, str]:
        """Return what each of the two is called: where they differ, in words."""
        if self.other is None:
            return {"a": ""}
        branched = pair_names(self.run, self.other)
        if branched is not None:
            return {"a": f"A: {branched[0]}", "b": f"B: {branched[1]}"}
        differing = different_choices(self.run, self.other)
        told = {name: ", ".join(words for words, _ in differing[:FEW_WORDS]) if name == "a" else
                ", ".join(words for _, words in differing[:FEW_WORDS]) for name in ("a", "b")}
        return {name: f"{name.upper()}: {words}" if words else name.upper() for name, words in told.items()}

    def _picture(self, name: str) -> np.ndarray:
        if name not in self.runs:
            raise InputError(self.nothing if name == "a" else "there is no B; compare with player.compare(other_run)")
        picture = self.runs[name].picture_at(self.time_s)
        if picture is None and name == "a" and self.guess is not None:
            info, (block, step) = self.run.info, self.guess
            if info.block_at(self.time_s) == block:
                frames = self.run.step_frames.decode(block, step)
                return frames[min(info.frame_at(self.time_s) - block * info.block_frames, len(frames) - 1)]
        if picture is None:
            raise InputError(f"the picture at {self.time_s:.2f} s is not decoded yet")
        return picture.numpy()

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        decoding().forget(self)
        self._forget_sent()
        self._live = self.run is not None and not self.run.over and not self.run.blocks

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        if full:
            self._forget_sent()
        self._refuse_bare_traces()
        buffers: Buffers = {}
        for name, block in self._missing():
            buffers[picture_name(name, block)] = encoded(strip(block.frames.numpy()), "JPEG", **QUALITY)
            self._sent.add((name, block.index))
            if len(buffers) >= BLOCKS_A_MESSAGE:
                self.refresh(urgent=True)
                break
        sounds = self._sounds()
        if not self._heard:
            buffers |= {f"wave/{name}": samples(speech) for name, speech in sounds.items()}
            self._heard = True
        pair, jobs = self._compared()
        guess, more = self._newest_guess(jobs)
        buffers |= more
        body: Body = {"names": self.names, "guess": guess, "live": self._live, "branch": self.run.parent is not None,
                      "ready_s": self.ready_s, "total_s": self._total_s(),
                      "rates": {name: speech.rate_hz for name, speech in sounds.items()},
                      "same_noise": self.other is not None and same_noise(self.run, self.other),
                      "same_sound": self.other is not None and "b" not in sounds,
                      "pair": pair, "others": {name: facts_of(run) for name, run in self.runs.items()}}
        return body, buffers

    def still(self) -> Image | None:
        rows = {self.names[name]: run.blocks for name, run in self.runs.items() if run.blocks}
        return film_picture(rows) if rows else None

    def _compared(self) -> tuple[Body | None, dict[Hashable, Job]]:
        """Return how the two runs differ, as far as is known, and the job that finds out more."""
        if self.run is None or self.other is None or not self.other.recorded_steps:
            return None, {}
        pair = self.pair
        body, more = pair.body()
        if more:
            self.refresh(urgent=False)
        return body, {"figures": partial(getattr, pair, "figures")} if pair.waits else {}

    def _newest_guess(self, jobs: dict[Hashable, Job]) -> tuple[Body | None, Buffers]:
        """Return what the newest step believes, decoded as soon as it can be; until then its preview. jobs: others that
        the decoding thread is asked for"""
        guess, run = self.guess, self.run
        if guess is None:
            decoding().want(self, jobs, GUESS)
            return None, {}
        frames = run.step_frames.kept(*guess)
        missing = frames is None and run.decodes
        decoding().want(self, ({guess: partial(run.step_frames.decode, *guess)} if missing else {}) | jobs, GUESS)
        block, step = guess
        body: Body = {"block": block, "step": step, "steps": run.info.steps, "preview": frames is None}
        if self._guess_sent == (*guess, frames is not None):
            return body, {}
        self._guess_sent = *guess, frames is not None
        kind = "guess" if frames is not None else "preview"
        frames = run.step_frames.preview(*guess) if frames is None else frames
        return body, {f"{kind}/{block}/{strip_name(frames)}": encoded(strip(frames), "JPEG", **QUALITY)}

    def _leave_other(self) -> None:
        self._unsubscribe_other()
        self._unsubscribe_other = do_nothing

    def _total_s(self) -> float:
        return min(run.total_s for run in self.runs.values())

    def _missing(self) -> Iterator[tuple[str, Block]]:
        """Yield blocks that the browser does not have, both runs in turn."""
        blocks = [(block.index, name, block) for name, run in self.runs.items() for block in run.blocks
                  if (name, block.index) not in self._sent]
        for _, name, block in sorted(blocks, key=lambda one: one[:2]):
            yield name, block

    def _sounds(self) -> dict[str, Speech]:
        """Return the sound of each run; B's only where it is another."""
        sounds = {name: run.speech for name, run in self.runs.items() if run.speech is not None}
        if len(sounds) == 2 and np.array_equal(sounds["a"].wave, sounds["b"].wave):
            del sounds["b"]
        return sounds

    def _refuse_bare_traces(self) -> None:
        for run in self.runs.values():
            if run.speech is None and not run.blocks and run.recorded_steps and run.backend is None:
                raise InputError("This trace was saved without its run, so it has no pictures and no sound. "
                                 "Save with run.save(folder) and open that folder.")

    def _forget_sent(self) -> None:
        self._sent.clear()
        self._heard = False
        self._guess_sent = ()


def played_to_s(run: Run) -> float:
    """Return seconds from the beginning of which every picture is kept, or will not be kept any more."""
    blocks = run.blocks
    if not blocks:
        return 0.0
    last = blocks[-1]
    return last.start_s + len(last.frames) / run.info.fps


def picture_name(name: str, block: Block) -> str:
    """Return "a/block/frames/width/height" of a JPEG that holds a block's frames side by side."""
    return f"{name}/{block.index}/{strip_name(block.frames)}"


def strip_name(frames: np.ndarray | Tensor) -> str:
    """Return "frames/width/height" of pictures (T, H, W, 3)."""
    count, height, width = frames.shape[:3]
    return f"{count}/{width}/{height}"


def samples(speech: Speech) -> bytes:
    """Return the sound as 16-bit numbers."""
    return (np.clip(speech.wave, -1, 1) * 32767).astype("<i2").tobytes()


def facts_of(run: Run) -> dict:
    info = run.info
    return {"fps": info.fps, "block_frames": info.block_frames, "frames": info.frames, "ready_s": played_to_s(run),
            "state": run.state, "over": run.over, "total_s": run.total_s}


def different_choices(a: Run, b: Run) -> list[tuple[str, str]]:
    """Return what was chosen differently: [("4 steps", "2 steps"), ...]"""
    words = {"student": "{}", "sample_steps": "{} steps", "schedule": "{} noise", "sample_solver": "{}",
             "base_seed": "seed {}", "duration_s": "{} s", "video": "{}"}
    first = dict.fromkeys(words)                                     # what matters most is said first
    ours, theirs = (first | run.info.config | {"backend": run.info.backend, "student": model_of(run)}
                    for run in (a, b))
    differing = [tuple(words.get(key, key.replace("_", " ") + " {}").format(side.get(key)) for side in (ours, theirs))
                 for key in ours if ours.get(key) != theirs.get(key)]
    return [tuple("1 step" if name == "1 steps" else name for name in pair) for pair in differing]


def model_of(run: Run) -> str:
    """Return "student", or "teacher", the many-step base; "" where the run does not know its model."""
    about = {} if run.backend is None else run.backend.about()
    if "student" not in about:
        return ""
    return "student" if about["student"] else "teacher"


def same_noise(a: Run, b: Run) -> bool:
    """Tell whether two runs began from the same noise: their seed and the size of their latents are the same."""
    if not a.recorded_steps or not b.recorded_steps:
        return False
    shapes = [run.step_record(0, 0).x.shape for run in (a, b)]
    return shapes[0] == shapes[1] and a.info.config.get("base_seed", a) == b.info.config.get("base_seed", b)


def film_picture(rows: dict[str, tuple[Block, ...]], pictures: int = 8) -> Image:
    """Draw some pictures of each video side by side: for a saved notebook."""
    from PIL import Image

    from widgets._stills import SOFT, letters, sheet

    side, gap, top = 112, 6, 40
    page, pen = sheet(14 + pictures * (side + gap) + 10, top + len(rows) * (side + 30) + 8, "The video")
    for row, (name, blocks) in enumerate(rows.items()):
        frames = np.concatenate([block.frames.numpy() for block in blocks])
        chosen = frames[np.linspace(0, len(frames) - 1, pictures).astype(int)]
        height = round(side * chosen.shape[1] / chosen.shape[2])
        y = top + row * (side + 30)
        for column, frame in enumerate(chosen):
            small = Image.fromarray(frame).resize((side, height), Image.Resampling.BICUBIC)
            small.thumbnail((side, side))
            page.paste(small, (14 + column * (side + gap), y))
        pen.text((14, y + side + 5), name or f"{len(frames)} pictures", SOFT, letters(12))
    return page
