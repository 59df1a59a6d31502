"""Settings of the workbench that go together, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Name some settings of the workbench. What a person has written (the prompt, the sound) is never among them."""

    settings: dict[str, object]
    article: str                # what the article recommends (reported, for the 14-billion model)
    mini: str                   # what that means for mini (measured, or how it was trained)


PRESETS = {                     # size "": the size that the model was trained at
    "beginner": Preset(
        {"steps": 4, "size": "", "schedule": "trained", "clean": ""},
        "The article: 4 steps at 688*368, 50 clips at most.",
        "Here: 4 steps, at the size that mini was trained for."),
    "faster": Preset(
        {"steps": 3, "size": "", "schedule": "trained", "clean": ""},
        "The article: lower the size first (384*256), not the steps.",
        "Here the other way round: mini knows one size only, so one step less, a quarter less work."),
    "better": Preset(
        {"steps": 4, "size": "", "schedule": "trained", "clean": "wiener"},
        "The article: improve the prompt and the sound before you add steps.",
        "Here: a cleaned sound. Write a prompt that names gesture, mood, light and energy, for example “smiling, "
        "gesturing with both hands, in warm light, lively”."),
    "production": Preset(
        {"steps": 4, "size": "", "schedule": "trained", "clean": "noisereduce"},
        "The article: 704*384, 4 steps, a card of 80 GB, noise reduced.",
        "Here: 4 steps and the article's noise reduction; a larger picture comes out worse."),
}
