"""Everything that the measures need of a video file, on one clock that begins with the first picture.

    clip.mp4 (+ other.wav)  --read_clip-->  Clip
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from liveavatar.audio import load_audio
from liveavatar.caught_warnings import caught_warnings, ignored_warnings
from liveavatar.faces.curves import face_height, lower_lip_drop
from liveavatar.faces.track import FaceTrack
from liveavatar.files import rereadable
from liveavatar.inspection.decoding import GUESSED_FPS, Header, decode, read_header
from liveavatar.inspection.face_tracking import FacePixels, FaceTracker, measure_pixels
from liveavatar.metrics.reader import fill_gaps, photo_mouth
from liveavatar.metrics.sound_kinds import SoundKinds, sound_kinds
from liveavatar.phonemes import Recognition, find_phonemes, with_phonemes, words_of
from liveavatar.sound import Track
from liveavatar.types import InputError, Phoneme, Speech

SHORTEST_S = 0.2                # of a stretch that is asked for
SMALL_FACE_PX = 80              # height of a face, below which the lower lip tells more than the gap of the lips
SOUND_FPS = 25.0                # at which silence, speech and other sound are told apart


@dataclass(frozen=True)
class Clip:
    """One video, read. T pictures; time counts from the beginning of the first one."""

    path: Path
    header: Header
    times_s: Tensor             # (T,) float64 when each picture begins
    key: Tensor                 # (T,) bool: the codec's key frames
    thumbnails: Tensor          # (T, h, w, 3) uint8
    track: FaceTrack            # of the largest, most central face
    pixels: FacePixels
    most_faces: int             # seen at once
    face_scale: float           # size of the pictures in which the face was read against those of the file
    speech: Speech | None       # mono; its first sample is heard when the first picture is shown
    soundless: str              # why there is no sound that tells anything; empty where there is
    notes: tuple[str, ...]      # what was noticed while reading, one sentence each
    own_sound: bool = True      # the speech is the file's own sound
    phonemes: Recognition | None = None     # how those of the speech were found, or why not; None: not looked for

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def step_s(self) -> float:
        """Return the seconds for which a picture is usually shown."""
        steps = self.times_s.diff()
        return float(steps.median()) if len(steps) else 1 / (self.header.fps or GUESSED_FPS)

    @property
    def duration_s(self) -> float:
        """Return the seconds from the first picture to the end of the last one."""
        return float(self.times_s[-1]) + self.step_s

    @property
    def fps(self) -> float:
        """Return the mean pictures a second."""
        return len(self) / self.duration_s

    @property
    def variable_rate(self) -> bool:
        """Say whether pictures are shown for different times, by more than the rounding of time stamps."""
        steps = self.times_s.diff()
        return len(steps) > 1 and bool((steps - self.step_s).abs().max() > max(0.0025, 0.1 * self.step_s))

    @property
    def middles_s(self) -> Tensor:
        """Return (T,) the middle of the time for which each picture is shown, s."""
        ends = torch.cat([self.times_s[1:], self.times_s.new_tensor([self.duration_s])])
        shown = (ends - self.times_s).clamp(max=2 * self.step_s)        # after a gap nobody knows what was to be seen
        return self.times_s + shown / 2

    @property
    def faceless(self) -> str:
        """Say why no face can be measured; empty where one is there in most pictures."""
        found = float(self.track.found.float().mean())
        if found == 0:
            return "no face is found in this video"
        return f"a face is found in only {found:.0%} of the pictures" if found < 0.5 else ""

    @cached_property
    def sound_kinds(self) -> SoundKinds:
        """Tell when nothing is heard, somebody speaks, or something else sounds, at SOUND_FPS. Needs a sound."""
        return sound_kinds(self.speech, max(1, math.floor(self.duration_s * SOUND_FPS)), SOUND_FPS,
                           spoken=self.phonemes is None)

    @property
    def voiceless(self) -> str:
        """Say why there is no voice to compare the lips with; empty where there is one."""
        return self.soundless or self.sound_kinds.voiceless

    @property
    def opening(self) -> Tensor:
        """Measure (T,) how far the mouth is open, 0 closed to 1 wide open; gaps are filled in, NaN without any face."""
        return fill_gaps(photo_mouth(self.track))

    @property
    def face_px(self) -> float:
        """Measure the face in the file's pictures, upper forehead to chin: median height, px; NaN without a face."""
        return float(face_height(self.track.points).nanmedian()) / self.face_scale

    @property
    def lip_motion(self) -> Tensor:
        """Return (T,) the curve of the mouth that goes with the sound most surely, in its own unit; gaps are filled in.

        The opening; in faces below SMALL_FACE_PX how far the lower lip is down, since compression moves what is read of
        so small a gap (measured: benchmarks/results/inspect_video.md, "Rates").
        """
        small = self.face_px < SMALL_FACE_PX
        return fill_gaps(lower_lip_drop(self.track.points)) if small else self.opening

    def at_rate(self, curve: Tensor, rate_hz: float) -> Tensor:
        """Bring a curve (T,) or (T, C) from the pictures to regular times (n + 0.5) / rate_hz: (N,) or (N, C)."""
        count = max(1, math.floor(self.duration_s * rate_hz))
        when = (np.arange(count) + 0.5) / rate_hz
        columns = curve.double().reshape(len(curve), -1).numpy()
        made = np.stack([np.interp(when, self.middles_s.numpy(), column) for column in columns.T], 1)
        return torch.from_numpy(made.reshape(count, *curve.shape[1:]))


