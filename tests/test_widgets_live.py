"""What all views share, without a browser: what is sent and when, errors in words, the cursor, the code."""

import io
import threading
import time

import numpy as np
import pytest
import traitlets
from fakes import FakeBackend, face, tone, wait_until
from PIL import Image

import widgets
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.info import StateChange
from liveavatar.runs.run import Run
from liveavatar.types import Block, InputError, Step
from widgets import _live, _render_loop
from widgets._live import Cursor, LiveView
from widgets._message_gate import MAX_HZ, MessageGate
from widgets.cache_view import CacheView


class Plain(LiveView):
    """Draws how often it was asked to."""

    script = "cache_view.js"
    height = traitlets.Int(3, help="something to choose").tag(sync=True, code=True)

    def __init__(self, *arguments, **options) -> None:
        self.drawn, self.fulls, self.problem, self.sent = 0, 0, None, []
        super().__init__(*arguments, **options)

    def draw(self, full):
        if self.problem is not None:
            raise self.problem
        self.drawn += 1
        self.fulls += full
        return {"drawn": self.drawn}, {"pixels": b"12"}

    def send(self, content, buffers=None):
        self.sent.append((content, buffers))


def make_run(seconds: float = 0.96) -> Run:
    config = GenerationConfig(size=(32, 32))
    return Run.of(Pipeline(FakeBackend()), tone(seconds), face(32, 32), "", config)


@pytest.fixture(scope="module")
def finished() -> Run:
    run = make_run()
    run.start().result()
    return run


def hello(view: LiveView) -> None:
    view._receive_message(view, {"kind": "hello"}, [])


def test_a_view_says_what_it_lacks_instead_of_failing():
    body, buffers = Plain().paint()
    assert body["nothing"] == Plain.nothing and body["run"] is None and buffers == {}


def test_a_view_shows_a_run_a_trace_or_a_folder(finished, tmp_path):
    for source in (finished, finished.trace, finished.save(tmp_path / "seen")):
        body, buffers = Plain(source).paint()
        assert body["drawn"] == 1 and buffers == {"pixels": b"12"}
        assert body["run"]["blocks"] == 2 and body["run"]["steps"] == 4


def test_what_cannot_be_opened_is_said_in_the_error_line(tmp_path):
    view = Plain(tmp_path / "nowhere")
    assert "nowhere" in view.error and view.run is None
    view.watch(make_run())
    assert view.error == ""


def test_what_drawing_raises_is_said_in_the_error_line_and_goes_away(finished):
    view = Plain(finished)
    view.problem = InputError("no room for 3 hats; take 2")
    view.paint()
    assert view.error == "no room for 3 hats; take 2"
    view.problem = ZeroDivisionError("by zero")
    view.paint()
    assert view.error == "ZeroDivisionError: by zero"
    view.problem = None
    view.paint()
    assert view.error == ""


def test_a_misspelt_argument_is_refused_by_name():
    with pytest.raises(InputError, match="no 'hight'; did you mean 'height'"):
        Plain(hight=2)


def test_printing_a_view_costs_nothing(finished):
    view = Plain(finished)
    assert repr(view).startswith("Plain(Run(finished") and view.drawn == 0


def test_choices_become_code(finished):
    assert Plain().as_code() == "Plain()"
    assert Plain(finished, height=5).as_code() == "Plain(run, height=5)"
    again = eval(Plain(finished, height=5).as_code(), {"Plain": Plain, "run": finished})
    assert again.height == 5 and again.run is finished


def test_nothing_is_drawn_while_nobody_looks():
    run = make_run()
    view = Plain(run)
    run.start().result()
    assert view.drawn == 0 and view.sent == []


def test_a_browser_is_sent_everything_once_and_no_more_until_it_answers(finished):
    view = Plain(finished)
    hello(view)
    wait_until(lambda: view.sent)
    content, buffers = view.sent[0]
    assert content["full"] and content["names"] == ["pixels"] and buffers == [b"12"]
    view._gate._sent_s = 1e9                               # as if it had just been sent, for ever
    for _ in range(20):
        view.refresh()
    time.sleep(0.25)
    assert len(view.sent) == 1
    view._gate._sent_s = 0
    view._receive_message(view, {"kind": "ack", "number": content["number"]}, [])
    wait_until(lambda: len(view.sent) == 2)
    assert not view.sent[1][0]["full"]


