"""A process that ends while views are being drawn ends well."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAVES_EARLY = """
import sys, time
from fakes import FakeBackend, face, tone
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from widgets import LipView, MemoryView, StepGrid, _decoding, _mouth, _render_loop
for module in (_decoding, _mouth, _render_loop, sys.modules[Run.__module__]):
    module.EXIT_TIMEOUT_S = 250                            # however slow the machine is
run = Run.of(Pipeline(FakeBackend(pause_s=0.01)), tone(60), face(32, 32), "", GenerationConfig(size=(32, 32)))
views = [View(run) for View in (LipView, MemoryView, StepGrid)]
for view in views:
    view.send = lambda content, buffers, view=view: view._receive_message(
        view, {"kind": "ack", "number": content["number"]}, [])
    view._receive_message(view, {"kind": "hello"}, [])
run.start()
while views[0].reader.lips_so_far is None:
    time.sleep(0.01)
print(run.state)
"""


def test_the_interpreter_ends_in_the_middle_of_a_run():
    ended = subprocess.run([sys.executable, "-c", LEAVES_EARLY], cwd=ROOT / "tests", capture_output=True, text=True,
                           timeout=300, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "running\n", "")
