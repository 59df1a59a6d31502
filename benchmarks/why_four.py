"""The answer to "why four?" for the README, and every claim for docs/claims.md, from the results.

    python benchmarks/why_four.py --picture docs/why_four.png --claims docs/claims.md

Every figure and every verdict is computed from benchmarks/results; nothing is typed. Prints Markdown: one paragraph by
level of evidence, one table.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from liveavatar.sampler import make_schedule
from liveavatar.study import figures, released, results
from liveavatar.study.claims import CLAIMS, TOO_FEW, measured
from liveavatar.study.claims.page import ClaimsPage
from liveavatar.study.measures import LIPS, PSNR, TEXTURE, Measure, reported, usual
from liveavatar.study.table import Estimate, Table

WIDTH = 120                    # of a line
STEPS = (3, 4, 5, 6)           # of the table
SIZE = "704*384"

ABOUT_CLAIMS = """# Every claim of the article

An article of 2026-02 says why Live Avatar takes four denoising steps. Here is each of its claims that can be put to a
test, with what is known of it and from which kind of evidence; click one. The same as a page:
[notebooks/17_claims.ipynb](../notebooks/17_claims.ipynb). Computed by `python benchmarks/why_four.py --claims
docs/claims.md`; no verdict is written down anywhere.

"""


def answer(found: figures.Results, page: ClaimsPage) -> Iterator[str]:
    """Yield one line for each level of evidence."""
    cache, card = released.cache_gib(SIZE), reported()["cards"]["h100_gib"]
    four, five = (measured.memory()["bf16", SIZE, steps]["peak"] for steps in (4, 5))
    shares = [measured.share_of_a_step(name) for name in (measured.BF16, measured.FASTEST)]
    last = make_schedule("released", 4).shares[-1]
    yield (f"**Memory and time of the 14B model are known**, from arithmetic and from H200 with random weights. Every "
           f"step keeps a cache of its own, {cache:.2f} GiB at {SIZE}: in bf16 four steps take {four:.1f} GiB and fit "
           f"a card of {card} GB, five take {five:.1f} and do not. Every step takes as long as every other, "
           f"{min(shares):.0%} to {max(shares):.0%} of a block's time.")
    yield (f"**The fourth step is short**, by arithmetic. In the released schedule it covers {last:.1%} of the path "
           "from noise to picture. Whether anybody would miss it is not known.")
    yield ("**Its quality by number of steps is not known.** The article has figures and does not say how they were "
           "measured; others were not found. Whoever has the weights and a GPU can find out with one command: "
           "[docs/real-study.md](docs/real-study.md).")
    yield in_mini(found, page)
    yield (f"**The article's {len(CLAIMS)} claims**: {page.counts()}. Each with its evidence and "
           "with what would settle it: [docs/claims.md](docs/claims.md), [17_claims](notebooks/17_claims.ipynb).")


def in_mini(found: figures.Results, page: ClaimsPage) -> str:
    """Say what the small model shows."""
    knee = page.verdicts["knee"]
    last, unsure = knee.numbers["knee"], knee.mini == TOO_FEW
    people, recordings = (len(usual(found.table).distinct(factor)) for factor in ("portrait", "recording"))
    return (f"**mini is an analogy, and says little yet.** In the model of version 0.1 (128 x 128 pixels, flat drawn "
            f"avatars) no gain that matters is seen after {last:.0f} steps"
            + (", though the videos are too few to rule one out" if unsure else "")
            + f" ({people} people, {recordings} recordings, {found.about['videos']} videos). The model that is shipped "
            "now, with photographs at 256 x 256, has not been studied yet.")


def table(found: figures.Results) -> Iterator[str]:
    """Yield the table: cost of the 14B model, what mini measured, and what the article reports."""
    row, rows = measured.speed()[measured.BF16], usual(found.table).where(model="student")
    said = {one["steps"]: one for one in reported()["steps"]["rows"]}
    yield ("| steps | 14B, a block, ms | 14B, memory, GiB | mini 0.1: lip error, frames | mini 0.1: face, dB | "
           "mini 0.1: texture kept | article: lips, frames; face, dB |")
    yield "|---:|---:|---:|---|---|---|---|"
    for steps in STEPS:
        time = row["decode_ms"] + steps * row["step_ms"]
        peak = measured.memory().get(("bf16", SIZE, steps))
        memory = f"{peak['peak']:.1f}" if peak else f"about {peak_of(steps):.0f}"
        cells = [str(steps), f"{row['block_ms']:.0f}" if steps == 4 else f"about {time:.0f}", memory,
                 *(mean_of(rows, measure, steps) for measure in (LIPS, PSNR, TEXTURE)),
                 f"{said[steps]['lip_error_frames']}; {said[steps]['face_psnr_db']}"]
        yield f"| {' | '.join(cells)} |"


def peak_of(steps: int) -> float:
    """Return the memory that a number of steps would take which was not measured: a cache more for each."""
    return measured.memory()["bf16", SIZE, 5]["peak"] + (steps - 5) * released.cache_gib(SIZE)


def mean_of(rows: Table, measure: Measure, steps: int) -> str:
    """Return a mean with its interval."""
    found: Estimate = rows.where(steps=steps).estimate(measure.column)
    return f"{found.mean:.2g} ({found.low:.2g} to {found.high:.2g})" if measure is not PSNR else \
        f"{found.mean:.1f} ({found.low:.1f} to {found.high:.1f})"


NOTE = (f"14B: one H200, {SIZE}, bf16, compiled; a block lasts 480 ms on the screen. \"About\": computed from a "
        "measured step, or from the size of a cache. mini: 95 % intervals over people and recordings. The article's "
        "figures are reported, not measured here; it does not say of what size or card. Face in dB is PSNR, which "
        "rewards the mean of all likely pictures more than a sharp one.")


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=results.RESULTS, help="folder with study.csv")
    parser.add_argument("--picture", type=Path, help="where the headline figure goes")
    parser.add_argument("--claims", type=Path, help="where every claim goes, as Markdown")
    arguments = parser.parse_args(given)
    found = figures.results(arguments.results)
    page = figures.claims_page(found)
    for line in answer(found, page):
        print(textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False))
    print("\n" + "\n".join(table(found)) + "\n\n" + textwrap.fill(NOTE, WIDTH))
    if arguments.picture:
        path = figures.table_1(found).save(arguments.picture)
        Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    if arguments.claims:
        arguments.claims.write_text(ABOUT_CLAIMS + page.markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
