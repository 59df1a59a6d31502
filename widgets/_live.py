"""What all views share: one way to a browser, one clock, one look.

A view draws when it is asked to, at most ten times a second, in a thread of its own (`Painter`), and never in the
run's. What it draws is a small JSON `body` and named binary `buffers`; both travel in one message with a number, and
the next message waits until the browser has drawn that one: whoever is slow sees fewer pictures, not older ones.

    worker thread      notices an event: sets a flag, nothing else
    painter thread     view.draw(full) -> body, buffers -> message 17
    browser            draws it, answers "17"
"""

from __future__ import annotations

import atexit
import difflib
import io
import json
import re
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anywidget
import traitlets

from liveavatar.glossary import TERMS
from liveavatar.interrupts import stop_on_interrupt
from liveavatar.run import LONGEST_GOODBYE_S, PAUSED, READY, RUNNING, Change, Run
from liveavatar.trace import Trace
from liveavatar.types import Block, InputError, Step
from widgets._saved import still_html

if TYPE_CHECKING:
    import os

    from PIL.Image import Image

    from liveavatar.types import Speech

    Source = Run | Trace | str | os.PathLike

STATIC = Path(__file__).parent / "static"
MODULE_WORDS = re.compile(r"^(?:import [^;]+;\n|export (?=(?:async )?function|class|const))", re.MULTILINE)
OWN = ("compare", "inputs", "player_engine", "present", "recorder", "save", "step_detail", "upload", "waveform")
LIBRARIES = {"uplot": ("uplot/uPlot.iife.min.js", "uplot/uPlot.min.css")} | {
    name: (f"{name}.js", f"{name}.css") for name in OWN}

MOST_HZ = 10.0                # messages a second of one view
PATIENCE_S = 0.5              # for the browser's answer; then one more message may go
UNHEARD_S = 2.0               # between full messages to a browser that has never answered (its kernel may be blocked)
MOST_SHARE = 0.01             # of one core, that one view may spend on drawing while a run is going
LONGEST_PAUSE_S = 1.0         # between two pictures, however much they cost
TOGETHER_S = 0.03             # what is due so soon is drawn in one go: each rising of the painter takes from a run

Body = dict[str, object]
Buffers = dict[str, bytes]


class Cursor(traitlets.HasTraits):
    """One point in time that many views share: move it in any of them, and all follow."""

    time_s = traitlets.Float(0.0, min=0.0, help="seconds from the beginning of the video")

    def __repr__(self) -> str:
        return f"Cursor(time_s={self.time_s:.3f})"


class VideoOpener:
    """The name `open`: asked of a class it opens a video, asked of a view it is that of ipywidgets."""

    def __get__(self, view: LiveView | None, kind: type[LiveView]) -> Callable:
        return partial(view_of_video, kind) if view is None else super(LiveView, view).open


def view_of_video(kind: type[LiveView], path: str | os.PathLike, sound: str | os.PathLike | Speech | None = None,
                  transcript: str = "", **options: object) -> LiveView:
    """Show any video file in a view of a kind.

    path: any size, codec and frame rate that FFmpeg reads; sound: another recording instead of its own, or Speech with
    phonemes; transcript: the English words that are spoken, or a .txt file of them; options: as for the view itself.
    Raises InputError for files and transcripts that cannot be read.
    """
    from liveavatar.inspection import open_video

    return kind(open_video(path, sound, transcript=transcript), **{"controls": False} | options)