def read_clip(path: str | os.PathLike, sound: str | os.PathLike | Speech | None = None,
              duration_s: float | None = None, progress: Callable[[float], None] | None = None) -> Clip:
    """Read a video: pictures, time stamps, face and sound.

    path: any file that FFmpeg decodes
    sound: another file, or Speech, heard instead of the video's own sound, from its first picture on; Speech may carry
        phonemes
    duration_s: read no more than its beginning
    progress: called with the seconds read so far

    Raises InputError for files that cannot be read.
    """
    path = rereadable(path)
    if duration_s is not None and not SHORTEST_S <= duration_s < math.inf:
        raise InputError(f"duration is {duration_s:g} s; give {SHORTEST_S} s or more, or leave it out for all")
    header = read_header(path)
    other = None if sound is None or isinstance(sound, Speech) else load_other(sound)
    tracker, parts, size = FaceTracker(), [], None
    for chunk in decode(path, math.inf if duration_s is None else duration_s):
        points, presence = tracker.read(chunk.pictures)
        points = points.where((presence >= 0.5)[:, None, None], torch.nan)
        size = size or chunk.pictures.shape[1:3]
        if chunk.pictures.shape[1:3] != size:                               # the size changes on the way
            points = points * (size[0] / chunk.pictures.shape[1])
        parts.append((chunk.times_s, chunk.key, chunk.thumbnails, points, presence,
                      measure_pixels(chunk.pictures, points)))
        if progress is not None:
            progress(float(chunk.times_s[-1] - parts[0][0][0]))
    if not parts:
        raise InputError(f"{path} holds no picture that can be decoded; give another video")
    times, key, thumbnails, points, presence, pixels = zip(*parts, strict=True)
    times_s = torch.from_numpy(np.concatenate(times))
    speech, soundless, notes = sound_of(path, header, float(times_s[0]), sound if other is None else other)
    return Clip(path, header, times_s - times_s[0], torch.from_numpy(np.concatenate(key)),
                torch.from_numpy(np.concatenate(thumbnails)), FaceTrack(torch.cat(points), torch.cat(presence), size),
                FacePixels.join(list(pixels)), tracker.most_faces, size[0] / header.size[0], speech, soundless, notes,
                other is None and not isinstance(sound, Speech))


# ------------------------------------------------------------------------------------------------- sound

def load_other(path: str | os.PathLike) -> Speech:
    """Read a second file's sound, which must be there. Its warnings are left to `sound_of`."""
    with ignored_warnings():
        return load_audio(path)


def sound_of(path: Path, header: Header, began_s: float, sound: Speech | None
             ) -> tuple[Speech | None, str, tuple[str, ...]]:
    """Bring the sound to the clock of the pictures. began_s: of the first picture, by the file's clock.

    Return the speech, or None and why there is none, and what was noticed.
    """
    if sound is not None:
        return sound, silence_of(sound), ()
    if not header.sound_tracks:
        return None, "the video has no sound", ()
    with caught_warnings() as noticed:
        try:
            speech = load_audio(path)
            with Track(path) as track:
                late_s = track.began_s - began_s
        except InputError as error:
            return None, f"its sound cannot be used: {error}", ()
    notes = tuple(str(one.message) for one in noticed if "is silent" not in str(one.message))
    return shifted(speech, late_s), silence_of(speech), notes


def recognised(clip: Clip, transcript: str = "", language: str = "en") -> Clip:
    """Return the clip with the phonemes of its sound, where they are not known and can be found; see `find_phonemes`.

    Raises InputError for a transcript that cannot be read.
    """
    words_of(transcript)
    if clip.soundless or clip.speech.phonemes:
        return clip
    found = find_phonemes(clip.speech, transcript, language)
    return replace(clip, speech=with_phonemes(clip.speech, found), phonemes=found)


def silence_of(speech: Speech) -> str:
    """Say that a sound is silent; empty where it is not."""
    from liveavatar.audio import active_rms

    return "" if active_rms(speech.wave, speech.rate_hz) > 0 else "the sound is silent"


def shifted(speech: Speech, late_s: float) -> Speech:
    """Let a sound begin late_s seconds later, by silence; earlier, by leaving out its beginning."""
    count = round(late_s * speech.rate_hz)
    if count == 0:
        return speech
    wave = np.concatenate([np.zeros(count, np.float32), speech.wave]) if count > 0 else speech.wave[-count:]
    phonemes = tuple(Phoneme(one.symbol, one.start_s + late_s, one.end_s + late_s) for one in speech.phonemes)
    return replace(speech, wave=wave, phonemes=phonemes)
