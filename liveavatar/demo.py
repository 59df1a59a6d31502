"""The main job, ready made: the first notebook run from its first cell to its last, and the files it leaves.

    python -m liveavatar demo [--out out]
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from liveavatar.files import user_path
from liveavatar.types import InputError

if TYPE_CHECKING:
    from PIL import Image

    from liveavatar.pipeline import Pipeline
    from liveavatar.trace import Trace

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WORKBENCH = "00_workbench.ipynb"
FIRST = "01_first_words"
LESSONS = "[0-9][0-9]_*.ipynb"
SHEET, NOBODY = "four_steps.png", "four_steps_without_a_portrait.png"


def notebooks_folder() -> Path:
    """Return the folder of the lessons: of the checkout, or of an installed copy's current folder.

    Raises InputError where there is none.
    """
    for folder in (NOTEBOOKS, Path.cwd() / NOTEBOOKS.name):
        if (folder / WORKBENCH).is_file():
            return folder
    raise InputError(f"{NOTEBOOKS} is missing; run this in a checkout of the project, or in a workshop's folder, where "
                     "notebooks/ is")


def sign_notebooks(folder: Path) -> None:
    """Tell JupyterLab that the lessons in a folder can be trusted, as `jupyter trust` does: after the page is reloaded
    it shows the live views of no other notebook. A signature that cannot be written is left out."""
    from nbformat import reader
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()
    for path in sorted(folder.glob(LESSONS)):
        with suppress(OSError, ValueError):                    # a damaged notebook is JupyterLab's to complain of
            notary.sign(reader.reads(path.read_text(encoding="utf-8")))


def run_notebook(name: str = FIRST, out: str | os.PathLike = "out") -> str:
    """Run a notebook without a browser, keep it with its outputs in `out`, and return what it printed."""
    import papermill

    source, out = notebooks_folder() / f"{name}.ipynb", user_path(out).resolve()
    if not source.exists():
        raise InputError(f"notebook {source} is missing; choose one of that folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {out} cannot be made ({error.strerror}); choose another with --out") from error
    logging.getLogger("papermill").setLevel(logging.ERROR)
    executed = papermill.execute_notebook(
        source, out / f"{name}.ipynb", parameters={"out": str(out)}, cwd=source.parent, kernel_name="python3",
        progress_bar=False, store_widget_state=False, extra_arguments=["--log-level=ERROR"])
    return "".join(printed(executed))


def printed(notebook: dict) -> Iterator[str]:
    """Yield what the cells of an executed notebook wrote to standard output."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if output["output_type"] == "stream" and output["name"] == "stdout":
                yield output["text"]


def sheet_of_steps(pipe: Pipeline, trace: Trace, path: str | os.PathLike, blocks: int = 6) -> Image.Image:
    """Draw the clean guess after each step (rows) at the end of each of the first blocks (columns), saved as a picture.
    """
    from PIL import Image, ImageDraw

    blocks_seen = trace.blocks[:blocks]
    steps = [trace.step(blocks_seen[0], index) for index in range(trace.step(blocks_seen[0], 0).steps)]
    margin, gap = 88, 4                                            # px
    sheet = None
    for row, step in enumerate(steps):
        guesses = (trace.step(block, step.index).clean for block in blocks_seen)
        for column, pictures in enumerate(pipe.decode(guesses)):   # each (T, H, W, 3) uint8
            picture = Image.fromarray(pictures[-1].numpy())
            width, height = picture.width + gap, picture.height + gap
            if sheet is None:
                sheet = Image.new("RGB", (margin + width * len(blocks_seen), height * len(steps) + gap), "white")
            sheet.paste(picture, (margin + column * width, gap + row * height))
        label = f"step {step.index}\n\nnoise\n{step.sigma:.2f} to {step.sigma_next:.2f}"
        ImageDraw.Draw(sheet).text((8, gap + row * height + height // 3), label, fill="black")
    sheet.save(path)
    return sheet


def main(arguments: list[str] | None = None) -> int:
    """Run the first notebook and say where to look."""
    parser = argparse.ArgumentParser(prog="liveavatar demo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="out", help="folder for what it leaves (default: out)")
    out = user_path(parser.parse_args(arguments).out)
    print(f"Running notebooks/{FIRST}.ipynb ...", flush=True)
    print(run_notebook(FIRST, out))
    print(f"the video             {out / 'first_words.mp4'}")
    print(f"its four steps        {out / SHEET}")
    print(f"without a portrait    {out / NOBODY}")
    print(f"the executed notebook {out / FIRST}.ipynb")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