class LiveView(anywidget.AnyWidget):
    """The base of every view. A view has a script in `static/`, traits, and `draw`.

    Traits with `code=True` in their tag are what `as_code` repeats. What is drawn may be read from `self.run`, which
    is a Run, a replayed trace, or None.
    """

    script = ""                      # file in static/ that defines `const view = {...}`
    libraries: tuple[str, ...] = ()  # of LIBRARIES
    nothing = "Nothing to show yet."  # the sentence of a view that was given nothing
    drawn_after: tuple[type, ...] = (Step, Block)   # events of a run; after a Change of its state in any case

    error = traitlets.Unicode("", help="what went wrong, in a sentence; empty when all is well").tag(sync=True)
    time_s = traitlets.Float(0.0, help="the time cursor: seconds from the beginning of the video").tag(sync=True)
    controls = traitlets.Bool(True, help="show the buttons Start, Step, Block and Stop").tag(sync=True, code=True)
    _cursor = traitlets.Unicode("", help="views with the same name share their cursor within the page").tag(sync=True)
    _keys = traitlets.Unicode("space: start or pause; arrows: move", help="read by screen readers").tag(sync=True)

    def __init_subclass__(cls, **options: object) -> None:
        if "script" in cls.__dict__:                       # not in the copies that traitlets makes of a class
            cls._esm, cls._css = assemble(cls.script, cls.libraries)
        super().__init_subclass__(**options)

    def __init__(self, source: Source | None = None, *, cursor: Cursor | None = None, **traits: object) -> None:
        self._unsubscribe: Callable[[], None] = do_nothing
        self._unlink: Callable[[], None] = do_nothing
        self._refuse_unknown(traits)
        self.run: Run | None = None
        self._runs = 0                           # that were shown so far: the browser must know one from the next
        self._lock = threading.RLock()           # of drawing
        stop_on_interrupt()                      # here and not at the first click, which may come in another thread
        self._mail = Mail()
        self.part_of: LiveView | None = None     # the view in which this one is shown, and whose still shows it too
        self._still_name = ""                    # of the output that holds the still
        self._still_of: Run | None = None        # whose end it shows
        self._decoded_of: Run | None = None      # whose decoded pictures it shows
        self._problems: dict[str, str] = {}      # where it arose -> what the error line says of it
        self._moves = 0                          # of traits, so far
        self._coded: tuple[int, list[str]] = (-1, [])      # moves -> the choices as code, then
        super().__init__(**traits)
        self.on_msg(self._hear)
        if cursor is not None:
            self.follow(cursor)
        if source is not None:
            self.watch(source)
        self.observe(self._trait_moved)

    # ------------------------------------------------------------------ for users

    open = VideoOpener()        # LipView.open("clip.mp4")

    def watch(self, source: Source | None) -> None:
        """Show a run, what was saved of one, or any video: a Run, a Trace, a folder or a file. None shows nothing."""
        self._unsubscribe()
        self._unsubscribe = do_nothing
        with self._lock:
            try:
                self.run = run_of(source)
                self._report("watch", "")
            except InputError as problem:
                self.run = None
                self._report("watch", sentence(problem))
            self._runs += 1
            self.begin()
        if self.run is not None:
            if self.time_s > self.run.total_s > 0:         # a cursor that stands beyond the end of this one
                self.time_s = 0.0
            self._unsubscribe = self.run.subscribe(self._notice)
        self.refresh(full=True)

    def follow(self, cursor: Cursor) -> None:
        """Share a time cursor with other views."""
        self._unlink()
        self._cursor = f"{id(cursor):x}"
        self._unlink = traitlets.link((cursor, "time_s"), (self, "time_s")).unlink

    def as_code(self) -> str:
        """Python that makes this view again, with the choices made in it."""
        arguments = [*(["run"] if self.run is not None else []), *self._choices()]
        return f"{type(self).__name__}({', '.join(arguments)})"

    def refresh(self, full: bool = False, urgent: bool = True) -> None:
        """Draw again soon. full: everything, not only what is new. May be called from any thread."""
        self._mail.ask(full, urgent)
        if self._mail.wanted:
            painter().wake(self)

    def still(self) -> Image | None:
        """The view as a picture, for saved notebooks; None where there is nothing to see."""
        return None

    def close(self) -> None:
        self._unsubscribe()
        self._unlink()
        super().close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run!r})" if self.run is not None else f"{type(self).__name__}()"

    def _repr_mimebundle_(self, **options: object) -> tuple[dict, dict] | None:
        self._mail.displayed = True
        self.refresh(full=True)
        bundle = super()._repr_mimebundle_(**options)
        picture = self._still_png()
        if bundle is not None and picture is not None:
            bundle[0]["image/png"] = picture
        return bundle

    def _ipython_display_(self, **options: object) -> None:
        """Show the view and, below it, a still that is hidden as long as the view is alive (see live.css): JupyterLab
        cannot draw the widgets of a saved notebook."""
        from IPython.display import HTML, display

        bundle = self._repr_mimebundle_(**options)
        if bundle is None:
            return
        bundle[0].pop("image/png", None)
        display(bundle[0], metadata=bundle[1], raw=True)
        self._still_name = f"liveavatar-still-{self.model_id}"
        display(HTML(self._still_html()), display_id=self._still_name)

    # ------------------------------------------------------------------ for those who write a view

    def begin(self) -> None:
        """Another run, or none: forget what was known of the one before. Called with the lock held."""

    def notice(self, event: object) -> None:
        """An event of the run, in the run's thread: take a note, do not work."""

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        """What is to be seen: all of the body, and the buffers that are new (all of them when full). In the painter's
        thread, with the lock held. What it raises becomes the view's error line."""
        return {}, {}

    def finished_decoding(self) -> None:
        """All pictures that the view asked the decoding thread for are there: those of a run that is over belong into
        the notebook, once. In that thread."""
        if self.run is not None and self.run.state not in (RUNNING, PAUSED) and self._decoded_of is not self.run:
            self._decoded_of = self.run
            self.keep_still()

    def told(self, kind: str, content: dict) -> None:
        """A message of the view's own script, sent with `ctx.send(kind, content)`."""

    @property
    def shows(self) -> bool:
        """Tell whether there is something to draw."""
        return self.run is not None or not self.nothing

    def paint(self, full: bool = True) -> tuple[Body, Buffers]:
        """Draw now and return what a browser would be sent. What it raises ends up in `error`, not here."""
        with self._lock:
            try:
                body, buffers = self.draw(full) if self.shows else ({}, {})
                self._report("draw", "")
            except Exception as problem:
                body, buffers = {"failed": True}, {}                # the script leaves the last picture
                self._report("draw", sentence(problem))
        return self._about() | body, buffers

    # ------------------------------------------------------------------ the way to the browser

    def _about(self) -> Body:
        """What every view's script may know."""
        if self.run is None:
            return {"run": None, "nothing": "" if self.shows else self.nothing, "code": self.as_code()}
        run, facts = self.run, self.run.facts
        return {"code": self.as_code(), "run": {
            "number": self._runs, "state": run.state, "stopping": run.stopping, "stepping": run.stepping,
            "done_s": run.done_s, "total_s": run.total_s,
            "x_realtime": run.x_realtime, "first_picture_s": run.first_picture_s, "fps": facts.fps,
            "block_s": facts.block_s, "block_latents": facts.block_latents, "blocks": facts.blocks,
            "steps": facts.steps, "failure": "" if run.error is None else sentence(run.error)}}

    def _report(self, where: str, problem: str) -> None:
        """Put a sentence into the error line, or take this place's sentence out of it."""
        self._problems[where] = problem
        shown = next(filter(None, self._problems.values()), "")
        if self.error != shown:
            self.error = shown

    def _notice(self, event: object) -> None:
        self.notice(event)
        if isinstance(event, Change) and event.state == PAUSED and event.reached is not None:
            self._show_newest_block()
        if isinstance(event, (Change, *self.drawn_after)):
            self.refresh(urgent=isinstance(event, Change))

    def _show_newest_block(self) -> None:
        """After a click on Step or Block the cursor goes to the block that was worked on, if it is elsewhere."""
        facts, newest = self.run.facts, self.run.last_step.block
        if facts.block_at(self.time_s) != newest:
            middle_s, last_s = (newest + 0.5) * facts.block_s, facts.total_s - 0.5 / facts.fps
            self.time_s = min(middle_s, last_s) if facts.frames else middle_s

    def _trait_moved(self, change: traitlets.Bunch) -> None:
        self._moves += 1
        if self.trait_metadata(change.name, "sync") and not change.name.startswith("_") and change.name != "error":
            self.refresh()

    def _hear(self, _: object, content: dict, buffers: list) -> None:
        """A message from the browser. It may come in any thread."""
        kind = content.get("kind")
        if kind == "hello":
            self._mail.heard()
            self.refresh(full=True)
        elif kind == "ack":
            self._mail.acknowledged(content["number"])
            if self._mail.wanted:
                painter().wake(self)
        elif kind == "steer":
            self._guarded(lambda: self._steer(content["what"]))
        else:
            self._guarded(lambda: self.told(kind, content))

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do what a click asked for; what it raises is shown where the click was."""
        try:
            work()
            self._report("click", "")
        except Exception as problem:
            self._report("click", sentence(problem))

    def _steer(self, what: str) -> None:
        if self.run is None:
            raise InputError(self.nothing)
        steer = {"toggle": self.run.toggle, "step": self.run.step, "block": self.run.next_block, "stop": self.run.stop}
        steer[what]()

    def _send_picture(self) -> None:
        """One message, from the painter's thread."""
        full = self._mail.begin()
        began_s = time.thread_time()
        body, buffers = self.paint(full)
        running = self.run is not None and self.run.state in (RUNNING, READY)
        number = self._mail.sent(time.thread_time() - began_s if running else 0.0)
        names = list(buffers)
        self.send({"number": number, "full": full, "body": body, "names": names}, [buffers[name] for name in names])
        if self.run is not None and self.run.over and self._still_of is not self.run:
            self._still_of = self.run
            self.keep_still()

    def keep_still(self) -> None:
        """Put a picture of the view, as it is now, into the notebook: when the run has ended, or more is known."""
        from IPython.display import HTML, update_display

        if self.part_of is not None:
            self.part_of.keep_still()
        if not self._still_name:
            return
        picture = HTML(self._still_html())
        if not _leaving.is_set():                # else nobody is there to be sent so much
            update_display(picture, display_id=self._still_name)

    def _still_html(self) -> str:
        return still_html(type(self).__name__, self._still_png())

    def _still_png(self) -> bytes | None:
        try:
            with self._lock:
                picture = self.still()
        except Exception:                          # a saved picture is a courtesy; the error line says what is wrong
            return None
        if picture is None:
            return None
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=False)
        return file.getvalue()

    def _choices(self) -> list[str]:
        """["name=value", ...] of what is not as it is by itself."""
        moves, (known, choices) = self._moves, self._coded
        if known != moves:                             # every message carries them, and they seldom change
            choices = [f"{name}={getattr(self, name)!r}" for name, trait in coded_traits(type(self))
                       if getattr(self, name) != trait.default(self)]
            self._coded = moves, choices
        return choices

    def _refuse_unknown(self, traits: dict) -> None:
        known = sorted(name for name in self.trait_names(sync=True) if not name.startswith("_"))
        for name in traits:
            if name not in known and name != "layout":
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise InputError(f"{type(self).__name__} has no {name!r}; {hint}")