def test_views_that_are_due_together_are_drawn_in_one_go(finished, monkeypatch):
    monkeypatch.setattr(_render_loop, "TOGETHER_S", 300)
    loop = _render_loop.RenderLoop()                       # other views, of other tests, keep out of it
    monkeypatch.setattr(_live, "render_loop", lambda: loop)
    views = [Plain(finished) for _ in range(3)]
    for view in views:
        hello(view)
    wait_until(lambda: all(view.sent for view in views) and not loop._awake)
    drawn = []
    for delay_s, view in zip((0, 200, 900), views, strict=True):           # the last one has time
        view._receive_message(view, {"kind": "ack", "number": 1}, [])
        view._gate._sent_s = time.monotonic() + delay_s
        view.send = lambda content, buffers=None, view=view: drawn.append(view)
    with loop._woken:                                      # until all are asked for
        for view in reversed(views):
            view.refresh()
    wait_until(lambda: drawn and not loop._awake)
    assert drawn == views[:2]
    loop.stop()


def test_the_code_follows_every_choice(finished):
    view = Plain(finished)
    for height in (5, 6, 3):
        view.height = height
        code = "Plain(run)" if height == 3 else f"Plain(run, height={height})"
        assert view.as_code() == view.paint()[0]["code"] == code


def test_many_changes_become_few_pictures(finished):
    view = Plain(finished)
    hello(view)
    wait_until(lambda: view.sent)
    view._receive_message(view, {"kind": "ack", "number": 1}, [])
    began = time.monotonic()

    def change() -> bool:
        view.height += 1
        view._receive_message(view, {"kind": "ack", "number": len(view.sent)}, [])
        return len(view.sent) >= 6

    wait_until(change)
    assert len(view.sent) <= 2 + MAX_HZ * (time.monotonic() - began)


def test_a_view_is_drawn_after_what_concerns_it_and_after_every_change_of_state(finished):
    class OfBlocks(Plain):
        drawn_after = (Block,)

    view = OfBlocks(finished)
    view._gate.begin()
    view._on_event(finished.step_record(0, 0))
    assert not view._gate._dirty
    for event in (finished.blocks[0], StateChange("finished")):
        view._on_event(event)
        assert view._gate._dirty
        view._gate.begin()


def test_a_message_waits_for_the_answer_but_not_for_ever():
    gate = MessageGate()
    gate.request(full=False, urgent=True)
    assert not gate.wanted                                 # nobody looks
    gate.connected()
    assert gate.wanted and gate.begin() is False
    gate.sent(0.0)
    assert gate.due_s() == pytest.approx(gate._sent_s + 0.5)
    gate.acknowledged(1)
    assert gate.due_s() == pytest.approx(gate._sent_s + 0.1)
    gate.sent(0.02)                                        # costly, while a run is going
    gate.acknowledged(2)
    assert gate.due_s() == pytest.approx(gate._sent_s + 1.0)
    gate.request(full=False, urgent=True)                      # but a click is answered at once
    assert gate.due_s() == pytest.approx(gate._sent_s + 0.1)


def test_the_cursor_moves_all_views_that_share_it(finished):
    cursor = Cursor()
    one, other, alone = Plain(finished, cursor=cursor), Plain(finished, cursor=cursor), Plain(finished)
    one.time_s = 0.5
    assert cursor.time_s == other.time_s == 0.5 and alone.time_s == 0
    cursor.time_s = 0.7
    assert one.time_s == other.time_s == 0.7
    assert one._cursor == other._cursor != alone._cursor


def test_a_cursor_that_moves_while_it_is_moved_is_in_one_place_afterwards(finished):
    """A run begins and puts the cursor to 0 while a video is played: once in a while the run did not begin."""
    cursor = Cursor()
    one, other = Plain(finished, cursor=cursor), Plain(finished, cursor=cursor)
    one.observe(lambda change: setattr(other, "time_s", 0.7) if change.new == 0.5 else None, "time_s")
    cursor.time_s = 0.5
    assert one.time_s == other.time_s == cursor.time_s == 0.7


