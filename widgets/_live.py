"""The base of all views: one way to a browser, one clock, one look.

A view draws when it is asked to, at most ten times a second, in a thread of its own (`RenderLoop`), and never in the
run's. What it draws is a small JSON `body` and named binary `buffers`; both travel in one message with a number, and
the next message waits until the browser has drawn that one: whoever is slow sees fewer pictures, not older ones.

    worker thread      notices an event: sets a flag, nothing else
    render loop        view.draw(full) -> body, buffers -> message 17
    browser            draws it, answers "17"
"""

from __future__ import annotations

import difflib
import io
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import traitlets

from liveavatar.interrupts import stop_on_interrupt
from liveavatar.memory_errors import out_of_memory_sentence
from liveavatar.runs.info import PAUSED, READY, RUNNING, StateChange
from liveavatar.runs.run import Run
from liveavatar.trace import Trace
from liveavatar.types import Block, InputError, Step
from liveavatar.web.assembly import assembled
from widgets._linked import link_traits
from widgets._message_gate import MessageGate
from widgets._render_loop import exiting, render_loop
from widgets._saved import still_html

if TYPE_CHECKING:
    import os

    from PIL.Image import Image

    from liveavatar.types import Speech

    Source = Run | Trace | str | os.PathLike

STATIC = Path(__file__).parent / "static"             # scripts and styles

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

    script = ""                      # module in static/ that ends with `export default live(view)`
    nothing = "Nothing to show yet."  # the sentence of a view that was given nothing
    drawn_after: tuple[type, ...] = (Step, Block)   # events of a run; after a StateChange of its state in any case

    error = traitlets.Unicode("", help="what went wrong, in a sentence; empty when all is well").tag(sync=True)
    time_s = traitlets.Float(0.0, help="the time cursor: seconds from the beginning of the video").tag(sync=True)
    controls = traitlets.Bool(True, help="show the buttons Start, Step, Block and Stop").tag(sync=True, code=True)
    _cursor = traitlets.Unicode("", help="views with the same name share their cursor within the page").tag(sync=True)
    _keys = traitlets.Unicode("space: start or pause; arrows: move", help="read by screen readers").tag(sync=True)

    def __init_subclass__(cls, **options: object) -> None:
        if "script" in cls.__dict__:                       # not in the copies that traitlets makes of a class
            cls._esm, cls._css = assembled(STATIC / cls.script)
        super().__init_subclass__(**options)

    def __init__(self, source: Source | None = None, *, cursor: Cursor | None = None, **traits: object) -> None:
        self._unsubscribe: Callable[[], None] = do_nothing
        self._unlink: Callable[[], None] = do_nothing
        self._refuse_unknown(traits)
        self.run: Run | None = None
        self._runs = 0                           # that were shown so far: the browser must know one from the next
        self._lock = threading.RLock()           # of drawing
        stop_on_interrupt()                      # here and not at the first click, which may come in another thread
        self._gate = MessageGate()
        self.part_of: LiveView | None = None     # the view in which this one is shown, and whose still shows it too
        self._still_name = ""                    # of the output that holds the still
        self._still_of: Run | None = None        # whose end it shows
        self._decoded_of: Run | None = None      # whose decoded pictures it shows
        self._problems: dict[str, str] = {}      # where it arose -> what the error line says of it
        self._moves = 0                          # of traits, so far
        self._coded: tuple[int, list[str]] = (-1, [])      # moves -> the choices as code, then
        super().__init__(**traits)
        self.on_msg(self._receive_message)
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
            self.reset()
        if self.run is not None:
            if self.time_s > self.run.total_s > 0:         # a cursor that stands beyond the end of this one
                self.time_s = 0.0
            self._unsubscribe = self.run.subscribe(self._on_event)
        self.refresh(full=True)

    def follow(self, cursor: Cursor) -> None:
        """Share a time cursor with other views."""
        self._unlink()
        self._cursor = f"{id(cursor):x}"
        self._unlink = link_traits(cursor, self, "time_s")

    def as_code(self) -> str:
        """Return Python that makes this view again, with the choices made in it."""
        arguments = [*(["run"] if self.run is not None else []), *self._choices()]
        return f"{type(self).__name__}({', '.join(arguments)})"

    def refresh(self, full: bool = False, urgent: bool = True) -> None:
        """Draw again soon. full: everything, not only what is new. May be called from any thread."""
        self._gate.request(full, urgent)
        if self._gate.wanted:
            render_loop().wake(self)

    def still(self) -> Image | None:
        """Return the view as a picture, for saved notebooks; None where there is nothing to see."""
        return None

    def close(self) -> None:
        """Unsubscribe from the run and leave the page."""
        self._unsubscribe()
        self._unlink()
        super().close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run!r})" if self.run is not None else f"{type(self).__name__}()"

    def _repr_mimebundle_(self, **options: object) -> tuple[dict, dict] | None:
        self._gate.displayed = True
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

    def reset(self) -> None:
        """Forget what was known of the run before: there is another one, or none. Called with the lock held."""

    def on_event(self, event: object) -> None:
        """React to an event of the run, in the run's thread: take a note, do not work."""

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        """Return what is to be shown: all of the body, and the buffers that are new (all of them when full). In the
        render loop's thread, with the lock held. What it raises becomes the view's error line."""
        return {}, {}

    def finished_decoding(self) -> None:
        """Keep a still of a run that is over: all pictures that the view asked for are decoded. Called in the
        decoding thread."""
        if self.run is not None and self.run.state not in (RUNNING, PAUSED) and self._decoded_of is not self.run:
            self._decoded_of = self.run
            self.keep_still()

    def on_message(self, kind: str, content: dict) -> None:
        """Handle a message of the view's own script, sent with `ctx.send(kind, content)`."""

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
        """Return what every view's script may know."""
        if self.run is None:
            return {"run": None, "nothing": "" if self.shows else self.nothing, "code": self.as_code()}
        run, info = self.run, self.run.info
        newest = run.last_step if run.state == PAUSED else None
        return {"code": self.as_code(), "run": {
            "number": self._runs, "state": run.state, "stopping": run.stopping, "stepping": run.stepping,
            "paused_after": None if newest is None else [newest.block, newest.index],
            "done_s": run.done_s, "total_s": run.total_s,
            "x_realtime": run.x_realtime, "first_picture_s": run.first_picture_s, "fps": info.fps,
            "block_s": info.block_s, "block_latents": info.block_latents, "blocks": info.blocks,
            "steps": info.steps, "failure": "" if run.error is None else sentence(run.error)}}

    def _report(self, where: str, problem: str) -> None:
        """Put a sentence into the error line, or take this place's sentence out of it."""
        self._problems[where] = problem
        shown = next(filter(None, self._problems.values()), "")
        if self.error != shown:
            self.error = shown

    def _on_event(self, event: object) -> None:
        self.on_event(event)
        if isinstance(event, StateChange) and event.state == PAUSED and event.reached is not None:
            self._show_newest_block()
        if isinstance(event, (StateChange, *self.drawn_after)):
            self.refresh(urgent=isinstance(event, StateChange))

    def _show_newest_block(self) -> None:
        """Move the cursor to the block that was worked on, after a click on Step or Block."""
        info, newest = self.run.info, self.run.last_step.block
        if info.block_at(self.time_s) != newest:
            middle_s, last_s = (newest + 0.5) * info.block_s, info.total_s - 0.5 / info.fps
            self.time_s = min(middle_s, last_s) if info.frames else middle_s

    def _trait_moved(self, change: traitlets.Bunch) -> None:
        self._moves += 1
        if self.trait_metadata(change.name, "sync") and not change.name.startswith("_") and change.name != "error":
            self.refresh()

    def _receive_message(self, _: object, content: dict, buffers: list) -> None:
        """Handle a message from the browser. It may come in any thread."""
        kind = content.get("kind")
        if kind == "hello":
            self._gate.connected()
            self.refresh(full=True)
        elif kind == "ack":
            self._gate.acknowledged(content["number"])
            if self._gate.wanted:
                render_loop().wake(self)
        elif kind == "steer":
            self._guarded(lambda: self._steer(content["what"]))
        else:
            self._guarded(lambda: self.on_message(kind, content))

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
        """Send one message, from the render loop's thread."""
        full = self._gate.begin()
        began_s = time.thread_time()
        body, buffers = self.paint(full)
        running = self.run is not None and self.run.state in (RUNNING, READY)
        number = self._gate.sent(time.thread_time() - began_s if running else 0.0)
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
        if not exiting.is_set():                # else nobody is there to be sent so much
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
        """Return ["name=value", ...] of what differs from its default."""
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


@cache
def coded_traits(view: type[LiveView]) -> list[tuple[str, traitlets.TraitType]]:
    """Return the traits that are a user's choices."""
    return sorted(view.class_traits(code=True).items())


def sentence(problem: BaseException) -> str:
    """Return an exception in words."""
    if isinstance(problem, InputError):
        return str(problem)
    return out_of_memory_sentence(problem) or f"{type(problem).__name__}: {problem}"


def do_nothing() -> None:
    """Do nothing, where there is nothing to undo."""
