"""The mouth in a run's pictures, read in a thread of its own that takes only a small share of a core from the run.

While the run is going a quick look is taken: of every block the whole picture is looked at twice, to find the mouth,
and the mouth in each picture. It is within 0.02 of the full look (0 closed, 1 wide open) at a quarter of its cost.
When the run is over all pictures are looked at in full; then what is shown is what `liveavatar.metrics.lips` measures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from liveavatar.audio import loudness_envelope
from liveavatar.metrics.lips import OffsetCurve, PhonemeReport, offset_curve, phoneme_report, true_opening
from liveavatar.metrics.reader import as_pictures, load_reader
from liveavatar.metrics.regressor import MOUTH, FaceRegressor, as_square, crop_around
from liveavatar.run import RUNNING, Run

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.types import Block

MOST_SHARE = 0.03             # of a core, while the run is going
LOUDNESS_S = 0.04             # the envelope's smoothing: that of lips
PLACES = 2                    # columns of a table after the mouth's: where the mouth is
COLUMNS = len(MOUTH) + PLACES


@dataclass(frozen=True)
class Lips:
    """What is known of the lips of a run. T video frames; NaN where no picture has been read yet."""

    mouth: np.ndarray             # (T, 5) in the order of regressor.MOUTH, the first is the opening
    places: np.ndarray            # (T, 2) middle of the mouth, -1..1 across and down the square picture
    expected: np.ndarray          # (T,) what the opening is compared with: 0 closed, 1 wide open
    loudness: np.ndarray          # (T,) 0..1
    agreement: np.ndarray         # (T,) 1: as expected, 0: as far from it as can be
    curve: OffsetCurve            # agreement for every delay
    report: PhonemeReport | None  # sound by sound
    against: str                  # what `expected` is: "sounds" or "loudness"
    exact: bool                   # every picture has been looked at in full

    @property
    def opening(self) -> np.ndarray:
        """(T,) 0 closed, 1 wide open."""
        return self.mouth[:, 0]


@torch.inference_mode()
def full_look(frames: Tensor, reader: FaceRegressor) -> np.ndarray:
    """Pictures (T, H, W, 3) uint8 -> (T, 7): mouth and place."""
    reading = reader(as_pictures(frames))
    return torch.cat([reading.motion[:, :len(MOUTH)], reading.mouth], 1).float().numpy()


@torch.inference_mode()
def quick_look(frames: Tensor, reader: FaceRegressor) -> np.ndarray:
    """The same, but the whole picture is looked at only in the first and the last frame, and straight lines are drawn
    between what was found there."""
    pictures = as_square(as_pictures(frames))
    ends = [0, len(frames) - 1]
    _, _, places, features = reader.read(pictures[ends])
    share = torch.linspace(0, 1, len(frames))[:, None]
    place, feature = (torch.lerp(both[:1], both[1:], share) for both in (places, features))
    near = crop_around(pictures - 0.5, place)
    seen = F.silu(reader.mouth_describe(reader.mouth_tower(near).flatten(1)))
    return torch.cat([reader.mouth(torch.cat([seen, feature], 1)), place], 1).float().numpy()


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
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lips(self) -> Lips:
        """All that is known now; when the run is not going, all there is to know."""
        if self.run.state != RUNNING:
            while self._read_one():
                pass
        return self._analysed()

    @property
    def lips_so_far(self) -> Lips | None:
        """What was known when it was last looked; None: nothing yet. Takes no time."""
        return self._lips

    def keep_up(self) -> None:
        """Read what has come since, in the reader's own thread. Returns at once."""
        with self._lock:
            if self._over.is_set() or not self._behind() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._work, name="liveavatar-lips", daemon=True)
            self._thread.start()

    def ask(self, job: Callable[[], None]) -> None:
        """Do something else in the reader's thread, before all reading."""
        with self._lock:
            self._jobs.append(job)
        self.keep_up()

    def stop(self) -> None:
        self._over.set()

    # ------------------------------------------------------------------ in its thread

    def _work(self) -> None:
        stay_on_one_core()
        while not self._over.is_set():
            began_s = time.thread_time()
            with self._lock:
                job = self._jobs.pop(0) if self._jobs else None
                if job is None and not self._behind():
                    self._thread = None                   # decided under the lock: keep_up will start another
                    return
            if job is not None:
                job()
            else:
                self._read_one()
                self._analysed()
            self._told()
            if self.run.state == RUNNING:
                self._over.wait((time.thread_time() - began_s) / MOST_SHARE)

    def _behind(self) -> bool:
        return bool(self._jobs) or self._next() is not None or self._known != self._facts()

    def _next(self) -> tuple[Block, bool] | None:
        """The block to be read next, and whether in full: new ones first."""
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
        look = full_look if full or len(block.frames) < 2 else quick_look
        table = look(block.frames, load_reader())
        with self._lock:
            self._tables[block.index] = table
            if full:
                self._full.add(block.index)
        return True

    # ------------------------------------------------------------------ what follows from it

    def _facts(self) -> tuple:
        return len(self._tables), len(self._full), self.against

    def _analysed(self) -> Lips:
        with self._lock:
            facts, tables = self._facts(), dict(self._tables)
        if facts != self._known or self._lips is None:
            self._lips, self._known = analyse(self.run, tables, facts[1] >= len(self.run.blocks), facts[2]), facts
        return self._lips


