"""Everything on one page: what goes in, the video while it is made, and every view of it under one time cursor."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import traitlets

import widgets
from liveavatar.backends import find
from liveavatar.conditions import UNSAID, parse_prompt
from liveavatar.config import CLEANERS, SCHEDULES, SOLVERS, GenerationConfig, size_text
from liveavatar.inputs import cut
from liveavatar.interrupts import result_of, stop_on_interrupt
from liveavatar.run import PAUSED, RUNNING, Run
from liveavatar.types import Block, InputError, Portrait, Prompt, Speech
from widgets._inputs import (
    NO_VOICE,
    SAMPLES,
    frame_of,
    load_picture,
    load_speech,
    outline,
    sample_texts,
    sizes_of,
    temporary,
    thumbnail,
    voices,
    wav_of,
)
from widgets._live import STATIC, Body, Buffers, Cursor, LiveView, Mail, sentence
from widgets._presets import PRESETS
from widgets._save import KINDS, name_for, save
from widgets._uploads import LARGEST_BYTES, Uploads, without_folder

if TYPE_CHECKING:
    import os

    from PIL.Image import Image

    from liveavatar.backends import Backend
    from liveavatar.pipeline import Pipeline
    from liveavatar.trace import Trace
    from liveavatar.video import Video
    from widgets._live import Source

PAUSE_S = 0.2                                             # between two pictures of a view, when nobody has clicked
PAUSES_S = {"MemoryView": 0.0, "CacheView": 0.4, "ScheduleView": 0.4}    # a live curve is a live curve; the others
                                                          # are a mark that moves: less often will do
WARM_UP_S = 0.4                                           # of video: one block
WARMED = ("mini",)                                        # models so small that they are brought when a page opens


class Curtain(Mail):
    """The mail of a view among many: nothing is drawn while it is out of sight, and not too often otherwise."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        super().__init__()
        self.shown = True
        self._pause_s = pause_s                          # between two pictures; clicks are answered sooner

    @property
    def looked_at(self) -> bool:
        return self.shown and super().looked_at

    def due_s(self) -> float:
        due_s = super().due_s()
        return due_s if self._urgent else max(due_s, self._sent_s + self._pause_s)


