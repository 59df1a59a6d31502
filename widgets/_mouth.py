"""The mouth in a run's pictures, read in a thread of its own that takes only a small share of a core from the run.

While the run is going a quick look is taken: of every third block one whole picture is looked at, to find the mouth,
and the mouth in each picture of every block. It is within 0.02 of the full look (0 closed, 1 wide open, root mean
square) at a seventh of its cost.
When the run is over all pictures are looked at in full; then what is shown is what `liveavatar.metrics.lips` measures.

First a face is looked for, in the middle picture of each block: where there is none, nothing is read. The mouth of a
photograph is read by its landmarks (`liveavatar.faces`), its opening only.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from liveavatar.audio import loudness_envelope
from liveavatar.backends.devices import choose_dtype
from liveavatar.faces import detect_faces, read_faces
from liveavatar.metrics.lips import OffsetCurve, PhonemeReport, offset_curve, phoneme_report, true_opening
from liveavatar.metrics.reader import LIPS, as_pictures, fill_gaps, load_reader, photo_mouth, why_no_face
from liveavatar.metrics.regressor import MOUTH, FaceRegressor, cut_square
from liveavatar.metrics.sound_kinds import SoundKinds, sound_kinds
from liveavatar.phonemes import find_phonemes, with_phonemes
from liveavatar.runs.info import RUNNING
from liveavatar.runs.run import EXIT_TIMEOUT_S, Run
from liveavatar.threads import set_threads_here
from widgets._render_loop import stop_before_exit

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.types import Block, Portrait

MOST_SHARE = 0.02             # of a core, while the run is going
WHOLE_EVERY = 3               # blocks for which the head is taken to stand still: 1.4 s
LINGER_S = 3.0                # that the thread waits for the next block before it ends
BLOCK_FRAMES = 12             # of mini: what the networks are warmed with
NICENESS = 15                 # of the thread then: the run comes first
LONGEST_REST_S = 1.0          # the first look, which brings the weights, takes longer than all others
SOONEST_S = 2.0               # of video, before a delay is named while more is coming
LOUDNESS_S = 0.04             # the envelope's smoothing: that of lips
CURVE_EVERY = 2               # blocks between two looks at every delay, while the run is going
REPORT_EVERY = 6              # and sound by sound, which takes longer than all the rest
PLACES = 2                    # columns of a table after the mouth's: where the mouth is
COLUMNS = len(MOUTH) + PLACES

Whole = tuple["Tensor", "Tensor"]                # features (1, 192) of a picture, and its place (1, 2)


@dataclass(frozen=True)
class Lips:
    """Hold what is known of the lips of a run. T video frames; NaN where no picture is read yet, or shows no face."""

    mouth: np.ndarray             # (T, 5) in the order of regressor.MOUTH, the first is the opening
    places: np.ndarray            # (T, 2) middle of the mouth, -1..1 across and down the square picture
    expected: np.ndarray          # (T,) what the opening is compared with: 0 closed, 1 wide open
    loudness: np.ndarray          # (T,) 0..1
    agreement: np.ndarray         # (T,) 1: as expected, 0: as far from it as can be
    curve: OffsetCurve            # agreement for every delay
    report: PhonemeReport | None  # sound by sound
    against: str                  # what `expected` is: "sounds" or "loudness"
    exact: bool                   # every picture has been looked at in full
    faceless: str = ""            # why nothing can be measured: too few pictures show a face

    @property
    def opening(self) -> np.ndarray:
        """Return (T,) 0 closed, 1 wide open."""
        return self.mouth[:, 0]


@torch.inference_mode()
def full_look(frames: Tensor, reader: FaceRegressor) -> np.ndarray:
    """Read pictures (T, H, W, 3) uint8 -> (T, 7): mouth and place."""
    with as_fast():
        reading = reader(as_pictures(frames))
    return torch.cat([reading.motion[:, :len(MOUTH)], reading.place[:, :PLACES]], 1).float().numpy()


def photo_look(frames: Tensor) -> np.ndarray:
    """Read the same of a real face: opening and place; what is not read is NaN, and all of pictures without a face."""
    track = read_faces(frames, mode="each")
    size = torch.tensor(frames.shape[1:3]).flip(0)
    middle = track.points[:, LIPS, :2].mean(1)                                          # (T, 2) px
    unread = torch.full((len(frames), len(MOUTH) - 1), torch.nan)
    return torch.cat([photo_mouth(track)[:, None], unread, (2 * middle - size) / size.min()], 1).numpy()


def shows_face(frames: Tensor) -> bool:
    """Tell whether the middle one of pictures (T, H, W, 3) shows a face: the detector alone, for it is asked often."""
    return bool(detect_faces(frames[len(frames) // 2], search=False, verify=False))


@torch.inference_mode()
def whole_look(frames: Tensor, reader: FaceRegressor) -> Whole:
    """Read the middle one of pictures (T, H, W, 3) as a whole."""
    with as_fast():
        feature = reader.features(as_pictures(frames[len(frames) // 2:][:1]))
        return feature, reader.body(feature)[:, :reader.places]


@torch.inference_mode()
def quick_look(frames: Tensor, reader: FaceRegressor, whole: Whole | None = None) -> np.ndarray:
    """Read the same, but only one picture is looked at as a whole, of these or of those before: the head hardly moves.
    """
    feature, place = whole_look(frames, reader) if whole is None else whole
    with as_fast():
        near = reader.close_up(cut_square(as_pictures(frames)), place.expand(len(frames), -1))
        seen = F.silu(reader.mouth_describe(reader.mouth_tower(near).flatten(1)))
        mouth = reader.mouth(torch.cat([seen, feature.expand(len(seen), -1)], 1))
    return torch.cat([mouth, place[:, :PLACES].expand(len(seen), -1)], 1).float().numpy()


def warm_up(portrait: Portrait) -> None:
    """Bring the weights and look once, so that the first block of a run need not wait for it: half a second."""
    set_threads_here(1)                  # small pictures gain nothing from more, and the run needs them
    pixels = (portrait.pixels * 255).byte().permute(1, 2, 0)                            # (H, W, 3)
    frames = pixels.expand(BLOCK_FRAMES, -1, -1, -1)
    if shows_face(frames) and portrait.identity is not None:
        quick_look(frames, load_reader())


def as_fast() -> torch.autocast:
    """Return the number format in which `read_face` reads too."""
    kind = choose_dtype("auto", torch.device("cpu"))
    return torch.autocast("cpu", kind, enabled=kind != torch.float32)


class MouthReader:
    """Keeps up with a run. `told` is called, in its thread, whenever more is known."""

    def __init__(self, run: Run, told: Callable[[], None]) -> None:
        self.run, self.against = run, "sounds"
        self._told = told
        self._tables: dict[int, np.ndarray] = {}          # block -> (frames, 7)
        self._full: set[int] = set()                      # blocks looked at in full
        self._jobs: list[Callable[[], None]] = []         # what was asked for besides
        self._lips: Lips | None = None
        self._known: tuple = ()                           # what _lips was made of
        self.speech = run.speech                          # its phonemes are looked for when the run is over
        self.no_phonemes = ""                             # why there are none
        self.kinds: SoundKinds | None = None              # of the frames of a recording, known with its phonemes
        self._searched = run.speech is None or bool(run.speech.phonemes)
        self._whole: tuple[int, Whole | None] = (0, None) # the block that was looked at as a whole, and how it looked
        self._news = threading.Event()                    # there may be something to do
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        stop_before_exit(self)

    @property
    def lips(self) -> Lips:
        """Return all that is known now; when the run is not going, all there is to know."""
        if self.run.state != RUNNING:
            while self._read_one():
                pass
            self._search_phonemes()
        return self._analysed()

    @property
    def lips_so_far(self) -> Lips | None:
        """Return what was known when it was last looked; None: nothing yet. Takes no time."""
        return self._lips

    @property
    def sounds_missing(self) -> str:
        """Say why no phonemes are known (yet), as a sentence without its full stop; empty where they are known."""
        if self.speech is None or self.speech.phonemes:
            return ""
        if self._searched:
            return self.no_phonemes
        return ("the sounds of a recording are looked for once its video is made" if self.run.state == RUNNING else
                "the sounds are being looked for ...")

    def keep_up(self) -> None:
        """Read what has come since, in the reader's own thread. Returns at once."""
        with self._lock:
            if self._over.is_set() or not self._behind():
                return
            if self._thread is not None and self._thread.is_alive():
                self._news.set()
                return
            self._thread = threading.Thread(target=self._work, name="liveavatar-lips", daemon=True)
            self._thread.start()

    def ask(self, job: Callable[[], None]) -> None:
        """Do something else in the reader's thread, before all reading."""
        with self._lock:
            self._jobs.append(job)
        self.keep_up()

    def end(self) -> None:
        """Read no more. Returns at once."""
        self._over.set()
        self._news.set()

    def stop(self) -> None:
        """Read no more; waits for the block that is being read."""
        self.end()
        thread = self._thread
        if thread is not None:
            thread.join(EXIT_TIMEOUT_S)

    # ------------------------------------------------------------------ in its thread

    def _work(self) -> None:
        set_threads_here(1)                  # small pictures gain nothing from more, and the run needs them
        aside = self.run.state == RUNNING
        if aside:
            give_way()
        while not self._over.is_set():
            self._news.clear()
            began_s = time.thread_time()
            with self._lock:
                if aside and self.run.state != RUNNING:   # no need to give way any more: another thread goes on
                    self._thread = None
                    self.keep_up()
                    return
                job = self._jobs.pop(0) if self._jobs else None
                idle = job is None and not self._behind()
            if idle and aside and self._news.wait(LINGER_S):
                continue
            if idle:
                with self._lock:
                    if self._behind():
                        continue
                    self._thread = None                   # decided under the lock: keep_up will start another
                    return
            if job is not None:
                job()
            elif not self._read_one():
                self._search_phonemes()
            self._analysed()
            self._told()
            if self.run.state == RUNNING:
                self._over.wait(min((time.thread_time() - began_s) / MOST_SHARE, LONGEST_REST_S))

    def _behind(self) -> bool:
        return (bool(self._jobs) or self._next() is not None or self._known != self._facts()
                or (self.run.state != RUNNING and not self._searched))

    def _search_phonemes(self) -> None:
        """Look for speech and phonemes in a recording once its run is over: it takes a core for about its length."""
        if self.run.state == RUNNING or self._searched:
            return
        speech, info = self.run.speech, self.run.info
        self.kinds = sound_kinds(speech, info.frames, info.fps)
        found = find_phonemes(speech, speech.text)
        self.speech, self.no_phonemes = with_phonemes(speech, found), found.reason
        with self._lock:
            self.__dict__.pop("_truth", None)             # of the speech as it was known before
            self._searched = True

    def _next(self) -> tuple[Block, bool] | None:
        """Return the block to be read next, and whether in full: new ones first."""
        blocks = self.run.blocks
        full = self.run.state != RUNNING
        for block in blocks:
            if block.index not in self._tables:
                return block, full
        return next(((block, True) for block in blocks if full and block.index not in self._full), None)

    def _read_one(self) -> bool:
        """Read one block; False when there is none."""
        wanted = self._next()
        if wanted is None:
            return False
        block, full = wanted
        table = self._look(block, full)
        with self._lock:
            self._tables[block.index] = table
            if full:
                self._full.add(block.index)
        return True

    def _look(self, block: Block, full: bool) -> np.ndarray:
        """Return the table of one block: (frames, 7)."""
        if self.run.shows_photograph:
            return photo_look(block.frames)
        if not shows_face(block.frames):
            return np.full((len(block.frames), COLUMNS), np.nan, np.float32)
        reader = load_reader()
        return full_look(block.frames, reader) if full else quick_look(block.frames, reader, self._head(block, reader))

    def _head(self, block: Block, reader: FaceRegressor) -> Whole:
        """Return where the head is, as it was seen in this block or in one shortly before."""
        at, whole = self._whole
        if whole is None or not 0 <= block.index - at < WHOLE_EVERY:
            whole = whole_look(block.frames, reader)
            self._whole = block.index, whole
        return whole

    # ------------------------------------------------------------------ what follows from it

    def _facts(self) -> tuple:
        return len(self._tables), len(self._full), self.against, self._searched

    def _analysed(self) -> Lips:
        with self._lock:
            facts, tables = self._facts(), dict(self._tables)
        if facts != self._known or self._lips is None:
            read, full, against, _ = facts
            mouth, places, known = self._joined(tables)
            faceless = why_no_face(~torch.from_numpy(np.isnan(mouth[:known, 0]))) if known else ""
            opening = fill_gaps(torch.from_numpy(mouth[:known, 0])).numpy()
            expected, what = self._expected(opening, against)
            agreement = np.clip(1 - np.abs(mouth[:, 0] - expected), 0, 1)
            before = self._lips
            keeps = (self.run.state == RUNNING and before is not None and before.against == what and
                     before.faceless == faceless and read % CURVE_EVERY)
            curve = before.curve if keeps else self._curve(opening, expected[:known], faceless)
            exact = bool(tables) and full >= len(self.run.blocks)
            report = None if faceless else self._report(np.column_stack([opening, mouth[:known, 1:]]), read)
            self._lips = Lips(mouth, places, expected, self._loudness, agreement, curve, report, what, exact, faceless)
            self._known = facts
        return self._lips

    def _joined(self, tables: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
        """Join the tables of all blocks in a row: mouth (T, 5), places (T, 2); and how many frames from the start on
        were looked at."""
        info = self.run.info
        table = np.full((info.frames, COLUMNS), np.nan, np.float32)
        read = np.zeros(info.frames + 1, bool)                      # one more, which never is
        for index, rows in tables.items():
            start = index * info.block_frames
            table[start:start + len(rows)] = rows[:info.frames - start]
            read[start:min(start + len(rows), info.frames)] = True
        return table[:, :len(MOUTH)], table[:, len(MOUTH):], int(read.argmin())

    def _curve(self, opening: np.ndarray, expected: np.ndarray, faceless: str) -> OffsetCurve:
        """Return agreement at every delay; while the run is going not before there is enough to judge by."""
        fps = self.run.info.fps
        reason = faceless or ("" if self.kinds is None else self.kinds.voiceless)
        if reason:
            nothing = torch.full((1,), torch.nan)
            return OffsetCurve(nothing, nothing, math.nan, math.nan, fps, False, reason)
        if self.run.state == RUNNING and len(opening) < SOONEST_S * fps and len(opening) < self.run.info.frames:
            nothing = torch.full((1,), torch.nan)
            return OffsetCurve(nothing, nothing, math.nan, math.nan, fps, False,
                               f"known after {SOONEST_S:g} s of video")
        return offset_curve(opening, expected, fps)

    def _expected(self, opening: np.ndarray, against: str) -> tuple[np.ndarray, str]:
        if against == "sounds" and self._truth is not None:
            return self._truth, "sounds"
        return fitted(self._loudness, opening), "loudness"

    def _report(self, mouth: np.ndarray, read: int) -> PhonemeReport | None:
        before = None if self._lips is None else self._lips.report
        if not len(mouth) or (self.run.state == RUNNING and before is not None and read % REPORT_EVERY):
            return before
        return phoneme_report(torch.from_numpy(mouth.copy()), self.speech, self.run.info.fps)

    @cached_property
    def _loudness(self) -> np.ndarray:
        """Return (T,)"""
        speech, info = self.run.speech, self.run.info
        loudness = loudness_envelope(speech.wave, info.fps, speech.rate_hz, LOUDNESS_S).numpy()[:info.frames]
        return np.pad(loudness, (0, info.frames - len(loudness)))

    @cached_property
    def _truth(self) -> np.ndarray | None:
        """Return (T,) the opening of a mouth that says just these sounds; None where they are not known."""
        speech, info = self.speech, self.run.info
        return true_opening(speech, info.frames, info.fps).numpy() if speech.phonemes else None


def give_way() -> None:
    """Let the calling thread run only where nobody else wants its core. It stays that way until the thread ends."""
    if sys.platform == "linux":                           # elsewhere threads have no such number
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def fitted(loudness: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Return loudness stretched to the mean and the spread of the opening, so that both can be drawn on one scale."""
    heard = loudness[:len(opening)]
    if len(opening) < 2 or heard.std() < 1e-6 or np.isnan(opening).any():
        return loudness
    stretched = (loudness - heard.mean()) / heard.std() * opening.std() + opening.mean()
    return np.clip(stretched, 0, 1).astype(np.float32)