def stay_on_one_core() -> None:
    """Let torch use one core in the calling thread: small pictures gain nothing from more, and the run needs them.

    The number of threads belongs to a thread, but setting it also sets what threads that come later begin with: that
    is put back, from a thread that ends at once.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    helper = threading.Thread(target=torch.set_num_threads, args=(before,))
    helper.start()
    helper.join()


def analyse(run: Run, tables: dict[int, np.ndarray], exact: bool, against: str) -> Lips:
    """Put the tables of all blocks in a row and compare them with the sound."""
    facts, speech = run.facts, run.speech
    T = facts.frames
    table = np.full((T, COLUMNS), np.nan, np.float32)
    for index, rows in tables.items():
        start = index * facts.block_frames
        table[start:start + len(rows)] = rows[:T - start]
    mouth, places = table[:, :len(MOUTH)], table[:, len(MOUTH):]
    loudness = loudness_envelope(speech.wave, facts.fps, speech.rate_hz, LOUDNESS_S).numpy()[:T]
    loudness = np.pad(loudness, (0, T - len(loudness)))
    by_sounds = against == "sounds" and bool(speech.phonemes)
    known = first_known(mouth[:, 0])
    opening = mouth[:known, 0]
    if by_sounds:
        expected = true_opening(speech, T, facts.fps).numpy()
    else:
        expected = fitted(loudness, opening)
    agreement = np.clip(1 - np.abs(mouth[:, 0] - expected), 0, 1)
    curve = offset_curve(opening, expected[:known], facts.fps)
    report = phoneme_report(torch.from_numpy(mouth[:known].copy()), speech, facts.fps) if known else None
    return Lips(mouth, places, expected, loudness, agreement, curve, report, "sounds" if by_sounds else "loudness",
                exact and bool(tables))


def first_known(opening: np.ndarray) -> int:
    """How many values from the beginning on are known."""
    unknown = np.isnan(opening)
    return int(unknown.argmax()) if unknown.any() else len(opening)


def fitted(loudness: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Loudness stretched to the mean and the spread of the opening, so that both can be drawn on one scale."""
    heard = loudness[:len(opening)]
    if len(opening) < 2 or heard.std() < 1e-6:
        return loudness
    stretched = (loudness - heard.mean()) / heard.std() * opening.std() + opening.mean()
    return np.clip(stretched, 0, 1).astype(np.float32)
