"""Lips against sound: does the mouth open when and how it should, frame by frame and sound by sound."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from liveavatar.audio import RATE_HZ, mel_of
from liveavatar.metrics.lips import ACCEPTABLE_MS, DETECTABLE_MS, SHAPES, OffsetCurve, PhonemeReport
from liveavatar.preview import encoded
from liveavatar.types import Block, InputError, Phoneme
from widgets._lip_drawing import (
    PEAKS_HZ,
    checks_of,
    curve_of,
    enlarged,
    lips_picture,
    peaks_of,
    resampled,
    shape_of,
    verdict_of,
)
from widgets._live import Body, Buffers, Cursor, LiveView
from widgets._mouth import Lips, MouthReader

if TYPE_CHECKING:
    from PIL.Image import Image

    from widgets._live import Source

MEL_REACH = (-1.7, 2.5)      # silence and loud speech in the numbers of `audio.normalise`
FRAMES_OF_A_SOUND = 8        # shown at most
CROP = 0.36                  # side of the piece around the mouth, of the picture's shorter side
QUALITY = {"quality": 92, "subsampling": 0}


class LipView(LiveView):
    """Sound above, mouth below, on one time line; and how well they agree at every delay.

    The opening of the mouth is read off the generated pictures as they appear. It is compared with the mouth that says
    just these sounds, where they are known, or with the loudness. Positive delays: the lips are late.
    """

    script = "lip_view.js"
    nothing = "No lips to read yet: give a run, LipView(run), the folder of a saved one, or LipView.open('clip.mp4')."
    drawn_after = ()                                 # but after every look at the mouth

    against = traitlets.Enum(["sounds", "loudness"], "sounds", help="what the mouth is compared with: the mouth that "
                             "says these sounds (where they are known), or the loudness").tag(sync=True, code=True)
    window_s = traitlets.Float(8.0, min=0.5, help="seconds in view").tag(sync=True, code=True)
    sound = traitlets.Int(-1, help="number of the chosen sound (phoneme), whose frames are shown at every step; "
                                   "-1: none").tag(sync=True, code=True)
    _keys = traitlets.Unicode("space: start or pause. Arrow keys: one frame back or on; with a chosen sound, the "
                              "sound before or after. Escape: choose none.").tag(sync=True)

    def __init__(self, source: Source | None = None, *, cursor: Cursor | None = None, **traits: object) -> None:
        self.reader: MouthReader | None = None
        self._hovered_s: float | None = None             # where the mouse is, if it is here
        self._sent: dict[str, object] = {}               # buffer -> what it was made of
        self._sound_frames: dict[int, np.ndarray] = {}
        self._asked: set[int] = set()
        self._mel: np.ndarray | None = None
        super().__init__(source, cursor=cursor, **traits)
        self.observe(self._against_moved, "against")

    def close(self) -> None:
        if self.reader is not None:
            self.reader.end()
        super().close()

    # ------------------------------------------------------------------ what is on screen

    @property
    def lips(self) -> Lips:
        """Return all measurements; complete once the run is over."""
        return self._need_reader().lips

    @property
    def opening(self) -> np.ndarray:
        """Return (T,) of the mouth in every video frame: 0 closed, 1 wide open, NaN where there is no picture yet."""
        return self.lips.opening

    @property
    def expected(self) -> np.ndarray:
        """Return (T,) what it is compared with."""
        return self.lips.expected

    @property
    def loudness(self) -> np.ndarray:
        """Return (T,) of the sound, 0..1."""
        return self.lips.loudness

    @property
    def agreement(self) -> np.ndarray:
        """Return (T,) 1: the mouth is as expected, 0: as far from it as can be."""
        return self.lips.agreement

    @property
    def curve(self) -> OffsetCurve:
        """Return correlation for every delay; `curve.best_ms`, `curve.peak`."""
        return self.lips.curve

    @property
    def best_ms(self) -> float:
        """Return the delay at which mouth and sound agree best; positive: the lips are late (the sound is early)."""
        return self.curve.best_ms

    @property
    def verdict(self) -> str:
        """Return what people would say of that delay, by ITU-R BT.1359-1."""
        return verdict_of(self.curve)

    @property
    def report(self) -> PhonemeReport | None:
        """Return the report, sound by sound: closed for p b m, teeth for f v, round for u o w, closed in silence."""
        return self.lips.report

    @property
    def phonemes(self) -> tuple[Phoneme, ...]:
        """Return the sounds, where they are known."""
        self._need_reader()
        return self.reader.speech.phonemes

    @property
    def nonspeech(self) -> list[tuple[float, float]]:
        """Tell when something is heard but nobody speaks, (from, to) in s: music or noise.

        Of recordings, once the run is over; music is known by Silero VAD alone (`pip install 'liveavatar[vad]'`).
        """
        kinds = self._need_reader().kinds
        return [] if kinds is None else kinds.other_segments(self.run.info.fps)

    @property
    def picture(self) -> np.ndarray:
        """Return (H, W, 3) uint8: the frame under the mouse, else under the cursor."""
        self._need_reader()
        picture = self.run.picture_at(self._shown_s)
        if picture is None:
            raise InputError(f"the picture at {self._shown_s:.2f} s is not decoded yet")
        return picture.numpy()

    @property
    def sound_frames(self) -> np.ndarray:
        """Return (S, n, h, w, 3) uint8: the mouth in the n frames of the chosen sound, as guessed at each of S steps.
        """
        if not 0 <= self.sound < len(self.phonemes):
            raise InputError(f"no sound is chosen (sound={self.sound}); the run has {len(self.phonemes)}")
        return self._frames_of_sound(self.sound)

    # ------------------------------------------------------------------ drawing

    def reset(self) -> None:
        if self.reader is not None:
            self.reader.end()
        self.reader = None
        self._mel, self._hovered_s = None, None
        for kept in (self._sent, self._sound_frames, self._asked):
            kept.clear()
        if self.run is not None and self.run.speech is not None and self.run.info.frames:
            self.reader = MouthReader(self.run, lambda: self.refresh(urgent=False))
            self.reader.against = self.against

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        if full:
            self._sent.clear()
        reader = self._need_reader()
        reader.keep_up()
        lips = reader.lips_so_far
        body: Body = {"shapes": list(SHAPES), "detectable": DETECTABLE_MS, "acceptable": ACCEPTABLE_MS,
                      "peaks_hz": PEAKS_HZ, "mel_hz": RATE_HZ / 320, "frames": self.run.info.frames,
                      "no_sounds": reader.sounds_missing, "nonspeech": self.nonspeech}
        buffers: Buffers = {}
        self._add(buffers, "peaks", 0, lambda: peaks_of(self.run.speech.wave, self.run.speech.rate_hz))
        self._add(buffers, "mel", 0, self._mel_bytes)
        self._add(buffers, "sounds", (id(lips), len(self.phonemes)), lambda: json.dumps(self._sounds(lips)).encode())
        if lips is not None:
            body |= {"curve": curve_of(lips.curve), "verdict": verdict_of(lips.curve), "exact": lips.exact,
                     "against": lips.against, "checks": checks_of(lips.report)}
            self._add(buffers, "curves", id(lips), lambda: np.stack(
                [lips.opening, lips.expected, lips.loudness, lips.agreement], 1).astype("<f4").tobytes())
        body["frame"] = self._add_frame(buffers, lips)
        body["tiles"] = self._add_tiles(buffers)
        return body, buffers

    def on_event(self, event: object) -> None:
        if isinstance(event, Block) and self.reader is not None and self._gate.has_viewer:
            self.reader.keep_up()

    def on_message(self, kind: str, content: dict) -> None:
        if kind == "hover":
            self._hovered_s = content["time"]
            self.refresh()

    def still(self) -> Image | None:
        lips = None if self.reader is None else self.reader.lips_so_far
        return None if lips is None else lips_picture(lips, self.run.info.fps)

    # ------------------------------------------------------------------ pieces

    def _add(self, buffers: Buffers, name: str, version: object, make: object) -> None:
        """Add a buffer, where it has changed."""
        if self._sent.get(name, self) != version:
            buffers[name] = make()
            self._sent[name] = version

    @property
    def _shown_s(self) -> float:
        return self.time_s if self._hovered_s is None else self._hovered_s

    def _add_frame(self, buffers: Buffers, lips: Lips | None) -> Body | None:
        """Add the picture under the mouse or the cursor, and where its mouth is."""
        picture = self.run.picture_at(self._shown_s)
        if picture is None:
            return None
        frame = self.run.info.frame_at(self._shown_s)
        self._add(buffers, "frame", frame, lambda: encoded(picture.numpy(), "JPEG", **QUALITY))
        height, width = picture.shape[:2]
        place = None if lips is None or np.isnan(lips.places[frame]).any() else lips.places[frame].tolist()
        return {"index": frame, "width": width, "height": height, "place": place, "crop": CROP}

    def _add_tiles(self, buffers: Buffers) -> Body | None:
        """Add the frames of the chosen sound at every step: made in the reader's thread, sent when they are there."""
        if not 0 <= self.sound < len(self.phonemes):
            return None
        phoneme, number = self.phonemes[self.sound], self.sound
        first, last = self._span(phoneme)
        tiles = self._sound_frames.get(number)
        body: Body = {"sound": number, "symbol": phoneme.symbol, "start_s": phoneme.start_s, "end_s": phoneme.end_s,
                      "first": first, "shape": shape_of(phoneme), "how": self._how()}
        if tiles is None:
            if number not in self._asked and self._made(last):
                self._asked.add(number)
                self.reader.ask(lambda: self._frames_of_sound(number))
            return body | {"waiting": True, "made": self._made(last)}
        S, n, h, w, _ = tiles.shape
        rows = tiles.transpose(0, 2, 1, 3, 4).reshape(S * h, n * w, 3)
        self._add(buffers, "tiles", number, lambda: encoded(rows, "JPEG", **QUALITY))
        return body | {"steps": S, "count": n, "width": w, "height": h}

    def _sounds(self, lips: Lips | None) -> list:
        """Return [symbol, from, to, shape, kept] of each; kept: did the mouth do what the sound asks for? None: not
        asked."""
        kept = [sound.kept for sound in lips.report.sounds] if lips is not None and lips.report is not None else []
        kept += [None] * len(self.phonemes)
        return [[phoneme.symbol, round(phoneme.start_s, 4), round(phoneme.end_s, 4), shape_of(phoneme), kept[number]]
                for number, phoneme in enumerate(self.phonemes)]

    def _mel_bytes(self) -> bytes:
        """Return (M, 64) as bytes, silence 0."""
        if self._mel is None:
            low, high = MEL_REACH
            mel = mel_of(resampled(self.run.speech.wave, self.run.speech.rate_hz)).numpy()
            self._mel = (np.clip((mel - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        return self._mel.tobytes()

    # ------------------------------------------------------------------ one sound at every step

    def _span(self, phoneme: Phoneme) -> tuple[int, int]:
        """Return first and last frame in which it is heard."""
        fps, most = self.run.info.fps, self.run.info.frames - 1
        first = min(math.floor(phoneme.start_s * fps + 1e-6), most)
        last = min(max(math.ceil(phoneme.end_s * fps - 1e-6) - 1, first), most)
        return first, min(last, first + FRAMES_OF_A_SOUND - 1)

    def _made(self, frame: int) -> bool:
        return self.run.picture_at((frame + 0.5) / self.run.info.fps) is not None

    def _how(self) -> str:
        if self.run.decodes:
            return "as the decoder draws it"
        return "earlier steps by one fitted matrix: no decoder is at hand for a saved run"

    def _frames_of_sound(self, number: int) -> np.ndarray:
        """Return (S, n, h, w, 3) uint8: the mouth in each frame of a sound, at each step."""
        if number not in self._sound_frames:
            info = self.run.info
            first, last = self._span(self.phonemes[number])
            steps = []
            for step in range(info.steps):
                pictures = [self._block_at(frame // info.block_frames, step)[frame % info.block_frames]
                            for frame in range(first, last + 1)]
                steps.append([self._mouth_piece(picture, frame) for frame, picture in enumerate(pictures, first)])
            self._sound_frames[number] = np.array(steps)
        return self._sound_frames[number]

    def _block_at(self, block: int, step: int) -> np.ndarray:
        """Return (T, H, W, 3) uint8: a block's pictures as they were guessed at a step."""
        done = self.run.decoded_block(block)
        if done is None:
            raise InputError(f"block {block} is not decoded yet, or no longer kept; choose a sound that was made")
        if self.run.decodes or step == self.run.info.steps - 1:
            return self.run.step_frames.decode(block, step)
        colours, each = self.run.step_frames.preview(block, step), self.run.info.frames_per_latent     # (F, h, w, 3)
        return np.stack([enlarged(colours[frame // each], done.frames.shape[1:3]) for frame in range(len(done.frames))])

    def _mouth_piece(self, picture: np.ndarray, frame: int) -> np.ndarray:
        """Return the part of a picture around the mouth."""
        places = self.reader.lips_so_far.places if self.reader.lips_so_far is not None else None
        place = (0.0, 0.3) if places is None or np.isnan(places[frame]).any() else places[frame]
        H, W = picture.shape[:2]
        square, side = min(H, W), round(CROP * min(H, W))
        x, y = ((1 + place[axis]) / 2 * square + (long - square) / 2 for axis, long in ((0, W), (1, H)))
        left, top = (round(min(max(middle - side / 2, 0), long - side)) for middle, long in ((x, W), (y, H)))
        return picture[top:top + side, left:left + side]

    # ------------------------------------------------------------------ what moves

    def _need_reader(self) -> MouthReader:
        if self.run is None:
            raise InputError(self.nothing)
        if self.run.info.pipeline:
            raise InputError(f"{self.run.info.pipeline} was given no sound that a mouth could follow.")
        if self.reader is None:
            raise InputError("This trace was saved without its run, so it has no pictures and no sound. "
                             "Save with run.save(folder) and open that folder.")
        return self.reader

    def _against_moved(self, change: traitlets.Bunch) -> None:
        if self.reader is not None:
            self.reader.against = change.new
            self.reader.keep_up()
