"""Everything on one page: what goes in, the video while it is made, and every view of it under one time cursor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import traitlets

from liveavatar.caught_warnings import caught_warnings
from liveavatar.conditions import SAMPLE_PORTRAITS, UNSAID
from liveavatar.config import GenerationConfig
from liveavatar.interrupts import result_of, stop_on_interrupt
from liveavatar.runs.info import PAUSED, RUNNING
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError
from widgets._inputs import NO_VOICE, sample_texts, sizes_of, temporary, voices
from widgets._linked import link_traits
from widgets._live import Body, Buffers, Cursor, LiveView, sentence
from widgets._message_gate import Throttle
from widgets._models import load_model, model_of
from widgets._page import PAGES, VIEWS, available, make_view
from widgets._presets import PRESETS
from widgets._save import KINDS, save
from widgets._settings import Settings
from widgets._transfers import Transfers
from widgets._uploads import LARGEST_BYTES, without_folder

if TYPE_CHECKING:
    import os

    from PIL.Image import Image

    from liveavatar.pipeline import Pipeline
    from liveavatar.trace import Trace
    from liveavatar.video import Video
    from widgets._live import Source

WARM_UP_S = 0.4                                           # of video: one block
WARMED = ("mini",)                                        # models so small that they are loaded when a page opens


class Workbench(Settings):
    """A portrait speaks, and everything can be watched: `Workbench()`, then a click on Run.

    All of the page has a name: `workbench.run`, `.config`, `.speech`, `.portrait`, `.words`, `.cursor`, `.video`; the
    views are `.player`, `.grid`, `.tree`, `.change`, `.lips`, `.memory`, `.path`, `.caches`, `.designer`, `.gallery`.
    """

    script = "workbench.js"
    nothing = ""
    drawn_after = (Block,)

    _children = traitlets.Dict({}, help="views by name").tag(sync=True)
    _keys = traitlets.Unicode("Space: run, pause or go on.").tag(sync=True)

    def __init__(self, source: Source | None = None, *, cursor: Cursor | None = None,
                 pipeline: Pipeline | None = None, **traits: object) -> None:
        self.cursor = cursor if cursor is not None else Cursor()
        self.pipeline = pipeline                         # loaded by the first run where none is given
        self._given = pipeline
        self.before: Run | None = None                   # the run that is shown beside the newest one
        self.views: dict[str, LiveView] = {}
        self.run = None
        self._start_lock = threading.Lock()                    # one video at a time
        self._preparing: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._warming: threading.Thread | None = None
        self._problem: BaseException | None = None       # what kept the last run from beginning
        self._says, self._remarks = "", ""               # what is going on; what was noticed about the inputs
        self._transfers = Transfers(self)
        if pipeline is not None:
            traits.setdefault("model", model_of(pipeline))
        super().__init__(None, cursor=self.cursor, **traits)
        self._gate = Throttle()
        for name, view in VIEWS.items():
            if available(view):
                self.views[name] = make_view(self, view)
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
    def video(self) -> Video | None:
        """Return the file of the newest run, once it is whole."""
        return None if self.run is None else self.run.video

    @property
    def running(self) -> bool:
        """Tell whether something is at work: not paused between two clicks on Step."""
        return self._preparing is not None or (self.run is not None and self.run.running)

    @property
    def busy(self) -> bool:
        """Tell whether a video is being made, or about to be."""
        return self._preparing is not None or (self.run is not None and self.run.state in (RUNNING, PAUSED))

    # ------------------------------------------------------------------ control

    def start(self) -> Workbench:
        """Begin a new video, or go on with one that is paused. Returns at once; `result()` waits."""
        if self._paused:
            self.run.resume()
            return self
        return self._begin(Run.start)

    def step(self) -> Workbench:
        """Make one sampler step and pause."""
        return self._go(Run.step)

    def next_block(self) -> Workbench:
        """Go on until the next block is decoded, and pause."""
        return self._go(Run.next_block)

    def pause(self) -> None:
        """Pause after the step that is being made."""
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
        self._show_in_views()

    def _show_in_views(self) -> None:
        """Show the run of this page in all views."""
        for name, view in self.views.items():
            if name not in ("designer", "gallery"):
                view._guarded(lambda view=view: view.watch(self.run))     # a view that fails says so; the video is made

    def as_code(self) -> str:
        """Return Python that makes this page again, with its settings."""
        return f"Workbench({', '.join(choice for choice in self._choices() if not choice.startswith('page='))})"

    def still(self) -> Image | None:
        """Return player, grid and changes as one picture."""
        from widgets._stills import below_one_another

        stills = []
        for view in (self.player, self.grid, self.change):
            with view._lock:
                stills.append(view.still())
        return below_one_another(stills)

    def close(self) -> None:
        """Stop the run and leave the page."""
        self.stop()
        super().close()

    # ------------------------------------------------------------------ drawing

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        """Return what the page shows beside its views."""
        words = self.words
        body: Body = {
            "words": {"slots": words.slots, "unsaid": UNSAID, "unknown": words.unknown, "free": self.free_text},
            "preset": self.preset,
            "presets": [[name, preset.article, preset.mini] for name, preset in PRESETS.items()],
            "people": SAMPLE_PORTRAITS, "voices": voices(), "voiceless": NO_VOICE, "samples": sample_texts(),
            "sizes": ["", *sizes_of(self._model)], "own_size": self._own_size, "largest_upload": LARGEST_BYTES,
            "kinds": [[suffix, kind.title] for suffix, kind in KINDS.items()], "saving": self._transfers.saving,
            "preparing": self._preparing is not None, "says": self._says, "remarks": self._remarks,
            "recording": Path(self.recording).name, "picture": Path(self.picture).name,
            "busy": self.busy, "beside": self.before is not None,
            "models": self.backend == "mini" and (self._given is None or self._given.backend.name == "mini")}
        buffers: Buffers = {}
        self._draw_sound(full, body, buffers)
        self._draw_face(full, body, buffers)
        return body, buffers

    def on_message(self, kind: str, content: dict) -> None:
        """Handle a click on the page."""
        self._report("background", "")
        if kind == "run":
            self._begin(Run.start)
        elif kind == "preset":
            self.preset = content["name"]
        elif kind == "random":
            self.face = "designer"
            self.designer.random()
        elif kind == "cancel upload":
            self._transfers.cancel(content["what"])         # its pieces are taken in _receive_message
        elif kind == "listen":
            self._transfers.send_sound()
        elif kind == "save":
            self._transfers.send_file(content["suffix"])
        self.refresh()

    def _steer(self, what: str) -> None:
        """Handle clicks on Pause, Step, Block and Stop, and the space key."""
        if what == "toggle" and self.run is not None and self.run.state == RUNNING:
            self.pause()
        else:
            {"toggle": self.start, "step": self.step, "block": self.next_block, "stop": self.stop}[what]()

    def _receive_message(self, sender: object, content: dict, buffers: list) -> None:
        if content.get("kind") == "upload":
            self._guarded(lambda: self._transfers.receive(content, buffers))
            return
        super()._receive_message(sender, content, buffers)
        if content.get("kind") == "hello" and self._warming is None and self.backend in WARMED:
            self._warming = threading.Thread(target=self._warm_up, name="liveavatar-warm-up")
            self._warming.start()

    def _warm_up(self) -> None:
        """Load the model and make one block that nobody sees: the first click need not wait for what comes once."""
        with suppress(Exception):                        # the click will say what is wrong
            pipeline = self._pipeline_wanted()
            config = replace(self.config, duration_s=WARM_UP_S)
            events = pipeline.events(self.speech, self.portrait, self.prompt, config)
            with caught_warnings():                      # of a sound so short that nobody asked for
                next(events)
            for _ in events:
                if self.busy:
                    break
            if not self.busy and "lips" in self.views:
                from widgets._mouth import warm_up

                warm_up(self.portrait)

    # ------------------------------------------------------------------ beginning, off the main thread

    @property
    def _paused(self) -> bool:
        return self.run is not None and self.run.state == PAUSED

    def _go(self, how: Callable[[Run], object]) -> Workbench:
        """Make one step or block of the video that is paused, or the first one of a new video."""
        if not self._paused:
            return self._begin(how)
        how(self.run)
        return self

    def _begin(self, how: Callable[[Run], object]) -> Workbench:
        with self._start_lock:
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
                self._show_in_views()
                self._show_beside(before)
                self.grid.block = self.grid.step = -1    # follow the newest
                if self.page == "avatar" or (before is None and self.page == "change"):
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
        with caught_warnings() as noticed:
            run = Run.of(self.pipeline, speech, portrait, self.prompt, config, output=output)
        known = ("does not know", "not a rendered avatar")       # what the cards Prompt and Portrait say anyway
        remarks = [str(one.message) for one in noticed if one.category is UserWarning]
        self._remarks = without_folder(" ".join(one for one in remarks if not any(words in one for words in known)))
        return run

    def _pipeline_wanted(self) -> Pipeline:
        """Return the pipeline that was given, if it is of the chosen model; else that of the package."""
        for known in (self.pipeline, self._given):
            if known is not None and model_of(known) == self.model:
                return known
        return load_model(self.backend, self.model)

    def show_branch(self, run: Run, parent: Run | None) -> None:
        """Show a run, a branch beside its parent and where it begins; raise InputError while one is being made."""
        if self.running:
            raise InputError("One video at a time: pause or stop the one that is being made.")
        self.player.playing = False                      # a video that is played moves the chosen cell
        self.watch(run)
        if run.lineage.point is not None:
            self.cursor.time_s = run.lineage.point[0] * run.info.block_s
            self.grid.block, self.grid.step = run.lineage.point
        self._show_beside(parent, always=True)

    def open_branches(self) -> None:
        """Open the page with the tree of branches; the video stops, for the chosen cell follows it."""
        self.player.playing, self.page = False, "branch"

    def _show_beside(self, run: Run | None, always: bool = False) -> None:
        """Compare the newest run with the one before, where that is asked for."""
        self.before = run if (self.compare or always) and run is not None and run.blocks else None
        self.player.compare(self.before)
        self.change.compare_with(self.before)
        self.refresh()

    def _say(self, what: str) -> None:
        self._says = what
        self.refresh()

    # ------------------------------------------------------------------ what the page is made of

    def _link(self) -> None:
        """Link settings that are shown in two places."""
        for trait in ("steps", "schedule", "solver"):
            setattr(self.path, trait, getattr(self, trait)) if getattr(self, trait) != "own" else None
            link_traits(self, self.path, trait)
        traitlets.link((self, "size"), (self.designer, "size"),
                       (lambda size: size or self._own_size, lambda size: "" if size == self._own_size else size))
        self.designer.observe(self._designed, ["seed", "choices"])
        self.observe(self._page_opened, "page")
        self.observe(self._use_sound_from_start, ["sound", "sample", "recording"])
        self.observe(self._on_compare, "compare")
        self._page_opened()

    def _page_opened(self, _: traitlets.Bunch | None = None) -> None:
        """Draw only what is in sight."""
        in_sight = {"player", "grid", "designer", PAGES.get(self.page)}
        for name, view in self.views.items():
            if isinstance(view._gate, Throttle) and view._gate.shown != (name in in_sight):
                view._gate.shown = name in in_sight
                view.refresh(full=True)

    def _on_compare(self, change: traitlets.Bunch) -> None:
        if not change.new:
            self._show_beside(None)

    def _use_sound_from_start(self, _: traitlets.Bunch) -> None:
        self.start_s = 0.0

    def _designed(self, _: traitlets.Bunch) -> None:
        self.face = "designer"
        self.refresh()

    def _report(self, where: str, problem: str) -> None:
        super()._report(where, without_folder(problem))
