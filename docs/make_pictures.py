"""Make the pictures of the documentation anew, from runs in a real JupyterLab: after new weights, or a new page.

    python docs/make_pictures.py                    everything: some minutes
    python docs/make_pictures.py loop               docs/workbench.webp, the moving picture at the top of the README
    python docs/make_pictures.py screens            docs/screens/: the page and its views
    python docs/make_pictures.py laboratory         docs/laboratory/: the three views that tell most of how it works
    python docs/make_pictures.py laboratory flow    of these views only: possible, attention, flow
    python docs/make_pictures.py stills             the small pictures in notebooks/, which GitHub shows
    python docs/make_pictures.py stills 03 05       of these notebooks only

It needs what the browser tests need: `pip install "liveavatar[test]"` and a Chromium. Close other work on the machine:
what was measured during a run (times real time, milliseconds) is in the pictures.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from lab_browser import Book, open_book, start_chromium, start_lab, write_notebook  # noqa: E402

DOCS, NOTEBOOKS = ROOT / "docs", ROOT / "notebooks"
STATE = "() => document.querySelector('.la-bench-state').textContent"

DECODED = """() => ![...document.querySelectorAll('.la-grid-note, .la-bench-page:not([hidden]) .la-note')]
    .some((one) => /Decoding|a preview/.test(one.innerText))"""

LOOP, LOOP_SIZE, LOOP_WIDTH = "workbench.webp", (1280, 720), 960        # window, and width of the picture, px
LOOP_SECONDS, LOOP_STEPS, LOOP_FPS = 2.4, 8, 12.5                       # of video; clicks on Step; of the playing part
LOOP_BYTES = 600_000

STILL_WIDTH, STILL_TALL = 720, 800                                      # px at most
STILL_BYTES, NOTEBOOK_BYTES = 32_000, 240_000                           # of a picture; of a whole notebook
STILL = {"still": True}                                                 # metadata of such an output
OPEN_AT = (1240, 1600)                                                  # window for stills

PAGE = """from liveavatar.speech import SAMPLES
from widgets import Workbench
workbench = Workbench(seconds={}, face="picture", picture=str(SAMPLES / "woman.png"))
workbench"""
VIEWS = """
import liveavatar
from liveavatar.runs.run import Run
from liveavatar.speech import samples
from widgets import Designer, LipView, MemoryView, ScheduleView, StepGrid
run = Run.of(liveavatar.load("mini"), samples()["welcome"], liveavatar.sample_portraits()["woman"], "in warm light",
             liveavatar.GenerationConfig(duration_s=4.32))
memory = MemoryView(run)
run.start().result()
"""
SCREENS = {        # file -> (cell, what to photograph)
    "steps.jpg": ("StepGrid(run)", ".la-grid"),
    "lips.png": ("LipView(run)", ".la-lips"),
    "path.png": ("ScheduleView(schedule='released')", ".la-schedule"),
    "memory.png": ("memory", ".la-memory"),
    "designer.png": ("Designer()", ".la-designer"),
}

KEPT = ROOT / ".train" / "possible" / "7-0.96-256x256"                  # renderings of benchmarks/possible.py
LABORATORY_WIDTH, LABORATORY_BYTES = 1100, 50_000                       # px and bytes of each picture
LABORATORY_RUN = """import liveavatar
pipe = liveavatar.load("mini")
run = liveavatar.Run.of(pipe, liveavatar.samples()["welcome"], {}, "{}", liveavatar.GenerationConfig({}))
"""
LABORATORY = {     # name -> (cell, what to photograph, what is true when it is complete)
    "possible": (LABORATORY_RUN.format("liveavatar.avatar(seed=7)", "waving", "start_s=0.96, duration_s=0.48")
                 + f"""from liveavatar.study import PossibleStudy
from widgets import PossibleView
run.start().result()
study = PossibleStudy(run, renderings=32, folder={str(KEPT)!r}).start().wait()
view = PossibleView(study.found)
view""", ".la-possible", "view.found.count == 32"),
    "attention": (LABORATORY_RUN.format("liveavatar.sample_portraits()['woman']", "waving", "duration_s=1.44")
                  + """from liveavatar import inspect
from widgets import AttentionView
with inspect.record(pipe, layers=[2, 4], readouts=False) as seen:
    run.start().result()
view = AttentionView(run, seen=seen, layer=4, step=0, controls=False)
view.time_s = 1.2
view""", ".la-attention", "view.lips_ms is not None"),
    "flow": ("""from widgets import FlowLab
