"""Figures of the mouth while nobody speaks: in silence, and where only music or noise is heard."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from liveavatar.inspection.clip import SOUND_FPS as FPS
from liveavatar.inspection.clip import Clip
from liveavatar.inspection.findings import FAIR, FAULT, FINE, GOOD, NOTABLE, POOR, Finding, missing, weakest
from liveavatar.inspection.sync import Sync
from liveavatar.metrics.sound_kinds import SoundKinds

LEAST_S = 0.4                       # of silence, and of music or noise, in which a mouth is judged
MOVES, MOVES_MUCH = 0.3, 0.5        # motion against that while speaking
OPEN_IN_SILENCE = 0.25              # opening from which a mouth counts as open though nobody speaks
MUCH_NONSPEECH = 0.2                # share of the time, from which on music or noise is remarked on
USUAL_MOTION = 0.07                 # mean change of the opening in 40 ms of speech (true renderings), if none is there


def silence_findings(clip: Clip, sync: Sync, face_trust: str | None) -> Iterator[Finding]:
    """Say whether the mouth rests in silence. face_trust: how far the face can be read; None without a face"""
    names = (("silence_motion_ratio", "Mouth moves in silence"), ("silence_open_share", "Mouth open in silence"))
    reason = clip.faceless or clip.soundless
    opening, kinds = (None, None) if reason else at_the_sounds(clip, sync)
    quiet_s = 0.0 if reason else float(kinds.silent.sum()) / FPS
    if not reason and quiet_s < LEAST_S:
        reason = f"only {quiet_s:.1f} s are silent"
    if reason:
        yield from (missing(name, label, "lower", reason) for name, label in names)
        return
    ratio = motion_ratio(opening, kinds.silent, kinds.speaking)
    share = float((opening[kinds.silent] > OPEN_IN_SILENCE).double().mean())
    trust = weakest(trust_in(quiet_s), face_trust)
    apart = "count as sound" if kinds.unknown else "are judged apart"
    because = f"{quiet_s:.1f} s are silent; noise and music {apart}"
    state, does = judged(ratio)
    yield Finding(*names[0], ratio, "lower", f"The mouth {does} in silence ({ratio:.0%} of its motion while speaking).",
                  state, trust, because)
    state = FINE if share < 0.2 else NOTABLE if share < 0.6 else FAULT
    yield Finding(*names[1], share, "lower", f"The mouth is open in {share:.0%} of the silence.", state,
                  weakest(trust, FAIR), f"{because}; some people rest with their lips apart")


def nonspeech_findings(clip: Clip, sync: Sync, face_trust: str | None) -> Iterator[Finding]:
    """Say how much of the sound is music or noise, and whether the mouth moves to it. face_trust: see above"""
    share = ("nonspeech_share", "Sound that is not speech", "neither")
    motion = ("nonspeech_motion_ratio", "Mouth moves to music or noise", "lower")
    reason = clip.soundless or clip.sound_kinds.unknown
    if reason:
        yield from (missing(*names, reason) for names in (share, motion))
        return
    yield share_finding(clip.sound_kinds, *share)
    opening, kinds = (None, None) if clip.faceless else at_the_sounds(clip, sync)
    other_s = 0.0 if clip.faceless else float(kinds.other.sum()) / FPS
    if clip.faceless or other_s < LEAST_S:
        yield missing(*motion, clip.faceless or f"music or noise without a voice is heard for only {other_s:.1f} s")
        return
    ratio = motion_ratio(opening, kinds.other, kinds.speaking)
    state, does = judged(ratio)
    against = "its motion while speaking" if bool(kinds.speaking.any()) else "what is usual while speaking"
    yield Finding(*motion[:2], ratio, motion[2], f"The mouth {does} where only music or noise is heard ({ratio:.0%} of "
                  f"{against}).", state, weakest(trust_in(other_s), FAIR, face_trust),
                  f"{other_s:.1f} s of music or noise without a voice; singing counts as a voice")


def share_finding(kinds: SoundKinds, name: str, label: str, better: str) -> Finding:
    """Say in how much of the time music or noise is heard and nobody speaks."""
    share = float(kinds.other.double().mean())
    state = NOTABLE if kinds.voiceless or share >= MUCH_NONSPEECH else FINE
    verdict = "All that is heard is speech."
    if kinds.voiceless:
        verdict = "Nobody speaks: the sound is music or noise."
    elif share >= 0.005:
        verdict = f"Nobody speaks, but music or noise is heard, in {share:.0%} of the time."
    return Finding(name, label, share, better, verdict, state, FAIR,
                   "singing mostly counts as speech; speech that is no louder than the music around it can be missed")


def judged(ratio: float) -> tuple[str, str]:
    """Return the state of a mouth that moves so much though nobody speaks, and what it does, in words."""
    if ratio < MOVES:
        return FINE, "rests"
    return (NOTABLE, "moves a little") if ratio < MOVES_MUCH else (FAULT, "moves")


def trust_in(seconds: float) -> str:
    """Return how far a figure from so many seconds can be trusted."""
    return GOOD if seconds >= 2 else FAIR if seconds >= 1 else POOR


def motion_ratio(opening: Tensor, chosen: Tensor, speaking: Tensor) -> float:
    """Return how much a mouth moves in chosen frames (N,) bool against the frames of speech.

    opening (N,) at FPS. Where nobody speaks it is compared with USUAL_MOTION.
    """
    speed = opening.diff().abs()
    chosen, speaking = chosen[1:] & chosen[:-1], speaking[1:] & speaking[:-1]
    usual = float(speed[speaking].mean()) if bool(speaking.any()) else USUAL_MOTION
    return float(speed[chosen].mean()) / max(usual, 1e-6) if bool(chosen.any()) else 0.0


def at_the_sounds(clip: Clip, sync: Sync) -> tuple[Tensor, SoundKinds]:
    """Return the opening (N,) at FPS, moved by the delay onto the sounds, and what is heard in each of these frames."""
    opening, kinds = clip.at_rate(clip.opening, FPS), clip.sound_kinds
    late = 0 if math.isnan(sync.offset_ms) else round(sync.offset_ms / 1000 * FPS)
    if late > 0:
        return opening[late:], kinds.part(0, len(opening) - late)
    return opening[:len(opening) + late], kinds.part(-late, len(opening))