class Workbench(LiveView):
    """A portrait speaks, and everything can be watched: `Workbench()`, then a click on Run.

    All that is on the page can be had by name: `workbench.run`, `.config`, `.speech`, `.portrait`, `.words`,
    `.cursor`, `.video`; the views are `.player`, `.grid`, `.change`, `.lips`, `.memory`, `.path`, `.caches` and
    `.designer`.
    """

    script = "workbench.js"
    libraries = ("present", "upload", "recorder", "waveform", "save", "inputs")
    nothing = ""
    drawn_after = (Block,)

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
    face = traitlets.Enum(["designer", "picture"], "designer", help="where the portrait comes from").tag(
        sync=True, code=True)
    picture = traitlets.Unicode("", help="a picture file; an upload is put here").tag(sync=True, code=True)
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
    page = traitlets.Unicode("avatar", help="the view that is open at the bottom").tag(sync=True, code=True)
    _children = traitlets.Dict({}, help="views by name").tag(sync=True)
    _keys = traitlets.Unicode("Space: run, pause or go on.").tag(sync=True)

    def __init__(self, source: Source | None = None, *, cursor: Cursor | None = None,
                 pipeline: Pipeline | None = None, **traits: object) -> None:
        self.cursor = cursor if cursor is not None else Cursor()
        self.pipeline = pipeline                         # brought by the first run where none is given
        self._given = pipeline
        self.before: Run | None = None                   # the run that is shown beside the newest one
        self.views: dict[str, LiveView] = {}
        self.run = None
        self._door = threading.Lock()                    # one video at a time
        self._preparing: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._warming: threading.Thread | None = None
        self._problem: BaseException | None = None       # what kept the last run from beginning
        self._says, self._remarks = "", ""               # what is going on; what was noticed about the inputs
        self._sent_sound: object = None
        self._sent_face: object = None
        self._uploads = Uploads()
        self._saving = ""                                # what is being written for the browser
        if pipeline is not None:
            traits.setdefault("model", model_of(pipeline))
        super().__init__(None, cursor=self.cursor, **traits)
        self._mail = Curtain()
        for name, view in VIEWS.items():
            if available(view):
                self.views[name] = self._make(view)
        self._children = {name: view.model_id for name, view in self.views.items()}
        self._link()
        if source is not None:
            self.watch(source)

    # ------------------------------------------------------------------ what is on the page, by name

    def __getattr__(self, name: str) -> LiveView:
        views = self.__dict__.get("views", {})
        if name in views:
            return views[name]
        if name in VIEWS:
            raise AttributeError(f"the view {VIEWS[name]} is not there")
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    @property
    def speech(self) -> Speech:
        """What will be said."""
        return load_speech(*self._sound_wanted)

    @property
    def portrait(self) -> Portrait:
        """Who will say it."""
        return self.designer.portrait if self.face == "designer" else load_picture(self.picture)

    @property
    def words(self) -> Prompt:
        """What was understood of the prompt."""
        return Prompt(self.prompt) if self.free_text else parse_prompt(self.prompt)

    @property
    def free_text(self) -> bool:
        """Whether the model reads every word; mini looks for those it knows."""
        return self.pipeline is not None and getattr(self.pipeline.backend, "free_text", False)

    @property
    def config(self) -> GenerationConfig:
        """How the next video will be made."""
        return GenerationConfig(**self.path.choice, size=self.size or None, base_seed=self.seed,
                                start_s=self.start_s, duration_s=self.seconds or None, clean=self.clean or None)

    @property
    def preset(self) -> str:
        """Which preset the settings are, or "own"."""
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
    def video(self) -> Video | None:
        """The file of the newest run, once it is whole."""
        return None if self.run is None else self.run.video

    @property
    def running(self) -> bool:
        """Whether something is at work: not at rest between two clicks on Step."""
        return self._preparing is not None or (self.run is not None and self.run.running)

    @property
    def busy(self) -> bool:
        """A video is being made, or about to be."""
        return self._preparing is not None or (self.run is not None and self.run.state in (RUNNING, PAUSED))

    # ------------------------------------------------------------------ steering

    def start(self) -> Workbench:
        """Begin a new video, or go on with one that rests. Returns at once; `result()` waits."""
        if self._rests:
            self.run.resume()
            return self
        return self._begin(Run.start)

    def step(self) -> Workbench:
        """Make one sampler step and rest."""
        return self._go(Run.step)

    def next_block(self) -> Workbench:
        """Go on until the next block is decoded, and rest."""
        return self._go(Run.next_block)

    def pause(self) -> None:
        """Rest after the step that is being made."""
        if self.run is not None:
            self.run.pause()

    def stop(self) -> None:
        """End within one step. What is done is kept, and its video can be played."""
        self._cancelled.set()
        if self.run is not None and self.run.state in (RUNNING, PAUSED):
            self.run.stop()

    def result(self) -> Video | Trace:
        """Wait for the end of the video; raises what went wrong."""
        preparing = self._preparing
        try:
            if preparing is not None:
                preparing.join()
        except KeyboardInterrupt:
            self.stop()
            raise
        if self._problem is not None:
            raise self._problem
        if self.run is None:
            raise InputError("nothing has begun; call workbench.start() first")
        return self.run.result()

    def __await__(self) -> Generator:
        return result_of(self).__await__()

    def save(self, path: str | os.PathLike) -> Path:
        """Write what is made so far to a file: .mp4, .webm, .png (the picture at the cursor), .gif (the grid of all
        steps) or .html (a report). Raises InputError where there is nothing to write yet."""
        return save(self.run, path, self.cursor.time_s)

    def watch(self, source: Source | None) -> None:
        """Show a run, or what was saved of one, in all views."""
        super().watch(source)
        self._hand_on()

    def _hand_on(self) -> None:
        """Show the run of this page in all views."""
        for name, view in self.views.items():
            if name != "designer":
                view._guarded(lambda view=view: view.watch(self.run))     # a view that fails says so; the video is made

    def as_code(self) -> str:
        """Python that makes this page again, with its settings."""
        return f"Workbench({', '.join(choice for choice in self._choices() if not choice.startswith('page='))})"

    def still(self) -> Image | None:
        from widgets._stills import below_one_another

        stills = []
        for view in (self.player, self.grid, self.change):
            with view._lock:
                stills.append(view.still())
        return below_one_another(stills)

    def close(self) -> None:
        self.stop()
        super().close()

    # ------------------------------------------------------------------ drawing

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        words = self.words
        body: Body = {
            "words": {"slots": words.slots, "unsaid": UNSAID, "unknown": words.unknown, "free": self.free_text},
            "preset": self.preset,
            "presets": [[name, preset.article, preset.mini] for name, preset in PRESETS.items()],
            "voices": voices(), "voiceless": NO_VOICE, "samples": sample_texts(), "busy": self.busy,
            "sizes": ["", *sizes_of(self._model)], "own_size": self._own_size, "largest_upload": LARGEST_BYTES,
            "kinds": [[suffix, kind.title] for suffix, kind in KINDS.items()], "saving": self._saving,
            "preparing": self._preparing is not None, "says": self._says, "remarks": self._remarks,
            "recording": Path(self.recording).name, "picture": Path(self.picture).name,
            "beside": self.before is not None,
            "models": self.backend == "mini" and (self._given is None or self._given.backend.name == "mini")}
        buffers: Buffers = {}
        self._draw_sound(full, body, buffers)
        self._draw_face(full, body, buffers)
        return body, buffers

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
            frame = frame_of(self._model, portrait, GenerationConfig(size=self.size or None))
            self._report("face", "")
        except InputError as problem:
            self._report("face", sentence(problem))
            return
        body["frame"] = {"width": frame[1], "height": frame[0], "warning": self._warning(portrait)}
        if full or self._sent_face != (id(portrait), frame):
            self._sent_face = id(portrait), frame
            pixels = thumbnail(portrait, frame)
            buffers[f"face/{pixels.shape[1]}/{pixels.shape[0]}"] = pixels.tobytes()

    def _warning(self, portrait: Portrait) -> str:
        """Say what will become of a portrait that the model was not trained for."""
        if portrait.identity is not None or not self._model.expects_rendered:
            return ""
        return (f"{self._model.name} was trained on drawn avatars only: a photo blurs and changes while it speaks, and "
                "soon does not look like itself")

    def told(self, kind: str, content: dict) -> None:
        self._report("background", "")
        if kind == "run":
            self._begin(Run.start)
        elif kind == "preset":
            self.preset = content["name"]
        elif kind == "random":
            self.face = "designer"
            self.designer.random()
        elif kind == "cancel upload":
            self._uploads.drop(content["what"])          # its pieces are taken in _hear
        elif kind == "listen":
            self._in_background(self._send_sound)
        elif kind == "save":
            self._send_file(content["suffix"])
        self.refresh()

    def _steer(self, what: str) -> None:
        """Clicks on Pause, Step, Block and Stop, and the space key."""
        if what == "toggle" and self.run is not None and self.run.state == RUNNING:
            self.pause()
        else:
            {"toggle": self.start, "step": self.step, "block": self.next_block, "stop": self.stop}[what]()

    def _hear(self, sender: object, content: dict, buffers: list) -> None:
        if content.get("kind") == "upload":
            self._guarded(lambda: self._receive(content, buffers))
            return
        super()._hear(sender, content, buffers)
        if content.get("kind") == "hello" and self._warming is None and self.backend in WARMED:
            self._warming = threading.Thread(target=self._warm_up, name="liveavatar-warm-up")
            self._warming.start()

    def _warm_up(self) -> None:
        """Bring the weights and make the first block of a video that nobody sees, so that the first click need not
        wait for what is needed only once."""
        with suppress(Exception):                        # the click will say what is wrong
            pipeline = self._pipeline_wanted()
            config = replace(self.config, duration_s=WARM_UP_S)
            for _ in pipeline.events(self.speech, self.portrait, self.prompt, config):
                if self.busy:
                    break
            if not self.busy and "lips" in self.views:
                from widgets._mouth import warm_up

                warm_up(self.portrait)

    # ------------------------------------------------------------------ beginning, off the main thread

    @property
    def _rests(self) -> bool:
        return self.run is not None and self.run.state == PAUSED

    def _go(self, how: Callable[[Run], object]) -> Workbench:
        """One step or block of the video that rests, or the first one of a new video."""
        if not self._rests:
            return self._begin(how)
        how(self.run)
        return self

    def _begin(self, how: Callable[[Run], object]) -> Workbench:
        with self._door:
            if self.busy:
                raise InputError("One video at a time: this one is still being made. Stop it to begin another.")
            self._cancelled.clear()
            self._problem, self._remarks = None, ""
            config = self.config                         # refuses what cannot be made, before anything is loaded
            output = self.output or str(temporary() / f"workbench-{time.monotonic_ns()}.mp4")
            stop_on_interrupt(self)
            self._report("begin", "")                    # before the thread, which may fail at once
            self._preparing = threading.Thread(target=self._prepare, args=(how, config, output),
                                               name="liveavatar-workbench")
            self._preparing.start()
        self.refresh()
        return self

    def _prepare(self, how: Callable[[Run], object], config: GenerationConfig, output: str) -> None:
        """Bring the weights, read the inputs and let the run go."""
        try:
            run = self._make_run(config, output)
            if not self._cancelled.is_set():
                self.cursor.time_s = 0.0
                before = self.run
                super().watch(run)
                how(run)                                 # while it prepares, the views turn to it
                if self._cancelled.is_set():
                    run.stop()
                self._hand_on()
                self._show_beside(before)
                self.grid.block = self.grid.step = -1    # follow the newest
                if self.page == "avatar":
                    self.page = "change" if how is Run.step else "lips" if "lips" in self.views else "cell"
            self._report("begin", "")
        except Exception as problem:                     # kept for result(); the page says it in words
            self._report("begin", sentence(problem))
            self._problem = problem
        finally:
            self._preparing = None
            self._say("")

    def _make_run(self, config: GenerationConfig, output: str) -> Run:
        self._say("Reading the sound and the portrait ...")
        speech, portrait = self.speech, self.portrait
        if self.pipeline is None or model_of(self.pipeline) != self.model:
            self._say(f"Loading the weights of {self.backend}, a few seconds ...")
            self.pipeline = self._pipeline_wanted()
        with warnings.catch_warnings(record=True) as noticed:
            warnings.simplefilter("always")
            run = Run.of(self.pipeline, speech, portrait, self.prompt, config, output=output)
        known = ("does not know", "not a rendered avatar")       # what the cards Prompt and Portrait say anyway
        remarks = [str(one.message) for one in noticed if one.category is UserWarning]
        self._remarks = without_folder(" ".join(one for one in remarks if not any(words in one for words in known)))
        return run

    def _pipeline_wanted(self) -> Pipeline:
        """The one that was given, if it is of the chosen model; else that of the package."""
        for known in (self.pipeline, self._given):
            if known is not None and model_of(known) == self.model:
                return known
        return bring(self.backend, self.model)

    def _show_beside(self, run: Run | None) -> None:
        """Compare the newest run with the one before, where that is asked for."""
        self.before = run if self.compare and run is not None and run.blocks else None
        self.player.compare(self.before)
        self.refresh()

    def _say(self, what: str) -> None:
        self._says = what
        self.refresh()

    # ------------------------------------------------------------------ what the page is made of

    @property
    def _model(self) -> Backend | type[Backend]:
        """The model, or its class as long as its weights are not needed."""
        return find(self.backend) if self.pipeline is None else self.pipeline.backend

    @property
    def _own_size(self) -> str:
        return size_text(self._model.default_size)

    @property
    def _sound_wanted(self) -> tuple[str, ...]:
        return {"sample": ("sample", self.sample), "text": ("text", self.text, self.voice),
                "recording": ("recording", self.recording)}[self.sound]

    def _make(self, view: str) -> LiveView:
        if view == "Designer":
            return widgets.Designer(size=self.size or self._own_size)
        made = getattr(widgets, view)(cursor=self.cursor, controls=False, **OPTIONS.get(view, {}))
        made.part_of = self
        made._mail = Curtain(PAUSES_S.get(view, PAUSE_S))
        made.nothing = made.nothing and WAITING.get(view, "A click on Run fills this.")
        return made

    def _link(self) -> None:
        """Settings that are shown in two places."""
        for trait in ("steps", "schedule", "solver"):
            setattr(self.path, trait, getattr(self, trait)) if getattr(self, trait) != "own" else None
            traitlets.link((self, trait), (self.path, trait))
        traitlets.link((self, "size"), (self.designer, "size"),
                       (lambda size: size or self._own_size, lambda size: "" if size == self._own_size else size))
        self.designer.observe(self._designed, ["seed", "choices"])
        self.observe(self._page_opened, "page")
        self.observe(self._use_sound_from_start, ["sound", "sample", "recording"])
        self.observe(lambda change: change.new or self._show_beside(None), "compare")
        self._page_opened()

    def _page_opened(self, _: traitlets.Bunch | None = None) -> None:
        """Only what is in sight is drawn."""
        in_sight = {"player", "grid", "designer", PAGES.get(self.page)}
        for name, view in self.views.items():
            if isinstance(view._mail, Curtain) and view._mail.shown != (name in in_sight):
                view._mail.shown = name in in_sight
                view.refresh(full=True)

    def _use_sound_from_start(self, _: traitlets.Bunch) -> None:
        self.start_s = 0.0

    def _designed(self, _: traitlets.Bunch) -> None:
        self.face = "designer"
        self.refresh()

    # ------------------------------------------------------------------ files from the browser, and for it

    def _report(self, where: str, problem: str) -> None:
        super()._report(where, without_folder(problem))

    def _receive(self, content: dict, buffers: list) -> None:
        """Take a piece of a file from the browser; the last one makes it whole."""
        number = content["number"]
        self._report("background", "")
        try:
            path = self._uploads.receive(*(content[name] for name in ("what", "number", "name", "part", "parts")),
                                         bytes(buffers[0]) if buffers else b"")
        except InputError:
            self.send({"kind": "upload", "number": number, "over": True})
            raise
        self.send({"kind": "upload", "number": number, "arrived": content["part"] + 1})
        if path is not None:
            self._in_background(lambda: self._use_upload(content["what"], number, str(path)))

    def _use_upload(self, what: str, number: int, path: str) -> None:
        """Read a file that has arrived, and choose it where it can be used."""
        try:
            if what in ("sound", "microphone"):
                load_speech("recording", path)
                if what == "microphone":
                    self.seconds = 0.0                   # all that was spoken is used
                self.recording, self.sound = path, "recording"
            else:
                load_picture(path)
                self.picture, self.face = path, "picture"
        finally:
            self.send({"kind": "upload", "number": number, "over": True})

    def _send_file(self, suffix: str) -> None:
        """Write a file and hand it to the browser, which puts it where downloads go."""
        if self._saving:
            raise InputError(f"{self._saving} is still being written; wait for it")
        if self.run is None:
            raise InputError("nothing has been made yet; click Run first")
        self._saving = KINDS[suffix].title
        self._in_background(lambda: self._write_and_send(suffix))

    def _write_and_send(self, suffix: str) -> None:
        try:
            name = name_for(self.run, suffix, self.cursor.time_s)
            data = self.save(temporary() / name).read_bytes()
            self.send({"kind": "file", "name": name, "mime": KINDS[suffix].mime}, [data])
        finally:
            self._saving = ""

    def _send_sound(self) -> None:
        """Let the browser play the part of the sound that is used."""
        speech = cut(self.speech, self.start_s, self.seconds or None)
        self.send({"kind": "sound"}, [wav_of(speech)])

    def _in_background(self, work: Callable[[], None]) -> None:
        """Do what takes long in a thread; what it raises is shown until the next click."""
        def worker() -> None:
            try:
                work()
            except Exception as problem:
                self._report("background", sentence(problem))
            self.refresh()

        threading.Thread(target=worker, name="liveavatar-files").start()