view = FlowLab(modes=5, steps=4, student_steps=1, method="dmd", sigma=0.6)
view.distil()
view""", ".la-flow .la-flow-row", "view.student is not None and not view._training.working"),
}


# ------------------------------------------------------------------------------------------- pictures and files

def photograph(book: Book, selector: str) -> Image.Image:
    """Take a picture of the first element that is found."""
    return Image.open(io.BytesIO(book.page.locator(selector).first.screenshot())).convert("RGB")


def shrink(picture: Image.Image, width: int, height: int = 100_000) -> Image.Image:
    """Scale a picture down until it is no larger than width x height px."""
    small = picture.convert("RGB")
    small.thumbnail((width, height), Image.Resampling.LANCZOS)
    return small


def as_png(picture: Image.Image, colours: int) -> bytes:
    file = io.BytesIO()
    picture.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def as_jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=True, subsampling=0 if quality > 60 else 2)
    return file.getvalue()


def as_webp(picture: Image.Image, most_bytes: int) -> bytes:
    """Encode a picture as sharp as fits."""
    for quality in (88, 82, 75, 68, 60, 50, 40):
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=quality, method=6)
        if len(file.getvalue()) <= most_bytes:
            break
    return file.getvalue()


def smallest(picture: Image.Image, most_bytes: int) -> tuple[str, bytes]:
    """Encode a picture as sharp as fits: ("image/png" or "image/jpeg", bytes)."""
    while True:
        data = as_png(picture, 128)
        if len(data) <= most_bytes:
            return "image/png", data
        for quality in (85, 75, 60, 45):
            data = as_jpeg(picture, quality)
            if len(data) <= most_bytes:
                return "image/jpeg", data
        picture = shrink(picture, round(0.8 * picture.width))


def keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"{path.relative_to(ROOT)}: {len(data) / 1000:.0f} kB", flush=True)


# ------------------------------------------------------------------------------------------- the moving picture

def make_loop(lab: dict, chromium: object) -> None:
    """Photograph the page while it steps, and then while it plays."""
    book = open_book(lab, chromium, write_notebook(lab["root"], (PAGE.format(LOOP_SECONDS),)), LOOP_SIZE)
    book.wait_for("() => document.querySelectorAll('.la-tab').length >= 6")
    book.page.wait_for_timeout(8000)                                    # the weights are brought
    book.page.locator(".la-bench").get_by_role("button", name="Present", exact=True).click()
    pictures, times_ms = [], []

    def shoot(time_ms: float) -> None:
        pictures.append(shrink(Image.open(io.BytesIO(book.page.screenshot())), LOOP_WIDTH))
        times_ms.append(round(time_ms))

    def click(button: str) -> None:
        book.page.locator(".la-bench-buttons").get_by_role("button", name=button, exact=True).click()

    for step in range(1, LOOP_STEPS + 1):
        click("Step")
        book.wait_for_kernel(f"workbench.run is not None and len(workbench.run.recorded_steps) == {step} "
                             "and workbench.run.state == 'paused'")
        settle(book)
        shoot(500)
    book.run("workbench.page = 'lips'")
    click("Go on")
    book.wait_for(f"() => ({STATE})().startsWith('finished')")
    book.run("workbench.player.playing = False")
    settle(book, 8000)                                                  # the lips are read, the grid is decoded
    for frame in range(round(LOOP_SECONDS * LOOP_FPS)):
        at = (frame + 0.5) / LOOP_FPS
        book.run(f"workbench.cursor.time_s = {at}")
        book.wait_for("(at) => Math.abs(document.querySelector('.la-player').dataset.position - at) < 0.01", at)
        book.page.wait_for_timeout(150)
        shoot(1000 / LOOP_FPS)
    times_ms[-1] = 1200
    book.close()
    pictures, times_ms = (rows[LOOP_STEPS:] + rows[:LOOP_STEPS] for rows in (pictures, times_ms))   # whole page first
    for quality in (80, 65, 50, 35, 20):
        file = io.BytesIO()
        pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], duration=times_ms, loop=0,
                         quality=quality, method=4)
        if len(file.getvalue()) <= LOOP_BYTES:
            break
    keep(DOCS / LOOP, file.getvalue())


def settle(book: Book, wait_ms: int = 1500) -> None:
    """Wait until the views have drawn what they have, by the real decoder."""
    book.page.wait_for_timeout(300)
    book.wait_for(DECODED)
    book.page.wait_for_timeout(wait_ms)


# ------------------------------------------------------------------------------------------- the page and its views

def make_screens(lab: dict, chromium: object) -> None:
    """Photograph the page and each view by itself, at the size of a laptop's window."""
    book = open_book(lab, chromium, write_notebook(lab["root"], (PAGE.format(4.32),)), (1400, 1400))
    book.wait_for("() => document.querySelectorAll('.la-tab').length >= 6")
    book.page.wait_for_timeout(8000)
    book.page.locator(".la-bench-buttons .la-main-button").click()
    book.wait_for(f"() => ({STATE})().startsWith('finished')")
    settle(book, 12_000)
    book.run("workbench.cursor.time_s = 1.9")
    settle(book)
    keep(DOCS / "screens" / "workbench.png", as_png(photograph(book, ".la-bench"), 256))
    book.close()
    book = open_book(lab, chromium, write_notebook(lab["root"], (VIEWS, *(cell for cell, _ in SCREENS.values()))),
                     (1180, 1200))
    settle(book, 12_000)
    for file, (_, selector) in SCREENS.items():
        picture = photograph(book, selector)
        keep(DOCS / "screens" / file, as_jpeg(picture, 80) if file.endswith(".jpg") else as_png(picture, 256))
    book.close()


