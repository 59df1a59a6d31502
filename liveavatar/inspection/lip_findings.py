"""Figures of lips against sound: delay, drift, jumps, closure, openness; those of silence are in `rest_findings`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from liveavatar.inspection.clip import SOUND_FPS as FPS
from liveavatar.inspection.clip import Clip, shifted
from liveavatar.inspection.findings import (
    FAIR,
    FAULT,
    FINE,
    GOOD,
    NEUTRAL,
    NOTABLE,
    POOR,
    Finding,
    missing,
    number,
    weakest,
)
from liveavatar.inspection.rest_findings import nonspeech_findings, silence_findings
from liveavatar.inspection.sync import INDEPENDENT_HZ, LEAST_DRIFT_S, RATE_HZ, SHORTEST_S, Sync, sync_of, unknown
from liveavatar.metrics.lips import (
    ACCEPTABLE_MS,
    DETECTABLE_MS,
    only_opening,
    pearson,
    phoneme_report,
    true_opening,
)
from liveavatar.metrics.quality import STILL
from liveavatar.types import Speech

STILL_OPENING = 1e-3                # spread of the opening, below which a mouth does not move
LEAST_FACE_PX, FAIR_FACE_PX = 40, 80        # height of the face; benchmarks/results/inspect_video.md
TURNED_DEG = 30.0
LEAST_CLOSURE, FAIR_CLOSURE = 0.5, 0.75
LEAST_BY_SOUND, HARDLY_BY_SOUND = 0.45, 0.3      # as for the loudness of vowels
DRIFT_MATTERS_MS = 30.0             # over the whole video


@dataclass(frozen=True)
class FaceTrust:
    """Describe how far a face can be read."""

    trust: str
    because: str


def face_trust(clip: Clip) -> FaceTrust:
    """Judge by the size of the face and how far it is turned."""
    height = clip.face_px
    yaw = float(clip.track.head_pose_deg[:, 0].abs().nanmedian())
    said = f"the face is {height:.0f} px high"
    trust = POOR if height < LEAST_FACE_PX else FAIR if height < FAIR_FACE_PX else GOOD
    if yaw > TURNED_DEG:
        trust, said = weakest(trust, FAIR), f"{said} and turned by {yaw:.0f} degrees"
    if clip.most_faces > 1:
        said += f"; {clip.most_faces} faces are seen at once, and the largest, most central one is read"
    return FaceTrust(trust, said)


def find_sync(clip: Clip) -> Sync:
    """Compare lips and sound, or say why that cannot be done."""
    if clip.faceless or clip.voiceless:
        return unknown(clip.faceless or clip.voiceless)
    known = clip.at_rate(clip.track.found.float(), RATE_HZ) > 0.5
    if clip.duration_s >= SHORTEST_S and clip.opening.std() < STILL_OPENING:
        return unknown("the mouth does not move")
    return sync_of(clip.at_rate(clip.lip_motion, RATE_HZ), known, clip.speech)


def lip_findings(clip: Clip, sync: Sync) -> Iterator[Finding]:
    """Yield every figure of lips against sound."""
    face = None if clip.faceless else face_trust(clip)
    yield offset_finding(clip, sync, face)
    yield drift_finding(clip, sync, face)
    yield jump_finding(sync, face)
    yield from loudness_findings(clip, sync, face)
    yield from silence_findings(clip, sync, face and face.trust)
    yield from nonspeech_findings(clip, sync, face and face.trust)
    yield closure_finding(clip, sync, face)
    yield sounds_finding(clip, sync, face)


def offset_finding(clip: Clip, sync: Sync, face: FaceTrust | None) -> Finding:
    """Say how late the lips are."""
    name, label, better = "offset_ms", "Delay of the lips", "nearer to 0"
    if not sync.applies:
        return missing(name, label, better, sync.reason)
    late, sure, peak = sync.offset_ms, sync.uncertainty_ms, sync.curve.peak
    by = f"{abs(late):.0f} ms {'late' if late > 0 else 'early'} (± {sure:.0f} ms)"
    where = " between the jumps" if sync.jumps else ""
    if DETECTABLE_MS[0] <= late <= DETECTABLE_MS[1]:
        together = abs(late) <= max(2 * sure, 20)
        state, verdict = FINE, (f"Lips and sound are together{where} ({late:+.0f} ± {sure:.0f} ms)." if together else
                                f"The lips are {by}{where}, too little for people to notice.")
    elif ACCEPTABLE_MS[0] <= late <= ACCEPTABLE_MS[1]:
        state, verdict = NOTABLE, f"The lips are {by}{where}: people notice, few mind."
    else:
        state, verdict = FAULT, f"The lips are {by}{where}: people mind."
    trust = GOOD if peak >= 0.5 and sure <= 15 else FAIR if peak >= 0.35 and sure <= 30 else POOR
    because = (f"the correlation of mouth and loudness is {peak:.2f} there (true videos reach 0.5 to 0.8), and "
               f"{face.because}. Real mouths lead the sound a little: compare differences between real videos")
    return Finding(name, label, late, better, verdict, state, weakest(trust, face.trust), because, sure)


def drift_finding(clip: Clip, sync: Sync, face: FaceTrust | None) -> Finding:
    """Say whether the delay grows."""
    name, label, better = "drift_ms_per_minute", "Drift of the delay", "nearer to 0"
    if not sync.applies:
        return missing(name, label, better, sync.reason)
    if math.isnan(sync.drift_ms_per_minute):
        return missing(name, label, better, f"{clip.duration_s:.1f} s are too short, {LEAST_DRIFT_S:g} s are needed")
    drift, sure = sync.drift_ms_per_minute, sync.drift_uncertainty
    in_all = drift * clip.duration_s / 60
    if not sync.drifts:
        state, verdict = FINE, f"No drift is seen (less than {number(abs(drift) + 2 * sure)} ms a minute)."
    else:
        state = NOTABLE if abs(in_all) < DRIFT_MATTERS_MS else FAULT
        way = "fall behind" if drift > 0 else "run ahead of"
        verdict = f"The lips {way} the sound by {abs(drift):.0f} ms a minute, {abs(in_all):.0f} ms in all."
    trust = GOOD if sure < 15 else FAIR if sure < 40 else POOR
    return Finding(name, label, drift, better, verdict, state, weakest(trust, face.trust),
                   f"± {number(sure)} ms a minute over {clip.duration_s:.0f} s: longer videos tell more", sure)


def jump_finding(sync: Sync, face: FaceTrust | None) -> Finding:
    """Say where the delay jumps."""
    name, label, better = "jumps_count", "Jumps of the delay", "lower"
    if not sync.applies:
        return missing(name, label, better, sync.reason)
    if not sync.jumps:
        return Finding(name, label, 0.0, better, "The delay does not jump.", FINE, weakest(GOOD, face.trust),
                       "jumps of 120 ms are found nineteen times of twenty, of 80 ms four times of five")
    places = ", ".join(f"at {one.time_s:.1f} s by {one.by_ms:+.0f} ms" for one in sync.jumps)
    weak = min(one.evidence for one in sync.jumps) < 11
    return Finding(name, label, float(len(sync.jumps)), better, f"The delay of the lips jumps {places}.", FAULT,
                   weakest(FAIR if weak else GOOD, face.trust), "the time is right to about half a second")


def loudness_findings(clip: Clip, sync: Sync, face: FaceTrust | None) -> Iterator[Finding]:
    """Say how well the opening follows the vowels, and how far it opens."""
    name, label = "loudness_correlation", "Mouth follows the vowels"
    peak = sync.curve.peak
    if math.isnan(peak):
        yield missing(name, label, "higher", sync.reason)
    else:
        state = FINE if peak >= 0.45 else NOTABLE if peak >= 0.3 else FAULT
        how = {FINE: "well", NOTABLE: "loosely", FAULT: "hardly"}[state]
        error = (1 - peak ** 2) / math.sqrt(max(INDEPENDENT_HZ * clip.duration_s, 2))
        yield Finding(name, label, peak, "higher", f"The mouth follows the loudness of the vowels {how} ({peak:.2f}).",
                      state, weakest(GOOD if error < 0.1 else FAIR, face.trust),
                      "at the best delay; perfect videos reach 0.5 to 0.8, the sound of another video less than 0.3",
                      error)
    name, label = "opening_share", "Mouth opens as far as"
    if clip.faceless:
        yield missing(name, label, "neither", clip.faceless)
        return
    wide = float(clip.opening.quantile(0.95))
    state = FAULT if wide < 0.1 else NEUTRAL
    verdict = "The mouth hardly opens." if wide < 0.1 else f"The mouth opens as far as {wide:.2f} (1 is wide open)."
    yield Finding(name, label, wide, "neither", verdict, state, weakest(FAIR, face.trust),
                  "in units of rendered avatars, 95 % of the time less; not calibrated on photographs")


def closure_finding(clip: Clip, sync: Sync, face: FaceTrust | None) -> Finding:
    """Say how often the lips meet in p, b and m."""
    name, label, better = "closure_share", "Lips meet in p, b and m", "higher"
    reason = no_phonemes(clip)
    if reason:
        return missing(name, label, better, reason)
    opening = clip.at_rate(clip.opening, FPS).float()
    check = phoneme_report(only_opening(opening), heard_with(clip, sync), FPS).check("bilabial closure")
    if not check.of:
        return missing(name, label, better, "no p, b or m is spoken")
    state = FINE if check.share >= FAIR_CLOSURE else NOTABLE if check.share >= LEAST_CLOSURE else FAULT
    error = math.sqrt(max(check.share * (1 - check.share), 0.01) / check.of)
    return Finding(name, label, check.share, better, f"The lips meet in {check.share:.0%} of {check.of} p, b and m.",
                   state, weakest(FAIR if check.of >= 10 else POOR, face.trust),
                   f"the delay is taken off first; true curves keep {check.reachable:.0%}{origin_of(clip)}", error)


def sounds_finding(clip: Clip, sync: Sync, face: FaceTrust | None) -> Finding:
    """Say how well the mouth opens as far as each sound asks for."""
    name, label, better = "sounds_correlation", "Mouth opens as the sounds ask", "higher"
    reason = no_phonemes(clip)
    if reason:
        return missing(name, label, better, reason)
    opening = clip.at_rate(clip.opening, FPS)
    truth = true_opening(heard_with(clip, sync), len(opening), FPS).double()
    if opening.std() < STILL or truth.std() < STILL:
        return missing(name, label, better, "the mouth does not move" if opening.std() < STILL else "nothing is said")
    value = float(pearson(opening, truth))
    state = FINE if value >= LEAST_BY_SOUND else NOTABLE if value >= HARDLY_BY_SOUND else FAULT
    how = {FINE: "well", NOTABLE: "loosely", FAULT: "hardly"}[state]
    error = (1 - value ** 2) / math.sqrt(max(INDEPENDENT_HZ * clip.duration_s, 2))
    return Finding(name, label, value, better, f"The mouth follows the opening that the sounds ask for {how} "
                   f"({value:.2f}).", state, weakest(FAIR, face.trust),
                   f"correlation with the mouth that says just these sounds, the delay taken off{origin_of(clip)}",
                   error)


def no_phonemes(clip: Clip) -> str:
    """Say why nothing can be told sound by sound; empty where it can."""
    if clip.faceless or clip.soundless or clip.speech.phonemes:
        return clip.faceless or clip.soundless
    return clip.phonemes.reason if clip.phonemes else "the phonemes of this recording are not known"


def origin_of(clip: Clip) -> str:
    """Say how the phonemes were found, as the end of a sentence; empty where they were given."""
    return f"; the sounds were {clip.phonemes.how}" if clip.phonemes else ""


def heard_with(clip: Clip, sync: Sync) -> Speech:
    """Return the speech moved by the delay of the lips."""
    return shifted(clip.speech, 0.0 if math.isnan(sync.offset_ms) else sync.offset_ms / 1000)