VIEWS = {"player": "Player", "grid": "StepGrid", "change": "StepChange", "lips": "LipView", "memory": "MemoryView",
         "path": "ScheduleView", "caches": "CacheView", "designer": "Designer"}     # name in the workbench -> widget

PAGES = {"change": "change", "cell": "grid", "lips": "lips", "memory": "memory", "path": "path", "caches": "caches",
         "avatar": "designer"}                                    # at the bottom -> name of the view
OPTIONS = {"Player": {"height_px": 240}, "StepGrid": {"cell_px": 60}, "MemoryView": {"height_px": 230}}
WAITING = {"Player": "Here somebody will speak.",
           "StepGrid": "Here every sampler step appears while it is made: one row a step, one column a block."}


def available(view: str) -> bool:
    """Whether a view is part of this installation."""
    module = widgets._HOME[view]
    return find_spec(f"widgets.{module}") is not None and (STATIC / f"{module}.js").exists()


def bring(backend: str, model: str = "student") -> Pipeline:
    """The weights of a model, once for all workbenches."""
    from liveavatar.pipeline import load

    with _bringing:
        if (backend, model) not in _brought:
            _brought[backend, model] = load(backend) if model == "student" else load(backend, student=False)
        return _brought[backend, model]


def model_of(pipeline: Pipeline) -> str:
    """"student", or "teacher": the many-step base."""
    return "student" if pipeline.backend.about().get("student", True) else "teacher"


_bringing = threading.Lock()                             # whoever comes second waits for the first
_brought: dict[tuple[str, str], Pipeline] = {}