def run_of(source: Source | None) -> Run | None:
    """Return what a view is given as a Run: a Run itself, a Trace, the folder of a run, or a video file."""
    if source is None or isinstance(source, Run):
        return source
    from liveavatar.runs import open_run

    return open_run(source)


class Worker(Protocol):
    """Whoever has a thread of its own."""

    def stop(self) -> None:
        """End it, and wait until it has."""


def before_the_end(worker: Worker) -> None:
    """Stop a worker before the interpreter ends: a thread that it meets inside torch takes the process down."""
    _workers.add(worker)


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
_leaving = threading.Event()                   # the interpreter is about to end


@atexit.register
def stop_all_workers() -> None:
    _leaving.set()
    for worker in tuple(_workers):
        worker.stop()


class Mail:
    """When the next message of a view may go. All times in seconds of `time.monotonic`."""

    def __init__(self) -> None:
        self.displayed = False                 # somebody may be looking
        self._answered = False                 # a browser has spoken
        self._dirty = self._full = self._urgent = False
        self._number = self._acknowledged = 0
        self._sent_s = self._full_s = -1e9
        self._cost_s = 0.0
        self._due_s = -1e9                     # of the message that is being made
        self._lock = threading.Lock()

    @property
    def looked_at(self) -> bool:
        """Whether there is somebody to send anything to."""
        return self.displayed or self._answered

    @property
    def wanted(self) -> bool:
        """Whether there is something to send and somebody to send it to."""
        return self._dirty and self.looked_at

    def ask(self, full: bool, urgent: bool) -> None:
        with self._lock:
            self._dirty = True
            self._full |= full
            self._urgent |= urgent

    def heard(self) -> None:
        """A browser has opened the view: it knows nothing yet."""
        with self._lock:
            self._answered, self._acknowledged = True, self._number

    def acknowledged(self, number: int) -> None:
        with self._lock:
            self._acknowledged = max(self._acknowledged, number)

    def due_s(self) -> float:
        """The earliest moment for the next message."""
        with self._lock:
            if not self._answered:
                return self._full_s + UNHEARD_S
            waiting = self._acknowledged < self._number
            thrifty_s = min(max(1 / MOST_HZ, self._cost_s / MOST_SHARE), LONGEST_PAUSE_S)
            pause_s = 1 / MOST_HZ if self._urgent else thrifty_s
            return self._sent_s + (max(pause_s, PATIENCE_S) if waiting else pause_s)

    def begin(self) -> bool:
        """A message is being made; returns whether it has to be full."""
        self._due_s = self.due_s()
        with self._lock:
            full = self._full or not self._answered
            self._dirty = self._full = self._urgent = False
            if full:
                self._full_s = time.monotonic()
            return full

    def sent(self, cost_s: float) -> int:
        """The number of the message that goes now; drawing it took so many seconds of a core."""
        with self._lock:
            self._number += 1
            self._sent_s = max(time.monotonic(), min(self._due_s, time.monotonic() + TOGETHER_S))
            self._cost_s = 0.5 * (self._cost_s + cost_s)
            return self._number


