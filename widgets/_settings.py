"""The settings of the workbench: its traits, what follows from them, and how the inputs are drawn."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import traitlets

from liveavatar.backends import find_for
from liveavatar.conditions import SAMPLE_PORTRAITS, parse_prompt
from liveavatar.config import CLEANERS, SCHEDULES, SOLVERS, GenerationConfig, size_text
from liveavatar.types import InputError, Portrait, Prompt, Speech
from widgets._inputs import (
    SAMPLES,
    load_picture,
    load_sample_portrait,
    load_speech,
    outline,
    portrait_in_frame,
    thumbnail,
)
from widgets._live import Body, Buffers, LiveView, sentence
from widgets._presets import PRESETS
from widgets._uploads import without_folder

if TYPE_CHECKING:
    from liveavatar.backends import Backend
    from liveavatar.pipeline import Pipeline
    from widgets.designer import Designer
    from widgets.schedule_view import ScheduleView


@cache
def class_of(backend: str, model: str) -> type[Backend]:
    """Return the class of a model as its shipped weights expect inputs, without loading them."""
    return find_for(backend, {} if model == "student" else {"student": False})


class Settings(LiveView):
    """All that a user can choose on the page of the workbench."""

    designer: Designer
    path: ScheduleView
    pipeline: Pipeline | None

    sound = traitlets.Enum(["sample", "text", "recording"], "sample", help="where the speech comes from").tag(
        sync=True, code=True)
    sample = traitlets.Enum(list(SAMPLES), "welcome", help="which of the recordings that are shipped").tag(
        sync=True, code=True)
    text = traitlets.Unicode("Hello! I say whatever you write here.", help="what a synthetic voice should say").tag(
        sync=True, code=True)
    voice = traitlets.Unicode("espeak:en-us", help="the voice that says it, as liveavatar.speak names them").tag(
        sync=True, code=True)
    recording = traitlets.Unicode("", help="a sound file; an upload is put here").tag(sync=True, code=True)
    seconds = traitlets.Float(0.0, min=0, help="seconds of sound at most; 0 is all of it").tag(sync=True, code=True)
    start_s = traitlets.Float(0.0, min=0, help="second of the sound at which the used part begins; another sound sets "
                                               "it to 0").tag(sync=True, code=True)
    face = traitlets.Enum(["sample", "designer", "picture"], "sample", help="where the portrait comes from: a "
                          "photograph that is shipped, the avatar of the view Avatar, a file").tag(sync=True, code=True)
    person = traitlets.Enum(list(SAMPLE_PORTRAITS), SAMPLE_PORTRAITS[0], help="which of the photographs that are "
                            "shipped").tag(sync=True, code=True)
    picture = traitlets.Unicode("", help="a picture file; an upload is put here").tag(sync=True, code=True)
    portrait_strength = traitlets.Float(1.0, min=0, max=1, help="1: the whole portrait; less: only its blurred "
                                        "colours; 0: none, and the seed decides who speaks").tag(sync=True, code=True)
    sound_strength = traitlets.Float(1.0, min=0, max=1, help="1: the sound as it is; less: mixed with noise; 0: none"
                                     ).tag(sync=True, code=True)
    label = traitlets.Bool(True, help="burn a small visible mark into the video of a photograph").tag(
        sync=True, code=True)
    prompt = traitlets.Unicode("smiling, in warm light", help="gesture, mood, light and energy in words").tag(
        sync=True, code=True)
    steps = traitlets.Int(4, min=1, max=50, help="sampler steps of a block; mini was trained for 4").tag(
        sync=True, code=True)
    model = traitlets.Enum(["student", "teacher"], "student", help="student: mini's 4-step model; teacher: the "
                           "many-step base it was distilled from").tag(sync=True, code=True)
    compare = traitlets.Bool(False, help="keep the last run and show the new one beside it").tag(sync=True, code=True)
    size = traitlets.Unicode("", help="of the video, width*height in pixels: an area, the portrait gives the shape; "
                                      "empty: the size that the model was trained at").tag(sync=True, code=True)
    seed = traitlets.Int(420, min=0, help="of the noise that the video begins with").tag(sync=True, code=True)
    schedule = traitlets.Enum([*SCHEDULES, "own"], "trained", help="the noise levels; own: those drawn in the view "
                                                                   "Path").tag(sync=True, code=True)
    solver = traitlets.Enum(list(SOLVERS), "euler", help="how a step moves: straight on, or by fresh noise").tag(
        sync=True, code=True)
    clean = traitlets.Enum(["", *CLEANERS], "", help="how noise is taken out of the sound before it is heard; "
                                                    "empty: not at all").tag(sync=True, code=True)
    output = traitlets.Unicode("", help="the video file; empty: one in the folder for temporary files").tag(
        sync=True, code=True)
    backend = traitlets.Unicode("mini", help="which model").tag(sync=True, code=True)
    page = traitlets.Unicode("change", help="the view that is open at the bottom").tag(sync=True, code=True)

    _sent_sound: object = None                            # what the browser has
    _sent_face: object = None

    @property
    def speech(self) -> Speech:
        """Return what will be said. Raises InputError where it cannot be read."""
        return load_speech(*self._sound_wanted)

    @property
    def portrait(self) -> Portrait:
        """Return who will say it. Raises InputError where it cannot be read."""
        if self.face == "sample":
            return load_sample_portrait(self.person)
        return self.designer.portrait if self.face == "designer" else load_picture(self.picture)

    @property
    def words(self) -> Prompt:
        """Return what was understood of the prompt."""
        return Prompt(self.prompt) if self.free_text else parse_prompt(self.prompt)

    @property
    def free_text(self) -> bool:
        """Tell whether the model reads every word; mini looks for those it knows."""
        return self.pipeline is not None and self.pipeline.backend.free_text

    @property
    def config(self) -> GenerationConfig:
        """Return how the next video will be made. Raises InputError for what cannot be."""
        return GenerationConfig(**self.path.choice, size=self.size or None, base_seed=self.seed,
                                start_s=self.start_s, duration_s=self.seconds or None, clean=self.clean or None,
                                portrait_strength=self.portrait_strength, sound_strength=self.sound_strength,
                                label=None if self.label else False)

    @property
    def preset(self) -> str:
        """Return which preset the settings are, or "own"."""
        return next((name for name, preset in PRESETS.items()
                     if all(getattr(self, trait) == value for trait, value in preset.settings.items())), "own")

    @preset.setter
    def preset(self, name: str) -> None:
        if name not in PRESETS:
            raise InputError(f"preset {name!r} is unknown; known: {', '.join(PRESETS)}")
        with self.hold_trait_notifications():
            for trait, value in PRESETS[name].settings.items():
                setattr(self, trait, value)

    @property
    def _model(self) -> Backend | type[Backend]:
        """Return the model, or its class as long as its weights are not needed."""
        return class_of(self.backend, self.model) if self.pipeline is None else self.pipeline.backend

    @property
    def _own_size(self) -> str:
        return size_text(self._model.default_size)

    @property
    def _sound_wanted(self) -> tuple[str, ...]:
        return {"sample": ("sample", self.sample), "text": ("text", self.text, self.voice),
                "recording": ("recording", self.recording)}[self.sound]

    # ------------------------------------------------------------------ drawing

    def _draw_sound(self, full: bool, body: Body, buffers: Buffers) -> None:
        body["sound"] = {"seconds": 0.0, "text": ""}
        if self.sound == "recording" and not self.recording:        # nothing was chosen yet: that is no fault
            self._report("sound", "")
            return
        try:
            speech = self.speech
            self._report("sound", "")
        except InputError as problem:
            self._report("sound", sentence(problem))
            return
        body["sound"] = {"seconds": speech.duration_s, "text": speech.text}
        if full or self._sent_sound is not speech:
            self._sent_sound = speech
            buffers["wave"] = outline(speech.wave).tobytes()

    def _draw_face(self, full: bool, body: Body, buffers: Buffers) -> None:
        if self.face == "picture" and not self.picture:
            self._report("face", "")
            return
        try:
            portrait = self.portrait
            seen = portrait_in_frame(self._model, portrait, GenerationConfig(size=self.size or None))
            self._report("face", "")
        except InputError as problem:
            self._report("face", sentence(problem))
            return
        height, width = seen.frame
        warning = self._warning(portrait) or without_folder(seen.warning)
        body["frame"] = {"width": width, "height": height, "warning": warning}
        if full or self._sent_face is not seen:
            self._sent_face = seen
            pixels = thumbnail(seen.portrait, seen.frame)
            buffers[f"face/{pixels.shape[1]}/{pixels.shape[0]}"] = pixels.tobytes()

    def _warning(self, portrait: Portrait) -> str:
        """Say what will become of a portrait that the model was not trained for."""
        if portrait.identity is not None or not self._model.expects_rendered:
            return ""
        return (f"{self._model.name} was trained on drawn avatars only: a photo blurs and changes while it speaks, and "
                "soon does not look like itself")
