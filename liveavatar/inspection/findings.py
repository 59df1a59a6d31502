"""What an inspection says: figures with unit, direction, trust and a sentence each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from liveavatar.inspection.clip import Clip
    from liveavatar.inspection.sync import Sync

GOOD, FAIR, POOR, NONE = "good", "fair", "poor", "none"              # trust
TRUSTS = (GOOD, FAIR, POOR, NONE)
FINE, NOTABLE, FAULT, UNKNOWN, NEUTRAL = "fine", "notable", "fault", "unknown", "neutral"      # state


@dataclass(frozen=True)
class Finding:
    """One figure."""

    name: str                    # with its unit: offset_ms
    label: str                   # for readers
    value: float                 # NaN where it cannot be told
    better: str                  # which way is better: "nearer to 0", "lower", "higher", "neither"
    verdict: str                 # one plain sentence
    state: str = NEUTRAL         # fine, notable, fault, unknown or neutral
    trust: str = GOOD            # good, fair, poor or none
    trusted_because: str = ""    # how far it can be trusted, in words
    uncertainty: float = math.nan       # standard deviation in the unit of the value, where it is known

    def to_dict(self) -> dict:
        """Return plain values for JSON; NaN is None."""
        return {one.name: plain(getattr(self, one.name)) for one in fields(self) if one.name != "name"}


@dataclass(frozen=True)
class Inspection:
    """All that was found in one video."""

    clip: Clip
    findings: tuple[Finding, ...]
    sync: Sync
    courses: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)     # name -> times in s, values

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no figure {name!r}; known: {', '.join(one.name for one in self.findings)}")

    @property
    def verdict(self) -> str:
        """Tell the delay of the lips, then what else is wrong, in a few sentences."""
        order = {FAULT: 0, NOTABLE: 1}
        others = sorted((one for one in self.findings[1:] if one.state in order and one.trust != POOR),
                        key=lambda one: order[one.state])
        sentences = [self.findings[0].verdict, *(one.verdict for one in others)]
        return " ".join(dict.fromkeys(sentences)) if others else f"{sentences[0]} Nothing else stands out."

    def to_dict(self) -> dict:
        """Return plain values for JSON: every figure under its name, the courses over time, and the file's facts."""
        sync = self.sync
        curve = {"lags_ms": rounded(sync.curve.lags_ms), "correlation": rounded(sync.curve.correlation)}
        jumps = [{"time_s": one.time_s, "by_ms": round(one.by_ms, 1)} for one in sync.jumps]
        return {"file": str(self.clip.path), "verdict": self.verdict, "facts": facts_of(self.clip),
                "figures": {one.name: one.to_dict() for one in self.findings}, "offset_curve": curve, "jumps": jumps,
                "courses": {name: {"time_s": rounded(times), "value": rounded(values)}
                            for name, (times, values) in self.courses.items()}, "notes": list(self.clip.notes)}

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)

    def table(self) -> str:
        """Return it as text, one figure a line, with its sentence."""
        rows = [(one.name, shown(one), one.trust, one.verdict) for one in self.findings]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(f"{name:{widths[0]}}  {value:>{widths[1]}}  {trust:{widths[2]}}  {verdict}"
                         for name, value, trust, verdict in rows)

    def __repr__(self) -> str:
        return f"Inspection({self.clip.path.name!r}: {self.verdict})"


def missing(name: str, label: str, better: str, reason: str) -> Finding:
    """Return the finding of what cannot be told, with its reason."""
    return Finding(name, label, math.nan, better, f"{label} cannot be told: {reason}.", UNKNOWN, NONE, reason)


def weakest(*trusts: str) -> str:
    """Return the lowest of several degrees of trust."""
    return max(trusts, key=TRUSTS.index)


def shown(finding: Finding) -> str:
    """Write a figure, with its uncertainty where it is known."""
    if math.isnan(finding.value):
        return "-"
    sure = finding.uncertainty
    return number(finding.value) + (f" ± {number(sure)}" if math.isfinite(sure) else "")


def number(value: float) -> str:
    """Write a number with about three digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plain(value: object) -> object:
    """Return a value as JSON knows it."""
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def rounded(values: Iterable[float]) -> list[float | None]:
    """Return numbers with a few digits; NaN is None."""
    return [plain(round(float(value), 4)) for value in values]


def facts_of(clip: Clip) -> dict:
    """Return what is known of the file."""
    height, width = clip.header.size
    return {"width_px": width, "height_px": height, "codec": clip.header.codec, "frames": len(clip),
            "duration_s": round(clip.duration_s, 3), "mean_fps": round(clip.fps, 3),
            "variable_frame_rate": clip.variable_rate, "has_sound": clip.speech is not None,
            "most_faces_at_once": clip.most_faces, "phonemes_known": bool(clip.speech and clip.speech.phonemes)}