class Painter:
    """One thread that draws for all views, one after the other, each when it is due."""

    def __init__(self) -> None:
        self._waiting: weakref.WeakSet[LiveView] = weakref.WeakSet()
        self._woken = threading.Condition()
        self._ended = self._up = False
        self._rises_s = -1e9                    # when it looks again by itself
        self._thread = threading.Thread(target=self._work, name="liveavatar-painter", daemon=True)
        self._thread.start()
        before_the_end(self)

    def stop(self) -> None:
        """Draw no more; waits for the picture that is being drawn."""
        with self._woken:
            self._ended = True
            self._woken.notify()
        self._thread.join(LONGEST_GOODBYE_S)

    def wake(self, view: LiveView) -> None:
        """A view wants to be drawn. The thread is left asleep when it will look in time anyway."""
        due_s = view._mail.due_s()
        with self._woken:
            self._waiting.add(view)
            if due_s < self._rises_s:
                self._woken.notify()

    def _work(self) -> None:
        while (view := self._next()) is not None:
            try:
                view._send_picture()
            except Exception:                   # the connection is gone: nobody is left to be told
                view._mail.displayed = False
            del view

    def _next(self) -> LiveView | None:
        """Wait until a view is due; None at the end."""
        with self._woken:
            while not self._ended:
                due = sorted(((view._mail.due_s(), view) for view in self._waiting if view._mail.wanted),
                             key=lambda pair: pair[0])
                if due and due[0][0] <= time.monotonic() + (TOGETHER_S if self._up else 0):
                    self._waiting.discard(due[0][1])
                    self._up = True
                    return due[0][1]
                self._up = False
                self._rises_s = due[0][0] if due else 1e9
                wait_s = self._rises_s - time.monotonic() if due else None
                del due
                if wait_s is None or wait_s > 0:
                    self._woken.wait(wait_s)
                self._rises_s = -1e9                           # it is up: whoever comes now is seen
        return None