def test_clicks_steer_the_run_and_their_errors_are_shown():
    run = make_run()
    view = Plain(run)
    view._receive_message(view, {"kind": "steer", "what": "step"}, [])
    wait_until(lambda: run.state == "paused")
    assert len(run.recorded_steps) == 1
    view._receive_message(view, {"kind": "steer", "what": "stop"}, [])
    run.result()
    assert run.state == "stopped"
    view._receive_message(view, {"kind": "steer", "what": "step"}, [])
    assert "over" in view.error
    empty = Plain()
    empty._receive_message(empty, {"kind": "steer", "what": "toggle"}, [])
    assert empty.error == Plain.nothing


def test_a_failed_run_says_why_in_its_views():
    backend = FakeBackend()
    backend.decoder = lambda condition=None: None
    run = Run.of(Pipeline(backend), tone(0.96), face(32, 32), "", GenerationConfig(size=(32, 32)))
    view = Plain(run)
    run.start()
    run.wait()
    assert "decode" in view.paint()[0]["run"]["failure"]


def test_watching_another_run_forgets_the_first():
    first, second = make_run(), make_run()
    heard = []

    class Listening(Plain):
        def on_event(self, event):
            heard.append(event)

    view = Listening(first)
    view.watch(second)
    first.start().result()
    assert heard == []
    second.start().result()
    assert sum(isinstance(event, Step) for event in heard) == 8
    view.watch(None)
    assert view.run is None


def test_the_run_does_not_wait_for_a_slow_view():
    run = make_run()
    drawing, drawn = threading.Event(), []

    class Slow(Plain):
        def draw(self, full):
            drawn.append(drawing.wait(300))
            return {}, {}

    view = Slow(run)
    hello(view)
    run.start().result()                                   # would wait for ever for every picture
    assert run.state == "finished" and drawn == []
    drawing.set()


def test_a_still_picture_travels_with_the_output(finished):
    data = CacheView(finished)._repr_mimebundle_()[0]
    assert "application/vnd.jupyter.widget-view+json" in data
    picture = Image.open(io.BytesIO(data["image/png"]))
    assert picture.width > 400 and np.asarray(picture).std() > 5
    assert "image/png" not in CacheView()._repr_mimebundle_()[0]


def test_every_trait_is_explained():
    for name in ("StepGrid", "ScheduleView", "CacheView"):
        for trait, declared in getattr(widgets, name).class_own_traits().items():
            assert trait.startswith("_") or declared.help, f"{name}.{trait}"


def test_an_unknown_widget_is_named():
    with pytest.raises(AttributeError, match="no 'StepGird'"):
        _ = widgets.StepGird


def test_after_a_step_the_cursor_goes_to_the_block_that_was_worked_on():
    run, cursor = make_run(1.12), Cursor()                 # the last of three blocks has 4 frames
    view = Plain(run, cursor=cursor)
    for made, block in ((1, 0), (5, 1), (9, 2)):
        while len(run.recorded_steps) < made:
            seen = len(run.recorded_steps)
            run.step()
            wait_until(lambda seen=seen: run.state == "paused" and len(run.recorded_steps) > seen)
        wait_until(lambda block=block: run.info.block_at(cursor.time_s) == block)      # told of after the pause began
        wait_until(lambda: view.time_s == cursor.time_s)
        assert view.time_s < run.total_s
    cursor.time_s = 0.7
    run.start().result()
    assert cursor.time_s == 0.7                            # a run that goes on leaves it where somebody has put it


def test_a_pause_by_hand_leaves_the_cursor_where_it_is():
    run = make_run()
    view = Plain(run)
    view.time_s = 0.1
    view._on_event(StateChange("paused"))
    assert view.time_s == 0.1


def test_a_cursor_beyond_the_end_of_a_shorter_run_goes_to_its_beginning(finished):
    view = Plain(finished)
    view.time_s = 0.9
    numbers = [view.paint()[0]["run"]["number"]]
    view.watch(make_run(0.48))
    assert view.time_s == 0
    numbers.append(view.paint()[0]["run"]["number"])
    assert numbers[0] != numbers[1]                        # so that a browser knows one run from the next
