"""A person made by hand: swatches, words and sliders on one side, the picture on the other, at once."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import traitlets

from liveavatar.avatars.portraits import VOCABULARY, avatar, save_portrait
from liveavatar.avatars.traits import IDENTITY, IDENTITY_COLUMNS
from liveavatar.config import parse_size
from liveavatar.types import InputError, Portrait
from widgets._live import Body, Buffers, LiveView

if TYPE_CHECKING:
    import os

    from PIL.Image import Image

    Choice = str | bool | float

QUICK_PX, FINE_PX, FACE_PX = 128, 256, 64     # while something moves, when it rests, in the row of other people
SETTLED_S = 0.25                              # without a change until the fine picture is drawn
FACES = 9                                     # other people to begin with
HISTORY = 50                                  # changes that can be taken back


@dataclass(frozen=True)
class Control:
    """One thing that can be chosen."""

    name: str                # an argument of liveavatar.avatar
    label: str
    kind: str                # "swatches", "words", "switch" or "slider"
    unit: str = ""           # of a slider: what it measures, in words


def swatches(name: str, label: str) -> Control:
    return Control(name, label, "swatches")


def words(name: str, label: str) -> Control:
    return Control(name, label, "words")


def switch(name: str, label: str) -> Control:
    return Control(name, label, "switch")


def slider(name: str, label: str) -> Control:
    return Control(name, label, "slider", IDENTITY[IDENTITY_COLUMNS[name]].doc)


GROUPS: dict[str, tuple[Control, ...]] = {     # in the order of the page
    "Face": (swatches("skin", "skin"), slider("face_width", "width"), slider("jaw_width", "jaw"),
             slider("chin_length", "chin"), slider("cheek_blush", "blush"), slider("ear_size", "ears"),
             switch("freckles", "freckles")),
    "Eyes": (swatches("eyes", "iris"), slider("eye_size", "size"), slider("eye_roundness", "roundness"),
             slider("lash_length", "lashes"), slider("brow_thickness", "brows"), slider("brow_arch", "arch"),
             words("glasses", "glasses")),
    "Nose and mouth": (swatches("lips", "lips"), slider("mouth_size", "mouth"), slider("lip_fullness", "fullness"),
                       slider("nose_width", "nose"), slider("nose_height", "nose tip"), words("beard", "beard")),
    "Hair": (words("hair", "style"), swatches("hair_colour", "colour"), slider("hair_volume", "volume"),
             slider("hair_length", "length"), slider("hair_curl", "curls"), slider("hair_parting", "parting")),
    "Clothes": (words("outfit", "outfit"), swatches("shirt", "shirt"), swatches("accent", "accent"),
                words("pattern", "pattern"), slider("build", "shoulders"), switch("earrings", "earrings")),
    "Room": (swatches("background", "wall"), words("scene", "behind"), slider("scene_x", "where")),
}
CONTROLS = {control.name: control for controls in GROUPS.values() for control in controls}


class Designer(LiveView):
    """Make a portrait: take somebody from the row, or a random person, and change what you like.

    `designer.portrait` is what is seen, ready for a video. `designer.choose(hair="long")` does what a click does.
    """

    script = "designer.js"
    nothing = ""

    seed = traitlets.Int(7, min=0, help="who it is where nothing was chosen; the same number is the same person").tag(
        sync=True, code=True)
    choices = traitlets.Dict({}, help="what was chosen by name, as liveavatar.avatar takes it, in that order").tag(
        sync=True, code=True)
    size = traitlets.Unicode("256*256", help="of the portrait, width*height in pixels").tag(sync=True, code=True)
    file = traitlets.Unicode("portrait.png", help="where the button Save writes to").tag(sync=True, code=True)
    wide = traitlets.Bool(True, help="all controls at once; False: only the picture and the row of people").tag(
        sync=True, code=True)
    _page = traitlets.Int(0, help="which other people are offered").tag(sync=True)
    _keys = traitlets.Unicode("R: a random person. Z: take the last change back.").tag(sync=True)

    def __init__(self, *arguments: object, **options: object) -> None:
        self._touched_s = 0.0                            # when something was chosen last
        self._sent: tuple = ()                           # the picture that the browser has
        self._page_sent = -1                             # the row of people that it has
        self._before: list[tuple[int, dict]] = []        # (seed, choices), to go back to
        self._last = ""                                  # what was chosen last
        self._saved = ""                                 # a sentence
        super().__init__(*arguments, **options)
        self.observe(self._person_moved, ["seed", "choices"])

    # ------------------------------------------------------------------ from Python

    @property
    def portrait(self) -> Portrait:
        """Return what is seen, at `size`, with its identity."""
        return drawn(self.seed, parse_size(self.size), **self.choices)

    @property
    def identity(self) -> torch.Tensor:
        """Return (traits,) what the person is made of."""
        return self.portrait.identity

    def choose(self, **choices: Choice) -> None:
        """Change a person: any argument of `liveavatar.avatar`. None takes a choice back."""
        wanted = dict(self.choices)
        for name, choice in choices.items():
            covered = columns_of(name, choice) if choice is not None else set()
            wanted = {other: value for other, value in wanted.items()
                      if other != name and not columns_of(other, value) <= covered}
            if choice is not None:
                wanted[name] = choice
        drawn(self.seed, (QUICK_PX, QUICK_PX), **wanted)           # refuses in words what cannot be drawn
        self._remember(",".join(choices))
        self.choices = wanted

    def random(self, seed: int | None = None) -> None:
        """Choose somebody else; nothing of the one before is kept."""
        self._remember("random")
        self._become(random.randrange(10_000) if seed is None else seed, {})

    def back(self) -> None:
        """Take the last change back."""
        if not self._before:
            raise InputError("nothing was changed yet; there is nothing to take back")
        self._last = ""
        self._become(*self._before.pop())

    def save(self, path: str | os.PathLike | None = None) -> Path:
        """Write the portrait as a PNG that carries its identity."""
        path = Path(path or self.file)
        save_portrait(self.portrait, path)
        self._saved = f"Saved {path} ({self.size} px). The file knows who it shows."
        self.refresh()
        return path

    def as_code(self) -> str:
        """Return Python that makes this portrait."""
        size = "" if self.size == "256*256" else f", {parse_size(self.size)}"
        chosen = "".join(f", {name}={choice!r}" for name, choice in self.choices.items())
        return f"liveavatar.avatar({self.seed}{size}{chosen})"

    def __repr__(self) -> str:
        return f"Designer({self.as_code()})"

    # ------------------------------------------------------------------ drawing

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        moving = time.monotonic() - self._touched_s < SETTLED_S
        side = QUICK_PX if moving else FINE_PX
        if moving:
            self.refresh(urgent=False)                   # draw it finely once it rests
        body: Body = {"saved": self._saved, "faces": self.faces, "can_go_back": bool(self._before), "groups": groups()}
        buffers: Buffers = {}
        wanted = (self.seed, tuple(self.choices.items()), side)
        identity = drawn(self.seed, (side, side), **self.choices).identity.tolist()
        body["values"] = {name: shown_value(control, identity) for name, control in CONTROLS.items()}
        if full or wanted != self._sent:
            self._sent = wanted
            buffers[f"picture/{side}/{side}"] = bytes_of(drawn(self.seed, (side, side), **self.choices))
        if full or self._page != self._page_sent:
            self._page_sent = self._page
            buffers[f"faces/{FACE_PX}/{FACE_PX * FACES}"] = b"".join(
                bytes_of(drawn(seed, (FACE_PX, FACE_PX))) for seed in self.faces)
        return body, buffers

    @property
    def faces(self) -> list[int]:
        """Return the seeds of the people that are offered."""
        return [1 + self._page * FACES + place for place in range(FACES)]

    def still(self) -> Image:
        from PIL import Image

        return Image.frombytes("RGB", (FINE_PX, FINE_PX), bytes_of(drawn(self.seed, (FINE_PX, FINE_PX),
                                                                         **self.choices)))

    def on_message(self, kind: str, content: dict) -> None:
        """Handle a click. The picture is drawn here, not in the render loop: it should follow the finger."""
        if kind == "choose":
            self.choose(**content["choices"])
        elif kind == "random":
            self.random(content.get("seed"))
        elif kind == "more":
            self._page += 1
        elif kind in ("back", "save"):
            getattr(self, kind)()
        if kind not in ("save", "more"):
            self._send_picture()

    # ------------------------------------------------------------------ what moves

    def _become(self, seed: int, choices: dict) -> None:
        with self.hold_trait_notifications():
            self.seed, self.choices = seed, choices

    def _remember(self, what: str) -> None:
        """Keep one entry for a whole drag of one slider."""
        if what != self._last or what == "random":
            self._before = [*self._before[-HISTORY:], (self.seed, dict(self.choices))]
        self._last = what

    def _person_moved(self, _: traitlets.Bunch) -> None:
        self._touched_s, self._saved = time.monotonic(), ""


# ------------------------------------------------------------------------------------------- what is drawn

_drawn: dict[tuple, Portrait] = {}
KEPT = 64                                                # portraits


def drawn(seed: int, size: tuple[int, int], **choices: Choice) -> Portrait:
    """Return `liveavatar.avatar`, cached."""
    key = (seed, size, tuple(choices.items()))
    if key not in _drawn:
        portrait = avatar(seed, size, **choices)
        while len(_drawn) >= KEPT:
            _drawn.pop(next(iter(_drawn)), None)
        _drawn[key] = portrait
    return _drawn[key]


def bytes_of(portrait: Portrait) -> bytes:
    """Return rows of red, green, blue."""
    return (portrait.pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes()


def columns_of(name: str, choice: Choice) -> set[str]:
    """Return the columns of an identity that a choice sets."""
    if isinstance(choice, str):
        return set(VOCABULARY.get(name, {}).get(choice, {name: 0}))
    return {name}


def shown_value(control: Control, identity: Sequence[float]) -> Choice:
    """Return where a control stands for a person: a number, or the word that comes nearest."""
    if control.kind == "slider":
        return identity[IDENTITY_COLUMNS[control.name]]
    if control.kind == "switch":
        return identity[IDENTITY_COLUMNS[control.name]] > 0.4
    return min(VOCABULARY[control.name], key=lambda word: distance(VOCABULARY[control.name][word], identity))


def distance(columns: dict[str, float], identity: Sequence[float]) -> float:
    """Return how far a person is from a word, each column measured against its range."""
    total = 0.0
    for name, value in columns.items():
        trait = IDENTITY[IDENTITY_COLUMNS[name]]
        total += ((identity[IDENTITY_COLUMNS[name]] - value) / (trait.high - trait.low)) ** 2
    return total


@cache
def groups() -> list[tuple[str, list[dict]]]:
    """Return all controls, described for the browser."""
    return [(title, [describe(control) for control in controls]) for title, controls in GROUPS.items()]


def describe(control: Control) -> dict:
    about = asdict(control)
    if control.kind == "slider":
        trait = IDENTITY[IDENTITY_COLUMNS[control.name]]
        about |= {"low": trait.low, "high": trait.high}
    elif control.kind in ("swatches", "words"):
        about["options"] = list(VOCABULARY[control.name])
    if control.kind == "swatches":
        about["colours"] = [css_colour(columns) for columns in VOCABULARY[control.name].values()]
    return about


def css_colour(columns: dict[str, float]) -> str:
    """Return the first colour that a word sets."""
    red, green, blue = list(columns.values())[:3]
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in (red, green, blue))