@cache
def coded_traits(view: type[LiveView]) -> list[tuple[str, traitlets.TraitType]]:
    """The traits that are a user's choices."""
    return sorted(view.class_traits(code=True).items())


@cache
def painter() -> Painter:
    """The painter of this process, made when it is first needed."""
    return Painter()


def assemble(script: str, libraries: tuple[str, ...]) -> tuple[str, str]:
    """The module and the style of a view: libraries, what all views share, and its own. Nothing is fetched."""
    parts = ["keys.js", *(LIBRARIES[name][0] for name in libraries), "live.js", script]
    styles = [LIBRARIES[name][1] for name in libraries] + ["live.css", script.replace(".js", ".css")]
    code = [joined((STATIC / part).read_text(encoding="utf-8")) for part in parts]
    looks = [(STATIC / style).read_text(encoding="utf-8") for style in styles if (STATIC / style).is_file()]
    terms = f"const LA_TERMS = {json.dumps(TERMS, ensure_ascii=False)};"
    return "\n".join([terms, *code, "export default live(view);"]), "\n".join(looks)


def joined(module: str) -> str:
    """Take the imports and exports out of an ES module: all modules of a view become one."""
    return MODULE_WORDS.sub("", module)


def sentence(problem: BaseException) -> str:
    """An exception in words."""
    return str(problem) if isinstance(problem, InputError) else f"{type(problem).__name__}: {problem}"


def do_nothing() -> None:
    """Where there is nothing to undo."""
