"""TrajectoryView in a real browser: paths are drawn, the keys walk through the blocks, numbers follow."""

CELL = """
from fakes import FakeBackend, face, tone
from liveavatar.config import GenerationConfig
from liveavatar.pipeline import Pipeline
from liveavatar.runs.run import Run
from widgets import TrajectoryView
run = Run.of(Pipeline(FakeBackend()), tone(1.44), face(32, 32), "", GenerationConfig(size=(32, 32)))
run.start().result()
branch = run.branch(1, 1, repeat=2)
branch.start().result()
view = TrajectoryView(branch, run)
view
"""
HEAD = "() => document.querySelector('.la-trajectory th')?.textContent"


def test_paths_are_seen_and_the_keys_walk_from_block_to_block(open_notebook):
    book = open_notebook(CELL)
    book.wait_for(f"() => ({HEAD})() === 'block 0'")
    book.page.locator(".la-trajectory").focus()
    book.page.keyboard.press("ArrowRight")
    book.wait_for(f"() => ({HEAD})() === 'block 1'")
    book.wait_for_kernel("view.run.info.block_at(view.time_s) == 1")
    book.page.locator(".la-trajectory input[data-trait=velocities]").check()
    book.wait_for_kernel("view.velocities")
    book.settle()
    label = book.page.locator(".la-trajectory canvas").get_attribute("aria-label")
    assert label.startswith("block 1") and "%" in label
    assert book.page.locator(".la-trajectory .la-error:visible").count() == 0
    book.shoot(".la-trajectory", "trajectory")