# ------------------------------------------------------------------------------------------- the laboratory

def make_laboratory(lab: dict, chromium: object, wanted: list[str]) -> None:
    """Photograph the views that show how it works, when what they compute is there."""
    for name, (cell, selector, complete) in LABORATORY.items():
        if wanted and name not in wanted:
            continue
        book = open_book(lab, chromium, write_notebook(lab["root"], (cell,)), (1280, 1000))
        book.wait_for_kernel(complete)
        settle(book, 4000)
        picture = shrink(photograph(book, selector), LABORATORY_WIDTH)
        book.close()
        keep(DOCS / "laboratory" / f"{name}.webp", as_webp(picture, LABORATORY_BYTES))


# ------------------------------------------------------------------------------------------- stills of notebooks

def make_stills(lab: dict, chromium: object, wanted: list[str]) -> None:
    """Run the notebooks and put a small picture under every cell that shows something."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not wanted or any(path.stem.startswith(name) for name in wanted):
            shutil.copytree(NOTEBOOKS, lab["root"] / "notebooks", dirs_exist_ok=True)
            shutil.copytree(ROOT / "benchmarks" / "results", lab["root"] / "benchmarks" / "results", dirs_exist_ok=True)
            book = open_book(lab, chromium, f"notebooks/{path.name}", OPEN_AT)
            settle(book, 10_000)
            stills = dict(stills_of(book))
            book.close()
            put_stills(path, stills)


def stills_of(book: Book) -> Iterator[tuple[int, Image.Image]]:
    """Yield (number of the cell, picture) for each cell whose output is something to look at."""
    cells = book.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.map((cell) => "
                               "cell.model.sharedModel.outputs ?? [])")
    start_possible_views(book)
    for number, outputs in enumerate(cells):
        cell = book.page.evaluate_handle("(number) => jupyterapp.shell.currentWidget.content.widgets[number].node",
                                         number).as_element()
        shown = [one for one in cell.query_selector_all(".jp-OutputArea .la, video") if one.is_visible()]
        pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
        if shown:
            shown[0].scroll_into_view_if_needed()
            book.page.wait_for_timeout(600)
            yield number, Image.open(io.BytesIO(shown[0].screenshot()))
        elif pictures:
            yield number, Image.open(io.BytesIO(base64.b64decode("".join(pictures[0]))))


def start_possible_views(book: Book) -> None:
    """Let the views of what is possible draw: they wait for a click."""
    for view in book.page.locator(".la-possible").all():
        view.get_by_role("button", name="Start", exact=True).click()
        book.wait_until(lambda view=view: view.locator(".la-progress").inner_text().startswith("done"))
        book.page.wait_for_timeout(1000)


def put_stills(path: Path, stills: dict[int, Image.Image]) -> None:
    """Write the pictures into a notebook as outputs that say what they are; cells whose output is checked keep it."""
    book = json.loads(path.read_text(encoding="utf-8"))
    most = min(STILL_BYTES, NOTEBOOK_BYTES // (2 * max(len(stills), 1)))
    for number, cell in enumerate(book["cells"]):
        if cell["cell_type"] != "code" or "".join(cell["source"]).startswith("# NBVAL_CHECK_OUTPUT"):
            continue
        cell["outputs"], cell["execution_count"] = [], None
        if number in stills:
            mime, data = smallest(shrink(stills[number], STILL_WIDTH, STILL_TALL), most)
            shown = {mime: base64.b64encode(data).decode(), "text/plain": ["a picture of a run"]}
            cell["outputs"] = [{"data": shown, "metadata": STILL, "output_type": "display_data"}]
            cell["execution_count"] = 1                        # nbval wants a number where there is an output
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(stills)} pictures, {path.stat().st_size / 1000:.0f} kB", flush=True)


# ------------------------------------------------------------------------------------------- all of them

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("all", "loop", "screens", "laboratory", "stills"), default="all")
    parser.add_argument("names", nargs="*", help="with stills: numbers of notebooks (03); with laboratory: views")
    asked = parser.parse_args()
    makers: dict[str, Callable] = {"loop": make_loop, "screens": make_screens,
                                   "laboratory": lambda lab, chromium: make_laboratory(lab, chromium, asked.names),
                                   "stills": lambda lab, chromium: make_stills(lab, chromium, asked.names)}
    with tempfile.TemporaryDirectory() as folder:
        home, root = Path(folder) / "home", Path(folder) / "root"
        home.mkdir()
        root.mkdir()
        with start_lab(home, root) as lab, start_chromium() as chromium:
            for name, make in makers.items():
                if asked.what in ("all", name):
                    make(lab, chromium)


if __name__ == "__main__":
    main()
