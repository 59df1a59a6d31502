"""Figures of the pictures: seams, cuts, brightness, colour, flicker, identity, head, eyes, detail of the mouth."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from liveavatar.inspection.clip import Clip
from liveavatar.inspection.faces import count_blinks, head_motion, likeness
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
from liveavatar.inspection.pictures import (
    SHORTEST_BLOCK,
    changes_of,
    cuts_of,
    ends_of,
    find_seams,
    lab_of,
    luminance_of,
    repeated_share,
    slope_per_minute,
    unrest_of,
)
from liveavatar.metrics.texture import spectrum

LEAST_S = 3.0                       # of video for what compares the end with the beginning
END_S = 1.0
LEAST_PICTURES = 16                 # for flicker and seams
FLICKER_CLEAR = 6.0                 # times the median line
LEAST_HZ, LEAST_FLICKER = 3.0, 0.3          # of what counts as flicker; levels
BRIGHTER, MUCH_BRIGHTER = 6.0, 15.0         # levels
OTHER_COLOUR, QUITE_OTHER_COLOUR = 4.0, 10.0        # CIE 1976
FROZEN, MOSTLY_FROZEN = 0.9, 0.6
OTHER_FACE, STRANGE_FACE = 0.1, 0.3         # 1 - correlation


def picture_findings(clip: Clip, block_frames: int | None) -> tuple[list[Finding], dict[str, tuple[Tensor, Tensor]]]:
    """Return the figures and the courses over time: name -> times in s, values."""
    brightness = luminance_of(clip.thumbnails)
    changes = changes_of(clip.thumbnails)
    courses = {"brightness_levels": (clip.times_s, brightness.mean((1, 2)))}
    if len(changes):
        courses["change_levels"] = (clip.times_s[1:], changes)
    found = [*change_findings(clip, changes, block_frames), *light_findings(clip, brightness),
             *face_findings(clip, courses)]
    return found, courses


# ------------------------------------------------------------------------------------------------- changes

def change_findings(clip: Clip, changes: Tensor, block_frames: int | None) -> Iterator[Finding]:
    """Yield seams, cuts and repeated pictures."""
    if len(clip) < LEAST_PICTURES:
        reason = f"{len(clip)} pictures are too few, {LEAST_PICTURES} are needed"
        for name, label in (("seam_ratio", "Jumps where blocks meet"), ("block_frames", "Length of a block"),
                            ("cuts_count", "Cuts"), ("repeated_share", "Repeated pictures")):
            yield missing(name, label, "lower", reason)
        return
    yield from seam_findings(clip, changes, block_frames)
    cuts = cuts_of(changes)
    places = ", ".join(f"{clip.times_s[at]:.2f} s" for at in cuts[:6].tolist())
    more = "" if len(cuts) <= 6 else f" and {len(cuts) - 6} more"
    yield Finding("cuts_count", "Cuts", float(len(cuts)), "neither",
                  f"The whole picture changes at once at {places}{more}." if len(cuts) else "There is no cut.",
                  NOTABLE if len(cuts) else FINE, GOOD, "changes four times as large as those around them")
    repeated = repeated_share(changes)
    state = FINE if repeated < 0.05 else NOTABLE if repeated < 0.9 else FAULT
    verdict = {FINE: "Every picture is new.", NOTABLE: f"{repeated:.0%} of the pictures repeat the one before: the "
               "frame rate was raised, or pictures were lost."}.get(state, "The picture stands still.")
    yield Finding("repeated_share", "Repeated pictures", repeated, "lower", verdict, state, GOOD,
                  "pictures that differ by less than 0.05 levels of 255")


def seam_findings(clip: Clip, changes: Tensor, block_frames: int | None) -> Iterator[Finding]:
    """Yield how strong seams are, and how far apart."""
    seams = find_seams(changes, clip.key, block_frames)
    if block_frames and not seams.found:
        reason = f"{len(clip)} pictures hold no two blocks of {block_frames}"
        yield missing("seam_ratio", "Jumps where blocks meet", "nearer to 1", reason)
        yield missing("block_frames", "Length of a block", "neither", reason)
        return
    because = f"they stand {seams.clarity:.1f} standard deviations above chance"
    if not seams.found:
        yield Finding("seam_ratio", "Jumps where blocks meet", 1.0, "nearer to 1", "No regular jumps are found.", FINE,
                      FAIR, "blocks of 6 to 250 pictures, at least four of them, were looked for; faint seams hide in "
                      "motion: give the length of a block if you know it")
        yield missing("block_frames", "Length of a block", "neither", "no regular jumps are found")
        return
    every = f"every {seams.period} pictures ({seams.period * clip.step_s:.2f} s), from picture {seams.first} on"
    stronger = f"{seams.ratio - 1:.0%} more than around" if seams.ratio < 2 else f"{seams.ratio:.1f} times as much"
    if seams.period < SHORTEST_BLOCK and not block_frames:
        state, verdict = NOTABLE, f"{every[0].upper()}{every[1:]}, the picture changes {stronger}: a frame rate was " \
                                  "converted by leaving out pictures."
    elif seams.at_key_frames:
        state, verdict = NOTABLE, f"The picture changes {stronger} {every}, at the codec's key frames: encode with " \
                                  "more bits before blaming the model."
    elif seams.ratio < 1.1:
        state, verdict = FINE, f"No seams are seen with blocks of {seams.period} pictures."
    else:
        state = NOTABLE if seams.ratio < 1.5 else FAULT
        verdict = f"Blocks show: the picture changes {stronger} {every}."
    trust = GOOD if seams.clarity >= 7 else FAIR if seams.clarity >= 3.5 else POOR
    yield Finding("seam_ratio", "Jumps where blocks meet", seams.ratio, "nearer to 1", verdict, state, trust, because)
    given = "as given" if block_frames else "the distance at which jumps are clearest"
    yield Finding("block_frames", "Length of a block", float(seams.period), "neither",
                  f"A block has {seams.period} pictures ({given}).", NEUTRAL, trust, because)


# ------------------------------------------------------------------------------------------------- light

def light_findings(clip: Clip, brightness: Tensor) -> Iterator[Finding]:
    """Yield drift of brightness, flicker, unrest."""
    whole = brightness.mean((1, 2))
    if clip.duration_s < LEAST_S or len(clip) < LEAST_PICTURES:
        reason = f"{clip.duration_s:.1f} s are too short, {LEAST_S:g} s are needed"
        for name, label in (("brightness_change_levels", "Change of brightness"), ("flicker_levels", "Flicker"),
                            ("brightness_drift_levels_per_minute", "Drift of brightness"),
                            ("unrest_levels", "Unrest where nothing moves")):
            yield missing(name, label, "nearer to 0", reason)
        return
    first, last = ends_of(clip.times_s, whole, END_S)
    change = float(last - first)
    state = FINE if abs(change) < BRIGHTER else NOTABLE if abs(change) < MUCH_BRIGHTER else FAULT
    way = "brighter" if change > 0 else "darker"
    verdict = "The brightness stays." if state == FINE else \
        f"The picture ends {abs(change):.0f} levels of 255 {way} than it begins."
    yield Finding("brightness_change_levels", "Change of brightness", change, "nearer to 0", verdict, state, GOOD,
                  "last second against the first, the whole picture: gestures and a moving camera count too")
    slope = slope_per_minute(clip.times_s, whole)
    yield Finding("brightness_drift_levels_per_minute", "Drift of brightness", slope, "nearer to 0",
                  f"On average it changes by {slope:+.1f} levels of 255 a minute.", NEUTRAL,
                  GOOD if clip.duration_s >= 10 else POOR, f"a straight line through {clip.duration_s:.0f} s")
    yield flicker_finding(clip, whole)
    unrest = unrest_of(brightness)
    state = FINE if unrest < 0.5 else NOTABLE if unrest < 1.5 else FAULT
    yield Finding("unrest_levels", "Unrest where nothing moves", unrest, "lower",
                  f"Where least moves, {unrest:.2f} levels of 255 change from picture to picture"
                  f"{'' if state == FINE else ': it flickers or the camera moves'}.", state, FAIR,
                  "the quietest tenth of the picture; a moving camera counts as unrest")


def flicker_finding(clip: Clip, whole: Tensor) -> Finding:
    """Say whether the whole picture pulses."""
    lines = spectrum(clip.at_rate(whole, clip.fps).float(), clip.fps)
    fast = lines.hertz >= LEAST_HZ
    if not fast.any():
        return missing("flicker_levels", "Flicker", "lower", f"{clip.fps:.1f} pictures a second are too few")
    levels, best = lines.levels[fast], int(lines.levels[fast].argmax())
    peak, hertz = float(levels[best]), float(lines.hertz[fast][best])
    times = peak / max(float(levels.median()), 1e-6)
    clear = times >= FLICKER_CLEAR and peak >= LEAST_FLICKER
    state = FINE if not clear else NOTABLE if peak < 1.5 else FAULT
    verdict = (f"The picture pulses {hertz:.1f} times a second, by {peak:.1f} levels of 255."
               if clear else "The brightness does not pulse.")
    return Finding("flicker_levels", "Flicker", peak, "lower", verdict, state, GOOD if clear else FAIR,
                   f"the strongest rhythm above {LEAST_HZ:g} Hz, at {hertz:.1f} Hz, is {times:.1f} times the median; "
                   "chance reaches about 3, slower rhythms are gestures")


# ------------------------------------------------------------------------------------------------- face

FACE_FIGURES = (("skin_change_delta_e", "Change of skin colour"), ("identity_change_share", "Change of the face"),
                ("frozen_head_share", "Head stands still"), ("head_motion_deg", "Head turns"),
                ("blinks_per_minute", "Blinks"), ("mouth_detail_ratio", "Detail of the mouth"),
                ("teeth_share", "Teeth seen"))


def face_findings(clip: Clip, courses: dict[str, tuple[Tensor, Tensor]]) -> Iterator[Finding]:
    """Yield what concerns the face beside its speech."""
    reason = clip.faceless or (f"{clip.duration_s:.1f} s are too short, {LEAST_S:g} s are needed"
                               if clip.duration_s < LEAST_S or len(clip) < LEAST_PICTURES else "")
    if reason:
        yield from (missing(name, label, "neither", reason) for name, label in FACE_FIGURES)
        return
    from liveavatar.inspection.lip_findings import face_trust

    trust = face_trust(clip).trust
    yield skin_finding(clip, courses, trust)
    yield identity_finding(clip, courses, trust)
    yield from head_findings(clip, courses, trust)
    yield from mouth_findings(clip, trust)


def skin_finding(clip: Clip, courses: dict, trust: str) -> Finding:
    """Say whether the colour of the skin stays."""
    lab = lab_of(clip.pixels.skin)
    first, last = ends_of(clip.times_s, lab, END_S)
    courses["skin_delta_e"] = (clip.times_s, (lab - first).norm(dim=1))
    change = float((last - first).norm())
    state = FINE if change < OTHER_COLOUR else NOTABLE if change < QUITE_OTHER_COLOUR else FAULT
    lighter, redder, yellower = (last - first).tolist()
    words = [word for value, word in ((lighter, "lighter" if lighter > 0 else "darker"),
                                      (redder, "redder" if redder > 0 else "greener"),
                                      (yellower, "yellower" if yellower > 0 else "bluer")) if abs(value) > change / 3]
    verdict = "The colour of the skin stays." if state == FINE else \
        f"The skin ends {' and '.join(words)} than it begins (by {change:.0f}; 2 can be seen side by side)."
    return Finding("skin_change_delta_e", "Change of skin colour", change, "nearer to 0", verdict, state,
                   weakest(trust, GOOD), "CIE 1976 colour difference of cheeks and forehead, last second against the "
                   "first; a head that turns towards a lamp changes too")


def identity_finding(clip: Clip, courses: dict, trust: str) -> Finding:
    """Say whether it stays the same face."""
    name, label, better = "identity_change_share", "Change of the face", "nearer to 0"
    found = likeness(clip.pixels, clip.track, clip.times_s)
    courses["identity_change"] = (found.time_s, found.change)
    if math.isnan(found.end_share) or math.isnan(found.noise_share):
        return missing(name, label, better, "the head is turned otherwise at the end than at the beginning")
    change = max(found.end_share - found.noise_share, 0.0)
    state = FINE if change < max(OTHER_FACE, found.noise_share) else NOTABLE if change < STRANGE_FACE else FAULT
    verdict = {FINE: "The face stays the same.", NOTABLE: f"The face changes a little ({change:.0%})."}.get(
        state, f"The face at the end is not the one of the beginning ({change:.0%} changed).")
    return Finding(name, label, change, better, verdict, state,
                   weakest(trust, FAIR if found.compared > 0.5 else POOR), "brows, eyes and nose against those of the "
                   f"first two seconds, without what differs among those ({found.noise_share:.2f}); no face "
                   f"recognition. Points of the skull moved by {found.shape_share:.3f} eye distances")


def head_findings(clip: Clip, courses: dict, trust: str) -> Iterator[Finding]:
    """Yield how head and eyes move."""
    moves, seconds = head_motion(clip.track, clip.times_s), clip.duration_s
    courses["yaw_deg"] = (clip.times_s, clip.track.head_pose_deg[:, 0])
    courses["pitch_deg"] = (clip.times_s, clip.track.head_pose_deg[:, 1])
    state = FINE if moves.still_share < MOSTLY_FROZEN else NOTABLE if moves.still_share < FROZEN else FAULT
    verdict = {FINE: "The head moves.", NOTABLE: f"The head stands still in {moves.still_share:.0%} of the seconds."
               }.get(state, "The head is frozen.")
    yield Finding("frozen_head_share", "Head stands still", moves.still_share, "lower", verdict, state,
                  weakest(trust, FAIR if seconds < 5 else GOOD),
                  "seconds in which it turns by less than 0.5 degrees and moves by less than 1.5 % of the eye distance")
    yield Finding("head_motion_deg", "Head turns", moves.turning_deg, "neither",
                  f"The head turns by {moves.turning_deg:.1f} degrees around its mean.", NEUTRAL,
                  weakest(trust, GOOD if moves.turning_deg > 2 * moves.noise_deg else FAIR),
                  f"root mean square; the noise of single pictures is {moves.noise_deg:.1f} degrees and averaged out",
                  moves.noise_deg / 4)
    count = count_blinks(clip.track, clip.times_s)
    rate = 60 * count / seconds
    state = NOTABLE if seconds >= 15 and count == 0 else FINE
    verdict = "The eyes never blink." if not count else \
        f"The eyes blink {number(rate)} times a minute ({count} in {seconds:.0f} s)."
    yield Finding("blinks_per_minute", "Blinks", rate, "neither", verdict, state,
                  weakest(trust, FAIR if seconds >= 15 and clip.fps > 14 else POOR),
                  "people who talk blink 10 to 30 times a minute; glasses and small faces hide it",
                  60 * math.sqrt(max(count, 1)) / seconds)


def mouth_findings(clip: Clip, trust: str) -> Iterator[Finding]:
    """Yield how sharp an opened mouth is, and whether teeth are seen."""
    opened = ~clip.pixels.teeth.isnan()
    if int(opened.sum()) < 10:
        for name, label in FACE_FIGURES[-2:]:
            yield missing(name, label, "neither", f"the mouth is open in only {int(opened.sum())} pictures")
        return
    ratio = float(clip.pixels.mouth_detail[opened].median() / clip.pixels.eye_detail[opened].median().clamp(min=0.01))
    state = FINE if ratio >= 0.45 else NOTABLE if ratio >= 0.3 else FAULT
    verdict = f"The opened mouth has {ratio:.0%} of the detail of the eyes" + (
        "." if state == FINE else ": it is blurred.")
    yield Finding("mouth_detail_ratio", "Detail of the mouth", ratio, "higher", verdict, state, weakest(trust, FAIR),
                  "fine structure around the opened mouth against that around the eyes; 0.6 to 1.1 is usual")
    teeth = clip.pixels.teeth
    unsteady = teeth.diff().abs()
    unsteady = float(unsteady[~unsteady.isnan()].mean()) if bool((~unsteady.isnan()).any()) else math.nan
    share = float(teeth[opened].median())
    yield Finding("teeth_share", "Teeth seen", share, "neither",
                  f"Half of the time, {share:.0%} or more of the opened mouth is as bright and pale as teeth.", NEUTRAL,
                  weakest(trust, POOR), f"by colour alone; from picture to picture the share changes by {unsteady:.0%}")
